/* Where training starts: near the affine map that is optimal between the two means and covariances.
 *
 * From N(0, 1) weights most runs of a few thousand steps end where units are saturated, with images far from the target.
 * The affine map already has the right mean and spread, V^T V is its matrix, and units that start small bend it from
 * there. Kinds without V get a frame instead, in which that map is the identity and both clouds have variance 1; so do the
 * others where the data's scale or place is far from 1. */
#include "fit.h"

#include <math.h>
#include <string.h>

#include <mgn/ot.h>

#include "core/core.h"
#include "train/semidual.h"

/* How small the weights of the units start, compared with N(0, 1); the least eigenvalue of a frame's map, of its largest, and
 * the least variance of the rows, of their largest, for a direction to have one of its own; and how far from 1 spreads may be,
 * and means from 0 in spreads, where V needs no frame. */
static const double start_of_weights = 0.1, least_stretch = 1e-7, least_variance = 1e-13, usual = 16;
enum { MOST_WHOLE = 256 }; /* dimensions beyond get a diagonal frame */

/* The parameter of that label and shape (d, d), or -1. */
static int64_t find_square(const mgn_parameter *parameters, size_t count, const char *label, int64_t d) {
    for (size_t i = 0; i < count; i++)
        if (strcmp(parameters[i].label, label) == 0 && parameters[i].shape.rank == 2 &&
            parameters[i].shape.dim[0] == d && parameters[i].shape.dim[1] == d)
            return (int64_t)i;
    return -1;
}

/* V becomes the root of the matrix of the optimal map. */
static mgn_status set_quadratic(const fit_job *j, const double *mean, const double *covariance, double *V) {
    const int64_t d = j->d;
    double *work = mgn_alloc((size_t)(d * d + d), sizeof *work);
    if (!work) return MGN_ERR_MEMORY;
    mgn_status status = mgn_bures_map(mean, covariance, j->mean, j->covariance, d, work, work + d * d);
    if (status == MGN_OK) status = mgn_spd_sqrt(work, d, V, NULL);
    mgn_free(work);
    return status;
}

/* What is missing from the image of `mean` to the target's mean. */
static mgn_status find_miss(const fit_job *j, const mgn_model *model, const double *mean, double *miss) {
    const int64_t d = j->d;
    mgn_map *map = NULL;
    float *x = mgn_alloc((size_t)d, sizeof *x);
    if (!x) return MGN_ERR_MEMORY;
    for (int64_t i = 0; i < d; i++) x[i] = (float)mean[i];
    mgn_status status = mgn_map_create(model, j->device, MGN_F32, &map);
    if (status == MGN_OK) status = mgn_map_apply(map, x, 1, x);
    for (int64_t i = 0; i < d && status == MGN_OK; i++) miss[i] = j->mean[i] - (double)x[i];
    mgn_map_destroy(map);
    mgn_free(x);
    return status;
}

/* Kinds with V end in an offset that is added to g: moves the image of `mean` to the target's mean. */
static mgn_status set_offset(const fit_job *j, mgn_model *model, const double *mean) {
    double *miss = mgn_alloc((size_t)j->d, sizeof *miss);
    double *offset = mgn_model_values(model) + mgn_model_parameter_count(model) - j->d;
    if (!miss) return MGN_ERR_MEMORY;
    const mgn_status status = find_miss(j, model, mean, miss);
    for (int64_t i = 0; i < j->d && status == MGN_OK; i++) offset[i] += miss[i];
    mgn_free(miss);
    return status;
}

/* ---- frames ---- */

/* The rows' variance along vector k. */
static double variance_along(int64_t d, const double *covariance, const double *vectors, int64_t k) {
    double along = 0;
    if (d > MOST_WHOLE) return covariance[k * (d + 1)];
    for (int64_t p = 0; p < d; p++)
        for (int64_t q = 0; q < d; q++) along += vectors[k * d + p] * vectors[k * d + q] * covariance[p * d + q];
    return along;
}

/* Along a direction in which the rows do not vary, the stretch is what rounding makes of 0 / 0: it gets the largest of the
 * others. A target without variance asks for 0, which no frame can be. */
static void limit_stretch(int64_t d, const double *covariance, double *values, const double *vectors) {
    double most = 0, widest = 0;
    for (int64_t k = 0; k < d; k++) widest = fmax(widest, variance_along(d, covariance, vectors, k));
    for (int64_t k = 0; k < d; k++) {
        if (variance_along(d, covariance, vectors, k) <= least_variance * widest) values[k] = INFINITY;
        if (isfinite(values[k])) most = fmax(most, values[k]);
    }
    for (int64_t k = 0; k < d; k++) values[k] = most > 0 ? fmin(fmax(values[k], least_stretch * most), most) : 1;
}

