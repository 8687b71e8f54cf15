/* Checkpoints, resuming, rollbacks, early stops and curves: a run that was stopped anywhere and resumed ends with the bits of
 * one that was not, on both backends. */
#define _GNU_SOURCE
#include "harness.h"

#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>

#include <mgn/data.h>
#include <mgn/train.h>

#include "core/core.h"

enum { ROWS = 300, HELD = 60, MOST_PARAMETERS = 64 };

static const mgn_model_config cascade = {.kind = "cmgn", .d = 2, .h = 3, .layers = 2};

static const char *opencl_spec;
static float x[2 * ROWS], y[2 * ROWS];
static mgn_target *points; /* y, to be drawn from */

static const mgn_samples pairs = {x, y, ROWS - HELD}, held = {x + 2 * (ROWS - HELD), y + 2 * (ROWS - HELD), HELD};

static void make_rows(void) {
    mgn_test_field(mgn_test_random_named("rows"), x, y, ROWS);
    if (!points) MGN_ASSERT_OK(mgn_target_create_rows(y, ROWS, 2, &points));
}

/* ---- runs ---- */

typedef struct run {
    mgn_train_result result;
    mgn_status status;
    double values[MOST_PARAMETERS];
} run;

static int64_t stop_after; /* 0: never */

static bool stop_there(void *context, const mgn_train_report *report) {
    (void)context;
    return stop_after == 0 || report->epoch < stop_after;
}

static run train(const char *spec, const mgn_train_config *config, uint64_t seed) {
    run r = {0};
    mgn_device *device = NULL;
    mgn_model *model = NULL;
    mgn_train_config with_report = *config;
    with_report.report = stop_there;
    MGN_ASSERT_OK(mgn_device_open(spec, &device));
    MGN_ASSERT_OK(mgn_model_create(&cascade, seed, &model));
    ck_assert_int_le(mgn_model_parameter_count(model), MOST_PARAMETERS);
    mgn_samples samples = pairs;
    if (!mgn_loss_needs_pairs(config->loss.kind)) samples.y = NULL;
    r.status = mgn_train(model, device, &samples, &with_report, &r.result);
    memcpy(r.values, mgn_model_values(model), (size_t)mgn_model_parameter_count(model) * sizeof *r.values);
    mgn_model_destroy(model);
    mgn_device_close(device);
    return r;
}

static mgn_train_config usual(const char *loss, const char *optimizer) {
    mgn_train_config config = {.optimizer = {.lr = 0.01}, .batch = 32, .epochs = 9, .seed = 4, .real = MGN_F32};
    snprintf(config.loss.kind, sizeof config.loss.kind, "%s", loss);
    snprintf(config.optimizer.kind, sizeof config.optimizer.kind, "%s", optimizer);
    config.control.checkpoint_epochs = 4;
    if (mgn_loss_needs_samples(loss)) {
        config.loss.target = points;
        config.loss.sinkhorn.blur = 0.1;
    }
    if (mgn_optimizer_is_second_order(optimizer)) {
        config.batch = 0;
        config.real = MGN_F64;
    }
    return config;
}

static void check_same(const run *a, const run *b, const char *what) {
    for (int i = 0; i < MOST_PARAMETERS; i++)
        ck_assert_msg(memcmp(&a->values[i], &b->values[i], sizeof(double)) == 0, "%s: parameter %d is %.17g, not %.17g",
                      what, i, b->values[i], a->values[i]);
    ck_assert_msg(memcmp(&a->result.loss, &b->result.loss, sizeof(double)) == 0, "%s: loss %.17g, not %.17g", what,
                  b->result.loss, a->result.loss);
    ck_assert_int_eq(a->result.steps, b->result.steps);
    ck_assert_int_eq(a->result.epochs, b->result.epochs);
    ck_assert_int_eq(a->result.best_epoch, b->result.best_epoch);
    ck_assert_int_eq(a->result.rollbacks, b->result.rollbacks);
}

/* ---- resuming ---- */

typedef struct variant {
    const char *label, *loss, *optimizer;
    int64_t batch, accumulate, patience, retries;
    double lr;
    mgn_schedule_kind schedule;
} variant;

