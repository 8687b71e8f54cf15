/* `mgn experiment`: runs a published experiment and prints its figures beside the published ones. */
#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include <mgn/experiment.h>

#include "cli.h"
#include "comm/blocks_sum.h"
#include "core/file.h"
#include "core/parse.h"
#include "core/progress.h"
#include "experiment_report.h"
#include "plots.h"
#include "report/report.h"
#include "training.h"

typedef struct job {
    cli_common common;
    mgn_experiment_config config;
    const char *label, *model, *recipe, *dimensions;
    char device[32]; /* its spec */
    mgn_experiment_report report;
    mgn_progress progress;
    cli_training training;
    cli_training_paths paths;
    int trainings; /* so far */
    cli_report_options page;
} job;

/* ---- progress ---- */

static bool show_progress(void *context, const char *label, int64_t done, int64_t total, double loss) {
    mgn_progress *progress = &((job *)context)->progress;
    if ((uint64_t)done <= progress->done || progress->label != label)
        mgn_progress_begin(progress, label, (uint64_t)total);
    progress->unit = "steps";
    mgn_progress_update(progress, (uint64_t)done, "loss %.4g", loss);
    if (done == total) mgn_progress_end(progress);
    return true;
}

/* Each training has files of its own, in the order of trainings. */
static mgn_status control(void *context, const char *label, mgn_train_control *control) {
    job *j = context;
    char name[96];
    snprintf(name, sizeof name, "%03d-%.80s", ++j->trainings, label);
    for (char *c = name; *c; c++)
        if (!isalnum((unsigned char)*c)) *c = '-';
    MGN_TRY(cli_training_control(&j->training, j->common.fallback, name, &j->paths, control));
    if (!cli_is_first(&j->common)) control->checkpoint = control->log = NULL;
    return MGN_OK;
}

/* ---- printing ---- */

static bool is_gaussian_start(const mgn_experiment_result *result) { return result->model.v == MGN_V_GAUSSIAN; }

static mgn_status print_json(const job *j) {
    cJSON *object = cJSON_CreateObject();
    cJSON_AddStringToObject(object, "experiment", j->label);
    cJSON_AddStringToObject(object, "recipe", j->recipe);
    cJSON_AddStringToObject(object, "device", j->device);
    cJSON_AddNumberToObject(object, "seed", (double)j->common.seed);
    if (strcmp(j->label, "gradient-field") == 0)
        cJSON_AddStringToObject(object, "field", j->config.field ? j->config.field : "report");
    cJSON *results = cJSON_AddArrayToObject(object, "results");
    for (size_t i = 0; i < j->report.count; i++)
        cJSON_AddItemToArray(results, mgn_experiment_result_json(&j->report.results[i]));
    return cli_print_json(object);
}

static void optional_cell(cli_table *table, double value) {
    if (isnan(value))
        cli_table_cell(table, "%s", "");
    else
        cli_table_cell(table, "%.4g", value);
}

/* The first columns: what is the same for all figures of a result. */
enum { SHARED_COLUMNS = 8 };

static void shared_cells(cli_table *table, const job *j, const mgn_experiment_result *result) {
    cli_table_cell(table, "%s", result->task ? result->task : j->label);
    cli_table_cell(table, "%s%s", result->model.kind,
                   is_gaussian_start(result)     ? ", Gaussian V"
                   : result->model.signed_scales ? ", signed"
                                                 : "");
    cli_table_cell(table, "%lld", (long long)result->model.d);
    cli_table_cell(table, "%lld", (long long)result->parameters);
    cli_table_cell(table, "%s", result->recipe);
    cli_table_cell(table, "%s", j->device);
    cli_table_cell(table, "%lld", (long long)result->steps);
    cli_table_cell(table, "%.3g", result->seconds);
}

