/* Every allocation and every call that touches a file fails once, in short runs of all that the library does (of long runs a
 * drawn part, unless MGN_FAULTS=all asks for the whole): each failure is a status with a sentence, or changes nothing; nothing
 * is leaked, nothing is damaged, no temporary is left. */
#define _GNU_SOURCE
#include "faults.h"
#include "pictures.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <mgn/data.h>
#include <mgn/evaluate.h>
#include <mgn/look.h>
#include <mgn/recolor.h>
#include <mgn/semidual.h>
#include <mgn/train.h>

#include "core/core.h"
#include "core/file.h"

enum { ROWS = 60, HELD = 12 };

static float x[2 * ROWS], y[2 * ROWS];
static char folder[600]; /* what scenarios write goes here */

static const char *in_folder(const char *name) { return mgn_test_within(folder, name); }

/* ---- what is done ---- */

/* Each returns what went wrong first, having freed everything, and adds what it computed to *sum. */
typedef mgn_status scenario_function(uint64_t *sum);

static void add(uint64_t *sum, const void *bytes, size_t count) { *sum = mgn_hash(*sum, bytes, count); }

static mgn_status add_file(uint64_t *sum, const char *path) {
    size_t count = 0;
    unsigned char *bytes = NULL;
    MGN_TRY(mgn_file_read(path, SIZE_MAX, &bytes, &count));
    add(sum, bytes, count);
    mgn_free(bytes);
    return MGN_OK;
}

static const mgn_model_config cascade = {.kind = "cmgn", .d = 2, .h = 3, .layers = 2};

static mgn_status train_with(const char *spec, const mgn_train_config *config, const float *targets, uint64_t *sum) {
    mgn_device *device = NULL;
    mgn_model *model = NULL;
    mgn_train_result result = {0};
    const mgn_samples samples = {x, targets, ROWS - HELD};
    mgn_status status = mgn_device_open(spec, &device);
    if (status == MGN_OK) status = mgn_model_create(&cascade, 1, &model);
    if (status == MGN_OK) status = mgn_train(model, device, &samples, config, &result);
    if (status == MGN_OK) add(sum, mgn_model_values(model), (size_t)mgn_model_parameter_count(model) * sizeof(double));
    mgn_model_destroy(model);
    mgn_device_close(device);
    return status;
}

static const mgn_samples held = {x + 2 * (ROWS - HELD), y + 2 * (ROWS - HELD), HELD};

static mgn_train_config usual(const char *loss, const char *optimizer) {
    mgn_train_config config = {.optimizer = {.lr = 0.01}, .batch = 16, .epochs = 3, .seed = 4, .real = MGN_F32};
    snprintf(config.loss.kind, sizeof config.loss.kind, "%s", loss);
    snprintf(config.optimizer.kind, sizeof config.optimizer.kind, "%s", optimizer);
    if (!mgn_optimizer_is_second_order(optimizer)) return config;
    config.batch = 0;
    config.real = MGN_F64;
    return config;
}

/* A training with everything that training has, then the last epochs again from its checkpoint. */
static mgn_status train_and_resume(uint64_t *sum) {
    mgn_train_config config = usual("mse", "adam");
    config.control = (mgn_train_control){.checkpoint = in_folder("state"),
                                         .checkpoint_epochs = 2,
                                         .log = in_folder("curve.jsonl"),
                                         .held_out = &held,
                                         .patience = 2,
                                         .retries = 1};
    MGN_TRY(train_with("cpu", &config, y, sum));
    config.control.resume = config.control.checkpoint;
    return train_with("cpu", &config, y, sum);
}

static mgn_status train_by_density(uint64_t *sum) {
    const mgn_train_config config = usual("nll", "sgd");
    return train_with("cpu", &config, NULL, sum);
}

static mgn_status train_to_points(uint64_t *sum) {
    mgn_target *points = NULL;
    MGN_TRY(mgn_target_create_rows(y, ROWS, 2, &points));
    mgn_train_config config = usual("sinkhorn", "adam");
    config.loss.target = points;
    config.loss.sinkhorn.blur = 0.1;
    const mgn_status status = train_with("cpu", &config, NULL, sum);
    mgn_target_destroy(points);
    return status;
}

