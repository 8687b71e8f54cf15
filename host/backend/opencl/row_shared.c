/* Shared sections as text.
 *
 * On CPU devices one work-item computes them in vectors: a run of places is a vector, and an instruction on more places
 * than a vector has lanes is several statements (a loop over memory, when they are very many).
 *
 * On GPUs the elements of an instruction are spread over the work-group, element j on work-item j. What stands in s is
 * read only behind a barrier that follows its store.
 *
 * In both, what an instruction made is remembered by variable and lane (work-item), so that later ones take it from
 * there; s[place] is stored only where somebody reads it from memory. Reading back narrow stores as one wide load would
 * stall, and barriers cost more than anything else that stands between them. */
#include "backend/opencl/row_text.h"

#include <stdio.h>

/* From how many vectors on an instruction becomes a loop. */
enum { MOST_VECTORS = 8 };

/* ---- what is known of places ---- */

void mgn_cl_forget(mgn_cl_row_text *t) {
    for (int32_t p = 0; p < t->program->shared_places; p++) t->variable[p] = -1;
}

void mgn_cl_reads(mgn_cl_row_text *t, int32_t place, int32_t count) {
    for (int32_t j = 0; j < count; j++) t->in_memory[place + j] = true;
}

/* Stores `count` lanes of a variable from `lane` on, in pieces of whole powers of two, so that nothing else is touched. */
static void print_store(mgn_cl_row_text *t, int variable, int32_t lane, int32_t place, int32_t count) {
    static const char digits[] = "0123456789abcdef";
    if (!t->vectors) {
        mgn_cl_put(t, "if (item < %d) s[%d + item] = v%d;\n", (int)count, (int)place, variable);
        return;
    }
    if (count == t->width) {
        mgn_cl_put(t, "MGN_VSTORE(v%d, s + %d);\n", variable, (int)place);
        return;
    }
    for (int32_t at = 0, size; at < count; at += size) {
        for (size = 8; size > count - at; size /= 2) {}
        if (size == 1)
            mgn_cl_put(t, "s[%d] = v%d.s%c;\n", (int)(place + at), variable, digits[lane + at]);
        else
            mgn_cl_put(t, "vstore%d(v%d.s%.*s, 0, s + %d);\n", (int)size, variable, (int)size, digits + lane + at,
                       (int)(place + at));
    }
}

/* Over a work-group, what has been stored since the last barrier. */
static void note_stores(mgn_cl_row_text *t, int32_t place, int32_t count) {
    for (int32_t p = place; !t->vectors && p < place + count; p++) {
        if (t->is_dirty[p]) continue;
        t->is_dirty[p] = true;
        t->dirty[t->dirty_count++] = p;
    }
}

void mgn_cl_hold(mgn_cl_row_text *t, int32_t variable, int32_t lane, int32_t place, int32_t count) {
    bool needed = false;
    for (int32_t j = 0; j < count; j++) {
        t->variable[place + j] = variable;
        t->lane[place + j] = lane + j;
        needed = needed || t->in_memory[place + j];
    }
    if (!needed) return;
    print_store(t, variable, lane, place, count);
    note_stores(t, place, count);
}

/* Places that were stored straight away: no variable holds them. */
static void note_in_memory(mgn_cl_row_text *t, int32_t place, int32_t count) {
    for (int32_t p = place; p < place + count; p++) t->variable[p] = -1;
    note_stores(t, place, count);
}

void mgn_cl_clean(mgn_cl_row_text *t) {
    while (t->dirty_count > 0) t->is_dirty[t->dirty[--t->dirty_count]] = false;
}

void mgn_cl_settle(mgn_cl_row_text *t) {
    if (t->dirty_count > 0) mgn_cl_put(t, "SYNC\n");
    mgn_cl_clean(t);
}

/* ---- vectors ---- */

typedef struct vector_text {
    char text[256];
} vector_text;

