/* Arithmetic on pixels: samples to colours and back, turning upright, resizing. Loops run over rows in parallel, and
 * every row is computed alone, so that the result does not depend on the thread count. The inner loops get channel
 * counts as constants (forced inlining), which is what lets the compiler vectorise them. */
#include "image/codec.h"

#include <math.h>
#include <stdatomic.h>
#include <string.h>

#include "core/parallel.h"

#define INLINE static inline __attribute__((always_inline))

enum { PARALLEL_PIXELS = 1 << 14, TILE = 32 };

static int threads_for(size_t pixels) { return pixels < PARALLEL_PIXELS ? 1 : mgn_threads(); }

/* ---- samples to colours ---- */

INLINE void to_rgb_8(const uint8_t *samples, size_t channels, size_t count, float *rgb) {
    if (channels == 3) {
#pragma omp simd
        for (size_t i = 0; i < 3 * count; i++) rgb[i] = (float)samples[i] / 255.0f;
        return;
    }
    const size_t green = channels >= 3 ? 1 : 0, blue = channels >= 3 ? 2 : 0;
#pragma omp simd
    for (size_t i = 0; i < count; i++) {
        rgb[3 * i] = (float)samples[i * channels] / 255.0f;
        rgb[3 * i + 1] = (float)samples[i * channels + green] / 255.0f;
        rgb[3 * i + 2] = (float)samples[i * channels + blue] / 255.0f;
    }
}

INLINE void to_rgb_16(const uint16_t *samples, size_t channels, size_t count, float *rgb) {
    if (channels == 3) {
#pragma omp simd
        for (size_t i = 0; i < 3 * count; i++) rgb[i] = (float)samples[i] / 65535.0f;
        return;
    }
    const size_t green = channels >= 3 ? 1 : 0, blue = channels >= 3 ? 2 : 0;
#pragma omp simd
    for (size_t i = 0; i < count; i++) {
        rgb[3 * i] = (float)samples[i * channels] / 65535.0f;
        rgb[3 * i + 1] = (float)samples[i * channels + green] / 65535.0f;
        rgb[3 * i + 2] = (float)samples[i * channels + blue] / 65535.0f;
    }
}

static void row_to_rgb(const mgn_image *image, size_t y, float *rgb) {
    const void *row = (const unsigned char *)image->pixels + y * mgn_image_row_bytes(image);
    const size_t count = image->width;
    if (image->depth == 8) {
        switch (image->channels) {
        case 1: to_rgb_8(row, 1, count, rgb); break;
        case 2: to_rgb_8(row, 2, count, rgb); break;
        case 3: to_rgb_8(row, 3, count, rgb); break;
        default: to_rgb_8(row, 4, count, rgb); break;
        }
    } else {
        switch (image->channels) {
        case 1: to_rgb_16(row, 1, count, rgb); break;
        case 2: to_rgb_16(row, 2, count, rgb); break;
        case 3: to_rgb_16(row, 3, count, rgb); break;
        default: to_rgb_16(row, 4, count, rgb); break;
        }
    }
}

typedef struct rows_to_rgb {
    const mgn_image *image;
    size_t first_row;
    float *rgb;
} rows_to_rgb;

static void one_row_to_rgb(void *context, int64_t row, int thread) {
    (void)thread;
    const rows_to_rgb *r = context;
    row_to_rgb(r->image, r->first_row + (size_t)row, r->rgb + (size_t)row * r->image->width * 3);
}

void mgn_image_rows_to_rgb(const mgn_image *image, size_t first_row, size_t rows, float *rgb) {
    mgn_parallel(threads_for(rows * image->width), (int64_t)rows, one_row_to_rgb,
                 &(rows_to_rgb){image, first_row, rgb});
}

void mgn_image_to_rgb(const mgn_image *image, float *rgb) { mgn_image_rows_to_rgb(image, 0, image->height, rgb); }

/* ---- colours to samples ---- */

/* Clips and rounds; a NaN compares false and becomes 0, its report is the caller's business. */
INLINE int32_t quantise(float value, float scale) {
    const float low = value > 0.0f ? value : 0.0f;
    return (int32_t)((low < 1.0f ? low : 1.0f) * scale + 0.5f);
}

