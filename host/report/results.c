/* Results as JSON, for `mgn experiment --json` and for results.json. */
#include <math.h>
#include <string.h>

#include "report/report.h"

static void add_figures(cJSON *row, const mgn_experiment_result *result) {
    cJSON *published = cJSON_CreateObject(), *optimum = cJSON_CreateObject();
    for (size_t i = 0; i < result->count; i++) {
        const mgn_figure *figure = &result->figures[i];
        cJSON_AddNumberToObject(row, figure->key, figure->value);
        if (!isnan(figure->published)) cJSON_AddNumberToObject(published, figure->key, figure->published);
        if (!isnan(figure->optimum)) cJSON_AddNumberToObject(optimum, figure->key, figure->optimum);
    }
    cJSON_AddNumberToObject(row, "seconds", result->seconds);
    cJSON_AddNumberToObject(row, "steps", (double)result->steps);
    cJSON_AddItemToObject(row, "published", published);
    cJSON_AddItemToObject(row, "optimum", optimum);
}

cJSON *mgn_experiment_result_json(const mgn_experiment_result *result) {
    cJSON *row = cJSON_CreateObject();
    if (result->task) cJSON_AddStringToObject(row, "task", result->task);
    cJSON_AddStringToObject(row, "model", result->model.kind);
    cJSON_AddStringToObject(row, "recipe", result->recipe);
    cJSON_AddStringToObject(row, "v", result->model.v == MGN_V_GAUSSIAN ? "gaussian" : "orthogonal");
    cJSON_AddBoolToObject(row, "signed", result->model.signed_scales);
    cJSON_AddNumberToObject(row, "d", (double)result->model.d);
    cJSON_AddNumberToObject(row, "parameters", (double)result->parameters);
    add_figures(row, result);
    return row;
}

/* ---- a report ---- */

static void add_optional(cJSON *object, const char *key, const char *text) {
    if (text) cJSON_AddStringToObject(object, key, text);
}

/* Verdicts of each result stand beside its figures. */
static cJSON *result_with_verdicts(const mgn_report_run *run, const mgn_experiment_result *result) {
    cJSON *row = mgn_experiment_result_json(result), *verdicts = cJSON_AddObjectToObject(row, "verdict");
    for (size_t i = 0; i < result->count; i++) {
        const mgn_figure_meaning meaning = mgn_explain_figure(run->entry->experiment, &result->figures[i]);
        const mgn_verdict verdict = mgn_judge_figure(&meaning, &result->figures[i]);
        if (verdict != MGN_NO_VERDICT)
            cJSON_AddStringToObject(verdicts, result->figures[i].key, mgn_verdict_name(verdict));
    }
    return row;
}

static cJSON *run_json(const mgn_report *report, const mgn_report_run *run) {
    cJSON *object = cJSON_CreateObject();
    cJSON_AddStringToObject(object, "id", run->entry->id);
    cJSON_AddStringToObject(object, "experiment", run->entry->experiment);
    add_optional(object, "field", run->entry->field);
    cJSON_AddStringToObject(object, "state", mgn_report_state_name(run->state));
    add_optional(object, "sentence", run->sentence);
    if (report->config->quick) add_optional(object, "reduced", run->entry->quick.words);
    cJSON_AddStringToObject(object, "command", run->command);
    cJSON_AddNumberToObject(object, "seconds", run->seconds);
    cJSON *results = cJSON_AddArrayToObject(object, "results");
    for (size_t i = 0; i < run->results.count; i++)
        cJSON_AddItemToArray(results, result_with_verdicts(run, &run->results.results[i]));
    return object;
}

cJSON *mgn_report_json(const mgn_report *report) {
    cJSON *object = cJSON_CreateObject(), *versions = cJSON_CreateObject();
    cJSON_AddStringToObject(object, "format", "mgn-report");
    cJSON_AddStringToObject(object, "version", mgn_version());
    cJSON_AddStringToObject(object, "date", report->date);
    cJSON_AddStringToObject(object, "machine", report->machine);
    cJSON_AddStringToObject(object, "device", report->device->spec);
    cJSON_AddStringToObject(object, "device_name", report->device->name);
    cJSON_AddStringToObject(object, "driver", report->device->version);
    for (size_t i = 0; i < report->config->version_count; i++)
        cJSON_AddStringToObject(versions, report->config->versions[i].label, report->config->versions[i].value);
    cJSON_AddItemToObject(object, "versions", versions);
    add_optional(object, "command", report->config->command);
    cJSON_AddNumberToObject(object, "seed", (double)report->config->seed);
    cJSON_AddBoolToObject(object, "quick", report->config->quick);
    cJSON_AddNumberToObject(object, "seconds", report->seconds);
    cJSON *runs = cJSON_AddArrayToObject(object, "experiments");
    for (size_t i = 0; i < report->config->count; i++) cJSON_AddItemToArray(runs, run_json(report, &report->runs[i]));
    return object;
}
