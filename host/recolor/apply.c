/* Applying a map to pictures. Coloured ones are worked off in bands of rows, so that a picture takes the memory of its
 * samples and not four times that; grey ones as a whole, since only the whole shows whether the result is still grey. */
#include "recolor/recolor.h"

enum { BAND_PIXELS = 1 << 20 };

static mgn_status apply_bands(mgn_map *map, const mgn_image *source, mgn_image *result) {
    const size_t band = MGN_MAX((size_t)1, (size_t)BAND_PIXELS / source->width);
    const size_t most = MGN_MIN(band, source->height);
    float *rgb = mgn_alloc(most * source->width, 3 * sizeof *rgb);
    if (!rgb) return MGN_ERR_MEMORY;
    mgn_status status = MGN_OK;
    for (size_t y = 0; status == MGN_OK && y < source->height; y += band) {
        const size_t rows = MGN_MIN(band, source->height - y);
        mgn_image_rows_to_rgb(source, y, rows, rgb);
        status = mgn_map_apply(map, rgb, (int64_t)(rows * source->width), rgb);
        if (status == MGN_OK) status = mgn_image_rows_from_rgb(result, y, rows, rgb);
    }
    mgn_free(rgb);
    return status;
}

static mgn_status apply_to_colour(mgn_map *map, const mgn_image *source, mgn_image **result) {
    mgn_image *made = NULL;
    MGN_TRY(mgn_image_clone_colour(source, &made));
    const mgn_status status = apply_bands(map, source, made);
    if (status == MGN_OK) *result = made;
    else mgn_image_destroy(made);
    return status;
}

static mgn_status apply_to_grey(mgn_map *map, const mgn_image *source, mgn_image **result) {
    const size_t pixels = source->width * source->height;
    float *rgb = mgn_alloc(pixels, 3 * sizeof *rgb);
    if (!rgb) return MGN_ERR_MEMORY;
    mgn_image_to_rgb(source, rgb);
    mgn_status status = mgn_map_apply(map, rgb, (int64_t)pixels, rgb);
    if (status == MGN_OK) status = mgn_image_with_rgb(source, rgb, result);
    mgn_free(rgb);
    return status;
}

mgn_status mgn_recolor_apply(mgn_map *map, const mgn_image *source, mgn_image **result) {
    if (mgn_map_dimension(map) != 3)
        return mgn_fail(MGN_ERR_ARGUMENT, "a map of colours has d = 3; this one has d = %lld", (long long)mgn_map_dimension(map));
    return source->channels <= 2 ? apply_to_grey(map, source, result) : apply_to_colour(map, source, result);
}
