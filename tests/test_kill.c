/* `mgn fit` killed by SIGKILL at random instants: the checkpoint always loads, and the run that goes on from the last one ends
 * with the map and the curve of a run that nothing disturbed. MGN_KILLS=100 kills more often than the usual 20 times. */
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

#include "core/core.h"

enum { KILLS = 20 };

extern char **environ;

/* Writes to <name>, <name>.state and <name>.csv. */
static pid_t start(const char *name, bool resumes) {
    char state[600], log[600];
    snprintf(state, sizeof state, "%s.state", name);
    snprintf(log, sizeof log, "%s.csv", name);
    char *const arguments[] = {"mgn",   "fit",      "-s",  "banana",
                               "-t",    "normal:2", "-o",  (char *)name,
                               "-q",    "--device", "cpu", "--threads",
                               "1",     "--epochs", "400", "--samples",
                               "1000",  "--batch",  "16",  "--checkpoint-every",
                               "0.01s", "--log",    log,   resumes ? "--resume" : "--checkpoint",
                               state,   NULL};
    pid_t child = 0;
    posix_spawn_file_actions_t actions;
    ck_assert_int_eq(posix_spawn_file_actions_init(&actions), 0);
    posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
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

START_TEST(a_killed_run_goes_on_from_a_whole_checkpoint) {
    mgn_test_random random = MGN_TEST_RANDOM();
    const char *whole = mgn_test_path("whole"), *name = mgn_test_path("killed"), *asked = getenv("MGN_KILLS");
    const int kills = asked ? atoi(asked) : KILLS;
    char state[600];
    snprintf(state, sizeof state, "%s.state", name);
    const double begun = now();
    ck_assert_int_eq(end(start(whole, false)), 0);
    const double seconds = now() - begun;
    int killed = 0, with_progress = 0;
    bool exists = false;
    while (killed < kills) {
        const pid_t child = start(name, exists);
        wait_seconds(seconds * mgn_test_uniform(&random, 0, 0.3));
        kill(child, SIGKILL);
        const int code = end(child);
        killed++;
        ck_assert_msg(code == 0 || code == 128 + SIGKILL, "kill %d: exit code %d", killed, code);
        exists = access(state, F_OK) == 0;
        if (exists) {
            mgn_safetensors file = {0};
            MGN_ASSERT_OK(mgn_safetensors_read(state, &file));
            with_progress += strcmp(mgn_safetensors_get(&file, "steps"), "0") != 0;
            mgn_safetensors_free(&file);
        }
        if (code != 0) continue;
        check_same_files(whole, name, "");
        unlink(state);
        exists = false;
    }
    ck_assert_int_eq(end(start(name, exists)), 0);
    check_same_files(whole, name, "");
    check_same_files(whole, name, ".csv");
    ck_assert_msg(with_progress > 0, "none of %d kills left a checkpoint", killed);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("kill");
    TCase *kills = tcase_create("kills");
    tcase_set_timeout(kills, 240);
    tcase_add_test(kills, a_killed_run_goes_on_from_a_whole_checkpoint);
    suite_add_tcase(suite, kills);
    return mgn_test_main(suite);
}
