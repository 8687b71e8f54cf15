/* Learning a gradient field on the unit square from 10,000 pairs (x, grad f(x)). */
#include <math.h>
#include <string.h>

#include <mgn/data.h>
#include <mgn/ot.h>

#include "core/random.h"
#include "experiments/experiments.h"

enum { ROWS = 10000, FRESH_ROWS = 100000, CANDIDATES = 512, STREAM_LEARN = 0x6c6561, STREAM_FRESH = 0x667265 };

typedef struct field {
    const char *label;
    void (*gradient)(const double x[2], double g[2]);
    bool is_convex; /* on the square */
} field;

/* f = x1^4 + x2/2 + x1 x2/2 + 3 x2^2/2 - x2^3/3, as printed in the report: not convex near x1 = 0. */
static void report_gradient(const double x[2], double g[2]) {
    g[0] = 4 * x[0] * x[0] * x[0] + x[1] / 2;
    g[1] = 0.5 + x[0] / 2 + 3 * x[1] - x[1] * x[1];
}

/* f = x1^4 + x1^2/2 + x1 x2/2 + 3 x2^2/2 - x2^3/3, as in the authors' code: convex on the square. */
static void paper_gradient(const double x[2], double g[2]) {
    g[0] = 4 * x[0] * x[0] * x[0] + x[0] + x[1] / 2;
    g[1] = 3 * x[1] - x[1] * x[1] + x[0] / 2;
}

/* f = x1^4 + x2^2/2 + x1 x2/2 (Gravier, Picard): not convex near x1 = 0 either. */
static void gravier_gradient(const double x[2], double g[2]) {
    g[0] = 4 * x[0] * x[0] * x[0] + x[1] / 2;
    g[1] = x[1] + x[0] / 2;
}

static const field fields[] = {
    {"report", report_gradient, false},
    {"paper", paper_gradient, true},
    {"gravier", gravier_gradient, false},
};

/* The models of the report. */
#define CASCADE \
    { .kind = "cmgn", .d = 2, .h = 2, .layers = 2, .activation = MGN_LOGISTIC }
#define MODULES \
    { .kind = "mmgn", .d = 2, .h = 3, .layers = 2, .activation = MGN_TANH }

static const mgn_trial report_trials[] = {
    {mgn_published, CASCADE},
    {mgn_published, MODULES},
    {mgn_best, CASCADE},
    {mgn_best, MODULES},
};

/* On the convex field larger ones too, of up to the 100 parameters that Chaudhari, Pranav and Moura take. */
static const mgn_trial convex_trials[] = {
    {mgn_published, CASCADE},
    {mgn_published, MODULES},
    {mgn_best, CASCADE},
    {mgn_best, MODULES},
    {mgn_best, {.kind = "cmgn", .d = 2, .h = 22, .layers = 2, .activation = MGN_LOGISTIC}},
    {mgn_best, {.kind = "mmgn", .d = 2, .h = 4, .layers = 7, .activation = MGN_TANH}},
};

typedef struct pairs {
    const field *field;
    mgn_matrix x, y, fresh_x, fresh_y;
} pairs;

static mgn_status sample(const field *f, size_t rows, uint64_t seed, uint32_t stream, mgn_matrix *x, mgn_matrix *y) {
    MGN_TRY(mgn_matrix_create((int64_t)rows, 2, x));
    MGN_TRY(mgn_matrix_create((int64_t)rows, 2, y));
    for (size_t i = 0; i < rows; i++) {
        double point[2], gradient[2];
        for (size_t j = 0; j < 2; j++) {
            x->values[2 * i + j] = (float)mgn_host_uniform(seed, stream, 2 * i + j);
            point[j] = (double)x->values[2 * i + j];
        }
        f->gradient(point, gradient);
        for (size_t j = 0; j < 2; j++) y->values[2 * i + j] = (float)gradient[j];
    }
    return MGN_OK;
}

/* ---- recipes ---- */

