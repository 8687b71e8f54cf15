/* Recolouring through the library: palettes, what a learned map promises, and applying it to every kind of picture. */
#include "pictures.h"

#include <mgn/ot.h>
#include <mgn/recolor.h>

#include "core/core.h"
#include "image/codec.h"

enum { WIDTH = 240, HEIGHT = 160 };

static mgn_image *photo(const char *name) {
    mgn_image *whole = NULL, *small = NULL;
    MGN_ASSERT_OK(mgn_image_read(mgn_test_source(name), &whole));
    MGN_ASSERT_OK(mgn_image_resize(whole, WIDTH, HEIGHT, &small));
    mgn_image_destroy(whole);
    return small;
}

static mgn_image *day(void) { return photo("assets/day_picos_mountains.jpg"); }
static mgn_image *sunset(void) { return photo("assets/sunset_hilltop.jpg"); }

static mgn_device *open_device(const char *spec) {
    mgn_device *device = NULL;
    MGN_ASSERT_OK(mgn_device_open(spec, &device));
    return device;
}

static mgn_image *filled(size_t width, size_t height, int channels, const unsigned *pixel) {
    mgn_image *image = make(width, height, channels, 8);
    for (size_t i = 0; i < samples(image); i++) set(image, i, pixel[i % (size_t)channels]);
    return image;
}

/* ---- palettes ---- */

/* A picture whose pixel number can be read from its colour. */
static mgn_image *numbered(size_t width, size_t height, int channels, int depth) {
    mgn_image *image = make(width, height, channels, depth);
    const size_t count = (size_t)channels;
    for (size_t i = 0; i < width * height; i++)
        for (size_t c = 0; c < count; c++) {
            const bool alpha = count % 2 == 0 && c == count - 1;
            set(image, i * count + c, alpha ? (i % 3 ? 1 : 0) : c == 0 ? (unsigned)(i % 256) : (unsigned)(i / 256));
        }
    return image;
}

static int64_t number_of(const float *row, int depth) {
    const float scale = depth == 8 ? 255.0f : 65535.0f;
    return (int64_t)lroundf(row[0] * scale) + 256 * (int64_t)lroundf(row[1] * scale);
}

/* Read band by band or as a whole, a file's palette is its picture's. */
START_TEST(a_palette_of_a_file_is_its_pictures) {
    static const struct {
        const char *name;
        int channels, depth;
    } files[] = {{"p.jpg", 3, 8}, {"p1.png", 3, 8}, {"p2.png", 4, 8}, {"p3.png", 1, 16}, {"p4.jpg", 1, 8}};
    mgn_test_random random = MGN_TEST_RANDOM();
    for (size_t k = 0; k < MGN_COUNT(files); k++)
        for (int64_t most = 0; most <= 500; most += 500) {
            const char *path = mgn_test_path(files[k].name);
            mgn_image *image = make_noise(97, 203, files[k].channels, files[k].depth, &random), *read = NULL;
            mgn_matrix a = {0}, b = {0};
            MGN_ASSERT_OK(mgn_image_write(image, path, NULL));
            MGN_ASSERT_OK(mgn_image_read(path, &read));
            MGN_ASSERT_OK(mgn_image_palette(read, most, 3, &a));
            MGN_ASSERT_OK(mgn_image_read_palette(path, most, 3, &b));
            ck_assert_int_eq(a.rows, b.rows);
            ck_assert_mem_eq(a.values, b.values, (size_t)a.rows * 3 * sizeof *a.values);
            mgn_matrix_free(&a);
            mgn_matrix_free(&b);
            mgn_image_destroy(image);
            mgn_image_destroy(read);
        }
    mgn_matrix none = {0};
    mgn_test_write_file(mgn_test_path("short.jpg"), "\xff\xd8\xff\xe0", 4);
    MGN_ASSERT_FAILS(mgn_image_read_palette(mgn_test_path("short.jpg"), 9, 1, &none), MGN_ERR_FORMAT, "JPEG");
    ck_assert_ptr_null(none.values);
}
END_TEST

