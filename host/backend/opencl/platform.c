/* Which OpenCL devices there are, opening and closing one; the backend's table.
 *
 * Everything goes through the ICD loader, so that a machine without a driver is a machine without devices, and no
 * failure. A platform that fails to answer is passed over with a note: one broken driver must not hide the others. */
#include "backend/opencl/opencl.h"

#include <stdio.h>
#include <string.h>

enum { MAX_PLATFORMS = 32, MAX_DEVICES = 64 };

static const cl_int platform_not_found = -1001; /* CL_PLATFORM_NOT_FOUND_KHR, from the loader */

/* The platforms of this machine; none when there is no driver. */
static cl_uint get_platforms(cl_platform_id platforms[MAX_PLATFORMS]) {
    cl_uint count = 0;
    const cl_int code = clGetPlatformIDs(MAX_PLATFORMS, platforms, &count);
    if (code != CL_SUCCESS) {
        if (code != platform_not_found)
            mgn_note("OpenCL platforms cannot be listed: %s (%d)", mgn_cl_error_name(code), (int)code);
        return 0;
    }
    return MGN_MIN(count, MAX_PLATFORMS);
}

static cl_int get_devices(cl_platform_id platform, cl_device_id devices[MAX_DEVICES], cl_uint *count) {
    *count = 0;
    const cl_int code = clGetDeviceIDs(platform, CL_DEVICE_TYPE_ALL, MAX_DEVICES, devices, count);
    *count = code == CL_SUCCESS ? MGN_MIN(*count, MAX_DEVICES) : 0;
    return code == CL_DEVICE_NOT_FOUND ? CL_SUCCESS : code;
}

/* A text property, cut to the size of `text`. */
static void device_text(cl_device_id device, cl_device_info what, char *text, size_t size) {
    char whole[1024] = "";
    if (clGetDeviceInfo(device, what, sizeof whole - 1, whole, NULL) != CL_SUCCESS) whole[0] = 0;
    snprintf(text, size, "%s", whole);
}

static void platform_text(cl_platform_id platform, cl_platform_info what, char *text, size_t size) {
    char whole[1024] = "";
    if (clGetPlatformInfo(platform, what, sizeof whole - 1, whole, NULL) != CL_SUCCESS) whole[0] = 0;
    snprintf(text, size, "%s", whole);
}

/* Kernels and the order of sums follow from what a device says: one that does not answer is not to be guessed about. */
static cl_int describe(mgn_device_info *info, cl_platform_id platform, cl_device_id device, cl_uint p, cl_uint d) {
    char api[80], driver[32];
    cl_ulong memory = 0;
    cl_uint units = 0;
    cl_device_type type = 0;
    cl_device_fp_config doubles = 0;
    *info = (mgn_device_info){0};
    snprintf(info->spec, sizeof info->spec, "opencl:%u:%u", p, d);
    device_text(device, CL_DEVICE_NAME, info->name, sizeof info->name);
    platform_text(platform, CL_PLATFORM_NAME, info->platform, sizeof info->platform);
    device_text(device, CL_DEVICE_VERSION, api, sizeof api);
    device_text(device, CL_DRIVER_VERSION, driver, sizeof driver);
    snprintf(info->version, sizeof info->version, "%s, driver %s", api, driver);
    cl_int code = clGetDeviceInfo(device, CL_DEVICE_GLOBAL_MEM_SIZE, sizeof memory, &memory, NULL);
    if (!code) code = clGetDeviceInfo(device, CL_DEVICE_MAX_COMPUTE_UNITS, sizeof units, &units, NULL);
    if (!code) code = clGetDeviceInfo(device, CL_DEVICE_TYPE, sizeof type, &type, NULL);
    /* Not every driver of version 1.1 knows the question. */
    if (!code) code = clGetDeviceInfo(device, CL_DEVICE_DOUBLE_FP_CONFIG, sizeof doubles, &doubles, NULL);
    if (code == CL_INVALID_VALUE) code = CL_SUCCESS;
    info->memory_bytes = memory;
    info->compute_units = (int)units;
    /* On the host's cores. A simulator that claims to be everything at once is treated as the GPU it imitates. */
    info->is_cpu = (type & CL_DEVICE_TYPE_CPU) && !(type & CL_DEVICE_TYPE_GPU);
    info->has_f64 = doubles != 0;
    return code;
}

