/* Turns a call into a task: checks that its operands lie inside their memory, and decides once, from shapes alone, how
 * it is cut into chunks and which loops serve it. */
#include <limits.h>
#include <string.h>

#include "backend/cpu/kernels.h"
#include "core/core.h"

/* A chunk should take some 10 microseconds or more, and threads pay from about 50. In nanoseconds, roughly. */
enum { CHUNK_TIME = 12000, PARALLEL_TIME = 50000 };

static int64_t divide_up(int64_t a, int64_t b) { return a / b + (a % b != 0); }

static int64_t round_up(int64_t a, int64_t multiple) { return divide_up(a, multiple) * multiple; }

/* Splits `items`, each worth `time` nanoseconds, into chunks of whole multiples of `unit`. */
static void cut(mgn_cpu_task *task, int64_t items, double time, int64_t unit) {
    double fitting = CHUNK_TIME / (time > 1e-3 ? time : 1e-3);
    int64_t size = fitting > (double)items ? items : (int64_t)fitting;
    task->chunk_size = round_up(MGN_MAX(size, 1), unit);
    task->chunks = divide_up(items, task->chunk_size);
    task->parallel = time * (double)items > PARALLEL_TIME;
}

/* ---- checks ---- */

static mgn_status check_operand(const char *op, const char *what, const mgn_operand *operand, mgn_dtype dtype) {
    int64_t last = operand->offset, reach;
    bool empty = false;
    if (operand->shape.rank < 0 || operand->shape.rank > MGN_MAX_RANK || operand->dtype != dtype || last < 0)
        return mgn_fail(MGN_ERR_ARGUMENT, "%s: %s should be %s of rank 0 to %d, %s of rank %d was given", op, what,
                        mgn_dtype_name(dtype), MGN_MAX_RANK, mgn_dtype_name(operand->dtype), operand->shape.rank);
    for (int axis = 0; axis < operand->shape.rank; axis++) {
        int64_t dim = operand->shape.dim[axis], stride = operand->stride[axis];
        if (dim < 0 || stride < 0) last = INT64_MAX;
        empty = empty || dim == 0;
        if (dim > 1 && (__builtin_mul_overflow(dim - 1, stride, &reach) || __builtin_add_overflow(last, reach, &last)))
            last = INT64_MAX;
    }
    if (!empty && (!operand->memory || (uint64_t)last >= operand->memory->bytes / mgn_dtype_size(dtype)))
        return mgn_fail(MGN_ERR_ARGUMENT, "%s: %s reaches element %lld of a memory of %zu bytes", op, what,
                        (long long)last, operand->memory ? operand->memory->bytes : 0);
    return MGN_OK;
}

/* A contiguous operand of so many elements. */
static mgn_status check_count(const char *op, const char *what, const mgn_operand *operand, mgn_dtype dtype,
                              int64_t count) {
    int64_t expected = 1;
    MGN_TRY(check_operand(op, what, operand, dtype));
    for (int axis = operand->shape.rank - 1; axis >= 0 && expected; axis--) {
        if (operand->shape.dim[axis] != 1 && operand->stride[axis] != expected && count != 0)
            return mgn_fail(MGN_ERR_ARGUMENT, "%s: %s is not contiguous along axis %d", op, what, axis);
        if (__builtin_mul_overflow(expected, operand->shape.dim[axis], &expected)) expected = -1;
    }
    if (expected != count)
        return mgn_fail(MGN_ERR_ARGUMENT, "%s: %s should have %lld elements, it has %lld", op, what, (long long)count,
                        (long long)expected);
    return MGN_OK;
}

/* Products of sizes that must fit; -1 where they do not. */
static int64_t area(int64_t a, int64_t b, int64_t c) {
    int64_t result;
    if (a < 0 || b < 0 || c < 0) return -1;
    if (__builtin_mul_overflow(a, b, &result) || __builtin_mul_overflow(result, c, &result)) return -1;
    return result > INT64_MAX / 64 ? -1 : result;
}

/* ---- elementwise ---- */

/* Axes by falling stride of the output, those of length 1 left out, neighbours merged where every operand allows it. */
static void lay_out(const mgn_call *call, mgn_cpu_layout *layout) {
    const mgn_operand *operands[1 + MGN_MAX_INPUTS] = {&call->out, &call->in[0], &call->in[1], &call->in[2]};
    int order[MGN_MAX_RANK], axes = 0, rank = 0;
    for (int axis = 0; axis < call->out.shape.rank; axis++) {
        if (call->out.shape.dim[axis] == 1) continue;
        int at = axes++;
        for (; at > 0 && call->out.stride[order[at - 1]] < call->out.stride[axis]; at--) order[at] = order[at - 1];
        order[at] = axis;
    }
    for (int i = 0; i < axes; i++) {
        int64_t dim = call->out.shape.dim[order[i]];
        bool merge = rank > 0;
        for (int k = 0; k <= call->inputs && merge; k++)
            merge = layout->stride[k][rank - 1] == operands[k]->stride[order[i]] * dim;
        if (!merge) layout->dim[rank++] = 1;
        layout->dim[rank - 1] *= dim;
        for (int k = 0; k <= call->inputs; k++) layout->stride[k][rank - 1] = operands[k]->stride[order[i]];
    }
    if (rank == 0) {
        layout->dim[rank++] = 1;
        for (int k = 0; k <= call->inputs; k++) layout->stride[k][0] = k == 0;
    }
    layout->rank = rank;
    layout->total = 1;
    for (int axis = 0; axis < rank; axis++) layout->total *= layout->dim[axis];
}

