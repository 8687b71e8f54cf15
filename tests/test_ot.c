/* Moments, closed forms between Gaussians, sliced distances and map errors: against values computed by hand, against
 * brute force by other formulas, on data that is ill-conditioned or degenerate, and bit by bit over thread counts. */
#include "harness.h"

#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <mgn/ot.h>

static float *normal_rows(mgn_test_random *random, int64_t n, int64_t d, double mean, double spread) {
    float *rows = malloc((size_t)(n * d) * sizeof *rows);
    ck_assert_ptr_nonnull(rows);
    for (int64_t i = 0; i < n * d; i++) rows[i] = (float)(mean + spread * mgn_test_normal(random));
    return rows;
}

/* B B^T + shift I for a random B: symmetric, and positive definite where shift > 0. */
static void random_spd(mgn_test_random *random, int64_t d, double shift, double *a) {
    double *b = malloc((size_t)(d * d) * sizeof *b);
    for (int64_t i = 0; i < d * d; i++) b[i] = mgn_test_normal(random);
    for (int64_t i = 0; i < d; i++)
        for (int64_t j = 0; j < d; j++) {
            a[i * d + j] = i == j ? shift : 0;
            for (int64_t k = 0; k < d; k++) a[i * d + j] += b[i * d + k] * b[j * d + k];
        }
    free(b);
}

static void multiply(int64_t d, const double *a, const double *b, double *out) {
    for (int64_t i = 0; i < d; i++)
        for (int64_t j = 0; j < d; j++) {
            out[i * d + j] = 0;
            for (int64_t k = 0; k < d; k++) out[i * d + j] += a[i * d + k] * b[k * d + j];
        }
}

static void assert_near(const double *found, const double *expected, int64_t count, double tolerance) {
    for (int64_t i = 0; i < count; i++)
        ck_assert_msg(fabs(found[i] - expected[i]) <= tolerance,
                      "element %" PRId64 " is %.17g where %.17g was expected", i, found[i], expected[i]);
}

/* ---- moments ---- */

/* Sums in long double, the textbook way. */
static void slow_moments(const float *rows, int64_t n, int64_t d, bool unbiased, double *mean, double *cov) {
    for (int64_t j = 0; j < d; j++) {
        long double sum = 0;
        for (int64_t i = 0; i < n; i++) sum += rows[i * d + j];
        mean[j] = (double)(sum / n);
    }
    for (int64_t j = 0; j < d; j++)
        for (int64_t k = 0; k < d; k++) {
            long double sum = 0;
            for (int64_t i = 0; i < n; i++)
                sum += ((long double)rows[i * d + j] - mean[j]) * ((long double)rows[i * d + k] - mean[k]);
            cov[j * d + k] = (double)(sum / (unbiased ? n - 1 : n));
        }
}

START_TEST(moments_match_long_double) {
    mgn_test_random random = MGN_TEST_RANDOM();
    const int64_t sizes[][2] = {{1, 1},   {1, 40},   {2, 3},     {7, 2},      {255, 1},
                                {256, 4}, {257, 33}, {1000, 32}, {1030, 131}, {4099, 3}};
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
        const int64_t n = sizes[s][0], d = sizes[s][1];
        static double mean[131], cov[131 * 131], expected_mean[131], expected_cov[131 * 131];
        float *rows = normal_rows(&random, n, d, 0.5, 2);
        for (int unbiased = 0; unbiased < (n > 1 ? 2 : 1); unbiased++) {
            MGN_ASSERT_OK(mgn_moments(rows, n, d, unbiased, mean, cov));
            slow_moments(rows, n, d, unbiased, expected_mean, expected_cov);
            assert_near(mean, expected_mean, d, 1e-14);
            assert_near(cov, expected_cov, d * d, 1e-13 * (n > 1 ? 100 : 0));
        }
        double total, trace = 0;
        MGN_ASSERT_OK(mgn_moments(rows, n, d, false, mean, cov));
        MGN_ASSERT_OK(mgn_total_variance(rows, n, d, &total));
        for (int64_t j = 0; j < d; j++) trace += cov[j * d + j];
        ck_assert_double_eq_tol(total, trace, 1e-12 * (1 + trace));
        free(rows);
    }
}
END_TEST

START_TEST(moments_keep_their_digits_far_from_zero) {
    mgn_test_random random = MGN_TEST_RANDOM();
    for (int64_t d = 2; d <= 34; d += 32) { /* both ways of making the products */
        const int64_t n = 20000;
        double mean[34], cov[34 * 34], expected_mean[34], expected_cov[34 * 34];
        float *rows = normal_rows(&random, n, d, 1e4, 1e-2);
        rows[0] = -1e4f; /* the first row is no good origin */
        MGN_ASSERT_OK(mgn_moments(rows + d, n - 1, d, false, mean, cov));
        slow_moments(rows + d, n - 1, d, false, expected_mean, expected_cov);
        assert_near(mean, expected_mean, d, 1e-11);
        assert_near(cov, expected_cov, d * d, 1e-15);
        MGN_ASSERT_OK(mgn_moments(rows, n, d, false, mean, cov));
        slow_moments(rows, n, d, false, expected_mean, expected_cov);
        for (int64_t i = 0; i < d * d; i++)
            ck_assert_double_eq_tol(cov[i], expected_cov[i], 1e-12 * (fabs(expected_cov[i]) + 1e-2));
        free(rows);
    }
}
END_TEST

