/* Every call of OpenCL fails once, in a short training, in applying a map and in a check: each failure is a status with a
 * sentence, or has been got over without a trace in the result, and leaves nothing behind, no OpenCL object and no block of
 * memory. Then devices of other sizes and versions, and
 * devices that are lost in the middle. The driver is the machine's own behind faulty_cl.c. */
#define _GNU_SOURCE
#include "faults.h"
#include "faulty_cl.h"
#include "harness.h"

#define CL_TARGET_OPENCL_VERSION 120
#include <CL/cl.h>

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <mgn/check.h>
#include <mgn/data.h>
#include <mgn/train.h>

#include "backend/opencl/opencl.h"
#include "core/core.h"

enum { ROWS = 60, MOST_PARAMETERS = 64 };

static const char *spec;
static float x[2 * ROWS], y[2 * ROWS];

static void make_rows(void) { mgn_test_field(mgn_test_random_named("rows"), x, y, ROWS); }

/* ---- what is done ---- */

typedef mgn_status scenario_function(uint64_t *sum);

static const mgn_model_config cascade = {.kind = "cmgn", .d = 2, .h = 3, .layers = 2};

static mgn_train_config usual(void) {
    return (mgn_train_config){.loss = {.kind = "mse"},
                              .optimizer = {.kind = "adam", .lr = 0.01},
                              .batch = 16,
                              .epochs = 3,
                              .seed = 4,
                              .real = MGN_F32};
}

static mgn_status train_with(const mgn_train_config *config, const char *device_spec, uint64_t *sum) {
    mgn_device *device = NULL;
    mgn_model *model = NULL;
    mgn_map *map = NULL;
    mgn_train_result result = {0};
    float image[2 * ROWS];
    const mgn_samples samples = {x, y, ROWS};
    mgn_status status = mgn_device_open(device_spec, &device);
    if (status == MGN_OK) status = mgn_model_create(&cascade, 1, &model);
    if (status == MGN_OK) status = mgn_train(model, device, &samples, config, &result);
    if (status == MGN_OK) status = mgn_map_create(model, device, MGN_F32, &map);
    if (status == MGN_OK) status = mgn_map_apply(map, x, ROWS, image);
    if (status == MGN_OK) *sum = mgn_hash(*sum, image, sizeof image);
    mgn_map_destroy(map);
    mgn_model_destroy(model);
    mgn_device_close(device);
    return status;
}

static mgn_status train_and_apply(uint64_t *sum) {
    const mgn_train_config config = usual();
    return train_with(&config, spec, sum);
}

/* As calls, one kernel an op. */
static mgn_status train_by_calls(uint64_t *sum) {
    setenv("MGN_FUSE", "0", 1);
    mgn_train_config config = usual();
    config.epochs = 1;
    const mgn_status status = train_with(&config, spec, sum);
    unsetenv("MGN_FUSE");
    return status;
}

/* Checks that fail are results of mgn_check_run and no errors of its own. */
static char first_failure[1200];

static void note_result(void *context, const mgn_check_result *result) {
    (void)context;
    if (!result->ok && !*first_failure) snprintf(first_failure, sizeof first_failure, "%s", result->detail);
}

static mgn_status check_op(uint64_t *sum) {
    const mgn_check_options options = {.device = spec, .op = "advance"};
    mgn_check_summary summary = {0};
    *first_failure = 0;
    const mgn_status status = mgn_check_run(&options, note_result, NULL, &summary);
    *sum = mgn_hash(*sum, &summary.checks, sizeof summary.checks);
    if (status != MGN_OK || summary.failed == 0) return status;
    return mgn_fail(MGN_ERR_DEVICE, "%s", first_failure);
}

typedef struct scenario {
    const char *label;
    scenario_function *run;
    uint64_t stride; /* one call of so many fails, the first of them drawn; all of them with MGN_FAULTS=all */
} scenario;

