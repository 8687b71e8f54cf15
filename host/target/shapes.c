/* Planar shapes: banana, checkerboard, moons, spirals. Each is a formula of uniform and normal numbers, written once in
 * double for the host and once as nodes, so that a plan can draw fresh samples on the device.
 *
 *   banana        (z1, s z2 + b (z1^2 - 1)): volume-preserving but for s, so its density is the Gaussian's in z over s
 *   checkerboard  a square of side 2 chosen among the 8 of [-4, 4]^2 whose column and row have the same parity
 *   moons         half of them (cos t, sin t), the others (1 - cos t, 1/2 - sin t), t uniform in [0, pi]; the direction of
 *                 a normal vector, upper half, is such an angle without a trigonometric function
 *   spirals       +-(-r cos r, r sin r) / 3 with r = 3 pi sqrt(u): the density per unit of length grows outwards */
#include <math.h>

#include "core/random.h"
#include "graph/graph.h"
#include "target/target.h"

enum { STREAM = 0x74677473 }; /* of the host; sets these numbers apart from others under the same seed */

#define LAST_RADIUS (3 * M_PI)

/* ---- on the host ---- */

static void sample_checkerboard(uint64_t seed, uint64_t index, double y[2]) {
    const int column = (int)(4 * mgn_host_uniform(seed, STREAM, 4 * index));
    const int row = 2 * (int)(2 * mgn_host_uniform(seed, STREAM, 4 * index + 1)) + column % 2;
    y[0] = 2 * (column + mgn_host_uniform(seed, STREAM, 4 * index + 2)) - 4;
    y[1] = 2 * (row + mgn_host_uniform(seed, STREAM, 4 * index + 3)) - 4;
}

static void sample_moons(const mgn_target *target, uint64_t seed, uint64_t index, double y[2]) {
    const double t = M_PI * mgn_host_uniform(seed, STREAM, 4 * index);
    const bool upper = mgn_host_uniform(seed, STREAM, 4 * index + 1) < 0.5;
    y[0] = (upper ? cos(t) : 1 - cos(t)) + target->noise * mgn_host_normal(seed, STREAM, 4 * index + 2);
    y[1] = (upper ? sin(t) : 0.5 - sin(t)) + target->noise * mgn_host_normal(seed, STREAM, 4 * index + 3);
}

static void sample_spirals(const mgn_target *target, uint64_t seed, uint64_t index, double y[2]) {
    const double r = LAST_RADIUS * sqrt(mgn_host_uniform(seed, STREAM, 4 * index));
    const double side = mgn_host_uniform(seed, STREAM, 4 * index + 1) < 0.5 ? -1 : 1;
    y[0] = -side * r * cos(r) / 3 + target->noise * mgn_host_normal(seed, STREAM, 4 * index + 2);
    y[1] = side * r * sin(r) / 3 + target->noise * mgn_host_normal(seed, STREAM, 4 * index + 3);
}

void mgn_shape_sample(const mgn_target *target, uint64_t seed, uint64_t index, double y[2]) {
    if (target->kind == MGN_TARGET_BANANA) {
        y[0] = mgn_host_normal(seed, STREAM, 4 * index);
        y[1] = target->spread * mgn_host_normal(seed, STREAM, 4 * index + 1) + target->bend * (y[0] * y[0] - 1);
    } else if (target->kind == MGN_TARGET_CHECKERBOARD) {
        sample_checkerboard(seed, index, y);
    } else if (target->kind == MGN_TARGET_MOONS) {
        sample_moons(target, seed, index, y);
    } else {
        sample_spirals(target, seed, index, y);
    }
}

/* All in closed form. Of the spirals: E[r^2 cos^2 r], E[r^2 sin^2 r] and E[r^2 sin r cos r] for density 2 r / R^2 up to
 * R = 3 pi, where sin 2R = 0. */
