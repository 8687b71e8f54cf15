/* The loop of sinkhorn.c with the rows of both clouds in blocks, of which every process has some. The loop itself is the
 * host's: a step runs one plan for each own block, the softmins of its rows against all columns of either cloud, and all
 * potentials are gathered for the next. A block is computed by the same plan whoever has it, and what follows from the
 * potentials is computed by all in double, so the bits depend on the number of blocks, not on that of processes. */
#include "loss/sinkhorn_shared.h"

#include <math.h>
#include <string.h>

#include "comm/blocks_sum.h"
#include "loss/sinkhorn.h"

enum { CROSS, SELF, KINDS };  /* against the other cloud, against its own */
enum { FULL, REST, LENGTHS }; /* blocks of q rows, and the one behind them that has fewer */
enum { OF_X, OF_Y, SIDES };

/* The plan for a block's rows. */
typedef struct piece {
    int64_t rows, block;      /* the block that is in; -1: none */
    mgn_tensor *points;       /* (rows, d) */
    mgn_tensor *weights;      /* (rows); NULL where the plan is an update */
    mgn_tensor *costs[KINDS]; /* kept ones: (rows, columns), made by `fill`; NULL: streaming */
    mgn_plan *fill, *plan;
    mgn_tensor *out,
        *gradient; /* the plan's: an update's (2 rows) softmins, or a cost and its derivative by the points */
} piece;

/* A cloud. */
typedef struct side {
    int64_t n, whole; /* points; those of a block */
    double *points, *weights, *log_weights, *potential[KINDS];
    mgn_tensor *columns, *heights[KINDS]; /* heights[CROSS] are for the other cloud's rows */
    bool keeps[KINDS];
    piece *updates; /* one to an own block where costs are kept, else one to a length */
    int64_t update_count;
    piece results[LENGTHS];
} side;

struct mgn_shared_sinkhorn {
    mgn_device *device;
    mgn_comm *comm;
    mgn_dtype real;
    mgn_sinkhorn_config config;
    int64_t blocks, first, end, d; /* own blocks: first .. end - 1 */
    double strength, last;         /* reach^2; the last temperature */
    bool may_stop;
    mgn_tensor *scale, *inverse; /* of a temperature: 1 / sqrt(e), 1 / e */
    side sides[SIDES];
    double *own, *all, *line; /* what is sent, and gathered; heights */
    int64_t *sizes;           /* of messages, and where they go */
};

typedef mgn_shared_sinkhorn shared;

static int64_t rows_of(const side *c, int64_t block) { return MGN_MAX(MGN_MIN(c->whole, c->n - block * c->whole), 0); }

static int length_of(const side *c, int64_t block) { return rows_of(c, block) == c->whole ? FULL : REST; }

/* ---- plans ---- */

typedef struct piece_nodes {
    mgn_node *points, *weights, *columns[KINDS], *heights[KINDS], *costs[KINDS], *scale, *inverse, *out, *gradient;
    mgn_binding bindings[16];
    size_t count;
} piece_nodes;

static mgn_node *bound(mgn_graph *graph, piece_nodes *in, const char *label, mgn_tensor *tensor) {
    if (!tensor) return NULL;
    mgn_node *node = mgn_input(graph, label, MGN_REAL, mgn_tensor_shape(tensor));
    in->bindings[in->count++] = (mgn_binding){node, tensor};
    return node;
}

static void make_inputs(const shared *s, int which, const piece *p, mgn_graph *graph, piece_nodes *in) {
    const side *own = &s->sides[which], *of[KINDS] = {[CROSS] = &s->sides[1 - which], [SELF] = own};
    *in = (piece_nodes){0};
    in->points = bound(graph, in, "points", p->points);
    in->weights = bound(graph, in, "weights", p->weights);
    in->scale = bound(graph, in, "scale", s->scale);
    in->inverse = bound(graph, in, "inverse", s->inverse);
    for (int k = CROSS; k < KINDS; k++) {
        in->columns[k] = bound(graph, in, "columns", of[k]->columns);
        in->heights[k] = bound(graph, in, "heights", of[k]->heights[k]);
        in->costs[k] = bound(graph, in, "costs", p->costs[k]);
    }
}

