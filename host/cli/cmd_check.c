/* `mgn check`: proves that the devices compute what the mathematics says. One line of the table per op, device and
 * precision, with the check that came closest to its limit; every failed check follows with its worst element. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <mgn/check.h>

#include "cli.h"

/* One line of the table while its checks come in. */
typedef struct check_line {
    char op[32], device[32], dtype[16], kind[16];
    size_t checks, failed;
    double error, allowed, ratio;
} check_line;

typedef struct check_output {
    bool failed;      /* memory ran out */
    cli_table *table; /* made with its first line */
    check_line line;
    char *failures; /* sentences, one per line */
    size_t failures_size;
    FILE *failures_stream;
    cJSON *results, *devices;
    char last_device[32];
} check_output;

static void flush_line(check_output *out) {
    const check_line *line = &out->line;
    if (!line->checks) return;
    if (!out->table) out->table = cli_table_create("op|device|dtype|>checks|>error|>allowed|in|verdict");
    if (!out->table) {
        out->failed = true;
        return;
    }
    cli_table_cell(out->table, "%s", line->op);
    cli_table_cell(out->table, "%s", line->device);
    cli_table_cell(out->table, "%s", line->dtype);
    cli_table_cell(out->table, "%zu", line->checks);
    cli_table_cell(out->table, "%.2g", line->error);
    cli_table_cell(out->table, "%.2g", line->allowed);
    cli_table_cell(out->table, "%s", line->kind);
    cli_table_cell(out->table, "%s", line->failed ? "FAIL" : "pass");
}

static void add_to_line(check_output *out, const mgn_check_result *result) {
    check_line *line = &out->line;
    if (strcmp(line->op, result->op) != 0 || strcmp(line->device, result->device) != 0 ||
        strcmp(line->dtype, result->dtype) != 0) {
        flush_line(out);
        *line = (check_line){.ratio = -1};
        snprintf(line->op, sizeof line->op, "%s", result->op);
        snprintf(line->device, sizeof line->device, "%s", result->device);
        snprintf(line->dtype, sizeof line->dtype, "%s", result->dtype);
    }
    double ratio = result->ok && result->error == 0 ? 0
                   : result->allowed > 0            ? result->error / result->allowed
                                                    : INFINITY;
    line->checks++;
    line->failed += !result->ok;
    if (ratio <= line->ratio) return;
    line->ratio = ratio;
    line->error = result->error;
    line->allowed = result->allowed;
    snprintf(line->kind, sizeof line->kind, "%s", result->kind);
}

static void add_json(check_output *out, const mgn_check_result *result) {
    cJSON *row = cJSON_CreateObject();
    cJSON_AddStringToObject(row, "op", result->op);
    cJSON_AddStringToObject(row, "device", result->device);
    cJSON_AddStringToObject(row, "dtype", result->dtype);
    cJSON_AddStringToObject(row, "kind", result->kind);
    /* JSON has no infinity: an error beyond all bounds is null. */
    if (isfinite(result->error))
        cJSON_AddNumberToObject(row, "error", result->error);
    else
        cJSON_AddNullToObject(row, "error");
    cJSON_AddNumberToObject(row, "allowed", result->allowed);
    cJSON_AddBoolToObject(row, "ok", result->ok);
    if (!result->ok) cJSON_AddStringToObject(row, "detail", result->detail);
    if (!cJSON_AddItemToArray(out->results, row)) {
        cJSON_Delete(row);
        out->failed = true;
    }
    for (const cJSON *known = out->devices ? out->devices->child : NULL; known; known = known->next)
        if (strcmp(known->valuestring, result->device) == 0) return;
    cJSON_AddItemToArray(out->devices, cJSON_CreateString(result->device));
}

static void take_result(void *context, const mgn_check_result *result) {
    check_output *out = context;
    if (out->results)
        add_json(out, result);
    else
        add_to_line(out, result);
    if (!result->ok)
        fprintf(out->failures_stream, "FAIL %s on %s in %s, %s: error %.3g, allowed %.3g: %s\n", result->op,
                result->device, result->dtype, result->kind, result->error, result->allowed, result->detail);
}

static mgn_status print_text(check_output *out, uint64_t seed, const mgn_check_summary *summary) {
    flush_line(out);
    mgn_status status = cli_table_print(out->table);
    out->table = NULL;
    MGN_TRY(status);
    printf("%s%zu checks, %zu failed (seed %" PRIu64 ")\n", out->failures ? out->failures : "", summary->checks,
           summary->failed, seed);
    return MGN_OK;
}

static mgn_status run_checks(const mgn_check_options *options, bool json, check_output *out) {
    mgn_check_summary summary = {0, 0};
    cJSON *object = NULL;
    if (json) {
        object = cJSON_CreateObject();
        cJSON_AddNumberToObject(object, "seed", (double)options->seed);
        out->devices = cJSON_AddArrayToObject(object, "devices");
        cJSON_AddNumberToObject(object, "checks", 0);
        cJSON_AddNumberToObject(object, "failed", 0);
        out->results = cJSON_AddArrayToObject(object, "results");
        if (!out->results) out->failed = true;
    }
    mgn_status status = out->failed ? mgn_fail(MGN_ERR_MEMORY, "out of memory for the table of checks")
                                    : mgn_check_run(options, take_result, out, &summary);
    if (status == MGN_OK && fflush(out->failures_stream) != 0) out->failed = true;
    if (status == MGN_OK && out->failed) status = mgn_fail(MGN_ERR_MEMORY, "out of memory for the table of checks");
    if (status == MGN_OK && json) {
        cJSON_SetNumberValue(cJSON_GetObjectItem(object, "checks"), (double)summary.checks);
        cJSON_SetNumberValue(cJSON_GetObjectItem(object, "failed"), (double)summary.failed);
        status = cli_print_json(object);
    } else {
        cJSON_Delete(object);
        if (status == MGN_OK) status = print_text(out, options->seed, &summary);
    }
    if (status == MGN_OK && summary.failed)
        status =
            mgn_fail(MGN_ERR_NUMERIC, "%zu of %zu checks failed; --op NAME --seed %" PRIu64 " repeats those of one op",
                     summary.failed, summary.checks, options->seed);
    return status;
}

mgn_status cmd_check(const cli_command *command, int argc, char **argv) {
    cli_common common;
    mgn_check_options options = {0};
    const cli_option rows[] = {
        {"op", 0, CLI_TEXT, "NAME",
         "check this op, model and loss (cmgn/nll) or program (rows/sums) only (default: all)", &options.op, 0, 0},
    };
    MGN_TRY(cli_parse(command, argc, argv, rows, MGN_COUNT(rows), &common));
    if (common.help) return MGN_OK;
    options.device = common.device;
    options.seed = common.seed;
    check_output out = {0};
    out.failures_stream = open_memstream(&out.failures, &out.failures_size);
    if (!out.failures_stream) return mgn_fail(MGN_ERR_MEMORY, "out of memory for the table of checks");
    mgn_status status = run_checks(&options, common.json, &out);
    if (out.table) cli_table_print(out.table); /* what there was before a failure */
    fclose(out.failures_stream);
    free(out.failures);
    return status;
}
