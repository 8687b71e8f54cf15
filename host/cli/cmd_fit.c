/* `mgn fit`: learn a map from one distribution to another, and keep it with the recipe that made it. */
#include <math.h>
#include <string.h>

#include "cli.h"
#include "comm/blocks_sum.h"
#include "core/core.h"
#include "core/file.h"
#include "fit.h"
#include "model/model.h"
#include "outputs.h"
#include "plots.h"

/* Of several processes the first alone prints and writes. */
static bool is_first(const fit_options *o) { return mgn_comm_rank(o->common.comm) == 0; }

static mgn_status check_paths(const cli_command *command, fit_options *o) {
    if (!o->source)
        return mgn_fail(MGN_ERR_ARGUMENT, "--source is missing: what the map starts from; mgn fit %s", command->usage);
    if (!o->target)
        return mgn_fail(MGN_ERR_ARGUMENT, "--target is missing: what the map leads to; mgn fit %s", command->usage);
    if (!o->out) return mgn_fail(MGN_ERR_ARGUMENT, "-o is missing: where the map goes; mgn fit %s", command->usage);
    if (mgn_comm_size(o->common.comm) > 1 && o->restarts > 1)
        return mgn_fail(MGN_ERR_ARGUMENT, "--restarts: several processes learn from one start together");
    if (o->common.comm && !o->blocks) o->blocks = MGN_USUAL_BLOCKS;
    const char *const inputs[] = {o->source, o->target, o->out};
    MGN_TRY(cli_check_apart(o->out, inputs, 2));
    MGN_TRY(cli_training_check(&o->control, o->restarts == 1, inputs, MGN_COUNT(inputs)));
    const char *const files[] = {o->source,      o->target,        o->out, o->hold_out, o->control.checkpoint,
                                 o->control.log, o->control.resume};
    MGN_TRY(cli_plots_check(o->plots, files, MGN_COUNT(files)));
    return is_first(o) ? cli_check_writable(o->out) : MGN_OK;
}

