#define _GNU_SOURCE /* nftw, getrandom */
#include "harness.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <inttypes.h>
#include <math.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

bool mgn_test_without_forks;

static uint64_t seed = 1;
static char directory[256];

/* In memory that forked tests share with the program that counts. */
static unsigned *skips;

static void fatal(const char *what) {
    fprintf(stderr, "test harness: %s: %s\n", what, strerror(errno));
    exit(1);
}

/* Before main: Check reads its time limit while suites are being built, and main may ask for the seed. */
__attribute__((constructor)) static void prepare(void) {
    /* A test's limit is the program's, which tests/meson.build sets: compiling kernels takes long the first time. */
    setenv("CK_DEFAULT_TIMEOUT", "600", 0);
    const char *asked = getenv("MGN_SEED");
    if (asked && strcmp(asked, "random") == 0) {
        if (getrandom(&seed, sizeof seed, 0) != (ssize_t)sizeof seed) fatal("getrandom");
        seed %= 1000000000; /* short enough to type again */
    } else if (asked && *asked) {
        seed = strtoull(asked, NULL, 0);
    }
    unsetenv("MGN_SEED"); /* the commands that tests start have a --seed of that name */
    skips = mmap(NULL, sizeof *skips, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (skips == MAP_FAILED) fatal("mmap");
}

static int remove_entry(const char *path, const struct stat *info, int kind, struct FTW *walk) {
    (void)info, (void)kind, (void)walk;
    return remove(path);
}

static void make_directory(void) {
    if (*directory) return; /* a main function has asked for a path */
    const char *parent = getenv("TMPDIR");
    snprintf(directory, sizeof directory, "%s/mgn-test-XXXXXX", parent && *parent ? parent : "/tmp");
    if (!mkdtemp(directory)) fatal(directory);
}

static int report(unsigned passed, unsigned failed, unsigned skipped) {
    printf("mgn-test: %u passed, %u failed, %u skipped\n", passed, failed, skipped);
    fflush(stdout);
    return failed ? 1 : passed == 0 && skipped ? 77 : 0;
}

int mgn_test_main(Suite *suite) {
    printf("seed %" PRIu64 " (MGN_SEED=%" PRIu64 " replays it)\n", seed, seed);
    fflush(stdout);
    make_directory();
    SRunner *runner = srunner_create(suite);
    if (mgn_test_without_forks) srunner_set_fork_status(runner, CK_NOFORK);
    srunner_run_all(runner, CK_ENV);
    unsigned run = (unsigned)srunner_ntests_run(runner), failed = (unsigned)srunner_ntests_failed(runner);
    srunner_free(runner);
    nftw(directory, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
    if (run == 0) failed = 1; /* a suite that runs nothing tests nothing */
    unsigned others = failed + *skips;
    return report(run > others ? run - others : 0, failed, *skips);
}

int mgn_test_skip_program(const char *reason) {
    mgn_test_note_skip("the whole program", reason);
    return report(0, 0, *skips);
}

void mgn_test_note_skip(const char *test, const char *reason) {
    __atomic_fetch_add(skips, 1, __ATOMIC_RELAXED);
    size_t length = strlen(test); /* START_TEST(name) makes a function name_fn */
    if (length > 3 && strcmp(test + length - 3, "_fn") == 0) length -= 3;
    printf("SKIP: %.*s: %s\n", (int)length, test, reason);
    fflush(stdout);
}

void mgn_test_assert_fails(mgn_status found, mgn_status expected, const char *text, const char *call) {
    if (found != expected)
        ck_abort_msg("%s returned status %d where %d was expected; the sentence: %s", call, (int)found, (int)expected,
                     mgn_last_error());
    if (!strstr(mgn_last_error(), text))
        ck_abort_msg("%s failed as expected, but '%s' is not in its sentence: %s", call, text, mgn_last_error());
}

/* ---- random numbers: SplitMix64 ---- */

uint64_t mgn_test_seed(void) { return seed; }

mgn_test_random mgn_test_random_named(const char *name) {
    uint64_t hash = UINT64_C(0xcbf29ce484222325) ^ seed;
    for (; *name; name++) hash = (hash ^ (unsigned char)*name) * UINT64_C(0x100000001b3);
    return (mgn_test_random){hash};
}

uint64_t mgn_test_bits(mgn_test_random *random) {
    uint64_t z = random->state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

double mgn_test_uniform(mgn_test_random *random, double low, double high) {
    return low + (high - low) * ((double)(mgn_test_bits(random) >> 11) * 0x1p-53);
}

double mgn_test_normal(mgn_test_random *random) {
    double radius = sqrt(-2.0 * log(mgn_test_uniform(random, 0x1p-53, 1.0)));
    return radius * cos(mgn_test_uniform(random, 0.0, 6.283185307179586));
}

int64_t mgn_test_integer(mgn_test_random *random, int64_t low, int64_t high) {
    return low + (int64_t)(mgn_test_bits(random) % ((uint64_t)(high - low) + 1));
}

void mgn_test_field(mgn_test_random random, float *x, float *y, int64_t rows) {
    for (int64_t i = 0; i < rows; i++) {
        const double a = mgn_test_uniform(&random, 0, 1), b = mgn_test_uniform(&random, 0, 1);
        x[2 * i] = (float)a;
        x[2 * i + 1] = (float)b;
        y[2 * i] = (float)(4 * a * a * a + a + b / 2);
        y[2 * i + 1] = (float)(3 * b - b * b + a / 2);
    }
}

/* ---- files ---- */

static char *next_buffer(void) {
    static char buffers[16][1024];
    static unsigned next;
    return buffers[next++ % 16];
}

const char *mgn_test_path(const char *name) {
    char *path = next_buffer();
    make_directory();
    snprintf(path, 1024, "%s/%s", directory, name);
    return path;
}

const char *mgn_test_within(const char *folder, const char *name) {
    char *path = next_buffer();
    snprintf(path, 1024, "%s/%s", folder, name);
    return path;
}

const char *mgn_test_source(const char *name) {
    const char *root = getenv("MGN_SOURCE_ROOT");
    char *path = next_buffer();
    snprintf(path, 1024, "%s/%s", root ? root : ".", name);
    return path;
}

void mgn_test_write_file(const char *path, const void *bytes, size_t count) {
    FILE *file = fopen(path, "wb");
    if (!file || fwrite(bytes, 1, count, file) != count || fclose(file) != 0) ck_abort_msg("cannot write %s", path);
}

char *mgn_test_read_file(const char *path, size_t *count) {
    FILE *file = fopen(path, "rb");
    if (!file) ck_abort_msg("cannot read %s: %s", path, strerror(errno));
    char *bytes = NULL;
    size_t used = 0;
    for (size_t capacity = 4096;; capacity *= 2) {
        bytes = realloc(bytes, capacity + 1);
        if (!bytes) ck_abort_msg("out of memory reading %s", path);
        used += fread(bytes + used, 1, capacity - used, file);
        if (used < capacity) break;
    }
    fclose(file);
    bytes[used] = 0;
    if (count) *count = used;
    return bytes;
}

/* ---- the built command ---- */

static mgn_test_process run_shell(const char *command) {
    static unsigned serial;
    char out[512], err[512];
    snprintf(out, sizeof out, "%s/out-%d-%u", directory, (int)getpid(), serial);
    snprintf(err, sizeof err, "%s/err-%d-%u", directory, (int)getpid(), serial++);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&actions, 1, out, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    posix_spawn_file_actions_addopen(&actions, 2, err, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    char *arguments[] = {"sh", "-c", (char *)(uintptr_t)command, NULL};
    pid_t child;
    int failure = posix_spawn(&child, "/bin/sh", &actions, NULL, arguments, environ);
    posix_spawn_file_actions_destroy(&actions);
    ck_assert_msg(failure == 0, "cannot start /bin/sh: %s", strerror(failure));
    int status = 0;
    while (waitpid(child, &status, 0) < 0) ck_assert_msg(errno == EINTR, "waitpid: %s", strerror(errno));
    mgn_test_process process = {.code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status)};
    process.out = mgn_test_read_file(out, &process.out_size);
    process.err = mgn_test_read_file(err, NULL);
    remove(out);
    remove(err);
    return process;
}

static mgn_test_process run_formatted(const char *prefix, const char *format, va_list arguments) {
    char command[8192];
    ck_assert_msg(getenv("MGN_BINARY"), "MGN_BINARY must name the built command (meson test sets it)");
    size_t used = (size_t)snprintf(command, sizeof command, "%s", prefix);
    int length = vsnprintf(command + used, sizeof command - used, format, arguments);
    ck_assert_msg(length >= 0 && (size_t)length < sizeof command - used, "the command line is too long");
    return run_shell(command);
}

mgn_test_process mgn_test_command(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    mgn_test_process process = run_formatted("exec \"$MGN_BINARY\" ", format, arguments);
    va_end(arguments);
    return process;
}

mgn_test_process mgn_test_shell(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    mgn_test_process process = run_formatted("", format, arguments);
    va_end(arguments);
    return process;
}

void mgn_test_process_free(mgn_test_process *process) {
    free(process->out);
    free(process->err);
    *process = (mgn_test_process){0};
}