static bool is_cascade(const mgn_trial *trial) { return strcmp(trial->model.kind, "cmgn") == 0; }

static bool is_large(const mgn_trial *trial) { return trial->model.h * trial->model.layers >= 20; }

/* Adam 1e-3, L1, batches of 32, 50 epochs. From N(0, 1) parameters two of three C-MGN never bend their two units within so
 * many such steps, and end at RMSE .47; so its start is chosen. M-MGN needs no choice. */
static mgn_status train_published(const mgn_run *run, const mgn_samples *samples, const mgn_trial *trial,
                                  mgn_model **model, int64_t *steps) {
    const uint64_t seed = run->config->seed;
    const mgn_train_config config = {
        .loss = {.kind = "l1"},
        .optimizer = {.kind = "adam", .lr = 1e-3},
        .batch = 32,
        .epochs = run->config->epochs ? run->config->epochs : 50,
        .seed = seed,
    };
    if (is_cascade(trial))
        MGN_TRY(mgn_choose_starts(&trial->model, run->device, samples, CANDIDATES, seed, model, 1));
    else
        MGN_TRY(mgn_model_create(&trial->model, seed, model));
    return mgn_train_step(run, "published recipe", *model, samples, &config, steps, NULL);
}

/* How a model is searched for: starts by mgn_choose_starts or random ones, and the rounds. */
typedef struct search {
    bool is_chosen;
    mgn_round rounds[4];
    size_t count;
} search;

static const char damped[] = "gauss-newton", lbfgs[] = "lbfgs";

/* The small cascade's best minimum is one of a dozen that are a few percent higher, and few starts lead there. */
static const search search_cascade = {true, {{40, 300, 100, damped}, {8, 1000, 150, damped}, {2, ROWS, 300, lbfgs}}, 3};
static const search search_few = {
    false, {{20, 200, 60, damped}, {8, 200, 120, damped}, {3, 500, 120, damped}, {1, ROWS, 60, lbfgs}}, 4};
static const search search_many = {
    false, {{8, 200, 50, damped}, {3, 200, 80, damped}, {1, 1000, 50, damped}, {1, 3000, 15, damped}}, 4};

/* Mean squared error by Levenberg-Marquardt in double, from many starts that halve from round to round; L-BFGS on all rows
 * ends it. */
static mgn_status train_best(const mgn_run *run, const mgn_samples *samples, const mgn_trial *trial, mgn_model **model,
                             int64_t *steps) {
    enum { MOST_STARTS = 40 };
    const search *s = is_large(trial) ? &search_many : is_cascade(trial) ? &search_cascade : &search_few;
    const mgn_loss_config loss = {.kind = "mse"};
    const int64_t count = MGN_MIN(s->rounds[0].models, MOST_STARTS);
    const uint64_t seed = run->config->seed;
    mgn_model *starts[MOST_STARTS];
    if (s->is_chosen)
        MGN_TRY(mgn_choose_starts(&trial->model, run->device, samples, CANDIDATES, seed, starts, count));
    else
        MGN_TRY(mgn_random_starts(&trial->model, count, seed, starts));
    return mgn_search(run, starts, samples, &loss, s->rounds, s->count, model, steps);
}

static mgn_status train(const mgn_run *run, void *data, const mgn_trial *trial, mgn_model **model, int64_t *steps) {
    const pairs *p = data;
    const mgn_samples samples = {p->x.values, p->y.values, ROWS};
    return trial->recipe == mgn_published ? train_published(run, &samples, trial, model, steps)
                                          : train_best(run, &samples, trial, model, steps);
}

/* ---- judging ---- */

/* Of models of 94 and 100 parameters: the mean of the cascades, the best of five modular ones. */
static double published_db(const field *f, const mgn_trial *trial) {
    if (!f->is_convex || !is_large(trial)) return NAN;
    return is_cascade(trial) ? -49.05 : -52.37;
}

