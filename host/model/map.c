/* Maps: a model on a device, evaluated in chunks of rows. One plan per question, compiled when it is first asked. */
#include <math.h>
#include <string.h>

#include "model/model.h"

typedef enum question { APPLY, BYTES, JACOBIAN, POTENTIAL, NEWTON, QUESTIONS } question;

/* Rows of one run: enough to keep a device busy, little enough to stay in cache. */
static const int64_t chunk_rows[QUESTIONS] = {
    [APPLY] = 65536, [BYTES] = 262144, [JACOBIAN] = 4096, [POTENTIAL] = 4096, [NEWTON] = 4096};

typedef struct answer {
    int64_t rows;
    mgn_plan *plan;
    mgn_tensor *x, *y, *damping; /* inputs; NEWTON has a right side y and a damping per row */
    mgn_tensor *out[2];
} answer;

struct mgn_map {
    mgn_model *model;
    mgn_device *device;
    mgn_dtype real;
    mgn_tensor *parameters;
    mgn_map_wrapper *wrapper; /* optional; what stands round the model in APPLY and BYTES */
    void *wrapping;           /* its context, a copy */
    size_t wrapping_size;
    answer answers[QUESTIONS][2]; /* [0]: whole chunks; [1]: up to 256 rows, so that few rows stay cheap */
};

mgn_status mgn_map_create(const mgn_model *model, mgn_device *device, mgn_dtype real, mgn_map **map) {
    mgn_map *m = mgn_alloc(1, sizeof *m);
    if (!m) return MGN_ERR_MEMORY;
    m->device = device;
    m->real = real;
    mgn_status status = mgn_model_clone(model, &m->model);
    if (status == MGN_OK) status = mgn_tensor_create(device, real, MGN_SHAPE(model->list.total), &m->parameters);
    if (status == MGN_OK) status = mgn_tensor_write(m->parameters, MGN_F64, model->values);
    if (status == MGN_OK)
        *map = m;
    else
        mgn_map_destroy(m);
    return status;
}

mgn_status mgn_map_create_wrapped(const mgn_model *model, mgn_device *device, mgn_dtype real, mgn_map_wrapper *wrapper,
                                  const void *context, size_t size, mgn_map **map) {
    mgn_map *made = NULL;
    MGN_TRY(mgn_map_create(model, device, real, &made));
    if (wrapper) {
        made->wrapper = wrapper;
        made->wrapping_size = size;
        made->wrapping = mgn_alloc(size, 1);
        if (!made->wrapping) {
            mgn_map_destroy(made);
            return MGN_ERR_MEMORY;
        }
        memcpy(made->wrapping, context, size);
    }
    *map = made;
    return MGN_OK;
}

void mgn_map_destroy(mgn_map *map) {
    if (!map) return;
    for (int q = 0; q < QUESTIONS; q++)
        for (int small = 0; small < 2; small++) mgn_plan_destroy(map->answers[q][small].plan);
    mgn_tensor_destroy(map->parameters);
    mgn_model_destroy(map->model);
    mgn_free(map->wrapping);
    mgn_free(map);
}

/* Devices of the CPU backend hold nothing that plans change. */
mgn_status mgn_map_twin(const mgn_map *map, mgn_map **twin) {
    *twin = NULL;
    if (strcmp(mgn_device_get_info(map->device)->spec, "cpu") != 0) return MGN_OK;
    return mgn_map_create_wrapped(map->model, map->device, map->real, map->wrapper, map->wrapping, map->wrapping_size,
                                  twin);
}

int64_t mgn_map_dimension(const mgn_map *map) { return map->model->config.d; }

mgn_dtype mgn_map_real(const mgn_map *map) { return map->real; }

/* ---- graphs of the questions ---- */

