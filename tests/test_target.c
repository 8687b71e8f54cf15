/* Targets: specifications and their errors, samples against exact moments, densities against plain formulas and against
 * the sampler, the same on every device. */
#include "graph_kit.h"

#include <mgn/data.h>
#include <mgn/image.h>
#include <mgn/ot.h>
#include <mgn/target.h>

#include "target/target.h"

static mgn_target *parsed(const char *spec) {
    mgn_target *target = NULL;
    MGN_ASSERT_OK(mgn_target_parse(spec, &target));
    ck_assert_str_eq(mgn_target_label(target), spec);
    return target;
}

static const char *const gauss = "gaussian:mean=2,1;cov=1,-.8,-.8,1";

static const char *mixture_path(void) {
    static const char text[] =
        "{\"format\": \"mgn-mixture-1\", \"weights\": [1, 2, 1], \"means\": [[2, 0], [-1, 3], [0, -2]],"
        "\"covariances\": [[[1, 0.5], [0.5, 2]], [[0.1, 0], [0, 0.1]], [[1, 0], [0, 0.01]]]}";
    const char *path = mgn_test_path("m.json");
    mgn_test_write_file(path, text, strlen(text));
    return path;
}

/* ---- specifications ---- */

START_TEST(test_bad_specifications_are_told_in_a_sentence) {
    static const struct {
        const char *spec, *sentence;
    } bad[] = {
        {"", "nothing was given"},
        {"normal", "number of dimensions is missing"},
        {"normal:", "number of dimensions is missing"},
        {"normal:0", "'0' is not a whole number from 1"},
        {"normal:2x", "'2x' is not a whole number"},
        {"normal:99999999999999999999", "is not a whole number"},
        {"gaussian", "a mean, a covariance or both"},
        {"gaussian:mean=1,2;cov=1,0,0", "cov has 3 numbers; the 4 of a square matrix that fits the mean"},
        {"gaussian:cov=1,0,0", "cov has 3 numbers"},
        {"gaussian:mean=1,x", "'x' is not a number"},
        {"gaussian:mean=1,", "'' is not a number"},
        {"gaussian:mean=1;mean=2", "given twice"},
        {"gaussian:mu=1", "'mu=1' was found where mean=NUMBERS"},
        {"gaussian:cov=1,2,3,4", "not symmetric: entries (1, 0) and (0, 1), counted from 0, are 3 and 2"},
        {"gaussian:cov=1,2,2,1", "not positive definite"},
        {"gaussian:mean=1,nan", "'nan' is not a number"},
        {"banana:bend", "'bend' needs a value"},
        {"banana:bend=x", "'x' is not a number"},
        {"banana:bend=1;blend=2", "'blend=2' was found where bend=NUMBER or spread was expected"},
        {"banana:spread=0", "'0' is not a number from 0.001"},
        {"moons:noise=-1", "'-1' is not a number from 0"},
        {"checkerboard:n=2", "where no option was expected"},
        {"gmm:", "the file is missing"},
        {"banan", "did you mean 'banana'"},
        {"spiral", "did you mean 'spirals'"},
        {"xyzzy", "is not a target: normal:D"},
    };
    for (size_t i = 0; i < MGN_COUNT(bad); i++) {
        mgn_target *target = NULL;
        MGN_ASSERT_FAILS(mgn_target_parse(bad[i].spec, &target), MGN_ERR_ARGUMENT, bad[i].sentence);
        ck_assert_ptr_null(target);
    }
    mgn_target *target = NULL;
    MGN_ASSERT_FAILS(mgn_target_parse(NULL, &target), MGN_ERR_ARGUMENT, "nothing was given");
    MGN_ASSERT_FAILS(mgn_target_parse("/nowhere/points.npy", &target), MGN_ERR_IO, "/nowhere/points.npy");
    MGN_ASSERT_FAILS(mgn_target_parse("gmm:/nowhere/m.json", &target), MGN_ERR_IO, "/nowhere/m.json");
}
END_TEST

