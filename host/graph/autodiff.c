/* Reverse and forward mode. Rules give nodes, the engine does the rest: which nodes matter, sums over consumers, and
 * the reduction of broadcasts. */
#include <string.h>

#include "graph/graph.h"

const mgn_rules *mgn_rules_of(mgn_op op) {
    static const mgn_rules *const rules[MGN_OP_COUNT] = {
#define MGN_UNARY(op, ...) [MGN_OP_##op] = &mgn_rules_elementwise,
#define MGN_BINARY(op, ...) [MGN_OP_##op] = &mgn_rules_elementwise,
#define MGN_TERNARY(op, ...) [MGN_OP_##op] = &mgn_rules_elementwise,
#define MGN_KERNEL(op, family, ...) [MGN_OP_##op] = &mgn_rules_##family,
#define MGN_LAYOUT(op, family) [MGN_OP_##op] = &mgn_rules_##family,
#include "graph/ops.def"
    };
    return rules[op];
}

/* Marks in depends[id] the nodes that depend on one of `wrt`, not through detach. */
static bool *find_dependents(mgn_graph *graph, mgn_node *const *wrt, int count) {
    bool *depends = mgn_alloc((size_t)graph->count, sizeof *depends);
    if (!depends) return NULL;
    for (int i = 0; i < count; i++) depends[wrt[i]->id] = true;
    for (int id = 0; id < graph->count; id++)
        for (int i = 0; graph->nodes[id]->op != MGN_OP_detach && i < graph->nodes[id]->inputs; i++)
            if (depends[graph->nodes[id]->in[i]->id]) depends[id] = true;
    return depends;
}

/* The cotangents that consumers sent to one node so far. */
typedef struct contributions {
    mgn_node **list;
    int count, capacity;
} contributions;

static bool contribute(contributions *to, mgn_node *cotangent) {
    if (to->count == to->capacity) {
        int capacity = to->capacity ? 2 * to->capacity : 4;
        mgn_node **grown = mgn_realloc(to->list, (size_t)capacity, sizeof *grown);
        if (!grown) return false;
        to->list = grown;
        to->capacity = capacity;
    }
    to->list[to->count++] = cotangent;
    return true;
}

/* Slices of one vector send padded cotangents: the views of the flat parameter vector. Where they do not overlap, their
 * sum is a concatenation, one copy an element instead of a sum of vectors that are mostly zero. NULL: does not apply. */
static mgn_node *join_pads(const contributions *c, mgn_shape shape) {
    int axis = c->list[0]->attributes.axis;
    for (int i = 0; i < c->count; i++)
        if (c->list[i]->op != MGN_OP_pad || c->list[i]->attributes.axis != axis) return NULL;
    for (int i = 1; i < c->count; i++) /* insertion sort by position */
        for (int j = i; j > 0 && c->list[j]->attributes.begin < c->list[j - 1]->attributes.begin; j--) {
            mgn_node *swap = c->list[j];
            c->list[j] = c->list[j - 1];
            c->list[j - 1] = swap;
        }
    mgn_graph *graph = c->list[0]->graph;
    mgn_node **parts = mgn_arena_alloc(graph->arena, 2 * (size_t)c->count + 1, sizeof *parts);
    if (!parts) {
        mgn_graph_exhaust(graph);
        return NULL;
    }
    int count = 0;
    int64_t at = 0;
    for (int i = 0; i <= c->count; i++) {
        int64_t begin = i < c->count ? c->list[i]->attributes.begin : shape.dim[axis];
        if (begin < at) return NULL;
        if (begin > at) {
            mgn_shape gap = shape;
            gap.dim[axis] = begin - at;
            parts[count++] = mgn_broadcast(mgn_constant(graph, 0), gap);
        }
        if (i == c->count) break;
        parts[count++] = c->list[i]->in[0];
        at = begin + c->list[i]->in[0]->shape.dim[axis];
    }
    return mgn_concat(parts, count, axis);
}

/* The sum of all contributions, of the shape of `node`; NULL when there are none. */
static mgn_node *total(const contributions *c, const mgn_node *node) {
    if (c->count == 0) return NULL;
    mgn_node *joined = c->count > 1 ? join_pads(c, node->shape) : NULL;
    if (joined) return joined;
    mgn_node *sum = c->list[0];
    for (int i = 1; i < c->count; i++) sum = mgn_add(sum, c->list[i]);
    return sum ? mgn_broadcast(mgn_reduce_to(sum, node->shape), node->shape) : NULL;
}

