/* Inside of the OpenCL backend.
 *
 *   platform.c   which devices there are, opening and closing one
 *   errors.c     OpenCL error codes as sentences
 *   memory.c     buffers and blocking copies
 *   cache.c      program binaries on disk
 *   tuning.c     which way products go and with which parameters, as measured by `mgn tune`
 *   clblast.c    calls of CLBlast, and its parameters
 *   kernels.c    the only place that builds programs and creates kernels
 *   program.c    a list of calls as a list of launches; running it
 *   row_program.c row_print.c row_rows.c row_shared.c
 *                a whole step of a small model as generated kernels
 *   wide.c       a wide program as a generated kernel
 *   elementwise.c reduce.c gemm.c conv.c spd.c rows.c cloud.c random.c
 *                one op family each: which kernels a call needs, and with which arguments
 *
 * Kernels have two shapes. On a GPU a work-item handles one element and a work-group 256 of them. On a CPU device a
 * work-group is one work-item that walks a chunk in explicit vectors (float16, double8): scalar built-ins and private
 * arrays of many work-items are 5 to 10 times slower there. The sources in cl/ hold both, behind MGN_WIDTH. */
#ifndef MGN_HOST_OPENCL_H
#define MGN_HOST_OPENCL_H

#define CL_TARGET_OPENCL_VERSION 120
#include <CL/cl.h>

#include <limits.h>

#include "backend/backend.h"
#include "backend/opencl/tuning.h"
#include "core/core.h"

/* A built program of one kernel family, dtype and set of defines. Kept until the device is closed. */
typedef struct mgn_cl_unit {
    struct mgn_cl_unit *next;
    char *source; /* what identifies it: the whole text, defines included */
    cl_program program;
} mgn_cl_unit;

typedef struct mgn_cl_device {
    mgn_device base; /* first: the contract's handle points to it */
    cl_device_id id;
    cl_context context;
    cl_command_queue queue;
    char driver[128], platform_version[256];
    bool vectors;           /* the CPU shape of the kernels */
    size_t group;           /* work-items of a work-group: 1 with vectors, else MGN_CL_GROUP */
    int native_width;       /* floats in a hardware vector */
    cl_device_fp_config fp; /* of single precision */
    uint64_t bytes_used;    /* of buffers that this handle has made */
    mgn_cl_unit *units;
    double build_seconds;  /* spent in compilers so far */
    bool build_noted;      /* the user has been told */
    mgn_cl_tuning *tuning; /* what was tuned for this device, read when the first product is lowered; or NULL */
    bool tuning_read, tuning_given; /* CLBlast has been given its part */
    const mgn_cl_choice *forced;    /* the tuner's: every product goes this way */
    /* At most two batches of MGN_CL_BATCH commands are in flight, so that a host that runs far ahead does not fill its
     * memory with commands: `batch_end` is the last command of the batch before the one being enqueued. */
    cl_event batch_end;
    unsigned batch_used;
} mgn_cl_device;

enum { MGN_CL_GROUP = 256, MGN_CL_BATCH = 4096, MGN_CL_FLUSH = 256 };

struct mgn_memory {
    cl_mem buffer;
    size_t bytes;
};

static inline mgn_cl_device *mgn_cl_of(mgn_device *device) { return (mgn_cl_device *)device; }

/* Elements in one explicit vector of the kernels. */
static inline size_t mgn_cl_lanes(const mgn_cl_device *device, mgn_dtype dtype) {
    return !device->vectors ? 1 : dtype == MGN_F64 ? 8 : 16;
}

static inline uint64_t mgn_cl_ceil_div(uint64_t a, uint64_t b) {
    MGN_KNOWN(b > 0);
    return a / b + (a % b != 0);
}

/* ---- errors.c ---- */

/* "CL_OUT_OF_RESOURCES". */
const char *mgn_cl_error_name(cl_int code);
/* MGN_OK for CL_SUCCESS. Else MEMORY or DEVICE with the sentence "<what>: <code> (<number>) on <device>"; MEMORY also says how
 * much there is, and how much of it is taken. */
mgn_status mgn_cl_check(mgn_cl_device *device, cl_int code, const char *what, ...) MGN_PRINTF(3, 4);

/* ---- memory.c ---- */

/* A buffer of `bytes` (> 0), zeroed; `what` it is for begins the sentence, "creating 64 bytes for ...". More than the device
 * has is refused before a driver that allocates at first use takes it from everybody else. */
