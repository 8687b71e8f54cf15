/* Point clouds: log sums of a Gaussian kernel and sums weighted by it, over all pairs, without a matrix of the pairs.
 *
 * With c_ij = |x_i - y_j|^2 / 2,
 *     softmin  F_i  = log sum_j exp(h_j - c_ij),
 *     gibbs    O_ik = sum_j exp(f_i + h_j - c_ij) v_jk.
 * With f = -F the weights of a row sum to 1 and gibbs is the barycentric average. Its transpose is gibbs with the clouds
 * exchanged, and all derivatives of the two are made of gibbs, so the family is closed under differentiation:
 *     dF_i  = sum_j w_ij (dh_j - (x_i - y_j) . (dx_i - dy_j)),          w_ij = exp(h_j - c_ij - F_i),
 *     dO_i  = sum_j K_ij ((df_i + dh_j - (x_i - y_j) . (dx_i - dy_j)) v_j + dv_j),
 * where products such as y_j v_jk become columns of v.
 *
 * softmin_dense is softmin of costs that are in memory: log sum_j exp(h_j - scale s_ij); its derivatives are matrices.
 * softmins and softmins_dense are the softmins of both sides, which backends may compute in one pass: (F, G) with
 * G_j = log sum_i exp(f_i - c_ij). */
#include "graph/graph.h"

/* ---- building ---- */

static bool is_vector(const mgn_node *node, int64_t length) {
    return node->kind == MGN_REAL && node->shape.rank == 1 && node->shape.dim[0] == length;
}

static bool are_clouds(const mgn_node *x, const mgn_node *y) {
    return x->kind == MGN_REAL && y->kind == MGN_REAL && x->shape.rank == 2 && y->shape.rank == 2 &&
           x->shape.dim[1] == y->shape.dim[1] && x->shape.dim[1] > 0;
}

static mgn_node_attributes describe(const mgn_node *x, const mgn_node *y, int64_t columns) {
    mgn_node_attributes attributes = {0};
    attributes.kernel.cloud.n = x->shape.dim[0];
    attributes.kernel.cloud.m = y->shape.dim[0];
    attributes.kernel.cloud.d = x->shape.dim[1];
    attributes.kernel.cloud.columns = columns;
    return attributes;
}

mgn_node *mgn_softmin(mgn_node *x, mgn_node *y, mgn_node *h) {
    if (!x || !y || !h) return NULL;
    char a[64], b[64], c[64];
    if (!are_clouds(x, y) || !is_vector(h, y->shape.dim[0]))
        return mgn_graph_fail(x->graph,
                              "softmin: points (n, d) and (m, d) with heights (m) were expected, %s, %s and %s found",
                              mgn_shape_text(x->shape, a), mgn_shape_text(y->shape, b), mgn_shape_text(h->shape, c));
    mgn_node_attributes attributes = describe(x, y, 1);
    return mgn_node_new(x->graph, MGN_OP_softmin, MGN_REAL, MGN_SHAPE(x->shape.dim[0]), (mgn_node *[]){x, y, h}, 3,
                        &attributes);
}

mgn_node *mgn_gibbs(mgn_node *x, mgn_node *y, mgn_node *f, mgn_node *h, mgn_node *v) {
    if (!x || !y || !f || !h || !v) return NULL;
    char a[64], b[64], c[64];
    if (!are_clouds(x, y) || !is_vector(f, x->shape.dim[0]) || !is_vector(h, y->shape.dim[0]) || v->kind != MGN_REAL ||
        v->shape.rank != 2 || v->shape.dim[0] != y->shape.dim[0])
        return mgn_graph_fail(x->graph,
                              "gibbs: points (n, d) and (m, d), heights (n) and (m) and values (m, e) were expected; "
                              "points %s and %s and values %s found",
                              mgn_shape_text(x->shape, a), mgn_shape_text(y->shape, b), mgn_shape_text(v->shape, c));
    mgn_node_attributes attributes = describe(x, y, v->shape.dim[1]);
    return mgn_node_new(x->graph, MGN_OP_gibbs, MGN_REAL, MGN_SHAPE(x->shape.dim[0], v->shape.dim[1]),
                        (mgn_node *[]){x, y, f, h, v}, 5, &attributes);
}

