/* Learning a map from what `mgn fit` was asked for: the rows, the loss and its settings, the training of one or more
 * starts, and the figures at the end. cmd_fit.c is the command line and the report. */
#ifndef MGN_CLI_FIT_H
#define MGN_CLI_FIT_H

#include <mgn/train.h>

#include "core/progress.h"
#include "options.h"
#include "rows.h"
#include "training.h"

/* The command line; zeros and NULL are what `fit_complete` fills in. */
typedef struct fit_options {
    cli_common common;
    const char *source, *target, *out;
    const char *model, *activation, *loss, *optimizer, *schedule, *start, *real;
    bool paired, squared, signed_scales, position_biases;
    int64_t h, layers, samples, batch, epochs, every, restarts;
    const char *shape;               /* of the rows, as pictures */
    int64_t kernel, stride, padding; /* padding -1: not said */
    const char *hold_out;            /* a fraction, or rows of their own */
    cli_training control;
    double cost_weight, lr, weight_decay, momentum, clip, gamma, floor, blur, scaling, reach, lipschitz;
} fit_options;

typedef struct fit_job {
    fit_options options;
    mgn_target *source, *target;
    int64_t d;
    double *mean, *covariance; /* of the target */
    mgn_matrix x, y;           /* y: pairs only. Rows to learn from, then those held out */
    mgn_matrix like;           /* samples of the target, which rows held out are compared with while training */
    int64_t rows, held;        /* of the one and of the other */
    mgn_model_config shape;
    mgn_train_config training;
    mgn_device *device;
    mgn_model *model;
    mgn_train_result result; /* of the model that was kept */
    mgn_progress progress;
    cli_training_paths paths;
    int64_t kept; /* which start, from 1 */
    bool is_stopped;
    /* figures; NaN where there is none */
    double held_loss, cost, least_cost, sliced_before, sliced, uvp;
} fit_job;

/* Reads the specifications, chooses what was left open, and draws the rows. */
mgn_status fit_prepare(fit_job *job);

/* Draws the rows to learn from and those held out. */
mgn_status fit_draw_rows(fit_job *job);

/* Gives a random model the affine part that is optimal between the two means and covariances, and small weights; a model
 * whose kind has no such part, a frame in which that affine map is the identity. */
mgn_status fit_start_affine(const fit_job *job, mgn_model *model);

/* Trains every start and keeps the best. After an interruption the job is_stopped and has what was learned. */
mgn_status fit_train(fit_job *job);

/* Measures the model on the rows held out (on all, when none were). */
mgn_status fit_judge(fit_job *job);

void fit_free(fit_job *job);

#endif
