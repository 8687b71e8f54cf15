/* Affine colourings: baselines, and where networks start. */
#include <cblas.h>
#include <math.h>
#include <string.h>

#include <mgn/image_set.h>
#include <mgn/ot.h>

#include "core/parallel.h"
#include "experiments/cifar.h"

enum { P = MGN_CIFAR_PIXELS, D = MGN_CIFAR_D };

/* Colours in the basis of S and T. */
static const double basis[3][3] = {{0.57735026918962576, 0.57735026918962576, 0.57735026918962576},
                                   {0.70710678118654752, -0.70710678118654752, 0},
                                   {0.40824829046386302, 0.40824829046386302, -0.81649658092772603}};

void mgn_cifar_from_coordinates(const double *coordinates, double *colour) {
    for (int64_t q = 0; q < 3; q++) {
        colour[q] = 0;
        for (int64_t k = 0; k < 3; k++) colour[q] += coordinates[k] * basis[k][q];
    }
}

void mgn_cifar_to_coordinates(const double *colour, double *coordinates) {
    for (int64_t k = 0; k < 3; k++) {
        coordinates[k] = 0;
        for (int64_t q = 0; q < 3; q++) coordinates[k] += colour[q] * basis[k][q];
    }
}

/* ---- rows and errors ---- */

mgn_colour_error mgn_cifar_error(const float *found, const float *truth, int64_t count) {
    double luma = 0, all = 0;
    for (int64_t i = 0; i < count * P; i++) {
        double sum = 0, squares = 0;
        for (int64_t c = 0; c < 3; c++) {
            const double error = (double)found[3 * i + c] - (double)truth[3 * i + c];
            sum += error;
            squares += error * error;
        }
        luma += sum * sum / 3;
        all += squares;
    }
    const double n = (double)(count * D);
    return (mgn_colour_error){all / n, luma / n, (all - luma) / n};
}

/* The luma of rows, without its mean: (count, P), in float, which is what products of this size need. */
static float *luma_of(const mgn_cifar *c, int64_t first, int64_t count) {
    float *s = mgn_alloc_aligned((size_t)count, P * sizeof *s);
    for (int64_t i = 0; s && i < count * P; i++)
        s[i] = (float)((double)c->grey.values[3 * (first * P + i)] - c->affine.mean_s[i % P]);
    return s;
}

/* ---- the ridge ---- */

/* What fitting works with: the luma's covariance as U^T diag(values) U, and the covariance of luma and colour beyond grey
 * in its eigenvectors. */
typedef struct fit {
    float *s, *r;               /* (learned, P) centred luma; (learned, D) centred colour minus centred grey */
    double *values, *U, *cross; /* (P), (P, P) with eigenvectors as rows, (P, D) */
    float *held_s, *projected;  /* (held, P): centred luma, and in eigenvectors */
    float *found;               /* (held, D) */
} fit;

static void free_fit(fit *f) {
    void *const blocks[] = {f->s, f->r, f->values, f->U, f->cross, f->held_s, f->projected, f->found};
    for (size_t i = 0; i < MGN_COUNT(blocks); i++) mgn_free(blocks[i]);
}

static mgn_status set_means(mgn_cifar *c) {
    for (int64_t i = 0; i < c->learned; i++)
        for (int64_t k = 0; k < D; k++) c->affine.mean_y[k] += (double)c->colour.values[i * D + k] / (double)c->learned;
    for (int64_t i = 0; i < c->learned; i++)
        for (int64_t k = 0; k < P; k++)
            c->affine.mean_s[k] += (double)c->grey.values[i * D + 3 * k] / (double)c->learned;
    return MGN_OK;
}

static void widen(const float *from, int64_t count, double *to) {
    for (int64_t i = 0; i < count; i++) to[i] = (double)from[i];
}

