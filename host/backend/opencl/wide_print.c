/* The text of a wide program's kernels (wide_text.h).
 *
 * `wide` walks a chunk of rows: lanes run over columns, and a work-item of a CPU device does `copies` rows at a time where
 * instructions form long chains, since each waits for the one before. Results are variables v<instruction>_<copy>, those of
 * loops that outlive a repetition also c<instruction>_<copy> (the last one) or a<instruction>_<copy>[i] (all). What rows share
 * is loaded in front of their loop. Sums over rows are stored by chunk and added by `finish`, so that their order is fixed;
 * those over columns or over both are stored element by element or by column, and summed by the reductions' kernels.
 *
 * What may differ between plans of one structure, such as sizes, offsets and distances, are arguments and no part of the
 * text. */
#include "backend/opencl/wide_text.h"

#include <string.h>

/* Sums that are kept in variables; operations up to which a GPU's compiler unrolls loops, and keeps arrays in registers;
 * rows and operations from which on several rows are done at a time. */
enum { MOST_SINGLE_SUMS = 8, MOST_UNROLLED = 6000, LEAST_ROWS = 8, LONG_CHAIN = 30 };

typedef struct writer {
    mgn_cl_wide_text *out;
    mgn_cl_row_text *text;
    mgn_cl_wide_arguments *arguments; /* of the kernel being printed */
    const mgn_wide_program *program;
    mgn_cl_wide_loops loops;
    const mgn_cl_wide_loop *loop; /* being printed, or NULL */
    int32_t copies;
    bool unrolls;
    bool *is_loaded;     /* by external: variables hold it */
    int32_t *sum_number; /* by instruction: sums of its sort before it */
} writer;

#define FOR_COPIES for (int copy = 0; copy < (int)w->copies; copy++)

/* What an external is to a row of the loop. */
static bool is_whole(const mgn_wide_external *e) { return e->row_stride != 0; }

/* ---- arguments ---- */

static int argument_of(writer *w, int32_t external) {
    mgn_cl_wide_arguments *all = w->arguments;
    for (int32_t a = 0; a < all->external_count; a++)
        if (all->externals[a] == external) return (int)a;
    all->externals[all->external_count] = external;
    return (int)all->external_count++;
}

/* An argument for a distance that is passed `i` times; its number. */
static int step_argument(writer *w, int64_t step) {
    w->arguments->steps[w->arguments->step_count] = step;
    return (int)w->arguments->step_count++;
}

/* ---- operands ---- */

/* The place of an external's element; `step`: a distance's argument, -1: none. */
static void print_place(writer *w, int32_t external, int step, int copy) {
    const int a = argument_of(w, external);
    mgn_cl_put(w->text, "o%d", a);
    if (step >= 0) mgn_cl_put(w->text, " + (ulong)i * d%d", step);
    if (is_whole(&w->program->externals[external])) mgn_cl_put(w->text, " + row_%d * n%d", copy, a);
}

static void print_load(writer *w, int32_t external, int step, int copy) {
    const bool is_row = w->program->externals[external].column_stride != 0;
    mgn_cl_put(w->text, is_row ? "m_load(e%d + " : "(R)(e%d[", argument_of(w, external));
    print_place(w, external, step, copy);
    mgn_cl_put(w->text, is_row ? " + column, 1, lanes);\n" : "]);\n");
}

static void load_external(writer *w, int32_t external) {
    if (w->is_loaded[external]) return;
    w->is_loaded[external] = true;
    const int a = argument_of(w, external);
    if (!is_whole(&w->program->externals[external])) {
        mgn_cl_put(w->text, "const R x%d = ", a);
        print_load(w, external, -1, 0);
        return;
    }
    FOR_COPIES {
        mgn_cl_put(w->text, "const R x%d_%d = ", a, copy);
        print_load(w, external, -1, copy);
    }
}

