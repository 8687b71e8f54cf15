/* Eigenvalues and roots of symmetric matrices, by LAPACK's divide and conquer.
 *
 * A symmetric matrix reads the same in row and column order, so LAPACK is called in its own (column) order without any
 * transposition, and its eigenvectors come out as rows. */
#include "ot/ot.h"

#include <cblas.h>
#include <float.h>
#include <lapacke.h>
#include <math.h>
#include <string.h>

/* Directions whose eigenvalue is at most this fraction of the largest are null for the inverse root: below it, what
 * float samples say of a direction is their rounding. */
#define NULL_FRACTION 1e-12
/* Negative eigenvalues to this fraction are rounding (of covariances that went through float); beyond it, errors. */
#define NEGATIVE_FRACTION 1e-6

mgn_status mgn_symmetric_eigen(const double *a, int64_t d, double *values, double *vectors) {
    MGN_TRY(mgn_check_order("eigenvalues", d));
    if (!a || !values || !vectors)
        return mgn_fail(MGN_ERR_ARGUMENT, "eigenvalues: a matrix and places for the results were expected, not NULL");
    MGN_TRY(mgn_check_finite("eigenvalues", a, d * d));
    double *work = mgn_alloc_aligned((size_t)(d * d + d), sizeof *work);
    if (!work) return MGN_ERR_MEMORY;
    double *found = work + d * d;
    for (int64_t i = 0; i < d; i++)
        for (int64_t j = 0; j <= i; j++) work[i * d + j] = work[j * d + i] = 0.5 * a[i * d + j] + 0.5 * a[j * d + i];
    const lapack_int info = LAPACKE_dsyevd(LAPACK_COL_MAJOR, 'V', 'U', (lapack_int)d, work, (lapack_int)d, found);
    mgn_status status = MGN_OK;
    if (info == LAPACK_WORK_MEMORY_ERROR)
        status = mgn_fail(MGN_ERR_MEMORY, "eigenvalues: out of memory for a matrix of order %lld", (long long)d);
    else if (info != 0)
        status = mgn_fail(MGN_ERR_NUMERIC, "eigenvalues: the iteration did not converge for a matrix of order %lld",
                          (long long)d);
    if (status == MGN_OK) {
        memcpy(vectors, work, (size_t)(d * d) * sizeof *work);
        memcpy(values, found, (size_t)d * sizeof *work);
    }
    mgn_free(work);
    return status;
}

/* out = sum_k scale[k] v_k v_k^T, exactly symmetric; `scaled` is (d, d) to work in. */
static void compose(int64_t d, const double *vectors, const double *scale, double *scaled, double *out) {
    const int order = (int)d;
    for (int64_t k = 0; k < d; k++)
        for (int64_t j = 0; j < d; j++) scaled[k * d + j] = scale[k] * vectors[k * d + j];
    cblas_dgemm(CblasRowMajor, CblasTrans, CblasNoTrans, order, order, order, 1, vectors, order, scaled, order, 0, out,
                order);
    for (int64_t i = 0; i < d; i++)
        for (int64_t j = 0; j < i; j++) out[i * d + j] = out[j * d + i] = 0.5 * (out[i * d + j] + out[j * d + i]);
}

mgn_status mgn_spd_sqrt(const double *a, int64_t d, double *root, double *inverse_root) {
    MGN_TRY(mgn_check_order("matrix root", d));
    double *work = mgn_alloc_aligned((size_t)(2 * d * d + 2 * d), sizeof *work);
    if (!work) return MGN_ERR_MEMORY;
    double *vectors = work, *scaled = work + d * d, *values = scaled + d * d, *scale = values + d;
    mgn_status status = mgn_symmetric_eigen(a, d, values, vectors);
    const double largest = fmax(fabs(values[0]), fabs(values[d - 1]));
    if (status == MGN_OK && values[0] < -NEGATIVE_FRACTION * largest)
        status =
            mgn_fail(MGN_ERR_NUMERIC,
                     "matrix root: a positive semidefinite matrix was expected, but its eigenvalues go from %g to %g",
                     values[0], values[d - 1]);
    if (status == MGN_OK) {
        /* What is below the rounding of the decomposition counts as 0: its root would be far above the rounding. */
        const double noise = (double)d * DBL_EPSILON * largest;
        for (int64_t k = 0; k < d; k++) scale[k] = values[k] > noise ? sqrt(values[k]) : 0;
        if (root) compose(d, vectors, scale, scaled, root);
        const double smallest = fmax(noise, NULL_FRACTION * largest);
        for (int64_t k = 0; k < d; k++) scale[k] = values[k] > smallest ? 1 / sqrt(values[k]) : 0;
        if (inverse_root) compose(d, vectors, scale, scaled, inverse_root);
    }
    mgn_free(work);
    return status;
}
