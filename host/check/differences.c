#include "check/differences.h"

#include "core/core.h"

enum { REACH = 3 };
static const mgn_exact weights[REACH] = {0.75L, -0.15L, 1.0L / 60.0L};

/* Truncation falls with step^6, rounding grows as 1 / step (1 / step^2 for nested differences). */
static const mgn_exact first_step = 0x1p-18L, second_step = 0x1p-13L;

/* A point that can be moved, and room for the result there. */
typedef struct point {
    const mgn_check_case *c;
    mgn_exact *x[MGN_CASE_INPUTS], *y;
} point;

static void point_free(point *p) {
    for (int i = 0; i < p->c->inputs; i++) mgn_free(p->x[i]);
    mgn_free(p->y);
}

static mgn_status point_at(const mgn_check_case *c, point *p) {
    *p = (point){.c = c, .y = mgn_alloc((size_t)mgn_shape_count(c->shape), sizeof *p->y)};
    bool ok = p->y;
    for (int i = 0; i < c->inputs; i++) {
        int64_t count = mgn_shape_count(c->in[i].shape);
        p->x[i] = mgn_alloc((size_t)count, sizeof *p->x[i]);
        ok = ok && p->x[i];
        for (int64_t k = 0; p->x[i] && k < count; k++) p->x[i][k] = c->in[i].values[k];
    }
    if (ok) return MGN_OK;
    point_free(p);
    return MGN_ERR_MEMORY;
}

static void evaluate(point *p) { p->c->oracle(p->c, (const mgn_exact *const *)p->x, p->y, NULL); }

/* Moves by `distance` along the tangents. */
static void move(point *p, double *const *tangents, mgn_exact distance) {
    for (int i = 0; i < p->c->inputs; i++)
        for (int64_t k = 0; mgn_case_varies(p->c, i) && k < mgn_shape_count(p->c->in[i].shape); k++)
            p->x[i][k] += distance * (mgn_exact)tangents[i][k];
}

static mgn_exact paired(point *p, const double *cotangent) {
    mgn_exact sum = 0;
    evaluate(p);
    for (int64_t k = 0; k < mgn_shape_count(p->c->shape); k++) sum += p->y[k] * (mgn_exact)cotangent[k];
    return sum;
}

mgn_status mgn_differences_jvp(const mgn_check_case *c, double *const *tangents, mgn_exact *derivative) {
    point p;
    int64_t count = mgn_shape_count(c->shape);
    for (int64_t k = 0; k < count; k++) derivative[k] = 0;
    for (int j = -REACH; j <= REACH; j++) {
        if (j == 0) continue;
        MGN_TRY(point_at(c, &p)); /* afresh, so that moves do not add up their rounding */
        move(&p, tangents, (mgn_exact)j * first_step);
        evaluate(&p);
        mgn_exact w = j > 0 ? weights[j - 1] : -weights[-j - 1];
        for (int64_t k = 0; k < count; k++) derivative[k] += w * p.y[k] / first_step;
        point_free(&p);
    }
    return MGN_OK;
}

/* d/dt of <cotangent, result> along the tangents. */
static mgn_exact slope(point *p, const double *cotangent, double *const *tangents) {
    mgn_exact sum = 0;
    for (int j = 1; j <= REACH; j++) {
        mgn_exact distance = (mgn_exact)j * second_step;
        move(p, tangents, distance);
        mgn_exact ahead = paired(p, cotangent);
        move(p, tangents, -2 * distance);
        sum += weights[j - 1] * (ahead - paired(p, cotangent)) / second_step;
        move(p, tangents, distance);
    }
    return sum;
}

/* The derivative by every single element: of <cotangent, result>, or of its slope where tangents are given. */
static mgn_status by_element(const mgn_check_case *c, const double *cotangent, double *const *tangents,
                             mgn_exact *const *gradients) {
    point p;
    mgn_exact step = tangents ? second_step : first_step;
    MGN_TRY(point_at(c, &p));
    for (int i = 0; i < c->inputs; i++)
        for (int64_t k = 0; mgn_case_varies(c, i) && k < mgn_shape_count(c->in[i].shape); k++) {
            mgn_exact sum = 0, here = p.x[i][k];
            for (int j = -REACH; j <= REACH; j++) {
                if (j == 0) continue;
                p.x[i][k] = here + (mgn_exact)j * step;
                mgn_exact value = tangents ? slope(&p, cotangent, tangents) : paired(&p, cotangent);
                sum += (j > 0 ? weights[j - 1] : -weights[-j - 1]) * value / step;
            }
            p.x[i][k] = here;
            gradients[i][k] = sum;
        }
    point_free(&p);
    return MGN_OK;
}

mgn_status mgn_differences_vjp(const mgn_check_case *c, const double *cotangent, mgn_exact *const *gradients) {
    return by_element(c, cotangent, NULL, gradients);
}

mgn_status mgn_differences_second(const mgn_check_case *c, const double *cotangent, double *const *tangents,
                                  mgn_exact *const *gradients) {
    return by_element(c, cotangent, tangents, gradients);
}
