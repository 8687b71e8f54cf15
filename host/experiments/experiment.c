/* The table of experiments, and the way that all of them go: train, stop the clock, judge, next. */
#include "experiments/experiments.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "comm/comm.h"
#include "core/parse.h"
#include "experiments/show.h"
#include "train/fresh.h"
#include "train/meter.h"

/* One row per experiment. */
static const mgn_experiment *const experiments[] = {
    &mgn_gradient_field_experiment, &mgn_gaussian_experiment,        &mgn_mixture_experiment,
    &mgn_banana_experiment,         &mgn_colour_experiment,          &mgn_aurora_experiment,
    &mgn_colour_gmm_experiment,     &mgn_sinkhorn_colour_experiment, &mgn_w2bench_experiment,
    &mgn_mnist_experiment,          &mgn_digits_experiment,          &mgn_cifar_experiment,
};

const char mgn_published[] = "published", mgn_best[] = "best", mgn_affine[] = "affine",
           mgn_monge_ampere[] = "monge-ampere";

const char *mgn_experiment_label(size_t index) {
    return index < MGN_COUNT(experiments) ? experiments[index]->label : NULL;
}

const char *mgn_experiment_summary(size_t index) {
    return index < MGN_COUNT(experiments) ? experiments[index]->summary : NULL;
}

const char *mgn_experiment_details(size_t index) {
    return index < MGN_COUNT(experiments) ? experiments[index]->details : NULL;
}

/* ---- results ---- */

void mgn_add_figure(mgn_experiment_result *result, const char *key, double value, double published, double optimum) {
    if (result->count == MGN_MOST_FIGURES) return;
    result->figures[result->count++] = (mgn_figure){key, value, published, optimum};
}

mgn_status mgn_measure_loss(const mgn_loss_config *config, mgn_device *device, mgn_model *model,
                            const mgn_samples *samples, double *loss) {
    /* Doubles where the device has them. */
    const mgn_dtype real = mgn_device_get_info(device)->has_f64 ? MGN_F64 : MGN_F32;
    mgn_meter *meter = NULL;
    MGN_TRY(mgn_meter_create(&(mgn_meter_config){model, device, real, config, false, NULL}, samples, &meter));
    const mgn_status status = mgn_meter_read(meter, loss, NULL);
    mgn_meter_destroy(meter);
    return status;
}

/* ---- trials ---- */

/* Progress of one training, passed on with its label and kept for the figures. */
typedef struct progress {
    const mgn_experiment_config *config;
    const char *label;
    mgn_draw_trace *trace;
} progress;

/* All epochs have as many steps. */
bool mgn_report_steps(const mgn_experiment_config *config, const char *label, const mgn_train_report *report) {
    return !config->progress ||
           config->progress(config->context, label, report->steps,
                            report->steps * report->epochs / MGN_MAX(report->epoch, 1), report->loss);
}

static bool pass_on(void *context, const mgn_train_report *report) {
    const progress *p = context;
    if (p->trace) mgn_draw_trace_add(p->trace, report);
    return mgn_report_steps(p->config, p->label, report);
}

mgn_status mgn_train_step(const mgn_run *run, const char *label, mgn_model *model, const mgn_samples *samples,
                          const mgn_train_config *config, int64_t *steps, double *loss) {
    progress p = {run->config, label, mgn_show_training(run, label)};
    mgn_train_config with_progress = *config;
    mgn_train_result result = {0};
    with_progress.report = pass_on;
    with_progress.context = &p;
    if (run->config->control) MGN_TRY(run->config->control(run->config->context, label, &with_progress.control));
    with_progress.control.cost = run->showing != NULL;
    with_progress.blocks = run->config->blocks;
    with_progress.comm = run->config->comm;
    const mgn_status status = mgn_train(model, run->device, samples, &with_progress, &result);
    *steps += result.steps;
    if (loss) *loss = result.loss;
    return status;
}

mgn_status mgn_control_alone(const mgn_run *run, const char *label, mgn_train_config *config) {
    if (run->config->control) MGN_TRY(run->config->control(run->config->context, label, &config->control));
    config->control.patience = 0;
    config->control.held_out = NULL;
    return MGN_OK;
}

mgn_status mgn_train_fresh_step(const mgn_run *run, const char *label, mgn_model *model, const mgn_target *source,
                                const mgn_train_config *config, int64_t *steps) {
    progress p = {run->config, label, mgn_show_training(run, label)};
    mgn_train_config with_progress = *config;
    mgn_train_result result = {0};
    with_progress.report = pass_on;
    with_progress.context = &p;
    MGN_TRY(mgn_control_alone(run, label, &with_progress));
    const bool is_first = mgn_comm_rank(run->config->comm) == 0;
    const mgn_status status = is_first ? mgn_train_fresh(model, run->device, source, &with_progress, &result) : MGN_OK;
    MGN_TRY(mgn_take_first(run, status, model));
    *steps += result.steps;
    return MGN_OK;
}

mgn_status mgn_take_first(const mgn_run *run, mgn_status status, mgn_model *model) {
    mgn_comm *comm = run->config->comm;
    MGN_TRY(mgn_comm_agree(comm, status));
    const size_t count = (size_t)mgn_model_parameter_count(model);
    return mgn_comm_broadcast(comm, mgn_model_values(model), count * sizeof(double));
}

