/* Instructions of row programs: how scalars become runs of places, and which row places share memory. */
#include <math.h>
#include <string.h>

#include "graph/fuse.h"

/* Grows an arena array; the old block is left to the arena. */
static void *grown(mgn_fuser *f, const void *old, int32_t count, int32_t *capacity, size_t size) {
    if (count < *capacity) return (void *)(uintptr_t)old;
    int32_t larger = *capacity ? 2 * *capacity : 64;
    void *block = mgn_arena_alloc(f->arena, (size_t)larger, size);
    if (!block) {
        f->failed = true;
        return NULL;
    }
    if (count) memcpy(block, old, (size_t)count * size);
    *capacity = larger;
    return block;
}

mgn_scalar mgn_fuse_constant(mgn_fuser *f, double value) {
    for (int32_t i = 0; i < f->constant_count; i++)
        if (memcmp(&f->constants[i], &value, sizeof value) == 0) return (mgn_scalar){false, i};
    double *table = grown(f, f->constants, f->constant_count, &f->constant_capacity, sizeof *table);
    if (!table || f->constant_count >= MGN_SHARED_LIMIT) {
        f->failed = true;
        return (mgn_scalar){false, 0};
    }
    f->constants = table;
    table[f->constant_count] = value;
    return (mgn_scalar){false, f->constant_count++};
}

int32_t mgn_fuse_shared(mgn_fuser *f, int32_t count) {
    int32_t first = MGN_CONSTANT_LIMIT + f->shared_count;
    if (count > MGN_SHARED_LIMIT - f->shared_count)
        f->failed = true;
    else
        f->shared_count += count;
    return first;
}

int32_t mgn_fuse_row_places(mgn_fuser *f, int32_t count) {
    int32_t first = f->virtual_count;
    for (int32_t i = 0; i < count && !f->failed; i++) {
        int32_t *chunks = grown(f, f->chunk_of, f->virtual_count, &f->chunk_capacity, sizeof *chunks);
        if (!chunks) return first;
        f->chunk_of = chunks;
        f->chunk_of[f->virtual_count++] = first;
    }
    return first;
}

mgn_row_instruction *mgn_fuse_instruction(mgn_fuser *f, mgn_row_opcode opcode) {
    static mgn_row_instruction nowhere; /* written after a failure, never read */
    mgn_instruction_list *list = f->current;
    mgn_row_instruction *items = grown(f, list->items, list->count, &list->capacity, sizeof *items);
    if (!items || list->count >= MGN_INSTRUCTION_LIMIT) {
        f->failed = true;
        return &nowhere;
    }
    list->items = items;
    mgn_row_instruction *instruction = &items[list->count++];
    *instruction = (mgn_row_instruction){.opcode = opcode, .op = MGN_OP_copy, .count = 1, .inner = 1, .external = -1};
    instruction->dst.stride = 1;
    return instruction;
}

/* ---- runs ---- */

/* Whether b may follow a in one run: of one sort and, for rows, of one chunk. */
static bool in_one_chunk(const mgn_fuser *f, mgn_scalar a, mgn_scalar b) {
    if (a.is_row != b.is_row) return false;
    return !a.is_row || f->chunk_of[a.place] == f->chunk_of[b.place];
}

bool mgn_fuse_is_run(const mgn_fuser *f, const mgn_scalar *in, int32_t count, bool any, mgn_row_run *run) {
    *run = (mgn_row_run){in[0].is_row, in[0].place, count > 1 ? in[1].place - in[0].place : 1};
    if (!any && run->stride != 0 && run->stride != 1) return false;
    for (int32_t j = 1; j < count; j++)
        if (!in_one_chunk(f, in[0], in[j]) || in[j].place != run->base + j * run->stride) return false;
    return true;
}

/* How many of the operands' first scalars make runs of stride 0 or 1, all of one result sort. */
static int32_t common_run(const mgn_fuser *f, int arity, int32_t count, const mgn_scalar *const *in, int32_t at,
                          mgn_row_run *runs) {
    int32_t length = count - at;
    for (int i = 0; i < arity; i++) {
        const mgn_scalar *s = in[i] + at;
        MGN_KNOWN(in[i]);
        int32_t stride = length > 1 ? s[1].place - s[0].place : 1;
        if (length > 1 && ((stride != 0 && stride != 1) || !in_one_chunk(f, s[0], s[1]))) {
            length = 1;
            stride = 1;
        }
        int32_t same = 1;
        while (same < length && in_one_chunk(f, s[0], s[same]) && s[same].place == s[0].place + same * stride) same++;
        length = same;
        runs[i] = (mgn_row_run){s[0].is_row, s[0].place, stride};
    }
    return length;
}

