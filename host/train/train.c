/* The training loop of the first-order optimizers. A step is one plan; an epoch is that plan run as often as there are whole
 * batches, and a second plan once for the smaller last batch. The host waits for the device once an epoch, to read the loss
 * and what session.h keeps.
 *
 * Rows that are read while training computes come in windows (stream.h): the device holds one, whose batches are drawn as
 * from a table of that many rows, while a thread reads the next. Rows in memory are one window that is always there. */
#include <mgn/train.h>

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "comm/comm.h"
#include "core/core.h"
#include "loss/sinkhorn.h"
#include "train/diameter.h"
#include "train/recipe.h"
#include "train/second_order.h"
#include "train/semidual.h"
#include "train/trainer.h"

/* Steps enqueued between two looks at the interrupt flag; fewer where checkpoints are due by the clock, so that a look comes
 * about as often as that. */
enum { STEPS_PER_LOOK = 1024 };
static const double seconds_per_look = 0.1;

typedef mgn_trainer trainer;

/* ---- tensors ---- */

mgn_status mgn_check_samples(const mgn_samples *samples, int64_t d) {
    for (int64_t i = 0; i < samples->n * d; i++)
        if (!isfinite(samples->x[i]) || (samples->y && !isfinite(samples->y[i])))
            return mgn_fail(MGN_ERR_NUMERIC, "the samples hold a value that is not finite in row %lld, column %lld",
                            (long long)(i / d), (long long)(i % d));
    return MGN_OK;
}

mgn_status mgn_upload_samples(mgn_device *device, mgn_dtype real, const mgn_samples *samples, int64_t d, mgn_tensor **x,
                              mgn_tensor **y) {
    MGN_TRY(mgn_check_samples(samples, d));
    MGN_TRY(mgn_tensor_create(device, real, MGN_SHAPE(samples->n, d), x));
    MGN_TRY(mgn_tensor_write(*x, MGN_F32, samples->x));
    if (!samples->y) return MGN_OK;
    MGN_TRY(mgn_tensor_create(device, real, MGN_SHAPE(samples->n, d), y));
    return mgn_tensor_write(*y, MGN_F32, samples->y);
}

/* From the images at the start and the target, or what it looks like. */
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
    if (status == MGN_OK)
        status = mgn_images_diameter(t->model, t->device, t->config->real, samples, rows, n, sinkhorn->blur,
                                     &sinkhorn->diameter);
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
    if (t->accumulate > 1) MGN_TRY(mgn_tensor_create(t->device, real, MGN_SCALAR, &t->share));
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
    mgn_node *share, *target_rows, *target_state, *result;
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

static mgn_status make_inputs(const trainer *t, mgn_graph *graph, int size, step_inputs *in) {
    *in = (step_inputs){0};
    if (t->blocks) {
        in->result = bound_input(graph, in, "gradient and loss", t->result);
    } else {
        mgn_tensor *x = t->x, *y = t->y;
        if (t->pages) MGN_TRY(mgn_pages_open(t->pages, mgn_trainer_rows(t, size), &x, &y));
        in->x = bound_input(graph, in, "x", x);
        in->y = bound_input(graph, in, "y", y);
        in->target_rows = bound_input(graph, in, "target rows", t->target_rows);
        in->target_state = bound_input(graph, in, "target state", t->target_state);
    }
    in->parameters = bound_input(graph, in, "parameters", t->parameters);
    for (int i = 0; i < t->shape.vectors; i++)
        in->vectors[i] = bound_input(graph, in, "optimizer vector", t->vectors[i]);
    in->scalars = bound_input(graph, in, "optimizer scalars", t->scalars);
    in->sum = bound_input(graph, in, "gradient sum", t->sum);
    in->state = bound_input(graph, in, "random state", t->state);
    in->lr = bound_input(graph, in, "learning rate", t->lr);
    in->loss = bound_input(graph, in, "loss sum", t->loss);
    in->share = bound_input(graph, in, "share of a batch", t->share);
    return MGN_OK;
}

