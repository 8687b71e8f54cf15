/* Training steps and the making of their plans, through mgn_train itself: data on the device, shuffled batches, Adam. A
 * sample is an epoch, from one report to the next, so it holds what a user waits for: the host's look at the loss and
 * the parameters too, but no compilation. The first epoch warms up. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include <mgn/train.h>

#include "backend/backend.h"
#include "bench/sampling.h"
#include "core/random.h"

typedef struct step_case {
    const char *model;
    int d, h, layers;
    const char *loss;
    int64_t batch, rows;
} step_case;

enum { PLANE_ROWS = 10000, COLOUR_ROWS = 2073600 /* a picture of 1920 x 1080 */, DIGIT_SIDE = 28, OBJECT_SIDE = 32 };

#define PLANE_CASES(loss)                                                                     \
    {"cmgn", 2, 2, 2, loss, 32, PLANE_ROWS}, {"cmgn", 2, 2, 2, loss, PLANE_ROWS, PLANE_ROWS}, \
        {"mmgn", 2, 3, 2, loss, 32, PLANE_ROWS}, {                                            \
        "mmgn", 2, 3, 2, loss, PLANE_ROWS, PLANE_ROWS                                         \
    }

/* d, hidden units and layers of MNIST's size: most of the work is products. */
enum { WIDE_BATCHES = 16, PEAK_EDGE = 2048 };
static const step_case wide_cases[] = {
    {"cmgn", 784, 512, 32, "mse", 256, 256 * WIDE_BATCHES},
    {"cmgn", 784, 256, 10, "mse", 512, 512 * WIDE_BATCHES},
};

static const step_case step_cases[] = {
    PLANE_CASES("l1"),
    PLANE_CASES("nll"),
    PLANE_CASES("kl"),
    {"cmgn", 3, 3, 2, "kl", COLOUR_ROWS / 4, COLOUR_ROWS},
    {"cmgn", DIGIT_SIDE *DIGIT_SIDE, 512, 32, "mse", 256, 4 * 256},
    {"cmgn", DIGIT_SIDE *DIGIT_SIDE, 512, 32, "sinkhorn", 256, 4 * 256},
    {"conv-cmgn", 3 * OBJECT_SIDE *OBJECT_SIDE, 32, 2, "mse", 64, 256},
};

/* ---- data ---- */

/* Noise, and pictures like those of digits, from -1 to 1 and mostly -1. */
static void fill_digit(const step_case *c, int64_t i, uint64_t *random, float *x, float *y) {
    for (int j = 0; j < c->d; j++) {
        x[j] = (float)mgn_host_normal(5, 0, (uint64_t)(i * c->d + j));
        y[j] = mgn_bench_uniform(random, 0, 1) < 0.19 ? (float)mgn_bench_uniform(random, -1, 1) : -1;
    }
}

/* For losses with targets: the gradient field (4 a^3 + b / 2, 1/2 + a / 2 + 3 b - b^2) on the unit square. Else in the
 * plane a correlated Gaussian, and colours that lie along the greys. */
static void fill_row(const step_case *c, int64_t i, uint64_t *random, float *x, float *y) {
    if (c->d > 3) {
        fill_digit(c, i, random, x, y);
    } else if (y) {
        double a = mgn_bench_uniform(random, 0, 1), b = mgn_bench_uniform(random, 0, 1);
        x[0] = (float)a, x[1] = (float)b;
        y[0] = (float)(4 * a * a * a + 0.5 * b), y[1] = (float)(0.5 + 0.5 * a + 3 * b - b * b);
    } else if (c->d == 2) {
        double a = mgn_host_normal(5, 0, 2 * (uint64_t)i), b = mgn_host_normal(5, 0, 2 * (uint64_t)i + 1);
        x[0] = (float)(2 + a), x[1] = (float)(1 - 0.8 * a + 0.6 * b);
    } else {
        double grey = mgn_bench_uniform(random, 0.1, 0.9);
        for (int j = 0; j < c->d; j++) x[j] = (float)(grey + mgn_bench_uniform(random, -0.1, 0.1));
    }
}