/* Places base, base + stride, .. as the first `count` lanes of a vector; stride 0 fills it. */
static vector_text vector_of(mgn_cl_row_text *t, int32_t base, int32_t stride, int32_t count) {
    static const char digits[] = "0123456789abcdef";
    vector_text out;
    if (stride == 0) count = 1;
    bool held = true, alike = true;
    for (int32_t j = 0; j < count; j++) {
        held = held && t->variable[base + j] >= 0;
        alike = alike && t->variable[base + j] == t->variable[base];
    }
    if (!held) {
        mgn_cl_reads(t, base, count);
        snprintf(out.text, sizeof out.text, count == 1 ? "S(%d)" : "MGN_VLOAD(s + %d)", (int)base);
        return out;
    }
    bool whole = alike && count > 1;
    for (int32_t j = 0; j < count; j++) whole = whole && t->lane[base + j] == j;
    if (whole) {
        snprintf(out.text, sizeof out.text, "v%d", (int)t->variable[base]);
        return out;
    }
    int at = alike ? snprintf(out.text, sizeof out.text, "v%d.s", (int)t->variable[base])
                   : snprintf(out.text, sizeof out.text, "(R)(");
    for (int32_t j = 0; j < t->width; j++) {
        const int32_t place = base + (j < count ? j : count - 1);
        const char lane = digits[t->lane[place]];
        if (alike)
            at += snprintf(out.text + at, sizeof out.text - (size_t)at, "%c", lane);
        else
            at += snprintf(out.text + at, sizeof out.text - (size_t)at, "%sv%d.s%c", j ? ", " : "",
                           (int)t->variable[place], lane);
    }
    if (!alike) snprintf(out.text + at, sizeof out.text - (size_t)at, ")");
    return out;
}

/* { const R a = .., b = ..; <target> = <expression>; } of one vector. `offset` is "" or " + j". */
static void print_statement(mgn_cl_row_text *t, const mgn_row_instruction *i, const char *target,
                            const vector_text *in) {
    const mgn_op_info *info = &mgn_op_infos[i->op];
    mgn_cl_put(t, "{ const R ");
    for (int k = 0; k < info->arity; k++) mgn_cl_put(t, "%s%c = %s", k ? ", " : "", 'a' + k, in[k].text);
    mgn_cl_put(t, "; %s = %s; }\n", target, info->expression);
    t->weight += (2 + info->flops) / 2;
}

/* One vector of an elementwise instruction: elements at .. at + count - 1. */
static void print_vector(mgn_cl_row_text *t, const mgn_row_instruction *i, int32_t at, int32_t count) {
    vector_text in[MGN_MAX_INPUTS];
    char target[16];
    const int name = (int)t->names++;
    for (int k = 0; k < mgn_op_infos[i->op].arity; k++)
        in[k] = vector_of(t, i->src[k].base + at * i->src[k].stride, i->count == 1 ? 0 : i->src[k].stride, count);
    snprintf(target, sizeof target, "v%d", name);
    mgn_cl_put(t, "R v%d;\n", name);
    print_statement(t, i, target, in);
    mgn_cl_hold(t, name, 0, i->dst.base + at, count);
}

/* Whole vectors of a long instruction, through memory. */
static void print_vector_loop(mgn_cl_row_text *t, const mgn_row_instruction *i, int32_t count) {
    vector_text in[MGN_MAX_INPUTS];
    const int name = (int)t->names++;
    for (int k = 0; k < mgn_op_infos[i->op].arity; k++) {
        const mgn_row_run *run = &i->src[k];
        if (run->stride == 0) {
            in[k] = vector_of(t, run->base, 0, 1);
        } else {
            mgn_cl_reads(t, run->base, count);
            snprintf(in[k].text, sizeof in[k].text, "MGN_VLOAD(s + %d + j)", (int)run->base);
        }
    }
    mgn_cl_put(t, "for (uint j = 0; j < %d; j += MGN_WIDTH) { R v%d;\n", (int)count, name);
    char target[16];
    snprintf(target, sizeof target, "v%d", name);
    print_statement(t, i, target, in);
    mgn_cl_put(t, "MGN_VSTORE(v%d, s + %d + j); }\n", name, (int)i->dst.base);
    for (int32_t j = 0; j < count; j++) t->variable[i->dst.base + j] = -1;
}

static void print_vectors(mgn_cl_row_text *t, const mgn_row_instruction *i) {
    int32_t at = 0;
    if (i->count > MOST_VECTORS * t->width) {
        at = i->count / t->width * t->width;
        print_vector_loop(t, i, at);
    }
    for (; at < i->count; at += t->width) print_vector(t, i, at, MGN_MIN(t->width, i->count - at));
}