void mgn_shape_moments(const mgn_target *target, double mean[2], double covariance[4]) {
    const double noise = target->noise * target->noise, R = LAST_RADIUS;
    const double gap = 2 / M_PI - 0.25; /* of a moon's mean height from both moons' */
    double m[2] = {0, 0}, xx = 1, yy = 1, xy = 0;
    if (target->kind == MGN_TARGET_BANANA) {
        yy = target->spread * target->spread + 2 * target->bend * target->bend;
    } else if (target->kind == MGN_TARGET_CHECKERBOARD) {
        xx = yy = 16.0 / 3;
        xy = 1;
    } else if (target->kind == MGN_TARGET_MOONS) {
        m[0] = 0.5;
        m[1] = 0.25;
        xx = 0.75 + noise;
        yy = 0.5 - 4 / (M_PI * M_PI) + gap * gap + noise;
        xy = -0.5 * gap;
    } else {
        xx = (R * R / 4 + 0.75) / 9 + noise;
        yy = (R * R / 4 - 0.75) / 9 + noise;
        xy = (R / 2 - 0.75 / R) / 9;
    }
    mean[0] = m[0];
    mean[1] = m[1];
    if (!covariance) return;
    covariance[0] = xx;
    covariance[1] = covariance[2] = xy;
    covariance[3] = yy;
}

/* ---- as nodes ---- */

static mgn_node *column(mgn_node *rows, int64_t j) { return mgn_slice(rows, 1, j, 1); }

static mgn_node *beside(mgn_node *a, mgn_node *b) { return mgn_concat((mgn_node *[]){a, b}, 2, 1); }

static mgn_node *number(mgn_node *near, double value) { return mgn_constant(mgn_node_graph(near), value); }

/* 1 where u < p, else 0. */
static mgn_node *below(mgn_node *u, double p) { return mgn_greater(number(u, p), u); }

static mgn_node *banana_log_density(const mgn_target *target, mgn_node *y) {
    const double b = target->bend, s = target->spread;
    mgn_node *z1 = column(y, 0);
    mgn_node *z2 = mgn_scale(mgn_sub(column(y, 1), mgn_scale(mgn_shift(mgn_square(z1), -1), b)), 1 / s);
    mgn_node *squares = mgn_add(mgn_square(z1), mgn_square(z2));
    return mgn_reshape(mgn_shift(mgn_scale(squares, -0.5), -log(2 * M_PI * s)), MGN_SHAPE(mgn_node_shape(y).dim[0]));
}

/* Whole part of (v + 4) / 2 for v in [-4, 4], as a sum of steps; and 1 where v is in there. */
static mgn_node *cell(mgn_node *v, mgn_node **inside) {
    mgn_node *steps = NULL;
    for (int edge = -2; edge <= 2; edge += 2) {
        mgn_node *step = mgn_greater(v, number(v, edge));
        steps = steps ? mgn_add(steps, step) : step;
    }
    *inside = mgn_mul(mgn_greater(v, number(v, -4)), mgn_greater(number(v, 4), v));
    return steps;
}

static mgn_node *checkerboard_log_density(mgn_node *y) {
    mgn_node *in_x, *in_y;
    mgn_node *apart = mgn_abs(mgn_sub(cell(column(y, 0), &in_x), cell(column(y, 1), &in_y)));
    /* A difference of 0 or 2 cells: | |apart - 1| | is 1 there, and 0 or 2 for 1 and 3. */
    mgn_node *same = mgn_equal(mgn_abs(mgn_shift(apart, -1)), number(y, 1));
    mgn_node *density = mgn_select(mgn_mul(same, mgn_mul(in_x, in_y)), number(y, -log(32)), number(y, -INFINITY));
    return mgn_reshape(density, MGN_SHAPE(mgn_node_shape(y).dim[0]));
}

mgn_node *mgn_shape_log_density(const mgn_target *target, mgn_node *y) {
    return target->kind == MGN_TARGET_BANANA ? banana_log_density(target, y) : checkerboard_log_density(y);
}

static mgn_node *banana_node(const mgn_target *target, mgn_node *state, int64_t n, uint32_t stream) {
    mgn_node *z = mgn_normal(state, MGN_SHAPE(n, 2), stream), *z1 = column(z, 0);
    mgn_node *bent = mgn_scale(mgn_shift(mgn_square(z1), -1), target->bend);
    return beside(z1, mgn_add(mgn_scale(column(z, 1), target->spread), bent));
}