/* The target's samples of this step: all of its rows, their next batch, or new ones. */
static mgn_node *draw_target(const trainer *t, const step_inputs *in) {
    if (in->target_rows && t->target_batch == mgn_node_shape(in->target_rows).dim[0]) return in->target_rows;
    mgn_assign(in->target_state, mgn_advance(in->target_state, 1));
    return mgn_target_sample_node(t->config->loss.target, in->target_state, in->target_rows, t->target_batch, 0);
}

int64_t mgn_trainer_population(const trainer *t, int size) { return size == MGN_WHOLE ? t->window : t->last; }
int64_t mgn_trainer_rows(const trainer *t, int size) { return size == MGN_TAIL ? t->tail : t->batch; }

bool mgn_trainer_has(const trainer *t, int size) {
    if (size == MGN_TAIL) return t->tail > 0;
    return size == MGN_WHOLE || (t->last != t->window && t->last >= t->batch);
}

/* Batches of one permutation. */
static int64_t batches_of(const trainer *t, int64_t rows) { return (rows + t->batch - 1) / t->batch; }

/* The rows of this step: all of them, or the next batch of this epoch's permutation. */
static void draw_batch(const trainer *t, const step_inputs *in, int size, mgn_node **x, mgn_node **y) {
    const int64_t all = mgn_trainer_population(t, size), rows = mgn_trainer_rows(t, size);
    *x = in->x;
    *y = in->y;
    if (rows == t->window || t->pages) return;
    mgn_node *index = mgn_shuffle(in->state, all, rows, batches_of(t, all), MGN_MIN(t->batch, all));
    *x = mgn_gather_rows(in->x, index);
    if (in->y) *y = mgn_gather_rows(in->y, index);
}

/* The loss of this step's rows, and its gradient by the parameters. */
static mgn_status build_gradient(const trainer *t, mgn_graph *graph, const step_inputs *in, int size, mgn_node **loss,
                                 mgn_node **gradient) {
    mgn_node *x, *y;
    if (in->result) { /* it has been computed */
        *gradient = mgn_slice(in->result, 0, 0, t->count);
        *loss = mgn_reshape(mgn_slice(in->result, 0, t->count, 1), MGN_SCALAR);
        return mgn_graph_status(graph);
    }
    draw_batch(t, in, size, &x, &y);
    if (t->target_batch) y = draw_target(t, in);
    *loss = mgn_loss(&t->losses, x, mgn_model_forward(t->model, in->parameters, x), y);
    MGN_TRY(mgn_graph_status(graph));
    return mgn_grad(*loss, (mgn_node **)&in->parameters, 1, gradient);
}

