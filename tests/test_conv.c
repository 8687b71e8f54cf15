/* Convolutions as graphs are built of them, and what a convolutional C-MGN promises on pictures larger than `mgn check`
 * takes: a symmetric positive semidefinite Jacobian, a bound, and that it commutes with shifts. */
#include "harness.h"

#include <math.h>
#include <string.h>

#include <mgn/model.h>

#include "core/core.h"

enum { HEIGHT = 6, WIDTH = 5, CHANNELS = 3, D = HEIGHT * WIDTH * CHANNELS, ROWS = 3 };

static const mgn_model_config base = {
    .kind = "conv-cmgn", .d = D, .h = 4, .layers = 2, .image = {HEIGHT, WIDTH, CHANNELS}, .kernel = 3, .padding = 1};

static mgn_map *make_map(const mgn_model_config *config, uint64_t seed, mgn_device **device, mgn_model **model) {
    mgn_map *map = NULL;
    MGN_ASSERT_OK(mgn_device_open("cpu", device));
    MGN_ASSERT_OK(mgn_model_create(config, seed, model));
    MGN_ASSERT_OK(mgn_map_create(*model, *device, MGN_F64, &map));
    return map;
}

static void destroy(mgn_map *map, mgn_model *model, mgn_device *device) {
    mgn_map_destroy(map);
    mgn_model_destroy(model);
    mgn_device_close(device);
}

/* ---- graphs ---- */

START_TEST(what_does_not_fit_is_refused) {
    static const struct {
        int64_t x[4], w[4], stride, padding;
        const char *sentence;
    } rows[] = {
        {{2, 3, 5, 5}, {4, 2, 3, 3}, 1, 0, "conv: images (n, c, h, w), kernels (k, c, a, b)"},
        {{2, 3, 5, 5}, {4, 3, 6, 3}, 1, 0, "(2, 3, 5, 5) and (4, 3, 6, 3) with stride 1 and padding 0 found"},
        {{2, 3, 5, 5}, {4, 3, 3, 3}, 0, 0, "conv:"},
        {{2, 3, 5, 5}, {4, 3, 3, 3}, 1, -1, "conv:"},
        {{2, 3, 5, 5}, {4, 3, 3, 3}, INT64_MAX, 0, "conv:"},
        {{2, 3, 5, 5}, {4, 3, 3, 3}, 1, INT64_MAX, "conv:"},
        {{2, 3, 5, 5}, {0, 3, 3, 3}, 1, 0, "conv:"},
    };
    for (size_t i = 0; i < MGN_COUNT(rows); i++) {
        mgn_graph *graph = NULL;
        MGN_ASSERT_OK(mgn_graph_create(&graph));
        mgn_shape x = {4, {0}}, w = {4, {0}};
        memcpy(x.dim, rows[i].x, sizeof x.dim);
        memcpy(w.dim, rows[i].w, sizeof w.dim);
        mgn_node *out = mgn_conv(mgn_input(graph, "x", MGN_REAL, x), mgn_input(graph, "w", MGN_REAL, w), rows[i].stride,
                                 rows[i].padding);
        ck_assert_ptr_null(out);
        MGN_ASSERT_FAILS(mgn_graph_status(graph), MGN_ERR_ARGUMENT, rows[i].sentence);
        mgn_graph_destroy(graph);
    }
}
END_TEST

START_TEST(a_transpose_has_the_size_that_is_asked_for) {
    mgn_graph *graph = NULL;
    MGN_ASSERT_OK(mgn_graph_create(&graph));
    mgn_node *y = mgn_input(graph, "y", MGN_REAL, MGN_SHAPE(2, 4, 3, 3));
    mgn_node *w = mgn_input(graph, "w", MGN_REAL, MGN_SHAPE(4, 1, 3, 3));
    for (int64_t side = 7; side <= 8; side++) /* of both, every second pixel gives 3 results */
        ck_assert_int_eq(mgn_node_shape(mgn_conv_transpose(y, w, 2, 0, side, side)).dim[2], side);
    ck_assert_ptr_null(mgn_conv_transpose(y, w, 2, 0, 9, 8));
    MGN_ASSERT_FAILS(mgn_graph_status(graph), MGN_ERR_ARGUMENT, "conv_transpose: images");
    mgn_graph_destroy(graph);
}
END_TEST

START_TEST(shapes_are_read) {
    static const struct {
        const char *text;
        mgn_image_shape shape;
    } rows[] = {{"32x32x3", {32, 32, 3}}, {"28x20", {28, 20, 1}}, {"1x1x1", {1, 1, 1}}};
    static const char *const wrong[] = {"",      "3",    "3x",    "x3",        "3x2x",   "3x2x1x1",
                                        "3 x 2", "3x-2", "3x2x0", "3x2000000", "3x2x1 ", "3x99999999999999999999"};
    mgn_image_shape shape = {7, 7, 7};
    for (size_t i = 0; i < MGN_COUNT(wrong); i++) {
        MGN_ASSERT_FAILS(mgn_image_shape_parse(wrong[i], &shape), MGN_ERR_ARGUMENT, "such as 32x32x3");
        ck_assert(shape.height == 7 && shape.channels == 7);
    }
    for (size_t i = 0; i < MGN_COUNT(rows); i++) {
        MGN_ASSERT_OK(mgn_image_shape_parse(rows[i].text, &shape));
        ck_assert(memcmp(&shape, &rows[i].shape, sizeof shape) == 0);
    }
}
END_TEST

