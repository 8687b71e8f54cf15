/* One row's graph made into that of many rows, and what it is for: the Jacobian of every row by shared parameters.
 *
 * A cotangent that flows to a shared parameter is summed over all rows, so the Jacobian of single rows would take forward
 * mode, once per parameter. The graph of one row has nothing to sum: reverse mode gives its Jacobian in as many passes as
 * a row of y has entries, and giving every node that depends on the row a leading axis makes it that of all rows. Products
 * of one row are written as products of (rows, k), and outer products as elementwise ones, which is what row programs take. */
#include "graph/batch.h"

#include <string.h>

typedef struct batch {
    mgn_graph *graph;
    int64_t rows;
    mgn_node **of;   /* by id of the old node: the batched one; NULL: shared by all rows */
    bool *depends;   /* by id: on the row, and needed */
    bool is_refused; /* something has no batched form */
} batch;

static mgn_node *refuse(batch *b) {
    b->is_refused = true;
    return NULL;
}

/* (rows, 1, .., 1, shape) with `rank` axes behind the first. */
static mgn_shape batched_shape(const batch *b, mgn_shape shape, int rank) {
    mgn_shape out = {rank + 1, {b->rows}};
    for (int i = 0; i < rank; i++) out.dim[i + 1] = i < rank - shape.rank ? 1 : shape.dim[i - (rank - shape.rank)];
    return out;
}

/* ---- elementwise ---- */

static mgn_node *batch_elementwise(batch *b, const mgn_node *node) {
    mgn_node *in[3] = {NULL};
    for (int i = 0; i < node->inputs; i++) {
        mgn_node *mapped = b->of[node->in[i]->id];
        in[i] = mapped ? mgn_reshape(mapped, batched_shape(b, node->in[i]->shape, node->shape.rank)) : node->in[i];
    }
    return mgn_broadcast(mgn_elementwise(node->op, in), batched_shape(b, node->shape, node->shape.rank));
}

/* ---- layout ---- */

static mgn_node *batch_layout(batch *b, const mgn_node *node) {
    mgn_node *a = b->of[node->in[0]->id];
    const mgn_node_attributes *at = &node->attributes;
    const mgn_shape shape = batched_shape(b, node->shape, node->shape.rank);
    int order[MGN_MAX_RANK] = {0};
    switch (node->op) {
    case MGN_OP_reshape: return mgn_reshape(a, shape);
    case MGN_OP_broadcast:
        return mgn_broadcast(mgn_reshape(a, batched_shape(b, node->in[0]->shape, node->shape.rank)), shape);
    case MGN_OP_permute:
        for (int i = 0; i < node->shape.rank; i++) order[i + 1] = at->order[i] + 1;
        return mgn_permute(a, order);
    case MGN_OP_slice: return mgn_slice(a, at->axis + 1, at->begin, node->shape.dim[at->axis]);
    default: return mgn_pad(a, at->axis + 1, at->begin, node->shape.dim[at->axis]);
    }
}

static mgn_node *batch_concat(batch *b, const mgn_node *node) {
    mgn_node **parts = mgn_arena_alloc(b->graph->arena, (size_t)node->inputs, sizeof *parts);
    if (!parts) return NULL;
    for (int i = 0; i < node->inputs; i++) {
        mgn_node *in = node->in[i], *mapped = b->of[in->id];
        parts[i] = mapped ? mapped : mgn_broadcast(in, batched_shape(b, in->shape, in->shape.rank));
    }
    return mgn_concat(parts, node->inputs, node->attributes.axis + 1);
}

static mgn_node *batch_reduce(batch *b, const mgn_node *node) {
    const int axes = ((1 << node->attributes.axes) - 1) << (node->attributes.axis + 1);
    mgn_node *a = b->of[node->in[0]->id];
    return node->op == MGN_OP_sum ? mgn_sum(a, axes) : mgn_max(a, axes);
}

/* ---- products ---- */

/* An operand without the leading axis of length 1 that the graph of one row has in batched products. */
static mgn_node *as_matrix(batch *b, mgn_node *in, int64_t rows, int64_t columns, bool *is_mapped) {
    mgn_node *mapped = b->of[in->id];
    *is_mapped = mapped != NULL;
    return mapped ? mgn_reshape(mapped, MGN_SHAPE(b->rows, rows, columns)) : mgn_reshape(in, MGN_SHAPE(rows, columns));
}