static mgn_status list(mgn_device_info *infos, size_t capacity, size_t *count) {
    cl_platform_id platforms[MAX_PLATFORMS];
    const cl_uint platform_count = get_platforms(platforms);
    for (cl_uint p = 0; p < platform_count; p++) {
        cl_device_id devices[MAX_DEVICES];
        cl_uint device_count;
        const cl_int code = get_devices(platforms[p], devices, &device_count);
        if (code != CL_SUCCESS) {
            char label[128];
            platform_text(platforms[p], CL_PLATFORM_NAME, label, sizeof label);
            mgn_note("the OpenCL platform %u (%s) is passed over: %s (%d)", p, label, mgn_cl_error_name(code),
                     (int)code);
        }
        for (cl_uint d = 0; d < device_count; d++) {
            mgn_device_info info;
            const cl_int answer = describe(&info, platforms[p], devices[d], p, d);
            if (answer != CL_SUCCESS) {
                mgn_note("the OpenCL device %s (%s) is passed over, for it does not say what it is: %s (%d)", info.spec,
                         info.name, mgn_cl_error_name(answer), (int)answer);
                continue;
            }
            if (*count < capacity) infos[*count] = info;
            ++*count;
        }
    }
    return MGN_OK;
}

/* The device that a spec names, as it is now: a driver may have come or gone since the list was made. */
static mgn_status find(const char *spec, cl_platform_id *platform, cl_device_id *device) {
    unsigned p, d;
    char end;
    if (sscanf(spec, "opencl:%u:%u%c", &p, &d, &end) != 2)
        return mgn_fail(MGN_ERR_ARGUMENT, "\"%s\" is not an OpenCL device: expected opencl:PLATFORM:DEVICE", spec);
    cl_platform_id platforms[MAX_PLATFORMS];
    cl_device_id devices[MAX_DEVICES];
    const cl_uint platform_count = get_platforms(platforms);
    if (p >= platform_count)
        return mgn_fail(MGN_ERR_ARGUMENT, "there is no OpenCL device %s: this machine has %u OpenCL platforms", spec,
                        platform_count);
    cl_uint device_count;
    const cl_int code = get_devices(platforms[p], devices, &device_count);
    if (code != CL_SUCCESS)
        return mgn_fail(MGN_ERR_DEVICE, "listing the devices of OpenCL platform %u: %s (%d)", p,
                        mgn_cl_error_name(code), (int)code);
    if (d >= device_count)
        return mgn_fail(MGN_ERR_ARGUMENT, "there is no OpenCL device %s: platform %u has %u devices", spec, p,
                        device_count);
    *platform = platforms[p];
    *device = devices[d];
    return MGN_OK;
}

static mgn_status finish(mgn_device *handle) {
    mgn_cl_device *device = mgn_cl_of(handle);
    const cl_int code = clFinish(device->queue);
    if (device->batch_end) clReleaseEvent(device->batch_end);
    device->batch_end = NULL;
    device->batch_used = 0;
    return mgn_cl_check(device, code, "waiting for the device");
}

static void close_device(mgn_device *handle) {
    if (!handle) return;
    mgn_cl_device *device = mgn_cl_of(handle);
    if (device->queue) {
        finish(handle);
        clReleaseCommandQueue(device->queue);
    }
    mgn_cl_units_release(device);
    if (device->context) clReleaseContext(device->context);
    mgn_cl_tuning_forget(device);
    mgn_free(device);
}

/* The shape of the kernels follows the device's type; MGN_CL_SHAPE=cpu|gpu tries the other one. A CPU device whose vectors hold
 * one number has a compiler that makes vectors of work-items, as rusticl's llvmpipe: explicit ones are taken apart there, and
 * what comes of it takes minutes a kernel to compile. */
