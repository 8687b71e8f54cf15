/* Training on fresh samples: see fresh.h. */
#include "train/fresh.h"

#include <math.h>
#include <string.h>

#include "core/core.h"
#include "train/session.h"

enum { PARTS = 100 };

typedef struct fresh {
    const mgn_train_config *config;
    int64_t count;
    mgn_plan *plan;
    mgn_tensor *parameters, *sum, *lr, *loss, *state; /* the plan's own */
    mgn_schedule_state schedule;
    double *values; /* (count) */
} fresh;

static mgn_status build(mgn_graph *graph, const mgn_model *model, const mgn_target *source,
                        const mgn_train_config *config, mgn_node *inputs[5]) {
    const mgn_shape shape = MGN_SHAPE(mgn_model_parameter_count(model));
    mgn_optimizer_shape state_shape;
    mgn_node *gradient, *vectors[MGN_MOST_OPTIMIZER_VECTORS] = {NULL};
    MGN_TRY(mgn_optimizer_check(&config->optimizer, &state_shape));
    mgn_node *p = mgn_input(graph, "parameters", MGN_REAL, shape), *sum = mgn_input(graph, "sum", MGN_REAL, shape),
             *lr = mgn_input(graph, "learning rate", MGN_REAL, MGN_SCALAR),
             *last = mgn_input(graph, "loss", MGN_REAL, MGN_SCALAR),
             *state = mgn_input(graph, "random state", MGN_INDEX, MGN_SHAPE(4)),
             *scalars = mgn_input(graph, "optimizer scalars", MGN_REAL, MGN_SHAPE(MGN_MAX(state_shape.scalars, 1)));
    for (int i = 0; i < state_shape.vectors; i++) vectors[i] = mgn_input(graph, "optimizer vector", MGN_REAL, shape);
    mgn_node *x = mgn_target_sample_node(source, state, NULL, config->batch, 0);
    mgn_node *loss = mgn_loss(&config->loss, x, mgn_model_forward(model, p, x), NULL);
    MGN_TRY(mgn_graph_status(graph));
    MGN_TRY(mgn_grad(loss, &p, 1, &gradient));
    mgn_optimizer_update(&config->optimizer, p, gradient, lr, vectors, scalars);
    mgn_assign(sum, mgn_add(sum, p));
    mgn_assign(last, loss);
    mgn_assign(state, mgn_advance(state, 1));
    memcpy(inputs, (mgn_node *[]){p, sum, lr, last, state}, 5 * sizeof *inputs);
    return mgn_graph_status(graph);
}

static mgn_status compile(fresh *f, const mgn_model *model, mgn_device *device, const mgn_target *source) {
    mgn_graph *graph;
    MGN_TRY(mgn_graph_create(&graph));
    mgn_node *inputs[5];
    mgn_status status = build(graph, model, source, f->config, inputs);
    if (status == MGN_OK) status = mgn_plan_compile(graph, device, f->config->real, NULL, 0, &f->plan);
    mgn_tensor **const tensors[] = {&f->parameters, &f->sum, &f->lr, &f->loss, &f->state};
    for (size_t i = 0; status == MGN_OK && i < MGN_COUNT(tensors); i++)
        *tensors[i] = mgn_plan_tensor(f->plan, inputs[i]);
    mgn_graph_destroy(graph);
    return status;
}

/* Steps first .. last - 1. */
static mgn_status run_part(fresh *f, int64_t part, int64_t first, int64_t last, double *lr, double *loss) {
    const mgn_train_config *config = f->config;
    *lr = config->optimizer.lr * mgn_schedule_factor(&config->schedule, &f->schedule, part, PARTS, *loss);
    MGN_TRY(mgn_tensor_write(f->lr, MGN_F64, lr));
    if (part == PARTS / 2) { /* the mean begins here */
        memset(f->values, 0, (size_t)f->count * sizeof *f->values);
        MGN_TRY(mgn_tensor_write(f->sum, MGN_F64, f->values));
    }
    if (last > first) MGN_TRY(mgn_plan_run(f->plan, (uint64_t)(last - first)));
    MGN_TRY(mgn_tensor_read(f->loss, MGN_F64, loss));
    if (isfinite(*loss)) return MGN_OK;
    return mgn_fail(
        MGN_ERR_NUMERIC,
        "training diverged: the %s loss became %g in step %lld of %lld; a lower learning rate than %g may help",
        config->loss.kind, *loss, (long long)last, (long long)config->epochs, *lr);
}