/* What is plain about each operand, and so how the loops go. */
static void classify(mgn_cpu_layout *layout, int operands) {
    const int last = layout->rank - 1;
    int64_t longest = 1;
    layout->rows = layout->rank == 1 || layout->dim[last] >= 64;
    for (int k = 0; k < operands; k++) {
        int64_t suffix = 1;
        const int64_t *stride = layout->stride[k];
        layout->rows = layout->rows && (stride[last] == 1 || (k > 0 && stride[last] == 0));
        layout->linear[k] = layout->scalar[k] = true;
        for (int axis = last; axis >= 0; axis--) {
            layout->linear[k] = layout->linear[k] && stride[axis] == suffix;
            layout->scalar[k] = layout->scalar[k] && stride[axis] == 0;
            suffix *= layout->dim[axis];
        }
        /* The period is the product of the axes after the leading ones that do not matter. */
        for (int axis = 0; axis < last && stride[axis] == 0; axis++) {
            suffix /= layout->dim[axis];
            if (!layout->scalar[k] && suffix <= MGN_CPU_BLOCK / 2) layout->period[k] = suffix;
        }
        longest = MGN_MAX(longest, layout->period[k]);
    }
    layout->block = MGN_CPU_BLOCK / longest * longest;
}

/* Not by memcmp: what lies between the fields of a shape is undefined. */
static bool same_shape(mgn_shape a, mgn_shape b) {
    bool same = a.rank == b.rank;
    for (int i = 0; same && i < a.rank; i++) same = a.dim[i] == b.dim[i];
    return same;
}

static mgn_status prepare_elementwise(const mgn_call *call, mgn_cpu_task *task, mgn_dtype dtype) {
    const char *label = mgn_op_infos[call->op].label;
    MGN_TRY(check_operand(label, "the result", &call->out, dtype));
    if (call->inputs != mgn_op_infos[call->op].arity)
        return mgn_fail(MGN_ERR_ARGUMENT, "%s takes %d operands, %d were given", label, mgn_op_infos[call->op].arity,
                        call->inputs);
    int64_t total = 1;
    for (int axis = 0; axis < call->out.shape.rank; axis++) {
        if (__builtin_mul_overflow(total, call->out.shape.dim[axis], &total))
            return mgn_fail(MGN_ERR_ARGUMENT, "%s: the result has more than 2^63 elements", label);
        /* A broadcast result would be written by several elements at once. */
        if (call->out.shape.dim[axis] > 1 && call->out.stride[axis] == 0)
            return mgn_fail(MGN_ERR_ARGUMENT, "%s: the result has stride 0 along axis %d", label, axis);
    }
    for (int i = 0; i < call->inputs; i++) {
        MGN_TRY(check_operand(label, "an operand", &call->in[i], dtype));
        if (!same_shape(call->in[i].shape, call->out.shape))
            return mgn_fail(MGN_ERR_ARGUMENT, "%s: operand %d has another shape than the result", label, i);
    }
    if (total == 0) return MGN_OK;
    lay_out(call, &task->layout);
    classify(&task->layout, 1 + call->inputs);
    double time = 0.15 + 0.05 * mgn_op_infos[call->op].flops + (task->layout.rows ? 0 : 0.5);
    cut(task, task->layout.total, time, task->layout.block);
    return MGN_OK;
}

/* ---- the rest ---- */

static mgn_status prepare_reduce(const mgn_call *call, mgn_cpu_task *task, mgn_dtype dtype) {
    int64_t outer = call->attributes.reduce.outer, n = call->attributes.reduce.n, inner = call->attributes.reduce.inner;
    const char *label = mgn_op_infos[call->op].label;
    MGN_TRY(check_count(label, "the result", &call->out, dtype, area(outer, inner, 1)));
    MGN_TRY(check_count(label, "the operand", &call->in[0], dtype, area(outer, n, inner)));
    if (outer == 0 || inner == 0) return MGN_OK;
    double row_time = 0.1 * (double)inner + 0.2, time = row_time * (double)n + 2;
    task->columns = inner < MGN_CPU_NARROW ? inner : MGN_MIN(inner, 4096);
    task->parts = 1;
    int64_t part_rows = MGN_MAX(round_up(65536 / task->columns, 256), 256);
    if (outer < 256) task->parts = MGN_MAX(divide_up(n, part_rows), 1);
    cut(task, outer, time, 1);
    if (task->parts > 1) {
        task->chunk_size = 1;
        task->chunks = outer * task->parts;
        size_t entry = call->op == MGN_OP_sum ? 2 * sizeof(double) : mgn_dtype_size(dtype);
        task->scratch_bytes = (size_t)(outer * task->parts * inner) * entry;
    }
    task->chunks *= divide_up(inner, task->columns);
    return MGN_OK;
}

