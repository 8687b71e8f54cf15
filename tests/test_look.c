/* Looks and tables of colours: non-negative least squares against its optimality conditions, each part of a look against
 * plain arithmetic, what files keep, and interpolated tables against the map. */
#include "pictures.h"

#include <stdio.h>

#include <mgn/device.h>
#include <mgn/look.h>
#include <mgn/recolor.h>

#include "ot/ot.h"
#include "recolor/recolor.h"

enum { COLOURS = 400 };

static mgn_device *device;

static void open_device(void) { MGN_ASSERT_OK(mgn_device_open("cpu", &device)); }
static void close_device(void) { mgn_device_close(device); }

/* ---- non-negative least squares ---- */

/* At the optimum slopes are 0 where a > 0, and not positive where a = 0. */
START_TEST(nnls_meets_its_conditions) {
    enum { N = 12, ROWS = 30 };
    mgn_test_random random = MGN_TEST_RANDOM();
    for (int trial = 0; trial < 20; trial++) {
        double Z[ROWS][N], y[ROWS], gram[N * N] = {0}, moment[N] = {0}, a[N];
        int positive = 0;
        for (int i = 0; i < ROWS; i++) {
            y[i] = mgn_test_normal(&random);
            for (int j = 0; j < N; j++) Z[i][j] = mgn_test_normal(&random);
        }
        for (int j = 0; j < N; j++)
            for (int i = 0; i < ROWS; i++) {
                moment[j] += Z[i][j] * y[i];
                for (int k = 0; k < N; k++) gram[j * N + k] += Z[i][j] * Z[i][k];
            }
        MGN_ASSERT_OK(mgn_nnls(gram, moment, N, N, a));
        for (int j = 0; j < N; j++) {
            double slope = moment[j];
            for (int k = 0; k < N; k++) slope -= gram[j * N + k] * a[k];
            ck_assert_double_ge(a[j], 0);
            if (a[j] > 0) ck_assert_double_le(fabs(slope), 1e-8);
            ck_assert_double_le(slope, 1e-6);
            positive += a[j] > 0;
        }
        ck_assert_int_gt(positive, 0);
        MGN_ASSERT_OK(mgn_nnls(gram, moment, N, 2, a));
        positive = 0;
        for (int j = 0; j < N; j++) positive += a[j] > 0;
        ck_assert_int_le(positive, 2);
    }
}
END_TEST

/* Two equal columns: one of them does. */
START_TEST(nnls_takes_columns_that_depend) {
    const double gram[4] = {2, 2, 2, 2}, moment[2] = {4, 4};
    double a[2];
    MGN_ASSERT_OK(mgn_nnls(gram, moment, 2, 2, a));
    ck_assert_double_eq_tol(a[0] + a[1], 2, 1e-9);
}
END_TEST

/* ---- looks ---- */

/* g(x) = slope x + shift, nearly: saturating units far from their ends. */
static mgn_model *make_linear(double slope, double shift) {
    const mgn_model_config config = {.kind = "mmgn", .d = 3, .h = 1, .layers = 1, .activation = MGN_TANH};
    mgn_model *model = NULL;
    MGN_ASSERT_OK(mgn_model_create(&config, 1, &model));
    const mgn_parameter *parameters = NULL;
    const size_t count = mgn_model_parameters(model, &parameters);
    double *values = mgn_model_values(model);
    for (size_t i = 0; i < count; i++) {
        double *at = values + parameters[i].offset;
        for (int64_t k = 0; k < mgn_shape_count(parameters[i].shape); k++) at[k] = 0;
        for (int64_t k = 0; *parameters[i].label == 'V' && k < 3; k++) at[4 * k] = sqrt(slope);
        for (int64_t k = 0; i + 1 == count && k < 3; k++) at[k] = shift;
    }
    return model;
}

static void draw(float *colours) {
    mgn_test_random random = MGN_TEST_RANDOM();
    for (int i = 0; i < 3 * COLOURS; i++) colours[i] = (float)mgn_test_uniform(&random, 0, 1);
}

