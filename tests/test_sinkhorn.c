/* The Sinkhorn divergence: against plain loops in double, against exact transport of sorted numbers, and what must hold
 * whatever the clouds are. */
#include "harness.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <mgn/sinkhorn.h>
#include <mgn/train.h>

#include "core/core.h"

static const char *opencl_spec; /* NULL: there is none */

enum { MOST = 4096 };

typedef struct clouds {
    int64_t n, m, d;
    float x[MOST], y[MOST], a[256], b[256];
} clouds;

static void draw(clouds *c, mgn_test_random *random, int64_t n, int64_t m, int64_t d) {
    double a = 0, b = 0;
    c->n = n, c->m = m, c->d = d;
    for (int64_t i = 0; i < n * d; i++) c->x[i] = (float)mgn_test_uniform(random, 0, 1);
    for (int64_t i = 0; i < m * d; i++) c->y[i] = (float)(0.3 + pow(mgn_test_uniform(random, 0, 1), 2));
    for (int64_t i = 0; i < n; i++) a += (double)(c->a[i] = (float)mgn_test_uniform(random, 0, 1));
    for (int64_t i = 0; i < m; i++) b += (double)(c->b[i] = (float)mgn_test_uniform(random, 0, 1));
    for (int64_t i = 0; i < n; i++) c->a[i] = (float)((double)c->a[i] / a);
    for (int64_t i = 0; i < m; i++) c->b[i] = (float)((double)c->b[i] / b);
}

static mgn_sinkhorn_result divergence(const char *spec, const clouds *c, bool weighted,
                                      const mgn_sinkhorn_config *config, float *gradient) {
    mgn_device *device;
    mgn_sinkhorn_result result;
    MGN_ASSERT_OK(mgn_device_open(spec, &device));
    MGN_ASSERT_OK(mgn_sinkhorn(device, c->x, weighted ? c->a : NULL, c->n, c->y, weighted ? c->b : NULL, c->m, c->d,
                               config, &result, gradient));
    mgn_device_close(device);
    return result;
}

/* ---- the algorithm again, on matrices of costs ---- */

typedef struct side {
    const float *from, *to;   /* points of the rows and of the columns */
    const double *log_weight; /* of the columns */
    int64_t n, m, d;
} side;

/* -e log sum_j exp(h_j - C_ij / e), the largest term first. */
static double plain_softmin(const side *s, int64_t i, const double *potential, double e) {
    double top = -INFINITY, sum = 0, exponent[256];
    for (int64_t j = 0; j < s->m; j++) {
        double cost = 0;
        for (int64_t k = 0; k < s->d; k++)
            cost += 0.5 * pow((double)s->from[i * s->d + k] - (double)s->to[j * s->d + k], 2);
        exponent[j] = s->log_weight[j] + ((potential ? potential[j] : 0) - cost) / e;
        top = fmax(top, exponent[j]);
    }
    for (int64_t j = 0; j < s->m; j++) sum += exp(exponent[j] - top);
    return -e * (top + log(sum));
}

static double plain_divergence(const clouds *c, bool weighted, const mgn_sinkhorn_config *config, double diameter) {
    double log_a[256], log_b[256], f[4][256] = {{0}}, next[4][256], rho = config->reach * config->reach;
    for (int64_t i = 0; i < c->n; i++) log_a[i] = weighted ? log((double)c->a[i]) : -log((double)c->n);
    for (int64_t i = 0; i < c->m; i++) log_b[i] = weighted ? log((double)c->b[i]) : -log((double)c->m);
    const side sides[4] = {{c->x, c->y, log_b, c->n, c->m, c->d},
                           {c->y, c->x, log_a, c->m, c->n, c->d},
                           {c->x, c->x, log_a, c->n, c->n, c->d},
                           {c->y, c->y, log_b, c->m, c->m, c->d}};
    static const int columns[4] = {1, 0, 2, 3};
    double e = diameter * diameter, last = config->blur * config->blur;
    /* once without potentials, at the diameter, ... , above the blur, at the blur, once more without averaging */
    for (int step = -1;; step++) {
        bool final = step > 0 && e <= last * (1 + 1e-12);
        if (final) e = last;
        double damping = rho > 0 ? 1 / (1 + e / rho) : 1;
        for (int pass = 0; pass < (final ? 2 : 1); pass++) {
            for (int s = 0; s < 4; s++)
                for (int64_t i = 0; i < sides[s].n; i++) {
                    double new = damping *plain_softmin(&sides[s], i, step < 0 ? NULL : f[columns[s]], e);
                    next[s][i] = step < 0 || pass ? new : 0.5 * (f[s][i] + new);
                }
            memcpy(f, next, sizeof f);
        }
        if (final) break;
        if (step > 0) e *= config->scaling * config->scaling;
    }
    double sum = 0;
    for (int64_t i = 0; i < c->n; i++)
        sum +=
            exp(log_a[i]) * (rho > 0 ? (rho + e / 2) * (exp(-f[2][i] / rho) - exp(-f[0][i] / rho)) : f[0][i] - f[2][i]);
    for (int64_t j = 0; j < c->m; j++)
        sum +=
            exp(log_b[j]) * (rho > 0 ? (rho + e / 2) * (exp(-f[3][j] / rho) - exp(-f[1][j] / rho)) : f[1][j] - f[3][j]);
    return sum;
}

