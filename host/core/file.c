/* Reading whole files and replacing files atomically; file.h says why it is done this way. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "core/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

enum { FIRST_BLOCK = 1 << 16, NAME_TRIES = 100 };

/* ---- reading ---- */

static mgn_status open_for_reading(const char *path, int *descriptor, struct stat *about) {
    int opened;
    do opened = open(path, O_RDONLY | O_CLOEXEC);
    while (opened < 0 && errno == EINTR && !mgn_interrupted());
    if (opened < 0) {
        if (errno == ENOENT) return mgn_fail(MGN_ERR_IO, "%s does not exist", path);
        return mgn_fail(MGN_ERR_IO, "%s cannot be opened for reading: %s", path, strerror(errno));
    }
    if (fstat(opened, about) != 0) {
        mgn_fail(MGN_ERR_IO, "%s cannot be examined: %s", path, strerror(errno));
        close(opened);
        return MGN_ERR_IO;
    }
    if (S_ISDIR(about->st_mode)) {
        close(opened);
        return mgn_fail(MGN_ERR_IO, "%s is a directory; a file was expected", path);
    }
    *descriptor = opened;
    return MGN_OK;
}

/* Devices have no end, or none that their size tells; of a terminal it is the line that ends it. */
static mgn_status refuse_device(int descriptor, const char *path, const struct stat *about) {
    if (!S_ISBLK(about->st_mode) && (!S_ISCHR(about->st_mode) || isatty(descriptor))) return MGN_OK;
    return mgn_fail(MGN_ERR_IO, "%s is a device; a file or a pipe was expected", path);
}

static mgn_status too_large(const char *path, size_t max_bytes) {
    return mgn_fail(MGN_ERR_IO, "%s is larger than the %zu bytes that are accepted here", path, max_bytes);
}

/* Reads to the end. The size that stat gave is a first guess only: pipes have none, and a file may grow. */
static mgn_status read_all(int descriptor, const char *path, size_t guess, size_t max_bytes, unsigned char **bytes,
                           size_t *size) {
    size_t capacity = guess ? guess : FIRST_BLOCK, used = 0;
    unsigned char *block = mgn_realloc(NULL, capacity + 1, 1);
    if (!block) return MGN_ERR_MEMORY;
    for (;;) {
        /* One byte more than fits is asked for, so that a guess that was right needs no second block. */
        ssize_t got = read(descriptor, block + used, capacity + 1 - used);
        if (got < 0 && errno == EINTR && !mgn_interrupted()) continue;
        if (got < 0) {
            mgn_fail(MGN_ERR_IO, "%s cannot be read: %s", path, strerror(errno));
            break;
        }
        if (got == 0) {
            block[used] = 0;
            *bytes = block;
            *size = used;
            return MGN_OK;
        }
        used += (size_t)got;
        if (used > max_bytes) {
            too_large(path, max_bytes);
            break;
        }
        if (used <= capacity) continue;
        capacity = capacity > max_bytes / 2 ? max_bytes : 2 * capacity;
        unsigned char *grown = mgn_realloc(block, capacity + 1, 1);
        if (!grown) {
            mgn_free(block);
            return MGN_ERR_MEMORY;
        }
        block = grown;
    }
    mgn_free(block);
    return MGN_ERR_IO;
}

mgn_status mgn_file_read(const char *path, size_t max_bytes, unsigned char **bytes, size_t *size) {
    int descriptor = -1;
    struct stat about;
    if (max_bytes > SIZE_MAX - 1) max_bytes = SIZE_MAX - 1;
    MGN_TRY(open_for_reading(path, &descriptor, &about));
    mgn_status status = refuse_device(descriptor, path, &about);
    unsigned char *block = NULL;
    size_t used = 0;
    if (status == MGN_OK && about.st_size > 0 && (uintmax_t)about.st_size > max_bytes)
        status = too_large(path, max_bytes);
    else if (status == MGN_OK)
        status = read_all(descriptor, path, (size_t)about.st_size, max_bytes, &block, &used);
    close(descriptor);
    if (status != MGN_OK) return status;
    if (used == 0) {
        mgn_free(block);
        return mgn_fail(MGN_ERR_IO, "%s is empty", path);
    }
    *bytes = block;
    *size = used;
    return MGN_OK;
}

