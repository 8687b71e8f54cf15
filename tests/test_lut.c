/* Tables of colours: those of other programs are read, refused and applied; ours come back as the map; and the memo through
 * which both reach pictures answers what they answer. */
#include "pictures.h"

#include <stdio.h>

#include <mgn/look.h>
#include <mgn/recolor.h>

#include "core/core.h"
#include "recolor/lut.h"

static mgn_lut *parse(const char *text) {
    mgn_lut *lut = NULL;
    MGN_ASSERT_OK(mgn_cube_parse(text, strlen(text), "input", &lut));
    return lut;
}

static void check_colour(const mgn_lut *lut, double r, double g, double b, const double expected[3]) {
    const float x[3] = {(float)r, (float)g, (float)b};
    float y[3];
    MGN_ASSERT_OK(mgn_lut_colours(lut, 1, x, 1, y));
    for (int j = 0; j < 3; j++)
        ck_assert_msg(fabs((double)y[j] - expected[j]) <= 1e-6, "(%g %g %g) channel %d: %g instead of %g", r, g, b, j,
                      (double)y[j], expected[j]);
}

/* ---- reading ---- */

START_TEST(cubes_are_read_however_they_are_written) {
    mgn_lut *lut =
        parse("\xef\xbb\xbf# c\r\nTITLE \"a b\"\r\n\r\nLUT_3D_SIZE 2\r\nDOMAIN_MIN -1 0 0\r\nDOMAIN_MAX 1 1 2\r\n"
              "0 0 0\r\n1 0 0\r\n# between\r\n0 1 0\r\n 1 1 0 \r\n0\t0\t1\r\n1 0 1\r\n0 1 1\r\n1e0 +1 1.");
    check_colour(lut, 0, 0.25, 1, (const double[]){0.5, 0.25, 0.5});
    check_colour(lut, -7, 7, 0.5, (const double[]){0, 1, 0.25}); /* outside of the domain: its border */
    mgn_lut_destroy(lut);
    lut = parse("LUT_1D_SIZE 3\rLUT_1D_INPUT_RANGE 0 2\r0 1 0\r.5 .5 0\r1 0 4\r");
    check_colour(lut, 0.5, 1, 1.5, (const double[]){0.25, 0.5, 2});
    mgn_lut_destroy(lut);
}
END_TEST

START_TEST(what_is_no_table_is_refused) {
    static const char *const files[][2] = {
        {"", "LUT_3D_SIZE or LUT_1D_SIZE was expected"},
        {"# nothing\n", "LUT_3D_SIZE or LUT_1D_SIZE was expected"},
        {"0 0 0\n", "line 1: '0 0 0' stands before LUT_3D_SIZE"},
        {"LUT_3D_SIZE 1\n", "line 1: the size"},
        {"LUT_3D_SIZE 257\n", "256"},
        {"LUT_1D_SIZE 65537\n", "65536"},
        {"LUT_3D_SIZE 2.5\n", "2.5"},
        {"LUT_3D_SIZE 2\nLUT_1D_SIZE 2\n", "line 2: a file has one table"},
        {"LUT_3D_SIZE 256\n0 0 0\n", "the file is too short for a table of 256, which has 16777216 rows"},
        {"LUT_1D_SIZE 2\n0 0 0\n", "the table of 2 has 2 rows, and the file ends after 1"},
        {"LUT_1D_SIZE 2\n0 0 0\n1 1 1\n2 2 2\n", "line 4: the table of 2 has 2 rows, and this is one more"},
        {"LUT_1D_SIZE 2\n0 0 0\n1 1 nan\n", "line 3: 3 numbers"},
        {"LUT_1D_SIZE 2\n0 0 0\n1 1 1e400\n", "line 3: 3 numbers"},
        {"LUT_1D_SIZE 2\n0 0 0\n1 1\n", "'1 1' was found"},
        {"LUT_1D_SIZE 2\n0 0 0\n1 1 1 1\n", "'1 1 1 1' was found"},
        {"LUT_1D_SIZE 2\n0 0 0\n1,1,1\n", "'1,1,1' was found"},
        {"LUT_1D_SIZE 2\nDOMAIN_MIN 1 1 1\nDOMAIN_MAX 0 0 0\n0 0 0\n1 1 1\n", "line 4: the domain"},
        {"LUT_1D_SIZE 2\nDOMAIN_MAX 0 1 1\n0 0 0\n1 1 1\n", "empty or reversed"},
        {"LUT_1D_SIZE 2\n0 0 0\nDOMAIN_MAX 1 1 1\n1 1 1\n", "'DOMAIN_MAX' stands after the first row"},
        {"LUT_2D_SIZE 2\n", "'LUT_2D_SIZE' is not a keyword"},
    };
    for (size_t i = 0; i < MGN_COUNT(files); i++) {
        mgn_lut *lut = NULL;
        MGN_ASSERT_FAILS(mgn_cube_parse(files[i][0], strlen(files[i][0]), "input", &lut), MGN_ERR_FORMAT, files[i][1]);
    }
    mgn_lut *lut = NULL;
    MGN_ASSERT_FAILS(mgn_cube_parse("LUT_1D_SIZE 2\n\0", 15, "input", &lut), MGN_ERR_FORMAT, "zero bytes");
    mgn_image *image = make(27, 26, 3, 8);
    MGN_ASSERT_OK(mgn_image_write(image, mgn_test_path("odd.png"), NULL));
    MGN_ASSERT_FAILS(mgn_lut_read(mgn_test_path("odd.png"), &lut), MGN_ERR_FORMAT, "is no HaldCLUT");
    mgn_image_destroy(image);
}
END_TEST