START_TEST(a_whole_palette_is_the_picture) {
    static const int kinds[][2] = {{3, 8}, {3, 16}, {4, 8}, {4, 16}};
    for (size_t k = 0; k < MGN_COUNT(kinds); k++) {
        mgn_image *image = numbered(61, 37, kinds[k][0], kinds[k][1]);
        const bool alpha = kinds[k][0] == 4;
        mgn_matrix palette = {0};
        MGN_ASSERT_OK(mgn_image_palette(image, 0, 1, &palette));
        ck_assert_int_eq(palette.columns, 3);
        ck_assert_int_eq(palette.rows, alpha ? 61 * 37 * 2 / 3 : 61 * 37); /* every third pixel is transparent */
        for (int64_t i = 0; i < palette.rows; i++)
            ck_assert_int_eq(number_of(palette.values + 3 * i, kinds[k][1]), alpha ? i / 2 * 3 + i % 2 + 1 : i);
        mgn_matrix_free(&palette);
        mgn_image_destroy(image);
    }
}
END_TEST

START_TEST(a_sample_is_evenly_spread) {
    static const int64_t sizes[] = {1, 2, 10, 100, 999, 1333};
    for (int channels = 3; channels <= 4; channels++) {
        mgn_image *image = numbered(50, 40, channels, 8);
        const double visible = channels == 4 ? 1333 : 2000;
        for (size_t s = 0; s < MGN_COUNT(sizes); s++) {
            mgn_matrix a = {0}, b = {0}, c = {0};
            MGN_ASSERT_OK(mgn_image_palette(image, sizes[s], 5, &a));
            MGN_ASSERT_OK(mgn_image_palette(image, sizes[s], 5, &b));
            MGN_ASSERT_OK(mgn_image_palette(image, sizes[s], 6, &c));
            ck_assert_int_eq(a.rows, sizes[s]);
            ck_assert(memcmp(a.values, b.values, (size_t)(3 * a.rows) * sizeof(float)) == 0);
            if (sizes[s] < 1333) ck_assert(memcmp(a.values, c.values, (size_t)(3 * a.rows) * sizeof(float)) != 0);
            for (int64_t i = 0; i < a.rows; i++) {
                const int64_t pixel = number_of(a.values + 3 * i, 8),
                              rank = channels == 4 ? pixel - pixel / 3 - 1 : pixel;
                ck_assert_msg(channels == 3 || pixel % 3 != 0, "a transparent pixel was taken");
                const double low = floor((double)i * visible / (double)a.rows),
                             high = (double)(i + 1) * visible / (double)a.rows;
                ck_assert_msg((double)rank >= low && (double)rank <= high, "%d of %d: pixel %d is not in [%g, %g]",
                              (int)i, (int)a.rows, (int)rank, low, high);
            }
            mgn_matrix_free(&a);
            mgn_matrix_free(&b);
            mgn_matrix_free(&c);
        }
        mgn_image_destroy(image);
    }
}
END_TEST

START_TEST(nothing_visible_is_refused) {
    mgn_image *clear = make(4, 4, 4, 8);
    mgn_matrix palette = {0};
    MGN_ASSERT_FAILS(mgn_image_palette(clear, 0, 0, &palette), MGN_ERR_ARGUMENT, "fully transparent");
    ck_assert_ptr_null(palette.values);
    mgn_image_destroy(clear);
}
END_TEST

/* ---- learning ---- */

