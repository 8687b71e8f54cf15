/* Rows that are read while training computes: the same rows give the same bits however they are read, every row is seen once
 * an epoch, and what goes wrong in a file ends the training with its sentence. */
#include "refusals.h"

#include <math.h>
#include <stdlib.h>
#include <time.h>

#include <cjson/cJSON.h>

#include <mgn/data.h>
#include <mgn/model.h>
#include <mgn/target.h>
#include <mgn/train.h>

#include "core/core.h"
#include "group.h"

enum { ROWS = 1000, MOST_PARAMETERS = 64, LONG_ROWS = 1200000 };

static const mgn_model_config cascade = {.kind = "cmgn", .d = 2, .h = 3, .layers = 2};
static float x[2 * ROWS], y[2 * ROWS];

static void make_rows(void) { mgn_test_field(mgn_test_random_named("rows"), x, y, ROWS); }

/* ---- mgn_train ---- */

typedef struct reader {
    int64_t nap;    /* every so many calls; 0: never */
    int64_t broken; /* a row that cannot be read; -1: none */
    int64_t calls;
} reader;

static mgn_status read_rows(void *context, int64_t first, int64_t n, float *to, float *targets) {
    reader *r = context;
    if (r->nap && ++r->calls % r->nap == 0) nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);
    if (r->broken >= first && r->broken < first + n) return mgn_fail(MGN_ERR_IO, "row %d is broken", (int)r->broken);
    if (first < 0 || n < 1 || first + n > ROWS) return mgn_fail(MGN_ERR_ARGUMENT, "no such rows");
    memcpy(to, x + 2 * first, (size_t)(2 * n) * sizeof *to);
    if (targets) memcpy(targets, y + 2 * first, (size_t)(2 * n) * sizeof *targets);
    return MGN_OK;
}

typedef struct run {
    mgn_train_result result;
    mgn_status status;
    double values[MOST_PARAMETERS];
} run;

static int64_t stop_after; /* 0: never */

static bool stop_there(void *context, const mgn_train_report *report) {
    (void)context;
    return stop_after == 0 || report->epoch < stop_after;
}

static run train(const mgn_train_config *config, const mgn_samples *samples) {
    run r = {0};
    mgn_device *device = NULL;
    mgn_model *model = NULL;
    mgn_train_config with_report = *config;
    with_report.report = stop_there;
    MGN_ASSERT_OK(mgn_device_open("cpu", &device));
    MGN_ASSERT_OK(mgn_model_create(&cascade, 3, &model));
    r.status = mgn_train(model, device, samples, &with_report, &r.result);
    memcpy(r.values, mgn_model_values(model), (size_t)mgn_model_parameter_count(model) * sizeof *r.values);
    mgn_model_destroy(model);
    mgn_device_close(device);
    return r;
}

static mgn_train_config usual(void) {
    mgn_train_config config = {.loss = {.kind = "mse"},
                               .optimizer = {.kind = "adam", .lr = 0.01},
                               .batch = 32,
                               .epochs = 4,
                               .seed = 4,
                               .real = MGN_F64};
    mgn_test_share(&config);
    return config;
}

static mgn_row_source source_of(reader *r, int64_t window, int64_t block) {
    return (mgn_row_source){
        .n = ROWS, .window = window, .block = block, .read = read_rows, .context = r, .has_targets = true};
}

static void assert_same(const run *a, const run *b, const char *what) {
    ck_assert_msg(a->status == b->status && a->result.loss == b->result.loss && a->result.steps == b->result.steps &&
                      memcmp(a->values, b->values, sizeof a->values) == 0,
                  "%s: loss %.17g after %d steps, and %.17g after %d", what, a->result.loss, (int)a->result.steps,
                  b->result.loss, (int)b->result.steps);
}

START_TEST(one_window_is_memory) {
    make_rows();
    reader r = {.broken = -1};
    const mgn_samples samples = {x, y, ROWS};
    const mgn_row_source source = source_of(&r, ROWS + 7, 13);
    mgn_train_config config = usual();
    const run held = train(&config, &samples);
    config.source = &source;
    const run read = train(&config, NULL);
    ck_assert_int_eq(held.status, MGN_OK);
    assert_same(&held, &read, "rows in one window");
}
END_TEST

