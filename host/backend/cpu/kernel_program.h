/* Steps of row programs (rows.h); part of kernels.c. Loops over rows have lengths that are multiples of the lanes, which
 * the masks below tell the compiler, so that it makes no remainder loops. */

#define WHOLE_LANES(n) ((n) & ~(MGN_CPU_ROW_LANES - 1))
#define STEP_IN(step, frame, i) ((const R *)(frame)->base[(step)->space[i]] + (step)->in[i])
#define STEP_OUT(step, frame) ((R *)(frame)->base[(step)->out_space] + (step)->out)

/* ---- elementwise, from the table: a function per op and set of operands that advance, so that a step of a small batch
 * has few decisions to take; apart, the one for shared places that do not fill whole vectors ---- */

#define STEP_LOAD(operand, mask, bit) const R operand = in##bit[((mask) >> (bit)) & 1 ? i : 0];
#define STEP_FUNCTION(op, mask, loads, expression)                                                              \
    static __attribute__((noinline, cold)) void ragged_##op##_##mask(const mgn_cpu_step *step,                  \
                                                                     const mgn_cpu_frame *frame) {              \
        const R *in0 = STEP_IN(step, frame, 0), *in1 = STEP_IN(step, frame, 1), *in2 = STEP_IN(step, frame, 2); \
        R *out = STEP_OUT(step, frame);                                                                         \
        for (int32_t i = 0; i < step->n; i++) { loads out[i] = (expression); }                                  \
        (void)in1, (void)in2;                                                                                   \
    }                                                                                                           \
    static void step_##op##_##mask(const mgn_cpu_step *step, const mgn_cpu_frame *frame) {                      \
        const int32_t n = step->n;                                                                              \
        if (n % MGN_CPU_ROW_LANES != 0) {                                                                       \
            ragged_##op##_##mask(step, frame);                                                                  \
            return;                                                                                             \
        }                                                                                                       \
        const R *in0 = STEP_IN(step, frame, 0), *in1 = STEP_IN(step, frame, 1), *in2 = STEP_IN(step, frame, 2); \
        R *out = STEP_OUT(step, frame);                                                                         \
        for (int32_t repeat = step->repeats; repeat > 0; repeat--) {                                            \
            _Pragma("omp simd") for (int32_t i = 0; i < WHOLE_LANES(n); i++) { loads out[i] = (expression); }   \
            in0 += step->next[0], in1 += step->next[1], in2 += step->next[2];                                   \
            out += step->out_next;                                                                              \
        }                                                                                                       \
        (void)in1, (void)in2;                                                                                   \
    }
#define STEP_UNARY(op, mask, expression) STEP_FUNCTION(op, mask, STEP_LOAD(a, mask, 0), expression)
#define STEP_BINARY(op, mask, expression) \
    STEP_FUNCTION(op, mask, STEP_LOAD(a, mask, 0) STEP_LOAD(b, mask, 1), expression)
#define STEP_TERNARY(op, mask, expression) \
    STEP_FUNCTION(op, mask, STEP_LOAD(a, mask, 0) STEP_LOAD(b, mask, 1) STEP_LOAD(c, mask, 2), expression)
#define MGN_UNARY(op, expression, ...) STEP_UNARY(op, 0, expression) STEP_UNARY(op, 1, expression)
#define MGN_BINARY(op, expression, ...) \
    STEP_BINARY(op, 0, expression)      \
    STEP_BINARY(op, 1, expression) STEP_BINARY(op, 2, expression) STEP_BINARY(op, 3, expression)
#define MGN_TERNARY(op, expression, ...) \
    STEP_TERNARY(op, 0, expression)      \
    STEP_TERNARY(op, 1, expression)      \
    STEP_TERNARY(op, 2, expression)      \
    STEP_TERNARY(op, 3, expression)      \
    STEP_TERNARY(op, 4, expression)      \
    STEP_TERNARY(op, 5, expression) STEP_TERNARY(op, 6, expression) STEP_TERNARY(op, 7, expression)
#include "graph/ops.def"

/* ---- products and sums over features ---- */

