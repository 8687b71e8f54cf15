#include "plots.h"

#include <stdio.h>
#include <string.h>

#include "outputs.h"
#include "training.h"

/* A picture that is no plot, but has its place among them. */
static const char sheet[] = "sheet";

const char *cli_plots_label(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

const char *cli_plots_prefix(const char *path, bool is_one, char prefix[CLI_PLOTS_PREFIX]) {
    const char *base = cli_plots_label(path), *dot = strrchr(base, '.');
    const int length = dot && dot > base ? (int)(dot - base) : (int)strlen(base);
    prefix[0] = 0;
    if (!is_one) snprintf(prefix, CLI_PLOTS_PREFIX, "%.*s-", MGN_MIN(length, CLI_PLOTS_PREFIX - 2), base);
    return prefix;
}

/* Whether a file in the folder could be a figure: NAME.png, or PREFIX-NAME.svg. */
static bool is_figure(const char *base, const char *name) {
    const char *dot = strrchr(base, '.');
    if (!dot || (strcmp(dot, ".png") != 0 && strcmp(dot, ".svg") != 0)) return false;
    const size_t stem = (size_t)(dot - base), length = strlen(name);
    if (stem < length || strncmp(dot - length, name, length) != 0) return false;
    return stem == length || *(dot - length - 1) == '-';
}

static mgn_status check_apart(const char *directory, const char *file) {
    char path[CLI_LONGEST_PATH];
    const char *base = cli_plots_label(file);
    bool is_taken = is_figure(base, sheet);
    for (size_t i = 0; mgn_draw_name(i); i++) is_taken = is_taken || is_figure(base, mgn_draw_name(i));
    if (!is_taken || snprintf(path, sizeof path, "%s/%s", directory, base) >= (int)sizeof path) return MGN_OK;
    if (!cli_same_file(path, file)) return MGN_OK;
    return mgn_fail(MGN_ERR_ARGUMENT,
                    "--plots: a figure may be called %s, which is another file of this command; give "
                    "the figures another folder",
                    file);
}

mgn_status cli_plots_check(const char *directory, const char *const *files, size_t count) {
    char probe[CLI_LONGEST_PATH];
    if (!directory) return MGN_OK;
    for (size_t i = 0; i < count; i++)
        if (files[i]) MGN_TRY(check_apart(directory, files[i]));
    MGN_TRY(mgn_plot_check(directory));
    if (snprintf(probe, sizeof probe, "%s/%s.png", directory, mgn_draw_name(0)) >= (int)sizeof probe)
        return mgn_fail(MGN_ERR_ARGUMENT, "--plots: the name of the folder is too long");
    return cli_check_writable(probe);
}
