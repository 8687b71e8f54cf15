/* `mgn eval`, `mgn sample`, `mgn apply` on tables and `mgn w2` as a user meets them, on a map that is known: the affine
 * one that whitens N((2, 1), ((1, -.8), (-.8, 1))), whose every figure has a closed form. Then what they refuse. */
#include "json.h"
#include "refusals.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <mgn/data.h>
#include <mgn/model.h>

#include "core/core.h"
#include "core/file.h"

enum { N = 500 };

static char folder[512];

static const char *in_folder(const char *name) { return mgn_test_within(folder, name); }

static double covariance_power(int i, int j, double power) {
    /* eigenvectors (1, -1) and (1, 1), eigenvalues 1.8 and .2 */
    return 0.5 * (pow(0.2, power) + (i == j ? 1 : -1) * pow(1.8, power));
}

/* g(x) = V^T V x + a with a module that is 0. */
static void save_map(const char *path) {
    mgn_model *model;
    const mgn_model_config config = {.kind = "mmgn", .d = 2, .h = 1, .layers = 1, .activation = MGN_TANH};
    MGN_ASSERT_OK(mgn_model_create(&config, 1, &model));
    const mgn_parameter *p;
    const size_t count = mgn_model_parameters(model, &p);
    double *values = mgn_model_values(model);
    memset(values, 0, (size_t)mgn_model_parameter_count(model) * sizeof *values);
    for (size_t k = 0; k < count; k++)
        for (int i = 0; i < 2; i++) {
            double *v = values + p[k].offset;
            if (strcmp(p[k].label, "a") == 0) v[i] = -(2 * covariance_power(i, 0, -0.5) + covariance_power(i, 1, -0.5));
            if (strcmp(p[k].label, "V") == 0)
                for (int j = 0; j < 2; j++) v[2 * i + j] = covariance_power(i, j, -0.25);
        }
    MGN_ASSERT_OK(mgn_model_save(model, path));
    mgn_model_destroy(model);
}

static void save_rows(const char *path, const float *values, int64_t rows, int64_t columns) {
    MGN_ASSERT_OK(mgn_table_write(path, &(mgn_matrix){rows, columns, (float *)(uintptr_t)values}));
}

/* x from the Gaussian, y = T(x), both in float. */
static void save_all(float *x, float *y) {
    mgn_test_random random = MGN_TEST_RANDOM();
    snprintf(folder, sizeof folder, "%s", mgn_test_path("inputs"));
    MGN_ASSERT_OK(mgn_make_directory(folder));
    for (int i = 0; i < N; i++) {
        const double z[2] = {mgn_test_normal(&random), mgn_test_normal(&random)};
        for (int k = 0; k < 2; k++) {
            y[2 * i + k] = (float)z[k];
            x[2 * i + k] =
                (float)((k ? 1 : 2) + covariance_power(k, 0, 0.5) * z[0] + covariance_power(k, 1, 0.5) * z[1]);
        }
    }
    save_map(in_folder("map"));
    save_rows(in_folder("x.npy"), x, N, 2);
    save_rows(in_folder("y.npy"), y, N, 2);
}

/* log N((x, y); mean, covariance): the determinant is .36, the inverse ((1, .8), (.8, 1)) / .36. */
static double log_density(double x, double y) {
    const double a = x - 2, b = y - 1;
    return -log(2 * M_PI) - 0.5 * log(0.36) - 0.5 * (a * a + 1.6 * a * b + b * b) / 0.36;
}