/* Shared operands alone: few numbers, once a step. */
static void step_matmul_0(const mgn_cpu_step *step, const mgn_cpu_frame *frame) {
    const R *a = STEP_IN(step, frame, 0), *b = STEP_IN(step, frame, 1);
    R *out = STEP_OUT(step, frame);
    for (int32_t j = 0; j < step->count; j++) {
        R sum = (R)0;
        for (int32_t i = 0; i < step->inner; i++) sum += a[i * step->stride] * b[i * step->step + j * step->stride_b];
        out[j] = sum;
    }
}

/* out[j][row] = sum_i a[i][row] b[i, j], i < INNER: a and out are rows, b is shared. */
#define STEP_MATMUL(INNER)                                                                          \
    static void step_matmul_##INNER(const mgn_cpu_step *step, const mgn_cpu_frame *frame) {         \
        const R *a = STEP_IN(step, frame, 0), *b = STEP_IN(step, frame, 1);                         \
        const int64_t stride = step->stride, next = step->step;                                     \
        const int32_t rows = frame->block;                                                          \
        R *out = STEP_OUT(step, frame);                                                             \
        for (int32_t j = step->count; j > 0; j--, out += rows, b += step->stride_b) {               \
            R factor[INNER];                                                                        \
            for (int32_t i = 0; i < INNER; i++) factor[i] = b[i * next];                            \
            _Pragma("omp simd") for (int32_t r = 0; r < WHOLE_LANES(rows); r++) {                   \
                R sum = a[r] * factor[0];                                                           \
                for (int32_t i = 1; i < INNER; i++) sum = m_fma(a[i * stride + r], factor[i], sum); \
                out[r] = sum;                                                                       \
            }                                                                                       \
        }                                                                                           \
    }
STEP_MATMUL(1)
STEP_MATMUL(2)
STEP_MATMUL(3)
STEP_MATMUL(4)

/* The same for any `inner`: two vectors of rows at a time, so that the sums stay in registers. */
static void step_matmul_5(const mgn_cpu_step *step, const mgn_cpu_frame *frame) {
    enum { WIDTH = 2 * MGN_CPU_ROW_LANES };
    const R *b = STEP_IN(step, frame, 1);
    R *out = STEP_OUT(step, frame);
    for (int32_t j = 0; j < step->count; j++, b += step->stride_b) {
        const R *a = STEP_IN(step, frame, 0);
        for (int32_t row = 0; row < frame->block; row += WIDTH, a += WIDTH, out += WIDTH) {
            R sum[WIDTH];
            for (int l = 0; l < WIDTH; l++) sum[l] = a[l] * b[0];
            for (int32_t i = 1; i < step->inner; i++) {
                const R factor = b[i * step->step];
                for (int l = 0; l < WIDTH; l++) sum[l] = m_fma(a[i * step->stride + l], factor, sum[l]);
            }
            for (int l = 0; l < WIDTH; l++) out[l] = sum[l];
        }
    }
}

/* out[r] = the entries in[i * step + r], i < inner, combined; `inner` is known to the compiler where it is small. */
#define STEP_REDUCE(label, combine)                                                                             \
    static inline __attribute__((always_inline)) void label##_of_rows(const R *in, int64_t step, int32_t inner, \
                                                                      R *out, int32_t rows) {                   \
        _Pragma("omp simd") for (int32_t r = 0; r < rows; r++) {                                                \
            R total = in[r];                                                                                    \
            for (int32_t i = 1; i < inner; i++) {                                                               \
                const R next = in[i * step + r];                                                                \
                total = combine;                                                                                \
            }                                                                                                   \
            out[r] = total;                                                                                     \
        }                                                                                                       \
    }                                                                                                           \
    static void step_##label(const mgn_cpu_step *step, const mgn_cpu_frame *frame) {                            \
        const R *in = STEP_IN(step, frame, 0);                                                                  \
        R *out = STEP_OUT(step, frame);                                                                         \
        const int32_t rows = step->n; /* 1 for shared places */                                                 \
        for (int32_t j = 0; j < step->count; j++, in += step->stride, out += rows) {                            \
            switch (step->inner) {                                                                              \
            case 2: label##_of_rows(in, step->step, 2, out, rows); break;                                       \
            case 3: label##_of_rows(in, step->step, 3, out, rows); break;                                       \
            default: label##_of_rows(in, step->step, step->inner, out, rows);                                   \
            }                                                                                                   \
        }                                                                                                       \
    }
STEP_REDUCE(sum, total + next)
STEP_REDUCE(max, (next > total || next != next) ? next : total)

