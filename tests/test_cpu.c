/* The CPU backend: every kernel on odd sizes against plain loops in long double by other formulas, with both real
 * types, every instruction set this machine has, and 1, 2, 3 and 5 threads, whose bits must all be equal. Results lie
 * between guards that must not change. Randomness and the device itself are test_cpu_device.c's. */
#include "cpu_kit.h"

/* ---- elementwise ---- */

static real want_of(mgn_op op, real a, real b, real c) {
    switch ((int)op) {
    case MGN_OP_copy: return a;
    case MGN_OP_neg: return 0 - a;
    case MGN_OP_square: return powl(a, 2);
    case MGN_OP_sqrt: return powl(a, 0.5L);
    case MGN_OP_abs: return fabsl(a);
    case MGN_OP_sign: return (a > 0) - (a < 0);
    case MGN_OP_exp: return expl(a);
    case MGN_OP_log: return logl(a);
    case MGN_OP_log1p: return log1pl(a);
    case MGN_OP_tanh: return -expm1l(-2 * a) / (2 + expm1l(-2 * a));
    case MGN_OP_logistic: return expl(a) / (1 + expl(a));
    case MGN_OP_softplus: return log1pl(expl(a));
    case MGN_OP_logcosh: return log1pl(2 * powl(sinhl(a / 2), 2));
    case MGN_OP_add: return a + b;
    case MGN_OP_sub: return a - b;
    case MGN_OP_mul: return a * b;
    case MGN_OP_div: return a / b;
    case MGN_OP_maximum: return fmaxl(a, b);
    case MGN_OP_minimum: return fminl(a, b);
    case MGN_OP_greater: return a > b;
    case MGN_OP_equal: return a == b;
    case MGN_OP_select: return a != 0 ? b : c;
    default: ck_abort_msg("op %s has no reference here", mgn_op_infos[op].label); return 0;
    }
}

/* Gives an operand of `shape` a random order of its axes in memory, gaps, and broadcasts; its elements from offset 0. */
static int64_t random_strides(mgn_test_random *random, mgn_operand *operand, bool broadcast) {
    int order[MGN_MAX_RANK], rank = operand->shape.rank;
    int64_t stride = 1;
    bool shuffled = mgn_test_integer(random, 0, 2) == 0;
    for (int i = 0; i < rank; i++) order[i] = i;
    for (int i = rank - 1; i > 0 && shuffled; i--) {
        int j = (int)mgn_test_integer(random, 0, i), swapped = order[i];
        order[i] = order[j];
        order[j] = swapped;
    }
    for (int i = rank - 1; i >= 0; i--) {
        if (broadcast && mgn_test_integer(random, 0, 3) == 0) {
            operand->stride[order[i]] = 0;
            continue;
        }
        if (mgn_test_integer(random, 0, 5) == 0) stride *= 2;
        operand->stride[order[i]] = stride;
        stride *= operand->shape.dim[order[i]];
    }
    return MGN_MAX(stride, 1);
}

static int64_t place_of(const mgn_operand *operand, int64_t element) {
    int64_t place = 0;
    for (int axis = operand->shape.rank - 1; axis >= 0; axis--) {
        place += element % operand->shape.dim[axis] * operand->stride[axis];
        element /= operand->shape.dim[axis];
    }
    return place;
}

