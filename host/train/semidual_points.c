/* Conjugate points one by one: rows are worked off in chunks, and those that are where they belong leave the list, so that
 * a few stubborn ones cost little. Shared by what renews points between rounds and by what judges on rows held out. */
#include <math.h>
#include <string.h>

#include "core/core.h"
#include "train/semidual_step.h"

enum { CHUNK = 1024, SWEEPS = 30 };

struct mgn_conjugates {
    int64_t d, rows;          /* of a chunk */
    mgn_plan *newton, *value; /* a step of points; the potential of rows */
    mgn_tensor *z, *y, *parameters, *next, *residual;
    mgn_tensor *x, *value_parameters, *phi;
    float *staged[2];       /* (rows, d) */
    double *numbers;        /* (rows) */
    int64_t *open, *places; /* rows still moving, and their places in the list */
    int64_t capacity;       /* of the last two */
};

static mgn_status compile_newton(mgn_conjugates *c, const mgn_semidual_step *step, mgn_device *device) {
    mgn_graph *graph;
    mgn_node *residual = NULL;
    MGN_TRY(mgn_graph_create(&graph));
    mgn_node *flat = mgn_input(graph, "parameters", MGN_REAL, MGN_SHAPE(step->count));
    mgn_node *z = mgn_input(graph, "conjugate points", MGN_REAL, MGN_SHAPE(c->rows, c->d));
    mgn_node *y = mgn_input(graph, "y", MGN_REAL, MGN_SHAPE(c->rows, c->d));
    mgn_node *next = mgn_conjugate_step(step, flat, z, y, &residual, NULL);
    mgn_output(next);
    mgn_output(residual);
    mgn_status status = mgn_plan_compile(graph, device, step->config->real, NULL, 0, &c->newton);
    if (status == MGN_OK) {
        c->parameters = mgn_plan_tensor(c->newton, flat);
        c->z = mgn_plan_tensor(c->newton, z);
        c->y = mgn_plan_tensor(c->newton, y);
        c->next = mgn_plan_tensor(c->newton, next);
        c->residual = mgn_plan_tensor(c->newton, residual);
    }
    mgn_graph_destroy(graph);
    return status;
}

static mgn_status compile_value(mgn_conjugates *c, const mgn_semidual_step *step, mgn_device *device) {
    mgn_graph *graph;
    MGN_TRY(mgn_graph_create(&graph));
    mgn_node *flat = mgn_input(graph, "parameters", MGN_REAL, MGN_SHAPE(step->count));
    mgn_node *x = mgn_input(graph, "x", MGN_REAL, MGN_SHAPE(c->rows, c->d));
    mgn_node *phi = mgn_model_potential(step->model, flat, x);
    mgn_output(phi);
    mgn_status status = mgn_plan_compile(graph, device, step->config->real, NULL, 0, &c->value);
    if (status == MGN_OK) {
        c->value_parameters = mgn_plan_tensor(c->value, flat);
        c->x = mgn_plan_tensor(c->value, x);
        c->phi = mgn_plan_tensor(c->value, phi);
    }
    mgn_graph_destroy(graph);
    return status;
}

mgn_status mgn_conjugates_create(const mgn_semidual_step *step, mgn_device *device, int64_t rows,
                                 mgn_conjugates **conjugates) {
    mgn_conjugates *c = mgn_alloc(1, sizeof *c);
    if (!c) return MGN_ERR_MEMORY;
    c->d = step->d;
    c->rows = MGN_MIN(rows, CHUNK);
    for (int i = 0; i < 2; i++) c->staged[i] = mgn_alloc_aligned((size_t)c->rows, (size_t)c->d * sizeof(float));
    c->numbers = mgn_alloc((size_t)c->rows, sizeof *c->numbers);
    mgn_status status = c->staged[0] && c->staged[1] && c->numbers ? MGN_OK : MGN_ERR_MEMORY;
    if (status == MGN_OK) status = compile_newton(c, step, device);
    if (status == MGN_OK) status = compile_value(c, step, device);
    if (status == MGN_OK)
        *conjugates = c;
    else
        mgn_conjugates_destroy(c);
    return status;
}

void mgn_conjugates_destroy(mgn_conjugates *c) {
    if (!c) return;
    mgn_plan_destroy(c->newton);
    mgn_plan_destroy(c->value);
    void *const blocks[] = {c->staged[0], c->staged[1], c->numbers, c->open, c->places};
    for (size_t i = 0; i < MGN_COUNT(blocks); i++) mgn_free(blocks[i]);
    mgn_free(c);
}

