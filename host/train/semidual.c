/* The semi-dual solver: one plan is a whole step, in which a batch of the target's conjugate points takes a Newton step,
 * and the parameters one of Adam. The points are kept between steps: parameters move little from one visit to the next,
 * so one step from where a point was is nearly exact, and costs no more than the gradient by the parameters does. */
#include <mgn/semidual.h>

#include <math.h>
#include <string.h>

#include "core/core.h"
#include "model/model.h"
#include "train/semidual.h"

/* Steps enqueued between two looks at the interrupt flag. */
enum { STEPS_PER_LOOK = 64 };
/* Of each Newton step: added to the Jacobian, and the length that steps are cut to, in units of the source's spread. */
static const double damping = 1e-4, longest = 1;

typedef struct solver {
    mgn_model *model;
    mgn_device *device;
    const mgn_train_config *config;
    mgn_optimizer_shape shape;
    mgn_frame frame;
    int64_t n, m, d, count; /* rows of the clouds, dimension, parameters */
    int64_t from_x, from_y; /* rows of a step */
    int64_t steps;          /* of an epoch */
    mgn_clouds clouds;      /* in the frame; the solver's own rows */
    float *conjugate;       /* (m, d) */
    mgn_plan *plan;
    mgn_tensor *x, *y, *points;
    mgn_tensor *parameters, *lr, *sums, *state; /* the plan's own */
    double *values;                             /* (count) */
} solver;

/* ---- the step as a graph ---- */

typedef struct step_nodes {
    mgn_node *x, *y, *points, *parameters, *lr, *sums, *state;
} step_nodes;

/* One Newton step of rows z towards g(z) = y. A step that does not lower |g(z) - y| is cut to a quarter. `residual` gets
 * the mean |g(z) - y| before the step. */
static mgn_node *newton(const mgn_model *model, mgn_node *parameters, mgn_node *z, mgn_node *y, mgn_node **residual) {
    const int64_t rows = mgn_node_shape(z).dim[0], d = mgn_node_shape(z).dim[1];
    mgn_graph *graph = mgn_node_graph(z);
    mgn_node *g = mgn_model_forward(model, parameters, z), *r = mgn_sub(g, y);
    mgn_node *matrix = mgn_add(mgn_row_jacobian(g, z), mgn_scale(mgn_identity(graph, d), damping));
    mgn_node *step = mgn_reshape(mgn_spd_solve(matrix, mgn_reshape(r, MGN_SHAPE(rows, d, 1))), MGN_SHAPE(rows, d));
    mgn_node *length = mgn_sqrt(mgn_shift(mgn_sum(mgn_square(step), 2), 1e-20));
    mgn_node *cut = mgn_minimum(mgn_div(mgn_constant(graph, longest), length), mgn_constant(graph, 1));
    step = mgn_mul(step, mgn_reshape(cut, MGN_SHAPE(rows, 1)));
    mgn_node *before = mgn_sum(mgn_square(r), 2);
    mgn_node *ahead = mgn_model_forward(model, parameters, mgn_sub(z, step));
    mgn_node *after = mgn_sum(mgn_square(mgn_sub(ahead, y)), 2);
    mgn_node *factor = mgn_select(mgn_greater(before, after), mgn_constant(graph, 1), mgn_constant(graph, 0.25));
    *residual = mgn_mean(mgn_sqrt(before), -1);
    return mgn_sub(z, mgn_mul(step, mgn_reshape(factor, MGN_SHAPE(rows, 1))));
}

