/* Sums over all pairs of two point clouds. The kernels are compiled for a small number of coordinates, and for the
 * number of columns that a work-item adds up; of points with many coordinates panels are made first. */
#include "backend/opencl/opencl.h"

#include <stdio.h>
#include <string.h>

enum { MOST_COORDINATES = 16, MOST_COLUMNS = 16 };

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

static bool is_same(const mgn_operand *a, const mgn_operand *b) {
    return a->memory == b->memory && a->offset == b->offset;
}

/* ---- costs in memory ---- */

/* The softmins of a matrix's rows, or of its columns, from the heights h; those of the columns once more `again` further
 * in the result, where that is not 0. */
static mgn_status emit_dense(mgn_cl_builder *builder, const mgn_operand *h, bool columns, uint64_t again) {
    const mgn_call *call = builder->call;
    const uint64_t n = (uint64_t)call->attributes.cloud.n, m = (uint64_t)call->attributes.cloud.m;
    const uint64_t scale = bits_of(call->attributes.cloud.scale, call->out.dtype);
    mgn_cl_place out = mgn_cl_place_of(&call->out);
    if (columns && !again) out.at += n;
    if (!columns && builder->device->vectors)
        return mgn_cl_emit(builder, "cloud", call->out.dtype, "", "dense_along",
                           mgn_cl_groups(builder->device, n, 1 + 65536 / (m + 1)), "pppuuu",
                           mgn_cl_place_of(&call->in[0]), mgn_cl_place_of(h), out, scale, n, m);
    return mgn_cl_emit(builder, "cloud", call->out.dtype, "", "dense",
                       columns ? row_groups(builder, m, n, 0) : row_groups(builder, n, m, 0), "pppuuuuuu",
                       mgn_cl_place_of(&call->in[0]), mgn_cl_place_of(h), out, scale, columns ? m : n, columns ? n : m,
                       columns ? (uint64_t)1 : m, columns ? m : (uint64_t)1, again);
}

/* A matrix of a cloud against itself with the same heights has the same softmins both ways. */
static mgn_status emit_both_dense(mgn_cl_builder *builder) {
    const mgn_operand *f = &builder->call->in[1], *h = &builder->call->in[2];
    const mgn_attributes *a = &builder->call->attributes;
    if (a->cloud.symmetric && is_same(f, h) && a->cloud.n == a->cloud.m)
        return emit_dense(builder, f, true, (uint64_t)a->cloud.n);
    MGN_TRY(emit_dense(builder, h, false, 0));
    return emit_dense(builder, f, true, 0);
}

/* ---- points ---- */

/* A cloud as the kernels want it: its points, or panels of them `width` wide; its heights, or those lowered. */
typedef struct cloud {
    mgn_cl_place points, heights;
} cloud;

/* `heights` may be NULL: 0. */
static mgn_status emit_panels(mgn_cl_builder *builder, const mgn_operand *points, const mgn_operand *heights,
                              uint64_t n, uint64_t width, cloud *made) {
    const uint64_t d = (uint64_t)builder->call->attributes.cloud.d;
    const mgn_dtype dtype = builder->call->out.dtype;
    const mgn_cl_place given = mgn_cl_place_of(points), h = heights ? mgn_cl_place_of(heights) : given;
    *made = (cloud){given, h};
    if (d <= MOST_COORDINATES) return MGN_OK;
    const uint64_t count = mgn_cl_ceil_div(n, width);
    MGN_TRY(mgn_cl_scratch(builder, dtype, count * width * d, &made->points));
    MGN_TRY(mgn_cl_scratch(builder, dtype, n, &made->heights));
    return mgn_cl_emit(builder, "cloud", dtype, "", "panels", mgn_cl_groups(builder->device, count, 1), "ppppuuuu",
                       given, h, made->points, made->heights, n, d, width, (uint64_t)(heights != NULL));
}

/* Columns of a kernel's tile, as in cl/cloud.cl. */
static uint64_t tile_of(mgn_dtype dtype) { return dtype == MGN_F64 ? 8 : 16; }

/* What softmins are taken of: x (n, d) over y (m, d) with the heights h (m), stored from element `at` of the result, and
 * once more `again` further, where that is not 0. */
typedef struct one_side {
    const mgn_operand *x, *y, *h;
    uint64_t n, m, at, again;
} one_side;

