/* Products of medium size and sums of two of them: against sums in long double, at odd shapes, with infinities and NaN in
 * the factors; the same bits with AVX2 and AVX-512, for any number of cores and threads. And neighbours in a program that
 * could share their threads: the same bits as one program each. */
#include "cpu_kit.h"

/* out = op(a) op(b) + op(c) op(d), the factors' contents as floats; terms[1].k = 0: no second product. */
typedef struct sum_term {
    int64_t k;
    bool transpose_a, transpose_b;
    double *a, *b;
} sum_term;

typedef struct sum {
    int64_t m, n;
    sum_term terms[2];
} sum;

static sum draw_sum(mgn_test_random *random, int64_t m, int64_t n, int64_t k, int64_t second) {
    sum s = {.m = m, .n = n};
    for (int t = 0; t < 2; t++) {
        sum_term *term = &s.terms[t];
        term->k = t ? second : k;
        term->transpose_a = mgn_test_integer(random, 0, 1);
        term->transpose_b = mgn_test_integer(random, 0, 1);
        term->a = random_reals(random, (size_t)(m * term->k), -1, 1);
        term->b = random_reals(random, (size_t)(n * term->k), -0.5, 1);
    }
    return s;
}

static void free_sum(sum *s) {
    for (int t = 0; t < 2; t++) {
        free(s->terms[t].a);
        free(s->terms[t].b);
    }
}

static double *a_at(const sum *s, const sum_term *t, int64_t i, int64_t p) {
    return &t->a[t->transpose_a ? p * s->m + i : i * t->k + p];
}

static double *b_at(const sum *s, const sum_term *t, int64_t p, int64_t j) {
    return &t->b[t->transpose_b ? j * t->k + p : p * s->n + j];
}

static mgn_call call_of(mgn_device *device, const sum *s, const sum_term *t, mgn_memory *out) {
    mgn_call call = {.op = MGN_OP_matmul,
                     .inputs = 2,
                     .attributes.matmul = {.batch = 1,
                                           .m = s->m,
                                           .n = s->n,
                                           .k = t->k,
                                           .transpose_a = t->transpose_a,
                                           .transpose_b = t->transpose_b,
                                           .adds = t != s->terms}};
    call.in[0] = contiguous(MGN_F32, shape_of(1, s->m * t->k, 0, 0));
    call.in[1] = contiguous(MGN_F32, shape_of(1, s->n * t->k, 0, 0));
    call.out = contiguous(MGN_F32, shape_of(1, s->m * s->n, 0, 0));
    call.in[0].memory = real_memory(device, MGN_F32, t->a, (size_t)(s->m * t->k));
    call.in[1].memory = real_memory(device, MGN_F32, t->b, (size_t)(s->n * t->k));
    call.out.memory = out;
    call.out.offset = GUARD;
    return call;
}

/* The sum by a device of one instruction set on so many cores. */
static float *run_sum(const sum *s, const char *isa, int cores, int threads) {
    mgn_device *device;
    mgn_program *program;
    if (open_cpu(isa, &device) != MGN_OK) return NULL;
    if (cores) device->info.compute_units = cores;
    const size_t bytes = (size_t)(s->m * s->n + 2 * GUARD) * sizeof(float);
    float *result = malloc(bytes);
    memset(result, 0xAB, bytes);
    mgn_memory *out = memory_of(device, result, bytes);
    const size_t count = s->terms[1].k ? 2 : 1;
    mgn_call calls[2];
    for (size_t t = 0; t < count; t++) calls[t] = call_of(device, s, &s->terms[t], out);
    mgn_set_threads(threads);
    MGN_ASSERT_OK(mgn_cpu_backend.program_create(device, calls, count, &program));
    MGN_ASSERT_OK(mgn_cpu_backend.program_run(device, program, 2)); /* twice: the first call starts anew */
    MGN_ASSERT_OK(mgn_cpu_backend.memory_read(device, out, 0, result, bytes));
    mgn_cpu_backend.program_destroy(device, program);
    for (size_t t = 0; t < count; t++)
        for (int i = 0; i < 2; i++) mgn_cpu_backend.memory_destroy(device, calls[t].in[i].memory);
    mgn_cpu_backend.memory_destroy(device, out);
    mgn_cpu_backend.close(device);
    for (size_t i = 0; i < GUARD * sizeof(float); i++)
        if (((unsigned char *)result)[i] != 0xAB || ((unsigned char *)result)[bytes - 1 - i] != 0xAB)
            ck_abort_msg("a product writes outside its result");
    memmove(result, result + GUARD, bytes - 2 * GUARD * sizeof(float));
    return result;
}

