/* Decoding and running wide programs: where values live, how the matrix is cut. The cut depends on the program alone, and
 * chunks' sums are added in order, so results do not depend on the number of threads. */
#include "backend/cpu/wide.h"

#include <omp.h>
#include <string.h>

#include "backend/cpu/kernels.h"
#include "core/parallel.h"

/* Bytes that the slots of a thread may take, reals of a tile, rows of a chunk, nanoseconds from which threads pay. */
enum {
    SLOT_BYTES = 131072,
    MOST_TILE = 2048,
    LEAST_TILE = 64,
    CHUNK_ROWS = 32,
    MOST_CHUNKS = 64,
    PARALLEL_TIME = 50000
};

/* ---- slots: values that no memory outside holds share them, from their instruction to their last reader ---- */

typedef struct slots {
    int32_t *last_use; /* by instruction */
    int32_t *slot;     /* by instruction; -1: it has none */
    bool *taken;       /* by slot */
    bool *listed;      /* by external */
    int32_t count;
} slots;

static int32_t take_slot(slots *s) {
    int32_t slot = 0;
    while (slot < s->count && s->taken[slot]) slot++;
    s->count = MGN_MAX(s->count, slot + 1);
    s->taken[slot] = true;
    return slot;
}

/* A result may lie where an operand lay that nobody reads any more. */
static void assign_slots(const mgn_wide_program *program, slots *s) {
    for (int32_t n = 0; n < program->count; n++) {
        const mgn_wide_instruction *i = &program->instructions[n];
        for (int32_t k = 0; k < i->inputs; k++)
            if (i->in[k].sort == MGN_WIDE_VALUE) s->last_use[i->in[k].index] = n;
    }
    for (int32_t n = 0; n < program->count; n++) {
        const mgn_wide_instruction *i = &program->instructions[n];
        for (int32_t k = 0; k < i->inputs; k++) {
            const int32_t from = i->in[k].sort == MGN_WIDE_VALUE ? i->in[k].index : -1;
            if (from >= 0 && s->slot[from] >= 0 && s->last_use[from] == n) s->taken[s->slot[from]] = false;
        }
        s->slot[n] = i->opcode == MGN_WIDE_ELEMENTWISE && i->external < 0 ? take_slot(s) : -1;
    }
}

/* ---- decoding ---- */

static mgn_cpu_wide_operand external_operand(const mgn_cpu_wide *w, const mgn_wide_program *program, int32_t index) {
    const mgn_wide_external *e = &program->externals[index];
    return (mgn_cpu_wide_operand){.base = e->memory->data + (size_t)e->offset * w->real_size,
                                  .slot = -1,
                                  .row_stride = e->row_stride,
                                  .step = e->column_stride};
}

static mgn_cpu_wide_operand value_operand(const mgn_cpu_wide *w, const mgn_wide_program *program, const slots *s,
                                          int32_t n) {
    const int32_t external = program->instructions[n].external;
    if (external >= 0) return external_operand(w, program, external);
    return (mgn_cpu_wide_operand){.slot = s->slot[n], .step = 1};
}

static mgn_cpu_wide_operand source_operand(const mgn_cpu_wide *w, const mgn_wide_program *program, const slots *s,
                                           mgn_wide_source source) {
    switch (source.sort) {
    case MGN_WIDE_VALUE: return value_operand(w, program, s, source.index);
    case MGN_WIDE_EXTERNAL: return external_operand(w, program, source.index);
    default:
        return (mgn_cpu_wide_operand){.base = (unsigned char *)w->constants + (size_t)source.index * w->real_size,
                                      .slot = -1};
    }
}

/* Whether a tile of the operand is one run, or one number. */
static bool is_flat(const mgn_cpu_wide *w, const mgn_cpu_wide_operand *operand) {
    if (!operand->base || w->tile_rows == 1) return true;
    if (operand->step == 0) return operand->row_stride == 0;
    return w->tiles == 1 && operand->row_stride == w->columns;
}

enum { PLACES = 1 + MGN_MAX_INPUTS };