/* Sends the cotangent of `node` on to the inputs that matter. */
static mgn_status send_back(mgn_node *node, mgn_node *cotangent, const bool *depends, contributions *all) {
    const mgn_rules *rules = mgn_rules_of(node->op);
    for (int i = 0; i < node->inputs; i++) {
        mgn_node *in = node->in[i];
        if (!depends[in->id] || in->kind != MGN_REAL) continue;
        mgn_node *back = rules->vjp(node, cotangent, i);
        MGN_TRY(mgn_graph_status(node->graph));
        back = back ? mgn_reduce_to(back, in->shape) : NULL;
        if (back && !contribute(&all[in->id], back)) return MGN_ERR_MEMORY;
    }
    return MGN_OK;
}

static mgn_status reverse(mgn_graph *graph, const bool *depends, contributions *all, int known, mgn_node *const *wrt,
                          int count, mgn_node **gradients) {
    for (int i = 0; i < count; i++) gradients[i] = NULL;
    for (int id = known - 1; id >= 0; id--) {
        mgn_node *node = graph->nodes[id];
        if (!depends[id] || all[id].count == 0) continue;
        mgn_node *cotangent = total(&all[id], node);
        MGN_TRY(mgn_graph_status(graph));
        for (int i = 0; i < count; i++)
            if (wrt[i] == node) gradients[i] = cotangent;
        MGN_TRY(send_back(node, cotangent, depends, all));
    }
    for (int i = 0; i < count; i++)
        if (!gradients[i]) gradients[i] = mgn_broadcast(mgn_constant(graph, 0), wrt[i]->shape);
    return mgn_graph_status(graph);
}

/* The graph that all of the nodes belong to; NULL, with a status, when one of them failed to build. */
static mgn_status common_graph(mgn_node *const *nodes, int count, mgn_graph **graph) {
    for (int i = 0; i < count; i++) {
        if (!nodes[i])
            return *graph && (*graph)->status != MGN_OK
                       ? mgn_graph_status(*graph)
                       : mgn_fail(MGN_ERR_ARGUMENT, "a derivative was asked of a node that could not be built");
        if (!*graph) *graph = nodes[i]->graph;
        if (nodes[i]->graph != *graph) return mgn_fail(MGN_ERR_ARGUMENT, "a derivative was asked across two graphs");
        if (nodes[i]->kind != MGN_REAL) return mgn_fail(MGN_ERR_ARGUMENT, "an index tensor has no derivative");
    }
    return MGN_OK;
}

/* A graph that lacks a derivative for want of memory is not built on: who goes on with it hears of the memory again. */
static mgn_status ended(mgn_graph *graph, mgn_status status) {
    return status == MGN_ERR_MEMORY ? mgn_graph_exhaust(graph) : status;
}

mgn_status mgn_vjp(mgn_node *const *outputs, mgn_node *const *cotangents, int output_count, mgn_node *const *wrt,
                   int count, mgn_node **gradients) {
    mgn_graph *graph = NULL;
    MGN_TRY(common_graph(wrt, count, &graph));
    MGN_TRY(common_graph(outputs, output_count, &graph));
    MGN_TRY(common_graph(cotangents, output_count, &graph));
    if (!graph) return MGN_OK;
    char x[64], y[64];
    for (int j = 0; j < output_count; j++)
        if (!mgn_shape_equal(outputs[j]->shape, cotangents[j]->shape))
            return mgn_fail(MGN_ERR_ARGUMENT, "vjp: output %d has shape %s, its cotangent %s", j,
                            mgn_shape_text(outputs[j]->shape, x), mgn_shape_text(cotangents[j]->shape, y));
    int known = graph->count; /* rules append to the graph; what they append is never walked */
    bool *depends = find_dependents(graph, wrt, count);
    contributions *all = mgn_alloc((size_t)known, sizeof *all);
    mgn_status status = depends && all ? MGN_OK : MGN_ERR_MEMORY;
    for (int j = 0; status == MGN_OK && j < output_count; j++)
        if (depends[outputs[j]->id] && !contribute(&all[outputs[j]->id], cotangents[j])) status = MGN_ERR_MEMORY;
    if (status == MGN_OK) status = reverse(graph, depends, all, known, wrt, count, gradients);
    for (int id = 0; all && id < known; id++) mgn_free(all[id].list);
    mgn_free(all);
    mgn_free(depends);
    return ended(graph, status);
}

mgn_status mgn_grad(mgn_node *scalar, mgn_node *const *wrt, int count, mgn_node **gradients) {
    char text[64];
    if (scalar && scalar->shape.rank != 0)
        return mgn_fail(MGN_ERR_ARGUMENT, "grad: a scalar was expected, shape %s found",
                        mgn_shape_text(scalar->shape, text));
    mgn_node *one = scalar ? mgn_constant(scalar->graph, 1) : NULL;
    return mgn_vjp(&scalar, &one, 1, wrt, count, gradients);
}