static void check_elementwise(mgn_test_random *random, mgn_op op, mgn_shape shape, bool plain) {
    const mgn_op_info *info = &mgn_op_infos[op];
    subject s = {.call = {.op = op}};
    int64_t count = mgn_shape_count(shape);
    s.call.out = contiguous(MGN_F32, shape);
    s.out_size = (size_t)(plain ? count : random_strides(random, &s.call.out, false));
    for (int k = 0; k < info->arity; k++) {
        mgn_operand operand = contiguous(MGN_F32, shape);
        int64_t size = plain ? count : random_strides(random, &operand, true);
        add_reals(&s, random, shape_of(1, size, 0, 0), info->low, info->high);
        s.call.in[k] = operand;
        for (int64_t j = 0; op == MGN_OP_select && k == 0 && j < size; j += 2) s.reals[0][j] = 0;
        for (int64_t j = 0; op == MGN_OP_equal && j < size; j++) s.reals[k][j] = floor(s.reals[k][j] / 2);
    }
    real *want = reals_of((size_t)count), a[MGN_MAX_INPUTS] = {0};
    s.count = (size_t)count;
    s.places = malloc((s.count + 1) * sizeof *s.places);
    for (int64_t i = 0; i < count; i++) {
        for (int k = 0; k < info->arity; k++) a[k] = (real)s.reals[k][place_of(&s.call.in[k], i)];
        want[i] = want_of(op, a[0], a[1], a[2]);
        s.places[i] = place_of(&s.call.out, i);
    }
    check_subject(&s, want, want, info->ulps);
    free(want);
    free_subject(&s);
}

START_TEST(elementwise_ops_of_all_sizes) {
    mgn_test_random random = MGN_TEST_RANDOM();
    static const int64_t sizes[] = {0, 1, 7, 93, 4096, 300001};
    for (int op = 0; op < MGN_OP_COUNT; op++) {
        /* The largest is cut into chunks, which is the same for all ops. */
        bool cut = op == MGN_OP_copy || op == MGN_OP_tanh || op == MGN_OP_add || op == MGN_OP_select;
        for (size_t i = 0; i < MGN_COUNT(sizes) - !cut && mgn_op_infos[op].arity; i++)
            check_elementwise(&random, (mgn_op)op, shape_of(1, sizes[i], 0, 0), true);
    }
}
END_TEST

START_TEST(elementwise_ops_of_all_layouts) {
    mgn_test_random random = MGN_TEST_RANDOM();
    static const int64_t dims[] = {1, 2, 3, 5, 16, 67, 130};
    for (int op = 0; op < MGN_OP_COUNT; op++) {
        int rounds = op == MGN_OP_copy || op == MGN_OP_add || op == MGN_OP_select ? 40 : 4;
        for (int i = 0; i < rounds && mgn_op_infos[op].arity; i++) {
            mgn_shape shape = {.rank = (int)mgn_test_integer(&random, 0, 4)};
            int64_t count = 1;
            for (int axis = 0; axis < shape.rank; axis++) {
                shape.dim[axis] = dims[mgn_test_integer(&random, 0, 6)];
                if (count * shape.dim[axis] > 20000) shape.dim[axis] = 1;
                count *= shape.dim[axis];
            }
            check_elementwise(&random, (mgn_op)op, shape, false);
        }
    }
}
END_TEST

/* An optimizer's update: the result lies where an operand does. */
START_TEST(elementwise_ops_work_in_place) {
    mgn_device *device;
    MGN_ASSERT_OK(open_cpu(NULL, &device));
    float values[1000];
    for (int i = 0; i < 1000; i++) values[i] = (float)i;
    mgn_memory *memory = memory_of(device, values, sizeof values);
    mgn_operand all = contiguous(MGN_F32, shape_of(1, 1000, 0, 0));
    all.memory = memory;
    mgn_call call = {.op = MGN_OP_add, .inputs = 2, .in = {all, all}, .out = all};
    mgn_program *program;
    MGN_ASSERT_OK(mgn_cpu_backend.program_create(device, &call, 1, &program));
    MGN_ASSERT_OK(mgn_cpu_backend.program_run(device, program, 3));
    MGN_ASSERT_OK(mgn_cpu_backend.memory_read(device, memory, 0, values, sizeof values));
    for (int i = 0; i < 1000; i++) ck_assert(values[i] == (float)(8 * i));
    mgn_cpu_backend.program_destroy(device, program);
    mgn_cpu_backend.memory_destroy(device, memory);
    mgn_cpu_backend.close(device);
}
END_TEST

