/* Convolution of images and its transposes, directly, without a matrix of patches.
 *
 * `lay_out` copies images into zeros, pixels that lie a stride apart side by side (a grid per phase of the stride), after
 * which every entry of a kernel is an offset into a grid. `taps` makes tiles of results in registers, MGN_TILE rows
 * (filters, or channels of a transpose) by SLOTS vectors along a row of the image; `kernel_gradient` makes tiles of rows by
 * taps, lanes running along the image's rows, and leaves a partial sum for each part of the images. */
#include "mgn_lanes.h"

#define TILE 4
#if MGN_WIDTH == 1
#define SLOTS 1
#define EACH(id, count) for (ulong id = get_global_id(0); id < (count); id += get_global_size(0))
#else
#define SLOTS 4
/* In a row: neighbours read the same images. */
#define EACH(id, count)                                              \
    for (ulong id = get_global_id(0) * (count) / get_global_size(0), \
               end = (get_global_id(0) + 1) * (count) / get_global_size(0); id < end; id++)
#endif
/* Vectors that are added up before they are added to the total. */
#define STRETCH 64

/* Grids (planes, phases_y, phases_x, rows, pitch) of planes (height, width), and `slack` zeros behind them.
 * image = (planes, height, width, stride), grid = (phases_y, phases_x, rows, pitch). */
MGN_KERNEL void lay_out(global const real *from, ulong from_at, global real *to, ulong to_at, ulong4 image,
                        ulong4 grid, ulong pad_y, ulong pad_x, ulong slack) {
    const ulong phases = grid.x * grid.y, rows = image.x * phases * grid.z, s = image.w;
    from += from_at;
    to += to_at;
#if MGN_WIDTH == 1
    for (ulong at = get_global_id(0); at < rows * grid.w + slack; at += get_global_size(0)) {
        const ulong row = at / grid.w, q = at % grid.w;
        const ulong phase = row / grid.z % phases;
        /* Unsigned: what lies before the image is beyond it. */
        const ulong i = row % grid.z * s + phase / grid.y - pad_y, j = q * s + phase % grid.y - pad_x;
        const bool inside = row < rows && i < image.y && j < image.z;
        to[at] = inside ? from[(row / grid.z / phases * image.y + i) * image.z + j] : 0;
    }
#else
    const ulong chunk = rows / get_global_size(0) + 1, end = min((get_global_id(0) + 1) * chunk, rows);
    if (get_global_id(0) == 0)
        for (ulong q = 0; q < slack; q++) to[rows * grid.w + q] = 0;
    for (ulong row = get_global_id(0) * chunk; row < end;) {
        /* The rest of a grid: divisions are dear. */
        const ulong phase = row / grid.z % phases, plane = row / grid.z / phases, r = row % grid.z;
        const long left = (long)(phase % grid.y) - (long)pad_x; /* the image's column at the grid's first one */
        ulong i = r * s + phase / grid.y - pad_y, first = grid.w, last = grid.w; /* which columns have pixels */
        if (left < (long)image.z) {
            first = min(left < 0 ? (s - 1 - left) / s : 0ul, grid.w);
            last = clamp((image.z - 1 - left) / s + 1, first, grid.w);
        }
        for (const ulong strip = min(row + grid.z - r, end); row < strip; row++, i += s) {
            global const real *line = from + (plane * image.y + i) * image.z + left;
            global real *out = to + row * grid.w;
            const bool outside = i >= image.y;
            ulong q = 0;
            for (; q < (outside ? grid.w : first); q++) out[q] = 0;
            if (outside) continue;
            for (; s == 1 && q + MGN_WIDTH <= last; q += MGN_WIDTH) MGN_VSTORE(MGN_VLOAD(line + q), out + q);
            for (; q < last; q++) out[q] = line[q * s];
            for (; q < grid.w; q++) out[q] = 0;
        }
    }
#endif
}

/* size = (images, results, planes, elements of an image's grids); kernel_size = (height, width, stride, 1 for a
 * transpose); grid as above; field = (first row, rows, first column, columns) of the grid; place = (plane, row, column
 * stride, origin) of the result; of_weight = (row, plane stride, phase's top, left); pad = (y, x) of a transpose. */
