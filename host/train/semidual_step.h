/* The semi-dual solver's plans: the step of training, and the chunks of rows that conjugate points are solved in. */
#ifndef MGN_HOST_SEMIDUAL_STEP_H
#define MGN_HOST_SEMIDUAL_STEP_H

#include <mgn/semidual.h>

/* ---- training ---- */

/* What a step adds to its sums: J, the mean residual before Newton steps, and pairs left out. */
enum { MGN_SUM_VALUE, MGN_SUM_RESIDUAL, MGN_SUM_LEFT_OUT, MGN_STEP_SUMS };

typedef struct mgn_step_nodes {
    mgn_node *x, *y, *points, *parameters, *average, *lr, *sums, *state, *scalars, *vectors[MGN_MOST_OPTIMIZER_VECTORS];
} mgn_step_nodes;

/* The caller fills in what stands before `plan`, whose tensors follow it. */
typedef struct mgn_semidual_step {
    const mgn_model *model;
    const mgn_train_config *config;
    mgn_optimizer_shape shape;
    int64_t pairs, batch, steps, d, count; /* of a round, of a step, steps of a round; dimension, parameters */
    double x_unit, y_unit;                 /* spreads of the clouds, about 1 in a frame */
    double tolerance;                      /* pairs with a larger residual after their Newton step are left out */
    mgn_plan *plan;
    mgn_tensor *x, *y, *points; /* (pairs, d) */
    mgn_tensor *parameters;     /* (count) */
    mgn_tensor *average;        /* (count): adds up what the parameters were after each step */
    mgn_tensor *lr, *sums, *state, *scalars, *vectors[MGN_MOST_OPTIMIZER_VECTORS];
} mgn_semidual_step;

mgn_status mgn_semidual_step_compile(mgn_semidual_step *step, mgn_device *device);

/* ---- conjugate points ---- */

/* One Newton step of rows z towards g(z) = y, damped by the residual r = g(z) - y: (J + (damping + |r| / 10) I)^-1 r. A step
 * that does not lower |r| is cut to a quarter; a row whose matrix is not positive definite to rounding stays. `before` and
 * `after` (rows; NULL: not wanted) get |r| at z and after the whole step. Of `step` the model and the units count. */
mgn_node *mgn_conjugate_step(const mgn_semidual_step *step, mgn_node *parameters, mgn_node *z, mgn_node *y,
                             mgn_node **before, mgn_node **after);

typedef struct mgn_conjugates mgn_conjugates;

/* A solver of g(z) = y for any rows of d numbers, `rows` of them at most at a time, for the step's model and units. */
mgn_status mgn_conjugates_create(const mgn_semidual_step *step, mgn_device *device, int64_t rows,
                                 mgn_conjugates **conjugates);
void mgn_conjugates_destroy(mgn_conjugates *conjugates);
/* The model's parameters from now on, (count). */
mgn_status mgn_conjugates_set(mgn_conjugates *conjugates, const double *parameters);
/* Moves the rows list[0 .. count) of z to |g(z) - y| <= tolerance, from where they are; those that do not get there start
 * again from 0, once. `residual`, by place in the list, gets the last one seen: above the tolerance, or NaN, where a row
 * is not solved; `unsolved` their number. Stops between sweeps when interrupted. */
mgn_status mgn_conjugates_solve(mgn_conjugates *conjugates, const float *y, float *z, const int64_t *list,
                                int64_t count, double tolerance, double *residual, int64_t *unsolved);
/* phi of n rows. */
mgn_status mgn_conjugates_potential(mgn_conjugates *conjugates, const float *x, int64_t n, double *phi);

#endif
