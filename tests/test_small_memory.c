/* Devices with too little memory for what they are asked: rows stay on the host, steps are cut into blocks, maps go through in
 * chunks, and the result is the one of a device that has enough: to the bit where only the place of the rows differs, and to the
 * bit of as many --blocks where steps were cut. The device is the machine's own behind faulty_cl.c, which pretends to have less,
 * or runs out of it in the middle. */
#define _GNU_SOURCE
#include "faulty_cl.h"
#include "harness.h"

#define CL_TARGET_OPENCL_VERSION 120
#include <CL/cl.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <mgn/data.h>
#include <mgn/evaluate.h>
#include <mgn/mixture.h>
#include <mgn/sinkhorn.h>
#include <mgn/train.h>

#include "core/core.h"

enum { ROWS = 8000, BATCH = 500, MOST_PARAMETERS = 64 };

static const char *spec;
static float x[2 * ROWS], y[2 * ROWS];
static const mgn_model_config cascade = {.kind = "cmgn", .d = 2, .h = 3, .layers = 2};

static void pretend(uint64_t memory) { faulty_cl_pretend(&(faulty_cl_device){.memory = memory}); }

/* One kernel an op: compiled once for all sizes, where a fused program is compiled for each. */
static void begin(void) { setenv("MGN_FUSE", "0", 1); }

static void end(void) {
    faulty_cl_disarm();
    pretend(0);
}

/* ---- trainings ---- */

typedef struct outcome {
    mgn_train_result result;
    double values[MOST_PARAMETERS];
} outcome;

static mgn_status read_rows(void *context, int64_t first, int64_t n, float *to_x, float *to_y) {
    (void)context;
    memcpy(to_x, x + 2 * first, (size_t)(2 * n) * sizeof *x);
    if (to_y) memcpy(to_y, y + 2 * first, (size_t)(2 * n) * sizeof *y);
    return MGN_OK;
}

static const mgn_row_source source = {
    .n = ROWS, .window = 8 * BATCH, .block = 100, .read = read_rows, .has_targets = true};

static mgn_train_config usual(const char *loss) {
    mgn_train_config config = {.optimizer = {.kind = "adam", .lr = 0.01}, .batch = BATCH, .epochs = 2, .seed = 4};
    snprintf(config.loss.kind, sizeof config.loss.kind, "%s", loss);
    return config;
}

/* On a device of so much memory; 0: what there is. */
static mgn_status train(const mgn_train_config *config, uint64_t memory, outcome *o) {
    mgn_device *device = NULL;
    mgn_model *model = NULL;
    const mgn_samples samples = {x, y, ROWS};
    *o = (outcome){0};
    pretend(memory);
    MGN_ASSERT_OK(mgn_device_open(spec, &device));
    MGN_ASSERT_OK(mgn_model_create(&cascade, 1, &model));
    const mgn_status status = mgn_train(model, device, config->source ? NULL : &samples, config, &o->result);
    ck_assert_int_le(mgn_model_parameter_count(model), MOST_PARAMETERS);
    memcpy(o->values, mgn_model_values(model), (size_t)mgn_model_parameter_count(model) * sizeof(double));
    mgn_model_destroy(model);
    mgn_device_close(device);
    pretend(0);
    ck_assert_uint_eq(faulty_cl_bytes(), 0);
    return status;
}

static void check_same(const outcome *a, const outcome *b) {
    ck_assert_mem_eq(a->values, b->values, sizeof a->values);
    ck_assert_double_eq(a->result.loss, b->result.loss);
    ck_assert_int_eq(a->result.steps, b->result.steps);
}

/* Sums of so many rows in another order. */
static void check_close(const outcome *a, const outcome *b) {
    for (int i = 0; i < MOST_PARAMETERS; i++) ck_assert_double_eq_tol(a->values[i], b->values[i], 2e-4);
    ck_assert_double_eq_tol(a->result.loss, b->result.loss, 1e-5 * (1 + fabs(b->result.loss)));
}

/* How many blocks a checkpoint says that steps were cut into; 0: none. */
static int64_t cut_of(const char *path) {
    mgn_safetensors file = {0};
    MGN_ASSERT_OK(mgn_safetensors_read(path, &file));
    const char *text = mgn_safetensors_get(&file, "cut");
    const int64_t cut = text ? atoll(text) : 0;
    mgn_safetensors_free(&file);
    return cut;
}