static mgn_status parse(const cli_command *command, int argc, char **argv, fit_options *o) {
    *o = (fit_options){.optimizer = "adam",
                       .schedule = "cosine",
                       .start = "affine",
                       .restarts = 1,
                       .padding = -1,
                       .floor = 0.01,
                       .blur = 0.05,
                       .scaling = 0.9,
                       .control = {.retries = 5}};
    const cli_option options[] = {
        {"source", 's', CLI_TEXT, "S", "what the map starts from: a table, a picture or a distribution (required)",
         &o->source, 0, 0},
        {"target", 't', CLI_TEXT, "T", "what it leads to, likewise (required)", &o->target, 0, 0},
        {"output", 'o', CLI_TEXT, "MAP", "where the map goes, as safetensors (required)", &o->out, 0, 0},
        {"paired", 0, CLI_FLAG, NULL, "row i of T is the image of row i of S", &o->paired, 0, 0},
        {"model", 'm', CLI_TEXT, "KIND",
         "cmgn (the default), mmgn, icnn, icgn, cgradnet, mgradnet, lse, maxquad, conv-cmgn, dicnn (default of "
         "semidual)",
         &o->model, 0, 0},
        {"width", 0, CLI_LONG, "H",
         "hidden width (default 2 d, from 8 to 512; 64 for semidual), or filters (default 32)", &o->h, 1, 1000000},
        {"layers", 0, CLI_LONG, "L", "layers or modules (default 2; icgn 1)", &o->layers, 1, 256},
        {"activation", 0, CLI_CHOICE, "logistic|tanh|softplus", "default: the usual one of the model", &o->activation,
         0, 0},
        {"lipschitz", 0, CLI_REAL, "K", "bound |g(x) - g(y)| by K |x - y|, whatever the weights (default: none)",
         &o->lipschitz, 1e-6, 1e6},
        {"signed", 0, CLI_FLAG, NULL, "cgradnet, mgradnet: scales of either sign; a gradient, but perhaps not monotone",
         &o->signed_scales, 0, 0},
        {"shape", 0, CLI_TEXT, "HxWxC", "conv-cmgn: what a row is (default: what the rows of S, or of T, came as)",
         &o->shape, 0, 0},
        {"kernel", 0, CLI_LONG, "K", "conv-cmgn: side of the filters (default 5)", &o->kernel, 1, 16384},
        {"stride", 0, CLI_LONG, "N", "conv-cmgn: steps of the filters (default 1)", &o->stride, 1, 16384},
        {"padding", 0, CLI_LONG, "N", "conv-cmgn: zeros round the pictures (default K / 2)", &o->padding, 0, 16384},
        {"position-biases", 0, CLI_FLAG, NULL, "conv-cmgn: biases of every position, not of every filter",
         &o->position_biases, 0, 0},
        {"loss", 0, CLI_TEXT, "KIND",
         "mse or l1 for pairs; nll, kl, mixture-kl, mixture-nll, monge-ampere, sinkhorn, semidual (default by what T "
         "offers)",
         &o->loss, 0, 0},
        {"cost-weight", 0, CLI_REAL, "W", "add W times the transport cost E|x - g(x)|^2 (default 0)", &o->cost_weight,
         0, 1e12},
        {"squared", 0, CLI_FLAG, NULL, "monge-ampere: the mean square of the residual", &o->squared, 0, 0},
        {"blur", 0, CLI_REAL, "B", "sinkhorn: standard deviation of the blur (default .05)", &o->blur, 1e-9, 1e9},
        {"scaling", 0, CLI_REAL, "S",
         "sinkhorn: ratio of neighbouring blurs; below .9 gradients are biased (default .9)", &o->scaling, 0.01, 0.99},
        {"reach", 0, CLI_REAL, "R", "sinkhorn: distance beyond which mass is not moved (default: none)", &o->reach,
         1e-9, 1e9},
        {"optimizer", 0, CLI_TEXT, "KIND", "adam (the default), adamw, sgd, lbfgs, newton, gauss-newton", &o->optimizer,
         0, 0},
        {"epochs", 0, CLI_LONG, "N", "passes over the rows, or steps of second order (default 100; 20 for semidual)",
         &o->epochs, 1, 100000000},
        {"batch", 0, CLI_LONG, "N", "rows a step (default 256; 4096 for kl, 512 for sinkhorn and semidual)", &o->batch,
         1, 1000000000},
        {"lr", 0, CLI_REAL, "RATE", "learning rate of first-order optimizers (default .005; .02 for semidual)", &o->lr,
         1e-12, 1e6},
        {"momentum", 0, CLI_REAL, "M", "of sgd (default 0)", &o->momentum, 0, 0.999999},
        {"weight-decay", 0, CLI_REAL, "W", "default 0", &o->weight_decay, 0, 1e6},
        {"clip", 0, CLI_REAL, "NORM", "scale larger gradients down to this norm (default: never)", &o->clip, 0, 1e12},
        {"schedule", 0, CLI_CHOICE, "constant|step|exponential|cosine|plateau",
         "how the learning rate falls (default cosine)", &o->schedule, 0, 0},
        {"gamma", 0, CLI_REAL, "G", "factor of step, exponential and plateau (default .1)", &o->gamma, 1e-6, 1},
        {"every", 0, CLI_LONG, "N", "epochs between steps, or of patience (default 10)", &o->every, 1, 100000000},
        {"floor", 0, CLI_REAL, "F", "smallest fraction of the learning rate (default .01)", &o->floor, 0, 1},
        {"samples", 0, CLI_LONG, "N", "rows to take of S (default all of a file, 10000 of a distribution)", &o->samples,
         2, 1000000000},
        {"window", 0, CLI_LONG, "ROWS",
         "rows of S on the device at once, where S stays in its files: a .npy, or several, above 64 MiB, or any with "
         "this option. Blocks of ROWS / 64 neighbours come in another order every epoch, their rows are shuffled "
         "within "
         "the window (default: 64 MiB of rows)",
         &o->window, 1, 4294967295.0},
        {"blocks", 0, CLI_LONG, "N",
         "cut every batch into N blocks (a power of two), whose gradients are added in a fixed order: processes "
         "started by "
         "mpirun share them, and the bits are those of one process with as many blocks (default: 16 under mpirun)",
         &o->blocks, 1, MGN_MOST_BLOCKS},
        {"hold-out", 0, CLI_TEXT, "F|FILE",
         "fraction of the rows kept for the figures and --patience, or a table of others (default .1)", &o->hold_out, 0,
         0},
        {"start", 0, CLI_CHOICE, "affine|random",
         "near the affine map between the means and covariances, or from N(0, 1) weights (default affine)", &o->start,
         0, 0},
        {"restarts", 0, CLI_LONG, "N", "random starts, the best of which is kept (default 1)", &o->restarts, 1, 100000},
        {"real", 0, CLI_CHOICE, "f32|f64", "what to compute in (default f32; f64 for optimizers of second order)",
         &o->real, 0, 0},
        CLI_TRAINING_OPTIONS(o->control),
        CLI_PLOTS_OPTION(o->plots,
                         "put figures there: loss and transport cost by epoch, also of the rows held out; points, "
                         "images and target; the way between them; in two dimensions a grid as the map bends "
                         "it"),
    };
    MGN_TRY(cli_parse(command, argc, argv, options, MGN_COUNT(options), &o->common));
    return o->common.help ? MGN_OK : check_paths(command, o);
}

