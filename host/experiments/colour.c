/* Colour adaptation: the pixels of one picture, as points of [0, 1]^3, to the Gaussian of another picture's, by the
 * Kullback-Leibler divergence; then the same map on a picture that it has not seen. The best recipe is `mgn recolor`'s. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include <mgn/data.h>
#include <mgn/ot.h>
#include <mgn/recolor.h>

#include "experiments/experiments.h"
#include "recolor/recolor.h"

static const mgn_trial trials[] = {
    {mgn_published, {.kind = "cmgn", .d = 3, .h = 3, .layers = 2, .activation = MGN_LOGISTIC, .v = MGN_V_ORTHOGONAL}},
    {mgn_published, {.kind = "cmgn", .d = 3, .h = 3, .layers = 2, .activation = MGN_LOGISTIC, .v = MGN_V_GAUSSIAN}},
    {mgn_published, {.kind = "mmgn", .d = 3, .h = 2, .layers = 2, .activation = MGN_TANH, .v = MGN_V_ORTHOGONAL}},
    {mgn_best, {.kind = "cmgn", .d = 3, .h = 3, .layers = 2, .activation = MGN_LOGISTIC, .v = MGN_V_ORTHOGONAL}},
    {mgn_best, {.kind = "mmgn", .d = 3, .h = 2, .layers = 2, .activation = MGN_TANH, .v = MGN_V_ORTHOGONAL}},
};

/* What the report states for each of them: loss and cost. */
typedef struct stated {
    const char *kind;
    mgn_v_start v;
    double loss, cost;
} stated;
static const stated statements[] = {
    {"cmgn", MGN_V_ORTHOGONAL, 0.06, 0.18},
    {"cmgn", MGN_V_GAUSSIAN, 0.81, 0.20},
    {"mmgn", MGN_V_ORTHOGONAL, 0.241, 0.179},
};

/* The pictures of the report, in a folder that --data names; and the pair that comes with this project. */
static const char published_source[] = "day_street_bus_lane.png", published_target[] = "sunset_red_sky.jpg",
                  published_unseen[] = "day_street_petrol_station.png";
static const char own_source[] = "assets/day_picos_mountains.jpg", own_target[] = "assets/sunset_hilltop.jpg";

enum { MOST_PATH = 4096, SLICED_PIXELS = 65536, DIRECTIONS = 256 };

typedef struct pictures {
    char source_path[MOST_PATH], target_path[MOST_PATH], unseen_path[MOST_PATH]; /* "": no unseen picture */
    bool as_published;
    mgn_image *source, *target;
    mgn_matrix pixels, unseen; /* all of the source's and of the unseen picture's */
    mgn_matrix few, aims;      /* of source and target, for sliced distances */
    mgn_colour_gaussian aim;
    double bures, w2_before; /* the least cost of any map with the target's moments; squared sliced distance */
} pictures;

/* ---- pictures ---- */

static mgn_status set_path(char path[MOST_PATH], const char *folder, const char *file) {
    const int length = snprintf(path, MOST_PATH, "%s%s%s", folder ? folder : "", folder ? "/" : "", file);
    if (length < 0 || length >= MOST_PATH)
        return mgn_fail(MGN_ERR_ARGUMENT, "a path of less than %d characters was expected", MOST_PATH);
    return MGN_OK;
}