static const struct {
    const char *loss, *fuse;
    int64_t accumulate;
    bool is_streamed, is_f64;
} pages[] = {
    {"nll", "1", 1, false, false},
    {"mse", "0", 3, false, false},
    {"mse", "0", 1, true, false},
    {"mse", "0", 1, false, true},
};

/* Tables (or windows of them) of more than a quarter of the memory, and batches that fit: the same bits. */
START_TEST(rows_that_do_not_fit_stay_on_the_host) {
    if (!spec) MGN_TEST_SKIP("no OpenCL device");
    outcome whole, paged;
    mgn_train_config config = usual(pages[_i].loss);
    config.accumulate = pages[_i].accumulate;
    config.batch = pages[_i].is_streamed ? 193 : BATCH - 7; /* so that there is a smaller last one */
    config.real = pages[_i].is_f64 ? MGN_F64 : MGN_F32;
    if (pages[_i].is_streamed) config.source = &source;
    setenv("MGN_FUSE", pages[_i].fuse, 1);
    MGN_ASSERT_OK(train(&config, 0, &whole));
    MGN_ASSERT_OK(train(&config, pages[_i].is_f64 ? 400000 : pages[_i].is_streamed ? 120000 : 200000, &paged));
    check_same(&whole, &paged);
}
END_TEST

static const struct {
    const char *loss, *fuse, *optimizer;
    int64_t batch, blocks;
    uint64_t memory;
} cuts[] = {
    {"nll", "1", "adam", 0, 0, 100000}, {"mse", "0", "sgd", 0, 0, 1000000},   {"l1", "0", "adam", 5001, 2, 300000},
    {"kl", "0", "adam", 0, 0, 1000000}, {"mse", "0", "lbfgs", 0, 0, 1000000},
};

/* Batches that do not fit: the bits of as many blocks, and what one plan would give but for rounding. */
START_TEST(steps_are_cut_into_blocks) {
    if (!spec) MGN_TEST_SKIP("no OpenCL device");
    outcome plain, cut, blocks;
    const char *state = mgn_test_path("cut.state");
    mgn_train_config config = usual(cuts[_i].loss);
    config.batch = cuts[_i].batch;
    config.blocks = cuts[_i].blocks;
    config.epochs = 6;
    snprintf(config.optimizer.kind, sizeof config.optimizer.kind, "%s", cuts[_i].optimizer);
    setenv("MGN_FUSE", cuts[_i].fuse, 1);
    MGN_ASSERT_OK(train(&config, 0, &plain));
    config.control.checkpoint = state;
    MGN_ASSERT_OK(train(&config, cuts[_i].memory, &cut));
    config.control.checkpoint = NULL;
    config.blocks = cut_of(state);
    ck_assert_int_ge(config.blocks, 2 * MGN_MAX(cuts[_i].blocks, 1));
    MGN_ASSERT_OK(train(&config, 0, &blocks));
    check_same(&cut, &blocks);
    check_close(&cut, &plain);
}
END_TEST

/* ---- checkpoints ---- */

static int64_t stop_after;

static bool stop(void *context, const mgn_train_report *report) {
    (void)context;
    return report->epoch != stop_after;
}

/* A training that was cut goes on as it was cut, also where it would fit by now. */
START_TEST(cut_trainings_resume_to_the_bit) {
    if (!spec) MGN_TEST_SKIP("no OpenCL device");
    outcome whole, part, rest;
    const char *state = mgn_test_path("resumed.state");
    mgn_train_config config = usual("nll");
    config.batch = 0;
    config.epochs = 8;
    MGN_ASSERT_OK(train(&config, 1000000, &whole));
    config.control.checkpoint = state;
    config.report = stop;
    stop_after = 3;
    MGN_ASSERT_FAILS(train(&config, 1000000, &part), MGN_ERR_INTERRUPTED, "epoch 3 of 8");
    config.report = NULL;
    config.control.resume = state;
    MGN_ASSERT_OK(train(&config, 0, &rest));
    check_same(&whole, &rest);
}
END_TEST

