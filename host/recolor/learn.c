/* Learning a map between two palettes: a start that already has the right mean and spread, then Adam on the
 * Kullback-Leibler divergence. */
#include "recolor/recolor.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* How small the weights of the non-linear units start, compared with N(0, 1): they bend a map that is nearly linear. */
static const double start_of_weights = 0.1;

static mgn_status model_config(const mgn_recolor_config *config, mgn_model_config *model) {
    *model = (mgn_model_config){.d = 3, .h = config->h, .layers = config->layers, .v = MGN_V_ORTHOGONAL};
    snprintf(model->kind, sizeof model->kind, "%.15s", *config->kind ? config->kind : "cmgn");
    const bool cascade = strcmp(model->kind, "cmgn") == 0;
    if (model->h == 0) model->h = cascade ? 3 : 2;
    if (model->layers == 0) model->layers = 2;
    model->activation = mgn_model_usual_activation(model->kind);
    if (config->epochs < 0 || config->sample < 0)
        return mgn_fail(MGN_ERR_ARGUMENT, "recolor: epochs and sample from 0 were expected, %lld and %lld found",
                        (long long)config->epochs, (long long)config->sample);
    return MGN_OK;
}

/* ---- the start ---- */

static double trace(const mgn_colour_gaussian *gaussian) {
    return gaussian->covariance[0] + gaussian->covariance[4] + gaussian->covariance[8];
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

/* Makes g nearly x -> s (x - mean of source) + mean of target, s^2 being the ratio of the total variances. */
static mgn_status start_near(mgn_model *model, mgn_device *device, const mgn_colour_gaussian *from, const mgn_colour_gaussian *to) {
    const mgn_parameter *parameters = NULL;
    const size_t count = mgn_model_parameters(model, &parameters);
    double *values = mgn_model_values(model);
    const double ratio = trace(from) > 0 ? sqrt(trace(to) / trace(from)) : 1;
    const double spread = fmin(fmax(ratio, 0.01), 10); /* V^T V = spread I */
    for (size_t i = 0; i < count; i++) {
        const int64_t size = mgn_shape_count(parameters[i].shape);
        const char kind = *parameters[i].label;
        const double factor = kind == 'V' ? sqrt(spread) : kind == 'W' ? start_of_weights : 1;
        for (int64_t j = 0; j < size; j++) values[parameters[i].offset + j] *= factor;
    }
    double *offset = values + parameters[count - 1].offset, image[3]; /* every kind's last parameter is added to g */
    MGN_TRY(image_of_mean(model, device, from->mean, image));
    for (size_t i = 0; i < 3; i++) offset[i] += to->mean[i] - image[i];
    return MGN_OK;
}

/* ---- training ---- */

static mgn_status train(mgn_model *model, mgn_device *device, const mgn_matrix *source, const mgn_colour_gaussian *target,
                        const mgn_recolor_config *config, mgn_train_result *result) {
    const mgn_samples samples = {.x = source->values, .n = source->rows};
    const mgn_train_config training = {
        .loss = {.kind = "kl", .mean = target->mean, .covariance = target->covariance},
        .optimizer = {.kind = "adam", .lr = 0.02},
        .schedule = {.kind = MGN_SCHEDULE_COSINE, .floor = 0.01},
        .epochs = config->epochs ? config->epochs : MGN_RECOLOR_EPOCHS,
        .seed = config->seed,
        .real = MGN_F32,
        .report = config->report,
        .context = config->context,
    };
    return mgn_train(model, device, &samples, &training, result);
}

static mgn_status learn_from(const mgn_matrix *source, const mgn_colour_gaussian *target, mgn_device *device,
                             const mgn_recolor_config *config, mgn_model *model, mgn_train_result *result) {
    mgn_colour_gaussian from;
    MGN_TRY(mgn_colour_gaussian_of(source, &from));
    MGN_TRY(start_near(model, device, &from, target));
    return train(model, device, source, target, config, result);
}

mgn_status mgn_recolor_learn(const mgn_image *source, const mgn_image *target, mgn_device *device, const mgn_recolor_config *given,
                             mgn_model **model, mgn_train_result *result) {
    const mgn_recolor_config config = given ? *given : (mgn_recolor_config){0};
    mgn_colour_gaussian gaussian;
    mgn_model_config shape;
    mgn_matrix palette = {0};
    mgn_model *made = NULL;
    MGN_TRY(model_config(&config, &shape));
    MGN_TRY(mgn_target_gaussian(target, config.seed, &gaussian));
    MGN_TRY(mgn_model_create(&shape, config.seed, &made));
    mgn_status status = mgn_recolor_palette(source, config.sample ? config.sample : MGN_RECOLOR_SAMPLE, config.seed, &palette);
    if (status == MGN_OK && palette.rows < 2)
        status = mgn_fail(MGN_ERR_ARGUMENT, "the source has a single visible pixel; a palette of at least 2 was expected");
    if (status == MGN_OK) status = learn_from(&palette, &gaussian, device, &config, made, result);
    mgn_matrix_free(&palette);
    if (status == MGN_OK) *model = made;
    else mgn_model_destroy(made);
    return status;
}