START_TEST(test_files_become_rows) {
    enum { N = 6 };
    float values[2 * N];
    for (int i = 0; i < 2 * N; i++) values[i] = (float)i;
    const char *paths[] = {mgn_test_path("p.npy"), mgn_test_path("p.csv")};
    for (size_t p = 0; p < MGN_COUNT(paths); p++) {
        MGN_ASSERT_OK(mgn_table_write(paths[p], &(mgn_matrix){N, 2, values}));
        mgn_target *target = parsed(paths[p]);
        int64_t n;
        const float *rows = mgn_target_rows(target, &n);
        ck_assert_int_eq(n, N);
        ck_assert_int_eq(mgn_target_dimension(target), 2);
        ck_assert_int_eq(mgn_target_density(target), MGN_DENSITY_UNKNOWN);
        ck_assert_mem_eq(rows, values, sizeof values);
        float all[2 * N], more[2 * (2 * N + 1)];
        MGN_ASSERT_OK(mgn_target_sample(target, N, 5, all));
        ck_assert_mem_eq(all, values, sizeof values);
        MGN_ASSERT_OK(mgn_target_sample(target, 2 * N + 1, 5, more)); /* two whole passes and one row */
        int seen[N] = {0};
        for (int i = 0; i < 2 * N; i++) seen[(int)more[2 * i] / 2]++;
        for (int i = 0; i < N; i++) ck_assert_int_eq(seen[i], 2);
        mgn_target_destroy(target);
    }
}
END_TEST

START_TEST(test_pictures_become_colours) {
    mgn_image *image = NULL;
    MGN_ASSERT_OK(mgn_image_create(5, 4, 3, 8, &image));
    ((uint8_t *)image->pixels)[3] = 255;
    const char *path = mgn_test_path("p.png");
    MGN_ASSERT_OK(mgn_image_write(image, path, NULL));
    mgn_image_destroy(image);
    mgn_target *target = parsed(path);
    int64_t n;
    const float *rows = mgn_target_rows(target, &n);
    ck_assert_int_eq(n, 20);
    ck_assert_int_eq(mgn_target_dimension(target), 3);
    ck_assert(rows[3] == 1.0f && rows[0] == 0.0f && rows[4] == 0.0f);
    mgn_target_destroy(target);
}
END_TEST

/* ---- samples ---- */

static const char *spec_of(int i) {
    static char text[600];
    static const char *const specs[] = {"normal:3",     gauss,   "banana",          "banana:bend=1;spread=.2",
                                        "checkerboard", "moons", "spirals:noise=.2"};
    if (i < (int)MGN_COUNT(specs)) return specs[i];
    snprintf(text, sizeof text, "gmm:%s", mixture_path());
    return text;
}
enum { SPECS = 8, SAMPLES = 40000 };

/* Moments of the rows against the exact ones: within 5 standard errors, fourth moments taken from the rows. */
static void assert_moments(const mgn_target *target, const float *rows) {
    const int64_t d = mgn_target_dimension(target);
    double mean[3], covariance[9];
    MGN_ASSERT_OK(mgn_target_moments(target, mean, covariance));
    for (int64_t a = 0; a < d; a++)
        for (int64_t b = 0; b <= a; b++) {
            double first = 0, sum = 0, squares = 0;
            for (int64_t i = 0; i < SAMPLES; i++) {
                const double u = (double)rows[i * d + a] - mean[a], v = (double)rows[i * d + b] - mean[b];
                first += u;
                sum += u * v;
                squares += u * v * u * v;
            }
            const double product = sum / SAMPLES, spread = sqrt((squares / SAMPLES - product * product) / SAMPLES);
            ASSERT_CLOSE(product, covariance[a * d + b], 5 * spread + 1e-9);
            ASSERT_CLOSE(first / SAMPLES, 0, 5 * sqrt(covariance[a * d + a] / SAMPLES));
        }
}

/* Variances alone are the diagonal of the covariance: of what is known, and of rows, also far from the origin. */
START_TEST(test_variances_are_the_diagonal) {
    enum { ROWS = 700 };
    mgn_target *target = parsed(spec_of(_i));
    const int64_t d = mgn_target_dimension(target);
    double mean[3], covariance[9], same[3], variance[3];
    float rows[3 * ROWS];
    MGN_ASSERT_OK(mgn_target_moments(target, mean, covariance));
    MGN_ASSERT_OK(mgn_target_variances(target, same, variance));
    for (int64_t a = 0; a < d; a++) {
        ASSERT_CLOSE(same[a], mean[a], 1e-14);
        ASSERT_CLOSE(variance[a], covariance[a * d + a], 1e-12);
    }
    MGN_ASSERT_OK(mgn_target_sample(target, ROWS, 1, rows));
    for (int64_t i = 0; i < ROWS * d; i++) rows[i] += 1000;
    MGN_ASSERT_OK(mgn_moments(rows, ROWS, d, false, mean, covariance));
    MGN_ASSERT_OK(mgn_row_variances(rows, ROWS, d, same, variance));
    for (int64_t a = 0; a < d; a++) {
        ASSERT_CLOSE(same[a], mean[a], 1e-9);
        ASSERT_CLOSE(variance[a], covariance[a * d + a], 1e-9);
    }
    mgn_target_destroy(target);
}
END_TEST

