/* Bad input to `mgn recolor` and `mgn apply`: each row of the table is one command line, its exit code, and words of
 * its sentence. Whatever went wrong, there is exactly one sentence, and the folder is as it was before. */
#include "pictures.h"

#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include <mgn/data.h>
#include <mgn/model.h>

#include "core/core.h"

typedef struct row {
    const char *before;    /* shell words in front of the command */
    const char *arguments; /* in the folder of the inputs */
    int code;              /* 2: the user's mistake; 1: any other failure */
    const char *words;     /* all of these, separated by bars, are in the sentence */
} row;

#define RECOLOR "recolor day.png --like sunset.jpg -o out.png -q --device cpu "
#define LIKE " --like sunset.jpg -o out.png -q --device cpu"
#define ONTO "recolor day.png -o out.png -q --device cpu --like "
#define APPLY(map) "apply " map " day.png -o results -q --device cpu"

static const row rows[] = {
    /* the command line */
    {"", "recolor", 2, "mgn recolor needs 1 argument and was given 0"},
    {"", "recolor day.png", 2, "--like is missing"},
    {"", "recolor day.png --like sunset.jpg", 2, "-o is missing"},
    {"", RECOLOR "extra.png", 2, "the results of 2 pictures go to a folder"},
    {"", RECOLOR "--model icnn", 2, "--model: 'icnn' is not one of cmgn|mmgn"},
    {"", RECOLOR "--model cmgm", 2, "did you mean 'cmgn'?"},
    {"", RECOLOR "--epoch 3x", 2, "--epochs: '3x' is not a whole number"},
    {"", RECOLOR "--epochs 0", 2, "--epochs: '0' is not a whole number from 1"},
    {"", RECOLOR "--epochs -5", 2, "--epochs: '-5'"},
    {"", RECOLOR "--quality 101", 2, "--quality: '101' is not a whole number from 1 to 100"},
    {"", RECOLOR "--lr 3", 2, "there is no option --lr"},
    {"", RECOLOR "--save", 2, "--save needs a value: --save MAP"},
    {"", RECOLOR "--save ''", 2, "--save needs MAP"},
    {"", "recolor day.png --like sunset.jpg -o out.png -q --device cuda", 2, "cuda"},
    {"", "recolor day.png --like sunset.jpg -o out.png -q --device opencl:77:0", 2, "opencl:77:0"},
    {"MGN_DEVICE=tpu", "recolor day.png --like sunset.jpg -o out.png -q", 2, "MGN_DEVICE|tpu"},
    {"MGN_THREADS=-1", RECOLOR, 2, "MGN_THREADS"},
    {"", "aply good.map day.png -o results", 2, "did you mean 'apply'?"},
    {"", "apply good.map -o results", 2, "mgn apply needs 2 arguments and was given 1"},
    {"", "apply good.map day.png", 2, "-o is missing"},
    /* pictures that cannot be read */
    {"", "recolor none.png" LIKE, 1, "none.png does not exist"},
    {"", ONTO "none.jpg", 1, "none.jpg does not exist"},
    {"", "recolor empty.png" LIKE, 1, "empty.png is empty"},
    {"", ONTO "empty.png", 1, "empty.png is empty"},
    {"", "recolor dir.png" LIKE, 1, "dir.png holds no picture"},
    {"", "recolor cut.png" LIKE, 1, "cut.png"},
    {"", "recolor cut.jpg" LIKE, 1, "cut.jpg"},
    {"", ONTO "cut.jpg", 1, "cut.jpg"},
    {"", "recolor text.png" LIKE, 1, "text.png is not a picture that can be read"},
    {"", "recolor gif.png" LIKE, 1, "gif.png is a GIF file"},
    {"", "recolor good.map" LIKE, 1, "good.map is not a picture"},
    {"", "recolor huge.png" LIKE, 1, "huge.png|1000000 x 1000000"},
    {"", "recolor huge.jpg" LIKE, 1, "huge.jpg|65000 x 65000"},
    {"", ONTO "huge.png", 1, "huge.png|at most"},
    /* pictures without a palette */
    {"", ONTO "clear.png", 2, "fully transparent"},
    {"", "recolor clear.png" LIKE, 2, "fully transparent"},
    /* outputs that cannot be written */
    {"", "recolor day.png --like sunset.jpg -o nowhere/out.png -q", 1, "nowhere"},
    {"", "recolor day.png --like sunset.jpg -o dir.png -q", 1, "dir.png is a directory"},
    {"", "recolor day.png same/day.png --like sunset.jpg -o results/ -q", 2, "have the same name"},
    {"", RECOLOR "--lut table.txt", 2, "table.txt: a table of colours is a .cube file"},
    {"", RECOLOR "--lut table.png --size 33", 2, "a HaldCLUT has the square of its level a side"},
    {"", RECOLOR "--strength 1.5", 2, "--strength"},
    {"", RECOLOR "--space lab", 2, "--space: 'lab' is not one of srgb|linear|oklab"},
    {"", RECOLOR "--model cmgn", 2, "--model goes with the targets"},
    {"", RECOLOR "--dry-run", 2, "--dry-run writes nothing"},
    {"", RECOLOR "--mask sunset.jpg", 2, "sunset.jpg: a mask is a picture without transparency of the source's size"},
    {"", "recolor day.png day.png --like sunset.jpg -o results -q --each --save m", 2, "--each learns 2 maps"},
    {"", "recolor day.png --like sunset.jpg -o text.png/out.png -q", 1, "text.png/out.png"},
    {"", "recolor day.png --like sunset.jpg -o /sys/out.png -q", 1, "/sys/out.png"},
    {"", "recolor day.png --like sunset.jpg -o out.gif -q", 2, "out.gif|.jpg, .jpeg or .png, not .gif"},
    {"", "recolor day.png --like sunset.jpg -o out -q", 2, "must end in .jpg, .jpeg or .png"},
    {"", RECOLOR "--sheet sheet.webp", 2, "sheet.webp"},
    {"", RECOLOR "--sheet nowhere/sheet.png", 1, "nowhere"},
    {"", RECOLOR "--save nowhere/map", 1, "nowhere"},
    {"", RECOLOR "--save dir.png", 1, "dir.png is a directory"},
    {"", "recolor day.png --like sunset.jpg -o day.png -q", 2, "day.png would be written over, and it is an input"},
    {"", "recolor day.png --like sunset.jpg -o ./sunset.jpg -q", 2, "it is an input"},
    {"", "recolor day.png --like sunset.jpg -o link.png -q", 2, "link.png would be written over"},
    {"", RECOLOR "--save sunset.jpg", 2, "sunset.jpg would be written over"},
    {"", RECOLOR "--sheet out.png", 2, "out.png is named as two different outputs"},
    {"", RECOLOR "--sheet ./out.png", 2, "out.png is named as two different outputs"},
    {"", "recolor day.png --like sunset.jpg -o full.png -q --device cpu --epochs 1", 1,
     "full.png cannot be written|No space left"},
    {"", RECOLOR "--epochs 1 --save full.map", 1, "full.map cannot be written|No space left"},
    {"", RECOLOR "--epochs 1 --sheet full.png", 1, "full.png cannot be written|No space left"},
    {"trap '' XFSZ; ulimit -f 1;", RECOLOR "--epochs 1", 1, "out.png cannot be written|File too large"},
    {"ulimit -f 1;", RECOLOR "--epochs 1", 1, "out.png cannot be written|File too large"},
    {"ulimit -f 4;", "recolor day.png --like sunset.jpg -o old.png -q --device cpu --epochs 1 --sheet sheet.png", 1,
     "sheet.png cannot be written|File too large"},
    /* maps */
    {"", APPLY("none.map"), 1, "none.map does not exist"},
    {"", APPLY("empty.png"), 1, "empty.png is empty"},
    {"", APPLY("text.png"), 1, "text.png"},
    {"", APPLY("day.png"), 1, "day.png"},
    {"", APPLY("dir.png"), 1, "dir.png is a directory"},
    {"", APPLY("cut.map"), 1, "cut.map"},
    {"", APPLY("nan.map"), 1, "nan.map|bL"},
    {"", APPLY("two.map"), 2, "two.map is a map of 2 dimensions"},
    {"", APPLY("format.map"), 1, "format.map|'mgn-map-1' was expected"},
    {"", APPLY("kind.map"), 1, "kind.map|'perceptron' was found"},
    {"", APPLY("shapes.map"), 1, "shapes.map|does not have the shape"},
    {"", APPLY("wide.map"), 1, "wide.map|does not have the shape that the metadata (d=16000"},
    {"", APPLY("high.map"), 1, "high.map|h=9223372036854775807"},
    {"", APPLY("deep.map"), 1, "deep.map|layers"},
    {"", APPLY("missing.map"), 1, "missing.map|the tensor 'V' is missing"},
    {"", APPLY("infinite.map"), 1, "gives"},
    /* pictures to apply a map to */
    {"", "apply good.map none.png -o results -q", 1, "none.png does not exist"},
    {"", "apply good.map day.png same/day.png -o results -q", 2, "have the same name|same/day.png"},
    {"", "apply good.map day.png day.png -o results -q", 2, "have the same name"},
    {"", "apply good.map day.png -o . -q", 2, "day.png would be written over"},
    {"", "apply good.map same/day.png -o same/ -q", 2, "would be written over"},
    {"", "apply good.map day.png -o text.png -q --device cpu", 1, "text.png"},
    {"", "apply good.map day.png -o text.png/new -q --device cpu", 1, "text.png/new"},
    {"", "apply good.map day.png -o /sys/new -q --device cpu", 1, "/sys/new"},
    {"", "apply good.map day.png text.txt -o results -q", 2, "text.txt|not .txt"},
    {"", "apply good.map cut.png day.png -o results -q --device cpu", 1,
     "cut.png|pictures written before that: 0 of 2"},
    {"", "apply good.map text.png -o results -q --device cpu", 1, "text.png is not a picture"},
    {"", "apply good.map day.png -o results -q --device abacus", 2, "abacus"},
    {"", "apply good.map day.png -o results -q --quality 0", 2, "--quality: '0'"},
};

