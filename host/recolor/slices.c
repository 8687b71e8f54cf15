/* The squared sliced 2-Wasserstein distance of palettes. Colours lie in a cube, so a projection's order is found by
 * counting: a bin's width is .0005 of the cube's side, and what that moves a colour by is far below a level of 8 bits.
 * Directions are spread evenly over the half sphere by the golden angle, over which a smooth mean converges much faster
 * than over random ones: 32 are closer to the limit than 256 at random. */
#include <math.h>
#include <string.h>

#include "core/parallel.h"
#include "recolor/recolor.h"

enum { DIRECTIONS = 32, BINS = 4096, BLOCK = 512, CLOUDS = 3 };

/* Of more colours than this every second, third ... counts: palettes are spread evenly over pictures. */
enum { MOST_COLOURS = 1 << 15 };

typedef struct slices {
    const mgn_matrix *clouds[CLOUDS]; /* source, mapped, target */
    double before[DIRECTIONS], after[DIRECTIONS];
} slices;

void mgn_half_sphere_direction(int64_t k, int64_t count, double w[3]) {
    const double height = 1 - ((double)k + 0.5) / (double)count;
    const double angle = 3.14159265358979323846 * (1 + sqrt(5)) * ((double)k + 0.5), radius = sqrt(1 - height * height);
    w[0] = cos(angle) * radius;
    w[1] = sin(angle) * radius;
    w[2] = height;
}

/* How many colours of a cloud count, and the distance from one to the next. */
static int64_t stride_of(const mgn_matrix *cloud) { return (cloud->rows + MOST_COLOURS - 1) / MOST_COLOURS; }
static int64_t count_of(const mgn_matrix *cloud) { return (cloud->rows - 1) / stride_of(cloud) + 1; }

/* How many colours fall into each bin along w; the cube's corners lie at `low` and low + width. */
static void count_colours(const mgn_matrix *cloud, const double w[3], double low, double width, uint32_t *bins) {
    const float scale = (float)(BINS / width), a = (float)w[0] * scale, b = (float)w[1] * scale,
                c = (float)w[2] * scale;
    const float shift = (float)-low * scale;
    const int64_t step = 3 * stride_of(cloud), colours = count_of(cloud);
    memset(bins, 0, BINS * sizeof *bins);
    for (int64_t start = 0; start < colours; start += BLOCK) {
        const int64_t count = MGN_MIN(BLOCK, colours - start);
        const float *x = cloud->values + step * start;
        int32_t bin[BLOCK];
        for (int64_t i = 0; i < count; i++) {
            const float at = a * x[step * i] + b * x[step * i + 1] + c * x[step * i + 2] + shift;
            bin[i] = (int32_t)MGN_MIN(MGN_MAX(at, 0.0f), BINS - 1.0f);
        }
        for (int64_t i = 0; i < count; i++) bins[bin[i]]++;
    }
}

/* Integral of the squared difference of both quantile functions, in bins. Time runs in units of 1 / (n m), in whole
 * numbers. Within a bin colours are taken as evenly spread; where both functions pass through bins together the square's
 * mean is that of a straight line's. */
static double integrate(const uint32_t *x, int64_t n, const uint32_t *y, int64_t m) {
    int64_t now = 0, x_end = 0, y_end = 0, i = -1, j = -1;
    double sum = 0, x_at = 0, y_at = 0, x_rate = 0, y_rate = 0;
    while (now < n * m) {
        while (x_end == now) {
            const int64_t length = (int64_t)x[++i] * m;
            x_end += length;
            x_at = (double)i;
            x_rate = length ? 1 / (double)length : 0;
        }
        while (y_end == now) {
            const int64_t length = (int64_t)y[++j] * n;
            y_end += length;
            y_at = (double)j;
            y_rate = length ? 1 / (double)length : 0;
        }
        const double step = (double)(MGN_MIN(x_end, y_end) - now), from = x_at - y_at;
        x_at += step * x_rate;
        y_at += step * y_rate;
        const double to = x_at - y_at;
        sum += step * (from * from + from * to + to * to) / 3;
        now += (int64_t)step;
    }
    return sum / ((double)n * (double)m);
}

static void one_direction(void *context, int64_t k, int thread) {
    slices *s = context;
    uint32_t bins[CLOUDS][BINS];
    double w[3], low = 0, high = 0;
    (void)thread;
    mgn_half_sphere_direction(k, DIRECTIONS, w);
    for (int j = 0; j < 3; j++) {
        low += fmin(w[j], 0);
        high += fmax(w[j], 0);
    }
    for (int i = 0; i < CLOUDS; i++) count_colours(s->clouds[i], w, low, high - low, bins[i]);
    const double unit = (high - low) / BINS, n = unit * unit;
    s->before[k] = n * integrate(bins[0], count_of(s->clouds[0]), bins[2], count_of(s->clouds[2]));
    s->after[k] = n * integrate(bins[1], count_of(s->clouds[1]), bins[2], count_of(s->clouds[2]));
}

mgn_status mgn_palette_slices(const mgn_matrix *source, const mgn_matrix *mapped, const mgn_matrix *target,
                              double *before, double *after) {
    slices s = {.clouds = {source, mapped, target}};
    mgn_parallel(mgn_threads(), DIRECTIONS, one_direction, &s);
    if (mgn_interrupted()) return mgn_fail(MGN_ERR_INTERRUPTED, "interrupted");
    *before = *after = 0;
    for (int k = 0; k < DIRECTIONS; k++) {
        *before += s.before[k] / DIRECTIONS;
        *after += s.after[k] / DIRECTIONS;
    }
    return MGN_OK;
}
