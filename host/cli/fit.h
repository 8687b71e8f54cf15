/* Learning a map from what `mgn fit` was asked for: the rows, the loss and its settings, the training of one or more
 * starts, and the figures at the end. cmd_fit.c is the command line and the report. */
#ifndef MGN_CLI_FIT_H
#define MGN_CLI_FIT_H

#include <mgn/train.h>

#include "core/progress.h"
#include "core/random.h"
#include "draw/draw.h"
#include "options.h"
#include "rows.h"
#include "training.h"

/* The command line; zeros and NULL are what `fit_complete` fills in. */
typedef struct fit_options {
    cli_common common;
    const char *source, *target, *out;
    const char *model, *activation, *loss, *optimizer, *schedule, *start, *real;
    bool paired, squared, signed_scales, position_biases;
    int64_t h, layers, samples, window, blocks, batch, epochs, every, restarts;
    const char *shape;               /* of the rows, as pictures */
    int64_t kernel, stride, padding; /* padding -1: not said */
    const char *hold_out;            /* a fraction, or rows of their own */
    cli_training control;
    const char *plots;
    double cost_weight, lr, weight_decay, momentum, clip, gamma, floor, blur, scaling, reach, lipschitz;
} fit_options;

enum { FIT_MOST_TRACES = 12 };

/* Of one side of a fit; allocated by the functions below. */
typedef struct fit_moments {
    double *mean, *variance; /* (d) */
    double *covariance;      /* (d, d), or NULL: nothing needs it, and d is large */
} fit_moments;

typedef struct fit_job {
    fit_options options;
    mgn_target *source, *target;
    int64_t d;
    fit_moments to;          /* of the target */
    fit_moments walked;      /* of the source, where its rows stay in their files */
    mgn_matrix x, y;         /* y: pairs only. Rows to learn from, then those held out */
    mgn_matrix like;         /* samples of the target, which rows held out are compared with while training */
    int64_t rows, held;      /* of the one and of the other */
    int64_t shown_at, shown; /* rows of x that the figures are made on: those held out, or all */
    bool is_streamed;        /* the rows to learn from stay in their files; x has those of the figures alone */
    mgn_row_source stream;
    mgn_host_shuffle order; /* of the source's blocks, */
    int64_t left_out;       /* the first rows of which are held out */
    mgn_model_config shape;
    mgn_train_config training;
    mgn_device *device;
    mgn_model *model;
    mgn_train_result result; /* of the model that was kept */
    mgn_progress progress;
    cli_training_paths paths;
    int64_t kept; /* which start, from 1 */
    bool is_stopped;
    mgn_draw_trace traces[FIT_MOST_TRACES]; /* for the plots: of the first starts */
    /* figures; NaN where there is none */
    double held_loss, cost, least_cost, sliced_before, sliced, uvp;
} fit_job;

/* Reads the specifications, chooses what was left open, and draws the rows. */
mgn_status fit_prepare(fit_job *job);

/* Whether the rows to learn from stay in their files; fails where --window asks for what cannot be. */
mgn_status fit_choose_stream(fit_job *job, const char *loss);
/* Takes the target's rows into memory, as far as they are wanted there. */
mgn_status fit_hold_target(fit_job *job);
/* Says how rows are read, and takes those held out: a fraction of all, or (`has_file`) others, which the caller reads. */
mgn_status fit_open_stream(fit_job *job, double fraction, bool has_file);

/* Of the target; of a source whose rows stay in their files; and of the rows to learn from, which the caller frees. */
mgn_status fit_target_moments(fit_job *job);
mgn_status fit_stream_moments(fit_job *job);
mgn_status fit_source_moments(const fit_job *job, fit_moments *from);
void fit_moments_free(fit_moments *moments);
/* Whether the figures of closed forms are made: not in thousands of dimensions, where they would take minutes. */
bool fit_has_closed_forms(const fit_job *job);

/* Draws the rows to learn from and those held out. */
mgn_status fit_draw_rows(fit_job *job);

/* Gives a random model the affine part that is optimal between the two means and covariances, and small weights; a model
 * whose kind has no such part, a frame in which that affine map is the identity. */
mgn_status fit_start_affine(const fit_job *job, mgn_model *model);

/* Trains every start and keeps the best. After an interruption the job is_stopped and has what was learned. */
mgn_status fit_train(fit_job *job);

/* Measures the model on the rows held out (on all, when none were). */
mgn_status fit_judge(fit_job *job);

/* Figures of the trainings and of the map, into --plots. */
mgn_status fit_draw(const fit_job *job);

void fit_free(fit_job *job);

#endif
