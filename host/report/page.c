/* The page: one file without scripts and without anything from elsewhere; pictures are data: URIs. */
#include <math.h>
#include <string.h>

#include "report/report.h"

/* ---- small parts ---- */

/* `label` stands before the number where a narrow screen has no heads of columns; "" where there is none such. */
static void cell(FILE *s, const char *tag, const char *label, double value) {
    fprintf(s, "<td class=\"n%s%s\" data-l=\"%s\">", *tag ? " " : "", tag, label);
    mgn_html_number(s, value);
    fputs("</td>", s);
}

/* A sign, a word and a colour say the same. */
static void verdict_cell(FILE *s, mgn_verdict verdict) {
    static const char *const signs[] = {"", "\u25b2", "=", "\u25bc"};
    fputs("<td>", s);
    if (verdict != MGN_NO_VERDICT)
        fprintf(s, "<span class=\"v %s\"><span aria-hidden=\"true\">%s</span> %s</span>", mgn_verdict_name(verdict),
                signs[verdict], mgn_verdict_name(verdict));
    fputs("</td>", s);
}

static void state_chip(FILE *s, const mgn_report_run *run) {
    fprintf(s, "<span class=\"state s%d\">%s</span>", (int)run->state, mgn_report_state_name(run->state));
}

static bool was_run(const mgn_report_run *run) {
    return run->state != MGN_REPORT_ABSENT && run->state != MGN_REPORT_WAITING;
}

static void pair(FILE *s, const char *label, const char *value) {
    fputs("<div><dt>", s);
    mgn_html_text(s, label);
    fputs("</dt><dd>", s);
    mgn_html_text(s, value);
    fputs("</dd></div>\n", s);
}

static const char *direction_words(mgn_direction direction) {
    static const char *const words[] = {"", "lower is better", "higher is better", "nearer to the optimum is better"};
    return words[direction];
}

/* "RMSE, dB" and under it which direction is better. */
static void figure_name(FILE *s, const mgn_figure_meaning *meaning) {
    mgn_html_text(s, meaning->words);
    if (*meaning->unit) {
        fputs(" <span class=\"unit\">", s);
        mgn_html_text(s, meaning->unit);
        fputs("</span>", s);
    }
    if (meaning->direction != MGN_NO_DIRECTION)
        fprintf(s, "<span class=\"dir\">%s</span>", direction_words(meaning->direction));
}

/* ---- head ---- */

static void write_versions(FILE *s, const mgn_report *report) {
    fputs("<details><summary>Libraries</summary><dl>\n", s);
    for (size_t i = 0; i < report->config->version_count; i++)
        pair(s, report->config->versions[i].label, report->config->versions[i].value);
    fputs("</dl></details>\n", s);
}

static void write_head(FILE *s, const mgn_report *report) {
    const mgn_report_config *config = report->config;
    char text[512];
    fprintf(s,
            "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
            "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
            "<meta name=\"generator\" content=\"mgn %s\">\n<meta name=\"color-scheme\" content=\"light dark\">\n"
            "<title>mgn: experiments and published figures</title>\n<style>\n%s%s</style>\n</head>\n<body>\n<header>\n"
            "<h1>Experiments beside their published figures</h1>\n",
            mgn_version(), mgn_report_style, mgn_report_layout);
    fprintf(s, "<p class=\"lead\">Monotone gradient networks: %zu experiments, %zu done", config->count,
            mgn_report_count(report, MGN_REPORT_DONE));
    const size_t failed = mgn_report_count(report, MGN_REPORT_FAILED),
                 absent = mgn_report_count(report, MGN_REPORT_ABSENT);
    if (failed) fprintf(s, ", %zu failed", failed);
    if (absent) fprintf(s, ", %zu without their data", absent);
    fputs(", in ", s);
    mgn_html_seconds(s, report->seconds);
    fputs(config->quick ? ". A quick run: what it makes smaller is said in each section.</p>\n" : ".</p>\n", s);
    if (*report->plots) {
        fputs("<p class=\"note\">Without curves and maps: ", s);
        mgn_html_text(s, report->plots);
        fputs("</p>\n", s);
    }
    fputs("<dl class=\"facts\">\n", s);
    snprintf(text, sizeof text, "%s, %s", report->device->spec, report->device->name);
    pair(s, "Device", text);
    snprintf(text, sizeof text, "%s%s%s", report->device->platform, *report->device->platform ? ", " : "",
             report->device->version);
    pair(s, "Driver", text);
    pair(s, "Machine", report->machine);
    pair(s, "mgn", mgn_version());
    pair(s, "Date", report->date);
    snprintf(text, sizeof text, "%llu", (unsigned long long)config->seed);
    pair(s, "Seed", text);
    fputs("</dl>\n", s);
    write_versions(s, report);
    if (config->command) {
        fputs("<pre><code>", s);
        mgn_html_text(s, config->command);
        fputs("</code></pre>\n", s);
    }
    fputs("</header>\n<main>\n", s);
}