/* Without movement, an epoch's mean loss over batches of equal size is that of all rows, in whatever order they come. */
START_TEST(every_row_is_seen_once) {
    static const int64_t windows[][2] = {{200, 7}, {64, 64}, {40, 1}, {250, 1000}, {3, 5}};
    make_rows();
    reader r = {.broken = -1};
    const mgn_samples samples = {x, y, ROWS};
    mgn_train_config config = usual();
    config.optimizer.lr = 1e-300;
    config.batch = 40;
    config.epochs = 1;
    const run held = train(&config, &samples);
    for (size_t i = 0; i < MGN_COUNT(windows); i++) {
        const mgn_row_source source = source_of(&r, windows[i][0], windows[i][1]);
        config.source = &source;
        const run read = train(&config, NULL);
        ck_assert_int_eq(read.status, MGN_OK);
        ck_assert_int_eq(read.result.steps, ROWS / 40);
        ck_assert_msg(fabs(read.result.loss / held.result.loss - 1) < 1e-12, "windows of %d: loss %.17g, not %.17g",
                      (int)windows[i][0], read.result.loss, held.result.loss);
    }
}
END_TEST

/* Windows of 96 rows leave 40 for the last, which has a batch of 32 and one of 8. */
START_TEST(speed_of_reading_changes_nothing) {
    make_rows();
    reader fast = {.broken = -1}, slow = {.broken = -1, .nap = 5};
    const mgn_row_source quick = source_of(&fast, 100, 9), lazy = source_of(&slow, 100, 9);
    for (int64_t accumulate = 1; accumulate <= 3; accumulate += 2) {
        mgn_train_config config = usual();
        config.accumulate = accumulate;
        config.source = &quick;
        const run a = train(&config, NULL);
        config.source = &lazy;
        const run b = train(&config, NULL);
        ck_assert_int_eq(a.status, MGN_OK);
        assert_same(&a, &b, "a slow reader");
        const int64_t batches = (ROWS + 31) / 32, steps = (batches + accumulate - 1) / accumulate;
        ck_assert_int_eq(a.result.steps, 4 * steps);
    }
}
END_TEST

START_TEST(resumed_is_unstopped) {
    make_rows();
    reader r = {.broken = -1};
    const mgn_row_source source = source_of(&r, 100, 9), other = source_of(&r, 200, 9);
    mgn_train_config config = usual();
    config.source = &source;
    const run whole = train(&config, NULL);
    config.control.checkpoint = mgn_test_path("state.safetensors");
    stop_after = 2;
    const run half = train(&config, NULL);
    ck_assert_int_eq(half.status, MGN_ERR_INTERRUPTED);
    stop_after = 0;
    config.control.resume = config.control.checkpoint;
    const run rest = train(&config, NULL);
    assert_same(&whole, &rest, "a resumed training");
    config.source = &other;
    ck_assert_int_eq(train(&config, NULL).status, MGN_ERR_ARGUMENT);
    ck_assert_msg(strstr(mgn_last_error(), "window was '100'") || strstr(mgn_last_error(), "rows was"),
                  "another window: %s", mgn_last_error());
}
END_TEST

START_TEST(failures_are_the_readers) {
    make_rows();
    reader r = {.broken = ROWS - 1};
    const mgn_row_source source = source_of(&r, 100, 9), none = {.n = 0, .window = 1, .block = 1};
    mgn_train_config config = usual();
    config.source = &source;
    ck_assert_int_eq(train(&config, NULL).status, MGN_ERR_IO);
    ck_assert_msg(strstr(mgn_last_error(), "row 999 is broken"), "%s", mgn_last_error());
    strcpy(config.optimizer.kind, "newton");
    ck_assert_int_eq(train(&config, NULL).status, MGN_ERR_UNSUPPORTED);
    config = usual();
    config.source = &source;
    config.batch = 0;
    ck_assert_int_eq(train(&config, NULL).status, MGN_ERR_ARGUMENT);
    config = usual();
    config.source = &none;
    ck_assert_int_ne(train(&config, NULL).status, MGN_OK);
    x[2 * 999] = NAN; /* in memory that the reader gives */
    r.broken = -1;
    config = usual();
    config.source = &source;
    ck_assert_int_eq(train(&config, NULL).status, MGN_ERR_NUMERIC);
}
END_TEST

/* ---- files ---- */

static char folder[512];

static void write_rows(const char *name, const float *rows, int64_t n, int64_t d) {
    char path[600];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    MGN_ASSERT_OK(mgn_npy_write(path, &(mgn_matrix){n, d, (float *)rows}));
}

