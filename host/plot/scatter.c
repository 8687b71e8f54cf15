/* Clouds of points in the plane, with lines over them. */
#include <math.h>

#include "plot/panel.h"

enum { MOST_POINTS = 2000, FEW_POINTS = 600 };

static unsigned packed_colour(const float rgb[3]) {
    unsigned code = 0;
    for (int c = 0; c < 3; c++) code = code << 8 | (unsigned)(fminf(fmaxf(rgb[c], 0), 1) * 255 + 0.5f);
    return code;
}

void mgn_plot_cloud_block(mgn_plot *plot, const mgn_plot_cloud *cloud, int dimensions) {
    const int64_t drawn = MGN_MIN(cloud->n, MOST_POINTS);
    mgn_plot_block(plot);
    for (int64_t i = 0; i < drawn; i++) {
        const int64_t row = mgn_plot_thinned(cloud->n, MOST_POINTS, i);
        double values[4] = {0};
        for (int k = 0; k < dimensions; k++) values[k] = (double)cloud->rows[row * cloud->d + k];
        if (cloud->colours) values[dimensions] = packed_colour(cloud->colours + 3 * row);
        mgn_plot_row(plot, values, dimensions + (cloud->colours != NULL));
    }
    mgn_plot_block_end(plot);
}

void mgn_plot_cloud_label(const mgn_plot_cloud *cloud, char label[MGN_PLOT_LABEL]) {
    snprintf(label, MGN_PLOT_LABEL, "%s", cloud->label ? cloud->label : "");
    if (cloud->label && cloud->n > MOST_POINTS) mgn_plot_remark(label, "%d of %lld", MOST_POINTS, (long long)cloud->n);
}

void mgn_plot_cloud_items(mgn_plot *plot, int block, const mgn_plot_cloud *cloud, size_t place) {
    char label[MGN_PLOT_LABEL];
    const char *colour = mgn_plot_colour_code(cloud->colour, place);
    const int mark = place < 7 ? 7 : 5; /* colours come again after seven */
    mgn_plot_cloud_label(cloud, label);
    if (cloud->colours) {
        mgn_plot_item(plot, "plot", block, label, "using 1:2:3 with points pt 7 ps .5 lc rgb variable");
        return;
    }
    /* Points are small and let others through; in the legend they are neither. */
    mgn_plot_item(plot, "plot", block, NULL, "using 1:2 with points pt %d ps %s lc rgb '#70%s'", mark,
                  cloud->n < FEW_POINTS ? ".7" : ".4", colour + 1);
    if (*label) mgn_plot_item(plot, "plot", -1, label, "with points pt %d ps 1 lc rgb '%s'", mark, colour);
}

void mgn_plot_scatter2(mgn_plot *plot, const mgn_plot_axes *axes, const mgn_plot_cloud *clouds, size_t count,
                       const mgn_plot_curve *lines, size_t line_count) {
    if (!mgn_plot_is_open(plot)) return;
    mgn_plot_span across = mgn_plot_no_span(), up = mgn_plot_no_span();
    for (size_t c = 0; c < count; c++) {
        if (clouds[c].d < 2) {
            mgn_plot_fail(plot, mgn_fail(MGN_ERR_ARGUMENT, "a cloud in the plane needs rows of two numbers or more"));
            return;
        }
        for (int64_t i = 0; i < clouds[c].n; i++) {
            mgn_plot_span_add(&across, (double)clouds[c].rows[i * clouds[c].d]);
            mgn_plot_span_add(&up, (double)clouds[c].rows[i * clouds[c].d + 1]);
        }
    }
    for (size_t c = 0; c < line_count; c++)
        for (int64_t i = 0; i < lines[c].n; i++) {
            mgn_plot_span_add(&across, lines[c].x ? lines[c].x[i] : (double)(i + 1));
            mgn_plot_span_add(&up, lines[c].y[i]);
        }
    mgn_plot_range x = mgn_plot_find_range(&axes->x, &across, 0.04), y = mgn_plot_find_range(&axes->y, &up, 0.04);
    if (axes->is_equal) mgn_plot_even(&x, &y);
    const int first = mgn_plot_next_block(plot);
    for (size_t c = 0; c < count; c++) mgn_plot_cloud_block(plot, &clouds[c], 2);
    for (size_t c = 0; c < line_count; c++) mgn_plot_curve_block(plot, &lines[c], &x, &y);
    mgn_plot_panel(plot, axes, &x, &y, NULL);
    for (size_t c = 0; c < count; c++) mgn_plot_cloud_items(plot, first + (int)c, &clouds[c], c);
    for (size_t c = 0; c < line_count; c++)
        mgn_plot_curve_item(plot, first + (int)(count + c), &lines[c], lines[c].label, count + c);
    if (count + line_count == 0) mgn_plot_item(plot, "plot", -1, NULL, "with points");
}

/* With the Cholesky factor L of the covariance, L (cos t, sin t) runs along the ellipse. */
void mgn_plot_ellipse(const double mean[2], const double covariance[4], double sigmas, double x[MGN_PLOT_ELLIPSE],
                      double y[MGN_PLOT_ELLIPSE]) {
    const double full_turn = 6.283185307179586, l00 = sqrt(fmax(covariance[0], 0)),
                 l10 = l00 > 0 ? covariance[1] / l00 : 0, l11 = sqrt(fmax(covariance[3] - l10 * l10, 0));
    for (int i = 0; i < MGN_PLOT_ELLIPSE; i++) {
        const double t = full_turn * i / (MGN_PLOT_ELLIPSE - 1);
        x[i] = mean[0] + sigmas * l00 * cos(t);
        y[i] = mean[1] + sigmas * (l10 * cos(t) + l11 * sin(t));
    }
}