START_TEST(test_host_samples_have_the_moments) {
    mgn_target *target = parsed(spec_of(_i));
    const int64_t d = mgn_target_dimension(target);
    float *rows = calloc((size_t)(2 * SAMPLES * d), sizeof *rows), *again = rows + SAMPLES * d;
    MGN_ASSERT_OK(mgn_target_sample(target, SAMPLES, 11, rows));
    assert_moments(target, rows);
    mgn_set_threads(3);
    MGN_ASSERT_OK(mgn_target_sample(target, SAMPLES, 11, again));
    mgn_set_threads(0);
    ck_assert_mem_eq(rows, again, (size_t)(SAMPLES * d) * sizeof *rows);
    MGN_ASSERT_OK(mgn_target_sample(target, SAMPLES, 12, again));
    ck_assert_int_ne(memcmp(rows, again, (size_t)(SAMPLES * d) * sizeof *rows), 0);
    free(rows);
    mgn_target_destroy(target);
}
END_TEST

/* Fresh samples of a plan, step 7 of a state. */
static void sample_by_plan(mgn_device *device, const mgn_target *target, float *rows, size_t *regions) {
    begin();
    mgn_node *state = mgn_input(graph, "state", MGN_INDEX, MGN_SHAPE(4));
    mgn_node *sample = mgn_target_sample_node(target, state, NULL, SAMPLES, 100);
    ck_assert_msg(sample != NULL, "%s", mgn_graph_status(graph) == MGN_OK ? "" : mgn_last_error());
    mgn_output(sample);
    mgn_plan *plan = compiled(device, MGN_F32);
    put_index(plan, state, (const uint32_t[4]){3, 4, 7, 0});
    MGN_ASSERT_OK(mgn_plan_run(plan, 1));
    MGN_ASSERT_OK(mgn_tensor_read(mgn_plan_tensor(plan, sample), MGN_F32, rows));
    *regions = mgn_plan_get_info(plan).regions;
    mgn_plan_destroy(plan);
    end();
}

START_TEST(test_plans_draw_fresh_samples) {
    mgn_target *target = parsed(spec_of(_i));
    const int64_t d = mgn_target_dimension(target);
    float *rows = calloc((size_t)(2 * SAMPLES * d), sizeof *rows), *other = rows + SAMPLES * d;
    size_t regions;
    sample_by_plan(cpu, target, rows, &regions);
    ck_assert_uint_eq(regions, 1);
    assert_moments(target, rows);
    if (opencl) {
        sample_by_plan(opencl, target, other, &regions);
        int apart = 0; /* rounding may put a number on the other side of a threshold */
        for (int64_t i = 0; i < SAMPLES * d; i++) apart += fabs((double)(rows[i] - other[i])) > 1e-4;
        ck_assert_int_le(apart, 4);
    }
    free(rows);
    mgn_target_destroy(target);
}
END_TEST