/* ---- interpolation ---- */

/* The same by another road: within a tetrahedron a colour is the sum over thresholds, t from 0 to 1, of the corner whose
 * channels are above where the share exceeds t; the integral over t of that corner. */
static void by_thresholds(const mgn_lut *lut, const double x[3], double y[3]) {
    const int64_t size = lut->size;
    double share[3], ends[5] = {0, 0, 0, 0, 1};
    int64_t cell[3];
    for (int j = 0; j < 3; j++) {
        cell[j] = MGN_MIN((int64_t)(x[j] * (double)(size - 1)), size - 2);
        share[j] = ends[j + 1] = x[j] * (double)(size - 1) - (double)cell[j];
        y[j] = 0;
    }
    for (int i = 1; i < 4; i++)
        for (int k = 1; k < 3; k++)
            if (ends[k] > ends[k + 1]) {
                const double swap = ends[k];
                ends[k] = ends[k + 1];
                ends[k + 1] = swap;
            }
    for (int i = 0; i < 4; i++) {
        int64_t at[3];
        for (int j = 0; j < 3; j++) at[j] = cell[j] + (share[j] > (ends[i] + ends[i + 1]) / 2);
        const float *node = lut->values + 3 * (at[0] + size * (at[1] + size * at[2]));
        for (int j = 0; j < 3; j++) y[j] += (ends[i + 1] - ends[i]) * (double)node[j];
    }
}

START_TEST(colours_are_interpolated_over_tetrahedra) {
    enum { SIZE = 5, POINTS = 2000 };
    mgn_test_random random = MGN_TEST_RANDOM();
    float values[3 * SIZE * SIZE * SIZE];
    const mgn_lut lut = {.dimensions = 3, .size = SIZE, .high = {1, 1, 1}, .values = values};
    for (size_t i = 0; i < MGN_COUNT(values); i++) values[i] = (float)mgn_test_uniform(&random, -1, 2);
    for (int i = 0; i < POINTS; i++) {
        double x[3], expected[3];
        for (int j = 0; j < 3; j++) /* some on faces, edges and nodes */
            x[j] = i % 4 ? mgn_test_uniform(&random, 0, 1) : (double)mgn_test_integer(&random, 0, 8) / 8;
        for (int j = 0; j < 3; j++) x[j] = (double)(float)x[j];
        by_thresholds(&lut, x, expected);
        float from[3], to[3];
        for (int j = 0; j < 3; j++) from[j] = (float)x[j];
        MGN_ASSERT_OK(mgn_lut_colours(&lut, 0.25, from, 1, to));
        for (int j = 0; j < 3; j++) {
            const double mixed = 0.75 * x[j] + 0.25 * expected[j];
            ck_assert_msg(fabs((double)to[j] - mixed) <= 4e-6, "point %d: %g instead of %g", i, (double)to[j], mixed);
        }
    }
    float x[3] = {0};
    MGN_ASSERT_FAILS(mgn_lut_colours(&lut, 1.5, x, 1, x), MGN_ERR_ARGUMENT, "a strength from 0 to 1");
}
END_TEST

START_TEST(pictures_of_all_kinds_take_a_table) {
    mgn_test_random random = MGN_TEST_RANDOM();
    mgn_lut *lut = parse("LUT_1D_SIZE 2\n1 0 0\n0 1 0.5\n");
    for (int channels = 1; channels <= 4; channels++)
        for (int depth = 8; depth <= 16; depth += 8) {
            mgn_image *source = make_noise(301, 303, channels, depth, &random), *result = NULL;
            const double most = depth == 8 ? 255 : 65535;
            MGN_ASSERT_OK(mgn_lut_apply(lut, 1, source, &result));
            const size_t from = (size_t)channels, to = (size_t)result->channels;
            ck_assert_uint_eq(to, from < 3 ? from + 2 : from);
            for (size_t i = 0; i < 301 * 303; i++) {
                const double red = most - sample(source, i * from),
                             blue = 0.5 * sample(source, i * from + (from < 3 ? 0 : 2));
                ck_assert(fabs(sample(result, i * to) - red) <= 0.51 &&
                          fabs(sample(result, i * to + 2) - blue) <= 0.51);
                if (from % 2 == 0) ck_assert_uint_eq(sample(result, i * to + 3), sample(source, i * from + from - 1));
            }
            mgn_image_destroy(source);
            mgn_image_destroy(result);
        }
    mgn_lut_destroy(lut);
}
END_TEST