/* ---- sums over rows: one partial sum per lane, joined at the end of a chunk (fold_sums) ---- */

/* One vector of lanes; the compiler makes as many registers of it as the instruction set asks for. */
typedef R lane_vector __attribute__((vector_size(MGN_CPU_ROW_LANES * sizeof(R)), aligned(sizeof(R)), may_alias));

/* sums += in, over the rows of a block that exist. */
static inline void add_rows(const mgn_cpu_frame *frame, const R *in, R *sums) {
    const int32_t whole = WHOLE_LANES(frame->valid);
    lane_vector total = *(const lane_vector *)sums;
    for (int32_t row = 0; row < whole; row += MGN_CPU_ROW_LANES) total += *(const lane_vector *)(in + row);
    *(lane_vector *)sums = total;
    for (int32_t row = whole; row < frame->valid; row++) sums[row - whole] += in[row];
}

/* sums[j] += a * b[j], likewise, for `count` columns of b at a time. */
static inline __attribute__((always_inline)) void add_products(const mgn_cpu_frame *frame, const R *a, const R *b,
                                                               R *sums, int count) {
    const int32_t whole = WHOLE_LANES(frame->valid), block = frame->block;
    lane_vector total[4];
    for (int j = 0; j < count; j++) total[j] = *(const lane_vector *)(sums + j * MGN_CPU_ROW_LANES);
    for (int32_t row = 0; row < whole; row += MGN_CPU_ROW_LANES) {
        const lane_vector factor = *(const lane_vector *)(a + row);
        for (int j = 0; j < count; j++) total[j] += factor * *(const lane_vector *)(b + j * block + row);
    }
    for (int j = 0; j < count; j++) *(lane_vector *)(sums + j * MGN_CPU_ROW_LANES) = total[j];
    for (int32_t row = whole; row < frame->valid; row++)
        for (int j = 0; j < count; j++) sums[j * MGN_CPU_ROW_LANES + row - whole] += a[row] * b[j * block + row];
}

static void step_column_sum(const mgn_cpu_step *step, const mgn_cpu_frame *frame) {
    const R *in = STEP_IN(step, frame, 0);
    R *sums = (R *)frame->sums + step->out;
    for (int32_t j = 0; j < step->count; j++, in += frame->block, sums += MGN_CPU_ROW_LANES) add_rows(frame, in, sums);
}

#define STEP_COLUMN_PRODUCT(COUNT)                                                                      \
    static void step_column_product_##COUNT(const mgn_cpu_step *step, const mgn_cpu_frame *frame) {     \
        const R *a = STEP_IN(step, frame, 0), *b = STEP_IN(step, frame, 1);                             \
        R *sums = (R *)frame->sums + step->out;                                                         \
        for (int32_t i = 0; i < step->inner; i++, a += frame->block, sums += COUNT * MGN_CPU_ROW_LANES) \
            add_products(frame, a, b, sums, COUNT);                                                     \
    }
STEP_COLUMN_PRODUCT(1)
STEP_COLUMN_PRODUCT(2)
STEP_COLUMN_PRODUCT(3)
STEP_COLUMN_PRODUCT(4)

static void step_column_product_5(const mgn_cpu_step *step, const mgn_cpu_frame *frame) {
    const R *a = STEP_IN(step, frame, 0);
    R *sums = (R *)frame->sums + step->out;
    for (int32_t i = 0; i < step->inner; i++, a += frame->block) {
        const R *b = STEP_IN(step, frame, 1);
        int32_t j = 0;
        for (; j + 4 <= step->count; j += 4, b += 4 * frame->block, sums += 4 * MGN_CPU_ROW_LANES)
            add_products(frame, a, b, sums, 4);
        for (; j < step->count; j++, b += frame->block, sums += MGN_CPU_ROW_LANES) add_products(frame, a, b, sums, 1);
    }
}

/* The lanes of one sum, as a tree. */
static R sum_of_lanes(const R *lanes) {
    R v[MGN_CPU_ROW_LANES / 2];
    for (int l = 0; l < 8; l++) v[l] = lanes[l] + lanes[l + 8];
    for (int l = 0; l < 4; l++) v[l] += v[l + 4];
    return (v[0] + v[2]) + (v[1] + v[3]);
}

