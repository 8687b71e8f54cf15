#include "check/oracle_graph.h"

#include <string.h>

#include "core/core.h"
#include "core/random.h"

typedef void oracle_function(const mgn_check_case *c, const mgn_exact *const *in, mgn_exact *out, mgn_exact *magnitude);

/* The permutation itself is checked by its properties (cases_kernel.c); here it matters who gets which entry. */
static void shuffle(const mgn_node *node, const mgn_exact *state, mgn_exact *out) {
    MGN_KNOWN(state);
    const int64_t steps = node->attributes.kernel.shuffle.steps_per_epoch, step = (int64_t)state[2];
    const int64_t population = node->attributes.kernel.shuffle.population;
    const uint64_t seed = (uint64_t)state[1] << 32 | (uint64_t)state[0];
    const mgn_host_shuffle order = mgn_host_shuffle_start(seed, (uint32_t)(step / steps), (uint32_t)population);
    for (int64_t i = 0; i < mgn_shape_count(node->shape); i++) {
        const int64_t position = step % steps * node->attributes.kernel.shuffle.stride + i;
        out[i] = mgn_host_shuffle_at(&order, (uint32_t)(position % population));
    }
}

static void fill_constant(const mgn_node *node, mgn_exact *out) {
    const mgn_node_attributes *a = &node->attributes;
    for (int64_t i = 0; i < mgn_shape_count(node->shape); i++)
        out[i] = node->op == MGN_OP_table ? a->table[i] : a->value;
}

static oracle_function *oracle_of(mgn_op op) {
    switch (op) {
    case MGN_OP_sum: return mgn_oracle_sum;
    case MGN_OP_max: return mgn_oracle_max;
    case MGN_OP_matmul: return mgn_oracle_matmul;
    case MGN_OP_spd_logdet: return mgn_oracle_logdet;
    case MGN_OP_spd_inverse: return mgn_oracle_inverse;
    case MGN_OP_spd_solve: return mgn_oracle_solve;
    case MGN_OP_gather_rows: return mgn_oracle_gather;
    case MGN_OP_scatter_rows: return mgn_oracle_scatter;
    case MGN_OP_uniform: return mgn_oracle_uniform;
    case MGN_OP_normal: return mgn_oracle_normal;
    case MGN_OP_advance: return mgn_oracle_advance;
    case MGN_OP_from_unorm8: return mgn_oracle_from_unorm8;
    case MGN_OP_to_unorm8: return mgn_oracle_to_unorm8;
    case MGN_OP_detach:
    case MGN_OP_reshape: return mgn_oracle_same;
    case MGN_OP_permute: return mgn_oracle_permute;
    case MGN_OP_slice: return mgn_oracle_slice;
    case MGN_OP_pad: return mgn_oracle_pad;
    case MGN_OP_concat: return mgn_oracle_concat;
    case MGN_OP_broadcast: return mgn_oracle_elementwise;
    default: return mgn_op_is_elementwise(op) ? mgn_oracle_elementwise : NULL;
    }
}

/* The node as a case of its op. */
static mgn_check_case case_of(const mgn_node *node) {
    const mgn_node_attributes *a = &node->attributes;
    mgn_check_case c = {.op = node->op, .inputs = node->inputs, .kind = node->kind, .shape = node->shape};
    for (int j = 0; j < node->inputs; j++)
        c.in[j] = (mgn_case_input){.kind = node->in[j]->kind, .shape = node->in[j]->shape};
    c.axis = a->axis;
    c.axes = ((1 << a->axes) - 1) << a->axis;
    c.begin = a->begin;
    memcpy(c.order, a->order, sizeof c.order);
    if (node->op == MGN_OP_matmul)
        c.transpose_a = a->kernel.matmul.transpose_a, c.transpose_b = a->kernel.matmul.transpose_b;
    if (node->op == MGN_OP_uniform || node->op == MGN_OP_normal) c.stream = a->kernel.random.stream;
    if (node->op == MGN_OP_advance) c.steps = a->kernel.advance.steps;
    return c;
}

static mgn_status evaluate(const mgn_node *node, mgn_exact *const *values, mgn_exact *out) {
    const mgn_exact *in[MGN_CASE_INPUTS] = {NULL};
    if (node->op == MGN_OP_constant || node->op == MGN_OP_table) {
        fill_constant(node, out);
        return MGN_OK;
    }
    oracle_function *oracle = oracle_of(node->op);
    if ((!oracle && node->op != MGN_OP_shuffle) || node->inputs > MGN_CASE_INPUTS)
        return mgn_fail(MGN_ERR_UNSUPPORTED, "the oracle of graphs does not know %s of %d inputs",
                        mgn_op_infos[node->op].label, node->inputs);
    for (int j = 0; j < node->inputs; j++) in[j] = values[node->in[j]->id];
    if (!oracle) {
        shuffle(node, in[0], out);
        return MGN_OK;
    }
    const mgn_check_case c = case_of(node);
    oracle(&c, in, out, NULL);
    return MGN_OK;
}

static mgn_status allocate(const mgn_graph *graph, mgn_arena *arena, mgn_exact **values) {
    for (int id = 0; id < graph->count; id++) {
        if (values[id]) continue;
        const int64_t count = mgn_shape_count(graph->nodes[id]->shape);
        values[id] = mgn_arena_alloc(arena, (size_t)MGN_MAX(count, 1), sizeof **values);
        if (!values[id]) return MGN_ERR_MEMORY;
    }
    return MGN_OK;
}

/* Gives inputs what they are assigned, which other assignments may still have to read: by way of `kept`. */
static void assign(const mgn_graph *graph, mgn_exact **values, mgn_exact **kept) {
    for (int pass = 0; pass < 2; pass++)
        for (int id = 0; id < graph->count; id++) {
            const mgn_node *node = graph->nodes[id];
            if (!node->assigned) continue;
            memcpy(pass ? values[id] : kept[id], pass ? kept[id] : values[node->assigned->id],
                   (size_t)mgn_shape_count(node->shape) * sizeof **values);
        }
}

mgn_status mgn_oracle_graph(const mgn_graph *graph, int times, mgn_arena *arena, mgn_exact **values) {
    mgn_exact **kept = mgn_arena_alloc(arena, (size_t)MGN_MAX(graph->count, 1), sizeof *kept);
    if (!kept) return MGN_ERR_MEMORY;
    MGN_TRY(allocate(graph, arena, values));
    MGN_TRY(allocate(graph, arena, kept));
    for (int run = 0; run < times; run++) {
        for (int id = 0; id < graph->count; id++)
            if (graph->nodes[id]->op != MGN_OP_input) MGN_TRY(evaluate(graph->nodes[id], values, values[id]));
        assign(graph, values, kept);
    }
    return MGN_OK;
}
