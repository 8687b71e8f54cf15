/* Graphs cut into parts; see split.c. */
#ifndef MGN_HOST_SPLIT_H
#define MGN_HOST_SPLIT_H

#include "graph/plan.h"

enum { MGN_MOST_PARTS = 1024, MGN_MOST_NODE_INPUTS = 8 };

/* A part of a graph, to be run in the order of the list. */
typedef struct mgn_part {
    mgn_graph *graph;
    int *stands_for; /* by node id of the part: the node of the whole graph that an input or output is; -1: none */
} mgn_part;

/* Whether a graph is a row program or a wide program. Errors: MEMORY. */
typedef mgn_status mgn_part_test(const mgn_graph *graph, mgn_dtype real, bool *is_one);

/* What wide parts hand each other: so many bytes at most, and, `by_cost`, only where that is cheaper than to compute again
 * what a part needs. */
typedef struct mgn_keeping {
    double most_bytes;
    bool by_cost;
} mgn_keeping;

/* Cuts the live graph; no parts where that gives no such program. The caller frees the parts. */
mgn_status mgn_split(const mgn_lowering *low, const mgn_graph *graph, mgn_arena *arena, mgn_part_test *fits,
                     mgn_keeping keeping, mgn_part **parts, int *count);
/* crossing.c: where in one block of *total bytes the values lie that parts hand to each other, in bytes by node id of the
 * whole graph; those in `own` have their places already. */
mgn_status mgn_place_crossing(const mgn_graph *graph, mgn_dtype real, mgn_tensor *const *own, const mgn_part *parts,
                              int count, mgn_arena *arena, size_t *places, size_t *total);
void mgn_parts_free(mgn_part *parts, int count);

#endif
