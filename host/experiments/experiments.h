/* What the experiments share. An experiment is one file: its data, a table of trials (which model, which recipe), how a
 * trial is trained and how it is judged. A new one is a copy of gaussian.c, and a row in experiment.c. */
#ifndef MGN_HOST_EXPERIMENTS_H
#define MGN_HOST_EXPERIMENTS_H

#include <mgn/experiment.h>
#include <mgn/train.h>

#include "core/core.h"

/* Who asks for what. */
typedef struct mgn_run {
    mgn_device *device;
    const mgn_experiment_config *config;
    mgn_experiment_report *report;
} mgn_run;

/* One row of the table in experiment.c. */
typedef struct mgn_experiment {
    const char *label, *summary, *details;
    mgn_status (*run)(const mgn_run *run);
} mgn_experiment;

extern const mgn_experiment mgn_gradient_field_experiment, mgn_gaussian_experiment, mgn_colour_experiment;

extern const char mgn_published[], mgn_best[]; /* the names of the recipes; compared as pointers */

/* One model with one recipe. */
typedef struct mgn_trial {
    const char *recipe;
    mgn_model_config model;
} mgn_trial;

/* How an experiment's trials go. `data` is the experiment's own. */
typedef struct mgn_protocol {
    const mgn_trial *trials;
    size_t count;
    /* Makes a trained model; adds up its optimizer steps. */
    mgn_status (*train)(const mgn_run *run, void *data, const mgn_trial *trial, mgn_model **model, int64_t *steps);
    /* Adds figures to the result. */
    mgn_status (*judge)(const mgn_run *run, void *data, const mgn_trial *trial, mgn_model *model, mgn_map *map,
                        mgn_experiment_result *result);
} mgn_protocol;

/* Trains and judges the trials that the configuration asks for. */
mgn_status mgn_run_trials(const mgn_run *run, const mgn_protocol *protocol, void *data);

/* NaN for `published` and `optimum`: there is none. */
void mgn_add_figure(mgn_experiment_result *result, const char *key, double value, double published, double optimum);

/* mgn_train with the run's progress, called `label`; adds up the steps. `loss` may be NULL. */
mgn_status mgn_train_step(const mgn_run *run, const char *label, mgn_model *model, const mgn_samples *samples,
                          const mgn_train_config *config, int64_t *steps, double *loss);

/* A loss over all rows, in double, at the model's parameters; `y` only where the loss needs pairs. */
mgn_status mgn_measure_loss(const mgn_loss_config *config, mgn_device *device, mgn_model *model,
                            const mgn_samples *samples, double *loss);

/* ---- searching among start values, for pairs (start.c) ---- */

/* One round of a search: the best `models` so far take `steps` full steps on the first `rows` rows. */
typedef struct mgn_round {
    int64_t models, rows, steps;
    double lr;
} mgn_round;

/* Of `candidates` random models the `count` best ones by what the best affine part leaves over, best first, each with
 * that affine part. The caller destroys `models`. */
mgn_status mgn_choose_starts(const mgn_model_config *config, mgn_device *device, const mgn_samples *samples,
                             int64_t candidates, uint64_t seed, mgn_model **models, int64_t count);

/* Successive halving: each round trains what the one before left, and keeps the best by the training loss. */
mgn_status mgn_search(const mgn_run *run, const mgn_model_config *config, const mgn_samples *samples,
                      int64_t candidates, const mgn_train_config *training, const mgn_round *rounds, size_t round_count,
                      mgn_model **model, int64_t *steps);

#endif
