/* Runs the entries of a report, whatever becomes of each, and writes the page after every one: what is done is kept
 * even when the process is killed. */
#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include "core/file.h"
#include "core/parse.h"
#include "core/progress.h"
#include "plot/plot.h"
#include "report/report.h"

enum { MOST_PATH = 4096, MOST_JSON = 256 << 20 };
static const char best_recipe[] = "best";

/* ---- the folder ---- */

static mgn_status join(char path[MOST_PATH], const char *folder, const char *rest) {
    if (snprintf(path, MOST_PATH, "%s/%s", folder, rest) < MOST_PATH) return MGN_OK;
    return mgn_fail(MGN_ERR_ARGUMENT, "%.100s..: a path of less than %d characters was expected", folder, MOST_PATH);
}

static bool is_empty(const char *folder) {
    DIR *directory = opendir(folder);
    bool empty = true;
    if (!directory) return true;
    for (struct dirent *found; (found = readdir(directory));)
        empty = empty && (strcmp(found->d_name, ".") == 0 || strcmp(found->d_name, "..") == 0);
    closedir(directory);
    return empty;
}

/* A results.json that a report has written. */
static bool has_report(const char *folder) {
    char path[MOST_PATH];
    struct stat about;
    unsigned char *bytes = NULL;
    size_t size = 0;
    if (join(path, folder, "results.json") != MGN_OK || stat(path, &about) != 0) return false;
    if (mgn_file_read(path, MOST_JSON, &bytes, &size) != MGN_OK) return false;
    cJSON *object = cJSON_ParseWithLength((const char *)bytes, size);
    const char *format = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(object, "format"));
    const bool is_ours = format && strcmp(format, "mgn-report") == 0;
    cJSON_Delete(object);
    mgn_free(bytes);
    return is_ours;
}

static mgn_status prepare_folder(const mgn_report_config *config) {
    if (!config->force && !is_empty(config->folder) && !has_report(config->folder))
        return mgn_fail(MGN_ERR_ARGUMENT,
                        "%.1000s has things in it that are no report of mgn; an empty or a new folder was expected "
                        "(--force writes there all the same)",
                        config->folder);
    return mgn_make_directory(config->folder);
}

/* Pictures that an earlier report left there. */
static void remove_pictures(const char *folder) {
    static const char *const endings[] = {".png", ".svg", ".jpg", ".safetensors"};
    char path[MOST_PATH];
    DIR *directory = opendir(folder);
    if (!directory) return;
    for (struct dirent *found; (found = readdir(directory));) {
        const char *ending = strrchr(found->d_name, '.');
        for (size_t i = 0; ending && i < MGN_COUNT(endings); i++)
            if (strcmp(ending, endings[i]) == 0 && join(path, folder, found->d_name) == MGN_OK) unlink(path);
    }
    closedir(directory);
}

/* ---- writing ---- */

static mgn_status write_results(const mgn_report *report, mgn_output_file *output) {
    cJSON *object = mgn_report_json(report);
    char *text = cJSON_Print(object);
    cJSON_Delete(object);
    if (!text) return mgn_fail(MGN_ERR_MEMORY, "out of memory while results.json was made");
    mgn_status status = mgn_output_write(output, text, strlen(text));
    if (status == MGN_OK) status = mgn_output_write(output, "\n", 1);
    cJSON_free(text);
    return status;
}

static mgn_status write_report(const mgn_report *report) {
    char page[MOST_PATH], results[MOST_PATH];
    mgn_output_file *outputs[2] = {0};
    MGN_TRY(join(page, report->config->folder, "index.html"));
    MGN_TRY(join(results, report->config->folder, "results.json"));
    mgn_status status = mgn_output_open(results, &outputs[0]);
    if (status == MGN_OK) status = mgn_output_open(page, &outputs[1]);
    if (status == MGN_OK) status = write_results(report, outputs[0]);
    if (status == MGN_OK) {
        mgn_report_page(report, mgn_output_stream(outputs[1]));
        return mgn_output_commit_all(outputs, 2);
    }
    mgn_output_discard(outputs[0]);
    mgn_output_discard(outputs[1]);
    return status;
}

/* ---- one entry's settings ---- */

static bool exists(const char *path) {
    struct stat about;
    return stat(path, &about) == 0;
}

/* The folder of data, or what stands in for it; ABSENT when there is neither. */
static mgn_status find_data(const mgn_report_config *config, mgn_report_run *run) {
    const mgn_report_entry *entry = run->entry;
    char path[MOST_PATH];
    if (!entry->data) return MGN_OK;
    if (config->data) {
        MGN_TRY(join(path, config->data, entry->data));
        if (exists(path)) return (run->data = mgn_strdup(path)) ? MGN_OK : MGN_ERR_MEMORY;
    }
    run->is_own = entry->own && exists(entry->own);
    if (!run->is_own) run->state = MGN_REPORT_ABSENT;
    return MGN_OK;
}

