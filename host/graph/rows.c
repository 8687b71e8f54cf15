/* Rows by index: gather, and scatter, which is its transpose. */
#include "graph/graph.h"

static mgn_node *rows(mgn_op op, mgn_node *a, mgn_node *index, int64_t result_rows) {
    if (!a || !index) return NULL;
    char x[64], y[64];
    if (a->shape.rank < 1 || index->shape.rank != 1 || index->kind != MGN_INDEX || a->kind != MGN_REAL ||
        (op == MGN_OP_scatter_rows && a->shape.dim[0] != index->shape.dim[0]) || result_rows < 0)
        return mgn_graph_fail(a->graph, "%s: rows of shape %s by an index of shape %s do not fit",
                              mgn_op_infos[op].label, mgn_shape_text(a->shape, x), mgn_shape_text(index->shape, y));
    mgn_shape shape = a->shape;
    shape.dim[0] = result_rows;
    mgn_node_attributes attributes = {0};
    attributes.kernel.rows.rows = result_rows;
    attributes.kernel.rows.source_rows = a->shape.dim[0];
    attributes.kernel.rows.columns = 1;
    for (int i = 1; i < a->shape.rank; i++) attributes.kernel.rows.columns *= a->shape.dim[i];
    return mgn_node_new(a->graph, op, MGN_REAL, shape, (mgn_node *[]){a, index}, 2, &attributes);
}

mgn_node *mgn_gather_rows(mgn_node *a, mgn_node *index) {
    return rows(MGN_OP_gather_rows, a, index, index && index->shape.rank == 1 ? index->shape.dim[0] : 0);
}

mgn_node *mgn_scatter_rows(mgn_node *a, mgn_node *index, int64_t result_rows) {
    return rows(MGN_OP_scatter_rows, a, index, result_rows);
}

static mgn_node *rows_vjp(mgn_node *node, mgn_node *cotangent, int i) {
    if (i == 1) return NULL; /* an index has no derivative */
    return node->op == MGN_OP_gather_rows ? mgn_scatter_rows(cotangent, node->in[1], node->in[0]->shape.dim[0])
                                          : mgn_gather_rows(cotangent, node->in[1]);
}

static mgn_node *rows_jvp(mgn_node *node, mgn_node *const *tangents) {
    return rows(node->op, tangents[0], node->in[1], node->shape.dim[0]);
}

const mgn_rules mgn_rules_rows = {rows_vjp, rows_jvp};