static bool same_operand(const mgn_operand *a, const mgn_operand *b) {
    return a->memory == b->memory && a->offset == b->offset;
}

/* A product of medium size on a few cores: a tile for each of them, since every tile packs its part of both factors anew.
 * Rows are cut, unless the second factor is a transpose, the dearer of the two to pack. */
static bool cut_for_cores(int cores, const mgn_attributes *a, int64_t *down, int64_t *across) {
    enum { LEAST_EDGE = 96, MOST_EDGE = 1536, MOST_TERMS = 2047, MOST_CORES = 3 };
    const int64_t m = a->matmul.m, n = a->matmul.n, cut = a->matmul.transpose_b ? n : m;
    if (cores > MOST_CORES || MGN_MAX(m, n) > MOST_EDGE || MGN_MIN(m, n) < LEAST_EDGE || cut < LEAST_EDGE * cores)
        return false;
    if (a->matmul.k > MOST_TERMS || a->matmul.batch > 1) return false;
    *down = a->matmul.transpose_b ? 1 : cores;
    *across = a->matmul.transpose_b ? cores : 1;
    return true;
}

/* Tiles of the result, about square: 512 or 256 long, shorter only where fewer than four would come out. How many depends
 * on the machine's cores, never on the threads that are used. */
static void cut_blas(mgn_cpu_task *task, int cores, int64_t batch, int64_t m, int64_t n, int64_t k) {
    double time = (double)m * (double)n * (double)k / 30;
    bool whole = batch >= 32 || time < CHUNK_TIME;
    int64_t edge = MGN_MIN(m, n) >= 2048 ? 1024 : MGN_MIN(m, n) >= 1024 ? 512 : 256;
    int64_t down = whole ? 1 : MGN_MIN(MGN_MAX(m / edge, 1), 16),
            across = whole ? 1 : MGN_MIN(MGN_MAX(n / edge, 1), 16);
    if (!whole && !cut_for_cores(cores, &task->attributes, &down, &across)) {
        if (down * across < 4) across = MGN_MAX(MGN_MIN(n / 128, 4 / down), 1);
        if (down * across < 4) down = MGN_MAX(MGN_MIN(m / 128, 4 / across), 1);
    }
    task->parallel = time * (double)batch > PARALLEL_TIME;
    if (batch * down * across < 4 && k >= 2048 && !task->attributes.matmul.adds) {
        task->kind = MGN_CPU_MATMUL_SPLIT;
        task->chunk_size = MGN_MAX(512, divide_up(k, 32));
        task->parts = divide_up(k, task->chunk_size);
        task->chunks = batch * task->parts;
        return;
    }
    task->kind = MGN_CPU_MATMUL_BLAS;
    task->chunk_size = round_up(divide_up(m, down), 16);
    task->columns = round_up(divide_up(n, across), 16);
    task->chunks = batch * divide_up(m, task->chunk_size) * divide_up(n, task->columns);
}

/* A matrix's product with its own transpose is symmetric: half of it is enough, where there are so many terms that its mirror
 * image costs nothing. Tiles of 256, two a side at least. */
static void cut_self(mgn_cpu_task *task, int64_t n) {
    const int64_t blocks = MGN_MIN(MGN_MAX(n / 256, 2), 16);
    task->kind = MGN_CPU_MATMUL_SELF;
    task->chunk_size = round_up(divide_up(n, blocks), 16);
    task->chunks = divide_up(n, task->chunk_size);
    task->chunks = task->chunks * (task->chunks + 1) / 2;
}

static void choose_matmul(mgn_cpu_task *task, int cores, int64_t batch, int64_t m, int64_t n, int64_t k) {
    task->chunks = 1;
    task->parts = 1;
    if (k == 0) {
        task->kind = MGN_CPU_MATMUL_ZERO;
    } else if (batch >= 4 && m * k <= MGN_CPU_SMALL_AREA && k * n <= MGN_CPU_SMALL_AREA && m < MGN_CPU_SMALL) {
        task->kind = MGN_CPU_MATMUL_LANES;
        cut(task, batch, 0.1 * (double)(m * k * n) + 0.3 * (double)(m * k + k * n + m * n), MGN_CPU_LANES);
    } else if (n <= MGN_CPU_SMALL && k <= MGN_CPU_SMALL) {
        task->kind = MGN_CPU_MATMUL_ROWS;
        double time = 0.06 * (double)(k * n) + 0.3 * (double)(k + n);
        cut(task, m, time, MGN_CPU_LANES);
        task->parts = task->chunks;
        task->chunks *= batch;
        task->parallel = time * (double)m * (double)batch > PARALLEL_TIME;
    } else if (n <= MGN_CPU_SMALL && m <= MGN_CPU_SMALL && (m * n <= MGN_CPU_SMALL_AREA || k <= 64)) {
        task->kind = MGN_CPU_MATMUL_GRAM;
        double time = 0.06 * (double)(m * n) + 0.3 * (double)(m + n);
        cut(task, k, time, 256);
        task->parts = task->chunks;
        task->chunks *= batch;
        task->parallel = time * (double)k * (double)batch > PARALLEL_TIME;
    } else {
        cut_blas(task, cores, batch, m, n, k);
    }
}

