/* `mgn gmm`: fit Gaussian mixtures to a table or to the colours of a picture, and keep the one at the elbow. */
#include <mgn/mixture.h>

#include <inttypes.h>

#include "cli.h"
#include "comm/blocks_sum.h"
#include "core/file.h"
#include "core/progress.h"
#include "outputs.h"
#include "plots.h"
#include "target/target.h"

typedef struct job {
    cli_common common;
    const char *path, *range, *out, *plots;
    int64_t first, last, starts, blocks;
    double tolerance, regularisation;
    mgn_matrix data;
    mgn_device *device;
    mgn_mixture *mixtures; /* last - first + 1 */
    mgn_mixture_fit_result *results;
    int64_t count, elbow, chosen; /* chosen: index of the one that is kept */
    mgn_progress progress;
} job;

/* ---- before the work ---- */

/* Of several processes the first alone prints and writes. */
static bool is_first(const job *j) { return mgn_comm_rank(j->common.comm) == 0; }

static mgn_status parse(const cli_command *command, int argc, char **argv, job *j) {
    const cli_option options[] = {
        {"components", 'k', CLI_TEXT, "K", "how many, or a range of which the elbow is kept: 1..10 (default 5)",
         &j->range, 0, 0},
        {"output", 'o', CLI_TEXT, "FILE", "keep the mixture: .json or .safetensors", &j->out, 0, 0},
        {"starts", 0, CLI_LONG, "N", "k-means++ starts, the best of which goes on (default 4)", &j->starts, 1, 1000},
        {"tolerance", 0, CLI_REAL, "NATS", "stop when a pass gains less log-likelihood per row (default 1e-5)",
         &j->tolerance, 1e-12, 1},
        {"regularisation", 0, CLI_REAL, "VARIANCE",
         "smallest variance of a component in any direction (default 1e-6 of that of the rows, in units of each "
         "column's spread)",
         &j->regularisation, 1e-300, 1e30},
        {"blocks", 0, CLI_LONG, "N",
         "add up the rows in N blocks (a power of two): processes started by mpirun share them, and the bits are those "
         "of one process with as many blocks (default: 16 under mpirun)",
         &j->blocks, 1, MGN_MOST_BLOCKS},
        CLI_PLOTS_OPTION(j->plots, "put figures there: of a range, log-likelihood and BIC with the elbow; the rows by "
                                   "component, with ellipses"),
    };
    MGN_TRY(cli_parse(command, argc, argv, options, MGN_COUNT(options), &j->common));
    if (j->common.help) return MGN_OK;
    j->path = j->common.arguments[0];
    if (j->common.comm && !j->blocks) j->blocks = MGN_USUAL_BLOCKS;
    MGN_TRY(cli_parse_range("-k", j->range, MGN_MOST_COMPONENTS, &j->first, &j->last));
    const char *const files[] = {j->path, j->out};
    MGN_TRY(cli_plots_check(j->plots, files, MGN_COUNT(files)));
    if (!j->out) return MGN_OK;
    MGN_TRY(mgn_mixture_check_path(j->out));
    MGN_TRY(cli_check_apart(j->out, &j->path, 1));
    return is_first(j) ? cli_check_writable(j->out) : MGN_OK;
}

/* ---- the work ---- */

static bool show_progress(void *context, int64_t k, int64_t pass, double log_likelihood) {
    job *j = context;
    mgn_progress_update(&j->progress, (uint64_t)(k > j->first ? k - j->first : 0),
                        "k %" PRId64 ", pass %" PRId64 ", log-likelihood %.5f", k, pass, log_likelihood);
    return true;
}

static mgn_status fit(job *j) {
    const mgn_mixture_fit_config config = {.regularisation = j->regularisation,
                                           .tolerance = j->tolerance,
                                           .starts = j->starts,
                                           .seed = j->common.seed,
                                           .report = show_progress,
                                           .context = j,
                                           .blocks = j->blocks,
                                           .comm = j->common.comm};
    const int64_t count = j->last - j->first + 1;
    j->mixtures = mgn_alloc((size_t)count, sizeof *j->mixtures);
    j->results = mgn_alloc((size_t)count, sizeof *j->results);
    if (!j->mixtures || !j->results) return MGN_ERR_MEMORY;
    mgn_progress_begin(&j->progress, "fitting", (uint64_t)count);
    const mgn_status status = mgn_mixture_curve(j->device, j->data.values, j->data.rows, j->data.columns, j->first,
                                                j->last, &config, j->mixtures, j->results, &j->elbow);
    mgn_progress_end(&j->progress);
    MGN_TRY(status);
    j->count = count;
    j->chosen = j->elbow - j->first;
    return MGN_OK;
}

