/* Picture files: round trips of both formats with their metadata, and what happens on truncated, damaged, huge and
 * missing input, and on a full disk. Files that mgn itself does not write (palettes, CMYK, interlacing) are made here
 * with the codec libraries directly. */
#include "folders.h"
#include "pictures.h"

#include "core/file.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <jpeglib.h>
#include <spng.h>

/* ---- PNG ---- */

START_TEST(png_round_trip_is_exact) {
    mgn_test_random random = MGN_TEST_RANDOM();
    for (int channels = 1; channels <= 4; channels++)
        for (int depth = 8; depth <= 16; depth += 8)
            for (size_t side = 1; side <= 93; side += 46) {
                mgn_image *image = make_noise(side, side + 5, channels, depth, &random);
                mgn_image *again =
                    through(image, "exact.png", &(mgn_image_write_options){.compression = channels * 2 + 1});
                assert_same_pixels(image, again);
                mgn_image_destroy(again);
                mgn_image_destroy(image);
            }
}
END_TEST

typedef struct png_source {
    struct spng_ihdr header;
    const struct spng_plte *palette;
    const struct spng_trns *transparency;
    const void *pixels;
    size_t size;
} png_source;

/* Encodes raw (big-endian) PNG samples with the library directly. */
static void write_foreign_png(const char *path, const png_source *source) {
    spng_ctx *codec = spng_ctx_new(SPNG_CTX_ENCODER);
    struct spng_ihdr header = source->header;
    spng_set_option(codec, SPNG_ENCODE_TO_BUFFER, 1);
    ck_assert_int_eq(spng_set_ihdr(codec, &header), 0);
    if (source->palette) {
        struct spng_plte palette = *source->palette;
        ck_assert_int_eq(spng_set_plte(codec, &palette), 0);
    }
    if (source->transparency) {
        struct spng_trns transparency = *source->transparency;
        ck_assert_int_eq(spng_set_trns(codec, &transparency), 0);
    }
    ck_assert_int_eq(spng_encode_image(codec, source->pixels, source->size, SPNG_FMT_RAW, SPNG_ENCODE_FINALIZE), 0);
    size_t size = 0;
    int error = 0;
    void *bytes = spng_get_png_buffer(codec, &size, &error);
    ck_assert_int_eq(error, 0);
    mgn_test_write_file(path, bytes, size);
    free(bytes);
    spng_ctx_free(codec);
}

static void assert_samples(const char *path, size_t width, size_t height, int channels, int depth,
                           const unsigned *expected) {
    mgn_image *image = read_back(path);
    ck_assert_uint_eq(image->width, width);
    ck_assert_uint_eq(image->height, height);
    ck_assert_int_eq(image->channels, channels);
    ck_assert_int_eq(image->depth, depth);
    for (size_t i = 0; i < samples(image); i++)
        ck_assert_msg(sample(image, i) == expected[i], "sample %zu is %u, not %u", i, sample(image, i), expected[i]);
    mgn_image_destroy(image);
}

START_TEST(png_narrow_samples_are_expanded) {
    const char *path = mgn_test_path("narrow.png");
    const unsigned char bits[] = {0xA0, 0x50};
    write_foreign_png(
        path, &(png_source){.header = {3, 2, 1, SPNG_COLOR_TYPE_GRAYSCALE, 0, 0, 0}, .pixels = bits, .size = 2});
    assert_samples(path, 3, 2, 1, 8, (const unsigned[]){255, 0, 255, 0, 255, 0});
    const unsigned char pairs[] = {0x1B};
    write_foreign_png(
        path, &(png_source){.header = {4, 1, 2, SPNG_COLOR_TYPE_GRAYSCALE, 0, 0, 0}, .pixels = pairs, .size = 1});
    assert_samples(path, 4, 1, 1, 8, (const unsigned[]){0, 85, 170, 255});
    const unsigned char nibbles[] = {0x1F, 0x30};
    const struct spng_trns three = {.gray = 3};
    write_foreign_png(path, &(png_source){.header = {3, 1, 4, SPNG_COLOR_TYPE_GRAYSCALE, 0, 0, 0},
                                          .pixels = nibbles,
                                          .size = 2,
                                          .transparency = &three});
    assert_samples(path, 3, 1, 2, 8, (const unsigned[]){17, 255, 255, 255, 51, 0});
}
END_TEST

