/* Every op of the table that has a kernel, alone: the builder, FLOPs and ranges of the same descriptions that `mgn
 * check` uses, at sizes that leave the cache and at one that stays in it. The table is walked, and an op without sizes
 * here does not build. Row programs are switched off: these figures are of the kernels that plans fall back on. */
#include <stdio.h>
#include <string.h>

#include "bench/sampling.h"
#include "check/cases.h"
#include "graph/graph.h"

enum { LARGE = 1 << 22, SMALL = 4096, VARIANTS = 4 };

/* The sizes of an op: variant 0 is large, 1 is small, further ones are other layouts. False: there is no such variant.
 * */
typedef bool sizes_of(mgn_check_case *c, int variant);

static void input(mgn_check_case *c, mgn_kind kind, mgn_shape shape) {
    c->in[c->inputs++] = (mgn_case_input){.kind = kind, .shape = shape};
}

static bool sizes_elementwise(mgn_check_case *c, int variant) {
    if (variant > 1) return false;
    c->shape = MGN_SHAPE(variant ? SMALL : LARGE);
    for (int i = 0; i < mgn_op_infos[c->op].arity; i++) input(c, MGN_REAL, c->shape);
    return true;
}

static bool sizes_reduce(mgn_check_case *c, int variant) {
    static const struct {
        int64_t rows, columns;
        int axes;
    } sizes[VARIANTS] = {{LARGE / 4, 4, 1}, {SMALL / 4, 4, 1}, {LARGE / 64, 64, 2}, {SMALL / 64, 64, 2}};
    c->axes = sizes[variant].axes;
    c->shape = MGN_SHAPE(c->axes == 1 ? sizes[variant].columns : sizes[variant].rows);
    input(c, MGN_REAL, MGN_SHAPE(sizes[variant].rows, sizes[variant].columns));
    return true;
}

static bool sizes_matmul(mgn_check_case *c, int variant) {
    static const struct {
        int64_t m, k, n;
        bool transpose_a; /* a sum over rows, as the gradient of a weight is */
    } sizes[VARIANTS] = {
        {1024, 1024, 1024, false}, {16, 16, 16, false}, {LARGE / 4, 4, 4, false}, {4, LARGE / 4, 4, true}};
    int64_t m = sizes[variant].m, k = sizes[variant].k, n = sizes[variant].n;
    c->transpose_a = sizes[variant].transpose_a;
    c->shape = MGN_SHAPE(m, n);
    input(c, MGN_REAL, c->transpose_a ? MGN_SHAPE(k, m) : MGN_SHAPE(m, k));
    input(c, MGN_REAL, MGN_SHAPE(k, n));
    return true;
}

static bool sizes_spd(mgn_check_case *c, int variant) {
    static const int64_t batches[VARIANTS] = {LARGE / 16, SMALL / 16, LARGE / 4096, 1},
                         sides[VARIANTS] = {3, 3, 16, 64};
    int64_t batch = batches[variant], d = sides[variant];
    mgn_shape matrices = MGN_SHAPE(batch, d, d), vectors = MGN_SHAPE(batch, d, 1);
    c->shape = c->op == MGN_OP_spd_logdet ? MGN_SHAPE(batch) : c->op == MGN_OP_spd_inverse ? matrices : vectors;
    input(c, MGN_REAL, matrices);
    if (c->op == MGN_OP_spd_solve) input(c, MGN_REAL, vectors);
    return true;
}

static bool sizes_rows(mgn_check_case *c, int variant) {
    if (variant > 1) return false;
    int64_t rows = (variant ? SMALL : LARGE) / 4;
    c->shape = MGN_SHAPE(rows, 4);
    input(c, MGN_REAL, c->shape);
    input(c, MGN_INDEX, MGN_SHAPE(rows));
    return true;
}

/* All pairs of two clouds: of colours, and of pictures. */
static bool sizes_cloud(mgn_check_case *c, int variant) {
    static const int64_t points[VARIANTS] = {4096, 256, 512, 0}, sides[VARIANTS] = {3, 3, 784, 0};
    int64_t n = points[variant], d = sides[variant];
    bool dense = c->op == MGN_OP_softmin_dense || c->op == MGN_OP_softmins_dense;
    bool both = c->op == MGN_OP_softmins || c->op == MGN_OP_softmins_dense;
    if (n == 0 || (dense && variant > 1)) return false;
    c->scale = 1;
    c->shape = c->op == MGN_OP_gibbs ? MGN_SHAPE(n, d) : MGN_SHAPE(both ? 2 * n : n);
    input(c, MGN_REAL, MGN_SHAPE(n, dense ? n : d));
    if (!dense) input(c, MGN_REAL, MGN_SHAPE(n, d));
    input(c, MGN_REAL, MGN_SHAPE(n));
    if (both) input(c, MGN_REAL, MGN_SHAPE(n));
    if (c->op != MGN_OP_gibbs) return true;
    input(c, MGN_REAL, MGN_SHAPE(n));
    input(c, MGN_REAL, MGN_SHAPE(n, d));
    return true;
}

