/* Plans: layout there and back, assignment and state, runs that are bit for bit the same and allocate nothing, and the
 * memory plan. On both backends. */
#include "graph_kit.h"

#include "check/oracle.h"
#include "graph/graph.h"

/* ---- moving elements there and back ---- */

START_TEST(round_trips) {
    DEVICE_OR_SKIP(device);
    mgn_test_random random = MGN_TEST_RANDOM();
    static const uint32_t order[6] = {3, 5, 0, 1, 4, 2};
    begin();
    mgn_node *x = real("x", MGN_SHAPE(6, 4, 3)), *index = mgn_input(graph, "index", MGN_INDEX, MGN_SHAPE(6)), *y[9];
    y[0] = mgn_scatter_rows(mgn_gather_rows(x, index), index, 6);
    y[1] = mgn_gather_rows(mgn_scatter_rows(x, index, 6), index);
    y[2] = mgn_concat((mgn_node *[]){mgn_slice(x, 1, 0, 1), mgn_slice(x, 1, 1, 0), mgn_slice(x, 1, 1, 3)}, 3, 1);
    y[3] = mgn_slice(mgn_pad(x, 2, 2, 9), 2, 2, 3);
    y[4] = mgn_permute(mgn_permute(x, (int[]){2, 0, 1}), (int[]){1, 2, 0});
    y[5] = mgn_reshape(mgn_transpose(mgn_reshape(mgn_transpose(x), MGN_SHAPE(6, 3, 4))), MGN_SHAPE(6, 4, 3));
    y[6] = mgn_add(mgn_pad(mgn_slice(x, 0, 0, 2), 0, 0, 6), mgn_pad(mgn_slice(x, 0, 2, 4), 0, 2, 6));
    mgn_node *columns[3];
    for (int i = 0; i < 3; i++) columns[i] = mgn_reshape(mgn_slice(x, 2, i, 1), MGN_SHAPE(6, 4));
    y[7] = mgn_stack(columns, 3, 2);
    y[8] = mgn_neg(mgn_transpose(mgn_neg(mgn_transpose(x))));
    for (int i = 0; i < 9; i++) mgn_output(y[i]);
    mgn_plan *plan = compiled(device, MGN_F32);
    double values[72], found[72];
    for (int i = 0; i < 72; i++) values[i] = (double)(float)mgn_test_uniform(&random, -1, 1);
    put(plan, x, values);
    put_index(plan, index, order);
    MGN_ASSERT_OK(mgn_plan_run(plan, 1));
    for (int i = 0; i < 9; i++) {
        get(plan, y[i], found);
        for (int k = 0; k < 72; k++)
            ck_assert_msg(found[k] == values[k], "round trip %d: element %d is %g, expected %g", i, k, found[k],
                          values[k]);
    }
    mgn_plan_destroy(plan);
    end();
}
END_TEST

/* ---- state: assignment, randomness ---- */

