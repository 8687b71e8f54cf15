/* Prototypes: k-means, the Frechet distance, maps from noise onto prototypes with a restored covariance, and the experiment
 * that makes digits by them. */
#include "harness.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <mgn/experiment.h>
#include <mgn/ot.h>
#include <mgn/semidiscrete.h>
#include <mgn/target.h>

#include "core/core.h"
#include "core/file.h"
#include "refusals.h"

enum { D = 5, CLUSTERS = 3, ROWS = 3000, NOISES = 40000 };

static const double shares[CLUSTERS] = {0.5, 0.3, 0.2};

/* Three clusters of unequal size, each about `width` wide, around points 4 apart. */
static float *make_clusters(mgn_test_random *random, double width) {
    float *rows = malloc(ROWS * D * sizeof *rows);
    ck_assert_ptr_nonnull(rows);
    for (int i = 0; i < ROWS; i++) {
        const int c = i < ROWS * shares[0] ? 0 : i < ROWS * (shares[0] + shares[1]) ? 1 : 2;
        for (int k = 0; k < D; k++)
            rows[i * D + k] = (float)(1 + (k == c ? 4 : 0) + width * (1 + k) / D * mgn_test_normal(random));
    }
    return rows;
}

/* ---- k-means ---- */

START_TEST(kmeans_finds_clusters_and_their_masses) {
    mgn_test_random random = MGN_TEST_RANDOM();
    float *rows = make_clusters(&random, 0.1), centres[CLUSTERS * D];
    double masses[CLUSTERS], distortion, sum = 0;
    /* From any start of three rows the means of the clusters, or a split that is worse by orders. */
    double best = INFINITY;
    for (uint64_t seed = 0; seed < 8; seed++) {
        MGN_ASSERT_OK(mgn_kmeans(rows, ROWS, D, CLUSTERS, 50, seed, centres, masses, &distortion));
        best = fmin(best, distortion);
        if (distortion > 0.1) continue;
        for (int c = 0; c < CLUSTERS; c++) {
            int axis = 0;
            for (int k = 1; k < CLUSTERS; k++) axis = centres[c * D + k] > centres[c * D + axis] ? k : axis;
            ck_assert_double_eq_tol(masses[c], shares[axis], 1e-12);
            for (int k = 0; k < D; k++) ck_assert_double_eq_tol((double)centres[c * D + k], k == axis ? 5 : 1, 0.03);
        }
    }
    for (int k = 1; k <= D; k++) sum += 0.01 * k * k / D / D; /* the variance within clusters */
    ck_assert_double_eq_tol(best, sum, 0.1 * sum);
    free(rows);
}
END_TEST

START_TEST(kmeans_does_not_depend_on_threads_and_fills_its_centres) {
    mgn_test_random random = MGN_TEST_RANDOM();
    float *rows = make_clusters(&random, 1), centres[2][70 * D];
    double masses[2][70], distortion[2];
    for (int t = 0; t < 2; t++) {
        mgn_set_threads(t ? 3 : 1);
        MGN_ASSERT_OK(mgn_kmeans(rows, ROWS, D, 70, 6, 5, centres[t], masses[t], &distortion[t]));
    }
    ck_assert_int_eq(memcmp(centres[0], centres[1], sizeof centres[0]), 0);
    ck_assert_int_eq(memcmp(masses[0], masses[1], sizeof masses[0]), 0);
    ck_assert(distortion[0] == distortion[1]);
    /* Rows of two kinds and three centres: one stays without rows, or takes one of a kind. */
    for (int i = 0; i < 40 * D; i++) rows[i] = i / D % 2 ? 1 : -1;
    MGN_ASSERT_OK(mgn_kmeans(rows, 40, D, 3, 6, 5, centres[0], masses[0], &distortion[0]));
    ck_assert_double_eq_tol(masses[0][0] + masses[0][1] + masses[0][2], 1, 1e-12);
    MGN_ASSERT_FAILS(mgn_kmeans(rows, 2, D, 3, 6, 5, centres[0], NULL, NULL), MGN_ERR_ARGUMENT, "1 to 2 centres");
    rows[7] = NAN;
    MGN_ASSERT_FAILS(mgn_kmeans(rows, 40, D, 3, 6, 5, centres[0], NULL, NULL), MGN_ERR_NUMERIC, "not finite");
    free(rows);
}
END_TEST