static mgn_status train_second_order(uint64_t *sum) {
    static const char *const kinds[] = {"lbfgs", "newton", "gauss-newton"};
    for (size_t i = 0; i < MGN_COUNT(kinds); i++) {
        const mgn_train_config config = usual("mse", kinds[i]);
        MGN_TRY(train_with("cpu", &config, y, sum));
    }
    return MGN_OK;
}

static mgn_status train_semidual(uint64_t *sum) {
    static const mgn_model_config shape = {.kind = "dicnn", .d = 2, .h = 4, .layers = 1, .activation = MGN_SOFTPLUS};
    mgn_train_config config = usual("semidual", "adam");
    mgn_device *device = NULL;
    mgn_model *model = NULL;
    mgn_semidual_result result = {0};
    const mgn_clouds clouds = {x, y, ROWS, ROWS};
    mgn_status status = mgn_device_open("cpu", &device);
    if (status == MGN_OK) status = mgn_model_create(&shape, 1, &model);
    if (status == MGN_OK) status = mgn_semidual_start(model, &clouds, 1);
    if (status == MGN_OK) status = mgn_semidual(model, device, &clouds, &config, &result);
    if (status == MGN_OK) add(sum, mgn_model_values(model), (size_t)mgn_model_parameter_count(model) * sizeof(double));
    mgn_model_destroy(model);
    mgn_device_close(device);
    return status;
}

static mgn_status use_map(const mgn_model *model, mgn_device *device, uint64_t *sum) {
    mgn_map *map = NULL;
    MGN_TRY(mgn_map_create(model, device, MGN_F32, &map));
    float image[2 * ROWS];
    double jacobian[4 * ROWS], logdet[ROWS];
    mgn_status status = mgn_map_apply(map, x, ROWS, image);
    if (status == MGN_OK) status = mgn_map_jacobian(map, x, ROWS, jacobian);
    if (status == MGN_OK) status = mgn_map_logdet(map, x, ROWS, logdet);
    if (status == MGN_OK) {
        add(sum, image, sizeof image);
        add(sum, jacobian, sizeof jacobian);
        add(sum, logdet, sizeof logdet);
    }
    mgn_map_destroy(map);
    return status;
}

static mgn_status save_load_apply(uint64_t *sum) {
    mgn_device *device = NULL;
    mgn_model *model = NULL, *loaded = NULL, *copy = NULL;
    mgn_status status = mgn_device_open("cpu", &device);
    if (status == MGN_OK) status = mgn_model_create(&cascade, 1, &model);
    if (status == MGN_OK) status = mgn_model_save(model, in_folder("map.safetensors"));
    if (status == MGN_OK) status = mgn_model_load(in_folder("map.safetensors"), &loaded);
    if (status == MGN_OK) status = mgn_model_clone(loaded, &copy);
    if (status == MGN_OK) status = use_map(copy, device, sum);
    if (status == MGN_OK) status = add_file(sum, in_folder("map.safetensors"));
    mgn_model_destroy(model);
    mgn_model_destroy(loaded);
    mgn_model_destroy(copy);
    mgn_device_close(device);
    return status;
}

static mgn_status divergence(uint64_t *sum) {
    mgn_device *device = NULL;
    float gradient[2 * ROWS];
    mgn_sinkhorn_result result = {0};
    const mgn_sinkhorn_config config = {.blur = 0.1};
    MGN_TRY(mgn_device_open("cpu", &device));
    const mgn_status status = mgn_sinkhorn(device, x, NULL, ROWS, y, NULL, ROWS, 2, &config, &result, gradient);
    if (status == MGN_OK) add(sum, gradient, sizeof gradient);
    mgn_device_close(device);
    return status;
}

static mgn_status mixture_files(const mgn_mixture *mixture, uint64_t *sum) {
    static const char *const names[] = {"mixture.json", "mixture.safetensors"};
    for (size_t i = 0; i < MGN_COUNT(names); i++) {
        mgn_mixture again = {0};
        MGN_TRY(mgn_mixture_save(mixture, in_folder(names[i])));
        MGN_TRY(mgn_mixture_load(in_folder(names[i]), &again));
        add(sum, again.covariances, (size_t)(again.k * again.d * again.d) * sizeof(double));
        mgn_mixture_free(&again);
    }
    return MGN_OK;
}

