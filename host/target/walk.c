/* Rows that follow one another, and what is computed by walking through all of them: of a table larger than memory no more
 * is held than a piece, while the disk fetches the next. */
#include "target/target.h"

#include <string.h>

#include <mgn/ot.h>

enum { PIECE_BYTES = 4 << 20, LEAST_PIECE = 64 };

bool mgn_target_is_mapped(const mgn_target *target) { return target->kind == MGN_TARGET_MAPPED; }

mgn_status mgn_target_read(const mgn_target *target, int64_t first, int64_t n, float *rows) {
    if (!rows || first < 0 || n < 1 || first >= target->count || n > target->count - first)
        return mgn_fail(MGN_ERR_ARGUMENT, "%lld rows from row %lld on (counted from 0) were asked for; %s has %lld",
                        (long long)n, (long long)first, target->label, (long long)target->count);
    if (target->kind == MGN_TARGET_MAPPED) {
        mgn_shards_ahead(target->shards, first, n); /* in one piece, not page by page */
        return mgn_shards_read(target->shards, first, n, rows);
    }
    memcpy(rows, target->rows + first * target->d, (size_t)(n * target->d) * sizeof *rows);
    return MGN_OK;
}

/* Mean and products of differences of `count` rows, and of n further ones whose moments these are: by the difference of the
 * means, which loses no digits where both are far from 0. */
static void merge(int64_t d, double count, double *mean, double *products, double n, const double *piece_mean,
                  const double *piece_covariance) {
    const double share = n / (count + n);
    for (int64_t i = 0; products && i < d; i++) {
        const double along = (piece_mean[i] - mean[i]) * count * share;
        for (int64_t k = 0; k < d; k++)
            products[i * d + k] += n * piece_covariance[i * d + k] + along * (piece_mean[k] - mean[k]);
    }
    for (int64_t i = 0; i < d; i++) mean[i] += share * (piece_mean[i] - mean[i]);
}

static mgn_status walk(const mgn_target *t, int64_t piece, float *rows, double *work, double *mean, double *products) {
    const int64_t d = t->d;
    double *piece_mean = work, *covariance = products ? work + d : NULL;
    for (int64_t first = 0; first < t->count; first += piece) {
        const int64_t n = MGN_MIN(piece, t->count - first);
        mgn_shards_ahead(t->shards, first + n, piece);
        MGN_TRY(mgn_shards_read(t->shards, first, n, rows));
        MGN_TRY(mgn_moments(rows, n, d, false, piece_mean, covariance));
        merge(d, (double)first, mean, products, (double)n, piece_mean, covariance);
        if (mgn_interrupted()) return mgn_fail(MGN_ERR_INTERRUPTED, "stopped while %s was read", t->label);
    }
    for (int64_t i = 0; products && i < d; i++)
        for (int64_t k = 0; k <= i; k++)
            products[i * d + k] = products[k * d + i] =
                (products[i * d + k] + products[k * d + i]) / 2 / (double)t->count;
    return MGN_OK;
}

mgn_status mgn_target_walk_moments(const mgn_target *t, double *mean, double *covariance) {
    const int64_t d = t->d, usual = PIECE_BYTES / (int64_t)sizeof(float) / d;
    const int64_t piece = MGN_MAX(usual, MGN_MAX(LEAST_PIECE, 4 * d)); /* merging costs d^2 for each */
    float *rows = mgn_alloc_aligned((size_t)MGN_MIN(piece, t->count), (size_t)d * sizeof *rows);
    double *work = mgn_alloc((size_t)(d + (covariance ? d * d : 0)), sizeof *work);
    if (covariance) memset(covariance, 0, (size_t)(d * d) * sizeof *covariance);
    memset(mean, 0, (size_t)d * sizeof *mean);
    const mgn_status status = rows && work ? walk(t, piece, rows, work, mean, covariance) : MGN_ERR_MEMORY;
    mgn_free(rows);
    mgn_free(work);
    return status;
}
