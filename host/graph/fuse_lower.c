/* Each op as instructions of a row program. Ops that move elements only renumber scalars; nothing is emitted for them. */
#include "graph/fuse.h"

mgn_scalar *mgn_fuse_scalars(mgn_fuser *f, int64_t count) {
    mgn_scalar *s = count <= MGN_SHARED_LIMIT ? mgn_arena_alloc(f->arena, (size_t)MGN_MAX(count, 1), sizeof *s) : NULL;
    if (!s) f->failed = true;
    return s;
}

/* The axes that scalars are numbered over: all of a shared node's, those after the first of a row node's. */
static mgn_shape feature_shape(const mgn_fuser *f, const mgn_node *node) {
    mgn_shape shape = node->shape;
    if (!f->of[node->id].is_row) return shape;
    for (int i = 1; i < shape.rank; i++) shape.dim[i - 1] = shape.dim[i];
    shape.rank--;
    return shape;
}

int32_t mgn_fuse_feature_count(const mgn_fuser *f, const mgn_node *node) {
    int64_t count = mgn_shape_count(feature_shape(f, node));
    return count > MGN_SHARED_LIMIT ? MGN_SHARED_LIMIT + 1 : (int32_t)count;
}

/* ---- renumbering ---- */

/* A strided walk over the scalars of `from`: out[i0, i1, ..] = from[offset + sum i_k stride_k] over `shape`. */
static mgn_scalar *walk(mgn_fuser *f, const mgn_scalar *from, mgn_shape shape, const int64_t *stride, int64_t offset) {
    int64_t count = mgn_shape_count(shape), index[MGN_MAX_RANK] = {0};
    mgn_scalar *out = mgn_fuse_scalars(f, count);
    for (int64_t n = 0; out && n < count; n++) {
        int64_t at = offset;
        for (int k = 0; k < shape.rank; k++) at += index[k] * stride[k];
        out[n] = from[at];
        for (int k = shape.rank - 1; k >= 0 && ++index[k] == shape.dim[k]; k--) index[k] = 0;
    }
    return out;
}

static void row_major(mgn_shape shape, int64_t *stride) {
    int64_t s = 1;
    for (int k = shape.rank - 1; k >= 0; k--) {
        stride[k] = s;
        s *= shape.dim[k];
    }
}

/* The scalars of `in` as they meet those of `out`, to whose shape it broadcasts. */
static const mgn_scalar *stretched(mgn_fuser *f, const mgn_node *in, const mgn_node *out) {
    mgn_shape from = feature_shape(f, in), to = feature_shape(f, out);
    const mgn_scalar *scalars = f->of[in->id].scalars;
    if (mgn_shape_equal(from, to)) return scalars;
    int64_t own[MGN_MAX_RANK] = {0}, stride[MGN_MAX_RANK] = {0};
    row_major(from, own);
    int extra = to.rank - from.rank; /* a shared operand may have a leading 1 where rows are */
    for (int k = 0; k < to.rank; k++)
        if (k >= extra && from.dim[k - extra] != 1) stride[k] = own[k - extra];
    return walk(f, scalars, to, stride, 0);
}

static void lower_layout(mgn_fuser *f, const mgn_node *node) {
    mgn_fused *to = &f->of[node->id];
    const mgn_node *in = node->in[0];
    const mgn_scalar *scalars = f->of[in->id].scalars;
    int lost = to->is_row ? 1 : 0, axis = node->attributes.axis - lost;
    mgn_shape from = feature_shape(f, in), shape = feature_shape(f, node);
    int64_t own[MGN_MAX_RANK], stride[MGN_MAX_RANK];
    row_major(from, own);
    if (node->op == MGN_OP_reshape || node->op == MGN_OP_detach) {
        to->scalars = f->of[in->id].scalars;
    } else if (node->op == MGN_OP_broadcast) {
        to->scalars = (mgn_scalar *)(uintptr_t)stretched(f, in, node);
    } else if (node->op == MGN_OP_slice) {
        to->scalars = walk(f, scalars, shape, own, node->attributes.begin * own[axis]);
    } else { /* permute */
        for (int k = 0; k < shape.rank; k++) stride[k] = own[node->attributes.order[k + lost] - lost];
        to->scalars = walk(f, scalars, shape, stride, 0);
    }
}

