/* The table of targets, and what they share. */
#define _GNU_SOURCE /* memfd_create */
#include "fuzz.h"

#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "core/core.h"

const fuzz_target fuzz_targets[] = {
#define FUZZ(name, longest, megabytes, what) {#name, what, fuzz_##name, longest, megabytes},
#include "targets.def"
#undef FUZZ
};
const size_t fuzz_target_count = MGN_COUNT(fuzz_targets);

void fuzz_check(bool holds, const char *sentence) {
    if (holds) return;
    fprintf(stderr, "fuzz: %s (last error: %s)\n", sentence, mgn_last_error());
    abort();
}

bool fuzz_succeeded(mgn_status status) {
    if (status == MGN_OK) return true;
    const char *sentence = mgn_last_error();
    fuzz_check(*sentence && strcmp(sentence, "none yet") != 0, "a failure without a sentence");
    mgn_fail(MGN_OK, "none yet");
    return false;
}

static void write_whole(int file, const uint8_t *bytes, size_t size) {
    fuzz_check(file >= 0 && ftruncate(file, 0) == 0 && pwrite(file, bytes, size, 0) == (ssize_t)size,
               "a file of the input cannot be made");
}

const char *fuzz_file(const uint8_t *bytes, size_t size) {
    static int file = -1;
    static char path[40];
    if (file < 0) file = memfd_create("fuzz", MFD_CLOEXEC);
    snprintf(path, sizeof path, "/proc/self/fd/%d", file);
    write_whole(file, bytes, size);
    return path;
}

static char folder[64];
static pid_t owner;

static int remove_entry(const char *path, const struct stat *about, int kind, struct FTW *walk) {
    (void)about, (void)kind, (void)walk;
    return remove(path);
}

static void remove_folder(void) {
    if (owner == getpid()) nftw(folder, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
}

const char *fuzz_folder(void) {
    if (*folder) return folder;
    snprintf(folder, sizeof folder, "%s/mgn-fuzz-XXXXXX", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    fuzz_check(mkdtemp(folder) != NULL, "no folder can be made");
    owner = getpid();
    atexit(remove_folder);
    return folder;
}

const char *fuzz_named_file(const char *name, const uint8_t *bytes, size_t size) {
    static char path[sizeof folder + 128];
    snprintf(path, sizeof path, "%s/%s", fuzz_folder(), name);
    const int file = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    write_whole(file, bytes, size);
    close(file);
    return path;
}

char *fuzz_text(const uint8_t *bytes, size_t size) {
    char *text = mgn_alloc(size + 1, 1);
    fuzz_check(text != NULL, "out of memory");
    memcpy(text, bytes, size);
    for (char *c = text; *c; c++)
        if (*c == '/') *c = '_';
    return text;
}
