/* Models and maps: what the theory promises (symmetric positive semidefinite Jacobians, g = grad phi, invertibility)
 * against finite differences in float64, and the same maps in float32 on every device. Losses are in test_loss.c,
 * files in test_model_file.c. */
#include "harness.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <mgn/model.h>
#include <mgn/ot.h>

#include "core/core.h"

enum { MOST_D = 5, ROWS = 24, PLAIN = 13 };

/* ---- the models under test ---- */

static const mgn_model_config configs[] = {
    {.kind = "cmgn", .d = 2, .h = 2, .layers = 2},
    {.kind = "cmgn", .d = 3, .h = 3, .layers = 2, .activation = MGN_TANH},
    {.kind = "cmgn", .d = 2, .h = 3, .layers = 3, .activation = MGN_SOFTPLUS},
    {.kind = "cmgn", .d = 1, .h = 4, .layers = 1},
    {.kind = "cmgn", .d = 4, .h = 2, .layers = 1, .activation = MGN_TANH},
    {.kind = "cmgn", .d = 2, .h = 2, .layers = 1, .activation = MGN_SOFTPLUS},
    {.kind = "cmgn", .d = 5, .h = 7, .layers = 5},
    {.kind = "cmgn", .d = 3, .h = 1, .layers = 2, .v = MGN_V_GAUSSIAN},
    {.kind = "mmgn", .d = 2, .h = 3, .layers = 2, .activation = MGN_TANH},
    {.kind = "mmgn", .d = 3, .h = 2, .layers = 2, .activation = MGN_TANH},
    {.kind = "mmgn", .d = 2, .h = 3, .layers = 1},
    {.kind = "mmgn", .d = 1, .h = 2, .layers = 4},
    {.kind = "mmgn", .d = 4, .h = 3, .layers = 2, .v = MGN_V_GAUSSIAN},
    {.kind = "icnn", .d = 2, .h = 1, .layers = 19, .activation = MGN_SOFTPLUS},
    {.kind = "icnn", .d = 3, .h = 8, .layers = 2, .activation = MGN_SOFTPLUS},
    {.kind = "icnn", .d = 1, .h = 3, .layers = 1, .activation = MGN_SOFTPLUS},
    {.kind = "dicnn", .d = 2, .h = 4, .layers = 1, .activation = MGN_SOFTPLUS},
    {.kind = "dicnn", .d = 3, .h = 5, .layers = 2, .activation = MGN_SOFTPLUS},
    {.kind = "maxquad", .d = 2, .h = 2, .layers = 3, .activation = MGN_SOFTPLUS},
    {.kind = "maxquad", .d = 3, .h = 4, .layers = 1, .activation = MGN_SOFTPLUS},
    {.kind = "icgn", .d = 2, .h = 5, .layers = 1},
    {.kind = "icgn", .d = 3, .h = 12, .layers = 1, .activation = MGN_TANH},
    {.kind = "icgn", .d = 4, .h = 12, .layers = 1, .activation = MGN_SOFTPLUS},
    {.kind = "icgn", .d = 2, .h = 5, .layers = 2},
    {.kind = "icgn", .d = 3, .h = 4, .layers = 3, .activation = MGN_SOFTPLUS},
    {.kind = "cgradnet", .d = 2, .h = 16, .layers = 2},
    {.kind = "cgradnet", .d = 3, .h = 12, .layers = 1, .activation = MGN_TANH},
    {.kind = "cgradnet", .d = 4, .h = 14, .layers = 4, .activation = MGN_SOFTPLUS},
    {.kind = "cgradnet", .d = 2, .h = 16, .layers = 2, .signed_scales = true},
    {.kind = "cgradnet", .d = 2, .h = 7, .layers = 1, .signed_scales = true},
    {.kind = "mgradnet", .d = 2, .h = 7, .layers = 4},
    {.kind = "mgradnet", .d = 3, .h = 8, .layers = 2, .activation = MGN_TANH},
    {.kind = "mgradnet", .d = 3, .h = 8, .layers = 1, .activation = MGN_SOFTPLUS, .signed_scales = true},
    {.kind = "conv-cmgn", .d = 4, .h = 3, .layers = 2, .image = {2, 2, 1}, .kernel = 2, .padding = 1},
    {.kind = "conv-cmgn", .d = 4, .h = 5, .layers = 1, .image = {1, 2, 2}, .kernel = 3, .stride = 2, .padding = 1},
    {.kind = "conv-cmgn",
     .d = 3,
     .h = 2,
     .layers = 3,
     .activation = MGN_SOFTPLUS,
     .image = {1, 1, 3},
     .kernel = 1,
     .position_biases = true,
     .lipschitz = 1.5},
    {.kind = "lse", .d = 2, .h = 5, .layers = 1},
    {.kind = "lse", .d = 3, .h = 4, .layers = 2, .v = MGN_V_GAUSSIAN},
    {.kind = "lse", .d = 3, .h = 4, .layers = 2, .lipschitz = 0.5},
    {.kind = "cmgn", .d = 3, .h = 4, .layers = 3, .activation = MGN_TANH, .lipschitz = 1.5},
    {.kind = "icnn", .d = 3, .h = 8, .layers = 2, .activation = MGN_SOFTPLUS, .lipschitz = 0.5},
    {.kind = "dicnn", .d = 3, .h = 5, .layers = 2, .activation = MGN_SOFTPLUS, .lipschitz = 0.5},
    {.kind = "cgradnet", .d = 2, .h = 7, .layers = 2, .signed_scales = true, .lipschitz = 0.5},
};

