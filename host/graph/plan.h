/* Between the graph and the backend: what is known of each value while a plan is made. */
#ifndef MGN_HOST_PLAN_H
#define MGN_HOST_PLAN_H

#include "graph/graph.h"

/* Stand-ins for memory that exists only when everything is placed. */
extern mgn_memory *const mgn_scratch_place, *const mgn_pool_place;

typedef struct mgn_value {
    bool live;
    bool has_dense;
    int last_use;        /* id of the last node that reads it, through views too; INT_MAX: read after the last one */
    mgn_tensor *tensor;  /* of an input or an output; of the input that a kernel's result is assigned to in place */
    mgn_operand operand; /* where it lies */
    mgn_operand dense;   /* the same, contiguous */
    bool has_place;      /* `operand` is known before the node's turn: others write parts of it */
    int inside;          /* id of the node whose result this one is a part of, or a term; -1: none */
    int64_t inside_at;   /* elements in front of it there */
    bool is_added;       /* a product: added to what is there */
    bool is_done;        /* its terms make it up; no kernel is needed */
} mgn_value;

typedef struct mgn_block {
    size_t begin, bytes;
    int last_use;
} mgn_block;

typedef struct mgn_lowering {
    mgn_dtype real;
    int node_count;
    mgn_value *values; /* by node id */
    mgn_block *blocks; /* scratch in use now, by place */
    int block_count, block_capacity;
    size_t scratch_bytes;
    mgn_call *calls;
    size_t call_count, call_capacity;
    double *pool; /* constants; entry 0 is zero */
    size_t pool_count, pool_capacity;
} mgn_lowering;

bool mgn_is_view(mgn_op op);
mgn_dtype mgn_lower_dtype(const mgn_lowering *low, const mgn_node *node);

/* Whether a view leaves the matrix under it as it is. */
bool mgn_is_same_matrix(const mgn_node *view);

/* Marks what outputs and assignments need. */
void mgn_lower_mark_live(mgn_lowering *low, const mgn_graph *graph);
/* Last uses and in-place assignments of live nodes; tensors of inputs and outputs must be known. */
void mgn_lower_analyse(mgn_lowering *low, const mgn_graph *graph);
/* Places all values and lists all calls. */
mgn_status mgn_lower_graph(mgn_lowering *low, const mgn_graph *graph);
void mgn_lowering_free(mgn_lowering *low);

/* ---- for lowering one node or region ---- */
mgn_call *mgn_lower_call(mgn_lowering *low, mgn_op op); /* a zeroed call at the end of the list; NULL: out of memory */
mgn_status mgn_lower_scratch(mgn_lowering *low, mgn_dtype dtype, mgn_shape shape, int last_use, mgn_operand *operand);
mgn_status mgn_lower_dense(mgn_lowering *low, const mgn_node *node, mgn_operand *operand);
mgn_status mgn_lower_result(mgn_lowering *low, const mgn_node *node, mgn_operand *operand);
/* Sets where a view of something placed lies. */
mgn_status mgn_lower_view(mgn_lowering *low, const mgn_node *node);
/* `operand` read with `shape`, to which it broadcasts. */
mgn_operand mgn_lower_stretched(mgn_operand operand, mgn_shape shape);
mgn_status mgn_lower_copy(mgn_lowering *low, mgn_operand from, mgn_operand to);

#endif
