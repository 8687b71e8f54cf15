/* Training on fresh samples: it learns, averages, stops, repeats, and refuses what has no fresh samples. */
#include "harness.h"

#include <math.h>
#include <string.h>

#include "core/core.h"
#include "train/fresh.h"

enum { MOST = 64 };

static const mgn_model_config cascade = {.kind = "cmgn", .d = 2, .h = 2, .layers = 2};

typedef struct history {
    int64_t calls, stop_after;
    double first, last;
} history;

static bool record(void *context, const mgn_train_report *report) {
    history *h = context;
    ck_assert_int_le(report->epoch, h->calls + 1); /* less where training went back */
    h->calls = report->epoch;
    ck_assert_int_eq(report->epochs, 100);
    if (h->calls == 1) h->first = report->loss;
    h->last = report->loss;
    return h->stop_after == 0 || report->epoch < h->stop_after;
}

/* Trains a fresh model on N((1, 0), diag(4, 1)) by maximum likelihood; its parameters to `values`. */
static mgn_status train(const mgn_train_config *config, history *h, double values[MOST], mgn_train_result *result) {
    mgn_device *device = NULL;
    mgn_model *model = NULL;
    mgn_target *source = NULL;
    mgn_train_config with_report = *config;
    with_report.report = record;
    with_report.context = h;
    MGN_ASSERT_OK(mgn_device_open("cpu", &device));
    MGN_ASSERT_OK(mgn_model_create(&cascade, 3, &model));
    MGN_ASSERT_OK(mgn_target_parse("gaussian:mean=1,0;cov=4,0,0,1", &source));
    const mgn_status status = mgn_train_fresh(model, device, source, &with_report, result);
    ck_assert_int_le(mgn_model_parameter_count(model), MOST);
    memset(values, 0, MOST * sizeof *values);
    memcpy(values, mgn_model_values(model), (size_t)mgn_model_parameter_count(model) * sizeof *values);
    mgn_target_destroy(source);
    mgn_model_destroy(model);
    mgn_device_close(device);
    return status;
}

static mgn_train_config usual(void) {
    return (mgn_train_config){.loss = {.kind = "nll"},
                              .optimizer = {.kind = "adam", .lr = 0.02, .beta2 = 0.99},
                              .schedule = {.kind = MGN_SCHEDULE_COSINE},
                              .batch = 500,
                              .epochs = 1000,
                              .seed = 5};
}

START_TEST(the_likelihood_rises_to_the_entropy) {
    const mgn_train_config config = usual();
    history h = {0};
    double values[MOST];
    mgn_train_result result = {0};
    MGN_ASSERT_OK(train(&config, &h, values, &result));
    ck_assert_int_eq(h.calls, 100);
    ck_assert_int_eq(result.steps, 1000);
    ck_assert_double_eq(result.loss, h.last);
    /* log(2 pi e) + log(2): the entropy; a batch of 500 wavers by .045 */
    ck_assert_double_eq_tol(h.last, log(2 * M_PI) + 1 + log(2), 0.25);
    ck_assert_double_lt(h.last, h.first);
}
END_TEST

/* Without movement the mean is the start, whatever the number of steps that it is over. */
START_TEST(the_mean_is_over_the_last_half) {
    static const int64_t steps[] = {1000, 7, 1, 333};
    double start[MOST], values[MOST];
    mgn_model *model = NULL;
    MGN_ASSERT_OK(mgn_model_create(&cascade, 3, &model));
    memset(start, 0, sizeof start);
    memcpy(start, mgn_model_values(model), (size_t)mgn_model_parameter_count(model) * sizeof *start);
    mgn_model_destroy(model);
    for (size_t i = 0; i < MGN_COUNT(steps); i++) {
        mgn_train_config config = usual();
        config.optimizer = (mgn_optimizer_config){.kind = "sgd", .lr = 1e-300};
        config.real = MGN_F64;
        config.epochs = steps[i];
        history h = {0};
        MGN_ASSERT_OK(train(&config, &h, values, NULL));
        for (int j = 0; j < MOST; j++) ck_assert_double_eq_tol(values[j], start[j], 1e-12);
    }
}
END_TEST

START_TEST(the_same_seed_gives_the_same_bits) {
    double values[3][MOST];
    for (int i = 0; i < 3; i++) {
        mgn_set_threads(i == 0 ? 1 : 3);
        mgn_train_config config = usual();
        config.epochs = 200;
        config.seed = i == 2 ? 6 : 5;
        history h = {0};
        MGN_ASSERT_OK(train(&config, &h, values[i], NULL));
    }
    mgn_set_threads(0);
    ck_assert_mem_eq(values[0], values[1], sizeof values[0]);
    ck_assert_mem_ne(values[0], values[2], sizeof values[0]);
}
END_TEST

START_TEST(stopping_keeps_what_was_learned) {
    const mgn_train_config config = usual();
    history h = {.stop_after = 30};
    double values[MOST];
    mgn_train_result result = {0};
    MGN_ASSERT_FAILS(train(&config, &h, values, &result), MGN_ERR_INTERRUPTED, "stopped after epoch 30 of 100");
    ck_assert_int_eq(result.steps, 300);
    for (int j = 0; j < MOST; j++) ck_assert(isfinite(values[j]) && fabs(values[j]) < 100);
}
END_TEST

