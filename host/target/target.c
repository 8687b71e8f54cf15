/* Targets: making, sampling and densities. Gaussians are mixtures of one component, planar shapes stand in shapes.c,
 * everything else is rows in memory. */
#include "target/target.h"

#include <math.h>
#include <string.h>

#include <mgn/ot.h>

#include "core/parallel.h"
#include "core/random.h"
#include "graph/graph.h"

enum { ROWS_PER_CHUNK = 4096, STREAM = 0x74677400 /* of the host; sets these numbers apart from others */ };

/* ---- life ---- */

mgn_status mgn_target_new(mgn_target_kind kind, const char *label, int64_t d, mgn_target **target) {
    mgn_target *made = mgn_alloc(1, sizeof *made);
    if (!made) return MGN_ERR_MEMORY;
    *made = (mgn_target){.kind = kind, .label = mgn_strdup(label), .d = d};
    if (!made->label) {
        mgn_free(made);
        return MGN_ERR_MEMORY;
    }
    *target = made;
    return MGN_OK;
}

void mgn_target_destroy(mgn_target *target) {
    if (!target) return;
    mgn_mixture_free(&target->mixture);
    mgn_free(target->lower);
    mgn_free(target->rows);
    mgn_shards_close(target->shards);
    mgn_free(target->label);
    mgn_free(target);
}

mgn_status mgn_target_take_mixture(mgn_target *target, mgn_mixture *mixture) {
    const int64_t k = mixture->k, d = mixture->d;
    target->mixture = *mixture;
    *mixture = (mgn_mixture){0};
    MGN_TRY(mgn_mixture_check(&target->mixture));
    target->lower = mgn_alloc((size_t)k, (size_t)(d * d) * sizeof *target->lower);
    if (!target->lower) return MGN_ERR_MEMORY;
    for (int64_t j = 0; j < k; j++) mgn_cholesky(target->mixture.covariances + j * d * d, d, target->lower + j * d * d);
    return MGN_OK;
}

static mgn_status from_mixture(const char *label, mgn_mixture *mixture, mgn_target **target) {
    mgn_target *made = NULL;
    mgn_status status = mgn_target_new(MGN_TARGET_MIXTURE, label, mixture->d, &made);
    if (status == MGN_OK) status = mgn_target_take_mixture(made, mixture);
    if (status == MGN_OK)
        *target = made;
    else
        mgn_target_destroy(made);
    mgn_mixture_free(mixture);
    return status;
}

mgn_status mgn_target_create_gaussian(int64_t d, const double *mean, const double *covariance, mgn_target **target) {
    mgn_mixture one = {0};
    MGN_TRY(mgn_mixture_create(1, d, &one));
    one.weights[0] = 1;
    if (mean) memcpy(one.means, mean, (size_t)d * sizeof *mean);
    if (covariance) memcpy(one.covariances, covariance, (size_t)(d * d) * sizeof *covariance);
    for (int64_t i = 0; !covariance && i < d; i++) one.covariances[i * d + i] = 1;
    return from_mixture("gaussian", &one, target);
}

mgn_status mgn_target_create_mixture(const mgn_mixture *mixture, mgn_target **target) {
    mgn_mixture copy = {0};
    MGN_TRY(mgn_mixture_clone(mixture, &copy));
    return from_mixture("mixture", &copy, target);
}

mgn_status mgn_target_create_rows(const float *rows, int64_t n, int64_t d, mgn_target **target) {
    int64_t count;
    if (!rows || n < 1 || d < 1 || __builtin_mul_overflow(n, d, &count) || count > INT64_MAX / 8 || n > UINT32_MAX)
        return mgn_fail(MGN_ERR_ARGUMENT, "a target of 1 to 2^32 - 1 rows was expected, not %lld x %lld", (long long)n,
                        (long long)d);
    for (int64_t i = 0; i < count; i++)
        if (!isfinite(rows[i]))
            return mgn_fail(MGN_ERR_NUMERIC, "row %lld, column %lld (counted from 0) of the target is not finite",
                            (long long)(i / d), (long long)(i % d));
    mgn_target *made = NULL;
    MGN_TRY(mgn_target_new(MGN_TARGET_ROWS, "rows", d, &made));
    made->rows = mgn_alloc_aligned((size_t)count, sizeof *rows);
    if (!made->rows) {
        mgn_target_destroy(made);
        return MGN_ERR_MEMORY;
    }
    memcpy(made->rows, rows, (size_t)count * sizeof *rows);
    made->count = n;
    *target = made;
    return MGN_OK;
}

