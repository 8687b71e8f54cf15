#include "graph/ops.h"

#include <stddef.h>

const mgn_op_info mgn_op_infos[MGN_OP_COUNT] = {
#define MGN_UNARY(op, expression, da, flops, low, high, ulps) \
    [MGN_OP_##op] = {#op, #expression, 1, true, flops, low, high, ulps},
#define MGN_BINARY(op, expression, da, db, flops, low, high, ulps) \
    [MGN_OP_##op] = {#op, #expression, 2, true, flops, low, high, ulps},
#define MGN_TERNARY(op, expression, da, db, dc, flops, low, high, ulps) \
    [MGN_OP_##op] = {#op, #expression, 3, true, flops, low, high, ulps},
#define MGN_KERNEL(op, family, ulps) [MGN_OP_##op] = {#op, NULL, 0, true, 0, -1, 1, ulps},
#define MGN_LAYOUT(op, family) [MGN_OP_##op] = {#op, NULL, 0, false, 0, -1, 1, 0},
#include "graph/ops.def"
};
