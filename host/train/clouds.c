/* The Sinkhorn divergence of a batch, from blocks (loss/sinkhorn_shared.h). A first round maps the rows of own blocks; all get
 * all of the mapped points, and share the divergence from samples of the target, which everyone draws. What comes back, its slope
 * D by the mapped points, stands still in the second round: the gradient of sum_i <D_i, y_i>, block by block, is that of the
 * divergence. */
#include <string.h>

#include "loss/sinkhorn_shared.h"
#include "train/blocks.h"

struct mgn_block_clouds {
    mgn_blocks_config config;
    int64_t d, most; /* rows of the largest block */
    mgn_plan *draw, *advance;
    mgn_tensor *drawn, *slope;               /* (m, d), the draw plan's or borrowed; (most, d): that of a block */
    double *own, *points, *samples, *slopes; /* own mapped rows, all of the batch, the target's, D */
    double *line;                            /* a block's slopes */
    int64_t *sizes;
};

/* ---- plans ---- */

static mgn_status compile_draw(mgn_block_clouds *c) {
    const mgn_blocks_config *config = &c->config;
    mgn_graph *graph;
    MGN_TRY(mgn_graph_create(&graph));
    mgn_node *state = mgn_input(graph, "target state", MGN_INDEX, MGN_SHAPE(4));
    mgn_binding bindings[2] = {{state, config->target_state}};
    size_t count = 1;
    mgn_node *rows = NULL;
    if (config->target_rows) {
        rows = mgn_input(graph, "target rows", MGN_REAL, mgn_tensor_shape(config->target_rows));
        bindings[count++] = (mgn_binding){rows, config->target_rows};
    }
    mgn_node *drawn = mgn_target_sample_node(config->loss->target, state, rows, config->target_batch, 0);
    if (drawn) mgn_output(drawn);
    const mgn_status status = mgn_plan_compile(graph, config->device, config->real, bindings, count, &c->draw);
    if (status == MGN_OK) c->drawn = mgn_plan_tensor(c->draw, drawn);
    mgn_graph_destroy(graph);
    return status;
}

/* A step that is not finished must not have drawn anything. */
static mgn_status compile_advance(mgn_block_clouds *c) {
    mgn_graph *graph;
    MGN_TRY(mgn_graph_create(&graph));
    mgn_node *state = mgn_input(graph, "target state", MGN_INDEX, MGN_SHAPE(4));
    mgn_assign(state, mgn_advance(state, 1));
    const mgn_binding binding = {state, c->config.target_state};
    const mgn_status status = mgn_plan_compile(graph, c->config.device, c->config.real, &binding, 1, &c->advance);
    mgn_graph_destroy(graph);
    return status;
}

static bool takes_all(const mgn_blocks_config *config) {
    return config->target_rows && mgn_tensor_shape(config->target_rows).dim[0] == config->target_batch;
}

/* ---- life ---- */

static mgn_status prepare(mgn_block_clouds *c, const mgn_pass_rows *kinds, int count) {
    const mgn_blocks_config *config = &c->config;
    const size_t row = (size_t)c->d * sizeof(double);
    int64_t rows = 1;
    for (int k = 0; k < count; k++) rows = MGN_MAX(rows, kinds[k].rows);
    c->most = (rows + config->blocks - 1) / config->blocks;
    c->own = mgn_alloc((size_t)rows, row);
    c->points = mgn_alloc((size_t)rows, row);
    c->slopes = mgn_alloc((size_t)rows, row);
    c->samples = mgn_alloc((size_t)config->target_batch, row);
    c->line = mgn_alloc((size_t)c->most, row);
    c->sizes = mgn_alloc(2 * (size_t)mgn_comm_size(config->comm), sizeof *c->sizes);
    if (!c->own || !c->points || !c->slopes || !c->samples || !c->line || !c->sizes) return MGN_ERR_MEMORY;
    MGN_TRY(mgn_tensor_create(config->device, config->real, MGN_SHAPE(c->most, c->d), &c->slope));
    c->drawn = config->target_rows;
    if (takes_all(config)) return MGN_OK;
    MGN_TRY(compile_draw(c));
    return compile_advance(c);
}

mgn_status mgn_block_clouds_create(const mgn_blocks_config *config, const mgn_pass_rows *kinds, int count,
                                   mgn_block_clouds **clouds) {
    mgn_block_clouds *c = mgn_alloc(1, sizeof *c);
    if (!c) return MGN_ERR_MEMORY;
    *c = (mgn_block_clouds){.config = *config, .d = mgn_model_get_config(config->model)->d};
    const mgn_status status = prepare(c, kinds, count);
    if (status == MGN_OK)
        *clouds = c;
    else
        mgn_block_clouds_destroy(c);
    return status;
}

