/* Expectation maximisation over one set of rows.
 *
 * A pass is one plan. Row by row: z_j = (x - centre) A_j - b_j for each component (the Mahalanobis vector, A_j = L_j^-T),
 * the terms log w_j + log N_j, the responsibilities r_j by a shifted exponential. Summed over rows: the log-likelihood
 * and, for each component, r_j, r_j z_j and r_j z_j z_j^T. All of it is row-local but the sums, so it becomes one row
 * program; what is read back is 1 + k (1 + d + d^2) numbers.
 *
 * The moments are taken of z_j, not of x: near the end they are about 0 and I whatever the scale of a component is, so
 * single precision costs no digits, and the new mean and covariance are m + L (sum r z / sum r) and L (..) L^T, in double.
 * The log-likelihood is summed as its difference to the pass before, for the same reason.
 *
 * With blocks the rows are cut into so many, of which every process has some; a block goes through in pieces, and the blocks'
 * statistics are added up in the order of comm/blocks_sum.h. All processes then do the same with the same sums. */
#include "target/em.h"

#include <math.h>
#include <string.h>

#include <mgn/ot.h>

#include "comm/blocks_sum.h"
#include "core/random.h"

enum { MOST_RESEEDS = 2, STREAM = 0x656d7265, ROWS_AT_A_TIME = 1 << 14 };

/* A plan for `rows` rows at a time. */
typedef struct em_piece {
    int64_t rows;
    mgn_plan *plan;
    mgn_tensor *own;        /* (rows, d), filled anew for every run; NULL: bound to all rows of the level */
    mgn_tensor *statistics; /* log-likelihood, masses, first and second moments; the plan's */
} em_piece;

/* What passes for k components need. */
typedef struct em_pass {
    const mgn_em_level *level;
    mgn_device *device;
    int64_t k, d;
    em_piece whole, tail;
    int64_t at_a_time;      /* rows of a piece; 0: all are on the device */
    mgn_tensor *parameters; /* centre, whiteners, shifts, constants, reference */
    double *in, *out;       /* parameters and statistics on the host; out has room for them twice */
    int64_t in_count, out_count;
    mgn_mixture_factors factors; /* arrays inside `in` */
    mgn_comm *comm;
    mgn_blocks_sum *sum; /* NULL: no blocks */
    int64_t block_rows;  /* a multiple of those of a piece */
    bool *is_stopping;   /* the data's */
} em_pass;

/* ---- the plan ---- */

/* The next `count` numbers of the parameters, as `shape`. */
static mgn_node *take(mgn_node *parameters, int64_t *at, mgn_shape shape) {
    const int64_t count = mgn_shape_count(shape);
    mgn_node *part = mgn_reshape(mgn_slice(parameters, 0, *at, count), shape);
    *at += count;
    return part;
}

/* Everything as one vector, read at once. */
static mgn_node *pack(mgn_node *likelihood, mgn_node *masses, mgn_node *first, mgn_node *const *second, int64_t k,
                      int64_t d) {
    mgn_node *parts[3 + MGN_MOST_COMPONENTS] = {mgn_reshape(likelihood, MGN_SHAPE(1)), masses, first};
    for (int64_t j = 0; j < k; j++) parts[3 + j] = mgn_reshape(second[j], MGN_SHAPE(d * d));
    return mgn_concat(parts, (int)(3 + k), 0);
}

/* Component j's d columns of (n, k d). */
static mgn_node *columns_of(mgn_node *a, int64_t j, int64_t d) { return mgn_slice(a, 1, j * d, d); }