static mgn_status choose_shape(mgn_cl_device *device) {
    const char *asked = mgn_environment("MGN_CL_SHAPE");
    if (asked && strcmp(asked, "cpu") != 0 && strcmp(asked, "gpu") != 0)
        return mgn_fail(MGN_ERR_ARGUMENT, "MGN_CL_SHAPE is \"%s\": expected cpu or gpu", asked);
    device->vectors = asked ? strcmp(asked, "cpu") == 0 : device->base.info.is_cpu && device->native_width != 1;
    size_t most = 0;
    MGN_TRY(mgn_cl_check(device, clGetDeviceInfo(device->id, CL_DEVICE_MAX_WORK_GROUP_SIZE, sizeof most, &most, NULL),
                         "asking for the largest work-group"));
    /* A device with small work-groups gets the shape that needs none. */
    if (most < MGN_CL_GROUP) device->vectors = true;
    device->group = device->vectors ? 1 : MGN_CL_GROUP;
    return MGN_OK;
}

static mgn_status open_device(const mgn_device_info *info, mgn_device **handle) {
    cl_platform_id platform = NULL;
    cl_device_id id = NULL;
    MGN_TRY(find(info->spec, &platform, &id));
    mgn_cl_device *device = mgn_alloc(1, sizeof *device);
    if (!device) return MGN_ERR_MEMORY;
    device->base.backend = &mgn_opencl_backend;
    device->base.info = *info;
    device->id = id;
    device_text(id, CL_DRIVER_VERSION, device->driver, sizeof device->driver);
    platform_text(platform, CL_PLATFORM_VERSION, device->platform_version, sizeof device->platform_version);
    mgn_status status;
    cl_uint width = 0;
    cl_int code = clGetDeviceInfo(id, CL_DEVICE_SINGLE_FP_CONFIG, sizeof device->fp, &device->fp, NULL);
    if (!code) code = clGetDeviceInfo(id, CL_DEVICE_NATIVE_VECTOR_WIDTH_FLOAT, sizeof width, &width, NULL);
    MGN_TRY_GOTO(mgn_cl_check(device, code, "asking for the properties of single precision"), failed);
    device->native_width = (int)width;

    char version[64];
    unsigned major = 0, minor = 0;
    device_text(id, CL_DEVICE_VERSION, version, sizeof version);
    if (sscanf(version, "OpenCL %u.%u", &major, &minor) != 2 || major < 1 || (major == 1 && minor < 2)) {
        status = mgn_fail(MGN_ERR_UNSUPPORTED, "%s (%s) has %s; OpenCL 1.2 or newer is needed", info->spec, info->name,
                          *version ? version : "no version that it would tell");
        goto failed;
    }
    cl_bool compiler = CL_FALSE;
    clGetDeviceInfo(id, CL_DEVICE_COMPILER_AVAILABLE, sizeof compiler, &compiler, NULL);
    if (!compiler) {
        status = mgn_fail(MGN_ERR_UNSUPPORTED, "%s (%s) has no OpenCL compiler", info->spec, info->name);
        goto failed;
    }
    MGN_TRY_GOTO(choose_shape(device), failed);
    const cl_context_properties properties[] = {CL_CONTEXT_PLATFORM, (cl_context_properties)platform, 0};
    device->context = clCreateContext(properties, 1, &id, NULL, NULL, &code);
    MGN_TRY_GOTO(mgn_cl_check(device, code, "creating an OpenCL context"), failed);
    device->queue = clCreateCommandQueue(device->context, id, 0, &code);
    MGN_TRY_GOTO(mgn_cl_check(device, code, "creating a command queue"), failed);
    *handle = &device->base;
    return MGN_OK;
failed:
    close_device(&device->base);
    return status;
}

const mgn_backend mgn_opencl_backend = {
    .label = "opencl",
    .list = list,
    .open = open_device,
    .close = close_device,
    .finish = finish,
    .memory_create = mgn_cl_memory_create,
    .memory_destroy = mgn_cl_memory_destroy,
    .memory_write = mgn_cl_memory_write,
    .memory_read = mgn_cl_memory_read,
    .program_create = mgn_cl_program_create,
    .program_destroy = mgn_cl_program_destroy,
    .rows_create = mgn_cl_rows_create,
    .wide_create = mgn_cl_wide_create,
    .program_run = mgn_cl_program_run,
};