/* ---- reductions ---- */

static void check_reduce(mgn_test_random *random, mgn_op op, int64_t outer, int64_t n, int64_t inner, double low) {
    subject s = {.call = {.op = op, .attributes.reduce = {outer, n, inner}}};
    add_reals(&s, random, shape_of(3, outer, n, inner), low, 1);
    /* Ones, and blocks of what a plain sum of ones in double rounds down each time. */
    for (int64_t i = 0; low == 1 && i < (int64_t)s.sizes[0]; i++)
        s.reals[0][i] = i / inner % n / 256 % 2 ? (double)0.1f * 0x1p-40 : 1;
    set_out(&s, MGN_F32, shape_of(2, outer, inner, 0));
    real *want = reals_of(s.out_size), *magnitude = reals_of(s.out_size);
    for (int64_t o = 0; o < outer; o++) {
        for (int64_t j = 0; j < inner; j++) {
            real *w = &want[o * inner + j];
            *w = op == MGN_OP_sum ? 0 : -(real)INFINITY;
            for (int64_t i = n - 1; i >= 0; i--) {
                real x = (real)s.reals[0][(o * n + i) * inner + j];
                *w = op == MGN_OP_sum ? *w + x : fmaxl(*w, x);
                magnitude[o * inner + j] += fabsl(x);
            }
        }
    }
    check_subject(&s, want, magnitude, mgn_op_infos[op].ulps);
    free(want);
    free(magnitude);
    free_subject(&s);
}

START_TEST(reductions) {
    mgn_test_random random = MGN_TEST_RANDOM();
    static const int64_t shapes[][3] = {
        {1, 0, 1},    {3, 0, 2},    {0, 5, 3},      {4, 5, 0},      {1, 1, 1},      {7, 93, 1},     {93, 7, 1},
        {1, 4096, 1}, {5, 4096, 3}, {2, 93, 40},    {1, 200003, 3}, {300, 9, 1},    {1, 70000, 33}, {2, 300, 5000},
        {4000, 3, 4}, {1, 32, 2},   {1, 300000, 1}, {6, 15, 31},    {257, 600, 32}, {1, 17, 700},   {20000, 12, 1},
    };
    for (size_t i = 0; i < MGN_COUNT(shapes); i++) {
        const int64_t *x = shapes[i];
        check_reduce(&random, MGN_OP_sum, x[0], x[1], x[2], -1);
        check_reduce(&random, MGN_OP_sum, x[0], x[1], x[2], 0.9);
        check_reduce(&random, MGN_OP_sum, x[0], x[1], x[2], 1);
        check_reduce(&random, MGN_OP_max, x[0], x[1], x[2], -1);
    }
}
END_TEST

/* What is not finite reaches the result whatever way it takes. */
START_TEST(reductions_keep_what_is_not_finite) {
    mgn_test_random random = MGN_TEST_RANDOM();
    static const int64_t shapes[][2] = {{5, 1}, {40, 1}, {3000, 1}, {200000, 2}, {700, 50}};
    static const double values[] = {INFINITY, -INFINITY, NAN};
    for (size_t i = 0; i < MGN_COUNT(shapes) * MGN_COUNT(values) * 2; i++) {
        int64_t n = shapes[i / 6][0], inner = shapes[i / 6][1], at = mgn_test_integer(&random, 0, n - 1);
        double value = values[i % 3];
        subject s = {.call = {.op = i / 3 % 2 ? MGN_OP_sum : MGN_OP_max, .attributes.reduce = {1, n, inner}}};
        add_reals(&s, &random, shape_of(2, n, inner, 0), -1, 1);
        set_out(&s, MGN_F32, shape_of(1, inner, 0, 0));
        for (int64_t j = 0; j < inner; j++) s.reals[0][at * inner + j] = value;
        real *want = reals_of(s.out_size);
        for (int64_t j = 0; j < inner; j++) {
            want[j] = (real)value;
            for (int64_t r = 0; s.call.op == MGN_OP_max && r < n; r++)
                if (!isnan(value)) want[j] = fmaxl(want[j], (real)s.reals[0][r * inner + j]);
        }
        check_subject(&s, want, want, 0);
        free(want);
        free_subject(&s);
    }
}
END_TEST

