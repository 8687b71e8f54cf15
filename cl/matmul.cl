/* Products of matrices that CLBlast is not meant for: tiny ones, long sums into small results, and on CPU devices all.
 *
 * Operands come with strides for every index, so that transposes and shared operands need no kernels of their own. */
#include "mgn_lanes.h"

#if MGN_WIDTH == 1

/* out (batch, m, n): an element per work-item. size = (batch, m, n, k); a_stride = (batch, m, k), b_stride = (batch, k,
 * n). */
MGN_KERNEL void item(global const real *a, ulong a_at, global const real *b, ulong b_at, global real *out,
                     ulong out_at, ulong4 size, ulong4 a_stride, ulong4 b_stride) {
    const ulong count = size.x * size.y * size.z;
    for (ulong at = get_global_id(0); at < count; at += get_global_size(0)) {
        const ulong row = at / size.z, j = at % size.z, batch = row / size.y, i = row % size.y;
        global const real *x = a + a_at + batch * a_stride.x + i * a_stride.y;
        global const real *y = b + b_at + batch * b_stride.x + j * b_stride.z;
        real s = 0;
        for (ulong p = 0; p < size.w; p++) s = MGN_FMA(x[p * a_stride.z], y[p * b_stride.y], s);
        out[out_at + at] = s;
    }
}

/* out (chunks, m, n): partial sums over `chunk` of k, a work-group each, meeting in local memory. */
MGN_KERNEL void tall(global const real *a, ulong a_at, global const real *b, ulong b_at, global real *out,
                     ulong out_at, ulong4 size, ulong4 a_stride, ulong4 b_stride, ulong chunk) {
    local real partial[MGN_GROUP];
    const uint lane = get_local_id(0);
    const ulong at = get_group_id(0), row = at / size.z, j = at % size.z, i = row % size.y;
    const ulong first = row / size.y * chunk;
    const ulong last = min(first + chunk, size.w);
    global const real *x = a + a_at + i * a_stride.y, *y = b + b_at + j * b_stride.z;
    real s = 0;
    for (ulong p = first + lane; p < last; p += MGN_GROUP) s = MGN_FMA(x[p * a_stride.z], y[p * b_stride.y], s);
    partial[lane] = s;
    for (uint half_size = MGN_GROUP / 2; half_size > 0; half_size /= 2) {
        barrier(CLK_LOCAL_MEM_FENCE);
        if (lane < half_size) partial[lane] += partial[lane + half_size];
    }
    if (lane == 0) out[out_at + at] = partial[0];
}

#elif defined(MGN_SMALL)

/* Values of a lane that are kept at hand: 16 KiB of vectors. */
#define STAGE 256

/* out[l, j] = sum over p of x[l, p] s[p, j]: lanes run over l, and s is read again for each vector of them. size = (l,
 * j, p, batch); x_stride = (l, p, batch), s_stride = (p, j, batch), out_stride = (l, j, batch). */