static mgn_status make_samples(const step_case *c, int64_t rows, mgn_samples *samples) {
    bool pairs = mgn_loss_needs_pairs(c->loss) || mgn_loss_needs_samples(c->loss);
    float *x = mgn_alloc((size_t)rows, (size_t)c->d * sizeof *x),
          *y = pairs ? mgn_alloc((size_t)rows, (size_t)c->d * sizeof *y) : NULL;
    *samples = (mgn_samples){x, y, rows};
    if (!x || (pairs && !y)) return MGN_ERR_MEMORY;
    uint64_t random = 11;
    for (int64_t i = 0; i < rows; i++) fill_row(c, i, &random, x + i * c->d, y ? y + i * c->d : NULL);
    return MGN_OK;
}

static void free_samples(mgn_samples *samples) {
    mgn_free((void *)(uintptr_t)samples->x);
    mgn_free((void *)(uintptr_t)samples->y);
}

/* ---- training ---- */

typedef struct epochs {
    mgn_sampler sampler;
    double budget, last;
} epochs;

static bool take_epoch(void *context, const mgn_train_report *report) {
    epochs *e = context;
    double seconds = report->seconds - e->last;
    if (report->epoch == 1) mgn_sampler_begin(&e->sampler, e->budget);
    bool more =
        report->epoch == 1 || mgn_sampler_add(&e->sampler, seconds * (double)report->epoch / (double)report->steps);
    e->last = report->seconds;
    return more;
}

/* The reference experiments' settings: Adam at 0.001 in the plane, at 0.01 with weight decay and clipping for colours.
 * */
static void configure(const step_case *c, mgn_train_config *config) {
    static const double mean[3] = {0.45, 0.35, 0.3};
    static const double covariance[9] = {0.06, 0.04, 0.03, 0.04, 0.04, 0.03, 0.03, 0.03, 0.035};
    *config =
        (mgn_train_config){.optimizer = {.kind = "adam", .lr = 1e-3}, .batch = c->batch, .epochs = 1, .real = MGN_F32};
    snprintf(config->loss.kind, sizeof config->loss.kind, "%s", c->loss);
    config->loss.sinkhorn = (mgn_sinkhorn_config){.blur = 0.05, .scaling = 0.9};
    if (c->d != 3) return;
    config->loss.mean = mean;
    config->loss.covariance = covariance;
    config->optimizer = (mgn_optimizer_config){.kind = "adam", .lr = 0.01, .weight_decay = 0.05, .clip_norm = 1};
}

static mgn_status make_model(const step_case *c, mgn_model **model) {
    mgn_model_config config = {.d = c->d,
                               .h = c->h,
                               .layers = c->layers,
                               .v = MGN_V_ORTHOGONAL,
                               .activation = mgn_model_usual_activation(c->model)};
    snprintf(config.kind, sizeof config.kind, "%s", c->model);
    if (strcmp(c->model, "conv-cmgn") == 0) {
        config.image = (mgn_image_shape){OBJECT_SIDE, OBJECT_SIDE, 3};
        config.kernel = 5;
        config.padding = 2;
    }
    MGN_TRY(mgn_model_create(&config, 3, model));
    double *values = mgn_model_values(*model); /* W first; scaled, wide inputs leave the activations some slope */
    const bool is_wide = c->d > 3 && strcmp(c->model, "cmgn") == 0;
    for (int64_t i = 0; is_wide && i < (int64_t)c->h * c->d; i++) values[i] /= sqrt(c->d);
    return MGN_OK;
}

/* Trains until the sampler has enough, or once when there is none. */
static mgn_status train(const step_case *c, mgn_device *device, int64_t rows, epochs *e, mgn_train_result *result) {
    mgn_train_config config;
    mgn_model *model = NULL;
    mgn_target *target = NULL;
    mgn_samples samples;
    configure(c, &config);
    if (e) {
        config.epochs = (int64_t)1 << 40;
        config.report = take_epoch;
        config.context = e;
    }
    mgn_status status = make_samples(c, rows, &samples);
    if (status == MGN_OK) status = make_model(c, &model);
    const bool pairs = mgn_loss_needs_pairs(c->loss);
    if (status == MGN_OK && mgn_loss_needs_samples(c->loss))
        status = mgn_target_create_rows(samples.y, rows, c->d, &target);
    config.loss.target = target;
    const mgn_samples given = {samples.x, pairs ? samples.y : NULL, samples.n};
    if (status == MGN_OK) status = mgn_train(model, device, &given, &config, result);
    if (e && status == MGN_ERR_INTERRUPTED && !mgn_interrupted()) status = MGN_OK; /* enough samples */
    mgn_target_destroy(target);
    mgn_model_destroy(model);
    free_samples(&samples);
    return status;
}

