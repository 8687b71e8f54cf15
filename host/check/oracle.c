/* The oracle of elementwise ops, reductions, rows, layout and randomness: one plain loop over the result, each element
 * from its definition. The scalar functions avoid the ranges where their textbook forms lose digits. */
#include "check/oracle.h"

#include <math.h>

/* ---- elementwise ---- */

static mgn_exact exact_copy(mgn_exact a) { return a; }
static mgn_exact exact_neg(mgn_exact a) { return 0.0L - a; }
static mgn_exact exact_square(mgn_exact a) { return powl(fabsl(a), 2.0L); }
static mgn_exact exact_sqrt(mgn_exact a) { return sqrtl(a); }
static mgn_exact exact_abs(mgn_exact a) { return signbit(a) ? -a : a; }
static mgn_exact exact_sign(mgn_exact a) { return a == 0.0L || isnan(a) ? 0.0L : copysignl(1.0L, a); }
static mgn_exact exact_exp(mgn_exact a) { return expl(a); }
static mgn_exact exact_log(mgn_exact a) { return logl(a); }

/* log(1 + a) = 2 artanh(a / (2 + a)), which keeps small arguments. */
static mgn_exact exact_log1p(mgn_exact a) { return fabsl(a) < 1.0L ? 2.0L * atanhl(a / (2.0L + a)) : logl(1.0L + a); }

/* tanh |a| = -expm1(-2|a|) / (2 + expm1(-2|a|)). */
static mgn_exact exact_tanh(mgn_exact a) {
    mgn_exact e = expm1l(-2.0L * fabsl(a));
    return copysignl(-e / (2.0L + e), a);
}

static mgn_exact exact_logistic(mgn_exact a) {
    mgn_exact e = expl(-fabsl(a));
    return (a < 0.0L ? e : 1.0L) / (1.0L + e);
}

static mgn_exact exact_softplus(mgn_exact a) { return fmaxl(a, 0.0L) + log1pl(expl(-fabsl(a))); }

/* cosh a = 1 + 2 sinh^2(a / 2), and for large |a| half of exp |a|. */
static mgn_exact exact_logcosh(mgn_exact a) {
    mgn_exact b = fabsl(a), s = sinhl(0.5L * b);
    if (b < 2.0L || isnan(a)) return log1pl(2.0L * s * s);
    return b + log1pl(expl(-2.0L * b)) - 0.693147180559945309417232121458L;
}

static mgn_exact exact_add(mgn_exact a, mgn_exact b) { return b + a; }
static mgn_exact exact_sub(mgn_exact a, mgn_exact b) { return -(b - a); }
static mgn_exact exact_mul(mgn_exact a, mgn_exact b) { return b * a; }
static mgn_exact exact_div(mgn_exact a, mgn_exact b) { return a / b; }
static mgn_exact exact_maximum(mgn_exact a, mgn_exact b) { return b >= a ? b : a; }
static mgn_exact exact_minimum(mgn_exact a, mgn_exact b) { return b <= a ? b : a; }
static mgn_exact exact_greater(mgn_exact a, mgn_exact b) { return b < a ? 1.0L : 0.0L; }
static mgn_exact exact_equal(mgn_exact a, mgn_exact b) { return a < b || b < a || isnan(a) || isnan(b) ? 0.0L : 1.0L; }
static mgn_exact exact_select(mgn_exact a, mgn_exact b, mgn_exact c) { return a == 0.0L ? c : b; }

/* An op of the table without an exact_ function does not build: that is how every op comes to be checked. */
mgn_exact mgn_oracle_scalar(mgn_op op, mgn_exact a, mgn_exact b, mgn_exact c) {
    switch (op) {
#define MGN_UNARY(op, ...) \
    case MGN_OP_##op: return exact_##op(a);
#define MGN_BINARY(op, ...) \
    case MGN_OP_##op: return exact_##op(a, b);
#define MGN_TERNARY(op, ...) \
    case MGN_OP_##op: return exact_##op(a, b, c);
#include "graph/ops.def"
    default: return NAN;
    }
}

/* ---- indices ---- */

