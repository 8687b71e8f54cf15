/* Sums over all pairs of two point clouds. The kernels are compiled for a small number of coordinates, and for the
 * number of columns that a work-item adds up. */
#include "backend/opencl/opencl.h"

#include <stdio.h>
#include <string.h>

enum { MOST_COORDINATES = 8, MOST_COLUMNS = 16 };

static mgn_status emit_dense(mgn_cl_builder *builder, uint64_t groups) {
    const mgn_call *call = builder->call;
    const float single = (float)call->attributes.cloud.scale;
    uint64_t bits = 0;
    if (call->out.dtype == MGN_F64) {
        memcpy(&bits, &call->attributes.cloud.scale, sizeof bits);
    } else {
        uint32_t word;
        memcpy(&word, &single, sizeof word);
        bits = word;
    }
    return mgn_cl_emit(builder, "cloud", call->out.dtype, "", "dense", groups, "pppuuu", mgn_cl_place_of(&call->in[0]),
                       mgn_cl_place_of(&call->in[1]), mgn_cl_place_of(&call->out), bits,
                       (uint64_t)call->attributes.cloud.n, (uint64_t)call->attributes.cloud.m);
}

mgn_status mgn_cl_emit_cloud(mgn_cl_builder *builder) {
    const mgn_call *call = builder->call;
    const mgn_dtype dtype = call->out.dtype;
    const uint64_t n = (uint64_t)call->attributes.cloud.n, m = (uint64_t)call->attributes.cloud.m;
    const uint64_t d = (uint64_t)call->attributes.cloud.d, columns = (uint64_t)call->attributes.cloud.columns;
    const uint64_t bands = mgn_cl_ceil_div(n, mgn_cl_lanes(builder->device, dtype));
    /* Few different numbers, so that few kernels are compiled; a work-item leaves out what it has too many of. */
    const uint64_t block = columns <= 1 ? 1 : columns <= 4 ? 4 : MOST_COLUMNS;
    const uint64_t blocks = call->op == MGN_OP_gibbs ? mgn_cl_ceil_div(columns, block) : 1;
    const uint64_t groups = mgn_cl_groups(builder->device, bands * blocks, 1 + 4096 / (m * (d + 8) + 1));
    if (call->op == MGN_OP_softmin_dense) return emit_dense(builder, groups);
    char defines[96] = "";
    size_t used = 0;
    if (d <= MOST_COORDINATES)
        used = (size_t)snprintf(defines, sizeof defines, "#define MGN_D %llu\n", (unsigned long long)d);
    const mgn_cl_place x = mgn_cl_place_of(&call->in[0]), y = mgn_cl_place_of(&call->in[1]),
                       out = mgn_cl_place_of(&call->out);
    if (call->op == MGN_OP_softmin)
        return mgn_cl_emit(builder, "cloud", dtype, defines, "softmin", groups, "ppppuuu", x, y,
                           mgn_cl_place_of(&call->in[2]), out, n, m, d);
    snprintf(defines + used, sizeof defines - used, "#define MGN_E %llu\n", (unsigned long long)block);
    return mgn_cl_emit(builder, "cloud", dtype, defines, "gibbs", groups, "ppppppuuuu", x, y,
                       mgn_cl_place_of(&call->in[2]), mgn_cl_place_of(&call->in[3]), mgn_cl_place_of(&call->in[4]), out,
                       n, m, d, columns);
}
