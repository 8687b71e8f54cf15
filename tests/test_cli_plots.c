/* --plots of every command: which figures there are, that they are pictures, and what happens without gnuplot. */
#include "harness.h"

#include <mgn/data.h>
#include <mgn/image.h>

#include "core/core.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Runs a command in the folder of this program, on the cpu. */
static void run_well(const char *words) {
    mgn_test_process p = mgn_test_shell("cd %s && \"$MGN_BINARY\" %s --device cpu -q", mgn_test_path(""), words);
    ck_assert_msg(p.code == 0, "mgn %s: %s", words, p.err);
    ck_assert_str_eq(p.err, "");
    mgn_test_process_free(&p);
}

/* Fails with the code and the sentence. `path`: PATH. */
static void run_badly(const char *path, const char *words, int code, const char *sentence) {
    mgn_test_process p =
        mgn_test_shell("cd %s && PATH=%s \"$MGN_BINARY\" %s --device cpu -q", mgn_test_path(""), path, words);
    ck_assert_msg(p.code == code && strstr(p.err, sentence), "mgn %s ended with %d: %s", words, p.code, p.err);
    mgn_test_process_free(&p);
}

/* Every name is there as PNG, which can be read, and as SVG; `names` ends with NULL. */
static void assert_figures(const char *folder, const char *const *names) {
    char path[256];
    for (; *names; names++) {
        mgn_image *image = NULL;
        snprintf(path, sizeof path, "%s/%s.png", folder, *names);
        MGN_ASSERT_OK(mgn_image_read(mgn_test_path(path), &image));
        ck_assert_uint_ge(image->width, 800);
        mgn_image_destroy(image);
        snprintf(path, sizeof path, "%s/%s.svg", folder, *names);
        char *svg = mgn_test_read_file(mgn_test_path(path), NULL);
        ck_assert_ptr_nonnull(strstr(svg, "</svg>"));
        free(svg);
    }
}

#define ASSERT_FIGURES(folder, ...) assert_figures(folder, (const char *const[]){__VA_ARGS__, NULL})

static bool exists(const char *name) { return access(mgn_test_path(name), F_OK) == 0; }

static char *read_svg(const char *name) { return mgn_test_read_file(mgn_test_path(name), NULL); }

/* A table of `rows` normal rows. */
static void write_table(const char *name, int64_t rows, int64_t d) {
    mgn_test_random random = mgn_test_random_named(name);
    mgn_matrix table;
    MGN_ASSERT_OK(mgn_matrix_create(rows, d, &table));
    for (int64_t i = 0; i < rows * d; i++) table.values[i] = (float)mgn_test_normal(&random);
    MGN_ASSERT_OK(mgn_table_write(mgn_test_path(name), &table));
    mgn_matrix_free(&table);
}

static void write_picture(const char *name, unsigned tint) {
    mgn_image *image = NULL;
    MGN_ASSERT_OK(mgn_image_create(48, 32, 3, 8, &image));
    for (unsigned i = 0; i < 48 * 32 * 3; i++)
        ((uint8_t *)image->pixels)[i] = (uint8_t)(i % 3 == tint ? 100 + (i * 7) % 120 : (i * 13 + i / 48) % 150);
    MGN_ASSERT_OK(mgn_image_write(image, mgn_test_path(name), NULL));
    mgn_image_destroy(image);
}

static void assert_same_bytes(const char *a, const char *b) {
    size_t m, n;
    char *x = mgn_test_read_file(mgn_test_path(a), &m), *y = mgn_test_read_file(mgn_test_path(b), &n);
    ck_assert_msg(m == n && memcmp(x, y, n) == 0, "%s and %s differ", a, b);
    free(x);
    free(y);
}