/* Eigenvalues of the map between the moments, and their vectors: those of the axes where it is taken for diagonal. */
static mgn_status find_stretch(const fit_job *j, const double *mean, const double *covariance, double *values,
                               double *vectors) {
    const int64_t d = j->d;
    if (d <= MOST_WHOLE) {
        double *a = mgn_alloc((size_t)(d + 1), (size_t)d * sizeof *a);
        if (!a) return MGN_ERR_MEMORY;
        mgn_status status = mgn_bures_map(mean, covariance, j->mean, j->covariance, d, a, a + d * d);
        if (status == MGN_OK) status = mgn_symmetric_eigen(a, d, values, vectors);
        mgn_free(a);
        MGN_TRY(status);
    } else {
        for (int64_t i = 0; i < d; i++) {
            const double from = covariance[i * (d + 1)];
            values[i] = from > 0 ? sqrt(fmax(j->covariance[i * (d + 1)], 0) / from) : 0;
        }
    }
    limit_stretch(d, covariance, values, vectors);
    return MGN_OK;
}

/* matrix = B^(1/2), B being the stretch; the mean variance a coordinate of B^(1/2) x. */
static double root_of(int64_t d, const double *values, const double *vectors, const double *covariance,
                      double *matrix) {
    double trace = 0;
    for (int64_t k = 0; k < d; k++) {
        trace += values[k] * variance_along(d, covariance, vectors, k);
        if (d > MOST_WHOLE) {
            matrix[k] = sqrt(values[k]);
            continue;
        }
        for (int64_t p = 0; p < d; p++)
            for (int64_t q = 0; q < d; q++)
                matrix[p * d + q] += sqrt(values[k]) * vectors[k * d + p] * vectors[k * d + q];
    }
    return trace > 0 ? trace / (double)d : 1;
}

/* x' = s B^(1/2) (x - mean) and y' = s B^(-1/2) (y - its mean) have the same covariance, of mean variance 1: the map between
 * the moments is the identity there, and g(x) = its mean + B^(1/2) f(x') / s. */
static mgn_status set_frame(const fit_job *j, mgn_model *model, const double *mean, const double *covariance) {
    const int64_t d = j->d, entries = d > MOST_WHOLE ? d : d * d;
    double *work = mgn_alloc((size_t)(2 * entries + 3 * d), sizeof *work);
    if (!work) return MGN_ERR_MEMORY;
    double *matrix = work, *vectors = work + entries, *values = vectors + entries, *offset = values + d;
    double *miss = offset + d;
    mgn_status status = find_stretch(j, mean, covariance, values, vectors);
    if (status == MGN_OK) {
        const double variance = root_of(d, values, vectors, covariance, matrix);
        for (int64_t i = 0; i < entries; i++) matrix[i] /= sqrt(variance);
        memcpy(offset, j->mean, (size_t)d * sizeof *offset);
        const mgn_model_frame frame = {mean, matrix, offset, variance, d > MOST_WHOLE};
        status = mgn_model_set_frame(model, &frame);
        if (status == MGN_OK) status = find_miss(j, model, mean, miss);
        for (int64_t i = 0; i < d && status == MGN_OK; i++) offset[i] += miss[i];
        if (status == MGN_OK) status = mgn_model_set_frame(model, &frame);
    }
    mgn_free(work);
    return status;
}

static mgn_status start_semidual(const fit_job *j, mgn_model *model) {
    const mgn_samples samples = {.x = j->x.values, .n = j->rows};
    mgn_clouds clouds;
    float *drawn = NULL;
    const uint64_t seed = j->options.common.seed + (uint64_t)(j->kept - 1); /* the start's */
    mgn_status status = mgn_semidual_clouds(&samples, j->target, j->d, seed, &clouds, &drawn);
    if (status == MGN_OK) status = mgn_semidual_start(model, &clouds, seed);
    mgn_free(drawn);
    return status;
}

/* Small weights, of a kind with V. */
static void shrink_weights(mgn_model *model) {
    const mgn_parameter *parameters;
    const size_t count = mgn_model_parameters(model, &parameters);
    for (size_t i = 0; i < count; i++) {
        if (*parameters[i].label != 'W') continue;
        double *weights = mgn_model_values(model) + parameters[i].offset;
        for (int64_t k = 0; k < mgn_shape_count(parameters[i].shape); k++) weights[k] *= start_of_weights;
    }
}

