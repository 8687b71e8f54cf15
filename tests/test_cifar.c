/* Grey to colour: affine colourings are found where they are the truth, the network beats them where the colour bends with
 * the luma, and bad input is one sentence. Batches are made here: pictures of two smooth patterns in random amounts. */
#include "refusals.h"

#include <math.h>
#include <stdlib.h>

#include <mgn/experiment.h>
#include <mgn/image_set.h>

#include "core/core.h"
#include "experiments/cifar.h"

enum { P = MGN_CIFAR_PIXELS, D = MGN_CIFAR_D, LEARNED = 160, HELD = 40, RECORD = 1 + D };

/* A batch whose luma is s = .5 + z_1 pattern_1 + z_2 pattern_2 up to noise, in "folder/data_batch_1.bin". Red is above it
 * and blue below by .1 + .5 (s - .5) and, where `is_bent`, by 6 z_1^2 pattern_1 besides. */
static const char *make_batch(const char *name, bool is_bent, int count) {
    static char folder[512];
    mgn_test_random random = MGN_TEST_RANDOM();
    unsigned char *bytes = calloc((size_t)count, RECORD);
    ck_assert_ptr_nonnull(bytes);
    for (int n = 0; n < count; n++) {
        const double z1 = mgn_test_uniform(&random, -0.2, 0.2), z2 = mgn_test_uniform(&random, -0.2, 0.2);
        for (int i = 0; i < P; i++) {
            const double p1 = sin(0.1 * (i % 32) + 0.3), p2 = cos(0.15 * (i / 32)),
                         s = 0.5 + z1 * p1 + z2 * p2 + mgn_test_uniform(&random, -0.01, 0.01),
                         c = 0.03 + 0.2 * (s - 0.5) + (is_bent ? 4 * z1 * z1 * p1 : 0);
            const double colour[] = {s + c, s, s - c * .299 / .114};
            for (int q = 0; q < 3; q++)
                bytes[n * RECORD + 1 + q * P + i] = (unsigned char)fmin(fmax(255 * colour[q] + 0.5, 0), 255);
        }
    }
    snprintf(folder, sizeof folder, "%s", mgn_test_path(name));
    mgn_test_process made = mgn_test_shell("mkdir -p %s", folder);
    ck_assert_int_eq(made.code, 0);
    mgn_test_process_free(&made);
    char path[600];
    snprintf(path, sizeof path, "%s/data_batch_1.bin", folder);
    mgn_test_write_file(path, bytes, (size_t)count * RECORD);
    free(bytes);
    return folder;
}

static mgn_cifar prepare(bool is_bent) {
    char path[600];
    mgn_cifar c = {0};
    snprintf(path, sizeof path, "%s/data_batch_1.bin", make_batch("pairs", is_bent, LEARNED + HELD));
    MGN_ASSERT_OK(mgn_cifar_prepare(path, LEARNED, HELD, &c));
    return c;
}

START_TEST(errors_are_split_into_luma_and_colour) {
    static float a[D], b[D];
    for (int i = 0; i < D; i++) b[i] = a[i] = 0.5f;
    for (int i = 0; i < P; i++) b[3 * i] += 0.3f; /* (.3, 0, 0): .1 in every channel, and (.2, -.1, -.1) */
    const mgn_colour_error none = mgn_cifar_error(a, a, 1), error = mgn_cifar_error(a, b, 1);
    ck_assert(none.mse == 0 && none.luma == 0 && none.colour == 0);
    ck_assert_double_eq_tol(error.mse, 0.03, 1e-6);
    ck_assert_double_eq_tol(error.luma, 0.01, 1e-6);
    ck_assert_double_eq_tol(error.colour, 0.02, 1e-6);
}
END_TEST

START_TEST(an_affine_colouring_is_found) {
    mgn_cifar c = prepare(false);
    const double rounding = 1.0 / (12 * 255 * 255);
    ck_assert_double_gt(c.error_grey.mse, 1e-3);
    ck_assert_double_lt(c.error_affine.mse, 8 * rounding);
    ck_assert_double_lt(c.error_gradient.mse, 8 * rounding);
    ck_assert_double_lt(c.error_pixel.mse, 8 * rounding);
    mgn_cifar_free(&c);
}
END_TEST