/* ---- the Frechet distance ---- */

START_TEST(frechet_distance_is_the_closed_form) {
    /* Axis-aligned: variances a_k^2 v and b_k^2 v; |difference of means|^2 + sum (a_k - b_k)^2 v over the axes. */
    static const double a[D] = {3, 1, 2, 0.5, 0.1}, b[D] = {2, 1.5, 1, 0, 0.3}, shift[D] = {1, 0, -2, 5, 0};
    enum { N = 2 * D };
    float x[N * D] = {0}, y[N * D] = {0};
    double squared, expected = 0;
    const double v = 2.0 / N;
    for (int k = 0; k < D; k++)
        for (int s = 0; s < 2; s++)
            for (int i = 0; i < D; i++) {
                x[(2 * k + s) * D + i] = (float)(i == k ? (s ? a[k] : -a[k]) : 0);
                y[(2 * k + s) * D + i] = (float)((i == k ? (s ? b[k] : -b[k]) : 0) + shift[i]);
            }
    for (int k = 0; k < D; k++) expected += (a[k] - b[k]) * (a[k] - b[k]) * v + shift[k] * shift[k];
    MGN_ASSERT_OK(mgn_frechet(x, N, y, N, D, 0, &squared));
    ck_assert_double_eq_tol(squared, expected, 1e-5 * expected);
    /* The two leading axes of y are 0 and 1. */
    expected = 1 + (1 + 0.25) * v;
    MGN_ASSERT_OK(mgn_frechet(x, N, y, N, D, 2, &squared));
    ck_assert_double_eq_tol(squared, expected, 1e-6 * expected);
    MGN_ASSERT_OK(mgn_frechet(y, N, y, N, D, 2, &squared));
    ck_assert_double_eq_tol(squared, 0, 1e-9);
    MGN_ASSERT_FAILS(mgn_frechet(x, N, y, N, D, D + 1, &squared), MGN_ERR_ARGUMENT, "1 to 5 axes");
    x[3] = INFINITY;
    MGN_ASSERT_FAILS(mgn_frechet(x, N, y, N, D, 2, &squared), MGN_ERR_NUMERIC, "finite");
}
END_TEST

START_TEST(frechet_distance_does_not_see_rotations) {
    mgn_test_random random = MGN_TEST_RANDOM();
    enum { N = 500 };
    float *x = make_clusters(&random, 1), *y = make_clusters(&random, 0.5);
    double before, after;
    MGN_ASSERT_OK(mgn_frechet(x, N, y, ROWS, D, 3, &before));
    float *const both[] = {x, y};
    for (int which = 0; which < 2; which++)
        for (int i = 0; i < ROWS; i++) { /* by 0.7 in the plane of axes 0 and 4, and onwards by 3 */
            float *row = both[which] + i * D;
            const double u = (double)row[0], v = (double)row[4];
            row[0] = (float)(cos(0.7) * u - sin(0.7) * v + 3);
            row[4] = (float)(sin(0.7) * u + cos(0.7) * v - 3);
        }
    MGN_ASSERT_OK(mgn_frechet(x, N, y, ROWS, D, 3, &after));
    ck_assert_double_eq_tol(before, after, 1e-4 * before);
    free(x);
    free(y);
}
END_TEST

/* ---- maps onto prototypes ---- */

static mgn_device *open_cpu(void) {
    mgn_device *device = NULL;
    MGN_ASSERT_OK(mgn_device_open("cpu", &device));
    return device;
}

static mgn_model *make_model(int64_t h) {
    const mgn_model_config config = {.kind = "lse", .d = D, .h = h, .layers = 1};
    mgn_model *model = NULL;
    MGN_ASSERT_OK(mgn_model_create(&config, 1, &model));
    return model;
}

/* The images of NOISES noises. */
static float *map_noise(mgn_model *model, mgn_device *device) {
    mgn_target *normal = NULL;
    mgn_map *map = NULL;
    float *x = malloc(NOISES * D * sizeof *x);
    ck_assert_ptr_nonnull(x);
    MGN_ASSERT_OK(mgn_target_create_gaussian(D, NULL, NULL, &normal));
    MGN_ASSERT_OK(mgn_target_sample(normal, NOISES, 77, x));
    MGN_ASSERT_OK(mgn_map_create(model, device, MGN_F64, &map));
    MGN_ASSERT_OK(mgn_map_apply(map, x, NOISES, x));
    mgn_map_destroy(map);
    mgn_target_destroy(normal);
    return x;
}

