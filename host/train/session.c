/* Policies of a training, whatever it trains: see session.h.
 *
 * An epoch whose loss is bad was led there by the one before it: the loss is that of the parameters before each step, so it
 * is the last step of an epoch that shows in the next one alone. That is why a rollback goes to where the last good epoch
 * began, and why a checkpoint holds that state too. */
#include "train/session.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "comm/comm.h"
#include "core/core.h"
#include "core/file.h"
#include "train/recipe.h"

/* Beyond so many times what it was, the loss has diverged, and so much of the learning rate is left then. */
static const double most_growth = 1e4, rollback_factor = 0.25;
static const double usual_seconds = 60; /* between checkpoints */

/* ---- checkpoints ---- */

static void clear_tensors(mgn_safetensors *file) {
    for (size_t i = 0; i < file->tensor_count; i++) {
        mgn_free(file->tensors[i].name);
        mgn_free(file->tensors[i].data);
    }
    file->tensor_count = 0;
}

static const mgn_train_config *recipe_of(const mgn_session *s) { return s->recipe ? s->recipe : s->config; }

static bool has_earlier(const mgn_session *s) { return s->config->control.retries > 0; }

static double seconds_of(const mgn_session *s) { return s->state.history.seconds + mgn_now() - s->begun; }

/* With the seconds until now. */
static mgn_status store_state(mgn_session *s, mgn_safetensors *file) {
    const mgn_train_history history = s->state.history;
    s->state.history.seconds = seconds_of(s);
    const mgn_status status = mgn_state_store(&s->state, has_earlier(s), s->best, file);
    s->state.history = history;
    return status;
}

void mgn_session_carry(mgn_session *s, mgn_status status, mgn_safetensors *file) {
    char sentence[1024];
    mgn_safetensors state = {0};
    if ((status != MGN_ERR_MEMORY && status != MGN_ERR_DEVICE) || !s->is_begun || !s->state.is_whole) return;
    snprintf(sentence, sizeof sentence, "%s", mgn_last_error());
    const mgn_status stored = store_state(s, &state);
    mgn_safetensors_free(stored == MGN_OK ? file : &state);
    if (stored == MGN_OK) *file = state;
    mgn_fail(status, "%s", sentence);
}

static mgn_status write_checkpoint(mgn_session *s) {
    mgn_status status = store_state(s, &s->file);
    if (status == MGN_OK) status = mgn_safetensors_write(s->config->control.checkpoint, &s->file);
    clear_tensors(&s->file);
    s->written = mgn_now();
    s->is_stored = status == MGN_OK;
    return status;
}

/* A full disk may be empty again the next time; it fails a training at its end alone. */
static void try_checkpoint(mgn_session *s) {
    if (write_checkpoint(s) != MGN_OK) mgn_note("no checkpoint now, training goes on: %s", mgn_last_error());
}

bool mgn_session_is_timed(const mgn_session *s) {
    const mgn_train_control *control = &s->config->control;
    return control->checkpoint && (control->checkpoint_seconds > 0 || control->checkpoint_epochs == 0);
}

bool mgn_session_is_due(const mgn_session *s) {
    const double wanted = s->config->control.checkpoint_seconds;
    return mgn_session_is_timed(s) && mgn_now() - s->written >= (wanted > 0 ? wanted : usual_seconds);
}

static bool is_due_after_epoch(const mgn_session *s) {
    const mgn_train_control *control = &s->config->control;
    const bool is_counted = control->checkpoint && control->checkpoint_epochs > 0;
    return mgn_session_is_due(s) || (is_counted && (int64_t)s->state.point.epoch % control->checkpoint_epochs == 0);
}

mgn_status mgn_session_write_middle(mgn_session *s, int64_t batch) {
    s->state.point.batch = (double)batch;
    MGN_TRY(mgn_state_take_middle(&s->state));
    s->state.point.batch = 0;
    if (s->state.is_middle)
        try_checkpoint(s);
    else
        s->written = mgn_now(); /* it has diverged, which the epoch's end will find */
    return MGN_OK;
}

/* ---- begin ---- */

