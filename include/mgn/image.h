/* Pictures: reading and writing JPEG and PNG with everything the file says about itself (colour profile, EXIF, XMP,
 * comments), and the way between stored pixels and the colours in [0, 1] that maps work on. */
#ifndef MGN_IMAGE_H
#define MGN_IMAGE_H

#include <mgn/data.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Most pixels a picture may have; a file that claims more is refused by its header. */
#define MGN_IMAGE_MAX_PIXELS ((size_t)1 << 28)

/** What a file carries beside its pixels; owned by its image. */
typedef struct mgn_image_metadata mgn_image_metadata;

/** A picture in memory, as it is stored in the file: rows from the top, channels interleaved, no padding. */
typedef struct mgn_image {
    size_t width, height; /**< of the stored pixels, before the orientation is applied */
    int channels;         /**< 1 grey, 2 grey + alpha, 3 RGB, 4 RGB + alpha (not premultiplied) */
    int depth;            /**< 8: uint8_t samples, 16: uint16_t samples in host byte order */
    int orientation;      /**< EXIF orientation 1..8; 1 is upright. Only mgn_image_upright and the readers set it */
    void *pixels;         /**< height x width x channels samples */
    mgn_image_metadata *metadata;
} mgn_image;

/** A black (and transparent) picture without metadata, freed by mgn_image_destroy. */
MGN_API mgn_status mgn_image_create(size_t width, size_t height, int channels, int depth, mgn_image **image);

/** Frees the picture; takes NULL. */
MGN_API void mgn_image_destroy(mgn_image *image);

/** A picture of the same size, channels, depth, orientation and metadata whose pixels are zero. */
MGN_API mgn_status mgn_image_clone_layout(const mgn_image *image, mgn_image **clone);

/** Reads a JPEG or PNG file; which of them it is, its content says and not its name. Grey, RGB and alpha stay as they
 *  are; palettes and 1, 2, 4 bits are expanded; tRNS becomes alpha; 16 bits are kept; CMYK becomes RGB with a note. A
 *  truncated or damaged file is MGN_ERR_FORMAT, one that cannot be read MGN_ERR_IO. */
MGN_API mgn_status mgn_image_read(const char *path, mgn_image **image);

/** As mgn_image_read, from memory; `name` stands for the file in error sentences. */
MGN_API mgn_status mgn_image_read_memory(const void *bytes, size_t size, const char *name, mgn_image **image);

/** How a picture is chroma-subsampled in JPEG. */
typedef enum mgn_image_subsampling {
    MGN_SUBSAMPLING_AS_SOURCE = 0, /**< the source JPEG's; without one 4:4:4 from quality 90 on, else 4:2:0 */
    MGN_SUBSAMPLING_444,
    MGN_SUBSAMPLING_422,
    MGN_SUBSAMPLING_420
} mgn_image_subsampling;

/** All zero means the defaults. */
typedef struct mgn_image_write_options {
    int quality;                       /**< JPEG quality 1..100; 0: 92 */
    mgn_image_subsampling subsampling; /**< JPEG only */
    int compression;                   /**< PNG: zlib level 1..9; 0: 3, on photographs as small as 6 and faster */
} mgn_image_write_options;

typedef enum mgn_image_format { MGN_IMAGE_JPEG, MGN_IMAGE_PNG } mgn_image_format;

/** The format that a name's extension asks for (.jpg, .jpeg or .png, in any case); else MGN_ERR_ARGUMENT naming what is
 *  possible. A command calls it before it starts to compute. */
MGN_API mgn_status mgn_image_format_of(const char *path, mgn_image_format *format);

/** Writes the picture in the format of the name's extension. `options` may be NULL. The file appears whole or not at
 *  all. Profile, EXIF, XMP and comments are kept. JPEG stores the pixels as they are with their orientation tag,
 *  without alpha (a note says so when pixels were not opaque), in 8 bits. PNG stores them upright, with orientation
 *  1; of a JPEG source's other markers it takes the comments only. */