/* ---- summary ---- */

static void summary_row(FILE *s, const mgn_report *report, const mgn_report_run *run) {
    const mgn_experiment_result *result = NULL;
    const mgn_figure *figure = mgn_report_headline(run, NULL, &result);
    size_t verdicts[4];
    mgn_report_tally(run, verdicts);
    const size_t stated = verdicts[MGN_BETTER] + verdicts[MGN_SAME] + verdicts[MGN_WORSE];
    fprintf(s, "<tr><th scope=\"row\" class=\"w\"><a href=\"#%s\">", run->entry->id);
    mgn_html_text(s, run->entry->title);
    fputs("</a></th>", s);
    if (figure) {
        const mgn_figure_meaning meaning = mgn_explain_figure(run->entry->experiment, figure);
        char model[96];
        mgn_report_model(&result->model, model, sizeof model);
        fputs("<td class=\"w\">", s);
        figure_name(s, &meaning);
        fputs("<span class=\"dir\">", s);
        mgn_html_text(s, model);
        fputs("</span></td>", s);
        cell(s, "", "Published", figure->published);
        cell(s, "ours", "Ours", figure->value);
        cell(s, "", "Optimum", figure->optimum);
        verdict_cell(s, mgn_judge_figure(&meaning, figure));
    } else {
        fputs("<td colspan=\"5\" class=\"none\">", s);
        mgn_html_text(s, run->sentence ? run->sentence : "");
        fputs("</td>", s);
    }
    fputs("<td class=\"n\" data-l=\"Reached\">", s);
    if (stated) fprintf(s, "%zu of %zu", verdicts[MGN_BETTER] + verdicts[MGN_SAME], stated);
    fputs("</td><td class=\"n\" data-l=\"Time\">", s);
    if (was_run(run)) mgn_html_seconds(s, run->seconds);
    fputs("</td><td>", s);
    state_chip(s, run);
    if (was_run(run) && report->config->quick && run->entry->quick.words)
        fputs("<span class=\"dir\">smaller run</span>", s);
    fputs("</td></tr>\n", s);
}

static void write_summary(FILE *s, const mgn_report *report) {
    fputs("<section id=\"summary\">\n<h2>Summary</h2>\n<p>The best result of each experiment in its leading figure. "
          "<em>Reached</em>: of all figures that are published beside an experiment, how many are bettered or equalled "
          "to the published digits by one of our recipes for the same model. "
          "<em>Optimum</em>: the closed form, or what two samples of the target have.</p>\n<div class=\"box\" "
          "tabindex=\"0\">"
          "<table>\n<thead><tr>"
          "<th scope=\"col\">Experiment</th><th scope=\"col\">Figure</th><th scope=\"col\" class=\"n\">Published</th>"
          "<th scope=\"col\" class=\"n\">Ours</th><th scope=\"col\" class=\"n\">Optimum</th>"
          "<th scope=\"col\">Verdict</th><th scope=\"col\" class=\"n\">Reached</th>"
          "<th scope=\"col\" class=\"n\">Time</th><th scope=\"col\">State</th></tr></thead>\n<tbody>\n",
          s);
    for (size_t i = 0; i < report->config->count; i++) summary_row(s, report, &report->runs[i]);
    fputs("</tbody></table></div>\n</section>\n", s);
}

/* ---- an experiment's tables ---- */

