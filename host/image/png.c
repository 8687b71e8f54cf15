/* PNG through libspng, row by row in both directions. Reading expands whatever is narrower than a byte and turns
 * transparency into alpha, so that only four layouts of 8 or 16 bits remain; the chunks that say how the picture is
 * meant (profile, gamma, primaries, density, texts, time, EXIF) are carried over through the library's own
 * structures. */
#include "image/codec.h"

#include <limits.h>
#include <string.h>

#include <spng.h>

enum { MAX_RATIO = 1040, CHUNK_COUNT = 1000 };

#define MAX_CHUNK_BYTES ((size_t)1 << 26)

static const char xmp_keyword[] = "XML:com.adobe.xmp";

/* zlib's start fails for nothing else. */
static bool is_out_of_memory(int error) { return error == SPNG_EMEM || error == SPNG_EZLIB_INIT; }

/* ---- decoding ---- */

typedef struct png_decoder {
    mgn_decoder face;
    spng_ctx *codec;
    const char *name;
    size_t row_bytes;
} png_decoder;

static mgn_status decode_failure(const png_decoder *d, int error) {
    if (is_out_of_memory(error)) return mgn_fail(MGN_ERR_MEMORY, "%s needs more memory than there is", d->name);
    const bool truncated = error == SPNG_IO_EOF || error == SPNG_EIDAT_TOO_SHORT;
    return mgn_fail(MGN_ERR_FORMAT, "%s is %s PNG file: %s", d->name, truncated ? "a truncated" : "not a sound",
                    spng_strerror(error));
}

/* Which of the library's output formats keeps all that the file has. */
static int choose_format(const struct spng_ihdr *header, bool transparent, mgn_image *image) {
    const bool deep = header->bit_depth == 16;
    image->width = header->width;
    image->height = header->height;
    image->depth = deep ? 16 : 8;
    switch (header->color_type) {
    case SPNG_COLOR_TYPE_GRAYSCALE:
        image->channels = transparent ? 2 : 1;
        if (transparent) return deep ? SPNG_FMT_GA16 : SPNG_FMT_GA8;
        return deep ? SPNG_FMT_PNG : SPNG_FMT_G8;
    case SPNG_COLOR_TYPE_GRAYSCALE_ALPHA: image->channels = 2; return SPNG_FMT_PNG;
    case SPNG_COLOR_TYPE_TRUECOLOR_ALPHA: image->channels = 4; return SPNG_FMT_PNG;
    default: /* RGB and palettes */
        image->channels = transparent ? 4 : 3;
        if (transparent) return deep ? SPNG_FMT_RGBA16 : SPNG_FMT_RGBA8;
        return deep ? SPNG_FMT_PNG : SPNG_FMT_RGB8;
    }
}

/* Deflate makes data at most 1032 times smaller, so a file can be too short for the size that its header claims; it is
 * refused before memory is spent on it. */
static mgn_status check_plausible(const png_decoder *d, const struct spng_ihdr *header, size_t size) {
    static const size_t samples[] = {[0] = 1, [2] = 3, [3] = 1, [4] = 2, [6] = 4};
    const size_t bits = (size_t)header->width * header->bit_depth * samples[header->color_type];
    if (bits / 8 * header->height / MAX_RATIO <= size) return MGN_OK;
    return mgn_fail(MGN_ERR_FORMAT,
                    "%s is a truncated PNG file: %zu bytes cannot hold the %u x %u pixels that it claims", d->name,
                    size, header->width, header->height);
}