static mgn_status run_trial(const mgn_run *run, const mgn_protocol *protocol, void *data, const mgn_trial *trial) {
    if (run->report->count == MGN_MOST_RESULTS)
        return mgn_fail(MGN_ERR_UNSUPPORTED, "an experiment has more than %d trials", MGN_MOST_RESULTS);
    mgn_experiment_result *result = &run->report->results[run->report->count];
    *result = (mgn_experiment_result){.task = protocol->task, .recipe = trial->recipe, .model = trial->model};
    mgn_model *model = NULL;
    mgn_map *map = NULL;
    const mgn_dtype real = mgn_device_get_info(run->device)->has_f64 ? MGN_F64 : MGN_F32;
    mgn_show_begin(run, protocol->task, trial);
    const double start = mgn_now();
    mgn_status status = protocol->train(run, data, trial, &model, &result->steps);
    result->seconds = mgn_now() - start;
    if (status == MGN_OK) result->parameters = mgn_model_parameter_count(model);
    if (status == MGN_OK) status = mgn_map_create(model, run->device, real, &map);
    if (status == MGN_OK) mgn_map_share(map, run->config->comm);
    if (status == MGN_OK) status = protocol->judge(run, data, trial, model, map, result);
    if (status == MGN_OK) status = mgn_show_trainings(run);
    mgn_show_end(run);
    if (status == MGN_OK) run->report->count++;
    mgn_map_destroy(map);
    mgn_model_destroy(model);
    return status;
}

static bool is_asked_for(const char *asked, const char *found) { return !asked || strcmp(asked, found) == 0; }

mgn_status mgn_run_trials(const mgn_run *run, const mgn_protocol *protocol, void *data) {
    for (size_t i = 0; i < protocol->count; i++) {
        const mgn_trial *trial = &protocol->trials[i];
        if (!is_asked_for(run->config->model, trial->model.kind) || !is_asked_for(run->config->recipe, trial->recipe))
            continue;
        mgn_run own = *run;
        if (!is_asked_for(run->config->plots_recipe, trial->recipe)) own.showing = NULL;
        MGN_TRY(run_trial(&own, protocol, data, trial));
    }
    return MGN_OK;
}

/* ---- running ---- */

static mgn_status find(const char *label, const mgn_experiment **found) {
    const char *nearest = NULL;
    char all[256] = "";
    size_t at = 0;
    for (size_t i = 0; i < MGN_COUNT(experiments); i++) {
        if (strcmp(label, experiments[i]->label) == 0) {
            *found = experiments[i];
            return MGN_OK;
        }
        mgn_nearest(label, experiments[i]->label, &nearest);
        if (at < sizeof all)
            at += (size_t)snprintf(all + at, sizeof all - at, "%s%s", i ? ", " : "", experiments[i]->label);
    }
    return mgn_fail(MGN_ERR_ARGUMENT, "there is no experiment '%.100s', but %s%s%s%s", label, all,
                    nearest ? "; did you mean '" : "", nearest ? nearest : "", nearest ? "'?" : "");
}

bool mgn_experiment_is_shared(const char *label) {
    for (size_t i = 0; i < MGN_COUNT(experiments); i++)
        if (strcmp(label, experiments[i]->label) == 0) return experiments[i]->is_shared;
    return false;
}

mgn_status mgn_experiment_check(const char *label) {
    const mgn_experiment *experiment = NULL;
    return find(label, &experiment);
}

static mgn_status check(const mgn_experiment_config *config) {
    if (config->epochs < 0)
        return mgn_fail(MGN_ERR_ARGUMENT, "a number of epochs from 0 was expected, %lld found",
                        (long long)config->epochs);
    const bool known = !config->recipe || strcmp(config->recipe, mgn_published) == 0 ||
                       strcmp(config->recipe, mgn_best) == 0 || strcmp(config->recipe, mgn_affine) == 0 ||
                       strcmp(config->recipe, mgn_monge_ampere) == 0;
    if (!known)
        return mgn_fail(MGN_ERR_ARGUMENT, "the recipe is published, best, affine or monge-ampere; '%.100s' was found",
                        config->recipe);
    return MGN_OK;
}

mgn_status mgn_experiment_run(const char *label, mgn_device *device, const mgn_experiment_config *config,
                              mgn_experiment_report *report) {
    const mgn_experiment_config given = config ? *config : (mgn_experiment_config){0};
    const mgn_experiment *experiment = NULL;
    *report = (mgn_experiment_report){0};
    MGN_TRY(find(label, &experiment));
    MGN_TRY(check(&given));
    mgn_showing showing = {.experiment = label};
    const mgn_run run = {device, &given, report, given.plots ? &showing : NULL};
    if (given.plots) MGN_TRY(mgn_plot_check(given.plots));
    MGN_TRY(experiment->run(&run));
    if (report->count == 0)
        return mgn_fail(MGN_ERR_ARGUMENT, "%s has nothing for the model %.100s with the recipe %.100s", label,
                        given.model ? given.model : "(any)", given.recipe ? given.recipe : "(any)");
    return MGN_OK;
}