static mgn_experiment_config configure(const mgn_report_config *config, const mgn_report_run *run) {
    static const mgn_report_reduction nothing = {0};
    const mgn_report_reduction *less = config->quick ? &run->entry->quick : &nothing;
    mgn_experiment_config c = {.field = run->entry->field,
                               .data = run->data,
                               .seed = config->seed,
                               .recipe = less->recipe,
                               .model = less->model,
                               .epochs = less->epochs,
                               .quick = less->is_small};
    const int64_t *dimensions = less->dimensions[0] ? less->dimensions : run->entry->dimensions;
    memcpy(c.dimensions, dimensions, sizeof c.dimensions);
    return c;
}

/* The command line that runs one experiment so; malloc's text, which open_memstream makes. */
static mgn_status write_command(const mgn_report *report, mgn_report_run *run) {
    const mgn_experiment_config c = configure(report->config, run);
    char *text = NULL;
    size_t size = 0;
    FILE *stream = open_memstream(&text, &size);
    if (!stream) return mgn_fail(MGN_ERR_MEMORY, "out of memory while a command line was written");
    fprintf(stream, "mgn experiment %s", run->entry->experiment);
    mgn_report_option(stream, "field", c.field);
    for (size_t i = 0; i < MGN_MOST_DIMENSIONS && c.dimensions[i]; i++)
        fprintf(stream, "%s%lld", i ? "," : " --d ", (long long)c.dimensions[i]);
    mgn_report_option(stream, "data", c.data);
    mgn_report_option(stream, "recipe", c.recipe);
    mgn_report_option(stream, "model", c.model);
    if (c.epochs) fprintf(stream, " --epochs %lld", (long long)c.epochs);
    if (c.quick) fputs(" --quick", stream);
    fprintf(stream, " --seed %llu --device %s", (unsigned long long)c.seed, report->device->spec);
    const bool whole = fclose(stream) == 0;
    run->command = whole ? mgn_strdup(text) : NULL;
    free(text);
    return run->command ? MGN_OK : MGN_ERR_MEMORY;
}

/* ---- progress ---- */

typedef struct watch {
    const mgn_report *report;
    size_t at;
    double started, begun; /* of all, of this one */
    mgn_progress progress;
    char training[64], label[96];
} watch;

static double weight(const mgn_report *report, size_t i) {
    const mgn_report_run *run = &report->runs[i];
    if (run->state == MGN_REPORT_ABSENT) return 0;
    return report->config->quick ? run->entry->quick_seconds : run->entry->seconds;
}

/* Seconds for everything that is to come, by how fast the entries so far were. */
static double time_left(const watch *w, double now) {
    double before = 0, after = 0;
    for (size_t i = 0; i < w->report->config->count; i++) *(i < w->at ? &before : &after) += weight(w->report, i);
    const double pace = before > 5 ? (w->begun - w->started) / before : 1;
    return MGN_MAX(after * pace - (now - w->begun), 0);
}

static bool show_progress(void *context, const char *label, int64_t done, int64_t total, double loss) {
    watch *w = context;
    char left[24];
    if ((uint64_t)done <= w->progress.done || strncmp(w->training, label, sizeof w->training - 1) != 0) {
        snprintf(w->training, sizeof w->training, "%s", label);
        mgn_progress_begin(&w->progress, w->label, (uint64_t)total);
        w->progress.unit = "steps";
    }
    mgn_progress_time(time_left(w, mgn_now()), left, sizeof left);
    mgn_progress_update(&w->progress, (uint64_t)done, "all in %s  loss %.4g, %s", left, loss, w->training);
    if (done == total) mgn_progress_end(&w->progress);
    return true;
}

/* ---- running ---- */

static mgn_status set_sentence(mgn_report_run *run, const char *text) {
    run->sentence = mgn_strdup(text);
    return run->sentence ? MGN_OK : MGN_ERR_MEMORY;
}

/* The folder of what an entry draws, emptied of what an earlier report has left there. */
static mgn_status make_files(const mgn_report *report, const mgn_report_run *run, const char *rest,
                             char folder[MOST_PATH]) {
    char name[160];
    snprintf(name, sizeof name, "files/%.100s%s", run->entry->id, rest);
    MGN_TRY(join(folder, report->config->folder, name));
    MGN_TRY(mgn_make_directory(folder));
    remove_pictures(folder);
    return MGN_OK;
}

