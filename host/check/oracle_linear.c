/* The oracle of products and of symmetric positive definite matrices: long dot products, LU with pivoting for the
 * determinant, Gauss-Jordan for inverses and solutions, where the kernels use packed panels and Cholesky factors.
 *
 * Magnitudes of the spd ops: a Cholesky factorisation solves exactly for a matrix A + E with |E_ij| of a few units in
 * the last place of S_ij = sqrt(a_ii a_jj) (since |L||L^T| <= S, Demmel 1989). So to first order
 *     log det   moves by |A^-1| : S  (plus its own rounding: the sum of |log pivot|),
 *     A^-1      moves by |A^-1| S |A^-1|,
 *     A^-1 b    moves by |A^-1| S |x|, plus what the substitutions round: |A^-1| |b|,
 * which is how a matrix's condition enters, entry by entry. */
#include "check/oracle.h"

#include <math.h>

/* ---- products ---- */

void mgn_oracle_matmul(const mgn_check_case *c, const mgn_exact *const *in, mgn_exact *out, mgn_exact *magnitude) {
    int ra = c->in[0].shape.rank, rb = c->in[1].shape.rank, r = c->shape.rank;
    const int64_t *da = c->in[0].shape.dim + ra - 2, *db = c->in[1].shape.dim + rb - 2, *d = c->shape.dim + r - 2;
    int64_t batch = r == 3 ? c->shape.dim[0] : 1, k = c->transpose_a ? da[0] : da[1];
    for (int64_t p = 0; p < batch; p++) {
        const mgn_exact *a = in[0] + (ra == 3 ? p * da[0] * da[1] : 0), *b = in[1] + (rb == 3 ? p * db[0] * db[1] : 0);
        for (int64_t j = 0; j < d[1]; j++)
            for (int64_t i = 0; i < d[0]; i++) {
                mgn_exact sum = 0, scale = 0;
                for (int64_t q = k - 1; q >= 0; q--) {
                    mgn_exact x = c->transpose_a ? a[q * da[1] + i] : a[i * da[1] + q];
                    mgn_exact y = c->transpose_b ? b[j * db[1] + q] : b[q * db[1] + j];
                    sum += x * y;
                    scale += fabsl(x * y);
                }
                out[(p * d[0] + i) * d[1] + j] = sum;
                if (magnitude) magnitude[(p * d[0] + i) * d[1] + j] = scale;
            }
    }
}

/* ---- small matrices ---- */

enum { MOST = 32 }; /* the largest d of a case */

typedef struct matrix {
    mgn_exact at[MOST][MOST];
} matrix;

static void load_symmetric(const mgn_exact *a, int64_t d, matrix *m) {
    for (int64_t i = 0; i < d; i++)
        for (int64_t j = 0; j < d; j++) m->at[i][j] = (a[i * d + j] + a[j * d + i]) / 2.0L;
}

static void swap_rows(matrix *m, int64_t i, int64_t j) {
    for (int64_t q = 0; q < MOST && i != j; q++) {
        mgn_exact t = m->at[i][q];
        m->at[i][q] = m->at[j][q];
        m->at[j][q] = t;
    }
}

static int64_t pivot_of(const matrix *m, int64_t d, int64_t column) {
    int64_t best = column;
    for (int64_t i = column + 1; i < d; i++)
        if (fabsl(m->at[i][column]) > fabsl(m->at[best][column])) best = i;
    return best;
}

/* LU with row pivoting of a copy's leading d x d block: log |det|, the sum of |log pivot| and the sign. */
static mgn_exact log_determinant(const matrix *source, int64_t d, mgn_exact *scale, int *sign) {
    matrix m;
    mgn_exact sum = 0;
    *scale = 0;
    *sign = 1;
    for (int64_t i = 0; i < d; i++)
        for (int64_t j = 0; j < MOST; j++) m.at[i][j] = j < d ? source->at[i][j] : 0;
    for (int64_t k = 0; k < d; k++) {
        int64_t p = pivot_of(&m, d, k);
        if (p != k) *sign = -*sign;
        swap_rows(&m, k, p);
        if (m.at[k][k] < 0) *sign = -*sign;
        sum += logl(fabsl(m.at[k][k]));
        *scale += fabsl(logl(fabsl(m.at[k][k])));
        for (int64_t i = k + 1; i < d; i++) {
            mgn_exact f = m.at[i][k] / m.at[k][k];
            for (int64_t j = k; j < d; j++) m.at[i][j] -= f * m.at[k][j];
        }
    }
    return sum;
}

/* Sylvester: every leading minor is positive. */
static bool is_positive_definite(const matrix *m, int64_t d) {
    for (int64_t k = 1; k <= d; k++) {
        mgn_exact scale;
        int sign;
        mgn_exact value = log_determinant(m, k, &scale, &sign);
        if (sign < 0 || !(value > -1e4L)) return false;
    }
    return true;
}