/* ---- the map with its recipe ---- */

/* Everything that makes the same map again. */
static cJSON *recipe_of(const fit_job *j) {
    const mgn_train_config *t = &j->training;
    const fit_options *o = &j->options;
    cJSON *r = cJSON_CreateObject();
    cJSON_AddStringToObject(r, "source", o->source);
    cJSON_AddStringToObject(r, "target", o->target);
    cJSON_AddBoolToObject(r, "paired", o->paired);
    cJSON_AddStringToObject(r, "loss", t->loss.kind);
    cJSON_AddNumberToObject(r, "cost_weight", t->loss.cost_weight);
    if (strcmp(t->loss.kind, "sinkhorn") == 0) {
        cJSON_AddNumberToObject(r, "blur", o->blur);
        cJSON_AddNumberToObject(r, "scaling", o->scaling);
        cJSON_AddNumberToObject(r, "reach", o->reach);
    }
    cJSON_AddStringToObject(r, "optimizer", t->optimizer.kind);
    cJSON_AddNumberToObject(r, "lr", t->optimizer.lr);
    cJSON_AddNumberToObject(r, "momentum", t->optimizer.momentum);
    cJSON_AddNumberToObject(r, "weight_decay", t->optimizer.weight_decay);
    cJSON_AddNumberToObject(r, "clip", t->optimizer.clip_norm);
    cJSON_AddStringToObject(r, "schedule", o->schedule);
    cJSON_AddNumberToObject(r, "gamma", t->schedule.gamma);
    cJSON_AddNumberToObject(r, "every", (double)t->schedule.every);
    cJSON_AddNumberToObject(r, "floor", t->schedule.floor);
    cJSON_AddNumberToObject(r, "epochs", (double)t->epochs);
    cJSON_AddNumberToObject(r, "batch", (double)t->batch);
    if (t->blocks) cJSON_AddNumberToObject(r, "blocks", (double)t->blocks);
    cJSON_AddNumberToObject(r, "rows", (double)j->rows);
    cJSON_AddNumberToObject(r, "holdout", (double)j->held);
    if (j->is_streamed) cJSON_AddNumberToObject(r, "window", (double)j->stream.window);
    cJSON_AddNumberToObject(r, "restarts", (double)o->restarts);
    cJSON_AddStringToObject(r, "start", o->start);
    cJSON_AddNumberToObject(r, "kept", (double)j->kept);
    cJSON_AddNumberToObject(r, "seed", (double)o->common.seed);
    cJSON_AddStringToObject(r, "real", mgn_dtype_name(t->real));
    cJSON_AddStringToObject(r, "device", mgn_device_get_info(j->device)->spec);
    cJSON_AddStringToObject(r, "version", mgn_version());
    cJSON_AddNumberToObject(r, "steps", (double)j->result.steps);
    cJSON_AddNumberToObject(r, "end_loss", j->result.loss);
    return r;
}

static mgn_status write_map(const fit_job *j) {
    cJSON *recipe = recipe_of(j);
    char *text = cJSON_PrintUnformatted(recipe);
    cJSON_Delete(recipe);
    if (!text) return mgn_fail(MGN_ERR_MEMORY, "out of memory while the recipe was written");
    mgn_output_file *output = NULL;
    mgn_status status = mgn_model_prepare_noted(j->model, "recipe", text, j->options.out, &output);
    cJSON_free(text);
    if (status != MGN_OK) return status;
    return mgn_output_commit(output);
}

/* ---- the report ---- */

static void add_figure(cJSON *object, const char *key, double value) {
    if (isfinite(value))
        cJSON_AddNumberToObject(object, key, value);
    else
        cJSON_AddNullToObject(object, key);
}