/* All pictures, and the figures of the trial that leads among those by the best recipe. */
static mgn_status take_pictures(const char *folder, const char *plots, mgn_report_run *run) {
    char prefix[160];
    const mgn_experiment_result *leading = NULL;
    snprintf(prefix, sizeof prefix, "%.100s-", run->entry->experiment);
    MGN_TRY(mgn_report_pictures(folder, prefix, "", &run->pictures, &run->picture_count));
    mgn_report_headline(run, best_recipe, &leading);
    if (!leading) return MGN_OK;
    snprintf(prefix, sizeof prefix, "%.100s-%02zu-", run->entry->experiment,
             (size_t)(leading - run->results.results) + 1);
    return mgn_report_pictures(plots, prefix, prefix, &run->pictures, &run->picture_count);
}

/* Runs the experiment; the status is of the report, not of the experiment, whose failure becomes a sentence. */
static mgn_status run_entry(const mgn_report *report, mgn_device *device, watch *w, mgn_report_run *run,
                            mgn_status *outcome) {
    char folder[MOST_PATH], plots[MOST_PATH], files[MOST_PATH];
    MGN_TRY(join(files, report->config->folder, "files"));
    MGN_TRY(make_files(report, run, "", folder));
    MGN_TRY(make_files(report, run, "/plots", plots));
    mgn_experiment_config config = configure(report->config, run);
    config.pictures = folder;
    config.plots = report->has_plots ? plots : NULL;
    config.plots_recipe = best_recipe;
    config.progress = show_progress;
    config.context = w;
    *outcome = mgn_experiment_run(run->entry->experiment, device, &config, &run->results);
    mgn_bar(NULL);
    run->seconds = mgn_now() - w->begun;
    run->state = *outcome == MGN_OK                ? MGN_REPORT_DONE
                 : *outcome == MGN_ERR_INTERRUPTED ? MGN_REPORT_INTERRUPTED
                                                   : MGN_REPORT_FAILED;
    if (*outcome != MGN_OK) MGN_TRY(set_sentence(run, mgn_last_error()));
    if (run->state == MGN_REPORT_INTERRUPTED) mgn_resume(); /* for the pictures and the page */
    MGN_TRY(take_pictures(folder, plots, run));
    const char *const made[] = {plots, folder, files};
    for (size_t i = 0; i < MGN_COUNT(made); i++) rmdir(made[i]); /* where nothing was drawn */
    return MGN_OK;
}

static void tell(const mgn_report *report, size_t at) {
    const mgn_report_run *run = &report->runs[at];
    size_t verdicts[4];
    char reached[64] = "";
    mgn_report_tally(run, verdicts);
    const size_t good = verdicts[MGN_BETTER] + verdicts[MGN_SAME], stated = good + verdicts[MGN_WORSE];
    if (stated) snprintf(reached, sizeof reached, ", %zu of %zu published figures reached", good, stated);
    mgn_note("%zu/%zu %s: %s in %.1f s%s%s%s", at + 1, report->config->count, run->entry->id,
             mgn_report_state_name(run->state), run->seconds, reached, run->sentence ? ": " : "",
             run->sentence ? run->sentence : "");
}

/* The first failure's status; what the caller of an experiment got wrong is not what the caller of a report did. */
static mgn_status first_of(mgn_status before, mgn_status outcome) {
    if (before != MGN_OK) return before;
    return outcome == MGN_ERR_ARGUMENT ? MGN_ERR_UNSUPPORTED : outcome;
}

static mgn_status run_all(mgn_report *report, mgn_device *device, mgn_status *failure) {
    const mgn_report_config *config = report->config;
    watch w = {.report = report, .started = mgn_now()};
    bool is_stopped = false;
    for (; w.at < config->count && !is_stopped; w.at++) {
        mgn_report_run *run = &report->runs[w.at];
        mgn_status outcome = MGN_OK;
        w.begun = mgn_now();
        w.progress = (mgn_progress){0};
        *w.training = 0;
        snprintf(w.label, sizeof w.label, "%zu/%zu %s", w.at + 1, config->count, run->entry->id);
        if (run->state != MGN_REPORT_ABSENT) {
            MGN_TRY(run_entry(report, device, &w, run, &outcome));
            tell(report, w.at);
            is_stopped = outcome == MGN_ERR_INTERRUPTED;
        }
        if (!is_stopped) *failure = first_of(*failure, outcome);
        report->finished = w.at + 1;
        report->seconds = mgn_now() - w.started;
        if (config->report && !config->report(config->context, report)) is_stopped = true;
        for (size_t i = w.at + 1; is_stopped && i < config->count; i++)
            if (!report->runs[i].sentence) MGN_TRY(set_sentence(&report->runs[i], "Not run: stopped before it."));
        MGN_TRY(write_report(report));
    }
    if (is_stopped) *failure = MGN_ERR_INTERRUPTED;
    return MGN_OK;
}