START_TEST(assignment_shows_the_old_value_inside_a_run) {
    DEVICE_OR_SKIP(device);
    begin();
    mgn_node *a = real("a", MGN_SHAPE(3)), *b = real("b", MGN_SHAPE(3)), *count = real("count", MGN_SCALAR);
    mgn_node *m = real("m", MGN_SHAPE(2, 3, 3)), *early = mgn_scale(a, 10),
             *late = mgn_add(mgn_add(a, b), mgn_scale(count, 0));
    mgn_assign(a, b); /* a swap */
    mgn_assign(b, a);
    mgn_assign(count, mgn_shift(count, 1));
    mgn_assign(m, mgn_transpose(m)); /* onto itself, permuted */
    mgn_node *sum = mgn_sum(m, 4), *diagonal = mgn_mul(m, mgn_transpose(m));
    mgn_output(early), mgn_output(late), mgn_output(sum), mgn_output(diagonal);
    mgn_plan *plan = compiled(device, MGN_F32);
    const double av[3] = {1, 2, 3}, bv[3] = {-4, -5, -6};
    double mv[18], found[18];
    for (int i = 0; i < 18; i++) mv[i] = i;
    put(plan, a, av), put(plan, b, bv), put(plan, m, mv);
    for (int run = 0; run < 5; run++) {
        MGN_ASSERT_OK(mgn_plan_run(plan, 1));
        get(plan, early, found);
        for (int i = 0; i < 3; i++) ck_assert(found[i] == 10 * (run % 2 ? bv : av)[i]);
        get(plan, late, found);
        for (int i = 0; i < 3; i++) ck_assert(found[i] == av[i] + bv[i]);
        get(plan, a, found);
        for (int i = 0; i < 3; i++) ck_assert(found[i] == (run % 2 ? av : bv)[i]);
        get(plan, sum, found);
        for (int i = 0; i < 6; i++) { /* rows of m before the run */
            double row = 0;
            for (int k = 0; k < 3; k++) row += run % 2 ? mv[i / 3 * 9 + k * 3 + i % 3] : mv[i * 3 + k];
            ck_assert(found[i] == row);
        }
        get(plan, diagonal, found);
        for (int i = 0; i < 18; i++) ck_assert(found[i] == mv[i] * mv[i / 9 * 9 + i % 3 * 3 + i / 3 % 3]);
        get(plan, m, found);
        for (int i = 0; i < 18; i++) ck_assert(found[i] == (run % 2 ? mv[i] : mv[i / 9 * 9 + i % 3 * 3 + i / 3 % 3]));
    }
    ck_assert(get_scalar(plan, count) == 5);
    mgn_plan_destroy(plan);
    end();
}
END_TEST

/* A shift register of three, one stage bound to a tensor of the caller's, and an input assigned to another. */
START_TEST(assignment_in_a_ring) {
    DEVICE_OR_SKIP(device);
    begin();
    mgn_node *s[3] = {real("s0", MGN_SHAPE(2)), real("s1", MGN_SHAPE(2)), real("s2", MGN_SHAPE(2))};
    for (int i = 0; i < 3; i++) mgn_assign(s[i], s[(i + 2) % 3]);
    mgn_tensor *own;
    MGN_ASSERT_OK(mgn_tensor_create(device, MGN_F32, MGN_SHAPE(2), &own));
    mgn_binding binding = {s[1], own};
    mgn_plan *plan = NULL;
    MGN_ASSERT_OK(mgn_plan_compile(graph, device, MGN_F32, &binding, 1, &plan));
    end(); /* a plan outlives its graph; its nodes are gone, so only the bound tensor can be read */
    const double start[2] = {7, 8};
    double found[2];
    MGN_ASSERT_OK(mgn_tensor_write(own, MGN_F64, start));
    for (int run = 1; run <= 7; run++) {
        MGN_ASSERT_OK(mgn_plan_run(plan, 1));
        MGN_ASSERT_OK(mgn_tensor_read(own, MGN_F64, found));
        ck_assert(found[0] == (run % 3 ? 0 : 7) && found[1] == (run % 3 ? 0 : 8));
    }
    mgn_plan_destroy(plan);
    mgn_tensor_destroy(own);
}
END_TEST

START_TEST(random_state_advances) {
    DEVICE_OR_SKIP(device);
    begin();
    mgn_node *state = mgn_input(graph, "state", MGN_INDEX, MGN_SHAPE(4)), *u = mgn_uniform(state, MGN_SHAPE(5), 9);
    mgn_node *other = mgn_uniform(state, MGN_SHAPE(5), 10);
    mgn_output(u), mgn_output(other);
    mgn_assign(state, mgn_advance(state, 3));
    mgn_plan *plan = compiled(device, MGN_F32);
    const uint32_t start[4] = {1234, 5678, 100, 2};
    uint32_t now[4];
    double found[5], second[5];
    put_index(plan, state, start);
    MGN_ASSERT_OK(mgn_plan_run(plan, 6));
    MGN_ASSERT_OK(mgn_plan_run(plan, 1));
    get(plan, u, found);
    get(plan, other, second);
    MGN_ASSERT_OK(mgn_tensor_read(mgn_plan_tensor(plan, state), MGN_U32, now));
    ck_assert_uint_eq(now[2], 100 + 7 * 3);
    ck_assert(now[0] == 1234 && now[1] == 5678 && now[3] == 2);
    for (uint32_t i = 0; i < 5; i++) { /* the last run saw step 118 */
        uint32_t bits[4];
        mgn_oracle_philox((uint32_t[]){i / 4, 118, 0x2 ^ 9, 0}, start, bits);
        ASSERT_CLOSE(found[i], ((double)bits[i % 4] + 0.5) / 4294967296.0, 1e-7);
        ck_assert(found[i] != second[i]);
    }
    mgn_plan_destroy(plan);
    end();
}
END_TEST