void mgn_session_open(mgn_session *s, const mgn_model *model, mgn_device *device, const mgn_samples *samples,
                      const mgn_train_config *config, mgn_train_result *result) {
    *s = (mgn_session){.model = model,
                       .device = device,
                       .config = config,
                       .samples = samples,
                       .result = result,
                       .batches = 1,
                       .accumulate = 1,
                       .advice = ""};
    s->state.history = (mgn_train_history){.lr_factor = 1, .first = NAN};
}

static mgn_status check_control(const mgn_train_control *c) {
    if (c->patience < 0 || c->retries < 0 || c->checkpoint_epochs < 0 || !(c->checkpoint_seconds >= 0))
        return mgn_fail(MGN_ERR_ARGUMENT,
                        "a patience, retries, and seconds and epochs between checkpoints from 0 were expected; %lld, "
                        "%lld, %g and %lld found",
                        (long long)c->patience, (long long)c->retries, c->checkpoint_seconds,
                        (long long)c->checkpoint_epochs);
    return MGN_OK;
}

mgn_status mgn_session_refuse_patience(const mgn_train_config *config, const char *what) {
    if (config->control.patience <= 0) return MGN_OK;
    return mgn_fail(MGN_ERR_UNSUPPORTED, "%s knows no patience; leave that option out", what);
}

mgn_status mgn_session_no_figures(void *context, double *loss, double *cost) {
    (void)context;
    *loss = *cost = NAN;
    return MGN_OK;
}

/* E |x|^2 (and of the targets), for losses in these units or in their root; 1 for losses in nats. */
static double typical_loss(const mgn_session *s) {
    const char *kind = s->config->loss.kind;
    if (!mgn_loss_needs_pairs(kind) && !mgn_loss_needs_samples(kind)) return 1;
    const int64_t count = s->samples->n * mgn_model_get_config(s->model)->d;
    double sum = 0;
    for (int64_t i = 0; i < count; i++) {
        sum += (double)s->samples->x[i] * (double)s->samples->x[i];
        if (s->samples->y) sum += (double)s->samples->y[i] * (double)s->samples->y[i];
    }
    sum /= (double)s->samples->n;
    return strcmp(kind, "l1") == 0 ? sqrt(sum) : sum;
}

static void set_factor(mgn_session *s, double loss) {
    mgn_train_point *p = &s->state.point;
    mgn_schedule_state schedule = {p->plateau_factor, p->plateau_best, (int64_t)p->plateau_waited};
    p->factor = mgn_schedule_factor(&s->config->schedule, &schedule, (int64_t)p->epoch, s->config->epochs, loss);
    p->plateau_factor = schedule.factor;
    p->plateau_best = schedule.best;
    p->plateau_waited = (double)schedule.waited;
}

static mgn_status check_point(const mgn_session *s, const mgn_train_point *p, const char *path) {
    const double epochs = (double)s->config->epochs, batches = (double)s->batches;
    if (p->epoch >= 0 && p->epoch <= epochs && p->epoch == floor(p->epoch) && p->batch >= 0 && p->batch < batches &&
        p->batch == floor(p->batch) && p->steps >= 0 && p->steps < 9e15 && p->factor >= 0 && isfinite(p->factor) &&
        p->waited >= 0 && p->waited <= epochs && p->plateau_waited >= 0 && p->plateau_waited <= epochs)
        return MGN_OK;
    return mgn_fail(MGN_ERR_FORMAT, "%s: no checkpoint of this training: epoch %g, batch %g, step %g make no sense",
                    path, p->epoch, p->batch, p->steps);
}

static mgn_status load_state(mgn_session *s, const mgn_safetensors *file, const char *path) {
    const mgn_train_state *state = &s->state;
    mgn_status status = mgn_state_load(&s->state, has_earlier(s), s->best, file, path);
    const mgn_train_point *points[] = {&state->point, &state->good.point, &state->latest.point};
    for (size_t i = 0; i < MGN_COUNT(points) && status == MGN_OK; i++) status = check_point(s, points[i], path);
    const mgn_train_history *h = &state->history;
    if (status == MGN_OK && !(h->rollbacks >= 0 && h->lr_factor > 0 && h->lr_factor <= 1 && h->seconds >= 0 &&
                              h->best_epoch >= 0 && h->best_epoch <= (double)s->config->epochs))
        status = mgn_fail(MGN_ERR_FORMAT, "%s: no checkpoint of this training: its history makes no sense", path);
    return status;
}

