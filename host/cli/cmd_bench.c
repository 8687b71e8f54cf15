/* `mgn bench`: one table per group of figures, made of the same rows as the JSON. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "bench/bench.h"
#include "cli.h"

enum { TEXT = -1, NOTE = -2, MOST_COLUMNS = 12 };

/* One field of a row, with this many decimals; TEXT as it is; NOTE: what must be known about the figure. */
typedef struct column {
    const char *field;
    int decimals;
} column;

typedef struct group {
    const char *name; /* of its rows */
    const char *headings;
    column columns[MOST_COLUMNS];
} group;

#define STEP_COLUMNS                                                                                                \
    {{"model", TEXT}, {"d", 0}, {"h", 0}, {"layers", 0}, {"loss", TEXT}, {"batch", 0}, {"rows", 0}, {"us", 2}, \
     {"median_us", 2}, {"compile_ms", 1}, {"disturbed", NOTE}}

static const group groups[] = {
    {"op", "op|size|>us|>median|>GB/s|>GFLOP/s|>of limit|bound by|note",
     {{"op", TEXT}, {"size", TEXT}, {"us", 2}, {"median_us", 2}, {"gbytes_s", 2}, {"gflops", 2}, {"share", 3}, {"bound", TEXT},
      {"disturbed", NOTE}}},
    {"step", "step|>d|>h|>layers|loss|>batch|>rows|>us|>median|>compile ms|note", STEP_COLUMNS},
    {"step-unfused", "step-unfused|>d|>h|>layers|loss|>batch|>rows|>us|>median|>compile ms|note", STEP_COLUMNS},
    {"apply", "apply|type|>Mpixel|>ms|>median|>Mpixel/s|note",
     {{"model", TEXT}, {"type", TEXT}, {"mpixel", 1}, {"ms", 1}, {"median_ms", 1}, {"mpixel_s", 1}, {"disturbed", NOTE}}},
    {"gemm", ">gemm m|>k|>n|>us|>median|>GFLOP/s|>peer's|>ratio|peer|note",
     {{"m", 0}, {"k", 0}, {"n", 0}, {"us", 1}, {"median_us", 1}, {"gflops", 1}, {"peer_gflops", 1}, {"ratio", 3}, {"peer", TEXT},
      {"disturbed", NOTE}}},
    {"compile", "compile|loss|start|>ms|>median|note",
     {{"model", TEXT}, {"loss", TEXT}, {"start", TEXT}, {"ms", 2}, {"median_ms", 2}, {"disturbed", NOTE}}},
};

static const char *text_of(const cJSON *row, const char *field) {
    const char *text = cJSON_GetStringValue(cJSON_GetObjectItem(row, field));
    return text ? text : "";
}

static void add_cell(cli_table *table, const cJSON *row, const column *c) {
    const cJSON *field = cJSON_GetObjectItem(row, c->field);
    double value = cJSON_GetNumberValue(field);
    if (c->decimals == TEXT) cli_table_cell(table, "%s", text_of(row, c->field));
    else if (c->decimals == NOTE) cli_table_cell(table, "%s", cJSON_IsTrue(field) ? "disturbed" : "");
    else if (!isfinite(value)) cli_table_cell(table, "-");
    else if (c->decimals && value != 0 && fabs(value) < 0.1) cli_table_cell(table, "%.2g", value); /* tiny ones keep digits */
    else cli_table_cell(table, "%.*f", c->decimals, value);
}

/* The rows of one group as a table; nothing when there are none. */
static mgn_status print_group(const group *g, const cJSON *results) {
    cli_table *table = NULL;
    for (const cJSON *row = results->child; row; row = row->next) {
        if (strcmp(text_of(row, "name"), g->name) != 0 || cJSON_HasObjectItem(row, "error")) continue;
        if (!table) table = cli_table_create(g->headings);
        for (const column *c = g->columns; c < g->columns + MOST_COLUMNS && c->field; c++) add_cell(table, row, c);
    }
    if (!table) return MGN_OK;
    MGN_TRY(cli_table_print(table));
    putchar('\n');
    return MGN_OK;
}

