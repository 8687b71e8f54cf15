/* The field PolyMax in many dimensions (Chaudhari, Pranav, Moura, arXiv 2404.07361, and their code): on the unit cube
 *
 *     f(x) = max over A in {S, P, Q} of (x - 1/2)^T A (x - 1/2) / c,   alpha_ij = (i + j - 2) / (2 d - 2), i, j from 1,
 *     S_ij = (2 + sin 4 pi alpha_ij) / w_ij,  P_ij = (1 + 2 alpha_ij) / w_ij,  Q_ij = (3 - 2 alpha_ij) / w_ij,
 *     w_ij = log d (1 + |i - j|),
 *
 * c being such that |grad f| is 1 on average. They train on 10,000 batches of 100 fresh points, a million; here there are
 * 100,000 points in all, gone through several times. The field is a graph like any other, whose gradient is taken in
 * reverse. */
#include <cblas.h>
#include <lapacke.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <mgn/data.h>
#include <mgn/ot.h>

#include "core/random.h"
#include "experiments/show.h"

enum {
    ROWS = 100000,
    FRESH_ROWS = 10000,
    NORM_ROWS = 10000,
    CHUNK = 1000, /* divides all of them */
    PIECES = 4,
    STREAM_LEARN = 0x6c70,
    STREAM_FRESH = 0x6670,
    STREAM_NORM = 0x6e70,
    STREAM_START = 0x7370
};
static const int64_t usual_dimensions[] = {32, 256};

/* Decibels of the published networks of about 1024 d parameters, and of a fitted symmetric positive definite matrix. */
static const struct {
    int64_t d;
    double cascade, modular;
} published[] = {{256, -10.6, -11.3}, {1024, -8.7, -10.4}};

typedef struct cube {
    int64_t d;
    double norm; /* c */
    mgn_matrix x, y, fresh_x, fresh_y;
    double *linear; /* (d, d): the fitted matrix, y = linear (x - 1/2) */
    mgn_plan *plan;
    mgn_tensor *points, *gradients;
} cube;

/* ---- the field ---- */

static void fill_matrix(int which, int64_t d, double *a) {
    for (int64_t i = 0; i < d; i++)
        for (int64_t j = 0; j < d; j++) {
            const double alpha = (double)(i + j) / (double)(2 * d - 2);
            const double rise[] = {2 + sin(4 * M_PI * alpha), 1 + 2 * alpha, 3 - 2 * alpha};
            a[i * d + j] = rise[which] / (log((double)d) * (double)(1 + llabs((long long)(i - j))));
        }
}

/* grad f at CHUNK points, c being 1. */
static mgn_status build_field(mgn_graph *graph, int64_t d, mgn_node **x, mgn_node **gradient) {
    double *a = mgn_alloc((size_t)d, (size_t)d * sizeof *a);
    mgn_node *forms[3];
    if (!a) return MGN_ERR_MEMORY;
    *x = mgn_input(graph, "x", MGN_REAL, MGN_SHAPE(CHUNK, d));
    mgn_node *centred = mgn_shift(*x, -0.5);
    for (int i = 0; i < 3; i++) {
        fill_matrix(i, d, a);
        mgn_node *A = mgn_table(graph, a, MGN_SHAPE(d, d));
        forms[i] = mgn_sum(mgn_mul(centred, mgn_matmul(centred, A)), 2);
    }
    mgn_free(a);
    mgn_node *sum = mgn_sum(mgn_maximum(forms[0], mgn_maximum(forms[1], forms[2])), -1);
    MGN_TRY(mgn_graph_status(graph));
    MGN_TRY(mgn_grad(sum, x, 1, gradient));
    mgn_output(*gradient);
    return MGN_OK;
}

