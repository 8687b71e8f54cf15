/* The training loop of the first-order optimizers. A step is one plan; an epoch is that plan run as often as there are whole batches, and a second plan
 * once for the smaller last batch. The host waits for the device once an epoch, to read the loss. */
#include <mgn/train.h>

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/core.h"
#include "loss/sinkhorn.h"
#include "train/second_order.h"
#include "train/semidual.h"

/* A step on whole or on the last, smaller batches; with accumulation, one that only adds up or one that also updates. */
enum { WHOLE, TAIL, SIZES };
enum { UPDATE, GATHER, ROLES };

/* Steps enqueued between two looks at the interrupt flag. */
enum { STEPS_PER_LOOK = 1024 };

typedef struct trainer {
    mgn_model *model;
    mgn_device *device;
    const mgn_train_config *config;
    mgn_loss_config losses;       /* the config's, with what training finds out */
    int64_t n, d, count;          /* rows, dimension, parameters */
    int64_t batch, tail, batches; /* rows of a whole and of the last batch (0: none), batches an epoch */
    int64_t accumulate;
    int64_t target_batch; /* samples of the target a step; 0: the loss wants none */
    mgn_optimizer_shape shape;
    mgn_tensor *target_rows, *target_state; /* the target's rows, where it is finite; a random state of its own */
    mgn_tensor *x, *y;                      /* data */
    mgn_tensor *parameters, *vectors[MGN_MOST_OPTIMIZER_VECTORS], *scalars, *sum; /* sum: accumulated gradient */
    mgn_tensor *state, *lr, *loss; /* random state, learning rate, sum of the epoch's losses */
    mgn_plan *plans[SIZES][ROLES];
    double *good, *latest; /* parameters where the loss is known to be finite, and after the last epoch */
} trainer;

/* ---- tensors ---- */

mgn_status mgn_upload_samples(mgn_device *device, mgn_dtype real, const mgn_samples *samples, int64_t d, mgn_tensor **x,
                              mgn_tensor **y) {
    for (int64_t i = 0; i < samples->n * d; i++)
        if (!isfinite(samples->x[i]) || (samples->y && !isfinite(samples->y[i])))
            return mgn_fail(MGN_ERR_NUMERIC, "the samples hold a value that is not finite in row %lld, column %lld",
                            (long long)(i / d), (long long)(i % d));
    MGN_TRY(mgn_tensor_create(device, real, MGN_SHAPE(samples->n, d), x));
    MGN_TRY(mgn_tensor_write(*x, MGN_F32, samples->x));
    if (!samples->y) return MGN_OK;
    MGN_TRY(mgn_tensor_create(device, real, MGN_SHAPE(samples->n, d), y));
    return mgn_tensor_write(*y, MGN_F32, samples->y);
}

/* From the box of the samples and of the target, or what it looks like. */
static mgn_status find_diameter(trainer *t, const mgn_samples *samples) {
    int64_t n = 0;
    const mgn_target *target = t->config->loss.target;
    const float *rows = mgn_target_rows(target, &n);
    mgn_sinkhorn_config *sinkhorn = &t->losses.sinkhorn;
    float *drawn = NULL;
    MGN_TRY(mgn_sinkhorn_complete(sinkhorn, sinkhorn));
    mgn_status status = MGN_OK;
    if (!rows) {
        n = 4096;
        rows = drawn = mgn_alloc((size_t)n, (size_t)t->d * sizeof *drawn);
        if (!drawn) return MGN_ERR_MEMORY;
        status = mgn_target_sample(target, n, t->config->seed, drawn);
    }
    if (status == MGN_OK) sinkhorn->diameter = fmax(mgn_box_diagonal(samples->x, t->n, rows, n, t->d), sinkhorn->blur);
    mgn_free(drawn);
    return status;
}

/* For a loss between sets of samples: the target's rows, where there are any, a random state that has nothing to do with
 * the batches of x, and how far the points may be apart. */
