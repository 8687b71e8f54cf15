/* Minimisers of a smooth function of some hundred to some ten thousand numbers, which live on the host: what they see of
 * the function is its value, its gradient, and products with (or the whole of) a curvature matrix. That these come from
 * plans of a model and a loss is second_order.c's business; tests hand in functions of their own.
 *
 * All of them only ever move to a point where the function is finite and not higher, so `p` is the best point so far
 * whenever one returns. A value that is NaN or infinite is a point too far, and the step is shortened. */
#ifndef MGN_HOST_DESCENT_H
#define MGN_HOST_DESCENT_H

#include "core/core.h"

typedef struct mgn_objective {
    int64_t count; /* p, the length of the vectors below */
    void *context;
    mgn_status (*value)(void *context, const double *p, double *f);
    mgn_status (*gradient)(void *context, const double *p, double *f, double *gradient);
    /* out = curvature(p) v. */
    mgn_status (*product)(void *context, const double *p, const double *v, double *out);
    /* As `gradient`, and the curvature matrix (count, count), symmetric and positive semidefinite. NULL: products only. */
    mgn_status (*matrix)(void *context, const double *p, double *f, double *gradient, double *matrix);
    /* Whether to stop; where several processes minimise together, whether they agreed on it in the last call of one of the
     * above: they take the same way, and none of them alone looks at what it is told. NULL: what it was told. */
    bool (*is_stopping)(const void *context);
    /* All of them get rank 0's numbers, where those come out of what may differ between makes of processors. NULL: one process. */
    mgn_status (*share)(void *context, double *numbers, int64_t count);
} mgn_objective;

/* After an iteration, which ended at a point of value `f` after a step of length `step` (0: it was refused). False stops. */
typedef bool mgn_descent_callback(void *context, int64_t iteration, double f, double step);

typedef struct mgn_descent {
    int64_t iterations; /* at most */
    double tolerance;   /* stops when no entry of the gradient is larger */
    int64_t memory;     /* lbfgs: pairs that are kept */
    /* What the method knows besides p, so that it can go on as if it had never stopped: mgn_descent_memory numbers, or NULL.
     * Up to date in each report; with `done` > 0 at the start, it begins with what stands here. */
    double *state;
    mgn_descent_callback *report;
    void *context;
    /* ---- results ---- */
    int64_t done; /* also where it begins */
    double f;
    bool is_converged; /* the gradient is small, or no step lowers the value any more */
} mgn_descent;

/* Limited-memory BFGS with a line search for the strong Wolfe conditions. */
mgn_status mgn_descend_lbfgs(const mgn_objective *objective, mgn_descent *descent, double *p);
/* Newton's method in a trust region, its model minimised by truncated conjugate gradients (Steihaug, Toint): the
 * curvature may be indefinite. */
mgn_status mgn_descend_newton(const mgn_objective *objective, mgn_descent *descent, double *p);
/* Levenberg-Marquardt for a curvature that is positive semidefinite: (C + mu c I) step = -gradient, by Cholesky where
 * there is a matrix, by conjugate gradients on products elsewhere. */
mgn_status mgn_descend_damped(const mgn_objective *objective, mgn_descent *descent, double *p);

/* Length of `state` for each of them. */
int64_t mgn_lbfgs_memory(int64_t count, int64_t memory);
enum { MGN_NEWTON_MEMORY = 1, MGN_DAMPED_MEMORY = 3 };

/* ---- what they share ---- */

double mgn_dot(const double *a, const double *b, int64_t count);
double mgn_largest(const double *a, int64_t count);
/* y += factor x */
void mgn_add_scaled(double *y, double factor, const double *x, int64_t count);
bool mgn_is_stopping(const mgn_objective *objective);
/* Counts an iteration; whether to go on. Sets the status INTERRUPTED's sentence when it was asked to stop. */
mgn_status mgn_descent_step(const mgn_objective *objective, mgn_descent *descent, double f, double step);

#endif
