/* Packed bytes to reals and back: see mgn_bytes.h. */
#include "mgn_bytes.h"

MGN_KERNEL void from_unorm8(global const uint *words, ulong words_at, global real *out, ulong out_at, ulong count) {
    global const uchar *in = (global const uchar *)(words + words_at);
    out += out_at;
    for (ulong i = get_global_id(0) * MGN_WIDTH; i < count; i += get_global_size(0) * MGN_WIDTH) {
#if MGN_WIDTH > 1
        if (i + MGN_WIDTH <= count) {
            MGN_VSTORE(m_from_bytes(MGN_VLOAD(in + i)), out + i);
            continue;
        }
        for (ulong k = i; k < count; k++) out[k] = (real)in[k] * M_BYTE;
#else
        out[i] = m_from_bytes(in[i]);
#endif
    }
}

MGN_KERNEL void to_unorm8(global const real *in, ulong in_at, global uint *words, ulong words_at, ulong count) {
    global uchar *out = (global uchar *)(words + words_at);
    in += in_at;
    for (ulong i = get_global_id(0) * MGN_WIDTH; i < count; i += get_global_size(0) * MGN_WIDTH) {
#if MGN_WIDTH > 1
        if (i + MGN_WIDTH <= count) {
            MGN_VSTORE(m_to_bytes(MGN_VLOAD(in + i)), out + i);
            continue;
        }
        uchar made[MGN_WIDTH];
        MGN_VSTORE(m_to_bytes(m_load(in + i, 1, (uint)(count - i))), made);
        for (ulong k = i; k < count; k++) out[k] = made[k - i];
#else
        out[i] = m_to_bytes(in[i]);
#endif
    }
}