/* cross = U s^T r / n, U and values from s^T s / n. */
static mgn_status decompose(const mgn_cifar *c, fit *f) {
    const int n = (int)c->learned;
    float *products = mgn_alloc_aligned((size_t)P * D, sizeof *products);
    double *wide = mgn_alloc_aligned((size_t)P * D, sizeof *wide);
    mgn_status status = products && wide ? MGN_OK : MGN_ERR_MEMORY;
    if (status == MGN_OK) {
        cblas_sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, P, P, n, 1.0f / (float)n, f->s, P, f->s, P, 0, products,
                    P);
        widen(products, P * P, wide);
        status = mgn_symmetric_eigen(wide, P, f->values, f->U);
    }
    if (status == MGN_OK) {
        cblas_sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, P, D, n, 1.0f / (float)n, f->s, P, f->r, D, 0, products,
                    D);
        widen(products, P * D, wide);
        cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, P, D, P, 1, f->U, P, wide, D, 0, f->cross, D);
    }
    mgn_free(products);
    mgn_free(wide);
    return status;
}

/* A = grey's own + U^T (values + ridge)^-1 cross. */
static mgn_status solve(const fit *f, double ridge, double *A) {
    double *scaled = mgn_alloc_aligned((size_t)P * D, sizeof *scaled);
    if (!scaled) return MGN_ERR_MEMORY;
    for (int64_t i = 0; i < P; i++)
        for (int64_t k = 0; k < D; k++) scaled[i * D + k] = f->cross[i * D + k] / (fmax(f->values[i], 0) + ridge);
    cblas_dgemm(CblasRowMajor, CblasTrans, CblasNoTrans, P, D, P, 1, f->U, P, scaled, D, 0, A, D);
    for (int64_t i = 0; i < P; i++)
        for (int64_t k = 0; k < 3; k++) A[i * D + 3 * i + k] += 1;
    mgn_free(scaled);
    return MGN_OK;
}

/* Errors of y = mean_y + (s - mean_s) A on the pictures held out. */
static mgn_status judge(const mgn_cifar *c, const fit *f, const double *A, mgn_colour_error *error) {
    float *narrow = mgn_alloc_aligned((size_t)P * D, sizeof *narrow);
    if (!narrow) return MGN_ERR_MEMORY;
    for (int64_t i = 0; i < P * D; i++) narrow[i] = (float)A[i];
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (int)c->held, D, P, 1, f->held_s, P, narrow, D, 0, f->found,
                D);
    for (int64_t i = 0; i < c->held * D; i++) f->found[i] += (float)c->affine.mean_y[i % D];
    *error = mgn_cifar_error(f->found, c->colour.values + c->learned * D, c->held);
    mgn_free(narrow);
    return MGN_OK;
}

static mgn_status prepare_fit(const mgn_cifar *c, fit *f) {
    const size_t n = (size_t)c->learned, held = (size_t)c->held;
    f->s = luma_of(c, 0, c->learned);
    f->held_s = luma_of(c, c->learned, c->held);
    f->r = mgn_alloc_aligned(n, D * sizeof *f->r);
    f->values = mgn_alloc(P, sizeof *f->values);
    f->U = mgn_alloc_aligned((size_t)P * P, sizeof *f->U);
    f->cross = mgn_alloc_aligned((size_t)P * D, sizeof *f->cross);
    f->found = mgn_alloc_aligned(held, D * sizeof *f->found);
    if (!f->s || !f->held_s || !f->r || !f->values || !f->U || !f->cross || !f->found) return MGN_ERR_MEMORY;
    for (int64_t i = 0; i < c->learned * D; i++)
        f->r[i] = (float)((double)c->colour.values[i] - c->affine.mean_y[i % D] - (double)f->s[i / 3]);
    return decompose(c, f);
}

/* ---- the gradient among them ---- */

/* A in coordinates: `within` S (P, P), of (r + g + b) / sqrt 3, which is sqrt 3 times the luma of a grey pixel, and
 * `across` from S to T (P, 2 P). And back. */
static void split(const double *A, double *within, double *across) {
    for (int64_t i = 0; i < P * P; i++) {
        double coordinates[3];
        mgn_cifar_to_coordinates(A + 3 * i, coordinates);
        within[i] = coordinates[0] / sqrt(3);
        for (int64_t t = 0; t < 2; t++) across[2 * i + t] = coordinates[1 + t] / sqrt(3);
    }
}