static void fold_row_sums(const void *lanes, int32_t count, void *sums) {
    const R *from = lanes;
    R *to = sums;
    for (int32_t i = 0; i < count; i++) to[i] = sum_of_lanes(from + i * MGN_CPU_ROW_LANES);
}

static void finish_row_sums(const void *sums, int64_t chunks, int64_t stride, int32_t count, const int32_t *places,
                            void *shared) {
    const R *chunk = sums;
    R *out = shared;
    for (int32_t i = 0; i < count; i++) {
        R total = (R)0;
        for (int64_t c = 0; c < chunks; c++) total += chunk[c * stride + i];
        out[places[i]] = total;
    }
}

/* ---- data ---- */

/* Rows (row-major) to places: the rows that do not exist repeat the last one. */
#define LOAD_COLUMNS(columns_)               \
    for (int32_t j = 0; j < (columns_); j++) \
        for (int32_t r = 0; r < valid; r++) out[j * block + r] = from[(int64_t)r * (columns_) + j];

static void step_load(const mgn_cpu_step *step, const mgn_cpu_frame *frame) {
    R *out = STEP_OUT(step, frame);
    const R *from = (const R *)step->external;
    const int32_t columns = step->columns, valid = frame->valid, block = frame->block;
    if (step->out_space == 0) {
        for (int32_t j = 0; j < columns; j++) out[j] = from[j];
        return;
    }
    from += frame->first * columns;
    if (columns == 1)
        LOAD_COLUMNS(1)
    else if (columns == 2)
        LOAD_COLUMNS(2)
    else if (columns == 3)
        LOAD_COLUMNS(3)
    else
        LOAD_COLUMNS(columns)
    for (int32_t j = 0; valid < block && j < columns; j++)
        for (int32_t r = valid; r < block; r++) out[j * block + r] = out[j * block + valid - 1];
}

#define STORE_COLUMNS(columns_)                \
    for (int32_t r = 0; r < frame->valid; r++) \
        for (int32_t j = 0; j < (columns_); j++) to[(int64_t)r * (columns_) + j] = in[j * frame->block + r];

static void step_store(const mgn_cpu_step *step, const mgn_cpu_frame *frame) {
    const R *in = STEP_IN(step, frame, 0);
    R *to = (R *)step->external;
    const int32_t columns = step->columns;
    if (step->space[0] == 0) {
        for (int32_t j = 0; j < columns; j++) to[j] = in[j];
        return;
    }
    to += frame->first * columns;
    if (columns == 1)
        STORE_COLUMNS(1)
    else if (columns == 2)
        STORE_COLUMNS(2)
    else if (columns == 3)
        STORE_COLUMNS(3)
    else
        STORE_COLUMNS(columns)
}

/* Three bytes a row, the usual pixels, go through words of four: a word per row is read or written where the row begins,
 * so its last byte belongs to the next row, which is masked off or written afterwards. The last row is done by bytes. */
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
enum { PIXEL_WORDS = 256 };

static void load_pixels(const uint8_t *from, int32_t valid, int32_t block, R *out) {
    uint32_t words[PIXEL_WORDS];
    for (int32_t r = 0; r < valid - 1; r++) memcpy(&words[r], from + 3 * r, 4);
    const uint8_t *last = from + 3 * (valid - 1);
    for (int32_t r = valid - 1; r < block; r++) words[r] = last[0] | (uint32_t)last[1] << 8 | (uint32_t)last[2] << 16;
#pragma omp simd
    for (int32_t r = 0; r < WHOLE_LANES(block); r++) {
        out[r] = byte_to_real((uint8_t)words[r]);
        out[block + r] = byte_to_real((uint8_t)(words[r] >> 8));
        out[2 * block + r] = byte_to_real((uint8_t)(words[r] >> 16));
    }
}

