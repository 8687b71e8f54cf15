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

/* Whether a graph is a row program of some size. */
typedef bool mgn_part_test(const mgn_graph *graph, mgn_dtype real);

/* Cuts the live graph; no parts where that gives no row program. The caller frees them. */
mgn_status mgn_split(const mgn_lowering *low, const mgn_graph *graph, mgn_arena *arena, mgn_part_test *is_rows,
                     mgn_part **parts, int *count);
void mgn_parts_free(mgn_part *parts, int count);

#endif