START_TEST(maps_of_the_plane) {
    write_table("x.npy", 200, 2);
    run_well("fit -s x.npy -t normal:2 -o map.safetensors --epochs 4 --restarts 2 --plots fit");
    ASSERT_FIGURES("fit", "loss", "cost", "clouds", "interpolation", "grid");
    char *svg = read_svg("fit/loss.svg");
    ck_assert(strstr(svg, "start 1") && strstr(svg, "start 2, held out") && strstr(svg, "loss, nll"));
    ck_assert_ptr_nonnull(strstr(svg, "(kept)"));
    free(svg);
    run_well(
        "fit -s x.npy -t normal:2 -o same.safetensors --epochs 4 --restarts 2"); /* being watched changes nothing */
    assert_same_bytes("map.safetensors", "same.safetensors");
    run_well("eval map.safetensors --data x.npy --truth x.npy --plots eval");
    ASSERT_FIGURES("eval", "eigenvalues", "logdet", "error");
    run_well("sample map.safetensors 50 -o s.csv --plots sample");
    ASSERT_FIGURES("sample", "clouds", "interpolation", "grid");
    run_well("sample map.safetensors 50 -o s.csv --inverse --plots inverse");
    ASSERT_FIGURES("inverse", "clouds", "interpolation");
    ck_assert(!exists("inverse/grid.png"));
    write_table("y.csv", 30, 2);
    run_well("apply map.safetensors x.npy y.csv -o mapped --plots apply");
    ASSERT_FIGURES("apply", "x-clouds", "x-interpolation", "x-grid", "y-clouds", "y-interpolation", "y-grid");
}
END_TEST

START_TEST(maps_of_other_dimensions) {
    write_table("x5.npy", 100, 5);
    run_well("fit -s x5.npy -t normal:5 -o m5.safetensors --epochs 2 --plots fit5");
    ASSERT_FIGURES("fit5", "loss", "cost", "clouds", "interpolation");
    char *svg = read_svg("fit5/clouds.svg");
    ck_assert(strstr(svg, "principal") && strstr(svg, "component 2"));
    free(svg);
    run_well("eval m5.safetensors --data x5.npy --truth x5.npy --plots eval5");
    ASSERT_FIGURES("eval5", "eigenvalues", "error");
    ck_assert(!exists("eval5/logdet.png"));
    run_well("fit -s normal:1 -t normal:1 -o m1.safetensors --epochs 2 --samples 64 --plots fit1");
    ASSERT_FIGURES("fit1", "loss", "cost", "clouds");
}
END_TEST

START_TEST(pictures_and_mixtures) {
    write_picture("a.png", 0);
    write_picture("b.png", 2);
    run_well("recolor a.png --like b.png -o c.png --save look.safetensors --plots colours");
    ASSERT_FIGURES("colours", "histograms", "palettes");
    mgn_image *sheet = NULL;
    MGN_ASSERT_OK(mgn_image_read(mgn_test_path("colours/sheet.png"), &sheet));
    mgn_image_destroy(sheet);
    run_well("apply look.safetensors a.png b.png -o out --plots colours");
    ASSERT_FIGURES("colours", "a-histograms", "a-palettes", "b-histograms", "b-palettes");
    run_well("recolor a.png b.png --like b.png --each -o out --plots each");
    ASSERT_FIGURES("each", "a-histograms", "b-palettes");
    ck_assert(exists("each/a-sheet.png") && exists("each/b-sheet.png"));
    write_table("x.npy", 200, 2);
    run_well("gmm x.npy -k 1..4 --plots mixture");
    ASSERT_FIGURES("mixture", "likelihood", "components");
    run_well("gmm a.png -k 2 --plots mixture3");
    ASSERT_FIGURES("mixture3", "components");
    ck_assert(!exists("mixture3/likelihood.png"));
}
END_TEST

START_TEST(experiments) {
    run_well("experiment gaussian --model mmgn --recipe published --epochs 3 --plots gaussian");
    ASSERT_FIGURES("gaussian", "gaussian-01-mmgn-published-loss", "gaussian-01-mmgn-published-cost",
                   "gaussian-01-mmgn-published-clouds", "gaussian-01-mmgn-published-error",
                   "gaussian-01-mmgn-published-grid", "gaussian-01-mmgn-published-logdet");
    char *svg = read_svg("gaussian/gaussian-01-mmgn-published-error.svg");
    ck_assert_ptr_nonnull(strstr(svg, "gaussian, mmgn, published"));
    free(svg);
    write_picture("a.png", 0);
    write_picture("b.png", 2);
    run_well("experiment colour --source a.png --like b.png --model cmgn --recipe best --plots tint");
    ASSERT_FIGURES("tint", "colour-01-cmgn-best-histograms", "colour-01-cmgn-best-palettes");
    run_badly("/nowhere", "experiment gaussian --plots none", 1, "no program of that name is in PATH");
    run_badly("$PATH", "experiment all -o page --plots none", 2, "of their options only");
}
END_TEST

