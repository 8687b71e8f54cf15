/* Wide programs (wide.h); part of kernels.c. */

static row_function *const wide_functions[MGN_OP_COUNT] = {
#define MGN_UNARY(op, ...) [MGN_OP_##op] = row_##op,
#define MGN_BINARY(op, ...) [MGN_OP_##op] = row_##op,
#define MGN_TERNARY(op, ...) [MGN_OP_##op] = row_##op,
#include "graph/ops.def"
};

/* The logistic function is most of a cascade's work, and its division most of the function's: 16 cycles for a vector of 16.
 * With AVX-512 an approximate reciprocal of 14 bits and one step of Newton's take three; errors are below 2.5 units in the
 * last place as well. s(x) = (x < 0 ? e : 1) / (1 + e), e = exp(-|x|). */
#if defined(__AVX512F__) && !defined(MGN_REAL_IS_DOUBLE)
#include <immintrin.h>

static inline __m512 logistic_512(__m512 x) {
    const __m512 round = _mm512_set1_ps(M_ROUND), one = _mm512_set1_ps(1);
    /* -|x|, bounded; NaN stays NaN */
    const __m512 t = _mm512_max_ps(_mm512_set1_ps(-104), _mm512_or_ps(x, _mm512_set1_ps(-0.0f)));
    const __m512 n = _mm512_sub_ps(_mm512_fmadd_ps(t, _mm512_set1_ps(1.44269504f), round), round);
    __m512 r = _mm512_fnmadd_ps(n, _mm512_set1_ps(M_LN2_HIGH), t);
    r = _mm512_fnmadd_ps(n, _mm512_set1_ps(M_LN2_LOW), r);
    __m512 p = _mm512_set1_ps(1.38642231e-3f); /* e^r - 1, as in mgn_math.h */
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(8.36654194e-3f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(4.16675061e-2f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.66665435e-1f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(4.99999970e-1f));
    p = _mm512_fmadd_ps(_mm512_mul_ps(r, r), p, r);
    const __m512 e = _mm512_scalef_ps(_mm512_add_ps(one, p), n), y = _mm512_add_ps(one, e);
    const __m512 guess = _mm512_rcp14_ps(y);
    const __m512 reciprocal = _mm512_fmadd_ps(_mm512_fnmadd_ps(y, guess, one), guess, guess);
    return _mm512_mask_mul_ps(reciprocal, _mm512_cmp_ps_mask(x, _mm512_setzero_ps(), _CMP_LT_OQ), reciprocal, e);
}

static void wide_logistic(R *out, const R *const *in, unsigned moving, int64_t n) {
    if (!moving) {
        row_logistic(out, in, moving, n);
        return;
    }
    for (int64_t i = 0; i < n; i += 16) {
        const __mmask16 some = (__mmask16)(n - i >= 16 ? 0xffff : (1 << (n - i)) - 1);
        _mm512_mask_storeu_ps(out + i, some, logistic_512(_mm512_maskz_loadu_ps(some, in[0] + i)));
    }
}
#else
#define wide_logistic row_logistic
#endif

/* Where a thread is: a tile, and the first element of every operand's part of it: by step the result's, then the inputs'. */
typedef struct wide_tile {
    int64_t first_row, row, rows, column, columns; /* first_row: of the chunk */
    R **places;
} wide_tile;

enum { WIDE_PLACES = 1 + MGN_MAX_INPUTS };

static R *wide_place(const mgn_cpu_wide *w, const wide_tile *t, const mgn_cpu_wide_operand *operand,
                     unsigned char *slots) {
    if (!operand->base) return (R *)(void *)(slots + (size_t)operand->slot * w->slot_bytes);
    return (R *)operand->base + t->row * operand->row_stride + t->column * operand->step;
}

static void wide_find_places(const mgn_cpu_wide *w, wide_tile *t, unsigned char *slots) {
    for (int32_t i = 0; i < w->count; i++) {
        const mgn_cpu_wide_step *step = &w->steps[i];
        t->places[i * WIDE_PLACES] = wide_place(w, t, &step->out, slots);
        for (int32_t k = 0; k < step->inputs; k++)
            t->places[i * WIDE_PLACES + 1 + k] = wide_place(w, t, &step->in[k], slots);
    }
}

/* To the tile below. */
static inline void wide_descend(const mgn_cpu_wide *w, wide_tile *t) {
    t->row += w->tile_rows;
    for (int32_t i = 0; i < w->count * WIDE_PLACES; i++) t->places[i] += w->below[i];
}

/* How far the rows of an operand's tile are apart. */
static inline int64_t wide_stride(const wide_tile *t, const mgn_cpu_wide_operand *operand) {
    return operand->base ? operand->row_stride : t->columns;
}

static inline void wide_elementwise(const mgn_cpu_wide_step *step, const wide_tile *t, R *const *places) {
    row_function *row = step->op == MGN_OP_logistic ? wide_logistic : wide_functions[step->op];
    if (step->flat) {
        row(places[0], (const R *const *)(places + 1), step->moving, t->rows * t->columns);
        return;
    }
    const R *in[MGN_MAX_INPUTS] = {places[1], places[2], places[3]};
    R *out = places[0];
    for (int64_t r = 0; r < t->rows; r++) {
        row(out, in, step->moving, t->columns);
        for (int k = 0; k < step->inputs; k++) in[k] += wide_stride(t, &step->in[k]);
        out += wide_stride(t, &step->out);
    }
}

/* sums[j] += the rows of x, four at a time. */
static inline void wide_add_columns(const R *x, int64_t stride, int64_t rows, int64_t columns, int64_t step, R *sums) {
    int64_t r = 0;
    if (step == 0) { /* one number a row, for all columns */
        for (; r < rows; r++)
            for (int64_t j = 0; j < columns; j++) sums[j] += x[r * stride];
        return;
    }
    for (; r + 4 <= rows; r += 4, x += 4 * stride) {
        const R *x1 = x + stride, *x2 = x1 + stride, *x3 = x2 + stride;
#pragma omp simd
        for (int64_t j = 0; j < columns; j++) sums[j] += (x[j] + x1[j]) + (x2[j] + x3[j]);
    }
    for (; r < rows; r++, x += stride) {
#pragma omp simd
        for (int64_t j = 0; j < columns; j++) sums[j] += x[j];
    }
}

/* The sum of a row, by lanes and then as a tree. */
static inline R wide_sum_row(const R *x, int64_t n, int64_t step) {
    R lanes[MGN_CPU_LANES] = {0};
    int64_t j = 0;
    if (step == 0) return x[0] * (R)n;
    for (; j + MGN_CPU_LANES <= n; j += MGN_CPU_LANES) {
#pragma omp simd
        for (int l = 0; l < MGN_CPU_LANES; l++) lanes[l] += x[j + l];
    }
    for (int l = 0; j < n; j++, l++) lanes[l] += x[j];
    return fold_16(lanes, 1);
}

static void wide_sum(const mgn_cpu_wide *w, const mgn_cpu_wide_step *step, const wide_tile *t, const R *x,
                     int64_t chunk) {
    const int64_t stride = wide_stride(t, &step->in[0]);
    const int64_t part = chunk / w->tiles, tile = chunk % w->tiles, move = step->in[0].base ? step->in[0].step : 1;
    if (step->opcode == MGN_WIDE_COLUMN_SUM) {
        R *sums = (R *)w->column_parts + (part * w->column_sums + step->sum) * w->columns + t->column;
        wide_add_columns(x, stride, t->rows, t->columns, move, sums);
        return;
    }
    double total = 0;
    R *sums = (R *)w->row_parts + (step->sum * w->tiles + tile) * w->rows + t->row;
    for (int64_t r = 0; r < t->rows; r++, x += stride) {
        const R sum = wide_sum_row(x, t->columns, move);
        if (step->opcode == MGN_WIDE_ROW_SUM) sums[r] = sum;
        total += (double)sum;
    }
    if (step->opcode == MGN_WIDE_TOTAL_SUM) w->total_parts[step->sum * w->row_chunks * w->tiles + chunk] += total;
}

/* Asks for operand number `k` of the tile behind this one, which would come slowly otherwise: between instructions no
 * hardware sees which memory is next. */
static inline void wide_fetch(const mgn_cpu_wide *w, const wide_tile *t, int64_t end, int32_t k) {
    const mgn_cpu_wide_operand *operand = &w->fetched[k];
    const bool below = t->row + w->tile_rows < end;
    const int64_t row = below ? t->row + w->tile_rows : t->first_row;
    const int64_t column = below ? t->column : t->column + w->tile_columns;
    const int64_t rows = MGN_MIN(w->tile_rows, end - row), columns = MGN_MIN(w->tile_columns, w->columns - column);
    const R *first = (const R *)operand->base + row * operand->row_stride + column;
    for (int64_t r = 0; r < rows; r++, first += operand->row_stride)
        for (int64_t j = 0; j < columns; j += 64 / (int64_t)sizeof(R)) __builtin_prefetch(first + j, 1, 2);
}

static void wide_chunk(const mgn_cpu_wide *w, int64_t chunk, int thread) {
    const int64_t part = chunk / w->tiles, end = MGN_MIN((part + 1) * w->chunk_rows, w->rows);
    unsigned char *memory = w->memory + (size_t)thread * w->thread_bytes;
    wide_tile t = {.first_row = part * w->chunk_rows,
                   .row = part * w->chunk_rows,
                   .column = chunk % w->tiles * w->tile_columns,
                   .places = (R **)(void *)memory};
    t.columns = MGN_MIN(w->tile_columns, w->columns - t.column);
    for (int32_t s = 0; s < w->column_sums; s++)
        memset((R *)w->column_parts + (part * w->column_sums + s) * w->columns + t.column, 0,
               (size_t)t.columns * sizeof(R));
    for (int32_t s = 0; s < w->total_sums; s++) w->total_parts[s * w->row_chunks * w->tiles + chunk] = 0;
    wide_find_places(w, &t, memory + w->slots_at);
    for (; t.row < end; wide_descend(w, &t)) {
        t.rows = MGN_MIN(w->tile_rows, end - t.row);
        R *const *places = t.places;
        for (int32_t i = 0, fetched = 0; i < w->count; i++, places += WIDE_PLACES) {
            const mgn_cpu_wide_step *step = &w->steps[i];
            for (; fetched < (i + 1) * w->fetched_count / w->count; fetched++) wide_fetch(w, &t, end, fetched);
            if (step->opcode == MGN_WIDE_ELEMENTWISE)
                wide_elementwise(step, &t, places);
            else
                wide_sum(w, step, &t, places[1], chunk);
        }
    }
}

static void wide_finish(const mgn_cpu_wide *w, int64_t step_number) {
    const mgn_cpu_wide_step *step = &w->steps[step_number];
    R *out = step->out.base;
    if (step->opcode == MGN_WIDE_TOTAL_SUM) {
        const int64_t chunks = w->row_chunks * w->tiles;
        double total = 0;
        for (int64_t c = 0; c < chunks; c++) total += w->total_parts[step->sum * chunks + c];
        out[0] = (R)total;
        return;
    }
    const bool columns = step->opcode == MGN_WIDE_COLUMN_SUM;
    const int64_t n = columns ? w->columns : w->rows, parts = columns ? w->row_chunks : w->tiles;
    const int64_t apart = columns ? w->column_sums * w->columns : w->rows;
    const R *from = columns ? (const R *)w->column_parts + step->sum * w->columns
                            : (const R *)w->row_parts + step->sum * w->tiles * w->rows;
    memcpy(out, from, (size_t)n * sizeof(R));
    for (int64_t p = 1; p < parts; p++) {
        from += apart;
#pragma omp simd
        for (int64_t j = 0; j < n; j++) out[j] += from[j];
    }
}

static const mgn_cpu_wide_kernels wide_kernels = {.chunk = wide_chunk, .finish = wide_finish};
