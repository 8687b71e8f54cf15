/* Pictures as objects, and the loop that drives a codec: open, allocate, band after band of rows, finish, close.
 * The formats themselves are in jpeg.c and png.c, arithmetic on pixels in pixels.c. */
#include "image/codec.h"

#include <string.h>
#include <strings.h>

enum { BAND_ROWS = 64, DEFAULT_QUALITY = 92, DEFAULT_COMPRESSION = 3 };

/* ---- objects ---- */

mgn_status mgn_image_check_size(const char *name, size_t width, size_t height) {
    if (width == 0 || height == 0)
        return mgn_fail(MGN_ERR_FORMAT, "%s has no pixels: its size is %zu x %zu", name, width, height);
    if (height > MGN_IMAGE_MAX_PIXELS / width)
        return mgn_fail(MGN_ERR_FORMAT, "%s claims %zu x %zu pixels; at most %zu pixels are accepted", name, width,
                        height, MGN_IMAGE_MAX_PIXELS);
    return MGN_OK;
}

static mgn_status allocate_pixels(mgn_image *image) {
    image->pixels = mgn_alloc(image->height, mgn_image_row_bytes(image));
    return image->pixels ? MGN_OK : MGN_ERR_MEMORY;
}

mgn_status mgn_image_create(size_t width, size_t height, int channels, int depth, mgn_image **image) {
    if (channels < 1 || channels > 4 || (depth != 8 && depth != 16))
        return mgn_fail(MGN_ERR_ARGUMENT, "a picture has 1 to 4 channels of 8 or 16 bits, not %d of %d", channels,
                        depth);
    if (width == 0 || height == 0 || height > MGN_IMAGE_MAX_PIXELS / width)
        return mgn_fail(MGN_ERR_ARGUMENT, "a picture of %zu x %zu pixels cannot be made; 1 to %zu pixels are possible",
                        width, height, MGN_IMAGE_MAX_PIXELS);
    mgn_image *made = mgn_alloc(1, sizeof *made);
    if (!made) return MGN_ERR_MEMORY;
    *made = (mgn_image){.width = width, .height = height, .channels = channels, .depth = depth, .orientation = 1};
    made->metadata = mgn_metadata_create();
    if (!made->metadata || allocate_pixels(made) != MGN_OK) {
        mgn_image_destroy(made);
        return MGN_ERR_MEMORY;
    }
    *image = made;
    return MGN_OK;
}

void mgn_image_destroy(mgn_image *image) {
    if (!image) return;
    mgn_metadata_destroy(image->metadata);
    mgn_free(image->pixels);
    mgn_free(image);
}

/* A picture with `channels` channels and all else from `source`. */
static mgn_status clone_as(const mgn_image *source, int channels, mgn_image **image) {
    mgn_image *made = NULL;
    MGN_TRY(mgn_image_create(source->width, source->height, channels, source->depth, &made));
    mgn_image_metadata *metadata = mgn_metadata_clone(source->metadata);
    if (!metadata) {
        mgn_image_destroy(made);
        return MGN_ERR_MEMORY;
    }
    mgn_metadata_destroy(made->metadata);
    made->metadata = metadata;
    made->orientation = source->orientation;
    *image = made;
    return MGN_OK;
}

mgn_status mgn_image_clone_layout(const mgn_image *image, mgn_image **clone) {
    return clone_as(image, image->channels, clone);
}

/* Copies the last channel of every pixel. */
static void copy_alpha(const mgn_image *from, mgn_image *to) {
    const size_t count = from->width * from->height, stride = (size_t)from->channels, step = (size_t)to->channels;
    if (from->depth == 8) {
        const uint8_t *source = from->pixels;
        uint8_t *target = to->pixels;
        for (size_t i = 0; i < count; i++) target[i * step + step - 1] = source[i * stride + stride - 1];
    } else {
        const uint16_t *source = from->pixels;
        uint16_t *target = to->pixels;
        for (size_t i = 0; i < count; i++) target[i * step + step - 1] = source[i * stride + stride - 1];
    }
}

