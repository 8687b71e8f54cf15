/* What the parts of the Sinkhorn divergence share. */
#ifndef MGN_HOST_SINKHORN_H
#define MGN_HOST_SINKHORN_H

#include <mgn/sinkhorn.h>

enum { MGN_SINKHORN_STEPS = 4096 }; /* of the annealing, at most */

/* The config with its defaults filled in; ARGUMENT when it makes no sense. */
mgn_status mgn_sinkhorn_complete(const mgn_sinkhorn_config *given, mgn_sinkhorn_config *config);
/* The temperatures of a complete config with a diameter, falling from diameter^2 to blur^2; their number. */
int mgn_sinkhorn_schedule(const mgn_sinkhorn_config *config, double temperatures[MGN_SINKHORN_STEPS]);

/* Whether the costs of n rows and m columns of d coordinates are made once and kept. */
bool mgn_sinkhorn_keeps_costs(int64_t n, int64_t m, int64_t d);
/* |x_i - y_j|^2 / 2 by products: (n, m). */
mgn_node *mgn_sinkhorn_cost_matrix(mgn_node *x, mgn_node *y);
/* What an update is multiplied by where mass may be created; strength: reach^2, 0 for balanced. */
double mgn_sinkhorn_damping(double temperature, double strength);
/* The cost of a cloud with its potentials against the other one and itself; NULL weights are uniform. Balanced
 * <w, f - self>; unbalanced (rho + e / 2) <w, exp(-self / rho) - exp(-f / rho)>, whose derivative at the limit has the factor
 * rho + e instead. */
mgn_node *mgn_sinkhorn_cost(double temperature, double strength, mgn_node *weights, mgn_node *f, mgn_node *self);

/* Finite points of fitting number, weights that are any. `x`, `a`, ... as mgn_sinkhorn takes them. */
mgn_status mgn_sinkhorn_check(const float *x, const float *a, int64_t n, const float *y, const float *b, int64_t m,
                              int64_t d);
/* The config with defaults, and the diameter of the clouds where it has none; and what to compute in: single precision, or
 * double where squares or differences of theirs would be lost. Errors: also NUMERIC (out of scale for that too). */
mgn_status mgn_sinkhorn_plan(mgn_device *device, const mgn_sinkhorn_config *given, const float *x, int64_t n,
                             const float *y, int64_t m, int64_t d, mgn_sinkhorn_config *config, mgn_dtype *real);
/* NUMERIC: the value is not finite. */
mgn_status mgn_sinkhorn_refuse_value(double value);

#endif
