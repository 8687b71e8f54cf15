/* Wide programs (backend/wide_program.h) as one generated kernel each.
 *
 * A work-item has a column, or a vector of neighbouring ones, and walks down a chunk of rows with every value in
 * registers; vectors that all rows share are loaded once, and sums over rows are registers too. Chunks' sums meet in a
 * second launch, `finish`, in the order of the chunks. What is summed over columns goes to scratch memory as a matrix and
 * through the ordinary reduction.
 *
 * Numbers that differ between plans of one structure, such as sizes and offsets, are arguments and no part of the text. */
#include "backend/wide_program.h"

#include <string.h>

#include "backend/opencl/row_text.h"

/* Rows of a chunk; chunks at most; operations that a compiler is trusted with; blocks of memory that a kernel takes. */
enum { CHUNK_ROWS = 32, MOST_CHUNKS = 64, MOST_WEIGHT = 6000, MOST_EXTERNALS = 96 };

typedef struct writer {
    const mgn_wide_program *program;
    mgn_cl_row_text text;
    bool *is_loaded; /* by external: a variable holds it */
    int32_t columns_summed, totals, rows_summed;
} writer;

/* What an external is to a row of the loop. */
static bool is_whole(const mgn_wide_external *e) { return e->row_stride != 0; }

/* ---- text ---- */

static void print_external(writer *w, int32_t index) {
    const mgn_wide_external *e = &w->program->externals[index];
    if (w->is_loaded[index]) return;
    w->is_loaded[index] = true;
    const int i = (int)index;
    mgn_cl_put(&w->text, "const R x%d = ", i);
    mgn_cl_put(&w->text, e->column_stride ? "m_load(e%d + o%d" : "(R)(e%d[o%d", i, i);
    if (is_whole(e)) mgn_cl_put(&w->text, " + row * n%d", i);
    mgn_cl_put(&w->text, e->column_stride ? " + column, 1, lanes);\n" : "]);\n");
}

static void print_source(writer *w, mgn_wide_source source) {
    switch (source.sort) {
    case MGN_WIDE_VALUE: mgn_cl_put(&w->text, "v%d", (int)source.index); break;
    case MGN_WIDE_EXTERNAL: mgn_cl_put(&w->text, "x%d", (int)source.index); break;
    default: mgn_cl_put(&w->text, "(R)((real)(%.17g))", w->program->constants[source.index]);
    }
}

static void print_store(writer *w, int32_t external, mgn_wide_source value) {
    const int e = (int)external;
    mgn_cl_put(&w->text, "m_store(");
    print_source(w, value);
    mgn_cl_put(&w->text, ", e%d + o%d + row * n%d + column, 1, lanes);\n", e, e, e);
}

static void print_elementwise(writer *w, int32_t n) {
    const mgn_wide_instruction *i = &w->program->instructions[n];
    mgn_cl_put(&w->text, "R v%d; { ", (int)n);
    for (int32_t k = 0; k < i->inputs; k++) {
        mgn_cl_put(&w->text, "const R %c = ", "abc"[k]);
        print_source(w, i->in[k]);
        mgn_cl_put(&w->text, "; ");
    }
    mgn_cl_put(&w->text, "v%d = %s; }\n", (int)n, mgn_op_infos[i->op].expression);
    if (i->external >= 0) print_store(w, i->external, (mgn_wide_source){MGN_WIDE_VALUE, n});
}

static void print_sum(writer *w, int32_t n) {
    const mgn_wide_instruction *i = &w->program->instructions[n];
    if (i->opcode == MGN_WIDE_ROW_SUM) {
        mgn_cl_put(&w->text, "m_store(");
        print_source(w, i->in[0]);
        mgn_cl_put(&w->text, ", rows_of + rows_at + (%d * rows + row) * columns + column, 1, lanes);\n",
                   (int)w->rows_summed++);
        return;
    }
    const bool total = i->opcode == MGN_WIDE_TOTAL_SUM;
    mgn_cl_put(&w->text, "%c%d += ", total ? 't' : 's', (int)(total ? w->totals++ : w->columns_summed++));
    print_source(w, i->in[0]);
    mgn_cl_put(&w->text, ";\n");
}

