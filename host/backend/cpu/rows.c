/* Decoding and running row programs: instructions become steps with every offset worked out; rows are cut into chunks of
 * blocks that go over threads. The cut depends on the number of rows alone, and chunks' sums are added in order, so
 * results do not depend on the number of threads. */
#include "backend/cpu/rows.h"

#include <string.h>

#include "backend/cpu/kernels.h"
#include "core/parallel.h"

typedef struct section {
    bool is_row;
    int32_t step_count;
    mgn_cpu_step *steps;
    int32_t sum_count;   /* sums over rows that it makes */
    int32_t *sum_places; /* shared place of each */
    mgn_cpu_shuffled shuffled;
} section;

struct mgn_cpu_rows {
    const mgn_cpu_row_kernels *kernels;
    size_t real_size;
    int64_t rows, chunk_rows, chunks;
    int32_t block;
    size_t row_bytes, lane_bytes, sum_bytes; /* a thread's block, and its sums by lanes; a chunk's sums */
    int threads;                             /* blocks that there is memory for */
    mgn_cpu_ahead *ahead;                    /* a thread's */
    unsigned char *row_memory, *lanes, *sums, *shared, *carried;
    uint32_t *index;
    int32_t *first_write, shared_places; /* while it is built: see find_first_writes */
    section prologue, epilogue, *sections;
    int32_t section_count;
    mgn_row_carry *carries;
    int32_t carry_count;
    bool carries_overlap; /* some carry reads what another writes */
};

/* ---- decoding ---- */

static int64_t offset_of(const mgn_cpu_rows *p, const mgn_row_run *run) {
    return run->is_row ? (int64_t)run->base * p->block : run->base;
}

/* ---- shared instructions over whole vectors ----
 *
 * A loop over 14 places is slower than one over 16. The places behind an instruction's results may be overwritten when
 * nothing is in them yet: when whatever writes them comes later in the step. */

/* When each shared place is first written, in instructions since the start of a step; -1: before it, INT32_MAX: never. */
static void mark_written(int32_t *first, const mgn_row_instruction *i, int32_t when) {
    const bool product = i->opcode == MGN_ROW_COLUMN_PRODUCT, state = i->opcode >= MGN_ROW_STATE_LOAD;
    const bool writes = i->opcode != MGN_ROW_STORE && i->opcode != MGN_ROW_BYTES_STORE;
    for (int32_t j = 0; !i->dst.is_row && writes && !state && j < i->count * (product ? i->inner : 1); j++)
        first[i->dst.base + j] = MGN_MIN(first[i->dst.base + j], when);
}

static mgn_status find_first_writes(mgn_cpu_rows *p, const mgn_row_program *program) {
    p->first_write = mgn_alloc((size_t)program->shared_places, sizeof *p->first_write);
    if (!p->first_write) return MGN_ERR_MEMORY;
    p->shared_places = program->shared_places;
    for (int32_t i = 0; i < program->shared_places; i++) p->first_write[i] = i < program->constants ? -1 : INT32_MAX;
    for (int32_t i = 0; i < program->prologue.count; i++)
        mark_written(p->first_write, &program->prologue.instructions[i], -1);
    int32_t when = 0;
    for (int32_t k = 0; k < program->section_count; k++)
        for (int32_t i = 0; i < program->sections[k].count; i++)
            mark_written(p->first_write, &program->sections[k].instructions[i], when++);
    return MGN_OK;
}

/* How many results a shared instruction may write. */
static int32_t padded_count(const mgn_cpu_rows *p, const mgn_row_instruction *i, int32_t when) {
    const int32_t whole = (i->count + MGN_CPU_ROW_LANES - 1) / MGN_CPU_ROW_LANES * MGN_CPU_ROW_LANES;
    for (int32_t j = i->count; j < whole && i->dst.base + j < p->shared_places; j++)
        if (p->first_write[i->dst.base + j] <= when) return i->count;
    return whole;
}

/* One loop over everything where operands advance by one or stay as a whole; else a loop over the rows per place. */
static void decode_elementwise(const mgn_cpu_rows *p, const mgn_row_instruction *i, mgn_cpu_step *s, int32_t when) {
    bool row = i->dst.is_row, joined = true;
    int arity = mgn_op_infos[i->op].arity;
    for (int k = 0; k < arity && row && i->count > 1; k++)
        joined = joined && (i->src[k].is_row ? i->src[k].stride == 1 : i->src[k].stride == 0);
    unsigned moving = 0;
    s->repeats = joined ? 1 : i->count;
    s->n = !row ? padded_count(p, i, when) : p->block * (joined ? i->count : 1);
    s->out_next = row ? p->block : 0;
    for (int k = 0; k < arity; k++) {
        bool moves = row ? i->src[k].is_row : i->src[k].stride == 1;
        moving |= (unsigned)moves << k;
        s->next[k] = (int64_t)i->src[k].stride * (i->src[k].is_row ? p->block : 1);
    }
    s->run = p->kernels->elementwise[i->op][moving];
}