/* ---- the whole ---- */

static mgn_status set_date(mgn_report *report) {
    const char *asked = mgn_environment("SOURCE_DATE_EPOCH");
    int64_t seconds = (int64_t)time(NULL);
    struct tm calendar;
    if (asked) MGN_TRY(mgn_parse_integer("SOURCE_DATE_EPOCH", asked, 0, INT64_C(253402300799), &seconds));
    const time_t moment = (time_t)seconds;
    if (gmtime_r(&moment, &calendar)) strftime(report->date, sizeof report->date, "%Y-%m-%d %H:%M UTC", &calendar);
    return MGN_OK;
}

/* "Linux x86_64, Intel Xeon .., 2 threads" */
static void set_machine(mgn_report *report) {
    struct utsname system;
    mgn_device_info cpu = {0};
    size_t count = 0;
    if (uname(&system) != 0) memset(&system, 0, sizeof system);
    if (mgn_device_list(&cpu, 1, &count) != MGN_OK) *cpu.name = 0;
    const int threads = mgn_threads();
    snprintf(report->machine, sizeof report->machine, "%.20s %.20s, %.80s, %d thread%s", system.sysname, system.machine,
             cpu.name, threads, threads == 1 ? "" : "s");
}

static mgn_status prepare(mgn_report *report) {
    const mgn_report_config *config = report->config;
    MGN_TRY(set_date(report));
    set_machine(report);
    report->has_plots = config->plots && mgn_plot_check(NULL) == MGN_OK;
    if (config->plots && !report->has_plots) snprintf(report->plots, sizeof report->plots, "%s", mgn_last_error());
    for (size_t i = 0; i < config->count; i++) {
        mgn_report_run *run = &report->runs[i];
        run->entry = config->entries[i];
        MGN_TRY(find_data(config, run));
        MGN_TRY(write_command(report, run));
        if (run->state == MGN_REPORT_ABSENT) MGN_TRY(set_sentence(run, "Not run: its data are not there."));
    }
    MGN_TRY(prepare_folder(config));
    return write_report(report);
}

/* One sentence for all. */
static mgn_status conclude(const mgn_report *report, mgn_status failure) {
    const mgn_report_run *first = NULL;
    const size_t failed = mgn_report_count(report, MGN_REPORT_FAILED);
    if (failure == MGN_OK) return MGN_OK;
    if (failure == MGN_ERR_INTERRUPTED)
        return mgn_fail(failure, "interrupted: %s/index.html has %zu of %zu experiments", report->config->folder,
                        mgn_report_count(report, MGN_REPORT_DONE), report->config->count);
    for (size_t i = 0; i < report->config->count && !first; i++)
        if (report->runs[i].state == MGN_REPORT_FAILED) first = &report->runs[i];
    return mgn_fail(failure, "%zu of %zu experiments failed (%s/index.html has the others); %s: %s", failed,
                    report->config->count, report->config->folder, first ? first->entry->id : "",
                    first ? first->sentence : "");
}

mgn_status mgn_report_create(mgn_device *device, const mgn_report_config *config, mgn_report **report) {
    mgn_report *made = mgn_alloc(1, sizeof *made);
    if (!made) return MGN_ERR_MEMORY;
    made->config = config;
    made->device = mgn_device_get_info(device);
    made->runs = mgn_alloc(MGN_MAX(config->count, 1), sizeof *made->runs);
    mgn_status failure = MGN_OK, status = made->runs ? prepare(made) : MGN_ERR_MEMORY;
    if (status != MGN_OK) {
        mgn_report_destroy(made);
        return status;
    }
    *report = made;
    MGN_TRY(run_all(made, device, &failure));
    return conclude(made, failure);
}

void mgn_report_destroy(mgn_report *report) {
    if (!report) return;
    for (size_t i = 0; report->runs && i < report->config->count; i++) {
        mgn_report_run *run = &report->runs[i];
        for (size_t k = 0; k < run->picture_count; k++) {
            mgn_free(run->pictures[k].title);
            mgn_free(run->pictures[k].bytes);
        }
        mgn_free(run->pictures);
        mgn_free(run->data);
        mgn_free(run->command);
        mgn_free(run->sentence);
    }
    mgn_free(report->runs);
    mgn_free(report);
}

size_t mgn_report_count(const mgn_report *report, mgn_report_state state) {
    size_t count = 0;
    for (size_t i = 0; i < report->config->count; i++) count += report->runs[i].state == state;
    return count;
}

const char *mgn_report_state_name(mgn_report_state state) {
    static const char *const names[] = {"not run", "done", "failed", "no data", "interrupted"};
    return names[state];
}
