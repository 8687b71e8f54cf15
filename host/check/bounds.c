/* The backend's kernels alone: one call per case, its result between guard values that must survive and its inputs
 * between NaNs that must not be read, at offsets that suit no vector width. */
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "backend/backend.h"
#include "check/op_check.h"

enum { GUARD = 37, PITCH_GAP = 3 };

static const double guard_value = -12345.5; /* float holds it exactly */
static const uint32_t guard_index = 0xfffffff1u;

/* A block of device memory and what the host put there. */
typedef struct guarded {
    mgn_memory *memory;
    unsigned char *bytes;
    size_t count; /* elements, guards included */
} guarded;

typedef struct bounds_call {
    const mgn_check_case *c;
    const mgn_case_values *v;
    mgn_call call;
    guarded in[MGN_CASE_INPUTS], out, scratch;
} bounds_call;

static void store(unsigned char *bytes, mgn_dtype dtype, size_t i, double value) {
    if (dtype == MGN_F64)
        ((double *)(void *)bytes)[i] = value;
    else if (dtype == MGN_F32)
        ((float *)(void *)bytes)[i] = (float)value;
    else
        ((uint32_t *)(void *)bytes)[i] = (uint32_t)value;
}

static double load(const unsigned char *bytes, mgn_dtype dtype, size_t i) {
    if (dtype == MGN_F64) return ((const double *)(const void *)bytes)[i];
    return dtype == MGN_F32 ? (double)((const float *)(const void *)bytes)[i]
                            : ((const uint32_t *)(const void *)bytes)[i];
}

/* Contiguous, or with a gap behind each row of a matrix. Returns the number of elements from first to last, gaps too. */
static size_t lay_out(mgn_operand *operand, mgn_dtype dtype, mgn_shape shape, bool gaps) {
    int64_t stride = 1;
    *operand = (mgn_operand){.offset = GUARD, .dtype = dtype, .shape = shape};
    for (int i = shape.rank - 1; i >= 0; i--) {
        operand->stride[i] = stride;
        stride *= shape.dim[i];
        if (gaps && i == shape.rank - 1 && shape.rank == 2) stride += PITCH_GAP;
    }
    return (size_t)stride;
}

static size_t position(const mgn_operand *operand, int64_t flat) {
    int64_t at = operand->offset;
    for (int i = operand->shape.rank - 1; i >= 0; i--) {
        at += flat % operand->shape.dim[i] * operand->stride[i];
        flat /= operand->shape.dim[i];
    }
    return (size_t)at;
}

/* Memory for `elements` between guards; values NULL: nothing but guards. */
static mgn_status place(mgn_device *device, guarded *g, mgn_operand *operand, size_t elements, const double *values,
                        bool result) {
    mgn_dtype dtype = operand->dtype;
    g->count = elements + 2 * GUARD;
    g->bytes = mgn_alloc_aligned(g->count, mgn_dtype_size(dtype));
    if (!g->bytes) return MGN_ERR_MEMORY;
    for (size_t i = 0; i < g->count; i++)
        store(g->bytes, dtype, i, dtype == MGN_U32 ? guard_index : result ? guard_value : (double)NAN);
    for (int64_t i = 0; values && i < mgn_shape_count(operand->shape); i++)
        store(g->bytes, dtype, position(operand, i), values[i]);
    MGN_TRY(device->backend->memory_create(device, g->count * mgn_dtype_size(dtype), &g->memory));
    operand->memory = g->memory;
    return device->backend->memory_write(device, g->memory, 0, g->bytes, g->count * mgn_dtype_size(dtype));
}

/* ---- what the graph would tell the backend ---- */

/* False when the axes are not neighbours: then the graph makes several calls. */
static bool describe_reduce(const mgn_check_case *c, mgn_attributes *a) {
    int64_t sizes[3] = {1, 1, 1}; /* outer, reduced, inner */
    int part = 0;
    for (int i = 0; i < c->in[0].shape.rank; i++) {
        bool reduced = c->axes >> i & 1;
        if (reduced && part == 2) return false;
        if (reduced)
            part = 1;
        else if (part == 1)
            part = 2;
        sizes[part] *= c->in[0].shape.dim[i];
    }
    a->reduce.outer = sizes[0], a->reduce.n = sizes[1], a->reduce.inner = sizes[2];
    return part > 0;
}

static void describe_matmul(const mgn_check_case *c, mgn_attributes *a) {
    mgn_shape x = c->in[0].shape, y = c->in[1].shape, out = c->shape;
    a->matmul.batch = out.rank == 3 ? out.dim[0] : 1;
    a->matmul.m = out.dim[out.rank - 2];
    a->matmul.n = out.dim[out.rank - 1];
    a->matmul.k = x.dim[x.rank - (c->transpose_a ? 2 : 1)];
    a->matmul.stride_a = x.rank == 3 ? a->matmul.m * a->matmul.k : 0;
    a->matmul.stride_b = y.rank == 3 ? a->matmul.k * a->matmul.n : 0;
    a->matmul.transpose_a = c->transpose_a;
    a->matmul.transpose_b = c->transpose_b;
}