START_TEST(eval_knows_the_closed_forms) {
    static float x[2 * N], y[2 * N];
    save_all(x, y);
    double likelihood = 0, cost = 0, variance = 0, mean[2] = {0};
    for (int i = 0; i < N; i++) {
        likelihood += log_density((double)x[2 * i], (double)x[2 * i + 1]) / N;
        for (int k = 0; k < 2; k++) {
            cost += pow((double)x[2 * i + k] - (double)y[2 * i + k], 2) / N;
            mean[k] += (double)y[2 * i + k] / N;
        }
    }
    for (int i = 0; i < 2 * N; i++) variance += pow((double)y[i] - mean[i % 2], 2) / N;
    cJSON *o = json_within(folder, "eval map --data x.npy --truth y.npy --cycle --like normal:2 --potential phi.csv");
    ck_assert(cJSON_IsTrue(cJSON_GetObjectItem(o, "monotone")));
    ck_assert_double_eq(number(o, "rows"), N);
    ck_assert_double_eq_tol(number(o, "jacobian_min"), 1 / sqrt(1.8), 1e-6);
    ck_assert_double_eq_tol(number(o, "jacobian_max"), 1 / sqrt(0.2), 1e-6);
    ck_assert_double_lt(number(o, "asymmetry"), 1e-12);
    ck_assert_double_eq(number(o, "nonmonotone_rows"), 0);
    ck_assert_double_eq_tol(number(o, "logdet"), -0.5 * log(0.36), 1e-6);
    ck_assert_double_eq_tol(number(o, "log_likelihood"), likelihood, 1e-5);
    ck_assert_double_eq_tol(number(o, "cost"), cost, 1e-4 * cost);
    ck_assert_double_eq_tol(number(o, "variance"), variance, 1e-6);
    ck_assert_double_lt(number(o, "uvp"), 1e-9);
    ck_assert_double_lt(number(o, "rmse"), 1e-5);
    ck_assert_double_lt(number(o, "cycle_max"), 1e-5);
    ck_assert_double_lt(number(o, "sliced_w2"), 0.1);
    ck_assert_double_gt(number(o, "sliced_w2_before"), 1);
    cJSON_Delete(o);
    /* the potential of x^T A x / 2 + b^T x, up to a constant; row differences do not know it */
    mgn_matrix phi;
    MGN_ASSERT_OK(mgn_table_read(in_folder("phi.csv"), &phi));
    ck_assert_int_eq(phi.rows, N);
    double value[2];
    for (int r = 0; r < 2; r++) {
        value[r] = 0;
        for (int i = 0; i < 2; i++)
            for (int j = 0; j < 2; j++)
                value[r] +=
                    covariance_power(i, j, -0.5) * (double)x[2 * r + i] * (0.5 * (double)x[2 * r + j] - (j ? 1 : 2));
    }
    ck_assert_double_eq_tol((double)(phi.values[1] - phi.values[0]), value[1] - value[0], 1e-4);
    mgn_matrix_free(&phi);
    /* half of the rows against the same half of the truth, another variance, another density */
    o = json_within(
        folder, "eval map --data x.npy --truth y.npy --variance 2 --points 250 --target gaussian:mean=1,0 --real f32");
    ck_assert_double_eq(number(o, "rows"), 250);
    ck_assert_double_eq(number(o, "variance"), 2);
    ck_assert_double_lt(number(o, "uvp"), 1e-8);
    ck_assert_double_lt(number(o, "log_likelihood"), likelihood - 0.2);
    cJSON_Delete(o);
}
END_TEST

START_TEST(sample_pushes_and_pulls) {
    static float x[2 * N], y[2 * N];
    mgn_matrix rows;
    save_all(x, y);
    cJSON *o = json_within(folder, "sample map 2000 -o pulled.npy --inverse --density --seed 5");
    ck_assert_double_eq(number(o, "columns"), 3);
    cJSON_Delete(o);
    MGN_ASSERT_OK(mgn_table_read(in_folder("pulled.npy"), &rows));
    ck_assert(rows.rows == 2000 && rows.columns == 3);
    double mean[2] = {0};
    for (int64_t i = 0; i < rows.rows; i++) {
        const float *row = rows.values + 3 * i;
        ck_assert_double_eq_tol((double)row[2], log_density((double)row[0], (double)row[1]), 1e-4);
        for (int k = 0; k < 2; k++) mean[k] += (double)row[k] / 2000;
    }
    ck_assert_double_eq_tol(mean[0], 2, 0.15);
    ck_assert_double_eq_tol(mean[1], 1, 0.15);
    mgn_matrix_free(&rows);
    /* the map whitens its Gaussian: pushed forward, that has the density of N(0, I) */
    cJSON_Delete(
        json_within(folder, "sample map 100 -o pushed.csv --density --source 'gaussian:mean=2,1;cov=1,-.8,-.8,1'"));
    MGN_ASSERT_OK(mgn_table_read(in_folder("pushed.csv"), &rows));
    for (int64_t i = 0; i < rows.rows; i++) {
        const float *row = rows.values + 3 * i;
        const double squares = (double)row[0] * (double)row[0] + (double)row[1] * (double)row[1];
        ck_assert_double_eq_tol((double)row[2], -log(2 * M_PI) - 0.5 * squares, 1e-4);
    }
    mgn_matrix_free(&rows);
    /* of a finite source as many rows as it has: the rows themselves, in order */
    cJSON_Delete(json_within(folder, "sample map 500 -o all.npy --source x.npy"));
    MGN_ASSERT_OK(mgn_table_read(in_folder("all.npy"), &rows));
    for (int i = 0; i < 2 * N; i++) ck_assert_double_eq_tol((double)rows.values[i], (double)y[i], 1e-4);
    mgn_matrix_free(&rows);
}
END_TEST

