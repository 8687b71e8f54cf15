/* Decoding and running wide programs: where values live, how the matrix is cut. The cut depends on the program alone, and
 * chunks' sums are added in order, so results do not depend on the number of threads. */
#include "backend/cpu/wide.h"

#include <string.h>

#include "backend/cpu/kernels.h"
#include "core/parallel.h"

/* Columns of a chunk, at most, of matrices of many rows and of few; rows of a chunk, at least; nanoseconds from which
 * threads pay. */
enum { MOST_COLUMNS = 8192, FLAT_COLUMNS = 2048, MOST_CHUNKS = 64, PARALLEL_TIME = 50000 };

/* ---- where values are: in the accumulator for the next instruction; in slots for later ones, which share them from their
 * instruction to the last reader; in memory outside where somebody there wants them ---- */

typedef struct places {
    int32_t *held;     /* by instruction: the value in the accumulator in front of it; -1: none */
    int32_t *last_use; /* by instruction: of its slot; -1: it needs none */
    int32_t *slot;     /* by instruction; -1: it has none */
    bool *taken;       /* by slot */
    int32_t slots;
} places;

static void find_held(const mgn_wide_program *program, places *p) {
    int32_t held = -1;
    for (int32_t n = 0; n < program->count; n++) {
        const mgn_wide_instruction *i = &program->instructions[n];
        p->held[n] = held;
        held = i->opcode == MGN_WIDE_ELEMENTWISE ? n : i->in[0].sort == MGN_WIDE_VALUE ? i->in[0].index : -1;
    }
}

/* Whether operand k of instruction n is taken from the accumulator: one of equal ones. */
static bool is_held(const mgn_wide_program *program, const places *p, int32_t n, int32_t k) {
    const mgn_wide_instruction *i = &program->instructions[n];
    for (int32_t j = 0; j < k; j++)
        if (i->in[j].sort == MGN_WIDE_VALUE && i->in[j].index == p->held[n]) return false;
    return i->in[k].sort == MGN_WIDE_VALUE && i->in[k].index == p->held[n];
}

static int32_t take_slot(places *p) {
    int32_t slot = 0;
    while (slot < p->slots && p->taken[slot]) slot++;
    p->slots = MGN_MAX(p->slots, slot + 1);
    p->taken[slot] = true;
    return slot;
}

/* A result may lie where an operand lay that nobody reads any more. */
static void assign_slots(const mgn_wide_program *program, places *p) {
    find_held(program, p);
    for (int32_t n = 0; n < program->count; n++) {
        const mgn_wide_instruction *i = &program->instructions[n];
        p->last_use[n] = -1;
        for (int32_t k = 0; k < i->inputs; k++)
            if (i->in[k].sort == MGN_WIDE_VALUE && !is_held(program, p, n, k)) p->last_use[i->in[k].index] = n;
    }
    for (int32_t n = 0; n < program->count; n++) {
        const mgn_wide_instruction *i = &program->instructions[n];
        for (int32_t k = 0; k < i->inputs; k++) {
            const int32_t from = i->in[k].sort == MGN_WIDE_VALUE ? i->in[k].index : -1;
            if (from >= 0 && p->slot[from] >= 0 && p->last_use[from] == n) p->taken[p->slot[from]] = false;
        }
        const bool waits = i->opcode == MGN_WIDE_ELEMENTWISE && i->external < 0 && p->last_use[n] >= 0;
        p->slot[n] = waits ? take_slot(p) : -1;
    }
}

/* ---- decoding ---- */

/* The place of memory outside, each once. */
static int32_t outside(mgn_cpu_wide *w, void *base, int64_t row_stride, int64_t step) {
    for (int32_t i = 0; i < w->place_count; i++) {
        const mgn_cpu_wide_place *o = &w->places[i];
        if (o->base == base && o->row_stride == row_stride && o->step == step) return i;
    }
    w->places[w->place_count] = (mgn_cpu_wide_place){.base = base,
                                                     .row_stride = row_stride,
                                                     .step = step,
                                                     .apart = w->by_rows ? row_stride : step * w->kernels->lanes};
    return w->place_count++;
}

static int32_t external_place(mgn_cpu_wide *w, const mgn_wide_program *program, int32_t index) {
    const mgn_wide_external *e = &program->externals[index];
    return outside(w, e->memory->data + (size_t)e->offset * w->real_size, e->row_stride, e->column_stride);
}

static int32_t value_place(mgn_cpu_wide *w, const mgn_wide_program *program, const places *p, int32_t n) {
    const int32_t external = program->instructions[n].external;
    return external >= 0 ? external_place(w, program, external) : p->slot[n];
}

static int32_t source_place(mgn_cpu_wide *w, const mgn_wide_program *program, const places *p, int32_t n, int32_t k) {
    const mgn_wide_source source = program->instructions[n].in[k];
    if (is_held(program, p, n, k)) return MGN_CPU_WIDE_HELD;
    switch (source.sort) {
    case MGN_WIDE_VALUE: return value_place(w, program, p, source.index);
    case MGN_WIDE_EXTERNAL: return external_place(w, program, source.index);
    default: return outside(w, (unsigned char *)w->constants + (size_t)source.index * w->real_size, 0, 0);
    }
}

