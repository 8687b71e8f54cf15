/* The training loop: what it visits, what it keeps, what it refuses; the mathematics of steps is in test_optim.c. */
#include "harness.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <mgn/train.h>

#include "core/core.h"
#include "group.h"

enum { MOST_ROWS = 20000, MOST_PARAMETERS = 64 };

static const mgn_model_config cascade = {.kind = "cmgn", .d = 2, .h = 3, .layers = 2};
static const mgn_model_config modular = {.kind = "mmgn", .d = 2, .h = 3, .layers = 2, .activation = MGN_TANH};

/* Points of the unit square and the gradient of x1^4 + x1^2/2 + x1 x2/2 + 3 x2^2/2 - x2^3/3, convex there. */
typedef struct field {
    float x[2 * MOST_ROWS], y[2 * MOST_ROWS];
} field;

static field *make_field(const char *name) {
    field *f = malloc(sizeof *f);
    ck_assert_ptr_nonnull(f);
    mgn_test_field(mgn_test_random_named(name), f->x, f->y, MOST_ROWS);
    return f;
}

static mgn_device *open_device(const char *spec) {
    mgn_device *device = NULL;
    MGN_ASSERT_OK(mgn_device_open(spec, &device));
    return device;
}

static mgn_model *make_model(const mgn_model_config *config, uint64_t seed) {
    mgn_model *model = NULL;
    MGN_ASSERT_OK(mgn_model_create(config, seed, &model));
    return model;
}

/* The usual settings of these tests; each changes what it is about. */
static mgn_train_config usual(const char *loss) {
    mgn_train_config config = {
        .optimizer = {.kind = "adam", .lr = 0.01}, .batch = 32, .epochs = 5, .seed = 4, .real = MGN_F64};
    strncpy(config.loss.kind, loss, sizeof config.loss.kind - 1);
    mgn_test_share(&config);
    return config;
}

/* ---- learning ---- */

typedef struct history {
    double first, last, lr[64];
    int64_t calls, steps, stop_after;
    uint64_t allocations[64];
} history;

static bool record(void *context, const mgn_train_report *report) {
    history *h = context;
    if (report->epoch == 1) h->first = report->loss;
    h->last = report->loss;
    h->lr[h->calls % 64] = report->lr;
    h->allocations[h->calls % 64] = mgn_allocations();
    h->steps = report->steps;
    ck_assert_int_eq(report->epoch, ++h->calls);
    ck_assert_double_ge(report->seconds, 0);
    return h->stop_after == 0 || report->epoch < h->stop_after;
}

START_TEST(training_lowers_every_loss) {
    static const struct {
        const char *loss;
        double below; /* of the first epoch's */
    } rows[] = {{"l1", 0.25}, {"mse", 0.1}, {"nll", 1}, {"kl", 0.1}};
    const mgn_model_config *models[] = {&cascade, &modular};
    field *f = make_field("field");
    mgn_device *device = open_device("cpu");
    for (size_t m = 0; m < MGN_COUNT(models); m++)
        for (size_t i = 0; i < MGN_COUNT(rows); i++) {
            history h = {0};
            mgn_train_result result = {0};
            mgn_train_config config = usual(rows[i].loss);
            config.epochs = 40;
            config.report = record;
            config.context = &h;
            mgn_model *model = make_model(models[m], 2);
            const mgn_samples samples = {f->x, mgn_loss_needs_pairs(rows[i].loss) ? f->y : NULL, 1024};
            MGN_ASSERT_OK(mgn_train(model, device, &samples, &config, &result));
            const double floor = strcmp(rows[i].loss, "nll") == 0 ? h.first - 0.5 : h.first * rows[i].below;
            ck_assert_msg(h.last < floor, "%s %s: %g, then %g", models[m]->kind, rows[i].loss, h.first, h.last);
            ck_assert_int_eq(h.calls, 40);
            ck_assert_int_eq(result.steps, 40 * 32);
            ck_assert_int_eq(h.steps, result.steps);
            ck_assert_double_eq(result.loss, h.last);
            ck_assert(result.seconds > 0 && result.compile_seconds > 0);
            mgn_model_destroy(model);
        }
    mgn_device_close(device);
    free(f);
}
END_TEST