static void unravel(mgn_shape shape, int64_t flat, int64_t index[MGN_MAX_RANK]) {
    for (int i = shape.rank - 1; i >= 0; i--) {
        index[i] = flat % shape.dim[i];
        flat /= shape.dim[i];
    }
}

static int64_t ravel(mgn_shape shape, const int64_t index[MGN_MAX_RANK]) {
    int64_t flat = 0;
    for (int i = 0; i < shape.rank; i++) flat = flat * shape.dim[i] + index[i];
    return flat;
}

/* The element of an operand that stands at `index` of the shape it broadcasts to. */
static int64_t broadcast_position(mgn_shape operand, mgn_shape result, const int64_t index[MGN_MAX_RANK]) {
    int64_t own[MGN_MAX_RANK] = {0};
    for (int i = 0; i < operand.rank; i++) own[i] = operand.dim[i] == 1 ? 0 : index[i + result.rank - operand.rank];
    return ravel(operand, own);
}

static void store(mgn_exact value, mgn_exact scale, int64_t i, mgn_exact *out, mgn_exact *magnitude) {
    out[i] = value;
    if (magnitude) magnitude[i] = scale;
}

/* One input alone is broadcasting itself. */
void mgn_oracle_elementwise(const mgn_check_case *c, const mgn_exact *const *in, mgn_exact *out, mgn_exact *magnitude) {
    int64_t count = mgn_shape_count(c->shape), index[MGN_MAX_RANK];
    for (int64_t i = 0; i < count; i++) {
        mgn_exact value[MGN_CASE_INPUTS] = {0};
        unravel(c->shape, i, index);
        for (int j = 0; j < c->inputs; j++) value[j] = in[j][broadcast_position(c->in[j].shape, c->shape, index)];
        mgn_exact y = mgn_op_is_elementwise(c->op) ? mgn_oracle_scalar(c->op, value[0], value[1], value[2]) : value[0];
        store(y, fabsl(y), i, out, magnitude);
    }
}

/* ---- reductions: every input element goes to the element its kept axes name ---- */

static int64_t reduced_position(const mgn_check_case *c, int64_t flat) {
    int64_t index[MGN_MAX_RANK], kept[MGN_MAX_RANK] = {0};
    int rank = 0;
    unravel(c->in[0].shape, flat, index);
    for (int i = 0; i < c->in[0].shape.rank; i++)
        if (!(c->axes >> i & 1)) kept[rank++] = index[i];
    return ravel(c->shape, kept);
}

void mgn_oracle_sum(const mgn_check_case *c, const mgn_exact *const *in, mgn_exact *out, mgn_exact *magnitude) {
    int64_t count = mgn_shape_count(c->shape), terms = mgn_shape_count(c->in[0].shape);
    for (int64_t i = 0; i < count; i++) store(0, 0, i, out, magnitude);
    for (int64_t i = 0; i < terms; i++) {
        int64_t to = reduced_position(c, i);
        out[to] += in[0][i];
        if (magnitude) magnitude[to] += fabsl(in[0][i]);
    }
}

void mgn_oracle_max(const mgn_check_case *c, const mgn_exact *const *in, mgn_exact *out, mgn_exact *magnitude) {
    int64_t count = mgn_shape_count(c->shape), terms = mgn_shape_count(c->in[0].shape);
    for (int64_t i = 0; i < count; i++) store(-INFINITY, 0, i, out, magnitude);
    for (int64_t i = 0; i < terms; i++) {
        int64_t to = reduced_position(c, i);
        if (out[to] < in[0][i]) store(in[0][i], fabsl(in[0][i]), to, out, magnitude);
    }
}

/* ---- rows by index ---- */

static int64_t row_size(mgn_shape shape) {
    int64_t columns = 1;
    for (int i = 1; i < shape.rank; i++) columns *= shape.dim[i];
    return columns;
}

void mgn_oracle_gather(const mgn_check_case *c, const mgn_exact *const *in, mgn_exact *out, mgn_exact *magnitude) {
    int64_t columns = row_size(c->shape), count = mgn_shape_count(c->shape);
    for (int64_t i = 0; i < count; i++) {
        int64_t row = (int64_t)in[1][i / columns];
        mgn_exact value = row < c->in[0].shape.dim[0] ? in[0][row * columns + i % columns] : NAN;
        store(value, fabsl(value), i, out, magnitude);
    }
}