/* ---- products ---- */

static void check_matmul(mgn_test_random *random, const int64_t *size, bool ta, bool tb, bool share_a, bool share_b) {
    int64_t batch = size[0], m = size[1], n = size[2], k = size[3];
    subject s = {.call = {.op = MGN_OP_matmul,
                          .attributes.matmul = {batch, m, n, k, share_a ? 0 : m * k, share_b ? 0 : k * n, ta, tb}}};
    add_reals(&s, random, shape_of(3, share_a ? 1 : batch, m, k), -1, 1);
    add_reals(&s, random, shape_of(3, share_b ? 1 : batch, k, n), -0.5, 1);
    set_out(&s, MGN_F32, shape_of(3, batch, m, n));
    real *want = reals_of(s.out_size), *magnitude = reals_of(s.out_size);
    for (int64_t e = 0; e < (int64_t)s.out_size; e++) {
        int64_t item = e / (m * n), i = e / n % m, j = e % n;
        const double *a = s.reals[0] + (share_a ? 0 : item * m * k), *b = s.reals[1] + (share_b ? 0 : item * k * n);
        for (int64_t p = k - 1; p >= 0; p--) {
            real x = (real)a[ta ? p * m + i : i * k + p] * (real)b[tb ? j * k + p : p * n + j];
            want[e] += x;
            magnitude[e] += fabsl(x);
        }
    }
    check_subject(&s, want, magnitude, mgn_op_infos[MGN_OP_matmul].ulps);
    free(want);
    free(magnitude);
    free_subject(&s);
}

START_TEST(products) {
    mgn_test_random random = MGN_TEST_RANDOM();
    static const int64_t sizes[][4] = {
        {1, 0, 3, 2},       {1, 3, 0, 2},       {2, 3, 2, 0},     {0, 3, 2, 4},     {1, 1, 1, 1},
        {1, 32, 2, 2},      {1, 93, 3, 3},      {37, 2, 2, 2},    {100, 3, 3, 3},   {21, 7, 1, 7},
        {3, 93, 7, 5},      {1, 2, 2, 4096},    {1, 7, 3, 93},    {2, 8, 8, 1000},  {1, 16, 16, 40},
        {1, 93, 93, 93},    {2, 1, 93, 300},    {1, 300, 1, 93},  {1, 7, 4096, 7},  {1, 4096, 4, 4},
        {1, 20, 30, 17000}, {1, 300, 200, 100}, {40, 20, 20, 20}, {1, 600, 17, 16}, {1, 60, 700, 50},
        {1, 101, 137, 601},
    };
    for (size_t i = 0; i < MGN_COUNT(sizes); i++) {
        for (int variant = 0; variant < 4; variant++) {
            bool share = mgn_test_integer(&random, 0, 1);
            check_matmul(&random, sizes[i], variant & 1, variant & 2, sizes[i][0] > 1 && share && variant & 1,
                         sizes[i][0] > 1 && share);
        }
    }
}
END_TEST

/* ---- symmetric positive definite matrices ---- */