static void print_result(cli_table *table, const job *j, const mgn_experiment_result *result) {
    for (size_t i = 0; i < result->count; i++) {
        const mgn_figure *figure = &result->figures[i];
        if (i == 0) shared_cells(table, j, result);
        for (int column = 0; i > 0 && column < SHARED_COLUMNS; column++) cli_table_cell(table, "%s", "");
        cli_table_cell(table, "%s", figure->key);
        optional_cell(table, figure->published);
        cli_table_cell(table, "%.4g", figure->value);
        optional_cell(table, figure->optimum);
    }
}

static mgn_status print_text(const job *j) {
    cli_table *table =
        cli_table_create("task|model|>d|>parameters|recipe|device|>steps|>seconds|figure|>published|>ours|>optimum");
    for (size_t i = 0; i < j->report.count; i++) print_result(table, j, &j->report.results[i]);
    return cli_table_print(table);
}

/* ---- the command ---- */

/* The experiments in words, for --help. */
static void describe(char *text, size_t capacity) {
    size_t used = 0;
    for (size_t i = 0; mgn_experiment_label(i) && used < capacity; i++)
        used += (size_t)snprintf(text + used, capacity - used, "%s%s: %s.\n%s", i ? "\n\n" : "",
                                 mgn_experiment_label(i), mgn_experiment_summary(i), mgn_experiment_details(i));
}

static mgn_status parse(const cli_command *command, int argc, char **argv, job *j) {
    const cli_option options[] = {
        {"model", 'm', CLI_CHOICE, "cmgn|conv-cmgn|mmgn|icnn|icgn|cgradnet|mgradnet|dicnn|lse|maxquad|all",
         "which network (default all)", &j->model, 0, 0},
        {"recipe", 'r', CLI_CHOICE, "published|best|affine|monge-ampere|both",
         "the published recipe, the best known here, the affine map (mnist, digits), or (gaussian) the one that knows "
         "both "
         "densities (default all)",
         &j->recipe, 0, 0},
        {"field", 0, CLI_CHOICE, "report|paper|gravier|polymax",
         "gradient-field: as printed in the report, the convex one of its code, or "
         "Gravier and Picard's, or the one in many dimensions (default report)",
         &j->config.field, 0, 0},
        {"d", 0, CLI_TEXT, "D,..",
         "gaussian: from 2 to 64, at most 5 of them (default 2); w2bench: which folders; polymax: up to 1024 (default "
         "32,256)",
         &j->dimensions, 0, 0},
        {"dim", 0, CLI_TEXT, "D,..", "the same", &j->dimensions, 0, 0},
        {"epochs", 0, CLI_LONG, "N", "other than the published recipe's 50 epochs; w2bench: than 24", &j->config.epochs,
         1, 1000000},
        {"data", 0, CLI_TEXT, "DIR",
         "colour: the folder of the published pictures; w2bench: of the tables; mnist, digits: of "
         "train-images-idx3-ubyte and the like; cifar: of data_batch_1.bin",
         &j->config.data, 0, 0},
        {"pictures", 0, CLI_TEXT, "DIR",
         "mnist, digits: put the maps and pictures of them there; cifar and those with colours: pictures",
         &j->config.pictures, 0, 0},
        {"source", 0, CLI_TEXT, "FILE", "colour: a picture of one's own, together with --like", &j->config.source, 0,
         0},
        {"like", 'l', CLI_TEXT, "FILE", "colour: the picture whose palette is taken", &j->config.like, 0, 0},
        {"unseen", 0, CLI_TEXT, "FILE", "colour: a third picture to try the map on", &j->config.unseen, 0, 0},
        {"quick", 0, CLI_FLAG, NULL,
         "cifar, mnist: fewer pictures and steps, to see that it runs; with --output: all in some minutes",
         &j->config.quick, 0, 0},
        {"output", 'o', CLI_TEXT, "DIR",
         "run all experiments that are named, and write a page with published figures, ours and pictures there: "
         "DIR/index.html, and DIR/results.json. --data then names the folder that has photos/, mnist/, cifar10/ and "
         "w2/",
         &j->page.folder, 0, 0},
        {"force", 0, CLI_FLAG, NULL, "with --output: also into a folder that has other things in it", &j->page.force, 0,
         0},
        {"blocks", 0, CLI_LONG, "N",
         "cut batches into N blocks, as `mgn fit` does; what processes started by mpirun share (default: 16 under "
         "mpirun)",
         &j->config.blocks, 1, MGN_MOST_BLOCKS},
        CLI_TRAINING_OPTIONS(j->training),
        CLI_PLOTS_OPTION(j->config.plots,
                         "put figures of every trial there: loss and transport cost by epoch; points, images, the way "
                         "between them, grid and errors of maps; colours before and after"),
    };
    char details[16384], names[1024];
    describe(details, sizeof details);
    cli_report_names(names, sizeof names);
    cli_command described = *command;
    described.details = details;
    described.words = names;
    return cli_parse(&described, argc, argv, options, MGN_COUNT(options), &j->common);
}

