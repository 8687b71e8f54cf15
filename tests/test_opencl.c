/* The kernels of the OpenCL backend through its contract: hand-made calls against plain loops in double, in both shapes
 * (the one for CPU devices and the one for GPUs) and both precisions.
 *
 * Every buffer has sentinels around each operand, which must come back untouched. MGN_TEST_SMALL=1 leaves out what
 * would take a simulator hours: `MGN_TEST_SMALL=1 oclgrind --data-races tests/test_opencl`. */
#include "opencl_blocks.h"

#include <math.h>
#include <stdio.h>

static double unit_of(mgn_dtype dtype) { return dtype == MGN_F64 ? 0x1p-52 : 0x1p-23; }

/* `found` against `exact`, within `allowed`; a NaN wants a NaN. */
static void check_value(const char *what, size_t index, double found, double exact, double allowed) {
    if (isnan(exact) ? isnan(found) : found == exact || fabs(found - exact) <= allowed) return;
    ck_abort_msg("%s: element %zu is %.17g, %.17g was expected, within %.3g", what, index, found, exact, allowed);
}

/* The whole result against `exact`, entry i within `scale[i]` times `ulps` units. */
static void check_result(const char *what, block *out, const double *exact, const double *scale, double ulps) {
    read_block(out);
    check_guards(what, out);
    for (size_t i = 0; i < out->total - 2 * GUARD; i++)
        check_value(what, i, elements(out)[i], exact[i], ulps * unit_of(out->operand.dtype) * scale[i]);
}

/* ---- elementwise ---- */

static double exact_elementwise(mgn_op op, double a, double b, double c) {
    switch (op) {
    case MGN_OP_copy: return a;
    case MGN_OP_neg: return -a;
    case MGN_OP_square: return a * a;
    case MGN_OP_sqrt: return sqrt(a);
    case MGN_OP_abs: return fabs(a);
    case MGN_OP_sign: return a > 0 ? 1 : a < 0 ? -1 : 0;
    case MGN_OP_exp: return exp(a);
    case MGN_OP_log: return log(a);
    case MGN_OP_log1p: return log1p(a);
    case MGN_OP_tanh: return tanh(a);
    case MGN_OP_logistic: return 1 / (1 + exp(-a));
    case MGN_OP_softplus: return a > 0 ? a + log1p(exp(-a)) : log1p(exp(a));
    case MGN_OP_logcosh: return log1p(2 * sinh(a / 2) * sinh(a / 2));
    case MGN_OP_add: return a + b;
    case MGN_OP_sub: return a - b;
    case MGN_OP_mul: return a * b;
    case MGN_OP_div: return a / b;
    case MGN_OP_maximum: return fmax(a, b);
    case MGN_OP_minimum: return fmin(a, b);
    case MGN_OP_greater: return a > b;
    case MGN_OP_equal: return a == b;
    case MGN_OP_select: return a != 0 ? b : c;
    default: ck_abort_msg("the test knows nothing about the elementwise op %s", mgn_op_infos[op].label); return 0;
    }
}

/* Shapes, and the strides of the output and the inputs; a case is used by all arities. */
typedef struct layout_case {
    const char *label;
    mgn_shape shape;
    int64_t stride[4][MGN_MAX_RANK];
} layout_case;