static mgn_status print_json(const fit_job *j) {
    cJSON *object = cJSON_CreateObject();
    cJSON_AddStringToObject(object, "map", j->options.out);
    cJSON_AddStringToObject(object, "model", j->shape.kind);
    cJSON_AddNumberToObject(object, "dimensions", (double)j->d);
    cJSON_AddNumberToObject(object, "width", (double)j->shape.h);
    cJSON_AddNumberToObject(object, "layers", (double)j->shape.layers);
    cJSON_AddNumberToObject(object, "parameters", (double)mgn_model_parameter_count(j->model));
    cJSON_AddItemToObject(object, "recipe", recipe_of(j));
    add_figure(object, "loss", j->result.loss);
    add_figure(object, "heldout_loss", j->held_loss);
    add_figure(object, "cost", j->cost);
    add_figure(object, "least_cost", j->least_cost);
    add_figure(object, "sliced_w2_before", j->sliced_before);
    add_figure(object, "sliced_w2", j->sliced);
    add_figure(object, "uvp", j->uvp);
    cJSON_AddBoolToObject(object, "stopped", j->is_stopped);
    cJSON_AddNumberToObject(object, "epochs", (double)j->result.epochs);
    cJSON_AddNumberToObject(object, "best_epoch", (double)j->result.best_epoch);
    cJSON_AddNumberToObject(object, "rollbacks", (double)j->result.rollbacks);
    cJSON_AddNumberToObject(object, "train_s", j->result.seconds);
    cJSON_AddNumberToObject(object, "compile_s", j->result.compile_seconds);
    return cli_print_json(object);
}

static void row(cli_table *table, const char *label, double value) {
    if (!isfinite(value)) return;
    cli_table_cell(table, "%s", label);
    cli_table_cell(table, "%.6g", value);
}

static mgn_status print_text(const fit_job *j) {
    cli_table *table = cli_table_create("figure|>value");
    cli_table_cell(table, "map");
    cli_table_cell(table, "%s", j->options.out);
    cli_table_cell(table, "model");
    cli_table_cell(table, "%s, %lld parameters", j->shape.kind, (long long)mgn_model_parameter_count(j->model));
    cli_table_cell(table, "loss");
    cli_table_cell(table, "%s %.6g", j->training.loss.kind, j->result.loss);
    row(table,
        j->held          ? "  of rows held out"
        : j->is_streamed ? "  of some rows at the end"
                         : "  of all rows at the end",
        j->held_loss);
    row(table, "transport cost", j->cost);
    row(table, "  least between Gaussians of these moments", j->least_cost);
    row(table, "sliced W2^2 to the target, before", j->sliced_before);
    row(table, "  after", j->sliced);
    row(table, "L2-UVP to the optimal map, %", j->uvp);
    if (j->result.best_epoch > 0) {
        cli_table_cell(table, "best of %lld epochs", (long long)j->result.epochs);
        cli_table_cell(table, "%lld", (long long)j->result.best_epoch);
    }
    if (j->result.rollbacks > 0) {
        cli_table_cell(table, "rollbacks");
        cli_table_cell(table, "%lld", (long long)j->result.rollbacks);
    }
    cli_table_cell(table, "steps");
    cli_table_cell(table, "%lld", (long long)j->result.steps);
    cli_table_cell(table, "seconds");
    cli_table_cell(table, "%.3f", j->result.seconds);
    return cli_table_print(table);
}

static mgn_status stopped(const fit_job *j) {
    const cli_training *t = &j->options.control;
    const char *checkpoint = t->checkpoint ? t->checkpoint : t->resume;
    return mgn_fail(MGN_ERR_INTERRUPTED, "stopped after %lld steps; %s holds what was learned until then%s%s",
                    (long long)j->result.steps, j->options.out, checkpoint ? "; to go on: --resume " : "",
                    checkpoint ? checkpoint : "");
}

/* What is left to do when the map is there. */
static mgn_status finish(fit_job *j) {
    /* After a Ctrl-C the map is safe before anything else is computed: another one ends the process. */
    if (j->is_stopped) MGN_TRY(write_map(j));
    MGN_TRY(fit_judge(j));
    if (!j->is_stopped) MGN_TRY(write_map(j));
    if (j->options.plots) MGN_TRY(fit_draw(j));
    return j->options.common.json ? print_json(j) : print_text(j);
}

mgn_status cmd_fit(const cli_command *command, int argc, char **argv) {
    fit_job j = {0};
    mgn_comm *comm = command->comm;
    MGN_TRY(mgn_comm_agree(comm, parse(command, argc, argv, &j.options)));
    if (j.options.common.help) return MGN_OK;
    mgn_status status = mgn_comm_agree(comm, fit_prepare(&j));
    if (status == MGN_OK) status = cli_say_devices(&j.options.common, j.device);
    if (status == MGN_OK) status = mgn_comm_agree(comm, fit_train(&j));
    if (status == MGN_OK && is_first(&j.options)) status = finish(&j);
    if (status == MGN_OK && j.is_stopped) status = stopped(&j);
    fit_free(&j);
    return status;
}