INLINE void from_rgb_8(const float *rgb, size_t channels, size_t count, uint8_t *samples) {
    if (channels == 3) {
#pragma omp simd
        for (size_t i = 0; i < 3 * count; i++) samples[i] = (uint8_t)quantise(rgb[i], 255.0f);
        return;
    }
#pragma omp simd
    for (size_t i = 0; i < count; i++) {
        samples[4 * i] = (uint8_t)quantise(rgb[3 * i], 255.0f);
        samples[4 * i + 1] = (uint8_t)quantise(rgb[3 * i + 1], 255.0f);
        samples[4 * i + 2] = (uint8_t)quantise(rgb[3 * i + 2], 255.0f);
    }
}

INLINE void from_rgb_16(const float *rgb, size_t channels, size_t count, uint16_t *samples) {
    if (channels == 3) {
#pragma omp simd
        for (size_t i = 0; i < 3 * count; i++) samples[i] = (uint16_t)quantise(rgb[i], 65535.0f);
        return;
    }
#pragma omp simd
    for (size_t i = 0; i < count; i++) {
        samples[4 * i] = (uint16_t)quantise(rgb[3 * i], 65535.0f);
        samples[4 * i + 1] = (uint16_t)quantise(rgb[3 * i + 1], 65535.0f);
        samples[4 * i + 2] = (uint16_t)quantise(rgb[3 * i + 2], 65535.0f);
    }
}

/* Grey out: the first of three equal colours. */
static void grey_from_rgb(const mgn_image *image, const float *rgb, void *row) {
    const size_t channels = (size_t)image->channels;
    uint8_t *samples8 = row;
    uint16_t *samples16 = row;
    for (size_t i = 0; i < image->width; i++) {
        if (image->depth == 8)
            samples8[i * channels] = (uint8_t)quantise(rgb[3 * i], 255.0f);
        else
            samples16[i * channels] = (uint16_t)quantise(rgb[3 * i], 65535.0f);
    }
}

static void row_from_rgb(mgn_image *image, size_t y, const float *rgb) {
    void *row = (unsigned char *)image->pixels + y * mgn_image_row_bytes(image);
    if (image->channels <= 2)
        grey_from_rgb(image, rgb, row);
    else if (image->depth == 8 && image->channels == 3)
        from_rgb_8(rgb, 3, image->width, row);
    else if (image->depth == 8)
        from_rgb_8(rgb, 4, image->width, row);
    else if (image->channels == 3)
        from_rgb_16(rgb, 3, image->width, row);
    else
        from_rgb_16(rgb, 4, image->width, row);
}

/* NaNs in a row; counting (and not looking for the first) keeps the loop free of branches. */
static size_t count_nan(const float *values, size_t count) {
    unsigned found = 0;
#pragma omp simd reduction(+ : found)
    for (size_t i = 0; i < count; i++) found += values[i] != values[i];
    return found;
}

static mgn_status report_nan(const mgn_image *image, size_t first_row, size_t rows, const float *rgb) {
    const size_t count = rows * image->width * 3;
    for (size_t i = 0; i < count; i++) {
        if (!isnan(rgb[i])) continue;
        const size_t x = i / 3 % image->width, y = first_row + i / 3 / image->width;
        return mgn_fail(MGN_ERR_NUMERIC, "the colour of pixel (%zu, %zu) is not a number in its %s channel", x, y,
                        (const char *const[]){"red", "green", "blue"}[i % 3]);
    }
    return MGN_OK;
}

typedef struct rows_from_rgb_job {
    mgn_image *image;
    size_t first_row;
    const float *rgb;
    atomic_bool bad;
} rows_from_rgb_job;

static void one_row_from_rgb(void *context, int64_t row, int thread) {
    (void)thread;
    rows_from_rgb_job *r = context;
    const size_t row_values = r->image->width * 3;
    const float *rgb = r->rgb + (size_t)row * row_values;
    row_from_rgb(r->image, r->first_row + (size_t)row, rgb);
    if (count_nan(rgb, row_values)) atomic_store(&r->bad, true);
}

