/* Cases of elementwise ops: sizes around vector widths, every way of broadcasting, and the points where naive formulas
 * overflow, underflow or cancel. */
#include "check/cases.h"

#include <math.h>
#include <string.h>

mgn_node *mgn_copy(mgn_node *a); /* made by plans; no public builder */

static mgn_node *build(mgn_graph *graph, const mgn_check_case *c, mgn_node *const *in) {
    (void)graph;
    switch (c->op) {
#define MGN_UNARY(op, ...) \
    case MGN_OP_##op: return mgn_##op(in[0]);
#define MGN_BINARY(op, ...) \
    case MGN_OP_##op: return mgn_##op(in[0], in[1]);
#define MGN_TERNARY(op, ...) \
    case MGN_OP_##op: return mgn_##op(in[0], in[1], in[2]);
#include "graph/ops.def"
    default: return NULL;
    }
}

/* Ops with a kink or a jump where an input is 0 or two inputs are equal. */
static bool has_kink(mgn_op op) {
    return op == MGN_OP_abs || op == MGN_OP_sign || op == MGN_OP_maximum || op == MGN_OP_minimum || op == MGN_OP_greater ||
           op == MGN_OP_equal;
}

/* Input number c->inputs, drawn from the op's interval. Kinks are kept an eighth away: each input has its own grid of
 * quarters. A condition is 0 or 1. */
static void draw(mgn_case_list *list, mgn_check_case *c, mgn_shape shape) {
    const mgn_op_info *info = &mgn_op_infos[c->op];
    int which = c->inputs;
    double low = c->flags & MGN_CASE_SECOND ? info->low + 0.02 * (info->high - info->low) : info->low;
    double *x = mgn_case_real(list, c, shape, low, info->high);
    for (int64_t i = 0; i < mgn_shape_count(shape) && !list->failed; i++) {
        if (has_kink(c->op)) x[i] = 0.25 * floor(4 * x[i]) + 0.0625 + 0.125 * which;
        if (c->op == MGN_OP_select && which == 0) x[i] = x[i] > 0;
    }
    c->in[which].fixed = c->op == MGN_OP_select && which == 0;
}

static mgn_check_case *add(mgn_case_list *list, mgn_shape shape, unsigned flags, const char *label) {
    mgn_check_case *c = mgn_case_add(list, shape, flags, "%s", label);
    c->build = build;
    c->oracle = mgn_oracle_elementwise;
    return c;
}

static void plain_cases(mgn_case_list *list) {
    static const struct {
        mgn_shape shape;
        const char *label;
        unsigned flags;
    } sizes[] = {
        {{1, {0}}, "(0)", 0},
        {{1, {1}}, "(1)", MGN_CASE_SECOND},
        {{1, {7}}, "(7)", MGN_CASE_SECOND},
        {{1, {93}}, "(93)", MGN_CASE_BOUNDS},
        {{1, {4096}}, "(4096)", 0},
        {{0, {0}}, "()", 0},
        {{2, {13, 5}}, "(13, 5)", MGN_CASE_BOUNDS},
        {{4, {2, 3, 1, 4}}, "(2, 3, 1, 4)", 0},
    };
    for (size_t i = 0; i < MGN_COUNT(sizes); i++) {
        mgn_check_case *c = add(list, sizes[i].shape, MGN_CASE_DERIVATIVES | sizes[i].flags, sizes[i].label);
        for (int j = 0; j < mgn_op_infos[list->op].arity; j++) draw(list, c, c->shape);
    }
}

/* Two shapes and what they broadcast to; a third input gets the first shape again. */
static void broadcast_cases(mgn_case_list *list) {
    static const struct {
        mgn_shape a, b, out;
        const char *label;
    } patterns[] = {
        {{2, {13, 5}}, {1, {5}}, {2, {13, 5}}, "(13, 5) with (5)"},
        {{1, {5}}, {2, {13, 5}}, {2, {13, 5}}, "(5) with (13, 5)"},
        {{2, {13, 5}}, {2, {13, 1}}, {2, {13, 5}}, "(13, 5) with (13, 1)"},
        {{2, {13, 5}}, {0, {0}}, {2, {13, 5}}, "(13, 5) with ()"},
        {{2, {7, 1}}, {2, {1, 5}}, {2, {7, 5}}, "(7, 1) with (1, 5)"},
        {{3, {4, 1, 3}}, {2, {2, 1}}, {3, {4, 2, 3}}, "(4, 1, 3) with (2, 1)"},
        {{4, {2, 3, 1, 5}}, {3, {3, 4, 1}}, {4, {2, 3, 4, 5}}, "(2, 3, 1, 5) with (3, 4, 1)"},
        {{2, {0, 5}}, {1, {5}}, {2, {0, 5}}, "(0, 5) with (5)"},
        {{2, {4096, 3}}, {1, {3}}, {2, {4096, 3}}, "(4096, 3) with (3)"},
    };
    for (size_t i = 0; i < MGN_COUNT(patterns); i++) {
        mgn_check_case *c = add(list, patterns[i].out, MGN_CASE_DERIVATIVES, patterns[i].label);
        draw(list, c, patterns[i].a);
        draw(list, c, patterns[i].b);
        if (mgn_op_infos[list->op].arity == 3) draw(list, c, patterns[i].a);
    }
}

