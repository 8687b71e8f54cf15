/* Start values for learning a field from pairs (x, y) by first-order steps.
 *
 * From N(0, 1) weights most models of a dozen parameters then end in a poor local minimum: their units are nearly linear over
 * the data, the quadratic part V already is linear, and the steps that would bend a unit in the right place are too many.
 * So many random models are drawn with units that bend within the data, and judged without training: y minus what the
 * units give is fitted by an affine map with a positive semidefinite matrix, which is just what V and the offset can be.
 * The models that leave the least over are good starts, with that affine map as their V and offset.
 *
 * The draws, for data of standard deviation 1 per coordinate:
 * - cmgn: weights N(0, 1.2), biases N(0, 3): each unit's logistic is steep, and some of its cascade's stages saturate;
 * - mmgn: even modules have rows close to one direction (together they grow like a cube near their middle); in odd ones of
 *   3 or more units two have opposite directions' biases, far out, so that their log cosh add up to a constant and the
 *   other units become tanh ridges of a free amplitude. */
#include "experiments/experiments.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include <mgn/ot.h>

#include "core/random.h"

/* Rows that a start is judged by, and the smallest eigenvalue of its quadratic part: at 0 the gradient in V vanishes. */
enum { JUDGING_ROWS = 256 };
static const double least_curvature = 1e-3;

/* Streams of the random numbers beside those of mgn_model_create, which count parameters. */
enum { STREAM_SATURATION = 0x73617475 };

/* Everything about the data that judging needs, computed once. */
typedef struct judge {
    int64_t n, d;
    const float *x, *y;
    double *centred;                   /* (n, d), x minus its mean */
    double *mean;                      /* (d) */
    double *inverse;                   /* (d, d), of the sum of products of `centred` */
    double *rest;                      /* (n, d), what the units leave of y */
    double *cross, *a;                 /* (d, d) each: least squares, and its positive semidefinite part */
    double *values, *vectors, *offset; /* (d), (d, d), (d) */
    float *units;                      /* (n, d) */
    mgn_graph *graph;
    mgn_plan *plan;
    mgn_tensor *parameters, *output;
} judge;

/* ---- drawing ---- */

static double *view(mgn_model *model, size_t index, const mgn_parameter **parameter) {
    const mgn_parameter *parameters = NULL;
    mgn_model_parameters(model, &parameters);
    *parameter = &parameters[index];
    return mgn_model_values(model) + parameters[index].offset;
}

static void scale(double *values, int64_t count, double factor) {
    for (int64_t i = 0; i < count; i++) values[i] *= factor;
}

/* W, b0 .. b(L-1), V, bL. */
static void shape_cascade(mgn_model *model, double spread) {
    const mgn_model_config *c = mgn_model_get_config(model);
    const mgn_parameter *p;
    for (size_t i = 0; i <= (size_t)c->layers; i++) {
        double *values = view(model, i, &p);
        scale(values, mgn_shape_count(p->shape), i == 0 ? 1.2 / spread : 3);
    }
}

/* Row i becomes row 0 plus `noise` times itself. */
static void align(double *W, int64_t i, int64_t d, double noise) {
    for (int64_t j = 0; j < d; j++) W[i * d + j] = W[j] + noise * W[i * d + j];
}

/* W0, b0, W1, b1, .., V, a. */
static void shape_modules(mgn_model *model, double spread, uint64_t seed) {
    const mgn_model_config *c = mgn_model_get_config(model);
    const mgn_parameter *p;
    for (int64_t k = 0; k < c->layers; k++) {
        double *W = view(model, (size_t)(2 * k), &p), *b = view(model, (size_t)(2 * k + 1), &p);
        const bool ridge = k % 2 == 1 && c->h >= 3;
        scale(W, c->d * (ridge ? 2 : c->h), 0.3 * (ridge ? 2 : 1) / spread);
        if (ridge) {
            scale(W + 2 * c->d, c->d * (c->h - 2), 0.3 / spread);
            align(W, 1, c->d, 0.05);
            b[0] = 3 + 3 * mgn_host_uniform(seed, STREAM_SATURATION, (uint64_t)k);
            b[1] = -b[0];
        } else {
            for (int64_t i = 1; i < c->h; i++) align(W, i, c->d, 0.2);
            scale(b, c->h, 0.3);
        }
    }
}

/* A random model whose V and offset are 0. */
static mgn_status draw(const mgn_model_config *config, double spread, uint64_t seed, mgn_model **model) {
    MGN_TRY(mgn_model_create(config, seed, model));
    if (strcmp(config->kind, "cmgn") == 0) shape_cascade(*model, spread);
    if (strcmp(config->kind, "mmgn") == 0) shape_modules(*model, spread, seed);
    const int64_t affine = config->d * config->d + config->d, count = mgn_model_parameter_count(*model);
    memset(mgn_model_values(*model) + count - affine, 0, (size_t)affine * sizeof(double));
    return MGN_OK;
}

