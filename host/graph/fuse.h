/* Inside of the fuser: graph -> row program (backend/row_program.h).
 *
 *   fuse.c        which values are rows, which are shared, and the order of sections
 *   fuse_lower.c  each op as instructions on scalars
 *   fuse_spd.c    small positive definite matrices, unrolled
 *   fuse_emit.c   instructions: runs of places, and where row places lie */
#ifndef MGN_HOST_FUSE_H
#define MGN_HOST_FUSE_H

#include "backend/row_program.h"
#include "graph/plan.h"

/* A scalar: a place, and whether each row has its own. Row places are virtual until places are assigned. */
typedef struct mgn_scalar {
    bool is_row;
    int32_t place;
} mgn_scalar;

/* What the fuser knows of a node. */
typedef struct mgn_fused {
    bool is_row;       /* one value per row */
    bool is_sum;       /* shared, made by a sum over rows */
    bool is_assigned;  /* rows that an input gets in place */
    bool is_loaded;    /* input: read other than by gathering rows of it */
    int level;         /* shared: first section it is known in; row: the row section that can compute it */
    int32_t wish;      /* shared: where its scalars had best lie, so that a concatenation is one run; -1: anywhere */
    int32_t spill;     /* external that keeps it between row sections; -1: recomputed */
    int first_section; /* of a row value: where it is first computed; -1: not needed */
    int sections_needed;
    mgn_scalar
        *scalars; /* elements (shared) or features (row) in row-major order; of the current row section for rows */
    int32_t count;
} mgn_fused;

typedef struct mgn_instruction_list {
    mgn_row_instruction *items;
    int32_t count, capacity;
} mgn_instruction_list;

typedef struct mgn_fuser {
    mgn_arena *arena;
    mgn_lowering *low;
    const mgn_graph *graph;
    int64_t rows;
    int32_t most_features;
    bool assigns_rows; /* inputs that are assigned may be rows */
    mgn_fused *of;     /* by node id */
    int levels;        /* shared sections 0 .. levels, row sections between them */
    mgn_instruction_list *current;
    bool in_rows; /* the current section is one of rows */
    bool failed;  /* something does not fit into a row program, or memory ran out */
    mgn_instruction_list prologue, epilogue, *sections; /* sections[2 k]: shared, [2 k + 1]: rows */
    int32_t *row_places;                                /* of each section */
    double *constants;
    int32_t constant_count, constant_capacity;
    int32_t shared_count; /* places beyond the constants, numbered from CONSTANT_LIMIT until the end */
    int32_t index_count;
    int32_t virtual_count;             /* row places of the current section, before assignment */
    int32_t *chunk_of, chunk_capacity; /* virtual place -> first place of the instruction result it belongs to */
    mgn_row_external *externals;
    int32_t external_count, external_capacity;
    mgn_row_carry *carries;
    int32_t carry_count;
} mgn_fuser;

/* Constants and other shared places are numbered apart until the number of constants is known. */
enum { MGN_CONSTANT_LIMIT = 1 << 20, MGN_SHARED_LIMIT = 1 << 16, MGN_INSTRUCTION_LIMIT = 8192 };

/* ---- fuse_emit.c ---- */
mgn_scalar mgn_fuse_constant(mgn_fuser *f, double value);
/* `count` new places of the section's sort (or shared ones): consecutive, one chunk. */
int32_t mgn_fuse_shared(mgn_fuser *f, int32_t count);
int32_t mgn_fuse_row_places(mgn_fuser *f, int32_t count);
mgn_row_instruction *mgn_fuse_instruction(mgn_fuser *f, mgn_row_opcode opcode);
/* out[j] = op(in[0][j], in[1][j], ...): as few instructions as the places allow. */
void mgn_fuse_elementwise(mgn_fuser *f, mgn_op op, int32_t count, const mgn_scalar *const *in, mgn_scalar *out);
/* The same, with results in `count` places from `first`. */
void mgn_fuse_elementwise_to(mgn_fuser *f, mgn_op op, int32_t count, const mgn_scalar *const *in, int32_t first,
                             mgn_scalar *out);
mgn_scalar mgn_fuse_scalar(mgn_fuser *f, mgn_op op, mgn_scalar a, mgn_scalar b);
/* Whether in[0 .. count-1] is base + j * stride within one chunk; `any` stride, else 0 or 1. */
bool mgn_fuse_is_run(const mgn_fuser *f, const mgn_scalar *in, int32_t count, bool any, mgn_row_run *run);
/* The same scalars as one run of stride 1 of row (or shared) places; copied where they are not. */
mgn_row_run mgn_fuse_as_run(mgn_fuser *f, const mgn_scalar *in, int32_t count, bool is_row);
int32_t mgn_fuse_external(mgn_fuser *f, mgn_operand operand, int64_t rows, int32_t columns);
/* Gives the virtual row places of the current section real ones; how many there are. */
int32_t mgn_fuse_assign_places(mgn_fuser *f, mgn_instruction_list *list);
void mgn_fuse_settle_shared(mgn_fuser *f, mgn_instruction_list *list);

/* ---- fuse_lower.c ---- */
mgn_scalar *mgn_fuse_scalars(mgn_fuser *f, int64_t count);
int32_t mgn_fuse_feature_count(const mgn_fuser *f, const mgn_node *node);
void mgn_fuse_lower(mgn_fuser *f, const mgn_node *node);

/* ---- fuse_spd.c: A is d x d scalars, row-major; results go to out ---- */
void mgn_fuse_spd_logdet(mgn_fuser *f, const mgn_scalar *a, int d, mgn_scalar *out);
void mgn_fuse_spd_inverse(mgn_fuser *f, const mgn_scalar *a, int d, mgn_scalar *out);
void mgn_fuse_spd_solve(mgn_fuser *f, const mgn_scalar *a, int d, const mgn_scalar *b, int columns, mgn_scalar *out);

/* ---- for plans ---- */

/* The whole live graph as one row program in `program` (which lives in `arena`); false when it does not fit one. A part of
 * a larger graph is one only where its rows are short: long ones are better off in single calls.
 * Scratch that it needs is taken from `low`; externals may lie at mgn_scratch_place. */
bool mgn_fuse(mgn_lowering *low, const mgn_graph *graph, bool is_part, mgn_arena *arena, mgn_row_program *program);

#endif