static void store_pixels(const R *in, int32_t valid, int32_t block, uint8_t *to) {
    uint32_t words[PIXEL_WORDS];
#pragma omp simd
    for (int32_t r = 0; r < WHOLE_LANES(block); r++)
        words[r] = (uint32_t)real_to_byte(in[r]) | (uint32_t)real_to_byte(in[block + r]) << 8 |
                   (uint32_t)real_to_byte(in[2 * block + r]) << 16;
    for (int32_t r = 0; r < valid - 1; r++) memcpy(to + 3 * r, &words[r], 4);
    memcpy(to + 3 * (valid - 1), &words[valid - 1], 3);
}
#define PIXELS_IN_WORDS(step, frame) ((step)->columns == 3 && (frame)->block <= PIXEL_WORDS)
#else
#define PIXELS_IN_WORDS(step, frame) false
static void load_pixels(const uint8_t *from, int32_t valid, int32_t block, R *out) {
    (void)from, (void)valid, (void)block, (void)out;
}
static void store_pixels(const R *in, int32_t valid, int32_t block, uint8_t *to) {
    (void)in, (void)valid, (void)block, (void)to;
}
#endif

static void step_bytes_load(const mgn_cpu_step *step, const mgn_cpu_frame *frame) {
    const int32_t columns = step->columns, valid = frame->valid, block = frame->block;
    const uint8_t *from = (const uint8_t *)step->external + frame->first * columns;
    R *out = STEP_OUT(step, frame);
    if (PIXELS_IN_WORDS(step, frame)) {
        load_pixels(from, valid, block, out);
        return;
    }
    for (int32_t j = 0; j < columns; j++)
        for (int32_t r = 0; r < block; r++)
            out[j * block + r] = byte_to_real(from[(int64_t)MGN_MIN(r, valid - 1) * columns + j]);
}

static void step_bytes_store(const mgn_cpu_step *step, const mgn_cpu_frame *frame) {
    const int32_t columns = step->columns, valid = frame->valid, block = frame->block;
    const R *in = STEP_IN(step, frame, 0);
    uint8_t *to = (uint8_t *)step->external + frame->first * columns;
    if (PIXELS_IN_WORDS(step, frame)) {
        store_pixels(in, valid, block, to);
        return;
    }
    for (int32_t r = 0; r < valid; r++)
        for (int32_t j = 0; j < columns; j++) to[(int64_t)r * columns + j] = real_to_byte(in[j * block + r]);
}

static void step_index_load(const mgn_cpu_step *step, const mgn_cpu_frame *frame) {
    uint32_t *out = (uint32_t *)(void *)STEP_OUT(step, frame);
    const uint32_t *from = (const uint32_t *)step->external + frame->first;
    for (int32_t r = 0; r < frame->block; r++) out[r] = from[MGN_MIN(r, frame->valid - 1)];
}

#define GATHER_COLUMNS(columns_)                     \
    for (int32_t r = 0; r < WHOLE_LANES(block); r++) \
        for (int32_t j = 0; j < (columns_); j++) out[j * block + r] = from[(int64_t)index[r] * (columns_) + j];

/* Two floats a row are one word of 64 bits. */
#if !defined(MGN_REAL_IS_DOUBLE) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
typedef uint64_t pair_of_floats __attribute__((may_alias, aligned(4)));
#define GATHER_PAIRS                                                                  \
    for (int32_t r = 0; r < WHOLE_LANES(block); r++) {                                \
        const uint64_t pair = ((const pair_of_floats *)(const void *)from)[index[r]]; \
        out[r] = m_real((uint32_t)pair);                                              \
        out[block + r] = m_real((uint32_t)(pair >> 32));                              \
    }
#else
#define GATHER_PAIRS GATHER_COLUMNS(2)
#endif

static void step_gather(const mgn_cpu_step *step, const mgn_cpu_frame *frame) {
    const uint32_t *index = (const uint32_t *)(const void *)STEP_IN(step, frame, 0);
    const R *from = (const R *)step->external;
    const int32_t columns = step->columns, block = frame->block;
    R *out = STEP_OUT(step, frame);
    uint32_t largest = 0;
    for (int32_t r = 0; r < WHOLE_LANES(block); r++) largest = MGN_MAX(largest, index[r]);
    if (largest >= step->external_rows) {
        for (int32_t r = 0; r < block; r++)
            for (int32_t j = 0; j < columns; j++)
                out[j * block + r] = index[r] < step->external_rows ? from[(int64_t)index[r] * columns + j] : (R)NAN;
    } else if (columns == 1)
        GATHER_COLUMNS(1)
    else if (columns == 2)
        GATHER_PAIRS
    else if (columns == 3)
        GATHER_COLUMNS(3)
    else
        GATHER_COLUMNS(columns)
}

/* ---- indices and random numbers ---- */

