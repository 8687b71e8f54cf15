/* Buffers and blocking copies. */
#include "backend/opencl/opencl.h"

mgn_status mgn_cl_memory_create(mgn_device *handle, size_t bytes, mgn_memory **memory) {
    mgn_cl_device *device = mgn_cl_of(handle);
    if (bytes > SIZE_MAX - 64)
        return mgn_fail(MGN_ERR_MEMORY, "a buffer of %zu bytes is more than %s can address", bytes, handle->info.spec);
    mgn_memory *block = mgn_alloc(1, sizeof *block);
    if (!block) return MGN_ERR_MEMORY;
    block->bytes = bytes;
    /* OpenCL has no empty buffers, and filling wants whole words. */
    const size_t rounded = MGN_MAX((bytes + 63) & ~(size_t)63, 64);
    const cl_uint zero = 0;
    cl_int code;
    mgn_status status;
    block->buffer = clCreateBuffer(device->context, CL_MEM_READ_WRITE, rounded, NULL, &code);
    MGN_TRY_GOTO(mgn_cl_check(device, code, "creating a buffer of %zu bytes", bytes), failed);
    code = clEnqueueFillBuffer(device->queue, block->buffer, &zero, sizeof zero, 0, rounded, 0, NULL, NULL);
    MGN_TRY_GOTO(mgn_cl_check(device, code, "zeroing a buffer of %zu bytes", bytes), failed);
    *memory = block;
    return MGN_OK;
failed:
    mgn_cl_memory_destroy(handle, block);
    return status;
}

void mgn_cl_memory_destroy(mgn_device *handle, mgn_memory *memory) {
    (void)handle;
    if (!memory) return;
    /* The driver frees it once the commands that use it have run. */
    if (memory->buffer) clReleaseMemObject(memory->buffer);
    mgn_free(memory);
}

static mgn_status check_range(const mgn_memory *memory, size_t offset, size_t bytes) {
    if (offset <= memory->bytes && bytes <= memory->bytes - offset) return MGN_OK;
    return mgn_fail(MGN_ERR_ARGUMENT, "a copy of %zu bytes at %zu does not fit a buffer of %zu", bytes, offset,
                    memory->bytes);
}

mgn_status mgn_cl_memory_write(mgn_device *handle, mgn_memory *memory, size_t offset, const void *source,
                               size_t bytes) {
    MGN_TRY(check_range(memory, offset, bytes));
    if (bytes == 0) return MGN_OK;
    mgn_cl_device *device = mgn_cl_of(handle);
    return mgn_cl_check(
        device, clEnqueueWriteBuffer(device->queue, memory->buffer, CL_TRUE, offset, bytes, source, 0, NULL, NULL),
        "writing %zu bytes to the device", bytes);
}

mgn_status mgn_cl_memory_read(mgn_device *handle, const mgn_memory *memory, size_t offset, void *target, size_t bytes) {
    MGN_TRY(check_range(memory, offset, bytes));
    if (bytes == 0) return MGN_OK;
    mgn_cl_device *device = mgn_cl_of(handle);
    return mgn_cl_check(
        device, clEnqueueReadBuffer(device->queue, memory->buffer, CL_TRUE, offset, bytes, target, 0, NULL, NULL),
        "reading %zu bytes from the device", bytes);
}
