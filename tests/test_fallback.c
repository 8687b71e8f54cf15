/* Commands whose device fails: it cannot be opened, a kernel does not build, or it is lost in the middle. With --fallback cpu
 * each says so in one sentence and ends with what it makes with --device cpu, to the bit; without, it ends with one sentence
 * that names the option, exit code 1 and nothing left behind. The driver is the machine's own behind faulty_cl.c. */
#include "faulty_cl.h"
#include "harness.h"
#include "pictures.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "core/core.h"

static const char *spec;
static char folder[600];

#define COMPILER_SAYS "kernel.cl:12: error: simulated"

/* ---- commands ---- */

static const struct command {
    const char *label, *words, *file; /* `file`: what it writes besides the JSON object */
} commands[] = {
    {"apply", "apply map.safetensors x.npy -o made.npy", "made.npy"},
    {"apply to pictures", "apply colours.safetensors a.png b.png -o made", "made/b.png"},
    {"recolor", "recolor a.png --like b.png -o made.png --target gaussian --epochs 2", "made.png"},
    {"recolor by a palette", "recolor a.png --like b.png -o made.png --save made.safetensors", "made.png"},
    {"sinkhorn", "sinkhorn x.npy banana -n 60 -g made.npy", "made.npy"},
    {"gmm", "gmm x.npy -k 2 -o made.json", "made.json"},
    {"eval", "eval map.safetensors --data x.npy --target normal:2", NULL},
    {"sample", "sample map.safetensors 50 -o made.npy --density", "made.npy"},
    {"experiment", "experiment gaussian --epochs 1 --model cmgn --recipe published", NULL},
};

enum { COMMANDS = (int)MGN_COUNT(commands) };

/* Runs it in the folder with environment and options; of the JSON object stays what does not depend on device and time. */
static mgn_test_process run(const struct command *command, const char *environment, const char *options) {
    return mgn_test_shell("cd '%s' && rm -rf made* && %s \"$MGN_BINARY\" %s --json %s >out.json; code=$?; "
                          "grep -vE '\"(device|seconds|[a-z]*_s|[a-z]*_seconds)\"' out.json; exit $code",
                          folder, environment, command->words, options);
}

static void keep(const struct command *command) {
    if (!command->file) return;
    mgn_test_process process = mgn_test_shell("cd '%s' && mv '%s' kept", folder, command->file);
    ck_assert_int_eq(process.code, 0);
    mgn_test_process_free(&process);
}

static void assert_kept(const struct command *command, const char *trouble) {
    if (!command->file) return;
    mgn_test_process process = mgn_test_shell("cd '%s' && cmp '%s' kept", folder, command->file);
    ck_assert_msg(process.code == 0, "%s, %s: %s%s", command->label, trouble, process.out, process.err);
    mgn_test_process_free(&process);
}

static void make_files(void) {
    snprintf(folder, sizeof folder, "%s", mgn_test_path("work"));
    ck_assert_int_eq(mkdir(folder, 0700), 0);
    mgn_image *images[2] = {make_smooth(24, 16, 3), make_noise(16, 24, 3, 8, &(mgn_test_random){5})};
    for (int i = 0; i < 2; i++) {
        MGN_ASSERT_OK(mgn_image_write(images[i], mgn_test_within(folder, i ? "b.png" : "a.png"), NULL));
        mgn_image_destroy(images[i]);
    }
    mgn_test_process process = mgn_test_shell(
        "cd '%s' && f='fit -q -d cpu --epochs 2 --samples 100' && \"$MGN_BINARY\" $f -s banana -t normal:2 -o "
        "map.safetensors && \"$MGN_BINARY\" $f -s a.png -t normal:3 -o colours.safetensors && \"$MGN_BINARY\" sample "
        "-q -d "
        "cpu map.safetensors 100 -o x.npy",
        folder);
    ck_assert_msg(process.code == 0, "%s", process.err);
    mgn_test_process_free(&process);
}

/* ---- the troubles ---- */

static const struct trouble {
    const char *environment, *sentence, *end;
} troubles[] = {
    {"FAULTY_CL_FAIL=1+@clCreateContext", "creating an OpenCL context: CL_OUT_OF_HOST_MEMORY",
     "the cpu is taken instead\n"},
    {"FAULTY_CL_FAIL=1@clBuildProgram FAULTY_CL_LOG='\nnothing: 0 warnings\n" COMPILER_SAYS "\nmore'",
     "CL_BUILD_PROGRAM_FAILURE (-11): " COMPILER_SAYS, "the cpu starts again from the beginning\n"},
    {"FAULTY_CL_FAIL=1+:-2@clEnqueueReadBuffer",
     "CL_DEVICE_NOT_AVAILABLE (-2) on opencl:", "the cpu starts again from the beginning\n"},
};

