/* CIFAR-10 from grey to colour: pairs of a picture without and with its colours, and the two as unpaired clouds. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include <mgn/image_set.h>
#include <mgn/ot.h>
#include <mgn/sinkhorn.h>

#include "core/file.h"
#include "experiments/cifar.h"
#include "experiments/experiments.h"

enum { D = MGN_CIFAR_D, SIDE = MGN_CIFAR_SIDE, PIXELS = MGN_CIFAR_PIXELS, MOST_PATH = 4096 };
enum { LEARNED = 9000, HELD = 1000, QUICK_LEARNED = 600, QUICK_HELD = 100 };
enum { CONV_EPOCHS = 6, CONV_BATCH = 64, UNPAIRED_EPOCHS = 2, UNPAIRED_BATCH = 256 };
/* Of the units' weights, when pictures are not paired, and of filters: N(0, this^2). */
static const double start_of_units = 0.01, start_of_filters = 0.03;
enum { CENTRED = 512, SHOWN = 16, ZOOM = 3, DIRECTIONS = 256 };

typedef struct task {
    mgn_cifar data;
    mgn_target *colours; /* unpaired: the second half of the pictures to learn from */
    const char *label;
} task;

/* ---- training ---- */

/* Moves the offset, which has planes or interleaved channels, so that the images' mean is the colours'. */
static mgn_status centre(const mgn_run *run, const mgn_cifar *c, mgn_model *model, double *offset, bool has_planes) {
    const int64_t n = MGN_MIN(c->learned, CENTRED);
    mgn_map *map = NULL;
    mgn_matrix mapped = {0};
    MGN_TRY(mgn_matrix_create(n, D, &mapped));
    mgn_status status = mgn_map_create(model, run->device, MGN_F32, &map);
    if (status == MGN_OK) status = mgn_map_apply(map, c->grey.values, n, mapped.values);
    for (int64_t i = 0; i < n * D && status == MGN_OK; i++) {
        const int64_t k = i % D;
        offset[has_planes ? k % 3 * PIXELS + k / 3 : k] +=
            ((double)c->colour.values[i] - (double)mapped.values[i]) / (double)n;
    }
    mgn_map_destroy(map);
    mgn_matrix_free(&mapped);
    return status;
}

/* The identity and small filters; biases of every position carry the mean colour of each pixel. */
static mgn_status start_conv(const mgn_run *run, const mgn_cifar *c, const mgn_trial *trial, mgn_model **model) {
    const int64_t layers = trial->model.layers, k = trial->model.kernel, middle = k / 2 * k + k / 2;
    const mgn_parameter *p = NULL;
    MGN_TRY(mgn_model_create(&trial->model, run->config->seed, model));
    mgn_model_parameters(*model, &p);
    double *values = mgn_model_values(*model), *W = values + p[0].offset, *V = values + p[1 + layers].offset,
           *offset = values + p[2 + layers].offset;
    for (int64_t i = 0; i < mgn_shape_count(p[0].shape); i++) W[i] *= start_of_filters;
    memset(V, 0, (size_t)(9 * k * k) * sizeof *V);
    for (int64_t q = 0; q < 3; q++) V[(3 * q + q) * k * k + middle] = 1;
    memset(offset, 0, D * sizeof *offset);
    return centre(run, c, *model, offset, true);
}

static mgn_status train_conv(const mgn_run *run, const mgn_cifar *c, const mgn_trial *trial, mgn_model **model,
                             int64_t *steps) {
    const mgn_train_config config = {
        .loss = {.kind = "mse"},
        .optimizer = {.kind = "adam", .lr = 3e-4},
        .schedule = {.kind = MGN_SCHEDULE_COSINE},
        .batch = CONV_BATCH,
        .epochs = run->config->epochs  ? run->config->epochs
                  : run->config->quick ? 1
                                       : CONV_EPOCHS,
        .seed = run->config->seed,
    };
    MGN_TRY(start_conv(run, c, trial, model));
    return mgn_train_step(run, "grey to colour, convolutions", *model,
                          &(mgn_samples){c->grey.values, c->colour.values, c->learned}, &config, steps, NULL);
}

static mgn_status train_paired(const mgn_run *run, void *data, const mgn_trial *trial, mgn_model **model,
                               int64_t *steps) {
    const mgn_cifar *c = &((const task *)data)->data;
    if (trial->model.kernel) return train_conv(run, c, trial, model, steps);
    return mgn_cifar_solve_dense(c, &trial->model, run->config->seed, model);
}

