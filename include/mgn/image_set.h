/* Sets of small pictures of one size, as the digit and object benchmarks store them, and their way to rows. */
#ifndef MGN_IMAGE_SET_H
#define MGN_IMAGE_SET_H

#include <mgn/data.h>
#include <mgn/image.h>

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

/** Reads a binary batch of CIFAR-10: records of 3073 bytes, a label 0..9 and the red, green and blue planes of 32 x 32.
 *  Errors: IO; FORMAT (a length that is no whole number of records, a label above 9, with its record); ARGUMENT; MEMORY. */
MGN_API mgn_status mgn_cifar_read(const char *path, mgn_image_set *set);
/** The same from memory; `label` is what error sentences call the bytes. */
MGN_API mgn_status mgn_cifar_parse(const void *bytes, size_t size, const char *label, mgn_image_set *set);

/** The picture files of a folder (by their endings .jpg, .jpeg, .png; hidden ones left out), sorted by name, as paths that
 *  begin with the folder's: one block, for the caller to free with mgn_free. Errors: IO (no such folder, none in it). */
MGN_API mgn_status mgn_folder_pictures(const char *path, char ***pictures, size_t *count);

/** How a folder's pictures become a set. All zero: RGB in the shape of the first picture. */
typedef struct mgn_folder_options {
    int64_t width, height; /**< both, or neither */
    int64_t channels;      /**< 1: luma alone; 3 or 0: RGB, grey pictures with three equal channels */
} mgn_folder_options;

/** Reads the JPEG and PNG files of a folder (by their endings .jpg, .jpeg, .png; hidden ones and folders in it are left
 *  out) in the order of their names' bytes, upright, each resized to one shape by the mean over the area that a pixel
 *  covers. Alpha is left out. `options` may be NULL.
 *  Errors: IO (no such folder, none in it, one that cannot be read); FORMAT (a damaged one); ARGUMENT; MEMORY;
 *  INTERRUPTED. */
MGN_API mgn_status mgn_folder_read(const char *path, const mgn_folder_options *options, mgn_image_set *set);

/** Takes the colour from an RGB set: all three channels become the luma .299 R + .587 G + .114 B, rounded. Sets of one
 *  channel stay as they are. */
MGN_API void mgn_image_set_make_grey(mgn_image_set *set);

/** Rows of height * width * channels numbers (3 channels or 1) as pictures in a grid on white, `across` to a line, each
 *  pixel as zoom x zoom ones: 8-bit RGB. Numbers are clipped to [0, 1].
 *  Errors: ARGUMENT (sizes that make no picture, rows of another length), NUMERIC (a NaN), MEMORY. */
MGN_API mgn_status mgn_image_grid(const mgn_matrix *rows, int64_t height, int64_t width, int64_t across, int64_t zoom,
                                  mgn_image **grid);

#ifdef __cplusplus
}
#endif
#endif
