/* What generated row programs are written in: the host appends kernels that it prints from a plan's instructions
 * (host/backend/opencl/row_print.c) to this text.
 *
 * On CPU devices a row value R holds MGN_WIDTH rows that follow each other, `lanes` of which exist; the rest repeat
 * the last one, so that they are as harmless as real rows. On GPUs R is one row, and lanes is 1. Functions for 2, 3 and 4
 * columns of row-major data take whole vectors apart by shuffles; wider rows are read lane by lane. */
#include "mgn_bytes.h"
#include "mgn_random.h"

/* The same value for all rows. */
#define S(i) ((R)(s[i]))
/* The larger of two; a NaN wins. */
#define LARGER(x, y) ((((y) > (x)) | ((y) != (y))) ? (y) : (x))

#if MGN_WIDTH > 1

/* Columns out of row-major data and back: v0, v1, .. are the vectors that follow each other in memory, x0, x1, .. the
 * columns. Memory is read as (v0, v1, ..) = (x0[0], x1[0], .., x0[1], x1[1], ..). */
#define TAKE_2                                                                                     \
    *x0 = (R)(v0.even, v1.even);                                                                   \
    *x1 = (R)(v0.odd, v1.odd);
#define TAKE_4                                                                                     \
    const R low_even = (R)(v0.even, v1.even), low_odd = (R)(v0.odd, v1.odd);                       \
    const R high_even = (R)(v2.even, v3.even), high_odd = (R)(v2.odd, v3.odd);                     \
    *x0 = (R)(low_even.even, high_even.even);                                                      \
    *x1 = (R)(low_odd.even, high_odd.even);                                                        \
    *x2 = (R)(low_even.odd, high_even.odd);                                                        \
    *x3 = (R)(low_odd.odd, high_odd.odd);
#if MGN_WIDTH == 16
#define TAKE_3                                                                                     \
    *x0 = (R)(v0.s0369, v0.scf, v1.s258b, v1.se, v2.s147a, v2.sd);                                 \
    *x1 = (R)(v0.s147a, v0.sd, v1.s0369, v1.scf, v2.s258b, v2.se);                                 \
    *x2 = (R)(v0.s258b, v0.se, v1.s147a, v1.sd, v2.s0369, v2.scf);
#else
#define TAKE_3                                                                                     \
    *x0 = (R)(v0.s036, v1.s147, v2.s25);                                                           \
    *x1 = (R)(v0.s147, v1.s25, v2.s036);                                                           \
    *x2 = (R)(v0.s25, v1.s036, v2.s147);
#endif

/* ---- the loop over rows begin .. end - 1, and which lanes of it exist ---- */

#define EACH_ROW for (ulong row = begin; row < end; row += MGN_WIDTH)
#define LANES                                                                                      \
    const uint lanes = (uint)min((ulong)MGN_WIDTH, end - row);                                     \
    const m_mask exists = LANE_NUMBERS < (m_mask)lanes;
/* To the rows that exist. */
#define ADD(sum, x) sum = exists ? sum + (x) : sum
/* The same in pairs of vectors. Where there is no second one it is the first again, and none of it exists. */
#define EACH_PAIR for (ulong row = begin; row < end; row += 2 * MGN_WIDTH)
#define PAIR_LANES                                                                                 \
    LANES const ulong second_row = row + MGN_WIDTH < end ? row + MGN_WIDTH : row;                  \
    const uint second_lanes = (uint)min((ulong)MGN_WIDTH, end - second_row);                       \
    const m_mask second_exists = LANE_NUMBERS < (m_mask)(second_row == row ? 0 : second_lanes);
#define SECOND                                                                                     \
    const ulong row = second_row;                                                                  \
    const uint lanes = second_lanes;                                                               \
    const m_mask exists = second_exists;

#ifdef MGN_REAL_IS_DOUBLE
typedef long8 m_mask;
#define LANE_NUMBERS ((long8)(0, 1, 2, 3, 4, 5, 6, 7))
#define WORD_NUMBERS ((uint8)(0, 1, 2, 3, 4, 5, 6, 7))
#else
typedef int16 m_mask;
#define LANE_NUMBERS ((int16)(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15))
#define WORD_NUMBERS ((uint16)(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15))
#endif

/* ---- rows ---- */

#define BLOCK(k) MGN_VLOAD(p + k * MGN_WIDTH)

M_FUNCTION void m_rows_2(global const real *p, uint lanes, R *x0, R *x1) {
    if (lanes == MGN_WIDTH) {
        const R v0 = BLOCK(0), v1 = BLOCK(1);
        TAKE_2
    } else {
        *x0 = m_load(p, 2, lanes);
        *x1 = m_load(p + 1, 2, lanes);
    }
}

