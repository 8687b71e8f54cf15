/* Whole files in, atomic files out: the only way in which the library reads and writes what a user names.
 * A reader that takes the whole file (with a limit) needs no second look at a size that may have changed meanwhile.
 * A writer works on a temporary beside the target and renames it, so that a full disk, a failure or an
 * interruption never leaves half a file under the user's name, nor destroys the file that was there before. */
#ifndef MGN_HOST_FILE_H
#define MGN_HOST_FILE_H

#include "core/core.h"

#include <stdio.h>

/* Reads all of `path` (regular file, pipe or terminal) into `*bytes`, which mgn_free releases; `*size` >= 1.
 * One zero byte follows the content, so that a text can be parsed as a string. A file that is missing, a directory,
 * another device, unreadable, empty or longer than `max_bytes` is MGN_ERR_IO with its own sentence. */
mgn_status mgn_file_read(const char *path, size_t max_bytes, unsigned char **bytes, size_t *size);

/* A regular file as memory that can only be read; pages come from the disk when they are touched. */
typedef struct mgn_mapped_file {
    const unsigned char *bytes;
    size_t size; /* >= 1 */
    int descriptor;
} mgn_mapped_file;

/* Errors: IO (missing, not a regular file, empty, or the system refuses). */
mgn_status mgn_file_map(const char *path, mgn_mapped_file *file);
/* Whether the file is still as long as when it was mapped: pages beyond its end must not be touched. */
bool mgn_file_is_whole(const mgn_mapped_file *file);
void mgn_file_unmap(mgn_mapped_file *file);

/* A file that is being written. */
typedef struct mgn_output_file mgn_output_file;

/* Starts a file that will be called `path`. Until the commit, `path` is not touched: the bytes go to a temporary with
 * a random name in the same directory. A link is followed: what it points to is replaced, and keeps its permissions.
 * A pipe or a device (/dev/stdout) is written directly. Fails when the directory is missing or closed to us, or
 * `path` is a directory or a disk. */
mgn_status mgn_output_open(const char *path, mgn_output_file **output);

/* Appends `size` bytes; a short write is a failure, and so is the commit afterwards. */
mgn_status mgn_output_write(mgn_output_file *output, const void *bytes, size_t size);

/* The same file as a stdio stream (for fprintf and for libraries) or a descriptor; it stays the output's to close.
 * Who writes to the descriptor and to the stream flushes in between. Errors of the stream are found by the commit. */
FILE *mgn_output_stream(mgn_output_file *output);
int mgn_output_descriptor(mgn_output_file *output);

/* Flushes, syncs, closes and renames to the final name. Consumes `output` whatever it returns; on failure the
 * temporary is gone and the old file, if there was one, is as before. */
mgn_status mgn_output_commit(mgn_output_file *output);

/* The same for several files that belong together: all are on the disk before the first gets its name, so that a full
 * disk leaves none of them. Consumes them all. */
mgn_status mgn_output_commit_all(mgn_output_file *const *outputs, size_t count);

/* Gives up: removes the temporary. Takes NULL. */
void mgn_output_discard(mgn_output_file *output);

/* Makes the directory and those above it that are missing; one that exists already is fine. */
mgn_status mgn_make_directory(const char *path);

#endif
