/* The options of `mgn recolor`: what is wrong with them is said before a picture is read. */
#include "recolor.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include <mgn/image_set.h>

#include "outputs.h"
#include "plots.h"
#include "recolor/recolor.h"

enum { OUTPUT_KINDS = 3, USUAL_LUT = 33, USUAL_HALD = 64 };

/* ---- pictures and where they go ---- */

static bool is_folder(const char *path) {
    struct stat about;
    return stat(path, &about) == 0 && S_ISDIR(about.st_mode);
}

/* Names as given, folders replaced by the pictures in them. */
static mgn_status expand(mgn_arena *arena, const char *const *given, size_t count, char ***paths, size_t *found) {
    size_t total = 0;
    char ***folders = mgn_arena_alloc(arena, count, sizeof *folders);
    size_t *sizes = mgn_arena_alloc(arena, count, sizeof *sizes);
    mgn_status status = folders && sizes ? MGN_OK : MGN_ERR_MEMORY;
    for (size_t i = 0; i < count && status == MGN_OK; i++) {
        sizes[i] = 1;
        if (is_folder(given[i])) status = mgn_folder_pictures(given[i], &folders[i], &sizes[i]);
        total += sizes[i];
    }
    *paths = status == MGN_OK ? mgn_arena_alloc(arena, total, sizeof **paths) : NULL;
    if (status == MGN_OK && !*paths) status = MGN_ERR_MEMORY;
    *found = 0;
    for (size_t i = 0; i < count && folders && sizes; i++) {
        for (size_t k = 0; k < sizes[i] && status == MGN_OK; k++, (*found)++) {
            const char *path = folders[i] ? folders[i][k] : given[i];
            char *copy = mgn_arena_alloc(arena, strlen(path) + 1, 1);
            if (!copy) status = MGN_ERR_MEMORY;
            if (copy) (*paths)[*found] = strcpy(copy, path);
        }
        mgn_free(folders[i]);
    }
    return status;
}

static mgn_status name_output(const recolor_options *o, const char *source, bool into_folder, char **output) {
    const char *slash = strrchr(source, '/'), *base = slash ? slash + 1 : source;
    const size_t size = strlen(o->out) + strlen(base) + 2;
    mgn_image_format format;
    *output = mgn_arena_alloc(o->arena, size, 1);
    if (!*output) return MGN_ERR_MEMORY;
    if (!into_folder)
        snprintf(*output, size, "%s", o->out);
    else
        snprintf(*output, size, "%s%s%s", o->out, o->out[strlen(o->out) - 1] == '/' ? "" : "/", base);
    return mgn_image_format_of(*output, &format);
}

/* One picture goes to a file or into a folder, several into a folder, which is made when it is missing. */
static mgn_status name_outputs(recolor_options *o) {
    o->outputs = mgn_arena_alloc(o->arena, o->source_count, sizeof *o->outputs);
    if (!o->outputs) return MGN_ERR_MEMORY;
    if (o->dry_run) return MGN_OK;
    mgn_image_format format;
    const bool folder = is_folder(o->out), picture = mgn_image_format_of(o->out, &format) == MGN_OK;
    const bool into_folder = o->source_count > 1 || (folder && !picture) || o->out[strlen(o->out) - 1] == '/';
    if (into_folder && !folder && picture)
        return mgn_fail(MGN_ERR_ARGUMENT,
                        "%s: the results of %zu pictures go to a folder, and this is a picture's name", o->out,
                        o->source_count);
    for (size_t i = 0; i < o->source_count; i++) {
        MGN_TRY(name_output(o, o->sources[i], into_folder, &o->outputs[i]));
        for (size_t k = 0; k < i; k++)
            if (strcmp(o->outputs[i], o->outputs[k]) == 0)
                return mgn_fail(MGN_ERR_ARGUMENT, "%s and %s have the same name, so one result would replace the other",
                                o->sources[k], o->sources[i]);
    }
    return MGN_OK;
}

static mgn_status check_output(const recolor_options *o, const char *path, const char *const *others, size_t count) {
    MGN_TRY(cli_check_apart(path, (const char *const *)o->sources, o->source_count));
    MGN_TRY(cli_check_apart(path, (const char *const *)o->targets, o->target_count));
    if (o->mask_path) MGN_TRY(cli_check_apart(path, &o->mask_path, 1));
    for (size_t i = 0; i < count; i++)
        if (others[i] && cli_same_file(path, others[i]))
            return mgn_fail(MGN_ERR_ARGUMENT, "%s is named as two different outputs", path);
    return MGN_OK;
}

