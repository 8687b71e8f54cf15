/* The quadratic part of a map onto prototypes, in closed form.
 *
 * Let s(x) = W^T p(x), x ~ N(0, I), with covariance S and mean Jacobian M = beta W^T (diag(E p) - E p p^T) W, which by
 * Stein's identity is Cov(x, s). The covariance of s + A x is S + M A + A M + A^2 = S - M^2 + (A + M)^2. It is S + D for
 * A = (M^2 + D)^1/2 - M, and A >= 0 because the root is monotone on positive semidefinite matrices. */
#include <cblas.h>
#include <math.h>
#include <string.h>

#include "ot/ot.h"
#include "train/semidiscrete.h"

/* out = W^T B W for a symmetric B (h, h); `work` is (h, d). */
static void sandwich(const mgn_prototypes *p, const double *B, double *work, double *out) {
    const int h = (int)p->h, d = (int)p->d;
    cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, h, d, h, 1, B, h, p->W, d, 0, work, d);
    cblas_dgemm(CblasRowMajor, CblasTrans, CblasNoTrans, d, d, h, 1, p->W, d, work, d, 0, out, d);
}

/* The covariance of s, and its mean Jacobian, (d, d) each; B (h, h) and work (h, d) to work in. */
static void moments_of_softmax(const mgn_prototypes *p, double *B, double *work, double *covariance, double *jacobian) {
    const int64_t h = p->h;
    for (int64_t i = 0; i < h; i++)
        for (int64_t j = 0; j < h; j++) B[i * h + j] = p->products[i * h + j] - p->shares[i] * p->shares[j];
    sandwich(p, B, work, covariance);
    for (int64_t i = 0; i < h * h; i++) B[i] = -p->beta * p->products[i];
    for (int64_t i = 0; i < h; i++) B[i * h + i] += p->beta * p->shares[i];
    sandwich(p, B, work, jacobian);
}

/* D += sum of `fraction` times the positive part of `missing` (d, d) within the leading axes of the data. */
static mgn_status add_missing(const mgn_prototypes *p, const double *missing, double fraction, int64_t axes,
                              double *D) {
    const int64_t d = p->d, few = axes * axes;
    double *block = mgn_alloc_aligned((size_t)(2 * axes * d + 2 * few + axes), sizeof *block);
    if (!block) return MGN_ERR_MEMORY;
    double *directions = block, *work = block + axes * d, *within = work + axes * d, *vectors = within + few,
           *values = vectors + few;
    mgn_status status = mgn_principal_axes(p->data_covariance, d, axes, NULL, directions);
    if (status == MGN_OK) {
        mgn_within_axes(missing, directions, d, axes, work, within);
        status = mgn_symmetric_eigen(within, axes, values, vectors);
    }
    if (status == MGN_OK) {
        /* work = the eigenvectors in d dimensions, each times the root of what is to be added along it. */
        for (int64_t k = 0; k < axes; k++)
            cblas_dscal((int)axes, sqrt(fraction * fmax(values[k], 0)), vectors + k * axes, 1);
        cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (int)axes, (int)d, (int)axes, 1, vectors, (int)axes,
                    directions, (int)d, 0, work, (int)d);
        cblas_dgemm(CblasRowMajor, CblasTrans, CblasNoTrans, (int)d, (int)d, (int)axes, 1, work, (int)d, work, (int)d,
                    1, D, (int)d);
    }
    mgn_free(block);
    return status;
}

/* V with V^T V = (M^2 + D)^1/2 - M, from M = `jacobian` and D + M^2 = `sum`; `vectors` (d, d) and `values` (d) to work in. */
static mgn_status find_root(mgn_prototypes *p, const double *jacobian, double *sum, double *vectors, double *values) {
    const int64_t d = p->d;
    MGN_TRY(mgn_spd_sqrt(sum, d, vectors, NULL));
    for (int64_t i = 0; i < d * d; i++) sum[i] = vectors[i] - jacobian[i];
    MGN_TRY(mgn_symmetric_eigen(sum, d, values, vectors));
    for (int64_t k = 0; k < d; k++)
        for (int64_t i = 0; i < d; i++) p->V[k * d + i] = sqrt(fmax(values[k], 0)) * vectors[k * d + i];
    return MGN_OK;
}

mgn_status mgn_restore_covariance(mgn_prototypes *p, double fraction, int64_t axes) {
    const int64_t d = p->d, h = p->h, square = d * d;
    double *block = mgn_alloc_aligned((size_t)(h * h + h * d + 3 * square + d), sizeof *block);
    if (!block) return MGN_ERR_MEMORY;
    double *B = block, *work = B + h * h, *covariance = work + h * d, *jacobian = covariance + square,
           *sum = jacobian + square, *values = sum + square;
    moments_of_softmax(p, B, work, covariance, jacobian);
    for (int64_t i = 0; i < square; i++) covariance[i] = p->data_covariance[i] - covariance[i]; /* what is missing */
    mgn_square_product(d, jacobian, jacobian, sum);
    mgn_status status = add_missing(p, covariance, fraction, axes, sum);
    if (status == MGN_OK) status = find_root(p, jacobian, sum, covariance, values);
    memcpy(p->a, p->data_mean, (size_t)d * sizeof *p->a);
    cblas_dgemv(CblasRowMajor, CblasTrans, (int)h, (int)d, -1, p->W, (int)d, p->shares, 1, 1, p->a, 1);
    mgn_free(block);
    return status;
}