static mgn_status run_parts(fresh *f, mgn_train_result *result) {
    const mgn_train_config *config = f->config;
    const double start = mgn_now();
    double lr, loss = 0;
    for (int64_t part = 0; part < PARTS; part++) {
        const int64_t first = config->epochs * part / PARTS, last = config->epochs * (part + 1) / PARTS;
        MGN_TRY(run_part(f, part, first, last, &lr, &loss));
        *result = (mgn_train_result){
            .loss = loss, .steps = last, .seconds = mgn_now() - start, .compile_seconds = result->compile_seconds};
        const mgn_train_report report = {part + 1, PARTS, last, loss, lr, result->seconds, NAN, NAN};
        const bool go_on = !config->report || config->report(config->context, &report);
        if (!go_on || mgn_interrupted())
            return mgn_fail(MGN_ERR_INTERRUPTED, "stopped after epoch %lld of %d", (long long)(part + 1), PARTS);
    }
    return MGN_OK;
}

/* The mean over the last half of the steps, or the last parameters when it did not come so far. */
static mgn_status keep(fresh *f, bool is_done, double *values) {
    const int64_t steps = f->config->epochs - f->config->epochs * (PARTS / 2) / PARTS;
    MGN_TRY(mgn_tensor_read(is_done ? f->sum : f->parameters, MGN_F64, f->values));
    for (int64_t i = 0; i < f->count; i++)
        if (!isfinite(f->values[i])) return mgn_fail(MGN_ERR_NUMERIC, "a parameter became infinite or NaN");
    for (int64_t i = 0; i < f->count; i++) values[i] = f->values[i] / (is_done ? (double)steps : 1);
    return MGN_OK;
}

mgn_status mgn_train_fresh(mgn_model *model, mgn_device *device, const mgn_target *source,
                           const mgn_train_config *config, mgn_train_result *result) {
    const double start = mgn_now();
    fresh f = {.config = config, .count = mgn_model_parameter_count(model)};
    mgn_train_result own = {0};
    int64_t rows;
    if (mgn_optimizer_is_second_order(config->optimizer.kind) || mgn_target_rows(source, &rows))
        return mgn_fail(MGN_ERR_UNSUPPORTED,
                        "fresh samples in every step take a first-order optimizer and a source that is a distribution");
    if (config->epochs < 1 || config->batch < 1)
        return mgn_fail(MGN_ERR_ARGUMENT, "at least 1 step of at least 1 row was expected; %lld and %lld found",
                        (long long)config->epochs, (long long)config->batch);
    MGN_TRY(mgn_session_refuse(config, "training on fresh samples"));
    f.values = mgn_alloc((size_t)f.count, sizeof *f.values);
    mgn_status status = f.values ? compile(&f, model, device, source) : MGN_ERR_MEMORY;
    const uint32_t state[4] = {(uint32_t)config->seed, (uint32_t)(config->seed >> 32), 0, 0};
    if (status == MGN_OK) status = mgn_tensor_write(f.parameters, MGN_F64, mgn_model_values(model));
    if (status == MGN_OK) status = mgn_tensor_write(f.state, MGN_U32, state);
    own.compile_seconds = mgn_now() - start;
    if (status == MGN_OK) status = run_parts(&f, &own);
    if (status == MGN_OK)
        status = keep(&f, true, mgn_model_values(model));
    else if (status == MGN_ERR_INTERRUPTED)
        keep(&f, false, mgn_model_values(model)); /* the interruption is what is reported */
    if (result) *result = own;
    mgn_plan_destroy(f.plan);
    mgn_free(f.values);
    return status;
}
