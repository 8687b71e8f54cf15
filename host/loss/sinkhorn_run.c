/* The Sinkhorn divergence of clouds in host memory: one plan, run once. */
#include <math.h>

#include "core/core.h"
#include "loss/sinkhorn.h"

typedef struct clouds {
    const float *x, *a, *y, *b;
    int64_t n, m, d;
} clouds;

/* ---- inputs ---- */

static mgn_status check_points(const float *x, int64_t n, int64_t d, const char *name) {
    float sums[16] = {0}; /* of 0 for each finite number, NaN for another: no branches */
    const int64_t whole = n * d / 16 * 16;
    for (int64_t i = 0; i < whole; i += 16)
        for (int l = 0; l < 16; l++) sums[l] += x[i + l] * 0;
    bool all_finite = true;
    for (int l = 0; l < 16; l++) all_finite = all_finite && sums[l] == 0;
    for (int64_t i = all_finite ? whole : 0; i < n * d; i++)
        if (!isfinite(x[i]))
            return mgn_fail(MGN_ERR_NUMERIC,
                            "sinkhorn: %s holds %g in row %lld, column %lld; finite numbers are needed", name,
                            (double)x[i], (long long)(i / d), (long long)(i % d));
    return MGN_OK;
}

static mgn_status check_weights(const float *weights, int64_t n, const char *name) {
    double sum = 0;
    for (int64_t i = 0; weights && i < n; i++) {
        if (!(weights[i] >= 0) || !isfinite(weights[i]))
            return mgn_fail(MGN_ERR_ARGUMENT, "sinkhorn: weight %lld of %s is %g; weights are finite and not negative",
                            (long long)i, name, (double)weights[i]);
        sum += (double)weights[i];
    }
    return !weights || sum > 0 ? MGN_OK : mgn_fail(MGN_ERR_ARGUMENT, "sinkhorn: all weights of %s are 0", name);
}

mgn_status mgn_sinkhorn_check(const float *x, const float *a, int64_t n, const float *y, const float *b, int64_t m,
                              int64_t d) {
    int64_t cells;
    if (n < 1 || m < 1 || d < 1 || !x || !y)
        return mgn_fail(MGN_ERR_ARGUMENT,
                        "sinkhorn: two clouds of at least one point were expected, %lld and %lld points of %lld "
                        "coordinates found",
                        (long long)n, (long long)m, (long long)d);
    if (__builtin_mul_overflow(MGN_MAX(n, m), d, &cells))
        return mgn_fail(MGN_ERR_ARGUMENT, "sinkhorn: %lld points of %lld coordinates are too many",
                        (long long)MGN_MAX(n, m), (long long)d);
    MGN_TRY(check_points(x, n, d, "the first cloud"));
    MGN_TRY(check_points(y, m, d, "the second cloud"));
    MGN_TRY(check_weights(a, n, "the first cloud"));
    return check_weights(b, m, "the second cloud");
}

double mgn_box_diagonal(const float *x, int64_t n, const float *y, int64_t m, int64_t d) {
    enum { COLUMNS = 256 }; /* at a time: whole cache lines of each row */
    double sum = 0;
    for (int64_t first = 0; first < d; first += COLUMNS) {
        int64_t columns = MGN_MIN(COLUMNS, d - first);
        float low[COLUMNS], high[COLUMNS];
        for (int64_t i = 0; i < n + m; i++) {
            const float *row = (i < n ? x + i * d : y + (i - n) * d) + first;
            for (int64_t k = 0; k < columns; k++) {
                low[k] = i == 0 || row[k] < low[k] ? row[k] : low[k];
                high[k] = i == 0 || row[k] > high[k] ? row[k] : high[k];
            }
        }
        for (int64_t k = 0; n + m > 0 && k < columns; k++)
            sum += ((double)high[k] - (double)low[k]) * ((double)high[k] - (double)low[k]);
    }
    return sqrt(sum);
}

/* Costs are squares, and potentials hold about 1e-7 blur^2 of rounding in single precision: clouds far smaller than the blur
 * leave nothing above it, though their divergence is about half the squared distance of their means. */
static mgn_status choose_real(double across, double blur, bool has_f64, mgn_dtype *real) {
    const bool is_usual = across >= 0.1 * blur && across <= 1e18 * blur && across > 1e-15 && across < 1e18;
    *real = across == 0 || is_usual ? MGN_F32 : MGN_F64;
    if (*real == MGN_F64 && !has_f64)
        return mgn_fail(MGN_ERR_NUMERIC,
                        "sinkhorn: clouds %g across with a blur of %g are out of scale for single precision, and the "
                        "device has no other; another blur or other units are needed",
                        across, blur);
    if (across > 0 && across < 1e-6 * blur)
        return mgn_fail(MGN_ERR_NUMERIC,
                        "sinkhorn: the clouds are %g across, and their divergence is lost in the rounding of a blur of "
                        "%g; a smaller blur or other units are needed",
                        across, blur);
    return MGN_OK;
}

