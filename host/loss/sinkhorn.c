/* The debiased Sinkhorn divergence as graph nodes: the symmetric loop of GeomLoss (Feydy 2020, algorithm 3.5; Sejourne
 * et al. 2019 for the unbalanced case), annealed from the diameter to the blur in a fixed number of steps.
 *
 * Every step takes four softmins: between the clouds in both directions, in one pass, and of each cloud with itself. They
 * run on detached points. A last one with the points differentiable and the potentials held gives the value, and its derivative
 * is the divergence's. In few dimensions the softmins stream over the pairs; in many they would multiply the same points
 * in every step, so costs are made once and kept, as long as they are few: the more coordinates, the more it is worth. */
#include "loss/sinkhorn.h"

#include <math.h>

#include "core/core.h"
#include "graph/graph.h"

enum { STREAMED_COORDINATES = 16, COSTS_A_COORDINATE = 1 << 18, MOST_COSTS = 1 << 27 };

/* ---- settings ---- */

mgn_status mgn_sinkhorn_complete(const mgn_sinkhorn_config *given, mgn_sinkhorn_config *config) {
    *config = *given;
    if (config->blur == 0) config->blur = 0.05;
    if (config->scaling == 0) config->scaling = 0.5;
    if (!(config->blur > 0 && isfinite(config->blur)))
        return mgn_fail(MGN_ERR_ARGUMENT, "sinkhorn: the blur is a positive number; %g was found", config->blur);
    if (!(config->scaling > 0 && config->scaling < 1))
        return mgn_fail(MGN_ERR_ARGUMENT, "sinkhorn: the scaling lies between 0 and 1; %g was found", config->scaling);
    if (!(config->reach >= 0 && isfinite(config->reach)))
        return mgn_fail(MGN_ERR_ARGUMENT, "sinkhorn: the reach is a positive number, or 0 for none; %g was found",
                        config->reach);
    if (!(config->diameter >= 0 && isfinite(config->diameter)))
        return mgn_fail(MGN_ERR_ARGUMENT, "sinkhorn: the diameter is a positive number; %g was found",
                        config->diameter);
    if (log(config->diameter / config->blur) / -log(config->scaling) > MGN_SINKHORN_STEPS - 3)
        return mgn_fail(MGN_ERR_ARGUMENT,
                        "sinkhorn: from the diameter %g to the blur %g it is more than %d steps of scaling %g; a "
                        "smaller scaling is needed",
                        config->diameter, config->blur, MGN_SINKHORN_STEPS - 3, config->scaling);
    return MGN_OK;
}

int mgn_sinkhorn_schedule(const mgn_sinkhorn_config *config, double temperatures[MGN_SINKHORN_STEPS]) {
    double from = 2 * log(config->diameter), to = 2 * log(config->blur), step = 2 * log(config->scaling);
    int count = 0, between = (int)ceil((to - from) / step);
    temperatures[count++] = config->diameter * config->diameter;
    for (int i = 0; i < between; i++) temperatures[count++] = exp(from + i * step);
    temperatures[count++] = config->blur * config->blur;
    return count;
}

/* ---- one cloud against another ---- */

/* Softmins between fixed rows and columns, at any temperature. */
typedef struct softmins {
    mgn_node *x, *y, *costs; /* costs (n, m): kept ones, or NULL: streaming */
    bool is_self;            /* x is y */
} softmins;

/* -e log sum_j exp(h_j - C_ij / e) */
static mgn_node *softmin(const softmins *s, mgn_node *h, double temperature) {
    double scale = 1 / sqrt(temperature);
    mgn_node *log_sum = s->costs ? mgn_softmin_dense(s->costs, h, 1 / temperature)
                                 : mgn_softmin(mgn_scale(s->x, scale), mgn_scale(s->y, scale), h);
    return mgn_scale(log_sum, -temperature);
}

/* The softmins of the rows with the heights h of the columns, and of the columns with the heights f of the rows:
 * (n + m), in one pass; without their factor, the temperature. */
static mgn_node *both_softmins(const softmins *s, mgn_node *f, mgn_node *h, double temperature) {
    double scale = 1 / sqrt(temperature);
    if (s->costs) return mgn_softmins_dense(s->costs, f, h, 1 / temperature, s->is_self);
    mgn_node *x = mgn_scale(s->x, scale), *y = s->is_self ? x : mgn_scale(s->y, scale);
    return mgn_softmins(x, y, f, h);
}