/* log sum_j exp(h_j - C_ij / e) */
static mgn_node *softmin(const piece_nodes *in, int kind) {
    if (in->costs[kind]) return mgn_softmin_dense(mgn_mul(in->costs[kind], in->inverse), in->heights[kind], 1);
    return mgn_softmin(mgn_mul(in->points, in->scale), mgn_mul(in->columns[kind], in->scale), in->heights[kind]);
}

static mgn_status build_costs(const shared *s, const side *own, mgn_graph *graph, piece_nodes *in) {
    (void)s, (void)own;
    for (int k = CROSS; k < KINDS; k++)
        if (in->costs[k]) mgn_assign(in->costs[k], mgn_sinkhorn_cost_matrix(in->points, in->columns[k]));
    return mgn_graph_status(graph);
}

static mgn_status build_update(const shared *s, const side *own, mgn_graph *graph, piece_nodes *in) {
    (void)s, (void)own;
    mgn_node *const both[KINDS] = {softmin(in, CROSS), softmin(in, SELF)};
    in->out = mgn_concat(both, KINDS, 0);
    return mgn_graph_status(graph);
}

/* A block's part of the cost of its cloud; of the first one with its derivative. */
static mgn_status build_result(const shared *s, const side *own, mgn_graph *graph, piece_nodes *in) {
    mgn_node *last[KINDS];
    for (int k = CROSS; k < KINDS; k++) {
        if (own->keeps[k]) in->costs[k] = mgn_sinkhorn_cost_matrix(in->points, in->columns[k]);
        last[k] = mgn_scale(softmin(in, k), -s->last * mgn_sinkhorn_damping(s->last, s->strength));
    }
    in->out = mgn_sinkhorn_cost(s->last, s->strength, in->weights, last[CROSS], last[SELF]);
    MGN_TRY(mgn_graph_status(graph));
    return own == &s->sides[OF_X] ? mgn_grad(in->out, &in->points, 1, &in->gradient) : MGN_OK;
}

typedef mgn_status builder(const shared *s, const side *own, mgn_graph *graph, piece_nodes *in);

static mgn_status compile(shared *s, int which, piece *p, builder *build, mgn_plan **plan) {
    mgn_graph *graph;
    piece_nodes in;
    MGN_TRY(mgn_graph_create(&graph));
    make_inputs(s, which, p, graph, &in);
    mgn_status status = build(s, &s->sides[which], graph, &in);
    if (in.out) mgn_output(in.out);
    if (in.gradient) mgn_output(in.gradient);
    if (status == MGN_OK) status = mgn_plan_compile(graph, s->device, s->real, in.bindings, in.count, plan);
    if (status == MGN_OK && in.out) p->out = mgn_plan_tensor(*plan, in.out);
    if (status == MGN_OK && in.gradient) p->gradient = mgn_plan_tensor(*plan, in.gradient);
    mgn_graph_destroy(graph);
    return status;
}

static mgn_status make_update(shared *s, int which, int64_t rows, piece *p) {
    const side *own = &s->sides[which];
    const int64_t columns[KINDS] = {[CROSS] = s->sides[1 - which].n, [SELF] = own->n};
    p->rows = rows;
    if (rows == 0) return MGN_OK;
    MGN_TRY(mgn_tensor_create(s->device, s->real, MGN_SHAPE(rows, s->d), &p->points));
    for (int k = CROSS; k < KINDS; k++)
        if (own->keeps[k]) MGN_TRY(mgn_tensor_create(s->device, s->real, MGN_SHAPE(rows, columns[k]), &p->costs[k]));
    if (p->costs[CROSS] || p->costs[SELF]) MGN_TRY(compile(s, which, p, build_costs, &p->fill));
    return compile(s, which, p, build_update, &p->plan);
}

