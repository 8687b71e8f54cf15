/* Every target of tests/fuzz on its seeds and on mutants of them: what fuzzing once found stays found, without libFuzzer.
 * The mutants are a function of the seed of the tests, and their number is fixed. */
#define _GNU_SOURCE
#include "fuzz/fuzz.h"
#include "harness.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/core.h"

/* A target's seeds. */
typedef struct corpus {
    char *bytes[128];
    size_t sizes[128], count;
    char names[128][64];
} corpus;

static const char *seed_folder;

static void add_folder(corpus *c, const char *folder, const char *label) {
    char path[600];
    snprintf(path, sizeof path, "%s/%s", folder, label);
    struct dirent **entries;
    const int count = scandir(path, &entries, NULL, alphasort);
    for (int i = 0; i < count; i++) {
        if (entries[i]->d_name[0] != '.') {
            char file[900];
            ck_assert_uint_lt(c->count, MGN_COUNT(c->bytes));
            snprintf(file, sizeof file, "%s/%s", path, entries[i]->d_name);
            snprintf(c->names[c->count], sizeof c->names[0], "%.63s", entries[i]->d_name);
            c->bytes[c->count] = mgn_test_read_file(file, &c->sizes[c->count]);
            c->count++;
        }
        free(entries[i]);
    }
    if (count >= 0) free(entries);
}

static void free_corpus(corpus *c) {
    for (size_t i = 0; i < c->count; i++) free(c->bytes[i]);
}

/* What a mutation puts into a file: bytes that readers take for ends, signs or sizes. */
static const unsigned char odd_bytes[] = {0,   1,   0x7f, 0x80, 0xff, '-', '9', '"',
                                          '{', '[', ',',  '\n', ';',  '.', 'e', ' '};

/* One to four small changes; returns the new size. */
static size_t mutate(mgn_test_random *random, const corpus *c, unsigned char *bytes, size_t size, size_t longest) {
    for (int64_t changes = mgn_test_integer(random, 1, 4); changes > 0 && size > 0; changes--) {
        const size_t at = (size_t)mgn_test_integer(random, 0, (int64_t)size - 1);
        const size_t length = (size_t)mgn_test_integer(random, 1, 8), run = MGN_MIN(size - at, length);
        const size_t other = (size_t)mgn_test_integer(random, 0, (int64_t)c->count - 1);
        switch (mgn_test_integer(random, 0, 6)) {
        case 0: bytes[at] ^= (unsigned char)(1 << mgn_test_integer(random, 0, 7)); break;
        case 1: bytes[at] = odd_bytes[mgn_test_integer(random, 0, sizeof odd_bytes - 1)]; break;
        case 2: size = at; break;
        case 3: /* drop a run */
            memmove(bytes + at, bytes + at + run, size - at - run);
            size -= run;
            break;
        case 4: /* say a run twice */
            if (size + run > longest) break;
            memmove(bytes + at + run, bytes + at, size - at);
            size += run;
            break;
        case 5: memset(bytes + at, bytes[at], run); break;
        default: /* the tail of another seed */
            if (c->sizes[other] <= at || c->sizes[other] > longest) break;
            memcpy(bytes + at, c->bytes[other] + at, c->sizes[other] - at);
            size = c->sizes[other];
        }
    }
    return size;
}

/* A block of the exact size, so that valgrind and the address sanitizer see a byte beyond its end. */
static void run_exact(const fuzz_target *target, const void *bytes, size_t size) {
    uint8_t *copy = malloc(size ? size : 1);
    ck_assert_ptr_nonnull(copy);
    if (size) memcpy(copy, bytes, size);
    target->run(copy, size);
    free(copy);
}

enum { MUTANTS = 400 };

START_TEST(seeds_and_mutants) {
    const fuzz_target *target = &fuzz_targets[_i];
    static corpus c;
    mgn_test_random random = mgn_test_random_named(target->label);
    mgn_set_quiet(true);
    ck_assert_ptr_nonnull(freopen("/dev/null", "w", stdout)); /* of this test's own process: help and versions */
    add_folder(&c, mgn_test_source("tests/fuzz/seeds"), target->label);
    add_folder(&c, seed_folder, target->label);
    ck_assert_msg(c.count > 0, "%s has no seeds", target->label);
    unsigned char *mutant = malloc(target->longest);
    ck_assert_ptr_nonnull(mutant);
    for (size_t i = 0; i < c.count; i++) {
        ck_assert_msg(c.sizes[i] <= target->longest, "%s/%s is longer than what is tried", target->label, c.names[i]);
        run_exact(target, c.bytes[i], c.sizes[i]);
    }
    for (size_t k = 0; k < MUTANTS; k++) {
        const size_t i = k % c.count;
        memcpy(mutant, c.bytes[i], c.sizes[i]);
        run_exact(target, mutant, mutate(&random, &c, mutant, c.sizes[i], target->longest));
    }
    free(mutant);
    free_corpus(&c);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("fuzz_seeds");
    TCase *tests = tcase_create("targets");
    char folder[300];
    snprintf(folder, sizeof folder, "%s/seeds", fuzz_folder()); /* made here, it outlives the tests' processes */
    seed_folder = folder;
    mgn_set_quiet(true);
    fuzz_make_seeds(folder);
    tcase_add_loop_test(tests, seeds_and_mutants, 0, (int)fuzz_target_count);
    suite_add_tcase(suite, tests);
    return mgn_test_main(suite);
}
