/* From noise to data by prototypes: the optimal map from N(0, I) onto few points that stand for the data, softened, and with
 * the covariance that the points lack. It is exactly the gradient of a convex function, an LSE network of one module. */
#ifndef MGN_SEMIDISCRETE_H
#define MGN_SEMIDISCRETE_H

#include <mgn/train.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Zeros take the defaults; `restored` has none. */
typedef struct mgn_semidiscrete_config {
    double
        temperature; /**< 1 / beta, in units of the prototypes' root mean square distance from the mean; default .02 */
    double restored; /**< fraction, 0 to 1, of the covariance missing in `axes` that V^T V x makes up for */
    int64_t axes;    /**< leading principal axes of the data; default 64, or d where that is less */
    int64_t lloyd;   /**< most steps of k-means; default 12 */
    int64_t steps, batch;       /**< of the optimizer, and samples of noise in each; default 400 and 1024 */
    uint64_t seed;              /**< of everything random */
    mgn_train_callback *report; /**< optional; its loss is the semi-dual value */
    void *context;
} mgn_semidiscrete_config;

/** Makes a model of the kind lse with one module the map from N(0, I) to rows (n, d), n >= its h. The h prototypes and
 *  their masses m come from mgn_kmeans. The offsets b then minimise the semi-dual
 *
 *      E log sum_k exp(beta (W x + b)_k) / beta - sum_k m_k b_k
 *
 *  over fresh noise by Adam with averaging, so that every prototype gets its mass; as beta grows, that is semi-discrete
 *  optimal transport. With M = E[J] and S, the mean Jacobian of that part and the covariance of its values,
 *  V^T V = (M^2 + D)^1/2 - M for a D >= 0 makes the covariance of g equal to S + D, by Stein's identity Cov(x, g) = E[J];
 *  D is `restored` times what S lacks in the leading axes. The mean of g becomes that of the rows.
 *  Errors: ARGUMENT (another kind or more modules; fewer rows than prototypes; numbers out of range); NUMERIC (rows that
 *  are not finite); INTERRUPTED (the model is as it was); MEMORY; DEVICE. `result` may be NULL. */
MGN_API mgn_status mgn_semidiscrete(mgn_model *model, mgn_device *device, const float *rows, int64_t n,
                                    const mgn_semidiscrete_config *config, mgn_train_result *result);

#ifdef __cplusplus
}
#endif
#endif