/* A result, where it is read outside of its loop. */
static void print_value(writer *w, int32_t index, int copy) {
    if (w->loops.loop_of[index] < 0) {
        mgn_cl_put(w->text, "v%d_%d", (int)index, copy);
        return;
    }
    const mgn_cl_wide_loop *loop = &w->loops.loops[w->loops.loop_of[index]];
    const int made = (int)(loop->first + (index - loop->first) % loop->period);
    const int repetition = (int)((index - loop->first) / loop->period);
    if (repetition == loop->count - 1)
        mgn_cl_put(w->text, "c%d_%d", made, copy);
    else
        mgn_cl_put(w->text, "a%d_%d[%d]", made, copy, repetition);
}

/* One of all results of an instruction in a loop before this one. */
static void print_listed(writer *w, int32_t index, int64_t step, int copy) {
    const mgn_cl_wide_loop *made = &w->loops.loops[w->loops.loop_of[index]];
    const int behind = (int)(index - made->first), period = (int)made->period;
    mgn_cl_put(w->text, "a%d_%d[%d + i * %d]", (int)made->first + behind % period, copy, behind / period,
               (int)step / period);
}

/* Input k of instruction n. */
static void print_operand(writer *w, int32_t n, int32_t k, int copy) {
    const mgn_wide_source from = w->program->instructions[n].in[k];
    int64_t step = 0;
    const mgn_cl_wide_way way = w->loop ? mgn_cl_wide_way_of(&w->loops, n, k, &step) : MGN_CL_WIDE_FIXED;
    if (from.sort == MGN_WIDE_CONSTANT) {
        mgn_cl_put(w->text, "(R)((real)(%.17g))", w->program->constants[from.index]);
    } else if (from.sort == MGN_WIDE_EXTERNAL) {
        if (way == MGN_CL_WIDE_STREAM)
            mgn_cl_put(w->text, "y%d_%d", (int)n, (int)k);
        else
            mgn_cl_put(w->text, "x%d", argument_of(w, from.index));
        if (is_whole(&w->program->externals[from.index])) mgn_cl_put(w->text, "_%d", copy);
    } else if (way == MGN_CL_WIDE_FIXED) {
        print_value(w, from.index, copy);
    } else if (way == MGN_CL_WIDE_STREAM) {
        print_listed(w, from.index, step, copy);
    } else {
        const bool carried = way == MGN_CL_WIDE_CARRIED;
        mgn_cl_put(w->text, "%c%d_%d", carried ? 'c' : 'v', (int)(from.index + (carried ? w->loop->period : 0)), copy);
    }
}

/* Loads the memory that instruction n reads; where it is the same in all repetitions, before the loop. */
static void load_operands(writer *w, int32_t n, bool before_loop) {
    const mgn_wide_instruction *instruction = &w->program->instructions[n];
    for (int32_t k = 0; k < instruction->inputs; k++) {
        const int32_t external = instruction->in[k].index;
        int64_t step = 0;
        if (instruction->in[k].sort != MGN_WIDE_EXTERNAL) continue;
        if (!w->loop || mgn_cl_wide_way_of(&w->loops, n, k, &step) == MGN_CL_WIDE_FIXED) {
            load_external(w, external);
            continue;
        }
        if (before_loop) continue;
        const int distance = step_argument(w, step);
        const bool whole = is_whole(&w->program->externals[external]);
        for (int copy = 0; copy < (whole ? (int)w->copies : 1); copy++) {
            mgn_cl_put(w->text, "const R y%d_%d", (int)n, (int)k);
            if (whole) mgn_cl_put(w->text, "_%d", copy);
            mgn_cl_put(w->text, " = ");
            print_load(w, external, distance, copy);
        }
    }
}

/* ---- instructions ---- */

static void print_store(writer *w, int32_t n) {
    const int32_t external = w->program->instructions[n].external;
    int64_t distance;
    int step = -1;
    if (w->loop) {
        const int32_t next = w->program->instructions[n + w->loop->period].external;
        mgn_cl_wide_distance(w->program, external, next, &distance);
        step = step_argument(w, distance);
    }
    FOR_COPIES {
        mgn_cl_put(w->text, "m_store(v%d_%d, e%d + ", (int)n, copy, argument_of(w, external));
        print_place(w, external, step, copy);
        mgn_cl_put(w->text, " + column, 1, lanes);\n");
    }
}

