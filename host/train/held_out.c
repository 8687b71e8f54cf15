/* The meter shares the parameters' tensor with the step, so nothing is copied. */
#include "train/held_out.h"

#include "core/core.h"
#include "train/second_order.h"

/* Rows on which the cost is measured where none are held out. */
enum { COST_ROWS = 4096 };

/* As many samples of the target as there are rows. */
static mgn_status draw(const mgn_train_config *config, int64_t n, int64_t d, float **drawn) {
    const mgn_target *target = config->loss.target;
    if (!target || mgn_target_dimension(target) != d)
        return mgn_fail(MGN_ERR_ARGUMENT, "the loss %s needs a target of %lld dimensions for the rows held out",
                        config->loss.kind, (long long)d);
    *drawn = mgn_alloc((size_t)n, (size_t)d * sizeof **drawn);
    return *drawn ? mgn_target_sample(target, n, ~config->seed, *drawn) : MGN_ERR_MEMORY;
}

static mgn_status make_meter(const mgn_meter_config *meter, const mgn_train_config *config, mgn_samples rows,
                             mgn_meter **made) {
    const bool has_loss = meter->losses != NULL;
    const int64_t d = mgn_model_get_config(meter->model)->d;
    float *drawn = NULL;
    mgn_status status = MGN_OK;
    if (!has_loss) rows.y = NULL;
    if (has_loss && mgn_loss_needs_pairs(config->loss.kind) && !rows.y)
        return mgn_fail(MGN_ERR_ARGUMENT, "the loss %s compares the rows held out with targets; none were given",
                        config->loss.kind);
    if (has_loss && mgn_loss_needs_samples(config->loss.kind) && !rows.y) status = draw(config, rows.n, d, &drawn);
    if (drawn) rows.y = drawn;
    if (status == MGN_OK) status = mgn_check_samples(&rows, d);
    if (status == MGN_OK) status = mgn_meter_create(meter, &rows, made);
    mgn_free(drawn);
    return status;
}

mgn_status mgn_held_out_create(const mgn_model *model, mgn_device *device, const mgn_train_config *config,
                               const mgn_loss_config *losses, const mgn_samples *samples, mgn_tensor *parameters,
                               mgn_meter **meter) {
    const mgn_samples *given = config->control.held_out;
    mgn_samples rows = given ? *given : *samples;
    if (rows.n < 1 || !rows.x) return mgn_fail(MGN_ERR_ARGUMENT, "there are no rows held out to measure");
    if (!given) rows.n = MGN_MIN(rows.n, COST_ROWS);
    const mgn_meter_config what = {model, device, config->real, given ? losses : NULL, true, parameters};
    return make_meter(&what, config, rows, meter);
}
