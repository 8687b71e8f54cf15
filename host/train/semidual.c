/* The semi-dual solver: one plan is a whole step, in which a batch of the target's conjugate points takes a Newton step,
 * and the parameters one of the optimizer. The points are kept between steps: parameters move little from one visit to the
 * next, so one step from where a point was is nearly exact, and costs no more than the gradient by the parameters does.
 *
 * Training goes in rounds on a part of the rows. Before each of them rows of x are paired with neighbouring conjugate points,
 * and batches are batches of pairs. How old a point gets is what bounds the learning rate; so the first half of the epochs,
 * where parameters move fast, stays with the same part, small enough to come round often, and the second half, where they
 * settle, goes through all rows. */
#include <mgn/semidual.h>

#include <math.h>
#include <string.h>

#include "core/core.h"
#include "core/random.h"
#include "model/model.h"
#include "train/semidual.h"

/* A round is so many batches at most: its rows' points are never older than it. */
enum { ROUND = 48, MOST_SWEEPS = 10 };
/* Mean residual, in units of the target's spread, above which points are renewed before a round. */
static const double stale = 0.05;
/* Of each Newton step: least damping, and the length that steps are cut to, in units of the source's spread. */
static const double damping = 1e-3, longest = 1;

typedef struct solver {
    mgn_model *model;
    mgn_device *device;
    const mgn_train_config *config;
    mgn_optimizer_shape shape;
    mgn_frame frame;
    int64_t n, m, d, count;      /* rows of the clouds, dimension, parameters */
    int64_t rounds;              /* of an epoch */
    int64_t pairs, batch, steps; /* pairs of a round, of a step; steps of a round */
    double residual;             /* mean |g(z) - y| in the last round, before Newton steps */
    mgn_clouds clouds;           /* in the frame; the solver's own rows */
    float *conjugate;            /* (m, d) */
    mgn_plan *plan, *newton;     /* a step; its Newton step alone */
    mgn_tensor *newton_sums;     /* of the latter */
    mgn_tensor *x, *y, *points, *parameters, *lr, *sums, *state; /* the plan's own */
    int64_t *x_order, *y_order;                                  /* (n), (m): rows of an epoch first */
    float *staged;                                               /* (pairs, d) */
    double *values;                                              /* (count) */
} solver;

/* ---- the step as a graph ---- */

typedef struct step_nodes {
    mgn_node *x, *y, *points, *parameters, *lr, *sums, *state;
    mgn_node *index, *batch_y, *batch_points; /* of this step */
} step_nodes;

/* One Newton step of rows z towards g(z) = y, damped by the residual r: (J + (damping + |r| / 10) I)^-1 r. A step that does not
 * lower |r| is cut to a quarter; a row whose matrix is not positive definite to rounding stays. `residual` gets the mean |r|
 * before the step. */
static mgn_node *newton(const mgn_model *model, mgn_node *parameters, mgn_node *z, mgn_node *y, mgn_node **residual) {
    const int64_t rows = mgn_node_shape(z).dim[0], d = mgn_node_shape(z).dim[1];
    const mgn_shape column = MGN_SHAPE(rows, 1);
    mgn_graph *graph = mgn_node_graph(z);
    mgn_node *g = mgn_model_forward(model, parameters, z), *r = mgn_sub(g, y);
    mgn_node *before = mgn_sum(mgn_square(r), 2), *off = mgn_sqrt(mgn_shift(before, 1e-20));
    mgn_node *shift = mgn_reshape(mgn_shift(mgn_scale(off, 0.1), damping), MGN_SHAPE(rows, 1, 1));
    mgn_node *matrix = mgn_add(mgn_row_jacobian(g, z), mgn_mul(shift, mgn_identity(graph, d)));
    mgn_node *step = mgn_reshape(mgn_spd_solve(matrix, mgn_reshape(r, MGN_SHAPE(rows, d, 1))), MGN_SHAPE(rows, d));
    mgn_node *length = mgn_sqrt(mgn_shift(mgn_sum(mgn_square(step), 2), 1e-20));
    mgn_node *cut = mgn_minimum(mgn_div(mgn_constant(graph, longest), length), mgn_constant(graph, 1));
    mgn_node *is_number = mgn_reshape(mgn_greater(mgn_constant(graph, 1e30), length), column);
    step = mgn_select(is_number, mgn_mul(step, mgn_reshape(cut, column)), mgn_constant(graph, 0));
    mgn_node *ahead = mgn_model_forward(model, parameters, mgn_sub(z, step));
    mgn_node *after = mgn_sum(mgn_square(mgn_sub(ahead, y)), 2);
    mgn_node *factor = mgn_select(mgn_greater(before, after), mgn_constant(graph, 1), mgn_constant(graph, 0.25));
    *residual = mgn_mean(off, -1);
    return mgn_sub(z, mgn_mul(step, mgn_reshape(factor, column)));
}