static void look_at(const mgn_model *model, const mgn_look *look, const float *x, float *y) {
    mgn_map *map = NULL;
    MGN_ASSERT_OK(mgn_look_map(model, device, look, &map));
    MGN_ASSERT_OK(mgn_map_apply(map, x, COLOURS, y));
    mgn_map_destroy(map);
}

/* With strength 0, and with the identity, every space gives the colour back. */
START_TEST(spaces_go_there_and_back) {
    float x[3 * COLOURS], y[3 * COLOURS];
    mgn_model *identity = make_linear(1, 0), *other = make_linear(0.5, 0.1);
    draw(x);
    for (int space = 0; mgn_colour_space_name((mgn_colour_space)space); space++)
        for (int i = 0; i < 2; i++) {
            mgn_look look = MGN_LOOK;
            look.space = (mgn_colour_space)space;
            look.strength = i;
            look_at(i ? identity : other, &look, x, y);
            for (int k = 0; k < 3 * COLOURS; k++) ck_assert_double_eq_tol((double)y[k], (double)x[k], 3e-5);
        }
    mgn_model_destroy(identity);
    mgn_model_destroy(other);
}
END_TEST

/* Oklab of sRGB's red, as published (L .628, a .2249, b .1258); linear light of mid grey. */
START_TEST(spaces_have_known_values) {
    float red[3] = {1, 0, 0}, grey[3] = {0.5f, 0.5f, 0.5f};
    mgn_colour_to_space(MGN_SPACE_OKLAB, red, 1);
    ck_assert_double_eq_tol((double)red[0], 0.6280, 1e-4);
    ck_assert_double_eq_tol((double)red[1], 0.2249, 1e-4);
    ck_assert_double_eq_tol((double)red[2], 0.1258, 1e-4);
    mgn_colour_to_space(MGN_SPACE_LINEAR, grey, 1);
    ck_assert_double_eq_tol((double)grey[1], 0.214041, 1e-5);
}
END_TEST

START_TEST(strength_is_the_way_between) {
    float x[3 * COLOURS], y[3 * COLOURS];
    mgn_model *model = make_linear(0.5, 0.1);
    mgn_look look = MGN_LOOK;
    look.strength = 0.25;
    draw(x);
    look_at(model, &look, x, y);
    for (int k = 0; k < 3 * COLOURS; k++)
        ck_assert_double_eq_tol((double)y[k], 0.75 * (double)x[k] + 0.25 * (0.5 * (double)x[k] + 0.1), 1e-6);
    mgn_model_destroy(model);
}
END_TEST

/* Luma stays, and nothing leaves the gamut for it. */
START_TEST(luma_is_kept) {
    float x[3 * COLOURS], y[3 * COLOURS];
    mgn_model *model = make_linear(2.5, -0.6);
    mgn_look look = MGN_LOOK;
    look.protect_luma = true;
    draw(x);
    look_at(model, &look, x, y);
    for (int i = 0; i < COLOURS; i++) {
        const float *a = x + 3 * i, *b = y + 3 * i;
        ck_assert_double_eq_tol(0.2126 * (double)a[0] + 0.7152 * (double)a[1] + 0.0722 * (double)a[2],
                                0.2126 * (double)b[0] + 0.7152 * (double)b[1] + 0.0722 * (double)b[2], 1e-5);
        for (int k = 0; k < 3; k++) ck_assert(b[k] > -1e-5f && b[k] < 1 + 1e-5f);
    }
    mgn_model_destroy(model);
}
END_TEST

