/* What the CPU backend's kernels are given: a task, one per call of a program, in which everything that depends on
 * shapes alone has been worked out (prepare.c). The kernels exist once per real type and instruction set, compiled
 * from the same source (kernels.c); each such variant exports one table.
 *
 * A task is cut into chunks, which program.c hands to threads. How it is cut depends on shapes only and every chunk
 * writes its own part, so that results do not depend on the number of threads. Where chunks give partial sums they
 * go to the scratch memory and `finish` combines them in order. */
#ifndef MGN_HOST_BACKEND_CPU_KERNELS_H
#define MGN_HOST_BACKEND_CPU_KERNELS_H

#include "backend/backend.h"
#include "backend/cpu/rows.h"
#include "backend/cpu/wide.h"

/* Limits that prepare.c and the kernels share. */
enum {
    MGN_CPU_BLOCK = 512,       /* elements that an elementwise kernel gathers at a time when strides are not plain */
    MGN_CPU_LANES = 16,        /* independent sums, batch members or rows side by side, on every instruction set */
    MGN_CPU_NARROW = 32,       /* reductions over fewer columns treat 16 rows as one */
    MGN_CPU_SMALL = 16,        /* matrix dimensions that own loops serve better than a BLAS call */
    MGN_CPU_CLOUD_NARROW = 16, /* coordinates of points up to which differences serve better than products */
    MGN_CPU_CLOUD_ROWS = 64,   /* rows of a chunk of point-cloud sums, at most; twice as many with products */
    MGN_CPU_SMALL_AREA = 64,   /* entries of a matrix, for products of many tiny matrices */
    MGN_CPU_SELF_TERMS = 128,  /* of a matrix's product with its own transpose from which on half of it is computed */
    MGN_CPU_CONV_BYTES = 64,   /* the widest vectors of convolutions */
    MGN_CPU_CONV_TERMS = 256,  /* of them that are added up before their lanes are joined, in double */
    MGN_CPU_PANEL_TERMS = 256, /* of products by panels that are packed at a time */
};

/* An elementwise call with its axes sorted by the output's stride and merged where all operands allow it. Operand 0
 * is the output, 1.. are the inputs. */
typedef struct mgn_cpu_layout {
    int rank; /* >= 1 */
    int64_t total;
    int64_t dim[MGN_MAX_RANK];
    int64_t stride[1 + MGN_MAX_INPUTS][MGN_MAX_RANK];
    bool rows;                          /* long rows of plain strides: no gathering */
    bool linear[1 + MGN_MAX_INPUTS];    /* contiguous in the order of the axes */
    bool scalar[1 + MGN_MAX_INPUTS];    /* one element for all */
    int64_t period[1 + MGN_MAX_INPUTS]; /* repeats after so many elements; 0: not within a block */
    int64_t block;                      /* elements gathered at a time: whole periods */
} mgn_cpu_layout;

typedef enum mgn_cpu_matmul_kind {
    MGN_CPU_MATMUL_ZERO,  /* k = 0 */
    MGN_CPU_MATMUL_LANES, /* many tiny matrices, 16 of the batch at a time */
    MGN_CPU_MATMUL_ROWS,  /* many rows times a small matrix, 16 rows at a time */
    MGN_CPU_MATMUL_GRAM,  /* small result of long columns */
    MGN_CPU_MATMUL_BLAS,  /* tiles of the result, one BLAS call each */
    MGN_CPU_MATMUL_SPLIT, /* small result of long columns, too large for own loops: BLAS calls over parts of k */
    MGN_CPU_MATMUL_SELF,  /* a a^T or a^T a: tiles on and above the diagonal, the others are their mirror images */
    MGN_CPU_MATMUL_PANELS /* medium sizes, also the sum of two products: kernel_panels.h */
} mgn_cpu_matmul_kind;

/* A product of a sum of products: op(a) (m, k), op(b) (k, n). */
typedef struct mgn_cpu_term {
    const void *a, *b;
    int64_t k;
    bool transpose_a, transpose_b;
} mgn_cpu_term;

enum { MGN_CPU_MOST_TERMS = 2 };

/* A source image in zeros, its pixels sorted by phase of the stride: (planes, phases_y, phases_x, rows, pitch). */
typedef struct mgn_cpu_conv_grid {
    int64_t height, width; /* of the source */
    int64_t stride, phases_y, phases_x, pad_y, pad_x;
    int64_t rows, pitch;
} mgn_cpu_conv_grid;

/* A convolution's scratch memory: for each chunk (chunk_bytes) offsets of the taps, a grid, weights; the partial sums of
 * kernel gradients behind all chunks. */
