/* `mgn recolor`: learn a map from the palette of pictures to that of others, and apply it. The files that belong to one
 * map appear together at the end or not at all. */
#include <mgn/recolor.h>

#include <math.h>
#include <stdio.h>
#include <string.h>

#include <mgn/mixture.h>

#include "core/file.h"
#include "core/parallel.h"
#include "core/progress.h"
#include "image/codec.h"
#include "plots.h"
#include "film.h"
#include "recolor.h"
#include "recolor/recolor.h"
#include "training.h"

enum { SHEET_HEIGHT = 480, MOST_EXTRAS = 4, PLOTTED_PIXELS = 50000, SHOWN = 5, SHOWN_ROWS = 8192 };

/* A map and what it was learned from; with --each one after the other. */
typedef struct job {
    const recolor_options *o;
    size_t first, count; /* of the sources */
    mgn_device *device;
    mgn_matrix from, to;      /* palettes in sRGB; `to` is the command's */
    mgn_image *source, *mask; /* a single source; --mask */
    mgn_model *model;
    mgn_mixture mixture; /* --target gmm */
    mgn_look look;
    mgn_map *map;
    mgn_progress progress;
    mgn_train_result training;
    mgn_recolor_quality figures;
    double pixels, apply_seconds;
    size_t *written; /* pictures that have their names */
} job;

/* ---- learning ---- */

static bool show_progress(void *context, const mgn_train_report *report) {
    ((mgn_progress *)context)->total = (uint64_t)report->epochs;
    mgn_progress_update(context, (uint64_t)report->epoch, "loss %.4g, %.0f steps/s", report->loss,
                        cli_steps_a_second(report));
    return true;
}

static mgn_status gather_source(job *j) {
    const recolor_options *o = j->o;
    const char *const *paths = (const char *const *)o->sources + j->first;
    if (j->from.rows) return MGN_OK;
    if (j->count > 1) return mgn_recolor_gather(paths, j->count, o->common.seed, &j->from);
    MGN_TRY(mgn_image_read(paths[0], &j->source));
    if (!o->mask_path) return mgn_image_palette(j->source, MGN_RECOLOR_PALETTE, o->common.seed, &j->from);
    MGN_TRY(mgn_mask_read(o->mask_path, j->source, &j->mask));
    return mgn_mask_palette(j->source, j->mask, o->common.seed, &j->from);
}

static mgn_status copy_into_space(const mgn_matrix *palette, mgn_colour_space space, mgn_matrix *copy) {
    MGN_TRY(mgn_matrix_create(palette->rows, 3, copy));
    memcpy(copy->values, palette->values, (size_t)palette->rows * 3 * sizeof *copy->values);
    mgn_colour_to_space(space, copy->values, copy->rows);
    return MGN_OK;
}

/* JPEGs store hues in coarser steps than 8 bits. */
static double usual_stretch(const job *j) {
    mgn_image_format format;
    for (size_t i = j->first; i < j->first + j->count && j->o->stretch == 0; i++)
        if (mgn_image_format_of(j->o->sources[i], &format) == MGN_OK && format == MGN_IMAGE_JPEG) return 3;
    return j->o->stretch;
}

static mgn_status learn(job *j) {
    const recolor_options *o = j->o;
    mgn_recolor_config config = {.epochs = o->epochs,
                                 .seed = o->common.seed,
                                 .components = o->components,
                                 .most_components = o->most_components,
                                 .sinkhorn = o->sinkhorn,
                                 .pixels = o->pixels,
                                 .smoothness = o->smoothness,
                                 .stretch = usual_stretch(j),
                                 .mixture = &j->mixture,
                                 .report = show_progress,
                                 .context = &j->progress};
    mgn_matrix from = {0}, to = {0};
    snprintf(config.kind, sizeof config.kind, "%s", o->kind);
    mgn_status status = copy_into_space(&j->from, o->look.space, &from);
    if (status == MGN_OK) status = copy_into_space(&j->to, o->look.space, &to);
    mgn_progress_begin(&j->progress, "learning", (uint64_t)o->epochs);
    if (status == MGN_OK) status = mgn_recolor_learn_palettes(&from, &to, j->device, &config, &j->model, &j->training);
    mgn_progress_end(&j->progress);
    mgn_matrix_free(&from);
    mgn_matrix_free(&to);
    j->look = o->look;
    if (status == MGN_OK) status = mgn_look_measure(j->model, j->device, j->from.values, j->from.rows, &j->look);
    if (status == MGN_OK) status = mgn_look_map(j->model, j->device, &j->look, &j->map);
    if (status == MGN_OK) status = mgn_recolor_measure_palettes(j->map, &j->from, &j->to, &j->figures);
    return status;
}

