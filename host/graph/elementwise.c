/* Elementwise ops: builders with broadcasting and small simplifications, and the derivatives the table declares.
 *
 * The simplifications are those that derivative rules call for all the time: products with 1 and 0, sums with 0, signs,
 * arithmetic on constants, and broadcasts that the op does anyway. */
#include "graph/graph.h"

#define MGN_REAL_IS_DOUBLE
#include "mgn_math.h"

/* ---- arithmetic on constants, in double, from the table's own expressions ---- */

static double evaluate(mgn_op op, double a, double b, double c) {
    (void)b, (void)c;
    switch (op) {
#define MGN_UNARY(op, expression, ...) \
    case MGN_OP_##op: return expression;
#define MGN_BINARY(op, expression, ...) \
    case MGN_OP_##op: return expression;
#define MGN_TERNARY(op, expression, ...) \
    case MGN_OP_##op: return expression;
#include "graph/ops.def"
    default: return 0;
    }
}

/* ---- simplification ---- */

/* `node` seen as a value of `shape`: itself where it has that shape; NULL of NULL. */
static mgn_node *as_shape(mgn_node *node, mgn_shape shape) {
    return !node || mgn_shape_equal(node->shape, shape) ? node : mgn_broadcast(node, shape);
}

/* A node equal to op(in), or NULL when nothing simpler is known. */
static mgn_node *simplify(mgn_graph *graph, mgn_op op, mgn_node *const *in, mgn_shape shape) {
    mgn_node *a = in[0], *b = in[mgn_op_infos[op].arity > 1]; /* of one operand: itself */
    bool folds = true;
    for (int i = 0; i < mgn_op_infos[op].arity; i++) {
        MGN_KNOWN(in[i]);
        folds = folds && in[i]->op == MGN_OP_constant;
    }
    MGN_KNOWN(a && b);
    if (folds)
        return mgn_constant(graph, evaluate(op, a->attributes.value, b->attributes.value,
                                            mgn_op_infos[op].arity > 2 ? in[2]->attributes.value : 0));
    if (op == MGN_OP_neg && a->op == MGN_OP_neg) return a->in[0];
    if (op == MGN_OP_mul) {
        if (mgn_is_constant(a, 1)) return as_shape(b, shape);
        if (mgn_is_constant(b, 1)) return as_shape(a, shape);
        if (mgn_is_constant(a, -1)) return as_shape(mgn_neg(b), shape);
        if (mgn_is_constant(b, -1)) return as_shape(mgn_neg(a), shape);
        if (mgn_is_constant(a, 0) || mgn_is_constant(b, 0)) return as_shape(mgn_constant(graph, 0), shape);
    }
    if (op == MGN_OP_add && mgn_is_constant(a, 0)) return as_shape(b, shape);
    if (op == MGN_OP_add && mgn_is_constant(b, 0)) return as_shape(a, shape);
    if (op == MGN_OP_add && b->op == MGN_OP_neg) return mgn_sub(a, b->in[0]);
    if (op == MGN_OP_sub && mgn_is_constant(b, 0)) return as_shape(a, shape);
    if (op == MGN_OP_sub && b->op == MGN_OP_neg) return mgn_add(a, b->in[0]);
    if (op == MGN_OP_div && mgn_is_constant(b, 1)) return as_shape(a, shape);
    return NULL;
}

