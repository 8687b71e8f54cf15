/* What every test program shares: the main function, the seed, random numbers, files, running the built command, and
 * the one place that decides whether OpenCL is tested.
 *
 * A test program is a Check suite and `int main(void) { return mgn_test_main(suite()); }`. Each test runs in a forked
 * child, so that a crash fails one test. An OpenCL context made before fork() hangs in the child: a program whose main
 * asks for the OpenCL device first is run without forks (and so is everything under CK_FORK=no).
 *
 * Every program prints its seed, and last one line "mgn-test: P passed, F failed, S skipped", which ./run adds up. */
#ifndef MGN_TESTS_HARNESS_H
#define MGN_TESTS_HARNESS_H

#include <check.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <mgn/core.h>

/** Runs a suite and frees it. Returns what main returns: 0, 1 for failures, 77 when nothing but skips happened. */
int mgn_test_main(Suite *suite);

/** For a program that cannot run at all here: prints why, counts one skip and returns 77. */
int mgn_test_skip_program(const char *reason);

/** Leaves the running test, counted and printed as skipped. */
#define MGN_TEST_SKIP(reason)                 \
    do {                                      \
        mgn_test_note_skip(__func__, reason); \
        return;                               \
    } while (0)
void mgn_test_note_skip(const char *test, const char *reason);

/* ---- assertions ---- */

/** The call returns MGN_OK; its sentence is shown when it does not. */
#define MGN_ASSERT_OK(call)                                                                           \
    do {                                                                                              \
        mgn_status mgn_test_status = (call);                                                          \
        if (mgn_test_status != MGN_OK)                                                                \
            ck_abort_msg("%s returned status %d: %s", #call, (int)mgn_test_status, mgn_last_error()); \
    } while (0)

/** The call fails with `status`, and its sentence contains `text`. */
#define MGN_ASSERT_FAILS(call, status, text) mgn_test_assert_fails((call), status, text, #call)
void mgn_test_assert_fails(mgn_status found, mgn_status expected, const char *text, const char *call);

/* ---- random numbers: the same for one seed and one name, whatever ran before ---- */

/** MGN_SEED; a new one each run where that is `random`, else always the same. Printed by mgn_test_main. */
uint64_t mgn_test_seed(void);

typedef struct mgn_test_random {
    uint64_t state;
} mgn_test_random;

/** A generator of its own for each test function. */
#define MGN_TEST_RANDOM() mgn_test_random_named(__func__)
mgn_test_random mgn_test_random_named(const char *name);
uint64_t mgn_test_bits(mgn_test_random *random);
double mgn_test_uniform(mgn_test_random *random, double low, double high);
double mgn_test_normal(mgn_test_random *random);
/** A whole number in low..high, both included. */
int64_t mgn_test_integer(mgn_test_random *random, int64_t low, int64_t high);
/** x (rows, 2) uniform in the unit square; y (rows, 2) the gradient of x1^4 + x1^2/2 + x1 x2/2 + 3 x2^2/2 - x2^3/3 there. */
void mgn_test_field(mgn_test_random random, float *x, float *y, int64_t rows);

/* ---- files ---- */

/** "<a fresh folder of this program>/name"; the folder is removed at the end. One of 16 buffers in turn. */
const char *mgn_test_path(const char *name);
/** "<folder>/name", also from a buffer in turn. */
const char *mgn_test_within(const char *folder, const char *name);
/** "<the source tree>/name", also from a buffer in turn. */
const char *mgn_test_source(const char *name);
void mgn_test_write_file(const char *path, const void *bytes, size_t count);
/** The whole file with a zero byte behind it; the caller frees it with free(). `count` may be NULL. */
char *mgn_test_read_file(const char *path, size_t *count);

/* ---- the built command ---- */

typedef struct mgn_test_process {
    int code;        /**< exit status; 128 + signal when it was killed */
    char *out, *err; /**< all it printed, zero-terminated */
    size_t out_size;
} mgn_test_process;

/** Runs `mgn ARGUMENTS` through the shell (so quoting and redirections work) and waits.
 *  The binary is MGN_BINARY; standard input is empty. */
mgn_test_process mgn_test_command(const char *format, ...) __attribute__((format(printf, 1, 2)));
/** As above for any shell command; "$MGN_BINARY" is the command under test. */
mgn_test_process mgn_test_shell(const char *format, ...) __attribute__((format(printf, 1, 2)));
void mgn_test_process_free(mgn_test_process *process);

/* ---- OpenCL (harness_opencl.c) ---- */

/** The device that OpenCL tests use ("opencl:P:D"; MGN_DEVICE chooses another), or NULL when there is none.
 *  Called in main, it makes the program run without forks. With MGN_REQUIRE_OPENCL=1, having none ends the program
 *  as failed. In a test: if (!spec) MGN_TEST_SKIP("no OpenCL device"). */
const char *mgn_test_opencl_spec(void);

/** The same behind the driver that fails on demand (faulty_cl.h), in this program and in commands that it starts. To be called
 *  in main, before anything of OpenCL is. NULL too where MGN_FAULTY_CL names none. */
const char *mgn_test_faulty_spec(void);

/* Set by mgn_test_opencl_spec, read by mgn_test_main. */
extern bool mgn_test_without_forks;

#endif
