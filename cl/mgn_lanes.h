/* What the kernels share: the type R of a work-item (one real, or a vector of MGN_WIDTH of them on CPU devices) and
 * how it is loaded and stored.
 *
 * The host puts in front of every program: MGN_REAL (float, double or uint), MGN_WIDTH, MGN_GROUP (work-items of a
 * work-group), MGN_HAS_FMA. Every kernel has a fixed work-group size, because
 * some drivers compile a kernel anew for each size they meet. */
#ifndef MGN_CL_LANES_H
#define MGN_CL_LANES_H

#ifdef MGN_REAL_IS_UINT
#define M_FUNCTION static inline __attribute__((always_inline))
#define M_JOIN_(a, b) a##b
#define M_JOIN(a, b) M_JOIN_(a, b)
#if MGN_WIDTH == 1
#define M_TYPE(base) base
#else
#define M_TYPE(base) M_JOIN(base, MGN_WIDTH)
#endif
typedef M_TYPE(uint) R;
#else
#include "mgn_math.h"
#endif

typedef MGN_REAL real;

#define MGN_KERNEL kernel __attribute__((reqd_work_group_size(MGN_GROUP, 1, 1)))

#if MGN_WIDTH > 1
#define MGN_VLOAD(p) M_JOIN(vload, MGN_WIDTH)(0, p)
#define MGN_VSTORE(x, p) M_JOIN(vstore, MGN_WIDTH)(x, 0, p)
#else
#define MGN_VLOAD(p) (*(p))
#define MGN_VSTORE(x, p) (*(p) = (x))
#endif

#if defined(MGN_HAS_FMA) && MGN_HAS_FMA
#define MGN_FMA(a, b, c) fma(a, b, c)
#else
#define MGN_FMA(a, b, c) ((a) * (b) + (c))
#endif

/* Lane l is p[l * stride], for `lanes` of them; the lanes behind repeat the last one. */
M_FUNCTION R m_load(global const real *p, ulong stride, uint lanes) {
#if MGN_WIDTH == 1
    return *p;
#else
    if (stride == 0) return (R)(*p);
    if (stride == 1 && lanes == MGN_WIDTH) return MGN_VLOAD(p);
    real x[MGN_WIDTH];
    for (uint l = 0; l < MGN_WIDTH; l++) x[l] = p[min(l, lanes - 1) * stride];
    return MGN_VLOAD(x);
#endif
}

M_FUNCTION void m_store(R value, global real *p, ulong stride, uint lanes) {
#if MGN_WIDTH == 1
    *p = value;
#else
    if (stride == 1 && lanes == MGN_WIDTH) {
        MGN_VSTORE(value, p);
        return;
    }
    real x[MGN_WIDTH];
    MGN_VSTORE(value, x);
    for (uint l = 0; l < lanes; l++) p[l * stride] = x[l];
#endif
}

#endif
