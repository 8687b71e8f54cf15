/* Gaussian to Gaussian by maximum likelihood: samples of N(mu, Sigma) are pulled to N(0, I), without being told mu, Sigma
 * or the optimal map g*(x) = Sigma^(-1/2) (x - mu), by which the result is then judged.
 *
 * The map is affine and the models contain all affine maps. Two things keep a training from it. Units that are not linear
 * over the data have to leave each other's way, which first-order steps are slow at: L-BFGS does it in some dozen steps,
 * the sooner the smaller the units begin. And any finite set of samples has another optimum than the distribution: so the
 * rest is done on samples that are new in every step, and the mean of the parameters over them is kept. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include <mgn/data.h>
#include <mgn/ot.h>

#include "core/random.h"
#include "experiments/show.h"
#include "train/fresh.h"

enum { MOST = 64, ROWS = 10000, START_ROWS = 1000, MOST_TRIALS = 6 };
/* Seeds and streams apart from one another. */
enum {
    SEED_LEARN = 1,
    SEED_FRESH = 2,
    SEED_START = 3,
    SEED_STEPS = 4,
    SEEDS = 8,
    STREAM_MEAN = 0x6d6561,
    STREAM_ROOT = 0x726f6f
};

typedef struct clouds {
    int64_t d, fresh_rows;
    double mean[MOST], covariance[MOST * MOST];
    mgn_target *source, *target;
    mgn_matrix learn, fresh, truth; /* truth: g* of the fresh rows */
    double optimum, cost; /* the least NLL of an affine map on the very samples; the squared Wasserstein distance */
} clouds;

/* ---- the problem ---- */

/* In two dimensions the report's; beyond, mean N(0, I) and covariance G G^T / d + I / 10 with G's entries N(0, 1). */
static void choose_source(clouds *c, uint64_t seed) {
    static const double mean[2] = {2, 1}, covariance[4] = {1, -0.8, -0.8, 1};
    const int64_t d = c->d;
    if (d == 2) {
        memcpy(c->mean, mean, sizeof mean);
        memcpy(c->covariance, covariance, sizeof covariance);
        return;
    }
    for (int64_t i = 0; i < d; i++) {
        c->mean[i] = mgn_host_normal(seed, STREAM_MEAN, (uint64_t)i);
        for (int64_t j = 0; j < d; j++) {
            double sum = 0;
            for (int64_t k = 0; k < d; k++)
                sum += mgn_host_normal(seed, STREAM_ROOT, (uint64_t)(i * d + k)) *
                       mgn_host_normal(seed, STREAM_ROOT, (uint64_t)(j * d + k));
            c->covariance[i * d + j] = sum / (double)d + (i == j ? 0.1 : 0);
        }
    }
}

static mgn_status sample(const mgn_target *source, int64_t rows, uint64_t seed, mgn_matrix *x) {
    MGN_TRY(mgn_matrix_create(rows, mgn_target_dimension(source), x));
    return mgn_target_sample(source, rows, seed, x->values);
}

static double log_determinant(const double *a, int64_t d) {
    double values[MOST], vectors[MOST * MOST], sum = 0;
    if (mgn_symmetric_eigen(a, d, values, vectors) != MGN_OK) return NAN;
    for (int64_t i = 0; i < d; i++) sum += log(values[i]);
    return sum;
}

static mgn_status prepare(clouds *c, uint64_t seed) {
    const int64_t d = c->d;
    double a[MOST * MOST], b[MOST], mean[MOST], s[MOST * MOST], zero[MOST] = {0}, identity[MOST * MOST] = {0};
    for (int64_t i = 0; i < d; i++) identity[i * (d + 1)] = 1;
    choose_source(c, seed);
    c->fresh_rows = d <= 8 ? 100000 : 20000;
    MGN_TRY(mgn_target_create_gaussian(d, c->mean, c->covariance, &c->source));
    MGN_TRY(mgn_target_create_gaussian(d, NULL, NULL, &c->target));
    MGN_TRY(sample(c->source, ROWS, SEEDS * seed + SEED_LEARN, &c->learn));
    MGN_TRY(sample(c->source, c->fresh_rows, SEEDS * seed + SEED_FRESH, &c->fresh));
    MGN_TRY(mgn_matrix_create(c->fresh_rows, d, &c->truth));
    MGN_TRY(mgn_bures_map(c->mean, c->covariance, zero, identity, d, a, b));
    MGN_TRY(mgn_affine_rows(a, b, c->fresh.values, c->fresh_rows, d, c->truth.values));
    MGN_TRY(mgn_bures_w2(c->mean, c->covariance, zero, identity, d, &c->cost));
    MGN_TRY(mgn_moments(c->learn.values, ROWS, d, false, mean, s));
    c->optimum = 0.5 * ((double)d * (log(2 * M_PI) + 1) + log_determinant(s, d));
    return MGN_OK;
}

/* ---- recipes ---- */

/* Weights of the non-linear units start small: N(0, 1) ones saturate most units on data this far from 0, and it takes long
 * until they have left each other's way. */
