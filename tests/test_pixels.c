/* Arithmetic on pictures: turning upright, colours and back, resizing, sheets, and that threads change nothing. */
#include "pictures.h"

#include <stdio.h>
#include <unistd.h>

/* What a viewer shows of the stored rows 012 / 345, from the table in the EXIF standard. */
static const struct {
    size_t width, height;
    unsigned shown[6];
} upright_forms[9] = {{0},
                      {3, 2, {0, 1, 2, 3, 4, 5}},
                      {3, 2, {2, 1, 0, 5, 4, 3}},
                      {3, 2, {5, 4, 3, 2, 1, 0}},
                      {3, 2, {3, 4, 5, 0, 1, 2}},
                      {2, 3, {0, 3, 1, 4, 2, 5}},
                      {2, 3, {3, 0, 4, 1, 5, 2}},
                      {2, 3, {5, 2, 4, 1, 3, 0}},
                      {2, 3, {2, 5, 1, 4, 0, 3}}};

static mgn_image *make_tagged(int orientation, int channels, int depth, bool big) {
    mgn_image *image = make(3, 2, channels, depth);
    unsigned char exif[64];
    for (size_t i = 0; i < samples(image); i++)
        set(image, i, (unsigned)(i / (size_t)channels * 40 + i % (size_t)channels));
    MGN_ASSERT_OK(mgn_image_set_block(image, MGN_IMAGE_EXIF, exif, make_exif(exif, big, (unsigned)orientation)));
    ck_assert_int_eq(image->orientation, orientation);
    return image;
}

static void assert_upright(const mgn_image *image, int orientation, int channels) {
    ck_assert_int_eq(image->orientation, 1);
    ck_assert_uint_eq(image->width, upright_forms[orientation].width);
    ck_assert_uint_eq(image->height, upright_forms[orientation].height);
    for (size_t i = 0; i < samples(image); i++) {
        const unsigned expected =
            upright_forms[orientation].shown[i / (size_t)channels] * 40 + (unsigned)(i % (size_t)channels);
        ck_assert_msg(sample(image, i) == expected, "orientation %d: sample %zu is %u, not %u", orientation, i,
                      sample(image, i), expected);
    }
}

START_TEST(orientations_are_turned_upright) {
    static const char xmp[] = "<a tiff:Orientation=\"8\"/><tiff:Orientation>8</tiff:Orientation>",
                      xmp_upright[] = "<a tiff:Orientation=\"1\"/><tiff:Orientation>1</tiff:Orientation>";
    unsigned char exif[64];
    for (int orientation = 1; orientation <= 8; orientation++)
        for (int channels = 1; channels <= 4; channels++)
            for (int depth = 8; depth <= 16; depth += 8) {
                const bool big = channels % 2 == 0;
                mgn_image *image = make_tagged(orientation, channels, depth, big);
                if (orientation == 8) MGN_ASSERT_OK(mgn_image_set_block(image, MGN_IMAGE_XMP, xmp, sizeof xmp - 1));
                mgn_image *written = through(image, "turned.png", NULL);
                assert_upright(written, orientation, channels);
                assert_block(written, MGN_IMAGE_EXIF, exif, make_exif(exif, big, 1));
                if (orientation == 8) assert_block(written, MGN_IMAGE_XMP, xmp_upright, sizeof xmp - 1);
                mgn_image_destroy(written);
                assert_block(image, MGN_IMAGE_EXIF, exif, make_exif(exif, big, (unsigned)orientation));
                MGN_ASSERT_OK(mgn_image_upright(image));
                assert_upright(image, orientation, channels);
                mgn_image_destroy(image);
            }
}
END_TEST