/* Before any work: the results are not there either. */
START_TEST(a_missing_gnuplot_is_told_at_once) {
    static const char sentence[] = "no program of that name is in PATH; install it (Debian: gnuplot-nox)";
    write_table("x.npy", 20, 2);
    write_picture("a.png", 0);
    run_badly("/nowhere", "fit -s x.npy -t normal:2 -o none.safetensors --plots none", 1, sentence);
    run_badly("/nowhere", "recolor a.png --like a.png -o none.png --plots none", 1, sentence);
    run_badly("/nowhere", "gmm x.npy -k 2 -o none.json --plots none", 1, sentence);
    ck_assert(!exists("none") && !exists("none.safetensors") && !exists("none.png") && !exists("none.json"));
    /* Nobody asks for it without plots. */
    mgn_test_process p =
        mgn_test_shell("cd %s && PATH=/nowhere \"$MGN_BINARY\" gmm x.npy -k 2 --device cpu -q", mgn_test_path(""));
    ck_assert_int_eq(p.code, 0);
    mgn_test_process_free(&p);
}
END_TEST

START_TEST(a_failing_gnuplot_is_told) {
    static const char script[] = "#!/bin/sh\ngrep -q '^plot' || exit 0\necho 'no paper' >&2\nexit 1\n";
    char path[512];
    mkdir(mgn_test_path("bin"), 0777);
    mgn_test_write_file(mgn_test_path("bin/gnuplot"), script, strlen(script));
    ck_assert_int_eq(chmod(mgn_test_path("bin/gnuplot"), 0755), 0);
    snprintf(path, sizeof path, "%s:$PATH", mgn_test_path("bin"));
    write_table("x.npy", 50, 2);
    run_badly(path, "gmm x.npy -k 2 -o kept.json --plots failed", 1, "gnuplot failed: no paper");
    ck_assert(exists("kept.json") && exists("failed") && !exists("failed/components.png"));
}
END_TEST

START_TEST(figures_never_replace_other_files) {
    static const char refusal[] = "a figure may be called";
    write_picture("histograms.png", 0);
    write_picture("x-palettes.png", 0);
    write_table("x.npy", 20, 2);
    run_badly("$PATH", "recolor histograms.png --like x-palettes.png -o o.png --plots .", 2, refusal);
    run_badly("$PATH", "recolor x.png --like x-palettes.png -o o.png --plots ./", 2, refusal);
    run_badly("$PATH", "gmm histograms.png -k 2 --plots ../\"$(basename \"$PWD\")\"", 2, refusal);
    run_badly("$PATH", "recolor x-palettes.png --like x-palettes.png -o loss.png --plots .", 2, refusal);
    run_badly("$PATH", "recolor x-palettes.png --like x-palettes.png --dry-run --plots p", 2, "--plots out");
    run_badly("$PATH", "gmm x.npy -k 2 --plots x.npy", 1, "x.npy exists and is not a directory");
    run_badly("$PATH", "gmm x.npy -k 2 --plots ''", 2, "--plots needs DIR");
}
END_TEST

START_TEST(help_and_manual_know_the_option) {
    static const char *const commands[] = {"recolor", "apply", "fit", "eval", "sample", "gmm", "experiment"};
    for (size_t i = 0; i < MGN_COUNT(commands); i++) {
        mgn_test_process help = mgn_test_command("%s --help", commands[i]),
                         man = mgn_test_command("%s --help man", commands[i]);

        const char *examples = strstr(help.out, "Examples:");
        ck_assert_msg(examples && strstr(help.out, "--plots DIR") && strstr(examples, "--plots "), "mgn %s --help",
                      commands[i]);
        ck_assert_ptr_nonnull(strstr(man.out, "\\-\\-plots"));
        mgn_test_process_free(&help);
        mgn_test_process_free(&man);
    }
}
END_TEST

static Suite *suite(void) {
    Suite *s = suite_create("cli_plots");
    TCase *figures = tcase_create("figures"), *failures = tcase_create("failures");
    tcase_set_timeout(figures, 240);
    tcase_set_timeout(failures, 120);
    tcase_add_test(figures, maps_of_the_plane);
    tcase_add_test(figures, maps_of_other_dimensions);
    tcase_add_test(figures, pictures_and_mixtures);
    tcase_add_test(figures, experiments);
    tcase_add_test(failures, a_missing_gnuplot_is_told_at_once);
    tcase_add_test(failures, a_failing_gnuplot_is_told);
    tcase_add_test(failures, figures_never_replace_other_files);
    tcase_add_test(failures, help_and_manual_know_the_option);
    suite_add_tcase(s, figures);
    suite_add_tcase(s, failures);
    return s;
}

int main(void) { return mgn_test_main(suite()); }
