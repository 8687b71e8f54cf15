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
 * in which m may stand still, for the y_i - m add up to 0: one block after the other gives its part of the gradient. */
#include <string.h>

#include "loss/moments.h"
#include "train/blocks.h"

struct mgn_block_moments {
    mgn_blocks_config config;
    int64_t d;
    mgn_blocks_sum *sum;                  /* s and T, (d + d d) doubles */
    mgn_plan *plan;                       /* L and its slopes */
    mgn_tensor *m, *S;                    /* its inputs; */
    mgn_tensor *loss, *slope_m, *slope_S; /* what it computes */
    double *values;                       /* m and S */
};

/* ---- plans ---- */

static mgn_status build_loss(const mgn_block_moments *b, mgn_graph *graph, mgn_node *in[2], mgn_node *out[3]) {
    in[0] = mgn_input(graph, "mean", MGN_REAL, MGN_SHAPE(b->d));
    in[1] = mgn_input(graph, "covariance", MGN_REAL, MGN_SHAPE(b->d, b->d));
    out[0] = mgn_loss_of_moments(b->config.loss, in[0], in[1]);
    MGN_TRY(mgn_graph_status(graph));
    MGN_TRY(mgn_grad(out[0], in, 2, out + 1));
    for (int i = 0; i < 3; i++) mgn_output(out[i]);
    return mgn_graph_status(graph);
}

static mgn_status compile_loss(mgn_block_moments *b) {
    mgn_graph *graph;
    mgn_node *in[2] = {NULL, NULL}, *out[3] = {NULL, NULL, NULL};
    MGN_TRY(mgn_graph_create(&graph));
    mgn_status status = build_loss(b, graph, in, out);
    if (status == MGN_OK) status = mgn_plan_compile(graph, b->config.device, b->config.real, NULL, 0, &b->plan);
    if (status == MGN_OK) {
        b->m = mgn_plan_tensor(b->plan, in[0]);
        b->S = mgn_plan_tensor(b->plan, in[1]);
        b->loss = mgn_plan_tensor(b->plan, out[0]);
        b->slope_m = mgn_plan_tensor(b->plan, out[1]);
        b->slope_S = mgn_plan_tensor(b->plan, out[2]);
    }
    mgn_graph_destroy(graph);
    return status;
}

static mgn_status prepare(mgn_block_moments *b) {
    const mgn_blocks_config *config = &b->config;
    const int64_t length = b->d + b->d * b->d;
    b->values = mgn_alloc((size_t)length, sizeof *b->values);
    if (!b->values) return MGN_ERR_MEMORY;
    MGN_TRY(mgn_blocks_sum_create(config->comm, config->blocks, MGN_F64, length, &b->sum));
    return compile_loss(b);
}

mgn_status mgn_block_moments_create(const mgn_blocks_config *config, mgn_block_moments **moments) {
    mgn_block_moments *b = mgn_alloc(1, sizeof *b);
    if (!b) return MGN_ERR_MEMORY;
    *b = (mgn_block_moments){.config = *config, .d = mgn_model_get_config(config->model)->d};
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

/* A block's mean and scatter. */
static mgn_status build(const void *context, mgn_pass_block *block, mgn_node **share) {
    const mgn_block_moments *b = context;
    mgn_node *flat = mgn_pass_input(block, "parameters", b->config.parameters);
    mgn_node *y = mgn_model_forward(b->config.model, flat, block->x), *m = mgn_mean(y, 1), *c = mgn_sub(y, m);
    mgn_node *const parts[] = {m, mgn_reshape(mgn_matmul_t(c, true, c, false), MGN_SHAPE(b->d * b->d))};
    *share = mgn_concat(parts, 2, 0);
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

mgn_node *mgn_block_moments_share(const mgn_block_moments *b, mgn_pass_block *block, mgn_node *y) {
    const double n = (double)block->batch;
    mgn_node *m = mgn_pass_input(block, "mean", b->m), *slope_m = mgn_pass_input(block, "slope of mean", b->slope_m),
             *slope_S = mgn_pass_input(block, "slope of covariance", b->slope_S), *c = mgn_sub(y, m);
    mgn_node *by_mean = mgn_sum(mgn_mul(y, slope_m), -1),
             *by_scatter = mgn_sum(mgn_mul(slope_S, mgn_matmul_t(c, true, c, false)), -1);
    return mgn_add(mgn_scale(by_mean, 1 / n), mgn_scale(by_scatter, 1 / (n - 1)));
}

/* ---- a round ---- */

static double centre(const mgn_block_moments *b, int64_t i) {
    return b->config.loss->mean ? b->config.loss->mean[i] : 0;
}

/* A block's mean and scatter become its sums about the centre. */
static void move_to_centre(const mgn_block_moments *b, double *v, double rows) {
    double *T = v + b->d;
    for (int64_t i = 0; i < b->d; i++) v[i] -= centre(b, i);
    for (int64_t i = 0; i < b->d; i++)
        for (int64_t j = 0; j < b->d; j++) T[i * b->d + j] += rows * v[i] * v[j];
    for (int64_t i = 0; i < b->d; i++) v[i] *= rows;
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

/* m and S from the sums. */
static void find_moments(mgn_block_moments *b, const double *total, double n) {
    const double *T = total + b->d;
    double *m = b->values, *S = m + b->d;
    for (int64_t i = 0; i < b->d; i++) m[i] = centre(b, i) + total[i] / n;
    for (int64_t i = 0; i < b->d; i++)
        for (int64_t j = 0; j < b->d; j++) S[i * b->d + j] = (T[i * b->d + j] - total[i] * total[j] / n) / (n - 1);
}

mgn_status mgn_block_moments_run(mgn_block_moments *b, mgn_pass *pass, uint64_t seed, int64_t first, double *loss) {
    const void *total;
    MGN_TRY(mgn_comm_agree(b->config.comm, run_own(b, pass, seed, first)));
    MGN_TRY(mgn_blocks_sum_add(b->sum, &total));
    find_moments(b, total, (double)mgn_pass_batch_rows(pass));
    MGN_TRY(mgn_tensor_write(b->m, MGN_F64, b->values));
    MGN_TRY(mgn_tensor_write(b->S, MGN_F64, b->values + b->d));
    MGN_TRY(mgn_plan_run(b->plan, 1));
    return mgn_tensor_read(b->loss, MGN_F64, loss);
}