/* ---- questions ---- */

const char *mgn_target_label(const mgn_target *target) { return target->label; }

int64_t mgn_target_dimension(const mgn_target *target) { return target->d; }

mgn_density mgn_target_density(const mgn_target *target) {
    switch (target->kind) {
    case MGN_TARGET_MIXTURE:
    case MGN_TARGET_BANANA: return MGN_DENSITY_SMOOTH;
    case MGN_TARGET_CHECKERBOARD: return MGN_DENSITY_FLAT;
    default: return MGN_DENSITY_UNKNOWN;
    }
}

int64_t mgn_target_count(const mgn_target *target) { return target->count; }

bool mgn_target_picture(const mgn_target *target, int64_t *height, int64_t *width, int64_t *channels) {
    *height = target->picture[0], *width = target->picture[1], *channels = target->picture[2];
    return *height > 0;
}

const float *mgn_target_rows(const mgn_target *target, int64_t *n) {
    *n = target->rows ? target->count : 0;
    return target->rows;
}

const mgn_mixture *mgn_target_mixture(const mgn_target *target) {
    return target->kind == MGN_TARGET_MIXTURE ? &target->mixture : NULL;
}

mgn_status mgn_target_moments(const mgn_target *target, double *mean, double *covariance) {
    if (!mean) return mgn_fail(MGN_ERR_ARGUMENT, "moments of a target: a place for the mean was expected, not NULL");
    if (target->kind == MGN_TARGET_ROWS)
        return mgn_moments(target->rows, target->count, target->d, false, mean, covariance);
    if (target->kind == MGN_TARGET_MAPPED) return mgn_target_walk_moments(target, mean, covariance);
    if (target->kind == MGN_TARGET_MIXTURE)
        mgn_mixture_moments(&target->mixture, mean, covariance);
    else
        mgn_shape_moments(target, mean, covariance);
    return MGN_OK;
}

/* ---- sampling on the host ---- */

typedef struct sample_job {
    const mgn_target *target;
    int64_t n;
    uint64_t seed;
    float *rows;
    bool diagonal; /* every component's covariance is */
    double *z;     /* of a mixture: (threads, d) */
} sample_job;

static bool is_diagonal(const mgn_target *target) {
    const int64_t d = target->d;
    for (int64_t row = 0; row < target->mixture.k * d; row++)
        for (int64_t b = 0; b < row % d; b++)
            if (target->lower[row * d + b] != 0) return false;
    return true;
}

/* Sample `index`: its component by a uniform number, then mean + L z. */
static void sample_mixture(const sample_job *job, int64_t index, double *z, float *row) {
    const mgn_target *target = job->target;
    const uint64_t seed = job->seed;
    const int64_t k = target->mixture.k, d = target->d;
    double left = k > 1 ? mgn_host_uniform(seed, STREAM, (uint64_t)index) : 0;
    int64_t j = 0;
    while (j < k - 1 && left >= target->mixture.weights[j]) left -= target->mixture.weights[j++];
    const double *mean = target->mixture.means + j * d, *lower = target->lower + j * d * d;
    for (int64_t b = 0; b < d; b++) z[b] = mgn_host_normal(seed, STREAM + 1, (uint64_t)(index * d + b));
    for (int64_t a = 0; a < d; a++) {
        double sum = mean[a];
        for (int64_t b = job->diagonal ? a : 0; b <= a; b++) sum += lower[a * d + b] * z[b];
        row[a] = (float)sum;
    }
}

static void sample_chunk(void *context, int64_t chunk, int thread) {
    const sample_job *job = context;
    const mgn_target *target = job->target;
    const int64_t end = MGN_MIN((chunk + 1) * ROWS_PER_CHUNK, job->n);
    for (int64_t i = chunk * ROWS_PER_CHUNK; i < end; i++) {
        float *row = job->rows + i * target->d;
        double y[2];
        if (target->kind == MGN_TARGET_MIXTURE) {
            sample_mixture(job, i, job->z + thread * target->d, row);
            continue;
        }
        mgn_shape_sample(target, job->seed, (uint64_t)i, y);
        row[0] = (float)y[0];
        row[1] = (float)y[1];
    }
}