static mgn_status make_result(shared *s, int which, int64_t rows, piece *p) {
    p->rows = rows;
    if (rows == 0) return MGN_OK;
    MGN_TRY(mgn_tensor_create(s->device, s->real, MGN_SHAPE(rows, s->d), &p->points));
    MGN_TRY(mgn_tensor_create(s->device, s->real, MGN_SHAPE(rows), &p->weights));
    return compile(s, which, p, build_result, &p->plan);
}

/* Own blocks' plans, or those of the lengths that blocks have. */
static mgn_status make_pieces(shared *s, int which) {
    side *own = &s->sides[which];
    const bool keeps = own->keeps[CROSS] || own->keeps[SELF];
    const int64_t lengths[LENGTHS] = {own->whole, own->n % own->whole};
    own->update_count = keeps ? s->end - s->first : LENGTHS;
    own->updates = mgn_alloc((size_t)own->update_count, sizeof *own->updates);
    if (!own->updates) return MGN_ERR_MEMORY;
    for (int64_t i = 0; i < own->update_count; i++) {
        MGN_KNOWN(keeps || i < LENGTHS);
        MGN_TRY(make_update(s, which, keeps ? rows_of(own, s->first + i) : lengths[i], &own->updates[i]));
    }
    for (int i = 0; i < LENGTHS; i++) MGN_TRY(make_result(s, which, lengths[i], &own->results[i]));
    return MGN_OK;
}

/* ---- life ---- */

static mgn_status make_side(shared *s, int which, int64_t n) {
    side *own = &s->sides[which];
    const int64_t other = s->sides[1 - which].n;
    own->whole = (n + s->blocks - 1) / s->blocks;
    own->keeps[CROSS] = mgn_sinkhorn_keeps_costs(n, other, s->d);
    own->keeps[SELF] = mgn_sinkhorn_keeps_costs(n, n, s->d);
    own->points = mgn_alloc((size_t)n, (size_t)s->d * sizeof(double));
    own->weights = mgn_alloc((size_t)n, 4 * sizeof(double));
    if (!own->points || !own->weights) return MGN_ERR_MEMORY;
    own->log_weights = own->weights + n;
    for (int k = CROSS; k < KINDS; k++) {
        own->potential[k] = own->log_weights + (k + 1) * n;
        MGN_TRY(mgn_tensor_create(s->device, s->real, MGN_SHAPE(n), &own->heights[k]));
    }
    return mgn_tensor_create(s->device, s->real, MGN_SHAPE(n, s->d), &own->columns);
}

static mgn_status make_all(shared *s) {
    const int64_t n = s->sides[OF_X].n, m = s->sides[OF_Y].n, most = MGN_MAX(2 * (n + m), n * s->d + 2 * s->blocks);
    double temperatures[MGN_SINKHORN_STEPS];
    s->last = temperatures[mgn_sinkhorn_schedule(&s->config, temperatures) - 1];
    MGN_TRY(mgn_tensor_create(s->device, s->real, MGN_SCALAR, &s->scale));
    MGN_TRY(mgn_tensor_create(s->device, s->real, MGN_SCALAR, &s->inverse));
    s->own = mgn_alloc((size_t)most, sizeof *s->own);
    s->all = mgn_alloc((size_t)most, sizeof *s->all);
    s->line = mgn_alloc((size_t)MGN_MAX(n, m), sizeof *s->line);
    s->sizes = mgn_alloc(2 * (size_t)mgn_comm_size(s->comm), sizeof *s->sizes);
    if (!s->own || !s->all || !s->line || !s->sizes) return MGN_ERR_MEMORY;
    for (int i = OF_X; i < SIDES; i++) MGN_TRY(make_side(s, i, s->sides[i].n));
    for (int i = OF_X; i < SIDES; i++) MGN_TRY(make_pieces(s, i));
    return MGN_OK;
}

