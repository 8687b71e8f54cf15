/* Learning a map to a palette as it is, by the debiased Sinkhorn divergence S of the mapped palette to the target's.
 *
 * The colours y_i = g(x_i) would go to y_i - n dS/dy_i, where S is least in its quadratic model (its second derivative is
 * close to 1/n). The network is fitted to those by least squares with Gauss-Newton steps, and the divergence is taken
 * again: a few rounds of Gauss-Newton for S, from a start that has the right mean and spread. Steps on small batches were
 * worse in every way: the optimum of a batch's divergence is a smaller spread, and each step costs as much. */
#include <math.h>

#include <mgn/ot.h>
#include <mgn/sinkhorn.h>

#include "recolor/recolor.h"

enum { ROWS = 2048, USUAL_ROUNDS = 8, STEPS = 10 };

/* The blur is five levels of 8 bits: far above their rounding, below what the eye takes for another colour. */
static const mgn_sinkhorn_config divergence = {.blur = 0.02, .scaling = 0.7};

typedef struct clouds {
    mgn_matrix from, to, aims; /* source colours, target colours, where the source's should go */
    float *gradient;
} clouds;

/* Where each colour's image should go; the divergence. */
static mgn_status find_aims(const mgn_model *model, mgn_device *device, clouds *c, double *value) {
    const int64_t n = c->from.rows;
    float *y = c->aims.values;
    mgn_map *map = NULL;
    mgn_sinkhorn_result result;
    MGN_TRY(mgn_map_create(model, device, MGN_F32, &map));
    mgn_status status = mgn_map_apply(map, c->from.values, n, y);
    if (status == MGN_OK)
        status = mgn_sinkhorn(device, y, NULL, n, c->to.values, NULL, c->to.rows, 3, &divergence, &result, c->gradient);
    for (int64_t i = 0; i < 3 * n && status == MGN_OK; i++) y[i] -= (float)n * c->gradient[i];
    mgn_map_destroy(map);
    if (status == MGN_OK) *value = result.value;
    return status;
}

static mgn_status run_rounds(mgn_model *model, mgn_device *device, clouds *c, const mgn_recolor_config *config,
                             mgn_train_result *result) {
    const int64_t rounds = config->epochs ? config->epochs : USUAL_ROUNDS;
    const mgn_samples pairs = {.x = c->from.values, .y = c->aims.values, .n = c->from.rows};
    const mgn_train_config training = {
        .loss = {.kind = "mse"},
        .optimizer = {.kind = "gauss-newton"},
        .epochs = STEPS,
        .seed = config->seed,
        .real = mgn_device_get_info(device)->has_f64 ? MGN_F64 : MGN_F32,
    };
    const double start = mgn_now();
    for (int64_t i = 0; i < rounds; i++) {
        mgn_train_result step = {0};
        MGN_TRY(find_aims(model, device, c, &result->loss));
        MGN_TRY(mgn_train(model, device, &pairs, &training, &step));
        result->steps += step.steps;
        result->seconds = mgn_now() - start;
        const mgn_train_report report = {i + 1, rounds, result->steps, result->loss, 0, result->seconds, NAN, NAN};
        if (mgn_interrupted() || (config->report && !config->report(config->context, &report)))
            return mgn_fail(MGN_ERR_INTERRUPTED, "stopped after round %lld of %lld", (long long)(i + 1),
                            (long long)rounds);
    }
    return MGN_OK;
}

mgn_status mgn_recolor_learn_sinkhorn(mgn_model *model, mgn_device *device, const mgn_matrix *source,
                                      const mgn_matrix *target, const mgn_recolor_config *config,
                                      mgn_train_result *result) {
    clouds c = {0};
    mgn_train_result own = {0};
    mgn_status status = mgn_palette_sample(source, ROWS, config->seed, &c.from);
    if (status == MGN_OK) status = mgn_palette_sample(target, ROWS, config->seed, &c.to);
    if (status == MGN_OK) status = mgn_matrix_create(c.from.rows, 3, &c.aims);
    if (status == MGN_OK) {
        c.gradient = mgn_alloc((size_t)c.from.rows, 3 * sizeof *c.gradient);
        status = c.gradient ? run_rounds(model, device, &c, config, &own) : MGN_ERR_MEMORY;
    }
    if (result) *result = own;
    mgn_free(c.gradient);
    mgn_matrix_free(&c.aims);
    mgn_matrix_free(&c.to);
    mgn_matrix_free(&c.from);
    return status;
}
