/* What the Jacobians of a map are like over data: the numbers by which a map is seen to be monotone, or not.
 *
 * Jacobians come from the device in pieces, so that any number of rows fits into memory; eigenvalues are found row by row
 * in double, and everything is added up in the order of the rows: the result does not depend on the thread count. */
#include <float.h>
#include <lapacke.h>
#include <math.h>

#include "core/parallel.h"
#include "model/model.h"

/* Numbers in one piece of Jacobians, and the rows that a thread takes at a time. */
enum { PIECE = 1 << 20, ROWS_AT_A_TIME = 64 };

/* An eigenvalue above -rounding_steps d epsilon times the row's largest magnitude counts as 0. */
static const double rounding_steps = 64;

/* One piece while its rows are being worked off. */
typedef struct piece {
    int64_t rows, d;
    int64_t first, end; /* the rows that are this process's */
    double *jacobian;   /* (rows, d, d), which becomes work space */
    double *values;     /* (rows, d) eigenvalues, ascending */
    double *asymmetry;  /* (rows) */
    double *work;       /* `work_size` a thread */
    lapack_int work_size;
    int64_t failed; /* a row whose iteration did not converge; -1 */
} piece;

/* Leaves the symmetric part in place of the Jacobian; the largest |J_ij - J_ji| over the largest |J_ij|. */
static double symmetrise(double *J, int64_t d) {
    double most = 0, off = 0;
    for (int64_t i = 0; i < d; i++)
        for (int64_t j = 0; j <= i; j++) {
            double a = J[i * d + j], b = J[j * d + i];
            most = fmax(most, fmax(fabs(a), fabs(b)));
            off = fmax(off, fabs(a - b));
            J[i * d + j] = J[j * d + i] = 0.5 * a + 0.5 * b;
        }
    return most > 0 ? off / most : 0;
}

static void decompose_rows(void *context, int64_t chunk, int thread) {
    piece *p = context;
    const lapack_int d = (lapack_int)p->d;
    const int64_t begin = p->first + chunk * ROWS_AT_A_TIME, end = MGN_MIN(begin + ROWS_AT_A_TIME, p->end);
    for (int64_t r = begin; r < end; r++) {
        double *J = p->jacobian + r * p->d * p->d;
        p->asymmetry[r] = symmetrise(J, p->d);
        lapack_int info = LAPACKE_dsyev_work(LAPACK_COL_MAJOR, 'N', 'U', d, J, d, p->values + r * p->d,
                                             p->work + (int64_t)thread * p->work_size, p->work_size);
        if (info != 0) __atomic_store_n(&p->failed, r, __ATOMIC_RELAXED);
    }
}

/* What has been seen so far. */
typedef struct tally {
    mgn_jacobian_stats stats;
    double logdet;
} tally;

static void count_row(tally *t, const double *values, int64_t d, double asymmetry, double rounding) {
    mgn_jacobian_stats *s = &t->stats;
    const double low = values[0], high = values[d - 1], scale = fmax(fabs(low), fabs(high));
    if (s->rows == 0 || low < s->smallest) {
        s->smallest = low;
        s->smallest_row = s->rows;
    }
    s->largest = s->rows == 0 ? high : fmax(s->largest, high);
    s->asymmetry = fmax(s->asymmetry, asymmetry);
    s->nonmonotone += low < -rounding * scale;
    if (low > 0) {
        for (int64_t j = 0; j < d; j++) t->logdet += log(values[j]);
        s->definite++;
    }
    s->rows++;
}

static mgn_status decompose_own(mgn_map *map, const float *x, int64_t at, piece *p) {
    MGN_TRY(mgn_map_own_jacobians(map, x, at, p->rows, p->jacobian, &p->first, &p->end));
    p->failed = -1;
    mgn_parallel(mgn_threads(), (p->end - p->first + ROWS_AT_A_TIME - 1) / ROWS_AT_A_TIME, decompose_rows, p);
    if (p->failed < 0) return MGN_OK;
    return mgn_fail(MGN_ERR_NUMERIC, "the eigenvalues of the Jacobian in row %lld were not found",
                    (long long)(at + p->failed));
}

/* The rows from number `at` on. */
static mgn_status count_piece(mgn_map *map, const float *x, int64_t at, piece *p, tally *t, double rounding) {
    MGN_TRY(mgn_map_gather(map, decompose_own(map, x, at, p), p->rows, p->d, p->values));
    MGN_TRY(mgn_map_gather(map, MGN_OK, p->rows, 1, p->asymmetry));
    for (int64_t r = 0; r < p->rows; r++) count_row(t, p->values + r * p->d, p->d, p->asymmetry[r], rounding);
    return MGN_OK;
}

static bool allocate(piece *p, int64_t rows) {
    const size_t count = (size_t)rows, d = (size_t)p->d;
    p->work_size = (lapack_int)(34 * p->d); /* the optimum of blocks of 32 */
    p->jacobian = mgn_alloc(count * d, d * sizeof(double));
    p->values = mgn_alloc(count, d * sizeof(double));
    p->asymmetry = mgn_alloc(count, sizeof(double));
    p->work = mgn_alloc((size_t)mgn_threads(), (size_t)p->work_size * sizeof(double));
    return p->jacobian && p->values && p->asymmetry && p->work;
}

mgn_status mgn_map_jacobian_stats(mgn_map *map, const float *x, int64_t n, mgn_jacobian_stats *stats) {
    if (n < 1 || !x || !stats)
        return mgn_fail(MGN_ERR_ARGUMENT, "Jacobians: at least one row and a place for the result were expected");
    piece p = {.d = mgn_map_dimension(map)};
    const int64_t most = MGN_MIN(n, MGN_MAX(PIECE / (p.d * p.d), 1));
    const double epsilon = mgn_map_real(map) == MGN_F32 ? (double)FLT_EPSILON : DBL_EPSILON;
    tally t = {.logdet = 0};
    mgn_status status = allocate(&p, most) ? MGN_OK : MGN_ERR_MEMORY;
    for (int64_t at = 0; status == MGN_OK && at < n; at += most) {
        p.rows = MGN_MIN(most, n - at);
        status = count_piece(map, x, at, &p, &t, rounding_steps * epsilon * (double)p.d);
    }
    if (status == MGN_OK) {
        t.stats.logdet = t.stats.definite ? t.logdet / (double)t.stats.definite : NAN;
        *stats = t.stats;
    }
    mgn_free(p.jacobian);
    mgn_free(p.values);
    mgn_free(p.asymmetry);
    mgn_free(p.work);
    return status;
}
