/* What a map does to points: where it takes them, on which way, and how it bends the plane. */
#include "draw/draw.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { STEPS = 5, GRID_LINES = 21, GRID_EVERY = 6, GRID_SIDE = (GRID_LINES - 1) * GRID_EVERY + 1 };

static const char *or_usual(const char *label, const char *usual) { return label ? label : usual; }

/* "Points and their images: g.safetensors (first two principal components, ..)" */
static const char *title_in(const mgn_draw *draw, const mgn_draw_plane *plane, const char *what,
                            char title[MGN_DRAW_TITLE]) {
    mgn_draw_title(draw, what, title);
    const size_t used = strlen(title);
    if (*plane->remark) snprintf(title + used, MGN_DRAW_TITLE - used, " (%s)", plane->remark);
    return title;
}

/* ---- clouds ---- */

static mgn_status draw_clouds(const mgn_draw *draw, const mgn_draw_plane *plane, const mgn_draw_rows *rows,
                              const mgn_matrix *x, const mgn_matrix *y) {
    char title[MGN_DRAW_TITLE];
    mgn_matrix target = {0};
    if (rows->target) MGN_TRY(mgn_draw_plane_project(plane, rows->target, rows->m, &target));
    const mgn_plot_cloud clouds[] = {
        {or_usual(rows->x_label, "source"), x->values, x->rows, 2, NULL, MGN_PLOT_BLUE},
        {or_usual(rows->y_label, "image"), y->values, y->rows, 2, NULL, MGN_PLOT_VERMILLION},
        {or_usual(rows->target_label, "target"), target.values, target.rows, 2, NULL, MGN_PLOT_GREEN},
    };
    const mgn_plot_axes axes = {.title = title_in(draw, plane, "Points and their images", title),
                                .x = {.label = plane->x_label},
                                .y = {.label = plane->y_label},
                                .is_equal = true};
    mgn_plot *plot = mgn_plot_begin(&(mgn_plot_page){0});
    mgn_plot_scatter2(plot, &axes, clouds, target.rows ? 3 : 2, NULL, 0);
    mgn_matrix_free(&target);
    return mgn_draw_save(draw, plot, "clouds");
}

/* ---- the way ---- */

/* Viridis from 0 to 1. */
static void colour_at(double t, float rgb[3]) {
    static const float stops[][3] = {{.267f, .005f, .329f}, {.283f, .141f, .458f}, {.254f, .265f, .530f},
                                     {.207f, .372f, .553f}, {.164f, .471f, .558f}, {.128f, .567f, .551f},
                                     {.135f, .659f, .518f}, {.267f, .749f, .441f}, {.478f, .821f, .318f},
                                     {.741f, .873f, .150f}};
    const size_t last = MGN_COUNT(stops) - 1;
    const double place = fmin(fmax(t, 0), 1) * (double)last;
    const size_t at = MGN_MIN((size_t)place, last - 1);
    for (int c = 0; c < 3; c++) rgb[c] = stops[at][c] + (float)(place - (double)at) * (stops[at + 1][c] - stops[at][c]);
}

static mgn_status colour_rows(const mgn_matrix *x, mgn_matrix *colours) {
    double mean = 0, square = 0;
    MGN_TRY(mgn_matrix_create(x->rows, 3, colours));
    for (int64_t i = 0; i < x->rows; i++) mean += (double)x->values[2 * i] / (double)x->rows;
    for (int64_t i = 0; i < x->rows; i++) square += pow((double)x->values[2 * i] - mean, 2) / (double)x->rows;
    /* From two standard deviations below the mean to two above. */
    const double low = mean - 2 * sqrt(square), wide = 4 * sqrt(square);
    for (int64_t i = 0; i < x->rows; i++)
        colour_at(wide > 0 ? ((double)x->values[2 * i] - low) / wide : .5, colours->values + 3 * i);
    return MGN_OK;
}