/* The model is the caller's. */
static mgn_recolor_quality learn(const mgn_image *source, const mgn_image *target, const char *spec,
                                 const mgn_recolor_config *config, mgn_model **model, mgn_image **result) {
    mgn_device *device = open_device(spec);
    mgn_map *map = NULL;
    mgn_train_result training = {0};
    mgn_recolor_quality quality = {0};
    MGN_ASSERT_OK(mgn_recolor_learn(source, target, device, config, model, &training));
    ck_assert(training.steps > 0);
    MGN_ASSERT_OK(mgn_map_create(*model, device, MGN_F32, &map));
    MGN_ASSERT_OK(mgn_recolor_measure(map, source, target, 1, &quality));
    if (result) MGN_ASSERT_OK(mgn_recolor_apply(map, source, result));
    mgn_map_destroy(map);
    mgn_device_close(device);
    return quality;
}

/* The affine optimal map's squared sliced distance to the target's palette, clipped. */
static double affine_w2(const mgn_image *source, const mgn_image *target) {
    mgn_matrix x = {0}, y = {0};
    double mean[2][3], covariance[2][9], A[9], b[3], w2 = NAN;
    MGN_ASSERT_OK(mgn_image_palette(source, 0, 0, &x));
    MGN_ASSERT_OK(mgn_image_palette(target, 0, 0, &y));
    MGN_ASSERT_OK(mgn_moments(x.values, x.rows, 3, true, mean[0], covariance[0]));
    MGN_ASSERT_OK(mgn_moments(y.values, y.rows, 3, true, mean[1], covariance[1]));
    MGN_ASSERT_OK(mgn_bures_map(mean[0], covariance[0], mean[1], covariance[1], 3, A, b));
    MGN_ASSERT_OK(mgn_affine_rows(A, b, x.values, x.rows, 3, x.values));
    for (int64_t i = 0; i < 3 * x.rows; i++) x.values[i] = fminf(fmaxf(x.values[i], 0), 1);
    MGN_ASSERT_OK(mgn_sliced_w2(x.values, x.rows, y.values, y.rows, 3, 256, 1, &w2));
    mgn_matrix_free(&x);
    mgn_matrix_free(&y);
    return w2;
}

static void check_quality(const mgn_recolor_quality *q, double affine, double cost_tolerance, const char *what) {
    ck_assert_msg(q->loss >= 0 && q->loss < 2e-3, "%s: loss %g", what, q->loss);
    ck_assert_msg(fabs(q->cost / q->bures - 1) < cost_tolerance, "%s: cost %g, optimum %g", what, q->cost, q->bures);
    ck_assert_msg(q->w2_after < 0.75 * q->w2_before, "%s: W2 %g, then %g", what, q->w2_before, q->w2_after);
    ck_assert_msg(q->w2_after < 1.05 * affine, "%s: W2 %g, the affine map reaches %g", what, q->w2_after, affine);
    ck_assert_int_eq(q->pixels, WIDTH * HEIGHT);
}

START_TEST(a_learned_map_is_nearly_the_optimal_one) {
    mgn_image *a = day(), *b = sunset();
    const struct {
        const char *kind;
        int64_t parameters;
        double cost_tolerance;
    } rows[] = {{"", 27, 0.05}, {"cmgn", 27, 0.05}, {"mmgn", 28, 0.2}};
    for (size_t i = 0; i < MGN_COUNT(rows); i++)
        for (uint64_t seed = 0; seed < 2; seed++) {
            mgn_recolor_config config = {.seed = seed};
            strcpy(config.kind, rows[i].kind);
            mgn_model *model = NULL;
            mgn_recolor_quality q = learn(a, b, "cpu", &config, &model, NULL);
            ck_assert_int_eq(mgn_model_parameter_count(model), rows[i].parameters);
            check_quality(&q, affine_w2(a, b), rows[i].cost_tolerance, rows[i].kind);
            mgn_model_destroy(model);
            /* and back */
            q = learn(b, a, "cpu", &config, &model, NULL);
            check_quality(&q, affine_w2(b, a), rows[i].cost_tolerance, rows[i].kind);
            mgn_model_destroy(model);
        }
    mgn_image_destroy(a);
    mgn_image_destroy(b);
}
END_TEST

