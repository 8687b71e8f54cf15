/* Wide programs: elementwise work on whole matrices, between the products of a wide model, in one pass over them.
 *
 * Every value is a matrix of `rows` x `columns` with far more columns than a row program's rows have features. An
 * instruction is elementwise, or sums a matrix over its rows, its columns or both. Operands are earlier results, numbers,
 * or memory: whole matrices, and vectors that all rows (biases) or all columns share, told apart by their strides alone.
 * Results that nobody outside reads never reach memory; a backend keeps them for a tile of the matrix at a time.
 *
 * Values are named by the instruction that makes them, so backends see the whole dataflow and place values themselves. */
#ifndef MGN_HOST_WIDE_PROGRAM_H
#define MGN_HOST_WIDE_PROGRAM_H

#include "backend/backend.h"

typedef enum mgn_wide_opcode {
    MGN_WIDE_ELEMENTWISE, /* (rows, columns) = op(in[0], ...), op of graph/ops.def */
    MGN_WIDE_COLUMN_SUM,  /* external[j] = sum over rows of in[0] */
    MGN_WIDE_ROW_SUM,     /* external[i] = sum over columns */
    MGN_WIDE_TOTAL_SUM    /* external[0] = sum over both */
} mgn_wide_opcode;

typedef enum mgn_wide_sort {
    MGN_WIDE_VALUE,    /* the result of elementwise instruction `index` */
    MGN_WIDE_EXTERNAL, /* externals[index] */
    MGN_WIDE_CONSTANT  /* constants[index] */
} mgn_wide_sort;

typedef struct mgn_wide_source {
    mgn_wide_sort sort;
    int32_t index;
} mgn_wide_source;

typedef struct mgn_wide_instruction {
    mgn_wide_opcode opcode;
    mgn_op op; /* ELEMENTWISE */
    int32_t inputs;
    mgn_wide_source in[MGN_MAX_INPUTS];
    int32_t external; /* where the result goes; -1: later instructions alone read it */
} mgn_wide_instruction;

/* Element (i, j) lies at offset + i * row_stride + j * column_stride; column_stride is 0 or 1. */
typedef struct mgn_wide_external {
    mgn_memory *memory;
    int64_t offset, row_stride, column_stride;
} mgn_wide_external;

typedef struct mgn_wide_program {
    mgn_dtype real;
    int64_t rows, columns;
    const mgn_wide_instruction *instructions;
    int32_t count;
    const mgn_wide_external *externals;
    int32_t external_count;
    const double *constants;
    int32_t constant_count;
} mgn_wide_program;

#endif