/* pad and concat: blocks of (outer, length, inner) written side by side. */
static void lower_joined(mgn_fuser *f, const mgn_node *node) {
    mgn_fused *to = &f->of[node->id];
    mgn_shape shape = feature_shape(f, node);
    int axis = node->attributes.axis - (to->is_row ? 1 : 0);
    int64_t outer = 1, inner = 1, whole = shape.dim[axis], at = 0;
    for (int k = 0; k < shape.rank; k++)
        if (k < axis)
            outer *= shape.dim[k];
        else if (k > axis)
            inner *= shape.dim[k];
    to->scalars = mgn_fuse_scalars(f, outer * whole * inner);
    if (f->failed) return;
    if (node->op == MGN_OP_pad) {
        mgn_scalar zero = mgn_fuse_constant(f, 0);
        for (int64_t i = 0; i < outer * whole * inner; i++) to->scalars[i] = zero;
        at = node->attributes.begin;
    }
    for (int i = 0; i < node->inputs; i++) {
        int64_t length = node->in[i]->shape.dim[node->attributes.axis];
        const mgn_scalar *from = f->of[node->in[i]->id].scalars;
        for (int64_t o = 0; o < outer; o++)
            for (int64_t j = 0; j < length * inner; j++)
                to->scalars[(o * whole + at) * inner + j] = from[o * length * inner + j];
        at += length;
    }
}

/* ---- arithmetic ---- */

/* Places for the sums over rows that are a node: those it wishes for, or new ones. */
static int32_t sum_places(mgn_fuser *f, const mgn_node *node) {
    const mgn_fused *to = &f->of[node->id];
    return to->wish >= 0 ? to->wish : mgn_fuse_shared(f, to->count);
}

static void lower_elementwise(mgn_fuser *f, const mgn_node *node) {
    const mgn_scalar *in[MGN_MAX_INPUTS] = {NULL};
    mgn_fused *to = &f->of[node->id];
    for (int i = 0; i < node->inputs; i++) in[i] = stretched(f, node->in[i], node);
    to->scalars = mgn_fuse_scalars(f, to->count);
    if (f->failed) return;
    if (to->wish >= 0)
        mgn_fuse_elementwise_to(f, node->op, to->count, in, to->wish, to->scalars);
    else
        mgn_fuse_elementwise(f, node->op, to->count, in, to->scalars);
}

/* Places for the results of an instruction of the current section's sort. */
static mgn_row_run results(mgn_fuser *f, int32_t count, mgn_scalar *out) {
    mgn_row_run run = {f->in_rows, f->in_rows ? mgn_fuse_row_places(f, count) : mgn_fuse_shared(f, count), 1};
    for (int32_t j = 0; j < count; j++) out[j] = (mgn_scalar){run.is_row, run.base + j};
    return run;
}

/* (outer, n, inner) -> (outer, inner) over scalars. */
static void reduce(mgn_fuser *f, mgn_row_opcode opcode, const mgn_scalar *in, int32_t outer, int32_t n, int32_t inner,
                   mgn_scalar *out) {
    mgn_row_run from = mgn_fuse_as_run(f, in, outer * n * inner, f->in_rows);
    if (f->failed) return;
    mgn_row_run to = results(f, outer * inner, out);
    int32_t pieces = inner == 1 ? 1 : outer;
    for (int32_t o = 0; o < pieces; o++) {
        mgn_row_instruction *i = mgn_fuse_instruction(f, opcode);
        i->count = inner == 1 ? outer : inner;
        i->inner = n;
        i->step = inner;
        i->src[0] = (mgn_row_run){from.is_row, from.base + o * n * inner, inner == 1 ? n : 1};
        i->dst = (mgn_row_run){to.is_row, to.base + o * inner, 1};
    }
}

