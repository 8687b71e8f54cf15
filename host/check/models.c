/* Every kind of model with every kind of loss, from the tables of both: the map and the loss against the oracle, the
 * gradient by parameters and by points against differences of it, and a training run in float32 against the same run in
 * float64 on the CPU.
 *
 * A kind without equations in oracle_model.c fails: that is how a new one comes to be checked. */
#include "check/models.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include <mgn/train.h>

#include "check/oracle_model.h"
#include "core/core.h"
#include "core/random.h"

enum {
    ROWS = 16,
    DIMENSION = 3,
    HIDDEN = 4,
    HIDDEN_ALONE = 8,
    FILTERS = 2,
    LAYERS = 2,
    POINTS = ROWS * DIMENSION,
    STEPS = 50
};

/* Forward, gradient (conditioning of the Jacobian included), training. */
static const double single_tolerance[3] = {64 * 0x1p-23, 1024 * 0x1p-23, 1e-3};
static const double double_tolerance[2] = {1e-11, 1e-8};

/* Where the check runs and what it says. */
typedef struct model_check {
    char label[48];
    mgn_model *model;
    mgn_loss_config loss;
    double mean[DIMENSION], covariance[DIMENSION * DIMENSION];
    mgn_target *from, *to; /* losses over densities: a Gaussian and a mixture */
    double x[POINTS], target[POINTS];
    int64_t parameters;
    double *flat;             /* the parameters */
    mgn_exact *flat_gradient; /* by differences of the oracle */
    mgn_exact x_gradient[POINTS];
    double fault;
} model_check;

/* What a device computes of it. */
typedef struct model_answer {
    double y[POINTS], loss, x_gradient[POINTS], *flat_gradient;
} model_answer;

/* ---- the combinations ----
 * The first kinds meet every loss of single rows. The others meet one that sees the map and one that sees its Jacobian,
 * variants the first of them: the losses themselves have been seen by then, and every combination is a kernel to compile. */

static const struct variant {
    const char *label;
    mgn_model_config config;
} variants[] = {
    {"cgradnet-signed", {.kind = "cgradnet", .layers = LAYERS, .signed_scales = true}},
    {"mgradnet-signed", {.kind = "mgradnet", .layers = LAYERS, .signed_scales = true}},
    {"icgn-deep", {.kind = "icgn", .layers = LAYERS}},
    {"conv-cmgn-stride",
     {.kind = "conv-cmgn",
      .layers = 1,
      .image = {1, 1, 3},
      .kernel = 2,
      .stride = 2,
      .padding = 1,
      .position_biases = true}},
    {"conv-cmgn-bounded",
     {.kind = "conv-cmgn", .layers = LAYERS, .image = {3, 1, 1}, .kernel = 2, .padding = 1, .lipschitz = 0.7}},
    {"cmgn-bounded", {.kind = "cmgn", .layers = LAYERS, .lipschitz = 0.7}},
    {"icnn-bounded", {.kind = "icnn", .layers = LAYERS, .lipschitz = 0.1}},
    {"dicnn-bounded", {.kind = "dicnn", .layers = LAYERS, .lipschitz = 0.1}},
    {"icgn-bounded", {.kind = "icgn", .layers = 1, .lipschitz = 0.1}},
    {"cgradnet-bounded", {.kind = "cgradnet", .layers = LAYERS, .signed_scales = true, .lipschitz = 0.1}},
    {"mgradnet-bounded", {.kind = "mgradnet", .layers = LAYERS, .signed_scales = true, .lipschitz = 0.1}},
};
enum { WITH_EVERY_LOSS = 2, LOSSES_OF_OTHERS = 2 };
static const char *const losses_of_others[LOSSES_OF_OTHERS] = {"mse", "nll"};

/* What is checked: a model, its loss, and what they are called. */
typedef struct combination {
    mgn_model_config model;
    const char *loss;
    char label[48];
} combination;

/* Loss number `index` of those of single rows; NULL past the last. Not the losses between sets of samples: their gradients
 * are those of the limit of their iterations, which differences of what the iterations have reached do not give. */
