/* Convolution and its transposes, directly, without a matrix of patches; part of kernels.c.
 *
 * A source image is copied once into zeros, and where the stride is s, pixels s apart are laid side by side (a "grid" per
 * phase of the stride). Then every entry of the kernel is a constant offset into the grid, and 16 results side by side
 * are a sum over those taps of a weight times 16 neighbouring entries: a tile of some rows (filters) by some vectors of
 * results is held in registers, as a matrix product by packed panels does it, with the shifted image as its panel.
 *
 * The transpose is the same for each phase (i mod s, j mod s) of its result: a sum over the kernel's entries of that phase.
 * The gradient by the kernel holds rows (filters) by taps in registers, each a vector of partial sums over positions. */

#if defined(__AVX512F__)
#include <immintrin.h>
#define CONV_BYTES 64
#elif defined(__AVX2__)
#include <immintrin.h>
#define CONV_BYTES 32
#else
#define CONV_BYTES 16
#endif

enum {
    CONV_LANES = CONV_BYTES / (int)sizeof(R),
    CONV_MOST = 8,                                 /* rows or vectors of a tile */
    CONV_NARROW = MGN_CPU_CONV_BYTES / CONV_BYTES, /* vectors of this width to one that prepare.c counts in */
};

typedef R conv_vector __attribute__((vector_size(CONV_BYTES), aligned(sizeof(R)), may_alias));

static inline __attribute__((always_inline)) conv_vector conv_fma(conv_vector a, conv_vector b, conv_vector c) {
#if defined(__AVX512F__) && defined(MGN_REAL_IS_DOUBLE)
    return (conv_vector)_mm512_fmadd_pd((__m512d)a, (__m512d)b, (__m512d)c);
#elif defined(__AVX512F__)
    return (conv_vector)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
#elif defined(__AVX2__) && defined(MGN_REAL_IS_DOUBLE)
    return (conv_vector)_mm256_fmadd_pd((__m256d)a, (__m256d)b, (__m256d)c);
#elif defined(__AVX2__)
    return (conv_vector)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
#else
    return a * b + c;
#endif
}

/* The sum of the lanes. */
static inline R conv_fold(conv_vector x) {
#if defined(__AVX512F__) && defined(MGN_REAL_IS_DOUBLE)
    return _mm512_reduce_add_pd((__m512d)x);
#elif defined(__AVX512F__)
    return _mm512_reduce_add_ps((__m512)x);
#else
    R lanes[CONV_LANES];
    memcpy(lanes, &x, sizeof lanes);
    for (int step = CONV_LANES / 2; step > 0; step /= 2)
        for (int l = 0; l < step; l++) lanes[l] += lanes[l + step];
    return lanes[0];
#endif
}

/* ---- grids ---- */

/* Puts `planes` images of (height, width) from `from` into `to`: pixel (i, j) at row (i + pad_y) / stride, column (j +
 * pad_x) / stride of the grid of its phase. What no pixel falls on is 0; pixels beyond a grid are left out. */
static void conv_lay_out(const mgn_cpu_conv_grid *g, const R *from, int64_t planes, R *to) {
    for (int64_t c = 0; c < planes; c++, from += g->height * g->width) {
        for (int64_t phase = 0; phase < g->phases_y * g->phases_x; phase++) {
            const int64_t top = phase / g->phases_x - g->pad_y, left = phase % g->phases_x - g->pad_x, s = g->stride;
            for (int64_t r = 0; r < g->rows; r++, to += g->pitch) {
                const int64_t i = r * s + top;
                memset(to, 0, (size_t)g->pitch * sizeof(R));
                if (i < 0 || i >= g->height) continue;
                const int64_t first = left < 0 ? (s - 1 - left) / s : 0;
                const int64_t last = MGN_MIN(g->pitch, g->width - 1 < left ? 0 : (g->width - 1 - left) / s + 1);
                const R *row = from + i * g->width;
                if (s == 1 && last > first)
                    memcpy(to + first, row + first + left, (size_t)(last - first) * sizeof(R));
                else
                    for (int64_t q = first; q < last; q++) to[q] = row[q * s + left];
            }
        }
    }
}

