/* A loss of all rows, its gradient and its curvature, added up from blocks: what second_order.c asks where a loss is cut into
 * blocks, and where several processes have some of them each. Parameters and direction are where the tensors are that it was made
 * with. Every call is one of all processes. */
#ifndef MGN_HOST_SHARED_H
#define MGN_HOST_SHARED_H

#include "train/blocks.h"
#include "train/curvature.h"

typedef struct mgn_shared_config {
    mgn_blocks_config blocks;
    mgn_curvature curvature;
    mgn_tensor *direction;
    int64_t n;
    uint64_t seed; /* of the rows' places in the blocks */
} mgn_shared_config;

typedef struct mgn_shared mgn_shared;

/* Of `has_matrix` whether the whole curvature is small enough and has a form. With `has_products` there are values and, without a
 * matrix, products. Errors: those of mgn_block_gradient_create. */
mgn_status mgn_shared_create(const mgn_shared_config *config, bool has_products, bool *has_matrix, mgn_shared **shared);
/* Takes NULL. */
void mgn_shared_destroy(mgn_shared *shared);

mgn_status mgn_shared_value(mgn_shared *shared, double *f);
mgn_status mgn_shared_gradient(mgn_shared *shared, double *f, double *gradient);
mgn_status mgn_shared_product(mgn_shared *shared, double *product);
mgn_status mgn_shared_matrix(mgn_shared *shared, double *f, double *gradient, double *matrix);

/* Whether one of the processes had been interrupted in the last of these calls. */
bool mgn_shared_is_stopping(const mgn_shared *shared);

#endif
