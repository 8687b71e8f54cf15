/* Sums over all pairs of two point clouds, streaming: see host/graph/cloud.c. A lane owns a row i and walks the columns
 * j in tiles, whose exponents are kept until their maximum is known: the running maximum changes once a tile.
 *
 * MGN_D: the number of coordinates, where it is small; the row's are then private. Else the points come as panels that
 * `panels` made, and exponents are products: h_j - |y_j|^2 / 2 + x_i . y_j, a tile of them at a time in registers, without
 * what belongs to the row. MGN_E: columns of v that a work-item adds up, at most. */
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
#define D_OF(d) ((ulong)MGN_D)
#else
#define POINT global const real *point = x + row * d;
#define POINT_ARGUMENT global const real *point, ulong d
#define POINT_GIVEN point, d
#define D_OF(d) (d)
#endif

/* e^t for t <= 0: m_exp without what other arguments need. Not less than 2^-125, which next to the row's largest term, 1,
 * is nothing, and keeps the last product from denormals, which take a hundred times as long; relative error 2e-7. */
#ifdef MGN_REAL_IS_DOUBLE
M_FUNCTION R decay(R t) { return m_exp(t); }
#else
M_FUNCTION R decay(R t) {
    t = t < (R)-86.6433957f ? (R)-86.6433957f : t;
    const R shift = (R)(M_ROUND + 127.0f); /* the low bits of `shifted` are those of the exponent of a number */
    const R shifted = MGN_FMA(t, (R)1.44269502f, shift);
    const R r = MGN_FMA(t, (R)1.44269502f, shift - shifted);
    R p = (R)1.33952422e-3f;
    p = MGN_FMA(p, r, (R)9.61777863e-3f);
    p = MGN_FMA(p, r, (R)5.55032730e-2f);
    p = MGN_FMA(p, r, (R)2.40226830e-1f);
    p = MGN_FMA(p, r, (R)6.93147182e-1f);
    p = MGN_FMA(p, r, (R)1.0f);
    return p * m_real(m_bits(shifted) << 23); /* a NaN stays one, whatever its bits */
}
#endif

/* e[c] = h_j - |x_i - y_j|^2 / 2 of columns j = 0 .. count - 1, and their maximum; without |x_i|^2 / 2 from panels. */
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
    R products[TILE];
#pragma unroll
    for (uint c = 0; c < TILE; c++) products[c] = (R)0;
    for (ulong k = 0; k < d; k++) {
        const R a = MGN_VLOAD(point);
#pragma unroll
        for (uint c = 0; c < TILE; c++) products[c] = MGN_FMA(a, (R)y[c], products[c]);
        point += MGN_WIDTH;
        y += TILE;
    }
#pragma unroll
    for (uint c = 0; c < TILE; c++) e[c] = products[c];
    for (uint c = 0; c < count; c++) {
        e[c] += (R)h[c];
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

#ifndef MGN_D
/* Points (n, d) as panels (n / width, d, width), padded with zeros, and h (n) - |points|^2 / 2; h is not read where
 * there are no heights. A work-item makes a panel. */
MGN_KERNEL void panels(global const real *points, ulong points_at, global const real *h, ulong h_at,
                       global real *panels, ulong panels_at, global real *lowered, ulong lowered_at, ulong n, ulong d,
                       ulong width, ulong has_heights) {
    for (ulong first = get_global_id(0) * width; first < n; first += get_global_size(0) * width) {
        global real *to = panels + panels_at + first * d;
        for (ulong e = 0; e < width; e++) {
            const ulong i = first + e;
            global const real *from = points + points_at + i * d;
            real norm = 0;
            for (ulong k = 0; k < d; k++) {
                const real a = i < n ? from[k] : (real)0;
                norm += a * a;
                to[k * width + e] = a;
            }
            if (i < n) lowered[lowered_at + i] = (has_heights ? h[h_at + i] : (real)0) - norm / 2;
        }
    }
}
#endif

/* x (n, d), y (m, d), h (m) -> out (n), and once more `again` further where that is not 0; from panels with the rows' own
 * part, own (n), added. */
MGN_KERNEL void softmin(global const real *x, ulong x_at, global const real *y, ulong y_at, global const real *h,
                        ulong h_at, global const real *own, ulong own_at, global real *out, ulong out_at, ulong n,
                        ulong m, ulong d, ulong again) {
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
#ifndef MGN_D
        top += m_load(own + own_at + row, 1, lanes);
#endif
        const R result = top + m_log(sum);
        m_store(result, out + row, 1, lanes);
        if (again) m_store(result, out + again + row, 1, lanes);
    }
}

/* Costs scale * s in memory, those of a row `down` apart from the next's, of a column `along`; h (m) -> out (n), and once
 * more `again` further where that is not 0; `scale` holds the bits of a real. */
MGN_KERNEL void dense(global const real *s, ulong s_at, global const real *h, ulong h_at, global real *out,
                      ulong out_at, ulong scale, ulong n, ulong m, ulong down, ulong along, ulong again) {
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
        const R result = top + m_log(sum);
        m_store(result, out + row, 1, lanes);
        if (again) m_store(result, out + again + row, 1, lanes);
    }
}

#if MGN_WIDTH > 1
/* Rows that lie one after the other, lanes along them: each has a log sum of its own until the row's end. */
MGN_KERNEL void dense_along(global const real *s, ulong s_at, global const real *h, ulong h_at, global real *out,
                            ulong out_at, ulong scale, ulong n, ulong m) {
    h += h_at;
    const R factor = (R)SCALE(scale);
    for (ulong row = get_global_id(0); row < n; row += get_global_size(0)) {
        global const real *costs = s + s_at + row * m;
        R e[TILE], top = MINUS_INFINITY, sum = (R)0;
        for (ulong j = 0; j < m; j += TILE * MGN_WIDTH) {
            const uint count = (uint)min((ulong)TILE, (m - j + MGN_WIDTH - 1) / MGN_WIDTH);
            R tile_top = MINUS_INFINITY;
            for (uint c = 0; c < count; c++) {
                const ulong at = j + c * MGN_WIDTH;
                if (at + MGN_WIDTH <= m) {
                    e[c] = MGN_VLOAD(h + at) - factor * MGN_VLOAD(costs + at);
                } else {
                    real last[MGN_WIDTH];
                    for (uint l = 0; l < MGN_WIDTH; l++)
                        last[l] = at + l < m ? h[at + l] - SCALE(scale) * costs[at + l] : -INFINITY;
                    e[c] = MGN_VLOAD(last);
                }
                tile_top = e[c] > tile_top ? e[c] : tile_top;
            }
            absorb(e, count, tile_top, &top, &sum);
        }
        real tops[MGN_WIDTH], sums[MGN_WIDTH], highest = -INFINITY, total = 0;
        MGN_VSTORE(top, tops);
        for (uint l = 0; l < MGN_WIDTH; l++) highest = tops[l] > highest ? tops[l] : highest;
        MGN_VSTORE(sum * m_exp(top - (R)(highest > -INFINITY ? highest : (real)0)), sums);
        for (uint l = 0; l < MGN_WIDTH; l++) total += sums[l];
        m_store((R)highest + m_log((R)total), out + out_at + row, 1, 1);
    }
}
#endif

#ifdef MGN_E
/* x (n, d), y (m, d), f (n), h (m), v (m, columns) -> out (n, columns), MGN_E columns a work-item; from panels with f
 * and h lowered. */
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