START_TEST(schedules_reach_the_steps) {
    field *f = make_field("field");
    mgn_device *device = open_device("cpu");
    mgn_model *model = make_model(&cascade, 2);
    history h = {0};
    mgn_train_config config = usual("l1");
    config.schedule = (mgn_schedule_config){.kind = MGN_SCHEDULE_STEP, .every = 2, .gamma = 0.5};
    config.report = record;
    config.context = &h;
    MGN_ASSERT_OK(mgn_train(model, device, &(mgn_samples){f->x, f->y, 64}, &config, NULL));
    static const double lr[] = {0.01, 0.01, 0.005, 0.005, 0.0025};
    for (int i = 0; i < 5; i++) ck_assert_double_eq_tol(h.lr[i], lr[i], 1e-15);
    mgn_model_destroy(model);
    mgn_device_close(device);
    free(f);
}
END_TEST

/* ---- which rows are visited ---- */

/* One epoch without movement over rows whose targets are g(x), but for row `odd`: its mean squared error. */
static double epoch_loss_with_odd_row(mgn_device *device, const float *x, const float *y, int64_t n, int64_t batch,
                                      int64_t odd) {
    float *targets = malloc((size_t)(2 * n) * sizeof *targets);
    ck_assert_ptr_nonnull(targets);
    memcpy(targets, y, (size_t)(2 * n) * sizeof *targets);
    targets[2 * odd] += 8;
    mgn_model *model = make_model(&cascade, 2);
    mgn_train_result result;
    mgn_train_config config = usual("mse");
    config.optimizer = (mgn_optimizer_config){.kind = "sgd", .lr = 1e-300};
    config.epochs = 1;
    config.batch = batch;
    MGN_ASSERT_OK(mgn_train(model, device, &(mgn_samples){x, targets, n}, &config, &result));
    mgn_model_destroy(model);
    free(targets);
    return result.loss;
}

/* Every row is in exactly one batch of an epoch, and the tail has the rows that are left. */
START_TEST(an_epoch_visits_every_row_once) {
    static const int64_t sizes[][2] = {{20, 7}, {21, 7}, {8, 7}, {7, 7}, {9, 1}, {5, 100}, {13, 0}};
    mgn_device *device = open_device("cpu");
    field *f = make_field("field");
    mgn_model *model = make_model(&cascade, 2);
    mgn_map *map = NULL;
    float y[2 * 21];
    MGN_ASSERT_OK(mgn_map_create(model, device, MGN_F64, &map));
    MGN_ASSERT_OK(mgn_map_apply(map, f->x, 21, y));
    for (size_t s = 0; s < MGN_COUNT(sizes); s++) {
        const int64_t n = sizes[s][0], batch = sizes[s][1] == 0 ? n : MGN_MIN(sizes[s][1], n),
                      batches = (n + batch - 1) / batch;
        int64_t in_tail = 0;
        for (int64_t odd = 0; odd < n; odd++) {
            const double loss = epoch_loss_with_odd_row(device, f->x, y, n, sizes[s][1], odd);
            const double whole = 64.0 / (2 * (double)batch) / (double)batches;
            const double tail = n % batch ? 64.0 / (2 * (double)(n % batch)) / (double)batches : -1;
            const bool is_whole = fabs(loss - whole) < 1e-5 * whole, is_tail = fabs(loss - tail) < 1e-5 * tail;
            ck_assert_msg(is_whole || is_tail, "%d rows by %d: row %d gives the loss %g; %g or %g expected", (int)n,
                          (int)batch, (int)odd, loss, whole, tail);
            in_tail += is_tail && !is_whole;
        }
        if (n % batch) ck_assert_int_eq(in_tail, n % batch);
    }
    mgn_map_destroy(map);
    mgn_model_destroy(model);
    mgn_device_close(device);
    free(f);
}
END_TEST