static void join(const double *within, const double *across, double *A) {
    for (int64_t i = 0; i < P * P; i++) {
        const double coordinates[3] = {sqrt(3) * within[i], sqrt(3) * across[2 * i], sqrt(3) * across[2 * i + 1]};
        mgn_cifar_from_coordinates(coordinates, A + 3 * i);
    }
}

/* The nearest symmetric matrix whose eigenvalues are at least .01, and its root and the root's inverse. */
static mgn_status make_definite(double *within, double *root, double *inverse) {
    double *values = mgn_alloc(P, sizeof *values), *vectors = mgn_alloc_aligned((size_t)P * P, sizeof *vectors);
    mgn_status status = values && vectors ? MGN_OK : MGN_ERR_MEMORY;
    if (status == MGN_OK) status = mgn_symmetric_eigen(within, P, values, vectors);
    double *const out[] = {within, root, inverse};
    for (int power = 0; power < 3 && status == MGN_OK; power++) {
        if (!out[power]) continue;
        double *scaled = mgn_alloc_aligned((size_t)P * P, sizeof *scaled);
        if (!scaled) status = MGN_ERR_MEMORY;
        for (int64_t i = 0; i < P && scaled; i++) {
            const double value = fmax(values[i], 0.01), scale = power == 0   ? value
                                                                : power == 1 ? sqrt(value)
                                                                             : 1 / sqrt(value);
            for (int64_t k = 0; k < P; k++) scaled[i * P + k] = scale * vectors[i * P + k];
        }
        if (scaled)
            cblas_dgemm(CblasRowMajor, CblasTrans, CblasNoTrans, P, P, P, 1, vectors, P, scaled, P, 0, out[power], P);
        mgn_free(scaled);
    }
    mgn_free(values);
    mgn_free(vectors);
    return status;
}

/* Of all gradients of convex quadratics the one nearest to A on grey pictures: symmetric positive definite within S, and
 * as A is from S to T. */
static mgn_status make_gradient(double *A) {
    double *within = mgn_alloc_aligned((size_t)P * P, sizeof *within),
           *across = mgn_alloc_aligned((size_t)P * 2 * P, sizeof *across);
    mgn_status status = within && across ? MGN_OK : MGN_ERR_MEMORY;
    if (status == MGN_OK) {
        split(A, within, across);
        status = make_definite(within, NULL, NULL);
    }
    if (status == MGN_OK) join(within, across, A);
    mgn_free(within);
    mgn_free(across);
    return status;
}

mgn_status mgn_cifar_quadratic(double *within, const double *across, double *V) {
    double *root = mgn_alloc_aligned((size_t)P * P, 2 * sizeof *root), *inverse = root ? root + P * P : NULL,
           *mixed = mgn_alloc_aligned((size_t)P * 2 * P, sizeof *mixed);
    mgn_status status = root && mixed ? make_definite(within, root, inverse) : MGN_ERR_MEMORY;
    if (status == MGN_OK) {
        cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, P, 2 * P, P, 1, inverse, P, across, 2 * P, 0, mixed,
                    2 * P);
        memset(V, 0, (size_t)D * D * sizeof *V);
        for (int64_t i = 0; i < P; i++) {
            for (int64_t k = 0; k < P; k++) {
                const double coordinates[3] = {root[i * P + k], mixed[(i * P + k) * 2], mixed[(i * P + k) * 2 + 1]};
                mgn_cifar_from_coordinates(coordinates, V + i * D + 3 * k);
            }
            for (int64_t t = 0; t < 2; t++)
                mgn_cifar_from_coordinates((const double[]){0, t == 0, t == 1}, V + (P + 2 * i + t) * D + 3 * i);
        }
    }
    mgn_free(root);
    mgn_free(mixed);
    return status;
}

/* ---- all baselines ---- */

