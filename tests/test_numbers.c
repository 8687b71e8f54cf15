/* Numbers at the edge, through the commands: every case gives the right figure, or one clear sentence and nothing else.
 *
 * The data are the ones that real tables contain: a single row, one dimension, a constant column, rows said many times, a
 * column that is a multiple of another, columns a million times as wide as their neighbours, values too small or too large
 * for squares in single precision, NaN and infinity, pictures of one pixel. */
#include "figures.h"
#include "refusals.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include <mgn/data.h>
#include <mgn/image.h>
#include <mgn/look.h>

#include "core/core.h"
#include "core/file.h"

enum { ROWS = 100 };

static char folder[512];

static const char *in_folder(const char *name) { return mgn_test_within(folder, name); }

static void save(const char *name, int64_t rows, int64_t columns, const float *values) {
    mgn_matrix table = {rows, columns, (float *)(uintptr_t)values};
    MGN_ASSERT_OK(mgn_table_write(in_folder(name), &table));
}

/* Normal rows, column c times scale[c] plus shift. */
static void save_scaled(const char *name, double first, double second, double shift) {
    static float values[2 * ROWS];
    mgn_test_random random = MGN_TEST_RANDOM();
    for (int i = 0; i < ROWS; i++) {
        values[2 * i] = (float)(first * mgn_test_normal(&random) + shift);
        values[2 * i + 1] = (float)(second * mgn_test_normal(&random) + shift);
    }
    save(name, ROWS, 2, values);
}

static void save_picture(const char *name, size_t width, size_t height, unsigned char value) {
    mgn_image *image = NULL;
    MGN_ASSERT_OK(mgn_image_create(width, height, 3, 8, &image));
    memset(image->pixels, value, 3 * width * height);
    MGN_ASSERT_OK(mgn_image_write(image, in_folder(name), NULL));
    mgn_image_destroy(image);
}

static void save_map(const char *name, int64_t d) {
    const mgn_model_config config = {.kind = "cmgn", .d = d, .h = 2, .layers = 1};
    mgn_model *model = NULL;
    MGN_ASSERT_OK(mgn_model_create(&config, 1, &model));
    MGN_ASSERT_OK(mgn_model_save(model, in_folder(name)));
    mgn_model_destroy(model);
}

static void make_inputs(void) {
    static float line[ROWS], pair[2 * ROWS], many[2 * ROWS];
    mgn_test_random random = MGN_TEST_RANDOM();
    snprintf(folder, sizeof folder, "%s", mgn_test_path("inputs"));
    MGN_ASSERT_OK(mgn_make_directory(folder));
    save_scaled("plain.npy", 1, 1, 0);
    save_scaled("wide.npy", 1e6, 1, 0);
    save_scaled("small.npy", 1e-6, 1e-6, 0);
    save_scaled("large.npy", 1e6, 1e6, 0);
    save_scaled("far.npy", 1, 1, 1e6);
    save_scaled("denormal.npy", 1e-40, 1e-40, 0);
    save_scaled("enormous.npy", 1e30, 1e30, 0);
    for (int i = 0; i < ROWS; i++) {
        line[i] = (float)mgn_test_normal(&random);
        pair[2 * i] = line[i];
        pair[2 * i + 1] = 2 * line[i];
        many[2 * i] = line[i / 20];
        many[2 * i + 1] = line[50 + i / 20];
    }
    save("line.npy", ROWS, 1, line);
    save("singular.npy", ROWS, 2, pair);
    save("repeated.npy", ROWS, 2, many);
    for (int i = 0; i < ROWS; i++) pair[2 * i + 1] = 3;
    save("constant.npy", ROWS, 2, pair);
    for (int i = 0; i < 2 * ROWS; i++) pair[i] = 1.5f;
    save("same.npy", ROWS, 2, pair);
    save("one.npy", 1, 2, (const float[]){.5f, .25f});
    save("number.npy", 1, 1, (const float[]){.5f});
    save("nan.npy", 3, 2, (const float[]){0, 1, 2, 3, 4, NAN});
    save("inf.npy", 3, 2, (const float[]){0, 1, 2, -INFINITY, 4, 5});
    mgn_test_write_file(in_folder("nan.csv"), "x,y\n1,2\n3,nan\n", 14);
    save_picture("pixel.png", 1, 1, 77);
    save_picture("black.png", 4, 3, 0);
    save_picture("row.png", 3000, 1, 200);
    save_map("one.map", 1);
    save_map("two.map", 2);
    save_map("three.map", 3);
}