/* ---- sameness ---- */

/* Trains a fresh model; its parameters to `values`. */
static void train_values(const char *spec, const field *f, int64_t n, const mgn_train_config *config, double *values) {
    mgn_device *device = open_device(spec);
    mgn_model *model = make_model(&cascade, 2);
    const mgn_samples samples = {f->x, mgn_loss_needs_pairs(config->loss.kind) ? f->y : NULL, n};
    MGN_ASSERT_OK(mgn_train(model, device, &samples, config, NULL));
    ck_assert_int_le(mgn_model_parameter_count(model), MOST_PARAMETERS);
    memset(values, 0, MOST_PARAMETERS * sizeof *values);
    memcpy(values, mgn_model_values(model), (size_t)mgn_model_parameter_count(model) * sizeof *values);
    mgn_model_destroy(model);
    mgn_device_close(device);
}

static double difference(const double *a, const double *b) {
    double most = 0;
    for (int i = 0; i < MOST_PARAMETERS; i++) most = fmax(most, fabs(a[i] - b[i]) / (1 + fabs(b[i])));
    return most;
}

START_TEST(accumulated_batches_are_one_larger_batch) {
    static const char *const losses[] = {"l1", "mse", "nll"};
    field *f = make_field("field");
    for (size_t i = 0; i < MGN_COUNT(losses); i++) {
        mgn_train_config whole = usual(losses[i]);
        whole.optimizer = (mgn_optimizer_config){.kind = "sgd", .lr = 0.01, .momentum = 0.9};
        mgn_train_config parts = whole;
        double a[MOST_PARAMETERS], b[MOST_PARAMETERS];
        whole.batch = 96;
        parts.batch = 24;
        parts.accumulate = 4;
        train_values("cpu", f, 384, &whole, a);
        train_values("cpu", f, 384, &parts, b);
        ck_assert_msg(difference(a, b) < 1e-11, "%s: off by %g", losses[i], difference(a, b));
        parts.accumulate = 2;
        train_values("cpu", f, 384, &parts, b);
        ck_assert_double_gt(difference(a, b), 1e-6);
    }
    free(f);
}
END_TEST

START_TEST(accumulation_ends_with_the_epoch) {
    field *f = make_field("field");
    mgn_device *device = open_device("cpu");
    mgn_model *model = make_model(&cascade, 2);
    mgn_train_result result;
    mgn_train_config config = usual("mse");
    config.accumulate = 3; /* 8 batches of 32 and a tail of 4 rows: steps after 3, 6, 9 */
    MGN_ASSERT_OK(mgn_train(model, device, &(mgn_samples){f->x, f->y, 260}, &config, &result));
    ck_assert_int_eq(result.steps, 3 * config.epochs);
    config.accumulate = 4; /* after 4, 8, 9 */
    MGN_ASSERT_OK(mgn_train(model, device, &(mgn_samples){f->x, f->y, 260}, &config, &result));
    ck_assert_int_eq(result.steps, 3 * config.epochs);
    ck_assert(isfinite(result.loss));
    mgn_model_destroy(model);
    mgn_device_close(device);
    free(f);
}
END_TEST

