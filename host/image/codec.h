/* What the picture layer keeps to itself: the metadata's shape, and one face for the two decoders and encoders.
 * A codec is opened (which reads or writes everything up to the first row), fed with bands of rows, finished, and
 * closed. image.c runs the loop over bands; who wants to map a picture that does not fit in memory can run another. */
#ifndef MGN_HOST_IMAGE_CODEC_H
#define MGN_HOST_IMAGE_CODEC_H

#include "core/core.h"
#include "core/file.h"

#include <mgn/image.h>

typedef struct mgn_blob {
    unsigned char *bytes; /* NULL when size is 0, else followed by a zero byte that is not counted */
    size_t size;
} mgn_blob;

/* A JPEG marker segment other than EXIF, XMP, ICC, JFIF and Adobe, as it stands in the file. */
typedef struct mgn_marker {
    int code; /* 0xE0..0xEF APPn, 0xFE COM */
    mgn_blob data;
} mgn_marker;

/* A text chunk of PNG: tEXt (1), zTXt (2) or iTXt (3), uncompressed here. */
typedef struct mgn_text {
    int type;
    bool compressed;
    char keyword[80];
    char *text, *language, *translated; /* the last two: iTXt only, else NULL */
} mgn_text;

typedef enum mgn_density_unit {
    MGN_DENSITY_NONE,
    MGN_DENSITY_ASPECT,
    MGN_DENSITY_INCH,
    MGN_DENSITY_CM,
    MGN_DENSITY_METRE
} mgn_density_unit;

struct mgn_image_metadata {
    mgn_blob icc, exif, xmp;
    char icc_name[80];
    mgn_marker *markers; /* in the file's order */
    size_t marker_count;
    mgn_text *texts;
    size_t text_count;
    mgn_density_unit density_unit;
    uint32_t density_x, density_y;
    /* JPEG: sampling factors of its three components; 0 components when the source was no colour JPEG */
    int sampled_components, sample_h[3], sample_v[3];
    bool from_jpeg, jfif;
    /* PNG */
    bool has_gamma, has_chroma, has_srgb, has_time;
    uint32_t gamma, chroma[8]; /* x 100000 */
    uint8_t srgb_intent;
    uint16_t year;
    uint8_t month, day, hour, minute, second;
};

/* ---- metadata.c ---- */

mgn_image_metadata *mgn_metadata_create(void);
void mgn_metadata_destroy(mgn_image_metadata *metadata);
mgn_image_metadata *mgn_metadata_clone(const mgn_image_metadata *metadata);
/* Replaces the blob by a copy; 0 bytes empty it. */
mgn_status mgn_blob_set(mgn_blob *blob, const void *bytes, size_t size);
mgn_status mgn_metadata_add_marker(mgn_image_metadata *metadata, int code, const void *bytes, size_t size);
/* Appends a text whose pieces are copied; NULL pieces stay NULL. */
mgn_status mgn_metadata_add_text(mgn_image_metadata *metadata, const mgn_text *text);
/* The orientation that a TIFF stream gives, 1 when it gives none or nonsense. */
int mgn_exif_orientation(const unsigned char *bytes, size_t size);
/* Writes 1 over the orientation in EXIF and in XMP's tiff:Orientation, changing no other byte. */
void mgn_metadata_set_upright(mgn_image_metadata *metadata);
/* Whether the profile is for pictures with that many channels (a profile for grey in a colour file breaks viewers). */
bool mgn_icc_fits(const mgn_blob *icc, int channels);

/* ---- codecs ---- */

typedef struct mgn_decoder mgn_decoder;
struct mgn_decoder {
    bool whole; /* rows can be asked for only all at once (interlaced PNG) */
    mgn_status (*rows)(mgn_decoder *decoder, size_t count, unsigned char *pixels); /* the next `count` rows */
    mgn_status (*finish)(mgn_decoder *decoder,
                         mgn_image *image); /* after the last row: the file's end, late metadata */
    void (*close)(mgn_decoder *decoder);
};