/* ---- right figures ---- */

#define FIT " --epochs 60 -o m.safetensors"

static const figure figures[] = {
    /* Between a point and a Gaussian, and between clouds of known moments, the distances have closed forms. */
    {"w2 one.npy normal:2 --bures", "bures_w2_squared", 2.3125, 2.3125},
    {"w2 number.npy normal:1 --bures", "bures_w2_squared", 1.25, 1.25},
    {"w2 same.npy normal:2 --bures", "bures_w2_squared", 6.5 - 1e-9, 6.5 + 1e-9},
    {"w2 denormal.npy normal:2 --bures", "bures_w2_squared", 2 - 1e-9, 2 + 1e-9},
    {"w2 far.npy normal:2 --bures", "bures_w2_squared", 1.999e12, 2.001e12},
    {"w2 enormous.npy enormous.npy --bures", "bures_w2_squared", 0, 1e50},
    {"w2 wide.npy wide.npy --exact", "w2_squared", 0, 0},
    {"w2 repeated.npy repeated.npy --exact", "w2_squared", 0, 0},
    {"w2 one.npy one.npy --exact", "w2_squared", 0, 0},
    {"w2 enormous.npy enormous.npy --sliced 16", "sliced_w2_squared", 0, 0},
    {"w2 same.npy one.npy --sliced 64", "sliced_w2_squared", .8, 1.9}, /* E (u . (1, 1.25))^2 = 1.28 */
    {"sinkhorn same.npy same.npy", "value", -1e-6, 1e-6},
    {"sinkhorn one.npy one.npy", "value", -1e-6, 1e-6},
    {"sinkhorn one.npy same.npy", "value", 1.2812, 1.2813}, /* half the squared distance of two points */
    {"sinkhorn number.npy number.npy", "value", -1e-6, 1e-6},
    {"sinkhorn enormous.npy same.npy", "value", .4e60, 1.6e60}, /* half the mean square of 100 rows */
    {"sinkhorn far.npy same.npy --blur 1", "value", .99e12, 1.01e12},
    /* The log-likelihood of a row of N(0, s^2 I) is -2 log s - log 2 pi e = -2 log s - 2.84. */
    {"gmm plain.npy -k 1", "results.log_likelihood", -3.5, -2.2},
    {"gmm small.npy -k 1", "results.log_likelihood", 24, 25.5},
    {"gmm large.npy -k 2", "results.log_likelihood", -31.2, -29},
    {"gmm far.npy -k 1", "results.log_likelihood", -3.6, -2.1},
    {"gmm repeated.npy -k 5", "results.log_likelihood", 0, 100},
    {"gmm singular.npy -k 2", "results.log_likelihood", 0, 100},
    {"gmm line.npy -k 1", "results.log_likelihood", -1.9, -1},
    /* A map learned by a few steps from where the moments agree leaves a small part of the distance. */
    {"fit -s wide.npy -t normal:2" FIT, "sliced_w2/sliced_w2_before", 0, 1e-8},
    {"fit -s wide.npy -t normal:2 --model mmgn" FIT, "sliced_w2/sliced_w2_before", 0, 1e-8},
    {"fit -s small.npy -t normal:2" FIT, "sliced_w2", 0, 2},
    {"fit -s large.npy -t normal:2" FIT, "sliced_w2", 0, 2},
    {"fit -s far.npy -t normal:2" FIT, "sliced_w2", 0, 2},
    {"fit -s enormous.npy -t normal:2" FIT, "sliced_w2", 0, 2},
    {"fit -s constant.npy -t normal:2" FIT, "sliced_w2", 0, 2},
    {"fit -s constant.npy -t normal:2 --model icnn" FIT, "sliced_w2", 0, 4},
    {"fit -s singular.npy -t normal:2 --model icnn" FIT, "sliced_w2", 0, 4},
    {"fit -s repeated.npy -t normal:2" FIT, "sliced_w2", 0, 2},
    {"fit -s same.npy -t normal:2" FIT, "sliced_w2", 0, 4},
    {"fit -s plain.npy -t constant.npy" FIT, "sliced_w2", 0, 2},
    {"fit -s plain.npy -t same.npy" FIT, "sliced_w2", 0, 2},
    {"fit -s line.npy -t normal:1" FIT, "sliced_w2", 0, 2},
    {"fit -s plain.npy -t repeated.npy --loss sinkhorn --model cgradnet" FIT, "sliced_w2", 0, 50},
    {"fit -s plain.npy -t repeated.npy --loss semidual --model dicnn --epochs 3 -o m.safetensors", "sliced_w2", 0, 4},
    {"eval two.map --data one.npy", "rows", 1, 1},
    {"eval one.map --data number.npy --target normal:1", "rows", 1, 1},
    {"eval two.map --data enormous.npy", "jacobian_min", 0, 1e9},
    {"eval two.map --data denormal.npy --cycle", "jacobian_min", 0, 1e9},
    {"sample two.map 1 -o drawn.npy --density", "rows", 1, 1},
    {"sample one.map 2 -o drawn.csv --inverse", "rows", 2, 2},
    {"apply two.map enormous.npy -o mapped.npy", "files.rows", ROWS, ROWS},
    {"apply two.map denormal.npy -o mapped.npy", "files.rows", ROWS, ROWS},
    {"apply three.map pixel.png -o out", "files.width", 1, 1},
    {"apply three.map row.png -o out", "files.width", 3000, 3000},
    {"recolor black.png --like %s -o out.png", "w2_after", 0, .15},
    {"recolor row.png --like %s -o out.png --target gaussian", "w2_after", 0, .15},
};