mgn_status mgn_image_clone_colour(const mgn_image *source, mgn_image **image) {
    const bool alpha = source->channels % 2 == 0;
    mgn_image *made = NULL;
    MGN_TRY(clone_as(source, alpha ? 4 : 3, &made));
    if (alpha) copy_alpha(source, made);
    if (source->channels <= 2 && made->metadata->icc.size && !mgn_icc_fits(&made->metadata->icc, 3))
        (void)mgn_blob_set(&made->metadata->icc, NULL, 0);
    *image = made;
    return MGN_OK;
}

/* ---- reading ---- */

typedef mgn_status open_decoder(const unsigned char *, size_t, const char *, mgn_image *, mgn_decoder **);

/* Formats that people have and this library does not read: their names make the refusal useful. */
static const struct {
    size_t offset, length;
    const char *magic, *name;
} foreign[] = {
    {0, 4, "GIF8", "GIF"},          {8, 4, "WEBP", "WebP"},         {4, 4, "ftyp", "HEIF, AVIF or video"},
    {0, 4, "II*\0", "TIFF or raw"}, {0, 4, "MM\0*", "TIFF or raw"}, {0, 2, "BM", "BMP"},
    {0, 4, "8BPS", "Photoshop"},    {0, 4, "%PDF", "PDF"},          {0, 4, "\x76\x2f\x31\x01", "OpenEXR"},
    {0, 2, "\xff\x0a", "JPEG XL"},  {4, 4, "JXL ", "JPEG XL"},      {4, 4, "jP  ", "JPEG 2000"},
};

static mgn_status find_decoder(const unsigned char *bytes, size_t size, const char *name, open_decoder **open) {
    if (size >= 3 && memcmp(bytes, "\xff\xd8\xff", 3) == 0) {
        *open = mgn_jpeg_decoder_open;
        return MGN_OK;
    }
    if (size >= 8 && memcmp(bytes, "\x89PNG\r\n\x1a\n", 8) == 0) {
        *open = mgn_png_decoder_open;
        return MGN_OK;
    }
    for (size_t i = 0; i < MGN_COUNT(foreign); i++)
        if (size >= foreign[i].offset + foreign[i].length &&
            memcmp(bytes + foreign[i].offset, foreign[i].magic, foreign[i].length) == 0)
            return mgn_fail(MGN_ERR_FORMAT,
                            "%s is a %s file; JPEG and PNG can be read, so convert it to one of them first", name,
                            foreign[i].name);
    return mgn_fail(MGN_ERR_FORMAT, "%s is not a picture that can be read: its content is neither JPEG nor PNG", name);
}

static mgn_status decode_rows(mgn_decoder *decoder, mgn_image *image) {
    const size_t row_bytes = mgn_image_row_bytes(image), band = decoder->whole ? image->height : BAND_ROWS;
    for (size_t y = 0; y < image->height; y += band) {
        if (mgn_interrupted()) return mgn_fail(MGN_ERR_INTERRUPTED, "reading a picture was interrupted");
        MGN_TRY(
            decoder->rows(decoder, MGN_MIN(band, image->height - y), (unsigned char *)image->pixels + y * row_bytes));
    }
    return decoder->finish(decoder, image);
}

mgn_status mgn_image_read_memory(const void *bytes, size_t size, const char *name, mgn_image **image) {
    open_decoder *open = NULL;
    MGN_TRY(find_decoder(bytes, size, name, &open));
    mgn_image *made = mgn_alloc(1, sizeof *made);
    if (!made) return MGN_ERR_MEMORY;
    made->orientation = 1;
    mgn_decoder *decoder = NULL;
    mgn_status status = MGN_ERR_MEMORY;
    made->metadata = mgn_metadata_create();
    if (!made->metadata) goto failed;
    MGN_TRY_GOTO(open(bytes, size, name, made, &decoder), failed);
    MGN_TRY_GOTO(allocate_pixels(made), failed);
    MGN_TRY_GOTO(decode_rows(decoder, made), failed);
    decoder->close(decoder);
    made->orientation = mgn_exif_orientation(made->metadata->exif.bytes, made->metadata->exif.size);
    *image = made;
    return MGN_OK;
failed:
    if (decoder) decoder->close(decoder);
    mgn_image_destroy(made);
    return status;
}

