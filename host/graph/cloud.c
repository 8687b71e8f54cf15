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
 * softmin_dense is softmin of costs that are in memory: log sum_j exp(h_j - scale s_ij); its derivatives are matrices. */
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

/* sum_j w_ij (y_j - x_i). The weights of a row sum to 1 but for rounding, which is large where the exponents are; divided
 * by their sum, what it does to them all does not matter. */
static mgn_node *mean_step(mgn_node *node) {
    mgn_node *x = node->in[0], *y = node->in[1], *h = node->in[2];
    int64_t d = x->shape.dim[1];
    mgn_node *ones = mgn_broadcast(mgn_constant(node->graph, 1), MGN_SHAPE(y->shape.dim[0], 1));
    mgn_node *sums = mgn_gibbs(x, y, mgn_neg(node), h, mgn_concat((mgn_node *[]){y, ones}, 2, 1));
    return mgn_sub(mgn_div(mgn_slice(sums, 1, 0, d), mgn_slice(sums, 1, d, 1)), x);
}

static mgn_node *softmin_vjp(mgn_node *node, mgn_node *g, int i) {
    mgn_node *x = node->in[0], *y = node->in[1], *h = node->in[2];
    mgn_node *f = mgn_neg(node);
    if (i == 0) return mgn_mul(column(g), mean_step(node));
    /* sum_i g_i w_ij x_i and sum_i g_i w_ij in one pass */
    int64_t d = x->shape.dim[1];
    mgn_node *parts[] = {mgn_mul(column(g), x), column(g)};
    mgn_node *sums = mgn_gibbs(y, x, h, f, mgn_concat(parts, 2, 1));
    mgn_node *mass = mgn_slice(sums, 1, d, 1);
    if (i == 2) return mass ? mgn_reshape(mass, h->shape) : NULL;
    return mgn_sub(mgn_slice(sums, 1, 0, d), mgn_mul(mass, y));
}

/* dF = dx . (sum_j w_j y_j - x) + x . sum_j w_j dy_j + sum_j w_j (dh_j - y_j . dy_j) */
static mgn_node *softmin_jvp(mgn_node *node, mgn_node *const *tangents) {
    mgn_node *x = node->in[0], *y = node->in[1], *h = node->in[2];
    mgn_node *dx = tangents[0], *dy = tangents[1], *dh = tangents[2], *f = mgn_neg(node), *sum = NULL;
    int64_t d = x->shape.dim[1];
    if (dx) sum = row_dot(dx, mean_step(node));
    if (dy) {
        mgn_node *term = mgn_neg(row_dot(y, dy));
        mgn_node *parts[] = {dy, column(dh ? mgn_add(dh, term) : term)};
        mgn_node *sums = mgn_gibbs(x, y, f, h, mgn_concat(parts, 2, 1));
        mgn_node *last = mgn_slice(sums, 1, d, 1);
        mgn_node *moved = mgn_add(row_dot(x, mgn_slice(sums, 1, 0, d)), last ? mgn_reshape(last, node->shape) : NULL);
        return mgn_add_maybe(sum, moved);
    }
    if (dh) sum = mgn_add_maybe(sum, mgn_reshape(mgn_gibbs(x, y, f, h, column(dh)), node->shape));
    return sum;
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

/* ---- softmin_dense ---- */

/* w_ij = exp(h_j - scale s_ij - F_i): (n, m). */
static mgn_node *dense_weights(mgn_node *node) {
    mgn_node *exponent = mgn_sub(node->in[1], mgn_scale(node->in[0], node->attributes.kernel.cloud.scale));
    return mgn_exp(mgn_sub(exponent, column(node)));
}

static mgn_node *dense_vjp(mgn_node *node, mgn_node *g, int i) {
    mgn_node *weights = mgn_mul(column(g), dense_weights(node));
    return i == 0 ? mgn_scale(weights, -node->attributes.kernel.cloud.scale) : mgn_sum(weights, 1);
}

static mgn_node *dense_jvp(mgn_node *node, mgn_node *const *tangents) {
    mgn_node *moved = tangents[0] ? mgn_scale(tangents[0], -node->attributes.kernel.cloud.scale) : NULL;
    return row_dot(dense_weights(node), mgn_add_maybe(moved, tangents[1]));
}

/* ---- the family ---- */

static mgn_node *cloud_vjp(mgn_node *node, mgn_node *cotangent, int i) {
    if (node->op == MGN_OP_softmin) return softmin_vjp(node, cotangent, i);
    return node->op == MGN_OP_gibbs ? gibbs_vjp(node, cotangent, i) : dense_vjp(node, cotangent, i);
}

static mgn_node *cloud_jvp(mgn_node *node, mgn_node *const *tangents) {
    if (node->op == MGN_OP_softmin) return softmin_jvp(node, tangents);
    return node->op == MGN_OP_gibbs ? gibbs_jvp(node, tangents) : dense_jvp(node, tangents);
}

const mgn_rules mgn_rules_cloud = {cloud_vjp, cloud_jvp};
