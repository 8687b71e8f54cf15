/* OpenCL error codes as names and sentences. */
#include "backend/opencl/opencl.h"

#include <stdio.h>

#define CODE(code) \
    { code, #code }

static const struct {
    cl_int code;
    const char *label;
} codes[] = {
    CODE(CL_DEVICE_NOT_FOUND),
    CODE(CL_DEVICE_NOT_AVAILABLE),
    CODE(CL_COMPILER_NOT_AVAILABLE),
    CODE(CL_MEM_OBJECT_ALLOCATION_FAILURE),
    CODE(CL_OUT_OF_RESOURCES),
    CODE(CL_OUT_OF_HOST_MEMORY),
    CODE(CL_PROFILING_INFO_NOT_AVAILABLE),
    CODE(CL_MEM_COPY_OVERLAP),
    CODE(CL_BUILD_PROGRAM_FAILURE),
    CODE(CL_MAP_FAILURE),
    CODE(CL_MISALIGNED_SUB_BUFFER_OFFSET),
    CODE(CL_EXEC_STATUS_ERROR_FOR_EVENTS_IN_WAIT_LIST),
    CODE(CL_COMPILE_PROGRAM_FAILURE),
    CODE(CL_LINKER_NOT_AVAILABLE),
    CODE(CL_LINK_PROGRAM_FAILURE),
    CODE(CL_INVALID_VALUE),
    CODE(CL_INVALID_DEVICE_TYPE),
    CODE(CL_INVALID_PLATFORM),
    CODE(CL_INVALID_DEVICE),
    CODE(CL_INVALID_CONTEXT),
    CODE(CL_INVALID_QUEUE_PROPERTIES),
    CODE(CL_INVALID_COMMAND_QUEUE),
    CODE(CL_INVALID_MEM_OBJECT),
    CODE(CL_INVALID_BINARY),
    CODE(CL_INVALID_BUILD_OPTIONS),
    CODE(CL_INVALID_PROGRAM),
    CODE(CL_INVALID_PROGRAM_EXECUTABLE),
    CODE(CL_INVALID_KERNEL_NAME),
    CODE(CL_INVALID_KERNEL_DEFINITION),
    CODE(CL_INVALID_KERNEL),
    CODE(CL_INVALID_ARG_INDEX),
    CODE(CL_INVALID_ARG_VALUE),
    CODE(CL_INVALID_ARG_SIZE),
    CODE(CL_INVALID_KERNEL_ARGS),
    CODE(CL_INVALID_WORK_DIMENSION),
    CODE(CL_INVALID_WORK_GROUP_SIZE),
    CODE(CL_INVALID_WORK_ITEM_SIZE),
    CODE(CL_INVALID_GLOBAL_OFFSET),
    CODE(CL_INVALID_EVENT_WAIT_LIST),
    CODE(CL_INVALID_EVENT),
    CODE(CL_INVALID_OPERATION),
    CODE(CL_INVALID_BUFFER_SIZE),
    CODE(CL_INVALID_GLOBAL_WORK_SIZE),
    CODE(CL_INVALID_PROPERTY),
    CODE(CL_INVALID_COMPILER_OPTIONS),
    CODE(CL_INVALID_LINKER_OPTIONS),
    {-1001, "CL_PLATFORM_NOT_FOUND_KHR"},
};

const char *mgn_cl_error_name(cl_int code) {
    for (size_t i = 0; i < MGN_COUNT(codes); i++)
        if (codes[i].code == code) return codes[i].label;
    return "an error code that OpenCL 1.2 does not define";
}

mgn_status mgn_cl_check(mgn_cl_device *device, cl_int code, const char *what, ...) {
    if (code == CL_SUCCESS) return MGN_OK;
    char text[256];
    va_list arguments;
    va_start(arguments, what);
    vsnprintf(text, sizeof text, what, arguments);
    va_end(arguments);
    /* Compilers in drivers catch the signal too, take their files away and fail. */
    if (mgn_interrupted()) return mgn_fail(MGN_ERR_INTERRUPTED, "stopped on request: %s", text);
    const bool is_memory =
        code == CL_MEM_OBJECT_ALLOCATION_FAILURE || code == CL_OUT_OF_HOST_MEMORY || code == CL_INVALID_BUFFER_SIZE;
    const mgn_device_info *info = &device->base.info;
    if (is_memory || code == CL_OUT_OF_RESOURCES) device->base.is_short = true;
    if (!is_memory)
        return mgn_fail(MGN_ERR_DEVICE, "%s: %s (%d) on %s (%s)", text, mgn_cl_error_name(code), (int)code, info->spec,
                        info->name);
    return mgn_fail(MGN_ERR_MEMORY, "%s: %s (%d) on %s (%s), which has %llu bytes, %llu of them in use here", text,
                    mgn_cl_error_name(code), (int)code, info->spec, info->name, (unsigned long long)info->memory_bytes,
                    (unsigned long long)device->bytes_used);
}
