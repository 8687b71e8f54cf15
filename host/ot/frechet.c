/* The Frechet distance between two clouds: the Bures distance of their moments, within the leading principal axes of the
 * second. Axes that carry next to nothing of the data say nothing about how alike two clouds look, but the roots of their
 * variances add up; so generated pictures are compared within a few dozen axes. */
#include "ot/ot.h"

#include <cblas.h>
#include <string.h>

mgn_status mgn_principal_axes(const double *covariance, int64_t d, int64_t count, double *variances, double *axes) {
    MGN_TRY(mgn_check_order("principal axes", d));
    if (count < 1 || count > d)
        return mgn_fail(MGN_ERR_ARGUMENT, "principal axes: 1 to %lld of them were expected, not %lld", (long long)d,
                        (long long)count);
    double *work = mgn_alloc_aligned((size_t)(d * d + d), sizeof *work);
    if (!work) return MGN_ERR_MEMORY;
    const mgn_status status = mgn_symmetric_eigen(covariance, d, work + d * d, work);
    for (int64_t k = 0; k < count && status == MGN_OK; k++) { /* the largest first */
        memcpy(axes + k * d, work + (d - 1 - k) * d, (size_t)d * sizeof *axes);
        if (variances) variances[k] = work[d * d + d - 1 - k];
    }
    mgn_free(work);
    return status;
}

void mgn_within_axes(const double *a, const double *axes, int64_t d, int64_t count, double *work, double *within) {
    const int n = (int)d, k = (int)count;
    cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, k, n, n, 1, axes, n, a, n, 0, work, n);
    cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasTrans, k, k, n, 1, work, n, axes, n, 0, within, k);
}

/* What the distance needs room for. */
typedef struct scratch {
    double *mean[2], *covariance[2]; /* (d), (d, d) */
    double *axes, *product;          /* (count, d) */
    double *short_mean[2], *short_covariance[2];
} scratch;

static mgn_status measure(const scratch *s, int64_t d, int64_t axes, double *squared) {
    MGN_TRY(mgn_principal_axes(s->covariance[1], d, axes, NULL, s->axes));
    for (int k = 0; k < 2; k++) {
        mgn_within_axes(s->covariance[k], s->axes, d, axes, s->product, s->short_covariance[k]);
        cblas_dgemv(CblasRowMajor, CblasNoTrans, (int)axes, (int)d, 1, s->axes, (int)d, s->mean[k], 1, 0,
                    s->short_mean[k], 1);
    }
    return mgn_bures_w2(s->short_mean[0], s->short_covariance[0], s->short_mean[1], s->short_covariance[1], axes,
                        squared);
}

mgn_status mgn_frechet(const float *x, int64_t n, const float *y, int64_t m, int64_t d, int64_t axes, double *squared) {
    MGN_TRY(mgn_check_order("Frechet distance", d));
    if (!squared) return mgn_fail(MGN_ERR_ARGUMENT, "Frechet distance: a place for the result was expected, not NULL");
    if (axes < 0 || axes > d)
        return mgn_fail(MGN_ERR_ARGUMENT, "Frechet distance: 1 to %lld axes, or 0 for all, were expected, not %lld",
                        (long long)d, (long long)axes);
    if (axes == 0) axes = d;
    const int64_t square = d * d, few = axes * axes;
    double *block = mgn_alloc_aligned((size_t)(2 * (d + square) + 2 * axes * d + 2 * (axes + few)), sizeof *block);
    if (!block) return MGN_ERR_MEMORY;
    scratch s = {.axes = block + 2 * (d + square)};
    s.product = s.axes + axes * d;
    for (int k = 0; k < 2; k++) {
        s.mean[k] = block + k * (d + square);
        s.covariance[k] = s.mean[k] + d;
        s.short_mean[k] = s.product + axes * d + k * (axes + few);
        s.short_covariance[k] = s.short_mean[k] + axes;
    }
    mgn_status status = mgn_moments(x, n, d, false, s.mean[0], s.covariance[0]);
    if (status == MGN_OK) status = mgn_moments(y, m, d, false, s.mean[1], s.covariance[1]);
    if (status == MGN_OK) status = measure(&s, d, axes, squared);
    mgn_free(block);
    return status;
}
