/* Optimizers: one elementwise pass over the flat parameter vector each. A new one is a function and one row in `kinds`. Those
 * of second order are not nodes but loops over plans (train/second_order.c): here they only have names. */
#include <mgn/optim.h>

#include <math.h>
#include <string.h>

#include "core/core.h"
#include "graph/graph.h"

/* What an update sees; its results go to mgn_assign. */
typedef struct update {
    const mgn_optimizer_config *config;
    mgn_node *p, *g, *lr; /* (n), (n), () */
    mgn_node *const *vectors;
    mgn_node *scalars;
} update;

typedef struct optimizer_kind {
    const char *label;
    mgn_optimizer_shape shape;
    mgn_node *(*build)(const update *u); /* the new parameters; NULL: of second order */
} optimizer_kind;

static double or_else(double value, double otherwise) { return value != 0 ? value : otherwise; }

/* old * keep + new * (1 - keep), assigned to `old`. */
static mgn_node *average_into(mgn_node *old, mgn_node *value, double keep) {
    mgn_node *average = mgn_add(mgn_scale(old, keep), mgn_scale(value, 1 - keep));
    mgn_assign(old, average);
    return average;
}

/* Adam (Kingma, Ba): m and v are running means of g and g^2. The bias corrections 1 - beta^t are running means of 1, which
 * keeps their digits where 1 - beta^t would cancel. */
static mgn_node *adam_direction(const update *u, mgn_node *g) {
    double beta1 = or_else(u->config->beta1, 0.9), beta2 = or_else(u->config->beta2, 0.999);
    mgn_node *m = average_into(u->vectors[0], g, beta1);
    mgn_node *v = average_into(u->vectors[1], mgn_square(g), beta2);
    mgn_graph *graph = mgn_node_graph(g);
    mgn_node *keep = mgn_table(graph, (double[]){beta1, beta2}, MGN_SHAPE(2));
    mgn_node *rest = mgn_table(graph, (double[]){1 - beta1, 1 - beta2}, MGN_SHAPE(2));
    mgn_node *correction = mgn_add(mgn_mul(u->scalars, keep), rest);
    mgn_assign(u->scalars, correction);
    mgn_node *scale = mgn_div(mgn_constant(graph, 1), correction); /* divided once, not for every parameter */
    mgn_node *root = mgn_sqrt(mgn_mul(v, mgn_slice(scale, 0, 1, 1)));
    return mgn_div(mgn_mul(m, mgn_slice(scale, 0, 0, 1)), mgn_shift(root, or_else(u->config->epsilon, 1e-8)));
}

static mgn_node *decayed(const update *u) {
    return u->config->weight_decay == 0 ? u->g : mgn_add(u->g, mgn_scale(u->p, u->config->weight_decay));
}

static mgn_node *build_adam(const update *u) { return mgn_sub(u->p, mgn_mul(u->lr, adam_direction(u, decayed(u)))); }

static mgn_node *build_adamw(const update *u) {
    mgn_node *direction = adam_direction(u, u->g);
    if (u->config->weight_decay != 0) direction = mgn_add(direction, mgn_scale(u->p, u->config->weight_decay));
    return mgn_sub(u->p, mgn_mul(u->lr, direction));
}

/* Momentum as in PyTorch: b = momentum b + g, p -= lr b. */
static mgn_node *build_sgd(const update *u) {
    mgn_node *b = mgn_add(mgn_scale(u->vectors[0], u->config->momentum), decayed(u));
    mgn_assign(u->vectors[0], b);
    return mgn_sub(u->p, mgn_mul(u->lr, b));
}

static const optimizer_kind kinds[] = {
    {"adam", {.vectors = 2, .scalars = 2}, build_adam},
    {"adamw", {.vectors = 2, .scalars = 2}, build_adamw},
    {"sgd", {.vectors = 1, .scalars = 0}, build_sgd},
    {"lbfgs", {0}, NULL},
    {"newton", {0}, NULL},
    {"gauss-newton", {0}, NULL},
};

