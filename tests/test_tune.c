/* Tuning: what is wrong does not count, what is kept is used, and what cannot be trusted is not. */
#define _GNU_SOURCE
#include "opencl_blocks.h"
#include "refusals.h"

#include <unistd.h>

#include "tune/tune.h"

static const mgn_tune_shape small = {48, 40, 56};
static const mgn_cl_choice a_tile = {MGN_CL_tile, {4, 1, 32, 2, 4, 2}};

static cJSON *field(const cJSON *object, const char *label) {
    cJSON *found = cJSON_GetObjectItem(object, label);
    ck_assert_msg(found != NULL, "there is no %s", label);
    return found;
}

static const char *route_of(const cJSON *row) { return cJSON_GetStringValue(field(field(row, "choice"), "route")); }

/* ---- one trial ---- */

/* A way for vectors leaves most of a matrix as it was; a way that the device has no kernels for does not build. */
START_TEST(verdicts) {
    if (!spec) MGN_TEST_SKIP("no OpenCL device");
    const mgn_cl_choice wrong = {.route = MGN_CL_dot_rows};
    mgn_tune_product product;
    double seconds = -1;
    MGN_ASSERT_OK(mgn_tune_product_create(shaped[0], small, mgn_test_seed(), &product));
    ck_assert_int_eq(mgn_tune_trial(&product, &wrong, 1, &seconds), MGN_TUNE_WRONG);
    ck_assert(seconds == -1);
    ck_assert_int_eq(mgn_tune_trial(&product, &a_tile, 1, &seconds), MGN_TUNE_RIGHT);
    ck_assert(seconds > 0);
    /* A single wrong entry, the last one, is seen. */
    product.expected[small.m * small.n - 1] += 1;
    ck_assert_int_eq(mgn_tune_trial(&product, &a_tile, 1, &seconds), MGN_TUNE_WRONG);
    mgn_tune_product_destroy(&product);
    MGN_ASSERT_OK(mgn_tune_product_create(shaped[1], small, mgn_test_seed(), &product));
    ck_assert_int_eq(mgn_tune_trial(&product, &a_tile, 1, &seconds), MGN_TUNE_FAILED);
    mgn_tune_product_destroy(&product);
    MGN_ASSERT_FAILS(mgn_tune_product_create(shaped[0], (mgn_tune_shape){4, 0, 4}, 0, &product), MGN_ERR_ARGUMENT,
                     "4 x 0 x 4");
}
END_TEST

/* ---- the search ---- */

START_TEST(planted_wrong_choice) {
    if (!spec) MGN_TEST_SKIP("no OpenCL device");
    const mgn_cl_choice first[] = {{.route = MGN_CL_dot_rows}, a_tile};
    const mgn_tune_options options = {
        .seconds = 0.5, .seed = 1, .shapes = &small, .shape_count = 1, .first = first, .first_count = 2};
    cJSON *report = NULL, *kept;
    MGN_ASSERT_OK(mgn_tune_run(shaped[0], &options, &report));
    ck_assert(field(report, "wrong")->valuedouble == 1);
    ck_assert(field(report, "tried")->valuedouble >= 3);
    ck_assert_int_eq(cJSON_GetArraySize(field(report, "shapes")), 1);
    const cJSON *row = field(report, "shapes")->child;
    ck_assert_str_ne(route_of(row), "dot_rows");
    ck_assert(field(row, "us")->valuedouble > 0 && field(row, "ratio")->valuedouble >= 1);
    /* It is what the next process reads. */
    mgn_cl_tuning tuning = {0};
    kept = mgn_cl_tuning_load(&shaped[0]->info, &tuning);
    ck_assert(kept && cJSON_Compare(kept, report, true));
    ck_assert_uint_eq(tuning.count, 1);
    ck_assert_uint_eq(tuning.shapes[0].k, (uint64_t)small.k);
    ck_assert_str_eq(mgn_cl_route_labels[tuning.shapes[0].choice.route], route_of(row));
    cJSON_Delete(kept);
    cJSON_Delete(report);
}
END_TEST

START_TEST(refused_searches) {
    mgn_tune_options options = {.seconds = 0.1, .shapes = &small, .shape_count = 1};
    cJSON *report = NULL;
    if (!spec) MGN_TEST_SKIP("no OpenCL device");
    MGN_ASSERT_FAILS(mgn_tune_run(cpu, &options, &report), MGN_ERR_UNSUPPORTED, "an OpenCL device was expected");
    setenv("MGN_CACHE", "off", 1);
    const mgn_status status = mgn_tune_run(shaped[0], &options, &report);
    unsetenv("MGN_CACHE");
    MGN_ASSERT_FAILS(status, MGN_ERR_UNSUPPORTED, "MGN_CACHE is off");
    mgn_interrupt();
    const mgn_status stopped = mgn_tune_run(shaped[0], &options, &report);
    mgn_resume();
    MGN_ASSERT_FAILS(stopped, MGN_ERR_INTERRUPTED, "stopped before every shape");
    ck_assert_ptr_null(report);
}
END_TEST

