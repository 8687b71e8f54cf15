/* Sums over all pairs of two point clouds, streaming: see host/graph/cloud.c. A lane owns a row i and walks the columns
 * j in tiles, whose exponents are kept until their maximum is known: the running maximum changes once a tile.
 *
 * MGN_D: the number of coordinates, where it is small; the row's are then private. MGN_E: columns of v that a work-item
 * adds up, at most. */
#include "mgn_lanes.h"

#ifdef MGN_REAL_IS_DOUBLE
#define TILE 8
#define SCALE(bits) as_double(bits)
#else
#define TILE 16
#define SCALE(bits) as_float((uint)(bits))
#endif
#define MINUS_INFINITY ((R)-INFINITY)
/* Weights below 2^-100 count as 0 in float: products of denormals take long. */
#ifdef MGN_REAL_IS_DOUBLE
#define LEAST ((R)-INFINITY)
#else
#define LEAST ((R)-69.3147181f)
#endif

#ifdef MGN_D
#define POINT                                                                              \
    R point[MGN_D];                                                                        \
    for (uint k = 0; k < MGN_D; k++) point[k] = m_load(x + row * MGN_D + k, MGN_D, lanes);
#define POINT_ARGUMENT const private R *point
#define POINT_GIVEN point
#else
#define POINT
#define POINT_ARGUMENT global const real *x, ulong row, ulong d, uint lanes
#define POINT_GIVEN x, row, d, lanes
#endif

/* e^t for t <= 0: m_exp without what other arguments need. Not less than 2^-126, which next to the row's largest term, 1,
 * is nothing; relative error 2e-7. */
#ifdef MGN_REAL_IS_DOUBLE
M_FUNCTION R decay(R t) { return m_exp(t); }
#else
M_FUNCTION R decay(R t) {
    t = t < (R)-87.3365479f ? (R)-87.3365479f : t;
    const R shifted = MGN_FMA(t, (R)1.44269502f, (R)M_ROUND);
    const R r = MGN_FMA(t, (R)1.44269502f, (R)M_ROUND - shifted);
    R p = (R)1.33952422e-3f;
    p = MGN_FMA(p, r, (R)9.61777863e-3f);
    p = MGN_FMA(p, r, (R)5.55032730e-2f);
    p = MGN_FMA(p, r, (R)2.40226830e-1f);
    p = MGN_FMA(p, r, (R)6.93147182e-1f);
    p = MGN_FMA(p, r, (R)1.0f);
    return m_real(m_bits(p) + (m_bits(shifted) << 23));
}
#endif

/* e[c] = h_j - |x_i - y_j|^2 / 2 of columns j = 0 .. count - 1, and their maximum. */
M_FUNCTION R exponents(POINT_ARGUMENT, global const real *y, global const real *h, uint count, private R *e) {
    R top = MINUS_INFINITY;
#ifdef MGN_D
    for (uint c = 0; c < count; c++) {
        R s = (R)0;
        for (uint k = 0; k < MGN_D; k++) {
            const R difference = point[k] - (R)y[c * MGN_D + k];
            s = MGN_FMA(difference, difference, s);
        }
        e[c] = (R)h[c] - s * (R)0.5f;
        top = e[c] > top ? e[c] : top;
    }
#else
    for (uint c = 0; c < count; c++) e[c] = (R)0;
    for (ulong k = 0; k < d; k++) {
        const R a = m_load(x + row * d + k, d, lanes);
        for (uint c = 0; c < count; c++) {
            const R difference = a - (R)y[c * d + k];
            e[c] = MGN_FMA(difference, difference, e[c]);
        }
    }
    for (uint c = 0; c < count; c++) {
        e[c] = (R)h[c] - e[c] * (R)0.5f;
        top = e[c] > top ? e[c] : top;
    }
#endif
    return top;
}

/* Takes a tile's exponents, with their maximum, into the log sum top + log(sum). */
M_FUNCTION void absorb(private const R *e, uint count, R tile_top, R *top, R *sum) {
    const R highest = tile_top > *top ? tile_top : *top;
    const R shift = highest > MINUS_INFINITY ? highest : (R)0; /* all heights are -INFINITY so far */
    R s = *sum * m_exp(*top - shift);
    for (uint c = 0; c < count; c++) s += decay(e[c] - shift);
    *top = highest;
    *sum = s;
}

#ifdef MGN_D
#define D_OF(d) ((ulong)MGN_D)
#else
#define D_OF(d) (d)
#endif

