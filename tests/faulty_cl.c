/* See faulty_cl.h. */
#define _GNU_SOURCE
#define CL_TARGET_OPENCL_VERSION 120
#include "faulty_cl.h"

#include <CL/cl.h>
#include <CL/cl_ext.h>
#include <CL/cl_icd.h>

#include <dirent.h>
#include <dlfcn.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* ---- state ---- */

static atomic_bool is_armed;
static atomic_uint_fast64_t calls, strikes;
static atomic_int_fast64_t live, bytes_now;
static uint64_t fails_at;
static bool fails_all;
static int fail_code;
static char fails_in[64]; /* the function whose calls count; "": all */
static const char *build_log;
static _Atomic(cl_program) unbuilt; /* what was made to fail to build last */
static const char *struck_in = "";
static faulty_cl_device pretended;
static char dump_folder[512], replace_folder[512], pretended_version[128];
static cl_icd_dispatch *table; /* the driver's own, changed */
static cl_icd_dispatch driver; /* what was in it */
static cl_platform_id platform;

void faulty_cl_arm(uint64_t n, bool all, int code) {
    atomic_store(&calls, 0);
    atomic_store(&strikes, 0);
    fails_at = n;
    fails_all = all;
    fail_code = code;
    struck_in = "";
    atomic_store(&is_armed, true);
}

uint64_t faulty_cl_disarm(void) {
    atomic_store(&is_armed, false);
    return atomic_load(&calls);
}

bool faulty_cl_has_struck(void) { return atomic_load(&strikes) > 0; }

const char *faulty_cl_struck_in(void) { return struck_in; }

int64_t faulty_cl_live(void) { return atomic_load(&live); }

uint64_t faulty_cl_bytes(void) { return (uint64_t)atomic_load(&bytes_now); }

void faulty_cl_pretend(const faulty_cl_device *device) { pretended = *device; }

/* The code of a call that is to fail; CL_SUCCESS where it is not. */
static cl_int strike(const char *function, cl_int usual) {
    if (!atomic_load(&is_armed) || (*fails_in && strcmp(function, fails_in) != 0)) return CL_SUCCESS;
    const uint64_t number = atomic_fetch_add(&calls, 1) + 1;
    if (fails_at == 0 || number < fails_at || (number > fails_at && !fails_all)) return CL_SUCCESS;
    if (atomic_fetch_add(&strikes, 1) == 0) struck_in = function;
    return fail_code ? fail_code : usual;
}

/* ---- calls that return a code ---- */

#define PASSES(function, usual, parameters, arguments)   \
    static cl_int CL_API_CALL my_##function parameters { \
        const cl_int code = strike(#function, usual);    \
        return code ? code : driver.function arguments;  \
    }

PASSES(clGetDeviceIDs, CL_INVALID_PLATFORM,
       (cl_platform_id p, cl_device_type type, cl_uint most, cl_device_id *devices, cl_uint *count),
       (p, type, most, devices, count))
PASSES(clGetProgramInfo, CL_OUT_OF_HOST_MEMORY,
       (cl_program program, cl_program_info what, size_t size, void *value, size_t *full),
       (program, what, size, value, full))
PASSES(clGetKernelWorkGroupInfo, CL_OUT_OF_HOST_MEMORY,
       (cl_kernel kernel, cl_device_id device, cl_kernel_work_group_info what, size_t size, void *value, size_t *full),
       (kernel, device, what, size, value, full))
PASSES(clSetKernelArg, CL_OUT_OF_RESOURCES, (cl_kernel kernel, cl_uint index, size_t size, const void *value),
       (kernel, index, size, value))
PASSES(clFlush, CL_OUT_OF_RESOURCES, (cl_command_queue queue), (queue))
PASSES(clFinish, CL_OUT_OF_RESOURCES, (cl_command_queue queue), (queue))
PASSES(clWaitForEvents, CL_OUT_OF_RESOURCES, (cl_uint count, const cl_event *events), (count, events))

/* ---- compilers ---- */

static cl_int answer(const void *value, size_t length, size_t size, void *to, size_t *full) {
    if (full) *full = length;
    if (to && size < length) return CL_INVALID_VALUE;
    if (to) memcpy(to, value, length);
    return CL_SUCCESS;
}

