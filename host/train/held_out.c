/* One plan over all rows that are held out; it shares the parameters' tensor with the step, so nothing is copied. */
#include "train/held_out.h"

#include <math.h>
#include <string.h>

#include "core/core.h"
#include "train/second_order.h"

/* Rows on which the cost is measured where none are held out. */
enum { COST_ROWS = 4096 };

struct mgn_held_out {
    mgn_tensor *x, *y; /* rows; what they are compared with, where there is anything */
    mgn_plan *plan;
    mgn_tensor *loss, *cost; /* the plan's outputs; loss: NULL where none is asked for */
};

void mgn_held_out_destroy(mgn_held_out *held) {
    if (!held) return;
    mgn_plan_destroy(held->plan);
    mgn_tensor_destroy(held->x);
    mgn_tensor_destroy(held->y);
    mgn_free(held);
}

/* As many samples of the target as there are rows. */
static mgn_status draw(const mgn_train_config *config, int64_t n, int64_t d, float **drawn) {
    const mgn_target *target = config->loss.target;
    if (!target || mgn_target_dimension(target) != d)
        return mgn_fail(MGN_ERR_ARGUMENT, "the loss %s needs a target of %lld dimensions for the rows held out",
                        config->loss.kind, (long long)d);
    *drawn = mgn_alloc((size_t)n, (size_t)d * sizeof **drawn);
    return *drawn ? mgn_target_sample(target, n, ~config->seed, *drawn) : MGN_ERR_MEMORY;
}

static mgn_status upload(mgn_held_out *h, mgn_device *device, const mgn_train_config *config, mgn_samples rows,
                         int64_t d, bool has_loss) {
    float *drawn = NULL;
    mgn_status status = MGN_OK;
    if (!has_loss) rows.y = NULL;
    if (has_loss && mgn_loss_needs_pairs(config->loss.kind) && !rows.y)
        return mgn_fail(MGN_ERR_ARGUMENT, "the loss %s compares the rows held out with targets; none were given",
                        config->loss.kind);
    if (has_loss && mgn_loss_needs_samples(config->loss.kind) && !rows.y) status = draw(config, rows.n, d, &drawn);
    if (drawn) rows.y = drawn;
    if (status == MGN_OK) status = mgn_upload_samples(device, config->real, &rows, d, &h->x, &h->y);
    mgn_free(drawn);
    return status;
}

static mgn_status compile(mgn_held_out *h, const mgn_model *model, mgn_device *device, mgn_dtype real,
                          const mgn_loss_config *losses, mgn_tensor *parameters) {
    mgn_graph *graph;
    MGN_TRY(mgn_graph_create(&graph));
    mgn_node *flat = mgn_input(graph, "parameters", MGN_REAL, mgn_tensor_shape(parameters)),
             *x = mgn_input(graph, "x", MGN_REAL, mgn_tensor_shape(h->x)),
             *y = h->y ? mgn_input(graph, "y", MGN_REAL, mgn_tensor_shape(h->y)) : NULL;
    mgn_node *image = mgn_model_forward(model, flat, x), *loss = losses ? mgn_loss(losses, x, image, y) : NULL,
             *cost = mgn_loss_transport_cost(x, image);
    mgn_output(loss);
    mgn_output(cost);
    const mgn_binding bindings[] = {{flat, parameters}, {x, h->x}, {y, h->y}};
    mgn_status status = mgn_graph_status(graph);
    if (status == MGN_OK) status = mgn_plan_compile(graph, device, real, bindings, h->y ? 3 : 2, &h->plan);
    if (status == MGN_OK) {
        h->loss = loss ? mgn_plan_tensor(h->plan, loss) : NULL;
        h->cost = mgn_plan_tensor(h->plan, cost);
    }
    mgn_graph_destroy(graph);
    return status;
}

mgn_status mgn_held_out_create(const mgn_model *model, mgn_device *device, const mgn_train_config *config,
                               const mgn_loss_config *losses, const mgn_samples *samples, mgn_tensor *parameters,
                               mgn_held_out **held) {
    const mgn_samples *given = config->control.held_out;
    mgn_samples rows = given ? *given : *samples;
    if (rows.n < 1 || !rows.x) return mgn_fail(MGN_ERR_ARGUMENT, "there are no rows held out to measure");
    if (!given) rows.n = MGN_MIN(rows.n, COST_ROWS);
    mgn_held_out *h = mgn_alloc(1, sizeof *h);
    if (!h) return MGN_ERR_MEMORY;
    mgn_status status = upload(h, device, config, rows, mgn_model_get_config(model)->d, given != NULL);
    if (status == MGN_OK) status = compile(h, model, device, config->real, given ? losses : NULL, parameters);
    if (status == MGN_OK)
        *held = h;
    else
        mgn_held_out_destroy(h);
    return status;
}

mgn_status mgn_held_out_measure(mgn_held_out *held, double *loss, double *cost) {
    *loss = NAN;
    MGN_TRY(mgn_plan_run(held->plan, 1));
    if (held->loss) MGN_TRY(mgn_tensor_read(held->loss, MGN_F64, loss));
    return mgn_tensor_read(held->cost, MGN_F64, cost);
}