/* Without an assumption about the palette's shape, it is met more closely than by two moments. */
START_TEST(sinkhorn_meets_the_palette_itself) {
    mgn_image *a = day(), *b = sunset();
    for (int k = 0; k < 2; k++) {
        mgn_model *model = NULL;
        mgn_recolor_config config = {.sinkhorn = true, .epochs = 4, .seed = 2};
        strcpy(config.kind, k ? "mmgn" : "cmgn");
        const mgn_recolor_quality q = learn(a, b, "cpu", &config, &model, NULL);
        ck_assert_msg(q.w2_after < (k ? 0.97 : 0.85) * affine_w2(a, b), "%s: W2 %g; the affine map reaches %g",
                      config.kind, q.w2_after, affine_w2(a, b));
        mgn_model_destroy(model);
        config.components = 2;
        ck_assert_int_eq(mgn_recolor_learn(a, b, NULL, &config, &model, NULL), MGN_ERR_ARGUMENT);
    }
    mgn_image_destroy(a);
    mgn_image_destroy(b);
}
END_TEST

START_TEST(the_seed_decides) {
    mgn_image *a = day(), *b = sunset();
    mgn_model *models[3] = {NULL};
    for (size_t i = 0; i < 3; i++)
        learn(a, b, "cpu", &(mgn_recolor_config){.seed = i / 2, .epochs = 3}, &models[i], NULL);
    const size_t bytes = (size_t)mgn_model_parameter_count(models[0]) * sizeof(double);
    ck_assert(memcmp(mgn_model_values(models[0]), mgn_model_values(models[1]), bytes) == 0);
    ck_assert(memcmp(mgn_model_values(models[0]), mgn_model_values(models[2]), bytes) != 0);
    for (size_t i = 0; i < 3; i++) mgn_model_destroy(models[i]);
    mgn_image_destroy(a);
    mgn_image_destroy(b);
}
END_TEST

START_TEST(both_backends_agree) {
    const char *spec = mgn_test_opencl_spec();
    if (!spec) MGN_TEST_SKIP("no OpenCL device");
    mgn_image *a = day(), *b = sunset(), *results[2] = {NULL};
    mgn_model *models[2] = {NULL};
    const mgn_recolor_config config = {.epochs = 60};
    const mgn_recolor_quality cpu = learn(a, b, "cpu", &config, &models[0], &results[0]);
    const mgn_recolor_quality opencl = learn(a, b, spec, &config, &models[1], &results[1]);
    ck_assert_double_eq_tol(opencl.w2_before, cpu.w2_before, 1e-12);
    ck_assert_msg(fabs(opencl.w2_after - cpu.w2_after) < 0.02 * cpu.w2_after, "W2 %g and %g", cpu.w2_after,
                  opencl.w2_after);
    ck_assert_msg(fabs(opencl.cost - cpu.cost) < 0.02 * cpu.cost, "cost %g and %g", cpu.cost, opencl.cost);
    double sum = 0;
    for (size_t i = 0; i < samples(results[0]); i++)
        sum += fabs((double)sample(results[0], i) - (double)sample(results[1], i));
    ck_assert_msg(sum / (double)samples(results[0]) < 1, "the pictures differ by %g levels on average",
                  sum / (double)samples(results[0]));
    for (size_t i = 0; i < 2; i++) {
        mgn_model_destroy(models[i]);
        mgn_image_destroy(results[i]);
    }
    mgn_image_destroy(a);
    mgn_image_destroy(b);
}
END_TEST

/* ---- unusual pictures ---- */

