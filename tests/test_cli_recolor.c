/* `mgn recolor` and `mgn apply` as a user meets them: the files, the numbers, and an interruption. */
#include "json.h"
#include "pictures.h"

#include <stdio.h>
#include <sys/stat.h>

#include <mgn/model.h>

#include "core/core.h"

/* The assets made small, once per test: "day.png" and "sunset.jpg" in the test's folder. */
static const char *day, *sunset;

static void make_inputs(void) {
    static char paths[2][512];
    snprintf(paths[0], sizeof paths[0], "%s", mgn_test_path("day.png"));
    snprintf(paths[1], sizeof paths[1], "%s", mgn_test_path("sunset.jpg"));
    day = paths[0];
    sunset = paths[1];
    write_small("assets/day_picos_mountains.jpg", day, 200, 130);
    write_small("assets/sunset_hilltop.jpg", sunset, 160, 120);
}

static bool exists(const char *path) {
    struct stat about;
    return stat(path, &about) == 0;
}

START_TEST(recolor_writes_all_and_says_what_it_did) {
    const char *out = mgn_test_path("out.png"), *map = mgn_test_path("map.safetensors"),
               *sheet = mgn_test_path("sheet.png");
    make_inputs();
    mgn_test_process process =
        mgn_test_command("recolor %s --like %s -o %s --save %s --sheet %s --device cpu --json -q --seed 3", day, sunset,
                         out, map, sheet);
    ck_assert_str_eq(process.err, "");
    cJSON *object = json_of(process);
    ck_assert_str_eq(text(object, "model"), "cgradnet");
    ck_assert_str_eq(text(object, "target"), "palette");
    ck_assert_str_eq(text(object, "device"), "cpu");
    ck_assert_str_eq(text(object, "output"), out);
    ck_assert(number(object, "parameters") > 6 && number(object, "parameters") <= 24 * 6 + 3);
    ck_assert_double_eq(number(object, "pixels"), 200 * 130);
    ck_assert_double_eq(number(object, "seed"), 3);
    ck_assert_double_lt(number(object, "w2_after"), 0.5 * number(object, "w2_before"));
    ck_assert_double_eq_tol(number(object, "cost") / number(object, "bures"), 1, 0.2);
    ck_assert(number(object, "train_s") > 0 && number(object, "apply_s") > 0);
    cJSON_Delete(object);
    mgn_image *source = read_back(day), *result = read_back(out), *strip = read_back(sheet);
    ck_assert(result->width == 200 && result->height == 130 && result->channels == source->channels);
    ck_assert_uint_gt(strip->width, 3 * strip->height);
    mgn_model *model = NULL;
    MGN_ASSERT_OK(mgn_model_load(map, &model));
    ck_assert_int_eq(mgn_model_get_config(model)->d, 3);
    mgn_model_destroy(model);
    mgn_image_destroy(source);
    mgn_image_destroy(result);
    mgn_image_destroy(strip);
}
END_TEST

START_TEST(recolor_takes_the_palette_itself) {
    make_inputs();
    mgn_test_process process =
        mgn_test_command("recolor %s --like %s -o %s --device cpu --json -q --target sinkhorn --epochs 2", day, sunset,
                         mgn_test_path("itself.png"));
    cJSON *object = json_of(process);
    ck_assert_str_eq(text(object, "target"), "sinkhorn");
    ck_assert_double_lt(number(object, "w2_after"), number(object, "w2_before") * 0.8);
    cJSON_Delete(object);
}
END_TEST

START_TEST(recolor_prints_a_table) {
    make_inputs();
    mgn_test_process process =
        mgn_test_command("recolor %s -l %s -o %s --target gaussian --model mmgn --epochs 5 -d cpu", day, sunset,
                         mgn_test_path("out.jpg"));
    ck_assert_msg(process.code == 0, "%s", process.err);
    static const char *const words[] = {"loss",     "transport cost", "sliced W2^2", "learning",
                                        "applying", "device",         "cpu"};
    for (size_t i = 0; i < MGN_COUNT(words); i++)
        ck_assert_msg(strstr(process.out, words[i]), "'%s' is not in: %s", words[i], process.out);
    mgn_test_process_free(&process);
}
END_TEST

