/* What mgn_map_jacobian_stats says of a map: against matrices known in closed form and against the eigenvalues of every
 * single Jacobian, over more rows than one piece holds, for any number of threads; and by it, that Lipschitz bounds hold. */
#include "harness.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <mgn/model.h>
#include <mgn/ot.h>

enum { MANY = 120000, D = 3 }; /* more than a piece of 2^20 / 9 rows */

static mgn_map *make_map(mgn_model *model, mgn_dtype real, mgn_device **device) {
    mgn_map *map = NULL;
    MGN_ASSERT_OK(mgn_device_open("cpu", device));
    MGN_ASSERT_OK(mgn_map_create(model, *device, real, &map));
    return map;
}

static double *values_of(mgn_model *model, const char *label) {
    const mgn_parameter *list = NULL;
    const size_t count = mgn_model_parameters(model, &list);
    for (size_t i = 0; i < count; i++)
        if (strcmp(list[i].label, label) == 0) return mgn_model_values(model) + list[i].offset;
    ck_abort_msg("no parameter %s", label);
}

static mgn_model *make_cmgn(int64_t d, uint64_t seed) {
    const mgn_model_config config = {.kind = "cmgn", .d = d, .h = 4, .layers = 2, .v = MGN_V_GAUSSIAN};
    mgn_model *model = NULL;
    MGN_ASSERT_OK(mgn_model_create(&config, seed, &model));
    return model;
}

static void destroy(mgn_map *map, mgn_model *model, mgn_device *device) {
    mgn_map_destroy(map);
    mgn_model_destroy(model);
    mgn_device_close(device);
}

/* Without W the Jacobian is V^T V everywhere. */
START_TEST(linear_maps_have_the_eigenvalues_of_their_matrix) {
    mgn_device *device = NULL;
    mgn_model *model = make_cmgn(2, 1);
    memset(values_of(model, "W"), 0, 8 * sizeof(double));
    const double c = cos(0.7), s = sin(0.7), V[4] = {c, s, -3 * s, 3 * c}; /* diag(1, 3) after a rotation */
    memcpy(values_of(model, "V"), V, sizeof V);
    mgn_map *map = make_map(model, MGN_F64, &device);
    const float x[6] = {0, 0, 1, -2, 5, 3};
    mgn_jacobian_stats stats;
    MGN_ASSERT_OK(mgn_map_jacobian_stats(map, x, 3, &stats));
    ck_assert_int_eq(stats.rows, 3);
    ck_assert_int_eq(stats.definite, 3);
    ck_assert_int_eq(stats.nonmonotone, 0);
    ck_assert_int_eq(stats.smallest_row, 0);
    ck_assert_double_eq_tol(stats.smallest, 1, 1e-14);
    ck_assert_double_eq_tol(stats.largest, 9, 1e-13);
    ck_assert_double_eq_tol(stats.logdet, log(9), 1e-14);
    ck_assert_double_le(stats.asymmetry, 1e-15);
    destroy(map, model, device);
}
END_TEST

START_TEST(a_singular_map_is_monotone_but_not_definite) {
    mgn_device *device = NULL;
    mgn_model *model = make_cmgn(2, 1);
    memset(values_of(model, "W"), 0, 8 * sizeof(double));
    memset(values_of(model, "V"), 0, 4 * sizeof(double));
    mgn_map *map = make_map(model, MGN_F32, &device);
    const float x[2] = {1, 2};
    mgn_jacobian_stats stats;
    MGN_ASSERT_OK(mgn_map_jacobian_stats(map, x, 1, &stats));
    ck_assert(stats.smallest == 0 && stats.largest == 0 && stats.asymmetry == 0);
    ck_assert(stats.nonmonotone == 0 && stats.definite == 0 && isnan(stats.logdet));
    destroy(map, model, device);
}
END_TEST

static float *draw_points(mgn_test_random *random, int64_t count) {
    float *x = malloc((size_t)count * sizeof *x);
    ck_assert(x);
    for (int64_t i = 0; i < count; i++) x[i] = (float)mgn_test_uniform(random, -4, 4);
    return x;
}

