#include "check/oracle_model.h"

#include <math.h>
#include <string.h>

#include "core/core.h"

enum { D = MGN_ORACLE_MOST_D };

bool mgn_oracle_knows(const char *model_kind, const char *loss_kind) {
    static const char *const losses[] = {"l1", "mse", "nll", "kl", "mixture-kl", "mixture-nll", "monge-ampere"};
    bool loss = false;
    for (size_t i = 0; i < MGN_COUNT(losses); i++) loss = loss || strcmp(losses[i], loss_kind) == 0;
    return loss && mgn_oracle_knows_model(model_kind);
}

/* ---- losses ---- */

/* A matrix through the oracles of the spd ops. */
static mgn_exact log_determinant(const mgn_exact *a, int64_t d) {
    mgn_check_case c = {.op = MGN_OP_spd_logdet, .inputs = 1, .in = {{.shape = MGN_SHAPE(d, d)}}, .shape = MGN_SCALAR};
    mgn_exact value;
    mgn_oracle_logdet(&c, (const mgn_exact *[]){a, NULL, NULL}, &value, NULL);
    return value;
}

static void inverse(const mgn_exact *a, int64_t d, mgn_exact *out) {
    mgn_check_case c = {
        .op = MGN_OP_spd_inverse, .inputs = 1, .in = {{.shape = MGN_SHAPE(d, d)}}, .shape = MGN_SHAPE(d, d)};
    mgn_oracle_inverse(&c, (const mgn_exact *[]){a, NULL, NULL}, out, NULL);
}

/* The target Gaussian: mean, precision and log det of the covariance, and what its KL adds to the variances of rows. */
typedef struct gaussian {
    mgn_exact mean[D], precision[D * D], logdet, ridge[D];
} gaussian;

static void load_gaussian(const double *mean, const double *given, int64_t d, gaussian *g) {
    mgn_exact covariance[D * D];
    for (int64_t i = 0; i < d; i++) g->mean[i] = mean ? mean[i] : 0;
    for (int64_t i = 0; i < d * d; i++) covariance[i] = given ? given[i] : i % (d + 1) == 0;
    for (int64_t i = 0; i < d; i++) {
        const mgn_exact variance = covariance[i * (d + 1)];
        g->ridge[i] = 1e-6L * fmaxl(variance, fminl(1, 1000 * variance));
    }
    g->logdet = log_determinant(covariance, d);
    inverse(covariance, d, g->precision);
}

static mgn_exact squared_distance(const gaussian *g, const mgn_exact *y, int64_t d) {
    mgn_exact sum = 0;
    for (int64_t i = 0; i < d; i++)
        for (int64_t j = 0; j < d; j++) sum += (y[i] - g->mean[i]) * g->precision[i * d + j] * (y[j] - g->mean[j]);
    return sum;
}

/* log det of dg/dx, its columns by central differences of sixth order. */
static mgn_exact log_jacobian(const mgn_model *model, const mgn_exact *flat, const mgn_exact *x, int64_t d) {
    static const mgn_exact weights[] = {0.75L, -0.15L, 1.0L / 60.0L};
    const mgn_exact step = 0x1p-13L;
    mgn_exact jacobian[D * D] = {0}, moved[D], ahead[D], behind[D];
    for (int64_t j = 0; j < d; j++)
        for (int k = 1; k <= 3; k++) {
            memcpy(moved, x, (size_t)d * sizeof *moved);
            moved[j] = x[j] + (mgn_exact)k * step;
            mgn_oracle_map(model, flat, moved, ahead);
            moved[j] = x[j] - (mgn_exact)k * step;
            mgn_oracle_map(model, flat, moved, behind);
            for (int64_t i = 0; i < d; i++) jacobian[i * d + j] += weights[k - 1] * (ahead[i] - behind[i]) / step;
        }
    return log_determinant(jacobian, d);
}

