/* Products of matrices: which of several ways a product goes.
 *
 * On CPU devices CLBlast reaches a tenth of what the hardware does, so all products take own kernels (cl/matmul.cl):
 *   batch_small   many small matrices, a lane each
 *   shared_small  many rows times a small matrix (or the other way round), a lane per row
 *   dot_rows      a matrix times a vector, lanes along k
 *   tall          long sums into a few results, cut into pieces of k that a second launch adds in order
 *   pack, tile    everything else
 * On GPUs:
 *   item          tiny products, an element per work-item
 *   tall          as above, a work-group per piece and element
 *   CLBlast       everything else; enqueued on the device's queue without waiting
 *
 * These rules hold where nothing was measured; what `mgn tune` measured goes before them (tuning.h). */
#include "backend/opencl/opencl.h"

#include <stdio.h>

enum {
    STAGE = 256,        /* as in cl/matmul.cl */
    PIECE = 64,         /* rows of a that lanes over columns of b take at a time */
    SHARED = 4096,      /* entries of a matrix that is worth reading again for every vector of rows */
    TINY = 32 * 32 * 32 /* multiplications below which a call of CLBlast costs more than it saves */
};

/* A product with a stride for every index. */
typedef struct product {
    mgn_dtype dtype;
    uint64_t batch, m, n, k;
    uint64_t a_stride[4], b_stride[4]; /* (batch, m, k), (batch, k, n) */
    mgn_cl_place a, b, out;
    bool adds; /* to what is there: tiles and CLBlast do */
} product;

static product product_of(const mgn_call *call) {
    product p = {
        .dtype = call->out.dtype,
        .batch = (uint64_t)call->attributes.matmul.batch,
        .m = (uint64_t)call->attributes.matmul.m,
        .n = (uint64_t)call->attributes.matmul.n,
        .k = (uint64_t)call->attributes.matmul.k,
        .a = mgn_cl_place_of(&call->in[0]),
        .b = mgn_cl_place_of(&call->in[1]),
        .out = mgn_cl_place_of(&call->out),
        .adds = call->attributes.matmul.adds,
    };
    const bool ta = call->attributes.matmul.transpose_a, tb = call->attributes.matmul.transpose_b;
    p.a_stride[0] = (uint64_t)call->attributes.matmul.stride_a;
    p.a_stride[1] = ta ? 1 : p.k;
    p.a_stride[2] = ta ? p.m : 1;
    p.b_stride[0] = (uint64_t)call->attributes.matmul.stride_b;
    p.b_stride[1] = tb ? 1 : p.n;
    p.b_stride[2] = tb ? p.k : 1;
    /* The matrices of a batch that share b are one matrix with more rows. */
    if (p.batch > 1 && p.b_stride[0] == 0 && !ta && p.a_stride[0] == p.m * p.k) {
        p.m *= p.batch;
        p.batch = 1;
    }
    return p;
}

static const char small_defines[] = "#define MGN_SMALL\n";

static mgn_status emit_batch_small(mgn_cl_builder *builder, const product *p) {
    const uint64_t items = mgn_cl_ceil_div(p->batch, mgn_cl_lanes(builder->device, p->dtype));
    const uint64_t groups = mgn_cl_groups(builder->device, items, 1 + 512 / (p->m * p->n * (p->k + 1)));
    const uint64_t size[4] = {p->batch, p->m, p->n, p->k};
    return mgn_cl_emit(builder, "matmul", p->dtype, small_defines, "batch_small", groups, "pppqqq", p->a, p->b, p->out,
                       size, p->a_stride, p->b_stride);
}

/* Lanes over the rows of a (b being small), or over the columns of b. */
static mgn_status emit_lanes(mgn_cl_builder *builder, const product *p, bool over_rows) {
    const uint64_t *as = p->a_stride, *bs = p->b_stride, results = p->m * p->n;
    const uint64_t lanes = over_rows ? p->m : p->n, columns = over_rows ? p->n : p->m;
    const uint64_t size[4] = {lanes, columns, p->k, p->batch};
    const uint64_t rows_of_a[4] = {as[1], as[2], as[0], 0}, b_shared[4] = {bs[1], bs[2], bs[0], 0};
    const uint64_t columns_of_b[4] = {bs[2], bs[1], bs[0], 0}, a_shared[4] = {as[2], as[1], as[0], 0};
    const uint64_t row_major[4] = {p->n, 1, results, 0}, column_major[4] = {1, p->n, results, 0};
    const uint64_t items = p->batch * mgn_cl_ceil_div(lanes, mgn_cl_lanes(builder->device, p->dtype));
    const uint64_t groups = mgn_cl_groups(builder->device, items, 1 + 2048 / (columns * (p->k + 8)));
    if (over_rows)
        return mgn_cl_emit(builder, "matmul", p->dtype, small_defines, "shared_small", groups, "pppqqqq", p->a, p->b,
                           p->out, size, rows_of_a, b_shared, row_major);
    return mgn_cl_emit(builder, "matmul", p->dtype, small_defines, "shared_small", groups, "pppqqqq", p->b, p->a,
                       p->out, size, columns_of_b, a_shared, column_major);
}

