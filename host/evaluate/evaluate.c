/* Densities and cycle errors of maps, row by row, in chunks so that neither Jacobians nor plans grow with the data. */
#include <mgn/evaluate.h>

#include <lapacke.h>
#include <math.h>
#include <string.h>

#include "core/core.h"
#include "graph/graph.h"
#include "model/model.h"

enum { DENSITY_ROWS = 16384, JACOBIAN_NUMBERS = 1 << 19 };

static mgn_status check_rows(const char *what, const void *rows, int64_t n, const void *result) {
    if (rows && result && n >= 1) return MGN_OK;
    return mgn_fail(MGN_ERR_ARGUMENT, "%s: one row or more and a place for the results were expected", what);
}

/* ---- densities of targets ---- */

typedef struct density_plan {
    mgn_plan *plan;
    mgn_tensor *y, *nats;
    int64_t rows;
} density_plan;

static mgn_status compile_density(const mgn_target *target, mgn_device *device, mgn_dtype real, int64_t rows,
                                  density_plan *p) {
    mgn_graph *graph;
    MGN_TRY(mgn_graph_create(&graph));
    mgn_node *y = mgn_input(graph, "y", MGN_REAL, MGN_SHAPE(rows, mgn_target_dimension(target)));
    mgn_node *nats = mgn_target_log_density(target, y);
    mgn_output(nats);
    const mgn_status status = mgn_plan_compile(graph, device, real, NULL, 0, &p->plan);
    if (status == MGN_OK) {
        p->y = mgn_plan_tensor(p->plan, y);
        p->nats = mgn_plan_tensor(p->plan, nats);
        p->rows = rows;
    }
    mgn_graph_destroy(graph);
    return status;
}

/* The last chunk may have fewer rows: the rest of the plan's keeps what the chunk before it left. */
static mgn_status run_density(const density_plan *p, int64_t d, const float *y, int64_t n, double *nats, float *rows,
                              double *results) {
    for (int64_t at = 0; at < n; at += p->rows) {
        const int64_t count = MGN_MIN(p->rows, n - at);
        memcpy(rows, y + at * d, (size_t)(count * d) * sizeof *rows);
        MGN_TRY(mgn_tensor_write(p->y, MGN_F32, rows));
        MGN_TRY(mgn_plan_run(p->plan, 1));
        MGN_TRY(mgn_tensor_read(p->nats, MGN_F64, results));
        memcpy(nats + at, results, (size_t)count * sizeof *nats);
        if (mgn_interrupted()) return mgn_fail(MGN_ERR_INTERRUPTED, "densities: interrupted");
    }
    return MGN_OK;
}

mgn_status mgn_target_log_densities(const mgn_target *target, mgn_device *device, mgn_dtype real, const float *y,
                                    int64_t n, double *nats) {
    MGN_TRY(check_rows("densities", y, n, nats));
    const int64_t d = mgn_target_dimension(target);
    density_plan p = {0};
    int64_t most = MGN_MIN(n, DENSITY_ROWS);
    mgn_device_was_short(device);
    mgn_status compiled = compile_density(target, device, real, most, &p);
    while (compiled != MGN_OK && most > 1 && mgn_device_was_short(device))
        compiled = compile_density(target, device, real, most /= 2, &p);
    MGN_TRY(compiled);
    float *rows = mgn_alloc((size_t)(p.rows * d), sizeof *rows);
    double *results = mgn_alloc((size_t)p.rows, sizeof *results);
    const mgn_status status = rows && results ? run_density(&p, d, y, n, nats, rows, results) : MGN_ERR_MEMORY;
    mgn_free(results);
    mgn_free(rows);
    mgn_plan_destroy(p.plan);
    return status;
}

/* ---- determinants ---- */

