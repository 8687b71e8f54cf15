/* Plans of parts: graphs with walls in them give what single calls give, on both backends. */
#include "graph_kit.h"

enum { ROWS = 96, WIDTH = 1500, FEATURES = 3, PARAMETERS = 2 * FEATURES * WIDTH, STEPS = 4 };

/* A training step whose products are too large for row programs: y = tanh(s(x) U) V with s row-local, U (3, 1500) and
 * V (1500, 3), momentum, and a step count that scales the rate. */
typedef struct step {
    mgn_plan *plan;
    mgn_node *data, *state, *weights, *momentum, *count, *loss;
} step;

static mgn_node *row_local(mgn_node *x) {
    mgn_node *z = mgn_add(mgn_logistic(mgn_scale(x, 2)), mgn_softplus(mgn_square(x)));
    return mgn_mul(mgn_tanh(z), mgn_shift(mgn_sub(z, mgn_abs(x)), 0.25));
}

static step step_create(mgn_device *device, mgn_dtype dtype) {
    step s;
    begin();
    s.data = real("data", MGN_SHAPE(4 * ROWS, FEATURES));
    s.state = mgn_input(graph, "state", MGN_INDEX, MGN_SHAPE(4));
    s.weights = real("weights", MGN_SHAPE(PARAMETERS));
    s.momentum = real("momentum", MGN_SHAPE(PARAMETERS));
    s.count = real("count", MGN_SCALAR);
    mgn_node *x = mgn_gather_rows(s.data, mgn_shuffle(s.state, 4 * ROWS, ROWS, 4, ROWS)), *gradient;
    mgn_node *u = mgn_reshape(mgn_slice(s.weights, 0, 0, FEATURES * WIDTH), MGN_SHAPE(FEATURES, WIDTH));
    mgn_node *v = mgn_reshape(mgn_slice(s.weights, 0, FEATURES * WIDTH, FEATURES * WIDTH), MGN_SHAPE(WIDTH, FEATURES));
    mgn_node *y = mgn_matmul(mgn_tanh(mgn_matmul(row_local(x), u)), v);
    s.loss = mgn_mean(mgn_square(mgn_sub(row_local(y), x)), -1);
    MGN_ASSERT_OK(mgn_grad(s.loss, &s.weights, 1, &gradient));
    mgn_node *count = mgn_shift(s.count, 1), *momentum = mgn_add(mgn_scale(s.momentum, 0.9), gradient);
    mgn_node *rate = mgn_div(mgn_constant(graph, 0.005), mgn_sqrt(count));
    mgn_assign(s.count, count);
    mgn_assign(s.momentum, momentum);
    mgn_assign(s.weights, mgn_sub(s.weights, mgn_mul(rate, momentum)));
    mgn_assign(s.state, mgn_advance(s.state, 1));
    mgn_output(s.loss);
    s.plan = compiled(device, dtype);
    mgn_test_random random = mgn_test_random_named("split");
    static double data[4 * ROWS * FEATURES], weights[PARAMETERS];
    draw(&random, data, 4 * ROWS * FEATURES, -1, 1);
    draw(&random, weights, PARAMETERS, -0.05, 0.05);
    put(s.plan, s.data, data), put(s.plan, s.weights, weights);
    put_index(s.plan, s.state, (uint32_t[]){(uint32_t)mgn_test_seed(), 0, 0, 0});
    return s;
}

static void step_end(step *s, double *weights, double *loss) {
    MGN_ASSERT_OK(mgn_tensor_read(mgn_plan_tensor(s->plan, s->weights), MGN_F64, weights));
    *loss = get_scalar(s->plan, s->loss);
    mgn_plan_destroy(s->plan);
    end();
}

/* The same steps fused in parts and not fused at all, and one by one. */
START_TEST(parts_are_single_calls) {
    DEVICE_OR_SKIP(device);
    static double found[2][PARAMETERS], again[PARAMETERS];
    double loss[2], loss_again;
    const mgn_dtype dtype = widest(device);
    const double tolerance = dtype == MGN_F64 ? 1e-11 : 2e-4;
    for (int fused = 0; fused < 2; fused++) {
        setenv("MGN_FUSE", fused ? "1" : "0", 1);
        step s = step_create(device, dtype);
        const mgn_plan_info info = mgn_plan_get_info(s.plan);
        ck_assert_msg(fused ? info.regions >= 2 : info.regions == 0, "%zu row programs in %zu calls", info.regions,
                      info.calls);
        ck_assert_uint_gt(info.calls, info.regions);
        MGN_ASSERT_OK(mgn_plan_run(s.plan, STEPS));
        ck_assert(fabs(get_scalar(s.plan, s.count) - STEPS) < 1e-12);
        step_end(&s, found[fused], &loss[fused]);
    }
    unsetenv("MGN_FUSE");
    for (int i = 0; i < PARAMETERS; i++) ASSERT_CLOSE(found[1][i], found[0][i], tolerance);
    ASSERT_CLOSE(loss[1], loss[0], tolerance);
    step s = step_create(device, dtype);
    for (int i = 0; i < STEPS; i++) MGN_ASSERT_OK(mgn_plan_run(s.plan, 1));
    step_end(&s, again, &loss_again);
    ck_assert_msg(memcmp(again, found[1], sizeof again) == 0, "steps one by one give other bits");
    ck_assert(loss_again == loss[1]);
}
END_TEST