static const layout_case layouts[] = {
    {"empty", {1, {0}}, {{1}, {1}, {1}, {1}}},
    {"one", {0, {0}}, {{0}, {0}, {0}, {0}}},
    {"seven", {1, {7}}, {{1}, {1}, {1}, {1}}},
    {"two axes", {2, {31, 3}}, {{3, 1}, {3, 1}, {3, 1}, {3, 1}}},
    {"long", {2, {4096, 5}}, {{5, 1}, {5, 1}, {5, 1}, {5, 1}}},
    {"constants", {1, {93}}, {{1}, {1}, {0}, {0}}},
    {"constant first", {1, {93}}, {{1}, {0}, {1}, {0}}},
    {"short rows", {2, {93, 3}}, {{3, 1}, {3, 1}, {0, 1}, {1, 0}}},
    {"long rows", {2, {7, 93}}, {{93, 1}, {93, 1}, {0, 1}, {1, 0}}},
    {"transposed", {2, {93, 40}}, {{40, 1}, {1, 93}, {40, 1}, {1, 93}}},
    {"transposed, short", {2, {93, 5}}, {{5, 1}, {1, 93}, {5, 1}, {1, 93}}},
    {"slices", {2, {17, 19}}, {{31, 1}, {23, 1}, {19, 1}, {40, 2}}},
    {"columns", {2, {500, 2}}, {{7, 1}, {2, 1}, {3, 1}, {5, 2}}},
    {"four axes", {4, {3, 5, 2, 7}}, {{70, 14, 7, 1}, {14, 42, 7, 1}, {0, 7, 0, 1}, {1, 3, 15, 30}}},
    {"four axes, written apart",
     {4, {3, 5, 4, 20}},
     {{1000, 200, 40, 2}, {400, 80, 20, 1}, {80, 0, 20, 1}, {0, 0, 0, 0}}},
    {"many short rows", {2, {9000, 3}}, {{4, 1}, {3, 1}, {0, 1}, {1, 0}}},
    {"blocks", {3, {6, 1, 700}}, {{1400, 700, 1}, {700, 700, 1}, {0, 0, 1}, {700, 0, 1}}},
};

static int64_t place_of(const int64_t *stride, const int64_t index[4], int rank) {
    int64_t at = 0;
    for (int r = 0; r < rank; r++) at += index[r] * stride[r];
    return at;
}

static void next_index(int64_t index[4], mgn_shape shape) {
    for (int r = shape.rank - 1; r >= 0; r--) {
        if (++index[r] < shape.dim[r]) return;
        index[r] = 0;
    }
}

static block strided_block(mgn_device *device, mgn_dtype dtype, mgn_shape shape, const int64_t *stride) {
    int64_t last = 0;
    for (int r = 0; r < shape.rank; r++) last += (shape.dim[r] - 1) * stride[r];
    block b = make_block(device, dtype, shape, (size_t)MGN_MAX(last, 0) + 1);
    memcpy(b.operand.stride, stride, sizeof b.operand.stride);
    return b;
}

static void check_elementwise(mgn_device *device, mgn_dtype dtype, mgn_op op, const layout_case *l,
                              mgn_test_random *random) {
    const mgn_op_info *info = &mgn_op_infos[op];
    char what[128];
    snprintf(what, sizeof what, "%s, %s", info->label, l->label);
    mgn_call call = {.op = op, .inputs = info->arity};
    block in[3], out = strided_block(device, dtype, l->shape, l->stride[0]);
    for (int i = 0; i < info->arity; i++) {
        in[i] = strided_block(device, dtype, l->shape, l->stride[i + 1]);
        for (size_t e = 0; e < in[i].total; e++) {
            double x = mgn_test_uniform(random, info->low, info->high);
            /* Ties and zeros matter to comparisons. */
            if (op == MGN_OP_equal || op == MGN_OP_select || op == MGN_OP_sign || op == MGN_OP_greater) x = round(x);
            in[i].values[e] = dtype == MGN_F32 ? (double)(float)x : x;
        }
        write_block(&in[i]);
        call.in[i] = in[i].operand;
    }
    write_block(&out);
    call.out = out.operand;
    run_call(device, &call);

    double *expected = malloc(out.total * sizeof *expected);
    memcpy(expected, out.values, out.total * sizeof *expected);
    int64_t index[4] = {0};
    for (int64_t e = 0; e < mgn_shape_count(l->shape); e++, next_index(index, l->shape)) {
        double x[3] = {0};
        for (int i = 0; i < info->arity; i++) x[i] = elements(&in[i])[place_of(l->stride[i + 1], index, l->shape.rank)];
        expected[GUARD + place_of(l->stride[0], index, l->shape.rank)] = exact_elementwise(op, x[0], x[1], x[2]);
    }
    read_block(&out);
    for (size_t e = 0; e < out.total; e++)
        check_value(what, e, out.values[e], expected[e],
                    expected[e] == guard_value ? 0 : info->ulps * unit_of(dtype) * fabs(expected[e]));
    free(expected);
    free_block(&out);
    for (int i = 0; i < info->arity; i++) free_block(&in[i]);
}

