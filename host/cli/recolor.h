/* What `mgn recolor` was asked for. */
#ifndef MGN_CLI_RECOLOR_H
#define MGN_CLI_RECOLOR_H

#include <mgn/look.h>

#include "cli.h"

typedef struct recolor_options {
    cli_common common;
    cli_list likes;
    char **sources, **targets, **outputs; /* the pictures; an output per source, NULL for --dry-run */
    size_t source_count, target_count;
    const char *out, *map_path, *sheet_path, *lut_path, *mask_path, *plots; /* `out`: a picture's name, or a folder's */
    const char *kind, *target, *space;
    int64_t epochs, components, most_components;
    mgn_look look;
    double smoothness, stretch;
    bool sinkhorn, pixels, each, dry_run;
    int quality, lut_size;
    mgn_arena *arena; /* holds the three lists */
} recolor_options;

/* Reads the command line and checks every name before anything is read. The caller frees by recolor_options_free. */
mgn_status recolor_options_read(const cli_command *command, int argc, char **argv, recolor_options *options);
void recolor_options_free(recolor_options *options);

#endif