static mgn_status compile_field(cube *c, mgn_device *device) {
    mgn_graph *graph = NULL;
    mgn_node *x = NULL, *gradient = NULL;
    MGN_TRY(mgn_graph_create(&graph));
    mgn_status status = build_field(graph, c->d, &x, &gradient);
    if (status == MGN_OK) status = mgn_plan_compile(graph, device, MGN_F32, NULL, 0, &c->plan);
    if (status == MGN_OK) {
        c->points = mgn_plan_tensor(c->plan, x);
        c->gradients = mgn_plan_tensor(c->plan, gradient);
    }
    mgn_graph_destroy(graph);
    return status;
}

/* `rows` points of the cube and the field there; a multiple of CHUNK. */
static mgn_status sample(cube *c, int64_t rows, uint64_t seed, uint32_t stream, mgn_matrix *x, mgn_matrix *y) {
    const int64_t d = c->d;
    MGN_TRY(mgn_matrix_create(rows, d, x));
    MGN_TRY(mgn_matrix_create(rows, d, y));
    for (int64_t i = 0; i < rows * d; i++) x->values[i] = (float)mgn_host_uniform(seed, stream, (uint64_t)i);
    for (int64_t at = 0; at < rows; at += CHUNK) {
        MGN_TRY(mgn_tensor_write(c->points, MGN_F32, x->values + at * d));
        MGN_TRY(mgn_plan_run(c->plan, 1));
        MGN_TRY(mgn_tensor_read(c->gradients, MGN_F32, y->values + at * d));
        if (mgn_interrupted()) return mgn_fail(MGN_ERR_INTERRUPTED, "interrupted");
    }
    for (int64_t i = 0; i < rows * d; i++) y->values[i] = (float)((double)y->values[i] / c->norm);
    return MGN_OK;
}

static mgn_status find_norm(cube *c, uint64_t seed) {
    mgn_matrix x = {0}, y = {0};
    double sum = 0;
    c->norm = 1;
    const mgn_status status = sample(c, NORM_ROWS, seed, STREAM_NORM, &x, &y);
    for (int64_t i = 0; status == MGN_OK && i < NORM_ROWS; i++) {
        double square = 0;
        for (int64_t j = 0; j < c->d; j++) {
            const double value = (double)y.values[i * c->d + j];
            square += value * value;
        }
        sum += sqrt(square);
    }
    mgn_matrix_free(&x);
    mgn_matrix_free(&y);
    if (status == MGN_OK) c->norm = sum / NORM_ROWS;
    return status;
}

/* ---- the linear map ---- */

/* Adds up x^T x and x^T y over all rows, x being centred: (d, d) each. `rows` has room for (CHUNK, d) twice. */
static void add_products(const cube *c, double *rows, double *xx, double *xy) {
    const int64_t d = c->d;
    const int n = (int)d;
    double *x = rows, *y = rows + CHUNK * d;
    for (int64_t at = 0; at < ROWS; at += CHUNK) {
        for (int64_t i = 0; i < CHUNK * d; i++) {
            x[i] = (double)c->x.values[at * d + i] - 0.5;
            y[i] = (double)c->y.values[at * d + i];
        }
        cblas_dgemm(CblasRowMajor, CblasTrans, CblasNoTrans, n, n, CHUNK, 1, x, n, x, n, 1, xx, n);
        cblas_dgemm(CblasRowMajor, CblasTrans, CblasNoTrans, n, n, CHUNK, 1, x, n, y, n, 1, xy, n);
    }
}

/* y = B (x - 1/2) by least squares, made symmetric; eigenvalues below 0 become 0. `vectors` and `values` get the
 * decomposition. */
static mgn_status fit_linear(cube *c, double *values, double *vectors) {
    const int64_t d = c->d;
    const lapack_int n = (lapack_int)d;
    double *b = c->linear, *xx = mgn_alloc((size_t)(d + 2 * CHUNK), (size_t)d * sizeof *xx);
    if (!xx) return MGN_ERR_MEMORY;
    memset(b, 0, (size_t)(d * d) * sizeof *b);
    add_products(c, xx + d * d, xx, b);
    const lapack_int failed = LAPACKE_dposv(LAPACK_ROW_MAJOR, 'U', n, n, xx, n, b, n);
    mgn_free(xx);
    if (failed != 0) return mgn_fail(MGN_ERR_NUMERIC, "the normal equations of the linear map were not solved");
    MGN_TRY(mgn_symmetric_eigen(b, d, values, vectors));
    memset(b, 0, (size_t)(d * d) * sizeof *b);
    for (int64_t k = 0; k < d; k++)
        for (int64_t i = 0; i < d; i++)
            for (int64_t j = 0; j < d; j++)
                b[i * d + j] += fmax(values[k], 0) * vectors[k * d + i] * vectors[k * d + j];
    return MGN_OK;
}

