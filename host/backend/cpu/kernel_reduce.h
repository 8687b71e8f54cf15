/* Sums and maxima of (outer, n, inner) over n; part of kernels.c.
 *
 * A sum adds 16 rows in a tree, column by column, which is one SIMD loop; each such sum goes to a compensated total in
 * double. So the error does not grow with n. Fewer than MGN_CPU_NARROW columns are seen as 16 times as many columns
 * and a sixteenth of the rows; sums along contiguous rows are the case of one column. */

enum { REDUCE_TILE = MGN_CPU_LANES * MGN_CPU_NARROW }; /* columns at a time */

/* A sum and the rounding errors made in it. */
static inline void total_add(double *high, double *low, double x) {
    double sum = *high + x, part = sum - *high;
    *low += (*high - (sum - part)) + (x - part);
    *high = sum;
}

/* Infinities make the error term NaN. */
static inline R total_value(double high, double low) { return (R)(low - low == 0 ? high + low : high); }

/* part[j] = x[j] + x[stride + j] + ... + x[15 stride + j]. */
static void sum_16_rows(const R *x, int64_t stride, int64_t width, R *part) {
    const R *x0 = x, *x1 = x + 4 * stride, *x2 = x + 8 * stride, *x3 = x + 12 * stride;
#pragma omp simd
    for (int64_t j = 0; j < width; j++) {
        R s0 = (x0[j] + x0[stride + j]) + (x0[2 * stride + j] + x0[3 * stride + j]);
        R s1 = (x1[j] + x1[stride + j]) + (x1[2 * stride + j] + x1[3 * stride + j]);
        R s2 = (x2[j] + x2[stride + j]) + (x2[2 * stride + j] + x2[3 * stride + j]);
        R s3 = (x3[j] + x3[stride + j]) + (x3[2 * stride + j] + x3[3 * stride + j]);
        part[j] = (s0 + s1) + (s2 + s3);
    }
}

/* Sum of x[0], x[stride], ..., x[15 stride]. */
static inline R fold_16(const R *x, int64_t stride) {
    R s[8];
    for (int j = 0; j < 8; j++) s[j] = x[j * stride] + x[(j + 8) * stride];
    return ((s[0] + s[4]) + (s[2] + s[6])) + ((s[1] + s[5]) + (s[3] + s[7]));
}

/* Adds `part`, one entry per column or 16 per column, to the totals. */
static void add_part(double *high, double *low, const R *part, int64_t columns, bool narrow) {
    if (narrow) {
        for (int64_t j = 0; j < columns; j++) total_add(high + j, low + j, (double)fold_16(part + j, columns));
    } else {
#pragma omp simd
        for (int64_t j = 0; j < columns; j++) total_add(high + j, low + j, (double)part[j]);
    }
}

/* part[j] = the sum of fewer than 16 rows, one after the other. */
static void sum_few_rows(const R *x, int64_t rows, int64_t stride, int64_t width, R *part) {
    memcpy(part, x, (size_t)width * sizeof(R));
    for (int64_t r = 1; r < rows; r++) {
#pragma omp simd
        for (int64_t j = 0; j < width; j++) part[j] += x[r * stride + j];
    }
}

/* Adds rows 0 .. n - 1 of x, `stride` apart, columns 0 .. columns - 1. Narrow: columns = stride < MGN_CPU_NARROW. */
static void sum_columns(const R *x, int64_t n, int64_t stride, int64_t columns, bool narrow, double *high,
                        double *low) {
    R part[REDUCE_TILE];
    int64_t group = narrow ? MGN_CPU_LANES : 1, wide = narrow ? columns * group : columns;
    int64_t step = stride * group, rows = n / group;
    for (; rows >= 16; rows -= 16, x += 16 * step) {
        sum_16_rows(x, step, wide, part);
        add_part(high, low, part, columns, narrow);
    }
    if (rows > 0) {
        sum_few_rows(x, rows, step, wide, part);
        add_part(high, low, part, columns, narrow);
        x += rows * step;
    }
    if (n % group) {
        sum_few_rows(x, n % group, stride, columns, part);
        add_part(high, low, part, columns, false);
    }
}

/* Short contiguous rows: many of them, so the count of terms is made a constant. */
#define SHORT_ROWS(terms)                                                \
    case terms:                                                          \
        for (int64_t i = 0; i < rows; i++) {                             \
            R sum = x[i * (terms)];                                      \
            for (int j = 1; j < (terms); j++) sum += x[i * (terms) + j]; \
            out[i] = sum;                                                \
        }                                                                \
        return true;

static bool sum_short_rows(const R *x, int64_t rows, int64_t n, R *out) {
    switch (n) {
        SHORT_ROWS(1)
        SHORT_ROWS(2)
        SHORT_ROWS(3)
        SHORT_ROWS(4)
        SHORT_ROWS(5)
        SHORT_ROWS(6)
        SHORT_ROWS(7)
        SHORT_ROWS(8)
        SHORT_ROWS(9)
        SHORT_ROWS(10)
        SHORT_ROWS(11)
        SHORT_ROWS(12)
        SHORT_ROWS(13)
        SHORT_ROWS(14)
        SHORT_ROWS(15)
        SHORT_ROWS(16)
    default: return false;
    }
}

/* A chunk is (outer items, part of n, columns): chunk = (outer chunk * parts + part) * column chunks + column chunk. */
typedef struct reduce_range {
    int64_t outer_begin, outer_end, part, begin, end, column_begin, column_end;
} reduce_range;

