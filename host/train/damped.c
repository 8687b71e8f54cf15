/* Levenberg-Marquardt on a positive semidefinite curvature C (Gauss-Newton's J^T W J): each step solves
 * (C + mu c I) s = -g, and mu follows how well that quadratic model predicts (Nielsen's rule). c is C's largest diagonal
 * entry; with products alone, its curvature along the gradient.
 *
 * Damping all parameters alike beats Marquardt's scaling by C's diagonal on networks by far: that lets units which the
 * data hardly see (saturated, or nearly linear) run away to where nothing brings them back. Of 12 random M-MGN of 24
 * parameters on the gradient field 7 reach the floor this way, and none the other way. */
#include "train/descent.h"

#include <lapacke.h>
#include <math.h>
#include <string.h>

enum { MOST_PRODUCTS = 200 };
static const double first_damping = 1e-4, least_damping = 1e-15, most_damping = 1e12;

typedef struct damped {
    const mgn_objective *objective;
    int64_t n;
    double mu, growth, scale;                                         /* the damping is mu scale */
    double *gradient, *step, *trial, *residual, *direction, *product; /* (n) each */
    double *matrix, *factor;                                          /* (n, n) each; NULL: products */
} damped;

/* ---- one system ---- */

/* False when the damped matrix is not positive definite to rounding. */
static bool solve_by_factor(damped *l) {
    const lapack_int n = (lapack_int)l->n;
    memcpy(l->factor, l->matrix, (size_t)(l->n * l->n) * sizeof *l->factor);
    for (int64_t i = 0; i < l->n; i++) {
        l->factor[i * (l->n + 1)] += l->mu * l->scale;
        l->step[i] = -l->gradient[i];
    }
    return LAPACKE_dpotrf_work(LAPACK_COL_MAJOR, 'L', n, l->factor, n) == 0 &&
           LAPACKE_dpotrs_work(LAPACK_COL_MAJOR, 'L', n, 1, l->factor, n, l->step, n) == 0;
}

/* Conjugate gradients on the damped system; `is_solved` is false when a product is not finite. */
static mgn_status solve_by_products(damped *l, const double *p, bool *is_solved) {
    double rr = mgn_dot(l->gradient, l->gradient, l->n);
    const double enough = 1e-6 * rr;
    memset(l->step, 0, (size_t)l->n * sizeof *l->step);
    for (int64_t i = 0; i < l->n; i++) l->residual[i] = l->direction[i] = -l->gradient[i];
    *is_solved = true;
    for (int64_t k = 0; k < MGN_MIN(2 * l->n, MOST_PRODUCTS) && rr > enough; k++) {
        if (mgn_is_stopping(l->objective)) break; /* a shorter step is one too */
        MGN_TRY(l->objective->product(l->objective->context, p, l->direction, l->product));
        mgn_add_scaled(l->product, l->mu * l->scale, l->direction, l->n);
        const double curvature = mgn_dot(l->direction, l->product, l->n), before = rr;
        *is_solved = isfinite(curvature);
        if (!(curvature > 0)) break;
        mgn_add_scaled(l->step, rr / curvature, l->direction, l->n);
        mgn_add_scaled(l->residual, -rr / curvature, l->product, l->n);
        rr = mgn_dot(l->residual, l->residual, l->n);
        for (int64_t i = 0; i < l->n; i++) l->direction[i] = l->residual[i] + rr / before * l->direction[i];
    }
    return MGN_OK;
}

static mgn_status solve(damped *l, const double *p, bool *is_solved) {
    const mgn_objective *o = l->objective;
    if (!l->matrix) return solve_by_products(l, p, is_solved);
    if (!solve_by_factor(l)) l->step[0] = NAN;
    if (o->share) MGN_TRY(o->share(o->context, l->step, l->n));
    *is_solved = !isnan(l->step[0]);
    return MGN_OK;
}

/* ---- the method ---- */