/* ---- mapping ---- */

mgn_status mgn_file_map(const char *path, mgn_mapped_file *file) {
    int descriptor = -1;
    struct stat about;
    MGN_TRY(open_for_reading(path, &descriptor, &about));
    void *bytes = MAP_FAILED;
    const bool is_mappable = S_ISREG(about.st_mode) && about.st_size > 0;
    if (is_mappable) bytes = mmap(NULL, (size_t)about.st_size, PROT_READ, MAP_SHARED, descriptor, 0);
    if (bytes == MAP_FAILED) {
        const int error = errno;
        close(descriptor);
        if (!S_ISREG(about.st_mode))
            return mgn_fail(MGN_ERR_IO, "%s is no regular file, so it cannot be read in parts", path);
        if (about.st_size == 0) return mgn_fail(MGN_ERR_IO, "%s is empty", path);
        return mgn_fail(MGN_ERR_IO, "%s cannot be mapped into memory: %s", path, strerror(error));
    }
    *file = (mgn_mapped_file){bytes, (size_t)about.st_size, descriptor};
    return MGN_OK;
}

bool mgn_file_is_whole(const mgn_mapped_file *file) {
    struct stat about;
    return fstat(file->descriptor, &about) == 0 && (uintmax_t)about.st_size >= file->size;
}

void mgn_file_unmap(mgn_mapped_file *file) {
    if (!file->bytes) return;
    munmap((void *)(uintptr_t)file->bytes, file->size);
    close(file->descriptor);
    *file = (mgn_mapped_file){0};
}

/* ---- writing ---- */

struct mgn_output_file {
    char *asked;     /* the name as the user gave it, for sentences */
    char *target;    /* the file to be replaced: `asked` with links followed */
    char *temporary; /* NULL for pipes and devices, which are written directly */
    FILE *stream;
    int descriptor; /* under the stream */
    int failure;    /* errno of the first failed write */
};

static void output_free(mgn_output_file *output) {
    mgn_free(output->asked);
    mgn_free(output->target);
    mgn_free(output->temporary);
    mgn_free(output);
}

/* The length of the directory part, with its slash; 0 when there is none. */
static size_t directory_length(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash ? (size_t)(slash - path) + 1 : 0;
}

/* /dev/stdout is a link to whatever the shell opened, maybe a regular file: renaming over that would take it away
 * from the programs that hold it open, so these names are written to directly. */
static bool is_device_name(const char *path) { return strncmp(path, "/dev/", 5) == 0; }

/* The name behind a link, so that the rename replaces the file and not the link. */
static mgn_status follow_links(const char *path, char **target) {
    struct stat about;
    if (is_device_name(path) || lstat(path, &about) != 0 || !S_ISLNK(about.st_mode)) {
        *target = mgn_strdup(path);
        return *target ? MGN_OK : MGN_ERR_MEMORY;
    }
    char *resolved = realpath(path, NULL);
    if (!resolved) return mgn_fail(MGN_ERR_IO, "%s is a link that leads nowhere: %s", path, strerror(errno));
    *target = mgn_strdup(resolved);
    free(resolved);
    return *target ? MGN_OK : MGN_ERR_MEMORY;
}

/* A fresh file beside the target. The name is short and random: no length limit is met that the target does not meet,
 * and two processes that write the same target do not share a temporary. */
