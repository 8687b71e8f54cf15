/* The core: errors, allocation, arenas, threads, strict numbers, nearest words, progress lines. */
#include "harness.h"

#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/core.h"
#include "core/parse.h"
#include "core/progress.h"

/* ---- errors ---- */

START_TEST(errors_keep_the_last_sentence) {
    ck_assert_int_eq(mgn_fail(MGN_ERR_IO, "%s: %d bytes expected", "a.npy", 7), MGN_ERR_IO);
    ck_assert_str_eq(mgn_last_error(), "a.npy: 7 bytes expected");
    mgn_fail(MGN_ERR_FORMAT, "while reading: %s", mgn_last_error()); /* the old sentence inside the new one */
    ck_assert_str_eq(mgn_last_error(), "while reading: a.npy: 7 bytes expected");
}
END_TEST

START_TEST(errors_of_any_length_are_cut) {
    char *text = malloc(100000);
    memset(text, 'x', 99999);
    text[99999] = 0;
    mgn_fail(MGN_ERR_IO, "%s", text);
    ck_assert_uint_gt(strlen(mgn_last_error()), 500);
    ck_assert_uint_lt(strlen(mgn_last_error()), 5000);
    free(text);
}
END_TEST

static void *fail_elsewhere(void *sentence) {
    mgn_fail(MGN_ERR_DEVICE, "of another thread");
    memcpy(sentence, mgn_last_error(), strlen(mgn_last_error()) + 1);
    return NULL;
}

START_TEST(errors_belong_to_their_thread) {
    char other[1024] = "";
    pthread_t thread;
    mgn_fail(MGN_ERR_IO, "of this thread");
    ck_assert_int_eq(pthread_create(&thread, NULL, fail_elsewhere, other), 0);
    pthread_join(thread, NULL);
    ck_assert_str_eq(other, "of another thread");
    ck_assert_str_eq(mgn_last_error(), "of this thread");
}
END_TEST

static mgn_status forwards(mgn_status inner, bool *went_on) {
    MGN_TRY(inner);
    *went_on = true;
    return MGN_OK;
}

START_TEST(try_forwards_failures_only) {
    bool went_on = false;
    ck_assert_int_eq(forwards(MGN_ERR_NUMERIC, &went_on), MGN_ERR_NUMERIC);
    ck_assert(!went_on);
    ck_assert_int_eq(forwards(MGN_OK, &went_on), MGN_OK);
    ck_assert(went_on);
}
END_TEST

/* ---- allocation ---- */

START_TEST(allocation_is_zeroed_and_counted) {
    uint64_t before = mgn_allocations();
    unsigned char *block = mgn_alloc(93, 7), *aligned = mgn_alloc_aligned(93, 7);
    ck_assert_uint_eq(mgn_allocations(), before + 2);
    ck_assert_uint_eq((uintptr_t)aligned % 64, 0);
    for (size_t i = 0; i < 93 * 7; i++) ck_assert(block[i] == 0 && aligned[i] == 0);
    memset(block, 5, 93 * 7);
    block = mgn_realloc(block, 4096, 7);
    for (size_t i = 0; i < 93 * 7; i++) ck_assert(block[i] == 5);
    mgn_free(block);
    mgn_free(aligned);
    mgn_free(NULL);
}
END_TEST

START_TEST(allocation_of_nothing_is_a_block) {
    void *a = mgn_alloc(0, 8), *b = mgn_alloc_aligned(0, 0), *c = mgn_realloc(NULL, 0, 4);
    ck_assert(a && b && c);
    mgn_free(a);
    mgn_free(b);
    mgn_free(c);
}
END_TEST