static void decode(mgn_cpu_wide *w, const mgn_wide_program *program, const slots *s, int32_t n) {
    const mgn_wide_instruction *i = &program->instructions[n];
    mgn_cpu_wide_step *step = &w->steps[n];
    *step = (mgn_cpu_wide_step){.opcode = i->opcode, .op = i->op, .inputs = i->inputs};
    for (int32_t k = 0; k < i->inputs; k++) {
        step->in[k] = source_operand(w, program, s, i->in[k]);
        w->below[n * PLACES + 1 + k] = w->tile_rows * step->in[k].row_stride;
    }
    if (i->opcode == MGN_WIDE_ELEMENTWISE) {
        step->out = value_operand(w, program, s, n);
        w->below[n * PLACES] = w->tile_rows * step->out.row_stride;
        step->flat = is_flat(w, &step->out);
        for (int32_t k = 0; k < i->inputs; k++) {
            step->flat = step->flat && is_flat(w, &step->in[k]);
            if (step->in[k].step) step->moving |= 1u << k;
        }
        return;
    }
    step->out = external_operand(w, program, i->external);
    int32_t *number = i->opcode == MGN_WIDE_COLUMN_SUM ? &w->column_sums
                      : i->opcode == MGN_WIDE_ROW_SUM  ? &w->row_sums
                                                       : &w->total_sums;
    step->sum = (*number)++;
    w->sums[w->sum_count++] = n;
}

/* What a tile touches of memory outside, each matrix once, in the order of the steps. */
static void list_fetched(mgn_cpu_wide *w, const mgn_wide_program *program, bool *listed) {
    for (int32_t n = 0; n < program->count; n++) {
        const mgn_wide_instruction *i = &program->instructions[n];
        for (int32_t k = 0; k <= i->inputs; k++) {
            const bool is_result = k == i->inputs;
            const int32_t e = is_result ? i->external : i->in[k].sort == MGN_WIDE_EXTERNAL ? i->in[k].index : -1;
            if (e < 0 || listed[e] || (is_result && i->opcode != MGN_WIDE_ELEMENTWISE)) continue;
            listed[e] = true;
            const bool whole = program->externals[e].column_stride == 1 && program->externals[e].row_stride > 0;
            if (whole || program->rows == 1) w->fetched[w->fetched_count++] = external_operand(w, program, e);
        }
    }
}

/* Tiles that are whole rows where they fit, so that most operands are one run of numbers. */
static void cut(mgn_cpu_wide *w, const mgn_wide_program *program, int32_t slot_count) {
    const int64_t fitting = SLOT_BYTES / ((int64_t)MGN_MAX(slot_count, 2) * (int64_t)w->real_size);
    const int64_t tile = MGN_MAX(MGN_MIN(fitting, MOST_TILE), LEAST_TILE);
    w->tiles = (w->columns + tile - 1) / tile;
    w->tile_columns = w->tiles == 1 ? w->columns : ((w->columns + w->tiles - 1) / w->tiles + 15) / 16 * 16;
    w->tiles = (w->columns + w->tile_columns - 1) / w->tile_columns;
    w->tile_rows = MGN_MAX(1, tile / w->tile_columns);
    const int64_t rows = MGN_MAX(CHUNK_ROWS, (w->rows + MOST_CHUNKS - 1) / MOST_CHUNKS);
    w->chunk_rows = (rows + w->tile_rows - 1) / w->tile_rows * w->tile_rows;
    w->row_chunks = (w->rows + w->chunk_rows - 1) / w->chunk_rows;
    double time = 0;
    for (int32_t n = 0; n < program->count; n++) time += 0.1 + 0.05 * mgn_op_infos[program->instructions[n].op].flops;
    w->parallel = time * (double)w->rows * (double)w->columns > PARALLEL_TIME;
}

static mgn_status allocate(mgn_cpu_wide *w) {
    const size_t size = w->real_size;
    w->threads = (int)MGN_MIN(w->row_chunks * w->tiles, MGN_MAX(mgn_threads(), omp_get_num_procs()));
    w->slot_bytes = ((size_t)(w->tile_rows * w->tile_columns) * size + 63) / 64 * 64;
    w->slots_at = ((size_t)w->count * PLACES * sizeof(void *) + 63) / 64 * 64;
    w->thread_bytes = w->slots_at + (size_t)MGN_MAX(w->slots, 1) * w->slot_bytes + 64;
    w->memory = mgn_alloc_aligned((size_t)w->threads, w->thread_bytes);
    w->column_parts = mgn_alloc_aligned((size_t)(w->row_chunks * w->column_sums * w->columns), size);
    w->row_parts = mgn_alloc_aligned((size_t)(w->row_sums * w->tiles * w->rows), size);
    w->total_parts = mgn_alloc((size_t)(w->total_sums * w->row_chunks * w->tiles), sizeof *w->total_parts);
    return w->memory && w->column_parts && w->row_parts && w->total_parts ? MGN_OK : MGN_ERR_MEMORY;
}

