/* Row programs (backend/row_program.h): graphs that the fuser turns into one program each, against the same graphs run
 * as single calls on the CPU. On every device and in both precisions the numbers agree within rounding, several runs in
 * one go are the same bits as one by one, and running allocates nothing. A graph that is not fused fails: a test of
 * fusion that quietly runs calls tests nothing. */
#include "harness.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <mgn/mgn.h>

#include "simulator.h"

enum { MOST_INPUTS = 16, MOST_WATCHED = 24, TIMES = 3 };

/* ---- a graph with the data of its inputs, and the values to look at after a run ---- */

typedef struct scene_input {
    mgn_node *node;
    double *values;
    uint32_t *words; /* instead of values */
} scene_input;

typedef struct scene {
    mgn_graph *graph;
    int64_t rows;
    mgn_test_random random;
    scene_input inputs[MOST_INPUTS];
    int input_count;
    mgn_node *watched[MOST_WATCHED];
    int watched_count;
} scene;

static int64_t count_of(const mgn_node *node) { return mgn_shape_count(mgn_node_shape(node)); }

static void *checked(void *block) {
    ck_assert_ptr_nonnull(block);
    return block;
}

static scene_input *add_input(scene *s, mgn_kind kind, mgn_shape shape) {
    ck_assert_int_lt(s->input_count, MOST_INPUTS);
    scene_input *input = &s->inputs[s->input_count++];
    char label[24];
    snprintf(label, sizeof label, "input %d", s->input_count);
    *input = (scene_input){.node = mgn_input(s->graph, label, kind, shape)};
    return input;
}

/* Reals between low and high. */
static mgn_node *data(scene *s, mgn_shape shape, double low, double high) {
    scene_input *input = add_input(s, MGN_REAL, shape);
    const int64_t count = mgn_shape_count(shape);
    input->values = checked(malloc((size_t)count * sizeof *input->values));
    for (int64_t i = 0; i < count; i++) input->values[i] = (float)mgn_test_uniform(&s->random, low, high);
    return input->node;
}

static mgn_node *scalar(scene *s, double value) { return data(s, MGN_SCALAR, value, value); }

/* Words below `bound`; 0: all bits random. */
static mgn_node *words(scene *s, int64_t count, uint32_t bound) {
    scene_input *input = add_input(s, MGN_INDEX, MGN_SHAPE(count));
    input->words = checked(malloc((size_t)count * sizeof *input->words));
    for (int64_t i = 0; i < count; i++) {
        input->words[i] = (uint32_t)mgn_test_bits(&s->random);
        if (bound) input->words[i] %= bound;
    }
    return input->node;
}

/* A random state near the beginning. */
static mgn_node *random_state(scene *s) {
    mgn_node *state = words(s, 4, 0);
    s->inputs[s->input_count - 1].words[2] %= 100;
    return state;
}

/* An input whose value after the runs is looked at. */
static void keep(scene *s, mgn_node *node) {
    ck_assert_int_lt(s->watched_count, MOST_WATCHED);
    s->watched[s->watched_count++] = node;
}

static void watch(scene *s, mgn_node *node) {
    mgn_output(node);
    keep(s, node);
}

static void assign(scene *s, mgn_node *target, mgn_node *value) {
    mgn_assign(target, value);
    keep(s, target);
}

static void free_scene(scene *s) {
    for (int i = 0; i < s->input_count; i++) {
        free(s->inputs[i].values);
        free(s->inputs[i].words);
    }
    mgn_graph_destroy(s->graph);
}

/* ---- graphs: training steps ---- */

static mgn_model *model_of(const char *kind, int64_t d, int64_t h, int64_t layers) {
    mgn_model_config config = {.d = d, .h = h, .layers = layers, .activation = mgn_model_usual_activation(kind)};
    snprintf(config.kind, sizeof config.kind, "%s", kind);
    mgn_model *model = NULL;
    MGN_ASSERT_OK(mgn_model_create(&config, 7, &model));
    return model;
}

/* The parameters of a model, small enough for its activations not to saturate. */
static mgn_node *parameters_of(scene *s, const mgn_model *model) {
    return data(s, MGN_SHAPE(mgn_model_parameter_count(model)), -0.8, 0.8);
}