mgn_status mgn_shared_sinkhorn_create(mgn_device *device, mgn_comm *comm, int64_t blocks, mgn_dtype real, int64_t n,
                                      int64_t m, int64_t d, const mgn_sinkhorn_config *config,
                                      mgn_shared_sinkhorn **created) {
    MGN_TRY(mgn_blocks_check(comm, blocks));
    shared *s = mgn_alloc(1, sizeof *s);
    if (!s) return MGN_ERR_MEMORY;
    *s = (shared){.device = device, .comm = comm, .real = real, .config = *config, .blocks = blocks, .d = d};
    s->strength = config->reach * config->reach;
    s->first = mgn_blocks_start(comm, blocks, mgn_comm_rank(comm));
    s->end = mgn_blocks_start(comm, blocks, mgn_comm_rank(comm) + 1);
    s->sides[OF_X].n = n;
    s->sides[OF_Y].n = m;
    const mgn_status status = make_all(s);
    if (status == MGN_OK)
        *created = s;
    else
        mgn_shared_sinkhorn_destroy(s);
    return status;
}

static void destroy_piece(piece *p) {
    mgn_plan_destroy(p->fill);
    mgn_plan_destroy(p->plan);
    mgn_tensor *const tensors[] = {p->points, p->weights, p->costs[CROSS], p->costs[SELF]};
    for (size_t i = 0; i < MGN_COUNT(tensors); i++) mgn_tensor_destroy(tensors[i]);
}

static void destroy_side(side *c) {
    for (int64_t i = 0; c->updates && i < c->update_count; i++) destroy_piece(&c->updates[i]);
    for (int i = 0; i < LENGTHS; i++) destroy_piece(&c->results[i]);
    mgn_tensor *const tensors[] = {c->columns, c->heights[CROSS], c->heights[SELF]};
    for (size_t i = 0; i < MGN_COUNT(tensors); i++) mgn_tensor_destroy(tensors[i]);
    void *const blocks[] = {c->updates, c->points, c->weights};
    for (size_t i = 0; i < MGN_COUNT(blocks); i++) mgn_free(blocks[i]);
}

void mgn_shared_sinkhorn_destroy(mgn_shared_sinkhorn *s) {
    if (!s) return;
    for (int i = OF_X; i < SIDES; i++) destroy_side(&s->sides[i]);
    mgn_tensor_destroy(s->scale);
    mgn_tensor_destroy(s->inverse);
    void *const blocks[] = {s->own, s->all, s->line, s->sizes};
    for (size_t i = 0; i < MGN_COUNT(blocks); i++) mgn_free(blocks[i]);
    mgn_free(s);
}

/* ---- inputs ---- */

static mgn_status put_cloud(const shared *s, side *c, const double *points, const double *weights,
                            const double *centre) {
    for (int64_t i = 0; i < c->n; i++) {
        for (int64_t k = 0; k < s->d; k++) c->points[i * s->d + k] = points[i * s->d + k] - centre[k];
        c->weights[i] = weights ? weights[i] : 1.0 / (double)c->n;
        c->log_weights[i] = log(c->weights[i]);
    }
    for (int64_t i = 0; i < c->update_count; i++) c->updates[i].block = -1;
    for (int i = 0; i < LENGTHS; i++) c->results[i].block = -1;
    return mgn_tensor_write(c->columns, MGN_F64, c->points);
}

static mgn_status put(shared *s, const mgn_shared_clouds *clouds) {
    double *centre = s->own; /* n d numbers and more */
    memset(centre, 0, (size_t)s->d * sizeof *centre);
    const int64_t m = s->sides[OF_Y].n;
    for (int64_t j = 0; j < m; j++)
        for (int64_t k = 0; k < s->d; k++) centre[k] += clouds->y[j * s->d + k] / (double)m;
    MGN_TRY(put_cloud(s, &s->sides[OF_X], clouds->x, clouds->a, centre));
    return put_cloud(s, &s->sides[OF_Y], clouds->y, clouds->b, centre);
}

