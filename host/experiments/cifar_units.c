/* A C-MGN of one layer fitted to pairs of a grey and a colour picture without iterations.
 *
 * A unit sees a picture by its row of W within S, and adds to the colours by its row in T, which meets no grey picture. So
 * the first can be chosen (differences of two pictures: the directions in which pictures vary) and the second, with V, is
 * a linear least-squares problem with a ridge. Units stand in it by what bends, a_k - beta_k u_k; the straight part is V's.
 * Within S a unit adds to the luma, too, along its row. V takes the straight part of that back, and has to stay positive
 * definite: which the rows of W must be small enough for, however large the colours are that they are to make.
 * The ridge is the best one for a ninth of the pictures when fitted to the others; then all are fitted. */
#include <cblas.h>
#include <lapacke.h>
#include <math.h>
#include <string.h>

#include "core/random.h"
#include "experiments/cifar.h"

enum { P = MGN_CIFAR_PIXELS, D = MGN_CIFAR_D, STREAM = 0x63696661, SPREAD_ROWS = 512 };

/* Standard deviation of the units' inputs and of their biases; of what they are scaled to for the regression; and how the
 * luma is scaled for it. */
static const double spread_of_units = 0.7, spread_of_biases = 1.5, weight_of_units = 0.15, weight_of_luma = 0.52;

typedef struct solver {
    const mgn_cifar *c;
    int64_t n, h, m;   /* pictures, units, features: h + P */
    float *W, *biases; /* (h, P), of luma in each of the three channels; (h) */
    float *F;          /* (n, m) features: weighted activations, weighted luma, both centred */
    float *T, *S;      /* (n, 2 P) colours in T; (n, P) what is left to V of those in S; centred */
    float *K, *B, *C;  /* (m, m), (m, 2 P): products of the features; their solution */
    double *means, *slopes,
        *weights; /* (m), (h), (h): of the features; feature k is weights[k] (a_k - means[k] - slopes[k] (u_k - its mean)) */
} solver;

static void free_solver(solver *s) {
    void *const blocks[] = {s->W, s->biases, s->F, s->T, s->S, s->K, s->B, s->C, s->means, s->slopes, s->weights};
    for (size_t i = 0; i < MGN_COUNT(blocks); i++) mgn_free(blocks[i]);
}

static mgn_status allocate(solver *s) {
    const size_t n = (size_t)s->n, m = (size_t)s->m;
    s->W = mgn_alloc_aligned((size_t)s->h, P * sizeof(float));
    s->biases = mgn_alloc((size_t)s->h, sizeof(float));
    s->F = mgn_alloc_aligned(n, m * sizeof(float));
    s->T = mgn_alloc_aligned(n, 2 * P * sizeof(float));
    s->S = mgn_alloc_aligned(n, P * sizeof(float));
    s->K = mgn_alloc_aligned(m, m * sizeof(float));
    s->B = mgn_alloc_aligned(m, 2 * P * sizeof(float));
    s->C = mgn_alloc_aligned(m, 2 * P * sizeof(float));
    s->means = mgn_alloc(m, sizeof(double));
    s->slopes = mgn_alloc((size_t)s->h, sizeof(double));
    s->weights = mgn_alloc((size_t)s->h, sizeof(double));
    return s->W && s->biases && s->F && s->T && s->S && s->K && s->B && s->C && s->means && s->slopes && s->weights
               ? MGN_OK
               : MGN_ERR_MEMORY;
}

/* ---- the units ---- */

static float luma(const mgn_cifar *c, int64_t row, int64_t pixel) { return c->grey.values[row * D + 3 * pixel]; }

/* Row k of W, and its bias, from the spread of its inputs over some pictures. */
static void draw_unit(const solver *s, uint64_t seed, int64_t k) {
    const mgn_cifar *c = s->c;
    const int64_t n = s->n, rows = MGN_MIN(n, SPREAD_ROWS);
    const uint64_t at = (uint64_t)k;
    const int64_t a = (int64_t)(mgn_host_uniform(seed, STREAM, 2 * at) * (double)n),
                  b = (a + 1 + (int64_t)(mgn_host_uniform(seed, STREAM, 2 * at + 1) * (double)(n - 1))) % n;
    float *w = s->W + k * P;
    double mean = 0, squares = 0;
    for (int64_t i = 0; i < P; i++) w[i] = luma(c, a, i) - luma(c, b, i);
    for (int64_t r = 0; r < rows; r++) {
        double u = 0;
        for (int64_t i = 0; i < P; i++) u += 3 * (double)w[i] * (double)luma(c, r, i);
        mean += u / (double)rows;
        squares += u * u / (double)rows;
    }
    const double scale = spread_of_units / sqrt(fmax(squares - mean * mean, 1e-6));
    for (int64_t i = 0; i < P; i++) w[i] = (float)(scale * (double)w[i]);
    s->biases[k] = (float)(spread_of_biases * mgn_host_normal(seed, STREAM + 1, at) - scale * mean);
}

