/* What the kinds of panels share: data blocks, ranges, axes, legends, colours. A kind's file writes its numbers first
 * (mgn_plot_block, mgn_plot_row, mgn_plot_gap, mgn_plot_block_end), gathering the span of each axis as it goes; then opens
 * the panel (mgn_plot_panel), and lists what is drawn (mgn_plot_item, once for each). */
#ifndef MGN_HOST_PLOT_PANEL_H
#define MGN_HOST_PLOT_PANEL_H

#include "plot/plot.h"

#include <stdio.h>

enum { MGN_PLOT_LABEL = 256 }; /* bytes of a label that is being made */

/* The values along one axis. */
typedef struct mgn_plot_span {
    double low, high, positive; /* positive: the least that is */
    int64_t count;              /* finite ones */
} mgn_plot_span;

mgn_plot_span mgn_plot_no_span(void);
void mgn_plot_span_add(mgn_plot_span *span, double value);

/* What an axis shows. */
typedef struct mgn_plot_range {
    double low, high;
    bool is_log, is_empty;
} mgn_plot_range;

/* `room`: the share of the range that is left free at each end. */
mgn_plot_range mgn_plot_find_range(const mgn_plot_axis *axis, const mgn_plot_span *span, double room);

/* "set xrange", the scale and what it takes to label it; `axis`: x, y, z or cb. */
void mgn_plot_set_range(FILE *to, const char *axis, const mgn_plot_range *range);
/* Of axes with equal units: widens the narrower range where the panel would be a strip. */
void mgn_plot_even(mgn_plot_range *x, mgn_plot_range *y);

/* Whether a value can be shown there: finite, and positive where the scale is logarithmic. */
bool mgn_plot_shows(const mgn_plot_range *range, double value);

/* Whether panels can be added: there is a page, and nothing has failed. */
bool mgn_plot_is_open(const mgn_plot *plot);
/* Remembers the failure that mgn_fail was told of, if it is the first. */
void mgn_plot_fail(mgn_plot *plot, mgn_status status);

/* Opens a block of data. The number of the next one: */
void mgn_plot_block(mgn_plot *plot);
int mgn_plot_next_block(const mgn_plot *plot);
void mgn_plot_row(mgn_plot *plot, const double *values, int count);
/* Breaks lines. */
void mgn_plot_gap(mgn_plot *plot);
void mgn_plot_block_end(mgn_plot *plot);

/* Where gnuplot's commands of the panel go, between mgn_plot_panel and the first item. */
FILE *mgn_plot_commands(mgn_plot *plot);

/* Opens the next panel: its title, axes and ranges; `z` NULL in two dimensions. */
void mgn_plot_panel(mgn_plot *plot, const mgn_plot_axes *axes, const mgn_plot_range *x, const mgn_plot_range *y,
                    const mgn_plot_range *z);
/* "plot" or "splot", then one item after the other, as gnuplot's plot command takes them: the format is what follows the
 * data block's name, and the label is its title in the legend (NULL: none). `block` < 0: no data, for the legend alone. */
void mgn_plot_item(mgn_plot *plot, const char *verb, int block, const char *label, const char *format, ...)
    MGN_PRINTF(5, 6);

/* A text as gnuplot's string constant: nothing in it is an escape or a command. Lines longer than `width` characters are
 * broken between words (0: never). */
void mgn_plot_quote(FILE *stream, const char *text, int width);

/* "#rrggbb" of a series: its own colour, or that of its place. */
const char *mgn_plot_colour_code(mgn_plot_colour colour, size_t place);

/* Curves and clouds as parts of panels: their data block, and what is drawn of it. */
void mgn_plot_curve_block(mgn_plot *plot, const mgn_plot_curve *curve, const mgn_plot_range *x,
                          const mgn_plot_range *y);
void mgn_plot_curve_item(mgn_plot *plot, int block, const mgn_plot_curve *curve, const char *label, size_t place);
void mgn_plot_cloud_block(mgn_plot *plot, const mgn_plot_cloud *cloud, int dimensions);
void mgn_plot_cloud_label(const mgn_plot_cloud *cloud, char label[MGN_PLOT_LABEL]);
void mgn_plot_cloud_items(mgn_plot *plot, int block, const mgn_plot_cloud *cloud, size_t place);

/* A label and a remark in brackets, such as "(2000 of 10000 points)"; the remark is a printf format. */
void mgn_plot_remark(char label[MGN_PLOT_LABEL], const char *format, ...) MGN_PRINTF(2, 3);

#endif
