/* `mgn recolor`: learn a map from the palette of one picture to that of another, and apply it. Paths and options are
 * checked first, everything is computed in memory, and the files appear together at the end or not at all. */
#include <mgn/recolor.h>

#include <string.h>

#include "cli.h"
#include "core/file.h"
#include "core/progress.h"
#include "image/codec.h"
#include "model/model.h"
#include "outputs.h"

enum { SHEET_HEIGHT = 480, MOST_OUTPUTS = 3 };

typedef struct job {
    cli_common common;
    const char *source_path, *target_path, *out, *map_path, *sheet_path, *kind, *palette;
    int64_t epochs, components, most_components;
    bool sinkhorn, pixels;
    double smoothness;
    int quality;
    mgn_device *device;
    mgn_image *source, *target, *after;
    mgn_model *model;
    mgn_mixture mixture; /* --target gmm */
    mgn_map *map;
    mgn_progress progress;
    mgn_train_result training;
    mgn_recolor_quality figures;
    double apply_seconds;
} job;

/* ---- before the work ---- */

static mgn_status check_outputs(const job *j) {
    const char *const inputs[] = {j->source_path, j->target_path};
    const char *const outputs[MOST_OUTPUTS] = {j->out, j->map_path, j->sheet_path};
    mgn_image_format format;
    MGN_TRY(mgn_image_format_of(j->out, &format));
    if (j->sheet_path) MGN_TRY(mgn_image_format_of(j->sheet_path, &format));
    for (size_t i = 0; i < MOST_OUTPUTS; i++) {
        if (!outputs[i]) continue;
        MGN_TRY(cli_check_apart(outputs[i], inputs, MGN_COUNT(inputs)));
        for (size_t k = 0; k < i; k++)
            if (outputs[k] && cli_same_file(outputs[i], outputs[k]))
                return mgn_fail(MGN_ERR_ARGUMENT, "%s is named as two different outputs", outputs[i]);
        MGN_TRY(cli_check_writable(outputs[i]));
    }
    return MGN_OK;
}

/* palette, gaussian, gmm, gmm:5, gmm:1..10 or sinkhorn. */
static mgn_status parse_palette(job *j) {
    j->pixels = strcmp(j->palette, "palette") == 0;
    if (j->pixels && j->kind)
        return mgn_fail(MGN_ERR_ARGUMENT,
                        "--model goes with the targets gaussian, gmm and sinkhorn; the target palette "
                        "has a network of its own (cgradnet)");
    if (!j->kind) j->kind = j->pixels ? "cgradnet" : "cmgn";
    if (j->pixels || strcmp(j->palette, "gaussian") == 0) return MGN_OK;
    j->sinkhorn = strcmp(j->palette, "sinkhorn") == 0;
    if (j->sinkhorn) return MGN_OK;
    if (strcmp(j->palette, "gmm") == 0) {
        j->components = 5;
        return MGN_OK;
    }
    if (strncmp(j->palette, "gmm:", 4) == 0)
        return cli_parse_range("--target gmm", j->palette + 4, MGN_MOST_COMPONENTS, &j->components,
                               &j->most_components);
    return mgn_fail(MGN_ERR_ARGUMENT,
                    "--target: '%.100s' is not palette, gaussian, gmm, gmm:K, gmm:FIRST..LAST or sinkhorn", j->palette);
}