static mgn_node *build(mgn_node *x, mgn_node *parameters, int64_t k) {
    const int64_t n = mgn_node_shape(x).dim[0], d = mgn_node_shape(x).dim[1];
    int64_t at = 0;
    mgn_node *centre = take(parameters, &at, MGN_SHAPE(d)), *whiteners = take(parameters, &at, MGN_SHAPE(d, k * d));
    mgn_node *shifts = take(parameters, &at, MGN_SHAPE(k * d)), *constants = take(parameters, &at, MGN_SHAPE(k));
    mgn_node *reference = take(parameters, &at, MGN_SCALAR);
    const mgn_mixture_nodes nodes = {centre, whiteners, shifts, constants};
    mgn_node *z = NULL, *terms = mgn_mixture_terms_of(&nodes, k, x, &z); /* (n, k) */
    mgn_node *top = mgn_max(terms, 2), *shifted = mgn_exp(mgn_sub(terms, mgn_reshape(top, MGN_SHAPE(n, 1))));
    mgn_node *sum = mgn_sum(shifted, 2);
    mgn_node *likelihood = mgn_sum(mgn_sub(mgn_add(top, mgn_log(sum)), reference), -1);
    mgn_node *share = mgn_div(mgn_constant(mgn_node_graph(x), 1), sum);
    mgn_node *r = mgn_mul(shifted, mgn_reshape(share, MGN_SHAPE(n, 1))); /* (n, k) */
    mgn_node *weighted = mgn_mul(mgn_reshape(z, MGN_SHAPE(n, k, d)), mgn_reshape(r, MGN_SHAPE(n, k, 1)));
    mgn_node *rz = mgn_reshape(weighted, MGN_SHAPE(n, k * d)), *second[MGN_MOST_COMPONENTS];
    for (int64_t j = 0; j < k; j++) second[j] = mgn_matmul_t(columns_of(rz, j, d), true, columns_of(z, j, d), false);
    return pack(likelihood, mgn_sum(r, 1), mgn_sum(rz, 1), second, k, d);
}

static mgn_status compile(const em_pass *p, int64_t rows, mgn_tensor *all, em_piece *piece) {
    mgn_graph *graph;
    piece->rows = rows;
    if (!all) MGN_TRY(mgn_tensor_create(p->device, MGN_F32, MGN_SHAPE(rows, p->d), &piece->own));
    MGN_TRY(mgn_graph_create(&graph));
    mgn_node *x = mgn_input(graph, "rows", MGN_REAL, MGN_SHAPE(rows, p->d));
    mgn_node *parameters = mgn_input(graph, "parameters", MGN_REAL, MGN_SHAPE(p->in_count));
    mgn_node *statistics = build(x, parameters, p->k);
    if (statistics) mgn_output(statistics);
    const mgn_binding bindings[] = {{x, all ? all : piece->own}, {parameters, p->parameters}};
    const mgn_status status = mgn_plan_compile(graph, p->device, MGN_F32, bindings, MGN_COUNT(bindings), &piece->plan);
    if (status == MGN_OK) piece->statistics = mgn_plan_tensor(piece->plan, statistics);
    mgn_graph_destroy(graph);
    return status;
}

static void destroy_piece(em_piece *piece) {
    mgn_plan_destroy(piece->plan);
    mgn_tensor_destroy(piece->own);
    *piece = (em_piece){0};
}

static void destroy_pass(em_pass *p) {
    destroy_piece(&p->whole);
    destroy_piece(&p->tail);
    mgn_tensor_destroy(p->parameters);
    mgn_blocks_sum_destroy(p->sum);
    mgn_free(p->in);
    mgn_free(p->out);
    *p = (em_pass){0};
}

/* Plans for `rows` rows at a time. */
static mgn_status compile_pieces(em_pass *p, int64_t rows) {
    const int64_t rest = p->level->n % rows;
    destroy_piece(&p->whole);
    destroy_piece(&p->tail);
    p->at_a_time = rows;
    MGN_TRY(compile(p, rows, NULL, &p->whole));
    return rest ? compile(p, rest, NULL, &p->tail) : MGN_OK;
}

/* Pieces of blocks, all of which but the last row's are of one length. */
static mgn_status compile_blocks(em_pass *p, int64_t blocks) {
    const int64_t n = p->level->n, share = (n + blocks - 1) / blocks, rows = MGN_MIN(share, ROWS_AT_A_TIME);
    p->block_rows = (share + rows - 1) / rows * rows;
    MGN_TRY(mgn_blocks_sum_create(p->comm, blocks, MGN_F64, p->out_count, &p->sum));
    return compile_pieces(p, rows);
}

/* After a failure: whether smaller pieces will do, of which there are plans then. Those of blocks stay as they are. */
static bool cut(em_pass *p, mgn_status *status) {
    while (*status != MGN_OK && !p->sum && p->at_a_time != 1 && mgn_device_was_short(p->device)) {
        *status = compile_pieces(p, p->at_a_time ? p->at_a_time / 2 : MGN_MIN(p->level->n, ROWS_AT_A_TIME));
        if (*status == MGN_OK) return true;
    }
    return false;
}