START_TEST(elementwise_ops) {
    BEGIN_VARIANT;
    for (mgn_op op = 0; op < MGN_OP_COUNT; op++)
        for (size_t i = 0; mgn_op_is_elementwise(op) && i < MGN_COUNT(layouts); i++) {
            /* Every op's expression; all layouts with one op of each arity. */
            const bool each = i == 4;
            if (!affordable((size_t)mgn_shape_count(layouts[i].shape) * 10)) continue;
            if (each || op == MGN_OP_copy || op == MGN_OP_sub || op == MGN_OP_select)
                check_elementwise(device, dtype, op, &layouts[i], &random);
        }
}
END_TEST

START_TEST(index_copies) {
    BEGIN_VARIANT;
    const uint32_t values[] = {0, 1, 0xffffffffu, 0x7fc00001u, 16777217u, 3000000001u};
    block in = index_block(device, 6, values), out = empty_block(device, MGN_U32, 6);
    const mgn_call call = {.op = MGN_OP_copy, .inputs = 1, .in = {in.operand}, .out = out.operand};
    run_call(device, &call);
    read_block(&out);
    for (size_t i = 0; i < 6; i++) ck_assert_uint_eq((uint32_t)elements(&out)[i], values[i]);
    free_block(&in);
    free_block(&out);
}
END_TEST

/* ---- reductions ---- */

static void check_reduction(mgn_device *device, mgn_dtype dtype, mgn_op op, size_t outer, size_t n, size_t inner,
                            bool with_nan, mgn_test_random *random) {
    char what[128];
    snprintf(what, sizeof what, "%s of (%zu, %zu, %zu)", mgn_op_infos[op].label, outer, n, inner);
    block in = random_block(device, dtype, outer * n * inner, random), out = empty_block(device, dtype, outer * inner);
    if (with_nan) {
        elements(&in)[outer * n * inner / 2] = NAN;
        write_block(&in);
    }
    mgn_call call = {.op = op, .inputs = 1, .in = {in.operand}, .out = out.operand};
    call.attributes.reduce.outer = (int64_t)outer;
    call.attributes.reduce.n = (int64_t)n;
    call.attributes.reduce.inner = (int64_t)inner;
    run_call(device, &call);
    double *exact = calloc(outer * inner, sizeof *exact), *scale = calloc(outer * inner, sizeof *scale);
    for (size_t o = 0; o < outer; o++)
        for (size_t i = 0; i < inner; i++) {
            long double sum = 0;
            double most = -INFINITY, magnitude = 0;
            for (size_t j = 0; j < n; j++) {
                const double x = elements(&in)[(o * n + j) * inner + i];
                sum += x;
                magnitude += fabs(x);
                most = isnan(x) || isnan(most) ? NAN : fmax(most, x);
            }
            exact[o * inner + i] = op == MGN_OP_sum ? (double)sum : most;
            scale[o * inner + i] = magnitude;
        }
    check_result(what, &out, exact, scale, mgn_op_infos[op].ulps);
    free(exact);
    free(scale);
    free_block(&in);
    free_block(&out);
}

START_TEST(reductions) {
    BEGIN_VARIANT;
    static const size_t shapes[][3] = {
        {1, 0, 3},    {1, 1, 1},    {7, 1, 7},     {93, 7, 1},     {1, 93, 93},   {4096, 2, 1}, {1, 7, 4096},
        {2, 93, 40},  {1, 4096, 1}, {1, 4097, 3},  {1, 100003, 1}, {1, 30011, 3}, {3, 9001, 2}, {1, 5000, 100},
        {5, 1500, 1}, {2, 300, 17}, {300, 257, 1}, {1, 1100, 64},  {1, 9000, 65}, {5000, 3, 1}, {1, 3000, 128},
    };
    for (size_t i = 0; i < MGN_COUNT(shapes); i++) {
        if (!affordable(shapes[i][0] * shapes[i][1] * shapes[i][2])) continue;
        check_reduction(device, dtype, MGN_OP_sum, shapes[i][0], shapes[i][1], shapes[i][2], false, &random);
        check_reduction(device, dtype, MGN_OP_max, shapes[i][0], shapes[i][1], shapes[i][2], false, &random);
        if (shapes[i][1] > 0)
            check_reduction(device, dtype, MGN_OP_max, shapes[i][0], shapes[i][1], shapes[i][2], true, &random);
    }
}
END_TEST

