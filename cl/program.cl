/* What generated row programs are written in: the host appends kernels that it prints from a plan's instructions
 * (host/backend/opencl/row_print.c) to this text.
 *
 * On CPU devices a row value R holds MGN_WIDTH rows that follow each other, `lanes` of which exist; the rest repeat
 * the last one, so that they are as harmless as real rows. On GPUs R is one row, and lanes is 1. Functions for 2, 3 and 4
 * columns of row-major data take whole vectors apart by shuffles; wider rows are read lane by lane. */
#include "mgn_lanes.h"
#include "mgn_random.h"

/* The same value for all rows. */
#define S(i) ((R)(s[i]))
/* The larger of two; a NaN wins. */
#define LARGER(x, y) ((((y) > (x)) | ((y) != (y))) ? (y) : (x))

/* m_take_N: entry of column j in row l is p[l * N + j]; p is any pointer. */
#if MGN_WIDTH == 16
#define TAKE_2(p, x0, x1)                                                                          \
    const R v0 = vload16(0, p), v1 = vload16(1, p);                                                \
    x0 = (R)(v0.even, v1.even);                                                                    \
    x1 = (R)(v0.odd, v1.odd);
#define TAKE_3(p, x0, x1, x2)                                                                      \
    const R v0 = vload16(0, p), v1 = vload16(1, p), v2 = vload16(2, p);                            \
    x0 = (R)(v0.s0369, v0.scf, v1.s258b, v1.se, v2.s147a, v2.sd);                                  \
    x1 = (R)(v0.s147a, v0.sd, v1.s0369, v1.scf, v2.s258b, v2.se);                                  \
    x2 = (R)(v0.s258b, v0.se, v1.s147a, v1.sd, v2.s0369, v2.scf);
#elif MGN_WIDTH == 8
#define TAKE_2(p, x0, x1)                                                                          \
    const R v0 = vload8(0, p), v1 = vload8(1, p);                                                  \
    x0 = (R)(v0.even, v1.even);                                                                    \
    x1 = (R)(v0.odd, v1.odd);
#define TAKE_3(p, x0, x1, x2)                                                                      \
    const R v0 = vload8(0, p), v1 = vload8(1, p), v2 = vload8(2, p);                               \
    x0 = (R)(v0.s036, v1.s147, v2.s25);                                                            \
    x1 = (R)(v0.s147, v1.s25, v2.s036);                                                            \
    x2 = (R)(v0.s25, v1.s036, v2.s147);
#endif
#if MGN_WIDTH > 1
#define TAKE_4(p, x0, x1, x2, x3)                                                                  \
    const R v0 = MGN_VLOAD(p), v1 = MGN_VLOAD((p) + MGN_WIDTH);                                    \
    const R v2 = MGN_VLOAD((p) + 2 * MGN_WIDTH), v3 = MGN_VLOAD((p) + 3 * MGN_WIDTH);              \
    const R low_even = (R)(v0.even, v1.even), low_odd = (R)(v0.odd, v1.odd);                       \
    const R high_even = (R)(v2.even, v3.even), high_odd = (R)(v2.odd, v3.odd);                     \
    x0 = (R)(low_even.even, high_even.even);                                                       \
    x1 = (R)(low_odd.even, high_odd.even);                                                         \
    x2 = (R)(low_even.odd, high_even.odd);                                                         \
    x3 = (R)(low_odd.odd, high_odd.odd);
#endif

#if MGN_WIDTH > 1

/* ---- the loop over rows begin .. end - 1, and which lanes of it exist ---- */

#define EACH_ROW for (ulong row = begin; row < end; row += MGN_WIDTH)
#define LANES                                                                                      \
    const uint lanes = (uint)min((ulong)MGN_WIDTH, end - row);                                     \
    const m_mask exists = LANE_NUMBERS < (m_mask)lanes;
#define KEEP(x) (exists ? (x) : (R)0)

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

M_FUNCTION void m_rows_2(global const real *p, uint lanes, R *x0, R *x1) {
    if (lanes == MGN_WIDTH) {
        TAKE_2(p, *x0, *x1)
    } else {
        *x0 = m_load(p, 2, lanes);
        *x1 = m_load(p + 1, 2, lanes);
    }
}

M_FUNCTION void m_rows_3(global const real *p, uint lanes, R *x0, R *x1, R *x2) {
    if (lanes == MGN_WIDTH) {
        TAKE_3(p, *x0, *x1, *x2)
    } else {
        *x0 = m_load(p, 3, lanes);
        *x1 = m_load(p + 1, 3, lanes);
        *x2 = m_load(p + 2, 3, lanes);
    }
}