/* Where the graph is no row program, what a run keeps grows with its rows: then they go through piece by piece. Whether
 * it is one, a plan for a few rows tells. */
static mgn_status compile_all(em_pass *p, int64_t blocks) {
    const int64_t n = p->level->n;
    if (blocks > 0) return compile_blocks(p, blocks);
    if (!p->level->tensor) return compile_pieces(p, MGN_MIN(n, ROWS_AT_A_TIME));
    if (n > ROWS_AT_A_TIME) {
        MGN_TRY(compile_pieces(p, ROWS_AT_A_TIME));
        if (mgn_plan_get_info(p->whole.plan).regions == 0) return MGN_OK;
        destroy_piece(&p->whole);
        destroy_piece(&p->tail);
    }
    p->at_a_time = 0;
    return compile(p, n, p->level->tensor, &p->whole);
}

static mgn_status create_pass(em_pass *p, const mgn_em_data *data, const mgn_em_level *level, int64_t k) {
    const int64_t d = data->d;
    *p = (em_pass){.level = level,
                   .device = data->device,
                   .k = k,
                   .d = d,
                   .comm = data->config->comm,
                   .is_stopping = data->is_stopping};
    p->in_count = d + k * d * d + k * d + k + 1;
    p->out_count = 1 + k * (1 + d + d * d);
    p->in = mgn_alloc((size_t)p->in_count, sizeof *p->in);
    p->out = mgn_alloc((size_t)p->out_count, 2 * sizeof *p->out);
    if (!p->in || !p->out) return MGN_ERR_MEMORY;
    double *whiteners = p->in + d, *shifts = whiteners + k * d * d;
    p->factors = (mgn_mixture_factors){k, d, p->in, whiteners, shifts, shifts + k * d};
    memcpy(p->factors.centre, data->mean, (size_t)d * sizeof(double));
    MGN_TRY(mgn_tensor_create(data->device, MGN_F32, MGN_SHAPE(p->in_count), &p->parameters));
    mgn_device_was_short(p->device); /* whatever that was */
    mgn_status status = compile_all(p, data->config->blocks);
    cut(p, &status);
    return status;
}

/* ---- one pass ---- */

static mgn_status run_whole(em_pass *p) {
    MGN_TRY(mgn_plan_run(p->whole.plan, 1));
    return mgn_tensor_read(p->whole.statistics, MGN_F64, p->out);
}

/* The statistics of rows first .. end - 1, the last of which ends a piece. */
static mgn_status run_pieces(em_pass *p, int64_t first, int64_t end, double *out) {
    double *sums = p->out + p->out_count;
    memset(out, 0, (size_t)p->out_count * sizeof *out);
    for (int64_t at = first; at < end;) {
        const em_piece *piece = end - at >= p->whole.rows ? &p->whole : &p->tail;
        MGN_TRY(mgn_tensor_write(piece->own, MGN_F32, p->level->rows + at * p->d));
        MGN_TRY(mgn_plan_run(piece->plan, 1));
        MGN_TRY(mgn_tensor_read(piece->statistics, MGN_F64, sums));
        for (int64_t i = 0; i < p->out_count; i++) out[i] += sums[i];
        at += piece->rows;
    }
    return MGN_OK;
}

static mgn_status run_own(em_pass *p) {
    int64_t first, end;
    mgn_blocks_sum_range(p->sum, &first, &end);
    for (int64_t b = first; b < end; b++) {
        const int64_t at = MGN_MIN(b * p->block_rows, p->level->n), to = MGN_MIN(at + p->block_rows, p->level->n);
        MGN_TRY(run_pieces(p, at, to, mgn_blocks_sum_place(p->sum, b)));
    }
    return MGN_OK;
}

/* Every process's blocks, unless one of them was asked to stop. */
static mgn_status run_blocks(em_pass *p) {
    const void *total;
    bool is_stopping = *p->is_stopping || mgn_interrupted();
    MGN_TRY(mgn_comm_agree_any(p->comm, run_own(p), &is_stopping));
    if (is_stopping) return mgn_fail(MGN_ERR_INTERRUPTED, "the fit of a mixture was stopped");
    MGN_TRY(mgn_blocks_sum_add(p->sum, &total));
    memcpy(p->out, total, (size_t)p->out_count * sizeof *p->out);
    return MGN_OK;
}

