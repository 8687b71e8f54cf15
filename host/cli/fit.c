#include "fit.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include <mgn/ot.h>
#include <mgn/semidual.h>

#include "cli.h"
#include "comm/comm.h"
#include "core/parse.h"
#include "experiments/experiments.h"
#include "fallback.h"
#include "loss/moments.h"
#include "model/model.h"
#include "train/diameter.h"
#include "watch.h"

enum {
    USUAL_EPOCHS = 100,
    SEMIDUAL_EPOCHS = 20,
    USUAL_BATCH = 256,
    USUAL_KERNEL = 5,
    USUAL_FILTERS = 32,
    MOMENTS_BATCH = 4096, /* of losses that estimate a covariance from each batch */
    POINTS_BATCH = 512,   /* of losses between clouds of points */
    MOST_POINTS = 4096,   /* such a loss is measured on */
    DIRECTIONS = 256,
    SLICED_ROWS = 65536 /* of either side: distances of more rows would take longer than the training */
};

/* Apart from the source's, so that two draws from one distribution differ. */
static const uint64_t target_seed = UINT64_C(0x9e6c63d0876a9a35);

static mgn_status out_of_memory(void) { return mgn_fail(MGN_ERR_MEMORY, "out of memory for the rows to learn from"); }

/* ---- names ---- */

/* Fails unless `word` is one of the names that `list` gives. */
static mgn_status check_name(const char *option, const char *word, const char *(*list)(size_t)) {
    char all[256] = "";
    const char *best = NULL, *label;
    for (size_t i = 0, at = 0; (label = list(i)) && at < sizeof all; i++) {
        if (strcmp(label, word) == 0) return MGN_OK;
        at += (size_t)snprintf(all + at, sizeof all - at, "%s%s", i ? ", " : "", label);
        mgn_nearest(word, label, &best);
    }
    return mgn_fail(MGN_ERR_ARGUMENT, "%s: '%.60s' is not one of %s%s%s%s", option, word, all,
                    best ? "; did you mean '" : "", best ? best : "", best ? "'?" : "");
}

static mgn_status check_names(const fit_options *o) {
    if (o->model) MGN_TRY(check_name("--model", o->model, mgn_model_kind));
    MGN_TRY(check_name("--optimizer", o->optimizer, mgn_optimizer_kind));
    if (o->loss) MGN_TRY(check_name("--loss", o->loss, mgn_loss_kind));
    return MGN_OK;
}

/* ---- the loss ---- */

/* It is never chosen by itself. */
static bool is_semidual(const fit_job *j) { return j->options.loss && strcmp(j->options.loss, "semidual") == 0; }

/* What the target offers decides: given images, a density, or points alone. A density needs the Jacobian as well. */
static const char *choose_loss(const fit_job *j, const char **reason) {
    if (j->options.paired) {
        *reason = "the images of the rows are given";
        return "mse";
    }
    const bool has_density = mgn_target_density(j->target) == MGN_DENSITY_SMOOTH;
    if (has_density && mgn_model_config_is_monotone(&j->shape)) {
        *reason = "the target has a density";
        return "nll";
    }
    *reason = has_density ? "the model need not be monotone, so only points can be compared"
                          : "the target is known by its points";
    return "sinkhorn";
}

/* Fails for a loss with log det J in it where J need not be positive definite: it would be NaN at the start or soon. */
static mgn_status check_jacobian(const fit_job *j, const char *loss) {
    if (!mgn_loss_takes_jacobian(loss) || mgn_model_config_is_monotone(&j->shape)) return MGN_OK;
    return mgn_fail(
        MGN_ERR_ARGUMENT,
        "--loss %s takes log det of the Jacobian, but that of %s %s need not be positive definite; leave %s "
        "out, or take kl or sinkhorn",
        loss, j->shape.kind, j->shape.signed_scales ? "with scales of either sign" : "with several layers",
        j->shape.signed_scales ? "--signed" : "--layers");
}

