/* From graph to plan: which nodes are live, where every value lies, and the list of calls for the backend.
 *
 * Layout ops become views wherever a consumer can read strides (elementwise ops can), and copies elsewhere. All
 * intermediate values share one block of scratch memory; a value's place is given to others after its last use. */
#include <limits.h>
#include <string.h>

#include "graph/plan.h"

/* Stand-ins for memory that is created when its size is known. */
mgn_memory *const mgn_scratch_place = (mgn_memory *)(uintptr_t)8;
mgn_memory *const mgn_pool_place = (mgn_memory *)(uintptr_t)16;

enum { ALIGNMENT = 256 };

bool mgn_is_view(mgn_op op) {
    return op == MGN_OP_reshape || op == MGN_OP_broadcast || op == MGN_OP_permute || op == MGN_OP_slice ||
           op == MGN_OP_detach;
}

bool mgn_is_same_matrix(const mgn_node *view) {
    const bool as_it_is = view->op == MGN_OP_detach || view->op == MGN_OP_reshape || view->op == MGN_OP_broadcast;
    return as_it_is && mgn_shape_equal(view->shape, view->in[0]->shape);
}

mgn_dtype mgn_lower_dtype(const mgn_lowering *low, const mgn_node *node) {
    return node->kind == MGN_INDEX ? MGN_U32 : low->real;
}

/* ---- operands ---- */

static void set_contiguous(mgn_operand *operand, mgn_shape shape) {
    operand->shape = shape;
    int64_t stride = 1;
    for (int i = shape.rank - 1; i >= 0; i--) {
        operand->stride[i] = stride;
        stride *= shape.dim[i];
    }
}

static bool is_contiguous(const mgn_operand *operand) {
    int64_t stride = 1;
    for (int i = operand->shape.rank - 1; i >= 0; i--) {
        if (operand->shape.dim[i] != 1 && operand->stride[i] != stride) return false;
        stride *= operand->shape.dim[i];
    }
    return true;
}

mgn_operand mgn_lower_stretched(mgn_operand operand, mgn_shape shape) {
    mgn_operand out = operand;
    int extra = shape.rank - operand.shape.rank;
    out.shape = shape;
    for (int i = 0; i < shape.rank; i++)
        out.stride[i] = i < extra || operand.shape.dim[i - extra] == 1 ? 0 : operand.stride[i - extra];
    return out;
}

/* ---- scratch: first fit among the blocks in use, kept sorted by place ---- */