static const row opencl_rows[] = {
    {"MGN_CL_OPTIONS=-not-an-option", "recolor day.png --like sunset.jpg -o out.png -q --epochs 1 --device opencl", 1,
     "do not build"},
    {"MGN_CL_OPTIONS=-bogus", "apply good.map day.png -o results -q --device opencl", 1, "do not build"},
};

/* ---- the inputs ---- */

static char folder[512];

static const char *in_folder(const char *name) {
    static char paths[4][600];
    static unsigned next;
    char *path = paths[next++ % 4];
    snprintf(path, sizeof paths[0], "%s/%s", folder, name);
    return path;
}

static void copy_cut(const char *from, const char *to, double share) {
    char copy[600];
    size_t size;
    snprintf(copy, sizeof copy, "%s", in_folder(to));
    char *bytes = mgn_test_read_file(in_folder(from), &size);
    mgn_test_write_file(copy, bytes, (size_t)((double)size * share));
    free(bytes);
}

static void write_picture(const char *name, mgn_image *image) {
    MGN_ASSERT_OK(mgn_image_write(image, in_folder(name), NULL));
    mgn_image_destroy(image);
}

static uint32_t crc(const unsigned char *bytes, size_t count) {
    uint32_t value = 0xffffffff;
    for (size_t i = 0; i < count; i++) {
        value ^= bytes[i];
        for (int k = 0; k < 8; k++) value = value >> 1 ^ (value & 1 ? 0xedb88320 : 0);
    }
    return ~value;
}

