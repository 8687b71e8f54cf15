#include "train/pass.h"

#include <string.h>

enum { FULL, REST, LENGTHS }; /* blocks of q rows, and the one behind them that has fewer */

struct mgn_pass {
    mgn_pass_rows rows;
    mgn_pass_build *build;
    const void *context;
    mgn_plan *plans[LENGTHS];
    mgn_tensor *place, *shares[LENGTHS]; /* random state of a block; what each plan computes */
};

static int64_t whole(const mgn_pass *p) { return (p->rows.rows + p->rows.blocks - 1) / p->rows.blocks; }

int64_t mgn_pass_batch_rows(const mgn_pass *p) { return p->rows.rows; }

int64_t mgn_pass_block_rows(const mgn_pass *p, int64_t block) {
    return MGN_MAX(MGN_MIN(whole(p), p->rows.rows - block * whole(p)), 0);
}

mgn_node *mgn_pass_input(mgn_pass_block *block, const char *label, mgn_tensor *tensor) {
    if (!tensor) return NULL;
    const mgn_kind kind = mgn_tensor_dtype(tensor) == MGN_U32 ? MGN_INDEX : MGN_REAL;
    mgn_node *node = mgn_input(block->graph, label, kind, mgn_tensor_shape(tensor));
    block->inputs[block->count++] = (mgn_binding){node, tensor};
    return node;
}

static mgn_status build(const mgn_pass *p, mgn_pass_block *block, mgn_node **share) {
    mgn_tensor *x = p->rows.x, *y = p->rows.y;
    if (p->rows.pages) MGN_TRY(mgn_pages_open(p->rows.pages, block->rows, &x, &y));
    block->x = mgn_pass_input(block, "x", x);
    block->y = mgn_pass_input(block, "y", y);
    if (!p->rows.pages) {
        mgn_node *place = mgn_pass_input(block, "place", p->place);
        mgn_node *index = mgn_shuffle(place, p->rows.population, block->rows, p->rows.population, 1);
        block->x = mgn_gather_rows(block->x, index);
        if (block->y) block->y = mgn_gather_rows(block->y, index);
    }
    MGN_TRY(p->build(p->context, block, share));
    mgn_output(*share);
    return mgn_graph_status(block->graph);
}

static mgn_status compile(mgn_pass *p, int length) {
    MGN_KNOWN(whole(p) > 0);
    const int64_t rows = length == FULL ? whole(p) : p->rows.rows % whole(p);
    mgn_node *share = NULL;
    if (rows == 0) return MGN_OK;
    mgn_pass_block block = {.rows = rows, .batch = p->rows.rows, .part = (double)rows / (double)p->rows.rows};
    MGN_TRY(mgn_graph_create(&block.graph));
    mgn_status status = build(p, &block, &share);
    if (status == MGN_OK)
        status =
            mgn_plan_compile(block.graph, p->rows.device, p->rows.real, block.inputs, block.count, &p->plans[length]);
    if (status == MGN_OK) p->shares[length] = mgn_plan_tensor(p->plans[length], share);
    mgn_graph_destroy(block.graph);
    return status;
}

mgn_status mgn_pass_create(const mgn_pass_rows *rows, mgn_pass_build *builder, const void *context, mgn_pass **pass) {
    mgn_pass *p = mgn_alloc(1, sizeof *p);
    if (!p) return MGN_ERR_MEMORY;
    *p = (mgn_pass){.rows = *rows, .build = builder, .context = context};
    mgn_status status = mgn_tensor_create(rows->device, MGN_U32, MGN_SHAPE(4), &p->place);
    for (int length = FULL; status == MGN_OK && length < LENGTHS; length++) status = compile(p, length);
    if (status == MGN_OK)
        *pass = p;
    else
        mgn_pass_destroy(p);
    return status;
}

void mgn_pass_destroy(mgn_pass *p) {
    if (!p) return;
    for (int length = FULL; length < LENGTHS; length++) mgn_plan_destroy(p->plans[length]);
    mgn_tensor_destroy(p->place);
    mgn_free(p);
}

static mgn_status write_place(mgn_pass *p, uint64_t seed, int64_t at) {
    const uint32_t place[4] = {(uint32_t)seed, (uint32_t)(seed >> 32), (uint32_t)at, 0};
    return mgn_tensor_write(p->place, MGN_U32, place);
}

static mgn_status fill_page(mgn_pass *p, uint64_t seed, int64_t at, int64_t rows) {
    const mgn_host_shuffle order = mgn_host_shuffle_start(seed, 0, (uint32_t)p->rows.population);
    return mgn_pages_fill(p->rows.pages, &order, at, rows);
}

mgn_status mgn_pass_run_block(mgn_pass *p, uint64_t seed, int64_t first, int64_t block, mgn_dtype real, void *to) {
    const int64_t rows = mgn_pass_block_rows(p, block);
    const int length = rows == whole(p) ? FULL : REST;
    if (rows == 0) return MGN_OK;
    MGN_TRY(p->rows.pages ? fill_page(p, seed, first + block * whole(p), rows)
                          : write_place(p, seed, first + block * whole(p)));
    MGN_TRY(mgn_plan_run(p->plans[length], 1));
    return mgn_tensor_read(p->shares[length], real, to);
}

mgn_status mgn_pass_run_share(mgn_pass *p, uint64_t seed, int64_t first, int64_t block, mgn_blocks_sum *sum) {
    void *to = mgn_blocks_sum_place(sum, block);
    if (mgn_pass_block_rows(p, block) == 0) memset(to, 0, mgn_blocks_sum_bytes(sum));
    return mgn_pass_run_block(p, seed, first, block, mgn_blocks_sum_real(sum), to);
}

mgn_status mgn_pass_run(mgn_pass *p, uint64_t seed, int64_t first, mgn_blocks_sum *sum) {
    int64_t begin, end;
    mgn_blocks_sum_range(sum, &begin, &end);
    for (int64_t block = begin; block < end; block++) MGN_TRY(mgn_pass_run_share(p, seed, first, block, sum));
    return MGN_OK;
}