static mgn_status emit_shared_small(mgn_cl_builder *builder, const product *p, bool over_rows) {
    /* Many rows of a against lanes of columns: in pieces that stay in the first cache and keep all units busy. */
    const uint64_t pieces = over_rows || p->batch > 1 ? 0 : p->m / PIECE;
    if (pieces < 2) return emit_lanes(builder, p, over_rows);
    product whole = *p, rest = *p;
    whole.batch = pieces;
    whole.m = PIECE;
    whole.a_stride[0] = PIECE * p->a_stride[1];
    whole.b_stride[0] = 0;
    rest.m -= pieces * PIECE;
    rest.a.at += pieces * PIECE * p->a_stride[1];
    rest.out.at += pieces * PIECE * p->n;
    MGN_TRY(emit_lanes(builder, &whole, false));
    return rest.m > 0 ? emit_lanes(builder, &rest, false) : MGN_OK;
}

/* A matrix times a vector, both contiguous along k; x^T B is b^T x. */
static mgn_status emit_dot_rows(mgn_cl_builder *builder, const product *p, bool rows_of_a) {
    const uint64_t rows = rows_of_a ? p->m : p->n;
    return mgn_cl_emit(builder, "matmul", p->dtype, small_defines, "dot_rows",
                       mgn_cl_groups(builder->device, rows, 1 + 8192 / p->k), "pppuuu", rows_of_a ? p->a : p->b,
                       rows_of_a ? p->b : p->a, p->out, rows, p->k, rows_of_a ? p->a_stride[1] : p->b_stride[2]);
}

static mgn_status emit_tall(mgn_cl_builder *builder, const product *p) {
    const bool vectors = builder->device->vectors;
    const uint64_t least = vectors ? 2048 : 8192;
    const uint64_t chunk = MGN_MAX(least, (mgn_cl_ceil_div(p->k, 1024) + 255) / 256 * 256);
    const uint64_t chunks = mgn_cl_ceil_div(p->k, chunk), results = p->m * p->n;
    const uint64_t size[4] = {1, p->m, p->n, p->k};
    mgn_cl_place partial = p->out;
    if (chunks > 1) MGN_TRY(mgn_cl_scratch(builder, p->dtype, chunks * results, &partial));
    MGN_TRY(mgn_cl_emit(builder, "matmul", p->dtype, vectors ? small_defines : "", "tall",
                        vectors ? chunks : chunks * results, "pppqqqu", p->a, p->b, partial, size, p->a_stride,
                        p->b_stride, chunk));
    return chunks > 1 ? mgn_cl_emit_sum(builder, p->dtype, partial, p->out, 1, chunks, results) : MGN_OK;
}

/* Packs one operand: its `extent` rows or columns become panels of `width`. */
static mgn_status emit_pack(mgn_cl_builder *builder, const product *p, const char *defines, bool of_a, uint64_t width,
                            mgn_cl_place *panels, uint64_t *step) {
    const uint64_t *stride = of_a ? p->a_stride : p->b_stride, extent = of_a ? p->m : p->n;
    /* A shared operand is packed once. */
    const uint64_t batch = stride[0] == 0 ? 1 : p->batch, count = mgn_cl_ceil_div(extent, width);
    const uint64_t size[4] = {batch, extent, p->k, width};
    const uint64_t strides[4] = {stride[0], of_a ? stride[1] : stride[2], of_a ? stride[2] : stride[1], 0};
    MGN_TRY(mgn_cl_scratch(builder, p->dtype, batch * count * width * p->k, panels));
    *step = batch == 1 ? 0 : count * width * p->k;
    return mgn_cl_emit(builder, "matmul", p->dtype, defines, "pack", batch * count, "ppqq", of_a ? p->a : p->b, *panels,
                       size, strides);
}

/* Into how many spans `panels` are cut for `blocks`: `least`, or enough for every unit to get `spread` groups, and the same
 * number as the others where a span more or two do it. */
static uint64_t count_spans(uint64_t blocks, uint64_t panels, uint64_t least, uint64_t units, uint64_t spread) {
    uint64_t spans = MGN_MIN(panels, MGN_MAX(least, mgn_cl_ceil_div(units * spread, blocks)));
    for (uint64_t more = 0; more <= 2 && spans + more <= panels; more++)
        if (blocks * (spans + more) % units == 0) return spans + more;
    return spans;
}