mgn_status mgn_image_read(const char *path, mgn_image **image) {
    unsigned char *bytes = NULL;
    size_t size = 0;
    MGN_TRY(mgn_file_read(path, MGN_IMAGE_MAX_FILE, &bytes, &size));
    mgn_status status = mgn_image_read_memory(bytes, size, path, image);
    mgn_free(bytes);
    return status;
}

/* ---- colours alone ---- */

static mgn_status sample_rows(mgn_decoder *decoder, mgn_image *band, size_t height, uint64_t seed,
                              mgn_matrix *palette) {
    const int64_t pixels = (int64_t)(band->width * height);
    int64_t row = 0, begin = 0;
    for (size_t y = 0; y < height; y += BAND_ROWS) {
        const size_t rows = MGN_MIN((size_t)BAND_ROWS, height - y);
        const int64_t end = begin + (int64_t)(rows * band->width);
        if (mgn_interrupted()) return mgn_fail(MGN_ERR_INTERRUPTED, "interrupted while the colours were read");
        MGN_TRY(decoder->rows(decoder, rows, band->pixels));
        for (; row < palette->rows; row++) {
            const int64_t rank = mgn_palette_rank(row, palette->rows, pixels, seed);
            if (rank >= end) break;
            mgn_image_colour_of(band, (size_t)(rank - begin), palette->values + 3 * row);
        }
        begin = end;
    }
    return decoder->finish(decoder, band);
}

/* Whether the decoder can do it; if not, the palette stays empty. */
static mgn_status sample_file(open_decoder *open, const unsigned char *bytes, size_t size, const char *name,
                              int64_t most, uint64_t seed, mgn_matrix *palette) {
    mgn_image band = {.orientation = 1, .metadata = mgn_metadata_create()};
    mgn_decoder *decoder = NULL;
    mgn_status status = band.metadata ? open(bytes, size, name, &band, &decoder) : MGN_ERR_MEMORY;
    const int64_t pixels = (int64_t)(band.width * band.height);
    if (status == MGN_OK && band.channels % 2 == 1 && !decoder->whole) {
        band.pixels = mgn_alloc(MGN_MIN((size_t)BAND_ROWS, band.height), mgn_image_row_bytes(&band));
        status =
            band.pixels ? mgn_matrix_create(most > 0 ? MGN_MIN(most, pixels) : pixels, 3, palette) : MGN_ERR_MEMORY;
        if (status == MGN_OK) status = sample_rows(decoder, &band, band.height, seed, palette);
    }
    if (decoder) decoder->close(decoder);
    mgn_metadata_destroy(band.metadata);
    mgn_free(band.pixels);
    if (status != MGN_OK) mgn_matrix_free(palette);
    return status;
}

mgn_status mgn_image_read_palette(const char *path, int64_t most, uint64_t seed, mgn_matrix *palette) {
    unsigned char *bytes = NULL;
    size_t size = 0;
    open_decoder *open = NULL;
    mgn_matrix made = {0};
    mgn_image *image = NULL;
    MGN_TRY(mgn_file_read(path, MGN_IMAGE_MAX_FILE, &bytes, &size));
    mgn_status status = find_decoder(bytes, size, path, &open);
    if (status == MGN_OK) status = sample_file(open, bytes, size, path, most, seed, &made);
    if (status == MGN_OK && made.rows == 0) {
        status = mgn_image_read_memory(bytes, size, path, &image);
        if (status == MGN_OK) status = mgn_image_palette(image, most, seed, &made);
        mgn_image_destroy(image);
    }
    mgn_free(bytes);
    if (status == MGN_OK) *palette = made;
    return status;
}

/* ---- writing ---- */