static mgn_status open_temporary(mgn_output_file *output, int *descriptor) {
    size_t directory = directory_length(output->target);
    const size_t room = directory + 40;
    output->temporary = mgn_alloc(room, 1);
    if (!output->temporary) return MGN_ERR_MEMORY;
    for (int i = 0; i < NAME_TRIES; i++) {
        uint64_t suffix;
        if (getrandom(&suffix, sizeof suffix, 0) != (ssize_t)sizeof suffix) break;
        snprintf(output->temporary, room, "%.*s.mgn-%016llx.tmp", (int)directory, output->target,
                 (unsigned long long)suffix);
        *descriptor = open(output->temporary, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (*descriptor >= 0) return MGN_OK;
        if (errno != EEXIST && errno != EINTR) break;
    }
    if (errno == ENOENT)
        mgn_fail(MGN_ERR_IO, "%s cannot be written: its directory does not exist", output->asked);
    else
        mgn_fail(MGN_ERR_IO, "%s cannot be written: no file can be made in its directory: %s", output->asked,
                 strerror(errno));
    mgn_free(output->temporary);
    output->temporary = NULL;
    return MGN_ERR_IO;
}

/* Pipes and terminals can be interrupted by a signal that asks for nothing; the stream of a descriptor would call that a
 * failure. */
static ssize_t write_directly(void *cookie, const char *bytes, size_t size) {
    const mgn_output_file *output = cookie;
    for (size_t done = 0; done < size;) {
        const ssize_t put = write(output->descriptor, bytes + done, size - done);
        if (put < 0 && (errno != EINTR || mgn_interrupted())) return 0; /* which is how a failure is told here */
        if (put > 0) done += (size_t)put;
    }
    return (ssize_t)size;
}

static int close_directly(void *cookie) { return close(((const mgn_output_file *)cookie)->descriptor); }

static FILE *open_stream(mgn_output_file *output) {
    if (output->temporary) return fdopen(output->descriptor, "w");
    return fopencookie(output, "w", (cookie_io_functions_t){.write = write_directly, .close = close_directly});
}

/* Opens what is written to: the temporary or, for a pipe or device, the thing itself. */
static mgn_status open_for_writing(mgn_output_file *output, int *descriptor) {
    struct stat about;
    const bool exists = stat(output->target, &about) == 0;
    if (!exists && errno != ENOENT)
        return mgn_fail(MGN_ERR_IO, "%s cannot be written: %s", output->asked, strerror(errno));
    if (exists && S_ISDIR(about.st_mode))
        return mgn_fail(MGN_ERR_IO, "%s is a directory; the name of a file to write was expected", output->asked);
    if (exists && S_ISBLK(about.st_mode))
        return mgn_fail(MGN_ERR_IO, "%s is a disk; the name of a file to write was expected", output->asked);
    if (exists && access(output->target, W_OK) != 0)
        return mgn_fail(MGN_ERR_IO, "%s exists and is protected against writing: %s", output->asked, strerror(errno));
    if (!exists || (S_ISREG(about.st_mode) && !is_device_name(output->target))) {
        MGN_TRY(open_temporary(output, descriptor));
        /* A replaced file keeps its permissions (but never runs as its owner); where the file system refuses, the usual
         * ones are good enough. */
        if (exists && fchmod(*descriptor, about.st_mode & 0777) != 0) errno = 0;
        return MGN_OK;
    }
    do *descriptor = open(output->target, O_WRONLY | O_APPEND | O_CLOEXEC); /* which waits for a pipe's reader */
    while (*descriptor < 0 && errno == EINTR && !mgn_interrupted());
    if (*descriptor >= 0) return MGN_OK;
    return mgn_fail(MGN_ERR_IO, "%s cannot be opened for writing: %s", output->asked, strerror(errno));
}

mgn_status mgn_output_open(const char *path, mgn_output_file **output) {
    const size_t length = strlen(path);
    if (length == 0) return mgn_fail(MGN_ERR_ARGUMENT, "the name of a file to write was expected, and it is empty");
    if (path[length - 1] == '/')
        return mgn_fail(MGN_ERR_IO, "%s names a directory; a file to write was expected", path);
    mgn_output_file *made = mgn_alloc(1, sizeof *made);
    if (!made) return MGN_ERR_MEMORY;
    mgn_status status = MGN_ERR_MEMORY;
    made->asked = mgn_strdup(path);
    if (!made->asked) goto failed;
    MGN_TRY_GOTO(follow_links(path, &made->target), failed);
    MGN_TRY_GOTO(open_for_writing(made, &made->descriptor), failed);
    made->stream = open_stream(made);
    if (!made->stream) {
        status = mgn_fail(MGN_ERR_IO, "%s cannot be written: %s", path, strerror(errno));
        close(made->descriptor);
        if (made->temporary) unlink(made->temporary);
        goto failed;
    }
    *output = made;
    return MGN_OK;
failed:
    output_free(made);
    return status;
}

static mgn_status write_failure(mgn_output_file *output, int error) {
    if (!output->failure) output->failure = error ? error : EIO;
    return mgn_fail(MGN_ERR_IO, "%s cannot be written: %s", output->asked, strerror(output->failure));
}

mgn_status mgn_output_write(mgn_output_file *output, const void *bytes, size_t size) {
    if (output->failure) return write_failure(output, output->failure);
    errno = 0;
    if (size && fwrite(bytes, 1, size, output->stream) != size) return write_failure(output, errno);
    return MGN_OK;
}

FILE *mgn_output_stream(mgn_output_file *output) { return output->stream; }

int mgn_output_descriptor(mgn_output_file *output) { return output->descriptor; }

/* Makes the rename itself durable. Some file systems cannot sync a directory, which harms nobody: the file is whole
 * anyway. */
static void sync_directory(const char *target) {
    size_t length = directory_length(target);
    char *directory = length ? mgn_strdup(target) : mgn_strdup(".");
    if (!directory) return;
    if (length) directory[length] = 0;
    int descriptor = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    mgn_free(directory);
    if (descriptor < 0) return;
    fsync(descriptor);
    close(descriptor);
}

/* Everything written and on the disk; the stream is closed whatever happens. */
static mgn_status settle(mgn_output_file *output) {
    mgn_status status = MGN_OK;
    errno = 0;
    if (output->failure || ferror(output->stream) || fflush(output->stream) != 0) status = write_failure(output, errno);
    /* Pipes and terminals cannot be synced; for a regular file a failed sync is a failed write. */
    if (status == MGN_OK && output->temporary && fsync(output->descriptor) != 0 && errno != EINVAL)
        status = write_failure(output, errno);
    if (fclose(output->stream) != 0 && status == MGN_OK) status = write_failure(output, errno);
    output->stream = NULL;
    return status;
}

static mgn_status take_name(mgn_output_file *output) {
    if (!output->temporary) return MGN_OK;
    if (rename(output->temporary, output->target) != 0) return write_failure(output, errno);
    sync_directory(output->target);
    mgn_free(output->temporary);
    output->temporary = NULL;
    return MGN_OK;
}

mgn_status mgn_output_commit_all(mgn_output_file *const *outputs, size_t count) {
    mgn_status status = MGN_OK;
    for (size_t i = 0; i < count; i++) {
        if (status == MGN_OK) {
            status = settle(outputs[i]);
        } else {
            fclose(outputs[i]->stream);
        }
    }
    for (size_t i = 0; i < count; i++) {
        if (status == MGN_OK) status = take_name(outputs[i]);
        if (outputs[i]->temporary) unlink(outputs[i]->temporary);
        output_free(outputs[i]);
    }
    return status;
}

mgn_status mgn_output_commit(mgn_output_file *output) { return mgn_output_commit_all(&output, 1); }

void mgn_output_discard(mgn_output_file *output) {
    if (!output) return;
    fclose(output->stream);
    if (output->temporary) unlink(output->temporary);
    output_free(output);
}

/* ---- directories ---- */

static mgn_status make_one(const char *asked, const char *path) {
    struct stat about;
    if (mkdir(path, 0777) == 0) return MGN_OK;
    const int error = errno;
    if (stat(path, &about) == 0) {
        if (S_ISDIR(about.st_mode)) return MGN_OK;
        return mgn_fail(MGN_ERR_IO, "the directory %s cannot be made: %s exists and is not a directory", asked, path);
    }
    return mgn_fail(MGN_ERR_IO, "the directory %s cannot be made: %s: %s", asked, path, strerror(error));
}

mgn_status mgn_make_directory(const char *path) {
    if (!*path) return mgn_fail(MGN_ERR_ARGUMENT, "the name of a directory was expected, and it is empty");
    char *partial = mgn_strdup(path);
    if (!partial) return MGN_ERR_MEMORY;
    mgn_status status = MGN_OK;
    /* Each prefix that ends before a slash; the first byte is skipped because "/" always exists. */
    for (char *c = partial + 1; status == MGN_OK && *c; c++) {
        if (*c != '/') continue;
        *c = 0;
        status = make_one(path, partial);
        *c = '/';
    }
    if (status == MGN_OK) status = make_one(path, partial);
    mgn_free(partial);
    return status;
}