static double activate(double u) { return 1 / (1 + exp(-u)); }

/* Column k of F from inputs to what bends of the activations. */
static void bend(const solver *s, int64_t k) {
    const double n = (double)s->n;
    double mean_u = 0, mean_a = 0, uu = 0, ua = 0, aa = 0;
    for (int64_t r = 0; r < s->n; r++) {
        const double u = (double)(s->F[r * s->m + k] += s->biases[k]), a = activate(u);
        mean_u += u / n;
        mean_a += a / n;
        uu += u * u / n;
        ua += u * a / n;
        aa += a * a / n;
    }
    const double slope = (ua - mean_u * mean_a) / fmax(uu - mean_u * mean_u, 1e-9),
                 rest = aa - mean_a * mean_a - slope * (ua - mean_u * mean_a),
                 weight = weight_of_units / sqrt(fmax(rest, 1e-10));
    for (int64_t r = 0; r < s->n; r++) {
        const double u = (double)s->F[r * s->m + k];
        s->F[r * s->m + k] = (float)(weight * (activate(u) - mean_a - slope * (u - mean_u)));
    }
    s->means[k] = mean_a;
    s->slopes[k] = slope;
    s->weights[k] = weight;
}

/* The units in the first h columns of F, the luma in the others. */
static void make_features(const solver *s) {
    const mgn_cifar *c = s->c;
    for (int64_t r = 0; r < s->n; r++)
        for (int64_t i = 0; i < P; i++) s->F[r * s->m + s->h + i] = luma(c, r, i);
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (int)s->n, (int)s->h, P, 3, s->F + s->h, (int)s->m, s->W, P, 0,
                s->F, (int)s->m);
    for (int64_t k = 0; k < s->h; k++) bend(s, k);
    for (int64_t r = 0; r < s->n; r++)
        for (int64_t i = 0; i < P; i++)
            s->F[r * s->m + s->h + i] =
                (float)(weight_of_luma * ((double)s->F[r * s->m + s->h + i] - c->affine.mean_s[i]));
}

/* The colours in coordinates, centred; of those in S, what grey itself and what bends of the units
 * do not give. `rows` (h, P) is to work in. */
static void make_aims(const solver *s, float *rows) {
    const mgn_cifar *c = s->c;
    for (int64_t r = 0; r < s->n; r++)
        for (int64_t i = 0; i < P; i++) {
            double colour[3], coordinates[3];
            for (int64_t q = 0; q < 3; q++)
                colour[q] = (double)c->colour.values[r * D + 3 * i + q] - c->affine.mean_y[3 * i + q];
            mgn_cifar_to_coordinates(colour, coordinates);
            s->S[r * P + i] = (float)(coordinates[0] - sqrt(3) * ((double)luma(c, r, i) - c->affine.mean_s[i]));
            for (int64_t t = 0; t < 2; t++) s->T[r * 2 * P + 2 * i + t] = (float)coordinates[1 + t];
        }
    for (int64_t i = 0; i < s->h * P; i++) rows[i] = (float)((double)s->W[i] * sqrt(3) / s->weights[i / P]);
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (int)s->n, P, (int)s->h, -1, s->F, (int)s->m, rows, P, 1,
                s->S, P);
}

/* ---- the regression ---- */

/* K += F^T F, B += F^T T of some pictures. */
static void add_products(const solver *s, int64_t first, int64_t count, float *K, float *B) {
    const float *F = s->F + first * s->m;
    const int m = (int)s->m, n = (int)count;
    cblas_ssyrk(CblasRowMajor, CblasUpper, CblasTrans, m, n, 1, F, m, 1, K, m);
    cblas_sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, m, 2 * P, n, 1, F, m, s->T + first * 2 * P, 2 * P, 1, B,
                2 * P);
}

