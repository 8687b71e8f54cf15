/* IDX, the format of MNIST and its relatives: two zero bytes, a type, the number of axes, each axis as a big-endian 32-bit
 * number, then the elements in row-major order. The length that follows from the header must be the file's, to the byte:
 * a file that was cut off or that claims more than it holds is refused before anything is allocated for its claims. */
#include "data/idx.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "core/file.h"
#include "data/gzip.h"

enum { UNSIGNED_BYTES = 8, MOST_AXES = 3, LONGEST_PATH = 4096 };

/* What a compressed file may inflate to: twenty times the largest set of this kind. */
static const size_t most_inflated = (size_t)1 << 30;

bool mgn_is_idx(const void *bytes, size_t size) {
    const unsigned char *b = bytes;
    return size >= 4 && b[0] == 0 && b[1] == 0 && b[2] >= 8 && b[2] <= 14 && b[3] >= 1;
}

/* The axes; `product` gets the number of elements, which the file is checked to hold. */
static mgn_status parse_header(const unsigned char *b, size_t size, const char *label, int64_t *axes, int64_t *dim) {
    if (!mgn_is_idx(b, size))
        return mgn_fail(MGN_ERR_FORMAT,
                        "%s: an IDX file begins with two zero bytes, a type and a number of axes; this one does not",
                        label);
    if (b[2] != UNSIGNED_BYTES)
        return mgn_fail(MGN_ERR_UNSUPPORTED,
                        "%s: IDX elements of type 0x%02x cannot be read, but unsigned bytes (0x08)", label, b[2]);
    *axes = b[3];
    if (*axes > MOST_AXES)
        return mgn_fail(MGN_ERR_UNSUPPORTED,
                        "%s: %d axes were found; labels (1), rows (2) or grey pictures (3) were expected", label, b[3]);
    const size_t header = 4 + 4 * (size_t)*axes;
    if (size < header) return mgn_fail(MGN_ERR_FORMAT, "%s: ends within its header of %zu bytes", label, header);
    int64_t product = 1;
    for (int64_t a = 0; a < *axes; a++) {
        const unsigned char *at = b + 4 + 4 * a;
        dim[a] = (int64_t)at[0] << 24 | at[1] << 16 | at[2] << 8 | at[3];
        if (dim[a] == 0) return mgn_fail(MGN_ERR_FORMAT, "%s: axis %lld has length 0", label, (long long)a);
        if (__builtin_mul_overflow(product, dim[a], &product)) product = INT64_MAX;
    }
    if ((uint64_t)product != size - header)
        return mgn_fail(MGN_ERR_FORMAT, "%s: the header announces %lld elements, but %zu follow it", label,
                        (long long)product, size - header);
    return MGN_OK;
}

/* Calls `use` with the IDX bytes themselves, whether they are compressed or not. */
typedef mgn_status user(const unsigned char *bytes, size_t size, const char *label, mgn_image_set *set);

static mgn_status with_plain(const void *bytes, size_t size, const char *label, user *use, mgn_image_set *set) {
    if (!mgn_is_gzip(bytes, size)) return use(bytes, size, label, set);
    unsigned char *plain = NULL;
    size_t plain_size = 0;
    MGN_TRY(mgn_gunzip(bytes, size, label, most_inflated, &plain, &plain_size));
    const mgn_status status = use(plain, plain_size, label, set);
    mgn_free(plain);
    return status;
}

static mgn_status parse_pictures(const unsigned char *bytes, size_t size, const char *label, mgn_image_set *set) {
    int64_t axes = 0, dim[MOST_AXES] = {0};
    MGN_TRY(parse_header(bytes, size, label, &axes, dim));
    if (axes == 1)
        return mgn_fail(MGN_ERR_UNSUPPORTED, "%s: holds %lld labels; pictures (3 axes) or rows (2 axes) were expected",
                        label, (long long)dim[0]);
    MGN_TRY(mgn_image_set_create(dim[0], axes == 3 ? dim[1] : 1, dim[axes - 1], 1, set));
    const size_t header = 4 + 4 * (size_t)axes;
    memcpy(set->pixels, bytes + header, size - header);
    return MGN_OK;
}

/* Labels for a set that has its pictures. */
static mgn_status parse_labels(const unsigned char *bytes, size_t size, const char *label, mgn_image_set *set) {
    int64_t axes = 0, dim[MOST_AXES] = {0};
    MGN_TRY(parse_header(bytes, size, label, &axes, dim));
    if (axes != 1 || dim[0] != set->count)
        return mgn_fail(MGN_ERR_FORMAT,
                        "%s: %lld labels on one axis were expected, as many as pictures; %lld on %lld "
                        "were found",
                        label, (long long)set->count, (long long)dim[0], (long long)axes);
    set->labels = mgn_alloc((size_t)dim[0], 1);
    if (!set->labels) return MGN_ERR_MEMORY;
    memcpy(set->labels, bytes + 8, (size_t)dim[0]);
    return MGN_OK;
}

static mgn_status read_with(const char *path, user *use, mgn_image_set *set) {
    unsigned char *bytes;
    size_t size;
    MGN_TRY(mgn_file_read(path, SIZE_MAX, &bytes, &size));
    const mgn_status status = with_plain(bytes, size, path, use, set);
    mgn_free(bytes);
    return status;
}

mgn_status mgn_idx_parse(const void *bytes, size_t size, const char *label, mgn_image_set *set) {
    if (!bytes || !label || !set)
        return mgn_fail(MGN_ERR_ARGUMENT, "reading IDX needs bytes, a label and a place for the pictures, not NULL");
    return with_plain(bytes, size, label, parse_pictures, set);
}

mgn_status mgn_idx_read(const char *path, mgn_image_set *set) {
    if (!path || !set)
        return mgn_fail(MGN_ERR_ARGUMENT, "reading IDX needs a path and a place for the pictures, not NULL");
    return read_with(path, parse_pictures, set);
}

/* folder/part-what, or the same with .gz when only that is there; false when neither is. */
static bool find(const char *folder, const char *part, const char *what, char path[LONGEST_PATH]) {
    static const char *const endings[] = {"", ".gz"};
    for (size_t i = 0; i < MGN_COUNT(endings); i++) {
        const int length = snprintf(path, LONGEST_PATH, "%s/%s-%s%s", folder, part, what, endings[i]);
        if (length < LONGEST_PATH && access(path, F_OK) == 0) return true;
    }
    return false;
}

mgn_status mgn_mnist_read(const char *folder, const char *part, mgn_image_set *set) {
    if (!folder || !part || !set)
        return mgn_fail(MGN_ERR_ARGUMENT,
                        "reading a folder of digits needs its path, \"train\" or \"t10k\", and a place "
                        "for the pictures, not NULL");
    char path[LONGEST_PATH];
    mgn_image_set made = {0};
    if (!find(folder, part, "images-idx3-ubyte", path))
        return mgn_fail(MGN_ERR_IO, "%s holds neither %s-images-idx3-ubyte nor %s-images-idx3-ubyte.gz", folder, part,
                        part);
    mgn_status status = mgn_idx_read(path, &made);
    if (status == MGN_OK && find(folder, part, "labels-idx1-ubyte", path))
        status = read_with(path, parse_labels, &made);
    if (status == MGN_OK)
        *set = made;
    else
        mgn_image_set_free(&made);
    return status;
}
