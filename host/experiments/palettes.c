#include "experiments/palettes.h"
#include "experiments/show.h"

#include <stdio.h>
#include <string.h>

#include <mgn/ot.h>

const mgn_pictures mgn_street_pictures = {
    .source = "day_street_bus_lane.png",
    .target = "sunset_red_sky.jpg",
    .unseen = "day_street_petrol_station.png",
    .own_source = "assets/day_picos_mountains.jpg",
    .own_target = "assets/sunset_hilltop.jpg",
};

enum { SLICED_PIXELS = 65536, DIRECTIONS = 256 };

/* ---- pictures ---- */

static mgn_status set_path(char path[MGN_MOST_PATH], const char *folder, const char *file) {
    const int length = snprintf(path, MGN_MOST_PATH, "%s%s%s", folder ? folder : "", folder ? "/" : "", file);
    if (length < 0 || length >= MGN_MOST_PATH)
        return mgn_fail(MGN_ERR_ARGUMENT, "a path of less than %d characters was expected", MGN_MOST_PATH);
    return MGN_OK;
}

static mgn_status choose_pictures(const mgn_experiment_config *config, const mgn_pictures *pictures, mgn_palettes *p) {
    const bool has_pair = config->source, has_folder = config->data;
    if (!config->source != !config->like)
        return mgn_fail(MGN_ERR_ARGUMENT,
                        "colour: a source and a picture to be like were expected; only one of them was given");
    if (has_pair && has_folder)
        return mgn_fail(
            MGN_ERR_ARGUMENT,
            "colour: either a folder of the published pictures or a pair of one's own was expected, both were given");
    if (!has_pair && !has_folder && !pictures->own_source)
        return mgn_fail(MGN_ERR_ARGUMENT,
                        "colour: the folder with %s and %s (--data) or a pair of one's own (--source and --like) was "
                        "expected, neither was given",
                        pictures->source, pictures->target);
    p->as_published = has_folder;
    const char *source = has_pair ? config->source : has_folder ? pictures->source : pictures->own_source;
    const char *target = has_pair ? config->like : has_folder ? pictures->target : pictures->own_target;
    const char *unseen = config->unseen ? config->unseen : has_folder ? pictures->unseen : "";
    MGN_TRY(set_path(p->source_path, config->data, source));
    MGN_TRY(set_path(p->target_path, config->data, target));
    return *unseen ? set_path(p->unseen_path, config->unseen ? NULL : config->data, unseen) : MGN_OK;
}

static mgn_status read_picture(const char *path, const mgn_experiment_config *config, mgn_image **image) {
    const mgn_status status = mgn_image_read(path, image);
    if (status != MGN_ERR_IO || config->source || config->data) return status;
    return mgn_fail(
        MGN_ERR_IO,
        "%s, which comes with the source code, is not to be found from here; --source and --like name other "
        "pictures, --data a folder with the published ones",
        path);
}

static mgn_status read_unseen(const mgn_run *run, mgn_palettes *p) {
    mgn_image *image = NULL;
    MGN_TRY(read_picture(p->unseen_path, run->config, &image));
    mgn_status status = mgn_image_palette(image, 0, run->config->seed, &p->unseen);
    if (status == MGN_OK) status = mgn_image_palette(image, SLICED_PIXELS, run->config->seed + 3, &p->few_unseen);
    mgn_image_destroy(image);
    return status;
}

mgn_status mgn_palettes_read(const mgn_run *run, const mgn_pictures *pictures, mgn_palettes *p) {
    const uint64_t seed = run->config->seed;
    MGN_TRY(choose_pictures(run->config, pictures, p));
    MGN_TRY(read_picture(p->source_path, run->config, &p->source));
    MGN_TRY(read_picture(p->target_path, run->config, &p->target));
    if (*p->unseen_path) MGN_TRY(read_unseen(run, p));
    MGN_TRY(mgn_target_gaussian(p->target, seed, &p->aim));
    MGN_TRY(mgn_image_palette(p->source, pictures->most, seed, &p->pixels));
    MGN_TRY(mgn_image_palette(p->source, SLICED_PIXELS, seed + 1, &p->few));
    MGN_TRY(mgn_image_palette(p->target, SLICED_PIXELS, seed + 2, &p->aims));
    mgn_colour_gaussian before;
    MGN_TRY(mgn_colour_gaussian_of(&p->pixels, &before));
    MGN_TRY(mgn_bures_w2(before.mean, before.covariance, p->aim.mean, p->aim.covariance, 3, &p->bures));
    return mgn_sliced_w2(p->few.values, p->few.rows, p->aims.values, p->aims.rows, 3, DIRECTIONS, seed, &p->w2_before);
}

void mgn_palettes_free(mgn_palettes *p) {
    mgn_matrix *const matrices[] = {&p->pixels, &p->unseen, &p->few, &p->few_unseen, &p->aims};
    for (size_t i = 0; i < MGN_COUNT(matrices); i++) mgn_matrix_free(matrices[i]);
    mgn_image_destroy(p->source);
    mgn_image_destroy(p->target);
}

/* ---- training ---- */

