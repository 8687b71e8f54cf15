/* Palettes: the visible colours of a picture as rows, all of them or an evenly spread sample.
 * A sample takes one pixel at a random place in each of k equal stretches of the picture: evenly spread like a stride,
 * without a stride's habit of meeting the same columns again and again. */
#include <mgn/image.h>

#include "core/core.h"
#include "core/random.h"

enum { BAND_PIXELS = 1 << 16, SAMPLE_STREAM = 0x70616c };

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

/* Which of `visible` pixels is row `i` of `rows`: never before row i - 1's. */
static int64_t rank_of(int64_t i, int64_t rows, int64_t visible, uint64_t seed) {
    if (rows == visible) return i;
    const double place = ((double)i + mgn_host_uniform(seed, SAMPLE_STREAM, (uint64_t)i)) / (double)rows;
    return MGN_MIN((int64_t)(place * (double)visible), visible - 1);
}

/* Where the walk through the picture is. */
typedef struct walk {
    int64_t visible, seen; /* visible pixels in all, and so far */
    int64_t row;           /* the next row to fill */
    uint64_t seed;
} walk;

static void take_band(const mgn_image *image, size_t first_row, size_t rows, const float *rgb, walk *w,
                      mgn_matrix *palette) {
    const size_t begin = first_row * image->width, count = rows * image->width;
    int64_t next = w->row < palette->rows ? rank_of(w->row, palette->rows, w->visible, w->seed) : INT64_MAX;
    for (size_t i = 0; i < count && w->row < palette->rows; i++) {
        if (!is_visible(image, begin + i)) continue;
        while (next == w->seen && w->row < palette->rows) {
            float *to = palette->values + 3 * w->row++;
            for (size_t j = 0; j < 3; j++) to[j] = rgb[3 * i + j];
            next = rank_of(w->row, palette->rows, w->visible, w->seed);
        }
        w->seen++;
    }
}

static mgn_status fill(const mgn_image *image, walk *w, mgn_matrix *palette) {
    const size_t band = MGN_MAX((size_t)1, (size_t)BAND_PIXELS / image->width);
    float *rgb = mgn_alloc(band * image->width, 3 * sizeof *rgb);
    if (!rgb) return MGN_ERR_MEMORY;
    mgn_status status = MGN_OK;
    for (size_t y = 0; status == MGN_OK && y < image->height; y += band) {
        const size_t rows = MGN_MIN(band, image->height - y);
        mgn_image_rows_to_rgb(image, y, rows, rgb);
        take_band(image, y, rows, rgb, w, palette);
        if (mgn_interrupted()) status = mgn_fail(MGN_ERR_INTERRUPTED, "interrupted while the colours were read");
    }
    mgn_free(rgb);
    return status;
}

mgn_status mgn_image_palette(const mgn_image *image, int64_t most, uint64_t seed, mgn_matrix *palette) {
    walk w = {.visible = count_visible(image), .seed = seed};
    if (w.visible == 0) return mgn_fail(MGN_ERR_ARGUMENT, "the picture is fully transparent: it has no visible colour");
    mgn_matrix made = {0};
    MGN_TRY(mgn_matrix_create(most > 0 ? MGN_MIN(most, w.visible) : w.visible, 3, &made));
    const mgn_status status = fill(image, &w, &made);
    if (status == MGN_OK)
        *palette = made;
    else
        mgn_matrix_free(&made);
    return status;
}