/* Element (i, j) within `ulps` units of the sum of its absolute terms; not finite where an exact sum is not. */
static void check_element(const sum *s, const float *found, int64_t i, int64_t j) {
    real want = 0, magnitude = 0;
    for (int t = 0; t < 2; t++)
        for (int64_t p = 0; p < s->terms[t].k; p++) {
            const real x = (real)*a_at(s, &s->terms[t], i, p) * (real)*b_at(s, &s->terms[t], p, j);
            want += x;
            magnitude += fabsl(x);
        }
    const real is = (real)found[i * s->n + j];
    if (isnan(want) ? isnan(is) : isinf(want) ? is == want : fabsl(is - want) <= 8 * 0x1p-23L * magnitude) return;
    ck_abort_msg("%lld x %lld, %lld and %lld terms: element (%lld, %lld) is %.9Lg, expected %.9Lg", (long long)s->m,
                 (long long)s->n, (long long)s->terms[0].k, (long long)s->terms[1].k, (long long)i, (long long)j, is,
                 want);
}

static void check_sum(const sum *s) {
    static const struct {
        const char *isa;
        int cores, threads;
    } ways[] = {{"avx2", 1, 1}, {"avx2", 3, 2}, {"avx512", 2, 1}, {"avx512", 7, 3}, {NULL, 64, 5}};
    const size_t bytes = (size_t)(s->m * s->n) * sizeof(float);
    float *first = run_sum(s, NULL, 0, 2), *plain = run_sum(s, "baseline", 0, 2);
    for (int64_t i = 0; i < s->m; i++)
        for (int64_t j = 0; j < s->n; j++) {
            check_element(s, first, i, j);
            check_element(s, plain, i, j);
        }
    for (size_t w = 0; w < MGN_COUNT(ways); w++) {
        float *again = run_sum(s, ways[w].isa, ways[w].cores, ways[w].threads);
        if (again && memcmp(first, again, bytes) != 0)
            ck_abort_msg("%lld x %lld: other bits with %s, %d cores, %d threads", (long long)s->m, (long long)s->n,
                         ways[w].isa ? ways[w].isa : "the best", ways[w].cores, ways[w].threads);
        free(again);
    }
    free(first);
    free(plain);
}

/* Around the widths of vectors, tiles and panels; blocks of terms of all lengths. */
START_TEST(shapes) {
    static const int64_t sizes[][4] = {
        {96, 96, 64, 0},    {97, 145, 65, 96},   {103, 96, 257, 64},  {128, 128, 256, 256}, {192, 144, 100, 300},
        {113, 209, 70, 97}, {96, 111, 1000, 80}, {305, 131, 129, 64}, {130, 97, 513, 511},
    };
    mgn_test_random random = MGN_TEST_RANDOM();
    for (size_t i = 0; i < MGN_COUNT(sizes); i++) {
        sum s = draw_sum(&random, sizes[i][0], sizes[i][1], sizes[i][2], sizes[i][3]);
        check_sum(&s);
        free_sum(&s);
    }
}
END_TEST

/* What is not finite stays in its row or column. */
START_TEST(not_finite) {
    static const double values[] = {(double)INFINITY, (double)-INFINITY, (double)NAN};
    mgn_test_random random = MGN_TEST_RANDOM();
    for (int round = 0; round < 4; round++) {
        sum s = draw_sum(&random, mgn_test_integer(&random, 97, 160), mgn_test_integer(&random, 97, 160),
                         mgn_test_integer(&random, 64, 300), mgn_test_integer(&random, 64, 300));
        for (int t = 0; t < 2; t++)
            for (size_t v = 0; v < MGN_COUNT(values); v++) {
                const int64_t k = s.terms[t].k;
                *a_at(&s, &s.terms[t], mgn_test_integer(&random, 0, s.m - 1), mgn_test_integer(&random, 0, k - 1)) =
                    values[v];
                *b_at(&s, &s.terms[t], mgn_test_integer(&random, 0, k - 1), mgn_test_integer(&random, 0, s.n - 1)) =
                    values[v];
            }
        *a_at(&s, &s.terms[0], s.m - 1, s.terms[0].k - 1) = (double)NAN; /* beside the padding */
        *b_at(&s, &s.terms[0], s.terms[0].k - 1, s.n - 1) = (double)INFINITY;
        check_sum(&s);
        free_sum(&s);
    }
}
END_TEST