static mgn_status build_step(const solver *s, mgn_graph *graph, step_nodes *in) {
    const mgn_shape shape = MGN_SHAPE(s->count);
    mgn_node *gradient = NULL, *residual = NULL, *vectors[MGN_MOST_OPTIMIZER_VECTORS] = {NULL};
    in->x = mgn_input(graph, "x", MGN_REAL, MGN_SHAPE(s->n, s->d));
    in->y = mgn_input(graph, "y", MGN_REAL, MGN_SHAPE(s->m, s->d));
    in->points = mgn_input(graph, "conjugate points", MGN_REAL, MGN_SHAPE(s->m, s->d));
    in->parameters = mgn_input(graph, "parameters", MGN_REAL, shape);
    in->lr = mgn_input(graph, "learning rate", MGN_REAL, MGN_SCALAR);
    in->sums = mgn_input(graph, "sums", MGN_REAL, MGN_SHAPE(2));
    in->state = mgn_input(graph, "random state", MGN_INDEX, MGN_SHAPE(4));
    mgn_node *scalars = mgn_input(graph, "optimizer scalars", MGN_REAL, MGN_SHAPE(MGN_MAX(s->shape.scalars, 1)));
    for (int i = 0; i < s->shape.vectors; i++) vectors[i] = mgn_input(graph, "optimizer vector", MGN_REAL, shape);

    mgn_node *x = mgn_gather_rows(in->x, mgn_shuffle(in->state, s->n, s->from_x, s->n / s->from_x, s->from_x));
    mgn_node *index = mgn_shuffle(in->state, s->m, s->from_y, s->m / s->from_y, s->from_y);
    mgn_node *y = mgn_gather_rows(in->y, index), *z = mgn_gather_rows(in->points, index);
    mgn_node *next = mgn_detach(newton(s->model, in->parameters, z, y, &residual));
    mgn_node *loss = mgn_sub(mgn_mean(mgn_model_potential(s->model, in->parameters, x), -1),
                             mgn_mean(mgn_model_potential(s->model, in->parameters, next), -1));
    MGN_TRY(mgn_graph_status(graph));
    MGN_TRY(mgn_grad(loss, &in->parameters, 1, &gradient));
    mgn_optimizer_update(&s->config->optimizer, in->parameters, gradient, in->lr, vectors, scalars);
    mgn_assign(in->points, mgn_add(in->points, mgn_scatter_rows(mgn_sub(next, z), index, s->m)));
    mgn_node *value = mgn_add(loss, mgn_mean(mgn_sum(mgn_mul(next, y), 2), -1));
    mgn_assign(in->sums, mgn_add(in->sums, mgn_stack((mgn_node *[]){value, residual}, 2, 0)));
    mgn_assign(in->state, mgn_advance(in->state, 1));
    return mgn_graph_status(graph);
}

static mgn_status make_tensor(const solver *s, int64_t rows, const float *values, mgn_tensor **tensor) {
    MGN_TRY(mgn_tensor_create(s->device, s->config->real, MGN_SHAPE(rows, s->d), tensor));
    return mgn_tensor_write(*tensor, MGN_F32, values);
}

static mgn_status compile(solver *s) {
    mgn_graph *graph;
    step_nodes in;
    MGN_TRY(make_tensor(s, s->n, s->clouds.x, &s->x));
    MGN_TRY(make_tensor(s, s->m, s->clouds.y, &s->y));
    MGN_TRY(make_tensor(s, s->m, s->conjugate, &s->points));
    MGN_TRY(mgn_graph_create(&graph));
    mgn_status status = build_step(s, graph, &in);
    if (status == MGN_OK) {
        const mgn_binding bindings[] = {{in.x, s->x}, {in.y, s->y}, {in.points, s->points}};
        status = mgn_plan_compile(graph, s->device, s->config->real, bindings, MGN_COUNT(bindings), &s->plan);
    }
    if (status == MGN_OK) {
        s->parameters = mgn_plan_tensor(s->plan, in.parameters);
        s->lr = mgn_plan_tensor(s->plan, in.lr);
        s->sums = mgn_plan_tensor(s->plan, in.sums);
        s->state = mgn_plan_tensor(s->plan, in.state);
    }
    mgn_graph_destroy(graph);
    return status;
}

/* ---- running ---- */

static mgn_status run_epoch(solver *s, int64_t epoch, double lr, double sums[2]) {
    MGN_TRY(mgn_tensor_write(s->lr, MGN_F64, &lr));
    MGN_TRY(mgn_tensor_write(s->sums, MGN_F64, (double[2]){0}));
    for (int64_t done = 0; done < s->steps && !mgn_interrupted(); done += STEPS_PER_LOOK)
        MGN_TRY(mgn_plan_run(s->plan, (uint64_t)MGN_MIN(s->steps - done, STEPS_PER_LOOK)));
    MGN_TRY(mgn_tensor_read(s->sums, MGN_F64, sums));
    if (mgn_interrupted() || (isfinite(sums[0]) && isfinite(sums[1]))) return MGN_OK;
    return mgn_fail(
        MGN_ERR_NUMERIC,
        "training diverged: the semidual loss became %g in epoch %lld of %lld; a lower learning rate than %g may help",
        sums[0], (long long)(epoch + 1), (long long)s->config->epochs, lr);
}

