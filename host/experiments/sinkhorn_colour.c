/* Colour adaptation without any assumption on the palettes' shape: the pixels of one picture to those of another, by the
 * Sinkhorn divergence of batches; then the same map on a picture that it has not seen. A Gaussian's two moments leave most
 * of a palette's shape open, which the sliced distance shows. The best recipe fits exact assignments, as in banana.c; steps
 * on the divergence after it gain nothing here, the blur being a palette's finer detail. */
#include <math.h>

#include "experiments/palettes.h"

/* Batches a pass, and their pixels: time grows with the square. PAIR_..: those that the best recipe matches. */
enum { BATCHES = 4, BATCH_ROWS = 1024, PAIR_ROWS = 2048, PAIR_BATCHES = 4, STARTS = 8, CANDIDATES = 256 };

static const mgn_trial trials[] = {
    {mgn_published, {.kind = "cmgn", .d = 3, .h = 3, .layers = 2, .activation = MGN_LOGISTIC}},
    {mgn_published, {.kind = "mmgn", .d = 3, .h = 2, .layers = 2, .activation = MGN_TANH}},
    {mgn_best, {.kind = "cmgn", .d = 3, .h = 3, .layers = 2, .activation = MGN_LOGISTIC}},
    {mgn_best, {.kind = "mmgn", .d = 3, .h = 2, .layers = 2, .activation = MGN_TANH}},
    {mgn_best, {.kind = "cmgn", .d = 3, .h = 16, .layers = 2, .activation = MGN_LOGISTIC}},
};

typedef struct clouds {
    mgn_palettes palettes;
    mgn_target *source, *target; /* the pixels of both */
} clouds;

/* ---- recipes ---- */

/* On the first batches of a random order of the source's pixels, against as many of the target's in every step. */
static mgn_status train_published(const mgn_run *run, const clouds *c, const mgn_trial *trial, mgn_model **model,
                                  int64_t *steps) {
    const mgn_train_config config = {
        .loss = {.kind = "sinkhorn", .target = c->target, .sinkhorn = {.blur = 0.05, .scaling = 0.9}},
        .optimizer = {.kind = "adam", .lr = 0.01},
        .batch = BATCH_ROWS,
        .epochs = run->config->epochs ? run->config->epochs : 50,
        .seed = run->config->seed,
    };
    mgn_matrix x = {0};
    MGN_TRY(mgn_model_create(&trial->model, run->config->seed, model));
    MGN_TRY(mgn_matrix_create(BATCHES * BATCH_ROWS, 3, &x));
    mgn_status status = mgn_target_sample(c->source, x.rows, run->config->seed, x.values);
    if (status == MGN_OK)
        status = mgn_train_step(run, "published recipe", *model, &(mgn_samples){x.values, NULL, x.rows}, &config, steps,
                                NULL);
    mgn_matrix_free(&x);
    return status;
}

static mgn_status train_best(const mgn_run *run, const clouds *c, const mgn_trial *trial, mgn_model **model,
                             int64_t *steps) {
    static const mgn_round rounds[] = {{STARTS, 1024, 40, "gauss-newton"},
                                       {2, PAIR_BATCHES * PAIR_ROWS, 40, "gauss-newton"}};
    const uint64_t seed = run->config->seed;
    mgn_matrix x = {0}, y = {0};
    mgn_model *starts[STARTS];
    mgn_status status = mgn_matched_pairs(c->source, c->target, PAIR_ROWS, PAIR_BATCHES, seed, &x, &y);
    const mgn_samples samples = {x.values, y.values, x.rows};
    if (status == MGN_OK)
        status = mgn_choose_starts(&trial->model, run->device, &samples, CANDIDATES, seed, starts, STARTS);
    if (status == MGN_OK)
        status = mgn_search(run, starts, &samples, &(mgn_loss_config){.kind = "mse"}, rounds, MGN_COUNT(rounds), model,
                            steps);
    mgn_matrix_free(&x);
    mgn_matrix_free(&y);
    return status;
}

static mgn_status train(const mgn_run *run, void *data, const mgn_trial *trial, mgn_model **model, int64_t *steps) {
    return trial->recipe == mgn_published ? train_published(run, data, trial, model, steps)
                                          : train_best(run, data, trial, model, steps);
}

/* ---- judging ---- */

static mgn_status judge(const mgn_run *run, void *data, const mgn_trial *trial, mgn_model *model, mgn_map *map,
                        mgn_experiment_result *result) {
    const mgn_palettes *p = &((const clouds *)data)->palettes;
    const uint64_t seed = run->config->seed;
    mgn_colour_gaussian after;
    double cost, w2, unseen_cost, unseen_w2;
    MGN_TRY(mgn_palettes_moments(map, &p->pixels, &after, &cost));
    MGN_TRY(mgn_palettes_slices(map, &p->few, &p->aims, seed, &w2));
    mgn_add_figure(result, "w2_before", p->w2_before, NAN, NAN);
    mgn_add_figure(result, "w2_after", w2, NAN, 0);
    mgn_add_figure(result, "cost", cost, NAN, NAN);
    mgn_add_figure(result, "bures", p->bures, NAN, NAN);
    MGN_TRY(mgn_palettes_show(run, p, "sinkhorn-colour", trial, model, map));
    if (!p->unseen.rows) return MGN_OK;
    MGN_TRY(mgn_palettes_moments(map, &p->unseen, &after, &unseen_cost));
    MGN_TRY(mgn_palettes_slices(map, &p->few_unseen, &p->aims, seed, &unseen_w2));
    mgn_add_figure(result, "unseen_cost", unseen_cost, NAN, NAN);
    mgn_add_figure(result, "unseen_w2", unseen_w2, NAN, NAN);
    return MGN_OK;
}

static mgn_status run_experiment(const mgn_run *run) {
    static const mgn_protocol protocol = {trials, MGN_COUNT(trials), train, judge, NULL};
    clouds c = {0};
    mgn_palettes *p = &c.palettes;
    mgn_status status = mgn_palettes_read(run, &mgn_street_pictures, p);
    if (status == MGN_OK) status = mgn_target_create_rows(p->few.values, p->few.rows, 3, &c.source);
    if (status == MGN_OK) status = mgn_target_create_rows(p->aims.values, p->aims.rows, 3, &c.target);
    if (status == MGN_OK) status = mgn_run_trials(run, &protocol, &c);
    mgn_target_destroy(c.source);
    mgn_target_destroy(c.target);
    mgn_palettes_free(p);
    return status;
}

const mgn_experiment mgn_sinkhorn_colour_experiment = {
    .label = "sinkhorn-colour",
    .summary = "the palette of one picture to another's, by the Sinkhorn divergence of their pixels",
    .details =
        "Published recipe: Sinkhorn divergence (blur .05, scaling .9), Adam with learning rate .01; the report states "
        "no "
        "more and no figure, so batches of 1,024 pixels against as many of the target's, and 50 passes of 4 batches "
        "are "
        "taken. Best recipe: 4 exact assignments of 2,048 pixels each, and the network fitted to them by "
        "Levenberg-Marquardt from the best of 256 starts; the larger model shows what 27 parameters leave over (332 "
        "gain no more). "
        "Pictures "
        "are those of colour. w2: squared sliced Wasserstein distance of the palettes; cost: E|x - g(x)|^2, which "
        "bures, "
        "the least of any map with the target's moments, bounds from below where they are met; unseen: the same map on "
        "--unseen.",
    .run = run_experiment,
};