START_TEST(same_seed_same_file) {
    make_inputs();
    char *bytes[3];
    size_t sizes[3];
    for (size_t i = 0; i < 3; i++) {
        const char *out = mgn_test_path("out.png");
        mgn_test_process process = mgn_test_command("recolor %s --like %s -o %s --device cpu -q --seed %d --threads %d",
                                                    day, sunset, out, (int)(i / 2), (int)i + 1);
        ck_assert_msg(process.code == 0, "%s", process.err);
        mgn_test_process_free(&process);
        bytes[i] = mgn_test_read_file(out, &sizes[i]);
    }
    ck_assert(sizes[0] == sizes[1] && memcmp(bytes[0], bytes[1], sizes[0]) == 0);
    ck_assert(sizes[0] != sizes[2] || memcmp(bytes[0], bytes[2], sizes[0]) != 0);
    for (size_t i = 0; i < 3; i++) free(bytes[i]);
}
END_TEST

START_TEST(apply_repeats_what_recolor_did) {
    const char *out = mgn_test_path("out.png"), *map = mgn_test_path("map.safetensors"),
               *directory = mgn_test_path("new/results");
    make_inputs();
    mgn_test_process process =
        mgn_test_command("recolor %s --like %s -o %s --save %s --device cpu -q --epochs 10", day, sunset, out, map);
    ck_assert_msg(process.code == 0, "%s", process.err);
    mgn_test_process_free(&process);
    process = mgn_test_command("apply %s %s %s -o %s --device cpu -q --json", map, day, sunset, directory);
    cJSON *object = json_of(process), *files = cJSON_GetObjectItem(object, "files");
    ck_assert_int_eq(cJSON_GetArraySize(files), 2);
    ck_assert_str_eq(text(cJSON_GetArrayItem(files, 0), "input"), day);
    ck_assert_str_eq(text(cJSON_GetArrayItem(files, 1), "output"), mgn_test_path("new/results/sunset.jpg"));
    ck_assert_double_eq(number(cJSON_GetArrayItem(files, 1), "width"), 160);
    double total = 0;
    for (int i = 0; i < 2; i++) total += number(cJSON_GetArrayItem(files, i), "seconds");
    ck_assert_double_eq_tol(number(object, "seconds"), total, 1e-9);
    cJSON_Delete(object);
    mgn_image *first = read_back(out), *second = read_back(mgn_test_path("new/results/day.png"));
    assert_same_pixels(first, second); /* the saved map is the learned one, to the last bit */
    mgn_image_destroy(first);
    mgn_image_destroy(second);
    /* again, into a directory that exists, with a slash and as a table */
    process = mgn_test_command("apply %s %s -o %s/ --device cpu -q", map, day, directory);
    ck_assert_msg(process.code == 0 && strstr(process.out, "new/results/day.png") && strstr(process.out, "200 x 130"),
                  "%s%s", process.out, process.err);
    mgn_test_process_free(&process);
}
END_TEST

/* An interruption during the work: exit code 1, one sentence, the old file as it was, nothing new. */
START_TEST(an_interruption_leaves_nothing) {
    static const char *const signals[] = {"INT", "TERM"};
    make_inputs();
    for (size_t i = 0; i < MGN_COUNT(signals); i++) {
        const char *out = mgn_test_path("out.png"), *map = mgn_test_path("never.safetensors");
        mgn_test_write_file(out, "old", 3);
        mgn_test_process process =
            mgn_test_shell("set -m; \"$MGN_BINARY\" recolor %s --like %s -o %s --save %s "
                           "--target gaussian --device cpu -q --epochs 1000000 & sleep 1.5; kill -%s $!; wait $!",
                           day, sunset, out, map, signals[i]);
        ck_assert_msg(process.code == 1, "exit code %d: %s", process.code, process.err);
        ck_assert_msg(strstr(process.err, "mgn: interrupted; nothing was written\n"), "%s", process.err);
        mgn_test_process_free(&process);
        size_t size;
        char *bytes = mgn_test_read_file(out, &size);
        ck_assert(size == 3 && memcmp(bytes, "old", 3) == 0);
        ck_assert(!exists(map));
        free(bytes);
    }
    mgn_test_process list = mgn_test_shell("ls -A %s", mgn_test_path(""));
    ck_assert_msg(!strstr(list.out, "tmp") && !strstr(list.out, "mgn-"), "left behind: %s", list.out);
    mgn_test_process_free(&list);
}
END_TEST