static mgn_status rows_from_rgb(mgn_image *image, size_t first_row, size_t rows, const float *rgb) {
    rows_from_rgb_job job = {.image = image, .first_row = first_row, .rgb = rgb};
    mgn_parallel(threads_for(rows * image->width), (int64_t)rows, one_row_from_rgb, &job);
    return atomic_load(&job.bad) ? report_nan(image, first_row, rows, rgb) : MGN_OK;
}

mgn_status mgn_image_rows_from_rgb(mgn_image *image, size_t first_row, size_t rows, const float *rgb) {
    if (image->channels < 3)
        return mgn_fail(MGN_ERR_ARGUMENT,
                        "colours cannot be put into a grey picture; mgn_image_with_rgb makes one that takes them");
    return rows_from_rgb(image, first_row, rows, rgb);
}

mgn_status mgn_image_from_rgb(mgn_image *image, const float *rgb) {
    return mgn_image_rows_from_rgb(image, 0, image->height, rgb);
}

/* Whether all colours are grey once they are rounded to `depth` bits. */
static bool is_grey(const float *rgb, size_t count, int depth) {
    const float scale = depth == 8 ? 255.0f : 65535.0f;
    for (size_t i = 0; i < count; i++) {
        const int32_t red = quantise(rgb[3 * i], scale);
        if (quantise(rgb[3 * i + 1], scale) != red || quantise(rgb[3 * i + 2], scale) != red) return false;
    }
    return true;
}

mgn_status mgn_image_with_rgb(const mgn_image *source, const float *rgb, mgn_image **image) {
    mgn_image *made = NULL;
    if (source->channels <= 2 && is_grey(rgb, source->width * source->height, source->depth)) {
        MGN_TRY(mgn_image_clone_layout(source, &made));
        if (source->channels == 2) memcpy(made->pixels, source->pixels, source->height * mgn_image_row_bytes(source));
    } else {
        MGN_TRY(mgn_image_clone_colour(source, &made));
    }
    mgn_status status = rows_from_rgb(made, 0, made->height, rgb);
    if (status != MGN_OK) {
        mgn_image_destroy(made);
        return status;
    }
    *image = made;
    return MGN_OK;
}

void mgn_image_pack_row8(const mgn_image *image, const void *row, unsigned char *packed) {
    const size_t kept = image->channels >= 3 ? 3 : 1, step = (size_t)image->channels;
    const uint8_t *samples8 = row;
    const uint16_t *samples16 = row;
    if (image->depth == 8) {
        for (size_t i = 0; i < image->width; i++)
            for (size_t c = 0; c < kept; c++) packed[i * kept + c] = samples8[i * step + c];
    } else {
        /* 65535 / 255 = 257: adding half of it rounds to nearest. */
        for (size_t i = 0; i < image->width; i++)
            for (size_t c = 0; c < kept; c++) packed[i * kept + c] = (uint8_t)((samples16[i * step + c] + 128u) / 257u);
    }
}

/* ---- turning ---- */

/* Pixel (x, y) of the upright picture is the stored pixel origin + x * right + y * down. */
typedef struct walk {
    ptrdiff_t origin, right, down;
} walk;

static walk walk_of(int orientation, ptrdiff_t width, ptrdiff_t height) {
    const ptrdiff_t last_column = width - 1, last_row = (height - 1) * width;
    switch (orientation) {
    case 2: return (walk){last_column, -1, width};             /* mirrored */
    case 3: return (walk){last_row + last_column, -1, -width}; /* upside down */
    case 4: return (walk){last_row, 1, -width};                /* mirrored upside down */
    case 5: return (walk){0, width, 1};                        /* transposed */
    case 6: return (walk){last_row, -width, 1};                /* to be turned right */
    case 7: return (walk){last_row + last_column, -width, -1}; /* transposed about the other diagonal */
    case 8: return (walk){last_column, width, -1};             /* to be turned left */
    default: return (walk){0, 1, width};
    }
}

INLINE void turn_tile(const unsigned char *from, unsigned char *to, size_t size, walk w, size_t width, size_t x0,
                      size_t x1, size_t y0, size_t y1) {
    for (size_t y = y0; y < y1; y++)
        for (size_t x = x0; x < x1; x++) {
            const ptrdiff_t source = w.origin + (ptrdiff_t)x * w.right + (ptrdiff_t)y * w.down;
            memcpy(to + (y * width + x) * size, from + (size_t)source * size, size);
        }
}

