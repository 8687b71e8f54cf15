/* Pictures of numbers: curves, clouds of points, histograms, warped grids and maps of a value, drawn by gnuplot.
 *
 *     const mgn_plot_curve loss = {.label = "training", .y = values, .n = epochs};
 *     mgn_plot *plot = mgn_plot_begin(&(mgn_plot_page){0});
 *     mgn_plot_curves(plot, &(mgn_plot_axes){.title = "Loss", .x = {.label = "epoch"}}, &loss, 1);
 *     return mgn_plot_save(plot, directory, "loss");    // loss.png and loss.svg
 *
 * A page has one panel or several, one for each call. A call copies what it is given and remembers the first failure,
 * which mgn_plot_save returns; so nothing is checked in between. Every text may hold any bytes: it is drawn as it stands,
 * and what is not UTF-8 or not printable as '?'. Values that are not finite are left out; ranges are those of
 * the values unless they are set; large clouds are thinned, which the legend says.
 *
 * A new kind of panel is one file like curves.c: write the numbers as data blocks, open the panel with its ranges, and list
 * what is drawn (panel.h). */
#ifndef MGN_HOST_PLOT_H
#define MGN_HOST_PLOT_H

#include "core/core.h"

typedef struct mgn_plot mgn_plot;

/* The whole picture. Zero means the usual. */
typedef struct mgn_plot_page {
    const char *title; /* over several panels; one panel has its own */
    int width, height; /* pixels, to 8192; 0: 800 x 560 for one panel, else by the number of panels */
    int columns;       /* of panels; 0: all in one row */
} mgn_plot_page;

typedef enum mgn_plot_scale {
    MGN_PLOT_LINEAR,
    MGN_PLOT_LOG, /* values <= 0 are left out, which the legend says */
    MGN_PLOT_AUTO /* logarithmic where all values are positive and the largest is 30 times the least */
} mgn_plot_scale;

typedef struct mgn_plot_axis {
    const char *label;
    mgn_plot_scale scale;
    double low, high; /* equal: the range of the values and some room */
    int tics;         /* about so many numbers on a linear axis, for small panels; 0: as gnuplot sees fit */
} mgn_plot_axis;

typedef struct mgn_plot_axes {
    const char *title;
    mgn_plot_axis x, y, z; /* z: the third direction, or the colour of a heat map */
    bool is_equal;         /* a unit is as long on x as on y, as it should be where both are of one kind */
} mgn_plot_axes;

/* Colours that people with any colour vision tell apart (Okabe, Ito). Series without a colour get them in this order. */
typedef enum mgn_plot_colour {
    MGN_PLOT_NEXT,
    MGN_PLOT_BLUE,
    MGN_PLOT_VERMILLION,
    MGN_PLOT_GREEN,
    MGN_PLOT_PURPLE,
    MGN_PLOT_ORANGE,
    MGN_PLOT_SKY,
    MGN_PLOT_BLACK,
    MGN_PLOT_GREY
} mgn_plot_colour;

typedef enum mgn_plot_style { MGN_PLOT_LINE, MGN_PLOT_DASHED, MGN_PLOT_MARKED, MGN_PLOT_MARKS } mgn_plot_style;

/* A line through (x[i], y[i]). */
typedef struct mgn_plot_curve {
    const char *label;   /* in the legend; NULL: not there */
    const double *x, *y; /* x NULL: 1, 2, .. */
    int64_t n;
    mgn_plot_style style; /* MARKED: a line with a mark at each point; MARKS: marks alone */
    mgn_plot_colour colour;
} mgn_plot_curve;

/* Points, one a row. */
typedef struct mgn_plot_cloud {
    const char *label;
    const float *rows; /* (n, d); the first two or three columns are drawn */
    int64_t n, d;
    const float *colours; /* (n, 3) RGB of each point, 0..1; NULL: `colour` for all */
    mgn_plot_colour colour;
} mgn_plot_cloud;

