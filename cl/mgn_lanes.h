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

/* Whole vectors: next to each other, or `s` apart. Written out, because private arrays in between are slow. */
#if MGN_WIDTH == 1
#define MGN_VLOAD(p) (*(p))
#define MGN_VSTORE(x, p) (*(p) = (x))
#else
#define MGN_VLOAD(p) M_JOIN(vload, MGN_WIDTH)(0, p)
#define MGN_VSTORE(x, p) M_JOIN(vstore, MGN_WIDTH)(x, 0, p)
#define MGN_GATHER_8(p, s) \
    (p)[0], (p)[s], (p)[2 * (s)], (p)[3 * (s)], (p)[4 * (s)], (p)[5 * (s)], (p)[6 * (s)], (p)[7 * (s)]
#define MGN_SCATTER_8(x, p, s)                                                         \
    (p)[0] = (x).s0, (p)[s] = (x).s1, (p)[2 * (s)] = (x).s2, (p)[3 * (s)] = (x).s3,    \
    (p)[4 * (s)] = (x).s4, (p)[5 * (s)] = (x).s5, (p)[6 * (s)] = (x).s6, (p)[7 * (s)] = (x).s7
#if MGN_WIDTH == 8
#define MGN_GATHER(p, s) ((R)(MGN_GATHER_8(p, s)))
#define MGN_SCATTER(x, p, s) MGN_SCATTER_8(x, p, s)
#define MGN_GATHER_AT(p, at) \
    ((R)((p)[(at)[0]], (p)[(at)[1]], (p)[(at)[2]], (p)[(at)[3]], (p)[(at)[4]], (p)[(at)[5]], (p)[(at)[6]],  \
         (p)[(at)[7]]))
#else
#define MGN_GATHER(p, s) ((R)(MGN_GATHER_8(p, s), MGN_GATHER_8((p) + 8 * (s), s)))
#define MGN_SCATTER(x, p, s) (MGN_SCATTER_8((x).lo, p, s), MGN_SCATTER_8((x).hi, (p) + 8 * (s), s))
#define MGN_GATHER_AT(p, at)                                                                            \
    ((R)((p)[(at)[0]], (p)[(at)[1]], (p)[(at)[2]], (p)[(at)[3]], (p)[(at)[4]], (p)[(at)[5]],            \
         (p)[(at)[6]], (p)[(at)[7]], (p)[(at)[8]], (p)[(at)[9]], (p)[(at)[10]], (p)[(at)[11]],          \
         (p)[(at)[12]], (p)[(at)[13]], (p)[(at)[14]], (p)[(at)[15]]))
#endif
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
    if (lanes == MGN_WIDTH) return stride == 1 ? MGN_VLOAD(p) : MGN_GATHER(p, stride);
    real x[MGN_WIDTH];
    for (uint l = 0; l < MGN_WIDTH; l++) x[l] = p[min(l, lanes - 1) * stride];
    return MGN_VLOAD(x);
#endif
}

M_FUNCTION void m_store(R value, global real *p, ulong stride, uint lanes) {
#if MGN_WIDTH == 1
    *p = value;
#else
    if (lanes == MGN_WIDTH) {
        if (stride == 1)
            MGN_VSTORE(value, p);
        else
            MGN_SCATTER(value, p, stride);
        return;
    }
    real x[MGN_WIDTH];
    MGN_VSTORE(value, x);
    for (uint l = 0; l < lanes; l++) p[l * stride] = x[l];
#endif
}

#endif