static mgn_model *make_model(size_t index, uint64_t seed) {
    mgn_model *model = NULL;
    MGN_ASSERT_OK(mgn_model_create(&configs[index], seed, &model));
    return model;
}

static const char *name_of(size_t index) {
    static char text[96];
    const mgn_model_config *c = &configs[index];
    snprintf(text, sizeof text, "%.15s d=%d h=%d layers=%d %.15s%s%s", c->kind, (int)c->d, (int)c->h, (int)c->layers,
             mgn_activation_name(c->activation), c->signed_scales ? " signed" : "", c->lipschitz > 0 ? " bounded" : "");
    return text;
}

static mgn_device *open_cpu(void) {
    mgn_device *device = NULL;
    MGN_ASSERT_OK(mgn_device_open("cpu", &device));
    return device;
}

/* Points whose coordinates are multiples of 2^-8, so that small exact steps stay exact in float. */
static void draw_points(mgn_test_random *random, int64_t count, float *x) {
    for (int64_t i = 0; i < count; i++) x[i] = (float)round(mgn_test_uniform(random, -2, 2) * 256) / 256;
}

/* g(x) through a graph of its own, in `real`, read as doubles. */
static void forward(const mgn_model *model, mgn_device *device, mgn_dtype real, const double *x, int64_t n, double *y) {
    mgn_graph *graph = NULL;
    mgn_plan *plan = NULL;
    MGN_ASSERT_OK(mgn_graph_create(&graph));
    mgn_node *flat = mgn_input(graph, "p", MGN_REAL, MGN_SHAPE(mgn_model_parameter_count(model)));
    mgn_node *in = mgn_input(graph, "x", MGN_REAL, MGN_SHAPE(n, mgn_model_get_config(model)->d));
    mgn_node *out = mgn_model_forward(model, flat, in);
    mgn_output(out);
    MGN_ASSERT_OK(mgn_plan_compile(graph, device, real, NULL, 0, &plan));
    mgn_model *copy = NULL;
    MGN_ASSERT_OK(mgn_model_clone(model, &copy));
    MGN_ASSERT_OK(mgn_tensor_write(mgn_plan_tensor(plan, flat), MGN_F64, mgn_model_values(copy)));
    MGN_ASSERT_OK(mgn_tensor_write(mgn_plan_tensor(plan, in), MGN_F64, x));
    MGN_ASSERT_OK(mgn_plan_run(plan, 1));
    MGN_ASSERT_OK(mgn_tensor_read(mgn_plan_tensor(plan, out), MGN_F64, y));
    mgn_model_destroy(copy);
    mgn_plan_destroy(plan);
    mgn_graph_destroy(graph);
}

/* ---- independent formulas: the two first architectures as plain loops, one point at a time; `mgn check` does the
 * same for all of them, in extended precision ---- */

static double activate(mgn_activation a, double z) {
    return a == MGN_TANH ? tanh(z) : a == MGN_LOGISTIC ? 1 / (1 + exp(-z)) : log1p(exp(-fabs(z))) + fmax(z, 0);
}

static void quadratic_part(const double *V, const double *x, int64_t d, double *g) {
    for (int64_t i = 0; i < d; i++) {
        double vx = 0;
        for (int64_t j = 0; j < d; j++) vx += V[i * d + j] * x[j];
        for (int64_t j = 0; j < d; j++) g[j] += V[i * d + j] * vx;
    }
}

static void plain_cmgn(const mgn_model_config *c, const double *p, const double *x, double *g) {
    const double *W = p, *b = W + c->h * c->d, *V = b + c->layers * c->h, *bL = V + c->d * c->d;
    for (int64_t j = 0; j < c->d; j++) g[j] = bL[j];
    for (int64_t i = 0; i < c->h; i++) {
        double u = 0, z;
        for (int64_t j = 0; j < c->d; j++) u += W[i * c->d + j] * x[j];
        z = u + b[i];
        for (int64_t l = 1; l < c->layers; l++) z = u + activate(c->activation, z) + b[l * c->h + i];
        for (int64_t j = 0; j < c->d; j++) g[j] += W[i * c->d + j] * activate(c->activation, z);
    }
    quadratic_part(V, x, c->d, g);
}