/* ---- results as sums over taps ---- */

/* The results of one phase: `rows` by `columns` of a grid from `origin` on, and where they go. They are taken row by row, or as
 * one long row that runs through what lies between the rows, whichever makes fewer vectors. */
typedef struct conv_field {
    const R *grid;
    const R *weights; /* (blocks of rows; taps, rows) */
    const int64_t *offsets;
    int64_t taps;
    int64_t origin, pitch, rows, columns;
    int64_t per_row, slots; /* vectors; per_row 0: one long row */
    R *out;
    int64_t plane, row_stride, column_stride; /* of the result */
} conv_field;

static void conv_cut(conv_field *f) {
    const int64_t per_row = (f->columns + CONV_LANES - 1) / CONV_LANES;
    const int64_t flat = ((f->rows - 1) * f->pitch + f->columns + CONV_LANES - 1) / CONV_LANES;
    f->per_row = f->rows * per_row <= flat ? per_row : 0;
    f->slots = f->per_row ? f->rows * per_row : flat;
}

static inline int64_t conv_base(const conv_field *f, int64_t slot) {
    return f->per_row ? f->origin + slot / f->per_row * f->pitch + slot % f->per_row * CONV_LANES
                      : f->origin + slot * CONV_LANES;
}

/* The lanes of a vector that are results, to their places. */
static inline void conv_store(const conv_field *f, int64_t slot, conv_vector sum, R *out) {
    const int64_t at = f->per_row ? slot % f->per_row * CONV_LANES : slot * CONV_LANES;
    int64_t row = f->per_row ? slot / f->per_row : at / f->pitch, column = f->per_row ? at : at % f->pitch;
    if (column + CONV_LANES <= f->columns && f->column_stride == 1) {
        *(conv_vector *)(out + row * f->row_stride + column) = sum;
        return;
    }
    R lanes[CONV_LANES];
    memcpy(lanes, &sum, sizeof lanes);
    for (int64_t l = 0; l < CONV_LANES && row < f->rows;) {
        const int64_t run = MGN_MIN(CONV_LANES - l, f->pitch - column), used = MGN_MIN(run, f->columns - column);
        R *to = out + row * f->row_stride + column * f->column_stride;
        for (int64_t i = 0; i < used; i++) to[i * f->column_stride] = lanes[l + i];
        if (f->per_row) return;
        l += run;
        column = 0;
        row++;
    }
}

/* A tile of `rows` rows by `vectors` vectors from `slot` on; past the last, that one again. */
static inline __attribute__((always_inline)) void conv_tile(const conv_field *f, const R *weights, int64_t slot, R *out,
                                                            const int rows, const int vectors) {
    conv_vector sums[CONV_MOST][CONV_MOST], x[CONV_MOST];
    const R *from[CONV_MOST];
#pragma GCC unroll 8
    for (int v = 0; v < vectors; v++) {
        from[v] = f->grid + conv_base(f, MGN_MIN(slot + v, f->slots - 1));
#pragma GCC unroll 8
        for (int r = 0; r < rows; r++) sums[r][v] = (conv_vector){0};
    }
    const int64_t *offset = f->offsets;
    for (const R *end = weights + f->taps * rows; weights < end; weights += rows, offset++) {
#pragma GCC unroll 8
        for (int v = 0; v < vectors; v++) x[v] = *(const conv_vector *)(from[v] + *offset);
#pragma GCC unroll 8
        for (int r = 0; r < rows; r++) {
            const conv_vector w = weights[r] - (conv_vector){0};
#pragma GCC unroll 8
            for (int v = 0; v < vectors; v++) sums[r][v] = conv_fma(w, x[v], sums[r][v]);
        }
    }
#pragma GCC unroll 8
    for (int v = 0; v < vectors; v++)
#pragma GCC unroll 8
        for (int r = 0; r < rows; r++) conv_store(f, MGN_MIN(slot + v, f->slots - 1), sums[r][v], out + r * f->plane);
}