static mgn_status emit_softmin(mgn_cl_builder *builder, const char *defines, const one_side *side) {
    const mgn_call *call = builder->call;
    const mgn_dtype dtype = call->out.dtype;
    const uint64_t d = (uint64_t)call->attributes.cloud.d, n = side->n, m = side->m;
    mgn_cl_place out = mgn_cl_place_of(&call->out);
    cloud x, y;
    out.at += side->at;
    MGN_TRY(emit_panels(builder, side->x, NULL, n, mgn_cl_lanes(builder->device, dtype), &x));
    MGN_TRY(emit_panels(builder, side->y, side->h, m, tile_of(dtype), &y));
    return mgn_cl_emit(builder, "cloud", dtype, defines, "softmin", row_groups(builder, n, m, d), "pppppuuuu", x.points,
                       y.points, y.heights, x.heights, out, n, m, d, side->again);
}

/* Both sides of a cloud against itself with the same heights are one. */
static mgn_status emit_softmins(mgn_cl_builder *builder, const char *defines) {
    const mgn_operand *x = &builder->call->in[0], *y = &builder->call->in[1];
    const mgn_operand *f = &builder->call->in[2], *h = &builder->call->in[3];
    const uint64_t n = (uint64_t)builder->call->attributes.cloud.n, m = (uint64_t)builder->call->attributes.cloud.m;
    const bool same = n == m && is_same(x, y) && is_same(f, h);
    MGN_TRY(emit_softmin(builder, defines, &(one_side){x, y, h, n, m, 0, same ? n : 0}));
    return same ? MGN_OK : emit_softmin(builder, defines, &(one_side){y, x, f, m, n, n, 0});
}

static mgn_status emit_gibbs(mgn_cl_builder *builder, char defines[96]) {
    const mgn_call *call = builder->call;
    const mgn_dtype dtype = call->out.dtype;
    const uint64_t n = (uint64_t)call->attributes.cloud.n, m = (uint64_t)call->attributes.cloud.m;
    const uint64_t d = (uint64_t)call->attributes.cloud.d, columns = (uint64_t)call->attributes.cloud.columns;
    /* Few different numbers, so that few kernels are compiled; a work-item leaves out what it has too many of. */
    const uint64_t block = columns <= 1 ? 1 : columns <= 4 ? 4 : MOST_COLUMNS;
    const uint64_t items = mgn_cl_ceil_div(n, mgn_cl_lanes(builder->device, dtype)) * mgn_cl_ceil_div(columns, block);
    const size_t used = strlen(defines);
    cloud x, y;
    snprintf(defines + used, 96 - used, "#define MGN_E %llu\n", (unsigned long long)block);
    MGN_TRY(emit_panels(builder, &call->in[0], &call->in[2], n, mgn_cl_lanes(builder->device, dtype), &x));
    MGN_TRY(emit_panels(builder, &call->in[1], &call->in[3], m, tile_of(dtype), &y));
    return mgn_cl_emit(builder, "cloud", dtype, defines, "gibbs",
                       mgn_cl_groups(builder->device, items, 1 + 4096 / (m * (d + 8) + 1)), "ppppppuuuu", x.points,
                       y.points, x.heights, y.heights, mgn_cl_place_of(&call->in[4]), mgn_cl_place_of(&call->out), n, m,
                       d, columns);
}

mgn_status mgn_cl_emit_cloud(mgn_cl_builder *builder) {
    const mgn_call *call = builder->call;
    const uint64_t n = (uint64_t)call->attributes.cloud.n, m = (uint64_t)call->attributes.cloud.m;
    const uint64_t d = (uint64_t)call->attributes.cloud.d;
    const mgn_operand *in = call->in;
    char defines[96] = "";
    if (call->op == MGN_OP_softmin_dense) return emit_dense(builder, &in[1], false, 0);
    if (call->op == MGN_OP_softmins_dense) return emit_both_dense(builder);
    if (d <= MOST_COORDINATES) snprintf(defines, sizeof defines, "#define MGN_D %llu\n", (unsigned long long)d);
    if (call->op == MGN_OP_gibbs) return emit_gibbs(builder, defines);
    if (call->op == MGN_OP_softmin)
        return emit_softmin(builder, defines, &(one_side){&in[0], &in[1], &in[2], n, m, 0, 0});
    return emit_softmins(builder, defines);
}
