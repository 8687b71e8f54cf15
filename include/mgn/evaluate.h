/* Judging maps: densities before and after them, and how exactly they are undone. With the errors and distances of
 * <mgn/ot.h> and mgn_map_jacobian_stats this is what `mgn eval` prints. */
#ifndef MGN_EVALUATE_H
#define MGN_EVALUATE_H

#include <mgn/model.h>
#include <mgn/target.h>

#ifdef __cplusplus
extern "C" {
#endif

/** log p(y_i) of n rows y (n, d), in nats; minus infinity where the density is 0. `real` is what it is computed in.
 *  Errors: ARGUMENT (a target without a density, or n below 1), MEMORY, DEVICE, INTERRUPTED. */
MGN_API mgn_status mgn_target_log_densities(const mgn_target *target, mgn_device *device, mgn_dtype real,
                                            const float *y, int64_t n, double *nats);

/** log det of the Jacobian's symmetric part at n rows x (n, d); NaN where it is not positive definite.
 *  Errors: ARGUMENT, MEMORY, NUMERIC (an entry is not finite; names the row), DEVICE, INTERRUPTED. */
MGN_API mgn_status mgn_map_logdet(mgn_map *map, const float *x, int64_t n, double *logdet);

/** log density of the pull-back of `target` by the map g at n rows x: log p(g(x_i)) + log det J(x_i), in nats. This is the
 *  density of g^-1(Y), Y distributed as the target; its mean over held-out rows is their log-likelihood. NaN where
 *  the Jacobian is not positive definite. `device` is the map's.
 *  Errors: ARGUMENT (other dimensions, no density), and those of both calls above and of mgn_map_apply. */
MGN_API mgn_status mgn_map_log_densities(mgn_map *map, const mgn_target *target, mgn_device *device, mgn_dtype real,
                                         const float *x, int64_t n, double *nats);

/** |g^-1(g(x_i)) - x_i| over n rows: the root of the mean square, and the worst. `tolerance` is that of
 *  mgn_map_inverse. Errors: those of mgn_map_inverse; NUMERIC where g cannot be inverted. */
MGN_API mgn_status mgn_map_cycle_error(mgn_map *map, const float *x, int64_t n, double tolerance, double *rms,
                                       double *worst);

#ifdef __cplusplus
}
#endif
#endif
