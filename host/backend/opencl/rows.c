/* Gathering and scattering rows by index. */
#include "backend/opencl/opencl.h"

mgn_status mgn_cl_emit_rows(mgn_cl_builder *builder) {
    const mgn_call *call = builder->call;
    const mgn_dtype dtype = call->out.dtype;
    const uint64_t rows = (uint64_t)call->attributes.rows.rows, columns = (uint64_t)call->attributes.rows.columns;
    const uint64_t source_rows = (uint64_t)call->attributes.rows.source_rows;
    const mgn_cl_place a = mgn_cl_place_of(&call->in[0]), index = mgn_cl_place_of(&call->in[1]);
    const mgn_cl_place out = mgn_cl_place_of(&call->out);
    const bool vectors = builder->device->vectors;
    if (call->op == MGN_OP_gather_rows) {
        const uint64_t groups =
            mgn_cl_groups(builder->device, vectors ? rows : rows * columns, 1 + 4096 / (columns + 1));
        return mgn_cl_emit(builder, "rows", dtype, "", "gather", groups, "pppuuu", a, index, out, rows, source_rows,
                           columns);
    }
    /* Every range reads the whole index; with this many, that is about as much work as the adding. */
    const uint64_t wanted = vectors ? 1 + columns / 4 : 64 + 4096 / columns;
    const uint64_t range = mgn_cl_ceil_div(rows, MGN_MIN(wanted, rows)), ranges = mgn_cl_ceil_div(rows, range);
    const uint64_t items = vectors ? ranges : ranges * columns;
    const uint64_t grain = 1 + ranges * 4096 / (source_rows * columns + rows * columns + 1);
    return mgn_cl_emit(builder, "rows", dtype, "", "scatter", mgn_cl_groups(builder->device, items, grain), "pppuuuuu",
                       a, index, out, rows, source_rows, columns, range, ranges);
}