static void shrink_units(mgn_model *model) {
    const mgn_parameter *parameters = NULL;
    const size_t count = mgn_model_parameters(model, &parameters);
    for (size_t i = 0; i < count; i++)
        for (int64_t j = 0; *parameters[i].label == 'W' && j < mgn_shape_count(parameters[i].shape); j++)
            mgn_model_values(model)[parameters[i].offset + j] *= 0.1;
}

/* Adam 1e-3 on the 10,000 samples. */
static mgn_status train_published(const mgn_run *run, const clouds *c, mgn_model *model, int64_t *steps) {
    const mgn_train_config config = {
        .loss = {.kind = "nll"},
        .optimizer = {.kind = "adam", .lr = 1e-3},
        .batch = 32,
        .epochs = run->config->epochs ? run->config->epochs : 50,
        .seed = run->config->seed,
    };
    return mgn_train_step(run, "published recipe", model, &(mgn_samples){c->learn.values, NULL, ROWS}, &config, steps,
                          NULL);
}

/* L-BFGS on a few samples, drawn for it. */
static mgn_status train_start(const mgn_run *run, const clouds *c, const mgn_train_config *config, int64_t rows,
                              mgn_model *model, int64_t *steps) {
    mgn_matrix x = {0};
    mgn_status status = sample(c->source, rows, SEEDS * run->config->seed + SEED_START, &x);
    if (status == MGN_OK)
        status = mgn_train_step(run, "L-BFGS", model, &(mgn_samples){x.values, NULL, rows}, config, steps, NULL);
    mgn_matrix_free(&x);
    return status;
}

/* Then Adam on samples that are new in every step. */
static mgn_status train_best(const mgn_run *run, const clouds *c, mgn_model *model, int64_t *steps) {
    const mgn_train_config start = {.loss = {.kind = "nll"}, .optimizer = {.kind = "lbfgs"}, .epochs = 60};
    const mgn_train_config config = {
        .loss = {.kind = "nll"},
        .optimizer = {.kind = "adam", .lr = 0.02, .beta2 = 0.99},
        .schedule = {.kind = MGN_SCHEDULE_COSINE},
        .batch = c->d <= 4   ? 1000
                 : c->d <= 8 ? 500
                             : 200,
        .epochs = c->d == 2    ? 6000
                  : c->d <= 16 ? 3000
                               : 1000,
        .seed = SEEDS * run->config->seed + SEED_STEPS,
    };
    MGN_TRY(train_start(run, c, &start, START_ROWS, model, steps));
    return mgn_train_fresh_step(run, "fresh samples", model, c->source, &config, steps);
}

/* Both densities given, the Monge-Ampere equation holds at every point when g is the map: what a least-squares fit leaves
 * over does not depend on the samples, as long as they outnumber the parameters. */
static mgn_status train_equation(const mgn_run *run, const clouds *c, mgn_model *model, int64_t *steps) {
    const mgn_train_config config = {
        .loss = {.kind = "monge-ampere", .source = c->source, .target = c->target, .squared = true},
        .optimizer = {.kind = "lbfgs"},
        .epochs = 300,
        .real = mgn_device_get_info(run->device)->has_f64 ? MGN_F64 : MGN_F32,
    };
    return train_start(run, c, &config, MGN_MAX(START_ROWS, 4 * mgn_model_parameter_count(model)), model, steps);
}

static mgn_status train(const mgn_run *run, void *data, const mgn_trial *trial, mgn_model **model, int64_t *steps) {
    const clouds *c = data;
    MGN_TRY(mgn_model_create(&trial->model, run->config->seed, model));
    if (trial->recipe == mgn_published) return train_published(run, c, *model, steps);
    shrink_units(*model);
    return trial->recipe == mgn_best ? train_best(run, c, *model, steps) : train_equation(run, c, *model, steps);
}

/* ---- judging ---- */

/* L2-UVP of GradNetOT, which knows both densities, with a C-MGN and an M-MGN. */
static double published_uvp(const mgn_trial *trial, bool is_cascade) {
    static const struct {
        int64_t d;
        double cascade, modules;
    } rows[] = {{2, 0.084, 0.004}, {4, 0.095, 0.008}, {8, 0.099, 0.010}, {16, 0.334, 0.082}};
    for (size_t i = 0; i < MGN_COUNT(rows); i++)
        if (rows[i].d == trial->model.d) return is_cascade ? rows[i].cascade : rows[i].modules;
    return NAN;
}

