/* Learning a map to a palette as it is, as a convex problem.
 *
 * Colours of the source are matched with as many of the target by exact assignment, and the map is fitted to the pairs by
 * least squares. It is a sum of saturating units along fixed directions w_i,
 *
 *     g(x) = b + sum_i a_i s(B_i (w_i x + c_i)) w_i,   a_i >= 0,
 *
 * a monotone C-GradNet of one layer. With directions, places c_i and sharpnesses B_i spread over the palette beforehand,
 * only the a_i are unknown: a least-squares problem with non-negative coefficients, whose optimum is found at once and
 * uses a dozen or two of some hundreds of units. Descent from random weights ends in one of many poorer fits.
 *
 * Pairs are copied with noise e on the colour and A e on its image, A being the linear optimal map between the palettes'
 * Gaussians: what the map does with differences smaller than the noise is drawn towards A, so that grain, blocks and faint
 * gradients are not torn apart. A large noise leaves A itself. That is the one knob, `smoothness`.
 *
 * Where the source hardly varies and the target does, A would stretch by 8 and more, and with the few colours of the source
 * also the steps of its 8 bits and the blocks of its JPEG. So A stretches by no more than a limit: palettes come nearly as
 * close (from a snow field to an aurora a squared distance of .0131 instead of .0126), and skies keep their gradients. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <cblas.h>

#include <mgn/ot.h>

#include "core/parallel.h"
#include "core/random.h"
#include "model/model.h"
#include "ot/ot.h"
#include "recolor/recolor.h"

enum { ROWS = 4096, SORTED = 1024, LARGE_BATCH = 1024, SMALL_BATCH = 256, COPIES = 2, MOST_UNITS = 24 };
enum { DIRECTIONS = 32, PLACES = 5, SHARPNESSES = 2, PER_DIRECTION = 1 + PLACES * SHARPNESSES };
enum { UNITS = DIRECTIONS * PER_DIRECTION, BLOCKS = 8, NOISE_STREAM = 0x6e6f6973 };

/* Standard deviations of the noise at smoothness 0 and 1. */
static const double least_noise = 0.01, most_noise = 2;

/* What keeps the steps of 8 bits invisible. */
static const double usual_stretch = 4.5;

/* B of the units that are linear over all colours, and the sharpest ones' at a noise: a bend that the noise hides is
 * left out of the dictionary. */
static const double linear = 0.2;
static double sharpest(double noise) { return fmin(fmax(0.6 / noise, 2), 30); }

typedef struct dictionary {
    double w[UNITS][3], B[UNITS], c[UNITS];
} dictionary;

typedef struct block_sums block_sums;

typedef struct problem {
    mgn_matrix x, y, from, to;              /* matched colours; with noise */
    mgn_status matched[ROWS / SMALL_BATCH]; /* what became of each batch */
    double A[9], noise;
    dictionary units;
    float *z, *parts;   /* (rows, UNITS) values of the units; the Gram matrix of each of BLOCKS */
    double *gram;       /* (UNITS, UNITS) */
    block_sums *sums;   /* (BLOCKS) */
    double *moment, *a; /* (UNITS) */
    double mean_z[UNITS], mean_y[3];
} problem;

/* ---- pairs ---- */

/* All of a palette in random order, again and again until `rows` is full. */
static void take(const mgn_matrix *palette, uint64_t seed, mgn_matrix *rows) {
    const mgn_host_shuffle order = mgn_host_shuffle_start(seed, 0, (uint32_t)palette->rows);
    for (int64_t i = 0; i < rows->rows; i++) {
        const uint32_t from = mgn_host_shuffle_at(&order, (uint32_t)(i % palette->rows));
        memcpy(rows->values + 3 * i, palette->values + 3 * (size_t)from, 3 * sizeof *rows->values);
    }
    mgn_colour_dither(rows, seed);
}

/* Fewer colours at once are matched less exactly: by less than a large noise, which hides it. */
static int64_t batch_of(const problem *p) { return p->noise > 0.1 ? SMALL_BATCH : LARGE_BATCH; }