static void plain_mmgn(const mgn_model_config *c, const double *p, const double *x, double *g) {
    const int64_t module = c->h * c->d + c->h;
    const double *V = p + c->layers * module, *a = V + c->d * c->d;
    for (int64_t j = 0; j < c->d; j++) g[j] = a[j];
    for (int64_t k = 0; k < c->layers; k++) {
        const double *W = p + k * module, *b = W + c->h * c->d;
        double s = 0, inner[MOST_D] = {0};
        for (int64_t i = 0; i < c->h; i++) {
            double z = b[i];
            for (int64_t j = 0; j < c->d; j++) z += W[i * c->d + j] * x[j];
            s += c->activation == MGN_TANH ? log(cosh(z)) : log1p(exp(z));
            for (int64_t j = 0; j < c->d; j++) inner[j] += W[i * c->d + j] * activate(c->activation, z);
        }
        for (int64_t j = 0; j < c->d; j++) g[j] += s * inner[j];
    }
    quadratic_part(V, x, c->d, g);
}

START_TEST(forward_is_the_published_formula) {
    mgn_test_random random = MGN_TEST_RANDOM();
    mgn_device *device = open_cpu();
    mgn_model *model = make_model((size_t)_i, 7);
    const mgn_model_config *c = &configs[_i];
    double x[ROWS * MOST_D], y[ROWS * MOST_D], g[MOST_D];
    for (int64_t i = 0; i < ROWS * c->d; i++) x[i] = mgn_test_normal(&random);
    forward(model, device, MGN_F64, x, ROWS, y);
    for (int64_t i = 0; i < ROWS; i++) {
        (*c->kind == 'c' ? plain_cmgn : plain_mmgn)(c, mgn_model_values(model), x + i * c->d, g);
        for (int64_t j = 0; j < c->d; j++)
            ck_assert_msg(fabs(y[i * c->d + j] - g[j]) <= 1e-12 * (1 + fabs(g[j])), "%s: row %d: %.17g, expected %.17g",
                          name_of((size_t)_i), (int)i, y[i * c->d + j], g[j]);
    }
    mgn_model_destroy(model);
    mgn_device_close(device);
}
END_TEST

/* ---- Jacobians ---- */

static double largest(const double *values, int64_t count) {
    double most = 0;
    for (int64_t i = 0; i < count; i++) most = fmax(most, fabs(values[i]));
    return most;
}

/* Symmetric where the map is a gradient, positive semidefinite where it is monotone. */
static void check_definite(const mgn_model *model, const double *J, double tolerance, const char *what) {
    const int64_t d = mgn_model_get_config(model)->d;
    if (!mgn_model_is_gradient(model)) return;
    double values[MOST_D], vectors[MOST_D * MOST_D];
    const double scale = 1 + largest(J, d * d);
    for (int64_t i = 0; i < d; i++)
        for (int64_t j = 0; j < i; j++)
            ck_assert_msg(fabs(J[i * d + j] - J[j * d + i]) <= tolerance * scale,
                          "%s: J[%d,%d] = %.17g, J[%d,%d] = %.17g", what, (int)i, (int)j, J[i * d + j], (int)j, (int)i,
                          J[j * d + i]);
    MGN_ASSERT_OK(mgn_symmetric_eigen(J, d, values, vectors));
    ck_assert_msg(!mgn_model_is_monotone(model) || values[0] >= -tolerance * scale, "%s: eigenvalue %g", what,
                  values[0]);
}

/* Central differences of the map itself. */
static void check_differences(const mgn_model *model, mgn_device *device, const float *x, const double *J,
                              const char *what) {
    const int64_t d = mgn_model_get_config(model)->d;
    const double h = 1e-5;
    double at[ROWS * MOST_D], above[ROWS * MOST_D], below[ROWS * MOST_D];
    for (int64_t k = 0; k < d; k++) {
        for (int sign = -1; sign <= 1; sign += 2) {
            for (int64_t i = 0; i < ROWS * d; i++) at[i] = (double)x[i] + (i % d == k ? sign * h : 0);
            forward(model, device, MGN_F64, at, ROWS, sign < 0 ? below : above);
        }
        for (int64_t i = 0; i < ROWS; i++)
            for (int64_t j = 0; j < d; j++) {
                const double slope = (above[i * d + j] - below[i * d + j]) / (2 * h), found = J[(i * d + j) * d + k];
                ck_assert_msg(fabs(slope - found) <= 1e-6 * (1 + fabs(slope)),
                              "%s: row %d: dg_%d/dx_%d = %.10g, differences give %.10g", what, (int)i, (int)j, (int)k,
                              found, slope);
            }
    }
}

