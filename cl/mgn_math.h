/* Elementary functions of a real type R, shared by C and OpenCL C, so that every device computes the same thing.
 *
 * R is float, or double with MGN_REAL_IS_DOUBLE; in OpenCL C it is a vector of MGN_WIDTH of them (1, 2, 4, 8 or 16;
 * 1 unless defined). The file is included once per translation unit or program.
 *
 * For float the functions are own polynomials in additions, multiplications, bit operations and selections, without a
 * branch: compilers vectorise loops over them, and vector types work as they are. Built-ins would be right too, but on
 * some devices they are several times slower (log1p, tanh) or lose all digits near 0 (native functions). Errors are
 * below 2.7 units in the last place over the whole domain where division and square root are correctly rounded; OpenCL
 * allows 2.5 more where a function divides (tanh, logistic). Small results keep their relative accuracy, results
 * below 2^-126 come out as denormals where the device has them, and NaN and infinities go where the mathematics says.
 * For double they are the library's functions, put together in forms that keep relative accuracy as well.
 *
 * Needs IEEE arithmetic: fast-math folds the rounding trick of m_reduce away. Products and sums are contracted only where
 * m_fma says so (the pragma below; -ffp-contract=off in C); devices with fused products differ from others in the last
 * bits there. For gcc to vectorise loops over all of them it must know
 * that floating-point exceptions and errno are not looked at: -fno-trapping-math -fno-math-errno, which change no
 * result. */
#ifndef MGN_CL_MATH_H
#define MGN_CL_MATH_H

#ifndef MGN_WIDTH
#define MGN_WIDTH 1
#endif

#ifdef __OPENCL_VERSION__
#pragma OPENCL FP_CONTRACT OFF
#define M_FUNCTION static inline __attribute__((always_inline))
#define M_JOIN_(a, b) a##b
#define M_JOIN(a, b) M_JOIN_(a, b)
#if MGN_WIDTH == 1
#define M_TYPE(base) base
#else
#define M_TYPE(base) M_JOIN(base, MGN_WIDTH)
#endif
#else
#include <math.h>
#include <stdint.h>
#define M_FUNCTION __attribute__((always_inline, unused)) static inline
#endif

/* a b + c: rounded once where that is one instruction, twice elsewhere. OpenCL compilers know which (below). */
#define m_twice_rounded(a, b, c) ((a) * (b) + (c))
#ifndef __OPENCL_VERSION__
#if defined(__FMA__) && defined(MGN_REAL_IS_DOUBLE)
#define m_fma(a, b, c) __builtin_fma(a, b, c)
#elif defined(__FMA__)
#define m_fma(a, b, c) __builtin_fmaf(a, b, c)
#else
#define m_fma(a, b, c) m_twice_rounded(a, b, c)
#endif
#endif

#ifdef MGN_REAL_IS_DOUBLE

/* ---- double: the library's functions ---- */

#ifdef __OPENCL_VERSION__
#pragma OPENCL EXTENSION cl_khr_fp64 : enable
typedef M_TYPE(double) R;
#else
typedef double R;
#endif

#ifdef __OPENCL_VERSION__
M_FUNCTION R m_fma(R a, R b, R c) {
#pragma OPENCL FP_CONTRACT ON
    return a * b + c;
}
#endif

M_FUNCTION R m_sqrt(R x) { return sqrt(x); }
M_FUNCTION R m_abs(R x) { return fabs(x); }
M_FUNCTION R m_exp(R x) { return exp(x); }
M_FUNCTION R m_expm1(R x) { return expm1(x); }
M_FUNCTION R m_log(R x) { return log(x); }
M_FUNCTION R m_log1p(R x) { return log1p(x); }
M_FUNCTION R m_tanh(R x) { return tanh(x); }

M_FUNCTION R m_logistic(R x) {
    R e = exp(-fabs(x));
    return (x < (R)0 ? e : (R)1) / ((R)1 + e);
}

M_FUNCTION R m_softplus(R x) {
    R y = (x > (R)0 ? x : (R)0) + log1p(exp(-fabs(x)));
    return x < (R)INFINITY ? y : x;
}

/* cosh^2 = 1 + sinh^2 near 0, cosh = e^a (1 + e^-2a) / 2 elsewhere. */
M_FUNCTION R m_logcosh(R x) {
    R a = fabs(x), s = sinh(a < (R)1 ? a : (R)1);
    R y = a < (R)1 ? (R)0.5 * log1p(s * s) : (a - (R)0.693147180559945309) + log1p(exp((R)-2 * a));
    return a < (R)INFINITY ? y : a;
}

#else

/* ---- float: own polynomials ---- */

