#include "train/stream.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>

#include "core/core.h"
#include "core/parallel.h"
#include "core/random.h"

struct mgn_stream {
    const mgn_row_source *source;
    int64_t d, window, windows;
    uint64_t seed;
    float *x, *y;
    int64_t epoch, number; /* of the window that is in x, or is being read; -1: none */
    pthread_t thread;
    bool is_reading;
    _Atomic bool is_stopped;
    mgn_status status;
    char sentence[512]; /* the thread's, which knows its own last error alone */
};

static int64_t count_of(const mgn_stream *s, int64_t window) {
    return MGN_MIN(s->window, s->source->n - window * s->window);
}

mgn_status mgn_stream_create(const mgn_row_source *source, int64_t d, int64_t batch, uint64_t seed,
                             mgn_stream **stream) {
    if (source->n < 1 || source->window < 1 || source->block < 1 || !source->read)
        return mgn_fail(MGN_ERR_ARGUMENT,
                        "rows, windows and blocks from 1, and a way to read them were expected; %lld, %lld, %lld found",
                        (long long)source->n, (long long)source->window, (long long)source->block);
    mgn_stream *s = mgn_alloc(1, sizeof *s);
    if (!s) return MGN_ERR_MEMORY;
    s->source = source;
    s->d = d;
    s->seed = seed;
    s->epoch = s->number = -1;
    const int64_t batches = MGN_MAX(MGN_MIN(source->window, source->n) / batch, 1);
    s->window = source->window >= source->n ? source->n : MGN_MIN(batches * batch, source->n);
    s->windows = (source->n + s->window - 1) / s->window;
    s->x = mgn_alloc_aligned((size_t)s->window, (size_t)d * sizeof *s->x);
    s->y = source->has_targets ? mgn_alloc_aligned((size_t)s->window, (size_t)d * sizeof *s->y) : NULL;
    if (!s->x || (source->has_targets && !s->y)) {
        mgn_stream_destroy(s);
        return MGN_ERR_MEMORY;
    }
    *stream = s;
    return MGN_OK;
}

int64_t mgn_stream_rows(const mgn_stream *s) { return s->window; }
int64_t mgn_stream_windows(const mgn_stream *s) { return s->windows; }

/* The whole blocks come in a keyed order, what is left behind them last. */
static mgn_status read_window(mgn_stream *s) {
    const mgn_row_source *source = s->source;
    const int64_t block = source->block, blocks = source->n / block, first = s->number * s->window,
                  count = count_of(s, s->number);
    mgn_host_shuffle order = {0};
    const bool is_ordered = s->windows == 1 || blocks < 2 || blocks > UINT32_MAX;
    if (!is_ordered) order = mgn_host_shuffle_start(~s->seed, (uint32_t)s->epoch, (uint32_t)blocks);
    for (int64_t done = 0; done < count;) {
        if (s->is_stopped) return mgn_fail(MGN_ERR_INTERRUPTED, "reading was stopped");
        const int64_t at = first + done, place = at / block, within = at % block;
        const bool is_whole = place < blocks;
        const int64_t n = MGN_MIN(count - done, (is_whole ? block : source->n - blocks * block) - within);
        const int64_t from = is_whole && !is_ordered ? mgn_host_shuffle_at(&order, (uint32_t)place) : place;
        MGN_TRY(source->read(source->context, from * block + within, n, s->x + done * s->d,
                             s->y ? s->y + done * s->d : NULL));
        done += n;
    }
    return MGN_OK;
}

static void *run(void *context) {
    mgn_stream *s = context;
    mgn_parallel_alone(true); /* the others compute */
    s->status = read_window(s);
    if (s->status != MGN_OK) snprintf(s->sentence, sizeof s->sentence, "%s", mgn_last_error());
    return NULL;
}

static void join(mgn_stream *s) {
    if (s->is_reading) pthread_join(s->thread, NULL);
    s->is_reading = false;
}

void mgn_stream_destroy(mgn_stream *s) {
    if (!s) return;
    s->is_stopped = true;
    join(s);
    mgn_free(s->x);
    mgn_free(s->y);
    mgn_free(s);
}

mgn_status mgn_stream_next(mgn_stream *s, int64_t epoch, int64_t window) {
    s->is_stopped = true;
    join(s);
    s->is_stopped = false;
    s->epoch = epoch;
    s->number = window;
    if (pthread_create(&s->thread, NULL, run, s) != 0)
        return mgn_fail(MGN_ERR_MEMORY, "no thread could be started to read rows");
    s->is_reading = true;
    return MGN_OK;
}

mgn_status mgn_stream_wait(mgn_stream *s, int64_t epoch, int64_t window, mgn_samples *rows) {
    if (s->epoch != epoch || s->number != window) MGN_TRY(mgn_stream_next(s, epoch, window));
    join(s);
    if (s->status != MGN_OK) {
        s->epoch = -1;
        return mgn_fail(s->status, "%s", s->sentence);
    }
    *rows = (mgn_samples){.x = s->x, .y = s->y, .n = count_of(s, window)};
    return MGN_OK;
}
