/* The windows of rows that are read while training computes. A thread reads the next window into a buffer of its own; who
 * asks for it waits until it is whole. What a window holds follows from the epoch, the window's number and the seed alone, so
 * a training that goes back, or is resumed, asks for any of them again. */
#ifndef MGN_HOST_STREAM_H
#define MGN_HOST_STREAM_H

#include <mgn/train.h>

typedef struct mgn_stream mgn_stream;

/* `batch`: what a window is to be a multiple of. `source` is borrowed. Errors: ARGUMENT (no rows, windows or blocks), MEMORY. */
mgn_status mgn_stream_create(const mgn_row_source *source, int64_t d, int64_t batch, uint64_t seed,
                             mgn_stream **stream);
/* Takes NULL. */
void mgn_stream_destroy(mgn_stream *stream);

/* Rows of every window but the last of an epoch, which has what is left; and how many windows there are. */
int64_t mgn_stream_rows(const mgn_stream *stream);
int64_t mgn_stream_windows(const mgn_stream *stream);

/* The rows of a window, borrowed until mgn_stream_next; behind those of the last there is room for a whole one. Errors: those of the source. */
mgn_status mgn_stream_wait(mgn_stream *stream, int64_t epoch, int64_t window, mgn_samples *rows);
/* Starts to read that window, into the place of the last. */
mgn_status mgn_stream_next(mgn_stream *stream, int64_t epoch, int64_t window);

#endif
