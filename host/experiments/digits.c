/* Handwritten digits from noise: N(0, I) to the pictures of MNIST or of the small set in assets/, by the published recipe
 * and by prototypes, beside the affine map between the moments. All are judged by digits that none has learned from.
 *
 * The floors are no bounds. Half the squared distance between two clouds in 784 dimensions is mostly that between each
 * digit and its nearest neighbour, and means of similar digits are nearer to everything than digits are: the divergence
 * rewards them, the Frechet distance does not, since they vary too little. It takes both to say how good a map is. */
#include "experiments/digits.h"

#include <math.h>
#include <string.h>

#include <mgn/ot.h>
#include <mgn/semidiscrete.h>

enum { QUICK_LEARNED = 10000, QUICK_JUDGED = 2000 };
enum { JACOBIANS = 4, FRECHET_AXES = 64, LEARN_SEED = 1, JUDGE_SEED, FLOOR_SEED, SEEDS = 8, MOST_TRIALS = 4 };

static const mgn_sinkhorn_config divergence = {.blur = 0.05, .scaling = 0.9};

/* One of the two sets, and the sizes that suit it. */
typedef struct problem {
    const char *label, *folder;
    mgn_trial trials[MOST_TRIALS]; /* d comes from the data */
    mgn_semidiscrete_config prototypes;
} problem;

static const problem mnist = {
    .label = "mnist",
    .trials = {{mgn_published, {.kind = "cmgn", .h = 512, .layers = 32}},
               {mgn_published, {.kind = "cmgn", .h = 256, .layers = 10}},
               {mgn_affine, {.kind = "lse", .h = 1, .layers = 1}},
               {mgn_best, {.kind = "lse", .h = 1000, .layers = 1}}},
    .prototypes = {.restored = 0.4},
};

static const problem small = {
    .label = "digits",
    .folder = "assets/digits",
    .trials = {{mgn_published, {.kind = "cmgn", .h = 64, .layers = 32}},
               {mgn_published, {.kind = "cmgn", .h = 32, .layers = 10}},
               {mgn_affine, {.kind = "lse", .h = 1, .layers = 1}},
               {mgn_best, {.kind = "lse", .h = 200, .layers = 1}}},
    .prototypes = {.restored = 0.4, .axes = 32},
};

static uint64_t seed_of(const mgn_run *run, uint64_t which) { return SEEDS * run->config->seed + which; }

/* ---- data ---- */

static mgn_status make_noise(int64_t rows, int64_t d, uint64_t seed, mgn_matrix *noise) {
    mgn_target *normal = NULL;
    MGN_TRY(mgn_matrix_create(rows, d, noise));
    MGN_TRY(mgn_target_create_gaussian(d, NULL, NULL, &normal));
    const mgn_status status = mgn_target_sample(normal, rows, seed, noise->values);
    mgn_target_destroy(normal);
    return status;
}

static mgn_status read_part(const char *folder, const char *part, mgn_image_set *shape, mgn_matrix *rows) {
    mgn_image_set set = {0};
    MGN_TRY(mgn_mnist_read(folder, part, &set));
    const bool fits = shape->height == 0 || (shape->height == set.height && shape->width == set.width);
    mgn_status status = MGN_OK;
    if (!fits)
        status = mgn_fail(MGN_ERR_FORMAT, "%s: pictures of %lld x %lld are in %s, those before were %lld x %lld",
                          folder, (long long)set.height, (long long)set.width, part, (long long)shape->height,
                          (long long)shape->width);
    if (status == MGN_OK) status = mgn_image_set_rows(&set, rows);
    *shape = (mgn_image_set){.count = set.count, .height = set.height, .width = set.width, .channels = 1};
    mgn_image_set_free(&set);
    return status;
}

/* Both measures of rows, as many as there are test digits, against these. */
static mgn_status measure(const mgn_run *run, const mgn_digits *d, const float *rows, double *sinkhorn,
                          double *frechet) {
    const mgn_matrix *test = &d->test;
    mgn_sinkhorn_result result;
    MGN_TRY(mgn_frechet(rows, test->rows, test->values, test->rows, test->columns, MGN_MIN(FRECHET_AXES, test->columns),
                        frechet));
    MGN_TRY(mgn_sinkhorn(run->device, rows, NULL, test->rows, test->values, NULL, test->rows, test->columns,
                         &divergence, &result, NULL));
    *sinkhorn = result.value;
    return MGN_OK;
}

