/* JPEG through libjpeg-turbo's classic interface, the one that gives access to markers and sampling factors.
 * The library reports errors by a callback that must not return, hence setjmp in each entry; whatever lives across it
 * is in the codec's struct and never in a local variable. A damaged stream, which the library would fill with grey,
 * is an error here: a map learned from grey would look like a result. */
#include "image/codec.h"

#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jpeglib.h>

#include <jerror.h>

enum { MAX_SCANS = 500, MAX_MARKER = 65533, CODE_COMMENT = 0xFE };

static const char exif_prefix[] = "Exif\0", xmp_prefix[] = "http://ns.adobe.com/xap/1.0/", icc_prefix[] = "ICC_PROFILE";

/* The error state of either codec. */
typedef struct failure {
    struct jpeg_error_mgr manager;
    jmp_buf jump;
    const char *name; /* the file, for sentences */
    mgn_status status;
} failure;

static void fail_and_jump(failure *f, mgn_status status, const char *what, const char *message) {
    f->status = mgn_fail(status, "%s %s: %s", f->name, what, message);
    longjmp(f->jump, 1);
}

static void on_error(j_common_ptr codec) {
    failure *f = (failure *)codec->err;
    char message[JMSG_LENGTH_MAX];
    f->manager.format_message(codec, message);
    if (f->manager.msg_code == JERR_OUT_OF_MEMORY)
        fail_and_jump(f, MGN_ERR_MEMORY, "needs more memory than there is", message);
    if (!codec->is_decompressor) fail_and_jump(f, MGN_ERR_IO, "cannot be written as JPEG", message);
    fail_and_jump(f, MGN_ERR_FORMAT, "is not a sound JPEG file", message);
}

/* Oddities that do not touch the pixels pass; all else means that pixels are missing or wrong. */
static bool harmless(int code) {
    return code == JWRN_EXTRANEOUS_DATA || code == JWRN_JFIF_MAJOR || code == JWRN_ADOBE_XFORM ||
           code == JWRN_TOO_MUCH_DATA || code == JWRN_BOGUS_ICC;
}

static void on_message(j_common_ptr codec, int level) {
    failure *f = (failure *)codec->err;
    if (level >= 0 || harmless(f->manager.msg_code)) return;
    char message[JMSG_LENGTH_MAX];
    f->manager.format_message(codec, message);
    const bool short_file = f->manager.msg_code == JWRN_JPEG_EOF;
    fail_and_jump(f, MGN_ERR_FORMAT, short_file ? "is a truncated JPEG file" : "is a damaged JPEG file", message);
}

static void on_output(j_common_ptr codec) { (void)codec; }

static struct jpeg_error_mgr *prepare(failure *f, const char *name) {
    struct jpeg_error_mgr *manager = jpeg_std_error(&f->manager);
    manager->error_exit = on_error;
    manager->emit_message = on_message;
    manager->output_message = on_output;
    f->name = name;
    return manager;
}

/* ---- decoding ---- */

typedef struct jpeg_decoder {
    mgn_decoder face;
    failure error;
    struct jpeg_decompress_struct codec;
    struct jpeg_progress_mgr progress;
    size_t row_bytes;
    unsigned char *cmyk; /* one row, when the file is CMYK */
    JOCTET *icc;         /* from the library, freed by free() */
} jpeg_decoder;

/* A progressive file of a few kilobytes can ask for thousands of passes over all pixels. */
static void on_progress(j_common_ptr common) {
    failure *f = (failure *)common->err;
    if (((j_decompress_ptr)common)->input_scan_number > MAX_SCANS)
        fail_and_jump(f, MGN_ERR_FORMAT, "is refused as a JPEG file", "it has more scans than any real picture");
    if (mgn_interrupted()) fail_and_jump(f, MGN_ERR_INTERRUPTED, "was being read", "interrupted");
}

