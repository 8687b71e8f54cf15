/* L-BFGS (Nocedal, Wright: Numerical Optimization, algorithms 7.4, 7.5, 3.5 and 3.6).
 *
 * The two-loop recursion over the last pairs (s, y) gives the direction; a line search finds a point that satisfies the
 * strong Wolfe conditions, so that every pair has s.y > 0 and the implied Hessian stays positive definite. */
#include "train/descent.h"

#include <math.h>
#include <string.h>

enum { MOST_TRIALS = 40 };
static const double sufficient = 1e-4, flat = 0.9; /* c1 and c2 of the Wolfe conditions */

typedef struct lbfgs {
    const mgn_objective *objective;
    int64_t n, memory, stored, next;        /* pairs stored; where the next one goes */
    double *s, *y, *rho;                    /* (memory, n), (memory, n), (memory) */
    double *gradient, *direction, *weights; /* (n), (n), (memory) */
    double *trial, *trial_gradient;         /* of the line search */
    double *best, *best_gradient;           /* its lowest point that fell far enough */
} lbfgs;

/* A point on the line: how far, the value and the slope there. */
typedef struct point {
    double at, f, slope;
} point;

/* ---- the direction ---- */

static void find_direction(lbfgs *l) {
    double *q = l->direction;
    for (int64_t i = 0; i < l->n; i++) q[i] = -l->gradient[i];
    for (int64_t back = 1; back <= l->stored; back++) {
        const int64_t k = (l->next - back + l->memory) % l->memory;
        l->weights[k] = l->rho[k] * mgn_dot(l->s + k * l->n, q, l->n);
        mgn_add_scaled(q, -l->weights[k], l->y + k * l->n, l->n);
    }
    if (l->stored > 0) {
        const int64_t k = (l->next - 1 + l->memory) % l->memory;
        const double *y = l->y + k * l->n, scale = 1 / (l->rho[k] * mgn_dot(y, y, l->n));
        for (int64_t i = 0; i < l->n; i++) q[i] *= scale;
    }
    for (int64_t back = l->stored; back >= 1; back--) {
        const int64_t k = (l->next - back + l->memory) % l->memory;
        const double beta = l->rho[k] * mgn_dot(l->y + k * l->n, q, l->n);
        mgn_add_scaled(q, l->weights[k] - beta, l->s + k * l->n, l->n);
    }
}

/* Keeps the step from p to `best`, unless rounding has left nothing of its curvature. */
static void remember(lbfgs *l, const double *p) {
    double *s = l->s + l->next * l->n, *y = l->y + l->next * l->n;
    for (int64_t i = 0; i < l->n; i++) {
        s[i] = l->best[i] - p[i];
        y[i] = l->best_gradient[i] - l->gradient[i];
    }
    const double sy = mgn_dot(s, y, l->n);
    if (!(sy > 1e-14 * sqrt(mgn_dot(s, s, l->n) * mgn_dot(y, y, l->n)))) return;
    l->rho[l->next] = 1 / sy;
    l->next = (l->next + 1) % l->memory;
    l->stored = MGN_MIN(l->stored + 1, l->memory);
}

/* ---- the line search ---- */

/* The function at p + at direction; a value that is not finite counts as infinitely high. */
static mgn_status look(lbfgs *l, const double *p, double at, point *out) {
    for (int64_t i = 0; i < l->n; i++) l->trial[i] = p[i] + at * l->direction[i];
    out->at = at;
    MGN_TRY(l->objective->gradient(l->objective->context, l->trial, &out->f, l->trial_gradient));
    out->slope = mgn_dot(l->trial_gradient, l->direction, l->n);
    if (!isfinite(out->f) || !isfinite(out->slope)) *out = (point){at, INFINITY, NAN};
    return MGN_OK;
}

static void keep(lbfgs *l) {
    memcpy(l->best, l->trial, (size_t)l->n * sizeof *l->best);
    memcpy(l->best_gradient, l->trial_gradient, (size_t)l->n * sizeof *l->best);
}

/* The minimum between two points of the cubic that has their values and slopes, well inside the interval. */
static double between(const point *a, const point *b) {
    const double width = b->at - a->at, low = a->at + 0.1 * width, high = b->at - 0.1 * width;
    double at = a->at + 0.5 * width;
    if (isfinite(b->f)) {
        const double d1 = a->slope + b->slope - 3 * (a->f - b->f) / (a->at - b->at);
        const double square = d1 * d1 - a->slope * b->slope;
        const double d2 = copysign(sqrt(fmax(square, 0)), width);
        const double cubic = b->at - width * (b->slope + d2 - d1) / (b->slope - a->slope + 2 * d2);
        if (square >= 0 && isfinite(cubic)) at = cubic;
    } else {
        at = a->at + 0.1 * width;
    }
    return width > 0 ? fmin(fmax(at, low), high) : fmax(fmin(at, low), high);
}

/* A point on the line that satisfies the strong Wolfe conditions, or at least lies lower; at 0 when there is none. `first` is
 * p itself, `at` the first trial. */
