/* `mgn sample`: draws from a distribution, pushed through a map or pulled back by it, with the log density beside them. */
#include <mgn/evaluate.h>

#include <string.h>

#include "cli.h"
#include "core/core.h"
#include "core/parse.h"
#include "outputs.h"
#include "plots.h"
#include "rows.h"
#include "watch.h"

enum { MOST_SAMPLES = 100000000 };

typedef struct job {
    cli_common common;
    const char *map_path, *source, *out, *real, *plots;
    int64_t n, d;
    bool inverse, density;
    mgn_dtype dtype;
    mgn_device *device;
    mgn_model *model;
    mgn_map *map;
    mgn_target *target;
    mgn_matrix drawn, made, table; /* samples, their images, and what is written */
    double seconds;
    cli_watch watch;
} job;

static mgn_status parse(const cli_command *command, int argc, char **argv, job *j) {
    const cli_option options[] = {
        {"output", 'o', CLI_TEXT, "FILE", "where the rows go: .npy or .csv (required)", &j->out, 0, 0},
        {"source", 0, CLI_TEXT, "SPEC", "what to draw from (default normal:D, the D of the map)", &j->source, 0, 0},
        {"inverse", 0, CLI_FLAG, NULL, "apply the inverse of the map: samples of the source's pull-back", &j->inverse,
         0, 0},
        {"density", 0, CLI_FLAG, NULL, "add a last column: the log density of each row, in nats", &j->density, 0, 0},
        {"real", 0, CLI_CHOICE, "f32|f64", "what to compute in (default f32; with --inverse f64 where there is)",
         &j->real, 0, 0},
        CLI_PLOTS_OPTION(j->plots, "put figures there: the points drawn and their images, the way between them and, in "
                                   "two dimensions, a grid as the map bends it"),
    };
    MGN_TRY(cli_parse(command, argc, argv, options, MGN_COUNT(options), &j->common));
    if (j->common.help) return MGN_OK;
    j->map_path = j->common.arguments[0];
    MGN_TRY(mgn_parse_integer("N", j->common.arguments[1], 1, MOST_SAMPLES, &j->n));
    if (!j->out) return mgn_fail(MGN_ERR_ARGUMENT, "-o is missing: where the rows go; mgn sample %s", command->usage);
    const char *const inputs[] = {j->map_path, j->source ? j->source : j->map_path, j->out};
    MGN_TRY(cli_plots_check(j->plots, inputs, MGN_COUNT(inputs)));
    MGN_TRY(cli_check_table(j->out));
    MGN_TRY(cli_check_apart(j->out, inputs, MGN_COUNT(inputs) - 1));
    return cli_is_first(&j->common) ? cli_check_writable(j->out) : MGN_OK;
}

static mgn_status prepare(job *j) {
    MGN_TRY(mgn_model_load(j->map_path, &j->model));
    j->d = mgn_model_get_config(j->model)->d;
    if (j->source)
        MGN_TRY(mgn_target_parse(j->source, &j->target));
    else
        MGN_TRY(mgn_target_create_gaussian(j->d, NULL, NULL, &j->target));
    MGN_TRY(cli_check_dimension(j->target, j->map_path, j->d));
    if (j->density && mgn_target_density(j->target) == MGN_DENSITY_UNKNOWN)
        return mgn_fail(MGN_ERR_ARGUMENT,
                        "--density: the density of %s is not known, so that of its image is not either",
                        mgn_target_label(j->target));
    MGN_TRY(cli_open_device(&j->common, &j->device));
    const bool has_f64 = mgn_device_get_info(j->device)->has_f64;
    j->dtype = (j->real ? strcmp(j->real, "f64") == 0 : j->inverse && has_f64) ? MGN_F64 : MGN_F32;
    MGN_TRY(mgn_map_create(j->model, j->device, j->dtype, &j->map));
    mgn_map_share(j->map, j->common.comm);
    return MGN_OK;
}

/* Pushed forward, a density is divided by det J at the point that was drawn; pulled back, it is multiplied by det J at
 * the point that was found. */