static const variant variants[] = {
    {"adam", "mse", "adam", 32, 0, 0, 0, 0.01, MGN_SCHEDULE_COSINE},
    {"adamw, accumulated, with a shorter group", "l1", "adamw", 32, 3, 0, 2, 0.01, MGN_SCHEDULE_STEP},
    {"sgd on a plateau", "mse", "sgd", 8, 0, 0, 0, 0.2, MGN_SCHEDULE_PLATEAU},
    {"adam with rows held out", "nll", "adam", 50, 0, 2, 2, 0.05, MGN_SCHEDULE_PLATEAU},
    {"adam after rollbacks", "mse", "adam", 32, 0, 0, 12, 1e4, MGN_SCHEDULE_CONSTANT},
    {"adam to points", "sinkhorn", "adam", 60, 0, 3, 2, 0.01, MGN_SCHEDULE_COSINE},
    {"lbfgs", "mse", "lbfgs", 0, 0, 0, 0, 0, MGN_SCHEDULE_CONSTANT},
    {"newton", "mse", "newton", 0, 0, 2, 0, 0, MGN_SCHEDULE_CONSTANT},
    {"gauss-newton", "l1", "gauss-newton", 0, 0, 0, 0, 0, MGN_SCHEDULE_CONSTANT},
};

static mgn_train_config config_of(const variant *v) {
    mgn_train_config config = usual(v->loss, v->optimizer);
    config.batch = v->batch;
    config.accumulate = v->accumulate;
    config.schedule = (mgn_schedule_config){.kind = v->schedule, .every = 2};
    config.optimizer.lr = v->lr;
    config.control.patience = v->patience;
    config.control.retries = v->retries;
    if (v->patience) config.control.held_out = &held;
    return config;
}

static void check_resuming(const char *spec, const variant *v, const int64_t *stops, size_t count) {
    const char *path = mgn_test_path("state.safetensors");
    mgn_train_config config = config_of(v);
    const run whole = train(spec, &config, 1);
    ck_assert_msg(whole.status == MGN_OK, "%s: %s", v->label, mgn_last_error());
    if (v->lr == 1e4) ck_assert_int_gt(whole.result.rollbacks, 0);
    for (size_t i = 0; i < count && stops[i] < whole.result.epochs; i++) {
        char what[128];
        snprintf(what, sizeof what, "%s on %s, stopped after %d", v->label, spec, (int)stops[i]);
        config.control.checkpoint = path;
        config.control.resume = NULL;
        stop_after = stops[i];
        const run part = train(spec, &config, 1);
        ck_assert_msg(part.status == MGN_ERR_INTERRUPTED, "%s: %s", what, mgn_last_error());
        stop_after = 0;
        config.control.resume = path;
        const run rest = train(spec, &config, 77); /* the model's own parameters do not count */
        ck_assert_msg(rest.status == MGN_OK, "%s: %s", what, mgn_last_error());
        check_same(&whole, &rest, what);
        const run again = train(spec, &config, 77); /* there is nothing left to do */
        check_same(&whole, &again, what);
    }
}

START_TEST(a_resumed_run_ends_with_the_same_bits) {
    static const int64_t stops[] = {1, 6};
    check_resuming("cpu", &variants[_i], stops, MGN_COUNT(stops));
}
END_TEST

START_TEST(a_resumed_run_ends_with_the_same_bits_on_opencl) {
    if (!opencl_spec) MGN_TEST_SKIP("no OpenCL device");
    static const int64_t stops[] = {3};
    static const size_t which[] = {1, 3, 5};
    for (size_t i = 0; i < MGN_COUNT(which); i++) check_resuming(opencl_spec, &variants[which[i]], stops, 1);
}
END_TEST

static void on_alarm(int number) {
    (void)number;
    mgn_interrupt();
}

/* Interrupts after `seconds`. */
static void set_alarm(double seconds) {
    signal(SIGALRM, on_alarm);
    const struct itimerval once = {{0, 0}, {(time_t)seconds, (suseconds_t)(1e6 * (seconds - floor(seconds)))}};
    setitimer(ITIMER_REAL, &once, NULL);
}