/* Gauss and Jordan with pivots on (A | B): B becomes A^-1 B; gives log |det A|. */
static real eliminate(real *a, real *b, int64_t d, int64_t columns) {
    real log_determinant = 0;
    for (int64_t p = 0; p < d; p++) {
        int64_t best = p;
        for (int64_t i = p; i < d; i++) best = fabsl(a[i * d + p]) > fabsl(a[best * d + p]) ? i : best;
        for (int64_t j = 0; j < d + columns; j++) {
            real *x = j < d ? &a[p * d + j] : &b[p * columns + j - d];
            real *y = j < d ? &a[best * d + j] : &b[best * columns + j - d], swapped = *x;
            *x = *y;
            *y = swapped;
        }
        log_determinant += logl(fabsl(a[p * d + p]));
        for (int64_t i = 0; i < d; i++) {
            real factor = i == p ? 0 : a[i * d + p] / a[p * d + p];
            for (int64_t j = 0; j < d; j++) a[i * d + j] -= factor * a[p * d + j];
            for (int64_t j = 0; j < columns; j++) b[i * columns + j] -= factor * b[p * columns + j];
        }
    }
    for (int64_t i = 0; i < d * columns; i++) b[i] /= a[i / columns * d + i / columns];
    return log_determinant;
}

/* Entries: I + G G^T / d and something antisymmetric, which must not matter. `bad` is not positive definite. */
static void make_definite(mgn_test_random *random, double *a, int64_t d, bool bad) {
    double *g = random_reals(random, (size_t)(d * d), -1, 1);
    for (int64_t i = 0; i < d; i++) {
        for (int64_t j = 0; j <= i; j++) {
            double sum = i == j ? 1 : 0, skew = i == j ? 0 : 0.25;
            for (int64_t k = 0; k < d; k++) sum += g[i * d + k] * g[j * d + k] / (double)d;
            sum = round(sum * 1024) / 1024; /* so that adding the antisymmetric part is exact in float */
            a[i * d + j] = sum + skew;
            a[j * d + i] = sum - skew;
        }
    }
    if (bad) a[(d / 2) * (d + 1)] = -0.5;
    free(g);
}

static void check_spd(mgn_test_random *random, mgn_op op, int64_t batch, int64_t d, int64_t columns) {
    bool inverse = op == MGN_OP_spd_inverse, logdet = op == MGN_OP_spd_logdet;
    int64_t wide = inverse ? d : logdet ? 0 : columns;
    subject s = {.call = {.op = op, .attributes.spd = {batch, d, columns}}, .scratch_size = (size_t)(batch * d * d)};
    s.call.scratch = contiguous(MGN_F32, shape_of(3, batch, d, d));
    add_reals(&s, random, shape_of(3, batch, d, d), 0, 0);
    if (op == MGN_OP_spd_solve) add_reals(&s, random, shape_of(3, batch, d, columns), -1, 1);
    set_out(&s, MGN_F32, logdet ? shape_of(1, batch, 0, 0) : shape_of(3, batch, d, wide));
    real *want = reals_of(s.out_size), *magnitude = reals_of(s.out_size);
    real *a = reals_of((size_t)(d * d)), *b = reals_of((size_t)(d * wide));
    for (int64_t item = 0; item < batch; item++) {
        bool bad = batch > 2 && item % 5 == 3;
        double *matrix = s.reals[0] + item * d * d;
        make_definite(random, matrix, d, bad);
        for (int64_t i = 0; i < d * d; i++) a[i] = ((real)matrix[i] + (real)matrix[i % d * d + i / d]) / 2;
        for (int64_t i = 0; i < d * wide; i++)
            b[i] = inverse ? i % (d + 1) == 0 : (real)s.reals[1][item * d * columns + i];
        real value = eliminate(a, b, d, wide), norm = logdet ? 1 + fabsl(value) : 0;
        for (int64_t i = 0; i < d * wide; i++) norm = fmaxl(norm, fabsl(b[i]));
        int64_t entries = logdet ? 1 : d * wide;
        for (int64_t i = 0; i < entries; i++) {
            want[item * entries + i] = bad ? (real)NAN : logdet ? value : b[i];
            magnitude[item * entries + i] = norm;
        }
    }
    check_subject(&s, want, magnitude, mgn_op_infos[op].ulps / 4);
    free(want);
    free(magnitude);
    free(a);
    free(b);
    free_subject(&s);
}