static mgn_status load(mgn_session *s, const char *path) {
    mgn_safetensors file = {0};
    MGN_TRY(mgn_safetensors_read(path, &file));
    mgn_status status = mgn_recipe_check(s->model, recipe_of(s), s->samples, &file, path);
    if (status == MGN_OK) status = load_state(s, &file, path);
    const char *device = mgn_safetensors_get(&file, "device"), *now = mgn_device_get_info(s->device)->name;
    if (status == MGN_OK && device && strcmp(device, now) != 0)
        mgn_note("%s was made on %.100s; on %s the last bits may differ", path, device, now);
    mgn_safetensors_free(&file);
    return status;
}
/* The metadata that every checkpoint of this training has. */
static mgn_status describe(mgn_session *s) {
    MGN_TRY(mgn_recipe_store(s->model, recipe_of(s), s->samples, &s->file));
    MGN_TRY(mgn_safetensors_set(&s->file, "device", mgn_device_get_info(s->device)->name));
    return mgn_safetensors_set(&s->file, "version", mgn_version());
}

mgn_status mgn_session_begin(mgn_session *s, const mgn_loss_config *losses, mgn_tensor *parameters) {
    const mgn_train_control *control = &s->config->control;
    MGN_TRY(check_control(control));
    s->state.is_whole = control->checkpoint || control->resume || control->retries > 0;
    if (control->patience > 0) {
        s->best = mgn_alloc((size_t)s->state.parts[0].count, sizeof *s->best);
        if (!s->best) return MGN_ERR_MEMORY;
    }
    if (control->retries > 0) s->typical = typical_loss(s);
    set_factor(s, 0);
    MGN_TRY(mgn_state_begin(&s->state));
    if (control->checkpoint) {
        mgn_output_file *output = NULL; /* where it cannot be written, that shows before anything is computed */
        MGN_TRY(mgn_output_open(control->checkpoint, &output));
        mgn_output_discard(output);
        MGN_TRY(describe(s));
    }
    const bool is_carried = s->carried && s->carried->tensor_count > 0, goes_on = is_carried || control->resume;
    if (is_carried)
        MGN_TRY(load_state(s, s->carried, "what was learned before"));
    else if (control->resume)
        MGN_TRY(load(s, control->resume));
    if ((control->held_out || control->log || control->cost) && !s->measure)
        MGN_TRY(mgn_held_out_create(s->model, s->device, s->config, losses, s->samples, parameters, &s->held));
    if (control->log) MGN_TRY(mgn_curve_open(control->log, goes_on ? (int64_t)s->state.point.epoch : -1, &s->curve));
    s->begun = s->written = mgn_now();
    s->is_begun = true;
    s->is_stored =
        !is_carried && control->resume && control->checkpoint && strcmp(control->resume, control->checkpoint) == 0;
    return MGN_OK;
}

mgn_status mgn_session_join(mgn_session *s) {
    mgn_comm *comm = s->config->comm;
    uint64_t digest = 0;
    if (!comm) return MGN_OK;
    MGN_TRY(mgn_recipe_digest(s->model, s->config, s->samples, &digest));
    MGN_TRY(mgn_comm_same(comm, digest, "the rows or the options"));
    return mgn_state_share(&s->state, comm);
}

/* ---- epochs ---- */

bool mgn_session_goes_on(const mgn_session *s) {
    const mgn_train_point *p = &s->state.point;
    const double patience = (double)s->config->control.patience;
    return p->epoch < (double)s->config->epochs && !(patience > 0 && p->waited >= patience);
}

double mgn_session_lr(const mgn_session *s) {
    return s->config->optimizer.lr * s->state.point.factor * s->state.history.lr_factor;
}

static void fill_result(mgn_session *s) {
    const mgn_train_history *h = &s->state.history;
    const mgn_train_point *p = &s->state.point;
    mgn_train_result *r = s->result;
    r->loss = p->loss;
    r->steps = (int64_t)p->steps;
    r->epochs = (int64_t)p->epoch;
    r->seconds = seconds_of(s);
    r->best_epoch = (int64_t)h->best_epoch;
    r->best = h->best;
    r->rollbacks = (int64_t)h->rollbacks;
}