typedef struct step_options {
    const char *model, *loss, *optimizer;
    int64_t d, h, layers;
    bool shuffled;
    double clip_norm, decay, momentum;
} step_options;

static void update(scene *s, const step_options *o, mgn_node *parameters, mgn_node *gradient) {
    mgn_optimizer_config config = {
        .lr = 0.01, .epsilon = 0.01, .clip_norm = o->clip_norm, .weight_decay = o->decay, .momentum = o->momentum};
    snprintf(config.kind, sizeof config.kind, "%s", o->optimizer);
    const int64_t count = count_of(parameters);
    mgn_node *vectors[] = {data(s, MGN_SHAPE(count), 0.01, 0.1), data(s, MGN_SHAPE(count), 0.01, 0.1)};
    mgn_node *scalars = data(s, MGN_SHAPE(2), 0.1, 0.5);
    mgn_optimizer_update(&config, parameters, gradient, scalar(s, 0.01), vectors, scalars);
    keep(s, parameters);
    keep(s, vectors[0]);
}

static void build_step(scene *s, const step_options *o) {
    mgn_model *model = model_of(o->model, o->d, o->h, o->layers);
    const int64_t population = o->shuffled ? 3 * s->rows + 5 : s->rows;
    mgn_node *x = data(s, MGN_SHAPE(population, o->d), -1, 1), *y = NULL, *parameters = parameters_of(s, model),
             *gradient = NULL;
    if (mgn_loss_needs_pairs(o->loss)) y = data(s, MGN_SHAPE(population, o->d), -1, 1);
    if (o->shuffled) {
        mgn_node *state = random_state(s), *index = mgn_shuffle(state, population, s->rows, 4, s->rows);
        x = mgn_gather_rows(x, index);
        if (y) y = mgn_gather_rows(y, index);
        assign(s, state, mgn_advance(state, 1));
    }
    mgn_loss_config config = {.cost_weight = 0.1};
    snprintf(config.kind, sizeof config.kind, "%s", o->loss);
    mgn_node *loss = mgn_loss(&config, x, mgn_model_forward(model, parameters, x), y);
    MGN_ASSERT_OK(mgn_graph_status(s->graph));
    MGN_ASSERT_OK(mgn_grad(loss, &parameters, 1, &gradient));
    update(s, o, parameters, gradient);
    mgn_node *sum = scalar(s, 0);
    assign(s, sum, mgn_add(sum, loss));
    mgn_model_destroy(model);
}

static void cmgn_l1(scene *s) {
    build_step(s, &(step_options){"cmgn", "l1", "adam", .d = 2, .h = 2, .layers = 2, .shuffled = true});
}

static void cmgn_nll(scene *s) {
    build_step(s,
               &(step_options){"cmgn", "nll", "adamw", .d = 2, .h = 3, .layers = 1, .shuffled = true, .decay = 0.01});
}

static void mmgn_kl(scene *s) {
    build_step(s, &(step_options){"mmgn", "kl", "sgd", .d = 3, .h = 2, .layers = 2, .momentum = 0.5});
}

static void mmgn_mse_clipped(scene *s) {
    build_step(
        s, &(step_options){"mmgn", "mse", "adam", .d = 1, .h = 2, .layers = 2, .shuffled = true, .clip_norm = 0.05});
}

/* ---- graphs: maps ---- */

static void apply(scene *s) {
    mgn_model *model = model_of("cmgn", 3, 2, 1);
    mgn_node *x = data(s, MGN_SHAPE(s->rows, 3), -1, 1);
    watch(s, mgn_model_forward(model, parameters_of(s, model), x));
    mgn_model_destroy(model);
}

static void jacobian(scene *s) {
    mgn_model *model = model_of("mmgn", 2, 3, 1);
    mgn_node *x = data(s, MGN_SHAPE(s->rows, 2), -1, 1), *y = mgn_model_forward(model, parameters_of(s, model), x);
    watch(s, mgn_row_jacobian(y, x));
    watch(s, mgn_model_potential(model, s->inputs[1].node, x));
    mgn_model_destroy(model);
}

