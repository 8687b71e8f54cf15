/* Rows of any dimension, seen in a plane. */
#include "draw/draw.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include <mgn/ot.h>

/* Rows that decide the plane; beyond so many columns the first two stand for all. */
enum { MOST_ROWS = 4000, MOST_COLUMNS = 1024 };

void mgn_draw_plane_free(mgn_draw_plane *plane) {
    mgn_free(plane->mean);
    *plane = (mgn_draw_plane){0};
}

/* Some of both tables, one after the other. */
static mgn_status gather(const float *rows, int64_t n, const float *others, int64_t m, int64_t d, mgn_matrix *all) {
    const int64_t first = MGN_MIN(n, MOST_ROWS), second = others ? MGN_MIN(m, MOST_ROWS) : 0;
    MGN_TRY(mgn_matrix_create(first + second, d, all));
    for (int64_t i = 0; i < first + second; i++) {
        const float *from = i < first ? rows + d * (i * n / first) : others + d * ((i - first) * m / second);
        memcpy(all->values + i * d, from, (size_t)d * sizeof *from);
    }
    return MGN_OK;
}

static mgn_status find_axes(const mgn_matrix *all, mgn_draw_plane *plane) {
    const int64_t d = plane->d;
    double variances[2], total = 0, *covariance = mgn_alloc((size_t)(d * d), sizeof *covariance);
    if (!covariance) return MGN_ERR_MEMORY;
    mgn_status status = mgn_moments(all->values, all->rows, d, false, plane->mean, covariance);
    if (status == MGN_OK) status = mgn_principal_axes(covariance, d, 2, variances, plane->axes);
    for (int64_t i = 0; i < d; i++) total += covariance[i * d + i];
    mgn_free(covariance);
    if (status == MGN_OK)
        snprintf(plane->remark, sizeof plane->remark, "first two principal components, %.0f %% of the variance",
                 total > 0 ? 100 * (variances[0] + variances[1]) / total : 100);
    return status;
}

mgn_status mgn_draw_plane_find(const float *rows, int64_t n, const float *others, int64_t m, int64_t d,
                               mgn_draw_plane *plane) {
    *plane = (mgn_draw_plane){.d = d};
    const bool is_rotated = d > 2 && d <= MOST_COLUMNS;
    snprintf(plane->x_label, sizeof plane->x_label, is_rotated ? "component 1" : "column 1");
    snprintf(plane->y_label, sizeof plane->y_label, is_rotated ? "component 2" : "column 2");
    if (d > MOST_COLUMNS) snprintf(plane->remark, sizeof plane->remark, "columns 1 and 2 of %lld", (long long)d);
    if (!is_rotated) return MGN_OK;
    mgn_matrix all = {0};
    plane->mean = mgn_alloc((size_t)(3 * d), sizeof *plane->mean);
    if (!plane->mean) return MGN_ERR_MEMORY;
    plane->axes = plane->mean + d;
    mgn_status status = gather(rows, n, others, m, d, &all);
    if (status == MGN_OK) status = find_axes(&all, plane);
    mgn_matrix_free(&all);
    if (status != MGN_OK) mgn_draw_plane_free(plane);
    return status;
}

mgn_status mgn_draw_plane_project(const mgn_draw_plane *plane, const float *rows, int64_t n, mgn_matrix *flat) {
    const int64_t d = plane->d;
    MGN_TRY(mgn_matrix_create(n, 2, flat));
    for (int64_t i = 0; i < n; i++)
        for (int64_t a = 0; a < 2; a++) {
            double sum = plane->axes ? 0 : (double)rows[i * d + a];
            for (int64_t k = 0; plane->axes && k < d; k++)
                sum += plane->axes[a * d + k] * ((double)rows[i * d + k] - plane->mean[k]);
            flat->values[2 * i + a] = (float)sum;
        }
    return MGN_OK;
}

void mgn_draw_plane_moments(const mgn_draw_plane *plane, const double *mean, const double *covariance,
                            double flat_mean[2], double flat_covariance[4]) {
    const int64_t d = plane->d;
    for (int64_t a = 0; a < 2; a++) {
        flat_mean[a] = plane->axes ? 0 : mean[a];
        for (int64_t i = 0; plane->axes && i < d; i++)
            flat_mean[a] += plane->axes[a * d + i] * (mean[i] - plane->mean[i]);
        for (int64_t b = 0; b < 2; b++) {
            double sum = plane->axes ? 0 : covariance[a * d + b];
            for (int64_t i = 0; plane->axes && i < d; i++)
                for (int64_t j = 0; j < d; j++)
                    sum += plane->axes[a * d + i] * covariance[i * d + j] * plane->axes[b * d + j];
            flat_covariance[2 * a + b] = sum;
        }
    }
}