/* ---- products ---- */

typedef struct product_case {
    size_t batch, m, n, k;
    bool a_shared, b_shared;
} product_case;

static void check_product(mgn_device *device, mgn_dtype dtype, product_case p, bool ta, bool tb,
                          mgn_test_random *random) {
    char what[128];
    snprintf(what, sizeof what, "matmul %zu x (%zu, %zu, %zu)%s%s%s%s", p.batch, p.m, p.k, p.n, ta ? ", a^T" : "",
             tb ? ", b^T" : "", p.a_shared ? ", a shared" : "", p.b_shared ? ", b shared" : "");
    block a = random_block(device, dtype, (p.a_shared ? 1 : p.batch) * p.m * p.k, random);
    block b = random_block(device, dtype, (p.b_shared ? 1 : p.batch) * p.k * p.n, random);
    block out = empty_block(device, dtype, p.batch * p.m * p.n);
    mgn_call call = {.op = MGN_OP_matmul, .inputs = 2, .in = {a.operand, b.operand}, .out = out.operand};
    call.attributes.matmul.batch = (int64_t)p.batch;
    call.attributes.matmul.m = (int64_t)p.m;
    call.attributes.matmul.n = (int64_t)p.n;
    call.attributes.matmul.k = (int64_t)p.k;
    call.attributes.matmul.stride_a = p.a_shared ? 0 : (int64_t)(p.m * p.k);
    call.attributes.matmul.stride_b = p.b_shared ? 0 : (int64_t)(p.k * p.n);
    call.attributes.matmul.transpose_a = ta;
    call.attributes.matmul.transpose_b = tb;
    run_call(device, &call);
    double *exact = calloc(p.batch * p.m * p.n, sizeof *exact), *scale = calloc(p.batch * p.m * p.n, sizeof *scale);
    for (size_t l = 0; l < p.batch; l++) {
        const double *x = elements(&a) + (p.a_shared ? 0 : l * p.m * p.k);
        const double *y = elements(&b) + (p.b_shared ? 0 : l * p.k * p.n);
        for (size_t i = 0; i < p.m; i++)
            for (size_t j = 0; j < p.n; j++)
                for (size_t q = 0; q < p.k; q++) {
                    const double term = x[ta ? q * p.m + i : i * p.k + q] * y[tb ? j * p.k + q : q * p.n + j];
                    exact[(l * p.m + i) * p.n + j] += term;
                    scale[(l * p.m + i) * p.n + j] += fabs(term);
                }
    }
    check_result(what, &out, exact, scale, mgn_op_infos[MGN_OP_matmul].ulps);
    free(exact);
    free(scale);
    free_block(&a);
    free_block(&b);
    free_block(&out);
}

static const product_case products[] = {
    {1, 1, 1, 1, 0, 0},     {1, 7, 5, 0, 0, 0},    {1, 93, 3, 2, 0, 0},    {1, 3, 93, 7, 0, 0},
    {1, 4096, 3, 3, 0, 0},  {1, 33, 70, 40, 0, 0}, {1, 2, 3, 4097, 0, 0},  {1, 2, 3, 20011, 0, 0},
    {1, 93, 1, 300, 0, 0},  {1, 1, 93, 300, 0, 0}, {93, 3, 3, 3, 0, 0},    {93, 2, 5, 4, 0, 1},
    {93, 2, 5, 4, 1, 0},    {7, 16, 16, 16, 0, 0}, {5, 17, 19, 23, 0, 0},  {3, 40, 30, 70, 0, 0},
    {3, 40, 30, 70, 1, 0},  {3, 40, 30, 70, 0, 1}, {1, 130, 97, 93, 0, 0}, {1, 61, 131, 600, 0, 0},
    {4096, 1, 2, 2, 0, 0},  {17, 4, 3, 0, 0, 0},   {3, 70, 66, 300, 0, 0}, {2, 70, 66, 300, 1, 0},
    {1, 150, 32, 20, 0, 0}, {1, 128, 16, 5, 0, 0}, {1, 203, 24, 64, 0, 0},
};