START_TEST(opencl_serves_the_commands) {
    const char *spec = mgn_test_opencl_spec();
    if (!spec) MGN_TEST_SKIP("no OpenCL device");
    const char *out = mgn_test_path("out.png"), *map = mgn_test_path("map.safetensors");
    make_inputs();
    mgn_test_process process = mgn_test_command(
        "recolor %s --like %s -o %s --save %s --device %s -q --json --epochs 30", day, sunset, out, map, spec);
    cJSON *object = json_of(process);
    ck_assert_str_eq(text(object, "device"), spec);
    ck_assert_double_lt(number(object, "w2_after"), number(object, "w2_before"));
    cJSON_Delete(object);
    process = mgn_test_command("apply %s %s -o %s --device cpu -q", map, day, mgn_test_path("cpu"));
    ck_assert_msg(process.code == 0, "%s", process.err);
    mgn_test_process_free(&process);
    mgn_image *a = read_back(out), *b = read_back(mgn_test_path("cpu/day.png"));
    for (size_t i = 0; i < samples(a); i++) /* a rounding may fall to the other side */
        ck_assert_int_le(abs((int)sample(a, i) - (int)sample(b, i)), 1);
    mgn_image_destroy(a);
    mgn_image_destroy(b);
}
END_TEST

/* The printed line is one that a shell, ffmpeg's graph and its filter's options all take apart as it is meant. */
START_TEST(the_line_for_films_takes_any_name) {
    static const char expected[] =
        "lut3d=file=it\\\\\\'\\'\'s \\[a\\] \"b\" c\\\\:d\\,e\\;f $x.cube:interp=tetrahedral,";
    make_inputs();
    mgn_test_process process =
        mgn_test_shell("cd %s && \"$MGN_BINARY\" recolor day.png --like sunset.jpg -o r.png -d cpu --size 9 "
                       "--lut 'it'\\''s [a] \"b\" c:d,e;f $x.cube'",
                       mgn_test_path(""));
    ck_assert_msg(process.code == 0, "%s", process.err);
    const char *line = strstr(process.err, "mgn: on a film: ffmpeg -i IN.mp4 -vf 'scale=");
    ck_assert_msg(line && strstr(line, expected), "not in the line: %s\n%s", expected, process.err);
    mgn_test_write_file(mgn_test_path("line.sh"), strstr(line, "ffmpeg"), strlen(strstr(line, "ffmpeg")));
    mgn_test_process_free(&process);
    process = mgn_test_shell("cd %s && \"$MGN_BINARY\" recolor day.png --like sunset.jpg -o r.png -d cpu --size 16 "
                             "--lut=-hald.png",
                             mgn_test_path(""));
    ck_assert_msg(strstr(process.err, "mgn: on a picture: convert IN.jpg './-hald.png' -hald-clut OUT.jpg\n"), "%s",
                  process.err);
    mgn_test_process_free(&process);
    process = mgn_test_shell("command -v ffmpeg");
    const bool there = process.code == 0;
    mgn_test_process_free(&process);
    if (!there) MGN_TEST_SKIP("no ffmpeg to try the line on");
    process = mgn_test_shell("cd %s && ffmpeg -v error -loop 1 -i day.png -t 0.2 -pix_fmt yuv420p IN.mp4 </dev/null && "
                             "sh line.sh </dev/null && test -s OUT.mp4",
                             mgn_test_path(""));
    ck_assert_msg(process.code == 0, "%s", process.err);
    mgn_test_process_free(&process);
}
END_TEST

int main(void) {
    mgn_test_opencl_spec();
    Suite *suite = suite_create("cli_recolor");
    TCase *commands = tcase_create("commands");
    tcase_add_test(commands, recolor_writes_all_and_says_what_it_did);
    tcase_add_test(commands, recolor_takes_the_palette_itself);
    tcase_add_test(commands, recolor_prints_a_table);
    tcase_add_test(commands, same_seed_same_file);
    tcase_add_test(commands, apply_repeats_what_recolor_did);
    tcase_add_test(commands, an_interruption_leaves_nothing);
    tcase_add_test(commands, opencl_serves_the_commands);
    tcase_add_test(commands, the_line_for_films_takes_any_name);
    suite_add_tcase(suite, commands);
    return mgn_test_main(suite);
}
