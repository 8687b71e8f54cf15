/* Bytes as reals and back. */
#include "backend/opencl/opencl.h"

mgn_status mgn_cl_emit_unorm8(mgn_cl_builder *builder) {
    const mgn_call *call = builder->call;
    const bool from = call->op == MGN_OP_from_unorm8;
    const mgn_operand *reals = from ? &call->out : &call->in[0];
    const uint64_t count = (uint64_t)mgn_shape_count(reals->shape);
    const uint64_t items = mgn_cl_ceil_div(count, mgn_cl_lanes(builder->device, reals->dtype));
    return mgn_cl_emit(builder, "unorm8", reals->dtype, "", mgn_op_infos[call->op].label,
                       mgn_cl_groups(builder->device, items, 256), "ppu", mgn_cl_place_of(&call->in[0]),
                       mgn_cl_place_of(&call->out), count);
}