static mgn_status prepare_matmul(const mgn_call *call, mgn_cpu_task *task, mgn_dtype dtype, int cores,
                                 int64_t panel_lanes) {
    int64_t batch = call->attributes.matmul.batch, m = call->attributes.matmul.m, n = call->attributes.matmul.n;
    int64_t k = call->attributes.matmul.k, sa = call->attributes.matmul.stride_a, sb = call->attributes.matmul.stride_b;
    int64_t size_a = area(m, k, 1), size_b = area(k, n, 1), size = area(batch, m, n);
    MGN_TRY(check_count("matmul", "the result", &call->out, dtype, size));
    if (size <= 0) return size ? mgn_fail(MGN_ERR_ARGUMENT, "matmul: sizes are negative or overflow") : MGN_OK;
    if ((sa != 0 && sa != size_a) || (sb != 0 && sb != size_b))
        return mgn_fail(
            MGN_ERR_ARGUMENT,
            "matmul: matrices of a batch lie %lld and %lld elements apart, 0 or %lld and 0 or %lld were expected",
            (long long)sa, (long long)sb, (long long)size_a, (long long)size_b);
    MGN_TRY(check_count("matmul", "the first factor", &call->in[0], dtype, area(sa ? batch : 1, m, k)));
    MGN_TRY(check_count("matmul", "the second factor", &call->in[1], dtype, area(sb ? batch : 1, k, n)));
    if (m > INT_MAX || n > INT_MAX || k > INT_MAX)
        return mgn_fail(MGN_ERR_UNSUPPORTED, "matmul: %lld x %lld x %lld is more than BLAS can index", (long long)m,
                        (long long)n, (long long)k);
    choose_matmul(task, cores, batch, m, n, k);
    const bool is_self = same_operand(&call->in[0], &call->in[1]) && m == n && k >= MGN_CPU_SELF_TERMS &&
                         call->attributes.matmul.transpose_a != call->attributes.matmul.transpose_b;
    if (task->kind == MGN_CPU_MATMUL_BLAS && is_self && task->parallel && batch == 1 && !call->attributes.matmul.adds)
        cut_self(task, n);
    else if (task->kind == MGN_CPU_MATMUL_BLAS && task->parallel && batch == 1)
        mgn_cpu_cut_panels(task, panel_lanes, cores);
    size_t places = (size_t)batch * (size_t)task->parts * (size_t)(m * n);
    if (task->kind == MGN_CPU_MATMUL_GRAM && task->parts > 1) task->scratch_bytes = places * 2 * sizeof(double);
    if (task->kind == MGN_CPU_MATMUL_SPLIT) task->scratch_bytes = places * mgn_dtype_size(dtype);
    return MGN_OK;
}

static mgn_status prepare_spd(const mgn_call *call, mgn_cpu_task *task, mgn_dtype dtype) {
    int64_t batch = call->attributes.spd.batch, d = call->attributes.spd.d, columns = call->attributes.spd.columns;
    const char *label = mgn_op_infos[call->op].label;
    int64_t size = area(batch, d, d), solved = area(batch, d, columns);
    MGN_TRY(check_count(label, "the matrices", &call->in[0], dtype, size));
    if (call->op == MGN_OP_spd_solve) MGN_TRY(check_count(label, "the right sides", &call->in[1], dtype, solved));
    MGN_TRY(check_count(label, "the result", &call->out, dtype,
                        call->op == MGN_OP_spd_logdet    ? batch
                        : call->op == MGN_OP_spd_inverse ? size
                                                         : solved));
    if (d > INT_MAX || columns > INT_MAX)
        return mgn_fail(MGN_ERR_UNSUPPORTED, "%s: matrices of %lld rows are more than LAPACK can index", label,
                        (long long)d);
    if (d > MGN_CPU_SMALL) {
        MGN_TRY(check_count(label, "the scratch memory", &call->scratch, dtype, size));
        if (size) task->scratch = call->scratch.memory->data + (size_t)call->scratch.offset * mgn_dtype_size(dtype);
    }
    double cube = (double)d * (double)d * (double)d, time = 0.3 * (double)(d * d) + 0.1 * cube;
    if (call->op == MGN_OP_spd_solve) time += 0.2 * (double)(d * d) * (double)columns;
    if (batch) cut(task, batch, time + 10, d > MGN_CPU_SMALL ? 1 : MGN_CPU_LANES);
    return MGN_OK;
}