enum { POINTS = 192, SOFTMINS = 5 };

/* Softmins of costs, each with the results of the one before it as heights, or all with the same. */
static void make_softmins(mgn_device *device, mgn_test_random random, bool is_chain, mgn_call *calls,
                          mgn_memory *memory[2]) {
    const size_t costs = POINTS * POINTS, heights = 2 * POINTS;
    double *c = random_reals(&random, costs, 0, 1), *h = random_reals(&random, (SOFTMINS + 1) * heights, -6, -4);
    memory[0] = real_memory(device, MGN_F32, c, costs);
    memory[1] = real_memory(device, MGN_F32, h, (SOFTMINS + 1) * heights);
    free(c);
    free(h);
    for (int i = 0; i < SOFTMINS; i++) {
        mgn_call *call = &calls[i];
        *call = (mgn_call){.op = MGN_OP_softmins_dense, .inputs = 3};
        call->attributes.cloud.n = call->attributes.cloud.m = POINTS;
        call->attributes.cloud.scale = 3;
        call->in[0] = contiguous(MGN_F32, shape_of(2, POINTS, POINTS, 0));
        call->in[1] = call->in[2] = contiguous(MGN_F32, shape_of(1, POINTS, 0, 0));
        call->out = contiguous(MGN_F32, shape_of(1, 2 * POINTS, 0, 0));
        call->in[0].memory = memory[0];
        call->in[1].memory = call->in[2].memory = call->out.memory = memory[1];
        call->in[1].offset = (is_chain ? i : 0) * (int64_t)heights;
        call->in[2].offset = call->in[1].offset + POINTS;
        call->out.offset = (i + 1) * (int64_t)heights;
    }
}

/* All results: of one program, or of one each. */
static float *run_softmins(mgn_test_random random, bool is_chain, bool is_one) {
    mgn_device *device;
    mgn_call calls[SOFTMINS];
    mgn_memory *memory[2];
    const size_t bytes = (SOFTMINS + 1) * 2 * POINTS * sizeof(float);
    float *results = malloc(bytes);
    MGN_ASSERT_OK(open_cpu(NULL, &device));
    mgn_set_threads(2);
    make_softmins(device, random, is_chain, calls, memory);
    for (size_t i = 0; i < (is_one ? 1 : SOFTMINS); i++) {
        mgn_program *program;
        MGN_ASSERT_OK(mgn_cpu_backend.program_create(device, calls + i, is_one ? SOFTMINS : 1, &program));
        MGN_ASSERT_OK(mgn_cpu_backend.program_run(device, program, 1));
        mgn_cpu_backend.program_destroy(device, program);
    }
    MGN_ASSERT_OK(mgn_cpu_backend.memory_read(device, memory[1], 0, results, bytes));
    for (int i = 0; i < 2; i++) mgn_cpu_backend.memory_destroy(device, memory[i]);
    mgn_cpu_backend.close(device);
    return results;
}

START_TEST(neighbours) {
    mgn_test_random random = MGN_TEST_RANDOM();
    for (int is_chain = 0; is_chain < 2; is_chain++) {
        float *together = run_softmins(random, is_chain, true), *apart = run_softmins(random, is_chain, false);
        for (int i = 0; i < (SOFTMINS + 1) * 2 * POINTS; i++)
            if (!isfinite(apart[i]) || memcmp(&together[i], &apart[i], sizeof *apart) != 0)
                ck_abort_msg("%s: result %d is %.9g in one program, %.9g in its own",
                             is_chain ? "a chain" : "side by side", i, (double)together[i], (double)apart[i]);
        free(together);
        free(apart);
    }
}
END_TEST

int main(void) {
    Suite *suite = suite_create("panels");
    TCase *tests = tcase_create("panels");
    tcase_set_timeout(tests, 300);
    tcase_add_test(tests, shapes);
    tcase_add_test(tests, not_finite);
    tcase_add_test(tests, neighbours);
    suite_add_tcase(suite, tests);
    return mgn_test_main(suite);
}