/* Value, gradient, curvature and its scale at p. */
static mgn_status linearise(damped *l, const double *p, double *f) {
    const mgn_objective *o = l->objective;
    if (!l->matrix) {
        MGN_TRY(o->gradient(o->context, p, f, l->gradient));
        MGN_TRY(o->product(o->context, p, l->gradient, l->product));
        const double along = mgn_dot(l->gradient, l->product, l->n) / mgn_dot(l->gradient, l->gradient, l->n);
        l->scale = along > 0 && isfinite(along) ? along : 1;
        return MGN_OK;
    }
    MGN_TRY(o->matrix(o->context, p, f, l->gradient, l->matrix));
    l->scale = 0;
    for (int64_t i = 0; i < l->n; i++) l->scale = fmax(l->scale, l->matrix[i * (l->n + 1)]);
    return MGN_OK;
}

/* One attempt: a step that lowers the value is taken, another makes the damping grow. */
static mgn_status attempt(damped *l, double *p, double *f, double *length, bool *is_exhausted) {
    const mgn_objective *o = l->objective;
    double next = NAN, predicted = 0;
    bool is_solved;
    *length = 0;
    MGN_TRY(solve(l, p, &is_solved));
    for (int64_t i = 0; i < l->n; i++) {
        predicted += 0.5 * l->step[i] * (l->mu * l->scale * l->step[i] - l->gradient[i]);
        l->trial[i] = p[i] + l->step[i];
    }
    *is_exhausted = is_solved && predicted <= 1e-16 * fabs(*f);
    if (*is_exhausted) return MGN_OK;
    if (is_solved) MGN_TRY(o->value(o->context, l->trial, &next));
    if (!(next < *f)) {
        l->mu *= l->growth;
        l->growth *= 2;
        *is_exhausted = l->mu > most_damping;
        return MGN_OK;
    }
    const double gain = 2 * (*f - next) / predicted - 1;
    l->mu = fmax(l->mu * fmax(0.1, 1 - gain * gain * gain), least_damping);
    l->growth = 2;
    *length = sqrt(mgn_dot(l->step, l->step, l->n));
    memcpy(p, l->trial, (size_t)l->n * sizeof *p);
    return linearise(l, p, f);
}

static mgn_status iterate(damped *l, mgn_descent *descent, double *p) {
    double f, length;
    MGN_TRY(linearise(l, p, &f));
    descent->f = f;
    if (!isfinite(f) || !isfinite(mgn_dot(l->gradient, l->gradient, l->n)))
        return mgn_fail(MGN_ERR_NUMERIC, "the loss is %g, or its gradient not finite, at the start values", f);
    while (descent->done < descent->iterations && !descent->is_converged) {
        descent->is_converged = mgn_largest(l->gradient, l->n) <= descent->tolerance;
        if (descent->is_converged) return MGN_OK;
        MGN_TRY(attempt(l, p, &f, &length, &descent->is_converged));
        if (descent->state)
            memcpy(descent->state, (double[]){l->mu, l->growth, descent->is_converged},
                   MGN_DAMPED_MEMORY * sizeof l->mu);
        MGN_TRY(mgn_descent_step(l->objective, descent, f, length));
    }
    return MGN_OK;
}

mgn_status mgn_descend_damped(const mgn_objective *objective, mgn_descent *descent, double *p) {
    damped l = {.objective = objective, .n = objective->count, .mu = first_damping, .growth = 2};
    double **const vectors[] = {&l.gradient, &l.step, &l.trial, &l.residual, &l.direction, &l.product};
    double *block = mgn_alloc((size_t)l.n, MGN_COUNT(vectors) * sizeof *block);
    mgn_status status = block ? MGN_OK : MGN_ERR_MEMORY;
    for (size_t i = 0; block && i < MGN_COUNT(vectors); i++) *vectors[i] = block + i * (size_t)l.n;
    if (status == MGN_OK && objective->matrix) {
        l.matrix = mgn_alloc((size_t)l.n * (size_t)l.n, sizeof *l.matrix);
        l.factor = mgn_alloc((size_t)l.n * (size_t)l.n, sizeof *l.factor);
        if (!l.matrix || !l.factor) status = MGN_ERR_MEMORY;
    }
    if (descent->done > 0) {
        l.mu = descent->state[0];
        l.growth = descent->state[1];
        descent->is_converged = descent->state[2] != 0;
    }
    if (status == MGN_OK) status = iterate(&l, descent, p);
    mgn_free(l.matrix);
    mgn_free(l.factor);
    mgn_free(block);
    return status;
}