static reduce_range reduce_range_of(const mgn_cpu_task *task, int64_t chunk) {
    int64_t n = task->attributes.reduce.n, outer = task->attributes.reduce.outer, inner = task->attributes.reduce.inner;
    int64_t column_chunks = (inner + task->columns - 1) / task->columns;
    int64_t column_chunk = chunk % column_chunks, part = chunk / column_chunks % task->parts;
    int64_t outer_chunk = chunk / column_chunks / task->parts, rows = (n + task->parts - 1) / task->parts;
    /* Whole blocks of 256 rows, so that parts are cut where sums are. */
    rows = (rows + 255) / 256 * 256;
    reduce_range range = {.part = part, .begin = MGN_MIN(part * rows, n), .end = MGN_MIN((part + 1) * rows, n)};
    range.outer_begin = outer_chunk * task->chunk_size;
    range.outer_end = MGN_MIN(range.outer_begin + task->chunk_size, outer);
    range.column_begin = column_chunk * task->columns;
    range.column_end = MGN_MIN(range.column_begin + task->columns, inner);
    return range;
}

static void chunk_sum(const mgn_cpu_task *task, int64_t chunk) {
    reduce_range range = reduce_range_of(task, chunk);
    int64_t n = task->attributes.reduce.n, inner = task->attributes.reduce.inner;
    const R *x = task->in[0];
    R *out = task->out;
    int64_t count = range.outer_end - range.outer_begin;
    if (inner == 1 && task->parts == 1 &&
        sum_short_rows(x + range.outer_begin * n, count, n, out + range.outer_begin)) {
        return;
    }
    bool narrow = inner < MGN_CPU_NARROW;
    int64_t tile = narrow ? inner : REDUCE_TILE;
    for (int64_t o = range.outer_begin; o < range.outer_end; o++) {
        for (int64_t c = range.column_begin; c < range.column_end; c += tile) {
            double high[REDUCE_TILE], low[REDUCE_TILE];
            int64_t columns = MGN_MIN(tile, range.column_end - c);
            memset(high, 0, (size_t)columns * sizeof(double));
            memset(low, 0, (size_t)columns * sizeof(double));
            sum_columns(x + (o * n + range.begin) * inner + c, range.end - range.begin, inner, columns, narrow, high,
                        low);
            if (task->parts > 1) {
                double *partial = (double *)task->scratch + (o * task->parts + range.part) * 2 * inner + c;
                memcpy(partial, high, (size_t)columns * sizeof(double));
                memcpy(partial + inner, low, (size_t)columns * sizeof(double));
            } else {
                for (int64_t j = 0; j < columns; j++) out[o * inner + c + j] = total_value(high[j], low[j]);
            }
        }
    }
}

/* Adds the parts, each {high (inner), low (inner)}, in order. */
static void finish_sum(const mgn_cpu_task *task) {
    int64_t inner = task->attributes.reduce.inner;
    R *out = task->out;
    for (int64_t o = 0; task->parts > 1 && o < task->attributes.reduce.outer; o++) {
        const double *partial = (const double *)task->scratch + o * task->parts * 2 * inner;
        for (int64_t j = 0; j < inner; j++) {
            double high = 0, low = 0;
            for (int64_t p = 0; p < task->parts; p++) {
                total_add(&high, &low, partial[2 * p * inner + j]);
                low += partial[(2 * p + 1) * inner + j];
            }
            out[o * inner + j] = total_value(high, low);
        }
    }
}

/* ---- maxima; a NaN among the terms gives NaN, and no terms give -inf ---- */

static inline R larger(R a, R b) { return b > a || b != b ? b : a; }

static void max_columns(const R *x, int64_t n, int64_t stride, int64_t columns, R *best) {
    for (int64_t r = 0; r < n; r++) {
#pragma omp simd
        for (int64_t j = 0; j < columns; j++) best[j] = larger(best[j], x[r * stride + j]);
    }
}

/* 16 times the columns while there are enough rows. */
static void max_narrow(const R *x, int64_t n, int64_t columns, R *best) {
    R lanes[REDUCE_TILE];
    int64_t wide = columns * MGN_CPU_LANES, rows = n / MGN_CPU_LANES;
    if (rows > 1) {
        memcpy(lanes, x, (size_t)wide * sizeof(R));
        max_columns(x + wide, rows - 1, wide, wide, lanes);
        max_columns(lanes, MGN_CPU_LANES, columns, columns, best);
        x += rows * wide;
        n -= rows * MGN_CPU_LANES;
    }
    max_columns(x, n, columns, columns, best);
}

static void chunk_max(const mgn_cpu_task *task, int64_t chunk) {
    reduce_range range = reduce_range_of(task, chunk);
    int64_t n = task->attributes.reduce.n, inner = task->attributes.reduce.inner;
    const R *x = task->in[0];
    for (int64_t o = range.outer_begin; o < range.outer_end; o++) {
        R *best =
            task->parts > 1 ? (R *)task->scratch + (o * task->parts + range.part) * inner : (R *)task->out + o * inner;
        const R *from = x + (o * n + range.begin) * inner;
        for (int64_t j = range.column_begin; j < range.column_end; j++) best[j] = (R)-INFINITY;
        if (inner < MGN_CPU_NARROW) {
            max_narrow(from, range.end - range.begin, inner, best);
        } else {
            max_columns(from + range.column_begin, range.end - range.begin, inner,
                        range.column_end - range.column_begin, best + range.column_begin);
        }
    }
}

static void finish_max(const mgn_cpu_task *task) {
    int64_t inner = task->attributes.reduce.inner;
    for (int64_t o = 0; task->parts > 1 && o < task->attributes.reduce.outer; o++) {
        const R *partial = (const R *)task->scratch + o * task->parts * inner;
        R *out = (R *)task->out + o * inner;
        memcpy(out, partial, (size_t)inner * sizeof(R));
        max_columns(partial + inner, task->parts - 1, inner, inner, out);
    }
}
