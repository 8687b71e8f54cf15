/* One elementwise op. The host defines MGN_ARITY, MGN_EXPRESSION (the op's row of the table, in a, b, c) and one of
 * MGN_FLAT and MGN_STRIDED.
 *
 * flat: the output is contiguous, and each input is so too (step 1) or is a single value (step 0).
 * strided: up to four axes, any strides; the host has joined the axes that can be. */
#include "mgn_lanes.h"

#if MGN_ARITY == 1
#define INPUTS(kind) kind(a)
#elif MGN_ARITY == 2
#define INPUTS(kind) kind(a) kind(b)
#else
#define INPUTS(kind) kind(a) kind(b) kind(c)
#endif

#ifdef MGN_FLAT

#define PARAMETERS(v) global const real *v##_p, ulong v##_at, ulong v##_step,
#define BEGIN(v) v##_p += v##_at;
#define LOAD(v) const R v = m_load(v##_p + i * v##_step, v##_step, lanes);

MGN_KERNEL void flat(INPUTS(PARAMETERS) global real *out, ulong out_at, ulong count, ulong chunk) {
    INPUTS(BEGIN)
    out += out_at;
#if MGN_WIDTH > 1
    ulong i = get_group_id(0) * chunk;
    const ulong end = min(i + chunk, count);
    uint lanes = MGN_WIDTH;
    for (; i + MGN_WIDTH <= end; i += MGN_WIDTH) {
        INPUTS(LOAD)
        MGN_VSTORE(MGN_EXPRESSION, out + i);
    }
    if (i < end) {
        lanes = (uint)(end - i);
        INPUTS(LOAD)
        m_store(MGN_EXPRESSION, out + i, 1, lanes);
    }
#else
    const uint lanes = 1;
    for (ulong i = get_global_id(0); i < count; i += get_global_size(0)) {
        INPUTS(LOAD)
        out[i] = MGN_EXPRESSION;
    }
#endif
}

#else /* MGN_STRIDED */

#define PARAMETERS(v) global const real *v##_p, ulong v##_at, ulong4 v##_stride,

#if MGN_WIDTH > 1

/* A chunk of the elements in row-major order. Along rows that are long enough a vector is a piece of one row; shorter
 * rows are gathered into vectors, because the arithmetic is dearer than the moving. */
#define DOT(v) i.x * v##_stride.x + i.y * v##_stride.y + i.z * v##_stride.z + i.w * v##_stride.w
#define START(v) ulong v##_i = v##_at + DOT(v);
#define LOAD(v) const R v = m_load(v##_p + v##_i, v##_stride.w, lanes);
#define SKIP(v) v##_i += lanes * v##_stride.w;
#define ROW(v) v##_i += v##_stride.z - dims.w * v##_stride.w;
#define PLANE(v) v##_i += v##_stride.y - dims.z * v##_stride.z;
#define BLOCK(v) v##_i += v##_stride.x - dims.y * v##_stride.y;
#define LANES(v) real v##_lane[MGN_WIDTH];
#define GATHER(v) v##_lane[lanes] = v##_p[v##_i];
#define REPEAT(v) v##_lane[l] = v##_lane[0];
#define WHOLE(v) const R v = MGN_VLOAD(v##_lane);

/* After the last element of a row: to the next row, plane, block. */
#define CARRY                 \
    if (i.w == dims.w) {      \
        i.w = 0;              \
        i.z++;                \
        INPUTS(ROW) ROW(out)  \
        if (i.z == dims.z) {  \
            i.z = 0;          \
            i.y++;            \
            INPUTS(PLANE) PLANE(out) \
            if (i.y == dims.y) {     \
                i.y = 0;             \
                i.x++;               \
                INPUTS(BLOCK) BLOCK(out) \
            }                            \
        }                                \
    }

/* MGN_WIDTH rows that are shorter than a vector are a whole number of vectors, in which every element lies as far from
 * the first as in the vectors of the next MGN_WIDTH rows: an operand's elements lie in one piece (step 1), are the same
 * in every row (`pattern`), or are gathered. Where they lie is worked out once per chunk. */
#define TABLES(v)                                                                       \
    uint v##_to[MGN_WIDTH * MGN_WIDTH];                                                 \
    const uint v##_kind = v##_stride.w == 1 && v##_stride.z == width ? 0 : v##_stride.z == 0 ? 1 : 2; \
    v##_p += v##_i;                                                                     \
    for (uint e = 0; e < MGN_WIDTH * width; e++)                                        \
        v##_to[e] = (uint)(e / width * v##_stride.z + e % width * v##_stride.w);