/* Gauss-Jordan with row pivoting. */
static void invert(const matrix *source, int64_t d, matrix *inverse) {
    matrix m;
    for (int64_t i = 0; i < d; i++)
        for (int64_t j = 0; j < MOST; j++) {
            m.at[i][j] = j < d ? source->at[i][j] : 0;
            inverse->at[i][j] = i == j;
        }
    for (int64_t k = 0; k < d; k++) {
        int64_t p = pivot_of(&m, d, k);
        swap_rows(&m, k, p);
        swap_rows(inverse, k, p);
        mgn_exact pivot = m.at[k][k];
        for (int64_t j = 0; j < d; j++) {
            m.at[k][j] /= pivot;
            inverse->at[k][j] /= pivot;
        }
        for (int64_t i = 0; i < d; i++) {
            mgn_exact f = m.at[i][k];
            for (int64_t j = 0; j < d && i != k; j++) {
                m.at[i][j] -= f * m.at[k][j];
                inverse->at[i][j] -= f * inverse->at[k][j];
            }
        }
    }
}

/* The matrices of a batch and what all three ops need of each. */
typedef struct spd_matrix {
    int64_t d, batch;
    bool definite;
    matrix a, inverse, spread; /* spread: |A^-1| S */
} spd_matrix;

static void spd_load(const mgn_check_case *c, const mgn_exact *a, int64_t p, spd_matrix *s) {
    int rank = c->in[0].shape.rank;
    s->d = c->in[0].shape.dim[rank - 1];
    s->batch = rank == 3 ? c->in[0].shape.dim[0] : 1;
    load_symmetric(a + p * s->d * s->d, s->d, &s->a);
    s->definite = is_positive_definite(&s->a, s->d);
    if (!s->definite) return;
    invert(&s->a, s->d, &s->inverse);
    for (int64_t i = 0; i < s->d; i++)
        for (int64_t j = 0; j < s->d; j++) {
            s->spread.at[i][j] = 0;
            for (int64_t q = 0; q < s->d; q++)
                s->spread.at[i][j] += fabsl(s->inverse.at[i][q]) * sqrtl(s->a.at[q][q] * s->a.at[j][j]);
        }
}

static int64_t batch_of(const mgn_check_case *c) { return c->in[0].shape.rank == 3 ? c->in[0].shape.dim[0] : 1; }

void mgn_oracle_logdet(const mgn_check_case *c, const mgn_exact *const *in, mgn_exact *out, mgn_exact *magnitude) {
    spd_matrix s = {0};
    for (int64_t p = 0; p < batch_of(c); p++) {
        spd_load(c, in[0], p, &s);
        mgn_exact scale = 0;
        int sign = 1;
        out[p] = s.definite ? log_determinant(&s.a, s.d, &scale, &sign) : NAN;
        for (int64_t i = 0; i < s.d && s.definite; i++)
            scale += s.spread.at[i][i]; /* |A^-1| : S is the trace of |A^-1| S */
        if (magnitude) magnitude[p] = scale;
    }
}

void mgn_oracle_inverse(const mgn_check_case *c, const mgn_exact *const *in, mgn_exact *out, mgn_exact *magnitude) {
    spd_matrix s = {0};
    for (int64_t p = 0; p < batch_of(c); p++) {
        spd_load(c, in[0], p, &s);
        for (int64_t i = 0; i < s.d; i++)
            for (int64_t j = 0; j < s.d; j++) {
                mgn_exact scale = 0;
                for (int64_t q = 0; q < s.d && s.definite; q++) scale += s.spread.at[i][q] * fabsl(s.inverse.at[q][j]);
                out[(p * s.d + i) * s.d + j] = s.definite ? s.inverse.at[i][j] : NAN;
                if (magnitude) magnitude[(p * s.d + i) * s.d + j] = scale;
            }
    }
}

void mgn_oracle_solve(const mgn_check_case *c, const mgn_exact *const *in, mgn_exact *out, mgn_exact *magnitude) {
    spd_matrix s = {0};
    int64_t columns = c->shape.dim[c->shape.rank - 1];
    for (int64_t p = 0; p < batch_of(c); p++) {
        spd_load(c, in[0], p, &s);
        const mgn_exact *b = in[1] + p * s.d * columns;
        mgn_exact *x = out + p * s.d * columns;
        for (int64_t i = 0; i < s.d; i++)
            for (int64_t j = 0; j < columns; j++) {
                x[i * columns + j] = s.definite ? 0 : NAN;
                for (int64_t q = 0; q < s.d && s.definite; q++)
                    x[i * columns + j] += s.inverse.at[i][q] * b[q * columns + j];
            }
        for (int64_t i = 0; i < s.d && magnitude; i++)
            for (int64_t j = 0; j < columns; j++) {
                mgn_exact scale = 0;
                for (int64_t q = 0; q < s.d && s.definite; q++)
                    scale +=
                        s.spread.at[i][q] * fabsl(x[q * columns + j]) + fabsl(s.inverse.at[i][q] * b[q * columns + j]);
                magnitude[(p * s.d + i) * columns + j] = scale;
            }
    }
}
