/* A pass over a batch in blocks: what one plan computes from a block's rows, for every block that is this process's, left where
 * comm/blocks_sum.h adds it up. Block b of B has the rows b q .. (b + 1) q - 1 of the batch, q being its rows by B, rounded up;
 * the last ones may be shorter or empty, and then count 0.
 *
 * The rows of a batch are positions of a permutation of all rows. Its seed and the position, which the host sets, are the
 * plan's random state: plans are the same for all blocks of a length. */
#ifndef MGN_HOST_PASS_H
#define MGN_HOST_PASS_H

#include <mgn/graph.h>

#include "comm/blocks_sum.h"
#include "train/pages.h"

/* Batches of `rows` rows, drawn from `population` rows of x (and y, where it is not NULL) or, where they are not on the device,
 * of `pages`, in `blocks` blocks; all borrowed. */
typedef struct mgn_pass_rows {
    mgn_device *device;
    mgn_dtype real;
    mgn_tensor *x, *y;
    mgn_pages *pages; /* NULL: x and y are all rows */
    int64_t population, rows, blocks;
} mgn_pass_rows;

enum { MGN_MOST_PASS_INPUTS = 12 };

/* The graph of a block while it is built. */
typedef struct mgn_pass_block {
    mgn_graph *graph;
    mgn_node *x, *y;     /* its rows (rows, d); y: NULL where there are none */
    int64_t rows, batch; /* its own, and the batch's */
    double part;         /* rows / batch: what the block's mean counts in that of all */
    mgn_binding inputs[MGN_MOST_PASS_INPUTS];
    size_t count;
} mgn_pass_block;

/* Another input, bound to the tensor; NULL where that is NULL. */
mgn_node *mgn_pass_input(mgn_pass_block *block, const char *label, mgn_tensor *tensor);

/* Makes the block's share of the sum, a vector. */
typedef mgn_status mgn_pass_build(const void *context, mgn_pass_block *block, mgn_node **share);

typedef struct mgn_pass mgn_pass;

/* Compiles the plans; `context` is `build`'s. Errors: those of building and compiling. */
mgn_status mgn_pass_create(const mgn_pass_rows *rows, mgn_pass_build *build, const void *context, mgn_pass **pass);
/* Takes NULL. */
void mgn_pass_destroy(mgn_pass *pass);

/* Rows of a batch, and of a block; 0 for those behind the last row. */
int64_t mgn_pass_batch_rows(const mgn_pass *pass);
int64_t mgn_pass_block_rows(const mgn_pass *pass, int64_t block);

/* The share of one block, as numbers of type `real`: nothing where it has no rows. */
mgn_status mgn_pass_run_block(mgn_pass *pass, uint64_t seed, int64_t first, int64_t block, mgn_dtype real, void *to);

/* The same, to where `sum` adds it up: 0 where it has no rows. */
mgn_status mgn_pass_run_share(mgn_pass *pass, uint64_t seed, int64_t first, int64_t block, mgn_blocks_sum *sum);

/* The shares of this process's blocks of the batch that begins at position `first` of the permutation of `seed`, into `sum`,
 * whose length is theirs. Nothing is exchanged. */
mgn_status mgn_pass_run(mgn_pass *pass, uint64_t seed, int64_t first, mgn_blocks_sum *sum);

#endif
