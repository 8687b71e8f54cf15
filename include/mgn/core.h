/* Status codes, the error sentence, threads and versions: what every other header builds on. */
#ifndef MGN_CORE_H
#define MGN_CORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define MGN_API __attribute__((visibility("default")))
#else
#define MGN_API
#endif

/** What a fallible call returns. Results come through the last pointers, and are untouched on failure. */
typedef enum mgn_status {
    MGN_OK = 0,
    MGN_ERR_ARGUMENT,    /**< the caller asked for something that makes no sense (a command exits with 2) */
    MGN_ERR_IO,          /**< a file could not be opened, read, written or renamed */
    MGN_ERR_FORMAT,      /**< a file's content is not what it claims to be */
    MGN_ERR_MEMORY,      /**< host or device memory ran out */
    MGN_ERR_DEVICE,      /**< a driver refused or failed */
    MGN_ERR_NUMERIC,     /**< NaN, Inf or a matrix that is not positive definite */
    MGN_ERR_UNSUPPORTED, /**< correct, but not something this build or device can do */
    MGN_ERR_INTERRUPTED  /**< the user asked to stop */
} mgn_status;

/** The sentence of this thread's last failure: what was expected, what was found, where. Never NULL. */
MGN_API const char *mgn_last_error(void);

/** "x.y.z". */
MGN_API const char *mgn_version(void);

/** Threads used by the CPU backend and the file codecs: `count` > 0, or 0 for MGN_THREADS, else all cores.
 *  Results do not depend on it. */
MGN_API void mgn_set_threads(int count);
MGN_API int mgn_threads(void);

/** Allocations made by the library so far, in this process (a running plan makes none). */
MGN_API uint64_t mgn_allocations(void);

/** Asks every long call of the library to stop at the next step; safe in a signal handler. */
MGN_API void mgn_interrupt(void);
MGN_API bool mgn_interrupted(void);
/** Forgets the interruption, for a caller who has stopped what it was meant for and goes on with something shorter. */
MGN_API void mgn_resume(void);

#ifdef __cplusplus
}
#endif
#endif