/* KL of the rows' Gaussian to the target's. `sum` (d) and `products` (d, d) are of the rows. */
static mgn_exact divergence(const gaussian *g, const mgn_exact *sum, const mgn_exact *products, int64_t n, int64_t d) {
    mgn_exact mean[D], s[D * D], trace = 0;
    for (int64_t i = 0; i < d; i++) mean[i] = sum[i] / (mgn_exact)n;
    for (int64_t i = 0; i < d * d; i++) {
        s[i] = (products[i] - (mgn_exact)n * mean[i / d] * mean[i % d]) / (mgn_exact)(n - 1) +
               (i % (d + 1) == 0 ? g->ridge[i / d] : 0);
        trace += g->precision[i] * s[i];
    }
    return 0.5L * (trace + squared_distance(g, mean, d) - (mgn_exact)d + g->logdet - log_determinant(s, d));
}

/* Of a loss's Gaussian, or of the components of its target. */
typedef struct density {
    int64_t count;
    gaussian of[MGN_ORACLE_MOST_COMPONENTS];
    mgn_exact weights[MGN_ORACLE_MOST_COMPONENTS];
} density;

static void load_density(const mgn_loss_config *config, const mgn_target *target, int64_t d, density *q) {
    const mgn_mixture *m = target ? mgn_target_mixture(target) : NULL;
    *q = (density){.count = m ? MGN_MIN(m->k, MGN_ORACLE_MOST_COMPONENTS) : 1, .weights = {1}};
    if (!m) load_gaussian(config->mean, config->covariance, d, &q->of[0]);
    for (int64_t j = 0; m && j < q->count; j++) {
        load_gaussian(m->means + j * d, m->covariances + j * d * d, d, &q->of[j]);
        q->weights[j] = (mgn_exact)m->weights[j];
    }
}

static mgn_exact log_density(const density *q, const mgn_exact *y, int64_t d) {
    const mgn_exact turn = 6.283185307179586476925286766559L;
    mgn_exact sum = 0;
    for (int64_t j = 0; j < q->count; j++)
        sum += q->weights[j] *
               expl(-0.5L * (squared_distance(&q->of[j], y, d) + (mgn_exact)d * logl(turn) + q->of[j].logdet));
    return logl(sum);
}

static mgn_exact least_divergence(const density *q, const mgn_exact *sum, const mgn_exact *products, int64_t n,
                                  int64_t d) {
    mgn_exact least = divergence(&q->of[0], sum, products, n, d);
    for (int64_t j = 1; j < q->count; j++) least = fminl(least, divergence(&q->of[j], sum, products, n, d));
    return least;
}

mgn_exact mgn_oracle_loss(const mgn_loss_config *config, const mgn_model *model, const mgn_exact *flat,
                          const mgn_oracle_batch *batch) {
    int64_t d = mgn_model_get_config(model)->d;
    const bool likely = strstr(config->kind, "nll") != NULL, transport = strcmp(config->kind, "monge-ampere") == 0;
    density q, p;
    load_density(config, config->target, d, &q);
    load_density(config, config->source, d, &p);
    mgn_exact absolute = 0, square = 0, likelihood = 0, cost = 0, sum[D] = {0}, products[D * D] = {0}, y[D];
    for (int64_t r = 0; r < batch->n; r++) {
        const mgn_exact *x = batch->x + r * d;
        mgn_oracle_map(model, flat, x, y);
        for (int64_t i = 0; i < d; i++) {
            mgn_exact e = y[i] - batch->target[r * d + i];
            absolute += fabsl(e);
            square += e * e;
            cost += (x[i] - y[i]) * (x[i] - y[i]);
            sum[i] += y[i];
            for (int64_t j = 0; j < d; j++) products[i * d + j] += y[i] * y[j];
        }
        if (!likely && !transport) continue;
        mgn_exact pulled = log_density(&q, y, d) + log_jacobian(model, flat, x, d),
                  residual = log_density(&p, x, d) - pulled;
        likelihood += likely ? -pulled : config->squared ? residual * residual : fabsl(residual);
    }
    mgn_exact rows = (mgn_exact)batch->n, extra = (mgn_exact)config->cost_weight * cost / rows;
    if (strcmp(config->kind, "l1") == 0) return absolute / (rows * (mgn_exact)d) + extra;
    if (strcmp(config->kind, "mse") == 0) return square / (rows * (mgn_exact)d) + extra;
    return (likely || transport ? likelihood / rows : least_divergence(&q, sum, products, batch->n, d)) + extra;
}
