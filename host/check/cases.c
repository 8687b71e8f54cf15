/* Making cases: random inputs, the walk over the table, and the cases of leaves and layout ops. */
#include "check/cases.h"

#include <stdio.h>
#include <string.h>

/* ---- random inputs ---- */

static uint64_t next_bits(uint64_t *state) {
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

double mgn_case_random(mgn_case_list *list, double low, double high) {
    return low + (high - low) * ((double)(next_bits(&list->random) >> 11) * 0x1p-53);
}

mgn_status mgn_cases_make(mgn_case_list *list, mgn_op op, uint64_t seed) {
    list->op = op;
    list->count = 0;
    list->failed = false;
    list->random = seed ^ UINT64_C(0xcbf29ce484222325);
    for (const char *c = mgn_op_infos[op].label; *c; c++)
        list->random = (list->random ^ (unsigned char)*c) * UINT64_C(0x100000001b3);
    switch (op) {
#define MGN_UNARY(op, ...)           \
    case MGN_OP_##op:                \
        mgn_cases_elementwise(list); \
        break;
#define MGN_BINARY MGN_UNARY
#define MGN_TERNARY MGN_UNARY
#define MGN_KERNEL(op, ...)   \
    case MGN_OP_##op:         \
        mgn_cases_##op(list); \
        break;
#define MGN_LAYOUT MGN_KERNEL
#include "graph/ops.def"
    case MGN_OP_COUNT: break;
    }
    return list->failed
               ? mgn_fail(MGN_ERR_MEMORY, "check: the cases of %s do not fit in memory", mgn_op_infos[op].label)
               : MGN_OK;
}

mgn_check_case *mgn_case_add(mgn_case_list *list, mgn_shape shape, unsigned flags, const char *label, ...) {
    if (list->count == MGN_CASES_MOST) list->failed = true;
    mgn_check_case *c = &list->items[list->failed ? MGN_CASES_MOST - 1 : list->count++];
    char text[128];
    va_list arguments;
    va_start(arguments, label);
    vsnprintf(text, sizeof text, label, arguments);
    va_end(arguments);
    *c = (mgn_check_case){.label = mgn_arena_strdup(list->arena, text),
                          .op = list->op,
                          .flags = flags,
                          .ulps = mgn_op_infos[list->op].ulps,
                          .kind = MGN_REAL,
                          .shape = shape};
    if (!c->label) list->failed = true;
    return c;
}

/* Room for the next input; one element at least, so that failures of memory need no care before the end. */
static double *next_input(mgn_case_list *list, mgn_check_case *c, mgn_kind kind, mgn_shape shape) {
    static double nowhere[1];
    double *values = mgn_arena_alloc(list->arena, (size_t)MGN_MAX(mgn_shape_count(shape), 1), sizeof *values);
    if (!values || c->inputs == MGN_CASE_INPUTS) {
        list->failed = true;
        return nowhere;
    }
    c->in[c->inputs++] = (mgn_case_input){.kind = kind, .shape = shape, .values = values};
    return values;
}

double *mgn_case_real(mgn_case_list *list, mgn_check_case *c, mgn_shape shape, double low, double high) {
    double *values = next_input(list, c, MGN_REAL, shape);
    if (list->failed) return values;
    for (int64_t i = 0; i < mgn_shape_count(shape); i++) values[i] = mgn_case_random(list, low, high);
    return values;
}

double *mgn_case_distinct(mgn_case_list *list, mgn_check_case *c, mgn_shape shape) {
    double *values = next_input(list, c, MGN_REAL, shape);
    int64_t count = list->failed ? 0 : mgn_shape_count(shape);
    for (int64_t i = 0; i < count; i++) { /* a shuffle of equally spaced numbers, by insertion */
        int64_t j = (int64_t)mgn_case_random(list, 0, (double)(i + 1));
        values[i] = values[j];
        values[j] = 2.0 * ((double)i + 0.5) / (double)count - 1.0;
    }
    return values;
}

double *mgn_case_index(mgn_case_list *list, mgn_check_case *c, int64_t length, int64_t limit) {
    double *values = next_input(list, c, MGN_INDEX, MGN_SHAPE(length));
    if (list->failed) return values;
    for (int64_t i = 0; i < length; i++) values[i] = (double)(int64_t)mgn_case_random(list, 0, (double)limit);
    return values;
}

/* ---- leaves ---- */

static const double table_values[] = {1.5, -2, 0.25, 0.1, 1e-3, 7};

static mgn_node *build_input(mgn_graph *graph, const mgn_check_case *c, mgn_node *const *in) {
    (void)graph, (void)c;
    return in[0];
}

static mgn_node *build_constant(mgn_graph *graph, const mgn_check_case *c, mgn_node *const *in) {
    (void)c, (void)in;
    return mgn_constant(graph, table_values[0]);
}

static mgn_node *build_table(mgn_graph *graph, const mgn_check_case *c, mgn_node *const *in) {
    (void)in;
    return mgn_table(graph, table_values, c->shape);
}

static void oracle_table(const mgn_check_case *c, const mgn_exact *const *in, mgn_exact *out, mgn_exact *magnitude) {
    (void)in;
    for (int64_t i = 0; i < mgn_shape_count(c->shape); i++) {
        out[i] = table_values[i];
        if (magnitude) magnitude[i] = table_values[i] < 0 ? -out[i] : out[i];
    }
}

void mgn_cases_input(mgn_case_list *list) {
    mgn_check_case *c = mgn_case_add(list, MGN_SHAPE(7, 3), MGN_CASE_DERIVATIVES, "(7, 3) itself");
    mgn_case_real(list, c, c->shape, -4, 4);
    c->build = build_input;
    c->oracle = mgn_oracle_same;
    c->ulps = 1; /* writing rounds to the plan's precision */
}

void mgn_cases_constant(mgn_case_list *list) {
    mgn_check_case *c = mgn_case_add(list, MGN_SCALAR, 0, "a constant");
    c->build = build_constant;
    c->oracle = oracle_table;
}

void mgn_cases_table(mgn_case_list *list) {
    mgn_check_case *c = mgn_case_add(list, MGN_SHAPE(2, 3), 0, "(2, 3)");
    c->build = build_table;
    c->oracle = oracle_table;
    c->ulps = 1;
}

/* ---- layout ops: exact, whatever the precision ---- */

static mgn_node *build_layout(mgn_graph *graph, const mgn_check_case *c, mgn_node *const *in) {
    (void)graph;
    switch (c->op) {
    case MGN_OP_reshape: return mgn_reshape(in[0], c->shape);
    case MGN_OP_broadcast: return mgn_broadcast(in[0], c->shape);
    case MGN_OP_permute: return mgn_permute(in[0], c->order);
    case MGN_OP_slice: return mgn_slice(in[0], c->axis, c->begin, c->length);
    case MGN_OP_pad: return mgn_pad(in[0], c->axis, c->begin, c->length);
    case MGN_OP_concat: return mgn_concat(in, c->inputs, c->axis);
    default: return NULL;
    }
}

static mgn_node *build_detach(mgn_graph *graph, const mgn_check_case *c, mgn_node *const *in) {
    (void)graph, (void)c;
    return mgn_detach(in[0]);
}

/* Its derivative is 0 by decree, whatever differences say. */
void mgn_cases_detach(mgn_case_list *list) {
    mgn_check_case *c = mgn_case_add(list, MGN_SHAPE(7, 5), 0, "(7, 5)");
    mgn_case_real(list, c, c->shape, -4, 4);
    c->build = build_detach;
    c->oracle = mgn_oracle_same;
}

static mgn_check_case *layout(mgn_case_list *list, mgn_shape from, mgn_shape to, const char *label) {
    mgn_check_case *c = mgn_case_add(list, to, MGN_CASE_DERIVATIVES, "%s", label);
    c->build = build_layout;
    mgn_case_real(list, c, from, -4, 4);
    return c;
}

void mgn_cases_reshape(mgn_case_list *list) {
    layout(list, MGN_SHAPE(6, 4), MGN_SHAPE(2, 3, 4), "(6, 4) to (2, 3, 4)")->oracle = mgn_oracle_same;
    layout(list, MGN_SHAPE(1, 1), MGN_SCALAR, "(1, 1) to ()")->oracle = mgn_oracle_same;
    layout(list, MGN_SHAPE(0, 4), MGN_SHAPE(2, 0), "(0, 4) to (2, 0)")->oracle = mgn_oracle_same;
}

void mgn_cases_broadcast(mgn_case_list *list) {
    layout(list, MGN_SCALAR, MGN_SHAPE(7, 3), "() to (7, 3)")->oracle = mgn_oracle_elementwise;
    layout(list, MGN_SHAPE(3), MGN_SHAPE(93, 3), "(3) to (93, 3)")->oracle = mgn_oracle_elementwise;
    layout(list, MGN_SHAPE(7, 1), MGN_SHAPE(7, 5), "(7, 1) to (7, 5)")->oracle = mgn_oracle_elementwise;
    layout(list, MGN_SHAPE(3, 1, 2), MGN_SHAPE(2, 3, 4, 2), "(3, 1, 2) to (2, 3, 4, 2)")->oracle =
        mgn_oracle_elementwise;
}

void mgn_cases_permute(mgn_case_list *list) {
    static const int orders[][4] = {{0, 2, 1, 3}, {1, 0, 2, 3}, {1, 2, 0, 3}, {2, 0, 1, 3}, {2, 1, 0, 3}, {3, 1, 0, 2}};
    for (size_t i = 0; i < MGN_COUNT(orders); i++) {
        int rank = orders[i][3] == 3 ? 3 : 4;
        mgn_shape from = rank == 3 ? MGN_SHAPE(3, 5, 4) : MGN_SHAPE(2, 3, 4, 5), to = from;
        for (int j = 0; j < rank; j++) to.dim[j] = from.dim[orders[i][j]];
        char label[64];
        snprintf(label, sizeof label, "rank %d by %d%d%d%d", rank, orders[i][0], orders[i][1], orders[i][2],
                 orders[i][3]);
        mgn_check_case *c = layout(list, from, to, label);
        memcpy(c->order, orders[i], sizeof c->order);
        c->oracle = mgn_oracle_permute;
    }
}

static void slice_case(mgn_case_list *list, mgn_shape from, int axis, int64_t begin, int64_t length) {
    mgn_shape to = from;
    char label[64];
    to.dim[axis] = length;
    snprintf(label, sizeof label, "%d of %d entries from %d along axis %d of rank %d", (int)length, (int)from.dim[axis],
             (int)begin, axis, from.rank);
    mgn_check_case *c = layout(list, from, to, label);
    c->axis = axis, c->begin = begin, c->length = length;
    c->oracle = mgn_oracle_slice;
}

void mgn_cases_slice(mgn_case_list *list) {
    slice_case(list, MGN_SHAPE(93), 0, 5, 7);
    slice_case(list, MGN_SHAPE(93), 0, 93, 0);
    slice_case(list, MGN_SHAPE(7, 5), 0, 2, 3);
    slice_case(list, MGN_SHAPE(7, 5), 1, 4, 1);
    slice_case(list, MGN_SHAPE(3, 5, 4), 1, 1, 3);
    slice_case(list, MGN_SHAPE(2, 3, 4, 5), 2, 0, 3);
}

static void pad_case(mgn_case_list *list, mgn_shape from, int axis, int64_t before, int64_t length) {
    mgn_shape to = from;
    char label[64];
    to.dim[axis] = length;
    snprintf(label, sizeof label, "%d entries at %d of %d along axis %d of rank %d", (int)from.dim[axis], (int)before,
             (int)length, axis, from.rank);
    mgn_check_case *c = layout(list, from, to, label);
    c->axis = axis, c->begin = before, c->length = length;
    c->oracle = mgn_oracle_pad;
}

void mgn_cases_pad(mgn_case_list *list) {
    pad_case(list, MGN_SHAPE(7), 0, 0, 93);
    pad_case(list, MGN_SHAPE(0), 0, 2, 5);
    pad_case(list, MGN_SHAPE(7, 5), 0, 3, 12);
    pad_case(list, MGN_SHAPE(7, 5), 1, 1, 6);
    pad_case(list, MGN_SHAPE(3, 5, 4), 1, 2, 9);
    pad_case(list, MGN_SHAPE(2, 3, 4, 5), 3, 0, 8);
}

static void concat_case(mgn_case_list *list, mgn_shape part, int axis, int64_t second, int64_t third) {
    mgn_shape to = part, other = part;
    char label[64];
    snprintf(label, sizeof label, "%d, %d and %d entries along axis %d of rank %d", (int)part.dim[axis], (int)second,
             (int)third, axis, part.rank);
    to.dim[axis] += second + third;
    mgn_check_case *c = layout(list, part, to, label);
    other.dim[axis] = second;
    mgn_case_real(list, c, other, -4, 4);
    other.dim[axis] = third;
    mgn_case_real(list, c, other, -4, 4);
    c->axis = axis;
    c->oracle = mgn_oracle_concat;
}

void mgn_cases_concat(mgn_case_list *list) {
    concat_case(list, MGN_SHAPE(7), 0, 1, 93);
    concat_case(list, MGN_SHAPE(7, 5), 0, 0, 3);
    concat_case(list, MGN_SHAPE(7, 5), 1, 1, 2);
    concat_case(list, MGN_SHAPE(3, 5, 4), 1, 2, 1);
    concat_case(list, MGN_SHAPE(3, 5, 4), 2, 4, 3);
}
