/* Processes that learn together, played by threads: the same bits whatever their number, all of them stop or fail when one
 * does, and a training goes on under another number. What carries the messages here is memory; test_mpi.c has MPI. */
#include "harness.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <mgn/data.h>
#include <mgn/model.h>
#include <mgn/train.h>

#include "comm/blocks_sum.h"
#include "core/core.h"
#include "team.h"

enum { ROWS = 1000, MOST_PARAMETERS = 3000, EPOCHS = 3 };

static float x[2 * ROWS], y[2 * ROWS];

static void make_rows(void) { mgn_test_field(mgn_test_random_named("rows"), x, y, ROWS); }

/* ---- trainings ---- */

typedef struct task {
    mgn_test_member member;
    mgn_train_config config;
    mgn_model_config shape;
    mgn_samples samples;
    int64_t stop_after; /* this rank asks for a stop after so many epochs; 0: never */
    mgn_train_result result;
    mgn_status status;
    char sentence[256];
    double values[MOST_PARAMETERS];
} task;

static bool report(void *context, const mgn_train_report *r) {
    const task *t = context;
    return t->stop_after == 0 || r->epoch < t->stop_after;
}

static void *run(void *context) {
    task *t = context;
    mgn_device *device = NULL;
    mgn_model *model = NULL;
    t->config.report = report;
    t->config.context = t;
    t->status = mgn_device_open("cpu", &device);
    if (t->status == MGN_OK) t->status = mgn_model_create(&t->shape, 3, &model);
    if (t->status == MGN_OK) t->status = mgn_train(model, device, &t->samples, &t->config, &t->result);
    if (t->status != MGN_OK) snprintf(t->sentence, sizeof t->sentence, "%s", mgn_last_error());
    if (model) memcpy(t->values, mgn_model_values(model), (size_t)mgn_model_parameter_count(model) * sizeof *t->values);
    mgn_model_destroy(model);
    if (device) mgn_device_close(device);
    return NULL;
}

static task *make_tasks(int size, const mgn_train_config *config, const mgn_model_config *shape) {
    task *tasks = calloc((size_t)size, sizeof *tasks);
    ck_assert_ptr_nonnull(tasks);
    for (int r = 0; r < size; r++) {
        task *t = &tasks[r];
        t->config = *config;
        t->shape = *shape;
        t->samples = (mgn_samples){x, y, ROWS};
        if (!mgn_loss_needs_pairs(config->loss.kind)) t->samples.y = NULL;
        if (r > 0) t->config.control.checkpoint = t->config.control.log = NULL;
    }
    return tasks;
}

static void run_all(task *tasks, int size) {
    mgn_test_member *members[MGN_TEST_MOST_RANKS];
    for (int r = 0; r < size; r++) {
        members[r] = &tasks[r].member;
        tasks[r].config.comm = &tasks[r].member.comm;
    }
    mgn_test_team_run(members, size, run, tasks, sizeof *tasks);
}

static const mgn_model_config cascade = {.kind = "cmgn", .d = 2, .h = 3, .layers = 2},
                              large = {.kind = "mmgn", .d = 2, .h = 128, .layers = 4};

/* Two components, read by all threads. */
static const mgn_target *two_hills(void) {
    static mgn_target *target;
    mgn_mixture mixture;
    if (target) return target;
    MGN_ASSERT_OK(mgn_mixture_create(2, 2, &mixture));
    for (int j = 0; j < 2; j++) {
        mixture.weights[j] = 0.5;
        for (int i = 0; i < 2; i++) {
            mixture.means[2 * j + i] = i + 2 * j;
            mixture.covariances[4 * j + 3 * i] = 1;
        }
    }
    MGN_ASSERT_OK(mgn_target_create_mixture(&mixture, &target));
    mgn_mixture_free(&mixture);
    return target;
}

static mgn_train_config usual(const char *loss) {
    mgn_train_config config = {.optimizer = {.kind = "adam", .lr = 0.01},
                               .batch = 48,
                               .epochs = EPOCHS,
                               .seed = 4,
                               .real = MGN_F64,
                               .blocks = 8};
    snprintf(config.loss.kind, sizeof config.loss.kind, "%s", loss);
    static const double mean[2] = {0.5, -1}, covariance[4] = {1, 0.3, 0.3, 0.5};
    if (strcmp(loss, "mixture-kl") == 0 || strcmp(loss, "sinkhorn") == 0) config.loss.target = two_hills();
    config.loss.sinkhorn = (mgn_sinkhorn_config){.blur = 0.5};
    if (strcmp(loss, "sinkhorn") == 0) config.loss.cost_weight = 0.1, config.batch = 200;
    if (strcmp(loss, "kl") != 0) return config;
    config.loss.mean = mean;
    config.loss.covariance = covariance;
    config.loss.cost_weight = 0.1;
    return config;
}

