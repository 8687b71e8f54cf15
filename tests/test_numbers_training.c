/* Where numbers leave their range while training: the step is taken back, the learning rate lowered, and after as many tries
 * as were allowed the run ends with a sentence, the state that was good in the model and in a checkpoint that loads. Every
 * optimizer, both backends. */
#include "harness.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include <mgn/data.h>
#include <mgn/train.h>

#include "core/core.h"

enum { ROWS = 64, MOST_PARAMETERS = 64 };

static const mgn_model_config cascade = {.kind = "cmgn", .d = 2, .h = 3, .layers = 2};
static const char *opencl_spec;
static float x[2 * ROWS], y[2 * ROWS];

static void make_rows(void) { mgn_test_field(mgn_test_random_named("rows"), x, y, ROWS); }

typedef struct run {
    mgn_status status;
    mgn_train_result result;
    double start[MOST_PARAMETERS], values[MOST_PARAMETERS];
    int64_t count;
    char sentence[512];
} run;

static run train(const char *spec, const mgn_train_config *config, const mgn_samples *samples) {
    run r = {0};
    mgn_device *device = NULL;
    mgn_model *model = NULL;
    MGN_ASSERT_OK(mgn_device_open(spec, &device));
    MGN_ASSERT_OK(mgn_model_create(&cascade, mgn_test_seed(), &model));
    r.count = mgn_model_parameter_count(model);
    ck_assert_int_le(r.count, MOST_PARAMETERS);
    memcpy(r.start, mgn_model_values(model), (size_t)r.count * sizeof *r.start);
    r.status = mgn_train(model, device, samples, config, &r.result);
    snprintf(r.sentence, sizeof r.sentence, "%s", r.status == MGN_OK ? "" : mgn_last_error());
    memcpy(r.values, mgn_model_values(model), (size_t)r.count * sizeof *r.values);
    mgn_model_destroy(model);
    mgn_device_close(device);
    return r;
}

/* The checkpoint has the parameters that the model has, in the precision of the training. */
static void check_checkpoint(const char *path, const run *r, const char *what) {
    mgn_safetensors file = {0};
    MGN_ASSERT_OK(mgn_safetensors_read(path, &file));
    const mgn_stored_tensor *stored = mgn_safetensors_find(&file, "parameters");
    ck_assert_msg(stored && (stored->dtype == MGN_F32 || stored->dtype == MGN_F64), "%s: no parameters", what);
    for (int64_t i = 0; i < r->count; i++) {
        const double value =
            stored->dtype == MGN_F32 ? (double)((const float *)stored->data)[i] : ((const double *)stored->data)[i];
        ck_assert_msg(isfinite(value) && value == r->values[i], "%s: parameter %d is %g in the checkpoint, %g here",
                      what, (int)i, value, r->values[i]);
    }
    mgn_safetensors_free(&file);
}

/* ---- first order ---- */

typedef struct variant {
    const char *loss, *optimizer;
    double momentum;
    int64_t batch, accumulate, blocks;
    mgn_dtype real;
} variant;

static const variant variants[] = {
    {"mse", "adam", 0, 16, 0, 0, MGN_F32},      {"mse", "adamw", 0, 16, 3, 0, MGN_F32},
    {"mse", "sgd", 0, 16, 0, 0, MGN_F32},       {"mse", "sgd", .9, 0, 0, 0, MGN_F32},
    {"l1", "adam", 0, 16, 0, 4, MGN_F32},       {"nll", "adam", 0, 24, 0, 0, MGN_F32},
    {"nll", "sgd", .5, 16, 0, 0, MGN_F32},      {"kl", "adamw", 0, 0, 0, 0, MGN_F32},
    {"mse", "adam", 0, 16, 0, 0, MGN_F64},      {"mse", "sgd", 0, 16, 2, 0, MGN_F64},
    {"sinkhorn", "adam", 0, 32, 0, 0, MGN_F32},
};

