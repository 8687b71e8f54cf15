/* What the semi-dual solver computes on the device: Newton steps of conjugate points, and a whole step of training, in which
 * a batch of points takes a Newton step and the parameters one of the optimizer.
 *
 * A batch is one of pairs of neighbours, x and a conjugate point, whose contributions to the gradient nearly cancel. By the
 * envelope theorem the gradient of phi*(y) by the parameters is that of -phi at a fixed x*, but only at the true x*: far
 * from it the difference pushes the potential where no data is, which moves the point further off. So pairs whose point is
 * not where it belongs after the Newton step are left out, both rows of them, and counted. */
#include "train/semidual_step.h"

#include "core/core.h"

/* Of each Newton step: least damping, what the residual adds to it, and the length that steps are cut to, in clouds of unit
 * spread. */
static const double damping = 1e-3, caution = 0.1, longest = 1;

mgn_node *mgn_conjugate_step(const mgn_semidual_step *s, mgn_node *parameters, mgn_node *z, mgn_node *y,
                             mgn_node **before, mgn_node **after) {
    const int64_t rows = mgn_node_shape(z).dim[0], d = mgn_node_shape(z).dim[1];
    const mgn_shape column = MGN_SHAPE(rows, 1);
    mgn_graph *graph = mgn_node_graph(z);
    mgn_node *g = mgn_model_forward(s->model, parameters, z), *r = mgn_sub(g, y);
    mgn_node *square = mgn_sum(mgn_square(r), 2), *off = mgn_sqrt(mgn_shift(square, 1e-20));
    mgn_node *shift = mgn_shift(mgn_scale(off, caution / s->x_unit), damping * s->y_unit / s->x_unit);
    shift = mgn_reshape(shift, MGN_SHAPE(rows, 1, 1));
    mgn_node *matrix = mgn_add(mgn_row_jacobian(g, z), mgn_mul(shift, mgn_identity(graph, d)));
    mgn_node *step = mgn_reshape(mgn_spd_solve(matrix, mgn_reshape(r, MGN_SHAPE(rows, d, 1))), MGN_SHAPE(rows, d));
    mgn_node *length = mgn_sqrt(mgn_shift(mgn_sum(mgn_square(step), 2), 1e-20));
    mgn_node *cut = mgn_minimum(mgn_div(mgn_constant(graph, longest * s->x_unit), length), mgn_constant(graph, 1));
    mgn_node *is_number = mgn_reshape(mgn_greater(mgn_constant(graph, 1e30), length), column);
    step = mgn_select(is_number, mgn_mul(step, mgn_reshape(cut, column)), mgn_constant(graph, 0));
    mgn_node *ahead = mgn_model_forward(s->model, parameters, mgn_sub(z, step));
    mgn_node *then = mgn_sum(mgn_square(mgn_sub(ahead, y)), 2);
    mgn_node *factor = mgn_select(mgn_greater(square, then), mgn_constant(graph, 1), mgn_constant(graph, 0.25));
    if (before) *before = off;
    if (after) *after = mgn_sqrt(mgn_shift(then, 1e-20));
    return mgn_sub(z, mgn_mul(step, mgn_reshape(factor, column)));
}

/* The inputs, of which the batch of this step is drawn. */
static void build_inputs(const mgn_semidual_step *s, mgn_graph *graph, mgn_step_nodes *in) {
    const mgn_shape rows = MGN_SHAPE(s->pairs, s->d);
    *in = (mgn_step_nodes){.x = mgn_input(graph, "x", MGN_REAL, rows),
                           .y = mgn_input(graph, "y", MGN_REAL, rows),
                           .points = mgn_input(graph, "conjugate points", MGN_REAL, rows),
                           .parameters = mgn_input(graph, "parameters", MGN_REAL, MGN_SHAPE(s->count)),
                           .average = mgn_input(graph, "sum of parameters", MGN_REAL, MGN_SHAPE(s->count)),
                           .lr = mgn_input(graph, "learning rate", MGN_REAL, MGN_SCALAR),
                           .sums = mgn_input(graph, "sums", MGN_REAL, MGN_SHAPE(MGN_STEP_SUMS)),
                           .state = mgn_input(graph, "random state", MGN_INDEX, MGN_SHAPE(4))};
    in->scalars = mgn_input(graph, "optimizer scalars", MGN_REAL, MGN_SHAPE(MGN_MAX(s->shape.scalars, 1)));
    for (int i = 0; i < s->shape.vectors; i++)
        in->vectors[i] = mgn_input(graph, "optimizer vector", MGN_REAL, MGN_SHAPE(s->count));
}