/* What leaves [0, 1] is bent back, in order; what stays inside is left alone. */
START_TEST(the_gamut_is_reached_smoothly) {
    float x[3 * COLOURS], y[3 * COLOURS];
    for (int i = 0; i < 3 * COLOURS; i++) x[i] = (float)(i / 3) / (COLOURS - 1);
    mgn_model *wide = make_linear(1.5, -0.2), *inside = make_linear(0.5, 0.2);
    mgn_look look = MGN_LOOK;
    MGN_ASSERT_OK(mgn_look_measure(wide, device, x, COLOURS, &look));
    ck_assert_double_eq_tol(look.low[0], -0.2, 1e-5);
    ck_assert_double_eq_tol(look.high[2], 1.3, 1e-5);
    look_at(wide, &look, x, y);
    ck_assert_double_eq_tol((double)y[0], 0, 1e-5);
    ck_assert_double_eq_tol((double)y[3 * COLOURS - 1], 1, 1e-5);
    double last = 0;
    for (int i = 1; i < COLOURS; i++) {
        const double step = (double)(y[3 * i] - y[3 * i - 3]), straight = 1.5 / (COLOURS - 1);
        const double before = 1.5 * (double)x[3 * i - 3] - 0.2, after = 1.5 * (double)x[3 * i] - 0.2;
        ck_assert_double_gt(step, 0);
        if (i > 1) ck_assert_double_le(fabs(step - last), 0.4 * straight); /* no kink */
        last = step;
        if (before > 0.2 && after < 0.8) {
            ck_assert_double_eq_tol(step, straight, 1e-6);
            ck_assert_double_eq_tol((double)y[3 * i], after, 1e-5);
        }
    }
    look = MGN_LOOK;
    MGN_ASSERT_OK(mgn_look_measure(inside, device, x, COLOURS, &look));
    ck_assert(look.low[1] == 0 && look.high[1] == 1);
    mgn_model_destroy(wide);
    mgn_model_destroy(inside);
}
END_TEST

/* A few colours far outside do not press all others together. */
START_TEST(outliers_are_clipped) {
    enum { MANY = 6000, FAR = 10 };
    mgn_test_random random = MGN_TEST_RANDOM();
    float *x = malloc(3 * MANY * sizeof *x);
    mgn_model *wide = make_linear(1.5, -0.2);
    mgn_look look = MGN_LOOK;
    for (int i = 0; i < 3 * MANY; i++)
        x[i] = i < 3 * FAR ? (float)(2 * (i % 2)) : (float)mgn_test_uniform(&random, 0.1, 0.9);
    MGN_ASSERT_OK(mgn_look_measure(wide, device, x, MANY, &look));
    for (int k = 0; k < 3; k++) { /* images from -.05 to 1.15, but for those at -.2 and 2.8 */
        ck_assert(look.low[k] < -0.03 && look.low[k] > -0.06);
        ck_assert(look.high[k] > 1.13 && look.high[k] < 1.16);
    }
    free(x);
    mgn_model_destroy(wide);
}
END_TEST

START_TEST(files_keep_looks) {
    mgn_model *model = make_linear(0.9, 0.05), *back = NULL;
    mgn_look look = {MGN_SPACE_OKLAB, 0.7, true, {-0.1, 0, -0.25}, {1, 1.125, 1}}, found;
    const char *path = mgn_test_path("look.safetensors");
    MGN_ASSERT_OK(mgn_look_save(model, &look, path));
    MGN_ASSERT_OK(mgn_look_load(path, &back, &found));
    ck_assert(found.space == look.space && found.protect_luma);
    ck_assert_double_eq(found.strength, 0.7);
    for (int k = 0; k < 3; k++) {
        ck_assert_double_eq_tol(found.low[k], look.low[k], 1e-9);
        ck_assert_double_eq_tol(found.high[k], look.high[k], 1e-9);
    }
    mgn_model_destroy(back);
    MGN_ASSERT_OK(mgn_model_save(model, path));
    MGN_ASSERT_OK(mgn_look_load(path, &back, &found));
    ck_assert(found.space == MGN_SPACE_SRGB && found.strength == 1 && !found.protect_luma);
    mgn_model_destroy(back);
    look.strength = 2;
    MGN_ASSERT_FAILS(mgn_look_save(model, &look, path), MGN_ERR_ARGUMENT, "a strength from 0 to 1");
    mgn_model_destroy(model);
}
END_TEST

/* ---- tables ---- */

/* Trilinear interpolation in a table as other programs do it. */
static double trilinear(const float *table, int size, const float x[3], int channel) {
    double place[3], sum = 0;
    int cell[3];
    for (int k = 0; k < 3; k++) {
        place[k] = (double)x[k] * (size - 1);
        cell[k] = (int)fmin(place[k], size - 2);
        place[k] -= cell[k];
    }
    for (int corner = 0; corner < 8; corner++) {
        double share = 1;
        int at[3];
        for (int k = 0; k < 3; k++) {
            const int up = corner >> k & 1;
            share *= up ? place[k] : 1 - place[k];
            at[k] = cell[k] + up;
        }
        sum += share * (double)table[3 * (at[0] + size * (at[1] + size * at[2])) + channel];
    }
    return sum;
}