const char *mgn_optimizer_kind(size_t index) { return index < MGN_COUNT(kinds) ? kinds[index].label : NULL; }

static const optimizer_kind *find_kind(const char *label) {
    for (size_t i = 0; i < MGN_COUNT(kinds); i++)
        if (strcmp(kinds[i].label, label) == 0) return &kinds[i];
    return NULL;
}

bool mgn_optimizer_is_second_order(const char *kind) {
    const optimizer_kind *found = find_kind(kind);
    return found && !found->build;
}

/* What a second-order kind would ignore is refused. */
static mgn_status check_second_order(const mgn_optimizer_config *config) {
    if (config->weight_decay >= 0 && isfinite(config->weight_decay) && config->tolerance >= 0 && config->memory >= 0 &&
        config->memory <= 1000 && config->clip_norm == 0 && config->momentum == 0)
        return MGN_OK;
    return mgn_fail(
        MGN_ERR_ARGUMENT,
        "%s: a weight decay and a tolerance from 0, a memory from 0 to 1000, and neither momentum nor clip norm "
        "were expected; weight_decay=%g tolerance=%g memory=%lld momentum=%g clip=%g found",
        config->kind, config->weight_decay, config->tolerance, (long long)config->memory, config->momentum,
        config->clip_norm);
}

mgn_status mgn_optimizer_check(const mgn_optimizer_config *config, mgn_optimizer_shape *shape) {
    const optimizer_kind *kind = find_kind(config->kind);
    if (!kind)
        return mgn_fail(MGN_ERR_ARGUMENT,
                        "the optimizer is adam, adamw, sgd, lbfgs, newton or gauss-newton; '%.15s' was found",
                        config->kind);
    if (!kind->build) MGN_TRY(check_second_order(config));
    bool sane = !kind->build ||
                (config->lr > 0 && isfinite(config->lr) && config->weight_decay >= 0 && config->clip_norm >= 0 &&
                 config->momentum >= 0 && config->momentum < 1 && config->beta1 >= 0 && config->beta1 < 1 &&
                 config->beta2 >= 0 && config->beta2 < 1 && config->epsilon >= 0);
    if (!sane)
        return mgn_fail(MGN_ERR_ARGUMENT,
                        "%s: a positive learning rate, a weight decay and clip norm from 0, and momentum and betas in "
                        "[0, 1) were expected; lr=%g weight_decay=%g clip=%g momentum=%g betas=%g, %g found",
                        kind->label, config->lr, config->weight_decay, config->clip_norm, config->momentum,
                        config->beta1, config->beta2);
    *shape = kind->shape;
    return MGN_OK;
}

/* g * min(1, clip / (|g| + 1e-6)), as PyTorch's clip_grad_norm_. */
static mgn_node *clipped(mgn_node *g, double clip_norm) {
    if (clip_norm == 0) return g;
    mgn_graph *graph = mgn_node_graph(g);
    mgn_node *norm = mgn_sqrt(mgn_sum(mgn_square(g), -1));
    mgn_node *factor = mgn_div(mgn_constant(graph, clip_norm), mgn_shift(norm, 1e-6));
    return mgn_mul(g, mgn_minimum(mgn_constant(graph, 1), factor));
}

void mgn_optimizer_update(const mgn_optimizer_config *config, mgn_node *parameters, mgn_node *gradient, mgn_node *lr,
                          mgn_node *const *vectors, mgn_node *scalars) {
    const optimizer_kind *kind = find_kind(config->kind);
    if (!kind || !parameters || !gradient) return;
    if (!kind->build) {
        mgn_graph_fail(mgn_node_graph(parameters), "%s is not one update: mgn_train runs it", kind->label);
        return;
    }
    update u = {config, parameters, clipped(gradient, config->clip_norm), lr, vectors, scalars};
    mgn_assign(parameters, kind->build(&u));
}