static mgn_status place_block(mgn_lowering *low, size_t bytes, int last_use, size_t *place) {
    if (low->block_count == low->block_capacity) {
        int capacity = low->block_capacity ? 2 * low->block_capacity : 64;
        mgn_block *grown = mgn_realloc(low->blocks, (size_t)capacity, sizeof *grown);
        if (!grown) return MGN_ERR_MEMORY;
        low->blocks = grown;
        low->block_capacity = capacity;
    }
    bytes = (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    size_t at = 0;
    int i = 0;
    for (; i < low->block_count; i++) {
        if (low->blocks[i].begin - at >= bytes) break;
        at = low->blocks[i].begin + low->blocks[i].bytes;
    }
    memmove(low->blocks + i + 1, low->blocks + i, (size_t)(low->block_count - i) * sizeof *low->blocks);
    low->blocks[i] = (mgn_block){at, bytes, last_use};
    low->block_count++;
    low->scratch_bytes = MGN_MAX(low->scratch_bytes, at + bytes);
    *place = at;
    return MGN_OK;
}

static void release_blocks(mgn_lowering *low, int step) {
    int kept = 0;
    for (int i = 0; i < low->block_count; i++)
        if (low->blocks[i].last_use > step) low->blocks[kept++] = low->blocks[i];
    low->block_count = kept;
}

mgn_status mgn_lower_scratch(mgn_lowering *low, mgn_dtype dtype, mgn_shape shape, int last_use, mgn_operand *operand) {
    size_t place = 0;
    MGN_TRY(place_block(low, (size_t)mgn_shape_count(shape) * mgn_dtype_size(dtype), last_use, &place));
    *operand =
        (mgn_operand){.memory = mgn_scratch_place, .offset = (int64_t)(place / mgn_dtype_size(dtype)), .dtype = dtype};
    set_contiguous(operand, shape);
    return MGN_OK;
}

/* ---- calls ---- */

mgn_call *mgn_lower_call(mgn_lowering *low, mgn_op op) {
    if (low->call_count == low->call_capacity) {
        size_t capacity = low->call_capacity ? 2 * low->call_capacity : 64;
        mgn_call *grown = mgn_realloc(low->calls, capacity, sizeof *grown);
        if (!grown) return NULL;
        low->calls = grown;
        low->call_capacity = capacity;
    }
    mgn_call *call = &low->calls[low->call_count++];
    memset(call, 0, sizeof *call);
    call->op = op;
    return call;
}

mgn_status mgn_lower_copy(mgn_lowering *low, mgn_operand from, mgn_operand to) {
    if (mgn_shape_count(to.shape) == 0) return MGN_OK;
    const bool is_there = from.memory == to.memory && from.offset == to.offset && is_contiguous(&from) &&
                          is_contiguous(&to) && mgn_shape_count(from.shape) == mgn_shape_count(to.shape);
    if (is_there) return MGN_OK;
    mgn_call *call = mgn_lower_call(low, MGN_OP_copy);
    if (!call) return MGN_ERR_MEMORY;
    call->inputs = 1;
    call->in[0] = mgn_lower_stretched(from, to.shape);
    call->out = to;
    return MGN_OK;
}

/* The node's value, contiguous: as it is, or through a copy that lives as long as the node does. */
mgn_status mgn_lower_dense(mgn_lowering *low, const mgn_node *node, mgn_operand *operand) {
    mgn_value *value = &low->values[node->id];
    if (!value->has_dense) {
        value->dense = value->operand;
        if (!is_contiguous(&value->operand)) {
            MGN_TRY(mgn_lower_scratch(low, value->operand.dtype, node->shape, value->last_use, &value->dense));
            MGN_TRY(mgn_lower_copy(low, value->operand, value->dense));
        }
        set_contiguous(&value->dense, node->shape);
        value->has_dense = true;
    }
    *operand = value->dense;
    return MGN_OK;
}

/* Where the result of a kernel goes: an output's tensor, the tensor it is assigned to, a part of another node's result,
 * or scratch. */
mgn_status mgn_lower_result(mgn_lowering *low, const mgn_node *node, mgn_operand *operand) {
    mgn_value *value = &low->values[node->id];
    if (value->has_place) {
        *operand = value->operand;
        return MGN_OK;
    }
    if (value->inside >= 0) {
        const mgn_node *whole = node->graph->nodes[value->inside];
        mgn_value *to = &low->values[whole->id];
        MGN_TRY(mgn_lower_result(low, whole, &to->operand));
        to->has_place = true;
        *operand = to->operand;
        operand->offset += value->inside_at;
        set_contiguous(operand, node->shape);
        return MGN_OK;
    }
    if (value->tensor) {
        *operand = mgn_operand_of(value->tensor);
        set_contiguous(operand, node->shape);
        return MGN_OK;
    }
    return mgn_lower_scratch(low, mgn_lower_dtype(low, node), node->shape, value->last_use, operand);
}

/* ---- one node ---- */

static mgn_status lower_constant(mgn_lowering *low, const mgn_node *node) {
    int64_t count = mgn_shape_count(node->shape);
    if (low->pool_count + (size_t)count > low->pool_capacity) {
        size_t capacity = MGN_MAX(2 * low->pool_capacity, low->pool_count + (size_t)count + 64);
        double *grown = mgn_realloc(low->pool, capacity, sizeof *grown);
        if (!grown) return MGN_ERR_MEMORY;
        low->pool = grown;
        low->pool_capacity = capacity;
    }
    const double *from = node->op == MGN_OP_table ? node->attributes.table : &node->attributes.value;
    memcpy(low->pool + low->pool_count, from, (size_t)count * sizeof *from);
    mgn_operand *operand = &low->values[node->id].operand;
    *operand = (mgn_operand){.memory = mgn_pool_place, .offset = (int64_t)low->pool_count, .dtype = low->real};
    set_contiguous(operand, node->shape);
    low->pool_count += (size_t)count;
    return MGN_OK;
}

mgn_status mgn_lower_view(mgn_lowering *low, const mgn_node *node) {
    const mgn_node *in = node->in[0];
    mgn_operand from = low->values[in->id].operand, *to = &low->values[node->id].operand;
    *to = from;
    to->shape = node->shape;
    switch (node->op) {
    case MGN_OP_reshape:
        MGN_TRY(mgn_lower_dense(low, in, to));
        set_contiguous(to, node->shape);
        break;
    case MGN_OP_detach: break;
    case MGN_OP_broadcast: *to = mgn_lower_stretched(from, node->shape); break;
    case MGN_OP_permute:
        for (int i = 0; i < node->shape.rank; i++) to->stride[i] = from.stride[node->attributes.order[i]];
        break;
    default: to->offset += node->attributes.begin * from.stride[node->attributes.axis];
    }
    return MGN_OK;
}

/* Part of `whole` along an axis. */
static mgn_operand window(mgn_operand whole, int axis, int64_t begin, int64_t length) {
    whole.offset += begin * whole.stride[axis];
    whole.shape.dim[axis] = length;
    return whole;
}

static mgn_status lower_joined(mgn_lowering *low, const mgn_node *node) {
    int axis = node->attributes.axis;
    mgn_operand result;
    MGN_TRY(mgn_lower_result(low, node, &result));
    low->values[node->id].operand = result;
    int64_t at = 0;
    if (node->op == MGN_OP_pad) {
        mgn_operand zero = {.memory = mgn_pool_place, .dtype = low->real}; /* the pool starts with a zero */
        MGN_TRY(mgn_lower_copy(low, zero, result));
        at = node->attributes.begin;
    }
    for (int i = 0; i < node->inputs; i++) {
        int64_t length = node->in[i]->shape.dim[axis];
        MGN_TRY(mgn_lower_copy(low, low->values[node->in[i]->id].operand, window(result, axis, at, length)));
        at += length;
    }
    return MGN_OK;
}

static mgn_status lower_kernel(mgn_lowering *low, const mgn_node *node) {
    mgn_operand in[MGN_CALL_INPUTS] = {{0}}, result, scratch = {0};
    bool elementwise = mgn_op_is_elementwise(node->op);
    for (int i = 0; i < node->inputs; i++) {
        if (elementwise)
            in[i] = mgn_lower_stretched(low->values[node->in[i]->id].operand, node->shape);
        else
            MGN_TRY(mgn_lower_dense(low, node->in[i], &in[i]));
    }
    MGN_TRY(mgn_lower_result(low, node, &result));
    bool is_spd = node->op == MGN_OP_spd_logdet || node->op == MGN_OP_spd_inverse || node->op == MGN_OP_spd_solve;
    if (is_spd) MGN_TRY(mgn_lower_scratch(low, low->real, node->in[0]->shape, node->id, &scratch));
    low->values[node->id].operand = result;
    if (mgn_shape_count(node->shape) == 0 || low->values[node->id].is_done) return MGN_OK;
    mgn_call *call = mgn_lower_call(low, node->op);
    if (!call) return MGN_ERR_MEMORY;
    call->inputs = node->inputs;
    memcpy(call->in, in, sizeof in);
    call->out = result;
    call->scratch = scratch;
    call->attributes = node->attributes.kernel;
    if (node->op == MGN_OP_matmul) call->attributes.matmul.adds = low->values[node->id].is_added;
    return MGN_OK;
}

static mgn_status lower_node(mgn_lowering *low, const mgn_node *node) {
    mgn_value *value = &low->values[node->id];
    if (node->op == MGN_OP_input)
        value->operand = mgn_operand_of(value->tensor);
    else if (node->op == MGN_OP_constant || node->op == MGN_OP_table)
        MGN_TRY(lower_constant(low, node));
    else if (mgn_is_view(node->op))
        MGN_TRY(mgn_lower_view(low, node));
    else if (node->op == MGN_OP_pad || node->op == MGN_OP_concat)
        MGN_TRY(lower_joined(low, node));
    else
        MGN_TRY(lower_kernel(low, node));
    bool elsewhere = value->tensor && value->operand.memory != value->tensor->memory;
    return elsewhere ? mgn_lower_copy(low, value->operand, mgn_operand_of(value->tensor)) : MGN_OK;
}

/* ---- assignments ---- */

/* Whether the kernel of `value` may write straight into the tensor of `target`: nobody reads the old content later, and
 * the kernel itself reads it, if at all, at the very index that it writes. */
static bool assigns_in_place(const mgn_lowering *low, const mgn_node *target, const mgn_node *value) {
    if (value->is_output || !mgn_op_infos[value->op].has_kernel || low->values[value->id].tensor) return false;
    int last_read = low->values[target->id].last_use;
    if (last_read < value->id) return true;
    if (last_read > value->id || !(mgn_op_is_elementwise(value->op) || value->op == MGN_OP_advance)) return false;
    for (int i = 0; i < value->inputs; i++) {
        const mgn_node *root = value->in[i];
        while (mgn_is_view(root->op) && root != target) root = root->in[0];
        if (root == target && value->in[i] != target) return false;
    }
    return true;
}

/* The values that could not be written in place. First out of the way of one another, then home. */
static mgn_status lower_assignments(mgn_lowering *low, const mgn_graph *graph) {
    for (int pass = 0; pass < 2; pass++)
        for (int id = 0; id < low->node_count; id++) {
            const mgn_node *target = graph->nodes[id], *source = target->assigned;
            if (!source || source == target) continue;
            mgn_value *value = &low->values[source->id];
            mgn_operand home = mgn_operand_of(low->values[id].tensor);
            set_contiguous(&home, target->shape);
            if (value->operand.memory == home.memory && value->tensor == low->values[id].tensor) continue;
            const mgn_memory *memory = value->operand.memory;
            if (pass == 0 && memory != mgn_scratch_place && memory != mgn_pool_place) {
                mgn_operand moved;
                MGN_TRY(mgn_lower_scratch(low, value->operand.dtype, source->shape, INT_MAX, &moved));
                MGN_TRY(mgn_lower_copy(low, value->operand, moved));
                value->operand = moved;
            }
            if (pass == 1) MGN_TRY(mgn_lower_copy(low, value->operand, home));
        }
    return MGN_OK;
}

/* ---- liveness ---- */

void mgn_lower_mark_live(mgn_lowering *low, const mgn_graph *graph) {
    for (int id = low->node_count - 1; id >= 0; id--) {
        const mgn_node *node = graph->nodes[id];
        if (node->is_output) low->values[id].live = true;
    }
    for (bool changed = true; changed;) { /* a value assigned to a live input is live; inputs come first */
        changed = false;
        for (int id = low->node_count - 1; id >= 0; id--) {
            const mgn_node *node = graph->nodes[id];
            if (node->assigned && !low->values[node->assigned->id].live) {
                low->values[id].live = low->values[node->assigned->id].live = changed = true;
            }
            for (int i = 0; low->values[id].live && i < node->inputs; i++) low->values[node->in[i]->id].live = true;
        }
    }
}

static void find_last_uses(mgn_lowering *low, const mgn_graph *graph) {
    for (int id = 0; id < low->node_count; id++) {
        const mgn_node *node = graph->nodes[id];
        if (!low->values[id].live) continue;
        low->values[id].last_use = MGN_MAX(low->values[id].last_use, id);
        for (int i = 0; i < node->inputs; i++)
            for (const mgn_node *v = node->in[i];; v = v->in[0]) {
                low->values[v->id].last_use = id;
                if (!mgn_is_view(v->op)) break;
            }
    }
    for (int id = 0; id < low->node_count; id++) /* an assigned value is read at the very end */
        if (graph->nodes[id]->assigned)
            for (const mgn_node *v = graph->nodes[id]->assigned;; v = v->in[0]) {
                low->values[v->id].last_use = INT_MAX;
                if (!mgn_is_view(v->op)) break;
            }
}

/* ---- results inside of others ---- */

/* Whether a node's result may lie inside of that of `whole`, to be written before it. */
static bool fits_inside(const mgn_lowering *low, const mgn_node *node, const mgn_node *whole) {
    const mgn_value *value = &low->values[node->id], *to = &low->values[whole->id];
    if (!mgn_op_infos[node->op].has_kernel || node->kind != whole->kind || value->inside >= 0 || value->tensor)
        return false;
    return !to->tensor || whole->is_output; /* else what it is assigned to is still read */
}

/* Puts a node's result inside of that of `whole`, whose memory is kept for as long as anybody reads either. */
static void put_inside(mgn_lowering *low, const mgn_node *node, const mgn_node *whole, int64_t at) {
    mgn_value *value = &low->values[node->id], *to = &low->values[whole->id];
    value->inside = whole->id;
    value->inside_at = at;
    to->last_use = MGN_MAX(to->last_use, value->last_use);
}

/* What a concatenation along the first axis joins. */
static void find_joined(mgn_lowering *low, const mgn_node *whole) {
    int64_t at = 0;
    for (int i = 0; i < whole->inputs; at += mgn_shape_count(whole->in[i++]->shape)) {
        const mgn_node *in = whole->in[i];
        while (in->op == MGN_OP_reshape) in = in->in[0];
        if (fits_inside(low, in, whole)) put_inside(low, in, whole, at);
    }
}

/* Large enough for the kernels that can add to what is there. */
static bool is_large_product(const mgn_node *node) {
    enum { LEAST = 128, LEAST_TERMS = 32 };
    const mgn_attributes *a = &node->attributes.kernel;
    return node->op == MGN_OP_matmul && a->matmul.batch == 1 && a->matmul.m >= LEAST && a->matmul.n >= LEAST &&
           a->matmul.k >= LEAST_TERMS;
}

/* The sum of two products that nobody else reads: the second is added to the first. */
static void find_terms(mgn_lowering *low, const mgn_graph *graph, const mgn_node *sum) {
    const mgn_node *a = sum->in[0], *b = sum->in[1];
    if (a == b || !is_large_product(a) || !is_large_product(b)) return;
    if (!mgn_shape_equal(a->shape, b->shape) || !fits_inside(low, a, sum) || !fits_inside(low, b, sum)) return;
    int reads = 0;
    for (int id = 0; id < low->node_count; id++)
        for (int i = 0; low->values[id].live && i < graph->nodes[id]->inputs; i++)
            reads += graph->nodes[id]->in[i] == a || graph->nodes[id]->in[i] == b;
    if (reads != 2) return;
    put_inside(low, a, sum, 0);
    put_inside(low, b, sum, 0);
    low->values[MGN_MAX(a->id, b->id)].is_added = true;
    low->values[sum->id].is_done = true;
}

static void find_insides(mgn_lowering *low, const mgn_graph *graph) {
    for (int id = 0; id < low->node_count; id++) {
        const mgn_node *node = graph->nodes[id];
        if (!low->values[id].live) continue;
        if (node->op == MGN_OP_concat && node->attributes.axis == 0) find_joined(low, node);
        if (node->op == MGN_OP_add) find_terms(low, graph, node);
    }
}

void mgn_lower_analyse(mgn_lowering *low, const mgn_graph *graph) {
    find_last_uses(low, graph);
    for (int id = 0; id < low->node_count; id++) low->values[id].inside = -1;
    for (int id = 0; id < low->node_count; id++) {
        const mgn_node *target = graph->nodes[id], *source = target->assigned;
        if (source && assigns_in_place(low, target, source)) low->values[source->id].tensor = low->values[id].tensor;
    }
    find_insides(low, graph);
}

mgn_status mgn_lower_graph(mgn_lowering *low, const mgn_graph *graph) {
    low->pool = mgn_alloc(64, sizeof *low->pool);
    if (!low->pool) return MGN_ERR_MEMORY;
    low->pool_capacity = 64;
    low->pool_count = 1; /* entry 0 stays zero */
    for (int id = 0; id < low->node_count; id++) {
        if (!low->values[id].live) continue;
        MGN_TRY(lower_node(low, graph->nodes[id]));
        release_blocks(low, id);
    }
    return lower_assignments(low, graph);
}

void mgn_lowering_free(mgn_lowering *low) {
    mgn_free(low->values);
    mgn_free(low->blocks);
    mgn_free(low->calls);
    mgn_free(low->pool);
}
