/* Scale: what the figures of data are is known from those of the same data in usual units, or from closed forms; so it is
 * tried from 1e-40 to 3e37, far from the origin, and in columns a million times as wide as their neighbours. Beyond what
 * numbers can hold, and where a file holds what is no number, one sentence says what, and where it stands. */
#include "figures.h"
#include "refusals.h"

#include <stdlib.h>

#include <mgn/data.h>
#include <mgn/model.h>

#include "core/core.h"
#include "core/file.h"

enum { ROWS = 60 };

static char folder[512];
static bool has_opencl;

static const char *in_folder(const char *name) { return mgn_test_within(folder, name); }

/* Rows of `values` (n, 2), each column times its scale plus the shift. */
static void save(const char *name, const double *values, int64_t n, double first, double second, double shift) {
    float scaled[2 * ROWS];
    for (int64_t i = 0; i < 2 * n; i++) scaled[i] = (float)((i % 2 ? second : first) * values[i] + shift);
    MGN_ASSERT_OK(mgn_table_write(in_folder(name), &(mgn_matrix){n, 2, scaled}));
}

/* The same file with its last `size` bytes replaced. */
static void spoil(const char *from, const char *to, const void *bytes, size_t size) {
    size_t count;
    char *content = mgn_test_read_file(in_folder(from), &count);
    memcpy(content + count - size, bytes, size);
    mgn_test_write_file(in_folder(to), content, count);
    free(content);
}

static void write_text(const char *name, const char *text) { mgn_test_write_file(in_folder(name), text, strlen(text)); }

static const char mixture_json[] = "{\"format\": \"mgn-mixture-1\", \"weights\": [0.5, 0.5], \"means\": [[0], [%s]],\n"
                                   " \"covariances\": [[[1]], [[%s]]]}\n";

static void save_bad_files(void) {
    static const unsigned char nan_single[4] = {0, 0, 0xc0, 0x7f}, inf_double[8] = {0, 0, 0, 0, 0, 0, 0xf0, 0x7f};
    static const unsigned char large_double[8] = {0, 0, 0, 0, 0, 0, 0xf0, 0x7e};
    char text[512];
    const mgn_model_config config = {.kind = "cmgn", .d = 2, .h = 2, .layers = 1};
    mgn_model *model = NULL;
    MGN_ASSERT_OK(mgn_model_create(&config, 1, &model));
    MGN_ASSERT_OK(mgn_model_save(model, in_folder("good.map")));
    mgn_model_destroy(model);
    spoil("good.map", "nan.map", nan_single, 4);
    spoil("points1.npy", "nan.npy", nan_single, 4);
    size_t count;
    char *content = mgn_test_read_file(in_folder("points1.npy"), &count), *type = strstr(content + 10, "<f4");
    ck_assert_ptr_nonnull(type);
    type[2] = '8';
    char *shape = strstr(type, "(2, 2)"); /* half as many rows of doubles */
    ck_assert_ptr_nonnull(shape);
    shape[1] = '1';
    mgn_test_write_file(in_folder("double.npy"), content, count);
    free(content);
    spoil("double.npy", "inf.npy", inf_double, 8);
    spoil("double.npy", "large.npy", large_double, 8);
    write_text("nan.csv", "x,y\n1,2\n3,nan\n");
    write_text("large.csv", "1,2\n1e999,3\n");
    snprintf(text, sizeof text, mixture_json, "NaN", "1");
    write_text("nan.json", text);
    snprintf(text, sizeof text, mixture_json, "1e999", "1");
    write_text("mean.json", text);
    snprintf(text, sizeof text, mixture_json, "1", "-1e999");
    write_text("covariance.json", text);
    write_text("nan.cube", "LUT_3D_SIZE 2\n0 0 0\n1 0 0\n0 1 0\n1 1 0\n0 0 1\n1 nan 1\n0 1 1\n1 1 1\n");
}