START_TEST(every_prototype_gets_its_mass) {
    mgn_test_random random = MGN_TEST_RANDOM();
    mgn_device *device = open_cpu();
    mgn_model *model = make_model(CLUSTERS);
    float *rows = make_clusters(&random, 0.05);
    /* Seed 1 starts in three clusters, or the distortion below says that it does not. */
    double distortion = 1;
    float centres[CLUSTERS * D];
    uint64_t seed = 0;
    while (distortion > 0.1) MGN_ASSERT_OK(mgn_kmeans(rows, ROWS, D, CLUSTERS, 12, ++seed, centres, NULL, &distortion));
    MGN_ASSERT_OK(mgn_semidiscrete(model, device, rows, ROWS, &(mgn_semidiscrete_config){.seed = seed}, NULL));
    float *y = map_noise(model, device);
    double found[CLUSTERS] = {0};
    for (int i = 0; i < NOISES; i++) {
        int axis = 0;
        for (int k = 1; k < CLUSTERS; k++) axis = y[i * D + k] > y[i * D + axis] ? k : axis;
        found[axis] += 1.0 / NOISES;
    }
    for (int c = 0; c < CLUSTERS; c++) ck_assert_double_eq_tol(found[c], shares[c], 0.015);
    free(y);
    free(rows);
    mgn_model_destroy(model);
    mgn_device_close(device);
}
END_TEST

START_TEST(covariance_is_restored_by_a_monotone_map) {
    mgn_test_random random = MGN_TEST_RANDOM();
    mgn_device *device = open_cpu();
    mgn_model *model = make_model(12);
    mgn_map *map = NULL;
    mgn_jacobian_stats stats;
    float *rows = make_clusters(&random, 1);
    double mean[2][D], covariance[2][D * D], scale = 0;
    const mgn_semidiscrete_config config = {.restored = 1, .temperature = 0.3, .seed = 3};
    mgn_train_result result;
    MGN_ASSERT_OK(mgn_semidiscrete(model, device, rows, ROWS, &config, &result));
    ck_assert_int_eq(result.steps, 400);
    float *y = map_noise(model, device);
    MGN_ASSERT_OK(mgn_moments(rows, ROWS, D, false, mean[0], covariance[0]));
    MGN_ASSERT_OK(mgn_moments(y, NOISES, D, false, mean[1], covariance[1]));
    for (int i = 0; i < D; i++) scale = fmax(scale, covariance[0][i * (D + 1)]);
    for (int i = 0; i < D; i++) ck_assert_double_eq_tol(mean[0][i], mean[1][i], 0.03 * sqrt(scale));
    for (int i = 0; i < D * D; i++) ck_assert_double_eq_tol(covariance[0][i], covariance[1][i], 0.03 * scale);
    MGN_ASSERT_OK(mgn_map_create(model, device, MGN_F64, &map));
    MGN_ASSERT_OK(mgn_map_jacobian_stats(map, rows, 200, &stats));
    ck_assert_int_eq(stats.nonmonotone, 0);
    ck_assert_double_lt(stats.asymmetry, 1e-12);
    mgn_map_destroy(map);
    free(y);
    free(rows);
    mgn_model_destroy(model);
    mgn_device_close(device);
}
END_TEST

START_TEST(one_prototype_is_the_affine_map) {
    mgn_test_random random = MGN_TEST_RANDOM();
    mgn_device *device = open_cpu();
    mgn_model *model = make_model(1);
    mgn_map *map = NULL;
    float *rows = make_clusters(&random, 1), y[D], expected[D];
    double mean[D], covariance[D * D], zero[D] = {0}, identity[D * D] = {0}, a[D * D], b[D];
    for (int i = 0; i < D; i++) identity[i * (D + 1)] = 1;
    MGN_ASSERT_OK(mgn_semidiscrete(model, device, rows, ROWS, &(mgn_semidiscrete_config){.restored = 1}, NULL));
    MGN_ASSERT_OK(mgn_moments(rows, ROWS, D, false, mean, covariance));
    MGN_ASSERT_OK(mgn_bures_map(zero, identity, mean, covariance, D, a, b));
    MGN_ASSERT_OK(mgn_map_create(model, device, MGN_F64, &map));
    MGN_ASSERT_OK(mgn_map_apply(map, rows, 1, y));
    MGN_ASSERT_OK(mgn_affine_rows(a, b, rows, 1, D, expected));
    for (int i = 0; i < D; i++) ck_assert_double_eq_tol((double)y[i], (double)expected[i], 1e-4);
    mgn_map_destroy(map);
    free(rows);
    mgn_model_destroy(model);
    mgn_device_close(device);
}
END_TEST

