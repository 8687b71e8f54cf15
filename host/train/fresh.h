/* Training on fresh samples: no row is seen twice, so nothing is learned by heart, and how close the model comes is a
 * question of steps alone. */
#ifndef MGN_HOST_FRESH_H
#define MGN_HOST_FRESH_H

#include <mgn/target.h>
#include <mgn/train.h>

/* One plan is the whole step: mgn_target_sample_node draws config->batch rows of `source`, then loss, gradient and update.
 * config->epochs is the number of steps; the learning rate follows config->schedule over a hundred parts of them, after
 * each of which config->report is called with the loss of the part's last step. The model becomes the mean of the
 * parameters over the last half of the steps (Polyak, Ruppert), which has the error of one long batch: near the minimum the
 * parameters of single steps only wander about it. Checkpoints, curves and retries are those of mgn_train, an epoch being a
 * part. Errors: those of mgn_train; UNSUPPORTED for a source of finite rows, optimizers of second order and patience. */
mgn_status mgn_train_fresh(mgn_model *model, mgn_device *device, const mgn_target *source,
                           const mgn_train_config *config, mgn_train_result *result);

#endif