/* Tiles as large as the registers hold. */
#ifdef __AVX512F__
#define CONV_TILES(TILE) TILE(8, 3) CONV_SUM_TILES(TILE)
#define CONV_SUM_TILES(TILE) TILE(4, 6) TILE(3, 8) TILE(2, 8) TILE(1, 8)
#else
#define CONV_TILES(TILE) CONV_SUM_TILES(TILE)
#define CONV_SUM_TILES(TILE) TILE(4, 3) TILE(3, 4) TILE(2, 5) TILE(1, 8)
#endif

/* The rows of the next tile where so many are left. */
static int64_t conv_rows(int64_t left) {
#define CONV_FITS(rows, vectors) \
    if (left >= (rows)) return rows;
    CONV_TILES(CONV_FITS)
#undef CONV_FITS
    return left;
}

static void conv_run(const conv_field *f, int64_t results) {
    const R *weights = f->weights;
    for (int64_t r = 0, rows; r < results; r += rows, weights += rows * f->taps) {
        rows = conv_rows(results - r);
        R *out = f->out + r * f->plane;
        switch (rows) {
#define CONV_RUN(tile_rows, vectors)                               \
    case tile_rows:                                                \
        for (int64_t slot = 0; slot < f->slots; slot += (vectors)) \
            conv_tile(f, weights, slot, out, tile_rows, vectors);  \
        break;
            CONV_TILES(CONV_RUN)
#undef CONV_RUN
        }
    }
}

/* ---- conv and conv_transpose ---- */

/* Rows first .. of the taps' weights, as tiles read them. w(row, tap) is weights[row * row_stride + where[tap]]. */
static R *conv_pack(const R *w, int64_t row_stride, const int64_t *where, int64_t taps, int64_t first, int64_t results,
                    R *to) {
    for (int64_t r = 0, rows; r < results; r += rows) {
        rows = conv_rows(results - r);
        const R *from = w + (first + r) * row_stride;
        for (int64_t t = 0; t < taps; t++)
            for (int64_t k = 0; k < rows; k++) *to++ = from[k * row_stride + where[t]];
    }
    return to;
}

/* A chunk's scratch memory. */
typedef struct conv_scratch {
    R *grid, *weights;
    int64_t *offsets, *where; /* per tap: in the grid, in the kernel */
} conv_scratch;

static conv_scratch conv_scratch_of(const mgn_cpu_task *task, int64_t chunk) {
    const mgn_cpu_conv *c = &task->conv;
    unsigned char *from = (unsigned char *)task->scratch + (size_t)chunk * c->chunk_bytes;
    return (conv_scratch){(R *)(void *)(from + c->grid_at), (R *)(void *)(from + c->weights_at),
                          (int64_t *)(void *)from, (int64_t *)(void *)from + c->taps};
}

/* All taps of a convolution: (channel, a, b). */
static void conv_taps(const mgn_cpu_task *task, const conv_scratch *s) {
    const mgn_cpu_conv_grid *g = &task->conv.grid;
    const int64_t kh = task->attributes.conv.kernel_height, kw = task->attributes.conv.kernel_width;
    for (int64_t t = 0; t < task->conv.taps; t++) {
        const int64_t c = t / (kh * kw), a = t / kw % kh, b = t % kw;
        const int64_t phase = (c * g->phases_y + a % g->stride) * g->phases_x + b % g->stride;
        s->where[t] = t;
        s->offsets[t] = (phase * g->rows + a / g->stride) * g->pitch + b / g->stride;
    }
}