/* The same node as both operands: derivatives must add up. */
static mgn_node *build_twice(mgn_graph *graph, const mgn_check_case *c, mgn_node *const *in) {
    return build(graph, c, (mgn_node *[]){in[0], in[0], in[0]});
}

static void oracle_twice(const mgn_check_case *c, const mgn_exact *const *in, mgn_exact *out, mgn_exact *magnitude) {
    for (int64_t i = 0; i < mgn_shape_count(c->shape); i++) {
        out[i] = mgn_oracle_scalar(c->op, in[0][i], in[0][i], in[0][i]);
        if (magnitude) magnitude[i] = fabsl(out[i]);
    }
}

static void twice_case(mgn_case_list *list) {
    mgn_check_case *c = add(list, MGN_SHAPE(7), has_kink(list->op) ? 0 : MGN_CASE_DERIVATIVES, "(7) with itself");
    draw(list, c, c->shape);
    c->in[0].fixed = false;
    c->build = build_twice;
    c->oracle = oracle_twice;
}

static void special_cases(mgn_case_list *list) {
    static const double unary[] = {0, -0.0, 1e-40, -1e-40, 1e-30, -1e-30, 1e-8, -1e-8, 1e-6, -1e-6, 1e-4, -1e-4, 0.01, -0.01,
                                   0.3, -0.3, 0.5, -0.5, 1, -1, 3, -3, 10, -10, 20, -20, 50, -50, 80, -80, 88, -88, 100, -100,
                                   1e4, -1e4, 1e30, -1e30, INFINITY, -INFINITY, NAN};
    static const double binary[] = {0, -0.0, 1, -2.5, 1e-30, -1e30, INFINITY, -INFINITY, NAN};
    enum { SIDE = MGN_COUNT(binary) };
    int arity = mgn_op_infos[list->op].arity;
    if (arity == 1) {
        int64_t count = MGN_COUNT(unary) - (list->op == MGN_OP_sign); /* the sign of NaN is 0: nothing to propagate */
        mgn_check_case *c = add(list, MGN_SHAPE(count), 0, "special points");
        memcpy(mgn_case_real(list, c, c->shape, 0, 1), unary, (list->failed ? 1 : (size_t)count) * sizeof *unary);
        return;
    }
    int side = has_kink(list->op) || arity == 3 ? SIDE - 1 : SIDE; /* comparisons with NaN choose, they do not propagate */
    mgn_check_case *c = add(list, MGN_SHAPE(side * side), 0, "pairs of special points");
    double *a = mgn_case_real(list, c, c->shape, 0, 1), *b = mgn_case_real(list, c, c->shape, 0, 1);
    double *third = arity == 3 ? mgn_case_real(list, c, c->shape, -1, 1) : NULL;
    for (int i = 0; i < side * side && !list->failed; i++) {
        a[i] = binary[i / side];
        b[i] = binary[i % side];
        if (third) third[i] = (double)i;
    }
}

/* More elements than any device works on at once, for one op: the loops over them are the same for all. */
static void long_cases(mgn_case_list *list) {
    mgn_check_case *c = add(list, MGN_SHAPE(40007), 0, "(40007)");
    draw(list, c, c->shape);
    draw(list, c, c->shape);
    c = add(list, MGN_SHAPE(203, 201), 0, "(203, 1) with (201)");
    draw(list, c, MGN_SHAPE(203, 1));
    draw(list, c, MGN_SHAPE(201));
}

void mgn_cases_elementwise(mgn_case_list *list) {
    plain_cases(list);
    if (list->op == MGN_OP_sub) long_cases(list);
    special_cases(list);
    if (mgn_op_infos[list->op].arity == 1) return;
    broadcast_cases(list);
    twice_case(list);
}