START_TEST(png_palette_and_transparent_colours_are_expanded) {
    const char *path = mgn_test_path("palette.png");
    const unsigned char indices[] = {0, 1, 2};
    const struct spng_plte palette = {.n_entries = 3, .entries = {{1, 2, 3, 0}, {40, 50, 60, 0}, {255, 0, 9, 0}}};
    const struct spng_trns alpha = {.n_type3_entries = 2, .type3_alpha = {0, 128}};
    png_source source = {
        .header = {3, 1, 8, SPNG_COLOR_TYPE_INDEXED, 0, 0, 0}, .palette = &palette, .pixels = indices, .size = 3};
    write_foreign_png(path, &source);
    assert_samples(path, 3, 1, 3, 8, (const unsigned[]){1, 2, 3, 40, 50, 60, 255, 0, 9});
    source.transparency = &alpha;
    write_foreign_png(path, &source);
    assert_samples(path, 3, 1, 4, 8, (const unsigned[]){1, 2, 3, 0, 40, 50, 60, 128, 255, 0, 9, 255});
    const unsigned char deep[] = {1, 0, 2, 0, 3, 0, 1, 0, 2, 0, 3, 1};
    const struct spng_trns colour = {.red = 256, .green = 512, .blue = 768};
    write_foreign_png(path, &(png_source){.header = {2, 1, 16, SPNG_COLOR_TYPE_TRUECOLOR, 0, 0, 0},
                                          .transparency = &colour,
                                          .pixels = deep,
                                          .size = sizeof deep});
    assert_samples(path, 2, 1, 4, 16, (const unsigned[]){256, 512, 768, 0, 256, 512, 769, 65535});
    const struct spng_trns grey = {.gray = 513};
    write_foreign_png(path, &(png_source){.header = {2, 1, 16, SPNG_COLOR_TYPE_GRAYSCALE, 0, 0, 0},
                                          .transparency = &grey,
                                          .pixels = (const unsigned char[]){2, 1, 2, 2},
                                          .size = 4});
    assert_samples(path, 2, 1, 2, 16, (const unsigned[]){513, 0, 514, 65535});
}
END_TEST

START_TEST(png_interlaced_is_read) {
    mgn_test_random random = MGN_TEST_RANDOM();
    mgn_image *image = make_noise(13, 11, 3, 8, &random);
    const char *path = mgn_test_path("interlaced.png");
    write_foreign_png(path, &(png_source){.header = {13, 11, 8, SPNG_COLOR_TYPE_TRUECOLOR, 0, 0, SPNG_INTERLACE_ADAM7},
                                          .pixels = image->pixels,
                                          .size = samples(image)});
    mgn_image *again = read_back(path);
    assert_same_pixels(image, again);
    mgn_image_destroy(again);
    mgn_image_destroy(image);
}
END_TEST