START_TEST(jpeg_keeps_pixels_as_stored_with_their_tag) {
    mgn_image *image = make_tagged(6, 3, 8, false),
              *again = through(image, "tagged.jpg", &(mgn_image_write_options){.quality = 100});
    ck_assert_int_eq(again->orientation, 6);
    ck_assert_uint_eq(again->width, 3);
    ck_assert_uint_eq(again->height, 2);
    mgn_image *copy = NULL;
    MGN_ASSERT_OK(mgn_image_clone_layout(again, &copy));
    ck_assert_int_eq(copy->orientation, 6);
    ck_assert_uint_eq(sample(copy, 3), 0);
    mgn_image_destroy(copy);
    mgn_image_destroy(again);
    mgn_image_destroy(image);
}
END_TEST

START_TEST(colours_come_back_exactly) {
    mgn_test_random random = MGN_TEST_RANDOM();
    for (int channels = 1; channels <= 4; channels++)
        for (int depth = 8; depth <= 16; depth += 8) {
            mgn_image *image = make_noise(93, 7, channels, depth, &random), *again = NULL;
            float *rgb = malloc(93 * 7 * 3 * sizeof *rgb), *band = malloc(93 * 2 * 3 * sizeof *band);
            mgn_image_to_rgb(image, rgb);
            mgn_image_rows_to_rgb(image, 3, 2, band);
            ck_assert_int_eq(memcmp(band, rgb + (size_t)3 * 93 * 3, 93 * 2 * 3 * sizeof *band), 0);
            for (size_t i = 0; i < (size_t)93 * 7 * 3; i++) {
                const size_t index = i / 3 * (size_t)channels + (channels >= 3 ? i % 3 : 0);
                const double expected = sample(image, index) / (depth == 8 ? 255.0 : 65535.0);
                ck_assert_msg(fabs((double)rgb[i] - expected) < 1e-7, "colour %zu is %g, not %g", i, (double)rgb[i],
                              expected);
            }
            MGN_ASSERT_OK(mgn_image_with_rgb(image, rgb, &again));
            assert_same_pixels(image, again);
            if (channels >= 3) {
                MGN_ASSERT_OK(mgn_image_rows_from_rgb(again, 0, 2, band));
                ck_assert_uint_eq(sample(again, 0), sample(image, (size_t)3 * 93 * (size_t)channels));
            } else {
                MGN_ASSERT_FAILS(mgn_image_from_rgb(again, rgb), MGN_ERR_ARGUMENT, "grey");
            }
            mgn_image_destroy(again);
            mgn_image_destroy(image);
            free(band);
            free(rgb);
        }
}
END_TEST

START_TEST(colours_are_clipped_rounded_and_checked) {
    const float rgb[] = {-1.0f,        2.0f,         0.5f, INFINITY, -INFINITY, 0.0f,
                         100.4f / 255, 100.6f / 255, 1.0f, 0.2f,     0.2f,      0.2f};
    const unsigned expected[] = {0, 255, 128, 255, 0, 0, 100, 101, 255, 51, 51, 51};
    mgn_image *image = make(2, 2, 3, 8);
    MGN_ASSERT_OK(mgn_image_from_rgb(image, rgb));
    for (size_t i = 0; i < 12; i++) ck_assert_uint_eq(sample(image, i), expected[i]);
    float broken[12];
    memcpy(broken, rgb, sizeof rgb);
    broken[10] = NAN;
    MGN_ASSERT_FAILS(mgn_image_from_rgb(image, broken), MGN_ERR_NUMERIC, "pixel (1, 1) is not a number in its green");
    mgn_image *never = NULL;
    MGN_ASSERT_FAILS(mgn_image_with_rgb(image, broken, &never), MGN_ERR_NUMERIC, "not a number");
    ck_assert_ptr_null(never);
    mgn_image_destroy(image);
}
END_TEST