static void check_rollbacks(const char *spec, const variant *v) {
    const char *path = mgn_test_path("rolled.safetensors");
    const double rate = v->real == MGN_F32 ? 1e30 : 1e160; /* the first step leads to numbers whose squares overflow */
    char what[128], after[64], lowered[64];
    mgn_target *points = NULL;
    MGN_ASSERT_OK(mgn_target_create_rows(y, ROWS, 2, &points));
    mgn_train_config config = {.optimizer = {.lr = rate, .momentum = v->momentum},
                               .batch = v->batch,
                               .accumulate = v->accumulate,
                               .blocks = v->blocks,
                               .epochs = 4,
                               .seed = mgn_test_seed(),
                               .real = v->real,
                               .control = {.retries = 3, .checkpoint = path}};
    snprintf(config.loss.kind, sizeof config.loss.kind, "%s", v->loss);
    snprintf(config.optimizer.kind, sizeof config.optimizer.kind, "%s", v->optimizer);
    snprintf(what, sizeof what, "%s by %s, accumulated %d, blocks %d, %s on %s", v->loss, v->optimizer,
             (int)v->accumulate, (int)v->blocks, v->real == MGN_F32 ? "f32" : "f64", spec);
    if (mgn_loss_needs_samples(v->loss)) config.loss.target = points;
    const mgn_samples samples = {x, mgn_loss_needs_pairs(v->loss) ? y : NULL, ROWS};
    const run r = train(spec, &config, &samples);
    snprintf(after, sizeof after, "after 3 rollbacks");
    snprintf(lowered, sizeof lowered, "a lower learning rate than %g", rate / 64);
    ck_assert_msg(r.status == MGN_ERR_NUMERIC && strstr(r.sentence, after) && strstr(r.sentence, lowered) &&
                      strstr(r.sentence, "training diverged"),
                  "%s: status %d: %s", what, (int)r.status, r.sentence);
    ck_assert_msg(r.result.rollbacks == 3, "%s: %d rollbacks", what, (int)r.result.rollbacks);
    for (int64_t i = 0; i < r.count; i++) {
        const double start = v->real == MGN_F32 ? (double)(float)r.start[i] : r.start[i];
        ck_assert_msg(r.values[i] == start, "%s: parameter %d is %g, not %g as before", what, (int)i, r.values[i],
                      start);
    }
    check_checkpoint(path, &r, what);
    config.control.resume = path;
    const run resumed = train(spec, &config, &samples); /* it loads, and is where it was */
    ck_assert_msg(resumed.status == MGN_ERR_NUMERIC && strstr(resumed.sentence, after), "%s, resumed: status %d: %s",
                  what, (int)resumed.status, resumed.sentence);
    config.control = (mgn_train_control){.retries = 2000};
    const run good = train(spec, &config, &samples); /* down to where it goes */
    ck_assert_msg(good.status == MGN_OK && good.result.rollbacks > 3 && good.result.epochs == 4 &&
                      isfinite(good.result.loss),
                  "%s: status %d, %d rollbacks, loss %g: %s", what, (int)good.status, (int)good.result.rollbacks,
                  good.result.loss, good.sentence);
    mgn_target_destroy(points);
}

START_TEST(steps_are_rolled_back) {
    check_rollbacks("cpu", &variants[_i]);
    if (_i % 3 == 1 && opencl_spec) check_rollbacks(opencl_spec, &variants[_i]);
}
END_TEST

/* ---- rows that turn bad on the way ---- */

/* Two windows of rows, which read number `bad` makes enormous: the squares overflow, and all after them. */
typedef struct spoilt_rows {
    int64_t reads, bad;
} spoilt_rows;

static mgn_status read_rows(void *context, int64_t first, int64_t n, float *to_x, float *to_y) {
    spoilt_rows *s = context;
    const float factor = s->reads++ == s->bad ? 1e25f : 1;
    for (int64_t i = 0; i < 2 * n; i++) to_x[i] = factor * x[2 * first + i];
    memcpy(to_y, y + 2 * first, (size_t)(2 * n) * sizeof *to_y);
    return MGN_OK;
}