static void print_elementwise(writer *w, int32_t n) {
    const mgn_wide_instruction *instruction = &w->program->instructions[n];
    w->out->weight += w->copies * (1 + mgn_op_infos[instruction->op].flops);
    FOR_COPIES {
        mgn_cl_put(w->text, "R v%d_%d; { ", (int)n, copy);
        for (int32_t k = 0; k < instruction->inputs; k++) {
            mgn_cl_put(w->text, "const R %c = ", "abc"[k]);
            print_operand(w, n, k, copy);
            mgn_cl_put(w->text, "; ");
        }
        mgn_cl_put(w->text, "v%d_%d = %s; }\n", (int)n, copy, mgn_op_infos[instruction->op].expression);
        if (w->loop && w->loops.is_listed[n]) mgn_cl_put(w->text, "a%d_%d[i] = v%d_%d;\n", (int)n, copy, (int)n, copy);
    }
    if (instruction->external >= 0) print_store(w, n);
}

/* Which sum of its sort instruction n makes. */
static void print_sum_number(writer *w, int32_t n) {
    mgn_cl_put(w->text, "%d", (int)w->sum_number[n]);
    if (w->loop) mgn_cl_put(w->text, " + i * %d", (int)(w->sum_number[n + w->loop->period] - w->sum_number[n]));
}

/* Adds copies from .. from + count - 1 of what instruction n sums, in pairs. */
static void print_copies(writer *w, int32_t n, int from, int count) {
    if (count == 1) {
        print_operand(w, n, 0, from);
        return;
    }
    mgn_cl_put(w->text, "(");
    print_copies(w, n, from, count / 2);
    mgn_cl_put(w->text, " + ");
    print_copies(w, n, from + count / 2, count / 2);
    mgn_cl_put(w->text, ")");
}

static void print_sum(writer *w, int32_t n) {
    const mgn_wide_opcode opcode = w->program->instructions[n].opcode;
    w->out->weight += w->copies;
    if (opcode == MGN_WIDE_ROW_SUM) {
        FOR_COPIES {
            mgn_cl_put(w->text, "m_store(");
            print_operand(w, n, 0, copy);
            mgn_cl_put(w->text, ", rows_of + rows_at + ((");
            print_sum_number(w, n);
            mgn_cl_put(w->text, ") * rows + row_%d) * columns + column, 1, lanes);\n", copy);
        }
        return;
    }
    const char name = opcode == MGN_WIDE_TOTAL_SUM ? 't' : 's';
    if (w->copies > 1) mgn_cl_put(w->text, "if (here == %d) ", (int)w->copies);
    mgn_cl_put(w->text, "%c[", name);
    print_sum_number(w, n);
    mgn_cl_put(w->text, "] += ");
    print_copies(w, n, 0, (int)w->copies);
    mgn_cl_put(w->text, ";\n");
    if (w->copies == 1) return;
    mgn_cl_put(w->text, "else {\n"); /* the last rows of a chunk */
    for (int copy = 0; copy < (int)w->copies - 1; copy++) {
        mgn_cl_put(w->text, "if (here > %d) %c[", copy, name);
        print_sum_number(w, n);
        mgn_cl_put(w->text, "] += ");
        print_operand(w, n, 0, copy);
        mgn_cl_put(w->text, ";\n");
    }
    mgn_cl_put(w->text, "}\n");
}

static void print_instruction(writer *w, int32_t n) {
    load_operands(w, n, false);
    if (w->program->instructions[n].opcode == MGN_WIDE_ELEMENTWISE)
        print_elementwise(w, n);
    else
        print_sum(w, n);
}

