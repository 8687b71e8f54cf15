/* Wide programs (wide.h); part of kernels.c. */

#if defined(__x86_64__)
#include <immintrin.h>
#endif

static row_function *const wide_functions[MGN_OP_COUNT] = {
#define MGN_UNARY(op, ...) [MGN_OP_##op] = row_##op,
#define MGN_BINARY(op, ...) [MGN_OP_##op] = row_##op,
#define MGN_TERNARY(op, ...) [MGN_OP_##op] = row_##op,
#include "graph/ops.def"
};

/* The logistic function is most of a cascade's work. s(x) = 1 / (1 + exp(-x)), which is 0 below -88, where numbers are no
 * longer normal. The exponential is 2^n, for multiples n of 1/16, whose fraction is looked up, times e^-r for a small rest;
 * divisions take 16 cycles for a vector of 16, an approximate reciprocal of 14 bits and one step of Newton's three. Errors
 * are below 1.7 units in the last place. */
#if defined(__AVX512F__) && !defined(MGN_REAL_IS_DOUBLE)

static inline __m512 logistic_512(__m512 x) {
    const __m512 one = _mm512_set1_ps(1), round = _mm512_set1_ps(0x1.8p19f); /* the number of 16ths in the low bits */
    const __m512 powers = _mm512_setr_ps(1.0f, 1.04427378f, 1.09050773f, 1.13878863f, 1.18920712f, 1.24185781f,
                                         1.29683955f, 1.35425555f, 1.41421356f, 1.47682615f, 1.54221083f, 1.61049033f,
                                         1.68179283f, 1.75625216f, 1.83400809f, 1.91520656f);  /* 2^(i/16) */
    const __m512 t = _mm512_min_ps(_mm512_set1_ps(88), _mm512_max_ps(_mm512_set1_ps(-88), x)); /* NaN stays NaN */
    const __m512 shifted = _mm512_fmadd_ps(t, _mm512_set1_ps(-1.44269504f), round), n = _mm512_sub_ps(shifted, round);
    __m512 r = _mm512_fmadd_ps(n, _mm512_set1_ps(M_LN2_HIGH), t);
    r = _mm512_fmadd_ps(n, _mm512_set1_ps(M_LN2_LOW), r);
    const __m512 q = _mm512_fnmadd_ps(r, _mm512_set1_ps(1.0f / 6), _mm512_set1_ps(0.5f));
    const __m512 p = _mm512_fmsub_ps(q, _mm512_mul_ps(r, r), r); /* e^-r - 1 */
    const __m512 power = _mm512_permutexvar_ps(_mm512_castps_si512(shifted), powers);
    const __m512 y = _mm512_add_ps(one, _mm512_scalef_ps(_mm512_fmadd_ps(power, p, power), n));
    const __m512 guess = _mm512_rcp14_ps(y);
    return _mm512_fmadd_ps(_mm512_fnmadd_ps(y, guess, one), guess, guess);
}

#endif

/* The widest vectors of the instruction set; eight of them leave registers for operands. */
#if defined(__AVX512F__)
enum { WIDE_BYTES = 64 };
#elif defined(__AVX__)
enum { WIDE_BYTES = 32 };
#else
enum { WIDE_BYTES = 16 };
#endif
typedef R wide_vector __attribute__((vector_size(WIDE_BYTES), aligned(sizeof(R)), may_alias));
enum {
    WIDE_LANES = WIDE_BYTES / sizeof(R),
    WIDE_VECTORS = MGN_CPU_WIDE_VECTORS,
    WIDE_TILE = WIDE_VECTORS * WIDE_LANES
};

static const mgn_cpu_wide_code wide_code[MGN_OP_COUNT] = {
    [MGN_OP_copy] = MGN_CPU_WIDE_KEEP,         [MGN_OP_add] = MGN_CPU_WIDE_ADD, [MGN_OP_sub] = MGN_CPU_WIDE_SUB,
    [MGN_OP_mul] = MGN_CPU_WIDE_MUL,           [MGN_OP_div] = MGN_CPU_WIDE_DIV, [MGN_OP_neg] = MGN_CPU_WIDE_NEG,
    [MGN_OP_square] = MGN_CPU_WIDE_SQUARE,
#if defined(__AVX512F__)
    [MGN_OP_sqrt] = MGN_CPU_WIDE_SQRT,
#ifndef MGN_REAL_IS_DOUBLE
    [MGN_OP_logistic] = MGN_CPU_WIDE_LOGISTIC,
#endif
#endif
};