static mgn_node *checkerboard_node(mgn_node *state, int64_t n, uint32_t stream) {
    mgn_node *u = mgn_uniform(state, MGN_SHAPE(n, 4), stream);
    mgn_node *u0 = column(u, 0);
    mgn_node *at_1 = mgn_greater(u0, number(u, 0.25)), *at_2 = mgn_greater(u0, number(u, 0.5));
    mgn_node *at_3 = mgn_greater(u0, number(u, 0.75));
    mgn_node *columns = mgn_add(at_1, mgn_add(at_2, at_3)), *odd = mgn_add(mgn_sub(at_1, at_2), at_3);
    mgn_node *rows = mgn_add(mgn_scale(below(column(u, 1), 0.5), 2), odd);
    mgn_node *y1 = mgn_add(columns, column(u, 2)), *y2 = mgn_add(rows, column(u, 3));
    return mgn_shift(mgn_scale(beside(y1, y2), 2), -4);
}

static mgn_node *moons_node(const mgn_target *target, mgn_node *state, int64_t n, uint32_t stream) {
    mgn_node *z = mgn_normal(state, MGN_SHAPE(n, 4), stream);
    mgn_node *upper = below(mgn_uniform(state, MGN_SHAPE(n, 1), stream + 1), 0.5);
    mgn_node *z1 = column(z, 0), *z2 = column(z, 1);
    mgn_node *length = mgn_sqrt(mgn_shift(mgn_add(mgn_square(z1), mgn_square(z2)), 1e-30));
    mgn_node *cosine = mgn_div(z1, length), *sine = mgn_div(mgn_abs(z2), length);
    mgn_node *y1 = mgn_select(upper, cosine, mgn_sub(number(z, 1), cosine));
    mgn_node *y2 = mgn_select(upper, sine, mgn_sub(number(z, 0.5), sine));
    return mgn_add(beside(y1, y2), mgn_scale(mgn_slice(z, 1, 2, 2), target->noise));
}

/* cos and sin of an angle up to 3 pi: Taylor series of a sixteenth of it (below 0.6, error 1e-13), doubled four times. */
static void cosine_and_sine(mgn_node *angle, mgn_node **cosine, mgn_node **sine) {
    enum { TERMS = 6, DOUBLINGS = 4 };
    mgn_node *a = mgn_scale(angle, 1.0 / (1 << DOUBLINGS)), *squared = mgn_neg(mgn_square(a));
    mgn_node *c = number(a, 1), *s = number(a, 1); /* Horner, from the last term inwards */
    for (int j = TERMS; j >= 1; j--) {
        c = mgn_shift(mgn_scale(mgn_mul(squared, c), 1.0 / (2 * j * (2 * j - 1))), 1);
        s = mgn_shift(mgn_scale(mgn_mul(squared, s), 1.0 / (2 * j * (2 * j + 1))), 1);
    }
    s = mgn_mul(a, s);
    for (int j = 0; j < DOUBLINGS; j++) {
        mgn_node *doubled = mgn_scale(mgn_mul(s, c), 2);
        c = mgn_mul(mgn_sub(c, s), mgn_add(c, s));
        s = doubled;
    }
    *cosine = c;
    *sine = s;
}

static mgn_node *spirals_node(const mgn_target *target, mgn_node *state, int64_t n, uint32_t stream) {
    mgn_node *u = mgn_uniform(state, MGN_SHAPE(n, 2), stream);
    mgn_node *z = mgn_normal(state, MGN_SHAPE(n, 2), stream + 1);
    mgn_node *r = mgn_scale(mgn_sqrt(column(u, 0)), LAST_RADIUS), *cosine, *sine;
    cosine_and_sine(r, &cosine, &sine);
    mgn_node *side = mgn_shift(mgn_scale(below(column(u, 1), 0.5), -2), 1);
    mgn_node *arm = mgn_scale(mgn_mul(side, r), 1.0 / 3);
    return mgn_add(beside(mgn_neg(mgn_mul(arm, cosine)), mgn_mul(arm, sine)), mgn_scale(z, target->noise));
}

mgn_node *mgn_shape_sample_node(const mgn_target *target, mgn_node *state, int64_t n, uint32_t stream) {
    switch (target->kind) {
    case MGN_TARGET_BANANA: return banana_node(target, state, n, stream);
    case MGN_TARGET_CHECKERBOARD: return checkerboard_node(state, n, stream);
    case MGN_TARGET_MOONS: return moons_node(target, state, n, stream);
    default: return spirals_node(target, state, n, stream);
    }
}