static mgn_cpu_wide_step *add_step(mgn_cpu_wide *w, mgn_cpu_wide_code code, int32_t in) {
    mgn_cpu_wide_step *step = &w->steps[w->count++];
    *step = (mgn_cpu_wide_step){.code = code, .in = MGN_MAX(in, 0), .out = -1};
    if (in >= 0 && w->places[in].base && w->places[in].step == 0) step->code += MGN_CPU_WIDE_SPLAT;
    return step;
}

/* The accumulator gets an operand, unless it has it. */
static void load(mgn_cpu_wide *w, int32_t place) {
    if (place != MGN_CPU_WIDE_HELD) add_step(w, MGN_CPU_WIDE_LOAD, place);
}

/* The code for operands in the other order. */
static mgn_cpu_wide_code swapped(mgn_cpu_wide_code code) {
    return code == MGN_CPU_WIDE_SUB ? MGN_CPU_WIDE_FROM : code == MGN_CPU_WIDE_DIV ? MGN_CPU_WIDE_INTO : code;
}

static void decode_elementwise(mgn_cpu_wide *w, const mgn_wide_program *program, const places *p, int32_t n) {
    const mgn_wide_instruction *i = &program->instructions[n];
    const mgn_cpu_wide_code code = w->kernels->code[i->op];
    int32_t in[MGN_MAX_INPUTS];
    for (int32_t k = 0; k < i->inputs; k++) in[k] = source_place(w, program, p, n, k);
    mgn_cpu_wide_step *step;
    if (code == MGN_CPU_WIDE_CALL) {
        step = add_step(w, code, MGN_CPU_WIDE_HELD);
        step->sum = w->call_count++;
        mgn_cpu_wide_call *call = &w->calls[step->sum];
        *call = (mgn_cpu_wide_call){.op = i->op, .inputs = i->inputs};
        memcpy(call->in, in, (size_t)i->inputs * sizeof *in);
    } else if (i->inputs == 2 && in[1] == MGN_CPU_WIDE_HELD) {
        step = add_step(w, swapped(code), in[0]);
    } else {
        MGN_KNOWN(i->inputs > 0);
        load(w, in[0]);
        step = add_step(w, code, i->inputs == 2 ? in[1] : MGN_CPU_WIDE_HELD);
    }
    if (i->external >= 0 || p->slot[n] >= 0) step->out = value_place(w, program, p, n);
}

static void decode_sum(mgn_cpu_wide *w, const mgn_wide_program *program, const places *p, int32_t n) {
    const mgn_wide_instruction *i = &program->instructions[n];
    const bool columns = i->opcode == MGN_WIDE_COLUMN_SUM;
    load(w, source_place(w, program, p, n, 0));
    mgn_cpu_wide_step *step =
        add_step(w, columns ? MGN_CPU_WIDE_SUM_COLUMNS : MGN_CPU_WIDE_SUM_ROWS, MGN_CPU_WIDE_HELD);
    step->sum = columns ? w->column_sums++ : w->row_sums++;
    const mgn_wide_external *e = &program->externals[i->external];
    w->sums[w->sum_count++] =
        (mgn_cpu_wide_sum){i->opcode, step->sum, e->memory->data + (size_t)e->offset * w->real_size};
}

/* The slots' places come first, so that they have the slots' numbers. */
static void place_slots(mgn_cpu_wide *w, int32_t slots) {
    for (; w->place_count < slots; w->place_count++)
        w->places[w->place_count] = (mgn_cpu_wide_place){
            .offset = w->place_count * MGN_CPU_WIDE_VECTORS * w->kernels->lanes, .apart = w->kernels->lanes};
}

/* What a tile touches of memory outside, each matrix once. */
static void list_fetched(mgn_cpu_wide *w, int32_t slots) {
    for (int32_t i = slots; i < w->place_count; i++)
        if (w->places[i].step == 1 && (w->places[i].row_stride > 0 || w->rows == 1)) w->fetched[w->fetched_count++] = i;
}

static void cut(mgn_cpu_wide *w, const mgn_wide_program *program) {
    const int64_t lanes = w->kernels->lanes;
    w->by_rows = w->rows >= MGN_CPU_WIDE_VECTORS;
    w->tile_rows = w->by_rows ? MGN_CPU_WIDE_VECTORS : 1;
    w->tile_columns = w->by_rows ? lanes : MGN_CPU_WIDE_VECTORS * lanes;
    w->chunk_columns = MGN_MIN(w->columns, w->by_rows ? MOST_COLUMNS : FLAT_COLUMNS);
    w->column_chunks = (w->columns + w->chunk_columns - 1) / w->chunk_columns;
    const int64_t bands = (w->rows + MGN_CPU_WIDE_BAND - 1) / MGN_CPU_WIDE_BAND;
    w->chunk_rows = (bands + MOST_CHUNKS - 1) / MOST_CHUNKS * MGN_CPU_WIDE_BAND;
    w->row_chunks = (w->rows + w->chunk_rows - 1) / w->chunk_rows;
    double time = 0;
    for (int32_t n = 0; n < program->count; n++) time += 0.1 + 0.05 * mgn_op_infos[program->instructions[n].op].flops;
    w->parallel = time * (double)w->rows * (double)w->columns > PARALLEL_TIME;
}

