/* The losses and their table. A new loss is a function of nodes and one row in `kinds`. */
#include <mgn/loss.h>

#include <lapacke.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/core.h"
#include "graph/graph.h"
#include "loss/moments.h"

typedef struct loss_kind {
    const char *label;
    bool needs_pairs, needs_samples, takes_jacobian, is_mean;
    mgn_node *(*build)(const mgn_loss_config *config, mgn_node *x, mgn_node *y, mgn_node *target);
} loss_kind;

/* ---- target Gaussians: whitener and log det, made on the host once ---- */

/* Squares of whitened rows are about 1 whatever the target's scale is; a precision matrix would leave single precision where
 * the scale is beyond 1e19. */
typedef struct gaussian {
    mgn_node *mean;     /* (d), or NULL: 0 */
    mgn_node *whitener; /* L^-T (d, d), L L^T being the covariance; or NULL: identity */
    double logdet;      /* of the covariance */
} gaussian;

static const double least_spread = 1e-37; /* its inverse is a float */

static bool make_whitener(mgn_graph *graph, const double *covariance, int64_t d, gaussian *target) {
    lapack_int n = (lapack_int)d;
    double *a = mgn_arena_alloc(graph->arena, (size_t)(d * d), sizeof *a);
    if (!a) return false;
    memcpy(a, covariance, (size_t)(d * d) * sizeof *a);
    bool regular = LAPACKE_dpotrf(LAPACK_ROW_MAJOR, 'L', n, a, n) == 0;
    for (int64_t i = 0; regular && i < d; i++) {
        const double pivot = a[i * (d + 1)], own = sqrt(covariance[i * (d + 1)]);
        target->logdet += 2 * log(pivot);
        regular = pivot > 1e-7 * own; /* of the column's spread, what the ones before it do not tell */
        if (pivot > least_spread) continue;
        mgn_graph_fail(graph,
                       "the target's coordinate %lld (counted from 0) varies by %g, too little for a density in single "
                       "precision; other units are needed",
                       (long long)i, own);
        return false;
    }
    if (!regular || LAPACKE_dtrtri(LAPACK_ROW_MAJOR, 'L', 'N', n, a, n) != 0) {
        mgn_graph_fail(graph,
                       "the target's covariance is singular: its %lld coordinates vary in fewer directions (a single "
                       "colour, or a constant column?), so no density can be matched to it",
                       (long long)d);
        return false;
    }
    for (int64_t i = 0; i < d; i++)
        for (int64_t j = i + 1; j < d; j++) {
            a[i * d + j] = a[j * d + i];
            a[j * d + i] = 0;
        }
    target->whitener = mgn_table(graph, a, MGN_SHAPE(d, d));
    return target->whitener != NULL;
}

static bool make_gaussian(mgn_node *y, const double *mean, const double *covariance, gaussian *target) {
    *target = (gaussian){0};
    int64_t d = y->shape.dim[1];
    if (mean) target->mean = mgn_table(y->graph, mean, MGN_SHAPE(d));
    return !covariance || make_whitener(y->graph, covariance, d, target);
}

/* (y - mean)^T covariance^-1 (y - mean) of each row: (n, d) -> (n). */
static mgn_node *squared_distance(mgn_node *y, const gaussian *target) {
    mgn_node *r = target->mean ? mgn_sub(y, target->mean) : y;
    return mgn_sum(mgn_square(target->whitener ? mgn_matmul(r, target->whitener) : r), 2);
}

/* ---- losses ---- */

mgn_node *mgn_loss_l1(mgn_node *y, mgn_node *target) { return mgn_mean(mgn_abs(mgn_sub(y, target)), -1); }

mgn_node *mgn_loss_mse(mgn_node *y, mgn_node *target) { return mgn_mean(mgn_square(mgn_sub(y, target)), -1); }

mgn_node *mgn_loss_transport_cost(mgn_node *x, mgn_node *y) {
    return mgn_mean(mgn_sum(mgn_square(mgn_sub(x, y)), 2), -1);
}

mgn_node *mgn_loss_nll(mgn_node *x, mgn_node *y, const double *mean, const double *covariance) {
    gaussian target;
    if (!x || !y || !make_gaussian(y, mean, covariance, &target)) return NULL;
    double constant = 0.5 * (double)y->shape.dim[1] * log(2 * M_PI) + 0.5 * target.logdet;
    mgn_node *rows = mgn_sub(mgn_scale(squared_distance(y, &target), 0.5), mgn_spd_logdet(mgn_row_jacobian(y, x)));
    return mgn_shift(mgn_mean(rows, -1), constant);
}