static mgn_status run_epochs(solver *s, mgn_train_result *result) {
    const mgn_train_config *config = s->config;
    const double start = mgn_now();
    mgn_schedule_state schedule = {0};
    double sums[2], loss = 0;
    for (int64_t epoch = 0; epoch < config->epochs; epoch++) {
        const double lr =
            config->optimizer.lr * mgn_schedule_factor(&config->schedule, &schedule, epoch, config->epochs, loss);
        MGN_TRY(run_epoch(s, epoch, lr, sums));
        loss = mgn_frame_value(&s->frame, sums[0] / (double)s->steps);
        *result = (mgn_train_result){loss, (epoch + 1) * s->steps, mgn_now() - start, result->compile_seconds};
        const mgn_train_report report = {epoch + 1, config->epochs, result->steps, loss, lr, result->seconds};
        const bool go_on = !config->report || config->report(config->context, &report);
        if (!go_on || mgn_interrupted())
            return mgn_fail(MGN_ERR_INTERRUPTED, "stopped after epoch %lld of %lld", (long long)(epoch + 1),
                            (long long)config->epochs);
    }
    const double residual = sums[1] / (double)s->steps;
    if (residual > 0.05)
        mgn_note("semidual: conjugate points were still %.2g of the target's spread off; more epochs may help",
                 residual);
    return MGN_OK;
}

/* The parameters into the model, unless one is not finite. */
static mgn_status keep(solver *s) {
    MGN_TRY(mgn_tensor_read(s->parameters, MGN_F64, s->values));
    for (int64_t i = 0; i < s->count; i++)
        if (!isfinite(s->values[i])) return mgn_fail(MGN_ERR_NUMERIC, "a parameter became infinite or NaN");
    memcpy(mgn_model_values(s->model), s->values, (size_t)s->count * sizeof *s->values);
    return MGN_OK;
}

static mgn_status check(solver *s, const mgn_clouds *clouds) {
    const mgn_train_config *config = s->config;
    if (!clouds->x || !clouds->y || clouds->n < 2 || clouds->m < 2)
        return mgn_fail(MGN_ERR_ARGUMENT, "the semi-dual needs at least 2 rows of either cloud; %lld and %lld found",
                        (long long)clouds->n, (long long)clouds->m);
    if (config->epochs < 1 || config->batch < 0)
        return mgn_fail(MGN_ERR_ARGUMENT, "at least 1 epoch and a batch from 0 were expected; %lld and %lld found",
                        (long long)config->epochs, (long long)config->batch);
    if (mgn_optimizer_is_second_order(config->optimizer.kind) || config->accumulate > 1)
        return mgn_fail(MGN_ERR_ARGUMENT,
                        "the semi-dual takes an optimizer of first order, whose steps are not accumulated");
    if (!mgn_model_has_potential(s->model) || !mgn_model_is_monotone(s->model))
        return mgn_fail(MGN_ERR_ARGUMENT,
                        "the semi-dual needs a convex potential in closed form; %s of %lld layers has none",
                        mgn_model_get_config(s->model)->kind, (long long)mgn_model_get_config(s->model)->layers);
    s->from_x = config->batch ? MGN_MIN(config->batch, s->n) : s->n;
    s->from_y = config->batch ? MGN_MIN(config->batch, s->m) : s->m;
    s->steps = MGN_MAX(s->n / s->from_x, s->m / s->from_y);
    return mgn_optimizer_check(&config->optimizer, &s->shape);
}

static mgn_status train(solver *s, const mgn_clouds *clouds, mgn_train_result *result) {
    const double start = mgn_now();
    const uint64_t seed = s->config->seed;
    const uint32_t state[4] = {(uint32_t)seed, (uint32_t)(seed >> 32), 0, 0};
    MGN_TRY(check(s, clouds));
    MGN_TRY(mgn_frame_find(s->model, clouds, &s->frame));
    MGN_TRY(mgn_frame_rows(&s->frame, clouds, &s->clouds, &s->conjugate));
    s->values = mgn_alloc((size_t)s->count, sizeof *s->values);
    if (!s->values) return MGN_ERR_MEMORY;
    MGN_TRY(compile(s));
    mgn_frame_enter(&s->frame, s->model);
    mgn_status status = mgn_tensor_write(s->parameters, MGN_F64, mgn_model_values(s->model));
    if (status == MGN_OK) status = mgn_tensor_write(s->state, MGN_U32, state);
    result->compile_seconds = mgn_now() - start;
    if (status == MGN_OK) status = run_epochs(s, result);
    if (status == MGN_OK)
        status = keep(s);
    else if (status == MGN_ERR_INTERRUPTED)
        keep(s); /* the interruption is what is reported */
    mgn_frame_leave(&s->frame, s->model);
    return status;
}

