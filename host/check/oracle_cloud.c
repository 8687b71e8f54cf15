/* The oracle of sums over pairs of points: each exponent from its definition, the sum in two passes over all of them,
 * against the kernels' running maxima over tiles, powers of two and products. */
#include "check/oracle.h"

#include <math.h>

/* Up to this many coordinates kernels work with differences, and an exponent's rounding is that of its own terms; above
 * it with products, and the rounding is that of the squared norms, however close the points are. */
enum { DIFFERENCES = 16 };

typedef struct pair {
    mgn_exact exponent, terms; /* h_j - cost, and the sum of the absolute terms it is made of */
} pair;

static bool is_dense(const mgn_check_case *c) {
    return c->op == MGN_OP_softmin_dense || c->op == MGN_OP_softmins_dense;
}

/* Row i against column j with the height h of the column, or of the row: whichever is summed over. */
static pair pair_of(const mgn_check_case *c, const mgn_exact *const *in, int64_t i, int64_t j, mgn_exact h) {
    int64_t d = c->in[0].shape.dim[1];
    mgn_exact cost = 0, terms = 0;
    if (is_dense(c)) {
        cost = (mgn_exact)c->scale * in[0][i * d + j];
        return (pair){h - cost, (isinf(h) ? 0 : fabsl(h)) + fabsl(cost)};
    }
    for (int64_t k = d - 1; k >= 0; k--) {
        mgn_exact x = in[0][i * d + k], y = in[1][j * d + k];
        cost += (x - y) * (x - y) / 2;
        terms += d <= DIFFERENCES ? (x - y) * (x - y) / 2 : (x * x + y * y) / 2;
    }
    return (pair){h - cost, (isinf(h) ? 0 : fabsl(h)) + terms};
}

/* Sums of row `own` over the columns, or of column `own` over the rows. `heights`: of what is summed over. */
typedef struct side {
    bool columns;
    int64_t own, count;
    const mgn_exact *heights;
} side;

static pair pair_at(const mgn_check_case *c, const mgn_exact *const *in, const side *s, int64_t k) {
    return pair_of(c, in, s->columns ? k : s->own, s->columns ? s->own : k, s->heights[k]);
}

/* log sum_j exp(e_j). An error of e_j moves it by the weight of j; the powers and their sum are good to some units. */
static void log_sum(const mgn_check_case *c, const mgn_exact *const *in, const side *s, mgn_exact *out,
                    mgn_exact *magnitude) {
    mgn_exact top = -INFINITY, sum = 0, terms = 0;
    for (int64_t j = 0; j < s->count && !isnan(top); j++) {
        mgn_exact exponent = pair_at(c, in, s, j).exponent;
        top = exponent <= top ? top : exponent;
    }
    if (!isfinite(top)) {
        *out = top;
        if (magnitude) *magnitude = 1;
        return;
    }
    for (int64_t j = 0; j < s->count; j++) {
        pair p = pair_at(c, in, s, j);
        sum += expl(p.exponent - top);
        terms += expl(p.exponent - top) * p.terms;
    }
    *out = top + logl(sum);
    if (magnitude) *magnitude = 1 + fabsl(top) + terms / sum;
}

/* Both sides; exponents also hold the height of the row or column itself, if it is finite. */
static void both_sides(const mgn_check_case *c, const mgn_exact *const *in, int64_t n, int64_t m, mgn_exact *out,
                       mgn_exact *magnitude) {
    const mgn_exact *f = in[is_dense(c) ? 1 : 2], *h = in[is_dense(c) ? 2 : 3];
    for (int64_t i = 0; i < n + m; i++) {
        const bool columns = i >= n;
        const side s = {columns, columns ? i - n : i, columns ? n : m, columns ? f : h};
        const mgn_exact own = columns ? h[i - n] : f[i];
        log_sum(c, in, &s, out + i, magnitude ? magnitude + i : NULL);
        if (magnitude && isfinite(own)) magnitude[i] += fabsl(own);
    }
}

void mgn_oracle_cloud(const mgn_check_case *c, const mgn_exact *const *in, mgn_exact *out, mgn_exact *magnitude) {
    int64_t n = c->in[0].shape.dim[0], m = is_dense(c) ? c->in[0].shape.dim[1] : c->in[1].shape.dim[0];
    if (c->op == MGN_OP_softmins || c->op == MGN_OP_softmins_dense) {
        both_sides(c, in, n, m, out, magnitude);
        return;
    }
    if (c->op != MGN_OP_gibbs) {
        for (int64_t i = 0; i < n; i++) {
            const side s = {false, i, m, in[is_dense(c) ? 1 : 2]};
            log_sum(c, in, &s, out + i, magnitude ? magnitude + i : NULL);
        }
        return;
    }
    int64_t columns = c->shape.dim[1];
    for (int64_t i = 0; i < n; i++)
        for (int64_t k = 0; k < columns; k++) {
            mgn_exact sum = 0, scale = 0;
            for (int64_t j = m - 1; j >= 0; j--) {
                pair p = pair_of(c, in, i, j, in[3][j]);
                mgn_exact term = expl(in[2][i] + p.exponent) * in[4][j * columns + k];
                sum += term;
                scale += fabsl(term) * (1 + fabsl(in[2][i]) + p.terms);
            }
            out[i * columns + k] = sum;
            if (magnitude) magnitude[i * columns + k] = scale;
        }
}
