/* The CPU backend's random numbers and shuffles, against the words that they are made of; and the device itself: what it
 * says, what it refuses, and that it stops when asked. */
#include "cpu_kit.h"

#include "mgn_random.h"

/* ---- randomness ---- */

static subject random_subject(mgn_op op, const uint32_t *state, uint32_t stream, int64_t count) {
    subject s = {.call = {.op = op, .attributes.random = {stream}}};
    add_words(&s, state, 4);
    set_out(&s, MGN_F32, shape_of(1, count, 0, 0));
    return s;
}

/* Against the words themselves and the library's log, sine and cosine. */
START_TEST(uniforms_and_normals) {
    mgn_test_random random = MGN_TEST_RANDOM();
    static const int64_t sizes[] = {0, 1, 7, 93, 4096, 100001};
    for (size_t i = 0; i < MGN_COUNT(sizes); i++) {
        uint32_t state[4], stream = (uint32_t)mgn_test_bits(&random);
        for (int j = 0; j < 4; j++) state[j] = (uint32_t)mgn_test_bits(&random);
        subject uniform = random_subject(MGN_OP_uniform, state, stream, sizes[i]);
        subject normal = random_subject(MGN_OP_normal, state, stream, sizes[i]);
        real *uniforms = reals_of(uniform.out_size + 4), *normals = reals_of(uniform.out_size + 4);
        real *sizes_of_uniforms = reals_of(uniform.out_size), *sizes_of_normals = reals_of(uniform.out_size);
        for (int64_t j = 0; j < sizes[i]; j += 2) {
            philox4x32_key_t key = {{state[0], state[1]}};
            philox4x32_ctr_t counter = {{(uint32_t)(j / 4), state[2], state[3] ^ stream, 0}};
            counter = philox4x32(counter, key);
            for (int q = 0; q < 2; q++) uniforms[j + q] = ((real)counter.v[j % 4 + q] + 0.5L) / 0x1p32L;
            real radius = sqrtl(-2 * logl(uniforms[j])), turn = 2 * acosl(-1) * (uniforms[j + 1] - 0x1p-33L);
            normals[j] = radius * cosl(turn);
            normals[j + 1] = radius * sinl(turn);
            for (int64_t q = j; q < j + 2 && q < sizes[i]; q++) {
                sizes_of_uniforms[q] = 1;
                /* Near radius 0 the float under the logarithm has few digits. */
                sizes_of_normals[q] = 4 * radius + 1 / (radius + 1e-4L);
            }
        }
        /* Floats keep 23 bits of the word, doubles all. */
        mgn_device *device;
        MGN_ASSERT_OK(open_cpu(NULL, &device));
        float *floats = (float *)run_call(&uniform, device, MGN_F32, 2);
        double *doubles = (double *)run_call(&uniform, device, MGN_F64, 2);
        for (int64_t j = 0; j < sizes[i]; j++) {
            float want = (float)(floorl(uniforms[j] * 0x1p23L) + 0.5L) * 0x1p-23f;
            if (!(floats[j] > 0 && floats[j] < 1 && floats[j] == want && doubles[j] == (double)uniforms[j]))
                ck_abort_msg("uniform %lld is %.9g and %.17g", (long long)j, (double)floats[j], doubles[j]);
        }
        free(floats);
        free(doubles);
        mgn_cpu_backend.close(device);
        check_subject(&uniform, NULL, NULL, 0);
        check_subject(&normal, normals, sizes_of_normals, 2);
        free(uniforms);
        free(normals);
        free(sizes_of_uniforms);
        free(sizes_of_normals);
        free_subject(&uniform);
        free_subject(&normal);
    }
}
END_TEST