/* ---- ours ---- */

/* The bound of the table's error over the cube is 2.5 levels at 33 a side, and 3 with both roundings. */
START_TEST(our_tables_come_back_as_the_map) {
    const char *day = mgn_test_path("day.png"), *files[] = {"look.cube", "look.png"};
    write_small("assets/day_picos_mountains.jpg", day, 300, 220);
    for (size_t i = 0; i < MGN_COUNT(files); i++) {
        mgn_test_process process = mgn_test_shell(
            "cd %s && \"$MGN_BINARY\" recolor day.png --like %s -o out.png --lut %s -q -d cpu && "
            "\"$MGN_BINARY\" apply %s day.png -o by_table -q && \"$MGN_BINARY\" apply %s day.png -o half -q --strength "
            ".5",
            mgn_test_path("."), mgn_test_source("assets/sunset_hilltop.jpg"), files[i], files[i], files[i]);
        ck_assert_msg(process.code == 0, "%s", process.err);
        mgn_test_process_free(&process);
        mgn_image *exact = read_back(mgn_test_path("out.png")), *found = read_back(mgn_test_path("by_table/day.png")),
                  *half = read_back(mgn_test_path("half/day.png")), *source = read_back(day);
        ck_assert_double_le(largest_difference(exact, found), 3);
        ck_assert_double_gt(largest_difference(source, found), 30);
        for (size_t k = 0; k < samples(half); k++)
            ck_assert(fabs((double)sample(source, k) + sample(found, k) - 2.0 * sample(half, k)) <= 2);
        mgn_image_destroy(exact);
        mgn_image_destroy(found);
        mgn_image_destroy(half);
        mgn_image_destroy(source);
    }
}
END_TEST

/* ---- the memo ---- */

typedef struct questioner {
    int64_t asked;
    bool fails;
} questioner;

static mgn_status turn(void *context, const uint8_t *x, int64_t n, uint8_t *y) {
    questioner *q = context;
    if (q->fails) return mgn_fail(MGN_ERR_NUMERIC, "no answer");
    q->asked += n;
    for (int64_t i = 0; i < n; i++) {
        const uint8_t r = x[3 * i], g = x[3 * i + 1], b = x[3 * i + 2];
        y[3 * i] = (uint8_t)(g + 1);
        y[3 * i + 1] = (uint8_t)(b ^ 0x55);
        y[3 * i + 2] = (uint8_t)(255 - r);
    }
    return MGN_OK;
}

/* Colours that take each other's places, in blocks and across them; in place; and after a failure. */
START_TEST(a_memo_answers_what_it_was_told) {
    enum { PIXELS = 50000 };
    mgn_test_random random = MGN_TEST_RANDOM();
    questioner q = {0};
    mgn_colour_memo *memo = NULL;
    unsigned char *from = malloc(3 * PIXELS), *to = malloc(3 * PIXELS), *expected = malloc(3 * PIXELS);
    ck_assert(from && to && expected);
    MGN_ASSERT_OK(mgn_colour_memo_create(turn, &q, &memo));
    for (int round = 0; round < 4; round++) {
        for (size_t i = 0; i < 3 * PIXELS; i++)
            from[i] = (unsigned char)(round == 0   ? 7
                                      : round == 1 ? mgn_test_integer(&random, 0, 3) << 6
                                                   : mgn_test_integer(&random, 0, 255));
        q.fails = false;
        (void)turn(&q, from, PIXELS, expected);
        q.fails = round == 2;
        q.asked = 0;
        const mgn_status status = mgn_colour_memo_apply(memo, from, PIXELS, to);
        if (round == 2) {
            MGN_ASSERT_FAILS(status, MGN_ERR_NUMERIC, "no answer");
            continue;
        }
        MGN_ASSERT_OK(status);
        ck_assert_int_eq(memcmp(to, expected, 3 * PIXELS), 0);
        if (round == 0) ck_assert_int_eq(q.asked, 1);
        MGN_ASSERT_OK(mgn_colour_memo_apply(memo, from, PIXELS, from));
        ck_assert_int_eq(memcmp(from, expected, 3 * PIXELS), 0);
    }
    mgn_colour_memo_destroy(memo);
    free(from);
    free(to);
    free(expected);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("lut");
    TCase *tests = tcase_create("tables of colours");
    tcase_add_test(tests, cubes_are_read_however_they_are_written);
    tcase_add_test(tests, what_is_no_table_is_refused);
    tcase_add_test(tests, colours_are_interpolated_over_tetrahedra);
    tcase_add_test(tests, pictures_of_all_kinds_take_a_table);
    tcase_add_test(tests, our_tables_come_back_as_the_map);
    tcase_add_test(tests, a_memo_answers_what_it_was_told);
    suite_add_tcase(suite, tests);
    return mgn_test_main(suite);
}