static void assert_same(const task *a, const task *b, const char *what, int size) {
    ck_assert_msg(b->status == a->status, "%s, %d ranks: status %d: %s", what, size, (int)b->status, b->sentence);
    ck_assert_msg(a->result.loss == b->result.loss && memcmp(a->values, b->values, sizeof a->values) == 0,
                  "%s, %d ranks: loss %.17g, and %.17g of one", what, size, b->result.loss, a->result.loss);
}

/* ---- sums ---- */

typedef struct sum_task {
    mgn_test_member member;
    mgn_comm *comm; /* NULL: alone */
    int64_t length, bytes, calls;
    float *total;
    mgn_status status;
} sum_task;

enum { BLOCKS = 8 };

static void *add_up(void *context) {
    sum_task *t = context;
    mgn_blocks_sum *sum = NULL;
    int64_t first, end;
    const void *total = NULL;
    t->status = mgn_blocks_sum_create(t->comm, BLOCKS, MGN_F32, t->length, &sum);
    if (t->status != MGN_OK) return NULL;
    mgn_blocks_sum_range(sum, &first, &end);
    for (int64_t b = first; b < end; b++)
        for (int64_t i = 0; i < t->length; i++)
            ((float *)mgn_blocks_sum_place(sum, b))[i] = sinf((float)(b * t->length + i)) * (float)(b + 1);
    t->status = mgn_blocks_sum_add(sum, &total);
    memcpy(t->total, total, (size_t)t->length * sizeof *t->total);
    mgn_blocks_sum_traffic(sum, &t->bytes, &t->calls);
    mgn_blocks_sum_destroy(sum);
    return NULL;
}

/* Short vectors go to all, long ones in segments; what is sent is what the cost model of assets/scaling.py says. */
START_TEST(sums_are_one_tree) {
    static const struct {
        int64_t length;
        int size;
        int64_t bytes, calls; /* -1: unequal shares */
    } rows[] = {{5, 2, 4 * 5, 1},         {5, 3, -1, 1},     {5, 8, 4 * 5 * 7, 1},
                {40000, 2, 4 * 40000, 2}, {40000, 3, -1, 2}, {40000, 8, 2 * 4 * 40000 / 8 * 7, 2}};
    for (size_t k = 0; k < MGN_COUNT(rows); k++) {
        sum_task alone = {.length = rows[k].length}, *tasks = calloc(MGN_TEST_MOST_RANKS, sizeof *tasks);
        mgn_test_member *members[MGN_TEST_MOST_RANKS];
        ck_assert(tasks && (alone.total = calloc((size_t)rows[k].length, sizeof(float))));
        add_up(&alone);
        ck_assert_int_eq(alone.bytes, 0);
        for (int r = 0; r < rows[k].size; r++) {
            members[r] = &tasks[r].member;
            tasks[r].comm = &tasks[r].member.comm;
            tasks[r].length = rows[k].length;
            ck_assert_ptr_nonnull(tasks[r].total = calloc((size_t)rows[k].length, sizeof(float)));
        }
        mgn_test_team_run(members, rows[k].size, add_up, tasks, sizeof *tasks);
        for (int r = 0; r < rows[k].size; r++) {
            ck_assert_int_eq(tasks[r].status, MGN_OK);
            ck_assert(memcmp(tasks[r].total, alone.total, (size_t)rows[k].length * sizeof(float)) == 0);
            ck_assert_int_eq(tasks[r].calls, rows[k].calls);
            if (rows[k].bytes >= 0) ck_assert_int_eq(tasks[r].bytes, rows[k].bytes);
            free(tasks[r].total);
        }
        free(tasks);
        free(alone.total);
    }
}
END_TEST

/* ---- trainings of any number ---- */