static const char *loss_of_rows(size_t index) {
    for (size_t i = 0; mgn_loss_kind(i); i++)
        if (!mgn_loss_needs_samples(mgn_loss_kind(i)) && index-- == 0) return mgn_loss_kind(i);
    return NULL;
}

/* Kind and loss number `index`; false past the last, with `index` counted on from there. */
static bool combine_kind(size_t *index, const char **kind, const char **loss) {
    size_t all = 0;
    while (loss_of_rows(all)) all++;
    for (size_t k = 0; (*kind = mgn_model_kind(k)); k++) {
        const size_t losses = k < WITH_EVERY_LOSS ? all : LOSSES_OF_OTHERS;
        if (*index < losses) {
            *loss = k < WITH_EVERY_LOSS ? loss_of_rows(*index) : losses_of_others[*index];
            return true;
        }
        *index -= losses;
    }
    return false;
}

static bool combine(size_t index, combination *c) {
    const char *label;
    *c = (combination){.loss = losses_of_others[0]};
    if (combine_kind(&index, &label, &c->loss)) {
        snprintf(c->model.kind, sizeof c->model.kind, "%s", label);
        c->model.layers = strcmp(label, "icgn") == 0 ? 1 : LAYERS; /* more of them give no gradient */
    } else {
        if (index >= MGN_COUNT(variants)) return false;
        label = variants[index].label;
        c->model = variants[index].config;
        c->loss = losses_of_others[0];
    }
    c->model.d = DIMENSION;
    if (strcmp(label, "conv-cmgn") == 0) {
        c->model.image = (mgn_image_shape){1, DIMENSION, 1};
        c->model.kernel = 2;
        c->model.padding = 1;
    }
    /* A sum of few units without V^T V comes near singular maps, on which log det magnifies every rounding. */
    const bool alone = strstr(c->model.kind, "gradnet") || strcmp(c->model.kind, "icgn") == 0;
    c->model.h = alone && strcmp(c->loss, "nll") == 0 ? HIDDEN_ALONE : HIDDEN;
    if (c->model.kernel) c->model.h = FILTERS;
    c->model.activation = mgn_model_usual_activation(c->model.kind);
    snprintf(c->label, sizeof c->label, "%s/%s", label, c->loss);
    return true;
}

bool mgn_model_check_label(size_t index, char label[48]) {
    combination c;
    if (!combine(index, &c)) return false;
    memcpy(label, c.label, sizeof c.label);
    return true;
}

/* ---- the reference ---- */

static mgn_exact *exact_copy(const double *values, int64_t count, bool round) {
    mgn_exact *copy = mgn_alloc((size_t)count, sizeof *copy);
    for (int64_t i = 0; copy && i < count; i++) copy[i] = round ? (mgn_exact)(float)values[i] : (mgn_exact)values[i];
    return copy;
}

/* Central differences of the sixth order: weights of the values 1, 2 and 3 steps away. */
static const mgn_exact difference_weights[] = {0.75L, -0.15L, 1.0L / 60.0L}, difference_step = 0x1p-13L;

/* The derivative of the oracle's loss by each of `count` numbers of the batch or the parameters, which it moves. */
static void differences(const model_check *m, const mgn_exact *flat, const mgn_oracle_batch *batch, mgn_exact *moved,
                        int64_t count, mgn_exact *gradient) {
    for (int64_t i = 0; i < count; i++) {
        mgn_exact here = moved[i], sum = 0;
        for (int k = 1; k <= 3; k++) {
            moved[i] = here + (mgn_exact)k * difference_step;
            mgn_exact ahead = mgn_oracle_loss(&m->loss, m->model, flat, batch);
            moved[i] = here - (mgn_exact)k * difference_step;
            sum += difference_weights[k - 1] * (ahead - mgn_oracle_loss(&m->loss, m->model, flat, batch)) /
                   difference_step;
        }
        moved[i] = here;
        gradient[i] = sum * (1 + (mgn_exact)m->fault);
    }
}