/* Epochs of many steps, stopped by the clock again and again, and with checkpoints by the clock as well. */
START_TEST(the_middle_of_an_epoch_is_resumed) {
    mgn_test_random random = MGN_TEST_RANDOM();
    const char *path = mgn_test_path("middle.safetensors");
    for (int64_t accumulate = 1; accumulate <= 3; accumulate += 2) {
        mgn_train_config config = usual("mse", "adam");
        config.batch = 1;
        config.epochs = 800;
        config.accumulate = accumulate;
        config.control.retries = 3;
        config.control.checkpoint_epochs = 0;
        const run whole = train("cpu", &config, 1);
        ck_assert_int_eq(whole.status, MGN_OK);
        config.control.checkpoint = path;
        int middles = 0, stops = 0;
        run part = {.status = MGN_ERR_INTERRUPTED};
        for (; part.status == MGN_ERR_INTERRUPTED; stops++) {
            config.control.checkpoint_seconds = stops % 4 == 3 ? 0.01 : 100;
            set_alarm(0.002 + fmin(whole.result.seconds, 0.5) * mgn_test_uniform(&random, 0, 0.4));
            part = train("cpu", &config, 1 + (uint64_t)stops);
            set_alarm(0);
            middles += part.status != MGN_OK && strstr(mgn_last_error(), "of its 240 batches");
            if (part.status == MGN_ERR_INTERRUPTED && !stops) ck_assert_int_lt(part.result.steps, whole.result.steps);
            mgn_resume();
            config.control.resume = path;
        }
        ck_assert_msg(part.status == MGN_OK, "%s", mgn_last_error());
        check_same(&whole, &part, "stopped by the clock");
        ck_assert_msg(middles > 0, "none of %d stops was in the middle of an epoch", stops - 1);
    }
}
END_TEST

/* ---- refusals ---- */

static void check_refused(const mgn_train_config *config, mgn_status status, const char *words) {
    const run r = train("cpu", config, 1);
    ck_assert_msg(r.status == status && strstr(mgn_last_error(), words), "'%s' was expected, status %d: %s", words,
                  (int)r.status, mgn_last_error());
}

START_TEST(another_training_is_refused) {
    const char *path = mgn_test_path("own.safetensors"), *other = mgn_test_path("other.safetensors");
    mgn_train_config config = usual("mse", "adam"), changed;
    config.control.checkpoint = path;
    ck_assert_int_eq(train("cpu", &config, 1).status, MGN_OK);
    config.control.checkpoint = NULL;
    config.control.resume = path;
    changed = config;
    changed.optimizer.lr = 0.02;
    check_refused(&changed, MGN_ERR_ARGUMENT, "lr was '0.01");
    changed = config;
    changed.epochs = 10;
    check_refused(&changed, MGN_ERR_ARGUMENT, "epochs was '9' there and is '10' now");
    changed = config;
    changed.seed = 5;
    check_refused(&changed, MGN_ERR_ARGUMENT, "seed was");
    x[7] += 1e-3f;
    check_refused(&config, MGN_ERR_ARGUMENT, "rows was");
    x[7] -= 1e-3f;
    make_rows();
    changed = config;
    changed.control.resume = mgn_test_path("none");
    check_refused(&changed, MGN_ERR_IO, "none");
    size_t size;
    char *bytes = mgn_test_read_file(path, &size);
    mgn_test_write_file(other, bytes, size / 2);
    changed.control.resume = other;
    check_refused(&changed, MGN_ERR_FORMAT, "other.safetensors");
    char *epoch = memmem(bytes, size, "\"epoch\":\"9\"", 11);
    ck_assert_ptr_nonnull(epoch);
    epoch[9] = 'x';
    mgn_test_write_file(other, bytes, size);
    check_refused(&changed, MGN_ERR_FORMAT, "epoch");
    memcpy(epoch, "\"epoch\":\"-\"", 11);
    mgn_test_write_file(other, bytes, size);
    check_refused(&changed, MGN_ERR_FORMAT, "epoch");
    mgn_safetensors plain = {0};
    MGN_ASSERT_OK(mgn_safetensors_set(&plain, "kind", "cmgn"));
    MGN_ASSERT_OK(mgn_safetensors_write(other, &plain));
    check_refused(&changed, MGN_ERR_FORMAT, "no checkpoint");
    free(bytes);
    mgn_safetensors_free(&plain);
}
END_TEST

/* ---- divergence ---- */