START_TEST(wrong_cuts_are_refused) {
    if (!spec) MGN_TEST_SKIP("no OpenCL device");
    static const char *const texts[] = {"3", "0", "-4", "4096", "2x", "1e9", ""};
    outcome o;
    const char *state = mgn_test_path("wrong.state");
    mgn_train_config config = usual("mse");
    config.batch = 0;
    config.control.checkpoint = state;
    MGN_ASSERT_OK(train(&config, 1000000, &o));
    config.control.resume = state;
    for (size_t i = 0; i < MGN_COUNT(texts); i++) {
        mgn_safetensors file = {0};
        MGN_ASSERT_OK(mgn_safetensors_read(state, &file));
        MGN_ASSERT_OK(mgn_safetensors_set(&file, "cut", texts[i]));
        MGN_ASSERT_OK(mgn_safetensors_write(state, &file));
        mgn_safetensors_free(&file);
        MGN_ASSERT_FAILS(train(&config, 0, &o), MGN_ERR_FORMAT, "blocks");
    }
}
END_TEST

/* ---- memory that is short in the middle ---- */

typedef struct shortage {
    int code;
    bool lasts;      /* as long as the rows are on the device */
    int64_t retries; /* > 0: the state is kept, and epochs are not done again */
} shortage;

static const shortage shortages[] = {
    {CL_MEM_OBJECT_ALLOCATION_FAILURE, false, 0},
    {CL_MEM_OBJECT_ALLOCATION_FAILURE, false, 2},
    {CL_OUT_OF_RESOURCES, false, 2},
    {CL_OUT_OF_RESOURCES, false, 0},
};

static int64_t reported, begun_again;

static bool run_short(void *context, const mgn_train_report *report) {
    const shortage *s = context;
    begun_again += report->epoch <= reported;
    if (report->epoch == 3 && begun_again == 0) faulty_cl_arm(4, false, s->code);
    reported = report->epoch;
    return true;
}

START_TEST(shortage_in_the_middle_is_cut) {
    if (!spec) MGN_TEST_SKIP("no OpenCL device");
    outcome whole, broken;
    shortage s = shortages[_i];
    mgn_train_config config = usual("nll");
    config.epochs = 6;
    config.control.retries = s.retries;
    MGN_ASSERT_OK(train(&config, 0, &whole));
    config.report = run_short;
    config.context = &s;
    reported = begun_again = 0;
    MGN_ASSERT_OK(train(&config, 0, &broken));
    ck_assert(faulty_cl_has_struck());
    ck_assert_int_eq(begun_again, s.retries ? 0 : 1);
    check_same(&whole, &broken);
}
END_TEST

/* A device that fails for good fails, and says how. */
START_TEST(shortage_without_end_is_an_error) {
    if (!spec) MGN_TEST_SKIP("no OpenCL device");
    outcome o;
    const mgn_train_config config = usual("nll");
    faulty_cl_arm(60, true, CL_MEM_OBJECT_ALLOCATION_FAILURE);
    MGN_ASSERT_FAILS(train(&config, 0, &o), MGN_ERR_MEMORY, "CL_MEM_OBJECT_ALLOCATION_FAILURE");
}
END_TEST

/* ---- what cannot be cut ---- */

START_TEST(what_cannot_be_cut_is_refused) {
    if (!spec) MGN_TEST_SKIP("no OpenCL device");
    outcome o;
    mgn_sinkhorn_result found;
    mgn_device *device = NULL;
    mgn_train_config config = usual("mse"); /* parameters and their places in a step */
    MGN_ASSERT_FAILS(train(&config, 2000, &o), MGN_ERR_MEMORY, "which has 2000 bytes");
    pretend(100000);
    MGN_ASSERT_OK(mgn_device_open(spec, &device));
    const mgn_sinkhorn_config sinkhorn = {.blur = .05};
    MGN_ASSERT_FAILS(mgn_sinkhorn(device, x, NULL, ROWS, y, NULL, ROWS, 2, &sinkhorn, &found, NULL), MGN_ERR_MEMORY,
                     "which has 100000 bytes");
    mgn_device_close(device);
}
END_TEST

/* ---- maps ---- */

typedef struct answers {
    float image[2 * ROWS], in_place[2 * ROWS], inverse[2 * ROWS];
    double jacobian[4 * ROWS], potential[ROWS], nats[ROWS];
} answers;

