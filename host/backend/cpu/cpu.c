/* The CPU device: the machine's own cores, with the kernels that its instruction set allows. MGN_ISA=baseline, avx2 or
 * avx512 takes a lower set than the best, to compare them. Everything is done when a call returns. */
#include <cblas.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "backend/cpu/kernels.h"
#include "core/core.h"
#include "core/parallel.h"

typedef struct variant {
    const char *label;       /* what MGN_ISA takes */
    const char *description; /* what `mgn devices` shows */
    const mgn_cpu_kernels *f32, *f64;
} variant;

/* From the least to the most. */
static const variant variants[] = {
    {"baseline", "baseline", &mgn_cpu_kernels_f32_baseline, &mgn_cpu_kernels_f64_baseline},
#ifdef __x86_64__
    {"avx2", "AVX2", &mgn_cpu_kernels_f32_avx2, &mgn_cpu_kernels_f64_avx2},
    {"avx512", "AVX-512", &mgn_cpu_kernels_f32_avx512, &mgn_cpu_kernels_f64_avx512},
#endif
};

static bool is_available(size_t i) {
#ifdef __x86_64__
    __builtin_cpu_init();
    bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
                  __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl");
    return i == 0 || (i == 1 && avx2) || (i == 2 && avx512);
#else
    return i == 0;
#endif
}

/* The best variant, or the one that MGN_ISA names. */
static mgn_status choose(const variant **chosen) {
    const char *asked = mgn_environment("MGN_ISA");
    *chosen = &variants[0];
    for (size_t i = 0; i < MGN_COUNT(variants); i++) {
        if (!is_available(i)) continue;
        *chosen = &variants[i];
        if (asked && strcmp(asked, variants[i].label) == 0) return MGN_OK;
    }
    if (!asked) return MGN_OK;
    return mgn_fail(MGN_ERR_ARGUMENT,
                    "MGN_ISA: baseline, avx2 or avx512 was expected, as far as this machine goes (%s); '%s' found",
                    (*chosen)->label, asked);
}

/* "model name : ..." of /proc/cpuinfo; other systems show no more than "CPU". */
static void read_name(char *name, size_t size) {
    snprintf(name, size, "CPU");
    FILE *file = fopen("/proc/cpuinfo", "r");
    if (!file) return;
    char line[256];
    while (fgets(line, sizeof line, file)) {
        char *colon = strchr(line, ':');
        if (strncmp(line, "model name", 10) != 0 || !colon) continue;
        colon += 1 + strspn(colon + 1, " \t");
        colon[strcspn(colon, "\n")] = '\0';
        snprintf(name, size, "%s", colon);
        break;
    }
    fclose(file);
}

static mgn_status cpu_list(mgn_device_info *infos, size_t capacity, size_t *count) {
    if (*count < capacity) {
        mgn_device_info *info = &infos[*count];
        const variant *best;
        (void)choose(&best); /* a wrong MGN_ISA is reported when the device is opened */
        memset(info, 0, sizeof *info);
        snprintf(info->spec, sizeof info->spec, "cpu");
        read_name(info->name, sizeof info->name);
        snprintf(info->platform, sizeof info->platform, "host");
        snprintf(info->version, sizeof info->version, "%s kernels, OpenBLAS %s", best->description,
                 openblas_get_corename());
        long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE), cores = sysconf(_SC_NPROCESSORS_ONLN);
        info->memory_bytes = pages > 0 && page > 0 ? (uint64_t)pages * (uint64_t)page : 0;
        info->compute_units = cores > 0 && cores < 65536 ? (int)cores : 1;
        info->is_cpu = true;
        info->has_f64 = true;
    }
    ++*count;
    return MGN_OK;
}