/* ---- running ---- */

/* A small training step with everything in it: shuffled rows, a gradient, momentum, a step count. */
typedef struct training {
    mgn_plan *plan;
    mgn_node *data, *state, *weights, *momentum, *loss;
} training;

static training training_create(mgn_device *device, mgn_dtype dtype) {
    training t;
    begin();
    t.data = real("data", MGN_SHAPE(40, 5));
    t.state = mgn_input(graph, "state", MGN_INDEX, MGN_SHAPE(4));
    t.weights = real("weights", MGN_SHAPE(26));
    t.momentum = real("momentum", MGN_SHAPE(26));
    mgn_node *batch = mgn_gather_rows(t.data, mgn_shuffle(t.state, 40, 8, 5, 8));
    batch = mgn_add(batch, mgn_scale(mgn_normal(t.state, MGN_SHAPE(8, 5), 1), 0.01));
    mgn_node *w = t.weights, *w1 = mgn_reshape(mgn_slice(w, 0, 0, 12), MGN_SHAPE(3, 4)), *b1 = mgn_slice(w, 0, 12, 4);
    mgn_node *w2 = mgn_reshape(mgn_slice(w, 0, 16, 8), MGN_SHAPE(4, 2)), *b2 = mgn_slice(w, 0, 24, 2), *gradient;
    mgn_node *y = mlp(mgn_slice(batch, 1, 0, 3), w1, b1, w2, b2);
    t.loss = mgn_mean(mgn_square(mgn_sub(y, mgn_slice(batch, 1, 3, 2))), -1);
    MGN_ASSERT_OK(mgn_grad(t.loss, &t.weights, 1, &gradient));
    mgn_node *momentum = mgn_add(mgn_scale(t.momentum, 0.9), gradient);
    mgn_assign(t.momentum, momentum);
    mgn_assign(t.weights, mgn_sub(t.weights, mgn_scale(momentum, 0.05)));
    mgn_assign(t.state, mgn_advance(t.state, 1));
    mgn_output(t.loss);
    t.plan = compiled(device, dtype);
    mgn_test_random random = mgn_test_random_named("training");
    double data[200], weights[26], zero[26] = {0};
    draw(&random, data, 200, -1, 1);
    for (int i = 0; i < 200; i += 5) { /* something to learn */
        data[i + 3] = tanh(data[i] - data[i + 1]) + 0.5;
        data[i + 4] = data[i + 2] - 0.5;
    }
    draw(&random, weights, 26, -1, 1);
    put(t.plan, t.data, data), put(t.plan, t.weights, weights), put(t.plan, t.momentum, zero);
    put_index(t.plan, t.state, (uint32_t[]){(uint32_t)mgn_test_seed(), 0, 0, 0});
    return t;
}

static void training_end(training *t, double *weights, double *loss) {
    get(t->plan, t->weights, weights);
    *loss = get_scalar(t->plan, t->loss);
    mgn_plan_destroy(t->plan);
    end();
}

START_TEST(many_runs_are_single_runs) {
    DEVICE_OR_SKIP(device);
    for (int wide = 0; wide <= (widest(device) == MGN_F64); wide++) {
        double singly[MOST], at_once[MOST], loss[2];
        training t = training_create(device, wide ? MGN_F64 : MGN_F32);
        for (int i = 0; i < 57; i++) MGN_ASSERT_OK(mgn_plan_run(t.plan, 1));
        training_end(&t, singly, &loss[0]);
        t = training_create(device, wide ? MGN_F64 : MGN_F32);
        MGN_ASSERT_OK(mgn_plan_run(t.plan, 50));
        MGN_ASSERT_OK(mgn_plan_run(t.plan, 0));
        MGN_ASSERT_OK(mgn_plan_run(t.plan, 7));
        training_end(&t, at_once, &loss[1]);
        ck_assert(isfinite(loss[0]) && loss[0] > 0);
        ck_assert(loss[0] == loss[1]);
        ck_assert_mem_eq(singly, at_once, 26 * sizeof *singly);
    }
}
END_TEST