static mgn_status parse(const cli_command *command, int argc, char **argv, job *j) {
    const cli_option options[] = {
        {"like", 'l', CLI_TEXT, "TARGET", "the picture whose palette is taken (required)", &j->target_path, 0, 0},
        {"output", 'o', CLI_TEXT, "OUT", "where the result goes: .jpg, .jpeg or .png (required)", &j->out, 0, 0},
        {"model", 0, CLI_CHOICE, "cmgn|mmgn", "the network: cascaded (27 parameters) or modular (28) (default cmgn)",
         &j->kind, 0, 0},
        {"target", 0, CLI_TEXT, "palette|gaussian|gmm[:K|:FIRST..LAST]|sinkhorn",
         "what is matched: the palette itself, by optimal pairs of colours; its mean and covariance; a mixture of K "
         "components (default 5), of a range as many as the elbow of its likelihoods says; or the palette by the "
         "Sinkhorn divergence (default palette)",
         &j->palette, 0, 0},
        {"smoothness", 0, CLI_REAL, "S",
         "palette: from 0, closest to TARGET's palette, to 1, closest to a linear map, which keeps faint differences "
         "as "
         "they are (default 0.75)",
         &j->smoothness, 0, 1},
        {"epochs", 0, CLI_LONG, "N",
         "passes of learning over a sample of 65536 pixels (default 80, more for small pictures); gmm: steps (default "
         "60); sinkhorn: rounds of 10 steps (default 8)",
         &j->epochs, 1, 1000000},
        {"save", 0, CLI_TEXT, "MAP", "keep the map too, as a safetensors file for `mgn apply`", &j->map_path, 0, 0},
        {"sheet", 0, CLI_TEXT, "FILE", "also write source, target and result side by side", &j->sheet_path, 0, 0},
        {"quality", 0, CLI_INT, "Q", "JPEG quality, 1 to 100 (default 92)", &j->quality, 1, 100},
    };
    MGN_TRY(cli_parse(command, argc, argv, options, MGN_COUNT(options), &j->common));
    if (j->common.help) return MGN_OK;
    j->source_path = j->common.arguments[0];
    MGN_TRY(parse_palette(j));
    if (!j->target_path)
        return mgn_fail(MGN_ERR_ARGUMENT, "--like is missing: the picture whose palette is wanted; mgn recolor %s",
                        command->usage);
    if (!j->out)
        return mgn_fail(MGN_ERR_ARGUMENT, "-o is missing: the name of the result; mgn recolor %s", command->usage);
    return check_outputs(j);
}

/* ---- the work ---- */

static bool show_progress(void *context, const mgn_train_report *report) {
    ((mgn_progress *)context)->total = (uint64_t)report->epochs;
    mgn_progress_update(context, (uint64_t)report->epoch, "loss %.4g", report->loss);
    return true;
}

static mgn_status learn(job *j) {
    mgn_recolor_config config = {.epochs = j->epochs,
                                 .seed = j->common.seed,
                                 .components = j->components,
                                 .most_components = j->most_components,
                                 .sinkhorn = j->sinkhorn,
                                 .pixels = j->pixels,
                                 .smoothness = j->smoothness,
                                 .mixture = &j->mixture,
                                 .report = show_progress,
                                 .context = &j->progress};
    strncpy(config.kind, j->kind, sizeof config.kind - 1);
    mgn_progress_begin(&j->progress, "learning", (uint64_t)j->epochs);
    const mgn_status status = mgn_recolor_learn(j->source, j->target, j->device, &config, &j->model, &j->training);
    mgn_progress_end(&j->progress);
    return status;
}

static mgn_status compute(job *j) {
    MGN_TRY(mgn_image_read(j->source_path, &j->source));
    MGN_TRY(mgn_image_read(j->target_path, &j->target));
    MGN_TRY(cli_open_device(&j->common, &j->device));
    MGN_TRY(learn(j));
    const double start = mgn_now();
    MGN_TRY(mgn_map_create(j->model, j->device, MGN_F32, &j->map));
    MGN_TRY(mgn_recolor_apply(j->map, j->source, &j->after));
    j->apply_seconds = mgn_now() - start;
    return mgn_recolor_measure(j->map, j->source, j->target, j->common.seed, &j->figures);
}

/* ---- the files, all or none ---- */

static mgn_status prepare_sheet(const job *j, mgn_output_file **output) {
    const mgn_image *const pictures[] = {j->source, j->target, j->after};
    const char *const labels[] = {"source", "target", "result"};
    mgn_image *sheet = NULL;
    MGN_TRY(mgn_image_sheet(pictures, labels, MGN_COUNT(pictures), SHEET_HEIGHT, &sheet));
    const mgn_status status =
        mgn_image_prepare(sheet, j->sheet_path, &(mgn_image_write_options){.quality = j->quality}, output);
    mgn_image_destroy(sheet);
    return status;
}