static void decode(const mgn_cpu_rows *p, const mgn_row_program *program, const mgn_row_instruction *i, mgn_cpu_step *s,
                   int32_t first_sum, int32_t when) {
    bool row = i->dst.is_row;
    s->run = i->opcode == MGN_ROW_MATMUL           ? p->kernels->matmul[row ? MGN_MIN(i->inner, 5) : 0]
             : i->opcode == MGN_ROW_COLUMN_PRODUCT ? p->kernels->column_product[MGN_MIN(i->count, 5)]
                                                   : p->kernels->opcode[i->opcode];
    s->count = i->count;
    s->inner = i->inner;
    s->state = i->state;
    s->to_state = i->dst.base;
    s->attributes = i->attributes;
    s->out_space = row;
    s->out = offset_of(p, &i->dst);
    for (int k = 0; k < MGN_MAX_INPUTS; k++) {
        s->space[k] = i->src[k].is_row;
        s->in[k] = offset_of(p, &i->src[k]);
    }
    int64_t width = row ? p->block : 1;
    s->n = (int32_t)width;
    s->stride = i->src[0].stride * width;
    s->stride_b = i->src[1].stride;
    s->step = i->opcode == MGN_ROW_MATMUL ? i->step : i->step * width;
    if (i->opcode == MGN_ROW_ELEMENTWISE) decode_elementwise(p, i, s, when);
    if (i->opcode == MGN_ROW_COLUMN_SUM || i->opcode == MGN_ROW_COLUMN_PRODUCT)
        s->out = (int64_t)first_sum * MGN_CPU_ROW_LANES;
    if (i->external >= 0) {
        const mgn_row_external *e = &program->externals[i->external];
        s->external = e->memory->data + (size_t)e->offset * mgn_dtype_size(e->dtype);
        s->external_rows = e->rows;
        s->columns = e->columns;
    }
}

/* Tables too large for the caches near a core, whose rows a shuffle had better fetch ahead. */
static void link_gather(const mgn_cpu_rows *p, const mgn_row_program *program, const mgn_row_section *from,
                        int32_t gather, section *to) {
    const mgn_row_instruction *g = &from->instructions[gather];
    const mgn_row_external *table = &program->externals[g->external];
    const size_t row_bytes = (size_t)table->columns * p->real_size;
    if ((size_t)table->rows * row_bytes < 1 << 20) return;
    for (int32_t n = gather - 1; n >= 0; n--) {
        const mgn_row_instruction *i = &from->instructions[n];
        if (i->opcode != MGN_ROW_SHUFFLE || i->dst.base != g->src[0].base) continue;
        mgn_cpu_step *shuffle = &to->steps[n];
        const int k = shuffle->fetched[0] ? 1 : 0;
        shuffle->fetched[k] = to->steps[gather].external;
        shuffle->fetched_bytes[k] = (int32_t)row_bytes;
        return;
    }
}

static int32_t sums_of(const mgn_row_instruction *i) {
    return i->opcode == MGN_ROW_COLUMN_SUM ? i->count : i->opcode == MGN_ROW_COLUMN_PRODUCT ? i->count * i->inner : 0;
}

static mgn_status decode_section(mgn_cpu_rows *p, const mgn_row_program *program, const mgn_row_section *from,
                                 int32_t when, section *to) {
    int32_t sums = 0;
    for (int32_t n = 0; n < from->count; n++) sums += sums_of(&from->instructions[n]);
    to->steps = mgn_alloc((size_t)from->count, sizeof *to->steps);
    to->sum_places = mgn_alloc((size_t)sums, sizeof *to->sum_places);
    if (!to->steps || !to->sum_places) return MGN_ERR_MEMORY;
    to->is_row = from->is_row;
    to->step_count = from->count;
    for (int32_t n = 0; n < from->count; n++) {
        const mgn_row_instruction *i = &from->instructions[n];
        decode(p, program, i, &to->steps[n], to->sum_count, when + n);
        if (i->opcode == MGN_ROW_SHUFFLE && p->chunks == 1) to->steps[n].shuffled = &to->shuffled;
        if (i->opcode == MGN_ROW_GATHER) link_gather(p, program, from, n, to);
        for (int32_t k = sums_of(i), j = 0; j < k; j++) to->sum_places[to->sum_count++] = i->dst.base + j;
    }
    p->lane_bytes = MGN_MAX(p->lane_bytes, (size_t)sums * MGN_CPU_ROW_LANES * p->real_size);
    p->sum_bytes = MGN_MAX(p->sum_bytes, (size_t)sums * p->real_size);
    return MGN_OK;
}

