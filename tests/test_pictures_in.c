/* Pictures and large tables as rows to learn from: CIFAR-10's batches, folders of pictures, .npy files that stay where
 * they are. What is stored comes out; what is damaged, cut off or lies about its size is refused with a sentence. */
#include "pictures.h"

#include <stdio.h>
#include <unistd.h>

#include <mgn/image_set.h>
#include <mgn/model.h>
#include <mgn/target.h>

#include "core/core.h"

/* ---- CIFAR-10 ---- */

enum { PICTURES = 12, PLANE = 1024, RECORD = 1 + 3 * PLANE };

/* Byte k of plane c of picture i. */
static unsigned cifar_byte(int i, int c, int k) { return (unsigned)(17 * i + 91 * c + 7 * k + k / 32) & 255u; }

static unsigned char *make_cifar(void) {
    unsigned char *bytes = malloc(PICTURES * RECORD);
    ck_assert_ptr_nonnull(bytes);
    for (int i = 0; i < PICTURES; i++) {
        bytes[i * RECORD] = (unsigned char)(i % 10);
        for (int k = 0; k < 3 * PLANE; k++)
            bytes[i * RECORD + 1 + k] = (unsigned char)cifar_byte(i, k / PLANE, k % PLANE);
    }
    return bytes;
}

START_TEST(cifar_comes_out_as_stored) {
    unsigned char *bytes = make_cifar();
    mgn_image_set set = {0};
    MGN_ASSERT_OK(mgn_cifar_parse(bytes, PICTURES * RECORD, "batch", &set));
    ck_assert_int_eq(set.count, PICTURES);
    ck_assert(set.height == 32 && set.width == 32 && set.channels == 3);
    for (int i = 0; i < PICTURES; i++) {
        ck_assert_int_eq(set.labels[i], i % 10);
        for (int k = 0; k < PLANE; k++)
            for (int c = 0; c < 3; c++) ck_assert_int_eq(set.pixels[(i * PLANE + k) * 3 + c], (int)cifar_byte(i, c, k));
    }
    mgn_image_set_free(&set);
    free(bytes);
}
END_TEST

START_TEST(damaged_cifar_is_refused) {
    unsigned char *bytes = make_cifar();
    mgn_image_set set = {0};
    MGN_ASSERT_FAILS(mgn_cifar_parse(bytes, PICTURES * RECORD - 1, "batch", &set), MGN_ERR_FORMAT, "records");
    MGN_ASSERT_FAILS(mgn_cifar_parse(bytes, 0, "batch", &set), MGN_ERR_FORMAT, "0 bytes");
    MGN_ASSERT_FAILS(mgn_cifar_parse(bytes, 1, "batch", &set), MGN_ERR_FORMAT, "3073");
    bytes[7 * RECORD] = 10;
    MGN_ASSERT_FAILS(mgn_cifar_parse(bytes, PICTURES * RECORD, "batch", &set), MGN_ERR_FORMAT, "record 7");
    MGN_ASSERT_FAILS(mgn_cifar_parse(NULL, RECORD, "batch", &set), MGN_ERR_ARGUMENT, "NULL");
    ck_assert_ptr_null(set.pixels);
    free(bytes);
}
END_TEST

START_TEST(grey_is_the_luma_in_all_channels) {
    mgn_image_set set = {0};
    MGN_ASSERT_OK(mgn_image_set_create(1, 1, 3, 3, &set));
    memcpy(set.pixels, (uint8_t[]){255, 0, 0, 0, 255, 0, 10, 20, 30}, 9);
    mgn_image_set_make_grey(&set);
    const uint8_t expected[] = {76, 76, 76, 150, 150, 150, 18, 18, 18};
    ck_assert_int_eq(memcmp(set.pixels, expected, 9), 0);
    mgn_image_set_free(&set);
}
END_TEST

/* ---- folders ---- */

