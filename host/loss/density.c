/* Losses over densities other than one Gaussian: negative log-likelihood of any target, the least divergence to a
 * mixture's components, and the residual of the Monge-Ampere equation. */
#include <mgn/loss.h>

#include "core/core.h"
#include "graph/graph.h"
#include "loss/moments.h"

static mgn_node *log_jacobian(mgn_node *x, mgn_node *y) { return mgn_spd_logdet(mgn_row_jacobian(y, x)); }

/* log q(y), where moving y can change it. */
static mgn_node *log_density_to_learn(const mgn_target *target, mgn_node *y, const char *loss) {
    if (mgn_target_density(target) == MGN_DENSITY_FLAT)
        return mgn_graph_fail(
            mgn_node_graph(y),
            "%s: the density of %s is constant where it is not 0, so it has no gradient to learn from; "
            "a Gaussian, a mixture or banana was expected",
            loss, mgn_target_label(target));
    return mgn_target_log_density(target, y);
}

mgn_node *mgn_loss_target_nll(mgn_node *x, mgn_node *y, const mgn_target *target) {
    if (!x || !y) return NULL;
    return mgn_neg(mgn_mean(mgn_add(log_density_to_learn(target, y, "nll"), log_jacobian(x, y)), -1));
}

mgn_node *mgn_moments_mixture_kl(mgn_node *m, mgn_node *S, const mgn_mixture *mixture) {
    if (!m || !S) return NULL;
    const int64_t d = mixture->d;
    if (mgn_node_shape(m).dim[0] != d)
        return mgn_graph_fail(mgn_node_graph(m), "mixture-kl: rows of %lld numbers were expected, %lld found",
                              (long long)d, (long long)mgn_node_shape(m).dim[0]);
    mgn_node *least = NULL;
    for (int64_t j = 0; j < mixture->k; j++) {
        mgn_node *kl = mgn_moments_kl(m, S, mixture->means + j * d, mixture->covariances + j * d * d);
        least = least ? mgn_minimum(least, kl) : kl;
    }
    return least;
}

mgn_node *mgn_loss_mixture_kl(mgn_node *y, const mgn_mixture *mixture) {
    mgn_node *m, *S;
    return mgn_row_moments(y, &m, &S) ? mgn_moments_mixture_kl(m, S, mixture) : NULL;
}

mgn_node *mgn_loss_monge_ampere(mgn_node *x, mgn_node *y, const mgn_target *source, const mgn_target *target,
                                bool squared) {
    if (!x || !y) return NULL;
    mgn_node *mapped = mgn_add(log_density_to_learn(target, y, "monge-ampere"), log_jacobian(x, y));
    mgn_node *residual = mgn_sub(mgn_target_log_density(source, x), mapped);
    return mgn_mean(squared ? mgn_square(residual) : mgn_abs(residual), -1);
}
