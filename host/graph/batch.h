/* One row's graph made into that of many rows. */
#ifndef MGN_HOST_GRAPH_BATCH_H
#define MGN_HOST_GRAPH_BATCH_H

#include "graph/graph.h"

/* `output` is computed from `from`, the nodes that belong to one row. The same computation for `rows` rows at once: `to[i]`,
 * of shape (rows, shape of from[i]), takes the place of from[i], and the result has the shape (rows, shape of output).
 * What does not depend on `from` is shared by all rows. UNSUPPORTED, and no result, when an op on the way has no such
 * form (rows by index, random numbers, results of more than MGN_MAX_RANK axes); the graph stays in order. */
mgn_status mgn_batch_rows(mgn_node *output, mgn_node *const *from, mgn_node *const *to, int count, int64_t rows,
                          mgn_node **result);

/* The Jacobian of each row of y = function(flat, x) by the vector `flat` (p), shared by the rows of x (n, d): (n, e, p).
 * Reverse mode on the graph of one row, then batched: e passes instead of p. UNSUPPORTED as above. */
typedef mgn_node *mgn_row_function(const void *context, mgn_node *flat, mgn_node *x);
mgn_status mgn_shared_jacobian(mgn_row_function *function, const void *context, mgn_node *flat, mgn_node *x,
                               mgn_node **jacobian);

#endif