/* "parameter W, element 3", "optimizer's ..." */
static void name_place(const mgn_session *s, const mgn_state_part *part, int64_t index, char text[96]) {
    const mgn_parameter *parameters;
    const size_t count = mgn_model_parameters(s->model, &parameters);
    snprintf(text, 96, "element %lld of the %s", (long long)index, part->label);
    for (size_t i = 0; i < count && part->count == mgn_model_parameter_count(s->model); i++) {
        const int64_t at = index - parameters[i].offset;
        if (at >= 0 && at < mgn_shape_count(parameters[i].shape))
            snprintf(text, 96, "element %lld of %s (%s)", (long long)at, parameters[i].label, part->label);
    }
}

/* The epoch that just ended is bad: by its loss, or by a part of the state. */
static mgn_status diverged(mgn_session *s, double loss, double lr, const mgn_state_part *part, int64_t index) {
    mgn_train_history *h = &s->state.history;
    const mgn_train_control *control = &s->config->control;
    const int64_t epoch = (int64_t)s->state.latest.point.epoch + 1;
    char what[200], place[96];
    if (part) {
        name_place(s, part, index, place);
        snprintf(what, sizeof what, "%s became infinite or NaN", place);
    } else if (isfinite(loss)) {
        snprintf(what, sizeof what, "the %s loss grew from %g to %g", s->config->loss.kind, h->first, loss);
    } else {
        snprintf(what, sizeof what, "the %s loss became %g", s->config->loss.kind, loss);
    }
    MGN_TRY(mgn_state_go_back(&s->state));
    s->is_stored = false;
    if (h->rollbacks >= (double)control->retries) {
        char tried[64] = "";
        if (control->retries > 0) snprintf(tried, sizeof tried, ", after %lld rollbacks", (long long)control->retries);
        return mgn_fail(MGN_ERR_NUMERIC,
                        "training diverged: %s in epoch %lld of %lld%s; a lower learning rate than %g%s", what,
                        (long long)epoch, (long long)s->config->epochs, tried, lr, s->advice);
    }
    h->rollbacks++;
    h->lr_factor *= rollback_factor;
    mgn_note("%s in epoch %lld: back to the end of epoch %lld, learning rate %g from there", what, (long long)epoch,
             (long long)s->state.point.epoch, mgn_session_lr(s));
    return s->curve ? mgn_curve_cut(s->curve, (int64_t)s->state.point.epoch) : MGN_OK;
}

static bool is_bad(const mgn_session *s, double loss) {
    if (s->state.is_judged) return false;
    if (!isfinite(loss)) return true;
    const double first = s->state.history.first;
    return s->config->control.retries > 0 && isfinite(first) &&
           loss > first + most_growth * fmax(fabs(first), s->typical);
}

static mgn_status measure(mgn_session *s, mgn_train_report *report) {
    double figures[2] = {NAN, NAN};
    mgn_status status = MGN_OK;
    if (s->measure)
        status = s->measure(s->context, &figures[0], &figures[1]);
    else if (s->held)
        status = mgn_meter_read(s->held, &figures[0], &figures[1]);
    MGN_TRY(mgn_comm_agree(s->config->comm, status));
    MGN_TRY(mgn_comm_broadcast(s->config->comm, figures, sizeof figures)); /* they may decide about the end */
    report->held_out = figures[0];
    report->cost = figures[1];
    return MGN_OK;
}

/* The loss that decides about the end, and about a plateau. */
static double watched_loss(const mgn_session *s, const mgn_train_report *report) {
    const mgn_train_control *control = &s->config->control;
    if (control->patience == 0 || !control->held_out) return report->loss;
    return isfinite(report->held_out) ? report->held_out : INFINITY;
}

static void keep_best(mgn_session *s, double watched) {
    mgn_train_history *h = &s->state.history;
    h->best = watched;
    h->best_epoch = s->state.point.epoch;
    mgn_state_parameters(&s->state, s->best);
}

static void add_to_curve(mgn_session *s, const mgn_train_report *report) {
    if (!s->curve || mgn_curve_add(s->curve, report) == MGN_OK) return;
    mgn_note("%s; training goes on without it", mgn_last_error());
    mgn_curve_close(s->curve);
    s->curve = NULL;
}