MGN_API mgn_status mgn_image_write(const mgn_image *image, const char *path, const mgn_image_write_options *options);

/** What can be asked of, or given to, the metadata. */
typedef enum mgn_image_block {
    MGN_IMAGE_ICC,    /**< the ICC profile */
    MGN_IMAGE_EXIF,   /**< the TIFF stream of EXIF, without a leading "Exif\0\0" */
    MGN_IMAGE_XMP,    /**< the XMP packet */
    MGN_IMAGE_COMMENT /**< the first comment: JPEG's COM, PNG's text "Comment" */
} mgn_image_block;

/** The bytes of a block, owned by the image, with `*size` set; NULL and 0 when there is none. */
MGN_API const void *mgn_image_get_block(const mgn_image *image, mgn_image_block block, size_t *size);

/** Puts a copy of `size` bytes in the block's place (0 removes it). EXIF sets the orientation too. */
MGN_API mgn_status mgn_image_set_block(mgn_image *image, mgn_image_block block, const void *bytes, size_t size);

/** Turns the pixels so that orientation 1 shows the same picture, and sets the tag to 1. Width and height may change
 *  places. */
MGN_API mgn_status mgn_image_upright(mgn_image *image);

/** The picture in another size: every new pixel is the mean over the area that it covers, colours weighted by
 *  alpha. */
MGN_API mgn_status mgn_image_resize(const mgn_image *image, size_t width, size_t height, mgn_image **resized);

/** Colours as a (height*width, 3) matrix in [0, 1]: sample / (2^depth - 1); grey is repeated three times, alpha left
 *  out. */
MGN_API void mgn_image_to_rgb(const mgn_image *image, float *rgb);

/** The same for `rows` rows from `first_row` on, for who works in bands: `rgb` is (rows*width, 3). */
MGN_API void mgn_image_rows_to_rgb(const mgn_image *image, size_t first_row, size_t rows, float *rgb);

/** The colours of a picture as rows (n, 3), from the first pixel to the last. Pixels that are fully transparent show
 *  no colour and are left out. `most` > 0 takes at most that many: one at a random place in each of `most` equal
 *  stretches, so rows and columns of the picture do not beat with a stride. The same seed takes the same pixels.
 *  The caller frees `palette`. Errors: ARGUMENT (nothing is visible), MEMORY, INTERRUPTED. */
MGN_API mgn_status mgn_image_palette(const mgn_image *image, int64_t most, uint64_t seed, mgn_matrix *palette);

/** Puts colours into an RGB or RGBA picture: clipped to [0, 1], rounded to nearest, alpha untouched. A NaN is
 *  MGN_ERR_NUMERIC naming its pixel (the picture's colours are then to be thrown away). Grey: MGN_ERR_ARGUMENT. */
MGN_API mgn_status mgn_image_from_rgb(mgn_image *image, const float *rgb);
MGN_API mgn_status mgn_image_rows_from_rgb(mgn_image *image, size_t first_row, size_t rows, const float *rgb);

/** A picture with the metadata, alpha, size and depth of `source` and the colours `rgb` (height*width, 3). A grey
 *  source stays grey when all the colours still are after rounding, else it becomes RGB (and loses a profile for
 *  grey). */
MGN_API mgn_status mgn_image_with_rgb(const mgn_image *source, const float *rgb, mgn_image **image);

/** As mgn_image_clone_layout, but grey becomes RGB: what a band by band writer (mgn_image_rows_from_rgb) fills. Alpha
 *  is copied. */
MGN_API mgn_status mgn_image_clone_colour(const mgn_image *source, mgn_image **image);

/** Pictures side by side on white, upright, all `height` pixels high, with a gap between them: before, target, after.
 *  `labels` may be NULL, and so may each of them; ASCII, drawn above its picture. The sheet is 8-bit RGB; a profile
 *  that all pictures share is kept. */
MGN_API mgn_status mgn_image_sheet(const mgn_image *const *images, const char *const *labels, size_t count,
                                   size_t height, mgn_image **sheet);

#ifdef __cplusplus
}
#endif
#endif
