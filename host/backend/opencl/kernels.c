/* The only place that builds programs and creates kernels.
 *
 * A program is built when the first plan needs it, per family, dtype and set of defines, and kept by the device. Its
 * text is a prelude (types, the shape of the kernels, the family's defines) in front of the family's source, which
 * cl/embed.py has made self-contained. Arithmetic is IEEE: no relaxed maths, no contraction, and correctly rounded
 * division and square root where the device offers them; wide programs alone have denormals as zeros. MGN_CL_OPTIONS is appended to the compiler's options. */
#include "backend/opencl/opencl.h"

#include <stdio.h>
#include <string.h>

/* From how many seconds in compilers on the user is told what the time is spent on. */
static const double build_patience = 1.0;

static const char *family_text(const char *family) {
    for (size_t i = 0; i < mgn_cl_source_count; i++)
        if (strcmp(mgn_cl_sources[i].family, family) == 0) return mgn_cl_sources[i].text;
    return NULL;
}

static void build_options(const mgn_cl_device *device, const char *family, char *options, size_t size) {
    const char *more = mgn_environment("MGN_CL_OPTIONS");
    const bool rounds = (device->fp & CL_FP_CORRECTLY_ROUNDED_DIVIDE_SQRT) != 0;
    const bool flushes = strcmp(family, "wide") == 0;
    snprintf(options, size, "-cl-std=CL1.2%s%s%s%s", rounds ? " -cl-fp32-correctly-rounded-divide-sqrt" : "",
             flushes ? " -cl-denorms-are-zero" : "", more ? " " : "", more ? more : "");
}

/* The whole text of a unit, allocated. */
static char *unit_source(const mgn_cl_device *device, const char *text, mgn_dtype dtype, const char *defines,
                         const char *tail) {
    static const char *const types[] = {[MGN_F32] = "float", [MGN_F64] = "double", [MGN_U32] = "uint"};
    static const char *const kinds[] = {
        [MGN_F32] = "", [MGN_F64] = "#define MGN_REAL_IS_DOUBLE\n", [MGN_U32] = "#define MGN_REAL_IS_UINT\n"};
    static const char format[] = "%s#pragma OPENCL FP_CONTRACT OFF\n"
                                 "#define MGN_REAL %s\n"
                                 "%s"
                                 "#define MGN_WIDTH %zu\n"
                                 "#define MGN_GROUP %zu\n"
                                 "#define MGN_HAS_FMA %d\n"
                                 "%s%s%s";
    const size_t size = sizeof format + strlen(text) + strlen(defines) + strlen(tail) + 256;
    char *source = mgn_alloc(size, 1);
    if (!source) return NULL;
    snprintf(source, size, format, dtype == MGN_F64 ? "#pragma OPENCL EXTENSION cl_khr_fp64 : enable\n" : "",
             types[dtype], kinds[dtype], mgn_cl_lanes(device, dtype), device->group, (device->fp & CL_FP_FMA) != 0,
             defines, text, tail);
    return source;
}

/* Everything that a binary depends on, allocated. */
static char *cache_key(const mgn_cl_device *device, const char *options, const char *source) {
    static const char format[] = "mgn %s\nplatform %s\ndevice %s\ndriver %s\noptions %s\n%s";
    const size_t size = sizeof format + strlen(mgn_version()) + strlen(device->platform_version) +
                        strlen(device->base.info.name) + strlen(device->driver) + strlen(options) + strlen(source);
    char *key = mgn_alloc(size, 1);
    if (key)
        snprintf(key, size, format, mgn_version(), device->platform_version, device->base.info.name, device->driver,
                 options, source);
    return key;
}

/* The program of a cached binary; NULL when there is none, or the driver no longer takes it. */
static cl_program load_program(mgn_cl_device *device, const char *key, const char *options) {
    size_t bytes = 0;
    unsigned char *binary = mgn_cl_cache_load(key, &bytes);
    if (!binary) return NULL;
    cl_int loaded = CL_SUCCESS, code;
    const unsigned char *const binaries[] = {binary};
    cl_program program = clCreateProgramWithBinary(device->context, 1, &device->id, &bytes,
                                                   (const unsigned char **)binaries, &loaded, &code);
    mgn_free(binary);
    if (code == CL_SUCCESS && loaded == CL_SUCCESS &&
        clBuildProgram(program, 1, &device->id, options, NULL, NULL) == CL_SUCCESS)
        return program;
    if (program) clReleaseProgram(program);
    return NULL;
}

/* Whether binaries are kept here. PoCL has a cache of its own, of source too, and would compile every kernel a second time
 * to hand out a binary: that took half of a cold start. */
static bool keeps_binaries(const mgn_cl_device *device, const char *key) {
    const char *setting = mgn_environment("MGN_CACHE");
    char path[PATH_MAX];
    if (!mgn_cl_cache_path(key, path)) return false;
    return (setting && strcmp(setting, "all") == 0) || !strstr(device->platform_version, "PoCL");
}

static void store_program(cl_program program, const char *key) {
    size_t bytes = 0;
    if (clGetProgramInfo(program, CL_PROGRAM_BINARY_SIZES, sizeof bytes, &bytes, NULL) != CL_SUCCESS || bytes == 0)
        return;
    unsigned char *binary = mgn_alloc(bytes, 1);
    if (!binary) return;
    if (clGetProgramInfo(program, CL_PROGRAM_BINARIES, sizeof binary, &binary, NULL) == CL_SUCCESS)
        mgn_cl_cache_store(key, binary, bytes);
    mgn_free(binary);
}