static mgn_status copy_constants(mgn_cpu_wide *w, const mgn_wide_program *program) {
    w->constants = mgn_alloc_aligned((size_t)program->constant_count, w->real_size);
    if (!w->constants) return MGN_ERR_MEMORY;
    for (int32_t i = 0; i < program->constant_count; i++) {
        if (program->real == MGN_F64)
            ((double *)w->constants)[i] = program->constants[i];
        else
            ((float *)w->constants)[i] = (float)program->constants[i];
    }
    return MGN_OK;
}

static mgn_status build(mgn_cpu_wide *w, const mgn_wide_program *program, slots *s) {
    const size_t count = (size_t)program->count;
    w->real_size = mgn_dtype_size(program->real);
    w->rows = program->rows;
    w->columns = program->columns;
    w->count = program->count;
    w->steps = mgn_alloc(count, sizeof *w->steps);
    w->sums = mgn_alloc(count, sizeof *w->sums);
    s->last_use = mgn_alloc(count, sizeof *s->last_use);
    s->slot = mgn_alloc(count, sizeof *s->slot);
    s->taken = mgn_alloc(count + 1, sizeof *s->taken);
    s->listed = mgn_alloc((size_t)program->external_count, sizeof *s->listed);
    w->fetched = mgn_alloc((size_t)program->external_count, sizeof *w->fetched);
    w->below = mgn_alloc(count * PLACES, sizeof *w->below);
    if (!w->below || !s->listed || !w->fetched) return MGN_ERR_MEMORY;
    if (!w->steps || !w->sums || !s->last_use || !s->slot || !s->taken) return MGN_ERR_MEMORY;
    MGN_TRY(copy_constants(w, program));
    assign_slots(program, s);
    w->slots = s->count;
    cut(w, program, s->count);
    for (int32_t n = 0; n < program->count; n++) decode(w, program, s, n);
    list_fetched(w, program, s->listed);
    return allocate(w);
}

mgn_status mgn_cpu_wide_build(const mgn_cpu_wide_kernels *kernels, const mgn_wide_program *program,
                              mgn_cpu_wide **wide) {
    mgn_cpu_wide *w = mgn_alloc(1, sizeof *w);
    if (!w) return MGN_ERR_MEMORY;
    w->kernels = kernels;
    slots s = {0};
    const mgn_status status = build(w, program, &s);
    mgn_free(s.last_use);
    mgn_free(s.slot);
    mgn_free(s.taken);
    mgn_free(s.listed);
    if (status == MGN_OK)
        *wide = w;
    else
        mgn_cpu_wide_destroy(w);
    return status;
}

void mgn_cpu_wide_destroy(mgn_cpu_wide *w) {
    if (!w) return;
    mgn_free(w->steps);
    mgn_free(w->sums);
    mgn_free(w->fetched);
    mgn_free(w->below);
    mgn_free(w->constants);
    mgn_free(w->memory);
    mgn_free(w->column_parts);
    mgn_free(w->row_parts);
    mgn_free(w->total_parts);
    mgn_free(w);
}

/* ---- running ---- */

static void run_chunk(void *context, int64_t chunk, int thread) {
    const mgn_cpu_wide *w = context;
    w->kernels->chunk(w, chunk, thread);
}

static void finish_sum(void *context, int64_t number, int thread) {
    (void)thread;
    const mgn_cpu_wide *w = context;
    w->kernels->finish(w, w->sums[number]);
}

void mgn_cpu_wide_run(mgn_cpu_wide *w) {
    const int threads = w->parallel ? MGN_MIN(mgn_threads(), w->threads) : 1;
    mgn_parallel(threads, w->row_chunks * w->tiles, run_chunk, w);
    mgn_parallel(w->sum_count > 8 ? threads : 1, w->sum_count, finish_sum, w);
}