static void print_arguments(writer *w) {
    for (int32_t e = 0; e < w->program->external_count; e++)
        mgn_cl_put(&w->text, "global real *e%d, ulong o%d, ", (int)e, (int)e);
}

static void print_rows(writer *w) {
    mgn_cl_put(&w->text, "for (ulong row = begin; row < end; row++) {\n");
    for (int32_t n = 0; n < w->program->count; n++) {
        const mgn_wide_instruction *i = &w->program->instructions[n];
        for (int32_t k = 0; k < i->inputs; k++)
            if (i->in[k].sort == MGN_WIDE_EXTERNAL) print_external(w, i->in[k].index);
        if (i->opcode == MGN_WIDE_ELEMENTWISE)
            print_elementwise(w, n);
        else
            print_sum(w, n);
    }
    mgn_cl_put(&w->text, "}\n");
}

/* Everything that rows share, in front of their loop. */
static void print_shared(writer *w) {
    for (int32_t n = 0; n < w->program->count; n++) {
        const mgn_wide_instruction *i = &w->program->instructions[n];
        for (int32_t k = 0; k < i->inputs; k++) {
            const bool external = i->in[k].sort == MGN_WIDE_EXTERNAL;
            if (external && !is_whole(&w->program->externals[i->in[k].index])) print_external(w, i->in[k].index);
        }
        if (i->opcode == MGN_WIDE_COLUMN_SUM) mgn_cl_put(&w->text, "R s%d = (R)0;\n", (int)w->columns_summed++);
        if (i->opcode == MGN_WIDE_TOTAL_SUM) mgn_cl_put(&w->text, "R t%d = (R)0;\n", (int)w->totals++);
    }
}

static const char head[] = "const ulong spans = (columns + span - 1) / span, part = get_group_id(0) / spans;\n"
                           "const ulong first = get_group_id(0) % spans * span, behind = min(first + span, columns);\n";

static const char column_loop[] =
    "for (ulong column = first + get_local_id(0) * MGN_WIDTH; column < behind; column += MGN_GROUP * MGN_WIDTH) {\n"
    "const uint lanes = (uint)min((ulong)MGN_WIDTH, behind - column);\n";

static void print_wide(writer *w) {
    mgn_cl_put(&w->text, "\nMGN_KERNEL void wide(");
    print_arguments(w);
    mgn_cl_put(&w->text, "global real *partial, ulong partial_at, global real *total, ulong total_at, "
                         "global real *rows_of, ulong rows_at, ulong rows, ulong columns, ulong chunk, ulong span");
    for (int32_t e = 0; e < w->program->external_count; e++) mgn_cl_put(&w->text, ", ulong n%d", (int)e);
    mgn_cl_put(&w->text, ") {\n%s", head);
    mgn_cl_put(&w->text, "const ulong begin = part * chunk, end = min(begin + chunk, rows);\n"
                         "const ulong parts = (rows + chunk - 1) / chunk;\n");
    mgn_cl_put(&w->text, "%s", column_loop);
    print_shared(w);
    const int32_t sums = w->columns_summed, totals = w->totals;
    w->columns_summed = w->totals = 0;
    print_rows(w);
    for (int32_t s = 0; s < sums; s++)
        mgn_cl_put(&w->text, "m_store(s%d, partial + partial_at + (part * %d + %d) * columns + column, 1, lanes);\n",
                   (int)s, (int)sums, (int)s);
    for (int32_t s = 0; s < totals; s++)
        mgn_cl_put(&w->text, "m_store(t%d, total + total_at + (%d * parts + part) * columns + column, 1, lanes);\n",
                   (int)s, (int)s);
    mgn_cl_put(&w->text, "}\n}\n");
}

