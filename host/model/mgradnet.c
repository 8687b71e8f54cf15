/* M-GradNet, the modular gradient network (Chaudhari, Pranav, Moura, arXiv 2404.07361), with learnable scales:
 *
 *     g(x) = b + sum_k a_k W_k^T s(beta_k (W_k x + c_k)),   beta_k > 0.
 *
 * Its Jacobian sum_k a_k beta_k W_k^T diag(s') W_k is symmetric for any a, and positive semidefinite for a >= 0
 * (mGradNet-M). */
#include "model/model.h"

static void describe(const mgn_model_config *c, mgn_parameter_list *list) {
    for (int k = 0; k < c->layers; k++) {
        mgn_parameter_add(list, "W", k, MGN_SHAPE(c->h, c->d), MGN_WEIGHT);
        mgn_parameter_add(list, "c", k, MGN_SHAPE(c->h), MGN_BIAS);
    }
    mgn_parameter_add(list, "a", -1, MGN_SHAPE(c->layers), MGN_SCALE);
    mgn_parameter_add(list, "beta", -1, MGN_SHAPE(c->layers), MGN_POSITIVE);
    mgn_parameter_add(list, "b", -1, MGN_SHAPE(c->d), MGN_BIAS);
}

/* One module: its weights, its scales (1) and beta_k (W_k x + c_k) (n, h). */
typedef struct module {
    mgn_node *W, *a, *beta, *z;
} module;

/* z is NULL without an x. */
static module module_of(const mgn_model_config *c, mgn_node *const *p, mgn_node *x, int64_t k) {
    module m = {.W = p[2 * k]};
    m.a = mgn_slice(mgn_unit_scale(c, p[2 * c->layers]), 0, k, 1);
    m.beta = mgn_slice(mgn_positive(p[2 * c->layers + 1]), 0, k, 1);
    m.z = mgn_mul(m.beta, mgn_add(mgn_matmul_t(x, false, m.W, true), p[2 * k + 1]));
    return m;
}

static mgn_node *forward(const mgn_model_config *c, mgn_node *const *p, mgn_node *x) {
    mgn_node *g = NULL; /* (n, d) */
    for (int64_t k = 0; k < c->layers; k++) {
        module m = module_of(c, p, x, k);
        mgn_node *part = mgn_matmul(mgn_mul(m.a, mgn_activate(c->activation, m.z)), m.W);
        g = g ? mgn_add(g, part) : part;
    }
    return mgn_add(g, p[2 * c->layers + 2]);
}

/* phi = b x + sum_k a_k / beta_k sum_i S(z_k,i), S' = s. */
static mgn_node *potential(const mgn_model_config *c, mgn_node *const *p, mgn_node *x) {
    mgn_node *phi = mgn_sum(mgn_mul(x, p[2 * c->layers + 2]), 2); /* (n) */
    for (int64_t k = 0; k < c->layers; k++) {
        module m = module_of(c, p, x, k);
        mgn_node *units = mgn_sum(mgn_activate_potential(c->activation, m.z), 2);
        phi = mgn_add(phi, mgn_mul(mgn_div(m.a, m.beta), units));
    }
    return phi;
}

static bool has_potential(const mgn_model_config *c) { return c->activation != MGN_SOFTPLUS; }

static mgn_node *bound(const mgn_model_config *c, mgn_node *const *p) {
    mgn_node *B = NULL;
    for (int64_t k = 0; k < c->layers; k++) {
        mgn_node *a = mgn_abs(mgn_slice(mgn_unit_scale(c, p[2 * c->layers]), 0, k, 1));
        mgn_node *beta = mgn_slice(mgn_positive(p[2 * c->layers + 1]), 0, k, 1);
        mgn_node *part = mgn_mul(mgn_mul(a, beta), mgn_gram(p[2 * k]));
        B = B ? mgn_add(B, part) : part;
    }
    return mgn_scale(B, mgn_activation_slope(c->activation));
}

const mgn_model_kind_info mgn_model_mgradnet = {
    .label = "mgradnet",
    .usual = MGN_LOGISTIC,
    .activations = 1 << MGN_LOGISTIC | 1 << MGN_TANH | 1 << MGN_SOFTPLUS,
    .has_scales = true,
    .describe = describe,
    .forward = forward,
    .potential = potential,
    .has_potential = has_potential,
    .bound = bound,
};