/* ---- the model ---- */

START_TEST(jacobians_are_symmetric_semidefinite_and_bounded) {
    mgn_test_random random = MGN_TEST_RANDOM();
    const mgn_model_config configs[] = {base,
                                        {.kind = "conv-cmgn",
                                         .d = D,
                                         .h = 5,
                                         .layers = 3,
                                         .activation = MGN_TANH,
                                         .v = MGN_V_GAUSSIAN,
                                         .image = base.image,
                                         .kernel = 5,
                                         .stride = 2,
                                         .padding = 2},
                                        {.kind = "conv-cmgn",
                                         .d = D,
                                         .h = 3,
                                         .layers = 1,
                                         .image = base.image,
                                         .kernel = 4,
                                         .stride = 3,
                                         .position_biases = true,
                                         .lipschitz = 0.3}};
    for (size_t i = 0; i < MGN_COUNT(configs); i++) {
        mgn_device *device = NULL;
        mgn_model *model = NULL;
        mgn_map *map = make_map(&configs[i], mgn_test_bits(&random), &device, &model);
        mgn_jacobian_stats stats;
        float x[ROWS * D];
        for (int j = 0; j < ROWS * D; j++) x[j] = (float)mgn_test_normal(&random);
        MGN_ASSERT_OK(mgn_map_jacobian_stats(map, x, ROWS, &stats));
        ck_assert_msg(stats.asymmetry < 1e-13 && stats.nonmonotone == 0, "model %d: asymmetry %g, eigenvalues from %g",
                      (int)i, stats.asymmetry, stats.smallest);
        ck_assert_double_gt(stats.largest, 0.01);
        if (configs[i].lipschitz > 0) ck_assert_double_le(stats.largest, configs[i].lipschitz * (1 + 1e-12));
        destroy(map, model, device);
    }
}
END_TEST

/* An orthogonal V alone is the picture itself. */
START_TEST(without_units_the_picture_stays) {
    mgn_device *device = NULL;
    mgn_model *model = NULL;
    mgn_map *map = make_map(&base, 5, &device, &model);
    const mgn_parameter *parameters = NULL;
    const size_t count = mgn_model_parameters(model, &parameters);
    double *values = mgn_model_values(model), *last = values + parameters[count - 1].offset;
    memset(values, 0, (size_t)mgn_shape_count(parameters[0].shape) * sizeof *values); /* W */
    mgn_map_destroy(map);
    MGN_ASSERT_OK(mgn_map_create(model, device, MGN_F64, &map));
    float x[D], y[D];
    for (int j = 0; j < D; j++) x[j] = (float)j / D;
    MGN_ASSERT_OK(mgn_map_apply(map, x, 1, y));
    for (int j = 0; j < D; j++) ck_assert_float_eq_tol(y[j], x[j] + (float)last[j % CHANNELS], 1e-6f);
    destroy(map, model, device);
}
END_TEST

/* A spot far from the border, one pixel on: so is its image, but for what the border sees. */
START_TEST(shared_biases_commute_with_shifts) {
    enum { SIDE = 12, PIXELS = SIDE * SIDE };
    const mgn_model_config config = {
        .kind = "conv-cmgn", .d = PIXELS, .h = 3, .layers = 2, .image = {SIDE, SIDE, 1}, .kernel = 3, .padding = 1};
    mgn_device *device = NULL;
    mgn_model *model = NULL;
    mgn_map *map = make_map(&config, 9, &device, &model);
    float x[2][PIXELS] = {{0}}, y[2][PIXELS];
    x[0][5 * SIDE + 5] = x[1][6 * SIDE + 6] = 2;
    x[0][5 * SIDE + 6] = x[1][6 * SIDE + 7] = -1;
    MGN_ASSERT_OK(mgn_map_apply(map, x[0], 2, y[0]));
    for (int i = 3; i < SIDE - 4; i++)
        for (int j = 3; j < SIDE - 4; j++)
            ck_assert_float_eq_tol(y[0][i * SIDE + j], y[1][(i + 1) * SIDE + j + 1], 1e-6f);
    ck_assert_float_gt(fabsf(y[0][5 * SIDE + 5] - y[0][3 * SIDE + 3]), 1e-2f);
    destroy(map, model, device);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("conv");
    TCase *graphs = tcase_create("graphs"), *models = tcase_create("models");
    tcase_add_test(graphs, what_does_not_fit_is_refused);
    tcase_add_test(graphs, a_transpose_has_the_size_that_is_asked_for);
    tcase_add_test(graphs, shapes_are_read);
    tcase_add_test(models, jacobians_are_symmetric_semidefinite_and_bounded);
    tcase_add_test(models, without_units_the_picture_stays);
    tcase_add_test(models, shared_biases_commute_with_shifts);
    suite_add_tcase(suite, graphs);
    suite_add_tcase(suite, models);
    return mgn_test_main(suite);
}
