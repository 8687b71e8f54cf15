/* Scans of all columns for one row, and the short lists that most of the work looks at instead.
 *
 * Costs are made from the coordinates when they are needed: 4096 columns in three dimensions take about a microsecond,
 * less than reading them from memory would. With many dimensions they are made once, if there is room. A list holds the columns that the row pays least for. Its threshold is the
 * k-th smallest of the blocks' least payments, which at least k columns do not exceed and, the columns being shuffled, few
 * more. */
#include "ot/assignment.h"

#include <math.h>
#include <string.h>

#include "core/parallel.h"

enum { BLOCK = MGN_LAP_BLOCK, HALF = BLOCK / 2, LIST = MGN_LAP_LIST, PART_ROWS = 32 };

/* Elements of a scan from which two threads are faster than one. */
static const int64_t shared_from = 1 << 18;

/* ---- scanning ---- */

typedef double lanes __attribute__((vector_size(HALF * sizeof(double))));

#define INLINE static inline __attribute__((always_inline))

/* Vectors and not arrays: the sums stay in registers whatever the compiler makes of the loop over d. */
INLINE void scan_blocks(const double *x, const double *y, int64_t d, const double *price, int64_t first, int64_t last,
                        double *out, double *least) {
    for (int64_t b = first; b < last; b++) {
        const lanes *column = (const lanes *)(y + b * d * BLOCK), *paid = (const lanes *)(price + b * BLOCK);
        lanes low = {0}, high = {0};
        for (int64_t k = 0; k < d; k++) {
            const lanes e = x[k] - column[2 * k], f = x[k] - column[2 * k + 1];
            low += e * e;
            high += f * f;
        }
        ((lanes *)(out + b * BLOCK))[0] = low - paid[0];
        ((lanes *)(out + b * BLOCK))[1] = high - paid[1];
        double smallest = INFINITY;
#pragma omp simd reduction(min : smallest)
        for (int j = 0; j < BLOCK; j++) smallest = out[b * BLOCK + j] < smallest ? out[b * BLOCK + j] : smallest;
        least[b] = smallest;
    }
}

/* The dimensions that matter most get loops without a counter. */
INLINE void scan_any(const double *x, const double *y, int64_t d, const double *price, int64_t first, int64_t last,
                     double *out, double *least) {
    switch (d) {
    case 1: scan_blocks(x, y, 1, price, first, last, out, least); break;
    case 2: scan_blocks(x, y, 2, price, first, last, out, least); break;
    case 3: scan_blocks(x, y, 3, price, first, last, out, least); break;
    default: scan_blocks(x, y, d, price, first, last, out, least);
    }
}

/* The same from costs that are known. */
static void subtract(const double *cost, const double *price, int64_t first, int64_t last, double *out, double *least) {
    for (int64_t b = first; b < last; b++) {
        double smallest = INFINITY;
#pragma omp simd reduction(min : smallest)
        for (int64_t j = b * BLOCK; j < (b + 1) * BLOCK; j++) {
            out[j] = cost[j] - price[j];
            smallest = out[j] < smallest ? out[j] : smallest;
        }
        least[b] = smallest;
    }
}

#if defined(__x86_64__)
__attribute__((target("avx512f,avx512dq,avx512vl"))) static void scan_avx512(const double *x, const double *y,
                                                                             int64_t d, const double *price,
                                                                             int64_t first, int64_t last, double *out,
                                                                             double *least) {
    scan_any(x, y, d, price, first, last, out, least);
}

__attribute__((target("avx2"))) static void scan_avx2(const double *x, const double *y, int64_t d, const double *price,
                                                      int64_t first, int64_t last, double *out, double *least) {
    scan_any(x, y, d, price, first, last, out, least);
}
#endif

void mgn_lap_scan(const mgn_lap *lap, int64_t row, const double *price, int64_t first, int64_t last, double *out,
                  double *least) {
    const double *x = lap->x + row * lap->d;
    if (lap->costs) {
        subtract(lap->costs + row * lap->payment_stride, price, first, last, out, least);
        return;
    }
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl")) {
        scan_avx512(x, lap->y, lap->d, price, first, last, out, least);
        return;
    }
    if (__builtin_cpu_supports("avx2")) {
        scan_avx2(x, lap->y, lap->d, price, first, last, out, least);
        return;
    }
#endif
    scan_any(x, lap->y, lap->d, price, first, last, out, least);
}

/* ---- choosing ---- */

/* The value that `rank` others (from 0) precede when sorted; reorders `values`. */
static double nth_smallest(double *values, int64_t count, int64_t rank) {
    int64_t low = 0, high = count - 1;
    while (low < high) {
        const double pivot = values[low + (high - low) / 2];
        int64_t i = low, j = high;
        while (i <= j) {
            while (values[i] < pivot) i++;
            while (values[j] > pivot) j--;
            if (i > j) break;
            const double swap = values[i];
            values[i++] = values[j];
            values[j--] = swap;
        }
        if (rank <= j)
            high = j;
        else if (rank >= i)
            low = i;
        else
            break;
    }
    return values[rank];
}

double mgn_lap_threshold(const mgn_lap *lap, int thread, int64_t wanted) {
    if (lap->blocks < wanted) return INFINITY;
    double *sorted = lap->sorted + thread * lap->payment_stride;
    memcpy(sorted, lap->least + thread * lap->payment_stride, (size_t)lap->blocks * sizeof *sorted);
    return nth_smallest(sorted, lap->blocks, wanted - 1);
}

