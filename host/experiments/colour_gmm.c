/* Colour adaptation to a mixture: the palette of one picture to the Gaussian mixture of another's. The published loss is
 * the smallest of the divergences to the components, so it matches one of them and forgets the others; the best recipe
 * is `mgn recolor --target gmm`'s, which is judged by the same figures and by the sliced distance of the palettes. */
#include <math.h>
#include <string.h>

#include <mgn/ot.h>

#include "experiments/palettes.h"

enum { COMPONENTS = 5, MOST_ROWS = 1 << 20 };

static const mgn_trial trials[] = {
    {mgn_published, {.kind = "cmgn", .d = 3, .h = 3, .layers = 2, .activation = MGN_LOGISTIC, .v = MGN_V_ORTHOGONAL}},
    {mgn_best, {.kind = "cmgn", .d = 3, .h = 3, .layers = 2, .activation = MGN_LOGISTIC, .v = MGN_V_ORTHOGONAL}},
    {mgn_best, {.kind = "mmgn", .d = 3, .h = 2, .layers = 2, .activation = MGN_TANH, .v = MGN_V_ORTHOGONAL}},
};

/* What the report states. */
static const double stated_loss = 24.8, stated_cost = 0.3;

typedef struct aims {
    mgn_palettes palettes;
    mgn_mixture mixture;
    mgn_mixture_fit_result fit;
    mgn_target *target;
} aims;

static mgn_status fit_target(const mgn_run *run, aims *a) {
    const mgn_mixture_fit_config config = {.regularisation = mgn_rounding_variance, .seed = run->config->seed};
    mgn_matrix palette = {0};
    MGN_TRY(mgn_image_palette(a->palettes.target, MOST_ROWS, run->config->seed, &palette));
    const mgn_status status =
        mgn_mixture_fit(run->device, palette.values, palette.rows, 3, COMPONENTS, &config, &a->mixture, &a->fit);
    mgn_matrix_free(&palette);
    MGN_TRY(status);
    return mgn_target_create_mixture(&a->mixture, &a->target);
}

static mgn_status train(const mgn_run *run, void *data, const mgn_trial *trial, mgn_model **model, int64_t *steps) {
    const aims *a = data;
    const mgn_loss_config loss = {.kind = "mixture-kl", .target = a->target};
    return trial->recipe == mgn_published ? mgn_palettes_train(run, &a->palettes, &loss, trial, model, steps)
                                          : mgn_palettes_recolor(run, &a->palettes, COMPONENTS, trial, model, steps);
}

static mgn_status judge(const mgn_run *run, void *data, const mgn_trial *trial, mgn_model *model, mgn_map *map,
                        mgn_experiment_result *result) {
    const aims *a = data;
    const mgn_mixture *m = &a->mixture;
    const bool as_published = a->palettes.as_published;
    mgn_colour_gaussian after;
    double cost, w2, least = INFINITY;
    MGN_TRY(mgn_palettes_moments(map, &a->palettes.pixels, &after, &cost));
    for (int64_t j = 0; j < m->k; j++) {
        double kl = 0;
        MGN_TRY(mgn_gaussian_kl(after.mean, after.covariance, m->means + 3 * j, m->covariances + 9 * j, 3, &kl));
        least = fmin(least, kl);
    }
    MGN_TRY(mgn_palettes_slices(map, &a->palettes.few, &a->palettes.aims, run->config->seed, &w2));
    mgn_add_figure(result, "loss", least, as_published ? stated_loss : NAN, 0);
    mgn_add_figure(result, "cost", cost, as_published ? stated_cost : NAN, NAN);
    mgn_add_figure(result, "components", (double)m->k, as_published ? COMPONENTS : NAN, NAN);
    mgn_add_figure(result, "log_likelihood", a->fit.log_likelihood, NAN, NAN);
    mgn_add_figure(result, "w2_before", a->palettes.w2_before, NAN, NAN);
    mgn_add_figure(result, "w2_after", w2, NAN, NAN);
    return mgn_palettes_show(run, &a->palettes, "colour-gmm", trial, model, map);
}

static mgn_status run_experiment(const mgn_run *run) {
    static const mgn_protocol protocol = {trials, MGN_COUNT(trials), train, judge, NULL};
    aims a = {0};
    mgn_status status = mgn_palettes_read(run, &mgn_street_pictures, &a.palettes);
    if (status == MGN_OK) status = fit_target(run, &a);
    if (status == MGN_OK) status = mgn_run_trials(run, &protocol, &a);
    mgn_palettes_free(&a.palettes);
    mgn_mixture_free(&a.mixture);
    mgn_target_destroy(a.target);
    return status;
}

const mgn_experiment mgn_colour_gmm_experiment = {
    .label = "colour-gmm",
    .summary = "the palette of one picture to a Gaussian mixture of another's colours",
    .details = "A mixture of 5 components is fitted to the target's colours by expectation maximisation. Published "
               "recipe: the "
               "smallest Kullback-Leibler divergence to a component, trained as in `colour`. Best recipe: that of `mgn "
               "recolor "
               "--target gmm`. loss: that smallest divergence, in nats, on all pixels (small for a palette that has "
               "become one "
               "of the components); cost: E|x - g(x)|^2; log_likelihood: of the target's colours under their mixture, "
               "a pixel; "
               "w2: squared sliced Wasserstein distance of the palettes.",
    .run = run_experiment,
};