START_TEST(moments_of_degenerate_rows) {
    float rows[300 * 2];
    double mean[2], cov[4];
    for (int i = 0; i < 300; i++) {
        rows[2 * i] = 0.1f; /* constant, and not exact in binary */
        rows[2 * i + 1] = (float)(i % 2);
    }
    MGN_ASSERT_OK(mgn_moments(rows, 300, 2, true, mean, cov));
    ck_assert_double_eq(mean[0], (double)0.1f);
    ck_assert_double_eq(cov[0], 0);
    ck_assert_double_eq(cov[1], 0);
    ck_assert_double_eq_tol(cov[3], 0.25 * 300 / 299, 1e-15);
    MGN_ASSERT_OK(mgn_moments(rows, 300, 2, true, mean, NULL));
    MGN_ASSERT_FAILS(mgn_moments(rows, 1, 2, true, mean, cov), MGN_ERR_ARGUMENT, "two rows");
    MGN_ASSERT_FAILS(mgn_moments(rows, 0, 2, false, mean, cov), MGN_ERR_ARGUMENT, "0 x 2");
    MGN_ASSERT_FAILS(mgn_moments(rows, INT64_MAX, 2, false, mean, cov), MGN_ERR_ARGUMENT, "x 2");
    MGN_ASSERT_FAILS(mgn_moments(NULL, 1, 2, false, mean, cov), MGN_ERR_ARGUMENT, "NULL");
    rows[2 * 123 + 1] = NAN;
    mean[0] = 7;
    MGN_ASSERT_FAILS(mgn_moments(rows, 300, 2, false, mean, cov), MGN_ERR_NUMERIC, "row 123, column 1");
    ck_assert_double_eq(mean[0], 7);
    rows[0] = INFINITY;
    MGN_ASSERT_FAILS(mgn_total_variance(rows, 300, 2, mean), MGN_ERR_NUMERIC, "row 0, column 0");
}
END_TEST

/* ---- symmetric matrices ---- */

START_TEST(eigenvectors_rebuild_the_matrix) {
    mgn_test_random random = MGN_TEST_RANDOM();
    for (int64_t d = 1; d <= 20; d += 6) {
        double a[400], values[20], vectors[400], rebuilt[400];
        for (int64_t i = 0; i < d; i++)
            for (int64_t j = 0; j <= i; j++) a[i * d + j] = a[j * d + i] = mgn_test_normal(&random);
        MGN_ASSERT_OK(mgn_symmetric_eigen(a, d, values, vectors));
        for (int64_t k = 1; k < d; k++) ck_assert_double_le(values[k - 1], values[k]);
        for (int64_t i = 0; i < d; i++)
            for (int64_t j = 0; j < d; j++) {
                rebuilt[i * d + j] = 0;
                for (int64_t k = 0; k < d; k++)
                    rebuilt[i * d + j] += values[k] * vectors[k * d + i] * vectors[k * d + j];
            }
        assert_near(rebuilt, a, d * d, 1e-13);
    }
    const double lopsided[] = {1, 4, 0, 1}, nan[] = {1, 0, 0, NAN};
    double values[2], vectors[4];
    MGN_ASSERT_OK(mgn_symmetric_eigen(lopsided, 2, values, vectors));
    assert_near(values, (const double[]){-1, 3}, 2, 1e-15);
    MGN_ASSERT_FAILS(mgn_symmetric_eigen(nan, 2, values, vectors), MGN_ERR_NUMERIC, "element 3");
    MGN_ASSERT_FAILS(mgn_symmetric_eigen(nan, 0, values, vectors), MGN_ERR_ARGUMENT, "not 0");
    MGN_ASSERT_FAILS(mgn_symmetric_eigen(nan, INT64_MAX, values, vectors), MGN_ERR_ARGUMENT, "order");
}
END_TEST

START_TEST(roots_square_to_the_matrix) {
    mgn_test_random random = MGN_TEST_RANDOM();
    for (int64_t d = 1; d <= 13; d += 4) {
        double a[169], root[169], inverse[169], product[169], other[169];
        random_spd(&random, d, 0.1, a);
        MGN_ASSERT_OK(mgn_spd_sqrt(a, d, root, inverse));
        multiply(d, root, root, product);
        assert_near(product, a, d * d, 1e-12);
        multiply(d, inverse, a, product);
        multiply(d, product, inverse, other);
        for (int64_t i = 0; i < d * d; i++) product[i] = i % (d + 1) == 0;
        assert_near(other, product, d * d, 1e-10);
    }
}
END_TEST

