/* Second-order training: losses of models as functions that the minimisers of descent.h can ask for values, gradients and
 * curvature. All of it is graph:
 *
 *   newton          H v      = jvp of the gradient along v;
 *   gauss-newton    C v      = J^T W J v, J v by jvp, J^T by vjp, W the loss's own curvature by the rows of y;
 *                   C itself = the sum over rows of J^T W J, J by mgn_shared_jacobian: one reverse pass for each
 *                   component of y, whatever the number of parameters.
 *
 * One C costs about as much as two products for each component of y, so it is made whenever it is small enough to factor;
 * the Jacobians of all rows then stay inside the fused program, or are one intermediate value. */
#include "train/second_order.h"

#include <math.h>
#include <string.h>

#include "train/shared.h"
#include "train/session.h"

/* Up to so many parameters the Jacobians of all rows stay inside the fused program. */
enum { MOST_FUSED_PARAMETERS = 16 };

enum { VALUE, GRADIENT, PRODUCT, MATRIX, SQUARE, PLANS };

typedef mgn_status minimiser(const mgn_objective *objective, mgn_descent *descent, double *p);

typedef struct method {
    const char *label;
    minimiser *minimise;
    bool has_products, is_gauss_newton;
} method;

static const method methods[] = {
    {"lbfgs", mgn_descend_lbfgs, false, false},
    {"newton", mgn_descend_newton, true, false},
    {"gauss-newton", mgn_descend_damped, true, true},
};

struct mgn_solver {
    mgn_model *model; /* its architecture */
    mgn_device *device;
    mgn_dtype real;
    mgn_loss_config loss;
    double decay; /* adds decay |p|^2 / 2 to the loss */
    const method *method;
    mgn_curvature curvature;
    int64_t n, d, count, memory;
    double tolerance;
    mgn_tensor *x, *y, *parameters, *direction;
    mgn_pages *pages;                                             /* where the rows are instead of x and y; or NULL */
    mgn_tensor *loss_out[PLANS], *vector_out[PLANS], *matrix_out; /* results of the plans */
    mgn_plan *plans[PLANS];
    mgn_comm *comm;
    mgn_shared *shared; /* does what the plans do where the loss is cut into blocks; else NULL */
    mgn_objective objective;
};

/* ---- graphs ---- */

typedef struct inputs {
    mgn_node *x, *y, *flat, *v;
    mgn_binding bindings[4];
    size_t count;
} inputs;

static mgn_node *bound_input(mgn_graph *graph, inputs *in, const char *label, mgn_tensor *tensor) {
    if (!tensor) return NULL;
    mgn_node *node = mgn_input(graph, label, MGN_REAL, mgn_tensor_shape(tensor));
    in->bindings[in->count++] = (mgn_binding){node, tensor};
    return node;
}

/* J^T W J inside the plan where it is small; otherwise W^(1/2) J, which a plan of its own multiplies. */
static mgn_status build_matrix(const mgn_solver *s, const mgn_curvature_nodes *at, mgn_node **matrix) {
    mgn_node *root;
    MGN_TRY(mgn_curvature_root(&s->curvature, at, &root));
    *matrix = s->count <= MOST_FUSED_PARAMETERS ? NULL : root;
    for (int64_t j = 0; j < s->d && s->count <= MOST_FUSED_PARAMETERS; j++) {
        mgn_node *row = mgn_reshape(mgn_slice(root, 1, j, 1), MGN_SHAPE(s->n, s->count));
        mgn_node *part = mgn_matmul_t(row, true, row, false);
        *matrix = *matrix ? mgn_add(*matrix, part) : part;
    }
    return mgn_graph_status(mgn_node_graph(root));
}