mgn_status mgn_cl_buffer_create(mgn_cl_device *device, uint64_t bytes, const char *what, cl_mem *buffer);
/* Takes NULL. The driver frees it once the commands that use it have run. */
void mgn_cl_buffer_release(mgn_cl_device *device, cl_mem buffer);
mgn_status mgn_cl_memory_create(mgn_device *handle, size_t bytes, mgn_memory **memory);
void mgn_cl_memory_destroy(mgn_device *handle, mgn_memory *memory);
mgn_status mgn_cl_memory_write(mgn_device *handle, mgn_memory *memory, size_t offset, const void *source, size_t bytes);
mgn_status mgn_cl_memory_read(mgn_device *handle, const mgn_memory *memory, size_t offset, void *target, size_t bytes);

/* ---- cache.c ---- */

/* The binary stored under `key`, allocated; NULL when there is none that can be trusted. */
unsigned char *mgn_cl_cache_load(const char *key, size_t *bytes);
/* Stores a binary. False: it could not; that costs time in the next process and nothing else. */
bool mgn_cl_cache_store(const char *key, const unsigned char *binary, size_t bytes);
/* The file of a key, which need not exist. False when nothing is kept. */
bool mgn_cl_cache_path(const char *key, char path[PATH_MAX]);

/* ---- kernels.c ---- */

/* The sources in cl/, embedded by cl/embed.py with everything they include. */
typedef struct mgn_cl_source {
    const char *family; /* "reduce" */
    const char *text;
} mgn_cl_source;
extern const mgn_cl_source mgn_cl_sources[];
extern const size_t mgn_cl_source_count;

/* A kernel of cl/<family>.cl built for `dtype`, with `defines` (lines of "#define ...", may be "") in front. */
mgn_status mgn_cl_kernel_create(mgn_cl_device *device, const char *family, mgn_dtype dtype, const char *defines,
                                const char *name, cl_kernel *kernel);
/* The same with text of the host's own behind the family's: generated kernels on the family's functions. */
mgn_status mgn_cl_kernel_create_with(mgn_cl_device *device, const char *family, mgn_dtype dtype, const char *defines,
                                     const char *tail, const char *name, cl_kernel *kernel);
void mgn_cl_units_release(mgn_cl_device *device);
/* Counts seconds spent in a compiler; says so to the user, once, when they become noticeable. */
void mgn_cl_note_build(mgn_cl_device *device, double seconds);

/* ---- program.c: what the op families emit launches with ---- */

/* A real product handed to CLBlast (clblast.c). */
typedef struct mgn_cl_product {
    mgn_dtype dtype;
    size_t batch, m, n, k;
    cl_mem a, b, out;
    size_t a_at, b_at, out_at, a_stride, b_stride;
    bool transpose_a, transpose_b, adds;
    size_t temporary_bytes; /* of scratch that CLBlast may use; 0: it makes its own */
    cl_mem temporary;
} mgn_cl_product;

typedef struct mgn_cl_launch {
    mgn_op op;
    cl_kernel kernel; /* NULL: the product instead */
    mgn_cl_product *product;
    size_t global, local;
} mgn_cl_launch;

/* A row program's kernels and memory (row_program.c). */
typedef struct mgn_cl_row_program mgn_cl_row_program;

struct mgn_program {
    mgn_cl_row_program *rows; /* this instead of launches, or NULL */
    mgn_cl_launch *launches;
    size_t count, capacity;
    cl_mem scratch; /* partial sums, packed panels: used by one call at a time, so shared by all */
};

/* An argument whose buffer is not known before the whole list is lowered: the program's scratch. */
typedef struct mgn_cl_pending {
    size_t launch;
    cl_uint argument;
} mgn_cl_pending;

typedef struct mgn_cl_builder {
    mgn_cl_device *device;
    struct mgn_program *program;
    const mgn_call *call; /* the one being lowered */
    uint64_t scratch_used, scratch_bytes;
    mgn_cl_pending *pending;
    size_t pending_count, pending_capacity;
} mgn_cl_builder;

/* Where a kernel argument's elements begin: in an operand's memory, or in scratch (memory NULL). */
typedef struct mgn_cl_place {
    const mgn_memory *memory;
    uint64_t at; /* in elements */
} mgn_cl_place;

static inline mgn_cl_place mgn_cl_place_of(const mgn_operand *operand) {
    return (mgn_cl_place){operand->memory, (uint64_t)operand->offset};
}

/* Sets aside `elements` of scratch for the call being lowered. */
mgn_status mgn_cl_scratch(mgn_cl_builder *builder, mgn_dtype dtype, uint64_t elements, mgn_cl_place *place);

/* A launch of a kernel with these arguments; `types` spells them in the kernel's order:
 *   'p' mgn_cl_place (a buffer and a ulong)   'u' uint64_t (ulong)   'q' const uint64_t[4] (ulong4)
 * `groups` is the number of work-groups; a launch of none is left out. */
