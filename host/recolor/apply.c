/* Applying a map to pictures. Coloured ones are worked off in bands of rows, so that a picture takes the memory of its
 * samples and not four times that; grey ones as a whole, since only the whole shows whether the result is grey. */
#include "recolor/recolor.h"

#include <stdio.h>

#include "core/parallel.h"
#include "image/codec.h"
#include "model/model.h"
#include "ot/ot.h"

enum { BAND_PIXELS = 1 << 20, FEW_PIXELS = 1 << 16, LANES = 2 };

static mgn_status apply_bands(const mgn_colouring *c, const mgn_image *source, mgn_image *result) {
    const size_t band = MGN_MAX((size_t)1, (size_t)BAND_PIXELS / source->width);
    const size_t most = MGN_MIN(band, source->height);
    float *rgb = mgn_alloc(most * source->width, 3 * sizeof *rgb);
    if (!rgb) return MGN_ERR_MEMORY;
    mgn_status status = MGN_OK;
    for (size_t y = 0; status == MGN_OK && y < source->height; y += band) {
        const size_t rows = MGN_MIN(band, source->height - y);
        mgn_image_rows_to_rgb(source, y, rows, rgb);
        status = c->floats(c->contexts[0], rgb, (int64_t)(rows * source->width), rgb);
        if (status == MGN_OK) status = mgn_image_rows_from_rgb(result, y, rows, rgb);
    }
    mgn_free(rgb);
    return status;
}

/* ---- bytes ---- */

/* Two memos where two threads may ask, else none. */
static mgn_status create_memos(const mgn_colouring *c, mgn_colour_memo *memos[LANES]) {
    mgn_status status = MGN_OK;
    for (int i = 0; i < LANES && c->contexts[1] && status == MGN_OK; i++)
        status = mgn_colour_memo_create(c->bytes, c->contexts[i], &memos[i]);
    return status;
}

static void destroy_memos(mgn_colour_memo *memos[LANES]) {
    for (int i = 0; i < LANES; i++) mgn_colour_memo_destroy(memos[i]);
}

/* A part of a picture for each memo. */
typedef struct lanes {
    mgn_colour_memo *memos[LANES];
    const unsigned char *from;
    unsigned char *to;
    int64_t pixels;
    mgn_status status[LANES];
    char sentences[LANES][1024]; /* of what failed: sentences belong to threads */
} lanes;

static void apply_lane(void *context, int64_t lane, int thread) {
    lanes *l = context;
    (void)thread;
    const int64_t first = mgn_part_start(l->pixels, lane, LANES), end = mgn_part_start(l->pixels, lane + 1, LANES);
    l->status[lane] =
        mgn_colour_memo_apply(l->memos[lane], l->from + 3 * first, (size_t)(end - first), l->to + 3 * first);
    if (l->status[lane] != MGN_OK) snprintf(l->sentences[lane], sizeof l->sentences[lane], "%s", mgn_last_error());
}

static mgn_status apply_to_bytes(const mgn_colouring *c, const mgn_image *source, mgn_image *result) {
    lanes l = {.from = source->pixels, .to = result->pixels, .pixels = (int64_t)(source->width * source->height)};
    if (!c->contexts[1] || l.pixels < FEW_PIXELS) return c->bytes(c->contexts[0], l.from, l.pixels, l.to);
    mgn_status status = create_memos(c, l.memos);
    if (status == MGN_OK) mgn_parallel(mgn_threads(), LANES, apply_lane, &l);
    for (int i = 0; i < LANES && status == MGN_OK; i++)
        if (l.status[i] != MGN_OK) status = mgn_fail(l.status[i], "%s", l.sentences[i]);
    destroy_memos(l.memos);
    return status;
}

/* ---- pictures ---- */

static mgn_status apply_to_colour(const mgn_colouring *c, const mgn_image *source, mgn_image **result) {
    mgn_image *made = NULL;
    MGN_TRY(mgn_image_clone_colour(source, &made));
    const bool bytes = source->channels == 3 && source->depth == 8;
    const mgn_status status = bytes ? apply_to_bytes(c, source, made) : apply_bands(c, source, made);
    if (status == MGN_OK)
        *result = made;
    else
        mgn_image_destroy(made);
    return status;
}

static mgn_status apply_to_grey(const mgn_colouring *c, const mgn_image *source, mgn_image **result) {
    const size_t pixels = source->width * source->height;
    float *rgb = mgn_alloc(pixels, 3 * sizeof *rgb);
    if (!rgb) return MGN_ERR_MEMORY;
    mgn_image_to_rgb(source, rgb);
    mgn_status status = c->floats(c->contexts[0], rgb, (int64_t)pixels, rgb);
    if (status == MGN_OK) status = mgn_image_with_rgb(source, rgb, result);
    mgn_free(rgb);
    return status;
}

mgn_status mgn_colouring_apply(const mgn_colouring *c, const mgn_image *source, mgn_image **result) {
    return source->channels <= 2 ? apply_to_grey(c, source, result) : apply_to_colour(c, source, result);
}