mgn_status mgn_sinkhorn_plan(mgn_device *device, const mgn_sinkhorn_config *given, const float *x, int64_t n,
                             const float *y, int64_t m, int64_t d, mgn_sinkhorn_config *config, mgn_dtype *real) {
    MGN_TRY(mgn_sinkhorn_complete(given, config));
    const double across = mgn_box_diagonal(x, n, y, m, d);
    MGN_TRY(choose_real(across, config->blur, mgn_device_get_info(device)->has_f64, real));
    if (config->diameter > 0) return MGN_OK;
    config->diameter = fmax(across, config->blur);
    return mgn_sinkhorn_complete(config, config); /* the number of steps */
}

mgn_status mgn_sinkhorn_refuse_value(double value) {
    return mgn_fail(MGN_ERR_NUMERIC, "sinkhorn: the divergence came out as %g; are the coordinates out of scale?",
                    value);
}

/* ---- the plan ---- */

typedef struct nodes {
    mgn_node *x, *a, *y, *b, *value, *gradient;
} nodes;

static mgn_status build(mgn_graph *graph, const clouds *c, const mgn_sinkhorn_config *config, bool with_gradient,
                        nodes *at) {
    *at = (nodes){.x = mgn_input(graph, "x", MGN_REAL, MGN_SHAPE(c->n, c->d)),
                  .y = mgn_input(graph, "y", MGN_REAL, MGN_SHAPE(c->m, c->d))};
    if (c->a) at->a = mgn_input(graph, "a", MGN_REAL, MGN_SHAPE(c->n));
    if (c->b) at->b = mgn_input(graph, "b", MGN_REAL, MGN_SHAPE(c->m));
    at->value = mgn_sinkhorn_divergence(config, at->x, at->a, at->y, at->b);
    MGN_TRY(mgn_graph_status(graph));
    mgn_output(at->value);
    if (with_gradient) MGN_TRY(mgn_grad(at->value, &at->x, 1, &at->gradient));
    mgn_output(at->gradient);
    return mgn_graph_status(graph);
}

static mgn_status put(const mgn_plan *plan, const mgn_node *node, const float *values) {
    return node ? mgn_tensor_write(mgn_plan_tensor(plan, node), MGN_F32, values) : MGN_OK;
}

static mgn_status run(mgn_plan *plan, const nodes *at, const clouds *c, mgn_sinkhorn_result *result, float *gradient,
                      double begun) {
    MGN_TRY(put(plan, at->x, c->x));
    MGN_TRY(put(plan, at->a, c->a));
    MGN_TRY(put(plan, at->y, c->y));
    MGN_TRY(put(plan, at->b, c->b));
    double start = mgn_now();
    MGN_TRY(mgn_plan_run(plan, 1));
    MGN_TRY(mgn_tensor_read(mgn_plan_tensor(plan, at->value), MGN_F64, &result->value));
    result->seconds = mgn_now() - start;
    result->prepare_seconds = start - begun;
    if (!isfinite(result->value)) return mgn_sinkhorn_refuse_value(result->value);
    return gradient ? mgn_tensor_read(mgn_plan_tensor(plan, at->gradient), MGN_F32, gradient) : MGN_OK;
}

mgn_status mgn_sinkhorn(mgn_device *device, const float *x, const float *a, int64_t n, const float *y, const float *b,
                        int64_t m, int64_t d, const mgn_sinkhorn_config *given, mgn_sinkhorn_result *result,
                        float *gradient) {
    const clouds c = {x, a, y, b, n, m, d};
    mgn_sinkhorn_config config;
    mgn_graph *graph = NULL;
    mgn_plan *plan = NULL;
    nodes at;
    double begun = mgn_now(), temperatures[MGN_SINKHORN_STEPS];
    MGN_TRY(mgn_sinkhorn_check(x, a, n, y, b, m, d));
    mgn_dtype real;
    MGN_TRY(mgn_sinkhorn_plan(device, given, x, n, y, m, d, &config, &real));
    *result = (mgn_sinkhorn_result){.iterations = mgn_sinkhorn_schedule(&config, temperatures)};
    MGN_TRY(mgn_graph_create(&graph));
    mgn_status status = build(graph, &c, &config, gradient != NULL, &at);
    if (status == MGN_OK) status = mgn_plan_compile(graph, device, real, NULL, 0, &plan);
    if (status == MGN_OK) status = run(plan, &at, &c, result, gradient, begun);
    mgn_plan_destroy(plan);
    mgn_graph_destroy(graph);
    return status;
}
