/* Matrix products through a plan, side by side with a direct call of the BLAS library on as many threads. */
#include <cblas.h>
#include <string.h>

#include <mgn/graph.h>

#include "backend/opencl/opencl.h"
#include "bench/sampling.h"

static const struct { int m, n, k; } products[] = {{512, 512, 512}, {2048, 2048, 2048}, {256, 512, 784}};

typedef struct product {
    mgn_device *device;
    mgn_plan *plan;
    int m, n, k;
    float *a, *b, *c; /* on the host, for the peer */
} product;

static mgn_status run_plan(void *context, uint64_t times) {
    const product *p = context;
    MGN_TRY(mgn_plan_run(p->plan, times));
    return mgn_device_finish(p->device);
}

static mgn_status run_peer(void *context, uint64_t times) {
    const product *p = context;
    int before = openblas_get_num_threads(); /* the CPU backend calls it with one thread from its own */
    openblas_set_num_threads(mgn_threads());
    for (uint64_t i = 0; i < times; i++)
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, p->m, p->n, p->k, 1, p->a, p->k, p->b, p->n, 0, p->c,
                    p->n);
    openblas_set_num_threads(before);
    return MGN_OK;
}

static float *random_matrix(int rows, int columns, uint64_t seed) {
    size_t count = (size_t)rows * (size_t)columns;
    float *x = mgn_alloc_aligned(count, sizeof *x);
    for (size_t i = 0; x && i < count; i++) x[i] = (float)mgn_bench_uniform(&seed, -1, 1);
    return x;
}

static mgn_status make(product *p) {
    mgn_graph *graph;
    p->a = random_matrix(p->m, p->k, 1);
    p->b = random_matrix(p->k, p->n, 2);
    p->c = random_matrix(p->m, p->n, 3);
    if (!p->a || !p->b || !p->c) return MGN_ERR_MEMORY;
    MGN_TRY(mgn_graph_create(&graph));
    mgn_node *a = mgn_input(graph, "a", MGN_REAL, MGN_SHAPE(p->m, p->k)),
             *b = mgn_input(graph, "b", MGN_REAL, MGN_SHAPE(p->k, p->n));
    mgn_output(mgn_matmul(a, b));
    mgn_status status = mgn_plan_compile(graph, p->device, MGN_F32, NULL, 0, &p->plan);
    if (status == MGN_OK) status = mgn_tensor_write(mgn_plan_tensor(p->plan, a), MGN_F32, p->a);
    if (status == MGN_OK) status = mgn_tensor_write(mgn_plan_tensor(p->plan, b), MGN_F32, p->b);
    mgn_graph_destroy(graph);
    return status;
}

static mgn_status run_product(mgn_bench *bench, const mgn_bench_entry *entry, cJSON *row) {
    product p = {.device = bench->device,
                 .m = products[entry->index].m,
                 .n = products[entry->index].n,
                 .k = products[entry->index].k};
    mgn_timing timings[2];
    mgn_status status = make(&p);
    if (status == MGN_OK)
        status = mgn_bench_time((mgn_bench_work[]){{run_plan, &p}, {run_peer, &p}}, 2, bench->seconds, timings);
    mgn_plan_destroy(p.plan);
    mgn_free(p.a);
    mgn_free(p.b);
    mgn_free(p.c);
    MGN_TRY(status);
    double flops = 2.0 * p.m * p.n * p.k;
    cJSON_AddNumberToObject(row, "m", p.m);
    cJSON_AddNumberToObject(row, "n", p.n);
    cJSON_AddNumberToObject(row, "k", p.k);
    mgn_bench_timing(row, &timings[0], "us", 1e6);
    mgn_bench_number(row, "gflops", flops / timings[0].fastest * 1e-9);
    cJSON_AddStringToObject(row, "peer", "OpenBLAS sgemm");
    mgn_bench_number(row, "peer_gflops", flops / timings[1].fastest * 1e-9);
    mgn_bench_number(row, "ratio", timings[1].fastest / timings[0].fastest);
    return MGN_OK;
}

/* ---- for benchmarks in which products are the most of it ---- */

mgn_status mgn_bench_time_blas(int m, int n, int k, double seconds, mgn_timing *timing) {
    product p = {.m = m, .n = n, .k = k};
    p.a = random_matrix(m, k, 1);
    p.b = random_matrix(k, n, 2);
    p.c = random_matrix(m, n, 3);
    mgn_status status = p.a && p.b && p.c ? MGN_OK : MGN_ERR_MEMORY;
    if (status == MGN_OK) status = mgn_bench_time(&(mgn_bench_work){run_peer, &p}, 1, seconds, timing);
    mgn_free(p.a);
    mgn_free(p.b);
    mgn_free(p.c);
    return status;
}

typedef struct clblast_products {
    mgn_cl_device *device;
    const int (*sizes)[3];
    size_t count;
    mgn_memory *a, *b, *out;
} clblast_products;

static mgn_status run_clblast(void *context, uint64_t times) {
    const clblast_products *p = context;
    for (uint64_t t = 0; t < times; t++)
        for (size_t i = 0; i < p->count; i++) {
            const mgn_cl_product one = {.dtype = MGN_F32,
                                        .batch = 1,
                                        .m = (size_t)p->sizes[i][0],
                                        .n = (size_t)p->sizes[i][1],
                                        .k = (size_t)p->sizes[i][2],
                                        .a = p->a->buffer,
                                        .b = p->b->buffer,
                                        .out = p->out->buffer};
            MGN_TRY(mgn_cl_product_run(p->device, &one, NULL));
        }
    return mgn_device_finish(&p->device->base);
}

mgn_status mgn_bench_time_clblast(mgn_device *device, const int (*sizes)[3], size_t count, double seconds,
                                  mgn_timing *timing) {
    clblast_products p = {.device = mgn_cl_of(device), .sizes = sizes, .count = count};
    size_t a = 1, b = 1, out = 1; /* the largest of each */
    for (size_t i = 0; i < count; i++) {
        const size_t m = (size_t)sizes[i][0], n = (size_t)sizes[i][1], k = (size_t)sizes[i][2];
        a = MGN_MAX(a, m * k), b = MGN_MAX(b, k * n), out = MGN_MAX(out, m * n);
    }
    mgn_status status = device->backend->memory_create(device, a * sizeof(float), &p.a);
    if (status == MGN_OK) status = device->backend->memory_create(device, b * sizeof(float), &p.b);
    if (status == MGN_OK) status = device->backend->memory_create(device, out * sizeof(float), &p.out);
    if (status == MGN_OK) status = mgn_bench_time(&(mgn_bench_work){run_clblast, &p}, 1, seconds, timing);
    device->backend->memory_destroy(device, p.a);
    device->backend->memory_destroy(device, p.b);
    device->backend->memory_destroy(device, p.out);
    return status;
}

void mgn_bench_add_products(mgn_bench_list *list) {
    for (size_t i = 0; i < MGN_COUNT(products); i++) /* m x k x n */
        mgn_bench_add(list, "gemm", (int)i, run_product, "%dx%dx%d", products[i].m, products[i].k, products[i].n);
}