static void make_files(void) {
    make_rows();
    snprintf(folder, sizeof folder, "%s", mgn_test_path("files"));
    mgn_test_process made = mgn_test_shell("rm -rf %s && mkdir -p %s/dir", folder, folder);
    ck_assert_int_eq(made.code, 0);
    mgn_test_process_free(&made);
    write_rows("all.npy", x, ROWS, 2);
    write_rows("images.npy", y, ROWS, 2);
    write_rows("dir/a.npy", x, 300, 2);
    write_rows("dir/b.npy", x + 600, 1, 2);
    write_rows("dir/c.npy", x + 602, ROWS - 301, 2);
    write_rows("wide.npy", x, 10, 3);
    char list[600];
    snprintf(list, sizeof list, "%s/list.txt", folder);
    static const char text[] = "# the parts\ndir/a.npy\r\n\ndir/b.npy  \ndir/c.npy";
    mgn_test_write_file(list, text, sizeof text - 1);
}

/* The parameters that are learned. */
static void fit(const char *arguments, double values[MOST_PARAMETERS]) {
    mgn_test_process process = mgn_test_shell("cd %s && \"$MGN_BINARY\" fit %s -o map.safetensors --epochs 2 "
                                              "--window 128 -q --device cpu",
                                              folder, arguments);
    ck_assert_msg(process.code == 0, "mgn fit %s: %s", arguments, process.err);
    mgn_test_process_free(&process);
    mgn_model *model = NULL;
    char path[600];
    snprintf(path, sizeof path, "%s/map.safetensors", folder);
    MGN_ASSERT_OK(mgn_model_load(path, &model));
    const size_t count = (size_t)mgn_model_parameter_count(model);
    ck_assert_uint_le(count, MOST_PARAMETERS);
    memcpy(values, mgn_model_values(model), count * sizeof *values);
    mgn_model_destroy(model);
}

START_TEST(parts_are_one_table) {
    static const char *const lists[] = {"dir/a.npy,dir/b.npy,dir/c.npy", "'dir/*.npy'", "dir", "@list.txt"};
    make_files();
    double one[MOST_PARAMETERS] = {0}, other[MOST_PARAMETERS] = {0};
    fit("-s all.npy -t images.npy --paired", one);
    for (size_t i = 0; i < MGN_COUNT(lists); i++) {
        char arguments[200];
        snprintf(arguments, sizeof arguments, "-s %s -t images.npy --paired", lists[i]);
        fit(arguments, other);
        ck_assert_msg(memcmp(one, other, sizeof one) == 0, "%s: other parameters than those of one file", lists[i]);
    }
}
END_TEST

START_TEST(walking_gives_the_moments) {
    make_files();
    static float rows[2 * ROWS];
    double mean[2], covariance[4], own[2], own_covariance[4];
    char path[600];
    mgn_target *held = NULL;
    snprintf(path, sizeof path, "%s/dir", folder);
    MGN_ASSERT_OK(mgn_target_parse(path, &held));
    ck_assert(!mgn_target_is_mapped(held) && mgn_target_count(held) == ROWS);
    MGN_ASSERT_OK(mgn_target_read(held, 299, 3, rows));
    ck_assert(memcmp(rows, x + 2 * 299, 6 * sizeof *rows) == 0);
    MGN_ASSERT_FAILS(mgn_target_read(held, ROWS - 1, 2, rows), MGN_ERR_ARGUMENT, "has 1000");
    mgn_target_destroy(held);
    /* above 64 MiB it stays in its file: constant rows and, from the middle on, others */
    const int64_t n = 9000000;
    float *many = malloc((size_t)(2 * n) * sizeof *many);
    ck_assert_ptr_nonnull(many);
    for (int64_t i = 0; i < 2 * n; i++) many[i] = i % 2 ? -3.5f : 1e6f + (i > n ? 2.0f : 0);
    write_rows("long.npy", many, n, 2);
    snprintf(path, sizeof path, "%s/long.npy", folder);
    MGN_ASSERT_OK(mgn_target_parse(path, &held));
    ck_assert(mgn_target_is_mapped(held));
    MGN_ASSERT_OK(mgn_target_moments(held, mean, covariance));
    mgn_target_destroy(held);
    MGN_ASSERT_OK(mgn_target_create_rows(many, n, 2, &held));
    MGN_ASSERT_OK(mgn_target_moments(held, own, own_covariance));
    mgn_target_destroy(held);
    free(many);
    for (int i = 0; i < 2; i++) ck_assert_double_eq_tol(mean[i], own[i], 1e-7);
    for (int i = 0; i < 4; i++) ck_assert_double_eq_tol(covariance[i], own_covariance[i], 1e-9);
    ck_assert_double_eq(covariance[3], 0);
}
END_TEST

