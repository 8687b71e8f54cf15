/* `mgn gmm`, and mixtures as targets of `mgn recolor`: what they print and write, that the picture comes closer to the
 * target's palette than two moments bring it, without tearing its gradients, and their bad input. */
#include "json.h"
#include "pictures.h"

#include <stdio.h>
#include <sys/stat.h>

#include <mgn/mixture.h>
#include <mgn/ot.h>
#include <mgn/recolor.h>

#include "core/core.h"

static const char *day, *sunset;

static void make_inputs(void) {
    static char paths[2][512];
    snprintf(paths[0], sizeof paths[0], "%s", mgn_test_path("day.png"));
    snprintf(paths[1], sizeof paths[1], "%s", mgn_test_path("sunset.png"));
    day = paths[0];
    sunset = paths[1];
    write_small("assets/day_picos_mountains.jpg", day, 120, 80);
    write_small("assets/sunset_hilltop.jpg", sunset, 120, 90);
}

/* ---- mgn gmm ---- */

START_TEST(gmm_prints_the_curve_and_keeps_the_elbow) {
    const char *out = mgn_test_path("m.json");
    cJSON *object = json_of(mgn_test_command("gmm %s -k 1..4 -o %s --json -q --device cpu", sunset, out));
    const cJSON *results = cJSON_GetObjectItem(object, "results"), *item;
    ck_assert_int_eq(cJSON_GetArraySize(results), 4);
    double last = -INFINITY;
    cJSON_ArrayForEach(item, results) {
        ck_assert(number(item, "log_likelihood") > last);
        last = number(item, "log_likelihood");
    }
    mgn_mixture m = {0};
    MGN_ASSERT_OK(mgn_mixture_load(out, &m));
    ck_assert_int_eq(m.k, (int64_t)number(object, "elbow"));
    ck_assert_int_eq(m.d, 3);
    ck_assert(number(object, "rows") == 120 * 90);
    mgn_mixture_free(&m);
    cJSON_Delete(object);
}
END_TEST

START_TEST(gmm_prints_a_table) {
    mgn_test_process p = mgn_test_command("gmm %s -k 2..4 -q --device cpu", day);
    ck_assert_int_eq(p.code, 0);
    ck_assert_ptr_nonnull(strstr(p.out, "log-likelihood"));
    ck_assert_ptr_nonnull(strstr(p.out, "elbow"));
    mgn_test_process_free(&p);
}
END_TEST

START_TEST(threads_do_not_show_in_the_file) {
    const char *a = mgn_test_path("a.safetensors"), *b = mgn_test_path("b.safetensors");
    for (int threads = 1; threads <= 3; threads += 2) {
        mgn_test_process p = mgn_test_command("gmm %s -k 3 -o %s -q --device cpu --threads %d --seed 5", day,
                                              threads == 1 ? a : b, threads);
        ck_assert_msg(p.code == 0, "%s", p.err);
        mgn_test_process_free(&p);
    }
    size_t size_a, size_b;
    char *bytes_a = mgn_test_read_file(a, &size_a), *bytes_b = mgn_test_read_file(b, &size_b);
    ck_assert_uint_eq(size_a, size_b);
    ck_assert_mem_eq(bytes_a, bytes_b, size_a);
    free(bytes_a);
    free(bytes_b);
}
END_TEST

/* ---- mgn recolor --target gmm ---- */

/* The largest slope of the map over the source's colours: how many levels a step of one level can become. */
static double steepest(const char *map_path) {
    enum { ROWS = 512 };
    mgn_image *image = NULL;
    mgn_matrix palette = {0};
    mgn_model *model = NULL;
    mgn_map *map = NULL;
    mgn_device *device = NULL;
    double jacobian[9 * ROWS], largest = 0;
    MGN_ASSERT_OK(mgn_image_read(day, &image));
    MGN_ASSERT_OK(mgn_image_palette(image, ROWS, 1, &palette));
    MGN_ASSERT_OK(mgn_device_open("cpu", &device));
    MGN_ASSERT_OK(mgn_model_load(map_path, &model));
    MGN_ASSERT_OK(mgn_map_create(model, device, MGN_F64, &map));
    MGN_ASSERT_OK(mgn_map_jacobian(map, palette.values, ROWS, jacobian));
    for (int i = 0; i < ROWS; i++) {
        double values[3], vectors[9];
        MGN_ASSERT_OK(mgn_symmetric_eigen(jacobian + 9 * i, 3, values, vectors));
        ck_assert(values[0] > -1e-9);
        largest = fmax(largest, values[2]);
    }
    mgn_map_destroy(map);
    mgn_model_destroy(model);
    mgn_device_close(device);
    mgn_matrix_free(&palette);
    mgn_image_destroy(image);
    return largest;
}

START_TEST(mixtures_come_closer_than_moments) {
    double after[2];
    const char *const targets[] = {"gaussian", "gmm:3..6"}, *map = mgn_test_path("map.safetensors");
    for (int i = 0; i < 2; i++) {
        cJSON *object =
            json_of(mgn_test_command("recolor %s --like %s -o %s --target %s --save %s --json -q --device cpu", day,
                                     sunset, mgn_test_path("out.png"), targets[i], map));
        after[i] = number(object, "w2_after");
        ck_assert(number(object, "components") >= (i ? 3 : 1) && number(object, "components") <= (i ? 6 : 1));
        ck_assert(after[i] < number(object, "w2_before"));
        cJSON_Delete(object);
    }
    ck_assert_msg(after[1] < 0.8 * after[0], "W2 %g with moments, %g with a mixture", after[0], after[1]);
    ck_assert(steepest(map) < 6);
}
END_TEST

