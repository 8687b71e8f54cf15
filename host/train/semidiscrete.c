/* Semi-discrete transport from N(0, I) to prototypes of the data: prototypes, offsets, then the quadratic part; see
 * semidiscrete.h. The offsets are learned by one plan, which draws its noise itself; the moments of the softmax, which the
 * quadratic part is made from, come from a second one. */
#include <mgn/semidiscrete.h>

#include <math.h>
#include <string.h>

#include <mgn/ot.h>

#include "core/core.h"
#include "model/model.h"
#include "train/semidiscrete.h"

enum { PARTS = 40, MOMENT_RUNS = 16, OWN_AXES = 64 };

/* The learning rate, in units of the prototypes' spread. */
#define LEARNING_RATE 0.03

/* A plan whose steps draw noise. */
typedef struct sampler {
    mgn_plan *plan;
    mgn_tensor *W, *b, *state, *lr, *loss, *sum;
    mgn_tensor *mean, *products; /* of the moments */
} sampler;

static void start_defaults(mgn_semidiscrete_config *c, int64_t d) {
    if (c->temperature == 0) c->temperature = 0.02;
    if (c->axes == 0) c->axes = MGN_MIN(OWN_AXES, d);
    if (c->lloyd == 0) c->lloyd = 12;
    if (c->steps == 0) c->steps = 400;
    if (c->batch == 0) c->batch = 1024;
}

static mgn_status check(const mgn_model_config *m, const mgn_semidiscrete_config *c) {
    if (strcmp(m->kind, "lse") != 0 || m->layers != 1 || m->lipschitz > 0)
        return mgn_fail(MGN_ERR_ARGUMENT,
                        "prototypes are for a model of the kind lse with one module and no Lipschitz bound; %s with "
                        "%lld was found",
                        m->kind, (long long)m->layers);
    if (!(c->temperature > 0) || !isfinite(c->temperature) || !(c->restored >= 0 && c->restored <= 1) || c->axes < 1 ||
        c->axes > m->d || c->lloyd < 1 || c->steps < 1 || c->batch < 1)
        return mgn_fail(MGN_ERR_ARGUMENT,
                        "prototypes: a positive temperature, a restored fraction from 0 to 1, 1 to %lld axes and at "
                        "least one step were expected; %g, %g, %lld axes found",
                        (long long)m->d, c->temperature, c->restored, (long long)c->axes);
    return MGN_OK;
}

/* ---- prototypes ---- */

/* Centres as differences from the rows' mean, their masses, their spread. */
static mgn_status choose_prototypes(mgn_prototypes *p, const float *rows, int64_t n,
                                    const mgn_semidiscrete_config *config) {
    MGN_TRY(mgn_moments(rows, n, p->d, false, p->data_mean, p->data_covariance));
    MGN_TRY(mgn_kmeans(rows, n, p->d, p->h, config->lloyd, config->seed, p->centres, p->masses, NULL));
    double square = 0;
    for (int64_t k = 0; k < p->h; k++)
        for (int64_t i = 0; i < p->d; i++) {
            p->W[k * p->d + i] = (double)p->centres[k * p->d + i] - p->data_mean[i];
            square += p->masses[k] * p->W[k * p->d + i] * p->W[k * p->d + i];
        }
    p->spread = square > 0 ? sqrt(square) : 1;
    p->beta = 1 / (config->temperature * p->spread);
    return MGN_OK;
}

/* Where each prototype would have its mass if w_k x ~ N(0, |w_k|^2) were independent: b_k = -|w_k| z, z being the point
 * that a normal number is above with probability m_k, by its asymptotic series. */
static void start_offsets(mgn_prototypes *p) {
    for (int64_t k = 0; k < p->h; k++) {
        double square = 0;
        for (int64_t i = 0; i < p->d; i++) square += p->W[k * p->d + i] * p->W[k * p->d + i];
        const double rarity = fmax(-2 * log(fmax(p->masses[k], 1e-12)), 1);
        p->b[k] = -sqrt(square * fmax(rarity - log(2 * M_PI * rarity), 0));
    }
}

/* ---- plans ---- */

