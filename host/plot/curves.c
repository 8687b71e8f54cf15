/* Lines through points: losses, costs, anything over epochs or over a parameter. */
#include <math.h>

#include "plot/panel.h"

enum { MOST_POINTS = 4000 };

static double x_of(const mgn_plot_curve *curve, int64_t i) { return curve->x ? curve->x[i] : (double)(i + 1); }

static void write_point(mgn_plot *plot, const mgn_plot_curve *curve, int64_t i, const mgn_plot_range *x,
                        const mgn_plot_range *y) {
    const double point[2] = {mgn_plot_shows(x, x_of(curve, i)) ? x_of(curve, i) : NAN,
                             mgn_plot_shows(y, curve->y[i]) ? curve->y[i] : NAN};
    mgn_plot_row(plot, point, 2);
}

/* More points than pixels: of each part the lowest and the highest, so that no spike is lost. */
static void write_parts(mgn_plot *plot, const mgn_plot_curve *curve, const mgn_plot_range *x, const mgn_plot_range *y) {
    const int64_t parts = MOST_POINTS / 2;
    for (int64_t p = 0; p < parts; p++) {
        const int64_t first = p * curve->n / parts, end = (p + 1) * curve->n / parts;
        int64_t low = first, high = first;
        for (int64_t i = first; i < end; i++) {
            if (!(curve->y[low] <= curve->y[i])) low = isnan(curve->y[i]) ? low : i;
            if (!(curve->y[high] >= curve->y[i])) high = isnan(curve->y[i]) ? high : i;
        }
        write_point(plot, curve, MGN_MIN(low, high), x, y);
        write_point(plot, curve, MGN_MAX(low, high), x, y);
    }
}

void mgn_plot_curve_block(mgn_plot *plot, const mgn_plot_curve *curve, const mgn_plot_range *x,
                          const mgn_plot_range *y) {
    mgn_plot_block(plot);
    if (curve->n > MOST_POINTS)
        write_parts(plot, curve, x, y);
    else
        for (int64_t i = 0; i < curve->n; i++) write_point(plot, curve, i, x, y);
    mgn_plot_block_end(plot);
}

static void label_curve(const mgn_plot_curve *curve, const mgn_plot_range *y, char label[MGN_PLOT_LABEL]) {
    int64_t hidden = 0;
    snprintf(label, MGN_PLOT_LABEL, "%s", curve->label ? curve->label : "");
    for (int64_t i = 0; i < curve->n; i++) hidden += isfinite(curve->y[i]) && !mgn_plot_shows(y, curve->y[i]);
    if (hidden) mgn_plot_remark(label, "%lld values <= 0 not shown", (long long)hidden);
}

void mgn_plot_curve_item(mgn_plot *plot, int block, const mgn_plot_curve *curve, const char *label, size_t place) {
    static const int marks[] = {7, 5, 9, 13, 11, 6, 4};
    const char *colour = mgn_plot_colour_code(curve->colour, place);
    const int mark = marks[place % MGN_COUNT(marks)];
    const bool is_repeated = curve->colour == MGN_PLOT_NEXT && place >= MGN_COUNT(marks),
               is_dashed = curve->style == MGN_PLOT_DASHED || is_repeated;
    if (curve->style == MGN_PLOT_MARKS)
        mgn_plot_item(plot, "plot", block, label, "with points pt %d ps 1.1 lc rgb '%s'", mark, colour);
    else if (curve->style == MGN_PLOT_MARKED)
        mgn_plot_item(plot, "plot", block, label, "with linespoints pt %d ps .8 lw 2 dt %d lc rgb '%s'", mark,
                      is_dashed ? 2 : 1, colour);
    else
        mgn_plot_item(plot, "plot", block, label, "with lines lw 2 dt %d lc rgb '%s'", is_dashed ? 2 : 1, colour);
}

void mgn_plot_curves(mgn_plot *plot, const mgn_plot_axes *axes, const mgn_plot_curve *curves, size_t count) {
    if (!mgn_plot_is_open(plot)) return;
    mgn_plot_span across = mgn_plot_no_span(), up = mgn_plot_no_span();
    for (size_t c = 0; c < count; c++)
        for (int64_t i = 0; i < curves[c].n; i++) {
            mgn_plot_span_add(&across, x_of(&curves[c], i));
            mgn_plot_span_add(&up, curves[c].y[i]);
        }
    const mgn_plot_range x = mgn_plot_find_range(&axes->x, &across, 0.02), y = mgn_plot_find_range(&axes->y, &up, 0.05);
    const int first = mgn_plot_next_block(plot);
    for (size_t c = 0; c < count; c++) mgn_plot_curve_block(plot, &curves[c], &x, &y);
    mgn_plot_panel(plot, axes, &x, &y, NULL);
    for (size_t c = 0; c < count; c++) {
        char label[MGN_PLOT_LABEL];
        label_curve(&curves[c], &y, label);
        mgn_plot_curve_item(plot, first + (int)c, &curves[c], label, c);
    }
    if (count == 0) mgn_plot_item(plot, "plot", -1, NULL, "with points");
}
