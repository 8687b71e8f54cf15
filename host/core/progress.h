/* Progress of something long, on standard error: a bar with the time left on a terminal, a plain line every few
 * seconds elsewhere, nothing when notes are quiet (mgn_set_quiet). Never more than ten updates a second, so a caller
 * may report every step. */
#ifndef MGN_HOST_CORE_PROGRESS_H
#define MGN_HOST_CORE_PROGRESS_H

#include "core/core.h"

typedef struct mgn_progress {
    const char *label; /* the caller's; outlives the progress */
    const char *unit;  /* what is counted, to tell how many a second: "steps"; NULL: no rate. Set after the beginning */
    uint64_t total, done;
    double started, shown; /* seconds of mgn_now */
    bool terminal, silent;
} mgn_progress;

/* `total` steps are expected; 0 when that is not known. */
void mgn_progress_begin(mgn_progress *progress, const char *label, uint64_t total);

/* `done` steps so far, and a short remark such as "loss 0.0123" ("" for none). */
void mgn_progress_update(mgn_progress *progress, uint64_t done, const char *format, ...) MGN_PRINTF(3, 4);

/* Removes the bar; elsewhere than on a terminal, one closing line if there was any line before. */
void mgn_progress_end(mgn_progress *progress);

/* "3:05", "1:02:05". */
void mgn_progress_time(double seconds, char *text, size_t capacity);

/* The line that is shown, without its line end, in at most `width` columns; apart for the tests. Returns its length. */
size_t mgn_progress_line(const mgn_progress *progress, double now, const char *remark, size_t width, char *line,
                         size_t capacity);

#endif