/* Points, sums and the random state after the step. */
static void assign(const mgn_semidual_step *s, const mgn_step_nodes *in, mgn_node *index, mgn_node *moved,
                   mgn_node *sums[MGN_STEP_SUMS]) {
    mgn_assign(in->points, mgn_add(in->points, mgn_scatter_rows(moved, index, s->pairs)));
    mgn_assign(in->sums, mgn_add(in->sums, mgn_stack(sums, MGN_STEP_SUMS, 0)));
    mgn_assign(in->state, mgn_advance(in->state, 1));
}

static mgn_status build(const mgn_semidual_step *s, mgn_graph *graph, mgn_step_nodes *in) {
    mgn_node *gradient = NULL, *before = NULL, *after = NULL;
    build_inputs(s, graph, in);
    mgn_node *index = mgn_shuffle(in->state, s->pairs, s->batch, s->steps, s->batch);
    mgn_node *x = mgn_gather_rows(in->x, index), *y = mgn_gather_rows(in->y, index);
    mgn_node *z = mgn_gather_rows(in->points, index), *zero = mgn_constant(graph, 0);
    mgn_node *next = mgn_detach(mgn_conjugate_step(s, in->parameters, z, y, &before, &after));
    mgn_node *counts = mgn_detach(mgn_greater(mgn_constant(graph, s->tolerance), after)); /* (batch), 0 or 1 */
    mgn_node *share = mgn_detach(mgn_maximum(mgn_mean(counts, -1), mgn_constant(graph, 1 / (double)s->batch)));
    mgn_node *difference =
        mgn_sub(mgn_model_potential(s->model, in->parameters, x), mgn_model_potential(s->model, in->parameters, next));
    mgn_node *loss = mgn_div(mgn_mean(mgn_select(counts, difference, zero), -1), share);
    mgn_node *products = mgn_mean(mgn_select(counts, mgn_sum(mgn_mul(next, y), 2), zero), -1);
    mgn_node *sums[MGN_STEP_SUMS] = {
        [MGN_SUM_VALUE] = mgn_detach(mgn_add(loss, mgn_div(products, share))),
        [MGN_SUM_RESIDUAL] = mgn_mean(before, -1),
        [MGN_SUM_LEFT_OUT] = mgn_sub(mgn_constant(graph, (double)s->batch), mgn_sum(counts, -1)),
    };
    MGN_TRY(mgn_graph_status(graph));
    MGN_TRY(mgn_grad(loss, &in->parameters, 1, &gradient));
    mgn_optimizer_update(&s->config->optimizer, in->parameters, gradient, in->lr, in->vectors, in->scalars);
    mgn_assign(in->average, mgn_add(in->average, in->parameters));
    assign(s, in, index, mgn_sub(next, z), sums);
    return mgn_graph_status(graph);
}

mgn_status mgn_semidual_step_compile(mgn_semidual_step *s, mgn_device *device) {
    mgn_graph *graph;
    mgn_step_nodes in;
    MGN_TRY(mgn_graph_create(&graph));
    mgn_status status = build(s, graph, &in);
    if (status == MGN_OK) status = mgn_plan_compile(graph, device, s->config->real, NULL, 0, &s->plan);
    if (status == MGN_OK) {
        s->x = mgn_plan_tensor(s->plan, in.x);
        s->y = mgn_plan_tensor(s->plan, in.y);
        s->points = mgn_plan_tensor(s->plan, in.points);
        s->parameters = mgn_plan_tensor(s->plan, in.parameters);
        s->average = mgn_plan_tensor(s->plan, in.average);
        s->lr = mgn_plan_tensor(s->plan, in.lr);
        s->sums = mgn_plan_tensor(s->plan, in.sums);
        s->state = mgn_plan_tensor(s->plan, in.state);
        s->scalars = mgn_plan_tensor(s->plan, in.scalars);
        for (int i = 0; i < s->shape.vectors; i++) s->vectors[i] = mgn_plan_tensor(s->plan, in.vectors[i]);
    }
    mgn_graph_destroy(graph);
    return status;
}