START_TEST(matrix_products) {
    BEGIN_VARIANT;
    for (size_t i = 0; i < MGN_COUNT(products); i++)
        for (int t = 0; t < 4 && affordable(products[i].batch * products[i].m * products[i].n * products[i].k); t++)
            check_product(device, dtype, products[i], t & 1, t & 2, &random);
}
END_TEST

/* ---- symmetric positive definite matrices ---- */

/* An A with A + A^T positive definite, its antisymmetric part not zero; `bad` makes it indefinite. */
static void fill_spd(double *a, size_t d, bool bad, mgn_dtype dtype, mgn_test_random *random) {
    double *root = malloc(d * d * sizeof *root);
    for (size_t i = 0; i < d * d; i++) root[i] = mgn_test_normal(random);
    for (size_t i = 0; i < d; i++)
        for (size_t j = 0; j < d; j++) {
            double s = i == j ? (double)d : 0;
            for (size_t p = 0; p < d; p++) s += root[i * d + p] * root[j * d + p];
            a[i * d + j] = s;
        }
    for (size_t i = 0; i < d; i++)
        for (size_t j = 0; j < i; j++) {
            const double turn = mgn_test_normal(random);
            a[i * d + j] += turn;
            a[j * d + i] -= turn;
        }
    if (bad) a[(d / 2) * d + d / 2] = -1;
    for (size_t i = 0; i < d * d && dtype == MGN_F32; i++) a[i] = (double)(float)a[i];
    free(root);
}

/* Gauss and Jordan without pivots (the matrix is definite): the inverse of the symmetric part, and its log det. */
static double invert(const double *a, double *inverse, size_t d) {
    double *s = malloc(d * d * sizeof *s), logdet = 0;
    for (size_t i = 0; i < d; i++)
        for (size_t j = 0; j < d; j++) {
            s[i * d + j] = (a[i * d + j] + a[j * d + i]) / 2;
            inverse[i * d + j] = i == j;
        }
    for (size_t p = 0; p < d; p++) {
        const double pivot = s[p * d + p];
        logdet += log(pivot);
        for (size_t j = 0; j < d; j++) {
            s[p * d + j] /= pivot;
            inverse[p * d + j] /= pivot;
        }
        for (size_t i = 0; i < d; i++) {
            const double factor = i == p ? 0 : s[i * d + p];
            for (size_t j = 0; j < d; j++) {
                s[i * d + j] -= factor * s[p * d + j];
                inverse[i * d + j] -= factor * inverse[p * d + j];
            }
        }
    }
    free(s);
    return logdet;
}

static void check_spd(mgn_device *device, mgn_dtype dtype, mgn_op op, size_t batch, size_t d, mgn_test_random *random) {
    const size_t columns = 3, bad = batch > 2 ? batch / 2 : batch, right_size = d * columns;
    const size_t per = op == MGN_OP_spd_logdet ? 1 : op == MGN_OP_spd_inverse ? d * d : right_size;
    char what[96];
    snprintf(what, sizeof what, "%s, %zu of order %zu", mgn_op_infos[op].label, batch, d);
    block a = empty_block(device, dtype, batch * d * d),
          right = random_block(device, dtype, batch * right_size, random);
    block out = empty_block(device, dtype, batch * per), scratch = empty_block(device, dtype, batch * d * d);
    for (size_t l = 0; l < batch; l++) fill_spd(elements(&a) + l * d * d, d, l == bad, dtype, random);
    write_block(&a);
    mgn_call call = {.op = op,
                     .inputs = op == MGN_OP_spd_solve ? 2 : 1,
                     .in = {a.operand, right.operand},
                     .out = out.operand,
                     .scratch = scratch.operand};
    call.attributes.spd.batch = (int64_t)batch;
    call.attributes.spd.d = (int64_t)d;
    call.attributes.spd.columns = (int64_t)columns;
    run_call(device, &call);
    double *exact = malloc(batch * per * sizeof *exact), *scale = malloc(batch * per * sizeof *scale);
    double *inverse = malloc(d * d * sizeof *inverse);
    for (size_t l = 0; l < batch; l++) {
        const double logdet = invert(elements(&a) + l * d * d, inverse, d);
        for (size_t e = 0; e < per; e++) {
            double x = op == MGN_OP_spd_logdet ? logdet : inverse[e % (d * d)];
            if (op == MGN_OP_spd_solve) {
                x = 0;
                for (size_t p = 0; p < d; p++)
                    x += inverse[e / columns * d + p] * elements(&right)[l * right_size + p * columns + e % columns];
            }
            exact[l * per + e] = l == bad ? NAN : x;
            scale[l * per + e] = fabs(x) + 1;
        }
    }
    check_result(what, &out, exact, scale, mgn_op_infos[op].ulps);
    free(exact);
    free(scale);
    free(inverse);
    free_block(&a);
    free_block(&right);
    free_block(&out);
    free_block(&scratch);
}

