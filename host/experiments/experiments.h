/* What the experiments share. An experiment is one file: its data, a table of trials (which model, which recipe), how a
 * trial is trained and how it is judged. A new one is a copy of gaussian.c, and a row in experiment.c and in
 * report/entries.c. */
#ifndef MGN_HOST_EXPERIMENTS_H
#define MGN_HOST_EXPERIMENTS_H

#include <mgn/data.h>
#include <mgn/experiment.h>
#include <mgn/train.h>

#include "core/core.h"

/* Who asks for what. */
typedef struct mgn_run {
    mgn_device *device;
    const mgn_experiment_config *config;
    mgn_experiment_report *report;
    struct mgn_showing *showing; /* show.h; NULL: no figures */
} mgn_run;

/* One row of the table in experiment.c. */
typedef struct mgn_experiment {
    const char *label, *summary, *details;
    mgn_status (*run)(const mgn_run *run);
    bool is_shared; /* several processes may run it: what it does itself is the same on all, and the rest knows them */
} mgn_experiment;

extern const mgn_experiment mgn_gradient_field_experiment, mgn_gaussian_experiment, mgn_mixture_experiment,
    mgn_banana_experiment, mgn_colour_experiment, mgn_colour_gmm_experiment, mgn_aurora_experiment,
    mgn_sinkhorn_colour_experiment, mgn_w2bench_experiment, mgn_mnist_experiment, mgn_digits_experiment,
    mgn_cifar_experiment;

/* The names of the recipes; compared as pointers. */
extern const char mgn_published[], mgn_best[], mgn_affine[], mgn_monge_ampere[];

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
    const char *task; /* mgn_experiment_result's */
} mgn_protocol;

/* Trains and judges the trials that the configuration asks for. */
mgn_status mgn_run_trials(const mgn_run *run, const mgn_protocol *protocol, void *data);

/* The field polymax of the gradient-field experiment (polymax.c). */
mgn_status mgn_run_polymax(const mgn_run *run);

/* NaN for `published` and `optimum`: there is none. */
void mgn_add_figure(mgn_experiment_result *result, const char *key, double value, double published, double optimum);

/* Tells the run's progress, in steps, how far a training is; false: it is to stop. */
bool mgn_report_steps(const mgn_experiment_config *config, const char *label, const mgn_train_report *report);

/* mgn_train with the run's progress, called `label`; adds up the steps. `loss` may be NULL. */
mgn_status mgn_train_step(const mgn_run *run, const char *label, mgn_model *model, const mgn_samples *samples,
                          const mgn_train_config *config, int64_t *steps, double *loss);

/* Checkpoints and the like, as far as the run has any, for a training that knows no patience. */
mgn_status mgn_control_alone(const mgn_run *run, const char *label, mgn_train_config *config);

/* mgn_train_fresh with the run's progress. */
mgn_status mgn_train_fresh_step(const mgn_run *run, const char *label, mgn_model *model, const mgn_target *source,
                                const mgn_train_config *config, int64_t *steps);

/* Of what several processes have done on their own, rank 0's parameters for all; `status`: how that went here. */
mgn_status mgn_take_first(const mgn_run *run, mgn_status status, mgn_model *model);

/* A loss over all rows, in double, at the model's parameters; `y` only where the loss needs pairs. */
mgn_status mgn_measure_loss(const mgn_loss_config *config, mgn_device *device, mgn_model *model,
                            const mgn_samples *samples, double *loss);

/* ---- learning from pairs ---- */

/* The seed of start `i` of a search: far from those of other seeds. */
static inline uint64_t mgn_candidate_seed(uint64_t seed, int64_t i) { return seed * 0x9e3779b97f4a7c15u + (uint64_t)i; }

/* Of `candidates` random models (cmgn or mmgn) the `count` best ones by what the best affine part leaves over, best first,
 * each with that affine part (start.c). The caller destroys `models`. */
mgn_status mgn_choose_starts(const mgn_model_config *config, mgn_device *device, const mgn_samples *samples,
                             int64_t candidates, uint64_t seed, mgn_model **models, int64_t count);

/* `batches` times `batch` samples of `source`, matched with as many of `target` by optimal assignments: (batches batch, d)
 * each. The caller frees both, after a failure too. Errors: those of mgn_target_sample and mgn_assignment_w2. */
mgn_status mgn_matched_pairs(const mgn_target *source, const mgn_target *target, int64_t batch, int64_t batches,
                             uint64_t seed, mgn_matrix *x, mgn_matrix *y);

/* A model fitted to two such batches of `rows` by least squares: the best of 12 random starts. The caller destroys it. */
mgn_status mgn_learn_matched(const mgn_run *run, const mgn_target *source, const mgn_target *target,
                             const mgn_model_config *config, int64_t rows, uint64_t seed, mgn_model **model,
                             int64_t *steps);

/* One round of a search: the best `models` so far take `steps` steps of an optimizer of second order on the first `rows`
 * rows. */
typedef struct mgn_round {
    int64_t models, rows, steps;
    const char *optimizer;
} mgn_round;

/* `count` random models, of seeds far from one another. The caller destroys `models`. */
mgn_status mgn_random_starts(const mgn_model_config *config, int64_t count, uint64_t seed, mgn_model **models);

/* Successive halving among the rounds[0].models `starts`, of one architecture and any kind (search.c): each round trains
 * what the one before left and keeps the best by the training loss. Destroys the starts but the one that becomes `model`,
 * which is the caller's. */
mgn_status mgn_search(const mgn_run *run, mgn_model **starts, const mgn_samples *samples, const mgn_loss_config *loss,
                      const mgn_round *rounds, size_t round_count, mgn_model **model, int64_t *steps);

#endif
