/* Counter-based random numbers, keyed shuffles, and the state they are drawn from. */
#include "graph/graph.h"

static mgn_node *from_state(mgn_op op, mgn_node *state, mgn_kind kind, mgn_shape shape,
                            const mgn_node_attributes *attributes) {
    if (!state) return NULL;
    char text[64];
    if (state->kind != MGN_INDEX || state->shape.rank != 1 || state->shape.dim[0] != 4)
        return mgn_graph_fail(state->graph, "%s: the state has shape %s, expected an index vector of 4",
                              mgn_op_infos[op].label, mgn_shape_text(state->shape, text));
    return mgn_node_new(state->graph, op, kind, shape, &state, 1, attributes);
}

mgn_node *mgn_uniform(mgn_node *state, mgn_shape shape, uint32_t stream) {
    mgn_node_attributes attributes = {0};
    attributes.kernel.random.stream = stream;
    return from_state(MGN_OP_uniform, state, MGN_REAL, shape, &attributes);
}

mgn_node *mgn_normal(mgn_node *state, mgn_shape shape, uint32_t stream) {
    mgn_node_attributes attributes = {0};
    attributes.kernel.random.stream = stream;
    return from_state(MGN_OP_normal, state, MGN_REAL, shape, &attributes);
}

mgn_node *mgn_shuffle(mgn_node *state, int64_t population, int64_t batch, int64_t steps_per_epoch, int64_t stride) {
    if (!state) return NULL;
    if (population < 1 || population > UINT32_MAX || batch < 1 || batch > population || steps_per_epoch < 1 ||
        stride < 0 || stride > population || steps_per_epoch > INT64_MAX / (stride + 1))
        return mgn_graph_fail(state->graph, "shuffle: %lld steps of %lld rows, %lld apart, from %lld rows",
                              (long long)steps_per_epoch, (long long)batch, (long long)stride, (long long)population);
    mgn_node_attributes attributes = {0};
    attributes.kernel.shuffle.population = population;
    attributes.kernel.shuffle.batch = batch;
    attributes.kernel.shuffle.steps_per_epoch = steps_per_epoch;
    attributes.kernel.shuffle.stride = stride;
    return from_state(MGN_OP_shuffle, state, MGN_INDEX, MGN_SHAPE(batch), &attributes);
}

mgn_node *mgn_advance(mgn_node *state, uint32_t steps) {
    mgn_node_attributes attributes = {0};
    attributes.kernel.advance.steps = steps;
    return from_state(MGN_OP_advance, state, MGN_INDEX, MGN_SHAPE(4), &attributes);
}

/* Random numbers do not depend on anything real. */
static mgn_node *random_vjp(mgn_node *node, mgn_node *cotangent, int i) {
    (void)node, (void)cotangent, (void)i;
    return NULL;
}

static mgn_node *random_jvp(mgn_node *node, mgn_node *const *tangents) {
    (void)node, (void)tangents;
    return NULL;
}

const mgn_rules mgn_rules_random = {random_vjp, random_jvp};
