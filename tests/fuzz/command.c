/* Command lines, up to where something would be computed or written.
 *
 * The linker puts functions of this file in the place of those through which commands reach the world (--wrap=NAME sends
 * calls of NAME to __wrap_NAME): while a command line is tried, no device opens, no file is read or written, no sample is
 * drawn. What is left is what the words themselves decide. For everything else they are the functions they were. */
#include "fuzz.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <mgn/target.h>

#include "cli/cli.h"
#include "core/core.h"
#include "core/file.h"

static bool is_closed;

static mgn_status refuse(void) { return mgn_fail(MGN_ERR_UNSUPPORTED, "command lines alone are tried here"); }

/* One function that refuses while the door is closed. */
#define DOOR(name, parameters, arguments) \
    mgn_status __real_##name parameters;  \
    mgn_status __wrap_##name parameters;  \
    mgn_status __wrap_##name parameters { \
        if (is_closed) return refuse();   \
        return __real_##name arguments;   \
    }

DOOR(mgn_device_open, (const char *spec, mgn_device **device), (spec, device))
DOOR(mgn_device_list, (mgn_device_info * infos, size_t capacity, size_t *count), (infos, capacity, count))
DOOR(mgn_output_open, (const char *path, mgn_output_file **output), (path, output))
DOOR(mgn_make_directory, (const char *path), (path))
DOOR(mgn_file_read, (const char *path, size_t most, unsigned char **bytes, size_t *size), (path, most, bytes, size))
DOOR(mgn_file_map, (const char *path, mgn_mapped_file *file), (path, file))
DOOR(mgn_target_sample, (const mgn_target *target, int64_t n, uint64_t seed, float *rows), (target, n, seed, rows))
DOOR(mgn_target_moments, (const mgn_target *target, double *mean, double *covariance), (target, mean, covariance))
DOOR(mgn_target_create_gaussian, (int64_t d, const double *mean, const double *covariance, mgn_target **target),
     (d, mean, covariance, target))

/* Words on lines of their own, the command first; the rest of a line is a word, whatever is in it. */
void fuzz_command(const uint8_t *bytes, size_t size) {
    enum { MOST_WORDS = 64 };
    static char program[] = "mgn";
    char *text = fuzz_text(bytes, size), *rest = text, *words[MOST_WORDS + 2] = {program};
    int count = 1;
    while (rest && count <= MOST_WORDS) words[count++] = strsep(&rest, "\n");
    words[count] = NULL;
    const int threads = mgn_threads();
    is_closed = true;
    fuzz_succeeded(cli_dispatch(count, words, NULL));
    is_closed = false;
    fflush(stdout);
    mgn_set_threads(threads);
    mgn_set_quiet(true);
    mgn_free(text);
}