static const scenario scenarios[] = {
    {"training and applying", train_and_apply, 5},
    {"training by calls", train_by_calls, 120},
    {"a check", check_op, 40},
};

/* ---- one failure after another ---- */

static const char no_sentence[] = "nothing was said";
static void disturb(const scenario *s, uint64_t n, bool all, int code, uint64_t good) {
    char what[256];
    uint64_t sum = MGN_HASH_START;
    mgn_fail(MGN_OK, no_sentence);
    const int64_t blocks = mgn_fault_live_blocks(), objects = faulty_cl_live();
    faulty_cl_arm(n, all, code);
    const mgn_status status = s->run(&sum);
    faulty_cl_disarm();
    const char *said = mgn_last_error();
    snprintf(what, sizeof what, "%s, call %d%s (%s)", s->label, (int)n, all ? " and all after it" : "",
             faulty_cl_struck_in());
    if (!faulty_cl_has_struck()) mgn_fault_mistaken(what, "no such call; status %d: %s", (int)status, said);
    if (status == MGN_OK && sum != good) mgn_fault_mistaken(what, "another result, and no error");
    if (status == MGN_OK && all) mgn_fault_mistaken(what, "no error");
    if (status != MGN_OK && strcmp(said, no_sentence) == 0)
        mgn_fault_mistaken(what, "status %d without a sentence", (int)status);
    if (faulty_cl_live() != objects)
        mgn_fault_mistaken(what, "%d objects are leaked; status %d: %s", (int)(faulty_cl_live() - objects), (int)status,
                           said);
    if (mgn_fault_live_blocks() != blocks)
        mgn_fault_mistaken(what, "%d blocks are leaked; status %d: %s", (int)(mgn_fault_live_blocks() - blocks),
                           (int)status, said);
}

START_TEST(calls_fail) {
    if (!spec) MGN_TEST_SKIP("no OpenCL device");
    const scenario *s = &scenarios[_i];
    uint64_t good = MGN_HASH_START, again = MGN_HASH_START;
    const char *asked = getenv("MGN_FAULTS");
    const uint64_t stride = asked && strcmp(asked, "all") == 0 ? 1 : s->stride;
    mgn_test_random random = mgn_test_random_named(s->label);
    mgn_fault_mistakes();         /* none of this test yet */
    MGN_ASSERT_OK(s->run(&good)); /* compiles what is kept */
    faulty_cl_arm(0, false, 0);
    MGN_ASSERT_OK(s->run(&again));
    const uint64_t count = faulty_cl_disarm();
    ck_assert_uint_eq(good, again);
    for (uint64_t n = 1 + mgn_test_bits(&random) % stride; n <= count; n += stride) disturb(s, n, false, 0, good);
    for (uint64_t n = 1 + mgn_test_bits(&random) % stride; n <= count; n += 5 * stride)
        disturb(s, n, true, CL_DEVICE_NOT_AVAILABLE, good);
    printf("%s: %d calls, one of %d failed\n", s->label, (int)count, (int)stride);
    fflush(stdout);
    const int mistakes = mgn_fault_mistakes();
    ck_assert_msg(mistakes == 0, "%s: %d mistakes", s->label, mistakes);
}
END_TEST

/* ---- what devices claim to be ---- */

static void reset_pretence(void) {
    faulty_cl_disarm();
    faulty_cl_pretend(&(faulty_cl_device){0});
}

START_TEST(other_devices_are_served) {
    if (!spec) MGN_TEST_SKIP("no OpenCL device");
    static const faulty_cl_device devices[] = {
        {.version = "OpenCL 1.2 simulated"},
        {.version = "OpenCL 2.1 simulated"},
        {.version = "OpenCL 3.0 simulated"},
        {.group = 64},
        {.memory = 256000000},
        {.no_fp64 = true},
    };
    uint64_t good = MGN_HASH_START;
    MGN_ASSERT_OK(train_and_apply(&good));
    for (size_t i = 0; i < MGN_COUNT(devices); i++) {
        uint64_t sum = MGN_HASH_START;
        faulty_cl_pretend(&devices[i]);
        MGN_ASSERT_OK(train_and_apply(&sum));
        ck_assert_msg(sum == good, "device %d computes something else", (int)i);
    }
}
END_TEST

