#define _GNU_SOURCE /* sched_getaffinity */
#include "core/parallel.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <unistd.h>

enum { MOST_WORKERS = 255, SPINS = 2000 };

/* A thread's share of the chunks: taken from its front by whoever has time. The same thread gets the same chunks job after
 * job, so that what it read last time is still in the caches near its core. */
typedef struct share {
    _Alignas(64) atomic_int_fast64_t next;
    int64_t end;
} share;

/* One job at a time. `open` is its number while workers may enter, 0 before and after; `inside` counts those that have. */
static struct {
    pthread_mutex_t owner; /* of the job */
    mgn_chunk_function *function;
    void *context;
    int threads;
    share shares[MOST_WORKERS + 1];
    _Alignas(64) atomic_uint_fast64_t open;
    _Alignas(64) atomic_int inside;
    pthread_mutex_t lock; /* of what follows */
    pthread_cond_t wake;
    uint64_t last; /* number of the newest job */
    int asleep, workers;
} pool = {.owner = PTHREAD_MUTEX_INITIALIZER, .lock = PTHREAD_MUTEX_INITIALIZER, .wake = PTHREAD_COND_INITIALIZER};

static _Thread_local bool alone;

int mgn_processors(void) {
    cpu_set_t allowed;
    if (sched_getaffinity(0, sizeof allowed, &allowed) == 0) return CPU_COUNT(&allowed);
    /* More processors than the set has room for. */
    return (int)MGN_MAX(sysconf(_SC_NPROCESSORS_ONLN), 1);
}

static void relax(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
}

/* One's own share, then what is left of the others'. */
static void work(int thread) {
    const int threads = pool.threads;
    for (int i = 0, from = thread; i < threads; i++, from = from + 1 < threads ? from + 1 : 0) {
        share *s = &pool.shares[from];
        while (atomic_load_explicit(&s->next, memory_order_relaxed) < s->end) {
            int64_t chunk = atomic_fetch_add_explicit(&s->next, 1, memory_order_relaxed);
            if (chunk >= s->end) break;
            pool.function(pool.context, chunk, thread);
        }
    }
}

/* The number of a job that this worker has not seen yet; spins for a moment, then sleeps. */
static uint64_t await_job(uint64_t seen) {
    for (int i = 0; i < SPINS; i++) {
        uint64_t job = atomic_load(&pool.open);
        if (job > seen) return job;
        relax();
    }
    pthread_mutex_lock(&pool.lock);
    while (pool.last <= seen) {
        pool.asleep++;
        pthread_cond_wait(&pool.wake, &pool.lock);
        pool.asleep--;
    }
    uint64_t job = pool.last;
    pthread_mutex_unlock(&pool.lock);
    return job;
}

static void *worker(void *number) {
    int thread = (int)(intptr_t)number;
    for (uint64_t seen = 0;;) {
        seen = await_job(seen);
        /* Enter first, look second; the owner closes first, looks second: one of the two sees the other. */
        atomic_fetch_add(&pool.inside, 1);
        if (atomic_load(&pool.open) == seen && thread < pool.threads) work(thread);
        atomic_fetch_sub(&pool.inside, 1);
    }
    return NULL;
}

/* Called by the owner. A worker that cannot be started is not needed either. */
static void start_workers(int count) {
    pthread_attr_t detached;
    pthread_attr_init(&detached);
    pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
    while (pool.workers < count) {
        pthread_t id;
        if (pthread_create(&id, &detached, worker, (void *)(intptr_t)(pool.workers + 1)) != 0) break;
        pool.workers++;
    }
    pthread_attr_destroy(&detached);
}

static void run_as_owner(int threads, int64_t chunks, mgn_chunk_function *function, void *context) {
    start_workers(MGN_MIN(threads - 1, MOST_WORKERS));
    pool.function = function;
    pool.context = context;
    pool.threads = threads;
    for (int i = 0; i < threads; i++) {
        pool.shares[i].end = chunks / threads * (i + 1) + chunks % threads * (i + 1) / threads;
        atomic_store_explicit(&pool.shares[i].next, i ? pool.shares[i - 1].end : 0, memory_order_relaxed);
    }
    pthread_mutex_lock(&pool.lock);
    atomic_store(&pool.open, ++pool.last);
    if (pool.asleep) pthread_cond_broadcast(&pool.wake);
    pthread_mutex_unlock(&pool.lock);
    work(0);
    atomic_store(&pool.open, 0);
    for (int spins = 0; atomic_load(&pool.inside) != 0; spins++) {
        if (spins < SPINS)
            relax();
        else
            sched_yield();
    }
}

void mgn_parallel(int threads, int64_t chunks, mgn_chunk_function *function, void *context) {
    if (threads > 1 && chunks > 1 && !alone && pthread_mutex_trylock(&pool.owner) == 0) {
        run_as_owner((int)MGN_MIN((int64_t)threads, chunks), chunks, function, context);
        pthread_mutex_unlock(&pool.owner);
        return;
    }
    for (int64_t chunk = 0; chunk < chunks; chunk++) function(context, chunk, 0);
}

void mgn_parallel_alone(bool is_alone) { alone = is_alone; }