/* Arithmetic on constants alone is done now; anything else gives NaN and stays. */
static double folded(mgn_op op, double a, double b) {
    return op == MGN_OP_neg ? -a : op == MGN_OP_add ? a + b : op == MGN_OP_sub ? a - b : op == MGN_OP_mul ? a * b : NAN;
}

static bool fold_constants(mgn_fuser *f, mgn_op op, int32_t count, const mgn_scalar *const *in, mgn_scalar *out) {
    const int arity = mgn_op_infos[op].arity;
    if (arity > 2 || isnan(folded(op, 1, 1))) return false;
    for (int32_t j = 0; j < count; j++)
        for (int i = 0; i < arity; i++) {
            MGN_KNOWN(in[i]);
            if (in[i][j].is_row || in[i][j].place >= f->constant_count) return false;
        }
    for (int32_t j = 0; j < count; j++)
        out[j] = mgn_fuse_constant(
            f, folded(op, f->constants[in[0][j].place], arity > 1 ? f->constants[in[1][j].place] : 0));
    return true;
}

/* The instruction of the current row section that computes just this already. A Cholesky factor, for one, is needed by the
 * determinant and by its derivative. */
static const mgn_row_instruction *find_same(const mgn_fuser *f, mgn_op op, int32_t count, const mgn_row_run *runs) {
    const int arity = mgn_op_infos[op].arity;
    for (int32_t n = 0; n < f->current->count; n++) {
        const mgn_row_instruction *i = &f->current->items[n];
        bool same = i->opcode == MGN_ROW_ELEMENTWISE && i->op == op && i->count == count;
        for (int k = 0; same && k < arity; k++)
            same = i->src[k].is_row == runs[k].is_row && i->src[k].base == runs[k].base &&
                   (count == 1 || i->src[k].stride == runs[k].stride);
        if (same) return i;
    }
    return NULL;
}

void mgn_fuse_elementwise(mgn_fuser *f, mgn_op op, int32_t count, const mgn_scalar *const *in, mgn_scalar *out) {
    if (f->failed || count == 0) return;
    mgn_row_run runs[MGN_MAX_INPUTS];
    if (fold_constants(f, op, count, in, out)) return;
    if (f->in_rows && common_run(f, mgn_op_infos[op].arity, count, in, 0, runs) == count) {
        const mgn_row_instruction *same = find_same(f, op, count, runs);
        for (int32_t j = 0; same && j < count; j++) out[j] = (mgn_scalar){true, same->dst.base + j};
        if (same) return;
    }
    mgn_fuse_elementwise_to(f, op, count, in, f->in_rows ? mgn_fuse_row_places(f, count) : mgn_fuse_shared(f, count),
                            out);
}

void mgn_fuse_elementwise_to(mgn_fuser *f, mgn_op op, int32_t count, const mgn_scalar *const *in, int32_t first,
                             mgn_scalar *out) {
    int arity = mgn_op_infos[op].arity;
    for (int32_t at = 0, length; at < count && !f->failed; at += length) {
        mgn_row_instruction *instruction = mgn_fuse_instruction(f, MGN_ROW_ELEMENTWISE);
        length = common_run(f, arity, count, in, at, instruction->src);
        instruction->op = op;
        instruction->count = length;
        instruction->dst = (mgn_row_run){f->in_rows, first + at, 1};
    }
    for (int32_t j = 0; j < count; j++) out[j] = (mgn_scalar){f->in_rows, first + j};
}

mgn_scalar mgn_fuse_scalar(mgn_fuser *f, mgn_op op, mgn_scalar a, mgn_scalar b) {
    mgn_scalar out = a;
    mgn_fuse_elementwise(f, op, 1, (const mgn_scalar *const[]){&a, &b, NULL}, &out);
    return out;
}

mgn_row_run mgn_fuse_as_run(mgn_fuser *f, const mgn_scalar *in, int32_t count, bool is_row) {
    mgn_row_run run = {is_row, 0, 1};
    if (count == 0 || f->failed) return run;
    if (mgn_fuse_is_run(f, in, count, false, &run) && run.is_row == is_row && (run.stride == 1 || count == 1)) {
        run.stride = 1;
        return run;
    }
    mgn_scalar *copy = mgn_fuse_scalars(f, count);
    if (!copy) return run;
    mgn_fuse_elementwise(f, MGN_OP_copy, count, (const mgn_scalar *const[]){in, NULL, NULL}, copy);
    return (mgn_row_run){copy[0].is_row, copy[0].place, 1};
}

int32_t mgn_fuse_external(mgn_fuser *f, mgn_operand operand, int64_t rows, int32_t columns) {
    mgn_row_external *table = grown(f, f->externals, f->external_count, &f->external_capacity, sizeof *table);
    if (!table) return 0;
    f->externals = table;
    for (int32_t i = 0; i < f->external_count; i++)
        if (table[i].memory == operand.memory && table[i].offset == operand.offset && table[i].dtype == operand.dtype &&
            table[i].rows == rows && table[i].columns == columns)
            return i;
    table[f->external_count] = (mgn_row_external){operand.memory, operand.offset, operand.dtype, rows, columns};
    return f->external_count++;
}