static void make_inputs(void) {
    static const double points[] = {0, 0, 1, 2}, square[] = {1, 1, -1, 1, 1, -1, -1, -1};
    static const struct {
        const char *points, *twice, *moved, *square, *rows;
        double first, second, shift;
    } scales[] = {
        {"points-40.npy", "twice-40.npy", "moved-40.npy", "square-40.npy", "rows-40.npy", 1e-40, 1e-40, 0},
        {"points-30.npy", "twice-30.npy", "moved-30.npy", "square-30.npy", "rows-30.npy", 1e-30, 1e-30, 0},
        {"points-6.npy", "twice-6.npy", "moved-6.npy", "square-6.npy", "rows-6.npy", 1e-6, 1e-6, 0},
        {"points1.npy", "twice1.npy", "moved1.npy", "square1.npy", "rows1.npy", 32, 32, 0},
        {"points6.npy", "twice6.npy", "moved6.npy", "square6.npy", "rows6.npy", 1e6, 1e6, 0},
        {"points18.npy", "twice18.npy", "moved18.npy", "square18.npy", "rows18.npy", 1e18, 1e18, 0},
        {"points30.npy", "twice30.npy", "moved30.npy", "square30.npy", "rows30.npy", 1e30, 1e30, 0},
        {"points37.npy", "twice37.npy", "moved37.npy", "square37.npy", "rows37.npy", 3e37, 3e37, 0},
        {"points-wide.npy", "twice-wide.npy", "moved-wide.npy", "square-wide.npy", "rows-wide.npy", 1e6, 1, 0},
        {"points-widest.npy", "twice-widest.npy", "moved-widest.npy", "square-widest.npy", "rows-widest.npy", 1e30,
         1e-30, 0},
        {"points-far.npy", "twice-far.npy", "moved-far.npy", "square-far.npy", "rows-far.npy", 32, 32, 1e6},
    };
    double twice[4], moved[4], rows[2 * ROWS];
    mgn_test_random random = MGN_TEST_RANDOM();
    snprintf(folder, sizeof folder, "%s", mgn_test_path("inputs"));
    MGN_ASSERT_OK(mgn_make_directory(folder));
    for (int i = 0; i < 4; i++) {
        twice[i] = 2 * points[i];
        moved[i] = points[i] + (i % 2 ? 4 : 3);
    }
    for (int i = 0; i < 2 * ROWS; i++) rows[i] = mgn_test_normal(&random);
    for (size_t i = 0; i < MGN_COUNT(scales); i++) {
        const double first = scales[i].first, second = scales[i].second, shift = scales[i].shift;
        save(scales[i].points, points, 2, first, second, shift);
        save(scales[i].twice, twice, 2, first, second, shift);
        save(scales[i].moved, moved, 2, first, second, shift);
        save(scales[i].square, square, 4, first, second, shift);
        save(scales[i].rows, rows, ROWS, first, second, shift);
    }
    save_bad_files();
}

/* ---- closed forms ---- */

/* From (0, 0) and (s, 2 s) to twice that it is (s^2 + 4 s^2) / 2, whichever distance; and moved by (3 s, 4 s) it is 25 s^2, of
 * which Sinkhorn's divergence is half. The rows (+-a, +-b) have the log-likelihood -log(2 pi e) - log a - log b. */
#define NEAR(value) (value) - 1e-5 * fabs(value), (value) + 1e-5 * fabs(value)
#define BEST(log_scales) NEAR(-1 - log(2 * M_PI) - (log_scales))

