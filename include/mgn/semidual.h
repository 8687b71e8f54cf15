/* Optimal transport from samples alone: the semi-dual problem, over convex potentials phi,
 *
 *     minimise J(phi) = E_P phi(x) + E_Q phi*(y),   phi*(y) = max_x <x, y> - phi(x),
 *
 * whose solution's gradient is the optimal map from P to Q for the cost |x - y|^2, with
 * W2^2(P, Q) = E|x|^2 + E|y|^2 - 2 J. Nothing but unpaired samples of P and Q is asked for. */
#ifndef MGN_SEMIDUAL_H
#define MGN_SEMIDUAL_H

#include <mgn/train.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Samples of P and Q: x (n, d) and y (m, d), in no order; borrowed. */
typedef struct mgn_clouds {
    const float *x, *y;
    int64_t n, m;
} mgn_clouds;

/** A start for mgn_semidual: the affine optimal map between Gaussians of the clouds' moments, and units that bend where
 *  the source has its points. For the kind dicnn alone. Errors: UNSUPPORTED (another kind); those of mgn_moments and
 *  mgn_bures_map. */
MGN_API mgn_status mgn_semidual_start(mgn_model *model, const mgn_clouds *clouds, uint64_t seed);

/** How training went. */
typedef struct mgn_semidual_result {
    mgn_train_result train; /**< its loss is J of what is kept, on the rows held out */
    int64_t held;           /**< rows of y held out; 0 where there are too few: J of the epochs is the judge then */
    int64_t best_epoch;     /**< whose mean parameters are kept, from 1; 0: the start, nothing was better */
    int returns;            /**< how often J on rows held out rose for good, and training went back to the best */
    double left_out; /**< part of the pairs of the last epoch that were left out since g(x*) = y was not solved */
} mgn_semidual_result;

/** Minimises J over the parameters of a model with a closed potential, in place; mgn_train does the same for the loss
 *  "semidual". Each target row keeps its conjugate point x*, g(x*) = y, which takes a damped Newton step whenever the row
 *  is in a batch; by the envelope theorem the gradient of phi*(y) by the parameters is that of -phi at a fixed x*. Models
 *  of the kind dicnn are trained in coordinates where either cloud has mean 0 and variance 1, and end in the clouds' own.
 *
 *  A twentieth of either cloud's rows, drawn by the seed, is held out (none where that is under 32 rows): J there judges
 *  a running mean of the parameters after each epoch, and what the model gets is the last one that is not worse than the
 *  best by more than chance. Where J rises for good, or anything is not finite, training goes back to it with half the
 *  learning rate, and ends after six times.
 *
 *  Of `config` count optimizer (of first order), schedule, batch (of either cloud), epochs (passes over the smaller cloud),
 *  seed, real and report, whose loss is J on the rows of the epoch; of its control checkpoints and curves. Errors: those of mgn_train, NUMERIC being that no epoch
 *  was better than the start, which the model keeps; ARGUMENT (fewer than 2 rows, a model that has no closed potential, or
 *  need not be monotone; an optimizer of second order; accumulated steps). */
MGN_API mgn_status mgn_semidual(mgn_model *model, mgn_device *device, const mgn_clouds *clouds,
                                const mgn_train_config *config, mgn_semidual_result *result);

/** J of a model on clouds, with every conjugate solved to `tolerance` as by mgn_map_inverse: on rows that were not
 *  trained on, the smaller the better the map. In double where the device has it. Errors: those of mgn_map_inverse. */
MGN_API mgn_status mgn_semidual_value(const mgn_model *model, mgn_device *device, const mgn_clouds *clouds,
                                      double tolerance, double *value);

#ifdef __cplusplus
}
#endif
#endif