static mgn_status mixtures(uint64_t *sum) {
    mgn_device *device = NULL;
    mgn_mixture fitted[2] = {{0}};
    mgn_mixture_fit_result results[2];
    const mgn_mixture_fit_config config = {.seed = 3};
    int64_t elbow = 0;
    MGN_TRY(mgn_device_open("cpu", &device));
    mgn_status status = mgn_mixture_curve(device, y, ROWS, 2, 1, 2, &config, fitted, results, &elbow);
    if (status == MGN_OK) status = mixture_files(&fitted[1], sum);
    for (size_t i = 0; i < 2; i++) mgn_mixture_free(&fitted[i]);
    mgn_device_close(device);
    return status;
}

static mgn_status tables(uint64_t *sum) {
    static const char *const names[] = {"table.npy", "table.csv"};
    for (size_t i = 0; i < MGN_COUNT(names); i++) {
        mgn_matrix out = {.rows = ROWS, .columns = 2, .values = x}, in = {0};
        mgn_target *target = NULL;
        MGN_TRY(mgn_table_write(in_folder(names[i]), &out));
        MGN_TRY(mgn_table_read(in_folder(names[i]), &in));
        add(sum, in.values, (size_t)(in.rows * in.columns) * sizeof(float));
        mgn_matrix_free(&in);
        MGN_TRY(mgn_target_parse(in_folder(names[i]), &target));
        mgn_target_destroy(target);
    }
    return MGN_OK;
}

/* ---- pictures ---- */

static const char *const picture_names[] = {"a.jpg", "b.png"};

static mgn_image *small_picture(int which) { return make_smooth(24 + 8 * (size_t)which, 24, 3); }

static mgn_status pictures(uint64_t *sum) {
    mgn_image *image = NULL;
    MGN_TRY(mgn_image_create(24, 24, 3, 8, &image));
    for (size_t i = 0; i < samples(image); i++) set(image, i, (unsigned)(i * 7 % 256));
    mgn_status status = mgn_image_set_block(image, MGN_IMAGE_EXIF, "Exif\0\0II*\0\10\0\0\0\0\0\0\0\0\0", 20);
    for (size_t i = 0; i < MGN_COUNT(picture_names) && status == MGN_OK; i++) {
        mgn_image *read = NULL;
        status = mgn_image_write(image, in_folder(picture_names[i]), NULL);
        if (status == MGN_OK) status = mgn_image_read(in_folder(picture_names[i]), &read);
        if (status == MGN_OK) add(sum, read->pixels, samples(read));
        mgn_image_destroy(read);
    }
    mgn_image_destroy(image);
    return status;
}

static mgn_status recolor_by(const mgn_recolor_config *config, uint64_t *sum) {
    mgn_device *device = NULL;
    mgn_model *model = NULL;
    mgn_map *map = NULL;
    mgn_image *source = NULL, *target = NULL, *result = NULL;
    mgn_train_result training = {0};
    mgn_recolor_quality quality = {0};
    size_t width, height;
    mgn_status status = mgn_device_open("cpu", &device);
    if (status == MGN_OK) status = mgn_image_read(mgn_test_path("in/0.jpg"), &source);
    if (status == MGN_OK) status = mgn_image_read(mgn_test_path("in/1.jpg"), &target);
    if (status == MGN_OK) status = mgn_recolor_learn(source, target, device, config, &model, &training);
    if (status == MGN_OK) status = mgn_map_create(model, device, MGN_F32, &map);
    if (status == MGN_OK) status = mgn_recolor_apply(map, source, &result);
    if (status == MGN_OK) status = mgn_recolor_measure(map, source, target, 1, &quality);
    if (status == MGN_OK) status = mgn_lut_write(map, 5, in_folder("look.cube"));
    if (status == MGN_OK)
        status = mgn_recolor_file(map, mgn_test_path("in/0.jpg"), in_folder("out.jpg"), NULL, &width, &height);
    if (status == MGN_OK) {
        add(sum, result->pixels, samples(result));
        add(sum, &quality.w2_after, sizeof quality.w2_after);
        status = add_file(sum, in_folder("out.jpg"));
    }
    mgn_image_destroy(source);
    mgn_image_destroy(target);
    mgn_image_destroy(result);
    mgn_map_destroy(map);
    mgn_model_destroy(model);
    mgn_device_close(device);
    return status;
}

static mgn_status recolor_gaussian(uint64_t *sum) {
    return recolor_by(&(mgn_recolor_config){.epochs = 2, .sample = 200}, sum);
}

static mgn_status recolor_mixture(uint64_t *sum) {
    return recolor_by(&(mgn_recolor_config){.epochs = 2, .sample = 200, .components = 2}, sum);
}

