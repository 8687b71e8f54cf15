/* The Wasserstein-2 benchmark of Korotin et al. (NeurIPS 2021): unpaired samples of P and Q, and pairs with the true
 * optimal map that nothing but the judging sees. The map is learned by the semi-dual from samples alone. */
#include <math.h>
#include <stdio.h>
#include <sys/stat.h>

#include <mgn/data.h>
#include <mgn/ot.h>
#include <mgn/semidual.h>

#include "experiments/show.h"

enum { MOST_PATH = 4096, MOST = 64, HELD_PARTS = 20, USUAL_EPOCHS = 24 };

/* L2-UVP of published solvers, in percent: from the benchmark's own (the best of W2, MM and MMv2), amortised conjugates
 * with L-BFGS, and expectile regularisation. */
static const struct {
    int64_t d;
    double affine, mm, w2ot, enot;
} published[] = {
    {2, 13.8, 0.1, 0.03, 0.02}, {4, 15.0, 0.3, 0.22, 0.03}, {8, 27.1, 0.9, 0.6, 0.14}, {16, 41.4, 2.2, 0.8, 0.24}};

typedef struct bench {
    int64_t d;
    mgn_matrix source, target, test_x, test_y;
    mgn_clouds learn, held; /* the last twentieth of either table is held out */
    double uvp_affine;
} bench;

/* ---- the data ---- */

/* DIR/dD, or DIR itself where it has the tables. */
static mgn_status read_table(const char *folder, int64_t d, const char *name, mgn_matrix *table) {
    char path[MOST_PATH];
    struct stat found;
    int length = snprintf(path, sizeof path, "%s/d%lld/%s.npy", folder, (long long)d, name);
    if (length >= (int)sizeof path) return mgn_fail(MGN_ERR_ARGUMENT, "--data: the path is too long");
    if (stat(path, &found) != 0) snprintf(path, sizeof path, "%s/%s.npy", folder, name);
    MGN_TRY(mgn_npy_read(path, table));
    if (d && table->columns != d)
        return mgn_fail(MGN_ERR_FORMAT, "%s: %lld columns were expected, %lld found", path, (long long)d,
                        (long long)table->columns);
    return MGN_OK;
}

/* The affine map between Gaussians of the samples' moments: what can be had without learning. */
static mgn_status judge_affine(bench *b) {
    double mean[2][MOST], covariance[2][MOST * MOST], a[MOST * MOST], offset[MOST];
    mgn_matrix mapped = {0};
    MGN_TRY(mgn_moments(b->learn.x, b->learn.n, b->d, false, mean[0], covariance[0]));
    MGN_TRY(mgn_moments(b->learn.y, b->learn.m, b->d, false, mean[1], covariance[1]));
    MGN_TRY(mgn_bures_map(mean[0], covariance[0], mean[1], covariance[1], b->d, a, offset));
    MGN_TRY(mgn_matrix_create(b->test_x.rows, b->d, &mapped));
    mgn_status status = mgn_affine_rows(a, offset, b->test_x.values, b->test_x.rows, b->d, mapped.values);
    if (status == MGN_OK)
        status = mgn_l2_uvp(mapped.values, b->test_y.values, b->test_x.rows, b->d, (double)b->d, &b->uvp_affine);
    mgn_matrix_free(&mapped);
    return status;
}

static mgn_status prepare(bench *b, const char *folder) {
    MGN_TRY(read_table(folder, b->d, "source", &b->source));
    if (b->d == 0) b->d = b->source.columns;
    if (b->d > MOST)
        return mgn_fail(MGN_ERR_UNSUPPORTED, "up to %d dimensions were expected, %lld found", MOST, (long long)b->d);
    MGN_TRY(read_table(folder, b->d, "target", &b->target));
    MGN_TRY(read_table(folder, b->d, "test_x", &b->test_x));
    MGN_TRY(read_table(folder, b->d, "test_y", &b->test_y));
    const int64_t n = b->source.rows, m = b->target.rows, held_n = n / HELD_PARTS, held_m = m / HELD_PARTS;
    if (held_n < 1 || held_m < 1 || b->test_x.rows != b->test_y.rows)
        return mgn_fail(MGN_ERR_FORMAT,
                        "--data: at least %d rows of source and target, and as many rows of test_x as of test_y were "
                        "expected; %lld, %lld, %lld and %lld found",
                        HELD_PARTS, (long long)n, (long long)m, (long long)b->test_x.rows, (long long)b->test_y.rows);
    b->learn = (mgn_clouds){b->source.values, b->target.values, n - held_n, m - held_m};
    b->held =
        (mgn_clouds){b->source.values + (n - held_n) * b->d, b->target.values + (m - held_m) * b->d, held_n, held_m};
    return judge_affine(b);
}

/* ---- training and judging ---- */

typedef struct progress {
    const mgn_experiment_config *config;
    char label[24];
} progress;

static bool pass_on(void *context, const mgn_train_report *report) {
    const progress *p = context;
    return mgn_report_steps(p->config, p->label, report);
}

static mgn_status train(const mgn_run *run, void *data, const mgn_trial *trial, mgn_model **model, int64_t *steps) {
    const bench *b = data;
    progress p = {.config = run->config};
    mgn_semidual_result result = {0};
    snprintf(p.label, sizeof p.label, "semi-dual, d=%lld", (long long)b->d);
    mgn_train_config config = {
        .optimizer = {.kind = "adam", .lr = 0.02},
        .schedule = {.kind = MGN_SCHEDULE_COSINE},
        .batch = 512,
        .epochs = run->config->epochs ? run->config->epochs : USUAL_EPOCHS,
        .seed = run->config->seed,
        .report = pass_on,
        .context = &p,
    };
    MGN_TRY(mgn_control_alone(run, p.label, &config));
    MGN_TRY(mgn_model_create(&trial->model, run->config->seed, model));
    MGN_TRY(mgn_semidual_start(*model, &b->learn, run->config->seed));
    const mgn_status status = mgn_semidual(*model, run->device, &b->learn, &config, &result);
    *steps += result.train.steps;
    return status;
}

