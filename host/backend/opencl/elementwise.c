/* Elementwise ops: the axes of a call are joined where its strides allow; what remains contiguous goes to the flat
 * kernel and the rest to the strided one. A program per op and kernel is made from the op's row of the table. */
#include "backend/opencl/opencl.h"

#include <stdio.h>

/* Elements of a strided launch on a GPU, where indices are 32-bit. */
static const uint64_t max_strided = (uint64_t)1 << 31;
/* Elements for which another work-item on a CPU device pays. */
enum { GRAIN = 4096 };

/* A call's axes, padded in front to four; operand 0 is the output. */
typedef struct layout {
    int operands;
    uint64_t dim[MGN_MAX_RANK];
    uint64_t stride[1 + MGN_MAX_INPUTS][MGN_MAX_RANK];
    uint64_t offset[1 + MGN_MAX_INPUTS];
} layout;

static const mgn_operand *operand_of(const mgn_call *call, int i) { return i == 0 ? &call->out : &call->in[i - 1]; }

/* Whether axis `axis` continues axis `axis - 1` in every operand, so that the two can be one. */
static bool can_join(const layout *l, int axis) {
    for (int i = 0; i < l->operands; i++)
        if (l->stride[i][axis - 1] != l->stride[i][axis] * l->dim[axis]) return false;
    return true;
}

static void join(layout *l, int axis) {
    l->dim[axis] *= l->dim[axis - 1];
    for (int before = axis - 1; before >= 0; before--) {
        l->dim[before] = before ? l->dim[before - 1] : 1;
        for (int i = 0; i < l->operands; i++) l->stride[i][before] = before ? l->stride[i][before - 1] : 0;
    }
}

/* Drops axes of length 1 and joins the others, so that as few as possible stand at the end. */
static layout collapse(const mgn_call *call) {
    layout l = {.operands = 1 + call->inputs, .dim = {1, 1, 1, 1}};
    const int rank = call->out.shape.rank;
    int axis = MGN_MAX_RANK;
    for (int r = rank - 1; r >= 0; r--) {
        if (call->out.shape.dim[r] == 1) continue;
        axis--;
        l.dim[axis] = (uint64_t)call->out.shape.dim[r];
        for (int i = 0; i < l.operands; i++) l.stride[i][axis] = (uint64_t)operand_of(call, i)->stride[r];
    }
    for (int i = 0; i < l.operands; i++) l.offset[i] = (uint64_t)operand_of(call, i)->offset;
    for (axis = MGN_MAX_RANK - 1; axis > 0; axis--)
        while (l.dim[axis - 1] > 1 && can_join(&l, axis)) join(&l, axis);
    return l;
}

/* One axis, the output contiguous, every input contiguous or constant. A single element is both. */
static bool is_flat(const layout *l) {
    if (l->dim[2] != 1) return false;
    if (l->dim[3] == 1) return true;
    for (int i = 0; i < l->operands; i++)
        if (l->stride[i][3] != 1 && (i == 0 || l->stride[i][3] != 0)) return false;
    return true;
}

static uint64_t count_of(const layout *l) { return l->dim[0] * l->dim[1] * l->dim[2] * l->dim[3]; }

/* Elements of a work-group (CPU shape), a multiple of `unit`, and how many groups that makes. */
static void split(const mgn_cl_device *device, uint64_t count, uint64_t unit, uint64_t *chunk, uint64_t *groups) {
    *groups = mgn_cl_groups(device, count, GRAIN);
    *chunk = mgn_cl_ceil_div(mgn_cl_ceil_div(count, *groups), unit) * unit;
    if (device->vectors) *groups = mgn_cl_ceil_div(count, *chunk);
}

static mgn_status emit_flat(mgn_cl_builder *builder, const layout *l, const char *defines) {
    const mgn_call *call = builder->call;
    uint64_t chunk, groups;
    const uint64_t count = count_of(l);
    split(builder->device, count, 64, &chunk, &groups);
    mgn_cl_place place[1 + MGN_MAX_INPUTS] = {{0}};
    uint64_t step[1 + MGN_MAX_INPUTS] = {0};
    for (int i = 0; i < l->operands; i++) {
        place[i] = mgn_cl_place_of(operand_of(call, i));
        step[i] = l->dim[3] == 1 ? 0 : l->stride[i][3];
    }
    const mgn_dtype dtype = call->out.dtype;
    switch (call->inputs) {
    case 1:
        return mgn_cl_emit(builder, "elementwise", dtype, defines, "flat", groups, "pupuu", place[1], step[1], place[0],
                           count, chunk);
    case 2:
        return mgn_cl_emit(builder, "elementwise", dtype, defines, "flat", groups, "pupupuu", place[1], step[1],
                           place[2], step[2], place[0], count, chunk);
    default:
        return mgn_cl_emit(builder, "elementwise", dtype, defines, "flat", groups, "pupupupuu", place[1], step[1],
                           place[2], step[2], place[3], step[3], place[0], count, chunk);
    }
}