static bool stop(void *context, const mgn_train_report *report) {
    (void)context, (void)report;
    return false;
}

START_TEST(refuses_what_makes_no_sense) {
    static const struct {
        mgn_model_config model;
        mgn_semidiscrete_config config;
        mgn_status status;
        const char *text;
    } cases[] = {
        {{.kind = "cmgn", .d = D, .h = 4, .layers = 1}, {.restored = 0}, MGN_ERR_ARGUMENT, "kind lse with one module"},
        {{.kind = "lse", .d = D, .h = 4, .layers = 2}, {.restored = 0}, MGN_ERR_ARGUMENT, "lse with 2 was found"},
        {{.kind = "lse", .d = D, .h = 4, .layers = 1}, {.restored = 1.5}, MGN_ERR_ARGUMENT, "from 0 to 1"},
        {{.kind = "lse", .d = D, .h = 4, .layers = 1}, {.axes = D + 1}, MGN_ERR_ARGUMENT, "6 axes found"},
        {{.kind = "lse", .d = D, .h = 4, .layers = 1}, {.temperature = -1}, MGN_ERR_ARGUMENT, "positive temperature"},
        {{.kind = "lse", .d = D, .h = ROWS + 1, .layers = 1}, {.restored = 0}, MGN_ERR_ARGUMENT, "1 to 3000 centres"},
        {{.kind = "lse", .d = D, .h = 4, .layers = 1}, {.report = stop}, MGN_ERR_INTERRUPTED, "stopped after step"},
    };
    mgn_test_random random = MGN_TEST_RANDOM();
    mgn_device *device = open_cpu();
    float *rows = make_clusters(&random, 1);
    for (size_t i = 0; i < MGN_COUNT(cases); i++) {
        mgn_model *model = NULL;
        MGN_ASSERT_OK(mgn_model_create(&cases[i].model, 1, &model));
        const double before = mgn_model_values(model)[0];
        MGN_ASSERT_FAILS(mgn_semidiscrete(model, device, rows, ROWS, &cases[i].config, NULL), cases[i].status,
                         cases[i].text);
        ck_assert(mgn_model_values(model)[0] == before);
        mgn_model_destroy(model);
    }
    free(rows);
    mgn_device_close(device);
}
END_TEST

/* ---- the experiment ---- */

static double figure(const mgn_experiment_result *result, const char *key) {
    for (size_t i = 0; i < result->count; i++)
        if (strcmp(result->figures[i].key, key) == 0) return result->figures[i].value;
    ck_abort_msg("no figure %s", key);
}

static const mgn_experiment_result *find_result(const mgn_experiment_report *report, const char *recipe) {
    for (size_t i = 0; i < report->count; i++)
        if (strcmp(report->results[i].recipe, recipe) == 0) return &report->results[i];
    ck_abort_msg("no recipe %s", recipe);
}