M_FUNCTION void m_rows_4(global const real *p, uint lanes, R *x0, R *x1, R *x2, R *x3) {
    if (lanes == MGN_WIDTH) {
        TAKE_4(p, *x0, *x1, *x2, *x3)
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

M_FUNCTION void m_store_words(m_word value, global uint *p, uint lanes) {
    uint x[MGN_WIDTH];
    MGN_VSTORE(value, x);
    for (uint l = 0; l < lanes; l++) p[l] = x[l];
}

/* ---- rows by index; those outside are NaN ---- */

/* Row index[l] of p for every lane, in x (MGN_WIDTH rows of `columns`). */
M_FUNCTION void m_collect(global const real *p, m_word index, ulong bound, uint columns, uint first, uint count, real *x) {
    uint from[MGN_WIDTH];
    MGN_VSTORE(index, from);
    for (uint l = 0; l < MGN_WIDTH; l++) {
        global const real *row = p + (from[l] < bound ? from[l] : 0) * (ulong)columns + first;
        for (uint j = 0; j < count; j++) x[l * count + j] = row[j];
    }
}

M_FUNCTION R m_inside(R x, m_word index, ulong bound) {
    const uint last = (uint)min(bound - 1, (ulong)0xffffffffu);
#ifdef MGN_REAL_IS_DOUBLE
    return convert_long8(index) <= (long)last ? x : (R)NAN;
#else
    return index <= last ? x : (R)NAN;
#endif
}

M_FUNCTION R m_gather(global const real *p, m_word index, ulong bound, uint columns, uint column) {
    real x[MGN_WIDTH];
    m_collect(p, index, bound, columns, column, 1, x);
    return m_inside(MGN_VLOAD(x), index, bound);
}

M_FUNCTION void m_gather_2(global const real *p, m_word index, ulong bound, R *x0, R *x1) {
    real x[2 * MGN_WIDTH];
    m_collect(p, index, bound, 2, 0, 2, x);
    TAKE_2(x, *x0, *x1)
    *x0 = m_inside(*x0, index, bound);
    *x1 = m_inside(*x1, index, bound);
}

M_FUNCTION void m_gather_3(global const real *p, m_word index, ulong bound, R *x0, R *x1, R *x2) {
    real x[3 * MGN_WIDTH];
    m_collect(p, index, bound, 3, 0, 3, x);
    TAKE_3(x, *x0, *x1, *x2)
    *x0 = m_inside(*x0, index, bound);
    *x1 = m_inside(*x1, index, bound);
    *x2 = m_inside(*x2, index, bound);
}

M_FUNCTION void m_gather_4(global const real *p, m_word index, ulong bound, R *x0, R *x1, R *x2, R *x3) {
    real x[4 * MGN_WIDTH];
    m_collect(p, index, bound, 4, 0, 4, x);
    TAKE_4(x, *x0, *x1, *x2, *x3)
    *x0 = m_inside(*x0, index, bound);
    *x1 = m_inside(*x1, index, bound);
    *x2 = m_inside(*x2, index, bound);
    *x3 = m_inside(*x3, index, bound);
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

M_FUNCTION m_word m_shuffle_words(m_shuffle_key key, m_word x) {
    const uint bits = key.bits;
    m_word left = x >> bits, right = x & ((1u << bits) - 1u);
    for (uint j = 0; j < M_SHUFFLE_ROUNDS; j++) {
        m_word mixed = (right ^ key.round[j]) * 0xD2511F53u;
        mixed = (mixed ^ (mixed >> 15)) * 0xCD9E8D57u;
        const m_word next = left ^ (mixed >> (32u - bits));
        left = right;
        right = next;
    }
    return (left << bits) | right;
}

/* What stands at `position` and at those after it; beyond the end the permutation starts again. */
M_FUNCTION m_word m_shuffle_rows(m_shuffle_key key, ulong position) {
    const uint population = key.population;
    m_word x = (uint)(position % population) + WORD_NUMBERS;
    /* Less than MGN_WIDTH from 2^32 the sum wraps; what is then too small is behind the end. */
    if (population >= MGN_WIDTH) x = (x >= population) | (x < (uint)(position % population)) ? x - population : x;
    else x %= population;
    x = m_shuffle_words(key, x);
    while (any(x >= population)) x = x >= population ? m_shuffle_words(key, x) : x;
    return x;
}

#else /* a row is a work-item's */

#define EACH_ROW for (ulong row = begin + get_local_id(0); row < end; row += MGN_GROUP)
#define LANES const uint lanes = 1;
#define KEEP(x) (x)
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
M_FUNCTION void m_store_words(uint value, global uint *p, uint lanes) { *p = value; }

M_FUNCTION R m_gather(global const real *p, uint index, ulong bound, uint columns, uint column) {
    return index < bound ? p[index * (ulong)columns + column] : (R)NAN;
}

M_FUNCTION void m_gather_2(global const real *p, uint index, ulong bound, R *x0, R *x1) {
    *x0 = m_gather(p, index, bound, 2, 0);
    *x1 = m_gather(p, index, bound, 2, 1);
}

M_FUNCTION void m_gather_3(global const real *p, uint index, ulong bound, R *x0, R *x1, R *x2) {
    *x0 = m_gather(p, index, bound, 3, 0);
    *x1 = m_gather(p, index, bound, 3, 1);
    *x2 = m_gather(p, index, bound, 3, 2);
}

M_FUNCTION void m_gather_4(global const real *p, uint index, ulong bound, R *x0, R *x1, R *x2, R *x3) {
    *x0 = m_gather(p, index, bound, 4, 0);
    *x1 = m_gather(p, index, bound, 4, 1);
    *x2 = m_gather(p, index, bound, 4, 2);
    *x3 = m_gather(p, index, bound, 4, 3);
}

/* Entry k * MGN_GROUP of t becomes the sum of the MGN_GROUP entries from there, for k < count. */
M_FUNCTION void m_sum_group(local real *t, uint count) {
    const uint item = get_local_id(0);
    for (uint size = MGN_GROUP / 2; size > 0; size /= 2) {
        barrier(CLK_LOCAL_MEM_FENCE);
        if (item < size)
            for (uint k = 0; k < count; k++) t[k * MGN_GROUP + item] += t[k * MGN_GROUP + item + size];
    }
    barrier(CLK_LOCAL_MEM_FENCE);
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

#endif