static mgn_status measure_floors(const mgn_run *run, mgn_digits *d) {
    mgn_target *train = NULL;
    mgn_matrix some = {0};
    MGN_TRY(mgn_target_create_rows(d->train.values, d->train.rows, d->train.columns, &train));
    mgn_status status = mgn_matrix_create(d->test.rows, d->test.columns, &some);
    if (status == MGN_OK) status = mgn_target_sample(train, some.rows, seed_of(run, FLOOR_SEED), some.values);
    if (status == MGN_OK) status = measure(run, d, some.values, &d->sinkhorn, &d->frechet);
    mgn_matrix_free(&some);
    mgn_target_destroy(train);
    return status;
}

static mgn_status prepare(const mgn_run *run, const problem *p, mgn_digits *d) {
    const char *folder = run->config->data ? run->config->data : p->folder;
    if (!folder)
        return mgn_fail(MGN_ERR_ARGUMENT,
                        "mnist: the folder with train-images-idx3-ubyte and t10k-images-idx3-ubyte (or their .gz) was "
                        "expected, --data; the experiment digits needs none");
    const mgn_status status = read_part(folder, "train", &d->shape, &d->train);
    if (status == MGN_ERR_IO && !run->config->data)
        return mgn_fail(MGN_ERR_IO,
                        "%s, which comes with the source code, is not to be found from here; --data names another "
                        "folder of IDX files",
                        folder);
    MGN_TRY(status);
    MGN_TRY(read_part(folder, "t10k", &d->shape, &d->test));
    if (run->config->quick) { /* distances take as long as there are pairs */
        d->train.rows = MGN_MIN(d->train.rows, QUICK_LEARNED);
        d->test.rows = MGN_MIN(d->test.rows, QUICK_JUDGED);
    }
    MGN_TRY(make_noise(d->test.rows, d->test.columns, seed_of(run, JUDGE_SEED), &d->noise));
    return measure_floors(run, d);
}

/* ---- recipes ---- */

typedef struct job {
    const problem *problem;
    mgn_digits digits;
} job;

static mgn_status train_published(const mgn_run *run, const mgn_digits *d, mgn_model *model, int64_t *steps) {
    mgn_matrix noise = {0};
    mgn_target *target = NULL;
    mgn_status status = make_noise(d->train.rows, d->train.columns, seed_of(run, LEARN_SEED), &noise);
    if (status == MGN_OK) status = mgn_target_create_rows(d->train.values, d->train.rows, d->train.columns, &target);
    const mgn_train_config config = {
        .loss = {.kind = "sinkhorn", .cost_weight = 0.2, .target = target, .sinkhorn = divergence},
        .optimizer = {.kind = "adam", .lr = 0.01},
        .schedule = {.kind = MGN_SCHEDULE_PLATEAU},
        .batch = 256,
        .accumulate = 4,
        .epochs = run->config->epochs ? run->config->epochs : 200,
        .seed = run->config->seed};
    if (status == MGN_OK)
        status = mgn_train_step(run, "published recipe", model, &(mgn_samples){noise.values, NULL, noise.rows}, &config,
                                steps, NULL);
    mgn_matrix_free(&noise);
    mgn_target_destroy(target);
    return status;
}

static bool show_offsets(void *context, const mgn_train_report *report) {
    const mgn_experiment_config *config = context;
    return mgn_report_steps(config, "masses of prototypes", report);
}

static mgn_status train(const mgn_run *run, void *data, const mgn_trial *trial, mgn_model **model, int64_t *steps) {
    const job *j = data;
    const mgn_digits *d = &j->digits;
    MGN_TRY(mgn_model_create(&trial->model, run->config->seed, model));
    if (trial->recipe == mgn_published) return train_published(run, d, *model, steps);
    mgn_semidiscrete_config config = j->problem->prototypes;
    config.seed = seed_of(run, LEARN_SEED);
    config.report = show_offsets;
    config.context = (void *)(uintptr_t)run->config;
    if (trial->recipe == mgn_affine) { /* one prototype, and all of the covariance: the map between the moments */
        config.restored = 1;
        config.axes = trial->model.d;
        config.lloyd = 1;
    }
    mgn_train_result result = {0};
    const mgn_status status = mgn_semidiscrete(*model, run->device, d->train.values, d->train.rows, &config, &result);
    *steps += result.steps;
    return status;
}

/* ---- judging ---- */

