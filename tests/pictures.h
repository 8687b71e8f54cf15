/* Pictures that the image tests are made of, and ways to compare them; shared by test_image.c and test_pixels.c. */
#ifndef MGN_TESTS_PICTURES_H
#define MGN_TESTS_PICTURES_H

#include "harness.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <mgn/image.h>

static inline unsigned sample(const mgn_image *image, size_t index) {
    return image->depth == 8 ? ((const uint8_t *)image->pixels)[index] : ((const uint16_t *)image->pixels)[index];
}

static inline void set(mgn_image *image, size_t index, unsigned value) {
    if (image->depth == 8)
        ((uint8_t *)image->pixels)[index] = (uint8_t)value;
    else
        ((uint16_t *)image->pixels)[index] = (uint16_t)value;
}

static inline size_t samples(const mgn_image *image) { return image->width * image->height * (size_t)image->channels; }

static inline double largest_difference(const mgn_image *a, const mgn_image *b) {
    double largest = 0;
    ck_assert_uint_eq(samples(a), samples(b));
    for (size_t i = 0; i < samples(a); i++) largest = fmax(largest, fabs((double)sample(a, i) - (double)sample(b, i)));
    return largest;
}

static inline mgn_image *make(size_t width, size_t height, int channels, int depth) {
    mgn_image *image = NULL;
    MGN_ASSERT_OK(mgn_image_create(width, height, channels, depth, &image));
    return image;
}

static inline mgn_image *make_noise(size_t width, size_t height, int channels, int depth, mgn_test_random *random) {
    mgn_image *image = make(width, height, channels, depth);
    for (size_t i = 0; i < samples(image); i++)
        set(image, i, (unsigned)mgn_test_bits(random) & (depth == 8 ? 0xFFu : 0xFFFFu));
    return image;
}

/* Smooth, so that JPEG keeps it closely; no two sides are alike. */
static inline mgn_image *make_smooth(size_t width, size_t height, int channels) {
    mgn_image *image = make(width, height, channels, 8);
    for (size_t y = 0; y < height; y++)
        for (size_t x = 0; x < width; x++)
            for (int c = 0; c < channels; c++) {
                const double u = (double)x / (double)width, v = (double)y / (double)height;
                const double value = 128 + 100 * sin(3 * u + c) * cos(2 * v * (c + 1)) + 20 * u;
                set(image, (y * width + x) * (size_t)channels + (size_t)c, (unsigned)fmin(fmax(value, 0), 255));
            }
    return image;
}

static inline void assert_same_pixels(const mgn_image *a, const mgn_image *b) {
    ck_assert_uint_eq(a->width, b->width);
    ck_assert_uint_eq(a->height, b->height);
    ck_assert_int_eq(a->channels, b->channels);
    ck_assert_int_eq(a->depth, b->depth);
    for (size_t i = 0; i < samples(a); i++)
        ck_assert_msg(sample(a, i) == sample(b, i), "sample %zu is %u, not %u", i, sample(b, i), sample(a, i));
}

static inline mgn_image *read_back(const char *path) {
    mgn_image *image = NULL;
    MGN_ASSERT_OK(mgn_image_read(path, &image));
    return image;
}

static inline mgn_image *through(const mgn_image *image, const char *name, const mgn_image_write_options *options) {
    const char *path = mgn_test_path(name);
    MGN_ASSERT_OK(mgn_image_write(image, path, options));
    return read_back(path);
}

static inline void assert_block(const mgn_image *image, mgn_image_block block, const void *bytes, size_t size) {
    size_t found_size = 0;
    const void *found = mgn_image_get_block(image, block, &found_size);
    ck_assert_msg(found_size == size, "block %d has %zu bytes, not %zu", (int)block, found_size, size);
    ck_assert_msg(size == 0 || memcmp(found, bytes, size) == 0, "block %d has changed", (int)block);
}

/* A TIFF stream with one neighbour before the orientation and some bytes after the directory. */
static inline size_t make_exif(unsigned char *bytes, bool big, unsigned orientation) {
    static const unsigned char little_form[] = {'I', 'I', 42, 0, 8, 0, 0, 0,    2,    0,   0x00, 0x01, 3,  0, 1,
                                                0,   0,   0,  7, 0, 0, 0, 0x12, 0x01, 3,   0,    1,    0,  0, 0,
                                                0,   0,   0,  0, 0, 0, 0, 0,    'm',  'a', 'k',  'e',  'r'};
    static const unsigned char big_form[] = {'M', 'M', 0, 42, 0, 0, 0, 8,    0,    2,   0x01, 0x00, 0,  3, 0,
                                             0,   0,   1, 0,  7, 0, 0, 0x01, 0x12, 0,   3,    0,    0,  0, 1,
                                             0,   0,   0, 0,  0, 0, 0, 0,    'm',  'a', 'k',  'e',  'r'};
    memcpy(bytes, big ? big_form : little_form, sizeof big_form);
    bytes[big ? 31 : 30] = (unsigned char)orientation;
    return sizeof big_form;
}

/* Enough bytes for two JPEG markers; only the colour space at 16 is looked at. */
static inline unsigned char *make_profile(size_t size, const char *space, mgn_test_random *random) {
    unsigned char *profile = malloc(size);
    ck_assert_ptr_nonnull(profile);
    for (size_t i = 0; i < size; i++) profile[i] = (unsigned char)mgn_test_bits(random);
    memcpy(profile + 16, space, 4);
    return profile;
}

/* One of the pictures that come with the project, made small. */
static inline void write_small(const char *asset, const char *path, size_t width, size_t height) {
    mgn_image *whole = NULL, *small = NULL;
    MGN_ASSERT_OK(mgn_image_read(mgn_test_source(asset), &whole));
    MGN_ASSERT_OK(mgn_image_resize(whole, width, height, &small));
    MGN_ASSERT_OK(mgn_image_write(small, path, NULL));
    mgn_image_destroy(whole);
    mgn_image_destroy(small);
}

#endif