static void print_limits(const cJSON *limits) {
    if (!limits) return;
    printf("limits   copy %.1f GB/s, in cache %.1f GB/s, product %.1f GFLOP/s (%s)%s\n",
           cJSON_GetNumberValue(cJSON_GetObjectItem(limits, "copy_gbytes_s")),
           cJSON_GetNumberValue(cJSON_GetObjectItem(limits, "copy_in_cache_gbytes_s")),
           cJSON_GetNumberValue(cJSON_GetObjectItem(limits, "multiply_gflops")), text_of(limits, "source"),
           cJSON_IsTrue(cJSON_GetObjectItem(limits, "disturbed")) ? "; disturbed" : "");
}

static mgn_status print_text(const cJSON *report) {
    const cJSON *results = cJSON_GetObjectItem(report, "results");
    if (!results) return mgn_fail(MGN_ERR_MEMORY, "out of memory for the results");
    printf("device   %s (%s; %s), %.0f threads\n", text_of(report, "device"), text_of(report, "device_name"),
           text_of(report, "device_version"), cJSON_GetNumberValue(cJSON_GetObjectItem(report, "threads")));
    print_limits(cJSON_GetObjectItem(report, "limits"));
    putchar('\n');
    for (size_t i = 0; i < MGN_COUNT(groups); i++) MGN_TRY(print_group(&groups[i], results));
    int figures = 0, disturbed = 0;
    for (const cJSON *row = results->child; row; row = row->next) {
        figures += !cJSON_HasObjectItem(row, "error");
        disturbed += cJSON_IsTrue(cJSON_GetObjectItem(row, "disturbed"));
        if (cJSON_HasObjectItem(row, "error")) printf("%s %s: %s\n", text_of(row, "name"), text_of(row, "subject"), text_of(row, "error"));
    }
    printf("%d figures, each the fastest sample of %g s; %d disturbed by other programs\n", figures,
           cJSON_GetNumberValue(cJSON_GetObjectItem(report, "seconds")), disturbed);
    return MGN_OK;
}

/* Failed entries do not hide the figures of the others, but the command fails. */
static mgn_status verdict(const cJSON *report) {
    int failed = 0, all = 0;
    const char *first = "";
    const cJSON *results = cJSON_GetObjectItem(report, "results");
    for (const cJSON *row = results ? results->child : NULL; row; row = row->next, all++)
        if (cJSON_HasObjectItem(row, "error") && failed++ == 0) first = text_of(row, "error");
    if (!failed) return MGN_OK;
    return mgn_fail(MGN_ERR_DEVICE, "%d of %d benchmarks could not run; the first one: %.300s", failed, all, first);
}

mgn_status cmd_bench(const cli_command *command, int argc, char **argv) {
    cli_common common;
    mgn_bench_options options = {.seconds = 0.3};
    const cli_option rows[] = {
        {"filter", 'f', CLI_TEXT, "TEXT", "only the benchmarks that contain TEXT in \"name model|op ... size\": step, tanh, \"nll batch 32\"", &options.filter, 0, 0},
        {"seconds", 's', CLI_REAL, "S", "measuring time of one figure (default 0.3)", &options.seconds, 0.001, 3600},
    };
    MGN_TRY(cli_parse(command, argc, argv, rows, MGN_COUNT(rows), &common));
    if (common.help) return MGN_OK;
    mgn_device *device = NULL;
    MGN_TRY(cli_open_device(&common, &device));
    cJSON *report = NULL;
    mgn_status status = mgn_bench_run(device, &options, &report);
    mgn_device_close(device);
    if (!report) return status;
    mgn_status failures = verdict(report);
    mgn_status printed = common.json ? MGN_OK : print_text(report);
    if (common.json) printed = cli_print_json(report);
    else cJSON_Delete(report);
    if (printed != MGN_OK) return printed;
    return status != MGN_OK ? mgn_fail(status, "the benchmarks were interrupted; these are the figures there are") : failures;
}
