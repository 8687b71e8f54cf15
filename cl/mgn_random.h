/* Counter-based random numbers, shared by C and OpenCL C: the same bits on every device, whatever the number of
 * threads or work-items, and nothing to store but {seed low, seed high, step, stream}.
 *
 * The generator is Philox 4x32-10 from Random123. Uniforms and normals are made from its 32-bit words by additions,
 * multiplications, bit operations and (double only, where OpenCL requires correct rounding too) division and square
 * root: built-ins differ from device to device. All functions work on R as mgn_math.h defines it, so also on vectors
 * of words; m_word is the 32-bit word beside R. Every use of block {i, step, stream, 0} gives four numbers:
 *     word 0..3 -> four uniforms, or
 *     words (0, 1) -> normals 0 and 1, words (2, 3) -> normals 2 and 3. */
#ifndef MGN_CL_RANDOM_H
#define MGN_CL_RANDOM_H

#include <Random123/philox.h>

#include "mgn_math.h"

#ifdef __OPENCL_VERSION__
typedef M_TYPE(uint) m_word;
typedef M_TYPE(int) m_signed_word;
#define m_signed_of(w) M_TYPE(as_int)(w)
#ifdef MGN_REAL_IS_DOUBLE
#define m_real_of(w) M_TYPE(convert_double)(w)
#define m_wide(w) M_TYPE(convert_ulong)(w)
#define m_wide_bits(x) M_TYPE(as_ulong)(x)
#define m_wide_signed(w) M_TYPE(as_long)(w)
#define m_wide_real(w) M_TYPE(as_double)(w)
typedef M_TYPE(ulong) m_wide_word;
typedef M_TYPE(long) m_wide_signed_word;
#else
#define m_real_of(w) M_TYPE(convert_float)(w)
#endif
#else
typedef uint32_t m_word;
typedef int32_t m_signed_word;
#define m_signed_of(w) ((m_signed_word)(w))
#define m_real_of(w) ((R)(w))
#ifdef MGN_REAL_IS_DOUBLE
typedef uint64_t m_wide_word;
typedef int64_t m_wide_signed_word;
#define m_wide(w) ((m_wide_word)(w))
#define m_wide_signed(w) ((m_wide_signed_word)(w))

M_FUNCTION m_wide_word m_wide_bits(R x) {
    union { R real; m_wide_word bits; } pun = {x};
    return pun.bits;
}

M_FUNCTION R m_wide_real(m_wide_word w) {
    union { m_wide_word bits; R real; } pun = {w};
    return pun.real;
}
#endif
#endif

/* Four words of block {block, step, stream, 0} under key {seed_low, seed_high}. */
M_FUNCTION philox4x32_ctr_t m_random_block(uint32_t seed_low, uint32_t seed_high, uint32_t block, uint32_t step,
                                           uint32_t stream) {
    philox4x32_ctr_t counter = {{block, step, stream, 0}};
    philox4x32_key_t key = {{seed_low, seed_high}};
    return philox4x32(counter, key);
}

#ifdef MGN_REAL_IS_DOUBLE

/* In (0, 1): the middles of 2^32 equal intervals. */
M_FUNCTION R m_uniform_of(m_word w) { return (m_real_of(w) + (R)0.5) * (R)2.3283064365386962890625e-10; }

/* -log of the uniform above, by the coefficients of FDLIBM's log. */
M_FUNCTION R m_random_log(m_word w) {
    m_wide_word bits = m_wide_bits(m_uniform_of(w));
    m_wide_word shift = (bits - 0x3fe6a09e667f3bcd) & 0xfff0000000000000;
    R k = m_real_of(m_wide_signed(shift) >> 52);
    R f = m_wide_real(bits - shift) - (R)1;
    R s = f / ((R)2 + f), z = s * s, half_square = (R)0.5 * f * f;
    R p = (R)1.479819860511658591e-01;
    p = p * z + (R)1.531383769920937332e-01;
    p = p * z + (R)1.818357216161805012e-01;
    p = p * z + (R)2.222219843214978396e-01;
    p = p * z + (R)2.857142874366239149e-01;
    p = p * z + (R)3.999999999940941908e-01;
    p = p * z + (R)6.666666666666735130e-01;
    R low = s * (half_square + z * p) + k * (R)1.90821492927058770002e-10;
    return ((half_square - low) - f) - k * (R)6.93147180369123816490e-01;
}