static void bytes(scene *s) {
    const int64_t rows = s->rows / 4 * 4 + 4;
    mgn_node *pixels = mgn_from_unorm8(words(s, rows * 3 / 4, 0), MGN_SHAPE(rows, 3));
    mgn_node *grey = mgn_from_unorm8(words(s, rows / 4, 0), MGN_SHAPE(rows, 1));
    mgn_node *pairs = mgn_mul(mgn_slice(pixels, 1, 0, 2), grey);
    watch(s, mgn_to_unorm8(mgn_sub(mgn_scale(pixels, 1.25), data(s, MGN_SHAPE(3), 0, 0.2))));
    watch(s, mgn_to_unorm8(pairs));
    watch(s, mgn_sum(pixels, 1));
}

/* ---- graphs: one family of ops each ---- */

typedef mgn_node *unary(mgn_node *a);
typedef mgn_node *binary(mgn_node *a, mgn_node *b);
static unary *const unaries[] = {mgn_neg, mgn_square, mgn_sqrt, mgn_abs,      mgn_sign,     mgn_exp,
                                 mgn_log, mgn_log1p,  mgn_tanh, mgn_logistic, mgn_softplus, mgn_logcosh};
static binary *const binaries[] = {mgn_add,     mgn_sub,     mgn_mul,     mgn_div,
                                   mgn_maximum, mgn_minimum, mgn_greater, mgn_equal};
enum { UNARIES = sizeof unaries / sizeof *unaries, BINARIES = sizeof binaries / sizeof *binaries };

/* All elementwise ops of a and b, side by side along the last axis. */
static mgn_node *every_op(mgn_node *a, mgn_node *b, int axis) {
    mgn_node *parts[UNARIES + BINARIES + 1];
    for (int i = 0; i < UNARIES; i++) parts[i] = unaries[i](a);
    for (int i = 0; i < BINARIES; i++) parts[UNARIES + i] = binaries[i](a, b);
    parts[UNARIES + BINARIES] = mgn_select(mgn_greater(a, b), mgn_sub(a, b), mgn_scale(b, 2));
    return mgn_concat(parts, UNARIES + BINARIES + 1, axis);
}

static void elementwise(scene *s) {
    mgn_node *a = data(s, MGN_SHAPE(s->rows, 2), 0.3, 2), *b = data(s, MGN_SHAPE(s->rows, 1), 0.3, 2),
             *c = data(s, MGN_SHAPE(2), 0.3, 2);
    watch(s, mgn_concat((mgn_node *[]){every_op(a, b, 1), every_op(b, c, 1),
                                       every_op(mgn_broadcast(c, MGN_SHAPE(s->rows, 2)), a, 1)},
                        3, 1));
}

/* Shared values alone, short and long; the rows only give them something to depend on. */
static void shared_elementwise(scene *s) {
    mgn_node *x = data(s, MGN_SHAPE(s->rows, 3), 0.3, 2), *mean = mgn_mean(x, 1);
    mgn_node *a = data(s, MGN_SHAPE(3), 0.3, 2), *b = data(s, MGN_SHAPE(211), 0.3, 2),
             *c = data(s, MGN_SHAPE(19), 0.3, 2);
    mgn_node *one = mgn_slice(mean, 0, 1, 1), *value = every_op(mean, a, 0);
    watch(s, value);
    watch(s, every_op(b, one, 0));
    watch(s, every_op(one, c, 0));
    watch(s, mgn_mul(mgn_slice(b, 0, 5, 190), mgn_slice(b, 0, 20, 190)));
    watch(s, mgn_sum(mgn_square(value), -1));
}

