/* The squared sliced 2-Wasserstein distance of two clouds.
 *
 * Both clouds are centred and stored feature-major once, so that a projection is a few SIMD passes. Each direction is
 * one thread's work from projection to integral: project, sort by radix (three passes of 11 bits over the float's bits
 * in an order-preserving form: linear in the points, no comparisons), walk both sorted lists. The directions' values
 * are stored and added in order, so the thread count cannot show. */
#include "ot/ot.h"

#include <math.h>
#include <string.h>

#include "core/parallel.h"
#include "core/random.h"

enum {
    RADIX_BITS = 11,
    RADIX_BINS = 1 << RADIX_BITS,
    RADIX_PASSES = 3, /* 33 bits cover the 32 of a float */
    PROJECT_BLOCK = 512,
    CENTRED_ROWS = 1024, /* of a chunk */
    STREAM = 0x736c6963  /* sets these random numbers apart from others under the same seed */
};

typedef struct cloud {
    float *features; /* (d, n), centred */
    int64_t n;
} cloud;

/* ---- directions ---- */

/* `count` unit vectors (count, d). */
static void make_directions(uint64_t seed, int64_t count, int64_t d, double *directions) {
    for (int64_t k = 0; k < count; k++) {
        double *u = directions + k * d, squares = 0;
        for (int64_t j = 0; j < d; j++) {
            u[j] = mgn_host_normal(seed, STREAM, (uint64_t)(k * d + j));
            squares += u[j] * u[j];
        }
        const double norm = sqrt(squares);
        if (!(norm > 0)) u[0] = 1; /* all normals 0: possible in principle */
        for (int64_t j = 0; norm > 0 && j < d; j++) u[j] /= norm;
    }
}

/* ---- one direction ---- */

/* Floats as integers of the same order: positive ones get the sign bit set, negative ones are inverted. */
static uint32_t to_key(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits ^ ((0u - (bits >> 31)) | 0x80000000u);
}

