/* Which instructions of a wide program repeat (wide_text.h). */
#include "backend/opencl/wide_text.h"

#include <string.h>

/* Instructions that repeat at most; repetitions that are worth a loop. */
enum { MOST_PERIOD = 64, LEAST_COUNT = 3 };

bool mgn_cl_wide_distance(const mgn_wide_program *program, int32_t a, int32_t b, int64_t *distance) {
    const mgn_wide_external *x = &program->externals[a], *y = &program->externals[b];
    *distance = y->offset - x->offset;
    return x->memory == y->memory && x->row_stride == y->row_stride && x->column_stride == y->column_stride;
}

/* From one operand to the next repetition's. */
static bool step_between(const mgn_wide_program *program, mgn_wide_source from, mgn_wide_source to, int64_t *step) {
    if (from.sort != to.sort) return false;
    *step = 0;
    switch (from.sort) {
    case MGN_WIDE_VALUE: *step = to.index - from.index; return true;
    case MGN_WIDE_CONSTANT:
        return memcmp(&program->constants[from.index], &program->constants[to.index], sizeof(double)) == 0;
    default: return mgn_cl_wide_distance(program, from.index, to.index, step);
    }
}

/* Whether instruction n + period does to its operands what n does to its own, and both are as far from those of the
 * repetitions before as they are at the loop's start. */
static bool repeats(const mgn_wide_program *program, int32_t start, int32_t n, int32_t period) {
    const mgn_wide_instruction *base = &program->instructions[start], *next_base = base + period;
    const mgn_wide_instruction *now = &program->instructions[n], *next = now + period;
    int64_t wanted, step;
    if (now->opcode != next->opcode || now->op != next->op || now->inputs != next->inputs) return false;
    for (int32_t k = 0; k < now->inputs; k++)
        if (!step_between(program, now->in[k], next->in[k], &step) ||
            !step_between(program, base->in[k], next_base->in[k], &wanted) || step != wanted)
            return false;
    if ((now->external < 0) != (next->external < 0)) return false;
    if (now->external < 0 || now->opcode != MGN_WIDE_ELEMENTWISE) return true; /* sums find their places at the end */
    return mgn_cl_wide_distance(program, base->external, next_base->external, &wanted) &&
           mgn_cl_wide_distance(program, now->external, next->external, &step) && step == wanted;
}

static int32_t count_repeats(const mgn_wide_program *program, int32_t first, int32_t period) {
    int32_t count = 1;
    for (; first + (count + 1) * period <= program->count; count++)
        for (int32_t k = 0; k < period; k++)
            if (!repeats(program, first + k, first + (count - 1) * period + k, period)) return count;
    return count;
}

mgn_cl_wide_way mgn_cl_wide_way_of(const mgn_cl_wide_loops *loops, int32_t n, int32_t k, int64_t *step) {
    const mgn_wide_program *program = loops->program;
    const mgn_cl_wide_loop *loop = &loops->loops[loops->loop_of[n]];
    const mgn_wide_source from = program->instructions[n].in[k];
    *step = 0;
    step_between(program, from, program->instructions[n + loop->period].in[k], step);
    if (*step == 0) return MGN_CL_WIDE_FIXED;
    if (from.sort != MGN_WIDE_VALUE || *step != loop->period || from.index < loop->first - loop->period)
        return MGN_CL_WIDE_STREAM;
    return from.index < loop->first ? MGN_CL_WIDE_CARRIED : MGN_CL_WIDE_SAME;
}

/* Whether all that a stream of values reads is one instruction's results in a loop before. */
static bool is_listed_before(const mgn_cl_wide_loops *loops, const mgn_cl_wide_loop *reader, int32_t index,
                             int64_t step) {
    const int64_t last = index + step * (reader->count - 1);
    if (loops->loop_of[index] < 0) return false;
    const mgn_cl_wide_loop *loop = &loops->loops[loops->loop_of[index]];
    return loop != reader && step % loop->period == 0 && last >= loop->first &&
           last < loop->first + loop->period * loop->count;
}

/* Whether all operands of a loop, the last one found, can be found in it. */
static bool is_possible(const mgn_cl_wide_loops *loops, const mgn_cl_wide_loop *loop) {
    for (int32_t n = loop->first; n < loop->first + loop->period; n++)
        for (int32_t k = 0; k < loops->program->instructions[n].inputs; k++) {
            const mgn_wide_source from = loops->program->instructions[n].in[k];
            int64_t step;
            const mgn_cl_wide_way way = mgn_cl_wide_way_of(loops, n, k, &step);
            if (from.sort != MGN_WIDE_VALUE) continue;
            if (way == MGN_CL_WIDE_FIXED && from.index >= loop->first) return false;
            if (way == MGN_CL_WIDE_STREAM && !is_listed_before(loops, loop, from.index, step)) return false;
        }
    return true;
}