void mgn_block_clouds_destroy(mgn_block_clouds *c) {
    if (!c) return;
    mgn_plan_destroy(c->draw);
    mgn_plan_destroy(c->advance);
    mgn_tensor_destroy(c->slope);
    void *const blocks[] = {c->own, c->points, c->samples, c->slopes, c->line, c->sizes};
    for (size_t i = 0; i < MGN_COUNT(blocks); i++) mgn_free(blocks[i]);
    mgn_free(c);
}

/* ---- kinds of batches ---- */

struct mgn_block_cloud {
    mgn_pass *pass;
    mgn_shared_sinkhorn *sinkhorn;
};

static mgn_status build(const void *context, mgn_pass_block *block, mgn_node **share) {
    const mgn_block_clouds *c = context;
    mgn_node *flat = mgn_pass_input(block, "parameters", c->config.parameters);
    *share = mgn_model_forward(c->config.model, flat, block->x);
    return mgn_graph_status(block->graph);
}

mgn_status mgn_block_cloud_create(const mgn_block_clouds *c, const mgn_pass_rows *rows, mgn_block_cloud **cloud) {
    const mgn_blocks_config *config = &c->config;
    mgn_block_cloud *made = mgn_alloc(1, sizeof *made);
    if (!made) return MGN_ERR_MEMORY;
    mgn_status status = mgn_pass_create(rows, build, c, &made->pass);
    if (status == MGN_OK)
        status = mgn_shared_sinkhorn_create(config->device, config->comm, config->blocks, config->real, rows->rows,
                                            config->target_batch, c->d, &config->loss->sinkhorn, &made->sinkhorn);
    if (status == MGN_OK)
        *cloud = made;
    else
        mgn_block_cloud_destroy(made);
    return status;
}

void mgn_block_cloud_destroy(mgn_block_cloud *cloud) {
    if (!cloud) return;
    mgn_pass_destroy(cloud->pass);
    mgn_shared_sinkhorn_destroy(cloud->sinkhorn);
    mgn_free(cloud);
}

/* ---- a round ---- */

static int64_t first_block(const mgn_block_clouds *c, int rank) {
    return mgn_blocks_start(c->config.comm, c->config.blocks, rank);
}

/* Rows of the batch before a block. */
static int64_t rows_before(const mgn_pass *pass, int64_t block) {
    return MGN_MIN(block * mgn_pass_block_rows(pass, 0), mgn_pass_batch_rows(pass));
}

static mgn_status run_own(mgn_block_clouds *c, mgn_pass *pass, uint64_t seed, int64_t first) {
    const int rank = mgn_comm_rank(c->config.comm);
    double *to = c->own;
    for (int64_t b = first_block(c, rank); b < first_block(c, rank + 1); b++) {
        MGN_TRY(mgn_pass_run_block(pass, seed, first, b, MGN_F64, to));
        to += mgn_pass_block_rows(pass, b) * c->d;
    }
    if (c->draw) MGN_TRY(mgn_plan_run(c->draw, 1));
    return mgn_tensor_read(c->drawn, MGN_F64, c->samples);
}

mgn_status mgn_block_clouds_run(mgn_block_clouds *c, mgn_block_cloud *cloud, uint64_t seed, int64_t first,
                                double *loss) {
    mgn_comm *comm = c->config.comm;
    const mgn_shared_clouds clouds = {.x = c->points, .y = c->samples};
    MGN_TRY(mgn_comm_agree(comm, run_own(c, cloud->pass, seed, first)));
    for (int r = 0; r < mgn_comm_size(comm); r++)
        c->sizes[r] = (rows_before(cloud->pass, first_block(c, r + 1)) - rows_before(cloud->pass, first_block(c, r))) *
                      c->d * (int64_t)sizeof(double);
    MGN_TRY(mgn_comm_gather(comm, c->own, c->sizes, c->points));
    return mgn_shared_sinkhorn_run(cloud->sinkhorn, &clouds, false, loss, c->slopes);
}

mgn_status mgn_block_clouds_put(mgn_block_clouds *c, const mgn_block_cloud *cloud, int64_t block) {
    const int64_t rows = mgn_pass_block_rows(cloud->pass, block);
    if (rows == 0) return MGN_OK;
    memcpy(c->line, c->slopes + rows_before(cloud->pass, block) * c->d, (size_t)(rows * c->d) * sizeof *c->line);
    return mgn_tensor_write(c->slope, MGN_F64, c->line);
}

mgn_node *mgn_block_clouds_share(const mgn_block_clouds *c, mgn_pass_block *block, mgn_node *y) {
    mgn_node *slope = mgn_pass_input(block, "slope", c->slope);
    return mgn_sum(mgn_mul(mgn_slice(slope, 0, 0, block->rows), y), -1);
}

mgn_status mgn_block_clouds_advance(mgn_block_clouds *c) { return c->advance ? mgn_plan_run(c->advance, 1) : MGN_OK; }