/* The mean loss of ten steps: two epochs. */
static double mean_loss(const training *t) {
    double sum = 0;
    for (int i = 0; i < 10; i++) {
        MGN_ASSERT_OK(mgn_plan_run(t->plan, 1));
        sum += get_scalar(t->plan, t->loss);
    }
    return sum / 10;
}

START_TEST(training_lowers_the_loss_alike_everywhere) {
    double weights[2][MOST], loss[2];
    training t = training_create(cpu, MGN_F64);
    double first = mean_loss(&t);
    MGN_ASSERT_OK(mgn_plan_run(t.plan, 500));
    double last = mean_loss(&t);
    ck_assert_msg(last < 0.5 * first, "the loss went from %g to %g", first, last);
    training_end(&t, weights[0], &loss[0]);
    t = training_create(cpu, MGN_F64);
    MGN_ASSERT_OK(mgn_plan_run(t.plan, 20));
    training_end(&t, weights[0], &loss[0]);
    for (int i = 0; i < 2; i++) {
        mgn_device *device = i ? opencl : cpu;
        if (!device) MGN_TEST_SKIP("no OpenCL device");
        t = training_create(device, MGN_F32);
        MGN_ASSERT_OK(mgn_plan_run(t.plan, 20));
        training_end(&t, weights[1], &loss[1]);
        for (int k = 0; k < 26; k++) ASSERT_CLOSE(weights[1][k], weights[0][k], 1e-4);
    }
}
END_TEST

START_TEST(running_allocates_nothing) {
    DEVICE_OR_SKIP(device);
    training t = training_create(device, MGN_F32);
    MGN_ASSERT_OK(mgn_plan_run(t.plan, 1)); /* the first run may set things up */
    MGN_ASSERT_OK(mgn_device_finish(device));
    uint64_t before = mgn_allocations();
    for (int i = 0; i < 100; i++) MGN_ASSERT_OK(mgn_plan_run(t.plan, 1));
    MGN_ASSERT_OK(mgn_plan_run(t.plan, 1000));
    MGN_ASSERT_OK(mgn_device_finish(device));
    ck_assert_uint_eq(mgn_allocations(), before);
    double weights[MOST], loss;
    training_end(&t, weights, &loss);
}
END_TEST

/* ---- the memory plan: random graphs give the same values when every value has a place of its own ---- */

enum { FUZZ_NODES = 60 };

static mgn_node *random_step(mgn_test_random *random, mgn_node *const *known, int count) {
    mgn_node *a = known[mgn_test_integer(random, 0, count - 1)], *b = known[mgn_test_integer(random, 0, count - 1)];
    switch (mgn_test_integer(random, 0, 13)) {
    case 0: return mgn_tanh(a);
    case 1: return mgn_add(a, b);
    case 2: return mgn_mul(mgn_tanh(a), b);
    case 3: return mgn_sub(a, mgn_transpose(b));
    case 4: return mgn_scale(mgn_matmul(a, b), 0.25);
    case 5: return mgn_scale(mgn_matmul_t(a, true, mgn_transpose(b), mgn_test_bits(random) & 1), 0.25);
    case 6: return mgn_pad(mgn_slice(a, 0, 1, 4), 0, 2, 6);
    case 7: return mgn_concat((mgn_node *[]){mgn_slice(a, 1, 0, 2), mgn_slice(b, 1, 1, 4)}, 2, 1);
    case 8: return mgn_sub(a, mgn_reshape(mgn_mean(b, 2), MGN_SHAPE(6, 1)));
    case 9: return mgn_sub(a, mgn_max(b, 1));
    case 10: return mgn_reshape(mgn_permute(mgn_reshape(a, MGN_SHAPE(2, 3, 6)), (int[]){1, 0, 2}), MGN_SHAPE(6, 6));
    case 11: return mgn_softplus(mgn_sub(a, b));
    case 12:
        return mgn_spd_inverse(mgn_add(mgn_matmul_t(mgn_tanh(a), false, mgn_tanh(a), true), mgn_identity(graph, 6)));
    default: return mgn_maximum(a, mgn_broadcast(mgn_slice(b, 0, 2, 1), MGN_SHAPE(6, 6)));
    }
}

