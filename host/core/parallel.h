/* Chunks of work over threads, for regions of some 10 microseconds that follow one another closely.
 *
 * A parallel region of OpenMP ends when all of its threads have been there. On a machine that is busy with something else
 * that is when the scheduler gets round to the last of them: steps of 30 us took 15 ms. Here the caller works off chunks
 * itself and waits only for threads that are in the middle of one; who comes late finds nothing left and goes back. */
#ifndef MGN_HOST_PARALLEL_H
#define MGN_HOST_PARALLEL_H

#include "core/core.h"

/* Processors that this process may use: those it is bound to. */
int mgn_processors(void);

/* `thread` is below the number of threads asked for; no two chunks run at once under the same one. */
typedef void mgn_chunk_function(void *context, int64_t chunk, int thread);

/* Runs chunks 0 .. chunks-1, each once, in no particular order, on up to `threads` threads including the caller; returns
 * when all are done. A chunk's own call, and another thread's meanwhile, run on the thread that makes them, alone. */
void mgn_parallel(int threads, int64_t chunks, mgn_chunk_function *function, void *context);

/* Whether this thread works off its chunks alone: for one that is itself one of several busy ones, where workers would
 * only take turns with the others. */
void mgn_parallel_alone(bool is_alone);

#endif
