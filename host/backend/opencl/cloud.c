/* Sums over all pairs of two point clouds. The kernels are compiled for a small number of coordinates, and for the
 * number of columns that a work-item adds up. */
#include "backend/opencl/opencl.h"

#include <stdio.h>
#include <string.h>

enum { MOST_COORDINATES = 8, MOST_COLUMNS = 16 };

static uint64_t row_groups(const mgn_cl_builder *builder, uint64_t n, uint64_t m, uint64_t d) {
    const uint64_t bands = mgn_cl_ceil_div(n, mgn_cl_lanes(builder->device, builder->call->out.dtype));
    return mgn_cl_groups(builder->device, bands, 1 + 4096 / (m * (d + 8) + 1));
}

static uint64_t bits_of(double scale, mgn_dtype dtype) {
    const float single = (float)scale;
    uint64_t bits = 0;
    uint32_t word;
    if (dtype == MGN_F64) {
        memcpy(&bits, &scale, sizeof bits);
    } else {
        memcpy(&word, &single, sizeof word);
        bits = word;
    }
    return bits;
}

/* The softmins of a matrix's rows, or of its columns, from the heights h. */
static mgn_status emit_dense(mgn_cl_builder *builder, const mgn_operand *h, bool columns) {
    const mgn_call *call = builder->call;
    const uint64_t n = (uint64_t)call->attributes.cloud.n, m = (uint64_t)call->attributes.cloud.m;
    mgn_cl_place out = mgn_cl_place_of(&call->out);
    if (columns) out.at += n;
    return mgn_cl_emit(builder, "cloud", call->out.dtype, "", "dense",
                       columns ? row_groups(builder, m, n, 0) : row_groups(builder, n, m, 0), "pppuuuuu",
                       mgn_cl_place_of(&call->in[0]), mgn_cl_place_of(h), out,
                       bits_of(call->attributes.cloud.scale, call->out.dtype), columns ? m : n, columns ? n : m,
                       columns ? (uint64_t)1 : m, columns ? m : (uint64_t)1);
}

/* The softmins of the points x over y with the heights h, stored from element `at` of the result. */
static mgn_status emit_softmin(mgn_cl_builder *builder, const char *defines, const mgn_operand *const in[3], uint64_t n,
                               uint64_t m, uint64_t at) {
    const mgn_call *call = builder->call;
    const uint64_t d = (uint64_t)call->attributes.cloud.d;
    mgn_cl_place out = mgn_cl_place_of(&call->out);
    out.at += at;
    return mgn_cl_emit(builder, "cloud", call->out.dtype, defines, "softmin", row_groups(builder, n, m, d), "ppppuuu",
                       mgn_cl_place_of(in[0]), mgn_cl_place_of(in[1]), mgn_cl_place_of(in[2]), out, n, m, d);
}

mgn_status mgn_cl_emit_cloud(mgn_cl_builder *builder) {
    const mgn_call *call = builder->call;
    const mgn_dtype dtype = call->out.dtype;
    const uint64_t n = (uint64_t)call->attributes.cloud.n, m = (uint64_t)call->attributes.cloud.m;
    const uint64_t d = (uint64_t)call->attributes.cloud.d, columns = (uint64_t)call->attributes.cloud.columns;
    const uint64_t bands = mgn_cl_ceil_div(n, mgn_cl_lanes(builder->device, dtype));
    /* Few different numbers, so that few kernels are compiled; a work-item leaves out what it has too many of. */
    const uint64_t block = columns <= 1 ? 1 : columns <= 4 ? 4 : MOST_COLUMNS;
    const uint64_t blocks = mgn_cl_ceil_div(columns, block);
    const mgn_operand *in = call->in;
    if (call->op == MGN_OP_softmin_dense) return emit_dense(builder, &in[1], false);
    if (call->op == MGN_OP_softmins_dense) {
        MGN_TRY(emit_dense(builder, &in[2], false));
        return emit_dense(builder, &in[1], true);
    }
    char defines[96] = "";
    size_t used = 0;
    if (d <= MOST_COORDINATES)
        used = (size_t)snprintf(defines, sizeof defines, "#define MGN_D %llu\n", (unsigned long long)d);
    if (call->op == MGN_OP_softmin)
        return emit_softmin(builder, defines, (const mgn_operand *const[]){&in[0], &in[1], &in[2]}, n, m, 0);
    if (call->op == MGN_OP_softmins) {
        MGN_TRY(emit_softmin(builder, defines, (const mgn_operand *const[]){&in[0], &in[1], &in[3]}, n, m, 0));
        return emit_softmin(builder, defines, (const mgn_operand *const[]){&in[1], &in[0], &in[2]}, m, n, n);
    }
    const uint64_t groups = mgn_cl_groups(builder->device, bands * blocks, 1 + 4096 / (m * (d + 8) + 1));
    snprintf(defines + used, sizeof defines - used, "#define MGN_E %llu\n", (unsigned long long)block);
    return mgn_cl_emit(builder, "cloud", dtype, defines, "gibbs", groups, "ppppppuuuu", mgn_cl_place_of(&in[0]),
                       mgn_cl_place_of(&in[1]), mgn_cl_place_of(&in[2]), mgn_cl_place_of(&in[3]),
                       mgn_cl_place_of(&in[4]), mgn_cl_place_of(&call->out), n, m, d, columns);
}