static void closed_forms(const figure **list, size_t *count) {
    const double ten = log(10);
    const figure figures[] = {
        {"w2 points-40.npy twice-40.npy --exact", "w2_squared", 2.4999e-80, 2.5001e-80},
        {"w2 points-40.npy twice-40.npy --bures", "bures_w2_squared", 2.4999e-80, 2.5001e-80},
        {"w2 points-30.npy twice-30.npy --frechet 1", "frechet_squared", NEAR(2.5e-60)},
        {"w2 points30.npy twice30.npy --exact", "w2_squared", NEAR(2.5e60)},
        {"w2 points37.npy twice37.npy --bures", "bures_w2_squared", NEAR(2.5 * 9e74)},
        {"w2 points30.npy twice30.npy --frechet 2", "frechet_squared", NEAR(2.5e60)},
        {"w2 points-wide.npy twice-wide.npy --exact", "w2_squared", NEAR(.5e12 + 2)},
        {"w2 points-far.npy moved-far.npy --exact", "w2_squared", NEAR(25. * 1024)},
        {"w2 points-far.npy moved-far.npy --bures", "bures_w2_squared", NEAR(25. * 1024)},
        {"w2 points18.npy points18.npy --sliced 16", "sliced_w2_squared", 0, 0},
        {"sinkhorn points-6.npy moved-6.npy", "value", NEAR(12.5e-12)}, /* far smaller than the blur of .05 */
        {"sinkhorn points-6.npy moved-6.npy --blur 1e-6", "value", NEAR(12.5e-12)},
        {"sinkhorn points6.npy moved6.npy", "value", NEAR(12.5e12)},
        {"sinkhorn points18.npy moved18.npy", "value", NEAR(12.5e36)},
        {"sinkhorn points37.npy moved37.npy", "value", NEAR(12.5 * 9e74)},
        {"sinkhorn points-wide.npy moved-wide.npy", "value", NEAR(4.5e12 + 8)},
        {"sinkhorn points-far.npy moved-far.npy", "value", NEAR(12.5 * 1024)},
        {"sinkhorn points-far.npy moved-far.npy --blocks 4", "value", NEAR(12.5 * 1024)},
        {"sinkhorn points30.npy moved30.npy --blocks 4", "value", NEAR(12.5e60)},
        {"gmm square-30.npy -k 1", "results.log_likelihood", BEST(-60 * ten)},
        {"gmm square18.npy -k 1", "results.log_likelihood", BEST(36 * ten)},
        {"gmm square30.npy -k 1", "results.log_likelihood", BEST(60 * ten)},
        {"gmm square-wide.npy -k 1", "results.log_likelihood", BEST(6 * ten)},
        {"gmm square-widest.npy -k 1", "results.log_likelihood", BEST(0)},
        {"gmm square-far.npy -k 1", "results.log_likelihood", BEST(2 * log(32))},
        {"gmm square-wide.npy -k 1 --regularisation 1e8", "results.log_likelihood",
         NEAR(-.5 - log(2 * M_PI) - 10 * ten)},
        /* some steps from N(0, 1) weights, which in columns of one spread are 10 to 60 away */
        {"fit -s rows-wide.npy -t normal:2 --model icnn --epochs 60 -o m.map", "sliced_w2", 0, 100},
        {"fit -s rows-wide.npy -t normal:2 --model mgradnet --epochs 60 -o m.map", "sliced_w2", 0, 100},
        {"fit -s rows-wide.npy -t normal:2 --model mmgn --epochs 60 -o m.map", "sliced_w2", 0, 10},
        {"fit -s rows-40.npy -t normal:2 --real f64 --epochs 3 -o m.map", "sliced_w2", 0, 4},
        {"fit -s rows37.npy -t normal:2 --real f64 --epochs 3 -o m.map", "sliced_w2", 0, 4},
        /* on the other backend too, where there is one; these come last */
        {"sinkhorn points-6.npy moved-6.npy --device opencl", "value", NEAR(12.5e-12)},
        {"sinkhorn points-far.npy moved-far.npy --device opencl", "value", NEAR(12.5 * 1024)},
        {"gmm square-wide.npy -k 1 --device opencl", "results.log_likelihood", BEST(6 * ten)},
        {"gmm square30.npy -k 1 --device opencl", "results.log_likelihood", BEST(60 * ten)},
    };
    static figure kept[MGN_COUNT(figures)];
    memcpy(kept, figures, sizeof figures);
    *list = kept;
    *count = MGN_COUNT(figures);
}

START_TEST(closed_forms_hold_at_any_scale) {
    const figure *figures;
    size_t count;
    closed_forms(&figures, &count);
    for (size_t i = 0; i < count; i++)
        if (has_opencl || !strstr(figures[i].arguments, "opencl"))
            check_figure(folder, figures[i].arguments, &figures[i]);
}
END_TEST

/* ---- fits ---- */

static const struct {
    const char *label, *options;
} fits[] = {
    {"cmgn", "--loss nll"},      {"mmgn", "--loss kl"},        {"icnn", "--loss nll"},
    {"icgn", "--loss nll"},      {"cgradnet", "--loss nll"},   {"mgradnet", "--loss kl"},
    {"lse", "--loss sinkhorn"},  {"maxquad", "--loss nll"},    {"dicnn", "--loss nll"},
    {"cmgn", "--loss sinkhorn"}, {"dicnn", "--loss semidual"}, {"conv-cmgn", "--loss nll --shape 1x2x1 --width 4"},
};

enum { LOSS, DISTANCE, FIGURES };

static void fit(const char *options, const char *label, const char *rows, double found[FIGURES]) {
    char arguments[300];
    snprintf(arguments, sizeof arguments, "fit -s %s -t normal:2 --model %s %s --epochs 5 -o m.map", rows, label,
             options);
    cJSON *object = run_figures(folder, arguments);
    found[LOSS] = find_figure(object, "loss");
    found[DISTANCE] = find_figure(object, "sliced_w2");
    cJSON_Delete(object);
}