/* op(a) (m, k) op(b) (k, n) of one row each. */
static mgn_node *batch_matmul(batch *b, const mgn_node *node) {
    const int64_t m = node->attributes.kernel.matmul.m, n = node->attributes.kernel.matmul.n,
                  k = node->attributes.kernel.matmul.k, rows = b->rows;
    const bool ta = node->attributes.kernel.matmul.transpose_a, tb = node->attributes.kernel.matmul.transpose_b;
    bool has_a, has_c;
    if (node->attributes.kernel.matmul.batch != 1) return refuse(b);
    mgn_node *a = as_matrix(b, node->in[0], ta ? k : m, ta ? m : k, &has_a);
    mgn_node *c = as_matrix(b, node->in[1], tb ? n : k, tb ? k : n, &has_c), *out;
    if (k == 1) /* one column times one row */
        out = mgn_mul(mgn_reshape(a, has_a ? MGN_SHAPE(rows, m, 1) : MGN_SHAPE(m, 1)),
                      mgn_reshape(c, has_c ? MGN_SHAPE(rows, 1, n) : MGN_SHAPE(1, n)));
    else if (m == 1 && !has_c)
        out = mgn_matmul_t(mgn_reshape(a, MGN_SHAPE(rows, k)), false, c, tb);
    else if (n == 1 && !has_a)
        out = mgn_matmul_t(mgn_reshape(c, MGN_SHAPE(rows, k)), false, a, !ta);
    else
        out = mgn_matmul_t(a, ta, c, tb);
    return mgn_reshape(out, batched_shape(b, node->shape, node->shape.rank));
}

static mgn_node *batch_spd(batch *b, const mgn_node *node) {
    const int64_t d = node->attributes.kernel.spd.d, columns = node->attributes.kernel.spd.columns;
    if (node->attributes.kernel.spd.batch != 1) return refuse(b);
    const mgn_shape square = MGN_SHAPE(b->rows, d, d), shape = batched_shape(b, node->shape, node->shape.rank);
    bool is_mapped;
    mgn_node *a = mgn_broadcast(as_matrix(b, node->in[0], d, d, &is_mapped), square);
    if (node->op == MGN_OP_spd_logdet) return mgn_reshape(mgn_spd_logdet(a), shape);
    if (node->op == MGN_OP_spd_inverse) return mgn_reshape(mgn_spd_inverse(a), shape);
    mgn_node *right = as_matrix(b, node->in[1], d, columns, &is_mapped);
    return mgn_reshape(mgn_spd_solve(a, mgn_broadcast(right, MGN_SHAPE(b->rows, d, columns))), shape);
}

/* ---- the walk ---- */

static mgn_node *batch_node(batch *b, const mgn_node *node) {
    if (node->kind != MGN_REAL || node->shape.rank >= MGN_MAX_RANK) return refuse(b);
    for (int i = 0; i < node->inputs; i++)
        if (node->in[i]->shape.rank >= MGN_MAX_RANK) return refuse(b);
    if (mgn_op_is_elementwise(node->op)) return batch_elementwise(b, node);
    switch (node->op) {
    case MGN_OP_reshape:
    case MGN_OP_broadcast:
    case MGN_OP_permute:
    case MGN_OP_slice:
    case MGN_OP_pad: return batch_layout(b, node);
    case MGN_OP_concat: return batch_concat(b, node);
    case MGN_OP_sum:
    case MGN_OP_max: return batch_reduce(b, node);
    case MGN_OP_matmul: return batch_matmul(b, node);
    case MGN_OP_spd_logdet:
    case MGN_OP_spd_inverse:
    case MGN_OP_spd_solve: return batch_spd(b, node);
    default: return refuse(b);
    }
}

/* Marks what depends on `from` and what the output needs of it. */
static bool mark(batch *b, const mgn_node *output, mgn_node *const *from, int count) {
    const int known = output->id + 1;
    bool *needed = mgn_alloc((size_t)known, sizeof *needed);
    if (!needed) return false;
    needed[output->id] = true;
    for (int id = output->id; id >= 0; id--)
        for (int i = 0; needed[id] && i < b->graph->nodes[id]->inputs; i++)
            needed[b->graph->nodes[id]->in[i]->id] = true;
    for (int id = 0; id < known; id++) {
        const mgn_node *node = b->graph->nodes[id];
        for (int i = 0; i < count; i++) b->depends[id] = b->depends[id] || from[i] == node;
        for (int i = 0; i < node->inputs; i++) b->depends[id] = b->depends[id] || b->depends[node->in[i]->id];
        b->depends[id] = b->depends[id] && needed[id];
    }
    mgn_free(needed);
    return true;
}