/* X = (K / n + ridge)^-1 B / n for `columns` columns; K is (size, size), its upper half counts. */
static mgn_status solve(const float *K, int64_t size, int64_t n, double ridge, const float *B, int64_t columns,
                        float *X) {
    float *A = mgn_alloc_aligned((size_t)size, (size_t)size * sizeof *A);
    if (!A) return MGN_ERR_MEMORY;
    for (int64_t i = 0; i < size * size; i++) A[i] = K[i] / (float)n;
    for (int64_t i = 0; i < size; i++) A[i * size + i] += (float)ridge;
    for (int64_t i = 0; i < size * columns; i++) X[i] = B[i] / (float)n;
    const lapack_int order = (lapack_int)size;
    lapack_int info = LAPACKE_spotrf(LAPACK_ROW_MAJOR, 'U', order, A, order);
    if (info == 0) {
        cblas_strsm(CblasRowMajor, CblasLeft, CblasUpper, CblasTrans, CblasNonUnit, order, (int)columns, 1, A, order, X,
                    (int)columns);
        cblas_strsm(CblasRowMajor, CblasLeft, CblasUpper, CblasNoTrans, CblasNonUnit, order, (int)columns, 1, A, order,
                    X, (int)columns);
    }
    mgn_free(A);
    if (info == 0) return MGN_OK;
    return mgn_fail(MGN_ERR_NUMERIC, "the units' products are singular at a ridge of %g", ridge);
}

/* Squared error of C on pictures first .. first+count-1. */
static mgn_status judge(const solver *s, int64_t first, int64_t count, double *squares) {
    float *rest = mgn_alloc_aligned((size_t)count, 2 * P * sizeof *rest);
    if (!rest) return MGN_ERR_MEMORY;
    memcpy(rest, s->T + first * 2 * P, (size_t)count * 2 * P * sizeof *rest);
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (int)count, 2 * P, (int)s->m, -1, s->F + first * s->m,
                (int)s->m, s->C, 2 * P, 1, rest, 2 * P);
    *squares = 0;
    for (int64_t i = 0; i < count * 2 * P; i++) *squares += (double)rest[i] * (double)rest[i];
    mgn_free(rest);
    return MGN_OK;
}

/* C for all pictures, with the ridge that is best for the last ninth by the others. */
static mgn_status regress(const solver *s) {
    static const double ridges[] = {0.03, 0.1, 0.3, 1};
    const int64_t aside = MGN_MAX(s->n / 9, 1), fitted = s->n - aside;
    double best = INFINITY, ridge = ridges[0], squares;
    add_products(s, 0, fitted, s->K, s->B);
    for (size_t i = 0; i < MGN_COUNT(ridges); i++) {
        MGN_TRY(solve(s->K, s->m, fitted, ridges[i], s->B, 2 * P, s->C));
        MGN_TRY(judge(s, fitted, aside, &squares));
        if (squares >= best) continue;
        best = squares;
        ridge = ridges[i];
    }
    add_products(s, fitted, aside, s->K, s->B);
    return solve(s->K, s->m, s->n, ridge, s->B, 2 * P, s->C);
}

/* ---- the model ---- */

/* V within S: grey as it is, and the rest by ridge regression on the luma alone. */
static mgn_status fit_luma(const solver *s, double *within) {
    float *K = mgn_alloc_aligned((size_t)P, P * sizeof *K), *B = mgn_alloc_aligned((size_t)P, 2 * P * sizeof *B);
    mgn_status status = K && B ? MGN_OK : MGN_ERR_MEMORY;
    if (status == MGN_OK) {
        const float *F = s->F + s->h;
        cblas_ssyrk(CblasRowMajor, CblasUpper, CblasTrans, P, (int)s->n, 1, F, (int)s->m, 0, K, P);
        cblas_sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, P, P, (int)s->n, 1, F, (int)s->m, s->S, P, 0, B, P);
        status = solve(K, P, s->n, 1, B, P, B + P * P);
    }
    for (int64_t i = 0; i < P * P && status == MGN_OK; i++)
        within[i] = (double)B[P * P + i] * weight_of_luma / sqrt(3) + (i / P == i % P);
    mgn_free(K);
    mgn_free(B);
    return status;
}