static mgn_status configure(png_decoder *d, const unsigned char *bytes, size_t size, mgn_image *image) {
    struct spng_ihdr header;
    struct spng_trns transparency;
    int error = spng_set_image_limits(d->codec, INT32_MAX, INT32_MAX);
    /* A profile or text says how long it is when inflated, and memory for that is taken at once. */
    const size_t most = size < MAX_CHUNK_BYTES / MAX_RATIO ? size * MAX_RATIO : MAX_CHUNK_BYTES;
    if (!error) error = spng_set_chunk_limits(d->codec, most, most);
    if (!error) error = spng_set_png_buffer(d->codec, bytes, size);
    if (!error) error = spng_get_ihdr(d->codec, &header);
    if (error) return decode_failure(d, error);
    MGN_TRY(mgn_image_check_size(d->name, header.width, header.height));
    MGN_TRY(check_plausible(d, &header, size));
    error = spng_get_trns(d->codec, &transparency);
    if (error && error != SPNG_ECHUNKAVAIL) return decode_failure(d, error);
    const int format = choose_format(&header, error == 0, image);
    error = spng_decode_image(d->codec, NULL, 0, format, SPNG_DECODE_PROGRESSIVE | (error == 0 ? SPNG_DECODE_TRNS : 0));
    if (error) return decode_failure(d, error);
    d->row_bytes = mgn_image_row_bytes(image);
    d->face.whole = header.interlace_method != SPNG_INTERLACE_NONE;
    return MGN_OK;
}

/* The library puts an interlaced pass's pixels into their places of the full row that it is given. */
static mgn_status decode_rows(mgn_decoder *decoder, size_t count, unsigned char *pixels) {
    png_decoder *d = (png_decoder *)decoder;
    int error = 0;
    for (size_t i = 0; error == 0 && (d->face.whole || i < count); i++) {
        size_t row = i;
        if (d->face.whole) {
            struct spng_row_info info;
            error = spng_get_row_info(d->codec, &info);
            if (error) break;
            row = info.row_num;
        }
        error = spng_decode_row(d->codec, pixels + row * d->row_bytes, d->row_bytes);
    }
    return error && error != SPNG_EOI ? decode_failure(d, error) : MGN_OK;
}

static mgn_status keep_texts(png_decoder *d, mgn_image_metadata *metadata) {
    uint32_t count = 0;
    if (spng_get_text(d->codec, NULL, &count) != 0 || count == 0) return MGN_OK;
    struct spng_text *texts = mgn_alloc(count, sizeof *texts);
    if (!texts) return MGN_ERR_MEMORY;
    mgn_status status = MGN_OK;
    if (spng_get_text(d->codec, texts, &count) != 0) count = 0;
    for (uint32_t i = 0; status == MGN_OK && i < count; i++) {
        const struct spng_text *text = &texts[i];
        if (text->type == SPNG_ITXT && strcmp(text->keyword, xmp_keyword) == 0) {
            status = mgn_blob_set(&metadata->xmp, text->text, strlen(text->text));
            continue;
        }
        mgn_text kept = {.type = text->type, .compressed = text->compression_flag != 0, .text = text->text};
        memcpy(kept.keyword, text->keyword, sizeof kept.keyword);
        if (text->type == SPNG_ITXT) {
            kept.language = text->language_tag;
            kept.translated = text->translated_keyword;
        }
        status = mgn_metadata_add_text(metadata, &kept);
    }
    mgn_free(texts);
    return status;
}

static void keep_colour(png_decoder *d, mgn_image_metadata *metadata) {
    struct spng_chrm_int c;
    metadata->has_gamma = spng_get_gama_int(d->codec, &metadata->gamma) == 0;
    metadata->has_srgb = spng_get_srgb(d->codec, &metadata->srgb_intent) == 0;
    metadata->has_chroma = spng_get_chrm_int(d->codec, &c) == 0;
    if (!metadata->has_chroma) return;
    const uint32_t values[8] = {c.white_point_x, c.white_point_y, c.red_x,  c.red_y,
                                c.green_x,       c.green_y,       c.blue_x, c.blue_y};
    memcpy(metadata->chroma, values, sizeof values);
}

