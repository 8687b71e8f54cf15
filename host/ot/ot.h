/* What the closed forms and metrics share: argument checks, small dense products, and how sums are cut into parts. */
#ifndef MGN_HOST_OT_H
#define MGN_HOST_OT_H

#include <mgn/ot.h>

#include "core/core.h"

/* A sum over many rows is cut into at most this many parts, which are the unit of parallel work and are added up in
 * order. The cut depends on the sizes alone, so the thread count cannot show in the result. */
enum { MGN_SUM_PARTS = 64 };

/* Sums inside a part run in this many lanes: SIMD without leaving the order of additions to the compiler. */
enum { MGN_SUM_LANES = 8 };

static inline double mgn_add_lanes(const double lane[MGN_SUM_LANES]) {
    return ((lane[0] + lane[4]) + (lane[2] + lane[6])) + ((lane[1] + lane[5]) + (lane[3] + lane[7]));
}

/* The first of `count` items that belongs to part `part` of `parts`. */
static inline int64_t mgn_part_start(int64_t count, int64_t part, int64_t parts) {
    return count / parts * part + MGN_MIN(part, count % parts);
}

/* Threads worth starting for that much work (elements touched). */
int mgn_threads_for(int64_t work);

/* Rows (n, d) that can be addressed, and not NULL; `what` names the function in the sentence. */
mgn_status mgn_check_rows(const char *what, const float *rows, int64_t n, int64_t d);

/* d x d doubles that can be addressed and that LAPACK's integers can count. */
mgn_status mgn_check_order(const char *what, int64_t d);

/* NUMERIC unless all `count` values are finite. */
mgn_status mgn_check_finite(const char *what, const double *values, int64_t count);

/* out = a b for row-major (d, d); `out` is neither. */
void mgn_square_product(int64_t d, const double *a, const double *b, double *out);

/* within = axes a axes^T (count, count) of a symmetric a (d, d) and axes (count, d); `work` is (count, d). */
void mgn_within_axes(const double *a, const double *axes, int64_t d, int64_t count, double *work, double *within);

/* Reorders y (n, d) so that its row i is what row i of x (n, d) goes to in an optimal assignment (mgn_assignment_w2, whose
 * errors these are; also MEMORY). */
mgn_status mgn_match_rows(const float *x, float *y, int64_t n, int64_t d);

/* a >= 0 (n) that makes a^T G a / 2 - m^T a least, G being the Gram matrix (n, n) of a least-squares problem and m its
 * moments (n); at most `most` of them are positive. Errors: MEMORY. */
mgn_status mgn_nnls(const double *gram, const double *moment, int64_t n, int64_t most, double *a);

#endif