mgn_status mgn_image_format_of(const char *path, mgn_image_format *format) {
    const char *slash = strrchr(path, '/'), *base = slash ? slash + 1 : path, *dot = strrchr(base, '.');
    const char *extension = dot && dot != base ? dot : "";
    if (strcasecmp(extension, ".jpg") == 0 || strcasecmp(extension, ".jpeg") == 0)
        *format = MGN_IMAGE_JPEG;
    else if (strcasecmp(extension, ".png") == 0)
        *format = MGN_IMAGE_PNG;
    else if (*extension)
        return mgn_fail(MGN_ERR_ARGUMENT, "%s: pictures are written as .jpg, .jpeg or .png, not %s", path, extension);
    else
        return mgn_fail(MGN_ERR_ARGUMENT, "%s: a picture's name must end in .jpg, .jpeg or .png", path);
    return MGN_OK;
}

mgn_status mgn_image_check_options(const mgn_image_write_options *given, mgn_image_write_options *options) {
    *options = given ? *given : (mgn_image_write_options){0};
    if (options->quality == 0) options->quality = DEFAULT_QUALITY;
    if (options->compression == 0) options->compression = DEFAULT_COMPRESSION;
    if (options->quality < 1 || options->quality > 100)
        return mgn_fail(MGN_ERR_ARGUMENT, "a JPEG quality is 1 to 100, not %d", options->quality);
    if (options->compression < 1 || options->compression > 9)
        return mgn_fail(MGN_ERR_ARGUMENT, "a PNG compression level is 1 to 9, not %d", options->compression);
    if ((int)options->subsampling < 0 || options->subsampling > MGN_SUBSAMPLING_420)
        return mgn_fail(MGN_ERR_ARGUMENT, "%d is not a chroma subsampling", (int)options->subsampling);
    return MGN_OK;
}

static mgn_status encode_rows(mgn_encoder *encoder, const mgn_image *image) {
    const size_t row_bytes = mgn_image_row_bytes(image);
    for (size_t y = 0; y < image->height; y += BAND_ROWS) {
        if (mgn_interrupted()) return mgn_fail(MGN_ERR_INTERRUPTED, "writing a picture was interrupted");
        const size_t rows = MGN_MIN((size_t)BAND_ROWS, image->height - y);
        MGN_TRY(encoder->rows(encoder, rows, (const unsigned char *)image->pixels + y * row_bytes));
    }
    return encoder->finish(encoder);
}

static mgn_status encode(const mgn_image *image, const char *path, mgn_image_format format,
                         const mgn_image_write_options *options, mgn_output_file **written) {
    mgn_output_file *output = NULL;
    mgn_encoder *encoder = NULL;
    MGN_TRY(mgn_output_open(path, &output));
    mgn_status status = (format == MGN_IMAGE_JPEG ? mgn_jpeg_encoder_open : mgn_png_encoder_open)(image, output, path,
                                                                                                  options, &encoder);
    if (status == MGN_OK) {
        status = encode_rows(encoder, image);
        encoder->close(encoder);
    }
    if (status == MGN_OK)
        *written = output;
    else
        mgn_output_discard(output);
    return status;
}

mgn_status mgn_image_prepare(const mgn_image *image, const char *path, const mgn_image_write_options *given,
                             mgn_output_file **written) {
    mgn_image_format format;
    mgn_image_write_options options;
    MGN_TRY(mgn_image_format_of(path, &format));
    MGN_TRY(mgn_image_check_options(given, &options));
    if (format == MGN_IMAGE_JPEG || image->orientation == 1) return encode(image, path, format, &options, written);
    /* Few programs look for EXIF in a PNG: the pixels themselves must be upright there. */
    mgn_image *turned = NULL;
    MGN_TRY(mgn_image_clone_layout(image, &turned));
    memcpy(turned->pixels, image->pixels, image->height * mgn_image_row_bytes(image));
    mgn_status status = mgn_image_upright(turned);
    if (status == MGN_OK) status = encode(turned, path, format, &options, written);
    mgn_image_destroy(turned);
    return status;
}

mgn_status mgn_image_write(const mgn_image *image, const char *path, const mgn_image_write_options *options) {
    mgn_output_file *output = NULL;
    MGN_TRY(mgn_image_prepare(image, path, options, &output));
    return mgn_output_commit(output);
}