static void ask(const mgn_model *model, uint64_t memory, int code, answers *a) {
    mgn_device *device = NULL;
    mgn_map *map = NULL;
    mgn_target *target = NULL;
    MGN_ASSERT_OK(mgn_target_parse("normal:2", &target));
    pretend(memory);
    MGN_ASSERT_OK(mgn_device_open(spec, &device));
    MGN_ASSERT_OK(mgn_map_create(model, device, MGN_F32, &map));
    memcpy(a->in_place, x, sizeof a->in_place);
    for (int question = 0; question < 5; question++) {
        for (int fails = 0; code && fails < 30; fails += 7) { /* some of them in the middle of a run */
            faulty_cl_arm((uint64_t)fails + 1, false, code);
            if (question == 0) MGN_ASSERT_OK(mgn_map_apply(map, x, ROWS, a->image));
            if (question == 1) MGN_ASSERT_OK(mgn_map_jacobian(map, x, ROWS, a->jacobian));
            faulty_cl_disarm();
        }
        if (question == 0) MGN_ASSERT_OK(mgn_map_apply(map, x, ROWS, a->image));
        if (question == 1) MGN_ASSERT_OK(mgn_map_jacobian(map, x, ROWS, a->jacobian));
        if (question == 2) MGN_ASSERT_OK(mgn_map_inverse(map, y, ROWS, 1e-3, a->inverse, NULL));
        if (question == 3) MGN_ASSERT_OK(mgn_map_potential(map, x, ROWS, a->potential));
        if (question == 4) MGN_ASSERT_OK(mgn_map_apply(map, a->in_place, ROWS, a->in_place));
    }
    MGN_ASSERT_OK(mgn_target_log_densities(target, device, MGN_F32, x, ROWS, a->nats));
    mgn_map_destroy(map);
    mgn_device_close(device);
    mgn_target_destroy(target);
    pretend(0);
}

static void check_answers(const answers *a, const answers *b) {
    ck_assert_mem_eq(a->image, b->image, sizeof a->image);
    ck_assert_mem_eq(a->in_place, a->image, sizeof a->image);
    ck_assert_mem_eq(a->jacobian, b->jacobian, sizeof a->jacobian);
    ck_assert_mem_eq(a->inverse, b->inverse, sizeof a->inverse);
    ck_assert_mem_eq(a->potential, b->potential, sizeof a->potential);
    ck_assert_mem_eq(a->nats, b->nats, sizeof a->nats);
}

START_TEST(maps_go_through_in_chunks) {
    if (!spec) MGN_TEST_SKIP("no OpenCL device");
    static answers whole, chunks, broken;
    mgn_model *model = NULL;
    MGN_ASSERT_OK(mgn_model_create(&cascade, 1, &model));
    ask(model, 0, 0, &whole);
    ask(model, 200000, 0, &chunks);
    check_answers(&chunks, &whole);
    ask(model, 0, CL_MEM_OBJECT_ALLOCATION_FAILURE, &broken);
    check_answers(&broken, &whole);
    mgn_model_destroy(model);
}
END_TEST

/* ---- figures and mixtures ---- */

/* The mean over the rows held out, and the transport cost, in every epoch's report. */
static double held_out[2];

static bool keep_figures(void *context, const mgn_train_report *report) {
    (void)context;
    held_out[0] = report->held_out;
    held_out[1] = report->cost;
    return true;
}

START_TEST(rows_held_out_are_measured_in_chunks) {
    if (!spec) MGN_TEST_SKIP("no OpenCL device");
    outcome o;
    double figures[2];
    const mgn_samples held = {x, y, ROWS - 13};
    mgn_train_config config = usual("mse");
    config.control.held_out = &held;
    config.report = keep_figures;
    MGN_ASSERT_OK(train(&config, 0, &o));
    memcpy(figures, held_out, sizeof figures);
    MGN_ASSERT_OK(train(&config, 200000, &o));
    for (int i = 0; i < 2; i++) ck_assert_double_eq_tol(held_out[i], figures[i], 1e-5 * figures[i]);
}
END_TEST

static double fit_mixture(uint64_t memory, int code) {
    mgn_device *device = NULL;
    mgn_mixture mixture = {0};
    mgn_mixture_fit_result result = {0};
    const mgn_mixture_fit_config config = {.seed = 3};
    pretend(memory);
    MGN_ASSERT_OK(mgn_device_open(spec, &device));
    if (code) faulty_cl_arm(300, false, code);
    MGN_ASSERT_OK(mgn_mixture_fit(device, x, 2000, 2, 3, &config, &mixture, &result));
    faulty_cl_disarm();
    ck_assert(!code || faulty_cl_has_struck());
    mgn_mixture_free(&mixture);
    mgn_device_close(device);
    pretend(0);
    return result.log_likelihood;
}