/* The statistics under `mixture` into p->out; the log-likelihood a row, given about what it is. */
static mgn_status run_pass(em_pass *p, const mgn_mixture *mixture, double reference, double *likelihood) {
    MGN_TRY(mgn_mixture_factorise(mixture, &p->factors));
    p->in[p->in_count - 1] = (double)(float)reference;
    MGN_TRY(mgn_tensor_write(p->parameters, MGN_F64, p->in));
    const int64_t n = p->level->n;
    mgn_status status = p->sum ? run_blocks(p) : p->at_a_time ? run_pieces(p, 0, n, p->out) : run_whole(p);
    while (cut(p, &status)) status = run_pieces(p, 0, n, p->out);
    MGN_TRY(status);
    *likelihood = p->in[p->in_count - 1] + p->out[0] / (double)p->level->n;
    for (int64_t i = 0; i < p->out_count; i++)
        if (!isfinite(p->out[i]))
            return mgn_fail(MGN_ERR_NUMERIC,
                            "a mixture of %lld components: the sums over the rows are not finite; are the rows of very "
                            "different size?",
                            (long long)p->k);
    return MGN_OK;
}

/* ---- maximisation ---- */

mgn_status mgn_em_raise(double *covariance, int64_t d, const double *units) {
    double *work = mgn_alloc((size_t)(2 * d * d + d), sizeof *work);
    if (!work) return MGN_ERR_MEMORY;
    double *scaled = work + d * d, *values = scaled + d * d;
    for (int64_t a = 0; a < d; a++)
        for (int64_t b = 0; b < d; b++) scaled[a * d + b] = covariance[a * d + b] / units[a] / units[b];
    const mgn_status status = mgn_symmetric_eigen(scaled, d, values, work);
    if (status == MGN_OK && values[0] < 1) {
        memset(covariance, 0, (size_t)(d * d) * sizeof *covariance);
        for (int64_t e = 0; e < d; e++)
            for (int64_t a = 0; a < d; a++)
                for (int64_t b = 0; b < d; b++)
                    covariance[a * d + b] +=
                        fmax(values[e], 1) * (units[a] * work[e * d + a]) * (units[b] * work[e * d + b]);
    }
    mgn_free(work);
    return status;
}

/* New mean m + L z and covariance L (S - z z^T) L^T, z and S being the moments of the whitened rows. `work` (2 d d). */
static mgn_status maximise_component(double mass, const double *first, const double *second, int64_t d,
                                     const double *units, double *mean, double *covariance, double *work) {
    double *lower = work, *half = work + d * d;
    mgn_cholesky(covariance, d, lower);
    for (int64_t a = 0; a < d; a++) /* half = L (S - z z^T) */
        for (int64_t b = 0; b < d; b++) {
            double sum = 0;
            for (int64_t c = 0; c <= a; c++)
                sum += lower[a * d + c] *
                       (0.5 * (second[c * d + b] + second[b * d + c]) / mass - first[c] / mass * (first[b] / mass));
            half[a * d + b] = sum;
        }
    for (int64_t a = 0; a < d; a++) {
        for (int64_t c = 0; c <= a; c++) mean[a] += lower[a * d + c] * first[c] / mass;
        for (int64_t b = 0; b <= a; b++) {
            double sum = 0;
            for (int64_t c = 0; c <= b; c++) sum += half[a * d + c] * lower[b * d + c];
            covariance[a * d + b] = covariance[b * d + a] = sum;
        }
    }
    return mgn_em_raise(covariance, d, units);
}

/* Weights, means and covariances from the statistics in p->out. */
static mgn_status maximise(const em_pass *p, const mgn_em_data *data, mgn_mixture *m) {
    const int64_t k = p->k, d = p->d;
    const double *masses = p->out + 1, *first = masses + k, *second = first + k * d;
    double total = 0, *work = mgn_alloc((size_t)(d * d), 2 * sizeof *work);
    if (!work) return MGN_ERR_MEMORY;
    mgn_status status = MGN_OK;
    for (int64_t j = 0; j < k; j++) total += masses[j];
    for (int64_t j = 0; j < k && status == MGN_OK; j++) {
        m->weights[j] = masses[j] / total;
        if (masses[j] > 0)
            status = maximise_component(masses[j], first + j * d, second + j * d * d, d, data->units, m->means + j * d,
                                        m->covariances + j * d * d, work);
    }
    mgn_free(work);
    return status;
}