/* What a plan computes: outputs[0] the loss, [1] a vector, [2] a matrix. */
static mgn_status build(const mgn_solver *s, mgn_graph *graph, inputs *in, int kind, mgn_node *outputs[3]) {
    in->x = bound_input(graph, in, "x", s->x);
    in->y = bound_input(graph, in, "y", s->y);
    in->flat = bound_input(graph, in, "parameters", s->parameters);
    in->v = kind == PRODUCT ? bound_input(graph, in, "direction", s->direction) : NULL;
    mgn_node *y = mgn_model_forward(s->model, in->flat, in->x);
    mgn_node *loss = mgn_loss(&s->loss, in->x, y, in->y);
    MGN_TRY(mgn_graph_status(graph));
    const mgn_curvature_nodes at = {.x = in->x, .target = in->y, .flat = in->flat, .y = y, .loss = loss};
    if (kind == PRODUCT) return mgn_curvature_product(&s->curvature, &at, in->v, &outputs[1]);
    outputs[0] = loss;
    if (kind == MATRIX) MGN_TRY(build_matrix(s, &at, &outputs[2]));
    return kind == VALUE ? MGN_OK : mgn_grad(loss, &in->flat, 1, &outputs[1]);
}

static mgn_status compile(mgn_solver *s, int kind) {
    mgn_graph *graph;
    MGN_TRY(mgn_graph_create(&graph));
    inputs in = {0};
    mgn_node *outputs[3] = {NULL, NULL, NULL};
    mgn_status status;
    if (kind == SQUARE) {
        mgn_node *a = bound_input(graph, &in, "Jacobians", s->matrix_out);
        a = mgn_reshape(a, MGN_SHAPE(s->n * s->d, s->count));
        outputs[2] = mgn_matmul_t(a, true, a, false);
        status = mgn_graph_status(graph);
    } else {
        status = build(s, graph, &in, kind, outputs);
    }
    for (int i = 0; i < 3; i++) mgn_output(outputs[i]);
    if (status == MGN_OK) status = mgn_plan_compile(graph, s->device, s->real, in.bindings, in.count, &s->plans[kind]);
    if (status == MGN_OK) {
        s->loss_out[kind] = mgn_plan_tensor(s->plans[kind], outputs[0]);
        s->vector_out[kind] = mgn_plan_tensor(s->plans[kind], outputs[1]);
        if (outputs[2]) s->matrix_out = mgn_plan_tensor(s->plans[kind], outputs[2]);
    }
    mgn_graph_destroy(graph);
    return status;
}

/* Plans for the whole curvature, where it is small enough and the model has a form for it. */
static mgn_status compile_matrix(mgn_solver *s, bool *has_matrix) {
    *has_matrix = false;
    if (!mgn_curvature_has_root(&s->curvature, s->n, s->d, s->count)) return MGN_OK;
    mgn_status status = compile(s, MATRIX);
    if (status == MGN_ERR_UNSUPPORTED) return MGN_OK;
    if (status == MGN_OK && s->count > MOST_FUSED_PARAMETERS) status = compile(s, SQUARE);
    *has_matrix = status == MGN_OK;
    return status;
}

/* ---- the objective ---- */

static void add_decay(const mgn_solver *s, const double *p, double *f) {
    *f += 0.5 * s->decay * mgn_dot(p, p, s->count);
}

static mgn_status run(mgn_solver *s, const double *p, int kind) {
    MGN_TRY(mgn_tensor_write(s->parameters, MGN_F64, p));
    return s->shared ? MGN_OK : mgn_plan_run(s->plans[kind], 1);
}

static mgn_status read_both(mgn_solver *s, int kind, double *f, double *gradient) {
    MGN_TRY(mgn_tensor_read(s->loss_out[kind], MGN_F64, f));
    return mgn_tensor_read(s->vector_out[kind], MGN_F64, gradient);
}

static mgn_status find_value(void *context, const double *p, double *f) {
    mgn_solver *s = context;
    MGN_TRY(run(s, p, VALUE));
    MGN_TRY(s->shared ? mgn_shared_value(s->shared, f) : mgn_tensor_read(s->loss_out[VALUE], MGN_F64, f));
    add_decay(s, p, f);
    return MGN_OK;
}

static mgn_status find_gradient(void *context, const double *p, double *f, double *gradient) {
    mgn_solver *s = context;
    MGN_TRY(run(s, p, GRADIENT));
    MGN_TRY(s->shared ? mgn_shared_gradient(s->shared, f, gradient) : read_both(s, GRADIENT, f, gradient));
    add_decay(s, p, f);
    mgn_add_scaled(gradient, s->decay, p, s->count);
    return MGN_OK;
}

