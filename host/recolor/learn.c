/* Learning a map between two palettes: a start with the right mean, and the right spread along the target's principal
 * axes; then Adam on the Kullback-Leibler divergence of batches, or what mixture.c and sinkhorn.c do for a mixture and
 * for the palette itself.
 *
 * Palettes are flat: their variances differ by factors of a thousand, and so do the divergence's gradients along them.
 * With V's rows along the target's axes each row meets one of these scales, and Adam, which scales every entry by
 * itself, takes them all at the same pace: after 480 steps on a flat palette the divergence is 10 to 100 times smaller
 * than from a random orthogonal V. */
#include "recolor/recolor.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include <mgn/ot.h>

/* How small the weights of the non-linear units start, compared with N(0, 1): they bend a map that is nearly linear. */
static const double start_of_weights = 0.1;

static const double learning_rate = 0.007;

/* Rows of a batch: enough to estimate a covariance to a few percent, few enough to make many steps a second. */
enum { BATCH = 4096, FEWEST_STEPS = 1280, FEWEST_EPOCHS = 80 };

static mgn_status model_config(const mgn_recolor_config *config, mgn_model_config *model) {
    *model = (mgn_model_config){.d = 3, .h = config->h, .layers = config->layers, .v = MGN_V_ORTHOGONAL};
    snprintf(model->kind, sizeof model->kind, "%.15s", *config->kind ? config->kind : "cmgn");
    const bool cascade = strcmp(model->kind, "cmgn") == 0;
    if (!cascade && strcmp(model->kind, "mmgn") != 0) /* the start needs V */
        return mgn_fail(MGN_ERR_ARGUMENT, "recolor: the model is cmgn or mmgn; '%s' was found", model->kind);
    if (model->h == 0) model->h = cascade ? 3 : 2;
    if (model->layers == 0) model->layers = 2;
    model->activation = mgn_model_usual_activation(model->kind);
    if (config->components < 0 || config->components > MGN_MOST_COMPONENTS ||
        config->most_components > MGN_MOST_COMPONENTS)
        return mgn_fail(MGN_ERR_ARGUMENT, "recolor: 0 to %d components were expected, %lld to %lld found",
                        MGN_MOST_COMPONENTS, (long long)config->components, (long long)config->most_components);
    if (config->sinkhorn && config->components > 0)
        return mgn_fail(MGN_ERR_ARGUMENT, "recolor: the target is a mixture or the palette itself, not both");
    if (config->epochs < 0 || config->sample < 0)
        return mgn_fail(MGN_ERR_ARGUMENT, "recolor: epochs and sample from 0 were expected, %lld and %lld found",
                        (long long)config->epochs, (long long)config->sample);
    return MGN_OK;
}

/* ---- the start ---- */

/* Variance along the unit vector v; rounding to 8 bits is part of it, so it is positive. */
static double variance_along(const mgn_colour_gaussian *gaussian, const double v[3]) {
    double sum = mgn_rounding_variance;
    for (size_t i = 0; i < 3; i++)
        for (size_t j = 0; j < 3; j++) sum += v[i] * gaussian->covariance[3 * i + j] * v[j];
    return sum;
}

/* V^T V = sum_k r_k v_k v_k^T, v_k being the target's axes and r_k the ratio of the spreads along them. */
static mgn_status start_quadratic(double *V, const mgn_colour_gaussian *from, const mgn_colour_gaussian *to) {
    double values[3], axes[9];
    MGN_TRY(mgn_symmetric_eigen(to->covariance, 3, values, axes));
    for (size_t k = 0; k < 3; k++) {
        const double *axis = axes + 3 * k;
        const double ratio = sqrt(variance_along(to, axis) / variance_along(from, axis));
        for (size_t j = 0; j < 3; j++) V[3 * k + j] = sqrt(fmin(fmax(ratio, 0.01), 10)) * axis[j];
    }
    return MGN_OK;
}

