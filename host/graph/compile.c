/* mgn_plan: compiled graphs. Owns the scratch memory, the constants and the tensors nobody bound. */
#include <stdlib.h>
#include <string.h>

#include "graph/fuse.h"
#include "graph/plan.h"
#include "graph/split.h"
#include "graph/widen.h"

struct mgn_plan {
    mgn_device *device;
    mgn_program *program;
    mgn_memory *scratch, *pool;
    mgn_plan_info info;
    int node_count;
    mgn_tensor **tensors; /* by node id: inputs and outputs */
    bool *owned;          /* which of them are the plan's */
    mgn_plan **parts;     /* run one after the other instead of `program` */
    int part_count;
    mgn_tensor **crossing; /* by node id: values that parts hand to others */
    size_t *places;        /* by node id: where they lie in `shared` */
    mgn_memory *shared;
};

/* ---- tensors of inputs and outputs ---- */

/* An output may be bound too: its values come to the tensor. */
static mgn_status bind(mgn_plan *plan, mgn_dtype real, const mgn_binding *binding) {
    const mgn_node *node = binding->input;
    if (!node || (node->op != MGN_OP_input && !node->is_output))
        return mgn_fail(MGN_ERR_ARGUMENT, "a tensor was bound to a node that is neither an input nor an output");
    const mgn_tensor *tensor = binding->tensor;
    char want[64], found[64];
    const char *what = node->op == MGN_OP_input ? node->label : "an output";
    mgn_dtype dtype = node->kind == MGN_INDEX ? MGN_U32 : real;
    if (tensor->device != plan->device)
        return mgn_fail(MGN_ERR_ARGUMENT, "'%s': its tensor lives on another device", what);
    if (!mgn_shape_equal(tensor->shape, node->shape) || tensor->dtype != dtype)
        return mgn_fail(MGN_ERR_ARGUMENT, "'%s': %s %s was expected, the tensor bound to it is %s %s", what,
                        mgn_dtype_name(dtype), mgn_shape_text(node->shape, want), mgn_dtype_name(tensor->dtype),
                        mgn_shape_text(tensor->shape, found));
    plan->tensors[node->id] = binding->tensor;
    return MGN_OK;
}

static mgn_status make_tensors(mgn_plan *plan, const mgn_graph *graph, mgn_dtype real, const mgn_binding *bindings,
                               size_t count) {
    plan->tensors = mgn_alloc((size_t)plan->node_count, sizeof *plan->tensors);
    plan->owned = mgn_alloc((size_t)plan->node_count, sizeof *plan->owned);
    if (!plan->tensors || !plan->owned) return MGN_ERR_MEMORY;
    for (size_t i = 0; i < count; i++) MGN_TRY(bind(plan, real, &bindings[i]));
    for (int id = 0; id < plan->node_count; id++) {
        const mgn_node *node = graph->nodes[id];
        if (plan->tensors[id] || !(node->op == MGN_OP_input || node->is_output)) continue;
        MGN_TRY(
            mgn_tensor_create(plan->device, node->kind == MGN_INDEX ? MGN_U32 : real, node->shape, &plan->tensors[id]));
        plan->owned[id] = true;
    }
    return MGN_OK;
}

/* ---- memory ---- */

static mgn_status make_pool(mgn_plan *plan, const mgn_lowering *low) {
    size_t bytes = low->pool_count * mgn_dtype_size(low->real);
    MGN_TRY(plan->device->backend->memory_create(plan->device, bytes, &plan->pool));
    float *single = NULL;
    const void *from = low->pool;
    if (low->real == MGN_F32) {
        single = mgn_alloc(low->pool_count, sizeof *single);
        if (!single) return MGN_ERR_MEMORY;
        for (size_t i = 0; i < low->pool_count; i++) single[i] = (float)low->pool[i];
        from = single;
    }
    mgn_status status = plan->device->backend->memory_write(plan->device, plan->pool, 0, from, bytes);
    mgn_free(single);
    return status;
}

static void settle(mgn_plan *plan, mgn_operand *operand) {
    if (operand->memory == mgn_scratch_place) operand->memory = plan->scratch;
    if (operand->memory == mgn_pool_place) operand->memory = plan->pool;
}

static mgn_status make_scratch(mgn_plan *plan, const mgn_lowering *low) {
    if (!low->scratch_bytes) return MGN_OK;
    return plan->device->backend->memory_create(plan->device, low->scratch_bytes, &plan->scratch);
}