/* out[i] = what stands at positions[i] of an epoch's permutation, i < n; in place. */
static void shuffle_positions(const uint32_t *state, uint32_t epoch, uint32_t population, uint32_t *out, int32_t n) {
    const m_shuffle_key key = m_shuffle_start(state[0], state[1], epoch, population);
    for (int32_t first = 0; first < n; first += 2 * MGN_CPU_ROW_LANES) {
        const int32_t end = MGN_MIN(first + 2 * MGN_CPU_ROW_LANES, n);
        uint32_t largest = 0;
#pragma omp simd reduction(max : largest)
        for (int32_t r = first; r < first + WHOLE_LANES(end - first); r++) {
            out[r] = m_shuffle_rounds(key, out[r]);
            largest = MGN_MAX(largest, out[r]);
        }
        for (int32_t r = first; largest >= population && r < end; r++)
            if (out[r] >= population) out[r] = m_shuffle(key, out[r]);
    }
}

/* The `block` entries at `position`, from those worked out ahead. */
static void take_shuffled(mgn_cpu_shuffled *kept, const uint32_t *state, uint32_t epoch, uint32_t population,
                          uint32_t position, uint32_t *out, int32_t block) {
    const uint32_t of[4] = {state[0], state[1], epoch, population};
    const uint32_t first = position - kept->position;
    if (memcmp(of, kept->of, sizeof of) != 0 || position < kept->position || first + (uint32_t)block > kept->count) {
        memcpy(kept->of, of, sizeof of);
        kept->position = position;
        kept->count = MGN_MIN((population - position) & ~(uint32_t)(MGN_CPU_ROW_LANES - 1), MGN_CPU_SHUFFLED_AHEAD);
        for (uint32_t r = 0; r < kept->count; r++) kept->entries[r] = position + r;
        shuffle_positions(state, epoch, population, kept->entries, (int32_t)kept->count);
    }
    memcpy(out, kept->entries + (position - kept->position), (size_t)block * sizeof *out);
}

/* out[i] = entry first + i of the step's batch, i < n. */
static void shuffle_rows(const mgn_cpu_step *step, const uint32_t *state, int64_t first, uint32_t *out, int32_t n) {
    const uint32_t population = (uint32_t)step->attributes.shuffle.population;
    const uint64_t steps = (uint64_t)step->attributes.shuffle.steps_per_epoch;
    const uint32_t epoch = m_shuffle_epoch(state[2], steps);
    const uint32_t position =
        m_shuffle_position(state[2], steps, (uint64_t)step->attributes.shuffle.stride, (uint64_t)first, population);
    const bool inside = population > (uint32_t)n && position <= population - (uint32_t)n;
    if (inside && step->shuffled) {
        take_shuffled(step->shuffled, state, epoch, population, position, out, n);
        return;
    }
    if (inside) {
        for (int32_t r = 0; r < WHOLE_LANES(n); r++) out[r] = position + (uint32_t)r;
    } else { /* over the end, where positions start again */
        for (int32_t r = 0; r < n; r++) out[r] = (uint32_t)(((uint64_t)position + (uint64_t)r) % population);
    }
    shuffle_positions(state, epoch, population, out, n);
}

/* Rows far apart in a large table come slowly: those of the next block are asked for while this one is worked on. */
static void step_shuffle(const mgn_cpu_step *step, const mgn_cpu_frame *frame) {
    const uint32_t *state = frame->index + step->state;
    uint32_t *out = (uint32_t *)(void *)STEP_OUT(step, frame);
    mgn_cpu_ahead *ahead = frame->ahead;
    if (ahead->step == step && ahead->first == frame->first)
        memcpy(out, ahead->entries, (size_t)frame->block * sizeof *out);
    else
        shuffle_rows(step, state, frame->first, out, frame->block);
    ahead->step = NULL;
    const int64_t next = frame->first + frame->block;
    if (!step->fetched[0] || next >= frame->end) return;
    ahead->step = step;
    ahead->first = next;
    shuffle_rows(step, state, next, ahead->entries, frame->block);
    for (int k = 0; k < 2 && step->fetched[k]; k++)
        for (int32_t r = 0; r < frame->block; r++)
            __builtin_prefetch(
                (const char *)step->fetched[k] + (size_t)ahead->entries[r] * (size_t)step->fetched_bytes[k], 0, 1);
}