/* Destroys `a` (d, d). */
static double logdet_of(double *a, int64_t d) {
    for (int64_t i = 0; i < d; i++)
        for (int64_t j = 0; j < i; j++) a[i * d + j] = 0.5 * (a[i * d + j] + a[j * d + i]);
    if (LAPACKE_dpotrf_work(LAPACK_COL_MAJOR, 'U', (lapack_int)d, a, (lapack_int)d) != 0) return NAN;
    double sum = 0;
    for (int64_t i = 0; i < d; i++) sum += log(a[i * d + i]);
    return 2 * sum;
}

mgn_status mgn_map_logdet(mgn_map *map, const float *x, int64_t n, double *logdet) {
    MGN_TRY(check_rows("log det", x, n, logdet));
    const int64_t d = mgn_map_dimension(map), most = MGN_MIN(n, MGN_MAX(JACOBIAN_NUMBERS / (d * d), 1));
    double *jacobian = mgn_alloc_aligned((size_t)(most * d * d), sizeof *jacobian);
    if (!jacobian) return MGN_ERR_MEMORY;
    mgn_status status = MGN_OK;
    for (int64_t at = 0; at < n && status == MGN_OK; at += most) {
        const int64_t rows = MGN_MIN(most, n - at);
        int64_t first, end;
        status = mgn_map_own_jacobians(map, x, at, rows, jacobian, &first, &end);
        for (int64_t i = first; i < end && status == MGN_OK; i++) logdet[at + i] = logdet_of(jacobian + i * d * d, d);
        status = mgn_map_gather(map, status, rows, 1, logdet + at);
        if (status == MGN_OK && mgn_interrupted()) status = mgn_fail(MGN_ERR_INTERRUPTED, "log det: interrupted");
    }
    mgn_free(jacobian);
    return status;
}

mgn_status mgn_map_log_densities(mgn_map *map, const mgn_target *target, mgn_device *device, mgn_dtype real,
                                 const float *x, int64_t n, double *nats) {
    MGN_TRY(check_rows("densities", x, n, nats));
    const int64_t d = mgn_map_dimension(map);
    if (mgn_target_dimension(target) != d)
        return mgn_fail(MGN_ERR_ARGUMENT, "densities: the map is of %lld dimensions, but %s of %lld", (long long)d,
                        mgn_target_label(target), (long long)mgn_target_dimension(target));
    float *y = mgn_alloc_aligned((size_t)(n * d), sizeof *y);
    double *logdet = mgn_alloc((size_t)n, sizeof *logdet);
    mgn_status status = y && logdet ? mgn_map_apply(map, x, n, y) : MGN_ERR_MEMORY;
    if (status == MGN_OK) status = mgn_map_logdet(map, x, n, logdet);
    if (status == MGN_OK) status = mgn_target_log_densities(target, device, real, y, n, nats);
    for (int64_t i = 0; i < n && status == MGN_OK; i++) nats[i] += logdet[i];
    mgn_free(logdet);
    mgn_free(y);
    return status;
}

/* ---- there and back ---- */

mgn_status mgn_map_cycle_error(mgn_map *map, const float *x, int64_t n, double tolerance, double *rms, double *worst) {
    MGN_TRY(check_rows("cycle error", x, n, rms));
    const int64_t d = mgn_map_dimension(map);
    float *y = mgn_alloc_aligned((size_t)(n * d), sizeof *y), *back = mgn_alloc_aligned((size_t)(n * d), sizeof *back);
    mgn_status status = y && back ? mgn_map_apply(map, x, n, y) : MGN_ERR_MEMORY;
    if (status == MGN_OK) status = mgn_map_inverse(map, y, n, tolerance, back, NULL);
    if (status == MGN_OK) {
        double sum = 0, largest = 0;
        for (int64_t i = 0; i < n; i++) {
            double squares = 0;
            for (int64_t k = 0; k < d; k++) {
                const double e = (double)back[i * d + k] - (double)x[i * d + k];
                squares += e * e;
            }
            sum += squares;
            largest = MGN_MAX(largest, squares);
        }
        *rms = sqrt(sum / (double)n);
        if (worst) *worst = sqrt(largest);
    }
    mgn_free(back);
    mgn_free(y);
    return status;
}
