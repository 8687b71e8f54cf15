/* The exact distance between clouds: against brute force over all permutations, against closed forms, on clouds that
 * are hard for the method (equal points, lines, clusters), and bit by bit over thread counts. */
#include "harness.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <mgn/ot.h>

#include "core/core.h"
#include "ot/ot.h"

static double cost_of(const float *x, const float *y, int64_t n, int64_t d, const int64_t *permutation) {
    long double sum = 0;
    for (int64_t i = 0; i < n; i++)
        for (int64_t k = 0; k < d; k++) {
            const long double e = (long double)x[i * d + k] - (long double)y[permutation[i] * d + k];
            sum += e * e;
        }
    return (double)(sum / (long double)n);
}

/* The least cost over all ways to give rows `row`.. the columns that are not yet `used`. */
static double brute_force(const float *x, const float *y, int64_t n, int64_t d, int64_t row, unsigned used) {
    if (row == n) return 0;
    double best = INFINITY;
    for (int64_t j = 0; j < n; j++) {
        if (used >> j & 1) continue;
        double sum = 0;
        for (int64_t k = 0; k < d; k++)
            sum += ((double)x[row * d + k] - (double)y[j * d + k]) * ((double)x[row * d + k] - (double)y[j * d + k]);
        best = fmin(best, sum + brute_force(x, y, n, d, row + 1, used | 1u << j));
    }
    return best;
}

/* A permutation whose cost is what was returned; the certificate is the library's own. */
static double solve(const float *x, const float *y, int64_t n, int64_t d) {
    int64_t *permutation = malloc((size_t)n * sizeof *permutation);
    bool *taken = calloc((size_t)n, sizeof *taken);
    double squared = -1;
    MGN_ASSERT_OK(mgn_assignment_w2(x, y, n, d, permutation, &squared));
    for (int64_t i = 0; i < n; i++) {
        ck_assert(permutation[i] >= 0 && permutation[i] < n && !taken[permutation[i]]);
        taken[permutation[i]] = true;
    }
    ck_assert_double_eq_tol(squared, cost_of(x, y, n, d, permutation), 1e-12 * (1 + squared));
    free(taken);
    free(permutation);
    return squared;
}

static float *rows_of(mgn_test_random *random, int64_t n, int64_t d, double mean, double spread) {
    float *rows = malloc((size_t)(n * d) * sizeof *rows);
    for (int64_t i = 0; i < n * d; i++) rows[i] = (float)(mean + spread * mgn_test_normal(random));
    return rows;
}

START_TEST(small_clouds_match_brute_force) {
    mgn_test_random random = MGN_TEST_RANDOM();
    for (int64_t n = 1; n <= 7; n++)
        for (int64_t d = 1; d <= 4; d++)
            for (int repeat = 0; repeat < 4; repeat++) {
                float *x = rows_of(&random, n, d, 0, 1), *y = rows_of(&random, n, d, repeat, 2);
                if (repeat == 3) /* ties */
                    for (int64_t i = 0; i < n * d; i++) x[i] = roundf(x[i]), y[i] = roundf(y[i]);
                const double expected = brute_force(x, y, n, d, 0, 0) / (double)n;
                ck_assert_double_eq_tol(solve(x, y, n, d), expected, 1e-13 * (1 + expected));
                free(x);
                free(y);
            }
}
END_TEST

/* The gradient of a convex function is optimal: x against a shuffled image of x. */
START_TEST(gradients_of_convex_functions_are_found) {
    mgn_test_random random = MGN_TEST_RANDOM();
    const int64_t sizes[][2] = {{63, 2}, {64, 3}, {65, 1}, {300, 5}, {1000, 3}, {1100, 40}};
    for (size_t s = 0; s < MGN_COUNT(sizes); s++) {
        const int64_t n = sizes[s][0], d = sizes[s][1];
        float *x = rows_of(&random, n, d, 3, 1), *y = malloc((size_t)(n * d) * sizeof *y);
        int64_t *order = malloc((size_t)n * sizeof *order);
        for (int64_t i = 0; i < n; i++) order[i] = i;
        for (int64_t i = n - 1; i > 0; i--) {
            const int64_t j = mgn_test_integer(&random, 0, i), swap = order[i];
            order[i] = order[j];
            order[j] = swap;
        }
        for (int64_t i = 0; i < n; i++)
            for (int64_t k = 0; k < d; k++) {
                const double t = (double)x[i * d + k];
                y[order[i] * d + k] = (float)(t + (k % 2 ? 2 * tanh(t) : t * t * t / 9));
            }
        const double expected = cost_of(x, y, n, d, order);
        ck_assert_double_eq_tol(solve(x, y, n, d), expected, 1e-10 * expected);
        free(order);
        free(x);
        free(y);
    }
}
END_TEST

