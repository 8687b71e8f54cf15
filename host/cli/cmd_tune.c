/* `mgn tune`: finds the fastest way of multiplying matrices on an OpenCL device, shows or forgets what was found. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"
#include "core/parse.h"
#include "tune/tune.h"

static const int64_t most_size = 1 << 24;

/* "256x512x784,512x512x512". */
static mgn_status parse_shapes(const char *text, mgn_tune_shape *shapes, size_t most, size_t *count) {
    *count = 0;
    for (const char *at = text; at; *count += 1) {
        char word[80];
        const char *comma = strchr(at, ',');
        const size_t length = comma ? (size_t)(comma - at) : strlen(at);
        snprintf(word, sizeof word, "%.*s", (int)MGN_MIN(length, sizeof word), at);
        char *rest = word;
        const char *parts[3] = {strsep(&rest, "x"), strsep(&rest, "x"), strsep(&rest, "x")};
        if (*count == most) return mgn_fail(MGN_ERR_ARGUMENT, "--shape: at most %zu shapes were expected", most);
        if (length >= sizeof word || !parts[2] || rest)
            return mgn_fail(MGN_ERR_ARGUMENT, "--shape: sizes as in 256x512x784 were expected, '%.*s' found",
                            (int)MGN_MIN(length, 80), at);
        int64_t *sizes[3] = {&shapes[*count].m, &shapes[*count].n, &shapes[*count].k};
        for (int i = 0; i < 3; i++) MGN_TRY(mgn_parse_integer("--shape", parts[i], 1, most_size, sizes[i]));
        at = comma ? comma + 1 : NULL;
    }
    return MGN_OK;
}

static double number_of(const cJSON *row, const char *field) {
    return cJSON_GetNumberValue(cJSON_GetObjectItem(row, field));
}

/* "tile 12x2 256 8 16 8", in the order of mgn_cl_tile. */
static void choice_text(const cJSON *row, const char *field, char *text, size_t size) {
    const cJSON *choice = cJSON_GetObjectItem(row, field), *tile = cJSON_GetObjectItem(choice, "tile");
    const char *route = cJSON_GetStringValue(cJSON_GetObjectItem(choice, "route"));
    if (!tile)
        snprintf(text, size, "%s", route ? route : "-");
    else
        snprintf(text, size, "%s %.0fx%.0f depth %.0f block %.0f span %.0f/%.0f", route, number_of(tile, "rows"),
                 number_of(tile, "vectors"), number_of(tile, "depth"), number_of(tile, "block"),
                 number_of(tile, "span"), number_of(tile, "spread"));
}

static mgn_status print_text(const cJSON *report, const char *path) {
    cli_table *table = cli_table_create(">m|>n|>k|untuned|>us|tuned|>us|>GFLOP/s|>times as fast");
    for (const cJSON *row = cJSON_GetObjectItem(report, "shapes")->child; row; row = row->next) {
        char text[96];
        cli_table_cell(table, "%.0f", number_of(row, "m"));
        cli_table_cell(table, "%.0f", number_of(row, "n"));
        cli_table_cell(table, "%.0f", number_of(row, "k"));
        choice_text(row, "usual", text, sizeof text);
        cli_table_cell(table, "%s", text);
        cli_table_cell(table, "%.1f", number_of(row, "usual_us"));
        choice_text(row, "choice", text, sizeof text);
        cli_table_cell(table, "%s", text);
        cli_table_cell(table, "%.1f", number_of(row, "us"));
        cli_table_cell(table, "%.1f", number_of(row, "gflops"));
        cli_table_cell(table, "%.2f", number_of(row, "ratio"));
    }
    MGN_TRY(cli_table_print(table));
    printf("%.0f measured in %.0f s, %.0f of them wrong and %.0f refused by the driver; CLBlast has %s parameters\n",
           number_of(report, "tried"), number_of(report, "seconds"), number_of(report, "wrong"),
           number_of(report, "failed"), cJSON_IsObject(cJSON_GetObjectItem(report, "clblast")) ? "new" : "its own");
    printf("kept in %s\n", path);
    return MGN_OK;
}

