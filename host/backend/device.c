/* Choosing and opening devices, and the tensors on them: everything that is the same for all backends. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "backend/backend.h"
#include "core/core.h"

static const mgn_backend *const backends[] = {&mgn_cpu_backend, &mgn_opencl_backend};

enum { MOST_DEVICES = 64 };

size_t mgn_dtype_size(mgn_dtype dtype) { return dtype == MGN_F64 ? 8 : 4; }

const char *mgn_dtype_name(mgn_dtype dtype) {
    return dtype == MGN_F64 ? "float64" : dtype == MGN_F32 ? "float32" : "uint32";
}

mgn_status mgn_device_list(mgn_device_info *infos, size_t capacity, size_t *count) {
    *count = 0;
    for (size_t i = 0; i < MGN_COUNT(backends); i++) MGN_TRY(backends[i]->list(infos, capacity, count));
    return MGN_OK;
}

/* How much `info` is wanted for `spec`; 0: not at all. */
static int wanted(const char *spec, const mgn_device_info *info) {
    bool is_opencl = strncmp(info->spec, "opencl:", 7) == 0;
    if (strcmp(spec, info->spec) == 0) return 4;
    if (strcmp(spec, "opencl") == 0 && is_opencl) return info->is_cpu ? 1 : 3;
    if (strcmp(spec, "auto") == 0) return is_opencl ? (info->is_cpu ? 1 : 3) : 2;
    return 0;
}

static bool spec_is_known(const char *spec) {
    if (strcmp(spec, "auto") == 0 || strcmp(spec, "cpu") == 0 || strcmp(spec, "opencl") == 0) return true;
    if (strncmp(spec, "opencl:", 7) != 0) return false;
    char *end;
    long platform = strtol(spec + 7, &end, 10);
    if (end == spec + 7 || *end != ':' || platform < 0) return false;
    const char *second = end + 1;
    return strtol(second, &end, 10) >= 0 && end != second && *end == '\0';
}

/* Whether the kernel shows any accelerator. Where it shows none, "auto" is the cpu without waking OpenCL drivers, which
 * takes longer than mapping a photo. */
static bool has_accelerator(void) {
#ifdef __linux__
    static const char *const nodes[] = {"/dev/dri",   "/dev/nvidiactl", "/dev/nvidia0",  "/dev/kfd",  "/dev/dxg",
                                        "/dev/mali0", "/dev/mali",      "/dev/kgsl-3d0", "/dev/accel"};
    for (size_t i = 0; i < MGN_COUNT(nodes); i++)
        if (access(nodes[i], F_OK) == 0) return true;
    return false;
#else
    return true;
#endif
}

mgn_status mgn_device_open(const char *spec, mgn_device **device) {
    const char *source = spec ? "--device" : "MGN_DEVICE";
    if (!spec) spec = mgn_environment("MGN_DEVICE");
    if (!spec) spec = "auto";
    if (!spec_is_known(spec))
        return mgn_fail(MGN_ERR_ARGUMENT, "%s: auto, cpu, opencl or opencl:PLATFORM:DEVICE was expected, '%s' found",
                        source, spec);
    mgn_device_info infos[MOST_DEVICES];
    size_t count = 0;
    if (strcmp(spec, "cpu") == 0 || (strcmp(spec, "auto") == 0 && !has_accelerator()))
        MGN_TRY(mgn_cpu_backend.list(infos, MOST_DEVICES, &count)); /* wakes no driver */
    else
        MGN_TRY(mgn_device_list(infos, MOST_DEVICES, &count));
    const mgn_device_info *best = NULL;
    for (size_t i = 0; i < MGN_MIN(count, MOST_DEVICES); i++)
        if (wanted(spec, &infos[i]) > (best ? wanted(spec, best) : 0)) best = &infos[i];
    if (!best)
        return mgn_fail(MGN_ERR_ARGUMENT, "there is no device '%s' here; `mgn devices` lists the %zu there %s", spec,
                        count, count == 1 ? "is" : "are");
    for (size_t i = 0; i < MGN_COUNT(backends); i++)
        if (strncmp(best->spec, backends[i]->label, strlen(backends[i]->label)) == 0)
            return backends[i]->open(best, device);
    return mgn_fail(MGN_ERR_DEVICE, "no backend serves '%s'", best->spec);
}

void mgn_device_close(mgn_device *device) {
    if (device) device->backend->close(device);
}

const mgn_device_info *mgn_device_get_info(const mgn_device *device) { return &device->info; }

mgn_status mgn_device_finish(mgn_device *device) { return device->backend->finish(device); }

bool mgn_device_was_short(mgn_device *device) {
    const bool was_short = device->is_short;
    device->is_short = false;
    return was_short;
}

/* ---- tensors ---- */

