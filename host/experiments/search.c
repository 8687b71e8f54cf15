/* A search among random starts for models small enough that a second-order step takes less than a millisecond.
 *
 * Such models have many local minima, and Levenberg-Marquardt tells within some hundred steps where a start leads: so
 * many starts take a few steps on a few rows, and the better ones go on, in the end on all rows. */
#include "experiments/show.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "train/second_order.h"

typedef struct candidate {
    mgn_model *model;
    double loss;
    int64_t number; /* breaks ties, so that the order is the same everywhere */
} candidate;

/* What the callback of a training needs; the progress counts the steps of all candidates of a round. */
typedef struct watch {
    const mgn_run *run;
    int64_t before, total;
    mgn_draw_trace *trace; /* of this candidate; NULL: none is kept */
} watch;

static bool report(void *context, int64_t iteration, double f, double step) {
    (void)step;
    const watch *w = context;
    const mgn_experiment_config *config = w->run->config;
    const mgn_train_report now = {.epoch = iteration, .loss = f, .held_out = NAN, .cost = NAN};
    if (w->trace) mgn_draw_trace_add(w->trace, &now);
    return !config->progress || config->progress(config->context, "search", w->before + iteration, w->total, f);
}

static int by_loss(const void *a, const void *b) {
    const candidate *x = a, *y = b;
    if (x->loss != y->loss) return x->loss < y->loss ? -1 : 1;
    return (x->number > y->number) - (x->number < y->number);
}

static mgn_status train_round(const mgn_run *run, const mgn_round *round, const mgn_samples *samples,
                              const mgn_loss_config *loss, candidate *candidates, int64_t count, int64_t *steps) {
    const mgn_samples some = {samples->x, samples->y, MGN_MIN(round->rows, samples->n)};
    mgn_train_config training = {.loss = *loss,
                                 .real = mgn_device_get_info(run->device)->has_f64 ? MGN_F64 : MGN_F32,
                                 .blocks = run->config->blocks,
                                 .comm = run->config->comm};
    mgn_solver *solver = NULL;
    snprintf(training.optimizer.kind, sizeof training.optimizer.kind, "%s", round->optimizer);
    MGN_TRY(mgn_solver_create(candidates[0].model, run->device, &some, &training, NULL, &solver));
    mgn_status status = MGN_OK;
    for (int64_t i = 0; status == MGN_OK && i < count; i++) {
        char label[64];
        snprintf(label, sizeof label, "%s, %lld rows", round->optimizer, (long long)some.n);
        watch w = {run, i * round->steps, count * round->steps, mgn_show_training(run, label)};
        mgn_descent descent = {.iterations = round->steps, .report = report, .context = &w};
        status = mgn_solver_run(solver, &descent, mgn_model_values(candidates[i].model));
        candidates[i].loss = descent.f;
        *steps += descent.done;
        if (status == MGN_ERR_NUMERIC) { /* a start without a finite loss is a poor one */
            status = MGN_OK;
            candidates[i].loss = DBL_MAX;
        }
    }
    mgn_solver_destroy(solver);
    qsort(candidates, (size_t)count, sizeof *candidates, by_loss);
    return status;
}

mgn_status mgn_random_starts(const mgn_model_config *config, int64_t count, uint64_t seed, mgn_model **models) {
    mgn_status status = MGN_OK;
    int64_t made = 0;
    while (status == MGN_OK && made < count) {
        status = mgn_model_create(config, mgn_candidate_seed(seed, made), &models[made]);
        made += status == MGN_OK;
    }
    while (status != MGN_OK && made > 0) mgn_model_destroy(models[--made]);
    return status;
}

mgn_status mgn_search(const mgn_run *run, mgn_model **starts, const mgn_samples *samples, const mgn_loss_config *loss,
                      const mgn_round *rounds, size_t round_count, mgn_model **model, int64_t *steps) {
    const int64_t count = rounds[0].models;
    candidate *candidates = mgn_alloc((size_t)count, sizeof *candidates);
    mgn_status status = candidates ? MGN_OK : MGN_ERR_MEMORY;
    for (int64_t i = 0; candidates && i < count; i++) candidates[i] = (candidate){.model = starts[i], .number = i};
    for (size_t r = 0; status == MGN_OK && r < round_count; r++)
        status = train_round(run, &rounds[r], samples, loss, candidates, rounds[r].models, steps);
    mgn_model *best = status == MGN_OK ? candidates[0].model : NULL;
    for (int64_t i = 0; i < count; i++)
        if (starts[i] != best) mgn_model_destroy(starts[i]);
    if (best) *model = best;
    mgn_free(candidates);
    return status;
}
