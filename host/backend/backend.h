/* The contract between plans and backends.
 *
 * A plan lowers its graph to a list of calls: one op each, on operands that lie in device memory. A backend turns the
 * list into something it can run many times (`program_create`), then runs it without allocating and without waiting.
 *
 * Who implements what: backend/cpu (reference and fallback) and backend/opencl. Each has a table with one entry per op
 * of graph/ops.def that has a kernel, made from the table itself: a missing kernel does not build. */
#ifndef MGN_HOST_BACKEND_H
#define MGN_HOST_BACKEND_H

#include <mgn/device.h>

#include "graph/ops.h"

/* A block of device memory. Backends put their own struct behind it. */
typedef struct mgn_memory mgn_memory;

/* Where the elements of one operand lie. Strides count elements; they are 0 along axes that are broadcast.
 * Elementwise ops take any strides on inputs and on the output (all operands have the output's rank and dims).
 * All other ops get contiguous operands. */
typedef struct mgn_operand {
    mgn_memory *memory;
    int64_t offset; /* of the first element, in elements */
    mgn_dtype dtype;
    mgn_shape shape;
    int64_t stride[MGN_MAX_RANK];
} mgn_operand;

/* Of elementwise ops and of the instructions of row programs; of any call. */
enum { MGN_MAX_INPUTS = 3, MGN_CALL_INPUTS = 5 };

/* What an op needs to know besides its operands. */
typedef union mgn_attributes {
    struct {
        int64_t outer, n, inner;
    } reduce; /* sum, max: (outer, n, inner) -> (outer, inner) */
    struct {
        int64_t batch, m, n, k;        /* out (batch, m, n) = op(a) op(b), row-major */
        int64_t stride_a, stride_b;    /* elements from one matrix of the batch to the next; 0: shared */
        bool transpose_a, transpose_b; /* a is (k, m), b is (n, k) */
        bool adds; /* out += instead; plans set it, of one matrix with m and n from 128, k from 32 on */
    } matmul;
    struct {
        int64_t n, channels, height, width;           /* images x (n, channels, height, width) */
        int64_t filters, kernel_height, kernel_width; /* w (filters, channels, kernel_height, kernel_width) */
        int64_t out_height, out_width;                /* y (n, filters, out_height, out_width) */
        int64_t stride, padding;
    } conv; /* conv: x, w -> y; conv_transpose: y, w -> x; conv_kernel_gradient: x, y -> w. See graph/conv.c */
    struct {
        int64_t batch, d, columns;
    } spd; /* a (batch, d, d); solve: b and out (batch, d, columns).
                                                  Only (a + a^T) / 2 counts. Not positive definite: NaN */
    struct {
        int64_t rows, source_rows, columns;
    } rows;
    /* gather: a (source_rows, columns), index (rows) -> (rows, columns)
                                                scatter: a (source_rows, columns), index (source_rows) -> (rows, columns),
                                                added in the order of the index. Rows outside are not touched:
                                                gather gives NaN there, scatter skips them */
    struct {
        int64_t n, m, d, columns;
        double scale;
        bool symmetric;
    } cloud; /* softmin: x (n, d), y (m, d), h (m) -> (n); gibbs: x, y, f (n), h, v (m, columns) -> (n, columns);
                softmin_dense: s (n, m), h (m) -> (n) with the costs scale s; softmins: x, y, f (n), h (m) -> (n + m),
                those of the rows with h and those of the columns with f; softmins_dense: s, f, h -> (n + m), where
                symmetric promises s = s^T. See graph/cloud.c. Coordinates are
                finite; heights may be -INFINITY */
    struct {
        uint32_t stream;
    } random; /* uniform, normal: element i is number i % 4 of Philox block
                                                {i / 4, state[2], state[3] ^ stream, 0} under key {state[0], state[1]} */
    struct {
        int64_t population, batch, steps_per_epoch, stride; /* see mgn_shuffle */
    } shuffle;
    struct {
        uint32_t steps;
    } advance;
} mgn_attributes;

typedef struct mgn_call {
    mgn_op op;
    int inputs;
    mgn_operand in[MGN_CALL_INPUTS], out;
    mgn_operand scratch; /* spd ops: (batch, d, d) of the output's dtype, free to use; memory NULL elsewhere */
    mgn_attributes attributes;
} mgn_call;

typedef struct mgn_program mgn_program;
typedef struct mgn_backend mgn_backend;
struct mgn_row_program;  /* backend/row_program.h */
struct mgn_wide_program; /* backend/wide_program.h */

/* Every backend's device starts with this. */
struct mgn_device {
    const mgn_backend *backend;
    mgn_device_info info;
    bool is_short; /* set where memory of the device is what a call failed for; mgn_device_was_short reads it */
};

struct mgn_backend {
    const char *label; /* "cpu" */

    /* Appends this backend's devices to infos[0..capacity), *count being how many there are already; counts on past
     * the capacity. A machine without its driver has none: that is MGN_OK. */
    mgn_status (*list)(mgn_device_info *infos, size_t capacity, size_t *count);
    /* Opens the device that `info` (from list) describes. */
    mgn_status (*open)(const mgn_device_info *info, mgn_device **device);
    void (*close)(mgn_device *device);
    mgn_status (*finish)(mgn_device *device);

    /* Zeroed memory. */
    mgn_status (*memory_create)(mgn_device *device, size_t bytes, mgn_memory **memory);
    void (*memory_destroy)(mgn_device *device, mgn_memory *memory);
    /* Both wait until the copy is done; they run after everything enqueued before. */
    mgn_status (*memory_write)(mgn_device *device, mgn_memory *memory, size_t offset, const void *source, size_t bytes);
    mgn_status (*memory_read)(mgn_device *device, const mgn_memory *memory, size_t offset, void *target, size_t bytes);

    /* Prepares `count` calls (copied) to run in this order. Reals among the operands all have one dtype. */
    mgn_status (*program_create)(mgn_device *device, const mgn_call *calls, size_t count, mgn_program **program);
    void (*program_destroy)(mgn_device *device, mgn_program *program);
    /* Prepares a row program (copied); see backend/row_program.h. NULL: the backend runs calls only. UNSUPPORTED: not this
     * program, run it as calls. */
    mgn_status (*rows_create)(mgn_device *device, const struct mgn_row_program *rows, mgn_program **program);
    /* The same of a wide program; see backend/wide_program.h. */
    mgn_status (*wide_create)(mgn_device *device, const struct mgn_wide_program *wide, mgn_program **program);
    /* Enqueues the whole list `times` times; no allocation, no waiting. */
    mgn_status (*program_run)(mgn_device *device, mgn_program *program, uint64_t times);
};

extern const mgn_backend mgn_cpu_backend;
extern const mgn_backend mgn_opencl_backend;

/* ---- for the plan and the tensors (backend/device.c) ---- */

struct mgn_tensor {
    mgn_device *device;
    mgn_memory *memory;
    int64_t offset; /* of the first element, in elements: not 0 in windows of memory that something else owns */
    bool is_window;
    mgn_dtype dtype;
    mgn_shape shape;
};

/* A tensor in `memory` from element `offset` on, which stays the caller's. */
mgn_status mgn_tensor_window(mgn_device *device, mgn_dtype dtype, mgn_shape shape, mgn_memory *memory, int64_t offset,
                             mgn_tensor **tensor);
/* The contiguous operand of a whole tensor. */
mgn_operand mgn_operand_of(const mgn_tensor *tensor);

#endif
