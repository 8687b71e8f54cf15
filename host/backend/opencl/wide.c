/* Wide programs (backend/wide_program.h) as generated kernels: the values of an element stay in registers from the first
 * instruction to the last. Here a matrix is cut and kernels are launched; wide_text.h says how their text comes about.
 *
 * A work-item walks a chunk of rows in a span of columns. Sums over rows are kept for each chunk and added by a second
 * launch, so that their order depends on the matrix alone. */
#include "backend/opencl/wide_text.h"

#include <string.h>

/* Rows of a chunk; chunks at most; operations that a compiler is trusted with; blocks of memory that a kernel takes. */
enum { CHUNK_ROWS = 32, MOST_CHUNKS = 64, MOST_WEIGHT = 6000, MOST_EXTERNALS = 96 };

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

/* A launch of one of the text's kernels: the externals' places, `places`, numbers, row strides (`wide` has them), distances. */
static mgn_status emit_kernel(mgn_cl_builder *builder, const mgn_wide_program *program, const mgn_cl_wide_text *t,
                              const mgn_cl_wide_arguments *arguments, uint64_t groups, const mgn_cl_place *places,
                              size_t place_count, const uint64_t *numbers, size_t number_count) {
    const bool is_wide = arguments == &t->wide;
    const size_t externals = (size_t)arguments->external_count, steps = (size_t)arguments->step_count;
    mgn_cl_place *all_places = mgn_alloc(externals + place_count, sizeof *all_places);
    uint64_t *all_numbers = mgn_alloc(number_count + externals + steps, sizeof *all_numbers);
    mgn_status status = all_places && all_numbers ? MGN_OK : MGN_ERR_MEMORY;
    if (status == MGN_OK) {
        size_t used = number_count;
        memcpy(all_numbers, numbers, number_count * sizeof *numbers);
        for (size_t e = 0; e < externals; e++) {
            const mgn_wide_external *external = &program->externals[arguments->externals[e]];
            all_places[e] = place_of(external);
            if (is_wide) all_numbers[used++] = (uint64_t)external->row_stride;
        }
        for (size_t d = 0; d < steps; d++) all_numbers[used++] = (uint64_t)arguments->steps[d];
        memcpy(all_places + externals, places, place_count * sizeof *places);
        status = mgn_cl_emit_made(builder, "wide", program->real, t->text.text, is_wide ? "wide" : "finish", groups,
                                  all_places, externals + place_count, all_numbers, used);
    }
    mgn_free(all_places);
    mgn_free(all_numbers);
    return status;
}

static mgn_status emit(mgn_cl_builder *builder, const mgn_wide_program *program, const mgn_cl_wide_text *t) {
    const cut c = cut_matrix(builder->device, program);
    const uint64_t sums = (uint64_t)t->columns_summed, totals = (uint64_t)t->totals, of_rows = (uint64_t)t->rows_summed;
    mgn_cl_place partial, total, rows_of;
    MGN_TRY(mgn_cl_scratch(builder, program->real, sums * c.parts * c.columns, &partial));
    MGN_TRY(mgn_cl_scratch(builder, program->real, totals * c.parts * c.columns, &total));
    MGN_TRY(mgn_cl_scratch(builder, program->real, of_rows * c.rows * c.columns, &rows_of));
    MGN_TRY(emit_kernel(builder, program, t, &t->wide, c.parts * c.spans, (mgn_cl_place[]){partial, total, rows_of}, 3,
                        (uint64_t[]){c.rows, c.columns, c.chunk, c.span}, 4));
    if (sums > 0)
        MGN_TRY(emit_kernel(builder, program, t, &t->finish, sums * c.spans, &partial, 1,
                            (uint64_t[]){c.columns, c.parts, c.span}, 3));
    for (uint64_t s = 0; s < totals; s++) {
        const mgn_wide_instruction *sum = mgn_cl_wide_sum(program, MGN_WIDE_TOTAL_SUM, (int32_t)s);
        const mgn_cl_place from = {NULL, total.at + s * c.parts * c.columns};
        MGN_TRY(mgn_cl_emit_sum(builder, program->real, from, place_of(&program->externals[sum->external]), 1,
                                c.parts * c.columns, 1));
    }
    for (uint64_t s = 0; s < of_rows; s++) {
        const mgn_wide_instruction *sum = mgn_cl_wide_sum(program, MGN_WIDE_ROW_SUM, (int32_t)s);
        const mgn_cl_place from = {NULL, rows_of.at + s * c.rows * c.columns};
        MGN_TRY(mgn_cl_emit_sum(builder, program->real, from, place_of(&program->externals[sum->external]), c.rows,
                                c.columns, 1));
    }
    return MGN_OK;
}

static mgn_status build(mgn_cl_builder *builder, const mgn_wide_program *program, mgn_cl_wide_text *t) {
    const mgn_cl_device *device = builder->device;
    MGN_TRY(mgn_cl_wide_text_make(t, program, device->vectors ? device->native_width : 0));
    if (t->wide.external_count > MOST_EXTERNALS || t->finish.external_count > MOST_EXTERNALS || t->weight > MOST_WEIGHT)
        return mgn_fail(MGN_ERR_UNSUPPORTED, "a wide program of %d instructions on %d blocks of memory is too large",
                        (int)program->count, (int)t->wide.external_count);
    return emit(builder, program, t);
}

mgn_status mgn_cl_wide_create(mgn_device *handle, const mgn_wide_program *program, mgn_program **out) {
    if (program->real == MGN_F64 && !handle->info.has_f64)
        return mgn_fail(MGN_ERR_UNSUPPORTED, "a wide program in float64: %s (%s) has float32 only", handle->info.spec,
                        handle->info.name);
    const mgn_call call = {.op = MGN_OP_sum}; /* what errors call it */
    mgn_cl_builder builder = {.device = mgn_cl_of(handle), .call = &call};
    mgn_cl_wide_text text = {0};
    builder.program = mgn_alloc(1, sizeof *builder.program);
    const mgn_status status = builder.program ? build(&builder, program, &text) : MGN_ERR_MEMORY;
    mgn_cl_wide_text_free(&text);
    return mgn_cl_builder_end(&builder, status, out);
}