/* ---- judging ---- */

static void free_judge(judge *j) {
    double *const blocks[] = {j->centred, j->mean,   j->inverse, j->rest,  j->cross,
                              j->a,       j->values, j->vectors, j->offset};
    for (size_t i = 0; i < MGN_COUNT(blocks); i++) mgn_free(blocks[i]);
    mgn_free(j->units);
    mgn_plan_destroy(j->plan);
    mgn_graph_destroy(j->graph);
}

static bool allocate(judge *j) {
    const size_t d = (size_t)j->d, rows = (size_t)j->n * d;
    j->centred = mgn_alloc(rows, sizeof(double));
    j->rest = mgn_alloc(rows, sizeof(double));
    j->units = mgn_alloc(rows, sizeof(float));
    double **const squares[] = {&j->inverse, &j->cross, &j->a, &j->vectors},
                   **const vectors[] = {&j->mean, &j->values, &j->offset};
    bool all = j->centred && j->rest && j->units;
    for (size_t i = 0; i < MGN_COUNT(squares); i++) all = (*squares[i] = mgn_alloc(d * d, sizeof(double))) && all;
    for (size_t i = 0; i < MGN_COUNT(vectors); i++) all = (*vectors[i] = mgn_alloc(d, sizeof(double))) && all;
    return all;
}

/* The plan that evaluates any model of this architecture, its parameters being an input. */
static mgn_status compile(judge *j, const mgn_model *model, mgn_device *device) {
    MGN_TRY(mgn_graph_create(&j->graph));
    mgn_node *flat = mgn_input(j->graph, "parameters", MGN_REAL, MGN_SHAPE(mgn_model_parameter_count(model)));
    mgn_node *x = mgn_input(j->graph, "x", MGN_REAL, MGN_SHAPE(j->n, j->d));
    mgn_node *g = mgn_model_forward(model, flat, x);
    mgn_output(g);
    MGN_TRY(mgn_plan_compile(j->graph, device, MGN_F32, NULL, 0, &j->plan));
    j->parameters = mgn_plan_tensor(j->plan, flat);
    j->output = mgn_plan_tensor(j->plan, g);
    return mgn_tensor_write(mgn_plan_tensor(j->plan, x), MGN_F32, j->x);
}

static mgn_status prepare(judge *j, const mgn_model *model, mgn_device *device, double *spread) {
    if (!allocate(j)) return MGN_ERR_MEMORY;
    double trace = 0;
    MGN_TRY(mgn_moments(j->x, j->n, j->d, false, j->mean, j->cross));
    for (int64_t i = 0; i < j->d; i++) trace += j->cross[i * j->d + i];
    *spread = sqrt(trace / (double)j->d);
    if (!(*spread > 0))
        return mgn_fail(MGN_ERR_ARGUMENT, "all rows to learn from are the same point; there is no field to learn");
    MGN_TRY(mgn_spd_sqrt(j->cross, j->d, NULL, j->a));
    for (int64_t p = 0; p < j->d; p++)
        for (int64_t q = 0; q < j->d; q++) {
            double sum = 0;
            for (int64_t k = 0; k < j->d; k++) sum += j->a[p * j->d + k] * j->a[k * j->d + q];
            j->inverse[p * j->d + q] = sum / (double)j->n;
        }
    for (int64_t i = 0; i < j->n * j->d; i++) j->centred[i] = (double)j->x[i] - j->mean[i % j->d];
    return compile(j, model, device);
}

/* y minus the units' part, centred; its mean goes to `offset`. */
static mgn_status leave_over(judge *j, mgn_model *model) {
    MGN_TRY(mgn_tensor_write(j->parameters, MGN_F64, mgn_model_values(model)));
    MGN_TRY(mgn_plan_run(j->plan, 1));
    MGN_TRY(mgn_tensor_read(j->output, MGN_F32, j->units));
    memset(j->offset, 0, (size_t)j->d * sizeof(double));
    for (int64_t i = 0; i < j->n * j->d; i++) {
        j->rest[i] = (double)j->y[i] - (double)j->units[i];
        j->offset[i % j->d] += j->rest[i] / (double)j->n;
    }
    for (int64_t i = 0; i < j->n * j->d; i++) j->rest[i] -= j->offset[i % j->d];
    return MGN_OK;
}

/* The least-squares matrix of `rest` on `centred`, symmetrised, with eigenvalues from least_curvature: V's rows are its
 * scaled eigenvectors, and `a` is V^T V. */