static void describe(const step_case *c, cJSON *row) {
    cJSON_AddStringToObject(row, "model", c->model);
    cJSON_AddNumberToObject(row, "d", c->d);
    cJSON_AddNumberToObject(row, "h", c->h);
    cJSON_AddNumberToObject(row, "layers", c->layers);
    cJSON_AddStringToObject(row, "loss", c->loss);
    cJSON_AddNumberToObject(row, "batch", (double)c->batch);
    cJSON_AddNumberToObject(row, "rows", (double)c->rows);
}

static mgn_status run_step(mgn_bench *bench, const mgn_bench_entry *entry, cJSON *row) {
    const step_case *c = &step_cases[entry->index];
    bool fused = strcmp(entry->name, "step") == 0;
    epochs *e = mgn_alloc(1, sizeof *e);
    mgn_bench_setting fusion = {0};
    mgn_train_result result = {0};
    if (!e) return MGN_ERR_MEMORY;
    e->budget = bench->seconds;
    mgn_status status = mgn_bench_set(&fusion, "MGN_FUSE", fused ? "1" : "0");
    if (status == MGN_OK) status = train(c, bench->device, c->rows, e, &result);
    mgn_bench_restore(&fusion);
    if (status == MGN_OK) {
        mgn_timing timing = mgn_sampler_end(&e->sampler);
        describe(c, row);
        mgn_bench_timing(row, &timing, "us", 1e6);
        mgn_bench_number(row, "compile_ms", result.compile_seconds * 1e3);
        mgn_bench_number(row, "last_loss", result.loss);
    }
    mgn_free(e);
    return status;
}

/* ---- wide models ---- */

/* What matrix products alone cost: with this BLAS at its best on all threads, and, on OpenCL, those of a step by CLBlast. */
static mgn_status time_products(mgn_bench *bench, const step_case *c, cJSON *row, double step_seconds) {
    mgn_timing peak, clblast;
    /* W and V each stand in two products forward, and in the gradients of their result, twice, and of the other's. */
    const double flops = 2.0 * (double)c->batch * c->d * (5.0 * c->h + 5.0 * c->d);
    MGN_TRY(mgn_bench_time_blas(PEAK_EDGE, PEAK_EDGE, PEAK_EDGE, bench->seconds, &peak));
    const double most = 2.0 * PEAK_EDGE * PEAK_EDGE * (double)PEAK_EDGE / peak.fastest;
    mgn_bench_number(row, "gflops", flops / step_seconds * 1e-9);
    mgn_bench_number(row, "peak_gflops", most * 1e-9);
    mgn_bench_number(row, "share", flops / step_seconds / most);
    if (bench->device->backend != &mgn_opencl_backend) return MGN_OK;
    const int n = (int)c->batch, d = c->d, h = c->h;
    const int sizes[][3] = {{n, h, d}, {n, d, d}, {n, d, h}, {n, d, d}, {n, h, d},
                            {n, d, d}, {h, d, n}, {h, d, n}, {d, d, n}, {d, d, n}}; /* m, n, k */
    MGN_TRY(mgn_bench_time_clblast(bench->device, sizes, MGN_COUNT(sizes), bench->seconds, &clblast));
    mgn_bench_number(row, "clblast_us", clblast.fastest * 1e6);
    return MGN_OK;
}