/* A PNG with every chunk that is kept, made with the library; `profile` may be NULL, then sRGB is there instead. */
static void write_described_png(const char *path, unsigned char *profile, size_t profile_size) {
    static char pixel[3] = {1, 2, 3}, nothing[1] = "", language[] = "de";
    struct spng_ihdr header = {1, 1, 8, SPNG_COLOR_TYPE_TRUECOLOR, 0, 0, 0};
    struct spng_chrm_int chroma = {31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000};
    struct spng_phys density = {3000, 4000, 1};
    struct spng_time time = {2024, 2, 29, 12, 34, 56};
    struct spng_iccp icc = {"mine", profile_size, (char *)profile};
    struct spng_text texts[3] = {{.keyword = "Title", .type = SPNG_TEXT, .length = 5, .text = (char[]){"hills"}},
                                 {.keyword = "Comment", .type = SPNG_ZTXT, .length = 6, .text = (char[]){"packed"}},
                                 {.keyword = "Author",
                                  .type = SPNG_ITXT,
                                  .length = 3,
                                  .text = (char[]){"J\xc3\xb6"},
                                  .language_tag = language,
                                  .translated_keyword = nothing}};
    FILE *file = fopen(path, "wb");
    ck_assert_ptr_nonnull(file);
    spng_ctx *codec = spng_ctx_new(SPNG_CTX_ENCODER);
    spng_set_png_file(codec, file);
    int errors = spng_set_ihdr(codec, &header) | spng_set_gama_int(codec, 45455) | spng_set_chrm_int(codec, &chroma) |
                 spng_set_phys(codec, &density) | spng_set_time(codec, &time) | spng_set_text(codec, texts, 3);
    errors |= profile ? spng_set_iccp(codec, &icc) : spng_set_srgb(codec, 1);
    ck_assert_int_eq(errors, 0);
    ck_assert_int_eq(spng_encode_image(codec, pixel, 3, SPNG_FMT_RAW, SPNG_ENCODE_FINALIZE), 0);
    spng_ctx_free(codec);
    fclose(file);
}

static void assert_described_png(const char *path, const unsigned char *profile, size_t profile_size) {
    FILE *file = fopen(path, "rb");
    ck_assert_ptr_nonnull(file);
    spng_ctx *codec = spng_ctx_new(0);
    char pixel[3];
    spng_set_png_file(codec, file);
    ck_assert_int_eq(spng_decode_image(codec, pixel, 3, SPNG_FMT_RGB8, 0), 0);
    ck_assert_int_eq(spng_decode_chunks(codec), 0);
    uint32_t gamma = 0, count = 3;
    struct spng_chrm_int chroma;
    struct spng_phys density;
    struct spng_time time;
    struct spng_iccp icc;
    struct spng_text texts[3];
    uint8_t intent = 9;
    ck_assert_int_eq(spng_get_gama_int(codec, &gamma), 0);
    ck_assert_uint_eq(gamma, 45455);
    ck_assert_int_eq(spng_get_chrm_int(codec, &chroma), 0);
    ck_assert(chroma.white_point_x == 31270 && chroma.green_y == 60000 && chroma.blue_x == 15000);
    ck_assert_int_eq(spng_get_phys(codec, &density), 0);
    ck_assert(density.ppu_x == 3000 && density.ppu_y == 4000 && density.unit_specifier == 1);
    ck_assert_int_eq(spng_get_time(codec, &time), 0);
    ck_assert(time.year == 2024 && time.month == 2 && time.day == 29 && time.hour == 12 && time.minute == 34 &&
              time.second == 56);
    ck_assert_int_eq(spng_get_text(codec, texts, &count), 0);
    ck_assert_uint_eq(count, 3);
    ck_assert(texts[0].type == SPNG_TEXT && strcmp(texts[0].keyword, "Title") == 0 &&
              strcmp(texts[0].text, "hills") == 0);
    ck_assert(texts[1].type == SPNG_ZTXT && strcmp(texts[1].text, "packed") == 0);
    ck_assert(texts[2].type == SPNG_ITXT && strcmp(texts[2].text, "J\xc3\xb6") == 0 &&
              strcmp(texts[2].language_tag, "de") == 0);
    if (profile) {
        ck_assert_int_eq(spng_get_iccp(codec, &icc), 0);
        ck_assert_str_eq(icc.profile_name, "mine");
        ck_assert(icc.profile_len == profile_size && memcmp(icc.profile, profile, profile_size) == 0);
        ck_assert_int_ne(spng_get_srgb(codec, &intent), 0);
    } else {
        ck_assert_int_eq(spng_get_srgb(codec, &intent), 0);
        ck_assert_int_eq(intent, 1);
    }
    spng_ctx_free(codec);
    fclose(file);
}