static mgn_status judge_linear(const cube *c, double *db) {
    const int64_t d = c->d;
    double rmse, *offset = mgn_alloc((size_t)d, sizeof *offset);
    mgn_matrix mapped = {0};
    mgn_status status = offset ? mgn_matrix_create(FRESH_ROWS, d, &mapped) : MGN_ERR_MEMORY;
    for (int64_t i = 0; status == MGN_OK && i < d; i++)
        for (int64_t j = 0; j < d; j++) offset[i] -= 0.5 * c->linear[i * d + j];
    if (status == MGN_OK) status = mgn_affine_rows(c->linear, offset, c->fresh_x.values, FRESH_ROWS, d, mapped.values);
    if (status == MGN_OK) status = mgn_rmse(mapped.values, c->fresh_y.values, FRESH_ROWS, d, &rmse);
    if (status == MGN_OK) *db = 20 * log10(rmse);
    mgn_matrix_free(&mapped);
    mgn_free(offset);
    return status;
}

/* ---- training and judging ---- */

/* Each piece starts as the linear map with some noise, by which pieces come to differ. */
static void start_pieces(mgn_model *model, const double *values, const double *vectors, uint64_t seed) {
    const mgn_model_config *config = mgn_model_get_config(model);
    const int64_t d = config->d, entries = config->h * d;
    double *all = mgn_model_values(model), trace = 0;
    for (int64_t i = 0; i < d; i++) trace += fmax(values[i], 0);
    const double noise = 0.3 * sqrt(trace) / (double)d; /* of a V's mean square entry */
    for (int64_t k = 0; k < config->layers; k++) {
        double *V = all + k * (entries + d);
        for (int64_t i = 0; i < entries; i++)
            V[i] = sqrt(fmax(values[i / d], 0)) * vectors[i] +
                   noise * mgn_host_normal(seed, STREAM_START, (uint64_t)(k * entries + i));
        memset(V + entries, 0, (size_t)d * sizeof *V);
    }
    double *last = all + config->layers * (entries + d);
    memset(last, 0, (size_t)config->layers * sizeof *last);
    last[config->layers] = 10; /* beta, which mgn_positive leaves as it is */
}

/* A frame whose origin is the middle of the cube. */
static mgn_status set_middle(mgn_model *model) {
    const int64_t d = mgn_model_get_config(model)->d;
    double *numbers = mgn_alloc((size_t)(3 * d), sizeof *numbers);
    if (!numbers) return MGN_ERR_MEMORY;
    for (int64_t i = 0; i < d; i++) {
        numbers[i] = 0.5;
        numbers[d + i] = 1;
    }
    const mgn_model_frame frame = {numbers, numbers + d, numbers + 2 * d, 1, true};
    const mgn_status status = mgn_model_set_frame(model, &frame);
    mgn_free(numbers);
    return status;
}

static mgn_status train(const mgn_run *run, void *data, const mgn_trial *trial, mgn_model **model, int64_t *steps) {
    cube *c = data;
    const uint64_t seed = run->config->seed;
    const int64_t d = c->d;
    const mgn_train_config config = {
        .loss = {.kind = "mse"},
        .optimizer = {.kind = "adam", .lr = d > 64 ? 1e-3 : 3e-3},
        .schedule = {.kind = MGN_SCHEDULE_COSINE},
        .batch = 500,
        .epochs = run->config->epochs ? run->config->epochs : 20,
        .seed = seed,
    };
    double *work = mgn_alloc((size_t)(d + 1), (size_t)d * sizeof *work);
    if (!work) return MGN_ERR_MEMORY;
    mgn_status status = fit_linear(c, work, work + d);
    if (status == MGN_OK) status = mgn_model_create(&trial->model, seed, model);
    if (status == MGN_OK) {
        start_pieces(*model, work, work + d, seed);
        status = set_middle(*model);
    }
    mgn_free(work);
    MGN_TRY(status);
    return mgn_train_step(run, "best recipe", *model, &(mgn_samples){c->x.values, c->y.values, ROWS}, &config, steps,
                          NULL);
}

