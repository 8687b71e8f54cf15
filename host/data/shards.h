/* A table that is one .npy file or several of the same width, one after the other, all of which stay where they are: what
 * is larger than memory is read in pieces, in the order of the files, and no more of it is kept than the piece.
 *
 * Reading rows that follow one another gives their pages back to the system, so that the memory of the process is that of
 * the caller's rows, however long the table is. */
#ifndef MGN_HOST_SHARDS_H
#define MGN_HOST_SHARDS_H

#include "data/data.h"

typedef struct mgn_shards mgn_shards;

/* Whether the text names a list of files, rather than one file or a folder of pictures: "a.npy,b.npy", "part-*.npy", @LIST, or
 * a folder that has .npy files in it. A file that is really called that wins. */
bool mgn_shards_is_list(const char *text);

/* Opens one .npy file or such a list; the files of a pattern or a folder come in the order of their names' bytes, those of
 * @LIST one a line (empty lines and those that begin with # are skipped). Errors: those of mgn_npy_map_open; ARGUMENT (no file,
 * or widths that differ: names both); UNSUPPORTED (2^32 rows and more). */
mgn_status mgn_shards_open(const char *text, mgn_shards **shards);
/* Takes NULL. */
void mgn_shards_close(mgn_shards *shards);

int64_t mgn_shards_rows(const mgn_shards *shards);
int64_t mgn_shards_columns(const mgn_shards *shards);

/* The rows first .. first + n - 1, to `rows` (n, columns). Errors: those of mgn_npy_map_gather. */
mgn_status mgn_shards_read(const mgn_shards *shards, int64_t first, int64_t n, float *rows);
/* Says that they will be read soon, so that the disk may begin. */
void mgn_shards_ahead(const mgn_shards *shards, int64_t first, int64_t n);
/* Those of `index`, in any order. */
mgn_status mgn_shards_gather(const mgn_shards *shards, const uint32_t *index, int64_t n, float *rows);

#endif
