/* The checks of `mgn check`, run on every backend; and proofs that they can fail: that a spoiled reference is noticed for
 * every op, that the judge knows NaN from numbers, and that the oracle agrees with published values. */
#include "harness.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include <cjson/cJSON.h>

#include <mgn/check.h>

#include "check/cases.h"
#include "check/judge.h"
#include "check/models.h"
#include "check/programs.h"

/* What a run reported, by op and precision. */
enum { COMBINATIONS = 192, SUBJECTS = MGN_OP_COUNT + COMBINATIONS };

typedef struct tally {
    size_t results[SUBJECTS][2], failures[SUBJECTS][2];
    bool show;               /* print failures */
    double errors[SUBJECTS]; /* sum of all finite errors of an op */
} tally;

static int model_count(void) {
    char label[48];
    int count = 0;
    while (mgn_model_check_label((size_t)count, label)) count++;
    return count;
}

/* The name of an op, after the ops of a model and loss, after those of a program; false past the last. */
static bool subject(int index, char label[48]) {
    const int model = index - MGN_OP_COUNT, models = model_count();
    if (model >= models) return mgn_program_check_label((size_t)(model - models), label);
    if (model >= 0) return mgn_model_check_label((size_t)model, label);
    snprintf(label, 48, "%s", mgn_op_infos[index].label);
    return true;
}

/* What fails of a subject when its reference is wrong in the third digit: values, gradients and, in float, training. */
static size_t failures_of(int index, bool wide) {
    if (index < MGN_OP_COUNT || index >= MGN_OP_COUNT + model_count()) return 1;
    return wide ? 2 : 3;
}

static void count_result(void *context, const mgn_check_result *result) {
    tally *t = context;
    int op = 0, wide = strcmp(result->dtype, "float64") == 0;
    char label[48];
    while (subject(op, label) && strcmp(label, result->op) != 0) op++;
    ck_assert(subject(op, label) && op < SUBJECTS);
    t->results[op][wide]++;
    t->failures[op][wide] += !result->ok;
    if (isfinite(result->error)) t->errors[op] += result->error;
    if (t->show && !result->ok)
        printf("FAIL %s on %s in %s, %s: error %g, allowed %g: %s\n", result->op, result->device, result->dtype,
               result->kind, result->error, result->allowed, result->detail);
}

static void run_on(const char *device, bool has_f64) {
    static tally t;
    mgn_check_summary summary;
    mgn_check_options options = {.device = device, .seed = mgn_test_seed()};
    t = (tally){.show = true};
    MGN_ASSERT_OK(mgn_check_run(&options, count_result, &t, &summary));
    char label[48];
    for (int op = 0; subject(op, label); op++)
        for (int wide = 0; wide <= has_f64; wide++)
            ck_assert_msg(t.results[op][wide] > 0, "%s was not checked in %s", label, wide ? "float64" : "float32");
    ck_assert(t.results[MGN_OP_COUNT][0] == 4); /* a model: forward, gradient, training, Jacobian */
    ck_assert_msg(summary.failed == 0, "%zu of %zu checks failed on %s", summary.failed, summary.checks, device);
}

START_TEST(all_ops_on_cpu) { run_on("cpu", true); }
END_TEST

START_TEST(all_ops_on_opencl) {
    const char *spec = mgn_test_opencl_spec();
    if (!spec) MGN_TEST_SKIP("no OpenCL device");
    mgn_device_info infos[16];
    size_t count = 0;
    bool has_f64 = false;
    MGN_ASSERT_OK(mgn_device_list(infos, 16, &count));
    for (size_t i = 0; i < count && i < 16; i++)
        if (strcmp(infos[i].spec, spec) == 0) has_f64 = infos[i].has_f64;
    run_on(spec, has_f64);
}
END_TEST

