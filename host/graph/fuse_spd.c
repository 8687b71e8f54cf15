/* Small symmetric positive definite matrices, unrolled into scalar arithmetic by A = L D L^T with unit lower L. A pivot
 * that is not positive becomes NaN, so a matrix that is not positive definite gives NaN as everywhere else. */
#include <math.h>

#include "graph/fuse.h"

enum { MOST = 8 };

typedef struct factors {
    int d;
    mgn_scalar l[MOST][MOST]; /* below the diagonal */
    mgn_scalar pivot[MOST];
} factors;

static mgn_scalar op2(mgn_fuser *f, mgn_op op, mgn_scalar a, mgn_scalar b) { return mgn_fuse_scalar(f, op, a, b); }

static mgn_scalar positive_or_nan(mgn_fuser *f, mgn_scalar pivot) {
    mgn_scalar positive = op2(f, MGN_OP_greater, pivot, mgn_fuse_constant(f, 0)), nan = mgn_fuse_constant(f, NAN),
               out = pivot;
    mgn_fuse_elementwise(f, MGN_OP_select, 1, (const mgn_scalar *const[]){&positive, &pivot, &nan}, &out);
    return out;
}

static void factor(mgn_fuser *f, const mgn_scalar *a, int d, factors *out) {
    mgn_scalar half = mgn_fuse_constant(f, 0.5), product[MOST][MOST]; /* product[i][k] = l[i][k] pivot[k] */
    out->d = d;
    for (int i = 0; i < d && !f->failed; i++)
        for (int j = 0; j <= i; j++) {
            mgn_scalar sum =
                i == j ? a[i * d + i] : op2(f, MGN_OP_mul, half, op2(f, MGN_OP_add, a[i * d + j], a[j * d + i]));
            for (int k = 0; k < j; k++)
                sum = op2(f, MGN_OP_sub, sum, op2(f, MGN_OP_mul, product[i][k], i == j ? out->l[i][k] : out->l[j][k]));
            if (i == j)
                out->pivot[i] = positive_or_nan(f, sum);
            else {
                product[i][j] = sum;
                out->l[i][j] = op2(f, MGN_OP_div, sum, out->pivot[j]);
            }
        }
}

void mgn_fuse_spd_logdet(mgn_fuser *f, const mgn_scalar *a, int d, mgn_scalar *out) {
    factors x;
    if (d > MOST) f->failed = true;
    if (f->failed) return;
    factor(f, a, d, &x);
    for (int i = 0; i < d; i++) {
        mgn_scalar term = op2(f, MGN_OP_log, x.pivot[i], x.pivot[i]);
        *out = i == 0 ? term : op2(f, MGN_OP_add, *out, term);
    }
}

/* Solves L D L^T x = b for one right side. */
static void solve(mgn_fuser *f, const factors *a, const mgn_scalar *b, mgn_scalar *x) {
    for (int i = 0; i < a->d; i++) {
        x[i] = b[i];
        for (int k = 0; k < i; k++) x[i] = op2(f, MGN_OP_sub, x[i], op2(f, MGN_OP_mul, a->l[i][k], x[k]));
    }
    for (int i = 0; i < a->d; i++) x[i] = op2(f, MGN_OP_div, x[i], a->pivot[i]);
    for (int i = a->d - 1; i >= 0; i--)
        for (int k = i + 1; k < a->d; k++) x[i] = op2(f, MGN_OP_sub, x[i], op2(f, MGN_OP_mul, a->l[k][i], x[k]));
}

/* Column j of the inverse, from the diagonal down: the rest follows from symmetry. */
void mgn_fuse_spd_inverse(mgn_fuser *f, const mgn_scalar *a, int d, mgn_scalar *out) {
    factors x;
    if (d > MOST) f->failed = true;
    if (f->failed) return;
    factor(f, a, d, &x);
    mgn_scalar column[MOST] = {{0}}; /* its right side is the j-th unit vector */
    for (int j = 0; j < d && !f->failed; j++) {
        column[j] = mgn_fuse_constant(f, 1);
        for (int i = j + 1; i < d; i++) {
            for (int k = j; k < i; k++) {
                mgn_scalar term = k == j ? x.l[i][k] : op2(f, MGN_OP_mul, x.l[i][k], column[k]);
                column[i] = k == j ? op2(f, MGN_OP_neg, term, term) : op2(f, MGN_OP_sub, column[i], term);
            }
        }
        for (int i = j; i < d; i++) column[i] = op2(f, MGN_OP_div, column[i], x.pivot[i]);
        for (int i = d - 1; i >= j; i--)
            for (int k = i + 1; k < d; k++)
                column[i] = op2(f, MGN_OP_sub, column[i], op2(f, MGN_OP_mul, x.l[k][i], column[k]));
        for (int i = j; i < d; i++) out[i * d + j] = out[j * d + i] = column[i];
    }
}

void mgn_fuse_spd_solve(mgn_fuser *f, const mgn_scalar *a, int d, const mgn_scalar *b, int columns, mgn_scalar *out) {
    factors x;
    if (d > MOST) f->failed = true;
    if (f->failed) return;
    factor(f, a, d, &x);
    for (int c = 0; c < columns && !f->failed; c++) {
        mgn_scalar right[MOST] = {{0}}, column[MOST] = {{0}};
        for (int i = 0; i < d; i++) right[i] = b[i * columns + c];
        solve(f, &x, right, column);
        for (int i = 0; i < d; i++) out[i * columns + c] = column[i];
    }
}