static cl_int CL_API_CALL my_clBuildProgram(cl_program program, cl_uint count, const cl_device_id *devices,
                                            const char *options, void(CL_CALLBACK *done)(cl_program, void *),
                                            void *context) {
    const cl_int code = strike("clBuildProgram", CL_BUILD_PROGRAM_FAILURE);
    if (code) atomic_store(&unbuilt, program);
    return code ? code : driver.clBuildProgram(program, count, devices, options, done, context);
}

static cl_int CL_API_CALL my_clGetProgramBuildInfo(cl_program program, cl_device_id device, cl_program_build_info what,
                                                   size_t size, void *value, size_t *full) {
    const cl_int code = strike("clGetProgramBuildInfo", CL_OUT_OF_HOST_MEMORY);
    if (code) return code;
    if (what == CL_PROGRAM_BUILD_LOG && build_log && program == atomic_load(&unbuilt))
        return answer(build_log, strlen(build_log) + 1, size, value, full);
    return driver.clGetProgramBuildInfo(program, device, what, size, value, full);
}

/* ---- calls that make something ---- */

static cl_int made(cl_int code, const void *event) {
    if (code == CL_SUCCESS && event) atomic_fetch_add(&live, 1);
    return code;
}

#define ENQUEUES(function, parameters, arguments)                    \
    static cl_int CL_API_CALL my_##function parameters {             \
        const cl_int code = strike(#function, CL_OUT_OF_RESOURCES);  \
        return code ? code : made(driver.function arguments, event); \
    }

ENQUEUES(clEnqueueReadBuffer,
         (cl_command_queue queue, cl_mem buffer, cl_bool waits, size_t at, size_t size, void *to, cl_uint count,
          const cl_event *list, cl_event *event),
         (queue, buffer, waits, at, size, to, count, list, event))
ENQUEUES(clEnqueueWriteBuffer,
         (cl_command_queue queue, cl_mem buffer, cl_bool waits, size_t at, size_t size, const void *from, cl_uint count,
          const cl_event *list, cl_event *event),
         (queue, buffer, waits, at, size, from, count, list, event))
ENQUEUES(clEnqueueCopyBuffer,
         (cl_command_queue queue, cl_mem from, cl_mem to, size_t from_at, size_t to_at, size_t size, cl_uint count,
          const cl_event *list, cl_event *event),
         (queue, from, to, from_at, to_at, size, count, list, event))
ENQUEUES(clEnqueueFillBuffer,
         (cl_command_queue queue, cl_mem buffer, const void *pattern, size_t pattern_size, size_t at, size_t size,
          cl_uint count, const cl_event *list, cl_event *event),
         (queue, buffer, pattern, pattern_size, at, size, count, list, event))

static cl_int CL_API_CALL my_clEnqueueNDRangeKernel(cl_command_queue queue, cl_kernel kernel, cl_uint rank,
                                                    const size_t *offset, const size_t *global, const size_t *local,
                                                    cl_uint count, const cl_event *list, cl_event *event) {
    cl_int code = strike("clEnqueueNDRangeKernel", CL_OUT_OF_RESOURCES);
    size_t group = 1;
    for (cl_uint i = 0; local && i < rank; i++) group *= local[i];
    if (!code && pretended.group && group > pretended.group) code = CL_INVALID_WORK_GROUP_SIZE;
    if (code) return code;
    return made(driver.clEnqueueNDRangeKernel(queue, kernel, rank, offset, global, local, count, list, event), event);
}

/* Adds a kernel's name to those that are in the dump; returns the program. */
static cl_program note_kernel(cl_program program, const char *name) {
    char path[600];
    snprintf(path, sizeof path, "%s/kernels", dump_folder);
    FILE *file = *dump_folder ? fopen(path, "a") : NULL;
    if (!file) return program;
    fprintf(file, "%s\n", name);
    fclose(file);
    return program;
}

#define MAKES(type, function, usual, parameters, arguments) \
    static type CL_API_CALL my_##function parameters {      \
        const cl_int code = strike(#function, usual);       \
        if (code) {                                         \
            if (error) *error = code;                       \
            return NULL;                                    \
        }                                                   \
        type object = driver.function arguments;            \
        if (object) atomic_fetch_add(&live, 1);             \
        return object;                                      \
    }