START_TEST(divergence_goes_back_and_then_ends) {
    const char *path = mgn_test_path("diverged.safetensors");
    mgn_train_config config = usual("mse", "adam");
    config.optimizer.lr = 1e9;
    config.control.retries = 2;
    config.control.checkpoint = path;
    const run r = train("cpu", &config, 1);
    ck_assert_int_eq(r.status, MGN_ERR_NUMERIC);
    ck_assert_msg(strstr(mgn_last_error(), "the mse loss") && strstr(mgn_last_error(), "after 2 rollbacks"), "%s",
                  mgn_last_error());
    for (int i = 0; i < MOST_PARAMETERS; i++) ck_assert(fabs(r.values[i]) < 10); /* those of the start */
    config.control.resume = path;
    check_refused(&config, MGN_ERR_NUMERIC, "training diverged"); /* it loads, and is where it was */
    config.control = (mgn_train_control){.retries = 30};
    const run good = train("cpu", &config, 1);
    ck_assert_int_eq(good.status, MGN_OK);
    ck_assert_int_gt(good.result.rollbacks, 2);
    ck_assert_double_lt(good.result.loss, 1e4);
}
END_TEST

/* Adam's second moment overflows where neither the loss nor a parameter does. */
START_TEST(a_part_of_the_state_that_is_not_finite_is_named) {
    mgn_train_config config = usual("mse", "adam");
    const run small = train("cpu", &config, 1);
    ck_assert_int_eq(small.status, MGN_OK);
    config.loss.cost_weight = 1e25;
    config.control.retries = 1;
    check_refused(&config, MGN_ERR_NUMERIC, "(optimizer.vector1) became infinite or NaN in epoch 1");
}
END_TEST

/* ---- rows held out ---- */

typedef struct history {
    double held_out[240], values[240][MOST_PARAMETERS];
    int64_t epochs;
} history;

static bool record(void *context, const mgn_train_report *report) {
    history *h = context;
    h->held_out[report->epoch - 1] = report->held_out;
    h->epochs = report->epoch;
    ck_assert(isfinite(report->cost));
    return true;
}

START_TEST(patience_keeps_the_best_parameters) {
    mgn_train_config config = usual("mse", "sgd");
    config.optimizer.lr = 0.2; /* it wanders about */
    config.batch = 8;
    config.epochs = 240;
    config.control.patience = 4;
    config.control.held_out = &held;
    history h = {0};
    config.report = record;
    config.context = &h;
    mgn_device *device = NULL;
    mgn_model *model = NULL;
    mgn_train_result result;
    MGN_ASSERT_OK(mgn_device_open("cpu", &device));
    MGN_ASSERT_OK(mgn_model_create(&cascade, 1, &model));
    MGN_ASSERT_OK(mgn_train(model, device, &pairs, &config, &result));
    int64_t best = 0;
    for (int64_t i = 0; i < h.epochs; i++)
        if (h.held_out[i] < h.held_out[best]) best = i;
    ck_assert_int_eq(result.best_epoch, best + 1);
    ck_assert_double_eq(result.best, h.held_out[best]);
    ck_assert_int_eq(result.epochs, best + 1 + 4);
    ck_assert_int_lt(result.epochs, 240);
    /* The model is that of the best epoch. */
    mgn_map *map = NULL;
    float image[2 * HELD];
    double sum = 0;
    MGN_ASSERT_OK(mgn_map_create(model, device, MGN_F32, &map));
    MGN_ASSERT_OK(mgn_map_apply(map, held.x, HELD, image));
    for (int i = 0; i < 2 * HELD; i++) sum += pow((double)image[i] - (double)held.y[i], 2) / (2 * HELD);
    ck_assert_double_eq_tol(sum, result.best, 1e-5 * result.best);
    mgn_map_destroy(map);
    mgn_model_destroy(model);
    mgn_device_close(device);
}
END_TEST

/* ---- accumulation ---- */

/* Where all rows are alike, each step has the whole gradient, the last one of an epoch too, which has fewer batches. */
START_TEST(a_shorter_group_is_divided_by_its_own_count) {
    for (int i = 1; i < ROWS; i++) {
        memcpy(x + 2 * i, x, 2 * sizeof *x);
        memcpy(y + 2 * i, y, 2 * sizeof *y);
    }
    mgn_train_config parts = usual("mse", "sgd"), whole = parts;
    parts.batch = 80;
    parts.accumulate = 2; /* 3 batches: steps of 2 and of 1 */
    parts.real = whole.real = MGN_F64;
    whole.batch = 0;
    whole.epochs = 2 * parts.epochs;
    const run a = train("cpu", &parts, 1), b = train("cpu", &whole, 1);
    for (int i = 0; i < MOST_PARAMETERS; i++) ck_assert_double_eq_tol(a.values[i], b.values[i], 1e-12);
    make_rows();
}
END_TEST