static void print_loop(writer *w, const mgn_cl_wide_loop *loop) {
    w->loop = loop;
    const int32_t end = loop->first + loop->period;
    for (int32_t n = loop->first; n < end; n++) {
        load_operands(w, n, true);
        FOR_COPIES {
            if (w->loops.is_listed[n]) mgn_cl_put(w->text, "R a%d_%d[%d];\n", (int)n, copy, (int)loop->count);
            if (!w->loops.is_held[n]) continue;
            mgn_cl_put(w->text, "R c%d_%d = ", (int)n, copy);
            if (w->loops.is_carried[n])
                print_value(w, n - loop->period, copy);
            else
                mgn_cl_put(w->text, "(R)0");
            mgn_cl_put(w->text, ";\n");
        }
    }
    mgn_cl_put(w->text, "%sfor (int i = 0; i < %d; i++) {\n", w->unrolls ? "#pragma unroll\n" : "", (int)loop->count);
    for (int32_t n = loop->first; n < end; n++) print_instruction(w, n);
    for (int32_t n = loop->first; n < end; n++)
        FOR_COPIES if (w->loops.is_held[n]) mgn_cl_put(w->text, "c%d_%d = v%d_%d;\n", (int)n, copy, (int)n, copy);
    mgn_cl_put(w->text, "}\n");
    w->loop = NULL;
}

static void print_rows(writer *w) {
    const int copies = (int)w->copies;
    mgn_cl_put(w->text, "for (ulong row_0 = begin; row_0 < end; row_0 += %d) {\n", copies);
    if (copies > 1) mgn_cl_put(w->text, "const uint here = (uint)min((ulong)%d, end - row_0);\n", copies);
    for (int copy = 1; copy < copies; copy++) /* behind the chunk's end the last row again */
        mgn_cl_put(w->text, "const ulong row_%d = row_0 + min(%du, here - 1);\n", copy, copy);
    for (int32_t n = 0; n < w->program->count;) {
        if (w->loops.loop_of[n] < 0) {
            print_instruction(w, n++);
            continue;
        }
        const mgn_cl_wide_loop *loop = &w->loops.loops[w->loops.loop_of[n]];
        print_loop(w, loop);
        n += loop->period * loop->count;
    }
    mgn_cl_put(w->text, "}\n");
}

/* ---- kernels ---- */

/* Everything that rows share, in front of their loop. */
static void print_shared(writer *w) {
    for (int32_t n = 0; n < w->program->count; n++) {
        const mgn_wide_instruction *instruction = &w->program->instructions[n];
        for (int32_t k = 0; w->loops.loop_of[n] < 0 && k < instruction->inputs; k++) {
            const mgn_wide_source from = instruction->in[k];
            if (from.sort == MGN_WIDE_EXTERNAL && !is_whole(&w->program->externals[from.index]))
                load_external(w, from.index);
        }
    }
}

/* A statement for every k of `count` sums; unrolled where sums are few, so that they are variables. */
static void print_each_sum(writer *w, int32_t count, const char *statement) {
    const bool unrolls = w->unrolls || count <= MOST_SINGLE_SUMS;
    if (count == 0) return;
    mgn_cl_put(w->text, "%sfor (int k = 0; k < %d; k++) %s\n", unrolls ? "#pragma unroll\n" : "", (int)count,
               statement);
}

static const char head[] = "const ulong spans = (columns + span - 1) / span, part = get_group_id(0) / spans;\n"
                           "const ulong first = get_group_id(0) % spans * span, behind = min(first + span, columns);\n";

static const char column_loop[] =
    "for (ulong column = first + get_local_id(0) * MGN_WIDTH; column < behind; column += MGN_GROUP * MGN_WIDTH) {\n"
    "const uint lanes = (uint)min((ulong)MGN_WIDTH, behind - column);\n";

static void print_arguments(writer *w) {
    for (int a = 0; a < (int)w->arguments->external_count; a++)
        mgn_cl_put(w->text, "global real *e%d, ulong o%d, ", a, a);
}

