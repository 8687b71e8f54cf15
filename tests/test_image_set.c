/* Sets of pictures in IDX files, plain and compressed: what is stored comes out, and what is damaged, cut off or lies
 * about its size is refused with a sentence. */
#include "harness.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include <mgn/image_set.h>
#include <mgn/target.h>

#include "core/core.h"
#include "data/gzip.h"

enum { PICTURES = 3, HEIGHT = 2, WIDTH = 5, HEADER = 16, SIZE = HEADER + PICTURES * HEIGHT * WIDTH };

/* Pixel i is 7 i + 1. */
static void make_idx(unsigned char idx[SIZE]) {
    const unsigned char header[HEADER] = {0, 0, 8, 3, 0, 0, 0, PICTURES, 0, 0, 0, HEIGHT, 0, 0, 0, WIDTH};
    memcpy(idx, header, HEADER);
    for (int i = HEADER; i < SIZE; i++) idx[i] = (unsigned char)(7 * (i - HEADER) + 1);
}

static size_t compress_bytes(const unsigned char *bytes, size_t size, unsigned char *packed, size_t room) {
    z_stream z = {0};
    ck_assert_int_eq(deflateInit2(&z, 9, Z_DEFLATED, 16 + MAX_WBITS, 8, Z_DEFAULT_STRATEGY), Z_OK);
    z.next_in = (z_const Bytef *)bytes;
    z.avail_in = (uInt)size;
    z.next_out = packed;
    z.avail_out = (uInt)room;
    ck_assert_int_eq(deflate(&z, Z_FINISH), Z_STREAM_END);
    deflateEnd(&z);
    return room - z.avail_out;
}

/* Parses a copy on the heap of exactly that size, so that a sanitizer sees any read beyond its end. */
static mgn_status parse(const void *bytes, size_t size, mgn_image_set *set) {
    unsigned char *copy = malloc(size ? size : 1);
    ck_assert_ptr_nonnull(copy);
    memcpy(copy, bytes, size);
    const mgn_status status = mgn_idx_parse(copy, size, "digits", set);
    free(copy);
    return status;
}

static void assert_pictures(const mgn_image_set *set) {
    ck_assert_int_eq(set->count, PICTURES);
    ck_assert_int_eq(set->height, HEIGHT);
    ck_assert_int_eq(set->width, WIDTH);
    ck_assert_int_eq(set->channels, 1);
    for (int i = 0; i < PICTURES * HEIGHT * WIDTH; i++) ck_assert_int_eq(set->pixels[i], (uint8_t)(7 * i + 1));
}

START_TEST(pictures_come_out_as_stored) {
    unsigned char idx[SIZE], packed[256];
    mgn_image_set set = {0};
    mgn_matrix rows = {0};
    make_idx(idx);
    MGN_ASSERT_OK(parse(idx, SIZE, &set));
    assert_pictures(&set);
    ck_assert_ptr_null(set.labels);
    MGN_ASSERT_OK(mgn_image_set_rows(&set, &rows));
    ck_assert_int_eq(rows.rows, PICTURES);
    ck_assert_int_eq(rows.columns, HEIGHT * WIDTH);
    ck_assert(rows.values[3] == 22.0f / 255);
    mgn_matrix_free(&rows);
    mgn_image_set_free(&set);
    MGN_ASSERT_OK(parse(packed, compress_bytes(idx, SIZE, packed, sizeof packed), &set));
    assert_pictures(&set);
    mgn_image_set_free(&set);
    ck_assert_ptr_null(set.pixels);
}
END_TEST

START_TEST(several_gzip_members_are_one_content) {
    unsigned char idx[SIZE], packed[512];
    mgn_image_set set = {0};
    make_idx(idx);
    size_t size = compress_bytes(idx, 20, packed, sizeof packed);
    size += compress_bytes(idx + 20, SIZE - 20, packed + size, sizeof packed - size);
    MGN_ASSERT_OK(parse(packed, size, &set));
    assert_pictures(&set);
    mgn_image_set_free(&set);
}
END_TEST

START_TEST(headers_that_lie_are_refused) {
    static const struct {
        int at;
        unsigned char byte;
        mgn_status status;
        const char *text;
    } lies[] = {
        {0, 1, MGN_ERR_FORMAT, "begins with two zero bytes"},
        {2, 13, MGN_ERR_UNSUPPORTED, "type 0x0d"},
        {2, 7, MGN_ERR_FORMAT, "begins with"},
        {3, 0, MGN_ERR_FORMAT, "begins with"},
        {3, 4, MGN_ERR_UNSUPPORTED, "4 axes"},
        {3, 255, MGN_ERR_UNSUPPORTED, "255 axes"},
        {3, 1, MGN_ERR_FORMAT, "announces 3 elements, but 38 follow"},
        {3, 2, MGN_ERR_FORMAT, "announces 6 elements, but 34 follow"},
        {7, PICTURES + 1, MGN_ERR_FORMAT, "announces 40 elements, but 30 follow"},
        {7, 0, MGN_ERR_FORMAT, "axis 0 has length 0"},
        {11, 1, MGN_ERR_FORMAT, "announces 15 elements, but 30 follow"},
        {4, 255, MGN_ERR_FORMAT, "elements, but 30 follow"},
    };
    unsigned char idx[SIZE];
    mgn_image_set set = {0};
    for (size_t i = 0; i < sizeof lies / sizeof *lies; i++) {
        make_idx(idx);
        idx[lies[i].at] = lies[i].byte;
        MGN_ASSERT_FAILS(parse(idx, SIZE, &set), lies[i].status, lies[i].text);
        ck_assert_ptr_null(set.pixels);
    }
    make_idx(idx); /* three axes of 2^32 - 1: the product overflows 64 bits */
    memset(idx + 4, 255, 12);
    MGN_ASSERT_FAILS(parse(idx, SIZE, &set), MGN_ERR_FORMAT, "elements, but 30 follow");
    for (size_t size = 0; size < SIZE; size++) {
        make_idx(idx);
        MGN_ASSERT_FAILS(parse(idx, size, &set), MGN_ERR_FORMAT, "digits");
    }
    const unsigned char labels[] = {0, 0, 8, 1, 0, 0, 0, 2, 5, 9};
    MGN_ASSERT_FAILS(parse(labels, sizeof labels, &set), MGN_ERR_UNSUPPORTED, "holds 2 labels");
}
END_TEST

