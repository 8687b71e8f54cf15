/* Where training starts: near the affine map that is optimal between the two means and covariances.
 *
 * From N(0, 1) weights most runs of a few thousand steps end where units are saturated, with images far from the target.
 * The affine map already has the right mean and spread, V^T V is its matrix, and units that start small bend it from
 * there. */
#include "fit.h"

#include <string.h>

#include <mgn/ot.h>

#include "core/core.h"
#include "train/semidual.h"

/* How small the weights of the units start, compared with N(0, 1). */
static const double start_of_weights = 0.1;

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

/* Every kind's last parameter is added to g: moves the image of `mean` to the target's mean. */
static mgn_status set_offset(const fit_job *j, mgn_model *model, const double *mean) {
    const int64_t d = j->d;
    mgn_map *map = NULL;
    float *x = mgn_alloc((size_t)d, sizeof *x);
    if (!x) return MGN_ERR_MEMORY;
    for (int64_t i = 0; i < d; i++) x[i] = (float)mean[i];
    mgn_status status = mgn_map_create(model, j->device, MGN_F32, &map);
    if (status == MGN_OK) status = mgn_map_apply(map, x, 1, x);
    double *offset = mgn_model_values(model) + mgn_model_parameter_count(model) - d;
    for (int64_t i = 0; i < d && status == MGN_OK; i++) offset[i] += j->mean[i] - (double)x[i];
    mgn_map_destroy(map);
    mgn_free(x);
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

mgn_status fit_start_affine(const fit_job *j, mgn_model *model) {
    if (strcmp(j->training.loss.kind, "semidual") == 0 && strcmp(j->shape.kind, "dicnn") == 0)
        return start_semidual(j, model);
    const mgn_parameter *parameters;
    const size_t count = mgn_model_parameters(model, &parameters);
    const int64_t d = j->d, V = find_square(parameters, count, "V", d);
    const mgn_shape last = parameters[count - 1].shape;
    if (V < 0 || last.rank != 1 || last.dim[0] != d) return MGN_OK;
    double *values = mgn_model_values(model), *moments = mgn_alloc((size_t)(d + d * d), sizeof *moments);
    if (!moments) return MGN_ERR_MEMORY;
    mgn_status status = mgn_moments(j->x.values, j->rows, d, false, moments, moments + d);
    if (status == MGN_OK) status = set_quadratic(j, moments, moments + d, values + parameters[V].offset);
    for (size_t i = 0; i < count && status == MGN_OK; i++) {
        if (*parameters[i].label != 'W') continue;
        double *weights = values + parameters[i].offset;
        for (int64_t k = 0; k < mgn_shape_count(parameters[i].shape); k++) weights[k] *= start_of_weights;
    }
    if (status == MGN_OK) status = set_offset(j, model, moments);
    mgn_free(moments);
    return status;
}
