/* The semi-dual solver: it finds known maps from unpaired samples alone, in any units; it repeats, whatever the threads;
 * it stops when asked; steps too long and outliers do not spoil it; and it refuses what it cannot do. */
#include "harness.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <mgn/data.h>
#include <mgn/ot.h>
#include <mgn/semidual.h>

#include "core/core.h"
#include "train/semidual.h"
#include "train/semidual_step.h"

enum { ROWS = 4000, D = 2, HELD = 500 };

static const mgn_model_config dense = {.kind = "dicnn", .d = D, .h = 16, .layers = 2, .activation = MGN_SOFTPLUS};

/* Rows of N(0, I), and the images of other such rows by the gradient of a convex function. */
typedef struct problem {
    float x[ROWS * D], y[ROWS * D], test[HELD * D], truth[HELD * D];
    double variance; /* of the target, total */
    mgn_clouds clouds;
} problem;

typedef void truth_function(const double *x, double *y);

/* N(0, I) to N((1, -2), A^2) with A = [[1.5, .4], [.4, .8]] */
static void affine(const double *x, double *y) {
    y[0] = 1 + 1.5 * x[0] + 0.4 * x[1];
    y[1] = -2 + 0.4 * x[0] + 0.8 * x[1];
}

/* The same in other units, far from the origin. */
static void far_affine(const double *x, double *y) {
    affine(x, y);
    y[0] = 5000 + 300 * y[0];
    y[1] = -700 + 300 * y[1];
}

/* Gradient of |x|^2 / 4 + log(2 cosh(2 x0 + x1)) */
static void bent(const double *x, double *y) {
    const double t = tanh(2 * x[0] + x[1]);
    y[0] = 0.5 * x[0] + 2 * t;
    y[1] = 0.5 * x[1] + t;
}

static problem *make_problem(uint64_t seed, truth_function *truth) {
    problem *p = calloc(1, sizeof *p);
    ck_assert_ptr_nonnull(p);
    mgn_test_random random = {seed};
    for (int64_t i = 0; i < 2 * ROWS + HELD; i++) {
        double x[D], y[D];
        for (int j = 0; j < D; j++) x[j] = mgn_test_normal(&random);
        truth(x, y);
        for (int j = 0; j < D; j++) {
            if (i < ROWS) p->x[i * D + j] = (float)x[j];
            if (i >= ROWS && i < 2 * ROWS) p->y[(i - ROWS) * D + j] = (float)y[j];
            if (i >= 2 * ROWS) p->test[(i - 2 * ROWS) * D + j] = (float)x[j];
            if (i >= 2 * ROWS) p->truth[(i - 2 * ROWS) * D + j] = (float)y[j];
        }
    }
    MGN_ASSERT_OK(mgn_total_variance(p->y, ROWS, D, &p->variance));
    p->clouds = (mgn_clouds){p->x, p->y, ROWS, ROWS};
    return p;
}

static mgn_train_config usual(void) {
    return (mgn_train_config){.optimizer = {.kind = "adam", .lr = 0.02},
                              .schedule = {.kind = MGN_SCHEDULE_COSINE},
                              .batch = 200,
                              .epochs = 40,
                              .seed = 5};
}

static mgn_model *make_start(const problem *p, const mgn_model_config *config) {
    mgn_model *model = NULL;
    MGN_ASSERT_OK(mgn_model_create(config, 3, &model));
    if (strcmp(config->kind, "dicnn") == 0) MGN_ASSERT_OK(mgn_semidual_start(model, &p->clouds, 3));
    return model;
}

static double uvp_of(const problem *p, const mgn_model *model, mgn_device *device) {
    mgn_map *map = NULL;
    float mapped[HELD * D];
    double uvp;
    MGN_ASSERT_OK(mgn_map_create(model, device, MGN_F64, &map));
    MGN_ASSERT_OK(mgn_map_apply(map, p->test, HELD, mapped));
    MGN_ASSERT_OK(mgn_l2_uvp(mapped, p->truth, HELD, D, p->variance, &uvp));
    mgn_map_destroy(map);
    return uvp;
}