/* ---- over a work-group ---- */

/* The elements of an instruction, each on its work-item (vectors: all on the only one). */
static void print_each(mgn_cl_row_text *t, int32_t count) {
    mgn_cl_put(t, "for (uint j = item; j < %d; j += MGN_GROUP) {\n", (int)count);
}

/* The variable whose value on work-item j is place base + j * stride, for all j < count; -1: none. */
static int32_t own_variable(const mgn_cl_row_text *t, const mgn_row_run *run, int32_t count) {
    const int32_t variable = t->variable[run->base];
    if (run->stride != 1 && count > 1) return -1;
    for (int32_t j = 0; j < count; j++)
        if (t->variable[run->base + j] != variable || t->lane[run->base + j] != j) return -1;
    return variable;
}

/* Element `item` of a run: from its variable, or from memory as everybody sees it. */
static vector_text own_operand(mgn_cl_row_text *t, const mgn_row_run *run, int32_t count) {
    vector_text out;
    const int32_t variable = own_variable(t, run, count);
    if (variable >= 0)
        snprintf(out.text, sizeof out.text, "v%d", (int)variable);
    else
        snprintf(out.text, sizeof out.text, run->stride && count > 1 ? "s[%d + item]" : "s[%d]", (int)run->base);
    if (variable < 0) mgn_cl_reads(t, run->base, run->stride ? count : 1);
    return out;
}

/* Whether an operand is read from memory that has not settled. */
static bool is_unsettled(const mgn_cl_row_text *t, const mgn_row_run *run, int32_t count, int32_t inner, int32_t step) {
    for (int32_t j = 0; j < count; j++)
        for (int32_t m = 0; m < inner; m++)
            if (t->is_dirty[run->base + j * run->stride + m * step]) return true;
    return false;
}

static bool needs_barrier(const mgn_cl_row_text *t, const mgn_row_instruction *i) {
    const mgn_row_run *a = &i->src[0], *b = &i->src[1];
    bool needed = false;
    switch (i->opcode) {
    case MGN_ROW_ELEMENTWISE:
        for (int k = 0; k < mgn_op_infos[i->op].arity; k++) {
            const bool in_memory = i->count > MGN_CL_GROUP || own_variable(t, &i->src[k], i->count) < 0;
            needed = needed || (in_memory && is_unsettled(t, &i->src[k], i->count, 1, 0));
        }
        return needed;
    case MGN_ROW_MATMUL: return is_unsettled(t, a, i->inner, 1, 0) || is_unsettled(t, b, i->count, i->inner, i->step);
    case MGN_ROW_SUM:
    case MGN_ROW_MAX: return is_unsettled(t, a, i->count, i->inner, i->step);
    case MGN_ROW_STORE: return is_unsettled(t, a, i->count, 1, 0);
    default: return false;
    }
}

/* Elements of which every work-item has one, or none. */
static void print_own(mgn_cl_row_text *t, const mgn_row_instruction *i) {
    vector_text in[MGN_MAX_INPUTS];
    char target[16];
    const int name = (int)t->names++;
    for (int k = 0; k < mgn_op_infos[i->op].arity; k++) in[k] = own_operand(t, &i->src[k], i->count);
    snprintf(target, sizeof target, "v%d", name);
    mgn_cl_put(t, "R v%d = (R)0;\nif (item < %d) ", name, (int)i->count);
    print_statement(t, i, target, in);
    mgn_cl_hold(t, name, 0, i->dst.base, i->count);
}

static void print_spread(mgn_cl_row_text *t, const mgn_row_instruction *i) {
    vector_text in[MGN_MAX_INPUTS];
    char target[32];
    for (int k = 0; k < mgn_op_infos[i->op].arity; k++) {
        snprintf(in[k].text, sizeof in[k].text, i->src[k].stride ? "s[%d + j]" : "s[%d]", (int)i->src[k].base);
        mgn_cl_reads(t, i->src[k].base, i->src[k].stride ? i->count : 1);
    }
    snprintf(target, sizeof target, "s[%d + j]", (int)i->dst.base);
    print_each(t, i->count);
    print_statement(t, i, target, in);
    mgn_cl_put(t, "}\n");
    note_in_memory(t, i->dst.base, i->count);
}