void mgn_oracle_scatter(const mgn_check_case *c, const mgn_exact *const *in, mgn_exact *out, mgn_exact *magnitude) {
    int64_t columns = row_size(c->shape), count = mgn_shape_count(c->shape), rows = c->in[1].shape.dim[0];
    for (int64_t i = 0; i < count; i++) {
        mgn_exact value = 0, scale = 0;
        for (int64_t r = rows - 1; r >= 0; r--)
            if ((int64_t)in[1][r] == i / columns) {
                value += in[0][r * columns + i % columns];
                scale += fabsl(in[0][r * columns + i % columns]);
            }
        store(value, scale, i, out, magnitude);
    }
}

/* ---- layout ---- */

void mgn_oracle_same(const mgn_check_case *c, const mgn_exact *const *in, mgn_exact *out, mgn_exact *magnitude) {
    for (int64_t i = mgn_shape_count(c->shape) - 1; i >= 0; i--) store(in[0][i], fabsl(in[0][i]), i, out, magnitude);
}

void mgn_oracle_permute(const mgn_check_case *c, const mgn_exact *const *in, mgn_exact *out, mgn_exact *magnitude) {
    int64_t count = mgn_shape_count(c->shape), from[MGN_MAX_RANK], to[MGN_MAX_RANK];
    for (int64_t i = 0; i < count; i++) { /* over the input */
        unravel(c->in[0].shape, i, from);
        for (int j = 0; j < c->shape.rank; j++) to[j] = from[c->order[j]];
        store(in[0][i], fabsl(in[0][i]), ravel(c->shape, to), out, magnitude);
    }
}

void mgn_oracle_slice(const mgn_check_case *c, const mgn_exact *const *in, mgn_exact *out, mgn_exact *magnitude) {
    int64_t count = mgn_shape_count(c->shape), index[MGN_MAX_RANK];
    for (int64_t i = 0; i < count; i++) {
        unravel(c->shape, i, index);
        index[c->axis] += c->begin;
        mgn_exact value = in[0][ravel(c->in[0].shape, index)];
        store(value, fabsl(value), i, out, magnitude);
    }
}

void mgn_oracle_pad(const mgn_check_case *c, const mgn_exact *const *in, mgn_exact *out, mgn_exact *magnitude) {
    int64_t count = mgn_shape_count(c->shape), index[MGN_MAX_RANK];
    for (int64_t i = 0; i < count; i++) {
        unravel(c->shape, i, index);
        index[c->axis] -= c->begin;
        bool inside = index[c->axis] >= 0 && index[c->axis] < c->in[0].shape.dim[c->axis];
        mgn_exact value = inside ? in[0][ravel(c->in[0].shape, index)] : 0;
        store(value, fabsl(value), i, out, magnitude);
    }
}

void mgn_oracle_concat(const mgn_check_case *c, const mgn_exact *const *in, mgn_exact *out, mgn_exact *magnitude) {
    int64_t count = mgn_shape_count(c->shape), index[MGN_MAX_RANK] = {0};
    for (int64_t i = 0; i < count; i++) {
        int part = 0;
        unravel(c->shape, i, index);
        for (; index[c->axis] >= c->in[part].shape.dim[c->axis]; part++) index[c->axis] -= c->in[part].shape.dim[c->axis];
        mgn_exact value = in[part][ravel(c->in[part].shape, index)];
        store(value, fabsl(value), i, out, magnitude);
    }
}

/* ---- randomness: Philox 4x32-10 (Salmon et al. 2011), its products by long multiplication of 16-bit halves ---- */

static void multiply(uint32_t a, uint32_t b, uint32_t *high, uint32_t *low) {
    uint64_t a0 = a & 0xffff, a1 = a >> 16, b0 = b & 0xffff, b1 = b >> 16;
    uint64_t middle = a1 * b0 + (a0 * b0 >> 16), other = a0 * b1 + (middle & 0xffff);
    *high = (uint32_t)(a1 * b1 + (middle >> 16) + (other >> 16));
    *low = (uint32_t)((other << 16 & 0xffff0000) | (a0 * b0 & 0xffff));
}