static void print_steps(writer *w) {
    for (int d = 0; d < (int)w->arguments->step_count; d++) mgn_cl_put(w->text, ", ulong d%d", d);
    w->arguments->step_count = 0; /* the same again while the body is printed */
}

static void print_wide(writer *w) {
    const mgn_cl_wide_text *t = w->out;
    mgn_cl_put(w->text, "\nMGN_KERNEL void wide(");
    print_arguments(w);
    mgn_cl_put(w->text, "global real *partial, ulong partial_at, global real *total, ulong total_at, "
                        "global real *rows_of, ulong rows_at, ulong rows, ulong columns, ulong chunk, ulong span");
    for (int a = 0; a < (int)w->arguments->external_count; a++) mgn_cl_put(w->text, ", ulong n%d", a);
    print_steps(w);
    mgn_cl_put(w->text, ") {\n%s", head);
    mgn_cl_put(w->text, "const ulong begin = part * chunk, end = min(begin + chunk, rows);\n"
                        "const ulong parts = (rows + chunk - 1) / chunk;\n");
    mgn_cl_put(w->text, "%s", column_loop);
    if (t->columns_summed) mgn_cl_put(w->text, "R s[%d];\n", (int)t->columns_summed);
    if (t->totals) mgn_cl_put(w->text, "R t[%d];\n", (int)t->totals);
    mgn_cl_put(w->text, "enum { COLUMNS_SUMMED = %d };\n", (int)t->columns_summed);
    print_each_sum(w, t->columns_summed, "s[k] = (R)0;");
    print_each_sum(w, t->totals, "t[k] = (R)0;");
    print_shared(w);
    print_rows(w);
    print_each_sum(w, t->columns_summed,
                   "m_store(s[k], partial + partial_at + (part * COLUMNS_SUMMED + k) * columns + column, 1, lanes);");
    print_each_sum(w, t->totals, "m_store(t[k], total + total_at + (k * parts + part) * columns + column, 1, lanes);");
    mgn_cl_put(w->text, "}\n}\n");
}

const mgn_wide_instruction *mgn_cl_wide_sum(const mgn_wide_program *program, mgn_wide_opcode opcode, int32_t k) {
    for (int32_t n = 0; n < program->count; n++)
        if (program->instructions[n].opcode == opcode && k-- == 0) return &program->instructions[n];
    return NULL;
}

/* Where `finish` puts sum `part`: sums in a row that lie at a constant distance share an argument. */
static void print_targets(writer *w) {
    for (int32_t s = 0; s < w->out->columns_summed;) {
        const int32_t target = mgn_cl_wide_sum(w->program, MGN_WIDE_COLUMN_SUM, s)->external;
        int64_t distance = 0, next = 0;
        int32_t end = s + 1;
        for (int32_t before = target; end < w->out->columns_summed; end++) {
            const int32_t external = mgn_cl_wide_sum(w->program, MGN_WIDE_COLUMN_SUM, end)->external;
            if (!mgn_cl_wide_distance(w->program, before, external, &next)) break;
            if (end > s + 1 && next != distance) break;
            distance = next;
            before = external;
        }
        const int a = argument_of(w, target), d = step_argument(w, distance);
        mgn_cl_put(w->text, "if (part >= %d && part < %d) to = e%d + o%d + (part - %d) * d%d;\n", (int)s, (int)end, a,
                   a, (int)s, d);
        s = end;
    }
}

static void print_finish(writer *w) {
    mgn_cl_put(w->text, "\nMGN_KERNEL void finish(");
    print_arguments(w);
    mgn_cl_put(w->text, "global const real *partial, ulong partial_at, ulong columns, ulong parts, ulong span");
    print_steps(w);
    mgn_cl_put(w->text, ") {\n%sglobal real *to = e0;\n", head);
    print_targets(w);
    mgn_cl_put(w->text,
               "%sglobal const real *from = partial + partial_at + part * columns + column;\n"
               "R sum = m_load(from, 1, lanes);\n"
               "for (ulong k = 1; k < parts; k++) sum += m_load(from + k * %d * columns, 1, lanes);\n"
               "m_store(sum, to + column, 1, lanes);\n}\n}\n",
               column_loop, (int)w->out->columns_summed);
}