/* beta (W x + b) of fresh noise, (batch, h). */
static mgn_node *logits_of_noise(const mgn_prototypes *p, int64_t batch, mgn_node *W, mgn_node *b, mgn_node *state) {
    mgn_node *x = mgn_normal(state, MGN_SHAPE(batch, p->d), 0);
    return mgn_scale(mgn_add(mgn_matmul_t(x, false, W, true), b), p->beta);
}

static mgn_status build_step(mgn_graph *graph, const mgn_prototypes *p, int64_t batch, mgn_node *inputs[6]) {
    static const mgn_optimizer_config adam = {.kind = "adam", .lr = LEARNING_RATE, .beta2 = 0.99};
    mgn_optimizer_shape shape;
    mgn_node *gradient, *vectors[MGN_MOST_OPTIMIZER_VECTORS] = {NULL};
    MGN_TRY(mgn_optimizer_check(&adam, &shape));
    mgn_node *W = mgn_input(graph, "prototypes", MGN_REAL, MGN_SHAPE(p->h, p->d)),
             *b = mgn_input(graph, "offsets", MGN_REAL, MGN_SHAPE(p->h)),
             *state = mgn_input(graph, "random state", MGN_INDEX, MGN_SHAPE(4)),
             *lr = mgn_input(graph, "learning rate", MGN_REAL, MGN_SCALAR),
             *last = mgn_input(graph, "loss", MGN_REAL, MGN_SCALAR),
             *sum = mgn_input(graph, "sum", MGN_REAL, MGN_SHAPE(p->h)),
             *scalars = mgn_input(graph, "optimizer scalars", MGN_REAL, MGN_SHAPE(MGN_MAX(shape.scalars, 1)));
    for (int i = 0; i < shape.vectors; i++)
        vectors[i] = mgn_input(graph, "optimizer vector", MGN_REAL, MGN_SHAPE(p->h));
    mgn_node *potential = mgn_scale(mgn_logsumexp(logits_of_noise(p, batch, W, b, state), 2), 1 / p->beta);
    mgn_node *masses = mgn_table(graph, p->masses, MGN_SHAPE(p->h));
    mgn_node *loss = mgn_sub(mgn_mean(potential, -1), mgn_sum(mgn_mul(masses, b), -1));
    MGN_TRY(mgn_graph_status(graph));
    MGN_TRY(mgn_grad(loss, &b, 1, &gradient));
    mgn_optimizer_update(&adam, b, gradient, lr, vectors, scalars);
    mgn_assign(sum, mgn_add(sum, b));
    mgn_assign(last, loss);
    mgn_assign(state, mgn_advance(state, 1));
    memcpy(inputs, (mgn_node *[]){W, b, state, lr, last, sum}, 6 * sizeof *inputs);
    return mgn_graph_status(graph);
}

/* Adds E p and E p p^T over a batch to `mean` (h) and `products` (h, h): p, the softmax, is the gradient of the sum of
 * log-sum-exp. */
static mgn_status build_moments(mgn_graph *graph, const mgn_prototypes *p, int64_t batch, mgn_node *inputs[5]) {
    mgn_node *W = mgn_input(graph, "prototypes", MGN_REAL, MGN_SHAPE(p->h, p->d)),
             *b = mgn_input(graph, "offsets", MGN_REAL, MGN_SHAPE(p->h)),
             *state = mgn_input(graph, "random state", MGN_INDEX, MGN_SHAPE(4)),
             *mean = mgn_input(graph, "mean", MGN_REAL, MGN_SHAPE(p->h)),
             *products = mgn_input(graph, "products", MGN_REAL, MGN_SHAPE(p->h, p->h)), *share;
    mgn_node *z = logits_of_noise(p, batch, W, b, state);
    MGN_TRY(mgn_graph_status(graph));
    MGN_TRY(mgn_grad(mgn_sum(mgn_logsumexp(z, 2), -1), &z, 1, &share));
    mgn_assign(mean, mgn_add(mean, mgn_mean(share, 1)));
    mgn_assign(products, mgn_add(products, mgn_scale(mgn_matmul_t(share, true, share, false), 1 / (double)batch)));
    mgn_assign(state, mgn_advance(state, 1));
    memcpy(inputs, (mgn_node *[]){W, b, state, mean, products}, 5 * sizeof *inputs);
    return mgn_graph_status(graph);
}

