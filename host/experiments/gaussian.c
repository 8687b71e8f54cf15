/* Gaussian to Gaussian by maximum likelihood: samples of N(mu, Sigma) are pulled to N(0, I), without being told mu, Sigma
 * or the optimal map g*(x) = Sigma^(-1/2) (x - mu), by which the result is then judged. */
#include <math.h>
#include <string.h>

#include <mgn/data.h>
#include <mgn/ot.h>

#include "core/random.h"
#include "experiments/experiments.h"

enum { D = 2, ROWS = 10000, FRESH_ROWS = 100000, STREAM_LEARN = 0x6c6561, STREAM_FRESH = 0x667265 };

static const double mu[D] = {2, 1}, sigma[D * D] = {1, -0.8, -0.8, 1};
static const double standard_mean[D] = {0, 0}, standard_covariance[D * D] = {1, 0, 0, 1};

static const mgn_trial trials[] = {
    {mgn_published, {.kind = "cmgn", .d = D, .h = 2, .layers = 2, .activation = MGN_LOGISTIC}},
    {mgn_published, {.kind = "mmgn", .d = D, .h = 3, .layers = 2, .activation = MGN_TANH}},
    {mgn_best, {.kind = "cmgn", .d = D, .h = 2, .layers = 2, .activation = MGN_LOGISTIC}},
    {mgn_best, {.kind = "mmgn", .d = D, .h = 3, .layers = 2, .activation = MGN_TANH}},
};

typedef struct clouds {
    mgn_matrix learn, fresh, truth; /* truth: g* of the fresh rows */
    double optimum, cost; /* the least NLL of an affine map on the very samples; the squared Wasserstein distance */
} clouds;

/* Rows mu + root z, z standard normal. */
static mgn_status sample(int64_t rows, uint64_t seed, uint32_t stream, const double root[D * D], mgn_matrix *x) {
    MGN_TRY(mgn_matrix_create(rows, D, x));
    for (int64_t i = 0; i < rows; i++) {
        double z[D];
        for (int64_t j = 0; j < D; j++) z[j] = mgn_host_normal(seed, stream, (uint64_t)(D * i + j));
        for (int64_t j = 0; j < D; j++) {
            double sum = mu[j];
            for (int64_t k = 0; k < D; k++) sum += root[j * D + k] * z[k];
            x->values[D * i + j] = (float)sum;
        }
    }
    return MGN_OK;
}

static mgn_status prepare(clouds *c, uint64_t seed) {
    double root[D * D], a[D * D], b[D], mean[D], s[D * D];
    MGN_TRY(mgn_spd_sqrt(sigma, D, root, NULL));
    MGN_TRY(sample(ROWS, seed, STREAM_LEARN, root, &c->learn));
    MGN_TRY(sample(FRESH_ROWS, seed, STREAM_FRESH, root, &c->fresh));
    MGN_TRY(mgn_matrix_create(FRESH_ROWS, D, &c->truth));
    MGN_TRY(mgn_bures_map(mu, sigma, standard_mean, standard_covariance, D, a, b));
    MGN_TRY(mgn_affine_rows(a, b, c->fresh.values, FRESH_ROWS, D, c->truth.values));
    MGN_TRY(mgn_bures_w2(mu, sigma, standard_mean, standard_covariance, D, &c->cost));
    MGN_TRY(mgn_moments(c->learn.values, ROWS, D, false, mean, s));
    c->optimum = 0.5 * (D * log(2 * M_PI) + D + log(s[0] * s[3] - s[1] * s[2]));
    return MGN_OK;
}

/* Weights of the non-linear units start small: N(0, 1) ones saturate most units on data this far from 0, and it takes long
 * until they have left each other's way. */
static void shrink_units(mgn_model *model) {
    const mgn_parameter *parameters = NULL;
    const size_t count = mgn_model_parameters(model, &parameters);
    for (size_t i = 0; i < count; i++)
        for (int64_t j = 0; *parameters[i].label == 'W' && j < mgn_shape_count(parameters[i].shape); j++)
            mgn_model_values(model)[parameters[i].offset + j] *= 0.3;
}