START_TEST(draws) {
    if (!spec) MGN_TEST_SKIP("no OpenCL device");
    mgn_tune_random random = {.seed = mgn_test_seed()};
    mgn_cl_tile tile = a_tile.tile;
    for (int i = 0; i < 5000; i++) {
        tile = mgn_tune_draw_tile(&random, &tile);
        ck_assert_msg(mgn_cl_tile_valid(&tile), "draw %d: %ux%u", i, tile.rows, tile.vectors);
    }
    /* Positions as in mgn_cl_blast_families: the kernels divide their tiles among work-items and vectors. */
    enum { MDIMC = 5, MWG = 6, NDIMC = 8, NWG = 9, VWM = 14, VWN = 15 };
    mgn_cl_blast blast = mgn_tune_blast_start();
    for (int i = 0; i < 200; i++) {
        mgn_tune_draw_blast(&random, mgn_cl_of(shaped[i % 2]), i % 4 < 2, &blast);
        const uint32_t *v = blast.values[0];
        ck_assert_uint_eq(v[MWG] % (v[MDIMC] * v[VWM]), 0);
        ck_assert_uint_eq(v[NWG] % (v[NDIMC] * v[VWN]), 0);
    }
    /* CLBlast knows every family and every name; nothing is compiled for that. */
    MGN_ASSERT_OK(mgn_cl_blast_give(mgn_cl_of(shaped[0]), &blast));
}
END_TEST

/* ---- the file ---- */

static void keep(const mgn_device_info *info, const char *text) {
    cJSON *json = cJSON_Parse(text);
    ck_assert_ptr_nonnull(json);
    MGN_ASSERT_OK(mgn_cl_tuning_store(info, json));
    cJSON_Delete(json);
}

static bool loads(const mgn_device_info *info) {
    cJSON *json = mgn_cl_tuning_load(info, NULL);
    cJSON_Delete(json);
    return json != NULL;
}

#define TILE(rows) "{\"rows\":" rows ",\"vectors\":1,\"depth\":32,\"block\":2,\"span\":4,\"spread\":2}"
#define SHAPES(m, route, rows)                                                   \
    "{\"shapes\":[{\"m\":" m ",\"n\":60,\"k\":60,\"choice\":{\"route\":\"" route \
    "\",\"tile\":" TILE(rows) "}}],"                                             \
                              "\"clblast\":null}"

START_TEST(untrusted_files) {
    static const char *const bad[] = {"{}",
                                      "[1,2]",
                                      "{\"shapes\":[{}]}",
                                      SHAPES("0", "tile", "4"),
                                      SHAPES("60.5", "tile", "4"),
                                      SHAPES("60", "tile", "99"),
                                      SHAPES("60", "tile", "\"4\""),
                                      SHAPES("60", "tiles", "4"),
                                      "{\"shapes\":[],\"clblast\":{\"Xgemm\":{\"MWG\":-1}}}"};
    if (!spec) MGN_TEST_SKIP("no OpenCL device");
    const mgn_device_info info = shaped[0]->info;
    for (size_t i = 0; i < MGN_COUNT(bad); i++) {
        keep(&info, bad[i]);
        ck_assert_msg(!loads(&info), "taken: %s", bad[i]);
    }
    char path[PATH_MAX], other[PATH_MAX];
    size_t bytes = 0;
    keep(&info, SHAPES("60", "tile", "4"));
    ck_assert(loads(&info));
    MGN_ASSERT_OK(mgn_cl_tuning_path(&info, path, sizeof path));
    char *good = mgn_test_read_file(path, &bytes), *changed = malloc(bytes);
    memcpy(changed, good, bytes);
    changed[bytes - 9] ^= 1;
    mgn_test_write_file(path, changed, bytes);
    ck_assert(!loads(&info));
    mgn_test_write_file(path, good, bytes - 1);
    ck_assert(!loads(&info));
    mgn_test_write_file(path, good, bytes);
    ck_assert(loads(&info));
    /* The same bytes under the name of a device with more cores, or after an update of the driver. */
    mgn_device_info foreign = info;
    foreign.compute_units++;
    MGN_ASSERT_OK(mgn_cl_tuning_path(&foreign, other, sizeof other));
    ck_assert_str_ne(path, other);
    mgn_test_write_file(other, good, bytes);
    ck_assert(!loads(&foreign));
    foreign = info;
    strcpy(foreign.version, "OpenCL 9");
    ck_assert(!loads(&foreign));
    free(good);
    free(changed);
}
END_TEST

/* ---- in use ---- */

/* The number of launches tells the ways apart: a tile takes three, two of them packing. The product is right. */
static size_t launches(mgn_device *device, mgn_tune_shape shape) {
    mgn_tune_product product;
    mgn_program *program = NULL;
    MGN_ASSERT_OK(mgn_tune_product_create(device, shape, 1, &product));
    MGN_ASSERT_OK(mgn_cl_program_create(device, &product.call, 1, &program));
    MGN_ASSERT_OK(mgn_cl_program_run(device, program, 1));
    MGN_ASSERT_OK(mgn_tensor_read(product.out, MGN_F32, product.found));
    for (int64_t i = 0; i < shape.m * shape.n; i++) ck_assert(product.found[i] == product.expected[i]);
    const size_t count = program->count;
    mgn_cl_program_destroy(device, program);
    mgn_tune_product_destroy(&product);
    return count;
}

