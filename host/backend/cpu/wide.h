/* Wide programs on the CPU: tiles of eight vectors go through all instructions one after the other, in registers from an
 * instruction to the next, else through slots in the first-level cache; chunks of rows go over threads. */
#ifndef MGN_HOST_BACKEND_CPU_WIDE_H
#define MGN_HOST_BACKEND_CPU_WIDE_H

#include "backend/wide_program.h"

enum {
    MGN_CPU_WIDE_VECTORS = 8, /* of a tile: one of each of so many rows, or of a single row where there are fewer */
    MGN_CPU_WIDE_BAND = 32    /* rows whose sums are added up side by side */
};

/* What a step does with the accumulator, a tile's worth of registers; x is its operand. */
typedef enum mgn_cpu_wide_code {
    MGN_CPU_WIDE_CALL, /* the op's own loop, over memory: any op that has no code */
    MGN_CPU_WIDE_KEEP,
    MGN_CPU_WIDE_NEG,
    MGN_CPU_WIDE_SQUARE,
    MGN_CPU_WIDE_SQRT,
    MGN_CPU_WIDE_LOGISTIC,
    MGN_CPU_WIDE_SUM_COLUMNS,
    MGN_CPU_WIDE_SUM_ROWS,
    MGN_CPU_WIDE_LOAD, /* x; from here on there is one */
    MGN_CPU_WIDE_ADD,
    MGN_CPU_WIDE_SUB,  /* accumulator - x */
    MGN_CPU_WIDE_FROM, /* x - accumulator */
    MGN_CPU_WIDE_MUL,
    MGN_CPU_WIDE_DIV,  /* accumulator / x */
    MGN_CPU_WIDE_INTO, /* x / accumulator */
    MGN_CPU_WIDE_SPLAT /* added to those with an operand: all elements of a vector of it are one number */
} mgn_cpu_wide_code;

/* Where a step's operand or result lies: element (i, j) of a matrix outside at base + i row_stride + j step; a value that
 * never leaves a tile in a slot of the thread's. Steps name places by number, so that all of them stay in the first-level
 * cache beside the slots. */
typedef struct mgn_cpu_wide_place {
    void *base;     /* NULL: a slot */
    int64_t offset; /* of the slot, or of the thread's copy of a row that all rows share, in elements */
    bool copied; /* there is one: such rows lie as far apart as matrices are wide, often in a few sets of the caches */
    int64_t row_stride, step;
    int64_t apart; /* elements from a vector of a tile to the next */
} mgn_cpu_wide_place;

enum { MGN_CPU_WIDE_HELD = -1 }; /* an argument that is the accumulator */

typedef struct mgn_cpu_wide_step {
    mgn_cpu_wide_code code;
    int32_t in;  /* a place; CALL: 0 */
    int32_t out; /* the place that the accumulator goes to afterwards; -1: none */
    int32_t sum; /* number among the column sums, or among the row and total sums; CALL: of the call */
} mgn_cpu_wide_step;

typedef struct mgn_cpu_wide_call {
    mgn_op op;
    int32_t inputs;
    int32_t in[MGN_MAX_INPUTS]; /* places, or MGN_CPU_WIDE_HELD */
} mgn_cpu_wide_call;

/* A sum of the program: what `finish` makes of the partial ones. */
typedef struct mgn_cpu_wide_sum {
    mgn_wide_opcode opcode;
    int32_t number; /* as the step's */
    void *out;
} mgn_cpu_wide_sum;

typedef struct mgn_cpu_wide mgn_cpu_wide;

/* One variant's functions; one real type. */
typedef struct mgn_cpu_wide_kernels {
    int64_t lanes;                 /* elements of a vector */
    const mgn_cpu_wide_code *code; /* by op */
    /* All tiles of a chunk; its sums to the program's partial ones. */
    void (*chunk)(const mgn_cpu_wide *wide, int64_t chunk, int thread);
    /* One sum, from the partial ones of all chunks, added in their order. */
    void (*finish)(const mgn_cpu_wide *wide, int64_t sum);
} mgn_cpu_wide_kernels;

struct mgn_cpu_wide {
    const mgn_cpu_wide_kernels *kernels;
    int64_t rows, columns;
    bool by_rows;                    /* a vector of each of eight rows; else eight of one row */
    int64_t tile_rows, tile_columns; /* of a tile */
    int64_t chunk_rows, row_chunks;  /* chunk = row chunk * column chunks + column chunk */
    int64_t chunk_columns, column_chunks;
    mgn_cpu_wide_step *steps;
    int32_t count;
    mgn_cpu_wide_sum *sums;
    int32_t sum_count, column_sums, row_sums; /* row_sums: total sums too */
    mgn_cpu_wide_place *places;               /* outside memory, then slots */
    int32_t place_count;
    mgn_cpu_wide_call *calls;
    int32_t call_count;
    int32_t *fetched; /* places: whole matrices outside that a tile reads or writes */
    int32_t fetched_count;
    int threads;
    size_t real_size, sums_at, at_at, thread_bytes; /* of a thread: slots, sums of a band's rows, by lane, places */
    bool parallel;
    void *constants;
    unsigned char *memory; /* of all threads */
    void *column_parts;    /* (row chunks, tiles of columns, column sums, columns of a tile) */
    void *row_parts;       /* (row sums, column chunks, rows) */
};

mgn_status mgn_cpu_wide_build(const mgn_cpu_wide_kernels *kernels, const mgn_wide_program *program,
                              mgn_cpu_wide **wide);
void mgn_cpu_wide_destroy(mgn_cpu_wide *wide);
void mgn_cpu_wide_run(mgn_cpu_wide *wide);

#endif