static void layout(scene *s) {
    mgn_node *x = data(s, MGN_SHAPE(s->rows, 2, 3), -2, 2), *y = data(s, MGN_SHAPE(s->rows, 3), -2, 2),
             *z = data(s, MGN_SHAPE(3, 2), -2, 2);
    mgn_node *t = mgn_permute(x, (int[]){0, 2, 1});
    mgn_node *slices[] = {mgn_slice(y, 1, 2, 1), mgn_slice(y, 1, 0, 2), mgn_slice(t, 2, 1, 1)};
    slices[2] = mgn_reshape(slices[2], MGN_SHAPE(s->rows, 3));
    mgn_node *joined = mgn_concat(slices, 3, 1);
    watch(s, mgn_mul(t, z));
    watch(s, mgn_neg(joined));
    watch(s, joined);
    watch(s, mgn_add(mgn_broadcast(mgn_reshape(y, MGN_SHAPE(s->rows, 3, 1)), MGN_SHAPE(s->rows, 3, 2)), t));
    watch(s, mgn_pad(mgn_square(y), 1, 2, 6));
    watch(s, mgn_stack((mgn_node *[]){y, mgn_slice(joined, 1, 3, 3)}, 2, 1));
    watch(s, mgn_sum(mgn_mul(mgn_permute(z, (int[]){1, 0}), x), 1));
    watch(s, mgn_matmul(x, t));
    watch(s, mgn_matmul(mgn_reshape(x, MGN_SHAPE(s->rows, 6)), mgn_concat((mgn_node *[]){z, mgn_neg(z)}, 2, 0)));
    watch(s, mgn_matmul_t(y, false, mgn_transpose(z), true));
}

static void reductions(scene *s) {
    mgn_node *x = data(s, MGN_SHAPE(s->rows, 3, 4), -2, 2);
    watch(s, mgn_max(x, 2));
    watch(s, mgn_max(x, 4));
    watch(s, mgn_sum(x, 2));
    watch(s, mgn_sum(x, 6));
    watch(s, mgn_logsumexp(mgn_scale(x, 20), 4));
    watch(s, mgn_mean(x, 1));
    watch(s, mgn_sum(x, 3));
    watch(s, mgn_mean(mgn_max(x, 6), -1));
}

/* (rows, d, d) and (d, d) matrices A A^T + I / 2. */
static mgn_node *positive(mgn_node *a, int64_t d) {
    return mgn_add(mgn_matmul_t(a, false, a, true), mgn_scale(mgn_identity(mgn_node_graph(a), d), 0.5));
}

static void matrices(scene *s, int64_t d) {
    mgn_node *a = positive(data(s, MGN_SHAPE(s->rows, d, d), -1, 1), d), *b = data(s, MGN_SHAPE(s->rows, d, 2), -1, 1);
    watch(s, mgn_spd_logdet(a));
    watch(s, mgn_spd_inverse(a));
    watch(s, mgn_spd_solve(a, b));
    mgn_node *mean = mgn_mean(a, 1);
    watch(s, mgn_spd_logdet(mean));
    watch(s, mgn_spd_inverse(mean));
    watch(s, mgn_matmul(mean, mgn_matmul_t(mean, true, mgn_mean(b, 1), false)));
    mgn_node *bad = mgn_sub(a, mgn_scale(mgn_identity(s->graph, d), 100));
    watch(s, mgn_spd_logdet(bad)); /* NaN */
}

static void matrices_1(scene *s) { matrices(s, 1); }
static void matrices_2(scene *s) { matrices(s, 2); }
static void matrices_3(scene *s) { matrices(s, 3); }
static void matrices_5(scene *s) { matrices(s, 5); }

static void random_rows(scene *s) {
    mgn_node *state = random_state(s), *other = random_state(s);
    mgn_node *z[] = {mgn_normal(state, MGN_SHAPE(s->rows, 1), 1), mgn_normal(state, MGN_SHAPE(s->rows, 2), 2),
                     mgn_normal(state, MGN_SHAPE(s->rows, 5), 3), mgn_uniform(other, MGN_SHAPE(s->rows, 3), 4),
                     mgn_uniform(state, MGN_SHAPE(s->rows, 4), 5)};
    watch(s, mgn_concat(z, 5, 1));
    mgn_node *shifted = mgn_sub(z[2], mgn_mean(z[2], 1));
    watch(s, mgn_mean(mgn_square(shifted), 1)); /* numbers that two sections need */
    assign(s, state, mgn_advance(state, 3));
}