static inline wide_vector wide_sqrt(wide_vector x) {
#if defined(__AVX512F__) && defined(MGN_REAL_IS_DOUBLE)
    return (wide_vector)_mm512_sqrt_pd((__m512d)x);
#elif defined(__AVX512F__)
    return (wide_vector)_mm512_sqrt_ps((__m512)x);
#else
    return x; /* has no code */
#endif
}

static inline wide_vector wide_logistic(wide_vector x) {
#if defined(__AVX512F__) && !defined(MGN_REAL_IS_DOUBLE)
    return (wide_vector)logistic_512((__m512)x);
#else
    return x; /* has no code */
#endif
}

/* The difference keeps the sign of zero, and compilers make one instruction of it. */
static inline wide_vector wide_splat(R x) { return x - (wide_vector){0}; }

#define WIDE_VECTOR(place) (*(wide_vector *)(place))
#define FOR_VECTORS _Pragma("GCC unroll 8") for (int v = 0; v < WIDE_VECTORS; v++)

/* Where a thread is: a tile, of which vector v has valid[v] elements inside the matrix. */
typedef struct wide_tile {
    int64_t band, row, column; /* band: its first row */
    int64_t part;              /* row chunk */
    bool whole;
    int valid[MGN_CPU_WIDE_VECTORS];
    R **at;         /* by place: the tile's first element */
    R *row_sums;    /* (sums, rows of a band, lanes) */
    R *column_sums; /* (sums, columns of the tile) */
} wide_tile;

/* An operand's part of a tile that sticks out of the matrix, as a slot's. */
static __attribute__((noinline, cold)) void wide_copy_in(const wide_tile *t, const mgn_cpu_wide_place *place,
                                                         const R *from, R *to) {
    memset(to, 0, WIDE_TILE * sizeof(R));
    for (int v = 0; v < WIDE_VECTORS; v++)
        for (int l = 0; l < t->valid[v]; l++) to[v * WIDE_LANES + l] = from[v * place->apart + l * place->step];
}

static __attribute__((noinline, cold)) void wide_copy_out(const wide_tile *t, const mgn_cpu_wide_place *place,
                                                          const R *from, R *to) {
    for (int v = 0; v < WIDE_VECTORS; v++)
        for (int l = 0; l < t->valid[v]; l++) to[v * place->apart + l] = from[v * WIDE_LANES + l];
}

/* The elements of a tile that lie in the matrix, zeros for the others. */
static __attribute__((noinline, cold)) void wide_clear_outside(const wide_tile *t, R *x) {
    for (int v = 0; v < WIDE_VECTORS; v++)
        for (int l = t->valid[v]; l < WIDE_LANES; l++) x[v * WIDE_LANES + l] = (R)0;
}

/* The partial sums of a tile's columns. */
static inline R *wide_column_sums(const mgn_cpu_wide *w, int64_t part, int64_t column, int32_t sum) {
    const int64_t tiles = (w->columns + w->tile_columns - 1) / w->tile_columns;
    return (R *)w->column_parts + ((part * tiles + column / w->tile_columns) * w->column_sums + sum) * w->tile_columns;
}

/* sums += the columns of x: of all its rows, or of its row. */
static inline __attribute__((always_inline)) void wide_sum_columns(const mgn_cpu_wide *w, const wide_tile *t,
                                                                   int32_t sum, const wide_vector *x) {
    R *sums = t->column_sums + sum * w->tile_columns;
    if (w->by_rows) {
        WIDE_VECTOR(sums) += ((x[0] + x[1]) + (x[2] + x[3])) + ((x[4] + x[5]) + (x[6] + x[7]));
    } else {
        FOR_VECTORS WIDE_VECTOR(sums + v * WIDE_LANES) += x[v];
    }
}

/* Sums of a band's rows, by lane. */
static inline __attribute__((always_inline)) void wide_sum_rows(const mgn_cpu_wide *w, const wide_tile *t, int32_t sum,
                                                                const wide_vector *x) {
    R *sums = t->row_sums + (sum * MGN_CPU_WIDE_BAND + t->row - t->band) * WIDE_LANES;
    if (w->by_rows) {
        FOR_VECTORS WIDE_VECTOR(sums + v * WIDE_LANES) += x[v];
    } else {
        WIDE_VECTOR(sums) += ((x[0] + x[1]) + (x[2] + x[3])) + ((x[4] + x[5]) + (x[6] + x[7]));
    }
}