static mgn_status find_product(void *context, const double *p, const double *v, double *out) {
    mgn_solver *s = context;
    MGN_TRY(mgn_tensor_write(s->direction, MGN_F64, v));
    MGN_TRY(run(s, p, PRODUCT));
    MGN_TRY(s->shared ? mgn_shared_product(s->shared, out) : mgn_tensor_read(s->vector_out[PRODUCT], MGN_F64, out));
    mgn_add_scaled(out, s->decay, v, s->count);
    return MGN_OK;
}

static mgn_status read_matrix(mgn_solver *s, double *f, double *gradient, double *matrix) {
    MGN_TRY(read_both(s, MATRIX, f, gradient));
    if (s->plans[SQUARE]) MGN_TRY(mgn_plan_run(s->plans[SQUARE], 1));
    return mgn_tensor_read(s->matrix_out, MGN_F64, matrix);
}

static mgn_status find_matrix(void *context, const double *p, double *f, double *gradient, double *matrix) {
    mgn_solver *s = context;
    MGN_TRY(run(s, p, MATRIX));
    MGN_TRY(s->shared ? mgn_shared_matrix(s->shared, f, gradient, matrix) : read_matrix(s, f, gradient, matrix));
    add_decay(s, p, f);
    mgn_add_scaled(gradient, s->decay, p, s->count);
    for (int64_t i = 0; i < s->count; i++) matrix[i * (s->count + 1)] += s->decay;
    return MGN_OK;
}

static bool is_stopping(const void *context) {
    const mgn_solver *s = context;
    return s->comm ? mgn_shared_is_stopping(s->shared) : mgn_interrupted();
}

static mgn_status share(void *context, double *numbers, int64_t count) {
    const mgn_solver *s = context;
    MGN_TRY(mgn_comm_agree(s->comm, MGN_OK));
    return mgn_comm_broadcast(s->comm, numbers, (size_t)count * sizeof *numbers);
}

/* ---- life ---- */

void mgn_solver_destroy(mgn_solver *solver) {
    if (!solver) return;
    for (int kind = 0; kind < PLANS; kind++) mgn_plan_destroy(solver->plans[kind]);
    mgn_tensor *tensors[] = {solver->x, solver->y, solver->parameters, solver->direction};
    for (size_t i = 0; i < MGN_COUNT(tensors); i++) mgn_tensor_destroy(tensors[i]);
    mgn_shared_destroy(solver->shared);
    mgn_pages_destroy(solver->pages);
    mgn_model_destroy(solver->model);
    mgn_free(solver);
}

static mgn_status compile_shared(mgn_solver *s, const mgn_train_config *config, const mgn_cut *cut, bool *has_matrix) {
    const mgn_shared_config shared = {.blocks = {.model = s->model,
                                                 .loss = &s->loss,
                                                 .device = s->device,
                                                 .comm = config->comm,
                                                 .real = s->real,
                                                 .sums = MGN_F64,
                                                 .x = s->x,
                                                 .y = s->y,
                                                 .pages = s->pages,
                                                 .parameters = s->parameters,
                                                 .blocks = cut->blocks},
                                      .curvature = s->curvature,
                                      .direction = s->direction,
                                      .n = s->n,
                                      .seed = config->seed};
    s->comm = config->comm;
    return mgn_shared_create(&shared, s->method->has_products, has_matrix, &s->shared);
}

static mgn_status compile_all(mgn_solver *s, bool *has_matrix) {
    MGN_TRY(compile_matrix(s, has_matrix));
    if (!*has_matrix) MGN_TRY(compile(s, GRADIENT));
    if (s->method->has_products) MGN_TRY(compile(s, VALUE));
    return s->method->has_products && !*has_matrix ? compile(s, PRODUCT) : MGN_OK;
}

static mgn_status bring_rows(mgn_solver *s, const mgn_samples *samples, const mgn_cut *cut) {
    if (!cut->is_paged || cut->blocks == 0) return mgn_upload_samples(s->device, s->real, samples, s->d, &s->x, &s->y);
    const int64_t most = (s->n + cut->blocks - 1) / cut->blocks;
    return mgn_pages_create(s->device, s->real, samples, s->d, 0, most, &s->pages);
}

