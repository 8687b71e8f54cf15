/* What a training is: its model's shape, options and rows, as texts in a checkpoint's metadata. */
#ifndef MGN_HOST_RECIPE_H
#define MGN_HOST_RECIPE_H

#include <mgn/data.h>
#include <mgn/train.h>

/* Adds them to `file`; rows are there by a digest of their bits. */
mgn_status mgn_recipe_store(const mgn_model *model, const mgn_train_config *config, const mgn_samples *samples,
                            mgn_safetensors *file);

/* Whether `file`, which sentences call `label`, was made by the same; ARGUMENT, naming the first difference. */
mgn_status mgn_recipe_check(const mgn_model *model, const mgn_train_config *config, const mgn_samples *samples,
                            const mgn_safetensors *file, const char *label);

/* One number for all of it. */
mgn_status mgn_recipe_digest(const mgn_model *model, const mgn_train_config *config, const mgn_samples *samples,
                             uint64_t *digest);

#endif