/* More rows than a piece: what comes out is what the map makes of all at once. */
START_TEST(apply_works_in_pieces) {
    make_files();
    double values[MOST_PARAMETERS];
    fit("-s all.npy -t images.npy --paired", values);
    float *many = malloc((size_t)LONG_ROWS * 2 * sizeof *many);
    ck_assert_ptr_nonnull(many);
    for (int i = 0; i < 2 * LONG_ROWS; i++) many[i] = x[i % (2 * ROWS)] + 1e-7f * (float)i;
    write_rows("long.npy", many, LONG_ROWS, 2);
    mgn_test_process process =
        mgn_test_shell("cd %s && \"$MGN_BINARY\" apply map.safetensors long.npy -o images.npy -q --device cpu", folder);
    ck_assert_msg(process.code == 0, "%s", process.err);
    mgn_test_process_free(&process);
    mgn_matrix images;
    mgn_model *model = NULL;
    mgn_device *device = NULL;
    mgn_map *map = NULL;
    char path[600];
    snprintf(path, sizeof path, "%s/images.npy", folder);
    MGN_ASSERT_OK(mgn_npy_read(path, &images));
    ck_assert(images.rows == LONG_ROWS && images.columns == 2);
    snprintf(path, sizeof path, "%s/map.safetensors", folder);
    MGN_ASSERT_OK(mgn_model_load(path, &model));
    MGN_ASSERT_OK(mgn_device_open("cpu", &device));
    MGN_ASSERT_OK(mgn_map_create(model, device, MGN_F32, &map));
    MGN_ASSERT_OK(mgn_map_apply(map, many, LONG_ROWS, many));
    ck_assert(memcmp(many, images.values, (size_t)LONG_ROWS * 2 * sizeof *many) == 0);
    mgn_map_destroy(map);
    mgn_model_destroy(model);
    mgn_device_close(device);
    mgn_matrix_free(&images);
    free(many);
}
END_TEST

START_TEST(bad_lists_are_refused) {
    static const refusal refused[] = {
        {"fit -s dir/a.npy,wide.npy -t normal:2 -o m", 2, "wide.npy has 3 columns|dir/a.npy has 2"},
        {"fit -s dir/a.npy,,dir/b.npy -t normal:2 -o m", 2, "empty name"},
        {"fit -s dir/a.npy,none.npy -t normal:2 -o m", 1, "none.npy does not exist"},
        {"fit -s 'dir/z*.npy' -t normal:2 -o m", 1, "no list that names one"},
        {"fit -s @list.txt,2 -t normal:2 -o m", 1, "list.txt,2 does not exist"},
        {"fit -s normal:2 -t normal:2 --window 10 -o m", 2, "--window is for tables"},
        {"fit -s all.npy -t normal:2 --window 10 --samples 5 -o m", 2, "--window|--samples"},
        {"fit -s all.npy -t normal:2 --window 10 --optimizer newton -o m", 2, "--window|newton"},
        {"fit -s all.npy -t normal:2 --window 10 --loss semidual -o m", 2, "--window|semidual"},
    };
    make_files();
    for (size_t i = 0; i < MGN_COUNT(refused); i++) check_refusal(folder, &refused[i]);
}
END_TEST

int main(void) {
    mgn_test_join();
    Suite *suite = suite_create("stream");
    TCase *training = tcase_create("training"), *files = tcase_create("files");
    tcase_add_test(training, one_window_is_memory);
    tcase_add_test(training, every_row_is_seen_once);
    tcase_add_test(training, speed_of_reading_changes_nothing);
    tcase_add_test(training, resumed_is_unstopped);
    tcase_add_test(training, failures_are_the_readers);
    tcase_add_test(files, parts_are_one_table);
    tcase_add_test(files, walking_gives_the_moments);
    tcase_add_test(files, apply_works_in_pieces);
    tcase_add_test(files, bad_lists_are_refused);
    tcase_set_timeout(training, 60);
    tcase_set_timeout(files, 100);
    suite_add_tcase(suite, training);
    suite_add_tcase(suite, files);
    return mgn_test_main(suite);
}