bool mgn_row_moments(mgn_node *y, mgn_node **m, mgn_node **S) {
    if (!y) return false;
    const int64_t n = y->shape.dim[0];
    if (n < 2) {
        mgn_graph_fail(y->graph, "kl: at least 2 rows are needed to estimate a covariance, %lld found", (long long)n);
        return false;
    }
    *m = mgn_mean(y, 1);                                                    /* (d) */
    mgn_node *c = mgn_sub(y, *m);                                           /* (n, d) */
    *S = mgn_scale(mgn_matmul_t(c, true, c, false), 1.0 / (double)(n - 1)); /* (d, d) */
    return *S != NULL;
}

/* What keeps a covariance of rows regular: far below the target's variances, and above the rounding of rows that vary more. */
static mgn_node *ridge(mgn_graph *graph, const double *covariance, int64_t d) {
    if (!covariance) return mgn_scale(mgn_identity(graph, d), 1e-6);
    double *diagonal = mgn_arena_alloc(graph->arena, (size_t)(d * d), sizeof *diagonal);
    if (!diagonal) return NULL;
    memset(diagonal, 0, (size_t)(d * d) * sizeof *diagonal);
    for (int64_t i = 0; i < d; i++) {
        const double v = covariance[i * (d + 1)];
        diagonal[i * (d + 1)] = 1e-6 * fmax(v, fmin(1, 1000 * v));
    }
    return mgn_table(graph, diagonal, MGN_SHAPE(d, d));
}

mgn_node *mgn_moments_kl(mgn_node *m, mgn_node *S, const double *mean, const double *covariance) {
    if (!m || !S) return NULL;
    const int64_t d = m->shape.dim[0];
    mgn_node *row = mgn_reshape(m, MGN_SHAPE(1, d));
    gaussian target;
    if (!row || !make_gaussian(row, mean, covariance, &target)) return NULL;
    S = mgn_add(S, ridge(m->graph, covariance, d));
    mgn_node *whitener = target.whitener ? target.whitener : mgn_identity(m->graph, d);
    mgn_node *trace = mgn_sum(mgn_mul(target.whitener ? mgn_matmul(S, whitener) : S, whitener), -1);
    mgn_node *shift = mgn_sum(squared_distance(row, &target), -1);
    mgn_node *sum = mgn_sub(mgn_add(trace, shift), mgn_spd_logdet(S));
    return mgn_scale(mgn_shift(sum, target.logdet - (double)d), 0.5);
}

mgn_node *mgn_loss_kl(mgn_node *y, const double *mean, const double *covariance) {
    mgn_node *m, *S;
    return mgn_row_moments(y, &m, &S) ? mgn_moments_kl(m, S, mean, covariance) : NULL;
}

/* ---- the table ---- */

static mgn_node *build_l1(const mgn_loss_config *c, mgn_node *x, mgn_node *y, mgn_node *target) {
    (void)c, (void)x;
    return mgn_loss_l1(y, target);
}

static mgn_node *build_mse(const mgn_loss_config *c, mgn_node *x, mgn_node *y, mgn_node *target) {
    (void)c, (void)x;
    return mgn_loss_mse(y, target);
}

static mgn_node *build_nll(const mgn_loss_config *c, mgn_node *x, mgn_node *y, mgn_node *target) {
    (void)target;
    return c->target ? mgn_loss_target_nll(x, y, c->target) : mgn_loss_nll(x, y, c->mean, c->covariance);
}

static mgn_node *build_kl(const mgn_loss_config *c, mgn_node *x, mgn_node *y, mgn_node *target) {
    (void)target, (void)x;
    return mgn_loss_kl(y, c->mean, c->covariance);
}

static const mgn_mixture *mixture_of(const mgn_loss_config *c, const mgn_node *y) {
    const mgn_mixture *mixture = c->target ? mgn_target_mixture(c->target) : NULL;
    if (!mixture)
        mgn_graph_fail(y->graph, "%s needs a mixture as the target (gmm:FILE), %s was given", c->kind,
                       c->target ? mgn_target_label(c->target) : "none");
    return mixture;
}

static mgn_node *build_mixture_kl(const mgn_loss_config *c, mgn_node *x, mgn_node *y, mgn_node *target) {
    (void)target, (void)x;
    const mgn_mixture *mixture = mixture_of(c, y);
    return mixture ? mgn_loss_mixture_kl(y, mixture) : NULL;
}

bool mgn_loss_is_of_moments(const char *kind) { return strcmp(kind, "kl") == 0 || strcmp(kind, "mixture-kl") == 0; }