typedef struct mgn_cpu_conv {
    mgn_cpu_conv_grid grid;
    int64_t taps;      /* all entries of a kernel that a result, or in a transpose all phases of it, depend on */
    int64_t grid_size; /* elements */
    size_t chunk_bytes, grid_at, weights_at, totals_at;
    /* kernel gradients: positions as `runs` rows of `per_row` vectors, images `group` at a time */
    int64_t runs, per_row, x_pitch, run_pitch, y_pitch, y_plane, group, slack;
} mgn_cpu_conv;

typedef struct mgn_cpu_task mgn_cpu_task;

typedef struct mgn_cpu_kernel {
    void (*chunk)(const mgn_cpu_task *task, int64_t index); /* 0 <= index < task->chunks */
    void (*finish)(const mgn_cpu_task *task);               /* after all chunks; NULL: nothing to do */
} mgn_cpu_kernel;

struct mgn_cpu_task {
    mgn_cpu_kernel kernel;
    void *out;
    const void *in[MGN_CALL_INPUTS];
    void *scratch; /* scratch_bytes of the program's, or the call's own */
    size_t scratch_bytes;
    int64_t chunks;
    bool parallel;      /* worth more than one thread */
    size_t group;       /* so many tasks from this one on run side by side: none needs another */
    int64_t count;      /* elements of the output */
    int64_t chunk_size; /* elements, rows or matrices of a chunk; sides of a block */
    int64_t parts;      /* reductions: parts of n; products: parts of k */
    int64_t columns;    /* reductions, products: columns of a chunk */
    mgn_cpu_matmul_kind kind;
    bool wide;      /* point clouds: by products */
    bool symmetric; /* point clouds: a cloud against itself, half the pairs are enough */
    mgn_attributes attributes;
    mgn_cpu_layout layout;                  /* elementwise */
    mgn_cpu_conv conv;                      /* convolutions */
    mgn_cpu_term terms[MGN_CPU_MOST_TERMS]; /* products by panels */
    int term_count;
};

/* One variant's kernels; entries of layout ops are empty. */
typedef struct mgn_cpu_kernels {
    mgn_cpu_kernel op[MGN_OP_COUNT];
    const mgn_cpu_row_kernels *rows;
    const mgn_cpu_wide_kernels *wide;
    int64_t panel_lanes; /* elements of a vector of products by panels; 0: there are none */
} mgn_cpu_kernels;

extern const mgn_cpu_kernels mgn_cpu_kernels_f32_baseline, mgn_cpu_kernels_f64_baseline;
#ifdef __x86_64__
extern const mgn_cpu_kernels mgn_cpu_kernels_f32_avx2, mgn_cpu_kernels_f64_avx2;
extern const mgn_cpu_kernels mgn_cpu_kernels_f32_avx512, mgn_cpu_kernels_f64_avx512;
#endif

/* The block behind a mgn_memory. */
struct mgn_memory {
    size_t bytes;
    unsigned char *data;  /* aligned to 64 bytes, never NULL */
    unsigned char *block; /* what was allocated */
};

/* The device: which variant serves each real type. */
typedef struct mgn_cpu_device {
    mgn_device base;
    const mgn_cpu_kernels *f32, *f64; /* f32 also serves copies and gathers of u32 */
    unsigned memories;                /* made so far */
} mgn_cpu_device;

/* prepare.c: checks a call and fills its task, all but the scratch pointer. */
mgn_status mgn_cpu_prepare(const mgn_cpu_device *device, const mgn_call *call, mgn_cpu_task *task);

/* panels.c. Whether the product, prepared for BLAS, goes by panels instead, of vectors of so many elements; if so, cuts it. */
bool mgn_cpu_cut_panels(mgn_cpu_task *task, int64_t lanes, int cores);
/* Whether the task, a product that adds, became one more term of the one before it. */
bool mgn_cpu_join_products(mgn_cpu_task *before, const mgn_cpu_task *task);

/* program.c */
mgn_status mgn_cpu_program_create(mgn_device *device, const mgn_call *calls, size_t count, mgn_program **program);
mgn_status mgn_cpu_rows_create(mgn_device *device, const mgn_row_program *rows, mgn_program **program);
mgn_status mgn_cpu_wide_create(mgn_device *device, const mgn_wide_program *wide, mgn_program **program);
void mgn_cpu_program_destroy(mgn_device *device, mgn_program *program);
mgn_status mgn_cpu_program_run(mgn_device *device, mgn_program *program, uint64_t times);

#endif