/* The same ranges in all panels: those of both ends, as every point between them lies within. */
static void common_range(const mgn_matrix *x, const mgn_matrix *y, int64_t column, mgn_plot_axis *axis) {
    double low = INFINITY, high = -INFINITY;
    for (int64_t i = 0; i < x->rows; i++) {
        low = fmin(low, (double)fminf(x->values[2 * i + column], y->values[2 * i + column]));
        high = fmax(high, (double)fmaxf(x->values[2 * i + column], y->values[2 * i + column]));
    }
    const double room = 0.04 * (high - low);
    axis->low = low - room;
    axis->high = high + room;
}

static mgn_status draw_way(const mgn_draw *draw, const mgn_draw_plane *plane, const mgn_matrix *x,
                           const mgn_matrix *y) {
    mgn_matrix colours = {0}, between = {0};
    char title[MGN_DRAW_TITLE], whole[MGN_DRAW_TITLE + 64], step[32];
    mgn_plot_axes axes = {.x = {.tics = 3}, .y = {.tics = 4}, .is_equal = true};
    mgn_status status = colour_rows(x, &colours);
    if (status == MGN_OK) status = mgn_matrix_create(x->rows, 2, &between);
    if (status == MGN_OK) {
        common_range(x, y, 0, &axes.x);
        common_range(x, y, 1, &axes.y);
        snprintf(whole, sizeof whole, "%s; colours by %s at the source",
                 title_in(draw, plane, "Displacement interpolation", title), plane->x_label);
        mgn_plot *plot = mgn_plot_begin(&(mgn_plot_page){.title = whole});
        for (int64_t s = 0; s < STEPS; s++) {
            const float t = (float)s / (STEPS - 1);
            for (int64_t i = 0; i < 2 * x->rows; i++) between.values[i] = (1 - t) * x->values[i] + t * y->values[i];
            const mgn_plot_cloud cloud = {.rows = between.values, .n = x->rows, .d = 2, .colours = colours.values};
            snprintf(step, sizeof step, "t = %g", (double)t);
            axes.title = step;
            mgn_plot_scatter2(plot, &axes, &cloud, 1, NULL, 0);
        }
        status = mgn_draw_save(draw, plot, "interpolation");
    }
    mgn_matrix_free(&colours);
    mgn_matrix_free(&between);
    return status;
}

/* ---- the grid ---- */

/* The middle of the rows: two standard deviations about the mean, but not beyond the rows. */
static void middle_of(const mgn_matrix *x, int64_t column, double *low, double *high) {
    double mean = 0, square = 0, least = INFINITY, most = -INFINITY;
    for (int64_t i = 0; i < x->rows; i++) {
        const double v = (double)x->values[2 * i + column];
        mean += v / (double)x->rows;
        least = fmin(least, v);
        most = fmax(most, v);
    }
    for (int64_t i = 0; i < x->rows; i++) square += pow((double)x->values[2 * i + column] - mean, 2) / (double)x->rows;
    *low = fmax(least, mean - 2 * sqrt(square));
    *high = fmin(most, mean + 2 * sqrt(square));
    if (*low < *high) return;
    *low -= 0.5;
    *high += 0.5;
}

static mgn_status make_grid(const mgn_matrix *x, mgn_matrix *grid) {
    double x_low, x_high, y_low, y_high;
    middle_of(x, 0, &x_low, &x_high);
    middle_of(x, 1, &y_low, &y_high);
    MGN_TRY(mgn_matrix_create(GRID_SIDE * GRID_SIDE, 2, grid));
    for (int64_t r = 0; r < GRID_SIDE; r++)
        for (int64_t c = 0; c < GRID_SIDE; c++) {
            float *point = grid->values + 2 * (r * GRID_SIDE + c);
            point[0] = (float)(x_low + (x_high - x_low) * (double)c / (GRID_SIDE - 1));
            point[1] = (float)(y_low + (y_high - y_low) * (double)r / (GRID_SIDE - 1));
        }
    return MGN_OK;
}

