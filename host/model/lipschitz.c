/* Spectral normalisation: a bound of the map's Lipschitz constant that holds whatever the parameters are, made of nodes,
 * so that gradients go through it.
 *
 * A kind gives a matrix B of its weights that bounds its Jacobians and is quadratic in the weights; these are multiplied
 * by c = sqrt(K / max(K, lambda(B))). lambda comes from power iteration on the whole matrix, by repeated squaring:
 *
 *     P_0 = B / t_0,  t_0 = tr B;    P_(j+1) = P_j^2 / t_(j+1),  t_(j+1) = tr P_j^2;    lambda = t_0 t_1^(1/2) t_2^(1/4) ..
 *
 * is (tr B^k)^(1/k), k = 2^j. Unlike a vector's iteration it needs no start that might be orthogonal to the eigenvector,
 * is not slowed down by eigenvalues that are close, and errs to the safe side: it is above the largest eigenvalue, by a
 * factor of at most e^(1/k). */
#include <math.h>

#include "model/model.h"

/* Keeps the logarithm and the quotients of B = 0 finite. */
static const double tiny = 1e-30;

mgn_node *mgn_gram(mgn_node *M) { return mgn_matmul_t(M, true, M, false); }

mgn_node *mgn_largest_eigenvalue(mgn_node *B) {
    if (!B) return NULL;
    const int64_t e = mgn_node_shape(B).dim[0];
    if (e == 1) return mgn_reshape(B, MGN_SCALAR);
    mgn_node *t = mgn_shift(mgn_sum(mgn_mul(B, mgn_identity(mgn_node_graph(B), e)), -1), tiny);
    mgn_node *P = mgn_div(B, t), *logarithm = mgn_log(t);
    const double enough = 100 * log((double)e); /* e^(1/k) < 1.01 */
    for (double k = 2;; k *= 2) {
        t = mgn_shift(mgn_sum(mgn_square(P), -1), tiny);
        logarithm = mgn_add(logarithm, mgn_scale(mgn_log(t), 1 / k));
        if (k >= enough) return mgn_exp(logarithm);
        P = mgn_div(mgn_matmul_t(P, false, P, true), t);
    }
}

mgn_node *mgn_lipschitz_factor(mgn_node *B, double lipschitz) {
    mgn_node *most = mgn_largest_eigenvalue(B);
    if (!most) return NULL;
    mgn_node *allowed = mgn_constant(mgn_node_graph(most), lipschitz);
    return mgn_sqrt(mgn_div(allowed, mgn_maximum(most, allowed)));
}