START_TEST(grey_becomes_colour_only_when_it_must) {
    mgn_test_random random = MGN_TEST_RANDOM();
    unsigned char *profile = make_profile(200, "GRAY", &random);
    mgn_image *image = make(2, 1, 2, 8), *kept = NULL, *coloured = NULL;
    set(image, 1, 77);
    MGN_ASSERT_OK(mgn_image_set_block(image, MGN_IMAGE_ICC, profile, 200));
    MGN_ASSERT_OK(mgn_image_with_rgb(image, (const float[]){0.5f, 0.5005f, 0.5009f, 0, 0, 0}, &kept));
    ck_assert_int_eq(kept->channels, 2);
    ck_assert(sample(kept, 0) == 128 && sample(kept, 1) == 77);
    assert_block(kept, MGN_IMAGE_ICC, profile, 200);
    MGN_ASSERT_OK(mgn_image_with_rgb(image, (const float[]){0.5f, 0.6f, 0.4f, 0, 0, 0}, &coloured));
    ck_assert_int_eq(coloured->channels, 4);
    ck_assert(sample(coloured, 0) == 128 && sample(coloured, 1) == 153 && sample(coloured, 2) == 102 &&
              sample(coloured, 3) == 77);
    assert_block(coloured, MGN_IMAGE_ICC, NULL, 0);
    mgn_image_destroy(coloured);
    mgn_image_destroy(kept);
    mgn_image_destroy(image);
    free(profile);
}
END_TEST

START_TEST(resizing_takes_means) {
    mgn_image *image = make(4, 2, 1, 8), *half = NULL, *three = NULL;
    for (unsigned i = 0; i < 8; i++) set(image, i, (const unsigned[]){10, 20, 30, 40, 30, 40, 50, 61}[i]);
    MGN_ASSERT_OK(mgn_image_resize(image, 2, 1, &half));
    ck_assert(sample(half, 0) == 25 && sample(half, 1) == 45);
    MGN_ASSERT_OK(mgn_image_resize(image, 3, 2, &three));
    /* Each new pixel covers 4/3 of an old one: (10 + 20/3) / (4/3) = 12.5, (2/3 20 + 2/3 30) / (4/3) = 25. */
    ck_assert(sample(three, 0) == 13 && sample(three, 1) == 25);
    mgn_image *clear = make(2, 1, 4, 16), *mixed = NULL;
    for (size_t i = 0; i < 4; i++) set(clear, i, (const unsigned[]){1000, 2000, 3000, 65535}[i]);
    for (size_t i = 4; i < 7; i++) set(clear, i, 60000);
    MGN_ASSERT_OK(mgn_image_resize(clear, 1, 1, &mixed));
    ck_assert(sample(mixed, 0) == 1000 && sample(mixed, 2) == 3000 && sample(mixed, 3) == 32768);
    mgn_image_destroy(mixed);
    mgn_image_destroy(clear);
    mgn_image_destroy(three);
    mgn_image_destroy(half);
    mgn_image_destroy(image);
}
END_TEST

START_TEST(threads_do_not_change_a_bit) {
    mgn_test_random random = MGN_TEST_RANDOM();
    mgn_image *image = make_noise(211, 157, 4, 16, &random);
    unsigned char exif[64];
    MGN_ASSERT_OK(mgn_image_set_block(image, MGN_IMAGE_EXIF, exif, make_exif(exif, true, 7)));
    const size_t values = (size_t)211 * 157 * 3;
    float *first = malloc(values * sizeof *first), *other = malloc(values * sizeof *other);
    mgn_image *small = NULL, *turned = NULL;
    const int counts[] = {1, 2, 5, 8};
    for (size_t t = 0; t < 4; t++) {
        mgn_set_threads(counts[t]);
        mgn_image *resized = NULL;
        mgn_image_to_rgb(image, t ? other : first);
        MGN_ASSERT_OK(mgn_image_resize(image, 50, 33, &resized));
        mgn_image *copy = NULL;
        MGN_ASSERT_OK(mgn_image_with_rgb(image, first, &copy));
        assert_same_pixels(image, copy);
        MGN_ASSERT_OK(mgn_image_upright(copy));
        if (t == 0) {
            small = resized;
            turned = copy;
            continue;
        }
        ck_assert_int_eq(memcmp(first, other, values * sizeof *first), 0);
        assert_same_pixels(small, resized);
        assert_same_pixels(turned, copy);
        mgn_image_destroy(resized);
        mgn_image_destroy(copy);
    }
    mgn_set_threads(0);
    mgn_image_destroy(small);
    mgn_image_destroy(turned);
    mgn_image_destroy(image);
    free(other);
    free(first);
}
END_TEST