START_TEST(jacobian_is_symmetric_semidefinite_and_right) {
    mgn_test_random random = MGN_TEST_RANDOM();
    mgn_device *device = open_cpu();
    mgn_model *model = make_model((size_t)_i, 11);
    mgn_map *map = NULL;
    const int64_t d = configs[_i].d;
    float x[ROWS * MOST_D];
    double J[ROWS * MOST_D * MOST_D];
    draw_points(&random, ROWS * d, x);
    MGN_ASSERT_OK(mgn_map_create(model, device, MGN_F64, &map));
    MGN_ASSERT_OK(mgn_map_jacobian(map, x, ROWS, J));
    for (int64_t i = 0; i < ROWS; i++) check_definite(model, J + i * d * d, 1e-12, name_of((size_t)_i));
    check_differences(model, device, x, J, name_of((size_t)_i));
    mgn_map_destroy(map);
    mgn_model_destroy(model);
    mgn_device_close(device);
}
END_TEST

/* ---- potentials ---- */

/* Fourth-order differences of phi in exact float steps, against g. */
START_TEST(map_is_the_gradient_of_its_potential) {
    mgn_test_random random = MGN_TEST_RANDOM();
    mgn_device *device = open_cpu();
    mgn_model *model = make_model((size_t)_i, 13);
    mgn_map *map = NULL;
    const int64_t d = configs[_i].d;
    const double h = strcmp(configs[_i].kind, "dicnn") == 0 ? 0x1p-8 : 0x1p-6; /* its units bend 8 times as fast */
    float x[ROWS * MOST_D], at[ROWS * MOST_D];
    double base[ROWS * MOST_D], g[ROWS * MOST_D], phi[4][ROWS];
    static const int steps[4] = {-2, -1, 1, 2};
    draw_points(&random, ROWS * d, x);
    for (int64_t i = 0; i < ROWS * d; i++) base[i] = (double)x[i];
    forward(model, device, MGN_F64, base, ROWS, g);
    MGN_ASSERT_OK(mgn_map_create(model, device, MGN_F64, &map));
    const bool has_one = mgn_model_is_gradient(model);
    if (!has_one) MGN_ASSERT_FAILS(mgn_map_potential(map, x, 1, phi[0]), MGN_ERR_ARGUMENT, "no potential");
    for (int64_t k = 0; has_one && k < d; k++) {
        for (int s = 0; s < 4; s++) {
            for (int64_t i = 0; i < ROWS * d; i++) at[i] = (float)(base[i] + (i % d == k ? steps[s] * h : 0));
            MGN_ASSERT_OK(mgn_map_potential(map, at, ROWS, phi[s]));
        }
        for (int64_t i = 0; i < ROWS; i++) {
            const double slope = (phi[0][i] - 8 * phi[1][i] + 8 * phi[2][i] - phi[3][i]) / (12 * h);
            ck_assert_msg(fabs(slope - g[i * d + k]) <= 2e-5 * (1 + fabs(slope)),
                          "%s: row %d: g_%d = %.10g, phi rises by %.10g", name_of((size_t)_i), (int)i, (int)k,
                          g[i * d + k], slope);
        }
    }
    mgn_map_destroy(map);
    mgn_model_destroy(model);
    mgn_device_close(device);
}
END_TEST

START_TEST(closed_potentials_are_where_they_are_promised) {
    for (size_t i = 0; i < MGN_COUNT(configs); i++) {
        mgn_model *model = make_model(i, 1);
        const mgn_model_config *c = &configs[i];
        const bool smooth = c->activation != MGN_SOFTPLUS;
        const bool expected = strstr(c->kind, "icnn") || strstr(c->kind, "quad") || *c->kind == 'l' ||
                              (*c->kind == 'm' && smooth) || (c->layers == 1 && smooth && !c->signed_scales);
        ck_assert_msg(mgn_model_has_potential(model) == expected, "%s", name_of(i));
        mgn_model_destroy(model);
    }
}
END_TEST

/* ---- inverse ---- */