/* Every op, model and program must notice a reference that is wrong in the third digit. */
START_TEST(wrong_reference_fails_for_every_op) {
    static tally t;
    mgn_check_summary summary;
    mgn_check_options options = {.device = "cpu", .seed = mgn_test_seed(), .fault = 1e-3};
    t = (tally){0};
    MGN_ASSERT_OK(mgn_check_run(&options, count_result, &t, &summary));
    char label[48];
    for (int op = 0; subject(op, label); op++)
        for (int wide = 0; wide < 2 && op != MGN_OP_shuffle; wide++) /* a shuffle has no reference: see below */
            ck_assert_msg(t.failures[op][wide] >= failures_of(op, wide), "%s in %s passes against a wrong reference",
                          label, wide ? "float64" : "float32");
}
END_TEST

START_TEST(one_op_sees_the_same_inputs_as_all) {
    static tally all, one;
    mgn_check_summary summary;
    mgn_check_options options = {.device = "cpu", .seed = 5};
    all = one = (tally){0};
    MGN_ASSERT_OK(mgn_check_run(&options, count_result, &all, &summary));
    options.op = "tanh";
    MGN_ASSERT_OK(mgn_check_run(&options, count_result, &one, &summary));
    ck_assert_uint_eq(one.results[MGN_OP_tanh][0] + one.results[MGN_OP_tanh][1], summary.checks);
    ck_assert(one.errors[MGN_OP_tanh] == all.errors[MGN_OP_tanh] && one.errors[MGN_OP_tanh] > 0);
    options.seed = 6;
    MGN_ASSERT_OK(mgn_check_run(&options, count_result, &one, &summary));
    ck_assert(one.errors[MGN_OP_tanh] != 2 * all.errors[MGN_OP_tanh]);
}
END_TEST

START_TEST(unknown_names_are_refused) {
    mgn_check_summary summary;
    mgn_check_options options = {.op = "tahn", .device = "cpu"};
    MGN_ASSERT_FAILS(mgn_check_run(&options, NULL, NULL, &summary), MGN_ERR_ARGUMENT, "'tanh'");
    options.op = "cmgn/nl";
    MGN_ASSERT_FAILS(mgn_check_run(&options, NULL, NULL, &summary), MGN_ERR_ARGUMENT, "'cmgn/nll'");
    options.op = "nothing_like_it";
    MGN_ASSERT_FAILS(mgn_check_run(&options, NULL, NULL, &summary), MGN_ERR_ARGUMENT, "ops.def");
    options = (mgn_check_options){.device = "abacus"};
    MGN_ASSERT_FAILS(mgn_check_run(&options, NULL, NULL, &summary), MGN_ERR_ARGUMENT, "abacus");
}
END_TEST

/* ---- the shuffle's property ---- */

START_TEST(shuffle_property_can_fail) {
    static mgn_case_list list;
    list.arena = mgn_arena_create();
    MGN_ASSERT_OK(mgn_cases_make(&list, MGN_OP_shuffle, 1));
    const mgn_check_case *c = NULL;
    for (int i = 0; i < list.count; i++)
        if (list.items[i].population == 93) c = &list.items[i];
    ck_assert_ptr_nonnull(c);
    double order[2 * 93];
    char detail[200];
    for (int i = 0; i < 93; i++) {
        order[i] = i;
        order[93 + i] = (i + 1) % 93;
    }
    ck_assert(c->property(c, order, detail, sizeof detail));
    double kept = order[7];
    order[7] = order[8]; /* a row twice */
    ck_assert(!c->property(c, order, detail, sizeof detail));
    order[7] = 93; /* no such row */
    ck_assert(!c->property(c, order, detail, sizeof detail));
    order[7] = kept;
    for (int i = 0; i < 93; i++) order[93 + i] = i; /* the same order twice */
    ck_assert(!c->property(c, order, detail, sizeof detail));
    mgn_arena_destroy(list.arena);
}
END_TEST

/* ---- the command ---- */