/* The state after the epoch, as far as numbers go. */
static void advance(mgn_session *s, const mgn_train_report *report, bool is_better) {
    mgn_train_point *p = &s->state.point;
    p->epoch++;
    p->batch = 0;
    p->steps = (double)report->steps;
    p->loss = report->loss;
    p->waited = is_better ? 0 : p->waited + 1;
    set_factor(s, watched_loss(s, report));
}

mgn_status mgn_session_epoch(mgn_session *s, double loss, double lr) {
    const mgn_train_config *config = s->config;
    mgn_train_state *state = &s->state;
    const mgn_state_part *part = NULL;
    int64_t index = 0;
    if (is_bad(s, loss)) return diverged(s, loss, lr, NULL, 0);
    mgn_train_report report = {
        (int64_t)state->point.epoch + 1, config->epochs, (int64_t)state->point.steps, loss, lr, 0, NAN, NAN};
    report.steps += (s->batches + s->accumulate - 1) / s->accumulate;
    MGN_TRY(measure(s, &report));
    const double watched = watched_loss(s, &report);
    const bool is_better = state->history.best_epoch == 0 || watched < state->history.best;
    advance(s, &report, is_better);
    MGN_TRY(mgn_state_take(state, &part, &index));
    if (part) return diverged(s, loss, lr, part, index);
    s->is_stored = false;
    if (s->best && is_better) keep_best(s, watched);
    fill_result(s);
    report.seconds = s->result->seconds;
    add_to_curve(s, &report);
    const bool go_on = !config->report || config->report(config->context, &report);
    if (is_due_after_epoch(s)) try_checkpoint(s);
    bool is_stopped = !go_on || mgn_interrupted();
    MGN_TRY(mgn_comm_agree_any(s->config->comm, MGN_OK, &is_stopped));
    if (!is_stopped) return MGN_OK;
    return mgn_fail(MGN_ERR_INTERRUPTED, "stopped after epoch %lld of %lld", (long long)report.epoch,
                    (long long)config->epochs);
}

mgn_status mgn_session_interrupt(mgn_session *s, int64_t batch, double loss, double lr) {
    mgn_train_point *p = &s->state.point;
    const int64_t epoch = (int64_t)p->epoch, steps = (int64_t)p->steps + batch / s->accumulate;
    p->batch = (double)batch;
    MGN_TRY(mgn_state_take_middle(&s->state));
    s->is_stored = false;
    fill_result(s);
    s->result->steps = steps;
    if (batch > 0 && s->state.is_middle) s->result->loss = loss;
    const mgn_train_report report = {epoch + 1, s->config->epochs,  steps, s->result->loss,
                                     lr,        s->result->seconds, NAN,   NAN};
    if (s->config->report) s->config->report(s->config->context, &report);
    return mgn_fail(MGN_ERR_INTERRUPTED, "stopped in epoch %lld of %lld, after %lld of its %lld batches",
                    (long long)epoch + 1, (long long)s->config->epochs, (long long)batch, (long long)s->batches);
}

/* ---- end ---- */

mgn_status mgn_session_close(mgn_session *s, mgn_status status, double *values) {
    const bool is_kept =
        s->is_begun && (status == MGN_OK || status == MGN_ERR_INTERRUPTED || status == MGN_ERR_NUMERIC);
    if (is_kept) {
        if (status != MGN_ERR_INTERRUPTED) fill_result(s); /* that has been filled */
        if (s->best && s->state.history.best_epoch > 0)
            memcpy(values, s->best, (size_t)s->state.parts[0].count * sizeof *values);
        else
            mgn_state_parameters(&s->state, values);
    }
    if (is_kept && s->config->control.checkpoint && !s->is_stored) {
        char sentence[512];
        snprintf(sentence, sizeof sentence, "%s", mgn_last_error());
        const mgn_status written = write_checkpoint(s);
        if (status == MGN_OK)
            status = written;
        else if (written == MGN_OK)
            status = mgn_fail(status, "%s", sentence);
    }
    mgn_curve_close(s->curve);
    mgn_meter_destroy(s->held);
    mgn_state_free(&s->state);
    mgn_safetensors_free(&s->file);
    mgn_free(s->best);
    return status;
}
