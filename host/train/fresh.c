/* Training on fresh samples: see fresh.h. */
#include "train/fresh.h"

#include <math.h>
#include <string.h>

#include "core/core.h"
#include "train/session.h"

/* The epochs of the session: the steps in as many parts. */
enum { PARTS = 100 };

/* The plan's inputs. */
enum { PARAMETERS, SUM, LR, LOSS, RANDOM, SCALARS, VECTORS, INPUTS = VECTORS + MGN_MOST_OPTIMIZER_VECTORS };

typedef struct fresh {
    const mgn_train_config *config;
    int64_t count;
    mgn_plan *plan;
    mgn_tensor *tensors[INPUTS]; /* the plan's own; NULL: there is none */
    mgn_session session;
    double *values; /* (count) */
} fresh;

static mgn_status build(mgn_graph *graph, const mgn_model *model, const mgn_target *source,
                        const mgn_train_config *config, mgn_node *in[INPUTS]) {
    const mgn_shape shape = MGN_SHAPE(mgn_model_parameter_count(model));
    mgn_optimizer_shape state_shape;
    mgn_node *gradient;
    MGN_TRY(mgn_optimizer_check(&config->optimizer, &state_shape));
    in[PARAMETERS] = mgn_input(graph, "parameters", MGN_REAL, shape);
    in[SUM] = mgn_input(graph, "sum", MGN_REAL, shape);
    in[LR] = mgn_input(graph, "learning rate", MGN_REAL, MGN_SCALAR);
    in[LOSS] = mgn_input(graph, "loss", MGN_REAL, MGN_SCALAR);
    in[RANDOM] = mgn_input(graph, "random state", MGN_INDEX, MGN_SHAPE(4));
    in[SCALARS] = mgn_input(graph, "optimizer scalars", MGN_REAL, MGN_SHAPE(MGN_MAX(state_shape.scalars, 1)));
    for (int i = 0; i < state_shape.vectors; i++)
        in[VECTORS + i] = mgn_input(graph, "optimizer vector", MGN_REAL, shape);
    mgn_node *x = mgn_target_sample_node(source, in[RANDOM], NULL, config->batch, 0);
    mgn_node *loss = mgn_loss(&config->loss, x, mgn_model_forward(model, in[PARAMETERS], x), NULL);
    MGN_TRY(mgn_graph_status(graph));
    MGN_TRY(mgn_grad(loss, &in[PARAMETERS], 1, &gradient));
    mgn_optimizer_update(&config->optimizer, in[PARAMETERS], gradient, in[LR], in + VECTORS, in[SCALARS]);
    mgn_assign(in[SUM], mgn_add(in[SUM], in[PARAMETERS]));
    mgn_assign(in[LOSS], loss);
    mgn_assign(in[RANDOM], mgn_advance(in[RANDOM], 1));
    return mgn_graph_status(graph);
}

static mgn_status compile(fresh *f, const mgn_model *model, mgn_device *device, const mgn_target *source) {
    mgn_graph *graph;
    MGN_TRY(mgn_graph_create(&graph));
    mgn_node *inputs[INPUTS] = {NULL};
    mgn_status status = build(graph, model, source, f->config, inputs);
    if (status == MGN_OK) status = mgn_plan_compile(graph, device, f->config->real, NULL, 0, &f->plan);
    for (size_t i = 0; status == MGN_OK && i < INPUTS; i++)
        if (inputs[i]) f->tensors[i] = mgn_plan_tensor(f->plan, inputs[i]);
    mgn_graph_destroy(graph);
    return status;
}

/* What the next step depends on. */
static void list_state(fresh *f) {
    static const struct {
        int input;
        const char *label;
    } parts[] = {{PARAMETERS, "parameters"},
                 {VECTORS, "optimizer.vector0"},
                 {VECTORS + 1, "optimizer.vector1"},
                 {SCALARS, "optimizer.scalars"},
                 {SUM, "sum"},
                 {RANDOM, "random"},
                 {LOSS, "loss"}};
    for (size_t i = 0; i < MGN_COUNT(parts); i++)
        mgn_state_add_tensor(&f->session.state, parts[i].label, f->tensors[parts[i].input]);
}

static mgn_status run_part(fresh *f) {
    mgn_session *s = &f->session;
    const int64_t part = (int64_t)s->state.point.epoch, steps = f->config->epochs, first = steps * part / PARTS,
                  last = steps * (part + 1) / PARTS;
    const double lr = mgn_session_lr(s);
    double loss;
    MGN_TRY(mgn_tensor_write(f->tensors[LR], MGN_F64, &lr));
    if (part == PARTS / 2) { /* the mean begins here */
        memset(f->values, 0, (size_t)f->count * sizeof *f->values);
        MGN_TRY(mgn_tensor_write(f->tensors[SUM], MGN_F64, f->values));
    }
    if (last > first) MGN_TRY(mgn_plan_run(f->plan, (uint64_t)(last - first)));
    MGN_TRY(mgn_tensor_read(f->tensors[LOSS], MGN_F64, &loss));
    s->batches = last - first;
    return mgn_session_epoch(s, loss, lr);
}

/* From the model's parameters, or the checkpoint that is resumed. */
static mgn_status run_parts(fresh *f, mgn_model *model, double begun) {
    const uint64_t seed = f->config->seed;
    const uint32_t random[4] = {(uint32_t)seed, (uint32_t)(seed >> 32), 0, 0};
    mgn_session *s = &f->session;
    MGN_TRY(mgn_tensor_write(f->tensors[PARAMETERS], MGN_F64, mgn_model_values(model)));
    MGN_TRY(mgn_tensor_write(f->tensors[RANDOM], MGN_U32, random));
    list_state(f);
    s->advice = " may help";
    s->measure = mgn_session_no_figures;
    mgn_status status = mgn_session_begin(s, NULL, NULL);
    s->result->compile_seconds = mgn_now() - begun;
    while (status == MGN_OK && mgn_session_goes_on(s)) status = run_part(f);
    return mgn_session_close(s, status, mgn_model_values(model));
}

/* The mean over the last half of the steps. */
static mgn_status keep_mean(fresh *f, double *values) {
    const int64_t steps = f->config->epochs - f->config->epochs * (PARTS / 2) / PARTS;
    MGN_TRY(mgn_tensor_read(f->tensors[SUM], MGN_F64, f->values));
    for (int64_t i = 0; i < f->count; i++)
        if (!isfinite(f->values[i])) return mgn_fail(MGN_ERR_NUMERIC, "a parameter became infinite or NaN");
    for (int64_t i = 0; i < f->count; i++) values[i] = f->values[i] / (double)steps;
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
    MGN_TRY(mgn_session_refuse_patience(config, "training on fresh samples"));
    mgn_train_config parts = *config, recipe = *config;
    parts.epochs = PARTS;
    parts.comm = NULL;
    recipe.loss.source = source;
    mgn_session_open(&f.session, model, device, NULL, &parts, &own);
    f.session.recipe = &recipe;
    f.values = mgn_alloc((size_t)f.count, sizeof *f.values);
    mgn_status status = f.values ? compile(&f, model, device, source) : MGN_ERR_MEMORY;
    if (status == MGN_OK) status = run_parts(&f, model, start);
    if (status == MGN_OK) status = keep_mean(&f, mgn_model_values(model));
    if (result) *result = own;
    mgn_plan_destroy(f.plan);
    mgn_free(f.values);
    return status;
}