static mgn_status make_calls(mgn_plan *plan, mgn_lowering *low, const mgn_graph *graph) {
    const mgn_backend *backend = plan->device->backend;
    mgn_lower_analyse(low, graph);
    MGN_TRY(mgn_lower_graph(low, graph));
    MGN_TRY(make_scratch(plan, low));
    MGN_TRY(make_pool(plan, low));
    for (size_t i = 0; i < low->call_count; i++) {
        mgn_call *call = &low->calls[i];
        for (int j = 0; j < call->inputs; j++) settle(plan, &call->in[j]);
        settle(plan, &call->out);
        settle(plan, &call->scratch);
    }
    plan->info.calls = low->call_count;
    return backend->program_create(plan->device, low->calls, low->call_count, &plan->program);
}

/* MGN_FUSE=0 runs every op by itself: the oracle of the fused programs. */
static bool fusion_is_on(void) {
    const char *asked = mgn_environment("MGN_FUSE");
    return !asked || strcmp(asked, "0") != 0;
}

/* What an attempt at a program took is free again. */
static void forget_attempt(mgn_lowering *low) {
    low->block_count = 0;
    low->call_count = 0;
    low->scratch_bytes = 0;
    for (int id = 0; id < low->node_count; id++) low->values[id].has_dense = false;
}

/* An arena for trying what fusing gives, NULL where nothing is fused. */
static mgn_status make_arena(bool is_wanted, mgn_arena **arena) {
    *arena = is_wanted && fusion_is_on() ? mgn_arena_create() : NULL;
    return is_wanted && fusion_is_on() && !*arena ? MGN_ERR_MEMORY : MGN_OK;
}

/* The graph as one row program, where it is one and the backend takes it; sets plan->program. */
static mgn_status make_rows(mgn_plan *plan, mgn_lowering *low, const mgn_graph *graph, bool is_part) {
    const mgn_backend *backend = plan->device->backend;
    mgn_row_program rows;
    mgn_arena *arena;
    MGN_TRY(make_arena(backend->rows_create, &arena));
    if (!arena) return MGN_OK;
    mgn_status status = MGN_OK;
    if (mgn_fuse(low, graph, is_part, arena, &rows)) {
        status = make_scratch(plan, low);
        for (int32_t i = 0; i < rows.external_count; i++)
            if (rows.externals[i].memory == mgn_scratch_place)
                ((mgn_row_external *)(uintptr_t)rows.externals)[i].memory = plan->scratch;
        if (status == MGN_OK) status = backend->rows_create(plan->device, &rows, &plan->program);
        if (status == MGN_OK) plan->info.calls = plan->info.regions = 1;
    } else if (mgn_arena_is_exhausted(arena)) {
        status = MGN_ERR_MEMORY;
    }
    mgn_arena_destroy(arena);
    if (status == MGN_ERR_UNSUPPORTED) {
        backend->memory_destroy(plan->device, plan->scratch);
        plan->scratch = NULL;
        status = MGN_OK;
    }
    if (!plan->program) forget_attempt(low);
    return status;
}

/* The graph as one wide program, likewise. */
static mgn_status make_wide(mgn_plan *plan, mgn_lowering *low, const mgn_graph *graph) {
    const mgn_backend *backend = plan->device->backend;
    mgn_wide_program wide;
    mgn_arena *arena;
    MGN_TRY(make_arena(backend->wide_create, &arena));
    if (!arena) return MGN_OK;
    mgn_status status = MGN_OK;
    if (mgn_widen(low, graph, arena, &wide))
        status = backend->wide_create(plan->device, &wide, &plan->program);
    else if (mgn_arena_is_exhausted(arena))
        status = MGN_ERR_MEMORY;
    if (plan->program) plan->info.calls = plan->info.regions = 1;
    mgn_arena_destroy(arena);
    forget_attempt(low);
    return status == MGN_ERR_UNSUPPORTED ? MGN_OK : status;
}

/* ---- parts ---- */

static mgn_status make_program(mgn_plan *plan, mgn_dtype real, const mgn_graph *graph, bool is_part);

/* The tensor of a node that a part knows as an input or an output. */
static mgn_status shared_tensor(mgn_plan *plan, mgn_dtype real, const mgn_node *node, mgn_tensor **tensor) {
    mgn_tensor **kept = plan->tensors[node->id] ? &plan->tensors[node->id] : &plan->crossing[node->id];
    if (!*kept) {
        const mgn_dtype dtype = node->kind == MGN_INDEX ? MGN_U32 : real;
        const int64_t offset = (int64_t)(plan->places[node->id] / mgn_dtype_size(dtype));
        MGN_TRY(mgn_tensor_window(plan->device, dtype, node->shape, plan->shared, offset, kept));
    }
    *tensor = *kept;
    return MGN_OK;
}

