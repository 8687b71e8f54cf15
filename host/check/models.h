/* Checking every model with every loss: value, gradient, Jacobian, and 50 steps of training. */
#ifndef MGN_HOST_CHECK_MODELS_H
#define MGN_HOST_CHECK_MODELS_H

#include "check/judge.h"

/* The name of combination number `index` ("cmgn/nll"); false past the last. */
bool mgn_model_check_label(size_t index, char label[48]);

/* Runs combination `index` on the devices. Failures of checks and devices are results; only lack of memory is an error. */
mgn_status mgn_model_check_run(size_t index, const mgn_check_options *options, mgn_device *cpu,
                               mgn_device *const *devices, size_t count, mgn_check_sink *sink);

#endif