static void match_batch(void *context, int64_t batch, int thread) {
    problem *p = context;
    const int64_t size = batch_of(p), at = batch * size;
    (void)thread;
    p->matched[batch] = mgn_match_rows(p->x.values + 3 * at, p->y.values + 3 * at, MGN_MIN(size, p->x.rows - at), 3);
}

static mgn_status match(const mgn_matrix *source, const mgn_matrix *target, uint64_t seed, problem *p) {
    mgn_matrix from = {0}, to = {0};
    mgn_status status = mgn_palette_sample(source, ROWS, seed, &from);
    if (status == MGN_OK) status = mgn_palette_sample(target, ROWS, seed + 1, &to);
    const int64_t rows = MGN_MAX(from.rows, to.rows), batches = (rows + batch_of(p) - 1) / batch_of(p);
    if (status == MGN_OK) status = mgn_matrix_create(rows, 3, &p->x);
    if (status == MGN_OK) status = mgn_matrix_create(rows, 3, &p->y);
    if (status == MGN_OK) take(&from, seed, &p->x);
    if (status == MGN_OK) take(&to, seed + 1, &p->y);
    if (status == MGN_OK) mgn_parallel(mgn_threads(), batches, match_batch, p);
    for (int64_t batch = 0; batch < batches && status == MGN_OK; batch++)
        if (p->matched[batch] != MGN_OK)
            status = mgn_fail(p->matched[batch], "colours could not be matched: not finite, or no memory was left");
    mgn_matrix_free(&from);
    mgn_matrix_free(&to);
    return status;
}

/* Opposite noises on the copies of a pair, so that they add nothing to its mean. */
static mgn_status spread(uint64_t seed, problem *p) {
    const int64_t rows = p->x.rows;
    MGN_TRY(mgn_matrix_create(COPIES * rows, 3, &p->from));
    MGN_TRY(mgn_matrix_create(COPIES * rows, 3, &p->to));
    for (int64_t i = 0; i < rows; i++) {
        double e[3];
        for (size_t j = 0; j < 3; j++) e[j] = p->noise * mgn_host_normal(seed, NOISE_STREAM, (uint64_t)i * 3 + j);
        for (int copy = 0; copy < COPIES; copy++) {
            const double sign = copy ? -1 : 1;
            const size_t at = 3 * (size_t)(i + copy * rows);
            for (size_t j = 0; j < 3; j++) {
                const double *A = p->A + 3 * j;
                const double moved = A[0] * e[0] + A[1] * e[1] + A[2] * e[2];
                p->from.values[at + j] = (float)((double)p->x.values[3 * (size_t)i + j] + sign * e[j]);
                p->to.values[at + j] = (float)((double)p->y.values[3 * (size_t)i + j] + sign * moved);
            }
        }
    }
    return MGN_OK;
}

/* ---- the dictionary ---- */

