/* Training a model by a second-order method: the objective that descent.h's minimisers see, made of plans. */
#ifndef MGN_HOST_SECOND_ORDER_H
#define MGN_HOST_SECOND_ORDER_H

#include <mgn/train.h>

#include "train/cut.h"
#include "train/descent.h"

/* NUMERIC where a value is not finite: names the first. */
mgn_status mgn_check_samples(const mgn_samples *samples, int64_t d);
/* The samples on the device, (n, d) each; `y` stays NULL where there are none. Errors: NUMERIC (names the first value that
 * is not finite), MEMORY, DEVICE. The caller destroys what it gets, after a failure too. */
mgn_status mgn_upload_samples(mgn_device *device, mgn_dtype real, const mgn_samples *samples, int64_t d, mgn_tensor **x,
                              mgn_tensor **y);

/* Plans of one architecture, loss and number of rows, compiled once and run from as many start values as wanted. */
typedef struct mgn_solver mgn_solver;

/* `cut`: as config->blocks where NULL. Of `config` the loss, the optimizer and `real` count. Errors: ARGUMENT (not a second-order kind; gauss-newton with a
 * loss that is no function of residuals), those of mgn_upload_samples and of compiling. */
mgn_status mgn_solver_create(const mgn_model *model, mgn_device *device, const mgn_samples *samples,
                             const mgn_train_config *config, const mgn_cut *cut, mgn_solver **solver);
void mgn_solver_destroy(mgn_solver *solver);
/* Minimises from `values` (in place; the best point so far whatever it returns). Errors: NUMERIC (not finite at the start),
 * INTERRUPTED, DEVICE. */
mgn_status mgn_solver_run(mgn_solver *solver, mgn_descent *descent, double *values);
/* The rows it learns from, (n, d); who writes others there goes on with these. */
mgn_tensor *mgn_solver_rows(mgn_solver *solver);
/* For who calls a minimiser of its own choice. */
const mgn_objective *mgn_solver_objective(mgn_solver *solver);

/* mgn_train for the kinds of second order; the configuration has been checked. `carried`: as of mgn_session, replaced where the
 * device fails. */
mgn_status mgn_train_second_order(mgn_model *model, mgn_device *device, const mgn_samples *samples,
                                  const mgn_train_config *config, const mgn_cut *cut, mgn_safetensors *carried,
                                  mgn_train_result *result);

#endif