/* A block's rows into its plan. */
static mgn_status bring(const shared *s, const side *c, piece *p, int64_t block) {
    if (p->block == block) return MGN_OK;
    p->block = block;
    MGN_TRY(mgn_tensor_write(p->points, MGN_F64, c->points + block * c->whole * s->d));
    if (p->weights) MGN_TRY(mgn_tensor_write(p->weights, MGN_F64, c->weights + block * c->whole));
    return p->fill ? mgn_plan_run(p->fill, 1) : MGN_OK;
}

/* What stands on the columns of a cloud's softmins. */
static mgn_status put_heights(shared *s, double temperature, bool is_first) {
    for (int i = OF_X; i < SIDES; i++)
        for (int k = CROSS; k < KINDS; k++) {
            const side *c = &s->sides[i];
            for (int64_t j = 0; j < c->n; j++)
                s->line[j] = c->log_weights[j] + (is_first ? 0 : c->potential[k][j] / temperature);
            MGN_TRY(mgn_tensor_write(c->heights[k], MGN_F64, s->line));
        }
    const double scale = 1 / sqrt(temperature), inverse = 1 / temperature;
    MGN_TRY(mgn_tensor_write(s->scale, MGN_F64, &scale));
    return mgn_tensor_write(s->inverse, MGN_F64, &inverse);
}

/* ---- the loop ---- */

/* All go on to exchange what they have, or all end. */
static mgn_status meet(const shared *s, mgn_status status) {
    bool is_stopped = s->may_stop && mgn_interrupted();
    MGN_TRY(mgn_comm_agree_any(s->comm, status, &is_stopped));
    return is_stopped ? mgn_fail(MGN_ERR_INTERRUPTED, "sinkhorn was stopped") : MGN_OK;
}

/* Numbers of the blocks of a rank: 2 a row of both clouds. */
static int64_t numbers_of(const shared *s, int rank) {
    int64_t count = 0;
    const int64_t first = mgn_blocks_start(s->comm, s->blocks, rank),
                  end = mgn_blocks_start(s->comm, s->blocks, rank + 1);
    for (int i = OF_X; i < SIDES; i++)
        for (int64_t b = first; b < end; b++) count += 2 * rows_of(&s->sides[i], b);
    return count;
}

/* The softmins of own blocks, cloud by cloud: (2 rows) each. */
static mgn_status run_own(shared *s, double temperature, bool is_first) {
    double *to = s->own;
    MGN_TRY(put_heights(s, temperature, is_first));
    for (int i = OF_X; i < SIDES; i++)
        for (int64_t b = s->first; b < s->end; b++) {
            side *c = &s->sides[i];
            const int64_t rows = rows_of(c, b);
            if (rows == 0) continue;
            piece *p = &c->updates[c->keeps[CROSS] || c->keeps[SELF] ? b - s->first : length_of(c, b)];
            MGN_TRY(bring(s, c, p, b));
            MGN_TRY(mgn_plan_run(p->plan, 1));
            MGN_TRY(mgn_tensor_read(p->out, MGN_F64, to));
            to += 2 * rows;
        }
    return MGN_OK;
}

/* From what was gathered, in the order of ranks, clouds and blocks. */
static void take(shared *s, double factor, bool is_first) {
    const double *from = s->all;
    for (int r = 0; r < mgn_comm_size(s->comm); r++)
        for (int i = OF_X; i < SIDES; i++)
            for (int64_t b = mgn_blocks_start(s->comm, s->blocks, r); b < mgn_blocks_start(s->comm, s->blocks, r + 1);
                 b++) {
                side *c = &s->sides[i];
                const int64_t rows = rows_of(c, b);
                for (int k = CROSS; k < KINDS; k++)
                    for (int64_t j = 0; j < rows; j++, from++) {
                        double *potential = &c->potential[k][b * c->whole + j];
                        *potential = is_first ? factor * *from : 0.5 * (*potential + factor * *from);
                    }
            }
}

