/* Running a test program on Oclgrind, which puts its own OpenCL platform in the place of every other and watches what
 * kernels do. */
#ifndef MGN_TESTS_SIMULATOR_H
#define MGN_TESTS_SIMULATOR_H

#include "harness.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/** Says to the program that it runs on the simulator, and what to do there. */
#define MGN_TEST_SIMULATED "MGN_TEST_SIMULATED"

/** NULL, or why there is no simulator here. */
static inline const char *mgn_test_no_simulator(void) {
    const char *sanitizer = getenv("MGN_SANITIZE");
    if (sanitizer && strcmp(sanitizer, "none") != 0) return "Oclgrind and a sanitizer both want to be loaded first";
    return system("command -v oclgrind >/dev/null") == 0 ? NULL : "Oclgrind is not installed";
}

/** Runs this program under `oclgrind OPTIONS` with `what` in its environment; it must succeed. Returns what Oclgrind has
 *  to say, nothing if all is well, for free(): its log, and what of wrong calls it writes to standard error instead. */
static inline char *mgn_test_simulate(const char *what, const char *options) {
    char program[4096];
    const ssize_t length = readlink("/proc/self/exe", program, sizeof program - 1);
    ck_assert_int_gt(length, 0);
    program[length] = 0;
    const char *log = mgn_test_path("oclgrind");
    mgn_test_write_file(log, "", 0);
    mgn_test_process run = mgn_test_shell("unset CK_RUN_CASE CK_RUN_SUITE MGN_DEVICE; " MGN_TEST_SIMULATED
                                          "='%s' oclgrind %s --max-errors 20 --log '%s' '%s'",
                                          what, options, log, program);
    size_t size = 0;
    char *logged = mgn_test_read_file(log, &size);
    const char *call = strstr(run.err, "Oclgrind - OpenCL runtime error");
    char *found = malloc(size + strlen(run.err) + 1);
    ck_assert_ptr_nonnull(found);
    sprintf(found, "%s%s", logged, call ? call : "");
    ck_assert_msg(run.code == 0, "oclgrind %s: status %d: %.1000s%.1000s\nfound: %.1000s", options, run.code, run.out,
                  run.err, found);
    free(logged);
    mgn_test_process_free(&run);
    return found;
}

#endif