/* Rows by index, some out of range; a shuffle whose state does not move, one that moves by 2, and one that is swapped. */
static void indices(scene *s) {
    const int64_t population = s->rows + 3;
    mgn_node *source = data(s, MGN_SHAPE(population, 3), -1, 1), *wide = data(s, MGN_SHAPE(population, 5), -1, 1);
    mgn_node *index = words(s, s->rows, (uint32_t)population + 2), *still = random_state(s), *moving = random_state(s);
    mgn_node *left = random_state(s), *right = random_state(s);
    mgn_node *parts[] = {mgn_gather_rows(wide, index),
                         mgn_gather_rows(source, mgn_shuffle(still, population, s->rows, 2, 1)),
                         mgn_gather_rows(wide, mgn_shuffle(moving, population, s->rows, 3, s->rows)),
                         mgn_gather_rows(source, mgn_shuffle(left, population, s->rows, 5, s->rows))};
    watch(s, mgn_concat(parts, 4, 1));
    watch(s, mgn_mean(parts[2], 1));
    assign(s, moving, mgn_advance(moving, 2));
    assign(s, left, mgn_advance(right, 1));
    assign(s, right, mgn_advance(left, 0));
}

/* Sums that depend on sums: mean, variance, skewness of what was made with the one before, and row outputs on the way. */
static void levels(scene *s) {
    mgn_node *x = data(s, MGN_SHAPE(s->rows, 2), -1, 2);
    mgn_node *mean = mgn_mean(x, 1), *centred = mgn_sub(x, mean), *variance = mgn_mean(mgn_square(centred), 1);
    mgn_node *scaled = mgn_div(centred, mgn_sqrt(mgn_shift(variance, 0.1)));
    mgn_node *covariance = mgn_matmul_t(scaled, true, scaled, false);
    mgn_node *product = mgn_matmul(scaled, mgn_scale(covariance, 1 / (double)s->rows));
    watch(s, scaled);
    watch(s, mgn_mean(mgn_mul(product, mgn_square(scaled)), 1));
    watch(s, product);
    watch(s, mean);
    watch(s, mgn_sum(mgn_greater(x, mgn_constant(s->graph, 0)), -1));
    mgn_node *memory = data(s, MGN_SHAPE(2), 0, 0);
    assign(s, memory, mgn_add(mgn_scale(memory, 0.5), variance));
}

/* Values that change places, short and long, and outputs that show inputs as they were before. */
static void carries(scene *s) {
    mgn_node *x = data(s, MGN_SHAPE(s->rows, 1), -1, 1), *mean = mgn_mean(x, 1);
    mgn_node *a = data(s, MGN_SHAPE(3), -1, 1), *b = data(s, MGN_SHAPE(3), -1, 1), *c = data(s, MGN_SHAPE(3), -1, 1);
    mgn_node *long_a = data(s, MGN_SHAPE(300), -1, 1), *long_b = data(s, MGN_SHAPE(300), -1, 1),
             *still = data(s, MGN_SHAPE(2, 2), -1, 1);
    watch(s, mgn_reshape(a, MGN_SHAPE(3, 1)));
    watch(s, mgn_slice(long_a, 0, 290, 7));
    watch(s, mgn_transpose(still));
    assign(s, a, b);
    assign(s, b, mgn_concat((mgn_node *[]){mgn_slice(c, 0, 1, 2), mgn_slice(a, 0, 0, 1)}, 2, 0));
    assign(s, c, mgn_add(c, mean));
    assign(s, long_a, mgn_scale(long_b, 0.5));
    assign(s, long_b, long_a);
    assign(s, still, still);
}

/* Long vectors that nobody else touches on their way, and a constant that is assigned. */
static void straight_carries(scene *s) {
    mgn_node *x = data(s, MGN_SHAPE(s->rows, 1), -1, 1), *mean = mgn_mean(x, 1);
    mgn_node *a = data(s, MGN_SHAPE(300), -1, 1), *b = data(s, MGN_SHAPE(40), -1, 1), *c = data(s, MGN_SHAPE(5), -1, 1);
    assign(s, a, mgn_mul(a, mgn_shift(mean, 1)));
    assign(s, b, mgn_sub(b, mean));
    assign(s, c, mgn_broadcast(mgn_constant(s->graph, 0.25), MGN_SHAPE(5)));
    watch(s, mgn_constant(s->graph, 3));
}

/* Where a case runs besides as one kernel on the OpenCL device, each of which takes seconds to compile: as several kernels
 * (many rows), in float64, in the other shape of the kernels, there as several, and on the simulator. */
enum { SPLIT = 1, DOUBLE = 2, OTHER = 4, OTHER_SPLIT = 8, SIMULATED = 16 };

