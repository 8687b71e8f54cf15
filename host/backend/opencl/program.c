/* A list of calls as a list of launches, and running it.
 *
 * Each launch has a kernel object of its own, whose arguments are set once when the program is made; running only
 * enqueues. Operands are a buffer and an offset in elements (sub-buffers would have to be aligned). The queue is in
 * order, so launches need no events, and one block of scratch memory serves all calls of a program. */
#include "backend/opencl/opencl.h"

#include <string.h>

typedef mgn_status emit_function(mgn_cl_builder *builder);

/* One entry per op that has a kernel, from the table itself: a family without a function does not build. */
static emit_function *const emit_functions[MGN_OP_COUNT] = {
#define MGN_UNARY(op, ...) [MGN_OP_##op] = mgn_cl_emit_elementwise,
#define MGN_BINARY(op, ...) [MGN_OP_##op] = mgn_cl_emit_elementwise,
#define MGN_TERNARY(op, ...) [MGN_OP_##op] = mgn_cl_emit_elementwise,
#define MGN_KERNEL(op, family, ulps) [MGN_OP_##op] = mgn_cl_emit_##family,
#include "graph/ops.def"
};

uint64_t mgn_cl_groups(const mgn_cl_device *device, uint64_t items, uint64_t grain) {
    const uint64_t units = (uint64_t)MGN_MAX(device->base.info.compute_units, 1);
    const uint64_t wanted = mgn_cl_ceil_div(items, device->vectors ? grain : device->group);
    /* Some groups more than units, so that a busy unit does not hold up the others. */
    return MGN_MIN(wanted, device->vectors ? units * 4 : units * 32);
}

mgn_status mgn_cl_scratch(mgn_cl_builder *builder, mgn_dtype dtype, uint64_t elements, mgn_cl_place *place) {
    /* Aligned to whole vectors of the widest kind, so that kernels may use it as such. */
    const uint64_t align = 128, size = mgn_dtype_size(dtype);
    if (elements > (UINT64_MAX / 2 - builder->scratch_used) / size)
        return mgn_fail(MGN_ERR_MEMORY, "%s needs scratch memory for %llu elements",
                        mgn_op_infos[builder->call->op].label, (unsigned long long)elements);
    elements = MGN_MAX(elements, 1);
    *place = (mgn_cl_place){NULL, builder->scratch_used / size};
    builder->scratch_used += (elements * size + align - 1) / align * align;
    builder->scratch_bytes = MGN_MAX(builder->scratch_bytes, builder->scratch_used);
    return MGN_OK;
}

static mgn_status push_launch(mgn_cl_builder *builder, const mgn_cl_launch *launch) {
    mgn_program *program = builder->program;
    if (program->count == program->capacity) {
        const size_t capacity = program->capacity ? program->capacity * 2 : 32;
        mgn_cl_launch *grown = mgn_realloc(program->launches, capacity, sizeof *grown);
        if (!grown) return MGN_ERR_MEMORY;
        program->launches = grown;
        program->capacity = capacity;
    }
    program->launches[program->count++] = *launch;
    return MGN_OK;
}

/* Notes that an argument of the launch being made is the scratch memory, which is created when its size is known. */
static mgn_status push_pending(mgn_cl_builder *builder, cl_uint argument) {
    if (builder->pending_count == builder->pending_capacity) {
        const size_t capacity = builder->pending_capacity ? builder->pending_capacity * 2 : 16;
        mgn_cl_pending *grown = mgn_realloc(builder->pending, capacity, sizeof *grown);
        if (!grown) return MGN_ERR_MEMORY;
        builder->pending = grown;
        builder->pending_capacity = capacity;
    }
    builder->pending[builder->pending_count++] = (mgn_cl_pending){builder->program->count - 1, argument};
    return MGN_OK;
}

/* A place is a buffer and where its elements begin. */
static mgn_status set_place(mgn_cl_builder *builder, cl_kernel kernel, cl_uint argument, mgn_cl_place place,
                            cl_int *code) {
    const cl_ulong at = place.at;
    *code = CL_SUCCESS;
    if (place.memory)
        *code = clSetKernelArg(kernel, argument, sizeof(cl_mem), &place.memory->buffer);
    else
        MGN_TRY(push_pending(builder, argument));
    if (*code == CL_SUCCESS) *code = clSetKernelArg(kernel, argument + 1, sizeof at, &at);
    return MGN_OK;
}

static mgn_status set_arguments(mgn_cl_builder *builder, cl_kernel kernel, const char *types, va_list values) {
    cl_uint argument = 0;
    cl_int code = CL_SUCCESS;
    for (const char *type = types; *type && code == CL_SUCCESS; type++) {
        if (*type == 'p') {
            MGN_TRY(set_place(builder, kernel, argument, va_arg(values, mgn_cl_place), &code));
            argument += 2;
        } else if (*type == 'u') {
            const cl_ulong value = va_arg(values, uint64_t);
            code = clSetKernelArg(kernel, argument++, sizeof value, &value);
        } else {
            const uint64_t *four = va_arg(values, const uint64_t *);
            const cl_ulong4 value = {.s = {four[0], four[1], four[2], four[3]}};
            code = clSetKernelArg(kernel, argument++, sizeof value, &value);
        }
    }
    return mgn_cl_check(builder->device, code, "setting argument %u of the kernel for %s", argument - 1,
                        mgn_op_infos[builder->call->op].label);
}