static mgn_status fit(judge *j) {
    const int64_t d = j->d;
    memset(j->a, 0, (size_t)(d * d) * sizeof(double));
    for (int64_t i = 0; i < j->n; i++)
        for (int64_t p = 0; p < d; p++)
            for (int64_t q = 0; q < d; q++) j->a[p * d + q] += j->centred[i * d + p] * j->rest[i * d + q];
    memset(j->cross, 0, (size_t)(d * d) * sizeof(double));
    for (int64_t p = 0; p < d; p++)
        for (int64_t k = 0; k < d; k++)
            for (int64_t q = 0; q < d; q++) j->cross[p * d + q] += j->inverse[p * d + k] * j->a[k * d + q];
    MGN_TRY(mgn_symmetric_eigen(j->cross, d, j->values, j->vectors));
    memset(j->a, 0, (size_t)(d * d) * sizeof(double));
    for (int64_t k = 0; k < d; k++) {
        scale(j->vectors + k * d, d, sqrt(fmax(j->values[k], least_curvature)));
        for (int64_t p = 0; p < d; p++)
            for (int64_t q = 0; q < d; q++) j->a[p * d + q] += j->vectors[k * d + p] * j->vectors[k * d + q];
    }
    return MGN_OK;
}

/* Gives the model its affine part; `score` is the mean squared error that is left. */
static mgn_status judge_start(judge *j, mgn_model *model, double *score) {
    const int64_t d = j->d;
    MGN_TRY(leave_over(j, model));
    MGN_TRY(fit(j));
    double sum = 0;
    for (int64_t i = 0; i < j->n; i++)
        for (int64_t q = 0; q < d; q++) {
            double error = j->rest[i * d + q];
            for (int64_t p = 0; p < d; p++) error -= j->centred[i * d + p] * j->a[p * d + q];
            sum += error * error;
        }
    *score = isfinite(sum) ? sum / (double)j->n : DBL_MAX;
    double *V = mgn_model_values(model) + mgn_model_parameter_count(model) - d * d - d, *offset = V + d * d;
    memcpy(V, j->vectors, (size_t)(d * d) * sizeof *V);
    for (int64_t q = 0; q < d; q++) {
        offset[q] = j->offset[q];
        for (int64_t p = 0; p < d; p++) offset[q] -= j->mean[p] * j->a[p * d + q];
    }
    return MGN_OK;
}

/* ---- the best of many ---- */

/* Models in the order of their scores, best first. */
typedef struct ranking {
    mgn_model **models;
    double *scores;
    int64_t count, capacity;
} ranking;

/* Takes the model over. */
static void rank(ranking *r, mgn_model *model, double score) {
    int64_t at = r->count;
    while (at > 0 && r->scores[at - 1] > score) at--;
    if (at == r->capacity) {
        mgn_model_destroy(model);
        return;
    }
    if (r->count == r->capacity) mgn_model_destroy(r->models[--r->count]);
    for (int64_t i = r->count++; i > at; i--) {
        r->models[i] = r->models[i - 1];
        r->scores[i] = r->scores[i - 1];
    }
    r->models[at] = model;
    r->scores[at] = score;
}

static mgn_status choose(judge *j, const mgn_model_config *config, mgn_device *device, int64_t candidates,
                         uint64_t seed, ranking *r) {
    double spread = 1;
    for (int64_t i = 0; i < candidates; i++) {
        mgn_model *model = NULL;
        double score = 0;
        mgn_status status = MGN_OK;
        if (i == 0) {
            MGN_TRY(mgn_model_create(config, 0, &model));
            status = prepare(j, model, device, &spread);
            mgn_model_destroy(model);
            MGN_TRY(status);
        }
        MGN_TRY(draw(config, spread, mgn_candidate_seed(seed, i), &model));
        status = judge_start(j, model, &score);
        if (status == MGN_OK && mgn_interrupted())
            status = mgn_fail(MGN_ERR_INTERRUPTED, "interrupted while starts were chosen");
        if (status == MGN_OK)
            rank(r, model, score);
        else
            mgn_model_destroy(model);
        MGN_TRY(status);
    }
    return MGN_OK;
}

mgn_status mgn_choose_starts(const mgn_model_config *config, mgn_device *device, const mgn_samples *samples,
                             int64_t candidates, uint64_t seed, mgn_model **models, int64_t count) {
    judge j = {.n = MGN_MIN(samples->n, JUDGING_ROWS), .d = config->d, .x = samples->x, .y = samples->y};
    ranking r = {.models = models, .capacity = count};
    r.scores = mgn_alloc((size_t)count, sizeof *r.scores);
    mgn_status status = r.scores ? choose(&j, config, device, MGN_MAX(candidates, count), seed, &r) : MGN_ERR_MEMORY;
    if (status != MGN_OK)
        for (int64_t i = 0; i < r.count; i++) mgn_model_destroy(models[i]);
    mgn_free(r.scores);
    free_judge(&j);
    return status;
}
