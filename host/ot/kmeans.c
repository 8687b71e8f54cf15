/* k-means: the measure on k points that is nearest to a cloud in W2, by Lloyd's iteration. Nearest centres are found from
 * products, |x - c|^2 = |x|^2 - 2 x c + |c|^2, which is BLAS's job; sums are made in the order of the rows, so that the
 * thread count cannot show. */
#include "ot/ot.h"

#include <cblas.h>
#include <math.h>
#include <string.h>

#include "core/parallel.h"
#include "core/random.h"

enum { CHUNK_ROWS = 256 };

typedef struct lloyd {
    const float *rows;
    int64_t n, d, k;
    float *centres, *halves; /* (k, d); (k): |c|^2 / 2 */
    int32_t *nearest;        /* (n) */
    float *distance;         /* (n): squared, to the nearest centre */
    float *products;         /* (threads, CHUNK_ROWS, k) */
    double *sums;            /* (k, d) */
    int64_t *counts;         /* (k) */
} lloyd;

static float half_norm(const float *x, int64_t d) {
    double sum = 0;
    for (int64_t i = 0; i < d; i++) sum += (double)x[i] * (double)x[i];
    return (float)(sum / 2);
}

static void assign_chunk(void *context, int64_t chunk, int thread) {
    const lloyd *l = context;
    const int64_t first = chunk * CHUNK_ROWS, rows = MGN_MIN(CHUNK_ROWS, l->n - first), d = l->d, k = l->k;
    float *products = l->products + (int64_t)thread * CHUNK_ROWS * k;
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (int)rows, (int)k, (int)d, 1, l->rows + first * d, (int)d,
                l->centres, (int)d, 0, products, (int)k);
    for (int64_t i = 0; i < rows; i++) {
        const float *row = products + i * k;
        int64_t best = 0;
        for (int64_t j = 1; j < k; j++)
            if (row[j] - l->halves[j] > row[best] - l->halves[best]) best = j;
        l->nearest[first + i] = (int32_t)best;
        l->distance[first + i] = 2 * (half_norm(l->rows + (first + i) * d, d) + l->halves[best] - row[best]);
    }
}

static void assign(lloyd *l) {
    for (int64_t j = 0; j < l->k; j++) l->halves[j] = half_norm(l->centres + j * l->d, l->d);
    mgn_parallel(mgn_threads(), (l->n + CHUNK_ROWS - 1) / CHUNK_ROWS, assign_chunk, l);
    memset(l->counts, 0, (size_t)l->k * sizeof *l->counts);
    for (int64_t i = 0; i < l->n; i++) l->counts[l->nearest[i]]++;
}

/* A centre without rows goes to the row that is worst off, which leaves its old one. */
static void fill_empty(lloyd *l) {
    for (int64_t j = 0; j < l->k; j++) {
        if (l->counts[j] > 0) continue;
        int64_t worst = 0;
        for (int64_t i = 1; i < l->n; i++)
            if (l->distance[i] > l->distance[worst]) worst = i;
        if (l->counts[l->nearest[worst]] < 2) continue; /* rows that are all the same */
        l->counts[l->nearest[worst]]--;
        l->nearest[worst] = (int32_t)j;
        l->counts[j] = 1;
        l->distance[worst] = 0;
    }
}

static void move(lloyd *l) {
    const int64_t d = l->d;
    memset(l->sums, 0, (size_t)(l->k * d) * sizeof *l->sums);
    for (int64_t i = 0; i < l->n; i++) {
        double *sum = l->sums + l->nearest[i] * d;
        const float *row = l->rows + i * d;
        for (int64_t a = 0; a < d; a++) sum[a] += (double)row[a];
    }
    for (int64_t j = 0; j < l->k; j++)
        for (int64_t a = 0; a < d && l->counts[j] > 0; a++)
            l->centres[j * d + a] = (float)(l->sums[j * d + a] / (double)l->counts[j]);
}

static mgn_status iterate(lloyd *l, int64_t steps, uint64_t seed, double *distortion) {
    const mgn_host_shuffle shuffle = mgn_host_shuffle_start(seed, 0, (uint32_t)l->n);
    for (int64_t j = 0; j < l->k; j++)
        memcpy(l->centres + j * l->d, l->rows + (int64_t)mgn_host_shuffle_at(&shuffle, (uint32_t)j) * l->d,
               (size_t)l->d * sizeof *l->centres);
    double before = INFINITY;
    for (int64_t step = 0; step < steps; step++) {
        assign(l);
        fill_empty(l);
        move(l);
        double sum = 0;
        for (int64_t i = 0; i < l->n; i++) sum += (double)l->distance[i];
        *distortion = fmax(sum, 0) / (double)l->n;
        if (!isfinite(sum))
            return mgn_fail(MGN_ERR_NUMERIC, "k-means: the rows hold a value that is not finite, or too large");
        if (*distortion >= before * (1 - 1e-4)) break;
        before = *distortion;
        if (mgn_interrupted()) return mgn_fail(MGN_ERR_INTERRUPTED, "k-means was interrupted");
    }
    return MGN_OK;
}

mgn_status mgn_kmeans(const float *rows, int64_t n, int64_t d, int64_t k, int64_t steps, uint64_t seed, float *centres,
                      double *masses, double *distortion) {
    MGN_TRY(mgn_check_rows("k-means", rows, n, d));
    if (k < 1 || k > n || n > INT32_MAX || steps < 1 || !centres)
        return mgn_fail(MGN_ERR_ARGUMENT,
                        "k-means: 1 to %lld centres, a place for them and at least one step were expected, not %lld "
                        "centres and %lld steps",
                        (long long)n, (long long)k, (long long)steps);
    lloyd l = {.rows = rows, .n = n, .d = d, .k = k, .centres = centres};
    double last = 0;
    l.halves = mgn_alloc((size_t)k, sizeof *l.halves);
    l.nearest = mgn_alloc((size_t)n, sizeof *l.nearest);
    l.distance = mgn_alloc((size_t)n, sizeof *l.distance);
    l.products = mgn_alloc_aligned((size_t)mgn_threads() * CHUNK_ROWS, (size_t)k * sizeof *l.products);
    l.sums = mgn_alloc_aligned((size_t)k, (size_t)d * sizeof *l.sums);
    l.counts = mgn_alloc((size_t)k, sizeof *l.counts);
    mgn_status status =
        l.halves && l.nearest && l.distance && l.products && l.sums && l.counts ? MGN_OK : MGN_ERR_MEMORY;
    if (status == MGN_OK) status = iterate(&l, steps, seed, &last);
    for (int64_t j = 0; j < k && masses && status == MGN_OK; j++) masses[j] = (double)l.counts[j] / (double)n;
    if (distortion && status == MGN_OK) *distortion = last;
    void *const blocks[] = {l.halves, l.nearest, l.distance, l.products, l.sums, l.counts};
    for (size_t i = 0; i < MGN_COUNT(blocks); i++) mgn_free(blocks[i]);
    return status;
}