/* The GPU's kernels ask for groups of 256. */
START_TEST(small_groups_take_the_other_kernels) {
    if (!spec) MGN_TEST_SKIP("no OpenCL device");
    uint64_t sum = MGN_HASH_START;
    setenv("MGN_CL_SHAPE", "gpu", 1);
    faulty_cl_pretend(&(faulty_cl_device){.group = 64});
    const mgn_status status = train_and_apply(&sum);
    unsetenv("MGN_CL_SHAPE");
    MGN_ASSERT_OK(status);
}
END_TEST

/* A CPU device that has no vectors of its own: its compiler makes them of work-items. */
START_TEST(devices_without_vectors_take_the_other_kernels) {
    if (!spec) MGN_TEST_SKIP("no OpenCL device");
    for (unsigned width = 1; width <= 4; width += 3) {
        mgn_device *device = NULL;
        uint64_t sum = MGN_HASH_START;
        faulty_cl_pretend(&(faulty_cl_device){.width = width});
        MGN_ASSERT_OK(mgn_device_open(spec, &device));
        const bool is_cpu = mgn_device_get_info(device)->is_cpu;
        ck_assert_uint_eq(mgn_cl_of(device)->group, width == 1 || !is_cpu ? MGN_CL_GROUP : 1);
        mgn_device_close(device);
        if (width == 1) MGN_ASSERT_OK(train_and_apply(&sum));
    }
}
END_TEST

START_TEST(what_a_device_cannot_do_is_refused) {
    if (!spec) MGN_TEST_SKIP("no OpenCL device");
    uint64_t sum = MGN_HASH_START;
    faulty_cl_pretend(&(faulty_cl_device){.version = "OpenCL 1.1 simulated"});
    MGN_ASSERT_FAILS(train_and_apply(&sum), MGN_ERR_UNSUPPORTED, "OpenCL 1.2 or newer");
    faulty_cl_pretend(&(faulty_cl_device){.no_fp64 = true});
    mgn_train_config config = usual();
    config.real = MGN_F64;
    MGN_ASSERT_FAILS(train_with(&config, spec, &sum), MGN_ERR_UNSUPPORTED, "has no float64");
}
END_TEST

/* ---- devices that are lost ---- */

static int64_t lost_after; /* epochs */

static bool lose(void *context, const mgn_train_report *report) {
    (void)context;
    if (report->epoch == lost_after) faulty_cl_arm(1, true, CL_DEVICE_NOT_AVAILABLE);
    return true;
}

/* The checkpoint from before is whole, and the training that goes on from it ends where it would have. */
START_TEST(a_lost_device_leaves_the_checkpoint) {
    if (!spec) MGN_TEST_SKIP("no OpenCL device");
    const char *state = mgn_test_path("state");
    uint64_t good = MGN_HASH_START;
    mgn_train_config config = usual();
    config.epochs = 8;
    MGN_ASSERT_OK(train_with(&config, spec, &good));
    config.report = lose;
    for (lost_after = 1; lost_after < 8; lost_after += 2) {
        uint64_t sum = MGN_HASH_START;
        config.control = (mgn_train_control){.checkpoint = state, .checkpoint_epochs = 1};
        MGN_ASSERT_FAILS(train_with(&config, spec, &sum), MGN_ERR_DEVICE, "CL_DEVICE_NOT_AVAILABLE");
        faulty_cl_disarm();
        mgn_safetensors file = {0};
        MGN_ASSERT_OK(mgn_safetensors_read(state, &file));
        mgn_safetensors_free(&file);
        mgn_train_config rest = config;
        rest.report = NULL;
        rest.control.resume = state;
        MGN_ASSERT_OK(train_with(&rest, spec, &sum));
        ck_assert_uint_eq(sum, good);
    }
}
END_TEST