/* Rows of W from the solution, in the coordinates of the pixels' colours, and in those of S and T: (h, P), (h, 2 P). */
static void fill_rows(const solver *s, double *W, double *in_S, double *in_T) {
    for (int64_t i = 0; i < s->h * P; i++) {
        const double weight = s->weights[i / P];
        const double coordinates[3] = {sqrt(3) * (double)s->W[i], weight * (double)s->C[2 * i],
                                       weight * (double)s->C[2 * i + 1]};
        mgn_cifar_from_coordinates(coordinates, W + 3 * i);
        in_S[i] = coordinates[0];
        in_T[2 * i] = coordinates[1];
        in_T[2 * i + 1] = coordinates[2];
    }
}

/* W, b_0 and V of the model; V takes back the units' straight parts. `in_S` has room for all rows of W. */
static mgn_status fill(const solver *s, mgn_model *model, double *in_S, double *within) {
    const mgn_parameter *p = NULL;
    mgn_model_parameters(model, &p);
    double *values = mgn_model_values(model), *in_T = in_S + s->h * P, *sloped = in_S + s->h * D,
           *across = within + P * P;
    const int h = (int)s->h;
    fill_rows(s, values + p[0].offset, in_S, in_T);
    for (int64_t k = 0; k < s->h; k++) {
        values[p[1].offset + k] = (double)s->biases[k];
        for (int64_t i = 0; i < P; i++) sloped[k * P + i] = s->slopes[k] * in_S[k * P + i];
    }
    MGN_TRY(fit_luma(s, within));
    for (int64_t i = 0; i < 2 * P * P; i++) across[i] = (double)s->C[s->h * 2 * P + i] * weight_of_luma / sqrt(3);
    cblas_dgemm(CblasRowMajor, CblasTrans, CblasNoTrans, P, P, h, -1, sloped, P, in_S, P, 1, within, P);
    cblas_dgemm(CblasRowMajor, CblasTrans, CblasNoTrans, P, 2 * P, h, -1, sloped, P, in_T, 2 * P, 1, across, 2 * P);
    return mgn_cifar_quadratic(within, across, values + p[2].offset);
}

/* The offset at which the mean image of the pictures is the colours' mean. */
static void centre(const solver *s, mgn_model *model) {
    const mgn_parameter *p = NULL;
    mgn_model_parameters(model, &p);
    double *values = mgn_model_values(model), *offset = values + p[3].offset;
    const double *W = values + p[0].offset, *V = values + p[2].offset;
    double Vx[D];
    for (int64_t i = 0; i < D; i++) {
        Vx[i] = 0;
        for (int64_t k = 0; k < D; k++) Vx[i] += V[i * D + k] * s->c->affine.mean_s[k / 3];
        offset[i] = s->c->affine.mean_y[i];
    }
    for (int64_t i = 0; i < D; i++)
        for (int64_t k = 0; k < D; k++) offset[k] -= V[i * D + k] * Vx[i];
    for (int64_t i = 0; i < s->h; i++)
        for (int64_t k = 0; k < D; k++) offset[k] -= W[i * D + k] * s->means[i];
}

static mgn_status make_model(const solver *s, const mgn_model_config *config, uint64_t seed, mgn_model **model) {
    mgn_model *made = NULL;
    double *rows = mgn_alloc_aligned((size_t)s->h, 4 * P * sizeof *rows),
           *V = mgn_alloc_aligned((size_t)P, 3 * P * sizeof *V);
    mgn_status status = rows && V ? mgn_model_create(config, seed, &made) : MGN_ERR_MEMORY;
    if (status == MGN_OK) status = fill(s, made, rows, V);
    if (status == MGN_OK) centre(s, made);
    if (status == MGN_OK)
        *model = made;
    else
        mgn_model_destroy(made);
    mgn_free(rows);
    mgn_free(V);
    return status;
}

mgn_status mgn_cifar_solve_dense(const mgn_cifar *c, const mgn_model_config *config, uint64_t seed, mgn_model **model) {
    solver s = {.c = c, .n = c->learned, .h = config->h, .m = config->h + P};
    float *rows = mgn_alloc_aligned((size_t)s.h, P * sizeof *rows);
    mgn_status status = rows ? allocate(&s) : MGN_ERR_MEMORY;
    for (int64_t k = 0; k < s.h && status == MGN_OK; k++) draw_unit(&s, seed, k);
    if (status == MGN_OK) {
        make_features(&s);
        make_aims(&s, rows);
        status = regress(&s);
    }
    if (status == MGN_OK) status = make_model(&s, config, seed, model);
    mgn_free(rows);
    free_solver(&s);
    return status;
}