/* What a map learns of data in other units, or moved, is what it learns of the data: a frame takes both away before any unit
 * sees them. The loss differs by the logarithm of the units where it has log det J in it; semidual's is one in units. */
START_TEST(frames_take_units_away) {
    static const struct {
        const char *rows;
        double log_units, tolerance;
    } units[] = {
        {"rows-30.npy", -30, 2e-3}, {"rows6.npy", 6, 2e-3}, {"rows30.npy", 30, 2e-3}, {"rows-far.npy", 0, 2e-2}};
    const char *options = fits[_i].options, *label = fits[_i].label;
    double usual[FIGURES], found[FIGURES];
    fit(options, label, "rows1.npy", usual);
    for (size_t i = 0; i < MGN_COUNT(units); i++) {
        const double change = units[i].log_units == 0 ? 0 : 2 * (units[i].log_units * log(10) - log(32));
        const double expected[FIGURES] = {usual[LOSS] + (strstr(options, "nll") ? change : 0), usual[DISTANCE]};
        fit(options, label, units[i].rows, found);
        for (int k = strstr(options, "semidual") ? DISTANCE : LOSS; k < FIGURES; k++)
            ck_assert_msg(fabs(found[k] - expected[k]) <= units[i].tolerance * (1 + fabs(expected[k])),
                          "%s %s: the %s of %s is %g, and %g was expected", label, options,
                          k == LOSS ? "loss" : "distance", units[i].rows, found[k], expected[k]);
    }
}
END_TEST

/* ---- refusals ---- */

static const refusal refusals[] = {
    {"sinkhorn points-30.npy moved-30.npy", 1, "lost in the rounding|a smaller blur"},
    {"gmm square-40.npy -k 1", 1, "column 0|varies by|other units"},
    {"fit -s rows-40.npy -t normal:2 -o m", 1, "spread by|e-4|single precision|--real f64"},
    {"fit -s rows37.npy -t normal:2 -o m --model icnn", 1, "spread by|single precision"},
    {"fit -s rows1.npy -t rows37.npy -o m", 1, "the target by|single precision"},
    {"fit -s rows1.npy -t rows-40.npy -o m --loss kl", 1, "single precision|other units"},
    {"fit -s rows1.npy -t points1.npy -o m --loss kl", 2, "singular|constant column"},
    {"w2 nan.npy points1.npy", 1, "nan.npy|row 1, column 1|nan"},
    {"w2 inf.npy points1.npy", 1, "inf.npy|row 0, column 1|inf"},
    {"w2 large.npy points1.npy", 1, "large.npy|row 0, column 1|finite float"},
    {"w2 nan.csv points1.npy", 1, "nan.csv, line 3, column 2|nan"},
    {"w2 large.csv points1.npy", 1, "large.csv, line 2, column 1|inf"},
    {"w2 gmm:nan.json normal:1", 1, "nan.json|line 1|NaN"},
    {"w2 gmm:mean.json normal:1", 1, "component 1|inf as element 0 of its mean"},
    {"w2 gmm:covariance.json normal:1", 1, "component 1|-inf as element 0 of its covariance"},
    {"apply nan.map points1.npy -o o.npy", 1, "nan.map: element|tensor|is nan"},
    {"eval nan.map --data points1.npy", 1, "nan.map: element|tensor|is nan"},
    {"sample nan.map 3 -o o.npy", 1, "nan.map: element|tensor|is nan"},
    {"apply nan.cube rows1.npy -o o", 1, "nan.cube, line 7|1 nan 1"},
    {"w2 'gaussian:mean=nan,0;cov=1,0,0,1' normal:2 --bures", 2, "'nan' is not a number"},
};

START_TEST(what_is_no_number_is_named) { check_refusal(folder, &refusals[_i]); }
END_TEST

int main(void) {
    has_opencl = mgn_test_opencl_spec() != NULL;
    Suite *suite = suite_create("scale");
    TCase *tests = tcase_create("scale");
    tcase_add_unchecked_fixture(tests, make_inputs, NULL);
    tcase_add_test(tests, closed_forms_hold_at_any_scale);
    tcase_add_loop_test(tests, frames_take_units_away, 0, (int)MGN_COUNT(fits));
    tcase_add_loop_test(tests, what_is_no_number_is_named, 0, (int)MGN_COUNT(refusals));
    suite_add_tcase(suite, tests);
    return mgn_test_main(suite);
}
