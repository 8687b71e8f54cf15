/* What the machine can do, measured when a run starts: copying memory and multiplying matrices. On the host's own cores
 * with the C library's memcpy and the BLAS library, which know nothing of this project; on other devices there is no
 * such neutral program, so the device's own copy and product stand in for it, and shares compare ops with those. */
#include <cblas.h>
#include <string.h>

#include "bench/sampling.h"
#include "core/parallel.h"
#include "graph/graph.h"

enum { COPY_FLOATS = 1 << 22, COPY_CACHED_FLOATS = 4096, MULTIPLY_SIDE = 1024 };

/* Three times the time of a figure: all shares rest on these. */
static mgn_status time_limit(mgn_bench *bench, mgn_status (*run)(void *, uint64_t), void *context, double *seconds) {
    mgn_timing timing;
    MGN_TRY(mgn_bench_time(&(mgn_bench_work){run, context}, 1, 3 * bench->seconds, &timing));
    bench->limits.disturbed = bench->limits.disturbed || timing.disturbed;
    *seconds = timing.fastest;
    return MGN_OK;
}

/* ---- on the host ---- */

typedef struct host_copy {
    const char *from;
    char *to;
    size_t bytes;
    int threads;
} host_copy;

static void copy_part(void *context, int64_t part, int thread) {
    (void)thread;
    const host_copy *copy = context;
    const size_t parts = (size_t)copy->threads, each = copy->bytes / parts, begin = each * (size_t)part;
    const size_t end = part + 1 == copy->threads ? copy->bytes : begin + each;
    memcpy(copy->to + begin, copy->from + begin, end - begin);
}

static mgn_status run_host_copy(void *context, uint64_t times) {
    host_copy *copy = context;
    for (uint64_t i = 0; i < times; i++) {
        mgn_parallel(copy->threads, copy->threads, copy_part, copy);
        __asm__ volatile("" ::"r"(copy->to) : "memory"); /* nothing may merge two copies */
    }
    return MGN_OK;
}

static mgn_status run_host_product(void *context, uint64_t times) {
    float *const *m = context;
    for (uint64_t i = 0; i < times; i++)
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, MULTIPLY_SIDE, MULTIPLY_SIDE, MULTIPLY_SIDE, 1, m[0],
                    MULTIPLY_SIDE, m[1], MULTIPLY_SIDE, 0, m[2], MULTIPLY_SIDE);
    return MGN_OK;
}

static mgn_status measure_host(mgn_bench *bench, float *const *blocks) {
    double seconds;
    host_copy copy = {(const char *)blocks[0], (char *)blocks[1], COPY_FLOATS * sizeof(float), mgn_threads()};
    host_copy cached = {copy.from, copy.to, COPY_CACHED_FLOATS * sizeof(float), 1};
    for (int i = 0; i < 2; i++)
        for (int j = 0; j < COPY_FLOATS; j++) blocks[i][j] = 1;
    MGN_TRY(time_limit(bench, run_host_copy, &copy, &seconds));
    bench->limits.copy = 2 * (double)copy.bytes / seconds;
    MGN_TRY(time_limit(bench, run_host_copy, &cached, &seconds));
    bench->limits.copy_in_cache = 2 * (double)cached.bytes / seconds;

    int before = openblas_get_num_threads();
    openblas_set_num_threads(mgn_threads());
    mgn_status status = time_limit(bench, run_host_product, (void *)(uintptr_t)blocks, &seconds);
    openblas_set_num_threads(before);
    MGN_TRY(status);
    bench->limits.multiply = 2.0 * MULTIPLY_SIDE * MULTIPLY_SIDE * MULTIPLY_SIDE / seconds;
    bench->limits.source = "memcpy and OpenBLAS sgemm on all threads; in the first cache on one";
    return MGN_OK;
}

/* ---- on a device ---- */

mgn_node *mgn_copy(mgn_node *a); /* made by plans; no public builder */

typedef struct device_work {
    mgn_device *device;
    mgn_plan *plan;
} device_work;

static mgn_status run_plan(void *context, uint64_t times) {
    const device_work *work = context;
    MGN_TRY(mgn_plan_run(work->plan, times));
    return mgn_device_finish(work->device);
}

/* Seconds of a copy of `count` floats, or of the product when count is 0. */
static mgn_status time_on_device(mgn_bench *bench, int64_t count, double *seconds) {
    mgn_graph *graph;
    device_work work = {bench->device, NULL};
    MGN_TRY(mgn_graph_create(&graph));
    mgn_shape square = MGN_SHAPE(MULTIPLY_SIDE, MULTIPLY_SIDE);
    mgn_output(count ? mgn_copy(mgn_input(graph, "a", MGN_REAL, MGN_SHAPE(count)))
                     : mgn_matmul(mgn_input(graph, "a", MGN_REAL, square), mgn_input(graph, "b", MGN_REAL, square)));
    mgn_status status = mgn_plan_compile(graph, bench->device, MGN_F32, NULL, 0, &work.plan);
    mgn_graph_destroy(graph);
    if (status == MGN_OK) status = time_limit(bench, run_plan, &work, seconds);
    mgn_plan_destroy(work.plan);
    return status;
}

static mgn_status measure_device(mgn_bench *bench) {
    double seconds;
    MGN_TRY(time_on_device(bench, 4 * (int64_t)COPY_FLOATS, &seconds));
    bench->limits.copy = 32.0 * COPY_FLOATS / seconds;
    MGN_TRY(time_on_device(bench, COPY_CACHED_FLOATS, &seconds));
    bench->limits.copy_in_cache = 8.0 * COPY_CACHED_FLOATS / seconds;
    MGN_TRY(time_on_device(bench, 0, &seconds));
    bench->limits.multiply = 2.0 * MULTIPLY_SIDE * MULTIPLY_SIDE * MULTIPLY_SIDE / seconds;
    bench->limits.source = "this device's own copies and product";
    return MGN_OK;
}

mgn_status mgn_bench_measure_limits(mgn_bench *bench) {
    if (!mgn_device_get_info(bench->device)->is_cpu) return measure_device(bench);
    float *blocks[3] = {NULL};
    mgn_status status = MGN_OK;
    for (int i = 0; status == MGN_OK && i < 3; i++) {
        blocks[i] = mgn_alloc_aligned(i < 2 ? COPY_FLOATS : MULTIPLY_SIDE * MULTIPLY_SIDE, sizeof **blocks);
        if (!blocks[i]) status = MGN_ERR_MEMORY;
    }
    if (status == MGN_OK) status = measure_host(bench, blocks);
    for (int i = 0; i < 3; i++) mgn_free(blocks[i]);
    return status;
}