/* A PNG whose header is valid and claims a million by a million pixels. */
static void write_huge_png(void) {
    unsigned char bytes[33] = "\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\x0f\x42\x40\0\x0f\x42\x40\x08\x02\0\0\0";
    const uint32_t sum = crc(bytes + 12, 17);
    for (int i = 0; i < 4; i++) bytes[29 + i] = (unsigned char)(sum >> (24 - 8 * i));
    mgn_test_write_file(in_folder("huge.png"), bytes, sizeof bytes);
}

/* A JPEG whose frame header claims 65000 by 65000 pixels. */
static void write_huge_jpeg(void) {
    size_t size;
    char *bytes = mgn_test_read_file(in_folder("sunset.jpg"), &size);
    for (size_t i = 0; i + 9 < size; i++)
        if ((unsigned char)bytes[i] == 0xff && (unsigned char)bytes[i + 1] == 0xc0) {
            memcpy(bytes + i + 5, "\xfd\xe8\xfd\xe8", 4);
            break;
        }
    mgn_test_write_file(in_folder("huge.jpg"), bytes, size);
    free(bytes);
}

static void make_pictures(void) {
    mgn_test_random random = MGN_TEST_RANDOM();
    static const unsigned brown[3] = {120, 80, 20};
    write_picture("day.png", make_noise(24, 16, 3, 8, &random));
    write_picture("same/day.png", make_noise(9, 9, 3, 8, &random));
    write_picture("sunset.jpg", make_smooth(64, 48, 3));
    write_picture("clear.png", make(6, 6, 4, 8));
    write_picture("pixel.png", make(1, 1, 3, 8));
    mgn_image *flat = make(5, 5, 3, 8);
    for (size_t i = 0; i < samples(flat); i++) set(flat, i, brown[i % 3]);
    write_picture("flat.png", flat);
    copy_cut("day.png", "cut.png", 0.5);
    copy_cut("sunset.jpg", "cut.jpg", 0.6);
    write_huge_png();
    write_huge_jpeg();
    mgn_test_write_file(in_folder("empty.png"), "", 0);
    mgn_test_write_file(in_folder("text.png"), "not a picture at all\n", 21);
    mgn_test_write_file(in_folder("text.txt"), "text\n", 5);
    mgn_test_write_file(in_folder("gif.png"), "GIF89a\x10\0\x10\0", 10);
    mgn_test_write_file(in_folder("old.png"), "old", 3);
}

