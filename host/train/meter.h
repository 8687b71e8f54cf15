/* The loss of a model on some rows, and what the map of them costs: one plan over all rows or, where the device has no memory
 * for that, one over as many as it has memory for, which the rows go through in chunks. */
#ifndef MGN_HOST_METER_H
#define MGN_HOST_METER_H

#include <mgn/train.h>

typedef struct mgn_meter mgn_meter;

typedef struct mgn_meter_config {
    const mgn_model *model;
    mgn_device *device;
    mgn_dtype real;
    const mgn_loss_config *losses; /* NULL: no loss. Borrowed while the meter is created */
    bool has_cost;
    mgn_tensor *parameters; /* of the model, read whenever it measures; borrowed. NULL: the model's, as they are now */
} mgn_meter_config;

/* The rows are copied. Errors: of the loss; MEMORY (names bytes), also where not even a chunk of one row fits or the loss is no
 * mean over rows, so that nothing can be cut; DEVICE. */
mgn_status mgn_meter_create(const mgn_meter_config *config, const mgn_samples *rows, mgn_meter **meter);
/* Takes NULL. */
void mgn_meter_destroy(mgn_meter *meter);

/* NaN for what it does not measure. A `cost` of NULL is none. */
mgn_status mgn_meter_read(mgn_meter *meter, double *loss, double *cost);

#endif