static bool starts_with(const struct jpeg_marker_struct *marker, const char *prefix, size_t length) {
    return marker->data_length >= length && memcmp(marker->data, prefix, length) == 0;
}

/* Markers that describe the coded stream and not the picture are written anew by the encoder: JFIF, Adobe, ICC (taken
 * whole elsewhere), and MPF, whose offsets point to further pictures that are not kept. */
static bool is_structural(const struct jpeg_marker_struct *marker) {
    switch (marker->marker) {
    case JPEG_APP0: return starts_with(marker, "JFIF", 5) || starts_with(marker, "JFXX", 5);
    case JPEG_APP0 + 2: return starts_with(marker, icc_prefix, sizeof icc_prefix) || starts_with(marker, "MPF", 4);
    case JPEG_APP0 + 14: return starts_with(marker, "Adobe", 5);
    default: return false;
    }
}

static mgn_status keep_marker(mgn_image_metadata *metadata, const struct jpeg_marker_struct *marker) {
    if (is_structural(marker)) return MGN_OK;
    if (marker->marker == JPEG_APP0 + 1) {
        const size_t exif = sizeof exif_prefix, xmp = sizeof xmp_prefix;
        if (starts_with(marker, exif_prefix, exif) && !metadata->exif.size)
            return mgn_blob_set(&metadata->exif, marker->data + exif, marker->data_length - exif);
        if (starts_with(marker, xmp_prefix, xmp) && !metadata->xmp.size)
            return mgn_blob_set(&metadata->xmp, marker->data + xmp, marker->data_length - xmp);
    }
    return mgn_metadata_add_marker(metadata, marker->marker, marker->data, marker->data_length);
}

static mgn_status keep_metadata(jpeg_decoder *d, mgn_image *image) {
    struct jpeg_decompress_struct *codec = &d->codec;
    mgn_image_metadata *metadata = image->metadata;
    for (jpeg_saved_marker_ptr marker = codec->marker_list; marker; marker = marker->next)
        MGN_TRY(keep_marker(metadata, marker));
    unsigned size = 0;
    if (jpeg_read_icc_profile(codec, &d->icc, &size)) MGN_TRY(mgn_blob_set(&metadata->icc, d->icc, size));
    metadata->from_jpeg = true;
    metadata->jfif = codec->saw_JFIF_marker;
    if (metadata->jfif) {
        static const mgn_density_unit units[] = {MGN_DENSITY_ASPECT, MGN_DENSITY_INCH, MGN_DENSITY_CM};
        metadata->density_unit = codec->density_unit <= 2 ? units[codec->density_unit] : MGN_DENSITY_NONE;
        metadata->density_x = codec->X_density;
        metadata->density_y = codec->Y_density;
    }
    if (codec->num_components == 3) {
        metadata->sampled_components = 3;
        for (int i = 0; i < 3; i++) {
            metadata->sample_h[i] = codec->comp_info[i].h_samp_factor;
            metadata->sample_v[i] = codec->comp_info[i].v_samp_factor;
        }
    }
    return MGN_OK;
}

/* Huffman coding spends at least one bit on every block, so a file can be too short for the size that it claims; it is
 * refused before memory is spent on it. */
static mgn_status check_plausible(const jpeg_decoder *d, size_t size) {
    size_t blocks = 0;
    for (int i = 0; i < d->codec.num_components; i++) {
        const jpeg_component_info *component = &d->codec.comp_info[i];
        blocks += (size_t)component->width_in_blocks * component->height_in_blocks;
    }
    if (d->codec.arith_code || blocks / 8 <= size) return MGN_OK;
    return mgn_fail(MGN_ERR_FORMAT,
                    "%s is a truncated JPEG file: %zu bytes cannot hold the %u x %u pixels that it claims",
                    d->error.name, size, d->codec.image_width, d->codec.image_height);
}

