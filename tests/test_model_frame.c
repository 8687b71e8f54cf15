/* Frames: the map that a model makes is seen through an affine change of coordinates. Checked against the formula by hand,
 * by the Jacobian and the potential, in files and copies, and with a Lipschitz bound. */
#include "harness.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <mgn/data.h>
#include <mgn/model.h>
#include <mgn/ot.h>

#include "core/core.h"

enum { D = 3, ROWS = 40 };

static const double shift[D] = {1000, -20, 5}, offset[D] = {-3e6, 7, 0.5};
/* Symmetric positive definite, and not: a frame may be either. */
static const double positive[D * D] = {2, 0.5, 0.1, 0.5, 1, -0.2, 0.1, -0.2, 0.7};
static const double skewed[D * D] = {1, 2, 0, -0.5, 1, 0.3, 0, 0.4, -1};
static const double diagonal[D] = {1e-3, 4, 0.2};

static const struct {
    const char *name;
    mgn_model_config model;
    mgn_model_frame frame;
} cases[] = {
    {"icnn",
     {.kind = "icnn", .d = D, .h = 4, .layers = 2, .activation = MGN_SOFTPLUS},
     {shift, positive, offset, 3, false}},
    {"icgn", {.kind = "icgn", .d = D, .h = 4, .layers = 1}, {shift, skewed, offset, 0.25, false}},
    {"cgradnet", {.kind = "cgradnet", .d = D, .h = 4, .layers = 1}, {shift, diagonal, offset, 1e5, true}},
    {"mgradnet", {.kind = "mgradnet", .d = D, .h = 2, .layers = 2}, {shift, positive, offset, 10, false}},
    {"cmgn", {.kind = "cmgn", .d = D, .h = 4, .layers = 1}, {shift, skewed, offset, 1, false}},
    {"bounded",
     {.kind = "cgradnet", .d = D, .h = 9, .layers = 2, .lipschitz = 0.5},
     {shift, skewed, offset, 20, false}},
};

static double entry(const mgn_model_frame *f, int64_t i, int64_t j) {
    return f->is_diagonal ? (i == j ? f->matrix[i] : 0) : f->matrix[i * D + j];
}

/* Rows spread by about 1 around 0 in the frame. */
static void make_rows(const mgn_model_frame *f, float *x) {
    mgn_test_random random = MGN_TEST_RANDOM();
    for (int64_t i = 0; i < ROWS * D; i++) {
        const double norm = fabs(entry(f, i % D, i % D)) + 0.5 * !f->is_diagonal;
        x[i] = (float)(f->shift[i % D] + mgn_test_normal(&random) / norm);
    }
}

static mgn_device *open_cpu(void) {
    mgn_device *device = NULL;
    MGN_ASSERT_OK(mgn_device_open("cpu", &device));
    return device;
}

static mgn_model *make(int i, bool framed) {
    mgn_model *model = NULL;
    MGN_ASSERT_OK(mgn_model_create(&cases[i].model, 11, &model));
    if (framed) MGN_ASSERT_OK(mgn_model_set_frame(model, &cases[i].frame));
    return model;
}

static void apply(const mgn_model *model, mgn_device *device, const float *x, float *y) {
    mgn_map *map = NULL;
    MGN_ASSERT_OK(mgn_map_create(model, device, MGN_F64, &map));
    MGN_ASSERT_OK(mgn_map_apply(map, x, ROWS, y));
    mgn_map_destroy(map);
}

/* g(x) = offset + factor A^T f(A (x - shift)), f being the model without its frame. */
START_TEST(it_is_the_formula) {
    const mgn_model_frame *f = &cases[_i].frame;
    mgn_device *device = open_cpu();
    mgn_model *framed = make(_i, true), *bare = make(_i, false);
    float x[ROWS * D], inside[ROWS * D] = {0}, y[ROWS * D], g[ROWS * D];
    if (cases[_i].model.lipschitz > 0) { /* the bare map's bound is another */
        mgn_model_destroy(framed);
        mgn_model_destroy(bare);
        mgn_device_close(device);
        return;
    }
    make_rows(f, x);
    for (int64_t r = 0; r < ROWS; r++)
        for (int64_t i = 0; i < D; i++) {
            double sum = 0;
            for (int64_t j = 0; j < D; j++) sum += entry(f, i, j) * ((double)x[r * D + j] - f->shift[j]);
            inside[r * D + i] = (float)sum;
        }
    apply(bare, device, inside, y);
    apply(framed, device, x, g);
    for (int64_t r = 0; r < ROWS; r++)
        for (int64_t i = 0; i < D; i++) {
            double sum = 0;
            for (int64_t j = 0; j < D; j++) sum += entry(f, j, i) * (double)y[r * D + j];
            const double expected = f->offset[i] + f->factor * sum, off = fabs((double)g[r * D + i] - expected);
            ck_assert_msg(off <= 1e-5 * (fabs(expected) + f->factor), "row %d: %g, %g expected", (int)r,
                          (double)g[r * D + i], expected);
        }
    mgn_model_destroy(framed);
    mgn_model_destroy(bare);
    mgn_device_close(device);
}
END_TEST

