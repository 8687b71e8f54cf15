/* Inside of a graph: nodes, the rules of each op family, and the helpers that families share. */
#ifndef MGN_HOST_GRAPH_H
#define MGN_HOST_GRAPH_H

#include <mgn/graph.h>

#include "backend/backend.h"
#include "core/core.h"
#include "graph/ops.h"

/* What a node needs besides its inputs. Compared as bytes when equal nodes are merged: zero what is unused. */
typedef struct mgn_node_attributes {
    mgn_attributes kernel;   /* handed to the backend */
    double value;            /* constant */
    const double *table;     /* table: in the graph's arena */
    int axis;                /* sum, max: first reduced axis; slice, pad, concat: the axis */
    int axes;                /* sum, max: number of reduced axes */
    int64_t begin;           /* slice: first entry; pad: zeros in front */
    int order[MGN_MAX_RANK]; /* permute */
} mgn_node_attributes;

struct mgn_node {
    mgn_graph *graph;
    int id; /* order of creation: inputs come before their consumers */
    mgn_op op;
    mgn_kind kind;
    mgn_shape shape;
    int inputs;
    mgn_node **in;
    mgn_node_attributes attributes;
    const char *label; /* input: its name */
    bool is_output;
    mgn_node *assigned; /* input: what it holds after a run; NULL: unchanged */
    mgn_node *next_equal_hash;
};

enum { MGN_NODE_BUCKETS = 1024 };

struct mgn_graph {
    mgn_arena *arena;
    mgn_node **nodes; /* by id */
    int count, capacity;
    mgn_status status; /* first failure */
    char sentence[512];
    mgn_node *buckets[MGN_NODE_BUCKETS];
};

/* The one way to make a node. Equal nodes are merged. `inputs` may be NULL pointers, and so may `graph`: then the result is
 * NULL. */
mgn_node *mgn_node_new(mgn_graph *graph, mgn_op op, mgn_kind kind, mgn_shape shape, mgn_node *const *in, int inputs,
                       const mgn_node_attributes *attributes);
/* Records the first failure and returns NULL. */
mgn_node *mgn_graph_fail(mgn_graph *graph, const char *format, ...) MGN_PRINTF(2, 3);
/* The same for want of memory. Returns MEMORY. */
mgn_status mgn_graph_exhaust(mgn_graph *graph);

/* An elementwise op by its name in the enum; unused inputs are NULL. */
mgn_node *mgn_elementwise(mgn_op op, mgn_node *const in[3]);

/* ---- shapes ---- */
bool mgn_shape_equal(mgn_shape a, mgn_shape b);
const char *mgn_shape_text(mgn_shape shape, char text[64]); /* "(3, 4)" */
/* The shape two operands broadcast to; false when they do not. */
bool mgn_shape_broadcast(mgn_shape a, mgn_shape b, mgn_shape *out);
/* Sums `a` down to `shape`, which broadcasts to a's shape. */
mgn_node *mgn_reduce_to(mgn_node *a, mgn_shape shape);

/* ---- small questions ---- */
static inline bool mgn_is_constant(const mgn_node *node, double value) {
    return node->op == MGN_OP_constant && node->attributes.value == value;
}

/* ---- derivatives ---- */

/* Reverse rule: the cotangent of input `i`, given that of the node; NULL for zero. Of any shape that sums down to the
 * input's (the engine reduces broadcasts). */
typedef mgn_node *mgn_vjp_rule(mgn_node *node, mgn_node *cotangent, int i);
/* Forward rule: the node's tangent, given its inputs' (NULL entries are zero; not all are). */
typedef mgn_node *mgn_jvp_rule(mgn_node *node, mgn_node *const *tangents);

typedef struct mgn_rules {
    mgn_vjp_rule *vjp;
    mgn_jvp_rule *jvp;
} mgn_rules;

/* One pair per family of ops.def. */
extern const mgn_rules mgn_rules_elementwise, mgn_rules_reduce, mgn_rules_matmul, mgn_rules_spd, mgn_rules_rows,
    mgn_rules_cloud, mgn_rules_conv, mgn_rules_random, mgn_rules_unorm8, mgn_rules_leaf, mgn_rules_layout;
const mgn_rules *mgn_rules_of(mgn_op op);

/* a + b where either may be NULL (zero). */
mgn_node *mgn_add_maybe(mgn_node *a, mgn_node *b);

#endif
