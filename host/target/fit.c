/* Fitting mixtures: several starts on a small sample, the best of them on a larger one, then all rows.
 *
 * Most of expectation maximisation's passes only move a start towards a maximum that a sample shows as well as all rows
 * do. What is left for all rows is to settle, which takes a few passes. */
#include <math.h>
#include <string.h>

#include <mgn/ot.h>

#include "comm/blocks_sum.h"
#include "core/random.h"
#include "target/em.h"

enum { SAMPLE_ROWS = 1 << 16, START_ROWS = 1 << 13, START_PASSES = 25, USUAL_PASSES = 100, USUAL_STARTS = 4 };

static const double usual_tolerance = 1e-5, start_tolerance = 1e-3, usual_floor = 1e-6;
static const double least_unit = 1e-37; /* its inverse is a float */

/* ---- data ---- */

static mgn_status check(int64_t n, int64_t k, const mgn_mixture_fit_config *c) {
    if (k < 1 || k > MGN_MOST_COMPONENTS)
        return mgn_fail(MGN_ERR_ARGUMENT, "a mixture has 1 to %d components, not %lld", MGN_MOST_COMPONENTS,
                        (long long)k);
    if (n < k)
        return mgn_fail(MGN_ERR_ARGUMENT, "a mixture of %lld components needs at least as many rows; %lld were found",
                        (long long)k, (long long)n);
    if (n > UINT32_MAX)
        return mgn_fail(MGN_ERR_ARGUMENT, "mixtures are fitted to at most 2^32 - 1 rows, not %lld", (long long)n);
    if (!(c->regularisation >= 0) || !(c->tolerance >= 0) || c->passes < 0 || c->starts < 0)
        return mgn_fail(MGN_ERR_ARGUMENT,
                        "regularisation, tolerance, passes and starts from 0 were expected; %g, %g, %lld, %lld found",
                        c->regularisation, c->tolerance, (long long)c->passes, (long long)c->starts);
    return MGN_OK;
}

/* Rows of a keyed shuffle: every beginning of them is a sample. */
static mgn_status draw_sample(mgn_em_data *data) {
    const size_t bytes = (size_t)data->d * sizeof *data->sample;
    data->sample_rows = MGN_MIN(data->n, SAMPLE_ROWS);
    data->sample = mgn_alloc_aligned((size_t)data->sample_rows, bytes);
    if (!data->sample) return MGN_ERR_MEMORY;
    const mgn_host_shuffle shuffle = mgn_host_shuffle_start(data->config->seed, 0, (uint32_t)data->n);
    for (int64_t i = 0; i < data->sample_rows; i++)
        memcpy(data->sample + i * data->d, data->rows + (int64_t)mgn_host_shuffle_at(&shuffle, (uint32_t)i) * data->d,
               bytes);
    return MGN_OK;
}

/* Columns of very different spread are each measured by their own, constant ones by the others'. */
static mgn_status set_units(mgn_em_data *data, double variance) {
    const double given = data->config->regularisation;
    for (int64_t i = 0; i < data->d; i++) {
        const double own = data->covariance[i * (data->d + 1)];
        data->units[i] = sqrt(given > 0 ? given : usual_floor * (own > 0 ? own : variance));
        if (data->units[i] < least_unit)
            return mgn_fail(MGN_ERR_NUMERIC,
                            "a mixture: column %lld (counted from 0) varies by %g, too little to be measured in single "
                            "precision; other units are needed",
                            (long long)i, sqrt(own));
    }
    return MGN_OK;
}

static mgn_status describe(mgn_em_data *data) {
    const int64_t d = data->d;
    double variance = 0;
    data->mean = mgn_alloc((size_t)(2 * d + d * d), sizeof *data->mean);
    if (!data->mean) return MGN_ERR_MEMORY;
    data->units = data->mean + d;
    data->covariance = data->units + d;
    MGN_TRY(mgn_moments(data->rows, data->n, d, false, data->mean, data->covariance));
    for (int64_t i = 0; i < d; i++) {
        variance += data->covariance[i * d + i] / (double)d;
        /* What the device subtracts must be what the host counts with. */
        data->mean[i] = (double)(float)data->mean[i];
    }
    if (data->n == 1)
        return mgn_fail(MGN_ERR_ARGUMENT, "a single row has no density to fit a mixture to; at least 2 were expected");
    if (!(variance > 0))
        return mgn_fail(MGN_ERR_ARGUMENT, "all %lld rows are the same, so they have no density to fit a mixture to",
                        (long long)data->n);
    MGN_TRY(set_units(data, variance));
    return mgn_em_raise(data->covariance, d, data->units);
}

