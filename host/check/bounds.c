/* The backend's kernels alone: one call per case, its result between guard values that must survive and its inputs
 * between NaNs that must not be read, at offsets that suit no vector width. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "check/guards.h"
#include "check/op_check.h"

enum { PITCH_GAP = 3 };

typedef struct bounds_call {
    const mgn_check_case *c;
    const mgn_case_values *v;
    mgn_call call;
    mgn_guarded in[MGN_CASE_INPUTS], out, scratch;
} bounds_call;

/* Contiguous, or with a gap behind each row of a matrix. Returns the number of elements from first to last, gaps too. */
static size_t lay_out(mgn_operand *operand, mgn_dtype dtype, mgn_shape shape, bool gaps) {
    int64_t stride = 1;
    *operand = (mgn_operand){.offset = MGN_GUARD, .dtype = dtype, .shape = shape};
    for (int i = shape.rank - 1; i >= 0; i--) {
        operand->stride[i] = stride;
        stride *= shape.dim[i];
        if (gaps && i == shape.rank - 1 && shape.rank == 2) stride += PITCH_GAP;
    }
    return (size_t)stride;
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
        MGN_TRY(mgn_guarded_place(device, &b->in[i], &b->call.in[i], elements, c->in[i].values));
    }
    size_t elements = lay_out(&b->call.out, c->kind == MGN_INDEX ? MGN_U32 : real, c->shape, gaps);
    MGN_TRY(mgn_guarded_place(device, &b->out, &b->call.out, elements, NULL));
    if (c->op != MGN_OP_spd_logdet && c->op != MGN_OP_spd_inverse && c->op != MGN_OP_spd_solve) return MGN_OK;
    const mgn_attributes *a = &b->call.attributes;
    elements = lay_out(&b->call.scratch, real, MGN_SHAPE(a->spd.batch, a->spd.d, a->spd.d), false);
    return mgn_guarded_place(device, &b->scratch, &b->call.scratch, elements, NULL);
}

/* ---- judging ---- */

static mgn_status judge_call(mgn_device *device, mgn_dtype real, bounds_call *b, mgn_worst *worst) {
    const mgn_check_case *c = b->c;
    MGN_TRY(mgn_guarded_judge(device, &b->out, &b->call.out, 1, c->label, worst));
    if (b->scratch.memory) MGN_TRY(mgn_guarded_judge(device, &b->scratch, &b->call.scratch, 1, c->label, worst));
    int rounded = real == MGN_F32;
    for (int64_t i = 0; i < mgn_shape_count(c->shape); i++)
        mgn_judge_element(worst, real, c->label, i,
                          mgn_guarded_load(b->out.bytes, b->call.out.dtype, mgn_guarded_position(&b->call.out, i)),
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
        for (int j = 0; j < MGN_CASE_INPUTS; j++) mgn_guarded_release(device, &calls[i].in[j]);
        mgn_guarded_release(device, &calls[i].out);
        mgn_guarded_release(device, &calls[i].scratch);
    }
    mgn_free(calls);
    if (status != MGN_OK && status != MGN_ERR_MEMORY) mgn_judge_fact(&worst, false, mgn_last_error());
    mgn_sink_result(sink, "bounds", &worst);
    return status == MGN_ERR_MEMORY ? status : MGN_OK;
}
