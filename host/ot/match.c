/* Clouds matched by an optimal assignment: pairs that a map between them can be learned from by least squares.
 *
 * A few hundred points of few dimensions are matched fastest with all their costs in a table: prices start as each
 * column's least cost, which assigns most rows at once, and every row left is assigned by a shortest augmenting path
 * (Jonker and Volgenant). What is large goes the way of mgn_assignment_w2, which makes no table. */
#include <math.h>
#include <string.h>

#include "ot/ot.h"

enum { MOST_IN_TABLE = 1024, LANES = 16 };

typedef float lanes __attribute__((vector_size(LANES * sizeof(float))));
typedef int32_t places __attribute__((vector_size(LANES * sizeof(int32_t))));

#define INLINE static inline __attribute__((always_inline))

/* Rows are filled up to whole vectors by columns that are infinitely far. */
typedef struct table {
    int64_t n, stride;
    float *cost;               /* (n, stride): of row i and column j */
    float *price, *way, *shut; /* of columns; `shut`: infinite where the search has been, else 0 */
    int32_t *from;             /* the row before a column on the shortest way there */
    int32_t *row_of, *column_of;
} table;

static mgn_status open_table(table *t, int64_t n) {
    t->n = n;
    t->stride = (n + LANES - 1) / LANES * LANES;
    t->cost = mgn_alloc_aligned((size_t)((n + 3) * t->stride), sizeof *t->cost);
    t->from = mgn_alloc_aligned((size_t)(3 * t->stride), sizeof *t->from);
    if (!t->cost || !t->from) return MGN_ERR_MEMORY;
    t->price = t->cost + n * t->stride;
    t->way = t->price + t->stride;
    t->shut = t->way + t->stride;
    t->row_of = t->from + t->stride;
    t->column_of = t->row_of + t->stride;
    return MGN_OK;
}

static void close_table(table *t) {
    mgn_free(t->cost);
    mgn_free(t->from);
}

static void fill_costs(const float *x, const float *y, int64_t d, table *t) {
    for (int64_t i = 0; i < t->n; i++)
        for (int64_t j = 0; j < t->stride; j++) {
            float sum = j < t->n ? 0 : INFINITY;
            for (int64_t k = 0; k < d && j < t->n; k++) {
                const float e = x[d * i + k] - y[d * j + k];
                sum += e * e;
            }
            t->cost[i * t->stride + j] = sum;
        }
}

/* Every column's least cost is its price, and its row takes it when it is still free. */
static void reduce_columns(table *t) {
    int32_t *best = t->from;
    memset(best, 0, (size_t)t->n * sizeof *best);
    memset(t->price, 0, (size_t)t->stride * sizeof *t->price);
    memcpy(t->price, t->cost, (size_t)t->n * sizeof *t->price);
    for (int64_t i = 0; i < t->n; i++) {
        const float *cost = t->cost + i * t->stride;
        t->column_of[i] = t->row_of[i] = -1;
        for (int64_t j = 0; j < t->n; j++)
            if (cost[j] < t->price[j]) {
                t->price[j] = cost[j];
                best[j] = (int32_t)i;
            }
    }
    for (int64_t j = 0; j < t->n; j++) {
        if (t->column_of[best[j]] >= 0) continue;
        t->column_of[best[j]] = (int32_t)j;
        t->row_of[j] = best[j];
    }
}

#define CHOOSE(mask, a, b) (((places)(a) & (mask)) | ((places)(b) & ~(mask)))

/* Ways through `row`, `base` longer than its reduced costs, where they are shorter; returns the nearest open column, or
 * -1 when none is at a finite distance. */