/* Batches of 48 by 8 blocks, whose last, of 40, has blocks of 5; of 30 by 8 blocks of 4, the last of which have 2 and 0. */
START_TEST(bits_do_not_depend_on_ranks) {
    static const struct {
        const char *loss;
        mgn_dtype real;
        int64_t batch, accumulate, blocks;
        const mgn_model_config *shape;
        int retries;
    } rows[] = {{"mse", MGN_F64, 48, 1, 8, &cascade, 0},       {"nll", MGN_F32, 30, 1, 8, &cascade, 3},
                {"l1", MGN_F32, 48, 3, 16, &cascade, 0},       {"mse", MGN_F64, 0, 1, 8, &cascade, 0},
                {"mse", MGN_F32, 500, 1, 8, &large, 2},        {"mse", MGN_F64, 5, 1, 8, &cascade, 0},
                {"kl", MGN_F32, 30, 1, 8, &cascade, 3},        {"kl", MGN_F64, 334, 2, 16, &cascade, 0},
                {"kl", MGN_F64, 10, 1, 8, &cascade, 0},        {"mixture-kl", MGN_F64, 0, 1, 8, &cascade, 0},
                {"sinkhorn", MGN_F32, 334, 1, 8, &cascade, 3}, {"sinkhorn", MGN_F64, 130, 2, 16, &cascade, 0}};
    static const int sizes[] = {2, 3, 4, 8};
    make_rows();
    for (size_t i = 0; i < MGN_COUNT(rows); i++) {
        mgn_train_config config = usual(rows[i].loss);
        config.real = rows[i].real;
        config.batch = rows[i].batch;
        config.accumulate = rows[i].accumulate;
        config.blocks = rows[i].blocks;
        config.control.retries = rows[i].retries;
        task *alone = make_tasks(1, &config, rows[i].shape);
        run(alone);
        ck_assert_msg(alone->status == MGN_OK, "%s", alone->sentence);
        for (size_t k = 0; k < MGN_COUNT(sizes); k++) {
            task *tasks = make_tasks(sizes[k], &config, rows[i].shape);
            run_all(tasks, sizes[k]);
            for (int r = 0; r < sizes[k]; r++) assert_same(alone, &tasks[r], rows[i].loss, sizes[k]);
            free(tasks);
        }
        free(alone);
    }
}
END_TEST

/* Hessians by products, of means over rows and of functions of moments; curvature of Gauss-Newton as a matrix and (of more than
 * 600 parameters) by products; of 1000 rows 16 blocks have 63, but the last 55. */
static const struct {
    const char *optimizer, *loss;
    const mgn_model_config *shape;
    int64_t blocks;
    mgn_dtype real;
} methods[] = {{"lbfgs", "mse", &cascade, 8, MGN_F64},         {"lbfgs", "kl", &cascade, 16, MGN_F32},
               {"newton", "nll", &cascade, 16, MGN_F64},       {"newton", "kl", &cascade, 16, MGN_F64},
               {"newton", "mixture-kl", &cascade, 8, MGN_F64}, {"gauss-newton", "mse", &cascade, 8, MGN_F64},
               {"gauss-newton", "l1", &cascade, 16, MGN_F64},  {"gauss-newton", "mse", &large, 8, MGN_F64}};

static mgn_train_config second_order(int row, int64_t steps) {
    mgn_train_config config = usual(methods[row].loss);
    snprintf(config.optimizer.kind, sizeof config.optimizer.kind, "%s", methods[row].optimizer);
    config.optimizer.weight_decay = 1e-4;
    config.batch = 0;
    config.epochs = steps;
    config.blocks = methods[row].blocks;
    config.real = methods[row].real;
    return config;
}

START_TEST(second_order_does_not_depend_on_ranks) {
    static const int sizes[] = {2, 3, 4};
    make_rows();
    const mgn_train_config config = second_order(_i, methods[_i].shape == &large ? 2 : 6);
    task *alone = make_tasks(1, &config, methods[_i].shape);
    run(alone);
    ck_assert_msg(alone->status == MGN_OK, "%s: %s", methods[_i].optimizer, alone->sentence);
    for (size_t k = 0; k < MGN_COUNT(sizes); k++) {
        task *tasks = make_tasks(sizes[k], &config, methods[_i].shape);
        run_all(tasks, sizes[k]);
        for (int r = 0; r < sizes[k]; r++) assert_same(alone, &tasks[r], methods[_i].optimizer, sizes[k]);
        free(tasks);
    }
    free(alone);
}
END_TEST

/* The same function and derivatives, but for rounding: a few steps end at the same loss. The curvature that stands for that of
 * |r| within 1e-7 of 0 makes 1e-16 into 1e-9 in a step, and into everything after two. */