static float from_key(uint32_t key) {
    const uint32_t bits = key ^ (((key >> 31) - 1) | 0x80000000u);
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static void project(const cloud *c, int64_t d, const double *u, uint32_t *keys) {
    for (int64_t start = 0; start < c->n; start += PROJECT_BLOCK) {
        const int64_t count = MGN_MIN(PROJECT_BLOCK, c->n - start);
        double sum[PROJECT_BLOCK] = {0};
        for (int64_t j = 0; j < d; j++) {
            const float *feature = c->features + j * c->n + start;
            for (int64_t i = 0; i < count; i++) sum[i] += u[j] * (double)feature[i];
        }
        for (int64_t i = 0; i < count; i++) keys[start + i] = to_key((float)sum[i]);
    }
}

/* Sorts by least significant digits first; an odd number of passes leaves the result in `sorted`. */
static void radix_sort(uint32_t *keys, uint32_t *sorted, int64_t n) {
    uint32_t start[RADIX_PASSES][RADIX_BINS] = {{0}};
    for (int64_t i = 0; i < n; i++)
        for (int pass = 0; pass < RADIX_PASSES; pass++)
            start[pass][keys[i] >> (pass * RADIX_BITS) & (RADIX_BINS - 1)]++;
    for (int pass = 0; pass < RADIX_PASSES; pass++) {
        uint32_t at = 0;
        for (int bin = 0; bin < RADIX_BINS; bin++) {
            const uint32_t count = start[pass][bin];
            start[pass][bin] = at;
            at += count;
        }
        for (int64_t i = 0; i < n; i++)
            sorted[start[pass][keys[i] >> (pass * RADIX_BITS) & (RADIX_BINS - 1)]++] = keys[i];
        uint32_t *swap = keys;
        keys = sorted;
        sorted = swap;
    }
}

/* Integral of the squared difference of both quantile functions. Time runs in units of 1 / (n m): x steps every m
 * units, y every n, both in whole numbers, so that no step is missed or doubled. */
static double integrate(const uint32_t *x, int64_t n, const uint32_t *y, int64_t m) {
    double sum = 0;
    if (n == m) {
        for (int64_t i = 0; i < n; i++) {
            const double difference = (double)from_key(x[i]) - (double)from_key(y[i]);
            sum += difference * difference;
        }
        return sum / (double)n;
    }
    const int64_t end = n * m;
    int64_t now = 0, x_until = m, y_until = n, i = 0, j = 0;
    while (now < end) {
        const int64_t until = MGN_MIN(x_until, y_until);
        const double difference = (double)from_key(x[i]) - (double)from_key(y[j]);
        sum += (double)(until - now) * (difference * difference);
        now = until;
        if (x_until == now) {
            x_until += m;
            i++;
        }
        if (y_until == now) {
            y_until += n;
            j++;
        }
    }
    return sum / (double)end;
}

/* `keys` has room for 2 (n + m). */
static double one_direction(const cloud *x, const cloud *y, int64_t d, const double *u, uint32_t *keys) {
    uint32_t *sorted_x = keys + x->n, *keys_y = sorted_x + x->n, *sorted_y = keys_y + y->n;
    project(x, d, u, keys);
    radix_sort(keys, sorted_x, x->n);
    project(y, d, u, keys_y);
    radix_sort(keys_y, sorted_y, y->n);
    return integrate(sorted_x, x->n, sorted_y, y->n);
}

/* ---- all of them ---- */

typedef struct centring {
    const float *rows;
    int64_t d;
    const double *centre;
    const cloud *cloud;
} centring;

static void centre_rows(void *context, int64_t chunk, int thread) {
    (void)thread;
    const centring *c = context;
    const int64_t n = c->cloud->n, d = c->d, last = MGN_MIN((chunk + 1) * CENTRED_ROWS, n);
    for (int64_t i = chunk * CENTRED_ROWS; i < last; i++)
        for (int64_t j = 0; j < d; j++)
            c->cloud->features[j * n + i] = (float)((double)c->rows[i * d + j] - c->centre[j]);
}

static void store_centred(const float *rows, int64_t d, const double *centre, const cloud *c) {
    mgn_parallel(mgn_threads_for(c->n * d), (c->n + CENTRED_ROWS - 1) / CENTRED_ROWS, centre_rows,
                 &(centring){rows, d, centre, c});
}

/* The middle between both means: what the projections are taken from, so that a common offset costs no digits. */
static mgn_status find_centre(const float *x, int64_t n, const float *y, int64_t m, int64_t d, double *centre,
                              double *other) {
    MGN_TRY(mgn_moments(x, n, d, false, centre, NULL));
    MGN_TRY(mgn_moments(y, m, d, false, other, NULL));
    for (int64_t j = 0; j < d; j++) centre[j] = 0.5 * (centre[j] + other[j]);
    return MGN_OK;
}

typedef struct direction_job {
    const cloud *x, *y;
    int64_t d;
    const double *u;
    uint32_t *keys; /* room for the projections of each thread */
    double *each;
} direction_job;

static void direction_chunk(void *context, int64_t k, int thread) {
    const direction_job *job = context;
    if (mgn_interrupted()) return;
    uint32_t *keys = job->keys + 2 * (size_t)(job->x->n + job->y->n) * (size_t)thread;
    job->each[k] = one_direction(job->x, job->y, job->d, job->u + k * job->d, keys);
}

static mgn_status average(const cloud *x, const cloud *y, int64_t d, const double *u, int64_t directions, double *each,
                          double *squared) {
    const int threads = (int)MGN_MIN((int64_t)mgn_threads_for((x->n + y->n) * directions), directions);
    uint32_t *keys = mgn_alloc_aligned((size_t)threads * 2 * (size_t)(x->n + y->n), sizeof *keys);
    if (!keys) return MGN_ERR_MEMORY;
    mgn_parallel(threads, directions, direction_chunk, &(direction_job){x, y, d, u, keys, each});
    mgn_free(keys);
    if (mgn_interrupted()) return mgn_fail(MGN_ERR_INTERRUPTED, "sliced distance: stopped on request");
    double sum = 0;
    for (int64_t k = 0; k < directions; k++) sum += each[k];
    if (!isfinite(sum)) return mgn_fail(MGN_ERR_NUMERIC, "sliced distance: the projections overflow single precision");
    *squared = sum / (double)directions;
    return MGN_OK;
}

mgn_status mgn_sliced_w2(const float *x, int64_t n, const float *y, int64_t m, int64_t d, int64_t directions,
                         uint64_t seed, double *squared) {
    MGN_TRY(mgn_check_rows("sliced distance", x, n, d));
    MGN_TRY(mgn_check_rows("sliced distance", y, m, d));
    if (!squared) return mgn_fail(MGN_ERR_ARGUMENT, "sliced distance: a place for the result was expected, not NULL");
    int64_t numbers;
    if (n > INT32_MAX || m > INT32_MAX)
        return mgn_fail(MGN_ERR_ARGUMENT,
                        "sliced distance: clouds of at most %d points were expected, not %lld and %lld", INT32_MAX,
                        (long long)n, (long long)m);
    if (directions < 1 || __builtin_mul_overflow(directions, d + 2, &numbers) || numbers > INT64_MAX / 16)
        return mgn_fail(MGN_ERR_ARGUMENT, "sliced distance: one direction or more was expected, not %lld",
                        (long long)directions);
    if (d == 1) directions = 1;
    /* Directions, one value for each, and two means; both clouds in one block. */
    double *work = mgn_alloc_aligned((size_t)(directions * (d + 1) + 2 * d), sizeof *work);
    float *features = work ? mgn_alloc_aligned((size_t)(n + m), (size_t)d * sizeof *features) : NULL;
    mgn_status status = features ? MGN_OK : MGN_ERR_MEMORY;
    if (status == MGN_OK) {
        double *u = work, *each = u + directions * d, *centre = each + directions;
        cloud a = {features, n}, b = {features + n * d, m};
        status = find_centre(x, n, y, m, d, centre, centre + d);
        if (status == MGN_OK) {
            make_directions(seed, directions, d, u);
            store_centred(x, d, centre, &a);
            store_centred(y, d, centre, &b);
            status = average(&a, &b, d, u, directions, each, squared);
        }
    }
    mgn_free(features);
    mgn_free(work);
    return status;
}