/* Numbers whose distribution is drawn. */
typedef struct mgn_plot_sample {
    const char *label;
    const float *values; /* n of them, `step` apart (0: 1), as a column of a table is */
    int64_t n, step;
    mgn_plot_colour colour;
    bool is_outline; /* not filled */
} mgn_plot_sample;

/* Where the points of a regular grid went. */
typedef struct mgn_plot_mesh {
    const float *points; /* (rows * columns, 2), row by row */
    int64_t rows, columns;
    int64_t every; /* one line in so many is drawn, through all its points; 0: 1 */
} mgn_plot_mesh;

/* A value at every place of a rectangle. */
typedef struct mgn_plot_field {
    const double *values;                /* (rows, columns); the first row is the lowest */
    int64_t rows, columns;               /* to 2048 each */
    double x_low, x_high, y_low, y_high; /* of the rectangle's edges */
    bool is_signed;                      /* colours meet at 0 */
} mgn_plot_field;

/* MGN_OK when pictures can be drawn, to be asked before long work; also makes `directory` (NULL: none) if it is missing.
 * Errors: UNSUPPORTED (gnuplot is not installed or has no PNG or SVG terminal), IO. */
mgn_status mgn_plot_check(const char *directory);

/* Starts a page; NULL when memory is out, which every call below takes. */
mgn_plot *mgn_plot_begin(const mgn_plot_page *page);

/* ---- panels: each call adds one ---- */

void mgn_plot_curves(mgn_plot *plot, const mgn_plot_axes *axes, const mgn_plot_curve *curves, size_t count);
/* Clouds in two dimensions, with lines over them (ellipses, arrows; `lines` NULL: none). */
void mgn_plot_scatter2(mgn_plot *plot, const mgn_plot_axes *axes, const mgn_plot_cloud *clouds, size_t count,
                       const mgn_plot_curve *lines, size_t line_count);
/* Clouds in three. */
void mgn_plot_scatter3(mgn_plot *plot, const mgn_plot_axes *axes, const mgn_plot_cloud *clouds, size_t count);
/* Shares of the values in `bins` (0: 50) equal intervals of the x range, the same for all samples. */
void mgn_plot_histograms(mgn_plot *plot, const mgn_plot_axes *axes, const mgn_plot_sample *samples, size_t count,
                         int bins);
/* A regular grid as a map bends it, over a cloud (NULL: none). */
void mgn_plot_grid(mgn_plot *plot, const mgn_plot_axes *axes, const mgn_plot_mesh *mesh, const mgn_plot_cloud *cloud);
/* A map of a value in colours, with their scale beside it. */
void mgn_plot_heat(mgn_plot *plot, const mgn_plot_axes *axes, const mgn_plot_field *field);

/* The 65 points (x, y) of the ellipse at `sigmas` standard deviations of N(mean, covariance) in the plane. */
enum { MGN_PLOT_ELLIPSE = 65 };
void mgn_plot_ellipse(const double mean[2], const double covariance[4], double sigmas, double x[MGN_PLOT_ELLIPSE],
                      double y[MGN_PLOT_ELLIPSE]);

/* Which of `n` rows is the `i`-th of `most` that are drawn: one out of each part of equal length, at a fixed random place
 * in it, so that rows in an order (a picture's) give no pattern. */
int64_t mgn_plot_thinned(int64_t n, int64_t most, int64_t i);

/* ---- the end ---- */

/* Draws the page as `directory`/`stem`.png and .svg, which appear together or not at all, and frees it. Errors: those
 * of the panels; IO (gnuplot failed, or a file cannot be written); UNSUPPORTED; INTERRUPTED; MEMORY. */
mgn_status mgn_plot_save(mgn_plot *plot, const char *directory, const char *stem);
/* The picture's bytes (mgn_free) in one of the formats; the page stays. */
typedef enum mgn_plot_format { MGN_PLOT_PNG, MGN_PLOT_SVG } mgn_plot_format;
mgn_status mgn_plot_render(const mgn_plot *plot, mgn_plot_format format, unsigned char **bytes, size_t *size);
/* Frees the page. Takes NULL. */
void mgn_plot_discard(mgn_plot *plot);

#endif