/* phi(x) = int_0^1 <g(t x), x> dt by Gauss-Legendre on 4 panels. */
static mgn_node *ray_integral(const mgn_model *model, mgn_node *flat, mgn_node *x) {
    enum { PANELS = 4 };
    mgn_node *sum = NULL;
    for (int panel = 0; panel < PANELS; panel++)
        for (int i = 0; i < MGN_RAY_POINTS; i++) {
            mgn_node *g = mgn_model_forward(model, flat, mgn_scale(x, (panel + mgn_ray_points[i]) / PANELS));
            mgn_node *term = mgn_scale(mgn_sum(mgn_mul(g, x), 2), mgn_ray_weights[i] / PANELS);
            sum = sum ? mgn_add(sum, term) : term;
        }
    return sum;
}

/* One Newton step for g(x) = y with each row's damping: x - (J + damping I)^-1 (g(x) - y), and |g(x) - y|. */
static void newton_step(mgn_node *g, mgn_node *x, mgn_node *y, mgn_node *damping, mgn_node *out[2]) {
    mgn_shape s = mgn_node_shape(x);
    int64_t n = s.dim[0], d = s.dim[1];
    mgn_node *r = mgn_sub(g, y);
    mgn_node *shift = mgn_mul(mgn_reshape(damping, MGN_SHAPE(n, 1, 1)), mgn_identity(mgn_node_graph(x), d));
    mgn_node *step = mgn_spd_solve(mgn_add(mgn_row_jacobian(g, x), shift), mgn_reshape(r, MGN_SHAPE(n, d, 1)));
    out[0] = mgn_sub(x, mgn_reshape(step, s));
    out[1] = mgn_sqrt(mgn_sum(mgn_square(r), 2));
}

static mgn_status compile(mgn_map *map, question q, int64_t rows, answer *a) {
    mgn_graph *graph;
    MGN_TRY(mgn_graph_create(&graph));
    int64_t d = map->model->config.d;
    mgn_node *flat = mgn_input(graph, "parameters", MGN_REAL, MGN_SHAPE(map->model->list.total));
    mgn_node *from = q == BYTES ? mgn_input(graph, "pixels", MGN_INDEX, MGN_SHAPE(rows * d / 4))
                                : mgn_input(graph, "x", MGN_REAL, MGN_SHAPE(rows, d));
    mgn_node *x = q == BYTES ? mgn_from_unorm8(from, MGN_SHAPE(rows, d)) : from;
    mgn_node *y = NULL, *damping = NULL, *out[2] = {NULL, NULL};
    const bool wrapped = map->wrapper && (q == APPLY || q == BYTES);
    mgn_node *g = wrapped ? map->wrapper(map->wrapping, map->model, flat, x) : mgn_model_forward(map->model, flat, x);
    if (q == APPLY) out[0] = g;
    if (q == BYTES) out[0] = mgn_to_unorm8(g);
    if (q == JACOBIAN) out[0] = mgn_row_jacobian(g, x);
    if (q == POTENTIAL)
        out[0] = mgn_model_has_potential(map->model) ? mgn_model_potential(map->model, flat, x)
                                                     : ray_integral(map->model, flat, x);
    if (q == NEWTON) {
        y = mgn_input(graph, "y", MGN_REAL, MGN_SHAPE(rows, d));
        damping = mgn_input(graph, "damping", MGN_REAL, MGN_SHAPE(rows));
        newton_step(g, x, y, damping, out);
    }
    mgn_output(out[0]);
    mgn_output(out[1]);
    mgn_binding binding = {flat, map->parameters};
    mgn_status status = mgn_plan_compile(graph, map->device, map->real, &binding, 1, &a->plan);
    if (status == MGN_OK) {
        a->rows = rows;
        a->x = mgn_plan_tensor(a->plan, from);
        a->y = mgn_plan_tensor(a->plan, y);
        a->damping = mgn_plan_tensor(a->plan, damping);
        for (int i = 0; i < 2; i++) a->out[i] = mgn_plan_tensor(a->plan, out[i]);
    }
    mgn_graph_destroy(graph);
    return status;
}

/* Numbers in the widest value of a run; what the chunks of large models are cut down to. */
static const int64_t most_numbers = (int64_t)1 << 24;

