/* gnuplot as a process: a script goes in through a socket, a picture comes back through a pipe. No shell and no file name
 * is involved: the picture reaches a file by way of this program alone. */
#ifndef MGN_HOST_PLOT_GNUPLOT_H
#define MGN_HOST_PLOT_GNUPLOT_H

#include "core/core.h"

/* One run. */
typedef struct mgn_gnuplot_run {
    const char *script;
    size_t size;
    double patience; /* seconds in which nothing at all happens, after which gnuplot is killed; 0: 60 */
} mgn_gnuplot_run;

/* Runs the program `gnuplot` of PATH, without the user's startup files. What it writes on standard output goes to
 * `*output` (mgn_free; one zero byte follows the content), which may be empty. The process is gone when this returns, whatever
 * happened. Errors: UNSUPPORTED (not installed), IO (it failed: the first line of what it said; or it went silent),
 * INTERRUPTED, MEMORY. */
mgn_status mgn_gnuplot(const mgn_gnuplot_run *run, unsigned char **output, size_t *size);

#endif