typedef struct turning {
    const unsigned char *from;
    unsigned char *to;
    size_t size; /* bytes of a pixel */
    walk w;
    size_t width, height; /* of the upright picture */
} turning;

/* Square tiles, so that a transposition uses the whole of every cache line that it loads. */
static void turn_tiles(void *context, int64_t row, int thread) {
    (void)thread;
    const turning *t = context;
    const size_t width = t->width, y = (size_t)row * TILE, y1 = MGN_MIN(y + TILE, t->height);
    for (size_t x = 0; x < width; x += TILE) {
        const size_t x1 = MGN_MIN(x + TILE, width);
        switch (t->size) {
        case 1: turn_tile(t->from, t->to, 1, t->w, width, x, x1, y, y1); break;
        case 2: turn_tile(t->from, t->to, 2, t->w, width, x, x1, y, y1); break;
        case 3: turn_tile(t->from, t->to, 3, t->w, width, x, x1, y, y1); break;
        case 4: turn_tile(t->from, t->to, 4, t->w, width, x, x1, y, y1); break;
        case 6: turn_tile(t->from, t->to, 6, t->w, width, x, x1, y, y1); break;
        default: turn_tile(t->from, t->to, 8, t->w, width, x, x1, y, y1); break;
        }
    }
}

static void swap_axes(mgn_image_metadata *metadata) {
    const uint32_t density = metadata->density_x;
    metadata->density_x = metadata->density_y;
    metadata->density_y = density;
    for (int i = 0; i < 3; i++) {
        const int sample = metadata->sample_h[i];
        metadata->sample_h[i] = metadata->sample_v[i];
        metadata->sample_v[i] = sample;
    }
}

mgn_status mgn_image_upright(mgn_image *image) {
    if (image->orientation <= 1 || image->orientation > 8) return MGN_OK;
    const bool swapped = image->orientation >= 5;
    const size_t width = swapped ? image->height : image->width, height = swapped ? image->width : image->height;
    const size_t size = (size_t)image->channels * mgn_image_sample_bytes(image);
    unsigned char *pixels = mgn_alloc(width * height, size);
    if (!pixels) return MGN_ERR_MEMORY;
    const walk w = walk_of(image->orientation, (ptrdiff_t)image->width, (ptrdiff_t)image->height);
    mgn_parallel(threads_for(width * height), (int64_t)((height + TILE - 1) / TILE), turn_tiles,
                 &(turning){image->pixels, pixels, size, w, width, height});
    mgn_free(image->pixels);
    image->pixels = pixels;
    image->width = width;
    image->height = height;
    image->orientation = 1;
    mgn_metadata_set_upright(image->metadata);
    if (swapped) swap_axes(image->metadata);
    return MGN_OK;
}

/* ---- resizing ---- */

static void set_sample(mgn_image *image, size_t index, float value) {
    if (image->depth == 8)
        ((uint8_t *)image->pixels)[index] = (uint8_t)(value + 0.5f);
    else
        ((uint16_t *)image->pixels)[index] = (uint16_t)(value + 0.5f);
}

/* How much of [from, to) lies in the unit cell that starts at `cell`. */
static float overlap(double from, double to, size_t cell) {
    const double low = fmax(from, (double)cell), high = fmin(to, (double)cell + 1.0);
    return high > low ? (float)(high - low) : 0.0f;
}

/* Adds a row of samples to the columns, colours times alpha where there is alpha. */
INLINE void add_row(const mgn_image *source, size_t y, float weight, bool deep, bool alpha, float *columns) {
    const size_t channels = (size_t)source->channels, values = source->width * channels;
    const uint8_t *row8 = (const uint8_t *)source->pixels + y * values;
    const uint16_t *row16 = (const uint16_t *)source->pixels + y * values;
    if (!alpha) {
        for (size_t i = 0; i < values; i++) columns[i] += weight * (deep ? (float)row16[i] : (float)row8[i]);
        return;
    }
    for (size_t i = 0; i < values; i += channels) {
        const size_t last = i + channels - 1;
        const float opacity = weight * (deep ? (float)row16[last] : (float)row8[last]);
        for (size_t c = i; c < last; c++) columns[c] += opacity * (deep ? (float)row16[c] : (float)row8[c]);
        columns[last] += opacity;
    }
}