static void describe_conv(const mgn_check_case *c, mgn_attributes *a) {
    const bool by_image = c->op == MGN_OP_conv_transpose, by_kernel = c->op == MGN_OP_conv_kernel_gradient;
    const mgn_shape x = by_image ? c->shape : c->in[0].shape, w = by_kernel ? c->shape : c->in[1].shape;
    const mgn_shape y = by_image ? c->in[0].shape : by_kernel ? c->in[1].shape : c->shape;
    a->conv.n = x.dim[0], a->conv.channels = x.dim[1], a->conv.height = x.dim[2], a->conv.width = x.dim[3];
    a->conv.filters = w.dim[0], a->conv.kernel_height = w.dim[2], a->conv.kernel_width = w.dim[3];
    a->conv.out_height = y.dim[2], a->conv.out_width = y.dim[3];
    a->conv.stride = c->stride, a->conv.padding = c->padding;
}

static bool describe(const mgn_check_case *c, mgn_attributes *a) {
    mgn_shape x = c->in[0].shape;
    switch (c->op) {
    case MGN_OP_sum:
    case MGN_OP_max: return describe_reduce(c, a);
    case MGN_OP_matmul: describe_matmul(c, a); return true;
    case MGN_OP_conv:
    case MGN_OP_conv_transpose:
    case MGN_OP_conv_kernel_gradient: describe_conv(c, a); return true;
    case MGN_OP_spd_logdet:
    case MGN_OP_spd_inverse:
    case MGN_OP_spd_solve:
        a->spd.batch = x.rank == 3 ? x.dim[0] : 1;
        a->spd.d = x.dim[x.rank - 1];
        a->spd.columns = c->op == MGN_OP_spd_solve ? c->shape.dim[c->shape.rank - 1] : 0;
        return true;
    case MGN_OP_gather_rows:
    case MGN_OP_scatter_rows:
        a->rows.rows = c->shape.dim[0];
        a->rows.source_rows = x.dim[0];
        a->rows.columns = 1;
        for (int i = 1; i < x.rank; i++) a->rows.columns *= x.dim[i];
        return true;
    case MGN_OP_softmin:
    case MGN_OP_gibbs:
    case MGN_OP_softmin_dense:
    case MGN_OP_softmins:
    case MGN_OP_softmins_dense: {
        const bool dense = c->op == MGN_OP_softmin_dense || c->op == MGN_OP_softmins_dense;
        a->cloud.n = x.dim[0];
        a->cloud.m = dense ? x.dim[1] : c->in[1].shape.dim[0];
        a->cloud.d = dense ? 0 : x.dim[1];
        a->cloud.columns = c->op == MGN_OP_gibbs ? c->shape.dim[1] : 0;
        a->cloud.scale = c->scale;
        return true;
    }
    case MGN_OP_uniform:
    case MGN_OP_normal: a->random.stream = c->stream; return true;
    case MGN_OP_advance: a->advance.steps = c->steps; return true;
    case MGN_OP_from_unorm8:
    case MGN_OP_to_unorm8: return true;
    default: return mgn_op_is_elementwise(c->op);
    }
}

static mgn_status prepare(mgn_device *device, mgn_dtype real, bounds_call *b) {
    const mgn_check_case *c = b->c;
    bool gaps = mgn_op_is_elementwise(c->op);
    b->call.op = c->op;
    b->call.inputs = c->inputs;
    for (int i = 0; i < c->inputs; i++) {
        mgn_dtype dtype = c->in[i].kind == MGN_INDEX ? MGN_U32 : real;
        size_t elements = lay_out(&b->call.in[i], dtype, c->in[i].shape, gaps && i == 0);
        MGN_TRY(place(device, &b->in[i], &b->call.in[i], elements, c->in[i].values, false));
    }
    size_t elements = lay_out(&b->call.out, c->kind == MGN_INDEX ? MGN_U32 : real, c->shape, gaps);
    MGN_TRY(place(device, &b->out, &b->call.out, elements, NULL, true));
    if (c->op != MGN_OP_spd_logdet && c->op != MGN_OP_spd_inverse && c->op != MGN_OP_spd_solve) return MGN_OK;
    const mgn_attributes *a = &b->call.attributes;
    elements = lay_out(&b->call.scratch, real, MGN_SHAPE(a->spd.batch, a->spd.d, a->spd.d), false);
    return place(device, &b->scratch, &b->call.scratch, elements, NULL, true);
}