INLINE int64_t extend_vectors(table *t, int32_t row, float base) {
    const lanes *cost = (const lanes *)(t->cost + row * t->stride), *price = (const lanes *)t->price;
    const lanes *shut = (const lanes *)t->shut;
    lanes *way = (lanes *)t->way, least = (lanes){0} + INFINITY;
    places *from = (places *)t->from, where = {0};
    for (int32_t b = 0; b < t->stride / LANES; b++) {
        const lanes length = base + (cost[b] - price[b]) + shut[b];
        const places shorter = length < way[b], mine = (places){0} + row, block = (places){0} + b;
        way[b] = (lanes)CHOOSE(shorter, length, way[b]);
        from[b] = CHOOSE(shorter, mine, from[b]);
        const lanes open = way[b] + shut[b];
        const places nearer = open < least;
        least = (lanes)CHOOSE(nearer, open, least);
        where = CHOOSE(nearer, block, where);
    }
    int best = 0;
    for (int k = 1; k < LANES; k++)
        if (least[k] < least[best]) best = k;
    return least[best] < INFINITY ? (int64_t)where[best] * LANES + best : -1;
}

#if defined(__x86_64__)
__attribute__((target("avx512f,avx512dq,avx512vl"))) static int64_t extend_avx512(table *t, int32_t row, float base) {
    return extend_vectors(t, row, base);
}

__attribute__((target("avx2"))) static int64_t extend_avx2(table *t, int32_t row, float base) {
    return extend_vectors(t, row, base);
}
#endif

static int64_t extend(table *t, int32_t row, float base) {
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"))
        return extend_avx512(t, row, base);
    if (__builtin_cpu_supports("avx2")) return extend_avx2(t, row, base);
#endif
    return extend_vectors(t, row, base);
}

/* The shortest way from a free row to a free column; prices of the columns on the way fall by what they are nearer. */
static bool augment(table *t, int32_t row) {
    for (int64_t j = 0; j < t->stride; j++) {
        t->way[j] = INFINITY;
        t->shut[j] = 0;
    }
    int64_t end = extend(t, row, 0);
    while (end >= 0 && t->row_of[end] >= 0) {
        const int32_t through = t->row_of[end];
        t->shut[end] = INFINITY;
        end = extend(t, through, t->way[end] - (t->cost[through * t->stride + end] - t->price[end]));
    }
    if (end < 0) return false;
    for (int64_t j = 0; j < t->n; j++)
        if (t->shut[j] > 0) t->price[j] += t->way[j] - t->way[end];
    for (int64_t column = end; column >= 0;) {
        const int32_t taker = t->from[column], next = t->column_of[taker];
        t->row_of[column] = taker;
        t->column_of[taker] = (int32_t)column;
        column = taker == row ? -1 : next;
    }
    return true;
}

static mgn_status match_in_table(const float *x, const float *y, int64_t n, int64_t d, int64_t *permutation) {
    table t = {0};
    mgn_status status = open_table(&t, n);
    if (status == MGN_OK) {
        fill_costs(x, y, d, &t);
        reduce_columns(&t);
    }
    for (int32_t i = 0; i < n && status == MGN_OK; i++)
        if (t.column_of[i] < 0 && !augment(&t, i))
            status = mgn_fail(MGN_ERR_NUMERIC, "the points to be matched are not finite, or too far apart");
    for (int64_t i = 0; i < n && status == MGN_OK; i++) permutation[i] = t.column_of[i];
    close_table(&t);
    return status;
}

mgn_status mgn_match_rows(const float *x, float *y, int64_t n, int64_t d) {
    double squared;
    int64_t *permutation = mgn_alloc((size_t)n, sizeof *permutation);
    float *copy = mgn_alloc((size_t)n, (size_t)d * sizeof *copy);
    mgn_status status = permutation && copy ? MGN_OK : MGN_ERR_MEMORY;
    if (status == MGN_OK)
        status = n <= MOST_IN_TABLE ? match_in_table(x, y, n, d, permutation)
                                    : mgn_assignment_w2(x, y, n, d, permutation, &squared);
    if (status == MGN_OK) {
        memcpy(copy, y, (size_t)(n * d) * sizeof *y);
        for (int64_t i = 0; i < n; i++) memcpy(y + d * i, copy + d * permutation[i], (size_t)d * sizeof *y);
    }
    mgn_free(permutation);
    mgn_free(copy);
    return status;
}
