/* Bytes as reals and back: b stands for b / 255. The same arithmetic as on the CPU, so the same bytes. */
#include "mgn_lanes.h"

#ifdef MGN_REAL_IS_DOUBLE
#define M_BYTE (1.0 / 255.0)
#else
#define M_BYTE (1.0f / 255.0f)
#endif

#if MGN_WIDTH == 1
typedef uchar m_bytes;
#define M_TO_REAL(b) ((R)(b))
#define M_TO_BYTES(x) convert_uchar(convert_int(x))
#else
typedef M_TYPE(uchar) m_bytes;
#ifdef MGN_REAL_IS_DOUBLE
#define M_TO_REAL(b) M_TYPE(convert_double)(b)
#else
#define M_TO_REAL(b) M_TYPE(convert_float)(b)
#endif
#define M_TO_BYTES(x) M_TYPE(convert_uchar)(M_TYPE(convert_int)(x))
#endif

M_FUNCTION R from_bytes(m_bytes b) { return M_TO_REAL(b) * (R)M_BYTE; }

M_FUNCTION m_bytes to_bytes(R x) {
    x = x > (R)0 ? x : (R)0; /* NaN too */
    x = x < (R)1 ? x : (R)1;
    return M_TO_BYTES(x * (R)255 + (R)0.5f);
}

MGN_KERNEL void from_unorm8(global const uint *words, ulong words_at, global real *out, ulong out_at, ulong count) {
    global const uchar *in = (global const uchar *)(words + words_at);
    out += out_at;
    for (ulong i = get_global_id(0) * MGN_WIDTH; i < count; i += get_global_size(0) * MGN_WIDTH) {
#if MGN_WIDTH > 1
        if (i + MGN_WIDTH <= count) {
            MGN_VSTORE(from_bytes(MGN_VLOAD(in + i)), out + i);
            continue;
        }
        for (ulong k = i; k < count; k++) out[k] = (real)in[k] * M_BYTE;
#else
        out[i] = from_bytes(in[i]);
#endif
    }
}

MGN_KERNEL void to_unorm8(global const real *in, ulong in_at, global uint *words, ulong words_at, ulong count) {
    global uchar *out = (global uchar *)(words + words_at);
    in += in_at;
    for (ulong i = get_global_id(0) * MGN_WIDTH; i < count; i += get_global_size(0) * MGN_WIDTH) {
#if MGN_WIDTH > 1
        if (i + MGN_WIDTH <= count) {
            MGN_VSTORE(to_bytes(MGN_VLOAD(in + i)), out + i);
            continue;
        }
        uchar made[MGN_WIDTH];
        MGN_VSTORE(to_bytes(m_load(in + i, 1, (uint)(count - i))), made);
        for (ulong k = i; k < count; k++) out[k] = made[k - i];
#else
        out[i] = to_bytes(in[i]);
#endif
    }
}
