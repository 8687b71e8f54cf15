/* Symmetric positive definite matrices: log det, inverse, solve. Each reads the symmetric part (A + A^T) / 2 of its
 * matrix, so every derivative with respect to A is symmetric. */
#include "graph/graph.h"

static mgn_node *spd(mgn_op op, mgn_node *a, mgn_node *b) {
    if (!a || (op == MGN_OP_spd_solve && !b)) return NULL;
    int rank = a->shape.rank;
    char x[64], y[64];
    if (rank < 2 || rank > 3 || a->shape.dim[rank - 1] != a->shape.dim[rank - 2] || a->kind != MGN_REAL)
        return mgn_graph_fail(a->graph, "%s: shape %s, expected (d, d) or (n, d, d)", mgn_op_infos[op].label,
                              mgn_shape_text(a->shape, x));
    mgn_shape shape = a->shape;
    mgn_node_attributes attributes = {0};
    attributes.kernel.spd.batch = rank == 3 ? a->shape.dim[0] : 1;
    attributes.kernel.spd.d = a->shape.dim[rank - 1];
    if (op == MGN_OP_spd_logdet) shape.rank -= 2;
    if (op == MGN_OP_spd_solve) {
        if (b->shape.rank != rank || b->shape.dim[rank - 2] != a->shape.dim[rank - 1] || b->kind != MGN_REAL ||
            (rank == 3 && b->shape.dim[0] != a->shape.dim[0]))
            return mgn_graph_fail(a->graph, "spd_solve: a matrix of shape %s does not fit a right side of shape %s",
                                  mgn_shape_text(a->shape, x), mgn_shape_text(b->shape, y));
        attributes.kernel.spd.columns = b->shape.dim[rank - 1];
        shape = b->shape;
    }
    return mgn_node_new(a->graph, op, MGN_REAL, shape, (mgn_node *[]){a, b}, b ? 2 : 1, &attributes);
}

mgn_node *mgn_spd_logdet(mgn_node *a) { return spd(MGN_OP_spd_logdet, a, NULL); }

mgn_node *mgn_spd_inverse(mgn_node *a) { return spd(MGN_OP_spd_inverse, a, NULL); }

mgn_node *mgn_spd_solve(mgn_node *a, mgn_node *b) { return spd(MGN_OP_spd_solve, a, b); }

static mgn_node *symmetric_part(mgn_node *a) { return mgn_scale(mgn_add(a, mgn_transpose(a)), 0.5); }

/* (n) or () as (n, 1, 1) or (1, 1), against matrices. */
static mgn_node *per_matrix(mgn_node *scalar, const mgn_node *matrix) {
    return mgn_reshape(scalar, matrix->shape.rank == 3 ? MGN_SHAPE(matrix->shape.dim[0], 1, 1) : MGN_SHAPE(1, 1));
}

static mgn_node *spd_vjp(mgn_node *node, mgn_node *g, int i) {
    mgn_node *a = node->in[0];
    switch (node->op) {
    case MGN_OP_spd_logdet: return mgn_mul(per_matrix(g, a), mgn_spd_inverse(a));
    case MGN_OP_spd_inverse: return mgn_neg(symmetric_part(mgn_matmul(mgn_matmul(node, g), node)));
    case MGN_OP_spd_solve: {
        mgn_node *of_b = mgn_spd_solve(a, g);
        return i == 1 ? of_b : mgn_neg(symmetric_part(mgn_matmul_t(of_b, false, node, true)));
    }
    default: return NULL;
    }
}

static mgn_node *spd_jvp(mgn_node *node, mgn_node *const *tangents) {
    mgn_node *a = node->in[0], *t = tangents[0];
    int last_two = a->shape.rank == 3 ? 6 : 3;
    switch (node->op) {
    case MGN_OP_spd_logdet: return mgn_sum(mgn_mul(mgn_spd_inverse(a), t), last_two);
    case MGN_OP_spd_inverse: return mgn_neg(mgn_matmul(mgn_matmul(node, symmetric_part(t)), node));
    case MGN_OP_spd_solve: {
        mgn_node *right = tangents[1];
        if (t) right = mgn_add_maybe(right, mgn_neg(mgn_matmul(symmetric_part(t), node)));
        return mgn_spd_solve(a, right);
    }
    default: return NULL;
    }
}

const mgn_rules mgn_rules_spd = {spd_vjp, spd_jvp};