static mgn_status make_target(trainer *t, const mgn_samples *samples) {
    const mgn_target *target = t->config->loss.target;
    if (!mgn_loss_needs_samples(t->losses.kind)) return MGN_OK;
    if (!target || mgn_target_dimension(target) != t->d)
        return mgn_fail(MGN_ERR_ARGUMENT,
                        "the loss %s needs a target of %lld dimensions to draw samples from; %s found", t->losses.kind,
                        (long long)t->d, target ? mgn_target_label(target) : "none was");
    int64_t n = 0;
    const float *rows = mgn_target_rows(target, &n);
    t->target_batch = !rows ? t->batch : t->config->batch == 0 ? n : MGN_MIN(t->batch, n);
    if (t->losses.sinkhorn.diameter == 0) MGN_TRY(find_diameter(t, samples));
    const uint64_t seed = t->config->seed ^ UINT64_C(0x9e3779b97f4a7c15);
    MGN_TRY(mgn_tensor_create(t->device, MGN_U32, MGN_SHAPE(4), &t->target_state));
    MGN_TRY(mgn_tensor_write(t->target_state, MGN_U32, (uint32_t[4]){(uint32_t)seed, (uint32_t)(seed >> 32), 0, 0}));
    if (!rows) return MGN_OK;
    MGN_TRY(mgn_tensor_create(t->device, t->config->real, MGN_SHAPE(n, t->d), &t->target_rows));
    return mgn_tensor_write(t->target_rows, MGN_F32, rows);
}

static mgn_status make_state(trainer *t) {
    mgn_dtype real = t->config->real;
    MGN_TRY(mgn_tensor_create(t->device, real, MGN_SHAPE(t->count), &t->parameters));
    MGN_TRY(mgn_tensor_write(t->parameters, MGN_F64, mgn_model_values(t->model)));
    for (int i = 0; i < t->shape.vectors; i++)
        MGN_TRY(mgn_tensor_create(t->device, real, MGN_SHAPE(t->count), &t->vectors[i]));
    MGN_TRY(mgn_tensor_create(t->device, real, MGN_SHAPE(MGN_MAX(t->shape.scalars, 1)), &t->scalars));
    MGN_TRY(mgn_tensor_create(t->device, real, MGN_SHAPE(t->count), &t->sum));
    MGN_TRY(mgn_tensor_create(t->device, real, MGN_SCALAR, &t->lr));
    MGN_TRY(mgn_tensor_create(t->device, real, MGN_SCALAR, &t->loss));
    MGN_TRY(mgn_tensor_create(t->device, MGN_U32, MGN_SHAPE(4), &t->state));
    uint64_t seed = t->config->seed;
    return mgn_tensor_write(t->state, MGN_U32, (uint32_t[4]){(uint32_t)seed, (uint32_t)(seed >> 32), 0, 0});
}

/* ---- the step as a graph ---- */

/* The inputs of a step, each bound to the tensor beside it. */
typedef struct step_inputs {
    mgn_node *x, *y, *parameters, *vectors[MGN_MOST_OPTIMIZER_VECTORS], *scalars, *sum, *state, *lr, *loss;
    mgn_node *target_rows, *target_state;
    mgn_binding bindings[16];
    size_t count;
} step_inputs;

static mgn_node *bound_input(mgn_graph *graph, step_inputs *in, const char *label, mgn_tensor *tensor) {
    if (!tensor) return NULL;
    mgn_kind kind = mgn_tensor_dtype(tensor) == MGN_U32 ? MGN_INDEX : MGN_REAL;
    mgn_node *node = mgn_input(graph, label, kind, mgn_tensor_shape(tensor));
    in->bindings[in->count++] = (mgn_binding){node, tensor};
    return node;
}