static mgn_status check_plots(const recolor_options *o, const char *const extras[OUTPUT_KINDS]) {
    const size_t count = 2 * o->source_count + o->target_count + OUTPUT_KINDS + 1;
    const char **files = mgn_arena_alloc(o->arena, count, sizeof *files);
    if (!files) return MGN_ERR_MEMORY;
    size_t at = 0;
    for (size_t i = 0; i < o->source_count; i++) {
        files[at++] = o->sources[i];
        files[at++] = o->outputs[i];
    }
    for (size_t i = 0; i < o->target_count; i++) files[at++] = o->targets[i];
    for (size_t i = 0; i < OUTPUT_KINDS; i++) files[at++] = extras[i];
    files[at++] = o->mask_path;
    return cli_plots_check(o->plots, files, at);
}

static mgn_status check_outputs(const recolor_options *o) {
    const char *const extras[OUTPUT_KINDS] = {o->map_path, o->sheet_path, o->lut_path};
    mgn_image_format format;
    if (o->sheet_path) MGN_TRY(mgn_image_format_of(o->sheet_path, &format));
    if (o->lut_path) MGN_TRY(mgn_lut_check(o->lut_size, o->lut_path));
    for (size_t i = 0; i < OUTPUT_KINDS; i++) {
        if (!extras[i]) continue;
        MGN_TRY(check_output(o, extras[i], extras, i));
        MGN_TRY(cli_check_writable(extras[i]));
    }
    MGN_TRY(check_plots(o, extras));
    for (size_t i = 0; i < o->source_count && !o->dry_run; i++) {
        MGN_TRY(check_output(o, o->outputs[i], extras, OUTPUT_KINDS));
        /* A folder that is missing is made with the first result: a failure before that leaves nothing behind. */
        if (strcmp(o->outputs[i], o->out) == 0 || is_folder(o->out)) MGN_TRY(cli_check_writable(o->outputs[i]));
    }
    return MGN_OK;
}

/* ---- what is matched ---- */

/* palette, gaussian, gmm, gmm:5, gmm:1..10 or sinkhorn. */
static mgn_status parse_target(recolor_options *o) {
    o->pixels = strcmp(o->target, "palette") == 0;
    o->sinkhorn = strcmp(o->target, "sinkhorn") == 0;
    if (o->pixels && o->kind)
        return mgn_fail(MGN_ERR_ARGUMENT,
                        "--model goes with the targets gaussian, gmm and sinkhorn; the target palette "
                        "has a network of its own (cgradnet)");
    if (!o->kind) o->kind = o->pixels ? "cgradnet" : "cmgn";
    if (o->pixels || o->sinkhorn || strcmp(o->target, "gaussian") == 0) return MGN_OK;
    o->components = 5;
    if (strcmp(o->target, "gmm") == 0) return MGN_OK;
    if (strncmp(o->target, "gmm:", 4) == 0)
        return cli_parse_range("--target gmm", o->target + 4, MGN_MOST_COMPONENTS, &o->components, &o->most_components);
    return mgn_fail(MGN_ERR_ARGUMENT,
                    "--target: '%.100s' is not palette, gaussian, gmm, gmm:K, gmm:FIRST..LAST or sinkhorn", o->target);
}

static mgn_status check_together(const cli_command *command, recolor_options *o) {
    if (o->likes.count == 0)
        return mgn_fail(MGN_ERR_ARGUMENT, "--like is missing: the picture whose palette is wanted; mgn recolor %s",
                        command->usage);
    if (!o->out && !o->dry_run)
        return mgn_fail(MGN_ERR_ARGUMENT, "-o is missing: the name of the result; mgn recolor %s", command->usage);
    if (o->dry_run && (o->out || o->map_path || o->sheet_path || o->lut_path || o->plots))
        return mgn_fail(MGN_ERR_ARGUMENT, "--dry-run writes nothing: leave -o, --save, --sheet, --lut and --plots out");
    for (int space = 0; mgn_colour_space_name((mgn_colour_space)space); space++)
        if (strcmp(o->space, mgn_colour_space_name((mgn_colour_space)space)) == 0)
            o->look.space = (mgn_colour_space)space;
    if (o->lut_path && o->lut_size == 0) {
        const char *dot = strrchr(o->lut_path, '.');
        o->lut_size = dot && strcmp(dot, ".png") == 0 ? USUAL_HALD : USUAL_LUT;
    }
    return MGN_OK;
}

static mgn_status check_counts(const recolor_options *o) {
    const bool one = o->source_count == 1;
    if (!one && (o->sheet_path || o->mask_path))
        return mgn_fail(MGN_ERR_ARGUMENT, "--%s goes with a single source; %zu were given",
                        o->mask_path ? "mask" : "sheet", o->source_count);
    if (!one && o->each && (o->map_path || o->lut_path))
        return mgn_fail(MGN_ERR_ARGUMENT, "--each learns %zu maps, and --%s keeps one", o->source_count,
                        o->map_path ? "save" : "lut");
    return MGN_OK;
}

/* ---- the command line ---- */