/* Chooses what the library converts to, and takes the layout from it. */
static mgn_status set_layout(jpeg_decoder *d, mgn_image *image) {
    struct jpeg_decompress_struct *codec = &d->codec;
    MGN_TRY(mgn_image_check_size(d->error.name, codec->image_width, codec->image_height));
    image->width = codec->image_width;
    image->height = codec->image_height;
    image->depth = 8;
    switch (codec->jpeg_color_space) {
    case JCS_GRAYSCALE:
        image->channels = 1;
        codec->out_color_space = JCS_GRAYSCALE;
        return MGN_OK;
    case JCS_RGB:
    case JCS_YCbCr:
        image->channels = 3;
        codec->out_color_space = JCS_RGB;
        return MGN_OK;
    case JCS_CMYK:
    case JCS_YCCK:
        image->channels = 3;
        codec->out_color_space = JCS_CMYK;
        d->cmyk = mgn_alloc(image->width, 4);
        return d->cmyk ? MGN_OK : MGN_ERR_MEMORY;
    default:
        return mgn_fail(MGN_ERR_UNSUPPORTED,
                        "%s is a JPEG file with %d components of an unknown colour space; grey, RGB, YCbCr "
                        "and CMYK can be read",
                        d->error.name, codec->num_components);
    }
}

static mgn_status start(jpeg_decoder *d, const unsigned char *bytes, size_t size, mgn_image *image) {
    if (setjmp(d->error.jump)) return d->error.status;
    jpeg_create_decompress(&d->codec);
    d->progress.progress_monitor = on_progress;
    d->codec.progress = &d->progress;
    jpeg_mem_src(&d->codec, bytes, size);
    for (int app = 0; app < 16; app++) jpeg_save_markers(&d->codec, JPEG_APP0 + app, 0xFFFF);
    jpeg_save_markers(&d->codec, JPEG_COM, 0xFFFF);
    jpeg_read_header(&d->codec, TRUE);
    MGN_TRY(set_layout(d, image));
    MGN_TRY(check_plausible(d, size));
    MGN_TRY(keep_metadata(d, image));
    d->row_bytes = mgn_image_row_bytes(image);
    jpeg_start_decompress(&d->codec);
    if (d->cmyk) {
        mgn_note("%s is CMYK: its colours were converted to RGB without its profile, so they are approximate",
                 d->error.name);
        return mgn_blob_set(&image->metadata->icc, NULL, 0);
    }
    return MGN_OK;
}

/* Ink to light. Adobe's programs, which write nearly all such files, store 255 - ink. */
static void row_from_cmyk(const unsigned char *cmyk, bool inverted, size_t count, unsigned char *rgb) {
    const unsigned flip = inverted ? 0 : 255;
    for (size_t i = 0; i < count; i++) {
        const unsigned black = cmyk[4 * i + 3] ^ flip;
        for (size_t c = 0; c < 3; c++) rgb[3 * i + c] = (unsigned char)(((cmyk[4 * i + c] ^ flip) * black + 127) / 255);
    }
}

static mgn_status decode_rows(mgn_decoder *decoder, size_t count, unsigned char *pixels) {
    jpeg_decoder *d = (jpeg_decoder *)decoder;
    if (setjmp(d->error.jump)) return d->error.status;
    const JDIMENSION first = d->codec.output_scanline;
    while (d->codec.output_scanline - first < count) {
        unsigned char *target = pixels + (d->codec.output_scanline - first) * d->row_bytes;
        JSAMPROW row = d->cmyk ? d->cmyk : target;
        /* The source is in memory and an end of data jumps, so a row always comes. */
        jpeg_read_scanlines(&d->codec, &row, 1);
        if (d->cmyk) row_from_cmyk(d->cmyk, d->codec.saw_Adobe_marker, d->codec.output_width, target);
    }
    return MGN_OK;
}

static mgn_status finish_decoding(mgn_decoder *decoder, mgn_image *image) {
    jpeg_decoder *d = (jpeg_decoder *)decoder;
    (void)image;
    if (setjmp(d->error.jump)) return d->error.status;
    jpeg_finish_decompress(&d->codec);
    return MGN_OK;
}