M_FUNCTION R m_random_sqrt(R x) { return sqrt(x); }

/* sin x and cos x for |x| <= pi / 4, by the coefficients of FDLIBM. */
M_FUNCTION R m_random_sin(R x) {
    R z = x * x, p = (R)1.58969099521155010221e-10;
    p = p * z + (R)-2.50507602534068634195e-08;
    p = p * z + (R)2.75573137070700676789e-06;
    p = p * z + (R)-1.98412698298579493134e-04;
    p = p * z + (R)8.33333333332248946124e-03;
    p = p * z + (R)-1.66666666666666324348e-01;
    return x + x * (z * p);
}

M_FUNCTION R m_random_cos(R x) {
    R z = x * x, p = (R)-1.13596475577881948265e-11;
    p = p * z + (R)2.08757232129817482790e-09;
    p = p * z + (R)-2.75573143513906633035e-07;
    p = p * z + (R)2.48015872894767294178e-05;
    p = p * z + (R)-1.38888888888741095749e-03;
    p = p * z + (R)4.16666666666666019037e-02;
    return ((R)1 - z * (R)0.5) + z * (z * p);
}

#define M_TURN 1.46291807926715968105e-09 /* 2 pi / 2^32 */

M_FUNCTION R m_negate_if(R x, m_word odd) { return m_wide_real(m_wide_bits(x) ^ (m_wide(odd) << 63)); }

/* a where the lowest bit of `odd` is 0, else b. */
M_FUNCTION R m_choose(m_word odd, R a, R b) {
    m_wide_word mask = (m_wide_word)0 - m_wide(odd & 1u);
    return m_wide_real((m_wide_bits(a) & ~mask) | (m_wide_bits(b) & mask));
}

#else

/* In (0, 1): the middles of 2^23 equal intervals. Each step is exact. */
M_FUNCTION R m_uniform_of(m_word w) {
    return (m_real_of(m_signed_of(w >> 9)) + (R)0.5f) * (R)1.1920928955078125e-7f;
}

/* -log((w + 1/2) / 2^32): finer near 0 than the uniform above, so that normals reach 6.7. */
M_FUNCTION R m_random_log(m_word w) {
    R high = m_real_of(m_signed_of(w >> 16)) * (R)65536.0f, low = m_real_of(m_signed_of(w & 0xffffu)) + (R)0.5f;
    return -m_log_normal_everywhere((high + low) * (R)2.3283064365386962890625e-10f, (R)0);
}

/* x / sqrt(x): a guess from the exponent and three steps of Newton's. */
M_FUNCTION R m_random_sqrt(R x) {
    R y = m_real(0x5f375a86u - (m_bits(x) >> 1)), h = x * (R)0.5f;
    y = y * ((R)1.5f - (h * y) * y);
    y = y * ((R)1.5f - (h * y) * y);
    y = y * ((R)1.5f - (h * y) * y);
    return x * y;
}

/* sin x and cos x for |x| <= pi / 4. */
M_FUNCTION R m_random_sin(R x) {
    R z = x * x, p = (R)-1.95184548e-4f;
    p = p * z + (R)8.33219010e-3f;
    p = p * z + (R)-1.66666552e-1f;
    return x + x * (z * p);
}

M_FUNCTION R m_random_cos(R x) {
    R z = x * x, p = (R)2.44329713e-5f;
    p = p * z + (R)-1.38873130e-3f;
    p = p * z + (R)4.16666456e-2f;
    return ((R)1 - z * (R)0.5f) + z * (z * p);
}

#define M_TURN 1.46291808e-9f /* 2 pi / 2^32 */

M_FUNCTION R m_negate_if(R x, m_word odd) { return m_real(m_bits(x) ^ (odd << 31)); }

/* a where the lowest bit of `odd` is 0, else b. */
M_FUNCTION R m_choose(m_word odd, R a, R b) {
    m_word mask = (m_word)0 - (odd & 1u);
    return m_real((m_bits(a) & ~mask) | (m_bits(b) & mask));
}

#endif

/* Two independent N(0, 1) from two words (Box and Muller): the radius from `u`, the angle from `v`, whose nearest
 * quarter turn is taken off first. */
