/* The smooth maximum of convex quadratics, as the log-sum-exp of K of them:
 *
 *     q_k(x) = |V_k x|^2 / 2 + a_k x + c_k,   phi(x) = log(sum_k exp(beta q_k(x))) / beta,   beta > 0,
 *     g(x) = sum_k p_k(x) (V_k^T V_k x + a_k),   p = softmax(beta q).
 *
 * Convex, since log-sum-exp is convex and increasing; its Jacobian is sum_k p_k V_k^T V_k + beta Cov_p(V_k^T V_k x + a_k).
 * A maximum of quadratics has no short form as a sum of ridges, which is what the other kinds are made of: in d dimensions
 * they need as many units as there are directions in which the pieces meet. */
#include "model/model.h"

enum { V, A, PER_PIECE };

static void describe(const mgn_model_config *c, mgn_parameter_list *list) {
    for (int k = 0; k < c->layers; k++) {
        mgn_parameter_add(list, "V", k, MGN_SHAPE(c->h, c->d), MGN_WEIGHT);
        mgn_parameter_add(list, "a", k, MGN_SHAPE(c->d), MGN_BIAS);
    }
    mgn_parameter_add(list, "c", -1, MGN_SHAPE(c->layers), MGN_BIAS);
    mgn_parameter_add(list, "beta", -1, MGN_SHAPE(1), MGN_POSITIVE);
}

static mgn_node *sharpness(const mgn_model_config *c, mgn_node *const *p) {
    return mgn_reshape(mgn_positive(p[PER_PIECE * c->layers + 1]), MGN_SCALAR);
}

/* beta q (n, K), and V_k x of each piece (n, h) where `inner` is not NULL. */
static mgn_node *pieces(const mgn_model_config *c, mgn_node *const *p, mgn_node *x, mgn_node **inner) {
    mgn_node *q[MGN_MOST_LAYERS];
    for (int64_t k = 0; k < c->layers; k++) {
        mgn_node *u = mgn_matmul_t(x, false, p[PER_PIECE * k + V], true);
        q[k] = mgn_add(mgn_scale(mgn_sum(mgn_square(u), 2), 0.5), mgn_sum(mgn_mul(x, p[PER_PIECE * k + A]), 2));
        if (inner) inner[k] = u;
    }
    mgn_node *all = mgn_add(mgn_stack(q, (int)c->layers, 1), p[PER_PIECE * c->layers]);
    return mgn_mul(all, sharpness(c, p));
}

static mgn_node *forward(const mgn_model_config *c, mgn_node *const *p, mgn_node *x) {
    mgn_node *inner[MGN_MOST_LAYERS], *q = pieces(c, p, x, inner), *g = NULL;
    const int64_t n = mgn_node_shape(x).dim[0];
    mgn_node *shares = mgn_exp(mgn_sub(q, mgn_reshape(mgn_logsumexp(q, 2), MGN_SHAPE(n, 1)))); /* (n, K) */
    for (int64_t k = 0; k < c->layers; k++) {
        mgn_node *own = mgn_add(mgn_matmul(inner[k], p[PER_PIECE * k + V]), p[PER_PIECE * k + A]);
        mgn_node *part = mgn_mul(own, mgn_slice(shares, 1, k, 1));
        g = g ? mgn_add(g, part) : part;
    }
    return g;
}

static mgn_node *potential(const mgn_model_config *c, mgn_node *const *p, mgn_node *x) {
    return mgn_div(mgn_logsumexp(pieces(c, p, x, NULL), 2), sharpness(c, p));
}

static bool has_potential(const mgn_model_config *c) {
    (void)c;
    return true;
}

static const char *why_unbounded(const mgn_model_config *c) {
    (void)c;
    return "where pieces meet the Jacobian grows with the square of their gradients' difference";
}

const mgn_model_kind_info mgn_model_maxquad = {
    .label = "maxquad",
    .usual = MGN_SOFTPLUS, /* the log-sum-exp of two numbers; nothing else is asked for */
    .activations = 1 << MGN_SOFTPLUS,
    .describe = describe,
    .forward = forward,
    .potential = potential,
    .has_potential = has_potential,
    .why_unbounded = why_unbounded,
};
