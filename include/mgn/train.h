/* Training: batches, steps, schedules, and what comes out. */
#ifndef MGN_TRAIN_H
#define MGN_TRAIN_H

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

/** After an epoch. Return false from the callback to stop (status INTERRUPTED). */
typedef struct mgn_train_report {
    int64_t epoch, epochs; /**< 1 .. epochs */
    int64_t steps;         /**< optimizer steps so far */
    double loss;           /**< mean over the epoch's batches, at the parameters before each step */
    double lr;
    double seconds;
} mgn_train_report;
typedef bool mgn_train_callback(void *context, const mgn_train_report *report);

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
} mgn_train_config;

typedef struct mgn_train_result {
    double loss;    /**< of the last epoch */
    int64_t steps;  /**< optimizer steps */
    double seconds; /**< wall time of the epochs, compilation of plans excluded */
    double compile_seconds;
} mgn_train_result;

/** Trains `model` in place. Errors: ARGUMENT; NUMERIC (loss not finite: names epoch and loss; the model keeps the last
 *  parameters at an epoch's start whose loss was finite); INTERRUPTED (the model keeps what was learned; `result` is filled); MEMORY; DEVICE. */
MGN_API mgn_status mgn_train(mgn_model *model, mgn_device *device, const mgn_samples *samples,
                             const mgn_train_config *config, mgn_train_result *result);

#ifdef __cplusplus
}
#endif
#endif
