/* Signals and standard streams: interrupted system calls are taken up again, and what cannot be printed is said.
 *
 * The storm: SIGALRM every 200 microseconds to a handler without SA_RESTART, which makes read(), write(), open(), poll() and
 * waitpid() fail with EINTR wherever they wait; the other ends of the pipes are slow processes, so that there is waiting.
 * test_kill sends signals to runs of the command. */
#include "pictures.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>

#include "core/core.h"
#include "core/file.h"
#include "plot/gnuplot.h"

static volatile sig_atomic_t alarms;

static void on_alarm(int number) {
    (void)number;
    alarms = alarms + 1;
}

static void set_timer(long microseconds) {
    const struct itimerval every = {{0, microseconds}, {0, microseconds}};
    ck_assert_int_eq(setitimer(ITIMER_REAL, &every, NULL), 0);
}

static void start_storm(void) {
    const struct sigaction action = {.sa_handler = on_alarm};
    sigaction(SIGALRM, &action, NULL);
    alarms = 0;
    set_timer(200);
}

static void end_storm(void) {
    set_timer(0);
    ck_assert_msg(alarms > 0, "no signal came");
}

/* In the background: its own shell, which outlives the call. */
static void start_beside(const char *format, const char *path, const char *other) {
    char command[2048];
    snprintf(command, sizeof command, format, path, other);
    ck_assert_int_eq(system(command), 0);
}

enum { LONG = 300000 }; /* bytes: more than a pipe holds */

static char *make_text(void) {
    char *text = malloc(LONG + 1);
    ck_assert_ptr_nonnull(text);
    for (int i = 0; i < LONG; i++) text[i] = (char)('a' + i % 23);
    text[LONG] = 0;
    return text;
}

START_TEST(reading_goes_on) {
    const char *source = mgn_test_path("source"), *pipe = mgn_test_path("in");
    char *text = make_text();
    mgn_test_write_file(source, text, LONG);
    ck_assert_int_eq(mkfifo(pipe, 0600), 0);
    start_beside("{ sleep 0.1; head -c 100000 '%2$s'; sleep 0.1; tail -c +100001 '%2$s'; } >'%1$s' 2>/dev/null &", pipe,
                 source);
    unsigned char *bytes = NULL;
    size_t size = 0;
    start_storm();
    const mgn_status status = mgn_file_read(pipe, 1 << 20, &bytes, &size);
    end_storm();
    MGN_ASSERT_OK(status);
    ck_assert_uint_eq(size, LONG);
    ck_assert_mem_eq(bytes, text, LONG);
    mgn_free(bytes);
    free(text);
}
END_TEST

START_TEST(writing_goes_on) {
    const char *pipe = mgn_test_path("out"), *copy = mgn_test_path("copy");
    char *text = make_text();
    ck_assert_int_eq(mkfifo(pipe, 0600), 0);
    start_beside("{ sleep 0.1; { sleep 0.1; cat; } <'%s' >'%2$s.part'; mv '%2$s.part' '%2$s'; } &", pipe, copy);
    mgn_output_file *output = NULL;
    start_storm();
    mgn_status status = mgn_output_open(pipe, &output);
    if (status == MGN_OK) status = mgn_output_write(output, text, LONG);
    if (status == MGN_OK) status = mgn_output_commit(output);
    end_storm();
    MGN_ASSERT_OK(status);
    while (access(copy, F_OK) != 0) usleep(1000);
    size_t size = 0;
    char *found = mgn_test_read_file(copy, &size);
    ck_assert_uint_eq(size, LONG);
    ck_assert_mem_eq(found, text, LONG);
    free(found);
    free(text);
}
END_TEST

START_TEST(gnuplot_is_waited_for) {
    static const char script[] = "#!/bin/sh\nsleep 0.1\ncat\nsleep 0.1\necho end\nexec >&-\nsleep 0.1\n";
    const char *bin = mgn_test_path("bin"), *fake = mgn_test_within(bin, "gnuplot");
    MGN_ASSERT_OK(mgn_make_directory(bin));
    mgn_test_write_file(fake, script, strlen(script));
    ck_assert_int_eq(chmod(fake, 0755), 0);
    char path[8192], *text = make_text();
    snprintf(path, sizeof path, "%s:%s", bin, getenv("PATH"));
    setenv("PATH", path, 1);
    unsigned char *output = NULL;
    size_t size = 0;
    start_storm();
    const mgn_status status = mgn_gnuplot(&(mgn_gnuplot_run){text, LONG, 20}, &output, &size);
    end_storm();
    MGN_ASSERT_OK(status);
    ck_assert_uint_eq(size, LONG + 4);
    ck_assert_mem_eq(output, text, LONG);
    mgn_free(output);
    free(text);
}
END_TEST