/* Compiles a graph of which `count` inputs are looked up, and fills in prototypes, offsets and the random state. */
static mgn_status start_sampler(sampler *s, mgn_graph *graph, mgn_node *const *inputs, mgn_tensor **const *tensors,
                                size_t count, mgn_device *device, const mgn_prototypes *p, uint64_t seed) {
    MGN_TRY(mgn_plan_compile(graph, device, MGN_F32, NULL, 0, &s->plan));
    for (size_t i = 0; i < count; i++) *tensors[i] = mgn_plan_tensor(s->plan, inputs[i]);
    const uint32_t state[4] = {(uint32_t)seed, (uint32_t)(seed >> 32), 0, 0};
    MGN_TRY(mgn_tensor_write(s->W, MGN_F64, p->W));
    MGN_TRY(mgn_tensor_write(s->b, MGN_F64, p->b));
    return mgn_tensor_write(s->state, MGN_U32, state);
}

/* ---- offsets ---- */

static mgn_status run_parts(sampler *s, mgn_prototypes *p, const mgn_semidiscrete_config *c, mgn_train_result *result) {
    const mgn_schedule_config cosine = {.kind = MGN_SCHEDULE_COSINE};
    const double start = mgn_now();
    mgn_schedule_state schedule = {0};
    int64_t averaged = 0;
    for (int64_t part = 0; part < PARTS; part++) {
        const int64_t first = c->steps * part / PARTS, last = c->steps * (part + 1) / PARTS;
        const double lr =
            LEARNING_RATE * p->spread * mgn_schedule_factor(&cosine, &schedule, part, PARTS, result->loss);
        MGN_TRY(mgn_tensor_write(s->lr, MGN_F64, &lr));
        if (part == PARTS / 2) { /* the mean begins here; p->b is only a place with zeros */
            memset(p->b, 0, (size_t)p->h * sizeof *p->b);
            MGN_TRY(mgn_tensor_write(s->sum, MGN_F64, p->b));
            averaged = c->steps - first;
        }
        if (last == first) continue;
        MGN_TRY(mgn_plan_run(s->plan, (uint64_t)(last - first)));
        MGN_TRY(mgn_tensor_read(s->loss, MGN_F64, &result->loss));
        result->steps = last;
        result->seconds = mgn_now() - start;
        const mgn_train_report report = {part + 1, PARTS, last, result->loss, lr, result->seconds, NAN, NAN};
        if ((c->report && !c->report(c->context, &report)) || mgn_interrupted())
            return mgn_fail(MGN_ERR_INTERRUPTED, "stopped after step %lld of %lld", (long long)last,
                            (long long)c->steps);
    }
    MGN_TRY(mgn_tensor_read(s->sum, MGN_F64, p->b));
    for (int64_t k = 0; k < p->h; k++) p->b[k] /= (double)averaged;
    return MGN_OK;
}

static mgn_status learn_offsets(mgn_prototypes *p, mgn_device *device, const mgn_semidiscrete_config *config,
                                mgn_train_result *result) {
    const double start = mgn_now();
    mgn_graph *graph;
    mgn_node *inputs[6];
    sampler s = {0};
    mgn_tensor **const tensors[] = {&s.W, &s.b, &s.state, &s.lr, &s.loss, &s.sum};
    start_offsets(p);
    MGN_TRY(mgn_graph_create(&graph));
    mgn_status status = build_step(graph, p, config->batch, inputs);
    if (status == MGN_OK)
        status = start_sampler(&s, graph, inputs, tensors, MGN_COUNT(tensors), device, p, config->seed);
    mgn_graph_destroy(graph);
    result->compile_seconds = mgn_now() - start;
    if (status == MGN_OK) status = run_parts(&s, p, config, result);
    mgn_plan_destroy(s.plan);
    return status;
}

/* ---- moments of the softmax ---- */

