/* Closed forms of optimal transport, and the metrics that maps are judged by.
 *
 * Samples are float rows (n, d), row-major, n >= 1 and d >= 1; means are double (d), covariances double (d, d). Sums
 * are made in double over blocks of fixed size, in a fixed order, over mgn_threads() threads: results do not
 * depend on the thread count. All outputs belong to the caller; no output may overlap an input.
 *
 * Errors of all: ARGUMENT (NULL, n or d below 1, a size that cannot be addressed), MEMORY, and NUMERIC (NaN or an
 * infinity in the input, or a matrix that is not what the formula needs). Outputs are not touched on failure. */
#ifndef MGN_OT_H
#define MGN_OT_H

#include <mgn/core.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- moments ---- */

/** mean = sum_i x_i / n;  covariance = sum_i (x_i - mean)(x_i - mean)^T / (n - 1 if unbiased, else n), symmetric.
 *  Two passes, so that a mean far above the spread costs no digits. `covariance` may be NULL.
 *  Errors: also ARGUMENT for unbiased with n = 1. */
MGN_API mgn_status mgn_moments(const float *rows, int64_t n, int64_t d, bool unbiased, double *mean,
                               double *covariance);

/** trace of the biased covariance: mean squared distance of the rows from their mean. */
MGN_API mgn_status mgn_total_variance(const float *rows, int64_t n, int64_t d, double *variance);

/* ---- symmetric matrices (only (a + a^T) / 2 counts) ---- */

/** a = sum_k values[k] v_k v_k^T, values ascending; row k of `vectors` (d, d) is the unit vector v_k. */
MGN_API mgn_status mgn_symmetric_eigen(const double *a, int64_t d, double *values, double *vectors);

/** The symmetric root a^(1/2), and the pseudo-inverse a^(-1/2) of it: 0 on directions whose eigenvalue is at most 1e-12
 *  of the largest. Negative eigenvalues that rounding explains count as 0. Either output may be NULL.
 *  Errors: also NUMERIC where an eigenvalue is below -1e-6 times the largest magnitude. */
MGN_API mgn_status mgn_spd_sqrt(const double *a, int64_t d, double *root, double *inverse_root);

/* ---- Gaussians N(mean1, cov1) and N(mean2, cov2) ---- */

/** Squared 2-Wasserstein (Bures) distance |m1 - m2|^2 + tr(S1 + S2 - 2 (S1^1/2 S2 S1^1/2)^1/2). Covariances may be
 *  singular. */
MGN_API mgn_status mgn_bures_w2(const double *mean1, const double *cov1, const double *mean2, const double *cov2,
                                int64_t d, double *squared);

/** The optimal map from the first to the second, T(x) = A x + b, with
 *  A = S1^-1/2 (S1^1/2 S2 S1^1/2)^1/2 S1^-1/2 (symmetric, positive semidefinite) and b = m2 - A m1.
 *  Where S1 is singular the inverse is the pseudo-inverse of mgn_spd_sqrt: T is constant along its null directions. */
MGN_API mgn_status mgn_bures_map(const double *mean1, const double *cov1, const double *mean2, const double *cov2,
                                 int64_t d, double *a, double *b);

/** out_i = A x_i + b for n float rows, computed in double. `out` may be `rows`. */
MGN_API mgn_status mgn_affine_rows(const double *a, const double *b, const float *rows, int64_t n, int64_t d,
                                   float *out);

/** KL(N1 || N2) = (tr(S2^-1 S1) + (m2 - m1)^T S2^-1 (m2 - m1) - d + log det S2 - log det S1) / 2, in nats.
 *  Errors: also NUMERIC where a covariance is not positive definite (the divergence is infinite). */
MGN_API mgn_status mgn_gaussian_kl(const double *mean1, const double *cov1, const double *mean2, const double *cov2,
                                   int64_t d, double *nats);

/** The `count` <= d leading principal axes of a covariance (d, d): unit vectors in the rows of `axes` (count, d), that of
 *  the largest variance first, and the variances along them, `variances` (count), which may be NULL. */
MGN_API mgn_status mgn_principal_axes(const double *covariance, int64_t d, int64_t count, double *variances,
                                      double *axes);

