/* Palettes of a single colour, of a picture of one pixel or of one that is the same all over: nothing is left to learn.
 * From one colour the optimal map is the translation to the target's mean, which keeps whatever differences other pictures
 * have; to one colour it is that colour everywhere. Both are exact in every model: V^T V = I or 0, no units, an offset. */
#include <string.h>

#include "recolor/recolor.h"

static bool is_single(const mgn_colour_gaussian *g) {
    return g->covariance[0] + g->covariance[4] + g->covariance[8] < mgn_rounding_variance;
}

static mgn_status make_affine(const mgn_model_config *shape, bool translation, const double offset[3],
                              mgn_model **model) {
    const mgn_parameter *parameters = NULL;
    MGN_TRY(mgn_model_create(shape, 0, model));
    const size_t count = mgn_model_parameters(*model, &parameters);
    double *values = mgn_model_values(*model);
    memset(values, 0, (size_t)mgn_model_parameter_count(*model) * sizeof *values);
    for (size_t i = 0; i < count && translation; i++)
        for (int64_t j = 0; *parameters[i].label == 'V' && j < 3; j++) values[parameters[i].offset + 4 * j] = 1;
    memcpy(values + parameters[count - 1].offset, offset, 3 * sizeof *offset); /* is added to g */
    return MGN_OK;
}

mgn_status mgn_recolor_learn_single(const mgn_matrix *source, const mgn_matrix *target, const mgn_model_config *shape,
                                    mgn_model **model) {
    mgn_colour_gaussian from, to;
    *model = NULL;
    MGN_TRY(mgn_colour_gaussian_of(source, &from));
    MGN_TRY(mgn_colour_gaussian_of(target, &to));
    const bool translation = is_single(&from);
    if (!translation && !is_single(&to)) return MGN_OK;
    for (size_t j = 0; j < 3 && translation; j++) to.mean[j] -= from.mean[j];
    return make_affine(shape, translation, to.mean, model);
}