mgn_status mgn_conjugates_set(mgn_conjugates *c, const double *parameters) {
    MGN_TRY(mgn_tensor_write(c->parameters, MGN_F64, parameters));
    return mgn_tensor_write(c->value_parameters, MGN_F64, parameters);
}

/* ---- solving ---- */

/* Rows first .. first + count - 1 of the open ones, to a tensor; the last of them fills a chunk that is not full. */
static mgn_status write_open(mgn_conjugates *c, const float *rows, int64_t first, int64_t count, int which,
                             mgn_tensor *tensor) {
    const size_t d = (size_t)c->d;
    for (int64_t i = 0; i < c->rows; i++)
        memcpy(c->staged[which] + i * c->d, rows + c->open[first + MGN_MIN(i, count - 1)] * c->d, d * sizeof(float));
    return mgn_tensor_write(tensor, MGN_F32, c->staged[which]);
}

/* One step of the open rows; those that need none leave the list, which keeps its order. */
static mgn_status sweep(mgn_conjugates *c, const float *y, float *z, double tolerance, double *residual,
                        int64_t *open) {
    int64_t left = 0;
    for (int64_t first = 0; first < *open; first += c->rows) {
        const int64_t count = MGN_MIN(c->rows, *open - first);
        MGN_TRY(write_open(c, z, first, count, 0, c->z));
        MGN_TRY(write_open(c, y, first, count, 1, c->y));
        MGN_TRY(mgn_plan_run(c->newton, 1));
        MGN_TRY(mgn_tensor_read(c->residual, MGN_F64, c->numbers));
        MGN_TRY(mgn_tensor_read(c->next, MGN_F32, c->staged[0]));
        for (int64_t i = 0; i < count; i++) {
            const int64_t row = c->open[first + i], place = c->places[first + i];
            residual[place] = c->numbers[i];
            if (c->numbers[i] <= tolerance) continue;
            memcpy(z + row * c->d, c->staged[0] + i * c->d, (size_t)c->d * sizeof(float));
            c->open[left] = row;
            c->places[left++] = place;
        }
    }
    *open = left;
    return MGN_OK;
}

static mgn_status reserve(mgn_conjugates *c, int64_t count) {
    if (count <= c->capacity) return MGN_OK;
    mgn_free(c->open);
    mgn_free(c->places);
    c->open = mgn_alloc((size_t)count, sizeof *c->open);
    c->places = mgn_alloc((size_t)count, sizeof *c->places);
    c->capacity = c->open && c->places ? count : 0;
    return c->capacity ? MGN_OK : MGN_ERR_MEMORY;
}

mgn_status mgn_conjugates_solve(mgn_conjugates *c, const float *y, float *z, const int64_t *list, int64_t count,
                                double tolerance, double *residual, int64_t *unsolved) {
    int64_t open = count;
    MGN_TRY(reserve(c, MGN_MAX(count, 1)));
    for (int64_t i = 0; i < count; i++) {
        c->open[i] = list[i];
        c->places[i] = i;
    }
    for (int attempt = 0; attempt < 2 && open > 0; attempt++) {
        for (int64_t i = 0; attempt > 0 && i < open; i++) memset(z + c->open[i] * c->d, 0, (size_t)c->d * sizeof *z);
        for (int i = 0; i < SWEEPS && open > 0 && !mgn_interrupted(); i++)
            MGN_TRY(sweep(c, y, z, tolerance, residual, &open));
    }
    *unsolved = open;
    return MGN_OK;
}

mgn_status mgn_conjugates_potential(mgn_conjugates *c, const float *x, int64_t n, double *phi) {
    for (int64_t first = 0; first < n; first += c->rows) {
        const int64_t count = MGN_MIN(c->rows, n - first);
        for (int64_t i = 0; i < c->rows; i++)
            memcpy(c->staged[0] + i * c->d, x + (first + MGN_MIN(i, count - 1)) * c->d, (size_t)c->d * sizeof *x);
        MGN_TRY(mgn_tensor_write(c->x, MGN_F32, c->staged[0]));
        MGN_TRY(mgn_plan_run(c->value, 1));
        MGN_TRY(mgn_tensor_read(c->phi, MGN_F64, c->numbers));
        memcpy(phi + first, c->numbers, (size_t)count * sizeof *phi);
    }
    return MGN_OK;
}
