/* Matrix products, with transposes and a batch. */
#include "graph/graph.h"

/* Whether a node only swaps the last two axes of its input. */
static bool is_transpose(const mgn_node *node) {
    if (node->op != MGN_OP_permute) return false;
    int rank = node->shape.rank;
    for (int i = 0; i < rank - 2; i++)
        if (node->attributes.order[i] != i) return false;
    return true;
}

/* A broadcast of one row to many (the tangents of row_jacobian): the product of the one row, then broadcast. */
static mgn_node *product_of_repeated_row(mgn_node *a, mgn_node *b, bool transpose_b, mgn_shape shape) {
    mgn_node *row = a->in[0];
    int64_t k = a->shape.dim[1];
    if (mgn_shape_count(row->shape) != k || row->shape.rank == 0 || row->shape.dim[row->shape.rank - 1] != k)
        return NULL;
    return mgn_broadcast(mgn_matmul_t(mgn_reshape(row, MGN_SHAPE(1, k)), false, b, transpose_b), shape);
}

mgn_node *mgn_matmul(mgn_node *a, mgn_node *b) { return mgn_matmul_t(a, false, b, false); }

mgn_node *mgn_matmul_t(mgn_node *a, bool transpose_a, mgn_node *b, bool transpose_b) {
    if (!a || !b) return NULL;
    if (is_transpose(a)) return mgn_matmul_t(a->in[0], !transpose_a, b, transpose_b);
    if (is_transpose(b)) return mgn_matmul_t(a, transpose_a, b->in[0], !transpose_b);
    int ra = a->shape.rank, rb = b->shape.rank;
    char x[64], y[64];
    if (ra < 2 || ra > 3 || rb < 2 || rb > 3)
        return mgn_graph_fail(a->graph, "matmul: shapes %s and %s, expected ranks 2 or 3", mgn_shape_text(a->shape, x),
                              mgn_shape_text(b->shape, y));
    int64_t m = a->shape.dim[ra - (transpose_a ? 1 : 2)], ka = a->shape.dim[ra - (transpose_a ? 2 : 1)];
    int64_t kb = b->shape.dim[rb - (transpose_b ? 1 : 2)], n = b->shape.dim[rb - (transpose_b ? 2 : 1)];
    int64_t batch_a = ra == 3 ? a->shape.dim[0] : 1, batch_b = rb == 3 ? b->shape.dim[0] : 1;
    if (ka != kb || (ra == 3 && rb == 3 && batch_a != batch_b) || a->kind != MGN_REAL || b->kind != MGN_REAL)
        return mgn_graph_fail(a->graph, "matmul: shapes %s%s and %s%s do not fit", mgn_shape_text(a->shape, x),
                              transpose_a ? " transposed" : "", mgn_shape_text(b->shape, y),
                              transpose_b ? " transposed" : "");
    if (ra == 3 && rb == 2 && !transpose_a) /* one product of all rows */
        return mgn_reshape(mgn_matmul_t(mgn_reshape(a, MGN_SHAPE(batch_a * m, ka)), false, b, transpose_b),
                           MGN_SHAPE(batch_a, m, n));
    int64_t batch = MGN_MAX(batch_a, batch_b);
    if ((ra == 3 && batch_a == 0) || (rb == 3 && batch_b == 0)) batch = 0;
    mgn_shape shape = ra == 3 || rb == 3 ? MGN_SHAPE(batch, m, n) : MGN_SHAPE(m, n);
    if (a->op == MGN_OP_broadcast && ra == 2 && rb == 2 && !transpose_a) {
        mgn_node *product = product_of_repeated_row(a, b, transpose_b, shape);
        if (product) return product;
    }
    mgn_node_attributes attributes = {0};
    attributes.kernel.matmul.batch = batch;
    attributes.kernel.matmul.m = m;
    attributes.kernel.matmul.n = n;
    attributes.kernel.matmul.k = ka;
    attributes.kernel.matmul.stride_a = ra == 3 ? m * ka : 0;
    attributes.kernel.matmul.stride_b = rb == 3 ? ka * n : 0;
    attributes.kernel.matmul.transpose_a = transpose_a;
    attributes.kernel.matmul.transpose_b = transpose_b;
    return mgn_node_new(a->graph, MGN_OP_matmul, MGN_REAL, shape, (mgn_node *[]){a, b}, 2, &attributes);
}

/* With C = op(A) op(B) and cotangent G: the cotangent of op(A) is G op(B)^T, of op(B) op(A)^T G. A shared operand sums
 * over the batch. */
static mgn_node *matmul_vjp(mgn_node *node, mgn_node *g, int i) {
    mgn_node *a = node->in[0], *b = node->in[1];
    bool ta = node->attributes.kernel.matmul.transpose_a, tb = node->attributes.kernel.matmul.transpose_b;
    mgn_node *product;
    if (i == 0)
        product = ta ? mgn_matmul_t(b, tb, g, true) : mgn_matmul_t(g, false, b, !tb);
    else
        product = tb ? mgn_matmul_t(g, true, a, ta) : mgn_matmul_t(a, !ta, g, false);
    return product && product->shape.rank > node->in[i]->shape.rank ? mgn_sum(product, 1) : product;
}

static mgn_node *matmul_jvp(mgn_node *node, mgn_node *const *tangents) {
    bool ta = node->attributes.kernel.matmul.transpose_a, tb = node->attributes.kernel.matmul.transpose_b;
    mgn_node *left = tangents[0] ? mgn_matmul_t(tangents[0], ta, node->in[1], tb) : NULL;
    mgn_node *right = tangents[1] ? mgn_matmul_t(node->in[0], ta, tangents[1], tb) : NULL;
    return mgn_add_maybe(left, right);
}

const mgn_rules mgn_rules_matmul = {matmul_vjp, matmul_jvp};