MAKES(cl_context, clCreateContext, CL_OUT_OF_HOST_MEMORY,
      (const cl_context_properties *properties, cl_uint count, const cl_device_id *devices,
       void(CL_CALLBACK *notify)(const char *, const void *, size_t, void *), void *context, cl_int *error),
      (properties, count, devices, notify, context, error))
MAKES(cl_command_queue, clCreateCommandQueue, CL_OUT_OF_RESOURCES,
      (cl_context context, cl_device_id device, cl_command_queue_properties properties, cl_int *error),
      (context, device, properties, error))
MAKES(cl_program, clCreateProgramWithBinary, CL_INVALID_BINARY,
      (cl_context context, cl_uint count, const cl_device_id *devices, const size_t *sizes,
       const unsigned char **binaries, cl_int *status, cl_int *error),
      (context, count, devices, sizes, binaries, status, error))
MAKES(cl_kernel, clCreateKernel, CL_OUT_OF_HOST_MEMORY, (cl_program program, const char *name, cl_int *error),
      (note_kernel(program, name), name, error))

static cl_mem CL_API_CALL my_clCreateBuffer(cl_context context, cl_mem_flags flags, size_t size, void *host,
                                            cl_int *error) {
    cl_int code = strike("clCreateBuffer", CL_MEM_OBJECT_ALLOCATION_FAILURE);
    if (!code && pretended.memory) {
        if (size > pretended.memory / 4)
            code = CL_INVALID_BUFFER_SIZE;
        else if ((uint64_t)atomic_load(&bytes_now) + size > pretended.memory)
            code = CL_MEM_OBJECT_ALLOCATION_FAILURE;
    }
    cl_mem buffer = code ? NULL : driver.clCreateBuffer(context, flags, size, host, error);
    if (code && error) *error = code;
    if (buffer) {
        atomic_fetch_add(&live, 1);
        atomic_fetch_add(&bytes_now, (int64_t)size);
    }
    return buffer;
}

/* ---- sources ---- */

static char *whole_source(cl_uint count, const char **texts, const size_t *sizes) {
    size_t total = 0;
    for (cl_uint i = 0; i < count; i++) total += sizes && sizes[i] ? sizes[i] : strlen(texts[i]);
    char *whole = malloc(total + 1), *at = whole;
    if (!whole) abort();
    for (cl_uint i = 0; i < count; i++) {
        const size_t size = sizes && sizes[i] ? sizes[i] : strlen(texts[i]);
        memcpy(at, texts[i], size);
        at += size;
    }
    *at = 0;
    return whole;
}

/* The file of a source in a folder: its name is the source's FNV-1a hash. */
static void path_of(const char *source, const char *folder, char path[600]) {
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    for (const char *c = source; *c; c++) hash = (hash ^ (unsigned char)*c) * UINT64_C(0x100000001b3);
    snprintf(path, 600, "%s/%016" PRIx64 ".cl", folder, hash);
}

static void dump(const char *source) {
    char path[600];
    path_of(source, dump_folder, path);
    FILE *file = fopen(path, "w");
    if (!file) return;
    fputs(source, file);
    fclose(file);
}

/* What stands in the source's place; takes it. */
static char *replaced(char *source) {
    char path[600];
    path_of(source, replace_folder, path);
    FILE *file = fopen(path, "r");
    if (!file) return source;
    char *result = NULL;
    size_t size = 0;
    if (getdelim(&result, &size, 0, file) < 0) abort();
    fclose(file);
    free(source);
    return result;
}

static cl_program CL_API_CALL my_clCreateProgramWithSource(cl_context context, cl_uint count, const char **texts,
                                                           const size_t *sizes, cl_int *error) {
    const cl_int code = strike("clCreateProgramWithSource", CL_OUT_OF_HOST_MEMORY);
    if (code) {
        if (error) *error = code;
        return NULL;
    }
    char *source = whole_source(count, texts, sizes);
    if (*dump_folder) dump(source);
    if (*replace_folder) source = replaced(source);
    const char *text = source;
    cl_program program = driver.clCreateProgramWithSource(context, 1, &text, NULL, error);
    free(source);
    if (program) atomic_fetch_add(&live, 1);
    return program;
}

/* ---- releasing ---- */

