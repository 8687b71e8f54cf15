/* Wide programs: elementwise work on matrices of long rows, sums of them, and optimizers on long vectors give what single
 * calls give, on both backends. */
#include "graph_kit.h"

#include "graph/graph.h"

enum { ROWS = 70, D = 130, H = 150, LAYERS = 9, STEPS = 3, COUNT = H * D + LAYERS * H + D * D + D };

/* A training step of a C-MGN by hand: u = x W^T, z_l = u + s(z_(l-1)) + b_l, y = s(z) W + x V^T V + b, Adam's update. */
typedef struct step {
    mgn_plan *plan;
    mgn_node *x, *y, *p, *m, *v, *loss;
} step;

static mgn_node *part_of(mgn_node *p, int64_t *at, mgn_shape shape) {
    const int64_t count = mgn_shape_count(shape);
    mgn_node *part = mgn_reshape(mgn_slice(p, 0, *at, count), shape);
    *at += count;
    return part;
}

static mgn_node *step_output(mgn_node *p, mgn_node *x) {
    int64_t at = 0;
    mgn_node *W = part_of(p, &at, MGN_SHAPE(H, D)), *u = mgn_matmul_t(x, false, W, true), *z = u;
    for (int l = 0; l < LAYERS; l++) {
        mgn_node *b = part_of(p, &at, MGN_SHAPE(H));
        z = mgn_add(l ? mgn_add(u, mgn_logistic(z)) : u, b);
    }
    mgn_node *V = part_of(p, &at, MGN_SHAPE(D, D)), *b = part_of(p, &at, MGN_SHAPE(D));
    mgn_node *quadratic = mgn_matmul(mgn_matmul_t(x, false, V, true), V);
    return mgn_add(mgn_add(mgn_matmul(mgn_logistic(z), W), quadratic), b);
}

static step step_create(mgn_device *device, mgn_dtype dtype) {
    step s;
    begin();
    s.x = real("x", MGN_SHAPE(ROWS, D));
    s.y = real("y", MGN_SHAPE(ROWS, D));
    s.p = real("p", MGN_SHAPE(COUNT));
    s.m = real("m", MGN_SHAPE(COUNT));
    s.v = real("v", MGN_SHAPE(COUNT));
    mgn_node *gradient;
    s.loss = mgn_mean(mgn_square(mgn_sub(step_output(s.p, s.x), s.y)), -1);
    MGN_ASSERT_OK(mgn_grad(s.loss, &s.p, 1, &gradient));
    mgn_node *m = mgn_add(mgn_scale(s.m, 0.9), mgn_scale(gradient, 0.1));
    mgn_node *v = mgn_add(mgn_scale(s.v, 0.99), mgn_scale(mgn_square(gradient), 0.01));
    mgn_assign(s.m, m);
    mgn_assign(s.v, v);
    mgn_assign(s.p, mgn_sub(s.p, mgn_scale(mgn_div(m, mgn_shift(mgn_sqrt(v), 1e-3)), 0.01)));
    mgn_output(s.loss);
    s.plan = compiled(device, dtype);
    mgn_test_random random = mgn_test_random_named("wide");
    static double x[ROWS * D], y[ROWS * D], p[COUNT];
    draw(&random, x, ROWS * D, -1, 1), draw(&random, y, ROWS * D, -1, 1), draw(&random, p, COUNT, -0.1, 0.1);
    put(s.plan, s.x, x), put(s.plan, s.y, y), put(s.plan, s.p, p);
    return s;
}

static double step_end(step *s, double *p) {
    MGN_ASSERT_OK(mgn_tensor_read(mgn_plan_tensor(s->plan, s->p), MGN_F64, p));
    const double loss = get_scalar(s->plan, s->loss);
    mgn_plan_destroy(s->plan);
    end();
    return loss;
}

static double run_steps(mgn_device *device, mgn_dtype dtype, double *p) {
    step s = step_create(device, dtype);
    MGN_ASSERT_OK(mgn_plan_run(s.plan, STEPS));
    return step_end(&s, p);
}

static double found[COUNT], wanted[COUNT];

START_TEST(steps_are_those_of_single_calls) {
    DEVICE_OR_SKIP(device);
    const mgn_dtype dtype = widest(device);
    setenv("MGN_FUSE", "0", 1);
    const double loss = run_steps(device, dtype, wanted);
    unsetenv("MGN_FUSE");
    step s = step_create(device, dtype);
    const mgn_plan_info info = mgn_plan_get_info(s.plan);
    ck_assert_msg(info.regions == 4, "%zu programs instead of cascade, loss, derivative and optimizer", info.regions);
    ck_assert_msg(info.calls <= info.regions + 12, "%zu calls besides, 10 products expected",
                  info.calls - info.regions);
    const uint64_t allocations = mgn_allocations();
    MGN_ASSERT_OK(mgn_plan_run(s.plan, STEPS));
    if (device == cpu) ck_assert_uint_eq(mgn_allocations(), allocations);
    const double tolerance = dtype == MGN_F64 ? 1e-11 : 1e-4;
    ASSERT_CLOSE(step_end(&s, found), loss, tolerance);
    for (int i = 0; i < COUNT; i++) ASSERT_CLOSE(found[i], wanted[i], tolerance);
}
END_TEST

