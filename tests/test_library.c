/* The library as others get it: installed, found through pkg-config, linked shared and static, from C and C++; its example
 * programs; its manual and completions; its maps read by another language. */
#include "harness.h"

#include <mgn/mgn.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void check_process(mgn_test_process process, const char *what) {
    if (process.code != 0)
        ck_abort_msg("%.500s: exit code %d\n%.2000s%.2000s", what, process.code, process.out, process.err);
    mgn_test_process_free(&process);
}

/* Runs a shell command that must succeed. */
#define SUCCEEDS(...) check_process(mgn_test_shell(__VA_ARGS__), #__VA_ARGS__)

static bool has_program(const char *name) {
    mgn_test_process found = mgn_test_shell("command -v %s", name);
    const bool is_there = found.code == 0;
    mgn_test_process_free(&found);
    return is_there;
}

/* ---- examples ---- */

/* Each of them judges its own result. */
START_TEST(examples_do_what_they_say) {
    static const char *const names[] = {"fit_arrays", "recolour_memory", "own_model"};
    const char *folder = mgn_test_path("examples");
    SUCCEEDS("mkdir -p '%s'", folder);
    SUCCEEDS("cd '%s' && MGN_DEVICE=cpu \"$MGN_BUILD_ROOT/assets/examples/%s\"", folder, names[_i]);
}
END_TEST

/* ---- headers ---- */

/* Every header by itself, then all of them, and the macros that C++ needs forms of its own for. */
static void compile_headers(const char *compiler, const char *suffix) {
    const char *folder = mgn_test_path(suffix);
    SUCCEEDS("mkdir -p '%s' && cd '%s' && n=0 && "
             "for header in \"$MGN_SOURCE_ROOT\"/include/mgn/*.h; do "
             "    echo \"#include <mgn/${header##*/}>\" > \"only_$n.%s\"; n=$((n + 1)); done && "
             "cat only_*.%s > all.%s && "
             "echo 'mgn_shape scalar(void); mgn_shape pair(int64_t n);' >> all.%s && "
             "echo 'mgn_shape scalar(void) { return MGN_SCALAR; }' >> all.%s && "
             "echo 'mgn_shape pair(int64_t n) { return MGN_SHAPE(n, 3); }' >> all.%s && "
             "%s -Wall -Wextra -Wpedantic -Wshadow -Werror -fsyntax-only -I\"$MGN_SOURCE_ROOT/include\" *.%s",
             folder, folder, suffix, suffix, suffix, suffix, suffix, suffix, compiler, suffix);
}

START_TEST(headers_stand_alone_in_c) {
    if (!has_program("${CC:-cc}")) MGN_TEST_SKIP("no C compiler beside the build");
    compile_headers("${CC:-cc} -std=c11", "c");
}
END_TEST

START_TEST(headers_stand_alone_in_cpp) {
    if (!has_program("${CXX:-c++}")) MGN_TEST_SKIP("no C++ compiler");
    compile_headers("${CXX:-c++} -std=c++11", "cc");
}
END_TEST

/* ---- installation ---- */

/* In a shell function, what a user types: flags from pkg-config, nothing else. $root is where it was installed. */
static const char use[] = "set -e; cd '%s'; root=$PWD/root; "
                          "PKG_CONFIG_PATH=$(dirname \"$(find \"$root\" -name mgn.pc)\"); export PKG_CONFIG_PATH; "
                          "libdir=$(pkg-config --variable=libdir mgn); test -f \"$libdir/libmgn.so.0\"; "
                          "test \"$(pkg-config --modversion mgn)\" = '%s'; "
                          "cp \"$(find \"$root\" -name own_model.c)\" own.c; "
                          "%s";

static const char link_shared[] = "${CC:-cc} own.c -o shared $(pkg-config --cflags --libs mgn) -lm; "
                                  "readelf -d shared | grep -q 'NEEDED.*libmgn.so.0'; "
                                  "LD_LIBRARY_PATH=$libdir MGN_DEVICE=cpu ./shared";

/* A name that is hidden cannot be linked, and every exported one begins with the prefix. */
static const char exports[] = "nm -D --defined-only \"$libdir/libmgn.so\" | awk '{print $3}' > names; "
                              "grep -q '^mgn_train$' names; if grep -v '^mgn_' names; then exit 1; fi; "
                              "if grep '^mgn_fail$' names; then exit 1; fi";

