/* Elementwise kernels, made from the expressions of graph/ops.def; part of kernels.c.
 *
 * Each op has one row function, a SIMD loop in which every input either advances by one or stays. Everything else
 * (broadcasts inside short rows, transposed views) is brought into that form by gathering blocks of an operand into a
 * buffer in the first-level cache; a pattern that repeats, such as a bias under many short rows, is gathered once. */

/* Input i advances where bit i of `moving` is set. `out` may be an input. */
typedef void row_function(R *out, const R *const *in, unsigned moving, int64_t n);

#define ROW_CASE(mask, ...)                                                 \
    case mask: {                                                            \
        _Pragma("omp simd") for (int64_t i = 0; i < n; i++) { __VA_ARGS__ } \
        break;                                                              \
    }
#define LOAD(operand, mask, bit) const R operand = in[bit][((mask) >> (bit)) & 1 ? i : 0];

#define UNARY_CASE(mask, expression) ROW_CASE(mask, LOAD(a, mask, 0) out[i] = (expression);)
#define BINARY_CASE(mask, expression) ROW_CASE(mask, LOAD(a, mask, 0) LOAD(b, mask, 1) out[i] = (expression);)
#define TERNARY_CASE(mask, expression) \
    ROW_CASE(mask, LOAD(a, mask, 0) LOAD(b, mask, 1) LOAD(c, mask, 2) out[i] = (expression);)

#define MGN_UNARY(op, expression, ...)                                                           \
    static void row_##op(R *out, const R *const *in, unsigned moving, int64_t n) {               \
        switch (moving) { UNARY_CASE(0, expression) UNARY_CASE(1, expression) default : break; } \
    }
#define MGN_BINARY(op, expression, ...)                                            \
    static void row_##op(R *out, const R *const *in, unsigned moving, int64_t n) { \
        switch (moving) {                                                          \
            BINARY_CASE(0, expression)                                             \
            BINARY_CASE(1, expression)                                             \
            BINARY_CASE(2, expression)                                             \
            BINARY_CASE(3, expression)                                             \
        default: break;                                                            \
        }                                                                          \
    }
#define MGN_TERNARY(op, expression, ...)                                           \
    static void row_##op(R *out, const R *const *in, unsigned moving, int64_t n) { \
        switch (moving) {                                                          \
            TERNARY_CASE(0, expression)                                            \
            TERNARY_CASE(1, expression)                                            \
            TERNARY_CASE(2, expression)                                            \
            TERNARY_CASE(3, expression)                                            \
            TERNARY_CASE(4, expression)                                            \
            TERNARY_CASE(5, expression)                                            \
            TERNARY_CASE(6, expression)                                            \
            TERNARY_CASE(7, expression)                                            \
        default: break;                                                            \
        }                                                                          \
    }
#include "graph/ops.def"

/* Where element `position` of the iteration lies in operand k; its index in each axis goes to `index`. */
static int64_t locate(const mgn_cpu_layout *layout, int k, int64_t position, int64_t *index) {
    int64_t offset = 0;
    for (int axis = layout->rank - 1; axis >= 0; axis--) {
        int64_t dim = layout->dim[axis];
        index[axis] = axis ? position % dim : position;
        position = axis ? position / dim : 0;
        offset += index[axis] * layout->stride[k][axis];
    }
    return offset;
}

/* The offset after `length` more entries of `axis`, the later axes standing at 0. */
static inline int64_t advance(const mgn_cpu_layout *layout, int k, int64_t offset, int axis, int64_t length,
                              int64_t *index) {
    const int64_t *stride = layout->stride[k];
    index[axis] += length;
    offset += length * stride[axis];
    for (; axis > 0 && index[axis] == layout->dim[axis]; axis--) {
        index[axis] = 0;
        offset += stride[axis - 1] - layout->dim[axis] * stride[axis];
        index[axis - 1]++;
    }
    return offset;
}

/* Rows of `width` elements, `step` apart, the rows `stride` apart, from or to a buffer. */
static inline __attribute__((always_inline)) void move_rows(R *memory, int64_t stride, int64_t step, int64_t rows,
                                                            int64_t width, R *buffer, bool gather) {
    for (int64_t r = 0; r < rows; r++, memory += stride, buffer += width) {
        for (int64_t i = 0; i < width; i++) {
            if (gather)
                buffer[i] = memory[i * step];
            else
                memory[i * step] = buffer[i];
        }
    }
}

/* Elements position .. position + n - 1 of operand k from memory to a buffer, or back. Short rows go many at a time. */
static inline __attribute__((always_inline)) void move_run(const mgn_cpu_layout *layout, int k, R *memory,
                                                           int64_t position, int64_t n, R *buffer, bool gather) {
    const int last = layout->rank - 1;
    const int64_t width = layout->dim[last], step = layout->stride[k][last];
    const int64_t stride = last > 0 ? layout->stride[k][last - 1] : 0;
    int64_t index[MGN_MAX_RANK] = {0}, offset = locate(layout, k, position, index), moved;
    for (int64_t done = 0; done < n; done += moved, buffer += moved) {
        if (last > 0 && width < 16 && index[last] == 0 && n - done >= width) {
            int64_t rows = MGN_MIN((n - done) / width, layout->dim[last - 1] - index[last - 1]);
            R *at = memory + offset;
            if (width == 1)
                move_rows(at, stride, step, rows, 1, buffer, gather);
            else if (width == 2)
                move_rows(at, stride, step, rows, 2, buffer, gather);
            else if (width == 3)
                move_rows(at, stride, step, rows, 3, buffer, gather);
            else
                move_rows(at, stride, step, rows, width, buffer, gather);
            moved = rows * width;
            offset = advance(layout, k, offset, last - 1, rows, index);
        } else {
            moved = MGN_MIN(width - index[last], n - done);
            if (step != 1 || moved < 16)
                move_rows(memory + offset, 0, step, 1, moved, buffer, gather);
            else if (gather)
                memcpy(buffer, memory + offset, (size_t)moved * sizeof(R));
            else
                memcpy(memory + offset, buffer, (size_t)moved * sizeof(R));
            offset = advance(layout, k, offset, last, moved, index);
        }
    }
}