/* ---- the files ---- */

/* A picture small enough to be shown, of the file's. */
static mgn_status read_small(const char *path, mgn_image **small) {
    mgn_image *image = NULL;
    MGN_TRY(mgn_image_read(path, &image));
    mgn_status status = mgn_image_upright(image);
    const double factor = fmin(1, (double)SHEET_HEIGHT / (double)image->height);
    const size_t width = (size_t)fmax(1, rint(factor * (double)image->width)),
                 height = (size_t)fmax(1, rint(factor * (double)image->height));
    if (status == MGN_OK) status = mgn_image_resize(image, width, height, small);
    mgn_image_destroy(image);
    return status;
}

/* The result as it will look: the small source mapped, or the finished picture where there is one. */
static mgn_status prepare_sheet(const job *j, const mgn_image *finished, const char *path, mgn_output_file **output) {
    const recolor_options *o = j->o;
    mgn_image *source = NULL, *target = NULL, *after = NULL, *sheet = NULL;
    mgn_status status = read_small(o->sources[j->first], &source);
    if (status == MGN_OK) status = read_small(o->targets[0], &target);
    if (status == MGN_OK && !finished) status = mgn_recolor_apply(j->map, source, &after);
    const mgn_image *const pictures[] = {source, target, finished ? finished : after};
    const char *const labels[] = {"source", "target", "result"};
    if (status == MGN_OK) status = mgn_image_sheet(pictures, labels, MGN_COUNT(pictures), SHEET_HEIGHT, &sheet);
    if (status == MGN_OK)
        status = mgn_image_prepare(sheet, path, &(mgn_image_write_options){.quality = o->quality}, output);
    mgn_image_destroy(source);
    mgn_image_destroy(target);
    mgn_image_destroy(after);
    mgn_image_destroy(sheet);
    return status;
}

static const char *plots_prefix(const job *j, char prefix[CLI_PLOTS_PREFIX]) {
    return cli_plots_prefix(j->o->sources[j->first], !j->o->each || j->o->source_count == 1, prefix);
}

static mgn_status prepare_plotted_sheet(const job *j, const mgn_image *finished, mgn_output_file **output) {
    char path[4096], prefix[CLI_PLOTS_PREFIX];
    if (snprintf(path, sizeof path, "%s/%ssheet.png", j->o->plots, plots_prefix(j, prefix)) >= (int)sizeof path)
        return mgn_fail(MGN_ERR_ARGUMENT, "--plots: the name of the folder is too long");
    return prepare_sheet(j, finished, path, output);
}

/* Palettes of what was learned from, and of the same pixels mapped. */
static mgn_status draw(const job *j) {
    char prefix[CLI_PLOTS_PREFIX];
    const uint64_t seed = j->o->common.seed;
    const mgn_draw figures = {j->o->plots, plots_prefix(j, prefix), cli_plots_label(j->o->sources[j->first])};
    mgn_matrix before = {0}, target = {0}, after = {0};
    mgn_status status = mgn_palette_sample(&j->from, PLOTTED_PIXELS, seed, &before);
    if (status == MGN_OK) status = mgn_palette_sample(&j->to, PLOTTED_PIXELS, seed, &target);
    if (status == MGN_OK) status = mgn_matrix_create(before.rows, 3, &after);
    if (status == MGN_OK) status = mgn_map_apply(j->map, before.values, before.rows, after.values);
    if (status == MGN_OK) {
        for (int64_t i = 0; i < 3 * after.rows; i++) after.values[i] = fminf(fmaxf(after.values[i], 0), 1);
        const mgn_draw_palette palettes[] = {{"before", before.values, before.rows},
                                             {"target", target.values, target.rows},
                                             {"after", after.values, after.rows}};
        status = mgn_draw_palettes(&figures, palettes, MGN_COUNT(palettes));
    }
    mgn_matrix_free(&before);
    mgn_matrix_free(&target);
    mgn_matrix_free(&after);
    return status;
}

