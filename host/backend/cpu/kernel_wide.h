/* Wide programs (wide.h); part of kernels.c. */

static row_function *const wide_functions[MGN_OP_COUNT] = {
#define MGN_UNARY(op, ...) [MGN_OP_##op] = row_##op,
#define MGN_BINARY(op, ...) [MGN_OP_##op] = row_##op,
#define MGN_TERNARY(op, ...) [MGN_OP_##op] = row_##op,
#include "graph/ops.def"
};

/* Where a thread is: a tile, and its slots. */
typedef struct wide_tile {
    int64_t first_row, row, rows, column, columns; /* first_row: of the chunk */
    unsigned char *slots;
    size_t slot_bytes;
} wide_tile;

/* The first element of an operand's tile, and how far its rows are apart. */
static inline R *wide_place(const wide_tile *t, const mgn_cpu_wide_operand *operand, int64_t *stride) {
    if (!operand->base) {
        *stride = t->columns;
        return (R *)(void *)(t->slots + (size_t)operand->slot * t->slot_bytes);
    }
    *stride = operand->row_stride;
    return (R *)operand->base + t->row * operand->row_stride + t->column * operand->step;
}

static inline void wide_elementwise(const mgn_cpu_wide_step *step, const wide_tile *t) {
    const R *in[MGN_MAX_INPUTS] = {NULL, NULL, NULL};
    int64_t stride[MGN_MAX_INPUTS] = {0}, out_stride;
    R *out = wide_place(t, &step->out, &out_stride);
    for (int k = 0; k < step->inputs; k++) in[k] = wide_place(t, &step->in[k], &stride[k]);
    row_function *row = wide_functions[step->op];
    if (step->flat) {
        row(out, in, step->moving, t->rows * t->columns);
        return;
    }
    for (int64_t r = 0; r < t->rows; r++) {
        row(out, in, step->moving, t->columns);
        for (int k = 0; k < step->inputs; k++) in[k] += stride[k];
        out += out_stride;
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

static void wide_sum(const mgn_cpu_wide *w, const mgn_cpu_wide_step *step, const wide_tile *t, int64_t chunk) {
    int64_t stride;
    const R *x = wide_place(t, &step->in[0], &stride);
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
    wide_tile t = {.first_row = part * w->chunk_rows,
                   .row = part * w->chunk_rows,
                   .column = chunk % w->tiles * w->tile_columns,
                   .slots = w->memory + (size_t)thread * w->thread_bytes,
                   .slot_bytes = w->slot_bytes};
    t.columns = MGN_MIN(w->tile_columns, w->columns - t.column);
    for (int32_t s = 0; s < w->column_sums; s++)
        memset((R *)w->column_parts + (part * w->column_sums + s) * w->columns + t.column, 0,
               (size_t)t.columns * sizeof(R));
    for (int32_t s = 0; s < w->total_sums; s++) w->total_parts[s * w->row_chunks * w->tiles + chunk] = 0;
    for (; t.row < end; t.row += w->tile_rows) {
        t.rows = MGN_MIN(w->tile_rows, end - t.row);
        int32_t fetched = 0;
        for (int32_t i = 0; i < w->count; i++) {
            const mgn_cpu_wide_step *step = &w->steps[i];
            for (; fetched < (i + 1) * w->fetched_count / w->count; fetched++) wide_fetch(w, &t, end, fetched);
            if (step->opcode == MGN_WIDE_ELEMENTWISE)
                wide_elementwise(step, &t);
            else
                wide_sum(w, step, &t, chunk);
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