START_TEST(digits_come_from_noise) {
    mgn_device *device = open_cpu();
    mgn_experiment_report report;
    const mgn_experiment_config config = {
        .model = "lse", .data = mgn_test_source("assets/digits"), .pictures = mgn_test_path("pictures")};
    MGN_ASSERT_FAILS(mgn_experiment_run("mnist", device, &(mgn_experiment_config){0}, &report), MGN_ERR_ARGUMENT,
                     "--data");
    MGN_ASSERT_OK(mgn_make_directory(config.pictures));
    MGN_ASSERT_OK(mgn_experiment_run("digits", device, &config, &report));
    const mgn_experiment_result *best = find_result(&report, "best"), *affine = find_result(&report, "affine");
    /* As near to held-out digits as other digits are, and nearer than the affine map brings noise. */
    ck_assert_double_lt(figure(best, "sinkhorn"), 1.02);
    ck_assert_double_lt(figure(best, "sinkhorn"), 0.55 * figure(affine, "sinkhorn"));
    ck_assert_double_lt(figure(best, "frechet"), 0.32);
    ck_assert_double_lt(figure(affine, "frechet"), 0.26);
    ck_assert_double_gt(figure(best, "jacobian_min"), -1e-9);
    ck_assert_double_lt(figure(best, "asymmetry"), 1e-9);
    static const char *const names[] = {"samples", "nearest", "interpolation", "evolution"};
    for (size_t i = 0; i < MGN_COUNT(names); i++) {
        char path[64];
        size_t size;
        snprintf(path, sizeof path, "pictures/digits-best-lse-200-%s.png", names[i]);
        char *png = mgn_test_read_file(mgn_test_path(path), &size);
        ck_assert_int_gt((int)size, 1000);
        ck_assert_int_eq(memcmp(png, "\x89PNG", 4), 0);
        free(png);
    }
    mgn_model *model = NULL;
    MGN_ASSERT_OK(mgn_model_load(mgn_test_path("pictures/digits-best-lse-200.safetensors"), &model));
    ck_assert_int_eq(mgn_model_parameter_count(model), best->parameters);
    mgn_model_destroy(model);
    mgn_device_close(device);
}
END_TEST

START_TEST(digits_by_the_published_recipe) {
    mgn_device *device = open_cpu();
    mgn_experiment_report report;
    const mgn_experiment_config config = {
        .model = "cmgn", .recipe = "published", .epochs = 1, .data = mgn_test_source("assets/digits")};
    MGN_ASSERT_OK(mgn_experiment_run("digits", device, &config, &report));
    ck_assert_uint_eq(report.count, 2);
    for (size_t i = 0; i < report.count; i++) {
        ck_assert_int_eq(report.results[i].steps, 2); /* 6 batches of up to 256, 4 a step */
        ck_assert(isfinite(figure(&report.results[i], "sinkhorn")));
        ck_assert_double_gt(figure(&report.results[i], "jacobian_min"), -1e-6);
    }
    mgn_device_close(device);
}
END_TEST

START_TEST(bad_command_lines_are_refused) {
    static const refusal rows[] = {
        {"experiment mnist", 2, "mnist|--data"},
        {"experiment mnist --data nowhere", 1, "nowhere holds neither train-images-idx3-ubyte nor"},
        {"experiment gaussian --pictures p", 2, "--pictures is an option of|not of gaussian"},
        {"experiment gaussian --recipe affine", 2, "nothing for the model"},
        {"w2 normal:2 normal:2 --frechet 3", 2, "1 to 2 axes"},
        {"fit -s normal:10 -t short.idx -o map", 1, "short.idx: the header announces 40 elements, but 3 follow"},
        {"fit -s normal:10 -t cut.gz -o map", 1, "cut.gz: the gzip data ends early"},
    };
    static const unsigned char short_idx[] = {0, 0, 8, 2, 0, 0, 0, 4, 0, 0, 0, 10, 1, 2, 3}, cut[] = {0x1f, 0x8b, 8, 0};
    char folder[512];
    snprintf(folder, sizeof folder, "%s", mgn_test_path("folder"));
    MGN_ASSERT_OK(mgn_make_directory(folder));
    mgn_test_write_file(mgn_test_path("folder/short.idx"), short_idx, sizeof short_idx);
    mgn_test_write_file(mgn_test_path("folder/cut.gz"), cut, sizeof cut);
    for (size_t i = 0; i < MGN_COUNT(rows); i++) check_refusal(folder, &rows[i]);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("prototypes");
    TCase *tests = tcase_create("prototypes");
    tcase_add_test(tests, kmeans_finds_clusters_and_their_masses);
    tcase_add_test(tests, kmeans_does_not_depend_on_threads_and_fills_its_centres);
    tcase_add_test(tests, frechet_distance_is_the_closed_form);
    tcase_add_test(tests, frechet_distance_does_not_see_rotations);
    tcase_add_test(tests, every_prototype_gets_its_mass);
    tcase_add_test(tests, covariance_is_restored_by_a_monotone_map);
    tcase_add_test(tests, one_prototype_is_the_affine_map);
    tcase_add_test(tests, refuses_what_makes_no_sense);
    tcase_add_test(tests, digits_come_from_noise);
    tcase_add_test(tests, digits_by_the_published_recipe);
    tcase_add_test(tests, bad_command_lines_are_refused);
    suite_add_tcase(suite, tests);
    return mgn_test_main(suite);
}