/* The command: ends with one sentence, or goes on on the cpu and says so. */
static mgn_test_process fit(const char *name, const char *environment, const char *more) {
    return mgn_test_shell(
        "%s \"$MGN_BINARY\" fit -s banana -t normal:2 -o '%s' --device %s --epochs 150 --samples 300 -q "
        "--checkpoint '%s.state' --checkpoint-every 1 %s",
        environment, mgn_test_path(name), spec, mgn_test_path(name), more);
}

static void check_same_maps(const char *a, const char *b) {
    mgn_test_process process = mgn_test_shell("cmp '%s' '%s'", mgn_test_path(a), mgn_test_path(b));
    ck_assert_msg(process.code == 0, "%s%s", process.out, process.err);
    mgn_test_process_free(&process);
}

START_TEST(the_command_survives_a_lost_device) {
    if (!spec) MGN_TEST_SKIP("no OpenCL device");
    static const char lost[] = "FAULTY_CL_FAIL=400+:-2"; /* after some epochs */
    char resume[700];
    mgn_test_process whole = fit("whole", "", ""), broken = fit("broken", lost, "");
    ck_assert_msg(whole.code == 0, "%s", whole.err);
    ck_assert_int_eq(broken.code, 1);
    ck_assert_ptr_nonnull(strstr(broken.err, "CL_DEVICE_NOT_AVAILABLE"));
    ck_assert_ptr_eq(strchr(broken.err, '\n'), strrchr(broken.err, '\n'));
    ck_assert_int_ne(access(mgn_test_path("broken"), F_OK), 0);
    snprintf(resume, sizeof resume, "--resume '%s.state'", mgn_test_path("broken"));
    mgn_test_process rest = fit("broken", "", resume);
    ck_assert_msg(rest.code == 0, "%s", rest.err);
    check_same_maps("whole", "broken");
    mgn_test_process on_cpu =
        mgn_test_shell("%s \"$MGN_BINARY\" fit -s banana -t normal:2 -o '%s' --device %s --epochs 150 "
                       "--samples 300 --checkpoint '%s.state' --checkpoint-every 1 --fallback cpu",
                       lost, mgn_test_path("fallen"), spec, mgn_test_path("fallen"));
    ck_assert_msg(on_cpu.code == 0, "%s", on_cpu.err);
    ck_assert_msg(strstr(on_cpu.err, "CL_DEVICE_NOT_AVAILABLE") &&
                      strstr(on_cpu.err, "the cpu goes on from the checkpoint /"),
                  "%s", on_cpu.err);
    mgn_test_process_free(&whole);
    mgn_test_process_free(&broken);
    mgn_test_process_free(&rest);
    mgn_test_process_free(&on_cpu);
}
END_TEST

int main(void) {
    if (!getenv("MGN_FAULTY_CL"))
        return mgn_test_skip_program("MGN_FAULTY_CL does not name the driver; run it by meson test");
    spec = mgn_test_faulty_spec();
    make_rows();
    mgn_set_threads(1);
    mgn_set_quiet(true);
    Suite *suite = suite_create("faults_opencl");
    TCase *all = tcase_create("faults");
    tcase_set_timeout(all, 240);
    tcase_add_checked_fixture(all, NULL, reset_pretence);
    tcase_add_loop_test(all, calls_fail, 0, (int)MGN_COUNT(scenarios));
    tcase_add_test(all, other_devices_are_served);
    tcase_add_test(all, small_groups_take_the_other_kernels);
    tcase_add_test(all, devices_without_vectors_take_the_other_kernels);
    tcase_add_test(all, what_a_device_cannot_do_is_refused);
    tcase_add_test(all, a_lost_device_leaves_the_checkpoint);
    tcase_add_test(all, the_command_survives_a_lost_device);
    suite_add_tcase(suite, all);
    return mgn_test_main(suite);
}