static void chunk_conv(const mgn_cpu_task *task, int64_t chunk) {
    const mgn_cpu_conv_grid *g = &task->conv.grid;
    const int64_t channels = task->attributes.conv.channels, filters = task->attributes.conv.filters;
    const int64_t out_height = task->attributes.conv.out_height, out_width = task->attributes.conv.out_width;
    const int64_t first = chunk % task->parts * task->columns, results = MGN_MIN(task->columns, filters - first);
    const int64_t image = chunk / task->parts * task->chunk_size;
    const int64_t end = MGN_MIN(image + task->chunk_size, task->attributes.conv.n);
    const conv_scratch s = conv_scratch_of(task, chunk);
    conv_field f = {.grid = s.grid,
                    .weights = s.weights,
                    .offsets = s.offsets,
                    .taps = task->conv.taps,
                    .pitch = g->pitch,
                    .rows = out_height,
                    .columns = out_width,
                    .plane = out_height * out_width,
                    .row_stride = out_width,
                    .column_stride = 1};
    conv_taps(task, &s);
    conv_pack(task->in[1], f.taps, s.where, f.taps, first, results, s.weights);
    conv_cut(&f);
    memset(s.grid + task->conv.grid_size, 0, CONV_BYTES);
    for (int64_t i = image; i < end; i++) {
        conv_lay_out(g, (const R *)task->in[0] + i * channels * g->height * g->width, channels, s.grid);
        f.out = (R *)task->out + (i * filters + first) * f.plane;
        conv_run(&f, results);
    }
}

/* Taps of the phase (top, left) of a transposed convolution: (filter, u, v) for the kernel's rows top + stride u. Returns
 * how many. */
static int64_t conv_transpose_taps(const mgn_cpu_task *task, int64_t top, int64_t left, int64_t *offsets,
                                   int64_t *where) {
    const mgn_cpu_conv_grid *g = &task->conv.grid;
    const int64_t kh = task->attributes.conv.kernel_height, kw = task->attributes.conv.kernel_width;
    const int64_t stride = task->attributes.conv.stride, kernel = task->attributes.conv.channels * kh * kw;
    int64_t taps = 0;
    for (int64_t k = 0; k < task->attributes.conv.filters; k++)
        for (int64_t a = top, u = 0; a < kh; a += stride, u++)
            for (int64_t b = left, v = 0; b < kw; b += stride, v++, taps++) {
                offsets[taps] = (k * g->rows + g->pad_y - u) * g->pitch + g->pad_x - v;
                where[taps] = k * kernel + a * kw + b;
            }
    return taps;
}

/* Where a phase's results lie: x[stride m + top - padding] for m of the grid. False: nowhere. */
static bool conv_phase(const mgn_cpu_task *task, int64_t top, int64_t left, conv_field *f) {
    const int64_t s = task->attributes.conv.stride, p = task->attributes.conv.padding;
    const int64_t height = task->attributes.conv.height, width = task->attributes.conv.width;
    const int64_t first_row = top < p ? (p - top + s - 1) / s : 0, first_column = left < p ? (p - left + s - 1) / s : 0;
    const int64_t y = first_row * s + top - p, x = first_column * s + left - p;
    if (y >= height || x >= width) return false;
    f->origin = first_row * f->pitch + first_column;
    f->rows = (height - 1 - y) / s + 1;
    f->columns = (width - 1 - x) / s + 1;
    f->out += y * width + x;
    conv_cut(f);
    return true;
}

