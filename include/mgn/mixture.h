/* Gaussian mixtures: density, moments, files, and fitting by expectation maximisation. */
#ifndef MGN_MIXTURE_H
#define MGN_MIXTURE_H

#include <mgn/comm.h>
#include <mgn/graph.h>

#ifdef __cplusplus
extern "C" {
#endif

/** p(x) = sum_j weights[j] N(x; means[j], covariances[j]). */
typedef struct mgn_mixture {
    int64_t k, d;
    double *weights;     /**< (k), above 0, of sum 1 */
    double *means;       /**< (k, d) */
    double *covariances; /**< (k, d, d), symmetric positive definite */
} mgn_mixture;

enum { MGN_MOST_COMPONENTS = 1024 };

/** A zeroed mixture of 1 to MGN_MOST_COMPONENTS components, to be filled by the caller and freed by mgn_mixture_free.
 *  Errors: ARGUMENT, MEMORY. */
MGN_API mgn_status mgn_mixture_create(int64_t k, int64_t d, mgn_mixture *mixture);
/** Frees the arrays and zeroes the struct. NULL and zeroed structs are fine. */
MGN_API void mgn_mixture_free(mgn_mixture *mixture);
MGN_API mgn_status mgn_mixture_clone(const mgn_mixture *mixture, mgn_mixture *copy);
/** ARGUMENT unless weights are positive and sum to 1 within 1e-6; NUMERIC unless all numbers are finite and all
 *  covariances positive definite. The sentence names the component, counted from 0. */
MGN_API mgn_status mgn_mixture_check(const mgn_mixture *mixture);

/** mean (d) and covariance (d, d) of the whole. Either may be NULL. */
MGN_API void mgn_mixture_moments(const mgn_mixture *mixture, double *mean, double *covariance);
/** log p of n float rows, in double: (n). Errors: those of mgn_mixture_check, MEMORY. */
MGN_API mgn_status mgn_mixture_log_density(const mgn_mixture *mixture, const float *rows, int64_t n, double *out);

/** Component j's log weights[j] + log N(y_i; means[j], covariances[j]) for rows y (n, d): (n, k). The parameters become
 *  constants of the graph. log p is mgn_logsumexp of it over axis 1 (bit 2). */
MGN_API mgn_node *mgn_mixture_terms(const mgn_mixture *mixture, mgn_node *y);

/** Files: .json ({"format": "mgn-mixture-1", "weights": [..], "means": [[..]], "covariances": [[[..]]]}) or .safetensors
 *  (float64 tensors of these names), by the path's ending. Errors: ARGUMENT (another ending), IO, MEMORY. */
MGN_API mgn_status mgn_mixture_save(const mgn_mixture *mixture, const char *path);
/** Reads either, whichever its bytes say it is. Weights are brought to sum 1. The caller frees `mixture`.
 *  Errors: IO; FORMAT (not such a file, or shapes that disagree); those of mgn_mixture_check; MEMORY. */
MGN_API mgn_status mgn_mixture_load(const char *path, mgn_mixture *mixture);

/* ---- fitting ---- */

/** After each pass over the rows of a level of the fit. Return false to stop (status INTERRUPTED). */
typedef bool mgn_mixture_callback(void *context, int64_t k, int64_t pass, double log_likelihood);

/** All zero means the defaults. */
typedef struct mgn_mixture_fit_config {
    double regularisation; /**< smallest variance of a component in any direction; 0: 1e-6 of that of the
                              rows, in units of each column's spread (of all columns', where one is constant) */
    double tolerance;      /**< stop when a pass gains less log-likelihood per row; 0: 1e-5 */
    int64_t passes;        /**< at most that many over all rows; 0: 100 */
    int64_t starts;        /**< k-means++ starts, the best of which goes on; 0: 4 */
    uint64_t seed;
    mgn_mixture_callback *report; /**< optional */
    void *context;
    /** > 0: the rows are cut into so many blocks, a power of two up to 1024, whose sums are added up in a fixed order. The
     *  result depends on their number, but not on how many processes share them, on the cpu backend. 0: no blocks. */
    int64_t blocks;
    /** The processes that share the blocks; all have the same rows and settings and get the same mixtures. Borrowed; NULL: this
     *  one alone. */
    mgn_comm *comm;
} mgn_mixture_fit_config;

typedef struct mgn_mixture_fit_result {
    int64_t k;             /**< components it ended with */
    double log_likelihood; /**< mean over the rows, in nats, of the mixture that is returned */
    double bic;            /**< -2 n log_likelihood + log n (free parameters): lower is better */
    int64_t passes;        /**< over all rows */
    int64_t reseeded;      /**< collapsed components that were put elsewhere */
    int64_t dropped;       /**< and those that were given up */
    bool converged;
    double seconds;
} mgn_mixture_fit_result;

/** Fits k components to n float rows (n, d) by expectation maximisation: k-means++ starts on a sample, then passes over
 *  growing samples, then over all rows. A pass is one plan, a row program that streams over the rows: nothing of size
 *  n k is kept. The constrained likelihood (variances of at least `regularisation`) never falls from one pass to the next,
 *  except where a collapsed component (of fewer than d + 1 rows) is put elsewhere or dropped. Components come sorted by
 *  weight, heaviest first. The same seed and device give the same mixture, whatever the number of threads.
 *  Errors: ARGUMENT (fewer than k rows, rows that are all the same), NUMERIC (a value that is not finite), INTERRUPTED,
 *  MEMORY, DEVICE. `result` may be NULL. */
MGN_API mgn_status mgn_mixture_fit(mgn_device *device, const float *rows, int64_t n, int64_t d, int64_t k,
                                   const mgn_mixture_fit_config *config, mgn_mixture *mixture,
                                   mgn_mixture_fit_result *result);

/** Fits first .. last components: mixtures and results (last - first + 1 each), the caller frees the mixtures. `elbow`
 *  (may be NULL) is the k at which more components stop paying: after it no step adds more than 5 % of the curve's whole
 *  rise in log-likelihood. Errors: those of mgn_mixture_fit; then no mixture is left. */
MGN_API mgn_status mgn_mixture_curve(mgn_device *device, const float *rows, int64_t n, int64_t d, int64_t first,
                                     int64_t last, const mgn_mixture_fit_config *config, mgn_mixture *mixtures,
                                     mgn_mixture_fit_result *results, int64_t *elbow);

#ifdef __cplusplus
}
#endif
#endif