mgn_node *mgn_loss_of_moments(const mgn_loss_config *config, mgn_node *m, mgn_node *S) {
    if (!m || !S) return NULL;
    if (strcmp(config->kind, "kl") == 0) return mgn_moments_kl(m, S, config->mean, config->covariance);
    const mgn_mixture *mixture = mixture_of(config, m);
    return mixture ? mgn_moments_mixture_kl(m, S, mixture) : NULL;
}

static mgn_node *build_mixture_nll(const mgn_loss_config *c, mgn_node *x, mgn_node *y, mgn_node *target) {
    (void)target;
    return mixture_of(c, y) ? mgn_loss_target_nll(x, y, c->target) : NULL;
}

static mgn_node *build_monge_ampere(const mgn_loss_config *c, mgn_node *x, mgn_node *y, mgn_node *target) {
    (void)target;
    if (!c->source || !c->target)
        return mgn_graph_fail(y->graph, "monge-ampere needs a source and a target with densities; no %s was given",
                              c->source ? "target" : "source");
    return mgn_loss_monge_ampere(x, y, c->source, c->target, c->squared);
}

static mgn_node *build_sinkhorn(const mgn_loss_config *c, mgn_node *x, mgn_node *y, mgn_node *target) {
    (void)x;
    return mgn_sinkhorn_divergence(&c->sinkhorn, y, NULL, target, NULL);
}

/* Not a function of the map's values alone: training has its own way (train/semidual.c). */
static mgn_node *build_semidual(const mgn_loss_config *c, mgn_node *x, mgn_node *y, mgn_node *target) {
    (void)c, (void)x, (void)target;
    return mgn_graph_fail(y->graph, "semidual is a loss of potentials, which mgn_train and mgn_semidual know; there is "
                                    "no node for it");
}

static const loss_kind kinds[] = {
    {"l1", true, false, false, true, build_l1},
    {"mse", true, false, false, true, build_mse},
    {"nll", false, false, true, true, build_nll},
    {"kl", false, false, false, false, build_kl},
    {"mixture-kl", false, false, false, false, build_mixture_kl},
    {"mixture-nll", false, false, true, true, build_mixture_nll},
    {"monge-ampere", false, false, true, true, build_monge_ampere},
    {"sinkhorn", false, true, false, false, build_sinkhorn},
    {"semidual", false, true, false, false, build_semidual},
};

const char *mgn_loss_kind(size_t index) { return index < MGN_COUNT(kinds) ? kinds[index].label : NULL; }

static const loss_kind *find_kind(const char *label) {
    for (size_t i = 0; i < MGN_COUNT(kinds); i++)
        if (strcmp(kinds[i].label, label) == 0) return &kinds[i];
    return NULL;
}

bool mgn_loss_needs_pairs(const char *kind) {
    const loss_kind *found = find_kind(kind);
    return found && found->needs_pairs;
}

bool mgn_loss_needs_samples(const char *kind) {
    const loss_kind *found = find_kind(kind);
    return found && found->needs_samples;
}

bool mgn_loss_takes_jacobian(const char *kind) {
    const loss_kind *found = find_kind(kind);
    return found && found->takes_jacobian;
}

bool mgn_loss_is_mean(const char *kind) {
    const loss_kind *found = find_kind(kind);
    return found && found->is_mean;
}

static mgn_node *refuse_kind(mgn_graph *graph, const char *found) {
    char all[256] = "";
    for (size_t i = 0, at = 0; i < MGN_COUNT(kinds) && at < sizeof all; i++)
        at += (size_t)snprintf(all + at, sizeof all - at, "%s%s",
                               i == 0                     ? ""
                               : i + 1 < MGN_COUNT(kinds) ? ", "
                                                          : " or ",
                               kinds[i].label);
    return mgn_graph_fail(graph, "the loss is %s; '%s' was found", all, found);
}

mgn_node *mgn_loss(const mgn_loss_config *config, mgn_node *x, mgn_node *y, mgn_node *target) {
    if (!x || !y) return NULL;
    const loss_kind *kind = find_kind(config->kind);
    if (!kind) return refuse_kind(x->graph, config->kind);
    if (kind->needs_pairs && !target)
        return mgn_graph_fail(x->graph, "%s compares with given targets, row by row; none were given", kind->label);
    if (kind->needs_samples && !target)
        return mgn_graph_fail(x->graph, "%s compares with samples of a target; none were given", kind->label);
    mgn_node *loss = kind->build(config, x, y, target);
    if (config->cost_weight == 0) return loss;
    return mgn_add(loss, mgn_scale(mgn_loss_transport_cost(x, y), config->cost_weight));
}