static void close_decoder(mgn_decoder *decoder) {
    jpeg_decoder *d = (jpeg_decoder *)decoder;
    jpeg_destroy_decompress(&d->codec);
    mgn_free(d->cmyk);
    free(d->icc);
    mgn_free(d);
}

mgn_status mgn_jpeg_decoder_open(const unsigned char *bytes, size_t size, const char *name, mgn_image *image,
                                 mgn_decoder **decoder) {
    jpeg_decoder *d = mgn_alloc(1, sizeof *d);
    if (!d) return MGN_ERR_MEMORY;
    d->face = (mgn_decoder){.rows = decode_rows, .finish = finish_decoding, .close = close_decoder};
    d->codec.err = prepare(&d->error, name);
    mgn_status status = start(d, bytes, size, image);
    if (status == MGN_OK)
        *decoder = &d->face;
    else
        close_decoder(&d->face);
    return status;
}

/* ---- encoding ---- */

typedef struct jpeg_encoder {
    mgn_encoder face;
    failure error;
    struct jpeg_compress_struct codec;
    mgn_image layout;      /* a copy whose pixels and metadata are not used */
    unsigned char *packed; /* one row, when the rows are not 8-bit grey or RGB already */
    bool translucent;      /* a pixel that was not opaque has been dropped */
} jpeg_encoder;

/* Whether the encoder can do those factors: the fully sampled component is a multiple of the others, and an MCU has at
 * most the 10 blocks that the standard allows. */
static bool usable_sampling(const mgn_image_metadata *metadata) {
    if (metadata->sampled_components != 3) return false;
    int most_h = 1, most_v = 1, blocks = 0;
    for (int i = 0; i < 3; i++) {
        most_h = MGN_MAX(most_h, metadata->sample_h[i]);
        most_v = MGN_MAX(most_v, metadata->sample_v[i]);
        blocks += metadata->sample_h[i] * metadata->sample_v[i];
    }
    for (int i = 0; i < 3; i++)
        if (most_h % metadata->sample_h[i] != 0 || most_v % metadata->sample_v[i] != 0) return false;
    return blocks <= C_MAX_BLOCKS_IN_MCU;
}

static void set_sampling(jpeg_component_info *components, const mgn_image_metadata *metadata,
                         const mgn_image_write_options *options) {
    mgn_image_subsampling wanted = options->subsampling;
    if (wanted == MGN_SUBSAMPLING_AS_SOURCE && usable_sampling(metadata)) {
        for (int i = 0; i < 3; i++) {
            components[i].h_samp_factor = metadata->sample_h[i];
            components[i].v_samp_factor = metadata->sample_v[i];
        }
        return;
    }
    if (wanted == MGN_SUBSAMPLING_AS_SOURCE)
        wanted = options->quality >= 90 ? MGN_SUBSAMPLING_444 : MGN_SUBSAMPLING_420;
    for (int i = 0; i < 3; i++) components[i].h_samp_factor = components[i].v_samp_factor = 1;
    components[0].h_samp_factor = wanted == MGN_SUBSAMPLING_444 ? 1 : 2;
    components[0].v_samp_factor = wanted == MGN_SUBSAMPLING_420 ? 2 : 1;
}

static void set_density(struct jpeg_compress_struct *codec, const mgn_image_metadata *metadata) {
    static const UINT8 units[] = {[MGN_DENSITY_INCH] = 1, [MGN_DENSITY_CM] = 2, [MGN_DENSITY_METRE] = 2};
    if (metadata->density_unit == MGN_DENSITY_NONE) return;
    const bool metre = metadata->density_unit == MGN_DENSITY_METRE;
    const uint32_t x = metre ? (metadata->density_x + 50) / 100 : metadata->density_x;
    const uint32_t y = metre ? (metadata->density_y + 50) / 100 : metadata->density_y;
    if (x == 0 || y == 0 || x > UINT16_MAX || y > UINT16_MAX) return;
    codec->density_unit = units[metadata->density_unit];
    codec->X_density = (UINT16)x;
    codec->Y_density = (UINT16)y;
}