mgn_status mgn_cl_emit(mgn_cl_builder *builder, const char *family, mgn_dtype dtype, const char *defines,
                       const char *name, uint64_t groups, const char *types, ...);
/* A launch of a kernel of generated text (see mgn_cl_kernel_create_with), with places and then numbers as arguments. */
mgn_status mgn_cl_emit_made(mgn_cl_builder *builder, const char *family, mgn_dtype dtype, const char *tail,
                            const char *name, uint64_t groups, const mgn_cl_place *places, size_t place_count,
                            const uint64_t *numbers, size_t number_count);
/* The program of what was emitted, or what went wrong (`status`), where everything is freed. */
mgn_status mgn_cl_builder_end(mgn_cl_builder *builder, mgn_status status, mgn_program **program);
/* A product for CLBlast; copied. */
mgn_status mgn_cl_emit_product(mgn_cl_builder *builder, const mgn_cl_product *product);

/* Work-groups for a kernel that strides over `items` work-items' worth of work, `grain` of which pay for a group. */
uint64_t mgn_cl_groups(const mgn_cl_device *device, uint64_t items, uint64_t grain);

/* The contract's three. */
mgn_status mgn_cl_program_create(mgn_device *device, const mgn_call *calls, size_t count, mgn_program **program);
void mgn_cl_program_destroy(mgn_device *device, mgn_program *program);
mgn_status mgn_cl_program_run(mgn_device *handle, mgn_program *program, uint64_t times);

/* To be told of every command that is enqueued: starts the device now and then, and waits for the batch before the last
 * when one is full. `end` is the command's event if mgn_cl_ends_batch said so before it, else NULL; it is taken. */
bool mgn_cl_ends_batch(const mgn_cl_device *device);
mgn_status mgn_cl_count_command(mgn_cl_device *device, cl_event end);

/* ---- row_program.c ---- */

struct mgn_row_program; /* backend/row_program.h */
mgn_status mgn_cl_rows_create(mgn_device *handle, const struct mgn_row_program *program, mgn_program **out);
void mgn_cl_row_program_destroy(mgn_cl_device *device, mgn_cl_row_program *program);
mgn_status mgn_cl_row_program_run(mgn_cl_device *device, mgn_cl_row_program *program, uint64_t times);

/* ---- wide.c ---- */

struct mgn_wide_program; /* backend/wide_program.h */
mgn_status mgn_cl_wide_create(mgn_device *handle, const struct mgn_wide_program *program, mgn_program **out);

/* ---- op families: each lowers one call ---- */

mgn_status mgn_cl_emit_elementwise(mgn_cl_builder *builder);
mgn_status mgn_cl_emit_reduce(mgn_cl_builder *builder);
mgn_status mgn_cl_emit_matmul(mgn_cl_builder *builder);
mgn_status mgn_cl_emit_spd(mgn_cl_builder *builder);
mgn_status mgn_cl_emit_rows(mgn_cl_builder *builder);
mgn_status mgn_cl_emit_cloud(mgn_cl_builder *builder);
mgn_status mgn_cl_emit_conv(mgn_cl_builder *builder);
mgn_status mgn_cl_emit_random(mgn_cl_builder *builder);
mgn_status mgn_cl_emit_unorm8(mgn_cl_builder *builder);

/* Sums (outer, n, inner) over n in a fixed order; also the end of a product cut along k. */
mgn_status mgn_cl_emit_sum(mgn_cl_builder *builder, mgn_dtype dtype, mgn_cl_place from, mgn_cl_place to, uint64_t outer,
                           uint64_t n, uint64_t inner);
/* Which way a product goes when nothing was tuned, and whether it can go a way at all (gemm.c). */
mgn_cl_choice mgn_cl_usual_choice(const mgn_cl_device *device, const mgn_call *call);
bool mgn_cl_route_possible(const mgn_cl_device *device, const mgn_call *call, mgn_cl_route route);
/* Has what is kept for the device read again. */
void mgn_cl_tuning_forget(mgn_cl_device *device);

/* ---- clblast.c ---- */

/* Asks CLBlast how much temporary memory it wants: given some, it allocates none when it runs. */
mgn_status mgn_cl_product_ask(mgn_cl_device *device, mgn_cl_product *product);
/* Enqueues a product; `end` may be NULL. */
mgn_status mgn_cl_product_run(mgn_cl_device *device, const mgn_cl_product *product, cl_event *end);
/* Has CLBlast compile what the product needs. */
mgn_status mgn_cl_product_warm(mgn_cl_device *device, const mgn_cl_product *product);

/* Makes CLBlast use these parameters on this device from now on, in the whole process. Errors: DEVICE. */
mgn_status mgn_cl_blast_give(mgn_cl_device *device, const mgn_cl_blast *blast);

#endif