static mgn_status make_reference(model_check *m) {
    mgn_exact *flat = exact_copy(m->flat, m->parameters, false), *x = exact_copy(m->x, POINTS, false);
    mgn_exact *target = exact_copy(m->target, POINTS, false);
    m->flat_gradient = mgn_alloc((size_t)m->parameters, sizeof *m->flat_gradient);
    bool ok = flat && x && target && m->flat_gradient;
    if (ok) {
        mgn_oracle_batch batch = {ROWS, x, target};
        differences(m, flat, &batch, flat, m->parameters, m->flat_gradient);
        differences(m, flat, &batch, x, POINTS, m->x_gradient);
    }
    mgn_free(flat);
    mgn_free(x);
    mgn_free(target);
    return ok ? MGN_OK : MGN_ERR_MEMORY;
}

/* Points, targets half a unit off a smooth map, a target Gaussian, and small parameters. */
static void draw(model_check *m, uint64_t seed) {
    static const double root[DIMENSION][DIMENSION] = {{1.2, 0, 0}, {0.3, 0.9, 0}, {-0.2, 0.4, 0.7}};
    for (int i = 0; i < POINTS; i++) {
        m->x[i] = mgn_host_normal(seed, 1000, (uint64_t)i);
        m->target[i] = 1.5 * m->x[i] + 0.5 * mgn_host_normal(seed, 1001, (uint64_t)i);
    }
    for (int i = 0; i < DIMENSION; i++) {
        m->mean[i] = 0.5 - 0.25 * i;
        for (int j = 0; j < DIMENSION; j++) {
            m->covariance[i * DIMENSION + j] = 0;
            for (int k = 0; k < DIMENSION; k++) m->covariance[i * DIMENSION + j] += root[i][k] * root[j][k];
        }
    }
    for (int64_t i = 0; i < m->parameters; i++) m->flat[i] *= 0.7;
    m->loss.mean = m->mean;
    m->loss.covariance = m->covariance;
    m->loss.cost_weight = 0.3;
}

/* The Gaussian, and the mixture of it and a wider one that lies elsewhere. */
static mgn_status draw_densities(model_check *m) {
    mgn_mixture mixture = {0};
    MGN_TRY(mgn_target_create_gaussian(DIMENSION, NULL, m->covariance, &m->from));
    MGN_TRY(mgn_mixture_create(2, DIMENSION, &mixture));
    for (int j = 0; j < 2; j++) {
        mixture.weights[j] = j ? 0.25 : 0.75;
        for (int i = 0; i < DIMENSION; i++) mixture.means[j * DIMENSION + i] = m->mean[i] - 2 * j;
        for (int i = 0; i < DIMENSION * DIMENSION; i++)
            mixture.covariances[j * DIMENSION * DIMENSION + i] = (1 + j) * m->covariance[i];
    }
    const mgn_status status = mgn_target_create_mixture(&mixture, &m->to);
    mgn_mixture_free(&mixture);
    m->loss.source = m->from;
    m->loss.target = m->to;
    m->loss.squared = true;
    return status;
}

/* Keeps the kinks of |y - target| out of reach of the differences. */
static mgn_status part_targets(model_check *m) {
    mgn_exact *flat = exact_copy(m->flat, m->parameters, false), *x = exact_copy(m->x, POINTS, false), y[DIMENSION];
    for (int r = 0; flat && x && r < ROWS; r++) {
        mgn_oracle_map(m->model, flat, x + r * DIMENSION, y);
        for (int i = 0; i < DIMENSION; i++) {
            double *target = &m->target[r * DIMENSION + i], found = (double)y[i];
            if (fabs(*target - found) < 0.25) *target = found + (*target < found ? -0.25 : 0.25);
        }
    }
    mgn_status status = flat && x ? MGN_OK : MGN_ERR_MEMORY;
    mgn_free(flat);
    mgn_free(x);
    return status;
}

static void destroy(model_check *m) {
    mgn_free(m->flat_gradient);
    mgn_model_destroy(m->model);
    mgn_target_destroy(m->from);
    mgn_target_destroy(m->to);
}

