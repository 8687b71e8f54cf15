/* Losses that see no more of the rows of y than their mean m (d) and covariance S (d, d), n - 1 in the denominator: kl and
 * mixture-kl. Who learns from a batch in parts adds up the moments first, and asks for the loss of those. */
#ifndef MGN_HOST_LOSS_MOMENTS_H
#define MGN_HOST_LOSS_MOMENTS_H

#include <mgn/loss.h>

/* The moments of the rows of y (n, d). False, with the sentence in the graph, where there are fewer than 2. */
bool mgn_row_moments(mgn_node *y, mgn_node **m, mgn_node **S);

/* KL(N(m, S + E) || N(mean, covariance)) with the E of mgn_loss_kl, and the least over a mixture's components. */
mgn_node *mgn_moments_kl(mgn_node *m, mgn_node *S, const double *mean, const double *covariance);
mgn_node *mgn_moments_mixture_kl(mgn_node *m, mgn_node *S, const mgn_mixture *mixture);

bool mgn_loss_is_of_moments(const char *kind);
/* The configured loss of this kind, without its transport cost. */
mgn_node *mgn_loss_of_moments(const mgn_loss_config *config, mgn_node *m, mgn_node *S);

#endif