START_TEST(same_seed_same_bits_whatever_the_threads) {
    static const struct {
        const char *loss;
        int64_t batch;
        mgn_dtype real;
    } rows[] = {{"kl", 0, MGN_F32}, {"l1", 32, MGN_F32}, {"nll", 5000, MGN_F64}, {"mse", 7001, MGN_F32}};
    field *f = make_field("field");
    for (size_t i = 0; i < MGN_COUNT(rows); i++) {
        double first[MOST_PARAMETERS], other[MOST_PARAMETERS];
        mgn_train_config config = usual(rows[i].loss);
        config.batch = rows[i].batch;
        config.real = rows[i].real;
        config.epochs = 2;
        for (int threads = 1; threads <= 3; threads++) {
            mgn_set_threads(threads);
            train_values("cpu", f, MOST_ROWS, &config, threads == 1 ? first : other);
            if (threads > 1)
                ck_assert_msg(memcmp(first, other, sizeof first) == 0, "%s with %d threads is off by %g", rows[i].loss,
                              threads, difference(first, other));
        }
        config.seed++;
        train_values("cpu", f, MOST_ROWS, &config, other);
        if (rows[i].batch) ck_assert_double_gt(difference(first, other), 0);
    }
    mgn_set_threads(0);
    free(f);
}
END_TEST

START_TEST(opencl_learns_the_same) {
    const char *spec = mgn_test_opencl_spec();
    if (!spec) MGN_TEST_SKIP("no OpenCL device");
    static const char *const losses[] = {"l1", "mse", "nll", "kl"};
    field *f = make_field("field");
    for (size_t i = 0; i < MGN_COUNT(losses); i++) {
        double cpu[MOST_PARAMETERS], opencl[MOST_PARAMETERS], again[MOST_PARAMETERS];
        mgn_train_config config = usual(losses[i]);
        config.real = MGN_F32;
        config.batch = 100; /* 5 steps and a tail of 50 rows */
        config.optimizer = (mgn_optimizer_config){.kind = "sgd", .lr = 0.01, .momentum = 0.5};
        train_values("cpu", f, 550, &config, cpu);
        train_values(spec, f, 550, &config, opencl);
        train_values(spec, f, 550, &config, again);
        ck_assert_msg(difference(cpu, opencl) < 1e-4, "%s: off by %g", losses[i], difference(cpu, opencl));
        ck_assert_msg(memcmp(opencl, again, sizeof opencl) == 0, "%s: not the same bits twice", losses[i]);
    }
    free(f);
}
END_TEST

/* ---- stopping ---- */

START_TEST(a_callback_stops_and_keeps_what_was_learned) {
    field *f = make_field("field");
    mgn_device *device = open_device("cpu");
    history h = {.stop_after = 3};
    mgn_train_config config = usual("l1"), shorter = config;
    config.epochs = 30;
    config.report = record;
    config.context = &h;
    shorter.epochs = 3;
    mgn_model *stopped = make_model(&cascade, 2), *finished = make_model(&cascade, 2);
    mgn_train_result result = {0};
    MGN_ASSERT_FAILS(mgn_train(stopped, device, &(mgn_samples){f->x, f->y, 100}, &config, &result), MGN_ERR_INTERRUPTED,
                     "stopped after epoch 3 of 30");
    MGN_ASSERT_OK(mgn_train(finished, device, &(mgn_samples){f->x, f->y, 100}, &shorter, NULL));
    const size_t bytes = (size_t)mgn_model_parameter_count(stopped) * sizeof(double);
    ck_assert(memcmp(mgn_model_values(stopped), mgn_model_values(finished), bytes) == 0);
    ck_assert_int_eq(result.steps, 3 * 4);
    ck_assert_double_eq(result.loss, h.last);
    mgn_model_destroy(stopped);
    mgn_model_destroy(finished);
    mgn_device_close(device);
    free(f);
}
END_TEST

/* ---- divergence ---- */

static double loss_of(mgn_model *model, mgn_device *device, const field *f, int64_t n) {
    mgn_train_config config = usual("mse");
    mgn_train_result result = {.loss = NAN};
    config.batch = 0;
    config.epochs = 1;
    config.optimizer = (mgn_optimizer_config){.kind = "sgd", .lr = 1e-300};
    config.real = MGN_F32;
    MGN_ASSERT_OK(mgn_train(model, device, &(mgn_samples){f->x, f->y, n}, &config, &result));
    return result.loss;
}