static int64_t rows_of_chunk(const mgn_map *map, question q, bool small) {
    int64_t d = map->model->config.d, h = map->model->config.h;
    int64_t width = q == APPLY ? MGN_MAX(d, h) : q == POTENTIAL ? 4 * MGN_MAX(d, h) : d * MGN_MAX(d, h);
    const int64_t rows = MGN_MIN(small ? 256 : chunk_rows[q], MGN_MAX(most_numbers / width, 1));
    return q == BYTES ? MGN_MAX(rows / 4 * 4, 4) : rows; /* four bytes are one word of the device's */
}

/* The plan for a question about n rows. */
static mgn_status answer_for(mgn_map *map, question q, int64_t n, answer **a) {
    int small = n <= 256;
    *a = &map->answers[q][small];
    return (*a)->plan ? MGN_OK : compile(map, q, rows_of_chunk(map, q, small), *a);
}

/* ---- chunks ---- */

/* Writes `rows` rows of `source` to an input; the rest of the chunk repeats zeros. */
static mgn_status write_rows(mgn_tensor *tensor, mgn_dtype dtype, const void *source, int64_t rows, int64_t capacity,
                             int64_t columns, void *staging) {
    if (rows == capacity) return mgn_tensor_write(tensor, dtype, source);
    size_t size = mgn_dtype_size(dtype), used = (size_t)(rows * columns) * size;
    memcpy(staging, source, used);
    memset((char *)staging + used, 0, (size_t)(capacity * columns) * size - used);
    return mgn_tensor_write(tensor, dtype, staging);
}

/* Answers q for n rows of x: `width` numbers a row, to `out` in `dtype`. */
static mgn_status ask(mgn_map *map, question q, const float *x, int64_t n, int64_t width, mgn_dtype dtype, void *out) {
    int64_t d = map->model->config.d;
    answer *a = NULL;
    if (n > 0)
        MGN_TRY(answer_for(map, q, n, &a));
    else
        return MGN_OK;
    size_t size = mgn_dtype_size(dtype);
    float *staging = mgn_alloc((size_t)(a->rows * d), sizeof *staging);
    void *result = mgn_alloc((size_t)(a->rows * width), size);
    mgn_status status = staging && result ? MGN_OK : MGN_ERR_MEMORY;
    for (int64_t at = 0; status == MGN_OK && at < n; at += a->rows) {
        int64_t rows = MGN_MIN(a->rows, n - at);
        bool whole = rows == a->rows;
        void *to = whole ? (char *)out + (size_t)(at * width) * size : result;
        MGN_TRY_GOTO(write_rows(a->x, MGN_F32, x + at * d, rows, a->rows, d, staging), done);
        MGN_TRY_GOTO(mgn_plan_run(a->plan, 1), done);
        MGN_TRY_GOTO(mgn_tensor_read(a->out[0], dtype, to), done);
        if (!whole) memcpy((char *)out + (size_t)(at * width) * size, result, (size_t)(rows * width) * size);
        if (mgn_interrupted()) status = mgn_fail(MGN_ERR_INTERRUPTED, "interrupted");
    }
done:
    mgn_free(staging);
    mgn_free(result);
    return status;
}

mgn_status mgn_map_apply(mgn_map *map, const float *x, int64_t n, float *y) {
    int64_t d = map->model->config.d;
    MGN_TRY(ask(map, APPLY, x, n, d, MGN_F32, y));
    for (int64_t i = 0; i < n * d; i++)
        if (!isfinite(y[i]))
            return mgn_fail(MGN_ERR_NUMERIC,
                            "the map gives %g in row %lld, column %lld: its parameters or the data are out of range",
                            (double)y[i], (long long)(i / d), (long long)(i % d));
    return MGN_OK;
}

