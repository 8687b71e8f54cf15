/* Small pictures between rows of numbers and something to look at. */
#include <mgn/image_set.h>

#include <math.h>
#include <string.h>

#include "core/core.h"

void mgn_image_set_make_grey(mgn_image_set *set) {
    if (set->channels != 3) return;
    for (int64_t i = 0; i < set->count * set->height * set->width; i++) {
        uint8_t *p = set->pixels + 3 * i;
        p[0] = p[1] = p[2] = (uint8_t)((299 * p[0] + 587 * p[1] + 114 * p[2] + 500) / 1000);
    }
}

enum { GAP = 2, WHITE = 255 };

/* Where one picture of a grid goes. */
typedef struct cell {
    int64_t left, top, height, width, channels, zoom;
} cell;

static void paste(const float *row, const cell *c, mgn_image *grid) {
    for (int64_t y = 0; y < c->height * c->zoom; y++) {
        uint8_t *to = (uint8_t *)grid->pixels + ((c->top + y) * (int64_t)grid->width + c->left) * 3;
        for (int64_t x = 0; x < c->width * c->zoom; x++) {
            const float *from = row + (y / c->zoom * c->width + x / c->zoom) * c->channels;
            for (int64_t k = 0; k < 3; k++)
                to[3 * x + k] = (uint8_t)(255.0f * fminf(fmaxf(from[c->channels == 3 ? k : 0], 0), 1) + 0.5f);
        }
    }
}

mgn_status mgn_image_grid(const mgn_matrix *rows, int64_t height, int64_t width, int64_t across, int64_t zoom,
                          mgn_image **grid) {
    const int64_t side = 1 << 15; /* of anything that a grid consists of: their products cannot overflow */
    const bool is_sane = across >= 1 && across < side && zoom >= 1 && zoom < side && height >= 1 && height < side &&
                         width >= 1 && width < side && rows->rows >= 1 && rows->rows < side * side &&
                         (rows->columns == height * width || rows->columns == 3 * height * width);
    if (!is_sane)
        return mgn_fail(MGN_ERR_ARGUMENT,
                        "%lld rows of %lld numbers cannot be shown as pictures of %lld x %lld pixels, %lld across, "
                        "enlarged %lld times",
                        (long long)rows->rows, (long long)rows->columns, (long long)width, (long long)height,
                        (long long)across, (long long)zoom);
    for (int64_t i = 0; i < rows->rows * rows->columns; i++)
        if (isnan(rows->values[i]))
            return mgn_fail(MGN_ERR_NUMERIC, "picture %lld of the grid (counted from 0) holds a NaN",
                            (long long)(i / rows->columns));
    const int64_t lines = (rows->rows + across - 1) / across, step_x = width * zoom + GAP, step_y = height * zoom + GAP;
    mgn_image *made = NULL;
    MGN_TRY(mgn_image_create((size_t)(across * step_x + GAP), (size_t)(lines * step_y + GAP), 3, 8, &made));
    memset(made->pixels, WHITE, made->width * made->height * 3);
    for (int64_t i = 0; i < rows->rows; i++) {
        const cell c = {GAP + i % across * step_x,
                        GAP + i / across * step_y,
                        height,
                        width,
                        rows->columns / (height * width),
                        zoom};
        paste(rows->values + i * rows->columns, &c, made);
    }
    *grid = made;
    return MGN_OK;
}