static void make_inputs(const trainer *t, mgn_graph *graph, step_inputs *in) {
    *in = (step_inputs){0};
    in->x = bound_input(graph, in, "x", t->x);
    in->y = bound_input(graph, in, "y", t->y);
    in->target_rows = bound_input(graph, in, "target rows", t->target_rows);
    in->target_state = bound_input(graph, in, "target state", t->target_state);
    in->parameters = bound_input(graph, in, "parameters", t->parameters);
    for (int i = 0; i < t->shape.vectors; i++)
        in->vectors[i] = bound_input(graph, in, "optimizer vector", t->vectors[i]);
    in->scalars = bound_input(graph, in, "optimizer scalars", t->scalars);
    in->sum = bound_input(graph, in, "gradient sum", t->sum);
    in->state = bound_input(graph, in, "random state", t->state);
    in->lr = bound_input(graph, in, "learning rate", t->lr);
    in->loss = bound_input(graph, in, "loss sum", t->loss);
}

/* The target's samples of this step: all of its rows, their next batch, or new ones. */
static mgn_node *draw_target(const trainer *t, const step_inputs *in) {
    if (in->target_rows && t->target_batch == mgn_node_shape(in->target_rows).dim[0]) return in->target_rows;
    mgn_assign(in->target_state, mgn_advance(in->target_state, 1));
    return mgn_target_sample_node(t->config->loss.target, in->target_state, in->target_rows, t->target_batch, 0);
}

/* The rows of this step: all of them, or the next batch of this epoch's permutation. */
static void draw_batch(const trainer *t, const step_inputs *in, int64_t rows, mgn_node **x, mgn_node **y) {
    *x = in->x;
    *y = in->y;
    if (rows == t->n) return;
    mgn_node *index = mgn_shuffle(in->state, t->n, rows, t->batches, t->batch);
    *x = mgn_gather_rows(in->x, index);
    if (in->y) *y = mgn_gather_rows(in->y, index);
}

static mgn_status build_step(const trainer *t, mgn_graph *graph, step_inputs *in, int64_t rows, int role) {
    mgn_node *x, *y, *gradient = NULL;
    make_inputs(t, graph, in);
    draw_batch(t, in, rows, &x, &y);
    if (t->target_batch) y = draw_target(t, in);
    mgn_node *loss = mgn_loss(&t->losses, x, mgn_model_forward(t->model, in->parameters, x), y);
    MGN_TRY(mgn_graph_status(graph));
    MGN_TRY(mgn_grad(loss, &in->parameters, 1, &gradient));
    if (t->accumulate > 1) gradient = mgn_add(in->sum, mgn_scale(gradient, 1.0 / (double)t->accumulate));
    if (role == UPDATE) {
        mgn_optimizer_update(&t->config->optimizer, in->parameters, gradient, in->lr, in->vectors, in->scalars);
        if (t->accumulate > 1) mgn_assign(in->sum, mgn_broadcast(mgn_constant(graph, 0), MGN_SHAPE(t->count)));
    } else {
        mgn_assign(in->sum, gradient);
    }
    mgn_assign(in->loss, mgn_add(in->loss, loss));
    mgn_assign(in->state, mgn_advance(in->state, 1));
    return mgn_graph_status(graph);
}

static mgn_status compile_step(trainer *t, int size, int role) {
    mgn_graph *graph;
    MGN_TRY(mgn_graph_create(&graph));
    step_inputs in;
    mgn_status status = build_step(t, graph, &in, size == WHOLE ? t->batch : t->tail, role);
    if (status == MGN_OK)
        status = mgn_plan_compile(graph, t->device, t->config->real, in.bindings, in.count, &t->plans[size][role]);
    mgn_graph_destroy(graph);
    return status;
}

static mgn_status compile_all(trainer *t) {
    for (int size = WHOLE; size < SIZES; size++) {
        if (size == TAIL && !t->tail) continue;
        MGN_TRY(compile_step(t, size, UPDATE));
        if (t->accumulate > 1) MGN_TRY(compile_step(t, size, GATHER));
    }
    return MGN_OK;
}

/* ---- epochs ---- */

static mgn_status run_times(mgn_plan *plan, int64_t times) {
    for (int64_t done = 0; done < times && !mgn_interrupted(); done += STEPS_PER_LOOK)
        MGN_TRY(mgn_plan_run(plan, (uint64_t)MGN_MIN(times - done, STEPS_PER_LOOK)));
    return MGN_OK;
}

