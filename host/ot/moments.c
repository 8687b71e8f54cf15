/* Mean and covariance of many rows.
 *
 * Two passes over the data: the mean from differences to the first row, then the products of differences to the mean.
 * No digits are lost where the mean is far above the spread, and constant columns get a variance of exactly 0. With few
 * columns the rows of a block are turned feature-major, so that each product of columns is one SIMD loop in L1; with
 * many columns the products are a matrix product, which is BLAS's job. */
#include "ot/ot.h"

#include <cblas.h>
#include <math.h>
#include <string.h>

#include "core/parallel.h"

enum {
    FEW_COLUMNS = 32, /* above this BLAS is faster than pairs of columns */
    BLOCK_ROWS = 256, /* x FEW_COLUMNS doubles stay within L2, x 3 within L1 */
    TILE_ROWS = 512,
    TILE_COLUMNS = 128,
    PARALLEL_FROM = 1 << 16 /* elements below which starting threads costs more than it saves */
};

int mgn_threads_for(int64_t work) { return work < PARALLEL_FROM ? 1 : mgn_threads(); }

mgn_status mgn_check_rows(const char *what, const float *rows, int64_t n, int64_t d) {
    int64_t count;
    if (!rows) return mgn_fail(MGN_ERR_ARGUMENT, "%s: rows were expected, not NULL", what);
    if (n < 1 || d < 1 || __builtin_mul_overflow(n, d, &count) || count > INT64_MAX / 8)
        return mgn_fail(MGN_ERR_ARGUMENT, "%s: at least one row and one column were expected, not %lld x %lld", what,
                        (long long)n, (long long)d);
    return MGN_OK;
}

mgn_status mgn_check_order(const char *what, int64_t d) {
    if (d < 1 || d > 46340) /* d * d fits the 32-bit integers of LAPACK */
        return mgn_fail(MGN_ERR_ARGUMENT, "%s: a matrix of order 1 to 46340 was expected, not %lld", what,
                        (long long)d);
    return MGN_OK;
}

mgn_status mgn_check_finite(const char *what, const double *values, int64_t count) {
    for (int64_t i = 0; i < count; i++)
        if (!isfinite(values[i]))
            return mgn_fail(MGN_ERR_NUMERIC,
                            "%s: element %lld (counted from 0) of a mean or matrix is %g; finite numbers were expected",
                            what, (long long)i, values[i]);
    return MGN_OK;
}

void mgn_square_product(int64_t d, const double *a, const double *b, double *out) {
    const int order = (int)d;
    cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, order, order, order, 1, a, order, b, order, 0, out, order);
}

/* ---- first pass ---- */

static void sum_differences(const float *rows, int64_t first, int64_t last, int64_t d, const float *origin,
                            double *sum) {
    for (int64_t i = first; i < last; i++) {
        const float *row = rows + i * d;
        for (int64_t j = 0; j < d; j++) sum[j] += (double)row[j] - (double)origin[j];
    }
}

static mgn_status refuse_row(const float *rows, int64_t n, int64_t d) {
    for (int64_t i = 0; i < n * d; i++)
        if (!isfinite(rows[i]))
            return mgn_fail(
                MGN_ERR_NUMERIC,
                "moments: the value in row %lld, column %lld (counted from 0) is %g; finite rows were expected",
                (long long)(i / d), (long long)(i % d), (double)rows[i]);
    return mgn_fail(MGN_ERR_NUMERIC, "moments: the sums overflow");
}

/* Rows and what is summed of them; each chunk is one of `parts` parts. */
typedef struct row_sums {
    const float *rows;
    int64_t n, d, parts;
    const double *mean; /* NULL in the first pass */
    double *sums;       /* of each part */
} row_sums;

static void sum_part(void *context, int64_t p, int thread) {
    (void)thread;
    const row_sums *r = context;
    sum_differences(r->rows, mgn_part_start(r->n, p, r->parts), mgn_part_start(r->n, p + 1, r->parts), r->d, r->rows,
                    r->sums + p * r->d);
}