/* A folder "pictures" with b.png (6 x 4, RGB), a.jpg (12 x 8, grey), and things that are no pictures. */
static const char *make_folder(void) {
    static char folder[512];
    snprintf(folder, sizeof folder, "%s", mgn_test_path("pictures"));
    mgn_test_process made = mgn_test_shell("rm -rf %s && mkdir -p %s/inner.png && echo text >%s/notes.txt && "
                                           "echo no >%s/.hidden.png",
                                           folder, folder, folder, folder);
    ck_assert_int_eq(made.code, 0);
    mgn_test_process_free(&made);
    char path[600];
    mgn_image *colour = make_smooth(6, 4, 3), *grey = make_smooth(12, 8, 1);
    snprintf(path, sizeof path, "%s/b.png", folder);
    MGN_ASSERT_OK(mgn_image_write(colour, path, NULL));
    snprintf(path, sizeof path, "%s/a.jpg", folder);
    MGN_ASSERT_OK(mgn_image_write(grey, path, &(mgn_image_write_options){.quality = 100}));
    mgn_image_destroy(colour);
    mgn_image_destroy(grey);
    return folder;
}

START_TEST(a_folder_becomes_pictures_of_one_shape) {
    const char *folder = make_folder();
    mgn_image_set set = {0}, small = {0};
    MGN_ASSERT_OK(mgn_folder_read(folder, NULL, &set));
    ck_assert(set.count == 2 && set.width == 12 && set.height == 8 && set.channels == 3 && !set.labels);
    for (int k = 0; k < 96; k++) /* a.jpg comes first, with three equal channels */
        ck_assert(set.pixels[3 * k] == set.pixels[3 * k + 1] && set.pixels[3 * k] == set.pixels[3 * k + 2]);
    mgn_image_set_free(&set);

    const mgn_folder_options options = {.width = 3, .height = 2};
    mgn_image *colour = make_smooth(6, 4, 3);
    MGN_ASSERT_OK(mgn_folder_read(folder, &options, &small));
    ck_assert(small.count == 2 && small.width == 3 && small.height == 2 && small.channels == 3);
    for (size_t y = 0; y < 2; y++)
        for (size_t x = 0; x < 3; x++)
            for (size_t c = 0; c < 3; c++) {
                double mean = 0; /* of the 2 x 2 pixels of b.png that this one covers */
                for (size_t k = 0; k < 4; k++)
                    mean += sample(colour, ((2 * y + k / 2) * 6 + 2 * x + k % 2) * 3 + c) / 4.0;
                ck_assert_double_eq_tol(small.pixels[18 + (y * 3 + x) * 3 + c], mean, 1.01);
            }
    mgn_image_destroy(colour);
    mgn_image_set_free(&small);

    MGN_ASSERT_OK(mgn_folder_read(folder, &(mgn_folder_options){.channels = 1}, &set));
    ck_assert(set.channels == 1 && set.count == 2);
    mgn_image_set_free(&set);
}
END_TEST

START_TEST(bad_folders_are_refused) {
    const char *folder = make_folder();
    mgn_image_set set = {0};
    char path[600];
    MGN_ASSERT_FAILS(mgn_folder_read("/nonexistent", NULL, &set), MGN_ERR_IO, "/nonexistent");
    snprintf(path, sizeof path, "%s/inner.png", folder);
    MGN_ASSERT_FAILS(mgn_folder_read(path, NULL, &set), MGN_ERR_IO, "holds no picture");
    MGN_ASSERT_FAILS(mgn_folder_read(folder, &(mgn_folder_options){.width = 3}, &set), MGN_ERR_ARGUMENT, "or neither");
    MGN_ASSERT_FAILS(mgn_folder_read(folder, &(mgn_folder_options){.channels = 2}, &set), MGN_ERR_ARGUMENT, "in 2");
    snprintf(path, sizeof path, "%s/c.png", folder);
    mgn_test_write_file(path, "\x89PNG broken", 11);
    MGN_ASSERT_FAILS(mgn_folder_read(folder, NULL, &set), MGN_ERR_FORMAT, "c.png");
    ck_assert_ptr_null(set.pixels);
}
END_TEST