mgn_node *mgn_softmin_dense(mgn_node *s, mgn_node *h, double scale) {
    if (!s || !h) return NULL;
    char a[64], b[64];
    if (s->kind != MGN_REAL || s->shape.rank != 2 || !is_vector(h, s->shape.dim[1]))
        return mgn_graph_fail(s->graph, "softmin_dense: costs (n, m) and heights (m) were expected, %s and %s found",
                              mgn_shape_text(s->shape, a), mgn_shape_text(h->shape, b));
    mgn_node_attributes attributes = {0};
    attributes.kernel.cloud.n = s->shape.dim[0];
    attributes.kernel.cloud.m = s->shape.dim[1];
    attributes.kernel.cloud.scale = scale;
    return mgn_node_new(s->graph, MGN_OP_softmin_dense, MGN_REAL, MGN_SHAPE(s->shape.dim[0]), (mgn_node *[]){s, h}, 2,
                        &attributes);
}

mgn_node *mgn_softmins(mgn_node *x, mgn_node *y, mgn_node *f, mgn_node *h) {
    if (!x || !y || !f || !h) return NULL;
    char a[64], b[64];
    if (!are_clouds(x, y) || !is_vector(f, x->shape.dim[0]) || !is_vector(h, y->shape.dim[0]))
        return mgn_graph_fail(x->graph,
                              "softmins: points (n, d) and (m, d) with heights (n) and (m) were expected, points %s "
                              "and %s found",
                              mgn_shape_text(x->shape, a), mgn_shape_text(y->shape, b));
    mgn_node_attributes attributes = describe(x, y, 1);
    return mgn_node_new(x->graph, MGN_OP_softmins, MGN_REAL, MGN_SHAPE(x->shape.dim[0] + y->shape.dim[0]),
                        (mgn_node *[]){x, y, f, h}, 4, &attributes);
}

mgn_node *mgn_softmins_dense(mgn_node *s, mgn_node *f, mgn_node *h, double scale, bool symmetric) {
    if (!s || !f || !h) return NULL;
    char a[64];
    if (s->kind != MGN_REAL || s->shape.rank != 2 || !is_vector(f, s->shape.dim[0]) || !is_vector(h, s->shape.dim[1]))
        return mgn_graph_fail(s->graph,
                              "softmins_dense: costs (n, m) with heights (n) and (m) were expected, costs %s found",
                              mgn_shape_text(s->shape, a));
    mgn_node_attributes attributes = {0};
    attributes.kernel.cloud.n = s->shape.dim[0];
    attributes.kernel.cloud.m = s->shape.dim[1];
    attributes.kernel.cloud.scale = scale;
    attributes.kernel.cloud.symmetric = symmetric;
    return mgn_node_new(s->graph, MGN_OP_softmins_dense, MGN_REAL, MGN_SHAPE(s->shape.dim[0] + s->shape.dim[1]),
                        (mgn_node *[]){s, f, h}, 3, &attributes);
}

/* ---- helpers of the derivatives ---- */

/* (n) as a column. */
static mgn_node *column(mgn_node *a) { return a ? mgn_reshape(a, MGN_SHAPE(a->shape.dim[0], 1)) : NULL; }

/* (n, e) times (n, e), summed over e: (n). */
static mgn_node *row_dot(mgn_node *a, mgn_node *b) { return mgn_sum(mgn_mul(a, b), 2); }

/* The products of each row's entries: (n, e) and (n, d) -> (n, e d). */
static mgn_node *outer(mgn_node *a, mgn_node *b) {
    if (!a || !b) return NULL;
    int64_t n = a->shape.dim[0], e = a->shape.dim[1], d = b->shape.dim[1];
    return mgn_reshape(mgn_mul(mgn_reshape(a, MGN_SHAPE(n, e, 1)), mgn_reshape(b, MGN_SHAPE(n, 1, d))),
                       MGN_SHAPE(n, e * d));
}

/* T (n, e d) times (n, e), summed over e: (n, d). */
static mgn_node *contract_left(mgn_node *t, mgn_node *a, int64_t d) {
    if (!t || !a) return NULL;
    int64_t n = a->shape.dim[0], e = a->shape.dim[1];
    return mgn_sum(mgn_mul(mgn_reshape(t, MGN_SHAPE(n, e, d)), mgn_reshape(a, MGN_SHAPE(n, e, 1))), 2);
}