static mgn_status create(size_t index, const mgn_check_options *options, model_check *m) {
    combination c;
    *m = (model_check){.fault = options->fault};
    if (!combine(index, &c)) return mgn_fail(MGN_ERR_ARGUMENT, "there is no combination %zu of model and loss", index);
    memcpy(m->label, c.label, sizeof c.label);
    snprintf(m->loss.kind, sizeof m->loss.kind, "%s", c.loss);
    if (!mgn_oracle_knows(c.model.kind, c.loss))
        return mgn_fail(MGN_ERR_UNSUPPORTED, "%s has no equations in host/check/oracle_map.c and oracle_model.c",
                        m->label);
    MGN_TRY(mgn_model_create(&c.model, options->seed, &m->model));
    m->parameters = mgn_model_parameter_count(m->model);
    m->flat = mgn_model_values(m->model);
    draw(m, options->seed);
    if (strncmp(c.loss, "mixture", 7) == 0 || strcmp(c.loss, "monge-ampere") == 0) MGN_TRY(draw_densities(m));
    MGN_TRY(part_targets(m));
    return make_reference(m);
}

/* ---- value and gradient on a device ---- */

static mgn_status feed(mgn_plan *plan, const mgn_node *node, const double *values, int64_t count, bool round) {
    mgn_tensor *tensor = mgn_plan_tensor(plan, node);
    if (!tensor || !round) return tensor ? mgn_tensor_write(tensor, MGN_F64, values) : MGN_OK;
    float *rounded = mgn_alloc((size_t)count, sizeof *rounded);
    if (!rounded) return MGN_ERR_MEMORY;
    for (int64_t i = 0; i < count; i++) rounded[i] = (float)values[i];
    mgn_status status = mgn_tensor_write(tensor, MGN_F32, rounded);
    mgn_free(rounded);
    return status;
}

static mgn_status evaluate_plan(const model_check *m, mgn_plan *plan, mgn_node *const in[3], mgn_node *const out[4],
                                bool round, model_answer *answer) {
    MGN_TRY(feed(plan, in[0], m->flat, m->parameters, round));
    MGN_TRY(feed(plan, in[1], m->x, POINTS, round));
    MGN_TRY(feed(plan, in[2], m->target, POINTS, round));
    MGN_TRY(mgn_plan_run(plan, 1));
    MGN_TRY(mgn_tensor_read(mgn_plan_tensor(plan, out[0]), MGN_F64, answer->y));
    MGN_TRY(mgn_tensor_read(mgn_plan_tensor(plan, out[1]), MGN_F64, &answer->loss));
    MGN_TRY(mgn_tensor_read(mgn_plan_tensor(plan, out[2]), MGN_F64, answer->flat_gradient));
    return mgn_tensor_read(mgn_plan_tensor(plan, out[3]), MGN_F64, answer->x_gradient);
}

static mgn_status evaluate_graph(const model_check *m, mgn_graph *graph, mgn_device *device, mgn_dtype dtype,
                                 bool round, model_answer *answer) {
    mgn_shape points = MGN_SHAPE(ROWS, DIMENSION);
    mgn_node *in[3] = {mgn_input(graph, "parameters", MGN_REAL, MGN_SHAPE(m->parameters)),
                       mgn_input(graph, "x", MGN_REAL, points), mgn_input(graph, "target", MGN_REAL, points)};
    mgn_node *y = mgn_model_forward(m->model, in[0], in[1]);
    mgn_node *out[4] = {y, mgn_loss(&m->loss, in[1], y, in[2]), NULL, NULL};
    MGN_TRY(mgn_graph_status(graph));
    MGN_TRY(mgn_grad(out[1], in, 2, out + 2));
    for (int i = 0; i < 4; i++) mgn_output(out[i]);
    mgn_plan *plan = NULL;
    MGN_TRY(mgn_plan_compile(graph, device, dtype, NULL, 0, &plan));
    mgn_status status = evaluate_plan(m, plan, in, out, round, answer);
    mgn_plan_destroy(plan);
    return status;
}