/* Tables that are still in their files are taken into memory, unless they are learned from in windows. */
static mgn_status hold_source(fit_job *j, const char *kind) {
    const fit_options *o = &j->options;
    const int64_t count = mgn_target_count(j->source);
    if (o->paired && (!count || mgn_target_count(j->target) != count))
        return mgn_fail(MGN_ERR_ARGUMENT,
                        "--paired: two tables of equally many rows were expected; %s has %lld and %s has %lld",
                        mgn_target_label(j->source), (long long)count, mgn_target_label(j->target),
                        (long long)mgn_target_count(j->target));
    MGN_TRY(fit_choose_stream(j, kind));
    if (!j->is_streamed) return mgn_target_hold(j->source, o->samples, o->common.seed);
    return fit_stream_moments(j);
}

static mgn_status set_loss(fit_job *j) {
    const fit_options *o = &j->options;
    const char *reason = NULL, *kind = o->loss ? o->loss : choose_loss(j, &reason);
    mgn_loss_config *loss = &j->training.loss;
    snprintf(loss->kind, sizeof loss->kind, "%.15s", kind);
    loss->cost_weight = o->cost_weight;
    loss->squared = o->squared;
    loss->sinkhorn = (mgn_sinkhorn_config){.blur = o->blur, .scaling = o->scaling, .reach = o->reach};
    if (mgn_loss_needs_pairs(kind) && !o->paired)
        return mgn_fail(MGN_ERR_ARGUMENT,
                        "--loss %s compares row by row; with --paired row i of --target is the image of row i of "
                        "--source",
                        kind);
    if (!mgn_loss_needs_pairs(kind) && o->paired)
        return mgn_fail(MGN_ERR_ARGUMENT, "--paired is for the losses mse and l1; %s does not look at pairs", kind);
    MGN_TRY(check_jacobian(j, kind));
    MGN_TRY(hold_source(j, kind));
    MGN_TRY(fit_target_moments(j));
    MGN_TRY(fit_hold_target(j));
    loss->mean = j->to.mean;
    loss->covariance = j->to.covariance;
    loss->source = j->source;
    /* A finite target has no density of its own: nll is then that of the Gaussian with its moments. */
    const bool is_gaussian_fit = strcmp(kind, "nll") == 0 && mgn_target_density(j->target) != MGN_DENSITY_SMOOTH;
    loss->target = is_gaussian_fit ? NULL : j->target;
    if (reason) mgn_note("loss %s: %s", kind, reason);
    if (is_gaussian_fit) mgn_note("loss nll: to the Gaussian with the target's mean and covariance");
    return MGN_OK;
}

/* ---- settings ---- */

/* The shape that was asked for, or that the data have. */
static mgn_status set_picture(fit_job *j) {
    const fit_options *o = &j->options;
    mgn_image_shape *s = &j->shape.image;
    if (o->shape) {
        if (mgn_image_shape_parse(o->shape, s) != MGN_OK)
            return mgn_fail(MGN_ERR_ARGUMENT, "--shape: %s", mgn_last_error());
    } else if (!mgn_target_picture(j->source, &s->height, &s->width, &s->channels) &&
               !mgn_target_picture(j->target, &s->height, &s->width, &s->channels)) {
        return mgn_fail(MGN_ERR_ARGUMENT,
                        "--shape is missing: %s does not say what pictures its rows of %lld numbers are",
                        mgn_target_label(j->source), (long long)j->d);
    }
    const int64_t usual = MGN_MIN(USUAL_KERNEL, MGN_MIN(s->height, s->width));
    if (j->shape.kernel == 0) j->shape.kernel = usual;
    if (o->padding < 0) j->shape.padding = j->shape.kernel / 2;
    if (o->h == 0) j->shape.h = USUAL_FILTERS;
    return MGN_OK;
}