/* The rows that sampling takes: all in their order, or the first n of one keyed shuffle after another. */
static void choose_rows(const mgn_target *target, int64_t n, uint64_t seed, uint32_t *index) {
    mgn_host_shuffle shuffle;
    for (int64_t i = 0; i < n; i++) {
        const int64_t position = i % target->count;
        if (position == 0)
            shuffle = mgn_host_shuffle_start(seed, (uint32_t)(i / target->count), (uint32_t)target->count);
        index[i] = n == target->count ? (uint32_t)i : mgn_host_shuffle_at(&shuffle, (uint32_t)position);
    }
}

static mgn_status take_rows(const mgn_target *target, int64_t n, uint64_t seed, float *rows) {
    const size_t bytes = (size_t)target->d * sizeof *rows;
    uint32_t *index = mgn_alloc((size_t)n, sizeof *index);
    if (!index) return MGN_ERR_MEMORY;
    choose_rows(target, n, seed, index);
    mgn_status status = MGN_OK;
    if (target->kind == MGN_TARGET_MAPPED)
        status = mgn_shards_gather(target->shards, index, n, rows);
    else
        for (int64_t i = 0; i < n; i++) memcpy(rows + i * target->d, target->rows + index[i] * target->d, bytes);
    mgn_free(index);
    return status;
}

mgn_status mgn_target_sample(const mgn_target *target, int64_t n, uint64_t seed, float *rows) {
    int64_t count;
    if (!rows || n < 1 || __builtin_mul_overflow(n, target->d, &count))
        return mgn_fail(MGN_ERR_ARGUMENT, "at least one sample and a place for it were expected, not %lld",
                        (long long)n);
    if (target->kind == MGN_TARGET_ROWS || target->kind == MGN_TARGET_MAPPED) return take_rows(target, n, seed, rows);
    const int threads = mgn_threads();
    sample_job job = {target, n, seed, rows, false, NULL};
    if (target->kind == MGN_TARGET_MIXTURE) {
        job.diagonal = is_diagonal(target);
        job.z = mgn_alloc((size_t)threads * (size_t)target->d, sizeof *job.z);
        if (!job.z) return MGN_ERR_MEMORY;
    }
    mgn_parallel(threads, (n + ROWS_PER_CHUNK - 1) / ROWS_PER_CHUNK, sample_chunk, &job);
    mgn_free(job.z);
    return MGN_OK;
}

mgn_status mgn_target_hold(mgn_target *target, int64_t most, uint64_t seed) {
    if (target->kind != MGN_TARGET_MAPPED) return MGN_OK;
    mgn_matrix held = {0};
    const int64_t n = most > 0 ? MGN_MIN(most, target->count) : target->count;
    MGN_TRY(mgn_matrix_create(n, target->d, &held));
    const mgn_status status = mgn_target_sample(target, n, seed, held.values);
    if (status != MGN_OK) {
        mgn_matrix_free(&held);
        return status;
    }
    mgn_shards_close(target->shards);
    target->shards = NULL;
    target->kind = MGN_TARGET_ROWS;
    target->rows = held.values;
    target->count = n;
    return MGN_OK;
}

/* ---- as nodes ---- */

mgn_node *mgn_target_log_density(const mgn_target *target, mgn_node *y) {
    if (!y) return NULL;
    mgn_graph *graph = mgn_node_graph(y);
    const mgn_shape shape = mgn_node_shape(y);
    if (mgn_target_density(target) == MGN_DENSITY_UNKNOWN)
        return mgn_graph_fail(graph,
                              "the density of %s is not known, only samples of it; a Gaussian, a mixture (gmm:FILE) "
                              "or another target with a density was expected",
                              target->label);
    if (shape.rank != 2 || shape.dim[1] != target->d)
        return mgn_graph_fail(graph, "%s has %lld dimensions; rows of as many numbers were expected, %lld found",
                              target->label, (long long)target->d, (long long)(shape.rank == 2 ? shape.dim[1] : -1));
    if (target->kind != MGN_TARGET_MIXTURE) return mgn_shape_log_density(target, y);
    mgn_node *terms = mgn_mixture_terms(&target->mixture, y);
    return target->mixture.k == 1 ? mgn_reshape(terms, MGN_SHAPE(shape.dim[0])) : mgn_logsumexp(terms, 2);
}