#define RELEASES(function, type)                            \
    static cl_int CL_API_CALL my_##function(type object) {  \
        const cl_int code = driver.function(object);        \
        if (code == CL_SUCCESS) atomic_fetch_sub(&live, 1); \
        return code;                                        \
    }

RELEASES(clReleaseContext, cl_context)
RELEASES(clReleaseCommandQueue, cl_command_queue)
RELEASES(clReleaseProgram, cl_program)
RELEASES(clReleaseKernel, cl_kernel)
RELEASES(clReleaseEvent, cl_event)

static cl_int CL_API_CALL my_clReleaseMemObject(cl_mem buffer) {
    size_t size = 0;
    driver.clGetMemObjectInfo(buffer, CL_MEM_SIZE, sizeof size, &size, NULL);
    const cl_int code = driver.clReleaseMemObject(buffer);
    if (code == CL_SUCCESS) {
        atomic_fetch_sub(&live, 1);
        atomic_fetch_sub(&bytes_now, (int64_t)size);
    }
    return code;
}

/* ---- what the device claims to be ---- */

static cl_int CL_API_CALL my_clGetDeviceInfo(cl_device_id device, cl_device_info what, size_t size, void *value,
                                             size_t *full) {
    const cl_int code = strike("clGetDeviceInfo", CL_OUT_OF_HOST_MEMORY);
    if (code) return code;
    const cl_ulong memory = pretended.memory, most = pretended.memory / 4;
    const cl_device_fp_config none = 0;
    if (what == CL_DEVICE_GLOBAL_MEM_SIZE && memory) return answer(&memory, sizeof memory, size, value, full);
    if (what == CL_DEVICE_MAX_MEM_ALLOC_SIZE && memory) return answer(&most, sizeof most, size, value, full);
    if (what == CL_DEVICE_MAX_WORK_GROUP_SIZE && pretended.group)
        return answer(&pretended.group, sizeof pretended.group, size, value, full);
    if (what == CL_DEVICE_NATIVE_VECTOR_WIDTH_FLOAT && pretended.width)
        return answer(&pretended.width, sizeof pretended.width, size, value, full);
    if (what == CL_DEVICE_DOUBLE_FP_CONFIG && pretended.no_fp64) return answer(&none, sizeof none, size, value, full);
    if (what == CL_DEVICE_VERSION && pretended.version)
        return answer(pretended.version, strlen(pretended.version) + 1, size, value, full);
    return driver.clGetDeviceInfo(device, what, size, value, full);
}

static cl_int CL_API_CALL my_clGetPlatformInfo(cl_platform_id p, cl_platform_info what, size_t size, void *value,
                                               size_t *full) {
    const cl_int code = strike("clGetPlatformInfo", CL_OUT_OF_HOST_MEMORY);
    if (code) return code;
    if (what == CL_PLATFORM_VERSION && pretended.version)
        return answer(pretended.version, strlen(pretended.version) + 1, size, value, full);
    return driver.clGetPlatformInfo(p, what, size, value, full);
}

/* ---- being a driver ---- */

typedef void *address_function(const char *name);
typedef cl_int(CL_API_CALL *platforms_function)(cl_uint most, cl_platform_id *platforms, cl_uint *count);

static platforms_function platforms_of(const char *path) {
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    address_function *find = NULL;
    if (library) *(void **)&find = dlsym(library, "clGetExtensionFunctionAddress");
    platforms_function list = NULL;
    if (find) *(void **)&list = find("clIcdGetPlatformIDsKHR");
    if (library && !list) *(void **)&list = dlsym(library, "clIcdGetPlatformIDsKHR");
    return list;
}

/* The first driver of the system that has a platform. */
static void find_driver(void) {
    static const char folder[] = "/etc/OpenCL/vendors";
    const char *asked = getenv("FAULTY_CL_DRIVER");
    cl_uint count = 0;
    platforms_function list = asked ? platforms_of(asked) : NULL;
    if (list && list(1, &platform, &count) == CL_SUCCESS && count > 0) return;
    DIR *listing = opendir(folder);
    for (struct dirent *entry; !platform && listing && (entry = readdir(listing));) {
        char path[600], line[512] = "";
        if (!strstr(entry->d_name, ".icd")) continue;
        snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        FILE *file = fopen(path, "r");
        if (!file) continue;
        if (fgets(line, sizeof line, file)) line[strcspn(line, "\n")] = 0;
        fclose(file);
        list = platforms_of(line);
        if (list && (list(1, &platform, &count) != CL_SUCCESS || count == 0)) platform = NULL;
    }
    if (listing) closedir(listing);
}

