/* One choice on one shape: right, and how fast. */
#include "tune/tune.h"

#include <cblas.h>
#include <math.h>
#include <string.h>

enum { MOST_ENTRY = 4, LEAST_RUNS = 3, MOST_RUNS = 15, DUEL_ROUNDS = 9 };

/* Sums of k products of such entries must be exact in float. */
static const int64_t most_k = (1 << 24) / (MOST_ENTRY * MOST_ENTRY);
static const int64_t most_elements = INT64_C(1) << 28;

/* A sample takes at least so long, and all samples of a trial about so long, in seconds. */
static const double sample_seconds = 0.001, trial_seconds = 0.25;

static void fill(float *x, size_t count, uint64_t *state) {
    for (size_t i = 0; i < count; i++) {
        *state = *state * 6364136223846793005u + 1442695040888963407u;
        x[i] = (float)((int)((*state >> 33) % (2 * MOST_ENTRY + 1)) - MOST_ENTRY);
    }
}

static mgn_status make_operands(mgn_device *device, mgn_tune_product *product, uint64_t seed) {
    const mgn_tune_shape s = product->shape;
    const size_t a_count = (size_t)(s.m * s.k), b_count = (size_t)(s.k * s.n), count = (size_t)(s.m * s.n);
    MGN_TRY(mgn_tensor_create(device, MGN_F32, (mgn_shape){2, {s.m, s.k}}, &product->a));
    MGN_TRY(mgn_tensor_create(device, MGN_F32, (mgn_shape){2, {s.k, s.n}}, &product->b));
    MGN_TRY(mgn_tensor_create(device, MGN_F32, (mgn_shape){2, {s.m, s.n}}, &product->out));
    product->expected = mgn_alloc(count, sizeof *product->expected);
    product->found = mgn_alloc(count, sizeof *product->found);
    float *a = mgn_alloc(a_count, sizeof *a), *b = mgn_alloc(b_count, sizeof *b);
    mgn_status status = product->expected && product->found && a && b ? MGN_OK : MGN_ERR_MEMORY;
    if (status == MGN_OK) {
        fill(a, a_count, &seed);
        fill(b, b_count, &seed);
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (int)s.m, (int)s.n, (int)s.k, 1, a, (int)s.k, b,
                    (int)s.n, 0, product->expected, (int)s.n);
        status = mgn_tensor_write(product->a, MGN_F32, a);
    }
    if (status == MGN_OK) status = mgn_tensor_write(product->b, MGN_F32, b);
    mgn_free(a);
    mgn_free(b);
    return status;
}

mgn_status mgn_tune_product_create(mgn_device *device, mgn_tune_shape shape, uint64_t seed, mgn_tune_product *product) {
    *product = (mgn_tune_product){.device = mgn_cl_of(device), .shape = shape};
    if (shape.m < 1 || shape.n < 1 || shape.k < 1 || shape.k > most_k || shape.m > most_elements / shape.n ||
        shape.m > most_elements / shape.k || shape.n > most_elements / shape.k)
        return mgn_fail(
            MGN_ERR_ARGUMENT,
            "a product of %lld x %lld x %lld cannot be tuned for: sizes are 1 or more, the last one at most "
            "%lld, and no matrix has more than %lld entries",
            (long long)shape.m, (long long)shape.n, (long long)shape.k, (long long)most_k, (long long)most_elements);
    const mgn_status status = make_operands(device, product, seed);
    if (status != MGN_OK) {
        mgn_tune_product_destroy(product);
        return status;
    }
    product->call = (mgn_call){.op = MGN_OP_matmul,
                               .inputs = 2,
                               .in = {mgn_operand_of(product->a), mgn_operand_of(product->b)},
                               .out = mgn_operand_of(product->out)};
    product->call.attributes.matmul.batch = 1;
    product->call.attributes.matmul.m = shape.m;
    product->call.attributes.matmul.n = shape.n;
    product->call.attributes.matmul.k = shape.k;
    return MGN_OK;
}

void mgn_tune_product_destroy(mgn_tune_product *product) {
    mgn_tensor_destroy(product->a);
    mgn_tensor_destroy(product->b);
    mgn_tensor_destroy(product->out);
    mgn_free(product->expected);
    mgn_free(product->found);
    *product = (mgn_tune_product){0};
}