/* The inputs, and a batch of target rows with their points. */
static void build_inputs(const solver *s, mgn_graph *graph, step_nodes *in) {
    const mgn_shape rows = MGN_SHAPE(s->pairs, s->d);
    *in = (step_nodes){.y = mgn_input(graph, "y", MGN_REAL, rows),
                       .points = mgn_input(graph, "conjugate points", MGN_REAL, rows),
                       .parameters = mgn_input(graph, "parameters", MGN_REAL, MGN_SHAPE(s->count)),
                       .sums = mgn_input(graph, "sums", MGN_REAL, MGN_SHAPE(2)),
                       .state = mgn_input(graph, "random state", MGN_INDEX, MGN_SHAPE(4))};
    in->index = mgn_shuffle(in->state, s->pairs, s->batch, s->steps, s->batch);
    in->batch_y = mgn_gather_rows(in->y, in->index);
    in->batch_points = mgn_gather_rows(in->points, in->index);
}

static void assign(const solver *s, const step_nodes *in, mgn_node *next, mgn_node *value, mgn_node *residual) {
    mgn_node *moved = mgn_scatter_rows(mgn_sub(next, in->batch_points), in->index, s->pairs);
    mgn_assign(in->points, mgn_add(in->points, moved));
    mgn_assign(in->sums, mgn_add(in->sums, mgn_stack((mgn_node *[]){value, residual}, 2, 0)));
    mgn_assign(in->state, mgn_advance(in->state, 1));
}

static mgn_status build_newton(const solver *s, mgn_graph *graph, step_nodes *in) {
    mgn_node *residual = NULL;
    build_inputs(s, graph, in);
    mgn_node *next = newton(s->model, in->parameters, in->batch_points, in->batch_y, &residual);
    assign(s, in, next, residual, residual);
    return mgn_graph_status(graph);
}

static mgn_status build_step(const solver *s, mgn_graph *graph, step_nodes *in) {
    mgn_node *gradient = NULL, *residual = NULL, *vectors[MGN_MOST_OPTIMIZER_VECTORS] = {NULL};
    build_inputs(s, graph, in);
    in->x = mgn_input(graph, "x", MGN_REAL, MGN_SHAPE(s->pairs, s->d));
    in->lr = mgn_input(graph, "learning rate", MGN_REAL, MGN_SCALAR);
    mgn_node *scalars = mgn_input(graph, "optimizer scalars", MGN_REAL, MGN_SHAPE(MGN_MAX(s->shape.scalars, 1)));
    for (int i = 0; i < s->shape.vectors; i++)
        vectors[i] = mgn_input(graph, "optimizer vector", MGN_REAL, MGN_SHAPE(s->count));
    mgn_node *x = mgn_gather_rows(in->x, in->index);
    mgn_node *next = mgn_detach(newton(s->model, in->parameters, in->batch_points, in->batch_y, &residual));
    mgn_node *loss = mgn_sub(mgn_mean(mgn_model_potential(s->model, in->parameters, x), -1),
                             mgn_mean(mgn_model_potential(s->model, in->parameters, next), -1));
    MGN_TRY(mgn_graph_status(graph));
    MGN_TRY(mgn_grad(loss, &in->parameters, 1, &gradient));
    mgn_optimizer_update(&s->config->optimizer, in->parameters, gradient, in->lr, vectors, scalars);
    assign(s, in, next, mgn_add(loss, mgn_mean(mgn_sum(mgn_mul(next, in->batch_y), 2), -1)), residual);
    return mgn_graph_status(graph);
}

/* Shares rows, points and parameters with the step. */
static mgn_status compile_newton(solver *s) {
    mgn_graph *graph;
    step_nodes in;
    MGN_TRY(mgn_graph_create(&graph));
    mgn_status status = build_newton(s, graph, &in);
    if (status == MGN_OK) {
        const mgn_binding bindings[] = {{in.y, s->y}, {in.points, s->points}, {in.parameters, s->parameters}};
        status = mgn_plan_compile(graph, s->device, s->config->real, bindings, MGN_COUNT(bindings), &s->newton);
    }
    if (status == MGN_OK) s->newton_sums = mgn_plan_tensor(s->newton, in.sums);
    mgn_graph_destroy(graph);
    return status;
}