static mgn_status set_model(fit_job *j) {
    const fit_options *o = &j->options;
    const char *kind = o->model ? o->model : is_semidual(j) ? "dicnn" : "cmgn";
    snprintf(j->shape.kind, sizeof j->shape.kind, "%.15s", kind);
    j->shape.d = j->d;
    j->shape.h = o->h ? o->h : is_semidual(j) ? MGN_MAX(64, j->d) : MGN_MIN(MGN_MAX(8, 2 * j->d), 512);
    const bool is_icgn = strcmp(kind, "icgn") == 0; /* a gradient with one layer only */
    j->shape.layers = o->layers ? o->layers : is_icgn ? 1 : 2;
    j->shape.signed_scales = o->signed_scales;
    j->shape.lipschitz = o->lipschitz;
    j->shape.kernel = o->kernel;
    j->shape.stride = o->stride;
    j->shape.padding = MGN_MAX(o->padding, 0);
    j->shape.position_biases = o->position_biases;
    if (strcmp(kind, "conv-cmgn") == 0)
        MGN_TRY(set_picture(j));
    else if (o->shape)
        return mgn_fail(MGN_ERR_ARGUMENT, "--shape: %s does not look at rows as pictures; conv-cmgn does", kind);
    j->shape.activation = mgn_model_usual_activation(kind);
    return o->activation ? mgn_activation_parse(o->activation, &j->shape.activation) : MGN_OK;
}

static mgn_status set_training(fit_job *j) {
    const fit_options *o = &j->options;
    mgn_train_config *t = &j->training;
    const bool second = mgn_optimizer_is_second_order(o->optimizer);
    if (second && o->batch > 0)
        return mgn_fail(MGN_ERR_ARGUMENT, "--batch: %s takes all rows in every step", o->optimizer);
    snprintf(t->optimizer.kind, sizeof t->optimizer.kind, "%.15s", o->optimizer);
    t->optimizer.lr = second ? 0 : o->lr > 0 ? o->lr : is_semidual(j) ? 0.02 : 0.005;
    t->optimizer.momentum = o->momentum;
    t->optimizer.weight_decay = o->weight_decay;
    t->optimizer.clip_norm = o->clip;
    MGN_TRY(mgn_schedule_parse(o->schedule, &t->schedule.kind));
    t->schedule.gamma = o->gamma;
    t->schedule.every = o->every;
    t->schedule.floor = o->floor;
    t->epochs = o->epochs ? o->epochs : is_semidual(j) ? SEMIDUAL_EPOCHS : USUAL_EPOCHS;
    const int64_t usual = mgn_loss_is_of_moments(t->loss.kind)   ? MOMENTS_BATCH
                          : mgn_loss_needs_samples(t->loss.kind) ? POINTS_BATCH
                                                                 : USUAL_BATCH;
    t->batch = second ? 0 : o->batch ? o->batch : usual;
    t->blocks = o->blocks;
    t->comm = o->common.comm;
    const bool has_f64 = cli_fallback_has_float64(o->common.fallback, j->device);
    t->real = (o->real ? strcmp(o->real, "f64") == 0 : second && has_f64) ? MGN_F64 : MGN_F32;
    return mgn_optimizer_check(&t->optimizer, &(mgn_optimizer_shape){0});
}

/* What adam takes for a gradient of 0: where targets are small, so are losses of pairs and their gradients. */
static void set_epsilon(fit_job *j) {
    double square = 0;
    for (int64_t i = 0; i < j->d; i++) square += j->to.variance[i] / (double)j->d;
    const char *kind = j->training.loss.kind;
    if (!(square > 0 && square < 1) || !mgn_loss_needs_pairs(kind)) return;
    j->training.optimizer.epsilon = 1e-8 * fmax(strcmp(kind, "l1") == 0 ? sqrt(square) : square, 1e-24);
}

/* The last batch of an epoch is made as large as the others where a covariance is estimated from it. */
static void even_batches(fit_job *j) {
    mgn_train_config *t = &j->training;
    if (t->batch == 0 || t->batch >= j->rows || !mgn_loss_is_of_moments(t->loss.kind)) return;
    const int64_t batches = (j->rows + t->batch - 1) / t->batch;
    t->batch = (j->rows + batches - 1) / batches;
}

