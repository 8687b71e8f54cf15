#define _GNU_SOURCE /* secure_getenv */
#include "core/core.h"

#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "core/parallel.h"
#include "core/parse.h"

static _Thread_local char last_error[1024] = "no error";
static atomic_uint_fast64_t allocation_count;
static atomic_int thread_count;
static atomic_bool quiet_notes, bar_shown;
static volatile sig_atomic_t interrupted;

const char *mgn_last_error(void) { return last_error; }

const char *mgn_version(void) { return MGN_VERSION; }

#undef mgn_fail
mgn_status mgn_fail(mgn_status status, const char *format, ...) {
    /* Built apart first: the arguments may contain the old sentence. */
    char sentence[sizeof last_error];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(sentence, sizeof sentence, format, arguments);
    va_end(arguments);
    memcpy(last_error, sentence, sizeof last_error);
    return status;
}

static void *counted(void *block, size_t count, size_t size) {
    atomic_fetch_add_explicit(&allocation_count, 1, memory_order_relaxed);
    if (!block) mgn_fail(MGN_ERR_MEMORY, "out of memory: %zu x %zu bytes were asked for", count, size);
    return block;
}

void *mgn_alloc(size_t count, size_t size) { return counted(calloc(count ? count : 1, size ? size : 1), count, size); }

void *mgn_realloc(void *block, size_t count, size_t size) {
    size_t bytes;
    if (__builtin_mul_overflow(count, size, &bytes)) return counted(NULL, count, size);
    return counted(realloc(block, bytes ? bytes : 1), count, size);
}

enum { LARGE_PAGE = 2 << 20 };

void *mgn_alloc_aligned(size_t count, size_t size) {
    size_t bytes;
    if (__builtin_mul_overflow(count, size, &bytes) || bytes > SIZE_MAX - 2 * LARGE_PAGE)
        return counted(NULL, count, size);
    bytes = (bytes + 64) & ~(size_t)63;
    /* Rows are gathered from large blocks in random order: with small pages every access would look up its page, too. */
    const bool large = bytes >= 2 * LARGE_PAGE;
    if (large) bytes = (bytes + LARGE_PAGE - 1) & ~(size_t)(LARGE_PAGE - 1);
    void *block = aligned_alloc(large ? LARGE_PAGE : 64, bytes);
#ifdef MADV_HUGEPAGE
    if (block && large) madvise(block, bytes, MADV_HUGEPAGE); /* a wish: nothing depends on it */
#endif
    if (block) memset(block, 0, bytes);
    return counted(block, count, size);
}

void mgn_free(void *block) { free(block); }

char *mgn_strdup(const char *text) {
    size_t bytes = strlen(text) + 1;
    char *copy = mgn_alloc(bytes, 1);
    if (copy) memcpy(copy, text, bytes);
    return copy;
}

uint64_t mgn_allocations(void) { return atomic_load_explicit(&allocation_count, memory_order_relaxed); }

/* ---- arenas: a list of chunks, each filled from its start ---- */

typedef struct chunk {
    struct chunk *next;
    size_t used, capacity;
    _Alignas(16) unsigned char bytes[];
} chunk;

struct mgn_arena {
    chunk *head;
    bool is_exhausted;
};

mgn_arena *mgn_arena_create(void) { return mgn_alloc(1, sizeof(mgn_arena)); }

void mgn_arena_destroy(mgn_arena *arena) {
    if (!arena) return;
    for (chunk *c = arena->head, *next; c; c = next) {
        next = c->next;
        mgn_free(c);
    }
    mgn_free(arena);
}

void *mgn_arena_alloc(mgn_arena *arena, size_t count, size_t size) {
    size_t bytes;
    if (__builtin_mul_overflow(count, size, &bytes) || bytes > SIZE_MAX / 2) {
        arena->is_exhausted = true;
        return counted(NULL, count, size);
    }
    bytes = (bytes + 15) & ~(size_t)15;
    chunk *head = arena->head;
    if (!head || head->capacity - head->used < bytes) {
        size_t capacity = bytes > 65536 ? bytes : 65536;
        head = mgn_alloc(1, sizeof(chunk) + capacity);
        if (!head) {
            arena->is_exhausted = true;
            return NULL;
        }
        head->capacity = capacity;
        head->next = arena->head;
        arena->head = head;
    }
    void *block = head->bytes + head->used;
    head->used += bytes;
    return block;
}

bool mgn_arena_is_exhausted(const mgn_arena *arena) { return arena->is_exhausted; }

char *mgn_arena_strdup(mgn_arena *arena, const char *text) {
    size_t bytes = strlen(text) + 1;
    char *copy = mgn_arena_alloc(arena, bytes, 1);
    if (copy) memcpy(copy, text, bytes);
    return copy;
}

/* ---- surroundings ---- */

/* Nothing to a program that runs with more rights than who started it. */
const char *mgn_environment(const char *name) {
    const char *value = secure_getenv(name);
    return value && *value ? value : NULL;
}

enum { MAX_THREADS = 256 };

mgn_status mgn_environment_threads(int *count) {
    const char *asked = mgn_environment("MGN_THREADS");
    int64_t value = 0;
    if (asked) MGN_TRY(mgn_parse_integer("MGN_THREADS", asked, 1, MAX_THREADS, &value));
    *count = (int)value;
    return MGN_OK;
}

void mgn_set_threads(int count) {
    if (count <= 0) {
        if (mgn_environment_threads(&count) != MGN_OK) mgn_note("%s; all cores are used", mgn_last_error());
        if (count <= 0) count = mgn_processors();
    }
    atomic_store(&thread_count, MGN_MIN(count, MAX_THREADS));
}

int mgn_threads(void) {
    if (atomic_load(&thread_count) == 0) mgn_set_threads(0);
    return atomic_load(&thread_count);
}

double mgn_now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

void mgn_set_quiet(bool quiet) { atomic_store(&quiet_notes, quiet); }

bool mgn_quiet(void) { return atomic_load(&quiet_notes); }

/* To the line's start, and everything behind it erased. */
static const char erase_line[] = "\r\033[K";

void mgn_bar(const char *line) {
    if (atomic_exchange(&bar_shown, line != NULL) || line) fprintf(stderr, "%s%s", erase_line, line ? line : "");
}

void mgn_note(const char *format, ...) {
    if (mgn_quiet()) return;
    char text[1024];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    /* One write, so that the notes of two threads do not mix. */
    fprintf(stderr, "%smgn: %s\n", atomic_exchange(&bar_shown, false) ? erase_line : "", text);
}

void mgn_interrupt(void) { interrupted = 1; }

bool mgn_interrupted(void) { return interrupted != 0; }

void mgn_resume(void) { interrupted = 0; }

uint64_t mgn_hash(uint64_t hash, const void *bytes, size_t count) {
    const unsigned char *b = bytes;
    for (size_t i = 0; i < count; i++) hash = (hash ^ b[i]) * 0x100000001b3u;
    return hash;
}
