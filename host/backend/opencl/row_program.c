/* Row programs on OpenCL: the kernels that row_print.c writes, their memory, and running them (see row_text.h). */
#include "backend/opencl/row_text.h"

#include <stdio.h>

/* Programs that a compiler would take too long for run as single calls instead. */
enum { MOST_WEIGHT = 6000, MOST_EXTERNALS = 96 };
/* Of compilers that make vectors of work-items: LLVM takes minutes there for 4000 operations (rusticl). */
enum { MOST_WEIGHT_OF_ITEMS = 3000 };

/* Rows that one work-group is trusted with, and the most steps of a launch: a GPU's watchdog wants the screen back. */
enum { MOST_SINGLE_ROWS = 2048, MOST_STEPS = 4096 };

/* Kernel arguments; then, over a work-group, local memory for places and for sums; then the externals. */
enum { ARGUMENT_SHARED, ARGUMENT_INDEX, ARGUMENT_PARTIAL, ARGUMENT_TABLE, ARGUMENT_COUNT, ARGUMENT_MORE };

struct mgn_cl_row_program {
    bool single;
    cl_mem shared, index, partial, table;
    size_t group, chunks;
    cl_kernel begin; /* or the only one */
    int32_t part_count;
    cl_kernel rows[MGN_CL_MOST_ROW_SECTIONS], behind[MGN_CL_MOST_ROW_SECTIONS]; /* NULL: nothing to do */
};

/* ---- memory ---- */

static mgn_status create_buffer(mgn_cl_device *device, uint64_t bytes, const void *from, size_t from_bytes,
                                cl_mem *buffer) {
    MGN_TRY(mgn_cl_buffer_create(device, bytes, "a row program", buffer));
    if (from_bytes == 0) return MGN_OK;
    const cl_int code = clEnqueueWriteBuffer(device->queue, *buffer, CL_TRUE, 0, from_bytes, from, 0, NULL, NULL);
    return mgn_cl_check(device, code, "filling the memory of a row program");
}

/* The constants, with room behind all places for a vector that is read as a whole. */
static mgn_status create_shared(mgn_cl_device *device, const mgn_cl_row_text *t, cl_mem *buffer) {
    const mgn_row_program *program = t->program;
    const size_t size = mgn_dtype_size(program->real), count = (size_t)program->constants;
    void *constants = mgn_alloc(count, size);
    if (!constants) return MGN_ERR_MEMORY;
    for (size_t i = 0; i < count; i++) {
        if (program->real == MGN_F64)
            ((double *)constants)[i] = program->constant_values[i];
        else
            ((float *)constants)[i] = (float)program->constant_values[i];
    }
    const uint64_t places = (uint64_t)program->shared_places + (uint64_t)t->spare + (uint64_t)t->width;
    const mgn_status status = create_buffer(device, places * size, constants, count * size, buffer);
    mgn_free(constants);
    return status;
}

static mgn_status create_memory(mgn_cl_device *device, mgn_cl_row_program *p, const mgn_cl_row_text *t) {
    const uint64_t partial = (uint64_t)mgn_cl_partial_places(t) * p->chunks * mgn_dtype_size(t->program->real);
    MGN_TRY(create_shared(device, t, &p->shared));
    MGN_TRY(create_buffer(device, mgn_cl_kept_words(t) * sizeof(cl_uint), NULL, 0, &p->index));
    MGN_TRY(create_buffer(device, partial, NULL, 0, &p->partial));
    const size_t bytes = (size_t)t->table_count * sizeof *t->table;
    return create_buffer(device, bytes, t->table, bytes, &p->table);
}

/* ---- kernels ---- */