/* A program of the product alone, which goes the chosen way. */
static mgn_status lower(const mgn_tune_product *product, const mgn_cl_choice *choice, mgn_program **program) {
    const mgn_cl_choice *before = product->device->forced;
    product->device->forced = choice;
    const mgn_status status = mgn_cl_program_create(&product->device->base, &product->call, 1, program);
    product->device->forced = before;
    return status;
}

/* Seconds of `times` runs. */
static mgn_status run(const mgn_tune_product *product, mgn_program *program, uint64_t times, double *seconds) {
    const double begin = mgn_now();
    MGN_TRY(mgn_cl_program_run(&product->device->base, program, times));
    MGN_TRY(mgn_device_finish(&product->device->base));
    *seconds = mgn_now() - begin;
    return MGN_OK;
}

/* Runs once on a result full of NaN, so that what is left out shows, and compares. */
static mgn_status check(const mgn_tune_product *product, mgn_program *program, bool *right) {
    const size_t count = (size_t)(product->shape.m * product->shape.n);
    double seconds;
    for (size_t i = 0; i < count; i++) product->found[i] = NAN;
    MGN_TRY(mgn_tensor_write(product->out, MGN_F32, product->found));
    MGN_TRY(run(product, program, 1, &seconds));
    MGN_TRY(mgn_tensor_read(product->out, MGN_F32, product->found));
    *right = true;
    for (size_t i = 0; i < count && *right; i++) *right = product->found[i] == product->expected[i];
    return MGN_OK;
}

static uint64_t runs_of_a_sample(double seconds) {
    return seconds >= sample_seconds ? 1 : (uint64_t)(sample_seconds / MGN_MAX(seconds, 1e-7)) + 1;
}

static mgn_status time_runs(const mgn_tune_product *product, mgn_program *program, double bound, double *fastest) {
    double seconds, all = 0;
    MGN_TRY(run(product, program, 1, &seconds));
    *fastest = seconds;
    const uint64_t times = runs_of_a_sample(seconds);
    for (int i = 0; i < MOST_RUNS && (i < LEAST_RUNS || all < trial_seconds); i++) {
        MGN_TRY(run(product, program, times, &seconds));
        all += seconds;
        *fastest = MGN_MIN(*fastest, seconds / (double)times);
        /* Far behind: it will not come first. */
        if (*fastest > 1.5 * bound || (i >= 1 && *fastest > 1.2 * bound)) break;
    }
    return MGN_OK;
}

mgn_tune_verdict mgn_tune_trial(const mgn_tune_product *product, const mgn_cl_choice *choice, double bound,
                                double *seconds) {
    mgn_program *program = NULL;
    bool right = false;
    mgn_status status = lower(product, choice, &program);
    if (status == MGN_OK) status = check(product, program, &right);
    if (status == MGN_OK && right) status = time_runs(product, program, bound, seconds);
    mgn_cl_program_destroy(&product->device->base, program);
    return status != MGN_OK ? MGN_TUNE_FAILED : right ? MGN_TUNE_RIGHT : MGN_TUNE_WRONG;
}

mgn_status mgn_tune_duel(const mgn_tune_product *product, const mgn_cl_choice choices[2], double seconds[2]) {
    mgn_program *programs[2] = {NULL, NULL};
    uint64_t times[2] = {1, 1};
    mgn_status status = MGN_OK;
    for (int c = 0; c < 2 && status == MGN_OK; c++) {
        status = lower(product, &choices[c], &programs[c]);
        if (status == MGN_OK) status = run(product, programs[c], 1, &seconds[c]);
        if (status == MGN_OK) status = run(product, programs[c], 1, &seconds[c]);
        times[c] = runs_of_a_sample(seconds[c]);
    }
    for (int round = 0; round < DUEL_ROUNDS && status == MGN_OK; round++)
        for (int c = 0; c < 2 && status == MGN_OK; c++) {
            double spent = 0;
            status = run(product, programs[c], times[c], &spent);
            seconds[c] = MGN_MIN(seconds[c], spent / (double)times[c]);
        }
    for (int c = 0; c < 2; c++) mgn_cl_program_destroy(&product->device->base, programs[c]);
    return status;
}
