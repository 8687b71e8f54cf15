/* `mgn eval`: how good a map is over data: monotone or not, how far it moves points, and, where the truth, a density or
 * other points are given, how close it comes to them. */
#include <mgn/evaluate.h>
#include <mgn/ot.h>

#include <math.h>
#include <string.h>

#include "cli.h"
#include "core/core.h"
#include "outputs.h"
#include "plots.h"
#include "rows.h"
#include "watch.h"

enum { USUAL_ROWS = 10000, DIRECTIONS = 256, MOST_AXES = 64, MOST_FIGURES = 32 };

typedef struct figure {
    const char *key, *label; /* in JSON, in the table */
    double value;
    bool is_count;
} figure;

typedef struct job {
    cli_common common;
    const char *map_path, *data, *truth, *target, *like, *real, *potential_path, *plots;
    int64_t points;
    double variance;
    bool cycle;
    mgn_device *device;
    mgn_model *model;
    mgn_map *map;
    mgn_dtype dtype;
    int64_t d;
    mgn_target *data_target, *density;
    mgn_matrix x, y; /* the data and their images */
    mgn_jacobian_stats jacobian;
    figure figures[MOST_FIGURES];
    size_t count;
    double seconds;
    cli_watch watch;
} job;

static void add(job *j, const char *key, const char *label, double value) {
    j->figures[j->count++] = (figure){key, label, value, false};
}

static void add_count(job *j, const char *key, const char *label, int64_t value) {
    j->figures[j->count++] = (figure){key, label, (double)value, true};
}

/* ---- before the work ---- */

static mgn_status parse(const cli_command *command, int argc, char **argv, job *j) {
    const cli_option options[] = {
        {"data", 0, CLI_TEXT, "X", "rows to judge the map on: a table, a picture or a distribution (required)",
         &j->data, 0, 0},
        {"truth", 0, CLI_TEXT, "Y", "a table with the known image of each row of X: L2-UVP, RMSE and MAE", &j->truth, 0,
         0},
        {"variance", 0, CLI_REAL, "V",
         "total variance of the target that L2-UVP is relative to (default: that of the rows of Y)", &j->variance,
         1e-300, 1e300},
        {"target", 0, CLI_TEXT, "SPEC",
         "a density: the log-likelihood of X under its pull-back by the map (default normal:D)", &j->target, 0, 0},
        {"like", 0, CLI_TEXT, "SPEC",
         "points that the images should be like: sliced distances before and after, and the "
         "Frechet distance within their 64 leading principal axes",
         &j->like, 0, 0},
        {"cycle", 0, CLI_FLAG, NULL, "invert the map at the images, and measure the distance to X", &j->cycle, 0, 0},
        {"potential", 0, CLI_TEXT, "FILE", "write the potential at the rows to a .npy or .csv table",
         &j->potential_path, 0, 0},
        {"points", 0, CLI_LONG, "N",
         "take N rows (default: all rows of a file, 10000 of a distribution); of X and Y the same ones", &j->points, 1,
         100000000},
        {"real", 0, CLI_CHOICE, "f32|f64", "what to compute in (default f64 where the device has it)", &j->real, 0, 0},
        CLI_PLOTS_OPTION(j->plots, "put figures there: the Jacobian's eigenvalues and, in two dimensions, its log det; "
                                   "with --truth the errors, and in two dimensions where they are"),
    };
    MGN_TRY(cli_parse(command, argc, argv, options, MGN_COUNT(options), &j->common));
    if (j->common.help) return MGN_OK;
    j->map_path = j->common.arguments[0];
    if (!j->data)
        return mgn_fail(MGN_ERR_ARGUMENT, "--data is missing: rows to judge the map on; mgn eval %s", command->usage);
    if (j->variance > 0 && !j->truth)
        return mgn_fail(MGN_ERR_ARGUMENT, "--variance is for L2-UVP, which needs the known images: add --truth Y");
    const char *const inputs[] = {j->map_path, j->data, j->truth ? j->truth : j->data, j->potential_path};
    MGN_TRY(cli_plots_check(j->plots, inputs, MGN_COUNT(inputs)));
    if (!cli_is_first(&j->common)) j->plots = NULL;
    if (!j->potential_path) return MGN_OK;
    MGN_TRY(cli_check_table(j->potential_path));
    MGN_TRY(cli_check_apart(j->potential_path, inputs, MGN_COUNT(inputs) - 1));
    return cli_is_first(&j->common) ? cli_check_writable(j->potential_path) : MGN_OK;
}

