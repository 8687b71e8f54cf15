/* Sums and maxima over the middle axis of (outer, n, inner). Long axes are cut into pieces of a fixed length, whose
 * results a second launch takes together: the shape of the tree follows from the shape of the tensor alone. */
#include "backend/opencl/opencl.h"

#include <stdio.h>

enum {
    /* Elements of a piece: enough to pay for a work-group, few enough that many groups share a long sum. */
    PIECE = 65536,
    LEAST_ROWS = 256,
    MOST_ROWS = 4096,
    /* Vectors that the `group` kernel of CPU devices adds up at once, at most: its private memory. */
    SPAN = 64,
    /* With this many results there is work for all without cutting. */
    ENOUGH_RESULTS = 4096,
    /* Below this length cutting is not worth a second launch. */
    LONG = 1024
};

typedef struct reduction {
    mgn_dtype dtype;
    bool maximum;
    mgn_cl_place from, to;
    uint64_t outer, n, inner;
} reduction;

/* One launch: (outer, n, inner) -> (outer, chunks, inner). */
static mgn_status emit_level(mgn_cl_builder *builder, const reduction *r, uint64_t chunk, uint64_t chunks) {
    char defines[96];
    snprintf(defines, sizeof defines, "#define MGN_SPAN %d\n%s", SPAN, r->maximum ? "#define MGN_MAXIMUM\n" : "");
    const uint64_t pieces = r->outer * chunks, count = pieces * r->inner;
    const bool vectors = builder->device->vectors;
    const uint64_t lanes = mgn_cl_lanes(builder->device, r->dtype);
    const uint64_t span = r->inner % lanes == 0 ? r->inner / lanes : r->inner;
    /* Whether a piece is long enough for a work-group (a GPU's: several entries for each of its items). */
    const bool longs = vectors ? span <= SPAN && chunk * r->inner >= 256 : chunk >= LONG;
    const bool group = longs && count < ENOUGH_RESULTS * 16;
    if (group)
        return mgn_cl_emit(builder, "reduce", r->dtype, defines, "group", vectors ? pieces : count, "ppuuuuu", r->from,
                           r->to, count, r->n, r->inner, chunk, chunks);
    const uint64_t items = mgn_cl_ceil_div(count, lanes);
    const uint64_t grain = 1 + 512 / MGN_MAX(chunk, 1);
    return mgn_cl_emit(builder, "reduce", r->dtype, defines, "lane", mgn_cl_groups(builder->device, items, grain),
                       "ppuuuuu", r->from, r->to, count, r->n, r->inner, chunk, chunks);
}

static mgn_status emit_reduction(mgn_cl_builder *builder, reduction r) {
    uint64_t chunk = MGN_MIN(MGN_MAX(PIECE / MGN_MAX(r.inner, 1), (uint64_t)LEAST_ROWS), (uint64_t)MOST_ROWS);
    if (r.n <= LONG || r.n <= chunk || r.outer * r.inner >= ENOUGH_RESULTS) return emit_level(builder, &r, r.n, 1);
    /* More pieces than MOST_ROWS would need a third level. */
    chunk = MGN_MAX(chunk, (mgn_cl_ceil_div(r.n, MOST_ROWS) + 63) / 64 * 64);
    const uint64_t chunks = mgn_cl_ceil_div(r.n, chunk);
    const mgn_cl_place target = r.to;
    MGN_TRY(mgn_cl_scratch(builder, r.dtype, r.outer * chunks * r.inner, &r.to));
    MGN_TRY(emit_level(builder, &r, chunk, chunks));
    r.from = r.to;
    r.to = target;
    r.n = chunks;
    return emit_level(builder, &r, chunks, 1);
}

mgn_status mgn_cl_emit_sum(mgn_cl_builder *builder, mgn_dtype dtype, mgn_cl_place from, mgn_cl_place to, uint64_t outer,
                           uint64_t n, uint64_t inner) {
    return emit_reduction(builder, (reduction){dtype, false, from, to, outer, n, inner});
}

mgn_status mgn_cl_emit_reduce(mgn_cl_builder *builder) {
    const mgn_call *call = builder->call;
    return emit_reduction(builder, (reduction){
                                       .dtype = call->out.dtype,
                                       .maximum = call->op == MGN_OP_max,
                                       .from = mgn_cl_place_of(&call->in[0]),
                                       .to = mgn_cl_place_of(&call->out),
                                       .outer = (uint64_t)call->attributes.reduce.outer,
                                       .n = (uint64_t)call->attributes.reduce.n,
                                       .inner = (uint64_t)call->attributes.reduce.inner,
                                   });
}