static mgn_status evaluate(const model_check *m, mgn_device *device, mgn_dtype dtype, bool round,
                           model_answer *answer) {
    mgn_graph *graph = NULL;
    answer->flat_gradient = mgn_alloc((size_t)m->parameters, sizeof *answer->flat_gradient);
    if (!answer->flat_gradient) return MGN_ERR_MEMORY;
    MGN_TRY(mgn_graph_create(&graph));
    mgn_status status = evaluate_graph(m, graph, device, dtype, round, answer);
    mgn_graph_destroy(graph);
    return status;
}

static mgn_status judge_forward(const model_check *m, const model_answer *answer, mgn_dtype dtype, mgn_worst *worst) {
    bool round = dtype == MGN_F32;
    double allowed = round ? single_tolerance[0] : double_tolerance[0];
    mgn_exact *flat = exact_copy(m->flat, m->parameters, round), *x = exact_copy(m->x, POINTS, round);
    mgn_exact *target = exact_copy(m->target, POINTS, round), y[POINTS];
    bool ok = flat && x && target;
    if (ok) {
        for (int r = 0; r < ROWS; r++) mgn_oracle_map(m->model, flat, x + r * DIMENSION, y + r * DIMENSION);
        for (int i = 0; i < POINTS; i++) y[i] *= 1 + (mgn_exact)m->fault;
        mgn_judge_tensor(worst, dtype, "g(x)", answer->y, y, POINTS, 4, allowed);
        mgn_exact loss = mgn_oracle_loss(&m->loss, m->model, flat, &(mgn_oracle_batch){ROWS, x, target});
        loss *= 1 + (mgn_exact)m->fault;
        mgn_judge_tensor(worst, dtype, "the loss", &answer->loss, &loss, 1, 4, allowed);
    }
    mgn_free(flat);
    mgn_free(x);
    mgn_free(target);
    return ok ? MGN_OK : MGN_ERR_MEMORY;
}

static mgn_status judge_gradient(const model_check *m, const model_answer *answer, const model_answer *reference,
                                 mgn_dtype dtype, mgn_worst *worst) {
    bool single = dtype == MGN_F32;
    double allowed = single ? single_tolerance[1] : double_tolerance[1];
    const mgn_exact spoil = 1 + (mgn_exact)m->fault;
    mgn_exact *flat = mgn_alloc((size_t)m->parameters, sizeof *flat), x[POINTS];
    if (!flat) return MGN_ERR_MEMORY;
    for (int64_t i = 0; i < m->parameters; i++)
        flat[i] = single ? (mgn_exact)reference->flat_gradient[i] * spoil : m->flat_gradient[i];
    for (int i = 0; i < POINTS; i++) x[i] = single ? (mgn_exact)reference->x_gradient[i] * spoil : m->x_gradient[i];
    mgn_judge_tensor(worst, dtype, "the gradient by parameters", answer->flat_gradient, flat, m->parameters, 1,
                     allowed);
    mgn_judge_tensor(worst, dtype, "the gradient by points", answer->x_gradient, x, POINTS, 1, allowed);
    mgn_free(flat);
    return MGN_OK;
}

/* ---- Jacobians: their values, and what the theory promises ---- */

/* The derivative of output i by coordinate j of each point, row-major, by differences of the oracle. */
static void jacobian_by_differences(const model_check *m, const mgn_exact *flat, const mgn_exact *x,
                                    mgn_exact *jacobian) {
    for (int r = 0; r < ROWS; r++)
        for (int j = 0; j < DIMENSION; j++) {
            mgn_exact point[DIMENSION], ahead[DIMENSION], behind[DIMENSION], sum[DIMENSION] = {0};
            memcpy(point, x + r * DIMENSION, sizeof point);
            for (int k = 1; k <= 3; k++) {
                point[j] = x[r * DIMENSION + j] + (mgn_exact)k * difference_step;
                mgn_oracle_map(m->model, flat, point, ahead);
                point[j] = x[r * DIMENSION + j] - (mgn_exact)k * difference_step;
                mgn_oracle_map(m->model, flat, point, behind);
                for (int i = 0; i < DIMENSION; i++)
                    sum[i] += difference_weights[k - 1] * (ahead[i] - behind[i]) / difference_step;
            }
            for (int i = 0; i < DIMENSION; i++)
                jacobian[(r * DIMENSION + i) * DIMENSION + j] = sum[i] * (1 + (mgn_exact)m->fault);
        }
}

