/* C-GradNet, the cascaded gradient network (Chaudhari, Pranav, Moura, arXiv 2404.07361), with a learnable scale per unit
 * and layer:
 *
 *     z_0 = B_0 (W x + b_0),   z_l = B_l (W x + b_l) + A_(l-1) s(z_(l-1))  (l = 1 .. L-1),
 *     g(x) = W^T (A_(L-1) s(z_(L-1))) + b_L,
 *
 * A_l and B_l being vectors that multiply unit by unit. Unit i sees x only through u_i = (W x)_i, so the Jacobian is
 * W^T D W with D diagonal: g is a gradient for scales of any sign, and with A, B >= 0 it is monotone (mGradNet-C). */
#include "model/model.h"

/* The views of layer l. */
enum { OFFSET, INNER, OUTER, PER_LAYER };

static mgn_node *view(mgn_node *const *p, int64_t l, int which) { return p[1 + PER_LAYER * l + which]; }

static void describe(const mgn_model_config *c, mgn_parameter_list *list) {
    mgn_parameter_add(list, "W", -1, MGN_SHAPE(c->h, c->d), MGN_WEIGHT);
    for (int l = 0; l < c->layers; l++) {
        mgn_parameter_add(list, "b", l, MGN_SHAPE(c->h), MGN_BIAS);
        mgn_parameter_add(list, "B", l, MGN_SHAPE(c->h), MGN_SCALE);
        mgn_parameter_add(list, "A", l, MGN_SHAPE(c->h), MGN_SCALE);
    }
    mgn_parameter_add(list, "bL", -1, MGN_SHAPE(c->d), MGN_BIAS);
}

static mgn_node *forward(const mgn_model_config *c, mgn_node *const *p, mgn_node *x) {
    mgn_node *W = p[0], *u = mgn_matmul_t(x, false, W, true), *units = NULL; /* (n, h) */
    for (int64_t l = 0; l < c->layers; l++) {
        mgn_node *z = mgn_mul(mgn_unit_scale(c, view(p, l, INNER)), mgn_add(u, view(p, l, OFFSET)));
        if (l > 0) z = mgn_add(z, units);
        units = mgn_mul(mgn_unit_scale(c, view(p, l, OUTER)), mgn_activate(c->activation, z));
    }
    return mgn_add(mgn_matmul(units, W), p[1 + PER_LAYER * c->layers]);
}

/* With one layer: phi = sum_i A_i / B_i S(B_i (w_i x + b_i)) + b_L x, S' = s. */
static mgn_node *potential(const mgn_model_config *c, mgn_node *const *p, mgn_node *x) {
    mgn_node *inner = mgn_unit_scale(c, view(p, 0, INNER)), *outer = mgn_unit_scale(c, view(p, 0, OUTER));
    mgn_node *z = mgn_mul(inner, mgn_add(mgn_matmul_t(x, false, p[0], true), view(p, 0, OFFSET)));
    mgn_node *units = mgn_mul(mgn_div(outer, inner), mgn_activate_potential(c->activation, z));
    return mgn_add(mgn_sum(units, 2), mgn_sum(mgn_mul(x, p[1 + PER_LAYER]), 2));
}

/* Free signs let B pass through 0, where the closed form divides by it. */
static bool has_potential(const mgn_model_config *c) {
    return c->layers == 1 && c->activation != MGN_SOFTPLUS && !c->signed_scales;
}

/* |D_i| <= |A_(L-1)| s r_(L-1), r_0 = |B_0|, r_l = |B_l| + |A_(l-1)| s r_(l-1), s being the activation's largest slope. */
static mgn_node *bound(const mgn_model_config *c, mgn_node *const *p) {
    const double slope = mgn_activation_slope(c->activation);
    mgn_node *D = NULL; /* (h) */
    for (int64_t l = 0; l < c->layers; l++) {
        mgn_node *r = mgn_abs(mgn_unit_scale(c, view(p, l, INNER)));
        if (l > 0) r = mgn_add(r, D);
        D = mgn_scale(mgn_mul(mgn_abs(mgn_unit_scale(c, view(p, l, OUTER))), r), slope);
    }
    return mgn_matmul_t(p[0], true, mgn_mul(mgn_reshape(D, MGN_SHAPE(c->h, 1)), p[0]), false);
}

const mgn_model_kind_info mgn_model_cgradnet = {
    .label = "cgradnet",
    .usual = MGN_LOGISTIC,
    .activations = 1 << MGN_LOGISTIC | 1 << MGN_TANH | 1 << MGN_SOFTPLUS,
    .has_scales = true,
    .describe = describe,
    .forward = forward,
    .potential = potential,
    .has_potential = has_potential,
    .bound = bound,
};