START_TEST(inverse_brings_back_what_was_mapped) {
    mgn_test_random random = MGN_TEST_RANDOM();
    mgn_device *device = open_cpu();
    mgn_model *model = make_model((size_t)_i, 17);
    mgn_map *map = NULL;
    const int64_t d = configs[_i].d;
    float x[ROWS * MOST_D], y[ROWS * MOST_D], back[ROWS * MOST_D];
    double residual[ROWS], J[ROWS * MOST_D * MOST_D], values[MOST_D], vectors[MOST_D * MOST_D];
    draw_points(&random, ROWS * d, x);
    MGN_ASSERT_OK(mgn_map_create(model, device, MGN_F64, &map));
    MGN_ASSERT_OK(mgn_map_apply(map, x, ROWS, y));
    MGN_ASSERT_OK(mgn_map_jacobian(map, x, ROWS, J));
    const int64_t rows = mgn_model_is_monotone(model) ? ROWS : 0;
    if (rows > 0)
        MGN_ASSERT_OK(mgn_map_inverse(map, y, rows, 1e-9, back, residual));
    else
        MGN_ASSERT_FAILS(mgn_map_inverse(map, y, 1, 1e-9, back, residual), MGN_ERR_ARGUMENT, "need not be monotone");
    for (int64_t i = 0; i < rows; i++) {
        double norm = 0, off = 0;
        for (int64_t j = 0; j < d; j++) {
            norm += (double)y[i * d + j] * (double)y[i * d + j];
            off += ((double)back[i * d + j] - (double)x[i * d + j]) * ((double)back[i * d + j] - (double)x[i * d + j]);
        }
        MGN_ASSERT_OK(mgn_symmetric_eigen(J + i * d * d, d, values, vectors));
        const double allowed = 4e-7 * (1 + sqrt(norm)) * (1 + 1 / values[0]); /* y and x are rounded to float */
        ck_assert_msg(residual[i] <= 1e-9 * (1 + sqrt(norm)), "%s: row %d: residual %g", name_of((size_t)_i), (int)i,
                      residual[i]);
        ck_assert_msg(sqrt(off) <= allowed, "%s: row %d is off by %g, %g allowed", name_of((size_t)_i), (int)i,
                      sqrt(off), allowed);
    }
    mgn_map_destroy(map);
    mgn_model_destroy(model);
    mgn_device_close(device);
}
END_TEST

START_TEST(inverse_outside_the_range_is_refused) {
    mgn_device *device = open_cpu();
    mgn_model *model = make_model(0, 1);
    mgn_map *map = NULL;
    const mgn_parameter *parameters = NULL;
    const size_t count = mgn_model_parameters(model, &parameters);
    for (size_t i = 0; i < count; i++) /* without V the map is bounded */
        for (int64_t j = 0; *parameters[i].label == 'V' && j < mgn_shape_count(parameters[i].shape); j++)
            mgn_model_values(model)[parameters[i].offset + j] = 0;
    const float y[2] = {1e6f, -1e6f};
    float x[2] = {5, 6};
    MGN_ASSERT_OK(mgn_map_create(model, device, MGN_F64, &map));
    MGN_ASSERT_FAILS(mgn_map_inverse(map, y, 1, 1e-6, x, NULL), MGN_ERR_NUMERIC, "no inverse found for row 0");
    ck_assert(x[0] == 5 && x[1] == 6);
    mgn_map_destroy(map);
    mgn_model_destroy(model);
    mgn_device_close(device);
}
END_TEST

/* ---- devices, sizes ---- */

static void check_device(const char *spec, mgn_dtype real, double tolerance) {
    mgn_test_random random = MGN_TEST_RANDOM();
    mgn_device *device = NULL, *cpu = open_cpu();
    MGN_ASSERT_OK(mgn_device_open(spec, &device));
    for (size_t m = 0; m < MGN_COUNT(configs); m++) {
        mgn_model *model = make_model(m, 19);
        mgn_map *map = NULL, *reference = NULL;
        const int64_t d = configs[m].d;
        float x[ROWS * MOST_D], y[ROWS * MOST_D];
        double exact[ROWS * MOST_D], at[ROWS * MOST_D], J[ROWS * MOST_D * MOST_D], J64[ROWS * MOST_D * MOST_D];
        draw_points(&random, ROWS * d, x);
        for (int64_t i = 0; i < ROWS * d; i++) at[i] = (double)x[i];
        forward(model, cpu, MGN_F64, at, ROWS, exact);
        MGN_ASSERT_OK(mgn_map_create(model, device, real, &map));
        MGN_ASSERT_OK(mgn_map_create(model, cpu, MGN_F64, &reference));
        MGN_ASSERT_OK(mgn_map_apply(map, x, ROWS, y));
        MGN_ASSERT_OK(mgn_map_jacobian(map, x, ROWS, J));
        MGN_ASSERT_OK(mgn_map_jacobian(reference, x, ROWS, J64));
        const double scale = 1 + largest(exact, ROWS * d), slope = 1 + largest(J64, ROWS * d * d);
        for (int64_t i = 0; i < ROWS * d; i++)
            ck_assert_msg(fabs((double)y[i] - exact[i]) <= tolerance * scale, "%s on %s: g[%d] = %.9g, expected %.9g",
                          name_of(m), spec, (int)i, (double)y[i], exact[i]);
        for (int64_t i = 0; i < ROWS * d * d; i++)
            ck_assert_msg(fabs(J[i] - J64[i]) <= tolerance * slope, "%s on %s: J[%d] = %.9g, expected %.9g", name_of(m),
                          spec, (int)i, J[i], J64[i]);
        for (int64_t i = 0; i < ROWS; i++) check_definite(model, J + i * d * d, 4 * tolerance, name_of(m));
        mgn_map_destroy(map);
        mgn_map_destroy(reference);
        mgn_model_destroy(model);
    }
    mgn_device_close(device);
    mgn_device_close(cpu);
}

