#define _POSIX_C_SOURCE 200809L
#include "bench/sampling.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* /proc/stat counts in hundredths of a second: shorter stretches can not be judged. */
static const double shortest_stretch = 0.1;

/* Work that others may do unnoticed: this share of all processors, and the few ticks that the account is coarse by. */
static const double tolerated_share = 0.03, tolerated_seconds = 0.02;

/* Seconds of processors that programs other than this one have used since the machine started; negative when the system
 * does not tell. Waiting and idling are not use; time that a host machine took away ("steal") is. */
static double foreign_seconds(void) {
    unsigned long long user, nice, system, idle, wait, irq, soft, steal;
    FILE *file = fopen("/proc/stat", "r");
    int found = 0;
    if (file) {
        found = fscanf(file, "cpu %llu %llu %llu %llu %llu %llu %llu %llu", &user, &nice, &system, &idle, &wait, &irq,
                       &soft, &steal);
        fclose(file);
    }
    struct timespec own;
    if (found != 8 || clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &own) != 0) return -1;
    double busy = (double)(user + nice + system + irq + soft + steal) / (double)sysconf(_SC_CLK_TCK);
    return busy - (double)own.tv_sec - 1e-9 * (double)own.tv_nsec;
}

void mgn_sampler_begin(mgn_sampler *sampler, double budget) {
    sampler->budget = budget;
    sampler->count = sampler->judged = 0;
    sampler->stretch_foreign = foreign_seconds();
    sampler->started = sampler->stretch_started = mgn_now();
}

void mgn_sampler_judge(mgn_sampler *sampler, double foreign, double wall, int processors) {
    bool disturbed = foreign > tolerated_share * wall * processors + tolerated_seconds;
    for (; sampler->judged < sampler->count; sampler->judged++) sampler->disturbed[sampler->judged] = disturbed;
}

static void close_stretch(mgn_sampler *sampler, double now) {
    double foreign = foreign_seconds();
    bool known = foreign >= 0 && sampler->stretch_foreign >= 0;
    mgn_sampler_judge(sampler, known ? foreign - sampler->stretch_foreign : 0, now - sampler->stretch_started,
                      (int)sysconf(_SC_NPROCESSORS_ONLN));
    sampler->stretch_foreign = foreign;
    sampler->stretch_started = mgn_now();
}

bool mgn_sampler_add(mgn_sampler *sampler, double seconds) {
    double now = mgn_now(), spent = now - sampler->started;
    sampler->seconds[sampler->count++] = seconds;
    if (now - sampler->stretch_started > shortest_stretch) close_stretch(sampler, now);
    if (sampler->count == MGN_SAMPLES_MOST || mgn_interrupted()) return false;
    return spent < sampler->budget || (sampler->count < 3 && spent < 10 * sampler->budget);
}

static int by_size(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

mgn_timing mgn_sampler_end(mgn_sampler *sampler) {
    mgn_timing timing = {.samples = sampler->count};
    if (!sampler->count) return timing;
    if (sampler->judged < sampler->count) close_stretch(sampler, mgn_now());
    for (int i = 0; i < sampler->count; i++) timing.clean += !sampler->disturbed[i];
    timing.disturbed = timing.clean == 0;
    int kept = 0;
    for (int i = 0; i < sampler->count; i++)
        if (timing.disturbed || !sampler->disturbed[i]) sampler->seconds[kept++] = sampler->seconds[i];
    qsort(sampler->seconds, (size_t)kept, sizeof *sampler->seconds, by_size);
    timing.fastest = sampler->seconds[0];
    timing.median = sampler->seconds[kept / 2];
    return timing;
}

/* ---- works ---- */

/* A sample takes at least this long, so that the clock and the waiting at its end do not show. */
static const double shortest_sample = 1e-3;

/* Seconds of one run, as the mean of `times`. */
static mgn_status sample(const mgn_bench_work *work, uint64_t times, double *seconds) {
    double start = mgn_now();
    MGN_TRY(work->run(work->context, times));
    *seconds = (mgn_now() - start) / (double)times;
    return MGN_OK;
}

/* How many runs make one sample; warms up on the way. */
static mgn_status calibrate(const mgn_bench_work *work, double budget, uint64_t *times) {
    double seconds = 0, wanted = MGN_MIN(shortest_sample, budget / 3);
    MGN_TRY(sample(work, 1, &seconds));
    for (*times = 1; !mgn_interrupted(); *times *= 2) {
        MGN_TRY(sample(work, *times, &seconds));
        if (seconds * (double)*times >= wanted || *times >= 1u << 20) break;
    }
    return MGN_OK;
}

mgn_status mgn_bench_time(const mgn_bench_work *works, int count, double budget, mgn_timing *timings) {
    mgn_sampler *samplers = mgn_alloc((size_t)count, sizeof *samplers);
    uint64_t times[MGN_WORKS_MOST];
    mgn_status status = samplers ? MGN_OK : MGN_ERR_MEMORY;
    for (int i = 0; status == MGN_OK && i < count; i++) status = calibrate(&works[i], budget, &times[i]);
    for (int i = 0; status == MGN_OK && i < count; i++) mgn_sampler_begin(&samplers[i], budget * count);
    for (bool more = true; status == MGN_OK && more;) {
        more = false;
        for (int i = 0; status == MGN_OK && i < count; i++) {
            double seconds = 0;
            status = sample(&works[i], times[i], &seconds);
            if (status == MGN_OK) more = mgn_sampler_add(&samplers[i], seconds);
        }
    }
    for (int i = 0; status == MGN_OK && i < count; i++) timings[i] = mgn_sampler_end(&samplers[i]);
    mgn_free(samplers);
    return status;
}

void mgn_bench_timing(cJSON *row, const mgn_timing *timing, const char *unit, double scale) {
    char median[32];
    snprintf(median, sizeof median, "median_%s", unit);
    mgn_bench_number(row, unit, timing->fastest * scale);
    mgn_bench_number(row, median, timing->median * scale);
    cJSON_AddNumberToObject(row, "samples", timing->samples);
    cJSON_AddNumberToObject(row, "clean_samples", timing->clean);
    cJSON_AddBoolToObject(row, "disturbed", timing->disturbed);
}