static mgn_status prepare(job *j) {
    MGN_TRY(mgn_model_load(j->map_path, &j->model));
    j->d = mgn_model_get_config(j->model)->d;
    MGN_TRY(mgn_target_parse(j->data, &j->data_target));
    MGN_TRY(cli_check_dimension(j->data_target, j->map_path, j->d));
    if (j->target)
        MGN_TRY(mgn_target_parse(j->target, &j->density));
    else
        MGN_TRY(mgn_target_create_gaussian(j->d, NULL, NULL, &j->density));
    MGN_TRY(cli_check_dimension(j->density, j->map_path, j->d));
    if (mgn_target_density(j->density) == MGN_DENSITY_UNKNOWN)
        return mgn_fail(MGN_ERR_ARGUMENT,
                        "--target: %s has no density, so there is no likelihood; did you mean --like?",
                        mgn_target_label(j->density));
    MGN_TRY(cli_open_device(&j->common, &j->device));
    const bool has_f64 = mgn_device_get_info(j->device)->has_f64;
    j->dtype = (j->real ? strcmp(j->real, "f64") == 0 : has_f64) ? MGN_F64 : MGN_F32;
    MGN_TRY(mgn_map_create(j->model, j->device, j->dtype, &j->map));
    mgn_map_share(j->map, j->common.comm);
    const int64_t all = mgn_target_count(j->data_target), n = j->points ? j->points : all ? all : USUAL_ROWS;
    MGN_TRY(cli_target_rows(j->data_target, n, j->common.seed, &j->x));
    MGN_TRY(mgn_matrix_create(n, j->d, &j->y));
    return mgn_map_apply(j->map, j->x.values, n, j->y.values);
}

/* ---- figures ---- */

static mgn_status judge_jacobians(job *j) {
    mgn_jacobian_stats *s = &j->jacobian;
    MGN_TRY(mgn_map_jacobian_stats(j->map, j->x.values, j->x.rows, s));
    add(j, "jacobian_min", "smallest eigenvalue of the Jacobian", s->smallest);
    add(j, "jacobian_max", "largest eigenvalue", s->largest);
    add(j, "asymmetry", "asymmetry, relative", s->asymmetry);
    add_count(j, "nonmonotone_rows", "rows where it is not monotone", s->nonmonotone);
    add(j, "logdet", "mean log det", s->logdet);
    return MGN_OK;
}

static mgn_status judge_truth(job *j) {
    mgn_target *known = NULL;
    mgn_matrix truth = {0};
    double variance = j->variance, uvp, rmse, mae;
    const mgn_draw figures = {j->plots, NULL, cli_plots_label(j->map_path)};
    mgn_status status = mgn_target_parse(j->truth, &known);
    if (status == MGN_OK) status = cli_check_dimension(known, j->map_path, j->d);
    if (status == MGN_OK && mgn_target_count(known) != mgn_target_count(j->data_target))
        status = mgn_fail(MGN_ERR_ARGUMENT, "--truth: %s has %lld rows, but %s has %lld; one for each was expected",
                          j->truth, (long long)mgn_target_count(known), j->data,
                          (long long)mgn_target_count(j->data_target));
    if (status == MGN_OK) status = cli_target_rows(known, j->x.rows, j->common.seed, &truth);
    if (status == MGN_OK && !(variance > 0)) status = mgn_total_variance(truth.values, truth.rows, j->d, &variance);
    if (status == MGN_OK && !(variance > 0))
        status =
            mgn_fail(MGN_ERR_ARGUMENT,
                     "--truth: all rows of %s are the same, so L2-UVP has no scale; give it with --variance", j->truth);
    if (status == MGN_OK) status = mgn_l2_uvp(j->y.values, truth.values, truth.rows, j->d, variance, &uvp);
    if (status == MGN_OK) status = mgn_rmse(j->y.values, truth.values, truth.rows, j->d, &rmse);
    if (status == MGN_OK) status = mgn_mae(j->y.values, truth.values, truth.rows, j->d, &mae);
    if (status == MGN_OK) {
        add(j, "uvp", "L2-UVP, %", uvp);
        add(j, "variance", "  relative to the variance", variance);
        add(j, "rmse", "RMSE", rmse);
        add(j, "mae", "MAE", mae);
    }
    if (status == MGN_OK && j->plots)
        status = mgn_draw_error(&figures, j->x.values, j->y.values, truth.values, truth.rows, j->d);
    mgn_matrix_free(&truth);
    mgn_target_destroy(known);
    return status;
}