static mgn_status set_arguments(mgn_cl_device *device, const mgn_cl_row_program *p, const mgn_cl_row_text *t,
                                cl_kernel kernel) {
    const mgn_row_program *program = t->program;
    const cl_mem buffers[] = {[ARGUMENT_SHARED] = p->shared,
                              [ARGUMENT_INDEX] = p->index,
                              [ARGUMENT_PARTIAL] = p->partial,
                              [ARGUMENT_TABLE] = p->table};
    const cl_uint count = 1;
    cl_uint more = ARGUMENT_MORE;
    cl_int code = clSetKernelArg(kernel, ARGUMENT_COUNT, sizeof count, &count);
    for (cl_uint i = 0; i < MGN_COUNT(buffers) && code == CL_SUCCESS; i++)
        code = clSetKernelArg(kernel, i, sizeof buffers[i], &buffers[i]);
    const size_t size = mgn_dtype_size(program->real);
    const size_t local[] = {mgn_cl_local_places(t) * size, mgn_cl_local_sums(t) * MGN_CL_GROUP * size};
    for (size_t i = 0; !t->vectors && i < MGN_COUNT(local) && code == CL_SUCCESS; i++)
        code = clSetKernelArg(kernel, more++, local[i], NULL);
    for (int32_t e = 0; e < program->external_count && code == CL_SUCCESS; e++)
        code = clSetKernelArg(kernel, more++, sizeof(cl_mem), &program->externals[e].memory->buffer);
    return mgn_cl_check(device, code, "setting the arguments of a row program");
}

static mgn_status create_kernel(mgn_cl_device *device, const mgn_cl_row_program *p, const mgn_cl_row_text *t,
                                const char *name, int number, cl_kernel *kernel) {
    char label[32];
    snprintf(label, sizeof label, number < 0 ? "%s" : "%s%d", name, number);
    MGN_TRY(mgn_cl_kernel_create_with(device, "program", t->program->real, "", t->text, label, kernel));
    return set_arguments(device, p, t, *kernel);
}

static mgn_status create_kernels(mgn_cl_device *device, mgn_cl_row_program *p, const mgn_cl_row_text *t) {
    if (t->single) return create_kernel(device, p, t, "single", -1, &p->begin);
    if (t->has_begin) MGN_TRY(create_kernel(device, p, t, "begin", -1, &p->begin));
    p->part_count = t->part_count;
    for (int32_t k = 0; k < t->part_count; k++) {
        MGN_TRY(create_kernel(device, p, t, "rows", (int)k, &p->rows[k]));
        if (t->parts[k].has_shared) MGN_TRY(create_kernel(device, p, t, "shared", (int)k, &p->behind[k]));
    }
    return MGN_OK;
}

/* ---- life ---- */

void mgn_cl_row_program_destroy(mgn_cl_device *device, mgn_cl_row_program *p) {
    if (!p) return;
    const cl_mem buffers[] = {p->shared, p->index, p->partial, p->table};
    for (size_t i = 0; i < MGN_COUNT(buffers); i++) mgn_cl_buffer_release(device, buffers[i]);
    if (p->begin) clReleaseKernel(p->begin);
    for (int32_t k = 0; k < MGN_CL_MOST_ROW_SECTIONS; k++) {
        if (p->rows[k]) clReleaseKernel(p->rows[k]);
        if (p->behind[k]) clReleaseKernel(p->behind[k]);
    }
    mgn_free(p);
}

/* How rows are cut for work-groups: by their number alone, so that results do not depend on the device's size. */
static uint64_t choose_chunk(bool vectors, uint64_t rows) {
    if (vectors) return MGN_MIN(MGN_MAX(rows / 64 / 128 * 128, 512), 8192);
    return MGN_MAX(mgn_cl_ceil_div(rows, 1024 * MGN_CL_GROUP) * MGN_CL_GROUP, MGN_CL_GROUP);
}

