/* Graphs as wide programs; see widen.c. */
#ifndef MGN_HOST_WIDEN_H
#define MGN_HOST_WIDEN_H

#include "backend/wide_program.h"
#include "graph/plan.h"

enum { MGN_WIDE_LEAST_COLUMNS = 65, MGN_WIDE_LEAST_ELEMENTS = 8192 };

/* Whether a node is one of a wide program's, and of which size: elementwise on a matrix, or a sum of one. Vectors of
 * `vector` entries (0: none, -1: all) count as matrices of one row: an optimizer's step on many parameters. */
bool mgn_is_wide(const mgn_node *node, int64_t vector, int64_t *rows, int64_t *columns);

/* The whole live graph as one wide program in `program` (which lives in `arena`); false when it is none. Tensors of inputs
 * and outputs must be known. */
bool mgn_widen(mgn_lowering *low, const mgn_graph *graph, mgn_arena *arena, mgn_wide_program *program);

#endif
