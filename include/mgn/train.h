/* Training: batches, steps, schedules, and what comes out. */
#ifndef MGN_TRAIN_H
#define MGN_TRAIN_H

#include <mgn/comm.h>
#include <mgn/loss.h>
#include <mgn/model.h>
#include <mgn/optim.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Rows to learn from; copied to the device when training starts. */
typedef struct mgn_samples {
    const float *x; /**< (n, d) */
    const float *y; /**< (n, d) targets for losses that need pairs; NULL otherwise */
    int64_t n;
} mgn_samples;

/** Rows to learn from that are read while training computes: more than fit into memory. They are held in windows, one after
 *  the other; every epoch goes through the blocks of neighbours in another order, and through the rows of a window in
 *  another order still. Which rows meet in a batch depends on `window`, `block` and the seed, never on how fast they are
 *  read. Of a table that fits into one window the steps are those of the same rows in memory, bit for bit. */
typedef struct mgn_row_source {
    int64_t n;
    int64_t window; /**< rows on the device at once; made a multiple of the batch */
    int64_t block;  /**< rows that are read together */
    /** Rows first .. first + n - 1 to x (n, d), and their targets to y, which is NULL where none are wanted. Called from
     *  another thread than mgn_train's, one call at a time. */
    mgn_status (*read)(void *context, int64_t first, int64_t n, float *x, float *y);
    void *context;
    bool has_targets; /**< whether it has rows of y */
} mgn_row_source;

/** After an epoch. Return false from the callback to stop (status INTERRUPTED). An epoch that was rolled back is reported
 *  again when it has been repeated. */
typedef struct mgn_train_report {
    int64_t epoch, epochs; /**< 1 .. epochs */
    int64_t steps;         /**< optimizer steps so far */
    double loss;           /**< mean over the epoch's batches, at the parameters before each step */
    double lr;
    double seconds;
    double held_out; /**< loss of the rows held out, at the epoch's end; NaN where there are none */
    double cost;     /**< E |x - g(x)|^2 of these rows, or of the first rows learned from, with a log or where
                              it is asked for (mgn_train_control); NaN elsewhere */
} mgn_train_report;
typedef bool mgn_train_callback(void *context, const mgn_train_report *report);

/** How a long training is kept, resumed, watched and stopped. All zero: none of it.
 *
 *  A checkpoint is a safetensors file with everything that the training's next bit depends on: parameters, the optimizer's
 *  state, random state, place in the epoch, schedule, best parameters; in its metadata stand the options and a digest of
 *  the rows. Going on from it ends with the same bits as a run that was never stopped, on the same device. It is written
 *  beside its name and renamed, so that under the name there is always a whole one. */
typedef struct mgn_train_control {
    const char
        *checkpoint; /**< file, replaced again and again, once more at the end and when interrupted; NULL: none */
    double checkpoint_seconds; /**< between two of them, in the middle of epochs too; 0: see checkpoint_epochs */
    int64_t checkpoint_epochs; /**< epochs between two of them; 0 with 0 seconds: every 60 seconds */
    const char *resume;        /**< a checkpoint to go on from; the model's own parameters do not count then */
    /** Learning curve, .csv or .jsonl: a line after every epoch with epoch, step, loss, held_out, lr, cost, seconds. With
     *  `resume` it goes on after the checkpoint's epoch, later and torn lines being cut off. */
    const char *log;
    bool cost; /**< whether the reports have a cost also without a log and without rows held out */
    /** Rows whose loss is measured after every epoch; borrowed. `y`: their targets for losses of pairs; as many samples of
     *  the target for sinkhorn (NULL: drawn). */
    const mgn_samples *held_out;
    /** > 0: stops after so many epochs without a lower loss (by 1e-4, relative) of the rows held out, or of training
     *  where none are; the best parameters are kept, and MGN_SCHEDULE_PLATEAU looks at the same loss. */
    int64_t patience;
    /** > 0: where the loss, a parameter or the optimizer's state is not finite after an epoch, or the loss has grown
     *  beyond 10^4 times what it was at the start (or what the data are like), training goes back to before the
     *  epoch that led there, at a quarter of the learning rate; after so many times it ends with NUMERIC. First order. */
    int64_t retries;
} mgn_train_control;

typedef struct mgn_train_config {
    mgn_loss_config loss;
    mgn_optimizer_config optimizer;
    mgn_schedule_config schedule;
    int64_t batch;      /**< rows a step; 0, or n and more: all. The last batch of an epoch may be smaller */
    int64_t accumulate; /**< batches whose gradients make one step; 0 means 1 */
    int64_t epochs;
    uint64_t seed;              /**< of the shuffles */
    mgn_dtype real;             /**< MGN_F32 or MGN_F64 */
    mgn_train_callback *report; /**< optional */
    void *context;
    mgn_train_control control;
    /** Rows that are read as they are wanted, instead of those of `samples`, which may be NULL then; borrowed. Optimizers of
     *  first order. */
    const mgn_row_source *source;
    /** > 0: every batch is cut into so many blocks of rows, a power of two, whose gradients (and
     *  curvature) are added up in a fixed order. The result depends on their number, but not on how many processes share
     *  them. For losses that are means over rows, or functions of their mean and covariance (these not for newton). 0: a step
     *  is one plan. */
    int64_t blocks;
    /** The processes that share the blocks; all call mgn_train with the same arguments, but that only rank 0 is to name a
     *  checkpoint and a log. Borrowed; NULL: this one alone. */
    mgn_comm *comm;
} mgn_train_config;

typedef struct mgn_train_result {
    double loss;    /**< of the last epoch */
    int64_t steps;  /**< optimizer steps */
    double seconds; /**< wall time of the epochs, compilation of plans excluded */
    double compile_seconds;
    int64_t epochs;     /**< done; fewer than asked for after an early stop */
    int64_t best_epoch; /**< with patience: after which the parameters are kept; else 0 */
    double best;        /**< the loss that decided it */
    int64_t rollbacks;  /**< how often the learning rate was lowered after a divergence */
} mgn_train_result;

/** Trains `model` in place. Errors: ARGUMENT (also a checkpoint of other rows, options or model: names the first
 *  difference); NUMERIC (training diverged: names epoch, loss or parameter; the model and the checkpoint keep the last
 *  state at an epoch's start whose loss was good, and `result` is that state's); INTERRUPTED (the model and the checkpoint keep what was learned; `result` is filled); IO and
 *  FORMAT (checkpoint, log); MEMORY; DEVICE. */
MGN_API mgn_status mgn_train(mgn_model *model, mgn_device *device, const mgn_samples *samples,
                             const mgn_train_config *config, mgn_train_result *result);

#ifdef __cplusplus
}
#endif
#endif