/* One picture up to its commit; from memory when it is there already. */
static mgn_status prepare_picture(job *j, size_t i, const mgn_image *finished, mgn_output_file **output) {
    const recolor_options *o = j->o;
    const mgn_image_write_options options = {.quality = o->quality};
    size_t width = 0, height = 0;
    if (j->source) {
        MGN_TRY(finished ? mgn_image_prepare(finished, o->outputs[i], &options, output)
                         : mgn_recolor_prepare_image(j->map, j->source, o->outputs[i], &options, output));
        width = j->source->width;
        height = j->source->height;
    } else {
        MGN_TRY(mgn_recolor_prepare(j->map, o->sources[i], o->outputs[i], &options, &width, &height, output));
    }
    j->pixels += (double)width * (double)height;
    return mgn_interrupted() ? MGN_ERR_INTERRUPTED : MGN_OK;
}

/* All pictures but the job's last get their names as they are finished; the last one's is left to `output`. */
static mgn_status write_pictures(job *j, const mgn_image *finished, mgn_output_file **output) {
    const recolor_options *o = j->o;
    mgn_status status = MGN_OK;
    if (o->source_count > 1 || strcmp(o->outputs[j->first], o->out) != 0) MGN_TRY(mgn_make_directory(o->out));
    if (j->count > 1) mgn_progress_begin(&j->progress, "applying", j->count);
    for (size_t i = 0; i < j->count && status == MGN_OK; i++) {
        status = prepare_picture(j, j->first + i, finished, output);
        if (status != MGN_OK || i + 1 == j->count) break;
        status = mgn_output_commit(*output);
        *output = NULL;
        *j->written += status == MGN_OK;
        mgn_progress_update(&j->progress, i + 1, "%s", o->sources[j->first + i]);
    }
    if (j->count > 1) mgn_progress_end(&j->progress);
    return status;
}

/* What belongs to a single picture appears with it, all of it or nothing. */
static mgn_status write_files(job *j) {
    const recolor_options *o = j->o;
    mgn_output_file *files[1 + MOST_EXTRAS] = {NULL};
    mgn_image *finished = NULL;
    size_t count = 1;
    mgn_status status = MGN_OK;
    const double start = mgn_now();
    if (j->mask) {
        status = mgn_recolor_apply(j->map, j->source, &finished);
        if (status == MGN_OK) status = mgn_mask_blend(j->source, j->mask, finished);
    }
    if (status == MGN_OK && o->map_path) status = mgn_look_prepare(j->model, &j->look, o->map_path, &files[count++]);
    if (status == MGN_OK && o->lut_path) status = mgn_lut_prepare(j->map, o->lut_size, o->lut_path, &files[count++]);
    if (status == MGN_OK && o->sheet_path) status = prepare_sheet(j, finished, o->sheet_path, &files[count++]);
    if (status == MGN_OK && o->plots) status = prepare_plotted_sheet(j, finished, &files[count++]);
    if (status == MGN_OK) status = write_pictures(j, finished, &files[0]);
    j->apply_seconds = mgn_now() - start;
    mgn_image_destroy(finished);
    if (status == MGN_OK) {
        status = mgn_output_commit_all(files, count);
        *j->written += status == MGN_OK;
        return status;
    }
    for (size_t i = 0; i < MGN_COUNT(files); i++) mgn_output_discard(files[i]);
    return status;
}

/* ---- the report ---- */

static const char *target_name(const recolor_options *o) {
    return o->pixels ? "palette" : o->sinkhorn ? "sinkhorn" : o->components ? "gmm" : "gaussian";
}

static void add_names(cJSON *object, const job *j) {
    const recolor_options *o = j->o;
    if (j->count == 1 && !o->dry_run) cJSON_AddStringToObject(object, "output", o->outputs[j->first]);
    cJSON *files = j->count > 1 && !o->dry_run ? cJSON_AddArrayToObject(object, "files") : NULL;
    for (size_t i = 0; files && i < j->count; i++) {
        cJSON *row = cJSON_CreateObject();
        cJSON_AddStringToObject(row, "input", o->sources[j->first + i]);
        cJSON_AddStringToObject(row, "output", o->outputs[j->first + i]);
        cJSON_AddItemToArray(files, row);
    }
    if (o->map_path) cJSON_AddStringToObject(object, "map", o->map_path);
    if (o->lut_path) cJSON_AddStringToObject(object, "lut", o->lut_path);
    if (o->sheet_path) cJSON_AddStringToObject(object, "sheet", o->sheet_path);
}

