/* A dense ICNN: layers that all reach the output, and a quadratic part (DenseICNN of Korotin et al., arXiv 2106.01954):
 *
 *     a_0 = W_0 x + b_0,   a_l = W_l x + b_l + U_l z_(l-1),   z_l = s(k a_l) / k,   k = 8,
 *     phi(x) = sum_l w_l z_l + |V x|^2 / 2 + a x,   g = grad phi,   s = softplus, U, w >= 0.
 *
 * phi is convex, and strongly so where V has full rank: then g maps onto all of the space, and the equation g(x) = y always
 * has one solution, which is what conjugates need. The sharpness k sets how fast a unit bends beside how fast it moves when
 * its weights do: with k = 1 on data of unit size, first-order steps take many times longer to the same error. */
#include <math.h>

#include "model/model.h"

static const double sharpness = 8;

/* Where the parameters of layer l stand: W, b, w and, from the second layer on, U. */
enum { W, B, OUT, U, PER_LAYER };

static int at(int64_t l, int which) { return (int)(l == 0 ? which : PER_LAYER * l - 1 + which); }

static void describe(const mgn_model_config *c, mgn_parameter_list *list) {
    for (int l = 0; l < c->layers; l++) {
        mgn_parameter_add(list, "W", l, MGN_SHAPE(c->h, c->d), MGN_WEIGHT);
        mgn_parameter_add(list, "b", l, MGN_SHAPE(c->h), MGN_BIAS);
        mgn_parameter_add(list, "w", l, MGN_SHAPE(c->h), MGN_POSITIVE);
        if (l > 0) mgn_parameter_add(list, "U", l, MGN_SHAPE(c->h, c->h), MGN_POSITIVE);
    }
    mgn_parameter_add(list, "V", -1, MGN_SHAPE(c->d, c->d), MGN_ROLE_V);
    mgn_parameter_add(list, "a", -1, MGN_SHAPE(c->d), MGN_BIAS);
}

static mgn_node *potential(const mgn_model_config *c, mgn_node *const *p, mgn_node *x) {
    mgn_node *const *last = p + at(c->layers, 0);
    mgn_node *phi = mgn_scale(mgn_sum(mgn_square(mgn_matmul_t(x, false, last[0], true)), 2), 0.5); /* (n) */
    mgn_node *z = NULL;                                                                            /* (n, h) */
    phi = mgn_add(phi, mgn_sum(mgn_mul(x, last[1]), 2));
    for (int64_t l = 0; l < c->layers; l++) {
        mgn_node *a = mgn_add(mgn_matmul_t(x, false, p[at(l, W)], true), p[at(l, B)]);
        if (l > 0) a = mgn_add(a, mgn_matmul_t(z, false, mgn_positive(p[at(l, U)]), true));
        z = mgn_scale(mgn_activate(c->activation, mgn_scale(a, sharpness)), 1 / sharpness);
        phi = mgn_add(phi, mgn_sum(mgn_mul(z, mgn_positive(p[at(l, OUT)])), 2));
    }
    return phi;
}

static mgn_node *forward(const mgn_model_config *c, mgn_node *const *p, mgn_node *x) {
    mgn_node *sum = mgn_sum(potential(c, p, x), -1), *g = NULL; /* rows do not mix: its gradient is g, row by row */
    return sum && mgn_grad(sum, &x, 1, &g) == MGN_OK ? g : NULL;
}

static bool has_potential(const mgn_model_config *c) {
    (void)c;
    return true;
}

/* As in icnn.c, with s'' <= k / 4 and the outputs of all layers added up. */
static mgn_node *bound(const mgn_model_config *c, mgn_node *const *p) {
    mgn_node *N = NULL, *H = NULL, *units = NULL; /* (h, 1), (h, 1), (1, 1) */
    for (int64_t l = 0; l < c->layers; l++) {
        mgn_node *steep = mgn_sqrt(mgn_shift(mgn_sum(mgn_square(p[at(l, W)]), 2), 1e-30));
        mgn_node *matrix = l > 0 ? mgn_positive(p[at(l, U)]) : NULL;
        steep = mgn_reshape(steep, MGN_SHAPE(c->h, 1));
        N = l > 0 ? mgn_add(steep, mgn_matmul(matrix, N)) : steep;
        mgn_node *bent = mgn_scale(mgn_square(N), sharpness / 4);
        H = l > 0 ? mgn_add(bent, mgn_matmul(matrix, H)) : bent;
        mgn_node *part = mgn_matmul(mgn_reshape(mgn_positive(p[at(l, OUT)]), MGN_SHAPE(1, c->h)), H);
        units = l > 0 ? mgn_add(units, part) : part;
    }
    mgn_node *V = p[at(c->layers, 0)];
    return mgn_add(mgn_gram(V), mgn_mul(units, mgn_identity(mgn_node_graph(V), c->d)));
}

/* ---- other coordinates ---- */

/* The raw value whose mgn_positive is `factor` times that of `raw`. */
static double scaled_raw(double raw, double factor) {
    const double value = factor * (raw > 30 ? raw : log1p(exp(raw)));
    return value > 30 ? value : fmax(log(expm1(value)), -80);
}

static double *values_of(mgn_model *model, int parameter) {
    return model->values + model->list.items[parameter].offset;
}

/* a <- factor scale (a + V^T V shift) + add, V <- sqrt(factor) scale V */
static void substitute_last(mgn_model *model, double scale, const double *shift, double factor, const double *add) {
    const int64_t d = model->config.d;
    double *V = values_of(model, at(model->config.layers, 0)), *a = values_of(model, at(model->config.layers, 1));
    for (int64_t i = 0; i < d; i++) {
        double along = 0;
        for (int64_t j = 0; j < d; j++) along += V[i * d + j] * shift[j];
        for (int64_t j = 0; j < d; j++) a[j] += V[i * d + j] * along;
    }
    for (int64_t j = 0; j < d; j++) a[j] = factor * scale * a[j] + add[j];
    for (int64_t i = 0; i < d * d; i++) V[i] *= sqrt(factor) * scale;
}

/* Units keep their values: b <- b + W shift, W <- scale W; what they weigh is scaled: w <- factor w. */
static void substitute(mgn_model *model, double scale, const double *shift, double factor, const double *add) {
    const mgn_model_config *c = &model->config;
    for (int64_t l = 0; l < c->layers; l++) {
        double *w = values_of(model, at(l, W)), *b = values_of(model, at(l, B)), *out = values_of(model, at(l, OUT));
        for (int64_t i = 0; i < c->h; i++) {
            for (int64_t j = 0; j < c->d; j++) {
                b[i] += w[i * c->d + j] * shift[j];
                w[i * c->d + j] *= scale;
            }
            out[i] = scaled_raw(out[i], factor);
        }
    }
    substitute_last(model, scale, shift, factor, add);
}

const mgn_model_kind_info mgn_model_dicnn = {
    .label = "dicnn",
    .usual = MGN_SOFTPLUS,
    .activations = 1 << MGN_SOFTPLUS,
    .describe = describe,
    .forward = forward,
    .potential = potential,
    .has_potential = has_potential,
    .bound = bound,
    .substitute = substitute,
};
