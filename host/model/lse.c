/* LSE, gradients of sums of log-sum-exp functions, which approximate any convex function (Calafiore, Gaubert, Possieri,
 * arXiv 1806.07850; the gradient networks with softmax of Chaudhari, Pranav, Moura, arXiv 2404.07361):
 *
 *     phi(x) = a x + |V x|^2 / 2 + sum_k log sum_i exp(beta_k (W_k x + b_k)_i) / beta_k,   beta_k > 0,
 *     g(x) = a + V^T V x + sum_k W_k^T p_k,   p_k = softmax(beta_k (W_k x + b_k)).
 *
 * Its Jacobian V^T V + sum_k beta_k W_k^T (diag(p_k) - p_k p_k^T) W_k is symmetric positive semidefinite, since
 * v^T (diag(p) - p p^T) v is the variance of v under p. A module maps x to a mean of the rows of W_k, its prototypes: to
 * one of them where beta_k is large, as the optimal map onto a finite set of points does. */
#include "model/model.h"

static void describe(const mgn_model_config *c, mgn_parameter_list *list) {
    for (int k = 0; k < c->layers; k++) {
        mgn_parameter_add(list, "W", k, MGN_SHAPE(c->h, c->d), MGN_WEIGHT);
        mgn_parameter_add(list, "b", k, MGN_SHAPE(c->h), MGN_BIAS);
    }
    mgn_parameter_add(list, "beta", -1, MGN_SHAPE(c->layers), MGN_POSITIVE);
    mgn_parameter_add(list, "V", -1, MGN_SHAPE(c->d, c->d), MGN_ROLE_V);
    mgn_parameter_add(list, "a", -1, MGN_SHAPE(c->d), MGN_BIAS);
}

static mgn_node *beta_of(const mgn_model_config *c, mgn_node *const *p, int64_t k) {
    return mgn_slice(mgn_positive(p[2 * c->layers]), 0, k, 1); /* (1) */
}

/* beta_k (W_k x + b_k), (n, h). */
static mgn_node *module(const mgn_model_config *c, mgn_node *const *p, mgn_node *x, int64_t k) {
    return mgn_mul(beta_of(c, p, k), mgn_add(mgn_matmul_t(x, false, p[2 * k], true), p[2 * k + 1]));
}

/* The softmax of each row of z (n, h). That it is shifted by the maximum changes nothing, nor does it change derivatives. */
static mgn_node *softmax(mgn_node *z) {
    const mgn_shape kept = MGN_SHAPE(mgn_node_shape(z).dim[0], 1);
    mgn_node *e = mgn_exp(mgn_sub(z, mgn_reshape(mgn_detach(mgn_max(z, 2)), kept)));
    return mgn_div(e, mgn_reshape(mgn_sum(e, 2), kept));
}

static mgn_node *forward(const mgn_model_config *c, mgn_node *const *p, mgn_node *x) {
    mgn_node *g = mgn_add(mgn_quadratic_part(p[2 * c->layers + 1], x), p[2 * c->layers + 2]); /* (n, d) */
    for (int64_t k = 0; k < c->layers; k++) g = mgn_add(g, mgn_matmul(softmax(module(c, p, x, k)), p[2 * k]));
    return g;
}

static mgn_node *potential(const mgn_model_config *c, mgn_node *const *p, mgn_node *x) {
    mgn_node *quadratic = mgn_scale(mgn_sum(mgn_square(mgn_matmul_t(x, false, p[2 * c->layers + 1], true)), 2), 0.5);
    mgn_node *phi = mgn_add(quadratic, mgn_sum(mgn_mul(x, p[2 * c->layers + 2]), 2)); /* (n) */
    for (int64_t k = 0; k < c->layers; k++)
        phi = mgn_add(phi, mgn_div(mgn_logsumexp(module(c, p, x, k), 2), beta_of(c, p, k)));
    return phi;
}

static bool has_potential(const mgn_model_config *c) {
    (void)c;
    return true;
}

/* The variance of v under p is at most |v|^2 / 2, that of two halves at 1 and -1. */
static mgn_node *bound(const mgn_model_config *c, mgn_node *const *p) {
    mgn_node *B = mgn_gram(p[2 * c->layers + 1]);
    for (int64_t k = 0; k < c->layers; k++)
        B = mgn_add(B, mgn_mul(mgn_scale(beta_of(c, p, k), 0.5), mgn_gram(p[2 * k])));
    return B;
}

const mgn_model_kind_info mgn_model_lse = {
    .label = "lse",
    .usual = MGN_LOGISTIC, /* which softmax is for two units */
    .activations = 1 << MGN_LOGISTIC,
    .describe = describe,
    .forward = forward,
    .potential = potential,
    .has_potential = has_potential,
    .bound = bound,
};