static mgn_status measure_shares(mgn_prototypes *p, mgn_device *device, const mgn_semidiscrete_config *config) {
    mgn_graph *graph;
    mgn_node *inputs[5];
    sampler s = {0};
    mgn_tensor **const tensors[] = {&s.W, &s.b, &s.state, &s.mean, &s.products};
    MGN_TRY(mgn_graph_create(&graph));
    mgn_status status = build_moments(graph, p, config->batch, inputs);
    if (status == MGN_OK) /* noise that the offsets have not seen */
        status = start_sampler(&s, graph, inputs, tensors, MGN_COUNT(tensors), device, p, ~config->seed);
    mgn_graph_destroy(graph);
    if (status == MGN_OK) status = mgn_plan_run(s.plan, MOMENT_RUNS);
    if (status == MGN_OK) status = mgn_tensor_read(s.mean, MGN_F64, p->shares);
    if (status == MGN_OK) status = mgn_tensor_read(s.products, MGN_F64, p->products);
    for (int64_t k = 0; k < p->h * p->h; k++) p->products[k] /= MOMENT_RUNS;
    for (int64_t k = 0; k < p->h; k++) p->shares[k] /= MOMENT_RUNS;
    mgn_plan_destroy(s.plan);
    return status;
}

/* ---- the whole ---- */

/* All numbers of the prototypes in one block, beside the centres. */
static mgn_status reserve(mgn_prototypes *p, double **block) {
    const int64_t h = p->h, d = p->d;
    const size_t sizes[] = {(size_t)(h * d), (size_t)h, (size_t)h,       (size_t)h,      (size_t)(h * h),
                            (size_t)d,       (size_t)d, (size_t)(d * d), (size_t)(d * d)};
    double **const places[] = {&p->W,         &p->b, &p->masses,          &p->shares, &p->products,
                               &p->data_mean, &p->a, &p->data_covariance, &p->V};
    size_t total = 0;
    for (size_t i = 0; i < MGN_COUNT(sizes); i++) total += sizes[i];
    *block = mgn_alloc(total, sizeof **block);
    p->centres = mgn_alloc((size_t)(h * d), sizeof *p->centres);
    if (!*block || !p->centres) return MGN_ERR_MEMORY;
    double *at = *block;
    for (size_t i = 0; i < MGN_COUNT(sizes); at += sizes[i++]) *places[i] = at;
    return MGN_OK;
}

/* In the order of the parameters: W, b, beta, V, a. */
static void store(const mgn_prototypes *p, mgn_model *model) {
    const double raw = p->beta > 30 ? p->beta : log(expm1(p->beta)); /* read through mgn_positive */
    const struct {
        const double *from;
        int64_t count;
    } pieces[] = {{p->W, p->h * p->d}, {p->b, p->h}, {&raw, 1}, {p->V, p->d * p->d}, {p->a, p->d}};
    double *at = mgn_model_values(model);
    for (size_t i = 0; i < MGN_COUNT(pieces); at += pieces[i++].count)
        memcpy(at, pieces[i].from, (size_t)pieces[i].count * sizeof *at);
}

static mgn_status make(mgn_prototypes *p, mgn_device *device, const float *rows, int64_t n,
                       const mgn_semidiscrete_config *config, mgn_train_result *result) {
    MGN_TRY(choose_prototypes(p, rows, n, config));
    if (p->h > 1) MGN_TRY(learn_offsets(p, device, config, result));
    MGN_TRY(measure_shares(p, device, config));
    return mgn_restore_covariance(p, config->restored, config->axes);
}

mgn_status mgn_semidiscrete(mgn_model *model, mgn_device *device, const float *rows, int64_t n,
                            const mgn_semidiscrete_config *config, mgn_train_result *result) {
    const double start = mgn_now();
    const mgn_model_config *shape = mgn_model_get_config(model);
    mgn_semidiscrete_config c = *config;
    mgn_train_result own = {0};
    start_defaults(&c, shape->d);
    MGN_TRY(check(shape, &c));
    mgn_prototypes p = {.h = shape->h, .d = shape->d};
    double *block = NULL;
    mgn_status status = reserve(&p, &block);
    if (status == MGN_OK) status = make(&p, device, rows, n, &c, &own);
    if (status == MGN_OK) store(&p, model);
    own.seconds = mgn_now() - start - own.compile_seconds;
    if (result) *result = own;
    mgn_free(p.centres);
    mgn_free(block);
    return status;
}
