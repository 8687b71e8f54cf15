/* Gaussian mixtures as data: memory, checks, moments, and the density, once in double on the host and once as nodes. */
#include "target/target.h"

#include <lapacke.h>
#include <math.h>
#include <string.h>

#include "core/parallel.h"
#include "graph/graph.h"

enum { ROWS_PER_CHUNK = 1024 };

/* ---- memory ---- */

mgn_status mgn_mixture_create(int64_t k, int64_t d, mgn_mixture *mixture) {
    if (!mixture) return mgn_fail(MGN_ERR_ARGUMENT, "a mixture was to be created, but the place for it is NULL");
    if (k < 1 || k > MGN_MOST_COMPONENTS || d < 1 || d > 46340)
        return mgn_fail(MGN_ERR_ARGUMENT, "a mixture has 1 to %d components of 1 to 46340 dimensions, not %lld of %lld",
                        MGN_MOST_COMPONENTS, (long long)k, (long long)d);
    double *block = mgn_alloc_aligned((size_t)k, (size_t)(1 + d + d * d) * sizeof *block);
    if (!block) return MGN_ERR_MEMORY;
    *mixture = (mgn_mixture){k, d, block, block + k, block + k + k * d};
    return MGN_OK;
}

void mgn_mixture_free(mgn_mixture *mixture) {
    if (!mixture) return;
    mgn_free(mixture->weights);
    *mixture = (mgn_mixture){0};
}

mgn_status mgn_mixture_clone(const mgn_mixture *mixture, mgn_mixture *copy) {
    mgn_mixture made = {0};
    MGN_TRY(mgn_mixture_create(mixture->k, mixture->d, &made));
    const size_t k = (size_t)mixture->k, d = (size_t)mixture->d;
    memcpy(made.weights, mixture->weights, k * sizeof(double));
    memcpy(made.means, mixture->means, k * d * sizeof(double));
    memcpy(made.covariances, mixture->covariances, k * d * d * sizeof(double));
    *copy = made;
    return MGN_OK;
}

mgn_status mgn_mixture_factors_create(int64_t k, int64_t d, mgn_mixture_factors *factors) {
    double *block = mgn_alloc_aligned((size_t)(d + k * (d * d + d + 1)), sizeof *block);
    if (!block) return MGN_ERR_MEMORY;
    *factors = (mgn_mixture_factors){k, d, block, block + d, block + d + k * d * d, block + d + k * (d * d + d)};
    return MGN_OK;
}

void mgn_mixture_factors_free(mgn_mixture_factors *factors) {
    mgn_free(factors->centre);
    *factors = (mgn_mixture_factors){0};
}

/* ---- matrices ---- */

bool mgn_cholesky(const double *a, int64_t d, double *lower) {
    for (int64_t i = 0; i < d; i++)
        for (int64_t j = 0; j < d; j++) lower[i * d + j] = j > i ? 0 : 0.5 * (a[i * d + j] + a[j * d + i]);
    /* The upper factor in column order is the lower one in row order. */
    if (LAPACKE_dpotrf(LAPACK_COL_MAJOR, 'U', (lapack_int)d, lower, (lapack_int)d) != 0) return false;
    for (int64_t i = 0; i < d; i++) /* of a column's spread, what the ones before it do not tell */
        if (!(lower[i * d + i] > 1e-7 * sqrt(a[i * (d + 1)])) || !isfinite(lower[i * d + i])) return false;
    return true;
}

static int64_t first_not_finite(const double *values, int64_t count) {
    int64_t i = 0;
    while (i < count && isfinite(values[i])) i++;
    return i;
}

