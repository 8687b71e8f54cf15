/* Which products go by panels (kernel_panels.h), and how they are cut: decided from shapes and the number of cores alone. */
#include "backend/cpu/kernels.h"
#include "core/core.h"

/* A chunk's rows of the first factor should stay in a core's second-level cache while panel after panel passes. What is
 * packed of a transposed one takes memory beside it. */
enum {
    LEAST_EDGE = 96,
    LEAST_TERMS = 64,
    MOST_TERMS = 2047,
    LEAST_ROWS = 192,
    LEAST_VECTORS = 6,
    CHUNKS_OF_CORE = 4,
    MOST_FACTOR = 1 << 18,
    MOST_PACKED = 1 << 20
};

static int64_t divide_up(int64_t a, int64_t b) { return a / b + (a % b != 0); }

bool mgn_cpu_cut_panels(mgn_cpu_task *task, int64_t lanes, int cores) {
    const mgn_attributes *a = &task->attributes;
    const int64_t m = a->matmul.m, n = a->matmul.n, k = a->matmul.k;
    if (lanes == 0 || MGN_MIN(m, n) < LEAST_EDGE || k < LEAST_TERMS || k > MOST_TERMS) return false;
    int64_t down = divide_up(m, MOST_FACTOR / k);
    if (down > 1 && m / down < LEAST_ROWS) return false;
    if (a->matmul.transpose_a && m > MOST_PACKED / k) return false;
    /* Rows are shared out where the first factor is packed, so that each is packed once; else columns, which are packed
     * anyway, into more chunks than cores: whoever is done early takes another. */
    const int64_t vectors = divide_up(n, lanes);
    if (a->matmul.transpose_a) down = MGN_MAX(down, MGN_MIN(cores, m / LEAST_EDGE));
    int64_t across = a->matmul.transpose_a ? divide_up(cores, down) : divide_up(CHUNKS_OF_CORE * cores, down);
    across = MGN_MIN(across, MGN_MAX(vectors / LEAST_VECTORS, 1));
    if (across > cores) across -= across % cores;
    down = MGN_MAX(down, MGN_MIN(divide_up(cores, across), m / LEAST_EDGE));
    task->kind = MGN_CPU_MATMUL_PANELS;
    task->chunk_size = divide_up(divide_up(m, down), lanes) * lanes;
    task->parts = across;
    task->chunks = divide_up(m, task->chunk_size) * across;
    task->terms[0] = (mgn_cpu_term){.k = k, .transpose_a = a->matmul.transpose_a, .transpose_b = a->matmul.transpose_b};
    task->term_count = 1;
    if (a->matmul.transpose_a) task->scratch_bytes = (size_t)(across * divide_up(m, lanes) * lanes * k) * sizeof(float);
    return true;
}

bool mgn_cpu_join_products(mgn_cpu_task *before, const mgn_cpu_task *task) {
    if (task->term_count == 0 || !task->attributes.matmul.adds || task->out != before->out) return false;
    if (before->term_count == 0 || before->term_count == MGN_CPU_MOST_TERMS) return false;
    const mgn_cpu_term *term = &task->terms[0];
    if (before->attributes.matmul.m != task->attributes.matmul.m ||
        before->attributes.matmul.n != task->attributes.matmul.n || term->a == task->out || term->b == task->out)
        return false;
    if (before->chunks != task->chunks || before->parts != task->parts) return false;
    before->terms[before->term_count++] = *term;
    before->scratch_bytes += task->scratch_bytes;
    return true;
}