/* g(x), where x is the mean of the source. */
static mgn_status image_of_mean(const mgn_model *model, mgn_device *device, const double mean[3], double image[3]) {
    mgn_map *map = NULL;
    MGN_TRY(mgn_map_create(model, device, MGN_F32, &map));
    float x[3];
    for (size_t i = 0; i < 3; i++) x[i] = (float)mean[i];
    const mgn_status status = mgn_map_apply(map, x, 1, x);
    mgn_map_destroy(map);
    for (size_t i = 0; status == MGN_OK && i < 3; i++) image[i] = (double)x[i];
    return status;
}

/* Makes g nearly x -> V^T V (x - mean of source) + mean of target. */
static mgn_status start_near(mgn_model *model, mgn_device *device, const mgn_colour_gaussian *from,
                             const mgn_colour_gaussian *to) {
    const mgn_parameter *parameters = NULL;
    const size_t count = mgn_model_parameters(model, &parameters);
    double *values = mgn_model_values(model);
    for (size_t i = 0; i < count; i++) {
        double *at = values + parameters[i].offset;
        if (*parameters[i].label == 'V') MGN_TRY(start_quadratic(at, from, to));
        if (*parameters[i].label != 'W') continue;
        for (int64_t j = 0; j < mgn_shape_count(parameters[i].shape); j++) at[j] *= start_of_weights;
    }
    double *offset = values + parameters[count - 1].offset, image[3]; /* every kind's last parameter is added to g */
    MGN_TRY(image_of_mean(model, device, from->mean, image));
    for (size_t i = 0; i < 3; i++) offset[i] += to->mean[i] - image[i];
    return MGN_OK;
}

/* ---- training ---- */

static mgn_status train(mgn_model *model, mgn_device *device, const mgn_matrix *source,
                        const mgn_colour_gaussian *target, const mgn_recolor_config *config, mgn_train_result *result) {
    const mgn_samples samples = {.x = source->values, .n = source->rows};
    /* Batches of nearly the same size: a last batch of few rows would have no covariance. */
    const int64_t batches = (source->rows + BATCH - 1) / BATCH;
    const int64_t usual = MGN_MAX((FEWEST_STEPS + batches - 1) / batches, FEWEST_EPOCHS);
    const mgn_train_config training = {
        .loss = {.kind = "kl", .mean = target->mean, .covariance = target->covariance},
        .optimizer = {.kind = "adam", .lr = learning_rate},
        .schedule = {.kind = MGN_SCHEDULE_COSINE, .floor = 0.01},
        .batch = (source->rows + batches - 1) / batches,
        .epochs = config->epochs ? config->epochs : usual,
        .seed = config->seed,
        .real = MGN_F32,
        .report = config->report,
        .context = config->context,
    };
    return mgn_train(model, device, &samples, &training, result);
}

static mgn_status learn_mixture(mgn_model *model, mgn_device *device, const mgn_matrix *source,
                                const mgn_matrix *target, const mgn_recolor_config *config, mgn_train_result *result) {
    mgn_mixture mixture = {0};
    MGN_TRY(mgn_recolor_mixture(target, device, config, &mixture));
    const mgn_status status = mgn_recolor_learn_mixture(model, device, source, &mixture, config, result);
    if (status == MGN_OK && config->mixture)
        *config->mixture = mixture;
    else
        mgn_mixture_free(&mixture);
    return status;
}

/* From a start near the right mean and spread. */
static mgn_status learn_from(const mgn_matrix *source, const mgn_matrix *target, mgn_device *device,
                             const mgn_recolor_config *config, mgn_model *model, mgn_train_result *result) {
    mgn_colour_gaussian from, to;
    mgn_matrix palette = {0};
    MGN_TRY(mgn_palette_sample(source, config->sample ? config->sample : MGN_RECOLOR_SAMPLE, config->seed, &palette));
    mgn_status status = mgn_palette_gaussian(target, &to);
    if (status == MGN_OK) status = mgn_colour_gaussian_of(&palette, &from);
    if (status == MGN_OK) status = start_near(model, device, &from, &to);
    if (status == MGN_OK) {
        if (config->sinkhorn)
            status = mgn_recolor_learn_sinkhorn(model, device, source, target, config, result);
        else if (config->components > 0)
            status = learn_mixture(model, device, source, target, config, result);
        else
            status = train(model, device, &palette, &to, config, result);
    }
    mgn_matrix_free(&palette);
    return status;
}

