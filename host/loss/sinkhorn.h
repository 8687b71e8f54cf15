/* What the parts of the Sinkhorn divergence share. */
#ifndef MGN_HOST_SINKHORN_H
#define MGN_HOST_SINKHORN_H

#include <mgn/sinkhorn.h>

enum { MGN_SINKHORN_STEPS = 4096 }; /* of the annealing, at most */

/* The config with its defaults filled in; ARGUMENT when it makes no sense. */
mgn_status mgn_sinkhorn_complete(const mgn_sinkhorn_config *given, mgn_sinkhorn_config *config);
/* The temperatures of a complete config with a diameter, falling from diameter^2 to blur^2; their number. */
int mgn_sinkhorn_schedule(const mgn_sinkhorn_config *config, double temperatures[MGN_SINKHORN_STEPS]);

#endif
