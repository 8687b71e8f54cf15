/* mgn_check_run: every op of the table, every model with every loss, and programs of many ops, on every
 * device in every precision. */
#include <stdio.h>
#include <string.h>

#include "check/models.h"
#include "check/op_check.h"
#include "check/programs.h"
#include "core/parse.h"

enum { MOST_DEVICES = 64 };

/* The devices to check, opened, and the CPU that references come from. */
typedef struct devices {
    mgn_device *cpu, *opened[MOST_DEVICES];
    size_t count;
} devices;

static void close_devices(devices *d) {
    for (size_t i = 0; i < d->count; i++) mgn_device_close(d->opened[i]);
    mgn_device_close(d->cpu);
}

static mgn_status open_devices(const char *spec, devices *d) {
    *d = (devices){0};
    MGN_TRY(mgn_device_open("cpu", &d->cpu));
    mgn_status status = MGN_OK;
    if (spec) {
        status = mgn_device_open(spec, &d->opened[0]);
        d->count = status == MGN_OK;
    } else {
        mgn_device_info infos[MOST_DEVICES];
        size_t found = 0;
        status = mgn_device_list(infos, MOST_DEVICES, &found);
        for (size_t i = 0; status == MGN_OK && i < MGN_MIN(found, MOST_DEVICES); i++) {
            status = mgn_device_open(infos[i].spec, &d->opened[d->count]);
            d->count += status == MGN_OK;
        }
    }
    if (status != MGN_OK) close_devices(d);
    return status;
}

static size_t model_count(void) {
    char label[48];
    size_t count = 0;
    while (mgn_model_check_label(count, label)) count++;
    return count;
}

/* What is checked, in order: the ops, the combinations of models and losses, the programs. False past the last. */
static bool label_of(size_t index, char label[48]) {
    if (index >= MGN_OP_COUNT) {
        const size_t models = model_count();
        if (index - MGN_OP_COUNT < models) return mgn_model_check_label(index - MGN_OP_COUNT, label);
        return mgn_program_check_label(index - MGN_OP_COUNT - models, label);
    }
    snprintf(label, 48, "%s", mgn_op_infos[index].label);
    return true;
}

static mgn_status find_label(const char *wanted, size_t *index) {
    char label[48], nearest[48] = "";
    const char *best = NULL;
    for (*index = 0; label_of(*index, label); ++*index) {
        if (strcmp(label, wanted) == 0) return MGN_OK;
        mgn_nearest(wanted, label, &best);
        if (best == label) best = memcpy(nearest, label, sizeof nearest);
    }
    if (best) return mgn_fail(MGN_ERR_ARGUMENT, "there is no op '%.100s'; did you mean '%s'?", wanted, best);
    return mgn_fail(MGN_ERR_ARGUMENT,
                    "there is no op '%.100s'; their names stand in graph/ops.def, from '%s' to '%s'; models are "
                    "called like 'cmgn/nll', programs like 'rows/sums'",
                    wanted, mgn_op_infos[0].label, mgn_op_infos[MGN_OP_COUNT - 1].label);
}

static mgn_status check_on(mgn_op_check *check, mgn_device *device, mgn_check_sink *sink) {
    const mgn_device_info *info = mgn_device_get_info(device);
    sink->device = info->spec;
    for (int i = 0; i < (info->has_f64 ? 2 : 1); i++) {
        mgn_dtype dtype = i ? MGN_F64 : MGN_F32;
        sink->dtype = mgn_dtype_name(dtype);
        MGN_TRY(mgn_op_check_run(check, device, dtype, sink));
        MGN_TRY(mgn_bounds_check(check, device, dtype, sink));
    }
    return MGN_OK;
}

/* An op whose graph cannot even be built fails everywhere, with the sentence. */
static mgn_status report_broken(mgn_op op, const devices *d, mgn_check_sink *sink) {
    mgn_worst broken = {0};
    mgn_judge_fact(&broken, false, mgn_last_error());
    *sink = (mgn_check_sink){
        sink->report,           sink->context, sink->summary, mgn_op_infos[op].label, mgn_device_get_info(d->cpu)->spec,
        mgn_dtype_name(MGN_F64)};
    mgn_sink_result(sink, "build", &broken);
    return MGN_OK;
}

static mgn_status check_op(mgn_op op, const mgn_check_options *options, const devices *d, mgn_check_sink *sink) {
    mgn_op_check *check = NULL;
    mgn_status status = mgn_op_check_create(op, options->seed, options->fault, &check);
    if (status == MGN_OK) status = mgn_op_check_reference(check, d->cpu);
    if (status != MGN_OK) {
        mgn_op_check_destroy(check);
        return status == MGN_ERR_MEMORY ? status : report_broken(op, d, sink);
    }
    sink->op = mgn_op_infos[op].label;
    for (size_t i = 0; status == MGN_OK && i < d->count; i++) status = check_on(check, d->opened[i], sink);
    mgn_op_check_destroy(check);
    return status;
}

static mgn_status check_index(size_t index, const mgn_check_options *options, const devices *d, mgn_check_sink *sink) {
    if (index < MGN_OP_COUNT) return check_op((mgn_op)index, options, d, sink);
    const size_t models = model_count();
    if (index - MGN_OP_COUNT >= models)
        return mgn_program_check_run(index - MGN_OP_COUNT - models, options, d->opened, d->count, sink);
    return mgn_model_check_run(index - MGN_OP_COUNT, options, d->cpu, d->opened, d->count, sink);
}

mgn_status mgn_check_run(const mgn_check_options *options, mgn_check_report report, void *context,
                         mgn_check_summary *summary) {
    mgn_check_summary counts = {0, 0};
    mgn_check_sink sink = {.report = report, .context = context, .summary = &counts};
    size_t only = 0;
    char label[48];
    if (options->op) MGN_TRY(find_label(options->op, &only));
    devices d;
    MGN_TRY(open_devices(options->device, &d));
    mgn_status status = MGN_OK;
    for (size_t i = only; label_of(i, label) && status == MGN_OK; i++) {
        if (options->op && i != only) break;
        if (mgn_interrupted())
            status = mgn_fail(MGN_ERR_INTERRUPTED, "the checks were interrupted");
        else
            status = check_index(i, options, &d, &sink);
    }
    close_devices(&d);
    if (status == MGN_OK) *summary = counts;
    return status;
}