/* Batch `step` of a shuffle, checked to be the same on all instruction sets. */
static uint32_t *shuffled(uint32_t step, int64_t population, int64_t batch, int64_t steps, int64_t stride) {
    uint32_t state[4] = {11, 22, step, 33};
    subject s = {.call = {.op = MGN_OP_shuffle, .attributes.shuffle = {population, batch, steps, stride}}};
    add_words(&s, state, 4);
    set_out(&s, MGN_U32, shape_of(1, batch, 0, 0));
    check_subject(&s, NULL, NULL, 0);
    mgn_device *device;
    MGN_ASSERT_OK(open_cpu(NULL, &device));
    uint32_t *result = (uint32_t *)run_call(&s, device, MGN_F32, 1);
    mgn_cpu_backend.close(device);
    free_subject(&s);
    return result;
}

START_TEST(shuffles_are_permutations) {
    static const int64_t populations[] = {1, 2, 3, 5, 64, 1000, 10007};
    for (size_t i = 0; i < MGN_COUNT(populations); i++) {
        int64_t n = populations[i], moved = 0, agree = 0;
        uint32_t *first = shuffled(0, n, n, 1, n), *second = shuffled(1, n, n, 1, n);
        int *seen = calloc((size_t)n, sizeof *seen);
        for (int64_t j = 0; j < n; j++) {
            if (first[j] >= n || second[j] >= n) ck_abort_msg("a shuffle of %lld holds a larger number", (long long)n);
            seen[first[j]] += 1;
            seen[second[j]] += 2;
            moved += first[j] != j;
            agree += first[j] == second[j];
        }
        for (int64_t j = 0; j < n; j++) {
            if (seen[j] != 3) ck_abort_msg("a shuffle of %lld is not a permutation", (long long)n);
        }
        if (n >= 64) {
            ck_assert_int_gt(moved, n - 10);
            ck_assert_int_lt(agree, 10); /* another epoch, another order */
        }
        free(seen);
        free(first);
        free(second);
    }
}
END_TEST

/* Step t of an epoch is entries t * stride .. of the epoch's permutation; beyond the end it starts again. */
START_TEST(shuffles_go_through_an_epoch) {
    uint32_t *whole = shuffled(3, 100, 100, 1, 100);
    for (uint32_t t = 0; t < 4; t++) {
        uint32_t *batch = shuffled(3 * 4 + t, 100, 30, 4, 32);
        for (uint32_t j = 0; j < 30; j++) ck_assert_uint_eq(batch[j], whole[(t * 32 + j) % 100]);
        free(batch);
    }
    free(whole);
}
END_TEST

START_TEST(advancing_a_state) {
    uint32_t state[4] = {1, 2, UINT32_MAX, 4};
    subject s = {.call = {.op = MGN_OP_advance, .attributes.advance = {3}}};
    add_words(&s, state, 4);
    set_out(&s, MGN_U32, shape_of(1, 4, 0, 0));
    mgn_device *device;
    MGN_ASSERT_OK(open_cpu(NULL, &device));
    uint32_t *next = (uint32_t *)run_call(&s, device, MGN_F32, 1);
    ck_assert(next[0] == 1 && next[1] == 2 && next[2] == 2 && next[3] == 4);
    free(next);
    free_subject(&s);
    mgn_cpu_backend.close(device);
}
END_TEST

/* ---- the device ---- */