static mgn_status judge_jacobian_values(const model_check *m, mgn_map *map, const float *points, mgn_dtype dtype,
                                        mgn_worst *worst) {
    double found[POINTS * DIMENSION];
    mgn_exact expected[POINTS * DIMENSION];
    MGN_TRY(mgn_map_jacobian(map, points, ROWS, found));
    mgn_exact *flat = exact_copy(m->flat, m->parameters, dtype == MGN_F32), *x = exact_copy(m->x, POINTS, true);
    const mgn_status status = flat && x ? MGN_OK : MGN_ERR_MEMORY;
    if (status == MGN_OK) {
        jacobian_by_differences(m, flat, x, expected);
        mgn_judge_tensor(worst, dtype, "the Jacobian", found, expected, POINTS * DIMENSION, 1,
                         dtype == MGN_F32 ? single_tolerance[1] : double_tolerance[1]);
    }
    mgn_free(flat);
    mgn_free(x);
    return status;
}

static mgn_status judge_jacobian(const model_check *m, mgn_device *device, mgn_dtype dtype, mgn_worst *worst) {
    float x[POINTS];
    for (int i = 0; i < POINTS; i++) x[i] = (float)m->x[i];
    mgn_map *map = NULL;
    mgn_jacobian_stats stats;
    MGN_TRY(mgn_map_create(m->model, device, dtype, &map));
    mgn_status status = mgn_map_jacobian_stats(map, x, ROWS, &stats);
    if (status == MGN_OK) status = judge_jacobian_values(m, map, x, dtype, worst);
    mgn_map_destroy(map);
    if (status != MGN_OK) return status;
    const double bound = mgn_model_get_config(m->model)->lipschitz, allowed = 256 * mgn_judge_unit(dtype);
    const mgn_exact spoil = (mgn_exact)m->fault;
    if (mgn_model_is_gradient(m->model))
        mgn_judge_element(worst, dtype, "the Jacobian's asymmetry", 0, stats.asymmetry, spoil, 1, allowed);
    if (mgn_model_is_monotone(m->model))
        mgn_judge_element(worst, dtype, "the negative part of the Jacobian's eigenvalues", stats.smallest_row,
                          fmin(stats.smallest, 0) / stats.largest, spoil, 1, allowed);
    if (bound > 0)
        mgn_judge_element(worst, dtype, "the Jacobian's norm beyond the bound", 0,
                          fmax(fmax(stats.largest, -stats.smallest) / bound - 1, 0), spoil, 1, allowed);
    return MGN_OK;
}

/* ---- training ---- */

typedef struct model_reference {
    model_answer rounded; /* the CPU in double, of numbers rounded to float */
    mgn_model *trained;
    double loss;
} model_reference;

/* The parameters after some epochs of batches of a quarter of the rows; the caller destroys `trained`. Epsilon is large:
 * with the usual one a gradient that is nearly zero decides by its rounding alone which way a whole step goes. */
static mgn_status train(const model_check *m, mgn_device *device, mgn_dtype dtype, mgn_model **trained, double *loss) {
    float x[POINTS], target[POINTS];
    for (int i = 0; i < POINTS; i++) {
        x[i] = (float)m->x[i];
        target[i] = (float)m->target[i];
    }
    mgn_samples samples = {x, mgn_loss_needs_pairs(m->loss.kind) ? target : NULL, ROWS};
    mgn_train_config config = {.loss = m->loss,
                               .optimizer = {.kind = "adam", .lr = 0.01, .epsilon = 1e-3},
                               .batch = ROWS / 2,
                               .epochs = STEPS / 2,
                               .seed = 17,
                               .real = dtype};
    mgn_train_result result;
    MGN_TRY(mgn_model_clone(m->model, trained));
    MGN_TRY(mgn_train(*trained, device, &samples, &config, &result));
    *loss = result.loss;
    return result.steps == STEPS ? MGN_OK
                                 : mgn_fail(MGN_ERR_NUMERIC, "%lld training steps were made, expected %d",
                                            (long long)result.steps, STEPS);
}