static mgn_status prepare_rows(const mgn_call *call, mgn_cpu_task *task, mgn_dtype dtype) {
    int64_t rows = call->attributes.rows.rows, source_rows = call->attributes.rows.source_rows;
    int64_t columns = call->attributes.rows.columns;
    const char *label = mgn_op_infos[call->op].label;
    bool gather = call->op == MGN_OP_gather_rows;
    MGN_TRY(check_count(label, "the result", &call->out, dtype, area(rows, columns, 1)));
    MGN_TRY(check_count(label, "the rows", &call->in[0], dtype, area(source_rows, columns, 1)));
    MGN_TRY(check_count(label, "the index", &call->in[1], MGN_U32, gather ? rows : source_rows));
    if (rows == 0 || columns == 0) return MGN_OK;
    double time = 1 + 0.4 * (double)columns;
    cut(task, rows, time, 1);
    if (!gather) {
        /* Every chunk reads the whole index: few of them. */
        time = (double)rows * 0.1 * (double)columns + (double)source_rows * time;
        task->chunk_size = time < PARALLEL_TIME ? rows : divide_up(rows, 8);
        task->chunks = divide_up(rows, task->chunk_size);
        task->parallel = time > PARALLEL_TIME;
    }
    return MGN_OK;
}

/* Chunks of rows: as many as threads may want, each with enough rows to share a tile of columns. */
static mgn_status prepare_cloud(const mgn_call *call, mgn_cpu_task *task, mgn_dtype dtype) {
    int64_t n = call->attributes.cloud.n, m = call->attributes.cloud.m, d = call->attributes.cloud.d;
    int64_t columns = call->attributes.cloud.columns;
    const char *label = mgn_op_infos[call->op].label;
    bool dense = call->op == MGN_OP_softmin_dense, gibbs = call->op == MGN_OP_gibbs;
    if (!dense) {
        MGN_TRY(check_count(label, "the first points", &call->in[0], dtype, area(n, d, 1)));
        MGN_TRY(check_count(label, "the second points", &call->in[1], dtype, area(m, d, 1)));
        if (gibbs) MGN_TRY(check_count(label, "the first heights", &call->in[2], dtype, n));
        MGN_TRY(check_count(label, "the heights", &call->in[gibbs ? 3 : 2], dtype, m));
        if (gibbs) MGN_TRY(check_count(label, "the values", &call->in[4], dtype, area(m, columns, 1)));
    } else {
        MGN_TRY(check_count(label, "the costs", &call->in[0], dtype, area(n, m, 1)));
        MGN_TRY(check_count(label, "the heights", &call->in[1], dtype, m));
    }
    MGN_TRY(check_count(label, "the result", &call->out, dtype, gibbs ? area(n, columns, 1) : n));
    if (d > INT_MAX || columns > INT_MAX)
        return mgn_fail(MGN_ERR_UNSUPPORTED, "%s: %lld coordinates and %lld columns are more than BLAS can index",
                        label, (long long)d, (long long)columns);
    if (n == 0 || (gibbs && columns == 0)) return MGN_OK;
    task->wide = d > MGN_CPU_CLOUD_NARROW;
    double pair = (dense ? 0.4 : 0.4 + 0.05 * (double)d) + (gibbs ? 0.05 * (double)columns : 0);
    int64_t most = task->wide ? 2 * MGN_CPU_CLOUD_ROWS : MGN_CPU_CLOUD_ROWS;
    task->chunk_size = MGN_MIN(most, round_up(divide_up(n, 8), 4));
    task->chunks = divide_up(n, task->chunk_size);
    task->parallel = pair * (double)n * (double)m > PARALLEL_TIME;
    return MGN_OK;
}

/* Blocks of pairs, at most 16 a side: the scratch memory grows with the points. */
static mgn_status prepare_softmins(const mgn_call *call, mgn_cpu_task *task, mgn_dtype dtype) {
    enum { BLOCKS = 16, LEAST_BLOCK = 128, LEAST_DENSE_BLOCK = 64, DENSE_PARALLEL_TIME = 6000 };
    int64_t n = call->attributes.cloud.n, m = call->attributes.cloud.m, d = call->attributes.cloud.d;
    const char *label = mgn_op_infos[call->op].label;
    bool dense = call->op == MGN_OP_softmins_dense;
    const mgn_operand *f = &call->in[dense ? 1 : 2], *h = &call->in[dense ? 2 : 3];
    MGN_TRY(
        check_count(label, dense ? "the costs" : "the first points", &call->in[0], dtype, area(n, dense ? m : d, 1)));
    if (!dense) MGN_TRY(check_count(label, "the second points", &call->in[1], dtype, area(m, d, 1)));
    MGN_TRY(check_count(label, "the first heights", f, dtype, n));
    MGN_TRY(check_count(label, "the heights", h, dtype, m));
    if (area(n, BLOCKS, 1) < 0 || area(m, BLOCKS, 1) < 0 || d > INT_MAX)
        return mgn_fail(MGN_ERR_UNSUPPORTED, "%s: %lld and %lld points of %lld coordinates are too many", label,
                        (long long)n, (long long)m, (long long)d);
    MGN_TRY(check_count(label, "the result", &call->out, dtype, n + m));
    task->wide = d > MGN_CPU_CLOUD_NARROW;
    /* Dense ones come in rows of dozens, one after the other: the threads are still awake. */
    const double time = (0.2 + 0.05 * (double)(dense ? 0 : d)) * (double)n * (double)m;
    task->parallel = time > (dense ? DENSE_PARALLEL_TIME : PARALLEL_TIME);
    task->symmetric = n == m && same_operand(f, h) &&
                      (dense ? call->attributes.cloud.symmetric : same_operand(&call->in[0], &call->in[1]));
    task->chunk_size =
        MGN_MAX(dense ? LEAST_DENSE_BLOCK : LEAST_BLOCK, round_up(divide_up(MGN_MAX(n, m), BLOCKS), MGN_CPU_LANES));
    task->parts = m ? divide_up(n, task->chunk_size) : 0;
    task->columns = n ? divide_up(m, task->chunk_size) : 0;
    task->chunks = task->symmetric ? task->parts * (task->parts + 1) / 2 : task->parts * task->columns;
    task->chunks = MGN_MAX(task->chunks, n + m > 0);
    task->scratch_bytes = (size_t)(n * task->columns + (task->symmetric ? 0 : m * task->parts)) * mgn_dtype_size(dtype);
    return MGN_OK;
}