/* Prints a report, and deletes it. */
static mgn_status print_report(const cli_common *common, cJSON *report, const char *path) {
    if (common->json) {
        cJSON_AddStringToObject(report, "file", path);
        return cli_print_json(report);
    }
    const mgn_status status = print_text(report, path);
    cJSON_Delete(report);
    return status;
}

static mgn_status show(const cli_common *common, const mgn_device_info *info, const char *path) {
    cJSON *report = mgn_cl_tuning_load(info, NULL);
    if (report) return print_report(common, report, path);
    if (common->json) return cli_print_json(cJSON_CreateNull());
    printf("nothing is tuned for %s (%s)\n", info->spec, info->name);
    return MGN_OK;
}

static mgn_status reset(const mgn_device_info *info, const char *path) {
    if (unlink(path) == 0)
        mgn_note("what was tuned for %s (%s) is forgotten", info->spec, info->name);
    else if (errno == ENOENT)
        mgn_note("nothing was tuned for %s (%s)", info->spec, info->name);
    else
        return mgn_fail(MGN_ERR_IO, "%s could not be removed: %s", path, strerror(errno));
    return MGN_OK;
}

static mgn_status search(const cli_common *common, mgn_device *device, const mgn_tune_options *options,
                         const char *path) {
    cJSON *report = NULL;
    MGN_TRY(mgn_tune_run(device, options, &report));
    const bool interrupted = cJSON_IsTrue(cJSON_GetObjectItem(report, "interrupted"));
    MGN_TRY(print_report(common, report, path));
    return interrupted ? mgn_fail(MGN_ERR_INTERRUPTED, "stopped early; the best found so far is kept") : MGN_OK;
}

mgn_status cmd_tune(const cli_command *command, int argc, char **argv) {
    cli_common common;
    mgn_tune_shape shapes[MGN_CL_TUNED_MOST];
    mgn_tune_options options = {.seconds = 60};
    const char *shape = NULL;
    bool wants_show = false, wants_reset = false;
    const cli_option rows[] = {
        {"seconds", 's', CLI_REAL, "S", "time for the search (default 60)", &options.seconds, 0.1, 86400},
        {"shape", 0, CLI_TEXT, "MxNxK,...",
         "tune for (M x K) times (K x N) instead of the products that the models here make", &shape, 0, 0},
        {"show", 0, CLI_FLAG, NULL, "print what is in use, measure nothing", &wants_show, 0, 0},
        {"reset", 0, CLI_FLAG, NULL, "forget what was found: the library's own rules hold again", &wants_reset, 0, 0},
    };
    MGN_TRY(cli_parse(command, argc, argv, rows, MGN_COUNT(rows), &common));
    if (common.help) return MGN_OK;
    if (wants_show && wants_reset)
        return mgn_fail(MGN_ERR_ARGUMENT, "--show and --reset were both given: one of them was expected");
    options.seed = common.seed;
    if (shape) {
        options.shapes = shapes;
        MGN_TRY(parse_shapes(shape, shapes, MGN_COUNT(shapes), &options.shape_count));
    }
    /* "auto" may take the CPU backend, which has nothing to tune. */
    if (!common.device && !mgn_environment("MGN_DEVICE")) common.device = "opencl";
    mgn_device *device = NULL;
    char path[PATH_MAX];
    MGN_TRY(cli_open_device(&common, &device));
    const mgn_device_info *info = mgn_device_get_info(device);
    mgn_status status = MGN_OK;
    if (strncmp(info->spec, "opencl", 6) != 0)
        status = mgn_fail(MGN_ERR_ARGUMENT, "there is nothing to tune on %s (%s): an OpenCL device was expected",
                          info->spec, info->name);
    if (status == MGN_OK) status = mgn_cl_tuning_path(info, path, sizeof path);
    if (status == MGN_OK)
        status = wants_show    ? show(&common, info, path)
                 : wants_reset ? reset(info, path)
                               : search(&common, device, &options, path);
    mgn_device_close(device);
    return status;
}
