/* Several processes that learn together. The library asks for four operations and does not care what carries them: the command
 * brings MPI (host/comm/mpi.c), so a program that links the library needs none. */
#ifndef MGN_COMM_H
#define MGN_COMM_H

#include <mgn/core.h>

#ifdef __cplusplus
extern "C" {
#endif

/** One process's view of its group. All processes of the group make the same calls in the same order; sizes are in bytes.
 *  A call that fails leaves the group unusable. */
typedef struct mgn_comm {
    int rank, size;             /**< 0 .. size - 1; rank 0 writes and prints */
    int local_rank, local_size; /**< among those on the same machine */
    double timeout;             /**< seconds after which a call that is not answered fails with IO; 0: never */
    void *context;              /**< first argument of the functions */
    /** Each of `values` becomes the largest that any process has. */
    mgn_status (*max)(void *context, int32_t *values, int count);
    /** `all` gets sizes[r] bytes from each rank r, at offsets[r]; `own` are this one's. */
    mgn_status (*gather)(void *context, const void *own, const int64_t *sizes, const int64_t *offsets, void *all);
    /** to_sizes[r] bytes at to_offsets[r] of `to` go to rank r; what it sends here comes to from_offsets[r] of `from`. */
    mgn_status (*exchange)(void *context, const void *to, const int64_t *to_sizes, const int64_t *to_offsets,
                           void *from, const int64_t *from_sizes, const int64_t *from_offsets);
    /** All get rank 0's bytes. */
    mgn_status (*broadcast)(void *context, void *bytes, int64_t size);
    bool is_broken; /**< set by the library: one of the functions failed */
    bool is_over;   /**< set by the library: a failure was agreed on, and nobody asks the group any more */
} mgn_comm;

#ifdef __cplusplus
}
#endif
#endif
