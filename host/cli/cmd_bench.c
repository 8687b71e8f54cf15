/* `mgn bench`: one table per group of figures, made of the same rows as the JSON. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "bench/bench.h"
#include "cli.h"

enum { MOST_FIELD = 32 };

/* One table: the name of its rows, its headings, and under each the field of a row, numbers with so many decimals. */
static const struct {
    const char *name, *headings, *fields;
} groups[] = {
    {"op", "op|size|>us|>median|>GB/s|>GFLOP/s|>of limit|bound by|note",
     "op size us:2 median_us:2 gbytes_s:2 gflops:2 share:3 bound disturbed"},
    {"step", "step|>d|>h|>layers|loss|>batch|>rows|>us|>median|>compile ms|note",
     "model d:0 h:0 layers:0 loss batch:0 rows:0 us:2 median_us:2 compile_ms:1 disturbed"},
    {"step-unfused", "step-unfused|>d|>h|>layers|loss|>batch|>rows|>us|>median|>compile ms|note",
     "model d:0 h:0 layers:0 loss batch:0 rows:0 us:2 median_us:2 compile_ms:1 disturbed"},
    {"wide", "wide|>d|>h|>layers|loss|>batch|>us|>median|>GFLOP/s|>of peak|>CLBlast us|>compile ms|note",
     "model d:0 h:0 layers:0 loss batch:0 us:0 median_us:0 gflops:1 share:3 clblast_us:0 compile_ms:1 disturbed"},
    {"apply", "apply|type|>Mpixel|>ms|>median|>Mpixel/s|note",
     "model type mpixel:1 ms:1 median_ms:1 mpixel_s:1 disturbed"},
    {"gemm", ">gemm m|>k|>n|>us|>median|>GFLOP/s|>peer's|>ratio|peer|note",
     "m:0 k:0 n:0 us:1 median_us:1 gflops:1 peer_gflops:1 ratio:3 peer disturbed"},
    {"cloud", "cloud|>points|>d|>scaling|>k|>ms|>median|>passes|>result|note",
     "what points:0 d:0 scaling:1 k:0 ms:1 median_ms:1 passes:0 result:5 disturbed"},
    {"compile", "compile|loss|start|>ms|>median|note", "model loss start ms:2 median_ms:2 disturbed"},
};

static const char *text_of(const cJSON *row, const char *field) {
    const char *text = cJSON_GetStringValue(cJSON_GetObjectItem(row, field));
    return text ? text : "";
}

/* The cell of one field. Tiny numbers keep two digits, whatever their column's decimals. */
static void add_cell(cli_table *table, const cJSON *row, const char *field, int decimals) {
    const cJSON *item = cJSON_GetObjectItem(row, field);
    double value = cJSON_GetNumberValue(item);
    if (cJSON_IsBool(item))
        cli_table_cell(table, "%s", cJSON_IsTrue(item) ? field : "");
    else if (!cJSON_IsNumber(item))
        cli_table_cell(table, "%s", cJSON_IsString(item) ? item->valuestring : "-");
    else if (decimals && value != 0 && fabs(value) < 0.1)
        cli_table_cell(table, "%.2g", value);
    else
        cli_table_cell(table, "%.*f", decimals, value);
}

static void add_row(cli_table *table, const cJSON *row, const char *fields) {
    while (*fields) {
        size_t length = strcspn(fields, " "), word = strcspn(fields, " :");
        char field[MOST_FIELD];
        snprintf(field, sizeof field, "%.*s", (int)word, fields);
        add_cell(table, row, field, word < length ? fields[word + 1] - '0' : 0);
        fields += length + (fields[length] == ' ');
    }
}

/* The rows of one group as a table; nothing when there are none. */
static mgn_status print_group(size_t g, const cJSON *results) {
    cli_table *table = NULL;
    for (const cJSON *row = results->child; row; row = row->next) {
        if (strcmp(text_of(row, "name"), groups[g].name) != 0 || cJSON_HasObjectItem(row, "error")) continue;
        if (!table) table = cli_table_create(groups[g].headings);
        add_row(table, row, groups[g].fields);
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
    for (size_t i = 0; i < MGN_COUNT(groups); i++) MGN_TRY(print_group(i, results));
    int figures = 0, disturbed = 0;
    for (const cJSON *row = results->child; row; row = row->next) {
        figures += !cJSON_HasObjectItem(row, "error");
        disturbed += cJSON_IsTrue(cJSON_GetObjectItem(row, "disturbed"));
        if (cJSON_HasObjectItem(row, "error"))
            printf("%s %s: %s\n", text_of(row, "name"), text_of(row, "subject"), text_of(row, "error"));
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
        {"filter", 'f', CLI_TEXT, "TEXT",
         "only the benchmarks that have TEXT in name and subject, such as \"step cmgn d=2 h=2 l1 batch 32\" and \"op "
         "tanh 4096\"",
         &options.filter, 0, 0},
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
    if (common.json)
        printed = cli_print_json(report);
    else
        cJSON_Delete(report);
    if (printed != MGN_OK) return printed;
    return status != MGN_OK ? mgn_fail(status, "the benchmarks were interrupted; these are the figures there are")
                            : failures;
}