MGN_KERNEL void shared_small(global const real *x, ulong x_at, global const real *s, ulong s_at, global real *out,
                             ulong out_at, ulong4 size, ulong4 x_stride, ulong4 s_stride, ulong4 out_stride) {
    const ulong columns = size.y, k = size.z, blocks = (size.x + MGN_WIDTH - 1) / MGN_WIDTH;
    for (ulong id = get_global_id(0); id < blocks * size.w; id += get_global_size(0)) {
        const ulong batch = id / blocks, at = id % blocks * MGN_WIDTH;
        const uint lanes = (uint)min((ulong)MGN_WIDTH, size.x - at);
        const bool staged = columns > 4 && k <= STAGE && (x_stride.x != 1 || lanes < MGN_WIDTH);
        global const real *from = x + x_at + at * x_stride.x + batch * x_stride.z;
        global const real *factor = s + s_at + batch * s_stride.z;
        global real *to = out + out_at + at * out_stride.x + batch * out_stride.z;
        R stage[STAGE];
        if (staged)
            for (ulong p = 0; p < k; p++) stage[p] = m_load(from + p * x_stride.y, x_stride.x, lanes);
        for (ulong j = 0; j < columns; j += 4) {
            /* Four results at once (where there are fewer, the last one again), and two sums for each, because
             * additions wait for each other. */
            const ulong last = columns - 1, j1 = min(j + 1, last), j2 = min(j + 2, last), j3 = min(j + 3, last);
            R r0 = (R)0, r1 = (R)0, r2 = (R)0, r3 = (R)0, q0 = (R)0, q1 = (R)0, q2 = (R)0, q3 = (R)0;
            ulong p = 0;
            for (; p + 2 <= k; p += 2) {
                const R v = staged ? stage[p] : m_load(from + p * x_stride.y, x_stride.x, lanes);
                const R w = staged ? stage[p + 1] : m_load(from + (p + 1) * x_stride.y, x_stride.x, lanes);
                global const real *row = factor + p * s_stride.x, *next = row + s_stride.x;
                r0 = MGN_FMA(v, (R)row[j * s_stride.y], r0);
                r1 = MGN_FMA(v, (R)row[j1 * s_stride.y], r1);
                r2 = MGN_FMA(v, (R)row[j2 * s_stride.y], r2);
                r3 = MGN_FMA(v, (R)row[j3 * s_stride.y], r3);
                q0 = MGN_FMA(w, (R)next[j * s_stride.y], q0);
                q1 = MGN_FMA(w, (R)next[j1 * s_stride.y], q1);
                q2 = MGN_FMA(w, (R)next[j2 * s_stride.y], q2);
                q3 = MGN_FMA(w, (R)next[j3 * s_stride.y], q3);
            }
            if (p < k) {
                const R v = staged ? stage[p] : m_load(from + p * x_stride.y, x_stride.x, lanes);
                global const real *row = factor + p * s_stride.x;
                r0 = MGN_FMA(v, (R)row[j * s_stride.y], r0);
                r1 = MGN_FMA(v, (R)row[j1 * s_stride.y], r1);
                r2 = MGN_FMA(v, (R)row[j2 * s_stride.y], r2);
                r3 = MGN_FMA(v, (R)row[j3 * s_stride.y], r3);
            }
            m_store(r0 + q0, to + j * out_stride.y, out_stride.x, lanes);
            m_store(r1 + q1, to + j1 * out_stride.y, out_stride.x, lanes);
            m_store(r2 + q2, to + j2 * out_stride.y, out_stride.x, lanes);
            m_store(r3 + q3, to + j3 * out_stride.y, out_stride.x, lanes);
        }
    }
}

/* out (rows) = a (rows, k) b (k), both contiguous along k: lanes run over k, four of them at once. */
MGN_KERNEL void dot_rows(global const real *a, ulong a_at, global const real *b, ulong b_at, global real *out,
                         ulong out_at, ulong rows, ulong k, ulong row_stride) {
    const ulong whole = k / (4 * MGN_WIDTH) * (4 * MGN_WIDTH);
    b += b_at;
    for (ulong i = get_global_id(0); i < rows; i += get_global_size(0)) {
        global const real *x = a + a_at + i * row_stride;
        R r0 = (R)0, r1 = (R)0, r2 = (R)0, r3 = (R)0;
        for (ulong p = 0; p < whole; p += 4 * MGN_WIDTH) {
            r0 = MGN_FMA(MGN_VLOAD(x + p), MGN_VLOAD(b + p), r0);
            r1 = MGN_FMA(MGN_VLOAD(x + p + MGN_WIDTH), MGN_VLOAD(b + p + MGN_WIDTH), r1);
            r2 = MGN_FMA(MGN_VLOAD(x + p + 2 * MGN_WIDTH), MGN_VLOAD(b + p + 2 * MGN_WIDTH), r2);
            r3 = MGN_FMA(MGN_VLOAD(x + p + 3 * MGN_WIDTH), MGN_VLOAD(b + p + 3 * MGN_WIDTH), r3);
        }
        real lane[MGN_WIDTH], s = 0;
        MGN_VSTORE((r0 + r1) + (r2 + r3), lane);
        for (uint l = 0; l < MGN_WIDTH; l++) s += lane[l];
        for (ulong p = whole; p < k; p++) s = MGN_FMA(x[p], b[p], s);
        out[out_at + i] = s;
    }
}