/* x (n, d), y (m, d), h (m) -> out (n). */
MGN_KERNEL void softmin(global const real *x, ulong x_at, global const real *y, ulong y_at, global const real *h,
                        ulong h_at, global real *out, ulong out_at, ulong n, ulong m, ulong d) {
    x += x_at;
    y += y_at;
    h += h_at;
    out += out_at;
    for (ulong row = get_global_id(0) * MGN_WIDTH; row < n; row += get_global_size(0) * MGN_WIDTH) {
        const uint lanes = (uint)min((ulong)MGN_WIDTH, n - row);
        R e[TILE], top = MINUS_INFINITY, sum = (R)0;
        POINT
        for (ulong j = 0; j < m; j += TILE) {
            const uint count = (uint)min((ulong)TILE, m - j);
            if (count == TILE) { /* a number that the compiler knows */
                const R tile_top = exponents(POINT_GIVEN, y + j * D_OF(d), h + j, TILE, e);
                absorb(e, TILE, tile_top, &top, &sum);
            } else {
                const R tile_top = exponents(POINT_GIVEN, y + j * D_OF(d), h + j, count, e);
                absorb(e, count, tile_top, &top, &sum);
            }
        }
        m_store(top + m_log(sum), out + row, 1, lanes);
    }
}

/* Costs scale * s in memory, those of a row `down` apart from the next's, of a column `along`; h (m) -> out (n); `scale`
 * holds the bits of a real. */
MGN_KERNEL void dense(global const real *s, ulong s_at, global const real *h, ulong h_at, global real *out,
                      ulong out_at, ulong scale, ulong n, ulong m, ulong down, ulong along) {
    s += s_at;
    h += h_at;
    out += out_at;
    const R factor = (R)SCALE(scale);
    for (ulong row = get_global_id(0) * MGN_WIDTH; row < n; row += get_global_size(0) * MGN_WIDTH) {
        const uint lanes = (uint)min((ulong)MGN_WIDTH, n - row);
        R e[TILE], top = MINUS_INFINITY, sum = (R)0;
        for (ulong j = 0; j < m; j += TILE) {
            const uint count = (uint)min((ulong)TILE, m - j);
            R tile_top = MINUS_INFINITY;
            for (uint c = 0; c < count; c++) {
                e[c] = (R)h[j + c] - factor * m_load(s + row * down + (j + c) * along, down, lanes);
                tile_top = e[c] > tile_top ? e[c] : tile_top;
            }
            absorb(e, count, tile_top, &top, &sum);
        }
        m_store(top + m_log(sum), out + row, 1, lanes);
    }
}

#ifdef MGN_E
/* x (n, d), y (m, d), f (n), h (m), v (m, columns) -> out (n, columns), MGN_E columns a work-item. */
MGN_KERNEL void gibbs(global const real *x, ulong x_at, global const real *y, ulong y_at, global const real *f,
                      ulong f_at, global const real *h, ulong h_at, global const real *v, ulong v_at, global real *out,
                      ulong out_at, ulong n, ulong m, ulong d, ulong columns) {
    x += x_at;
    y += y_at;
    f += f_at;
    h += h_at;
    v += v_at;
    out += out_at;
    const ulong bands = (n + MGN_WIDTH - 1) / MGN_WIDTH, blocks = (columns + MGN_E - 1) / MGN_E;
    for (ulong item = get_global_id(0); item < bands * blocks; item += get_global_size(0)) {
        const ulong row = item % bands * MGN_WIDTH, first = item / bands * MGN_E;
        const uint lanes = (uint)min((ulong)MGN_WIDTH, n - row);
        const uint last = (uint)min((ulong)MGN_E, columns - first) - 1;
        const R height = m_load(f + row, 1, lanes);
        R e[TILE], sums[MGN_E];
        for (uint k = 0; k < MGN_E; k++) sums[k] = (R)0;
        POINT
        for (ulong j = 0; j < m; j += TILE) {
            const uint count = (uint)min((ulong)TILE, m - j);
            if (count == TILE)
                exponents(POINT_GIVEN, y + j * D_OF(d), h + j, TILE, e);
            else
                exponents(POINT_GIVEN, y + j * D_OF(d), h + j, count, e);
            for (uint c = 0; c < count; c++) {
                const R exponent = e[c] + height;
                const R weight = exponent < LEAST ? (R)0 : m_exp(exponent);
                global const real *values = v + (j + c) * columns + first;
                for (uint k = 0; k < MGN_E; k++) sums[k] = MGN_FMA(weight, (R)values[min(k, last)], sums[k]);
            }
        }
        for (uint k = 0; k <= last; k++) m_store(sums[k], out + row * columns + first + k, columns, lanes);
    }
}
#endif