/* ---- life ---- */

/* Blocks are as long as keeps the places of a row in the first-level cache; chunks are worth handing to a thread. */
static void cut_rows(mgn_cpu_rows *p, int32_t places) {
    const size_t bytes = (size_t)places * p->real_size; /* of a row */
    p->block = p->rows <= 32 || bytes * 128 > 65536                   ? 32
               : p->rows <= 64                                        ? 64
               : p->rows <= 128 || bytes * MGN_CPU_MOST_BLOCK > 24576 ? 128
                                                                      : MGN_CPU_MOST_BLOCK;
    p->chunk_rows = p->rows <= 1024 ? 1024 : MGN_MIN(MGN_MAX(p->rows / 64 / 256 * 256, 512), 8192);
    p->chunks = (p->rows + p->chunk_rows - 1) / p->chunk_rows;
}

static mgn_status copy_carries(mgn_cpu_rows *p, const mgn_row_program *program) {
    p->carries = mgn_alloc((size_t)program->carry_count, sizeof *p->carries);
    if (!p->carries) return MGN_ERR_MEMORY;
    p->carry_count = program->carry_count;
    size_t carried = 0;
    for (int32_t i = 0; i < p->carry_count; i++) {
        const mgn_row_carry *a = &program->carries[i];
        p->carries[i] = *a;
        carried += (size_t)a->count * 8;
        for (int32_t j = 0; j < p->carry_count; j++) {
            const mgn_row_carry *b = &program->carries[j];
            if (a->is_state == b->is_state && a->from < b->to + b->count && b->to < a->from + a->count)
                p->carries_overlap = true;
        }
    }
    p->carried = mgn_alloc(carried, 1);
    return p->carried ? MGN_OK : MGN_ERR_MEMORY;
}

static mgn_status allocate(mgn_cpu_rows *p, const mgn_row_program *program) {
    p->row_bytes = ((size_t)MGN_MAX(program->row_places, 1) * (size_t)p->block * p->real_size + 63) / 64 * 64;
    p->lane_bytes = (p->lane_bytes + 63) / 64 * 64;
    p->sum_bytes = (p->sum_bytes + 63) / 64 * 64;
    p->threads = (int)MGN_MIN(p->chunks, MGN_MAX(mgn_threads(), mgn_processors()));
    p->row_memory = mgn_alloc_aligned((size_t)p->threads, p->row_bytes);
    p->ahead = mgn_alloc((size_t)p->threads, sizeof *p->ahead);
    p->lanes = mgn_alloc_aligned((size_t)p->threads, p->lane_bytes);
    p->sums = mgn_alloc_aligned((size_t)p->chunks, p->sum_bytes);
    p->shared = mgn_alloc_aligned((size_t)program->shared_places + MGN_CPU_ROW_LANES, p->real_size);
    p->index = mgn_alloc((size_t)program->index_places + 4, sizeof *p->index);
    if (!p->ahead || !p->row_memory || !p->lanes || !p->sums || !p->shared || !p->index) return MGN_ERR_MEMORY;
    for (int32_t i = 0; i < program->constants; i++) {
        if (p->real_size == sizeof(double))
            ((double *)(void *)p->shared)[i] = program->constant_values[i];
        else
            ((float *)(void *)p->shared)[i] = (float)program->constant_values[i];
    }
    return MGN_OK;
}

static mgn_status build(mgn_cpu_rows *p, const mgn_row_program *program) {
    p->real_size = mgn_dtype_size(program->real);
    p->rows = program->rows;
    cut_rows(p, program->row_places);
    p->sections = mgn_alloc((size_t)program->section_count, sizeof *p->sections);
    if (!p->sections) return MGN_ERR_MEMORY;
    p->section_count = program->section_count;
    MGN_TRY(find_first_writes(p, program));
    MGN_TRY(decode_section(p, program, &program->prologue, -1 - program->prologue.count, &p->prologue));
    MGN_TRY(decode_section(p, program, &program->epilogue, INT32_MAX - program->epilogue.count, &p->epilogue));
    for (int32_t i = 0, when = 0; i < program->section_count; when += program->sections[i++].count)
        MGN_TRY(decode_section(p, program, &program->sections[i], when, &p->sections[i]));
    MGN_TRY(copy_carries(p, program));
    return allocate(p, program);
}

mgn_status mgn_cpu_rows_build(const mgn_cpu_row_kernels *kernels, const mgn_row_program *program, mgn_cpu_rows **rows) {
    mgn_cpu_rows *p = mgn_alloc(1, sizeof *p);
    if (!p) return MGN_ERR_MEMORY;
    p->kernels = kernels;
    mgn_status status = build(p, program);
    if (status == MGN_OK)
        *rows = p;
    else
        mgn_cpu_rows_destroy(p);
    return status;
}