/* A launch without arguments yet; its kernel is the program's. */
static mgn_status make_launch(mgn_cl_builder *builder, const char *family, mgn_dtype dtype, const char *defines,
                              const char *tail, const char *name, uint64_t groups, cl_kernel *kernel) {
    mgn_cl_device *device = builder->device;
    if (groups > SIZE_MAX / device->group)
        return mgn_fail(MGN_ERR_UNSUPPORTED, "%s is too large for one launch", mgn_op_infos[builder->call->op].label);
    mgn_cl_launch launch = {.op = builder->call->op, .global = (size_t)groups * device->group, .local = device->group};
    MGN_TRY(mgn_cl_kernel_create_with(device, family, dtype, defines, tail, name, &launch.kernel));
    *kernel = launch.kernel;
    const mgn_status status = push_launch(builder, &launch);
    if (status != MGN_OK) clReleaseKernel(launch.kernel);
    return status;
}

mgn_status mgn_cl_emit(mgn_cl_builder *builder, const char *family, mgn_dtype dtype, const char *defines,
                       const char *name, uint64_t groups, const char *types, ...) {
    if (groups == 0) return MGN_OK;
    cl_kernel kernel;
    MGN_TRY(make_launch(builder, family, dtype, defines, "", name, groups, &kernel));
    va_list values;
    va_start(values, types);
    const mgn_status status = set_arguments(builder, kernel, types, values);
    va_end(values);
    return status;
}

mgn_status mgn_cl_emit_made(mgn_cl_builder *builder, const char *family, mgn_dtype dtype, const char *tail,
                            const char *name, uint64_t groups, const mgn_cl_place *places, size_t place_count,
                            const uint64_t *numbers, size_t number_count) {
    cl_kernel kernel;
    MGN_TRY(make_launch(builder, family, dtype, "", tail, name, groups, &kernel));
    cl_int code = CL_SUCCESS;
    cl_uint argument = 0;
    for (size_t i = 0; i < place_count && code == CL_SUCCESS; i++, argument += 2)
        MGN_TRY(set_place(builder, kernel, argument, places[i], &code));
    for (size_t i = 0; i < number_count && code == CL_SUCCESS; i++) {
        const cl_ulong value = numbers[i];
        code = clSetKernelArg(kernel, argument++, sizeof value, &value);
    }
    return mgn_cl_check(builder->device, code, "setting the arguments of the kernel '%s'", name);
}

mgn_status mgn_cl_emit_product(mgn_cl_builder *builder, const mgn_cl_product *product) {
    mgn_cl_launch launch = {.op = builder->call->op, .product = mgn_alloc(1, sizeof *product)};
    if (!launch.product) return MGN_ERR_MEMORY;
    *launch.product = *product;
    builder->scratch_bytes = MGN_MAX(builder->scratch_bytes, product->temporary_bytes);
    const mgn_status status = push_launch(builder, &launch);
    if (status != MGN_OK) mgn_free(launch.product);
    return status;
}

static mgn_status check_operand(const mgn_cl_device *device, const mgn_call *call, const mgn_operand *operand) {
    if (operand->dtype == MGN_F64 && !device->base.info.has_f64)
        return mgn_fail(MGN_ERR_UNSUPPORTED, "%s in float64: %s (%s) has float32 only; use the device \"cpu\"",
                        mgn_op_infos[call->op].label, device->base.info.spec, device->base.info.name);
    if (!operand->memory || operand->offset < 0)
        return mgn_fail(MGN_ERR_ARGUMENT, "%s: an operand has no place in memory", mgn_op_infos[call->op].label);
    return MGN_OK;
}

static mgn_status lower_call(mgn_cl_builder *builder, const mgn_call *call) {
    if (!emit_functions[call->op])
        return mgn_fail(MGN_ERR_UNSUPPORTED, "%s has no OpenCL kernel", mgn_op_infos[call->op].label);
    MGN_TRY(check_operand(builder->device, call, &call->out));
    for (int i = 0; i < call->inputs; i++) MGN_TRY(check_operand(builder->device, call, &call->in[i]));
    if (mgn_shape_count(call->out.shape) == 0) return MGN_OK;
    builder->call = call;
    builder->scratch_used = 0;
    return emit_functions[call->op](builder);
}

