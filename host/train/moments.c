/* Losses of moments, from blocks. A plan gives a block's mean and its scatter about that; on the host, in double, they become
 * sums about one centre for all, which are added up:
 *
 *     s = sum (y_i - c),  T = sum (y_i - c) (y_i - c)^T,  m = c + s / n,  S = (T - s s^T / n) / (n - 1).
 *
 * With c, the target's mean, near m nothing cancels where it matters. The loss L(m, S) and its slopes are a plan of their own.
 * About these moments L is to first order
 *
 *     sum_i <dL/dm, y_i> / n + <dL/dS, (y_i - m) (y_i - m)^T> / (n - 1),
 *
 * in which m may stand still, for the y_i - m add up to 0: one block after the other gives its part of the gradient.
 *
 * A product of the Hessian with v is the derivative of that gradient along v. It depends on the parameters through a block's own
 * rows, and through m and the slopes: so the first round gives the moments' own derivatives along v too,
 *
 *     s' = sum y_i',  T' = sum y_i' (y_i - c)^T + (y_i - c) y_i'^T,  m' = s' / n,  S' = (T' - (s' s^T + s s'^T) / n) / (n - 1),
 *
 * the plan those of the slopes, and the second round differentiates the gradient of a block by all four. */
#include <string.h>

#include "loss/moments.h"
#include "train/blocks.h"

struct mgn_block_moments {
    mgn_blocks_config config;
    int64_t d;
    mgn_tensor *direction;                   /* v (p); NULL: no derivatives along it, and no tensors for them */
    mgn_blocks_sum *sum;                     /* s and T, (d + d d) doubles; and behind them s' and T' */
    mgn_plan *plan;                          /* L and its slopes, and theirs along v */
    mgn_tensor *inputs[4];                   /* m, S, m', S' */
    mgn_tensor *loss, *slopes[2], *bends[2]; /* what it computes: dL/dm and dL/dS, and these along v */
    double *values;                          /* of the inputs */
};

enum { MEAN, COVARIANCE };

static int64_t length(const mgn_block_moments *b) { return b->d + b->d * b->d; }
static int sides(const mgn_block_moments *b) { return b->direction ? 2 : 1; } /* the moments, and their derivatives */

/* ---- plans ---- */

/* out: L, its slopes, and theirs along v. */
static mgn_status build_loss(const mgn_block_moments *b, mgn_graph *graph, mgn_node *in[4], mgn_node *out[5]) {
    static const char *const labels[] = {"mean", "covariance", "mean along v", "covariance along v"};
    for (int i = 0; i < 2 * sides(b); i++)
        in[i] = mgn_input(graph, labels[i], MGN_REAL, i % 2 == MEAN ? MGN_SHAPE(b->d) : MGN_SHAPE(b->d, b->d));
    out[0] = mgn_loss_of_moments(b->config.loss, in[MEAN], in[COVARIANCE]);
    MGN_TRY(mgn_graph_status(graph));
    MGN_TRY(mgn_grad(out[0], in, 2, out + 1));
    if (b->direction) MGN_TRY(mgn_jvp(out + 1, 2, in, in + 2, 2, out + 3));
    for (int i = 0; i < 1 + 2 * sides(b); i++) mgn_output(out[i]);
    return mgn_graph_status(graph);
}

static mgn_status compile_loss(mgn_block_moments *b) {
    mgn_graph *graph;
    mgn_node *in[4], *out[5];
    MGN_TRY(mgn_graph_create(&graph));
    mgn_status status = build_loss(b, graph, in, out);
    if (status == MGN_OK) status = mgn_plan_compile(graph, b->config.device, b->config.real, NULL, 0, &b->plan);
    if (status == MGN_OK) {
        b->loss = mgn_plan_tensor(b->plan, out[0]);
        for (int i = 0; i < 2 * sides(b); i++) {
            b->inputs[i] = mgn_plan_tensor(b->plan, in[i]);
            *(i < 2 ? &b->slopes[i] : &b->bends[i - 2]) = mgn_plan_tensor(b->plan, out[1 + i]);
        }
    }
    mgn_graph_destroy(graph);
    return status;
}

