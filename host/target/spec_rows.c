/* Specifications that name rows in files: tables, the pixels of a picture, CIFAR-10's batches, folders of pictures. What
 * kind a plain path is, its first bytes say. */
#include <string.h>
#include <sys/stat.h>

#include <mgn/image.h>
#include <mgn/image_set.h>

#include "core/parse.h"
#include "data/gzip.h"
#include "data/idx.h"
#include "target/target.h"

/* Tables above this stay in their files. Below, they are taken whole, and every value is looked at beforehand. */
enum { MOST_BYTES_HELD = 64 << 20 };

mgn_status mgn_target_take_rows(const char *label, mgn_matrix *matrix, mgn_target **target) {
    mgn_target *made = NULL;
    mgn_status status = MGN_OK;
    if (matrix->rows > UINT32_MAX)
        status = mgn_fail(MGN_ERR_UNSUPPORTED, "%s: %lld rows; targets of up to 2^32 - 1 are possible", label,
                          (long long)matrix->rows);
    if (status == MGN_OK) status = mgn_target_new(MGN_TARGET_ROWS, label, matrix->columns, &made);
    if (status != MGN_OK) {
        mgn_matrix_free(matrix);
        return status;
    }
    made->rows = matrix->values;
    made->count = matrix->rows;
    *matrix = (mgn_matrix){0};
    *target = made;
    return MGN_OK;
}

/* ---- plain paths ---- */

static mgn_status read_picture(const void *bytes, size_t size, const char *path, mgn_matrix *matrix) {
    mgn_image *image = NULL;
    MGN_TRY(mgn_image_read_memory(bytes, size, path, &image));
    const mgn_status status = mgn_image_palette(image, 0, 0, matrix);
    mgn_image_destroy(image);
    return status;
}

static bool is_npy(const unsigned char *bytes, size_t size) { return size >= 6 && memcmp(bytes, "\x93NUMPY", 6) == 0; }

/* Height, width and channels. */
typedef int64_t picture_shape[3];

/* All pictures of a set as rows; the set is freed. */
static mgn_status rows_of_set(mgn_image_set *set, mgn_matrix *matrix, picture_shape shape) {
    shape[0] = set->height, shape[1] = set->width, shape[2] = set->channels;
    const mgn_status status = mgn_image_set_rows(set, matrix);
    mgn_image_set_free(set);
    return status;
}

static mgn_status read_idx(const void *bytes, size_t size, const char *path, mgn_matrix *matrix, picture_shape shape) {
    mgn_image_set set = {0};
    MGN_TRY(mgn_idx_parse(bytes, size, path, &set));
    return rows_of_set(&set, matrix, shape);
}

static mgn_status read_bytes(const unsigned char *bytes, size_t size, const char *path, mgn_matrix *matrix,
                             picture_shape shape) {
    if (is_npy(bytes, size)) return mgn_npy_parse(bytes, size, path, matrix);
    if (mgn_is_gzip(bytes, size) || mgn_is_idx(bytes, size)) return read_idx(bytes, size, path, matrix, shape);
    const bool jpeg = size >= 2 && memcmp(bytes, "\xff\xd8", 2) == 0,
               png = size >= 4 && memcmp(bytes, "\x89PNG", 4) == 0;
    if (jpeg || png) return read_picture(bytes, size, path, matrix);
    return mgn_csv_parse(bytes, size, path, matrix);
}

static bool is_folder(const char *path) {
    struct stat about;
    return stat(path, &about) == 0 && S_ISDIR(about.st_mode);
}

/* `shape` is set where the rows are pictures. */
static mgn_status read_rows(const char *path, mgn_matrix *matrix, picture_shape shape) {
    if (is_folder(path)) {
        mgn_image_set set = {0};
        MGN_TRY(mgn_folder_read(path, NULL, &set));
        return rows_of_set(&set, matrix, shape);
    }
    unsigned char *bytes;
    size_t size;
    MGN_TRY(mgn_file_read(path, SIZE_MAX, &bytes, &size));
    const mgn_status status = read_bytes(bytes, size, path, matrix, shape);
    mgn_free(bytes);
    return status;
}

mgn_status mgn_rows_read(const char *path, mgn_matrix *matrix) { return read_rows(path, matrix, (picture_shape){0}); }

/* Takes the matrix. */
static mgn_status take_rows(const char *label, mgn_matrix *matrix, const picture_shape shape, mgn_target **target) {
    MGN_TRY(mgn_target_take_rows(label, matrix, target));
    memcpy((*target)->picture, shape, sizeof(*target)->picture);
    return MGN_OK;
}

