/* Row programs: a whole step of a small model as one list of instructions.
 *
 * Most of the work of a small model is row-local: row i of every value depends on row i of others and on values that
 * all rows share. The fuser (graph/fuse.c) turns such a graph into sections that alternate between two sorts:
 *
 *   shared section   runs once: parameters, constants, sums over rows, the optimizer
 *   row section      runs for every row: a map over rows, whose sums over rows (COLUMN_SUM, COLUMN_PRODUCT) are shared
 *                    values for the sections after it
 *
 * Values are scalars in numbered places. A shared place holds one scalar, a row place one scalar per row. An instruction
 * works on runs of places: `count` results in a row, operand j at base + j * stride, so a tensor op on many features is
 * usually one instruction, while slices, transposes, concatenations and broadcasts are only other numbers.
 *
 * How a backend runs it is its own affair: the CPU runs each instruction over a block of rows kept in L1, place p of a
 * block being an array of as many reals as the block has rows; OpenCL prints a kernel in which a place is a variable.
 *
 * A program is run `times` times in a row. `prologue` runs once before and `epilogue` once after (loads and stores of
 * shared state), `sections` every time, then `carry`: the assignments, all of whose reads come before all writes. */
#ifndef MGN_HOST_ROW_PROGRAM_H
#define MGN_HOST_ROW_PROGRAM_H

#include "backend/backend.h"

typedef enum mgn_row_opcode {
    MGN_ROW_ELEMENTWISE, /* dst[j] = op(src[0][j], ...), j < count; op of graph/ops.def. Row result: operands of either
                               sort; shared result: shared operands */
    MGN_ROW_MATMUL,      /* dst[j] = sum_i a[i] b[i, j], i < inner: a at src[0].base + i * src[0].stride;
                               b shared, at src[1].base + i * step + j * src[1].stride. a row or shared, like dst */
    MGN_ROW_SUM,         /* dst[j] = sum_i a[i, j], a at src[0].base + i * step + j * src[0].stride, i < inner */
    MGN_ROW_MAX,         /* the same with the maximum */
    MGN_ROW_COLUMN_SUM,  /* row section: shared dst[j] = sum over rows of row src[0][j] */
    MGN_ROW_COLUMN_PRODUCT, /* row section: shared dst[i * count + j] = sum over rows of src[0][i] * src[1][j], i < inner;
                               operands of rows */
    MGN_ROW_LOAD,           /* row section: dst[j] = external[row, j]; prologue: dst[j] = external[j] (shared).
                               count is the external's number of columns */
    MGN_ROW_STORE,          /* row section: external[row, j] = src[0][j]; epilogue: external[j] = src[0][j] (shared) */
    MGN_ROW_GATHER,         /* row section: dst[j] = external[index, j], index in row place src[0].base (bits of a
                               uint32; outside 0 .. rows-1 gives NaN) */
    MGN_ROW_INDEX_LOAD,     /* as LOAD, of uint32 bits into row place dst (count 1) */
    MGN_ROW_BYTES_LOAD,     /* row section: dst[j] = byte row * count + j of the external, divided by 255 */
    MGN_ROW_BYTES_STORE,    /* row section: that byte = src[0][j], as op to_unorm8 rounds it */
    MGN_ROW_SHUFFLE,     /* row section: row place dst gets the bits of entry `row` of op shuffle; attributes.shuffle;
                               state in index places state .. state+3 */
    MGN_ROW_UNIFORM,     /* row section: dst[j] = element row * count + j of op uniform; attributes.random; state */
    MGN_ROW_NORMAL,      /* the same of op normal */
    MGN_ROW_STATE_LOAD,  /* prologue: index places state .. state+3 = external (uint32) */
    MGN_ROW_STATE_STORE, /* epilogue: external = index places state .. state+3 */
    MGN_ROW_ADVANCE /* index places dst .. dst+3 = those at `state`, the step (the third) raised by attributes.advance.steps */
} mgn_row_opcode;

/* A run of places. */
typedef struct mgn_row_run {
    bool is_row; /* row places; else shared places */
    int32_t base;
    int32_t stride; /* 0 or 1, except in MATMUL, SUM and MAX, where it may be anything */
} mgn_row_run;

typedef struct mgn_row_instruction {
    mgn_row_opcode opcode;
    mgn_op op; /* ELEMENTWISE */
    int32_t count, inner, step;
    mgn_row_run dst; /* stride 1 */
    mgn_row_run src[MGN_MAX_INPUTS];
    int32_t external; /* LOAD, STORE, GATHER, ..: number of the external */
    int32_t state;    /* SHUFFLE, UNIFORM, NORMAL, ADVANCE, STATE_*: first index place */
    mgn_attributes attributes;
} mgn_row_instruction;

typedef struct mgn_row_section {
    bool is_row;
    const mgn_row_instruction *instructions;
    int32_t count;
    int32_t row_places; /* places that a row of this section needs */
} mgn_row_section;

/* carry: count shared places (or 4 index places) from `from` to `to`, after all sections of a step. */
typedef struct mgn_row_carry {
    bool is_state;
    int32_t from, to, count;
} mgn_row_carry;

/* Device memory outside. */
typedef struct mgn_row_external {
    mgn_memory *memory;
    int64_t offset; /* elements */
    mgn_dtype dtype;
    int64_t rows;    /* of a row external; 1 for shared ones */
    int32_t columns; /* elements a row, contiguous */
} mgn_row_external;

typedef struct mgn_row_program {
    mgn_dtype real;
    int64_t rows;          /* that row sections run over */
    int32_t shared_places; /* places 0 .. constants-1 hold `constant_values`, never written */
    int32_t constants;
    const double *constant_values;
    int32_t index_places; /* uint32, for random states */
    int32_t row_places;   /* the most that a row section needs */
    mgn_row_section prologue, epilogue;
    const mgn_row_section *sections;
    int32_t section_count;
    const mgn_row_carry *carries;
    int32_t carry_count;
    const mgn_row_external *externals;
    int32_t external_count;
} mgn_row_program;

#endif