/* ---- forward mode ---- */

/* Unmarks what no output is computed from: the tangents of earlier calls depend on the same inputs, and carrying them
 * along would double the graph with every call. */
static mgn_status keep_ancestors(mgn_graph *graph, mgn_node *const *outputs, int count, bool *depends, int known) {
    bool *needed = mgn_alloc((size_t)known, sizeof *needed);
    if (!needed) return MGN_ERR_MEMORY;
    for (int j = 0; j < count; j++) needed[outputs[j]->id] = true;
    for (int id = known - 1; id >= 0; id--) {
        for (int i = 0; needed[id] && i < graph->nodes[id]->inputs; i++) needed[graph->nodes[id]->in[i]->id] = true;
        depends[id] = depends[id] && needed[id];
    }
    mgn_free(needed);
    return MGN_OK;
}

static mgn_status forward(mgn_graph *graph, const bool *depends, mgn_node **tangent_of, int known) {
    for (int id = 0; id < known; id++) {
        mgn_node *node = graph->nodes[id];
        if (!depends[id] || tangent_of[id] || node->inputs == 0 || node->kind != MGN_REAL) continue;
        mgn_node **tangents = mgn_arena_alloc(graph->arena, (size_t)node->inputs, sizeof *tangents);
        if (!tangents) return MGN_ERR_MEMORY;
        bool any = false;
        for (int i = 0; i < node->inputs; i++) {
            tangents[i] = node->in[i]->id < known ? tangent_of[node->in[i]->id] : NULL;
            any = any || tangents[i];
        }
        if (!any) continue;
        tangent_of[id] = mgn_rules_of(node->op)->jvp(node, tangents);
        MGN_TRY(mgn_graph_status(graph));
    }
    return MGN_OK;
}

mgn_status mgn_jvp(mgn_node *const *outputs, int output_count, mgn_node *const *wrt, mgn_node *const *tangents,
                   int count, mgn_node **derivatives) {
    mgn_graph *graph = NULL;
    MGN_TRY(common_graph(wrt, count, &graph));
    MGN_TRY(common_graph(tangents, count, &graph));
    MGN_TRY(common_graph(outputs, output_count, &graph));
    if (!graph) return MGN_OK;
    char x[64], y[64];
    for (int i = 0; i < count; i++)
        if (!mgn_shape_equal(wrt[i]->shape, tangents[i]->shape))
            return mgn_fail(MGN_ERR_ARGUMENT, "jvp: input %d has shape %s, its tangent %s", i,
                            mgn_shape_text(wrt[i]->shape, x), mgn_shape_text(tangents[i]->shape, y));
    int known = graph->count;
    bool *depends = find_dependents(graph, wrt, count);
    mgn_node **tangent_of = mgn_alloc((size_t)known, sizeof *tangent_of);
    mgn_status status =
        depends && tangent_of ? keep_ancestors(graph, outputs, output_count, depends, known) : MGN_ERR_MEMORY;
    for (int i = 0; status == MGN_OK && i < count; i++) tangent_of[wrt[i]->id] = tangents[i];
    if (status == MGN_OK) status = forward(graph, depends, tangent_of, known);
    for (int j = 0; status == MGN_OK && j < output_count; j++) {
        mgn_node *t = tangent_of[outputs[j]->id];
        derivatives[j] = t ? t : mgn_broadcast(mgn_constant(graph, 0), outputs[j]->shape);
    }
    mgn_free(tangent_of);
    mgn_free(depends);
    return ended(graph, status);
}

mgn_node *mgn_row_jacobian(mgn_node *y, mgn_node *x) {
    if (!x || !y) return NULL;
    mgn_graph *graph = x->graph;
    char a[64], b[64];
    enum { MOST = 1024 };
    if (x->shape.rank != 2 || y->shape.rank != 2 || x->shape.dim[0] != y->shape.dim[0] || x->shape.dim[1] > MOST)
        return mgn_graph_fail(graph, "row_jacobian: y %s and x %s are not matrices with rows in common",
                              mgn_shape_text(y->shape, a), mgn_shape_text(x->shape, b));
    int64_t d = x->shape.dim[1];
    mgn_node *columns[MOST];
    mgn_node *identity = mgn_identity(graph, d);
    for (int64_t i = 0; i < d; i++) {
        mgn_node *tangent = mgn_broadcast(mgn_slice(identity, 0, i, 1), x->shape);
        if (!tangent || mgn_jvp(&y, 1, &x, &tangent, 1, &columns[i]) != MGN_OK) return NULL;
    }
    return mgn_stack(columns, (int)d, 2);
}