static void mark(mgn_cl_wide_loops *loops, const mgn_cl_wide_loop *loop, int32_t number) {
    for (int32_t n = loop->first; n < loop->first + loop->period * loop->count; n++) loops->loop_of[n] = number;
}

/* The loop from instruction `first` on that covers most; count 0: none. */
static mgn_cl_wide_loop best_loop(mgn_cl_wide_loops *loops, int32_t first) {
    mgn_cl_wide_loop best = {first, 0, 0};
    for (int32_t period = 1; period <= MOST_PERIOD; period++) {
        mgn_cl_wide_loop *loop = &loops->loops[loops->count];
        *loop = (mgn_cl_wide_loop){first, period, count_repeats(loops->program, first, period)};
        if (loop->count < LEAST_COUNT || period * loop->count <= best.period * best.count) continue;
        mark(loops, loop, loops->count);
        if (is_possible(loops, loop)) best = *loop;
        mark(loops, loop, -1);
    }
    return best;
}

/* A reader outside of its loop. */
static void mark_read(mgn_cl_wide_loops *loops, int32_t index) {
    if (loops->loop_of[index] < 0) return;
    const mgn_cl_wide_loop *loop = &loops->loops[loops->loop_of[index]];
    const int32_t behind = index - loop->first;
    const bool is_last = behind / loop->period == loop->count - 1;
    (is_last ? loops->is_held : loops->is_listed)[loop->first + behind % loop->period] = true;
}

/* Which results outlive their repetition. */
static void mark_reads(mgn_cl_wide_loops *loops, int32_t n) {
    const mgn_wide_instruction *i = &loops->program->instructions[n];
    const mgn_cl_wide_loop *loop = loops->loop_of[n] < 0 ? NULL : &loops->loops[loops->loop_of[n]];
    if (loop && n >= loop->first + loop->period) return;
    for (int32_t k = 0; k < i->inputs; k++) {
        int64_t step = 0;
        if (i->in[k].sort != MGN_WIDE_VALUE) continue;
        const int32_t index = i->in[k].index;
        const mgn_cl_wide_way way = loop ? mgn_cl_wide_way_of(loops, n, k, &step) : MGN_CL_WIDE_FIXED;
        if (way == MGN_CL_WIDE_CARRIED)
            loops->is_held[index + loop->period] = loops->is_carried[index + loop->period] = true;
        if (way == MGN_CL_WIDE_CARRIED || way == MGN_CL_WIDE_FIXED) mark_read(loops, index);
        if (way == MGN_CL_WIDE_STREAM) {
            const mgn_cl_wide_loop *made = &loops->loops[loops->loop_of[index]];
            loops->is_listed[made->first + (index - made->first) % made->period] = true;
        }
    }
}

mgn_status mgn_cl_wide_loops_find(const mgn_wide_program *program, mgn_cl_wide_loops *found) {
    const size_t count = (size_t)program->count;
    found->program = program;
    found->loops = mgn_alloc(count, sizeof *found->loops); /* one at a time is tried behind those found */
    found->loop_of = mgn_alloc(count, sizeof *found->loop_of);
    found->is_listed = mgn_alloc(count, sizeof *found->is_listed);
    found->is_held = mgn_alloc(count, sizeof *found->is_held);
    found->is_carried = mgn_alloc(count, sizeof *found->is_carried);
    if (!found->loops || !found->loop_of || !found->is_listed || !found->is_held || !found->is_carried)
        return MGN_ERR_MEMORY;
    for (int32_t n = 0; n < program->count; n++) found->loop_of[n] = -1;
    for (int32_t at = 0; at < program->count;) {
        const mgn_cl_wide_loop loop = best_loop(found, at);
        at += loop.count ? loop.period * loop.count : 1;
        if (!loop.count) continue;
        found->loops[found->count] = loop;
        mark(found, &loop, found->count++);
    }
    for (int32_t n = 0; n < program->count; n++) mark_reads(found, n);
    return MGN_OK;
}

void mgn_cl_wide_loops_free(mgn_cl_wide_loops *loops) {
    mgn_free(loops->loops);
    mgn_free(loops->loop_of);
    mgn_free(loops->is_listed);
    mgn_free(loops->is_held);
    mgn_free(loops->is_carried);
}
