/* A regular grid as a map bends it: its lines in one direction blue, in the other vermillion, so that folds and turns
 * show. */
#include "plot/panel.h"

/* The lines along rows (`step` 1), or along columns. */
static void write_lines(mgn_plot *plot, const mgn_plot_mesh *mesh, bool is_along_rows) {
    const int64_t lines = is_along_rows ? mesh->rows : mesh->columns, n = is_along_rows ? mesh->columns : mesh->rows;
    mgn_plot_block(plot);
    for (int64_t l = 0; l<lines; l += mesh->every> 0 ? mesh->every : 1) {
        for (int64_t i = 0; i < n; i++) {
            const float *point = mesh->points + 2 * (is_along_rows ? l * mesh->columns + i : i * mesh->columns + l);
            mgn_plot_row(plot, (double[2]){(double)point[0], (double)point[1]}, 2);
        }
        mgn_plot_gap(plot);
    }
    mgn_plot_block_end(plot);
}

void mgn_plot_grid(mgn_plot *plot, const mgn_plot_axes *axes, const mgn_plot_mesh *mesh, const mgn_plot_cloud *cloud) {
    if (!mgn_plot_is_open(plot)) return;
    mgn_plot_span across = mgn_plot_no_span(), up = mgn_plot_no_span();
    if (cloud && cloud->d < 2) {
        mgn_plot_fail(plot, mgn_fail(MGN_ERR_ARGUMENT, "a cloud in the plane needs rows of two numbers or more"));
        return;
    }
    for (int64_t i = 0; i < mesh->rows * mesh->columns; i++) {
        mgn_plot_span_add(&across, (double)mesh->points[2 * i]);
        mgn_plot_span_add(&up, (double)mesh->points[2 * i + 1]);
    }
    for (int64_t i = 0; cloud && i < cloud->n; i++) {
        mgn_plot_span_add(&across, (double)cloud->rows[i * cloud->d]);
        mgn_plot_span_add(&up, (double)cloud->rows[i * cloud->d + 1]);
    }
    mgn_plot_range x = mgn_plot_find_range(&axes->x, &across, 0.04), y = mgn_plot_find_range(&axes->y, &up, 0.04);
    if (axes->is_equal) mgn_plot_even(&x, &y);
    const int first = mgn_plot_next_block(plot);
    write_lines(plot, mesh, true);
    write_lines(plot, mesh, false);
    if (cloud) mgn_plot_cloud_block(plot, cloud, 2);
    mgn_plot_panel(plot, axes, &x, &y, NULL);
    if (cloud) {
        mgn_plot_cloud behind = *cloud;
        if (behind.colour == MGN_PLOT_NEXT) behind.colour = MGN_PLOT_GREY;
        mgn_plot_cloud_items(plot, first + 2, &behind, 0);
    }
    mgn_plot_item(plot, "plot", first, NULL, "with lines lw 1.2 lc rgb '%s'", mgn_plot_colour_code(MGN_PLOT_BLUE, 0));
    mgn_plot_item(plot, "plot", first + 1, NULL, "with lines lw 1.2 lc rgb '%s'",
                  mgn_plot_colour_code(MGN_PLOT_VERMILLION, 0));
}
