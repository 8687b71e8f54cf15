/* Optimal transport from samples alone: the semi-dual problem, over convex potentials phi,
 *
 *     minimise J(phi) = E_P phi(x) + E_Q phi*(y),   phi*(y) = max_x <x, y> - phi(x),
 *
 * whose solution's gradient is the optimal map from P to Q for the cost |x - y|^2, with
 * W2^2(P, Q) = E|x|^2 + E|y|^2 - 2 J. Nothing but unpaired samples of P and Q is asked for. */
#ifndef MGN_SEMIDUAL_H
#define MGN_SEMIDUAL_H

#include <mgn/model.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Samples of P and Q: x (n, d) and y (m, d), in no order; borrowed. */
typedef struct mgn_clouds {
    const float *x, *y;
    int64_t n, m;
} mgn_clouds;

/** Now and then during training. Return false to stop (status INTERRUPTED). */
typedef struct mgn_semidual_report {
    int64_t done, total; /**< steps */
    double value;        /**< J over the steps since the last report, at the parameters of each */
    double residual;     /**< mean |g(x*) - y| of conjugate points before their Newton step, likewise */
    double seconds;
} mgn_semidual_report;
typedef bool mgn_semidual_callback(void *context, const mgn_semidual_report *report);

/** Zeros take the defaults. */
typedef struct mgn_semidual_config {
    int64_t batch; /**< rows of each cloud in a step; default 512 */
    int64_t steps; /**< default 20000 */
    double lr;     /**< Adam's learning rate at first, falling to 0 along a half cosine; default .01 */
    uint64_t seed; /**< of the shuffles */
    mgn_dtype real;
    mgn_semidual_callback *report; /**< optional */
    void *context;
} mgn_semidual_config;

typedef struct mgn_semidual_result {
    double value, residual; /**< as in the last report */
    int64_t steps;
    double seconds; /**< wall time, compilation included */
} mgn_semidual_result;

/** A start for mgn_semidual: the affine optimal map between Gaussians of the clouds' moments, and units that bend where
 *  the source has its points. For the kind dicnn alone. Errors: UNSUPPORTED (another kind); those of mgn_moments and
 *  mgn_bures_map. */
MGN_API mgn_status mgn_semidual_start(mgn_model *model, const mgn_clouds *clouds, uint64_t seed);

/** Minimises J over the parameters of a model with a closed potential, in place. Each target row keeps its conjugate
 *  point x*, g(x*) = y, which takes a damped Newton step whenever the row is in a batch; by the envelope theorem the
 *  gradient of phi*(y) by the parameters is that of -phi at a fixed x*. Models of the kind dicnn see clouds of zero mean
 *  and unit variance and are brought back to the clouds' own coordinates in the end.
 *  Errors: ARGUMENT (no rows, sizes), UNSUPPORTED (a model that has no closed potential, or is not monotone), NUMERIC (a
 *  sample, the value or a parameter is not finite), INTERRUPTED (the model keeps what was learned; `result` is filled),
 *  MEMORY, DEVICE. */
MGN_API mgn_status mgn_semidual(mgn_model *model, mgn_device *device, const mgn_clouds *clouds,
                                const mgn_semidual_config *config, mgn_semidual_result *result);

/** J of a model on clouds, with every conjugate solved to `tolerance` as by mgn_map_inverse: on rows that were not
 *  trained on, the smaller the better the map. In double where the device has it. Errors: those of mgn_map_inverse. */
MGN_API mgn_status mgn_semidual_value(const mgn_model *model, mgn_device *device, const mgn_clouds *clouds,
                                      double tolerance, double *value);

#ifdef __cplusplus
}
#endif
#endif