static mgn_status run_batches(trainer *t) {
    if (t->accumulate == 1) {
        MGN_TRY(run_times(t->plans[WHOLE][UPDATE], t->batches - (t->tail ? 1 : 0)));
        return t->tail ? mgn_plan_run(t->plans[TAIL][UPDATE], 1) : MGN_OK;
    }
    for (int64_t i = 0; i < t->batches && !mgn_interrupted(); i++) {
        int size = t->tail && i == t->batches - 1 ? TAIL : WHOLE;
        int role = (i + 1) % t->accumulate == 0 || i == t->batches - 1 ? UPDATE : GATHER;
        MGN_TRY(mgn_plan_run(t->plans[size][role], 1));
    }
    return MGN_OK;
}

/* What may keep training from diverging. Differences of coordinates below the blur are lost where clouds are wider than
 * some thousand blurs. */
static const char *advice(const trainer *t, char text[128]) {
    const double lr = t->config->optimizer.lr;
    if (mgn_loss_needs_samples(t->config->loss.kind))
        snprintf(text, 128, "a lower learning rate than %g, or a larger blur than %g, may help", lr,
                 t->losses.sinkhorn.blur);
    else
        snprintf(text, 128, "a lower learning rate than %g may help", lr);
    return text;
}

/* After an epoch whose loss was finite: it began at good parameters, and ends at ones that its last step made. */
static mgn_status keep_parameters(trainer *t, int64_t epoch) {
    size_t bytes = (size_t)t->count * sizeof *t->good;
    memcpy(t->good, t->latest, bytes);
    MGN_TRY(mgn_tensor_read(t->parameters, MGN_F64, t->latest));
    bool finite = true;
    for (int64_t i = 0; i < t->count; i++) finite = finite && isfinite(t->latest[i]);
    if (finite) return MGN_OK;
    memcpy(t->latest, t->good, bytes);
    if (mgn_interrupted()) return MGN_OK;
    char text[128];
    return mgn_fail(MGN_ERR_NUMERIC, "training diverged: a parameter became infinite or NaN in epoch %lld of %lld; %s",
                    (long long)(epoch + 1), (long long)t->config->epochs, advice(t, text));
}

/* One epoch; its mean loss. */
static mgn_status run_epoch(trainer *t, int64_t epoch, double lr, double *loss) {
    MGN_TRY(mgn_tensor_write(t->lr, MGN_F64, &lr));
    MGN_TRY(mgn_tensor_write(t->loss, MGN_F64, &(double){0}));
    MGN_TRY(run_batches(t));
    double sum;
    MGN_TRY(mgn_tensor_read(t->loss, MGN_F64, &sum));
    *loss = sum / (double)t->batches;
    char text[128];
    if (!mgn_interrupted() && !isfinite(*loss))
        return mgn_fail(MGN_ERR_NUMERIC, "training diverged: the %s loss became %g in epoch %lld of %lld; %s",
                        t->config->loss.kind, *loss, (long long)(epoch + 1), (long long)t->config->epochs,
                        advice(t, text));
    return MGN_OK;
}

static mgn_status run_epochs(trainer *t, mgn_train_result *result) {
    const mgn_train_config *config = t->config;
    mgn_schedule_state schedule = {0};
    double start = mgn_now(), loss = 0;
    int64_t steps_per_epoch = (t->batches + t->accumulate - 1) / t->accumulate;
    for (int64_t epoch = 0; epoch < config->epochs; epoch++) {
        double lr =
            config->optimizer.lr * mgn_schedule_factor(&config->schedule, &schedule, epoch, config->epochs, loss);
        MGN_TRY(run_epoch(t, epoch, lr, &loss));
        MGN_TRY(keep_parameters(t, epoch));
        mgn_train_report report = {epoch + 1, config->epochs,   (epoch + 1) * steps_per_epoch, loss,
                                   lr,        mgn_now() - start};
        result->loss = loss;
        result->steps = report.steps;
        result->seconds = report.seconds;
        bool go_on = !config->report || config->report(config->context, &report);
        if (!go_on || mgn_interrupted())
            return mgn_fail(MGN_ERR_INTERRUPTED, "stopped after epoch %lld of %lld", (long long)(epoch + 1),
                            (long long)config->epochs);
    }
    return MGN_OK;
}