static mgn_status compile(solver *s) {
    mgn_graph *graph;
    step_nodes in;
    MGN_TRY(mgn_graph_create(&graph));
    mgn_status status = build_step(s, graph, &in);
    if (status == MGN_OK) { status = mgn_plan_compile(graph, s->device, s->config->real, NULL, 0, &s->plan); }
    if (status == MGN_OK) {
        s->x = mgn_plan_tensor(s->plan, in.x);
        s->y = mgn_plan_tensor(s->plan, in.y);
        s->points = mgn_plan_tensor(s->plan, in.points);
        s->parameters = mgn_plan_tensor(s->plan, in.parameters);
        s->lr = mgn_plan_tensor(s->plan, in.lr);
        s->sums = mgn_plan_tensor(s->plan, in.sums);
        s->state = mgn_plan_tensor(s->plan, in.state);
    }
    mgn_graph_destroy(graph);
    return status == MGN_OK ? compile_newton(s) : status;
}

/* ---- running ---- */

/* Brings the rows of a round to the front where there are more. */
static void draw_rows(const solver *s, int64_t epoch, int64_t round, int64_t *order, int64_t n) {
    if (n == s->pairs) return;
    const bool stays = epoch < s->config->epochs / 2;
    const int64_t first = stays ? 0 : round * (n - s->pairs) / MGN_MAX(s->rounds - 1, 1);
    const mgn_host_shuffle shuffle = mgn_host_shuffle_start(s->config->seed, stays ? 0 : (uint32_t)epoch, (uint32_t)n);
    for (int64_t i = 0; i < s->pairs; i++) order[i] = mgn_host_shuffle_at(&shuffle, (uint32_t)(first + i));
}

static mgn_status write_rows(solver *s, const float *rows, const int64_t *order, mgn_tensor *tensor) {
    for (int64_t i = 0; i < s->pairs; i++)
        memcpy(s->staged + i * s->d, rows + order[i] * s->d, (size_t)s->d * sizeof *rows);
    return mgn_tensor_write(tensor, MGN_F32, s->staged);
}

/* Newton steps of all points of the round, until they are where they belong or nothing helps. */
static mgn_status renew(solver *s) {
    double sums[2];
    for (int sweep = 0; s->residual > stale && sweep < MOST_SWEEPS && !mgn_interrupted(); sweep++) {
        MGN_TRY(mgn_tensor_write(s->newton_sums, MGN_F64, (double[2]){0}));
        MGN_TRY(mgn_plan_run(s->newton, (uint64_t)s->steps));
        MGN_TRY(mgn_tensor_read(s->newton_sums, MGN_F64, sums));
        s->residual = sums[1] / (double)s->steps;
    }
    return MGN_OK;
}

/* Takes the conjugate points over. */
static mgn_status keep_points(solver *s) {
    MGN_TRY(mgn_tensor_read(s->points, MGN_F32, s->staged));
    for (int64_t i = 0; i < s->pairs * s->d; i++)
        if (!isfinite(s->staged[i]))
            return mgn_fail(MGN_ERR_NUMERIC,
                            "training diverged: a conjugate point is not finite; a lower learning rate "
                            "than %g may help",
                            s->config->optimizer.lr);
    for (int64_t i = 0; i < s->pairs; i++)
        memcpy(s->conjugate + s->y_order[i] * s->d, s->staged + i * s->d, (size_t)s->d * sizeof *s->staged);
    return MGN_OK;
}

/* The rows of a round, as pairs of neighbours. */
static mgn_status begin_round(solver *s, int64_t epoch, int64_t round) {
    if (epoch >= s->config->epochs / 2 && s->rounds > 1) s->residual = INFINITY; /* other rows, of unknown age */
    draw_rows(s, epoch, round, s->x_order, s->n);
    draw_rows(s, epoch, round, s->y_order, s->m);
    if (s->residual > stale) {
        MGN_TRY(write_rows(s, s->clouds.y, s->y_order, s->y));
        MGN_TRY(write_rows(s, s->conjugate, s->y_order, s->points));
        MGN_TRY(renew(s));
        MGN_TRY(keep_points(s));
    }
    mgn_pair_rows(s->clouds.x, s->x_order, s->conjugate, s->y_order, s->pairs, s->d);
    MGN_TRY(write_rows(s, s->clouds.x, s->x_order, s->x));
    MGN_TRY(write_rows(s, s->clouds.y, s->y_order, s->y));
    return write_rows(s, s->conjugate, s->y_order, s->points);
}