static mgn_status judge(const mgn_run *run, void *data, const mgn_trial *trial, mgn_model *model, mgn_map *map,
                        mgn_experiment_result *result) {
    const mgn_digits *d = &((const job *)data)->digits;
    const int64_t n = d->test.rows, columns = d->test.columns;
    double sinkhorn, frechet, cost;
    mgn_jacobian_stats jacobian;
    mgn_matrix made = {0};
    MGN_TRY(mgn_matrix_create(n, columns, &made));
    mgn_status status = mgn_map_apply(map, d->noise.values, n, made.values);
    if (status == MGN_OK) status = measure(run, d, made.values, &sinkhorn, &frechet);
    if (status == MGN_OK) status = mgn_transport_cost(d->noise.values, made.values, n, columns, &cost);
    if (status == MGN_OK) status = mgn_map_jacobian_stats(map, d->noise.values, MGN_MIN(JACOBIANS, n), &jacobian);
    mgn_matrix_free(&made);
    MGN_TRY(status);
    mgn_add_figure(result, "sinkhorn", sinkhorn, NAN, d->sinkhorn);
    mgn_add_figure(result, "frechet", frechet, NAN, d->frechet);
    mgn_add_figure(result, "cost", cost, NAN, NAN);
    mgn_add_figure(result, "jacobian_min", jacobian.smallest, NAN, NAN);
    mgn_add_figure(result, "asymmetry", jacobian.asymmetry, NAN, 0);
    return mgn_draw_digits(run, d, trial, model, map);
}

static mgn_status run_problem(const mgn_run *run, const problem *p) {
    job j = {.problem = p, .digits = {.label = p->label}};
    mgn_digits *d = &j.digits;
    mgn_trial trials[MOST_TRIALS];
    mgn_status status = prepare(run, p, d);
    for (size_t i = 0; i < MOST_TRIALS; i++) {
        trials[i] = p->trials[i];
        trials[i].model.d = d->train.columns;
    }
    const mgn_protocol protocol = {trials, MOST_TRIALS, train, judge, p->label};
    if (status == MGN_OK) status = mgn_run_trials(run, &protocol, &j);
    mgn_matrix *const matrices[] = {&d->train, &d->test, &d->noise};
    for (size_t i = 0; i < MGN_COUNT(matrices); i++) mgn_matrix_free(matrices[i]);
    return status;
}

static mgn_status run_mnist(const mgn_run *run) { return run_problem(run, &mnist); }
static mgn_status run_small(const mgn_run *run) { return run_problem(run, &small); }

const mgn_experiment mgn_mnist_experiment = {
    .label = "mnist",
    .summary = "N(0, I) to handwritten digits (or any set of IDX pictures: --data)",
    .details =
        "Published recipe: C-MGN of 32 layers of 512 units, and one of 10 layers of 256, Sinkhorn divergence (blur "
        ".05, "
        "scaling .9) of batches of 256 and .2 times the transport cost, Adam with learning rate .01, gradients of 4 "
        "batches a step, plateau schedule, 200 epochs of as many noises as there are digits. Best recipe: an LSE "
        "network "
        "of 1,000 prototypes from k-means, offsets by 400 steps on the semi-dual of transport to them, and a quadratic "
        "part, in closed form, that restores .4 of the covariance they lack in 64 principal axes. Recipe affine: the "
        "optimal map between the moments. sinkhorn: the divergence (cost |x - y|^2 / 2) between as many generated "
        "digits as there are test digits and these; frechet: squared Frechet distance of the same clouds within the 64 "
        "principal axes of the test digits. The optimum shown is what as many training digits get, which is no bound: "
        "the divergence is lower for means of similar digits, which the Frechet distance finds wanting. jacobian_min, "
        "asymmetry: of the Jacobian at 4 noises. --quick: the first 10,000 digits to learn from, and 2,000 to judge "
        "by. "
        "--pictures writes the map, and pictures of samples, the training "
        "digits nearest to some, ways "
        "between two noises and the way from noise to digits.",
    .run = run_mnist,
};

const mgn_experiment mgn_digits_experiment = {
    .label = "digits",
    .summary = "the same as mnist for the 1,797 digits of 8 x 8 pixels in assets/digits, in seconds",
    .details = "As mnist, with C-MGN of 64 and 32 units, 200 prototypes, and 32 of the 64 axes. Every fifth digit is a "
               "test digit.",
    .run = run_small,
};
