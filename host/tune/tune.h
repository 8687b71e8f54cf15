/* Tuning: which way products of matrices go on an OpenCL device, and with which parameters, found by measurement.
 *
 *   trial.c   one choice on one shape: is the product right, and how long does it take?
 *   space.c   the choices there are, drawn at random
 *   tune.c    the search within a budget of time, and its report
 *
 * What is found goes to the cache folder (backend/opencl/tuning.h) and is used by every later process. Since another
 * way may add in another order, results of products change by rounding where a file of parameters comes or goes. */
#ifndef MGN_HOST_TUNE_H
#define MGN_HOST_TUNE_H

#include "backend/opencl/opencl.h"

/* A product (m, k) x (k, n) to be tuned for. */
typedef struct mgn_tune_shape {
    int64_t m, n, k;
} mgn_tune_shape;

typedef struct mgn_tune_options {
    double seconds; /* the budget. A compiler that runs is not stopped, so it may be overdrawn by one of its runs */
    uint64_t seed;
    const mgn_tune_shape *shapes; /* NULL: those of the models here */
    size_t shape_count;
    const mgn_cl_choice *first; /* tried on every shape before all others */
    size_t first_count;
} mgn_tune_options;

/* Searches, and keeps what is better than the rules. `report` is what is kept: {"device", "shapes": [{"m", "n", "k",
 * "usual", "usual_us", "choice", "us", "gflops", "ratio"}], "clblast", "tried", "wrong", "failed", "seconds", ...}. An
 * interruption (mgn_interrupt) ends the search early and is no error here. Errors: UNSUPPORTED (not an OpenCL device, no
 * cache folder), NUMERIC (the usual product is wrong), DEVICE, IO, MEMORY. The caller deletes the report. */
mgn_status mgn_tune_run(mgn_device *device, const mgn_tune_options *options, cJSON **report);

/* ---- trial.c ---- */

/* A product with operands on the device. They are small whole numbers, so every order of additions gives the same sums
 * exactly: a result is right when it equals the reference, and there is no tolerance to argue about. */
typedef struct mgn_tune_product {
    mgn_cl_device *device;
    mgn_tune_shape shape;
    mgn_tensor *a, *b, *out;
    float *expected, *found;
    mgn_call call;
} mgn_tune_product;

/* Errors: ARGUMENT (a size that is not positive, or k too large for exact sums), MEMORY, DEVICE. */
mgn_status mgn_tune_product_create(mgn_device *device, mgn_tune_shape shape, uint64_t seed, mgn_tune_product *product);
void mgn_tune_product_destroy(mgn_tune_product *product);

typedef enum mgn_tune_verdict {
    MGN_TUNE_RIGHT,
    MGN_TUNE_WRONG, /* not the reference product */
    MGN_TUNE_FAILED /* the driver refused to compile or to run it */
} mgn_tune_verdict;

/* Makes the product one way, compares it, and times it when it is right: the fastest of some runs, fewer once it is
 * clear that it takes longer than `bound`. */
mgn_tune_verdict mgn_tune_trial(const mgn_tune_product *product, const mgn_cl_choice *choice, double bound,
                                double *seconds);

/* Two choices side by side, run by run, so that both meet the same machine. Errors: DEVICE, MEMORY. */
mgn_status mgn_tune_duel(const mgn_tune_product *product, const mgn_cl_choice choices[2], double seconds[2]);

/* ---- space.c ---- */

typedef struct mgn_tune_random {
    uint64_t seed, drawn;
} mgn_tune_random;

/* Any tile, or, from time to time, a neighbour of `from`. */
mgn_cl_tile mgn_tune_draw_tile(mgn_tune_random *random, const mgn_cl_tile *from);

/* What CLBlast is told where nothing better is known: its own values for unknown devices. */
mgn_cl_blast mgn_tune_blast_start(void);
/* Which of CLBlast's two kernels all products take: the one for large matrices, which are copied and padded first
 * (indirect), or the one for small matrices (direct). Products of fewer than `size`^3 multiplications go directly. */
void mgn_tune_blast_switch(mgn_cl_blast *blast, uint32_t size);
/* Changes the parameters of the indirect kernel and its copies, or of the direct one, into others that CLBlast's kernels
 * allow and the device can run. */
void mgn_tune_draw_blast(mgn_tune_random *random, const mgn_cl_device *device, bool indirect, mgn_cl_blast *blast);

#endif