static mgn_status update(shared *s, double temperature, bool is_first) {
    MGN_TRY(meet(s, run_own(s, temperature, is_first)));
    for (int r = 0; r < mgn_comm_size(s->comm); r++) s->sizes[r] = numbers_of(s, r) * (int64_t)sizeof *s->own;
    MGN_TRY(mgn_comm_gather(s->comm, s->own, s->sizes, s->all));
    take(s, -temperature * mgn_sinkhorn_damping(temperature, s->strength), is_first);
    return MGN_OK;
}

/* ---- results ---- */

/* Of own blocks the two costs, into s->own; of the rows of x the derivative, into `gradient`. */
static mgn_status run_results(shared *s, double *gradient) {
    MGN_TRY(put_heights(s, s->last, false));
    memset(s->own, 0, (size_t)(2 * (s->end - s->first)) * sizeof *s->own);
    for (int i = OF_X; i < SIDES; i++)
        for (int64_t b = s->first; b < s->end; b++) {
            side *c = &s->sides[i];
            if (rows_of(c, b) == 0) continue;
            piece *p = &c->results[length_of(c, b)];
            MGN_TRY(bring(s, c, p, b));
            MGN_TRY(mgn_plan_run(p->plan, 1));
            MGN_TRY(mgn_tensor_read(p->out, MGN_F64, &s->own[2 * (b - s->first) + i]));
            if (i == OF_X && gradient)
                MGN_TRY(mgn_tensor_read(p->gradient, MGN_F64, gradient + (b - s->first) * c->whole * s->d));
        }
    return MGN_OK;
}

static mgn_status finish(shared *s, double *value, double *gradient) {
    const side *c = &s->sides[OF_X];
    double *own = s->own + 2 * s->blocks;
    MGN_TRY(meet(s, run_results(s, gradient ? own : NULL)));
    for (int r = 0; r < mgn_comm_size(s->comm); r++)
        s->sizes[r] = 2 * (int64_t)sizeof *own *
                      (mgn_blocks_start(s->comm, s->blocks, r + 1) - mgn_blocks_start(s->comm, s->blocks, r));
    MGN_TRY(mgn_comm_gather(s->comm, s->own, s->sizes, s->all));
    *value = 0;
    for (int64_t i = 0; i < 2 * s->blocks; i++) *value += s->all[i];
    if (!gradient) return MGN_OK;
    for (int r = 0; r < mgn_comm_size(s->comm); r++) {
        const int64_t first = MGN_MIN(mgn_blocks_start(s->comm, s->blocks, r) * c->whole, c->n);
        const int64_t end = MGN_MIN(mgn_blocks_start(s->comm, s->blocks, r + 1) * c->whole, c->n);
        s->sizes[r] = (end - first) * s->d * (int64_t)sizeof *own;
    }
    return mgn_comm_gather(s->comm, own, s->sizes, gradient);
}

mgn_status mgn_shared_sinkhorn_run(mgn_shared_sinkhorn *s, const mgn_shared_clouds *clouds, bool may_stop,
                                   double *value, double *gradient) {
    double temperatures[MGN_SINKHORN_STEPS];
    const int count = mgn_sinkhorn_schedule(&s->config, temperatures);
    MGN_KNOWN(s);
    s->may_stop = may_stop;
    MGN_TRY(mgn_comm_agree(s->comm, put(s, clouds)));
    MGN_TRY(update(s, temperatures[0], true));
    for (int step = 0; step < count; step++) MGN_TRY(update(s, temperatures[step], false));
    return finish(s, value, gradient);
}

/* ---- clouds in host memory ---- */

static double *to_double(const float *values, int64_t count) {
    double *copy = values ? mgn_alloc((size_t)count, sizeof *copy) : NULL;
    for (int64_t i = 0; copy && i < count; i++) copy[i] = (double)values[i];
    return copy;
}

typedef struct copies {
    double *x, *a, *y, *b, *gradient;
} copies;