/* Where some Jacobian is singular the likelihood is undefined: a NaN, which JSON shows as null. */
static mgn_status judge_likelihood(job *j) {
    double sum = 0, *nats = mgn_alloc((size_t)j->x.rows, sizeof *nats);
    if (!nats) return MGN_ERR_MEMORY;
    const mgn_status status =
        mgn_map_log_densities(j->map, j->density, j->device, j->dtype, j->x.values, j->x.rows, nats);
    for (int64_t i = 0; i < j->x.rows && status == MGN_OK; i++) sum += nats[i];
    mgn_free(nats);
    if (status == MGN_OK) add(j, "log_likelihood", "log-likelihood of a row, nats", sum / (double)j->x.rows);
    return status;
}

static mgn_status judge_likeness(job *j) {
    mgn_target *like = NULL;
    mgn_matrix rows = {0};
    double before, after, frechet;
    const uint64_t seed = j->common.seed;
    mgn_status status = mgn_target_parse(j->like, &like);
    if (status == MGN_OK) status = cli_check_dimension(like, j->map_path, j->d);
    if (status == MGN_OK) status = cli_target_all(like, j->x.rows, seed + 1, &rows);
    if (status == MGN_OK)
        status = mgn_sliced_w2(j->x.values, j->x.rows, rows.values, rows.rows, j->d, DIRECTIONS, seed, &before);
    if (status == MGN_OK)
        status = mgn_sliced_w2(j->y.values, j->y.rows, rows.values, rows.rows, j->d, DIRECTIONS, seed, &after);
    if (status == MGN_OK)
        status = mgn_frechet(j->y.values, j->y.rows, rows.values, rows.rows, j->d, MGN_MIN(MOST_AXES, j->d), &frechet);
    if (status == MGN_OK) {
        add(j, "sliced_w2_before", "sliced W2^2 before", before);
        add(j, "sliced_w2", "sliced W2^2 after", after);
        add(j, "frechet", "Frechet distance after, squared", frechet);
    }
    mgn_matrix_free(&rows);
    mgn_target_destroy(like);
    return status;
}

/* A map that cannot be inverted everywhere has no cycle error; that is a result, and not a failure. */
static mgn_status judge_cycle(job *j) {
    double rms = NAN, worst = NAN;
    const double tolerance = j->dtype == MGN_F64 ? 1e-9 : 1e-4;
    const mgn_status status = mgn_map_cycle_error(j->map, j->x.values, j->x.rows, tolerance, &rms, &worst);
    if (status != MGN_OK && status != MGN_ERR_NUMERIC) return status;
    if (status != MGN_OK) mgn_note("cycle: %s", mgn_last_error());
    add(j, "cycle_rms", "cycle error, root of mean square", rms);
    add(j, "cycle_max", "cycle error, worst", worst);
    return MGN_OK;
}

static mgn_status write_potential(const job *j) {
    mgn_matrix phi;
    double *values = mgn_alloc((size_t)j->x.rows, sizeof *values);
    if (!values) return MGN_ERR_MEMORY;
    mgn_status status = mgn_map_potential(j->map, j->x.values, j->x.rows, values);
    if (status == MGN_OK) status = mgn_matrix_create(j->x.rows, 1, &phi);
    if (status == MGN_OK) {
        for (int64_t i = 0; i < j->x.rows; i++) phi.values[i] = (float)values[i];
        if (cli_is_first(&j->common)) status = mgn_table_write(j->potential_path, &phi);
        mgn_matrix_free(&phi);
    }
    mgn_free(values);
    return status;
}

/* By the first process alone. */
static mgn_status draw_jacobians(const job *j) {
    const mgn_draw figures = {j->plots, NULL, cli_plots_label(j->map_path)};
    mgn_map_share(j->map, NULL);
    const mgn_status status = mgn_draw_jacobian(&figures, j->map, j->x.values, j->x.rows);
    mgn_map_share(j->map, j->common.comm);
    return status;
}