static mgn_status cpu_open(const mgn_device_info *info, mgn_device **device) {
    const variant *chosen;
    MGN_TRY(choose(&chosen));
    mgn_cpu_device *cpu = mgn_alloc(1, sizeof *cpu);
    if (!cpu) return MGN_ERR_MEMORY;
    cpu->base.backend = &mgn_cpu_backend;
    cpu->base.info = *info;
    cpu->f32 = chosen->f32;
    cpu->f64 = chosen->f64;
    /* Threads come from the chunks of a task; a BLAS with its own would make bits depend on their number. */
    if (openblas_get_num_threads() != 1)
        openblas_set_num_threads(1); /* which starts its threads again, if they ended */
    *device = &cpu->base;
    return MGN_OK;
}

static void cpu_close(mgn_device *device) { mgn_free(device); }

static mgn_status cpu_finish(mgn_device *device) {
    (void)device;
    return MGN_OK;
}

static mgn_status memory_create(mgn_device *device, size_t bytes, mgn_memory **memory) {
    /* Large blocks start at a page, and a load from where another block was just stored to waits for that store. */
    enum { PLACES = 7, STAGGER = 9 * 64 };
    mgn_memory *m = mgn_alloc(1, sizeof *m);
    if (!m) return MGN_ERR_MEMORY;
    m->bytes = bytes;
    m->block = mgn_alloc_aligned(bytes + PLACES * STAGGER, 1);
    if (!m->block) {
        mgn_free(m);
        device->is_short = true;
        return MGN_ERR_MEMORY;
    }
    m->data = m->block + ((mgn_cpu_device *)device)->memories++ % PLACES * STAGGER;
    *memory = m;
    return MGN_OK;
}

static void memory_destroy(mgn_device *device, mgn_memory *memory) {
    (void)device;
    if (!memory) return;
    mgn_free(memory->block);
    mgn_free(memory);
}

static mgn_status check_range(const mgn_memory *memory, size_t offset, size_t bytes) {
    if (offset <= memory->bytes && bytes <= memory->bytes - offset) return MGN_OK;
    return mgn_fail(MGN_ERR_ARGUMENT, "bytes %zu to %zu + %zu of a memory of %zu bytes were asked for", offset, offset,
                    bytes, memory->bytes);
}

/* Large copies go over threads. */
typedef struct copy {
    unsigned char *to;
    const unsigned char *from;
    size_t bytes;
} copy;

enum { COPY_PART = 1 << 18 };

static void copy_part(void *context, int64_t part, int thread) {
    (void)thread;
    const copy *c = context;
    const size_t begin = (size_t)part * COPY_PART;
    memcpy(c->to + begin, c->from + begin, MGN_MIN(c->bytes - begin, (size_t)COPY_PART));
}

static void run_copy(copy c) {
    const int64_t parts = (int64_t)((c.bytes + COPY_PART - 1) / COPY_PART);
    mgn_parallel(parts > 2 ? mgn_threads() : 1, parts, copy_part, &c);
}

static mgn_status memory_write(mgn_device *device, mgn_memory *memory, size_t offset, const void *source,
                               size_t bytes) {
    (void)device;
    MGN_TRY(check_range(memory, offset, bytes));
    run_copy((copy){memory->data + offset, source, bytes});
    return MGN_OK;
}

static mgn_status memory_read(mgn_device *device, const mgn_memory *memory, size_t offset, void *target, size_t bytes) {
    (void)device;
    MGN_TRY(check_range(memory, offset, bytes));
    run_copy((copy){target, memory->data + offset, bytes});
    return MGN_OK;
}

const mgn_backend mgn_cpu_backend = {
    .label = "cpu",
    .list = cpu_list,
    .open = cpu_open,
    .close = cpu_close,
    .finish = cpu_finish,
    .memory_create = memory_create,
    .memory_destroy = memory_destroy,
    .memory_write = memory_write,
    .memory_read = memory_read,
    .program_create = mgn_cpu_program_create,
    .rows_create = mgn_cpu_rows_create,
    .wide_create = mgn_cpu_wide_create,
    .program_destroy = mgn_cpu_program_destroy,
    .program_run = mgn_cpu_program_run,
};
