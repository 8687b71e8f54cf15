/* The memory of image sets, and their way to rows of floats. */
#include <mgn/image_set.h>

#include "core/core.h"

mgn_status mgn_image_set_create(int64_t count, int64_t height, int64_t width, int64_t channels, mgn_image_set *set) {
    int64_t bytes;
    if (!set || count < 1 || height < 1 || width < 1 || channels < 1 || __builtin_mul_overflow(height, width, &bytes) ||
        __builtin_mul_overflow(bytes, channels, &bytes) || __builtin_mul_overflow(bytes, count, &bytes) ||
        bytes > INT64_MAX / 8)
        return mgn_fail(MGN_ERR_ARGUMENT,
                        "an image set needs at least one picture of one pixel and must be addressable, not %lld of "
                        "%lld x %lld x %lld",
                        (long long)count, (long long)height, (long long)width, (long long)channels);
    uint8_t *pixels = mgn_alloc((size_t)bytes, 1);
    if (!pixels) return MGN_ERR_MEMORY;
    *set = (mgn_image_set){count, height, width, channels, pixels, NULL};
    return MGN_OK;
}

void mgn_image_set_free(mgn_image_set *set) {
    if (!set) return;
    mgn_free(set->pixels);
    mgn_free(set->labels);
    *set = (mgn_image_set){0};
}

mgn_status mgn_image_set_rows(const mgn_image_set *set, mgn_matrix *rows) {
    if (!set || !set->pixels || !rows)
        return mgn_fail(MGN_ERR_ARGUMENT, "rows of an image set need the set and a place for them, not NULL");
    MGN_TRY(mgn_matrix_create(set->count, set->height * set->width * set->channels, rows));
    for (int64_t i = 0; i < rows->rows * rows->columns; i++) rows->values[i] = (float)set->pixels[i] / 255;
    return MGN_OK;
}