static mgn_status run_epoch(solver *s, int64_t epoch, double lr, double *value) {
    double sums[2];
    *value = 0;
    MGN_TRY(mgn_tensor_write(s->lr, MGN_F64, &lr));
    for (int64_t round = 0; round < s->rounds && !mgn_interrupted(); round++) {
        MGN_TRY(begin_round(s, epoch, round));
        MGN_TRY(mgn_tensor_write(s->sums, MGN_F64, (double[2]){0}));
        MGN_TRY(mgn_plan_run(s->plan, (uint64_t)s->steps));
        MGN_TRY(mgn_tensor_read(s->sums, MGN_F64, sums));
        s->residual = sums[1] / (double)s->steps;
        *value += sums[0] / (double)(s->steps * s->rounds);
        if (!isfinite(*value) || !isfinite(s->residual))
            return mgn_fail(MGN_ERR_NUMERIC,
                            "training diverged: the semidual loss became %g in epoch %lld of %lld; a lower learning "
                            "rate than %g may help",
                            *value, (long long)(epoch + 1), (long long)s->config->epochs, lr);
        MGN_TRY(keep_points(s));
    }
    return MGN_OK;
}

static mgn_status run_epochs(solver *s, mgn_train_result *result) {
    const mgn_train_config *config = s->config;
    const double start = mgn_now();
    const int64_t steps = s->rounds * s->steps;
    mgn_schedule_state schedule = {0};
    double value, loss = 0;
    for (int64_t epoch = 0; epoch < config->epochs; epoch++) {
        const double lr =
            config->optimizer.lr * mgn_schedule_factor(&config->schedule, &schedule, epoch, config->epochs, loss);
        MGN_TRY(run_epoch(s, epoch, lr, &value));
        loss = mgn_frame_value(&s->frame, value);
        *result = (mgn_train_result){loss, (epoch + 1) * steps, mgn_now() - start, result->compile_seconds};
        const mgn_train_report report = {epoch + 1, config->epochs, result->steps, loss, lr, result->seconds};
        const bool go_on = !config->report || config->report(config->context, &report);
        if (!go_on || mgn_interrupted())
            return mgn_fail(MGN_ERR_INTERRUPTED, "stopped after epoch %lld of %lld", (long long)(epoch + 1),
                            (long long)config->epochs);
    }
    if (s->residual > 0.05)
        mgn_note("semidual: conjugate points were still %.2g of the target's spread off; more epochs may help",
                 s->residual);
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
    const int64_t least = MGN_MIN(s->n, s->m);
    s->batch = config->batch ? MGN_MIN(config->batch, least) : least;
    s->pairs = least / s->batch > ROUND ? ROUND * s->batch : least;
    s->rounds = (least + s->pairs - 1) / s->pairs;
    s->steps = s->pairs / s->batch;
    s->residual = INFINITY; /* before the first round nothing is known */
    return mgn_optimizer_check(&config->optimizer, &s->shape);
}

static mgn_status allocate(solver *s) {
    s->values = mgn_alloc((size_t)s->count, sizeof *s->values);
    s->x_order = mgn_alloc((size_t)s->n, sizeof *s->x_order);
    s->y_order = mgn_alloc((size_t)s->m, sizeof *s->y_order);
    s->staged = mgn_alloc_aligned((size_t)s->pairs, (size_t)s->d * sizeof *s->staged);
    if (!s->values || !s->x_order || !s->y_order || !s->staged) return MGN_ERR_MEMORY;
    for (int64_t i = 0; i < s->n; i++) s->x_order[i] = i;
    for (int64_t i = 0; i < s->m; i++) s->y_order[i] = i;
    return MGN_OK;
}

static mgn_status train(solver *s, const mgn_clouds *clouds, mgn_train_result *result) {
    const double start = mgn_now();
    const uint64_t seed = s->config->seed;
    const uint32_t state[4] = {(uint32_t)seed, (uint32_t)(seed >> 32), 0, 0};
    MGN_TRY(check(s, clouds));
    MGN_TRY(mgn_frame_find(s->model, clouds, &s->frame));
    MGN_TRY(mgn_frame_rows(&s->frame, clouds, &s->clouds, &s->conjugate));
    MGN_TRY(allocate(s));
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
    mgn_plan_destroy(s.newton);
    mgn_plan_destroy(s.plan);
    void *const blocks[] = {(float *)s.clouds.x, (float *)s.clouds.y, s.conjugate, s.frame.block, s.values,
                            s.x_order,           s.y_order,           s.staged};
    for (size_t i = 0; i < MGN_COUNT(blocks); i++) mgn_free(blocks[i]);
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