START_TEST(roots_of_singular_matrices) {
    const double ones[] = {1, 1, 1, 1}, zero[] = {0, 0, 0, 0}, negative[] = {1, 0, 0, -0.01},
                 rounding[] = {1, 0, 0, -1e-9};
    double root[4], inverse[4];
    MGN_ASSERT_OK(mgn_spd_sqrt(ones, 2, root, inverse));
    const double h = sqrt(0.5);
    assert_near(root, (const double[]){h, h, h, h}, 4, 1e-15);
    assert_near(inverse, (const double[]){h / 2, h / 2, h / 2, h / 2}, 4, 1e-15);
    MGN_ASSERT_OK(mgn_spd_sqrt(zero, 2, root, inverse));
    assert_near(root, zero, 4, 0);
    assert_near(inverse, zero, 4, 0);
    MGN_ASSERT_OK(mgn_spd_sqrt(rounding, 2, root, inverse));
    assert_near(inverse, (const double[]){1, 0, 0, 0}, 4, 1e-15);
    MGN_ASSERT_OK(mgn_spd_sqrt(rounding, 2, NULL, inverse));
    MGN_ASSERT_OK(mgn_spd_sqrt((const double[]){4, 0, 0, 1e-12}, 2, root, inverse)); /* null for the inverse alone */
    assert_near(inverse, (const double[]){0.5, 0, 0, 0}, 4, 1e-15);
    ck_assert_double_eq_tol(root[3], 1e-6, 1e-12);
    MGN_ASSERT_FAILS(mgn_spd_sqrt(negative, 2, root, inverse), MGN_ERR_NUMERIC, "-0.01");
}
END_TEST

/* ---- Gaussians ---- */

static const double zero2[] = {0, 0}, unit2[] = {1, 0, 0, 1};
static const double mean_a[] = {2, 1}, cov_a[] = {1, -0.8, -0.8, 1};

START_TEST(bures_by_hand) {
    /* Eigenvalues 1.8 and 0.2: |m|^2 + (sqrt 1.8 - 1)^2 + (sqrt 0.2 - 1)^2. */
    double squared, expected = 5 + pow(sqrt(1.8) - 1, 2) + pow(sqrt(0.2) - 1, 2), a[4], b[2];
    MGN_ASSERT_OK(mgn_bures_w2(mean_a, cov_a, zero2, unit2, 2, &squared));
    ck_assert_double_eq_tol(squared, expected, 1e-14);
    ck_assert_double_eq_tol(squared, 5.4223, 5e-5);
    /* A = cov^-1/2, whose eigenvectors are (1, -1) and (1, 1). */
    const double high = 1 / sqrt(0.2), low = 1 / sqrt(1.8), same = (high + low) / 2, cross = (high - low) / 2;
    MGN_ASSERT_OK(mgn_bures_map(mean_a, cov_a, zero2, unit2, 2, a, b));
    assert_near(a, (const double[]){same, cross, cross, same}, 4, 1e-14);
    assert_near(b, (const double[]){-2 * same - cross, -2 * cross - same}, 2, 1e-14);
    /* One dimension: (m1 - m2)^2 + (s1 - s2)^2, and the slope s2 / s1. */
    const double m1 = 3, m2 = -1, v1 = 4, v2 = 0.25;
    MGN_ASSERT_OK(mgn_bures_w2(&m1, &v1, &m2, &v2, 1, &squared));
    ck_assert_double_eq_tol(squared, 16 + 2.25, 1e-14);
    MGN_ASSERT_OK(mgn_bures_map(&m1, &v1, &m2, &v2, 1, a, b));
    ck_assert_double_eq_tol(a[0], 0.25, 1e-15);
    ck_assert_double_eq_tol(b[0], -1.75, 1e-15);
}
END_TEST

