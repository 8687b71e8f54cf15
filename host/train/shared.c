#include "train/shared.h"

#include <string.h>

#include "loss/moments.h"

enum { VALUE, PRODUCT, MATRIX, PASSES };

struct mgn_shared {
    mgn_shared_config config;
    int64_t count; /* parameters */
    mgn_block_gradient *gradient;
    mgn_block_moments *moments[PASSES]; /* before the passes, where the loss is one of moments; */
    mgn_pass *rounds[PASSES];           /* what adds them up */
    mgn_pass *passes[PASSES];           /* of losses of moments: what they are besides these */
    mgn_blocks_sum *sums[PASSES];
    bool is_stopping;
};

/* ---- graphs ---- */

static bool is_of_moments(const mgn_shared *s) { return mgn_loss_is_of_moments(s->config.blocks.loss->kind); }

/* The cost of transport, or NULL, is the loss of rows where the rest is one of moments. */
static void make_nodes(const mgn_shared *s, mgn_pass_block *block, mgn_curvature_nodes *at) {
    const mgn_blocks_config *config = &s->config.blocks;
    mgn_node *flat = mgn_pass_input(block, "parameters", config->parameters),
             *y = mgn_model_forward(config->model, flat, block->x), *loss = NULL;
    if (!is_of_moments(s))
        loss = mgn_loss(config->loss, block->x, y, block->y);
    else if (config->loss->cost_weight != 0)
        loss = mgn_scale(mgn_loss_transport_cost(block->x, y), config->loss->cost_weight);
    *at = (mgn_curvature_nodes){block->x, block->y, flat, y, loss};
}

static mgn_status build_value(const void *context, mgn_pass_block *block, mgn_node **share) {
    mgn_curvature_nodes at;
    make_nodes(context, block, &at);
    *share = mgn_reshape(mgn_scale(at.loss, block->part), MGN_SHAPE(1));
    return mgn_graph_status(block->graph);
}

static mgn_status build_product(const void *context, mgn_pass_block *block, mgn_node **share) {
    const mgn_shared *s = context;
    mgn_curvature_nodes at;
    mgn_node *product;
    make_nodes(s, block, &at);
    if (is_of_moments(s))
        return mgn_block_moments_product(s->moments[PRODUCT], block, at.flat, at.y,
                                         at.loss ? mgn_scale(at.loss, block->part) : NULL, share);
    mgn_node *v = mgn_pass_input(block, "direction", s->config.direction);
    MGN_TRY(mgn_graph_status(block->graph));
    MGN_TRY(mgn_curvature_product(&s->config.curvature, &at, v, &product));
    *share = mgn_scale(product, block->part);
    return mgn_graph_status(block->graph);
}

/* The loss, its gradient and the matrix, one behind the other. */
static mgn_status build_matrix(const void *context, mgn_pass_block *block, mgn_node **share) {
    const mgn_shared *s = context;
    mgn_curvature_nodes at;
    mgn_node *gradient, *root;
    make_nodes(s, block, &at);
    MGN_TRY(mgn_graph_status(block->graph));
    MGN_TRY(mgn_grad(at.loss, &at.flat, 1, &gradient));
    MGN_TRY(mgn_curvature_root(&s->config.curvature, &at, &root));
    root = mgn_reshape(root, MGN_SHAPE(mgn_shape_count(mgn_node_shape(at.y)), s->count));
    mgn_node *matrix = mgn_matmul_t(root, true, root, false);
    mgn_node *const parts[] = {mgn_reshape(at.loss, MGN_SHAPE(1)), gradient,
                               mgn_reshape(matrix, MGN_SHAPE(s->count * s->count))};
    *share = mgn_scale(mgn_concat(parts, 3, 0), block->part);
    return mgn_graph_status(block->graph);
}

/* ---- life ---- */

static mgn_status add_pass(mgn_shared *s, int kind, const mgn_pass_rows *rows) {
    static mgn_pass_build *const builders[PASSES] = {build_value, build_product, build_matrix};
    const int64_t lengths[PASSES] = {1, s->count, 1 + s->count + s->count * s->count};
    const mgn_blocks_config *config = &s->config.blocks;
    MGN_TRY(mgn_blocks_sum_create(config->comm, config->blocks, MGN_F64, lengths[kind], &s->sums[kind]));
    if (is_of_moments(s)) {
        MGN_TRY(mgn_block_moments_create(config, kind == PRODUCT ? s->config.direction : NULL, &s->moments[kind]));
        MGN_TRY(mgn_block_moments_pass(s->moments[kind], rows, &s->rounds[kind]));
        if (kind == VALUE && config->loss->cost_weight == 0) return MGN_OK;
    }
    return mgn_pass_create(rows, builders[kind], s, &s->passes[kind]);
}

