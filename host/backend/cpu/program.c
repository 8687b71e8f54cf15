/* Programs of the CPU backend: an array of tasks, run one after the other, each with its chunks on as many threads as
 * it is worth; neighbours that do not need one another share their threads, since it costs microseconds to wait for all of
 * them. Nothing is allocated or decided while a program runs. */
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

/* ---- which calls may run at the same time ---- */

static size_t begin_of(const mgn_operand *o) { return (size_t)o->offset * mgn_dtype_size(o->dtype); }

static size_t end_of(const mgn_operand *o) {
    int64_t last = o->offset;
    for (int i = 0; i < o->shape.rank; i++) last += (o->shape.dim[i] - 1) * o->stride[i];
    return (size_t)(last + 1) * mgn_dtype_size(o->dtype);
}

static bool overlap(const mgn_operand *a, const mgn_operand *b) {
    return a->memory && a->memory == b->memory && begin_of(a) < end_of(b) && begin_of(b) < end_of(a);
}

/* Whether a call reads what one of these writes. */
static bool reads_from(const mgn_call *call, const mgn_call *earlier, size_t count) {
    for (size_t q = 0; q < count; q++)
        for (int i = 0; i < call->inputs; i++)
            if (overlap(&earlier[q].out, &call->in[i])) return true;
    return false;
}

/* Whether it writes what one of these reads or writes. */
static bool writes_to(const mgn_call *call, const mgn_call *earlier, size_t count) {
    for (size_t q = 0; q < count; q++) {
        if (overlap(&earlier[q].out, &call->out)) return true;
        for (int i = 0; i < earlier[q].inputs; i++)
            if (overlap(&call->out, &earlier[q].in[i])) return true;
    }
    return false;
}

/* Worth threads, and in pieces of which a thread that is done early can take one. */
static bool is_shareable(const mgn_cpu_task *task) { return task->parallel && task->chunks >= 4; }

/* ---- making programs ---- */

/* Prepares all calls; those of a group have chunks, and are worth threads. */
static mgn_status prepare_tasks(const mgn_cpu_device *device, const mgn_call *calls, size_t count, mgn_program *p) {
    enum { MOST_CALLS = 8 };
    size_t first = 0; /* call of the group that the last task is in */
    mgn_cpu_task *group = NULL;
    for (size_t i = 0; i < count; i++) {
        mgn_cpu_task *task = &p->tasks[p->count];
        MGN_TRY(mgn_cpu_prepare(device, &calls[i], task));
        if (task->chunks == 0) continue;
        const bool is_fed = group && reads_from(&calls[i], calls + first, i - first);
        if (group && !is_fed && mgn_cpu_join_products(task - 1, task)) continue;
        const bool is_apart = !group || is_fed || !is_shareable(group) || !is_shareable(task) ||
                              i - first >= MOST_CALLS || task->scratch ||
                              writes_to(&calls[i], calls + first, i - first);
        if (is_apart) {
            group = task;
            first = i;
        }
        group->group++;
        p->count++;
    }
    return MGN_OK;
}

/* Each group has the program's scratch memory to itself; each of its tasks a part of it. */
static mgn_status share_scratch(mgn_program *p) {
    size_t most = 0;
    for (int pass = 0; pass < 2; pass++) {
        for (size_t i = 0; i < p->count; i += p->tasks[i].group) {
            size_t bytes = 0;
            for (mgn_cpu_task *task = &p->tasks[i]; task < &p->tasks[i] + p->tasks[i].group; task++) {
                if (pass == 1 && task->scratch_bytes) task->scratch = p->scratch + bytes;
                bytes += (task->scratch_bytes + 63) / 64 * 64;
            }
            most = MGN_MAX(most, bytes);
        }
        if (pass == 0) p->scratch = mgn_alloc_aligned(most, 1);
        if (!p->scratch) return MGN_ERR_MEMORY;
    }
    return MGN_OK;
}

mgn_status mgn_cpu_program_create(mgn_device *device, const mgn_call *calls, size_t count, mgn_program **program) {
    mgn_program *p = mgn_alloc(1, sizeof *p);
    if (!p) return MGN_ERR_MEMORY;
    p->tasks = mgn_alloc(count, sizeof *p->tasks);
    mgn_status status = p->tasks ? prepare_tasks((const mgn_cpu_device *)device, calls, count, p) : MGN_ERR_MEMORY;
    if (status == MGN_OK) status = share_scratch(p);
    if (status == MGN_OK)
        *program = p;
    else
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

/* A chunk of the tasks of a group, counted through. */
static void run_chunk(void *group, int64_t chunk, int thread) {
    (void)thread;
    const mgn_cpu_task *task = group;
    for (; chunk >= task->chunks; task++) chunk -= task->chunks;
    task->kernel.chunk(task, chunk);
}

static void run_group(mgn_cpu_task *group) {
    int64_t chunks = 0;
    for (size_t i = 0; i < group->group; i++) chunks += group[i].chunks;
    mgn_parallel(group->parallel ? mgn_threads() : 1, chunks, run_chunk, group);
    for (size_t i = 0; i < group->group; i++)
        if (group[i].kernel.finish) group[i].kernel.finish(&group[i]);
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
        for (size_t i = 0; i < program->count; i += program->tasks[i].group) run_group(&program->tasks[i]);
    }
    return MGN_OK;
}
