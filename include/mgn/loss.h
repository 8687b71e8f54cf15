/* Losses: scalars built of graph nodes. No loss knows which model made its input. */
#ifndef MGN_LOSS_H
#define MGN_LOSS_H

#include <mgn/sinkhorn.h>
#include <mgn/target.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct mgn_loss_config {
    char kind[16];            /**< "l1", "mse", "nll", "kl", ..: mgn_loss_kind lists them */
    const double *mean;       /**< nll, kl: target Gaussian (d); NULL: 0. Borrowed while the graph is built */
    const double *covariance; /**< (d, d); NULL: identity */
    double cost_weight;       /**< adds cost_weight * E |x - g(x)|^2 */
    /** nll (in place of mean and covariance), mixture-kl, mixture-nll, monge-ampere: borrowed while graphs are built;
     *  sinkhorn, semidual: what training draws samples from. */
    const mgn_target *target;
    const mgn_target *source;     /**< monge-ampere: what x is drawn from; borrowed */
    bool squared;                 /**< monge-ampere: mean square of the residual; else its mean magnitude */
    mgn_sinkhorn_config sinkhorn; /**< sinkhorn; training finds a diameter of 0 from the samples */
} mgn_loss_config;

/** Names of the kinds there are; NULL past the last. */
MGN_API const char *mgn_loss_kind(size_t index);
/** Whether a kind compares row by row with given targets (l1, mse). */
MGN_API bool mgn_loss_needs_pairs(const char *kind);

/** Whether a kind compares with samples of a target, in no order and of any number (sinkhorn, semidual). */
MGN_API bool mgn_loss_needs_samples(const char *kind);

/** Whether a kind is a mean over rows, each of which adds what it would add alone: not those that compare moments or clouds. */
MGN_API bool mgn_loss_is_mean(const char *kind);
/** Whether a kind takes log det of the map's Jacobian (nll, mixture-nll, monge-ampere): NaN wherever that is not positive
 *  definite, so it is for models that are monotone. */
MGN_API bool mgn_loss_takes_jacobian(const char *kind);

/** The configured loss of y = g(x), as a scalar node; `target` (n, d) where the kind needs pairs, (m, d) where it needs
 *  samples, else NULL.
 *  NULL with the sentence in the graph when the configuration makes no sense. */
MGN_API mgn_node *mgn_loss(const mgn_loss_config *config, mgn_node *x, mgn_node *y, mgn_node *target);

/** mean over rows and components of |y - target|. */
MGN_API mgn_node *mgn_loss_l1(mgn_node *y, mgn_node *target);
/** mean over rows and components of (y - target)^2. */
MGN_API mgn_node *mgn_loss_mse(mgn_node *y, mgn_node *target);
/** -E[log p(y) + log det (dy/dx)], p = N(mean, covariance): the negative log-likelihood of x under the pull-back. */
MGN_API mgn_node *mgn_loss_nll(mgn_node *x, mgn_node *y, const double *mean, const double *covariance);
/** KL(N(m, S + E) || N(mean, covariance)), m and S (n - 1 in the denominator) being the moments of y's rows, and E the diagonal
 *  of 1e-6 max(v, min(1, 1000 v)) of the target's variances v: 1e-6 I for targets between .001 and 1. */
MGN_API mgn_node *mgn_loss_kl(mgn_node *y, const double *mean, const double *covariance);
/** -E[log q(y) + log det (dy/dx)], q the density of any target that has a smooth one. Of a mixture it is the honest
 *  mixture loss: the negative log-likelihood of x under the pull-back of the whole mixture. */
MGN_API mgn_node *mgn_loss_target_nll(mgn_node *x, mgn_node *y, const mgn_target *target);
/** min_j KL(N(m, S + E) || component j), m, S and E as in mgn_loss_kl: one component is matched, the others and all
 *  weights do not count. */
MGN_API mgn_node *mgn_loss_mixture_kl(mgn_node *y, const mgn_mixture *mixture);
/** E |r| or E r^2 of the residual r = log p(x) - log q(y) - log det (dy/dx) of the Monge-Ampere equation, p the density of
 *  `source` and q that of `target`: 0 exactly where y = g(x) carries p to q. */
MGN_API mgn_node *mgn_loss_monge_ampere(mgn_node *x, mgn_node *y, const mgn_target *source, const mgn_target *target,
                                        bool squared);
/** E |x - y|^2. */
MGN_API mgn_node *mgn_loss_transport_cost(mgn_node *x, mgn_node *y);

#ifdef __cplusplus
}
#endif
#endif