static mgn_status keep_metadata(png_decoder *d, mgn_image_metadata *metadata) {
    struct spng_iccp profile;
    struct spng_exif exif;
    struct spng_phys density;
    struct spng_time time;
    keep_colour(d, metadata);
    if (spng_get_iccp(d->codec, &profile) == 0) {
        memcpy(metadata->icc_name, profile.profile_name, sizeof metadata->icc_name);
        MGN_TRY(mgn_blob_set(&metadata->icc, profile.profile, profile.profile_len));
    }
    if (spng_get_exif(d->codec, &exif) == 0) MGN_TRY(mgn_blob_set(&metadata->exif, exif.data, exif.length));
    if (spng_get_phys(d->codec, &density) == 0) {
        metadata->density_unit = density.unit_specifier == 1 ? MGN_DENSITY_METRE : MGN_DENSITY_ASPECT;
        metadata->density_x = density.ppu_x;
        metadata->density_y = density.ppu_y;
    }
    metadata->has_time = spng_get_time(d->codec, &time) == 0;
    if (metadata->has_time) {
        metadata->year = time.year;
        metadata->month = time.month;
        metadata->day = time.day;
        metadata->hour = time.hour;
        metadata->minute = time.minute;
        metadata->second = time.second;
    }
    return keep_texts(d, metadata);
}

/* Metadata are taken at the end, because texts, time and EXIF may stand after the pixels. */
static mgn_status finish_decoding(mgn_decoder *decoder, mgn_image *image) {
    png_decoder *d = (png_decoder *)decoder;
    const int error = spng_decode_chunks(d->codec);
    if (error) return decode_failure(d, error);
    return keep_metadata(d, image->metadata);
}

static void close_decoder(mgn_decoder *decoder) {
    png_decoder *d = (png_decoder *)decoder;
    spng_ctx_free(d->codec);
    mgn_free(d);
}

mgn_status mgn_png_decoder_open(const unsigned char *bytes, size_t size, const char *name, mgn_image *image,
                                mgn_decoder **decoder) {
    png_decoder *d = mgn_alloc(1, sizeof *d);
    if (!d) return MGN_ERR_MEMORY;
    d->face = (mgn_decoder){.rows = decode_rows, .finish = finish_decoding, .close = close_decoder};
    d->name = name;
    d->codec = spng_ctx_new(0);
    mgn_status status = d->codec ? configure(d, bytes, size, image) : decode_failure(d, SPNG_EMEM);
    if (status == MGN_OK)
        *decoder = &d->face;
    else
        close_decoder(&d->face);
    return status;
}

/* ---- encoding ---- */

typedef struct png_encoder {
    mgn_encoder face;
    spng_ctx *codec;
    const char *name;
    mgn_output_file *output;
    mgn_status written; /* what writing to the file said last */
    size_t row_bytes;
    struct spng_text *texts; /* the library keeps pointers into it until the chunks are written */
    char *comments;          /* storage for JPEG comments turned into texts */
} png_encoder;

static mgn_status encode_failure(const png_encoder *e, int error) {
    if (e->written != MGN_OK) return e->written; /* its sentence stands */
    if (is_out_of_memory(error)) return mgn_fail(MGN_ERR_MEMORY, "%s needs more memory than there is", e->name);
    return mgn_fail(MGN_ERR_IO, "%s cannot be written as PNG: %s", e->name, spng_strerror(error));
}

static int write_bytes(spng_ctx *codec, void *user, void *bytes, size_t size) {
    (void)codec;
    png_encoder *e = user;
    e->written = mgn_output_write(e->output, bytes, size);
    return e->written == MGN_OK ? 0 : SPNG_IO_ERROR;
}

static void set_density(spng_ctx *codec, const mgn_image_metadata *metadata) {
    const double to_metre = metadata->density_unit == MGN_DENSITY_INCH ? 1.0 / 0.0254
                            : metadata->density_unit == MGN_DENSITY_CM ? 100.0
                                                                       : 1.0;
    if (metadata->density_unit == MGN_DENSITY_NONE || !metadata->density_x || !metadata->density_y) return;
    const double x = metadata->density_x * to_metre + 0.5, y = metadata->density_y * to_metre + 0.5;
    if (x >= INT32_MAX || y >= INT32_MAX) return;
    struct spng_phys density = {(uint32_t)x, (uint32_t)y, metadata->density_unit == MGN_DENSITY_ASPECT ? 0 : 1};
    (void)spng_set_phys(codec, &density);
}