/* ---- instructions that are alike in both shapes: scalars in memory ---- */

/* Places that an instruction reads one by one. */
static void note_reads(mgn_cl_row_text *t, const mgn_row_instruction *i) {
    for (int32_t j = 0; j < i->count; j++)
        for (int32_t m = 0; m < i->inner; m++) {
            if (i->opcode == MGN_ROW_MATMUL) {
                mgn_cl_reads(t, i->src[0].base + m * i->src[0].stride, 1);
                mgn_cl_reads(t, i->src[1].base + m * i->step + j * i->src[1].stride, 1);
            } else {
                mgn_cl_reads(t, i->src[0].base + m * i->step + j * i->src[0].stride, 1);
            }
        }
}

static void print_product(mgn_cl_row_text *t, const mgn_row_instruction *i) {
    print_each(t, i->count);
    mgn_cl_put(t,
               "real sum = 0;\nfor (uint m = 0; m < %d; m++) sum += s[%d + m * %d] * s[%d + m * %d + j * %d];\ns[%d + "
               "j] = sum; }\n",
               (int)i->inner, (int)i->src[0].base, (int)i->src[0].stride, (int)i->src[1].base, (int)i->step,
               (int)i->src[1].stride, (int)i->dst.base);
    t->weight += MGN_MIN((int64_t)i->count * i->inner, 64);
}

static void print_reduction(mgn_cl_row_text *t, const mgn_row_instruction *i) {
    print_each(t, i->count);
    mgn_cl_put(t,
               "real all = s[%d + j * %d];\nfor (uint m = 1; m < %d; m++) { const real next = s[%d + m * %d + j * %d]; "
               "all = %s; }\ns[%d + j] = all; }\n",
               (int)i->src[0].base, (int)i->src[0].stride, (int)i->inner, (int)i->src[0].base, (int)i->step,
               (int)i->src[0].stride, i->opcode == MGN_ROW_SUM ? "all + next" : "LARGER(all, next)", (int)i->dst.base);
    t->weight += MGN_MIN((int64_t)i->count * i->inner, 64);
}

/* Loads and stores of shared state: the prologue and the epilogue. Every work-item keeps index places for itself. */
static void print_state(mgn_cl_row_text *t, const mgn_row_instruction *i) {
    const int e = (int)i->external, offset = MGN_CL_FIRST_OFFSET + e, x = (int)i->state;
    switch (i->opcode) {
    case MGN_ROW_LOAD:
        print_each(t, i->count);
        mgn_cl_put(t, "s[%d + j] = (e%d + n[%d])[j]; }\n", (int)i->dst.base, e, offset);
        break;
    case MGN_ROW_STORE:
        print_each(t, i->count);
        mgn_cl_put(t, "(e%d + n[%d])[j] = s[%d + j]; }\n", e, offset, (int)i->src[0].base);
        mgn_cl_reads(t, i->src[0].base, i->count);
        break;
    case MGN_ROW_STATE_LOAD:
        for (int j = 0; j < 4; j++) mgn_cl_put(t, "x[%d] = (e%d + n[%d])[%d];\n", x + j, e, offset, j);
        break;
    case MGN_ROW_STATE_STORE:
        mgn_cl_put(t, "if (item == 0) {\n");
        for (int j = 0; j < 4; j++) mgn_cl_put(t, "(e%d + n[%d])[%d] = x[%d];\n", e, offset, j, x + j);
        mgn_cl_put(t, "}\n");
        break;
    default: { /* MGN_ROW_ADVANCE */
        const int steps = (int)mgn_cl_row_number(t, i->attributes.advance.steps), to = (int)i->dst.base;
        for (int j = 0; j < 4; j++)
            if (j == 2)
                mgn_cl_put(t, "x[%d] = x[%d] + (uint)n[%d];\n", to + j, x + j, steps);
            else
                mgn_cl_put(t, "x[%d] = x[%d];\n", to + j, x + j);
    }
    }
}