static mgn_status search(lbfgs *l, const double *p, const point *first, double at, point *found) {
    point low = *first, high = {0}, now;
    bool is_bracketed = false;
    *found = *first;
    for (int trial = 0; trial < MOST_TRIALS && !mgn_is_stopping(l->objective); trial++) {
        MGN_TRY(look(l, p, at, &now));
        const bool falls = now.f <= first->f + sufficient * now.at * first->slope && now.f < first->f;
        if (falls && now.f < found->f) {
            keep(l);
            *found = now;
        }
        if (falls && fabs(now.slope) <= -flat * first->slope) return MGN_OK;
        if (!falls || now.f >= low.f) {
            high = now;
            is_bracketed = true;
        } else {
            if (is_bracketed ? now.slope * (high.at - low.at) >= 0 : now.slope >= 0) {
                high = low;
                is_bracketed = true;
            }
            low = now;
        }
        if (is_bracketed && fabs(high.at - low.at) <= 1e-16 * fabs(low.at)) return MGN_OK;
        at = is_bracketed ? between(&low, &high) : 3 * now.at;
        if (at == low.at) return MGN_OK;
    }
    return MGN_OK;
}

/* ---- the method ---- */

/* Of 0: the usual. */
static int64_t pairs_of(int64_t memory) { return memory > 0 ? memory : 20; }

int64_t mgn_lbfgs_memory(int64_t count, int64_t memory) { return pairs_of(memory) * (2 * count + 1) + 2; }

/* Pairs, their products, and the two counters, one after the other. */
static void save(const lbfgs *l, double *state) {
    const size_t pairs = (size_t)(2 * l->memory * l->n), memory = (size_t)l->memory;
    memcpy(state, l->s, pairs * sizeof *state);
    memcpy(state + pairs, l->rho, memory * sizeof *state);
    memcpy(state + pairs + memory, (double[]){(double)l->stored, (double)l->next}, 2 * sizeof *state);
}

/* False where the counters make no sense. */
static bool restore(lbfgs *l, const double *state) {
    const size_t pairs = (size_t)(2 * l->memory * l->n), memory = (size_t)l->memory;
    const double stored = state[pairs + memory], next = state[pairs + memory + 1];
    if (!(stored >= 0 && stored <= (double)memory && next >= 0 && next < (double)memory)) return false;
    memcpy(l->s, state, pairs * sizeof *state);
    memcpy(l->rho, state + pairs, memory * sizeof *state);
    l->stored = (int64_t)stored;
    l->next = (int64_t)next;
    return true;
}

static mgn_status iterate(lbfgs *l, mgn_descent *descent, double *p) {
    const mgn_objective *o = l->objective;
    const size_t bytes = (size_t)l->n * sizeof *p;
    double f;
    MGN_TRY(o->gradient(o->context, p, &f, l->gradient));
    descent->f = f;
    if (!isfinite(f) || !isfinite(mgn_dot(l->gradient, l->gradient, l->n)))
        return mgn_fail(MGN_ERR_NUMERIC, "the loss is %g, or its gradient not finite, at the start values", f);
    while (descent->done < descent->iterations) {
        descent->is_converged = mgn_largest(l->gradient, l->n) <= descent->tolerance;
        if (descent->is_converged) return MGN_OK;
        find_direction(l);
        point start = {0, f, mgn_dot(l->gradient, l->direction, l->n)}, found;
        if (!(start.slope < 0)) { /* rounding: begin again along the gradient */
            l->stored = 0;
            find_direction(l);
            start.slope = mgn_dot(l->gradient, l->direction, l->n);
        }
        const double length = sqrt(mgn_dot(l->direction, l->direction, l->n));
        MGN_TRY(search(l, p, &start, l->stored ? 1 : fmin(1, 1 / length), &found));
        if (found.at == 0 && l->stored == 0 && !mgn_is_stopping(l->objective)) {
            descent->is_converged = true;
            return MGN_OK;
        }
        if (found.at == 0) {
            l->stored = 0;
        } else {
            remember(l, p);
            memcpy(p, l->best, bytes);
            memcpy(l->gradient, l->best_gradient, bytes);
            f = found.f;
        }
        if (descent->state) save(l, descent->state);
        MGN_TRY(mgn_descent_step(l->objective, descent, f, found.at * length));
    }
    return MGN_OK;
}

mgn_status mgn_descend_lbfgs(const mgn_objective *objective, mgn_descent *descent, double *p) {
    const int64_t n = objective->count, memory = pairs_of(descent->memory);
    const size_t width = (size_t)n;
    lbfgs l = {.objective = objective, .n = n, .memory = memory};
    double *block = NULL;
    int64_t numbers = 0;
    if (!__builtin_mul_overflow(2 * memory + 6, n, &numbers))
        block = mgn_alloc((size_t)numbers + 2 * (size_t)memory, sizeof *block);
    if (!block) return MGN_ERR_MEMORY;
    l.s = block;
    l.y = l.s + (size_t)memory * width;
    double **const vectors[] = {&l.gradient, &l.direction, &l.trial, &l.trial_gradient, &l.best, &l.best_gradient};
    for (size_t i = 0; i < MGN_COUNT(vectors); i++) *vectors[i] = l.y + ((size_t)memory + i) * width;
    l.rho = block + numbers;
    l.weights = l.rho + memory;
    mgn_status status = MGN_OK;
    if (descent->done > 0 && !restore(&l, descent->state))
        status = mgn_fail(MGN_ERR_FORMAT, "lbfgs: the numbers of steps that it should remember make no sense");
    if (status == MGN_OK) status = iterate(&l, descent, p);
    mgn_free(block);
    return status;
}