START_TEST(allocation_refuses_sizes_that_overflow) {
    static const struct {
        size_t count, size;
    } rows[] = {{SIZE_MAX, 2}, {SIZE_MAX / 2 + 1, 2}, {SIZE_MAX / 8 + 1, 8}, {SIZE_MAX, 1}, {SIZE_MAX - 15, 1}};
    mgn_arena *arena = mgn_arena_create();
    for (size_t i = 0; i < MGN_COUNT(rows); i++) {
        mgn_fail(MGN_OK, "none");
        ck_assert_msg(!mgn_alloc(rows[i].count, rows[i].size), "mgn_alloc, row %zu", i);
        ck_assert_msg(strstr(mgn_last_error(), "out of memory"), "row %zu: %s", i, mgn_last_error());
        ck_assert_msg(!mgn_realloc(NULL, rows[i].count, rows[i].size), "mgn_realloc, row %zu", i);
        ck_assert_msg(!mgn_alloc_aligned(rows[i].count, rows[i].size), "mgn_alloc_aligned, row %zu", i);
        ck_assert_msg(!mgn_arena_alloc(arena, rows[i].count, rows[i].size), "mgn_arena_alloc, row %zu", i);
    }
    void *after = mgn_arena_alloc(arena, 1, 16); /* a refused request leaves the arena as it was */
    ck_assert_ptr_nonnull(after);
    mgn_arena_destroy(arena);
}
END_TEST

START_TEST(failed_realloc_keeps_the_block) {
    char *block = mgn_strdup("kept");
    ck_assert_ptr_null(mgn_realloc(block, SIZE_MAX, 3));
    ck_assert_str_eq(block, "kept");
    mgn_free(block);
}
END_TEST

static bool all_are(const unsigned char *bytes, size_t count, int value) {
    for (size_t i = 0; i < count; i++)
        if (bytes[i] != value) return false;
    return true;
}

START_TEST(arena_blocks_are_apart_zeroed_and_aligned) {
    enum { COUNT = 500 };
    mgn_test_random random = MGN_TEST_RANDOM();
    mgn_arena *arena = mgn_arena_create();
    unsigned char *block[COUNT];
    size_t size[COUNT];
    for (int i = 0; i < COUNT; i++) {
        size[i] = (size_t)mgn_test_integer(&random, 0, i % 50 == 49 ? 200000 : 700); /* some larger than a chunk */
        block[i] = mgn_arena_alloc(arena, size[i], 1);
        ck_assert_ptr_nonnull(block[i]);
        ck_assert_uint_eq((uintptr_t)block[i] % 16, 0);
        ck_assert(all_are(block[i], size[i], 0));
        memset(block[i], i % 255 + 1, size[i]);
    }
    for (int i = 0; i < COUNT; i++) ck_assert(all_are(block[i], size[i], i % 255 + 1));
    ck_assert_str_eq(mgn_arena_strdup(arena, "a name"), "a name");
    mgn_arena_destroy(arena);
    mgn_arena_destroy(NULL);
}
END_TEST

/* ---- threads and environment ---- */

START_TEST(threads_come_from_the_call_then_the_environment) {
    setenv("MGN_THREADS", "3", 1);
    mgn_set_threads(0);
    ck_assert_int_eq(mgn_threads(), 3);
    mgn_set_threads(5);
    ck_assert_int_eq(mgn_threads(), 5);
    unsetenv("MGN_THREADS");
    mgn_set_threads(0);
    ck_assert_int_ge(mgn_threads(), 1);
    mgn_set_threads(1000000);
    ck_assert_int_le(mgn_threads(), 256);
}
END_TEST

START_TEST(threads_refuse_nonsense_in_the_environment) {
    static const char *const wrong[] = {"0", "-2", "two", "2x", "257", "99999999999999999999", " 2", "0x2"};
    mgn_set_quiet(true);
    for (size_t i = 0; i < MGN_COUNT(wrong); i++) {
        int count = 7;
        setenv("MGN_THREADS", wrong[i], 1);
        MGN_ASSERT_FAILS(mgn_environment_threads(&count), MGN_ERR_ARGUMENT, "MGN_THREADS");
        ck_assert_int_eq(count, 7);
        mgn_set_threads(0); /* the library goes on with all cores */
        ck_assert_int_ge(mgn_threads(), 1);
    }
    setenv("MGN_THREADS", "", 1); /* empty is unset */
    int count = 7;
    MGN_ASSERT_OK(mgn_environment_threads(&count));
    ck_assert_int_eq(count, 0);
}
END_TEST