static void free_section(section *s) {
    mgn_free(s->steps);
    mgn_free(s->sum_places);
}

void mgn_cpu_rows_destroy(mgn_cpu_rows *p) {
    if (!p) return;
    free_section(&p->prologue);
    free_section(&p->epilogue);
    for (int32_t i = 0; p->sections && i < p->section_count; i++) free_section(&p->sections[i]);
    mgn_free(p->sections);
    mgn_free(p->carries);
    mgn_free(p->carried);
    mgn_free(p->ahead);
    mgn_free(p->row_memory);
    mgn_free(p->lanes);
    mgn_free(p->sums);
    mgn_free(p->shared);
    mgn_free(p->index);
    mgn_free(p->first_write);
    mgn_free(p);
}

/* ---- running ---- */

static inline void run_steps(const section *s, const mgn_cpu_frame *frame) {
    for (int32_t i = 0; i < s->step_count; i++) s->steps[i].run(&s->steps[i], frame);
}

static void run_chunk(mgn_cpu_rows *p, const section *s, int64_t chunk, int thread) {
    mgn_cpu_frame frame = {.base = {p->shared, p->row_memory + (size_t)thread * p->row_bytes},
                           .sums = p->lanes + (size_t)thread * p->lane_bytes,
                           .index = p->index,
                           .block = p->block,
                           .end = MGN_MIN((chunk + 1) * p->chunk_rows, p->rows),
                           .ahead = &p->ahead[thread]};
    frame.ahead->step = NULL;
    memset(frame.sums, 0, (size_t)s->sum_count * MGN_CPU_ROW_LANES * p->real_size);
    for (frame.first = chunk * p->chunk_rows; frame.first < frame.end; frame.first += p->block) {
        frame.valid = (int32_t)MGN_MIN(p->block, frame.end - frame.first);
        run_steps(s, &frame);
    }
    p->kernels->fold_sums(frame.sums, s->sum_count, p->sums + (size_t)chunk * p->sum_bytes);
}

typedef struct row_job {
    mgn_cpu_rows *program;
    const section *section;
} row_job;

static void run_row_chunk(void *context, int64_t chunk, int thread) {
    const row_job *job = context;
    run_chunk(job->program, job->section, chunk, thread);
}

static void run_rows(mgn_cpu_rows *p, const section *s, int threads) {
    mgn_parallel(threads, p->chunks, run_row_chunk, &(row_job){p, s});
    p->kernels->finish_sums(p->sums, p->chunks, (int64_t)(p->sum_bytes / p->real_size), s->sum_count, s->sum_places,
                            p->shared);
}

/* Copies `count` entries of a carry's sort. */
static size_t carry_bytes(const mgn_cpu_rows *p, const mgn_row_carry *c) {
    return (size_t)c->count * (c->is_state ? 4 : p->real_size);
}

static unsigned char *carry_place(mgn_cpu_rows *p, const mgn_row_carry *c, int32_t place) {
    return c->is_state ? (unsigned char *)(p->index + place) : p->shared + (size_t)place * p->real_size;
}

static void carry(mgn_cpu_rows *p) {
    unsigned char *at = p->carried;
    for (int32_t i = 0; p->carries_overlap && i < p->carry_count; i++) {
        const mgn_row_carry *c = &p->carries[i];
        memcpy(at, carry_place(p, c, c->from), carry_bytes(p, c));
        at += carry_bytes(p, c);
    }
    at = p->carried;
    for (int32_t i = 0; i < p->carry_count; i++) {
        const mgn_row_carry *c = &p->carries[i];
        memcpy(carry_place(p, c, c->to), p->carries_overlap ? at : carry_place(p, c, c->from), carry_bytes(p, c));
        at += carry_bytes(p, c);
    }
}

mgn_status mgn_cpu_rows_run(mgn_cpu_rows *p, uint64_t times) {
    mgn_cpu_frame shared = {.base = {p->shared, p->row_memory}, .sums = p->lanes, .index = p->index, .block = p->block};
    int threads = (int)MGN_MIN(MGN_MIN((int64_t)mgn_threads(), p->chunks), p->threads);
    run_steps(&p->prologue, &shared);
    uint64_t done = 0;
    for (; done < times; done++) {
        if (done > 0 && mgn_interrupted()) break;
        for (int32_t i = 0; i < p->section_count; i++) {
            if (p->sections[i].is_row)
                run_rows(p, &p->sections[i], threads);
            else
                run_steps(&p->sections[i], &shared);
        }
        carry(p);
    }
    run_steps(&p->epilogue, &shared);
    if (done == times) return MGN_OK;
    return mgn_fail(MGN_ERR_INTERRUPTED, "stopped after %llu of %llu runs", (unsigned long long)done,
                    (unsigned long long)times);
}