/* ---- convolutions ---- */

/* Where the taps of a result lie: of x for a convolution, of y for its transpose. False: too large. */
static bool lay_out_grid(const mgn_call *call, mgn_cpu_conv *c) {
    const mgn_attributes *a = &call->attributes;
    const int64_t s = a->conv.stride, p = a->conv.padding, kh = a->conv.kernel_height, kw = a->conv.kernel_width;
    const int64_t reach_y = (kh - 1) / s, reach_x = (kw - 1) / s; /* of the kernel, in steps of the stride */
    const bool back = call->op == MGN_OP_conv_transpose;
    const int64_t planes = back ? a->conv.filters : a->conv.channels;
    if (back)
        c->grid = (mgn_cpu_conv_grid){a->conv.out_height,
                                      a->conv.out_width,
                                      1,
                                      1,
                                      1,
                                      reach_y,
                                      reach_x,
                                      (a->conv.height - 1 + p) / s + 1 + reach_y,
                                      (a->conv.width - 1 + p) / s + 1 + reach_x};
    else
        c->grid = (mgn_cpu_conv_grid){a->conv.height,
                                      a->conv.width,
                                      s,
                                      MGN_MIN(s, kh),
                                      MGN_MIN(s, kw),
                                      p,
                                      p,
                                      a->conv.out_height + reach_y,
                                      a->conv.out_width + reach_x};
    c->taps = area(planes, kh, kw);
    c->grid_size = area(area(planes, c->grid.phases_y, c->grid.phases_x), c->grid.rows, c->grid.pitch);
    return c->taps >= 0 && c->grid_size >= 0 && c->grid_size < (int64_t)1 << 40 && c->taps < (int64_t)1 << 40;
}

/* How the positions of a kernel gradient are taken: row by row, or through the grid's gaps, whichever is shorter. */
static void lay_out_positions(const mgn_call *call, mgn_cpu_conv *c, int64_t lanes) {
    enum { LONG = 64 };
    const int64_t height = call->attributes.conv.out_height, width = call->attributes.conv.out_width;
    const int64_t per_row = divide_up(width, lanes), through = divide_up((height - 1) * c->grid.pitch + width, lanes);
    if (height * per_row <= through) {
        c->runs = height, c->per_row = per_row;
        c->x_pitch = c->grid.pitch, c->run_pitch = c->y_pitch = per_row * lanes;
    } else {
        c->per_row = MGN_MIN(through, LONG), c->runs = divide_up(through, c->per_row);
        c->x_pitch = c->run_pitch = c->per_row * lanes, c->y_pitch = c->grid.pitch;
    }
    c->y_plane = c->runs * c->run_pitch;
    c->slack = (c->per_row + 1) * lanes;
}

/* Images to a chunk, `least` or more, and rows (filters, or channels) where there are too few images for all threads. */
static void cut_conv(mgn_cpu_task *task, int64_t images, int64_t least, int64_t most_parts, int64_t rows) {
    enum { PARTS = 16, FEW = 8, ROWS = 8 };
    task->chunk_size = MGN_MAX(divide_up(images, MGN_MIN(PARTS, most_parts)), least);
    const int64_t parts = MGN_MAX(divide_up(images, task->chunk_size), 1);
    const int64_t blocks = parts < FEW ? MGN_MIN(divide_up(FEW, parts), divide_up(rows, ROWS)) : 1;
    task->columns = round_up(divide_up(rows, blocks), ROWS);
    task->parts = divide_up(rows, task->columns);
    task->chunks = parts * task->parts;
}

static size_t aligned(int64_t elements, size_t size) { return ((size_t)elements * size + 63) / 64 * 64; }

