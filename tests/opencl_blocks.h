/* What the tests of the OpenCL backend share: devices of both shapes, and operands between sentinels. */
#ifndef MGN_TESTS_OPENCL_BLOCKS_H
#define MGN_TESTS_OPENCL_BLOCKS_H

#include "harness.h"

#include <stdlib.h>
#include <string.h>

#include "backend/opencl/opencl.h"

/* ---- devices: one of each shape for the whole program ---- */

static const char *spec;
static mgn_device *shaped[2], *cpu;

static inline mgn_device_info find_info(const mgn_backend *backend, const char *wanted) {
    mgn_device_info infos[16];
    size_t count = 0;
    MGN_ASSERT_OK(backend->list(infos, 16, &count));
    for (size_t i = 0; i < MGN_MIN(count, 16); i++)
        if (strcmp(infos[i].spec, wanted) == 0) return infos[i];
    ck_abort_msg("the device %s has gone", wanted);
    return infos[0];
}

static inline mgn_device *open_shape(const char *shape) {
    mgn_device *device = NULL;
    const mgn_device_info info = find_info(&mgn_opencl_backend, spec);
    setenv("MGN_CL_SHAPE", shape, 1);
    MGN_ASSERT_OK(mgn_opencl_backend.open(&info, &device));
    unsetenv("MGN_CL_SHAPE");
    return device;
}

static inline void open_all(void) {
    if (!spec) return;
    shaped[0] = open_shape("cpu");
    shaped[1] = open_shape("gpu");
    const mgn_device_info info = find_info(&mgn_cpu_backend, "cpu");
    MGN_ASSERT_OK(mgn_cpu_backend.open(&info, &cpu));
}

static inline void close_all(void) {
    for (int i = 0; i < 2; i++) {
        if (shaped[i]) mgn_opencl_backend.close(shaped[i]);
        shaped[i] = NULL;
    }
    if (cpu) mgn_cpu_backend.close(cpu);
    cpu = NULL;
}

/* Loop tests run as variant 0..3: shape and dtype. */
enum { VARIANTS = 4 };
#define BEGIN_VARIANT                                                           \
    if (!spec) MGN_TEST_SKIP("no OpenCL device");                               \
    mgn_device *device = shaped[_i % 2];                                        \
    const mgn_dtype dtype = _i / 2 ? MGN_F64 : MGN_F32;                         \
    if (dtype == MGN_F64 && !device->info.has_f64) MGN_TEST_SKIP("no float64"); \
    mgn_test_random random = MGN_TEST_RANDOM();                                 \
    (void)random

/* Whether a case of this many multiplications or elements is run. */
static inline bool affordable(size_t work) { return work <= 20000 || !getenv("MGN_TEST_SMALL"); }

/* ---- operands ---- */

enum { GUARD = 19 }; /* elements before and behind: odd, so that nothing is aligned */
static const double guard_value = 12345.0;

/* An operand's elements on the host, as doubles (rounded to the dtype), the guards included. */
typedef struct block {
    mgn_operand operand;
    mgn_device *device;
    double *values; /* of the operand's elements, at operand.offset */
    size_t total;
} block;

static inline void *to_device_type(const double *values, size_t count, mgn_dtype dtype) {
    void *bytes = calloc(count + 1, mgn_dtype_size(dtype));
    ck_assert_ptr_nonnull(bytes);
    for (size_t i = 0; i < count; i++)
        if (dtype == MGN_F64)
            ((double *)bytes)[i] = values[i];
        else if (dtype == MGN_F32)
            ((float *)bytes)[i] = (float)values[i];
        else
            ((uint32_t *)bytes)[i] = (uint32_t)values[i];
    return bytes;
}

static inline void write_block(block *b) {
    void *bytes = to_device_type(b->values, b->total, b->operand.dtype);
    MGN_ASSERT_OK(b->device->backend->memory_write(b->device, b->operand.memory, 0, bytes,
                                                   b->total * mgn_dtype_size(b->operand.dtype)));
    free(bytes);
}

static inline void read_block(block *b) {
    const size_t size = mgn_dtype_size(b->operand.dtype);
    void *bytes = malloc(b->total * size);
    MGN_ASSERT_OK(b->device->backend->memory_read(b->device, b->operand.memory, 0, bytes, b->total * size));
    for (size_t i = 0; i < b->total; i++)
        b->values[i] = b->operand.dtype == MGN_F64   ? ((double *)bytes)[i]
                       : b->operand.dtype == MGN_F32 ? (double)((float *)bytes)[i]
                                                     : (double)((uint32_t *)bytes)[i];
    free(bytes);
}

/* `extent` elements between guards. */
static inline block make_block(mgn_device *device, mgn_dtype dtype, mgn_shape shape, size_t extent) {
    block b = {.device = device, .total = extent + 2 * GUARD};
    b.values = malloc(b.total * sizeof *b.values);
    for (size_t i = 0; i < b.total; i++) b.values[i] = guard_value;
    b.operand = (mgn_operand){.offset = GUARD, .dtype = dtype, .shape = shape};
    int64_t stride = 1;
    for (int r = shape.rank - 1; r >= 0; r--) {
        b.operand.stride[r] = stride;
        stride *= shape.dim[r];
    }
    MGN_ASSERT_OK(device->backend->memory_create(device, b.total * mgn_dtype_size(dtype), &b.operand.memory));
    return b;
}

static inline double *elements(const block *b) { return b->values + GUARD; }

/* A contiguous block of `count` random values. */
static inline block random_block(mgn_device *device, mgn_dtype dtype, size_t count, mgn_test_random *random) {
    block b = make_block(device, dtype, (mgn_shape){1, {(int64_t)count}}, count);
    for (size_t i = 0; i < count; i++) {
        const double x = mgn_test_normal(random);
        elements(&b)[i] = dtype == MGN_F32 ? (double)(float)x : x;
    }
    write_block(&b);
    return b;
}

static inline block index_block(mgn_device *device, size_t count, const uint32_t *values) {
    block b = make_block(device, MGN_U32, (mgn_shape){1, {(int64_t)count}}, count);
    for (size_t i = 0; i < count; i++) elements(&b)[i] = values[i];
    write_block(&b);
    return b;
}

static inline block empty_block(mgn_device *device, mgn_dtype dtype, size_t count) {
    block b = make_block(device, dtype, (mgn_shape){1, {(int64_t)count}}, count);
    write_block(&b);
    return b;
}

static inline void free_block(block *b) {
    b->device->backend->memory_destroy(b->device, b->operand.memory);
    free(b->values);
}

static inline void run_call(mgn_device *device, const mgn_call *call) {
    const mgn_backend *backend = device->backend;
    mgn_program *program = NULL;
    MGN_ASSERT_OK(backend->program_create(device, call, 1, &program));
    MGN_ASSERT_OK(backend->program_run(device, program, 1));
    MGN_ASSERT_OK(backend->finish(device));
    backend->program_destroy(device, program);
}

static inline void check_guards(const char *what, const block *b) {
    for (size_t i = 0; i < GUARD; i++)
        if (b->values[i] != guard_value || b->values[b->total - 1 - i] != guard_value)
            ck_abort_msg("%s wrote outside its result", what);
}

#endif
