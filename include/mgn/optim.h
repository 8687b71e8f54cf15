/* Optimizers: first-order ones as graph nodes over the flat parameter vector, with learning-rate schedules, and second-order
 * ones, which mgn_train runs on the host over plans for values, gradients and curvature. */
#ifndef MGN_OPTIM_H
#define MGN_OPTIM_H

#include <mgn/graph.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct mgn_optimizer_config {
    /** "adam" (weight decay added to the gradient, as PyTorch's Adam), "adamw" (decoupled), "sgd"; of second order, with
     *  all rows in every step and MGN_F64 recommended: "lbfgs", "newton" (in a trust region, by conjugate gradients),
     *  "gauss-newton" (Levenberg-Marquardt, for the losses mse and l1). */
    char kind[16];
    double lr;           /**< first order */
    double beta1, beta2; /**< adam, adamw; 0 means .9 and .999 */
    double epsilon;      /**< adam, adamw; 0 means 1e-8 */
    double momentum;     /**< sgd */
    double weight_decay;
    double clip_norm; /**< first order: scales gradients whose global norm is larger down to it; 0: never */
    double tolerance; /**< second order: stops when no entry of the gradient is larger; 0: when nothing gets lower */
    int64_t memory;   /**< lbfgs: steps that it remembers; 0 means 20 */
} mgn_optimizer_config;

/** Names of the kinds there are, first-order ones first; NULL past the last. */
MGN_API const char *mgn_optimizer_kind(size_t index);
/** Whether it is one of second order; false for unknown kinds. */
MGN_API bool mgn_optimizer_is_second_order(const char *kind);

/** State of a first-order optimizer besides the parameters: vectors of the parameters' length, and one vector of scalars. All
 *  start at zero. */
typedef struct mgn_optimizer_shape {
    int vectors, scalars;
} mgn_optimizer_shape;
enum { MGN_MOST_OPTIMIZER_VECTORS = 2 };

/** Errors: ARGUMENT (unknown kind, numbers out of range). */
MGN_API mgn_status mgn_optimizer_check(const mgn_optimizer_config *config, mgn_optimizer_shape *shape);

/** One first-order update: assigns the new values to the inputs `parameters` (p), `vectors` (p each) and `scalars`.
 *  `gradient` (p), `lr` a scalar. */
MGN_API void mgn_optimizer_update(const mgn_optimizer_config *config, mgn_node *parameters, mgn_node *gradient,
                                  mgn_node *lr, mgn_node *const *vectors, mgn_node *scalars);

typedef enum mgn_schedule_kind {
    MGN_SCHEDULE_CONSTANT,
    MGN_SCHEDULE_STEP,        /**< times gamma every `every` epochs */
    MGN_SCHEDULE_EXPONENTIAL, /**< times gamma every epoch */
    MGN_SCHEDULE_COSINE,      /**< lr to lr * floor along a half cosine over all epochs */
    MGN_SCHEDULE_PLATEAU      /**< times gamma when the loss has not improved by 1e-4 (relative) for `every` epochs */
} mgn_schedule_kind;

typedef struct mgn_schedule_config {
    mgn_schedule_kind kind;
    double gamma;  /**< 0 means .1 */
    int64_t every; /**< 0 means 10 */
    double floor;  /**< smallest fraction of the first learning rate */
} mgn_schedule_config;

MGN_API mgn_status mgn_schedule_parse(const char *text, mgn_schedule_kind *kind);

/** What a schedule remembers between epochs; zeroed at the start. */
typedef struct mgn_schedule_state {
    double factor, best;
    int64_t waited;
} mgn_schedule_state;

/** The factor on the learning rate for `epoch` (from 0) of `epochs`; `loss` is the last epoch's (ignored for epoch 0). */
MGN_API double mgn_schedule_factor(const mgn_schedule_config *config, mgn_schedule_state *state, int64_t epoch,
                                   int64_t epochs, double loss);

#ifdef __cplusplus
}
#endif
#endif