/* What the cascade's derivative needs, kept from the cascade or computed again. */
START_TEST(kept_and_recomputed_values_are_the_same) {
    DEVICE_OR_SKIP(device);
    size_t bytes[2];
    for (int kept = 0; kept < 2; kept++) {
        setenv("MGN_KEEP_MB", kept ? "100" : "0", 1);
        step s = step_create(device, MGN_F32);
        bytes[kept] = mgn_plan_get_info(s.plan).scratch_bytes;
        MGN_ASSERT_OK(mgn_plan_run(s.plan, STEPS));
        step_end(&s, kept ? found : wanted);
    }
    unsetenv("MGN_KEEP_MB");
    ck_assert_msg(bytes[1] >= bytes[0] + (LAYERS - 1) * ROWS * H * sizeof(float), "%zu bytes kept, %zu not", bytes[1],
                  bytes[0]);
    for (int i = 0; i < COUNT; i++) ASSERT_CLOSE(found[i], wanted[i], device == cpu ? 0 : 1e-5);
}
END_TEST

START_TEST(threads_do_not_change_bits) {
    mgn_set_threads(1);
    run_steps(cpu, MGN_F32, wanted);
    for (int threads = 2; threads <= 5; threads += 3) {
        mgn_set_threads(threads);
        run_steps(cpu, MGN_F32, found);
        ck_assert_msg(memcmp(found, wanted, sizeof found) == 0, "%d threads give other bits", threads);
    }
    mgn_set_threads(0);
}
END_TEST

/* ---- operands and sums of every kind ---- */

enum { N = 75, F = 1101, LONG = 1300, FROM = 57 };

static double a[N * F], b[F], c[N], big[N * LONG], out[N * F], columns[F], rows[N];

START_TEST(operands_are_broadcast_and_summed) {
    DEVICE_OR_SKIP(device);
    begin();
    mgn_node *an = real("a", MGN_SHAPE(N, F)), *bn = real("b", MGN_SHAPE(F)), *cn = real("c", MGN_SHAPE(N));
    mgn_node *sn = real("s", MGN_SCALAR), *bign = real("big", MGN_SHAPE(N, LONG));
    mgn_node *part = mgn_slice(bign, 1, FROM, F);
    mgn_node *value = mgn_add(mgn_mul(an, bn), mgn_mul(part, mgn_reshape(cn, MGN_SHAPE(N, 1))));
    /* of zeros, as beyond a matrix's edges, this is not zero */
    mgn_node *shifted = mgn_sub(mgn_logistic(value), mgn_mul(sn, mgn_maximum(an, part)));
    mgn_node *sums[3] = {mgn_sum(shifted, 1), mgn_sum(mgn_square(shifted), 2), mgn_sum(shifted, -1)};
    mgn_node *of_input = mgn_sum(part, 1);
    for (int i = 0; i < 3; i++) mgn_output(sums[i]);
    mgn_output(shifted);
    mgn_output(of_input);
    mgn_test_random random = MGN_TEST_RANDOM();
    draw(&random, a, N * F, -1, 1), draw(&random, b, F, -1, 1), draw(&random, c, N, -1, 1);
    draw(&random, big, N * LONG, -1, 1);
    const mgn_dtype dtype = widest(device);
    mgn_plan *plan = compiled(device, dtype);
    ck_assert_msg(mgn_plan_get_info(plan).regions == 1, "%zu programs", mgn_plan_get_info(plan).regions);
    put(plan, an, a), put(plan, bn, b), put(plan, cn, c), put(plan, sn, (double[]){0.3}), put(plan, bign, big);
    MGN_ASSERT_OK(mgn_plan_run(plan, 1));
    const double tolerance = dtype == MGN_F64 ? 1e-12 : 2e-6;
    double total = 0, want_columns[F] = {0}, want_rows[N] = {0}, want_part[F] = {0};
    MGN_ASSERT_OK(mgn_tensor_read(mgn_plan_tensor(plan, shifted), MGN_F64, out));
    for (int i = 0; i < N; i++)
        for (int j = 0; j < F; j++) {
            const double p = big[i * LONG + FROM + j], x = a[i * F + j];
            const double want = 1 / (1 + exp(-x * b[j] - p * c[i])) - 0.3 * fmax(x, p);
            ASSERT_CLOSE(out[i * F + j], want, tolerance);
            total += want, want_columns[j] += want, want_rows[i] += want * want, want_part[j] += p;
        }
    get(plan, sums[0], columns), get(plan, sums[1], rows);
    for (int j = 0; j < F; j++) ASSERT_CLOSE(columns[j], want_columns[j], tolerance * N);
    for (int i = 0; i < N; i++) ASSERT_CLOSE(rows[i], want_rows[i], tolerance * F);
    ASSERT_CLOSE(get_scalar(plan, sums[2]), total, tolerance * N * F);
    get(plan, of_input, columns);
    for (int j = 0; j < F; j++) ASSERT_CLOSE(columns[j], want_part[j], tolerance * N);
    mgn_plan_destroy(plan);
    end();
}
END_TEST