/* The k-th sum of a sort: its instruction. */
static const mgn_wide_instruction *find_sum(const writer *w, mgn_wide_opcode opcode, int32_t k) {
    for (int32_t n = 0; n < w->program->count; n++)
        if (w->program->instructions[n].opcode == opcode && k-- == 0) return &w->program->instructions[n];
    return NULL;
}

static void print_finish(writer *w) {
    mgn_cl_put(&w->text, "\nMGN_KERNEL void finish(");
    print_arguments(w);
    mgn_cl_put(&w->text, "global const real *partial, ulong partial_at, ulong columns, ulong parts, ulong span) {\n%s",
               head);
    mgn_cl_put(&w->text, "global real *to = e0;\nswitch ((int)part) {\n");
    for (int32_t s = 0; s < w->columns_summed; s++) {
        const int e = (int)find_sum(w, MGN_WIDE_COLUMN_SUM, s)->external;
        mgn_cl_put(&w->text, "case %d: to = e%d + o%d; break;\n", (int)s, e, e);
    }
    mgn_cl_put(&w->text, "}\n%s", column_loop);
    mgn_cl_put(&w->text,
               "global const real *from = partial + partial_at + part * columns + column;\n"
               "R sum = m_load(from, 1, lanes);\n"
               "for (ulong k = 1; k < parts; k++) sum += m_load(from + k * %d * columns, 1, lanes);\n"
               "m_store(sum, to + column, 1, lanes);\n}\n}\n",
               (int)w->columns_summed);
}

static int64_t weight_of(const mgn_wide_program *program) {
    int64_t weight = 0;
    for (int32_t n = 0; n < program->count; n++) weight += 1 + mgn_op_infos[program->instructions[n].op].flops;
    return weight;
}

/* ---- launches ---- */

/* How the matrix is cut: by its size alone for what sums depend on, by the device's for the rest. */
typedef struct cut {
    uint64_t rows, columns, chunk, parts, span, spans;
} cut;

static cut cut_matrix(const mgn_cl_device *device, const mgn_wide_program *program) {
    const uint64_t rows = (uint64_t)program->rows, columns = (uint64_t)program->columns;
    const uint64_t unit = device->vectors ? 64 : MGN_CL_GROUP;
    cut c = {.rows = rows, .columns = columns};
    c.chunk = MGN_MAX(CHUNK_ROWS, mgn_cl_ceil_div(rows, MOST_CHUNKS));
    c.parts = mgn_cl_ceil_div(rows, c.chunk);
    const uint64_t wanted = mgn_cl_ceil_div(mgn_cl_groups(device, UINT64_MAX / 2, 1), c.parts);
    c.span = mgn_cl_ceil_div(mgn_cl_ceil_div(columns, unit), wanted) * unit;
    c.spans = mgn_cl_ceil_div(columns, c.span);
    return c;
}

static mgn_cl_place place_of(const mgn_wide_external *e) { return (mgn_cl_place){e->memory, (uint64_t)e->offset}; }