/* ---- components that collapse ---- */

static void normalise_weights(mgn_mixture *m) {
    double sum = 0;
    for (int64_t j = 0; j < m->k; j++) sum += m->weights[j];
    for (int64_t j = 0; j < m->k; j++) m->weights[j] /= sum;
}

/* Takes component j out; the last one gets its place. */
static void drop(mgn_mixture *m, int64_t j) {
    const size_t d = (size_t)m->d, last = (size_t)--m->k;
    m->weights[j] = m->weights[last];
    memmove(m->means + (size_t)j * d, m->means + last * d, d * sizeof(double));
    memmove(m->covariances + (size_t)j * d * d, m->covariances + last * d * d, d * d * sizeof(double));
}

/* Puts component j on a row of the level drawn at random, as wide as all rows are. */
static void reseed(const mgn_em_data *data, const mgn_em_level *level, mgn_mixture *m, int64_t j, int64_t attempt) {
    const size_t d = (size_t)data->d;
    const double u = mgn_host_uniform(data->config->seed, STREAM, (uint64_t)(attempt * MGN_MOST_COMPONENTS + j));
    const float *row = level->rows + (size_t)(u * (double)level->n) * d;
    for (size_t i = 0; i < d; i++) m->means[(size_t)j * d + i] = (double)row[i];
    memcpy(m->covariances + (size_t)j * d * d, data->covariance, d * d * sizeof(double));
    m->weights[j] = 1.0 / (double)m->k;
}

/* A component of fewer rows than a covariance needs has collapsed: it is put elsewhere while attempts last, then
 * dropped. Says whether there was any. */
static bool mend(const mgn_em_data *data, const mgn_em_level *level, mgn_mixture *m, int64_t *attempts,
                 mgn_mixture_fit_result *result) {
    bool any = false;
    for (int64_t j = 0; j < m->k && m->k > 1;) {
        if (m->weights[j] * (double)level->n >= (double)(data->d + 1)) {
            j++;
            continue;
        }
        any = true;
        if (*attempts < MOST_RESEEDS * m->k) {
            reseed(data, level, m, j++, (*attempts)++);
            result->reseeded++;
        } else {
            drop(m, j);
            result->dropped++;
        }
    }
    if (any) normalise_weights(m);
    return any;
}

/* ---- a level ---- */

static mgn_status tell(em_pass *p, const mgn_mixture_fit_config *c, int64_t k, int64_t pass, double likelihood) {
    const bool go_on = !c->report || c->report(c->context, k, pass, likelihood);
    *p->is_stopping = *p->is_stopping || !go_on || mgn_interrupted();
    return !*p->is_stopping || p->comm ? MGN_OK : mgn_fail(MGN_ERR_INTERRUPTED, "the fit of a mixture was stopped");
}

/* Passes until the gain is below the tolerance; the last pass only measures. */
static mgn_status run_level(em_pass *p, const mgn_em_data *data, mgn_mixture *m, mgn_mixture_fit_result *result) {
    const mgn_em_level *level = p->level;
    double before = -INFINITY, now = 0;
    int64_t attempts = 0;
    result->converged = false;
    for (int64_t pass = 1;; pass++) {
        MGN_TRY(run_pass(p, m, now, &now));
        result->passes++;
        result->log_likelihood = now;
        MGN_TRY(tell(p, data->config, m->k, pass, now));
        result->converged = now - before < level->tolerance;
        if (result->converged || pass >= level->passes) return MGN_OK;
        before = now;
        MGN_TRY(maximise(p, data, m));
        if (!mend(data, level, m, &attempts, result)) continue;
        before = -INFINITY; /* another mixture: what it gains is not known */
        if (m->k == p->k) continue;
        destroy_pass(p);
        MGN_TRY(create_pass(p, data, level, m->k));
    }
}

mgn_status mgn_em_run(const mgn_em_data *data, const mgn_em_level *level, mgn_mixture *mixture,
                      mgn_mixture_fit_result *result) {
    em_pass pass;
    mgn_status status = create_pass(&pass, data, level, mixture->k);
    if (status == MGN_OK) status = run_level(&pass, data, mixture, result);
    destroy_pass(&pass);
    return status;
}