/* Builds the same graph each time for one seed; returns its outputs. Assignments shift the inputs round. */
static void random_graph(uint64_t seed, mgn_node **inputs, mgn_node **outputs) {
    mgn_test_random random = {seed};
    mgn_node *known[FUZZ_NODES], *sum = NULL, *gradients[3];
    for (int i = 0; i < 3; i++) inputs[i] = known[i] = real("x", MGN_SHAPE(6, 6));
    for (int i = 3; i < FUZZ_NODES; i++) known[i] = random_step(&random, known, i);
    for (int i = 0; i < 3; i++) {
        outputs[i] = known[FUZZ_NODES - 1 - i];
        mgn_node *part = mgn_mean(mgn_tanh(outputs[i]), -1);
        sum = sum ? mgn_add(sum, part) : part;
    }
    MGN_ASSERT_OK(mgn_grad(sum, inputs, 3, gradients));
    for (int i = 0; i < 3; i++) {
        outputs[3 + i] = gradients[i];
        mgn_assign(inputs[i], mgn_tanh(mgn_add(inputs[(i + 1) % 3], gradients[i])));
    }
    for (int i = 0; i < 6; i++) mgn_output(outputs[i]);
}

static void run_random_graph(mgn_device *device, mgn_dtype dtype, uint64_t seed, bool all_outputs,
                             double found[9][36]) {
    mgn_node *inputs[3], *outputs[6];
    begin();
    random_graph(seed, inputs, outputs);
    for (int id = 0; all_outputs && id < graph->count; id++)
        if (graph->nodes[id]->kind == MGN_REAL) mgn_output(graph->nodes[id]);
    mgn_plan *plan = compiled(device, dtype);
    mgn_test_random random = {~seed};
    for (int i = 0; i < 3; i++) {
        double values[36];
        draw(&random, values, 36, -1, 1);
        put(plan, inputs[i], values);
    }
    MGN_ASSERT_OK(mgn_plan_run(plan, 2));
    for (int i = 0; i < 6; i++) get(plan, outputs[i], found[i]);
    for (int i = 0; i < 3; i++) get(plan, inputs[i], found[6 + i]);
    mgn_plan_destroy(plan);
    end();
}

START_TEST(memory_is_shared_without_harm) {
    DEVICE_OR_SKIP(device);
    mgn_test_random random = MGN_TEST_RANDOM();
    int graphs = device == cpu ? 40 : 3; /* each may be compiled anew */
    double tolerance = widest(device) == MGN_F64 ? 1e-9 : 1e-3;
    for (int n = 0; n < graphs; n++) {
        uint64_t seed = mgn_test_bits(&random);
        static double shared[9][36], apart[9][36];
        run_random_graph(device, widest(device), seed, false, shared);
        run_random_graph(cpu, MGN_F64, seed, true, apart);
        for (int i = 0; i < 9; i++)
            for (int k = 0; k < 36; k++) {
                ck_assert(isfinite(apart[i][k]));
                double scale = 1 + fabs(apart[i][k]);
                ck_assert_msg(fabs(shared[i][k] - apart[i][k]) <= tolerance * scale,
                              "graph %d (seed %llu), value %d, element %d: %.17g with shared memory, %.17g without", n,
                              (unsigned long long)seed, i, k, shared[i][k], apart[i][k]);
            }
    }
}
END_TEST

/* A matrix's product with its own transpose, either way round, is that with a copy of it, and exactly symmetric; in any
 * number of threads it has the same bits. */