START_TEST(command_reports_and_exits) {
    mgn_test_process p = mgn_test_command("check --device cpu --op tanh --seed 3");
    ck_assert_msg(p.code == 0, "%s", p.err);
    ck_assert_ptr_nonnull(strstr(p.out, "pass"));
    ck_assert_ptr_nonnull(strstr(p.out, "0 failed (seed 3)"));
    mgn_test_process_free(&p);
    p = mgn_test_command("check --device cpu --op cmgn/nll --json");
    ck_assert_int_eq(p.code, 0);
    cJSON *object = cJSON_Parse(p.out);
    ck_assert_ptr_nonnull(object);
    ck_assert_int_eq(cJSON_GetObjectItem(object, "seed")->valueint, 0);
    ck_assert_str_eq(cJSON_GetObjectItem(object, "devices")->child->valuestring, "cpu");
    ck_assert_int_eq(cJSON_GetObjectItem(object, "failed")->valueint, 0);
    const cJSON *results = cJSON_GetObjectItem(object, "results"), *row = results->child;
    ck_assert_int_eq(cJSON_GetObjectItem(object, "checks")->valueint, cJSON_GetArraySize(results));
    ck_assert_int_eq(cJSON_GetArraySize(results), 7);
    ck_assert_str_eq(cJSON_GetObjectItem(row, "op")->valuestring, "cmgn/nll");
    ck_assert_str_eq(cJSON_GetObjectItem(row, "dtype")->valuestring, "float32");
    ck_assert(cJSON_GetObjectItem(row, "error")->valuedouble <= cJSON_GetObjectItem(row, "allowed")->valuedouble);
    ck_assert(cJSON_IsTrue(cJSON_GetObjectItem(row, "ok")));
    cJSON_Delete(object);
    mgn_test_process_free(&p);
    p = mgn_test_command("check --device cpu --op tahn");
    ck_assert_int_eq(p.code, 2);
    ck_assert_str_eq(p.out, "");
    ck_assert_ptr_nonnull(strstr(p.err, "did you mean 'tanh'"));
    mgn_test_process_free(&p);
}
END_TEST

/* ---- the judge ---- */

static bool accepts(mgn_dtype dtype, double found, mgn_exact expected, double ulps) {
    mgn_worst worst = {0};
    mgn_judge_element(&worst, dtype, "here", 3, found, expected, fabsl(expected), ulps * mgn_judge_unit(dtype));
    return worst.ratio <= 1;
}

START_TEST(judge_knows_right_from_wrong) {
    ck_assert(accepts(MGN_F32, 1, 1, 0));
    ck_assert(accepts(MGN_F32, (double)(float)0.1, 0.1L, 0)); /* correctly rounded is exact */
    ck_assert(!accepts(MGN_F32, nextafterf(0.1f, 1), 0.1L, 0));
    ck_assert(accepts(MGN_F32, nextafterf(0.1f, 1), 0.1L, 4));
    ck_assert(!accepts(MGN_F64, (double)nextafterf(0.1f, 1), 0.1L, 4));
    ck_assert(accepts(MGN_F32, NAN, NAN, 4));
    ck_assert(!accepts(MGN_F32, NAN, 1, 4));
    ck_assert(!accepts(MGN_F32, 1, NAN, 4));
    ck_assert(accepts(MGN_F32, INFINITY, INFINITY, 4));
    ck_assert(accepts(MGN_F32, INFINITY, 1e39L, 4)); /* overflows in float32 */
    ck_assert(!accepts(MGN_F64, INFINITY, 1e39L, 4));
    ck_assert(!accepts(MGN_F32, -INFINITY, INFINITY, 4));
    ck_assert(!accepts(MGN_F32, FLT_MAX, INFINITY, 4));
    ck_assert(accepts(MGN_F32, 0, 1e-40L, 4)); /* flushed to zero */
    ck_assert(!accepts(MGN_F32, 0, 1e-37L, 4));
    ck_assert(!accepts(MGN_F32, 1e-30, 0, 4));
}
END_TEST

/* ---- the oracle against published values ---- */