MGN_KERNEL void taps(global const real *from, ulong from_at, global const real *weights, ulong weights_at,
                     global real *out, ulong out_at, ulong4 size, ulong4 kernel_size, ulong4 grid, ulong4 field,
                     ulong4 place, ulong4 of_weight, ulong pad_y, ulong pad_x) {
    const bool is_transpose = kernel_size.w != 0;
    const ulong per_row = (field.w + MGN_WIDTH - 1) / MGN_WIDTH, slots = field.y * per_row, s = kernel_size.z;
    const ulong runs = (slots + SLOTS - 1) / SLOTS, blocks = (size.y + TILE - 1) / TILE, area = grid.z * grid.w;
    const ulong step_y = is_transpose ? -grid.w : grid.w, step_x = is_transpose ? -1ul : 1ul;
    const ulong begin_y = is_transpose ? of_weight.z : 0, end_y = is_transpose ? begin_y + 1 : grid.x;
    const ulong begin_x = is_transpose ? of_weight.w : 0, end_x = is_transpose ? begin_x + 1 : grid.y;
    EACH(id, size.x * blocks * runs) {
        const ulong image = id / (blocks * runs), block = id / runs % blocks, run = id % runs;
        const ulong last = size.y - 1 - block * TILE; /* row of the tile; those behind repeat it */
        global const real *x = from + from_at + image * size.w;
        global const real *w = weights + weights_at + block * TILE * of_weight.x;
        ulong at[SLOTS];
        R sums[TILE][SLOTS];
#pragma unroll
        for (uint v = 0; v < SLOTS; v++) {
            const ulong slot = min(run * SLOTS + v, slots - 1);
            at[v] = (field.x + slot / per_row) * grid.w + field.z + slot % per_row * MGN_WIDTH;
#pragma unroll
            for (uint r = 0; r < TILE; r++) sums[r][v] = (R)0;
        }
        for (ulong plane = 0; plane < size.z; plane++)
            for (ulong y = begin_y; y < end_y; y++)
                for (ulong q = begin_x; q < end_x; q++) {
                    const ulong start = is_transpose ? plane * area + pad_y * grid.w + pad_x
                                                     : ((plane * grid.x + y) * grid.y + q) * area;
                    for (ulong a = y, u = start; a < kernel_size.x; a += s, u += step_y)
                        for (ulong b = q, tap = u; b < kernel_size.y; b += s, tap += step_x) {
                            global const real *weight = w + plane * of_weight.y + a * kernel_size.y + b;
                            R value[SLOTS];
#pragma unroll
                            for (uint v = 0; v < SLOTS; v++) value[v] = MGN_VLOAD(x + tap + at[v]);
#pragma unroll
                            for (uint r = 0; r < TILE; r++) {
                                const R factor = (R)weight[min((ulong)r, last) * of_weight.x];
#pragma unroll
                                for (uint v = 0; v < SLOTS; v++) sums[r][v] = MGN_FMA(factor, value[v], sums[r][v]);
                            }
                        }
                }
#pragma unroll
        for (uint v = 0; v < SLOTS; v++) {
            const ulong slot = run * SLOTS + v;
            if (slot >= slots) continue;
            const ulong column = slot % per_row * MGN_WIDTH;
            const uint lanes = (uint)min((ulong)MGN_WIDTH, field.w - column);
            global real *to = out + out_at + (image * size.y + block * TILE) * place.x + place.w +
                              slot / per_row * place.y + column * place.z;
#pragma unroll
            for (uint r = 0; r < TILE; r++)
                if (r <= last) m_store(sums[r][v], to + r * place.x, place.z, lanes);
        }
    }
}

/* out (parts, filters, taps): sums over the `per_part` images of each part. size = (images, filters, channels, elements of an
 * image's grids); kernel_size = (height, width, stride, per_part); grid as above; y = (rows, pitch) of the results' grids,
 * whose rows are whole vectors with zeros behind the results. */
MGN_KERNEL void kernel_gradient(global const real *x, ulong x_at, global const real *y, ulong y_at, global real *out,
                                ulong out_at, ulong4 size, ulong4 kernel_size, ulong4 grid, ulong y_rows,
                                ulong y_pitch) {
    const ulong per_part = kernel_size.w, parts = (size.x + per_part - 1) / per_part, s = kernel_size.z;
    const ulong taps = size.z * kernel_size.x * kernel_size.y, plane = y_rows * y_pitch;
    const ulong blocks = (size.y + TILE - 1) / TILE, runs = (taps + TILE - 1) / TILE;
    const ulong stretch = max(STRETCH * MGN_WIDTH / y_pitch, 1ul);
    EACH(id, parts * blocks * runs) {
        const ulong part = id / (blocks * runs), block = id / runs % blocks, run = id % runs;
        ulong offset[TILE], row_of[TILE];
        R totals[TILE][TILE];
#pragma unroll
        for (uint v = 0; v < TILE; v++) {
            const ulong tap = min(run * TILE + v, taps - 1), b = tap % kernel_size.y;
            const ulong a = tap / kernel_size.y % kernel_size.x, c = tap / kernel_size.y / kernel_size.x;
            const ulong phase = (c * grid.x + a % s) * grid.y + b % s;
            offset[v] = (phase * grid.z + a / s) * grid.w + b / s;
            row_of[v] = min(block * TILE + v, size.y - 1) * plane;
#pragma unroll
            for (uint r = 0; r < TILE; r++) totals[r][v] = (R)0;
        }
        for (ulong image = part * per_part; image < min((part + 1) * per_part, size.x); image++)
            for (ulong first = 0; first < y_rows; first += stretch) {
                R sums[TILE][TILE];
#pragma unroll
                for (uint r = 0; r < TILE; r++)
#pragma unroll
                    for (uint v = 0; v < TILE; v++) sums[r][v] = (R)0;
                for (ulong row = first; row < min(first + stretch, y_rows); row++) {
                    global const real *from = y + y_at + image * size.y * plane + row * y_pitch;
                    global const real *pixel = x + x_at + image * size.w + row * grid.w;
                    for (ulong j = 0; j < y_pitch; j += MGN_WIDTH) {
                        R result[TILE];
#pragma unroll
                        for (uint r = 0; r < TILE; r++) result[r] = MGN_VLOAD(from + row_of[r] + j);
#pragma unroll
                        for (uint v = 0; v < TILE; v++) {
                            const R value = MGN_VLOAD(pixel + offset[v] + j);
#pragma unroll
                            for (uint r = 0; r < TILE; r++) sums[r][v] = MGN_FMA(result[r], value, sums[r][v]);
                        }
                    }
                }
#pragma unroll
                for (uint r = 0; r < TILE; r++)
#pragma unroll
                    for (uint v = 0; v < TILE; v++) totals[r][v] += sums[r][v];
            }
        for (uint r = 0; r < TILE && block * TILE + r < size.y; r++)
            for (uint v = 0; v < TILE && run * TILE + v < taps; v++) {
                const real *lane = (const real *)&totals[r][v];
                real sum = 0;
                for (uint l = 0; l < MGN_WIDTH; l++) sum += lane[l];
                out[out_at + (part * size.y + block * TILE + r) * taps + run * TILE + v] = sum;
            }
    }
}
