/* The oracle of whole graphs: each node from its definition, by the oracle of its op. */
#ifndef MGN_HOST_CHECK_ORACLE_GRAPH_H
#define MGN_HOST_CHECK_ORACLE_GRAPH_H

#include "check/oracle.h"
#include "graph/graph.h"

/* Runs the graph `times` times. `values` has an entry for each node by its id: the caller fills those of the inputs, and
 * reads there what nodes are worth after the last run and what inputs have been assigned. New ones are allocated in
 * `arena`. Ops: elementwise, reductions, products, small matrices, rows, randomness, bytes and layout.
 * Errors: MEMORY, UNSUPPORTED (an op that has no part in row programs). */
mgn_status mgn_oracle_graph(const mgn_graph *graph, int times, mgn_arena *arena, mgn_exact **values);

#endif