/* (n, k): 1 in the column of the component that each row belongs to, else 0. */
static mgn_node *choose_component(const mgn_mixture *m, mgn_node *state, int64_t n, uint32_t stream) {
    mgn_graph *graph = mgn_node_graph(state);
    double *until = mgn_arena_alloc(graph->arena, (size_t)m->k, sizeof *until), sum = 0;
    if (!until) return mgn_graph_fail(graph, "out of memory for the weights of %lld components", (long long)m->k);
    for (int64_t j = 0; j < m->k; j++) until[j] = sum += m->weights[j];
    /* beyond[j] says that the component comes after j; the last one is before 2 in any case. */
    until[m->k - 1] = 2;
    mgn_node *u = mgn_uniform(state, MGN_SHAPE(n, 1), stream + 1);
    mgn_node *beyond = mgn_greater(u, mgn_table(graph, until, MGN_SHAPE(1, m->k)));
    mgn_node *after = mgn_concat(
        (mgn_node *[]){mgn_broadcast(mgn_constant(graph, 1), MGN_SHAPE(n, 1)), mgn_slice(beyond, 1, 0, m->k - 1)}, 2,
        1);
    return mgn_sub(after, beyond);
}

static mgn_node *mixture_node(const mgn_target *target, mgn_node *state, int64_t n, uint32_t stream) {
    const mgn_mixture *m = &target->mixture;
    const int64_t k = m->k, d = m->d;
    mgn_graph *graph = mgn_node_graph(state);
    double *factors = mgn_arena_alloc(graph->arena, (size_t)(k * d * d), sizeof *factors);
    if (!factors) return mgn_graph_fail(graph, "out of memory for the covariances of %lld components", (long long)k);
    for (int64_t j = 0; j < k; j++) /* L_j^T side by side: (d, k d) */
        for (int64_t a = 0; a < d; a++)
            for (int64_t b = 0; b < d; b++) factors[b * k * d + j * d + a] = target->lower[(j * d + a) * d + b];
    mgn_node *z =
        mgn_matmul(mgn_normal(state, MGN_SHAPE(n, d), stream), mgn_table(graph, factors, MGN_SHAPE(d, k * d)));
    mgn_node *all = mgn_add(z, mgn_table(graph, m->means, MGN_SHAPE(k * d))); /* a sample of each component */
    if (k == 1) return all;
    mgn_node *chosen = choose_component(m, state, n, stream);
    return mgn_sum(mgn_mul(mgn_reshape(all, MGN_SHAPE(n, k, d)), mgn_reshape(chosen, MGN_SHAPE(n, k, 1))), 2);
}

static mgn_node *rows_node(const mgn_target *target, mgn_node *state, mgn_node *rows, int64_t n) {
    mgn_graph *graph = mgn_node_graph(state);
    const mgn_shape shape = rows ? mgn_node_shape(rows) : MGN_SCALAR;
    if (shape.rank != 2 || shape.dim[0] != target->count || shape.dim[1] != target->d || n > target->count)
        return mgn_graph_fail(graph,
                              "samples of %s need its %lld x %lld rows as an input, and at most that many a step; %lld "
                              "samples were asked for",
                              target->label, (long long)target->count, (long long)target->d, (long long)n);
    return mgn_gather_rows(rows, mgn_shuffle(state, target->count, n, target->count / n, n));
}

mgn_node *mgn_target_sample_node(const mgn_target *target, mgn_node *state, mgn_node *rows, int64_t n,
                                 uint32_t stream) {
    if (!state) return NULL;
    if (n < 1) return mgn_graph_fail(mgn_node_graph(state), "at least one sample was expected, not %lld", (long long)n);
    if (target->kind == MGN_TARGET_ROWS) return rows_node(target, state, rows, n);
    if (target->kind == MGN_TARGET_MIXTURE) return mixture_node(target, state, n, stream);
    if (target->kind == MGN_TARGET_MAPPED)
        return mgn_graph_fail(mgn_node_graph(state),
                              "the rows of %s are still in their file; take them into memory first", target->label);
    return mgn_shape_sample_node(target, state, n, stream);
}
