/* Rows by index: gather and scatter. An index out of range gives NaN rows (0 for integers), or is left out. */
#include "mgn_lanes.h"

#ifdef MGN_REAL_IS_UINT
#define OUTSIDE 0u
#else
#define OUTSIDE ((real)NAN)
#endif

/* out (rows, columns) = a[index]. A work-item takes whole rows, or (GPU) single elements. */
MGN_KERNEL void gather(global const real *a, ulong a_at, global const uint *index, ulong index_at, global real *out,
                       ulong out_at, ulong rows, ulong source_rows, ulong columns) {
    a += a_at;
    index += index_at;
    out += out_at;
#if MGN_WIDTH == 1
    for (ulong at = get_global_id(0); at < rows * columns; at += get_global_size(0)) {
        const ulong row = at / columns, from = index[row];
        out[at] = from < source_rows ? a[from * columns + (at - row * columns)] : OUTSIDE;
    }
#else
    for (ulong row = get_global_id(0); row < rows; row += get_global_size(0)) {
        const ulong from = index[row];
        global real *target = out + row * columns;
        if (from < source_rows) {
            global const real *source = a + from * columns;
            ulong i = 0;
            for (; i + MGN_WIDTH <= columns; i += MGN_WIDTH) MGN_VSTORE(MGN_VLOAD(source + i), target + i);
            for (; i < columns; i++) target[i] = source[i];
        } else {
            for (ulong i = 0; i < columns; i++) target[i] = OUTSIDE;
        }
    }
#endif
}

/* out (rows, columns): zeros, with a[i] added to row index[i] in the order of i. The target rows are cut into `ranges`
 * of `range` rows; whoever owns a range reads the whole index, so that the order is kept without any locking. */
MGN_KERNEL void scatter(global const real *a, ulong a_at, global const uint *index, ulong index_at, global real *out,
                        ulong out_at, ulong rows, ulong source_rows, ulong columns, ulong range, ulong ranges) {
    a += a_at;
    index += index_at;
    out += out_at;
#if MGN_WIDTH == 1
    for (ulong at = get_global_id(0); at < ranges * columns; at += get_global_size(0)) {
        const ulong first = at / columns * range, last = min(first + range, rows), column = at % columns;
        for (ulong row = first; row < last; row++) out[row * columns + column] = 0;
        for (ulong i = 0; i < source_rows; i++) {
            const ulong row = index[i];
            if (row >= first && row < last) out[row * columns + column] += a[i * columns + column];
        }
    }
#else
    for (ulong part = get_global_id(0); part < ranges; part += get_global_size(0)) {
        const ulong first = part * range, last = min(first + range, rows);
        for (ulong at = first * columns; at < last * columns; at++) out[at] = 0;
        for (ulong i = 0; i < source_rows; i++) {
            const ulong row = index[i];
            if (row < first || row >= last) continue;
            global real *target = out + row * columns;
            global const real *source = a + i * columns;
            ulong c = 0;
            for (; c + MGN_WIDTH <= columns; c += MGN_WIDTH)
                MGN_VSTORE(MGN_VLOAD(target + c) + MGN_VLOAD(source + c), target + c);
            for (; c < columns; c++) target[c] += source[c];
        }
    }
#endif
}