static void chunk_conv_transpose(const mgn_cpu_task *task, int64_t chunk) {
    const mgn_cpu_conv_grid *g = &task->conv.grid;
    const int64_t channels = task->attributes.conv.channels, filters = task->attributes.conv.filters;
    const int64_t height = task->attributes.conv.height, width = task->attributes.conv.width;
    const int64_t kernel_area = task->attributes.conv.kernel_height * task->attributes.conv.kernel_width;
    const int64_t stride = task->attributes.conv.stride;
    const int64_t first = chunk % task->parts * task->columns, results = MGN_MIN(task->columns, channels - first);
    const int64_t image = chunk / task->parts * task->chunk_size;
    const int64_t end = MGN_MIN(image + task->chunk_size, task->attributes.conv.n);
    const conv_scratch s = conv_scratch_of(task, chunk);
    memset(s.grid + task->conv.grid_size, 0, CONV_BYTES);
    for (int64_t i = image; i < end; i++) {
        conv_lay_out(g, (const R *)task->in[0] + i * filters * g->height * g->width, filters, s.grid);
        R *weights = s.weights;
        int64_t *offsets = s.offsets, *where = s.where;
        for (int64_t phase = 0; phase < stride * stride; phase++) {
            const int64_t top = phase / stride, left = phase % stride;
            conv_field f = {.grid = s.grid,
                            .weights = weights,
                            .offsets = offsets,
                            .pitch = g->pitch,
                            .out = (R *)task->out + (i * channels + first) * height * width,
                            .plane = height * width,
                            .row_stride = stride * width,
                            .column_stride = stride};
            f.taps = conv_transpose_taps(task, top, left, offsets, where);
            if (i == image) conv_pack(task->in[1], kernel_area, where, f.taps, first, results, weights);
            weights += f.taps * results;
            offsets += f.taps;
            where += f.taps;
            if (conv_phase(task, top, left, &f)) conv_run(&f, results);
        }
    }
}

/* ---- the gradient by the kernel ---- */

/* Positions to be summed over: `rows` rows of `per_row` vectors, of some images. */
typedef struct conv_sum {
    const R *x, *y; /* grids of the first image */
    const int64_t *offsets;
    int64_t images, x_step, y_step; /* from image to image */
    int64_t rows, per_row, x_pitch, y_pitch, y_plane;
} conv_sum;

/* `rows` filters from y on, by `vectors` taps: adds their sums to totals (filters, taps), of which `used` are meant. */
static inline __attribute__((always_inline)) void conv_sum_tile(const conv_sum *s, const int64_t *offsets, const R *y,
                                                                int64_t taps, int64_t used, double *totals,
                                                                const int rows, const int vectors) {
    conv_vector sums[CONV_MOST][CONV_MOST], a[CONV_MOST];
    int64_t offset[CONV_MOST];
#pragma GCC unroll 8
    for (int v = 0; v < vectors; v++) {
        offset[v] = offsets[MGN_MIN(v, used - 1)];
#pragma GCC unroll 8
        for (int r = 0; r < rows; r++) sums[r][v] = (conv_vector){0};
    }
    for (int64_t i = 0; i < s->images; i++)
        for (int64_t row = 0; row < s->rows; row++) {
            const R *from = y + i * s->y_step + row * s->y_pitch, *x = s->x + i * s->x_step + row * s->x_pitch;
            for (int64_t j = 0; j < s->per_row; j++, from += CONV_LANES, x += CONV_LANES) {
#pragma GCC unroll 8
                for (int r = 0; r < rows; r++) a[r] = *(const conv_vector *)(from + r * s->y_plane);
#pragma GCC unroll 8
                for (int v = 0; v < vectors; v++) {
                    const conv_vector b = *(const conv_vector *)(x + offset[v]);
#pragma GCC unroll 8
                    for (int r = 0; r < rows; r++) sums[r][v] = conv_fma(a[r], b, sums[r][v]);
                }
            }
        }
    for (int r = 0; r < rows; r++)
        for (int64_t v = 0; v < used; v++) { totals[r * taps + v] += (double)conv_fold(sums[r][v]); }
}

/* All filters first .. by all taps over one stretch of positions. */
static void conv_sum_run(const conv_sum *s, int64_t filters, int64_t taps, double *totals) {
    for (int64_t k = 0, rows; k < filters; k += rows) {
        rows = MGN_MIN(conv_rows(filters - k), 4); /* few: they are read anew for every tile of taps */
        const R *y = s->y + k * s->y_plane;
        switch (rows) {
#define CONV_SUM_RUN(tile_rows, vectors)                                                                              \
    case tile_rows:                                                                                                   \
        for (int64_t t = 0; t < taps; t += (vectors))                                                                 \
            conv_sum_tile(s, s->offsets + t, y, taps, MGN_MIN((vectors), taps - t), totals + k * taps + t, tile_rows, \
                          vectors);                                                                                   \
        break;
            CONV_SUM_TILES(CONV_SUM_RUN)
#undef CONV_SUM_RUN
        }
    }
}

