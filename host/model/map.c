/* Maps: a model on a device, evaluated in chunks of rows. One plan per question, compiled when it is first asked. Processes that
 * share a map have some of the chunks each: plans, chunks and bits are those of one process. */
#include <math.h>
#include <string.h>

#include "comm/blocks_sum.h"
#include "model/model.h"

typedef enum question { APPLY, BYTES, JACOBIAN, POTENTIAL, NEWTON, QUESTIONS } question;

/* Rows of one run: enough to keep a device busy, little enough to stay in cache. */
static const int64_t chunk_rows[QUESTIONS] = {
    [APPLY] = 65536, [BYTES] = 262144, [JACOBIAN] = 4096, [POTENTIAL] = 4096, [NEWTON] = 4096};

typedef struct answer {
    int64_t rows; /* of one run; fewer than usual where the device has no memory for more */
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
    mgn_comm *comm;               /* who shares it; NULL: nobody */
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

void mgn_map_share(mgn_map *map, mgn_comm *comm) { map->comm = mgn_comm_size(comm) > 1 ? comm : NULL; }

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

static void drop_plan(answer *a) {
    mgn_plan_destroy(a->plan);
    *a = (answer){.rows = a->rows};
}

/* Whether what failed may do with half the rows, of which there is then no plan yet. Processes that share chunks have the same. */
static bool halve(mgn_map *map, question q, answer *a) {
    const int64_t unit = q == BYTES ? 4 : 1;
    if (map->comm || !mgn_device_was_short(map->device) || a->rows < 2 * unit) return false;
    a->rows = a->rows / 2 / unit * unit;
    drop_plan(a);
    return true;
}

/* The plan for a question about n rows. */
static mgn_status answer_for(mgn_map *map, question q, int64_t n, answer **which) {
    const int small = n <= 256;
    answer *a = *which = &map->answers[q][small];
    if (a->plan) return MGN_OK;
    const int64_t usual = rows_of_chunk(map, q, small);
    if (a->rows == 0) a->rows = usual;
    mgn_device_was_short(map->device); /* whatever that was */
    mgn_status status = compile(map, q, a->rows, a);
    while (status != MGN_OK && halve(map, q, a)) status = compile(map, q, a->rows, a);
    if (status == MGN_OK && a->rows < MGN_MIN(usual, n))
        mgn_note("%s has no memory for this map's usual %lld rows at once: %lld rows go through it in %lld chunks",
                 mgn_device_get_info(map->device)->spec, (long long)usual, (long long)n,
                 (long long)((n + a->rows - 1) / a->rows));
    return status;
}

/* Whether a run that ended with `status` is to be made again, in smaller chunks. */
static bool is_again(mgn_map *map, question q, int64_t n, answer *a, mgn_status *status) {
    if (*status == MGN_OK || !halve(map, q, a)) return false;
    *status = answer_for(map, q, n, &a);
    return *status == MGN_OK;
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

/* Of n rows those of a rank: whole chunks. */
static int64_t first_row(const mgn_map *map, const answer *a, int64_t n, int rank) {
    return MGN_MIN(mgn_blocks_start(map->comm, (n + a->rows - 1) / a->rows, rank) * a->rows, n);
}

static void own_rows(const mgn_map *map, const answer *a, int64_t n, int64_t *first, int64_t *end) {
    *first = first_row(map, a, n, mgn_comm_rank(map->comm));
    *end = first_row(map, a, n, mgn_comm_rank(map->comm) + 1);
}

/* Rows that are shared at a time: as many chunks as keep messages below what MPI takes. */
static int64_t rows_of_round(const mgn_map *map, const answer *a, int64_t n, size_t row_bytes) {
    enum { MESSAGE_BYTES = 1 << 26 };
    if (!map->comm) return n;
    return MGN_MAX(MESSAGE_BYTES / (a->rows * (int64_t)row_bytes), 1) * a->rows;
}

/* All get all n rows, of `row_bytes` each; `status`: how this process's own went. */
static mgn_status gather(const mgn_map *map, const answer *a, mgn_status status, int64_t n, size_t row_bytes,
                         void *rows) {
    if (!map->comm) return status;
    int64_t first, end, *sizes = mgn_alloc(2 * (size_t)map->comm->size, sizeof *sizes);
    own_rows(map, a, n, &first, &end);
    const size_t bytes = (size_t)(end - first) * row_bytes;
    char *own = mgn_alloc_aligned(bytes + 1, 1);
    if (status == MGN_OK && (!sizes || !own)) status = MGN_ERR_MEMORY;
    status = mgn_comm_agree(map->comm, status);
    if (status == MGN_OK) {
        MGN_KNOWN(own && sizes);
        memcpy(own, (const char *)rows + (size_t)first * row_bytes, bytes);
        for (int r = 0; r < map->comm->size; r++)
            sizes[r] = (first_row(map, a, n, r + 1) - first_row(map, a, n, r)) * (int64_t)row_bytes;
        status = mgn_comm_gather(map->comm, own, sizes, rows);
    }
    mgn_free(own);
    mgn_free(sizes);
    return status;
}

/* What is asked about a row: `width` numbers of type `dtype`. */
typedef struct answer_row {
    question q;
    int64_t width;
    mgn_dtype dtype;
} answer_row;

/* Runs a chunk. What it gives may be wanted where its rows came from: nothing is written there before all of it has run. */
static mgn_status run_chunk(mgn_map *map, answer *a) {
    MGN_TRY(mgn_plan_run(a->plan, 1));
    return mgn_device_finish(map->device);
}

/* One chunk: `rows` rows of x, to `out` by way of `staging` and `result` where it is no whole one. */
static mgn_status ask_chunk(mgn_map *map, answer *a, const answer_row *row, const float *x, int64_t rows, void *out,
                            float *staging, void *result) {
    const bool whole = rows == a->rows;
    MGN_TRY(write_rows(a->x, MGN_F32, x, rows, a->rows, map->model->config.d, staging));
    MGN_TRY(run_chunk(map, a));
    MGN_TRY(mgn_tensor_read(a->out[0], row->dtype, whole ? out : result));
    if (!whole) memcpy(out, result, (size_t)(rows * row->width) * mgn_dtype_size(row->dtype));
    return MGN_OK;
}

/* Answers for rows first .. end - 1 of x, from the beginning of a chunk on, at their places in `out`. */
static mgn_status ask_rows(mgn_map *map, answer *a, const answer_row *row, const float *x, int64_t first, int64_t end,
                           void *out) {
    const int64_t d = map->model->config.d;
    const size_t size = mgn_dtype_size(row->dtype) * (size_t)row->width;
    float *staging = mgn_alloc((size_t)(a->rows * d), sizeof *staging);
    void *result = mgn_alloc((size_t)a->rows, size);
    mgn_status status = staging && result ? MGN_OK : MGN_ERR_MEMORY;
    for (int64_t at = first, rows; status == MGN_OK && at < end; at += rows) {
        rows = MGN_MIN(a->rows, end - at);
        status = ask_chunk(map, a, row, x + at * d, rows, (char *)out + (size_t)at * size, staging, result);
        if (is_again(map, row->q, end - first, a, &status)) rows = 0;
        if (status == MGN_OK && mgn_interrupted()) status = mgn_fail(MGN_ERR_INTERRUPTED, "interrupted");
    }
    mgn_free(staging);
    mgn_free(result);
    return status;
}

/* Answers for n rows of x to `out`, in place where x is not wanted any more. */
static mgn_status ask(mgn_map *map, const answer_row *row, const float *x, int64_t n, void *out) {
    const size_t size = mgn_dtype_size(row->dtype) * (size_t)row->width;
    answer *a = NULL;
    if (n <= 0) return MGN_OK;
    MGN_TRY(answer_for(map, row->q, n, &a));
    const int64_t step = rows_of_round(map, a, n, size);
    for (int64_t at = 0; at < n; at += step) {
        const int64_t rows = MGN_MIN(step, n - at);
        char *to = (char *)out + (size_t)at * size;
        int64_t first, end;
        own_rows(map, a, rows, &first, &end);
        const mgn_status status = ask_rows(map, a, row, x + at * map->model->config.d, first, end, to);
        MGN_TRY(gather(map, a, status, rows, size, to));
    }
    return MGN_OK;
}

mgn_status mgn_map_apply(mgn_map *map, const float *x, int64_t n, float *y) {
    int64_t d = map->model->config.d;
    MGN_TRY(ask(map, &(answer_row){APPLY, d, MGN_F32}, x, n, y));
    for (int64_t i = 0; i < n * d; i++)
        if (!isfinite(y[i]))
            return mgn_fail(MGN_ERR_NUMERIC,
                            "the map gives %g in row %lld, column %lld: its parameters or the data are out of range",
                            (double)y[i], (long long)(i / d), (long long)(i % d));
    return MGN_OK;
}

/* One chunk of `used` bytes, by way of `staging` where it is no whole one or lies badly. */
static mgn_status apply_byte_chunk(mgn_map *map, answer *a, const uint8_t *x, size_t used, size_t whole, uint8_t *y,
                                   uint8_t *staging) {
    const bool full = used == whole && (uintptr_t)x % 4 == 0 && (uintptr_t)y % 4 == 0;
    if (!full) memcpy(staging, x, used);
    MGN_TRY(mgn_tensor_write(a->x, MGN_U32, full ? x : staging));
    MGN_TRY(run_chunk(map, a));
    MGN_TRY(mgn_tensor_read(a->out[0], MGN_U32, full ? y : staging));
    if (!full) memcpy(y, staging, used);
    return MGN_OK;
}

mgn_status mgn_map_apply_bytes(mgn_map *map, const uint8_t *x, int64_t n, uint8_t *y) {
    if (n <= 0) return MGN_OK;
    answer *a = NULL;
    MGN_TRY(answer_for(map, BYTES, n, &a));
    const int64_t d = map->model->config.d;
    uint8_t *staging = mgn_alloc_aligned((size_t)(a->rows * d), 1); /* the last, smaller chunk */
    mgn_status status = staging ? MGN_OK : MGN_ERR_MEMORY;
    for (int64_t at = 0, rows; status == MGN_OK && at < n; at += rows) {
        rows = MGN_MIN(a->rows, n - at);
        status = apply_byte_chunk(map, a, x + at * d, (size_t)(rows * d), (size_t)(a->rows * d), y + at * d, staging);
        if (is_again(map, BYTES, n, a, &status)) rows = 0;
        if (status == MGN_OK && mgn_interrupted()) status = mgn_fail(MGN_ERR_INTERRUPTED, "interrupted");
    }
    mgn_free(staging);
    return status;
}

static mgn_status check_jacobians(const double *jacobian, int64_t d, int64_t at, int64_t first, int64_t end) {
    for (int64_t i = first * d * d; i < end * d * d; i++)
        if (!isfinite(jacobian[i]))
            return mgn_fail(
                MGN_ERR_NUMERIC,
                "the Jacobian in row %lld has %g in row %lld, column %lld: the map's parameters or the data "
                "are out of range",
                (long long)(at + i / (d * d)), jacobian[i], (long long)(i / d % d), (long long)(i % d));
    return MGN_OK;
}

mgn_status mgn_map_own_jacobians(mgn_map *map, const float *x, int64_t at, int64_t n, double *jacobian, int64_t *first,
                                 int64_t *end) {
    const int64_t d = map->model->config.d;
    answer *a = NULL;
    *first = *end = 0;
    MGN_TRY(answer_for(map, JACOBIAN, n, &a));
    own_rows(map, a, n, first, end);
    MGN_TRY(ask_rows(map, a, &(answer_row){JACOBIAN, d * d, MGN_F64}, x + at * d, *first, *end, jacobian));
    return check_jacobians(jacobian, d, at, *first, *end);
}

mgn_status mgn_map_gather(mgn_map *map, mgn_status status, int64_t n, int64_t width, double *rows) {
    answer *a = NULL;
    if (!map->comm) return status;
    if (status == MGN_OK) status = answer_for(map, JACOBIAN, n, &a);
    if (status != MGN_OK) return mgn_comm_agree(map->comm, status);
    return gather(map, a, status, n, (size_t)width * sizeof *rows, rows);
}

mgn_status mgn_map_jacobian(mgn_map *map, const float *x, int64_t n, double *jacobian) {
    const int64_t d = map->model->config.d;
    MGN_TRY(ask(map, &(answer_row){JACOBIAN, d * d, MGN_F64}, x, n, jacobian));
    return check_jacobians(jacobian, d, 0, 0, n);
}

mgn_status mgn_map_potential(mgn_map *map, const float *x, int64_t n, double *phi) {
    if (!mgn_model_is_gradient(map->model))
        return mgn_fail(MGN_ERR_ARGUMENT, "this %s has no potential: %s", map->model->kind->label,
                        map->model->kind->why_no_gradient(&map->model->config));
    return ask(map, &(answer_row){POTENTIAL, 1, MGN_F64}, x, n, phi);
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

/* Rows `at` .. `end` - 1 of y (n, d), and what was left of each. */
static mgn_status newton_check(const float *y, const double *residual, int64_t at, int64_t end, int64_t d,
                               double tolerance) {
    for (int64_t i = at; i < end; i++) {
        double sum = 0;
        for (int64_t j = 0; j < d; j++) sum += (double)y[i * d + j] * (double)y[i * d + j];
        const double allowed = tolerance * (1 + sqrt(sum));
        if (!(residual[i] <= allowed))
            return mgn_fail(MGN_ERR_NUMERIC,
                            "no inverse found for row %lld: |g(x) - y| stays at %.3g, %.3g was asked; y may lie "
                            "outside the map's range",
                            (long long)i, residual[i], allowed);
    }
    return MGN_OK;
}

/* Rows first .. end - 1 of y, in whole chunks. */
static mgn_status newton_rows(mgn_map *map, answer *a, newton *s, const float *y, int64_t first, int64_t end, float *x,
                              double *residual, double *next) {
    for (int64_t at = first; at < end; at += s->rows) {
        s->rows = MGN_MIN(a->rows, end - at);
        for (int64_t i = 0; i < a->rows * s->d; i++) s->y[i] = i < s->rows * s->d ? (double)y[at * s->d + i] : 0;
        memset(s->x, 0, (size_t)(a->rows * s->d) * sizeof *s->x);
        mgn_status status = newton_solve(a, s, next);
        if (is_again(map, NEWTON, end - first, a, &status)) s->rows = 0;
        MGN_TRY(status);
        for (int64_t i = 0; i < s->rows * s->d; i++) x[at * s->d + i] = (float)s->x[i];
        memcpy(residual + at, s->residual, (size_t)s->rows * sizeof *residual);
    }
    return MGN_OK;
}

/* Rounds of rows, whose results are kept where all of them have an inverse. `found` has room for those of a round. */
static mgn_status invert(mgn_map *map, answer *a, newton *s, const float *y, int64_t n, int64_t step, float *x,
                         float *found, double *residual, double *next) {
    const size_t row_bytes = (size_t)s->d * sizeof *x;
    for (int64_t at = 0; at < n; at += step) {
        const int64_t rows = MGN_MIN(step, n - at);
        int64_t first, end;
        own_rows(map, a, rows, &first, &end);
        mgn_status status = newton_rows(map, a, s, y + at * s->d, first, end, found, residual + at, next);
        MGN_TRY(gather(map, a, status, rows, row_bytes, found));
        MGN_TRY(gather(map, a, MGN_OK, rows, sizeof *residual, residual + at));
        MGN_TRY(newton_check(y, residual, at, at + rows, s->d, s->tolerance));
        memcpy(x + at * s->d, found, (size_t)rows * row_bytes);
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
    /* alone it ends with the first chunk that has a row without an inverse */
    const size_t row_bytes = (size_t)s.d * sizeof *x;
    const int64_t step = map->comm ? MGN_MIN(rows_of_round(map, a, n, row_bytes + sizeof *residual), n) : a->rows;
    double *next = mgn_alloc((size_t)(a->rows * s.d), sizeof *next),
           *left = residual ? residual : mgn_alloc((size_t)n, sizeof *left);
    float *found = mgn_alloc((size_t)step, row_bytes);
    mgn_status status = newton_allocate(&s, a->rows) && next && left && found ? MGN_OK : MGN_ERR_MEMORY;
    if (status == MGN_OK) status = invert(map, a, &s, y, n, step, x, found, left, next);
    newton_free(&s);
    mgn_free(next);
    mgn_free(found);
    if (left != residual) mgn_free(left);
    return status;
}
