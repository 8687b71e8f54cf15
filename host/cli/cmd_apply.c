/* `mgn apply`: a saved map, or a table of colours, on any number of pictures and tables of numbers. Several processes share the
 * rows of tables; all else is the first one's. Names, clashes and the map are checked before the first
 * of them is read; each result is a whole file or none. */
#include <mgn/look.h>
#include <mgn/recolor.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli.h"
#include "core/file.h"
#include "core/progress.h"
#include "data/npy.h"
#include "outputs.h"
#include "plots.h"
#include "recolor/recolor.h"
#include "rows.h"

enum { PIECE_BYTES = 8 << 20 }; /* of a table that is read, mapped and written in pieces */
enum { PLOTTED_PIXELS = 50000, PLOTTED_ROWS = 4000 };

typedef struct item {
    const char *input;
    char *output;
    bool is_table;        /* else a picture */
    double seconds;       /* reading, mapping, writing */
    size_t width, height; /* of a table: columns and rows */
} item;

typedef struct job {
    cli_common common;
    const char *map_path, *directory, *plots; /* directory: a file's name when `is_file` */
    bool is_file;
    int quality;
    double strength; /* NAN: the map's own */
    mgn_arena *arena;
    item *items;
    size_t count, done;
    mgn_model *model;
    mgn_device *device;
    mgn_map *map;
    mgn_lut *lut; /* instead of the three */
    mgn_progress progress;
} job;

/* ---- before the work ---- */