/* From one colour all colours move by the same; to one colour all become it. */
static void check_single(const mgn_image *a, const mgn_image *b, bool translation, const mgn_recolor_config *config) {
    mgn_device *device = open_device("cpu");
    mgn_model *model = NULL;
    mgn_map *map = NULL;
    mgn_matrix from = {0}, to = {0};
    mgn_recolor_quality quality;
    double mean[2][3];
    float x[2][3] = {{0, 0.25f, 1}, {0.75f, 0.5f, 0.125f}}, y[2][3];
    MGN_ASSERT_OK(mgn_image_palette(a, 0, 0, &from));
    MGN_ASSERT_OK(mgn_image_palette(b, 0, 0, &to));
    MGN_ASSERT_OK(mgn_moments(from.values, from.rows, 3, false, mean[0], NULL));
    MGN_ASSERT_OK(mgn_moments(to.values, to.rows, 3, false, mean[1], NULL));
    MGN_ASSERT_OK(mgn_recolor_learn(a, b, device, config, &model, NULL));
    ck_assert(mgn_model_is_monotone(model));
    MGN_ASSERT_OK(mgn_map_create(model, device, MGN_F32, &map));
    MGN_ASSERT_OK(mgn_map_apply(map, x[0], 2, y[0]));
    for (int i = 0; i < 6; i++) {
        const double expected = mean[1][i % 3] + (translation ? (double)x[i / 3][i % 3] - mean[0][i % 3] : 0);
        ck_assert_double_eq_tol((double)y[i / 3][i % 3], expected, 2e-6);
    }
    MGN_ASSERT_OK(mgn_recolor_measure(map, a, b, 0, &quality));
    ck_assert(isfinite(quality.loss) && isfinite(quality.cost) && isfinite(quality.bures));
    ck_assert(quality.w2_after <= quality.w2_before + 1e-9);
    mgn_matrix_free(&from);
    mgn_matrix_free(&to);
    mgn_map_destroy(map);
    mgn_model_destroy(model);
    mgn_device_close(device);
}

START_TEST(single_colours_are_met_exactly) {
    static const unsigned colours[][3] = {{0, 0, 0}, {200, 10, 60}, {255, 255, 255}};
    static const mgn_recolor_config configs[] = {
        {.pixels = true, .smoothness = 0.6}, {.kind = "mmgn"}, {.components = 3}, {.sinkhorn = true}};
    mgn_image *a = day();
    for (size_t i = 0; i < MGN_COUNT(colours); i++)
        for (size_t k = 0; k < MGN_COUNT(configs); k++) {
            mgn_image *flat = filled(8, 8, 3, colours[i]), *pixel = filled(1, 1, 3, colours[i]);
            check_single(a, flat, false, &configs[k]);
            check_single(a, pixel, false, &configs[k]);
            check_single(flat, a, true, &configs[k]);
            check_single(pixel, a, true, &configs[k]);
            check_single(pixel, flat, true, &configs[k]);
            mgn_image_destroy(flat);
            mgn_image_destroy(pixel);
        }
    mgn_image_destroy(a);
}
END_TEST

START_TEST(what_cannot_be_learned_is_refused) {
    mgn_image *a = day();
    mgn_device *device = open_device("cpu");
    mgn_image *clear = make(4, 4, 4, 8);
    mgn_model *model = NULL;
    MGN_ASSERT_FAILS(mgn_recolor_learn(a, clear, device, NULL, &model, NULL), MGN_ERR_ARGUMENT, "transparent");
    MGN_ASSERT_FAILS(mgn_recolor_learn(clear, a, device, NULL, &model, NULL), MGN_ERR_ARGUMENT, "transparent");
    MGN_ASSERT_FAILS(mgn_recolor_learn(a, a, device, &(mgn_recolor_config){.kind = "icnn"}, &model, NULL),
                     MGN_ERR_ARGUMENT, "'icnn'");
    MGN_ASSERT_FAILS(mgn_recolor_learn(a, a, device, &(mgn_recolor_config){.epochs = -1}, &model, NULL),
                     MGN_ERR_ARGUMENT, "epochs");
    mgn_image_destroy(clear);
    mgn_image_destroy(a);
    mgn_device_close(device);
}
END_TEST