static mgn_status build_step(const trainer *t, mgn_graph *graph, step_inputs *in, int size, int role) {
    mgn_node *loss = NULL, *gradient = NULL;
    MGN_TRY(make_inputs(t, graph, size, in));
    MGN_TRY(build_gradient(t, graph, in, size, &loss, &gradient));
    if (t->accumulate > 1) gradient = mgn_add(in->sum, mgn_mul(gradient, in->share));
    if (role == MGN_UPDATE) {
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
    mgn_status status = build_step(t, graph, &in, size, role);
    if (status == MGN_OK)
        status = mgn_plan_compile(graph, t->device, t->config->real, in.bindings, in.count, &t->plans[size][role]);
    mgn_graph_destroy(graph);
    return status;
}

static mgn_status compile_blocks(trainer *t) {
    const mgn_train_config *config = t->config;
    const mgn_blocks_config blocks = {.model = t->model,
                                      .loss = &t->losses,
                                      .device = t->device,
                                      .comm = config->comm,
                                      .real = config->real,
                                      .sums = config->real,
                                      .x = t->x,
                                      .y = t->y,
                                      .pages = t->pages,
                                      .parameters = t->parameters,
                                      .blocks = t->cut.blocks,
                                      .target_rows = t->target_rows,
                                      .target_state = t->target_state,
                                      .target_batch = t->target_batch};
    mgn_pass_rows kinds[MGN_SIZES] = {{0}};
    for (int size = MGN_WHOLE; size < MGN_SIZES; size++)
        if (mgn_trainer_has(t, size))
            kinds[size] = (mgn_pass_rows){.device = t->device,
                                          .real = config->real,
                                          .x = t->x,
                                          .y = t->y,
                                          .pages = t->pages,
                                          .population = mgn_trainer_population(t, size),
                                          .rows = mgn_trainer_rows(t, size),
                                          .blocks = t->cut.blocks};
    MGN_TRY(mgn_tensor_create(t->device, config->real, MGN_SHAPE(t->count + 1), &t->result));
    return mgn_block_gradient_create(&blocks, kinds, MGN_SIZES, &t->blocks);
}

static mgn_status compile_all(trainer *t) {
    if (t->cut.blocks > 0) MGN_TRY(compile_blocks(t));
    for (int size = MGN_WHOLE; size < MGN_SIZES; size++) {
        if (!mgn_trainer_has(t, size) || (t->blocks && size != MGN_WHOLE)) continue; /* of blocks all updates are one */
        MGN_TRY(compile_step(t, size, MGN_UPDATE));
        if (t->accumulate > 1) MGN_TRY(compile_step(t, size, MGN_GATHER));
    }
    return MGN_OK;
}

/* ---- epochs ---- */

/* Processes that learn together stop together. */
static bool is_stopped(const trainer *t) { return t->config->comm ? t->is_stopping : mgn_interrupted(); }

/* The random state's count where the window's batches begin: each window has a permutation of its own. */
static uint32_t count_before(const trainer *t) {
    const int64_t windows = (int64_t)t->session.state.point.epoch * t->windows + t->at;
    return (uint32_t)(windows * batches_of(t, t->at == t->windows - 1 ? t->last : t->window));
}

/* Batches of this epoch that are done. */
static mgn_status count_batches(const trainer *t, int64_t *done) {
    uint32_t state[4];
    MGN_TRY(mgn_tensor_read(t->state, MGN_U32, state));
    *done = t->at * t->each + (uint32_t)(state[2] - count_before(t));
    return MGN_OK;
}

/* After `steps` steps that began at `start`; a checkpoint when it is time. */
static mgn_status take_look(trainer *t, int64_t steps, double start) {
    int64_t batch;
    if (!mgn_session_is_timed(&t->session)) return MGN_OK;
    MGN_TRY(mgn_device_finish(t->device));
    const double fit = (double)steps * seconds_per_look / fmax(mgn_now() - start, 1e-9);
    t->look = (int64_t)fmin(fmax(fit, 1), fmin(2.0 * (double)steps, STEPS_PER_LOOK * 1024.0));
    if (!mgn_session_is_due(&t->session) || is_stopped(t)) return MGN_OK;
    MGN_TRY(count_batches(t, &batch));
    return batch < t->batches ? mgn_session_write_middle(&t->session, batch) : MGN_OK;
}

/* The seed of the permutation of the window that is on the device, whose blocks are positions in it. */
static uint64_t seed_of_window(const trainer *t) {
    const uint64_t windows = (uint64_t)t->session.state.point.epoch * (uint64_t)t->windows + (uint64_t)t->at;
    return t->config->seed + windows * UINT64_C(0x9e3779b97f4a7c15);
}

/* The gradient of the window's batch number `batch`, from its blocks. */
static mgn_status run_blocks(trainer *t, int size, int64_t batch) {
    const void *total;
    MGN_TRY(mgn_block_gradient_run(t->blocks, size, seed_of_window(t), batch * t->batch, &t->is_stopping, &total));
    return t->is_stopping ? MGN_OK : mgn_tensor_write(t->result, t->config->real, total);
}

/* The rows of that batch, onto their page. */
static mgn_status fill_page(trainer *t, int size, int64_t batch) {
    const int64_t all = mgn_trainer_population(t, size), rows = mgn_trainer_rows(t, size);
    if (rows == t->window) return mgn_pages_fill(t->pages, NULL, 0, rows);
    const uint32_t epoch = count_before(t) / (uint32_t)batches_of(t, all);
    const mgn_host_shuffle order = mgn_host_shuffle_start(t->config->seed, epoch, (uint32_t)all);
    return mgn_pages_fill(t->pages, &order, batch * MGN_MIN(t->batch, all), rows);
}

/* Steps one by one: those whose gradients are added up from blocks, and those whose rows come with them. */
static mgn_status run_singly(trainer *t, int size, int role, int64_t times) {
    for (int64_t done = 0; done < times; done++) {
        const double start = mgn_now();
        int64_t batch;
        MGN_TRY(count_batches(t, &batch));
        batch -= t->at * t->each;
        MGN_TRY(t->blocks ? run_blocks(t, size, batch) : fill_page(t, size, batch));
        if (t->blocks ? t->is_stopping : is_stopped(t)) return MGN_OK;
        MGN_TRY(mgn_plan_run(t->plans[t->blocks ? MGN_WHOLE : size][role], 1));
        MGN_TRY(take_look(t, 1, start));
    }
    return MGN_OK;
}

static mgn_status run_times(trainer *t, int size, int role, int64_t times) {
    if (t->blocks || t->pages) return run_singly(t, size, role, times);
    for (int64_t done = 0; done < times && !mgn_interrupted();) {
        const int64_t steps = MGN_MIN(times - done, t->look);
        const double start = mgn_now();
        const mgn_status status = mgn_plan_run(t->plans[size][role], (uint64_t)steps);
        if (status == MGN_ERR_INTERRUPTED) return MGN_OK;
        MGN_TRY(status);
        done += steps;
        MGN_TRY(take_look(t, steps, start));
    }
    return MGN_OK;
}

/* In the tensor's own type: nothing is converted, and so nothing allocated. */
static mgn_status write_scalar(const trainer *t, mgn_tensor *tensor, double value) {
    const float single = (float)value;
    return mgn_tensor_write(tensor, t->config->real, t->config->real == MGN_F32 ? (const void *)&single : &value);
}

/* The size of the steps with the whole batches of the window. */
static int size_at(const trainer *t) { return t->at == t->windows - 1 && t->last != t->window ? MGN_LAST : MGN_WHOLE; }

/* Batch `i` of an epoch, in which the last step may accumulate fewer. */
static mgn_status run_accumulated(trainer *t, int64_t i, bool is_new) {
    const int64_t first = i - i % t->accumulate, group = MGN_MIN(t->accumulate, t->batches - first);
    const bool is_last = i == first + group - 1, is_tail = t->tail && i == t->batches - 1;
    if (is_new || (i == first && group < t->accumulate)) MGN_TRY(write_scalar(t, t->share, 1.0 / (double)group));
    return run_times(t, is_tail ? MGN_TAIL : size_at(t), is_last ? MGN_UPDATE : MGN_GATHER, 1);
}

static mgn_status load_window(trainer *t, int64_t window, int64_t done) {
    const int64_t epoch = (int64_t)t->session.state.point.epoch;
    const bool is_there = window == t->at && epoch == t->at_epoch;
    t->at = window;
    t->at_epoch = epoch;
    if (!is_there) {
        mgn_samples rows;
        MGN_TRY(mgn_stream_wait(t->stream, epoch, window, &rows));
        MGN_TRY(mgn_check_samples(&rows, t->d));
        if (t->pages) mgn_pages_take(t->pages, &rows);
        if (t->x) MGN_TRY(mgn_tensor_write(t->x, MGN_F32, rows.x)); /* behind the last window's rows stand older ones */
        if (t->y) MGN_TRY(mgn_tensor_write(t->y, MGN_F32, rows.y));
    }
    const uint64_t seed = t->config->seed;
    const uint32_t state[4] = {(uint32_t)seed, (uint32_t)(seed >> 32), count_before(t) + (uint32_t)done, 0};
    MGN_TRY(mgn_tensor_write(t->state, MGN_U32, state));
    const bool is_end = window == t->windows - 1;
    return mgn_stream_next(t->stream, epoch + is_end, is_end ? 0 : window + 1);
}

/* Brings a window onto the device, of which `done` batches are done, and has the next one read. */
static mgn_status enter_window(trainer *t, int64_t window, int64_t done) {
    if (t->windows == 1) return MGN_OK;
    return mgn_comm_agree(t->config->comm, load_window(t, window, done));
}

/* The batches of the window from its number `first` on. */
static mgn_status run_window(trainer *t, int64_t first) {
    const bool is_end = t->at == t->windows - 1;
    const int64_t before = t->at * t->each, whole = is_end ? t->last / t->batch : t->each,
                  count = whole + (is_end && t->tail ? 1 : 0);
    for (int64_t i = first; t->accumulate > 1 && i < count && !is_stopped(t); i++)
        MGN_TRY(run_accumulated(t, before + i, i == first));
    if (t->accumulate > 1) return MGN_OK;
    if (whole > first) MGN_TRY(run_times(t, size_at(t), MGN_UPDATE, whole - first));
    if (is_stopped(t)) return MGN_OK;
    return count > whole ? run_times(t, MGN_TAIL, MGN_UPDATE, 1) : MGN_OK;
}

/* The batches from number `first` on. */
static mgn_status run_batches(trainer *t, int64_t first) {
    for (int64_t window = first / t->each; window < t->windows && !is_stopped(t); window++) {
        const int64_t done = MGN_MAX(first - window * t->each, 0);
        MGN_TRY(enter_window(t, window, done));
        MGN_TRY(run_window(t, done));
    }
    return MGN_OK;
}

/* The loss at the start values, as the first batch has it. */
static mgn_status run_first(trainer *t) {
    double *first = &t->session.state.history.first;
    MGN_TRY(enter_window(t, 0, 0));
    if (t->accumulate > 1)
        MGN_TRY(run_accumulated(t, 0, true));
    else
        MGN_TRY(run_times(t, MGN_WHOLE, MGN_UPDATE, 1));
    MGN_TRY(mgn_tensor_read(t->loss, MGN_F64, first));
    if (is_stopped(t)) *first = NAN; /* perhaps it did not run */
    return MGN_OK;
}

/* One epoch, or the rest of one, and what follows from its mean loss. */
static mgn_status run_epoch(trainer *t) {
    mgn_session *s = &t->session;
    const double lr = mgn_session_lr(s);
    int64_t first = (int64_t)s->state.point.batch, done = 0;
    double sum = 0;
    MGN_TRY(write_scalar(t, t->lr, lr));
    if (first == 0) MGN_TRY(write_scalar(t, t->loss, 0));
    if (t->config->control.retries > 0 && isnan(s->state.history.first) && first == 0) {
        MGN_TRY(run_first(t));
        first++;
    }
    MGN_TRY(run_batches(t, first));
    MGN_TRY(mgn_state_share(&s->state, t->config->comm));
    MGN_TRY(mgn_tensor_read(t->loss, MGN_F64, &sum));
    if (!is_stopped(t)) return mgn_session_epoch(s, sum / (double)t->batches, lr);
    MGN_TRY(count_batches(t, &done));
    if (done == t->batches) return mgn_session_epoch(s, sum / (double)t->batches, lr);
    return mgn_session_interrupt(s, done, sum / (double)MGN_MAX(done, 1), lr);
}

/* What may keep training from diverging, besides a lower learning rate. Differences of coordinates below the blur are lost
 * where clouds are wider than some thousand blurs. */
static const char *advice(trainer *t) {
    if (!mgn_loss_needs_samples(t->config->loss.kind)) return " may help";
    snprintf(t->advice, sizeof t->advice, ", or a larger blur than %g, may help", t->losses.sinkhorn.blur);
    return t->advice;
}

static void list_state(trainer *t) {
    mgn_train_state *state = &t->session.state;
    mgn_state_add_tensor(state, "parameters", t->parameters);
    static const char *const labels[MGN_MOST_OPTIMIZER_VECTORS] = {"optimizer.vector0", "optimizer.vector1"};
    for (int i = 0; i < MGN_MIN(t->shape.vectors, MGN_MOST_OPTIMIZER_VECTORS); i++)
        mgn_state_add_tensor(state, labels[i], t->vectors[i]);
    mgn_state_add_tensor(state, "optimizer.scalars", t->scalars);
    if (t->accumulate > 1) mgn_state_add_tensor(state, "gradient", t->sum);
    mgn_state_add_tensor(state, "random", t->state);
    mgn_state_add_tensor(state, "target.random", t->target_state);
    mgn_state_add_tensor(state, "loss", t->loss);
}

/* ---- life ---- */

static mgn_status check_config(trainer *t, const mgn_samples *samples) {
    const mgn_train_config *config = t->config;
    const mgn_row_source *source = config->source;
    if (!source && (!samples || samples->n < 1 || !samples->x))
        return mgn_fail(MGN_ERR_ARGUMENT, "there are no samples to learn from");
    if (config->epochs < 1 || config->batch < 0 || config->accumulate < 0)
        return mgn_fail(
            MGN_ERR_ARGUMENT,
            "at least 1 epoch, and a batch and an accumulation from 0 were expected; %lld, %lld, %lld found",
            (long long)config->epochs, (long long)config->batch, (long long)config->accumulate);
    if (mgn_loss_needs_pairs(config->loss.kind) && !(source ? source->has_targets : samples->y != NULL))
        return mgn_fail(MGN_ERR_ARGUMENT, "the loss %s compares with given targets, row by row; none were given",
                        config->loss.kind);
    if (source && config->batch == 0)
        return mgn_fail(MGN_ERR_ARGUMENT, "rows that are read while training computes are learned from in batches; one "
                                          "of all rows was asked for");
    MGN_TRY(mgn_optimizer_check(&config->optimizer, &t->shape));
    t->losses = config->loss;
    t->n = source ? source->n : samples->n;
    t->d = mgn_model_get_config(t->model)->d;
    t->count = mgn_model_parameter_count(t->model);
    t->batch = config->batch == 0 ? t->n : MGN_MIN(config->batch, t->n);
    t->batches = (t->n + t->batch - 1) / t->batch;
    t->tail = t->n % t->batch;
    t->accumulate = MGN_MAX(config->accumulate, 1);
    t->look = STEPS_PER_LOOK;
    return MGN_OK;
}

static mgn_status make_pages(trainer *t) {
    const int64_t blocks = MGN_MAX(t->cut.blocks, 1);
    int64_t most = 0;
    for (int size = MGN_WHOLE; size < MGN_SIZES; size++)
        if (mgn_trainer_has(t, size)) most = MGN_MAX(most, (mgn_trainer_rows(t, size) + blocks - 1) / blocks);
    return mgn_pages_create(t->device, t->config->real, &t->first, t->d, t->stream ? t->window : 0, most, &t->pages);
}

/* All rows, or the first window of them. */
static mgn_status open_rows(trainer *t, const mgn_samples *samples) {
    t->window = t->n;
    t->windows = 1;
    if (t->config->source) {
        MGN_TRY(mgn_stream_create(t->config->source, t->d, t->batch, t->config->seed, &t->stream));
        MGN_TRY(mgn_stream_wait(t->stream, 0, 0, &t->first));
        t->window = mgn_stream_rows(t->stream);
        t->windows = mgn_stream_windows(t->stream);
    } else {
        t->first = *samples;
    }
    t->last = t->n - (t->windows - 1) * t->window;
    t->each = batches_of(t, t->window);
    if (t->cut.is_paged) return make_pages(t);
    return mgn_upload_samples(t->device, t->config->real, &t->first, t->d, &t->x, &t->y);
}

static bool is_known(const char *loss) {
    bool is_found = false;
    for (size_t i = 0; mgn_loss_kind(i) && !is_found; i++) is_found = strcmp(mgn_loss_kind(i), loss) == 0;
    return is_found;
}

static mgn_status check_blocks(const mgn_train_config *config) {
    if (config->comm && config->blocks == 0)
        return mgn_fail(MGN_ERR_ARGUMENT, "processes that learn together need a number of blocks, of which each has "
                                          "some; 16 will do");
    const char *kind = config->loss.kind;
    if (config->blocks > 0 && is_known(kind) && !mgn_blocks_take(kind))
        return mgn_fail(MGN_ERR_UNSUPPORTED,
                        "%s is not for blocks of a batch or several processes: they learn from losses that are means "
                        "over rows (mse, l1, nll, mixture-nll, monge-ampere), of moments (kl, mixture-kl) or of clouds "
                        "(sinkhorn)",
                        kind);
    return MGN_OK;
}

static void destroy(trainer *t) {
    mgn_stream_destroy(t->stream);
    mgn_block_gradient_destroy(t->blocks);
    mgn_pages_destroy(t->pages);
    for (int size = MGN_WHOLE; size < MGN_SIZES; size++)
        for (int role = MGN_UPDATE; role < MGN_ROLES; role++) mgn_plan_destroy(t->plans[size][role]);
    mgn_tensor *tensors[] = {t->target_rows, t->target_state, t->x,       t->y,     t->parameters,
                             t->vectors[0],  t->vectors[1],   t->scalars, t->sum,   t->state,
                             t->lr,          t->loss,         t->share,   t->result};
    for (size_t i = 0; i < MGN_COUNT(tensors); i++) mgn_tensor_destroy(tensors[i]);
}

static mgn_status train(trainer *t, const mgn_samples *samples, mgn_train_result *result) {
    double start = mgn_now();
    const bool is_semidual = strcmp(t->config->loss.kind, "semidual") == 0;
    if (t->config->source && (is_semidual || mgn_optimizer_is_second_order(t->config->optimizer.kind)))
        return mgn_fail(
            MGN_ERR_UNSUPPORTED,
            "%s looks at all rows at once; rows that are read while training computes are for optimizers of "
            "first order",
            is_semidual ? "the loss semidual" : t->config->optimizer.kind);
    MGN_TRY(check_blocks(t->config));
    if (is_semidual) {
        MGN_TRY(mgn_session_refuse_patience(t->config, "the loss semidual"));
        return mgn_train_semidual(t->model, t->device, samples, t->config, result);
    }
    MGN_TRY(check_config(t, samples));
    if (mgn_optimizer_is_second_order(t->config->optimizer.kind))
        return mgn_train_second_order(t->model, t->device, samples, t->config, &t->cut, t->carried, result);
    mgn_session *session = &t->session;
    MGN_TRY(open_rows(t, samples));
    mgn_session_open(session, t->model, t->device, &t->first, t->config, result);
    session->carried = t->carried;
    MGN_TRY(make_target(t, &t->first));
    MGN_TRY(make_state(t));
    MGN_TRY(compile_all(t));
    list_state(t);
    session->batches = t->batches;
    session->accumulate = t->accumulate;
    session->advice = advice(t);
    mgn_status status = mgn_session_begin(session, &t->losses, t->parameters);
    if (status == MGN_OK && t->config->control.checkpoint) status = mgn_cut_store(t->config, &t->cut, &session->file);
    if (status == MGN_OK) status = mgn_session_join(session);
    if (status == MGN_OK) mgn_cut_note(&t->cut, t->config, t->device, t->batch);
    result->compile_seconds += mgn_now() - start;
    if (mgn_session_is_timed(session)) t->look = 1;
    while (status == MGN_OK && mgn_session_goes_on(session)) status = mgn_comm_agree(t->config->comm, run_epoch(t));
    mgn_session_carry(session, status, t->carried);
    return mgn_session_close(session, status, mgn_model_values(t->model));
}

/* Once, and again with finer cuts where the device has no memory; from the start values, unless a state is carried on. */
static mgn_status train_cut(mgn_model *model, mgn_device *device, const mgn_samples *samples,
                            const mgn_train_config *config, mgn_train_result *result) {
    const size_t size = (size_t)mgn_model_parameter_count(model) * sizeof(double);
    double *start = mgn_alloc(size, 1);
    if (!start) return MGN_ERR_MEMORY;
    memcpy(start, mgn_model_values(model), size);
    mgn_safetensors carried = {0};
    mgn_cut cut;
    mgn_status status = mgn_cut_begin(config, &cut);
    for (bool goes_on = status == MGN_OK; goes_on;) {
        trainer t = {.model = model, .device = device, .config = config, .cut = cut, .carried = &carried};
        mgn_device_was_short(device); /* whatever that was */
        status = train(&t, samples, result);
        goes_on = status != MGN_OK && mgn_cut_more(&t, &status, &cut);
        if (goes_on) memcpy(mgn_model_values(model), start, size);
        destroy(&t);
    }
    mgn_safetensors_free(&carried);
    mgn_free(start);
    return status;
}

mgn_status mgn_train(mgn_model *model, mgn_device *device, const mgn_samples *samples, const mgn_train_config *config,
                     mgn_train_result *result) {
    mgn_train_result own = {0};
    const mgn_status status = mgn_comm_agree(config->comm, train_cut(model, device, samples, config, &own));
    if (result) *result = own;
    return status;
}