START_TEST(bures_of_commuting_covariances) {
    mgn_test_random random = MGN_TEST_RANDOM();
    enum { D = 6 };
    double base[D * D], values[D], q[D * D], cov1[D * D] = {0}, cov2[D * D] = {0}, map[D * D] = {0}, mean[D] = {0},
                                                      expected = 0;
    random_spd(&random, D, 0, base);
    MGN_ASSERT_OK(mgn_symmetric_eigen(base, D, values, q));
    for (int k = 0; k < D; k++) {
        const double s1 = pow(10, mgn_test_uniform(&random, -2, 1)), s2 = pow(10, mgn_test_uniform(&random, -2, 1));
        expected += (s1 - s2) * (s1 - s2);
        for (int i = 0; i < D; i++)
            for (int j = 0; j < D; j++) {
                const double outer = q[k * D + i] * q[k * D + j];
                cov1[i * D + j] += s1 * s1 * outer;
                cov2[i * D + j] += s2 * s2 * outer;
                map[i * D + j] += s2 / s1 * outer;
            }
    }
    double squared, a[D * D], b[D];
    MGN_ASSERT_OK(mgn_bures_w2(mean, cov1, mean, cov2, D, &squared));
    ck_assert_double_eq_tol(squared, expected, 1e-11 * (1 + expected));
    MGN_ASSERT_OK(mgn_bures_map(mean, cov1, mean, cov2, D, a, b));
    for (int i = 0; i < D * D; i++) ck_assert_double_eq_tol(a[i], map[i], 1e-7);
    MGN_ASSERT_OK(mgn_bures_w2(mean, cov1, mean, cov1, D, &squared));
    ck_assert_double_eq_tol(squared, 0, 1e-12);
}
END_TEST

START_TEST(bures_map_carries_one_gaussian_to_the_other) {
    mgn_test_random random = MGN_TEST_RANDOM();
    for (int64_t d = 1; d <= 12; d++) {
        double m1[12], m2[12], cov1[144], cov2[144], a[144], b[12], half[144], carried[144], values[12], vectors[144];
        for (int64_t i = 0; i < d; i++) m1[i] = mgn_test_normal(&random), m2[i] = mgn_test_normal(&random);
        random_spd(&random, d, 0.1, cov1);
        random_spd(&random, d, 0.1, cov2);
        MGN_ASSERT_OK(mgn_bures_map(m1, cov1, m2, cov2, d, a, b));
        multiply(d, a, cov1, half);
        multiply(d, half, a, carried); /* A S1 A^T = S2 with A symmetric and positive: that is the optimal map */
        assert_near(carried, cov2, d * d, 1e-9);
        MGN_ASSERT_OK(mgn_symmetric_eigen(a, d, values, vectors));
        ck_assert_double_gt(values[0], 0);
        for (int64_t i = 0; i < d; i++)
            for (int64_t j = 0; j < d; j++) ck_assert_double_eq(a[i * d + j], a[j * d + i]);
        /* Its cost E|x - T(x)|^2 is the distance. */
        double cost = 0, squared;
        for (int64_t i = 0; i < d; i++) {
            cost += (m1[i] - m2[i]) * (m1[i] - m2[i]) + cov1[i * d + i] + carried[i * d + i] - 2 * half[i * d + i];
        }
        MGN_ASSERT_OK(mgn_bures_w2(m1, cov1, m2, cov2, d, &squared));
        ck_assert_double_eq_tol(squared, cost, 1e-9);
    }
}
END_TEST

START_TEST(bures_with_singular_covariances) {
    /* Points on the line (1, 1) to the unit Gaussian: tr = 2 + 2 - 2 sqrt 2. Rotated, so that nothing is exactly 0. */
    const double line[] = {1, 1, 1, 1}, zero[] = {0, 0, 0, 0};
    double squared, a[4], b[2];
    MGN_ASSERT_OK(mgn_bures_w2(mean_a, line, mean_a, unit2, 2, &squared));
    ck_assert_double_eq_tol(squared, 4 - 2 * sqrt(2), 1e-14);
    MGN_ASSERT_OK(mgn_bures_map(mean_a, line, zero2, unit2, 2, a, b));
    const double slope = sqrt(0.5) / 2;
    assert_near(a, (const double[]){slope, slope, slope, slope}, 4, 1e-14);
    MGN_ASSERT_OK(mgn_bures_w2(mean_a, zero, zero2, unit2, 2, &squared));
    ck_assert_double_eq_tol(squared, 7, 1e-14);
    MGN_ASSERT_OK(mgn_bures_map(zero2, zero, mean_a, unit2, 2, a, b));
    assert_near(a, zero, 4, 0);
    assert_near(b, mean_a, 2, 0);
    MGN_ASSERT_FAILS(mgn_bures_w2(mean_a, (const double[]){1, 0, 0, -1}, zero2, unit2, 2, &squared), MGN_ERR_NUMERIC,
                     "semidefinite");
    MGN_ASSERT_FAILS(mgn_bures_w2((const double[]){NAN, 0}, unit2, zero2, unit2, 2, &squared), MGN_ERR_NUMERIC,
                     "element 0");
    MGN_ASSERT_FAILS(mgn_bures_map(NULL, unit2, zero2, unit2, 2, a, b), MGN_ERR_ARGUMENT, "NULL");
}
END_TEST