static mgn_status add_densities(job *j) {
    double *work = mgn_alloc((size_t)(2 * j->n), sizeof *work);
    if (!work) return MGN_ERR_MEMORY;
    double *nats = work, *logdet = work + j->n;
    const float *x = j->inverse ? j->made.values : j->drawn.values;
    mgn_status status = mgn_target_log_densities(j->target, j->device, j->dtype, j->drawn.values, j->n, nats);
    if (status == MGN_OK) status = mgn_map_logdet(j->map, x, j->n, logdet);
    if (status == MGN_OK) status = mgn_matrix_create(j->n, j->d + 1, &j->table);
    for (int64_t i = 0; i < j->n && status == MGN_OK; i++) {
        float *row = j->table.values + i * (j->d + 1);
        memcpy(row, j->made.values + i * j->d, (size_t)j->d * sizeof *row);
        row[j->d] = (float)(j->inverse ? nats[i] + logdet[i] : nats[i] - logdet[i]);
    }
    mgn_free(work);
    return status;
}

static mgn_status draw(const job *j) {
    const mgn_draw figures = {j->plots, NULL, cli_plots_label(j->map_path)};
    const mgn_draw_rows rows = {.x = j->drawn.values,
                                .y = j->made.values,
                                .n = j->n,
                                .d = j->d,
                                .x_label = "drawn",
                                .y_label = j->inverse ? "inverse image" : "image"};
    return mgn_draw_map(&figures, j->inverse ? NULL : j->map, &rows);
}

static mgn_status work(job *j) {
    const double start = mgn_now();
    cli_watch_stage(&j->watch, "drawing");
    MGN_TRY(cli_target_rows(j->target, j->n, j->common.seed, &j->drawn));
    MGN_TRY(mgn_matrix_create(j->n, j->d, &j->made));
    cli_watch_stage(&j->watch, j->inverse ? "inverting the map" : "applying the map");
    const double tolerance = j->dtype == MGN_F64 ? 1e-9 : 1e-4;
    MGN_TRY(j->inverse ? mgn_map_inverse(j->map, j->drawn.values, j->n, tolerance, j->made.values, NULL)
                       : mgn_map_apply(j->map, j->drawn.values, j->n, j->made.values));
    cli_watch_stage(&j->watch, "densities and writing");
    if (j->density) MGN_TRY(add_densities(j));
    if (!cli_is_first(&j->common)) return MGN_OK;
    MGN_TRY(mgn_table_write(j->out, j->density ? &j->table : &j->made));
    j->seconds = mgn_now() - start;
    mgn_map_share(j->map, NULL); /* figures are the first process's own business */
    return j->plots ? draw(j) : MGN_OK;
}

static mgn_status print_json(const job *j) {
    cJSON *object = cJSON_CreateObject();
    cJSON_AddStringToObject(object, "map", j->map_path);
    cJSON_AddStringToObject(object, "source", mgn_target_label(j->target));
    cJSON_AddBoolToObject(object, "inverse", j->inverse);
    cJSON_AddBoolToObject(object, "density", j->density);
    cJSON_AddNumberToObject(object, "rows", (double)j->n);
    cJSON_AddNumberToObject(object, "columns", (double)(j->d + j->density));
    cJSON_AddNumberToObject(object, "seed", (double)j->common.seed);
    cJSON_AddNumberToObject(object, "seconds", j->seconds);
    cJSON_AddStringToObject(object, "real", mgn_dtype_name(j->dtype));
    cJSON_AddStringToObject(object, "device", mgn_device_get_info(j->device)->spec);
    cJSON_AddStringToObject(object, "output", j->out);
    return cli_print_json(object);
}

static mgn_status print_text(const job *j) {
    cli_table *table = cli_table_create("result|>rows|>columns|>seconds|device");
    cli_table_cell(table, "%s", j->out);
    cli_table_cell(table, "%lld", (long long)j->n);
    cli_table_cell(table, "%lld", (long long)(j->d + j->density));
    cli_table_cell(table, "%.3f", j->seconds);
    cli_table_cell(table, "%s", mgn_device_get_info(j->device)->spec);
    return cli_table_print(table);
}

static void clean_up(job *j) {
    mgn_matrix_free(&j->drawn);
    mgn_matrix_free(&j->made);
    mgn_matrix_free(&j->table);
    mgn_target_destroy(j->target);
    mgn_map_destroy(j->map);
    mgn_model_destroy(j->model);
    if (j->device) mgn_device_close(j->device);
}

mgn_status cmd_sample(const cli_command *command, int argc, char **argv) {
    job j = {0};
    MGN_TRY(parse(command, argc, argv, &j));
    if (j.common.help) return MGN_OK;
    mgn_status status = prepare(&j);
    cli_watch_begin(&j.watch, "sampling", 3);
    if (status == MGN_OK) status = work(&j);
    cli_watch_end(&j.watch);
    if (status == MGN_OK && cli_is_first(&j.common)) status = j.common.json ? print_json(&j) : print_text(&j);
    clean_up(&j);
    return status;
}