START_TEST(interrupt_stays) {
    ck_assert(!mgn_interrupted());
    mgn_interrupt();
    ck_assert(mgn_interrupted());
}
END_TEST

/* ---- numbers and words ---- */

START_TEST(integers_are_strict) {
    static const struct {
        const char *text;
        bool fine;
        int64_t value;
    } rows[] = {
        {"0", true, 0},
        {"-5", true, -5},
        {"+7", true, 7},
        {"100", true, 100},
        {"007", true, 7},
        {"101", false, 0},
        {"-6", false, 0},
        {"", false, 0},
        {" 1", false, 0},
        {"1 ", false, 0},
        {"1.0", false, 0},
        {"1e2", false, 0},
        {"0x10", false, 0},
        {"-", false, 0},
        {"abc", false, 0},
        {"9223372036854775808", false, 0},
        {"-99999999999999999999999", false, 0},
    };
    for (size_t i = 0; i < MGN_COUNT(rows); i++) {
        int64_t value = 1234;
        mgn_status status = mgn_parse_integer("--n", rows[i].text, -5, 100, &value);
        ck_assert_msg((status == MGN_OK) == rows[i].fine, "'%s'", rows[i].text);
        ck_assert_int_eq(value, rows[i].fine ? rows[i].value : 1234);
        if (!rows[i].fine) ck_assert_msg(strstr(mgn_last_error(), "--n: "), "%s", mgn_last_error());
    }
    int64_t least, most;
    MGN_ASSERT_OK(mgn_parse_integer("--n", "-9223372036854775808", INT64_MIN, INT64_MAX, &least));
    MGN_ASSERT_OK(mgn_parse_integer("--n", "9223372036854775807", INT64_MIN, INT64_MAX, &most));
    ck_assert(least == INT64_MIN && most == INT64_MAX);
    MGN_ASSERT_FAILS(mgn_parse_integer("--n", "9223372036854775808", INT64_MIN, INT64_MAX, &most), MGN_ERR_ARGUMENT,
                     "9223372036854775808");
}
END_TEST

START_TEST(reals_are_strict) {
    static const struct {
        const char *text;
        bool fine;
        double value;
    } rows[] = {
        {"0.25", true, 0.25}, {"1e-3", true, 1e-3}, {".5", true, 0.5},    {"-1", true, -1},
        {"2", true, 2},       {"2.0001", false, 0}, {"-1.1", false, 0},   {"nan", false, 0},
        {"inf", false, 0},    {"1e999", false, 0},  {"", false, 0},       {".", false, 0},
        {"1,5", false, 0},    {"1.5x", false, 0},   {"0x1p-1", false, 0}, {" 1", false, 0},
    };
    for (size_t i = 0; i < MGN_COUNT(rows); i++) {
        double value = 1234;
        mgn_status status = mgn_parse_real("--x", rows[i].text, -1, 2, &value);
        ck_assert_msg((status == MGN_OK) == rows[i].fine, "'%s'", rows[i].text);
        ck_assert_double_eq(value, rows[i].fine ? rows[i].value : 1234);
    }
    double value;
    MGN_ASSERT_FAILS(mgn_parse_real("--x", "1e999", -INFINITY, INFINITY, &value), MGN_ERR_ARGUMENT, "1e999");
}
END_TEST

static const char *nearest(const char *word) {
    static const char *const words[] = {"recolor", "apply", "experiment", "check", "devices"};
    const char *best = NULL;
    for (size_t i = 0; i < MGN_COUNT(words); i++) mgn_nearest(word, words[i], &best);
    return best ? best : "";
}

