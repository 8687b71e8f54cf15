/* Means and variances without covariances, which in thousands of dimensions are hundreds of megabytes. */
#include "target/target.h"

#include <string.h>

#include "core/core.h"

enum { PIECE_ROWS = 256 };

/* Adds `count` rows to the mean and the sums of squared differences of `before` others. `own` is (2 d) to work in. */
static void add_rows(int64_t d, double *mean_of_all, double *variance, int64_t before, const float *rows, int64_t count,
                     double *own) {
    double *mean = own, *squares = own + d;
    memset(own, 0, (size_t)(2 * d) * sizeof *own);
    for (int64_t i = 0; i < count; i++) /* differences to the first row: a common offset costs no digits */
        for (int64_t j = 0; j < d; j++) mean[j] += ((double)rows[i * d + j] - (double)rows[j]) / (double)count;
    for (int64_t j = 0; j < d; j++) mean[j] += (double)rows[j];
    for (int64_t i = 0; i < count; i++)
        for (int64_t j = 0; j < d; j++) {
            const double difference = (double)rows[i * d + j] - mean[j];
            squares[j] += difference * difference;
        }
    const double share = (double)count / (double)(before + count);
    for (int64_t j = 0; j < d; j++) {
        const double apart = mean[j] - mean_of_all[j];
        variance[j] += squares[j] + apart * apart * (double)before * share;
        mean_of_all[j] += apart * share;
    }
}

/* Of rows in memory, or where `rows` is NULL of the finite target's, piece by piece. */
static mgn_status walk(const mgn_target *target, const float *rows, int64_t n, int64_t d, double *mean,
                       double *variance) {
    double *own = mgn_alloc((size_t)d, 2 * sizeof *own);
    float *piece = rows ? NULL : mgn_alloc_aligned((size_t)(PIECE_ROWS * d), sizeof *piece);
    mgn_status status = own && (rows || piece) ? MGN_OK : MGN_ERR_MEMORY;
    memset(mean, 0, (size_t)d * sizeof *mean);
    memset(variance, 0, (size_t)d * sizeof *variance);
    for (int64_t at = 0; at < n && status == MGN_OK; at += PIECE_ROWS) {
        const int64_t count = MGN_MIN(PIECE_ROWS, n - at);
        if (!rows) status = mgn_target_read(target, at, count, piece);
        if (status == MGN_OK) add_rows(d, mean, variance, at, rows ? rows + at * d : piece, count, own);
        if (status == MGN_OK && mgn_interrupted()) status = mgn_fail(MGN_ERR_INTERRUPTED, "interrupted");
    }
    for (int64_t j = 0; j < d; j++) variance[j] /= (double)n;
    mgn_free(own);
    mgn_free(piece);
    return status;
}

static void of_mixture(const mgn_mixture *mixture, const double *mean, double *variance) {
    const int64_t d = mixture->d;
    memset(variance, 0, (size_t)d * sizeof *variance);
    for (int64_t j = 0; j < mixture->k; j++)
        for (int64_t i = 0; i < d; i++) {
            const double apart = mixture->means[j * d + i] - mean[i];
            variance[i] += mixture->weights[j] * (mixture->covariances[(j * d + i) * d + i] + apart * apart);
        }
}

mgn_status mgn_row_variances(const float *rows, int64_t n, int64_t d, double *mean, double *variance) {
    return walk(NULL, rows, n, d, mean, variance);
}

mgn_status mgn_target_variances(const mgn_target *target, double *mean, double *variance) {
    double covariance[4];
    if (target->count) return walk(target, NULL, target->count, target->d, mean, variance);
    if (target->kind == MGN_TARGET_MIXTURE) {
        MGN_TRY(mgn_target_moments(target, mean, NULL));
        of_mixture(&target->mixture, mean, variance);
        return MGN_OK;
    }
    MGN_TRY(mgn_target_moments(target, mean, covariance)); /* the shapes are of the plane */
    variance[0] = covariance[0];
    variance[1] = covariance[3];
    return MGN_OK;
}
