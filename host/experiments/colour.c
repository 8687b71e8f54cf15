/* Colour adaptation: the pixels of one picture, as points of [0, 1]^3, to the Gaussian of another picture's, by the
 * Kullback-Leibler divergence; then the same map on a picture that it has not seen. Street to sunset, and mountains to auroras. The best recipe is `mgn recolor`'s. */
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

/* What the report states of a model: loss and cost. */
typedef struct stated {
    const char *kind;
    mgn_v_start v;
    double loss, cost;
} stated;
static const stated street_statements[] = {
    {"cmgn", MGN_V_ORTHOGONAL, 0.06, 0.18},
    {"cmgn", MGN_V_GAUSSIAN, 0.81, 0.20},
    {"mmgn", MGN_V_ORTHOGONAL, 0.241, 0.179},
};
static const stated aurora_statements[] = {{"cmgn", MGN_V_ORTHOGONAL, 0.18, 0.57},
                                           {"mmgn", MGN_V_ORTHOGONAL, 0.18, 0.57}};

typedef struct look {
    const char *label; /* of its pictures */
    mgn_palettes palettes;
    const stated *statements;
    size_t count;
} look;

static mgn_status train(const mgn_run *run, void *data, const mgn_trial *trial, mgn_model **model, int64_t *steps) {
    const mgn_palettes *p = &((const look *)data)->palettes;
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
    const look *l = data;
    const mgn_palettes *p = &l->palettes;
    fit seen, unseen;
    double w2, loss = NAN, cost = NAN;
    for (size_t i = 0; p->as_published && i < l->count; i++)
        if (strcmp(l->statements[i].kind, trial->model.kind) == 0 && l->statements[i].v == trial->model.v) {
            loss = l->statements[i].loss;
            cost = l->statements[i].cost;
        }
    MGN_TRY(measure_fit(map, &p->pixels, &p->aim, &seen));
    MGN_TRY(mgn_palettes_slices(map, &p->few, &p->aims, run->config->seed, &w2));
    mgn_add_figure(result, "loss", seen.loss, loss, 0);
    mgn_add_figure(result, "cost", seen.cost, cost, p->bures);
    mgn_add_figure(result, "bures", p->bures, NAN, NAN);
    mgn_add_figure(result, "w2_before", p->w2_before, NAN, NAN);
    mgn_add_figure(result, "w2_after", w2, NAN, NAN);
    MGN_TRY(mgn_palettes_show(run, p, l->label, trial, model, map));
    if (!p->unseen.rows) return MGN_OK;
    MGN_TRY(measure_fit(map, &p->unseen, &p->aim, &unseen));
    mgn_add_figure(result, "unseen_cost", unseen.cost, NAN, NAN);
    mgn_add_figure(result, "unseen_loss", unseen.loss, NAN, NAN);
    return MGN_OK;
}

static mgn_status run_pictures(const mgn_run *run, const char *label, const mgn_pictures *pictures,
                               const stated *statements, size_t count, const mgn_protocol *protocol) {
    look l = {.label = label, .statements = statements, .count = count};
    mgn_status status = mgn_palettes_read(run, pictures, &l.palettes);
    if (status == MGN_OK) status = mgn_run_trials(run, protocol, &l);
    mgn_palettes_free(&l.palettes);
    return status;
}

static mgn_status run_street(const mgn_run *run) {
    static const mgn_protocol protocol = {trials, MGN_COUNT(trials), train, judge, NULL};
    return run_pictures(run, "colour", &mgn_street_pictures, street_statements, MGN_COUNT(street_statements),
                        &protocol);
}

/* The mountains have 10.5 million pixels; a tenth of them has their moments to three digits. */
static mgn_status run_aurora(const mgn_run *run) {
    static const mgn_pictures pictures[] = {
        {.source = "day_snow_mountains.jpg", .target = "aurora_snow_lake.jpg", .unseen = "", .most = 1 << 20},
        {.source = "day_snow_mountains.jpg", .target = "aurora_fjord.jpg", .unseen = "", .most = 1 << 20},
    };
    static const char *const tasks[] = {"snow lake", "fjord"};
    static const char *const labels[] = {"aurora-snow-lake", "aurora-fjord"};
    const size_t count = run->config->source ? 1 : MGN_COUNT(pictures);
    for (size_t i = 0; i < count; i++) {
        const bool is_stated = strcmp(tasks[i], "fjord") == 0;
        const mgn_protocol protocol = {trials, MGN_COUNT(trials), train, judge, run->config->source ? NULL : tasks[i]};
        MGN_TRY(run_pictures(run, run->config->source ? "aurora" : labels[i], &pictures[i], aurora_statements,
                             is_stated ? MGN_COUNT(aurora_statements) : 0, &protocol));
    }
    return MGN_OK;
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
    .run = run_street,
    .is_shared = true,
};

const mgn_experiment mgn_aurora_experiment = {
    .label = "aurora",
    .summary = "the palette of snowy mountains by day to those of two auroras, otherwise as colour",
    .details =
        "Recipes and figures are those of colour, on 2^20 pixels of the source. --data names the folder of the "
        "published "
        "pictures (day_snow_mountains.jpg, aurora_snow_lake.jpg, aurora_fjord.jpg); --source and --like take others. "
        "The "
        "report states one loss and one cost, neither which model's nor which aurora's: they stand beside the models "
        "with orthogonal V to the fjord, since a map to the snow lake has no reason to cost that much.",
    .run = run_aurora,
    .is_shared = true,
};