static mgn_status build(mgn_cl_device *device, mgn_cl_row_program *p, mgn_cl_row_text *t,
                        const mgn_row_program *program) {
    const uint64_t rows = (uint64_t)program->rows, chunk = choose_chunk(t->vectors, rows);
    t->single = rows <= MOST_SINGLE_ROWS;
    MGN_TRY(mgn_cl_row_text_make(t, program, chunk));
    const bool is_slow = device->base.info.is_cpu && device->native_width == 1;
    if (t->weight > (is_slow ? MOST_WEIGHT_OF_ITEMS : MOST_WEIGHT))
        return mgn_fail(MGN_ERR_UNSUPPORTED, "a row program of %lld operations would take too long to compile",
                        (long long)t->weight);
    p->single = t->single;
    p->group = device->group;
    p->chunks = (size_t)mgn_cl_ceil_div(rows, chunk);
    MGN_TRY(create_memory(device, p, t));
    return create_kernels(device, p, t);
}

mgn_status mgn_cl_rows_create(mgn_device *handle, const mgn_row_program *program, mgn_program **out) {
    mgn_cl_device *device = mgn_cl_of(handle);
    if (program->real == MGN_F64 && !handle->info.has_f64)
        return mgn_fail(MGN_ERR_UNSUPPORTED, "a row program in float64: %s (%s) has float32 only", handle->info.spec,
                        handle->info.name);
    if (program->external_count > MOST_EXTERNALS)
        return mgn_fail(MGN_ERR_UNSUPPORTED, "a row program on %d blocks of memory; kernels take %d",
                        (int)program->external_count, MOST_EXTERNALS);
    mgn_cl_row_text text = {.vectors = device->vectors, .width = (int32_t)mgn_cl_lanes(device, program->real)};
    mgn_program *wrapped = mgn_alloc(1, sizeof *wrapped);
    mgn_cl_row_program *p = mgn_alloc(1, sizeof *p);
    mgn_status status = wrapped && p ? build(device, p, &text, program) : MGN_ERR_MEMORY;
    mgn_cl_row_text_free(&text);
    if (status == MGN_OK) {
        wrapped->rows = p;
        *out = wrapped;
        return MGN_OK;
    }
    mgn_cl_row_program_destroy(device, p);
    mgn_free(wrapped);
    return status;
}

/* ---- running ---- */

static mgn_status launch(mgn_cl_device *device, cl_kernel kernel, size_t global, size_t local) {
    cl_event end = NULL;
    const cl_int code = clEnqueueNDRangeKernel(device->queue, kernel, 1, NULL, &global, &local, 0, NULL,
                                               mgn_cl_ends_batch(device) ? &end : NULL);
    MGN_TRY(mgn_cl_check(device, code, "running a row program"));
    return mgn_cl_count_command(device, end);
}

static mgn_status launch_count(mgn_cl_device *device, cl_kernel kernel, uint32_t count, size_t group) {
    const cl_uint value = count;
    MGN_TRY(mgn_cl_check(device, clSetKernelArg(kernel, ARGUMENT_COUNT, sizeof value, &value),
                         "setting the steps of a row program"));
    return launch(device, kernel, group, group);
}

mgn_status mgn_cl_row_program_run(mgn_cl_device *device, mgn_cl_row_program *p, uint64_t times) {
    if (times == 0) return MGN_OK;
    for (uint64_t done = 0; p->single && done < times; done += MOST_STEPS)
        MGN_TRY(launch_count(device, p->begin, (uint32_t)MGN_MIN(times - done, MOST_STEPS), p->group));
    if (p->single) return MGN_OK;
    if (p->begin) MGN_TRY(launch(device, p->begin, p->group, p->group));
    for (uint64_t t = 0; t < times; t++)
        for (int32_t k = 0; k < p->part_count; k++) {
            MGN_TRY(launch(device, p->rows[k], p->chunks * p->group, p->group));
            if (!p->behind[k]) continue;
            if (k == p->part_count - 1)
                MGN_TRY(launch_count(device, p->behind[k], t + 1 < times, p->group));
            else
                MGN_TRY(launch(device, p->behind[k], p->group, p->group));
        }
    return MGN_OK;
}
