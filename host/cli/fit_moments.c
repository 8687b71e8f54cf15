/* What a fit knows of its two sides: means and variances always, covariances where something needs them. In thousands of
 * dimensions those are hundreds of megabytes each, and the closed forms that they are for take minutes. */
#include "fit.h"

#include <math.h>
#include <string.h>

#include <mgn/ot.h>

#include "core/core.h"

enum { MOST_CLOSED_FORMS = 1024, PIECE_ROWS = 256 };

static mgn_status allocate(fit_moments *m, int64_t d, bool whole) {
    fit_moments_free(m);
    m->mean = mgn_alloc((size_t)d, sizeof *m->mean);
    m->variance = mgn_alloc((size_t)d, sizeof *m->variance);
    if (whole) m->covariance = mgn_alloc((size_t)d, (size_t)d * sizeof *m->covariance);
    return m->mean && m->variance && (m->covariance || !whole)
               ? MGN_OK
               : mgn_fail(MGN_ERR_MEMORY, "out of memory for the moments of %lld dimensions", (long long)d);
}

void fit_moments_free(fit_moments *m) {
    mgn_free(m->mean);
    mgn_free(m->variance);
    mgn_free(m->covariance);
    *m = (fit_moments){0};
}

static void take_diagonal(fit_moments *m, int64_t d) {
    for (int64_t i = 0; i < d; i++) m->variance[i] = m->covariance[i * (d + 1)];
}

/* ---- without covariances ---- */

/* Adds `count` rows to the mean and the sums of squared differences of `before` others. `own` is (2 d) to work in. */
static void add_rows(fit_moments *m, int64_t d, int64_t before, const float *rows, int64_t count, double *own) {
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
        const double apart = mean[j] - m->mean[j];
        m->variance[j] += squares[j] + apart * apart * (double)before * share;
        m->mean[j] += apart * share;
    }
}

/* Of rows in memory, or where `rows` is NULL of the finite target's, piece by piece. */
static mgn_status find_variances(const mgn_target *target, const float *rows, int64_t n, int64_t d, fit_moments *m) {
    double *own = mgn_alloc((size_t)d, 2 * sizeof *own);
    float *piece = rows ? NULL : mgn_alloc_aligned((size_t)(PIECE_ROWS * d), sizeof *piece);
    mgn_status status = own && (rows || piece) ? MGN_OK : MGN_ERR_MEMORY;
    for (int64_t at = 0; at < n && status == MGN_OK; at += PIECE_ROWS) {
        const int64_t count = MGN_MIN(PIECE_ROWS, n - at);
        if (!rows) status = mgn_target_read(target, at, count, piece);
        if (status == MGN_OK) add_rows(m, d, at, rows ? rows + at * d : piece, count, own);
        if (status == MGN_OK && mgn_interrupted()) status = mgn_fail(MGN_ERR_INTERRUPTED, "interrupted");
    }
    for (int64_t j = 0; j < d; j++) m->variance[j] /= (double)n;
    mgn_free(own);
    mgn_free(piece);
    return status;
}

static void mixture_variances(const mgn_mixture *mixture, fit_moments *m) {
    const int64_t d = mixture->d;
    for (int64_t j = 0; j < mixture->k; j++)
        for (int64_t i = 0; i < d; i++) {
            const double apart = mixture->means[j * d + i] - m->mean[i];
            m->variance[i] += mixture->weights[j] * (mixture->covariances[(j * d + i) * d + i] + apart * apart);
        }
}

/* ---- the two sides ---- */

/* Whether the affine start is a root of the whole map between the moments. */
static bool starts_whole(const fit_job *j) {
    static const char *const kinds[] = {"cmgn", "mmgn", "dicnn", "lse"}; /* with a quadratic part */
    bool is_quadratic = false;
    for (size_t i = 0; i < MGN_COUNT(kinds); i++) is_quadratic = is_quadratic || strcmp(j->shape.kind, kinds[i]) == 0;
    return is_quadratic && strcmp(j->options.start, "affine") == 0;
}

bool fit_has_closed_forms(const fit_job *j) { return j->d <= MOST_CLOSED_FORMS; }

mgn_status fit_target_moments(fit_job *j) {
    const char *kind = j->training.loss.kind;
    const bool is_smooth = mgn_target_density(j->target) == MGN_DENSITY_SMOOTH;
    const bool is_matched = strcmp(kind, "kl") == 0 || (strcmp(kind, "nll") == 0 && !is_smooth);
    const bool whole = fit_has_closed_forms(j) || is_matched || starts_whole(j);
    MGN_TRY(allocate(&j->to, j->d, whole));
    if (whole) {
        MGN_TRY(mgn_target_moments(j->target, j->to.mean, j->to.covariance));
        take_diagonal(&j->to, j->d);
        return MGN_OK;
    }
    const int64_t n = mgn_target_count(j->target);
    if (n) return find_variances(j->target, NULL, n, j->d, &j->to);
    MGN_TRY(mgn_target_moments(j->target, j->to.mean, NULL));
    mixture_variances(mgn_target_mixture(j->target), &j->to); /* what is neither rows nor a mixture has 2 dimensions */
    return MGN_OK;
}

static mgn_status moments_of(const fit_job *j, const mgn_target *target, fit_moments *m) {
    const bool whole = fit_has_closed_forms(j) || starts_whole(j);
    const float *rows = target ? NULL : j->x.values;
    MGN_TRY(allocate(m, j->d, whole));
    if (!whole) return find_variances(target, rows, target ? mgn_target_count(target) : j->rows, j->d, m);
    MGN_TRY(target ? mgn_target_moments(target, m->mean, m->covariance)
                   : mgn_moments(rows, j->rows, j->d, false, m->mean, m->covariance));
    take_diagonal(m, j->d);
    return MGN_OK;
}

mgn_status fit_stream_moments(fit_job *j) { return moments_of(j, j->source, &j->walked); }

mgn_status fit_source_moments(const fit_job *j, fit_moments *from) {
    if (!j->is_streamed) return moments_of(j, NULL, from);
    const size_t d = (size_t)j->d;
    MGN_TRY(allocate(from, j->d, j->walked.covariance != NULL));
    memcpy(from->mean, j->walked.mean, d * sizeof *from->mean);
    memcpy(from->variance, j->walked.variance, d * sizeof *from->variance);
    if (from->covariance) memcpy(from->covariance, j->walked.covariance, d * d * sizeof *from->covariance);
    return MGN_OK;
}