START_TEST(png_chunks_survive) {
    mgn_test_random random = MGN_TEST_RANDOM();
    unsigned char *profile = make_profile(3000, "RGB ", &random);
    const char *path = mgn_test_path("described.png"), *copy = mgn_test_path("copy.png");
    for (int with_profile = 0; with_profile < 2; with_profile++) {
        write_described_png(path, with_profile ? profile : NULL, 3000);
        mgn_image *image = read_back(path);
        assert_block(image, MGN_IMAGE_COMMENT, "packed", 6);
        MGN_ASSERT_OK(mgn_image_write(image, copy, NULL));
        assert_described_png(copy, with_profile ? profile : NULL, 3000);
        mgn_image *as_jpeg = through(image, "described.jpg", NULL);
        assert_block(as_jpeg, MGN_IMAGE_ICC, profile, with_profile ? 3000 : 0);
        mgn_image_destroy(as_jpeg);
        mgn_image_destroy(image);
    }
    free(profile);
}
END_TEST

/* ---- JPEG ---- */

START_TEST(jpeg_round_trip_is_close_and_keeps_metadata) {
    mgn_test_random random = MGN_TEST_RANDOM();
    unsigned char exif[64];
    const size_t exif_size = make_exif(exif, true, 6);
    static const char xmp[] = "<x:xmpmeta><rdf:Description tiff:Orientation=\"6\"/></x:xmpmeta>",
                      comment[] = "made by \x01 hand";
    const mgn_image_write_options options = {.quality = 95};
    for (int channels = 1; channels <= 3; channels += 2) {
        unsigned char *profile = make_profile(100000, channels == 1 ? "GRAY" : "RGB ", &random);
        mgn_image *image = make_smooth(67, 41, channels);
        MGN_ASSERT_OK(mgn_image_set_block(image, MGN_IMAGE_ICC, profile, 100000));
        MGN_ASSERT_OK(mgn_image_set_block(image, MGN_IMAGE_EXIF, exif, exif_size));
        MGN_ASSERT_OK(mgn_image_set_block(image, MGN_IMAGE_XMP, xmp, sizeof xmp - 1));
        MGN_ASSERT_OK(mgn_image_set_block(image, MGN_IMAGE_COMMENT, comment, sizeof comment - 1));
        mgn_image *once = through(image, "once.jpg", &options), *twice = through(once, "twice.jpg", &options);
        ck_assert_int_eq(twice->channels, channels);
        ck_assert_int_eq(twice->orientation, 6);
        const double off = largest_difference(image, once);
        ck_assert_msg(off <= 6, "a sample is off by %g", off);
        assert_block(twice, MGN_IMAGE_ICC, profile, 100000);
        assert_block(twice, MGN_IMAGE_EXIF, exif, exif_size);
        assert_block(twice, MGN_IMAGE_XMP, xmp, sizeof xmp - 1);
        assert_block(twice, MGN_IMAGE_COMMENT, comment, sizeof comment - 1);
        mgn_image_destroy(twice);
        mgn_image_destroy(once);
        mgn_image_destroy(image);
        free(profile);
    }
}
END_TEST

/* The offset of a marker segment's code in a JPEG file; 0 when it is not there. */
static size_t find_segment(const unsigned char *bytes, size_t size, unsigned code) {
    for (size_t at = 2; at + 4 <= size && bytes[at] == 0xFF; at += 2 + ((size_t)bytes[at + 2] << 8 | bytes[at + 3]))
        if (bytes[at + 1] == code) return at;
    return 0;
}

/* The sampling byte of the first component. */
static unsigned luma_sampling(const char *path) {
    size_t size = 0;
    char *bytes = mgn_test_read_file(path, &size);
    const size_t frame = find_segment((unsigned char *)bytes, size, 0xC0);
    ck_assert_uint_ne(frame, 0);
    const unsigned sampling = (unsigned char)bytes[frame + 11];
    free(bytes);
    return sampling;
}

