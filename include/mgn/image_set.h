/* Sets of small pictures of one size, as the digit and object benchmarks store them, and their way to rows. */
#ifndef MGN_IMAGE_SET_H
#define MGN_IMAGE_SET_H

#include <mgn/data.h>

#ifdef __cplusplus
extern "C" {
#endif

/** `count` pictures of one size, as bytes: what is stored, a quarter of what floats would take. */
typedef struct mgn_image_set {
    int64_t count, height, width, channels;
    uint8_t *pixels; /**< (count, height, width, channels) */
    uint8_t *labels; /**< (count) classes; NULL where none are known */
} mgn_image_set;

/** Black pictures without labels, to be freed by mgn_image_set_free. Errors: ARGUMENT (a size below 1, or too large to
 *  address), MEMORY. */
MGN_API mgn_status mgn_image_set_create(int64_t count, int64_t height, int64_t width, int64_t channels,
                                        mgn_image_set *set);
/** Frees what the set holds and zeroes the struct. NULL and zeroed structs are fine. */
MGN_API void mgn_image_set_free(mgn_image_set *set);

/** One picture a row, in [0, 1] (byte / 255): (count, height width channels). The caller frees `rows`. */
MGN_API mgn_status mgn_image_set_rows(const mgn_image_set *set, mgn_matrix *rows);

/** Reads an IDX file of unsigned bytes, as MNIST and Fashion-MNIST come, plain or compressed by gzip: images (count,
 *  height, width), or vectors (count, width), which become pictures of height 1. `set` is the caller's to free.
 *  Errors: IO; FORMAT (damaged, empty, or a length that disagrees with the header); UNSUPPORTED (another type of
 *  element, or another number of axes); ARGUMENT (NULL); MEMORY. */
MGN_API mgn_status mgn_idx_read(const char *path, mgn_image_set *set);
/** The same from memory; `label` is what error sentences call the bytes. */
MGN_API mgn_status mgn_idx_parse(const void *bytes, size_t size, const char *label, mgn_image_set *set);

/** Reads `part`-images-idx3-ubyte of a folder ("train" or "t10k"), or that name with .gz, and gives it the labels of
 *  `part`-labels-idx1-ubyte[.gz] where that file is there too. Errors: those of mgn_idx_read; FORMAT (labels of another
 *  number than pictures). */
MGN_API mgn_status mgn_mnist_read(const char *folder, const char *part, mgn_image_set *set);

#ifdef __cplusplus
}
#endif
#endif
