/* Row programs on the CPU: instructions decoded into steps, run over blocks of rows that stay in the first-level cache.
 *
 * A place of a row is an array of `block` reals, places lie one behind the other, so an instruction on a run of places
 * is one SIMD loop over count * block reals. Rows beyond the last are filled with copies of the last, so that they are
 * as harmless as real rows, and are left out of sums and stores. */
#ifndef MGN_HOST_BACKEND_CPU_ROWS_H
#define MGN_HOST_BACKEND_CPU_ROWS_H

#include "backend/row_program.h"

enum { MGN_CPU_ROW_LANES = 16 }; /* partial sums of a sum over rows; blocks are multiples of it */

/* What a thread works out before it is needed: the next block's entries of a shuffle, whose rows are fetched meanwhile. */
enum { MGN_CPU_MOST_BLOCK = 256 };
typedef struct mgn_cpu_ahead {
    const void *step; /* whose entries they are; NULL: none */
    int64_t first;    /* row of the block */
    uint32_t entries[MGN_CPU_MOST_BLOCK];
} mgn_cpu_ahead;

/* Where a step runs: this thread's block, the shared places, the sums of this chunk of rows. */
typedef struct mgn_cpu_frame {
    void *base[2];   /* [0]: shared places; [1]: row places */
    void *sums;      /* MGN_CPU_ROW_LANES reals per sum */
    uint32_t *index; /* random states */
    int64_t first;   /* row of the block's first entry */
    int32_t valid;   /* rows of the block that exist */
    int32_t block;
    int64_t end;          /* row after the chunk's last */
    mgn_cpu_ahead *ahead; /* this thread's, for one shuffle */
} mgn_cpu_frame;

typedef struct mgn_cpu_step mgn_cpu_step;
typedef void mgn_cpu_step_function(const mgn_cpu_step *step, const mgn_cpu_frame *frame);

/* What a shuffle keeps from step to step, where one thread runs all rows: entries worked out ahead, since those of a small
 * batch are too few to fill the machine's pipelines. */
enum { MGN_CPU_SHUFFLED_AHEAD = 512 };
typedef struct mgn_cpu_shuffled {
    uint32_t of[4];           /* seed low, seed high, epoch, population */
    uint32_t position, count; /* entries[i] is entry position + i of that epoch, i < count; 0: nothing is kept */
    uint32_t entries[MGN_CPU_SHUFFLED_AHEAD];
} mgn_cpu_shuffled;

struct mgn_cpu_step {
    mgn_cpu_step_function *run;
    int32_t n;       /* elementwise: reals of a repeat */
    int32_t repeats; /* elementwise: loops over n, each operand advancing by `next` */
    int32_t count, inner;
    int32_t space[MGN_MAX_INPUTS], out_space; /* index into frame->base */
    int64_t in[MGN_MAX_INPUTS], out;          /* offsets in reals */
    int64_t next[MGN_MAX_INPUTS], out_next;
    int64_t step, stride, stride_b; /* products and sums: see MGN_ROW_MATMUL; in reals */
    void *external;
    int64_t external_rows;
    int32_t columns, state, to_state;
    const void *fetched[2];     /* SHUFFLE: rows that are gathered by it, to be fetched ahead; NULL: none */
    int32_t fetched_bytes[2];   /* of a row */
    mgn_cpu_shuffled *shuffled; /* SHUFFLE, where rows are one chunk; NULL elsewhere */
    mgn_attributes attributes;
};

/* One variant's functions; one real type. */
typedef struct mgn_cpu_row_kernels {
    mgn_cpu_step_function *elementwise[MGN_OP_COUNT][8]; /* bit i of the second index: operand i advances */
    mgn_cpu_step_function *opcode[MGN_ROW_ADVANCE + 1];  /* the others */
    mgn_cpu_step_function *matmul[6];                    /* [0]: of shared places; [1 .. 4]: that `inner`; [5]: more */
    mgn_cpu_step_function *column_product[6];            /* [1 .. 4]: that `count`; [5]: more */
    /* sums[i] = the lanes of sum i, added as a tree. */
    void (*fold_sums)(const void *lanes, int32_t count, void *sums);
    /* shared[places[i]] = sum i of all chunks, added in their order; `stride` reals from chunk to chunk. */
    void (*finish_sums)(const void *sums, int64_t chunks, int64_t stride, int32_t count, const int32_t *places,
                        void *shared);
} mgn_cpu_row_kernels;

/* A decoded program, for program.c. */
typedef struct mgn_cpu_rows mgn_cpu_rows;
mgn_status mgn_cpu_rows_build(const mgn_cpu_row_kernels *kernels, const mgn_row_program *program, mgn_cpu_rows **rows);
void mgn_cpu_rows_destroy(mgn_cpu_rows *p);
mgn_status mgn_cpu_rows_run(mgn_cpu_rows *p, uint64_t times);

#endif
