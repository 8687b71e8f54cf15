/* How far images are from where they should be. */
#include "draw/draw.h"

#include <math.h>
#include <stdio.h>

/* Cells of the map: as many as leave some rows in each. */
enum { FEWEST_CELLS = 8, MOST_CELLS = 64, ROWS_A_CELL = 8 };

static double distance(const float *a, const float *b, int64_t d) {
    double sum = 0;
    for (int64_t k = 0; k < d; k++) sum += pow((double)a[k] - (double)b[k], 2);
    return sqrt(sum);
}

static int64_t cell_of(double value, double low, double high, int64_t cells) {
    return MGN_MIN((int64_t)((value - low) / (high - low) * (double)cells), cells - 1);
}

/* Means of the cells; NaN where there is no row. `values` has room for the counts behind them. */
static void average(const mgn_plot_field *f, const float *x, const float *y, const float *truth, int64_t n,
                    double *values) {
    double *counts = values + f->rows * f->columns;
    for (int64_t i = 0; i < n; i++) {
        const int64_t cell = cell_of((double)x[2 * i + 1], f->y_low, f->y_high, f->rows) * f->columns +
                             cell_of((double)x[2 * i], f->x_low, f->x_high, f->columns);
        values[cell] += distance(y + 2 * i, truth + 2 * i, 2);
        counts[cell]++;
    }
    for (int64_t i = 0; i < f->rows * f->columns; i++) values[i] = counts[i] > 0 ? values[i] / counts[i] : NAN;
}

static mgn_status draw_where(const mgn_draw *draw, const float *x, const float *y, const float *truth, int64_t n,
                             const char *title) {
    const int64_t cells = (int64_t)fmin(fmax(sqrt((double)n / ROWS_A_CELL), FEWEST_CELLS), MOST_CELLS);
    mgn_plot_field field = {.rows = cells, .columns = cells};
    mgn_draw_range(x, n, 0, &field.x_low, &field.x_high);
    mgn_draw_range(x, n, 1, &field.y_low, &field.y_high);
    double *values = mgn_alloc((size_t)(2 * cells * cells), sizeof *values);
    if (!values) return MGN_ERR_MEMORY;
    field.values = values;
    average(&field, x, y, truth, n, values);
    const mgn_plot_axes axes = {.title = title,
                                .x = {.label = "column 1"},
                                .y = {.label = "column 2"},
                                .z = {.label = "mean distance of the rows in a cell"},
                                .is_equal = true};
    mgn_plot *plot = mgn_plot_begin(&(mgn_plot_page){0});
    mgn_plot_heat(plot, &axes, &field);
    mgn_free(values);
    return mgn_draw_save(draw, plot, "error");
}

static mgn_status draw_how(const mgn_draw *draw, const float *y, const float *truth, int64_t n, int64_t d,
                           const char *title) {
    float *errors = mgn_alloc((size_t)n, sizeof *errors);
    if (!errors) return MGN_ERR_MEMORY;
    for (int64_t i = 0; i < n; i++) errors[i] = (float)distance(y + i * d, truth + i * d, d);
    const mgn_plot_sample sample = {.values = errors, .n = n};
    const mgn_plot_axes axes = {.title = title,
                                .x = {.label = "distance of an image from its truth", .scale = MGN_PLOT_AUTO},
                                .y = {.label = "share of the rows"}};
    mgn_plot *plot = mgn_plot_begin(&(mgn_plot_page){0});
    mgn_plot_histograms(plot, &axes, &sample, 1, 0);
    mgn_free(errors);
    return mgn_draw_save(draw, plot, "error");
}

mgn_status mgn_draw_error(const mgn_draw *draw, const float *x, const float *y, const float *truth, int64_t n,
                          int64_t d) {
    char title[MGN_DRAW_TITLE];
    mgn_draw_title(draw, "Error |g(x) - truth|", title);
    return d == 2 ? draw_where(draw, x, y, truth, n, title) : draw_how(draw, y, truth, n, d, title);
}