START_TEST(bures_of_low_rank_covariances) {
    /* S = B B^T of rank R to the unit Gaussian: the eigenvalues of the small B^T B say it all. The product of the roots
     * has zeros that rounding hides, so the textbook formula would be off by 1e-8. */
    mgn_test_random random = MGN_TEST_RANDOM();
    enum { D = 9, R = 4 };
    double b[D * R], cov[D * D] = {0}, unit[D * D] = {0}, small[R * R] = {0}, mean[D] = {0}, values[R], vectors[R * R];
    for (int i = 0; i < D * R; i++) b[i] = mgn_test_normal(&random);
    for (int i = 0; i < D; i++) {
        unit[i * D + i] = 1;
        for (int j = 0; j < D; j++)
            for (int k = 0; k < R; k++) cov[i * D + j] += b[i * R + k] * b[j * R + k];
        for (int j = 0; j < R; j++)
            for (int k = 0; k < R; k++) small[j * R + k] += b[i * R + j] * b[i * R + k];
    }
    double squared, expected = D - R;
    MGN_ASSERT_OK(mgn_symmetric_eigen(small, R, values, vectors));
    for (int k = 0; k < R; k++) expected += pow(sqrt(values[k]) - 1, 2);
    MGN_ASSERT_OK(mgn_bures_w2(mean, cov, mean, unit, D, &squared));
    ck_assert_double_eq_tol(squared, expected, 1e-11);
    MGN_ASSERT_OK(mgn_bures_w2(mean, unit, mean, cov, D, &squared));
    ck_assert_double_eq_tol(squared, expected, 1e-11);
    MGN_ASSERT_OK(mgn_bures_w2(mean, cov, mean, cov, D, &squared));
    ck_assert_double_eq_tol(squared, 0, 1e-12 * expected);
}
END_TEST

START_TEST(affine_rows_apply_the_map) {
    mgn_test_random random = MGN_TEST_RANDOM();
    for (int64_t d = 1; d <= 41; d += 20) {
        const int64_t n = 700;
        double a[41 * 41], b[41];
        float *rows = normal_rows(&random, n, d, 0, 1), *out = malloc((size_t)(n * d) * sizeof *out);
        for (int64_t i = 0; i < d * d; i++) a[i] = mgn_test_normal(&random);
        for (int64_t i = 0; i < d; i++) b[i] = mgn_test_normal(&random);
        MGN_ASSERT_OK(mgn_affine_rows(a, b, rows, n, d, out));
        for (int64_t i = 0; i < n; i++)
            for (int64_t j = 0; j < d; j++) {
                double expected = b[j];
                for (int64_t k = 0; k < d; k++) expected += a[j * d + k] * (double)rows[i * d + k];
                ck_assert_double_eq_tol(out[i * d + j], expected, 1e-6 * (1 + fabs(expected)));
            }
        MGN_ASSERT_OK(mgn_affine_rows(a, b, rows, n, d, rows)); /* in place */
        ck_assert_mem_eq(rows, out, (size_t)(n * d) * sizeof *out);
        free(out);
        free(rows);
    }
}
END_TEST

START_TEST(kl_by_hand) {
    double nats;
    const double m1 = 1, v1 = 4, m2 = -1, v2 = 9;
    MGN_ASSERT_OK(mgn_gaussian_kl(&m1, &v1, &m2, &v2, 1, &nats));
    ck_assert_double_eq_tol(nats, 0.5 * (4.0 / 9 + 4.0 / 9 - 1 + log(9.0 / 4)), 1e-15);
    /* To the unit Gaussian: (tr S + |m|^2 - d - log det S) / 2, det = 1 - .64. */
    MGN_ASSERT_OK(mgn_gaussian_kl(mean_a, cov_a, zero2, unit2, 2, &nats));
    ck_assert_double_eq_tol(nats, 0.5 * (2 + 5 - 2 - log(0.36)), 1e-14);
    /* From it: (tr S^-1 + m^T S^-1 m - d + log det S) / 2 with S^-1 = (1, .8; .8, 1) / .36. */
    MGN_ASSERT_OK(mgn_gaussian_kl(zero2, unit2, mean_a, cov_a, 2, &nats));
    ck_assert_double_eq_tol(nats, 0.5 * (2 / 0.36 + (4 + 1 + 2 * 2 * 0.8) / 0.36 - 2 + log(0.36)), 1e-13);
    MGN_ASSERT_OK(mgn_gaussian_kl(mean_a, cov_a, mean_a, cov_a, 2, &nats));
    ck_assert_double_eq_tol(nats, 0, 1e-14);
    MGN_ASSERT_FAILS(mgn_gaussian_kl(zero2, unit2, zero2, (const double[]){1, 1, 1, 1}, 2, &nats), MGN_ERR_NUMERIC,
                     "second covariance");
    MGN_ASSERT_FAILS(mgn_gaussian_kl(zero2, (const double[]){0, 0, 0, 1}, zero2, unit2, 2, &nats), MGN_ERR_NUMERIC,
                     "first covariance");
}
END_TEST

/* ---- sliced distances ---- */

