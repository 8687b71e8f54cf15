/* Everything that a training's next bit depends on, as a list of parts: arrays on the device or the host, which are copied
 * out bit for bit, to go back to them, or to write them to a file. */
#ifndef MGN_HOST_TRAIN_STATE_H
#define MGN_HOST_TRAIN_STATE_H

#include <mgn/data.h>
#include <mgn/optim.h>

#include "comm/comm.h"
#include "core/core.h"

enum { MGN_MOST_STATE_PARTS = 12 };

/* Where a training stands; goes back with the rest when it is rolled back. Doubles only, whole numbers among them. */
typedef struct mgn_train_point {
    double epoch, batch; /* done; of the next epoch, batches done */
    double steps;        /* of the optimizer, in all */
    double factor;       /* of the schedule, in the next epoch */
    double loss;         /* of the last epoch */
    double waited;       /* epochs since the best one */
    double plateau_factor, plateau_best, plateau_waited;
} mgn_train_point;

/* What a rollback leaves as it is. */
typedef struct mgn_train_history {
    double rollbacks, lr_factor; /* how often, and what is left of the learning rate */
    double first;                /* loss at the start values; NaN before it is known */
    double best, best_epoch;     /* lowest loss of those that are watched, and after which epoch; 0: none yet */
    double seconds;
} mgn_train_history;

typedef struct mgn_state_part {
    const char *label; /* a literal */
    mgn_dtype dtype;
    int64_t count;
    void *host; /* the array; NULL: */
    mgn_tensor *tensor;
} mgn_state_part;

/* One copy of all parts. */
typedef struct mgn_state_copy {
    mgn_train_point point;
    void *bytes[MGN_MOST_STATE_PARTS];
} mgn_state_copy;

typedef struct mgn_train_state {
    mgn_state_part parts[MGN_MOST_STATE_PARTS];
    size_t count;
    bool is_whole;  /* false: only the first part, the parameters, is copied */
    bool is_judged; /* the loop itself judges and goes back: nothing is too bad to be copied */
    mgn_train_point point;
    mgn_train_history history;
    mgn_state_copy latest, good; /* after the last epoch; where the last good epoch began */
    mgn_state_copy spare;        /* in the middle of an epoch, where is_middle */
    bool is_middle;
} mgn_train_state;

/* NULL adds nothing. */
void mgn_state_add_tensor(mgn_train_state *state, const char *label, mgn_tensor *tensor);
void mgn_state_add_array(mgn_train_state *state, const char *label, mgn_dtype dtype, int64_t count, void *host);

/* Makes room for the copies, and makes the first. */
mgn_status mgn_state_begin(mgn_train_state *state);
void mgn_state_free(mgn_train_state *state);

/* After an epoch of a good loss: what was `latest`, where it began, becomes `good`, and all parts are copied to `latest`; unless
 * one has a value that is not finite: then `part` and `index` say where. `part` is NULL when all is well. */
mgn_status mgn_state_take(mgn_train_state *state, const mgn_state_part **part, int64_t *index);
/* In the middle of one; parts that are not finite leave all copies as they are. */
mgn_status mgn_state_take_middle(mgn_train_state *state);

/* Writes `good` back to where it came from; it is `latest` too then. */
mgn_status mgn_state_go_back(mgn_train_state *state);

/* Gives all processes rank 0's parts: on devices of different makes they differ by rounding. Nothing without a group. */
mgn_status mgn_state_share(mgn_train_state *state, mgn_comm *comm);

/* The last copy of the first part, which is the parameters. */
void mgn_state_parameters(const mgn_train_state *state, double *values);

/* ---- files ---- */

/* The state's own share of a checkpoint: the last copy and, with `has_earlier`, those that a rollback goes back to; the
 * history; the best parameters (`best`, of the parameters' length; NULL: none). */
mgn_status mgn_state_store(const mgn_train_state *state, bool has_earlier, const double *best, mgn_safetensors *file);

/* The reverse, into parts, copies, history and `best`. `label` begins the sentences. Errors: FORMAT (a part is missing, or of
 * another size; a number makes no sense), DEVICE. */
mgn_status mgn_state_load(mgn_train_state *state, bool has_earlier, double *best, const mgn_safetensors *file,
                          const char *label);

#endif
