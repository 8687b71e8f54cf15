/* The benchmark command: that its rows are there, whole, and honest about disturbed samples. No test here asserts how
 * long anything takes. */
#include "json.h"

#include <string.h>

#include "bench/sampling.h"
#include "core/core.h"
#include "graph/ops.h"

/* ---- samples ---- */

START_TEST(the_fastest_clean_sample_counts) {
    static const double first[] = {3e-3, 1e-3, 2e-3}, second[] = {9e-3, 5e-3, 7e-3, 6e-3, 8e-3};
    mgn_sampler *sampler = mgn_alloc(1, sizeof *sampler);
    ck_assert_ptr_nonnull(sampler);
    mgn_sampler_begin(sampler, 10);
    for (size_t i = 0; i < MGN_COUNT(first); i++) ck_assert(mgn_sampler_add(sampler, first[i]));
    mgn_sampler_judge(sampler, 0.5, 1, 2); /* others took a quarter of two processors */
    for (size_t i = 0; i < MGN_COUNT(second); i++) ck_assert(mgn_sampler_add(sampler, second[i]));
    mgn_sampler_judge(sampler, 0.01, 1, 2);
    mgn_timing timing = mgn_sampler_end(sampler);
    ck_assert_int_eq(timing.samples, 8);
    ck_assert_int_eq(timing.clean, 5);
    ck_assert(!timing.disturbed);
    ck_assert_double_eq(timing.fastest, 5e-3);
    ck_assert_double_eq(timing.median, 7e-3);
    mgn_free(sampler);
}
END_TEST

START_TEST(disturbed_samples_are_said_to_be) {
    mgn_sampler *sampler = mgn_alloc(1, sizeof *sampler);
    ck_assert_ptr_nonnull(sampler);
    mgn_sampler_begin(sampler, 10);
    for (int i = 3; i > 0; i--) mgn_sampler_add(sampler, i * 1e-3);
    mgn_sampler_judge(sampler, 2, 1, 2);
    mgn_timing timing = mgn_sampler_end(sampler);
    ck_assert(timing.disturbed);
    ck_assert_int_eq(timing.clean, 0);
    ck_assert_double_eq(timing.fastest, 1e-3);
    ck_assert_double_eq(timing.median, 2e-3);
    mgn_free(sampler);
}
END_TEST

START_TEST(samplers_stop) {
    mgn_sampler *sampler = mgn_alloc(1, sizeof *sampler);
    ck_assert_ptr_nonnull(sampler);
    mgn_sampler_begin(sampler, 1e9);
    int count = 1;
    while (mgn_sampler_add(sampler, 1e-3)) count++;
    ck_assert_int_eq(count, MGN_SAMPLES_MOST);
    mgn_sampler_begin(sampler, -1); /* spent before it began, so that not even three are waited for */
    ck_assert(!mgn_sampler_add(sampler, 1e-3));
    ck_assert_int_eq(mgn_sampler_end(sampler).samples, 1);
    mgn_free(sampler);
}
END_TEST

/* ---- the command ---- */

static cJSON *run_bench(const char *filter) {
    cJSON *report = json_of(mgn_test_command("bench --device cpu -q --json --seconds 0.01 --filter '%s'", filter));
    ck_assert_str_eq(cJSON_GetStringValue(cJSON_GetObjectItem(report, "device")), "cpu");
    ck_assert_int_ge(cJSON_GetArraySize(cJSON_GetObjectItem(report, "results")), 1);
    return report;
}

/* The keys that whoever reads the JSON relies on, by name of the row; those with a '#' are numbers above 0. */
static const struct {
    const char *name, *filter;
    const char *keys[14];
    int rows;
} kinds[] = {
    {"step",
     "step",
     {"model", "#d", "#h", "#layers", "loss", "#batch", "#rows", "#us", "#median_us", "#samples", "disturbed"},
     16},
    {"step-unfused", "step-unfused", {"model", "#d", "#h", "#layers", "loss", "#batch", "#us", "#median_us"}, 16},
    {"cloud", "sinkhorn 1000x3", {"what", "#points", "#d", "#scaling", "#ms", "#median_ms", "#passes", "#result"}, 2},
    {"wide", "wide cmgn d=784 h=256", {"model", "#us", "#median_us", "#gflops", "#peak_gflops", "#share"}, 1},
    {"compile", "compile", {"model", "loss", "start", "#ms", "#median_ms"}, 3},
    {"gemm", "256x784x512", {"#m", "#n", "#k", "#us", "#gflops", "peer", "#peer_gflops", "#ratio"}, 1},
    {"op", "tanh 4096", {"op", "shape", "size", "#us", "#median_us", "#gbytes_s", "#gflops", "#share", "bound"}, 1},
};

