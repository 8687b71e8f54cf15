/* Convolution of images and its transposes: grids in scratch memory, then tiles of results (cl/conv.cl). */
#include "backend/opencl/opencl.h"

enum {
    TILE = 4,  /* as in cl/conv.cl */
    SLOTS = 4, /* likewise, with vectors */
    MOST_PARTIAL = 1 << 24,
    CACHE_BYTES = 1 << 18
};

typedef struct conv {
    uint64_t n, channels, height, width, filters, kernel_height, kernel_width, out_height, out_width, stride, padding;
} conv;

static conv conv_of(const mgn_call *call) {
    const mgn_attributes *a = &call->attributes;
    return (conv){(uint64_t)a->conv.n,
                  (uint64_t)a->conv.channels,
                  (uint64_t)a->conv.height,
                  (uint64_t)a->conv.width,
                  (uint64_t)a->conv.filters,
                  (uint64_t)a->conv.kernel_height,
                  (uint64_t)a->conv.kernel_width,
                  (uint64_t)a->conv.out_height,
                  (uint64_t)a->conv.out_width,
                  (uint64_t)a->conv.stride,
                  (uint64_t)a->conv.padding};
}

/* Images in zeros, see cl/conv.cl. */
typedef struct grids {
    uint64_t planes, height, width, stride, pad_y, pad_x; /* of the source; planes of one image */
    uint64_t grid[4];                                     /* phases_y, phases_x, rows, pitch */
    uint64_t image;                                       /* elements of one image */
    mgn_cl_place place;
} grids;

static mgn_status emit_grids(mgn_cl_builder *builder, mgn_cl_place from, uint64_t n, grids *g) {
    const mgn_dtype dtype = builder->call->out.dtype;
    const uint64_t lanes = mgn_cl_lanes(builder->device, dtype), limit = UINT64_C(1) << 40;
    uint64_t elements;
    if (__builtin_mul_overflow(g->planes * g->grid[0] * g->grid[1], g->grid[2] * g->grid[3], &g->image) ||
        __builtin_mul_overflow(g->image, n, &elements) || elements > limit)
        return mgn_fail(MGN_ERR_UNSUPPORTED, "%s: the images are too large", mgn_op_infos[builder->call->op].label);
    MGN_TRY(mgn_cl_scratch(builder, dtype, elements + lanes, &g->place));
    const uint64_t image[4] = {n * g->planes, g->height, g->width, g->stride};
    const uint64_t rows = n * g->planes * g->grid[0] * g->grid[1] * g->grid[2] + 1;
    const uint64_t groups =
        mgn_cl_groups(builder->device, builder->device->vectors ? rows : elements + lanes, 1 + 4096 / g->grid[3]);
    return mgn_cl_emit(builder, "conv", dtype, "", "lay_out", groups, "ppqquuu", from, g->place, image, g->grid,
                       g->pad_y, g->pad_x, lanes);
}

/* The grids that a convolution's images are read from. */
static grids grids_of_images(const conv *c) {
    const uint64_t s = c->stride;
    return (grids){c->channels,
                   c->height,
                   c->width,
                   s,
                   c->padding,
                   c->padding,
                   {MGN_MIN(s, c->kernel_height), MGN_MIN(s, c->kernel_width),
                    c->out_height + (c->kernel_height - 1) / s, c->out_width + (c->kernel_width - 1) / s},
                   0,
                   {NULL, 0}};
}

static uint64_t tile_groups(const mgn_cl_builder *builder, uint64_t tiles, uint64_t taps) {
    return mgn_cl_groups(builder->device, tiles, 1 + 256 / (taps + 1));
}

static mgn_status emit_conv(mgn_cl_builder *builder, const conv *c) {
    const mgn_call *call = builder->call;
    const uint64_t lanes = mgn_cl_lanes(builder->device, call->out.dtype), area = c->kernel_height * c->kernel_width;
    grids g = grids_of_images(c);
    MGN_TRY(emit_grids(builder, mgn_cl_place_of(&call->in[0]), c->n, &g));
    const uint64_t size[4] = {c->n, c->filters, c->channels, g.image};
    const uint64_t kernel[4] = {c->kernel_height, c->kernel_width, c->stride, 0};
    const uint64_t field[4] = {0, c->out_height, 0, c->out_width};
    const uint64_t place[4] = {c->out_height * c->out_width, c->out_width, 1, 0};
    const uint64_t weight[4] = {c->channels * area, area, 0, 0};
    const uint64_t slots = c->out_height * mgn_cl_ceil_div(c->out_width, lanes), zero = 0;
    const uint64_t tiles =
        c->n * mgn_cl_ceil_div(c->filters, TILE) * (builder->device->vectors ? mgn_cl_ceil_div(slots, SLOTS) : slots);
    return mgn_cl_emit(builder, "conv", call->out.dtype, "", "taps", tile_groups(builder, tiles, c->channels * area),
                       "pppqqqqqquu", g.place, mgn_cl_place_of(&call->in[1]), mgn_cl_place_of(&call->out), size, kernel,
                       g.grid, field, place, weight, zero, zero);
}

