/* ICGN, the input convex gradient network (Richter-Powell, Lorraine, Amos, arXiv 2111.12187): the Jacobian of a network
 * stands for a factor of the Hessian, which is integrated along the ray from 0,
 *
 *     N(x) = s(W_(L-1) .. s(W_0 x + b_0) .. + b_(L-1)),   V(x) = dN/dx (h, d),   g(x) = int_0^1 V(t x)^T V(t x) x dt.
 *
 * With one layer V^T V = W^T diag(s'^2) W is a Hessian, and the integral has the closed form that is used here,
 * g(x) = W^T (G(W x + b) - G(b)) with G' = s'^2: a gradient, monotone, its Jacobian exactly V(x)^T V(x). With more layers
 * the integral is a Gauss-Legendre sum of vjp's of jvp's, and V^T V is the Jacobian of g only where V^T V happens to be
 * integrable: in general g is neither a gradient nor monotone, by amounts that mgn_map_jacobian_stats measures.
 * One layer from 2 to 5 has 15 parameters; g(0) = 0, as published. */
#include "model/model.h"

static void describe(const mgn_model_config *c, mgn_parameter_list *list) {
    for (int l = 0; l < c->layers; l++) {
        mgn_parameter_add(list, "W", l, MGN_SHAPE(c->h, l ? c->h : c->d), MGN_WEIGHT);
        mgn_parameter_add(list, "b", l, MGN_SHAPE(c->h), MGN_BIAS);
    }
}

/* ---- one layer ---- */

/* G of z, G' = s'^2:  s^2/2 - s^3/3 (logistic),  s - s^3/3 (tanh),  softplus - logistic (softplus). */
static mgn_node *slope_integral(mgn_activation activation, mgn_node *z) {
    mgn_node *s = activation == MGN_TANH ? mgn_tanh(z) : mgn_logistic(z);
    if (activation == MGN_SOFTPLUS) return mgn_sub(mgn_softplus(z), s);
    mgn_node *square = mgn_square(s), *third = mgn_scale(s, -1.0 / 3);
    return activation == MGN_LOGISTIC ? mgn_mul(square, mgn_shift(third, 0.5)) : mgn_add(s, mgn_mul(square, third));
}

static mgn_node *closed_form(const mgn_model_config *c, mgn_node *const *p, mgn_node *x) {
    mgn_node *W = p[0], *b = p[1], *z = mgn_add(mgn_matmul_t(x, false, W, true), b);
    return mgn_matmul(mgn_sub(slope_integral(c->activation, z), slope_integral(c->activation, b)), W);
}

/* phi = sum_i P(z_i) - G(b_i) w_i x, P' = G:  (softplus - s + s^2) / 6 (logistic),  2/3 log cosh + s^2 / 6 (tanh). */
static mgn_node *potential(const mgn_model_config *c, mgn_node *const *p, mgn_node *x) {
    mgn_node *b = p[1], *u = mgn_matmul_t(x, false, p[0], true), *z = mgn_add(u, b);
    mgn_node *s = mgn_activate(c->activation, z), *primitive = mgn_activate_potential(c->activation, z);
    mgn_node *P = c->activation == MGN_TANH ? mgn_scale(primitive, 4) : mgn_sub(primitive, s);
    P = mgn_scale(mgn_add(P, mgn_square(s)), 1.0 / 6);
    return mgn_sum(mgn_sub(P, mgn_mul(slope_integral(c->activation, b), u)), 2);
}

static bool has_potential(const mgn_model_config *c) { return c->layers == 1 && c->activation != MGN_SOFTPLUS; }

static mgn_node *bound(const mgn_model_config *c, mgn_node *const *p) {
    const double slope = mgn_activation_slope(c->activation);
    return mgn_scale(mgn_gram(p[0]), slope * slope);
}

/* ---- several layers ---- */

static const char *why_no_gradient(const mgn_model_config *c) {
    return c->layers > 1 ? "V(x)^T V(x) of several layers is in general no Jacobian" : NULL;
}

static const char *why_unbounded(const mgn_model_config *c) {
    return c->layers > 1 ? "with several layers the Jacobian is not V(x)^T V(x), and grows with |x|" : NULL;
}

/* V(y)^T V(y) x, row by row. */
static mgn_node *hessian_product(const mgn_model_config *c, mgn_node *const *p, mgn_node *y, mgn_node *x) {
    mgn_node *z = y, *along = NULL, *back = NULL;
    for (int64_t l = 0; l < c->layers; l++)
        z = mgn_activate(c->activation, mgn_add(mgn_matmul_t(z, false, p[2 * l], true), p[2 * l + 1]));
    if (!z || mgn_jvp(&z, 1, &y, &x, 1, &along) != MGN_OK) return NULL;
    return mgn_vjp(&z, &along, 1, &y, 1, &back) == MGN_OK ? back : NULL;
}

static mgn_node *forward(const mgn_model_config *c, mgn_node *const *p, mgn_node *x) {
    if (c->layers == 1) return closed_form(c, p, x);
    mgn_node *g = NULL;
    for (int i = 0; i < MGN_RAY_POINTS; i++) {
        mgn_node *part = mgn_scale(hessian_product(c, p, mgn_scale(x, mgn_ray_points[i]), x), mgn_ray_weights[i]);
        g = g ? mgn_add(g, part) : part;
    }
    return g;
}

const mgn_model_kind_info mgn_model_icgn = {
    .label = "icgn",
    .usual = MGN_LOGISTIC,
    .activations = 1 << MGN_LOGISTIC | 1 << MGN_TANH | 1 << MGN_SOFTPLUS,
    .describe = describe,
    .forward = forward,
    .potential = potential,
    .has_potential = has_potential,
    .why_no_gradient = why_no_gradient,
    .why_unbounded = why_unbounded,
    .bound = bound,
};
