/* Tables of colours on pictures. A cube is interpolated over the tetrahedron that a colour lies in: from the node below it
 * along the channels in the order of their shares to the node above, which keeps greys grey and straight edges straight;
 * ffmpeg and most editors do the same. A curve is interpolated linearly. */
#include <math.h>

#include "core/parallel.h"
#include "recolor/lut.h"

enum { CHUNK = 4096 };

/* A table on its way to pictures: how far its colours are taken, from 0 (the source's) to 1. */
typedef struct painter {
    const mgn_lut *lut;
    float strength;
} painter;

/* The cell of a value and its share in it. */
static int64_t find_cell(const mgn_lut *lut, int j, float x, float *share) {
    const double place = ((double)x - lut->low[j]) / (lut->high[j] - lut->low[j]) * (lut->size - 1);
    const double inside = fmin(fmax(place, 0), lut->size - 1);
    const int64_t cell = MGN_MIN((int64_t)inside, lut->size - 2);
    *share = (float)(inside - (double)cell);
    return cell;
}

static void on_curve(const mgn_lut *lut, const float x[3], float y[3]) {
    for (int j = 0; j < 3; j++) {
        float share;
        const float *node = lut->values + 3 * find_cell(lut, j, x[j], &share) + j;
        y[j] = node[0] + share * (node[3] - node[0]);
    }
}

static void in_cube(const mgn_lut *lut, const float x[3], float y[3]) {
    const int64_t size = lut->size, strides[3] = {3, 3 * size, 3 * size * size};
    float share[3];
    int order[3] = {0, 1, 2};
    const float *node = lut->values;
    for (int j = 0; j < 3; j++) node += strides[j] * find_cell(lut, j, x[j], &share[j]);
    for (int i = 1; i < 3; i++) /* the largest share first */
        for (int k = i; k > 0 && share[order[k]] > share[order[k - 1]]; k--) {
            const int swap = order[k];
            order[k] = order[k - 1];
            order[k - 1] = swap;
        }
    for (int j = 0; j < 3; j++) y[j] = (1 - share[order[0]]) * node[j];
    for (int i = 0; i < 3; i++) {
        const float weight = share[order[i]] - (i < 2 ? share[order[i + 1]] : 0);
        node += strides[order[i]];
        for (int j = 0; j < 3; j++) y[j] += weight * node[j];
    }
}

static void look_up(const painter *p, const float x[3], float y[3]) {
    float found[3];
    (p->lut->dimensions == 1 ? on_curve : in_cube)(p->lut, x, found);
    for (int j = 0; j < 3; j++) y[j] = x[j] + p->strength * (found[j] - x[j]);
}

typedef struct rows {
    const painter *painter;
    const float *x;
    float *y;
    int64_t n;
} rows;

static void paint_chunk(void *context, int64_t chunk, int thread) {
    const rows *r = context;
    (void)thread;
    for (int64_t i = chunk * CHUNK; i < MGN_MIN(r->n, (chunk + 1) * CHUNK); i++)
        look_up(r->painter, r->x + 3 * i, r->y + 3 * i);
}

static mgn_status paint_floats(void *context, const float *x, int64_t n, float *y) {
    rows r = {context, x, y, n};
    mgn_parallel(mgn_threads(), (n + CHUNK - 1) / CHUNK, paint_chunk, &r);
    return mgn_interrupted() ? mgn_fail(MGN_ERR_INTERRUPTED, "interrupted") : MGN_OK;
}

static mgn_status paint_bytes(void *context, const uint8_t *x, int64_t n, uint8_t *y) {
    for (int64_t i = 0; i < 3 * n; i += 3) {
        const float from[3] = {(float)x[i] / 255, (float)x[i + 1] / 255, (float)x[i + 2] / 255};
        float to[3];
        look_up(context, from, to);
        for (int64_t j = 0; j < 3; j++) y[i + j] = (uint8_t)lrintf(255 * fminf(fmaxf(to[j], 0), 1));
    }
    return mgn_interrupted() ? mgn_fail(MGN_ERR_INTERRUPTED, "interrupted") : MGN_OK;
}

static mgn_status check_strength(double strength) {
    if (strength >= 0 && strength <= 1) return MGN_OK;
    return mgn_fail(MGN_ERR_ARGUMENT, "a strength from 0 to 1 was expected, %g found", strength);
}

mgn_status mgn_lut_colours(const mgn_lut *lut, double strength, const float *x, int64_t n, float *y) {
    painter p = {lut, (float)strength};
    MGN_TRY(check_strength(strength));
    return paint_floats(&p, x, n, y);
}

mgn_status mgn_lut_apply(const mgn_lut *lut, double strength, const mgn_image *source, mgn_image **result) {
    painter p = {lut, (float)strength};
    MGN_TRY(check_strength(strength));
    return mgn_colouring_apply(&(mgn_colouring){paint_floats, paint_bytes, {&p, &p}}, source, result);
}

mgn_status mgn_lut_file(const mgn_lut *lut, double strength, const char *source, const char *target,
                        const mgn_image_write_options *options, size_t *width, size_t *height) {
    painter p = {lut, (float)strength};
    mgn_output_file *output = NULL;
    MGN_TRY(check_strength(strength));
    MGN_TRY(mgn_colouring_prepare(&(mgn_colouring){paint_floats, paint_bytes, {&p, &p}}, source, target, options, width,
                                  height, &output));
    return mgn_output_commit(output);
}