static mgn_status prepare(mgn_block_moments *b) {
    const mgn_blocks_config *config = &b->config;
    const int64_t all = sides(b) * length(b);
    b->values = mgn_alloc((size_t)all, sizeof *b->values);
    if (!b->values) return MGN_ERR_MEMORY;
    MGN_TRY(mgn_blocks_sum_create(config->comm, config->blocks, MGN_F64, all, &b->sum));
    return compile_loss(b);
}

mgn_status mgn_block_moments_create(const mgn_blocks_config *config, mgn_tensor *direction,
                                    mgn_block_moments **moments) {
    mgn_block_moments *b = mgn_alloc(1, sizeof *b);
    if (!b) return MGN_ERR_MEMORY;
    *b = (mgn_block_moments){.config = *config, .direction = direction, .d = mgn_model_get_config(config->model)->d};
    const mgn_status status = prepare(b);
    if (status == MGN_OK)
        *moments = b;
    else
        mgn_block_moments_destroy(b);
    return status;
}

void mgn_block_moments_destroy(mgn_block_moments *b) {
    if (!b) return;
    mgn_plan_destroy(b->plan);
    mgn_blocks_sum_destroy(b->sum);
    mgn_free(b->values);
    mgn_free(b);
}

/* A block's mean and scatter, and these along v. */
static mgn_status build(const void *context, mgn_pass_block *block, mgn_node **share) {
    const mgn_block_moments *b = context;
    mgn_node *flat = mgn_pass_input(block, "parameters", b->config.parameters);
    mgn_node *y = mgn_model_forward(b->config.model, flat, block->x), *m = mgn_mean(y, 1), *c = mgn_sub(y, m);
    mgn_node *parts[4] = {m, mgn_reshape(mgn_matmul_t(c, true, c, false), MGN_SHAPE(b->d * b->d))};
    mgn_node *v = mgn_pass_input(block, "direction", b->direction);
    MGN_TRY(mgn_graph_status(block->graph));
    if (v) MGN_TRY(mgn_jvp(parts, 2, &flat, &v, 1, parts + 2));
    *share = mgn_concat(parts, 2 * sides(b), 0);
    return mgn_graph_status(block->graph);
}

mgn_status mgn_block_moments_pass(const mgn_block_moments *b, const mgn_pass_rows *rows, mgn_pass **pass) {
    if (rows->rows < 2)
        return mgn_fail(
            MGN_ERR_ARGUMENT,
            "%s: at least 2 rows are needed to estimate a covariance, but a batch of %lld is among those of "
            "an epoch",
            b->config.loss->kind, (long long)rows->rows);
    return mgn_pass_create(rows, build, b, pass);
}

/* at: m, dL/dm and dL/dS. */
static mgn_node *build_linear(const mgn_block_moments *b, mgn_pass_block *block, mgn_node *y, mgn_node *at[3]) {
    const double n = (double)block->batch;
    at[0] = mgn_pass_input(block, "mean", b->inputs[MEAN]);
    at[1] = mgn_pass_input(block, "slope of mean", b->slopes[MEAN]);
    at[2] = mgn_pass_input(block, "slope of covariance", b->slopes[COVARIANCE]);
    mgn_node *c = mgn_sub(y, at[0]), *by_mean = mgn_sum(mgn_mul(y, at[1]), -1),
             *by_scatter = mgn_sum(mgn_mul(at[2], mgn_matmul_t(c, true, c, false)), -1);
    return mgn_add(mgn_scale(by_mean, 1 / n), mgn_scale(by_scatter, 1 / (n - 1)));
}

mgn_node *mgn_block_moments_share(const mgn_block_moments *b, mgn_pass_block *block, mgn_node *y) {
    mgn_node *at[3];
    return build_linear(b, block, y, at);
}