static mgn_status find_mean(const float *rows, int64_t n, int64_t d, double *mean) {
    const int64_t parts = MGN_MIN(n, MGN_SUM_PARTS);
    double *sums = mgn_alloc_aligned((size_t)parts * (size_t)d, sizeof *sums);
    if (!sums) return MGN_ERR_MEMORY;
    mgn_parallel(mgn_threads_for(n * d), parts, sum_part, &(row_sums){rows, n, d, parts, NULL, sums});
    bool finite = true;
    for (int64_t j = 0; j < d; j++) {
        double sum = 0;
        for (int64_t p = 0; p < parts; p++) sum += sums[p * d + j];
        mean[j] = (double)rows[j] + sum / (double)n;
        finite = finite && isfinite(mean[j]);
    }
    mgn_free(sums);
    return finite ? MGN_OK : refuse_row(rows, n, d);
}

/* ---- second pass ---- */

static double dot(const double *a, const double *b, int64_t count) {
    double lane[MGN_SUM_LANES] = {0}, rest = 0;
    int64_t i = 0;
    for (; i + MGN_SUM_LANES <= count; i += MGN_SUM_LANES)
        for (int k = 0; k < MGN_SUM_LANES; k++) lane[k] += a[i + k] * b[i + k];
    for (; i < count; i++) rest += a[i] * b[i];
    return mgn_add_lanes(lane) + rest;
}

/* Adds the lower triangle of the products of differences of these rows to `products` (d, d). */
static void add_products(const float *rows, int64_t count, int64_t d, const double *mean, double *products) {
    _Alignas(64) double block[FEW_COLUMNS * BLOCK_ROWS];
    for (int64_t j = 0; j < d; j++)
        for (int64_t i = 0; i < count; i++) block[j * BLOCK_ROWS + i] = (double)rows[i * d + j] - mean[j];
    for (int64_t j = 0; j < d; j++)
        for (int64_t k = 0; k <= j; k++)
            products[j * d + k] += dot(block + j * BLOCK_ROWS, block + k * BLOCK_ROWS, count);
}

static void products_part(void *context, int64_t p, int thread) {
    (void)thread;
    const row_sums *r = context;
    const int64_t blocks = (r->n + BLOCK_ROWS - 1) / BLOCK_ROWS, last = mgn_part_start(blocks, p + 1, r->parts);
    for (int64_t b = mgn_part_start(blocks, p, r->parts); b < last; b++) {
        const int64_t start = b * BLOCK_ROWS;
        add_products(r->rows + start * r->d, MGN_MIN(BLOCK_ROWS, r->n - start), r->d, r->mean,
                     r->sums + p * r->d * r->d);
    }
}

static mgn_status products_of_few(const float *rows, int64_t n, int64_t d, const double *mean, double *products) {
    const int64_t blocks = (n + BLOCK_ROWS - 1) / BLOCK_ROWS, parts = MGN_MIN(blocks, MGN_SUM_PARTS);
    double *sums = mgn_alloc_aligned((size_t)(parts * d * d), sizeof *sums);
    if (!sums) return MGN_ERR_MEMORY;
    mgn_parallel(mgn_threads_for(n * d), parts, products_part, &(row_sums){rows, n, d, parts, mean, sums});
    for (int64_t i = 0; i < d * d; i++)
        for (int64_t p = 0; p < parts; p++) products[i] += sums[p * d * d + i];
    mgn_free(sums);
    return MGN_OK;
}

/* Some rows of many columns, their differences to the mean, and the products (d, d) that these are added to. */
typedef struct wide_rows {
    const float *rows;
    int64_t count, d;
    const double *mean;
    double *block, *products;
} wide_rows;

static void subtract_mean(void *context, int64_t i, int thread) {
    (void)thread;
    const wide_rows *w = context;
    const float *row = w->rows + i * w->d;
    double *differences = w->block + i * w->d;
    for (int64_t j = 0; j < w->d; j++) differences[j] = (double)row[j] - w->mean[j];
}

/* Lower triangle tile by tile: each element is the same BLAS call's work whichever thread makes it. */
static void add_tile(void *context, int64_t pair, int thread) {
    (void)thread;
    const wide_rows *w = context;
    const int64_t d = w->d;
    int64_t row = 0, column = pair;
    while (column > row) column -= ++row;
    const int64_t i = row * TILE_COLUMNS, j = column * TILE_COLUMNS;
    cblas_dgemm(CblasRowMajor, CblasTrans, CblasNoTrans, (int)MGN_MIN(TILE_COLUMNS, d - i),
                (int)MGN_MIN(TILE_COLUMNS, d - j), (int)w->count, 1, w->block + i, (int)d, w->block + j, (int)d, 1,
                w->products + i * d + j, (int)d);
}