START_TEST(figures_are_right) {
    const figure *f = &figures[_i];
    char arguments[700];
    const char *place = strstr(f->arguments, "%s");
    snprintf(arguments, sizeof arguments, "%.*s%s%s", (int)(place ? place - f->arguments : (long)strlen(f->arguments)),
             f->arguments, place ? mgn_test_source("assets/sunset_hilltop.jpg") : "", place ? place + 2 : "");
    check_figure(folder, arguments, f);
}
END_TEST

/* ---- refusals ---- */

static const refusal refusals[] = {
    {"w2 nan.npy plain.npy", 1, "nan.npy|row 2, column 1|nan"},
    {"sinkhorn plain.npy inf.npy", 1, "inf.npy|row 1, column 1|-inf"},
    {"gmm nan.csv -k 1", 1, "nan.csv|line 3, column 2"},
    {"fit -s nan.npy -t normal:2 -o m.safetensors", 1, "nan.npy|row 2, column 1"},
    {"fit -s plain.npy -t inf.npy -o m.safetensors", 1, "inf.npy|row 1, column 1"},
    {"eval two.map --data nan.npy", 1, "nan.npy|row 2, column 1"},
    {"apply two.map nan.npy -o o.npy", 1, "nan.npy|row 2, column 1"},
    {"sample two.map 3 -o o.npy --source inf.npy", 1, "inf.npy|row 1, column 1"},
    {"fit -s one.npy -t normal:2 -o m.safetensors", 2, "at least 2 rows|one.npy gives 1"},
    {"fit -s number.npy -t normal:1 -o m.safetensors", 2, "at least 2 rows"},
    {"gmm one.npy -k 2", 2, "at least as many rows|1"},
    {"gmm same.npy -k 2", 2, "all 100 rows are the same"},
    {"gmm pixel.png -k 1", 2, "a single row has no density"},
    {"gmm denormal.npy -k 1", 1, "column 0|varies by|too little"},
    {"sinkhorn denormal.npy denormal.npy", 1, "lost in the rounding of a blur of 0.05"},
    {"fit -s denormal.npy -t normal:2 --epochs 2 -o m.safetensors", 1, "single precision|other units"},
    {"fit -s 'gaussian:cov=1,1,1,1' -t normal:2 -o m.safetensors", 2, "not positive definite"},
    {"w2 'gaussian:cov=1,2,2,1' normal:2 --bures", 2, "not positive definite"},
    {"eval two.map --data one.npy --truth one.npy", 2, "L2-UVP has no scale|--variance"},
};

START_TEST(refusals_are_one_sentence) { check_refusal(folder, &refusals[_i]); }
END_TEST

int main(void) {
    Suite *suite = suite_create("numbers");
    TCase *tests = tcase_create("numbers");
    tcase_add_unchecked_fixture(tests, make_inputs, NULL);
    tcase_add_loop_test(tests, figures_are_right, 0, (int)MGN_COUNT(figures));
    tcase_add_loop_test(tests, refusals_are_one_sentence, 0, (int)MGN_COUNT(refusals));
    suite_add_tcase(suite, tests);
    return mgn_test_main(suite);
}