static bool is_polymax(const job *j) { return j->config.field && strcmp(j->config.field, "polymax") == 0; }

/* "4,8,16" */
static mgn_status parse_dimensions(job *j) {
    char word[16];
    size_t count = 0;
    for (const char *at = j->dimensions; at; count++) {
        const char *comma = strchr(at, ',');
        const size_t length = comma ? (size_t)(comma - at) : strlen(at);
        if (count == MGN_MOST_DIMENSIONS || length >= sizeof word)
            return mgn_fail(MGN_ERR_ARGUMENT, "--d takes at most %d numbers; '%.100s' was found", MGN_MOST_DIMENSIONS,
                            j->dimensions);
        memcpy(word, at, length);
        word[length] = 0;
        MGN_TRY(mgn_parse_integer("--d", word, 2, is_polymax(j) ? 1024 : 64, &j->config.dimensions[count]));
        at = comma ? comma + 1 : NULL;
    }
    return MGN_OK;
}

/* What an experiment would ignore is refused. */
static mgn_status check(const job *j) {
    const mgn_experiment_config *c = &j->config;
    if (c->field && strcmp(j->label, "gradient-field") != 0)
        return mgn_fail(MGN_ERR_ARGUMENT, "--field is an option of gradient-field, not of %.100s", j->label);
    const bool is_bench = strcmp(j->label, "w2bench") == 0;
    if (j->dimensions && strcmp(j->label, "gaussian") != 0 && !is_bench && !is_polymax(j))
        return mgn_fail(MGN_ERR_ARGUMENT, "--d is an option of gaussian, w2bench and --field polymax, not of %.100s",
                        j->label);
    const bool is_digits = strcmp(j->label, "mnist") == 0 || strcmp(j->label, "digits") == 0,
               is_cifar = strcmp(j->label, "cifar") == 0,
               has_colours = strstr(j->label, "colour") || strcmp(j->label, "aurora") == 0;
    if (((c->data && !is_bench && !is_digits && !is_cifar) || c->source || c->like || c->unseen) && !has_colours)
        return mgn_fail(MGN_ERR_ARGUMENT,
                        "--data, --source, --like and --unseen are options of the experiments with pictures, not of "
                        "%.100s",
                        j->label);
    if (c->quick && !is_cifar && strcmp(j->label, "mnist") != 0)
        return mgn_fail(MGN_ERR_ARGUMENT, "--quick is an option of cifar and mnist, not of %.100s", j->label);
    const char *const files[] = {c->source, c->like, c->unseen, j->training.log, j->training.checkpoint};
    MGN_TRY(cli_plots_check(c->plots, files, MGN_COUNT(files)));
    if (c->blocks && !mgn_experiment_is_shared(j->label))
        return mgn_fail(MGN_ERR_ARGUMENT,
                        "--blocks is an option of gradient-field, gaussian, colour and aurora, not of %.100s",
                        j->label);
    if (!c->pictures) return MGN_OK;
    if (!is_digits && !is_cifar && !has_colours)
        return mgn_fail(
            MGN_ERR_ARGUMENT,
            "--pictures is an option of mnist, digits, cifar and the experiments with colours, not of %.100s",
            j->label);
    return cli_is_first(&j->common) ? mgn_make_directory(c->pictures) : MGN_OK;
}