M_FUNCTION void m_rows_3(global const real *p, uint lanes, R *x0, R *x1, R *x2) {
    if (lanes == MGN_WIDTH) {
        const R v0 = BLOCK(0), v1 = BLOCK(1), v2 = BLOCK(2);
        TAKE_3
    } else {
        *x0 = m_load(p, 3, lanes);
        *x1 = m_load(p + 1, 3, lanes);
        *x2 = m_load(p + 2, 3, lanes);
    }
}

M_FUNCTION void m_rows_4(global const real *p, uint lanes, R *x0, R *x1, R *x2, R *x3) {
    if (lanes == MGN_WIDTH) {
        const R v0 = BLOCK(0), v1 = BLOCK(1), v2 = BLOCK(2), v3 = BLOCK(3);
        TAKE_4
    } else {
        *x0 = m_load(p, 4, lanes);
        *x1 = m_load(p + 1, 4, lanes);
        *x2 = m_load(p + 2, 4, lanes);
        *x3 = m_load(p + 3, 4, lanes);
    }
}

M_FUNCTION m_word m_load_words(global const uint *p, uint lanes) {
    if (lanes == MGN_WIDTH) return MGN_VLOAD(p);
    uint x[MGN_WIDTH];
    for (uint l = 0; l < MGN_WIDTH; l++) x[l] = p[min(l, lanes - 1)];
    return MGN_VLOAD(x);
}

/* ---- rows by index ---- */

#ifdef MGN_REAL_IS_DOUBLE
#define M_WIDE_INDEX(index) convert_ulong8(index)
#else
#define M_WIDE_INDEX(index) (index)
#endif

/* A column of rows index[l] of p; NaN where there is no such row. */
M_FUNCTION R m_gather(global const real *p, m_word index, ulong bound, uint columns, uint column) {
    const m_word last = (m_word)(uint)min(bound - 1, (ulong)0xffffffffu);
    uint row[MGN_WIDTH];
    ulong at[MGN_WIDTH];
    MGN_VSTORE(min(index, last), row);
    for (uint l = 0; l < MGN_WIDTH; l++) at[l] = row[l] * (ulong)columns + column;
    return M_WIDE_INDEX(index) <= M_WIDE_INDEX(last) ? MGN_GATHER_AT(p, at) : (R)NAN;
}

/* ---- bytes ---- */

/* Column j of rows of bytes. */
M_FUNCTION R m_load_bytes(global const uchar *p, uint columns, uint lanes) {
    uchar x[MGN_WIDTH];
    for (uint l = 0; l < MGN_WIDTH; l++) x[l] = p[min(l, lanes - 1) * columns];
    return m_from_bytes(MGN_VLOAD(x));
}

M_FUNCTION void m_store_bytes(R value, global uchar *p, uint columns, uint lanes) {
    uchar x[MGN_WIDTH];
    MGN_VSTORE(m_to_bytes(value), x);
    for (uint l = 0; l < lanes; l++) p[l * columns] = x[l];
}

#define BYTES(k) m_from_bytes(MGN_VLOAD(p + k * MGN_WIDTH))

/* Pixels. */
M_FUNCTION void m_load_bytes_3(global const uchar *p, uint lanes, R *x0, R *x1, R *x2) {
    if (lanes == MGN_WIDTH) {
        const R v0 = BYTES(0), v1 = BYTES(1), v2 = BYTES(2);
        TAKE_3
    } else {
        *x0 = m_load_bytes(p, 3, lanes);
        *x1 = m_load_bytes(p + 1, 3, lanes);
        *x2 = m_load_bytes(p + 2, 3, lanes);
    }
}

/* ---- sums over rows ---- */

/* Lane i of the result is the sum of q[i]'s lanes; neighbours are added first. */
M_FUNCTION R m_sum_lanes(R *q) {
    for (uint size = MGN_WIDTH / 2; size > 0; size /= 2)
        for (uint i = 0; i < size; i++)
            q[i] = (R)(q[2 * i].even, q[2 * i + 1].even) + (R)(q[2 * i].odd, q[2 * i + 1].odd);
    return q[0];
}

/* ---- random rows ---- */

/* Column j of MGN_WIDTH rows of `columns` numbers. */
M_FUNCTION R m_column(const real *x, uint columns, uint j) {
    real column[MGN_WIDTH];
    for (uint l = 0; l < MGN_WIDTH; l++) column[l] = x[l * columns + j];
    return MGN_VLOAD(column);
}

/* The words of MGN_WIDTH blocks from `block` on, in the order of their numbers. */
M_FUNCTION void m_draw(const uint *state, ulong stream, ulong block, uint *words) {
    for (uint b = 0; b < MGN_WIDTH; b++) {
        const philox4x32_ctr_t four =
            m_random_block(state[0], state[1], (uint)(block + b), state[2], state[3] ^ (uint)stream);
        for (uint j = 0; j < 4; j++) words[4 * b + j] = four.v[j];
    }
}