static int by_value(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Places are quantiles of the palette along the direction: bends where colours are. The first rows are a sample of all,
 * which are in random order. */
static void fill_direction(void *context, int64_t k, int thread) {
    problem *p = context;
    dictionary *units = &p->units;
    const int64_t rows = MGN_MIN(p->x.rows, SORTED);
    double w[3], sum = 0, along[SORTED];
    (void)thread;
    mgn_half_sphere_direction(k, DIRECTIONS, w);
    for (int64_t i = 0; i < rows; i++) {
        const float *x = p->x.values + 3 * i;
        along[i] = w[0] * (double)x[0] + w[1] * (double)x[1] + w[2] * (double)x[2];
        sum += along[i];
    }
    qsort(along, (size_t)rows, sizeof *along, by_value);
    for (int64_t i = 0; i < PER_DIRECTION; i++) {
        const int64_t place = (i - 1) % PLACES, unit = k * PER_DIRECTION + i;
        memcpy(units->w[unit], w, sizeof w);
        units->B[unit] = i == 0 ? linear : sharpest(p->noise) / (i <= PLACES ? 3 : 1);
        units->c[unit] =
            i == 0 ? -sum / (double)rows : -along[(int64_t)(((double)place + 0.5) / PLACES * (double)rows)];
    }
}

/* ---- the normal equations ---- */

/* Units as 2 / B tanh(B / 2 (w x + c)): scaled to the slope 1, so that the coefficients compare. */
typedef struct unit_table {
    float w[3][UNITS], c[UNITS], height[UNITS];
} unit_table;

static void fill_table(const dictionary *units, unit_table *table) {
    for (int k = 0; k < UNITS; k++) {
        const double B = units->B[k];
        for (int j = 0; j < 3; j++) table->w[j][k] = (float)(B / 2 * units->w[k][j]);
        table->c[k] = (float)(B / 2 * units->c[k]);
        table->height[k] = (float)(2 / B);
    }
}

/* tanh(x) as a quotient of polynomials, off by a few roundings of a float; unlike the library's it is vectorised. */
static inline float quick_tanh(float x) {
    const float most = 7.9053111f, u = x < -most ? -most : x > most ? most : x, v = u * u;
    float p = -2.76076847742355e-16f * v + 2.00018790482477e-13f;
    p = p * v - 8.60467152213735e-11f;
    p = p * v + 5.12229709037114e-08f;
    p = p * v + 1.48572235717979e-05f;
    p = p * v + 6.37261928875436e-04f;
    p = p * v + 4.89352455891786e-03f;
    float q = 1.19825839466702e-06f * v + 1.18534705686654e-04f;
    q = q * v + 2.26843463243900e-03f;
    q = q * v + 4.89352518554385e-03f;
    return u * p / q;
}

static void fill_row(const unit_table *t, const float x[3], float *z) {
    const float r = x[0], g = x[1], b = x[2];
#pragma omp simd
    for (int k = 0; k < UNITS; k++)
        z[k] = t->height[k] * quick_tanh(t->w[0][k] * r + t->w[1][k] * g + t->w[2][k] * b + t->c[k]);
}

/* Sums over a block's rows. */
struct block_sums {
    double z[UNITS], y[3];
    float products[UNITS][3];
};

static void fill_block(void *context, int64_t block, int thread) {
    problem *p = context;
    block_sums *sums = &p->sums[block];
    unit_table table;
    (void)thread;
    fill_table(&p->units, &table);
    const int64_t first = mgn_part_start(p->from.rows, block, BLOCKS),
                  end = mgn_part_start(p->from.rows, block + 1, BLOCKS);
    for (int64_t i = first; i < end; i++) {
        float *z = p->z + i * UNITS;
        fill_row(&table, p->from.values + 3 * i, z);
        for (int k = 0; k < UNITS; k++) sums->z[k] += (double)z[k];
        for (int64_t j = 0; j < 3; j++) sums->y[j] += (double)p->to.values[3 * i + j];
    }
}

/* Upper triangles of (Z - mean)^T (Z - mean) over a block's rows, and the products with their images. */
static void add_block(void *context, int64_t block, int thread) {
    problem *p = context;
    (void)thread;
    const int64_t first = mgn_part_start(p->from.rows, block, BLOCKS),
                  end = mgn_part_start(p->from.rows, block + 1, BLOCKS);
    float mean_z[UNITS], *z = p->z + first * UNITS, *y = p->to.values + 3 * first;
    for (int k = 0; k < UNITS; k++) mean_z[k] = (float)p->mean_z[k];
    for (int64_t i = 0; i < end - first; i++) {
        for (int64_t j = 0; j < 3; j++) y[3 * i + j] -= (float)p->mean_y[j];
        for (int64_t k = 0; k < UNITS; k++) z[i * UNITS + k] -= mean_z[k];
    }
    const int rows = (int)(end - first);
    cblas_sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, UNITS, 3, rows, 1, z, UNITS, y, 3, 0,
                p->sums[block].products[0], 3);
    cblas_ssyrk(CblasRowMajor, CblasUpper, CblasTrans, UNITS, rows, 1, z, UNITS, 0, p->parts + block * UNITS * UNITS,
                UNITS);
}