/* ---- a whole program ---- */

static mgn_status make_arguments(const mgn_wide_program *program, mgn_cl_wide_arguments *arguments) {
    arguments->externals = mgn_alloc((size_t)program->external_count, sizeof *arguments->externals);
    /* an operand and a result of every instruction at most, and a run of sums for each */
    arguments->steps = mgn_alloc((size_t)program->count * (MGN_MAX_INPUTS + 1), sizeof *arguments->steps);
    return arguments->externals && arguments->steps ? MGN_OK : MGN_ERR_MEMORY;
}

static void count_sums(writer *w) {
    for (int32_t n = 0; n < w->program->count; n++) {
        const mgn_wide_opcode opcode = w->program->instructions[n].opcode;
        int32_t *count = opcode == MGN_WIDE_COLUMN_SUM  ? &w->out->columns_summed
                         : opcode == MGN_WIDE_TOTAL_SUM ? &w->out->totals
                                                        : &w->out->rows_summed;
        w->sum_number[n] = *count;
        *count += opcode != MGN_WIDE_ELEMENTWISE;
    }
}

/* Prints a kernel twice: what its body needs stands in front of it. */
static void print_kernel(writer *w, mgn_cl_wide_arguments *arguments, void (*print)(writer *)) {
    w->arguments = arguments;
    for (int pass = 0; pass < 2; pass++) {
        w->text->silent = pass == 0;
        w->out->weight = 0;
        memset(w->is_loaded, 0, (size_t)w->program->external_count * sizeof *w->is_loaded);
        print(w);
    }
}

/* Long chains of operations wait for themselves, and short rows for memory: rows beside each other fill the gaps, as many
 * as registers hold. */
static void choose_shape(writer *w, int native_width) {
    int64_t weight = 0;
    for (int32_t n = 0; n < w->program->count; n++) weight += 1 + mgn_op_infos[w->program->instructions[n].op].flops;
    w->copies = 1;
    if (weight >= LONG_CHAIN && w->program->rows >= LEAST_ROWS && native_width >= 8)
        w->copies = native_width >= 16 ? 4 : 2;
    w->unrolls = native_width == 0 && weight <= MOST_UNROLLED;
}

static mgn_status print_all(writer *w, int native_width) {
    mgn_cl_wide_text *t = w->out;
    w->is_loaded = mgn_alloc((size_t)w->program->external_count, sizeof *w->is_loaded);
    w->sum_number = mgn_alloc((size_t)w->program->count, sizeof *w->sum_number);
    if (!w->is_loaded || !w->sum_number) return MGN_ERR_MEMORY;
    MGN_TRY(make_arguments(w->program, &t->wide));
    MGN_TRY(make_arguments(w->program, &t->finish));
    MGN_TRY(mgn_cl_wide_loops_find(w->program, &w->loops));
    count_sums(w);
    choose_shape(w, native_width);
    print_kernel(w, &t->wide, print_wide);
    const int64_t weight = t->weight;
    if (t->columns_summed > 0) print_kernel(w, &t->finish, print_finish);
    t->weight = weight;
    return t->text.failed ? MGN_ERR_MEMORY : MGN_OK;
}

mgn_status mgn_cl_wide_text_make(mgn_cl_wide_text *t, const mgn_wide_program *program, int native_width) {
    writer w = {.out = t, .text = &t->text, .program = program};
    const mgn_status status = print_all(&w, native_width);
    mgn_cl_wide_loops_free(&w.loops);
    mgn_free(w.is_loaded);
    mgn_free(w.sum_number);
    return status;
}

void mgn_cl_wide_text_free(mgn_cl_wide_text *t) {
    mgn_cl_row_text_free(&t->text);
    mgn_free(t->wide.externals);
    mgn_free(t->wide.steps);
    mgn_free(t->finish.externals);
    mgn_free(t->finish.steps);
}
