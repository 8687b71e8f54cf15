#include "check/oracle_model.h"

#include <math.h>
#include <string.h>

#include "core/core.h"

enum { D = MGN_ORACLE_MOST_D, H = MGN_ORACLE_MOST_H };

bool mgn_oracle_knows(const char *model_kind, const char *loss_kind) {
    static const char *const models[] = {"cmgn", "mmgn"}, *const losses[] = {"l1",          "mse",        "nll",
                                                                             "kl",          "mixture-kl", "mixture-nll",
                                                                             "monge-ampere"};
    bool model = false, loss = false;
    for (size_t i = 0; i < MGN_COUNT(models); i++) model = model || strcmp(models[i], model_kind) == 0;
    for (size_t i = 0; i < MGN_COUNT(losses); i++) loss = loss || strcmp(losses[i], loss_kind) == 0;
    return model && loss;
}

/* ---- models ---- */

/* A parameter by its name, which is how the published equations call it. */
static const mgn_exact *named(const mgn_model *model, const mgn_exact *flat, const char *name, int number) {
    const mgn_parameter *list;
    size_t count = mgn_model_parameters(model, &list);
    for (size_t i = 0; i < count; i++) {
        size_t length = strlen(name);
        const char *label = list[i].label;
        if (strncmp(label, name, length) != 0) continue;
        if (number < 0 ? label[length] == '\0' : label[length] == (char)('0' + number) && label[length + 1] == '\0')
            return flat + list[i].offset;
    }
    return NULL;
}

static mgn_exact activation(const mgn_model_config *c, mgn_exact z) {
    mgn_op op = c->activation == MGN_TANH       ? MGN_OP_tanh
                : c->activation == MGN_LOGISTIC ? MGN_OP_logistic
                                                : MGN_OP_softplus;
    return mgn_oracle_scalar(op, z, 0, 0);
}

/* The antiderivative of the activation: log cosh of tanh, softplus of the logistic function. */
static mgn_exact primitive(const mgn_model_config *c, mgn_exact z) {
    return mgn_oracle_scalar(c->activation == MGN_TANH ? MGN_OP_logcosh : MGN_OP_softplus, z, 0, 0);
}

/* out_i = sum_j M_ij x_j; out_j = sum_i M_ij x_i. M is (rows, columns). */
static void times(const mgn_exact *m, const mgn_exact *x, int64_t rows, int64_t columns, mgn_exact *out) {
    for (int64_t i = 0; i < rows; i++) {
        out[i] = 0;
        for (int64_t j = 0; j < columns; j++) out[i] += m[i * columns + j] * x[j];
    }
}

static void transposed_times(const mgn_exact *m, const mgn_exact *x, int64_t rows, int64_t columns, mgn_exact *out) {
    for (int64_t j = 0; j < columns; j++) {
        out[j] = 0;
        for (int64_t i = 0; i < rows; i++) out[j] += m[i * columns + j] * x[i];
    }
}

static void quadratic(const mgn_exact *v, const mgn_exact *x, int64_t d, mgn_exact *out) {
    mgn_exact vx[D];
    times(v, x, d, d, vx);
    transposed_times(v, vx, d, d, out);
}

static void cascade(const mgn_model *model, const mgn_exact *flat, const mgn_exact *x, mgn_exact *y) {
    const mgn_model_config *c = mgn_model_get_config(model);
    const mgn_exact *w = named(model, flat, "W", -1), *last = named(model, flat, "bL", -1);
    mgn_exact wx[H], z[H], top[D];
    times(w, x, c->h, c->d, wx);
    for (int l = 0; l < c->layers; l++)
        for (int64_t i = 0; i < c->h; i++) z[i] = wx[i] + (l ? activation(c, z[i]) : 0) + named(model, flat, "b", l)[i];
    for (int64_t i = 0; i < c->h; i++) z[i] = activation(c, z[i]);
    transposed_times(w, z, c->h, c->d, top);
    quadratic(named(model, flat, "V", -1), x, c->d, y);
    for (int64_t j = 0; j < c->d; j++) y[j] += top[j] + last[j];
}

static void modules(const mgn_model *model, const mgn_exact *flat, const mgn_exact *x, mgn_exact *y) {
    const mgn_model_config *c = mgn_model_get_config(model);
    quadratic(named(model, flat, "V", -1), x, c->d, y);
    for (int64_t j = 0; j < c->d; j++) y[j] += named(model, flat, "a", -1)[j];
    for (int k = 0; k < c->layers; k++) {
        const mgn_exact *w = named(model, flat, "W", k), *b = named(model, flat, "b", k);
        mgn_exact z[H], part[D], s = 0;
        times(w, x, c->h, c->d, z);
        for (int64_t i = 0; i < c->h; i++) {
            s += primitive(c, z[i] + b[i]);
            z[i] = activation(c, z[i] + b[i]);
        }
        transposed_times(w, z, c->h, c->d, part);
        for (int64_t j = 0; j < c->d; j++) y[j] += s * part[j];
    }
}

void mgn_oracle_map(const mgn_model *model, const mgn_exact *flat, const mgn_exact *x, mgn_exact *y) {
    if (strcmp(mgn_model_get_config(model)->kind, "cmgn") == 0)
        cascade(model, flat, x, y);
    else
        modules(model, flat, x, y);
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

/* The target Gaussian: mean, precision and log det of the covariance. */
typedef struct gaussian {
    mgn_exact mean[D], precision[D * D], logdet;
} gaussian;

static void load_gaussian(const double *mean, const double *given, int64_t d, gaussian *g) {
    mgn_exact covariance[D * D];
    for (int64_t i = 0; i < d; i++) g->mean[i] = mean ? mean[i] : 0;
    for (int64_t i = 0; i < d * d; i++) covariance[i] = given ? given[i] : i % (d + 1) == 0;
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
               (i % (d + 1) == 0 ? 1e-6L : 0);
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
