/* Palettes of picture files, a band of one picture in memory at a time, and pictures that change behind a mask only. */
#include <string.h>

#include "image/codec.h"
#include "recolor/recolor.h"

/* Fewest colours that a picture of many gives. */
enum { LEAST_SHARE = 4096 };

static mgn_status append(mgn_matrix *all, const mgn_matrix *more) {
    mgn_matrix joined = {0};
    MGN_TRY(mgn_matrix_create(all->rows + more->rows, 3, &joined));
    if (all->rows) memcpy(joined.values, all->values, (size_t)all->rows * 3 * sizeof(float));
    memcpy(joined.values + 3 * all->rows, more->values, (size_t)more->rows * 3 * sizeof(float));
    mgn_matrix_free(all);
    *all = joined;
    return MGN_OK;
}

mgn_status mgn_recolor_gather(const char *const *paths, size_t count, uint64_t seed, mgn_matrix *palette) {
    const int64_t share = MGN_MAX(MGN_RECOLOR_PALETTE / (int64_t)count, LEAST_SHARE);
    mgn_matrix all = {0};
    mgn_status status = MGN_OK;
    for (size_t i = 0; i < count && status == MGN_OK; i++) {
        mgn_matrix own = {0};
        status = mgn_image_read_palette(paths[i], share, seed + i, &own);
        if (status == MGN_OK) status = append(&all, &own);
        mgn_matrix_free(&own);
    }
    if (status == MGN_OK)
        *palette = all;
    else
        mgn_matrix_free(&all);
    return status;
}

/* ---- masks ---- */

mgn_status mgn_mask_read(const char *path, const mgn_image *image, mgn_image **mask) {
    mgn_image *read = NULL;
    MGN_TRY(mgn_image_read(path, &read));
    const bool fits = read->width == image->width && read->height == image->height &&
                      read->orientation == image->orientation && read->channels % 2 == 1;
    if (fits) {
        *mask = read;
        return MGN_OK;
    }
    const mgn_status status =
        mgn_fail(MGN_ERR_ARGUMENT,
                 "%s: a mask is a picture without transparency of the source's size (%zu x %zu, as it is stored); "
                 "%zu x %zu%s found",
                 path, image->width, image->height, read->width, read->height,
                 read->channels % 2 == 1 ? "" : " with transparency");
    mgn_image_destroy(read);
    return status;
}

/* A palette of an opaque picture takes the same places of any picture of that size. */
mgn_status mgn_mask_palette(const mgn_image *image, const mgn_image *mask, uint64_t seed, mgn_matrix *palette) {
    mgn_matrix all = {0}, share = {0};
    if (image->channels % 2 == 0) return mgn_fail(MGN_ERR_ARGUMENT, "a mask goes with a source without transparency");
    mgn_status status = mgn_image_palette(image, MGN_RECOLOR_PALETTE, seed, &all);
    if (status == MGN_OK) status = mgn_image_palette(mask, MGN_RECOLOR_PALETTE, seed, &share);
    int64_t kept = 0;
    for (int64_t i = 0; i < all.rows && status == MGN_OK; i++) {
        if (share.values[3 * i + 1] < 0.5f) continue;
        memmove(all.values + 3 * kept++, all.values + 3 * i, 3 * sizeof(float));
    }
    if (status == MGN_OK && kept == 0)
        status = mgn_fail(MGN_ERR_ARGUMENT, "the mask is dark everywhere: white shows where the picture is to change");
    mgn_matrix_free(&share);
    all.rows = kept;
    if (status == MGN_OK)
        *palette = all;
    else
        mgn_matrix_free(&all);
    return status;
}

mgn_status mgn_mask_blend(const mgn_image *before, const mgn_image *mask, mgn_image *after) {
    enum { BAND_PIXELS = 1 << 18 };
    const size_t width = after->width, band = MGN_MAX((size_t)1, BAND_PIXELS / width);
    const size_t numbers = 3 * width * MGN_MIN(band, after->height);
    float *rgb = mgn_alloc(numbers, 3 * sizeof *rgb);
    if (!rgb) return MGN_ERR_MEMORY;
    float *old = rgb + numbers, *share = old + numbers;
    mgn_status status = MGN_OK;
    for (size_t y = 0; y < after->height && status == MGN_OK; y += band) {
        const size_t rows = MGN_MIN(band, after->height - y);
        mgn_image_rows_to_rgb(after, y, rows, rgb);
        mgn_image_rows_to_rgb(before, y, rows, old);
        mgn_image_rows_to_rgb(mask, y, rows, share);
        for (size_t i = 0; i < 3 * width * rows; i++) rgb[i] = old[i] + share[i] * (rgb[i] - old[i]);
        status = mgn_image_rows_from_rgb(after, y, rows, rgb);
    }
    mgn_free(rgb);
    return status;
}
