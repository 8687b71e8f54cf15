/* Ops that move elements: detach (which has no derivative), reshape, broadcast, permute, slice, pad, concat. Plans make views and copies of them. */
#include "graph/graph.h"

static mgn_node *unary(mgn_op op, mgn_node *a, mgn_shape shape, const mgn_node_attributes *attributes) {
    return mgn_node_new(a->graph, op, a->kind, shape, &a, 1, attributes);
}

mgn_node *mgn_detach(mgn_node *a) {
    if (!a || a->op == MGN_OP_detach || a->kind != MGN_REAL) return a;
    return unary(MGN_OP_detach, a, a->shape, NULL);
}

mgn_node *mgn_reshape(mgn_node *a, mgn_shape shape) {
    if (!a || mgn_shape_equal(a->shape, shape)) return a;
    char from[64], to[64];
    if (mgn_shape_count(a->shape) != mgn_shape_count(shape))
        return mgn_graph_fail(a->graph, "reshape: %s has another number of elements than %s",
                              mgn_shape_text(a->shape, from), mgn_shape_text(shape, to));
    if (a->op == MGN_OP_reshape) return mgn_reshape(a->in[0], shape);
    return unary(MGN_OP_reshape, a, shape, NULL);
}

mgn_node *mgn_broadcast(mgn_node *a, mgn_shape shape) {
    if (!a || mgn_shape_equal(a->shape, shape)) return a;
    char from[64], to[64];
    mgn_shape result;
    if (!mgn_shape_broadcast(a->shape, shape, &result) || !mgn_shape_equal(result, shape))
        return mgn_graph_fail(a->graph, "broadcast: %s does not broadcast to %s", mgn_shape_text(a->shape, from),
                              mgn_shape_text(shape, to));
    if (a->op == MGN_OP_broadcast) return mgn_broadcast(a->in[0], shape);
    return unary(MGN_OP_broadcast, a, shape, NULL);
}

mgn_node *mgn_permute(mgn_node *a, const int *order) {
    if (!a) return NULL;
    mgn_node_attributes attributes = {0};
    mgn_shape shape = {a->shape.rank, {0}};
    int seen = 0, sorted = 1;
    for (int i = 0; i < a->shape.rank; i++) {
        if (order[i] < 0 || order[i] >= a->shape.rank || (seen >> order[i] & 1))
            return mgn_graph_fail(a->graph, "permute: the order does not name each of the %d axes once", a->shape.rank);
        seen |= 1 << order[i];
        sorted = sorted && order[i] == i;
        attributes.order[i] = order[i];
        shape.dim[i] = a->shape.dim[order[i]];
    }
    if (sorted) return a;
    if (a->op == MGN_OP_permute) {
        int joined[MGN_MAX_RANK] = {0};
        for (int i = 0; i < a->shape.rank; i++) joined[i] = a->attributes.order[order[i]];
        return mgn_permute(a->in[0], joined);
    }
    return unary(MGN_OP_permute, a, shape, &attributes);
}

mgn_node *mgn_transpose(mgn_node *a) {
    if (!a) return NULL;
    int rank = a->shape.rank, order[MGN_MAX_RANK] = {0};
    if (rank < 2) return mgn_graph_fail(a->graph, "transpose: rank %d given, expected at least 2", rank);
    for (int i = 0; i < rank; i++) order[i] = i;
    order[rank - 1] = rank - 2;
    order[rank - 2] = rank - 1;
    return mgn_permute(a, order);
}

static bool axis_is_valid(const mgn_node *a, int axis, const char *op) {
    if (axis >= 0 && axis < a->shape.rank) return true;
    mgn_graph_fail(a->graph, "%s: axis %d of a tensor of rank %d", op, axis, a->shape.rank);
    return false;
}

mgn_node *mgn_slice(mgn_node *a, int axis, int64_t begin, int64_t length) {
    if (!a || !axis_is_valid(a, axis, "slice")) return NULL;
    int64_t size = a->shape.dim[axis];
    if (begin < 0 || length < 0 || begin > size || length > size - begin)
        return mgn_graph_fail(a->graph, "slice: entries %lld to %lld of an axis of %lld", (long long)begin,
                              (long long)(begin + length), (long long)size);
    if (length == size) return a;
    mgn_shape shape = a->shape;
    shape.dim[axis] = length;
    if (a->op == MGN_OP_concat && a->attributes.axis == axis) { /* a slice of one of the parts */
        int64_t at = 0;
        for (int i = 0; i < a->inputs; i++) {
            int64_t part = a->in[i]->shape.dim[axis];
            if (begin >= at && begin + length <= at + part) return mgn_slice(a->in[i], axis, begin - at, length);
            at += part;
        }
    }
    mgn_node_attributes attributes = {.axis = axis, .begin = begin};
    return unary(MGN_OP_slice, a, shape, &attributes);
}

mgn_node *mgn_pad(mgn_node *a, int axis, int64_t before, int64_t length) {
    if (!a || !axis_is_valid(a, axis, "pad")) return NULL;
    int64_t size = a->shape.dim[axis];
    if (a->kind != MGN_REAL || before < 0 || length < size || before > length - size)
        return mgn_graph_fail(a->graph, "pad: %lld entries at %lld do not fit an axis of %lld", (long long)size,
                              (long long)before, (long long)length);
    if (length == size) return a;
    mgn_shape shape = a->shape;
    shape.dim[axis] = length;
    mgn_node_attributes attributes = {.axis = axis, .begin = before};
    return unary(MGN_OP_pad, a, shape, &attributes);
}