static void take_over(void) {
    table = *(cl_icd_dispatch **)(void *)platform;
    driver = *table;
    const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), begin = (uintptr_t)table / page * page;
    if (mprotect((void *)begin, (uintptr_t)(table + 1) - begin, PROT_READ | PROT_WRITE) != 0) return;
#define TAKE(function) table->function = my_##function
    TAKE(clGetPlatformInfo);
    TAKE(clGetDeviceIDs);
    TAKE(clGetDeviceInfo);
    TAKE(clGetProgramInfo);
    TAKE(clGetProgramBuildInfo);
    TAKE(clGetKernelWorkGroupInfo);
    TAKE(clBuildProgram);
    TAKE(clSetKernelArg);
    TAKE(clFlush);
    TAKE(clFinish);
    TAKE(clWaitForEvents);
    TAKE(clEnqueueReadBuffer);
    TAKE(clEnqueueWriteBuffer);
    TAKE(clEnqueueCopyBuffer);
    TAKE(clEnqueueFillBuffer);
    TAKE(clEnqueueNDRangeKernel);
    TAKE(clCreateContext);
    TAKE(clCreateCommandQueue);
    TAKE(clCreateProgramWithSource);
    TAKE(clCreateProgramWithBinary);
    TAKE(clCreateKernel);
    TAKE(clCreateBuffer);
    TAKE(clReleaseContext);
    TAKE(clReleaseCommandQueue);
    TAKE(clReleaseProgram);
    TAKE(clReleaseKernel);
    TAKE(clReleaseEvent);
    TAKE(clReleaseMemObject);
}

static void read_environment(void) {
    const char *fail = getenv("FAULTY_CL_FAIL"), *memory = getenv("FAULTY_CL_MEMORY"),
               *group = getenv("FAULTY_CL_GROUP"), *width = getenv("FAULTY_CL_WIDTH");
    build_log = getenv("FAULTY_CL_LOG");
    const char *fp64 = getenv("FAULTY_CL_FP64"), *version = getenv("FAULTY_CL_VERSION");
    snprintf(dump_folder, sizeof dump_folder, "%s", getenv("FAULTY_CL_DUMP") ? getenv("FAULTY_CL_DUMP") : "");
    snprintf(replace_folder, sizeof replace_folder, "%s",
             getenv("FAULTY_CL_REPLACE") ? getenv("FAULTY_CL_REPLACE") : "");
    snprintf(pretended_version, sizeof pretended_version, "%s", version ? version : "");
    pretended = (faulty_cl_device){memory ? strtoull(memory, NULL, 10) : 0, group ? strtoull(group, NULL, 10) : 0,
                                   width ? (unsigned)atoi(width) : 0, fp64 && strcmp(fp64, "off") == 0,
                                   version ? pretended_version : NULL};
    if (!fail) return;
    const char *code = strchr(fail, ':'), *function = strchr(fail, '@');
    if (function) snprintf(fails_in, sizeof fails_in, "%s", function + 1);
    faulty_cl_arm(strtoull(fail, NULL, 10), strchr(fail, '+') != NULL, code ? atoi(code + 1) : 0);
}

static void begin(void) {
    find_driver();
    if (platform) take_over();
    read_environment();
}

static cl_int CL_API_CALL list_platforms(cl_uint most, cl_platform_id *platforms, cl_uint *count) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, begin);
    if (!platform) return CL_PLATFORM_NOT_FOUND_KHR;
    if (count) *count = 1;
    if (platforms && most > 0) platforms[0] = platform;
    return CL_SUCCESS;
}

FAULTY_CL_API CL_API_ENTRY void *CL_API_CALL clGetExtensionFunctionAddress(const char *name);
void *clGetExtensionFunctionAddress(const char *name) {
    void *address = NULL;
    if (strcmp(name, "clIcdGetPlatformIDsKHR") == 0) *(platforms_function *)&address = list_platforms;
    if (strcmp(name, "clGetPlatformInfo") == 0) *(cl_api_clGetPlatformInfo *)&address = my_clGetPlatformInfo;
    return address;
}