static mgn_status products_of_many(const float *rows, int64_t n, int64_t d, const double *mean, double *products) {
    const int64_t tiles = (d + TILE_COLUMNS - 1) / TILE_COLUMNS;
    double *block = mgn_alloc_aligned((size_t)TILE_ROWS * (size_t)d, sizeof *block);
    if (!block) return MGN_ERR_MEMORY;
    for (int64_t start = 0; start < n; start += TILE_ROWS) {
        wide_rows w = {rows + start * d, MGN_MIN(TILE_ROWS, n - start), d, mean, block, products};
        const int threads = mgn_threads_for(w.count * d);
        mgn_parallel(threads, w.count, subtract_mean, &w);
        mgn_parallel(threads, tiles * (tiles + 1) / 2, add_tile, &w);
    }
    mgn_free(block);
    return MGN_OK;
}

mgn_status mgn_moments(const float *rows, int64_t n, int64_t d, bool unbiased, double *mean, double *covariance) {
    MGN_TRY(mgn_check_rows("moments", rows, n, d));
    if (!mean) return mgn_fail(MGN_ERR_ARGUMENT, "moments: a place for the mean was expected, not NULL");
    if (covariance) MGN_TRY(mgn_check_order("moments", d));
    if (covariance && unbiased && n < 2)
        return mgn_fail(MGN_ERR_ARGUMENT, "moments: an unbiased covariance needs two rows or more, not one");
    double *centre = mgn_alloc((size_t)d, sizeof *centre);
    double *products = covariance ? mgn_alloc_aligned((size_t)(d * d), sizeof *products) : NULL;
    mgn_status status = !centre || (covariance && !products) ? MGN_ERR_MEMORY : MGN_OK;
    if (status == MGN_OK) status = find_mean(rows, n, d, centre);
    if (status == MGN_OK && covariance)
        status = (d <= FEW_COLUMNS ? products_of_few : products_of_many)(rows, n, d, centre, products);
    if (status == MGN_OK) {
        const double divisor = (double)(unbiased ? n - 1 : n);
        memcpy(mean, centre, (size_t)d * sizeof *mean);
        for (int64_t j = 0; covariance && j < d; j++)
            for (int64_t k = 0; k <= j; k++)
                covariance[j * d + k] = covariance[k * d + j] = products[j * d + k] / divisor;
    }
    mgn_free(products);
    mgn_free(centre);
    return status;
}

/* ---- total variance ---- */

static double squared_distances(const float *rows, int64_t count, int64_t d, const double *mean) {
    double sum = 0;
    for (int64_t i = 0; i < count; i++)
        for (int64_t j = 0; j < d; j++) {
            const double difference = (double)rows[i * d + j] - mean[j];
            sum += difference * difference;
        }
    return sum;
}

static void distances_part(void *context, int64_t p, int thread) {
    (void)thread;
    const row_sums *r = context;
    const int64_t first = mgn_part_start(r->n, p, r->parts), last = mgn_part_start(r->n, p + 1, r->parts);
    r->sums[p] = squared_distances(r->rows + first * r->d, last - first, r->d, r->mean);
}

mgn_status mgn_total_variance(const float *rows, int64_t n, int64_t d, double *variance) {
    MGN_TRY(mgn_check_rows("total variance", rows, n, d));
    if (!variance) return mgn_fail(MGN_ERR_ARGUMENT, "total variance: a place for the result was expected, not NULL");
    double *mean = mgn_alloc((size_t)d, sizeof *mean);
    if (!mean) return MGN_ERR_MEMORY;
    const mgn_status status = find_mean(rows, n, d, mean);
    if (status == MGN_OK) {
        double sums[MGN_SUM_PARTS] = {0}, sum = 0;
        const int64_t parts = MGN_MIN(n, MGN_SUM_PARTS);
        mgn_parallel(mgn_threads_for(n * d), parts, distances_part, &(row_sums){rows, n, d, parts, mean, sums});
        for (int64_t p = 0; p < parts; p++) sum += sums[p];
        *variance = sum / (double)n;
    }
    mgn_free(mean);
    return status;
}