static cJSON *report_json(const job *j) {
    cJSON *object = cJSON_CreateObject();
    cJSON_AddStringToObject(object, "model", mgn_model_get_config(j->model)->kind);
    cJSON_AddStringToObject(object, "target", target_name(j->o));
    cJSON_AddNumberToObject(object, "components", (double)MGN_MAX(j->mixture.k, 1));
    cJSON_AddNumberToObject(object, "parameters", (double)mgn_model_parameter_count(j->model));
    cJSON_AddNumberToObject(object, "steps", (double)j->training.steps);
    cJSON_AddNumberToObject(object, "seed", (double)j->o->common.seed);
    cJSON_AddNumberToObject(object, "pixels", j->pixels);
    cJSON_AddNumberToObject(object, "loss", j->figures.loss);
    cJSON_AddNumberToObject(object, "cost", j->figures.cost);
    cJSON_AddNumberToObject(object, "bures", j->figures.bures);
    cJSON_AddNumberToObject(object, "w2_before", j->figures.w2_before);
    cJSON_AddNumberToObject(object, "w2_after", j->figures.w2_after);
    cJSON_AddNumberToObject(object, "train_s", j->training.seconds);
    cJSON_AddNumberToObject(object, "compile_s", j->training.compile_seconds);
    cJSON_AddNumberToObject(object, "apply_s", j->apply_seconds);
    cJSON_AddStringToObject(object, "device", mgn_device_get_info(j->device)->spec);
    add_names(object, j);
    return object;
}

static void report_row(const job *j, cli_table *table) {
    cli_table_cell(table, "%s", j->count == 1 ? j->o->sources[j->first] : "all sources");
    cli_table_cell(table, "%.4g", j->figures.loss);
    cli_table_cell(table, "%.4f", j->figures.cost);
    cli_table_cell(table, "%.4f", j->figures.bures);
    cli_table_cell(table, "%.5f", j->figures.w2_before);
    cli_table_cell(table, "%.5f", j->figures.w2_after);
    cli_table_cell(table, "%.2f s", j->training.seconds + j->training.compile_seconds);
    cli_table_cell(table, "%.2f s", j->apply_seconds);
    cli_table_cell(table, "%s", mgn_device_get_info(j->device)->spec);
}

/* The main colours of a palette, the largest share first: means of a small mixture. */
static mgn_status show_palette(const job *j, const char *label, const mgn_matrix *palette, cli_table *table) {
    mgn_matrix rows = {0};
    mgn_mixture mixture = {0};
    const mgn_mixture_fit_config fit = {.regularisation = 1e-4, .tolerance = 1e-3, .seed = j->o->common.seed};
    MGN_TRY(palette->rows > 1 ? mgn_palette_sample(palette, SHOWN_ROWS, j->o->common.seed, &rows)
                              : mgn_matrix_create(2, 3, &rows)); /* one row has no density */
    for (size_t i = 0; i < 6 && palette->rows == 1; i++) rows.values[i] = palette->values[i % 3];
    mgn_colour_dither(&rows, j->o->common.seed);
    const mgn_status status =
        mgn_mixture_fit(j->device, rows.values, rows.rows, 3, MGN_MIN(SHOWN, palette->rows), &fit, &mixture, NULL);
    cli_table_cell(table, "%s", label);
    for (int64_t shown = 0; shown < SHOWN && status == MGN_OK; shown++) {
        int64_t best = 0;
        for (int64_t k = 1; k < mixture.k; k++)
            if (mixture.weights[k] > mixture.weights[best]) best = k;
        int rgb[3];
        for (int64_t i = 0; i < 3; i++) rgb[i] = (int)rint(255 * fmin(fmax(mixture.means[3 * best + i], 0), 1));
        cli_table_cell(table, mixture.weights[best] > 0 ? "#%02x%02x%02x %.0f %%" : "", rgb[0], rgb[1], rgb[2],
                       100 * mixture.weights[best]);
        mixture.weights[best] = 0;
    }
    mgn_mixture_free(&mixture);
    mgn_matrix_free(&rows);
    return status;
}

static mgn_status show_palettes(job *j) {
    mgn_matrix after = {0};
    cli_table *table = cli_table_create("palette|main colours| | | | ");
    MGN_TRY(mgn_palette_sample(&j->from, SHOWN_ROWS, j->o->common.seed, &after));
    mgn_status status = mgn_map_apply(j->map, after.values, after.rows, after.values);
    if (status == MGN_OK) status = show_palette(j, "source", &j->from, table);
    if (status == MGN_OK) status = show_palette(j, "target", &j->to, table);
    if (status == MGN_OK) status = show_palette(j, "result", &after, table);
    mgn_matrix_free(&after);
    return status == MGN_OK ? cli_table_print(table) : status;
}

