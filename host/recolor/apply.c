/* Applying a map to pictures. Coloured ones are worked off in bands of rows, so that a picture takes the memory of its
 * samples and not four times that; grey ones as a whole, since only the whole shows whether the result is grey. */
#include "recolor/recolor.h"

#include "image/codec.h"
#include "model/model.h"

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

/* Bytes saturate and cannot say that a colour is not finite; a grid of colours can, before any pixel is mapped. */
static mgn_status check_finite(mgn_map *map) {
    enum { STEPS = 5, POINTS = STEPS * STEPS * STEPS };
    float grid[3 * POINTS];
    for (int i = 0; i < POINTS; i++) {
        grid[3 * i] = (float)(i % STEPS) / (STEPS - 1);
        grid[3 * i + 1] = (float)(i / STEPS % STEPS) / (STEPS - 1);
        grid[3 * i + 2] = (float)(i / (STEPS * STEPS)) / (STEPS - 1);
    }
    return mgn_map_apply(map, grid, POINTS, grid);
}

static mgn_status apply_to_bytes(mgn_map *map, const mgn_image *source, mgn_image *result) {
    MGN_TRY(check_finite(map));
    return mgn_map_apply_bytes(map, source->pixels, (int64_t)(source->width * source->height), result->pixels);
}

static mgn_status apply_to_colour(mgn_map *map, const mgn_image *source, mgn_image **result) {
    mgn_image *made = NULL;
    MGN_TRY(mgn_image_clone_colour(source, &made));
    const bool bytes = source->channels == 3 && source->depth == 8;
    const mgn_status status = bytes ? apply_to_bytes(map, source, made) : apply_bands(map, source, made);
    if (status == MGN_OK)
        *result = made;
    else
        mgn_image_destroy(made);
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

mgn_status mgn_check_colour_dimension(int64_t d) {
    if (d == 3) return MGN_OK;
    return mgn_fail(MGN_ERR_ARGUMENT, "a map of colours has d = 3; this one has d = %lld", (long long)d);
}

mgn_status mgn_recolor_apply(mgn_map *map, const mgn_image *source, mgn_image **result) {
    MGN_TRY(mgn_check_colour_dimension(mgn_map_dimension(map)));
    return source->channels <= 2 ? apply_to_grey(map, source, result) : apply_to_colour(map, source, result);
}

/* ---- from file to file ---- */

static mgn_status map_band(void *map, unsigned char *rgb, size_t pixels) {
    return mgn_map_apply_bytes(map, rgb, (int64_t)pixels, rgb);
}

static mgn_status whole_file(mgn_map *map, const char *source, const char *target,
                             const mgn_image_write_options *options, size_t *width, size_t *height,
                             mgn_output_file **written) {
    mgn_image *before = NULL, *after = NULL;
    MGN_TRY(mgn_image_read(source, &before));
    *width = before->width;
    *height = before->height;
    mgn_status status = mgn_recolor_apply(map, before, &after);
    mgn_image_destroy(before);
    if (status == MGN_OK) status = mgn_image_prepare(after, target, options, written);
    mgn_image_destroy(after);
    return status;
}

mgn_status mgn_recolor_prepare(mgn_map *map, const char *source, const char *target,
                               const mgn_image_write_options *options, size_t *width, size_t *height,
                               mgn_output_file **written) {
    MGN_TRY(mgn_check_colour_dimension(mgn_map_dimension(map)));
    MGN_TRY(check_finite(map));
    mgn_map *twin = NULL;
    MGN_TRY(mgn_map_twin(map, &twin));
    mgn_status status =
        mgn_image_stream(source, target, options, map_band, (void *const[]){map, twin}, width, height, written);
    mgn_map_destroy(twin);
    MGN_TRY(status);
    return *written ? MGN_OK : whole_file(map, source, target, options, width, height, written);
}

mgn_status mgn_recolor_prepare_image(mgn_map *map, const mgn_image *source, const char *target,
                                     const mgn_image_write_options *options, mgn_output_file **written) {
    mgn_map *twin = NULL;
    mgn_image *after = NULL;
    MGN_TRY(mgn_check_colour_dimension(mgn_map_dimension(map)));
    MGN_TRY(check_finite(map));
    MGN_TRY(mgn_map_twin(map, &twin));
    mgn_status status = mgn_image_stream_from(source, target, options, map_band, (void *const[]){map, twin}, written);
    mgn_map_destroy(twin);
    if (status != MGN_OK || *written) return status;
    MGN_TRY(mgn_recolor_apply(map, source, &after));
    status = mgn_image_prepare(after, target, options, written);
    mgn_image_destroy(after);
    return status;
}

mgn_status mgn_recolor_file(mgn_map *map, const char *source, const char *target,
                            const mgn_image_write_options *options, size_t *width, size_t *height) {
    mgn_output_file *output = NULL;
    MGN_TRY(mgn_recolor_prepare(map, source, target, options, width, height, &output));
    return mgn_output_commit(output);
}