START_TEST(many_rows_agree_with_each_row_by_itself) {
    mgn_test_random random = MGN_TEST_RANDOM();
    mgn_device *device = NULL;
    mgn_model *model = make_cmgn(D, mgn_test_bits(&random));
    mgn_map *map = make_map(model, MGN_F64, &device);
    float *x = draw_points(&random, MANY * D);
    double *J = malloc(MANY * D * D * sizeof *J), smallest = INFINITY, most = 0, logdet = 0, asymmetry = 0;
    ck_assert(J);
    int64_t row = 0;
    MGN_ASSERT_OK(mgn_map_jacobian(map, x, MANY, J));
    for (int64_t i = 0; i < MANY; i++) {
        double values[D], vectors[D * D], scale = 0, off = 0;
        const double *j = J + i * D * D;
        MGN_ASSERT_OK(mgn_symmetric_eigen(j, D, values, vectors));
        if (values[0] < smallest) smallest = values[0], row = i;
        most = fmax(most, values[D - 1]);
        logdet += log(values[0] * values[1] * values[2]) / MANY;
        for (int k = 0; k < D * D; k++) {
            scale = fmax(scale, fabs(j[k]));
            off = fmax(off, fabs(j[k] - j[k % D * D + k / D]));
        }
        asymmetry = fmax(asymmetry, off / scale);
    }
    mgn_jacobian_stats first = {.rows = 0};
    for (int threads = 1; threads <= 4; threads++) {
        mgn_jacobian_stats stats;
        mgn_set_threads(threads);
        MGN_ASSERT_OK(mgn_map_jacobian_stats(map, x, MANY, &stats));
        ck_assert_int_eq(stats.rows, MANY);
        ck_assert_int_eq(stats.definite, MANY);
        ck_assert_int_eq(stats.nonmonotone, 0);
        ck_assert_int_eq(stats.smallest_row, row);
        ck_assert_double_eq_tol(stats.smallest, smallest, 1e-12 * (1 + most));
        ck_assert_double_eq_tol(stats.largest, most, 1e-12 * (1 + most));
        ck_assert_double_eq_tol(stats.logdet, logdet, 1e-9 * (1 + fabs(logdet)));
        ck_assert_double_eq(stats.asymmetry, asymmetry);
        if (threads == 1) first = stats;
        ck_assert(memcmp(&stats.logdet, &first.logdet, sizeof stats.logdet) == 0);
        ck_assert(stats.smallest == first.smallest && stats.largest == first.largest);
    }
    free(x);
    free(J);
    destroy(map, model, device);
}
END_TEST

START_TEST(a_row_that_is_not_finite_is_named) {
    mgn_test_random random = MGN_TEST_RANDOM();
    mgn_device *device = NULL;
    mgn_model *model = make_cmgn(D, 3);
    mgn_map *map = make_map(model, MGN_F32, &device);
    float *x = draw_points(&random, MANY * D);
    mgn_jacobian_stats stats = {.rows = 77};
    double J[9 * D * D];
    x[118001 * D + 2] = NAN;
    x[8 * D] = x[118001 * D + 1] = 1e30f; /* saturates, which is finite */
    MGN_ASSERT_FAILS(mgn_map_jacobian_stats(map, x, MANY, &stats), MGN_ERR_NUMERIC, "the Jacobian in row 118001");
    ck_assert_int_eq(stats.rows, 77);
    x[8 * D] = NAN;
    MGN_ASSERT_FAILS(mgn_map_jacobian(map, x, 9, J), MGN_ERR_NUMERIC, "the Jacobian in row 8");
    MGN_ASSERT_FAILS(mgn_map_jacobian_stats(map, x, 0, &stats), MGN_ERR_ARGUMENT, "at least one row");
    free(x);
    destroy(map, model, device);
}
END_TEST

START_TEST(an_interrupt_stops_the_inverse) {
    mgn_device *device = NULL;
    mgn_model *model = make_cmgn(D, 3);
    mgn_map *map = make_map(model, MGN_F64, &device);
    const float y[3] = {1, 2, 3};
    float x[3] = {7, 7, 7};
    mgn_interrupt();
    MGN_ASSERT_FAILS(mgn_map_inverse(map, y, 1, 1e-9, x, NULL), MGN_ERR_INTERRUPTED, "interrupted");
    ck_assert(x[0] == 7);
    destroy(map, model, device);
}
END_TEST

/* ---- Lipschitz bounds ---- */