/* The numbers of MGN_WIDTH rows of `columns`, the first of which is a multiple of MGN_WIDTH, and some behind them:
 * x has room for whole runs of 4 MGN_WIDTH. */
M_FUNCTION void m_uniform_rows(const uint *state, ulong stream, ulong row, uint columns, real *x) {
    for (uint run = 0; run < (columns + 3) / 4; run++) {
        uint words[4 * MGN_WIDTH];
        m_draw(state, stream, row * columns / 4 + run * MGN_WIDTH, words);
        for (uint part = 0; part < 4 * MGN_WIDTH; part += MGN_WIDTH)
            MGN_VSTORE(m_uniform_of(MGN_VLOAD(words + part)), x + run * 4 * MGN_WIDTH + part);
    }
}

M_FUNCTION void m_normal_rows(const uint *state, ulong stream, ulong row, uint columns, real *x) {
    for (uint run = 0; run < (columns + 3) / 4; run++) {
        uint words[4 * MGN_WIDTH];
        m_draw(state, stream, row * columns / 4 + run * MGN_WIDTH, words);
        for (uint part = 0; part < 4 * MGN_WIDTH; part += 2 * MGN_WIDTH) {
            uint u[MGN_WIDTH], v[MGN_WIDTH];
            real first[MGN_WIDTH], second[MGN_WIDTH];
            for (uint l = 0; l < MGN_WIDTH; l++) {
                u[l] = words[part + 2 * l];
                v[l] = words[part + 2 * l + 1];
            }
            R a, b;
            m_normal_of(MGN_VLOAD(u), MGN_VLOAD(v), &a, &b);
            MGN_VSTORE(a, first);
            MGN_VSTORE(b, second);
            for (uint l = 0; l < MGN_WIDTH; l++) {
                x[run * 4 * MGN_WIDTH + part + 2 * l] = first[l];
                x[run * 4 * MGN_WIDTH + part + 2 * l + 1] = second[l];
            }
        }
    }
}

/* ---- shuffles ---- */

M_SHUFFLE_ROUNDS_OF(m_word, m_shuffle_words)

/* Whether some lane is outside; the driver's any() may be a branch per lane. */
M_FUNCTION bool m_any_outside(m_word x, uint population) {
#if MGN_WIDTH == 16
    const int8 outside = (x.lo >= population) | (x.hi >= population);
#else
    const int8 outside = x >= population;
#endif
    const int4 four = outside.lo | outside.hi;
    const int2 two = four.lo | four.hi;
    return (two.x | two.y) != 0;
}

/* What stands at `position` and at those after it; beyond the end the permutation starts again. The host sees to it that
 * the population is smaller than 2^32 by MGN_WIDTH at least. */
M_FUNCTION m_word m_shuffle_rows(m_shuffle_key key, ulong position) {
    const uint population = key.population;
    if (position >= population) position %= population;
    m_word x = (uint)position + WORD_NUMBERS;
    uint wraps = (MGN_WIDTH - 1) / population;
    do x = x >= population ? x - population : x;
    while (wraps-- > 0);
    x = m_shuffle_words(key, x);
    while (m_any_outside(x, population)) x = x >= population ? m_shuffle_words(key, x) : x;
    return x;
}

/* The rows' entries for `steps` steps from that of `state` on, each of which raises the step by `advance`; with some more
 * behind the last. Done ahead of many steps, because a step alone would wait for every round of every shuffle. */
M_FUNCTION void m_shuffle_ahead(global uint *out, const uint *state, ulong advance, ulong rows, ulong steps,
                                ulong population, ulong steps_per_epoch, ulong stride) {
    uint epoch = m_shuffle_epoch(state[2], steps_per_epoch);
    m_shuffle_key key = m_shuffle_start(state[0], state[1], epoch, (uint)population);
    for (ulong i = 0; i < steps; i++, out += rows) {
        const uint step = state[2] + (uint)(i * advance), now = m_shuffle_epoch(step, steps_per_epoch);
        if (now != epoch) key = m_shuffle_start(state[0], state[1], now, (uint)population);
        epoch = now;
        const ulong position = m_shuffle_position(step, steps_per_epoch, stride, 0, (uint)population);
        for (ulong row = 0; row < rows; row += MGN_WIDTH) MGN_VSTORE(m_shuffle_rows(key, position + row), out + row);
    }
}

#else /* a row is a work-item's */

#define EACH_ROW for (ulong row = begin + get_local_id(0); row < end; row += MGN_GROUP)
#define LANES const uint lanes = 1;
#define ADD(sum, x) sum += x
/* Between work-items that write shared places and those that read them. */
#define SYNC barrier(CLK_LOCAL_MEM_FENCE | CLK_GLOBAL_MEM_FENCE);

