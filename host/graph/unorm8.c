/* Pixels: bytes packed four to a word of an index tensor, in the order in which they lie in memory. */
#include "graph/graph.h"

/* The number of words of `count` bytes, or -1. */
static int64_t words_of(int64_t count) { return count % 4 == 0 ? count / 4 : -1; }

mgn_node *mgn_from_unorm8(mgn_node *words, mgn_shape shape) {
    if (!words) return NULL;
    char x[64], y[64];
    if (words->kind != MGN_INDEX || words->shape.rank != 1 || words_of(mgn_shape_count(shape)) != words->shape.dim[0])
        return mgn_graph_fail(words->graph,
                              "from_unorm8: an index vector of a quarter of the elements of %s was expected, %s found",
                              mgn_shape_text(shape, x), mgn_shape_text(words->shape, y));
    return mgn_node_new(words->graph, MGN_OP_from_unorm8, MGN_REAL, shape, &words, 1, NULL);
}

mgn_node *mgn_to_unorm8(mgn_node *a) {
    if (!a) return NULL;
    char x[64];
    int64_t words = words_of(mgn_shape_count(a->shape));
    if (a->kind != MGN_REAL || words < 0)
        return mgn_graph_fail(a->graph,
                              "to_unorm8: reals whose number is a multiple of 4 were expected, shape %s found",
                              mgn_shape_text(a->shape, x));
    return mgn_node_new(a->graph, MGN_OP_to_unorm8, MGN_INDEX, MGN_SHAPE(words), &a, 1, NULL);
}

/* Bytes are not real numbers: nothing is differentiated through them. */
static mgn_node *unorm8_vjp(mgn_node *node, mgn_node *cotangent, int i) {
    (void)node, (void)cotangent, (void)i;
    return NULL;
}

static mgn_node *unorm8_jvp(mgn_node *node, mgn_node *const *tangents) {
    (void)node, (void)tangents;
    return NULL;
}

const mgn_rules mgn_rules_unorm8 = {unorm8_vjp, unorm8_jvp};
