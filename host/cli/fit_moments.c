/* What a fit knows of its two sides: means and variances always, covariances where something needs them. In thousands of
 * dimensions those are hundreds of megabytes each, and the closed forms that they are for take minutes. */
#include "fit.h"

#include <string.h>

#include <mgn/ot.h>

#include "core/core.h"
#include "target/target.h"

enum { MOST_CLOSED_FORMS = 1024 };

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
    return mgn_target_variances(j->target, j->to.mean, j->to.variance);
}

static mgn_status moments_of(const fit_job *j, const mgn_target *target, fit_moments *m) {
    const bool whole = fit_has_closed_forms(j) || starts_whole(j);
    const float *rows = target ? NULL : j->x.values;
    MGN_TRY(allocate(m, j->d, whole));
    if (!whole)
        return target ? mgn_target_variances(target, m->mean, m->variance)
                      : mgn_row_variances(rows, j->rows, j->d, m->mean, m->variance);
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