/* The sentence for a compiler that refused: the first line of its log that says "error", else the first line. */
static mgn_status build_failure(mgn_cl_device *device, cl_program program, const char *family, cl_int code) {
    if (mgn_interrupted()) return mgn_cl_check(device, code, "compiling the OpenCL kernels \"%s\"", family);
    char log[16384] = "";
    size_t bytes = 0;
    if (clGetProgramBuildInfo(program, device->id, CL_PROGRAM_BUILD_LOG, sizeof log - 1, log, &bytes) != CL_SUCCESS &&
        bytes <= sizeof log - 1)
        log[0] = 0;
    const char *line = strstr(log, "error");
    if (!line) line = log;
    while (line > log && line[-1] != '\n') line--;
    line += strspn(line, " \t\r\n");
    const int length = (int)MGN_MIN(strcspn(line, "\r\n"), (size_t)300);
    return mgn_fail(MGN_ERR_DEVICE, "the OpenCL kernels \"%s\" do not build on %s (%s): %s (%d): %.*s", family,
                    device->base.info.spec, device->base.info.name, mgn_cl_error_name(code), (int)code,
                    length ? length : 8, length ? line : "(no log)");
}

void mgn_cl_note_build(mgn_cl_device *device, double seconds) {
    device->build_seconds += seconds;
    if (device->build_seconds < build_patience || device->build_noted) return;
    device->build_noted = true;
    mgn_note("compiling OpenCL kernels for %s; they are kept for the next start", device->base.info.name);
}

/* Compiles, and keeps the binary under `key`. */
static mgn_status compile_program(mgn_cl_device *device, const char *family, const char *source, const char *options,
                                  const char *key, cl_program *program) {
    const double begin = mgn_now();
    cl_int code;
    cl_program built = clCreateProgramWithSource(device->context, 1, (const char *[]){source}, NULL, &code);
    MGN_TRY(mgn_cl_check(device, code, "creating the program \"%s\"", family));
    code = clBuildProgram(built, 1, &device->id, options, NULL, NULL);
    if (code != CL_SUCCESS) {
        const mgn_status status = build_failure(device, built, family, code);
        clReleaseProgram(built);
        return status;
    }
    /* Most of what the tuner compiles is never used again. */
    if (!device->forced && keeps_binaries(device, key)) store_program(built, key);
    mgn_cl_note_build(device, mgn_now() - begin);
    *program = built;
    return MGN_OK;
}

static mgn_status build_program(mgn_cl_device *device, const char *family, const char *source, cl_program *program) {
    char options[512];
    build_options(device, family, options, sizeof options);
    char *key = cache_key(device, options, source);
    if (!key) return MGN_ERR_MEMORY;
    mgn_status status = MGN_OK;
    *program = load_program(device, key, options);
    if (!*program) status = compile_program(device, family, source, options, key, program);
    mgn_free(key);
    return status;
}

/* The unit of this text, built when it is new. Takes `source`. */
static mgn_status find_unit(mgn_cl_device *device, const char *family, char *source, mgn_cl_unit **found) {
    for (mgn_cl_unit *unit = device->units; unit; unit = unit->next)
        if (strcmp(unit->source, source) == 0) {
            mgn_free(source);
            *found = unit;
            return MGN_OK;
        }
    cl_program program = NULL;
    mgn_status status = build_program(device, family, source, &program);
    mgn_cl_unit *unit = status == MGN_OK ? mgn_alloc(1, sizeof *unit) : NULL;
    if (!unit) {
        if (program) clReleaseProgram(program);
        mgn_free(source);
        return status == MGN_OK ? MGN_ERR_MEMORY : status;
    }
    *unit = (mgn_cl_unit){device->units, source, program};
    device->units = unit;
    *found = unit;
    return MGN_OK;
}

mgn_status mgn_cl_kernel_create(mgn_cl_device *device, const char *family, mgn_dtype dtype, const char *defines,
                                const char *name, cl_kernel *kernel) {
    return mgn_cl_kernel_create_with(device, family, dtype, defines, "", name, kernel);
}

mgn_status mgn_cl_kernel_create_with(mgn_cl_device *device, const char *family, mgn_dtype dtype, const char *defines,
                                     const char *tail, const char *name, cl_kernel *kernel) {
    const char *text = family_text(family);
    if (!text) return mgn_fail(MGN_ERR_UNSUPPORTED, "there are no OpenCL kernels called \"%s\"", family);
    char *source = unit_source(device, text, dtype, defines, tail);
    if (!source) return MGN_ERR_MEMORY;
    mgn_cl_unit *unit = NULL;
    MGN_TRY(find_unit(device, family, source, &unit));
    cl_int code;
    *kernel = clCreateKernel(unit->program, name, &code);
    return mgn_cl_check(device, code, "creating the kernel \"%s\" of \"%s\"", name, family);
}

void mgn_cl_units_release(mgn_cl_device *device) {
    for (mgn_cl_unit *unit = device->units, *next; unit; unit = next) {
        next = unit->next;
        clReleaseProgram(unit->program);
        mgn_free(unit->source);
        mgn_free(unit);
    }
    device->units = NULL;
}
