/* The moments of palettes, as targets of Gaussian losses. */
#include "recolor/recolor.h"

#include <string.h>

#include <mgn/ot.h>

#include "core/random.h"

/* Pixels of a target beyond which its moments are taken from a sample. */
#define MOST_TARGET_PIXELS ((int64_t)1 << 24)

const double mgn_rounding_variance = 1.0 / (12.0 * 255.0 * 255.0);

mgn_status mgn_colour_gaussian_of(const mgn_matrix *palette, mgn_colour_gaussian *gaussian) {
    return mgn_moments(palette->values, palette->rows, 3, palette->rows > 1, gaussian->mean, gaussian->covariance);
}

enum { DITHER_STREAM = 0x64697468, SAMPLE_STREAM = 0x73616d70 };

mgn_status mgn_palette_sample(const mgn_matrix *palette, int64_t most, uint64_t seed, mgn_matrix *rows) {
    const int64_t count = MGN_MIN(palette->rows, most);
    MGN_TRY(mgn_matrix_create(count, 3, rows));
    for (int64_t i = 0; i < count; i++) {
        const double place = count == palette->rows ? 0 : mgn_host_uniform(seed, SAMPLE_STREAM, (uint64_t)i);
        const int64_t from = (int64_t)(((double)i + place) / (double)count * (double)palette->rows);
        memcpy(rows->values + 3 * i, palette->values + 3 * MGN_MIN(from, palette->rows - 1), 3 * sizeof(float));
    }
    return MGN_OK;
}

mgn_status mgn_target_gaussian(const mgn_image *target, uint64_t seed, mgn_colour_gaussian *gaussian) {
    mgn_matrix palette = {0};
    MGN_TRY(mgn_image_palette(target, MOST_TARGET_PIXELS, seed, &palette));
    const mgn_status status = mgn_palette_gaussian(&palette, gaussian);
    mgn_matrix_free(&palette);
    return status;
}

mgn_status mgn_palette_gaussian(const mgn_matrix *target, mgn_colour_gaussian *gaussian) {
    MGN_TRY(mgn_colour_gaussian_of(target, gaussian));
    double *c = gaussian->covariance;
    for (size_t i = 0; i < 3; i++) c[4 * i] += mgn_rounding_variance;
    return MGN_OK;
}

void mgn_colour_dither(mgn_matrix *palette, uint64_t seed) {
    for (int64_t i = 0; i < 3 * palette->rows; i++)
        palette->values[i] += (float)((mgn_host_uniform(seed, DITHER_STREAM, (uint64_t)i) - 0.5) / 255);
}
