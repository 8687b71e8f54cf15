/* C-MGN, the cascaded monotone gradient network (Chaudhari, Pranav, Moura, arXiv 2301.10862, eq. 3):
 *
 *     z_0 = W x + b_0,   z_l = W x + s(z_(l-1)) + b_l  (l = 1 .. L-1),   g(x) = W^T s(z_(L-1)) + V^T V x + b_L.
 *
 * Unit i sees x only through u_i = (W x)_i, by an increasing function, so the Jacobian is W^T D W + V^T V with D
 * diagonal and non-negative: symmetric and positive semidefinite whatever the parameters are. */
#include "model/model.h"

static void describe(const mgn_model_config *c, mgn_parameter_list *list) {
    mgn_parameter_add(list, "W", -1, MGN_SHAPE(c->h, c->d), MGN_WEIGHT);
    for (int l = 0; l < c->layers; l++) mgn_parameter_add(list, "b", l, MGN_SHAPE(c->h), MGN_BIAS);
    mgn_parameter_add(list, "V", -1, MGN_SHAPE(c->d, c->d), MGN_ROLE_V);
    mgn_parameter_add(list, "bL", -1, MGN_SHAPE(c->d), MGN_BIAS);
}

static mgn_node *forward(const mgn_model_config *c, mgn_node *const *p, mgn_node *x) {
    mgn_node *W = p[0], *const *b = p + 1, *V = p[1 + c->layers], *bL = p[2 + c->layers];
    mgn_node *u = mgn_matmul_t(x, false, W, true); /* (n, h) */
    mgn_node *z = mgn_add(u, b[0]);                /* (n, h) */
    for (int64_t l = 1; l < c->layers; l++) z = mgn_add(mgn_add(u, mgn_activate(c->activation, z)), b[l]);
    mgn_node *cascade = mgn_matmul(mgn_activate(c->activation, z), W); /* (n, d) */
    return mgn_add(mgn_add(cascade, mgn_quadratic_part(V, x)), bL);
}

/* With one layer: phi = sum_i S(w_i x + b_i) + |V x|^2 / 2 + b_L x, S' = s. */
static mgn_node *potential(const mgn_model_config *c, mgn_node *const *p, mgn_node *x) {
    mgn_node *z = mgn_add(mgn_matmul_t(x, false, p[0], true), p[1]);
    mgn_node *units = mgn_sum(mgn_activate_potential(c->activation, z), 2);
    mgn_node *quadratic = mgn_scale(mgn_sum(mgn_square(mgn_matmul_t(x, false, p[2], true)), 2), 0.5);
    return mgn_add(mgn_add(units, quadratic), mgn_sum(mgn_mul(x, p[3]), 2));
}

static bool has_potential(const mgn_model_config *c) { return c->layers == 1 && c->activation != MGN_SOFTPLUS; }

/* The slope of z_l in u is at most 1 + s times that of z_(l-1), s being the activation's: J <= S W^T W + V^T V with
 * S = s + s^2 + .. + s^L. */
static mgn_node *bound(const mgn_model_config *c, mgn_node *const *p) {
    double slope = 0;
    for (int64_t l = 0; l < c->layers; l++) slope = mgn_activation_slope(c->activation) * (1 + slope);
    return mgn_add(mgn_scale(mgn_gram(p[0]), slope), mgn_gram(p[1 + c->layers]));
}

const mgn_model_kind_info mgn_model_cmgn = {
    .label = "cmgn",
    .usual = MGN_LOGISTIC,
    .activations = 1 << MGN_LOGISTIC | 1 << MGN_TANH | 1 << MGN_SOFTPLUS,
    .describe = describe,
    .forward = forward,
    .potential = potential,
    .has_potential = has_potential,
    .bound = bound,
};