/* Still the gradient of a convex function, whose potential is known, and as steep as the bound allows at most. */
START_TEST(it_stays_a_convex_gradient) {
    const mgn_model_frame *f = &cases[_i].frame;
    mgn_device *device = open_cpu();
    mgn_model *model = make(_i, true);
    mgn_map *map = NULL;
    mgn_jacobian_stats stats;
    float x[ROWS * D], g[ROWS * D], moved[2 * ROWS * D];
    double phi[2 * ROWS];
    make_rows(f, x);
    MGN_ASSERT_OK(mgn_map_create(model, device, MGN_F64, &map));
    MGN_ASSERT_OK(mgn_map_jacobian_stats(map, x, ROWS, &stats));
    ck_assert_int_eq(stats.nonmonotone, 0);
    ck_assert_double_lt(stats.asymmetry, 1e-10);
    if (cases[_i].model.lipschitz > 0) {
        ck_assert_double_le(stats.largest, cases[_i].model.lipschitz);
        ck_assert_double_gt(stats.largest, cases[_i].model.lipschitz / 100);
    }
    if (mgn_model_has_potential(model)) {
        MGN_ASSERT_OK(mgn_map_apply(map, x, ROWS, g));
        for (int64_t i = 0; i < ROWS * D; i++) { /* along the first axis of the frame, by about 1 / 64 of its unit */
            const float step = (float)(0.015625 / (fabs(entry(f, 0, 0)) + 0.5 * !f->is_diagonal));
            moved[i] = x[i] - (i % D == 0 ? step : 0);
            moved[ROWS * D + i] = x[i] + (i % D == 0 ? step : 0);
        }
        MGN_ASSERT_OK(mgn_map_potential(map, moved, 2 * ROWS, phi));
        for (int64_t r = 0; r < ROWS; r++) {
            const double width = (double)moved[(ROWS + r) * D] - (double)moved[r * D];
            const double slope = (phi[ROWS + r] - phi[r]) / width, own = (double)g[r * D];
            ck_assert_msg(fabs(slope - own) <= 1e-2 * f->factor * fabs(entry(f, 0, 0)) + 1e-6 * fabs(own),
                          "row %d: slope %g, map %g", (int)r, slope, own);
        }
    }
    mgn_map_destroy(map);
    mgn_model_destroy(model);
    mgn_device_close(device);
}
END_TEST

START_TEST(files_and_copies_keep_it) {
    const char *path = mgn_test_path("framed.safetensors");
    mgn_device *device = open_cpu();
    mgn_model *model = make(_i, true), *copy = NULL, *loaded = NULL, *bare = NULL;
    float x[ROWS * D], a[ROWS * D], b[ROWS * D];
    make_rows(&cases[_i].frame, x);
    for (int64_t i = 0; i < mgn_model_parameter_count(model); i++) /* as a file has them */
        mgn_model_values(model)[i] = (double)(float)mgn_model_values(model)[i];
    MGN_ASSERT_OK(mgn_model_clone(model, &copy));
    MGN_ASSERT_OK(mgn_model_save(model, path));
    MGN_ASSERT_OK(mgn_model_load(path, &loaded));
    apply(model, device, x, a);
    apply(copy, device, x, b);
    ck_assert(memcmp(a, b, sizeof a) == 0);
    apply(loaded, device, x, b);
    ck_assert(memcmp(a, b, sizeof a) == 0);
    ck_assert(mgn_model_get_frame(loaded)->is_diagonal == cases[_i].frame.is_diagonal);
    MGN_ASSERT_OK(mgn_model_set_frame(copy, NULL));
    ck_assert_ptr_null(mgn_model_get_frame(copy));
    bare = make(_i, false);
    memcpy(mgn_model_values(bare), mgn_model_values(model), (size_t)mgn_model_parameter_count(model) * sizeof(double));
    apply(copy, device, x, a);
    apply(bare, device, x, b);
    ck_assert(memcmp(a, b, sizeof a) == 0);
    mgn_model *const models[] = {model, copy, loaded, bare};
    for (size_t i = 0; i < MGN_COUNT(models); i++) mgn_model_destroy(models[i]);
    mgn_device_close(device);
}
END_TEST