START_TEST(definite_matrices) {
    BEGIN_VARIANT;
    static const size_t sizes[][2] = {{1, 1}, {7, 2}, {93, 3}, {500, 2}, {20, 8}, {33, 9}, {1, 21}, {7, 13}};
    for (size_t i = 0; i < MGN_COUNT(sizes); i++)
        for (mgn_op op = MGN_OP_spd_logdet; op <= MGN_OP_spd_solve && affordable(sizes[i][0] * sizes[i][1] * 100); op++)
            check_spd(device, dtype, op, sizes[i][0], sizes[i][1], &random);
}
END_TEST

/* ---- rows ---- */

static void check_rows(mgn_device *device, mgn_dtype dtype, bool scatter, size_t rows, size_t source_rows,
                       size_t columns, mgn_test_random *random) {
    const size_t indices = scatter ? source_rows : rows, range = scatter ? rows : source_rows;
    char what[96];
    snprintf(what, sizeof what, "%s of (%zu, %zu), %zu rows", scatter ? "scatter" : "gather", source_rows, columns,
             rows);
    block a = random_block(device, dtype, source_rows * columns, random);
    block out = empty_block(device, dtype, rows * columns);
    uint32_t *index = calloc(indices + 1, sizeof *index);
    for (size_t i = 0; i < indices; i++)
        index[i] =
            i % 11 == 5 ? 0xffffffffu - (uint32_t)i % 2 * 0x7fffffffu : (uint32_t)(mgn_test_bits(random) % (range + 1));
    block at = index_block(device, indices, index);
    mgn_call call = {.op = scatter ? MGN_OP_scatter_rows : MGN_OP_gather_rows,
                     .inputs = 2,
                     .in = {a.operand, at.operand},
                     .out = out.operand};
    call.attributes.rows.rows = (int64_t)rows;
    call.attributes.rows.source_rows = (int64_t)source_rows;
    call.attributes.rows.columns = (int64_t)columns;
    run_call(device, &call);
    double *exact = calloc(rows * columns + 1, sizeof *exact), *scale = calloc(rows * columns + 1, sizeof *scale);
    for (size_t i = 0; i < indices; i++)
        for (size_t c = 0; c < columns; c++)
            if (!scatter) {
                exact[i * columns + c] = index[i] < range ? elements(&a)[index[i] * columns + c] : NAN;
            } else if (index[i] < range) {
                exact[index[i] * columns + c] += elements(&a)[i * columns + c];
                scale[index[i] * columns + c] += fabs(elements(&a)[i * columns + c]);
            }
    check_result(what, &out, exact, scale, mgn_op_infos[call.op].ulps);
    free(exact);
    free(scale);
    free(index);
    free_block(&a);
    free_block(&at);
    free_block(&out);
}

START_TEST(rows_by_index) {
    BEGIN_VARIANT;
    static const size_t sizes[][3] = {{1, 1, 1},      {7, 93, 3},     {93, 7, 1}, {93, 40, 37},
                                      {4096, 300, 2}, {300, 4096, 2}, {5, 0, 2},  {0, 5, 2}};
    for (size_t i = 0; i < MGN_COUNT(sizes); i++)
        for (int scatter = 0; scatter < 2 && affordable(sizes[i][0] * sizes[i][1] / 10); scatter++)
            check_rows(device, dtype, scatter, sizes[i][0], sizes[i][1], sizes[i][2], &random);
}
END_TEST

/* ---- randomness: the same bits as the CPU backend ---- */