/* At most one description of the colours is written: where there is a profile, sRGB must not be beside it. A block that
 * the library finds invalid is left out; the pixels matter more. */
static void set_colour(spng_ctx *codec, const mgn_image *image) {
    mgn_image_metadata *m = image->metadata;
    if (mgn_icc_fits(&m->icc, image->channels)) {
        struct spng_iccp profile = {.profile_len = m->icc.size, .profile = (char *)m->icc.bytes};
        memcpy(profile.profile_name, m->icc_name[0] ? m->icc_name : "ICC profile",
               m->icc_name[0] ? sizeof m->icc_name : 12);
        (void)spng_set_iccp(codec, &profile);
    } else if (m->has_srgb) {
        (void)spng_set_srgb(codec, m->srgb_intent);
    }
    if (m->has_gamma) (void)spng_set_gama_int(codec, m->gamma);
    if (m->has_chroma) {
        struct spng_chrm_int c = {m->chroma[0], m->chroma[1], m->chroma[2], m->chroma[3],
                                  m->chroma[4], m->chroma[5], m->chroma[6], m->chroma[7]};
        (void)spng_set_chrm_int(codec, &c);
    }
}

/* A JPEG comment as a text: control characters, which PNG forbids, become spaces. Plain ASCII is a tEXt; anything
 * else is called UTF-8, as comments nowadays are. Returns the end of what was used of `storage`. */
static char *comment_text(const mgn_marker *marker, struct spng_text *text, char *storage) {
    bool ascii = true;
    *text = (struct spng_text){.keyword = "Comment", .text = storage, .length = marker->data.size};
    for (size_t i = 0; i < marker->data.size; i++) {
        const unsigned char c = marker->data.bytes[i];
        storage[i] = (char)(c < 32 && c != '\n' ? ' ' : c);
        if (c > 126) ascii = false;
    }
    while (text->length && storage[text->length - 1] == ' ') text->length--;
    storage[text->length] = 0;
    text->type = ascii ? SPNG_TEXT : SPNG_ITXT;
    text->language_tag = text->translated_keyword = storage + text->length;
    return storage + text->length + 1;
}

/* All texts in the library's form: XMP, the texts of a PNG source, the comments of a JPEG source. */
static mgn_status set_texts(png_encoder *e, const mgn_image_metadata *metadata) {
    size_t comment_bytes = 1, count = 0;
    for (size_t i = 0; i < metadata->marker_count; i++) comment_bytes += metadata->markers[i].data.size + 1;
    e->texts = mgn_alloc(metadata->text_count + metadata->marker_count + 1, sizeof *e->texts);
    e->comments = mgn_alloc(comment_bytes, 1);
    if (!e->texts || !e->comments) return MGN_ERR_MEMORY;
    char *const nothing = e->comments; /* one zero byte */
    if (metadata->xmp.size && !memchr(metadata->xmp.bytes, 0, metadata->xmp.size)) {
        struct spng_text *text = &e->texts[count++];
        *text = (struct spng_text){.type = SPNG_ITXT,
                                   .length = metadata->xmp.size,
                                   .text = (char *)metadata->xmp.bytes,
                                   .language_tag = nothing,
                                   .translated_keyword = nothing};
        memcpy(text->keyword, xmp_keyword, sizeof xmp_keyword);
    }
    for (size_t i = 0; i < metadata->text_count; i++) {
        const mgn_text *kept = &metadata->texts[i];
        struct spng_text *text = &e->texts[count++];
        *text = (struct spng_text){.type = kept->type,
                                   .text = kept->text ? kept->text : nothing,
                                   .compression_flag = kept->compressed,
                                   .language_tag = kept->language ? kept->language : nothing,
                                   .translated_keyword = kept->translated ? kept->translated : nothing};
        text->length = strlen(text->text);
        memcpy(text->keyword, kept->keyword, sizeof text->keyword);
    }
    char *storage = e->comments + 1;
    for (size_t i = 0; i < metadata->marker_count; i++)
        if (metadata->markers[i].code == 0xFE)
            storage = comment_text(&metadata->markers[i], &e->texts[count++], storage);
    if (count && count <= CHUNK_COUNT && spng_set_text(e->codec, e->texts, (uint32_t)count) != 0)
        mgn_note("%s: the texts and XMP of the source are left out, because PNG does not allow one of them", e->name);
    return MGN_OK;
}