START_TEST(the_cpu_takes_over) {
    if (!spec) MGN_TEST_SKIP("no OpenCL device");
    const struct command *command = &commands[_i];
    char options[160];
    mgn_test_process expected = run(command, "", "--device cpu -q");
    ck_assert_msg(expected.code == 0, "%s: %s", command->label, expected.err);
    keep(command);
    for (size_t i = 0; i < MGN_COUNT(troubles); i++) {
        const struct trouble *t = &troubles[i];
        snprintf(options, sizeof options, "--device %s --fallback cpu", spec);
        mgn_test_process process = run(command, t->environment, options);
        ck_assert_msg(process.code == 0 && strstr(process.err, t->sentence) && strstr(process.err, t->end),
                      "%s, %s: exit code %d: %s", command->label, t->environment, process.code, process.err);
        ck_assert_msg(strcmp(process.out, expected.out) == 0, "%s, %s: %s\nand on the cpu: %s", command->label,
                      t->environment, process.out, expected.out);
        assert_kept(command, t->environment);
        mgn_test_process_free(&process);
    }
    mgn_test_process_free(&expected);
}
END_TEST

START_TEST(without_the_option_one_sentence_names_it) {
    if (!spec) MGN_TEST_SKIP("no OpenCL device");
    const struct command *command = &commands[_i];
    char options[160];
    for (size_t i = 0; i < MGN_COUNT(troubles); i++) {
        const struct trouble *t = &troubles[i];
        snprintf(options, sizeof options, "--device %s -q", spec);
        mgn_test_process process = run(command, t->environment, options);
        const char *line_end = strchr(process.err, '\n');
        ck_assert_msg(process.code == 1 && strstr(process.err, t->sentence) && strstr(process.err, spec) &&
                          strstr(process.err, "with --fallback cpu the cpu takes over\n"),
                      "%s, %s: exit code %d: %s", command->label, t->environment, process.code, process.err);
        ck_assert_msg(line_end && !line_end[1] && !*process.out, "%s: %s%s", command->label, process.out, process.err);
        mgn_test_process left = mgn_test_shell("cd '%s' && ls -A | grep -vxE 'a.png|b.png|kept|x.npy|out.json|"
                                               "map.safetensors|colours.safetensors'; ls -A cache 2>/dev/null",
                                               folder);
        ck_assert_msg(!*left.out, "%s, %s leaves behind %s", command->label, t->environment, left.out);
        mgn_test_process_free(&left);
        mgn_test_process_free(&process);
    }
}
END_TEST

/* ---- compilers ---- */

/* Of the programs that a command builds each in turn does not: the sentence has device, kernels and the compiler's line. What
 * does not build is not in the cache, nor anything of it. */
START_TEST(each_program_may_not_build) {
    if (!spec) MGN_TEST_SKIP("no OpenCL device");
    static const char *const lines[] = {
        "fit -s x.npy -t normal:2 -o made --epochs 1 --loss sinkhorn --samples 60 -q",
        "apply map.safetensors x.npy -o made.npy -q",
        "recolor a.png --like b.png -o made.png --target sinkhorn --epochs 1 -q",
        "check --op softmin",
    };
    char expected[160];
    snprintf(expected, sizeof expected, "do not build on %s (", spec);
    int failed = 0;
    for (int n = 1; n <= 3; n++) {
        mgn_test_process process = mgn_test_shell(
            "cd '%s' && rm -rf made* && export POCL_CACHE_DIR=${POCL_CACHE_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/pocl} "
            "XDG_CACHE_HOME=cache MGN_CACHE=all FAULTY_CL_FAIL=%d+@clBuildProgram FAULTY_CL_LOG='" COMPILER_SAYS "'; "
            "\"$MGN_BINARY\" %s --device %s; code=$?; ls -A | grep made; ls -A cache/mgn | grep -v '[.]clbin$'; n=$(ls "
            "cache/mgn 2>/dev/null | wc -l); rm -rf cache; [ $n -lt %d ] || exit 9; exit $code",
            folder, n, lines[_i], spec, n);
        const char *sentence = _i == 3 ? process.out : process.err;
        failed += process.code == 1;
        ck_assert_msg(process.code == 0 || (process.code == 1 && strstr(sentence, expected) &&
                                            strstr(sentence, "the OpenCL kernels \"") &&
                                            strstr(sentence, "CL_BUILD_PROGRAM_FAILURE (-11): " COMPILER_SAYS)),
                      "%s, program %d: exit code %d: %s%s", lines[_i], n, process.code, process.out, process.err);
        ck_assert_msg(_i == 3 || process.code == 0 || !*process.out, "%s leaves %s", lines[_i], process.out);
        mgn_test_process_free(&process);
    }
    ck_assert_int_gt(failed, 0);
}
END_TEST

