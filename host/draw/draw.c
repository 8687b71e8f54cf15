#include "draw/draw.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const char *const names[] = {"loss",   "cost",        "grid",       "clouds",   "interpolation", "error",
                                    "logdet", "eigenvalues", "histograms", "palettes", "likelihood",    "components"};

const char *mgn_draw_name(size_t index) { return index < MGN_COUNT(names) ? names[index] : NULL; }

const char *mgn_draw_title(const mgn_draw *draw, const char *what, char title[MGN_DRAW_TITLE]) {
    snprintf(title, MGN_DRAW_TITLE, draw->label ? "%s: %s" : "%s", what, draw->label);
    return title;
}

mgn_status mgn_draw_save(const mgn_draw *draw, mgn_plot *plot, const char *name) {
    char stem[256];
    const int length = snprintf(stem, sizeof stem, "%s%s", draw->prefix ? draw->prefix : "", name);
    if (length < (int)sizeof stem) return mgn_plot_save(plot, draw->directory, stem);
    mgn_plot_discard(plot);
    return mgn_fail(MGN_ERR_ARGUMENT, "%.100s..: a file's name of less than %zu characters was expected", stem,
                    sizeof stem);
}

void mgn_draw_range(const float *rows, int64_t n, int64_t column, double *low, double *high) {
    *low = INFINITY;
    *high = -INFINITY;
    for (int64_t i = 0; i < n; i++) {
        *low = fmin(*low, (double)rows[2 * i + column]);
        *high = fmax(*high, (double)rows[2 * i + column]);
    }
    if (*low < *high) return;
    *low -= 0.5;
    *high += 0.5;
}