static void find_means(problem *p) {
    for (int block = 0; block < BLOCKS; block++) {
        for (int k = 0; k < UNITS; k++) p->mean_z[k] += p->sums[block].z[k] / (double)p->from.rows;
        for (int j = 0; j < 3; j++) p->mean_y[j] += p->sums[block].y[j] / (double)p->from.rows;
    }
}

/* m_k = sum over rows of (z_k - mean) w_k (y - mean). */
static void find_moments(problem *p) {
    for (int k = 0; k < UNITS; k++) {
        p->moment[k] = 0;
        for (int block = 0; block < BLOCKS; block++)
            for (int j = 0; j < 3; j++) p->moment[k] += p->units.w[k][j] * (double)p->sums[block].products[k][j];
    }
}

/* G_ij = sum over rows of (z_i - mean) (z_j - mean) times w_i w_j, with a little on the diagonal: units overlap. */
static void find_gram(problem *p) {
    double trace = 0;
    for (int i = 0; i < UNITS; i++)
        for (int j = i; j < UNITS; j++) {
            double sum = 0;
            for (int64_t block = 0; block < BLOCKS; block++) sum += (double)p->parts[(block * UNITS + i) * UNITS + j];
            const double *u = p->units.w[i], *v = p->units.w[j];
            sum *= u[0] * v[0] + u[1] * v[1] + u[2] * v[2];
            p->gram[i * UNITS + j] = p->gram[j * UNITS + i] = sum;
            if (i == j) trace += sum;
        }
    for (int i = 0; i < UNITS; i++) p->gram[i * UNITS + i] += 1e-9 * trace / UNITS + 1e-300;
}

static mgn_status solve(problem *p) {
    p->z = mgn_alloc((size_t)p->from.rows, UNITS * sizeof *p->z);
    p->parts = mgn_alloc((size_t)BLOCKS * UNITS, UNITS * sizeof *p->parts);
    p->gram = mgn_alloc(UNITS, UNITS * sizeof *p->gram);
    p->sums = mgn_alloc(BLOCKS, sizeof *p->sums);
    p->moment = mgn_alloc(UNITS, sizeof *p->moment);
    p->a = mgn_alloc(UNITS, sizeof *p->a);
    if (!p->z || !p->parts || !p->gram || !p->sums || !p->moment || !p->a) return MGN_ERR_MEMORY;
    const int threads = mgn_threads();
    mgn_parallel(threads, BLOCKS, fill_block, p);
    find_means(p);
    mgn_parallel(threads, BLOCKS, add_block, p);
    find_gram(p);
    find_moments(p);
    return mgn_nnls(p->gram, p->moment, UNITS, MOST_UNITS, p->a);
}

/* ---- the model ---- */

/* What mgn_positive makes `value` of. */
static double before_positive(double value) { return value + log(-expm1(-value)); }

/* s(z) = (1 + tanh(z / 2)) / 2, so a unit of slope a is A s(B (w x + c)) with A = 4 a / B, less its constant half. */
static mgn_status make_model(const problem *p, mgn_model **model) {
    int used[MOST_UNITS], count = 0;
    for (int k = 0; k < UNITS; k++)
        if (p->a[k] > 0) used[count++] = k;
    if (count == 0) used[count++] = 0; /* a palette of one colour: a constant map, but for rounding */
    const mgn_model_config config = {.kind = "cgradnet", .d = 3, .h = count, .layers = 1, .activation = MGN_LOGISTIC};
    MGN_TRY(mgn_model_create(&config, 0, model));
    double *W = mgn_model_values(*model), *b0 = W + 3 * count, *B0 = b0 + count, *A0 = B0 + count, *bL = A0 + count;
    memcpy(bL, p->mean_y, sizeof p->mean_y);
    for (int i = 0; i < count; i++) {
        const int k = used[i];
        const double a = fmax(p->a[k], 1e-12), B = p->units.B[k], *w = p->units.w[k];
        memcpy(W + 3 * i, w, 3 * sizeof *w);
        b0[i] = p->units.c[k];
        B0[i] = before_positive(B);
        A0[i] = before_positive(4 * a / B);
        for (size_t j = 0; j < 3; j++) bL[j] -= a * (2 / B + p->mean_z[k]) * w[j];
    }
    return MGN_OK;
}

