/* A value over a rectangle, in colours that grow evenly lighter (viridis), or from blue over white to vermillion where the
 * sign matters. */
#include <math.h>

#include "plot/panel.h"

enum { MOST_SIDE = 2048 };

static const char viridis[] = "set palette defined (0 '#440154', 1 '#482878', 2 '#3e4989', 3 '#31688e', 4 '#26828e', "
                              "5 '#1f9e89', 6 '#35b779', 7 '#6ece58', 8 '#b5de2b', 9 '#fde725')\n",
                  two_sided[] = "set palette defined (0 '#00406a', 1 '#0072b2', 2 '#8fc1de', 3 '#ffffff', "
                                "4 '#f0b08a', 5 '#d55e00', 6 '#7a3600')\n";

/* The values in use: of the whole rectangle. */
static mgn_plot_range find_colours(const mgn_plot_axes *axes, const mgn_plot_field *field, int64_t *missing) {
    mgn_plot_span span = mgn_plot_no_span();
    mgn_plot_axis axis = axes->z;
    for (int64_t i = 0; i < field->rows * field->columns; i++) mgn_plot_span_add(&span, field->values[i]);
    if (field->is_signed && span.count && !(axis.low < axis.high)) {
        const double extent = fmax(fabs(span.low), fabs(span.high));
        axis.high = extent > 0 ? extent : 1;
        axis.low = -axis.high;
    }
    const mgn_plot_range colours = mgn_plot_find_range(&axis, &span, 0);
    *missing = 0;
    for (int64_t i = 0; i < field->rows * field->columns; i++) *missing += !mgn_plot_shows(&colours, field->values[i]);
    return colours;
}

static void write_values(mgn_plot *plot, const mgn_plot_field *field, const mgn_plot_range *colours) {
    mgn_plot_block(plot);
    for (int64_t r = 0; r < field->rows; r++)
        for (int64_t c = 0; c < field->columns; c++) {
            const double v = field->values[r * field->columns + c];
            const double row[] = {
                field->x_low + (field->x_high - field->x_low) * ((double)c + .5) / (double)field->columns,
                field->y_low + (field->y_high - field->y_low) * ((double)r + .5) / (double)field->rows,
                mgn_plot_shows(colours, v) ? v : NAN};
            mgn_plot_row(plot, row, 3);
        }
    mgn_plot_block_end(plot);
}

void mgn_plot_heat(mgn_plot *plot, const mgn_plot_axes *axes, const mgn_plot_field *field) {
    if (!mgn_plot_is_open(plot)) return;
    if (field->rows < 2 || field->columns < 2 || field->rows > MOST_SIDE || field->columns > MOST_SIDE ||
        !(field->x_low < field->x_high) || !(field->y_low < field->y_high)) {
        mgn_plot_fail(plot, mgn_fail(MGN_ERR_ARGUMENT,
                                     "a heat map of 2 to %d rows and columns over a rectangle was expected; %lld x "
                                     "%lld was found",
                                     MOST_SIDE, (long long)field->rows, (long long)field->columns));
        return;
    }
    int64_t missing;
    const mgn_plot_range x = {field->x_low, field->x_high, false, false},
                         y = {field->y_low, field->y_high, false, false}, colours = find_colours(axes, field, &missing);
    const int block = mgn_plot_next_block(plot);
    write_values(plot, field, &colours);
    mgn_plot_panel(plot, axes, &x, &y, NULL);
    FILE *to = mgn_plot_commands(plot);
    char label[MGN_PLOT_LABEL];
    snprintf(label, sizeof label, "%s", axes->z.label ? axes->z.label : "");
    if (missing) mgn_plot_remark(label, "grey: %s", colours.is_log ? "none, or not positive" : "none");
    fputs(field->is_signed ? two_sided : viridis, to);
    mgn_plot_set_range(to, "cb", &colours);
    fputs("unset grid\n"
          "set object 1 rectangle from graph 0,0 to graph 1,1 fs solid noborder fc rgb '#b8b8b8' behind\n",
          to);
    fputs("set cblabel ", to);
    mgn_plot_quote(to, label, 0);
    fputs(" noenhanced offset 1,0\n", to);
    mgn_plot_item(plot, "plot", block, NULL, "using 1:2:3 with image");
}
