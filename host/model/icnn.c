/* ICNN, the input convex neural network (Amos, Xu, Kolter, arXiv 1609.07152), whose gradient by reverse mode is the map:
 *
 *     z_0 = s(Wx_0 x + b_0),   z_l = s(Wz_l z_(l-1) + Wx_l x + b_l)  (l = 1 .. L-1),   f(x) = w z_(L-1),   g = grad f.
 *
 * With Wz, w >= 0 and s convex and increasing, f is convex. What is stored of Wz and w is any real number; its softplus
 * is used, so they stay non-negative under any optimizer. s is softplus, the smooth one: Jacobians need s''.
 * Layers of width 1 in the plane: 19 of them have 3 + 18 * 4 + 1 = 76 parameters. */
#include "model/model.h"

static void describe(const mgn_model_config *c, mgn_parameter_list *list) {
    for (int l = 0; l < c->layers; l++) {
        if (l > 0) mgn_parameter_add(list, "Wz", l, MGN_SHAPE(c->h, c->h), MGN_POSITIVE);
        mgn_parameter_add(list, "Wx", l, MGN_SHAPE(c->h, c->d), MGN_WEIGHT);
        mgn_parameter_add(list, "b", l, MGN_SHAPE(c->h), MGN_BIAS);
    }
    mgn_parameter_add(list, "w", -1, MGN_SHAPE(c->h), MGN_POSITIVE);
}

/* The views of layer l; Wz is NULL in the first. */
typedef struct layer {
    mgn_node *Wz, *Wx, *b;
} layer;

static layer layer_of(mgn_node *const *p, int64_t l) {
    return l == 0 ? (layer){NULL, p[0], p[1]} : (layer){mgn_positive(p[3 * l - 1]), p[3 * l], p[3 * l + 1]};
}

static mgn_node *output_weights(const mgn_model_config *c, mgn_node *const *p) {
    return mgn_positive(p[3 * c->layers - 1]);
}

static mgn_node *potential(const mgn_model_config *c, mgn_node *const *p, mgn_node *x) {
    mgn_node *z = NULL; /* (n, h) */
    for (int64_t l = 0; l < c->layers; l++) {
        layer own = layer_of(p, l);
        mgn_node *a = mgn_add(mgn_matmul_t(x, false, own.Wx, true), own.b);
        if (l > 0) a = mgn_add(a, mgn_matmul_t(z, false, own.Wz, true));
        z = mgn_activate(c->activation, a);
    }
    return mgn_sum(mgn_mul(z, output_weights(c, p)), 2);
}

static mgn_node *forward(const mgn_model_config *c, mgn_node *const *p, mgn_node *x) {
    mgn_node *f = mgn_sum(potential(c, p, x), -1),
             *g = NULL; /* rows do not mix: the gradient of the sum is g, row by row */
    return f && mgn_grad(f, &x, 1, &g) == MGN_OK ? g : NULL;
}

static bool has_potential(const mgn_model_config *c) {
    (void)c;
    return true;
}

/* With s' <= 1 and s'' <= 1/4, the gradient and the Hessian of unit i are at most
 *     N_l = |Wx_l,i| + Wz_l N_(l-1)   and   H_l = N_l^2 / 4 + Wz_l H_(l-1),
 * in which |Wx_l,i| is the norm of row i; the map's Jacobian is at most w H_(L-1). */
static mgn_node *bound(const mgn_model_config *c, mgn_node *const *p) {
    mgn_node *N = NULL, *H = NULL; /* (h, 1) */
    for (int64_t l = 0; l < c->layers; l++) {
        layer own = layer_of(p, l);
        mgn_node *row = mgn_sqrt(mgn_shift(mgn_sum(mgn_square(own.Wx), 2), 1e-30));
        mgn_node *steeper = mgn_reshape(row, MGN_SHAPE(c->h, 1));
        N = l > 0 ? mgn_add(steeper, mgn_matmul(own.Wz, N)) : steeper;
        mgn_node *bent = mgn_scale(mgn_square(N), 0.25);
        H = l > 0 ? mgn_add(bent, mgn_matmul(own.Wz, H)) : bent;
    }
    return mgn_matmul(mgn_reshape(output_weights(c, p), MGN_SHAPE(1, c->h)), H);
}

const mgn_model_kind_info mgn_model_icnn = {
    .label = "icnn",
    .usual = MGN_SOFTPLUS,
    .activations = 1 << MGN_SOFTPLUS,
    .describe = describe,
    .forward = forward,
    .potential = potential,
    .has_potential = has_potential,
    .bound = bound,
};