/* T (n, e d) times (n, d), summed over d: (n, e). */
static mgn_node *contract_right(mgn_node *t, mgn_node *b, int64_t e) {
    if (!t || !b) return NULL;
    int64_t n = b->shape.dim[0], d = b->shape.dim[1];
    return mgn_sum(mgn_mul(mgn_reshape(t, MGN_SHAPE(n, e, d)), mgn_reshape(b, MGN_SHAPE(n, 1, d))), 4);
}

/* ---- softmin ---- */

/* log sums of one side: F (n) of x (n, d) over y (m, d) with the heights h (m). */
typedef struct log_sums {
    mgn_node *x, *y, *h, *f;
} log_sums;

/* sum_j w_ij (y_j - x_i). The weights of a row sum to 1 but for rounding, which is large where the exponents are; divided
 * by their sum, what it does to them all does not matter. */
static mgn_node *mean_step(const log_sums *s) {
    int64_t d = s->x->shape.dim[1];
    mgn_node *ones = mgn_broadcast(mgn_constant(s->x->graph, 1), MGN_SHAPE(s->y->shape.dim[0], 1));
    mgn_node *sums = mgn_gibbs(s->x, s->y, mgn_neg(s->f), s->h, mgn_concat((mgn_node *[]){s->y, ones}, 2, 1));
    return mgn_sub(mgn_div(mgn_slice(sums, 1, 0, d), mgn_slice(sums, 1, d, 1)), s->x);
}

enum { BY_X, BY_Y, BY_H };

static mgn_node *softmin_vjp(const log_sums *s, mgn_node *g, int i) {
    if (!s->f || !g) return NULL;
    if (i == BY_X) return mgn_mul(column(g), mean_step(s));
    /* sum_i g_i w_ij x_i and sum_i g_i w_ij in one pass */
    int64_t d = s->x->shape.dim[1];
    mgn_node *parts[] = {mgn_mul(column(g), s->x), column(g)};
    mgn_node *sums = mgn_gibbs(s->y, s->x, s->h, mgn_neg(s->f), mgn_concat(parts, 2, 1));
    mgn_node *mass = mgn_slice(sums, 1, d, 1);
    if (i == BY_H) return mass ? mgn_reshape(mass, s->h->shape) : NULL;
    return mgn_sub(mgn_slice(sums, 1, 0, d), mgn_mul(mass, s->y));
}

/* dF = dx . (sum_j w_j y_j - x) + x . sum_j w_j dy_j + sum_j w_j (dh_j - y_j . dy_j) */
static mgn_node *softmin_jvp(const log_sums *s, mgn_node *dx, mgn_node *dy, mgn_node *dh) {
    if (!s->f) return NULL;
    mgn_node *x = s->x, *y = s->y, *h = s->h, *f = mgn_neg(s->f), *sum = NULL;
    int64_t d = x->shape.dim[1];
    if (dx) sum = row_dot(dx, mean_step(s));
    if (dy) {
        mgn_node *term = mgn_neg(row_dot(y, dy));
        mgn_node *parts[] = {dy, column(dh ? mgn_add(dh, term) : term)};
        mgn_node *sums = mgn_gibbs(x, y, f, h, mgn_concat(parts, 2, 1));
        mgn_node *last = mgn_slice(sums, 1, d, 1);
        mgn_node *moved = mgn_add(row_dot(x, mgn_slice(sums, 1, 0, d)), last ? mgn_reshape(last, s->f->shape) : NULL);
        return mgn_add_maybe(sum, moved);
    }
    if (dh) sum = mgn_add_maybe(sum, mgn_reshape(mgn_gibbs(x, y, f, h, column(dh)), s->f->shape));
    return sum;
}

/* ---- both sides ---- */

static mgn_node *part(mgn_node *both, int64_t begin, int64_t count) { return mgn_slice(both, 0, begin, count); }

static mgn_node *join(const mgn_node *node, mgn_node *first, mgn_node *second, int64_t n, int64_t m) {
    mgn_node *zero = mgn_constant(node->graph, 0);
    if (!first && !second) return NULL;
    if (!first) first = mgn_broadcast(zero, MGN_SHAPE(n));
    if (!second) second = mgn_broadcast(zero, MGN_SHAPE(m));
    return mgn_concat((mgn_node *[]){first, second}, 2, 0);
}

