/* How good a map is for two pictures: numbers that do not depend on how the map was learned. */
#include "recolor/recolor.h"

#include <mgn/ot.h>

/* As the loss does it: the mapped palette's covariance may be singular. */
static const double widening = 1e-6;

static void clip(float *values, int64_t count) {
    for (int64_t i = 0; i < count; i++) values[i] = MGN_MIN(MGN_MAX(values[i], 0.0f), 1.0f);
}

static mgn_status measure_moments(mgn_map *map, const mgn_matrix *source, float *mapped,
                                  const mgn_colour_gaussian *target, mgn_recolor_quality *quality) {
    mgn_colour_gaussian before, after;
    MGN_TRY(mgn_map_apply(map, source->values, source->rows, mapped));
    MGN_TRY(mgn_transport_cost(source->values, mapped, source->rows, 3, &quality->cost));
    MGN_TRY(mgn_colour_gaussian_of(source, &before));
    MGN_TRY(mgn_bures_w2(before.mean, before.covariance, target->mean, target->covariance, 3, &quality->bures));
    MGN_TRY(mgn_colour_gaussian_of(&(mgn_matrix){source->rows, 3, mapped}, &after));
    for (size_t i = 0; i < 3; i++) after.covariance[4 * i] += widening;
    MGN_TRY(mgn_gaussian_kl(after.mean, after.covariance, target->mean, target->covariance, 3, &quality->loss));
    quality->pixels = source->rows;
    return MGN_OK;
}

mgn_status mgn_recolor_measure_palettes(mgn_map *map, const mgn_matrix *source, const mgn_matrix *target,
                                        mgn_recolor_quality *quality) {
    mgn_matrix mapped = {0};
    mgn_recolor_quality made = {0};
    mgn_colour_gaussian gaussian;
    mgn_status status = mgn_check_colour_dimension(mgn_map_dimension(map));
    if (status == MGN_OK) status = mgn_palette_gaussian(target, &gaussian);
    if (status == MGN_OK) status = mgn_matrix_create(source->rows, 3, &mapped);
    if (status == MGN_OK) status = measure_moments(map, source, mapped.values, &gaussian, &made);
    if (status == MGN_OK) clip(mapped.values, 3 * mapped.rows);
    if (status == MGN_OK) status = mgn_palette_slices(source, &mapped, target, &made.w2_before, &made.w2_after);
    if (status == MGN_OK) *quality = made;
    mgn_matrix_free(&mapped);
    return status;
}

mgn_status mgn_recolor_measure(mgn_map *map, const mgn_image *source, const mgn_image *target, uint64_t seed,
                               mgn_recolor_quality *quality) {
    mgn_matrix from = {0}, to = {0};
    mgn_status status = mgn_check_colour_dimension(mgn_map_dimension(map));
    if (status == MGN_OK) status = mgn_image_palette(source, MGN_RECOLOR_PALETTE, seed, &from);
    if (status == MGN_OK) status = mgn_image_palette(target, MGN_RECOLOR_PALETTE, seed, &to);
    if (status == MGN_OK) status = mgn_recolor_measure_palettes(map, &from, &to, quality);
    mgn_matrix_free(&from);
    mgn_matrix_free(&to);
    return status;
}
