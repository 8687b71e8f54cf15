/* Programs of the CPU backend: an array of tasks, run one after the other, each with its chunks on as many threads as
 * it is worth. Nothing is allocated or decided while a program runs. */
#include <string.h>

#include "backend/cpu/kernels.h"
#include "core/parallel.h"

struct mgn_program {
    size_t count;
    mgn_cpu_task *tasks;
    unsigned char *scratch; /* of the task that runs */
    mgn_cpu_rows *rows;     /* a row program instead of tasks; NULL: none */
    mgn_cpu_wide *wide;     /* a wide program, likewise */
};

mgn_status mgn_cpu_program_create(mgn_device *device, const mgn_call *calls, size_t count, mgn_program **program) {
    mgn_program *p = mgn_alloc(1, sizeof *p);
    if (!p) return MGN_ERR_MEMORY;
    mgn_status status = MGN_ERR_MEMORY;
    size_t scratch = 0;
    p->tasks = mgn_alloc(count, sizeof *p->tasks);
    if (!p->tasks) goto fail;
    for (size_t i = 0; i < count; i++) {
        mgn_cpu_task *task = &p->tasks[p->count];
        MGN_TRY_GOTO(mgn_cpu_prepare((const mgn_cpu_device *)device, &calls[i], task), fail);
        if (task->chunks == 0 || (p->count > 0 && mgn_cpu_join_products(task - 1, task))) continue;
        p->count++;
    }
    status = MGN_ERR_MEMORY;
    for (size_t i = 0; i < p->count; i++) scratch = MGN_MAX(scratch, p->tasks[i].scratch_bytes);
    p->scratch = mgn_alloc_aligned(scratch, 1);
    if (!p->scratch) goto fail;
    for (size_t i = 0; i < p->count; i++) {
        if (p->tasks[i].scratch_bytes) p->tasks[i].scratch = p->scratch;
    }
    *program = p;
    return MGN_OK;
fail:
    mgn_cpu_program_destroy(device, p);
    return status;
}

mgn_status mgn_cpu_rows_create(mgn_device *device, const mgn_row_program *rows, mgn_program **program) {
    const mgn_cpu_device *cpu = (const mgn_cpu_device *)device;
    mgn_program *p = mgn_alloc(1, sizeof *p);
    if (!p) return MGN_ERR_MEMORY;
    mgn_status status = mgn_cpu_rows_build((rows->real == MGN_F64 ? cpu->f64 : cpu->f32)->rows, rows, &p->rows);
    if (status == MGN_OK)
        *program = p;
    else
        mgn_free(p);
    return status;
}

mgn_status mgn_cpu_wide_create(mgn_device *device, const mgn_wide_program *wide, mgn_program **program) {
    const mgn_cpu_device *cpu = (const mgn_cpu_device *)device;
    mgn_program *p = mgn_alloc(1, sizeof *p);
    if (!p) return MGN_ERR_MEMORY;
    mgn_status status = mgn_cpu_wide_build((wide->real == MGN_F64 ? cpu->f64 : cpu->f32)->wide, wide, &p->wide);
    if (status == MGN_OK)
        *program = p;
    else
        mgn_free(p);
    return status;
}

void mgn_cpu_program_destroy(mgn_device *device, mgn_program *program) {
    (void)device;
    if (!program) return;
    mgn_cpu_rows_destroy(program->rows);
    mgn_cpu_wide_destroy(program->wide);
    mgn_free(program->tasks);
    mgn_free(program->scratch);
    mgn_free(program);
}

static void run_chunk(void *task, int64_t chunk, int thread) {
    (void)thread;
    ((const mgn_cpu_task *)task)->kernel.chunk(task, chunk);
}

static void run_task(mgn_cpu_task *task) {
    mgn_parallel(task->parallel ? mgn_threads() : 1, task->chunks, run_chunk, task);
    if (task->kernel.finish) task->kernel.finish(task);
}

mgn_status mgn_cpu_program_run(mgn_device *device, mgn_program *program, uint64_t times) {
    (void)device;
    if (program->rows) return mgn_cpu_rows_run(program->rows, times);
    for (uint64_t t = 0; t < times; t++) {
        /* Whole runs only, and at least one, so that what is asked after an interrupt still works. */
        if (t > 0 && mgn_interrupted())
            return mgn_fail(MGN_ERR_INTERRUPTED, "stopped after %llu of %llu runs", (unsigned long long)t,
                            (unsigned long long)times);
        if (program->wide) mgn_cpu_wide_run(program->wide);
        for (size_t i = 0; i < program->count; i++) run_task(&program->tasks[i]);
    }
    return MGN_OK;
}
