/* A sign of life from calls that do not report how far they are: what is being done and for how long, on a terminal as
 * a line that is renewed, elsewhere as a line every few seconds; nothing under --quiet. A thread of its own shows it. */
#ifndef MGN_CLI_WATCH_H
#define MGN_CLI_WATCH_H

#include <pthread.h>

#include "core/progress.h"

typedef struct cli_watch {
    mgn_progress progress;
    const char *stage; /* what is being done */
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    bool has_thread, is_over;
    int begun, stages;
} cli_watch;

/* `stages` are to come; 0 or 1: there is but one. Where no thread can be had, nothing is shown. */
void cli_watch_begin(cli_watch *watch, const char *label, int stages);
/* Names the stage that begins; `stage` must outlive it. */
void cli_watch_stage(cli_watch *watch, const char *stage);
/* Removes the line. Once for every begin. */
void cli_watch_end(cli_watch *watch);

#endif