static void check_row(const cJSON *row, const char *const *keys) {
    ck_assert_msg(!cJSON_HasObjectItem(row, "error"), "%s", cJSON_GetStringValue(cJSON_GetObjectItem(row, "error")));
    for (; *keys; keys++) {
        bool number = **keys == '#';
        const cJSON *item = cJSON_GetObjectItem(row, *keys + number);
        ck_assert_msg(item, "a row lacks '%s'", *keys + number);
        ck_assert_msg(!number || cJSON_GetNumberValue(item) > 0, "'%s' is not a number above 0", *keys + 1);
    }
}

START_TEST(rows_are_whole) {
    cJSON *report = run_bench(kinds[_i].filter);
    int found = 0;
    for (const cJSON *row = cJSON_GetObjectItem(report, "results")->child; row; row = row->next) {
        if (strcmp(cJSON_GetStringValue(cJSON_GetObjectItem(row, "name")), kinds[_i].name) != 0) continue;
        check_row(row, kinds[_i].keys);
        found++;
    }
    ck_assert_int_eq(found, kinds[_i].rows);
    cJSON_Delete(report);
}
END_TEST

/* Listing takes no time: the sizes of every op with a kernel exist, and no two entries are the same. */
START_TEST(every_op_has_an_entry) {
    mgn_bench_list *list = mgn_alloc(1, sizeof *list);
    ck_assert_ptr_nonnull(list);
    mgn_bench_add_ops(list);
    ck_assert_int_le(list->count, MGN_BENCH_MOST);
    for (int op = 0; op < MGN_OP_COUNT; op++) {
        size_t length = strlen(mgn_op_infos[op].label);
        int found = 0;
        for (int i = 0; i < list->count; i++) {
            const char *subject = list->entries[i].subject;
            found += strncmp(subject, mgn_op_infos[op].label, length) == 0 && subject[length] == ' ';
        }
        ck_assert_msg((found > 0) == mgn_op_infos[op].has_kernel, "%s has %d entries", mgn_op_infos[op].label, found);
    }
    for (int i = 0; i < list->count; i++)
        for (int j = 0; j < i; j++) ck_assert_str_ne(list->entries[i].subject, list->entries[j].subject);
    mgn_free(list);
}
END_TEST

START_TEST(prints_tables) {
    mgn_test_process process = mgn_test_command("bench --device cpu -q --seconds 0.01 --filter 'l1 batch 32'");
    ck_assert_msg(process.code == 0, "%s", process.err);
    ck_assert_msg(strstr(process.out, "\nstep ") && strstr(process.out, "\nstep-unfused "), "%s", process.out);
    ck_assert_msg(strstr(process.out, "4 figures"), "%s", process.out);
    mgn_test_process_free(&process);
}
END_TEST

START_TEST(refuses) {
    static const struct {
        const char *arguments, *sentence;
    } rows[] = {
        {"--filter nosuchthing", "no benchmark contains 'nosuchthing'"},
        {"--filter ''", "--filter needs TEXT"},
        {"--seconds 0", "--seconds"},
        {"--seconds fast", "--seconds"},
        {"tanh", "'tanh' is one argument too many"},
    };
    for (size_t i = 0; i < MGN_COUNT(rows); i++) {
        mgn_test_process process = mgn_test_command("bench -q --device cpu %s", rows[i].arguments);
        ck_assert_msg(process.code == 2, "bench %s: exit code %d", rows[i].arguments, process.code);
        ck_assert_msg(strstr(process.err, rows[i].sentence), "bench %s: %s", rows[i].arguments, process.err);
        ck_assert_msg(!*process.out, "bench %s printed: %s", rows[i].arguments, process.out);
        mgn_test_process_free(&process);
    }
}
END_TEST

int main(void) {
    Suite *suite = suite_create("bench");
    TCase *samples = tcase_create("samples"), *command = tcase_create("command");
    tcase_add_test(samples, the_fastest_clean_sample_counts);
    tcase_add_test(samples, disturbed_samples_are_said_to_be);
    tcase_add_test(samples, samplers_stop);
    tcase_add_test(samples, every_op_has_an_entry);
    tcase_set_timeout(command, 120);
    tcase_add_loop_test(command, rows_are_whole, 0, (int)MGN_COUNT(kinds));
    tcase_add_test(command, prints_tables);
    tcase_add_test(command, refuses);
    suite_add_tcase(suite, samples);
    suite_add_tcase(suite, command);
    return mgn_test_main(suite);
}