mgn_status mgn_mixture_check(const mgn_mixture *mixture) {
    const int64_t k = mixture->k, d = mixture->d;
    double sum = 0, *lower = mgn_alloc((size_t)(d * d), sizeof *lower);
    if (!lower) return MGN_ERR_MEMORY;
    mgn_status status = MGN_OK;
    for (int64_t j = 0; j < k && status == MGN_OK; j++) {
        const double *mean = mixture->means + j * d, *covariance = mixture->covariances + j * d * d;
        const int64_t bad_mean = first_not_finite(mean, d), bad = first_not_finite(covariance, d * d);
        sum += mixture->weights[j];
        if (!(mixture->weights[j] > 0) || !isfinite(mixture->weights[j]))
            status =
                mgn_fail(MGN_ERR_ARGUMENT, "weight %lld (counted from 0) of the mixture is %g; above 0 was expected",
                         (long long)j, mixture->weights[j]);
        else if (bad_mean < d || bad < d * d)
            status = mgn_fail(MGN_ERR_NUMERIC,
                              "component %lld (counted from 0) of %lld has %g as element %lld of its %s; finite "
                              "numbers were expected",
                              (long long)j, (long long)k, bad_mean < d ? mean[bad_mean] : covariance[bad],
                              (long long)(bad_mean < d ? bad_mean : bad), bad_mean < d ? "mean" : "covariance");
        else if (!mgn_cholesky(covariance, d, lower))
            status = mgn_fail(MGN_ERR_NUMERIC,
                              "component %lld (counted from 0) of %lld has a covariance that is not positive definite, "
                              "so it has no density",
                              (long long)j, (long long)k);
    }
    mgn_free(lower);
    MGN_TRY(status);
    if (fabs(sum - 1) > 1e-6)
        return mgn_fail(MGN_ERR_ARGUMENT, "the weights of a mixture sum to 1; these sum to %.9g", sum);
    return MGN_OK;
}

mgn_status mgn_mixture_factorise(const mgn_mixture *mixture, mgn_mixture_factors *factors) {
    const int64_t k = mixture->k, d = mixture->d;
    double *lower = mgn_alloc((size_t)(d * d), sizeof *lower);
    if (!lower) return MGN_ERR_MEMORY;
    mgn_status status = MGN_OK;
    for (int64_t j = 0; j < k && status == MGN_OK; j++) {
        const double *mean = mixture->means + j * d;
        double log_scale = log(mixture->weights[j]) - 0.5 * (double)d * log(2 * M_PI);
        bool regular = mgn_cholesky(mixture->covariances + j * d * d, d, lower);
        for (int64_t i = 0; regular && i < d; i++) log_scale -= log(lower[i * d + i]);
        if (!regular || LAPACKE_dtrtri(LAPACK_COL_MAJOR, 'U', 'N', (lapack_int)d, lower, (lapack_int)d) != 0) {
            status = mgn_fail(MGN_ERR_NUMERIC, "the covariance of component %lld (counted from 0) is singular",
                              (long long)j);
            break;
        }
        factors->constants[j] = log_scale;
        for (int64_t c = 0; c < d; c++) {
            double shift = 0;
            for (int64_t i = 0; i < d; i++) {
                factors->whiteners[i * k * d + j * d + c] = lower[c * d + i];
                shift += (mean[i] - factors->centre[i]) * lower[c * d + i];
            }
            factors->shifts[j * d + c] = shift;
        }
    }
    mgn_free(lower);
    return status;
}

/* ---- moments ---- */

void mgn_mixture_moments(const mgn_mixture *mixture, double *mean, double *covariance) {
    const int64_t k = mixture->k, d = mixture->d;
    for (int64_t i = 0; mean && i < d; i++) {
        mean[i] = 0;
        for (int64_t j = 0; j < k; j++) mean[i] += mixture->weights[j] * mixture->means[j * d + i];
    }
    if (!covariance) return;
    memset(covariance, 0, (size_t)(d * d) * sizeof *covariance);
    /* Differences to the first mean, so that a common offset costs no digits. */
    const double *m = mixture->means;
    for (int64_t a = 0; a < d; a++)
        for (int64_t b = 0; b <= a; b++) {
            double sum = 0, first = 0, second = 0;
            for (int64_t j = 0; j < k; j++) {
                const double w = mixture->weights[j], u = m[j * d + a] - m[a], v = m[j * d + b] - m[b];
                sum += w * (mixture->covariances[(j * d + a) * d + b] + u * v);
                first += w * u;
                second += w * v;
            }
            covariance[a * d + b] = covariance[b * d + a] = sum - first * second;
        }
}

/* ---- the density on the host ---- */

typedef struct density_job {
    const mgn_mixture_factors *factors;
    const float *rows;
    int64_t n;
    double *out;
} density_job;

static double log_density_of(const mgn_mixture_factors *f, const float *row) {
    const int64_t k = f->k, d = f->d;
    double top = -INFINITY, sum = 0;
    for (int64_t j = 0; j < k; j++) {
        double term = f->constants[j];
        for (int64_t c = 0; c < d; c++) {
            double z = -f->shifts[j * d + c];
            for (int64_t i = 0; i <= c; i++) /* A_j is upper triangular */
                z += ((double)row[i] - f->centre[i]) * f->whiteners[i * k * d + j * d + c];
            term -= 0.5 * z * z;
        }
        if (term > top) {
            sum = sum * exp(top - term) + 1;
            top = term;
        } else {
            sum += exp(term - top);
        }
    }
    return top + log(sum);
}