static const struct {
    int64_t n, m, d;
    bool weighted;
    mgn_sinkhorn_config config; /* with a diameter */
} settings[] = {
    {37, 52, 1, false, {.blur = 0.05, .scaling = 0.5, .diameter = 1.5}},
    {64, 64, 2, true, {.blur = 0.05, .scaling = 0.7, .diameter = 1.5}},
    {100, 33, 3, true, {.blur = 0.2, .scaling = 0.9, .diameter = 2}},
    {50, 70, 3, false, {.blur = 0.05, .scaling = 0.5, .diameter = 2, .reach = 0.3}},
    {40, 60, 5, true, {.blur = 0.3, .scaling = 0.5, .diameter = 3, .reach = 1}},
    {41, 43, 16, false, {.blur = 0.2, .scaling = 0.5, .diameter = 4}},
    {41, 43, 17, true, {.blur = 0.2, .scaling = 0.5, .diameter = 4}}, /* costs that are kept */
    {60, 62, 40, false, {.blur = 0.5, .scaling = 0.8, .diameter = 7, .reach = 2}},
    {7, 9, 2, false, {.blur = 1, .scaling = 0.5, .diameter = 0.25}}, /* a diameter below the blur */
};

static void check_settings(const char *spec) {
    mgn_test_random random = MGN_TEST_RANDOM();
    static clouds c;
    for (size_t i = 0; i < MGN_COUNT(settings); i++) {
        draw(&c, &random, settings[i].n, settings[i].m, settings[i].d);
        double expected = plain_divergence(&c, settings[i].weighted, &settings[i].config, settings[i].config.diameter);
        double scale = pow(settings[i].config.diameter, 2) + 10 * pow(settings[i].config.blur, 2);
        double found = divergence(spec, &c, settings[i].weighted, &settings[i].config, NULL).value;
        ck_assert_msg(fabs(found - expected) <= 2e-6 * fabs(expected) + 5e-8 * scale,
                      "setting %zu: %.9g, expected %.9g", i, found, expected);
    }
}

START_TEST(values_are_those_of_plain_loops) { check_settings("cpu"); }
END_TEST

START_TEST(values_are_those_of_plain_loops_on_opencl) {
    if (!opencl_spec) MGN_TEST_SKIP("no OpenCL device");
    check_settings(opencl_spec);
}
END_TEST

/* ---- exact transport ---- */