static void destroy_data(mgn_em_data *data) {
    mgn_free(data->mean);
    mgn_free(data->sample);
    mgn_tensor_destroy(data->tensor);
}

/* Rows that the device has no memory for stay here: *tensor is NULL then. */
static mgn_status on_device(const mgn_em_data *data, const float *rows, int64_t n, mgn_tensor **tensor) {
    if (data->config->blocks > 0) return MGN_OK; /* they are brought there piece by piece */
    mgn_device_was_short(data->device);          /* whatever that was */
    mgn_status status = mgn_tensor_create(data->device, MGN_F32, MGN_SHAPE(n, data->d), tensor);
    if (status == MGN_OK) status = mgn_tensor_write(*tensor, MGN_F32, rows);
    if (status == MGN_OK || !mgn_device_was_short(data->device)) return status;
    mgn_tensor_destroy(*tensor);
    *tensor = NULL;
    return MGN_OK;
}

static mgn_status create_data(mgn_em_data *data) {
    MGN_TRY(describe(data));
    MGN_TRY(draw_sample(data));
    MGN_TRY(on_device(data, data->rows, data->n, &data->tensor));
    if (!data->tensor && data->config->blocks == 0)
        mgn_note("%s has no memory for %lld rows at once: every pass takes them through it in chunks",
                 mgn_device_get_info(data->device)->spec, (long long)data->n);
    return MGN_OK;
}

/* Processes that fit together go on if all have the same rows and settings. */
static mgn_status share_data(const mgn_em_data *data, int64_t first, int64_t last, mgn_status status) {
    const mgn_mixture_fit_config *c = data->config;
    const double settings[] = {c->regularisation, c->tolerance};
    const int64_t counts[] = {data->n, data->d, first, last, c->passes, c->starts, (int64_t)c->seed, c->blocks};
    if (!c->comm) return status;
    if (status == MGN_OK) status = mgn_blocks_check(c->comm, c->blocks);
    MGN_TRY(mgn_comm_agree(c->comm, status));
    uint64_t digest = mgn_hash(MGN_HASH_START, settings, sizeof settings);
    digest = mgn_hash(digest, counts, sizeof counts);
    digest = mgn_hash(digest, data->rows, (size_t)(data->n * data->d) * sizeof *data->rows);
    return mgn_comm_same(c->comm, digest, "the rows or the options");
}

/* ---- levels ---- */

/* The best of the starts, each after some passes over a small sample. */
static mgn_status choose_start(const mgn_em_data *data, int64_t k, mgn_mixture *best, mgn_mixture_fit_result *result) {
    const int64_t starts = data->config->starts ? data->config->starts : USUAL_STARTS;
    mgn_em_level level = {.rows = data->sample,
                          .n = MGN_MIN(data->sample_rows, MGN_MAX(START_ROWS, 64 * k)),
                          .tolerance = start_tolerance,
                          .passes = START_PASSES};
    double most = -INFINITY;
    MGN_TRY(on_device(data, level.rows, level.n, &level.tensor));
    mgn_status status = MGN_OK;
    for (int64_t s = 0; s < (k == 1 ? 1 : starts) && status == MGN_OK; s++) {
        mgn_mixture_fit_result found = {0};
        mgn_mixture mixture = {0};
        status = mgn_em_start(data, level.n, k, s, &mixture);
        if (status == MGN_OK) status = mgn_em_run(data, &level, &mixture, &found);
        if (status == MGN_OK && (!best->weights || found.log_likelihood > most)) {
            mgn_mixture_free(best);
            *best = mixture;
            mixture = (mgn_mixture){0};
            most = found.log_likelihood;
            result->reseeded = found.reseeded;
            result->dropped = found.dropped;
        }
        mgn_mixture_free(&mixture);
    }
    mgn_tensor_destroy(level.tensor);
    return status;
}

/* Settles on the larger sample, where that saves passes over all rows. */
static mgn_status settle(const mgn_em_data *data, double tolerance, mgn_mixture *mixture,
                         mgn_mixture_fit_result *result) {
    if (data->n < 2 * data->sample_rows) return MGN_OK;
    mgn_em_level level = {
        .rows = data->sample, .n = data->sample_rows, .tolerance = tolerance, .passes = 2 * (int64_t)USUAL_PASSES};
    MGN_TRY(on_device(data, level.rows, level.n, &level.tensor));
    const mgn_status status = mgn_em_run(data, &level, mixture, result);
    mgn_tensor_destroy(level.tensor);
    return status;
}