M_FUNCTION void m_rows_2(global const real *p, uint lanes, R *x0, R *x1) {
    *x0 = p[0];
    *x1 = p[1];
}

M_FUNCTION void m_rows_3(global const real *p, uint lanes, R *x0, R *x1, R *x2) {
    *x0 = p[0];
    *x1 = p[1];
    *x2 = p[2];
}

M_FUNCTION void m_rows_4(global const real *p, uint lanes, R *x0, R *x1, R *x2, R *x3) {
    *x0 = p[0];
    *x1 = p[1];
    *x2 = p[2];
    *x3 = p[3];
}

M_FUNCTION uint m_load_words(global const uint *p, uint lanes) { return *p; }

M_FUNCTION R m_gather(global const real *p, uint index, ulong bound, uint columns, uint column) {
    return index < bound ? p[index * (ulong)columns + column] : (R)NAN;
}

M_FUNCTION R m_load_bytes(global const uchar *p, uint columns, uint lanes) { return m_from_bytes(*p); }
M_FUNCTION void m_store_bytes(R value, global uchar *p, uint columns, uint lanes) { *p = m_to_bytes(value); }

M_FUNCTION void m_load_bytes_3(global const uchar *p, uint lanes, R *x0, R *x1, R *x2) {
    *x0 = m_from_bytes(p[0]);
    *x1 = m_from_bytes(p[1]);
    *x2 = m_from_bytes(p[2]);
}

/* For work-item k < count, the sum of the MGN_GROUP entries of t from k * MGN_GROUP on; count <= 8. In three steps,
 * which cost fewer barriers than halving: 256 entries become 32, 4, 1. */
M_FUNCTION real m_sum_group(local real *t, uint count) {
    const uint item = get_local_id(0);
    barrier(CLK_LOCAL_MEM_FENCE);
    if (item < count * 32) {
        local real *from = t + item / 32 * MGN_GROUP + item % 32;
        *from = ((from[0] + from[32]) + (from[64] + from[96])) + ((from[128] + from[160]) + (from[192] + from[224]));
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    if (item < count * 4) {
        local real *from = t + item / 4 * MGN_GROUP + item % 4;
        *from = ((from[0] + from[4]) + (from[8] + from[12])) + ((from[16] + from[20]) + (from[24] + from[28]));
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    if (item >= count) return 0;
    t += item * MGN_GROUP;
    return (t[0] + t[1]) + (t[2] + t[3]);
}

M_FUNCTION R m_column(const real *x, uint columns, uint j) { return x[j]; }

/* The numbers of one row; x has room for some more. */
M_FUNCTION void m_uniform_rows(const uint *state, ulong stream, ulong row, uint columns, real *x) {
    philox4x32_ctr_t four;
    for (uint j = 0; j < columns; j++) {
        const ulong at = row * columns + j;
        if (j == 0 || at % 4 == 0)
            four = m_random_block(state[0], state[1], (uint)(at / 4), state[2], state[3] ^ (uint)stream);
        x[j] = m_uniform_of(four.v[at % 4]);
    }
}

M_FUNCTION void m_normal_rows(const uint *state, ulong stream, ulong row, uint columns, real *x) {
    philox4x32_ctr_t four;
    for (uint j = 0; j < columns; j++) {
        const ulong at = row * columns + j;
        if (j == 0 || at % 4 == 0)
            four = m_random_block(state[0], state[1], (uint)(at / 4), state[2], state[3] ^ (uint)stream);
        R first, second;
        m_normal_of(four.v[at % 4 / 2 * 2], four.v[at % 4 / 2 * 2 + 1], &first, &second);
        x[j] = at % 2 ? second : first;
    }
}

M_FUNCTION uint m_shuffle_rows(m_shuffle_key key, ulong position) {
    return m_shuffle(key, (uint)(position % key.population));
}

M_FUNCTION void m_shuffle_ahead(global uint *out, const uint *state, ulong advance, ulong rows, ulong steps,
                                ulong population, ulong steps_per_epoch, ulong stride) {
    uint epoch = m_shuffle_epoch(state[2], steps_per_epoch);
    m_shuffle_key key = m_shuffle_start(state[0], state[1], epoch, (uint)population);
    for (uint at = get_local_id(0); at < (uint)(rows * steps); at += MGN_GROUP) {
        const uint i = at / (uint)rows, step = state[2] + i * (uint)advance, now = m_shuffle_epoch(step, steps_per_epoch);
        if (now != epoch) key = m_shuffle_start(state[0], state[1], now, (uint)population);
        epoch = now;
        out[at] = m_shuffle_rows(key, m_shuffle_position(step, steps_per_epoch, stride, at - i * rows, (uint)population));
    }
}

#endif