static int compare_floats(const void *a, const void *b) {
    const float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

/* Both lists repeated until they are equally long, then matched in order. */
static double brute_force(const float *x, int64_t n, const float *y, int64_t m) {
    float *a = malloc((size_t)n * sizeof *a), *b = malloc((size_t)m * sizeof *b);
    memcpy(a, x, (size_t)n * sizeof *a);
    memcpy(b, y, (size_t)m * sizeof *b);
    qsort(a, (size_t)n, sizeof *a, compare_floats);
    qsort(b, (size_t)m, sizeof *b, compare_floats);
    double sum = 0;
    for (int64_t i = 0; i < n * m; i++) sum += pow((double)a[i / m] - (double)b[i / n], 2);
    free(a);
    free(b);
    return sum / ((double)n * (double)m);
}

START_TEST(sliced_is_exact_in_one_dimension) {
    mgn_test_random random = MGN_TEST_RANDOM();
    const int64_t sizes[][2] = {{1, 1}, {1, 7}, {7, 1}, {2, 3}, {93, 93}, {93, 62}, {500, 501}, {1000, 250}};
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
        const int64_t n = sizes[s][0], m = sizes[s][1];
        float *x = normal_rows(&random, n, 1, 0, 1), *y = normal_rows(&random, m, 1, 0.5, 3);
        if (n > 10)
            for (int64_t i = 0; i < n / 3; i++) x[i] = x[0]; /* duplicated points */
        double squared, expected = brute_force(x, n, y, m);
        MGN_ASSERT_OK(mgn_sliced_w2(x, n, y, m, 1, 1, 5, &squared));
        ck_assert_double_eq_tol(squared, expected, 1e-6 * (expected + 1e-3));
        MGN_ASSERT_OK(mgn_sliced_w2(x, n, x, n, 1, 1, 5, &squared));
        ck_assert_double_eq(squared, 0);
        free(x);
        free(y);
    }
}
END_TEST

START_TEST(sliced_of_translated_clouds) {
    mgn_test_random random = MGN_TEST_RANDOM();
    const int64_t n = 400, d = 3, directions = 4000;
    const float t[] = {3, -1, 2};
    float *x = normal_rows(&random, n, d, 0, 1), *y = malloc((size_t)(n * d) * sizeof *y);
    for (int64_t i = 0; i < n * d; i++) y[i] = x[i] + t[i % d];
    double squared;
    MGN_ASSERT_OK(mgn_sliced_w2(x, n, y, n, d, directions, mgn_test_seed(), &squared));
    /* (t.u)^2 has the mean |t|^2 / d and, for d = 3, the variance |t|^4 (1/5 - 1/9): six standard errors. */
    ck_assert_double_eq_tol(squared, 14.0 / 3, 6 * 14 * sqrt((1.0 / 5 - 1.0 / 9) / (double)directions));
    free(x);
    free(y);
}
END_TEST

START_TEST(sliced_of_repeated_points_is_the_same) {
    mgn_test_random random = MGN_TEST_RANDOM();
    const int64_t n = 300, m = 200, d = 4;
    float *x = normal_rows(&random, n, d, 0, 1), *y = normal_rows(&random, m, d, 1, 2);
    float *x2 = malloc((size_t)(2 * n * d) * sizeof *x2), *y3 = malloc((size_t)(3 * m * d) * sizeof *y3);
    for (int k = 0; k < 2; k++) memcpy(x2 + k * n * d, x, (size_t)(n * d) * sizeof *x);
    for (int k = 0; k < 3; k++) memcpy(y3 + k * m * d, y, (size_t)(m * d) * sizeof *y);
    double different, same, half, back;
    MGN_ASSERT_OK(mgn_sliced_w2(x, n, y, m, d, 64, 9, &different));
    MGN_ASSERT_OK(mgn_sliced_w2(x2, 2 * n, y3, 3 * m, d, 64, 9, &same)); /* 600 points each */
    MGN_ASSERT_OK(mgn_sliced_w2(x2, 2 * n, y, m, d, 64, 9, &half));
    MGN_ASSERT_OK(mgn_sliced_w2(y, m, x, n, d, 64, 9, &back));
    ck_assert_double_eq_tol(different, same, 1e-6 * same);
    ck_assert_double_eq_tol(different, half, 1e-6 * same);
    ck_assert_double_eq_tol(different, back, 1e-12 * same);
    MGN_ASSERT_OK(mgn_sliced_w2(x, n, x2, 2 * n, d, 64, 9, &same));
    ck_assert_double_eq_tol(same, 0, 1e-13);
    MGN_ASSERT_OK(mgn_sliced_w2(x, n, y, m, d, 64, 10, &same));
    ck_assert_double_ne(same, different); /* another seed, other directions */
    free(x), free(y), free(x2), free(y3);
}
END_TEST