static mgn_status run_wide(mgn_bench *bench, const mgn_bench_entry *entry, cJSON *row) {
    const step_case *c = &wide_cases[entry->index];
    epochs *e = mgn_alloc(1, sizeof *e);
    mgn_train_result result = {0};
    if (!e) return MGN_ERR_MEMORY;
    e->budget = bench->seconds;
    mgn_status status = train(c, bench->device, c->rows, e, &result);
    if (status == MGN_OK) {
        mgn_timing timing = mgn_sampler_end(&e->sampler);
        describe(c, row);
        mgn_bench_timing(row, &timing, "us", 1e6);
        mgn_bench_number(row, "compile_ms", result.compile_seconds * 1e3);
        mgn_bench_number(row, "last_loss", result.loss);
        status = time_products(bench, c, row, timing.fastest);
    }
    mgn_free(e);
    return status;
}

void mgn_bench_add_wide(mgn_bench_list *list) {
    for (size_t i = 0; i < MGN_COUNT(wide_cases); i++) {
        const step_case *c = &wide_cases[i];
        mgn_bench_add(list, "wide", (int)i, run_wide, "%s d=%d h=%d L=%d %s batch %lld", c->model, c->d, c->h,
                      c->layers, c->loss, (long long)c->batch);
    }
}

void mgn_bench_add_steps(mgn_bench_list *list) {
    static const char *const names[] = {"step", "step-unfused"};
    for (size_t i = 0; i < MGN_COUNT(names); i++)
        for (size_t j = 0; j < MGN_COUNT(step_cases); j++) {
            const step_case *c = &step_cases[j];
            mgn_bench_add(list, names[i], (int)j, run_step, "%s d=%d h=%d %s batch %lld", c->model, c->d, c->h, c->loss,
                          (long long)c->batch);
        }
}

/* ---- compiling ---- */

/* How much is there already when a step's plan is made. */
static const struct {
    const char *label, *cache;
    bool keeps_device;
} starts[] = {
    {"cold", "off", false}, /* no kernel was ever compiled (a driver's own cache aside) */
    {"warm", NULL, false},  /* a new process: kernels on disk */
    {"again", NULL, true},  /* the same process and device: kernels in memory */
};

enum { COMPILE_ROWS = 64 };

/* One plan, made from scratch: what mgn_train says it took before its first step. */
static mgn_status compile_once(mgn_bench *bench, bool keeps_device, double *seconds) {
    step_case c = step_cases[0];
    mgn_train_result result = {0};
    mgn_device *device = bench->device;
    if (!keeps_device) MGN_TRY(mgn_device_open(mgn_device_get_info(bench->device)->spec, &device));
    mgn_status status = train(&c, device, COMPILE_ROWS, NULL, &result);
    if (!keeps_device) mgn_device_close(device);
    *seconds = result.compile_seconds;
    return status;
}

static mgn_status compile_samples(mgn_bench *bench, bool keeps_device, mgn_timing *timing) {
    double seconds;
    mgn_sampler *sampler = mgn_alloc(1, sizeof *sampler);
    if (!sampler) return MGN_ERR_MEMORY;
    mgn_status status = compile_once(bench, keeps_device, &seconds); /* fills caches where they are in use */
    mgn_sampler_begin(sampler, bench->seconds);
    for (bool more = true; status == MGN_OK && more;) {
        status = compile_once(bench, keeps_device, &seconds);
        if (status == MGN_OK) more = mgn_sampler_add(sampler, seconds);
    }
    *timing = mgn_sampler_end(sampler);
    mgn_free(sampler);
    return status;
}

static mgn_status run_compile(mgn_bench *bench, const mgn_bench_entry *entry, cJSON *row) {
    mgn_bench_setting cache = {0};
    mgn_timing timing;
    bool off = starts[entry->index].cache != NULL;
    if (off) MGN_TRY(mgn_bench_set(&cache, "MGN_CACHE", starts[entry->index].cache));
    mgn_status status = compile_samples(bench, starts[entry->index].keeps_device, &timing);
    if (off) mgn_bench_restore(&cache);
    MGN_TRY(status);
    describe(&step_cases[0], row);
    cJSON_AddStringToObject(row, "start", starts[entry->index].label);
    mgn_bench_timing(row, &timing, "ms", 1e3);
    return MGN_OK;
}

void mgn_bench_add_compiles(mgn_bench_list *list) {
    for (size_t i = 0; i < MGN_COUNT(starts); i++)
        mgn_bench_add(list, "compile", (int)i, run_compile, "cmgn l1 %s", starts[i].label);
}