static log_sums rows_of(mgn_node *node) {
    return (log_sums){node->in[0], node->in[1], node->in[3], part(node, 0, node->in[0]->shape.dim[0])};
}

static log_sums columns_of(mgn_node *node) {
    int64_t n = node->in[0]->shape.dim[0], m = node->in[1]->shape.dim[0];
    return (log_sums){node->in[1], node->in[0], node->in[2], part(node, n, m)};
}

static mgn_node *softmins_vjp(mgn_node *node, mgn_node *g, int i) {
    int64_t n = node->in[0]->shape.dim[0], m = node->in[1]->shape.dim[0];
    log_sums rows = rows_of(node), columns = columns_of(node);
    mgn_node *of_rows = part(g, 0, n), *of_columns = part(g, n, m);
    switch (i) {
    case 0: return mgn_add(softmin_vjp(&rows, of_rows, BY_X), softmin_vjp(&columns, of_columns, BY_Y));
    case 1: return mgn_add(softmin_vjp(&rows, of_rows, BY_Y), softmin_vjp(&columns, of_columns, BY_X));
    case 2: return softmin_vjp(&columns, of_columns, BY_H);
    default: return softmin_vjp(&rows, of_rows, BY_H);
    }
}

static mgn_node *softmins_jvp(mgn_node *node, mgn_node *const *tangents) {
    log_sums rows = rows_of(node), columns = columns_of(node);
    return join(node, softmin_jvp(&rows, tangents[0], tangents[1], tangents[3]),
                softmin_jvp(&columns, tangents[1], tangents[0], tangents[2]), node->in[0]->shape.dim[0],
                node->in[1]->shape.dim[0]);
}

/* ---- gibbs ---- */

static mgn_node *gibbs_vjp(mgn_node *node, mgn_node *g, int i) {
    mgn_node *x = node->in[0], *y = node->in[1], *f = node->in[2], *h = node->in[3], *v = node->in[4];
    int64_t d = x->shape.dim[1];
    switch (i) {
    case 0: /* sum_j K_ij (g_i . v_j) (y_j - x_i) */
        return mgn_sub(contract_left(mgn_gibbs(x, y, f, h, outer(v, y)), g, d), mgn_mul(column(row_dot(g, node)), x));
    case 1:
        return mgn_sub(contract_left(mgn_gibbs(y, x, h, f, outer(g, x)), v, d),
                       mgn_mul(column(row_dot(v, mgn_gibbs(y, x, h, f, g))), y));
    case 2: return row_dot(g, node);
    case 3: return row_dot(v, mgn_gibbs(y, x, h, f, g));
    default: return mgn_gibbs(y, x, h, f, g);
    }
}

static mgn_node *gibbs_jvp(mgn_node *node, mgn_node *const *tangents) {
    mgn_node *x = node->in[0], *y = node->in[1], *f = node->in[2], *h = node->in[3], *v = node->in[4];
    mgn_node *dx = tangents[0], *dy = tangents[1], *df = tangents[2], *dh = tangents[3], *values = tangents[4];
    int64_t e = v->shape.dim[1];
    mgn_node *factor = df, *sum = NULL; /* of the node itself, row by row */
    if (dx) {
        factor = mgn_add_maybe(factor, mgn_neg(row_dot(x, dx)));
        sum = contract_right(mgn_gibbs(x, y, f, h, outer(v, y)), dx, e);
    }
    if (dy) {
        dh = mgn_add_maybe(dh, mgn_neg(row_dot(y, dy)));
        sum = mgn_add_maybe(sum, contract_right(mgn_gibbs(x, y, f, h, outer(v, dy)), x, e));
    }
    if (dh) values = mgn_add_maybe(values, mgn_mul(column(dh), v));
    if (values) sum = mgn_add_maybe(sum, mgn_gibbs(x, y, f, h, values));
    return factor ? mgn_add_maybe(sum, mgn_mul(column(factor), node)) : sum;
}

/* ---- costs in memory ---- */

enum { LEAST_EXPONENT = -69 };

/* w_ij = exp(h_j - scale s_ij - F_i): (n, m). Exponents stop at LEAST_EXPONENT, where weights are nothing next to a row's
 * sum, 1: most would be denormal or 0 at a small blur, and products of denormals take ten times as long. */