static mgn_node *build(mgn_op op, mgn_node *a, mgn_node *b, mgn_node *c) {
    mgn_node *in[3] = {a, b, c};
    int arity = mgn_op_infos[op].arity;
    for (int i = 0; i < arity; i++)
        if (!in[i]) return NULL;
    mgn_graph *graph = a->graph;
    mgn_shape shape = a->shape;
    char x[64], y[64];
    for (int i = 0; i < arity; i++) {
        if (in[i]->kind != MGN_REAL)
            return mgn_graph_fail(graph, "%s: its input %d is an index tensor, expected reals", mgn_op_infos[op].label, i + 1);
        if (!mgn_shape_broadcast(shape, in[i]->shape, &shape))
            return mgn_graph_fail(graph, "%s: shapes %s and %s do not broadcast to one another", mgn_op_infos[op].label,
                                  mgn_shape_text(shape, x), mgn_shape_text(in[i]->shape, y));
    }
    /* The op broadcasts by itself: a broadcast in front of it is only needed when nothing else has the full shape. */
    for (int i = 0; i < arity; i++)
        while (in[i]->op == MGN_OP_broadcast) {
            mgn_node *kept = in[i];
            in[i] = kept->in[0];
            mgn_shape without = in[0]->shape;
            for (int j = 1; j < arity; j++) mgn_shape_broadcast(without, in[j]->shape, &without);
            if (mgn_shape_equal(without, shape)) continue;
            in[i] = kept;
            break;
        }
    mgn_node *simpler = simplify(graph, op, in, shape);
    return simpler ? simpler : mgn_node_new(graph, op, MGN_REAL, shape, in, arity, NULL);
}

mgn_node *mgn_elementwise(mgn_op op, mgn_node *const in[3]) { return build(op, in[0], in[1], in[2]); }

/* ---- builders: mgn_tanh, mgn_add, ... as declared in mgn/graph.h. `copy` is for plans alone. ---- */

mgn_node *mgn_copy(mgn_node *a);
#define MGN_UNARY(op, ...) \
    mgn_node *mgn_##op(mgn_node *a) { return build(MGN_OP_##op, a, NULL, NULL); }
#define MGN_BINARY(op, ...) \
    mgn_node *mgn_##op(mgn_node *a, mgn_node *b) { return build(MGN_OP_##op, a, b, NULL); }
#define MGN_TERNARY(op, ...) \
    mgn_node *mgn_##op(mgn_node *a, mgn_node *b, mgn_node *c) { return build(MGN_OP_##op, a, b, c); }
#include "graph/ops.def"

mgn_node *mgn_scale(mgn_node *a, double factor) { return a ? mgn_mul(a, mgn_constant(a->graph, factor)) : NULL; }

mgn_node *mgn_shift(mgn_node *a, double term) { return a ? mgn_add(a, mgn_constant(a->graph, term)) : NULL; }

mgn_node *mgn_add_maybe(mgn_node *a, mgn_node *b) { return !a ? b : !b ? a : mgn_add(a, b); }

/* ---- derivatives ---- */

#define GRAPH (out->graph)
#define ONE mgn_constant(GRAPH, 1)
#define ZERO mgn_constant(GRAPH, 0)

/* The partial derivative of `out` by its input i, as ops.def declares it; NULL where it is zero. */
static mgn_node *partial(mgn_node *out, int i) {
    mgn_node *a = out->in[0], *b = out->in[out->inputs > 1]; /* of one operand: itself */
    MGN_KNOWN(a && b);
    (void)b;
    switch (out->op) {
#define MGN_UNARY(op, expression, da, ...) \
    case MGN_OP_##op: return da;
#define MGN_BINARY(op, expression, da, db, ...) \
    case MGN_OP_##op: return i == 0 ? da : db;
#define MGN_TERNARY(op, expression, da, db, dc, ...) \
    case MGN_OP_##op: return i == 0 ? da : i == 1 ? db : dc;
#include "graph/ops.def"
    default: return NULL;
    }
    (void)a;
}

static mgn_node *elementwise_vjp(mgn_node *node, mgn_node *cotangent, int i) {
    mgn_node *d = partial(node, i);
    return d ? mgn_mul(cotangent, d) : NULL;
}

static mgn_node *elementwise_jvp(mgn_node *node, mgn_node *const *tangents) {
    mgn_node *sum = NULL;
    for (int i = 0; i < node->inputs; i++) {
        mgn_node *d = tangents[i] ? partial(node, i) : NULL;
        if (d) sum = mgn_add_maybe(sum, mgn_mul(tangents[i], d));
    }
    return sum ? as_shape(sum, node->shape) : NULL;
}

const mgn_rules mgn_rules_elementwise = {elementwise_vjp, elementwise_jvp};