/* Wherever it was stopped, before the mean began or after, and with fewer steps than parts too. */
START_TEST(resuming_ends_with_the_same_bits) {
    static const struct {
        const char *optimizer;
        int64_t steps, stop_after;
        double lr;
    } rows[] = {{"adam", 300, 20, 0.02},
                {"adam", 300, 70, 0.02},
                {"sgd", 70, 55, 0.01},
                {"adam", 200, 100, 0.02},
                {"sgd", 200, 3, 1e4}};
    const char *state = mgn_test_path("state");
    for (size_t i = 0; i < MGN_COUNT(rows); i++) {
        mgn_train_config config = usual();
        history whole = {0}, first = {.stop_after = rows[i].stop_after}, rest = {.calls = 0};
        double expected[MOST], values[MOST];
        mgn_train_result result[2] = {{0}};
        strncpy(config.optimizer.kind, rows[i].optimizer, sizeof config.optimizer.kind - 1);
        config.optimizer.lr = rows[i].lr;
        config.optimizer.momentum = config.optimizer.kind[0] == 's' ? 0.5 : 0;
        config.epochs = rows[i].steps;
        config.control.retries = 12; /* a learning rate of 10^4 needs some */
        MGN_ASSERT_OK(train(&config, &whole, expected, &result[0]));
        ck_assert(rows[i].lr < 1 || result[0].rollbacks > 0);
        config.control.checkpoint = state;
        config.control.checkpoint_epochs = 7;
        const mgn_status status = train(&config, &first, values, &result[1]);
        ck_assert_int_eq(status, MGN_ERR_INTERRUPTED);
        config.control.checkpoint = NULL;
        config.control.resume = state;
        rest.calls = rows[i].stop_after;
        MGN_ASSERT_OK(train(&config, &rest, values, &result[1]));
        ck_assert_mem_eq(values, expected, sizeof values);
        ck_assert_mem_eq(&result[0].loss, &result[1].loss, sizeof(double));
        ck_assert_int_eq(result[0].steps, result[1].steps);
        config.epochs++;
        MGN_ASSERT_FAILS(train(&config, &rest, values, NULL), MGN_ERR_ARGUMENT, "epochs was");
        config.epochs--;
        config.batch++;
        MGN_ASSERT_FAILS(train(&config, &rest, values, NULL), MGN_ERR_ARGUMENT, "batch was");
    }
}
END_TEST

START_TEST(refuses_what_makes_no_sense) {
    static const struct {
        const char *source, *optimizer;
        double lr;
        int64_t batch, epochs;
        mgn_status status;
        const char *sentence;
    } rows[] = {
        {"normal:2", "lbfgs", 0, 10, 10, MGN_ERR_UNSUPPORTED, "first-order optimizer"},
        {"normal:2", "adam", 0.1, 0, 10, MGN_ERR_ARGUMENT, "10 and 0"},
        {"normal:2", "adam", 0.1, 10, 0, MGN_ERR_ARGUMENT, "at least 1 step"},
        {"normal:2", "adam", 0, 10, 10, MGN_ERR_ARGUMENT, "positive learning rate"},
        {"normal:2", "sgd", 1e30, 10, 1000, MGN_ERR_NUMERIC, "diverged"},
    };
    mgn_device *device = NULL;
    MGN_ASSERT_OK(mgn_device_open("cpu", &device));
    for (size_t i = 0; i < MGN_COUNT(rows); i++) {
        mgn_model *model = NULL;
        mgn_target *source = NULL;
        mgn_train_config config = usual();
        config.optimizer = (mgn_optimizer_config){.lr = rows[i].lr};
        strncpy(config.optimizer.kind, rows[i].optimizer, sizeof config.optimizer.kind - 1);
        config.batch = rows[i].batch;
        config.epochs = rows[i].epochs;
        MGN_ASSERT_OK(mgn_model_create(&cascade, 3, &model));
        MGN_ASSERT_OK(mgn_target_parse(rows[i].source, &source));
        MGN_ASSERT_FAILS(mgn_train_fresh(model, device, source, &config, NULL), rows[i].status, rows[i].sentence);
        for (int64_t j = 0; j < mgn_model_parameter_count(model); j++) ck_assert(isfinite(mgn_model_values(model)[j]));
        mgn_target_destroy(source);
        mgn_model_destroy(model);
    }
    mgn_target *finite = NULL;
    mgn_model *model = NULL;
    mgn_train_config config = usual();
    MGN_ASSERT_OK(mgn_target_create_rows((float[]){0, 1, 2, 3}, 2, 2, &finite));
    MGN_ASSERT_OK(mgn_model_create(&cascade, 3, &model));
    MGN_ASSERT_FAILS(mgn_train_fresh(model, device, finite, &config, NULL), MGN_ERR_UNSUPPORTED,
                     "a source that is a distribution");
    mgn_target *source = NULL;
    MGN_ASSERT_OK(mgn_target_parse("normal:2", &source));
    config.control.patience = 1;
    MGN_ASSERT_FAILS(mgn_train_fresh(model, device, source, &config, NULL), MGN_ERR_UNSUPPORTED, "no patience");
    mgn_target_destroy(source);
    mgn_model_destroy(model);
    mgn_target_destroy(finite);
    mgn_device_close(device);
}
END_TEST

static Suite *suite(void) {
    Suite *suite = suite_create("fresh");
    TCase *tcase = tcase_create("fresh");
    const TTest *const tests[] = {
        the_likelihood_rises_to_the_entropy, the_mean_is_over_the_last_half, the_same_seed_gives_the_same_bits,
        stopping_keeps_what_was_learned,     refuses_what_makes_no_sense,    resuming_ends_with_the_same_bits,
    };
    for (size_t i = 0; i < MGN_COUNT(tests); i++) tcase_add_test(tcase, tests[i]);
    suite_add_tcase(suite, tcase);
    return suite;
}

int main(void) { return mgn_test_main(suite()); }