/* ---- curves ---- */

static int count_lines(const char *text) {
    int lines = 0;
    for (; *text; text++) lines += *text == '\n';
    return lines;
}

/* The line of an epoch without its seconds. */
static void copy_line(const char *text, int line, char out[256]) {
    for (; line > 0; line--) text = strchr(text, '\n') + 1;
    snprintf(out, 256, "%.*s", (int)strcspn(text, "\n"), text);
    char *comma = strrchr(out, ',');
    ck_assert_ptr_nonnull(comma);
    *comma = 0;
}

static void check_curve(const char *name) {
    char first[256], second[256];
    const char *whole_path = mgn_test_path(name), *path = mgn_test_path("state.safetensors");
    mgn_train_config config = usual("mse", "adam");
    config.control.held_out = &held;
    config.control.log = whole_path;
    ck_assert_int_eq(train("cpu", &config, 1).status, MGN_OK);
    char *whole = mgn_test_read_file(whole_path, NULL), part_path[600];
    snprintf(part_path, sizeof part_path, "%.*s/part-%s", (int)(strrchr(whole_path, '/') - whole_path), whole_path,
             name);
    config.control.checkpoint = path;
    config.control.log = part_path;
    stop_after = 5;
    ck_assert_int_eq(train("cpu", &config, 1).status, MGN_ERR_INTERRUPTED);
    stop_after = 0;
    /* As after a crash: lines after the checkpoint, the last of them torn. */
    char *part = mgn_test_read_file(part_path, NULL);
    const bool is_csv = strstr(name, ".csv") != NULL;
    ck_assert_int_eq(count_lines(part), 5 + is_csv);
    FILE *stream = fopen(part_path, "a");
    fputs(is_csv ? "6,1,1,1,1,1,1\n7,3" : "{\"epoch\": 6, \"step\": 9}\n{\"ep", stream);
    fclose(stream);
    free(part);
    config.control.resume = path;
    ck_assert_int_eq(train("cpu", &config, 1).status, MGN_OK);
    part = mgn_test_read_file(part_path, NULL);
    ck_assert_int_eq(count_lines(part), 9 + is_csv);
    ck_assert_int_eq(count_lines(whole), 9 + is_csv);
    for (int i = 0; i < 9 + is_csv; i++) {
        copy_line(whole, i, first);
        copy_line(part, i, second);
        ck_assert_str_eq(first, second);
    }
    free(part);
    free(whole);
    /* What is no curve is not cut. */
    mgn_test_write_file(part_path, "my notes\n", 9);
    check_refused(&config, MGN_ERR_ARGUMENT, "is no log of a training");
    part = mgn_test_read_file(part_path, NULL);
    ck_assert_str_eq(part, "my notes\n");
    free(part);
}

START_TEST(curves_go_on_where_the_checkpoint_does) {
    check_curve("curve.csv");
    check_curve("curve.jsonl");
    mgn_train_config config = usual("mse", "adam");
    config.control.log = mgn_test_path("curve.txt");
    check_refused(&config, MGN_ERR_ARGUMENT, "ends in .csv or .jsonl");
}
END_TEST

int main(void) {
    opencl_spec = mgn_test_opencl_spec();
    Suite *suite = suite_create("checkpoint");
    TCase *resuming = tcase_create("resuming"), *rest = tcase_create("rest");
    tcase_add_checked_fixture(resuming, make_rows, NULL);
    tcase_add_checked_fixture(rest, make_rows, NULL);
    tcase_add_loop_test(resuming, a_resumed_run_ends_with_the_same_bits, 0, MGN_COUNT(variants));
    tcase_add_test(resuming, a_resumed_run_ends_with_the_same_bits_on_opencl);
    tcase_add_test(resuming, the_middle_of_an_epoch_is_resumed);
    tcase_add_test(rest, another_training_is_refused);
    tcase_add_test(rest, divergence_goes_back_and_then_ends);
    tcase_add_test(rest, a_part_of_the_state_that_is_not_finite_is_named);
    tcase_add_test(rest, patience_keeps_the_best_parameters);
    tcase_add_test(rest, a_shorter_group_is_divided_by_its_own_count);
    tcase_add_test(rest, curves_go_on_where_the_checkpoint_does);
    suite_add_tcase(suite, resuming);
    suite_add_tcase(suite, rest);
    return mgn_test_main(suite);
}