static void wide_sum(const mgn_cpu_wide *w, const wide_tile *t, const mgn_cpu_wide_step *step, R *x) {
    wide_vector v[WIDE_VECTORS];
    if (!t->whole) wide_clear_outside(t, x);
    memcpy(v, x, sizeof v);
    if (step->code == MGN_CPU_WIDE_SUM_COLUMNS)
        wide_sum_columns(w, t, step->sum, v);
    else
        wide_sum_rows(w, t, step->sum, v);
}

/* One of an op's operands as a run of numbers; `x` is the accumulator, `buffer` a tile's worth of memory. */
static const R *wide_run_of(const mgn_cpu_wide *w, const wide_tile *t, int32_t number, const R *x, R *buffer) {
    if (number == MGN_CPU_WIDE_HELD) return x;
    const mgn_cpu_wide_place *place = &w->places[number];
    const R *from = t->at[number];
    if (!place->base) return from;
    if (!t->whole) {
        wide_copy_in(t, place, from, buffer);
        return buffer;
    }
    for (int v = 0; v < WIDE_VECTORS; v++) {
        const R *at = from + v * place->apart;
        WIDE_VECTOR(buffer + v * WIDE_LANES) = place->step ? WIDE_VECTOR(at) : wide_splat(*at);
    }
    return buffer;
}

static __attribute__((noinline)) void wide_call(const mgn_cpu_wide *w, const wide_tile *t,
                                                const mgn_cpu_wide_step *step, R *x) {
    R buffers[MGN_MAX_INPUTS][WIDE_TILE];
    const R *in[MGN_MAX_INPUTS] = {NULL, NULL, NULL};
    const mgn_cpu_wide_call *call = &w->calls[step->sum];
    for (int32_t k = 0; k < call->inputs; k++) in[k] = wide_run_of(w, t, call->in[k], x, buffers[k]);
    wide_functions[call->op](x, in, (1u << call->inputs) - 1, WIDE_TILE);
}

/* acc[v] = expression of acc[v] and x, the step's operand. */
#define WIDE_CASE(code, expression)                              \
    case MGN_CPU_WIDE_##code:                                    \
        FOR_VECTORS {                                            \
            const wide_vector x = WIDE_VECTOR(from + v * apart); \
            acc[v] = (expression);                               \
        }                                                        \
        break;                                                   \
    case MGN_CPU_WIDE_SPLAT + MGN_CPU_WIDE_##code:               \
        FOR_VECTORS {                                            \
            const wide_vector x = wide_splat(from[v * apart]);   \
            acc[v] = (expression);                               \
        }                                                        \
        break;
#define WIDE_UNARY_CASE(code, expression) \
    case MGN_CPU_WIDE_##code: FOR_VECTORS acc[v] = (expression); break;

/* What needs the accumulator in memory. */
#define WIDE_THROUGH_MEMORY(function)                              \
    do {                                                           \
        FOR_VECTORS WIDE_VECTOR(buffer + v * WIDE_LANES) = acc[v]; \
        function;                                                  \
        FOR_VECTORS acc[v] = WIDE_VECTOR(buffer + v * WIDE_LANES); \
    } while (0)

