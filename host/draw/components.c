/* Mixtures: how many components pay, and where they lie. */
#include "draw/draw.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { MOST_CURVES = 1024, MOST_ROWS = 4000, MOST_ELLIPSES = 12 };

/* ---- how many ---- */

static void draw_one(mgn_plot *plot, const char *title, const double *k, const double *values, int64_t count,
                     int64_t at) {
    const mgn_plot_curve curves[] = {
        {.x = k, .y = values, .n = count, .style = MGN_PLOT_MARKED, .colour = MGN_PLOT_BLUE},
        {.label = "elbow",
         .x = k + at,
         .y = values + at,
         .n = 1,
         .style = MGN_PLOT_MARKS,
         .colour = MGN_PLOT_VERMILLION}};
    const mgn_plot_axes axes = {.title = title, .x = {.label = "components"}};
    mgn_plot_curves(plot, &axes, curves, 2);
}

mgn_status mgn_draw_likelihood(const mgn_draw *draw, const mgn_mixture_fit_result *results, int64_t count,
                               int64_t elbow) {
    double k[MOST_CURVES], likelihood[MOST_CURVES], bic[MOST_CURVES];
    char title[MGN_DRAW_TITLE];
    int64_t at = 0;
    if (count < 3) return MGN_OK;
    count = MGN_MIN(count, MOST_CURVES);
    for (int64_t i = 0; i < count; i++) {
        k[i] = (double)results[i].k;
        likelihood[i] = results[i].log_likelihood;
        bic[i] = results[i].bic;
        if (results[i].k == elbow) at = i;
    }
    mgn_plot *plot = mgn_plot_begin(&(mgn_plot_page){.title = mgn_draw_title(draw, "Mixtures", title), .width = 1100});
    draw_one(plot, "mean log-likelihood of a row, nats (higher is better)", k, likelihood, count, at);
    draw_one(plot, "Bayes information criterion (lower is better)", k, bic, count, at);
    return mgn_draw_save(draw, plot, "likelihood");
}

/* ---- where ---- */

/* The rows of each component, one after the other: (n, d) sorted, and where each begins (k + 1). */
typedef struct sorted_rows {
    mgn_matrix rows;
    int64_t *starts;
} sorted_rows;

/* Component j alone, as a mixture. */
static mgn_status component_densities(const mgn_mixture *m, int64_t j, const float *rows, int64_t n, double *out) {
    double one = 1;
    const mgn_mixture alone = {1, m->d, &one, m->means + j * m->d, m->covariances + j * m->d * m->d};
    MGN_TRY(mgn_mixture_log_density(&alone, rows, n, out));
    for (int64_t i = 0; i < n; i++) out[i] += log(m->weights[j]);
    return MGN_OK;
}

static mgn_status assign(const mgn_mixture *m, const float *rows, int64_t n, int64_t *likeliest) {
    double *work = mgn_alloc((size_t)(2 * n), sizeof *work);
    if (!work) return MGN_ERR_MEMORY;
    double *best = work, *density = work + n;
    mgn_status status = MGN_OK;
    for (int64_t j = 0; j < m->k && status == MGN_OK; j++) {
        status = component_densities(m, j, rows, n, density);
        for (int64_t i = 0; i < n && status == MGN_OK; i++)
            if (j == 0 || density[i] > best[i]) {
                best[i] = density[i];
                likeliest[i] = j;
            }
    }
    mgn_free(work);
    return status;
}

static mgn_status sort_rows(const mgn_mixture *m, const float *rows, int64_t n, sorted_rows *s) {
    int64_t *likeliest = mgn_alloc((size_t)n, sizeof *likeliest);
    s->starts = mgn_alloc((size_t)m->k + 1, sizeof *s->starts);
    mgn_status status = likeliest && s->starts ? assign(m, rows, n, likeliest) : MGN_ERR_MEMORY;
    if (status == MGN_OK) status = mgn_matrix_create(n, m->d, &s->rows);
    int64_t at = 0;
    for (int64_t j = 0; j < m->k && status == MGN_OK; j++) {
        s->starts[j] = at;
        for (int64_t i = 0; i < n; i++)
            if (likeliest[i] == j) memcpy(s->rows.values + m->d * at++, rows + i * m->d, (size_t)m->d * sizeof *rows);
    }
    if (status == MGN_OK) s->starts[m->k] = at;
    mgn_free(likeliest);
    return status;
}