static mgn_status prepare(fit_job *j, cli_watch *watch) {
    const fit_options *o = &j->options;
    cli_watch_stage(watch, "reading");
    MGN_TRY(mgn_target_parse(o->source, &j->source));
    MGN_TRY(mgn_target_parse(o->target, &j->target));
    j->d = mgn_target_dimension(j->source);
    MGN_TRY(cli_check_dimension(j->target, mgn_target_label(j->source), j->d));
    MGN_TRY(set_model(j));
    cli_watch_stage(watch, "means and covariances"); /* of files larger than memory: minutes */
    MGN_TRY(set_loss(j));
    cli_watch_stage(watch, "drawing rows");
    MGN_TRY(fit_draw_rows(j));
    cli_watch_stage(watch, "opening the device");
    MGN_TRY(cli_open_device(&o->common, &j->device));
    MGN_TRY(set_training(j));
    set_epsilon(j);
    even_batches(j);
    if (!j->held || !mgn_loss_needs_samples(j->training.loss.kind)) return MGN_OK;
    return cli_target_rows(j->target, MGN_MIN(j->held, MOST_POINTS), o->common.seed ^ target_seed, &j->like);
}

mgn_status fit_prepare(fit_job *j) {
    cli_watch watch;
    MGN_TRY(check_names(&j->options));
    cli_watch_begin(&watch, "fit", 4);
    const mgn_status status = prepare(j, &watch);
    cli_watch_end(&watch);
    return status;
}

/* ---- training ---- */

static bool show_progress(void *context, const mgn_train_report *report) {
    fit_job *j = context;
    const uint64_t before = (uint64_t)(j->kept - 1) * (uint64_t)report->epochs;
    if (j->options.plots && j->kept <= FIT_MOST_TRACES) mgn_draw_trace_add(&j->traces[j->kept - 1], report);
    mgn_progress_update(&j->progress, before + (uint64_t)report->epoch, "%s %.5g, %.0f steps/s", j->training.loss.kind,
                        report->loss, cli_steps_a_second(report));
    return true;
}

static mgn_samples samples_of(const fit_job *j, int64_t first, int64_t n) {
    return (mgn_samples){j->x.values + first * j->d, j->y.values ? j->y.values + first * j->d : NULL, n};
}

/* Between the images of some rows and as many samples of the target. */
static mgn_status measure_points(const fit_job *j, mgn_model *model, mgn_samples samples, double *loss) {
    mgn_matrix like = {0};
    mgn_loss_config config = j->training.loss;
    samples.n = MGN_MIN(samples.n, MOST_POINTS);
    MGN_TRY(cli_target_rows(j->target, samples.n, j->options.common.seed ^ target_seed, &like));
    samples.y = like.values;
    mgn_status status = mgn_images_diameter(model, j->device, j->training.real, &samples, like.values, like.rows,
                                            config.sinkhorn.blur, &config.sinkhorn.diameter);
    if (status == MGN_OK) status = mgn_measure_loss(&config, j->device, model, &samples, loss);
    mgn_matrix_free(&like);
    return status;
}

/* Every conjugate point is solved for; y outside the range of a map that is not onto has none, and the loss no value. */
static mgn_status measure_semidual(const fit_job *j, mgn_model *model, mgn_samples samples, double *loss) {
    mgn_clouds clouds;
    mgn_matrix like = {0};
    samples.n = MGN_MIN(samples.n, MOST_POINTS);
    MGN_TRY(cli_target_rows(j->target, samples.n, j->options.common.seed ^ target_seed, &like));
    clouds = (mgn_clouds){samples.x, like.values, samples.n, like.rows};
    const mgn_status status = mgn_semidual_value(model, j->device, &clouds, 1e-5, loss);
    if (status == MGN_ERR_NUMERIC) *loss = NAN;
    mgn_matrix_free(&like);
    return status == MGN_ERR_NUMERIC ? MGN_OK : status;
}

/* Loss on the rows held out, or on those learned from. */
static mgn_status measure(const fit_job *j, mgn_model *model, double *loss) {
    const mgn_samples samples = samples_of(j, j->shown_at, j->shown);
    if (is_semidual(j)) return measure_semidual(j, model, samples, loss);
    if (mgn_loss_needs_samples(j->training.loss.kind)) return measure_points(j, model, samples, loss);
    if (samples.n < 2 && mgn_loss_is_of_moments(j->training.loss.kind)) {
        *loss = NAN;
        return MGN_OK;
    }
    return mgn_measure_loss(&j->training.loss, j->device, model, &samples, loss);
}

