/* Gaussian mixtures: density, moments, files, and fitting by expectation maximisation. */
#ifndef MGN_MIXTURE_H
#define MGN_MIXTURE_H

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

#ifdef __cplusplus
}
#endif
#endif