/* Whatever goes wrong, and whenever: the error is named and the model is one that still gives numbers. */
START_TEST(divergence_is_named_and_keeps_good_parameters) {
    static const struct {
        const char *optimizer;
        double lr;
        int64_t batch, epochs;
    } rows[] = {{"adam", 1e30, 0, 5}, {"adam", 1e30, 32, 5},   {"sgd", 1e30, 0, 5},
                {"sgd", 1e30, 32, 1}, {"adamw", 1e300, 32, 3}, {"sgd", 20, 0, 200}};
    field *f = make_field("field");
    mgn_device *device = open_device("cpu");
    for (size_t i = 0; i < MGN_COUNT(rows); i++) {
        mgn_train_config config = usual("mse");
        config.optimizer = (mgn_optimizer_config){.lr = rows[i].lr};
        strncpy(config.optimizer.kind, rows[i].optimizer, sizeof config.optimizer.kind - 1);
        config.batch = rows[i].batch;
        config.epochs = rows[i].epochs;
        config.real = MGN_F32;
        mgn_model *model = make_model(&cascade, 2);
        MGN_ASSERT_FAILS(mgn_train(model, device, &(mgn_samples){f->x, f->y, 128}, &config, NULL), MGN_ERR_NUMERIC,
                         "training diverged");
        ck_assert_ptr_nonnull(strstr(mgn_last_error(), "a lower learning rate"));
        const double loss = loss_of(model, device, f, 128);
        ck_assert_msg(isfinite(loss), "%s lr=%g: the parameters that were kept give the loss %g", rows[i].optimizer,
                      rows[i].lr, loss);
        mgn_model_destroy(model);
    }
    mgn_device_close(device);
    free(f);
}
END_TEST

START_TEST(samples_that_are_not_finite_are_refused) {
    field *f = make_field("field");
    mgn_device *device = open_device("cpu");
    mgn_model *model = make_model(&cascade, 2);
    const mgn_train_config config = usual("l1");
    const mgn_samples samples = {f->x, f->y, 100};
    double before[MOST_PARAMETERS];
    memcpy(before, mgn_model_values(model), (size_t)mgn_model_parameter_count(model) * sizeof(double));
    f->x[2 * 41 + 1] = NAN;
    MGN_ASSERT_FAILS(mgn_train(model, device, &samples, &config, NULL), MGN_ERR_NUMERIC,
                     "not finite in row 41, column 1");
    f->x[2 * 41 + 1] = 0;
    f->y[2 * 99] = INFINITY;
    MGN_ASSERT_FAILS(mgn_train(model, device, &samples, &config, NULL), MGN_ERR_NUMERIC,
                     "not finite in row 99, column 0");
    ck_assert(memcmp(before, mgn_model_values(model), (size_t)mgn_model_parameter_count(model) * sizeof(double)) == 0);
    mgn_model_destroy(model);
    mgn_device_close(device);
    free(f);
}
END_TEST

