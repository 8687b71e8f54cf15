#include "watch.h"

#include <time.h>

/* Seconds between two looks; calls that are shorter show nothing. */
static const double interval = 0.2;

static void wait_a_little(cli_watch *watch) {
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += (long)(interval * 1e9);
    if (until.tv_nsec >= 1000000000) {
        until.tv_nsec -= 1000000000;
        until.tv_sec++;
    }
    pthread_cond_timedwait(&watch->wake, &watch->lock, &until);
}

static void *show(void *context) {
    cli_watch *watch = context;
    pthread_mutex_lock(&watch->lock);
    while (!watch->is_over) {
        wait_a_little(watch);
        if (watch->is_over) break;
        if (watch->stages > 1)
            mgn_progress_update(&watch->progress, 0, "%d/%d %s", watch->begun, watch->stages, watch->stage);
        else
            mgn_progress_update(&watch->progress, 0, "%s", watch->stage);
    }
    pthread_mutex_unlock(&watch->lock);
    return NULL;
}

void cli_watch_begin(cli_watch *watch, const char *label, int stages) {
    pthread_condattr_t attributes;
    *watch = (cli_watch){.stage = "", .stages = stages};
    mgn_progress_begin(&watch->progress, label, 0); /* stages tell nothing about the time left */
    if (watch->progress.silent) return;
    pthread_mutex_init(&watch->lock, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&watch->wake, &attributes);
    pthread_condattr_destroy(&attributes);
    watch->has_thread = pthread_create(&watch->thread, NULL, show, watch) == 0;
}

void cli_watch_stage(cli_watch *watch, const char *stage) {
    if (!watch->has_thread) return;
    pthread_mutex_lock(&watch->lock);
    watch->stage = stage;
    watch->begun++;
    pthread_mutex_unlock(&watch->lock);
}

void cli_watch_end(cli_watch *watch) {
    if (watch->has_thread) {
        pthread_mutex_lock(&watch->lock);
        watch->is_over = true;
        pthread_cond_signal(&watch->wake);
        pthread_mutex_unlock(&watch->lock);
        pthread_join(watch->thread, NULL);
        mgn_progress_end(&watch->progress);
    }
    if (watch->progress.silent) return;
    pthread_cond_destroy(&watch->wake);
    pthread_mutex_destroy(&watch->lock);
}
