/* The Jacobian of a map: its eigenvalues over data, and log det over the plane. Where no eigenvalue is negative the map is
 * monotone; log det says how much it spreads what is there. */
#include "draw/draw.h"

#include <math.h>
#include <stdio.h>

#include <mgn/evaluate.h>
#include <mgn/ot.h>

enum { MOST_ROWS = 2000, MOST_NUMBERS = 1 << 22, SIDE = 64 };

/* ---- eigenvalues ---- */

/* (n, d) of the symmetric parts, in ascending order. */
static mgn_status find_eigenvalues(mgn_map *map, const mgn_matrix *x, mgn_matrix *found, double *least) {
    const int64_t d = x->columns;
    double *jacobians = mgn_alloc_aligned((size_t)(x->rows * d * d), sizeof *jacobians),
           *values = mgn_alloc((size_t)(d + d * d), sizeof *values);
    mgn_status status = jacobians && values ? mgn_map_jacobian(map, x->values, x->rows, jacobians) : MGN_ERR_MEMORY;
    *least = INFINITY;
    for (int64_t i = 0; i < x->rows && status == MGN_OK; i++) {
        status = mgn_symmetric_eigen(jacobians + i * d * d, d, values, values + d);
        for (int64_t k = 0; k < d; k++) found->values[i * d + k] = (float)values[k];
        *least = fmin(*least, values[0]);
    }
    mgn_free(jacobians);
    mgn_free(values);
    return status;
}

/* In two and three dimensions each has a histogram of its own: the directions in which the map moves most and least. */
static mgn_status draw_eigenvalues(const mgn_draw *draw, const mgn_matrix *found, double least) {
    static const char *const two[] = {"smaller", "larger"}, *const three[] = {"smallest", "middle", "largest"};
    const int64_t d = found->columns, n = found->rows;
    const bool is_small = d == 2 || d == 3;
    mgn_plot_sample samples[3];
    char title[MGN_DRAW_TITLE], label[160];
    for (int64_t k = 0; k < 3; k++)
        samples[k] =
            (mgn_plot_sample){.label = d == 2 ? two[k % 2] : three[k], .values = found->values + k, .n = n, .step = d};
    if (!is_small) samples[0] = (mgn_plot_sample){.values = found->values, .n = n * d};
    snprintf(label, sizeof label, "eigenvalue of the symmetric part; the least is %.4g", least);
    const mgn_plot_axes axes = {.title = mgn_draw_title(draw, "Eigenvalues of the Jacobian", title),
                                .x = {.label = label, .scale = MGN_PLOT_AUTO},
                                .y = {.label = "share"}};
    mgn_plot *plot = mgn_plot_begin(&(mgn_plot_page){0});
    mgn_plot_histograms(plot, &axes, samples, is_small ? (size_t)d : 1, 0);
    return mgn_draw_save(draw, plot, "eigenvalues");
}

/* ---- log det ---- */

/* At the middles of the field's cells. */
static mgn_status measure_logdet(mgn_map *map, const mgn_plot_field *field, double *values) {
    mgn_matrix places = {0};
    MGN_TRY(mgn_matrix_create(SIDE * SIDE, 2, &places));
    for (int64_t i = 0; i < SIDE * SIDE; i++) {
        const int64_t row = i / SIDE, column = i % SIDE;
        places.values[2 * i] = (float)(field->x_low + (field->x_high - field->x_low) * ((double)column + .5) / SIDE);
        places.values[2 * i + 1] = (float)(field->y_low + (field->y_high - field->y_low) * ((double)row + .5) / SIDE);
    }
    const mgn_status status = mgn_map_logdet(map, places.values, places.rows, values);
    mgn_matrix_free(&places);
    return status;
}

/* Whether it is worth two colours; where one sign is hardly there, they would leave half of the range to nothing. */
static bool has_both_signs(const double *values, int64_t n) {
    double low = 0, high = 0;
    for (int64_t i = 0; i < n; i++) {
        low = fmin(low, values[i]);
        high = fmax(high, values[i]);
    }
    return fmin(-low, high) > 0.05 * fmax(-low, high);
}

static mgn_status draw_logdet(const mgn_draw *draw, mgn_map *map, const float *x, int64_t n) {
    char title[MGN_DRAW_TITLE];
    double *values = mgn_alloc(SIDE * SIDE, sizeof *values);
    if (!values) return MGN_ERR_MEMORY;
    mgn_plot_field field = {.values = values, .rows = SIDE, .columns = SIDE};
    mgn_draw_range(x, n, 0, &field.x_low, &field.x_high);
    mgn_draw_range(x, n, 1, &field.y_low, &field.y_high);
    mgn_status status = measure_logdet(map, &field, values);
    field.is_signed = has_both_signs(values, SIDE * SIDE);
    if (status == MGN_OK) {
        const mgn_plot_axes axes = {
            .title = mgn_draw_title(draw, "log det of the Jacobian", title),
            .x = {.label = "column 1"},
            .y = {.label = "column 2"},
            .z = {.label = field.is_signed ? "log det: above 0 spreads, below gathers" : "log det"},
            .is_equal = true};
        mgn_plot *plot = mgn_plot_begin(&(mgn_plot_page){0});
        mgn_plot_heat(plot, &axes, &field);
        status = mgn_draw_save(draw, plot, "logdet");
    }
    mgn_free(values);
    return status;
}

mgn_status mgn_draw_jacobian(const mgn_draw *draw, mgn_map *map, const float *x, int64_t n) {
    const int64_t d = mgn_map_dimension(map);
    const int64_t rows = MGN_MAX(MGN_MIN(MGN_MIN(n, MOST_ROWS), MOST_NUMBERS / (d * d)), 1);
    double least;
    mgn_matrix some = {0}, found = {0};
    MGN_TRY(mgn_matrix_create(rows, d, &some));
    for (int64_t i = 0; i < rows; i++)
        for (int64_t k = 0; k < d; k++) some.values[i * d + k] = x[(i * n / rows) * d + k];
    mgn_status status = mgn_matrix_create(rows, d, &found);
    if (status == MGN_OK) status = find_eigenvalues(map, &some, &found, &least);
    if (status == MGN_OK) status = draw_eigenvalues(draw, &found, least);
    mgn_matrix_free(&some);
    mgn_matrix_free(&found);
    if (status == MGN_OK && d == 2) status = draw_logdet(draw, map, x, n);
    return status;
}
