/* What the layers above ask of a group of processes. A NULL group is one process alone, for which every call is a success that
 * does nothing.
 *
 * A process that fails must not leave the others waiting for it. So whatever can fail on one of them alone ends in
 * mgn_comm_agree before anything else is exchanged: all go on, or all fail with the sentence of the first that did. Who fails
 * elsewhere returns up to the next mgn_comm_agree, which is what the others ask next, since every exchange begins with one. */
#ifndef MGN_HOST_COMM_H
#define MGN_HOST_COMM_H

#include <mgn/comm.h>

#include "core/core.h"

static inline int mgn_comm_rank(const mgn_comm *comm) { return comm ? comm->rank : 0; }
static inline int mgn_comm_size(const mgn_comm *comm) { return comm ? comm->size : 1; }

/* MGN_OK where `status` is that on all; else the failure of the lowest rank that has one, with its sentence. */
mgn_status mgn_comm_agree(mgn_comm *comm, mgn_status status);

/* The same, and whether any process says `flag`. */
mgn_status mgn_comm_agree_any(mgn_comm *comm, mgn_status status, bool *flag);

/* Fails on all unless all have the same digest; `what` begins the sentence. */
mgn_status mgn_comm_same(mgn_comm *comm, uint64_t digest, const char *what);

/* `all` gets the bytes of all ranks one after the other, sizes[r] of them from rank r. `sizes` has room for twice as many. */
mgn_status mgn_comm_gather(mgn_comm *comm, const void *own, int64_t *sizes, void *all);

/* All get rank 0's bytes. */
mgn_status mgn_comm_broadcast(mgn_comm *comm, void *bytes, size_t size);

#endif