static void write_map(const char *name, int64_t d, double factor) {
    const mgn_model_config config = {.kind = "cmgn", .d = d, .h = 4, .layers = 2};
    mgn_model *model = NULL;
    MGN_ASSERT_OK(mgn_model_create(&config, 1, &model));
    for (int64_t i = 0; i < mgn_model_parameter_count(model); i++) mgn_model_values(model)[i] *= factor;
    MGN_ASSERT_OK(mgn_model_save(model, in_folder(name)));
    mgn_model_destroy(model);
}

/* good.map with one entry of its metadata changed, or (key "-") one tensor renamed. */
static void write_lie(const char *name, const char *key, const char *value) {
    mgn_safetensors file = {0};
    MGN_ASSERT_OK(mgn_safetensors_read(in_folder("good.map"), &file));
    if (*key != '-') MGN_ASSERT_OK(mgn_safetensors_set(&file, key, value));
    for (size_t i = 0; *key == '-' && i < file.tensor_count; i++)
        if (strcmp(file.tensors[i].name, value) == 0) file.tensors[i].name[0] = '?';
    MGN_ASSERT_OK(mgn_safetensors_write(in_folder(name), &file));
    mgn_safetensors_free(&file);
}

static void make_maps(void) {
    static const unsigned char nan_bits[4] = {0, 0, 0xc0, 0x7f};
    write_map("good.map", 3, 0.7);
    write_map("two.map", 2, 1);
    write_map("infinite.map", 3, 1e30);
    copy_cut("good.map", "cut.map", 0.8);
    write_lie("format.map", "format", "mgn-map-9");
    write_lie("kind.map", "model", "perceptron");
    write_lie("shapes.map", "h", "3");
    write_lie("wide.map", "d", "16000");
    write_lie("high.map", "h", "99999999999999999999");
    write_lie("deep.map", "layers", "100000");
    write_lie("missing.map", "-", "V");
    size_t size;
    char *bytes = mgn_test_read_file(in_folder("good.map"), &size);
    memcpy(bytes + size - 4, nan_bits, 4);
    mgn_test_write_file(in_folder("nan.map"), bytes, size);
    free(bytes);
}