/* Creates the scratch memory, now that its size is known, and puts it where it was asked for. */
static mgn_status place_scratch(mgn_cl_builder *builder) {
    mgn_program *program = builder->program;
    if (builder->scratch_bytes == 0) return MGN_OK;
    MGN_TRY(mgn_cl_buffer_create(builder->device, builder->scratch_bytes, "scratch of kernels", &program->scratch));
    for (size_t i = 0; i < builder->pending_count; i++) {
        const mgn_cl_launch *launch = &program->launches[builder->pending[i].launch];
        const cl_int code =
            clSetKernelArg(launch->kernel, builder->pending[i].argument, sizeof(cl_mem), &program->scratch);
        MGN_TRY(mgn_cl_check(builder->device, code, "giving scratch memory to the kernel for %s",
                             mgn_op_infos[launch->op].label));
    }
    return MGN_OK;
}

/* Has CLBlast compile what its products need now and not in the first run. */
static mgn_status warm_products(mgn_cl_builder *builder) {
    for (size_t i = 0; i < builder->program->count; i++) {
        mgn_cl_product *product = builder->program->launches[i].product;
        if (!product) continue;
        if (product->temporary_bytes > 0) product->temporary = builder->program->scratch;
        MGN_TRY(mgn_cl_product_warm(builder->device, product));
    }
    return MGN_OK;
}

mgn_status mgn_cl_builder_end(mgn_cl_builder *builder, mgn_status status, mgn_program **program) {
    if (status == MGN_OK) status = place_scratch(builder);
    if (status == MGN_OK) status = warm_products(builder);
    mgn_free(builder->pending);
    if (status == MGN_OK)
        *program = builder->program;
    else
        mgn_cl_program_destroy(&builder->device->base, builder->program);
    return status;
}

mgn_status mgn_cl_program_create(mgn_device *device, const mgn_call *calls, size_t count, mgn_program **program) {
    mgn_cl_builder builder = {.device = mgn_cl_of(device), .program = mgn_alloc(1, sizeof(mgn_program))};
    if (!builder.program) return MGN_ERR_MEMORY;
    mgn_status status = MGN_OK;
    for (size_t i = 0; i < count && status == MGN_OK; i++) status = lower_call(&builder, &calls[i]);
    return mgn_cl_builder_end(&builder, status, program);
}

void mgn_cl_program_destroy(mgn_device *device, mgn_program *program) {
    if (!program) return;
    for (size_t i = 0; i < program->count; i++) {
        if (program->launches[i].kernel) clReleaseKernel(program->launches[i].kernel);
        mgn_free(program->launches[i].product);
    }
    mgn_cl_buffer_release(mgn_cl_of(device), program->scratch);
    mgn_cl_row_program_destroy(mgn_cl_of(device), program->rows);
    mgn_free(program->launches);
    mgn_free(program);
}

/* Enqueues one launch; `end` may be NULL. */
static mgn_status run_launch(mgn_cl_device *device, const mgn_cl_launch *launch, cl_event *end) {
    if (launch->product) return mgn_cl_product_run(device, launch->product, end);
    const cl_int code =
        clEnqueueNDRangeKernel(device->queue, launch->kernel, 1, NULL, &launch->global, &launch->local, 0, NULL, end);
    return mgn_cl_check(device, code, "running %s", mgn_op_infos[launch->op].label);
}

/* Closes a batch of commands whose last one is `end`, and waits for the batch before it. */
static mgn_status end_batch(mgn_cl_device *device, cl_event end) {
    cl_event before = device->batch_end;
    device->batch_end = end;
    device->batch_used = 0;
    cl_int code = clFlush(device->queue);
    if (code == CL_SUCCESS && before) code = clWaitForEvents(1, &before);
    if (before) clReleaseEvent(before);
    return mgn_cl_check(device, code, "handing commands to the device and waiting for those before");
}

bool mgn_cl_ends_batch(const mgn_cl_device *device) { return device->batch_used + 1 == MGN_CL_BATCH; }

mgn_status mgn_cl_count_command(mgn_cl_device *device, cl_event end) {
    device->batch_used++;
    if (end) return end_batch(device, end);
    if (device->batch_used % MGN_CL_FLUSH != 0) return MGN_OK;
    return mgn_cl_check(device, clFlush(device->queue), "handing commands to the device");
}

static mgn_status run_launches(mgn_cl_device *device, const mgn_program *program, uint64_t times) {
    for (uint64_t t = 0; t < times; t++)
        for (size_t i = 0; i < program->count; i++) {
            cl_event end = NULL;
            MGN_TRY(run_launch(device, &program->launches[i], mgn_cl_ends_batch(device) ? &end : NULL));
            MGN_TRY(mgn_cl_count_command(device, end));
        }
    return MGN_OK;
}

mgn_status mgn_cl_program_run(mgn_device *handle, mgn_program *program, uint64_t times) {
    mgn_cl_device *device = mgn_cl_of(handle);
    MGN_TRY(program->rows ? mgn_cl_row_program_run(device, program->rows, times)
                          : run_launches(device, program, times));
    return mgn_cl_check(device, clFlush(device->queue), "handing commands to the device");
}