mgn_status mgn_block_moments_product(const mgn_block_moments *b, mgn_pass_block *block, mgn_node *flat, mgn_node *y,
                                     mgn_node *cost, mgn_node **product) {
    mgn_node *in[4] = {flat}, *gradient, *sloped = build_linear(b, block, y, in + 1);
    mgn_node *const along[4] = {mgn_pass_input(block, "direction", b->direction),
                                mgn_pass_input(block, "mean along v", b->inputs[2 + MEAN]),
                                mgn_pass_input(block, "slope of mean along v", b->bends[MEAN]),
                                mgn_pass_input(block, "slope of covariance along v", b->bends[COVARIANCE])};
    if (cost) sloped = mgn_add(sloped, cost);
    MGN_TRY(mgn_graph_status(block->graph));
    MGN_TRY(mgn_grad(sloped, &flat, 1, &gradient));
    return mgn_jvp(&gradient, 1, in, along, 4, product);
}

/* ---- a round ---- */

static double centre(const mgn_block_moments *b, int64_t i) {
    return b->config.loss->mean ? b->config.loss->mean[i] : 0;
}

/* A block's mean and scatter become its sums about the centre, and so do their derivatives. */
static void move_to_centre(const mgn_block_moments *b, double *v, double rows) {
    const int64_t d = b->d;
    double *T = v + d, *along = v + (sides(b) - 1) * length(b), *T_along = along + d;
    for (int64_t i = 0; i < d; i++) v[i] -= centre(b, i);
    for (int64_t i = 0; i < d; i++)
        for (int64_t j = 0; j < d; j++) {
            T[i * d + j] += rows * v[i] * v[j];
            if (b->direction) T_along[i * d + j] += rows * (along[i] * v[j] + v[i] * along[j]);
        }
    for (int64_t i = 0; i < d; i++) {
        v[i] *= rows;
        if (b->direction) along[i] *= rows;
    }
}

static mgn_status run_own(mgn_block_moments *b, mgn_pass *pass, uint64_t seed, int64_t first) {
    int64_t begin, end;
    MGN_TRY(mgn_pass_run(pass, seed, first, b->sum));
    mgn_blocks_sum_range(b->sum, &begin, &end);
    for (int64_t block = begin; block < end; block++) {
        const int64_t rows = mgn_pass_block_rows(pass, block);
        if (rows > 0) move_to_centre(b, mgn_blocks_sum_place(b->sum, block), (double)rows);
    }
    return MGN_OK;
}

/* The inputs of the loss from the sums. */
static void find_moments(mgn_block_moments *b, const double *total, double n) {
    const int64_t d = b->d;
    const int64_t behind = (sides(b) - 1) * length(b);
    const double *s = total, *T = s + d, *along = total + behind, *T_along = along + d;
    double *m = b->values, *S = m + d, *m_along = m + behind, *S_along = m_along + d;
    for (int64_t i = 0; i < d; i++) {
        m[i] = centre(b, i) + s[i] / n;
        if (b->direction) m_along[i] = along[i] / n;
    }
    for (int64_t i = 0; i < d; i++)
        for (int64_t j = 0; j < d; j++) {
            const int64_t k = i * d + j;
            S[k] = (T[k] - s[i] * s[j] / n) / (n - 1);
            if (b->direction) S_along[k] = (T_along[k] - (along[i] * s[j] + s[i] * along[j]) / n) / (n - 1);
        }
}

mgn_status mgn_block_moments_run(mgn_block_moments *b, mgn_pass *pass, uint64_t seed, int64_t first, double *loss) {
    const void *total;
    MGN_TRY(mgn_comm_agree(b->config.comm, run_own(b, pass, seed, first)));
    MGN_TRY(mgn_blocks_sum_add(b->sum, &total));
    find_moments(b, total, (double)mgn_pass_batch_rows(pass));
    for (int i = 0; i < 2 * sides(b); i++)
        MGN_TRY(mgn_tensor_write(b->inputs[i], MGN_F64, b->values + i / 2 * length(b) + i % 2 * b->d));
    MGN_TRY(mgn_plan_run(b->plan, 1));
    return mgn_tensor_read(b->loss, MGN_F64, loss);
}