static mgn_status train(const mgn_run *run, void *data, const mgn_trial *trial, mgn_model **model, int64_t *steps) {
    const clouds *c = data;
    const bool published = trial->recipe == mgn_published;
    const mgn_train_config config = {
        .loss = {.kind = "nll"},
        .optimizer = {.kind = "adam", .lr = published ? 1e-3 : 0.05, .beta2 = published ? 0 : 0.99},
        .schedule = {.kind = published ? MGN_SCHEDULE_CONSTANT : MGN_SCHEDULE_COSINE},
        .batch = published ? 32 : 500,
        .epochs = !published            ? 60
                  : run->config->epochs ? run->config->epochs
                                        : 50,
        .seed = run->config->seed,
    };
    MGN_TRY(mgn_model_create(&trial->model, run->config->seed, model));
    if (!published) shrink_units(*model);
    return mgn_train_step(run, published ? "published recipe" : "best recipe", *model,
                          &(mgn_samples){c->learn.values, NULL, ROWS}, &config, steps, NULL);
}

static mgn_status judge(const mgn_run *run, void *data, const mgn_trial *trial, mgn_model *model, mgn_map *map,
                        mgn_experiment_result *result) {
    clouds *c = data;
    double nll, cost, uvp;
    const bool is_cascade = strcmp(trial->model.kind, "cmgn") == 0;
    MGN_TRY(mgn_measure_loss(&(mgn_loss_config){.kind = "nll"}, run->device, model,
                             &(mgn_samples){c->learn.values, NULL, ROWS}, &nll));
    mgn_matrix mapped = {0};
    MGN_TRY(mgn_matrix_create(FRESH_ROWS, D, &mapped));
    mgn_status status = mgn_map_apply(map, c->fresh.values, FRESH_ROWS, mapped.values);
    if (status == MGN_OK) status = mgn_l2_uvp(mapped.values, c->truth.values, FRESH_ROWS, D, D, &uvp);
    if (status == MGN_OK) status = mgn_map_apply(map, c->learn.values, ROWS, mapped.values);
    if (status == MGN_OK) status = mgn_transport_cost(c->learn.values, mapped.values, ROWS, D, &cost);
    mgn_matrix_free(&mapped);
    MGN_TRY(status);
    mgn_add_figure(result, "nll", nll, is_cascade ? 2.337 : 2.342, c->optimum);
    mgn_add_figure(result, "cost", cost, 5.47, c->cost);
    mgn_add_figure(result, "uvp", uvp, NAN, NAN);
    return MGN_OK;
}

static mgn_status run_experiment(const mgn_run *run) {
    static const mgn_protocol protocol = {trials, MGN_COUNT(trials), train, judge};
    clouds c = {0};
    mgn_status status = prepare(&c, run->config->seed);
    if (status == MGN_OK) status = mgn_run_trials(run, &protocol, &c);
    mgn_matrix_free(&c.learn);
    mgn_matrix_free(&c.fresh);
    mgn_matrix_free(&c.truth);
    return status;
}

const mgn_experiment mgn_gaussian_experiment = {
    .label = "gaussian",
    .summary = "N([2,1], [[1,-.8],[-.8,1]]) to N(0, I) by maximum likelihood, from 10,000 samples",
    .details =
        "Published recipe: negative log-likelihood; the reports state no more, so Adam with learning rate 1e-3, "
        "batches of 32 and 50 epochs are taken from the gradient field. Best recipe: batches of 500, beta2 .99, a "
        "cosine schedule, small units at the start. nll: on the training samples, where the best affine map "
        "reaches the optimum that is shown; cost: E|x - g(x)|^2 over them, against the squared Wasserstein "
        "distance of the two distributions; uvp: mean squared distance to the optimal map on 100,000 fresh "
        "samples, in percent of the target's variance.",
    .run = run_experiment,
};
