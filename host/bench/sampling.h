/* Taking samples of a time on a machine that others use too.
 *
 * The fastest sample is the figure: everything that is not the program itself only ever adds time. The machine's own
 * account of its processors (/proc/stat) says how much of them other programs used meanwhile; samples of a stretch in
 * which that was noticeable are disturbed, and count only where there are no others. */
#ifndef MGN_HOST_BENCH_SAMPLING_H
#define MGN_HOST_BENCH_SAMPLING_H

#include "bench/bench.h"

enum { MGN_SAMPLES_MOST = 2048 };

typedef struct mgn_sampler {
    double budget, started;
    int count, judged; /* samples, and how many of them belong to stretches that are over */
    double stretch_started, stretch_foreign;
    double seconds[MGN_SAMPLES_MOST];
    bool disturbed[MGN_SAMPLES_MOST];
} mgn_sampler;

/* Seconds of one run. */
typedef struct mgn_timing {
    double fastest, median;
    int samples, clean; /* taken, and undisturbed among them; figures are of the clean ones where there are any */
    bool disturbed;     /* the figures rest on disturbed samples */
} mgn_timing;

void mgn_sampler_begin(mgn_sampler *sampler, double budget);
/* Adds a sample that was just taken. Whether another one is wanted: until the budget is spent, but at least three,
 * unless these would take ten budgets. */
bool mgn_sampler_add(mgn_sampler *sampler, double seconds);
mgn_timing mgn_sampler_end(mgn_sampler *sampler);

/* Closes the stretch of samples taken since the last call: other programs used `foreign` seconds of the processors, of
 * `wall` seconds on `processors` of them. For mgn_sampler_add, and for the tests. */
void mgn_sampler_judge(mgn_sampler *sampler, double foreign, double wall, int processors);

/* Something to time: runs it `times` times and waits for the end. */
typedef struct mgn_bench_work {
    mgn_status (*run)(void *context, uint64_t times);
    void *context;
} mgn_bench_work;

enum { MGN_WORKS_MOST = 2 };

/* Times `count` works side by side: each round takes one sample of each, so that all of them see the same machine. */
mgn_status mgn_bench_time(const mgn_bench_work *works, int count, double budget, mgn_timing *timings);

/* bench_gemm.c: a product of the BLAS library's on all threads; products of CLBlast's, sizes[i] = m, n, k, one after the
 * other on an OpenCL device. */
mgn_status mgn_bench_time_blas(int m, int n, int k, double seconds, mgn_timing *timing);
mgn_status mgn_bench_time_clblast(mgn_device *device, const int (*sizes)[3], size_t count, double seconds,
                                  mgn_timing *timing);

/* Adds "<prefix>us" and "<prefix>median_us" (or ms, by `scale` = 1e3 and `unit`), samples and disturbed. */
void mgn_bench_timing(cJSON *row, const mgn_timing *timing, const char *unit, double scale);

#endif