/* The kernels, with the externals' places in front and room for four more behind. */
static mgn_status emit(mgn_cl_builder *builder, const writer *w, const cut *c, mgn_cl_place *places,
                       uint64_t *numbers) {
    const mgn_wide_program *program = w->program;
    const size_t externals = (size_t)program->external_count;
    const uint64_t sums = (uint64_t)w->columns_summed, totals = (uint64_t)w->totals, of_rows = (uint64_t)w->rows_summed;
    mgn_cl_place partial, total, rows_of;
    MGN_TRY(mgn_cl_scratch(builder, program->real, sums * c->parts * c->columns, &partial));
    MGN_TRY(mgn_cl_scratch(builder, program->real, totals * c->parts * c->columns, &total));
    MGN_TRY(mgn_cl_scratch(builder, program->real, of_rows * c->rows * c->columns, &rows_of));
    for (size_t e = 0; e < externals; e++) {
        places[e] = place_of(&program->externals[e]);
        numbers[4 + e] = (uint64_t)program->externals[e].row_stride;
    }
    memcpy(places + externals, (mgn_cl_place[]){partial, total, rows_of}, 3 * sizeof *places);
    memcpy(numbers, (uint64_t[]){c->rows, c->columns, c->chunk, c->span}, 4 * sizeof *numbers);
    MGN_TRY(mgn_cl_emit_made(builder, "program", program->real, w->text.text, "wide", c->parts * c->spans, places,
                             externals + 3, numbers, externals + 4));
    if (sums > 0) {
        memcpy(numbers, (uint64_t[]){c->columns, c->parts, c->span}, 3 * sizeof *numbers);
        MGN_TRY(mgn_cl_emit_made(builder, "program", program->real, w->text.text, "finish", sums * c->spans, places,
                                 externals + 1, numbers, 3));
    }
    for (uint64_t s = 0; s < totals; s++) {
        const mgn_cl_place to = place_of(&program->externals[find_sum(w, MGN_WIDE_TOTAL_SUM, (int32_t)s)->external]);
        const mgn_cl_place from = {NULL, total.at + s * c->parts * c->columns};
        MGN_TRY(mgn_cl_emit_sum(builder, program->real, from, to, 1, c->parts * c->columns, 1));
    }
    for (uint64_t s = 0; s < of_rows; s++) {
        const mgn_cl_place to = place_of(&program->externals[find_sum(w, MGN_WIDE_ROW_SUM, (int32_t)s)->external]);
        const mgn_cl_place from = {NULL, rows_of.at + s * c->rows * c->columns};
        MGN_TRY(mgn_cl_emit_sum(builder, program->real, from, to, c->rows, c->columns, 1));
    }
    return MGN_OK;
}

static mgn_status build(mgn_cl_builder *builder, writer *w) {
    const size_t externals = (size_t)w->program->external_count;
    const cut c = cut_matrix(builder->device, w->program);
    w->is_loaded = mgn_alloc(externals, sizeof *w->is_loaded);
    if (!w->is_loaded) return MGN_ERR_MEMORY;
    print_wide(w);
    if (w->columns_summed > 0) print_finish(w);
    if (w->text.failed) return MGN_ERR_MEMORY;
    mgn_cl_place *places = mgn_alloc(externals + 3, sizeof *places);
    uint64_t *numbers = mgn_alloc(externals + 4, sizeof *numbers);
    const mgn_status status = places && numbers ? emit(builder, w, &c, places, numbers) : MGN_ERR_MEMORY;
    mgn_free(places);
    mgn_free(numbers);
    return status;
}

mgn_status mgn_cl_wide_create(mgn_device *handle, const mgn_wide_program *program, mgn_program **out) {
    if (program->real == MGN_F64 && !handle->info.has_f64)
        return mgn_fail(MGN_ERR_UNSUPPORTED, "a wide program in float64: %s (%s) has float32 only", handle->info.spec,
                        handle->info.name);
    if (program->external_count > MOST_EXTERNALS || weight_of(program) > MOST_WEIGHT)
        return mgn_fail(MGN_ERR_UNSUPPORTED, "a wide program of %d instructions on %d blocks of memory is too large",
                        (int)program->count, (int)program->external_count);
    const mgn_call call = {.op = MGN_OP_sum}; /* what errors call it */
    mgn_cl_builder builder = {.device = mgn_cl_of(handle), .call = &call};
    writer w = {.program = program};
    builder.program = mgn_alloc(1, sizeof *builder.program);
    const mgn_status status = builder.program ? build(&builder, &w) : MGN_ERR_MEMORY;
    mgn_free(w.is_loaded);
    mgn_cl_row_text_free(&w.text);
    return mgn_cl_builder_end(&builder, status, out);
}