/* out (batch, m, n) with m k and k n at most STAGE: lanes run over the batch. */
MGN_KERNEL void batch_small(global const real *a, ulong a_at, global const real *b, ulong b_at, global real *out,
                            ulong out_at, ulong4 size, ulong4 a_stride, ulong4 b_stride) {
    const uint m = (uint)size.y, n = (uint)size.z, k = (uint)size.w;
    const ulong apart = (ulong)m * n;
    for (ulong at = get_global_id(0) * MGN_WIDTH; at < size.x; at += get_global_size(0) * MGN_WIDTH) {
        const uint lanes = (uint)min((ulong)MGN_WIDTH, size.x - at);
        global const real *x = a + a_at + at * a_stride.x, *y = b + b_at + at * b_stride.x;
        global real *to = out + out_at + at * apart;
        R ys[STAGE], row[STAGE];
        for (uint p = 0; p < k; p++)
            for (uint j = 0; j < n; j++)
                ys[p * n + j] = m_load(y + p * b_stride.y + j * b_stride.z, b_stride.x, lanes);
        for (uint i = 0; i < m; i++) {
            for (uint p = 0; p < k; p++)
                row[p] = m_load(x + i * a_stride.y + p * a_stride.z, a_stride.x, lanes);
            for (uint j = 0; j < n; j++) {
                R r = (R)0;
                for (uint p = 0; p < k; p++) r = MGN_FMA(row[p], ys[p * n + j], r);
                m_store(r, to + i * n + j, apart, lanes);
            }
        }
    }
}

/* out (chunks, m, n) with m n and n at most STAGE: partial sums over `chunk` of k, lanes running over k. */
MGN_KERNEL void tall(global const real *a, ulong a_at, global const real *b, ulong b_at, global real *out,
                     ulong out_at, ulong4 size, ulong4 a_stride, ulong4 b_stride, ulong chunk) {
    const uint m = (uint)size.y, n = (uint)size.z;
    const ulong first = get_group_id(0) * chunk, last = min(first + chunk, size.w);
    R sums[STAGE], ys[STAGE];
    for (uint e = 0; e < m * n; e++) sums[e] = (R)0;
    for (ulong p = first; p < last; p += MGN_WIDTH) {
        const uint lanes = (uint)min((ulong)MGN_WIDTH, last - p);
        for (uint j = 0; j < n; j++) ys[j] = m_load(b + b_at + p * b_stride.y + j * b_stride.z, b_stride.y, lanes);
        for (uint i = 0; i < m; i++) {
            R x = m_load(a + a_at + p * a_stride.z + i * a_stride.y, a_stride.z, lanes);
            if (lanes < MGN_WIDTH) { /* the repeated lanes must not count */
                real some[MGN_WIDTH];
                MGN_VSTORE(x, some);
                for (uint l = lanes; l < MGN_WIDTH; l++) some[l] = 0;
                x = MGN_VLOAD(some);
            }
            for (uint j = 0; j < n; j++) sums[i * n + j] = MGN_FMA(x, ys[j], sums[i * n + j]);
        }
    }
    for (uint e = 0; e < m * n; e++) {
        const real *lane = (const real *)&sums[e];
        real s = 0;
        for (uint l = 0; l < MGN_WIDTH; l++) s += lane[l];
        out[out_at + get_group_id(0) * m * n + e] = s;
    }
}

#else

/* A product by packed panels (Goto and van de Geijn): `pack` copies an operand into panels as wide as a tile and padded
 * with zeros, `tile` multiplies panels with the result in registers. The tile is MGN_TILE_ROWS rows by
 * MGN_TILE_VECTORS vectors. */

#define COLUMNS (MGN_TILE_VECTORS * MGN_WIDTH)

/* Four rows of a vector each as columns: entry p of all four goes to `to + p * width`. */
#if MGN_WIDTH == 16
#define PUT_FOURS(v, p)                                                                                    \
    (vstore4((v).lo.lo, 0, p), vstore4((v).lo.hi, 0, (p) + width), vstore4((v).hi.lo, 0, (p) + 2 * width), \
     vstore4((v).hi.hi, 0, (p) + 3 * width))