START_TEST(an_epoch_that_was_spoilt_is_done_again) {
    static const char *const optimizers[] = {"adam", "adamw", "sgd"};
    for (size_t o = 0; o < MGN_COUNT(optimizers); o++)
        for (int b = 0; b < (opencl_spec ? 2 : 1); b++) {
            const char *spec = b ? opencl_spec : "cpu", *path = mgn_test_path("spoilt.safetensors");
            spoilt_rows rows = {0, 9};
            const mgn_row_source source = {.n = ROWS,
                                           .window = ROWS / 2,
                                           .block = ROWS / 2,
                                           .read = read_rows,
                                           .context = &rows,
                                           .has_targets = true};
            mgn_train_config config = {.loss.kind = "mse",
                                       .optimizer.lr = .01,
                                       .batch = 8,
                                       .epochs = 12,
                                       .seed = mgn_test_seed(),
                                       .real = MGN_F32,
                                       .source = &source,
                                       .control = {.retries = 3, .checkpoint = path}};
            snprintf(config.optimizer.kind, sizeof config.optimizer.kind, "%s", optimizers[o]);
            const run r = train(spec, &config, NULL);
            ck_assert_msg(r.status == MGN_OK && r.result.rollbacks == 1 && r.result.epochs == 12 &&
                              isfinite(r.result.loss) && rows.reads > rows.bad,
                          "%s on %s: status %d, %d rollbacks, loss %g: %s", optimizers[o], spec, (int)r.status,
                          (int)r.result.rollbacks, r.result.loss, r.sentence);
            check_checkpoint(path, &r, optimizers[o]);
        }
}
END_TEST

/* ---- second order ---- */

static bool watch_loss(void *context, const mgn_train_report *report) {
    double *last = context;
    ck_assert_msg(isfinite(report->loss) && report->loss <= last[0], "the loss goes from %g to %g", last[0],
                  report->loss);
    last[0] = report->loss;
    last[1]++;
    return true;
}

/* These only ever move to a finite point that is not higher. Rows of this size make squares that the next larger step would
 * overflow; rows of twice as many digits overflow at the start. */
static void check_second_order(const char *spec, const char *optimizer) {
    const char *path = mgn_test_path("second.safetensors");
    static float far[2 * ROWS], beyond[2 * ROWS];
    for (int i = 0; i < 2 * ROWS; i++) {
        far[i] = 1e17f * x[i];
        beyond[i] = 1e25f * x[i];
    }
    double seen[2] = {INFINITY, 0};
    mgn_train_config config = {.loss.kind = "mse",
                               .epochs = 8,
                               .seed = mgn_test_seed(),
                               .real = MGN_F32,
                               .report = watch_loss,
                               .context = seen,
                               .control = {.checkpoint = path, .checkpoint_epochs = 1}};
    snprintf(config.optimizer.kind, sizeof config.optimizer.kind, "%s", optimizer);
    const run r = train(spec, &config, &(mgn_samples){far, y, ROWS});
    ck_assert_msg(r.status == MGN_OK && isfinite(r.result.loss), "%s on %s: status %d, loss %g: %s", optimizer, spec,
                  (int)r.status, r.result.loss, r.sentence);
    check_checkpoint(path, &r, optimizer);
    const run none = train(spec, &config, &(mgn_samples){beyond, y, ROWS});
    ck_assert_msg(none.status == MGN_ERR_NUMERIC && strstr(none.sentence, "at the start values"),
                  "%s on %s: status %d: %s", optimizer, spec, (int)none.status, none.sentence);
    ck_assert_mem_eq(none.values, none.start, (size_t)none.count * sizeof(double));
    check_checkpoint(path, &none, optimizer);
}

START_TEST(second_order_never_leaves_the_finite) {
    static const char *const optimizers[] = {"lbfgs", "newton", "gauss-newton"};
    check_second_order("cpu", optimizers[_i]);
    if (opencl_spec) check_second_order(opencl_spec, optimizers[_i]);
}
END_TEST

int main(void) {
    opencl_spec = mgn_test_opencl_spec();
    Suite *suite = suite_create("training");
    TCase *tests = tcase_create("training");
    tcase_add_unchecked_fixture(tests, make_rows, NULL);
    tcase_add_loop_test(tests, steps_are_rolled_back, 0, (int)MGN_COUNT(variants));
    tcase_add_test(tests, an_epoch_that_was_spoilt_is_done_again);
    tcase_add_loop_test(tests, second_order_never_leaves_the_finite, 0, 3);
    suite_add_tcase(suite, tests);
    return mgn_test_main(suite);
}