/* ---- grids ---- */

START_TEST(a_grid_shows_each_row_at_its_place) {
    float values[] = {0, 1, 0.5f, 2, 1, 0, 0.25f, -1}; /* four grey pictures of 2 x 1 */
    mgn_image *grid = NULL;
    MGN_ASSERT_OK(mgn_image_grid(&(mgn_matrix){4, 2, values}, 1, 2, 3, 2, &grid));
    ck_assert(grid->width == 3 * 6 + 2 && grid->height == 2 * 4 + 2 && grid->channels == 3);
    const struct {
        size_t x, y;
        unsigned value;
    } expected[] = {{0, 0, 255},  {2, 2, 0},  {3, 3, 0},  {4, 2, 255}, {8, 2, 128},
                    {10, 3, 255}, {16, 2, 0}, {2, 6, 64}, {5, 7, 0},   {9, 7, 255}};
    for (size_t i = 0; i < MGN_COUNT(expected); i++)
        for (size_t c = 0; c < 3; c++)
            ck_assert_int_eq(sample(grid, (expected[i].y * grid->width + expected[i].x) * 3 + c), expected[i].value);
    mgn_image_destroy(grid);
    MGN_ASSERT_FAILS(mgn_image_grid(&(mgn_matrix){4, 2, values}, 1, 3, 3, 2, &grid), MGN_ERR_ARGUMENT,
                     "cannot be shown");
    values[5] = (float)NAN;
    MGN_ASSERT_FAILS(mgn_image_grid(&(mgn_matrix){4, 2, values}, 1, 2, 3, 2, &grid), MGN_ERR_NUMERIC, "picture 2");
}
END_TEST

/* ---- tables that stay in their file ---- */

enum { ROWS = 700, COLUMNS = 5 };

static const char *write_npy(const char *name, const char *type, const char *order, int64_t rows, int64_t columns,
                             const void *data, size_t size) {
    const char *path = mgn_test_path(name);
    char header[129];
    memset(header, ' ', sizeof header);
    memcpy(header, "\x93NUMPY\x01\x00\x76\x00", 10);
    const int length = snprintf(header + 10, 118, "{'descr': '%s', 'fortran_order': %s, 'shape': (%lld, %lld), }", type,
                                order, (long long)rows, (long long)columns);
    header[10 + length] = ' ';
    header[127] = '\n';
    FILE *file = fopen(path, "wb");
    ck_assert_ptr_nonnull(file);
    ck_assert(fwrite(header, 1, 128, file) == 128 && fwrite(data, 1, size, file) == size);
    fclose(file);
    return path;
}

static mgn_npy_map *open_map(const char *path) {
    mgn_npy_map *map = NULL;
    MGN_ASSERT_OK(mgn_npy_map_open(path, &map));
    return map;
}