/* Element row * count + j is number (that % 4) of a Philox block. */
static void random_step(const mgn_cpu_step *step, const mgn_cpu_frame *frame, bool normal) {
    const uint32_t *state = frame->index + step->state;
    R *out = STEP_OUT(step, frame);
    int64_t begin = frame->first * step->count, end = begin + (int64_t)frame->block * step->count;
    uint32_t words[4][MGN_CPU_LANES];
    R values[4][MGN_CPU_LANES];
    for (int64_t at = begin / 4 * 4; at < end; at += 4 * MGN_CPU_LANES) {
        random_words(state, step->attributes.random.stream, at / 4, words);
        for (int q = 0; normal && q < 4; q += 2) {
#pragma omp simd
            for (int l = 0; l < MGN_CPU_LANES; l++)
                m_normal_of(words[q][l], words[q + 1][l], &values[q][l], &values[q + 1][l]);
        }
        for (int q = 0; !normal && q < 4; q++) FOR_LANES values[q][l] = m_uniform_of(words[q][l]);
        for (int64_t e = MGN_MAX(at, begin); e < MGN_MIN(at + 4 * MGN_CPU_LANES, end); e++) {
            int64_t row = e / step->count - frame->first, j = e % step->count;
            out[j * frame->block + row] = values[(e - at) % 4][(e - at) / 4];
        }
    }
}

static void step_uniform_rows(const mgn_cpu_step *step, const mgn_cpu_frame *frame) { random_step(step, frame, false); }
static void step_normal_rows(const mgn_cpu_step *step, const mgn_cpu_frame *frame) { random_step(step, frame, true); }

static void step_state_load(const mgn_cpu_step *step, const mgn_cpu_frame *frame) {
    memcpy(frame->index + step->state, step->external, 4 * sizeof(uint32_t));
}

static void step_state_store(const mgn_cpu_step *step, const mgn_cpu_frame *frame) {
    memcpy(step->external, frame->index + step->state, 4 * sizeof(uint32_t));
}

static void step_advance_state(const mgn_cpu_step *step, const mgn_cpu_frame *frame) {
    for (int j = 0; j < 4; j++) frame->index[step->to_state + j] = frame->index[step->state + j];
    frame->index[step->to_state + 2] += step->attributes.advance.steps;
}

static const mgn_cpu_row_kernels row_kernels = {
    .elementwise =
        {
#define MGN_UNARY(op, ...) [MGN_OP_##op] = {step_##op##_0, step_##op##_1},
#define MGN_BINARY(op, ...) [MGN_OP_##op] = {step_##op##_0, step_##op##_1, step_##op##_2, step_##op##_3},
#define MGN_TERNARY(op, ...)                                                     \
    [MGN_OP_##op] = {step_##op##_0, step_##op##_1, step_##op##_2, step_##op##_3, \
                     step_##op##_4, step_##op##_5, step_##op##_6, step_##op##_7},
#include "graph/ops.def"
        },
    .opcode =
        {
            [MGN_ROW_SUM] = step_sum,
            [MGN_ROW_MAX] = step_max,
            [MGN_ROW_COLUMN_SUM] = step_column_sum,
            [MGN_ROW_LOAD] = step_load,
            [MGN_ROW_STORE] = step_store,
            [MGN_ROW_GATHER] = step_gather,
            [MGN_ROW_INDEX_LOAD] = step_index_load,
            [MGN_ROW_BYTES_LOAD] = step_bytes_load,
            [MGN_ROW_BYTES_STORE] = step_bytes_store,
            [MGN_ROW_SHUFFLE] = step_shuffle,
            [MGN_ROW_UNIFORM] = step_uniform_rows,
            [MGN_ROW_NORMAL] = step_normal_rows,
            [MGN_ROW_STATE_LOAD] = step_state_load,
            [MGN_ROW_STATE_STORE] = step_state_store,
            [MGN_ROW_ADVANCE] = step_advance_state,
        },
    .matmul = {step_matmul_0, step_matmul_1, step_matmul_2, step_matmul_3, step_matmul_4, step_matmul_5},
    .column_product = {NULL, step_column_product_1, step_column_product_2, step_column_product_3, step_column_product_4,
                       step_column_product_5},
    .fold_sums = fold_row_sums,
    .finish_sums = finish_row_sums,
};