static void density_chunk(void *context, int64_t chunk, int thread) {
    const density_job *job = context;
    (void)thread;
    const int64_t end = MGN_MIN((chunk + 1) * ROWS_PER_CHUNK, job->n);
    for (int64_t i = chunk * ROWS_PER_CHUNK; i < end; i++)
        job->out[i] = log_density_of(job->factors, job->rows + i * job->factors->d);
}

mgn_status mgn_mixture_log_density(const mgn_mixture *mixture, const float *rows, int64_t n, double *out) {
    mgn_mixture_factors factors = {0};
    if (!rows || !out || n < 1)
        return mgn_fail(MGN_ERR_ARGUMENT, "log density: rows and a place for the results were expected");
    MGN_TRY(mgn_mixture_check(mixture));
    MGN_TRY(mgn_mixture_factors_create(mixture->k, mixture->d, &factors));
    mgn_mixture_moments(mixture, factors.centre, NULL);
    const mgn_status status = mgn_mixture_factorise(mixture, &factors);
    if (status == MGN_OK)
        mgn_parallel(mgn_threads(), (n + ROWS_PER_CHUNK - 1) / ROWS_PER_CHUNK, density_chunk,
                     &(density_job){&factors, rows, n, out});
    mgn_mixture_factors_free(&factors);
    return status;
}

/* ---- the density as nodes ---- */

mgn_node *mgn_mixture_terms_of(const mgn_mixture_nodes *nodes, int64_t k, mgn_node *y, mgn_node **whitened) {
    if (!y) return NULL;
    const int64_t n = mgn_node_shape(y).dim[0], d = mgn_node_shape(y).dim[1];
    mgn_node *z = mgn_sub(mgn_matmul(mgn_sub(y, nodes->centre), nodes->whiteners), nodes->shifts); /* (n, k d) */
    if (whitened) *whitened = z;
    mgn_node *squares = mgn_sum(mgn_square(mgn_reshape(z, MGN_SHAPE(n, k, d))), 4); /* (n, k) */
    return mgn_sub(nodes->constants, mgn_scale(squares, 0.5));
}

static mgn_node *terms(const mgn_mixture *mixture, const mgn_mixture_factors *f, mgn_node *y) {
    mgn_graph *graph = mgn_node_graph(y);
    const int64_t k = mixture->k, d = mixture->d;
    const mgn_mixture_nodes nodes = {
        mgn_table(graph, f->centre, MGN_SHAPE(d)),
        mgn_table(graph, f->whiteners, MGN_SHAPE(d, k * d)),
        mgn_table(graph, f->shifts, MGN_SHAPE(k * d)),
        mgn_table(graph, f->constants, MGN_SHAPE(k)),
    };
    return mgn_mixture_terms_of(&nodes, k, y, NULL);
}

mgn_node *mgn_mixture_terms(const mgn_mixture *mixture, mgn_node *y) {
    if (!y) return NULL;
    const mgn_shape shape = mgn_node_shape(y);
    if (shape.rank != 2 || shape.dim[1] != mixture->d)
        return mgn_graph_fail(mgn_node_graph(y), "rows of %lld numbers were expected for a density of %lld dimensions",
                              (long long)(shape.rank == 2 ? shape.dim[1] : -1), (long long)mixture->d);
    mgn_mixture_factors factors = {0};
    mgn_node *result = NULL;
    mgn_status status = mgn_mixture_factors_create(mixture->k, mixture->d, &factors);
    if (status == MGN_OK) {
        mgn_mixture_moments(mixture, factors.centre, NULL);
        /* A number that single precision has: what a plan subtracts must be what is counted with here. */
        for (int64_t i = 0; i < mixture->d; i++) factors.centre[i] = (double)(float)factors.centre[i];
        status = mgn_mixture_factorise(mixture, &factors);
    }
    if (status == MGN_OK)
        result = terms(mixture, &factors, y);
    else if (status == MGN_ERR_MEMORY)
        mgn_graph_exhaust(mgn_node_graph(y));
    else
        mgn_graph_fail(mgn_node_graph(y), "%s", mgn_last_error());
    mgn_mixture_factors_free(&factors);
    return result;
}
