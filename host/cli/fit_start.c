/* Where training starts: near the affine map that is optimal between the two means and covariances.
 *
 * From N(0, 1) weights most runs of a few thousand steps end where units are saturated, with images far from the target.
 * The affine map already has the right mean and spread, V^T V is its matrix, and units that start small bend it from
 * there. Kinds without V get a frame instead, in which that map is the identity and both clouds have variance 1; so do the
 * others where the data's scale or place is far from 1. */
#include "fit.h"

#include <math.h>
#include <string.h>

#include <cblas.h>

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
static mgn_status set_quadratic(const fit_job *j, const fit_moments *from, double *V) {
    const int64_t d = j->d;
    double *work = mgn_alloc((size_t)(d * d + d), sizeof *work);
    if (!work) return MGN_ERR_MEMORY;
    mgn_status status =
        mgn_bures_map(from->mean, from->covariance, j->to.mean, j->to.covariance, d, work, work + d * d);
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
    mgn_status status = mgn_map_create(model, j->device, j->training.real, &map);
    if (status == MGN_OK) status = mgn_map_apply(map, x, 1, x);
    for (int64_t i = 0; i < d && status == MGN_OK; i++) miss[i] = j->to.mean[i] - (double)x[i];
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
static double variance_along(int64_t d, const fit_moments *from, const double *vectors, int64_t k) {
    double along = 0;
    if (d > MOST_WHOLE) return from->variance[k];
    for (int64_t p = 0; p < d; p++)
        for (int64_t q = 0; q < d; q++) along += vectors[k * d + p] * vectors[k * d + q] * from->covariance[p * d + q];
    return along;
}

/* Along a direction in which the rows do not vary, the stretch is what rounding makes of 0 / 0: it gets the largest of the
 * others. A target without variance asks for 0, which no frame can be. */
static void limit_stretch(int64_t d, const fit_moments *from, double *values, const double *vectors) {
    double most = 0, widest = 0;
    for (int64_t k = 0; k < d; k++) widest = fmax(widest, variance_along(d, from, vectors, k));
    for (int64_t k = 0; k < d; k++) {
        if (variance_along(d, from, vectors, k) <= least_variance * widest) values[k] = INFINITY;
        if (isfinite(values[k])) most = fmax(most, values[k]);
    }
    for (int64_t k = 0; k < d; k++) values[k] = most > 0 ? fmin(fmax(values[k], least_stretch * most), most) : 1;
}

/* Eigenvalues of the map between the moments, and their vectors: those of the axes where it is taken for diagonal. */
static mgn_status find_stretch(const fit_job *j, const fit_moments *from, double *values, double *vectors) {
    const int64_t d = j->d;
    if (d <= MOST_WHOLE) {
        double *a = mgn_alloc((size_t)(d + 1), (size_t)d * sizeof *a);
        if (!a) return MGN_ERR_MEMORY;
        mgn_status status = mgn_bures_map(from->mean, from->covariance, j->to.mean, j->to.covariance, d, a, a + d * d);
        if (status == MGN_OK) status = mgn_symmetric_eigen(a, d, values, vectors);
        mgn_free(a);
        MGN_TRY(status);
    } else {
        for (int64_t i = 0; i < d; i++)
            values[i] = from->variance[i] > 0 ? sqrt(fmax(j->to.variance[i], 0) / from->variance[i]) : 0;
    }
    limit_stretch(d, from, values, vectors);
    return MGN_OK;
}

/* matrix = B^(1/2), B being the stretch; the mean variance a coordinate of B^(1/2) x. */
static double root_of(int64_t d, const double *values, const double *vectors, const fit_moments *from, double *matrix) {
    double trace = 0;
    for (int64_t k = 0; k < d; k++) {
        trace += values[k] * variance_along(d, from, vectors, k);
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

static double spread(const double *variance, int64_t d) {
    double trace = 0;
    for (int64_t i = 0; i < d; i++) trace += variance[i];
    return sqrt(trace / (double)d);
}

/* Whether single precision has the numbers of a frame, and those of the rows in it. */
static mgn_status check_range(const fit_job *j, const fit_moments *from, const double *matrix, int64_t entries,
                              double factor) {
    static const double least = 1e-36, most = 1e36;
    const double to_spread = spread(j->to.variance, j->d), from_spread = spread(from->variance, j->d);
    double largest = 0;
    for (int64_t i = 0; i < entries; i++) largest = fmax(largest, fabs(matrix[i]));
    const bool is_usual = largest > least && largest < most && factor * largest > least && factor * largest < most;
    if (j->training.real == MGN_F64 || (is_usual && from_spread < most && to_spread < most)) return MGN_OK;
    return mgn_fail(MGN_ERR_NUMERIC,
                    "the rows to learn from spread by %g and the target by %g, which single precision does not bring "
                    "together; give them in other units, or take --real f64",
                    from_spread, to_spread);
}

/* The covariance of the rows in a frame: matrix S matrix^T, with `work` (d, d). */
static void covariance_within(int64_t d, const fit_moments *from, const double *matrix, double *work, double *within) {
    const int n = (int)d;
    cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, n, n, n, 1, matrix, n, from->covariance, n, 0, work, n);
    cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasTrans, n, n, n, 1, work, n, matrix, n, 0, within, n);
}

/* Takes all but `share` of what the units see along `direction` (d). */
static void narrow_along(mgn_model *model, int64_t d, const double *direction, double share) {
    const mgn_parameter *parameters;
    const size_t count = mgn_model_parameters(model, &parameters);
    const bool is_quadratic = find_square(parameters, count, "V", d) >= 0;
    for (size_t k = 0; k < count; k++) {
        const mgn_parameter *p = &parameters[k];
        const bool is_weight = *p->label == 'W' || (*p->label == 'V' && !is_quadratic);
        if (!is_weight || p->shape.rank != 2 || p->shape.dim[1] != d) continue;
        for (int64_t j = 0; j < p->shape.dim[0]; j++) {
            double *row = mgn_model_values(model) + p->offset + j * d, along = 0;
            for (int64_t i = 0; i < d; i++) along += row[i] * direction[i];
            for (int64_t i = 0; i < d; i++) row[i] -= (1 - share) * along * direction[i];
        }
    }
}

/* Along a direction of the frame in which both sides are far narrower than in the others, weights start as small: units that
 * bend it as much as the others would hide it. Directions of usual spread, which is 1 on average, stay as they are; so do those
 * in which the rows do not vary, whose stretch is no one's. */
static mgn_status narrow_weights(mgn_model *model, int64_t d, const fit_moments *from, const double *matrix) {
    if (d > MOST_WHOLE) return MGN_OK;
    double *work = mgn_alloc((size_t)(3 * d + 1), (size_t)d * sizeof *work);
    if (!work) return MGN_ERR_MEMORY;
    double *within = work + d * d, *vectors = within + d * d, *values = vectors + d * d;
    covariance_within(d, from, matrix, work, within);
    const mgn_status status = mgn_symmetric_eigen(within, d, values, vectors);
    for (int64_t e = 0; e < d && status == MGN_OK; e++) {
        const double along = sqrt(fmax(values[e], 0));
        if (values[e] > least_variance && along < 1 / usual) narrow_along(model, d, vectors + e * d, along);
    }
    mgn_free(work);
    return status;
}

/* x' = s B^(1/2) (x - mean) and y' = s B^(-1/2) (y - its mean) have the same covariance, of mean variance 1: the map between
 * the moments is the identity there, and g(x) = its mean + B^(1/2) f(x') / s. */
static mgn_status set_frame(const fit_job *j, mgn_model *model, const fit_moments *from) {
    const int64_t d = j->d, entries = d > MOST_WHOLE ? d : d * d;
    double *work = mgn_alloc((size_t)(2 * entries + 3 * d), sizeof *work);
    if (!work) return MGN_ERR_MEMORY;
    double *matrix = work, *vectors = work + entries, *values = vectors + entries, *offset = values + d;
    double *miss = offset + d;
    mgn_status status = find_stretch(j, from, values, vectors);
    if (status == MGN_OK) {
        const double variance = root_of(d, values, vectors, from, matrix);
        for (int64_t i = 0; i < entries; i++) matrix[i] /= sqrt(variance);
        memcpy(offset, j->to.mean, (size_t)d * sizeof *offset);
        const mgn_model_frame frame = {from->mean, matrix, offset, variance, d > MOST_WHOLE};
        status = check_range(j, from, matrix, entries, variance);
        if (status == MGN_OK) status = mgn_model_set_frame(model, &frame);
        if (status == MGN_OK) status = narrow_weights(model, d, from, matrix);
        if (status == MGN_OK) status = find_miss(j, model, from->mean, miss);
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

/* Whether units made for numbers around 1 would see nothing of the rows, or make nothing of the target's size. */
static bool is_unusual(const fit_job *j, const fit_moments *moments) {
    const double from = spread(moments->variance, j->d), to = spread(j->to.variance, j->d);
    double place = 0;
    for (int64_t i = 0; i < j->d; i++) place = fmax(place, fabs(moments->mean[i]));
    return from > usual || from < 1 / usual || to > usual || to < 1 / usual || place > usual * from;
}

static mgn_status start_affine(const fit_job *j, mgn_model *model, const fit_moments *from) {
    const mgn_parameter *parameters;
    const size_t count = mgn_model_parameters(model, &parameters);
    const int64_t d = j->d, V = find_square(parameters, count, "V", d);
    const mgn_shape last = parameters[count - 1].shape;
    if (V < 0 || last.rank != 1 || last.dim[0] != d) return set_frame(j, model, from);
    double *root = mgn_model_values(model) + parameters[V].offset;
    shrink_weights(model);
    if (is_unusual(j, from) || !from->covariance || !j->to.covariance) {
        for (int64_t i = 0; i < d * d; i++) root[i] = i % (d + 1) == 0;
        return set_frame(j, model, from);
    }
    MGN_TRY(set_quadratic(j, from, root));
    return set_offset(j, model, from->mean);
}

/* A frame of one scale and the means of every place, which leaves pictures pictures: in it both spreads are 1. Returns how much
 * larger images are outside it. */
static mgn_status set_picture_frame(const fit_job *j, mgn_model *model, const fit_moments *from, double *gain) {
    const int64_t d = j->d;
    const double from_spread = spread(from->variance, d), to_spread = spread(j->to.variance, d);
    const double in = from_spread > 0 ? from_spread
                      : to_spread > 0 ? to_spread
                                      : 1,
                 out = to_spread > 0 ? to_spread : in;
    double *matrix = mgn_alloc((size_t)d, sizeof *matrix);
    if (!matrix) return MGN_ERR_MEMORY;
    for (int64_t i = 0; i < d; i++) matrix[i] = 1 / in;
    const mgn_model_frame frame = {from->mean, matrix, j->to.mean, in * out, true};
    mgn_status status = check_range(j, from, matrix, d, frame.factor);
    if (status == MGN_OK) status = mgn_model_set_frame(model, &frame);
    mgn_free(matrix);
    *gain = out;
    return status;
}

/* Of convolutions: the picture itself, with the channels' means moved to the target's. */
static mgn_status start_pictures(const fit_job *j, mgn_model *model, const fit_moments *from) {
    const mgn_parameter *parameters;
    const size_t count = mgn_model_parameters(model, &parameters);
    const int64_t d = j->d, channels = j->shape.image.channels, kernel = j->shape.kernel, area = kernel * kernel;
    double *V = mgn_model_values(model) + parameters[count - 2].offset, gain = 1;
    shrink_weights(model);
    for (int64_t i = 0; i < channels * channels * area; i++)
        V[i] = i / area % (channels + 1) == 0 && i % area == kernel / 2 * (kernel + 1);
    double *miss = mgn_alloc((size_t)d, sizeof *miss);
    mgn_status status = miss ? MGN_OK : MGN_ERR_MEMORY;
    if (status == MGN_OK && is_unusual(j, from)) status = set_picture_frame(j, model, from, &gain);
    if (status == MGN_OK) status = find_miss(j, model, from->mean, miss);
    double *offset = mgn_model_values(model) + parameters[count - 1].offset;
    const int64_t shared = d / mgn_shape_count(parameters[count - 1].shape); /* numbers to a bias */
    for (int64_t i = 0; status == MGN_OK && i < d; i++) {
        const int64_t bias = shared == 1 ? i % channels * (d / channels) + i / channels : i % channels;
        offset[bias] += miss[i] / gain / (double)shared;
    }
    mgn_free(miss);
    return status;
}

mgn_status fit_start_affine(const fit_job *j, mgn_model *model) {
    if (strcmp(j->training.loss.kind, "semidual") == 0 && strcmp(j->shape.kind, "dicnn") == 0)
        return start_semidual(j, model);
    fit_moments from = {0};
    mgn_status status = fit_source_moments(j, &from);
    if (status == MGN_OK) status = (j->shape.kernel > 0 ? start_pictures : start_affine)(j, model, &from);
    fit_moments_free(&from);
    return status;
}