/* Task, model and recipe: the head of a row that stands for `rows` figures. */
static void result_cells(FILE *s, const char *experiment, const mgn_experiment_result *result, size_t rows) {
    char model[96];
    mgn_report_model(&result->model, model, sizeof model);
    fprintf(s, "<th scope=\"rowgroup\" rowspan=\"%zu\">", rows);
    mgn_html_text(s, model);
    fputs("<span class=\"dir\">", s);
    if (result->task && strcmp(result->task, experiment) != 0) {
        mgn_html_text(s, result->task);
        fputs(", ", s);
    }
    fprintf(s, "d = %lld, %lld parameters</span></th><td rowspan=\"%zu\">", (long long)result->model.d,
            (long long)result->parameters, rows);
    mgn_html_text(s, mgn_report_word(result->recipe));
    fprintf(s, "</td><td class=\"n\" rowspan=\"%zu\">", rows);
    mgn_html_seconds(s, result->seconds);
    fputs("</td>", s);
}

static bool is_stated(const mgn_figure *figure) { return !isnan(figure->published); }

static size_t count_stated(const mgn_experiment_result *result) {
    size_t count = 0;
    for (size_t i = 0; i < result->count; i++) count += is_stated(&result->figures[i]);
    return count;
}

static void compared_rows(FILE *s, const mgn_report_run *run, const mgn_experiment_result *result) {
    size_t rows = count_stated(result);
    bool first = true;
    if (rows) fputs("<tbody>\n", s);
    for (size_t i = 0; i < result->count; i++) {
        const mgn_figure *figure = &result->figures[i];
        if (!is_stated(figure)) continue;
        const mgn_figure_meaning meaning = mgn_explain_figure(run->entry->experiment, figure);
        fputs("<tr>", s);
        if (first) result_cells(s, run->entry->experiment, result, rows);
        first = false;
        fputs("<td>", s);
        figure_name(s, &meaning);
        fputs("</td>", s);
        cell(s, "", "Published", figure->published);
        cell(s, "ours", "Ours", figure->value);
        cell(s, "", "Optimum", figure->optimum);
        verdict_cell(s, mgn_judge_figure(&meaning, figure));
        fputs("</tr>\n", s);
    }
    if (rows) fputs("</tbody>\n", s);
}

static void write_compared(FILE *s, const mgn_report_run *run) {
    size_t stated = 0;
    for (size_t i = 0; i < run->results.count; i++) stated += count_stated(&run->results.results[i]);
    if (!stated) {
        fputs("<p class=\"note\">No figure is published beside this run.</p>\n", s);
        return;
    }
    fputs("<h3>Beside the published figures</h3>\n<div class=\"box\" tabindex=\"0\"><table>\n<thead><tr>"
          "<th scope=\"col\">Model</th><th scope=\"col\">Recipe</th><th scope=\"col\" class=\"n\">Learned in</th>"
          "<th scope=\"col\">Figure</th><th scope=\"col\" class=\"n\">Published</th>"
          "<th scope=\"col\" class=\"n\">Ours</th><th scope=\"col\" class=\"n\">Optimum</th>"
          "<th scope=\"col\">Verdict</th></tr></thead>\n",
          s);
    for (size_t i = 0; i < run->results.count; i++) compared_rows(s, run, &run->results.results[i]);
    fputs("</table></div>\n", s);
}

/* The figures of all results, in the order in which they first come; returns how many. */
static size_t list_keys(const mgn_report_run *run, const mgn_figure *keys[MGN_MOST_FIGURES]) {
    size_t count = 0;
    for (size_t i = 0; i < run->results.count; i++)
        for (size_t k = 0; k < run->results.results[i].count; k++) {
            const mgn_figure *figure = &run->results.results[i].figures[k];
            size_t at = 0;
            while (at < count && strcmp(keys[at]->key, figure->key) != 0) at++;
            if (at == count && count < MGN_MOST_FIGURES) keys[count++] = figure;
        }
    return count;
}

static void write_measured(FILE *s, const mgn_report_run *run) {
    const mgn_figure *keys[MGN_MOST_FIGURES];
    const size_t count = list_keys(run, keys);
    fputs(
        "<details open><summary>All that was measured</summary>\n<div class=\"box\" tabindex=\"0\"><table>\n<thead><tr>"
        "<th scope=\"col\">Model</th><th scope=\"col\">Recipe</th><th scope=\"col\" class=\"n\">Learned in</th>",
        s);
    for (size_t k = 0; k < count; k++) {
        const mgn_figure_meaning meaning = mgn_explain_figure(run->entry->experiment, keys[k]);
        fputs("<th scope=\"col\" class=\"n\">", s);
        figure_name(s, &meaning);
        fputs("</th>", s);
    }
    fputs("</tr></thead>\n<tbody>\n", s);
    for (size_t i = 0; i < run->results.count; i++) {
        const mgn_experiment_result *result = &run->results.results[i];
        fputs("<tr>", s);
        result_cells(s, run->entry->experiment, result, 1);
        for (size_t k = 0; k < count; k++) {
            double value = NAN;
            for (size_t l = 0; l < result->count; l++)
                if (strcmp(result->figures[l].key, keys[k]->key) == 0) value = result->figures[l].value;
            cell(s, "", "", value);
        }
        fputs("</tr>\n", s);
    }
    fputs("</tbody></table></div></details>\n", s);
}