/* The same along the tetrahedron that x lies in: from the cell's least corner along the axes, the longest way first. */
static double tetrahedral(const float *table, int size, const float x[3], int channel) {
    const int step[3] = {1, size, size * size};
    double place[3], sum;
    int at = 0;
    for (int k = 0; k < 3; k++) {
        const double along = (double)x[k] * (size - 1);
        const int cell = (int)fmin(along, size - 2);
        place[k] = along - cell;
        at += cell * step[k];
    }
    sum = (double)table[3 * at + channel];
    for (int turn = 0; turn < 3; turn++) {
        int longest = 0;
        for (int k = 1; k < 3; k++)
            if (place[k] > place[longest]) longest = k;
        const double before = (double)table[3 * at + channel];
        at += step[longest];
        sum += place[longest] * ((double)table[3 * at + channel] - before);
        place[longest] = -1;
    }
    return sum;
}

typedef double interpolation(const float *table, int size, const float x[3], int channel);

/* Largest and mean difference in levels of 8 bits between the map and what a table gives. */
static void compare_to_map(interpolation *by, const float *table, int size, const float *x, const float *y, int64_t n,
                           double *worst, double *mean) {
    *worst = *mean = 0;
    for (int64_t i = 0; i < 3 * n; i++) {
        const double exact = fmin(fmax((double)y[i], 0), 1);
        const double found = fmin(fmax(by(table, size, x + i / 3 * 3, (int)(i % 3)), 0), 1);
        const double error = 255 * fabs(found - exact);
        *worst = fmax(*worst, error);
        *mean += error / (double)(3 * n);
    }
}

static int read_cube(const char *path, float **table) {
    FILE *file = fopen(path, "r");
    char line[128];
    int size = 0, filled = 0;
    ck_assert_ptr_nonnull(file);
    while (fgets(line, sizeof line, file)) {
        float c[3];
        if (sscanf(line, "LUT_3D_SIZE %d", &size) == 1)
            *table = malloc((size_t)(size * size * size) * 3 * sizeof(float));
        if (size == 0 || sscanf(line, "%f %f %f", &c[0], &c[1], &c[2]) != 3) continue;
        ck_assert_int_lt(filled, size * size * size);
        memcpy(*table + 3 * filled++, c, sizeof c);
    }
    fclose(file);
    ck_assert_int_eq(filled, size * size * size);
    return size;
}

/* The default look of the assets, and all the colours of its source as a picture (n, 3). */
static void learn_look(mgn_model **model, mgn_map **map, mgn_matrix *colours) {
    const char *assets[] = {"assets/day_picos_mountains.jpg", "assets/sunset_hilltop.jpg"};
    mgn_image *pictures[2] = {NULL};
    mgn_look look = MGN_LOOK;
    const mgn_recolor_config config = {.pixels = true, .smoothness = 0.6};
    for (int i = 0; i < 2; i++) MGN_ASSERT_OK(mgn_image_read(mgn_test_source(assets[i]), &pictures[i]));
    MGN_ASSERT_OK(mgn_recolor_learn(pictures[0], pictures[1], device, &config, model, NULL));
    MGN_ASSERT_OK(mgn_image_palette(pictures[0], 0, 0, colours));
    MGN_ASSERT_OK(mgn_look_measure(*model, device, colours->values, colours->rows, &look));
    ck_assert(look.low[0] < 0 && look.high[0] > 1); /* its way into the gamut is part of what is tested */
    MGN_ASSERT_OK(mgn_look_map(*model, device, &look, map));
    for (int i = 0; i < 2; i++) mgn_image_destroy(pictures[i]);
}