static int ascending(const void *a, const void *b) {
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

/* Half the squared distance of the sorted points, and x - y of partners as the gradient. */
START_TEST(small_blurs_give_exact_transport) {
    enum { N = 200 };
    mgn_test_random random = MGN_TEST_RANDOM();
    static clouds c;
    float gradient[N];
    draw(&c, &random, N, N, 1);
    qsort(c.x, N, sizeof *c.x, ascending);
    qsort(c.y, N, sizeof *c.y, ascending);
    double exact = 0, last = INFINITY;
    for (int i = 0; i < N; i++) exact += 0.5 * pow((double)c.x[i] - (double)c.y[i], 2) / N;
    static const double blurs[] = {0.1, 0.03, 0.01, 0.003};
    for (size_t i = 0; i < MGN_COUNT(blurs); i++) {
        mgn_sinkhorn_config config = {.blur = blurs[i], .scaling = 0.99};
        double error = fabs(divergence("cpu", &c, false, &config, gradient).value / exact - 1);
        ck_assert_msg(error < last, "blur %g: error %g, before it was %g", blurs[i], error, last);
        last = error;
    }
    ck_assert_msg(last < 5e-3, "%g", last);
    double distance = 0;
    for (int i = 0; i < N; i++) distance += fabs((double)gradient[i] - (double)(c.x[i] - c.y[i]) / N);
    ck_assert_msg(distance < 0.01, "the gradient is %g from that of exact transport on average", distance);
}
END_TEST

/* At blur 1e-4 exponents are of the order of 10^8: nothing may underflow or overflow. */
START_TEST(tiny_blurs_do_not_underflow) {
    mgn_test_random random = MGN_TEST_RANDOM();
    static clouds c;
    static float gradient[3 * 128];
    for (int wide = 0; wide < 2; wide++) {
        draw(&c, &random, 128, 100, wide ? 20 : 3);
        static float large[20 * 128];
        double coarse = divergence("cpu", &c, false, &(mgn_sinkhorn_config){.blur = 0.01, .scaling = 0.7}, NULL).value;
        double fine =
            divergence("cpu", &c, false, &(mgn_sinkhorn_config){.blur = 1e-4, .scaling = 0.7}, wide ? large : gradient)
                .value;
        ck_assert_msg(fabs(fine / coarse - 1) < 0.1, "%g and %g", fine, coarse);
        for (int i = 0; i < 3 * 100; i++) ck_assert(isfinite(wide ? large[i] : gradient[i]));
    }
}
END_TEST

/* ---- what must hold ---- */

START_TEST(equal_clouds_are_at_distance_zero) {
    mgn_test_random random = MGN_TEST_RANDOM();
    static clouds c;
    for (int64_t d = 1; d < 40; d += 19) {
        draw(&c, &random, 90, 90, d);
        memcpy(c.y, c.x, sizeof c.x);
        double value = divergence("cpu", &c, false, &(mgn_sinkhorn_config){0}, NULL).value;
        ck_assert_msg(fabs(value) < 2e-6, "d %d: %g", (int)d, value);
    }
}
END_TEST

/* A coordinate that is 0 everywhere changes nothing, but 17 coordinates take the way by products. */
START_TEST(few_and_many_coordinates_agree) {
    mgn_test_random random = MGN_TEST_RANDOM();
    static clouds few, many;
    static float g[2][60 * 17];
    draw(&few, &random, 60, 50, 16);
    many = few;
    many.d = 17;
    memset(many.x, 0, sizeof many.x);
    memset(many.y, 0, sizeof many.y);
    for (int64_t i = 0; i < 60; i++)
        for (int64_t k = 0; k < 16; k++) {
            many.x[i * 17 + k] = few.x[i * 16 + k];
            if (i < 50) many.y[i * 17 + k] = few.y[i * 16 + k];
        }
    mgn_sinkhorn_config config = {.blur = 0.3, .scaling = 0.8};
    double a = divergence("cpu", &few, true, &config, g[0]).value;
    double b = divergence("cpu", &many, true, &config, g[1]).value;
    ck_assert_msg(fabs(a / b - 1) < 1e-5, "%.9g and %.9g", a, b);
    for (int i = 0; i < 60; i++)
        for (int k = 0; k < 16; k++)
            ck_assert_msg(fabsf(g[0][i * 16 + k] - g[1][i * 17 + k]) < 2e-6f, "point %d: %g and %g", i,
                          (double)g[0][i * 16 + k], (double)g[1][i * 17 + k]);
}
END_TEST

/* More pairs than costs are kept of: products of tiles, which are made anew in every step, against differences. */
static void check_large_clouds(const char *spec) {
    enum { N = 2200, D = 17 };
    static float x[2][N * D], y[2][N * D], gradient[2][N * D];
    mgn_test_random random = MGN_TEST_RANDOM();
    mgn_sinkhorn_result result[2];
    for (int i = 0; i < N; i++)
        for (int k = 0; k < D; k++) {
            x[1][i * D + k] = k < D - 1 ? (float)mgn_test_uniform(&random, 0, 1) : 0;
            y[1][i * D + k] = k < D - 1 ? (float)mgn_test_uniform(&random, 0.2, 1) : 0;
        }
    for (int i = 0; i < N; i++)
        for (int k = 0; k < D - 1; k++) {
            x[0][i * (D - 1) + k] = x[1][i * D + k];
            y[0][i * (D - 1) + k] = y[1][i * D + k];
        }
    for (int wide = 0; wide < 2; wide++) {
        const int d = wide ? D : D - 1;
        mgn_device *device;
        MGN_ASSERT_OK(mgn_device_open(wide ? spec : "cpu", &device));
        const mgn_sinkhorn_config config = {.blur = 0.5, .scaling = 0.5, .diameter = 4};
        MGN_ASSERT_OK(
            mgn_sinkhorn(device, x[wide], NULL, N, y[wide], NULL, N, d, &config, &result[wide], gradient[wide]));
        mgn_device_close(device);
    }
    ck_assert_msg(fabs(result[0].value / result[1].value - 1) < 2e-5, "%s: %.9g and %.9g", spec, result[0].value,
                  result[1].value);
    for (int i = 0; i < N; i++)
        for (int k = 0; k < D - 1; k++) {
            const float a = gradient[0][i * (D - 1) + k], b = gradient[1][i * D + k];
            ck_assert_msg(fabsf(a - b) < 1e-8f, "%s, point %d: %g and %g", spec, i, (double)a, (double)b);
        }
}

START_TEST(large_clouds_go_through_products) { check_large_clouds("cpu"); }
END_TEST

START_TEST(large_clouds_go_through_products_on_opencl) {
    if (!opencl_spec) MGN_TEST_SKIP("no OpenCL device");
    check_large_clouds(opencl_spec);
}
END_TEST

/* Denormal numbers make products ten times as long: weights of kept costs, whose products are the gradient, have none. */
START_TEST(weights_of_kept_costs_are_not_denormal) {
    enum { N = 64 };
    static float costs[N * N], heights[N], weights[N * N];
    mgn_device *device;
    mgn_graph *graph;
    mgn_plan *plan;
    for (int i = 0; i < N * N; i++) costs[i] = (float)(i % N) * 2; /* weights down to e^-126 */
    MGN_ASSERT_OK(mgn_device_open("cpu", &device));
    MGN_ASSERT_OK(mgn_graph_create(&graph));
    mgn_node *s = mgn_input(graph, "s", MGN_REAL, MGN_SHAPE(N, N)), *h = mgn_input(graph, "h", MGN_REAL, MGN_SHAPE(N));
    mgn_node *gradient;
    MGN_ASSERT_OK(mgn_grad(mgn_sum(mgn_softmin_dense(s, h, 1), -1), &s, 1, &gradient));
    mgn_output(gradient);
    MGN_ASSERT_OK(mgn_plan_compile(graph, device, MGN_F32, NULL, 0, &plan));
    MGN_ASSERT_OK(mgn_tensor_write(mgn_plan_tensor(plan, s), MGN_F32, costs));
    MGN_ASSERT_OK(mgn_tensor_write(mgn_plan_tensor(plan, h), MGN_F32, heights));
    MGN_ASSERT_OK(mgn_plan_run(plan, 1));
    MGN_ASSERT_OK(mgn_tensor_read(mgn_plan_tensor(plan, gradient), MGN_F32, weights));
    double sum = 0;
    for (int i = 0; i < N * N; i++) {
        ck_assert_msg(isnormal(weights[i]), "weight %d is %g", i, (double)weights[i]);
        sum -= (double)weights[i];
    }
    ck_assert_msg(fabs(sum / N - 1) < 1e-6, "the weights of a row sum to %g", sum / N);
    mgn_plan_destroy(plan);
    mgn_graph_destroy(graph);
    mgn_device_close(device);
}
END_TEST

/* Bits do not depend on threads. */
START_TEST(threads_change_nothing) {
    mgn_test_random random = MGN_TEST_RANDOM();
    static clouds c;
    static float first[20 * 200], gradient[20 * 200];
    double value = 0;
    for (int wide = 0; wide < 2; wide++) {
        draw(&c, &random, 200, 190, wide ? 20 : 2);
        for (int threads = 1; threads <= 5; threads++) {
            mgn_set_threads(threads);
            float *to = threads == 1 ? first : gradient;
            double now = divergence("cpu", &c, true, &(mgn_sinkhorn_config){.blur = 0.02}, to).value;
            if (threads == 1) value = now;
            ck_assert(value == now && memcmp(first, to, (size_t)(200 * c.d) * sizeof *to) == 0);
        }
    }
    mgn_set_threads(0);
}
END_TEST

/* The gradient by differences of a value that has converged; weights and reach included. */
static void check_gradient(const char *spec, double reach, double tolerance) {
    mgn_test_random random = MGN_TEST_RANDOM();
    static clouds c;
    float gradient[2 * 20];
    draw(&c, &random, 20, 23, 2);
    mgn_sinkhorn_config config = {.blur = 0.5, .scaling = 0.995, .reach = reach, .diameter = 2};
    divergence(spec, &c, true, &config, gradient);
    double largest = 0, worst = 0;
    for (int i = 0; i < 2 * 20; i++) largest = fmax(largest, fabs((double)gradient[i]));
    for (int i = 0; i < 6; i++) {
        const float h = 0.0078125f, here = c.x[i];
        c.x[i] = here + h;
        double ahead = plain_divergence(&c, true, &config, 2);
        c.x[i] = here - h;
        double behind = plain_divergence(&c, true, &config, 2);
        c.x[i] = here;
        double expected = (ahead - behind) / (2 * (double)h);
        worst = fmax(worst, fabs((double)gradient[i] - expected));
    }
    ck_assert_msg(worst <= tolerance * largest, "%s, reach %g: off by %g of %g", spec, reach, worst, largest);
}

START_TEST(gradients_are_differences) {
    check_gradient("cpu", 0, 5e-3);
    check_gradient("cpu", 0.5, 5e-3);
}
END_TEST

START_TEST(gradients_are_differences_on_opencl) {
    if (!opencl_spec) MGN_TEST_SKIP("no OpenCL device");
    check_gradient(opencl_spec, 0, 5e-3);
    check_gradient(opencl_spec, 0.5, 5e-3);
}
END_TEST

/* Points that follow the gradient end where the others are. */
START_TEST(descent_carries_one_cloud_to_the_other) {
    enum { N = 64 };
    mgn_test_random random = MGN_TEST_RANDOM();
    static clouds c;
    float gradient[2 * N];
    double first = 0, value = 0;
    draw(&c, &random, N, N, 2);
    for (int step = 0; step < 30; step++) {
        double before = value;
        value =
            divergence("cpu", &c, false, &(mgn_sinkhorn_config){.blur = 0.05, .scaling = 0.9, .diameter = 2}, gradient)
                .value;
        if (step == 0) first = before = value;
        ck_assert_msg(value <= before + 0.02 * first, "step %d: %g after %g", step, value, before);
        for (int i = 0; i < 2 * N; i++) c.x[i] -= 0.3f * N * gradient[i];
    }
    ck_assert_msg(value < 0.1 * first, "%g after %g", value, first);
}
END_TEST

/* Points of weight 0 are not there. */
START_TEST(weights_of_zero_leave_points_out) {
    mgn_test_random random = MGN_TEST_RANDOM();
    static clouds all, some;
    draw(&all, &random, 40, 50, 2);
    some = all;
    some.n = 30;
    float sum = 0;
    for (int i = 0; i < 30; i++) sum += all.a[i];
    for (int i = 0; i < 40; i++) all.a[i] = some.a[i] = i < 30 ? all.a[i] / sum : 0;
    mgn_sinkhorn_config config = {.diameter = 2};
    double a = divergence("cpu", &all, true, &config, NULL).value;
    double b = divergence("cpu", &some, true, &config, NULL).value;
    ck_assert_msg(fabs(a - b) <= 1e-6 * fabs(b), "%.9g and %.9g", a, b);
}
END_TEST

/* ---- training ---- */

static bool keep_first(void *first, const mgn_train_report *report) {
    if (report->epoch == 1) *(double *)first = report->loss;
    return true;
}

/* A map learnt from samples of both sides that are not paired: rows of a table in batches, or a sampler. */
static void train(const char *spec, bool finite) {
    enum { N = 300, M = 500, D = 2 };
    static float x[N * D], y[M * D];
    mgn_test_random random = MGN_TEST_RANDOM();
    mgn_device *device;
    mgn_target *target;
    mgn_model *model[2];
    mgn_train_result result[2];
    double first = 0;
    for (int i = 0; i < N * D; i++) x[i] = (float)mgn_test_normal(&random);
    for (int i = 0; i < M * D; i++) y[i] = (float)(i % 2 + (i % 2 ? 0.5 : 1.5) * mgn_test_normal(&random));
    MGN_ASSERT_OK(mgn_device_open(spec, &device));
    if (finite)
        MGN_ASSERT_OK(mgn_target_create_rows(y, M, D, &target));
    else
        MGN_ASSERT_OK(mgn_target_create_gaussian(D, (double[2]){0, 1}, (double[4]){2.25, 0, 0, 0.25}, &target));
    mgn_train_config config = {.loss = {.kind = "sinkhorn", .target = target, .sinkhorn = {.blur = 0.1}},
                               .optimizer = {.kind = "adam", .lr = 0.02},
                               .batch = 100,
                               .epochs = 40,
                               .report = keep_first,
                               .context = &first,
                               .real = MGN_F32};
    for (int i = 0; i < 2; i++) { /* the second one repeats the first */
        MGN_ASSERT_OK(mgn_model_create(&(mgn_model_config){.kind = "cmgn", .d = D, .h = 3, .layers = 1}, 1, &model[i]));
        MGN_ASSERT_OK(mgn_train(model[i], device, &(mgn_samples){x, NULL, N}, &config, &result[i]));
    }
    ck_assert_msg(result[0].loss < 0.5 * first, "%s: the loss is %g, it was %g", spec, result[0].loss, first);
    ck_assert(result[0].loss == result[1].loss);
    config.loss.target = NULL;
    MGN_ASSERT_FAILS(mgn_train(model[0], device, &(mgn_samples){x, NULL, N}, &config, NULL), MGN_ERR_ARGUMENT,
                     "sinkhorn needs a target of 2 dimensions");
    for (int i = 0; i < 2; i++) mgn_model_destroy(model[i]);
    mgn_target_destroy(target);
    mgn_device_close(device);
}

START_TEST(maps_are_learnt_without_pairs) {
    train("cpu", true);
    train("cpu", false);
}
END_TEST

START_TEST(maps_are_learnt_without_pairs_on_opencl) {
    if (!opencl_spec) MGN_TEST_SKIP("no OpenCL device");
    train(opencl_spec, true);
}
END_TEST

/* ---- detach, softmin ---- */

START_TEST(detached_nodes_have_no_derivative) {
    mgn_device *device;
    mgn_graph *graph;
    mgn_plan *plan;
    double x[3] = {1, 2, 3}, out[3];
    MGN_ASSERT_OK(mgn_device_open("cpu", &device));
    MGN_ASSERT_OK(mgn_graph_create(&graph));
    mgn_node *in = mgn_input(graph, "x", MGN_REAL, MGN_SHAPE(3)), *t = mgn_input(graph, "t", MGN_REAL, MGN_SHAPE(3));
    mgn_node *y = mgn_mul(in, mgn_detach(mgn_square(in))), *gradient, *tangent;
    MGN_ASSERT_OK(mgn_grad(mgn_sum(y, -1), &in, 1, &gradient)); /* x^2, not 3 x^2 */
    MGN_ASSERT_OK(mgn_jvp(&y, 1, &in, &t, 1, &tangent));
    mgn_output(gradient);
    mgn_output(tangent);
    MGN_ASSERT_OK(mgn_plan_compile(graph, device, MGN_F64, NULL, 0, &plan));
    MGN_ASSERT_OK(mgn_tensor_write(mgn_plan_tensor(plan, in), MGN_F64, x));
    MGN_ASSERT_OK(mgn_tensor_write(mgn_plan_tensor(plan, t), MGN_F64, x));
    MGN_ASSERT_OK(mgn_plan_run(plan, 1));
    MGN_ASSERT_OK(mgn_tensor_read(mgn_plan_tensor(plan, gradient), MGN_F64, out));
    for (int i = 0; i < 3; i++) ck_assert(out[i] == x[i] * x[i]);
    MGN_ASSERT_OK(mgn_tensor_read(mgn_plan_tensor(plan, tangent), MGN_F64, out));
    for (int i = 0; i < 3; i++) ck_assert(out[i] == x[i] * x[i] * x[i]);
    mgn_plan_destroy(plan);
    mgn_graph_destroy(graph);
    mgn_device_close(device);
}
END_TEST

START_TEST(nonsense_is_refused) {
    static const struct {
        int64_t n, m, d;
        mgn_sinkhorn_config config;
        const char *sentence;
    } rows[] = {
        {0, 3, 2, {0, 0, 0, 0}, "at least one point"},
        {3, 0, 2, {0, 0, 0, 0}, "at least one point"},
        {3, 3, 0, {0, 0, 0, 0}, "at least one point"},
        {INT64_MAX / 2, 3, 4, {0, 0, 0, 0}, "too many"},
        {3, 3, 2, {-1, 0, 0, 0}, "blur is a positive number; -1 was found"},
        {3, 3, 2, {NAN, 0, 0, 0}, "blur is a positive number"},
        {3, 3, 2, {0, 1, 0, 0}, "scaling lies between 0 and 1; 1 was found"},
        {3, 3, 2, {0, 0, -2, 0}, "reach is a positive number"},
        {3, 3, 2, {0, 0, 0, INFINITY}, "diameter is a positive number"},
        {3, 3, 2, {0, 0.99999, 0, 0}, "steps of scaling 0.99999"},
        {3, 3, 2, {0, 0.99999, 0, 4}, "steps of scaling 0.99999"},
    };
    static clouds c;
    mgn_test_random random = MGN_TEST_RANDOM();
    mgn_device *device;
    mgn_sinkhorn_result result;
    draw(&c, &random, 3, 3, 2);
    MGN_ASSERT_OK(mgn_device_open("cpu", &device));
    for (size_t i = 0; i < MGN_COUNT(rows); i++)
        MGN_ASSERT_FAILS(
            mgn_sinkhorn(device, c.x, NULL, rows[i].n, c.y, NULL, rows[i].m, rows[i].d, &rows[i].config, &result, NULL),
            MGN_ERR_ARGUMENT, rows[i].sentence);
    const mgn_sinkhorn_config config = {0};
    c.a[1] = -1;
    MGN_ASSERT_FAILS(mgn_sinkhorn(device, c.x, c.a, 3, c.y, NULL, 3, 2, &config, &result, NULL), MGN_ERR_ARGUMENT,
                     "weight 1 of the first cloud is -1");
    memset(c.b, 0, sizeof c.b);
    MGN_ASSERT_FAILS(mgn_sinkhorn(device, c.x, NULL, 3, c.y, c.b, 3, 2, &config, &result, NULL), MGN_ERR_ARGUMENT,
                     "all weights of the second cloud are 0");
    c.y[3] = NAN;
    MGN_ASSERT_FAILS(mgn_sinkhorn(device, c.x, NULL, 3, c.y, NULL, 3, 2, &config, &result, NULL), MGN_ERR_NUMERIC,
                     "the second cloud holds nan in row 1, column 1");
    mgn_device_close(device);
}
END_TEST

int main(void) {
    opencl_spec = mgn_test_opencl_spec();
    Suite *suite = suite_create("sinkhorn");
    TCase *tests = tcase_create("sinkhorn");
    tcase_set_timeout(tests, 120);
    tcase_add_test(tests, values_are_those_of_plain_loops);
    tcase_add_test(tests, values_are_those_of_plain_loops_on_opencl);
    tcase_add_test(tests, small_blurs_give_exact_transport);
    tcase_add_test(tests, tiny_blurs_do_not_underflow);
    tcase_add_test(tests, equal_clouds_are_at_distance_zero);
    tcase_add_test(tests, few_and_many_coordinates_agree);
    tcase_add_test(tests, large_clouds_go_through_products);
    tcase_add_test(tests, large_clouds_go_through_products_on_opencl);
    tcase_add_test(tests, weights_of_kept_costs_are_not_denormal);
    tcase_add_test(tests, threads_change_nothing);
    tcase_add_test(tests, gradients_are_differences);
    tcase_add_test(tests, gradients_are_differences_on_opencl);
    tcase_add_test(tests, descent_carries_one_cloud_to_the_other);
    tcase_add_test(tests, weights_of_zero_leave_points_out);
    tcase_add_test(tests, maps_are_learnt_without_pairs);
    tcase_add_test(tests, maps_are_learnt_without_pairs_on_opencl);
    tcase_add_test(tests, detached_nodes_have_no_derivative);
    tcase_add_test(tests, nonsense_is_refused);
    suite_add_tcase(suite, tests);
    return mgn_test_main(suite);
}