static const mgn_model_config bounded[] = {
    {.kind = "cmgn", .d = 3, .h = 5, .layers = 3, .activation = MGN_TANH, .v = MGN_V_GAUSSIAN},
    {.kind = "cmgn", .d = 4, .h = 2, .layers = 2, .activation = MGN_SOFTPLUS},
    {.kind = "icnn", .d = 2, .h = 1, .layers = 19, .activation = MGN_SOFTPLUS},
    {.kind = "icnn", .d = 3, .h = 6, .layers = 3, .activation = MGN_SOFTPLUS},
    {.kind = "icgn", .d = 3, .h = 5, .layers = 1},
    {.kind = "cgradnet", .d = 2, .h = 7, .layers = 4},
    {.kind = "cgradnet", .d = 3, .h = 6, .layers = 2, .activation = MGN_TANH, .signed_scales = true},
    {.kind = "mgradnet", .d = 2, .h = 7, .layers = 4, .activation = MGN_SOFTPLUS},
    {.kind = "mgradnet", .d = 1, .h = 3, .layers = 2, .signed_scales = true},
};

/* The norm of the Jacobian over points near and far, for parameters of any size. */
START_TEST(no_parameters_break_the_bound) {
    enum { POINTS = 400 };
    static const double sizes[] = {0, 0.1, 1, 4, 30}, bounds[] = {0.05, 1, 20};
    mgn_test_random random = MGN_TEST_RANDOM();
    mgn_model_config config = bounded[_i];
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++)
        for (size_t b = 0; b < sizeof bounds / sizeof *bounds; b++) {
            float x[POINTS * 4];
            mgn_device *device = NULL;
            mgn_model *model = NULL;
            mgn_jacobian_stats stats;
            config.lipschitz = bounds[b];
            MGN_ASSERT_OK(mgn_model_create(&config, mgn_test_bits(&random), &model));
            for (int64_t i = 0; i < mgn_model_parameter_count(model); i++) mgn_model_values(model)[i] *= sizes[s];
            for (int i = 0; i < POINTS * 4; i++) x[i] = (float)(mgn_test_normal(&random) * (i % 3 ? 0.3 : 3));
            mgn_map *map = make_map(model, MGN_F64, &device);
            MGN_ASSERT_OK(mgn_map_jacobian_stats(map, x, POINTS, &stats));
            const double norm = fmax(stats.largest, -stats.smallest);
            ck_assert_msg(norm <= bounds[b] * (1 + 1e-12), "%s %d, parameters times %g: |J| = %.17g beyond %g",
                          config.kind, _i, sizes[s], norm, bounds[b]);
            ck_assert(config.signed_scales || stats.smallest >= -1e-12 * bounds[b]);
            destroy(map, model, device);
        }
}
END_TEST

/* A linear map's bound is its largest eigenvalue, which is what it gets, to the 1 % that the iteration leaves; and weights
 * below the bound are not touched. */
START_TEST(bounds_are_close_and_leave_small_weights_alone) {
    static const double bounds[] = {3, 100};
    for (int b = 0; b < 2; b++) {
        const mgn_model_config config = {.kind = "cmgn", .d = 2, .h = 4, .layers = 2, .lipschitz = bounds[b]};
        mgn_device *device = NULL;
        mgn_model *model = NULL;
        MGN_ASSERT_OK(mgn_model_create(&config, 1, &model));
        memset(values_of(model, "W"), 0, 8 * sizeof(double));
        const double V[4] = {3, 0, 0, 2.9}; /* eigenvalues 9 and 8.41: close ones are the slowest to tell apart */
        memcpy(values_of(model, "V"), V, sizeof V);
        mgn_map *map = make_map(model, MGN_F64, &device);
        mgn_jacobian_stats stats;
        MGN_ASSERT_OK(mgn_map_jacobian_stats(map, (const float[2]){1, 2}, 1, &stats));
        ck_assert_double_le(stats.largest, fmin(9, bounds[b]) * (1 + 1e-14));
        ck_assert_double_ge(stats.largest, fmin(9, bounds[b]) * (b ? 1 - 1e-14 : 0.99));
        destroy(map, model, device);
    }
}
END_TEST

int main(void) {
    Suite *suite = suite_create("model_jacobian");
    TCase *jacobians = tcase_create("jacobians");
    tcase_add_test(jacobians, linear_maps_have_the_eigenvalues_of_their_matrix);
    tcase_add_test(jacobians, a_singular_map_is_monotone_but_not_definite);
    tcase_add_test(jacobians, many_rows_agree_with_each_row_by_itself);
    tcase_add_test(jacobians, a_row_that_is_not_finite_is_named);
    tcase_add_test(jacobians, an_interrupt_stops_the_inverse);
    tcase_add_loop_test(jacobians, no_parameters_break_the_bound, 0, (int)(sizeof bounded / sizeof *bounded));
    tcase_add_test(jacobians, bounds_are_close_and_leave_small_weights_alone);
    suite_add_tcase(suite, jacobians);
    return mgn_test_main(suite);
}