START_TEST(cpu_in_single_precision) { check_device("cpu", MGN_F32, 2e-6); }
END_TEST

START_TEST(opencl_in_single_precision) {
    const char *spec = mgn_test_opencl_spec();
    if (!spec) MGN_TEST_SKIP("no OpenCL device");
    check_device(spec, MGN_F32, 2e-6);
}
END_TEST

/* Chunks, their remainders, and working in place give each row what it gets alone. */
static void check_row_counts(const char *spec) {
    static const int64_t counts[] = {0, 1, 2, 255, 256, 257, 4095, 65535, 65536, 65537, 70001};
    enum { MOST = 70001, D = 3 };
    mgn_test_random random = MGN_TEST_RANDOM();
    mgn_device *device = NULL;
    mgn_map *map = NULL;
    mgn_model *model = make_model(1, 23);
    float *x = malloc(MOST * D * sizeof *x), *y = malloc(MOST * D * sizeof *y),
          *whole = malloc(MOST * D * sizeof *whole);
    ck_assert(x && y && whole);
    draw_points(&random, MOST * D, x);
    MGN_ASSERT_OK(mgn_device_open(spec, &device));
    MGN_ASSERT_OK(mgn_map_create(model, device, MGN_F32, &map));
    MGN_ASSERT_OK(mgn_map_apply(map, x, MOST, whole));
    for (size_t c = 0; c < MGN_COUNT(counts); c++) {
        memcpy(y, x, MOST * D * sizeof *y);
        MGN_ASSERT_OK(mgn_map_apply(map, y, counts[c], y));
        for (int64_t i = 0; i < MOST * D; i++) {
            const float expected = i < counts[c] * D ? whole[i] : x[i];
            ck_assert_msg(fabsf(y[i] - expected) <= 1e-6f * (1 + fabsf(expected)),
                          "%d rows on %s: element %d is %g, expected %g", (int)counts[c], spec, (int)i, (double)y[i],
                          (double)expected);
        }
    }
    free(x);
    free(y);
    free(whole);
    mgn_map_destroy(map);
    mgn_model_destroy(model);
    mgn_device_close(device);
}

START_TEST(any_number_of_rows) { check_row_counts("cpu"); }
END_TEST

START_TEST(any_number_of_rows_on_opencl) {
    const char *spec = mgn_test_opencl_spec();
    if (!spec) MGN_TEST_SKIP("no OpenCL device");
    check_row_counts(spec);
}
END_TEST

START_TEST(a_result_that_is_not_finite_is_named) {
    mgn_device *device = open_cpu();
    mgn_model *model = make_model(1, 29);
    mgn_map *map = NULL;
    float x[4 * 3] = {0}, y[4 * 3];
    x[2 * 3 + 1] = NAN;
    MGN_ASSERT_OK(mgn_map_create(model, device, MGN_F32, &map));
    MGN_ASSERT_FAILS(mgn_map_apply(map, x, 4, y), MGN_ERR_NUMERIC, "row 2, column 0");
    ck_assert_int_eq(mgn_map_dimension(map), 3);
    mgn_map_destroy(map);
    mgn_model_destroy(model);
    mgn_device_close(device);
}
END_TEST

/* ---- parameters ---- */

START_TEST(parameter_counts_are_the_published_ones) {
    static const struct {
        mgn_model_config config;
        int64_t count;
    } rows[] = {
        {{.kind = "cmgn", .d = 2, .h = 2, .layers = 2}, 14},
        {{.kind = "mmgn", .d = 2, .h = 3, .layers = 2, .activation = MGN_TANH}, 24},
        {{.kind = "cmgn", .d = 3, .h = 3, .layers = 2}, 27},
        {{.kind = "mmgn", .d = 3, .h = 2, .layers = 2, .activation = MGN_TANH}, 28},
        {{.kind = "cmgn", .d = 784, .h = 512, .layers = 32, .v = MGN_V_GAUSSIAN}, 1033232},
        {{.kind = "icnn", .d = 2, .h = 1, .layers = 19, .activation = MGN_SOFTPLUS}, 76},
        {{.kind = "icgn", .d = 2, .h = 5, .layers = 1}, 15},
        {{.kind = "cgradnet", .d = 2, .h = 16, .layers = 2, .signed_scales = true}, 130},
        {{.kind = "cgradnet", .d = 2, .h = 7, .layers = 4}, 100},
        {{.kind = "mgradnet", .d = 2, .h = 7, .layers = 4}, 94},
    };
    for (size_t i = 0; i < MGN_COUNT(rows); i++) {
        mgn_model *model = NULL;
        const mgn_parameter *parameters = NULL;
        MGN_ASSERT_OK(mgn_model_create(&rows[i].config, 0, &model));
        ck_assert_int_eq(mgn_model_parameter_count(model), rows[i].count);
        int64_t end = 0;
        const size_t count = mgn_model_parameters(model, &parameters);
        for (size_t k = 0; k < count; k++) { /* the views lie one behind the other */
            ck_assert_int_eq(parameters[k].offset, end);
            end += mgn_shape_count(parameters[k].shape);
        }
        ck_assert_int_eq(end, rows[i].count);
        mgn_model_destroy(model);
    }
}
END_TEST

