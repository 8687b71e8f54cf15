#include "outputs.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "core/core.h"
#include "core/file.h"

mgn_status cli_check_writable(const char *path) {
    mgn_output_file *output = NULL;
    MGN_TRY(mgn_output_open(path, &output));
    mgn_output_discard(output);
    return MGN_OK;
}

/* The last part of a path; `directory` gets what is before it, "." when there is nothing. */
static const char *split(const char *path, char *directory, size_t capacity) {
    const char *slash = strrchr(path, '/');
    if (!slash)
        snprintf(directory, capacity, ".");
    else
        snprintf(directory, capacity, "%.*s", (int)MGN_MAX(slash - path, 1), path);
    return slash ? slash + 1 : path;
}

static bool same_entry(const char *a, const char *b) {
    struct stat x, y;
    return stat(a, &x) == 0 && stat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino &&
           (S_ISREG(x.st_mode) || S_ISDIR(x.st_mode));
}

bool cli_same_file(const char *a, const char *b) {
    char first[4096], second[4096];
    if (strcmp(a, b) == 0 || same_entry(a, b)) return true;
    return strcmp(split(a, first, sizeof first), split(b, second, sizeof second)) == 0 && same_entry(first, second);
}

mgn_status cli_check_apart(const char *path, const char *const *inputs, size_t count) {
    for (size_t i = 0; i < count; i++)
        if (cli_same_file(path, inputs[i]))
            return mgn_fail(MGN_ERR_ARGUMENT,
                            "%s would be written over, and it is an input; give the result another name", path);
    return MGN_OK;
}