#ifdef __OPENCL_VERSION__
typedef M_TYPE(float) R;
typedef M_TYPE(uint) m_u; /* the bits of R */
typedef M_TYPE(int) m_i;
#define m_bits(x) M_TYPE(as_uint)(x)
#define m_real(u) M_TYPE(as_float)(u)
#define m_signed(u) M_TYPE(as_int)(u)
#define m_unsigned(i) M_TYPE(as_uint)(i)
#define m_convert(i) M_TYPE(convert_float)(i)
#else
typedef float R;
typedef uint32_t m_u;
typedef int32_t m_i;

M_FUNCTION m_u m_bits(R x) {
    union {
        R real;
        m_u bits;
    } pun = {x};
    return pun.bits;
}

M_FUNCTION R m_real(m_u u) {
    union {
        m_u bits;
        R real;
    } pun = {u};
    return pun.real;
}

M_FUNCTION m_i m_signed(m_u u) { return (m_i)u; }
M_FUNCTION m_u m_unsigned(m_i i) { return (m_u)i; }
M_FUNCTION R m_convert(m_i i) { return (R)i; }
#endif

#ifdef __OPENCL_VERSION__
M_FUNCTION R m_fma(R a, R b, R c) {
#pragma OPENCL FP_CONTRACT ON
    return a * b + c;
}
#endif

#define M_LN2_HIGH 0.693359375f /* few digits: n * M_LN2_HIGH is exact for |n| < 2^15 */
#define M_LN2_LOW -2.12194440e-4f
#define M_ROUND 12582912.0f /* 1.5 * 2^23: adding it rounds to an integer, which then stands in the low bits */

#ifdef __OPENCL_VERSION__
M_FUNCTION R m_abs(R x) { return fabs(x); }
M_FUNCTION R m_sqrt(R x) { return sqrt(x); }
#else
M_FUNCTION R m_abs(R x) { return fabsf(x); }
M_FUNCTION R m_sqrt(R x) { return sqrtf(x); }
#endif

/* 2^k, -127 < k < 128. */
M_FUNCTION R m_pow2(m_i k) { return m_real((m_unsigned(k) + 127u) << 23); }

/* x = n ln 2 + r with |r| <= ln 2 / 2; |x| < 200. */
M_FUNCTION m_i m_reduce(R x, R *r) {
    R shifted = m_fma(x, (R)1.44269504f, (R)M_ROUND);
    m_i n = m_signed(m_bits(shifted) - 0x4b400000u);
    R whole = shifted - (R)M_ROUND;
    *r = m_fma(whole, (R)-M_LN2_LOW, m_fma(whole, (R)-M_LN2_HIGH, x));
    return n;
}

/* e^r - 1 for |r| <= ln 2 / 2; exactly 0 at 0. */
M_FUNCTION R m_expm1_core(R r) {
    R p = (R)1.38642231e-3f;
    p = m_fma(p, r, (R)8.36654194e-3f);
    p = m_fma(p, r, (R)4.16675061e-2f);
    p = m_fma(p, r, (R)1.66665435e-1f);
    p = m_fma(p, r, (R)4.99999970e-1f);
    return m_fma(r * r, p, r);
}

/* e^x in the clamped range only: -87 < x < 88 (NaN stays NaN). */
M_FUNCTION R m_exp_core(R x) {
    R r;
    m_i n = m_reduce(x, &r);
    return ((R)1 + m_expm1_core(r)) * m_pow2(n);
}

/* The power of two comes in halves, so that the last product alone rounds to a denormal or overflows. */
M_FUNCTION R m_exp(R x) {
    R t = x < (R)-104.0f ? (R)-104.0f : x, r;
    t = t > (R)89.0f ? (R)89.0f : t;
    m_i n = m_reduce(t, &r), half_n = n >> 1;
    return ((R)1 + m_expm1_core(r)) * m_pow2(half_n) * m_pow2(n - half_n);
}

/* 2 (2^(n-1) (e^r - 1) + (2^(n-1) - 1/2)); the r where n = 0 keeps all digits near 0. */
M_FUNCTION R m_expm1(R x) {
    R t = x < (R)-30.0f ? (R)-30.0f : x, r;
    t = t > (R)89.0f ? (R)89.0f : t;
    m_i n = m_reduce(t, &r);
    R p = m_expm1_core(r), half_power = m_pow2(n - 1);
    R y = m_fma(half_power, p, half_power - (R)0.5f) * (R)2;
    return half_power == (R)0.5f ? p : y;
}

/* log(1 + m) + k ln 2 for sqrt(1/2) - 1 <= m <= sqrt(2) - 1. Random numbers, which have the same bits on every device,
 * take the form without fused products. */