M_FUNCTION void m_normal_of(m_word u, m_word v, R *x, R *y) {
    R radius = m_random_sqrt(m_random_log(u) * (R)2);
    m_word quarter = (v + 0x20000000u) >> 30;
    R angle = m_real_of(m_signed_of(v - (quarter << 30))) * (R)M_TURN;
    R s = m_random_sin(angle), c = m_random_cos(angle);
    *x = radius * m_negate_if(m_choose(quarter, c, s), (quarter ^ (quarter >> 1)) & 1u);
    *y = radius * m_negate_if(m_choose(quarter, s, c), quarter >> 1);
}

/* ---- shuffles: keyed permutations of 0 .. population - 1 ----
 *
 * A position is split into its low `bits` bits and the rest, which is below `rest`; each half is moved by a function of
 * the other, the low one by exclusive or, the rest by addition modulo `rest`. 2^bits rest exceeds the population by less
 * than 2^bits, about twice its root: hardly any position leads outside and has to go round again. */

/* Two rounds would leave the differences of neighbouring entries visibly uneven (by 1 % at a population of 1000); after
 * three they are as even as those of true shuffles for populations of some hundreds and more. */
#define M_SHUFFLE_ROUNDS 3

typedef struct m_shuffle_key {
    uint32_t round[2 * M_SHUFFLE_ROUNDS];
    uint32_t bits, rest; /* population <= 2^bits rest */
    uint32_t population;
} m_shuffle_key;

/* The permutation that belongs to a seed and an epoch. 1 <= population < 2^32. Its words come from counters that
 * m_random_block never uses. */
M_FUNCTION m_shuffle_key m_shuffle_start(uint32_t seed_low, uint32_t seed_high, uint32_t epoch, uint32_t population) {
    m_shuffle_key result;
    philox4x32_key_t key = {{seed_low, seed_high}};
    for (uint32_t j = 0; j < 2 * M_SHUFFLE_ROUNDS; j += 2) {
        philox4x32_ctr_t counter = {{j, epoch, 0, 0x73687566u}};
        counter = philox4x32(counter, key);
        result.round[j] = counter.v[0];
        result.round[j + 1] = counter.v[1];
    }
    result.bits = 1;
    while (result.bits < 16 && ((population - 1) >> (2 * result.bits)) != 0) result.bits++;
    result.rest = ((population - 1) >> result.bits) + 1;
    result.population = population;
    return result;
}

/* The epoch that `step` is in. */
M_FUNCTION uint32_t m_shuffle_epoch(uint32_t step, uint64_t steps_per_epoch) {
    return (uint32_t)(step / steps_per_epoch);
}

/* The position in its epoch's permutation of entry i of step `step`; beyond the end it starts again. */
M_FUNCTION uint32_t m_shuffle_position(uint32_t step, uint64_t steps_per_epoch, uint64_t stride, uint64_t i,
                                       uint32_t population) {
    uint64_t position = (step % steps_per_epoch) * stride + i;
    return (uint32_t)(position < population ? position : position % population);
}

/* A bijection of 0 .. 2^bits rest - 1, for one uint32_t or a vector of them. A half is at most 2^16, so the upper part of
 * its product with 16 random bits is as good as one with 32, and needs no wider multiplication. */
#define M_SHUFFLE_ROUNDS_OF(TYPE, NAME)                                                                \
    M_FUNCTION TYPE NAME(m_shuffle_key key, TYPE x) {                                                  \
        TYPE rest = x >> key.bits, low = x & ((1u << key.bits) - 1u), size = (TYPE)key.rest;           \
        for (int j = 0; j < M_SHUFFLE_ROUNDS; j++) {                                                   \
            TYPE mixed = (low ^ key.round[2 * j]) * 0xD2511F53u;                                       \
            rest += ((((mixed ^ (mixed >> 15)) * 0xCD9E8D57u) >> 16) * size) >> 16;                    \
            rest = rest >= size ? rest - size : rest;                                                  \
            mixed = (rest ^ key.round[2 * j + 1]) * 0xD2511F53u;                                       \
            low ^= ((mixed ^ (mixed >> 15)) * 0xCD9E8D57u) >> (32u - key.bits);                        \
        }                                                                                              \
        return (rest << key.bits) | low;                                                               \
    }
M_SHUFFLE_ROUNDS_OF(uint32_t, m_shuffle_rounds)

/* What stands at `position` < population: round the bijection's cycle until inside. */
M_FUNCTION uint32_t m_shuffle(m_shuffle_key key, uint32_t position) {
    do position = m_shuffle_rounds(key, position);
    while (position >= key.population);
    return position;
}

#endif