/* Those whose loss is measured while training; NULL where there are none. Clouds of points are compared with as many. */
static const mgn_samples *held_out_rows(const fit_job *j, mgn_samples *rows) {
    if (!j->held) return NULL;
    *rows = samples_of(j, j->shown_at, j->held);
    if (!mgn_loss_needs_samples(j->training.loss.kind)) return rows;
    rows->n = MGN_MIN(rows->n, j->like.rows);
    rows->y = j->like.values;
    return rows;
}

/* One start. A model whose loss became infinite is no failure while others may do better. */
static mgn_status train_start(fit_job *j, int64_t start, mgn_model **model, mgn_train_result *result, double *loss) {
    const mgn_samples samples = j->is_streamed ? (mgn_samples){0} : samples_of(j, 0, j->rows);
    const uint64_t seed = j->options.common.seed + (uint64_t)start;
    mgn_train_config training = j->training;
    mgn_samples held_out;
    char label[32];
    training.seed = seed;
    training.report = show_progress;
    training.context = j;
    if (j->is_streamed) training.source = &j->stream;
    j->kept = start + 1; /* for the progress */
    snprintf(label, sizeof label, "start-%lld", (long long)start + 1);
    MGN_TRY(cli_training_control(&j->options.control, j->options.common.fallback, label, &j->paths, &training.control));
    if (training.control.patience > 0 || training.control.log || j->options.plots)
        training.control.held_out = held_out_rows(j, &held_out);
    if (mgn_comm_rank(training.comm) > 0) training.control.checkpoint = training.control.log = NULL;
    MGN_TRY(mgn_model_create(&j->shape, seed, model));
    if (strcmp(j->options.start, "affine") == 0) MGN_TRY(fit_start_affine(j, *model));
    mgn_status status = mgn_train(*model, j->device, &samples, &training, result);
    if (status == MGN_ERR_INTERRUPTED) {
        j->is_stopped = true;
        *loss = result->loss;
        return MGN_OK;
    }
    if (status == MGN_OK) status = measure(j, *model, loss);
    if (status == MGN_OK && !isfinite(*loss) && j->held) *loss = result->loss;
    if (status == MGN_ERR_NUMERIC && j->options.restarts > 1) {
        mgn_note("start %lld: %s", (long long)start + 1, mgn_last_error());
        *loss = INFINITY;
        return MGN_OK;
    }
    return status;
}

static mgn_status train_all(fit_job *j) {
    double best = INFINITY;
    int64_t kept = 0;
    for (int64_t start = 0; start < j->options.restarts && !j->is_stopped; start++) {
        mgn_model *model = NULL;
        mgn_train_result result = {0};
        double loss = INFINITY;
        const mgn_status status = train_start(j, start, &model, &result, &loss);
        const bool is_better = status == MGN_OK && (loss < best || (!j->model && j->is_stopped));
        if (is_better) {
            mgn_model *worse = j->model;
            j->model = model;
            model = worse;
            j->result = result;
            best = loss;
            kept = start + 1;
        }
        mgn_model_destroy(model);
        MGN_TRY(status);
    }
    j->kept = kept;
    if (j->model) return MGN_OK;
    return mgn_fail(MGN_ERR_NUMERIC,
                    "training diverged from each of %lld starts; a lower learning rate than %g may help",
                    (long long)j->options.restarts, j->training.optimizer.lr);
}

mgn_status fit_train(fit_job *j) {
    mgn_progress_begin(&j->progress, "fitting", (uint64_t)(j->options.restarts * j->training.epochs));
    const mgn_status status = train_all(j);
    mgn_progress_end(&j->progress);
    return status;
}

/* ---- figures ---- */