/* ---- row places: chunks share memory as soon as nobody reads the older one any more ---- */

typedef struct chunk_life {
    int32_t first, count, last_use, place;
} chunk_life;

/* The row runs that an instruction reads. */
static int read_runs(mgn_row_instruction *i, mgn_row_run *runs[MGN_MAX_INPUTS]) {
    int count = 0, most = MGN_MAX_INPUTS;
    for (int k = 0; k < most; k++)
        if (i->src[k].is_row) runs[count++] = &i->src[k];
    return count;
}

/* First fit among the chunks alive; the list is kept sorted by place. */
static int32_t fit(const chunk_life *alive, int32_t count, int32_t size, int32_t *position) {
    int32_t at = 0, i = 0;
    for (; i < count; i++) {
        if (alive[i].place - at >= size) break;
        at = alive[i].place + alive[i].count;
    }
    *position = i;
    return at;
}

static int32_t place_chunks(mgn_fuser *f, mgn_instruction_list *list, int32_t *place, const int32_t *last_use,
                            const int32_t *size, chunk_life *alive) {
    int32_t alive_count = 0, most = 0;
    for (int32_t n = 0; n < list->count; n++) {
        mgn_row_instruction *i = &list->items[n];
        int32_t chunk = i->dst.is_row ? f->chunk_of[i->dst.base] : -1;
        if (chunk >= 0 && place[chunk] < 0) { /* the chunk's first instruction */
            int32_t position;
            int32_t at = fit(alive, alive_count, size[chunk], &position);
            memmove(alive + position + 1, alive + position, (size_t)(alive_count - position) * sizeof *alive);
            alive[position] = (chunk_life){chunk, size[chunk], last_use[chunk], at};
            alive_count++;
            place[chunk] = at;
            most = MGN_MAX(most, at + size[chunk]);
        }
        int32_t kept = 0;
        for (int32_t k = 0; k < alive_count; k++)
            if (alive[k].last_use > n) alive[kept++] = alive[k];
        alive_count = kept;
    }
    return most;
}

int32_t mgn_fuse_assign_places(mgn_fuser *f, mgn_instruction_list *list) {
    if (f->failed || f->virtual_count == 0) return 0;
    size_t count = (size_t)f->virtual_count;
    int32_t *place = mgn_arena_alloc(f->arena, count, sizeof *place),
            *last_use = mgn_arena_alloc(f->arena, count, sizeof *last_use);
    int32_t *size = mgn_arena_alloc(f->arena, count, sizeof *size);
    chunk_life *alive = mgn_arena_alloc(f->arena, count + 1, sizeof *alive);
    if (!place || !last_use || !size || !alive) {
        f->failed = true;
        return 0;
    }
    mgn_row_run *runs[MGN_MAX_INPUTS];
    for (size_t v = 0; v < count; v++) {
        place[v] = -1;
        size[f->chunk_of[v]]++;
    }
    for (int32_t n = 0; n < list->count; n++) {
        mgn_row_instruction *i = &list->items[n];
        if (i->dst.is_row) last_use[f->chunk_of[i->dst.base]] = n;
        int reads = read_runs(i, runs);
        for (int k = 0; k < reads; k++) last_use[f->chunk_of[runs[k]->base]] = n;
    }
    int32_t most = place_chunks(f, list, place, last_use, size, alive);
    for (int32_t n = 0; n < list->count; n++) {
        mgn_row_instruction *i = &list->items[n];
        int reads = read_runs(i, runs);
        for (int k = 0; k < reads; k++) {
            int32_t chunk = f->chunk_of[runs[k]->base];
            runs[k]->base = place[chunk] + runs[k]->base - chunk;
        }
        if (i->dst.is_row) {
            int32_t chunk = f->chunk_of[i->dst.base];
            i->dst.base = place[chunk] + i->dst.base - chunk;
        }
    }
    return most;
}

/* Shared places follow the constants, now that their number is known. */
static void settle_run(const mgn_fuser *f, mgn_row_run *run) {
    if (!run->is_row && run->base >= MGN_CONSTANT_LIMIT) run->base += f->constant_count - MGN_CONSTANT_LIMIT;
}

void mgn_fuse_settle_shared(mgn_fuser *f, mgn_instruction_list *list) {
    for (int32_t n = 0; n < list->count; n++) {
        settle_run(f, &list->items[n].dst);
        for (int k = 0; k < MGN_MAX_INPUTS; k++) settle_run(f, &list->items[n].src[k]);
    }
}
