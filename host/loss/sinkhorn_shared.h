/* The Sinkhorn divergence of two clouds whose rows several processes share. */
#ifndef MGN_HOST_SINKHORN_SHARED_H
#define MGN_HOST_SINKHORN_SHARED_H

#include <mgn/sinkhorn.h>

#include "comm/comm.h"

typedef struct mgn_shared_sinkhorn mgn_shared_sinkhorn;

/* Points x (n, d) and y (m, d), weights a (n) and b (m) or NULL for uniform ones. */
typedef struct mgn_shared_clouds {
    const double *x, *a, *y, *b;
} mgn_shared_clouds;

/* Plans and room for clouds of n and m points of d coordinates in `blocks` blocks of rows each; the config is complete and has
 * a diameter. Errors: ARGUMENT (a number of blocks that is below that of processes), MEMORY, DEVICE. */
mgn_status mgn_shared_sinkhorn_create(mgn_device *device, mgn_comm *comm, int64_t blocks, mgn_dtype real, int64_t n,
                                      int64_t m, int64_t d, const mgn_sinkhorn_config *config,
                                      mgn_shared_sinkhorn **created);
/* Takes NULL. */
void mgn_shared_sinkhorn_destroy(mgn_shared_sinkhorn *shared);

/* The divergence of the same clouds on all processes, and, unless `gradient` is NULL, its derivative by the rows of x (n, d).
 * Every process gets all of both. With `may_stop`, INTERRUPTED on all where one was. To be called by all or none. */
mgn_status mgn_shared_sinkhorn_run(mgn_shared_sinkhorn *shared, const mgn_shared_clouds *clouds, bool may_stop,
                                   double *value, double *gradient);

#endif