#else
#define PUT_FOURS(v, p) (vstore4((v).lo, 0, p), vstore4((v).hi, 0, (p) + width))
#endif
M_FUNCTION void put_columns(R r0, R r1, R r2, R r3, global real *to, ulong width) {
    const ulong quarter = MGN_WIDTH / 4 * width;
    R low_02, low_13, high_02, high_13, all;
    low_02.even = r0.lo, low_02.odd = r2.lo, high_02.even = r0.hi, high_02.odd = r2.hi;
    low_13.even = r1.lo, low_13.odd = r3.lo, high_13.even = r1.hi, high_13.odd = r3.hi;
    all.even = low_02.lo, all.odd = low_13.lo;
    PUT_FOURS(all, to);
    all.even = low_02.hi, all.odd = low_13.hi;
    PUT_FOURS(all, to + quarter);
    all.even = high_02.lo, all.odd = high_13.lo;
    PUT_FOURS(all, to + 2 * quarter);
    all.even = high_02.hi, all.odd = high_13.hi;
    PUT_FOURS(all, to + 3 * quarter);
}

/* Panels (batch, extent / width, k, width) of an operand with `extent` rows (a) or columns (b) and k of the other.
 * size = (batch, extent, k, width), stride = (batch, extent, k). A work-item makes one panel. */
MGN_KERNEL void pack(global const real *from, ulong from_at, global real *to, ulong to_at, ulong4 size,
                     ulong4 stride) {
    const ulong width = size.w, panels = (size.y + width - 1) / width, id = get_group_id(0);
    const ulong first = id % panels * width, some = min(width, size.y - first);
    global const real *x = from + from_at + id / panels * stride.x + first * stride.y;
    global real *panel = to + to_at + id * size.z * width;
    if (some < width)
        for (ulong e = 0; e < size.z * width; e++) panel[e] = 0;
    if (stride.y == 1 && some == width && width % MGN_WIDTH == 0) {
        for (ulong p = 0; p < size.z; p++)
            for (ulong e = 0; e < width; e += MGN_WIDTH)
                MGN_VSTORE(MGN_VLOAD(x + p * stride.z + e), panel + p * width + e);
    } else if (stride.y == 1) {
        const ulong fours = some / 4 * 4;
        for (ulong p = 0; p < size.z; p++) {
            for (ulong e = 0; e < fours; e += 4) vstore4(vload4(0, x + p * stride.z + e), 0, panel + p * width + e);
            for (ulong e = fours; e < some; e++) panel[p * width + e] = x[p * stride.z + e];
        }
    } else {
        /* Rows turned into columns: whole vectors are read, and written while their places are in the first cache. */
        const ulong whole = stride.z == 1 ? size.z / MGN_WIDTH * MGN_WIDTH : 0, fours = some / 4 * 4, s = stride.y;
        for (ulong p = 0; p < whole; p += MGN_WIDTH)
            for (ulong e = 0; e < fours; e += 4) {
                global const real *y = x + e * s + p;
                put_columns(MGN_VLOAD(y), MGN_VLOAD(y + s), MGN_VLOAD(y + 2 * s), MGN_VLOAD(y + 3 * s),
                            panel + p * width + e, width);
            }
        for (ulong e = 0; e < some; e++)
            for (ulong p = e < fours ? whole : 0; p < size.z; p++) panel[p * width + e] = x[e * s + p * stride.z];
    }
}

/* sums += a b^T over `depth` entries of two panels. */
M_FUNCTION void multiply(global const real *a, global const real *b, uint depth,
                         R sums[MGN_TILE_ROWS][MGN_TILE_VECTORS]) {
    for (uint p = 0; p < depth; p++) {
        R y[MGN_TILE_VECTORS];
#pragma unroll
        for (uint v = 0; v < MGN_TILE_VECTORS; v++) y[v] = MGN_VLOAD(b + v * MGN_WIDTH);
#pragma unroll
        for (uint i = 0; i < MGN_TILE_ROWS; i++) {
            const R x = (R)a[i];
#pragma unroll
            for (uint v = 0; v < MGN_TILE_VECTORS; v++) sums[i][v] = MGN_FMA(x, y[v], sums[i][v]);
        }
        a += MGN_TILE_ROWS;
        b += COLUMNS;
    }
}

