/* A page's beginning and end: the terminal, the arrangement of the panels, the run of gnuplot, the files. */
#define _GNU_SOURCE
#include "plot/plot.h"

#include <stdlib.h>
#include <string.h>

#include "core/file.h"
#include "plot/gnuplot.h"
#include "plot/panel.h"
#include "plot/script.h"

enum { ONE_WIDTH = 800, ONE_HEIGHT = 560, WIDE_PANEL = 440, NARROW_PANEL = 320, MOST_PIXELS = 8192 };

static const struct {
    const char *ending, *terminal; /* the arguments of the terminal are width, height and size of the letters */
} formats[] = {
    [MGN_PLOT_PNG] = {".png", "pngcairo noenhanced size %d,%d font 'Sans,%d' background '#ffffff'"},
    [MGN_PLOT_SVG] = {".svg", "svg noenhanced size %d,%d font 'sans-serif,%d' background '#ffffff'"},
};

mgn_status mgn_plot_check(const char *directory) {
    static const char script[] = "set terminal svg\nset terminal pngcairo\n";
    const mgn_gnuplot_run run = {.script = script, .size = sizeof script - 1};
    unsigned char *output = NULL;
    size_t size = 0;
    const mgn_status status = mgn_gnuplot(&run, &output, &size);
    mgn_free(output);
    if (status == MGN_ERR_IO) {
        char sentence[400];
        snprintf(sentence, sizeof sentence, "%s", mgn_last_error());
        return mgn_fail(MGN_ERR_UNSUPPORTED, "plots need a gnuplot with the terminals pngcairo and svg: %s", sentence);
    }
    MGN_TRY(status);
    return directory ? mgn_make_directory(directory) : MGN_OK;
}

mgn_plot *mgn_plot_begin(const mgn_plot_page *page) {
    mgn_plot *plot = mgn_alloc(1, sizeof *plot);
    if (!plot) return NULL;
    plot->page = *page;
    snprintf(plot->title, sizeof plot->title, "%s", page->title ? page->title : "");
    plot->data = open_memstream(&plot->data_text, &plot->data_size);
    plot->commands = open_memstream(&plot->command_text, &plot->command_size);
    if (plot->data && plot->commands) return plot;
    mgn_plot_discard(plot);
    return NULL;
}

void mgn_plot_discard(mgn_plot *plot) {
    if (!plot) return;
    if (plot->data) fclose(plot->data);
    if (plot->commands) fclose(plot->commands);
    free(plot->data_text); /* open_memstream's own */
    free(plot->command_text);
    mgn_free(plot);
}

/* ---- the script ---- */

typedef struct layout {
    int columns, rows, width, height, letters;
} layout;

static layout arrange(const mgn_plot *plot) {
    const int panels = MGN_MAX(plot->panels, 1);
    layout l = {.columns = plot->page.columns > 0 ? MGN_MIN(plot->page.columns, panels) : panels};
    l.rows = (panels + l.columns - 1) / l.columns;
    const int panel = l.columns > 3 ? NARROW_PANEL : WIDE_PANEL,
              usual_width = panels == 1 ? ONE_WIDTH : MGN_MAX(ONE_WIDTH, panel * l.columns),
              usual_height = panels == 1 ? ONE_HEIGHT : usual_width / l.columns * l.rows + (plot->title[0] ? 40 : 0);
    l.width = MGN_MIN(plot->page.width > 0 ? plot->page.width : usual_width, MOST_PIXELS);
    l.height = MGN_MIN(plot->page.height > 0 ? plot->page.height : usual_height, MOST_PIXELS);
    /* A row of many panels is looked at in the width of a page. */
    l.letters = l.width > 1000 ? MGN_MIN(12 + (l.width - 1000) / 150, 17) : 11;
    return l;
}