START_TEST(nearest_word_is_near) {
    ck_assert_str_eq(nearest("recolour"), "recolor");
    ck_assert_str_eq(nearest("chekc"), "check");
    ck_assert_str_eq(nearest("Devices"), "devices");
    ck_assert_str_eq(nearest("exp"), "experiment"); /* the beginning of one */
    ck_assert_str_eq(nearest("zzzzzz"), "");
    ck_assert_str_eq(nearest("appendectomies-and-other-words-longer-than-any-command-has-ever-been"), "");
}
END_TEST

/* ---- progress ---- */

START_TEST(progress_tells_share_and_time_left) {
    mgn_progress progress = {.label = "training", .total = 200, .done = 50, .started = 100.0};
    char line[256];
    size_t length = mgn_progress_line(&progress, 110.0, "loss 0.5", 200, line, sizeof line);
    ck_assert_str_eq(line, "training  [#####...............]  25 %  0:30 left  50/200  loss 0.5");
    ck_assert_uint_eq(length, strlen(line));
    progress.unit = "steps";
    mgn_progress_line(&progress, 110.0, "", 200, line, sizeof line);
    ck_assert_msg(strstr(line, "50/200  5.00 steps/s"), "%s", line);
    progress.unit = NULL;
    progress.done = 0;
    mgn_progress_line(&progress, 110.0, "", 200, line, sizeof line);
    ck_assert_msg(strstr(line, "? left  0/200"), "%s", line);
    progress.done = 900; /* more than was promised */
    mgn_progress_line(&progress, 110.0, "", 200, line, sizeof line);
    ck_assert_msg(strstr(line, "100 %"), "%s", line);
    progress.total = 0;
    mgn_progress_line(&progress, 100.0 + 3725.0, "", 200, line, sizeof line);
    ck_assert_str_eq(line, "training  1:02:05  900");
    progress.done = 0;
    mgn_progress_line(&progress, 112.0, "annealing", 200, line, sizeof line);
    ck_assert_str_eq(line, "training  0:12  annealing");
}
END_TEST

START_TEST(progress_fits_the_terminal) {
    mgn_progress progress = {.label = "training", .total = 200, .done = 50};
    for (size_t width = 0; width < 80; width++) {
        char line[64];
        size_t length =
            mgn_progress_line(&progress, 1.0, "a remark longer than the terminal", width, line, sizeof line);
        ck_assert_uint_eq(length, strlen(line));
        ck_assert_uint_le(length, width);
    }
}
END_TEST

int main(void) {
    Suite *suite = suite_create("core");
    TCase *errors = tcase_create("errors"), *memory = tcase_create("memory"), *rest = tcase_create("surroundings");
    tcase_add_test(errors, errors_keep_the_last_sentence);
    tcase_add_test(errors, errors_of_any_length_are_cut);
    tcase_add_test(errors, errors_belong_to_their_thread);
    tcase_add_test(errors, try_forwards_failures_only);
    tcase_add_test(memory, allocation_is_zeroed_and_counted);
    tcase_add_test(memory, allocation_of_nothing_is_a_block);
    tcase_add_test(memory, allocation_refuses_sizes_that_overflow);
    tcase_add_test(memory, failed_realloc_keeps_the_block);
    tcase_add_test(memory, arena_blocks_are_apart_zeroed_and_aligned);
    tcase_add_test(rest, threads_come_from_the_call_then_the_environment);
    tcase_add_test(rest, threads_refuse_nonsense_in_the_environment);
    tcase_add_test(rest, interrupt_stays);
    tcase_add_test(rest, integers_are_strict);
    tcase_add_test(rest, reals_are_strict);
    tcase_add_test(rest, nearest_word_is_near);
    tcase_add_test(rest, progress_tells_share_and_time_left);
    tcase_add_test(rest, progress_fits_the_terminal);
    suite_add_tcase(suite, errors);
    suite_add_tcase(suite, memory);
    suite_add_tcase(suite, rest);
    return mgn_test_main(suite);
}