static mgn_status judge(const mgn_run *run, void *data, const mgn_trial *trial, mgn_model *model, mgn_map *map,
                        mgn_experiment_result *result) {
    clouds *c = data;
    double nll = NAN, cost, uvp;
    const int64_t d = c->d;
    const bool is_cascade = strcmp(trial->model.kind, "cmgn") == 0, has_nll = d <= 8; /* (n, d, d) numbers */
    if (has_nll)
        MGN_TRY(mgn_measure_loss(&(mgn_loss_config){.kind = "nll"}, run->device, model,
                                 &(mgn_samples){c->learn.values, NULL, ROWS}, &nll));
    mgn_matrix mapped = {0};
    MGN_TRY(mgn_matrix_create(c->fresh_rows, d, &mapped));
    mgn_status status = mgn_map_apply(map, c->fresh.values, c->fresh_rows, mapped.values);
    if (status == MGN_OK) status = mgn_l2_uvp(mapped.values, c->truth.values, c->fresh_rows, d, (double)d, &uvp);
    if (status == MGN_OK) status = mgn_map_apply(map, c->learn.values, ROWS, mapped.values);
    if (status == MGN_OK) status = mgn_transport_cost(c->learn.values, mapped.values, ROWS, d, &cost);
    mgn_matrix_free(&mapped);
    MGN_TRY(status);
    if (has_nll) mgn_add_figure(result, "nll", nll, d != 2 ? NAN : is_cascade ? 2.337 : 2.342, c->optimum);
    mgn_add_figure(result, "cost", cost, d == 2 ? 5.47 : NAN, c->cost);
    mgn_add_figure(result, "uvp", uvp, published_uvp(trial, is_cascade), 0);
    const mgn_shown_rows shown = {.x = c->fresh.values, .truth = c->truth.values, .n = c->fresh_rows, .d = d};
    return mgn_show_map(run, map, &shown);
}

/* ---- running ---- */

/* The report's models in two dimensions; beyond, 4 units. */
static size_t list_trials(int64_t d, mgn_trial trials[MOST_TRIALS]) {
    static const char *const recipes[] = {mgn_published, mgn_best, mgn_monge_ampere};
    size_t count = 0;
    for (size_t r = 0; r < MGN_COUNT(recipes); r++) {
        if ((d > 2 && recipes[r] == mgn_published) || (d > 16 && recipes[r] == mgn_monge_ampere)) continue;
        trials[count++] = (mgn_trial){
            recipes[r], {.kind = "cmgn", .d = d, .h = d == 2 ? 2 : 4, .layers = 2, .activation = MGN_LOGISTIC}};
        trials[count++] =
            (mgn_trial){recipes[r], {.kind = "mmgn", .d = d, .h = d == 2 ? 3 : 4, .layers = 2, .activation = MGN_TANH}};
    }
    return count;
}

static mgn_status run_dimension(const mgn_run *run, int64_t d) {
    if (d < 2 || d > MOST)
        return mgn_fail(MGN_ERR_ARGUMENT, "dimensions from 2 to %d were expected, %lld found", MOST, (long long)d);
    mgn_trial trials[MOST_TRIALS];
    const mgn_protocol protocol = {trials, list_trials(d, trials), train, judge, NULL};
    clouds *c = mgn_alloc(1, sizeof *c);
    if (!c) return MGN_ERR_MEMORY;
    c->d = d;
    mgn_status status = prepare(c, run->config->seed);
    if (status == MGN_OK) status = mgn_run_trials(run, &protocol, c);
    mgn_matrix_free(&c->learn);
    mgn_matrix_free(&c->fresh);
    mgn_matrix_free(&c->truth);
    mgn_target_destroy(c->source);
    mgn_target_destroy(c->target);
    mgn_free(c);
    return status;
}

static mgn_status run_experiment(const mgn_run *run) {
    const int64_t *dimensions = run->config->dimensions;
    if (dimensions[0] == 0) return run_dimension(run, 2);
    for (size_t i = 0; i < MGN_MOST_DIMENSIONS && dimensions[i] != 0; i++) MGN_TRY(run_dimension(run, dimensions[i]));
    return MGN_OK;
}

const mgn_experiment mgn_gaussian_experiment = {
    .label = "gaussian",
    .summary = "N([2,1], [[1,-.8],[-.8,1]]) to N(0, I) by maximum likelihood, from samples; other dimensions",
    .details =
        "Published recipe: negative log-likelihood of 10,000 samples; the reports state no more, so Adam with learning "
        "rate 1e-3, batches of 32 and 50 epochs are taken from the gradient field. Best recipe: small units at the "
        "start, 60 steps of L-BFGS on 1,000 samples, then Adam on samples that are new in every step (6,000 steps of "
        "1,000 in two dimensions), a cosine schedule, and the mean of the parameters over the last half. "
        "Recipe monge-ampere, which knows both densities: L-BFGS on the squared residual of the Monge-Ampere equation "
        "at 1,000 samples, or 4 for each parameter; up to 16 dimensions. nll: on the 10,000 samples, where the best "
        "affine map reaches the optimum that is shown (up to 8 dimensions); cost: E|x - g(x)|^2 over them, against the "
        "squared Wasserstein distance of the two distributions; uvp: mean squared distance to the optimal map on "
        "100,000 fresh samples (20,000 beyond 8 dimensions), in percent of the target's variance, beside that of "
        "GradNetOT. --d takes other dimensions: random covariances, models of 4 units.",
    .run = run_experiment,
    .is_shared = true,
};