START_TEST(threads_do_not_change_bits) {
    static double one[PARAMETERS], three[PARAMETERS];
    double loss;
    for (int i = 0; i < 2; i++) {
        mgn_set_threads(i ? 3 : 1);
        step s = step_create(cpu, MGN_F32);
        MGN_ASSERT_OK(mgn_plan_run(s.plan, STEPS));
        step_end(&s, i ? three : one, &loss);
    }
    mgn_set_threads(0);
    ck_assert(memcmp(one, three, sizeof one) == 0);
}
END_TEST

/* Rows that an input gets in place: other parts, and the same one, still see the old ones. */
START_TEST(rows_are_assigned_at_the_end) {
    DEVICE_OR_SKIP(device);
    enum { N = 600 };
    begin();
    mgn_node *p = real("p", MGN_SHAPE(N)), *q = real("q", MGN_SHAPE(N)), *big = real("big", MGN_SHAPE(N, 40));
    mgn_node *wall = mgn_matmul(mgn_reshape(mgn_tanh(mgn_scale(p, 3)), MGN_SHAPE(1, N)), big); /* (1, 40), k n > 4096 */
    mgn_node *mixed = mgn_add(mgn_mul(p, mgn_sum(wall, -1)), mgn_exp(mgn_neg(mgn_square(q))));
    mgn_node *seen = mgn_sum(mgn_mul(mgn_square(p), mixed), -1);
    mgn_assign(p, q);
    mgn_assign(q, mgn_add(mgn_mul(mixed, mixed), mgn_scale(p, 0.5)));
    mgn_output(seen);
    double pv[N], qv[N], bv[N * 40], found[N], want_p[N], want_q[N];
    mgn_test_random random = MGN_TEST_RANDOM();
    draw(&random, pv, N, -1, 1), draw(&random, qv, N, -1, 1), draw(&random, bv, N * 40, -0.01, 0.01);
    double sum = 0, want = 0;
    for (int i = 0; i < N * 40; i++) sum += tanh(3 * pv[i / 40]) * bv[i];
    for (int i = 0; i < N; i++) {
        const double m = pv[i] * sum + exp(-qv[i] * qv[i]);
        want += pv[i] * pv[i] * m;
        want_p[i] = qv[i];
        want_q[i] = m * m + 0.5 * pv[i];
    }
    const mgn_dtype dtype = widest(device);
    mgn_plan *plan = compiled(device, dtype);
    put(plan, p, pv), put(plan, q, qv);
    MGN_ASSERT_OK(mgn_tensor_write(mgn_plan_tensor(plan, big), MGN_F64, bv));
    MGN_ASSERT_OK(mgn_plan_run(plan, 1));
    const double tolerance = dtype == MGN_F64 ? 1e-12 : 1e-4;
    ASSERT_CLOSE(get_scalar(plan, seen), want, tolerance * N);
    get(plan, p, found);
    for (int i = 0; i < N; i++) ASSERT_CLOSE(found[i], want_p[i], tolerance);
    get(plan, q, found);
    for (int i = 0; i < N; i++) ASSERT_CLOSE(found[i], want_q[i], tolerance);
    mgn_plan_destroy(plan);
    end();
}
END_TEST

/* A graph whose optimizer reads what another part assigns in between is not cut, and right all the same. */
START_TEST(early_assignments_are_not_cut) {
    DEVICE_OR_SKIP(device);
    begin();
    mgn_node *a = real("a", MGN_SHAPE(64, 3)), *w = real("w", MGN_SHAPE(3, 2000)), *scale = real("scale", MGN_SCALAR);
    mgn_node *first = row_local(mgn_mul(a, scale)), *wide = mgn_matmul(first, w);
    mgn_node *late = mgn_mul(mgn_sum(mgn_tanh(wide), 2), scale);
    mgn_assign(scale, mgn_shift(mgn_scale(scale, 2), 1));
    mgn_node *total = mgn_sum(late, -1);
    mgn_output(total);
    mgn_output(scale);
    double totals[2];
    for (int fused = 0; fused < 2; fused++) {
        setenv("MGN_FUSE", fused ? "1" : "0", 1);
        mgn_plan *plan = compiled(device, MGN_F32);
        static double av[192], wv[6000];
        mgn_test_random random = mgn_test_random_named("early");
        draw(&random, av, 192, -1, 1), draw(&random, wv, 6000, -1, 1);
        put(plan, a, av), put(plan, w, wv), put(plan, scale, (double[]){1});
        MGN_ASSERT_OK(mgn_plan_run(plan, 2));
        ck_assert(get_scalar(plan, scale) == 7);
        totals[fused] = get_scalar(plan, total);
        mgn_plan_destroy(plan);
    }
    unsetenv("MGN_FUSE");
    ASSERT_CLOSE(totals[1], totals[0], 1e-3 * fabs(totals[0]) + 1e-3);
    end();
}
END_TEST

static Suite *suite(void) {
    Suite *s = suite_create("split");
    TCase *parts = case_with_devices(s, "parts");
    tcase_set_timeout(parts, 120);
    tcase_add_loop_test(parts, parts_are_single_calls, 0, 2);
    tcase_add_test(parts, threads_do_not_change_bits);
    tcase_add_loop_test(parts, rows_are_assigned_at_the_end, 0, 2);
    tcase_add_loop_test(parts, early_assignments_are_not_cut, 0, 2);
    return s;
}

int main(void) {
    opencl_spec = mgn_test_opencl_spec();
    return mgn_test_main(suite());
}