static inline __attribute__((always_inline)) void wide_run(const mgn_cpu_wide *w, const wide_tile *t,
                                                           const bool whole) {
    wide_vector acc[WIDE_VECTORS];
    R buffer[WIDE_TILE];
    const mgn_cpu_wide_place *const places = w->places;
    FOR_VECTORS acc[v] = wide_splat((R)0);
    const mgn_cpu_wide_step *const end = w->steps + w->count;
    for (const mgn_cpu_wide_step *step = w->steps; step < end; step++) {
        const R *from = t->at[step->in];
        int64_t apart = places[step->in].apart;
        mgn_cpu_wide_code code = step->code;
        if (!whole && code >= MGN_CPU_WIDE_LOAD && places[step->in].base) {
            wide_copy_in(t, &places[step->in], from, buffer);
            from = buffer;
            apart = WIDE_LANES;
            if (code >= MGN_CPU_WIDE_SPLAT) code -= MGN_CPU_WIDE_SPLAT;
        }
        switch ((int)code) {
            WIDE_CASE(LOAD, x)
            WIDE_CASE(ADD, acc[v] + x)
            WIDE_CASE(SUB, acc[v] - x)
            WIDE_CASE(FROM, x - acc[v])
            WIDE_CASE(MUL, acc[v] * x)
            WIDE_CASE(DIV, acc[v] / x)
            WIDE_CASE(INTO, x / acc[v])
            WIDE_UNARY_CASE(NEG, -acc[v])
            WIDE_UNARY_CASE(SQUARE, acc[v] * acc[v])
            WIDE_UNARY_CASE(SQRT, wide_sqrt(acc[v]))
            WIDE_UNARY_CASE(LOGISTIC, wide_logistic(acc[v]))
        case MGN_CPU_WIDE_KEEP: break;
        case MGN_CPU_WIDE_CALL: WIDE_THROUGH_MEMORY(wide_call(w, t, step, buffer)); break;
        case MGN_CPU_WIDE_SUM_COLUMNS:
            if (whole)
                wide_sum_columns(w, t, step->sum, acc);
            else
                WIDE_THROUGH_MEMORY(wide_sum(w, t, step, buffer));
            break;
        case MGN_CPU_WIDE_SUM_ROWS:
            if (whole)
                wide_sum_rows(w, t, step->sum, acc);
            else
                WIDE_THROUGH_MEMORY(wide_sum(w, t, step, buffer));
            break;
        default: __builtin_unreachable();
        }
        if (step->out < 0) continue;
        R *to = t->at[step->out];
        const int64_t out_apart = places[step->out].apart;
        if (whole || !places[step->out].base) {
            FOR_VECTORS WIDE_VECTOR(to + v * out_apart) = acc[v];
        } else {
            FOR_VECTORS WIDE_VECTOR(buffer + v * WIDE_LANES) = acc[v];
            wide_copy_out(t, &places[step->out], buffer, to);
        }
    }
}

/* For tiles inside the matrix, and for those that stick out of it. */
static void wide_run_whole(const mgn_cpu_wide *w, const wide_tile *t) { wide_run(w, t, true); }
static __attribute__((cold)) void wide_run_edge(const mgn_cpu_wide *w, const wide_tile *t) { wide_run(w, t, false); }

/* Asks for the memory of a tile some tiles on: of rows that lie apart no hardware sees which is next. Along a single row
 * it does, and is twice as fast: it has more buffers than programs can ask for. */
static inline void wide_fetch(const mgn_cpu_wide *w, const wide_tile *t, int64_t end) {
    const int64_t column = t->column + 2 * WIDE_LANES;
    if (!w->by_rows || column >= end || !t->whole) return;
    for (int32_t k = 0; k < w->fetched_count; k++) {
        const mgn_cpu_wide_place *place = &w->places[w->fetched[k]];
        const R *at = t->at[w->fetched[k]] + (column - t->column);
        for (int v = 0; v < WIDE_VECTORS; v++) __builtin_prefetch(at + v * place->apart, 1, 2);
    }
}

/* Tiles of the chunk's columns and of rows `row` and on of its band. */
static inline void wide_go_to(const mgn_cpu_wide *w, wide_tile *t, int64_t row, int64_t column, int64_t end_row,
                              int64_t end_column) {
    t->row = row;
    t->column = column;
    for (int32_t i = 0; i < w->place_count; i++) {
        const mgn_cpu_wide_place *place = &w->places[i];
        if (!place->base) continue;
        R *at = (R *)place->base + row * place->row_stride + column * place->step;
        if (!place->copied)
            t->at[i] = at;
        else if (row == t->band)
            memcpy(t->at[i], at, (size_t)MGN_MIN(WIDE_LANES, end_column - column) * sizeof(R));
    }
    t->column_sums = wide_column_sums(w, t->part, column, 0);
    t->whole = row + w->tile_rows <= end_row && column + w->tile_columns <= end_column;
    for (int v = 0; !t->whole && v < WIDE_VECTORS; v++) {
        const int64_t left = end_column - column - (w->by_rows ? 0 : v * WIDE_LANES);
        t->valid[v] = w->by_rows && row + v >= end_row ? 0 : (int)MGN_MAX(0, MGN_MIN(left, WIDE_LANES));
    }
}

/* What lanes of a band's rows have, together. */
static void wide_end_band(const mgn_cpu_wide *w, const wide_tile *t, int64_t end_row, int64_t column_chunk) {
    for (int32_t s = 0; s < w->row_sums; s++)
        for (int64_t row = t->band; row < end_row; row++) {
            const R *lanes = t->row_sums + (s * MGN_CPU_WIDE_BAND + row - t->band) * WIDE_LANES;
            R sum[WIDE_LANES];
            memcpy(sum, lanes, sizeof sum);
            for (int n = WIDE_LANES / 2; n > 0; n /= 2)
                for (int l = 0; l < n; l++) sum[l] += sum[l + n];
            ((R *)w->row_parts)[(s * w->column_chunks + column_chunk) * w->rows + row] = sum[0];
        }
}

