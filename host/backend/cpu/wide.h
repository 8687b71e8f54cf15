/* Wide programs on the CPU: tiles of some rows and columns, small enough for the caches near a core, go through all
 * instructions one after the other; chunks of rows go over threads. */
#ifndef MGN_HOST_BACKEND_CPU_WIDE_H
#define MGN_HOST_BACKEND_CPU_WIDE_H

#include "backend/wide_program.h"

/* An operand: element (i, j) of the tile at (row, column) lies at base + (row + i) row_stride + (column + j) step, or, of
 * a value that never leaves the tile, at i width + j of a slot. */
typedef struct mgn_cpu_wide_operand {
    void *base; /* NULL: slot `slot` of the thread's */
    int32_t slot;
    int64_t row_stride, step;
} mgn_cpu_wide_operand;

typedef struct mgn_cpu_wide_step {
    mgn_wide_opcode opcode;
    mgn_op op;
    int32_t inputs;
    int32_t sum;     /* number among the sums of its opcode */
    unsigned moving; /* bit k: operand k advances with the column */
    bool flat;       /* operands and result of a tile are one run of numbers each, or one number */
    mgn_cpu_wide_operand in[MGN_MAX_INPUTS], out;
} mgn_cpu_wide_step;

typedef struct mgn_cpu_wide mgn_cpu_wide;

/* One variant's functions; one real type. */
typedef struct mgn_cpu_wide_kernels {
    /* All tiles of a chunk; its sums to the program's partial ones. */
    void (*chunk)(const mgn_cpu_wide *wide, int64_t chunk, int thread);
    /* One sum, from the partial ones of all chunks, added in their order. */
    void (*finish)(const mgn_cpu_wide *wide, int64_t step);
} mgn_cpu_wide_kernels;

struct mgn_cpu_wide {
    const mgn_cpu_wide_kernels *kernels;
    int64_t rows, columns;
    int64_t tile_rows, tile_columns;       /* at most */
    int64_t chunk_rows, row_chunks, tiles; /* chunk = row chunk * tiles + tile of columns */
    mgn_cpu_wide_step *steps;
    int32_t count, slots;
    int32_t first_sum; /* steps from here on are sums of their own kind in `sums`, by step */
    int32_t column_sums, row_sums, total_sums;
    int32_t *sums; /* the steps that sum */
    int32_t sum_count;
    mgn_cpu_wide_operand *fetched; /* whole matrices outside that a tile reads or writes */
    int32_t fetched_count;
    int threads;
    size_t real_size, slot_bytes, slots_at, thread_bytes;
    int64_t *below; /* by step, of its result and then its inputs: elements from a tile to the one below */
    bool parallel;
    void *constants;
    unsigned char *memory; /* a thread's places of operands, and its slots */
    void *column_parts;    /* (row chunks, column sums, columns) */
    void *row_parts;       /* (row sums, tiles, rows) */
    double *total_parts;   /* (total sums, chunks) */
};

mgn_status mgn_cpu_wide_build(const mgn_cpu_wide_kernels *kernels, const mgn_wide_program *program,
                              mgn_cpu_wide **wide);
void mgn_cpu_wide_destroy(mgn_cpu_wide *wide);
void mgn_cpu_wide_run(mgn_cpu_wide *wide);

#endif