START_TEST(damaged_gzip_is_refused) {
    unsigned char idx[SIZE], packed[256];
    mgn_image_set set = {0};
    make_idx(idx);
    const size_t size = compress_bytes(idx, SIZE, packed, sizeof packed);
    for (size_t cut = 2; cut < size; cut++) MGN_ASSERT_FAILS(parse(packed, cut, &set), MGN_ERR_FORMAT, "ends early");
    packed[size] = 'x';
    MGN_ASSERT_FAILS(parse(packed, size + 1, &set), MGN_ERR_FORMAT, "1 bytes follow the end");
    /* The check sum finds any flipped bit that changes the content; a few bits pad the last byte. */
    int refused = 0;
    for (size_t at = 10; at < size; at++) {
        packed[at] ^= 16;
        if (parse(packed, size, &set) == MGN_OK) {
            assert_pictures(&set);
            mgn_image_set_free(&set);
        } else {
            refused++;
        }
        packed[at] ^= 16;
    }
    ck_assert_int_ge(refused, (int)size - 12);
    MGN_ASSERT_OK(parse(packed, size, &set));
    mgn_image_set_free(&set);
}
END_TEST

START_TEST(inflating_stops_at_the_limit) {
    enum { PLAIN = 3 << 20 };
    unsigned char *zeros = calloc(PLAIN, 1), packed[8192], *content = NULL;
    size_t found = 0;
    ck_assert_ptr_nonnull(zeros);
    const size_t size = compress_bytes(zeros, PLAIN, packed, sizeof packed);
    free(zeros);
    MGN_ASSERT_FAILS(mgn_gunzip(packed, size, "bomb", PLAIN - 1, &content, &found), MGN_ERR_FORMAT,
                     "bomb: inflates to");
    ck_assert_ptr_null(content);
    MGN_ASSERT_OK(mgn_gunzip(packed, size, "zeros", PLAIN + 1, &content, &found));
    ck_assert_uint_eq(found, PLAIN);
    mgn_free(content);
}
END_TEST

START_TEST(a_folder_gives_pictures_with_their_labels) {
    unsigned char idx[SIZE], packed[256], labels[] = {0, 0, 8, 1, 0, 0, 0, PICTURES, 4, 1, 9};
    mgn_image_set set = {0};
    char folder[4096];
    make_idx(idx);
    snprintf(folder, sizeof folder, "%s", mgn_test_path("x"));
    *strrchr(folder, '/') = 0;
    MGN_ASSERT_FAILS(mgn_mnist_read(folder, "train", &set), MGN_ERR_IO, "neither train-images-idx3-ubyte nor");
    mgn_test_write_file(mgn_test_path("train-images-idx3-ubyte.gz"), packed,
                        compress_bytes(idx, SIZE, packed, sizeof packed));
    MGN_ASSERT_OK(mgn_mnist_read(folder, "train", &set));
    assert_pictures(&set);
    ck_assert_ptr_null(set.labels);
    mgn_image_set_free(&set);
    mgn_test_write_file(mgn_test_path("train-labels-idx1-ubyte"), labels, sizeof labels);
    MGN_ASSERT_OK(mgn_mnist_read(folder, "train", &set));
    ck_assert_int_eq(set.labels[2], 9);
    mgn_image_set_free(&set);
    labels[7] = PICTURES - 1;
    mgn_test_write_file(mgn_test_path("train-labels-idx1-ubyte"), labels, sizeof labels - 1);
    MGN_ASSERT_FAILS(mgn_mnist_read(folder, "train", &set), MGN_ERR_FORMAT, "3 labels on one axis were expected");
    ck_assert_ptr_null(set.pixels);
}
END_TEST

START_TEST(a_file_of_pictures_is_a_target) {
    unsigned char idx[SIZE];
    mgn_target *target = NULL;
    int64_t count = 0;
    make_idx(idx);
    const char *path = mgn_test_path("pictures.idx");
    mgn_test_write_file(path, idx, SIZE);
    MGN_ASSERT_OK(mgn_target_parse(path, &target));
    ck_assert_int_eq(mgn_target_dimension(target), HEIGHT * WIDTH);
    ck_assert(mgn_target_rows(target, &count)[1] == 8.0f / 255);
    ck_assert_int_eq(count, PICTURES);
    mgn_target_destroy(target);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("image_set");
    TCase *tests = tcase_create("image_set");
    tcase_add_test(tests, pictures_come_out_as_stored);
    tcase_add_test(tests, several_gzip_members_are_one_content);
    tcase_add_test(tests, headers_that_lie_are_refused);
    tcase_add_test(tests, damaged_gzip_is_refused);
    tcase_add_test(tests, inflating_stops_at_the_limit);
    tcase_add_test(tests, a_folder_gives_pictures_with_their_labels);
    tcase_add_test(tests, a_file_of_pictures_is_a_target);
    suite_add_tcase(suite, tests);
    return mgn_test_main(suite);
}
