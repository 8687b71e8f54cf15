/* Palettes: the visible colours of a picture as rows, all of them or an evenly spread sample.
 * A sample takes one pixel at a random place in each of k equal stretches of the picture: evenly spread like a stride,
 * without a stride's habit of meeting the same columns again and again. */
#include <mgn/image.h>

#include "core/core.h"
#include "core/random.h"
#include "image/codec.h"

enum { SAMPLE_STREAM = 0x70616c };

/* ---- transparency ---- */

static bool is_visible(const mgn_image *image, size_t pixel) {
    if (image->channels % 2 != 0) return true;
    const size_t at = (pixel + 1) * (size_t)image->channels - 1;
    return image->depth == 8 ? ((const uint8_t *)image->pixels)[at] != 0 : ((const uint16_t *)image->pixels)[at] != 0;
}

static int64_t count_visible(const mgn_image *image) {
    const size_t pixels = image->width * image->height;
    if (image->channels % 2 != 0) return (int64_t)pixels;
    int64_t count = 0;
    for (size_t i = 0; i < pixels; i++) count += is_visible(image, i);
    return count;
}

/* ---- sampling ---- */

int64_t mgn_palette_rank(int64_t i, int64_t rows, int64_t visible, uint64_t seed) {
    if (rows == visible) return i;
    const double place = ((double)i + mgn_host_uniform(seed, SAMPLE_STREAM, (uint64_t)i)) / (double)rows;
    return MGN_MIN((int64_t)(place * (double)visible), visible - 1);
}

void mgn_image_colour_of(const mgn_image *image, size_t pixel, float rgb[3]) {
    const size_t channels = (size_t)image->channels, step = channels >= 3;
    for (size_t j = 0; j < 3; j++) {
        const size_t at = pixel * channels + j * step;
        rgb[j] = image->depth == 8 ? (float)((const uint8_t *)image->pixels)[at] / 255.0f
                                   : (float)((const uint16_t *)image->pixels)[at] / 65535.0f;
    }
}

/* The ranks of an opaque picture are its pixels; others are walked through. */
static mgn_status fill(const mgn_image *image, int64_t visible, uint64_t seed, mgn_matrix *palette) {
    enum { BETWEEN_QUESTIONS = 1 << 20 };
    const bool opaque = image->channels % 2 != 0;
    if (opaque && palette->rows == visible) {
        mgn_image_to_rgb(image, palette->values);
        return MGN_OK;
    }
    int64_t pixel = -1, seen = -1; /* the newest visible pixel, and its rank */
    for (int64_t row = 0; row < palette->rows; row++) {
        const int64_t rank = mgn_palette_rank(row, palette->rows, visible, seed);
        if (opaque) pixel = rank;
        while (!opaque && seen < rank) seen += is_visible(image, (size_t)++pixel);
        mgn_image_colour_of(image, (size_t)pixel, palette->values + 3 * row);
        if (row % BETWEEN_QUESTIONS == 0 && mgn_interrupted())
            return mgn_fail(MGN_ERR_INTERRUPTED, "interrupted while the colours were read");
    }
    return MGN_OK;
}

mgn_status mgn_image_palette(const mgn_image *image, int64_t most, uint64_t seed, mgn_matrix *palette) {
    const int64_t visible = count_visible(image);
    if (visible == 0) return mgn_fail(MGN_ERR_ARGUMENT, "the picture is fully transparent: it has no visible colour");
    mgn_matrix made = {0};
    MGN_TRY(mgn_matrix_create(most > 0 ? MGN_MIN(most, visible) : visible, 3, &made));
    const mgn_status status = fill(image, visible, seed, &made);
    if (status == MGN_OK)
        *palette = made;
    else
        mgn_matrix_free(&made);
    return status;
}