/* The heaviest components; more would be no picture. */
static void add_panel(mgn_plot *plot, const mgn_mixture *m, const mgn_draw_plane *plane, const sorted_rows *s,
                      const mgn_matrix *flat, const char *title) {
    double x[2 * MOST_ELLIPSES][MGN_PLOT_ELLIPSE], y[2 * MOST_ELLIPSES][MGN_PLOT_ELLIPSE];
    mgn_plot_cloud clouds[MOST_ELLIPSES + 1];
    mgn_plot_curve lines[2 * MOST_ELLIPSES];
    char labels[MOST_ELLIPSES][32];
    const int64_t count = MGN_MIN(m->k, MOST_ELLIPSES);
    for (int64_t j = 0; j < count; j++) {
        double mean[2], covariance[4];
        snprintf(labels[j], sizeof labels[j], "%.2g %%", 100 * m->weights[j]);
        clouds[j] = (mgn_plot_cloud){
            .label = labels[j], .rows = flat->values + 2 * s->starts[j], .n = s->starts[j + 1] - s->starts[j], .d = 2};
        mgn_draw_plane_moments(plane, m->means + j * m->d, m->covariances + j * m->d * m->d, mean, covariance);
        for (int64_t e = 2 * j; e < 2 * j + 2; e++) {
            mgn_plot_ellipse(mean, covariance, (double)(e - 2 * j + 1), x[e], y[e]);
            lines[e] = (mgn_plot_curve){.x = x[e], .y = y[e], .n = MGN_PLOT_ELLIPSE, .colour = MGN_PLOT_BLACK};
        }
    }
    clouds[count] = (mgn_plot_cloud){.label = "others",
                                     .rows = flat->values + 2 * s->starts[count],
                                     .n = s->starts[m->k] - s->starts[count],
                                     .d = 2,
                                     .colour = MGN_PLOT_GREY};
    const mgn_plot_axes axes = {
        .title = title, .x = {.label = plane->x_label}, .y = {.label = plane->y_label}, .is_equal = true};
    mgn_plot_scatter2(plot, &axes, clouds, (size_t)(count + (m->k > count)), lines, (size_t)(2 * count));
}

mgn_status mgn_draw_components(const mgn_draw *draw, const mgn_mixture *mixture, const float *rows, int64_t n) {
    const int64_t d = mixture->d, kept = MGN_MIN(n, MOST_ROWS);
    mgn_draw_plane plane;
    mgn_matrix some = {0}, flat = {0};
    sorted_rows s = {0};
    char title[MGN_DRAW_TITLE], what[64];
    if (d < 2) return MGN_OK;
    MGN_TRY(mgn_draw_plane_find(rows, n, NULL, 0, d, &plane));
    mgn_status status = mgn_matrix_create(kept, d, &some);
    for (int64_t i = 0; i < kept && status == MGN_OK; i++)
        memcpy(some.values + i * d, rows + d * mgn_plot_thinned(n, kept, i), (size_t)d * sizeof *rows);
    if (status == MGN_OK) status = sort_rows(mixture, some.values, kept, &s);
    if (status == MGN_OK) status = mgn_draw_plane_project(&plane, s.rows.values, kept, &flat);
    if (status == MGN_OK) {
        mgn_plot *plot = mgn_plot_begin(&(mgn_plot_page){0});
        snprintf(what, sizeof what, "Mixture of %lld", (long long)mixture->k);
        mgn_draw_title(draw, what, title);
        const size_t used = strlen(title);
        snprintf(title + used, sizeof title - used, " (%s%sellipses at 1 and 2 standard deviations)", plane.remark,
                 *plane.remark ? "; " : "");
        add_panel(plot, mixture, &plane, &s, &flat, title);
        status = mgn_draw_save(draw, plot, "components");
    }
    mgn_matrix_free(&some);
    mgn_matrix_free(&flat);
    mgn_matrix_free(&s.rows);
    mgn_free(s.starts);
    mgn_draw_plane_free(&plane);
    return status;
}
