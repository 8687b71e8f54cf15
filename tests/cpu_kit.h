/* What the tests of the CPU backend's kernels share: a call with its operands' contents, run with every instruction set and
 * several thread counts, whose bits must be equal, between guards that must not change. */
#ifndef MGN_TESTS_CPU_KIT_H
#define MGN_TESTS_CPU_KIT_H

#include "harness.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/backend.h"
#include "core/core.h"

/* Check writes a line to a file for every assertion that holds, so loops over elements abort instead of asserting. */
typedef long double real; /* of the references */

static const char *const isas[] = {"baseline", "avx2", "avx512"};
static const int thread_counts[] = {2, 3, 5};

/* ---- running one call ---- */

enum { GUARD = 16 };

/* A call with its operands' contents: doubles that are also floats, or words. */
typedef struct subject {
    mgn_call call;
    double *reals[MGN_MAX_INPUTS];
    uint32_t *words[MGN_MAX_INPUTS];
    size_t sizes[MGN_MAX_INPUTS]; /* elements */
    size_t out_size;              /* elements of the result's memory */
    size_t scratch_size;
    int64_t *places; /* where the elements of a result with gaps lie; NULL: one after the other */
    size_t count;    /* elements of the result, where places is set */
} subject;

static inline mgn_status open_cpu(const char *isa, mgn_device **device) {
    mgn_device_info info;
    size_t count = 0;
    if (isa)
        setenv("MGN_ISA", isa, 1);
    else
        unsetenv("MGN_ISA");
    MGN_TRY(mgn_cpu_backend.list(&info, 1, &count));
    return mgn_cpu_backend.open(&info, device);
}

/* Kept open: reading the machine's description takes longer than most calls. NULL: not on this machine. */
static inline mgn_device *device_of(size_t isa) {
    static mgn_device *devices[MGN_COUNT(isas) + 1];
    if (!devices[isa] && open_cpu(isa < MGN_COUNT(isas) ? isas[isa] : NULL, &devices[isa]) != MGN_OK) return NULL;
    return devices[isa];
}

static inline mgn_memory *memory_of(mgn_device *device, const void *content, size_t bytes) {
    mgn_memory *memory;
    MGN_ASSERT_OK(mgn_cpu_backend.memory_create(device, bytes, &memory));
    if (content) MGN_ASSERT_OK(mgn_cpu_backend.memory_write(device, memory, 0, content, bytes));
    return memory;
}

static inline mgn_memory *real_memory(mgn_device *device, mgn_dtype dtype, const double *values, size_t count) {
    if (dtype == MGN_F64) return memory_of(device, values, count * sizeof(double));
    float *narrow = malloc((count + 1) * sizeof(float));
    for (size_t i = 0; i < count; i++) narrow[i] = (float)values[i];
    mgn_memory *memory = memory_of(device, narrow, count * sizeof(float));
    free(narrow);
    return memory;
}

static inline bool is_real(const mgn_operand *operand) { return operand->dtype != MGN_U32; }

/* Runs the call and gives its result's bytes, out_size elements of `dtype` (or words), in a fresh block. */
static inline unsigned char *run_call(const subject *s, mgn_device *device, mgn_dtype dtype, int threads) {
    mgn_call call = s->call;
    mgn_memory *memories[MGN_MAX_INPUTS + 2] = {NULL};
    if (is_real(&call.out)) call.out.dtype = dtype;
    size_t width = mgn_dtype_size(call.out.dtype), bytes = (s->out_size + 2 * GUARD) * width;
    unsigned char *guarded = malloc(bytes), *result = malloc(s->out_size * width + 1);
    memset(guarded, 0xAB, bytes);
    for (int i = 0; i < call.inputs; i++) {
        if (is_real(&call.in[i])) {
            call.in[i].dtype = dtype;
            memories[i] = real_memory(device, dtype, s->reals[i], s->sizes[i]);
        } else {
            memories[i] = memory_of(device, s->words[i], s->sizes[i] * sizeof(uint32_t));
        }
        call.in[i].memory = memories[i];
    }
    memories[3] = call.out.memory = memory_of(device, guarded, bytes);
    call.out.offset += GUARD;
    if (s->scratch_size) {
        memories[4] = call.scratch.memory = memory_of(device, NULL, s->scratch_size * width);
        call.scratch.dtype = call.out.dtype;
    }
    mgn_program *program;
    mgn_set_threads(threads);
    MGN_ASSERT_OK(mgn_cpu_backend.program_create(device, &call, 1, &program));
    uint64_t allocations = mgn_allocations();
    MGN_ASSERT_OK(mgn_cpu_backend.program_run(device, program, 1));
    ck_assert_uint_eq(mgn_allocations(), allocations);
    mgn_cpu_backend.program_destroy(device, program);
    MGN_ASSERT_OK(mgn_cpu_backend.memory_read(device, call.out.memory, 0, guarded, bytes));
    for (size_t i = 0; i < GUARD * width; i++) {
        if (guarded[i] != 0xAB || guarded[bytes - 1 - i] != 0xAB)
            ck_abort_msg("%s writes outside its result", mgn_op_infos[call.op].label);
    }
    memcpy(result, guarded + GUARD * width, s->out_size * width);
    for (size_t i = 0; i < MGN_COUNT(memories); i++) mgn_cpu_backend.memory_destroy(device, memories[i]);
    free(guarded);
    return result;
}