/* Vectors that are assigned to each other, behind a product: each is read as it was before. */
START_TEST(assigned_vectors_are_read_before) {
    DEVICE_OR_SKIP(device);
    enum { LENGTH = 40000, EDGE = 100 };
    static double p[LENGTH], q[LENGTH], w[EDGE * EDGE], got[LENGTH];
    begin();
    mgn_node *pn = real("p", MGN_SHAPE(LENGTH)), *qn = real("q", MGN_SHAPE(LENGTH));
    mgn_node *wn = real("w", MGN_SHAPE(EDGE, EDGE)), *scale = mgn_sum(mgn_matmul(wn, wn), -1);
    mgn_node *left = mgn_add(mgn_scale(pn, 0.5), mgn_mul(qn, scale)), *right = mgn_sub(pn, mgn_mul(left, qn));
    mgn_node *seen = mgn_sum(mgn_mul(pn, right), -1);
    mgn_assign(pn, left);
    mgn_assign(qn, right);
    mgn_output(seen);
    mgn_test_random random = MGN_TEST_RANDOM();
    draw(&random, p, LENGTH, -1, 1), draw(&random, q, LENGTH, -1, 1), draw(&random, w, EDGE * EDGE, -0.1, 0.1);
    const mgn_dtype dtype = widest(device);
    mgn_plan *plan = compiled(device, dtype);
    ck_assert_uint_ge(mgn_plan_get_info(plan).regions, 1);
    put(plan, pn, p), put(plan, qn, q), put(plan, wn, w);
    MGN_ASSERT_OK(mgn_plan_run(plan, 1));
    double factor = 0, sum = 0;
    for (int i = 0; i < EDGE; i++)
        for (int j = 0; j < EDGE; j++)
            for (int k = 0; k < EDGE; k++) factor += w[i * EDGE + k] * w[k * EDGE + j];
    for (int i = 0; i < LENGTH; i++) {
        const double l = 0.5 * p[i] + q[i] * factor, r = p[i] - l * q[i];
        sum += p[i] * r;
        p[i] = l, q[i] = r;
    }
    const double tolerance = dtype == MGN_F64 ? 1e-11 : 1e-4;
    MGN_ASSERT_OK(mgn_tensor_read(mgn_plan_tensor(plan, pn), MGN_F64, got));
    for (int i = 0; i < LENGTH; i++) ASSERT_CLOSE(got[i], p[i], tolerance);
    MGN_ASSERT_OK(mgn_tensor_read(mgn_plan_tensor(plan, qn), MGN_F64, got));
    for (int i = 0; i < LENGTH; i++) ASSERT_CLOSE(got[i], q[i], tolerance);
    ASSERT_CLOSE(get_scalar(plan, seen), sum, tolerance * LENGTH);
    mgn_plan_destroy(plan);
    end();
}
END_TEST

/* W x stands in every layer of a C-MGN and its derivatives; it is one product all the same. */
START_TEST(products_are_made_once) {
    begin();
    mgn_node *x = real("x", MGN_SHAPE(ROWS, D)), *p = real("p", MGN_SHAPE(COUNT)), *gradient;
    MGN_ASSERT_OK(mgn_grad(mgn_mean(mgn_square(step_output(p, x)), -1), &p, 1, &gradient));
    mgn_output(gradient);
    int products = 0, of_w = 0;
    for (int id = 0; id < graph->count; id++) {
        const mgn_node *node = graph->nodes[id];
        if (node->op != MGN_OP_matmul) continue;
        products++;
        of_w += node->in[0] == x && node->shape.dim[1] == H;
    }
    ck_assert_int_eq(of_w, 1);
    ck_assert_int_eq(products, 10);
    end();
}
END_TEST

static Suite *suite(void) {
    Suite *s = suite_create("wide");
    TCase *wide = case_with_devices(s, "wide");
    tcase_set_timeout(wide, 120);
    tcase_add_loop_test(wide, steps_are_those_of_single_calls, 0, 2);
    tcase_add_loop_test(wide, kept_and_recomputed_values_are_the_same, 0, 2);
    tcase_add_test(wide, threads_do_not_change_bits);
    tcase_add_loop_test(wide, operands_are_broadcast_and_summed, 0, 2);
    tcase_add_loop_test(wide, assigned_vectors_are_read_before, 0, 2);
    tcase_add_test(wide, products_are_made_once);
    return s;
}

int main(void) {
    opencl_spec = mgn_test_opencl_spec();
    return mgn_test_main(suite());
}