START_TEST(mapped_rows_are_those_of_the_whole_table) {
    mgn_test_random random = MGN_TEST_RANDOM();
    static unsigned char data[ROWS * COLUMNS * 8];
    static const struct {
        const char *type, *order;
        size_t item;
    } forms[] = {{"<f4", "False", 4}, {">f4", "False", 4}, {"<f8", "True", 8}, {"|u1", "False", 1}, {">i2", "True", 2}};
    for (size_t f = 0; f < MGN_COUNT(forms); f++) {
        const size_t item = forms[f].item;
        const bool is_big = forms[f].type[0] == '>';
        for (size_t i = 0; i < ROWS * COLUMNS; i++) {
            unsigned char raw[8];
            const float f4 = (float)mgn_test_normal(&random);
            const double f8 = mgn_test_normal(&random);
            const uint64_t bits = mgn_test_bits(&random);
            memcpy(raw, item == 4 ? (const void *)&f4 : item == 8 ? (const void *)&f8 : (const void *)&bits, item);
            for (size_t b = 0; b < item; b++) data[i * item + b] = raw[is_big ? item - 1 - b : b];
        }
        const char *path =
            write_npy("form.npy", forms[f].type, forms[f].order, ROWS, COLUMNS, data, ROWS * COLUMNS * item);
        mgn_matrix whole = {0};
        MGN_ASSERT_OK(mgn_npy_read(path, &whole));
        mgn_npy_map *map = open_map(path);
        ck_assert(mgn_npy_map_rows(map) == ROWS && mgn_npy_map_columns(map) == COLUMNS);
        static float rows[ROWS * COLUMNS];
        uint32_t index[ROWS];
        MGN_ASSERT_OK(mgn_npy_map_gather(map, NULL, ROWS, rows));
        ck_assert_int_eq(memcmp(rows, whole.values, sizeof rows), 0);
        for (int i = 0; i < ROWS; i++) index[i] = (uint32_t)mgn_test_integer(&random, 0, ROWS - 1);
        MGN_ASSERT_OK(mgn_npy_map_gather(map, index, ROWS, rows));
        for (int i = 0; i < ROWS * COLUMNS; i++)
            ck_assert(rows[i] == whole.values[index[i / COLUMNS] * COLUMNS + (uint32_t)(i % COLUMNS)]);
        mgn_npy_map_close(map);
        mgn_matrix_free(&whole);
    }
}
END_TEST

START_TEST(bad_values_and_files_are_refused_when_met) {
    static float data[ROWS * COLUMNS], rows[ROWS * COLUMNS];
    data[600 * COLUMNS + 3] = data[650 * COLUMNS] = (float)INFINITY;
    const char *path = write_npy("bad.npy", "<f4", "False", ROWS, COLUMNS, data, sizeof data);
    mgn_npy_map *map = open_map(path);
    MGN_ASSERT_OK(mgn_npy_map_gather(map, NULL, 600, rows));
    MGN_ASSERT_FAILS(mgn_npy_map_gather(map, NULL, ROWS, rows), MGN_ERR_NUMERIC, "row 600, column 3");
    MGN_ASSERT_FAILS(mgn_npy_map_gather(map, (uint32_t[]){0, 650, 600}, 3, rows), MGN_ERR_NUMERIC, "row 650, column 0");
    MGN_ASSERT_FAILS(mgn_npy_map_gather(map, (uint32_t[]){0, ROWS}, 2, rows), MGN_ERR_ARGUMENT, "row 700");
    MGN_ASSERT_FAILS(mgn_npy_map_gather(map, NULL, ROWS + 1, rows), MGN_ERR_ARGUMENT, "701 of 700");
    ck_assert_int_eq(truncate(path, 4096), 0);
    MGN_ASSERT_FAILS(mgn_npy_map_gather(map, NULL, 1, rows), MGN_ERR_IO, "shorter");
    mgn_npy_map_close(map);
    MGN_ASSERT_FAILS(mgn_npy_map_open(path, &map), MGN_ERR_FORMAT, "was announced");
    MGN_ASSERT_FAILS(mgn_npy_map_open(mgn_test_path("none.npy"), &map), MGN_ERR_IO, "does not exist");
    MGN_ASSERT_FAILS(mgn_npy_map_open("/dev/null", &map), MGN_ERR_IO, "regular file");
    mgn_npy_map_close(NULL);
}
END_TEST