static double spread(const double *covariance, int64_t d) {
    double trace = 0;
    for (int64_t i = 0; i < d; i++) trace += covariance[i * (d + 1)];
    return sqrt(trace / (double)d);
}

/* Whether units made for numbers around 1 would see nothing of the rows, or make nothing of the target's size. */
static bool is_unusual(const fit_job *j, const double *mean, const double *covariance) {
    const double from = spread(covariance, j->d), to = spread(j->covariance, j->d);
    double place = 0;
    for (int64_t i = 0; i < j->d; i++) place = fmax(place, fabs(mean[i]));
    return from > usual || from < 1 / usual || to > usual || to < 1 / usual || place > usual * from;
}

static mgn_status start_affine(const fit_job *j, mgn_model *model, const double *mean, const double *covariance) {
    const mgn_parameter *parameters;
    const size_t count = mgn_model_parameters(model, &parameters);
    const int64_t d = j->d, V = find_square(parameters, count, "V", d);
    const mgn_shape last = parameters[count - 1].shape;
    if (V < 0 || last.rank != 1 || last.dim[0] != d) return set_frame(j, model, mean, covariance);
    double *root = mgn_model_values(model) + parameters[V].offset;
    shrink_weights(model);
    if (is_unusual(j, mean, covariance)) {
        for (int64_t i = 0; i < d * d; i++) root[i] = i % (d + 1) == 0;
        return set_frame(j, model, mean, covariance);
    }
    MGN_TRY(set_quadratic(j, mean, covariance, root));
    return set_offset(j, model, mean);
}

mgn_status fit_source_moments(const fit_job *j, double *mean, double *covariance) {
    const size_t d = (size_t)j->d;
    if (!j->is_streamed) return mgn_moments(j->x.values, j->rows, j->d, false, mean, covariance);
    memcpy(mean, j->from, d * sizeof *mean);
    if (covariance) memcpy(covariance, j->from_covariance, d * d * sizeof *covariance);
    return MGN_OK;
}

/* Of convolutions: the picture itself, with the channels' means moved to the target's. */
static mgn_status start_pictures(const fit_job *j, mgn_model *model) {
    const mgn_parameter *parameters;
    const size_t count = mgn_model_parameters(model, &parameters);
    const int64_t d = j->d, channels = j->shape.image.channels, kernel = j->shape.kernel, area = kernel * kernel;
    double *V = mgn_model_values(model) + parameters[count - 2].offset;
    shrink_weights(model);
    for (int64_t i = 0; i < channels * channels * area; i++)
        V[i] = i / area % (channels + 1) == 0 && i % area == kernel / 2 * (kernel + 1);
    double *mean = mgn_alloc((size_t)d, sizeof *mean);
    float *moved = mgn_alloc((size_t)d, sizeof *moved);
    mgn_map *map = NULL;
    mgn_status status = mean && moved ? MGN_OK : MGN_ERR_MEMORY;
    if (status == MGN_OK) status = fit_source_moments(j, mean, NULL);
    for (int64_t i = 0; status == MGN_OK && i < d; i++) moved[i] = (float)mean[i];
    if (status == MGN_OK) status = mgn_map_create(model, j->device, MGN_F32, &map);
    if (status == MGN_OK) status = mgn_map_apply(map, moved, 1, moved);
    double *offset = mgn_model_values(model) + parameters[count - 1].offset;
    const int64_t shared = d / mgn_shape_count(parameters[count - 1].shape); /* numbers to a bias */
    for (int64_t i = 0; status == MGN_OK && i < d; i++) {
        const int64_t bias = shared == 1 ? i % channels * (d / channels) + i / channels : i % channels;
        offset[bias] += (j->mean[i] - (double)moved[i]) / (double)shared;
    }
    mgn_map_destroy(map);
    mgn_free(mean);
    mgn_free(moved);
    return status;
}

mgn_status fit_start_affine(const fit_job *j, mgn_model *model) {
    const int64_t d = j->d;
    if (j->shape.kernel > 0) return start_pictures(j, model);
    if (strcmp(j->training.loss.kind, "semidual") == 0 && strcmp(j->shape.kind, "dicnn") == 0)
        return start_semidual(j, model);
    double *moments = mgn_alloc((size_t)(d + d * d), sizeof *moments);
    if (!moments) return MGN_ERR_MEMORY;
    mgn_status status = fit_source_moments(j, moments, moments + d);
    if (status == MGN_OK) status = start_affine(j, model, moments, moments + d);
    mgn_free(moments);
    return status;
}