/* How to use the table elsewhere. Printed in one piece: a name may be longer than a note. */
static void print_lut_line(const recolor_options *o) {
    char *line = o->lut_path && !o->common.quiet ? cli_lut_line(o->lut_path) : NULL;
    if (line) fprintf(stderr, "mgn: %s: %s\n", strncmp(line, "ffmpeg", 6) == 0 ? "on a film" : "on a picture", line);
    mgn_free(line);
}

/* ---- the command ---- */

/* All but the target's palette, which is the command's. */
static void clean_up(job *j) {
    mgn_map_destroy(j->map);
    mgn_model_destroy(j->model);
    mgn_mixture_free(&j->mixture);
    mgn_image_destroy(j->mask);
    mgn_image_destroy(j->source);
    mgn_matrix_free(&j->from);
    *j = (job){0};
}

static mgn_status run_job(job *j, cJSON *reports, cli_table *table) {
    mgn_status status = gather_source(j);
    if (status == MGN_OK) status = learn(j);
    if (status == MGN_OK && !j->o->dry_run) status = write_files(j);
    if (status == MGN_OK && j->o->plots) status = draw(j);
    if (status == MGN_OK && j->o->dry_run && !j->o->common.json) status = show_palettes(j);
    if (status == MGN_OK && reports) cJSON_AddItemToArray(reports, report_json(j));
    if (status == MGN_OK && table) report_row(j, table);
    return status;
}

/* The first source and the targets are read at once: a file is one thread's work. */
typedef struct reading {
    job *first;
    mgn_status status[2];
    char sentences[2][1024]; /* of what failed: sentences belong to threads */
} reading;

static void read_part(void *context, int64_t part, int thread) {
    reading *r = context;
    job *j = r->first;
    (void)thread;
    r->status[part] = part == 0 ? gather_source(j)
                                : mgn_recolor_gather((const char *const *)j->o->targets, j->o->target_count,
                                                     j->o->common.seed, &j->to);
    if (r->status[part] != MGN_OK) snprintf(r->sentences[part], sizeof r->sentences[part], "%s", mgn_last_error());
}

static mgn_status read_first(job *first) {
    reading r = {.first = first};
    mgn_parallel(mgn_threads(), 2, read_part, &r);
    for (int part = 1; part >= 0; part--)
        if (r.status[part] != MGN_OK) return mgn_fail(r.status[part], "%s", r.sentences[part]);
    return MGN_OK;
}

static mgn_status run_jobs(const recolor_options *o, mgn_device *device, size_t *written) {
    const size_t jobs = o->each ? o->source_count : 1;
    cJSON *reports = o->common.json ? cJSON_CreateArray() : NULL;
    cli_table *table = o->common.json
                           ? NULL
                           : cli_table_create("source|>loss (KL)|>transport cost|>affine optimum|>sliced W2^2 "
                                              "before|>after|>learning|>applying|device");
    job j = {.o = o, .count = o->each ? 1 : o->source_count, .device = device, .written = written};
    mgn_status status = read_first(&j);
    mgn_matrix target = j.to;
    for (size_t i = 0; i < jobs && status == MGN_OK; i++) {
        if (i > 0) j = (job){.o = o, .first = i, .count = 1, .device = device, .to = target, .written = written};
        status = run_job(&j, reports, table);
        clean_up(&j);
    }
    clean_up(&j);
    mgn_matrix_free(&target);
    if (status == MGN_OK && table)
        status = cli_table_print(table);
    else
        cli_table_destroy(table);
    if (status == MGN_OK && reports) {
        status = cli_print_json(jobs == 1 ? cJSON_DetachItemFromArray(reports, 0) : reports);
        if (jobs > 1) reports = NULL;
    }
    cJSON_Delete(reports);
    return status;
}

mgn_status cmd_recolor(const cli_command *command, int argc, char **argv) {
    recolor_options o;
    mgn_device *device = NULL;
    size_t written = 0;
    mgn_status status = recolor_options_read(command, argc, argv, &o);
    if (status == MGN_OK && !o.common.help) {
        status = cli_open_device(&o.common, &device);
        if (status == MGN_OK) status = run_jobs(&o, device, &written);
        if (status == MGN_OK) print_lut_line(&o);
        if (status == MGN_ERR_INTERRUPTED)
            status = written
                         ? mgn_fail(status, "interrupted; %zu of %zu pictures were written", written, o.source_count)
                         : mgn_fail(status, "interrupted; nothing was written");
    }
    if (device) mgn_device_close(device);
    recolor_options_free(&o);
    return status;
}
