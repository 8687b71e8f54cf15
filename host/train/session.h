/* What all training loops do between their epochs: keep copies of the state, go back where it diverged, measure the rows held
 * out, write curves and checkpoints, report, stop early. A loop is
 *
 *     mgn_session_open, mgn_state_add_... for what the next step depends on (parameters first), mgn_session_begin;
 *     while (mgn_session_goes_on) { an epoch at mgn_session_lr; mgn_session_epoch; }
 *     mgn_session_close.
 *
 * mgn_session_begin leaves the state of the checkpoint that is resumed; state.point says where the loop begins. */
#ifndef MGN_HOST_SESSION_H
#define MGN_HOST_SESSION_H

#include <mgn/train.h>

#include "train/curve.h"
#include "train/held_out.h"
#include "train/state.h"

typedef struct mgn_session {
    const mgn_model *model; /* for its shape, and the names of parameters */
    mgn_device *device;
    const mgn_train_config *config;
    const mgn_samples *samples;
    mgn_train_result *result;
    int64_t batches;    /* of an epoch */
    int64_t accumulate; /* of them make a step */
    const char *advice; /* what may keep training from diverging; ends the sentence */
    const mgn_train_config
        *recipe; /* the options that a training is known by, where `config` has been changed; or NULL */
    /* Measures the rows held out where a plan cannot; NULL: by one. */
    mgn_status (*measure)(void *context, double *loss, double *cost);
    void *context;
    const mgn_safetensors
        *carried; /* a state to go on from (mgn_session_carry), instead of config->control.resume; or NULL */
    mgn_train_state state;
    mgn_safetensors file; /* metadata of the checkpoints, which loops may add to once it has begun */
    /* ---- its own ---- */
    mgn_meter *held;
    mgn_curve *curve;
    double *best;             /* parameters; NULL without patience */
    double typical;           /* size of the loss, judging by the data */
    double begun, written;    /* when */
    bool is_begun, is_stored; /* is_stored: the last copy is in the file */
} mgn_session;

void mgn_session_open(mgn_session *session, const mgn_model *model, mgn_device *device, const mgn_samples *samples,
                      const mgn_train_config *config, mgn_train_result *result);

/* `losses` and `parameters` as of mgn_held_out_create. Errors: those of mgn_train. */
mgn_status mgn_session_begin(mgn_session *session, const mgn_loss_config *losses, mgn_tensor *parameters);

/* That all processes learn from the same rows, in the same way, and begin with the same bits; nothing without a group. */
mgn_status mgn_session_join(mgn_session *session);

bool mgn_session_goes_on(const mgn_session *session);
double mgn_session_lr(const mgn_session *session);

/* After a whole epoch of mean loss `loss`; or to go back, when that is not what it should be. Errors: NUMERIC (diverged);
 * INTERRUPTED (by the user, or by the callback). */
mgn_status mgn_session_epoch(mgn_session *session, double loss, double lr);

/* After `batch` batches of an epoch, of mean loss `loss` so far: the end, with the status INTERRUPTED. */
mgn_status mgn_session_interrupt(mgn_session *session, int64_t batch, double loss, double lr);

/* For loops that choose the parameters themselves: fails where patience is asked for. `what` begins the sentence. */
mgn_status mgn_session_refuse_patience(const mgn_train_config *config, const char *what);
/* The measure of loops whose rows held out are their own business: NaN. */
mgn_status mgn_session_no_figures(void *context, double *loss, double *cost);

/* Whether it is time for a checkpoint in the middle of an epoch, and writing it. */
bool mgn_session_is_timed(const mgn_session *session);
bool mgn_session_is_due(const mgn_session *session);
mgn_status mgn_session_write_middle(mgn_session *session, int64_t batch);

/* Where `status` says that the device failed: the state of the last epoch's end, or of the last checkpoint's time, replaces what
 * `file` has, to go on from by another session of this training; where no state is kept, `file` stays as it is. The last
 * error's sentence stays. */
void mgn_session_carry(mgn_session *session, mgn_status status, mgn_safetensors *file);

/* The last checkpoint; then frees everything, and forwards `status` or a failure. `values` gets the parameters that are kept,
 * where there are any: the best, the last, or after a divergence the last good ones. */
mgn_status mgn_session_close(mgn_session *session, mgn_status status, double *values);

#endif