/* 20 GB without a block on the disk: opening, sampling and holding a part take what they take for a small one. */
START_TEST(twenty_gigabytes_open_at_once) {
    const int64_t columns = 1000, rows = 5000000;
    const char *path = write_npy("huge.npy", "<f4", "False", rows, columns, "", 0);
    if (truncate(path, 128 + 4 * rows * columns) != 0) MGN_TEST_SKIP("no file of 20 GB can be made here");
    const double start = mgn_now();
    mgn_target *target = NULL;
    float *taken = calloc(3000, sizeof *taken);
    double mean[1000];
    int64_t count = -1;
    MGN_ASSERT_OK(mgn_target_parse(path, &target));
    ck_assert(mgn_target_count(target) == rows && mgn_target_dimension(target) == columns);
    ck_assert(!mgn_target_rows(target, &count) && count == 0);
    MGN_ASSERT_OK(mgn_target_sample(target, 3, 1, taken));
    for (int i = 0; i < 3000; i++) ck_assert(taken[i] == 0);
    MGN_ASSERT_OK(mgn_target_hold(target, 50, 1));
    ck_assert(mgn_target_rows(target, &count) && count == 50 && mgn_target_count(target) == 50);
    MGN_ASSERT_OK(mgn_target_moments(target, mean, NULL));
    mgn_target_destroy(target);
    free(taken);
    ck_assert_msg(mgn_now() - start < 5, "20 GB took %g s", mgn_now() - start);
    unlink(path);
}
END_TEST

/* ---- as sources and targets ---- */

START_TEST(specifications_name_pictures) {
    static const struct {
        const char *format; /* of the folder */
        int64_t count, d;
        const char *refused; /* NULL: it is good */
    } specs[] = {{"cifar:%s/batch.bin", 12, 3072, NULL},
                 {"cifar:%s/batch.bin;grey", 12, 3072, NULL},
                 {"images:%s", 2, 288, NULL},
                 {"%s", 2, 288, NULL},
                 {"images:%s;size=3x2", 2, 18, NULL},
                 {"images:%s;size=3x2;luma", 2, 6, NULL},
                 {"images:%s;grey;size=4x4", 2, 48, NULL},
                 {"images:%s;size=3", 0, 0, "''"},
                 {"images:%s;size=0x3", 0, 0, "1 to"},
                 {"images:%s;colour", 0, 0, "'colour' was found where size=WIDTHxHEIGHT"},
                 {"cifar:%s/batch.bin;size=3x2", 0, 0, "where grey was expected"},
                 {"cifar:", 0, 0, "the file is missing"},
                 {"images:", 0, 0, "the folder is missing"},
                 {"cifar:%s/notes.txt", 0, 0, "records"}};
    const char *folder = make_folder();
    unsigned char *bytes = make_cifar();
    char path[600];
    snprintf(path, sizeof path, "%s/batch.bin", folder);
    mgn_test_write_file(path, bytes, PICTURES * RECORD);
    free(bytes);
    for (size_t i = 0; i < MGN_COUNT(specs); i++) {
        mgn_target *target = NULL;
        const char *hole = strstr(specs[i].format, "%s");
        snprintf(path, sizeof path, "%.*s%s%s", hole ? (int)(hole - specs[i].format) : 99, specs[i].format,
                 hole ? folder : "", hole ? hole + 2 : "");
        const mgn_status status = mgn_target_parse(path, &target);
        if (specs[i].refused) {
            ck_assert_msg(status != MGN_OK && strstr(mgn_last_error(), specs[i].refused), "%s: %s", path,
                          mgn_last_error());
            continue;
        }
        ck_assert_msg(status == MGN_OK, "%s: %s", path, mgn_last_error());
        ck_assert_int_eq(mgn_target_count(target), specs[i].count);
        ck_assert_int_eq(mgn_target_dimension(target), specs[i].d);
        int64_t height, width, channels;
        const bool is_picture = mgn_target_picture(target, &height, &width, &channels);
        ck_assert(is_picture || !(strstr(path, "cifar:") || strstr(path, "images:")));
        ck_assert(!is_picture || height * width * channels == specs[i].d);
        mgn_target_destroy(target);
    }
}
END_TEST