START_TEST(sheet_puts_pictures_side_by_side) {
    mgn_image *red = make(40, 20, 3, 8), *grey = make(20, 80, 1, 16), *clear = make(30, 30, 4, 8), *sheet = NULL;
    for (size_t i = 0; i < samples(red); i += 3) set(red, i, 200);
    for (size_t i = 0; i < samples(grey); i++) set(grey, i, 100 * 257);
    unsigned char exif[64];
    MGN_ASSERT_OK(mgn_image_set_block(grey, MGN_IMAGE_EXIF, exif, make_exif(exif, true, 6))); /* shown 80 x 20 */
    const mgn_image *const images[] = {red, grey, clear};
    MGN_ASSERT_OK(mgn_image_sheet(images, NULL, 3, 40, &sheet));
    ck_assert_uint_eq(sheet->height, 40 + 2 * 4);
    ck_assert_uint_eq(sheet->width, 80 + 160 + 40 + 4 * 4);
    const size_t middle = sheet->height / 2 * sheet->width * 3;
    ck_assert(sample(sheet, middle + 0) == 255); /* the margin */
    ck_assert(sample(sheet, middle + 10 * 3) == 200 && sample(sheet, middle + 10 * 3 + 1) == 0);
    ck_assert(sample(sheet, middle + 100 * 3) == 100 && sample(sheet, middle + 100 * 3 + 2) == 100);
    ck_assert(sample(sheet, middle + 270 * 3) == 255); /* nothing shows the white */
    mgn_image *labelled = NULL;
    MGN_ASSERT_OK(mgn_image_sheet(images,
                                  (const char *const[]){"be\xc3\xa4"
                                                        "fore and after and much more than fits",
                                                        NULL, ""},
                                  3, 40, &labelled));
    ck_assert_uint_gt(labelled->height, sheet->height);
    size_t dark = 0;
    for (size_t i = 0; i < 12 * labelled->width * 3; i++) dark += sample(labelled, i) == 0;
    ck_assert_uint_gt(dark, 100);
    for (size_t y = 0; y < 12; y++) /* the label ends with its picture */
        for (size_t x = 84; x < labelled->width; x++)
            ck_assert_uint_eq(sample(labelled, (y * labelled->width + x) * 3), 255);
    MGN_ASSERT_FAILS(mgn_image_sheet(images, NULL, 0, 40, &sheet), MGN_ERR_ARGUMENT, "at least one picture");
    mgn_image_destroy(labelled);
    mgn_image_destroy(sheet);
    mgn_image_destroy(clear);
    mgn_image_destroy(grey);
    mgn_image_destroy(red);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("pixels");
    TCase *group = tcase_create("pixels");
    tcase_add_test(group, orientations_are_turned_upright);
    tcase_add_test(group, jpeg_keeps_pixels_as_stored_with_their_tag);
    tcase_add_test(group, colours_come_back_exactly);
    tcase_add_test(group, colours_are_clipped_rounded_and_checked);
    tcase_add_test(group, grey_becomes_colour_only_when_it_must);
    tcase_add_test(group, resizing_takes_means);
    tcase_add_test(group, threads_do_not_change_a_bit);
    tcase_add_test(group, sheet_puts_pictures_side_by_side);
    suite_add_tcase(suite, group);
    return mgn_test_main(suite);
}