/* Where the model has no form for the matrix there is none. */
static mgn_status add_matrix(mgn_shared *s, const mgn_pass_rows *rows, bool *has_matrix) {
    const int64_t block = (rows->rows + rows->blocks - 1) / rows->blocks;
    *has_matrix = false;
    if (!mgn_curvature_has_root(&s->config.curvature, block, mgn_model_get_config(s->config.blocks.model)->d, s->count))
        return MGN_OK;
    const mgn_status status = add_pass(s, MATRIX, rows);
    *has_matrix = status == MGN_OK;
    return status == MGN_ERR_UNSUPPORTED ? MGN_OK : status;
}

static mgn_status prepare(mgn_shared *s, bool has_products, bool *has_matrix) {
    const mgn_blocks_config *config = &s->config.blocks;
    const mgn_pass_rows rows = {.device = config->device,
                                .real = config->real,
                                .x = config->x,
                                .y = config->y,
                                .pages = config->pages,
                                .population = s->config.n,
                                .rows = s->config.n,
                                .blocks = config->blocks};
    MGN_TRY(add_matrix(s, &rows, has_matrix));
    if (!*has_matrix) MGN_TRY(mgn_block_gradient_create(config, &rows, 1, &s->gradient));
    if (has_products) MGN_TRY(add_pass(s, VALUE, &rows));
    return has_products && !*has_matrix ? add_pass(s, PRODUCT, &rows) : MGN_OK;
}

mgn_status mgn_shared_create(const mgn_shared_config *config, bool has_products, bool *has_matrix,
                             mgn_shared **shared) {
    mgn_shared *s = mgn_alloc(1, sizeof *s);
    if (!s) return MGN_ERR_MEMORY;
    *s = (mgn_shared){.config = *config, .count = mgn_model_parameter_count(config->blocks.model)};
    const mgn_status status = prepare(s, has_products, has_matrix);
    if (status == MGN_OK)
        *shared = s;
    else
        mgn_shared_destroy(s);
    return status;
}

void mgn_shared_destroy(mgn_shared *s) {
    if (!s) return;
    for (int kind = 0; kind < PASSES; kind++) {
        mgn_pass_destroy(s->passes[kind]);
        mgn_pass_destroy(s->rounds[kind]);
        mgn_block_moments_destroy(s->moments[kind]);
        mgn_blocks_sum_destroy(s->sums[kind]);
    }
    mgn_block_gradient_destroy(s->gradient);
    mgn_free(s);
}

bool mgn_shared_is_stopping(const mgn_shared *s) { return s->is_stopping; }

/* ---- calls ---- */

/* `loss`: what the moments are worth; 0 where it is not one of them. Without a pass the total is NULL. */
static mgn_status add_up(mgn_shared *s, int kind, double *loss, const double **total) {
    const void *sum;
    *loss = 0;
    *total = NULL;
    s->is_stopping = mgn_interrupted();
    if (s->moments[kind]) MGN_TRY(mgn_block_moments_run(s->moments[kind], s->rounds[kind], s->config.seed, 0, loss));
    if (!s->passes[kind]) return mgn_comm_agree_any(s->config.blocks.comm, MGN_OK, &s->is_stopping);
    const mgn_status status = mgn_pass_run(s->passes[kind], s->config.seed, 0, s->sums[kind]);
    MGN_TRY(mgn_comm_agree_any(s->config.blocks.comm, status, &s->is_stopping));
    MGN_TRY(mgn_blocks_sum_add(s->sums[kind], &sum));
    *total = sum;
    return MGN_OK;
}

mgn_status mgn_shared_value(mgn_shared *s, double *f) {
    const double *total;
    MGN_TRY(add_up(s, VALUE, f, &total));
    if (total) *f += *total;
    return MGN_OK;
}

mgn_status mgn_shared_gradient(mgn_shared *s, double *f, double *gradient) {
    const void *total;
    MGN_TRY(mgn_block_gradient_run(s->gradient, 0, s->config.seed, 0, &s->is_stopping, &total));
    memcpy(gradient, total, (size_t)s->count * sizeof *gradient);
    *f = ((const double *)total)[s->count];
    return MGN_OK;
}

mgn_status mgn_shared_product(mgn_shared *s, double *product) {
    const double *total;
    double f;
    MGN_TRY(add_up(s, PRODUCT, &f, &total));
    MGN_KNOWN(total != NULL);
    memcpy(product, total, (size_t)s->count * sizeof *product);
    return MGN_OK;
}

mgn_status mgn_shared_matrix(mgn_shared *s, double *f, double *gradient, double *matrix) {
    const double *total;
    MGN_TRY(add_up(s, MATRIX, f, &total));
    MGN_KNOWN(total != NULL);
    *f += *total;
    memcpy(gradient, total + 1, (size_t)s->count * sizeof *gradient);
    memcpy(matrix, total + 1 + s->count, (size_t)(s->count * s->count) * sizeof *matrix);
    return MGN_OK;
}