void mgn_oracle_philox(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]) {
    uint32_t c0 = counter[0], c1 = counter[1], c2 = counter[2], c3 = counter[3];
    for (uint32_t round = 0; round < 10; round++) {
        uint32_t k0 = key[0] + round * 0x9e3779b9u, k1 = key[1] + round * 0xbb67ae85u; /* golden ratio, sqrt(3) - 1 */
        uint32_t high0, low0, high1, low1;
        multiply(0xd2511f53u, c0, &high0, &low0);
        multiply(0xcd9e8d57u, c2, &high1, &low1);
        uint32_t next0 = high1 ^ c1 ^ k0, next2 = high0 ^ c3 ^ k1;
        c0 = next0, c1 = low1, c2 = next2, c3 = low0;
    }
    out[0] = c0, out[1] = c1, out[2] = c2, out[3] = c3;
}

static void block_of(const mgn_check_case *c, const mgn_exact *state, int64_t i, uint32_t bits[4]) {
    uint32_t key[2] = {(uint32_t)state[0], (uint32_t)state[1]};
    uint32_t counter[4] = {(uint32_t)(i / 4), (uint32_t)state[2], (uint32_t)state[3] ^ c->stream, 0};
    mgn_oracle_philox(counter, key, bits);
}

/* Uniforms are the middles of 2^32 intervals; float32 has the middles of 2^23, half a unit away at most. */
void mgn_oracle_uniform(const mgn_check_case *c, const mgn_exact *const *in, mgn_exact *out, mgn_exact *magnitude) {
    uint32_t bits[4];
    for (int64_t i = 0; i < mgn_shape_count(c->shape); i++) {
        block_of(c, in[0], i, bits);
        store(((mgn_exact)bits[i % 4] + 0.5L) / 4294967296.0L, 1, i, out, magnitude);
    }
}

/* Box and Muller: the radius from the first word of a pair, the angle from the second. */
void mgn_oracle_normal(const mgn_check_case *c, const mgn_exact *const *in, mgn_exact *out, mgn_exact *magnitude) {
    const mgn_exact turn = 6.283185307179586476925286766559L;
    uint32_t bits[4];
    for (int64_t i = 0; i < mgn_shape_count(c->shape); i++) {
        block_of(c, in[0], i, bits);
        mgn_exact radius = sqrtl(-2.0L * logl(((mgn_exact)bits[i % 4 & 2] + 0.5L) / 4294967296.0L));
        mgn_exact angle = turn * (mgn_exact)bits[i % 4 | 1] / 4294967296.0L;
        /* A uniform rounded in float32 moves its log by half a unit, and the radius by that over the radius. */
        store(radius * (i % 2 ? sinl(angle) : cosl(angle)), radius + 1 / radius, i, out, magnitude);
    }
}

void mgn_oracle_advance(const mgn_check_case *c, const mgn_exact *const *in, mgn_exact *out, mgn_exact *magnitude) {
    for (int64_t i = 0; i < 4; i++) {
        mgn_exact value = i == 2 ? fmodl(in[0][i] + (mgn_exact)c->steps, 4294967296.0L) : in[0][i];
        store(value, value, i, out, magnitude);
    }
}

void mgn_oracle_from_unorm8(const mgn_check_case *c, const mgn_exact *const *in, mgn_exact *out, mgn_exact *magnitude) {
    for (int64_t i = 0; i < mgn_shape_count(c->shape); i++) {
        mgn_exact value = (mgn_exact)((uint32_t)in[0][i / 4] >> (8 * (i % 4)) & 255u) / 255;
        store(value, value, i, out, magnitude);
    }
}

void mgn_oracle_to_unorm8(const mgn_check_case *c, const mgn_exact *const *in, mgn_exact *out, mgn_exact *magnitude) {
    for (int64_t i = 0; i < mgn_shape_count(c->shape); i++) {
        mgn_exact word = 0;
        for (int64_t byte = 3; byte >= 0; byte--) {
            mgn_exact a = in[0][4 * i + byte];
            word = 256 * word + (isnan(a) || a <= 0 ? 0 : a >= 1 ? 255 : roundl(255 * a));
        }
        store(word, word, i, out, magnitude);
    }
}