static mgn_status copy_all(const float *x, const float *a, int64_t n, const float *y, const float *b, int64_t m,
                           int64_t d, bool with_gradient, copies *c) {
    *c = (copies){to_double(x, n * d), to_double(a, n), to_double(y, m * d), to_double(b, m), NULL};
    if (with_gradient) c->gradient = mgn_alloc((size_t)n, (size_t)d * sizeof *c->gradient);
    const bool has_all = c->x && c->y && (!a || c->a) && (!b || c->b) && (!with_gradient || c->gradient);
    return has_all ? MGN_OK : MGN_ERR_MEMORY;
}

/* That all have the same clouds and settings. */
static mgn_status check_same(mgn_comm *comm, const float *const lists[4], const int64_t counts[4],
                             const mgn_sinkhorn_config *config, mgn_dtype real, int64_t blocks) {
    uint64_t digest = mgn_hash(MGN_HASH_START, &blocks, sizeof blocks);
    const double settings[] = {config->blur, config->scaling, config->reach, config->diameter, (double)real};
    digest = mgn_hash(digest, settings, sizeof settings);
    digest = mgn_hash(digest, counts, 4 * sizeof *counts);
    for (int i = 0; i < 4; i++)
        if (lists[i]) digest = mgn_hash(digest, lists[i], (size_t)counts[i] * sizeof(float));
    return mgn_comm_same(comm, digest, "the points or the options");
}

static mgn_status prepare(mgn_device *device, mgn_comm *comm, int64_t blocks, const float *const lists[4], int64_t n,
                          int64_t m, int64_t d, const mgn_sinkhorn_config *given, mgn_sinkhorn_config *config,
                          mgn_dtype *real, mgn_shared_sinkhorn **s) {
    MGN_TRY(mgn_sinkhorn_check(lists[0], lists[1], n, lists[2], lists[3], m, d));
    MGN_TRY(mgn_sinkhorn_plan(device, given, lists[0], n, lists[2], m, d, config, real));
    return mgn_shared_sinkhorn_create(device, comm, blocks, *real, n, m, d, config, s);
}

mgn_status mgn_sinkhorn_shared(mgn_device *device, mgn_comm *comm, int64_t blocks, const float *x, const float *a,
                               int64_t n, const float *y, const float *b, int64_t m, int64_t d,
                               const mgn_sinkhorn_config *given, mgn_sinkhorn_result *result, float *gradient) {
    const float *const lists[] = {x, a, y, b};
    const double begun = mgn_now();
    double temperatures[MGN_SINKHORN_STEPS];
    mgn_sinkhorn_config config;
    mgn_dtype real = MGN_F32;
    mgn_shared_sinkhorn *s = NULL;
    copies c = {0};
    mgn_status status = prepare(device, comm, blocks, lists, n, m, d, given, &config, &real, &s);
    if (status == MGN_OK) status = copy_all(x, a, n, y, b, m, d, gradient != NULL, &c);
    status = mgn_comm_agree(comm, status);
    if (status == MGN_OK)
        status = check_same(comm, lists, (const int64_t[]){n * d, n, m * d, m}, &config, real, blocks);
    const double start = mgn_now();
    mgn_sinkhorn_result made = {.prepare_seconds = start - begun};
    const mgn_shared_clouds clouds = {c.x, c.a, c.y, c.b};
    if (status == MGN_OK) status = mgn_shared_sinkhorn_run(s, &clouds, true, &made.value, c.gradient);
    made.seconds = mgn_now() - start;
    if (status == MGN_OK && !isfinite(made.value)) status = mgn_sinkhorn_refuse_value(made.value);
    if (status == MGN_OK) {
        made.iterations = mgn_sinkhorn_schedule(&config, temperatures);
        *result = made;
    }
    for (int64_t i = 0; status == MGN_OK && gradient && i < n * d; i++) gradient[i] = (float)c.gradient[i];
    mgn_shared_sinkhorn_destroy(s);
    double *const all[] = {c.x, c.a, c.y, c.b, c.gradient};
    for (size_t i = 0; i < MGN_COUNT(all); i++) mgn_free(all[i]);
    return status;
}