static mgn_status judge(job *j) {
    const double start = mgn_now();
    double cost;
    cli_watch_stage(&j->watch, "Jacobians");
    MGN_TRY(judge_jacobians(j));
    if (j->plots) MGN_TRY(draw_jacobians(j));
    MGN_TRY(mgn_transport_cost(j->x.values, j->y.values, j->x.rows, j->d, &cost));
    add(j, "cost", "transport cost", cost);
    if (j->truth) {
        cli_watch_stage(&j->watch, "truth");
        MGN_TRY(judge_truth(j));
    }
    cli_watch_stage(&j->watch, "likelihood");
    MGN_TRY(judge_likelihood(j));
    if (j->like) {
        cli_watch_stage(&j->watch, "likeness");
        MGN_TRY(judge_likeness(j));
    }
    if (j->cycle) {
        cli_watch_stage(&j->watch, "cycle");
        MGN_TRY(judge_cycle(j));
    }
    if (j->potential_path) MGN_TRY(write_potential(j));
    j->seconds = mgn_now() - start;
    return MGN_OK;
}

/* ---- the report ---- */

static mgn_status print_json(const job *j) {
    cJSON *object = cJSON_CreateObject();
    cJSON_AddStringToObject(object, "map", j->map_path);
    cJSON_AddStringToObject(object, "data", j->data);
    cJSON_AddStringToObject(object, "target", mgn_target_label(j->density));
    cJSON_AddNumberToObject(object, "rows", (double)j->x.rows);
    cJSON_AddNumberToObject(object, "dimensions", (double)j->d);
    cJSON_AddBoolToObject(object, "monotone", j->jacobian.nonmonotone == 0);
    for (size_t i = 0; i < j->count; i++) {
        if (isfinite(j->figures[i].value))
            cJSON_AddNumberToObject(object, j->figures[i].key, j->figures[i].value);
        else
            cJSON_AddNullToObject(object, j->figures[i].key);
    }
    cJSON_AddNumberToObject(object, "seconds", j->seconds);
    cJSON_AddStringToObject(object, "real", mgn_dtype_name(j->dtype));
    cJSON_AddStringToObject(object, "device", mgn_device_get_info(j->device)->spec);
    return cli_print_json(object);
}

static mgn_status print_text(const job *j) {
    cli_table *table = cli_table_create("figure|>value");
    cli_table_cell(table, "monotone over the data");
    cli_table_cell(table, "%s", j->jacobian.nonmonotone == 0 ? "yes" : "no");
    cli_table_cell(table, "rows");
    cli_table_cell(table, "%lld", (long long)j->x.rows);
    for (size_t i = 0; i < j->count; i++) {
        const figure *f = &j->figures[i];
        cli_table_cell(table, "%s", f->label);
        if (f->is_count)
            cli_table_cell(table, "%.0f", f->value);
        else if (isfinite(f->value))
            cli_table_cell(table, "%.6g", f->value);
        else
            cli_table_cell(table, "undefined");
    }
    cli_table_cell(table, "seconds");
    cli_table_cell(table, "%.3f", j->seconds);
    return cli_table_print(table);
}

static void clean_up(job *j) {
    mgn_matrix_free(&j->x);
    mgn_matrix_free(&j->y);
    mgn_target_destroy(j->data_target);
    mgn_target_destroy(j->density);
    mgn_map_destroy(j->map);
    mgn_model_destroy(j->model);
    if (j->device) mgn_device_close(j->device);
}

mgn_status cmd_eval(const cli_command *command, int argc, char **argv) {
    job j = {0};
    MGN_TRY(parse(command, argc, argv, &j));
    if (j.common.help) return MGN_OK;
    mgn_status status = prepare(&j);
    cli_watch_begin(&j.watch, "judging", 2 + !!j.truth + !!j.like + j.cycle);
    if (status == MGN_OK) status = judge(&j);
    cli_watch_end(&j.watch);
    if (status == MGN_OK && cli_is_first(&j.common)) status = j.common.json ? print_json(&j) : print_text(&j);
    clean_up(&j);
    return status;
}