static void run(const char *folder, const char *arguments) {
    mgn_test_process process = mgn_test_shell("cd %s && \"$MGN_BINARY\" %s -q --device cpu", folder, arguments);
    ck_assert_msg(process.code == 0, "mgn %s: exit code %d: %s", arguments, process.code, process.err);
    mgn_test_process_free(&process);
}

/* A table above the limit for holding: 1,700,000 rows of 10, without a block on the disk. */
START_TEST(commands_take_pictures_and_large_tables) {
    const char *folder = make_folder();
    run(folder,
        "fit -s 'images:.;size=3x2;grey' -t 'images:.;size=3x2' --paired --hold-out 0 --epochs 2 -o map.safetensors");
    run(folder, "eval map.safetensors --data 'images:.;size=3x2;grey' --truth 'images:.;size=3x2'");
    const char *path = write_npy("pictures/large.npy", "<f4", "False", 1700000, 10, "", 0);
    ck_assert_int_eq(truncate(path, 128 + 40 * 1700000), 0);
    run(folder, "fit -s normal:10 -t large.npy --loss sinkhorn --samples 300 --epochs 1 -o large.safetensors");
    run(folder, "eval large.safetensors --data large.npy --points 20");
}
END_TEST

/* Chunks of a wide model are cut down; those of bytes must still be whole words of four. */
START_TEST(wide_maps_recolour_large_pictures) {
    enum { WIDE_ROWS = 90000 };
    mgn_device *device = NULL;
    mgn_model *model = NULL;
    mgn_map *map = NULL;
    const mgn_model_config config = {.kind = "cmgn", .d = 3, .h = 64, .layers = 1};
    uint8_t *bytes = malloc(3 * WIDE_ROWS);
    float last[3];
    ck_assert_ptr_nonnull(bytes);
    for (int i = 0; i < 3 * WIDE_ROWS; i++) bytes[i] = (uint8_t)(7 * i + i / 500);
    for (int c = 0; c < 3; c++) last[c] = (float)bytes[3 * WIDE_ROWS - 3 + c] / 255;
    MGN_ASSERT_OK(mgn_device_open("cpu", &device));
    MGN_ASSERT_OK(mgn_model_create(&config, 1, &model));
    MGN_ASSERT_OK(mgn_map_create(model, device, MGN_F32, &map));
    MGN_ASSERT_OK(mgn_map_apply_bytes(map, bytes, WIDE_ROWS, bytes));
    MGN_ASSERT_OK(mgn_map_apply(map, last, 1, last));
    for (int c = 0; c < 3; c++)
        ck_assert_double_eq_tol(bytes[3 * WIDE_ROWS - 3 + c], 255 * fmin(fmax((double)last[c], 0), 1), 0.51);
    mgn_map_destroy(map);
    mgn_model_destroy(model);
    mgn_device_close(device);
    free(bytes);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("pictures_in");
    TCase *sets = tcase_create("sets"), *tables = tcase_create("tables"), *commands = tcase_create("commands");
    tcase_add_test(sets, cifar_comes_out_as_stored);
    tcase_add_test(sets, damaged_cifar_is_refused);
    tcase_add_test(sets, grey_is_the_luma_in_all_channels);
    tcase_add_test(sets, a_folder_becomes_pictures_of_one_shape);
    tcase_add_test(sets, bad_folders_are_refused);
    tcase_add_test(sets, a_grid_shows_each_row_at_its_place);
    tcase_add_test(tables, mapped_rows_are_those_of_the_whole_table);
    tcase_add_test(tables, bad_values_and_files_are_refused_when_met);
    tcase_add_test(tables, twenty_gigabytes_open_at_once);
    tcase_add_test(commands, specifications_name_pictures);
    tcase_add_test(commands, commands_take_pictures_and_large_tables);
    tcase_add_test(commands, wide_maps_recolour_large_pictures);
    tcase_set_timeout(commands, 60);
    suite_add_tcase(suite, sets);
    suite_add_tcase(suite, tables);
    suite_add_tcase(suite, commands);
    return mgn_test_main(suite);
}