/** Squared Frechet distance of the clouds x (n, d) and y (m, d): mgn_bures_w2 of their moments within the `axes` leading
 *  principal axes of y; 0: all d. What generated pictures are judged by, y being held-out ones. */
MGN_API mgn_status mgn_frechet(const float *x, int64_t n, const float *y, int64_t m, int64_t d, int64_t axes,
                               double *squared);

/* ---- measures on few points ---- */

/** k-means of rows (n, d): `centres` (k, d), k <= n, near which the rows lie, the fraction of the rows that each is the
 *  nearest one of, `masses` (k), and the mean squared distance to it, `distortion`: the measure on k points that is
 *  nearest in W2, as far as Lloyd's iteration finds it from k random rows in at most `steps` steps. It stops where a step
 *  gains less than 1e-4 of the distortion. `masses` and `distortion` may be NULL. Deterministic in the seed.
 *  Errors: also INTERRUPTED. */
MGN_API mgn_status mgn_kmeans(const float *rows, int64_t n, int64_t d, int64_t k, int64_t steps, uint64_t seed,
                              float *centres, double *masses, double *distortion);

/* ---- sliced Wasserstein ---- */

/** Squared sliced 2-Wasserstein distance of the clouds x (n, d) and y (m, d): the mean, over `directions` >= 1 uniform
 *  unit vectors u, of integral_0^1 (F^-1(t) - G^-1(t))^2 dt, F and G being the empirical distributions of x.u and y.u.
 *  The integral is exact for any n and m: both step functions are walked together. Directions are normals of the
 *  Philox generator under `seed`, so the same seed gives the same number; for d = 1 one direction says everything and
 *  one is used. Projections are centred in double and sorted as floats by radix: relative error about 1e-7 of the
 *  spread. No more than 2^31 - 1 points a cloud. */
MGN_API mgn_status mgn_sliced_w2(const float *x, int64_t n, const float *y, int64_t m, int64_t d, int64_t directions,
                                 uint64_t seed, double *squared);

/* ---- exact distance between clouds ---- */

/** Squared 2-Wasserstein distance of two clouds of n points each, x (n, d) and y (n, d): the least
 *  mean_i |x_i - y_s(i)|^2 over all permutations s. Exact: the dual solution that proves it is checked against all
 *  pairs, to 1e-12 of the size of the costs. `permutation` (n, may be NULL) gets an optimal s: row i of x goes to row
 *  permutation[i] of y. Up to 16384 points; memory grows with n d, not with n^2, but
 *  for a matrix of costs of up to 512 MiB where d is 32 or more. Some tenths of a second for 4096 points in 3
 *  dimensions.
 *  Errors: also ARGUMENT (more points), NUMERIC (coordinates so different in size that double precision proves nothing),
 *  INTERRUPTED. */
MGN_API mgn_status mgn_assignment_w2(const float *x, const float *y, int64_t n, int64_t d, int64_t *permutation,
                                     double *squared);

/* ---- errors of maps: a and b are (n, d), row i against row i ---- */

/** mean_i |a_i - b_i|^2: with a = x and b = g(x) the quadratic transport cost of the map g. */
MGN_API mgn_status mgn_transport_cost(const float *a, const float *b, int64_t n, int64_t d, double *cost);

/** sqrt(mean_i |a_i - b_i|^2), the Euclidean row error (not divided by d). */
MGN_API mgn_status mgn_rmse(const float *a, const float *b, int64_t n, int64_t d, double *rmse);

/** mean over rows and components of |a_ij - b_ij|. */
MGN_API mgn_status mgn_mae(const float *a, const float *b, int64_t n, int64_t d, double *mae);

/** L2-UVP in percent: 100 mean_i |T(x_i) - T*(x_i)|^2 / variance, `variance` > 0 being the total variance of the target
 *  distribution (d where its components are standardised, or mgn_total_variance of target rows). */
MGN_API mgn_status mgn_l2_uvp(const float *mapped, const float *truth, int64_t n, int64_t d, double variance,
                              double *percent);

#ifdef __cplusplus
}
#endif
#endif