/* Pictures of few colours, and of one or two directions. */
START_TEST(odd_pictures_are_learned_or_refused) {
    mgn_image *tiny = make(2, 1, 3, 8), *grey = make_smooth(40, 30, 1), *one = make(9, 9, 3, 8),
              *soft = make_smooth(50, 40, 3);
    mgn_device *device = NULL;
    MGN_ASSERT_OK(mgn_device_open("cpu", &device));
    set(tiny, 3, 200);
    mgn_image *const pairs[][2] = {{soft, grey}, {grey, soft}, {tiny, soft}, {one, soft}, {soft, soft}};
    for (size_t i = 0; i < MGN_COUNT(pairs); i++) {
        mgn_model *model = NULL;
        mgn_mixture mixture = {0};
        const mgn_recolor_config config = {.components = 3, .epochs = 20, .mixture = &mixture};
        MGN_ASSERT_OK(mgn_recolor_learn(pairs[i][0], pairs[i][1], device, &config, &model, NULL));
        if (pairs[i][0] != one) MGN_ASSERT_OK(mgn_mixture_check(&mixture)); /* nothing is learned from one colour */
        for (int64_t p = 0; p < mgn_model_parameter_count(model); p++) ck_assert(isfinite(mgn_model_values(model)[p]));
        mgn_mixture_free(&mixture);
        mgn_model_destroy(model);
    }
    mgn_model *model = NULL;
    MGN_ASSERT_FAILS(mgn_recolor_learn(soft, tiny, device, &(mgn_recolor_config){.components = 9}, &model, NULL),
                     MGN_ERR_ARGUMENT, "at least as many rows; 2 were found");
    MGN_ASSERT_FAILS(mgn_recolor_learn(soft, soft, device, &(mgn_recolor_config){.components = -1}, &model, NULL),
                     MGN_ERR_ARGUMENT, "0 to 1024 components were expected");
    ck_assert_ptr_null(model);
    mgn_device_close(device);
    mgn_image *const all[] = {tiny, grey, one, soft};
    for (size_t i = 0; i < MGN_COUNT(all); i++) mgn_image_destroy(all[i]);
}
END_TEST

/* ---- bad input ---- */

START_TEST(bad_input_is_told_in_a_sentence) {
    static const struct {
        const char *arguments; /* %s: the picture */
        int code;
        const char *words;
    } rows[] = {
        {"gmm", 2, "mgn gmm needs 1 argument"},
        {"gmm %s -k 0", 2, "-k: '0' is not a whole number from 1 to 1024"},
        {"gmm %s -k 3..1", 2, "-k: the range 3..1 ends before it begins"},
        {"gmm %s -k 1..x", 2, "-k: 'x' is not a whole number"},
        {"gmm %s -k ..", 2, "-k: '' is not a whole number"},
        {"gmm %s -k 1..2..3", 2, "-k: '2..3' is not a whole number"},
        {"gmm %s -k 5 -o out.txt", 2, ".json or .safetensors"},
        {"gmm %s -k 5 -o /nowhere/out.json", 1, "/nowhere"},
        {"gmm %s -k 5 --tolerance 0", 2, "--tolerance: '0'"},
        {"gmm none.png", 1, "none.png does not exist"},
        {"gmm %s --starts 0", 2, "--starts: '0'"},
        {"recolor %s --like %s -o o.png --target gauss", 2, "--target: 'gauss' is not palette, gaussian, gmm, gmm:K"},
        {"recolor %s --like %s -o o.png --target gmm:", 2, "--target gmm: '' is not a whole number"},
        {"recolor %s --like %s -o o.png --target gmm:0", 2, "--target gmm: '0' is not a whole number"},
        {"recolor %s --like %s -o o.png --target gmm:4..2", 2, "ends before it begins"},
    };
    for (size_t i = 0; i < MGN_COUNT(rows); i++) {
        char arguments[2048] = "", *at = arguments;
        for (const char *c = rows[i].arguments; *c; c++) {
            if (strncmp(c, "%s", 2) == 0) {
                at += sprintf(at, "%s", day);
                c++;
            } else {
                *at++ = *c;
            }
        }
        mgn_test_process p = mgn_test_command("%s -q --device cpu", arguments);
        ck_assert_msg(p.code == rows[i].code && strstr(p.err, rows[i].words), "mgn %s: code %d: %s", arguments, p.code,
                      p.err);
        ck_assert_int_eq(*p.out, 0);
        mgn_test_process_free(&p);
    }
}
END_TEST

int main(void) {
    Suite *suite = suite_create("cli_target");
    TCase *c = tcase_create("commands");
    tcase_add_checked_fixture(c, make_inputs, NULL);
    tcase_set_timeout(c, 120);
    tcase_add_test(c, gmm_prints_the_curve_and_keeps_the_elbow);
    tcase_add_test(c, gmm_prints_a_table);
    tcase_add_test(c, threads_do_not_show_in_the_file);
    tcase_add_test(c, mixtures_come_closer_than_moments);
    tcase_add_test(c, odd_pictures_are_learned_or_refused);
    tcase_add_test(c, bad_input_is_told_in_a_sentence);
    suite_add_tcase(suite, c);
    return mgn_test_main(suite);
}