/* The results of some images, laid out as the vectors of the grid meet them, with zeros where there is none. */
static void conv_lay_out_results(const mgn_cpu_task *task, const R *y, int64_t planes, R *to) {
    const int64_t height = task->attributes.conv.out_height, width = task->attributes.conv.out_width;
    const mgn_cpu_conv *c = &task->conv;
    memset(to, 0, (size_t)(planes * c->y_plane) * sizeof(R));
    for (int64_t k = 0; k < planes; k++, to += c->y_plane)
        for (int64_t i = 0; i < height; i++, y += width) memcpy(to + i * c->y_pitch, y, (size_t)width * sizeof(R));
}

/* Partial sums of some images, for some filters, as doubles: (parts of images, filters, taps). */
static void chunk_conv_kernel_gradient(const mgn_cpu_task *task, int64_t chunk) {
    const mgn_cpu_conv *c = &task->conv;
    const int64_t channels = task->attributes.conv.channels, filters = task->attributes.conv.filters, taps = c->taps;
    const int64_t area = task->attributes.conv.out_height * task->attributes.conv.out_width;
    const int64_t pixels = channels * c->grid.height * c->grid.width;
    const int64_t first = chunk % task->parts * task->columns, some = MGN_MIN(task->columns, filters - first);
    const int64_t begin = chunk / task->parts * task->chunk_size;
    const int64_t end = MGN_MIN(begin + task->chunk_size, task->attributes.conv.n);
    const conv_scratch s = conv_scratch_of(task, chunk);
    double *totals = (double *)(void *)((unsigned char *)task->scratch + c->totals_at) +
                     (chunk / task->parts * filters + first) * taps;
    memset(totals, 0, (size_t)(some * taps) * sizeof *totals);
    conv_taps(task, &s);
    memset(s.grid, 0, (size_t)(c->grid_size * c->group + c->slack) * sizeof(R)); /* read beyond, times 0 */
    const int64_t stretch = MGN_MAX(MGN_CPU_CONV_TERMS / c->per_row, 1);
    for (int64_t i = begin; i < end; i += c->group) {
        conv_sum sum = {.offsets = s.offsets,
                        .images = MGN_MIN(c->group, end - i),
                        .x_step = c->grid_size,
                        .y_step = some * c->y_plane,
                        .per_row = c->per_row * CONV_NARROW,
                        .x_pitch = c->x_pitch,
                        .y_pitch = c->run_pitch,
                        .y_plane = c->y_plane};
        for (int64_t g = 0; g < sum.images; g++) {
            conv_lay_out(&c->grid, (const R *)task->in[0] + (i + g) * pixels, channels, s.grid + g * c->grid_size);
            conv_lay_out_results(task, (const R *)task->in[1] + ((i + g) * filters + first) * area, some,
                                 s.weights + g * sum.y_step);
        }
        for (int64_t row = 0; row < c->runs; row += stretch) {
            sum.rows = MGN_MIN(stretch, c->runs - row);
            sum.x = s.grid + row * c->x_pitch;
            sum.y = s.weights + row * c->run_pitch;
            conv_sum_run(&sum, some, taps, totals);
        }
    }
}

static void finish_conv_kernel_gradient(const mgn_cpu_task *task) {
    const int64_t size = task->attributes.conv.filters * task->conv.taps;
    const double *totals = (const double *)(const void *)((const unsigned char *)task->scratch + task->conv.totals_at);
    R *out = task->out;
    for (int64_t e = 0; e < size; e++) {
        double sum = 0;
        for (int64_t p = 0; p < task->chunks / task->parts; p++) sum += totals[p * size + e];
        out[e] = (R)sum;
    }
}