static void check_same_bits(mgn_device *device, mgn_call call, mgn_dtype out_dtype, size_t count,
                            const uint32_t *words) {
    mgn_device *const devices[2] = {device, cpu};
    const size_t bytes = count * mgn_dtype_size(out_dtype);
    void *found[2];
    for (int i = 0; i < 2; i++) {
        block state = index_block(devices[i], 4, words), out = empty_block(devices[i], out_dtype, count);
        call.inputs = 1;
        call.in[0] = state.operand;
        call.out = out.operand;
        run_call(devices[i], &call);
        found[i] = malloc(bytes + 1);
        MGN_ASSERT_OK(devices[i]->backend->memory_read(devices[i], out.operand.memory,
                                                       GUARD * mgn_dtype_size(out_dtype), found[i], bytes));
        read_block(&out);
        check_guards(mgn_op_infos[call.op].label, &out);
        free_block(&state);
        free_block(&out);
    }
    const unsigned char *x = found[0], *y = found[1];
    for (size_t i = 0; i < bytes; i++)
        if (x[i] != y[i])
            ck_abort_msg("%s of %s: element %zu of %zu differs from the CPU backend's", mgn_op_infos[call.op].label,
                         mgn_dtype_name(out_dtype), i / mgn_dtype_size(out_dtype), count);
    free(found[0]);
    free(found[1]);
}

START_TEST(random_numbers) {
    BEGIN_VARIANT;
    static const size_t counts[] = {1, 7, 93, 4096, 100003};
    for (size_t i = 0; i < MGN_COUNT(counts) && affordable(counts[i] * 10); i++) {
        uint32_t words[4];
        for (int w = 0; w < 4; w++) words[w] = (uint32_t)mgn_test_bits(&random);
        mgn_call call = {.op = MGN_OP_uniform};
        call.attributes.random.stream = (uint32_t)i;
        check_same_bits(device, call, dtype, counts[i], words);
        call.op = MGN_OP_normal;
        check_same_bits(device, call, dtype, counts[i], words);
    }
}
END_TEST

START_TEST(shuffles_and_steps) {
    BEGIN_VARIANT;
    static const int64_t shapes[][4] = {{1, 1, 1, 1},  {93, 31, 3, 31}, {100, 7, 14, 7},
                                        {17, 8, 4, 3}, {17, 8, 7, 5},   {100000, 4096, 24, 4096}};
    for (size_t i = 0; i < MGN_COUNT(shapes); i++)
        for (uint32_t step = 0; step < 3 && affordable((size_t)shapes[i][1] * 10); step++) {
            const uint32_t words[4] = {(uint32_t)mgn_test_bits(&random), (uint32_t)mgn_test_bits(&random), step * 5, 7};
            mgn_call call = {.op = MGN_OP_shuffle};
            call.attributes.shuffle.population = shapes[i][0];
            call.attributes.shuffle.batch = shapes[i][1];
            call.attributes.shuffle.steps_per_epoch = shapes[i][2];
            call.attributes.shuffle.stride = shapes[i][3];
            check_same_bits(device, call, MGN_U32, (size_t)shapes[i][1], words);
        }
    const uint32_t words[4] = {1, 2, 0xfffffffeu, 4};
    mgn_call call = {.op = MGN_OP_advance};
    call.attributes.advance.steps = 5;
    check_same_bits(device, call, MGN_U32, 4, words);
}
END_TEST

static Suite *suite(void) {
    Suite *s = suite_create("opencl");
    TCase *kernels = tcase_create("kernels");
    tcase_set_timeout(kernels, 600);
    tcase_add_unchecked_fixture(kernels, open_all, close_all);
    tcase_add_loop_test(kernels, elementwise_ops, 0, VARIANTS);
    tcase_add_loop_test(kernels, index_copies, 0, 2);
    tcase_add_loop_test(kernels, reductions, 0, VARIANTS);
    tcase_add_loop_test(kernels, matrix_products, 0, VARIANTS);
    tcase_add_loop_test(kernels, definite_matrices, 0, VARIANTS);
    tcase_add_loop_test(kernels, rows_by_index, 0, VARIANTS);
    tcase_add_loop_test(kernels, random_numbers, 0, VARIANTS);
    tcase_add_loop_test(kernels, shuffles_and_steps, 0, 2);
    suite_add_tcase(s, kernels);
    return s;
}

int main(void) {
    spec = mgn_test_opencl_spec();
    return mgn_test_main(suite());
}