static mgn_status check_conv(const mgn_call *call, mgn_dtype dtype) {
    const mgn_attributes *a = &call->attributes;
    const char *label = mgn_op_infos[call->op].label;
    const mgn_operand *x = &call->in[0], *w = &call->in[1], *y = &call->out;
    if (call->op == MGN_OP_conv_transpose) x = &call->out, y = &call->in[0];
    if (call->op == MGN_OP_conv_kernel_gradient) w = &call->out, y = &call->in[1];
    const int64_t pixels = area(a->conv.channels, a->conv.height, a->conv.width);
    const int64_t kernel = area(a->conv.channels, a->conv.kernel_height, a->conv.kernel_width);
    const int64_t results = area(a->conv.filters, a->conv.out_height, a->conv.out_width);
    if (a->conv.stride < 1 || a->conv.padding < 0 || pixels < 1 || kernel < 1 || results < 1)
        return mgn_fail(MGN_ERR_ARGUMENT, "%s: sizes are not positive or overflow", label);
    MGN_TRY(check_count(label, "the images", x, dtype, area(a->conv.n, pixels, 1)));
    MGN_TRY(check_count(label, "the kernel", w, dtype, area(a->conv.filters, kernel, 1)));
    return check_count(label, "the filtered images", y, dtype, area(a->conv.n, results, 1));
}

static mgn_status prepare_conv(const mgn_call *call, mgn_cpu_task *task, mgn_dtype dtype) {
    enum { MOST_TOTALS = 1 << 21, LEAST_TERMS = 64 };
    const mgn_attributes *a = &call->attributes;
    const size_t size = mgn_dtype_size(dtype);
    const int64_t lanes = MGN_CPU_CONV_BYTES / (int64_t)size, n = a->conv.n, filters = a->conv.filters;
    const bool by_kernel = call->op == MGN_OP_conv_kernel_gradient, back = call->op == MGN_OP_conv_transpose;
    mgn_cpu_conv *c = &task->conv;
    MGN_TRY(check_conv(call, dtype));
    if (!lay_out_grid(call, c))
        return mgn_fail(MGN_ERR_UNSUPPORTED, "%s: an image is too large", mgn_op_infos[call->op].label);
    if (task->count == 0) return MGN_OK;
    const double steps = (double)n * (double)filters * (double)a->conv.out_height * (double)a->conv.out_width *
                         (double)a->conv.channels * (double)a->conv.kernel_height * (double)a->conv.kernel_width;
    task->parallel = steps / 30 > PARALLEL_TIME;
    int64_t weights;
    if (by_kernel) {
        lay_out_positions(call, c, lanes);
        /* The lanes of a sum are joined in the end: not too soon. */
        cut_conv(task, n, divide_up(LEAST_TERMS, c->runs * c->per_row), MGN_MAX(MOST_TOTALS / (filters * c->taps), 1),
                 filters);
        c->group = MGN_MIN(MGN_MAX(MGN_CPU_CONV_TERMS / (c->runs * c->per_row), 1), task->chunk_size);
        weights = area(c->group, MGN_MIN(task->columns, filters), c->y_plane);
    } else {
        cut_conv(task, n, 1, n, back ? a->conv.channels : filters);
        c->group = 1;
        c->slack = lanes;
        weights = area(MGN_MIN(task->columns, back ? a->conv.channels : filters), c->taps, 1);
    }
    const int64_t grids = area(c->group, c->grid_size, 1);
    if (weights < 0 || weights > (int64_t)1 << 40 || grids < 0 || grids > (int64_t)1 << 40)
        return mgn_fail(MGN_ERR_UNSUPPORTED, "%s: an image is too large", mgn_op_infos[call->op].label);
    c->grid_at = aligned(2 * c->taps, sizeof(int64_t));
    c->weights_at = c->grid_at + aligned(grids + c->slack, size);
    c->chunk_bytes = c->weights_at + aligned(weights, size);
    c->totals_at = (size_t)task->chunks * c->chunk_bytes;
    const int64_t totals = by_kernel ? task->chunks / task->parts * filters * c->taps : 0;
    task->scratch_bytes = c->totals_at + (size_t)totals * sizeof(double);
    return MGN_OK;
}