static const char *base_name(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

static int by_base_name(const void *a, const void *b) {
    return strcmp(base_name(((const item *)a)->input), base_name(((const item *)b)->input));
}

static mgn_status check_clashes(const job *j) {
    item *sorted = mgn_alloc(j->count, sizeof *sorted);
    if (!sorted) return MGN_ERR_MEMORY;
    memcpy(sorted, j->items, j->count * sizeof *sorted);
    qsort(sorted, j->count, sizeof *sorted, by_base_name);
    mgn_status status = MGN_OK;
    for (size_t i = 1; i < j->count && status == MGN_OK; i++)
        if (by_base_name(&sorted[i - 1], &sorted[i]) == 0)
            status = mgn_fail(MGN_ERR_ARGUMENT,
                              "%s and %s have the same name, so one result would replace the other; apply the map to "
                              "them one at a time, into different directories",
                              sorted[i - 1].input, sorted[i].input);
    mgn_free(sorted);
    return status;
}

static mgn_status plan_items(job *j) {
    j->arena = mgn_arena_create();
    j->items = j->arena ? mgn_arena_alloc(j->arena, j->count, sizeof *j->items) : NULL;
    if (!j->items) return MGN_ERR_MEMORY;
    const size_t prefix = strlen(j->directory);
    for (size_t i = 0; i < j->count; i++) {
        item *p = &j->items[i];
        mgn_image_format format;
        p->input = j->common.arguments[i + 1];
        p->is_table = cli_is_table(p->input);
        const char *base = base_name(p->input);
        const size_t size = prefix + strlen(base) + 2;
        p->output = mgn_arena_alloc(j->arena, size, 1);
        if (!p->output) return MGN_ERR_MEMORY;
        if (j->is_file)
            snprintf(p->output, size, "%s", j->directory);
        else
            snprintf(p->output, size, "%s%s%s", j->directory, j->directory[prefix - 1] == '/' ? "" : "/", base);
        if (!p->is_table) MGN_TRY(mgn_image_format_of(p->input, &format));
        MGN_TRY(cli_check_apart(p->output, &p->input, 1));
        if (access(p->input, F_OK) != 0) return mgn_fail(MGN_ERR_IO, "%s does not exist", p->input);
    }
    return check_clashes(j);
}

static mgn_status parse(const cli_command *command, int argc, char **argv, job *j) {
    const cli_option options[] = {
        {"output", 'o', CLI_TEXT, "OUTDIR",
         "the directory of the results, made when it is missing; for a single table also a .npy or .csv file "
         "(required)",
         &j->directory, 0, 0},
        {"quality", 0, CLI_INT, "Q", "JPEG quality, 1 to 100 (default 92)", &j->quality, 1, 100},
        {"strength", 0, CLI_REAL, "T",
         "how far to go from the colours as they are, 0, to the new ones, 1 (default: as the map was saved; 1)",
         &j->strength, 0, 1},
        CLI_PLOTS_OPTION(j->plots,
                         "put figures there: of a picture its colours before and after; of a table its rows, their "
                         "images and the way between them and, in two dimensions, a grid as the map bends it; of "
                         "several files with their names before"),
    };
    MGN_TRY(cli_parse(command, argc, argv, options, MGN_COUNT(options), &j->common));
    if (j->common.help) return MGN_OK;
    if (!j->directory)
        return mgn_fail(MGN_ERR_ARGUMENT, "-o is missing: the directory of the results; mgn apply %s", command->usage);
    j->map_path = j->common.arguments[0];
    j->count = (size_t)j->common.argument_count - 1;
    struct stat about;
    j->is_file = j->count == 1 && cli_is_table(j->common.arguments[1]) && cli_is_table(j->directory) &&
                 !(stat(j->directory, &about) == 0 && S_ISDIR(about.st_mode));
    return MGN_OK;
}

/* Pictures need a map of three dimensions before anything is read; a table's columns are known when it is. */
static mgn_status check_pictures(const job *j, int64_t d) {
    if (d != 3 && !isnan(j->strength))
        return mgn_fail(MGN_ERR_ARGUMENT, "--strength goes with maps of colours; %s is one of %lld dimensions",
                        j->map_path, (long long)d);
    for (size_t i = 0; i < j->count; i++)
        if (!j->items[i].is_table && d != 3)
            return mgn_fail(MGN_ERR_ARGUMENT,
                            "%s is a map of %lld dimensions; pictures need one of 3 (red, green, blue)", j->map_path,
                            (long long)d);
    return MGN_OK;
}

/* Against the map, what is read and what is written. */
static mgn_status check_plots(const job *j) {
    const char **files = mgn_arena_alloc(j->arena, 2 * j->count + 1, sizeof *files);
    if (!files) return MGN_ERR_MEMORY;
    for (size_t i = 0; i < j->count; i++) {
        files[2 * i] = j->items[i].input;
        files[2 * i + 1] = j->items[i].output;
    }
    files[2 * j->count] = j->map_path;
    return cli_plots_check(j->plots, files, 2 * j->count + 1);
}

static mgn_status open_map(job *j) {
    mgn_look look;
    MGN_TRY(mgn_look_load(j->map_path, &j->model, &look));
    const int64_t d = mgn_model_get_config(j->model)->d;
    MGN_TRY(check_pictures(j, d));
    if (!isnan(j->strength)) look.strength = j->strength;
    MGN_TRY(cli_open_device(&j->common, &j->device));
    return d == 3 ? mgn_look_map(j->model, j->device, &look, &j->map)
                  : mgn_map_create(j->model, j->device, MGN_F32, &j->map);
}

/* A table of colours is the host's work, whatever device is named. */
static mgn_status open_lut(job *j) {
    for (size_t i = 0; i < j->count && j->plots; i++)
        if (j->items[i].is_table)
            return mgn_fail(MGN_ERR_ARGUMENT,
                            "--plots draws what a learned map does with %s; with a table of colours, pictures only",
                            j->items[i].input);
    if (isnan(j->strength)) j->strength = 1;
    return mgn_lut_read(j->map_path, &j->lut);
}

static mgn_status prepare(job *j) {
    MGN_TRY(plan_items(j));
    MGN_TRY(check_plots(j));
    MGN_TRY(mgn_lut_is_named(j->map_path) ? open_lut(j) : open_map(j));
    if (!cli_is_first(&j->common)) return MGN_OK;
    /* A directory that is missing is made with the first result: a failure before that leaves nothing behind. */
    return j->is_file || access(j->directory, F_OK) == 0 ? cli_check_writable(j->items[0].output) : MGN_OK;
}

static const char *device_name(const job *j) { return j->lut ? "cpu" : mgn_device_get_info(j->device)->spec; }

/* ---- the work ---- */

/* Of a table only rows that fit into a figure are taken, wherever they stand. */
static mgn_status draw_table(const job *j, const item *p) {
    char prefix[CLI_PLOTS_PREFIX];
    const mgn_draw figures = {j->plots, cli_plots_prefix(p->input, j->count == 1, prefix), base_name(p->input)};
    mgn_target *table = NULL;
    mgn_matrix x = {0}, y = {0};
    mgn_status status = mgn_target_parse(p->input, &table);
    if (status == MGN_OK)
        status = cli_target_rows(table, MGN_MIN(mgn_target_count(table), PLOTTED_ROWS), j->common.seed, &x);
    if (status == MGN_OK) status = mgn_matrix_create(x.rows, x.columns, &y);
    if (status == MGN_OK) status = mgn_map_apply(j->map, x.values, x.rows, y.values);
    if (status == MGN_OK) {
        const mgn_draw_rows rows = {.x = x.values, .y = y.values, .n = x.rows, .d = x.columns};
        status = mgn_draw_map(&figures, j->map, &rows);
    }
    mgn_matrix_free(&x);
    mgn_matrix_free(&y);
    mgn_target_destroy(table);
    return status;
}

static mgn_status read_palette(const job *j, const char *path, mgn_matrix *palette) {
    mgn_image *image = NULL;
    MGN_TRY(mgn_image_read(path, &image));
    const mgn_status status = mgn_image_palette(image, PLOTTED_PIXELS, j->common.seed, palette);
    mgn_image_destroy(image);
    return status;
}

/* Of both files as they are on the disk. */
static mgn_status draw_picture(const job *j, const item *p) {
    char prefix[CLI_PLOTS_PREFIX];
    const mgn_draw figures = {j->plots, cli_plots_prefix(p->input, j->count == 1, prefix), base_name(p->input)};
    mgn_matrix before = {0}, after = {0};
    mgn_status status = read_palette(j, p->input, &before);
    if (status == MGN_OK) status = read_palette(j, p->output, &after);
    if (status == MGN_OK) {
        const mgn_draw_palette palettes[] = {{"before", before.values, before.rows},
                                             {"after", after.values, after.rows}};
        status = mgn_draw_palettes(&figures, palettes, MGN_COUNT(palettes));
    }
    mgn_matrix_free(&before);
    mgn_matrix_free(&after);
    return status;
}

static mgn_status change_rows(const job *j, float *rows, int64_t n) {
    return j->lut ? mgn_lut_colours(j->lut, j->strength, rows, n, rows) : mgn_map_apply(j->map, rows, n, rows);
}

static mgn_status check_columns(const job *j, const item *p, int64_t columns) {
    const int64_t d = j->lut ? 3 : mgn_map_dimension(j->map);
    if (columns == d) return MGN_OK;
    return mgn_fail(MGN_ERR_ARGUMENT, "%s has %lld columns, but %s is a map of %lld dimensions", p->input,
                    (long long)columns, j->map_path, (long long)d);
}

/* Of one file its rows are counted, of several the files. */
static void show_rows(job *j, const item *p, int64_t done, int64_t n) {
    if (j->count > 1) {
        mgn_progress_update(&j->progress, j->done, "%s, row %lld of %lld", base_name(p->input), (long long)done,
                            (long long)n);
    } else {
        j->progress.total = (uint64_t)n;
        j->progress.unit = "rows";
        mgn_progress_update(&j->progress, (uint64_t)done, "%s", base_name(p->input));
    }
}

static mgn_status apply_in_pieces(job *j, const item *p, const mgn_npy_map *from, mgn_output_file *output) {
    const int64_t n = mgn_npy_map_rows(from), d = mgn_npy_map_columns(from);
    const int64_t piece = MGN_MIN(MGN_MAX(PIECE_BYTES / (int64_t)sizeof(float) / d, 1), n);
    float *rows = mgn_alloc_aligned((size_t)piece, (size_t)d * sizeof *rows);
    if (!rows) return MGN_ERR_MEMORY;
    mgn_status status = output ? mgn_npy_write_header(output, n, d) : MGN_OK;
    for (int64_t first = 0; first < n && status == MGN_OK; first += piece) {
        const int64_t count = MGN_MIN(piece, n - first);
        status = mgn_npy_map_read(from, first, count, rows);
        if (first + count < n) mgn_npy_map_ahead(from, first + count, MGN_MIN(piece, n - first - count));
        if (status == MGN_OK) status = change_rows(j, rows, count);
        if (status == MGN_ERR_NUMERIC && first > 0)
            status = mgn_fail(status, "of the rows from %lld on: %s", (long long)first, mgn_last_error());
        if (status == MGN_OK && output) status = mgn_output_write(output, rows, (size_t)(count * d) * sizeof *rows);
        if (status == MGN_OK) show_rows(j, p, first + count, n);
        if (status == MGN_OK && mgn_interrupted())
            status = mgn_fail(MGN_ERR_INTERRUPTED, "stopped after %lld of %lld rows of %s", (long long)(first + count),
                              (long long)n, p->input);
    }
    mgn_free(rows);
    return status;
}

/* From .npy to .npy, of any length, in constant memory. Without an output the rows are mapped for the process that has it. */
static mgn_status apply_to_npy(job *j, item *p, const mgn_npy_map *from) {
    mgn_output_file *output = NULL;
    MGN_TRY(check_columns(j, p, mgn_npy_map_columns(from)));
    if (cli_is_first(&j->common)) MGN_TRY(mgn_output_open(p->output, &output));
    const mgn_status status = apply_in_pieces(j, p, from, output);
    p->width = (size_t)mgn_npy_map_columns(from);
    p->height = (size_t)mgn_npy_map_rows(from);
    if (status == MGN_OK && output) return mgn_output_commit(output);
    if (output) mgn_output_discard(output);
    return status;
}

static mgn_status apply_to_table(job *j, item *p) {
    mgn_npy_map *from = NULL;
    mgn_matrix rows;
    if (cli_is_npy(p->output) && mgn_npy_map_open(p->input, &from) == MGN_OK) {
        const mgn_status status = apply_to_npy(j, p, from);
        mgn_npy_map_close(from);
        return status;
    }
    MGN_TRY(mgn_table_read(p->input, &rows));
    mgn_status status = check_columns(j, p, rows.columns);
    if (status == MGN_OK) status = change_rows(j, rows.values, rows.rows);
    if (status == MGN_OK && cli_is_first(&j->common)) status = mgn_table_write(p->output, &rows);
    p->width = (size_t)rows.columns;
    p->height = (size_t)rows.rows;
    mgn_matrix_free(&rows);
    return status;
}

static mgn_status apply_to_picture(const job *j, item *p) {
    const mgn_image_write_options options = {.quality = j->quality};
    return j->lut ? mgn_lut_file(j->lut, j->strength, p->input, p->output, &options, &p->width, &p->height)
                  : mgn_recolor_file(j->map, p->input, p->output, &options, &p->width, &p->height);
}

static mgn_status apply_one(job *j, item *p) {
    const double start = mgn_now();
    const bool is_first = cli_is_first(&j->common);
    const bool missing = is_first && !j->is_file && j->done == 0 && access(j->directory, F_OK) != 0;
    if (!is_first && (!p->is_table || !j->map)) return MGN_OK;
    if (missing) MGN_TRY(mgn_make_directory(j->directory));
    if (j->map) mgn_map_share(j->map, p->is_table ? j->common.comm : NULL);
    const mgn_status status = p->is_table ? apply_to_table(j, p) : apply_to_picture(j, p);
    if (j->map) mgn_map_share(j->map, NULL);
    if (status != MGN_OK && missing) (void)rmdir(j->directory);
    p->seconds = mgn_now() - start;
    if (status != MGN_OK || !j->plots || !is_first) return status;
    return p->is_table ? draw_table(j, p) : draw_picture(j, p);
}

static mgn_status apply_all(job *j) {
    mgn_status status = MGN_OK;
    mgn_progress_begin(&j->progress, "applying", j->count);
    for (; j->done < j->count && status == MGN_OK; j->done += status == MGN_OK) {
        status = mgn_interrupted() ? MGN_ERR_INTERRUPTED : apply_one(j, &j->items[j->done]);
        if (j->count > 1) mgn_progress_update(&j->progress, j->done + 1, "%s", base_name(j->items[j->done].input));
    }
    mgn_progress_end(&j->progress);
    if (status == MGN_OK) return MGN_OK;
    const char *reason = status == MGN_ERR_INTERRUPTED ? "interrupted" : mgn_last_error();
    return mgn_fail(status, "%s (%s written before that: %zu of %zu)", reason,
                    j->items[0].is_table ? "files" : "pictures", j->done, j->count);
}

/* ---- the report ---- */

static mgn_status print_json(const job *j) {
    cJSON *object = cJSON_CreateObject(), *files = cJSON_AddArrayToObject(object, "files");
    double total = 0;
    for (size_t i = 0; i < j->count; i++) {
        const item *p = &j->items[i];
        cJSON *row = cJSON_CreateObject();
        cJSON_AddStringToObject(row, "input", p->input);
        cJSON_AddStringToObject(row, "output", p->output);
        cJSON_AddNumberToObject(row, p->is_table ? "columns" : "width", (double)p->width);
        cJSON_AddNumberToObject(row, p->is_table ? "rows" : "height", (double)p->height);
        cJSON_AddNumberToObject(row, "seconds", p->seconds);
        cJSON_AddItemToArray(files, row);
        total += p->seconds;
    }
    cJSON_AddStringToObject(object, "map", j->map_path);
    cJSON_AddNumberToObject(object, "seconds", total);
    cJSON_AddStringToObject(object, "device", device_name(j));
    return cli_print_json(object);
}

static mgn_status print_text(const job *j) {
    cli_table *table = cli_table_create("result|>size|>seconds|device");
    for (size_t i = 0; i < j->count; i++) {
        const item *p = &j->items[i];
        cli_table_cell(table, "%s", p->output);
        if (p->is_table)
            cli_table_cell(table, "%zu rows", p->height);
        else
            cli_table_cell(table, "%zu x %zu", p->width, p->height);
        cli_table_cell(table, "%.3f s", p->seconds);
        cli_table_cell(table, "%s", device_name(j));
    }
    return cli_table_print(table);
}

static void clean_up(job *j) {
    mgn_lut_destroy(j->lut);
    mgn_map_destroy(j->map);
    mgn_model_destroy(j->model);
    if (j->device) mgn_device_close(j->device);
    if (j->arena) mgn_arena_destroy(j->arena);
}

mgn_status cmd_apply(const cli_command *command, int argc, char **argv) {
    job j = {.strength = NAN};
    MGN_TRY(parse(command, argc, argv, &j));
    if (j.common.help) return MGN_OK;
    mgn_status status = prepare(&j);
    if (status == MGN_OK) status = apply_all(&j);
    if (status == MGN_OK && cli_is_first(&j.common)) status = j.common.json ? print_json(&j) : print_text(&j);
    clean_up(&j);
    return status;
}