/* ---- from file to file ---- */

static mgn_status change_by_memo(void *memo, const unsigned char *from, size_t pixels, unsigned char *to) {
    return mgn_colour_memo_apply(memo, from, pixels, to);
}

static mgn_status change_all(void *colouring, const unsigned char *from, size_t pixels, unsigned char *to) {
    const mgn_colouring *c = colouring;
    return c->bytes(c->contexts[0], from, (int64_t)pixels, to);
}

/* From `source`, or from the picture in memory `image`; `written` stays NULL where this cannot go in bands. */
static mgn_status stream(const mgn_colouring *c, const char *source, const mgn_image *image, const char *target,
                         const mgn_image_write_options *options, size_t *width, size_t *height,
                         mgn_output_file **written) {
    mgn_colouring whole = *c;
    mgn_colour_memo *memos[LANES] = {NULL};
    mgn_status status = create_memos(c, memos);
    void *const contexts[] = {memos[0] ? (void *)memos[0] : &whole, memos[1]};
    mgn_band_function *change = memos[0] ? change_by_memo : change_all;
    if (status == MGN_OK)
        status = image ? mgn_image_stream_from(image, target, options, change, contexts, written)
                       : mgn_image_stream(source, target, options, change, contexts, width, height, written);
    destroy_memos(memos);
    return status;
}

static mgn_status prepare_image(const mgn_colouring *c, const mgn_image *source, const char *target,
                                const mgn_image_write_options *options, mgn_output_file **written) {
    mgn_image *after = NULL;
    MGN_TRY(mgn_colouring_apply(c, source, &after));
    const mgn_status status = mgn_image_prepare(after, target, options, written);
    mgn_image_destroy(after);
    return status;
}

mgn_status mgn_colouring_prepare(const mgn_colouring *c, const char *source, const char *target,
                                 const mgn_image_write_options *options, size_t *width, size_t *height,
                                 mgn_output_file **written) {
    mgn_image *image = NULL;
    MGN_TRY(stream(c, source, NULL, target, options, width, height, written));
    if (*written) return MGN_OK;
    MGN_TRY(mgn_image_read(source, &image));
    *width = image->width;
    *height = image->height;
    const mgn_status status = prepare_image(c, image, target, options, written);
    mgn_image_destroy(image);
    return status;
}

/* ---- maps ---- */

mgn_status mgn_check_colour_dimension(int64_t d) {
    if (d == 3) return MGN_OK;
    return mgn_fail(MGN_ERR_ARGUMENT, "a map of colours has d = 3; this one has d = %lld", (long long)d);
}

static mgn_status map_floats(void *map, const float *x, int64_t n, float *y) { return mgn_map_apply(map, x, n, y); }
static mgn_status map_bytes(void *map, const uint8_t *x, int64_t n, uint8_t *y) {
    return mgn_map_apply_bytes(map, x, n, y);
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

/* The second context is a twin of the map, for the caller to destroy. */
static mgn_status open_map(mgn_map *map, mgn_colouring *colouring) {
    mgn_map *twin = NULL;
    MGN_TRY(mgn_check_colour_dimension(mgn_map_dimension(map)));
    MGN_TRY(check_finite(map));
    MGN_TRY(mgn_map_twin(map, &twin));
    *colouring = (mgn_colouring){map_floats, map_bytes, {map, twin}};
    return MGN_OK;
}

mgn_status mgn_recolor_apply(mgn_map *map, const mgn_image *source, mgn_image **result) {
    mgn_colouring c;
    MGN_TRY(open_map(map, &c));
    const mgn_status status = mgn_colouring_apply(&c, source, result);
    mgn_map_destroy(c.contexts[1]);
    return status;
}

mgn_status mgn_recolor_prepare(mgn_map *map, const char *source, const char *target,
                               const mgn_image_write_options *options, size_t *width, size_t *height,
                               mgn_output_file **written) {
    mgn_colouring c;
    MGN_TRY(open_map(map, &c));
    const mgn_status status = mgn_colouring_prepare(&c, source, target, options, width, height, written);
    mgn_map_destroy(c.contexts[1]);
    return status;
}

mgn_status mgn_recolor_prepare_image(mgn_map *map, const mgn_image *source, const char *target,
                                     const mgn_image_write_options *options, mgn_output_file **written) {
    mgn_colouring c;
    MGN_TRY(open_map(map, &c));
    mgn_status status = stream(&c, NULL, source, target, options, NULL, NULL, written);
    if (status == MGN_OK && !*written) status = prepare_image(&c, source, target, options, written);
    mgn_map_destroy(c.contexts[1]);
    return status;
}

mgn_status mgn_recolor_file(mgn_map *map, const char *source, const char *target,
                            const mgn_image_write_options *options, size_t *width, size_t *height) {
    mgn_output_file *output = NULL;
    MGN_TRY(mgn_recolor_prepare(map, source, target, options, width, height, &output));
    return mgn_output_commit(output);
}
