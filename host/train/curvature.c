#include "train/curvature.h"

#include <string.h>

#include "graph/batch.h"

/* Numbers in the Jacobian of all rows. */
static const int64_t most_jacobian = (int64_t)1 << 26;

/* Half-width of the part of |r| that Gauss-Newton takes for curved. */
static const double l1_width = 1e-7;

static mgn_node *forward(const void *context, mgn_node *flat, mgn_node *x) {
    return mgn_model_forward(((const mgn_curvature *)context)->model, flat, x);
}

/* The loss's second derivatives by the entries of y (n, d), each by itself: losses of residuals have no others. |r| has
 * none but at 0; there the curvature of the parabola that touches |r| on both sides stands for it (iteratively reweighted
 * least squares). */
static mgn_status residual_curvature(const mgn_curvature *c, const mgn_curvature_nodes *at, mgn_node **weights) {
    mgn_graph *graph = mgn_node_graph(at->y);
    mgn_node *y = at->y, *slope, *ones = mgn_broadcast(mgn_constant(graph, 1), mgn_node_shape(y));
    MGN_TRY(mgn_grad(at->loss, &y, 1, &slope));
    MGN_TRY(mgn_jvp(&slope, 1, &y, &ones, 1, weights));
    if (strcmp(c->loss->kind, "l1") != 0) return MGN_OK;
    mgn_node *width = mgn_sqrt(mgn_shift(mgn_square(mgn_sub(y, at->target)), l1_width * l1_width));
    *weights = mgn_add(*weights, mgn_div(mgn_constant(graph, 1 / (double)mgn_shape_count(mgn_node_shape(y))), width));
    return MGN_OK;
}

mgn_status mgn_curvature_product(const mgn_curvature *c, const mgn_curvature_nodes *at, mgn_node *v,
                                 mgn_node **product) {
    mgn_node *gradient, *tangent, *weights, *flat = at->flat, *y = at->y;
    if (!c->is_gauss_newton) {
        MGN_TRY(mgn_grad(at->loss, &flat, 1, &gradient));
        return mgn_jvp(&gradient, 1, &flat, &v, 1, product);
    }
    MGN_TRY(residual_curvature(c, at, &weights));
    MGN_TRY(mgn_jvp(&y, 1, &flat, &v, 1, &tangent));
    mgn_node *cotangent = mgn_mul(weights, tangent);
    return mgn_vjp(&y, &cotangent, 1, &flat, 1, product);
}

mgn_status mgn_curvature_root(const mgn_curvature *c, const mgn_curvature_nodes *at, mgn_node **root) {
    mgn_node *jacobian, *weights;
    const mgn_shape s = mgn_node_shape(at->y);
    MGN_TRY(mgn_shared_jacobian(forward, c, at->flat, at->x, &jacobian)); /* (n, d, p) */
    MGN_TRY(residual_curvature(c, at, &weights));
    *root = mgn_mul(jacobian, mgn_reshape(mgn_sqrt(weights), MGN_SHAPE(s.dim[0], s.dim[1], 1)));
    return mgn_graph_status(mgn_node_graph(at->y));
}

bool mgn_curvature_has_root(const mgn_curvature *c, int64_t n, int64_t d, int64_t p) {
    int64_t numbers = 0;
    return c->is_gauss_newton && p <= MGN_MOST_MATRIX_PARAMETERS && !__builtin_mul_overflow(n * d, p, &numbers) &&
           numbers <= most_jacobian;
}