static size_t launches_when_opened(mgn_tune_shape shape) {
    mgn_device *device = open_shape("cpu");
    const size_t count = launches(device, shape);
    mgn_opencl_backend.close(device);
    return count;
}

START_TEST(kept_choices_are_used) {
    if (!spec) MGN_TEST_SKIP("no OpenCL device");
    const mgn_device_info *info = &shaped[0]->info;
    const mgn_tune_shape measured = {60, 60, 60}, near = {100, 40, 70}, far = {60, 60, 130};
    keep(info, "{\"shapes\":[]}");
    ck_assert_uint_eq(launches_when_opened(measured), 1);
    keep(info, SHAPES("60", "tile", "4"));
    ck_assert_uint_eq(launches_when_opened(measured), 3);
    ck_assert_uint_eq(launches_when_opened(near), 3);
    ck_assert_uint_eq(launches_when_opened(far), 1);
    /* Ways that cannot make this product, or that the device has no kernels for, are passed over. */
    keep(info, SHAPES("60", "dot_rows", "4"));
    ck_assert_uint_eq(launches_when_opened(measured), 1);
    keep(info, SHAPES("60", "item", "4"));
    ck_assert_uint_eq(launches_when_opened(measured), 1);
    /* A damaged file leaves the rules. */
    keep(info, SHAPES("60", "tile", "99"));
    ck_assert_uint_eq(launches_when_opened(measured), 1);
}
END_TEST

/* ---- the command ---- */

static const refusal refusals[] = {
    {"tune --device cpu", 2, "nothing to tune on cpu"},
    {"tune --show --reset", 2, "--show and --reset"},
    {"tune --shape 3x4", 2, "--shape: sizes as in 256x512x784|'3x4'"},
    {"tune --shape 3x4x5x6", 2, "--shape: sizes as in"},
    {"tune --shape 3x4x0", 2, "--shape"},
    {"tune --shape 3x4x5,", 2, "--shape: sizes as in"},
    {"tune --seconds 0", 2, "--seconds"},
    {"tune file", 2, "tune"},
};

START_TEST(bad_command_lines) {
    mgn_test_process made = mgn_test_shell("mkdir -p %s", mgn_test_path("folder"));
    mgn_test_process_free(&made);
    check_refusal(mgn_test_path("folder"), &refusals[_i]);
}
END_TEST

static mgn_test_process tune(const char *arguments) { return mgn_test_command("tune --device %s %s", spec, arguments); }

START_TEST(show_and_reset) {
    if (!spec) MGN_TEST_SKIP("no OpenCL device");
    keep(&shaped[0]->info, "{\"shapes\":[],\"device\":\"x\",\"tried\":3}");
    mgn_test_process shown = tune("--show --json"), devices = mgn_test_command("devices --json"),
                     gone = tune("--reset"), again = tune("--reset"), empty = tune("--show");
    ck_assert_msg(shown.code == 0 && strstr(shown.out, "\"tried\":\t3"), "%s%s", shown.out, shown.err);
    ck_assert_msg(strstr(devices.out, "\"tuned\":\ttrue"), "%s", devices.out);
    ck_assert_msg(gone.code == 0 && strstr(gone.err, "is forgotten"), "%s", gone.err);
    ck_assert_msg(again.code == 0 && strstr(again.err, "nothing was tuned"), "%s", again.err);
    ck_assert_msg(empty.code == 0 && strstr(empty.out, "nothing is tuned"), "%s%s", empty.out, empty.err);
    mgn_test_process *all[] = {&shown, &devices, &gone, &again, &empty};
    for (size_t i = 0; i < MGN_COUNT(all); i++) mgn_test_process_free(all[i]);
}
END_TEST

/* Apart from what other programs keep; the driver, which is up by now, has its own cache where it was. */
static void open_apart(void) {
    setenv("XDG_CACHE_HOME", mgn_test_path("cache"), 1);
    open_all();
}

int main(void) {
    spec = mgn_test_opencl_spec();
    Suite *suite = suite_create("tune");
    TCase *tests = tcase_create("tune");
    tcase_set_timeout(tests, 120);
    tcase_add_unchecked_fixture(tests, open_apart, close_all);
    tcase_add_test(tests, verdicts);
    tcase_add_test(tests, planted_wrong_choice);
    tcase_add_test(tests, refused_searches);
    tcase_add_test(tests, draws);
    tcase_add_test(tests, untrusted_files);
    tcase_add_test(tests, kept_choices_are_used);
    tcase_add_loop_test(tests, bad_command_lines, 0, (int)MGN_COUNT(refusals));
    tcase_add_test(tests, show_and_reset);
    suite_add_tcase(suite, tests);
    return mgn_test_main(suite);
}
