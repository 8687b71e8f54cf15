/* What is measured of a model while it is trained: the loss and the transport cost on rows that are held out. */
#ifndef MGN_HOST_HELD_OUT_H
#define MGN_HOST_HELD_OUT_H

#include "train/meter.h"

/* A meter of the loss and the cost on rows of config->control.held_out, or, where there are none, for the cost of the first rows of `samples`. Reads
 * `parameters`, a tensor of the training's own, whenever it measures; `losses` is config->loss with what training found
 * out; its loss is NaN where no rows are held out. Errors: ARGUMENT (targets that the loss needs are missing), NUMERIC, MEMORY, DEVICE. */
mgn_status mgn_held_out_create(const mgn_model *model, mgn_device *device, const mgn_train_config *config,
                               const mgn_loss_config *losses, const mgn_samples *samples, mgn_tensor *parameters,
                               mgn_meter **meter);

#endif
