/* Colour adaptation: the pixels of one picture, as points of [0, 1]^3, to the Gaussian of another picture's, by the
 * Kullback-Leibler divergence; then the same map on a picture that it has not seen. The best recipe is `mgn recolor`'s. */
#include <math.h>
#include <string.h>

#include <mgn/ot.h>

#include "experiments/palettes.h"

static const mgn_trial trials[] = {
    {mgn_published, {.kind = "cmgn", .d = 3, .h = 3, .layers = 2, .activation = MGN_LOGISTIC, .v = MGN_V_ORTHOGONAL}},
    {mgn_published, {.kind = "cmgn", .d = 3, .h = 3, .layers = 2, .activation = MGN_LOGISTIC, .v = MGN_V_GAUSSIAN}},
    {mgn_published, {.kind = "mmgn", .d = 3, .h = 2, .layers = 2, .activation = MGN_TANH, .v = MGN_V_ORTHOGONAL}},
    {mgn_best, {.kind = "cmgn", .d = 3, .h = 3, .layers = 2, .activation = MGN_LOGISTIC, .v = MGN_V_ORTHOGONAL}},
    {mgn_best, {.kind = "mmgn", .d = 3, .h = 2, .layers = 2, .activation = MGN_TANH, .v = MGN_V_ORTHOGONAL}},
};

/* What the report states for each of them: loss and cost. */
typedef struct stated {
    const char *kind;
    mgn_v_start v;
    double loss, cost;
} stated;
static const stated statements[] = {
    {"cmgn", MGN_V_ORTHOGONAL, 0.06, 0.18},
    {"cmgn", MGN_V_GAUSSIAN, 0.81, 0.20},
    {"mmgn", MGN_V_ORTHOGONAL, 0.241, 0.179},
};

static mgn_status train(const mgn_run *run, void *data, const mgn_trial *trial, mgn_model **model, int64_t *steps) {
    const mgn_palettes *p = data;
    const mgn_loss_config loss = {.kind = "kl", .mean = p->aim.mean, .covariance = p->aim.covariance};
    return trial->recipe == mgn_published ? mgn_palettes_train(run, p, &loss, trial, model, steps)
                                          : mgn_palettes_recolor(run, p, 0, trial, model, steps);
}

typedef struct fit {
    double loss, cost;
} fit;

/* Over all rows of a palette. */
static mgn_status measure_fit(mgn_map *map, const mgn_matrix *palette, const mgn_colour_gaussian *aim, fit *f) {
    mgn_colour_gaussian after;
    MGN_TRY(mgn_palettes_moments(map, palette, &after, &f->cost));
    return mgn_gaussian_kl(after.mean, after.covariance, aim->mean, aim->covariance, 3, &f->loss);
}

static mgn_status judge(const mgn_run *run, void *data, const mgn_trial *trial, mgn_model *model, mgn_map *map,
                        mgn_experiment_result *result) {
    (void)model;
    const mgn_palettes *p = data;
    fit seen, unseen;
    double w2, loss = NAN, cost = NAN;
    for (size_t i = 0; p->as_published && i < MGN_COUNT(statements); i++)
        if (strcmp(statements[i].kind, trial->model.kind) == 0 && statements[i].v == trial->model.v) {
            loss = statements[i].loss;
            cost = statements[i].cost;
        }
    MGN_TRY(measure_fit(map, &p->pixels, &p->aim, &seen));
    MGN_TRY(mgn_palettes_slices(map, p, run->config->seed, &w2));
    mgn_add_figure(result, "loss", seen.loss, loss, 0);
    mgn_add_figure(result, "cost", seen.cost, cost, p->bures);
    mgn_add_figure(result, "bures", p->bures, NAN, NAN);
    mgn_add_figure(result, "w2_before", p->w2_before, NAN, NAN);
    mgn_add_figure(result, "w2_after", w2, NAN, NAN);
    if (!p->unseen.rows) return MGN_OK;
    MGN_TRY(measure_fit(map, &p->unseen, &p->aim, &unseen));
    mgn_add_figure(result, "unseen_cost", unseen.cost, NAN, NAN);
    mgn_add_figure(result, "unseen_loss", unseen.loss, NAN, NAN);
    return MGN_OK;
}

static mgn_status run_experiment(const mgn_run *run) {
    static const mgn_protocol protocol = {trials, MGN_COUNT(trials), train, judge, NULL};
    mgn_palettes p = {0};
    mgn_status status = mgn_palettes_read(run, &p);
    if (status == MGN_OK) status = mgn_run_trials(run, &protocol, &p);
    mgn_palettes_free(&p);
    return status;
}

const mgn_experiment mgn_colour_experiment = {
    .label = "colour",
    .summary = "the palette of one picture to the Gaussian of another's, by the Kullback-Leibler divergence",
    .details =
        "Published recipe: Adam with learning rate .01, weight decay .05 (L2), gradients clipped at norm 1, 50 "
        "epochs of 4 steps on all pixels, V orthogonal or Gaussian. Best recipe: that of `mgn recolor`. --data "
        "names the folder of the published pictures (day_street_bus_lane.png, sunset_red_sky.jpg, "
        "day_street_petrol_station.png); --source and --like take others, and without any the pair in assets/ is "
        "taken. loss: Kullback-Leibler divergence of the mapped palette's Gaussian to the target's, in nats, on "
        "all pixels; cost: E|x - g(x)|^2 against the least of any map with these moments; w2: squared sliced "
        "Wasserstein distance of the palettes; unseen: the same map on --unseen.",
    .run = run_experiment,
};