static mgn_status allocate(mgn_cpu_wide *w, int32_t slots) {
    const size_t size = w->real_size, lanes = (size_t)w->kernels->lanes;
    const int64_t tiles = (w->columns + w->tile_columns - 1) / w->tile_columns;
    w->threads = (int)MGN_MIN(w->row_chunks * w->column_chunks, MGN_MAX(mgn_threads(), mgn_processors()));
    int64_t elements = slots * MGN_CPU_WIDE_VECTORS * w->kernels->lanes;
    for (int32_t i = slots; w->by_rows && i < w->place_count; i++) {
        mgn_cpu_wide_place *place = &w->places[i];
        place->copied = place->row_stride == 0 && place->step == 1;
        place->offset = elements;
        if (place->copied) elements += w->kernels->lanes;
    }
    w->sums_at = (size_t)elements * size;
    w->at_at = w->sums_at + (size_t)w->row_sums * MGN_CPU_WIDE_BAND * lanes * size;
    w->thread_bytes = (w->at_at + (size_t)w->place_count * sizeof(void *) + 127) / 64 * 64;
    w->memory = mgn_alloc_aligned((size_t)w->threads, w->thread_bytes);
    w->column_parts = mgn_alloc_aligned((size_t)(w->row_chunks * tiles * w->tile_columns * w->column_sums), size);
    w->row_parts = mgn_alloc_aligned((size_t)(w->row_sums * w->column_chunks * w->rows), size);
    return w->memory && w->column_parts && w->row_parts ? MGN_OK : MGN_ERR_MEMORY;
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

static mgn_status build(mgn_cpu_wide *w, const mgn_wide_program *program, places *p) {
    const size_t count = (size_t)program->count;
    w->real_size = mgn_dtype_size(program->real);
    w->rows = program->rows;
    w->columns = program->columns;
    w->steps = mgn_alloc(2 * count, sizeof *w->steps);
    w->sums = mgn_alloc(count, sizeof *w->sums);
    const size_t places_most = count * (1 + MGN_MAX_INPUTS) + count; /* operands, results and slots */
    w->places = mgn_alloc(places_most, sizeof *w->places);
    w->fetched = mgn_alloc(places_most, sizeof *w->fetched);
    w->calls = mgn_alloc(count, sizeof *w->calls);
    p->held = mgn_alloc(count, sizeof *p->held);
    p->last_use = mgn_alloc(count, sizeof *p->last_use);
    p->slot = mgn_alloc(count, sizeof *p->slot);
    p->taken = mgn_alloc(count + 1, sizeof *p->taken);
    if (!w->steps || !w->sums || !w->places || !w->fetched || !w->calls) return MGN_ERR_MEMORY;
    if (!p->held || !p->last_use || !p->slot || !p->taken) return MGN_ERR_MEMORY;
    MGN_TRY(copy_constants(w, program));
    assign_slots(program, p);
    cut(w, program);
    place_slots(w, p->slots);
    for (int32_t n = 0; n < program->count; n++) {
        if (program->instructions[n].opcode == MGN_WIDE_ELEMENTWISE)
            decode_elementwise(w, program, p, n);
        else
            decode_sum(w, program, p, n);
    }
    list_fetched(w, p->slots);
    return allocate(w, p->slots);
}

mgn_status mgn_cpu_wide_build(const mgn_cpu_wide_kernels *kernels, const mgn_wide_program *program,
                              mgn_cpu_wide **wide) {
    mgn_cpu_wide *w = mgn_alloc(1, sizeof *w);
    if (!w) return MGN_ERR_MEMORY;
    w->kernels = kernels;
    places p = {0};
    const mgn_status status = build(w, program, &p);
    mgn_free(p.held);
    mgn_free(p.last_use);
    mgn_free(p.slot);
    mgn_free(p.taken);
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
    mgn_free(w->places);
    mgn_free(w->calls);
    mgn_free(w->fetched);
    mgn_free(w->constants);
    mgn_free(w->memory);
    mgn_free(w->column_parts);
    mgn_free(w->row_parts);
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
    w->kernels->finish(w, number);
}

void mgn_cpu_wide_run(mgn_cpu_wide *w) {
    const int threads = w->parallel ? MGN_MIN(mgn_threads(), w->threads) : 1;
    mgn_parallel(threads, w->row_chunks * w->column_chunks, run_chunk, w);
    mgn_parallel(w->sum_count > 8 ? threads : 1, w->sum_count, finish_sum, w);
}