static void judge_training(const model_check *m, mgn_model *trained, double loss, const model_reference *reference,
                           mgn_worst *worst) {
    const mgn_exact spoil = 1 + 10 * (mgn_exact)m->fault; /* training is held to less */
    for (int64_t i = 0; i < m->parameters; i++)
        mgn_judge_element(worst, MGN_F32, "parameters after training", i, mgn_model_values(trained)[i],
                          (mgn_exact)mgn_model_values(reference->trained)[i] * spoil, 1, single_tolerance[2]);
    mgn_judge_element(worst, MGN_F32, "the loss after training", 0, loss, (mgn_exact)reference->loss * spoil,
                      fmax(1, fabs(reference->loss)), single_tolerance[2]);
}

/* ---- one device in one precision ---- */

static mgn_status check_on(const model_check *m, const model_reference *reference, mgn_device *device, mgn_dtype dtype,
                           mgn_worst worst[4]) {
    model_answer answer = {.flat_gradient = NULL};
    mgn_model *trained = NULL;
    double loss = 0;
    mgn_status status = evaluate(m, device, dtype, dtype == MGN_F32, &answer);
    if (status == MGN_OK) status = judge_forward(m, &answer, dtype, &worst[0]);
    if (status == MGN_OK) status = judge_gradient(m, &answer, &reference->rounded, dtype, &worst[1]);
    if (status == MGN_OK) status = judge_jacobian(m, device, dtype, &worst[3]);
    mgn_free(answer.flat_gradient);
    if (status != MGN_OK || dtype == MGN_F64) return status; /* training is done in float32 */
    status = train(m, device, dtype, &trained, &loss);
    if (status == MGN_OK) judge_training(m, trained, loss, reference, &worst[2]);
    mgn_model_destroy(trained);
    return status;
}

static mgn_status report_on(const model_check *m, const model_reference *reference, mgn_device *device,
                            mgn_check_sink *sink) {
    const mgn_device_info *info = mgn_device_get_info(device);
    sink->device = info->spec;
    for (int wide = 0; wide <= (info->has_f64 ? 1 : 0); wide++) {
        mgn_dtype dtype = wide ? MGN_F64 : MGN_F32;
        mgn_worst worst[4] = {{0}}, broken = {0};
        sink->dtype = mgn_dtype_name(dtype);
        mgn_status status = check_on(m, reference, device, dtype, worst);
        if (status == MGN_ERR_MEMORY) return status;
        mgn_sink_result(sink, "forward", &worst[0]);
        mgn_sink_result(sink, "vjp", &worst[1]);
        mgn_sink_result(sink, "training", &worst[2]);
        mgn_sink_result(sink, "jacobian", &worst[3]);
        if (status != MGN_OK) mgn_judge_fact(&broken, false, mgn_last_error());
        mgn_sink_result(sink, "build", &broken);
    }
    return MGN_OK;
}

mgn_status mgn_model_check_run(size_t index, const mgn_check_options *options, mgn_device *cpu,
                               mgn_device *const *devices, size_t count, mgn_check_sink *sink) {
    model_check m;
    model_reference reference = {.trained = NULL};
    mgn_status status = create(index, options, &m);
    sink->op = m.label;
    if (status == MGN_OK) status = evaluate(&m, cpu, MGN_F64, true, &reference.rounded);
    if (status == MGN_OK) status = train(&m, cpu, MGN_F64, &reference.trained, &reference.loss);
    if (status != MGN_OK && status != MGN_ERR_MEMORY) {
        mgn_worst broken = {0};
        mgn_judge_fact(&broken, false, mgn_last_error());
        sink->device = mgn_device_get_info(cpu)->spec;
        sink->dtype = mgn_dtype_name(MGN_F64);
        mgn_sink_result(sink, "build", &broken);
        status = MGN_OK;
        count = 0;
    }
    for (size_t i = 0; status == MGN_OK && i < count; i++) status = report_on(&m, &reference, devices[i], sink);
    mgn_free(reference.rounded.flat_gradient);
    mgn_model_destroy(reference.trained);
    destroy(&m);
    return status;
}