/* The known answers of Random123 for philox4x32-10. */
START_TEST(philox_known_answers) {
    static const uint32_t answers[3][3][4] = {
        {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {{~0u, ~0u, ~0u, ~0u}, {~0u, ~0u}, {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
        {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
         {0xa4093822, 0x299f31d0},
         {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
    };
    for (int i = 0; i < 3; i++) {
        uint32_t out[4];
        mgn_oracle_philox(answers[i][0], answers[i][1], out);
        ck_assert_mem_eq(out, answers[i][2], sizeof out);
    }
}
END_TEST

START_TEST(oracle_keeps_the_tails) {
    static const struct {
        mgn_op op;
        double at;
        mgn_exact value;
    } rows[] = {
        {MGN_OP_softplus, -80, 1.80485138784541517e-35L}, /* e^-80 - e^-160 / 2 */
        {MGN_OP_logistic, -80, 1.80485138784541517e-35L},     {MGN_OP_softplus, 80, 80.0L},
        {MGN_OP_logcosh, 1e-4, 4.9999999916666666889e-9L}, /* x^2/2 - x^4/12 + x^6/45 */
        {MGN_OP_logcosh, 100, 99.30685281944005469L},         {MGN_OP_tanh, 1e-8, 9.99999999999999966666667e-9L},
        {MGN_OP_log1p, 1e-10, 9.9999999995000000000333e-11L}, {MGN_OP_tanh, 1, 0.761594155955764888119458L},
        {MGN_OP_logistic, 1, 0.731058578630004879251159L},
    };
    for (size_t i = 0; i < MGN_COUNT(rows); i++) {
        mgn_exact value = mgn_oracle_scalar(rows[i].op, rows[i].at, 0, 0);
        ck_assert_msg(fabsl(value - rows[i].value) <= 2e-16L * rows[i].value, "%s(%g) is %.20Lg, expected %.20Lg",
                      mgn_op_infos[rows[i].op].label, rows[i].at, value, rows[i].value);
    }
}
END_TEST

/* The Hilbert matrix of order 4: det 1/6048000, an inverse of whole numbers. */
START_TEST(oracle_of_the_hilbert_matrix) {
    static const double inverse[16] = {16,  -120,  240,  -140,  -120, 1200, -2700, 1680,
                                       240, -2700, 6480, -4200, -140, 1680, -4200, 2800};
    mgn_exact a[16], out[16];
    for (int i = 0; i < 16; i++) a[i] = 1.0L / (mgn_exact)(i / 4 + i % 4 + 1);
    const mgn_exact *in[] = {a, NULL, NULL};
    mgn_check_case c = {
        .op = MGN_OP_spd_inverse, .inputs = 1, .in = {{.shape = MGN_SHAPE(4, 4)}}, .shape = MGN_SHAPE(4, 4)};
    mgn_oracle_inverse(&c, in, out, NULL);
    for (int i = 0; i < 16; i++) ck_assert(fabsl(out[i] - (mgn_exact)inverse[i]) < 1e-12L * 6480);
    c.shape = MGN_SCALAR;
    mgn_oracle_logdet(&c, in, out, NULL);
    ck_assert(fabsl(out[0] + logl(6048000.0L)) < 1e-14L);
    a[0] = 0.1L; /* no longer positive definite */
    mgn_oracle_logdet(&c, in, out, NULL);
    ck_assert(isnan(out[0]));
}
END_TEST

static Suite *suite(void) {
    Suite *s = suite_create("check");
    TCase *c = tcase_create("check");
    tcase_add_test(c, philox_known_answers);
    tcase_add_test(c, oracle_keeps_the_tails);
    tcase_add_test(c, oracle_of_the_hilbert_matrix);
    tcase_add_test(c, judge_knows_right_from_wrong);
    tcase_add_test(c, shuffle_property_can_fail);
    tcase_add_test(c, unknown_names_are_refused);
    tcase_add_test(c, all_ops_on_cpu);
    tcase_add_test(c, wrong_reference_fails_for_every_op);
    tcase_add_test(c, command_reports_and_exits);
    tcase_add_test(c, one_op_sees_the_same_inputs_as_all);
    tcase_add_test(c, all_ops_on_opencl);
    suite_add_tcase(s, c);
    return s;
}

int main(void) {
    mgn_test_opencl_spec();
    return mgn_test_main(suite());
}
