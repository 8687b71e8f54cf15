/* Optimal transport and divergence between Gaussians.
 *
 * With the roots R1, R2 of the covariances and the singular values s and right vectors v of R2 R1,
 * (R1 S2 R1)^1/2 = sum_k s_k v_k v_k^T. Taking it from the singular value decomposition, and not as the root of the
 * product, keeps all digits: the root of an eigenvalue with an error of 1e-16 has one of 1e-8. */
#include "ot/ot.h"

#include <cblas.h>
#include <lapacke.h>
#include <math.h>
#include <string.h>

#include "core/parallel.h"

enum {
    BLOCK_ROWS = 256,
    FEW_COLUMNS = 32 /* above this the product is BLAS's job */
};

static mgn_status check_pair(const char *what, const double *mean1, const double *cov1, const double *mean2,
                             const double *cov2, int64_t d) {
    MGN_TRY(mgn_check_order(what, d));
    if (!mean1 || !cov1 || !mean2 || !cov2)
        return mgn_fail(MGN_ERR_ARGUMENT, "%s: two means and two covariances were expected, not NULL", what);
    MGN_TRY(mgn_check_finite(what, mean1, d));
    MGN_TRY(mgn_check_finite(what, mean2, d));
    MGN_TRY(mgn_check_finite(what, cov1, d * d));
    return mgn_check_finite(what, cov2, d * d);
}

/* The decomposition of R2 R1: singular values `s` (d); row k of `v` (d, d) is the right vector of s[k]. Without vectors
 * `v` is used as working space. `inverse1` (pseudo-inverse root of cov1) may be NULL. */
static mgn_status decompose(const char *what, const double *cov1, const double *cov2, int64_t d, bool vectors,
                            double *s, double *v, double *inverse1) {
    const size_t square = (size_t)(d * d);
    double *work = mgn_alloc_aligned(3 * square, sizeof *work);
    if (!work) return MGN_ERR_MEMORY;
    double *root1 = work, *root2 = work + square, *product = work + 2 * square;
    mgn_status status = mgn_spd_sqrt(cov1, d, root1, inverse1);
    if (status == MGN_OK) status = mgn_spd_sqrt(cov2, d, root2, NULL);
    if (status == MGN_OK) {
        /* In column order LAPACK sees the transpose, whose left vectors are the right ones wanted here. */
        mgn_square_product(d, root2, root1, product);
        const lapack_int order = (lapack_int)d;
        const lapack_int info = LAPACKE_dgesdd(LAPACK_COL_MAJOR, vectors ? 'A' : 'N', order, order, product, order, s,
                                               v, order, root1, order);
        if (info == LAPACK_WORK_MEMORY_ERROR)
            status = mgn_fail(MGN_ERR_MEMORY, "%s: out of memory for matrices of order %lld", what, (long long)d);
        else if (info != 0)
            status = mgn_fail(MGN_ERR_NUMERIC, "%s: the singular values of a matrix of order %lld did not converge",
                              what, (long long)d);
    }
    mgn_free(work);
    return status;
}

mgn_status mgn_bures_w2(const double *mean1, const double *cov1, const double *mean2, const double *cov2, int64_t d,
                        double *squared) {
    MGN_TRY(check_pair("Bures distance", mean1, cov1, mean2, cov2, d));
    if (!squared) return mgn_fail(MGN_ERR_ARGUMENT, "Bures distance: a place for the result was expected, not NULL");
    double *s = mgn_alloc_aligned((size_t)(d * d + d), sizeof *s);
    if (!s) return MGN_ERR_MEMORY;
    const mgn_status status = decompose("Bures distance", cov1, cov2, d, false, s, s + d, NULL);
    if (status == MGN_OK) {
        double means = 0, spreads = 0;
        for (int64_t i = 0; i < d; i++) {
            means += (mean1[i] - mean2[i]) * (mean1[i] - mean2[i]);
            spreads += cov1[i * d + i] + cov2[i * d + i] - 2 * s[i];
        }
        *squared = means + fmax(spreads, 0);
    }
    mgn_free(s);
    return status;
}

mgn_status mgn_bures_map(const double *mean1, const double *cov1, const double *mean2, const double *cov2, int64_t d,
                         double *a, double *b) {
    MGN_TRY(check_pair("Bures map", mean1, cov1, mean2, cov2, d));
    if (!a || !b) return mgn_fail(MGN_ERR_ARGUMENT, "Bures map: places for A and b were expected, not NULL");
    const size_t square = (size_t)(d * d);
    double *work = mgn_alloc_aligned(3 * square + (size_t)d, sizeof *work);
    if (!work) return MGN_ERR_MEMORY;
    double *v = work, *inverse = work + square, *u = work + 2 * square, *s = work + 3 * square;
    const mgn_status status = decompose("Bures map", cov1, cov2, d, true, s, v, inverse);
    if (status == MGN_OK) {
        /* A = sum_k u_k u_k^T with u_k = sqrt(s_k) S1^-1/2 v_k: positive semidefinite however it rounds. */
        for (int64_t k = 0; k < d; k++)
            for (int64_t j = 0; j < d; j++) v[k * d + j] *= sqrt(s[k]);
        mgn_square_product(d, v, inverse, u);
        const int order = (int)d;
        cblas_dsyrk(CblasRowMajor, CblasLower, CblasTrans, order, order, 1, u, order, 0, a, order);
        for (int64_t i = 0; i < d; i++)
            for (int64_t j = 0; j < i; j++) a[j * d + i] = a[i * d + j];
        for (int64_t i = 0; i < d; i++) {
            double moved = 0;
            for (int64_t j = 0; j < d; j++) moved += a[i * d + j] * mean1[j];
            b[i] = mean2[i] - moved;
        }
    }
    mgn_free(work);
    return status;
}

