#include "train/blocks.h"

#include <string.h>

#include "loss/moments.h"

enum { MOST_KINDS = 4 };

struct mgn_block_gradient {
    mgn_blocks_config config;
    int64_t count; /* parameters */
    mgn_blocks_sum *sum;
    mgn_block_moments *moments; /* NULL unless the loss is one of moments */
    mgn_block_clouds *clouds;   /* NULL unless it is one between clouds */
    mgn_block_cloud *cloud[MOST_KINDS];
    mgn_pass *passes[MOST_KINDS], *rounds[MOST_KINDS]; /* of gradients, and of moments before them */
};

static bool is_of_clouds(const char *loss) { return strcmp(loss, "sinkhorn") == 0; }

bool mgn_blocks_take(const char *loss) {
    return mgn_loss_is_mean(loss) || mgn_loss_is_of_moments(loss) || is_of_clouds(loss);
}

/* The block's part of the loss, and what its gradient is that of. */
static void build_loss(const mgn_block_gradient *g, mgn_pass_block *block, mgn_node *y, mgn_node **loss,
                       mgn_node **sloped) {
    const mgn_loss_config *config = g->config.loss;
    if (!g->moments && !g->clouds) {
        *sloped = *loss = mgn_scale(mgn_loss(config, block->x, y, block->y), block->part);
        return;
    }
    mgn_node *cost = mgn_scale(mgn_loss_transport_cost(block->x, y), config->cost_weight * block->part),
             *linear = g->clouds ? mgn_block_clouds_share(g->clouds, block, y)
                                 : mgn_block_moments_share(g->moments, block, y);
    *loss = cost;
    *sloped = config->cost_weight == 0 ? linear : mgn_add(linear, cost);
}

static mgn_status build(const void *context, mgn_pass_block *block, mgn_node **share) {
    const mgn_block_gradient *g = context;
    mgn_node *flat = mgn_pass_input(block, "parameters", g->config.parameters), *loss, *sloped, *gradient = NULL;
    build_loss(g, block, mgn_model_forward(g->config.model, flat, block->x), &loss, &sloped);
    MGN_TRY(mgn_graph_status(block->graph));
    MGN_TRY(mgn_grad(sloped, &flat, 1, &gradient));
    mgn_node *const parts[] = {gradient, mgn_reshape(loss, MGN_SHAPE(1))};
    *share = mgn_concat(parts, 2, 0);
    return mgn_graph_status(block->graph);
}

static mgn_status prepare(mgn_block_gradient *g, const mgn_pass_rows *kinds, int count) {
    const mgn_blocks_config *config = &g->config;
    MGN_TRY(mgn_blocks_sum_create(config->comm, config->blocks, config->sums, g->count + 1, &g->sum));
    if (mgn_loss_is_of_moments(config->loss->kind)) MGN_TRY(mgn_block_moments_create(config, NULL, &g->moments));
    if (is_of_clouds(config->loss->kind)) MGN_TRY(mgn_block_clouds_create(config, kinds, count, &g->clouds));
    for (int k = 0; k < count; k++) {
        if (kinds[k].rows == 0) continue;
        if (g->moments) MGN_TRY(mgn_block_moments_pass(g->moments, &kinds[k], &g->rounds[k]));
        if (g->clouds) MGN_TRY(mgn_block_cloud_create(g->clouds, &kinds[k], &g->cloud[k]));
        MGN_TRY(mgn_pass_create(&kinds[k], build, g, &g->passes[k]));
    }
    return MGN_OK;
}

mgn_status mgn_block_gradient_create(const mgn_blocks_config *config, const mgn_pass_rows *kinds, int count,
                                     mgn_block_gradient **gradient) {
    mgn_block_gradient *g = mgn_alloc(1, sizeof *g);
    if (!g) return MGN_ERR_MEMORY;
    *g = (mgn_block_gradient){.config = *config, .count = mgn_model_parameter_count(config->model)};
    const mgn_status status = prepare(g, kinds, count);
    if (status == MGN_OK)
        *gradient = g;
    else
        mgn_block_gradient_destroy(g);
    return status;
}

void mgn_block_gradient_destroy(mgn_block_gradient *g) {
    if (!g) return;
    for (int k = 0; k < MOST_KINDS; k++) {
        mgn_pass_destroy(g->passes[k]);
        mgn_pass_destroy(g->rounds[k]);
        mgn_block_cloud_destroy(g->cloud[k]);
    }
    mgn_block_clouds_destroy(g->clouds);
    mgn_block_moments_destroy(g->moments);
    mgn_blocks_sum_destroy(g->sum);
    mgn_free(g);
}

/* The loss of the first round is that of all blocks together: the first one's share has it. */
static void add_to_first(mgn_block_gradient *g, double loss) {
    int64_t begin, end;
    mgn_blocks_sum_range(g->sum, &begin, &end);
    if (begin > 0) return;
    void *to = mgn_blocks_sum_place(g->sum, 0);
    if (g->config.sums == MGN_F32)
        ((float *)to)[g->count] += (float)loss;
    else
        ((double *)to)[g->count] += loss;
}

static mgn_status run_own(mgn_block_gradient *g, int kind, uint64_t seed, int64_t first) {
    int64_t begin, end;
    if (!g->clouds) return mgn_pass_run(g->passes[kind], seed, first, g->sum);
    mgn_blocks_sum_range(g->sum, &begin, &end);
    for (int64_t block = begin; block < end; block++) {
        MGN_TRY(mgn_block_clouds_put(g->clouds, g->cloud[kind], block));
        MGN_TRY(mgn_pass_run_share(g->passes[kind], seed, first, block, g->sum));
    }
    return MGN_OK;
}

mgn_status mgn_block_gradient_run(mgn_block_gradient *g, int kind, uint64_t seed, int64_t first, bool *is_stopping,
                                  const void **total) {
    double loss = 0;
    if (g->moments) MGN_TRY(mgn_block_moments_run(g->moments, g->rounds[kind], seed, first, &loss));
    if (g->clouds) MGN_TRY(mgn_block_clouds_run(g->clouds, g->cloud[kind], seed, first, &loss));
    const mgn_status status = run_own(g, kind, seed, first);
    if (g->moments || g->clouds) add_to_first(g, loss);
    *is_stopping = mgn_interrupted();
    MGN_TRY(mgn_comm_agree_any(g->config.comm, status, is_stopping));
    if (g->clouds && !*is_stopping) MGN_TRY(mgn_block_clouds_advance(g->clouds));
    return mgn_blocks_sum_add(g->sum, total);
}