static const char link_cpp[] =
    "printf '#include <mgn/mgn.h>\\n#include <cstdio>\\nint main() { return std::puts(mgn_version()) < 0; }\\n' > "
    "v.cc; "
    "${CXX:-c++} v.cc -o cpp $(pkg-config --cflags --libs mgn); LD_LIBRARY_PATH=$libdir ./cpp";

/* Last: it takes the shared library away, so that -lmgn is the static one. */
static const char link_static[] = "rm \"$libdir\"/libmgn.so*; "
                                  "${CC:-cc} own.c -o static $(pkg-config --static --cflags --libs mgn); "
                                  "if readelf -d static | grep libmgn; then exit 1; fi; MGN_DEVICE=cpu ./static";

START_TEST(installed_library_is_found_and_linked) {
    if (!has_program("\"$MGN_MESON\"")) MGN_TEST_SKIP("meson is not to be found under its name");
    if (!has_program("pkg-config")) MGN_TEST_SKIP("no pkg-config");
    if (!has_program("${CC:-cc}")) MGN_TEST_SKIP("no C compiler beside the build");
    if (strcmp(getenv("MGN_LIBRARY_KIND"), "both") != 0) MGN_TEST_SKIP("built without -Ddefault_library=both");
    if (strcmp(getenv("MGN_SANITIZE"), "none") != 0)
        MGN_TEST_SKIP("a sanitizer's library asks for the sanitizer's flags");
    const char *folder = mgn_test_path("installed");
    SUCCEEDS(
        "mkdir -p '%s/root' && DESTDIR='%s/root' \"$MGN_MESON\" install -C \"$MGN_BUILD_ROOT\" --no-rebuild --quiet",
        folder, folder);
    SUCCEEDS(use, folder, mgn_version(), link_shared);
    SUCCEEDS(use, folder, mgn_version(), exports);
    if (has_program("${CXX:-c++}")) SUCCEEDS(use, folder, mgn_version(), link_cpp);
    SUCCEEDS(use, folder, mgn_version(), link_static);
    SUCCEEDS("cd '%s/root' && test -x \"$(find . -path '*/bin/mgn')\" && test -f \"$(find . -name mgn-recolor.1)\" && "
             "test -f \"$(find . -name mgn.bash)\" && test -f \"$(find . -name _mgn)\"",
             folder);
}
END_TEST

/* ---- manual pages and completions ---- */

START_TEST(every_command_has_a_manual_page) {
    mgn_test_process all = mgn_test_command("--help man");
    ck_assert_int_eq(all.code, 0);
    int pages = 0;
    for (const char *at = all.out; (at = strstr(at, ".BR mgn\\-")) != NULL; pages++) {
        char name[32];
        at += strlen(".BR mgn\\-");
        ck_assert_int_eq(sscanf(at, "%31[a-z0-9]", name), 1);
        mgn_test_process page = mgn_test_command("%s --help man", name);
        ck_assert_int_eq(page.code, 0);
        ck_assert_ptr_nonnull(strstr(page.out, ".SH SYNOPSIS"));
        ck_assert_ptr_nonnull(strstr(page.out, "\\fB\\-\\-device\\fR"));
        ck_assert_ptr_nonnull(strstr(page.out, ".SH EXAMPLES"));
        mgn_test_process_free(&page);
    }
    ck_assert_int_ge(pages, 13);
    mgn_test_process_free(&all);
}
END_TEST

/* What bash offers after `words`, the last of which is being typed. */
static void assert_bash_offers(const char *words, int count, const char *expected) {
    mgn_test_process offered = mgn_test_shell("bash -c 'eval \"$(\"$MGN_BINARY\" --help bash)\"; COMP_WORDS=(%s \"\"); "
                                              "COMP_CWORD=%d; _mgn; "
                                              "echo \"${COMPREPLY[*]}\"'",
                                              words, count - 1);
    ck_assert_msg(strcmp(offered.out, expected) == 0, "after %s bash offers '%s', not '%s' (%s)", words, offered.out,
                  expected, offered.err);
    mgn_test_process_free(&offered);
}

START_TEST(bash_completes) {
    if (!has_program("bash")) MGN_TEST_SKIP("no bash");
    assert_bash_offers("mgn reco", 2, "recolor\n");
    assert_bash_offers("mgn recolor --qu", 3, "--quality --quiet\n");
    assert_bash_offers("mgn recolor --model m", 4, "mmgn\n");
    assert_bash_offers("mgn recolor --seed 1", 4, "\n");
    assert_bash_offers("mgn recolor a.jpg", 3, "\n");
}
END_TEST