static void swap(double *a, double *b, int64_t count) {
    for (int64_t i = 0; i < count; i++) {
        const double kept = a[i];
        a[i] = b[i];
        b[i] = kept;
    }
}

static void sort_by_weight(mgn_mixture *m) {
    const int64_t d = m->d;
    for (int64_t i = 0; i < m->k; i++) {
        int64_t heaviest = i;
        for (int64_t j = i + 1; j < m->k; j++)
            if (m->weights[j] > m->weights[heaviest]) heaviest = j;
        if (heaviest == i) continue;
        swap(m->weights + i, m->weights + heaviest, 1);
        swap(m->means + i * d, m->means + heaviest * d, d);
        swap(m->covariances + i * d * d, m->covariances + heaviest * d * d, d * d);
    }
}

static double bayes_criterion(const mgn_mixture *m, int64_t n, double likelihood) {
    const double k = (double)m->k, d = (double)m->d;
    const double parameters = k - 1 + k * d + k * d * (d + 1) / 2;
    return -2 * (double)n * likelihood + parameters * log((double)n);
}

static mgn_status fit(const mgn_em_data *data, int64_t k, mgn_mixture *mixture, mgn_mixture_fit_result *result) {
    const mgn_mixture_fit_config *c = data->config;
    const double start = mgn_now(), tolerance = c->tolerance > 0 ? c->tolerance : usual_tolerance;
    const mgn_em_level level = {.rows = data->rows,
                                .tensor = data->tensor,
                                .n = data->n,
                                .tolerance = tolerance,
                                .passes = c->passes ? c->passes : USUAL_PASSES};
    mgn_mixture made = {0};
    mgn_mixture_fit_result own = {0};
    mgn_status status = choose_start(data, k, &made, &own);
    if (status == MGN_OK) status = settle(data, tolerance, &made, &own);
    own.passes = 0;
    if (status == MGN_OK) status = mgn_em_run(data, &level, &made, &own);
    if (status != MGN_OK) {
        mgn_mixture_free(&made);
        return status;
    }
    sort_by_weight(&made);
    own.k = made.k;
    own.bic = bayes_criterion(&made, data->n, own.log_likelihood);
    own.seconds = mgn_now() - start;
    *mixture = made;
    *result = own;
    return MGN_OK;
}

mgn_status mgn_mixture_fit(mgn_device *device, const float *rows, int64_t n, int64_t d, int64_t k,
                           const mgn_mixture_fit_config *config, mgn_mixture *mixture, mgn_mixture_fit_result *result) {
    mgn_mixture_fit_result own = {0};
    MGN_TRY(mgn_mixture_curve(device, rows, n, d, k, k, config, mixture, &own, NULL));
    if (result) *result = own;
    return MGN_OK;
}

/* ---- the curve ---- */

/* The first point after which no step adds more than this part of the whole rise. */
static const double worth_a_component = 0.05;

static int64_t find_elbow(const mgn_mixture_fit_result *results, int64_t first, int64_t count) {
    const double rise = results[count - 1].log_likelihood - results[0].log_likelihood;
    int64_t elbow = count - 1;
    while (elbow > 0 && results[elbow].log_likelihood - results[elbow - 1].log_likelihood <= worth_a_component * rise)
        elbow--;
    return first + elbow;
}

mgn_status mgn_mixture_curve(mgn_device *device, const float *rows, int64_t n, int64_t d, int64_t first, int64_t last,
                             const mgn_mixture_fit_config *config, mgn_mixture *mixtures,
                             mgn_mixture_fit_result *results, int64_t *elbow) {
    const mgn_mixture_fit_config none = {0};
    bool is_stopping = false;
    mgn_em_data data = {
        .device = device, .rows = rows, .n = n, .d = d, .config = config ? config : &none, .is_stopping = &is_stopping};
    if (!device || !rows || !mixtures || !results || d < 1 || d > 46340 || last < first)
        return mgn_fail(MGN_ERR_ARGUMENT,
                        "fitting a mixture needs a device, rows, places for the results and a range of "
                        "components");
    MGN_TRY(check(n, first, data.config));
    MGN_TRY(check(n, last, data.config));
    mgn_status status = share_data(&data, first, last, create_data(&data));
    int64_t done = 0;
    for (; first + done <= last && status == MGN_OK; done += status == MGN_OK)
        status = fit(&data, first + done, &mixtures[done], &results[done]);
    destroy_data(&data);
    if (status == MGN_OK && elbow) *elbow = find_elbow(results, first, last - first + 1);
    for (int64_t i = 0; status != MGN_OK && i < done; i++) mgn_mixture_free(&mixtures[i]);
    return status;
}