static mgn_status make_part(mgn_plan *plan, mgn_dtype real, const mgn_graph *graph, const mgn_part *part,
                            mgn_plan **made) {
    mgn_plan *p = *made = mgn_alloc(1, sizeof *p);
    if (!p) return MGN_ERR_MEMORY;
    p->device = plan->device;
    p->node_count = part->graph->count;
    p->tensors = mgn_alloc((size_t)p->node_count, sizeof *p->tensors);
    if (!p->tensors) return MGN_ERR_MEMORY;
    for (int id = 0; id < p->node_count; id++)
        if (part->stands_for[id] >= 0)
            MGN_TRY(shared_tensor(plan, real, graph->nodes[part->stands_for[id]], &p->tensors[id]));
    MGN_TRY(make_program(p, real, part->graph, true));
    plan->info.calls += p->info.calls;
    plan->info.regions += p->info.regions;
    plan->info.scratch_bytes += p->info.scratch_bytes;
    return MGN_OK;
}

static void drop_parts(mgn_plan *plan) {
    for (int i = 0; i < plan->part_count; i++) mgn_plan_destroy(plan->parts[i]);
    for (int id = 0; plan->crossing && id < plan->node_count; id++) mgn_tensor_destroy(plan->crossing[id]);
    mgn_free(plan->parts);
    mgn_free(plan->crossing);
    mgn_free(plan->places);
    plan->device->backend->memory_destroy(plan->device, plan->shared);
    plan->shared = NULL;
    plan->places = NULL;
    plan->parts = NULL;
    plan->crossing = NULL;
    plan->part_count = 0;
}

/* Tried on tensors without memory. */
static mgn_status is_one_program(const mgn_graph *graph, mgn_dtype real, bool *is_one) {
    mgn_arena *arena = mgn_arena_create();
    if (!arena) return MGN_ERR_MEMORY;
    const size_t nodes = (size_t)graph->count;
    mgn_lowering low = {.real = real, .node_count = graph->count};
    mgn_tensor *tensors = mgn_arena_alloc(arena, nodes, sizeof *tensors);
    low.values = mgn_alloc(nodes, sizeof *low.values);
    bool rows = tensors && low.values;
    for (int id = 0; rows && id < graph->count; id++) {
        const mgn_node *node = graph->nodes[id];
        tensors[id] = (mgn_tensor){.dtype = mgn_lower_dtype(&low, node), .shape = node->shape};
        if (node->op == MGN_OP_input || node->is_output) low.values[id].tensor = &tensors[id];
    }
    if (rows) mgn_lower_mark_live(&low, graph);
    mgn_row_program program;
    mgn_wide_program wide;
    if (rows && !mgn_fuse(&low, graph, true, arena, &program)) {
        forget_attempt(&low);
        rows = mgn_widen(&low, graph, arena, &wide);
    }
    const mgn_status status = low.values && !mgn_arena_is_exhausted(arena) ? MGN_OK : MGN_ERR_MEMORY;
    mgn_lowering_free(&low);
    mgn_arena_destroy(arena);
    *is_one = rows;
    return status;
}

/* The memory of all values that parts hand to each other. */
static mgn_status make_shared(mgn_plan *plan, mgn_dtype real, const mgn_graph *graph, const mgn_part *parts, int count,
                              mgn_arena *arena) {
    size_t bytes = 0;
    MGN_TRY(mgn_place_crossing(graph, real, plan->tensors, parts, count, arena, plan->places, &bytes));
    plan->info.scratch_bytes += bytes;
    return plan->device->backend->memory_create(plan->device, MGN_MAX(bytes, 64), &plan->shared);
}

/* Intermediate values that wide parts may keep for later ones: MGN_KEEP_MB megabytes where it is set, else whatever costs
 * less, up to a share of a CPU's memory. A GPU's arithmetic is cheaper than its memory. */
static mgn_keeping keeping_of(const mgn_device_info *device) {
    enum { SHARE = 16 };
    const char *asked = mgn_environment("MGN_KEEP_MB");
    char *end = NULL;
    const double megabytes = asked ? strtod(asked, &end) : 0;
    if (asked && end != asked && *end == '\0' && megabytes >= 0) return (mgn_keeping){megabytes * 1e6, false};
    return (mgn_keeping){device->is_cpu ? (double)device->memory_bytes / SHARE : 0, true};
}

/* The graph as a list of parts, some of which are row or wide programs; none where there is no such part. */
static mgn_status make_parts(mgn_plan *plan, const mgn_lowering *low, const mgn_graph *graph) {
    mgn_arena *arena;
    MGN_TRY(make_arena(plan->device->backend->rows_create, &arena));
    if (!arena) return MGN_OK;
    mgn_part *parts = NULL;
    int count = 0;
    mgn_status status = mgn_split(low, graph, arena, is_one_program, keeping_of(&plan->device->info), &parts, &count);
    if (status == MGN_OK && mgn_arena_is_exhausted(arena)) status = MGN_ERR_MEMORY;
    if (status == MGN_OK && count > 0) {
        plan->parts = mgn_alloc((size_t)count, sizeof *plan->parts);
        plan->crossing = mgn_alloc((size_t)plan->node_count, sizeof *plan->crossing);
        plan->places = mgn_alloc((size_t)plan->node_count, sizeof *plan->places);
        status = plan->parts && plan->crossing && plan->places
                     ? make_shared(plan, low->real, graph, parts, count, arena)
                     : MGN_ERR_MEMORY;
    }
    for (int i = 0; status == MGN_OK && i < count; i++) {
        plan->part_count = i + 1;
        status = make_part(plan, low->real, graph, &parts[i], &plan->parts[i]);
    }
    mgn_parts_free(parts, count);
    mgn_arena_destroy(arena);
    return status;
}