/* Writes a tile, or adds it to what is there. What sticks out of the matrix goes element by element. */
M_FUNCTION void put_tile(global real *to, ulong n, bool is_first, uint rows, uint columns,
                         R sums[MGN_TILE_ROWS][MGN_TILE_VECTORS]) {
    if (rows == MGN_TILE_ROWS && columns == COLUMNS) {
#pragma unroll
        for (uint i = 0; i < MGN_TILE_ROWS; i++)
#pragma unroll
            for (uint v = 0; v < MGN_TILE_VECTORS; v++) {
                global real *c = to + i * n + v * MGN_WIDTH;
                MGN_VSTORE(is_first ? sums[i][v] : MGN_VLOAD(c) + sums[i][v], c);
            }
        return;
    }
    real tile[MGN_TILE_ROWS * COLUMNS];
#pragma unroll
    for (uint i = 0; i < MGN_TILE_ROWS; i++)
#pragma unroll
        for (uint v = 0; v < MGN_TILE_VECTORS; v++) MGN_VSTORE(sums[i][v], tile + i * COLUMNS + v * MGN_WIDTH);
    for (uint i = 0; i < rows; i++)
        for (uint j = 0; j < columns; j++) {
            const real sum = tile[i * COLUMNS + j];
            to[i * n + j] = is_first ? sum : to[i * n + j] + sum;
        }
}

/* out (batch, m, n), cut into blocks of rows and spans of columns of tiles. A work-item goes down its block with one panel
 * of b, then with the next one: a's panels stay in the second cache from one column to the next. `depth` entries of k are
 * multiplied at a time: with them a panel of b stays in the first cache. Blocks and spans differ by one panel at most,
 * since drivers hand out work-groups by their number. size = (batch, m, n, k), plan = (spans, blocks, depth, whether the
 * product is added to what is there); the packed operands of the next matrix of the batch are a_step and b_step further.
 */
MGN_KERNEL void tile(global const real *a, ulong a_at, ulong a_step, global const real *b, ulong b_at, ulong b_step,
                     global real *out, ulong out_at, ulong4 size, ulong4 plan) {
    const ulong m = size.y, n = size.z, k = size.w, spans = plan.x, blocks = plan.y;
    const ulong a_panels = (m + MGN_TILE_ROWS - 1) / MGN_TILE_ROWS, b_panels = (n + COLUMNS - 1) / COLUMNS;
    const ulong block = get_group_id(0) % blocks, rest = get_group_id(0) / blocks, span = rest % spans;
    const ulong top = block * a_panels / blocks, bottom = (block + 1) * a_panels / blocks, batch = rest / spans;
    const ulong first = span * b_panels / spans, behind = (span + 1) * b_panels / spans;
    for (ulong p = 0; p < k; p += plan.z) {
        const uint depth = (uint)min(plan.z, k - p);
        for (ulong column_panel = first; column_panel < behind; column_panel++) {
            const ulong column = column_panel * COLUMNS;
            const uint columns = (uint)min((ulong)COLUMNS, n - column);
            global const real *y = b + b_at + batch * b_step + (column_panel * k + p) * COLUMNS;
            for (ulong panel = top; panel < bottom; panel++) {
                const ulong row = panel * MGN_TILE_ROWS;
                R sums[MGN_TILE_ROWS][MGN_TILE_VECTORS];
#pragma unroll
                for (uint i = 0; i < MGN_TILE_ROWS; i++)
#pragma unroll
                    for (uint v = 0; v < MGN_TILE_VECTORS; v++) sums[i][v] = (R)0;
                multiply(a + a_at + batch * a_step + (panel * k + p) * MGN_TILE_ROWS, y, depth, sums);
                put_tile(out + out_at + (batch * m + row) * n + column, n, p == 0 && plan.w == 0,
                         (uint)min((ulong)MGN_TILE_ROWS, m - row), columns, sums);
            }
        }
    }
}

#endif