static mgn_status write_outputs(const job *j) {
    mgn_output_file *outputs[MOST_OUTPUTS] = {NULL};
    size_t count = 0;
    const mgn_image_write_options options = {.quality = j->quality};
    mgn_status status = mgn_image_prepare(j->after, j->out, &options, &outputs[count]);
    if (status == MGN_OK && j->map_path) status = mgn_model_prepare(j->model, j->map_path, &outputs[++count]);
    if (status == MGN_OK && j->sheet_path) status = prepare_sheet(j, &outputs[++count]);
    if (status == MGN_OK && mgn_interrupted()) status = MGN_ERR_INTERRUPTED;
    if (status == MGN_OK) return mgn_output_commit_all(outputs, count + 1);
    for (size_t i = 0; i < MOST_OUTPUTS; i++) mgn_output_discard(outputs[i]);
    return status;
}

/* ---- the report ---- */

static mgn_status print_json(const job *j) {
    cJSON *object = cJSON_CreateObject();
    cJSON_AddStringToObject(object, "model", j->kind);
    cJSON_AddStringToObject(object, "target",
                            j->pixels       ? "palette"
                            : j->sinkhorn   ? "sinkhorn"
                            : j->components ? "gmm"
                                            : "gaussian");
    cJSON_AddNumberToObject(object, "components", (double)MGN_MAX(j->mixture.k, 1));
    cJSON_AddNumberToObject(object, "parameters", (double)mgn_model_parameter_count(j->model));
    cJSON_AddNumberToObject(object, "steps", (double)j->training.steps);
    cJSON_AddNumberToObject(object, "seed", (double)j->common.seed);
    cJSON_AddNumberToObject(object, "pixels", (double)j->source->width * (double)j->source->height);
    cJSON_AddNumberToObject(object, "loss", j->figures.loss);
    cJSON_AddNumberToObject(object, "cost", j->figures.cost);
    cJSON_AddNumberToObject(object, "bures", j->figures.bures);
    cJSON_AddNumberToObject(object, "w2_before", j->figures.w2_before);
    cJSON_AddNumberToObject(object, "w2_after", j->figures.w2_after);
    cJSON_AddNumberToObject(object, "train_s", j->training.seconds);
    cJSON_AddNumberToObject(object, "compile_s", j->training.compile_seconds);
    cJSON_AddNumberToObject(object, "apply_s", j->apply_seconds);
    cJSON_AddStringToObject(object, "device", mgn_device_get_info(j->device)->spec);
    cJSON_AddStringToObject(object, "output", j->out);
    if (j->map_path) cJSON_AddStringToObject(object, "map", j->map_path);
    if (j->sheet_path) cJSON_AddStringToObject(object, "sheet", j->sheet_path);
    return cli_print_json(object);
}

static mgn_status print_text(const job *j) {
    cli_table *table = cli_table_create(
        ">loss (KL)|>transport cost|>affine optimum|>sliced W2^2 before|>after|>learning|>applying|device");
    cli_table_cell(table, "%.4g", j->figures.loss);
    cli_table_cell(table, "%.4f", j->figures.cost);
    cli_table_cell(table, "%.4f", j->figures.bures);
    cli_table_cell(table, "%.5f", j->figures.w2_before);
    cli_table_cell(table, "%.5f", j->figures.w2_after);
    cli_table_cell(table, "%.2f s", j->training.seconds + j->training.compile_seconds);
    cli_table_cell(table, "%.2f s", j->apply_seconds);
    cli_table_cell(table, "%s", mgn_device_get_info(j->device)->spec);
    return cli_table_print(table);
}

static void clean_up(job *j) {
    mgn_map_destroy(j->map);
    mgn_model_destroy(j->model);
    mgn_mixture_free(&j->mixture);
    mgn_image_destroy(j->after);
    mgn_image_destroy(j->target);
    mgn_image_destroy(j->source);
    if (j->device) mgn_device_close(j->device);
}

mgn_status cmd_recolor(const cli_command *command, int argc, char **argv) {
    job j = {.palette = "palette", .smoothness = 0.75};
    MGN_TRY(parse(command, argc, argv, &j));
    if (j.common.help) return MGN_OK;
    mgn_status status = compute(&j);
    if (status == MGN_OK) status = write_outputs(&j);
    if (status == MGN_OK) status = j.common.json ? print_json(&j) : print_text(&j);
    if (status == MGN_ERR_INTERRUPTED) status = mgn_fail(status, "interrupted; nothing was written");
    clean_up(&j);
    return status;
}
