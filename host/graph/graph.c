/* Graph life, node creation with merging of equal nodes, leaves and shapes. */
#include "graph/graph.h"

#include <stdio.h>
#include <string.h>

mgn_status mgn_graph_create(mgn_graph **graph) {
    mgn_graph *g = mgn_alloc(1, sizeof *g);
    if (!g) return MGN_ERR_MEMORY;
    g->arena = mgn_arena_create();
    if (!g->arena) {
        mgn_free(g);
        return MGN_ERR_MEMORY;
    }
    *graph = g;
    return MGN_OK;
}

void mgn_graph_destroy(mgn_graph *graph) {
    if (!graph) return;
    mgn_arena_destroy(graph->arena);
    mgn_free(graph->nodes);
    mgn_free(graph);
}

mgn_status mgn_graph_status(const mgn_graph *graph) {
    return graph->status == MGN_OK ? MGN_OK : mgn_fail(graph->status, "%s", graph->sentence);
}

mgn_node *mgn_graph_fail(mgn_graph *graph, const char *format, ...) {
    if (!graph || graph->status != MGN_OK) return NULL;
    graph->status = MGN_ERR_ARGUMENT;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(graph->sentence, sizeof graph->sentence, format, arguments);
    va_end(arguments);
    return NULL;
}

mgn_status mgn_graph_exhaust(mgn_graph *graph) {
    if (!graph) return MGN_ERR_MEMORY;
    mgn_graph_fail(graph, "out of memory while building a graph of %d nodes", graph->count);
    graph->status = MGN_ERR_MEMORY;
    return mgn_graph_status(graph);
}

static mgn_node *out_of_memory(mgn_graph *graph) {
    mgn_graph_exhaust(graph);
    return NULL;
}

mgn_shape mgn_node_shape(const mgn_node *node) { return node ? node->shape : MGN_SCALAR; }

mgn_graph *mgn_node_graph(const mgn_node *node) { return node ? node->graph : NULL; }

/* ---- shapes ---- */

int64_t mgn_shape_count(mgn_shape shape) {
    int64_t count = 1;
    for (int i = 0; i < shape.rank; i++) count *= shape.dim[i];
    return count;
}

bool mgn_shape_equal(mgn_shape a, mgn_shape b) {
    if (a.rank != b.rank) return false;
    for (int i = 0; i < a.rank; i++)
        if (a.dim[i] != b.dim[i]) return false;
    return true;
}

const char *mgn_shape_text(mgn_shape shape, char text[64]) {
    int at = snprintf(text, 64, "(");
    for (int i = 0; i < shape.rank && at < 64; i++)
        at += snprintf(text + at, (size_t)(64 - at), i ? ", %lld" : "%lld", (long long)shape.dim[i]);
    if (at < 64) snprintf(text + at, (size_t)(64 - at), ")");
    return text;
}

bool mgn_shape_broadcast(mgn_shape a, mgn_shape b, mgn_shape *out) {
    mgn_shape result = {MGN_MAX(a.rank, b.rank), {0}};
    for (int i = 0; i < result.rank; i++) {
        int ia = i - (result.rank - a.rank), ib = i - (result.rank - b.rank);
        int64_t da = ia < 0 ? 1 : a.dim[ia], db = ib < 0 ? 1 : b.dim[ib];
        if (da != db && da != 1 && db != 1) return false;
        result.dim[i] = da == 1 ? db : da;
    }
    *out = result;
    return true;
}

/* A shape is usable when its rank fits and its element count does not overflow. */
static bool shape_is_valid(mgn_shape shape) {
    if (shape.rank < 0 || shape.rank > MGN_MAX_RANK) return false;
    int64_t count = 1;
    for (int i = 0; i < shape.rank; i++) {
        if (shape.dim[i] < 0 || __builtin_mul_overflow(count, shape.dim[i], &count)) return false;
        if (count > (int64_t)1 << 48) return false;
    }
    return true;
}

/* ---- nodes ---- */

static bool same_node(const mgn_node *n, mgn_op op, mgn_shape shape, mgn_node *const *in, int inputs,
                      const mgn_node_attributes *attributes) {
    if (n->op != op || n->inputs != inputs || !mgn_shape_equal(n->shape, shape)) return false;
    for (int i = 0; i < inputs; i++)
        if (n->in[i] != in[i]) return false;
    return memcmp(&n->attributes, attributes, sizeof *attributes) == 0;
}

/* By whole words: graphs are built anew in many calls. */
static uint64_t bucket_of(mgn_op op, mgn_node *const *in, int inputs, const mgn_node_attributes *attributes) {
    const uint64_t factor = UINT64_C(0x9e3779b97f4a7c15);
    uint64_t words[sizeof *attributes / sizeof(uint64_t)], hash = MGN_HASH_START ^ (uint64_t)op;
    _Static_assert(sizeof words == sizeof *attributes, "attributes are whole words");
    memcpy(words, attributes, sizeof words);
    for (int i = 0; i < inputs; i++) hash = hash * factor ^ (uint64_t)in[i]->id;
    for (size_t i = 0; i < MGN_COUNT(words); i++) hash = (hash ^ words[i] ^ words[i] >> 32) * factor;
    return (hash ^ hash >> 32) % MGN_NODE_BUCKETS;
}