static mgn_status recolor_sinkhorn(uint64_t *sum) {
    return recolor_by(&(mgn_recolor_config){.epochs = 1, .sample = 100, .sinkhorn = true}, sum);
}

static mgn_status recolor_pixels(uint64_t *sum) {
    return recolor_by(&(mgn_recolor_config){.sample = 100, .pixels = true}, sum);
}

typedef struct scenario {
    const char *label;
    scenario_function *run;
    uint64_t stride; /* one allocation of so many fails, the first of them drawn; all of them with MGN_FAULTS=all */
} scenario;

static const scenario scenarios[] = {
    {"training and resuming", train_and_resume, 2},
    {"saving, loading and applying a map", save_load_apply, 1},
    {"mixtures", mixtures, 1},
    {"tables", tables, 1},
    {"pictures", pictures, 1},
    {"recolouring by a Gaussian", recolor_gaussian, 3},
    {"training by a density", train_by_density, 1},
    {"training to points", train_to_points, 2},
    {"optimizers of second order", train_second_order, 2},
    {"semi-dual training", train_semidual, 1},
    {"a divergence of clouds", divergence, 1},
    {"recolouring by a mixture", recolor_mixture, 12},
    {"recolouring by Sinkhorn", recolor_sinkhorn, 16},
    {"recolouring by pixels", recolor_pixels, 6},
};
enum { WITH_FILES = 6 }; /* what comes after these touches no other files */

/* ---- one failure after another ---- */

/* What is in the folder, temporaries being complained about. */
static void check_folder(const char *what) {
    DIR *listing = opendir(folder);
    ck_assert_ptr_nonnull(listing);
    for (struct dirent *entry; (entry = readdir(listing));)
        ck_assert_msg(!strstr(entry->d_name, ".tmp"), "%s: %s is left over", what, entry->d_name);
    closedir(listing);
}

static const char no_sentence[] = "nothing was said";

/* Other statuses than MEMORY that say what happened. cJSON and libspng tell of wrong data and of missing memory alike. */
static bool is_fitting(mgn_fault_kind kind, mgn_status status, const char *said) {
    if (kind == MGN_FAULT_FILE) return status == MGN_ERR_IO;
    return kind == MGN_FAULT_LIBRARY && status == MGN_ERR_FORMAT &&
           (strstr(said, "(or memory ran out)") || strstr(said, "IDAT stream error"));
}

/* Between the two, notes are kept instead of shown. The second says whether steps were cut, which adds gradients in another
 * order. Nothing here may run while calls fail: a check would be hit, too. */
typedef struct ear {
    int ends[2], console;
} ear;

static ear listen_begin(void) {
    ear e;
    ck_assert_int_eq(pipe2(e.ends, O_NONBLOCK), 0);
    e.console = dup(STDERR_FILENO);
    dup2(e.ends[1], STDERR_FILENO);
    mgn_set_quiet(false);
    return e;
}

static bool listen_end(ear e) {
    static char notes[1 << 16];
    mgn_set_quiet(true);
    dup2(e.console, STDERR_FILENO);
    const ssize_t size = read(e.ends[0], notes, sizeof notes - 1);
    notes[MGN_MAX(size, 0)] = 0;
    close(e.console);
    close(e.ends[0]);
    close(e.ends[1]);
    return strstr(notes, "has no memory for this training at once") && strstr(notes, "is cut into");
}