static mgn_status prepare(mgn_solver *s, const mgn_samples *samples, const mgn_train_config *config,
                          const mgn_cut *cut) {
    bool has_matrix = false;
    MGN_TRY(bring_rows(s, samples, cut));
    MGN_TRY(mgn_tensor_create(s->device, s->real, MGN_SHAPE(s->count), &s->parameters));
    MGN_TRY(mgn_tensor_create(s->device, s->real, MGN_SHAPE(s->count), &s->direction));
    MGN_TRY(cut->blocks > 0 ? compile_shared(s, config, cut, &has_matrix) : compile_all(s, &has_matrix));
    s->objective = (mgn_objective){.count = s->count,
                                   .context = s,
                                   .value = find_value,
                                   .gradient = find_gradient,
                                   .product = find_product,
                                   .matrix = has_matrix ? find_matrix : NULL,
                                   .is_stopping = is_stopping,
                                   .share = s->comm ? share : NULL};
    return MGN_OK;
}

static mgn_status find_method(const mgn_train_config *config, const method **found) {
    *found = NULL;
    for (size_t i = 0; i < MGN_COUNT(methods); i++)
        if (strcmp(config->optimizer.kind, methods[i].label) == 0) *found = &methods[i];
    if (!*found)
        return mgn_fail(MGN_ERR_ARGUMENT, "the optimizer is lbfgs, newton or gauss-newton; '%.15s' was found",
                        config->optimizer.kind);
    if (mgn_loss_needs_samples(config->loss.kind))
        return mgn_fail(
            MGN_ERR_ARGUMENT,
            "the loss %.15s takes other samples of its target in every step, but %s wants the same function in "
            "all of them; adam, adamw and sgd do not",
            config->loss.kind, (*found)->label);
    const bool has_residuals = strcmp(config->loss.kind, "mse") == 0 || strcmp(config->loss.kind, "l1") == 0;
    if ((*found)->is_gauss_newton && !has_residuals)
        return mgn_fail(MGN_ERR_ARGUMENT,
                        "gauss-newton minimises losses of residuals, mse and l1; for %.15s there are newton and lbfgs",
                        config->loss.kind);
    return MGN_OK;
}

mgn_status mgn_solver_create(const mgn_model *model, mgn_device *device, const mgn_samples *samples,
                             const mgn_train_config *config, const mgn_cut *cut, mgn_solver **solver) {
    const method *found;
    const mgn_cut asked = {.blocks = config->blocks};
    MGN_TRY(find_method(config, &found));
    mgn_solver *s = mgn_alloc(1, sizeof *s);
    if (!s) return MGN_ERR_MEMORY;
    s->device = device;
    s->real = config->real;
    s->loss = config->loss;
    s->decay = config->optimizer.weight_decay;
    s->method = found;
    s->n = samples->n;
    s->d = mgn_model_get_config(model)->d;
    s->count = mgn_model_parameter_count(model);
    s->memory = config->optimizer.memory;
    s->tolerance = config->optimizer.tolerance;
    mgn_status status = mgn_model_clone(model, &s->model);
    s->curvature = (mgn_curvature){s->model, &s->loss, found->is_gauss_newton};
    if (status == MGN_OK) status = prepare(s, samples, config, cut ? cut : &asked);
    if (status == MGN_OK)
        *solver = s;
    else
        mgn_solver_destroy(s);
    return status;
}

mgn_status mgn_solver_run(mgn_solver *solver, mgn_descent *descent, double *values) {
    descent->memory = solver->memory;
    descent->tolerance = solver->tolerance;
    descent->is_converged = false;
    return solver->method->minimise(&solver->objective, descent, values);
}

mgn_tensor *mgn_solver_rows(mgn_solver *solver) { return solver->x; }

const mgn_objective *mgn_solver_objective(mgn_solver *solver) { return &solver->objective; }

/* ---- mgn_train ---- */

/* What a training's callback needs to know between iterations. */
typedef struct watch {
    mgn_session session;
    mgn_solver *solver;
    const mgn_cut *cut;
    double *values;    /* the model's */
    mgn_status status; /* of the session, where it ended the run */
} watch;

