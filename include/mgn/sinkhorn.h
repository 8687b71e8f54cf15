/* The debiased Sinkhorn divergence between weighted point clouds, for the cost |x - y|^2 / 2.
 *
 *     OT_e(a, b) = min over couplings pi of <pi, C> + e KL(pi | a x b)  [+ rho KL of the marginals, unbalanced],
 *     S(a, b)    = OT_e(a, b) - OT_e(a, a) / 2 - OT_e(b, b) / 2,     e = blur^2, rho = reach^2.
 *
 * S >= 0, and 0 for equal clouds only; for blur -> 0 it tends to exact transport (half the squared Wasserstein distance),
 * for large blur to a kernel distance. Computed in the log domain: no blur underflows. Memory grows with the number of
 * points, not with that of the pairs (of points with more than 16 coordinates the costs of up to 2^22 pairs are kept).
 * Figures are those of GeomLoss's SamplesLoss("sinkhorn", p=2) at equal settings. */
#ifndef MGN_SINKHORN_H
#define MGN_SINKHORN_H

#include <mgn/comm.h>
#include <mgn/graph.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Zeros take the defaults. */
typedef struct mgn_sinkhorn_config {
    double blur;    /**< standard deviation of the blur, in units of the points; default .05 */
    double scaling; /**< ratio of neighbouring blurs while annealing, 0 < scaling < 1; default .5. Near 1: more exact */
    double reach;   /**< unbalanced: the distance beyond which mass is rather created than moved; 0: balanced */
    double diameter; /**< first blur of the annealing. 0: the diagonal of the box of all points (mgn_sinkhorn only) */
} mgn_sinkhorn_config;

/** The divergence as a scalar node: x (n, d) with weights a (n), y (m, d) with weights b (m); NULL weights are uniform
 *  with sum 1. The config needs a diameter. Its gradient is the one at the limit of the iterations, where the potentials
 *  may be held fixed (envelope theorem): exact in x and a as far as the iterations have converged; y and b are taken as
 *  given, and second derivatives see fixed potentials too. NULL with the sentence in the graph for a config that makes
 *  no sense. */
MGN_API mgn_node *mgn_sinkhorn_divergence(const mgn_sinkhorn_config *config, mgn_node *x, mgn_node *a, mgn_node *y,
                                          mgn_node *b);

typedef struct mgn_sinkhorn_result {
    double value;
    int64_t iterations;     /**< annealing steps; four sums over all pairs each */
    double seconds;         /**< of computing */
    double prepare_seconds; /**< of making the plan and copying the points */
} mgn_sinkhorn_result;

/** The divergence of host clouds: x (n, d) and y (m, d) row-major, weights a (n) and b (m) (NULL: uniform with sum 1),
 *  on the device, in float32, or where their scale leaves it (squares beyond its range, clouds far smaller than the blur)
 *  in float64. `gradient` (n, d) gets the derivative by x, unless NULL. Errors: ARGUMENT (empty clouds,
 *  negative weights, a config that makes no sense), NUMERIC (a coordinate or the value is not finite, or out of scale), MEMORY, DEVICE. */
MGN_API mgn_status mgn_sinkhorn(mgn_device *device, const float *x, const float *a, int64_t n, const float *y,
                                const float *b, int64_t m, int64_t d, const mgn_sinkhorn_config *config,
                                mgn_sinkhorn_result *result, float *gradient);

/** The same by the processes of a group, which all have the same clouds and get the same result; NULL: by this one alone. Rows
 *  are shared out in `blocks`, a power of two up to 1024: value and gradient depend on their number, but not on how many
 *  processes there are, on the cpu backend. Errors besides: ARGUMENT (fewer blocks than processes; clouds or settings that
 *  differ), INTERRUPTED (one of them was), and whatever failed on another one, with its sentence. */
MGN_API mgn_status mgn_sinkhorn_shared(mgn_device *device, mgn_comm *comm, int64_t blocks, const float *x,
                                       const float *a, int64_t n, const float *y, const float *b, int64_t m, int64_t d,
                                       const mgn_sinkhorn_config *config, mgn_sinkhorn_result *result, float *gradient);

/** The diagonal of the smallest box round x (n, d) and y (m, d): no two of the points are further apart. */
MGN_API double mgn_box_diagonal(const float *x, int64_t n, const float *y, int64_t m, int64_t d);

#ifdef __cplusplus
}
#endif
#endif