START_TEST(jpeg_subsampling_is_kept) {
    static const struct {
        mgn_image_subsampling asked;
        int quality;
        unsigned expected;
    } cases[] = {{MGN_SUBSAMPLING_AS_SOURCE, 92, 0x11},
                 {MGN_SUBSAMPLING_AS_SOURCE, 89, 0x22},
                 {MGN_SUBSAMPLING_444, 50, 0x11},
                 {MGN_SUBSAMPLING_422, 95, 0x21},
                 {MGN_SUBSAMPLING_420, 95, 0x22}};
    mgn_image *image = make_smooth(40, 30, 3);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        mgn_image *first = through(image, "first.jpg", &(mgn_image_write_options){cases[i].quality, cases[i].asked, 0});
        ck_assert_uint_eq(luma_sampling(mgn_test_path("first.jpg")), cases[i].expected);
        mgn_image *second = through(first, "second.jpg", &(mgn_image_write_options){.quality = 70});
        ck_assert_uint_eq(luma_sampling(mgn_test_path("second.jpg")), cases[i].expected);
        mgn_image_destroy(second);
        mgn_image_destroy(first);
    }
    mgn_image_destroy(image);
}
END_TEST

START_TEST(jpeg_drops_alpha_and_rounds_16_bits) {
    mgn_image *image = make(16, 16, 4, 16);
    for (size_t i = 0; i < samples(image); i++) set(image, i, i % 4 == 3 ? 65535 : 100 * 257 + 128);
    mgn_image *again = through(image, "dropped.JPEG", &(mgn_image_write_options){.quality = 100});
    ck_assert_int_eq(again->channels, 3);
    ck_assert_int_eq(again->depth, 8);
    for (size_t i = 0; i < samples(again); i++)
        ck_assert_msg(labs((long)sample(again, i) - 100) <= 1, "%u", sample(again, i));
    mgn_image_destroy(again);
    mgn_image_destroy(image);
}
END_TEST

START_TEST(jpeg_cmyk_becomes_rgb) {
    const char *path = mgn_test_path("cmyk.jpg");
    /* As Adobe stores it: 255 means no ink. */
    unsigned char paper[16 * 4], *row = paper;
    struct jpeg_compress_struct codec;
    struct jpeg_error_mgr errors;
    FILE *file = fopen(path, "wb");
    ck_assert_ptr_nonnull(file);
    codec.err = jpeg_std_error(&errors);
    jpeg_create_compress(&codec);
    jpeg_stdio_dest(&codec, file);
    codec.image_width = codec.image_height = 16;
    codec.input_components = 4;
    codec.in_color_space = JCS_CMYK;
    jpeg_set_defaults(&codec);
    jpeg_set_quality(&codec, 100, TRUE);
    jpeg_start_compress(&codec, TRUE);
    for (size_t i = 0; i < sizeof paper; i++) paper[i] = i % 4 == 0 ? 0 : 255;
    while (codec.next_scanline < 16) jpeg_write_scanlines(&codec, &row, 1);
    jpeg_finish_compress(&codec);
    jpeg_destroy_compress(&codec);
    fclose(file);
    mgn_image *image = read_back(path);
    ck_assert_int_eq(image->channels, 3);
    for (size_t i = 0; i < samples(image); i++)
        ck_assert_msg(labs((long)sample(image, i) - (i % 3 ? 255 : 0)) <= 2, "cyan's sample %zu is %u", i,
                      sample(image, i));
    mgn_image_destroy(image);
}
END_TEST

/* ---- hostile and wrong input ---- */

/* A small picture with every kind of block, in memory. */
static unsigned char *make_file(const char *name, size_t *size, mgn_test_random *random) {
    unsigned char exif[64], *profile = make_profile(300, "RGB ", random);
    mgn_image *image = make_noise(19, 17, 3, 8, random);
    MGN_ASSERT_OK(mgn_image_set_block(image, MGN_IMAGE_EXIF, exif, make_exif(exif, false, 5)));
    MGN_ASSERT_OK(mgn_image_set_block(image, MGN_IMAGE_ICC, profile, 300));
    MGN_ASSERT_OK(mgn_image_set_block(image, MGN_IMAGE_XMP, "<x/>", 4));
    MGN_ASSERT_OK(mgn_image_set_block(image, MGN_IMAGE_COMMENT, "hello", 5));
    const char *path = mgn_test_path(name);
    MGN_ASSERT_OK(mgn_image_write(image, path, &(mgn_image_write_options){.quality = 60}));
    mgn_image_destroy(image);
    free(profile);
    return (unsigned char *)mgn_test_read_file(path, size);
}