/* Rows begin at different columns: where many columns are equally near, the lists still differ. */
static int64_t first_column(const mgn_lap *lap, int64_t row) { return row * 7919 % lap->columns; }

static void add_equal_or_less(mgn_lap *lap, int64_t row, const double *payment, double limit, bool is_equal) {
    const int64_t start = first_column(lap, row);
    int32_t *column = lap->list_column + row * LIST, count = lap->count[row];
    double *cost = lap->list_cost + row * LIST;
    for (int64_t k = 0; k < lap->columns && count < LIST; k++) {
        const int64_t j = start + k < lap->columns ? start + k : start + k - lap->columns;
        if (is_equal ? payment[j] != limit : !(payment[j] < limit)) continue;
        column[count] = (int32_t)j;
        cost[count++] = payment[j] + lap->price[j];
    }
    lap->count[row] = count;
}

/* Few blocks, or many equal payments: the smallest MGN_LAP_NEAR exactly, and as many of those equal to the last as
 * there is room for. */
static void choose_exactly(mgn_lap *lap, int64_t row, int thread) {
    const double *payment = lap->payment + thread * lap->payment_stride;
    double limit = INFINITY;
    if (lap->columns > LIST) {
        double *sorted = lap->sorted + thread * lap->payment_stride;
        memcpy(sorted, payment, (size_t)lap->columns * sizeof *sorted);
        limit = nth_smallest(sorted, lap->columns, MGN_LAP_NEAR);
    }
    lap->count[row] = 0;
    add_equal_or_less(lap, row, payment, limit, false);
    add_equal_or_less(lap, row, payment, limit, true);
    lap->bound[row] = limit;
}

/* Columns that pay `limit` or less; false when the list cannot hold them. */
static bool choose_below(mgn_lap *lap, int64_t row, int thread, double limit) {
    const double *payment = lap->payment + thread * lap->payment_stride;
    const double *least = lap->least + thread * lap->payment_stride;
    int32_t *column = lap->list_column + row * LIST, count = 0;
    double *cost = lap->list_cost + row * LIST;
    for (int64_t b = 0; b < lap->blocks; b++) {
        if (!(least[b] <= limit)) continue;
        for (int64_t j = b * BLOCK; j < (b + 1) * BLOCK; j++) {
            if (!(payment[j] <= limit)) continue;
            if (count == LIST) return false;
            column[count] = (int32_t)j;
            cost[count++] = payment[j] + lap->price[j];
        }
    }
    lap->count[row] = count;
    lap->bound[row] = limit;
    return true;
}

static void choose(mgn_lap *lap, int64_t row, int thread) {
    const double limit = mgn_lap_threshold(lap, thread, MGN_LAP_NEAR);
    if (isfinite(limit) && choose_below(lap, row, thread, limit)) return;
    choose_exactly(lap, row, thread);
}

/* ---- lists ---- */

typedef struct shared_scan {
    const mgn_lap *lap;
    int64_t row;
} shared_scan;

enum { SCAN_PARTS = 8 };

static void scan_part(void *context, int64_t part, int thread) {
    (void)thread;
    const shared_scan *s = context;
    const int64_t blocks = s->lap->blocks;
    mgn_lap_scan(s->lap, s->row, s->lap->price, blocks * part / SCAN_PARTS, blocks * (part + 1) / SCAN_PARTS,
                 s->lap->payment, s->lap->least);
}

void mgn_lap_pay(mgn_lap *lap, int64_t row) {
    if (!lap->costs && lap->columns * lap->d >= shared_from)
        mgn_parallel(lap->threads, SCAN_PARTS, scan_part, &(shared_scan){lap, row});
    else
        mgn_lap_scan(lap, row, lap->price, 0, lap->blocks, lap->payment, lap->least);
}

void mgn_lap_list(mgn_lap *lap, int64_t row) {
    mgn_lap_pay(lap, row);
    choose(lap, row, 0);
}

static void list_part(void *context, int64_t part, int thread) {
    mgn_lap *lap = context;
    const int64_t set = thread * lap->payment_stride, end = MGN_MIN((part + 1) * PART_ROWS, lap->n);
    for (int64_t row = part * PART_ROWS; row < end; row++) {
        mgn_lap_scan(lap, row, lap->price, 0, lap->blocks, lap->payment + set, lap->least + set);
        choose(lap, row, thread);
    }
}

void mgn_lap_list_all(mgn_lap *lap) {
    mgn_parallel(lap->threads, (lap->n + PART_ROWS - 1) / PART_ROWS, list_part, lap);
}

mgn_lap_offer mgn_lap_best(mgn_lap *lap, int64_t row) {
    for (bool is_new = false;; is_new = true) {
        const int32_t *column = lap->list_column + row * LIST, count = lap->count[row];
        const double *cost = lap->list_cost + row * LIST;
        mgn_lap_offer offer = {INFINITY, INFINITY, 0};
        for (int32_t k = 0; k < count; k++) {
            const double payment = cost[k] - lap->price[column[k]];
            if (payment < offer.best)
                offer = (mgn_lap_offer){payment, offer.best, k};
            else if (payment < offer.second)
                offer.second = payment;
        }
        if (offer.second <= lap->bound[row]) return offer;
        if (is_new) { /* a list of a single column cannot name the second */
            offer.second = lap->bound[row];
            return offer;
        }
        mgn_lap_list(lap, row);
    }
}