START_TEST(test_plans_draw_rows_without_repeats) {
    DEVICE_OR_SKIP(device);
    enum { N = 50, BATCH = 20 };
    float values[N];
    for (int i = 0; i < N; i++) values[i] = (float)i;
    mgn_target *target = NULL;
    MGN_ASSERT_OK(mgn_target_create_rows(values, N, 1, &target));
    begin();
    mgn_node *state = mgn_input(graph, "state", MGN_INDEX, MGN_SHAPE(4)), *rows = real("rows", MGN_SHAPE(N, 1));
    mgn_node *sample = mgn_target_sample_node(target, state, rows, BATCH, 0);
    mgn_output(sample);
    mgn_assign(state, mgn_advance(state, 1));
    mgn_plan *plan = compiled(device, MGN_F32);
    MGN_ASSERT_OK(mgn_tensor_write(mgn_plan_tensor(plan, rows), MGN_F32, values));
    int seen[N] = {0}, most = 0;
    for (int step = 0; step < 2; step++) { /* two batches of one pass */
        float drawn[BATCH];
        MGN_ASSERT_OK(mgn_plan_run(plan, 1));
        MGN_ASSERT_OK(mgn_tensor_read(mgn_plan_tensor(plan, sample), MGN_F32, drawn));
        for (int i = 0; i < BATCH; i++) seen[(int)drawn[i]]++;
    }
    for (int i = 0; i < N; i++) most = MGN_MAX(most, seen[i]);
    ck_assert_int_eq(most, 1);
    mgn_plan_destroy(plan);
    ck_assert_ptr_null(mgn_target_sample_node(target, state, NULL, BATCH, 0));
    MGN_ASSERT_FAILS(mgn_graph_status(graph), MGN_ERR_ARGUMENT, "need its 50 x 1 rows as an input");
    end();
    mgn_target_destroy(target);
}
END_TEST

/* ---- densities ---- */

/* log p of the rows in float64 and, with `gradient`, d sum log p / dy. */
static void log_density(mgn_device *device, const mgn_target *target, const double *y, int n, double *out,
                        double *gradient) {
    begin();
    const int64_t d = mgn_target_dimension(target);
    mgn_node *rows = real("y", MGN_SHAPE(n, d)), *density = mgn_target_log_density(target, rows), *slope = NULL;
    ck_assert_ptr_nonnull(density);
    ck_assert_int_eq(mgn_node_shape(density).rank, 1);
    mgn_output(density);
    if (gradient) {
        MGN_ASSERT_OK(mgn_grad(mgn_sum(density, -1), &rows, 1, &slope));
        mgn_output(slope);
    }
    mgn_plan *plan = compiled(device, widest(device));
    put(plan, rows, y);
    MGN_ASSERT_OK(mgn_plan_run(plan, 1));
    get(plan, density, out);
    if (gradient) get(plan, slope, gradient);
    mgn_plan_destroy(plan);
    end();
}

/* N(y; m, S) in the plane from its textbook formula. */
static double normal_density(const double *y, const double *m, const double *s) {
    const double u = y[0] - m[0], v = y[1] - m[1], det = s[0] * s[3] - s[1] * s[2];
    return exp(-0.5 * (s[3] * u * u - 2 * s[1] * u * v + s[0] * v * v) / det) / (2 * M_PI * sqrt(det));
}

static double textbook(int spec, const double *y) {
    static const double m[3][2] = {{2, 0}, {-1, 3}, {0, -2}},
                        s[3][4] = {{1, .5, .5, 2}, {.1, 0, 0, .1}, {1, 0, 0, .01}};
    static const double weights[3] = {.25, .5, .25}, zero[2] = {0, 0}, one[4] = {1, 0, 0, 1};
    if (spec == 1) return normal_density(y, (const double[2]){2, 1}, (const double[4]){1, -.8, -.8, 1});
    if (spec == 3) return normal_density((const double[2]){y[0], (y[1] - (y[0] * y[0] - 1)) / .2}, zero, one) / .2;
    if (spec == 4) {
        const int column = (int)floor(y[0] / 2) + 2, row = (int)floor(y[1] / 2) + 2;
        return fabs(y[0]) < 4 && fabs(y[1]) < 4 && (column + row) % 2 == 0 ? 1.0 / 32 : 0;
    }
    double sum = 0;
    for (int j = 0; j < 3; j++) sum += weights[j] * normal_density(y, m[j], s[j]);
    return sum;
}