static mgn_image *grey_of(const mgn_image *colour, int channels) {
    mgn_image *grey = make(colour->width, colour->height, channels, 8);
    for (size_t i = 0; i < colour->width * colour->height; i++) {
        set(grey, i * (size_t)channels, sample(colour, 3 * i + 1));
        if (channels == 2) set(grey, 2 * i + 1, 200);
    }
    return grey;
}

START_TEST(grey_pictures_take_colour_and_lose_it) {
    mgn_image *colour = day(), *grey = grey_of(colour, 2), *b = sunset(), *result = NULL;
    mgn_model *model = NULL;
    const mgn_recolor_config config = {.seed = 1};
    mgn_recolor_quality q = learn(grey, b, "cpu", &config, &model, &result);
    ck_assert_msg(q.w2_after < 0.8 * q.w2_before, "grey to colour: W2 %g, then %g", q.w2_before, q.w2_after);
    ck_assert_int_eq(result->channels, 4);
    for (size_t i = 0; i < WIDTH * HEIGHT; i++) ck_assert_uint_eq(sample(result, 4 * i + 3), 200);
    mgn_image_destroy(result);
    mgn_model_destroy(model);
    q = learn(b, grey, "cpu", &config, &model, &result);
    ck_assert_msg(q.w2_after < 0.5 * q.w2_before, "colour to grey: W2 %g, then %g", q.w2_before, q.w2_after);
    double chroma = 0;
    for (size_t i = 0; i < WIDTH * HEIGHT; i++)
        chroma += fabs((double)sample(result, 3 * i) - (double)sample(result, 3 * i + 2)) / (WIDTH * HEIGHT);
    ck_assert_msg(chroma < 4, "red and blue still differ by %g levels", chroma);
    mgn_image_destroy(result);
    mgn_model_destroy(model);
    mgn_image_destroy(colour);
    mgn_image_destroy(grey);
    mgn_image_destroy(b);
}
END_TEST

/* Few pixels, one colour, black and white: something finite comes out, nearer to the target than before. */
START_TEST(poor_sources_are_mapped_too) {
    static const unsigned blue[3] = {20, 40, 220};
    mgn_image *b = sunset(), *sources[3] = {filled(5, 1, 3, blue), make(2, 1, 3, 8), make(64, 65, 1, 8)};
    for (size_t i = 0; i < 3; i++) set(sources[1], i, 255);
    for (size_t i = 0; i < 64 * 65; i++) set(sources[2], i, i % 2 ? 255 : 0);
    for (size_t i = 0; i < 3; i++) {
        mgn_model *model = NULL;
        mgn_image *result = NULL;
        const mgn_recolor_quality q =
            learn(sources[i], b, "cpu", &(mgn_recolor_config){.epochs = 100}, &model, &result);
        ck_assert_msg(isfinite(q.loss) && isfinite(q.cost) && q.w2_after < q.w2_before,
                      "source %zu: loss %g, W2 %g, then %g", i, q.loss, q.w2_before, q.w2_after);
        mgn_model_destroy(model);
        mgn_image_destroy(result);
        mgn_image_destroy(sources[i]);
    }
    mgn_image_destroy(b);
}
END_TEST

/* ---- applying ---- */

/* A map of d = 3 that bends a little and moves each channel elsewhere: grey becomes coloured and some colours clip. */
static mgn_map *bent_map(mgn_device *device) {
    static const double offset[3] = {-0.3, 0, 0.3};
    const mgn_model_config config = {.kind = "cmgn", .d = 3, .h = 4, .layers = 2};
    mgn_model *model = NULL;
    mgn_map *map = NULL;
    const mgn_parameter *parameters = NULL;
    MGN_ASSERT_OK(mgn_model_create(&config, 3, &model));
    double *values = mgn_model_values(model);
    const size_t count = mgn_model_parameters(model, &parameters);
    for (int64_t i = 0; i < mgn_shape_count(parameters[0].shape); i++) values[i] *= 0.1; /* W */
    memcpy(values + parameters[count - 1].offset, offset, sizeof offset);
    MGN_ASSERT_OK(mgn_map_create(model, device, MGN_F32, &map));
    mgn_model_destroy(model);
    return map;
}