START_TEST(one_dimension_is_sorting) {
    mgn_test_random random = MGN_TEST_RANDOM();
    enum { N = 2000 };
    static float x[N], y[N], line_x[3 * N], line_y[3 * N];
    const double slope[3] = {1, -2, 0.5};
    for (int i = 0; i < N; i++) {
        x[i] = (float)mgn_test_normal(&random);
        y[i] = (float)exp(mgn_test_normal(&random));
        for (int k = 0; k < 3; k++) {
            line_x[3 * i + k] = (float)(slope[k] * (double)x[i] + 1);
            line_y[3 * i + k] = (float)(slope[k] * (double)y[i] - 1);
        }
    }
    double sliced;
    MGN_ASSERT_OK(mgn_sliced_w2(x, N, y, N, 1, 1, 0, &sliced)); /* sorts, too */
    ck_assert_double_eq_tol(solve(x, y, N, 1), sliced, 1e-5 * sliced);
    double mean = 0;
    for (int i = 0; i < N; i++) mean += ((double)x[i] - (double)y[i]) / N;
    /* the line's offset of 2 in each coordinate adds to what sorting costs along it */
    const double expected = 5.25 * sliced + 12 + 4 * (1 - 2 + 0.5) * mean;
    ck_assert_double_eq_tol(solve(line_x, line_y, N, 3), expected, 1e-4 * expected);
}
END_TEST

START_TEST(equal_points_are_no_trouble) {
    mgn_test_random random = MGN_TEST_RANDOM();
    enum { N = 512, D = 3 };
    static float x[N * D], y[N * D];
    for (int i = 0; i < N * D; i++) x[i] = y[i] = 0.1f;
    ck_assert_double_eq(solve(x, y, N, D), 0);
    for (int i = 0; i < N * D; i++) y[i] = 0.35f;
    ck_assert_double_eq_tol(solve(x, y, N, D), 3 * 0.0625, 1e-7);
    for (int i = 0; i < N; i++) /* the same cloud in the opposite order */
        for (int k = 0; k < D; k++) y[(N - 1 - i) * D + k] = x[i * D + k] = (float)mgn_test_integer(&random, 0, 2);
    ck_assert_double_eq(solve(x, y, N, D), 0);
    /* Few different points on the first side: it is the other that has rows then. */
    for (int i = 0; i < N * D; i++) y[i] = (float)mgn_test_normal(&random);
    const double one_way = solve(x, y, N, D), other_way = solve(y, x, N, D);
    ck_assert_double_eq_tol(one_way, other_way, 1e-12 * one_way);
    /* Two places that must share the other cloud's points: which go where is known, the left half to the left. */
    for (int i = 0; i < N; i++)
        for (int k = 0; k < D; k++) {
            x[i * D + k] = k ? 0 : (float)i;
            y[i * D + k] = k ? 0 : i % 2 ? 100 : 400;
        }
    double expected = 0;
    for (int i = 0; i < N; i++) expected += (i - (i < N / 2 ? 100 : 400)) * (i - (i < N / 2 ? 100 : 400)) / (double)N;
    ck_assert_double_eq_tol(solve(x, y, N, D), expected, 1e-9 * expected);
}
END_TEST

START_TEST(far_from_the_origin_and_of_any_scale) {
    mgn_test_random random = MGN_TEST_RANDOM();
    enum { N = 200, D = 2 };
    float *x = rows_of(&random, N, D, 0, 1), *y = rows_of(&random, N, D, 0, 1);
    float far_x[N * D], far_y[N * D], small_x[N * D], small_y[N * D];
    for (int i = 0; i < N * D; i++) {
        x[i] = roundf(x[i] * 1024) / 1024; /* exact at 1000 too */
        y[i] = roundf(y[i] * 1024) / 1024;
        far_x[i] = x[i] + 1000;
        far_y[i] = y[i] - 1000;
        small_x[i] = x[i] * 0x1p-60f;
        small_y[i] = y[i] * 0x1p-60f;
    }
    const double near = solve(x, y, N, D), small = solve(small_x, small_y, N, D), far = solve(far_x, far_y, N, D);
    ck_assert_double_eq(small, near * 0x1p-120);
    double mean[4], offset = 0, centred = near;
    MGN_ASSERT_OK(mgn_moments(x, N, D, false, mean, NULL));
    MGN_ASSERT_OK(mgn_moments(y, N, D, false, mean + 2, NULL));
    for (int k = 0; k < D; k++) {
        const double e = mean[k] - mean[2 + k];
        centred -= e * e;
        offset += (e + 2000) * (e + 2000);
    }
    ck_assert_double_eq_tol(far, centred + offset, 1e-11 * far);
    free(x);
    free(y);
}
END_TEST