/* ---- life ---- */

static mgn_status check_config(trainer *t, const mgn_samples *samples) {
    const mgn_train_config *config = t->config;
    if (samples->n < 1 || !samples->x) return mgn_fail(MGN_ERR_ARGUMENT, "there are no samples to learn from");
    if (config->epochs < 1 || config->batch < 0 || config->accumulate < 0)
        return mgn_fail(
            MGN_ERR_ARGUMENT,
            "at least 1 epoch, and a batch and an accumulation from 0 were expected; %lld, %lld, %lld found",
            (long long)config->epochs, (long long)config->batch, (long long)config->accumulate);
    if (mgn_loss_needs_pairs(config->loss.kind) && !samples->y)
        return mgn_fail(MGN_ERR_ARGUMENT, "the loss %s compares with given targets, row by row; none were given",
                        config->loss.kind);
    MGN_TRY(mgn_optimizer_check(&config->optimizer, &t->shape));
    t->losses = config->loss;
    t->n = samples->n;
    t->d = mgn_model_get_config(t->model)->d;
    t->count = mgn_model_parameter_count(t->model);
    t->batch = config->batch == 0 ? t->n : MGN_MIN(config->batch, t->n);
    t->batches = (t->n + t->batch - 1) / t->batch;
    t->tail = t->n % t->batch;
    t->accumulate = MGN_MAX(config->accumulate, 1);
    return MGN_OK;
}

static void destroy(trainer *t) {
    for (int size = WHOLE; size < SIZES; size++)
        for (int role = UPDATE; role < ROLES; role++) mgn_plan_destroy(t->plans[size][role]);
    mgn_tensor *tensors[] = {t->target_rows, t->target_state, t->x,   t->y,     t->parameters, t->vectors[0],
                             t->vectors[1],  t->scalars,      t->sum, t->state, t->lr,         t->loss};
    for (size_t i = 0; i < MGN_COUNT(tensors); i++) mgn_tensor_destroy(tensors[i]);
    mgn_free(t->good);
    mgn_free(t->latest);
}

static mgn_status train(trainer *t, const mgn_samples *samples, mgn_train_result *result) {
    double start = mgn_now();
    if (strcmp(t->config->loss.kind, "semidual") == 0)
        return mgn_train_semidual(t->model, t->device, samples, t->config, result);
    MGN_TRY(check_config(t, samples));
    if (mgn_optimizer_is_second_order(t->config->optimizer.kind))
        return mgn_train_second_order(t->model, t->device, samples, t->config, result);
    size_t bytes = (size_t)t->count * sizeof *t->good;
    t->good = mgn_alloc((size_t)t->count, sizeof *t->good);
    t->latest = mgn_alloc((size_t)t->count, sizeof *t->latest);
    if (!t->good || !t->latest) return MGN_ERR_MEMORY;
    memcpy(t->good, mgn_model_values(t->model), bytes);
    memcpy(t->latest, t->good, bytes);
    MGN_TRY(mgn_upload_samples(t->device, t->config->real, samples, t->d, &t->x, &t->y));
    MGN_TRY(make_target(t, samples));
    MGN_TRY(make_state(t));
    MGN_TRY(compile_all(t));
    result->compile_seconds = mgn_now() - start;
    mgn_status status = run_epochs(t, result);
    if (status == MGN_OK || status == MGN_ERR_INTERRUPTED || status == MGN_ERR_NUMERIC)
        memcpy(mgn_model_values(t->model), status == MGN_ERR_NUMERIC ? t->good : t->latest, bytes);
    return status;
}

mgn_status mgn_train(mgn_model *model, mgn_device *device, const mgn_samples *samples, const mgn_train_config *config,
                     mgn_train_result *result) {
    trainer t = {.model = model, .device = device, .config = config};
    mgn_train_result own = {0};
    mgn_status status = train(&t, samples, &own);
    if (result) *result = own;
    destroy(&t);
    return status;
}
