/* The op enum and what the table says about each op. */
#ifndef MGN_HOST_GRAPH_OPS_H
#define MGN_HOST_GRAPH_OPS_H

#include <stdbool.h>
#include <stdint.h>

typedef enum mgn_op {
#define MGN_UNARY(op, ...) MGN_OP_##op,
#define MGN_BINARY(op, ...) MGN_OP_##op,
#define MGN_TERNARY(op, ...) MGN_OP_##op,
#define MGN_KERNEL(op, ...) MGN_OP_##op,
#define MGN_LAYOUT(op, ...) MGN_OP_##op,
#include "graph/ops.def"
    MGN_OP_COUNT
} mgn_op;

typedef struct mgn_op_info {
    const char *label;      /* "tanh" */
    const char *expression; /* scalar arithmetic of an elementwise op; NULL otherwise */
    int arity;              /* of an elementwise op; 0 otherwise */
    bool has_kernel;        /* backends run it */
    int flops;              /* per element, elementwise ops */
    double low, high;       /* interval that tests draw from */
    double ulps;            /* allowed error, see ops.def */
} mgn_op_info;

extern const mgn_op_info mgn_op_infos[MGN_OP_COUNT];

static inline bool mgn_op_is_elementwise(mgn_op op) { return mgn_op_infos[op].arity > 0; }

#endif