/* One APP1 segment: a prefix and the blob, in one piece as EXIF and XMP demand. */
static void write_app1(jpeg_encoder *e, const char *what, const char *prefix, size_t prefix_size,
                       const mgn_blob *blob) {
    if (!blob->size) return;
    if (blob->size > MAX_MARKER - prefix_size) {
        mgn_note("%s: the %s block of %zu bytes is left out, because a JPEG marker holds less", e->error.name, what,
                 blob->size);
        return;
    }
    jpeg_write_m_header(&e->codec, JPEG_APP0 + 1, (unsigned)(prefix_size + blob->size));
    for (size_t i = 0; i < prefix_size; i++) jpeg_write_m_byte(&e->codec, (unsigned char)prefix[i]);
    for (size_t i = 0; i < blob->size; i++) jpeg_write_m_byte(&e->codec, blob->bytes[i]);
}

static void write_comment(jpeg_encoder *e, const mgn_text *text) {
    const bool plain = strcmp(text->keyword, "Comment") == 0;
    const size_t key = plain ? 0 : strlen(text->keyword), length = text->text ? strlen(text->text) : 0;
    if (length == 0 || length > MAX_MARKER - 82) return;
    jpeg_write_m_header(&e->codec, JPEG_COM, (unsigned)(length + (plain ? 0 : key + 2)));
    for (size_t i = 0; i < key; i++) jpeg_write_m_byte(&e->codec, (unsigned char)text->keyword[i]);
    if (!plain) jpeg_write_m_byte(&e->codec, ':');
    if (!plain) jpeg_write_m_byte(&e->codec, ' ');
    for (size_t i = 0; i < length; i++) jpeg_write_m_byte(&e->codec, (unsigned char)text->text[i]);
}

/* EXIF first, as its standard wants it; then the others, each kind in the source's order. */
static void write_metadata(jpeg_encoder *e, const mgn_image_metadata *metadata) {
    write_app1(e, "EXIF", exif_prefix, sizeof exif_prefix, &metadata->exif);
    write_app1(e, "XMP", xmp_prefix, sizeof xmp_prefix, &metadata->xmp);
    if (mgn_icc_fits(&metadata->icc, e->layout.channels)) {
        if (metadata->icc.size <= (size_t)255 * 65519)
            jpeg_write_icc_profile(&e->codec, metadata->icc.bytes, (unsigned)metadata->icc.size);
        else
            mgn_note("%s: the colour profile of %zu bytes is left out, because JPEG holds less", e->error.name,
                     metadata->icc.size);
    }
    for (size_t i = 0; i < metadata->marker_count; i++) {
        const mgn_marker *marker = &metadata->markers[i];
        if (marker->data.size <= MAX_MARKER)
            jpeg_write_marker(&e->codec, marker->code, marker->data.bytes, (unsigned)marker->data.size);
    }
    for (size_t i = 0; i < metadata->text_count; i++) write_comment(e, &metadata->texts[i]);
}

static mgn_status begin(jpeg_encoder *e, const mgn_image *image, mgn_output_file *output,
                        const mgn_image_write_options *options) {
    if (setjmp(e->error.jump)) return e->error.status;
    struct jpeg_compress_struct *codec = &e->codec;
    const bool colour = image->channels >= 3;
    jpeg_create_compress(codec);
    jpeg_stdio_dest(codec, mgn_output_stream(output));
    codec->image_width = (JDIMENSION)image->width;
    codec->image_height = (JDIMENSION)image->height;
    codec->input_components = colour ? 3 : 1;
    codec->in_color_space = colour ? JCS_RGB : JCS_GRAYSCALE;
    jpeg_set_defaults(codec);
    jpeg_set_quality(codec, options->quality, TRUE);
    if (colour) set_sampling(codec->comp_info, image->metadata, options);
    set_density(codec, image->metadata);
    /* A camera's file has EXIF in JFIF's place: it stays so. */
    if (image->metadata->from_jpeg && !image->metadata->jfif && image->metadata->exif.size)
        codec->write_JFIF_header = FALSE;
    jpeg_start_compress(codec, TRUE);
    write_metadata(e, image->metadata);
    return MGN_OK;
}

