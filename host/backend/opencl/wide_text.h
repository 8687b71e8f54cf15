/* Inside of the OpenCL wide programs: how a wide program (backend/wide_program.h) becomes the text of a kernel.
 *
 *   wide_loops.c   which instructions repeat
 *   wide_print.c   the kernels
 *   wide.c         how a matrix is cut, launches
 *
 * Layers of a model leave the same few instructions again and again, each time on the next layer's operands. Written out, a
 * cascade of 32 layers takes many seconds to compile and fills the first cache with instructions, so repetitions become
 * loops: `i` counts them, values that others read at another time are kept in arrays, and memory is found at a constant
 * distance from one repetition to the next. */
#ifndef MGN_HOST_OPENCL_WIDE_TEXT_H
#define MGN_HOST_OPENCL_WIDE_TEXT_H

#include "backend/opencl/row_text.h"
#include "backend/wide_program.h"

/* Instructions first .. first + period * count - 1: `count` repetitions of `period` instructions. */
typedef struct mgn_cl_wide_loop {
    int32_t first, period, count;
} mgn_cl_wide_loop;

/* How an operand of a loop is found in repetition i. */
typedef enum mgn_cl_wide_way {
    MGN_CL_WIDE_FIXED,   /* the same every time */
    MGN_CL_WIDE_SAME,    /* made in this repetition */
    MGN_CL_WIDE_CARRIED, /* made in the one before; at first by the instruction `period` before */
    MGN_CL_WIDE_STREAM   /* further by a constant: instructions of a loop before this one, or memory */
} mgn_cl_wide_way;

typedef struct mgn_cl_wide_loops {
    const mgn_wide_program *program;
    mgn_cl_wide_loop *loops;
    int32_t count;
    int32_t *loop_of; /* by instruction; -1: none */
    /* By instruction of a loop's first repetition: its results of all repetitions are kept, the last one is, and it is
     * because the next repetition reads it. */
    bool *is_listed, *is_held, *is_carried;
} mgn_cl_wide_loops;

/* Finds the loops of a program. Errors: MEMORY. */
mgn_status mgn_cl_wide_loops_find(const mgn_wide_program *program, mgn_cl_wide_loops *found);
void mgn_cl_wide_loops_free(mgn_cl_wide_loops *loops);

/* How input k of instruction n, of a loop's first repetition, is found, and how much further it is each time: in
 * instructions, or in elements of memory. */
mgn_cl_wide_way mgn_cl_wide_way_of(const mgn_cl_wide_loops *loops, int32_t n, int32_t k, int64_t *step);
/* How far the place of external `b` is behind that of `a`; false where no constant number of elements says so. */
bool mgn_cl_wide_distance(const mgn_wide_program *program, int32_t a, int32_t b, int64_t *distance);

/* A printed program: its kernels `wide` and, with sums over rows, `finish`, and what they are given. */
typedef struct mgn_cl_wide_arguments {
    int32_t *externals; /* pointer and offset each, and for `wide` a row stride */
    int64_t *steps;     /* behind all others */
    int32_t external_count, step_count;
} mgn_cl_wide_arguments;

typedef struct mgn_cl_wide_text {
    mgn_cl_row_text text;
    mgn_cl_wide_arguments wide, finish;
    int32_t columns_summed, totals, rows_summed;
    int64_t weight; /* of the work that a compiler has with it */
} mgn_cl_wide_text;

/* Prints a program; `native_width` is the floats of a hardware vector, 0 on GPUs. Errors: MEMORY. */
mgn_status mgn_cl_wide_text_make(mgn_cl_wide_text *t, const mgn_wide_program *program, int native_width);
void mgn_cl_wide_text_free(mgn_cl_wide_text *t);
/* The k-th sum of a sort: its instruction. */
const mgn_wide_instruction *mgn_cl_wide_sum(const mgn_wide_program *program, mgn_wide_opcode opcode, int32_t k);

#endif