/* One disturbed run. False when nothing was left to disturb. */
static bool disturb(const scenario *s, mgn_fault_kind kind, uint64_t n, bool all, uint64_t good) {
    char what[256];
    uint64_t sum = MGN_HASH_START;
    mgn_fail(MGN_OK, no_sentence);
    const int64_t live = mgn_fault_live_blocks();
    const int files = mgn_fault_open_files();
    const ear notes = listen_begin();
    mgn_fault_arm(kind, n, all, kind == MGN_FAULT_FILE ? ENOSPC : ENOMEM);
    const mgn_status status = s->run(&sum);
    mgn_fault_disarm();
    const bool is_cut = listen_end(notes);
    const char *said = mgn_last_error();
    snprintf(what, sizeof what, "%s, %s %d%s (%s)", s->label, kind == MGN_FAULT_FILE ? "file call" : "allocation",
             (int)n, all ? " and all after it" : "", mgn_fault_struck_in());
    if (status == MGN_OK && sum != good && !is_cut) mgn_fault_mistaken(what, "another result, and nothing is said");
    if (status != MGN_OK && !mgn_fault_has_struck()) mgn_fault_mistaken(what, "fails undisturbed: %s", said);
    if (status != MGN_OK && strcmp(said, no_sentence) == 0)
        mgn_fault_mistaken(what, "status %d without a sentence", (int)status);
    if (status != MGN_OK && status != MGN_ERR_MEMORY && !is_fitting(kind, status, said))
        mgn_fault_mistaken(what, "status %d: %s", (int)status, said);
    const int leaked = (int)(mgn_fault_live_blocks() - live);
    if (leaked != 0) mgn_fault_mistaken(what, "%d blocks are leaked; status %d: %s", leaked, (int)status, said);
    if (mgn_fault_open_files() != files)
        mgn_fault_mistaken(what, "a file stays open; status %d: %s", (int)status, said);
    check_folder(what);
    return mgn_fault_has_struck();
}

static void disturb_all(const scenario *s, mgn_fault_kind kind) {
    if (!mgn_fault_possible(kind)) MGN_TEST_SKIP("the address sanitizer holds the place of malloc");
    uint64_t good = MGN_HASH_START, again = MGN_HASH_START, single = 0, lasting = 0;
    MGN_ASSERT_OK(s->run(&good)); /* what is made once and kept is made now */
    mgn_fault_arm(kind, 0, false, 0);
    MGN_ASSERT_OK(s->run(&again));
    const uint64_t count = mgn_fault_disarm();
    ck_assert_msg(again == good, "%s: two runs differ", s->label);
    const char *asked = getenv("MGN_FAULTS");
    const bool is_whole = asked && strcmp(asked, "all") == 0;
    const uint64_t stride = is_whole ? 1 : s->stride, often = is_whole ? 1 : 1 + count / 40;
    mgn_test_random random = mgn_test_random_named(s->label);
    const uint64_t first = 1 + mgn_test_bits(&random) % stride;
    uint64_t tried = 0;
    for (uint64_t n = first; n <= count; n += stride, tried++) single += disturb(s, kind, n, false, good);
    for (uint64_t n = first; n <= count; n += often) lasting += disturb(s, kind, n, true, good);
    const int mistakes = mgn_fault_mistakes();
    ck_assert_msg(mistakes > 0 || single == tried, "%s: %d of %d failures struck", s->label, (int)single, (int)tried);
    printf("%s: %d single and %d lasting failures\n", s->label, (int)single, (int)lasting);
    fflush(stdout);
    ck_assert_msg(mistakes == 0, "%s: %d mistakes", s->label, mistakes);
}

START_TEST(allocations_fail) { disturb_all(&scenarios[_i], MGN_FAULT_ALLOCATION); }
END_TEST

START_TEST(allocations_of_libraries_fail) { disturb_all(&scenarios[_i], MGN_FAULT_LIBRARY); }
END_TEST

START_TEST(files_fail) { disturb_all(&scenarios[_i], MGN_FAULT_FILE); }
END_TEST

static void begin(void) {
    mgn_test_field(mgn_test_random_named("rows"), x, y, ROWS);
    snprintf(folder, sizeof folder, "%s", mgn_test_path("out"));
    mkdir(folder, 0700);
    mkdir(mgn_test_path("in"), 0700);
    for (int i = 0; i < 2; i++) {
        mgn_image *image = small_picture(i);
        MGN_ASSERT_OK(mgn_image_write(image, mgn_test_path(i ? "in/1.jpg" : "in/0.jpg"), NULL));
        mgn_image_destroy(image);
    }
    mgn_set_threads(1); /* so that number n is the same call every time */
    mgn_set_quiet(true);
}

int main(void) {
    Suite *suite = suite_create("faults");
    TCase *all = tcase_create("faults");
    const int count = (int)MGN_COUNT(scenarios);
    tcase_set_timeout(all, 120);
    tcase_add_checked_fixture(all, begin, NULL);
    tcase_add_loop_test(all, allocations_fail, 0, count);
    tcase_add_loop_test(all, allocations_of_libraries_fail, 0, WITH_FILES);
    tcase_add_loop_test(all, files_fail, 0, WITH_FILES);
    suite_add_tcase(suite, all);
    return mgn_test_main(suite);
}