static void check_pixels(mgn_map *map, const mgn_image *source, const mgn_image *result) {
    const size_t count = source->width * source->height, from = (size_t)source->channels, to = (size_t)result->channels;
    const float scale = source->depth == 8 ? 255.0f : 65535.0f;
    float *rgb = malloc(count * 3 * sizeof *rgb);
    ck_assert_ptr_nonnull(rgb);
    mgn_image_to_rgb(source, rgb);
    MGN_ASSERT_OK(mgn_map_apply(map, rgb, (int64_t)count, rgb));
    for (size_t i = 0; i < count; i++) {
        for (size_t c = 0; c < 3; c++) {
            const float exact = fminf(fmaxf(rgb[3 * i + c], 0), 1) * scale;
            ck_assert_msg(fabsf((float)sample(result, i * to + c) - exact) <= 0.501f,
                          "pixel %zu channel %zu: %u, the map gives %g", i, c, sample(result, i * to + c),
                          (double)exact);
        }
        if (from % 2 == 0) ck_assert_uint_eq(sample(result, i * to + 3), sample(source, i * from + from - 1));
    }
    free(rgb);
}

static void check_applying(const char *spec) {
    static const size_t sizes[][2] = {{1, 1}, {37, 23}, {300, 5}};
    mgn_test_random random = MGN_TEST_RANDOM();
    mgn_device *device = open_device(spec);
    mgn_map *map = bent_map(device);
    for (int channels = 1; channels <= 4; channels++)
        for (int depth = 8; depth <= 16; depth += 8)
            for (size_t s = 0; s < MGN_COUNT(sizes); s++) {
                mgn_image *source = make_noise(sizes[s][0], sizes[s][1], channels, depth, &random), *result = NULL;
                unsigned char exif[64];
                const size_t size = make_exif(exif, false, 6);
                MGN_ASSERT_OK(mgn_image_set_block(source, MGN_IMAGE_EXIF, exif, size));
                MGN_ASSERT_OK(mgn_recolor_apply(map, source, &result));
                ck_assert_int_eq(result->channels, channels < 3 ? channels + 2 : channels);
                ck_assert_int_eq(result->depth, depth);
                ck_assert_int_eq(result->orientation, 6);
                assert_block(result, MGN_IMAGE_EXIF, exif, size);
                check_pixels(map, source, result);
                mgn_image_destroy(source);
                mgn_image_destroy(result);
            }
    mgn_map_destroy(map);
    mgn_device_close(device);
}

START_TEST(every_pixel_gets_the_map) { check_applying("cpu"); }
END_TEST

START_TEST(every_pixel_gets_the_map_on_opencl) {
    const char *spec = mgn_test_opencl_spec();
    if (!spec) MGN_TEST_SKIP("no OpenCL device");
    check_applying(spec);
}
END_TEST

/* More pixels than a band, and rows that do not divide it. */
START_TEST(large_pictures_are_worked_off_in_bands) {
    mgn_test_random random = MGN_TEST_RANDOM();
    mgn_device *device = open_device("cpu");
    mgn_map *map = bent_map(device);
    mgn_image *source = make_noise(1999, 1051, 3, 8, &random), *result = NULL;
    MGN_ASSERT_OK(mgn_recolor_apply(map, source, &result));
    check_pixels(map, source, result);
    mgn_image_destroy(source);
    mgn_image_destroy(result);
    mgn_map_destroy(map);
    mgn_device_close(device);
}
END_TEST

