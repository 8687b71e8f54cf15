/* A training by first-order steps. */
#ifndef MGN_HOST_TRAINER_H
#define MGN_HOST_TRAINER_H

#include "train/blocks.h"
#include "train/cut.h"
#include "train/session.h"
#include "train/stream.h"

/* A step on a whole batch, on one of the last, smaller window, or on the last, smaller batch; with accumulation, one that only
 * adds up or one that also updates. */
enum { MGN_WHOLE, MGN_LAST, MGN_TAIL, MGN_SIZES };
enum { MGN_UPDATE, MGN_GATHER, MGN_ROLES };

typedef struct mgn_trainer {
    mgn_model *model;
    mgn_device *device;
    const mgn_train_config *config;
    mgn_cut cut; /* what a step is made of, on this device */
    mgn_safetensors
        *carried; /* the state where a coarser cut failed, in the middle of training; and of this one, if it does */
    mgn_loss_config losses;       /* the config's, with what training finds out */
    int64_t n, d, count;          /* rows, dimension, parameters */
    int64_t batch, tail, batches; /* rows of a whole and of the last batch (0: none), batches an epoch */
    int64_t accumulate;
    int64_t window, last, windows; /* rows of a window and of an epoch's last, windows an epoch */
    int64_t each;                  /* batches of a window that is not the last */
    int64_t at, at_epoch;          /* the window that is on the device, and of which epoch */
    mgn_stream *stream;            /* NULL: rows in memory */
    mgn_samples first;    /* what stands for the rows where only some are looked at: all, or the first window */
    int64_t target_batch; /* samples of the target a step; 0: the loss wants none */
    mgn_optimizer_shape shape;
    mgn_tensor *target_rows, *target_state; /* the target's rows, where it is finite; a random state of its own */
    mgn_tensor *x, *y;                      /* data; NULL where they come in pages */
    mgn_tensor *parameters, *vectors[MGN_MOST_OPTIMIZER_VECTORS], *scalars, *sum; /* sum: accumulated gradient */
    mgn_tensor *state, *lr, *loss; /* random state, learning rate, sum of the epoch's losses */
    mgn_tensor *share;             /* one by the batches that this step accumulates; NULL without accumulation */
    mgn_plan *plans[MGN_SIZES][MGN_ROLES];
    mgn_block_gradient *blocks; /* NULL: a step is one plan */
    mgn_tensor *result;         /* its gradient, and behind it the loss */
    mgn_pages *pages;           /* NULL: the window is on the device */
    bool is_stopping;           /* with others: they agreed to stop */
    int64_t look;               /* steps to the next look */
    char advice[64];
    mgn_session session;
} mgn_trainer;

/* Rows that a step of this size draws from, and how many of them. */
int64_t mgn_trainer_population(const mgn_trainer *trainer, int size);
int64_t mgn_trainer_rows(const mgn_trainer *trainer, int size);
/* Whether there are steps of this size at all. */
bool mgn_trainer_has(const mgn_trainer *trainer, int size);

#endif
