/* `mgn fit` ended by signals at random instants, on the CPU and on OpenCL: the checkpoint always loads, and the run that goes
 * on from the last one ends with the map and the curve of a run that nothing disturbed. A signal that asks for an end leaves
 * nothing half written besides; one that stops and continues changes nothing. MGN_KILLS=100 sends as many of each. */
#include "harness.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <mgn/data.h>

#include "core/file.h"

extern char **environ;

/* Which signal, how often, and for how many epochs; `from` and `to`: when, as shares of a run's time, of which starting takes
 * most on OpenCL. */
static const struct ending {
    int signal;
    const char *backend, *epochs;
    int times;
    double from, to;
} endings[] = {
    {SIGKILL, "cpu", "400", 20, 0, 0.3},   {SIGTERM, "cpu", "400", 10, 0, 0.3},   {SIGINT, "cpu", "400", 10, 0, 0.3},
    {SIGKILL, "opencl", "100", 4, 0.3, 1}, {SIGTERM, "opencl", "100", 4, 0.3, 1},
};

static const char *opencl;

/* Writes to <name>, <name>.state and <name>.csv, and complaints to <name>.err. */
static pid_t start(const struct ending *e, const char *name, bool resumes) {
    char state[600], log[600], complaints[600], *device = strcmp(e->backend, "cpu") ? (char *)opencl : "cpu";
    snprintf(complaints, sizeof complaints, "%s.err", name);
    snprintf(state, sizeof state, "%s.state", name);
    snprintf(log, sizeof log, "%s.csv", name);
    char *const arguments[] = {"mgn",
                               "fit",
                               "-s",
                               "banana",
                               "-t",
                               "normal:2",
                               "-o",
                               (char *)name,
                               "-q",
                               "--device",
                               device,
                               "--threads",
                               "1",
                               "--epochs",
                               (char *)e->epochs,
                               "--samples",
                               "1000",
                               "--batch",
                               "16",
                               "--checkpoint-every",
                               "0.01s",
                               "--log",
                               log,
                               resumes ? "--resume" : "--checkpoint",
                               state,
                               NULL};
    pid_t child = 0;
    posix_spawn_file_actions_t actions;
    ck_assert_int_eq(posix_spawn_file_actions_init(&actions), 0);
    posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
    posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, complaints, O_WRONLY | O_CREAT | O_TRUNC, 0666);
    ck_assert_int_eq(posix_spawn(&child, getenv("MGN_BINARY"), &actions, NULL, arguments, environ), 0);
    posix_spawn_file_actions_destroy(&actions);
    return child;
}

static void wait_seconds(double seconds) {
    const struct timespec time = {(time_t)seconds, (long)(1e9 * (seconds - (double)(time_t)seconds))};
    nanosleep(&time, NULL);
}

/* Its exit code, or 128 + the signal. */
static int end(pid_t child) {
    int code = 0;
    ck_assert_int_eq(waitpid(child, &code, 0), child);
    return WIFEXITED(code) ? WEXITSTATUS(code) : 128 + WTERMSIG(code);
}

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

static void check_same_files(const char *a, const char *b, const char *ending) {
    mgn_test_process process =
        strcmp(ending, ".csv") == 0
            ? mgn_test_shell("cut -d, -f1-6 %s.csv >%s.cut; cut -d, -f1-6 %s.csv | cmp - %s.cut", a, a, b, a)
            : mgn_test_shell("cmp %s %s", a, b);
    ck_assert_msg(process.code == 0, "%s%s differs: %s%s", b, ending, process.out, process.err);
    mgn_test_process_free(&process);
}

/* Who was asked to end said so in one sentence (behind what the compiler of a driver has to say), and took its temporary
 * files along. */
static void check_orderly_end(const struct ending *e, const char *name, int code) {
    char complaints[600];
    snprintf(complaints, sizeof complaints, "%s.err", name);
    char *said = mgn_test_read_file(complaints, NULL);
    const char *sentence = strstr(said, "mgn: "), *end = sentence ? strchr(sentence, '\n') : NULL;
    ck_assert_msg(code != 1 || (end && !end[1] && (sentence == said || strcmp(e->backend, "opencl") == 0)),
                  "one sentence was expected: %s", said);
    ck_assert_msg(!strstr(said, "do not build"), "taken for a fault: %s", said);
    free(said);
    mgn_test_process left = mgn_test_shell("ls -A \"$(dirname '%s')\" | grep -F .tmp", name);
    ck_assert_msg(left.out_size == 0, "left behind: %s", left.out);
    mgn_test_process_free(&left);
}