typedef struct scene_case {
    const char *label;
    void (*build)(scene *s);
    double tolerance; /* single precision; double: 1e-8 of it */
    int64_t least;    /* rows; 0: any number */
    int where;
} scene_case;

static const scene_case cases[] = {
    {"C-MGN, l1, Adam", cmgn_l1, 2e-5, 0, SPLIT | OTHER | SIMULATED},
    {"C-MGN, nll, AdamW", cmgn_nll, 1e-4, 0, OTHER | SIMULATED},
    {"M-MGN, kl, SGD", mmgn_kl, 1e-4, 7, OTHER | SIMULATED},
    {"M-MGN, mse, clipped", mmgn_mse_clipped, 2e-5, 0, SIMULATED},
    {"apply", apply, 1e-6, 0, SPLIT | DOUBLE | OTHER_SPLIT},
    {"Jacobian", jacobian, 5e-6, 0, 0},
    {"bytes", bytes, 1e-6, 0, SPLIT | DOUBLE | OTHER},
    {"elementwise", elementwise, 2e-6, 0, 0},
    {"shared elementwise", shared_elementwise, 1e-5, 0, OTHER},
    {"layout", layout, 2e-6, 0, 0},
    {"reductions", reductions, 1e-5, 0, SPLIT | OTHER_SPLIT | SIMULATED},
    {"1 x 1", matrices_1, 1e-4, 0, 0},
    {"2 x 2", matrices_2, 1e-4, 0, 0},
    {"3 x 3", matrices_3, 2e-4, 0, OTHER},
    {"5 x 5", matrices_5, 1e-3, 0, 0},
    {"random rows", random_rows, 1e-6, 0, SPLIT | DOUBLE | OTHER},
    {"indices", indices, 1e-6, 0, SPLIT | DOUBLE | OTHER | SIMULATED},
    {"levels", levels, 2e-5, 0, SPLIT | DOUBLE | OTHER | OTHER_SPLIT | SIMULATED},
    {"carries", carries, 1e-6, 0, SPLIT | OTHER | OTHER_SPLIT | SIMULATED},
    {"straight carries", straight_carries, 1e-6, 0, SIMULATED},
};
enum { CASES = sizeof cases / sizeof *cases };

/* ---- running them ---- */

typedef struct results {
    double *values[MOST_WATCHED];
} results;

static void free_results(const scene *s, results *r) {
    for (int i = 0; i < s->watched_count; i++) free(r->values[i]);
}

static mgn_plan *compile(const scene *s, mgn_device *device, mgn_dtype real, bool fused) {
    mgn_plan *plan = NULL;
    setenv("MGN_FUSE", fused ? "1" : "0", 1);
    MGN_ASSERT_OK(mgn_plan_compile(s->graph, device, real, NULL, 0, &plan));
    return plan;
}

static void put_inputs(const scene *s, const mgn_plan *plan) {
    for (int i = 0; i < s->input_count; i++) {
        const scene_input *input = &s->inputs[i];
        mgn_tensor *tensor = mgn_plan_tensor(plan, input->node);
        if (input->words)
            MGN_ASSERT_OK(mgn_tensor_write(tensor, MGN_U32, input->words));
        else
            MGN_ASSERT_OK(mgn_tensor_write(tensor, MGN_F64, input->values));
    }
}

static results get_results(const scene *s, const mgn_plan *plan) {
    results r = {{NULL}};
    for (int i = 0; i < s->watched_count; i++) {
        const mgn_tensor *tensor = mgn_plan_tensor(plan, s->watched[i]);
        const size_t count = (size_t)count_of(s->watched[i]);
        r.values[i] = checked(calloc(count + 1, sizeof *r.values[i]));
        if (mgn_tensor_dtype(tensor) == MGN_U32) {
            uint32_t *read = checked(malloc((count + 1) * sizeof *read));
            MGN_ASSERT_OK(mgn_tensor_read(tensor, MGN_U32, read));
            for (size_t j = 0; j < count; j++) r.values[i][j] = read[j];
            free(read);
        } else {
            MGN_ASSERT_OK(mgn_tensor_read(tensor, MGN_F64, r.values[i]));
        }
    }
    return r;
}