START_TEST(test_densities_are_the_textbook_ones) {
    enum { N = 300 };
    static const int specs[] = {1, 3, 4, 7};
    mgn_test_random random = MGN_TEST_RANDOM();
    mgn_target *target = parsed(spec_of(specs[_i]));
    ck_assert_int_ne(mgn_target_density(target), MGN_DENSITY_UNKNOWN);
    double y[2 * N], out[N], slope[2 * N];
    draw(&random, y, 2 * N, -5, 5);
    const bool smooth = mgn_target_density(target) == MGN_DENSITY_SMOOTH;
    for (int device = 0; device < (opencl ? 2 : 1); device++) {
        log_density(device ? opencl : cpu, target, y, N, out, smooth ? slope : NULL);
        for (int i = 0; i < N; i++) {
            const double expected = log(textbook(specs[_i], y + 2 * i));
            if (specs[_i] == 4 && isinf(expected)) ck_assert(isinf(out[i]));
            if (expected < -600) continue; /* the formula's exp loses its digits there */
            ASSERT_CLOSE(out[i], expected, 1e-9 * fmax(1, fabs(expected)));
            for (int j = 0; smooth && j < 2; j++) {
                const double h = 1e-5;
                double up[2] = {y[2 * i], y[2 * i + 1]}, down[2] = {y[2 * i], y[2 * i + 1]};
                up[j] += h;
                down[j] -= h;
                const double difference = (log(textbook(specs[_i], up)) - log(textbook(specs[_i], down))) / (2 * h);
                ASSERT_CLOSE(slope[2 * i + j], difference, 1e-4 * fmax(1, fabs(difference)));
            }
        }
    }
    mgn_target_destroy(target);
}
END_TEST

/* E[-log p] of samples from p is the entropy, known for these. */
START_TEST(test_samples_follow_the_density) {
    static const struct {
        int spec;
        double entropy;
    } known[] = {
        {0, 3 * 1.4189385332046727}, {2, 2 * 1.4189385332046727 - 0.6931471805599453}, {4, 3.4657359027997265}};
    mgn_target *target = parsed(spec_of(known[_i].spec));
    enum { N = MOST };
    const int64_t d = mgn_target_dimension(target);
    float *rows = calloc((size_t)(N * d), sizeof *rows);
    double *y = calloc((size_t)(N * d), sizeof *y), out[N], sum = 0;
    MGN_ASSERT_OK(mgn_target_sample(target, N, 3, rows));
    for (int64_t i = 0; i < N * d; i++) y[i] = (double)rows[i];
    log_density(cpu, target, y, N, out, NULL);
    for (int i = 0; i < N; i++) sum -= out[i];
    ASSERT_CLOSE(sum / N, known[_i].entropy, _i == 2 ? 1e-9 : 6 * sqrt((double)d / 2 / N));
    free(y);
    free(rows);
    mgn_target_destroy(target);
}
END_TEST

START_TEST(test_unknown_densities_are_refused) {
    begin();
    mgn_target *moons = parsed("moons"), *normal = parsed("normal:3");
    mgn_node *y = real("y", MGN_SHAPE(8, 2));
    ck_assert_ptr_null(mgn_target_log_density(moons, y));
    MGN_ASSERT_FAILS(mgn_graph_status(graph), MGN_ERR_ARGUMENT, "the density of moons is not known");
    end();
    begin();
    y = real("y", MGN_SHAPE(8, 2));
    ck_assert_ptr_null(mgn_target_log_density(normal, y));
    MGN_ASSERT_FAILS(mgn_graph_status(graph), MGN_ERR_ARGUMENT, "normal:3 has 3 dimensions");
    end();
    mgn_target_destroy(moons);
    mgn_target_destroy(normal);
}
END_TEST

static Suite *suite(void) {
    Suite *s = suite_create("target");
    TCase *c = case_with_devices(s, "specifications");
    tcase_add_test(c, test_bad_specifications_are_told_in_a_sentence);
    tcase_add_test(c, test_files_become_rows);
    tcase_add_test(c, test_pictures_become_colours);
    c = case_with_devices(s, "samples");
    tcase_add_loop_test(c, test_variances_are_the_diagonal, 0, SPECS);
    tcase_add_loop_test(c, test_host_samples_have_the_moments, 0, SPECS);
    tcase_add_loop_test(c, test_plans_draw_fresh_samples, 0, SPECS);
    tcase_add_loop_test(c, test_plans_draw_rows_without_repeats, 0, 2);
    c = case_with_devices(s, "densities");
    tcase_add_loop_test(c, test_densities_are_the_textbook_ones, 0, 4);
    tcase_add_loop_test(c, test_samples_follow_the_density, 0, 3);
    tcase_add_test(c, test_unknown_densities_are_refused);
    return s;
}

int main(void) {
    opencl_spec = mgn_test_opencl_spec();
    return mgn_test_main(suite());
}