static mgn_status emit_tiled(mgn_cl_builder *builder, const product *p, const mgn_cl_tile *tile) {
    const uint64_t columns = tile->vectors * mgn_cl_lanes(builder->device, p->dtype);
    char defines[96];
    snprintf(defines, sizeof defines, "#define MGN_TILE_ROWS %u\n#define MGN_TILE_VECTORS %u\n", tile->rows,
             tile->vectors);
    mgn_cl_place a, b;
    uint64_t a_step, b_step;
    MGN_TRY(emit_pack(builder, p, defines, true, tile->rows, &a, &a_step));
    MGN_TRY(emit_pack(builder, p, defines, false, columns, &b, &b_step));
    const uint64_t panels = mgn_cl_ceil_div(p->n, columns),
                   units = (uint64_t)MGN_MAX(builder->device->base.info.compute_units, 1);
    const uint64_t blocks = mgn_cl_ceil_div(mgn_cl_ceil_div(p->m, tile->rows), tile->block);
    const uint64_t spans =
        count_spans(p->batch * blocks, panels, mgn_cl_ceil_div(panels, tile->span), units, tile->spread);
    const uint64_t size[4] = {p->batch, p->m, p->n, p->k}, plan[4] = {spans, blocks, tile->depth, p->adds};
    return mgn_cl_emit(builder, "matmul", p->dtype, defines, "tile", p->batch * blocks * spans, "pupupqq", a, a_step, b,
                       b_step, p->out, size, plan);
}

static mgn_status emit_item(mgn_cl_builder *builder, const product *p) {
    const uint64_t size[4] = {p->batch, p->m, p->n, p->k};
    return mgn_cl_emit(builder, "matmul", p->dtype, "", "item",
                       mgn_cl_groups(builder->device, p->batch * p->m * p->n, 1), "pppqqq", p->a, p->b, p->out, size,
                       p->a_stride, p->b_stride);
}

/* What was tuned for the device, read at the first product; NULL for nothing. */
static const mgn_cl_tuning *tuning_of(mgn_cl_device *device) {
    if (device->tuning_read) return device->tuning;
    device->tuning_read = true;
    mgn_cl_tuning *tuning = mgn_alloc(1, sizeof *tuning);
    cJSON *json = tuning ? mgn_cl_tuning_load(&device->base.info, tuning) : NULL;
    if (json)
        device->tuning = tuning;
    else
        mgn_free(tuning);
    cJSON_Delete(json);
    return device->tuning;
}

void mgn_cl_tuning_forget(mgn_cl_device *device) {
    mgn_free(device->tuning);
    device->tuning = NULL;
    device->tuning_read = device->tuning_given = false;
}

/* Gives CLBlast the parameters tuned for it, before its first product. Its own ones do where it refuses them. */
static void give_tuned(mgn_cl_device *device) {
    if (device->tuning_given || device->forced) return;
    device->tuning_given = true;
    const mgn_cl_tuning *tuning = tuning_of(device);
    if (tuning && tuning->has_blast && mgn_cl_blast_give(device, &tuning->blast) != MGN_OK)
        mgn_note("the parameters tuned for CLBlast are not used: %s", mgn_last_error());
}

static mgn_status emit_clblast(mgn_cl_builder *builder, const product *p) {
    mgn_cl_product made = {
        .dtype = p->dtype,
        .batch = p->batch,
        .m = p->m,
        .n = p->n,
        .k = p->k,
        .a = p->a.memory->buffer,
        .b = p->b.memory->buffer,
        .out = p->out.memory->buffer,
        .a_at = p->a.at,
        .b_at = p->b.at,
        .out_at = p->out.at,
        .a_stride = p->a_stride[0],
        .b_stride = p->b_stride[0],
        .transpose_a = builder->call->attributes.matmul.transpose_a,
        .transpose_b = builder->call->attributes.matmul.transpose_b,
        .adds = p->adds,
    };
    give_tuned(builder->device);
    MGN_TRY(mgn_cl_product_ask(builder->device, &made));
    return mgn_cl_emit_product(builder, &made);
}

/* ---- which way ---- */