/* Between two Gaussians the optimal map is known; a finite source counts by its moments for the least cost alone. */
static mgn_status judge_closed_form(fit_job *j, const float *x, const float *y, int64_t n) {
    const int64_t d = j->d;
    if (!fit_has_closed_forms(j)) return MGN_OK;
    const mgn_mixture *const from = mgn_target_mixture(j->source), *const to = mgn_target_mixture(j->target);
    double *work = mgn_alloc((size_t)(2 * (d + d * d)), sizeof *work);
    float *best = mgn_alloc_aligned((size_t)(n * d), sizeof *best);
    mgn_status status = work && best ? MGN_OK : out_of_memory();
    if (status == MGN_OK) {
        double *mean = work, *offset = work + d, *covariance = work + 2 * d, *a = covariance + d * d, trace = 0;
        const fit_moments *walked = &j->walked;
        if (!j->is_streamed) status = mgn_target_moments(j->source, mean, covariance);
        const double *m1 = j->is_streamed ? walked->mean : mean, *s1 = j->is_streamed ? walked->covariance : covariance;
        if (status == MGN_OK) status = mgn_bures_w2(m1, s1, j->to.mean, j->to.covariance, d, &j->least_cost);
        for (int64_t i = 0; i < d; i++) trace += j->to.variance[i];
        if (status == MGN_OK && from && to && from->k == 1 && to->k == 1) {
            status = mgn_bures_map(m1, s1, j->to.mean, j->to.covariance, d, a, offset);
            if (status == MGN_OK) status = mgn_affine_rows(a, offset, x, n, d, best);
            if (status == MGN_OK) status = mgn_l2_uvp(y, best, n, d, trace, &j->uvp);
        }
    }
    mgn_free(best);
    mgn_free(work);
    return status;
}

static mgn_status judge_likeness(fit_job *j, const float *x, const float *y, int64_t n) {
    mgn_matrix like = {0};
    const uint64_t seed = j->options.common.seed;
    const int64_t count = mgn_target_count(j->target), rows = MGN_MIN(count ? count : n, SLICED_ROWS);
    n = MGN_MIN(n, SLICED_ROWS);
    mgn_status status = cli_target_rows(j->target, rows, seed ^ target_seed, &like);
    if (status == MGN_OK)
        status = mgn_sliced_w2(x, n, like.values, like.rows, j->d, DIRECTIONS, seed, &j->sliced_before);
    if (status == MGN_OK) status = mgn_sliced_w2(y, n, like.values, like.rows, j->d, DIRECTIONS, seed, &j->sliced);
    mgn_matrix_free(&like);
    return status;
}

mgn_status fit_judge(fit_job *j) {
    const int64_t n = j->shown;
    const float *x = j->x.values + j->shown_at * j->d;
    j->held_loss = j->cost = j->least_cost = j->sliced = j->sliced_before = j->uvp = NAN;
    if (j->is_stopped) mgn_resume(); /* it was meant for the training */
    mgn_map *map = NULL;
    float *y = mgn_alloc_aligned((size_t)(n * j->d), sizeof *y);
    mgn_status status = y ? mgn_map_create(j->model, j->device, j->training.real, &map) : out_of_memory();
    if (status == MGN_OK) status = mgn_map_apply(map, x, n, y);
    if (status == MGN_OK) status = measure(j, j->model, &j->held_loss);
    if (status == MGN_OK) status = mgn_transport_cost(x, y, n, j->d, &j->cost);
    if (status == MGN_OK) status = judge_closed_form(j, x, y, n);
    if (status == MGN_OK) status = judge_likeness(j, x, y, n);
    mgn_map_destroy(map);
    mgn_free(y);
    return status;
}

void fit_free(fit_job *j) {
    mgn_matrix_free(&j->x);
    mgn_matrix_free(&j->y);
    mgn_matrix_free(&j->like);
    fit_moments_free(&j->to);
    fit_moments_free(&j->walked);
    for (size_t i = 0; i < FIT_MOST_TRACES; i++) mgn_draw_trace_free(&j->traces[i]);
    mgn_model_destroy(j->model);
    mgn_target_destroy(j->source);
    mgn_target_destroy(j->target);
    if (j->device) mgn_device_close(j->device);
}