/* |found - want| <= ulps * magnitude in the type's units; NaN only where NaN is wanted; gaps untouched. */
static inline void compare(const subject *s, mgn_dtype dtype, const void *result, const real *want,
                           const real *magnitude, double ulps) {
    real unit = dtype == MGN_F32 ? 0x1p-23L : 0x1p-52L, tiny = dtype == MGN_F32 ? 1.5e-45L : 5e-324L;
    size_t count = s->places ? s->count : s->out_size, width = mgn_dtype_size(dtype);
    bool *written = calloc(s->out_size + 1, sizeof *written);
    for (size_t i = 0; i < count; i++) {
        size_t place = s->places ? (size_t)s->places[i] : i;
        real found = dtype == MGN_F32 ? (real)((const float *)result)[place] : (real)((const double *)result)[place];
        written[place] = true;
        if (isnan(want[i]) && isnan(found)) continue;
        if (found == want[i]) continue; /* infinities too */
        real error = fabsl(found - want[i]), allowed = (real)ulps * unit * fabsl(magnitude[i]) + tiny;
        if (!(error <= allowed))
            ck_abort_msg("%s (%s): element %zu of %zu is %.17g, expected %.17g, off by %.3g of the allowed error",
                         mgn_op_infos[s->call.op].label, mgn_dtype_name(dtype), i, count, (double)found,
                         (double)want[i], (double)(error / allowed));
    }
    for (size_t i = 0; i < s->out_size * width; i++) {
        if (!written[i / width] && ((const unsigned char *)result)[i] != 0xAB)
            ck_abort_msg("%s writes into gaps", mgn_op_infos[s->call.op].label);
    }
    free(written);
}

/* Both types and all instruction sets, the best with all thread counts; `want` NULL: only that all bits agree. The baseline
 * has no fused products, so its bits are its own. */
static inline void check_subject(const subject *s, const real *want, const real *magnitude, double ulps) {
    for (int type = 0; type < 2; type++) {
        mgn_dtype dtype = type ? MGN_F64 : MGN_F32;
        size_t bytes = s->out_size * (is_real(&s->call.out) ? mgn_dtype_size(dtype) : sizeof(uint32_t));
        unsigned char *first = NULL;
        for (size_t i = 0; i < MGN_COUNT(isas) + MGN_COUNT(thread_counts); i++) {
            size_t isa = MGN_MIN(i, MGN_COUNT(isas));
            int threads = i < MGN_COUNT(isas) ? 1 : thread_counts[i - MGN_COUNT(isas)];
            if (!device_of(isa)) continue;
            unsigned char *result = run_call(s, device_of(isa), dtype, threads);
            if (first && i > 1) {
                ck_assert_msg(memcmp(first, result, bytes) == 0, "%s: %s with %d threads gives other bits",
                              mgn_op_infos[s->call.op].label, isa < MGN_COUNT(isas) ? isas[isa] : "the best", threads);
                free(result);
            } else {
                if (want) compare(s, dtype, result, want, magnitude, ulps);
                free(first);
                first = result;
            }
        }
        free(first);
    }
}

/* ---- building calls ---- */

static inline mgn_operand contiguous(mgn_dtype dtype, mgn_shape shape) {
    mgn_tensor tensor = {.dtype = dtype, .shape = shape};
    return mgn_operand_of(&tensor);
}

static inline mgn_shape shape_of(int rank, int64_t a, int64_t b, int64_t c) { return (mgn_shape){rank, {a, b, c}}; }

static inline double *random_reals(mgn_test_random *random, size_t count, double low, double high) {
    double *values = malloc((count + 1) * sizeof *values);
    for (size_t i = 0; i < count; i++) values[i] = (double)(float)mgn_test_uniform(random, low, high);
    return values;
}

static inline void add_reals(subject *s, mgn_test_random *random, mgn_shape shape, double low, double high) {
    int i = s->call.inputs++;
    s->call.in[i] = contiguous(MGN_F32, shape);
    s->sizes[i] = (size_t)mgn_shape_count(shape);
    s->reals[i] = random_reals(random, s->sizes[i], low, high);
}

static inline void add_words(subject *s, const uint32_t *words, size_t count) {
    int i = s->call.inputs++;
    s->call.in[i] = contiguous(MGN_U32, shape_of(1, (int64_t)count, 0, 0));
    s->sizes[i] = count;
    s->words[i] = malloc((count + 1) * sizeof(uint32_t));
    memcpy(s->words[i], words, count * sizeof(uint32_t));
}

static inline void set_out(subject *s, mgn_dtype dtype, mgn_shape shape) {
    s->call.out = contiguous(dtype, shape);
    s->out_size = (size_t)mgn_shape_count(shape);
}

static inline void free_subject(subject *s) {
    for (int i = 0; i < MGN_MAX_INPUTS; i++) {
        free(s->reals[i]);
        free(s->words[i]);
    }
    free(s->places);
}

static inline real *reals_of(size_t count) { return calloc(count + 1, sizeof(real)); }

#endif