static void lower_reduce(mgn_fuser *f, const mgn_node *node) {
    mgn_fused *to = &f->of[node->id];
    const mgn_node *in = node->in[0];
    const mgn_scalar *scalars = f->of[in->id].scalars;
    mgn_row_opcode opcode = node->op == MGN_OP_max ? MGN_ROW_MAX : MGN_ROW_SUM;
    int32_t features = mgn_fuse_feature_count(f, in), inner = (int32_t)node->attributes.kernel.reduce.inner;
    to->scalars = mgn_fuse_scalars(f, to->count);
    if (f->failed) return;
    if (!to->is_sum) {
        int32_t n = (int32_t)node->attributes.kernel.reduce.n;
        reduce(f, opcode, scalars, to->count / inner, n, inner, to->scalars);
        return;
    }
    mgn_scalar *partial = mgn_fuse_scalars(f, inner); /* of one row */
    if (f->failed) return;
    if (features > inner) reduce(f, opcode, scalars, 1, features / inner, inner, partial);
    mgn_row_run from = mgn_fuse_as_run(f, features > inner ? partial : scalars, inner, true);
    mgn_row_instruction *i = mgn_fuse_instruction(f, MGN_ROW_COLUMN_SUM);
    i->count = inner;
    i->src[0] = from;
    i->dst.base = sum_places(f, node);
    for (int32_t j = 0; j < inner; j++) to->scalars[j] = (mgn_scalar){false, i->dst.base + j};
}

/* One row of a product: out[j] = sum_i a[i] b[i, j], where the scalars of b are (k, n), or (n, k) when transposed. */
static void product_row(mgn_fuser *f, const mgn_scalar *a, int32_t k, const mgn_scalar *b, int32_t n, bool transposed,
                        mgn_scalar *out) {
    mgn_row_run left, right;
    bool runs = k > 0 && mgn_fuse_is_run(f, a, k, true, &left) && mgn_fuse_is_run(f, b, k * n, false, &right) &&
                left.is_row == f->in_rows && !right.is_row && (right.stride == 1 || k * n == 1);
    if (runs) {
        mgn_row_run to = results(f, n, out);
        mgn_row_instruction *i = mgn_fuse_instruction(f, MGN_ROW_MATMUL);
        i->count = n;
        i->inner = k;
        i->step = transposed ? 1 : n;
        i->src[0] = left;
        i->src[1] = (mgn_row_run){false, right.base, transposed ? k : 1};
        i->dst = to;
        return;
    }
    mgn_scalar *column = mgn_fuse_scalars(f, n), *factor = mgn_fuse_scalars(f, n), *term = mgn_fuse_scalars(f, n);
    for (int32_t i = 0; i < k && !f->failed; i++) {
        for (int32_t j = 0; j < n; j++) {
            column[j] = transposed ? b[j * k + i] : b[i * n + j];
            factor[j] = a[i];
        }
        mgn_fuse_elementwise(f, MGN_OP_mul, n, (const mgn_scalar *const[]){factor, column, NULL}, i ? term : out);
        if (i) mgn_fuse_elementwise(f, MGN_OP_add, n, (const mgn_scalar *const[]){out, term, NULL}, out);
    }
}

static void lower_column_product(mgn_fuser *f, const mgn_node *node, int32_t m, int32_t n) {
    mgn_fused *to = &f->of[node->id];
    mgn_row_run a = mgn_fuse_as_run(f, f->of[node->in[0]->id].scalars, m, true);
    mgn_row_run b = mgn_fuse_as_run(f, f->of[node->in[1]->id].scalars, n, true);
    to->scalars = mgn_fuse_scalars(f, m * n);
    if (f->failed) return;
    mgn_row_instruction *i = mgn_fuse_instruction(f, MGN_ROW_COLUMN_PRODUCT);
    i->count = n;
    i->inner = m;
    i->src[0] = a;
    i->src[1] = b;
    i->dst.base = sum_places(f, node);
    for (int32_t j = 0; j < m * n; j++) to->scalars[j] = (mgn_scalar){false, i->dst.base + j};
}

