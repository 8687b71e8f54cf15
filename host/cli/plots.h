/* --plots DIR: figures of what a command has done. Whether they can be drawn is known before it starts. */
#ifndef MGN_CLI_PLOTS_H
#define MGN_CLI_PLOTS_H

#include "draw/draw.h"
#include "options.h"

/* A row of a command's table of options; `what` says which figures. */
#define CLI_PLOTS_OPTION(target, what) \
    { "plots", 0, CLI_TEXT, "DIR", what ", as .png and .svg; made by gnuplot", &(target), 0, 0 }

/* Makes the folder, unless gnuplot is missing, the folder cannot be written to, or a figure would be written over one of
 * the files that the command reads or writes. Nothing happens for NULL. */
mgn_status cli_plots_check(const char *directory, const char *const *files, size_t count);

/* "STEM-" of a file's name, for the figures of several files; "" where there is one only. */
enum { CLI_PLOTS_PREFIX = 160 };
const char *cli_plots_prefix(const char *path, bool is_one, char prefix[CLI_PLOTS_PREFIX]);

/* The last part of a path, for titles. */
const char *cli_plots_label(const char *path);

#endif