/* `times` runs from the scene's data, `at_once` or one by one. Running allocates nothing. */
static results run(const scene *s, mgn_plan *plan, uint64_t times, bool at_once) {
    put_inputs(s, plan);
    const uint64_t before = mgn_allocations();
    if (at_once)
        MGN_ASSERT_OK(mgn_plan_run(plan, times));
    else
        for (uint64_t t = 0; t < times; t++) MGN_ASSERT_OK(mgn_plan_run(plan, 1));
    ck_assert_msg(mgn_allocations() == before, "mgn_plan_run allocated memory");
    return get_results(s, plan);
}

static void assert_same_bits(const scene *s, const results *a, const results *b, const char *what) {
    for (int i = 0; i < s->watched_count; i++)
        for (int64_t j = 0; j < count_of(s->watched[i]); j++)
            ck_assert_msg(memcmp(&a->values[i][j], &b->values[i][j], sizeof(double)) == 0 ||
                              (isnan(a->values[i][j]) && isnan(b->values[i][j])),
                          "%s, %lld rows: value %d[%lld] is %.17g and %.17g", what, (long long)s->rows, i, (long long)j,
                          a->values[i][j], b->values[i][j]);
}

static void assert_close(const scene *s, const results *found, const results *expected, double tolerance,
                         const char *what) {
    for (int i = 0; i < s->watched_count; i++) {
        double largest = 0;
        const int64_t count = count_of(s->watched[i]);
        for (int64_t j = 0; j < count; j++)
            if (isfinite(expected->values[i][j])) largest = fmax(largest, fabs(expected->values[i][j]));
        for (int64_t j = 0; j < count; j++) {
            const double a = found->values[i][j], b = expected->values[i][j];
            const bool same = isnan(b) ? isnan(a) : a == b || fabs(a - b) <= tolerance * (1 + largest);
            ck_assert_msg(same, "%s, %lld rows: value %d[%lld] is %.9g, as single calls %.9g", what, (long long)s->rows,
                          i, (long long)j, a, b);
        }
    }
}

static mgn_device *cpu, *opencl, *other_shape;

static scene make_scene(const scene_case *c, int64_t rows) {
    scene s = {.rows = rows, .random = mgn_test_random_named(c->label)};
    MGN_ASSERT_OK(mgn_graph_create(&s.graph));
    c->build(&s);
    MGN_ASSERT_OK(mgn_graph_status(s.graph));
    return s;
}

static void check_threads(const scene *s, mgn_plan *plan, const results *expected, const char *what) {
    const int before = mgn_threads();
    for (int threads = 1; threads <= 3; threads++) {
        mgn_set_threads(threads);
        results again = run(s, plan, TIMES, true);
        assert_same_bits(s, &again, expected, what);
        free_results(s, &again);
    }
    mgn_set_threads(before);
}

static void check_case(const scene_case *c, mgn_device *device, mgn_dtype real, int64_t rows) {
    if (rows < c->least) return;
    scene s = make_scene(c, rows);
    char what[128];
    snprintf(what, sizeof what, "%s on %s in %s", c->label, mgn_device_get_info(device)->spec, mgn_dtype_name(real));
    mgn_plan *calls = compile(&s, cpu, real, false), *fused = compile(&s, device, real, true);
    ck_assert_msg(mgn_plan_get_info(calls).regions == 0, "%s: MGN_FUSE=0 was fused", what);
    ck_assert_msg(mgn_plan_get_info(fused).regions == 1, "%s, %lld rows: not fused", what, (long long)rows);
    results expected = run(&s, calls, TIMES, true), found = run(&s, fused, TIMES, true);
    assert_close(&s, &found, &expected, real == MGN_F64 ? c->tolerance * 1e-8 : c->tolerance, what);
    results single = run(&s, fused, TIMES, false), again = run(&s, fused, TIMES, true);
    assert_same_bits(&s, &single, &found, what);
    assert_same_bits(&s, &again, &found, what);
    if (device == cpu) check_threads(&s, fused, &found, what);
    free_results(&s, &expected);
    free_results(&s, &found);
    free_results(&s, &single);
    free_results(&s, &again);
    mgn_plan_destroy(fused);
    mgn_plan_destroy(calls);
    free_scene(&s);
}

/* ---- tests ---- */

