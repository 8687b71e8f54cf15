/* A loss and its gradient, added up from blocks of a batch (pass.h). Of losses that are means over rows a block's share is its
 * part of the mean and of its gradient. Losses of moments (loss/moments.h) take two rounds: the moments are added up first, then
 * the gradients of what the loss is to first order about them; the Sinkhorn divergence likewise, of the mapped points. */
#ifndef MGN_HOST_BLOCKS_H
#define MGN_HOST_BLOCKS_H

#include <mgn/loss.h>
#include <mgn/model.h>

#include "train/pass.h"

/* What a loss of blocks is made of; all borrowed, and the tensors and `loss` for as long as it is. */
typedef struct mgn_blocks_config {
    const mgn_model *model;
    const mgn_loss_config *loss;
    mgn_device *device;
    mgn_comm *comm;
    mgn_dtype real, sums;           /* what plans compute in, and what shares are added up in */
    mgn_tensor *x, *y, *parameters; /* all rows; y: NULL where there are none */
    mgn_pages *pages;               /* where the rows come from instead; or NULL */
    int64_t blocks;
    mgn_tensor *target_rows,
        *target_state;    /* of losses between sets of samples: all rows, where the target is finite; */
    int64_t target_batch; /* its random state; and how many are drawn a step */
} mgn_blocks_config;

/* Whether a kind of loss has such shares. */
bool mgn_blocks_take(const char *loss);

/* ---- the moments of a batch, and the slopes of a loss of them (moments.c) ---- */

typedef struct mgn_block_moments mgn_block_moments;

/* `direction`: v (p), borrowed, where products of the Hessian with it are wanted; else NULL. Errors: ARGUMENT (a batch of 1 row),
 * those of building and compiling. */
mgn_status mgn_block_moments_create(const mgn_blocks_config *config, mgn_tensor *direction,
                                    mgn_block_moments **moments);
/* Takes NULL. */
void mgn_block_moments_destroy(mgn_block_moments *b);
/* Batches of this kind, `pass` of which adds up the moments. */
mgn_status mgn_block_moments_pass(const mgn_block_moments *b, const mgn_pass_rows *rows, mgn_pass **pass);
/* The moments of a batch, added up over all processes, and the loss of them and its slopes there. */
mgn_status mgn_block_moments_run(mgn_block_moments *b, mgn_pass *pass, uint64_t seed, int64_t first, double *loss);
/* <slope, share of the moments> about them, a scalar: the gradients of all blocks' add up to that of the loss. */
mgn_node *mgn_block_moments_share(const mgn_block_moments *b, mgn_pass_block *block, mgn_node *y);
/* After moments with a direction: the block's part of the product of the Hessian with it, (p), `flat` being the parameters; with
 * that of `cost`, a scalar, unless it is NULL. */
mgn_status mgn_block_moments_product(const mgn_block_moments *b, mgn_pass_block *block, mgn_node *flat, mgn_node *y,
                                     mgn_node *cost, mgn_node **product);

/* ---- the Sinkhorn divergence of a batch, and its slope by the mapped points (clouds.c) ---- */

typedef struct mgn_block_clouds mgn_block_clouds;
typedef struct mgn_block_cloud mgn_block_cloud; /* a kind of batches */

/* For batches of these kinds. Errors: those of building and compiling. */
mgn_status mgn_block_clouds_create(const mgn_blocks_config *config, const mgn_pass_rows *kinds, int count,
                                   mgn_block_clouds **clouds);
/* Takes NULL. */
void mgn_block_clouds_destroy(mgn_block_clouds *clouds);
mgn_status mgn_block_cloud_create(const mgn_block_clouds *clouds, const mgn_pass_rows *rows, mgn_block_cloud **cloud);
/* Takes NULL. */
void mgn_block_cloud_destroy(mgn_block_cloud *cloud);
/* The divergence of a batch, and its slope. */
mgn_status mgn_block_clouds_run(mgn_block_clouds *clouds, mgn_block_cloud *cloud, uint64_t seed, int64_t first,
                                double *loss);
/* Before a block's share: its part of the slope. */
mgn_status mgn_block_clouds_put(mgn_block_clouds *clouds, const mgn_block_cloud *cloud, int64_t block);
/* <slope, y>, a scalar, whose gradients add up to that of the divergence. */
mgn_node *mgn_block_clouds_share(const mgn_block_clouds *clouds, mgn_pass_block *block, mgn_node *y);
/* At the end of a step: the next one draws other samples. */
mgn_status mgn_block_clouds_advance(mgn_block_clouds *clouds);

/* ---- loss and gradient ---- */

typedef struct mgn_block_gradient mgn_block_gradient;

/* Of `count` kinds of batches. Errors: those of mgn_blocks_sum_create, building and compiling. */
mgn_status mgn_block_gradient_create(const mgn_blocks_config *config, const mgn_pass_rows *kinds, int count,
                                     mgn_block_gradient **gradient);
/* Takes NULL. */
void mgn_block_gradient_destroy(mgn_block_gradient *gradient);
/* The gradient (p), and behind it the loss, of a batch of kind number `kind`; borrowed until the next. `is_stopping`: whether one
 * of the processes was interrupted. */
mgn_status mgn_block_gradient_run(mgn_block_gradient *gradient, int kind, uint64_t seed, int64_t first,
                                  bool *is_stopping, const void **total);

#endif