/* ---- what cannot be printed ---- */

/* Each subcommand, printing JSON; within a folder that has a map, rows and a picture. */
static const char *const commands[] = {
    "devices --json",
    "fit -s banana -t normal:2 --samples 50 --epochs 1 -o m2.safetensors --json",
    "sample m.safetensors 20 -o x2.npy --json",
    "apply m.safetensors x.npy -o y.npy --json",
    "eval m.safetensors --data x.npy --json",
    "gmm x.npy -k 1..2 -o g.json --json",
    "sinkhorn x.npy x.npy --json",
    "w2 x.npy x.npy --json",
    "check --op neg --json",
    "bench --seconds 0.001 --filter 'op neg' --json",
    "recolor day.png --like evening.png --target gaussian -o r.png --json",
    "experiment --json",
    "--help",
    "--version",
};

static const char *const streams[] = {">&-", ">/dev/full", "<&- >&- 2>err"};

static char folder[512];

static void make_inputs(void) {
    snprintf(folder, sizeof folder, "%s", mgn_test_path("inputs"));
    MGN_ASSERT_OK(mgn_make_directory(folder));
    mgn_test_process process = mgn_test_shell("cd '%s' && \"$MGN_BINARY\" fit -q -d cpu -s banana -t normal:2 "
                                              "--samples 50 --epochs 1 -o m.safetensors >/dev/null && "
                                              "\"$MGN_BINARY\" sample -q -d cpu m.safetensors 20 -o x.npy >/dev/null",
                                              folder);
    ck_assert_msg(process.code == 0, "%s", process.err);
    mgn_test_process_free(&process);
    mgn_test_random random = MGN_TEST_RANDOM();
    static const char *const names[] = {"day.png", "evening.png"};
    for (int i = 0; i < 2; i++) {
        mgn_image *image = make_noise(16, 16, 3, 8, &random);
        MGN_ASSERT_OK(mgn_image_write(image, mgn_test_within(folder, names[i]), NULL));
        mgn_image_destroy(image);
    }
}

START_TEST(what_cannot_be_printed_is_said) {
    for (size_t i = 0; i < MGN_COUNT(streams); i++) {
        const bool is_option = commands[_i][0] == '-';
        mgn_test_process process = mgn_test_shell(
            "cd '%s' && \"$MGN_BINARY\" %s %s %s; code=$?; [ ! -e err ] || { cat err >&2; rm err; }; exit $code",
            folder, commands[_i], is_option ? "" : "-q -d cpu", streams[i]);
        const char *sentence = "mgn: standard output could not be written: ";
        ck_assert_msg(process.code == 1, "%s %s: exit code %d: %s", commands[_i], streams[i], process.code,
                      process.err);
        ck_assert_msg(strncmp(process.err, sentence, strlen(sentence)) == 0 &&
                          strchr(process.err, '\n') == process.err + strlen(process.err) - 1,
                      "%s %s: one sentence was expected: %s", commands[_i], streams[i], process.err);
        mgn_test_process_free(&process);
    }
}
END_TEST

/* A log that is open as long as the run takes the place of no closed stream. */
START_TEST(closed_streams_are_no_files) {
    mgn_test_process process = mgn_test_shell(
        "cd '%s' && run='fit -d cpu -s banana -t normal:2 --samples 50 --epochs 3 --json -o m3.safetensors'; "
        "\"$MGN_BINARY\" $run --log open.csv >/dev/null && \"$MGN_BINARY\" $run --log closed.csv <&- >&- 2>&-; "
        "[ $? = 1 ] || exit 2; for name in open closed; do cut -d, -f1-6 $name.csv >$name.cut; done; cmp open.cut "
        "closed.cut",
        folder);
    ck_assert_msg(process.code == 0, "%d: %s%s", process.code, process.out, process.err);
    mgn_test_process_free(&process);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("signals");
    TCase *storm = tcase_create("storm"), *printing = tcase_create("printing");
    tcase_set_timeout(storm, 60);
    tcase_add_test(storm, reading_goes_on);
    tcase_add_test(storm, writing_goes_on);
    tcase_add_test(storm, gnuplot_is_waited_for);
    tcase_set_timeout(printing, 60);
    tcase_add_unchecked_fixture(printing, make_inputs, NULL);
    tcase_add_loop_test(printing, what_cannot_be_printed_is_said, 0, (int)MGN_COUNT(commands));
    tcase_add_test(printing, closed_streams_are_no_files);
    suite_add_tcase(suite, storm);
    suite_add_tcase(suite, printing);
    return mgn_test_main(suite);
}