/* Mean square distance of the units' sum to the pairs' images, both less their means: what least squares made least. */
static double residual(const problem *p) {
    int used[MOST_UNITS], count = 0;
    double sum = 0;
    for (int k = 0; k < UNITS; k++)
        if (p->a[k] > 0) used[count++] = k;
    for (int64_t i = 0; i < p->from.rows; i++) {
        double r[3];
        for (size_t j = 0; j < 3; j++) r[j] = -(double)p->to.values[3 * i + (int64_t)j];
        for (int unit = 0; unit < count; unit++) {
            const int k = used[unit];
            for (size_t j = 0; j < 3; j++) r[j] += p->a[k] * (double)p->z[i * UNITS + k] * p->units.w[k][j];
        }
        sum += r[0] * r[0] + r[1] * r[1] + r[2] * r[2];
    }
    return sum / (double)p->from.rows;
}

/* The optimal map between the palettes' Gaussians, its eigenvalues cut at `most`. */
static mgn_status find_linear(problem *p, double most) {
    mgn_colour_gaussian from, to;
    double offset[3], stretches[3], axes[9];
    MGN_TRY(mgn_colour_gaussian_of(&p->x, &from));
    MGN_TRY(mgn_colour_gaussian_of(&p->y, &to));
    for (size_t i = 0; i < 3; i++) {
        from.covariance[4 * i] += mgn_rounding_variance;
        to.covariance[4 * i] += mgn_rounding_variance;
    }
    MGN_TRY(mgn_bures_map(from.mean, from.covariance, to.mean, to.covariance, 3, p->A, offset));
    MGN_TRY(mgn_symmetric_eigen(p->A, 3, stretches, axes));
    for (size_t k = 0; k < 3; k++) {
        const double excess = fmax(stretches[k] - most, 0), *axis = axes + 3 * k;
        for (size_t i = 0; i < 3; i++)
            for (size_t j = 0; j < 3; j++) p->A[3 * i + j] -= excess * axis[i] * axis[j];
    }
    return MGN_OK;
}

static mgn_status learn(const mgn_matrix *source, const mgn_matrix *target, const mgn_recolor_config *config,
                        problem *p, mgn_model **model) {
    p->noise = least_noise * pow(most_noise / least_noise, config->smoothness);
    MGN_TRY(match(source, target, config->seed, p));
    MGN_TRY(find_linear(p, config->stretch > 0 ? config->stretch : usual_stretch));
    MGN_TRY(spread(config->seed, p));
    mgn_parallel(mgn_threads(), DIRECTIONS, fill_direction, p);
    MGN_TRY(solve(p));
    return make_model(p, model);
}

mgn_status mgn_recolor_learn_pixels(const mgn_matrix *source, const mgn_matrix *target,
                                    const mgn_recolor_config *config, mgn_model **model, mgn_train_result *result) {
    const double start = mgn_now();
    problem *p = mgn_alloc(1, sizeof *p);
    if (!p) return MGN_ERR_MEMORY;
    const mgn_status status = learn(source, target, config, p, model);
    if (status == MGN_OK && result)
        *result = (mgn_train_result){.loss = residual(p), .steps = 1, .seconds = mgn_now() - start};
    mgn_matrix *const matrices[] = {&p->x, &p->y, &p->from, &p->to};
    for (size_t i = 0; i < MGN_COUNT(matrices); i++) mgn_matrix_free(matrices[i]);
    mgn_free(p->z);
    mgn_free(p->parts);
    mgn_free(p->gram);
    mgn_free(p->sums);
    mgn_free(p->moment);
    mgn_free(p->a);
    mgn_free(p);
    return status;
}