START_TEST(grey_stays_grey_under_a_grey_map) {
    const mgn_model_config config = {.kind = "cmgn", .d = 3, .h = 1, .layers = 1};
    mgn_test_random random = MGN_TEST_RANDOM();
    mgn_device *device = open_device("cpu");
    mgn_model *model = NULL;
    mgn_map *map = NULL;
    const mgn_parameter *parameters = NULL;
    MGN_ASSERT_OK(mgn_model_create(&config, 3, &model));
    const size_t count = mgn_model_parameters(model, &parameters);
    for (int64_t i = 0; i < mgn_model_parameter_count(model); i++) mgn_model_values(model)[i] = 0;
    for (size_t i = 0; i < count; i++)
        for (int64_t j = 0; *parameters[i].label == 'V' && j < 3; j++)
            mgn_model_values(model)[parameters[i].offset + 4 * j] = 1;
    MGN_ASSERT_OK(mgn_map_create(model, device, MGN_F32, &map));
    for (int channels = 1; channels <= 2; channels++) {
        mgn_image *source = make_noise(33, 9, channels, 16, &random), *result = NULL;
        MGN_ASSERT_OK(mgn_recolor_apply(map, source, &result)); /* the identity */
        assert_same_pixels(source, result);
        mgn_image_destroy(source);
        mgn_image_destroy(result);
    }
    mgn_map_destroy(map);
    mgn_model_destroy(model);
    mgn_device_close(device);
}
END_TEST

START_TEST(maps_of_other_dimensions_are_refused) {
    const mgn_model_config config = {.kind = "cmgn", .d = 2, .h = 1, .layers = 1};
    mgn_device *device = open_device("cpu");
    mgn_model *model = NULL;
    mgn_map *map = NULL;
    mgn_image *source = make(2, 2, 3, 8), *result = NULL;
    mgn_recolor_quality quality;
    MGN_ASSERT_OK(mgn_model_create(&config, 3, &model));
    MGN_ASSERT_OK(mgn_map_create(model, device, MGN_F32, &map));
    MGN_ASSERT_FAILS(mgn_recolor_apply(map, source, &result), MGN_ERR_ARGUMENT, "this one has d = 2");
    MGN_ASSERT_FAILS(mgn_recolor_measure(map, source, source, 0, &quality), MGN_ERR_ARGUMENT, "this one has d = 2");
    mgn_image_destroy(source);
    mgn_map_destroy(map);
    mgn_model_destroy(model);
    mgn_device_close(device);
}
END_TEST

int main(void) {
    mgn_test_opencl_spec();
    Suite *suite = suite_create("recolor");
    TCase *palettes = tcase_create("palettes"), *learning = tcase_create("learning"),
          *applying = tcase_create("applying");
    tcase_add_test(palettes, a_whole_palette_is_the_picture);
    tcase_add_test(palettes, a_palette_of_a_file_is_its_pictures);
    tcase_add_test(palettes, a_sample_is_evenly_spread);
    tcase_add_test(palettes, nothing_visible_is_refused);
    tcase_add_test(learning, a_learned_map_is_nearly_the_optimal_one);
    tcase_add_test(learning, sinkhorn_meets_the_palette_itself);
    tcase_add_test(learning, the_seed_decides);
    tcase_add_test(learning, both_backends_agree);
    tcase_add_test(learning, single_colours_are_met_exactly);
    tcase_add_test(learning, what_cannot_be_learned_is_refused);
    tcase_add_test(learning, grey_pictures_take_colour_and_lose_it);
    tcase_add_test(learning, poor_sources_are_mapped_too);
    tcase_add_test(applying, every_pixel_gets_the_map);
    tcase_add_test(applying, every_pixel_gets_the_map_on_opencl);
    tcase_add_test(applying, large_pictures_are_worked_off_in_bands);
    tcase_add_test(applying, grey_stays_grey_under_a_grey_map);
    tcase_add_test(applying, maps_of_other_dimensions_are_refused);
    suite_add_tcase(suite, palettes);
    suite_add_tcase(suite, learning);
    suite_add_tcase(suite, applying);
    return mgn_test_main(suite);
}