static void gather_run(const mgn_cpu_layout *layout, int k, const R *memory, int64_t position, int64_t n, R *buffer) {
    move_run(layout, k, (R *)(uintptr_t)memory, position, n, buffer, true);
}

static void scatter_run(const mgn_cpu_layout *layout, R *memory, int64_t position, int64_t n, const R *buffer) {
    move_run(layout, 0, memory, position, n, (R *)(uintptr_t)buffer, false);
}

/* As gather_run, for a pattern that repeats: one period, doubled until the block is full. `position` starts one. */
static void gather_period(const mgn_cpu_layout *layout, int k, const R *base, int64_t n, R *target) {
    int64_t filled = MGN_MIN(layout->period[k], n);
    gather_run(layout, k, base, 0, filled, target);
    while (filled < n) {
        int64_t more = MGN_MIN(filled, n - filled);
        memcpy(target + filled, target, (size_t)more * sizeof(R));
        filled += more;
    }
}

/* Long rows of plain strides: straight from and to memory. */
static void elementwise_rows(const mgn_cpu_task *task, row_function *row, int arity, int64_t begin, int64_t end) {
    const mgn_cpu_layout *layout = &task->layout;
    const int last = layout->rank - 1;
    unsigned moving = 0;
    for (int k = 0; k < arity; k++) moving |= layout->stride[k + 1][last] ? 1u << k : 0u;
    for (int64_t position = begin, length; position < end; position += length) {
        int64_t index[MGN_MAX_RANK] = {0}, offset = locate(layout, 0, position, index);
        const R *in[MGN_MAX_INPUTS] = {NULL, NULL, NULL};
        length = MGN_MIN(layout->dim[last] - index[last], end - position);
        for (int k = 0; k < arity; k++) {
            int64_t at = 0;
            for (int axis = 0; axis < layout->rank; axis++) at += index[axis] * layout->stride[k + 1][axis];
            in[k] = (const R *)task->in[k] + at;
        }
        row((R *)task->out + offset, in, moving, length);
    }
}

/* Short rows or odd strides: a block at a time through buffers. Chunks start at whole periods. */
static void elementwise_blocks(const mgn_cpu_task *task, row_function *row, int arity, int64_t begin, int64_t end) {
    const mgn_cpu_layout *layout = &task->layout;
    R buffer[1 + MGN_MAX_INPUTS][MGN_CPU_BLOCK];
    const R *in[MGN_MAX_INPUTS] = {NULL, NULL, NULL};
    unsigned moving = 0;
    for (int k = 0; k < arity; k++) {
        const R *base = task->in[k];
        in[k] = layout->scalar[k + 1] ? base : buffer[k + 1];
        if (!layout->scalar[k + 1]) moving |= 1u << k;
        if (layout->period[k + 1])
            gather_period(layout, k + 1, base, MGN_MIN(layout->block, end - begin), buffer[k + 1]);
    }
    for (int64_t position = begin; position < end; position += layout->block) {
        int64_t n = MGN_MIN(layout->block, end - position);
        for (int k = 0; k < arity; k++) {
            const R *base = task->in[k];
            if (layout->linear[k + 1]) {
                in[k] = base + position;
            } else if (!layout->scalar[k + 1] && !layout->period[k + 1]) {
                gather_run(layout, k + 1, base, position, n, buffer[k + 1]);
            }
        }
        R *out = layout->linear[0] ? (R *)task->out + position : buffer[0];
        row(out, in, moving, n);
        if (!layout->linear[0]) scatter_run(layout, task->out, position, n, buffer[0]);
    }
}

static void elementwise(const mgn_cpu_task *task, int64_t chunk, row_function *row, int arity) {
    int64_t begin = chunk * task->chunk_size, end = MGN_MIN(begin + task->chunk_size, task->layout.total);
    if (task->layout.rows) {
        elementwise_rows(task, row, arity, begin, end);
    } else {
        elementwise_blocks(task, row, arity, begin, end);
    }
}

#define MGN_UNARY(op, ...) \
    static void chunk_##op(const mgn_cpu_task *task, int64_t chunk) { elementwise(task, chunk, row_##op, 1); }
#define MGN_BINARY(op, ...) \
    static void chunk_##op(const mgn_cpu_task *task, int64_t chunk) { elementwise(task, chunk, row_##op, 2); }
#define MGN_TERNARY(op, ...) \
    static void chunk_##op(const mgn_cpu_task *task, int64_t chunk) { elementwise(task, chunk, row_##op, 3); }
#include "graph/ops.def"

/* Copies move bits of any type of R's width; a side that lies in order needs no buffer. */
static void chunk_move(const mgn_cpu_task *task, int64_t chunk) {
    const mgn_cpu_layout *layout = &task->layout;
    int64_t begin = chunk * task->chunk_size, end = MGN_MIN(begin + task->chunk_size, layout->total);
    if (!layout->rows && layout->linear[0]) {
        gather_run(layout, 1, task->in[0], begin, end - begin, (R *)task->out + begin);
    } else if (!layout->rows && layout->linear[1]) {
        scatter_run(layout, task->out, begin, end - begin, (const R *)task->in[0] + begin);
    } else {
        chunk_copy(task, chunk);
    }
}