START_TEST(threads_do_not_show) {
    mgn_test_random random = MGN_TEST_RANDOM();
    enum { N = 700 };
    const int64_t dimensions[] = {3, 400};
    static int64_t first[N], other[N];
    for (size_t s = 0; s < MGN_COUNT(dimensions); s++) {
        const int64_t d = dimensions[s];
        float *x = rows_of(&random, N, d, 0, 1), *y = rows_of(&random, N, d, 1, 2);
        double one, many;
        mgn_set_threads(1);
        MGN_ASSERT_OK(mgn_assignment_w2(x, y, N, d, first, &one));
        for (int threads = 2; threads <= 7; threads += 5) {
            mgn_set_threads(threads);
            MGN_ASSERT_OK(mgn_assignment_w2(x, y, N, d, other, &many));
            ck_assert(memcmp(&one, &many, sizeof one) == 0 && memcmp(first, other, sizeof first) == 0);
        }
        mgn_set_threads(0);
        free(x);
        free(y);
    }
}
END_TEST

START_TEST(bad_input_is_refused) {
    float x[8] = {0}, y[8] = {0};
    double squared = 7;
    MGN_ASSERT_FAILS(mgn_assignment_w2(NULL, y, 4, 2, NULL, &squared), MGN_ERR_ARGUMENT, "NULL");
    MGN_ASSERT_FAILS(mgn_assignment_w2(x, y, 0, 2, NULL, &squared), MGN_ERR_ARGUMENT, "0 x 2");
    MGN_ASSERT_FAILS(mgn_assignment_w2(x, y, 16385, 2, NULL, &squared), MGN_ERR_ARGUMENT, "at most 16384 points");
    MGN_ASSERT_FAILS(mgn_assignment_w2(x, y, 4, 2, NULL, NULL), MGN_ERR_ARGUMENT, "NULL");
    y[5] = NAN;
    MGN_ASSERT_FAILS(mgn_assignment_w2(x, y, 4, 2, NULL, &squared), MGN_ERR_NUMERIC, "row 2, column 1");
    ck_assert_double_eq(squared, 7);
}
END_TEST

/* Rows put beside their partners cost as little as the optimal assignment; ties and single points too. */
START_TEST(matched_rows_are_optimal) {
    static const int64_t sizes[] = {1, 2, 7, 16, 93, 256, 1000, 1025};
    mgn_test_random random = MGN_TEST_RANDOM();
    for (size_t s = 0; s < MGN_COUNT(sizes); s++)
        for (int64_t d = 1; d <= 3; d += 2) {
            const int64_t n = sizes[s];
            const bool ties = s % 2 == 1; /* few different values */
            float *x = malloc((size_t)(n * d) * sizeof *x), *y = malloc((size_t)(n * d) * sizeof *y);
            double best, cost = 0, sums[2] = {0};
            for (int64_t i = 0; i < n * d; i++) {
                x[i] = ties ? (float)(mgn_test_bits(&random) % 4) : (float)mgn_test_uniform(&random, 0, 1);
                y[i] = ties ? (float)(mgn_test_bits(&random) % 4) : (float)mgn_test_uniform(&random, 0.2, 2);
                sums[0] += (double)y[i] * (double)y[i];
            }
            MGN_ASSERT_OK(mgn_assignment_w2(x, y, n, d, NULL, &best));
            MGN_ASSERT_OK(mgn_match_rows(x, y, n, d));
            for (int64_t i = 0; i < n * d; i++) {
                const double e = (double)x[i] - (double)y[i];
                cost += e * e / (double)n;
                sums[1] += (double)y[i] * (double)y[i];
            }
            ck_assert_msg(fabs(cost - best) <= 1e-5 * (best + 0.01), "n %lld, d %lld: %.9g, not %.9g", (long long)n,
                          (long long)d, cost, best);
            ck_assert_double_eq_tol(sums[0], sums[1], 1e-6 * sums[0] + 1e-9); /* the same rows */
            free(x);
            free(y);
        }
    float bad[6] = {0, 0, 0, NAN, 0, 0}, good[6] = {0};
    MGN_ASSERT_FAILS(mgn_match_rows(bad, good, 2, 3), MGN_ERR_NUMERIC, "not finite");
}
END_TEST

int main(void) {
    Suite *suite = suite_create("assignment");
    TCase *tests = tcase_create("assignment");
    tcase_add_test(tests, small_clouds_match_brute_force);
    tcase_add_test(tests, matched_rows_are_optimal);
    tcase_add_test(tests, gradients_of_convex_functions_are_found);
    tcase_add_test(tests, one_dimension_is_sorting);
    tcase_add_test(tests, equal_points_are_no_trouble);
    tcase_add_test(tests, far_from_the_origin_and_of_any_scale);
    tcase_add_test(tests, threads_do_not_show);
    tcase_add_test(tests, bad_input_is_refused);
    suite_add_tcase(suite, tests);
    return mgn_test_main(suite);
}
