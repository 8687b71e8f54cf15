/* Trust-region Newton-CG (Nocedal, Wright, algorithms 4.1 and 7.2).
 *
 * The quadratic model of the function within a ball is minimised by conjugate gradients, which stop at the ball, at a
 * direction of negative curvature (and follow it to the ball), or when the residual is small; the ball grows and shrinks
 * with how well the model predicts. */
#include "train/descent.h"

#include <math.h>
#include <string.h>

enum { MOST_PRODUCTS = 1000 };

typedef struct newton {
    const mgn_objective *objective;
    int64_t n;
    double radius;
    double *gradient, *step, *residual, *direction, *product, *trial; /* (n) each */
} newton;

/* How far from `step` along `direction` the ball ends. */
static double to_the_ball(const newton *t) {
    const double a = mgn_dot(t->direction, t->direction, t->n), b = mgn_dot(t->step, t->direction, t->n),
                 c = mgn_dot(t->step, t->step, t->n) - t->radius * t->radius;
    const double root = sqrt(fmax(b * b - a * c, 0));
    return b > 0 ? -c / (b + root) : (root - b) / a;
}

/* Minimises the model; `predicted` is by how much the function should fall. A product that is not finite ends it where it
 * stands. */
static mgn_status solve(newton *t, const double *p, double *predicted) {
    const size_t bytes = (size_t)t->n * sizeof *p;
    double rr = mgn_dot(t->gradient, t->gradient, t->n);
    const double enough = rr * fmin(0.01, sqrt(rr));
    memset(t->step, 0, bytes);
    memcpy(t->residual, t->gradient, bytes);
    for (int64_t i = 0; i < t->n; i++) t->direction[i] = -t->gradient[i];
    for (int64_t k = 0; k < MGN_MIN(2 * t->n + 10, MOST_PRODUCTS) && rr > enough; k++) {
        if (mgn_is_stopping(t->objective)) break; /* a shorter step is one too */
        MGN_TRY(t->objective->product(t->objective->context, p, t->direction, t->product));
        const double curvature = mgn_dot(t->direction, t->product, t->n);
        if (!isfinite(curvature)) break;
        const double alpha = rr / curvature, border = to_the_ball(t);
        const bool leaves = !(curvature > 0) || alpha >= border;
        mgn_add_scaled(t->step, leaves ? border : alpha, t->direction, t->n);
        mgn_add_scaled(t->residual, leaves ? border : alpha, t->product, t->n);
        if (leaves) break;
        const double before = rr;
        rr = mgn_dot(t->residual, t->residual, t->n);
        for (int64_t i = 0; i < t->n; i++) t->direction[i] = rr / before * t->direction[i] - t->residual[i];
    }
    /* g.s + s.Hs / 2, Hs being residual - g */
    *predicted = -0.5 * (mgn_dot(t->gradient, t->step, t->n) + mgn_dot(t->residual, t->step, t->n));
    return MGN_OK;
}

/* One step, taken when it lowers the function; `length` is 0 otherwise. */
static mgn_status advance(newton *t, double *p, double *f, double predicted, double *length) {
    const mgn_objective *o = t->objective;
    double next;
    for (int64_t i = 0; i < t->n; i++) t->trial[i] = p[i] + t->step[i];
    MGN_TRY(o->value(o->context, t->trial, &next));
    const double norm = sqrt(mgn_dot(t->step, t->step, t->n)),
                 gain = isfinite(next) ? (*f - next) / predicted : -INFINITY;
    if (!(gain >= 0.25)) t->radius = 0.25 * norm;
    if (gain > 0.75 && norm > 0.99 * t->radius) t->radius *= 2;
    *length = 0;
    if (!(gain > 1e-4) || !(next < *f)) return MGN_OK;
    memcpy(p, t->trial, (size_t)t->n * sizeof *p);
    *length = norm;
    return o->gradient(o->context, p, f, t->gradient);
}

static mgn_status iterate(newton *t, mgn_descent *descent, double *p) {
    double f, predicted, length;
    MGN_TRY(t->objective->gradient(t->objective->context, p, &f, t->gradient));
    descent->f = f;
    if (!isfinite(f) || !isfinite(mgn_dot(t->gradient, t->gradient, t->n)))
        return mgn_fail(MGN_ERR_NUMERIC, "the loss is %g, or its gradient not finite, at the start values", f);
    while (descent->done < descent->iterations) {
        descent->is_converged = mgn_largest(t->gradient, t->n) <= descent->tolerance;
        if (descent->is_converged) return MGN_OK;
        MGN_TRY(solve(t, p, &predicted));
        descent->is_converged = (!(predicted > 1e-16 * fabs(f)) || t->radius < 1e-14) && !mgn_is_stopping(t->objective);
        if (descent->is_converged) return MGN_OK;
        MGN_TRY(advance(t, p, &f, predicted, &length));
        if (descent->state) *descent->state = t->radius;
        MGN_TRY(mgn_descent_step(t->objective, descent, f, length));
    }
    return MGN_OK;
}

mgn_status mgn_descend_newton(const mgn_objective *objective, mgn_descent *descent, double *p) {
    newton t = {.objective = objective, .n = objective->count, .radius = 1};
    double **const vectors[] = {&t.gradient, &t.step, &t.residual, &t.direction, &t.product, &t.trial};
    double *block = mgn_alloc((size_t)t.n, MGN_COUNT(vectors) * sizeof *block);
    if (!block) return MGN_ERR_MEMORY;
    for (size_t i = 0; i < MGN_COUNT(vectors); i++) *vectors[i] = block + i * (size_t)t.n;
    if (descent->done > 0) t.radius = *descent->state;
    const mgn_status status = iterate(&t, descent, p);
    mgn_free(block);
    return status;
}