START_TEST(calls_outside_memory_are_refused) {
    mgn_device *device;
    MGN_ASSERT_OK(open_cpu(NULL, &device));
    mgn_memory *memory = memory_of(device, NULL, 40);
    mgn_operand ten = contiguous(MGN_F32, shape_of(1, 10, 0, 0)), beyond = ten, wide = ten, words = ten;
    ten.memory = beyond.memory = wide.memory = words.memory = memory;
    beyond.offset = 1;
    wide.stride[0] = INT64_MAX / 4;
    words.dtype = MGN_U32;
    mgn_program *program;
    const mgn_operand wrong[] = {beyond, wide, words, contiguous(MGN_F32, shape_of(1, 10, 0, 0))};
    for (size_t i = 0; i < MGN_COUNT(wrong); i++) {
        mgn_call reads = {.op = MGN_OP_neg, .inputs = 1, .in = {wrong[i]}, .out = ten};
        mgn_call writes = {.op = MGN_OP_neg, .inputs = 1, .in = {ten}, .out = wrong[i]};
        MGN_ASSERT_FAILS(mgn_cpu_backend.program_create(device, &reads, 1, &program), MGN_ERR_ARGUMENT, "neg");
        MGN_ASSERT_FAILS(mgn_cpu_backend.program_create(device, &writes, 1, &program), MGN_ERR_ARGUMENT, "neg");
    }
    mgn_call sum = {.op = MGN_OP_sum, .inputs = 1, .in = {ten}, .out = ten, .attributes.reduce = {10, 2, 1}};
    MGN_ASSERT_FAILS(mgn_cpu_backend.program_create(device, &sum, 1, &program), MGN_ERR_ARGUMENT, "20 elements");
    mgn_call layout = {.op = MGN_OP_reshape, .inputs = 1, .in = {ten}, .out = ten};
    MGN_ASSERT_FAILS(mgn_cpu_backend.program_create(device, &layout, 1, &program), MGN_ERR_UNSUPPORTED, "kernel");
    MGN_ASSERT_FAILS(mgn_cpu_backend.memory_read(device, memory, 30, words.stride, 11), MGN_ERR_ARGUMENT, "40 bytes");
    mgn_cpu_backend.memory_destroy(device, memory);
    mgn_cpu_backend.close(device);
}
END_TEST

START_TEST(the_device_describes_itself) {
    mgn_device_info info = {.spec = ""};
    size_t count = 0;
    unsetenv("MGN_ISA");
    MGN_ASSERT_OK(mgn_cpu_backend.list(&info, 1, &count));
    ck_assert_uint_eq(count, 1);
    ck_assert_str_eq(info.spec, "cpu");
    ck_assert(info.is_cpu && info.has_f64 && info.memory_bytes > 0 && info.compute_units > 0);
    ck_assert(info.name[0] && strstr(info.version, "kernels"));
    printf("cpu: %s, %s\n", info.name, info.version);
    mgn_device *device;
    MGN_ASSERT_FAILS(open_cpu("sse9", &device), MGN_ERR_ARGUMENT, "'sse9'");
}
END_TEST

/* The last test: the flag cannot be taken back. */
START_TEST(long_runs_can_be_interrupted) {
    uint32_t state[4] = {0};
    mgn_device *device;
    MGN_ASSERT_OK(open_cpu(NULL, &device));
    mgn_operand all = contiguous(MGN_U32, shape_of(1, 4, 0, 0));
    all.memory = memory_of(device, state, sizeof state);
    mgn_call call = {.op = MGN_OP_advance, .inputs = 1, .in = {all}, .out = all, .attributes.advance = {1}};
    mgn_program *program;
    MGN_ASSERT_OK(mgn_cpu_backend.program_create(device, &call, 1, &program));
    MGN_ASSERT_OK(mgn_cpu_backend.program_run(device, program, 1000));
    mgn_interrupt();
    MGN_ASSERT_OK(mgn_cpu_backend.program_run(device, program, 1));
    MGN_ASSERT_FAILS(mgn_cpu_backend.program_run(device, program, 1000), MGN_ERR_INTERRUPTED, "1 of 1000");
    MGN_ASSERT_OK(mgn_cpu_backend.memory_read(device, all.memory, 0, state, sizeof state));
    ck_assert_uint_eq(state[2], 1002);
    mgn_cpu_backend.program_destroy(device, program);
    mgn_cpu_backend.memory_destroy(device, all.memory);
    mgn_cpu_backend.close(device);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("cpu_device");
    TCase *tests = tcase_create("kernels");
    tcase_set_timeout(tests, 200);
    tcase_add_test(tests, the_device_describes_itself);
    tcase_add_test(tests, uniforms_and_normals);
    tcase_add_test(tests, shuffles_are_permutations);
    tcase_add_test(tests, shuffles_go_through_an_epoch);
    tcase_add_test(tests, advancing_a_state);
    tcase_add_test(tests, calls_outside_memory_are_refused);
    tcase_add_test(tests, long_runs_can_be_interrupted);
    suite_add_tcase(suite, tests);
    return mgn_test_main(suite);
}