/* Each pixel's channels from its own luma, by least squares. */
static mgn_colour_error judge_pixels(const mgn_cifar *c, const fit *f) {
    static const double least = 1e-9; /* a pixel that is the same in all pictures has the slope of its grey */
    for (int64_t k = 0; k < D; k++) {
        double squares = 0, products = 0;
        for (int64_t i = 0; i < c->learned; i++) {
            const double s = (double)f->s[i * P + k / 3];
            squares += s * s;
            products += s * (double)f->r[i * D + k];
        }
        const double slope = 1 + products / fmax(squares, least);
        for (int64_t i = 0; i < c->held; i++)
            f->found[i * D + k] = (float)(c->affine.mean_y[k] + slope * (double)f->held_s[i * P + k / 3]);
    }
    return mgn_cifar_error(f->found, c->colour.values + c->learned * D, c->held);
}

static mgn_status fit_baselines(mgn_cifar *c, fit *f) {
    static const double ridges[] = {0.01, 0.03, 0.1, 0.3, 1, 3, 10};
    double *A = mgn_alloc_aligned((size_t)P * D, sizeof *A);
    mgn_status status = A ? MGN_OK : MGN_ERR_MEMORY;
    c->error_affine.mse = INFINITY;
    for (size_t i = 0; i < MGN_COUNT(ridges) && status == MGN_OK; i++) {
        mgn_colour_error error;
        MGN_TRY_GOTO(solve(f, ridges[i], A), done);
        MGN_TRY_GOTO(judge(c, f, A, &error), done);
        if (error.mse >= c->error_affine.mse) continue;
        c->error_affine = error;
        c->ridge = ridges[i];
        memcpy(c->affine.A, A, (size_t)P * D * sizeof *A);
    }
    if (status == MGN_OK) status = make_gradient(c->affine.A);
    if (status == MGN_OK) status = judge(c, f, c->affine.A, &c->error_gradient);
    if (status == MGN_OK) c->error_pixel = judge_pixels(c, f);
done:
    mgn_free(A);
    return status;
}

/* ---- life ---- */

static mgn_status read_rows(const char *path, int64_t learned, int64_t held, mgn_cifar *c) {
    mgn_image_set set = {0};
    MGN_TRY(mgn_cifar_read(path, &set));
    mgn_status status = MGN_OK;
    if (set.count < learned + held)
        status = mgn_fail(MGN_ERR_ARGUMENT, "%s: %lld pictures were expected, %lld found", path,
                          (long long)(learned + held), (long long)set.count);
    if (status == MGN_OK) set.count = learned + held;
    if (status == MGN_OK) status = mgn_image_set_rows(&set, &c->colour);
    mgn_image_set_make_grey(&set);
    if (status == MGN_OK) status = mgn_image_set_rows(&set, &c->grey);
    mgn_image_set_free(&set);
    c->learned = learned;
    c->held = held;
    return status;
}

mgn_status mgn_cifar_prepare(const char *path, int64_t learned, int64_t held, mgn_cifar *c) {
    fit f = {0};
    MGN_TRY(read_rows(path, learned, held, c));
    c->affine.mean_s = mgn_alloc(P, sizeof(double));
    c->affine.mean_y = mgn_alloc(D, sizeof(double));
    c->affine.A = mgn_alloc_aligned((size_t)P * D, sizeof(double));
    if (!c->affine.mean_s || !c->affine.mean_y || !c->affine.A) return MGN_ERR_MEMORY;
    const int64_t at = learned * D;
    c->error_grey = mgn_cifar_error(c->grey.values + at, c->colour.values + at, held);
    set_means(c);
    mgn_status status = prepare_fit(c, &f);
    if (status == MGN_OK) status = fit_baselines(c, &f);
    free_fit(&f);
    return status;
}

void mgn_cifar_free(mgn_cifar *c) {
    mgn_matrix_free(&c->grey);
    mgn_matrix_free(&c->colour);
    mgn_free(c->affine.mean_s);
    mgn_free(c->affine.mean_y);
    mgn_free(c->affine.A);
    *c = (mgn_cifar){0};
}