/* `block` holds count x d inputs, then count x d outputs. */
static void affine_block(const double *a, const double *b, const float *rows, int64_t count, int64_t d, double *block,
                         float *out) {
    double *in = block, *result = block + BLOCK_ROWS * d;
    for (int64_t i = 0; i < count * d; i++) in[i] = (double)rows[i];
    for (int64_t i = 0; i < count; i++) memcpy(result + i * d, b, (size_t)d * sizeof *b);
    if (d > FEW_COLUMNS) {
        const int order = (int)d;
        cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (int)count, order, order, 1, in, order, a, order, 1,
                    result, order);
    } else {
        for (int64_t i = 0; i < count; i++)
            for (int64_t j = 0; j < d; j++)
                for (int64_t k = 0; k < d; k++) result[i * d + j] += a[j * d + k] * in[i * d + k];
    }
    for (int64_t i = 0; i < count * d; i++) out[i] = (float)result[i];
}

typedef struct affine_job {
    const double *a, *b;
    const float *rows;
    int64_t n, d;
    double *blocks; /* of each thread */
    float *out;
} affine_job;

static void affine_chunk(void *context, int64_t chunk, int thread) {
    const affine_job *job = context;
    const int64_t start = chunk * BLOCK_ROWS, d = job->d;
    affine_block(job->a, job->b, job->rows + start * d, MGN_MIN(BLOCK_ROWS, job->n - start), d,
                 job->blocks + thread * 2 * BLOCK_ROWS * d, job->out + start * d);
}

mgn_status mgn_affine_rows(const double *a, const double *b, const float *rows, int64_t n, int64_t d, float *out) {
    MGN_TRY(mgn_check_rows("affine map", rows, n, d));
    MGN_TRY(mgn_check_order("affine map", d));
    if (!a || !b || !out)
        return mgn_fail(MGN_ERR_ARGUMENT, "affine map: A, b and a place for the rows were expected, not NULL");
    const int threads = mgn_threads_for(n * d);
    double *blocks = mgn_alloc_aligned((size_t)threads * (size_t)(2 * BLOCK_ROWS * d), sizeof *blocks);
    if (!blocks) return MGN_ERR_MEMORY;
    mgn_parallel(threads, (n + BLOCK_ROWS - 1) / BLOCK_ROWS, affine_chunk,
                 &(affine_job){a, b, rows, n, d, blocks, out});
    mgn_free(blocks);
    return MGN_OK;
}

/* The lower factor L (row-major, 0 above) of cov = L L^T, and log det cov. */
static mgn_status factor(const double *cov, int64_t d, const char *which, double *lower, double *log_det) {
    for (int64_t i = 0; i < d; i++)
        for (int64_t j = 0; j <= i; j++) lower[i * d + j] = 0.5 * (cov[i * d + j] + cov[j * d + i]);
    /* The upper factor in column order is the lower one in row order. */
    const lapack_int info = LAPACKE_dpotrf(LAPACK_COL_MAJOR, 'U', (lapack_int)d, lower, (lapack_int)d);
    if (info != 0)
        return mgn_fail(
            MGN_ERR_NUMERIC,
            "KL divergence: the %s covariance is not positive definite (minor of order %d), so it is infinite", which,
            (int)info);
    *log_det = 0;
    for (int64_t i = 0; i < d; i++) *log_det += 2 * log(lower[i * d + i]);
    return MGN_OK;
}

mgn_status mgn_gaussian_kl(const double *mean1, const double *cov1, const double *mean2, const double *cov2, int64_t d,
                           double *nats) {
    MGN_TRY(check_pair("KL divergence", mean1, cov1, mean2, cov2, d));
    if (!nats) return mgn_fail(MGN_ERR_ARGUMENT, "KL divergence: a place for the result was expected, not NULL");
    const size_t square = (size_t)(d * d);
    double *work = mgn_alloc_aligned(2 * square + (size_t)d, sizeof *work);
    if (!work) return MGN_ERR_MEMORY;
    double *lower1 = work, *lower2 = work + square, *difference = work + 2 * square, log_det1 = 0, log_det2 = 0;
    mgn_status status = factor(cov1, d, "first", lower1, &log_det1);
    if (status == MGN_OK) status = factor(cov2, d, "second", lower2, &log_det2);
    if (status == MGN_OK) {
        const int order = (int)d;
        for (int64_t i = 0; i < d; i++) difference[i] = mean2[i] - mean1[i];
        cblas_dtrsm(CblasRowMajor, CblasLeft, CblasLower, CblasNoTrans, CblasNonUnit, order, order, 1, lower2, order,
                    lower1, order);
        cblas_dtrsv(CblasRowMajor, CblasLower, CblasNoTrans, CblasNonUnit, order, lower2, order, difference, 1);
        double sum = log_det2 - log_det1 - (double)d;
        for (size_t i = 0; i < square; i++) sum += lower1[i] * lower1[i];
        for (int64_t i = 0; i < d; i++) sum += difference[i] * difference[i];
        *nats = fmax(0.5 * sum, 0);
    }
    mgn_free(work);
    return status;
}
