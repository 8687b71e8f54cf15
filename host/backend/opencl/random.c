/* Random numbers, shuffled batches and the state's step, by the functions that the CPU backend uses too. */
#include "backend/opencl/opencl.h"

static mgn_status emit_shuffle(mgn_cl_builder *builder, mgn_cl_place state, mgn_cl_place out) {
    const mgn_call *call = builder->call;
    const int64_t population = call->attributes.shuffle.population, batch = call->attributes.shuffle.batch;
    const int64_t steps = call->attributes.shuffle.steps_per_epoch, stride = call->attributes.shuffle.stride;
    if (population < 1 || population > UINT32_MAX || steps < 1 || stride < 0 || steps > INT64_MAX / (stride + 1))
        return mgn_fail(MGN_ERR_ARGUMENT, "shuffle: %lld steps of %lld rows, %lld apart, from %lld rows",
                        (long long)steps, (long long)batch, (long long)stride, (long long)population);
    return mgn_cl_emit(builder, "random", MGN_F32, "", "shuffle_batch",
                       mgn_cl_groups(builder->device, (uint64_t)batch, 512), "ppuuuu", state, out, (uint64_t)population,
                       (uint64_t)batch, (uint64_t)steps, (uint64_t)stride);
}

mgn_status mgn_cl_emit_random(mgn_cl_builder *builder) {
    const mgn_call *call = builder->call;
    const mgn_cl_place state = mgn_cl_place_of(&call->in[0]), out = mgn_cl_place_of(&call->out);
    if (call->op == MGN_OP_shuffle) return emit_shuffle(builder, state, out);
    if (call->op == MGN_OP_advance)
        return mgn_cl_emit(builder, "random", MGN_F32, "", "advance", 1, "ppu", state, out,
                           (uint64_t)call->attributes.advance.steps);
    const mgn_dtype dtype = call->out.dtype;
    const uint64_t count = (uint64_t)mgn_shape_count(call->out.shape);
    const uint64_t items = mgn_cl_ceil_div(count, 4 * mgn_cl_lanes(builder->device, dtype));
    const char *defines =
        call->op == MGN_OP_normal ? "#define MGN_NUMBERS\n#define MGN_NORMAL\n" : "#define MGN_NUMBERS\n";
    return mgn_cl_emit(builder, "random", dtype, defines, "numbers", mgn_cl_groups(builder->device, items, 16), "ppuu",
                       state, out, count, (uint64_t)call->attributes.random.stream);
}
