/* Steps whose gradient is added up from blocks of the batch. Block b of B has the rows b q .. (b + 1) q - 1 of the batch, q being
 * its rows by B, rounded up; the last ones may be shorter or empty. A block's share is its part of the mean over the batch and
 * of its gradient. The shares meet in the tree of comm/blocks_sum.h, so that who computed which of them leaves no trace.
 *
 * The rows of a block are positions of the window's permutation. Its seed changes with the window, and the count of the random
 * state is the position itself, which the host sets: plans are the same for all blocks of a length. */
#include <string.h>

#include "comm/blocks_sum.h"
#include "train/trainer.h"

enum { FULL, REST, LENGTHS }; /* blocks of q rows, and the one behind them that has fewer */

struct mgn_block_steps {
    mgn_blocks_sum *sum;
    mgn_plan *plans[MGN_SIZES][LENGTHS];
    mgn_tensor *place, *share, *result; /* random state of a block; a block's gradient and loss; those of all */
    int64_t blocks;
};

static int64_t rows_of_block(const mgn_trainer *t, int size) {
    return (mgn_trainer_rows(t, size) + t->blocks->blocks - 1) / t->blocks->blocks;
}

/* Rows of the blocks of a length; 0: there are none. */
static int64_t rows_of(const mgn_trainer *t, int size, int length) {
    const int64_t whole = rows_of_block(t, size);
    return length == FULL ? whole : mgn_trainer_rows(t, size) % whole;
}

/* ---- plans ---- */

typedef struct inputs {
    mgn_node *nodes[5];
    mgn_binding bindings[5];
    size_t count;
} inputs;

static mgn_node *add_input(mgn_graph *graph, inputs *in, const char *label, mgn_tensor *tensor) {
    if (!tensor) return NULL;
    const mgn_kind kind = mgn_tensor_dtype(tensor) == MGN_U32 ? MGN_INDEX : MGN_REAL;
    mgn_node *node = mgn_input(graph, label, kind, mgn_tensor_shape(tensor));
    in->bindings[in->count++] = (mgn_binding){node, tensor};
    return node;
}

static mgn_status build(const mgn_trainer *t, mgn_graph *graph, int size, int64_t rows, inputs *in) {
    const mgn_block_steps *b = t->blocks;
    mgn_node *x = add_input(graph, in, "x", t->x), *y = add_input(graph, in, "y", t->y);
    mgn_node *parameters = add_input(graph, in, "parameters", t->parameters);
    mgn_node *place = add_input(graph, in, "place", b->place), *share = add_input(graph, in, "share", b->share);
    const int64_t all = mgn_trainer_population(t, size);
    mgn_node *index = mgn_shuffle(place, all, rows, all, 1), *gradient = NULL;
    x = mgn_gather_rows(x, index);
    if (y) y = mgn_gather_rows(y, index);
    mgn_node *loss = mgn_loss(&t->losses, x, mgn_model_forward(t->model, parameters, x), y);
    MGN_TRY(mgn_graph_status(graph));
    MGN_TRY(mgn_grad(loss, &parameters, 1, &gradient));
    mgn_node *const parts[] = {gradient, mgn_reshape(loss, MGN_SHAPE(1))};
    mgn_assign(share, mgn_scale(mgn_concat(parts, 2, 0), (double)rows / (double)mgn_trainer_rows(t, size)));
    return mgn_graph_status(graph);
}

static mgn_status compile(mgn_trainer *t, int size, int length) {
    const int64_t rows = rows_of(t, size, length);
    mgn_graph *graph;
    inputs in = {0};
    if (rows == 0) return MGN_OK;
    MGN_TRY(mgn_graph_create(&graph));
    mgn_status status = build(t, graph, size, rows, &in);
    if (status == MGN_OK)
        status =
            mgn_plan_compile(graph, t->device, t->config->real, in.bindings, in.count, &t->blocks->plans[size][length]);
    mgn_graph_destroy(graph);
    return status;
}