/* One run, and one signal to it; whether there is a checkpoint afterwards. */
static bool end_one(const struct ending *e, const char *whole, const char *name, bool resumes, double seconds,
                    bool *has_steps) {
    char state[600];
    snprintf(state, sizeof state, "%s.state", name);
    const pid_t child = start(e, name, resumes);
    wait_seconds(seconds);
    kill(child, e->signal);
    const int code = end(child);
    ck_assert_msg(code == 0 || code == 128 + e->signal || (e->signal != SIGKILL && code == 1), "exit code %d", code);
    if (e->signal != SIGKILL) check_orderly_end(e, name, code);
    if (access(state, F_OK) != 0) return false;
    mgn_safetensors file = {0};
    MGN_ASSERT_OK(mgn_safetensors_read(state, &file));
    *has_steps = *has_steps || strcmp(mgn_safetensors_get(&file, "steps"), "0") != 0;
    mgn_safetensors_free(&file);
    if (code != 0) return true;
    check_same_files(whole, name, "");
    unlink(state);
    return false;
}

START_TEST(an_ended_run_goes_on_from_a_whole_checkpoint) {
    const struct ending *e = &endings[_i];
    const bool on_cpu = strcmp(e->backend, "cpu") == 0;
    if (!on_cpu && !opencl) MGN_TEST_SKIP("no OpenCL device");
    mgn_test_random random = MGN_TEST_RANDOM();
    char folder[64];
    snprintf(folder, sizeof folder, "ending%d", _i);
    MGN_ASSERT_OK(mgn_make_directory(mgn_test_path(folder)));
    const char *path = mgn_test_path(folder), *asked = getenv("MGN_KILLS");
    const char *whole = mgn_test_within(path, "whole"), *name = mgn_test_within(path, "ended");
    const int times = asked ? atoi(asked) : e->times;
    if (!on_cpu) ck_assert_int_eq(end(start(e, whole, false)), 0); /* compiles what is not compiled yet */
    const double begun = now();
    ck_assert_int_eq(end(start(e, whole, false)), 0);
    const double seconds = now() - begun;
    bool exists = false, has_steps = false;
    for (int i = 0; i < times; i++)
        exists = end_one(e, whole, name, exists, seconds * mgn_test_uniform(&random, e->from, e->to), &has_steps);
    ck_assert_int_eq(end(start(e, name, exists)), 0);
    check_same_files(whole, name, "");
    check_same_files(whole, name, ".csv");
    ck_assert_msg(has_steps || times < 20, "none of %d signals left a checkpoint", times);
}
END_TEST

START_TEST(a_run_that_is_stopped_and_continued_is_the_same) {
    const struct ending *e = &endings[0];
    mgn_test_random random = MGN_TEST_RANDOM();
    const char *whole = mgn_test_path("undisturbed"), *name = mgn_test_path("stopped");
    ck_assert_int_eq(end(start(e, whole, false)), 0);
    const pid_t child = start(e, name, false);
    static const int others[] = {SIGWINCH, SIGCONT, SIGURG, SIGCHLD}; /* which do nothing */
    for (int i = 0; i < 100; i++) {
        wait_seconds(mgn_test_uniform(&random, 0, 0.002));
        kill(child, i % 5 == 0 ? SIGSTOP : others[i % 4]);
        wait_seconds(mgn_test_uniform(&random, 0, 0.002));
        kill(child, SIGCONT);
    }
    ck_assert_int_eq(end(child), 0);
    check_same_files(whole, name, "");
    check_same_files(whole, name, ".csv");
}
END_TEST

int main(void) {
    opencl = mgn_test_opencl_spec();
    Suite *suite = suite_create("kill");
    TCase *kills = tcase_create("kills");
    tcase_set_timeout(kills, 240);
    tcase_add_loop_test(kills, an_ended_run_goes_on_from_a_whole_checkpoint, 0, (int)MGN_COUNT(endings));
    tcase_add_test(kills, a_run_that_is_stopped_and_continued_is_the_same);
    suite_add_tcase(suite, kills);
    return mgn_test_main(suite);
}
