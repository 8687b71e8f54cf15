/* What is in a folder: for tests of what is left behind. */
#ifndef MGN_TESTS_FOLDERS_H
#define MGN_TESTS_FOLDERS_H

#include "harness.h"

#include <dirent.h>
#include <string.h>

static inline size_t entries_of(const char *directory) {
    DIR *opened = opendir(directory);
    ck_assert_ptr_nonnull(opened);
    size_t count = 0;
    for (const struct dirent *entry; (entry = readdir(opened)) != NULL;)
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0) count++;
    closedir(opened);
    return count;
}

#endif