/* The loss is shown without its decay, as the first-order kinds show it. */
static double loss_of(const watch *w, double f) {
    return f - 0.5 * w->session.config->optimizer.weight_decay * mgn_dot(w->values, w->values, w->solver->count);
}

/* An iteration that was interrupted may have been cut short, and is no part of the checkpoint. */
static bool report(void *context, int64_t iteration, double f, double step) {
    watch *w = context;
    mgn_session *s = &w->session;
    (void)iteration;
    if (is_stopping(w->solver)) return false;
    if (s->held) w->status = mgn_tensor_write(w->solver->parameters, MGN_F64, w->values);
    if (w->status == MGN_OK) w->status = mgn_session_epoch(s, loss_of(w, f), step);
    return w->status == MGN_OK && mgn_session_goes_on(s);
}

static int64_t memory_of(const mgn_solver *s) {
    return s->method->minimise == mgn_descend_lbfgs    ? mgn_lbfgs_memory(s->count, s->memory)
           : s->method->minimise == mgn_descend_newton ? MGN_NEWTON_MEMORY
                                                       : MGN_DAMPED_MEMORY;
}

static mgn_status run_session(watch *w, double *memory, mgn_safetensors *carried) {
    mgn_session *s = &w->session;
    const mgn_train_config *config = s->config;
    mgn_state_add_array(&s->state, "parameters", MGN_F64, w->solver->count, w->values);
    mgn_state_add_array(&s->state, "optimizer.state", MGN_F64, memory_of(w->solver), memory);
    mgn_status status = mgn_session_begin(s, &config->loss, w->solver->parameters);
    if (status == MGN_OK && config->control.checkpoint) status = mgn_cut_store(config, w->cut, &s->file);
    if (status == MGN_OK) status = mgn_session_join(s);
    if (status == MGN_OK) mgn_cut_note(w->cut, config, s->device, w->solver->n);
    if (status == MGN_OK && mgn_session_goes_on(s)) {
        mgn_descent descent = {.iterations = config->epochs,
                               .state = memory,
                               .report = report,
                               .context = w,
                               .done = (int64_t)s->state.point.epoch};
        status = mgn_solver_run(w->solver, &descent, w->values);
        if (w->status != MGN_OK && w->status != MGN_ERR_INTERRUPTED) status = w->status;
        if (status == MGN_ERR_INTERRUPTED && w->status == MGN_OK && !is_stopping(w->solver))
            status = MGN_OK; /* early stop */
        if (descent.done == 0 && status == MGN_OK)
            s->state.point.loss = loss_of(w, descent.f); /* at a minimum already */
    }
    mgn_session_carry(s, status, carried);
    return mgn_session_close(s, mgn_comm_agree(config->comm, status), w->values);
}

mgn_status mgn_train_second_order(mgn_model *model, mgn_device *device, const mgn_samples *samples,
                                  const mgn_train_config *config, const mgn_cut *cut, mgn_safetensors *carried,
                                  mgn_train_result *result) {
    const double start = mgn_now();
    watch w = {.values = mgn_model_values(model)};
    if (config->batch > 0 && config->batch < samples->n)
        return mgn_fail(MGN_ERR_ARGUMENT, "%s takes all %lld rows in every step; a batch of %lld was asked for",
                        config->optimizer.kind, (long long)samples->n, (long long)config->batch);
    MGN_TRY(mgn_solver_create(model, device, samples, config, cut, &w.solver));
    mgn_session_open(&w.session, model, device, samples, config, result);
    w.session.carried = carried;
    w.cut = cut;
    result->compile_seconds += mgn_now() - start;
    const bool is_kept = config->control.checkpoint || config->control.resume || config->comm; /* by one of them */
    double *memory = is_kept ? mgn_alloc((size_t)memory_of(w.solver), sizeof *memory) : NULL;
    const mgn_status status = memory || !is_kept ? run_session(&w, memory, carried) : MGN_ERR_MEMORY;
    mgn_free(memory);
    mgn_solver_destroy(w.solver);
    return status;
}