static mgn_device *open_cpu(void) {
    mgn_device *device = NULL;
    MGN_ASSERT_OK(mgn_device_open("cpu", &device));
    return device;
}

/* ---- known maps ---- */

static const struct {
    const char *name;
    truth_function *truth;
    mgn_model_config model;
    double start,
        end; /* L2-UVP in percent: the affine part alone leaves more than the one, training less than the other */
} known[] = {
    {"affine", affine, {.kind = "dicnn", .d = D, .h = 16, .layers = 2, .activation = MGN_SOFTPLUS}, 0, 0.4},
    {"affine, far", far_affine, {.kind = "dicnn", .d = D, .h = 16, .layers = 2, .activation = MGN_SOFTPLUS}, 0, 0.4},
    {"bent", bent, {.kind = "dicnn", .d = D, .h = 16, .layers = 2, .activation = MGN_SOFTPLUS}, 3, 0.8},
    {"bent, cmgn", bent, {.kind = "cmgn", .d = D, .h = 4, .layers = 1, .activation = MGN_TANH}, 3, 0.8},
};

START_TEST(samples_alone_tell_the_map) {
    mgn_device *device = open_cpu();
    problem *p = make_problem(41, known[_i].truth);
    mgn_model *model = make_start(p, &known[_i].model);
    const mgn_train_config config = usual();
    mgn_semidual_result result;
    const double before = uvp_of(p, model, device);
    MGN_ASSERT_OK(mgn_semidual(model, device, &p->clouds, &config, &result));
    const double after = uvp_of(p, model, device);
    ck_assert_msg(before > known[_i].start, "%s: %g %% before", known[_i].name, before);
    ck_assert_msg(after < known[_i].end, "%s: %g %% after", known[_i].name, after);
    ck_assert_int_eq(result.held, ROWS / 20);
    ck_assert_int_eq(result.train.steps, config.epochs * ((ROWS - ROWS / 20) / config.batch));
    if (known[_i].start > 0) ck_assert_int_ge(result.best_epoch, config.epochs / 2); /* noise does not choose */
    ck_assert_int_eq(result.returns, 0);
    ck_assert_double_le(result.left_out, 0.001);
    mgn_model_destroy(model);
    free(p);
    mgn_device_close(device);
}
END_TEST

/* Other rows sit out in each epoch where one cloud is larger. */
START_TEST(clouds_may_differ_in_size) {
    mgn_device *device = open_cpu();
    problem *p = make_problem(48, affine);
    const mgn_train_config config = usual();
    p->clouds.n = ROWS / 2 - 30;
    mgn_model *model = make_start(p, &dense);
    mgn_semidual_result result;
    MGN_ASSERT_OK(mgn_semidual(model, device, &p->clouds, &config, &result));
    const double uvp = uvp_of(p, model, device);
    ck_assert_msg(uvp < 0.8, "%g %%", uvp);
    ck_assert_int_eq(result.train.steps, config.epochs * ((p->clouds.n - p->clouds.n / 20) / config.batch));
    mgn_model_destroy(model);
    free(p);
    mgn_device_close(device);
}
END_TEST

