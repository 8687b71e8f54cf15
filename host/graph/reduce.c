/* Reductions: sum and max over neighbouring axes; means and log-sum-exp are made of them. */
#include "graph/graph.h"

/* The shape of a reduced node with its lost axes kept as 1, so that it broadcasts against the input. */
static mgn_shape kept_shape(const mgn_node *node) {
    mgn_shape shape = node->in[0]->shape;
    for (int i = 0; i < node->attributes.axes; i++) shape.dim[node->attributes.axis + i] = 1;
    return shape;
}

/* One run of neighbouring axes. */
static mgn_node *reduce_run(mgn_op op, mgn_node *a, int first, int axes) {
    mgn_shape shape = {a->shape.rank - axes, {0}};
    mgn_node_attributes attributes = {.axis = first, .axes = axes};
    int64_t outer = 1, n = 1, inner = 1;
    for (int i = 0; i < a->shape.rank; i++) {
        int64_t size = a->shape.dim[i];
        if (i < first)
            outer *= size;
        else if (i < first + axes)
            n *= size;
        else
            inner *= size;
        if (i < first) shape.dim[i] = size;
        if (i >= first + axes) shape.dim[i - axes] = size;
    }
    if (n == 1) return mgn_reshape(a, shape);
    attributes.kernel.reduce.outer = outer;
    attributes.kernel.reduce.n = n;
    attributes.kernel.reduce.inner = inner;
    return mgn_node_new(a->graph, op, MGN_REAL, shape, &a, 1, &attributes);
}

static mgn_node *reduce(mgn_op op, mgn_node *a, int axes) {
    if (!a) return NULL;
    const char *label = mgn_op_infos[op].label;
    int rank = a->shape.rank, all = (1 << rank) - 1;
    if (axes == -1) axes = all;
    if (a->kind != MGN_REAL || (axes & ~all))
        return mgn_graph_fail(a->graph, "%s: axes %#x of a tensor of rank %d", label, (unsigned)axes, rank);
    for (int last = rank - 1; last >= 0; last--) {
        if (!(axes >> last & 1)) continue;
        int first = last;
        while (first > 0 && (axes >> (first - 1) & 1)) first--;
        a = reduce_run(op, a, first, last - first + 1);
        if (!a) return NULL;
        last = first;
    }
    return a;
}

mgn_node *mgn_sum(mgn_node *a, int axes) { return reduce(MGN_OP_sum, a, axes); }

mgn_node *mgn_max(mgn_node *a, int axes) { return reduce(MGN_OP_max, a, axes); }

mgn_node *mgn_mean(mgn_node *a, int axes) {
    mgn_node *sum = mgn_sum(a, axes);
    if (!sum) return NULL;
    int64_t n = 1;
    for (int i = 0; i < a->shape.rank; i++)
        if (axes == -1 || (axes >> i & 1)) n *= a->shape.dim[i];
    return mgn_scale(sum, n ? 1.0 / (double)n : 0.0);
}

mgn_node *mgn_logsumexp(mgn_node *a, int axes) {
    mgn_node *top = mgn_max(a, axes);
    if (!top) return NULL;
    mgn_shape kept = a->shape;
    for (int i = 0; i < a->shape.rank; i++)
        if (axes == -1 || (axes >> i & 1)) kept.dim[i] = 1;
    return mgn_add(top, mgn_log(mgn_sum(mgn_exp(mgn_sub(a, mgn_reshape(top, kept))), axes)));
}

/* ---- derivatives; where several entries share the maximum, they share its derivative ---- */

static mgn_node *max_weights(mgn_node *node) {
    mgn_node *mask = mgn_equal(node->in[0], mgn_reshape(node, kept_shape(node)));
    mgn_node *ties = reduce_run(MGN_OP_sum, mask, node->attributes.axis, node->attributes.axes);
    return mgn_div(mask, mgn_reshape(ties, kept_shape(node)));
}

static mgn_node *reduce_vjp(mgn_node *node, mgn_node *cotangent, int i) {
    (void)i;
    mgn_node *kept = mgn_reshape(cotangent, kept_shape(node));
    return node->op == MGN_OP_sum ? mgn_broadcast(kept, node->in[0]->shape) : mgn_mul(kept, max_weights(node));
}

static mgn_node *reduce_jvp(mgn_node *node, mgn_node *const *tangents) {
    mgn_node *t = node->op == MGN_OP_sum ? tangents[0] : mgn_mul(tangents[0], max_weights(node));
    return t ? reduce_run(MGN_OP_sum, t, node->attributes.axis, node->attributes.axes) : NULL;
}

const mgn_rules mgn_rules_reduce = {reduce_vjp, reduce_jvp};