/* V of a model of d = 4; returns the largest |V V^T - I|. */
static double v_of(mgn_v_start start, uint64_t seed, double V[16]) {
    const mgn_model_config config = {.kind = "cmgn", .d = 4, .h = 2, .layers = 2, .v = start};
    mgn_model *model = NULL;
    const mgn_parameter *parameters = NULL;
    MGN_ASSERT_OK(mgn_model_create(&config, seed, &model));
    const size_t count = mgn_model_parameters(model, &parameters);
    for (size_t i = 0; i < count; i++)
        if (strcmp(parameters[i].label, "V") == 0)
            memcpy(V, mgn_model_values(model) + parameters[i].offset, 16 * sizeof *V);
    mgn_model_destroy(model);
    double most = 0;
    for (int i = 0; i < 4; i++)
        for (int j = 0; j < 4; j++) {
            double dot = i == j ? -1 : 0;
            for (int k = 0; k < 4; k++) dot += V[4 * i + k] * V[4 * j + k];
            most = fmax(most, fabs(dot));
        }
    return most;
}

START_TEST(v_starts_orthogonal_or_gaussian) {
    enum { SEEDS = 800 };
    double V[16], mean[16] = {0}, square[16] = {0};
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        ck_assert_double_le(v_of(MGN_V_ORTHOGONAL, seed, V), 1e-12);
        for (int i = 0; i < 16; i++) mean[i] += V[i] / SEEDS, square[i] += V[i] * V[i] / SEEDS;
        ck_assert_double_ge(v_of(MGN_V_GAUSSIAN, seed, V), 1e-3);
    }
    /* uniform over the orthogonal group: every entry has mean 0 and mean square 1/4; 5 standard errors */
    for (int i = 0; i < 16; i++) {
        ck_assert_double_le(fabs(mean[i]), 5 * 0.5 / sqrt(SEEDS));
        ck_assert_double_le(fabs(square[i] - 0.25), 5 * 0.25 / sqrt(SEEDS));
    }
}
END_TEST

START_TEST(seeds_decide_the_start) {
    for (size_t i = 0; i < MGN_COUNT(configs); i++) {
        mgn_model *a = make_model(i, 5), *b = make_model(i, 5), *c = make_model(i, 6), *copy = NULL;
        const size_t bytes = (size_t)mgn_model_parameter_count(a) * sizeof(double);
        MGN_ASSERT_OK(mgn_model_clone(a, &copy));
        ck_assert(memcmp(mgn_model_values(a), mgn_model_values(b), bytes) == 0);
        ck_assert(memcmp(mgn_model_values(a), mgn_model_values(copy), bytes) == 0);
        ck_assert(memcmp(mgn_model_values(a), mgn_model_values(c), bytes) != 0);
        mgn_model_destroy(a);
        mgn_model_destroy(b);
        mgn_model_destroy(c);
        mgn_model_destroy(copy);
    }
    mgn_model_destroy(NULL);
    mgn_map_destroy(NULL);
}
END_TEST