/* Reads a copy of exactly `size` bytes, so that a sanitizer sees any read beyond them. */
static mgn_status read_copy(const unsigned char *bytes, size_t size, mgn_image **image) {
    unsigned char *copy = malloc(size ? size : 1);
    ck_assert_ptr_nonnull(copy);
    memcpy(copy, bytes, size);
    const mgn_status status = mgn_image_read_memory(copy, size, "the copy", image);
    free(copy);
    return status;
}

START_TEST(truncated_files_are_errors) {
    mgn_test_random random = MGN_TEST_RANDOM();
    const char *const names[] = {"cut.jpg", "cut.png"};
    for (size_t n = 0; n < 2; n++) {
        size_t size = 0;
        unsigned char *bytes = make_file(names[n], &size, &random);
        mgn_image *image = NULL;
        for (size_t kept = 0; kept < size; kept++) {
            const mgn_status status = read_copy(bytes, kept, &image);
            /* The last four bytes of a PNG check the end mark, which itself says that all is there. */
            if (status == MGN_OK && n == 1 && kept >= size - 4) {
                mgn_image_destroy(image);
                continue;
            }
            ck_assert_msg(status == MGN_ERR_FORMAT, "%s cut to %zu of %zu bytes gave status %d", names[n], kept, size,
                          (int)status);
        }
        MGN_ASSERT_FAILS(read_copy(bytes, size - 40, &image), MGN_ERR_FORMAT, "the copy is a truncated");
        MGN_ASSERT_OK(read_copy(bytes, size, &image));
        mgn_image_destroy(image);
        free(bytes);
    }
}
END_TEST

static uint32_t crc_of(const unsigned char *bytes, size_t size) {
    uint32_t crc = UINT32_MAX;
    for (size_t i = 0; i < size; i++) {
        crc ^= bytes[i];
        for (int bit = 0; bit < 8; bit++) crc = crc >> 1 ^ (crc & 1 ? 0xEDB88320u : 0);
    }
    return ~crc;
}

static void store(unsigned char *to, uint32_t value, size_t count) {
    for (size_t i = 0; i < count; i++) to[i] = (unsigned char)(value >> 8 * (count - 1 - i));
}

/* Makes every chunk's check sum right again, so that damage gets past it. */
static void mend_png(unsigned char *bytes, size_t size) {
    for (size_t at = 8; at + 12 <= size;) {
        const size_t length =
            (size_t)bytes[at] << 24 | (size_t)bytes[at + 1] << 16 | (size_t)bytes[at + 2] << 8 | bytes[at + 3];
        if (length > size - at - 12) return;
        store(bytes + at + 8 + length, crc_of(bytes + at + 4, length + 4), 4);
        at += length + 12;
    }
}

START_TEST(damaged_files_never_crash) {
    mgn_test_random random = MGN_TEST_RANDOM();
    const char *const names[] = {"flip.jpg", "flip.png"};
    for (size_t n = 0; n < 2; n++) {
        size_t size = 0, refused = 0;
        unsigned char *bytes = make_file(names[n], &size, &random), *damaged = malloc(size);
        ck_assert_ptr_nonnull(damaged);
        for (int round = 0; round < 500; round++) {
            memcpy(damaged, bytes, size);
            for (int64_t flips = mgn_test_integer(&random, 1, 4); flips > 0; flips--)
                damaged[mgn_test_integer(&random, 3, (int64_t)size - 1)] ^=
                    (unsigned char)mgn_test_integer(&random, 1, 255);
            if (n == 1 && round % 4 != 0) mend_png(damaged, size);
            mgn_image *image = NULL;
            if (read_copy(damaged, size, &image) != MGN_OK) {
                refused++;
                continue;
            }
            ck_assert(image->orientation >= 1 && image->orientation <= 8);
            MGN_ASSERT_OK(mgn_image_upright(image));
            const mgn_status status = mgn_image_write(image, mgn_test_path("damaged.png"), NULL);
            ck_assert_msg(status == MGN_OK, "round %d: %s", round, mgn_last_error());
            MGN_ASSERT_OK(mgn_image_write(image, mgn_test_path("damaged.jpg"), NULL));
            mgn_image_destroy(image);
        }
        ck_assert_uint_gt(refused, 0);
        free(damaged);
        free(bytes);
    }
}
END_TEST