/* All pixels, and colours from the whole cube: 2 levels at most, by either interpolation. */
START_TEST(tables_are_the_map) {
    enum { CUBE = 100000 };
    mgn_test_random random = MGN_TEST_RANDOM();
    mgn_model *model = NULL;
    mgn_map *map = NULL;
    mgn_matrix sets[2] = {{0}};
    float *table = NULL;
    learn_look(&model, &map, &sets[0]);
    MGN_ASSERT_OK(mgn_matrix_create(CUBE, 3, &sets[1]));
    for (int64_t i = 0; i < 3 * CUBE; i++) sets[1].values[i] = (float)mgn_test_uniform(&random, 0, 1);
    MGN_ASSERT_OK(mgn_lut_write(map, 33, mgn_test_path("map.cube")));
    const int size = read_cube(mgn_test_path("map.cube"), &table);
    ck_assert_int_eq(size, 33);
    interpolation *const kinds[] = {trilinear, tetrahedral};
    for (int set = 0; set < 2; set++) {
        float *y = malloc((size_t)sets[set].rows * 3 * sizeof *y);
        MGN_ASSERT_OK(mgn_map_apply(map, sets[set].values, sets[set].rows, y));
        for (int kind = 0; kind < 2; kind++) {
            double worst, mean;
            compare_to_map(kinds[kind], table, size, sets[set].values, y, sets[set].rows, &worst, &mean);
            ck_assert_msg(worst <= 2 && mean <= 0.3,
                          "%s, %s: the table of 33 is %.3f levels from the map, %.4f on average",
                          set ? "cube" : "picture", kind ? "tetrahedral" : "trilinear", worst, mean);
        }
        free(y);
        mgn_matrix_free(&sets[set]);
    }
    free(table);
    mgn_map_destroy(map);
    mgn_model_destroy(model);
}
END_TEST

/* Fitted nodes are closer to the map than samples of it would be: by either interpolation, on the whole. */
START_TEST(tables_are_fitted) {
    enum { SIZE = 9, N = SIZE * SIZE * SIZE, POINTS = 20000 };
    mgn_test_random random = MGN_TEST_RANDOM();
    mgn_model *model = NULL;
    mgn_map *map = NULL;
    mgn_matrix colours = {0};
    float samples[3 * N], *fitted = NULL, *x = malloc(POINTS * 3 * sizeof *x), *y = malloc(POINTS * 3 * sizeof *y);
    learn_look(&model, &map, &colours);
    mgn_matrix_free(&colours);
    for (int i = 0; i < 3 * N; i++) samples[i] = (float)(i / 3 / (int)pow(SIZE, i % 3) % SIZE) / (SIZE - 1);
    for (int i = 0; i < 3 * POINTS; i++) x[i] = (float)mgn_test_uniform(&random, 0, 1);
    MGN_ASSERT_OK(mgn_map_apply(map, samples, N, samples));
    for (int i = 0; i < 3 * N; i++) samples[i] = fminf(fmaxf(samples[i], 0), 1);
    MGN_ASSERT_OK(mgn_map_apply(map, x, POINTS, y));
    MGN_ASSERT_OK(mgn_lut_values(map, SIZE, true, &fitted));
    interpolation *const kinds[] = {trilinear, tetrahedral};
    for (int kind = 0; kind < 2; kind++) {
        double worst[2], mean[2];
        compare_to_map(kinds[kind], samples, SIZE, x, y, POINTS, &worst[0], &mean[0]);
        compare_to_map(kinds[kind], fitted, SIZE, x, y, POINTS, &worst[1], &mean[1]);
        ck_assert_msg(worst[1] < 0.8 * worst[0] && mean[1] < 0.7 * mean[0],
                      "interpolation %d: fitted %g and %g, sampled %g and %g levels", kind, worst[1], mean[1], worst[0],
                      mean[0]);
    }
    mgn_free(fitted);
    free(x);
    free(y);
    mgn_map_destroy(map);
    mgn_model_destroy(model);
}
END_TEST