static double mean_square(const float *rows, int64_t n, int64_t d) {
    double sum = 0;
    for (int64_t i = 0; i < n * d; i++) sum += (double)rows[i] * (double)rows[i];
    return sum / (double)n;
}

static mgn_status judge(const mgn_run *run, void *data, const mgn_trial *trial, mgn_model *model, mgn_map *map,
                        mgn_experiment_result *result) {
    (void)trial;
    const bench *b = data;
    const int64_t d = b->d, n = b->test_x.rows;
    double uvp, value, cost, affine = NAN, mm = NAN, w2ot = NAN, enot = NAN;
    mgn_matrix mapped = {0};
    MGN_TRY(mgn_matrix_create(n, d, &mapped));
    mgn_status status = mgn_map_apply(map, b->test_x.values, n, mapped.values);
    if (status == MGN_OK) status = mgn_l2_uvp(mapped.values, b->test_y.values, n, d, (double)d, &uvp);
    mgn_matrix_free(&mapped);
    MGN_TRY(status);
    MGN_TRY(mgn_semidual_value(model, run->device, &b->held, 1e-5, &value));
    MGN_TRY(mgn_transport_cost(b->test_x.values, b->test_y.values, n, d, &cost));
    for (size_t i = 0; i < MGN_COUNT(published); i++)
        if (published[i].d == d) {
            affine = published[i].affine;
            mm = published[i].mm;
            w2ot = published[i].w2ot;
            enot = published[i].enot;
        }
    mgn_add_figure(result, "uvp", uvp, enot, 0);
    mgn_add_figure(result, "uvp_beside_w2ot", uvp, w2ot, NAN);
    mgn_add_figure(result, "uvp_beside_mm", uvp, mm, NAN);
    mgn_add_figure(result, "uvp_affine", b->uvp_affine, affine, NAN);
    mgn_add_figure(result, "w2_squared",
                   mean_square(b->held.x, b->held.n, d) + mean_square(b->held.y, b->held.m, d) - 2 * value, NAN, cost);
    return mgn_show_map(run, map, &(mgn_shown_rows){.x = b->test_x.values, .truth = b->test_y.values, .n = n, .d = d});
}

/* ---- running ---- */

static mgn_status run_dimension(const mgn_run *run, int64_t d) {
    bench b = {.d = d};
    mgn_status status = prepare(&b, run->config->data);
    const mgn_trial trial = {mgn_best, {.kind = "dicnn", .d = b.d, .h = 128, .layers = 2, .activation = MGN_SOFTPLUS}};
    const mgn_protocol protocol = {.trials = &trial, .count = 1, .train = train, .judge = judge};
    if (status == MGN_OK) status = mgn_run_trials(run, &protocol, &b);
    mgn_matrix *const tables[] = {&b.source, &b.target, &b.test_x, &b.test_y};
    for (size_t i = 0; i < MGN_COUNT(tables); i++) mgn_matrix_free(tables[i]);
    return status;
}

/* The dimensions asked for; else those that have a folder; else DIR itself. */
static mgn_status run_experiment(const mgn_run *run) {
    const mgn_experiment_config *config = run->config;
    char path[MOST_PATH];
    struct stat found;
    int64_t count = 0;
    if (!config->data)
        return mgn_fail(MGN_ERR_ARGUMENT,
                        "--data is missing: the folder that has d2, d4, .. with source.npy, target.npy, test_x.npy and "
                        "test_y.npy, or these files themselves");
    for (size_t i = 0; i < MGN_MOST_DIMENSIONS && config->dimensions[i] != 0; i++, count++)
        MGN_TRY(run_dimension(run, config->dimensions[i]));
    for (size_t i = 0; config->dimensions[0] == 0 && i < MGN_COUNT(published); i++) {
        const int length = snprintf(path, sizeof path, "%s/d%lld/source.npy", config->data, (long long)published[i].d);
        if (length >= (int)sizeof path || stat(path, &found) != 0) continue;
        MGN_TRY(run_dimension(run, published[i].d));
        count++;
    }
    return count ? MGN_OK : run_dimension(run, 0);
}

const mgn_experiment mgn_w2bench_experiment = {
    .label = "w2bench",
    .summary = "the Wasserstein-2 benchmark: optimal maps from unpaired samples alone",
    .details =
        "A dense ICNN of 2 layers of 128 units, from the affine map between the moments, by the semi-dual with "
        "conjugate "
        "points kept and renewed by Newton steps: Adam with learning rate .02 falling along a half cosine, batches of "
        "512 "
        "pairs of neighbouring rows, 24 passes over 95 % of the rows (--epochs: another number), of which another "
        "twentieth "
        "is held out and says which epochs' parameters are kept. uvp: mean squared "
        "distance to the true map on the test points, in percent of the target's variance d, beside expectile "
        "regularisation (ENOT, the best known), amortised conjugates with L-BFGS (W2OT) and the best of W2, MM and "
        "MMv2; uvp_affine: of the affine map between the moments; w2_squared: by the dual on the rows held out, beside "
        "the cost of the true map. --data DIR has source.npy, target.npy, test_x.npy and test_y.npy, in folders d2, "
        "d4, d8 and d16 or by themselves; --d takes certain folders.",
    .run = run_experiment,
};