START_TEST(second_order_of_blocks_is_that_of_one_plan) {
    make_rows();
    mgn_train_config config = second_order(_i, strcmp(methods[_i].loss, "l1") == 0 ? 1 : 3);
    config.real = MGN_F64;
    task *blocks = make_tasks(1, &config, methods[_i].shape);
    run(blocks);
    config.blocks = 0;
    task *whole = make_tasks(1, &config, methods[_i].shape);
    run(whole);
    ck_assert_int_eq(blocks->status, MGN_OK);
    ck_assert_msg(fabs(blocks->result.loss / whole->result.loss - 1) < 1e-6, "%s: %.17g, not %.17g",
                  methods[_i].optimizer, blocks->result.loss, whole->result.loss);
    free(blocks);
    free(whole);
}
END_TEST

/* Rank 1 of 2 asks for a stop after 3 steps; 4 go on from there. */
START_TEST(second_order_resumes_elsewhere) {
    make_rows();
    mgn_train_config config = second_order(_i, 6);
    task *alone = make_tasks(1, &config, &cascade);
    run(alone);
    config.control.checkpoint = mgn_test_path("second.safetensors");
    task *two = make_tasks(2, &config, &cascade);
    two[1].stop_after = 3;
    run_all(two, 2);
    for (int r = 0; r < 2; r++)
        ck_assert_msg(two[r].status == MGN_ERR_INTERRUPTED && two[r].result.epochs == 3, "rank %d: %d %s", r,
                      (int)two[r].status, two[r].sentence);
    config.control.resume = config.control.checkpoint;
    task *four = make_tasks(4, &config, &cascade);
    run_all(four, 4);
    for (int r = 0; r < 4; r++) assert_same(alone, &four[r], "resumed", 4);
    free(alone);
    free(two);
    free(four);
}
END_TEST

/* A mean over rows, and a function of their moments. */
static const char *const loss_of[] = {"mse", "kl", "mixture-kl", "sinkhorn"};

/* Every row counts once: without movement the epoch's loss is that of the usual steps. */
START_TEST(blocks_have_every_row) {
    make_rows();
    for (int64_t batch = 0; batch <= 50; batch += 25) {
        mgn_train_config config = usual(loss_of[_i]);
        config.optimizer.lr = 1e-300;
        config.batch = batch;
        config.epochs = 1;
        task *blocks = make_tasks(1, &config, &cascade);
        run(blocks);
        config.blocks = 0;
        task *whole = make_tasks(1, &config, &cascade);
        run(whole);
        ck_assert_int_eq(blocks->status, MGN_OK);
        ck_assert_msg(fabs(blocks->result.loss / whole->result.loss - 1) < 1e-12, "batch %d: %.17g, not %.17g",
                      (int)batch, blocks->result.loss, whole->result.loss);
        free(blocks);
        free(whole);
    }
}
END_TEST

/* One full batch is the same step, but for rounding, in whatever order the rows come. */
START_TEST(blocks_learn_what_one_plan_learns) {
    make_rows();
    mgn_train_config config = usual(loss_of[_i]);
    config.batch = 0;
    config.epochs = strcmp(loss_of[_i], "sinkhorn") == 0 ? 2 : 20;
    task *blocks = make_tasks(1, &config, &cascade);
    run(blocks);
    config.blocks = 0;
    task *whole = make_tasks(1, &config, &cascade);
    run(whole);
    ck_assert_double_eq_tol(blocks->result.loss, whole->result.loss, 1e-9 * whole->result.loss);
    free(blocks);
    free(whole);
}
END_TEST

/* Rank 2 of 4 asks for a stop; three others go on from there. */
START_TEST(stopped_and_resumed_elsewhere) {
    make_rows();
    mgn_train_config config = usual(loss_of[_i]);
    task *alone = make_tasks(1, &config, &cascade);
    run(alone);
    config.control.checkpoint = mgn_test_path("state.safetensors");
    task *four = make_tasks(4, &config, &cascade);
    four[2].stop_after = 2;
    run_all(four, 4);
    for (int r = 0; r < 4; r++) {
        ck_assert_msg(four[r].status == MGN_ERR_INTERRUPTED, "rank %d: %d %s", r, (int)four[r].status,
                      four[r].sentence);
        ck_assert_int_eq(four[r].result.epochs, 2);
    }
    config.control.resume = config.control.checkpoint;
    task *three = make_tasks(3, &config, &cascade);
    run_all(three, 3);
    for (int r = 0; r < 3; r++) assert_same(alone, &three[r], "resumed", 3);
    free(alone);
    free(four);
    free(three);
}
END_TEST

/* ---- failures ---- */

