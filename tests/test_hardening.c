/* What the built files are hardened with, as they are and not as the compiler was asked; and files that are none, which are
 * refused as input and as logs. */
#include "refusals.h"

#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- the built files ---- */

/* Shell commands that succeed for "$file"; some for the program alone. */
static const struct property {
    const char *what, *command;
    bool of_library;
} properties[] = {
    {"it can be loaded anywhere", "readelf -hW \"$file\" | grep -q 'Type: *DYN'", true},
    {"it says so", "readelf -dW \"$file\" | grep 'FLAGS_1' | grep -qw PIE", false},
    {"what is linked is read-only", "readelf -lW \"$file\" | grep -q GNU_RELRO && readelf -dW \"$file\" | grep -qw NOW",
     true},
    {"its stack holds no code", "readelf -lW \"$file\" | grep GNU_STACK | grep -q ' RW '", true},
    {"no code can be written", "! readelf -lW \"$file\" | grep LOAD | grep -q RWE", true},
    {"no code is changed while it is loaded", "! readelf -dW \"$file\" | grep -q TEXTREL", true},
    {"stacks are guarded", "nm -D \"$file\" | grep -q __stack_chk_fail", true},
#if defined(_FORTIFY_SOURCE) && defined(__OPTIMIZE__)
    {"lengths are checked", "nm -D \"$file\" | grep -q '_chk@'", true},
#endif
    {"a program with others' rights reads no environment",
     "nm -D \"$file\" | grep -qw secure_getenv && ! nm -D \"$file\" | grep -q ' getenv@'", true},
};

static void check_property(const struct property *p, const char *file) {
    if (access(file, F_OK) != 0) return; /* not built with this default_library */
    mgn_test_process process = mgn_test_shell("file='%s'; %s", file, p->command);
    ck_assert_msg(process.code == 0, "%s: %s was expected: %s", file, p->what, process.err);
    mgn_test_process_free(&process);
}

START_TEST(built_files_are_hardened) {
    const char *sanitizer = getenv("MGN_SANITIZE");
    if (sanitizer && strcmp(sanitizer, "none") != 0) MGN_TEST_SKIP("a sanitizer changes what is built");
    if (system("command -v readelf nm >/dev/null") != 0) MGN_TEST_SKIP("readelf and nm are not installed");
    char library[4096];
    snprintf(library, sizeof library, "%s/libmgn.so", getenv("MGN_BUILD_ROOT"));
    check_property(&properties[_i], getenv("MGN_BINARY"));
    if (properties[_i].of_library) check_property(&properties[_i], library);
}
END_TEST

/* ---- files that are none ---- */

static const refusal refusals[] = {
    {"w2 /dev/zero x.csv", 1, "/dev/zero is a device"},
    {"w2 x.csv /dev/full", 1, "/dev/full is a device"},
    {"gmm /dev/zero -k 1 -o g.json", 1, "/dev/zero is a device"},
    {"apply /dev/zero x.csv -o y.csv", 1, "/dev/zero is a device"},
    {"sample /dev/zero 10 -o y.csv", 1, "/dev/zero is a device"},
    {"eval /dev/zero --data x.csv", 1, "/dev/zero is a device"},
    {"fit -s x.csv -t normal:2 -o m --epochs 1 --resume /dev/zero", 1, "/dev/zero"},
    {"fit -s /dev/zero -t normal:2 -o m --epochs 1", 1, "/dev/zero is a device"},
    {"fit -s x.csv -t normal:2 -o m --epochs 1 --log endless.csv", 1, "the log endless.csv|no regular file"},
    {"fit -s x.csv -t normal:2 -o m --epochs 1 --log pipe.csv", 1, "the log pipe.csv|no regular file"},
    {"recolor /dev/zero --like /dev/zero -o r.png", 1, "/dev/zero is a device"},
    {"w2 . x.csv", 1, "."},
};

static const char *folder;

static void make_folder(void) {
    folder = mgn_test_path("folder");
    static char kept[600];
    snprintf(kept, sizeof kept, "%s", folder);
    folder = kept;
    ck_assert_int_eq(mkdir(folder, 0777), 0);
    mgn_test_write_file(mgn_test_within(folder, "x.csv"), "1,2\n3,4\n5,7\n", 12);
    ck_assert_int_eq(mkfifo(mgn_test_within(folder, "pipe.csv"), 0600), 0);
    ck_assert_int_eq(symlink("/dev/zero", mgn_test_within(folder, "endless.csv")), 0);
}

START_TEST(what_is_no_file_is_refused) { check_refusal(folder, &refusals[_i]); }
END_TEST

int main(void) {
    Suite *suite = suite_create("hardening");
    TCase *built = tcase_create("built"), *refused = tcase_create("refused");
    tcase_add_loop_test(built, built_files_are_hardened, 0, (int)(sizeof properties / sizeof *properties));
    tcase_add_unchecked_fixture(refused, make_folder, NULL);
    tcase_add_loop_test(refused, what_is_no_file_is_refused, 0, (int)(sizeof refusals / sizeof *refusals));
    suite_add_tcase(suite, built);
    suite_add_tcase(suite, refused);
    return mgn_test_main(suite);
}