START_TEST(apply_maps_tables) {
    static float x[2 * N], y[2 * N];
    save_all(x, y);
    cJSON_Delete(json_within(folder, "apply map x.npy -o mapped.csv"));
    cJSON *o = json_within(folder, "apply map x.npy y.npy -o out");
    ck_assert_double_eq(number(cJSON_GetArrayItem(cJSON_GetObjectItem(o, "files"), 1), "rows"), N);
    cJSON_Delete(o);
    static const char *const results[] = {"mapped.csv", "out/x.npy"};
    for (int k = 0; k < 2; k++) {
        mgn_matrix rows;
        MGN_ASSERT_OK(mgn_table_read(in_folder(results[k]), &rows));
        ck_assert(rows.rows == N && rows.columns == 2);
        for (int i = 0; i < 2 * N; i++) ck_assert_double_eq_tol((double)rows.values[i], (double)y[i], 1e-4);
        mgn_matrix_free(&rows);
    }
}
END_TEST

START_TEST(w2_measures_in_many_ways) {
    static float x[2 * N], y[2 * N];
    save_all(x, y);
    double paired = 0;
    for (int i = 0; i < 2 * N; i++) paired += pow((double)x[i] - (double)y[i], 2) / N;
    /* y is the image of x by a gradient of a convex function: no assignment is cheaper */
    cJSON *o = json_within(folder, "w2 x.npy y.npy --exact --sliced 500 --bures --frechet 2");
    ck_assert_double_eq_tol(number(o, "frechet_squared"), number(o, "bures_w2_squared"), 1e-9 * paired);
    ck_assert_double_eq_tol(number(o, "w2_squared"), paired, 1e-6 * paired);
    ck_assert_double_eq_tol(number(o, "bures_w2_squared"), paired, 1e-4 * paired);
    ck_assert_double_eq_tol(number(o, "sliced_w2_squared"), paired / 2, 0.2 * paired);
    cJSON_Delete(o);
    o = json_within(folder, "w2 normal:2 'gaussian:mean=2,1;cov=1,-.8,-.8,1' --bures");
    ck_assert_double_eq_tol(number(o, "bures_w2_squared"), 5 + 2 + 2 - 2 * (sqrt(1.8) + sqrt(0.2)), 1e-12);
    ck_assert_ptr_null(cJSON_GetObjectItem(o, "w2_squared"));
    cJSON_Delete(o);
    o = json_within(folder, "w2 normal:2 normal:2 --points 300");
    ck_assert_double_gt(number(o, "w2_squared"), 0); /* two different draws */
    cJSON_Delete(o);
}
END_TEST