/* ---- the whole ---- */

static mgn_status choose_program(mgn_plan *plan, mgn_lowering *low, const mgn_graph *graph, bool is_part) {
    mgn_lower_mark_live(low, graph);
    for (int id = 0; id < low->node_count; id++) plan->info.nodes += low->values[id].live;
    if (is_part) MGN_TRY(make_wide(plan, low, graph)); /* first: where a part is both, its rows are short */
    if (!plan->program) MGN_TRY(make_rows(plan, low, graph, is_part));
    if (!plan->program && !is_part) MGN_TRY(make_wide(plan, low, graph));
    if (!plan->program && !is_part) MGN_TRY(make_parts(plan, low, graph));
    if (!plan->program && !plan->parts) MGN_TRY(make_calls(plan, low, graph));
    plan->info.scratch_bytes += low->scratch_bytes;
    return MGN_OK;
}

static mgn_status make_program(mgn_plan *plan, mgn_dtype real, const mgn_graph *graph, bool is_part) {
    mgn_lowering low = {.real = real, .node_count = graph->count};
    low.values = mgn_alloc((size_t)graph->count, sizeof *low.values);
    mgn_status status = low.values ? MGN_OK : MGN_ERR_MEMORY;
    if (status == MGN_OK) {
        for (int id = 0; id < graph->count; id++) low.values[id].tensor = plan->tensors[id];
        status = choose_program(plan, &low, graph, is_part);
    }
    mgn_lowering_free(&low);
    return status;
}

/* ---- plans ---- */

static mgn_status compile(mgn_plan *plan, mgn_graph *graph, mgn_dtype real, const mgn_binding *bindings, size_t count) {
    MGN_TRY(make_tensors(plan, graph, real, bindings, count));
    return make_program(plan, real, graph, false);
}

mgn_status mgn_plan_compile(mgn_graph *graph, mgn_device *device, mgn_dtype real, const mgn_binding *bindings,
                            size_t binding_count, mgn_plan **plan) {
    MGN_TRY(mgn_graph_status(graph));
    if (real != MGN_F32 && real != MGN_F64) return mgn_fail(MGN_ERR_ARGUMENT, "a plan computes in float32 or float64");
    if (real == MGN_F64 && !device->info.has_f64)
        return mgn_fail(MGN_ERR_UNSUPPORTED, "%s (%s) has no float64", device->info.spec, device->info.name);
    mgn_plan *p = mgn_alloc(1, sizeof *p);
    if (!p) return MGN_ERR_MEMORY;
    p->device = device;
    p->node_count = graph->count;
    mgn_status status = compile(p, graph, real, bindings, binding_count);
    if (status != MGN_OK) {
        mgn_plan_destroy(p);
        return status;
    }
    *plan = p;
    return MGN_OK;
}

void mgn_plan_destroy(mgn_plan *plan) {
    if (!plan) return;
    const mgn_backend *backend = plan->device->backend;
    drop_parts(plan);
    backend->program_destroy(plan->device, plan->program);
    backend->memory_destroy(plan->device, plan->scratch);
    backend->memory_destroy(plan->device, plan->pool);
    for (int id = 0; plan->owned && id < plan->node_count; id++)
        if (plan->owned[id]) mgn_tensor_destroy(plan->tensors[id]);
    mgn_free(plan->tensors);
    mgn_free(plan->owned);
    mgn_free(plan);
}

mgn_status mgn_plan_run(mgn_plan *plan, uint64_t times) {
    if (!plan->parts) return plan->device->backend->program_run(plan->device, plan->program, times);
    for (uint64_t done = 0; done < times; done++) {
        if (done > 0 && mgn_interrupted())
            return mgn_fail(MGN_ERR_INTERRUPTED, "stopped after %llu of %llu runs", (unsigned long long)done,
                            (unsigned long long)times);
        for (int i = 0; i < plan->part_count; i++) MGN_TRY(mgn_plan_run(plan->parts[i], 1));
    }
    return MGN_OK;
}

mgn_tensor *mgn_plan_tensor(const mgn_plan *plan, const mgn_node *node) {
    return node && node->id < plan->node_count ? plan->tensors[node->id] : NULL;
}

mgn_plan_info mgn_plan_get_info(const mgn_plan *plan) { return plan->info; }