/* columns[i] = the weighted sum of sample i over the source rows [from, to) that a target row covers. */
static void sum_rows(const mgn_image *source, double from, double to, float *columns) {
    const bool deep = source->depth == 16, alpha = source->channels % 2 == 0;
    memset(columns, 0, source->width * (size_t)source->channels * sizeof *columns);
    for (size_t y = (size_t)from; y < source->height && (double)y < to; y++) {
        const float weight = overlap(from, to, y);
        if (deep && alpha)
            add_row(source, y, weight, true, true, columns);
        else if (deep)
            add_row(source, y, weight, true, false, columns);
        else if (alpha)
            add_row(source, y, weight, false, true, columns);
        else
            add_row(source, y, weight, false, false, columns);
    }
}

/* One target pixel from the columns; `area` is what a pixel covers. */
static void mean_columns(const float *columns, double from, double to, float area, mgn_image *target, size_t index) {
    const size_t channels = (size_t)target->channels;
    float sum[4] = {0};
    for (size_t x = (size_t)from; (double)x < to; x++) {
        const float weight = overlap(from, to, x);
        for (size_t c = 0; c < channels; c++) sum[c] += weight * columns[x * channels + c];
    }
    const float limit = target->depth == 8 ? 255.0f : 65535.0f, alpha = sum[channels - 1];
    for (size_t c = 0; c < channels; c++) {
        const bool weighted = channels % 2 == 0 && c != channels - 1;
        const float divisor = weighted ? alpha : area;
        set_sample(target, index + c, divisor > 0.0f ? fminf(sum[c] / divisor, limit) : 0.0f);
    }
}

/* The layout that mgn_image_resize fills: metadata and orientation of the source, another size. */
static mgn_status resized_layout(const mgn_image *source, size_t width, size_t height, mgn_image **target) {
    mgn_image *made = NULL;
    MGN_TRY(mgn_image_create(width, height, source->channels, source->depth, &made));
    mgn_metadata_destroy(made->metadata);
    made->metadata = mgn_metadata_clone(source->metadata);
    made->orientation = source->orientation;
    if (!made->metadata) {
        mgn_image_destroy(made);
        return MGN_ERR_MEMORY;
    }
    *target = made;
    return MGN_OK;
}

typedef struct resizing {
    const mgn_image *image;
    mgn_image *target;
    float *scratch; /* a row of the source for each thread */
} resizing;

static void resize_row(void *context, int64_t row, int thread) {
    const resizing *r = context;
    const mgn_image *image = r->image;
    const size_t channels = (size_t)image->channels, y = (size_t)row, width = r->target->width;
    const double across = (double)image->width / (double)width,
                 down = (double)image->height / (double)r->target->height;
    const float area = (float)(across * down);
    float *columns = r->scratch + (size_t)thread * image->width * channels;
    sum_rows(image, (double)y * down, fmin((double)(y + 1) * down, (double)image->height), columns);
    for (size_t x = 0; x < width; x++)
        mean_columns(columns, (double)x * across, fmin((double)(x + 1) * across, (double)image->width), area, r->target,
                     (y * width + x) * channels);
}

mgn_status mgn_image_resize(const mgn_image *image, size_t width, size_t height, mgn_image **resized) {
    mgn_image *target = NULL;
    MGN_TRY(resized_layout(image, width, height, &target));
    const int threads = threads_for(image->width * image->height);
    float *scratch = mgn_alloc_aligned((size_t)threads * image->width * (size_t)image->channels, sizeof *scratch);
    if (!scratch) {
        mgn_image_destroy(target);
        return MGN_ERR_MEMORY;
    }
    mgn_parallel(threads, (int64_t)height, resize_row, &(resizing){image, target, scratch});
    mgn_free(scratch);
    *resized = target;
    return MGN_OK;
}