static mgn_cl_route usual_on_cpu(const mgn_cl_device *device, const product *p) {
    const uint64_t lanes = mgn_cl_lanes(device, p->dtype);
    if (p->adds) return MGN_CL_tile;
    if (p->batch > 1 && p->k <= STAGE && p->k * p->n <= STAGE && (p->n < lanes || p->batch >= 4 * lanes))
        return MGN_CL_batch_small;
    if (p->batch == 1 && p->m * p->n <= STAGE && p->k >= 256 && p->k / 4 > p->m + p->n) return MGN_CL_tall;
    if (p->batch == 1 && p->n == 1 && p->a_stride[2] == 1 && p->k >= 4 * lanes) return MGN_CL_dot_rows;
    if (p->batch == 1 && p->m == 1 && p->b_stride[1] == 1 && p->k >= 4 * lanes) return MGN_CL_dot_columns;
    /* Rows of b are whole vectors: nothing has to be gathered, and a of middling size is read from the cache. */
    if (p->n >= lanes && p->b_stride[2] == 1 && p->k <= STAGE && p->m * p->k <= 8 * SHARED && p->n <= SHARED)
        return MGN_CL_shared_columns;
    /* So it is where b is a few whole vectors, however many rows a has. */
    if (p->n <= 4 * lanes && p->n % lanes == 0 && p->b_stride[2] == 1 && p->k <= 64) return MGN_CL_shared_columns;
    const bool b_small = p->n <= 4 || p->n * p->k <= SHARED, a_small = p->m <= 4 || p->m * p->k <= SHARED;
    if (b_small && (!a_small || p->m >= p->n)) return MGN_CL_shared_rows;
    if (a_small) return MGN_CL_shared_columns;
    return MGN_CL_tile;
}

static mgn_cl_route usual_on_gpu(const product *p) {
    if (p->adds) return MGN_CL_clblast;
    if (p->batch == 1 && p->m * p->n <= STAGE && p->k >= 4096) return MGN_CL_tall;
    const bool thin = p->m <= 4 || p->n <= 4 || p->k <= 8;
    return thin || p->m * p->n * p->k <= TINY ? MGN_CL_item : MGN_CL_clblast;
}

static mgn_cl_choice usual_choice(const mgn_cl_device *device, const product *p) {
    /* As many sums as fit the registers: 32 of a whole vector, or 16 of half a one. */
    const bool wide = device->native_width >= 16;
    return (mgn_cl_choice){
        .route = device->vectors ? usual_on_cpu(device, p) : usual_on_gpu(p),
        .tile = {.rows = wide ? 12 : 6, .vectors = wide ? 2 : 1, .depth = 256, .block = 8, .span = 16, .spread = 8},
    };
}

/* Whether a way can make this product, on kernels that this device has. */
static bool possible(const mgn_cl_device *device, const product *p, mgn_cl_route route) {
    if (p->m == 0 || p->n == 0 || p->k == 0) return false;
    if (p->adds && route != MGN_CL_tile && route != MGN_CL_clblast) return false;
    switch (route) {
    case MGN_CL_item: return !device->vectors;
    case MGN_CL_batch_small: return device->vectors && p->k <= STAGE && p->n <= STAGE / p->k;
    case MGN_CL_shared_rows:
    case MGN_CL_shared_columns:
    case MGN_CL_tile: return device->vectors;
    case MGN_CL_dot_rows:
        return device->vectors && p->batch == 1 && p->n == 1 && p->a_stride[2] == 1 && p->b_stride[1] == 1;
    case MGN_CL_dot_columns:
        return device->vectors && p->batch == 1 && p->m == 1 && p->b_stride[1] == 1 && p->a_stride[2] == 1;
    case MGN_CL_tall: return p->batch == 1 && p->m <= STAGE && p->n <= STAGE / p->m;
    case MGN_CL_clblast: return true;
    default: return false;
    }
}

mgn_cl_choice mgn_cl_usual_choice(const mgn_cl_device *device, const mgn_call *call) {
    const product p = product_of(call);
    return usual_choice(device, &p);
}

bool mgn_cl_route_possible(const mgn_cl_device *device, const mgn_call *call, mgn_cl_route route) {
    const product p = product_of(call);
    return possible(device, &p, route);
}

static mgn_cl_choice choose(mgn_cl_device *device, const product *p) {
    if (device->forced) return *device->forced;
    const mgn_cl_tuning *tuning = p->dtype == MGN_F32 && p->batch == 1 ? tuning_of(device) : NULL;
    const mgn_cl_tuned_shape *shape = tuning ? mgn_cl_tuned_nearest(tuning, p->m, p->n, p->k) : NULL;
    return shape && possible(device, p, shape->choice.route) ? shape->choice : usual_choice(device, p);
}

mgn_status mgn_cl_emit_matmul(mgn_cl_builder *builder) {
    const product p = product_of(builder->call);
    const mgn_cl_choice choice = choose(builder->device, &p);
    switch (choice.route) {
    case MGN_CL_item: return emit_item(builder, &p);
    case MGN_CL_batch_small: return emit_batch_small(builder, &p);
    case MGN_CL_shared_rows:
    case MGN_CL_shared_columns: return emit_shared_small(builder, &p, choice.route == MGN_CL_shared_rows);
    case MGN_CL_dot_rows:
    case MGN_CL_dot_columns: return emit_dot_rows(builder, &p, choice.route == MGN_CL_dot_rows);
    case MGN_CL_tall: return emit_tall(builder, &p);
    case MGN_CL_tile: return emit_tiled(builder, &p, &choice.tile);
    default: return emit_clblast(builder, &p);
    }
}