mgn_status mgn_palettes_train(const mgn_run *run, const mgn_palettes *p, const mgn_loss_config *loss,
                              const mgn_trial *trial, mgn_model **model, int64_t *steps) {
    const mgn_train_config config = {
        .loss = *loss,
        .optimizer = {.kind = "adam", .lr = 0.01, .weight_decay = 0.05, .clip_norm = 1},
        .batch = (p->pixels.rows + 3) / 4,
        .epochs = run->config->epochs ? run->config->epochs : 50,
        .seed = run->config->seed,
    };
    MGN_TRY(mgn_model_create(&trial->model, run->config->seed, model));
    return mgn_train_step(run, "published recipe", *model, &(mgn_samples){p->pixels.values, NULL, p->pixels.rows},
                          &config, steps, NULL);
}

static bool pass_on(void *context, const mgn_train_report *report) {
    const mgn_experiment_config *config = context;
    return mgn_report_steps(config, "best recipe", report);
}

mgn_status mgn_palettes_recolor(const mgn_run *run, const mgn_palettes *p, int64_t components, const mgn_trial *trial,
                                mgn_model **model, int64_t *steps) {
    mgn_experiment_config passed = *run->config;
    mgn_recolor_config config = {.h = trial->model.h,
                                 .layers = trial->model.layers,
                                 .seed = run->config->seed,
                                 .components = components,
                                 .report = pass_on,
                                 .context = &passed};
    memcpy(config.kind, trial->model.kind, sizeof config.kind);
    mgn_train_result result = {0};
    MGN_TRY(mgn_recolor_learn(p->source, p->target, run->device, &config, model, &result));
    MGN_TRY(mgn_take_first(run, MGN_OK, *model));
    *steps += result.steps;
    return MGN_OK;
}

/* ---- judging ---- */

mgn_status mgn_palettes_moments(mgn_map *map, const mgn_matrix *palette, mgn_colour_gaussian *after, double *cost) {
    mgn_matrix mapped = {0};
    MGN_TRY(mgn_matrix_create(palette->rows, 3, &mapped));
    mgn_status status = mgn_map_apply(map, palette->values, palette->rows, mapped.values);
    if (status == MGN_OK) status = mgn_transport_cost(palette->values, mapped.values, palette->rows, 3, cost);
    if (status == MGN_OK) status = mgn_colour_gaussian_of(&mapped, after);
    mgn_matrix_free(&mapped);
    for (size_t i = 0; status == MGN_OK && i < 3; i++) after->covariance[4 * i] += 1e-6;
    return status;
}

mgn_status mgn_palettes_slices(mgn_map *map, const mgn_matrix *palette, const mgn_matrix *aims, uint64_t seed,
                               double *squared) {
    mgn_matrix mapped = {0};
    MGN_TRY(mgn_matrix_create(palette->rows, 3, &mapped));
    mgn_status status = mgn_map_apply(map, palette->values, palette->rows, mapped.values);
    for (int64_t i = 0; i < 3 * mapped.rows; i++) mapped.values[i] = MGN_MIN(MGN_MAX(mapped.values[i], 0.0f), 1.0f);
    if (status == MGN_OK)
        status = mgn_sliced_w2(mapped.values, mapped.rows, aims->values, aims->rows, 3, DIRECTIONS, seed, squared);
    mgn_matrix_free(&mapped);
    return status;
}

/* ---- pictures ---- */

mgn_status mgn_palettes_show(const mgn_run *run, const mgn_palettes *p, const char *label, const mgn_trial *trial,
                             const mgn_model *model, mgn_map *map) {
    static const char *const labels[] = {"before", "after", "target", "unseen", "unseen, after"};
    enum { BEFORE, AFTER, TARGET, UNSEEN, UNSEEN_AFTER, MOST, HEIGHT = 300 };
    const int64_t size = mgn_model_parameter_count(model);
    const size_t count = *p->unseen_path ? MOST : UNSEEN;
    char path[MGN_MOST_PATH];
    mgn_image *shown[MOST] = {0}, *unseen = NULL, *sheet = NULL;
    MGN_TRY(mgn_show_colours(run, map, &p->few, &p->aims));
    if (!run->config->pictures) return MGN_OK;
    if (snprintf(path, sizeof path, "%s/%s-%s-%s-%lld%s.png", run->config->pictures, label, trial->recipe,
                 trial->model.kind, (long long)size,
                 trial->model.v == MGN_V_GAUSSIAN ? "-gaussian" : "") >= MGN_MOST_PATH)
        return mgn_fail(MGN_ERR_ARGUMENT, "--pictures: the path is too long");
    mgn_map_share(map, NULL); /* the other processes make no pictures */
    mgn_status status = count == MOST ? mgn_image_read(p->unseen_path, &unseen) : MGN_OK;
    const mgn_image *const originals[MOST] = {p->source, NULL, p->target, unseen, NULL};
    for (size_t i = 0; i < count && status == MGN_OK; i++) {
        const mgn_image *from = originals[i];
        status = from ? mgn_image_resize(from, MGN_MAX(from->width * HEIGHT / from->height, 1), HEIGHT, &shown[i])
                      : mgn_recolor_apply(map, shown[i - 1], &shown[i]);
    }
    if (status == MGN_OK) status = mgn_image_sheet((const mgn_image *const *)shown, labels, count, HEIGHT, &sheet);
    if (status == MGN_OK) status = mgn_image_write(sheet, path, NULL);
    for (size_t i = 0; i < MOST; i++) mgn_image_destroy(shown[i]);
    mgn_image_destroy(unseen);
    mgn_image_destroy(sheet);
    mgn_map_share(map, run->config->comm);
    return status;
}
