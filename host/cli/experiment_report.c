#include "experiment_report.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <mgn/experiment.h>

#include "core/parse.h"
#include "fallback.h"
#include "report/report.h"
#include "versions.h"

enum { MOST_ENTRIES = 64 };

/* ---- names ---- */

static bool is_named(const char *word, const mgn_report_entry *entry) {
    return strcmp(word, "all") == 0 || strcmp(word, entry->experiment) == 0 || strcmp(word, entry->id) == 0;
}

mgn_status cli_check_report_names(const cli_common *common) {
    size_t count;
    const mgn_report_entry *entries = mgn_report_entries(&count);
    for (int w = 0; w < common->argument_count; w++) {
        const char *word = common->arguments[w], *nearest = NULL;
        bool found = false;
        for (size_t i = 0; i < count; i++) {
            found = found || is_named(word, &entries[i]);
            mgn_nearest(word, entries[i].id, &nearest);
        }
        if (!found)
            return mgn_fail(
                MGN_ERR_ARGUMENT,
                "there is no experiment '%.100s'%s%s%s; `mgn experiment` lists them, and all is all of them", word,
                nearest ? "; did you mean '" : "", nearest ? nearest : "", nearest ? "'?" : "");
    }
    return MGN_OK;
}

void cli_report_names(char *text, size_t capacity) {
    size_t count, used = (size_t)snprintf(text, capacity, "all");
    const mgn_report_entry *entries = mgn_report_entries(&count);
    for (size_t i = 0; mgn_experiment_label(i) && used < capacity; i++)
        used += (size_t)snprintf(text + used, capacity - used, "|%s", mgn_experiment_label(i));
    for (size_t i = 0; i < count && used < capacity; i++)
        if (mgn_experiment_check(entries[i].id) != MGN_OK)
            used += (size_t)snprintf(text + used, capacity - used, "|%s", entries[i].id);
}

mgn_status cli_list_experiments(bool json) {
    cJSON *list = json ? cJSON_CreateArray() : NULL;
    cli_table *table = json ? NULL : cli_table_create("experiment|what it is");
    for (size_t i = 0; mgn_experiment_label(i); i++) {
        if (json) {
            cJSON *row = cJSON_CreateObject();
            cJSON_AddStringToObject(row, "experiment", mgn_experiment_label(i));
            cJSON_AddStringToObject(row, "summary", mgn_experiment_summary(i));
            cJSON_AddItemToArray(list, row);
        } else {
            cli_table_cell(table, "%s", mgn_experiment_label(i));
            cli_table_cell(table, "%s", mgn_experiment_summary(i));
        }
    }
    if (json) return cli_print_json(list);
    MGN_TRY(cli_table_print(table));
    puts("\n`mgn experiment NAME` runs one, `mgn experiment all -o DIR` all of them and writes a page.");
    return MGN_OK;
}

/* ---- results ---- */

static void print_number(cli_table *table, double value) {
    if (isnan(value))
        cli_table_cell(table, "%s", "");
    else
        cli_table_cell(table, "%.4g", value);
}

static void print_run(cli_table *table, const mgn_report_run *run) {
    const mgn_experiment_result *result = NULL;
    const mgn_figure *figure = mgn_report_headline(run, NULL, &result);
    const mgn_figure nothing = {"", NAN, NAN, NAN};
    if (!figure) figure = &nothing;
    const mgn_figure_meaning meaning = mgn_explain_figure(run->entry->experiment, figure);
    cli_table_cell(table, "%s", run->entry->id);
    cli_table_cell(table, "%s", figure->key);
    print_number(table, figure->published);
    print_number(table, figure->value);
    print_number(table, figure->optimum);
    cli_table_cell(table, "%s", mgn_verdict_name(mgn_judge_figure(&meaning, figure)));
    cli_table_cell(table, "%.1f", run->seconds);
    cli_table_cell(table, "%s", mgn_report_state_name(run->state));
}

static mgn_status print_report(const mgn_report *report, bool json) {
    if (json) return cli_print_json(mgn_report_json(report));
    cli_table *table = cli_table_create("experiment|figure|>published|>ours|>optimum|verdict|>seconds|state");
    for (size_t i = 0; i < report->config->count; i++) print_run(table, &report->runs[i]);
    MGN_TRY(cli_table_print(table));
    printf("%s/index.html\n", report->config->folder);
    return MGN_OK;
}

/* ---- the command ---- */

/* The command line that makes the same report; malloc's text. */
static char *describe(const cli_common *common, const cli_report_options *options, const char *device) {
    char *text = NULL;
    size_t size = 0;
    FILE *stream = open_memstream(&text, &size);
    if (!stream) return NULL;
    fputs("mgn experiment", stream);
    for (int i = 0; i < common->argument_count; i++) fprintf(stream, " %s", common->arguments[i]);
    mgn_report_option(stream, "output", options->folder);
    mgn_report_option(stream, "data", options->data);
    if (options->quick) fputs(" --quick", stream);
    fprintf(stream, " --seed %llu --device %s", (unsigned long long)common->seed, device);
    if (fclose(stream) == 0) return text;
    free(text);
    return NULL;
}

static mgn_status run(const cli_common *common, mgn_device *device, mgn_report_config *config) {
    mgn_report *report = NULL;
    mgn_status status = mgn_report_create(device, config, &report);
    if (report) {
        /* The sentence of a failure is told after the results. */
        char sentence[1024];
        snprintf(sentence, sizeof sentence, "%s", mgn_last_error());
        const bool is_last = !cli_will_run_again(common->fallback, status);
        const mgn_status printed = is_last ? print_report(report, common->json) : MGN_OK;
        if (status != MGN_OK) status = mgn_fail(status, "%s", sentence);
        if (status == MGN_OK) status = printed;
    }
    mgn_report_destroy(report);
    return status;
}

mgn_status cli_write_report(const cli_common *common, const cli_report_options *options) {
    size_t count;
    const mgn_report_entry *entries = mgn_report_entries(&count), *chosen[MOST_ENTRIES];
    cli_versions versions;
    mgn_device *device = NULL;
    mgn_report_config config = {.folder = options->folder,
                                .data = options->data,
                                .entries = chosen,
                                .seed = common->seed,
                                .quick = options->quick,
                                .force = options->force,
                                .plots = true};
    for (size_t i = 0; i < count; i++) {
        bool is_asked_for = false;
        for (int w = 0; w < common->argument_count; w++)
            is_asked_for = is_asked_for || is_named(common->arguments[w], &entries[i]);
        if (is_asked_for && config.count < MOST_ENTRIES) chosen[config.count++] = &entries[i];
    }
    cli_find_versions(&versions);
    config.versions = versions.rows;
    config.version_count = versions.count;
    MGN_TRY(cli_open_device(common, &device));
    char *command = describe(common, options, mgn_device_get_info(device)->spec);
    config.command = command;
    const mgn_status status =
        command ? run(common, device, &config) : mgn_fail(MGN_ERR_MEMORY, "out of memory while a report was begun");
    free(command);
    mgn_device_close(device);
    return status;
}