/* V^T V is what it was made from where that is a gradient, and the identity from T to T beside what C needs. */
START_TEST(a_quadratic_part_has_the_parts_asked_for) {
    double *within = calloc(3 * P * P, sizeof *within), *across = within + P * P, *V = calloc((size_t)D * D, sizeof *V);
    ck_assert(within && V);
    for (int i = 0; i < P; i++) {
        within[i * P + i] = 1;
        within[i * P + (i + 1) % P] = 0.5; /* its symmetric half counts: .25 on both sides */
        across[i * 2 * P + 2 * i] = 3;
    }
    MGN_ASSERT_OK(mgn_cifar_quadratic(within, across, V));
    double x[D] = {0}, Vx[D], g[D] = {0}, found[3];
    for (int q = 0; q < 3; q++) x[3 * 40 + q] = 1 / sqrt(3); /* a grey pixel of length 1 */
    for (int i = 0; i < D; i++) {
        Vx[i] = 0;
        for (int k = 0; k < D; k++) Vx[i] += V[(size_t)i * D + (size_t)k] * x[k];
    }
    for (int i = 0; i < D; i++)
        for (int k = 0; k < D; k++) g[k] += V[(size_t)i * D + (size_t)k] * Vx[i];
    for (int i = 39; i <= 41; i++) {
        mgn_cifar_to_coordinates(g + 3 * i, found);
        ck_assert_double_eq_tol(found[0], i == 40 ? 1 : 0.25, 1e-9);
        ck_assert_double_eq_tol(found[1], i == 40 ? 3 : 0, 1e-9);
        ck_assert_double_eq_tol(found[2], 0, 1e-9);
    }
    free(within);
    free(V);
}
END_TEST

START_TEST(units_find_what_bends) {
    mgn_cifar c = prepare(true);
    const mgn_model_config config = {.kind = "cmgn", .d = D, .h = 24, .layers = 1, .activation = MGN_LOGISTIC};
    mgn_device *device = NULL;
    mgn_model *model = NULL;
    mgn_map *map = NULL;
    float *found = calloc(HELD, D * sizeof *found);
    MGN_ASSERT_OK(mgn_device_open("cpu", &device));
    MGN_ASSERT_OK(mgn_cifar_solve_dense(&c, &config, 3, &model));
    MGN_ASSERT_OK(mgn_map_create(model, device, MGN_F32, &map));
    MGN_ASSERT_OK(mgn_map_apply(map, c.grey.values + LEARNED * D, HELD, found));
    const mgn_colour_error error = mgn_cifar_error(found, c.colour.values + LEARNED * D, HELD);
    ck_assert_msg(error.mse < 0.4 * c.error_affine.mse, "mse %g, of the affine map %g", error.mse, c.error_affine.mse);
    ck_assert_msg(error.luma < 2 * c.error_affine.luma + 1e-5, "luma %g, of the affine map %g", error.luma,
                  c.error_affine.luma);
    mgn_map_destroy(map);
    mgn_model_destroy(model);
    mgn_device_close(device);
    free(found);
    mgn_cifar_free(&c);
}
END_TEST

static const refusal refusals[] = {
    {"experiment cifar", 2, "--data is missing|data_batch_1.bin"},
    {"experiment cifar --data .", 2, "10000 pictures were expected, 20 found"},
    {"experiment cifar --data /nonexistent", 1, "does not exist"},
    {"experiment cifar --data . --unseen x.png", 2, "--unseen"},
    {"experiment gaussian --quick", 2, "--quick is an option of cifar"},
    {"experiment gaussian --pictures .", 2, "--pictures is an option of"},
};

START_TEST(bad_input_is_refused) {
    const char *folder = make_batch("few", false, 20);
    for (size_t i = 0; i < MGN_COUNT(refusals); i++) check_refusal(folder, &refusals[i]);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("cifar");
    TCase *cases = tcase_create("cifar");
    tcase_set_timeout(cases, 120);
    tcase_add_test(cases, errors_are_split_into_luma_and_colour);
    tcase_add_test(cases, an_affine_colouring_is_found);
    tcase_add_test(cases, a_quadratic_part_has_the_parts_asked_for);
    tcase_add_test(cases, units_find_what_bends);
    tcase_add_test(cases, bad_input_is_refused);
    suite_add_tcase(suite, cases);
    return mgn_test_main(suite);
}