START_TEST(impossible_settings_are_refused) {
    field *f = make_field("field");
    mgn_device *device = open_device("cpu");
    mgn_model *model = make_model(&cascade, 2);
    const mgn_samples samples = {f->x, f->y, 33};
    static const char *const sentences[] = {"at least 1 epoch",
                                            "at least 1 epoch",
                                            "accumulation from 0",
                                            "'huber' was found",
                                            "the optimizer is adam, adamw, sgd, lbfgs",
                                            "positive learning rate",
                                            "at least 2 rows"};
    for (size_t i = 0; i < MGN_COUNT(sentences); i++) {
        mgn_train_config config = usual(i == 3 ? "huber" : i == 6 ? "kl" : "l1");
        if (i == 0) config.epochs = 0;
        if (i == 1) config.batch = -1;
        if (i == 2) config.accumulate = -1;
        if (i == 4) strcpy(config.optimizer.kind, "rprop");
        if (i == 5) config.optimizer.lr = 0;
        MGN_ASSERT_FAILS(mgn_train(model, device, &samples, &config, NULL), MGN_ERR_ARGUMENT,
                         sentences[i]); /* 6: a tail of one row */
    }
    const mgn_train_config config = usual("l1");
    MGN_ASSERT_FAILS(mgn_train(model, device, &(mgn_samples){f->x, f->y, 0}, &config, NULL), MGN_ERR_ARGUMENT,
                     "no samples");
    MGN_ASSERT_FAILS(mgn_train(model, device, &(mgn_samples){f->x, NULL, 9}, &config, NULL), MGN_ERR_ARGUMENT,
                     "none were given");
    mgn_model_destroy(model);
    mgn_device_close(device);
    free(f);
}
END_TEST

/* ---- allocation ---- */

/* Allocations from one epoch's end to the next's. */
static uint64_t allocations_of_an_epoch(const char *spec, const field *f, int64_t n, int64_t accumulate) {
    mgn_device *device = open_device(spec);
    mgn_model *model = make_model(&cascade, 2);
    history h = {0};
    mgn_train_config config = usual("l1");
    config.batch = 8;
    config.epochs = 6;
    config.accumulate = accumulate;
    config.real = MGN_F32;
    config.report = record;
    config.context = &h;
    MGN_ASSERT_OK(mgn_train(model, device, &(mgn_samples){f->x, f->y, n}, &config, NULL));
    mgn_model_destroy(model);
    mgn_device_close(device);
    uint64_t most = 0;
    for (int i = 3; i < 6; i++) most = MGN_MAX(most, h.allocations[i] - h.allocations[i - 1]);
    return most;
}

static void check_allocations(const char *spec) {
    field *f = make_field("field");
    const uint64_t few = allocations_of_an_epoch(spec, f, 20, 1), many = allocations_of_an_epoch(spec, f, 1204, 1);
    ck_assert_uint_le(few, 8);
    ck_assert_msg(many == few, "%d allocations in an epoch of 151 steps, %d in one of 3", (int)many, (int)few);
    ck_assert_uint_eq(allocations_of_an_epoch(spec, f, 1204, 4), few);
    free(f);
}

START_TEST(steps_allocate_nothing) { check_allocations("cpu"); }
END_TEST

START_TEST(steps_allocate_nothing_on_opencl) {
    const char *spec = mgn_test_opencl_spec();
    if (!spec) MGN_TEST_SKIP("no OpenCL device");
    check_allocations(spec);
}
END_TEST

int main(void) {
    mgn_test_join();
    mgn_test_opencl_spec();
    Suite *suite = suite_create("train");
    TCase *learning = tcase_create("learning"), *ends = tcase_create("ends");
    tcase_add_test(learning, training_lowers_every_loss);
    tcase_add_test(learning, schedules_reach_the_steps);
    tcase_add_test(learning, an_epoch_visits_every_row_once);
    tcase_add_test(learning, accumulated_batches_are_one_larger_batch);
    tcase_add_test(learning, accumulation_ends_with_the_epoch);
    tcase_add_test(learning, same_seed_same_bits_whatever_the_threads);
    tcase_add_test(learning, opencl_learns_the_same);
    tcase_add_test(learning, steps_allocate_nothing);
    tcase_add_test(learning, steps_allocate_nothing_on_opencl);
    tcase_add_test(ends, a_callback_stops_and_keeps_what_was_learned);
    tcase_add_test(ends, divergence_is_named_and_keeps_good_parameters);
    tcase_add_test(ends, samples_that_are_not_finite_are_refused);
    tcase_add_test(ends, impossible_settings_are_refused);
    suite_add_tcase(suite, learning);
    suite_add_tcase(suite, ends);
    return mgn_test_main(suite);
}