static void open_devices(void) {
    const char *spec = mgn_test_opencl_spec();
    MGN_ASSERT_OK(mgn_device_open("cpu", &cpu));
    if (!spec) return;
    MGN_ASSERT_OK(mgn_device_open(spec, &opencl));
    setenv("MGN_CL_SHAPE", mgn_device_get_info(opencl)->is_cpu ? "gpu" : "cpu", 1);
    MGN_ASSERT_OK(mgn_device_open(spec, &other_shape));
    unsetenv("MGN_CL_SHAPE");
}

static void close_devices(void) {
    mgn_device_close(other_shape);
    mgn_device_close(opencl);
    mgn_device_close(cpu);
    cpu = opencl = other_shape = NULL;
}

START_TEST(rows_on_the_cpu) {
    static const int64_t rows[] = {2, 7, 31, 32, 33, 1000, 5000};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        for (int real = MGN_F32; real <= MGN_F64; real++) check_case(&cases[_i], cpu, (mgn_dtype)real, rows[i]);
}
END_TEST

START_TEST(rows_on_opencl) {
    static const int64_t few[] = {2, 7, 33, 1000};
    if (!opencl) MGN_TEST_SKIP("no OpenCL device");
    const scene_case *c = &cases[_i];
    for (size_t i = 0; i < sizeof few / sizeof *few; i++) check_case(c, opencl, MGN_F32, few[i]);
    if (c->where & SPLIT) check_case(c, opencl, MGN_F32, 5000);
    if (c->where & DOUBLE && mgn_device_get_info(opencl)->has_f64) check_case(c, opencl, MGN_F64, 33);
}
END_TEST

START_TEST(rows_in_the_other_shape) {
    if (!other_shape) MGN_TEST_SKIP("no OpenCL device");
    const scene_case *c = &cases[_i];
    if (c->where & OTHER) check_case(c, other_shape, MGN_F32, 7);
    if (c->where & OTHER) check_case(c, other_shape, MGN_F32, 300);
    if (c->where & OTHER_SPLIT) check_case(c, other_shape, MGN_F32, 5000);
}
END_TEST

/* ---- on Oclgrind: what work-items of a group do to each other's memory ---- */

START_TEST(rows_on_the_simulator) {
    ck_assert_msg(opencl, "the simulator has no device");
    if (cases[_i].where & SIMULATED) check_case(&cases[_i], opencl, MGN_F32, 7);
}
END_TEST

START_TEST(no_data_races) {
    if (!opencl) MGN_TEST_SKIP("no OpenCL device");
    const char *absent = mgn_test_no_simulator();
    if (absent) MGN_TEST_SKIP(absent);
    setenv("MGN_CL_SHAPE", "gpu", 1);
    char *found = mgn_test_simulate("rows", "--check-api --data-races");
    unsetenv("MGN_CL_SHAPE");
    ck_assert_msg(strlen(found) == 0, "Oclgrind found: %.2000s", found);
    free(found);
}
END_TEST

static Suite *suite(void) {
    Suite *suite = suite_create("rows");
    TCase *on_cpu = tcase_create("cpu"), *on_opencl = tcase_create("opencl"), *other = tcase_create("other shape");
    tcase_add_loop_test(on_cpu, rows_on_the_cpu, 0, CASES);
    tcase_add_loop_test(on_opencl, rows_on_opencl, 0, CASES);
    tcase_add_test(on_opencl, no_data_races);
    tcase_add_loop_test(other, rows_in_the_other_shape, 0, CASES);
    TCase *const all[] = {on_cpu, on_opencl, other};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        tcase_add_unchecked_fixture(all[i], open_devices, close_devices);
        suite_add_tcase(suite, all[i]);
    }
    return suite;
}

static Suite *simulated_suite(void) {
    Suite *suite = suite_create("rows on a simulator");
    TCase *on_simulator = tcase_create("simulator");
    tcase_add_loop_test(on_simulator, rows_on_the_simulator, 0, CASES);
    tcase_add_unchecked_fixture(on_simulator, open_devices, close_devices);
    suite_add_tcase(suite, on_simulator);
    return suite;
}

int main(void) {
    setenv("MGN_CACHE", "off", 0);
    mgn_test_opencl_spec();
    mgn_test_without_forks = true;
    return mgn_test_main(getenv(MGN_TEST_SIMULATED) ? simulated_suite() : suite());
}