START_TEST(sliced_keeps_its_digits_far_from_zero) {
    mgn_test_random random = MGN_TEST_RANDOM();
    const int64_t n = 500, d = 3;
    float *x = malloc((size_t)(n * d) * sizeof *x), *y = malloc((size_t)(n * d) * sizeof *y);
    float *far_x = malloc((size_t)(n * d) * sizeof *x), *far_y = malloc((size_t)(n * d) * sizeof *y);
    for (int64_t i = 0; i < n * d; i++) { /* multiples of 1/128 up to 2^16 are exact */
        x[i] = (float)mgn_test_integer(&random, -64, 64) / 128;
        y[i] = (float)mgn_test_integer(&random, -32, 96) / 128;
        far_x[i] = x[i] + 65536;
        far_y[i] = y[i] + 65536;
    }
    double near, far;
    MGN_ASSERT_OK(mgn_sliced_w2(x, n, y, n, d, 50, 1, &near));
    MGN_ASSERT_OK(mgn_sliced_w2(far_x, n, far_y, n, d, 50, 1, &far));
    ck_assert_double_eq_tol(near, far, 1e-6 * near);
    free(x), free(y), free(far_x), free(far_y);
}
END_TEST

START_TEST(sliced_refuses_nonsense) {
    float x[] = {1, 2}, y[] = {3, NAN}, huge[] = {FLT_MAX, FLT_MAX, -FLT_MAX, -FLT_MAX};
    double squared = 7;
    MGN_ASSERT_FAILS(mgn_sliced_w2(x, 1, y, 1, 2, 4, 0, &squared), MGN_ERR_NUMERIC, "row 0, column 1");
    MGN_ASSERT_FAILS(mgn_sliced_w2(x, 1, x, 1, 2, 0, 0, &squared), MGN_ERR_ARGUMENT, "one direction");
    MGN_ASSERT_FAILS(mgn_sliced_w2(x, 1, x, 1, 2, INT64_MAX, 0, &squared), MGN_ERR_ARGUMENT, "direction");
    MGN_ASSERT_FAILS(mgn_sliced_w2(x, 0, x, 1, 2, 4, 0, &squared), MGN_ERR_ARGUMENT, "0 x 2");
    MGN_ASSERT_FAILS(mgn_sliced_w2(x, INT64_C(1) << 31, x, 1, 1, 4, 0, &squared), MGN_ERR_ARGUMENT, "2147483647");
    MGN_ASSERT_FAILS(mgn_sliced_w2(huge, 1, huge + 2, 1, 2, 64, 0, &squared), MGN_ERR_NUMERIC, "overflow");
    ck_assert_double_eq(squared, 7);
}
END_TEST

/* ---- errors of maps ---- */

START_TEST(errors_by_hand) {
    const float a[] = {0, 0, 1, 1, 2, 5}, b[] = {3, 4, 1, 1, 2, 4}; /* squared row errors 25, 0, 1 */
    double value;
    MGN_ASSERT_OK(mgn_transport_cost(a, b, 3, 2, &value));
    ck_assert_double_eq_tol(value, 26.0 / 3, 1e-15);
    MGN_ASSERT_OK(mgn_rmse(a, b, 3, 2, &value));
    ck_assert_double_eq_tol(value, sqrt(26.0 / 3), 1e-15);
    MGN_ASSERT_OK(mgn_mae(a, b, 3, 2, &value));
    ck_assert_double_eq_tol(value, 8.0 / 6, 1e-15);
    MGN_ASSERT_OK(mgn_l2_uvp(a, b, 3, 2, 2, &value));
    ck_assert_double_eq_tol(value, 100 * 26.0 / 6, 1e-12);
    MGN_ASSERT_FAILS(mgn_l2_uvp(a, b, 3, 2, 0, &value), MGN_ERR_ARGUMENT, "not 0");
    MGN_ASSERT_FAILS(mgn_l2_uvp(a, b, 3, 2, NAN, &value), MGN_ERR_ARGUMENT, "not ");
    MGN_ASSERT_FAILS(mgn_rmse(a, NULL, 3, 2, &value), MGN_ERR_ARGUMENT, "NULL");
    MGN_ASSERT_FAILS(mgn_mae(a, b, 3, 0, &value), MGN_ERR_ARGUMENT, "3 x 0");
    const float bad[] = {0, 0, 1, INFINITY, 2, 5};
    MGN_ASSERT_FAILS(mgn_transport_cost(a, bad, 3, 2, &value), MGN_ERR_NUMERIC, "row 1, column 1");
}
END_TEST