static mgn_status judge(const mgn_run *run, void *data, const mgn_trial *trial, mgn_model *model, mgn_map *map,
                        mgn_experiment_result *result) {
    pairs *p = data;
    double loss, rmse, mae;
    const bool is_report = p->field == &fields[0];
    const mgn_loss_config l1 = {.kind = "l1"}, mse = {.kind = "mse"};
    MGN_TRY(mgn_measure_loss(trial->recipe == mgn_published ? &l1 : &mse, run->device, model,
                             &(mgn_samples){p->x.values, p->y.values, ROWS}, &loss));
    mgn_matrix mapped = {0};
    MGN_TRY(mgn_matrix_create(FRESH_ROWS, 2, &mapped));
    mgn_status status = mgn_map_apply(map, p->fresh_x.values, FRESH_ROWS, mapped.values);
    if (status == MGN_OK) status = mgn_rmse(mapped.values, p->fresh_y.values, FRESH_ROWS, 2, &rmse);
    if (status == MGN_OK) status = mgn_mae(mapped.values, p->fresh_y.values, FRESH_ROWS, 2, &mae);
    mgn_matrix_free(&mapped);
    MGN_TRY(status);
    mgn_add_figure(result, "rmse", rmse, is_report ? 0.09 : NAN,
                   !is_report          ? NAN
                   : is_cascade(trial) ? 0.0287
                                       : 0.0116);
    mgn_add_figure(result, "mae", mae, NAN, NAN);
    mgn_add_figure(result, "db", 20 * log10(rmse), published_db(p->field, trial), NAN);
    mgn_add_figure(result, "loss", loss, NAN, NAN);
    return MGN_OK;
}

static mgn_status run_experiment(const mgn_run *run) {
    static const mgn_protocol of_report = {report_trials, MGN_COUNT(report_trials), train, judge},
                              of_convex = {convex_trials, MGN_COUNT(convex_trials), train, judge};
    pairs p = {.field = &fields[0]};
    const char *asked = run->config->field;
    for (size_t i = 0; asked && i < MGN_COUNT(fields); i++) {
        if (strcmp(asked, fields[i].label) == 0) p.field = &fields[i];
    }
    if (asked && strcmp(asked, p.field->label) != 0)
        return mgn_fail(MGN_ERR_ARGUMENT, "the field is report, paper or gravier; '%.100s' was found", asked);
    mgn_status status = sample(p.field, ROWS, run->config->seed, STREAM_LEARN, &p.x, &p.y);
    if (status == MGN_OK) status = sample(p.field, FRESH_ROWS, run->config->seed, STREAM_FRESH, &p.fresh_x, &p.fresh_y);
    if (status == MGN_OK) status = mgn_run_trials(run, p.field->is_convex ? &of_convex : &of_report, &p);
    mgn_matrix *const matrices[] = {&p.x, &p.y, &p.fresh_x, &p.fresh_y};
    for (size_t i = 0; i < MGN_COUNT(matrices); i++) mgn_matrix_free(matrices[i]);
    return status;
}

const mgn_experiment mgn_gradient_field_experiment = {
    .label = "gradient-field",
    .summary = "a known gradient field on the unit square, from 10,000 pairs",
    .details =
        "Published recipe: Adam with learning rate 1e-3, L1, batches of 32, 50 epochs. The report does not say "
        "how parameters start: M-MGN starts at random; of 512 random C-MGN the one is taken whose units leave the "
        "least over after an affine fit. Nothing is restarted. Best recipe: mean squared error by "
        "Levenberg-Marquardt in float64, successive halving among random starts by the training loss. rmse: root of "
        "the mean squared Euclidean error; mae: mean over components; db: 20 log10 of rmse; all on 100,000 fresh "
        "points. loss: L1 (published) or mean squared error (best) on the training points. The optimum shown was "
        "found by Levenberg-Marquardt from many starts. On the convex field there are also models of 94 and 90 "
        "parameters; the published db are of 100 and 94 (Chaudhari, Pranav, Moura: the mean of five cascades, the "
        "best of five modular ones).",
    .run = run_experiment,
};