mgn_status mgn_tensor_create(mgn_device *device, mgn_dtype dtype, mgn_shape shape, mgn_tensor **tensor) {
    int64_t count = 1;
    for (int i = 0; i < shape.rank; i++)
        if (shape.dim[i] < 0 || __builtin_mul_overflow(count, shape.dim[i], &count) || count > INT64_MAX / 8)
            return mgn_fail(MGN_ERR_ARGUMENT, "a tensor of rank %d and size %lld along axis %d cannot be made",
                            shape.rank, (long long)shape.dim[i], i);
    if (dtype == MGN_F64 && !device->info.has_f64)
        return mgn_fail(MGN_ERR_UNSUPPORTED, "%s (%s) has no float64", device->info.spec, device->info.name);
    mgn_tensor *t = mgn_alloc(1, sizeof *t);
    if (!t) return MGN_ERR_MEMORY;
    *t = (mgn_tensor){.device = device, .dtype = dtype, .shape = shape};
    size_t bytes = MGN_MAX((size_t)count, 1) * mgn_dtype_size(dtype);
    mgn_status status = device->backend->memory_create(device, bytes, &t->memory);
    if (status != MGN_OK) {
        mgn_free(t);
        return status;
    }
    *tensor = t;
    return MGN_OK;
}

mgn_status mgn_tensor_window(mgn_device *device, mgn_dtype dtype, mgn_shape shape, mgn_memory *memory, int64_t offset,
                             mgn_tensor **tensor) {
    mgn_tensor *t = mgn_alloc(1, sizeof *t);
    if (!t) return MGN_ERR_MEMORY;
    *t = (mgn_tensor){device, memory, offset, true, dtype, shape};
    *tensor = t;
    return MGN_OK;
}

void mgn_tensor_destroy(mgn_tensor *tensor) {
    if (!tensor) return;
    if (!tensor->is_window) tensor->device->backend->memory_destroy(tensor->device, tensor->memory);
    mgn_free(tensor);
}

mgn_shape mgn_tensor_shape(const mgn_tensor *tensor) { return tensor->shape; }

mgn_dtype mgn_tensor_dtype(const mgn_tensor *tensor) { return tensor->dtype; }

mgn_operand mgn_operand_of(const mgn_tensor *tensor) {
    mgn_operand operand = {
        .memory = tensor->memory, .offset = tensor->offset, .dtype = tensor->dtype, .shape = tensor->shape};
    int64_t stride = 1;
    for (int i = tensor->shape.rank - 1; i >= 0; i--) {
        operand.stride[i] = stride;
        stride *= tensor->shape.dim[i];
    }
    return operand;
}

static void convert(void *target, mgn_dtype to, const void *source, mgn_dtype from, size_t count) {
    if (to == from)
        memcpy(target, source, count * mgn_dtype_size(to));
    else if (to == MGN_F32)
        for (size_t i = 0; i < count; i++) ((float *)target)[i] = (float)((const double *)source)[i];
    else
        for (size_t i = 0; i < count; i++) ((double *)target)[i] = ((const float *)source)[i];
}

static mgn_status check_conversion(const mgn_tensor *tensor, mgn_dtype host) {
    bool index = tensor->dtype == MGN_U32;
    if (index == (host == MGN_U32)) return MGN_OK;
    return mgn_fail(MGN_ERR_ARGUMENT, "a %s tensor cannot be exchanged with %s values", mgn_dtype_name(tensor->dtype),
                    mgn_dtype_name(host));
}

mgn_status mgn_tensor_write(mgn_tensor *tensor, mgn_dtype source_dtype, const void *source) {
    MGN_TRY(check_conversion(tensor, source_dtype));
    const mgn_backend *backend = tensor->device->backend;
    size_t count = (size_t)mgn_shape_count(tensor->shape), bytes = count * mgn_dtype_size(tensor->dtype);
    const size_t at = (size_t)tensor->offset * mgn_dtype_size(tensor->dtype);
    if (!count) return MGN_OK;
    if (tensor->dtype == source_dtype) return backend->memory_write(tensor->device, tensor->memory, at, source, bytes);
    void *converted = mgn_alloc(count, mgn_dtype_size(tensor->dtype));
    if (!converted) return MGN_ERR_MEMORY;
    convert(converted, tensor->dtype, source, source_dtype, count);
    mgn_status status = backend->memory_write(tensor->device, tensor->memory, at, converted, bytes);
    mgn_free(converted);
    return status;
}

mgn_status mgn_tensor_read(const mgn_tensor *tensor, mgn_dtype target_dtype, void *target) {
    MGN_TRY(check_conversion(tensor, target_dtype));
    const mgn_backend *backend = tensor->device->backend;
    size_t count = (size_t)mgn_shape_count(tensor->shape), bytes = count * mgn_dtype_size(tensor->dtype);
    const size_t at = (size_t)tensor->offset * mgn_dtype_size(tensor->dtype);
    if (!count) return MGN_OK;
    if (tensor->dtype == target_dtype) return backend->memory_read(tensor->device, tensor->memory, at, target, bytes);
    void *own = mgn_alloc(count, mgn_dtype_size(tensor->dtype));
    if (!own) return MGN_ERR_MEMORY;
    mgn_status status = backend->memory_read(tensor->device, tensor->memory, at, own, bytes);
    if (status == MGN_OK) convert(target, target_dtype, own, tensor->dtype, count);
    mgn_free(own);
    return status;
}