mgn_status mgn_semidual(mgn_model *model, mgn_device *device, const mgn_clouds *clouds, const mgn_train_config *config,
                        mgn_train_result *result) {
    solver s = {.model = model,
                .device = device,
                .config = config,
                .n = clouds->n,
                .m = clouds->m,
                .d = mgn_model_get_config(model)->d,
                .count = mgn_model_parameter_count(model)};
    mgn_train_result own = {0};
    const mgn_status status = train(&s, clouds, &own);
    if (result) *result = own;
    mgn_plan_destroy(s.plan);
    mgn_tensor *const tensors[] = {s.x, s.y, s.points};
    for (size_t i = 0; i < MGN_COUNT(tensors); i++) mgn_tensor_destroy(tensors[i]);
    mgn_free((float *)s.clouds.x);
    mgn_free((float *)s.clouds.y);
    mgn_free(s.conjugate);
    mgn_free(s.frame.block);
    mgn_free(s.values);
    return status;
}

mgn_status mgn_semidual_clouds(const mgn_samples *samples, const mgn_target *target, int64_t d, uint64_t seed,
                               mgn_clouds *clouds, float **drawn) {
    if (!target || mgn_target_dimension(target) != d)
        return mgn_fail(MGN_ERR_ARGUMENT, "the loss semidual needs a target of %lld dimensions; %s found", (long long)d,
                        target ? mgn_target_label(target) : "none was");
    *clouds = (mgn_clouds){.x = samples->x, .n = samples->n};
    *drawn = NULL;
    clouds->y = mgn_target_rows(target, &clouds->m);
    if (clouds->y) return MGN_OK;
    clouds->m = samples->n;
    clouds->y = *drawn = mgn_alloc((size_t)clouds->m, (size_t)d * sizeof **drawn);
    return *drawn ? mgn_target_sample(target, clouds->m, seed, *drawn) : MGN_ERR_MEMORY;
}

mgn_status mgn_train_semidual(mgn_model *model, mgn_device *device, const mgn_samples *samples,
                              const mgn_train_config *config, mgn_train_result *result) {
    mgn_clouds clouds;
    float *drawn = NULL;
    if (config->loss.cost_weight != 0)
        return mgn_fail(MGN_ERR_UNSUPPORTED,
                        "the loss semidual finds the map of least cost; no cost can be added to it");
    mgn_status status = mgn_semidual_clouds(samples, config->loss.target, mgn_model_get_config(model)->d, config->seed,
                                            &clouds, &drawn);
    if (status == MGN_OK) status = mgn_semidual(model, device, &clouds, config, result);
    mgn_free(drawn);
    return status;
}

/* ---- the value ---- */

static mgn_status mean_potential(mgn_map *map, const float *x, int64_t n, double *work, double *mean) {
    double sum = 0;
    MGN_TRY(mgn_map_potential(map, x, n, work));
    for (int64_t i = 0; i < n; i++) sum += work[i];
    *mean = sum / (double)n;
    return MGN_OK;
}

static mgn_status measure(mgn_map *map, const mgn_clouds *clouds, double tolerance, float *z, double *work,
                          double *value) {
    const int64_t d = mgn_map_dimension(map);
    double from, to, products = 0;
    MGN_TRY(mgn_map_inverse(map, clouds->y, clouds->m, tolerance, z, NULL));
    MGN_TRY(mean_potential(map, clouds->x, clouds->n, work, &from));
    MGN_TRY(mean_potential(map, z, clouds->m, work, &to));
    for (int64_t i = 0; i < clouds->m * d; i++) products += (double)z[i] * (double)clouds->y[i];
    *value = from - to + products / (double)clouds->m;
    return MGN_OK;
}

mgn_status mgn_semidual_value(const mgn_model *model, mgn_device *device, const mgn_clouds *clouds, double tolerance,
                              double *value) {
    const mgn_dtype real = mgn_device_get_info(device)->has_f64 ? MGN_F64 : MGN_F32;
    const int64_t d = mgn_model_get_config(model)->d;
    mgn_map *map = NULL;
    MGN_TRY(mgn_map_create(model, device, real, &map));
    float *z = mgn_alloc((size_t)clouds->m, (size_t)d * sizeof *z);
    double *work = mgn_alloc((size_t)MGN_MAX(clouds->n, clouds->m), sizeof *work);
    const mgn_status status = z && work ? measure(map, clouds, tolerance, z, work, value) : MGN_ERR_MEMORY;
    mgn_free(z);
    mgn_free(work);
    mgn_map_destroy(map);
    return status;
}
