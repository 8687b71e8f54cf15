/* Clouds of points in space. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "plot/panel.h"

/* Where one looks from: degrees from above, and about the third axis. */
enum { TILT = 65, TURN = 30 };

static void find_ranges(const mgn_plot_axes *axes, const mgn_plot_cloud *clouds, size_t count,
                        mgn_plot_range ranges[3]) {
    const mgn_plot_axis *const of[] = {&axes->x, &axes->y, &axes->z};
    for (int k = 0; k < 3; k++) {
        mgn_plot_span span = mgn_plot_no_span();
        for (size_t c = 0; c < count; c++)
            for (int64_t i = 0; i < clouds[c].n; i++)
                mgn_plot_span_add(&span, (double)clouds[c].rows[i * clouds[c].d + k]);
        ranges[k] = mgn_plot_find_range(of[k], &span, 0.02);
    }
}

void mgn_plot_scatter3(mgn_plot *plot, const mgn_plot_axes *axes, const mgn_plot_cloud *clouds, size_t count) {
    if (!mgn_plot_is_open(plot)) return;
    mgn_plot_range ranges[3];
    for (size_t c = 0; c < count; c++)
        if (clouds[c].d < 3) {
            mgn_plot_fail(plot, mgn_fail(MGN_ERR_ARGUMENT, "a cloud in space needs rows of three numbers or more"));
            return;
        }
    find_ranges(axes, clouds, count, ranges);
    const int first = mgn_plot_next_block(plot);
    for (size_t c = 0; c < count; c++) mgn_plot_cloud_block(plot, &clouds[c], 3);
    mgn_plot_panel(plot, axes, &ranges[0], &ranges[1], &ranges[2]);
    FILE *to = mgn_plot_commands(plot);
    fprintf(to, "set view %d,%d\nset xyplane at %.9g\nset border 4095 lc rgb '#b0b0b0'\nset grid x y z vertical\n",
            TILT, TURN, ranges[2].low);
    if (axes->is_equal) fputs("set view equal xyz\n", to);
    for (size_t c = 0; c < count; c++) {
        char label[MGN_PLOT_LABEL];
        mgn_plot_cloud_label(&clouds[c], label);
        if (clouds[c].colours)
            mgn_plot_item(plot, "splot", first + (int)c, label, "using 1:2:3:4 with points pt 7 ps .5 lc rgb variable");
        else
            mgn_plot_item(plot, "splot", first + (int)c, label, "using 1:2:3 with points pt 7 ps .5 lc rgb '%s'",
                          mgn_plot_colour_code(clouds[c].colour, c));
    }
}
