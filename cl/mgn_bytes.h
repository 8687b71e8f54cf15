/* Bytes as reals and back: b stands for b / 255. The same arithmetic as on the CPU, so the same bytes. */
#ifndef MGN_CL_BYTES_H
#define MGN_CL_BYTES_H

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

M_FUNCTION R m_from_bytes(m_bytes b) { return M_TO_REAL(b) * (R)M_BYTE; }

M_FUNCTION m_bytes m_to_bytes(R x) {
    x = x > (R)0 ? x : (R)0; /* NaN too */
    x = x < (R)1 ? x : (R)1;
    return M_TO_BYTES(x * (R)255 + (R)0.5f);
}

#endif