mgn_status mgn_block_steps_create(mgn_trainer *t) {
    const mgn_train_config *config = t->config;
    const int64_t length = t->count + 1;
    mgn_block_steps *b = t->blocks = mgn_alloc(1, sizeof *b);
    if (!b) return MGN_ERR_MEMORY;
    b->blocks = config->blocks;
    MGN_TRY(mgn_blocks_sum_create(config->comm, b->blocks, config->real, length, &b->sum));
    MGN_TRY(mgn_tensor_create(t->device, MGN_U32, MGN_SHAPE(4), &b->place));
    MGN_TRY(mgn_tensor_create(t->device, config->real, MGN_SHAPE(length), &b->share));
    MGN_TRY(mgn_tensor_create(t->device, config->real, MGN_SHAPE(length), &b->result));
    for (int size = MGN_WHOLE; size < MGN_SIZES; size++)
        for (int k = FULL; mgn_trainer_has(t, size) && k < LENGTHS; k++) MGN_TRY(compile(t, size, k));
    return MGN_OK;
}

void mgn_block_steps_destroy(mgn_block_steps *b) {
    if (!b) return;
    for (int size = MGN_WHOLE; size < MGN_SIZES; size++)
        for (int k = FULL; k < LENGTHS; k++) mgn_plan_destroy(b->plans[size][k]);
    mgn_blocks_sum_destroy(b->sum);
    mgn_tensor_destroy(b->place);
    mgn_tensor_destroy(b->share);
    mgn_tensor_destroy(b->result);
    mgn_free(b);
}

mgn_tensor *mgn_block_steps_result(const mgn_block_steps *b) { return b->result; }

/* ---- steps ---- */

/* The seed of the permutation of the window that is on the device. */
static uint64_t seed_now(const mgn_trainer *t) {
    const uint64_t windows = (uint64_t)t->session.state.point.epoch * (uint64_t)t->windows + (uint64_t)t->at;
    return t->config->seed + windows * UINT64_C(0x9e3779b97f4a7c15);
}

static mgn_status run_block(mgn_trainer *t, int size, int64_t batch, int64_t block) {
    mgn_block_steps *b = t->blocks;
    const int64_t whole = rows_of_block(t, size), first = block * whole, all = mgn_trainer_rows(t, size);
    void *to = mgn_blocks_sum_place(b->sum, block);
    if (first >= all) {
        memset(to, 0, (size_t)(t->count + 1) * mgn_dtype_size(t->config->real));
        return MGN_OK;
    }
    const uint64_t seed = seed_now(t);
    const uint32_t place[4] = {(uint32_t)seed, (uint32_t)(seed >> 32), (uint32_t)(batch * t->batch + first), 0};
    MGN_TRY(mgn_tensor_write(b->place, MGN_U32, place));
    MGN_TRY(mgn_plan_run(b->plans[size][all - first >= whole ? FULL : REST], 1));
    return mgn_tensor_read(b->share, t->config->real, to);
}

static mgn_status run_own(mgn_trainer *t, int size, int64_t batch) {
    int64_t first, end;
    mgn_blocks_sum_range(t->blocks->sum, &first, &end);
    for (int64_t block = first; block < end; block++) MGN_TRY(run_block(t, size, batch, block));
    return MGN_OK;
}

mgn_status mgn_block_steps_run(mgn_trainer *t, int size, int64_t batch) {
    const void *total;
    bool is_stopping = mgn_interrupted();
    const mgn_status status = run_own(t, size, batch);
    MGN_TRY(mgn_comm_agree_any(t->config->comm, status, &is_stopping));
    t->is_stopping = is_stopping;
    if (is_stopping) return MGN_OK;
    MGN_TRY(mgn_blocks_sum_add(t->blocks->sum, &total));
    return mgn_tensor_write(t->blocks->result, t->config->real, total);
}