static mgn_status draw(const job *j) {
    const mgn_draw figures = {j->plots, NULL, cli_plots_label(j->path)};
    MGN_TRY(mgn_draw_likelihood(&figures, j->results, j->count, j->elbow));
    return mgn_draw_components(&figures, &j->mixtures[j->chosen], j->data.values, j->data.rows);
}

static mgn_status compute(job *j) {
    MGN_TRY(mgn_rows_read(j->path, &j->data));
    MGN_TRY(cli_open_device(&j->common, &j->device));
    MGN_TRY(fit(j));
    for (int64_t i = 0; i < j->count; i++)
        if (j->results[i].reseeded + j->results[i].dropped > 0)
            mgn_note("%lld components: %lld collapsed and were put elsewhere, %lld were dropped",
                     (long long)(j->first + i), (long long)j->results[i].reseeded, (long long)j->results[i].dropped);
    if (!is_first(j)) return MGN_OK;
    if (j->out) MGN_TRY(mgn_mixture_save(&j->mixtures[j->chosen], j->out));
    return j->plots ? draw(j) : MGN_OK;
}

/* ---- the report ---- */

static mgn_status print_text(const job *j) {
    cli_table *table = cli_table_create(">k|>log-likelihood|>BIC|>passes|>seconds|");
    for (int64_t i = 0; i < j->count; i++) {
        const mgn_mixture_fit_result *r = &j->results[i];
        cli_table_cell(table, "%lld", (long long)r->k);
        cli_table_cell(table, "%.5f", r->log_likelihood);
        cli_table_cell(table, "%.0f", r->bic);
        cli_table_cell(table, "%lld%s", (long long)r->passes, r->converged ? "" : " (stopped)");
        cli_table_cell(table, "%.3f", r->seconds);
        cli_table_cell(table, "%s", j->count > 2 && i == j->chosen ? "elbow" : "");
    }
    return cli_table_print(table);
}

static mgn_status print_json(const job *j) {
    cJSON *object = cJSON_CreateObject();
    cJSON_AddStringToObject(object, "data", j->path);
    cJSON_AddNumberToObject(object, "rows", (double)j->data.rows);
    cJSON_AddNumberToObject(object, "columns", (double)j->data.columns);
    cJSON_AddNumberToObject(object, "seed", (double)j->common.seed);
    cJSON_AddStringToObject(object, "device", mgn_device_get_info(j->device)->spec);
    cJSON *results = cJSON_AddArrayToObject(object, "results");
    for (int64_t i = 0; i < j->count; i++) {
        const mgn_mixture_fit_result *r = &j->results[i];
        cJSON *item = cJSON_CreateObject();
        cJSON_AddNumberToObject(item, "k", (double)r->k);
        cJSON_AddNumberToObject(item, "log_likelihood", r->log_likelihood);
        cJSON_AddNumberToObject(item, "bic", r->bic);
        cJSON_AddNumberToObject(item, "passes", (double)r->passes);
        cJSON_AddBoolToObject(item, "converged", r->converged);
        cJSON_AddNumberToObject(item, "reseeded", (double)r->reseeded);
        cJSON_AddNumberToObject(item, "dropped", (double)r->dropped);
        cJSON_AddNumberToObject(item, "seconds", r->seconds);
        cJSON_AddItemToArray(results, item);
    }
    cJSON_AddNumberToObject(object, "elbow", (double)j->elbow);
    if (j->out) cJSON_AddStringToObject(object, "output", j->out);
    return cli_print_json(object);
}

static void clean_up(job *j) {
    for (int64_t i = 0; i < j->count; i++) mgn_mixture_free(&j->mixtures[i]);
    mgn_free(j->mixtures);
    mgn_free(j->results);
    mgn_matrix_free(&j->data);
    if (j->device) mgn_device_close(j->device);
}

mgn_status cmd_gmm(const cli_command *command, int argc, char **argv) {
    job j = {.range = "5"};
    MGN_TRY(parse(command, argc, argv, &j));
    if (j.common.help) return MGN_OK;
    mgn_status status = compute(&j);
    if (status == MGN_OK && is_first(&j)) status = j.common.json ? print_json(&j) : print_text(&j);
    if (status == MGN_ERR_INTERRUPTED) status = mgn_fail(status, "interrupted; nothing was written");
    clean_up(&j);
    return status;
}