START_TEST(impossible_models_are_refused) {
    static const struct {
        mgn_model_config config;
        const char *sentence;
    } rows[] = {
        {{.kind = "cgmn", .d = 2, .h = 2, .layers = 2},
         "the model is one of cmgn, mmgn, icnn, icgn, cgradnet, mgradnet, dicnn, conv-cmgn, lse, maxquad; 'cgmn' was "
         "found"},
        {{.kind = "", .d = 2, .h = 2, .layers = 2}, "'' was found"},
        {{.kind = "cmgn", .d = 0, .h = 2, .layers = 2}, "d=0"},
        {{.kind = "cmgn", .d = 2, .h = -1, .layers = 2}, "h=-1"},
        {{.kind = "cmgn", .d = 2, .h = 2, .layers = 0}, "layers=0"},
        {{.kind = "cmgn", .d = 2, .h = 2, .layers = 257}, "1 to 256 layers"},
        {{.kind = "cmgn", .d = 16385, .h = 2, .layers = 2}, "d=16385"},
        {{.kind = "cmgn", .d = 2, .h = INT64_MAX, .layers = 2}, "h=9223372036854775807"},
        {{.kind = "mmgn", .d = 2, .h = 2, .layers = 2, .activation = MGN_SOFTPLUS},
         "softplus does not keep the map the gradient"},
        {{.kind = "cmgn", .d = 2, .h = 2, .layers = 2, .activation = (mgn_activation)9}, "activation"},
        {{.kind = "icnn", .d = 2, .h = 2, .layers = 2}, "logistic does not keep the map the gradient"},
        {{.kind = "cmgn", .d = 2, .h = 2, .layers = 2, .signed_scales = true}, "cmgn has no scales"},
        {{.kind = "cmgn", .d = 2, .h = 2, .layers = 2, .lipschitz = -1}, "-1 found"},
        {{.kind = "cmgn", .d = 2, .h = 2, .layers = 2, .lipschitz = INFINITY}, "inf found"},
        {{.kind = "mmgn", .d = 2, .h = 2, .layers = 2, .activation = MGN_TANH, .lipschitz = 1}, "grows without end"},
        {{.kind = "cmgn", .d = 4, .h = 2, .layers = 2, .image = {2, 2, 1}}, "does not look at rows as pictures"},
        {{.kind = "conv-cmgn", .d = 4, .h = 2, .layers = 2}, "0 x 0 x 0 and d=4 found"},
        {{.kind = "conv-cmgn", .d = 4, .h = 2, .layers = 2, .image = {2, 2, 2}, .kernel = 1},
         "2 x 2 x 2 and d=4 found"},
        {{.kind = "conv-cmgn", .d = 4, .h = 2, .layers = 2, .image = {INT64_MAX, 2, 2}, .kernel = 1}, "and d=4 found"},
        {{.kind = "conv-cmgn", .d = 4, .h = 2, .layers = 2, .image = {2, 2, 1}}, "kernel 0, stride 1 and padding 0"},
        {{.kind = "conv-cmgn", .d = 4, .h = 2, .layers = 2, .image = {2, 2, 1}, .kernel = 3}, "kernel 3,"},
        {{.kind = "conv-cmgn", .d = 4, .h = 2, .layers = 2, .image = {2, 2, 1}, .kernel = 2, .padding = 2},
         "padding 2"},
        {{.kind = "conv-cmgn", .d = 4, .h = 2, .layers = 2, .image = {2, 2, 1}, .kernel = 2, .stride = 3}, "stride 3"},
        {{.kind = "conv-cmgn", .d = 4, .h = 2, .layers = 2, .image = {2, 2, 1}, .kernel = INT64_MAX}, "kernel 9"},
        {{.kind = "icgn", .d = 2, .h = 2, .layers = 2, .lipschitz = 1}, "no Lipschitz bound can be kept"},
    };
    for (size_t i = 0; i < MGN_COUNT(rows); i++) {
        mgn_model *model = NULL;
        MGN_ASSERT_FAILS(mgn_model_create(&rows[i].config, 0, &model), MGN_ERR_ARGUMENT, rows[i].sentence);
        ck_assert_ptr_null(model);
    }
    mgn_activation activation = MGN_TANH;
    MGN_ASSERT_FAILS(mgn_activation_parse("relu", &activation), MGN_ERR_ARGUMENT, "'relu' was found");
    ck_assert_int_eq(activation, MGN_TANH);
}
END_TEST

int main(void) {
    mgn_test_opencl_spec();
    Suite *suite = suite_create("model");
    TCase *maps = tcase_create("maps"), *parameters = tcase_create("parameters");
    const int count = (int)MGN_COUNT(configs);
    tcase_add_loop_test(maps, forward_is_the_published_formula, 0, PLAIN);
    tcase_add_loop_test(maps, jacobian_is_symmetric_semidefinite_and_right, 0, count);
    tcase_add_loop_test(maps, map_is_the_gradient_of_its_potential, 0, count);
    tcase_add_loop_test(maps, inverse_brings_back_what_was_mapped, 0, count);
    tcase_add_test(maps, closed_potentials_are_where_they_are_promised);
    tcase_add_test(maps, inverse_outside_the_range_is_refused);
    tcase_add_test(maps, cpu_in_single_precision);
    tcase_add_test(maps, opencl_in_single_precision);
    tcase_add_test(maps, any_number_of_rows);
    tcase_add_test(maps, any_number_of_rows_on_opencl);
    tcase_add_test(maps, a_result_that_is_not_finite_is_named);
    tcase_add_test(parameters, parameter_counts_are_the_published_ones);
    tcase_add_test(parameters, v_starts_orthogonal_or_gaussian);
    tcase_add_test(parameters, seeds_decide_the_start);
    tcase_add_test(parameters, impossible_models_are_refused);
    suite_add_tcase(suite, maps);
    suite_add_tcase(suite, parameters);
    return mgn_test_main(suite);
}