mgn_node *mgn_sinkhorn_cost_matrix(mgn_node *x, mgn_node *y) {
    int64_t n = x->shape.dim[0], m = y->shape.dim[0];
    mgn_node *rows = mgn_reshape(mgn_sum(mgn_square(x), 2), MGN_SHAPE(n, 1));
    mgn_node *columns = mgn_reshape(mgn_sum(mgn_square(y), 2), MGN_SHAPE(1, m));
    return mgn_sub(mgn_scale(mgn_add(rows, columns), 0.5), mgn_matmul_t(x, false, y, true));
}

bool mgn_sinkhorn_keeps_costs(int64_t n, int64_t m, int64_t d) {
    const int64_t most = d < MOST_COSTS / COSTS_A_COORDINATE ? d * COSTS_A_COORDINATE : MOST_COSTS;
    return d > STREAMED_COORDINATES && m > 0 && n <= most / m;
}

/* x against y, differentiable in x. */
static softmins make_softmins(mgn_node *x, mgn_node *y) {
    const bool is_self = x == y;
    const bool keeps = mgn_sinkhorn_keeps_costs(x->shape.dim[0], y->shape.dim[0], x->shape.dim[1]);
    y = mgn_detach(y);
    return (softmins){x, y, keeps ? mgn_sinkhorn_cost_matrix(x, y) : NULL, is_self};
}

/* The same with nothing to differentiate. */
static softmins detached(const softmins *s) {
    return (softmins){mgn_detach(s->x), s->y, s->costs ? mgn_detach(s->costs) : NULL, s->is_self};
}

/* ---- the loop ---- */

enum { X_FROM_Y, Y_FROM_X, X_FROM_X, Y_FROM_Y, POTENTIALS };

typedef struct sinkhorn {
    double temperature, strength;      /* strength: reach^2, 0 for balanced */
    softmins cross, of_x, of_y;        /* of detached points */
    mgn_node *log_weights[POTENTIALS]; /* of the columns of each */
    mgn_node *potential[POTENTIALS];
} sinkhorn;

/* Which potential stands on the columns of each softmin. */
static const int columns_of[POTENTIALS] = {Y_FROM_X, X_FROM_Y, X_FROM_X, Y_FROM_Y};

/* What stands on the columns of softmin i. */
static mgn_node *heights(const sinkhorn *s, int i, bool is_first) {
    mgn_node *h = s->log_weights[i];
    return is_first ? h : mgn_add(h, mgn_scale(s->potential[columns_of[i]], 1 / s->temperature));
}

double mgn_sinkhorn_damping(double temperature, double strength) {
    return strength > 0 ? 1 / (1 + temperature / strength) : 1;
}

static mgn_node *damped(const sinkhorn *s, mgn_node *updated) {
    const double damping = mgn_sinkhorn_damping(s->temperature, s->strength);
    return damping == 1 ? updated : mgn_scale(updated, damping);
}

/* The update of one potential, differentiable in what `of` is. */
static mgn_node *update(const sinkhorn *s, int i, const softmins *of) {
    return damped(s, softmin(of, heights(s, i, false), s->temperature));
}

/* All potentials' updates: a pass over the pairs of the two clouds, and one over each cloud's own; these follow one another,
 * so that backends can do them at the same time. */
static void update_all(const sinkhorn *s, bool is_first, mgn_node *next[POTENTIALS]) {
    const int64_t n = s->cross.x->shape.dim[0], m = s->cross.y->shape.dim[0];
    mgn_node *on[POTENTIALS];
    for (int i = 0; i < POTENTIALS; i++) on[i] = heights(s, i, is_first);
    mgn_node *cross = both_softmins(&s->cross, on[Y_FROM_X], on[X_FROM_Y], s->temperature);
    mgn_node *of_x = both_softmins(&s->of_x, on[X_FROM_X], on[X_FROM_X], s->temperature);
    mgn_node *of_y = both_softmins(&s->of_y, on[Y_FROM_Y], on[Y_FROM_Y], s->temperature);
    cross = mgn_scale(cross, -s->temperature);
    next[X_FROM_Y] = damped(s, mgn_slice(cross, 0, 0, n));
    next[Y_FROM_X] = damped(s, mgn_slice(cross, 0, n, m));
    next[X_FROM_X] = damped(s, mgn_slice(mgn_scale(of_x, -s->temperature), 0, 0, n));
    next[Y_FROM_Y] = damped(s, mgn_slice(mgn_scale(of_y, -s->temperature), 0, 0, m));
}