static const refusal refusals[] = {
    {"w2 x.npy", 2, "mgn w2 needs 2 arguments and was given 1"},
    {"w2 x.npy none.npy", 1, "none.npy does not exist"},
    {"w2 x.npy normal:3", 2, "normal:3 has 3 dimensions, but x.npy has 2"},
    {"w2 x.npy short.npy", 2, "x.npy has 500 rows and short.npy has 3; the exact distance needs equally many"},
    {"w2 x.npy y.npy --points 20000", 2, "at most 16384 points"},
    {"w2 x.npy y.npy --sliced 0", 2, "--sliced: '0' is not a whole number"},
    {"w2 x.npy nan.npy", 1, "nan.npy"},
    {"eval map", 2, "--data is missing"},
    {"eval none --data x.npy", 1, "none does not exist"},
    {"eval x.npy --data x.npy", 1, "x.npy"},
    {"eval map --data normal:3", 2, "normal:3 has 3 dimensions, but map has 2"},
    {"eval map --data x.npy --truth short.npy", 2, "--truth: short.npy has 3 rows, but x.npy has 500"},
    {"eval map --data x.npy --truth wide.npy", 2, "wide.npy has 3 dimensions"},
    {"eval map --data short.npy --truth short.npy", 2, "all rows of short.npy are the same"},
    {"eval map --data x.npy --variance 2", 2, "add --truth Y"},
    {"eval map --data x.npy --target moons", 2, "moons has no density"},
    {"eval map --data x.npy --target normal:1", 2, "normal:1 has 1 dimension"},
    {"eval map --data x.npy --real f16", 2, "--real: 'f16' is not one of f32|f64"},
    {"eval map --data x.npy --potential phi.txt", 2, "phi.txt: a table is written as .npy or .csv"},
    {"eval map --data x.npy --potential x.npy", 2, "x.npy would be written over"},
    {"eval map --data x.npy --potential nowhere/phi.npy", 1, "nowhere"},
    {"sample map", 2, "mgn sample needs 2 arguments and was given 1"},
    {"sample map 10", 2, "-o is missing"},
    {"sample map ten -o out.npy", 2, "N: 'ten' is not a whole number"},
    {"sample map 0 -o out.npy", 2, "N: '0'"},
    {"sample map 10 -o out.txt", 2, "out.txt: a table is written as .npy or .csv"},
    {"sample map 10 -o nowhere/out.npy", 1, "nowhere"},
    {"sample map 10 -o x.npy --source x.npy", 2, "x.npy would be written over"},
    {"sample map 10 -o out.npy --source normal:5", 2, "normal:5 has 5 dimensions, but map has 2"},
    {"sample map 10 -o out.npy --source x.npy --density", 2, "the density of x.npy is not known"},
    {"sample map 10 -o out.npy --source bananna", 2, "did you mean 'banana'?"},
    {"sample nan.npy 10 -o out.npy", 1, "nan.npy"},
    {"apply map wide.npy -o out.npy", 2, "wide.npy has 3 columns, but map is a map of 2 dimensions"},
    {"apply map wide.npy -o out", 2, "wide.npy has 3 columns|files written before that: 0 of 1"},
    {"apply map nan.npy -o out.npy", 1, "nan.npy"},
    {"apply map x.npy -o x.npy", 2, "x.npy would be written over"},
    {"apply map x.npy -o nowhere/out.npy", 1, "nowhere"},
    {"apply map x.npy picture.png -o out", 2, "pictures need one of 3"},
};

START_TEST(bad_input_is_refused) {
    static float x[2 * N], y[2 * N];
    save_all(x, y);
    const float same[6] = {1, 2, 1, 2, 1, 2}, wide[6] = {1, 2, 3, 4, 5, 6}, nan[4] = {1, 2, NAN, 4};
    save_rows(in_folder("short.npy"), same, 3, 2);
    save_rows(in_folder("wide.npy"), wide, 2, 3);
    save_rows(in_folder("nan.npy"), nan, 2, 2);
    mgn_test_write_file(in_folder("picture.png"), "x", 1);
    for (size_t i = 0; i < MGN_COUNT(refusals); i++) check_refusal(folder, &refusals[i]);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("cli_eval");
    TCase *good = tcase_create("good input"), *bad = tcase_create("bad input");
    tcase_add_test(good, eval_knows_the_closed_forms);
    tcase_add_test(good, sample_pushes_and_pulls);
    tcase_add_test(good, apply_maps_tables);
    tcase_add_test(good, w2_measures_in_many_ways);
    tcase_add_test(bad, bad_input_is_refused);
    suite_add_tcase(suite, good);
    suite_add_tcase(suite, bad);
    return mgn_test_main(suite);
}
