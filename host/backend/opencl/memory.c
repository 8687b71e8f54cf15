/* Buffers and blocking copies. */
#include "backend/opencl/opencl.h"

/* OpenCL has no empty buffers, and filling wants whole words. */
static uint64_t rounded(uint64_t bytes) { return MGN_MAX((bytes + 63) & ~(uint64_t)63, 64); }

mgn_status mgn_cl_buffer_create(mgn_cl_device *device, uint64_t bytes, const char *what, cl_mem *buffer) {
    const uint64_t size = rounded(bytes), most = device->base.info.memory_bytes;
    const cl_uint zero = 0;
    cl_int code = CL_INVALID_BUFFER_SIZE;
    const bool is_too_much = most > 0 && (size > most || device->bytes_used > most - size);
    if (size >= bytes && size <= SIZE_MAX && is_too_much) code = CL_MEM_OBJECT_ALLOCATION_FAILURE;
    if (size >= bytes && size <= SIZE_MAX && !is_too_much)
        *buffer = clCreateBuffer(device->context, CL_MEM_READ_WRITE, (size_t)size, NULL, &code);
    MGN_TRY(mgn_cl_check(device, code, "creating %llu bytes for %s", (unsigned long long)size, what));
    device->bytes_used += size;
    code = clEnqueueFillBuffer(device->queue, *buffer, &zero, sizeof zero, 0, (size_t)size, 0, NULL, NULL);
    const mgn_status status = mgn_cl_check(device, code, "zeroing %llu bytes for %s", (unsigned long long)size, what);
    if (status == MGN_OK) return MGN_OK;
    mgn_cl_buffer_release(device, *buffer);
    *buffer = NULL;
    return status;
}

void mgn_cl_buffer_release(mgn_cl_device *device, cl_mem buffer) {
    size_t size = 0;
    if (!buffer) return;
    if (clGetMemObjectInfo(buffer, CL_MEM_SIZE, sizeof size, &size, NULL) == CL_SUCCESS)
        device->bytes_used -= MGN_MIN(size, device->bytes_used);
    clReleaseMemObject(buffer);
}

mgn_status mgn_cl_memory_create(mgn_device *handle, size_t bytes, mgn_memory **memory) {
    mgn_memory *block = mgn_alloc(1, sizeof *block);
    if (!block) return MGN_ERR_MEMORY;
    block->bytes = bytes;
    const mgn_status status = mgn_cl_buffer_create(mgn_cl_of(handle), bytes, "values", &block->buffer);
    if (status == MGN_OK)
        *memory = block;
    else
        mgn_free(block);
    return status;
}

void mgn_cl_memory_destroy(mgn_device *handle, mgn_memory *memory) {
    if (!memory) return;
    mgn_cl_buffer_release(mgn_cl_of(handle), memory->buffer);
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