/* A HaldCLUT holds the values of a table of its size, row after row. */
START_TEST(hald_pictures_are_tables) {
    mgn_model *model = make_linear(1.2, -0.1);
    mgn_map *map = NULL;
    mgn_image *hald = NULL;
    float *values = NULL, rgb[3 * 64 * 64];
    MGN_ASSERT_OK(mgn_look_map(model, device, &MGN_LOOK, &map));
    MGN_ASSERT_OK(mgn_lut_values(map, 16, true, &values));
    MGN_ASSERT_OK(mgn_lut_write(map, 16, mgn_test_path("map.png")));
    MGN_ASSERT_OK(mgn_image_read(mgn_test_path("map.png"), &hald));
    ck_assert(hald->width == 64 && hald->height == 64 && hald->depth == 16);
    mgn_image_to_rgb(hald, rgb);
    for (int i = 0; i < 3 * 64 * 64; i++) ck_assert_double_eq_tol((double)rgb[i], (double)values[i], 1e-5);
    MGN_ASSERT_FAILS(mgn_lut_write(map, 17, mgn_test_path("map.png")), MGN_ERR_ARGUMENT, "square of its level");
    MGN_ASSERT_FAILS(mgn_lut_write(map, 300, mgn_test_path("map.cube")), MGN_ERR_ARGUMENT, "2 to 256");
    mgn_free(values);
    mgn_image_destroy(hald);
    mgn_map_destroy(map);
    mgn_model_destroy(model);
}
END_TEST

/* Smoothness trades the palette's distance for the cost of leaving the linear map. */
START_TEST(smoothness_trades) {
    mgn_image *pictures[2] = {NULL};
    mgn_recolor_quality quality[3];
    const double smoothness[3] = {0, 0.6, 1};
    MGN_ASSERT_OK(mgn_image_read(mgn_test_source("assets/day_picos_mountains.jpg"), &pictures[0]));
    MGN_ASSERT_OK(mgn_image_read(mgn_test_source("assets/sunset_hilltop.jpg"), &pictures[1]));
    for (int i = 0; i < 3; i++) {
        const mgn_recolor_config config = {.pixels = true, .smoothness = smoothness[i]};
        mgn_model *model = NULL;
        mgn_map *map = NULL;
        MGN_ASSERT_OK(mgn_recolor_learn(pictures[0], pictures[1], device, &config, &model, NULL));
        ck_assert(mgn_model_is_monotone(model));
        MGN_ASSERT_OK(mgn_look_map(model, device, &MGN_LOOK, &map));
        MGN_ASSERT_OK(mgn_recolor_measure(map, pictures[0], pictures[1], 1, &quality[i]));
        mgn_map_destroy(map);
        mgn_model_destroy(model);
    }
    ck_assert_double_lt(quality[0].w2_after, quality[1].w2_after);
    ck_assert_double_lt(quality[1].w2_after, quality[2].w2_after);
    ck_assert_double_lt(quality[0].w2_after, 0.05 * quality[0].w2_before);
    for (int i = 0; i < 2; i++) mgn_image_destroy(pictures[i]);
}
END_TEST

/* Rows whose colours spread by 0.15 along grey, and by `spread` between red and blue. */
static void fill_palette(double spread, mgn_test_random *random, mgn_matrix *palette) {
    MGN_ASSERT_OK(mgn_matrix_create(3000, 3, palette));
    for (int64_t i = 0; i < palette->rows; i++) {
        const double grey = 0.5 + 0.15 * mgn_test_normal(random), hue = spread * mgn_test_normal(random) / sqrt(2);
        const double colour[3] = {grey + hue, grey, grey - hue};
        for (int64_t j = 0; j < 3; j++) palette->values[3 * i + j] = (float)colour[j];
    }
}