static mgn_status prepare_random(const mgn_call *call, mgn_cpu_task *task, mgn_dtype dtype) {
    const char *label = mgn_op_infos[call->op].label;
    MGN_TRY(check_count(label, "the state", &call->in[0], MGN_U32, 4));
    if (call->op == MGN_OP_advance) {
        task->chunks = 1;
        return check_count(label, "the result", &call->out, MGN_U32, 4);
    }
    if (call->op == MGN_OP_shuffle) {
        int64_t population = call->attributes.shuffle.population, steps = call->attributes.shuffle.steps_per_epoch;
        int64_t stride = call->attributes.shuffle.stride, reach = area(steps, stride, 1);
        MGN_TRY(check_count(label, "the result", &call->out, MGN_U32, call->attributes.shuffle.batch));
        if (population < 1 || population > UINT32_MAX || steps < 1 || stride < 0 || reach < 0)
            return mgn_fail(MGN_ERR_ARGUMENT,
                            "shuffle: a population of 1 to 2^32 - 1 and at least one step an epoch were expected, %lld "
                            "and %lld (%lld apart) found",
                            (long long)population, (long long)steps, (long long)stride);
        task->count = call->attributes.shuffle.batch;
        if (task->count) cut(task, task->count, 6, 16);
        return MGN_OK;
    }
    task->count = mgn_shape_count(call->out.shape);
    MGN_TRY(check_count(label, "the result", &call->out, dtype, task->count));
    if (task->count > (int64_t)1 << 34)
        return mgn_fail(MGN_ERR_UNSUPPORTED, "%s: more than 2^34 numbers of one stream and step", label);
    if (task->count) cut(task, task->count, call->op == MGN_OP_normal ? 2.5 : 1.5, 4 * MGN_CPU_LANES);
    return MGN_OK;
}

static mgn_status prepare_unorm8(const mgn_call *call, mgn_cpu_task *task, mgn_dtype dtype) {
    const char *label = mgn_op_infos[call->op].label;
    bool from = call->op == MGN_OP_from_unorm8;
    const mgn_operand *reals = from ? &call->out : &call->in[0], *words = from ? &call->in[0] : &call->out;
    task->count = mgn_shape_count(reals->shape);
    MGN_TRY(check_count(label, "the reals", reals, dtype, task->count));
    MGN_TRY(check_count(label, "the words", words, MGN_U32, divide_up(task->count, 4)));
    if (task->count) cut(task, task->count, 0.3, 64);
    return MGN_OK;
}

mgn_status mgn_cpu_prepare(const mgn_cpu_device *device, const mgn_call *call, mgn_cpu_task *task) {
    if ((unsigned)call->op >= MGN_OP_COUNT || !mgn_op_infos[call->op].has_kernel)
        return mgn_fail(MGN_ERR_UNSUPPORTED, "the CPU backend has no kernel for op number %d", (int)call->op);
    mgn_dtype dtype = call->op == MGN_OP_to_unorm8 ? call->in[0].dtype : call->out.dtype;
    bool moves = call->op == MGN_OP_copy || call->op == MGN_OP_gather_rows || call->op == MGN_OP_shuffle ||
                 call->op == MGN_OP_advance;
    if (dtype == MGN_U32 && !moves)
        return mgn_fail(MGN_ERR_ARGUMENT, "%s gives reals, a result of uint32 was asked for",
                        mgn_op_infos[call->op].label);
    memset(task, 0, sizeof *task);
    task->attributes = call->attributes;
    task->count = mgn_shape_count(call->out.shape);
    const mgn_cpu_kernels *kernels = dtype == MGN_F64 ? device->f64 : device->f32;
    task->kernel = kernels->op[call->op];
    mgn_status status = MGN_OK;
    switch (call->op) {
    case MGN_OP_sum:
    case MGN_OP_max: status = prepare_reduce(call, task, dtype); break;
    case MGN_OP_matmul:
        status = prepare_matmul(call, task, dtype, device->base.info.compute_units, kernels->panel_lanes);
        break;
    case MGN_OP_spd_logdet:
    case MGN_OP_spd_inverse:
    case MGN_OP_spd_solve: status = prepare_spd(call, task, dtype); break;
    case MGN_OP_gather_rows:
    case MGN_OP_scatter_rows: status = prepare_rows(call, task, dtype); break;
    case MGN_OP_softmin:
    case MGN_OP_gibbs:
    case MGN_OP_softmin_dense: status = prepare_cloud(call, task, dtype); break;
    case MGN_OP_softmins:
    case MGN_OP_softmins_dense: status = prepare_softmins(call, task, dtype); break;
    case MGN_OP_conv:
    case MGN_OP_conv_transpose:
    case MGN_OP_conv_kernel_gradient: status = prepare_conv(call, task, dtype); break;
    case MGN_OP_uniform:
    case MGN_OP_normal:
    case MGN_OP_shuffle:
    case MGN_OP_advance: status = prepare_random(call, task, dtype); break;
    case MGN_OP_from_unorm8:
    case MGN_OP_to_unorm8: status = prepare_unorm8(call, task, dtype); break;
    default: status = prepare_elementwise(call, task, dtype); break;
    }
    MGN_TRY(status);
    if (task->chunks == 0) return MGN_OK; /* an empty result: operands may have no memory */
    task->out = call->out.memory->data + (size_t)call->out.offset * mgn_dtype_size(call->out.dtype);
    for (int i = 0; i < call->inputs && i < MGN_CALL_INPUTS; i++) {
        const mgn_operand *in = &call->in[i];
        if (in->memory) task->in[i] = in->memory->data + (size_t)in->offset * mgn_dtype_size(in->dtype);
    }
    task->terms[0].a = task->in[0];
    task->terms[0].b = task->in[1];
    return MGN_OK;
}