static mgn_status check_pixels(const mgn_recolor_config *config) {
    if (config->sinkhorn || config->components > 0)
        return mgn_fail(MGN_ERR_ARGUMENT, "recolor: the target is one of a mixture and the palette itself");
    if (!(config->smoothness >= 0 && config->smoothness <= 1))
        return mgn_fail(MGN_ERR_ARGUMENT, "recolor: a smoothness from 0 to 1 was expected, %g found",
                        config->smoothness);
    if (!(config->stretch >= 0 && isfinite(config->stretch)))
        return mgn_fail(MGN_ERR_ARGUMENT, "recolor: a stretch above 0, or 0 for the usual one, was expected, %g found",
                        config->stretch);
    return MGN_OK;
}

static mgn_status check_palettes(const mgn_matrix *source, const mgn_matrix *target) {
    if (source->columns == 3 && target->columns == 3 && source->rows >= 1 && target->rows >= 1) return MGN_OK;
    return mgn_fail(
        MGN_ERR_ARGUMENT, "two palettes of rows of three numbers were expected; %lld x %lld and %lld x %lld found",
        (long long)source->rows, (long long)source->columns, (long long)target->rows, (long long)target->columns);
}

/* What has to be learned, once it is known that neither palette is a single colour. */
static mgn_status learn_model(const mgn_matrix *source, const mgn_matrix *target, mgn_device *device,
                              const mgn_recolor_config *config, const mgn_model_config *shape, mgn_model **model,
                              mgn_train_result *result) {
    mgn_model *made = NULL;
    if (config->pixels) return mgn_recolor_learn_pixels(source, target, config, model, result);
    MGN_TRY(mgn_model_create(shape, config->seed, &made));
    const mgn_status status = learn_from(source, target, device, config, made, result);
    if (status == MGN_OK)
        *model = made;
    else
        mgn_model_destroy(made);
    return status;
}

mgn_status mgn_recolor_learn_palettes(const mgn_matrix *source, const mgn_matrix *target, mgn_device *device,
                                      const mgn_recolor_config *given, mgn_model **model, mgn_train_result *result) {
    mgn_recolor_config config = given ? *given : (mgn_recolor_config){0};
    mgn_model_config shape;
    mgn_model *single = NULL;
    if (config.pixels) {
        MGN_TRY(check_pixels(&config));
        *config.kind = 0; /* has a network of its own */
    }
    MGN_TRY(model_config(&config, &shape));
    MGN_TRY(check_palettes(source, target));
    MGN_TRY(mgn_recolor_learn_single(source, target, &shape, &single));
    if (!single) return learn_model(source, target, device, &config, &shape, model, result);
    *model = single;
    if (result) *result = (mgn_train_result){.steps = 1};
    return MGN_OK;
}

mgn_status mgn_recolor_learn(const mgn_image *source, const mgn_image *target, mgn_device *device,
                             const mgn_recolor_config *config, mgn_model **model, mgn_train_result *result) {
    mgn_matrix from = {0}, to = {0};
    const uint64_t seed = config ? config->seed : 0;
    mgn_status status = mgn_image_palette(source, MGN_RECOLOR_PALETTE, seed, &from);
    if (status == MGN_OK) status = mgn_image_palette(target, MGN_RECOLOR_PALETTE, seed, &to);
    if (status == MGN_OK) status = mgn_recolor_learn_palettes(&from, &to, device, config, model, result);
    mgn_matrix_free(&from);
    mgn_matrix_free(&to);
    return status;
}
