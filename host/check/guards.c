#include "check/guards.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/core.h"

static const double guard_value = -12345.5; /* float holds it exactly */
static const uint32_t guard_index = 0xfffffff1u;

static void store(unsigned char *bytes, mgn_dtype dtype, size_t i, double value) {
    if (dtype == MGN_F64)
        ((double *)(void *)bytes)[i] = value;
    else if (dtype == MGN_F32)
        ((float *)(void *)bytes)[i] = (float)value;
    else
        ((uint32_t *)(void *)bytes)[i] = (uint32_t)value;
}

double mgn_guarded_load(const unsigned char *bytes, mgn_dtype dtype, size_t i) {
    if (dtype == MGN_F64) return ((const double *)(const void *)bytes)[i];
    return dtype == MGN_F32 ? (double)((const float *)(const void *)bytes)[i]
                            : ((const uint32_t *)(const void *)bytes)[i];
}

size_t mgn_guarded_position(const mgn_operand *operand, int64_t flat) {
    int64_t at = operand->offset;
    for (int i = operand->shape.rank - 1; i >= 0; i--) {
        at += flat % operand->shape.dim[i] * operand->stride[i];
        flat /= operand->shape.dim[i];
    }
    return (size_t)at;
}

mgn_status mgn_guarded_make(mgn_guarded *g, mgn_dtype dtype, size_t elements, bool result) {
    g->dtype = dtype;
    g->count = elements + 2 * MGN_GUARD;
    g->bytes = mgn_alloc_aligned(g->count, mgn_dtype_size(dtype));
    if (!g->bytes) return MGN_ERR_MEMORY;
    for (size_t i = 0; i < g->count; i++)
        store(g->bytes, dtype, i, dtype == MGN_U32 ? guard_index : result ? guard_value : (double)NAN);
    return MGN_OK;
}

void mgn_guarded_put(mgn_guarded *g, const mgn_operand *operand, const double *values) {
    for (int64_t i = 0; i < mgn_shape_count(operand->shape); i++)
        store(g->bytes, g->dtype, mgn_guarded_position(operand, i), values[i]);
}

mgn_status mgn_guarded_send(mgn_device *device, mgn_guarded *g) {
    const size_t bytes = g->count * mgn_dtype_size(g->dtype);
    MGN_TRY(device->backend->memory_create(device, bytes, &g->memory));
    return device->backend->memory_write(device, g->memory, 0, g->bytes, bytes);
}

mgn_status mgn_guarded_place(mgn_device *device, mgn_guarded *g, mgn_operand *operand, size_t elements,
                             const double *values) {
    MGN_TRY(mgn_guarded_make(g, operand->dtype, elements, !values));
    if (values) mgn_guarded_put(g, operand, values);
    MGN_TRY(mgn_guarded_send(device, g));
    operand->memory = g->memory;
    return MGN_OK;
}

mgn_status mgn_guarded_judge(mgn_device *device, mgn_guarded *g, const mgn_operand *operands, size_t count,
                             const char *label, mgn_worst *worst) {
    const size_t size = mgn_dtype_size(g->dtype);
    size_t changed = g->count;
    unsigned char *now = mgn_alloc_aligned(g->count, size);
    bool *own = mgn_alloc(g->count, sizeof *own);
    mgn_status status =
        now && own ? device->backend->memory_read(device, g->memory, 0, now, g->count * size) : MGN_ERR_MEMORY;
    if (status == MGN_OK) {
        for (size_t o = 0; o < count; o++)
            for (int64_t i = 0; i < mgn_shape_count(operands[o].shape); i++)
                own[mgn_guarded_position(&operands[o], i)] = true;
        for (size_t i = 0; i < g->count; i++)
            if (!own[i] && memcmp(now + i * size, g->bytes + i * size, size) != 0) changed = i;
        char text[200];
        snprintf(text, sizeof text, "%s: element %lld of %zu was overwritten, which belongs to nobody", label,
                 (long long)changed - MGN_GUARD, g->count - 2 * MGN_GUARD);
        mgn_judge_fact(worst, changed == g->count, text);
        memcpy(g->bytes, now, g->count * size);
    }
    mgn_free(own);
    mgn_free(now);
    return status;
}

void mgn_guarded_release(mgn_device *device, mgn_guarded *g) {
    if (g->memory) device->backend->memory_destroy(device, g->memory);
    mgn_free(g->bytes);
}