/* The map starts as the identity and the step between the means, with small units. */
static mgn_status start_unpaired(const mgn_run *run, const mgn_cifar *c, const mgn_trial *trial, mgn_model **model) {
    const int64_t layers = trial->model.layers; /* W, b0 .. b(L-1), V, bL */
    const mgn_parameter *p = NULL;
    MGN_TRY(mgn_model_create(&trial->model, run->config->seed, model));
    mgn_model_parameters(*model, &p);
    double *values = mgn_model_values(*model), *W = values + p[0].offset, *V = values + p[1 + layers].offset,
           *offset = values + p[2 + layers].offset;
    for (int64_t i = 0; i < trial->model.h * D; i++) W[i] *= start_of_units;
    memset(V, 0, (size_t)D * D * sizeof *V);
    for (int64_t i = 0; i < D; i++) V[i * D + i] = 1;
    memset(offset, 0, D * sizeof *offset);
    return centre(run, c, *model, offset, false);
}

/* The first half's grey pictures to the second half's colours: no picture is in both. */
static mgn_status train_unpaired(const mgn_run *run, void *data, const mgn_trial *trial, mgn_model **model,
                                 int64_t *steps) {
    const task *t = data;
    const mgn_cifar *c = &t->data;
    const mgn_train_config config = {
        .loss = {.kind = "sinkhorn",
                 .target = t->colours,
                 .cost_weight = 0.2,
                 .sinkhorn = {.blur = 0.5, .scaling = 0.7}},
        .optimizer = {.kind = "sgd", .lr = 1e-4, .momentum = 0.9},
        .schedule = {.kind = MGN_SCHEDULE_COSINE},
        .batch = UNPAIRED_BATCH,
        .epochs = run->config->epochs  ? run->config->epochs
                  : run->config->quick ? 1
                                       : UNPAIRED_EPOCHS,
        .seed = run->config->seed,
    };
    MGN_TRY(start_unpaired(run, c, trial, model));
    return mgn_train_step(run, "grey to colour, unpaired", *model, &(mgn_samples){c->grey.values, NULL, c->learned / 2},
                          &config, steps, NULL);
}

/* ---- judging ---- */

/* Lines of grey pictures, of ours and of the true ones, from those held out. */
static mgn_status show(const mgn_run *run, const task *t, const mgn_trial *trial, const float *found) {
    const mgn_cifar *c = &t->data;
    const int64_t shown = MGN_MIN(SHOWN, c->held), at = c->learned * D;
    char path[MOST_PATH];
    mgn_matrix rows = {0};
    mgn_image *grid = NULL;
    if (!run->config->pictures) return MGN_OK;
    if (snprintf(path, sizeof path, "%s/cifar-%s-%s.png", run->config->pictures, t->label, trial->model.kind) >=
        MOST_PATH)
        return mgn_fail(MGN_ERR_ARGUMENT, "--pictures: the path is too long");
    MGN_TRY(mgn_matrix_create(3 * shown, D, &rows));
    const float *const parts[] = {c->grey.values + at, found, c->colour.values + at};
    for (size_t i = 0; i < MGN_COUNT(parts); i++)
        memcpy(rows.values + (int64_t)i * shown * D, parts[i], (size_t)(shown * D) * sizeof *found);
    mgn_status status = mgn_image_grid(&rows, SIDE, SIDE, shown, ZOOM, &grid);
    if (status == MGN_OK) status = mgn_image_write(grid, path, NULL);
    mgn_image_destroy(grid);
    mgn_matrix_free(&rows);
    return status;
}

static double decibels(double mse) { return -10 * log10(mse); }

static mgn_status judge_clouds(const mgn_run *run, const mgn_cifar *c, const float *found,
                               mgn_experiment_result *result) {
    const int64_t at = c->learned * D, half = c->held / 2;
    const float *truth = c->colour.values + at + half * D; /* of other pictures */
    double before, after;
    const uint64_t seed = run->config->seed;
    MGN_TRY(mgn_sliced_w2(c->grey.values + at, half, truth, half, D, DIRECTIONS, seed, &before));
    MGN_TRY(mgn_sliced_w2(found, half, truth, half, D, DIRECTIONS, seed, &after));
    mgn_add_figure(result, "w2_before", before, NAN, NAN);
    mgn_add_figure(result, "w2_after", after, NAN, 0);
    return MGN_OK;
}