static mgn_status judge(const mgn_run *run, void *data, const mgn_trial *trial, mgn_model *model, mgn_map *map,
                        mgn_experiment_result *result) {
    (void)trial;
    (void)model;
    const cube *c = data;
    double rmse, linear, cascade = NAN, modular = NAN;
    mgn_matrix mapped = {0};
    MGN_TRY(mgn_matrix_create(FRESH_ROWS, c->d, &mapped));
    mgn_status status = mgn_map_apply(map, c->fresh_x.values, FRESH_ROWS, mapped.values);
    if (status == MGN_OK) status = mgn_rmse(mapped.values, c->fresh_y.values, FRESH_ROWS, c->d, &rmse);
    mgn_matrix_free(&mapped);
    if (status == MGN_OK) status = judge_linear(c, &linear);
    MGN_TRY(status);
    for (size_t i = 0; i < MGN_COUNT(published); i++)
        if (published[i].d == c->d) {
            cascade = published[i].cascade;
            modular = published[i].modular;
        }
    mgn_add_figure(result, "db", 20 * log10(rmse), modular, NAN);
    mgn_add_figure(result, "db_beside_cascade", 20 * log10(rmse), cascade, NAN);
    mgn_add_figure(result, "db_linear", linear, NAN, NAN);
    const mgn_shown_rows shown = {.x = c->fresh_x.values, .truth = c->fresh_y.values, .n = FRESH_ROWS, .d = c->d};
    return mgn_show_map(run, map, &shown);
}

static mgn_status run_dimension(const mgn_run *run, int64_t d) {
    cube c = {.d = d, .linear = mgn_alloc((size_t)d, (size_t)d * sizeof *c.linear)};
    const uint64_t seed = run->config->seed;
    const mgn_trial trial = {mgn_best,
                             {.kind = "maxquad", .d = d, .h = d, .layers = PIECES, .activation = MGN_SOFTPLUS}};
    const mgn_protocol protocol = {.trials = &trial, .count = 1, .train = train, .judge = judge, .task = "polymax"};
    mgn_status status = c.linear ? compile_field(&c, run->device) : MGN_ERR_MEMORY;
    if (status == MGN_OK) status = find_norm(&c, seed);
    if (status == MGN_OK) status = sample(&c, ROWS, seed, STREAM_LEARN, &c.x, &c.y);
    if (status == MGN_OK) status = sample(&c, FRESH_ROWS, seed, STREAM_FRESH, &c.fresh_x, &c.fresh_y);
    if (status == MGN_OK) status = mgn_run_trials(run, &protocol, &c);
    mgn_matrix *const matrices[] = {&c.x, &c.y, &c.fresh_x, &c.fresh_y};
    for (size_t i = 0; i < MGN_COUNT(matrices); i++) mgn_matrix_free(matrices[i]);
    mgn_plan_destroy(c.plan);
    mgn_free(c.linear);
    return status;
}

mgn_status mgn_run_polymax(const mgn_run *run) {
    const int64_t *dimensions = run->config->dimensions;
    for (size_t i = 0; dimensions[0] == 0 && i < MGN_COUNT(usual_dimensions); i++)
        MGN_TRY(run_dimension(run, usual_dimensions[i]));
    for (size_t i = 0; i < MGN_MOST_DIMENSIONS && dimensions[i] != 0; i++) MGN_TRY(run_dimension(run, dimensions[i]));
    return MGN_OK;
}