START_TEST(products_with_the_own_transpose_are_symmetric) {
    enum { N = 530, TERMS = 150, AREA = N * N };
    static float values[N * TERMS];
    float *found = mgn_alloc(3 * AREA, sizeof *found), *alone = found + AREA, *expected = alone + AREA;
    ck_assert_ptr_nonnull(found);
    mgn_test_random random = mgn_test_random_named("own transpose");
    for (int i = 0; i < N * TERMS; i++) values[i] = (float)mgn_test_uniform(&random, -1, 1);
    for (int transposed = 0; transposed < 2; transposed++) {
        begin();
        const mgn_shape shape = transposed ? MGN_SHAPE(TERMS, N) : MGN_SHAPE(N, TERMS);
        mgn_node *x = real("x", shape), *copy = real("copy", shape);
        mgn_node *own = mgn_matmul_t(x, transposed, x, !transposed);
        mgn_node *other = mgn_matmul_t(x, transposed, copy, !transposed);
        mgn_output(own), mgn_output(other);
        mgn_plan *plan = compiled(cpu, MGN_F32);
        MGN_ASSERT_OK(mgn_tensor_write(mgn_plan_tensor(plan, x), MGN_F32, values));
        MGN_ASSERT_OK(mgn_tensor_write(mgn_plan_tensor(plan, copy), MGN_F32, values));
        for (int threads = 1; threads <= 3; threads += 2) {
            mgn_set_threads(threads);
            MGN_ASSERT_OK(mgn_plan_run(plan, 1));
            MGN_ASSERT_OK(mgn_tensor_read(mgn_plan_tensor(plan, own), MGN_F32, threads == 1 ? alone : found));
        }
        mgn_set_threads(0);
        MGN_ASSERT_OK(mgn_tensor_read(mgn_plan_tensor(plan, other), MGN_F32, expected));
        ck_assert_msg(memcmp(found, alone, AREA * sizeof *found) == 0, "threads change bits");
        for (int i = 0; i < N; i++)
            for (int j = 0; j < N; j++) {
                ck_assert_msg(found[i * N + j] == found[j * N + i], "entry (%d, %d) is not that across", i, j);
                /* sums of TERMS products below 1, each off by TERMS roundings at most */
                ck_assert_msg(fabsf(found[i * N + j] - expected[i * N + j]) < 2.0f * TERMS * TERMS * 6e-8f,
                              "entry (%d, %d): %g, expected %g", i, j, (double)found[i * N + j],
                              (double)expected[i * N + j]);
            }
        mgn_plan_destroy(plan);
        end();
    }
    mgn_free(found);
}
END_TEST

START_TEST(plans_share_memory_and_count_calls) {
    begin();
    mgn_node *x = real("x", MGN_SHAPE(64, 16)), *w = real("w", MGN_SHAPE(16, 16)), *y = x;
    for (int i = 0; i < 50; i++) y = mgn_matmul(mgn_tanh(y), w);
    mgn_node *unused = mgn_exp(x);
    (void)unused;
    mgn_output(y);
    mgn_plan *plan = compiled(cpu, MGN_F32);
    mgn_plan_info info = mgn_plan_get_info(plan);
    ck_assert_uint_eq(info.nodes, 102);
    ck_assert_uint_le(info.calls, 100);
    ck_assert_uint_le(info.scratch_bytes, 4 * 64 * 16 * sizeof(float) + 4096); /* of 100 values, two live at once */
    ck_assert_ptr_null(mgn_plan_tensor(plan, unused));
    ck_assert_ptr_nonnull(mgn_plan_tensor(plan, y));
    mgn_plan_destroy(plan);
    end();
}
END_TEST

static Suite *suite(void) {
    Suite *s = suite_create("plan");
    TCase *run = case_with_devices(s, "plans");
    tcase_add_loop_test(run, round_trips, 0, 2);
    tcase_add_loop_test(run, assignment_shows_the_old_value_inside_a_run, 0, 2);
    tcase_add_loop_test(run, assignment_in_a_ring, 0, 2);
    tcase_add_loop_test(run, random_state_advances, 0, 2);
    tcase_add_loop_test(run, many_runs_are_single_runs, 0, 2);
    tcase_add_test(run, training_lowers_the_loss_alike_everywhere);
    tcase_add_loop_test(run, running_allocates_nothing, 0, 2);
    tcase_add_loop_test(run, memory_is_shared_without_harm, 0, 2);
    tcase_add_test(run, products_with_the_own_transpose_are_symmetric);
    tcase_add_test(run, plans_share_memory_and_count_calls);
    return s;
}

int main(void) {
    opencl_spec = mgn_test_opencl_spec();
    return mgn_test_main(suite());
}