mgn_node *mgn_concat(mgn_node *const *parts, int count, int axis) {
    if (count < 1 || !parts[0] || !axis_is_valid(parts[0], axis, "concat")) return NULL;
    if (count == 1) return parts[0];
    mgn_shape shape = parts[0]->shape;
    char x[64], y[64];
    for (int i = 1; i < count; i++) {
        if (!parts[i]) return NULL;
        mgn_shape part = parts[i]->shape;
        int64_t length = part.rank > axis ? part.dim[axis] : 0;
        if (part.rank > axis) part.dim[axis] = shape.dim[axis];
        if (!mgn_shape_equal(part, shape) || parts[i]->kind != parts[0]->kind)
            return mgn_graph_fail(parts[0]->graph, "concat: %s and %s differ beside axis %d",
                                  mgn_shape_text(parts[0]->shape, x), mgn_shape_text(parts[i]->shape, y), axis);
        shape.dim[axis] += length;
    }
    mgn_node_attributes attributes = {.axis = axis};
    return mgn_node_new(parts[0]->graph, MGN_OP_concat, parts[0]->kind, shape, parts, count, &attributes);
}

mgn_node *mgn_stack(mgn_node *const *parts, int count, int axis) {
    enum { MOST = 1024 };
    mgn_node *raised[MOST];
    if (count < 1 || !parts[0]) return NULL;
    mgn_shape shape = parts[0]->shape;
    if (count > MOST || axis < 0 || axis > shape.rank || shape.rank == MGN_MAX_RANK)
        return mgn_graph_fail(parts[0]->graph, "stack: %d parts of rank %d along axis %d", count, shape.rank, axis);
    for (int i = shape.rank; i > axis; i--) shape.dim[i] = shape.dim[i - 1];
    shape.dim[axis] = 1;
    shape.rank++;
    for (int i = 0; i < count; i++) raised[i] = mgn_reshape(parts[i], shape);
    return mgn_concat(raised, count, axis);
}

mgn_node *mgn_reduce_to(mgn_node *a, mgn_shape shape) {
    if (!a || mgn_shape_equal(a->shape, shape)) return a;
    int extra = a->shape.rank - shape.rank, axes = 0;
    for (int i = 0; i < a->shape.rank; i++)
        if (i < extra || (shape.dim[i - extra] == 1 && a->shape.dim[i] != 1)) axes |= 1 << i;
    return mgn_reshape(axes ? mgn_sum(a, axes) : a, shape);
}

/* ---- derivatives: detach has none; each of the others is linear, so forward mode applies the op itself ---- */

static mgn_node *layout_vjp(mgn_node *node, mgn_node *cotangent, int i) {
    const mgn_node_attributes *at = &node->attributes;
    mgn_shape shape = node->in[i]->shape;
    switch (node->op) {
    case MGN_OP_reshape: return mgn_reshape(cotangent, shape);
    case MGN_OP_broadcast: return mgn_reduce_to(cotangent, shape);
    case MGN_OP_slice: return mgn_pad(cotangent, at->axis, at->begin, shape.dim[at->axis]);
    case MGN_OP_pad: return mgn_slice(cotangent, at->axis, at->begin, shape.dim[at->axis]);
    case MGN_OP_permute: {
        int inverse[MGN_MAX_RANK];
        for (int j = 0; j < shape.rank; j++) inverse[at->order[j]] = j;
        return mgn_permute(cotangent, inverse);
    }
    case MGN_OP_concat: {
        int64_t begin = 0;
        for (int j = 0; j < i; j++) begin += node->in[j]->shape.dim[at->axis];
        return mgn_slice(cotangent, at->axis, begin, shape.dim[at->axis]);
    }
    default: return NULL;
    }
}

static mgn_node *layout_jvp(mgn_node *node, mgn_node *const *tangents) {
    const mgn_node_attributes *at = &node->attributes;
    switch (node->op) {
    case MGN_OP_reshape: return mgn_reshape(tangents[0], node->shape);
    case MGN_OP_broadcast: return mgn_broadcast(tangents[0], node->shape);
    case MGN_OP_slice: return mgn_slice(tangents[0], at->axis, at->begin, node->shape.dim[at->axis]);
    case MGN_OP_pad: return mgn_pad(tangents[0], at->axis, at->begin, node->shape.dim[at->axis]);
    case MGN_OP_permute: return mgn_permute(tangents[0], at->order);
    case MGN_OP_concat: {
        mgn_node **parts = mgn_arena_alloc(node->graph->arena, (size_t)node->inputs, sizeof *parts);
        if (!parts) return NULL;
        for (int i = 0; i < node->inputs; i++)
            parts[i] = tangents[i] ? tangents[i] : mgn_broadcast(mgn_constant(node->graph, 0), node->in[i]->shape);
        return mgn_concat(parts, node->inputs, at->axis);
    }
    default: return NULL;
    }
}

const mgn_rules mgn_rules_layout = {layout_vjp, layout_jvp};
