/* What every layer of the library uses: failing with a sentence, counted allocation, arenas. */
#ifndef MGN_HOST_CORE_H
#define MGN_HOST_CORE_H

#include <mgn/core.h>

#include <stdarg.h>

#define MGN_PRINTF(text, first) __attribute__((format(printf, text, first)))
#define MGN_COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define MGN_MIN(a, b) ((a) < (b) ? (a) : (b))
#define MGN_MAX(a, b) ((a) > (b) ? (a) : (b))

/* Sets this thread's error sentence and returns `status`, so that a function fails in one line. */
mgn_status mgn_fail(mgn_status status, const char *format, ...) MGN_PRINTF(2, 3);
#ifdef __clang_analyzer__ /* which looks into one file at a time: what fails does not succeed */
#define mgn_fail(status, ...) (mgn_fail(status, __VA_ARGS__), (status))
#define MGN_KNOWN(condition) ((condition) ? (void)0 : __builtin_unreachable())
#else
#define MGN_KNOWN(condition) ((void)0) /* what callers see to, said to the analyzer */
#endif

/* Forwards a failure. */
#define MGN_TRY(call)                                        \
    do {                                                     \
        mgn_status mgn_try_status = (call);                  \
        if (mgn_try_status != MGN_OK) return mgn_try_status; \
    } while (0)

/* As MGN_TRY, but goes to `label` with the status in the variable `status`, which the function declares. */
#define MGN_TRY_GOTO(call, label)         \
    do {                                  \
        status = (call);                  \
        if (status != MGN_OK) goto label; \
    } while (0)

/* Allocation: counted, zeroed, checked for overflow; NULL with the error sentence set when memory runs out. */
void *mgn_alloc(size_t count, size_t size);
/* Grows to `count` elements; new ones are not zeroed; the old block stays valid when it fails. */
void *mgn_realloc(void *block, size_t count, size_t size);
/* Zeroed and aligned to 64 bytes; freed by mgn_free like the rest. */
void *mgn_alloc_aligned(size_t count, size_t size);
void mgn_free(void *block);
char *mgn_strdup(const char *text);

/* Many small blocks with one lifetime. */
typedef struct mgn_arena mgn_arena;
mgn_arena *mgn_arena_create(void);
void mgn_arena_destroy(mgn_arena *arena);
void *mgn_arena_alloc(mgn_arena *arena, size_t count, size_t size); /* zeroed, aligned to 16 */
/* Whether one of its allocations failed: passes that may give up for other reasons ask, so as not to take one for the other. */
bool mgn_arena_is_exhausted(const mgn_arena *arena);
char *mgn_arena_strdup(mgn_arena *arena, const char *text);

/* The one place that reads the environment: MGN_DEVICE, MGN_THREADS, MGN_FUSE, MGN_SEED, ... NULL when unset or empty. */
const char *mgn_environment(const char *name);

/* FNV-1a, to be continued over several blocks; begins with MGN_HASH_START. Tells mistakes apart, not forgeries. */
#define MGN_HASH_START UINT64_C(0xcbf29ce484222325)
uint64_t mgn_hash(uint64_t hash, const void *bytes, size_t count);

/* Seconds of a monotonic clock. */
double mgn_now(void);

/* One line on standard error, "mgn: ..." , unless quiet; for things the user should know and did not ask. */
void mgn_note(const char *format, ...) MGN_PRINTF(1, 2);
void mgn_set_quiet(bool quiet);
bool mgn_quiet(void);

/* Shows one line that replaces the last (a progress bar on a terminal); NULL removes it. A note moves it out of the way. */
void mgn_bar(const char *line);

/* What MGN_THREADS asks for, 0 when it is not set. Errors: ARGUMENT. */
mgn_status mgn_environment_threads(int *count);

#endif