static void set_up(void) {
    snprintf(folder, sizeof folder, "%s", mgn_test_path("inputs"));
    ck_assert_int_eq(mkdir(folder, 0700), 0);
    ck_assert_int_eq(mkdir(in_folder("dir.png"), 0700), 0);
    ck_assert_int_eq(mkdir(in_folder("same"), 0700), 0);
    make_pictures();
    make_maps();
    ck_assert_int_eq(symlink("/dev/full", in_folder("full.png")), 0);
    ck_assert_int_eq(symlink("/dev/full", in_folder("full.map")), 0);
    ck_assert_int_eq(symlink("day.png", in_folder("link.png")), 0);
}

/* ---- the check ---- */

/* Directories, and names, sizes and times of all other things in the folder. */
static char *state_of_folder(void) {
    mgn_test_process process =
        mgn_test_shell("cd %s && { find . -type d; find . ! -type d -printf '%%p %%s %%T@ %%l\\n'; } | sort", folder);
    ck_assert_int_eq(process.code, 0);
    char *state = strdup(process.out);
    mgn_test_process_free(&process);
    return state;
}

static void check_words(const row *r, const char *sentence) {
    char word[128];
    for (const char *w = r->words; *w; w += *w == '|') {
        const size_t length = strcspn(w, "|");
        snprintf(word, sizeof word, "%.*s", (int)length, w);
        ck_assert_msg(strstr(sentence, word), "mgn %s: '%s' is not in: %s", r->arguments, word, sentence);
        w += length;
    }
}

static void check_row(const row *r) {
    char *before = state_of_folder();
    mgn_test_process process = mgn_test_shell("cd %s && %s \"$MGN_BINARY\" %s", folder, r->before, r->arguments);
    ck_assert_msg(process.code == r->code, "%s mgn %s: exit code %d, not %d: %s", r->before, r->arguments, process.code,
                  r->code, process.err);
    check_words(r, process.err);
    const char *end = strchr(process.err, '\n');
    ck_assert_msg(strncmp(process.err, "mgn: ", 5) == 0 && end && !end[1], "mgn %s: not one line: %s", r->arguments,
                  process.err);
    ck_assert_msg(!*process.out, "mgn %s: standard output has: %s", r->arguments, process.out);
    mgn_test_process_free(&process);
    char *after = state_of_folder();
    ck_assert_msg(strcmp(before, after) == 0, "mgn %s: the folder was\n%sand is\n%s", r->arguments, before, after);
    free(before);
    free(after);
}

START_TEST(one_sentence_and_nothing_written) { check_row(&rows[_i]); }
END_TEST

START_TEST(opencl_failures_too) {
    if (!mgn_test_opencl_spec()) MGN_TEST_SKIP("no OpenCL device");
    check_row(&opencl_rows[_i]);
}
END_TEST

START_TEST(results_before_a_failure_stay_and_are_counted) {
    mgn_test_process process =
        mgn_test_shell("cd %s && \"$MGN_BINARY\" apply good.map day.png cut.png -o partial -q --device cpu", folder);
    ck_assert_int_eq(process.code, 1);
    ck_assert_msg(strstr(process.err, "cut.png") && strstr(process.err, "pictures written before that: 1 of 2"), "%s",
                  process.err);
    mgn_test_process_free(&process);
    mgn_image *result = read_back(in_folder("partial/day.png"));
    ck_assert_uint_eq(result->width, 24);
    mgn_image_destroy(result);
    process = mgn_test_shell("cd %s && ls -A partial && rm -r partial", folder);
    ck_assert_str_eq(process.out, "day.png\n");
    mgn_test_process_free(&process);
}
END_TEST

int main(void) {
    mgn_test_opencl_spec();
    Suite *suite = suite_create("cli_bad");
    TCase *bad = tcase_create("bad input");
    tcase_add_unchecked_fixture(bad, set_up, NULL);
    tcase_add_loop_test(bad, one_sentence_and_nothing_written, 0, (int)MGN_COUNT(rows));
    tcase_add_loop_test(bad, opencl_failures_too, 0, (int)MGN_COUNT(opencl_rows));
    tcase_add_test(bad, results_before_a_failure_stay_and_are_counted);
    suite_add_tcase(suite, bad);
    return mgn_test_main(suite);
}