/* A batch of CIFAR's images and one filter bank; a small one; in the middle of a deeper network; with a stride. */
static bool sizes_conv(mgn_check_case *c, int variant) {
    static const int64_t images[VARIANTS] = {64, 2, 16, 64}, channels[VARIANTS] = {3, 1, 64, 3},
                         sides[VARIANTS] = {32, 8, 16, 32}, filters[VARIANTS] = {32, 4, 64, 32},
                         kernels[VARIANTS] = {5, 3, 3, 5};
    const int64_t n = images[variant], k = kernels[variant], side = sides[variant], step = variant == 3 ? 2 : 1;
    const mgn_shape x = MGN_SHAPE(n, channels[variant], side, side), w = MGN_SHAPE(filters[variant], x.dim[1], k, k);
    const mgn_shape y = MGN_SHAPE(n, w.dim[0], (side - 1) / step + 1, (side - 1) / step + 1);
    c->stride = step, c->padding = k / 2;
    c->shape = c->op == MGN_OP_conv ? y : c->op == MGN_OP_conv_transpose ? x : w;
    input(c, MGN_REAL, c->op == MGN_OP_conv_transpose ? y : x);
    input(c, MGN_REAL, c->op == MGN_OP_conv_kernel_gradient ? y : w);
    return true;
}

/* Numbers made of a state: uniform, normal, shuffle; advance has one size. */
static bool sizes_random(mgn_check_case *c, int variant) {
    if (variant > 1 || (variant == 1 && c->op == MGN_OP_advance)) return false;
    int64_t count = c->op == MGN_OP_advance ? 4 : variant ? SMALL : LARGE;
    c->shape = MGN_SHAPE(count);
    c->steps = 1;
    input(c, MGN_INDEX, MGN_SHAPE(4));
    return true;
}

/* Bytes packed by four. */
static bool sizes_unorm8(mgn_check_case *c, int variant) {
    if (variant > 1) return false;
    mgn_shape reals = MGN_SHAPE(variant ? SMALL : LARGE), words = MGN_SHAPE((variant ? SMALL : LARGE) / 4);
    bool unpacks = c->op == MGN_OP_from_unorm8;
    c->shape = unpacks ? reals : words;
    input(c, unpacks ? MGN_INDEX : MGN_REAL, unpacks ? words : reals);
    return true;
}

/* NULL: no kernel. */
static sizes_of *const sizes[MGN_OP_COUNT] = {
#define MGN_UNARY(op, ...) [MGN_OP_##op] = sizes_elementwise,
#define MGN_BINARY(op, ...) [MGN_OP_##op] = sizes_elementwise,
#define MGN_TERNARY(op, ...) [MGN_OP_##op] = sizes_elementwise,
#define MGN_KERNEL(op, family, ...) [MGN_OP_##op] = sizes_##family,
#include "graph/ops.def"
};

/* ---- work and traffic ---- */

static double flops(const mgn_check_case *c) {
    double count = (double)mgn_shape_count(c->in[0].shape), d = (double)c->in[0].shape.dim[2];
    double others = (double)c->in[1].shape.dim[0], power = 12; /* of a power of two */
    switch (c->op) {
    case MGN_OP_sum:
    case MGN_OP_max:
    case MGN_OP_scatter_rows: return count;
    case MGN_OP_matmul: return 2 * count * (double)c->shape.dim[1];
    case MGN_OP_conv: return 2 * (double)mgn_shape_count(c->shape) * (double)mgn_shape_count(c->in[1].shape) / others;
    case MGN_OP_conv_transpose:
        return 2 * count * (double)mgn_shape_count(c->in[1].shape) / (double)c->in[0].shape.dim[1];
    case MGN_OP_conv_kernel_gradient:
        return 2 * (double)mgn_shape_count(c->in[1].shape) * (double)mgn_shape_count(c->shape) /
               (double)c->shape.dim[0];
    case MGN_OP_softmin: return others * (3 * count + power * (double)c->in[0].shape.dim[0]);
    case MGN_OP_gibbs: return others * (5 * count + power * (double)c->in[0].shape.dim[0]);
    case MGN_OP_softmin_dense: return (3 + power) * count;
    case MGN_OP_softmins: return 2 * others * (3 * count + power * (double)c->in[0].shape.dim[0]);
    case MGN_OP_softmins_dense: return 2 * (3 + power) * count;
    case MGN_OP_spd_logdet: return count * d / 3;
    case MGN_OP_spd_inverse: return count * d;
    case MGN_OP_spd_solve: return count * d / 3 + 2 * count;
    default: return (double)mgn_op_infos[c->op].flops * (double)mgn_shape_count(c->shape);
    }
}