static mgn_status emit_strided(mgn_cl_builder *builder, const layout *l, const char *defines) {
    const mgn_call *call = builder->call;
    uint64_t chunk, groups;
    const uint64_t count = count_of(l);
    /* Short rows are taken a vector's width of them at a time. */
    split(builder->device, count, l->dim[3] < 64 ? 64 * l->dim[3] : 64, &chunk, &groups);
    mgn_cl_place place[1 + MGN_MAX_INPUTS] = {{0}};
    for (int i = 0; i < l->operands; i++) place[i] = (mgn_cl_place){operand_of(call, i)->memory, l->offset[i]};
    const mgn_dtype dtype = call->out.dtype;
    switch (call->inputs) {
    case 1:
        return mgn_cl_emit(builder, "elementwise", dtype, defines, "strided", groups, "pqpqquu", place[1], l->stride[1],
                           place[0], l->stride[0], l->dim, count, chunk);
    case 2:
        return mgn_cl_emit(builder, "elementwise", dtype, defines, "strided", groups, "pqpqpqquu", place[1],
                           l->stride[1], place[2], l->stride[2], place[0], l->stride[0], l->dim, count, chunk);
    default:
        return mgn_cl_emit(builder, "elementwise", dtype, defines, "strided", groups, "pqpqpqpqquu", place[1],
                           l->stride[1], place[2], l->stride[2], place[3], l->stride[3], place[0], l->stride[0], l->dim,
                           count, chunk);
    }
}

/* Pieces of the outermost axis that is longer than 1, each small enough for 32-bit indices. */
static mgn_status emit_pieces(mgn_cl_builder *builder, const layout *whole, const char *defines) {
    const uint64_t count = count_of(whole);
    if (builder->device->vectors || count <= max_strided) return emit_strided(builder, whole, defines);
    int axis = 0;
    while (whole->dim[axis] == 1) axis++;
    const uint64_t inner = count / whole->dim[axis], most = max_strided / inner;
    if (most == 0)
        return mgn_fail(MGN_ERR_UNSUPPORTED, "%s: %llu elements in one row are more than its kernel can count",
                        mgn_op_infos[builder->call->op].label, (unsigned long long)inner);
    for (uint64_t begin = 0; begin < whole->dim[axis]; begin += most) {
        layout piece = *whole;
        piece.dim[axis] = MGN_MIN(most, whole->dim[axis] - begin);
        for (int i = 0; i < piece.operands; i++) piece.offset[i] += begin * piece.stride[i][axis];
        MGN_TRY(emit_strided(builder, &piece, defines));
    }
    return MGN_OK;
}

mgn_status mgn_cl_emit_elementwise(mgn_cl_builder *builder) {
    const mgn_call *call = builder->call;
    const mgn_op_info *info = &mgn_op_infos[call->op];
    if (call->inputs != info->arity)
        return mgn_fail(MGN_ERR_ARGUMENT, "%s takes %d operands, not %d", info->label, info->arity, call->inputs);
    for (int i = 0; i < call->inputs; i++)
        if (call->in[i].dtype != call->out.dtype || (call->out.dtype == MGN_U32 && call->op != MGN_OP_copy))
            return mgn_fail(MGN_ERR_UNSUPPORTED, "%s of %s and %s", info->label, mgn_dtype_name(call->in[i].dtype),
                            mgn_dtype_name(call->out.dtype));
    const layout l = collapse(call);
    const bool flat = is_flat(&l);
    char defines[512];
    snprintf(defines, sizeof defines, "#define MGN_ARITY %d\n#define MGN_EXPRESSION (%s)\n#define %s\n", info->arity,
             info->expression, flat ? "MGN_FLAT" : "MGN_STRIDED");
    return flat ? emit_flat(builder, &l, defines) : emit_pieces(builder, &l, defines);
}