static bool append_node(mgn_graph *graph, mgn_node *node) {
    if (graph->count == graph->capacity) {
        int capacity = graph->capacity ? 2 * graph->capacity : 64;
        mgn_node **grown = mgn_realloc(graph->nodes, (size_t)capacity, sizeof *grown);
        if (!grown) return false;
        graph->nodes = grown;
        graph->capacity = capacity;
    }
    node->id = graph->count;
    graph->nodes[graph->count++] = node;
    return true;
}

mgn_node *mgn_node_new(mgn_graph *graph, mgn_op op, mgn_kind kind, mgn_shape shape, mgn_node *const *in, int inputs,
                       const mgn_node_attributes *attributes) {
    static const mgn_node_attributes none;
    if (!graph) return NULL; /* that of a node which could not be built */
    if (!attributes) attributes = &none;
    for (int i = 0; i < inputs; i++) {
        if (!in[i]) return NULL;
        if (in[i]->graph != graph)
            return mgn_graph_fail(graph, "%s: its inputs are of different graphs", mgn_op_infos[op].label);
    }
    char text[64];
    if (!shape_is_valid(shape))
        return mgn_graph_fail(graph, "%s: the shape %s is not one a tensor can have (rank 0 to %d, sizes from 0)",
                              mgn_op_infos[op].label, mgn_shape_text(shape, text), MGN_MAX_RANK);
    for (int i = shape.rank; i < MGN_MAX_RANK; i++) shape.dim[i] = 0;
    const uint64_t hash = bucket_of(op, in, inputs, attributes);
    bool mergeable = op != MGN_OP_input;
    for (mgn_node *n = mergeable ? graph->buckets[hash] : NULL; n; n = n->next_equal_hash)
        if (same_node(n, op, shape, in, inputs, attributes)) return n;
    mgn_node *node = mgn_arena_alloc(graph->arena, 1, sizeof *node);
    mgn_node **inputs_copy =
        node ? mgn_arena_alloc(graph->arena, (size_t)MGN_MAX(inputs, 1), sizeof *inputs_copy) : NULL;
    if (!inputs_copy || !append_node(graph, node)) return out_of_memory(graph);
    for (int i = 0; i < inputs; i++) inputs_copy[i] = in[i];
    node->graph = graph;
    node->op = op;
    node->kind = kind;
    node->shape = shape;
    node->inputs = inputs;
    node->in = inputs_copy;
    node->attributes = *attributes;
    if (mergeable) {
        node->next_equal_hash = graph->buckets[hash];
        graph->buckets[hash] = node;
    }
    return node;
}

/* ---- leaves ---- */

mgn_node *mgn_input(mgn_graph *graph, const char *name, mgn_kind kind, mgn_shape shape) {
    mgn_node *node = mgn_node_new(graph, MGN_OP_input, kind, shape, NULL, 0, NULL);
    if (!node) return NULL;
    node->label = mgn_arena_strdup(graph->arena, name);
    return node->label ? node : out_of_memory(graph);
}

mgn_node *mgn_constant(mgn_graph *graph, double value) {
    mgn_node_attributes attributes = {.value = value};
    return mgn_node_new(graph, MGN_OP_constant, MGN_REAL, MGN_SCALAR, NULL, 0, &attributes);
}

mgn_node *mgn_table(mgn_graph *graph, const double *values, mgn_shape shape) {
    if (!graph || !shape_is_valid(shape)) return mgn_node_new(graph, MGN_OP_table, MGN_REAL, shape, NULL, 0, NULL);
    size_t count = (size_t)mgn_shape_count(shape);
    double *copy = mgn_arena_alloc(graph->arena, MGN_MAX(count, 1), sizeof *copy);
    if (!copy) return out_of_memory(graph);
    if (count) memcpy(copy, values, count * sizeof *copy);
    mgn_node_attributes attributes = {.table = copy};
    return mgn_node_new(graph, MGN_OP_table, MGN_REAL, shape, NULL, 0, &attributes);
}

mgn_node *mgn_identity(mgn_graph *graph, int64_t d) {
    if (!graph || d < 0 || d > 1 << 15)
        return mgn_graph_fail(graph, "identity: a size of %lld is out of range", (long long)d);
    double *values = mgn_arena_alloc(graph->arena, (size_t)MGN_MAX(d * d, 1), sizeof *values);
    if (!values) return out_of_memory(graph);
    for (int64_t i = 0; i < d; i++) values[i * d + i] = 1;
    return mgn_table(graph, values, MGN_SHAPE(d, d));
}

/* A leaf has no inputs, so no rule of its own is ever asked for. */
const mgn_rules mgn_rules_leaf = {NULL, NULL};

/* ---- marks ---- */

void mgn_output(mgn_node *node) {
    if (node) node->is_output = true;
}

void mgn_assign(mgn_node *target, mgn_node *value) {
    if (!target || !value) return;
    char a[64], b[64];
    if (target->op != MGN_OP_input)
        mgn_graph_fail(target->graph, "assign: the target is a %s, expected an input", mgn_op_infos[target->op].label);
    else if (!mgn_shape_equal(target->shape, value->shape) || target->kind != value->kind)
        mgn_graph_fail(target->graph, "assign: input '%s' has shape %s, its new value %s", target->label,
                       mgn_shape_text(target->shape, a), mgn_shape_text(value->shape, b));
    else
        target->assigned = value;
}