static mgn_status choose_pictures(const mgn_experiment_config *config, pictures *p) {
    if (!config->source != !config->like)
        return mgn_fail(MGN_ERR_ARGUMENT,
                        "colour: a source and a picture to be like were expected; only one of them was given");
    if (config->source && config->data)
        return mgn_fail(
            MGN_ERR_ARGUMENT,
            "colour: either a folder of the published pictures or a pair of one's own was expected, both were given");
    p->as_published = config->data && !config->source;
    const char *source = config->source ? config->source : config->data ? published_source : own_source;
    const char *target = config->like ? config->like : config->data ? published_target : own_target;
    const char *unseen = config->unseen ? config->unseen : config->data ? published_unseen : "";
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

static mgn_status read_unseen(const mgn_run *run, pictures *p) {
    mgn_image *image = NULL;
    MGN_TRY(read_picture(p->unseen_path, run->config, &image));
    const mgn_status status = mgn_image_palette(image, 0, run->config->seed, &p->unseen);
    mgn_image_destroy(image);
    return status;
}

static mgn_status read_pictures(const mgn_run *run, pictures *p) {
    const uint64_t seed = run->config->seed;
    MGN_TRY(choose_pictures(run->config, p));
    MGN_TRY(read_picture(p->source_path, run->config, &p->source));
    MGN_TRY(read_picture(p->target_path, run->config, &p->target));
    if (*p->unseen_path) MGN_TRY(read_unseen(run, p));
    MGN_TRY(mgn_target_gaussian(p->target, seed, &p->aim));
    MGN_TRY(mgn_image_palette(p->source, 0, seed, &p->pixels));
    MGN_TRY(mgn_image_palette(p->source, SLICED_PIXELS, seed + 1, &p->few));
    MGN_TRY(mgn_image_palette(p->target, SLICED_PIXELS, seed + 2, &p->aims));
    mgn_colour_gaussian before;
    MGN_TRY(mgn_colour_gaussian_of(&p->pixels, &before));
    MGN_TRY(mgn_bures_w2(before.mean, before.covariance, p->aim.mean, p->aim.covariance, 3, &p->bures));
    return mgn_sliced_w2(p->few.values, p->few.rows, p->aims.values, p->aims.rows, 3, DIRECTIONS, seed, &p->w2_before);
}

/* ---- recipes ---- */

/* Adam .01, weight decay .05, gradients clipped at 1, 50 epochs of 4 steps on all pixels. */
static mgn_status train_published(const mgn_run *run, const pictures *p, const mgn_trial *trial, mgn_model **model,
                                  int64_t *steps) {
    const mgn_train_config config = {
        .loss = {.kind = "kl", .mean = p->aim.mean, .covariance = p->aim.covariance},
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
    return !config->progress ||
           config->progress(config->context, "best recipe", report->epoch, report->epochs, report->loss);
}

static mgn_status train_best(const mgn_run *run, const pictures *p, const mgn_trial *trial, mgn_model **model,
                             int64_t *steps) {
    mgn_experiment_config passed = *run->config;
    mgn_recolor_config config = {.h = trial->model.h,
                                 .layers = trial->model.layers,
                                 .seed = run->config->seed,
                                 .report = pass_on,
                                 .context = &passed};
    memcpy(config.kind, trial->model.kind, sizeof config.kind);
    mgn_train_result result = {0};
    MGN_TRY(mgn_recolor_learn(p->source, p->target, run->device, &config, model, &result));
    *steps += result.steps;
    return MGN_OK;
}

static mgn_status train(const mgn_run *run, void *data, const mgn_trial *trial, mgn_model **model, int64_t *steps) {
    return trial->recipe == mgn_published ? train_published(run, data, trial, model, steps)
                                          : train_best(run, data, trial, model, steps);
}

/* ---- judging ---- */

typedef struct fit {
    double loss, cost;
} fit;

/* Over all rows of a palette. */
static mgn_status measure_fit(mgn_map *map, const mgn_matrix *palette, const mgn_colour_gaussian *aim, fit *f) {
    mgn_matrix mapped = {0};
    mgn_colour_gaussian after;
    MGN_TRY(mgn_matrix_create(palette->rows, 3, &mapped));
    mgn_status status = mgn_map_apply(map, palette->values, palette->rows, mapped.values);
    if (status == MGN_OK) status = mgn_transport_cost(palette->values, mapped.values, palette->rows, 3, &f->cost);
    if (status == MGN_OK) status = mgn_colour_gaussian_of(&mapped, &after);
    mgn_matrix_free(&mapped);
    MGN_TRY(status);
    for (size_t i = 0; i < 3; i++) after.covariance[4 * i] += 1e-6; /* as the loss does */
    return mgn_gaussian_kl(after.mean, after.covariance, aim->mean, aim->covariance, 3, &f->loss);
}

/* Sliced distance of the mapped palette, clipped as in a picture, to the target's. */
static mgn_status measure_slices(mgn_map *map, const pictures *p, uint64_t seed, double *squared) {
    mgn_matrix mapped = {0};
    MGN_TRY(mgn_matrix_create(p->few.rows, 3, &mapped));
    mgn_status status = mgn_map_apply(map, p->few.values, p->few.rows, mapped.values);
    for (int64_t i = 0; i < 3 * mapped.rows; i++) mapped.values[i] = MGN_MIN(MGN_MAX(mapped.values[i], 0.0f), 1.0f);
    if (status == MGN_OK)
        status = mgn_sliced_w2(mapped.values, mapped.rows, p->aims.values, p->aims.rows, 3, DIRECTIONS, seed, squared);
    mgn_matrix_free(&mapped);
    return status;
}

static mgn_status judge(const mgn_run *run, void *data, const mgn_trial *trial, mgn_model *model, mgn_map *map,
                        mgn_experiment_result *result) {
    (void)model;
    const pictures *p = data;
    fit seen, unseen;
    double w2, loss = NAN, cost = NAN;
    for (size_t i = 0; p->as_published && i < MGN_COUNT(statements); i++)
        if (strcmp(statements[i].kind, trial->model.kind) == 0 && statements[i].v == trial->model.v) {
            loss = statements[i].loss;
            cost = statements[i].cost;
        }
    MGN_TRY(measure_fit(map, &p->pixels, &p->aim, &seen));
    MGN_TRY(measure_slices(map, p, run->config->seed, &w2));
    mgn_add_figure(result, "loss", seen.loss, loss, 0);
    mgn_add_figure(result, "cost", seen.cost, cost, p->bures);
    mgn_add_figure(result, "bures", p->bures, NAN, NAN);
    mgn_add_figure(result, "w2_before", p->w2_before, NAN, NAN);
    mgn_add_figure(result, "w2_after", w2, NAN, NAN);
    if (!p->unseen.rows) return MGN_OK;
    MGN_TRY(measure_fit(map, &p->unseen, &p->aim, &unseen));
    mgn_add_figure(result, "unseen_cost", unseen.cost, NAN, NAN);
    mgn_add_figure(result, "unseen_loss", unseen.loss, NAN, NAN);
    return MGN_OK;
}

static mgn_status run_experiment(const mgn_run *run) {
    static const mgn_protocol protocol = {trials, MGN_COUNT(trials), train, judge};
    pictures p = {0};
    mgn_status status = read_pictures(run, &p);
    if (status == MGN_OK) status = mgn_run_trials(run, &protocol, &p);
    mgn_matrix *const matrices[] = {&p.pixels, &p.unseen, &p.few, &p.aims};
    for (size_t i = 0; i < MGN_COUNT(matrices); i++) mgn_matrix_free(matrices[i]);
    mgn_image_destroy(p.source);
    mgn_image_destroy(p.target);
    return status;
}

const mgn_experiment mgn_colour_experiment = {
    .label = "colour",
    .summary = "the palette of one picture to the Gaussian of another's, by the Kullback-Leibler divergence",
    .details =
        "Published recipe: Adam with learning rate .01, weight decay .05 (L2), gradients clipped at norm 1, 50 "
        "epochs of 4 steps on all pixels, V orthogonal or Gaussian. Best recipe: that of `mgn recolor`. --data "
        "names the folder of the published pictures (day_street_bus_lane.png, sunset_red_sky.jpg, "
        "day_street_petrol_station.png); --source and --like take others, and without any the pair in assets/ is "
        "taken. loss: Kullback-Leibler divergence of the mapped palette's Gaussian to the target's, in nats, on "
        "all pixels; cost: E|x - g(x)|^2 against the least of any map with these moments; w2: squared sliced "
        "Wasserstein distance of the palettes; unseen: the same map on --unseen.",
    .run = run_experiment,
};