static void lower_matmul(mgn_fuser *f, const mgn_node *node) {
    mgn_fused *to = &f->of[node->id];
    int32_t m = (int32_t)node->attributes.kernel.matmul.m, n = (int32_t)node->attributes.kernel.matmul.n;
    int32_t k = (int32_t)node->attributes.kernel.matmul.k;
    bool ta = node->attributes.kernel.matmul.transpose_a, tb = node->attributes.kernel.matmul.transpose_b;
    if (to->is_sum) {
        lower_column_product(f, node, m, n);
        return;
    }
    const mgn_scalar *a = f->of[node->in[0]->id].scalars, *b = f->of[node->in[1]->id].scalars;
    if (to->is_row && node->shape.rank == 2) m = 1; /* the rows are the program's */
    to->scalars = mgn_fuse_scalars(f, m * n);
    mgn_scalar *row = mgn_fuse_scalars(f, k);
    for (int32_t i = 0; i < m && !f->failed; i++) {
        for (int32_t j = 0; j < k; j++) row[j] = ta ? a[j * m + i] : a[i * k + j];
        product_row(f, row, k, b, n, tb, to->scalars + i * n);
    }
}

static void lower_spd(mgn_fuser *f, const mgn_node *node) {
    mgn_fused *to = &f->of[node->id];
    int d = (int)node->attributes.kernel.spd.d, columns = (int)node->attributes.kernel.spd.columns;
    const mgn_scalar *a = f->of[node->in[0]->id].scalars;
    to->scalars = mgn_fuse_scalars(f, to->count);
    if (f->failed) return;
    if (node->op == MGN_OP_spd_logdet)
        mgn_fuse_spd_logdet(f, a, d, to->scalars);
    else if (node->op == MGN_OP_spd_inverse)
        mgn_fuse_spd_inverse(f, a, d, to->scalars);
    else
        mgn_fuse_spd_solve(f, a, d, f->of[node->in[1]->id].scalars, columns, to->scalars);
}

/* ---- data, indices, randomness ---- */

static mgn_row_instruction *row_result(mgn_fuser *f, const mgn_node *node, mgn_row_opcode opcode) {
    mgn_fused *to = &f->of[node->id];
    to->scalars = mgn_fuse_scalars(f, to->count);
    if (f->failed) return NULL;
    mgn_row_run run = results(f, to->count, to->scalars);
    mgn_row_instruction *i = mgn_fuse_instruction(f, opcode);
    i->count = to->count;
    i->dst = run;
    i->attributes = node->attributes.kernel;
    return i;
}

static void lower_gather(mgn_fuser *f, const mgn_node *node) {
    const mgn_node *source = node->in[0];
    mgn_row_instruction *i = row_result(f, node, MGN_ROW_GATHER);
    if (!i) return;
    mgn_scalar index = f->of[node->in[1]->id].scalars[0];
    i->src[0] = (mgn_row_run){true, index.place, 1};
    i->external =
        mgn_fuse_external(f, mgn_operand_of(f->low->values[source->id].tensor), source->shape.dim[0], i->count);
}

static void lower_bytes(mgn_fuser *f, const mgn_node *node) {
    if (node->op == MGN_OP_to_unorm8) return; /* nothing but a store, which outputs get */
    mgn_row_instruction *i = row_result(f, node, MGN_ROW_BYTES_LOAD);
    if (i)
        i->external = mgn_fuse_external(f, mgn_operand_of(f->low->values[node->in[0]->id].tensor), f->rows, i->count);
}