/* What must be read and written at least: every input and the result once, all elements being 4 bytes. */
static double bytes(const mgn_check_case *c) {
    double count = (double)mgn_shape_count(c->shape);
    for (int i = 0; i < c->inputs; i++) count += (double)mgn_shape_count(c->in[i].shape);
    return 4 * count;
}

/* ---- inputs ---- */

static void fill_reals(const mgn_check_case *c, int which, float *x, int64_t count) {
    const mgn_op_info *info = &mgn_op_infos[c->op];
    mgn_shape shape = c->in[which].shape;
    bool matrices =
        which == 0 && (c->op == MGN_OP_spd_logdet || c->op == MGN_OP_spd_inverse || c->op == MGN_OP_spd_solve);
    uint64_t random = (uint64_t)which;
    for (int64_t i = 0; i < count; i++) {
        double value = mgn_bench_uniform(&random, info->low, info->high);
        if (c->op == MGN_OP_select && which == 0) value = value > 0;
        if (matrices) { /* strictly dominant diagonals */
            int64_t d = shape.dim[2], row = i / d % d, column = i % d;
            value = row == column ? 2 : 0.5 * value / (double)d;
        }
        x[i] = (float)value;
    }
}

static mgn_status fill(const mgn_check_case *c, int which, mgn_tensor *tensor) {
    int64_t count = mgn_shape_count(c->in[which].shape);
    bool real = c->in[which].kind == MGN_REAL;
    void *values = mgn_alloc((size_t)count, 4);
    if (!values) return MGN_ERR_MEMORY;
    if (real) {
        fill_reals(c, which, values, count);
    } else {
        uint64_t random = 7;
        for (int64_t i = 0; i < count; i++)
            ((uint32_t *)values)[i] = (uint32_t)mgn_bench_uniform(&random, 0, (double)c->shape.dim[0]);
    }
    mgn_status status = mgn_tensor_write(tensor, real ? MGN_F32 : MGN_U32, values);
    mgn_free(values);
    return status;
}

/* ---- running ---- */

typedef struct op_plan {
    mgn_device *device;
    mgn_plan *plan;
} op_plan;

static mgn_status run_plan(void *context, uint64_t times) {
    const op_plan *p = context;
    MGN_TRY(mgn_plan_run(p->plan, times));
    return mgn_device_finish(p->device);
}

static mgn_node *build(mgn_graph *graph, const mgn_check_case *c, mgn_node *const *in) {
    /* The check looks at whole permutations through a gather; here the shuffle stands alone. */
    if (c->op == MGN_OP_shuffle) return mgn_shuffle(in[0], c->shape.dim[0], c->shape.dim[0], 1, c->shape.dim[0]);
    return c->build(graph, c, in);
}

static mgn_status compile(const mgn_check_case *c, op_plan *p) {
    mgn_graph *graph;
    mgn_node *in[MGN_CASE_INPUTS] = {NULL};
    mgn_bench_setting fusion = {0};
    MGN_TRY(mgn_graph_create(&graph));
    for (int i = 0; i < c->inputs; i++) in[i] = mgn_input(graph, "in", c->in[i].kind, c->in[i].shape);
    mgn_output(build(graph, c, in));
    mgn_status status = mgn_bench_set(&fusion, "MGN_FUSE", "0");
    if (status == MGN_OK) status = mgn_plan_compile(graph, p->device, MGN_F32, NULL, 0, &p->plan);
    mgn_bench_restore(&fusion);
    for (int i = 0; status == MGN_OK && i < c->inputs; i++) status = fill(c, i, mgn_plan_tensor(p->plan, in[i]));
    mgn_graph_destroy(graph);
    return status;
}