/* A hue that spreads by 0.01 is to spread by 0.1: ten times, unless there is a limit. */
START_TEST(stretches_no_more_than_is_allowed) {
    const double allowed[] = {0, 2, 3, 1000}, found[] = {4.5, 2, 3, 10};
    mgn_test_random random = MGN_TEST_RANDOM();
    mgn_matrix source = {0}, target = {0};
    fill_palette(0.01, &random, &source);
    fill_palette(0.1, &random, &target);
    for (size_t i = 0; i < MGN_COUNT(allowed); i++) {
        const mgn_recolor_config config = {.pixels = true, .smoothness = 1, .stretch = allowed[i]};
        float colours[6] = {0.52F, 0.5F, 0.48F, 0.48F, 0.5F, 0.52F};
        mgn_model *model = NULL;
        mgn_map *map = NULL;
        MGN_ASSERT_OK(mgn_recolor_learn_palettes(&source, &target, device, &config, &model, NULL));
        MGN_ASSERT_OK(mgn_map_create(model, device, MGN_F32, &map));
        MGN_ASSERT_OK(mgn_map_apply(map, colours, 2, colours));
        ck_assert_double_eq_tol((double)(colours[0] - colours[3]) / 0.04, found[i], 0.08 * found[i]);
        ck_assert_double_eq_tol((double)(colours[2] - colours[5]) / 0.04, -found[i], 0.08 * found[i]);
        mgn_map_destroy(map);
        mgn_model_destroy(model);
    }
    mgn_matrix_free(&source);
    mgn_matrix_free(&target);
}
END_TEST

/* Behind a black mask nothing changes; colours are learned from the white part alone. */
START_TEST(masks_keep_what_they_cover) {
    mgn_test_random random = MGN_TEST_RANDOM();
    mgn_image *before = make_noise(40, 30, 3, 8, &random), *mask = make(40, 30, 1, 8), *after = NULL, *wrong = NULL;
    mgn_matrix palette = {0};
    MGN_ASSERT_OK(mgn_image_clone_colour(before, &after));
    for (size_t i = 0; i < samples(after); i++) set(after, i, 255 - sample(before, i));
    for (size_t i = 0; i < samples(mask); i++) set(mask, i, i < 600 ? 255 : 0);
    MGN_ASSERT_OK(mgn_mask_palette(before, mask, 1, &palette));
    ck_assert_int_eq(palette.rows, 600);
    for (int64_t i = 0; i < 1800; i++)
        ck_assert_double_eq_tol(255 * (double)palette.values[i], sample(before, (size_t)i), 1e-3);
    MGN_ASSERT_OK(mgn_mask_blend(before, mask, after));
    for (size_t i = 0; i < samples(after); i++)
        ck_assert_uint_eq(sample(after, i), i < 1800 ? 255 - sample(before, i) : sample(before, i));
    for (size_t i = 0; i < samples(mask); i++) set(mask, i, 0);
    mgn_matrix_free(&palette);
    MGN_ASSERT_FAILS(mgn_mask_palette(before, mask, 1, &palette), MGN_ERR_ARGUMENT, "dark everywhere");
    MGN_ASSERT_FAILS(mgn_mask_read(mgn_test_source("assets/sunset_hilltop.jpg"), before, &wrong), MGN_ERR_ARGUMENT,
                     "of the source's size (40 x 30");
    mgn_image_destroy(before);
    mgn_image_destroy(after);
    mgn_image_destroy(mask);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("look");
    TCase *squares = tcase_create("non-negative least squares"), *looks = tcase_create("looks"),
          *tables = tcase_create("tables and masks");
    tcase_add_test(squares, nnls_meets_its_conditions);
    tcase_add_test(squares, nnls_takes_columns_that_depend);
    tcase_add_checked_fixture(looks, open_device, close_device);
    tcase_add_test(looks, spaces_go_there_and_back);
    tcase_add_test(looks, spaces_have_known_values);
    tcase_add_test(looks, strength_is_the_way_between);
    tcase_add_test(looks, luma_is_kept);
    tcase_add_test(looks, the_gamut_is_reached_smoothly);
    tcase_add_test(looks, outliers_are_clipped);
    tcase_add_test(looks, files_keep_looks);
    tcase_add_checked_fixture(tables, open_device, close_device);
    tcase_set_timeout(tables, 60);
    tcase_add_test(tables, tables_are_the_map);
    tcase_add_test(tables, tables_are_fitted);
    tcase_add_test(tables, hald_pictures_are_tables);
    tcase_add_test(tables, smoothness_trades);
    tcase_add_test(tables, stretches_no_more_than_is_allowed);
    tcase_add_test(tables, masks_keep_what_they_cover);
    suite_add_tcase(suite, squares);
    suite_add_tcase(suite, looks);
    suite_add_tcase(suite, tables);
    return mgn_test_main(suite);
}