typedef struct mgn_encoder mgn_encoder;
struct mgn_encoder {
    mgn_status (*rows)(mgn_encoder *encoder, size_t count, const unsigned char *pixels);
    mgn_status (*finish)(mgn_encoder *encoder);
    void (*close)(mgn_encoder *encoder);
};

/* Read the header: size, layout and metadata of `image` are set (its metadata exist already), its pixels stay NULL.
 * `bytes` and `name` must outlive the decoder. */
mgn_status mgn_jpeg_decoder_open(const unsigned char *bytes, size_t size, const char *name, mgn_image *image,
                                 mgn_decoder **decoder);
mgn_status mgn_png_decoder_open(const unsigned char *bytes, size_t size, const char *name, mgn_image *image,
                                mgn_decoder **decoder);

/* Start a file whose size, layout and metadata are those of `image`; pixels come by rows. `options` have no zeros
 * left. */
mgn_status mgn_jpeg_encoder_open(const mgn_image *image, mgn_output_file *output, const char *name,
                                 const mgn_image_write_options *options, mgn_encoder **encoder);
mgn_status mgn_png_encoder_open(const mgn_image *image, mgn_output_file *output, const char *name,
                                const mgn_image_write_options *options, mgn_encoder **encoder);

/* mgn_image_write up to the commit, for who writes several files that belong together. */
mgn_status mgn_image_prepare(const mgn_image *image, const char *path, const mgn_image_write_options *given,
                             mgn_output_file **written);

/* Compressed pictures beyond this are no pictures of at most MGN_IMAGE_MAX_PIXELS. */
#define MGN_IMAGE_MAX_FILE ((size_t)1 << 31)

/* Fills in the defaults of options (NULL: all of them) and checks the rest. */
mgn_status mgn_image_check_options(const mgn_image_write_options *given, mgn_image_write_options *options);

/* ---- palette.c ---- */

/* Which of `visible` pixels is row `i` of a palette of `rows`: never before row i - 1's. */
int64_t mgn_palette_rank(int64_t i, int64_t rows, int64_t visible, uint64_t seed);
void mgn_image_colour_of(const mgn_image *image, size_t pixel, float rgb[3]);

/* mgn_image_palette of a file, whose pixels are not kept: of an opaque picture a band of rows at a time is in memory. */
mgn_status mgn_image_read_palette(const char *path, int64_t most, uint64_t seed, mgn_matrix *palette);

/* ---- stream.c ---- */

/* Writes to `to` what becomes of `pixels` RGB pixels of 8 bits; `to` may be `from`. Called from either of two threads, in
 * any order of bands. */
typedef mgn_status mgn_band_function(void *context, const unsigned char *from, size_t pixels, unsigned char *to);

/* Reads `source`, changes its pixels and writes what is to become `target` (up to the commit), band by band on two threads.
 * Only for 8-bit colour JPEG to JPEG: with anything else nothing is written and `written` is NULL. Each thread has its own context; where the second is NULL
 * both have the first and take turns. Sizes are those of the picture. */
mgn_status mgn_image_stream(const char *source, const char *target, const mgn_image_write_options *given,
                            mgn_band_function *change, void *const contexts[2], size_t *width, size_t *height,
                            mgn_output_file **written);

/* The same from a picture in memory, which stays as it is; 8-bit colour to JPEG only. */
mgn_status mgn_image_stream_from(const mgn_image *source, const char *target, const mgn_image_write_options *given,
                                 mgn_band_function *change, void *const contexts[2], mgn_output_file **written);

/* Checks a header's size against MGN_IMAGE_MAX_PIXELS. */
mgn_status mgn_image_check_size(const char *name, size_t width, size_t height);

/* Bytes of one row and of one sample. */
static inline size_t mgn_image_sample_bytes(const mgn_image *image) { return image->depth == 16 ? 2 : 1; }
static inline size_t mgn_image_row_bytes(const mgn_image *image) {
    return image->width * (size_t)image->channels * mgn_image_sample_bytes(image);
}

/* One row of samples as 8-bit grey (1, 2 channels) or RGB (3, 4 channels), alpha left out, 16 bits rounded. */
void mgn_image_pack_row8(const mgn_image *image, const void *row, unsigned char *packed);

#endif