START_TEST(mixtures_are_fitted_in_chunks) {
    if (!spec) MGN_TEST_SKIP("no OpenCL device");
    const double whole = fit_mixture(0, 0);
    ck_assert_double_eq_tol(fit_mixture(60000, 0), whole, 1e-4);
    ck_assert_double_eq_tol(fit_mixture(10000, 0), whole, 1e-4);
    ck_assert_double_eq_tol(fit_mixture(0, CL_OUT_OF_RESOURCES), whole, 1e-4);
}
END_TEST

/* ---- commands ---- */

static mgn_test_process run(uint64_t memory, const char *arguments, const char *out) {
    mgn_test_process p = mgn_test_shell("cd '%s' && FAULTY_CL_MEMORY=%llu \"$MGN_BINARY\" %s -o %s --device %s",
                                        mgn_test_path(""), (unsigned long long)memory, arguments, out, spec);
    ck_assert_msg(p.code == 0, "mgn %s: %s", arguments, p.err);
    return p;
}

/* What the commands say when they cut, and that it changes nothing. */
START_TEST(commands_say_what_they_cut) {
    if (!spec) MGN_TEST_SKIP("no OpenCL device");
    static const struct {
        const char *arguments, *name, *says;
    } commands[] = {
        {"fit -s x.npy -t y.npy --paired --epochs 3 --checkpoint fit.state", "fit.map",
         "no memory for this training at once"},
        {"fit -s x.npy -t y.npy --paired --epochs 3 --batch 7200", "cut.map", "is cut into"},
        {"apply fit.map x.npy", "image.npy", "in 16 chunks"},
        {"sample fit.map 8000 --density", "drawn.npy", "chunks"},
    };
    for (size_t i = 0; i < MGN_COUNT(commands); i++) {
        char small[64];
        snprintf(small, sizeof small, "small-%s", commands[i].name);
        mgn_test_process a = run(0, commands[i].arguments, commands[i].name),
                         b = run(200000, commands[i].arguments, small);
        ck_assert_msg(strstr(b.err, commands[i].says), "mgn %s says: %s", commands[i].arguments, b.err);
        ck_assert_ptr_null(strstr(a.err, "memory"));
        mgn_test_process_free(&a);
        mgn_test_process_free(&b);
        if (strstr(small, "cut")) continue; /* its last bits differ */
        mgn_test_process same = mgn_test_shell("cmp '%s' '%s'", mgn_test_path(commands[i].name), mgn_test_path(small));
        ck_assert_msg(same.code == 0, "%s%s", same.out, same.err);
        mgn_test_process_free(&same);
    }
}
END_TEST

static void make_tables(void) {
    mgn_test_field(mgn_test_random_named("rows"), x, y, ROWS);
    mgn_matrix from = {ROWS, 2, x}, to = {ROWS, 2, y};
    MGN_ASSERT_OK(mgn_table_write(mgn_test_path("x.npy"), &from));
    MGN_ASSERT_OK(mgn_table_write(mgn_test_path("y.npy"), &to));
}

int main(void) {
    if (!getenv("MGN_FAULTY_CL"))
        return mgn_test_skip_program("MGN_FAULTY_CL does not name the driver; run it by meson test");
    spec = mgn_test_faulty_spec();
    make_tables();
    mgn_set_quiet(true);
    Suite *suite = suite_create("small_memory");
    TCase *all = tcase_create("small memory");
    tcase_set_timeout(all, 240);
    tcase_add_checked_fixture(all, begin, end);
    tcase_add_loop_test(all, rows_that_do_not_fit_stay_on_the_host, 0, (int)MGN_COUNT(pages));
    tcase_add_loop_test(all, steps_are_cut_into_blocks, 0, (int)MGN_COUNT(cuts));
    tcase_add_test(all, cut_trainings_resume_to_the_bit);
    tcase_add_test(all, wrong_cuts_are_refused);
    tcase_add_loop_test(all, shortage_in_the_middle_is_cut, 0, (int)MGN_COUNT(shortages));
    tcase_add_test(all, shortage_without_end_is_an_error);
    tcase_add_test(all, what_cannot_be_cut_is_refused);
    tcase_add_test(all, maps_go_through_in_chunks);
    tcase_add_test(all, rows_held_out_are_measured_in_chunks);
    tcase_add_test(all, mixtures_are_fitted_in_chunks);
    tcase_add_test(all, commands_say_what_they_cut);
    suite_add_tcase(suite, all);
    return mgn_test_main(suite);
}