START_TEST(huge_claims_are_refused_quickly) {
    mgn_test_random random = MGN_TEST_RANDOM();
    size_t size = 0;
    mgn_image *image = NULL;
    const double start = mgn_now();
    unsigned char *png = make_file("huge.png", &size, &random);
    const uint32_t sides[] = {60000, 16000};
    const char *const sentences[] = {"claims", "cannot hold"};
    for (size_t i = 0; i < 2; i++) {
        store(png + 16, sides[i], 4);
        store(png + 20, sides[i], 4);
        store(png + 29, crc_of(png + 12, 17), 4);
        MGN_ASSERT_FAILS(read_copy(png, size, &image), MGN_ERR_FORMAT, sentences[i]);
    }
    free(png);
    unsigned char *jpeg = make_file("huge.jpg", &size, &random);
    const size_t frame = find_segment(jpeg, size, 0xC0);
    for (size_t i = 0; i < 2; i++) {
        store(jpeg + frame + 5, i == 0 ? 65000 : 16000, 2);
        store(jpeg + frame + 7, i == 0 ? 65000 : 16000, 2);
        MGN_ASSERT_FAILS(read_copy(jpeg, size, &image), MGN_ERR_FORMAT, sentences[i]);
    }
    free(jpeg);
    ck_assert_msg(mgn_now() - start < 2.0, "refusing took %g s", mgn_now() - start);
}
END_TEST

START_TEST(wrong_files_and_names_have_sentences) {
    mgn_image *image = NULL, *small = make(2, 2, 3, 8);
    mgn_test_write_file(mgn_test_path("fake.jpg"), "GIF89a....", 10);
    mgn_test_write_file(mgn_test_path("text.png"), "just some text", 14);
    mgn_test_write_file(mgn_test_path("empty.png"), "", 0);
    MGN_ASSERT_FAILS(mgn_image_read(mgn_test_path("absent.png"), &image), MGN_ERR_IO, "does not exist");
    MGN_ASSERT_FAILS(mgn_image_read("/tmp", &image), MGN_ERR_IO, "is a directory");
    MGN_ASSERT_FAILS(mgn_image_read(mgn_test_path("empty.png"), &image), MGN_ERR_IO, "is empty");
    MGN_ASSERT_FAILS(mgn_image_read(mgn_test_path("fake.jpg"), &image), MGN_ERR_FORMAT, "is a GIF file");
    MGN_ASSERT_FAILS(mgn_image_read(mgn_test_path("text.png"), &image), MGN_ERR_FORMAT, "neither JPEG nor PNG");
    MGN_ASSERT_FAILS(mgn_image_write(small, mgn_test_path("a.webp"), NULL), MGN_ERR_ARGUMENT,
                     ".jpg, .jpeg or .png, not .webp");
    MGN_ASSERT_FAILS(mgn_image_write(small, mgn_test_path("dir.png/name"), NULL), MGN_ERR_ARGUMENT, "must end in");
    MGN_ASSERT_FAILS(mgn_image_write(small, ".png", NULL), MGN_ERR_ARGUMENT, "must end in");
    MGN_ASSERT_FAILS(mgn_image_write(small, mgn_test_path("no/such/a.png"), NULL), MGN_ERR_IO,
                     "directory does not exist");
    MGN_ASSERT_FAILS(mgn_image_write(small, "a.jpg", &(mgn_image_write_options){.quality = 101}), MGN_ERR_ARGUMENT,
                     "1 to 100");
    MGN_ASSERT_FAILS(mgn_image_create(0, 5, 3, 8, &image), MGN_ERR_ARGUMENT, "0 x 5");
    MGN_ASSERT_FAILS(mgn_image_create(SIZE_MAX, SIZE_MAX, 3, 8, &image), MGN_ERR_ARGUMENT, "cannot be made");
    MGN_ASSERT_FAILS(mgn_image_create(5, 5, 5, 8, &image), MGN_ERR_ARGUMENT, "channels");
    mgn_image *tall = make(1, 65501, 1, 8);
    MGN_ASSERT_FAILS(mgn_image_write(tall, mgn_test_path("tall.jpg"), NULL), MGN_ERR_UNSUPPORTED, "65500");
    ck_assert_int_ne(access(mgn_test_path("tall.jpg"), F_OK), 0);
    /* The content decides, whatever the name says. */
    mgn_image *named = through(small, "really.png", NULL);
    ck_assert_int_eq(rename(mgn_test_path("really.png"), mgn_test_path("called.jpg")), 0);
    mgn_image *again = read_back(mgn_test_path("called.jpg"));
    assert_same_pixels(named, again);
    mgn_image_destroy(again);
    mgn_image_destroy(named);
    mgn_image_destroy(tall);
    mgn_image_destroy(small);
    mgn_image_destroy(NULL);
}
END_TEST

