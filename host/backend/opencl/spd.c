/* Batched small symmetric positive definite matrices. For small d the kernels are compiled with d as a constant and
 * work in private memory; larger ones work in scratch memory. */
#include "backend/opencl/opencl.h"

#include <stdio.h>

enum { MAX_PRIVATE = 8, MAX_ORDER = 1 << 15 };

mgn_status mgn_cl_emit_spd(mgn_cl_builder *builder) {
    const mgn_call *call = builder->call;
    const mgn_dtype dtype = call->out.dtype;
    const uint64_t batch = (uint64_t)call->attributes.spd.batch, d = (uint64_t)call->attributes.spd.d;
    const uint64_t columns = (uint64_t)call->attributes.spd.columns;
    const mgn_cl_place a = mgn_cl_place_of(&call->in[0]), out = mgn_cl_place_of(&call->out);
    if (d > MAX_ORDER)
        return mgn_fail(MGN_ERR_UNSUPPORTED, "%s: a matrix of order %llu; %d is the most", mgn_op_infos[call->op].label,
                        (unsigned long long)d, MAX_ORDER);
    const uint64_t lanes = mgn_cl_lanes(builder->device, dtype), items = mgn_cl_ceil_div(batch, lanes);
    const uint64_t groups = mgn_cl_groups(builder->device, items, 1 + 2048 / (d * d * d + 1));
    mgn_cl_place work = {0};
    char defines[64] = "";
    const bool uses_private = d >= 1 && d <= MAX_PRIVATE;
    if (uses_private)
        snprintf(defines, sizeof defines, "#define MGN_D %llu\n", (unsigned long long)d);
    else
        MGN_TRY(mgn_cl_scratch(builder, dtype, items * lanes * (d * (d + 1) / 2 + d), &work));
    if (call->op == MGN_OP_spd_solve) {
        const mgn_cl_place right = mgn_cl_place_of(&call->in[1]);
        if (uses_private)
            return mgn_cl_emit(builder, "spd", dtype, defines, "solve", groups, "pppuu", a, right, out, batch, columns);
        return mgn_cl_emit(builder, "spd", dtype, defines, "solve", groups, "pupppuu", work, d, a, right, out, batch,
                           columns);
    }
    const char *name = call->op == MGN_OP_spd_logdet ? "logdet" : "inverse";
    if (uses_private) return mgn_cl_emit(builder, "spd", dtype, defines, name, groups, "ppu", a, out, batch);
    return mgn_cl_emit(builder, "spd", dtype, defines, name, groups, "puppu", work, d, a, out, batch);
}