static mgn_node *dense_weights(mgn_node *s, mgn_node *h, mgn_node *f, double scale) {
    mgn_node *least = mgn_constant(s->graph, LEAST_EXPONENT);
    return mgn_exp(mgn_maximum(least, mgn_sub(mgn_sub(h, mgn_scale(s, scale)), column(f))));
}

static mgn_node *dense_vjp(mgn_node *node, mgn_node *g, int i) {
    double scale = node->attributes.kernel.cloud.scale;
    mgn_node *weights = mgn_mul(column(g), dense_weights(node->in[0], node->in[1], node, scale));
    return i == 0 ? mgn_scale(weights, -scale) : mgn_sum(weights, 1);
}

static mgn_node *dense_jvp(mgn_node *node, mgn_node *const *tangents) {
    double scale = node->attributes.kernel.cloud.scale;
    mgn_node *moved = tangents[0] ? mgn_scale(tangents[0], -scale) : NULL;
    return row_dot(dense_weights(node->in[0], node->in[1], node, scale), mgn_add_maybe(moved, tangents[1]));
}

/* The weights of the rows (n, m), and those of the columns (m, n). */
static void both_weights(mgn_node *node, mgn_node *weights[2]) {
    mgn_node *s = node->in[0], *f = node->in[1], *h = node->in[2];
    int64_t n = s->shape.dim[0], m = s->shape.dim[1];
    double scale = node->attributes.kernel.cloud.scale;
    weights[0] = dense_weights(s, h, part(node, 0, n), scale);
    weights[1] = dense_weights(mgn_transpose(s), f, part(node, n, m), scale);
}

static mgn_node *both_vjp(mgn_node *node, mgn_node *g, int i) {
    mgn_node *weights[2];
    int64_t n = node->in[0]->shape.dim[0], m = node->in[0]->shape.dim[1];
    both_weights(node, weights);
    weights[0] = mgn_mul(column(part(g, 0, n)), weights[0]);
    weights[1] = mgn_mul(column(part(g, n, m)), weights[1]);
    if (i > 0) return mgn_sum(weights[2 - i], 1);
    return mgn_scale(mgn_add(weights[0], mgn_transpose(weights[1])), -node->attributes.kernel.cloud.scale);
}

static mgn_node *both_jvp(mgn_node *node, mgn_node *const *tangents) {
    mgn_node *weights[2];
    int64_t n = node->in[0]->shape.dim[0], m = node->in[0]->shape.dim[1];
    mgn_node *moved = tangents[0] ? mgn_scale(tangents[0], -node->attributes.kernel.cloud.scale) : NULL;
    both_weights(node, weights);
    mgn_node *rows = mgn_add_maybe(moved, tangents[2]);
    mgn_node *columns = mgn_add_maybe(moved ? mgn_transpose(moved) : NULL, tangents[1]);
    return join(node, rows ? row_dot(weights[0], rows) : NULL, columns ? row_dot(weights[1], columns) : NULL, n, m);
}

/* ---- the family ---- */

static mgn_node *cloud_vjp(mgn_node *node, mgn_node *cotangent, int i) {
    switch (node->op) {
    case MGN_OP_softmin: return softmin_vjp(&(log_sums){node->in[0], node->in[1], node->in[2], node}, cotangent, i);
    case MGN_OP_gibbs: return gibbs_vjp(node, cotangent, i);
    case MGN_OP_softmins: return softmins_vjp(node, cotangent, i);
    case MGN_OP_softmins_dense: return both_vjp(node, cotangent, i);
    default: return dense_vjp(node, cotangent, i);
    }
}

static mgn_node *cloud_jvp(mgn_node *node, mgn_node *const *t) {
    switch (node->op) {
    case MGN_OP_softmin: return softmin_jvp(&(log_sums){node->in[0], node->in[1], node->in[2], node}, t[0], t[1], t[2]);
    case MGN_OP_gibbs: return gibbs_jvp(node, t);
    case MGN_OP_softmins: return softmins_jvp(node, t);
    case MGN_OP_softmins_dense: return both_jvp(node, t);
    default: return dense_jvp(node, t);
    }
}

const mgn_rules mgn_rules_cloud = {cloud_vjp, cloud_jvp};