/* The pixels (i, j) with (i + padding) mod stride = top, (j + padding) mod stride = left, as a launch of its own. */
static mgn_status emit_phase(mgn_cl_builder *builder, const conv *c, const grids *g, uint64_t top, uint64_t left) {
    const mgn_call *call = builder->call;
    const uint64_t lanes = mgn_cl_lanes(builder->device, call->out.dtype), area = c->kernel_height * c->kernel_width;
    const uint64_t s = c->stride, p = c->padding;
    const uint64_t first_row = top < p ? mgn_cl_ceil_div(p - top, s) : 0, y = first_row * s + top - p;
    const uint64_t first_column = left < p ? mgn_cl_ceil_div(p - left, s) : 0, x = first_column * s + left - p;
    if (y >= c->height || x >= c->width) return MGN_OK;
    const uint64_t size[4] = {c->n, c->channels, c->filters, g->image};
    const uint64_t kernel[4] = {c->kernel_height, c->kernel_width, s, 1};
    const uint64_t field[4] = {first_row, (c->height - 1 - y) / s + 1, first_column, (c->width - 1 - x) / s + 1};
    const uint64_t place[4] = {c->height * c->width, s * c->width, s, y * c->width + x};
    const uint64_t weight[4] = {area, c->channels * area, top, left};
    const uint64_t slots = field[1] * mgn_cl_ceil_div(field[3], lanes);
    const uint64_t tiles =
        c->n * mgn_cl_ceil_div(c->channels, TILE) * (builder->device->vectors ? mgn_cl_ceil_div(slots, SLOTS) : slots);
    return mgn_cl_emit(builder, "conv", call->out.dtype, "", "taps", tile_groups(builder, tiles, c->filters * area),
                       "pppqqqqqquu", g->place, mgn_cl_place_of(&call->in[1]), mgn_cl_place_of(&call->out), size,
                       kernel, g->grid, field, place, weight, g->pad_y, g->pad_x);
}

static mgn_status emit_transpose(mgn_cl_builder *builder, const conv *c) {
    const uint64_t s = c->stride, reach_y = (c->kernel_height - 1) / s, reach_x = (c->kernel_width - 1) / s;
    grids g = {c->filters,
               c->out_height,
               c->out_width,
               1,
               reach_y,
               reach_x,
               {1, 1, (c->height - 1 + c->padding) / s + 1 + reach_y, (c->width - 1 + c->padding) / s + 1 + reach_x},
               0,
               {NULL, 0}};
    MGN_TRY(emit_grids(builder, mgn_cl_place_of(&builder->call->in[0]), c->n, &g));
    for (uint64_t top = 0; top < s; top++)
        for (uint64_t left = 0; left < s; left++) MGN_TRY(emit_phase(builder, c, &g, top, left));
    return MGN_OK;
}

static mgn_status emit_kernel_gradient(mgn_cl_builder *builder, const conv *c) {
    const mgn_call *call = builder->call;
    const mgn_dtype dtype = call->out.dtype;
    const uint64_t lanes = mgn_cl_lanes(builder->device, dtype),
                   taps = c->channels * c->kernel_height * c->kernel_width;
    const uint64_t results = c->filters * taps, pitch = mgn_cl_ceil_div(c->out_width, lanes) * lanes, one = 1;
    grids x = grids_of_images(c),
          y = {c->filters, c->out_height, c->out_width, 1, 0, 0, {1, 1, c->out_height, pitch}, 0, {NULL, 0}};
    MGN_TRY(emit_grids(builder, mgn_cl_place_of(&call->in[0]), c->n, &x));
    MGN_TRY(emit_grids(builder, mgn_cl_place_of(&call->in[1]), c->n, &y));
    /* As many parts as give every unit work, and no more partial sums than fit. */
    const uint64_t tiles = mgn_cl_ceil_div(c->filters, TILE) * mgn_cl_ceil_div(taps, TILE);
    const uint64_t enough = (builder->device->vectors ? 8 : 16384) * (uint64_t)builder->device->base.info.compute_units;
    /* All tiles of a part read its images again: on CPU devices they should find them in the second cache. */
    const uint64_t image_bytes = (x.image + y.image) * mgn_dtype_size(dtype);
    const uint64_t cached = builder->device->vectors ? mgn_cl_ceil_div(c->n, CACHE_BYTES / image_bytes + 1) : 1;
    const uint64_t wanted = MGN_MAX(mgn_cl_ceil_div(enough, tiles), cached);
    const uint64_t most = MGN_MAX(MGN_MIN(wanted, MOST_PARTIAL / MGN_MIN(results, MOST_PARTIAL)), 1);
    const uint64_t per_part = MGN_MAX(mgn_cl_ceil_div(c->n, most), 1),
                   parts = MGN_MAX(mgn_cl_ceil_div(c->n, per_part), one);
    const uint64_t size[4] = {MGN_MAX(c->n, one), c->filters, c->channels, x.image};
    const uint64_t kernel[4] = {c->kernel_height, c->kernel_width, c->stride, per_part};
    mgn_cl_place partial = mgn_cl_place_of(&call->out);
    if (parts > 1) MGN_TRY(mgn_cl_scratch(builder, dtype, parts * results, &partial));
    MGN_TRY(mgn_cl_emit(builder, "conv", dtype, "", "kernel_gradient",
                        tile_groups(builder, parts * tiles, c->out_height * c->out_width), "pppqqquu", x.place, y.place,
                        partial, size, kernel, x.grid, c->out_height, pitch));
    return parts > 1 ? mgn_cl_emit_sum(builder, dtype, partial, mgn_cl_place_of(&call->out), 1, parts, results)
                     : MGN_OK;
}

mgn_status mgn_cl_emit_conv(mgn_cl_builder *builder) {
    const conv c = conv_of(builder->call);
    switch (builder->call->op) {
    case MGN_OP_conv: return emit_conv(builder, &c);
    case MGN_OP_conv_transpose: return emit_transpose(builder, &c);
    default: return emit_kernel_gradient(builder, &c);
    }
}
