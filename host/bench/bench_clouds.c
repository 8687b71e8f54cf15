/* Whole calls on clouds of points that lie in the host's memory: the Sinkhorn divergence with its gradient, exact
 * transport, and the fit of a mixture. Making the plan and copying the points are part of it. */
#include <stdio.h>
#include <string.h>

#include <mgn/mixture.h>
#include <mgn/ot.h>
#include <mgn/sinkhorn.h>

#include "bench/sampling.h"

typedef struct cloud_case {
    const char *what;
    int64_t n, d;
    double parameter; /* sinkhorn: the scaling; em: components */
} cloud_case;

static const cloud_case cases[] = {
    {"sinkhorn", 1000, 3, 0.5},  {"sinkhorn", 1000, 3, 0.9},  {"sinkhorn", 4096, 3, 0.5},
    {"sinkhorn", 4096, 3, 0.9},  {"sinkhorn", 512, 784, 0.5}, {"sinkhorn", 512, 784, 0.9},
    {"sinkhorn", 4096, 64, 0.5}, {"w2", 4096, 3, 0},          {"em", 100000, 3, 5},
};

typedef struct cloud_work {
    const cloud_case *c;
    mgn_device *device;
    float *x, *y, *gradient;
    double result;
    int64_t passes; /* over the points */
} cloud_work;

/* ---- data ---- */

/* Distances of the order of 1 in any dimension; for mixtures five clusters of colours. */
static void fill(cloud_work *work) {
    const int64_t n = work->c->n, d = work->c->d;
    const double unit = d > 16 ? 0.2 : 1;
    uint64_t random = 1;
    for (int64_t i = 0; i < n; i++)
        for (int64_t k = 0; k < d; k++) {
            double a = mgn_bench_uniform(&random, 0, 1), b = mgn_bench_uniform(&random, 0, 1);
            if (work->c->parameter >= 1) a = 0.15 * (double)(i * (k + 1) % 5) + 0.25 * (a + b);
            work->x[i * d + k] = (float)(a * unit);
            work->y[i * d + k] = (float)((0.1 + 0.8 * b) * unit);
        }
}

/* ---- calls ---- */

static mgn_status run_sinkhorn(cloud_work *work) {
    const cloud_case *c = work->c;
    const mgn_sinkhorn_config config = {.blur = 0.05, .scaling = c->parameter};
    mgn_sinkhorn_result result;
    MGN_TRY(
        mgn_sinkhorn(work->device, work->x, NULL, c->n, work->y, NULL, c->n, c->d, &config, &result, work->gradient));
    work->result = result.value;
    work->passes = result.iterations;
    return MGN_OK;
}

static mgn_status run_w2(cloud_work *work) {
    return mgn_assignment_w2(work->x, work->y, work->c->n, work->c->d, NULL, &work->result);
}

static mgn_status run_em(cloud_work *work) {
    const cloud_case *c = work->c;
    mgn_mixture mixture = {0};
    mgn_mixture_fit_result result;
    MGN_TRY(mgn_mixture_fit(work->device, work->x, c->n, c->d, (int64_t)c->parameter, NULL, &mixture, &result));
    work->result = result.log_likelihood;
    work->passes = result.passes;
    mgn_mixture_free(&mixture);
    return MGN_OK;
}

static mgn_status run_times(void *context, uint64_t times) {
    cloud_work *work = context;
    const char *what = work->c->what;
    for (uint64_t i = 0; i < times; i++)
        MGN_TRY(strcmp(what, "w2") == 0 ? run_w2(work) : strcmp(what, "em") == 0 ? run_em(work) : run_sinkhorn(work));
    return MGN_OK;
}

static mgn_status run_cloud(mgn_bench *bench, const mgn_bench_entry *entry, cJSON *row) {
    const cloud_case *c = &cases[entry->index];
    const size_t cells = (size_t)(c->n * c->d);
    float *memory = mgn_alloc(3 * cells, sizeof *memory);
    if (!memory) return MGN_ERR_MEMORY;
    cloud_work work = {c, bench->device, memory, memory + cells, memory + 2 * cells, 0, 0};
    mgn_timing timing;
    fill(&work);
    const mgn_status status = mgn_bench_time(&(mgn_bench_work){run_times, &work}, 1, bench->seconds, &timing);
    mgn_free(memory);
    MGN_TRY(status);
    cJSON_AddStringToObject(row, "what", c->what);
    cJSON_AddNumberToObject(row, "points", (double)c->n);
    cJSON_AddNumberToObject(row, "d", (double)c->d);
    if (c->parameter > 0) cJSON_AddNumberToObject(row, c->parameter < 1 ? "scaling" : "k", c->parameter);
    mgn_bench_timing(row, &timing, "ms", 1e3);
    if (work.passes) cJSON_AddNumberToObject(row, "passes", (double)work.passes);
    mgn_bench_number(row, "result", work.result);
    return MGN_OK;
}

void mgn_bench_add_clouds(mgn_bench_list *list) {
    for (size_t i = 0; i < MGN_COUNT(cases); i++) {
        const cloud_case *c = &cases[i];
        char parameter[32] = "";
        if (c->parameter > 0)
            snprintf(parameter, sizeof parameter, c->parameter < 1 ? " scaling %g" : " k %g", c->parameter);
        mgn_bench_add(list, "cloud", (int)i, run_cloud, "%s %lldx%lld%s", c->what, (long long)c->n, (long long)c->d,
                      parameter);
    }
}