/* ---- full disk ---- */

/* A limit on the file size stands for a full disk: the write fails in the middle. */
START_TEST(failed_write_leaves_the_old_file) {
    MGN_ASSERT_OK(mgn_make_directory(mgn_test_path("full")));
    const char *directory = mgn_test_path("full");
    mgn_test_random random = MGN_TEST_RANDOM();
    mgn_image *image = make_noise(200, 200, 3, 8, &random);
    signal(SIGXFSZ, SIG_IGN);
    struct rlimit before, small;
    ck_assert_int_eq(getrlimit(RLIMIT_FSIZE, &before), 0);
    const char *const names[] = {"full/picture.jpg", "full/picture.png"};
    for (size_t i = 0; i < 2; i++) {
        const char *path = mgn_test_path(names[i]);
        mgn_test_write_file(path, "precious", 8);
        small = before;
        small.rlim_cur = 5000;
        ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &small), 0);
        const mgn_status status = mgn_image_write(image, path, NULL);
        ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &before), 0);
        MGN_ASSERT_FAILS(status, MGN_ERR_IO, "cannot be written");
        char *text = mgn_test_read_file(path, NULL);
        ck_assert_str_eq(text, "precious");
        free(text);
        ck_assert_uint_eq(entries_of(directory), i + 1);
    }
    mgn_image_destroy(image);
}
END_TEST

int main(void) {
    mgn_set_quiet(true);
    Suite *suite = suite_create("image");
    TCase *group = tcase_create("image");
    tcase_add_test(group, png_round_trip_is_exact);
    tcase_add_test(group, png_narrow_samples_are_expanded);
    tcase_add_test(group, png_palette_and_transparent_colours_are_expanded);
    tcase_add_test(group, png_interlaced_is_read);
    tcase_add_test(group, png_chunks_survive);
    tcase_add_test(group, jpeg_round_trip_is_close_and_keeps_metadata);
    tcase_add_test(group, jpeg_subsampling_is_kept);
    tcase_add_test(group, jpeg_drops_alpha_and_rounds_16_bits);
    tcase_add_test(group, jpeg_cmyk_becomes_rgb);
    tcase_add_test(group, truncated_files_are_errors);
    tcase_add_test(group, damaged_files_never_crash);
    tcase_add_test(group, huge_claims_are_refused_quickly);
    tcase_add_test(group, wrong_files_and_names_have_sentences);
    tcase_add_test(group, failed_write_leaves_the_old_file);
    suite_add_tcase(suite, group);
    return mgn_test_main(suite);
}