mgn_status mgn_map_apply_bytes(mgn_map *map, const uint8_t *x, int64_t n, uint8_t *y) {
    if (n <= 0) return MGN_OK;
    answer *a = NULL;
    MGN_TRY(answer_for(map, BYTES, n, &a));
    int64_t d = map->model->config.d;
    size_t whole = (size_t)(a->rows * d);
    uint8_t *staging = mgn_alloc_aligned(whole, 1); /* the last, smaller chunk */
    mgn_status status = staging ? MGN_OK : MGN_ERR_MEMORY;
    for (int64_t at = 0; status == MGN_OK && at < n; at += a->rows) {
        size_t used = (size_t)(MGN_MIN(a->rows, n - at) * d);
        bool full = used == whole && (uintptr_t)(x + at * d) % 4 == 0 && (uintptr_t)(y + at * d) % 4 == 0;
        if (!full) memcpy(staging, x + at * d, used);
        MGN_TRY_GOTO(mgn_tensor_write(a->x, MGN_U32, full ? x + at * d : staging), done);
        MGN_TRY_GOTO(mgn_plan_run(a->plan, 1), done);
        MGN_TRY_GOTO(mgn_tensor_read(a->out[0], MGN_U32, full ? y + at * d : staging), done);
        if (!full) memcpy(y + at * d, staging, used);
        if (mgn_interrupted()) status = mgn_fail(MGN_ERR_INTERRUPTED, "interrupted");
    }
done:
    mgn_free(staging);
    return status;
}

mgn_status mgn_map_jacobian_rows(mgn_map *map, const float *x, int64_t first, int64_t n, double *jacobian) {
    int64_t d = map->model->config.d;
    MGN_TRY(ask(map, JACOBIAN, x + first * d, n, d * d, MGN_F64, jacobian));
    for (int64_t i = 0; i < n * d * d; i++)
        if (!isfinite(jacobian[i]))
            return mgn_fail(
                MGN_ERR_NUMERIC,
                "the Jacobian in row %lld has %g in row %lld, column %lld: the map's parameters or the data "
                "are out of range",
                (long long)(first + i / (d * d)), jacobian[i], (long long)(i / d % d), (long long)(i % d));
    return MGN_OK;
}

mgn_status mgn_map_jacobian(mgn_map *map, const float *x, int64_t n, double *jacobian) {
    return mgn_map_jacobian_rows(map, x, 0, n, jacobian);
}

mgn_status mgn_map_potential(mgn_map *map, const float *x, int64_t n, double *phi) {
    if (!mgn_model_is_gradient(map->model))
        return mgn_fail(MGN_ERR_ARGUMENT, "this %s has no potential: %s", map->model->kind->label,
                        map->model->kind->why_no_gradient(&map->model->config));
    return ask(map, POTENTIAL, x, n, 1, MGN_F64, phi);
}

/* ---- inverse ---- */

enum { MOST_NEWTON_STEPS = 200 };

/* Everything of one chunk while it is being solved. */
typedef struct newton {
    int64_t rows, d;
    double *x, *candidate, *y, *damping, *residual, *trial;
    double tolerance;
} newton;

static bool newton_allocate(newton *s, int64_t capacity) {
    size_t vectors = (size_t)(capacity * s->d), scalars = (size_t)capacity;
    s->x = mgn_alloc(vectors, sizeof(double));
    s->candidate = mgn_alloc(vectors, sizeof(double));
    s->y = mgn_alloc(vectors, sizeof(double));
    s->damping = mgn_alloc(scalars, sizeof(double));
    s->residual = mgn_alloc(scalars, sizeof(double));
    s->trial = mgn_alloc(scalars, sizeof(double));
    return s->x && s->candidate && s->y && s->damping && s->residual && s->trial;
}

static void newton_free(newton *s) {
    mgn_free(s->x);
    mgn_free(s->candidate);
    mgn_free(s->y);
    mgn_free(s->damping);
    mgn_free(s->residual);
    mgn_free(s->trial);
}

static double row_norm(const double *row, int64_t d) {
    double sum = 0;
    for (int64_t j = 0; j < d; j++) sum += row[j] * row[j];
    return sqrt(sum);
}

/* Runs the plan at `at`: residuals there, and the points the next step leads to. */
static mgn_status newton_evaluate(answer *a, const newton *s, const double *at, double *residual, double *next) {
    MGN_TRY(mgn_tensor_write(a->x, MGN_F64, at));
    MGN_TRY(mgn_tensor_write(a->damping, MGN_F64, s->damping));
    MGN_TRY(mgn_plan_run(a->plan, 1));
    MGN_TRY(mgn_tensor_read(a->out[1], MGN_F64, residual));
    return mgn_tensor_read(a->out[0], MGN_F64, next);
}