mgn_status recolor_options_read(const cli_command *command, int argc, char **argv, recolor_options *o) {
    *o = (recolor_options){.target = "palette", .space = "srgb", .look = MGN_LOOK, .smoothness = 0.6};
    const cli_option options[] = {
        {"like", 'l', CLI_LIST, "TARGET",
         "a picture whose palette is taken, or a folder of them; may be given several times (required)", &o->likes, 0,
         0},
        {"output", 'o', CLI_TEXT, "OUT",
         "where the result goes: .jpg, .jpeg or .png; for several sources a folder, made when it is missing (required)",
         &o->out, 0, 0},
        {"target", 0, CLI_TEXT, "palette|gaussian|gmm[:K|:FIRST..LAST]|sinkhorn",
         "what is matched: the palette itself, by optimal pairs of colours; its mean and covariance; a mixture of K "
         "components (default 5), of a range as many as the elbow of its likelihoods says; or the palette by the "
         "Sinkhorn divergence (default palette)",
         &o->target, 0, 0},
        {"smoothness", 0, CLI_REAL, "S",
         "palette: from 0, closest to TARGET's palette, to 1, closest to a linear map, which keeps faint differences "
         "as they are (default 0.6)",
         &o->smoothness, 0, 1},
        {"stretch", 0, CLI_REAL, "F",
         "palette: how many times larger differences of colours may become, where they may as well be noise: less "
         "shows "
         "fewer bands and blotches where the source has but a few colours, more comes closer to TARGET's (default 4.5; "
         "3 "
         "where a source is a JPEG, whose colours come in coarser steps)",
         &o->stretch, 0.01, 1000},
        {"strength", 0, CLI_REAL, "T",
         "how far to go from the source's colours, 0, to the new ones, 1: displacement interpolation (default 1)",
         &o->look.strength, 0, 1},
        {"space", 0, CLI_CHOICE, "srgb|linear|oklab", "where colours are compared and moved (default srgb)", &o->space,
         0, 0},
        {"protect-luma", 0, CLI_FLAG, NULL, "keep every pixel's brightness: new hues and saturations alone",
         &o->look.protect_luma, 0, 0},
        {"mask", 0, CLI_TEXT, "FILE",
         "a picture of the source's size, white where it is to change; learned from there alone", &o->mask_path, 0, 0},
        {"each", 0, CLI_FLAG, NULL, "a map for each source, not one for all", &o->each, 0, 0},
        {"save", 0, CLI_TEXT, "MAP", "keep the map too, as a safetensors file for `mgn apply`", &o->map_path, 0, 0},
        {"lut", 0, CLI_TEXT, "FILE",
         "keep it as a table of colours too: .cube, or .png for a HaldCLUT; a line that applies it elsewhere is "
         "printed",
         &o->lut_path, 0, 0},
        {"size", 0, CLI_INT, "N", "colours a side of the table: 17, 33, 65 (default 33; HaldCLUT 64)", &o->lut_size, 2,
         256},
        {"sheet", 0, CLI_TEXT, "FILE", "also write source, target and result side by side", &o->sheet_path, 0, 0},
        {"dry-run", 0, CLI_FLAG, NULL,
         "learn, and show the palettes only (as all figures, by at most 131072 pixels of each picture)", &o->dry_run, 0,
         0},
        {"model", 'm', CLI_CHOICE, "cmgn|mmgn",
         "the network of the other targets: cascaded (27 parameters) or modular (28) (default cmgn)", &o->kind, 0, 0},
        {"epochs", 0, CLI_LONG, "N",
         "passes of learning: gaussian over a sample of 65536 pixels (default 80, more for small pictures); gmm: steps "
         "(default 60); sinkhorn: rounds of 10 steps (default 8)",
         &o->epochs, 1, 1000000},
        {"quality", 0, CLI_INT, "Q", "JPEG quality, 1 to 100 (default 92)", &o->quality, 1, 100},
        CLI_PLOTS_OPTION(o->plots, "put figures there: histograms and palettes before, of the target and after, and "
                                   "the three pictures side by side (sheet.png); with --each one of each a source"),
    };
    MGN_TRY(cli_parse(command, argc, argv, options, MGN_COUNT(options), &o->common));
    if (o->common.help) return MGN_OK;
    MGN_TRY(parse_target(o));
    MGN_TRY(check_together(command, o));
    o->arena = mgn_arena_create();
    if (!o->arena) return MGN_ERR_MEMORY;
    MGN_TRY(expand(o->arena, (const char *const *)o->common.arguments, (size_t)o->common.argument_count, &o->sources,
                   &o->source_count));
    MGN_TRY(expand(o->arena, o->likes.items, o->likes.count, &o->targets, &o->target_count));
    MGN_TRY(check_counts(o));
    MGN_TRY(name_outputs(o));
    return check_outputs(o);
}

void recolor_options_free(recolor_options *o) {
    if (o->arena) mgn_arena_destroy(o->arena);
}
