/* The list of benchmarks and the walk over it. */
#define _GNU_SOURCE /* setenv, strcasestr */
#include "bench/bench.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/progress.h"

/* ---- what entries share ---- */

mgn_bench_entry *mgn_bench_add(mgn_bench_list *list, const char *name, int index,
                               mgn_status (*run)(mgn_bench *, const mgn_bench_entry *, cJSON *), const char *subject,
                               ...) {
    int at = list->count++;
    mgn_bench_entry *entry = &list->entries[MGN_MIN(at, MGN_BENCH_MOST - 1)];
    *entry = (mgn_bench_entry){.name = name, .index = index, .run = run};
    va_list arguments;
    va_start(arguments, subject);
    vsnprintf(entry->subject, sizeof entry->subject, subject, arguments);
    va_end(arguments);
    return entry;
}

void mgn_bench_number(cJSON *row, const char *key, double value) {
    char text[32];
    snprintf(text, sizeof text, "%.6g", value);
    if (isfinite(value))
        cJSON_AddNumberToObject(row, key, strtod(text, NULL));
    else
        cJSON_AddNullToObject(row, key);
}

mgn_status mgn_bench_set(mgn_bench_setting *setting, const char *variable, const char *value) {
    const char *before = mgn_environment(variable);
    *setting = (mgn_bench_setting){variable, before ? mgn_strdup(before) : NULL};
    if ((before && !setting->before) || setenv(variable, value, 1) != 0)
        return mgn_fail(MGN_ERR_MEMORY, "out of memory for the environment variable %s", variable);
    return MGN_OK;
}

void mgn_bench_restore(mgn_bench_setting *setting) {
    if (setting->before)
        setenv(setting->variable, setting->before, 1);
    else
        unsetenv(setting->variable);
    mgn_free(setting->before);
    setting->before = NULL;
}

double mgn_bench_uniform(uint64_t *state, double low, double high) {
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return low + (high - low) * ((double)((z ^ (z >> 31)) >> 11) * 0x1p-53);
}

/* ---- choosing ---- */

/* Name and subject are one text, so that "step cmgn" leaves out the unfused ones. */
static bool is_wanted(const mgn_bench_entry *entry, const char *filter) {
    char text[sizeof entry->subject + 32];
    snprintf(text, sizeof text, "%s %s", entry->name, entry->subject);
    return !filter || strcasestr(text, filter);
}

/* Fills the list with the entries that the filter takes. */
static mgn_status choose(mgn_bench_list *list, const char *filter) {
    mgn_bench_add_ops(list);
    mgn_bench_add_steps(list);
    mgn_bench_add_wide(list);
    mgn_bench_add_maps(list);
    mgn_bench_add_products(list);
    mgn_bench_add_clouds(list);
    mgn_bench_add_compiles(list);
    if (list->count > MGN_BENCH_MOST)
        return mgn_fail(MGN_ERR_UNSUPPORTED, "there are %d benchmarks, %d were expected at most", list->count,
                        MGN_BENCH_MOST);
    int kept = 0;
    for (int i = 0; i < list->count; i++)
        if (is_wanted(&list->entries[i], filter)) list->entries[kept++] = list->entries[i];
    list->count = kept;
    if (kept) return MGN_OK;
    return mgn_fail(
        MGN_ERR_ARGUMENT,
        "no benchmark contains '%.100s' in its name, op, model, loss or size; the names are op, step, step-unfused, "
        "wide, apply, gemm, cloud and compile",
        filter);
}

/* ---- running ---- */

/* One row. What went wrong with an entry stands in its row; only what concerns the whole run is an error. */
static mgn_status run_entry(mgn_bench *bench, const mgn_bench_entry *entry, cJSON *results) {
    cJSON *row = cJSON_CreateObject();
    cJSON_AddStringToObject(row, "name", entry->name);
    mgn_status status = entry->run(bench, entry, row);
    if (status == MGN_OK && mgn_interrupted()) status = MGN_ERR_INTERRUPTED;
    if (status == MGN_ERR_INTERRUPTED || status == MGN_ERR_MEMORY) {
        cJSON_Delete(row);
        return status == MGN_ERR_INTERRUPTED ? mgn_fail(status, "the benchmarks were interrupted") : status;
    }
    if (status != MGN_OK) {
        cJSON_AddStringToObject(row, "subject", entry->subject);
        cJSON_AddStringToObject(row, "error", mgn_last_error());
    }
    if (cJSON_AddItemToArray(results, row)) return MGN_OK;
    cJSON_Delete(row);
    return mgn_fail(MGN_ERR_MEMORY, "out of memory for the results");
}

static mgn_status run_entries(mgn_bench *bench, const mgn_bench_list *list, cJSON *results) {
    mgn_progress progress;
    mgn_progress_begin(&progress, "bench", (uint64_t)list->count);
    mgn_status status = MGN_OK;
    for (int i = 0; status == MGN_OK && i < list->count; i++) {
        mgn_progress_update(&progress, (uint64_t)i, "%s %s", list->entries[i].name, list->entries[i].subject);
        status = run_entry(bench, &list->entries[i], results);
    }
    mgn_progress_end(&progress);
    return status;
}

static void describe_limits(const mgn_bench_limits *limits, cJSON *report) {
    cJSON *object = cJSON_AddObjectToObject(report, "limits");
    cJSON_AddStringToObject(object, "source", limits->source);
    mgn_bench_number(object, "copy_gbytes_s", limits->copy * 1e-9);
    mgn_bench_number(object, "copy_in_cache_gbytes_s", limits->copy_in_cache * 1e-9);
    mgn_bench_number(object, "multiply_gflops", limits->multiply * 1e-9);
    cJSON_AddBoolToObject(object, "disturbed", limits->disturbed);
}

static mgn_status run_list(mgn_bench *bench, const mgn_bench_list *list, cJSON *report) {
    bool needs_limits = false;
    for (int i = 0; i < list->count; i++) needs_limits = needs_limits || list->entries[i].needs_limits;
    if (needs_limits) {
        MGN_TRY(mgn_bench_measure_limits(bench));
        describe_limits(&bench->limits, report);
    }
    cJSON *results = cJSON_AddArrayToObject(report, "results");
    return run_entries(bench, list, results);
}

mgn_status mgn_bench_run(mgn_device *device, const mgn_bench_options *options, cJSON **report) {
    mgn_bench bench = {.device = device, .seconds = options->seconds};
    mgn_bench_list *list = mgn_alloc(1, sizeof *list);
    if (!list) return MGN_ERR_MEMORY;
    mgn_status status = choose(list, options->filter);
    if (status == MGN_OK) {
        const mgn_device_info *info = mgn_device_get_info(device);
        cJSON *made = cJSON_CreateObject();
        cJSON_AddStringToObject(made, "version", mgn_version());
        cJSON_AddStringToObject(made, "device", info->spec);
        cJSON_AddStringToObject(made, "device_name", info->name);
        cJSON_AddStringToObject(made, "device_version", info->version);
        cJSON_AddNumberToObject(made, "threads", mgn_threads());
        mgn_bench_number(made, "seconds", options->seconds);
        status = run_list(&bench, list, made);
        if (status == MGN_OK || status == MGN_ERR_INTERRUPTED)
            *report = made;
        else
            cJSON_Delete(made);
    }
    mgn_free(list);
    return status;
}