/* Levenberg-Marquardt on each row by itself: a step that does not shrink the residual is taken back and the row's damping
 * grows; one that does shrinks it. Near the solution the damping is gone and the steps are Newton's. */
static mgn_status newton_solve(answer *a, newton *s, double *next) {
    MGN_TRY(mgn_tensor_write(a->y, MGN_F64, s->y));
    int64_t d = s->d;
    for (int64_t i = 0; i < a->rows; i++) s->damping[i] = 1e-6;
    MGN_TRY(newton_evaluate(a, s, s->x, s->residual, s->candidate));
    for (int step = 0; step < MOST_NEWTON_STEPS; step++) {
        int64_t open = 0;
        for (int64_t i = 0; i < s->rows; i++)
            open += !(s->residual[i] <= s->tolerance * (1 + row_norm(s->y + i * d, d)));
        if (open == 0) break;
        MGN_TRY(newton_evaluate(a, s, s->candidate, s->trial, next));
        for (int64_t i = 0; i < s->rows; i++) {
            bool better = s->trial[i] < s->residual[i];
            if (better) {
                memcpy(s->x + i * d, s->candidate + i * d, (size_t)d * sizeof(double));
                s->residual[i] = s->trial[i];
            }
            s->damping[i] = better ? MGN_MAX(s->damping[i] * 0.1, 1e-12) : MGN_MIN(s->damping[i] * 10, 1e12);
        }
        MGN_TRY(newton_evaluate(a, s, s->x, s->trial, s->candidate)); /* the next step, with the new damping */
        if (mgn_interrupted()) return mgn_fail(MGN_ERR_INTERRUPTED, "interrupted");
    }
    return MGN_OK;
}

static mgn_status newton_check(const newton *s, int64_t first) {
    for (int64_t i = 0; i < s->rows; i++) {
        double allowed = s->tolerance * (1 + row_norm(s->y + i * s->d, s->d));
        if (!(s->residual[i] <= allowed))
            return mgn_fail(MGN_ERR_NUMERIC,
                            "no inverse found for row %lld: |g(x) - y| stays at %.3g, %.3g was asked; y may lie "
                            "outside the map's range",
                            (long long)(first + i), s->residual[i], allowed);
    }
    return MGN_OK;
}

mgn_status mgn_map_inverse(mgn_map *map, const float *y, int64_t n, double tolerance, float *x, double *residual) {
    if (!mgn_model_is_monotone(map->model))
        return mgn_fail(MGN_ERR_ARGUMENT, "the inverse is that of a monotone map; this %s need not be monotone",
                        map->model->kind->label);
    if (n <= 0) return MGN_OK;
    answer *a;
    MGN_TRY(answer_for(map, NEWTON, n, &a));
    newton s = {.d = map->model->config.d, .tolerance = tolerance};
    double *next = mgn_alloc((size_t)(a->rows * s.d), sizeof *next);
    mgn_status status = newton_allocate(&s, a->rows) && next ? MGN_OK : MGN_ERR_MEMORY;
    for (int64_t at = 0; status == MGN_OK && at < n; at += a->rows) {
        s.rows = MGN_MIN(a->rows, n - at);
        for (int64_t i = 0; i < a->rows * s.d; i++) s.y[i] = i < s.rows * s.d ? (double)y[at * s.d + i] : 0;
        memset(s.x, 0, (size_t)(a->rows * s.d) * sizeof *s.x);
        status = newton_solve(a, &s, next);
        if (status == MGN_OK) status = newton_check(&s, at);
        for (int64_t i = 0; status == MGN_OK && i < s.rows * s.d; i++) x[at * s.d + i] = (float)s.x[i];
        for (int64_t i = 0; status == MGN_OK && residual && i < s.rows; i++) residual[at + i] = s.residual[i];
    }
    newton_free(&s);
    mgn_free(next);
    return status;
}
