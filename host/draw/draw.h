/* The figures of commands and experiments, one file for each subject: what is shown of a training, a map, its errors, a
 * palette, a mixture. How lines and points come onto paper is the matter of host/plot.
 *
 * A figure is DIRECTORY/PREFIX + NAME, as .png and .svg: loss, cost, grid, clouds, interpolation, error, logdet,
 * eigenvalues, histograms, palettes, likelihood, components. */
#ifndef MGN_HOST_DRAW_H
#define MGN_HOST_DRAW_H

#include <mgn/data.h>
#include <mgn/mixture.h>
#include <mgn/model.h>
#include <mgn/train.h>

#include "core/core.h"
#include "plot/plot.h"

/* Where figures go, and what they are of. */
typedef struct mgn_draw {
    const char *directory;
    const char *prefix; /* NULL: none */
    const char *label;  /* of the map or the data, for titles; NULL: none */
} mgn_draw;

/* Saves a page as PREFIX + name; frees the page. */
mgn_status mgn_draw_save(const mgn_draw *draw, mgn_plot *plot, const char *name);
/* "WHAT: LABEL", or WHAT alone. */
enum { MGN_DRAW_TITLE = 512 };
const char *mgn_draw_title(const mgn_draw *draw, const char *what, char title[MGN_DRAW_TITLE]);
/* The names of all figures; NULL past the last. */
const char *mgn_draw_name(size_t index);

/* ---- trainings ---- */

/* What a training reported, epoch by epoch. Zeroed to start with; of a very long one, every second epoch and so on. */
typedef struct mgn_draw_trace {
    char label[80];
    double *epochs, *loss, *held_out, *cost;
    int64_t n, capacity, stride, seen;
} mgn_draw_trace;

/* An epoch that is reported again, after a rollback, takes the place of what was reported since. Memory that runs out ends
 * the trace, as a training must not fail for its picture. */
void mgn_draw_trace_add(mgn_draw_trace *trace, const mgn_train_report *report);
void mgn_draw_trace_free(mgn_draw_trace *trace);

/* loss: training and held out, of one or more trainings; cost: where it was measured. `kind`: of loss; NULL:
 * several kinds, of trainings that may count iterations. */
mgn_status mgn_draw_training(const mgn_draw *draw, const mgn_draw_trace *traces, size_t count, const char *kind);

/* ---- maps ---- */

/* Rows and their images (n, d), and rows of the target (m, d), if there are any. */
typedef struct mgn_draw_rows {
    const float *x, *y, *target;
    int64_t n, m, d;
    const char *x_label, *y_label, *target_label; /* NULL: "source", "image", "target" */
} mgn_draw_rows;

/* clouds and interpolation (x + t (y - x) for t = 0, .25, .5, .75, 1): of two columns as they are, of more in their first two
 * principal components, of one as histograms. grid: two dimensions only, `map` NULL: not drawn. */
mgn_status mgn_draw_map(const mgn_draw *draw, mgn_map *map, const mgn_draw_rows *rows);

/* eigenvalues of the Jacobian's symmetric part at up to 2000 of the rows; logdet: in two dimensions, over their range. */
mgn_status mgn_draw_jacobian(const mgn_draw *draw, mgn_map *map, const float *x, int64_t n);

/* error: |y - truth| at x; two dimensions: where it is, else how it is distributed. */
mgn_status mgn_draw_error(const mgn_draw *draw, const float *x, const float *y, const float *truth, int64_t n,
                          int64_t d);

/* ---- colours and mixtures ---- */

typedef struct mgn_draw_palette {
    const char *label;
    const float *rgb; /* (n, 3) in [0, 1] */
    int64_t n;
} mgn_draw_palette;

/* histograms of red, green and blue; palettes: points in their own colours. */
mgn_status mgn_draw_palettes(const mgn_draw *draw, const mgn_draw_palette *palettes, size_t count);

/* likelihood: mean log-likelihood and BIC of mixtures over their number of components, `elbow` marked; not of fewer than
 * three. */
mgn_status mgn_draw_likelihood(const mgn_draw *draw, const mgn_mixture_fit_result *results, int64_t count,
                               int64_t elbow);
/* components: rows (n, d), each in the colour of its likeliest component, with ellipses of one and two standard
 * deviations; of more than two dimensions, within the first two principal components of the rows. */
mgn_status mgn_draw_components(const mgn_draw *draw, const mgn_mixture *mixture, const float *rows, int64_t n);

/* ---- what they share ---- */

/* The least and the largest of a column of rows (n, 2), kept apart where they are the same. */
void mgn_draw_range(const float *rows, int64_t n, int64_t column, double *low, double *high);

/* A plane to look at rows in. */
typedef struct mgn_draw_plane {
    int64_t d;
    double *mean, *axes; /* (d) and (2, d); NULL in two dimensions: the columns themselves */
    char x_label[48], y_label[48];
    char remark[96]; /* what the plane is; empty in two dimensions */
} mgn_draw_plane;

/* Of all the rows given, the second ones (NULL: none) included. */
mgn_status mgn_draw_plane_find(const float *rows, int64_t n, const float *others, int64_t m, int64_t d,
                               mgn_draw_plane *plane);
void mgn_draw_plane_free(mgn_draw_plane *plane);
/* (n, 2); the caller frees it. */
mgn_status mgn_draw_plane_project(const mgn_draw_plane *plane, const float *rows, int64_t n, mgn_matrix *flat);
/* A covariance (d, d) seen there, (2, 2), and a mean. */
void mgn_draw_plane_moments(const mgn_draw_plane *plane, const double *mean, const double *covariance,
                            double flat_mean[2], double flat_covariance[4]);

#endif