static mgn_status judge(const mgn_run *run, void *data, const mgn_trial *trial, mgn_model *model, mgn_map *map,
                        mgn_experiment_result *result) {
    (void)model;
    const task *t = data;
    const mgn_cifar *c = &t->data;
    const int64_t at = c->learned * D;
    mgn_matrix found = {0};
    MGN_TRY(mgn_matrix_create(c->held, D, &found));
    mgn_status status = mgn_map_apply(map, c->grey.values + at, c->held, found.values);
    const mgn_colour_error error = mgn_cifar_error(found.values, c->colour.values + at, c->held);
    mgn_add_figure(result, "psnr", decibels(error.mse), NAN, NAN);
    mgn_add_figure(result, "psnr_affine", decibels(c->error_affine.mse), NAN, NAN);
    mgn_add_figure(result, "psnr_grey", decibels(c->error_grey.mse), NAN, NAN);
    mgn_add_figure(result, "mse", error.mse, NAN, NAN);
    mgn_add_figure(result, "mse_affine", c->error_affine.mse, NAN, NAN);
    mgn_add_figure(result, "mse_affine_gradient", c->error_gradient.mse, NAN, NAN);
    mgn_add_figure(result, "mse_pixel_affine", c->error_pixel.mse, NAN, NAN);
    mgn_add_figure(result, "mse_grey", c->error_grey.mse, NAN, NAN);
    mgn_add_figure(result, "colour_mse", error.colour, NAN, NAN);
    mgn_add_figure(result, "colour_mse_affine", c->error_affine.colour, NAN, NAN);
    if (status == MGN_OK && t->colours) status = judge_clouds(run, c, found.values, result);
    if (status == MGN_OK) status = show(run, t, trial, found.values);
    mgn_matrix_free(&found);
    return status;
}

/* ---- running ---- */

static const mgn_trial trials[] = {
    {mgn_best, {.kind = "cmgn", .d = D, .h = 1024, .layers = 1, .activation = MGN_LOGISTIC}},
    {mgn_best,
     {.kind = "conv-cmgn",
      .d = D,
      .h = 48,
      .layers = 2,
      .activation = MGN_LOGISTIC,
      .image = {SIDE, SIDE, 3},
      .kernel = 13,
      .stride = 4,
      .padding = 5,
      .position_biases = true}},
};

static mgn_status run_paired(const mgn_run *run, task *t) {
    const mgn_protocol protocol = {trials, MGN_COUNT(trials), train_paired, judge, "paired"};
    t->label = protocol.task;
    return mgn_run_trials(run, &protocol, t);
}

static mgn_status run_unpaired(const mgn_run *run, task *t) {
    const mgn_protocol protocol = {trials, 1, train_unpaired, judge, "unpaired"}; /* the dense one */
    const mgn_cifar *c = &t->data;
    const int64_t half = c->learned / 2;
    t->label = protocol.task;
    MGN_TRY(mgn_target_create_rows(c->colour.values + half * D, c->learned - half, D, &t->colours));
    return mgn_run_trials(run, &protocol, t);
}

static mgn_status run_experiment(const mgn_run *run) {
    const mgn_experiment_config *config = run->config;
    char path[MOST_PATH];
    task t = {0};
    if (!config->data)
        return mgn_fail(MGN_ERR_ARGUMENT, "--data is missing: the folder that has data_batch_1.bin of CIFAR-10");
    if (snprintf(path, sizeof path, "%s/data_batch_1.bin", config->data) >= MOST_PATH)
        return mgn_fail(MGN_ERR_ARGUMENT, "--data: the path is too long");
    mgn_status status =
        mgn_cifar_prepare(path, config->quick ? QUICK_LEARNED : LEARNED, config->quick ? QUICK_HELD : HELD, &t.data);
    if (status == MGN_OK) status = run_paired(run, &t);
    if (status == MGN_OK) status = run_unpaired(run, &t);
    mgn_target_destroy(t.colours);
    mgn_cifar_free(&t.data);
    return status;
}

const mgn_experiment mgn_cifar_experiment = {
    .label = "cifar",
    .summary = "CIFAR-10 from grey to colour, from pairs and from unpaired pictures",
    .details =
        "--data names a folder with data_batch_1.bin: 9,000 pictures to learn from, 1,000 held out; the report states "
        "no "
        "figures. Paired: the colour picture of each grey one (three channels equal to the luma). Among grey pictures "
        "a "
        "monotone gradient may give the differences of channels any values at all, as only what it does to the luma is "
        "bound; so the limit is what can be known of a colour. cmgn: one layer of 1,024 units, whose rows within the "
        "grey "
        "pictures are differences of two of them and whose rows beyond, with V, follow by ridge regression; conv-cmgn: "
        "48 filters of 13 x 13 in steps of 4, 6 passes of Adam with learning rate .0003. Unpaired: grey pictures of "
        "the "
        "first half to colours of the second by the Sinkhorn divergence (blur .5) of batches of 256 and .2 of the "
        "cost. mse, and of it "
        "the "
        "part in the differences of channels (colour_mse), held out; beside them the grey picture itself, an affine "
        "map "
        "at each pixel, the best affine map of whole pictures with the ridge that is best on those held out, and the "
        "same among gradients of convex functions. --quick: 600 and 100 pictures.",
    .run = run_experiment,
};