static void iterate(sinkhorn *s, const double *temperatures, int count) {
    mgn_node *next[POTENTIALS];
    s->temperature = temperatures[0];
    update_all(s, true, s->potential);
    for (int step = 0; step < count; step++) {
        s->temperature = temperatures[step];
        update_all(s, false, next);
        for (int i = 0; i < POTENTIALS; i++) s->potential[i] = mgn_scale(mgn_add(s->potential[i], next[i]), 0.5);
    }
}

/* <weights, values>; NULL weights are uniform. */
static mgn_node *weighted(mgn_node *weights, mgn_node *values) {
    return weights ? mgn_sum(mgn_mul(weights, values), -1) : mgn_mean(values, -1);
}

mgn_node *mgn_sinkhorn_cost(double temperature, double strength, mgn_node *weights, mgn_node *f, mgn_node *self) {
    if (strength == 0) return weighted(weights, mgn_sub(f, self));
    mgn_node *created = mgn_sub(mgn_exp(mgn_scale(self, -1 / strength)), mgn_exp(mgn_scale(f, -1 / strength)));
    mgn_node *cost = weighted(weights, created);
    return mgn_sub(mgn_scale(cost, strength + temperature), mgn_scale(mgn_detach(cost), temperature / 2));
}

/* ---- the divergence ---- */

static bool are_weights(const mgn_node *weights, const mgn_node *points) {
    return !weights ||
           (weights->kind == MGN_REAL && weights->shape.rank == 1 && weights->shape.dim[0] == points->shape.dim[0]);
}

static bool check_shapes(const mgn_node *x, const mgn_node *a, const mgn_node *y, const mgn_node *b) {
    char first[64], second[64];
    bool fits = x->kind == MGN_REAL && y->kind == MGN_REAL && x->shape.rank == 2 && y->shape.rank == 2 &&
                x->shape.dim[1] == y->shape.dim[1] && x->shape.dim[0] > 0 && y->shape.dim[0] > 0 &&
                x->shape.dim[1] > 0 && are_weights(a, x) && are_weights(b, y);
    if (!fits)
        mgn_graph_fail(x->graph,
                       "sinkhorn: points (n, d) and (m, d), and weights (n) and (m) where there are any, were "
                       "expected; points %s and %s found",
                       mgn_shape_text(x->shape, first), mgn_shape_text(y->shape, second));
    return fits;
}

static mgn_node *log_weights(mgn_node *weights, const mgn_node *points) {
    int64_t n = points->shape.dim[0];
    if (weights) return mgn_log(mgn_detach(weights));
    return mgn_broadcast(mgn_constant(points->graph, -log((double)n)), MGN_SHAPE(n));
}

mgn_node *mgn_sinkhorn_divergence(const mgn_sinkhorn_config *given, mgn_node *x, mgn_node *a, mgn_node *y,
                                  mgn_node *b) {
    mgn_sinkhorn_config config;
    if (!x || !y || !check_shapes(x, a, y, b)) return NULL;
    if (mgn_sinkhorn_complete(given, &config) != MGN_OK) return mgn_graph_fail(x->graph, "%s", mgn_last_error());
    if (config.diameter == 0)
        return mgn_graph_fail(x->graph, "sinkhorn: the diameter of the clouds is needed to plan the annealing");
    double temperatures[MGN_SINKHORN_STEPS];
    int count = mgn_sinkhorn_schedule(&config, temperatures);
    y = mgn_detach(y);
    b = mgn_detach(b);
    /* What rounding takes from a product, or from a coordinate in blurs, grows with the distance from the origin. */
    mgn_node *centre = mgn_mean(y, 1);
    x = mgn_sub(x, centre);
    y = mgn_sub(y, centre);
    softmins cross = make_softmins(x, y), of_x = make_softmins(x, x), of_y = make_softmins(y, y);
    sinkhorn s = {.strength = config.reach * config.reach,
                  .cross = detached(&cross),
                  .of_x = detached(&of_x),
                  .of_y = detached(&of_y)};
    mgn_node *log_a = log_weights(a, x), *log_b = log_weights(b, y), *last[POTENTIALS];
    for (int i = 0; i < POTENTIALS; i++) s.log_weights[i] = i == X_FROM_Y || i == Y_FROM_Y ? log_b : log_a;
    iterate(&s, temperatures, count);
    update_all(&s, false, last);
    last[X_FROM_Y] = update(&s, X_FROM_Y, &cross);
    last[X_FROM_X] = update(&s, X_FROM_X, &of_x);
    return mgn_add(mgn_sinkhorn_cost(s.temperature, s.strength, a, last[X_FROM_Y], last[X_FROM_X]),
                   mgn_sinkhorn_cost(s.temperature, s.strength, b, last[Y_FROM_X], last[Y_FROM_Y]));
}