/* ---- what it refuses ---- */

START_TEST(nonsense_is_refused) {
    mgn_model *model = make(0, true);
    const double holed[D] = {1, NAN, 2};
    const mgn_model_frame wrong[] = {{shift, positive, offset, 0, false},        {shift, positive, offset, -1, false},
                                     {shift, positive, offset, INFINITY, false}, {holed, positive, offset, 1, false},
                                     {shift, positive, holed, 1, false},         {shift, holed, offset, 1, true}};
    for (size_t i = 0; i < MGN_COUNT(wrong); i++)
        MGN_ASSERT_FAILS(mgn_model_set_frame(model, &wrong[i]), MGN_ERR_ARGUMENT,
                         "finite numbers and a positive factor");
    ck_assert_double_eq(mgn_model_get_frame(model)->factor, cases[0].frame.factor);
    mgn_model_destroy(model);
}
END_TEST

static mgn_stored_tensor *tensor(mgn_safetensors *file, const char *label) {
    for (size_t i = 0; i < file->tensor_count; i++)
        if (strcmp(file->tensors[i].name, label) == 0) return &file->tensors[i];
    ck_abort_msg("no tensor %s", label);
}

static void renamed(mgn_safetensors *file) { tensor(file, "frame.shift")->name[0] = 'g'; }
static void flattened(mgn_safetensors *file) { tensor(file, "frame.matrix")->shape = MGN_SHAPE(D * D); }
static void boxed(mgn_safetensors *file) { tensor(file, "frame.matrix")->shape = MGN_SHAPE(D, D, 1); }
static void short_offset(mgn_safetensors *file) { tensor(file, "frame.offset")->shape = MGN_SHAPE(1); }
static void negative(mgn_safetensors *file) { MGN_ASSERT_OK(mgn_safetensors_set(file, "frame", "-2")); }
static void not_a_number(mgn_safetensors *file) { MGN_ASSERT_OK(mgn_safetensors_set(file, "frame", "nan")); }

static const struct {
    void (*change)(mgn_safetensors *file);
    const char *sentence;
} lies[] = {
    {renamed, "needs a tensor 'frame.shift' of doubles"},
    {flattened, "needs a tensor 'frame.matrix' of doubles"},
    {boxed, "needs a tensor 'frame.matrix' of doubles"},
    {short_offset, "needs a tensor 'frame.offset' of doubles"},
    {negative, "'frame' should be a positive number, '-2' found"},
    {not_a_number, "'frame' should be a positive number, 'nan' found"},
};

START_TEST(files_that_lie_are_refused) {
    const char *path = mgn_test_path("lie.safetensors");
    mgn_model *model = make(0, true), *loaded = NULL;
    mgn_safetensors file = {0};
    MGN_ASSERT_OK(mgn_model_save(model, path));
    MGN_ASSERT_OK(mgn_safetensors_read(path, &file));
    lies[_i].change(&file);
    MGN_ASSERT_OK(mgn_safetensors_write(path, &file));
    MGN_ASSERT_FAILS(mgn_model_load(path, &loaded), MGN_ERR_FORMAT, lies[_i].sentence);
    ck_assert_ptr_null(loaded);
    mgn_safetensors_free(&file);
    mgn_model_destroy(model);
}
END_TEST

static Suite *suite(void) {
    Suite *suite = suite_create("model_frame");
    TCase *frame = tcase_create("frame");
    tcase_add_loop_test(frame, it_is_the_formula, 0, (int)MGN_COUNT(cases));
    tcase_add_loop_test(frame, it_stays_a_convex_gradient, 0, (int)MGN_COUNT(cases));
    tcase_add_loop_test(frame, files_and_copies_keep_it, 0, (int)MGN_COUNT(cases));
    tcase_add_test(frame, nonsense_is_refused);
    tcase_add_loop_test(frame, files_that_lie_are_refused, 0, (int)MGN_COUNT(lies));
    suite_add_tcase(suite, frame);
    return suite;
}

int main(void) { return mgn_test_main(suite()); }