static mgn_status map_rows(const char *path, mgn_target **target) {
    mgn_shards *shards = NULL;
    mgn_target *made = NULL;
    MGN_TRY(mgn_shards_open(path, &shards));
    const int64_t rows = mgn_shards_rows(shards), columns = mgn_shards_columns(shards);
    const mgn_status status = mgn_target_new(MGN_TARGET_MAPPED, path, columns, &made);
    if (status != MGN_OK) {
        mgn_shards_close(shards);
        return status;
    }
    made->shards = shards;
    made->count = rows;
    const bool is_large = rows > MOST_BYTES_HELD / (int64_t)sizeof(float) / columns;
    const mgn_status held = is_large ? MGN_OK : mgn_target_hold(made, 0, 0);
    if (held == MGN_OK)
        *target = made;
    else
        mgn_target_destroy(made);
    return held;
}

/* Whether it is a .npy file too large to be held. */
static bool is_large_npy(const char *path) {
    struct stat about;
    if (stat(path, &about) != 0 || !S_ISREG(about.st_mode) || about.st_size <= MOST_BYTES_HELD) return false;
    mgn_mapped_file file;
    if (mgn_file_map(path, &file) != MGN_OK) return false;
    const bool found = is_npy(file.bytes, file.size);
    mgn_file_unmap(&file);
    return found;
}

mgn_status mgn_target_parse_rows(const char *path, mgn_target **target) {
    if (mgn_shards_is_list(path) || is_large_npy(path)) return map_rows(path, target);
    mgn_matrix matrix = {0};
    picture_shape shape = {0};
    MGN_TRY(read_rows(path, &matrix, shape));
    return take_rows(path, &matrix, shape, target);
}

/* ---- sets of pictures ---- */

/* What a specification may say of a set of pictures. */
typedef struct set_options {
    bool grey;
    mgn_folder_options folder;
} set_options;

/* "32x48" */
static mgn_status parse_size(const char *spec, const char *text, mgn_folder_options *folder) {
    char *width = mgn_spec_part(&text, "x");
    if (!width) return MGN_ERR_MEMORY;
    mgn_status status = mgn_parse_integer(spec, width, 1, 1 << 14, &folder->width);
    if (status == MGN_OK) status = mgn_parse_integer(spec, text, 1, 1 << 14, &folder->height);
    mgn_free(width);
    return status;
}

static mgn_status set_option(const char *spec, const char *item, bool is_images, set_options *options) {
    if (strcmp(item, "grey") == 0) {
        options->grey = true;
        return MGN_OK;
    }
    if (is_images && strcmp(item, "luma") == 0) {
        options->folder.channels = 1;
        return MGN_OK;
    }
    if (is_images && strncmp(item, "size=", 5) == 0) return parse_size(spec, item + 5, &options->folder);
    return mgn_fail(MGN_ERR_ARGUMENT, "%s: '%.100s' was found where %s was expected", spec, item,
                    is_images ? "size=WIDTHxHEIGHT, grey or luma" : "grey");
}

/* PATH;OPTION;..: the path is the caller's to free. */
static mgn_status split_set(const char *spec, const char *text, bool is_images, char **path, set_options *options) {
    char *first = mgn_spec_part(&text, ";");
    if (!first) return MGN_ERR_MEMORY;
    mgn_status status = MGN_OK;
    if (!*first)
        status = mgn_fail(MGN_ERR_ARGUMENT, "%s: the %s is missing: %s", spec, is_images ? "folder" : "file",
                          is_images ? "images:DIR" : "cifar:FILE");
    while (status == MGN_OK && *text) {
        char *item = mgn_spec_part(&text, ";");
        status = item ? set_option(spec, item, is_images, options) : MGN_ERR_MEMORY;
        mgn_free(item);
    }
    if (status == MGN_OK)
        *path = first;
    else
        mgn_free(first);
    return status;
}

static mgn_status parse_set(const char *spec, const char *text, bool is_images, mgn_target **target) {
    set_options options = {0};
    mgn_image_set set = {0};
    mgn_matrix matrix = {0};
    picture_shape shape = {0};
    char *path = NULL;
    MGN_TRY(split_set(spec, text, is_images, &path, &options));
    mgn_status status = is_images ? mgn_folder_read(path, &options.folder, &set) : mgn_cifar_read(path, &set);
    mgn_free(path);
    if (status == MGN_OK && options.grey) mgn_image_set_make_grey(&set);
    if (status == MGN_OK) status = rows_of_set(&set, &matrix, shape);
    return status == MGN_OK ? take_rows(spec, &matrix, shape, target) : status;
}

mgn_status mgn_target_parse_cifar(const char *spec, const char *text, mgn_target_kind kind, mgn_target **target) {
    (void)kind;
    return parse_set(spec, text, false, target);
}

mgn_status mgn_target_parse_images(const char *spec, const char *text, mgn_target_kind kind, mgn_target **target) {
    (void)kind;
    return parse_set(spec, text, true, target);
}