/* What a page takes from the command line; the rest of the options belong to single experiments. */
static mgn_status write_page(job *j) {
    const mgn_experiment_config *c = &j->config;
    const cli_training *t = &j->training;
    if (strcmp(j->model, "all") != 0 || strcmp(j->recipe, "both") != 0 || c->field || j->dimensions || c->epochs ||
        c->blocks || c->pictures || c->plots || c->source || c->like || c->unseen || t->checkpoint || t->every ||
        t->resume || t->log || t->patience || t->retries)
        return mgn_fail(MGN_ERR_ARGUMENT,
                        "with --output, experiments are run as published and at their best: of their options only "
                        "--data, --quick and --force are taken");
    MGN_TRY(cli_check_report_names(&j->common));
    j->page.data = c->data;
    j->page.quick = c->quick;
    return cli_write_report(&j->common, &j->page);
}

/* The one experiment that is named, without a page. */
static mgn_status check_single(const job *j) {
    if (j->common.argument_count > 1)
        return mgn_fail(MGN_ERR_ARGUMENT, "'%.100s' is one experiment too many: several of them need --output DIR",
                        j->common.arguments[1]);
    if (j->page.force) return mgn_fail(MGN_ERR_ARGUMENT, "--force is an option of --output");
    if (strcmp(j->label, "all") == 0)
        return mgn_fail(MGN_ERR_ARGUMENT, "all experiments together need a folder for their page: --output DIR");
    MGN_TRY(mgn_experiment_check(j->label));
    return cli_training_check(&j->training, false, NULL, 0);
}

/* Of several processes: those that share an experiment. What else is asked for is done by the first alone. */
static bool is_needed(job *j) {
    mgn_comm *comm = j->common.comm;
    const bool is_named = j->common.argument_count == 1 && !j->page.folder;
    if (mgn_comm_size(comm) == 1 || (is_named && mgn_experiment_is_shared(j->common.arguments[0]))) {
        j->config.comm = comm;
        if (comm && !j->config.blocks) j->config.blocks = MGN_USUAL_BLOCKS;
        return true;
    }
    if (cli_is_first(&j->common))
        mgn_note("several processes share gradient-field, gaussian, colour and aurora alone; the other %d wait",
                 mgn_comm_size(comm) - 1);
    return cli_is_first(&j->common);
}

mgn_status cmd_experiment(const cli_command *command, int argc, char **argv) {
    job j = {.model = "all", .recipe = "both"};
    MGN_TRY(parse(command, argc, argv, &j));
    if (j.common.help || !is_needed(&j)) return MGN_OK;
    if (j.common.argument_count == 0 && !j.page.folder) return cli_list_experiments(j.common.json);
    if (j.page.folder) return write_page(&j);
    j.label = j.common.arguments[0];
    MGN_TRY(check_single(&j));
    MGN_TRY(check(&j));
    MGN_TRY(parse_dimensions(&j));
    j.config.model = strcmp(j.model, "all") == 0 ? NULL : j.model;
    j.config.recipe = strcmp(j.recipe, "both") == 0 ? NULL : j.recipe;
    j.config.seed = j.common.seed;
    j.config.progress = show_progress;
    j.config.context = &j;
    j.config.control = control;
    if (!cli_is_first(&j.common)) j.config.pictures = j.config.plots = NULL;
    mgn_device *device = NULL;
    MGN_TRY(cli_open_device(&j.common, &device));
    snprintf(j.device, sizeof j.device, "%s", mgn_device_get_info(device)->spec);
    const mgn_status status = mgn_experiment_run(j.label, device, &j.config, &j.report);
    mgn_device_close(device);
    mgn_bar(NULL);
    MGN_TRY(status);
    if (!cli_is_first(&j.common)) return MGN_OK;
    return j.common.json ? print_json(&j) : print_text(&j);
}