static mgn_status set_metadata(png_encoder *e, const mgn_image *image) {
    const mgn_image_metadata *metadata = image->metadata;
    set_colour(e->codec, image);
    set_density(e->codec, metadata);
    if (metadata->exif.size) {
        struct spng_exif exif = {.length = metadata->exif.size, .data = (char *)metadata->exif.bytes};
        if (spng_set_exif(e->codec, &exif) != 0)
            mgn_note("%s: the EXIF block is left out, because it is damaged", e->name);
    }
    if (metadata->has_time) {
        struct spng_time time = {metadata->year, metadata->month,  metadata->day,
                                 metadata->hour, metadata->minute, metadata->second};
        (void)spng_set_time(e->codec, &time);
    }
    return set_texts(e, metadata);
}

static mgn_status begin(png_encoder *e, const mgn_image *image, const mgn_image_write_options *options) {
    static const uint8_t types[] = {0, SPNG_COLOR_TYPE_GRAYSCALE, SPNG_COLOR_TYPE_GRAYSCALE_ALPHA,
                                    SPNG_COLOR_TYPE_TRUECOLOR, SPNG_COLOR_TYPE_TRUECOLOR_ALPHA};
    struct spng_ihdr header = {.width = (uint32_t)image->width,
                               .height = (uint32_t)image->height,
                               .bit_depth = (uint8_t)image->depth,
                               .color_type = types[image->channels]};
    int error = spng_set_png_stream(e->codec, write_bytes, e);
    if (!error) error = spng_set_option(e->codec, SPNG_IMG_COMPRESSION_LEVEL, options->compression);
    if (!error) error = spng_set_ihdr(e->codec, &header);
    if (error) return encode_failure(e, error);
    MGN_TRY(set_metadata(e, image));
    error = spng_encode_image(e->codec, NULL, 0, SPNG_FMT_PNG, SPNG_ENCODE_PROGRESSIVE | SPNG_ENCODE_FINALIZE);
    return error ? encode_failure(e, error) : MGN_OK;
}

static mgn_status encode_rows(mgn_encoder *encoder, size_t count, const unsigned char *pixels) {
    png_encoder *e = (png_encoder *)encoder;
    for (size_t i = 0; i < count; i++) {
        const int error = spng_encode_row(e->codec, pixels + i * e->row_bytes, e->row_bytes);
        if (error && error != SPNG_EOI) return encode_failure(e, error);
    }
    return MGN_OK;
}

/* The last row has written the end of the file already (SPNG_ENCODE_FINALIZE). */
static mgn_status finish_encoding(mgn_encoder *encoder) {
    const png_encoder *e = (const png_encoder *)encoder;
    return e->written;
}

static void close_encoder(mgn_encoder *encoder) {
    png_encoder *e = (png_encoder *)encoder;
    spng_ctx_free(e->codec);
    mgn_free(e->texts);
    mgn_free(e->comments);
    mgn_free(e);
}

mgn_status mgn_png_encoder_open(const mgn_image *image, mgn_output_file *output, const char *name,
                                const mgn_image_write_options *options, mgn_encoder **encoder) {
    png_encoder *e = mgn_alloc(1, sizeof *e);
    if (!e) return MGN_ERR_MEMORY;
    e->face = (mgn_encoder){.rows = encode_rows, .finish = finish_encoding, .close = close_encoder};
    e->name = name;
    e->output = output;
    e->row_bytes = mgn_image_row_bytes(image);
    e->codec = spng_ctx_new(SPNG_CTX_ENCODER);
    mgn_status status = e->codec ? begin(e, image, options) : encode_failure(e, SPNG_EMEM);
    if (status == MGN_OK)
        *encoder = &e->face;
    else
        close_encoder(&e->face);
    return status;
}