static mgn_status walk(batch *b, const mgn_node *output, mgn_node *const *from, mgn_node *const *to, int count) {
    if (!mark(b, output, from, count)) return MGN_ERR_MEMORY;
    for (int i = 0; i < count; i++)
        if (from[i]->id <= output->id) b->of[from[i]->id] = to[i];
    for (int id = 0; id <= output->id; id++) {
        if (!b->depends[id] || b->of[id]) continue;
        b->of[id] = batch_node(b, b->graph->nodes[id]);
        if (b->is_refused)
            return mgn_fail(MGN_ERR_UNSUPPORTED, "the op %s of one row has no form for many rows at once",
                            mgn_op_infos[b->graph->nodes[id]->op].label);
        MGN_TRY(mgn_graph_status(b->graph));
        if (!b->of[id]) return MGN_ERR_MEMORY;
    }
    return MGN_OK;
}

mgn_status mgn_batch_rows(mgn_node *output, mgn_node *const *from, mgn_node *const *to, int count, int64_t rows,
                          mgn_node **result) {
    if (!output) return mgn_fail(MGN_ERR_ARGUMENT, "many rows were asked of a node that could not be built");
    batch b = {.graph = output->graph, .rows = rows};
    b.of = mgn_alloc((size_t)output->id + 1, sizeof(mgn_node *));
    b.depends = mgn_alloc((size_t)output->id + 1, sizeof *b.depends);
    mgn_status status = b.of && b.depends ? walk(&b, output, from, to, count) : MGN_ERR_MEMORY;
    if (status == MGN_OK) {
        mgn_node *mapped = b.of[output->id];
        const mgn_shape shape = batched_shape(&b, output->shape, output->shape.rank);
        *result = mapped ? mapped : mgn_broadcast(output, shape);
        status = mgn_graph_status(b.graph);
    }
    mgn_free(b.of);
    mgn_free(b.depends);
    return status;
}

/* ---- Jacobians ---- */

/* The nodes that read `flat`, where they are slices that cover it once and in order: they are what a model's parameters
 * are, and a derivative by them needs no padding with zeros. How many; 0 when they are something else. */
static int find_slices(const mgn_graph *graph, const mgn_node *flat, mgn_node **slices, int capacity) {
    int count = 0;
    int64_t covered = 0;
    for (int id = flat->id + 1; id < graph->count; id++) {
        mgn_node *node = graph->nodes[id];
        bool reads = false;
        for (int i = 0; i < node->inputs; i++) reads = reads || node->in[i] == flat;
        if (!reads) continue;
        if (node->op != MGN_OP_slice || node->attributes.begin != covered || count == capacity) return 0;
        slices[count++] = node;
        covered += node->shape.dim[0];
    }
    return covered == flat->shape.dim[0] ? count : 0;
}

/* d y[j] / d flat of the graph of one row: (p). */
static mgn_status one_gradient(mgn_node *y, int64_t j, mgn_node *flat, mgn_node *const *slices, int slice_count,
                               mgn_node **gradient) {
    mgn_node *component = mgn_reshape(mgn_slice(y, 1, j, 1), MGN_SCALAR);
    if (slice_count == 0) return mgn_grad(component, &flat, 1, gradient);
    mgn_node **parts = mgn_arena_alloc(flat->graph->arena, (size_t)slice_count, sizeof *parts);
    if (!parts) return MGN_ERR_MEMORY;
    MGN_TRY(mgn_grad(component, slices, slice_count, parts));
    *gradient = mgn_concat(parts, slice_count, 0);
    return mgn_graph_status(flat->graph);
}

mgn_status mgn_shared_jacobian(mgn_row_function *function, const void *context, mgn_node *flat, mgn_node *x,
                               mgn_node **jacobian) {
    enum { MOST_SLICES = 1024, MOST = 1024 };
    if (!flat || !x) return mgn_fail(MGN_ERR_ARGUMENT, "a Jacobian was asked of a node that could not be built");
    mgn_graph *graph = x->graph;
    const int64_t n = x->shape.dim[0], d = x->shape.dim[1];
    mgn_node *slices[MOST_SLICES], *rows[MOST], *row = mgn_input(graph, "one row", MGN_REAL, MGN_SHAPE(1, d));
    mgn_node *y = function(context, flat, row);
    MGN_TRY(mgn_graph_status(graph));
    const int64_t e = y->shape.dim[1];
    if (e > MOST) return mgn_fail(MGN_ERR_UNSUPPORTED, "a Jacobian of %lld rows; at most %d", (long long)e, MOST);
    const int slice_count = find_slices(graph, flat, slices, MOST_SLICES);
    for (int64_t j = 0; j < e; j++) MGN_TRY(one_gradient(y, j, flat, slices, slice_count, &rows[j]));
    mgn_node *all = mgn_stack(rows, (int)e, 0), *to = mgn_reshape(x, MGN_SHAPE(n, 1, d));
    MGN_TRY(mgn_graph_status(graph));
    return mgn_batch_rows(all, &row, &to, 1, n, jacobian);
}
