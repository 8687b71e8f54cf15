/* M-MGN, the modular monotone gradient network (Chaudhari, Pranav, Moura, arXiv 2301.10862, eq. 5):
 *
 *     z_k = W_k x + b_k,   g(x) = a + V^T V x + sum_k s_k(z_k) W_k^T s(z_k),   s_k(z) = sum_i S(z_i),  S' = s, S >= 0
 *
 * (S = log cosh, s = tanh). It is the gradient of a x + |V x|^2 / 2 + sum_k s_k^2 / 2; its Jacobian
 * V^T V + sum_k (W_k^T s)(W_k^T s)^T + s_k W_k^T diag(s') W_k is positive semidefinite since S >= 0. */
#include "model/model.h"

static void describe(const mgn_model_config *c, mgn_parameter_list *list) {
    for (int k = 0; k < c->layers; k++) {
        mgn_parameter_add(list, "W", k, MGN_SHAPE(c->h, c->d), MGN_WEIGHT);
        mgn_parameter_add(list, "b", k, MGN_SHAPE(c->h), MGN_BIAS);
    }
    mgn_parameter_add(list, "V", -1, MGN_SHAPE(c->d, c->d), MGN_ROLE_V);
    mgn_parameter_add(list, "a", -1, MGN_SHAPE(c->d), MGN_BIAS);
}

/* z_k (n, h) and s_k (n, 1). */
static mgn_node *module(const mgn_model_config *c, mgn_node *const *p, mgn_node *x, int64_t k, mgn_node **s) {
    mgn_node *z = mgn_add(mgn_matmul_t(x, false, p[2 * k], true), p[2 * k + 1]);
    *s = mgn_reshape(mgn_sum(mgn_activate_potential(c->activation, z), 2), MGN_SHAPE(mgn_node_shape(x).dim[0], 1));
    return z;
}

static mgn_node *forward(const mgn_model_config *c, mgn_node *const *p, mgn_node *x) {
    mgn_node *V = p[2 * c->layers], *a = p[2 * c->layers + 1];
    mgn_node *g = mgn_add(mgn_quadratic_part(V, x), a); /* (n, d) */
    for (int64_t k = 0; k < c->layers; k++) {
        mgn_node *s, *z = module(c, p, x, k, &s);
        g = mgn_add(g, mgn_mul(s, mgn_matmul(mgn_activate(c->activation, z), p[2 * k])));
    }
    return g;
}

static mgn_node *potential(const mgn_model_config *c, mgn_node *const *p, mgn_node *x) {
    mgn_node *V = p[2 * c->layers], *a = p[2 * c->layers + 1];
    mgn_node *twice = mgn_sum(mgn_square(mgn_matmul_t(x, false, V, true)), 2); /* (n) */
    for (int64_t k = 0; k < c->layers; k++) {
        mgn_node *s;
        module(c, p, x, k, &s);
        twice = mgn_add(twice, mgn_reshape(mgn_square(s), mgn_node_shape(twice)));
    }
    return mgn_add(mgn_scale(twice, 0.5), mgn_sum(mgn_mul(x, a), 2));
}

static bool has_potential(const mgn_model_config *c) {
    (void)c;
    return true;
}

static const char *why_unbounded(const mgn_model_config *c) {
    (void)c;
    return "s_k(z) W_k^T diag(s') W_k grows without end with s_k(z)";
}

const mgn_model_kind_info mgn_model_mmgn = {
    .label = "mmgn",
    .usual = MGN_TANH,
    .activations = 1 << MGN_TANH | 1 << MGN_LOGISTIC,
    .describe = describe,
    .forward = forward,
    .potential = potential,
    .has_potential = has_potential,
    .why_unbounded = why_unbounded,
};