START_TEST(errors_of_the_closed_form_map) {
    /* Samples moved by the optimal map cost the distance, up to sampling: the two halves of this folder agree. */
    mgn_test_random random = MGN_TEST_RANDOM();
    const int64_t n = 20000;
    float *x = normal_rows(&random, n, 2, 0, 1), *y = malloc((size_t)(2 * n) * sizeof *y);
    double mean[2], cov[4], a[4], b[2], squared, cost;
    MGN_ASSERT_OK(mgn_moments(x, n, 2, false, mean, cov));
    MGN_ASSERT_OK(mgn_bures_map(mean, cov, mean_a, cov_a, 2, a, b));
    MGN_ASSERT_OK(mgn_bures_w2(mean, cov, mean_a, cov_a, 2, &squared));
    MGN_ASSERT_OK(mgn_affine_rows(a, b, x, n, 2, y));
    MGN_ASSERT_OK(mgn_transport_cost(x, y, n, 2, &cost));
    ck_assert_double_eq_tol(cost, squared, 1e-5);
    MGN_ASSERT_OK(mgn_moments(y, n, 2, false, mean, cov));
    assert_near(mean, mean_a, 2, 1e-6);
    assert_near(cov, cov_a, 4, 1e-6);
    free(x);
    free(y);
}
END_TEST

/* ---- threads ---- */

enum { MANY = 60 };

static void everything(const float *x, const float *y, int64_t n, int64_t m, double results[MANY], float *moved) {
    static double mean[140], cov[140 * 140];
    const double a[9] = {1, .5, 0, .5, 2, 0, 0, 0, 1}, b[3] = {1, 2, 3};
    MGN_ASSERT_OK(mgn_moments(x, n, 3, true, results, results + 3));
    MGN_ASSERT_OK(mgn_moments(x, n * 3 / 140, 140, false, mean, cov));
    memcpy(results + 12, cov + 130 * 140 + 115, 30 * sizeof *cov); /* across tiles */
    MGN_ASSERT_OK(mgn_total_variance(x, n, 3, results + 42));
    MGN_ASSERT_OK(mgn_sliced_w2(x, n, y, m, 3, 17, 3, results + 43));
    MGN_ASSERT_OK(mgn_transport_cost(x, y, m, 3, results + 44));
    MGN_ASSERT_OK(mgn_mae(x, y, m, 3, results + 45));
    MGN_ASSERT_OK(mgn_affine_rows(a, b, x, n, 3, moved));
}

START_TEST(thread_counts_do_not_show) {
    mgn_test_random random = MGN_TEST_RANDOM();
    const int64_t n = 40000, m = 31111;
    float *x = normal_rows(&random, n, 3, 1, 1), *y = normal_rows(&random, m, 3, 0, 2);
    float *moved = malloc((size_t)(3 * n) * sizeof *moved), *others = malloc((size_t)(3 * n) * sizeof *others);
    double one[MANY] = {0};
    mgn_set_threads(1);
    everything(x, y, n, m, one, moved);
    for (int threads = 2; threads <= 5; threads++) {
        double several[MANY] = {0};
        mgn_set_threads(threads);
        everything(x, y, n, m, several, others);
        ck_assert_mem_eq(one, several, sizeof one);
        ck_assert_mem_eq(moved, others, (size_t)(3 * n) * sizeof *moved);
    }
    mgn_set_threads(0);
    free(x), free(y), free(moved), free(others);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("ot");
    TCase *moments = tcase_create("moments"), *gaussians = tcase_create("gaussians"), *sliced = tcase_create("sliced");
    tcase_add_test(moments, moments_match_long_double);
    tcase_add_test(moments, moments_keep_their_digits_far_from_zero);
    tcase_add_test(moments, moments_of_degenerate_rows);
    tcase_add_test(gaussians, eigenvectors_rebuild_the_matrix);
    tcase_add_test(gaussians, roots_square_to_the_matrix);
    tcase_add_test(gaussians, roots_of_singular_matrices);
    tcase_add_test(gaussians, bures_by_hand);
    tcase_add_test(gaussians, bures_of_commuting_covariances);
    tcase_add_test(gaussians, bures_map_carries_one_gaussian_to_the_other);
    tcase_add_test(gaussians, bures_with_singular_covariances);
    tcase_add_test(gaussians, bures_of_low_rank_covariances);
    tcase_add_test(gaussians, affine_rows_apply_the_map);
    tcase_add_test(gaussians, kl_by_hand);
    tcase_add_test(sliced, sliced_is_exact_in_one_dimension);
    tcase_add_test(sliced, sliced_of_translated_clouds);
    tcase_add_test(sliced, sliced_of_repeated_points_is_the_same);
    tcase_add_test(sliced, sliced_keeps_its_digits_far_from_zero);
    tcase_add_test(sliced, sliced_refuses_nonsense);
    tcase_add_test(sliced, errors_by_hand);
    tcase_add_test(sliced, errors_of_the_closed_form_map);
    tcase_add_test(sliced, thread_counts_do_not_show);
    suite_add_tcase(suite, moments);
    suite_add_tcase(suite, gaussians);
    suite_add_tcase(suite, sliced);
    return mgn_test_main(suite);
}