static int by_first(const void *a, const void *b) {
    const float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

/* Of all convex functions the true potential has the least J: of the quadratic one here
 * J = (E|x|^2 + E|y|^2 - W2^2) / 2 = E <x, T(x)> = tr A for N(0, I). */
START_TEST(the_value_is_that_of_the_dual) {
    mgn_device *device = open_cpu();
    problem *p = make_problem(42, affine);
    qsort(p->x, ROWS, D * sizeof *p->x, by_first); /* rows are held out at random, whatever their order */
    qsort(p->y, ROWS, D * sizeof *p->y, by_first);
    mgn_model *model = make_start(p, &dense);
    const mgn_train_config config = usual();
    mgn_semidual_result result;
    double before, after;
    MGN_ASSERT_OK(mgn_semidual_value(model, device, &p->clouds, 1e-6, &before));
    MGN_ASSERT_OK(mgn_semidual(model, device, &p->clouds, &config, &result));
    MGN_ASSERT_OK(mgn_semidual_value(model, device, &p->clouds, 1e-6, &after));
    ck_assert_msg(after < before, "%g before, %g after", before, after);
    ck_assert_msg(fabs(after - 2.3) < 0.1, "J is %g", after);
    ck_assert_msg(fabs(result.train.loss - after) < 0.15, "%g held out, %g of all", result.train.loss, after);
    mgn_model_destroy(model);
    free(p);
    mgn_device_close(device);
}
END_TEST

/* ---- pairs ---- */

static double mean_distance(const float *x, const int64_t *i, const float *z, const int64_t *j, int64_t count) {
    double sum = 0;
    for (int64_t k = 0; k < count; k++)
        sum += hypot((double)x[i[k] * D] - (double)z[j[k] * D], (double)x[i[k] * D + 1] - (double)z[j[k] * D + 1]);
    return sum / (double)count;
}

static int compare(const void *a, const void *b) {
    const int64_t i = *(const int64_t *)a, j = *(const int64_t *)b;
    return (i > j) - (i < j);
}

/* Two clouds of one distribution: pairs are far closer than chance brings them, and no row is lost, equal ones included. */
START_TEST(pairs_are_neighbours) {
    problem *p = make_problem(46, bent), *q = make_problem(47, bent);
    int64_t i[ROWS], j[ROWS];
    for (int64_t k = 0; k < ROWS; k++) i[k] = j[k] = k;
    for (int64_t k = 0; k < ROWS / 2; k++) p->x[k * D] = q->x[k * D] = 0.5F;
    const double before = mean_distance(p->x, i, q->x, j, ROWS);
    mgn_pair_rows(p->x, i, q->x, j, ROWS, D);
    const double after = mean_distance(p->x, i, q->x, j, ROWS);
    ck_assert_msg(after < 0.35 * before, "%g apart, %g before", after, before);
    int64_t *const orders[] = {i, j};
    for (int o = 0; o < 2; o++) {
        qsort(orders[o], ROWS, sizeof *i, compare);
        for (int64_t k = 0; k < ROWS; k++) ck_assert_int_eq(orders[o][k], k);
    }
    free(p);
    free(q);
}
END_TEST

/* ---- the loop ---- */

typedef struct history {
    int64_t calls, stop_after;
} history;

static bool record(void *context, const mgn_train_report *report) {
    history *h = context;
    ck_assert_int_eq(report->epoch, ++h->calls);
    ck_assert(isfinite(report->loss));
    return h->stop_after == 0 || report->epoch < h->stop_after;
}

static bool stop_early(void *context, const mgn_train_report *report) {
    return report->epoch < *(const int64_t *)context;
}

START_TEST(threads_and_repetition_change_nothing) {
    mgn_device *device = open_cpu();
    problem *p = make_problem(43, bent);
    mgn_train_config config = usual();
    double first[1024];
    config.epochs = 3;
    config.batch = 1000;
    for (int threads = 1; threads <= 3; threads++) {
        mgn_set_threads(threads);
        mgn_model *model = make_start(p, &dense);
        const size_t size = (size_t)mgn_model_parameter_count(model) * sizeof *first;
        ck_assert_uint_le(size, sizeof first);
        MGN_ASSERT_OK(mgn_semidual(model, device, &p->clouds, &config, NULL));
        if (threads == 1) memcpy(first, mgn_model_values(model), size);
        ck_assert_msg(memcmp(first, mgn_model_values(model), size) == 0, "%d threads differ", threads);
        mgn_model_destroy(model);
    }
    mgn_set_threads(0);
    free(p);
    mgn_device_close(device);
}
END_TEST

/* A single epoch has no others that its parameters could be averaged with. */
START_TEST(one_epoch_is_a_training) {
    mgn_device *device = open_cpu();
    problem *p = make_problem(53, bent);
    mgn_model *model = make_start(p, &dense);
    mgn_train_config config = usual();
    mgn_semidual_result result;
    config.epochs = 1;
    config.batch = 50;
    const double before = uvp_of(p, model, device);
    MGN_ASSERT_OK(mgn_semidual(model, device, &p->clouds, &config, &result));
    ck_assert_int_eq(result.best_epoch, 1);
    ck_assert_double_lt(uvp_of(p, model, device), before);
    mgn_model_destroy(model);
    free(p);
    mgn_device_close(device);
}
END_TEST

START_TEST(a_callback_stops_it) {
    mgn_device *device = open_cpu();
    problem *p = make_problem(44, bent);
    mgn_model *model = make_start(p, &dense);
    mgn_target *target = NULL;
    history h = {.stop_after = 2};
    mgn_train_config config = usual();
    mgn_train_result result = {0};
    config.report = record;
    config.context = &h;
    const double before = uvp_of(p, model, device);
    MGN_ASSERT_OK(mgn_target_create_rows(p->y, ROWS, D, &target));
    strcpy(config.loss.kind, "semidual");
    config.loss.target = target;
    MGN_ASSERT_FAILS(mgn_train(model, device, &(mgn_samples){p->x, NULL, ROWS}, &config, &result), MGN_ERR_INTERRUPTED,
                     "stopped after epoch 2");
    ck_assert_int_eq(h.calls, 2);
    ck_assert_int_eq(result.steps, 2 * ((ROWS - ROWS / 20) / config.batch));
    ck_assert_msg(uvp_of(p, model, device) < before, "nothing was kept");
    mgn_target_destroy(target);
    mgn_model_destroy(model);
    free(p);
    mgn_device_close(device);
}
END_TEST

/* ---- checkpoints ---- */

/* Trains from the start; the parameters to `values`. */
static mgn_status train_from_start(const problem *p, mgn_device *device, const mgn_train_config *config, double *values,
                                   mgn_semidual_result *result) {
    mgn_model *model = make_start(p, &dense);
    const mgn_status status = mgn_semidual(model, device, &p->clouds, config, result);
    memcpy(values, mgn_model_values(model), (size_t)mgn_model_parameter_count(model) * sizeof *values);
    mgn_model_destroy(model);
    return status;
}

/* Wherever it was stopped: rounds of all rows and of some, a schedule that looks at the loss, and steps so long that training
 * goes back. */
START_TEST(resuming_ends_with_the_same_bits) {
    static const struct {
        double lr;
        int64_t n, batch, stop_after;
        mgn_schedule_kind schedule;
    } rows[] = {{0.02, ROWS, 20, 3, MGN_SCHEDULE_COSINE},
                {0.02, ROWS / 2, 200, 4, MGN_SCHEDULE_PLATEAU},
                {30, ROWS / 4, 100, 3, MGN_SCHEDULE_CONSTANT}};
    enum { MOST = 1024 };
    const char *state = mgn_test_path("state"), *other = mgn_test_path("other");
    mgn_device *device = open_cpu();
    problem *p = make_problem(51, bent);
    double *values = calloc(3 * MOST, sizeof *values);
    ck_assert_ptr_nonnull(values);
    for (size_t i = 0; i < MGN_COUNT(rows); i++) {
        mgn_train_config config = usual();
        mgn_semidual_result whole, part, rest;
        config.epochs = 6;
        config.optimizer.lr = rows[i].lr;
        config.batch = rows[i].batch;
        config.schedule.kind = rows[i].schedule;
        p->clouds.n = rows[i].n;
        const mgn_status status = train_from_start(p, device, &config, values, &whole);
        config.control = (mgn_train_control){.checkpoint = state, .checkpoint_epochs = 2};
        config.report = stop_early;
        config.context = (void *)(uintptr_t)&rows[i].stop_after;
        MGN_ASSERT_FAILS(train_from_start(p, device, &config, values + MOST, &part), MGN_ERR_INTERRUPTED, "stopped");
        config.control = (mgn_train_control){.resume = state, .log = mgn_test_path("log.csv")};
        config.report = NULL;
        ck_assert_int_eq(train_from_start(p, device, &config, values + 2 * MOST, &rest), status);
        ck_assert_mem_eq(values, values + 2 * MOST, MOST * sizeof *values);
        ck_assert_mem_eq(&whole.train.loss, &rest.train.loss, sizeof(double));
        ck_assert_int_eq(whole.train.steps, rest.train.steps);
        ck_assert_int_eq(whole.best_epoch, rest.best_epoch);
        ck_assert_int_eq(whole.returns, rest.returns);
        ck_assert(rows[i].lr < 1 || (part.returns > 0 && whole.returns > part.returns));
        p->y[3] += 1;
        MGN_ASSERT_FAILS(train_from_start(p, device, &config, values, &rest), MGN_ERR_ARGUMENT, "target was");
        p->y[3] -= 1;
    }
    /* Row numbers out of range would be read beyond the rows. */
    mgn_train_config config = usual();
    mgn_semidual_result result;
    mgn_safetensors file = {0};
    config.control.checkpoint = state;
    config.epochs = 1;
    MGN_ASSERT_OK(train_from_start(p, device, &config, values, &result));
    MGN_ASSERT_OK(mgn_safetensors_read(state, &file));
    ((int64_t *)mgn_safetensors_find(&file, "y.order")->data)[5] = ROWS;
    MGN_ASSERT_OK(mgn_safetensors_write(other, &file));
    mgn_safetensors_free(&file);
    config.control = (mgn_train_control){.resume = other};
    MGN_ASSERT_FAILS(train_from_start(p, device, &config, values, &result), MGN_ERR_FORMAT, "make no sense");
    free(values);
    free(p);
    mgn_device_close(device);
}
END_TEST

/* ---- robustness ---- */

/* Steps far too long: what comes out is never worse than the start, and it is said what happened. */
START_TEST(steps_too_long_do_no_harm) {
    mgn_device *device = open_cpu();
    problem *p = make_problem(49, bent);
    mgn_train_config config = usual();
    config.epochs = 12;
    for (config.optimizer.lr = 0.3; config.optimizer.lr < 1e7; config.optimizer.lr *= 100) {
        mgn_model *model = make_start(p, &dense);
        mgn_semidual_result result;
        const double before = uvp_of(p, model, device);
        const mgn_status status = mgn_semidual(model, device, &p->clouds, &config, &result);
        const double after = uvp_of(p, model, device);
        ck_assert_msg(after <= before * 1.0001, "lr %g: %g %% before, %g after", config.optimizer.lr, before, after);
        ck_assert_msg(status == MGN_OK || (status == MGN_ERR_NUMERIC && strstr(mgn_last_error(), "diverged")),
                      "lr %g: %s", config.optimizer.lr, mgn_last_error());
        if (status != MGN_OK) ck_assert_int_eq(result.best_epoch, 0);
        if (config.optimizer.lr > 100) ck_assert_int_gt(result.returns, 0);
        mgn_model_destroy(model);
    }
    free(p);
    mgn_device_close(device);
}
END_TEST

/* A few rows of the target far from all others, as in data that nobody looked at. */
START_TEST(outliers_do_not_spoil_it) {
    mgn_device *device = open_cpu();
    problem *p = make_problem(50, bent);
    mgn_model *model = make_start(p, &dense);
    const mgn_train_config config = usual();
    mgn_semidual_result result;
    for (int i = 0; i < 8; i++) p->y[i * 500 * D + i % D] = i < 4 ? 60 : -60;
    MGN_ASSERT_OK(mgn_semidual(model, device, &p->clouds, &config, &result));
    const double uvp = uvp_of(p, model, device);
    ck_assert_msg(uvp < 5, "%g %%", uvp);
    ck_assert_msg(result.left_out > 0 && result.left_out < 0.1, "%g left out", result.left_out);
    mgn_model_destroy(model);
    free(p);
    mgn_device_close(device);
}
END_TEST

/* Few rows and many units: what is kept is from before they are learned by heart. */
START_TEST(rows_held_out_end_it) {
    mgn_device *device = open_cpu();
    problem *p = make_problem(52, bent);
    mgn_train_config config = usual();
    mgn_semidual_result result;
    const mgn_model_config wide = {.kind = "dicnn", .d = D, .h = 48, .layers = 2, .activation = MGN_SOFTPLUS};
    p->clouds.n = p->clouds.m = 700;
    config.epochs = 120;
    config.batch = 128;
    config.schedule.kind = MGN_SCHEDULE_CONSTANT;
    mgn_model *model = make_start(p, &wide);
    MGN_ASSERT_OK(mgn_semidual(model, device, &p->clouds, &config, &result));
    ck_assert_int_eq(result.held, 35);
    ck_assert_int_lt(result.best_epoch, config.epochs);
    mgn_model_destroy(model);
    free(p);
    mgn_device_close(device);
}
END_TEST

static mgn_semidual_step step_of(const mgn_model *model, const mgn_train_config *config) {
    return (mgn_semidual_step){
        .model = model, .config = config, .d = D, .count = mgn_model_parameter_count(model), .x_unit = 1, .y_unit = 1};
}

/* Each row of the list is solved from wherever it is, others are let alone; a map that is not onto leaves rows unsolved,
 * which it says, row by row. */
START_TEST(conjugate_points_are_solved_or_named) {
    enum { MANY = 1500, LISTED = 1300 };
    mgn_device *device = open_cpu();
    problem *p = make_problem(51, bent);
    const mgn_train_config config = {.real = MGN_F64};
    mgn_model *model = make_start(p, &dense);
    mgn_semidual_step step = step_of(model, &config);
    mgn_conjugates *conjugates = NULL;
    static float z[MANY * D], back[MANY * D];
    static int64_t list[LISTED];
    static double residual[LISTED];
    int64_t unsolved = -1;
    for (int64_t i = 0; i < MANY * D; i++) z[i] = i % 7 == 0 ? 300.F : 5.F;
    for (int64_t i = 0; i < LISTED; i++) list[i] = MANY - 1 - i;
    MGN_ASSERT_OK(mgn_conjugates_create(&step, device, LISTED, &conjugates));
    MGN_ASSERT_OK(mgn_conjugates_set(conjugates, mgn_model_values(model)));
    MGN_ASSERT_OK(mgn_conjugates_solve(conjugates, p->y, z, list, LISTED, 1e-4, residual, &unsolved));
    ck_assert_int_eq(unsolved, 0);
    mgn_map *map = NULL;
    MGN_ASSERT_OK(mgn_map_create(model, device, MGN_F64, &map));
    MGN_ASSERT_OK(mgn_map_apply(map, z, MANY, back));
    for (int64_t i = 0; i < MANY; i++) {
        const double off = hypot((double)(back[i * D] - p->y[i * D]), (double)(back[i * D + 1] - p->y[i * D + 1]));
        if (i >= MANY - LISTED)
            ck_assert_msg(off < 2e-4 && residual[MANY - 1 - i] <= 1e-4, "row %d: %g off", (int)i, off);
        if (i < MANY - LISTED) ck_assert(z[i * D + 1] == ((i * D + 1) % 7 == 0 ? 300.F : 5.F));
    }
    mgn_map_destroy(map);
    double *V = mgn_model_values(model) + step.count - D * D - D;
    memset(V, 0, D * D * sizeof *V); /* a bounded range */
    MGN_ASSERT_OK(mgn_conjugates_set(conjugates, mgn_model_values(model)));
    p->y[list[3] * D] = 1e4F;
    MGN_ASSERT_OK(mgn_conjugates_solve(conjugates, p->y, z, list, LISTED, 1e-4, residual, &unsolved));
    ck_assert_int_gt(unsolved, 0);
    ck_assert(!(residual[3] <= 1e-4));
    int64_t seen = 0;
    for (int64_t i = 0; i < LISTED; i++) seen += !(residual[i] <= 1e-4);
    ck_assert_int_eq(seen, unsolved);
    mgn_conjugates_destroy(conjugates);
    mgn_model_destroy(model);
    free(p);
    mgn_device_close(device);
}
END_TEST

/* ---- what it refuses ---- */

START_TEST(nonsense_is_refused) {
    mgn_device *device = open_cpu();
    problem *p = make_problem(45, affine);
    mgn_model *model = make_start(p, &dense), *deep = NULL;
    mgn_train_config config = usual();
    mgn_clouds few = p->clouds;
    few.m = 1;
    MGN_ASSERT_FAILS(mgn_semidual(model, device, &few, &config, NULL), MGN_ERR_ARGUMENT, "at least 2 rows");
    config.epochs = 0;
    MGN_ASSERT_FAILS(mgn_semidual(model, device, &p->clouds, &config, NULL), MGN_ERR_ARGUMENT, "at least 1 epoch");
    config = usual();
    strcpy(config.optimizer.kind, "lbfgs");
    MGN_ASSERT_FAILS(mgn_semidual(model, device, &p->clouds, &config, NULL), MGN_ERR_ARGUMENT, "first order");
    config = usual();
    MGN_ASSERT_OK(mgn_model_create(&(mgn_model_config){.kind = "cmgn", .d = D, .h = 2, .layers = 2}, 1, &deep));
    MGN_ASSERT_FAILS(mgn_semidual(deep, device, &p->clouds, &config, NULL), MGN_ERR_ARGUMENT, "closed form");
    MGN_ASSERT_FAILS(mgn_semidual_start(deep, &p->clouds, 1), MGN_ERR_UNSUPPORTED, "cmgn");
    p->x[7] = NAN;
    MGN_ASSERT_FAILS(mgn_semidual(model, device, &p->clouds, &config, NULL), MGN_ERR_NUMERIC, "row 3");
    mgn_model_destroy(deep);
    mgn_model_destroy(model);
    free(p);
    mgn_device_close(device);
}
END_TEST

static Suite *suite(void) {
    Suite *suite = suite_create("semidual");
    TCase *maps = tcase_create("maps"), *loop = tcase_create("loop");
    tcase_set_timeout(maps, 120);
    tcase_add_loop_test(maps, samples_alone_tell_the_map, 0, (int)MGN_COUNT(known));
    tcase_add_test(maps, clouds_may_differ_in_size);
    tcase_add_test(maps, the_value_is_that_of_the_dual);
    suite_add_tcase(suite, maps);
    tcase_set_timeout(loop, 60);
    tcase_add_test(loop, threads_and_repetition_change_nothing);
    tcase_add_test(loop, one_epoch_is_a_training);
    tcase_add_test(loop, a_callback_stops_it);
    tcase_add_test(loop, resuming_ends_with_the_same_bits);
    tcase_add_test(loop, pairs_are_neighbours);
    tcase_add_test(loop, steps_too_long_do_no_harm);
    tcase_add_test(loop, outliers_do_not_spoil_it);
    tcase_add_test(loop, rows_held_out_end_it);
    tcase_add_test(loop, conjugate_points_are_solved_or_named);
    tcase_add_test(loop, nonsense_is_refused);
    suite_add_tcase(suite, loop);
    return suite;
}

int main(void) { return mgn_test_main(suite()); }