static mgn_status draw_grid(const mgn_draw *draw, mgn_map *map, const mgn_draw_rows *rows, const mgn_matrix *x,
                            const mgn_matrix *y) {
    mgn_matrix grid = {0}, bent = {0};
    char title[MGN_DRAW_TITLE];
    mgn_status status = make_grid(x, &grid);
    if (status == MGN_OK) status = mgn_matrix_create(grid.rows, 2, &bent);
    if (status == MGN_OK) status = mgn_map_apply(map, grid.values, grid.rows, bent.values);
    if (status == MGN_OK) {
        const mgn_plot_cloud before = {or_usual(rows->x_label, "source"), x->values, x->rows, 2, NULL, MGN_PLOT_GREY},
                             after = {or_usual(rows->y_label, "image"), y->values, y->rows, 2, NULL, MGN_PLOT_GREY};
        mgn_plot *plot = mgn_plot_begin(
            &(mgn_plot_page){.title = mgn_draw_title(draw, "A grid and its image", title), .width = 1100});
        mgn_plot_axes axes = {.x = {.label = "column 1"}, .y = {.label = "column 2"}, .is_equal = true};
        mgn_plot_grid(plot, &axes, &(mgn_plot_mesh){grid.values, GRID_SIDE, GRID_SIDE, GRID_EVERY}, &before);
        mgn_plot_grid(plot, &axes, &(mgn_plot_mesh){bent.values, GRID_SIDE, GRID_SIDE, GRID_EVERY}, &after);
        status = mgn_draw_save(draw, plot, "grid");
    }
    mgn_matrix_free(&grid);
    mgn_matrix_free(&bent);
    return status;
}

/* ---- all of it ---- */

/* One column: how it is distributed. */
static mgn_status draw_line(const mgn_draw *draw, const mgn_draw_rows *rows) {
    char title[MGN_DRAW_TITLE];
    const mgn_plot_sample samples[] = {
        {or_usual(rows->x_label, "source"), rows->x, rows->n, 1, MGN_PLOT_BLUE, false},
        {or_usual(rows->y_label, "image"), rows->y, rows->n, 1, MGN_PLOT_VERMILLION, false},
        {or_usual(rows->target_label, "target"), rows->target, rows->m, 1, MGN_PLOT_GREEN, true}};
    const mgn_plot_axes axes = {.title = mgn_draw_title(draw, "Points and their images", title),
                                .x = {.label = "column 1"},
                                .y = {.label = "share"}};
    mgn_plot *plot = mgn_plot_begin(&(mgn_plot_page){0});
    mgn_plot_histograms(plot, &axes, samples, rows->target ? 3 : 2, 0);
    return mgn_draw_save(draw, plot, "clouds");
}

mgn_status mgn_draw_map(const mgn_draw *draw, mgn_map *map, const mgn_draw_rows *rows) {
    if (rows->d == 1) return draw_line(draw, rows);
    mgn_draw_plane plane;
    mgn_matrix x = {0}, y = {0};
    MGN_TRY(mgn_draw_plane_find(rows->x, rows->n, rows->y, rows->n, rows->d, &plane));
    mgn_status status = mgn_draw_plane_project(&plane, rows->x, rows->n, &x);
    if (status == MGN_OK) status = mgn_draw_plane_project(&plane, rows->y, rows->n, &y);
    if (status == MGN_OK) status = draw_clouds(draw, &plane, rows, &x, &y);
    if (status == MGN_OK) status = draw_way(draw, &plane, &x, &y);
    if (status == MGN_OK && rows->d == 2 && map) status = draw_grid(draw, map, rows, &x, &y);
    mgn_matrix_free(&x);
    mgn_matrix_free(&y);
    mgn_draw_plane_free(&plane);
    return status;
}