static bool all_opaque(const mgn_image *layout, const unsigned char *row) {
    const size_t step = (size_t)layout->channels;
    for (size_t i = 0; i < layout->width; i++) {
        const size_t index = i * step + step - 1;
        if (layout->depth == 8 ? row[index] != 255 : ((const uint16_t *)(const void *)row)[index] != 65535)
            return false;
    }
    return true;
}

static mgn_status encode_rows(mgn_encoder *encoder, size_t count, const unsigned char *pixels) {
    jpeg_encoder *e = (jpeg_encoder *)encoder;
    if (setjmp(e->error.jump)) return e->error.status;
    const size_t row_bytes = mgn_image_row_bytes(&e->layout);
    const JDIMENSION first = e->codec.next_scanline;
    while (e->codec.next_scanline - first < count) {
        const unsigned char *source = pixels + (e->codec.next_scanline - first) * row_bytes;
        if (e->layout.channels % 2 == 0 && !e->translucent) e->translucent = !all_opaque(&e->layout, source);
        if (e->packed) mgn_image_pack_row8(&e->layout, source, e->packed);
        /* The library's row type is not const, but it only reads. */
        JSAMPROW row = e->packed ? e->packed : (JSAMPROW)(uintptr_t)source;
        jpeg_write_scanlines(&e->codec, &row, 1);
    }
    return MGN_OK;
}

static mgn_status finish_encoding(mgn_encoder *encoder) {
    jpeg_encoder *e = (jpeg_encoder *)encoder;
    if (setjmp(e->error.jump)) return e->error.status;
    jpeg_finish_compress(&e->codec);
    if (e->translucent) mgn_note("%s: JPEG has no transparency, so it was dropped; PNG keeps it", e->error.name);
    return MGN_OK;
}

static void close_encoder(mgn_encoder *encoder) {
    jpeg_encoder *e = (jpeg_encoder *)encoder;
    jpeg_destroy_compress(&e->codec);
    mgn_free(e->packed);
    mgn_free(e);
}

mgn_status mgn_jpeg_encoder_open(const mgn_image *image, mgn_output_file *output, const char *name,
                                 const mgn_image_write_options *options, mgn_encoder **encoder) {
    if (image->width > JPEG_MAX_DIMENSION || image->height > JPEG_MAX_DIMENSION)
        return mgn_fail(MGN_ERR_UNSUPPORTED, "%s: JPEG holds at most %ld pixels a side, not %zu x %zu; PNG holds more",
                        name, JPEG_MAX_DIMENSION, image->width, image->height);
    jpeg_encoder *e = mgn_alloc(1, sizeof *e);
    if (!e) return MGN_ERR_MEMORY;
    e->face = (mgn_encoder){.rows = encode_rows, .finish = finish_encoding, .close = close_encoder};
    e->layout = *image;
    e->layout.pixels = NULL;
    e->layout.metadata = NULL;
    e->codec.err = prepare(&e->error, name);
    mgn_status status = MGN_OK;
    if (image->depth != 8 || image->channels % 2 == 0) {
        e->packed = mgn_alloc(image->width, image->channels >= 3 ? 3 : 1);
        if (!e->packed) status = MGN_ERR_MEMORY;
    }
    if (status == MGN_OK) status = begin(e, image, output, options);
    if (status == MGN_OK)
        *encoder = &e->face;
    else
        close_encoder(&e->face);
    return status;
}