/* ---- devices that are not there ---- */

START_TEST(a_device_that_is_not_there) {
    static const struct {
        const char *words;
        int code;
        const char *said;
    } rows[] = {
        {"sample map.safetensors 9 -o made.npy -d opencl:77:0 --fallback cpu", 0,
         "there is no device 'opencl:77:0' here; `mgn devices` lists the "},
        {"sample map.safetensors 9 -o made.npy -d opencl:77:0 --fallback cpu", 0, "; the cpu is taken instead\n"},
        {"sample map.safetensors 9 -o made.npy -d opencl:77:0", 2, "; with --fallback cpu the cpu takes over\n"},
        {"sample map.safetensors 9 -o made.npy -d opencl:x --fallback cpu", 2, "'opencl:x' found\n"},
        {"sample map.safetensors 9 -o made.npy -d opncl --fallback cpu", 2, "'opncl' found\n"},
        {"sample map.safetensors 9 -o made.npy -d cpu --fallback cpu", 0, ""},
        {"w2 x.npy x.npy --sliced 3 --fallback cpu", 0, ""},
        {"sample map.safetensors 9 -o made.npy --fallback gpu", 2, "--fallback: 'gpu' is not one of cpu"},
        {"check --fallback cpu", 2, "there is no option --fallback"},
        {"bench --fallback cpu", 2, "there is no option --fallback"},
        {"tune --fallback cpu", 2, "there is no option --fallback"},
        {"devices --fallback cpu", 2, "there is no option --fallback"},
    };
    for (size_t i = 0; i < MGN_COUNT(rows); i++) {
        mgn_test_process process = mgn_test_shell("cd '%s' && \"$MGN_BINARY\" %s", folder, rows[i].words);
        ck_assert_msg(process.code == rows[i].code && strstr(process.err, rows[i].said), "%s: exit code %d: %s",
                      rows[i].words, process.code, process.err);
        ck_assert_msg(*rows[i].said || !*process.err, "%s: %s", rows[i].words, process.err);
        mgn_test_process_free(&process);
    }
}
END_TEST

/* ---- checkpoints ---- */

/* The device is lost after `reads`; the first training's file is of another one, from before, or there is none. */
static mgn_test_process lose(int reads, bool has_other) {
    return mgn_test_shell(
        "cd '%s' && rm -rf made* states logs && mkdir states logs && \"$MGN_BINARY\" fit -q -d cpu -s x.npy -t "
        "normal:2 "
        "--epochs 1 --width 3 --checkpoint states/%s.safetensors -o made0 >/dev/null && "
        "FAULTY_CL_FAIL=%d+:-2@clEnqueueReadBuffer \"$MGN_BINARY\" fit -s x.npy -t normal:2 --restarts 2 --epochs 40 "
        "--checkpoint states/ --checkpoint-every 1 --log logs/ -o made --device %s --fallback cpu >/dev/null && cat "
        "logs/start-1.csv logs/start-2.csv | wc -l && rm -rf made* states logs",
        folder, has_other ? "start-1" : "other", reads, spec);
}

START_TEST(what_was_learned_is_kept) {
    if (!spec) MGN_TEST_SKIP("no OpenCL device");
    for (int is_early = 0; is_early < 2; is_early++) {
        mgn_test_process process = lose(is_early ? 1 : 50, is_early);
        const char *sentence = is_early ? "; the cpu starts again from the beginning\n"
                                        : "; the cpu goes on from the checkpoint states/start-1.safetensors\n";
        ck_assert_msg(process.code == 0 && strstr(process.err, sentence), "%s", process.err);
        ck_assert_str_eq(process.out, "82\n"); /* a title and a line an epoch */
        mgn_test_process_free(&process);
    }
}
END_TEST

int main(void) {
    if (!getenv("MGN_FAULTY_CL"))
        return mgn_test_skip_program("MGN_FAULTY_CL does not name the driver; run it by meson test");
    setenv("MGN_CACHE", "off", 1); /* binaries that are kept are built too */
    spec = mgn_test_faulty_spec();
    Suite *suite = suite_create("fallback");
    TCase *all = tcase_create("all");
    tcase_set_timeout(all, 120);
    tcase_add_unchecked_fixture(all, make_files, NULL);
    tcase_add_loop_test(all, the_cpu_takes_over, 0, COMMANDS);
    tcase_add_loop_test(all, without_the_option_one_sentence_names_it, 0, COMMANDS);
    tcase_add_loop_test(all, each_program_may_not_build, 0, 4);
    tcase_add_test(all, a_device_that_is_not_there);
    tcase_add_test(all, what_was_learned_is_kept);
    suite_add_tcase(suite, all);
    return mgn_test_main(suite);
}