static mgn_status write_script(const mgn_plot *plot, mgn_plot_format format, char **script, size_t *size) {
    const layout l = arrange(plot);
    FILE *to = open_memstream(script, size);
    if (!to) return mgn_fail(MGN_ERR_MEMORY, "out of memory for a plot");
    fputs("set encoding utf8\nset terminal ", to);
    /* The formats are the table's above. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    fprintf(to, formats[format].terminal, l.width, l.height, l.letters);
#pragma GCC diagnostic pop
    putc('\n', to);
    fwrite(plot->data_text, 1, plot->data_size, to);
    if (plot->panels > 1) {
        fprintf(to, "set multiplot layout %d,%d", l.rows, l.columns);
        if (plot->title[0]) {
            fputs(" title ", to);
            mgn_plot_quote(to, plot->title, l.width / l.letters);
            fputs(" noenhanced", to);
        }
        putc('\n', to);
    }
    fwrite(plot->command_text, 1, plot->command_size, to);
    fputs(plot->panels > 1 ? "\nunset multiplot\n" : "\n", to);
    const bool is_written = !ferror(to);
    if (fclose(to) == 0 && is_written) return MGN_OK;
    free(*script);
    return mgn_fail(MGN_ERR_MEMORY, "out of memory for a plot");
}

/* ---- the picture ---- */

/* gnuplot may end well and have drawn nothing, or not all of it. */
static bool is_whole(mgn_plot_format format, const unsigned char *bytes, size_t size) {
    static const unsigned char start[] = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n'};
    static const char last_chunk[] = "IEND\xae\x42\x60\x82", last_tag[] = "</svg>";
    const bool is_png = format == MGN_PLOT_PNG;
    const char *end = is_png ? last_chunk : last_tag;
    const size_t length = strlen(end);
    if (is_png && (size < sizeof start || memcmp(bytes, start, sizeof start) != 0)) return false;
    if (!is_png && (size < 5 || memcmp(bytes, "<?xml", 5) != 0)) return false;
    while (!is_png && size && strchr("\r\n \t", bytes[size - 1])) size--;
    return size >= length && memcmp(bytes + size - length, end, length) == 0;
}

mgn_status mgn_plot_render(const mgn_plot *plot, mgn_plot_format format, unsigned char **bytes, size_t *size) {
    if (!plot) return mgn_fail(MGN_ERR_MEMORY, "out of memory for a plot");
    if (plot->status != MGN_OK) return mgn_fail(plot->status, "%s", plot->sentence);
    if (plot->panels == 0) return mgn_fail(MGN_ERR_ARGUMENT, "a plot needs a panel, and has none");
    if (ferror(plot->data) || fflush(plot->data) != 0 || ferror(plot->commands) || fflush(plot->commands) != 0)
        return mgn_fail(MGN_ERR_MEMORY, "out of memory for a plot");
    mgn_gnuplot_run run = {0};
    char *script = NULL;
    MGN_TRY(write_script(plot, format, &script, &run.size));
    run.script = script;
    const mgn_status status = mgn_gnuplot(&run, bytes, size);
    free(script);
    MGN_TRY(status);
    if (is_whole(format, *bytes, *size)) return MGN_OK;
    mgn_free(*bytes);
    *bytes = NULL;
    return mgn_fail(MGN_ERR_IO, "gnuplot ended without an error, and wrote no whole picture (%zu bytes)", *size);
}

static mgn_status draw(const mgn_plot *plot, const char *directory, const char *stem, mgn_plot_format format,
                       mgn_output_file **file) {
    unsigned char *bytes = NULL;
    char *path = NULL;
    size_t size = 0;
    MGN_TRY(mgn_plot_render(plot, format, &bytes, &size));
    mgn_status status = MGN_ERR_MEMORY;
    if (asprintf(&path, "%s/%s%s", directory, stem, formats[format].ending) < 0)
        mgn_fail(MGN_ERR_MEMORY, "out of memory for a plot");
    else
        status = mgn_output_open(path, file);
    if (status == MGN_OK) status = mgn_output_write(*file, bytes, size);
    free(path);
    mgn_free(bytes);
    return status;
}

mgn_status mgn_plot_save(mgn_plot *plot, const char *directory, const char *stem) {
    mgn_output_file *files[MGN_COUNT(formats)] = {NULL};
    mgn_status status = MGN_OK;
    for (size_t i = 0; i < MGN_COUNT(formats) && status == MGN_OK; i++)
        status = draw(plot, directory, stem, (mgn_plot_format)i, &files[i]);
    if (status == MGN_OK)
        status = mgn_output_commit_all(files, MGN_COUNT(formats));
    else
        for (size_t i = 0; i < MGN_COUNT(formats); i++) mgn_output_discard(files[i]);
    mgn_plot_discard(plot);
    return status;
}