static void lower_random(mgn_fuser *f, const mgn_node *node) {
    int32_t state = f->of[node->in[0]->id].scalars[0].place;
    if (node->op == MGN_OP_advance) {
        mgn_fused *to = &f->of[node->id];
        to->scalars = mgn_fuse_scalars(f, 4);
        if (f->failed) return;
        mgn_row_instruction *i = mgn_fuse_instruction(f, MGN_ROW_ADVANCE);
        i->state = state;
        i->dst.base = f->index_count;
        i->attributes = node->attributes.kernel;
        for (int32_t j = 0; j < 4; j++) to->scalars[j] = (mgn_scalar){false, f->index_count++};
        return;
    }
    mgn_row_opcode opcode = node->op == MGN_OP_shuffle  ? MGN_ROW_SHUFFLE
                            : node->op == MGN_OP_normal ? MGN_ROW_NORMAL
                                                        : MGN_ROW_UNIFORM;
    mgn_row_instruction *i = row_result(f, node, opcode);
    if (i) i->state = state;
}

static void lower_input(mgn_fuser *f, const mgn_node *node) {
    mgn_fused *to = &f->of[node->id];
    mgn_operand operand = mgn_operand_of(f->low->values[node->id].tensor);
    if (to->is_row) {
        mgn_row_instruction *i = row_result(f, node, node->kind == MGN_INDEX ? MGN_ROW_INDEX_LOAD : MGN_ROW_LOAD);
        if (i) i->external = mgn_fuse_external(f, operand, f->rows, i->count);
        return;
    }
    to->scalars = mgn_fuse_scalars(f, to->count);
    if (f->failed) return;
    bool is_state = node->kind == MGN_INDEX;
    f->current = &f->prologue;
    mgn_row_instruction *i = mgn_fuse_instruction(f, is_state ? MGN_ROW_STATE_LOAD : MGN_ROW_LOAD);
    int32_t first = is_state ? f->index_count : mgn_fuse_shared(f, to->count);
    if (is_state) f->index_count += to->count;
    i->count = to->count;
    i->dst.base = i->state = first;
    i->external = mgn_fuse_external(f, operand, 1, to->count);
    for (int32_t j = 0; j < to->count; j++) to->scalars[j] = (mgn_scalar){false, first + j};
}

static void lower_constant(mgn_fuser *f, const mgn_node *node) {
    mgn_fused *to = &f->of[node->id];
    to->scalars = mgn_fuse_scalars(f, to->count);
    for (int32_t j = 0; j < to->count && !f->failed; j++)
        to->scalars[j] =
            mgn_fuse_constant(f, node->op == MGN_OP_table ? node->attributes.table[j] : node->attributes.value);
}

void mgn_fuse_lower(mgn_fuser *f, const mgn_node *node) {
    if (f->failed) return;
    switch (node->op) {
    case MGN_OP_input: lower_input(f, node); break;
    case MGN_OP_constant:
    case MGN_OP_table: lower_constant(f, node); break;
    case MGN_OP_detach:
    case MGN_OP_reshape:
    case MGN_OP_broadcast:
    case MGN_OP_permute:
    case MGN_OP_slice: lower_layout(f, node); break;
    case MGN_OP_pad:
    case MGN_OP_concat: lower_joined(f, node); break;
    case MGN_OP_sum:
    case MGN_OP_max: lower_reduce(f, node); break;
    case MGN_OP_matmul: lower_matmul(f, node); break;
    case MGN_OP_spd_logdet:
    case MGN_OP_spd_inverse:
    case MGN_OP_spd_solve: lower_spd(f, node); break;
    case MGN_OP_gather_rows: lower_gather(f, node); break;
    case MGN_OP_from_unorm8:
    case MGN_OP_to_unorm8: lower_bytes(f, node); break;
    case MGN_OP_shuffle:
    case MGN_OP_uniform:
    case MGN_OP_normal:
    case MGN_OP_advance: lower_random(f, node); break;
    default: lower_elementwise(f, node);
    }
}