/* ---- judging ---- */

/* Reads a block back and compares everything outside of the operand's elements with what was written. */
static mgn_status judge_guards(mgn_device *device, guarded *g, const mgn_operand *operand, const char *label,
                               const char *name, mgn_worst *worst) {
    size_t size = mgn_dtype_size(operand->dtype), changed = g->count;
    unsigned char *now = mgn_alloc_aligned(g->count, size);
    bool *own = mgn_alloc(g->count, sizeof *own);
    mgn_status status =
        now && own ? device->backend->memory_read(device, g->memory, 0, now, g->count * size) : MGN_ERR_MEMORY;
    if (status == MGN_OK) {
        for (int64_t i = 0; i < mgn_shape_count(operand->shape); i++) own[position(operand, i)] = true;
        for (size_t i = 0; i < g->count; i++)
            if (!own[i] && memcmp(now + i * size, g->bytes + i * size, size) != 0) changed = i;
        char text[200];
        snprintf(text, sizeof text, "%s: the %s is %zu elements, and element %lld from its start was overwritten",
                 label, name, (size_t)mgn_shape_count(operand->shape), (long long)changed - GUARD);
        mgn_judge_fact(worst, changed == g->count, text);
        memcpy(g->bytes, now, g->count * size);
    }
    mgn_free(own);
    mgn_free(now);
    return status;
}

static mgn_status judge_call(mgn_device *device, mgn_dtype real, bounds_call *b, mgn_worst *worst) {
    const mgn_check_case *c = b->c;
    MGN_TRY(judge_guards(device, &b->out, &b->call.out, c->label, "result", worst));
    if (b->scratch.memory) MGN_TRY(judge_guards(device, &b->scratch, &b->call.scratch, c->label, "scratch", worst));
    int rounded = real == MGN_F32;
    for (int64_t i = 0; i < mgn_shape_count(c->shape); i++)
        mgn_judge_element(worst, real, c->label, i, load(b->out.bytes, b->call.out.dtype, position(&b->call.out, i)),
                          b->v->out[rounded][i], b->v->magnitude[rounded][i], c->ulps * mgn_judge_unit(real));
    return MGN_OK;
}

/* ---- all cases of an op, as one program ---- */

static mgn_status run_calls(mgn_device *device, mgn_dtype real, bounds_call *calls, size_t count, mgn_worst *worst) {
    mgn_program *program = NULL;
    mgn_call *list = mgn_alloc(count, sizeof *list);
    mgn_status status = list ? MGN_OK : MGN_ERR_MEMORY;
    for (size_t i = 0; status == MGN_OK && i < count; i++) {
        status = prepare(device, real, &calls[i]);
        list[i] = calls[i].call;
    }
    if (status == MGN_OK) status = device->backend->program_create(device, list, count, &program);
    if (status == MGN_OK) status = device->backend->program_run(device, program, 1);
    if (status == MGN_OK) status = device->backend->finish(device);
    if (program) device->backend->program_destroy(device, program);
    for (size_t i = 0; status == MGN_OK && i < count; i++) status = judge_call(device, real, &calls[i], worst);
    mgn_free(list);
    return status;
}

static void release(mgn_device *device, guarded *g) {
    if (g->memory) device->backend->memory_destroy(device, g->memory);
    mgn_free(g->bytes);
}

mgn_status mgn_bounds_check(mgn_op_check *check, mgn_device *device, mgn_dtype dtype, mgn_check_sink *sink) {
    bounds_call *calls = mgn_alloc((size_t)check->list->count, sizeof *calls);
    if (!calls) return MGN_ERR_MEMORY;
    size_t count = 0;
    for (int i = 0; i < check->list->count; i++) {
        const mgn_check_case *c = &check->list->items[i];
        bounds_call *b = &calls[count];
        if (!(c->flags & MGN_CASE_BOUNDS) || !describe(c, &b->call.attributes)) continue;
        b->c = c;
        b->v = &check->values[i];
        count++;
    }
    mgn_worst worst = {0};
    mgn_status status = count ? run_calls(device, dtype, calls, count, &worst) : MGN_OK;
    for (size_t i = 0; i < count; i++) {
        for (int j = 0; j < MGN_CASE_INPUTS; j++) release(device, &calls[i].in[j]);
        release(device, &calls[i].out);
        release(device, &calls[i].scratch);
    }
    mgn_free(calls);
    if (status != MGN_OK && status != MGN_ERR_MEMORY) mgn_judge_fact(&worst, false, mgn_last_error());
    mgn_sink_result(sink, "bounds", &worst);
    return status == MGN_ERR_MEMORY ? status : MGN_OK;
}