/* Derivatives of many layers shrink below the least normal numbers, where every product takes a hundred times as long. In
 * here such numbers are zeros, as on many devices; what the caller's thread had is put back. */
#if defined(__SSE2__)
enum { WIDE_FLUSH = 0x8040 }; /* results and operands */
static inline unsigned wide_flush(void) {
    const unsigned before = _mm_getcsr();
    _mm_setcsr(before | WIDE_FLUSH);
    return before;
}
static inline void wide_unflush(unsigned before) { _mm_setcsr(before); }
#else
static inline unsigned wide_flush(void) { return 0; }
static inline void wide_unflush(unsigned before) { (void)before; }
#endif

static void wide_chunk(const mgn_cpu_wide *w, int64_t chunk, int thread) {
    const unsigned before = wide_flush();
    unsigned char *memory = w->memory + (size_t)thread * w->thread_bytes;
    wide_tile t = {.part = chunk / w->column_chunks,
                   .at = (R **)(void *)(memory + w->at_at),
                   .row_sums = (R *)(void *)(memory + w->sums_at)};
    for (int32_t i = 0; i < w->place_count; i++) t.at[i] = (R *)(void *)memory + w->places[i].offset;
    const int64_t first_column = chunk % w->column_chunks * w->chunk_columns;
    const int64_t end_column = MGN_MIN(first_column + w->chunk_columns, w->columns);
    const int64_t first_row = t.part * w->chunk_rows, last_row = MGN_MIN(first_row + w->chunk_rows, w->rows);
    for (int64_t column = first_column; column < end_column; column += w->tile_columns)
        memset(wide_column_sums(w, t.part, column, 0), 0, (size_t)(w->column_sums * w->tile_columns) * sizeof(R));
    for (t.band = first_row; t.band < last_row; t.band += MGN_CPU_WIDE_BAND) {
        const int64_t end_row = MGN_MIN(t.band + MGN_CPU_WIDE_BAND, last_row);
        memset(t.row_sums, 0, (size_t)w->row_sums * MGN_CPU_WIDE_BAND * WIDE_LANES * sizeof(R));
        for (int64_t column = first_column; column < end_column; column += w->tile_columns)
            for (int64_t row = t.band; row < end_row; row += w->tile_rows) {
                wide_go_to(w, &t, row, column, end_row, end_column);
                wide_fetch(w, &t, end_column);
                (t.whole ? wide_run_whole : wide_run_edge)(w, &t);
            }
        wide_end_band(w, &t, end_row, chunk % w->column_chunks);
    }
    wide_unflush(before);
}

/* out = the sum of `parts` runs of n numbers that lie `apart`. */
static void wide_add_parts(R *out, const R *from, int64_t n, int64_t parts, int64_t apart) {
    memcpy(out, from, (size_t)n * sizeof(R));
    for (int64_t p = 1; p < parts; p++) {
        from += apart;
#pragma omp simd
        for (int64_t j = 0; j < n; j++) out[j] += from[j];
    }
}

static void wide_finish(const mgn_cpu_wide *w, int64_t number) {
    const mgn_cpu_wide_sum *sum = &w->sums[number];
    R *out = sum->out;
    if (sum->opcode == MGN_WIDE_TOTAL_SUM) {
        const R *parts = (const R *)w->row_parts + sum->number * w->column_chunks * w->rows;
        double total = 0;
        for (int64_t i = 0; i < w->column_chunks * w->rows; i++) total += (double)parts[i];
        out[0] = (R)total;
        return;
    }
    if (sum->opcode == MGN_WIDE_COLUMN_SUM) {
        for (int64_t column = 0; column < w->columns; column += w->tile_columns) {
            const int64_t columns = MGN_MIN(w->tile_columns, w->columns - column);
            wide_add_parts(out + column, wide_column_sums(w, 0, column, sum->number), columns, w->row_chunks,
                           wide_column_sums(w, 1, 0, 0) - wide_column_sums(w, 0, 0, 0));
        }
        return;
    }
    wide_add_parts(out, (const R *)w->row_parts + sum->number * w->column_chunks * w->rows, w->rows, w->column_chunks,
                   w->rows);
}

static const mgn_cpu_wide_kernels wide_kernels = {
    .lanes = WIDE_LANES, .code = wide_code, .chunk = wide_chunk, .finish = wide_finish};
