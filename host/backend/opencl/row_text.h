/* Inside of the OpenCL row programs: how a row program (backend/row_program.h) becomes the text of kernels.
 *
 *   row_print.c    kernels, and how the parts of a program follow each other
 *   row_rows.c     sections of rows
 *   row_shared.c   shared sections, in vectors (CPU devices) or spread over a work-group (GPUs)
 *   row_program.c  building the kernels, their memory, running them
 *
 * In the text a place of a row is a variable (p3, or u3 for the bits of an index), shared places are s[3] and index
 * places x[3]. What may differ between plans of one structure, such as row counts, offsets and the values of
 * constants, is no part of the text: it is in a table n of numbers that the kernels get. So plans for other data sizes,
 * and the one for the smaller last batch of an epoch, share one compiled unit.
 *
 * A program runs in one of two ways:
 *   single   few rows: ONE kernel, of one work-group, that does many steps in a launch
 *   split    many rows: `begin` (prologue, first shared section), `rows_k` (row section k, chunks over work-groups, whose
 *            sums go to `partial`), `shared_k` (adds those up, runs the shared sections behind; the last one also does
 *            the carries and either the first shared section of the next step or the epilogue) */
#ifndef MGN_HOST_OPENCL_ROW_TEXT_H
#define MGN_HOST_OPENCL_ROW_TEXT_H

#include "backend/opencl/opencl.h"
#include "backend/row_program.h"

/* Entries of the table n that every program has; the externals' offsets and the rest come behind. AHEAD: steps whose
 * shuffles a single program works out together. */
enum { MGN_CL_ROWS, MGN_CL_CHUNK_ROWS, MGN_CL_CHUNKS, MGN_CL_AHEAD, MGN_CL_FIRST_OFFSET };

/* Row sections of a program at most, and sums that a work-group adds up at a time. */
enum { MGN_CL_MOST_ROW_SECTIONS = 32, MGN_CL_SUMS_AT_ONCE = 8 };

/* One row section and what follows it. */
typedef struct mgn_cl_row_part {
    int32_t section;         /* index into program->sections */
    int32_t first_sum, sums; /* over rows; numbered through all sections */
    bool has_shared;         /* split: there is a kernel shared_k */
    int64_t weight;          /* of the loop over rows */
} mgn_cl_row_part;

typedef struct mgn_cl_row_text {
    const mgn_row_program *program;
    bool vectors, single;
    int32_t width; /* lanes of a vector */

    char *text;
    size_t length, capacity;
    bool silent;     /* first pass: nothing is printed, but what must lie in memory is found out */
    bool failed;     /* memory ran out */
    uint64_t *table; /* n */
    int32_t table_count, table_capacity;
    int64_t weight; /* of the work a compiler has with it: operations after unrolling */

    mgn_cl_row_part parts[MGN_CL_MOST_ROW_SECTIONS];
    int32_t part_count, leading; /* leading: sections before the first row section */
    bool has_begin;
    bool carries_overlap; /* some carry reads what another writes: they go through spare places */
    int32_t spare;        /* how many, behind the shared places */

    int32_t ahead; /* shuffles that are worked out for many steps at a time */
    int32_t names; /* variables named so far */
    /* Which variable holds a shared place, and in which lane (over a work-group: in which work-item); -1: none. And
     * whether anybody reads s[place]. */
    int32_t *variable, *lane;
    bool *in_memory;
    /* Over a work-group: places stored since the last barrier. */
    bool *is_dirty;
    int32_t *dirty, dirty_count;
} mgn_cl_row_text;

/* Prints `program` as text->single and ->vectors say. Errors: MEMORY, UNSUPPORTED (more row sections than there is
 * room for). */
mgn_status mgn_cl_row_text_make(mgn_cl_row_text *t, const mgn_row_program *program, uint64_t chunk_rows);
void mgn_cl_row_text_free(mgn_cl_row_text *t);
/* Places of `partial` that a chunk of rows needs. */
int32_t mgn_cl_partial_places(const mgn_cl_row_text *t);
/* Words of `kept`: index places, and shuffles worked out ahead. */
uint64_t mgn_cl_kept_words(const mgn_cl_row_text *t);

/* Over a work-group: elements of local memory for shared places, and for sums by MGN_CL_GROUP; at least 1. */
size_t mgn_cl_local_places(const mgn_cl_row_text *t);
size_t mgn_cl_local_sums(const mgn_cl_row_text *t);

/* ---- between the printers ---- */

void mgn_cl_put(mgn_cl_row_text *t, const char *format, ...) MGN_PRINTF(2, 3);
/* Adds an entry to the table n; its index. */
int32_t mgn_cl_row_number(mgn_cl_row_text *t, uint64_t value);
int32_t mgn_cl_row_sums(const mgn_row_instruction *i);

/* ---- row_rows.c ---- */

/* single, at the start of a step: the shuffles of the next steps, when those worked out before are used up. */
void mgn_cl_print_ahead(mgn_cl_row_text *t);
/* A row section: loop and sums. In split programs the loop alone, or the sums alone. */
void mgn_cl_print_row_loop(mgn_cl_row_text *t, mgn_cl_row_part *part);
/* single: the loop's sums to their places; split: to `partial`. */
void mgn_cl_print_row_sums(mgn_cl_row_text *t, const mgn_cl_row_part *part);
/* split: from `partial` to their places. */
void mgn_cl_print_partial_sums(mgn_cl_row_text *t, const mgn_cl_row_part *part);
/* Vectors that hold the sums of a part. */
int32_t mgn_cl_sum_vectors(const mgn_cl_row_text *t, const mgn_cl_row_part *part);

/* ---- row_shared.c ---- */

void mgn_cl_print_shared(mgn_cl_row_text *t, const mgn_row_section *section);
void mgn_cl_print_carries(mgn_cl_row_text *t);
/* The shared places from `place` on are the lanes of a variable from `lane` on: remembers it, and stores them if need be. */
void mgn_cl_hold(mgn_cl_row_text *t, int32_t variable, int32_t lane, int32_t place, int32_t count);
/* Somebody reads s[place] .. s[place + count - 1]. */
void mgn_cl_reads(mgn_cl_row_text *t, int32_t place, int32_t count);
/* At the start of kernels and loops nothing is known of what variables hold. */
void mgn_cl_forget(mgn_cl_row_text *t);
/* Over a work-group: after a barrier, or where a kernel starts, all places are as everybody sees them. */
void mgn_cl_clean(mgn_cl_row_text *t);
/* A barrier, if shared places were stored since the last one. */
void mgn_cl_settle(mgn_cl_row_text *t);

#endif