static mgn_status read_rows(void *context, int64_t first, int64_t n, float *to, float *targets) {
    const int64_t broken = *(const int64_t *)context;
    if (broken >= first && broken < first + n) return mgn_fail(MGN_ERR_IO, "row %d is broken", (int)broken);
    memcpy(to, x + 2 * first, (size_t)(2 * n) * sizeof *to);
    memcpy(targets, y + 2 * first, (size_t)(2 * n) * sizeof *targets);
    return MGN_OK;
}

static void assert_all_fail(task *tasks, int size, mgn_status status, const char *words) {
    run_all(tasks, size);
    for (int r = 0; r < size; r++)
        ck_assert_msg(tasks[r].status == status && strstr(tasks[r].sentence, words), "rank %d: status %d, %s", r,
                      (int)tasks[r].status, tasks[r].sentence);
    free(tasks);
}

START_TEST(one_failure_is_everybodys) {
    static int64_t good = -1, bad = 700;
    make_rows();
    mgn_train_config config = usual("mse");
    mgn_row_source source = {.n = ROWS,
                             .window = 200,
                             .block = 10,
                             .read = read_rows,
                             .context = &good,
                             .has_targets = true},
                   broken = source;
    broken.context = &bad;
    config.source = &source;
    task *alone = make_tasks(1, &config, &cascade), *two = make_tasks(2, &config, &cascade);
    run(alone);
    run_all(two, 2);
    for (int r = 0; r < 2; r++) assert_same(alone, &two[r], "in windows", 2);
    free(alone);
    free(two);
    task *tasks = make_tasks(3, &config, &cascade);
    tasks[1].config.source = &broken;
    assert_all_fail(tasks, 3, MGN_ERR_IO, "rank 1 of 3: row 700 is broken");
    config.source = NULL;
    tasks = make_tasks(2, &config, &cascade);
    tasks[1].samples.n--;
    assert_all_fail(tasks, 2, MGN_ERR_ARGUMENT, "rank 1 of 2: the rows or the options are not those of rank 0");
    config.control.resume = mgn_test_path("none.safetensors");
    assert_all_fail(make_tasks(2, &config, &cascade), 2, MGN_ERR_IO, "none.safetensors");
}
END_TEST

START_TEST(what_cannot_be_shared_is_refused) {
    static const struct {
        const char *loss, *optimizer, *words;
        int64_t blocks;
        mgn_status status;
    } rows[] = {{"semidual", "adam", "semidual is not for blocks", 8, MGN_ERR_UNSUPPORTED},
                {"huber", "adam", "'huber' was found", 8, MGN_ERR_ARGUMENT},
                {"sinkhorn", "lbfgs", "takes other samples of its target in every step", 8, MGN_ERR_ARGUMENT},
                {"mse", "adam", "need a number of blocks", 0, MGN_ERR_ARGUMENT},
                {"mse", "adam", "power of two", 6, MGN_ERR_ARGUMENT},
                {"mse", "adam", "too few for 4 processes", 2, MGN_ERR_ARGUMENT}};
    make_rows();
    for (size_t i = 0; i < MGN_COUNT(rows); i++) {
        mgn_train_config config = usual(rows[i].loss);
        snprintf(config.optimizer.kind, sizeof config.optimizer.kind, "%s", rows[i].optimizer);
        config.blocks = rows[i].blocks;
        if (mgn_optimizer_is_second_order(rows[i].optimizer)) config.batch = 0;
        assert_all_fail(make_tasks(4, &config, &cascade), 4, rows[i].status, rows[i].words);
    }
}
END_TEST

int main(void) {
    Suite *suite = suite_create("ranks");
    TCase *all = tcase_create("all");
    tcase_add_test(all, sums_are_one_tree);
    tcase_add_test(all, bits_do_not_depend_on_ranks);
    tcase_add_loop_test(all, blocks_have_every_row, 0, MGN_COUNT(loss_of));
    tcase_add_loop_test(all, blocks_learn_what_one_plan_learns, 0, MGN_COUNT(loss_of));
    tcase_add_loop_test(all, second_order_does_not_depend_on_ranks, 0, MGN_COUNT(methods));
    tcase_add_loop_test(all, second_order_of_blocks_is_that_of_one_plan, 0, MGN_COUNT(methods));
    tcase_add_loop_test(all, second_order_resumes_elsewhere, 0, MGN_COUNT(methods) - 1);
    tcase_add_loop_test(all, stopped_and_resumed_elsewhere, 0, MGN_COUNT(loss_of));
    tcase_add_test(all, one_failure_is_everybodys);
    tcase_add_test(all, what_cannot_be_shared_is_refused);
    tcase_set_timeout(all, 60);
    suite_add_tcase(suite, all);
    return mgn_test_main(suite);
}