/* The share of the machine's limit: how long the slower of traffic and arithmetic must take, over how long it took. */
static void describe(const mgn_bench *bench, const mgn_check_case *c, const mgn_timing *timing, cJSON *row) {
    double traffic = bytes(c), work = flops(c);
    double moving = traffic / (traffic > 1e6 ? bench->limits.copy : bench->limits.copy_in_cache);
    double computing = work / bench->limits.multiply;
    mgn_bench_number(row, "gbytes_s", traffic / timing->fastest * 1e-9);
    mgn_bench_number(row, "gflops", work / timing->fastest * 1e-9);
    mgn_bench_number(row, "share", MGN_MAX(moving, computing) / timing->fastest);
    cJSON_AddStringToObject(row, "bound", moving > computing ? "memory" : "arithmetic");
}

static void describe_shape(const mgn_check_case *c, cJSON *row) {
    bool made = c->in[0].kind == MGN_INDEX;
    mgn_shape shape = made ? c->shape : c->in[0].shape;
    cJSON *list = cJSON_AddArrayToObject(row, "shape");
    for (int i = 0; i < shape.rank; i++) cJSON_AddItemToArray(list, cJSON_CreateNumber((double)shape.dim[i]));
}

/* "2097152x4 over axis 0", "4x2097152 by 2097152x4". */
static void subject(const mgn_check_case *c, char *text, size_t capacity) {
    mgn_shape s = c->in[0].kind == MGN_INDEX ? c->shape : c->in[0].shape;
    size_t at = 0;
    for (int i = 0; i < s.rank; i++)
        at += (size_t)snprintf(text + at, capacity - at, "%s%lld", i ? "x" : "", (long long)s.dim[i]);
    if (c->op == MGN_OP_matmul)
        snprintf(text + at, capacity - at, "%s by %lldx%lld", c->transpose_a ? "^T" : "",
                 (long long)c->in[1].shape.dim[0], (long long)c->in[1].shape.dim[1]);
    if (c->stride > 0) /* the kernel's side is odd */
        snprintf(text + at, capacity - at, " kernel %lld stride %lld", (long long)(2 * c->padding + 1),
                 (long long)c->stride);
    if (c->op == MGN_OP_sum || c->op == MGN_OP_max) snprintf(text + at, capacity - at, " over axis %d", c->axes - 1);
}

static mgn_status run_case(mgn_bench *bench, const mgn_check_case *c, cJSON *row) {
    op_plan p = {.device = bench->device};
    mgn_timing timing;
    char text[64];
    mgn_status status = compile(c, &p);
    if (status == MGN_OK) status = mgn_bench_time(&(mgn_bench_work){run_plan, &p}, 1, bench->seconds, &timing);
    mgn_plan_destroy(p.plan);
    MGN_TRY(status);
    subject(c, text, sizeof text);
    cJSON_AddStringToObject(row, "op", mgn_op_infos[c->op].label);
    describe_shape(c, row);
    cJSON_AddStringToObject(row, "size", text);
    mgn_bench_timing(row, &timing, "us", 1e6);
    describe(bench, c, &timing, row);
    return MGN_OK;
}

/* The op's first case lends its builder. */
static mgn_status run_op(mgn_bench *bench, const mgn_bench_entry *entry, cJSON *row) {
    mgn_arena *arena = mgn_arena_create();
    mgn_case_list *list = arena ? mgn_arena_alloc(arena, 1, sizeof *list) : NULL;
    mgn_status status = list ? MGN_OK : MGN_ERR_MEMORY;
    if (list) {
        list->arena = arena;
        status = mgn_cases_make(list, (mgn_op)(entry->index / VARIANTS), 0);
    }
    if (status == MGN_OK) {
        mgn_check_case c = list->items[0];
        c.inputs = 0;
        sizes[c.op](&c, entry->index % VARIANTS);
        status = run_case(bench, &c, row);
    }
    mgn_arena_destroy(arena);
    return status;
}

void mgn_bench_add_ops(mgn_bench_list *list) {
    for (int op = 0; op < MGN_OP_COUNT; op++) {
        for (int variant = 0; variant < VARIANTS && sizes[op]; variant++) {
            mgn_check_case c = {.op = (mgn_op)op};
            char text[64];
            if (!sizes[op](&c, variant)) continue;
            subject(&c, text, sizeof text);
            mgn_bench_entry *entry =
                mgn_bench_add(list, "op", op * VARIANTS + variant, run_op, "%s %s", mgn_op_infos[op].label, text);
            entry->needs_limits = true;
        }
    }
}