void mgn_cl_print_shared(mgn_cl_row_text *t, const mgn_row_section *section) {
    for (int32_t k = 0; k < section->count; k++) {
        const mgn_row_instruction *i = &section->instructions[k];
        if (!t->vectors && needs_barrier(t, i)) mgn_cl_settle(t);
        switch (i->opcode) {
        case MGN_ROW_ELEMENTWISE:
            if (t->vectors)
                print_vectors(t, i);
            else if (i->count <= MGN_CL_GROUP)
                print_own(t, i);
            else
                print_spread(t, i);
            break;
        case MGN_ROW_MATMUL:
        case MGN_ROW_SUM:
        case MGN_ROW_MAX:
            note_reads(t, i);
            if (i->opcode == MGN_ROW_MATMUL)
                print_product(t, i);
            else
                print_reduction(t, i);
            note_in_memory(t, i->dst.base, i->count);
            break;
        case MGN_ROW_LOAD:
            print_state(t, i);
            note_in_memory(t, i->dst.base, i->count);
            break;
        default: print_state(t, i);
        }
    }
}

/* ---- carries ---- */

/* s[to ..] = s[from ..], many places. */
static void print_copy(mgn_cl_row_text *t, int32_t from, int32_t to, int32_t count) {
    print_each(t, count);
    mgn_cl_put(t, "s[%d + j] = s[%d + j]; }\n", (int)to, (int)from);
    mgn_cl_reads(t, from, count);
}

/* Pass 0 reads everything into variables from number `name` on, pass 1 writes it; the number after the last. */
static int32_t print_vector_carries(mgn_cl_row_text *t, int pass, int32_t name) {
    const mgn_row_program *program = t->program;
    for (int32_t k = 0; k < program->carry_count; k++) {
        const mgn_row_carry *c = &program->carries[k];
        if (c->is_state || c->count > MOST_VECTORS * t->width) continue;
        for (int32_t at = 0; at < c->count; at += t->width, name++) {
            const int32_t count = MGN_MIN(t->width, c->count - at);
            if (pass == 1)
                print_store(t, (int)name, 0, c->to + at, count);
            else
                mgn_cl_put(t, "const R v%d = %s;\n", (int)name,
                           vector_of(t, c->from + at, c->count == 1 ? 0 : 1, count).text);
        }
    }
    return name;
}

/* Those that vectors leave: straight, or by way of the spare places when some read what others write. */
static void print_memory_carries(mgn_cl_row_text *t) {
    const mgn_row_program *program = t->program;
    for (int pass = t->carries_overlap ? 0 : 1; pass < 2; pass++) {
        int32_t spare = program->shared_places;
        for (int32_t k = 0; k < program->carry_count; k++) {
            const mgn_row_carry *c = &program->carries[k];
            if (c->is_state || (t->vectors && c->count <= MOST_VECTORS * t->width)) continue;
            if (!t->carries_overlap)
                print_copy(t, c->from, c->to, c->count);
            else if (pass == 0)
                print_copy(t, c->from, spare, c->count);
            else
                print_copy(t, spare, c->to, c->count);
            spare += c->count;
        }
        if (!t->vectors) mgn_cl_put(t, "SYNC\n");
    }
}

static void print_state_carries(mgn_cl_row_text *t) {
    const mgn_row_program *program = t->program;
    for (int pass = 0; pass < 2; pass++) {
        int name = 0;
        for (int32_t k = 0; k < program->carry_count; k++) {
            const mgn_row_carry *c = &program->carries[k];
            if (!c->is_state) continue;
            for (int j = 0; j < 4; j++, name++)
                if (pass == 0)
                    mgn_cl_put(t, "const uint w%d = x[%d];\n", name, (int)c->from + j);
                else
                    mgn_cl_put(t, "x[%d] = w%d;\n", (int)c->to + j, name);
        }
    }
}

/* Everything is read before anything is written. The barriers also keep a step's writes behind the last one's reads. */
void mgn_cl_print_carries(mgn_cl_row_text *t) {
    if (t->vectors) {
        const int32_t first = t->names;
        t->names = print_vector_carries(t, 0, first);
        print_memory_carries(t);
        print_vector_carries(t, 1, first);
    } else {
        mgn_cl_put(t, "SYNC\n");
        mgn_cl_clean(t);
        print_memory_carries(t);
    }
    print_state_carries(t);
}