START_TEST(definite_matrices) {
    mgn_test_random random = MGN_TEST_RANDOM();
    static const int64_t sizes[][3] = {{0, 3, 2}, {3, 0, 2},   {1, 1, 1},  {7, 2, 3},  {93, 3, 1}, {4096, 2, 2},
                                       {5, 7, 0}, {20, 16, 5}, {4, 17, 3}, {3, 40, 7}, {1, 93, 2}};
    for (size_t i = 0; i < MGN_COUNT(sizes); i++) {
        check_spd(&random, MGN_OP_spd_logdet, sizes[i][0], sizes[i][1], sizes[i][2]);
        check_spd(&random, MGN_OP_spd_inverse, sizes[i][0], sizes[i][1], sizes[i][2]);
        check_spd(&random, MGN_OP_spd_solve, sizes[i][0], sizes[i][1], sizes[i][2]);
    }
}
END_TEST

/* ---- rows by index ---- */

static void check_rows(mgn_test_random *random, bool gather, int64_t rows, int64_t source_rows, int64_t columns) {
    size_t count = (size_t)(gather ? rows : source_rows);
    int64_t limit = gather ? source_rows : rows;
    uint32_t *index = malloc((count + 1) * sizeof *index);
    for (size_t i = 0; i < count; i++) {
        index[i] = (uint32_t)mgn_test_integer(random, 0, MGN_MAX(limit, 1) - 1);
        if (limit == 0 || i % 11 == 5) index[i] = i % 2 ? UINT32_MAX : (uint32_t)limit; /* outside */
    }
    mgn_op op = gather ? MGN_OP_gather_rows : MGN_OP_scatter_rows;
    subject s = {.call = {.op = op, .attributes.rows = {rows, source_rows, columns}}};
    add_reals(&s, random, shape_of(2, source_rows, columns, 0), -1, 1);
    add_words(&s, index, count);
    set_out(&s, MGN_F32, shape_of(2, rows, columns, 0));
    real *want = reals_of(s.out_size), *magnitude = reals_of(s.out_size);
    for (int64_t i = 0; i < (int64_t)count * columns; i++) {
        int64_t row = (int64_t)index[i / columns];
        if (gather) {
            want[i] = row < limit ? (real)s.reals[0][row * columns + i % columns] : (real)NAN;
        } else if (row < limit) {
            want[row * columns + i % columns] += (real)s.reals[0][i];
            magnitude[row * columns + i % columns] += fabsl((real)s.reals[0][i]);
        }
    }
    check_subject(&s, want, magnitude, mgn_op_infos[op].ulps);
    free(index);
    free(want);
    free(magnitude);
    free_subject(&s);
}

START_TEST(rows_by_index) {
    mgn_test_random random = MGN_TEST_RANDOM();
    static const int64_t sizes[][3] = {{0, 4, 3},   {4, 0, 3},     {3, 4, 0},        {1, 1, 1},        {7, 93, 2},
                                       {93, 7, 40}, {4096, 93, 3}, {500, 4096, 100}, {20000, 20000, 7}};
    for (size_t i = 0; i < MGN_COUNT(sizes); i++) {
        check_rows(&random, true, sizes[i][0], sizes[i][1], sizes[i][2]);
        check_rows(&random, false, sizes[i][0], sizes[i][1], sizes[i][2]);
    }
}
END_TEST

int main(void) {
    Suite *suite = suite_create("cpu");
    TCase *tests = tcase_create("kernels");
    tcase_set_timeout(tests, 200);
    tcase_add_test(tests, elementwise_ops_of_all_sizes);
    tcase_add_test(tests, elementwise_ops_of_all_layouts);
    tcase_add_test(tests, elementwise_ops_work_in_place);
    tcase_add_test(tests, reductions);
    tcase_add_test(tests, reductions_keep_what_is_not_finite);
    tcase_add_test(tests, products);
    tcase_add_test(tests, definite_matrices);
    tcase_add_test(tests, rows_by_index);
    suite_add_tcase(suite, tests);
    return mgn_test_main(suite);
}
