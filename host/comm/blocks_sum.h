/* The sum of vectors, one to a block of rows, in an order that does not depend on who computed which.
 *
 * The blocks, a power of two, are the leaves of a binary tree; every node is the sum of its two halves, left plus right. A
 * process has neighbouring blocks and adds up the nodes that lie within them; those are sent to all, who add up the rest. Which
 * additions are made is the same for 1, 2, 3 or 8 processes, so the sum has the same bits.
 *
 * Small vectors go to all at once: one message. Of long ones every process adds up a segment and sends that to all, which
 * moves no more than twice the vector, however many processes there are. */
#ifndef MGN_HOST_BLOCKS_SUM_H
#define MGN_HOST_BLOCKS_SUM_H

#include <mgn/device.h>

#include "comm/comm.h"

enum { MGN_USUAL_BLOCKS = 16, MGN_MOST_BLOCKS = 1024 };

typedef struct mgn_blocks_sum mgn_blocks_sum;

/* ARGUMENT where `blocks` is no power of two up to MGN_MOST_BLOCKS, or is below the number of processes. */
mgn_status mgn_blocks_check(const mgn_comm *comm, int64_t blocks);
/* The first block of a process, and at rank + 1 the one behind its last. */
int64_t mgn_blocks_start(const mgn_comm *comm, int64_t blocks, int rank);

/* `blocks` vectors of `length` numbers (MGN_F32 or MGN_F64). Errors: ARGUMENT (no power of two up to MGN_MOST_BLOCKS, or fewer
 * than processes), MEMORY. */
mgn_status mgn_blocks_sum_create(mgn_comm *comm, int64_t blocks, mgn_dtype real, int64_t length, mgn_blocks_sum **sum);
/* Takes NULL. */
void mgn_blocks_sum_destroy(mgn_blocks_sum *sum);

/* This process's blocks: first .. end - 1. */
void mgn_blocks_sum_range(const mgn_blocks_sum *sum, int64_t *first, int64_t *end);
/* Where the vector of one of them goes. */
void *mgn_blocks_sum_place(mgn_blocks_sum *sum, int64_t block);
/* Type and bytes of a vector. */
mgn_dtype mgn_blocks_sum_real(const mgn_blocks_sum *sum);
size_t mgn_blocks_sum_bytes(const mgn_blocks_sum *sum);
/* The sum of all, borrowed until the next; the vectors are used up. Not to be called unless all processes do. */
mgn_status mgn_blocks_sum_add(mgn_blocks_sum *sum, const void **total);
/* Bytes that this process has sent, and messages begun, by mgn_blocks_sum_add so far. */
void mgn_blocks_sum_traffic(const mgn_blocks_sum *sum, int64_t *bytes, int64_t *calls);

#endif