/* ---- sections ---- */

/* Sheets of several pictures get the whole width. */
static void write_picture(FILE *s, const mgn_report_picture *picture) {
    const bool is_wide = picture->width > 3 * picture->height;
    fprintf(s, "<figure%s><div><img alt=\"", is_wide ? " class=\"wide\"" : "");
    mgn_html_text(s, picture->title);
    if (picture->width) fprintf(s, "\" width=\"%zu\" height=\"%zu", picture->width, picture->height);
    fprintf(s, "\" src=\"data:%s;base64,", picture->type);
    mgn_html_base64(s, picture->bytes, picture->size);
    fputs("\"></div><figcaption>", s);
    mgn_html_text(s, picture->title);
    fputs("</figcaption></figure>\n", s);
}

static void write_pictures(FILE *s, const mgn_report_run *run) {
    if (run->picture_count) fputs("<div class=\"pictures\">\n", s);
    for (size_t i = 0; i < run->picture_count; i++) write_picture(s, &run->pictures[i]);
    if (run->picture_count) fputs("</div>\n", s);
}

static void note(FILE *s, const char *before, const char *text) {
    if (!text || !*text) return;
    fprintf(s, "<p class=\"note\">%s", before);
    mgn_html_text(s, text);
    fputs("</p>\n", s);
}

/* Recipes in words, as `mgn experiment --help` has them. */
static void write_details(FILE *s, const char *experiment) {
    for (size_t i = 0; mgn_experiment_label(i); i++) {
        if (strcmp(mgn_experiment_label(i), experiment) != 0) continue;
        fputs("<details><summary>Recipes and figures in full</summary><p>", s);
        mgn_html_text(s, mgn_experiment_details(i));
        fputs("</p></details>\n", s);
    }
}

static void write_section(FILE *s, const mgn_report *report, const mgn_report_run *run) {
    const mgn_report_entry *entry = run->entry;
    fprintf(s, "<section id=\"%s\">\n<h2>", entry->id);
    mgn_html_text(s, entry->title);
    fputs("</h2>\n<p class=\"meta\">", s);
    state_chip(s, run);
    if (was_run(run)) {
        fputs(" in ", s);
        mgn_html_seconds(s, run->seconds);
    }
    fprintf(s, ", seed %llu</p>\n<p>", (unsigned long long)report->config->seed);
    mgn_html_text(s, entry->about);
    fputs("</p>\n", s);
    if (run->sentence) note(s, run->state == MGN_REPORT_FAILED ? "It failed: " : "", run->sentence);
    if (run->state == MGN_REPORT_ABSENT) note(s, "Data, in the folder that --data names: ", entry->needs);
    if (run->is_own) note(s, "", entry->own_note);
    if (report->config->quick) note(s, "Smaller in this quick run: ", entry->quick.words);
    if (run->results.count) {
        write_compared(s, run);
        write_measured(s, run);
    }
    write_pictures(s, run);
    fputs("<h3>To repeat it</h3>\n<pre><code>", s);
    mgn_html_text(s, run->command);
    fputs("</code></pre>\n", s);
    write_details(s, entry->experiment);
    fputs("<p class=\"up\"><a href=\"#summary\">Summary</a></p>\n</section>\n", s);
}

void mgn_report_page(const mgn_report *report, FILE *stream) {
    write_head(stream, report);
    write_summary(stream, report);
    for (size_t i = 0; i < report->config->count; i++) write_section(stream, report, &report->runs[i]);
    fputs(
        "</main>\n<footer><p>Times are of one run on the machine above; \u201cpublished\u201d is what the cited papers "
        "and reports state. The same numbers are in results.json.</p></footer>\n</body>\n</html>\n",
        stream);
}