#define PATTERN(v)              \
    R v##_pattern[MGN_WIDTH];   \
    for (uint e = 0; e < width && v##_kind == 1; e++) v##_pattern[e] = MGN_GATHER_AT(v##_p, v##_to + e * MGN_WIDTH);
#define PICK(v)                                                                          \
    const R v = v##_kind == 0   ? MGN_VLOAD(v##_p + e * MGN_WIDTH)                       \
                : v##_kind == 1 ? v##_pattern[e]                                         \
                                : MGN_GATHER_AT(v##_p, v##_to + e * MGN_WIDTH);
#define NEXT(v) v##_p += MGN_WIDTH * v##_stride.z;

M_FUNCTION void short_rows(INPUTS(PARAMETERS) global real *out_p, ulong out_at, ulong4 out_stride, uint width,
                           ulong row, ulong blocks) {
#define BEGIN_ROW(v) const ulong v##_i = v##_at + row * v##_stride.z;
    INPUTS(BEGIN_ROW) BEGIN_ROW(out)
    INPUTS(TABLES) TABLES(out)
    INPUTS(PATTERN)
    for (ulong block = 0; block < blocks; block++) {
        for (uint e = 0; e < width; e++) {
            INPUTS(PICK)
            const R result = MGN_EXPRESSION;
            if (out_kind == 0) {
                MGN_VSTORE(result, out_p + e * MGN_WIDTH);
            } else {
                real lane[MGN_WIDTH];
                MGN_VSTORE(result, lane);
                for (uint l = 0; l < MGN_WIDTH; l++) out_p[out_to[e * MGN_WIDTH + l]] = lane[l];
            }
        }
        INPUTS(NEXT) NEXT(out)
    }
}

MGN_KERNEL void strided(INPUTS(PARAMETERS) global real *out_p, ulong out_at, ulong4 out_stride, ulong4 dims,
                        ulong count, ulong chunk) {
    ulong position = get_group_id(0) * chunk;
    const ulong end = min(position + chunk, count);
    if (dims.w < MGN_WIDTH && dims.x * dims.y == 1 && position < end) {
        /* Chunks begin with a row. Strides that do not fit the tables are left to what follows. */
        const ulong blocks = (end - position) / (dims.w * MGN_WIDTH);
        ulong reach = out_stride.z + out_stride.w;
#define REACH(v) reach = max(reach, v##_stride.z + v##_stride.w);
        INPUTS(REACH)
        if (reach < 1u << 24) {
#define PASS(v) v##_p, v##_at, v##_stride,
            short_rows(INPUTS(PASS) out_p, out_at, out_stride, (uint)dims.w, position / dims.w, blocks);
            position += blocks * dims.w * MGN_WIDTH;
        }
    }
    ulong4 i;
    i.w = position % dims.w;
    i.z = position / dims.w;
    i.y = i.z / dims.z;
    i.x = i.y / dims.y;
    i.z %= dims.z;
    i.y %= dims.y;
    INPUTS(START) START(out)
    if (dims.w >= MGN_WIDTH) {
        while (position < end) {
            const uint lanes = (uint)min((ulong)MGN_WIDTH, min(dims.w - i.w, end - position));
            INPUTS(LOAD)
            m_store(MGN_EXPRESSION, out_p + out_i, out_stride.w, lanes);
            INPUTS(SKIP) SKIP(out)
            position += lanes;
            i.w += lanes;
            CARRY
        }
        return;
    }
    while (position < end) {
        INPUTS(LANES)
        ulong target[MGN_WIDTH];
        uint lanes = 0;
        for (; lanes < MGN_WIDTH && position < end; lanes++, position++) {
            INPUTS(GATHER)
            target[lanes] = out_i;
            i.w++;
#define STEP(v) v##_i += v##_stride.w;
            INPUTS(STEP) STEP(out)
            CARRY
        }
        for (uint l = lanes; l < MGN_WIDTH; l++) {
            INPUTS(REPEAT)
        }
        INPUTS(WHOLE)
        real result[MGN_WIDTH];
        MGN_VSTORE(MGN_EXPRESSION, result);
        for (uint l = 0; l < lanes; l++) out_p[target[l]] = result[l];
    }
}

#else

#define AT(v) v##_at + i0 * v##_stride.x + i1 * v##_stride.y + i2 * v##_stride.z + i3 * v##_stride.w
#define LOAD(v) const R v = v##_p[AT(v)];

/* Fewer than 2^32 elements: 32-bit divisions are several times faster. */
MGN_KERNEL void strided(INPUTS(PARAMETERS) global real *out, ulong out_at, ulong4 out_stride, ulong4 dims,
                        ulong count, ulong chunk) {
    const uint d1 = (uint)dims.y, d2 = (uint)dims.z, d3 = (uint)dims.w;
    for (ulong at = get_global_id(0); at < count; at += get_global_size(0)) {
        uint rest = (uint)at;
        const ulong i3 = rest % d3;
        rest /= d3;
        const ulong i2 = rest % d2;
        rest /= d2;
        const ulong i1 = rest % d1, i0 = rest / d1;
        INPUTS(LOAD)
        out[AT(out)] = MGN_EXPRESSION;
    }
}

#endif
#endif