#define M_LOG_CORE_OF(NAME, M_MADD)                             \
    M_FUNCTION R NAME(R m, R k) {                               \
        R z = m * m, p = (R)-7.63743147e-2f;                    \
        p = M_MADD(p, m, (R)1.27627134e-1f);                    \
        p = M_MADD(p, m, (R)-1.31594747e-1f);                   \
        p = M_MADD(p, m, (R)1.42015025e-1f);                    \
        p = M_MADD(p, m, (R)-1.66234136e-1f);                   \
        p = M_MADD(p, m, (R)2.00012445e-1f);                    \
        p = M_MADD(p, m, (R)-2.50008196e-1f);                   \
        p = M_MADD(p, m, (R)3.33333313e-1f);                    \
        R y = M_MADD(p * m, z, k * (R)M_LN2_LOW) - z * (R)0.5f; \
        return (m + y) + k * (R)M_LN2_HIGH;                     \
    }
M_LOG_CORE_OF(m_log_core, m_fma)
M_LOG_CORE_OF(m_log_core_everywhere, m_twice_rounded)

/* log of a normal, positive, finite x. */
#define M_LOG_NORMAL_OF(NAME, CORE)                             \
    M_FUNCTION R NAME(R x, R k_extra) {                         \
        m_i k = m_signed(m_bits(x) - 0x3f3504f3u) >> 23;        \
        R m = m_real(m_bits(x) - (m_unsigned(k) << 23)) - (R)1; \
        return CORE(m, m_convert(k) + k_extra);                 \
    }
M_LOG_NORMAL_OF(m_log_normal, m_log_core)
M_LOG_NORMAL_OF(m_log_normal_everywhere, m_log_core_everywhere)

M_FUNCTION R m_log(R x) {
    R tiny = (R)1.17549435e-38f;
    R y = m_log_normal(x < tiny ? x * (R)8388608.0f : x, x < tiny ? (R)-23.0f : (R)0);
    y = x < (R)INFINITY ? y : x;
    return x > (R)0 ? y : (x == (R)0 ? (R)-INFINITY : (R)NAN);
}

/* log(1 + a) for finite a > -1: the exponent comes from 1 + a, the mantissa from a itself, scaled by 2^-k:
 * m = a 2^-k + (2^-k - 1), where each term is exact. */
M_FUNCTION R m_log1p_core(R a) {
    m_i k = m_signed(m_bits((R)1 + a) - 0x3f3504f3u) >> 23;
    m_u shift = m_unsigned(k) << 23;
    R m = m_real(m_bits(a) - shift) + (m_real(0x40800000u - shift) * (R)0.25f - (R)1);
    m = shift == (m_u)0 ? a : m;
    return m_log_core(m, m_convert(k));
}

M_FUNCTION R m_log1p(R x) {
    R y = m_log1p_core(x);
    y = x < (R)INFINITY ? y : x;
    return x > (R)-1 ? y : (x == (R)-1 ? (R)-INFINITY : (R)NAN);
}

/* E / (E + 2) with E = e^2x - 1 = 2^n (e^r - 1) + (2^n - 1); the e^r - 1 where n = 0 keeps all digits near 0. */
M_FUNCTION R m_tanh(R x) {
    R a = m_abs(x), r;
    m_i n = m_reduce((a > (R)10.0f ? (R)10.0f : a) * (R)2, &r);
    R power = m_pow2(n), e = m_fma(power, m_expm1_core(r), power - (R)1), y = e / (e + (R)2);
    return m_real(m_bits(y) | (m_bits(x) & 0x80000000u));
}

/* 1 / (1 + 2^n c) as 2^-h / (2^-h + 2^(n-h) c), h = n / 2: neither overflows, and the division alone rounds to a denormal. */
M_FUNCTION R m_logistic(R x) {
    R t = x < (R)-104.0f ? (R)-104.0f : x, r;
    t = t > (R)104.0f ? (R)104.0f : t;
    m_i n = m_reduce(-t, &r), half_n = n >> 1;
    R scale = m_pow2(-half_n);
    return scale / m_fma(m_pow2(n - half_n), (R)1 + m_expm1_core(r), scale);
}

M_FUNCTION R m_softplus(R x) {
    R y = (x > (R)0 ? x : (R)0) + m_log1p_core(m_exp(-m_abs(x)));
    return x < (R)INFINITY ? y : x;
}

/* x^2/2 + x^4 P(x^2) below 1; log cosh x = a - ln 2 + log(1 + e^-2a) above. */
M_FUNCTION R m_logcosh(R x) {
    R a = m_abs(x), z = x * x;
    R p = (R)8.78655337e-5f;
    p = m_fma(p, z, (R)-5.60404267e-4f);
    p = m_fma(p, z, (R)2.08252133e-3f);
    p = m_fma(p, z, (R)-6.71350025e-3f);
    p = m_fma(p, z, (R)2.22174488e-2f);
    p = m_fma(p, z, (R)-8.33330974e-2f);
    R small = m_fma(z * z, p, z * (R)0.5f);
    R e = m_exp_core((a > (R)40.0f ? (R)40.0f : a) * (R)-2);
    R large = (a - (R)0.693147182f) + m_log1p_core(e);
    return a < (R)1 ? small : (a < (R)INFINITY ? large : a);
}

#endif
#endif