START_TEST(zsh_reads_its_completion) {
    if (!has_program("zsh")) MGN_TEST_SKIP("no zsh");
    const char *path = mgn_test_path("_mgn");
    SUCCEEDS("\"$MGN_BINARY\" --help zsh > '%s' && zsh -n '%s'", path, path);
}
END_TEST

/* ---- maps in another language ---- */

enum { ROWS = 50, D = 3 };

/* A random map, without a frame, with a diagonal and with a full one; its images; the same from the file. */
static void hold_python_to(const char *kind, int frame_kind) {
    mgn_test_random random = MGN_TEST_RANDOM();
    const mgn_model_config config = {
        .kind = "", .d = D, .h = 4, .layers = 3, .activation = mgn_model_usual_activation(kind)};
    mgn_model_config shape = config;
    snprintf(shape.kind, sizeof shape.kind, "%s", kind);
    mgn_model *model;
    mgn_device *device;
    mgn_map *map;
    MGN_ASSERT_OK(mgn_model_create(&shape, mgn_test_bits(&random) >> 12, &model));
    const double shift[D] = {1, -2, .5}, offset[D] = {-1, 0, 3}, full[D * D] = {.5, .1, 0, -.2, .7, .3, 0, .1, .4};
    const mgn_model_frame frame = {shift, full, offset, 1.5, frame_kind == 1};
    if (frame_kind) MGN_ASSERT_OK(mgn_model_set_frame(model, &frame));
    float x[ROWS * D], y[ROWS * D];
    for (int i = 0; i < ROWS * D; i++) x[i] = (float)mgn_test_normal(&random);
    MGN_ASSERT_OK(mgn_device_open("cpu", &device));
    MGN_ASSERT_OK(mgn_map_create(model, device, MGN_F32, &map));
    MGN_ASSERT_OK(mgn_map_apply(map, x, ROWS, y));
    const char *path = mgn_test_path("python.safetensors"), *x_path = mgn_test_path("x.csv"),
               *y_path = mgn_test_path("y.csv");
    MGN_ASSERT_OK(mgn_model_save(model, path));
    MGN_ASSERT_OK(mgn_csv_write(x_path, &(mgn_matrix){ROWS, D, x}, NULL));
    MGN_ASSERT_OK(mgn_csv_write(y_path, &(mgn_matrix){ROWS, D, y}, NULL));
    SUCCEEDS("python3 \"$MGN_SOURCE_ROOT/tests/read_map.py\" '%s' '%s' '%s'", path, x_path, y_path);
    y[ROWS * D - 1] += 1e-3f * (1 + y[ROWS * D - 1] * y[ROWS * D - 1]); /* and the judge is able to say no */
    MGN_ASSERT_OK(mgn_csv_write(y_path, &(mgn_matrix){ROWS, D, y}, NULL));
    mgn_test_process refused =
        mgn_test_shell("python3 \"$MGN_SOURCE_ROOT/tests/read_map.py\" '%s' '%s' '%s'", path, x_path, y_path);
    ck_assert_int_eq(refused.code, 1);
    mgn_test_process_free(&refused);
    mgn_map_destroy(map);
    mgn_device_close(device);
    mgn_model_destroy(model);
}

START_TEST(python_reads_saved_maps) {
    if (!has_program("python3")) MGN_TEST_SKIP("no python3");
    hold_python_to("cmgn", _i);
    hold_python_to("mmgn", _i);
}
END_TEST

static Suite *suite(void) {
    Suite *all = suite_create("library");
    TCase *used = tcase_create("used");
    tcase_set_timeout(used, 60);
    tcase_add_loop_test(used, examples_do_what_they_say, 0, 3);
    tcase_add_test(used, headers_stand_alone_in_c);
    tcase_add_test(used, headers_stand_alone_in_cpp);
    tcase_add_test(used, installed_library_is_found_and_linked);
    tcase_add_test(used, every_command_has_a_manual_page);
    tcase_add_test(used, bash_completes);
    tcase_add_test(used, zsh_reads_its_completion);
    tcase_add_loop_test(used, python_reads_saved_maps, 0, 3);
    suite_add_tcase(all, used);
    return all;
}

int main(void) {
    setenv("MGN_DEVICE", "cpu", 1);
    return mgn_test_main(suite());
}
