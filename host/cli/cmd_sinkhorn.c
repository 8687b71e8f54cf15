/* `mgn sinkhorn`: the debiased Sinkhorn divergence between two clouds. */
#include <stdio.h>
#include <string.h>

#include <mgn/data.h>
#include <mgn/sinkhorn.h>
#include <mgn/target.h>

#include "cli.h"
#include "comm/blocks_sum.h"
#include "core/core.h"
#include "outputs.h"
#include "rows.h"
#include "watch.h"

enum { SAMPLES = 10000 }; /* of a distribution that is not a table */

typedef struct cloud {
    const char *spec;
    mgn_target *target;
    mgn_matrix rows;
} cloud;

typedef struct job {
    cli_common common;
    mgn_sinkhorn_config config;
    int64_t samples, blocks;
    const char *gradient_path;
    mgn_matrix gradient;
    cloud clouds[2];
    mgn_sinkhorn_result result;
    char device[32]; /* its spec */
} job;

/* Of several processes the first alone prints and writes. */
static bool is_first(const job *j) { return mgn_comm_rank(j->common.comm) == 0; }

/* The second cloud's samples are other ones than the first's. */
static mgn_status load(const job *j, int which, cloud *c) {
    uint64_t seed = 2 * j->common.seed + (uint64_t)which;
    MGN_TRY(mgn_target_parse(c->spec, &c->target));
    if (which) MGN_TRY(cli_check_dimension(c->target, j->clouds[0].spec, j->clouds[0].rows.columns));
    return j->samples ? cli_target_rows(c->target, j->samples, seed, &c->rows)
                      : cli_target_all(c->target, SAMPLES, seed, &c->rows);
}

static mgn_status compute(job *j) {
    const mgn_matrix *a = &j->clouds[0].rows, *b = &j->clouds[1].rows;
    mgn_device *device = NULL;
    cli_watch watch;
    if (j->gradient_path) MGN_TRY(mgn_matrix_create(a->rows, a->columns, &j->gradient));
    MGN_TRY(cli_open_device(&j->common, &device));
    snprintf(j->device, sizeof j->device, "%s", mgn_device_get_info(device)->spec);
    cli_watch_begin(&watch, "sinkhorn", 1);
    cli_watch_stage(&watch, "annealing");
    const mgn_status status =
        j->blocks ? mgn_sinkhorn_shared(device, j->common.comm, j->blocks, a->values, NULL, a->rows, b->values, NULL,
                                        b->rows, a->columns, &j->config, &j->result, j->gradient.values)
                  : mgn_sinkhorn(device, a->values, NULL, a->rows, b->values, NULL, b->rows, a->columns, &j->config,
                                 &j->result, j->gradient.values);
    cli_watch_end(&watch);
    mgn_device_close(device);
    return status;
}

static mgn_status print(const job *j) {
    const mgn_sinkhorn_result *r = &j->result;
    const mgn_matrix *a = &j->clouds[0].rows, *b = &j->clouds[1].rows;
    if (!j->common.json) {
        printf("%.9g\n", r->value);
        mgn_note("%lld and %lld points of %lld coordinates, %lld steps in %.3f s on %s", (long long)a->rows,
                 (long long)b->rows, (long long)a->columns, (long long)r->iterations, r->seconds, j->device);
        return MGN_OK;
    }
    cJSON *object = cJSON_CreateObject();
    cJSON_AddNumberToObject(object, "value", r->value);
    cJSON_AddNumberToObject(object, "seconds", r->seconds);
    cJSON_AddNumberToObject(object, "prepare_seconds", r->prepare_seconds);
    cJSON_AddNumberToObject(object, "iterations", (double)r->iterations);
    cJSON_AddNumberToObject(object, "blur", j->config.blur);
    cJSON_AddNumberToObject(object, "scaling", j->config.scaling);
    if (j->config.reach > 0) cJSON_AddNumberToObject(object, "reach", j->config.reach);
    cJSON_AddNumberToObject(object, "n", (double)a->rows);
    cJSON_AddNumberToObject(object, "m", (double)b->rows);
    cJSON_AddNumberToObject(object, "d", (double)a->columns);
    cJSON_AddStringToObject(object, "device", j->device);
    return cli_print_json(object);
}

static mgn_status check_gradient(const job *j) {
    const char *inputs[] = {j->clouds[0].spec, j->clouds[1].spec};
    if (!j->gradient_path) return MGN_OK;
    MGN_TRY(cli_check_apart(j->gradient_path, inputs, MGN_COUNT(inputs)));
    return is_first(j) ? cli_check_writable(j->gradient_path) : MGN_OK;
}

static mgn_status run(job *j) {
    if (j->common.comm && !j->blocks) j->blocks = MGN_USUAL_BLOCKS;
    for (int i = 0; i < 2; i++) j->clouds[i].spec = j->common.arguments[i];
    MGN_TRY(check_gradient(j));
    for (int i = 0; i < 2; i++) MGN_TRY(load(j, i, &j->clouds[i]));
    MGN_TRY(compute(j));
    if (!is_first(j)) return MGN_OK;
    if (j->gradient_path) MGN_TRY(mgn_table_write(j->gradient_path, &j->gradient));
    return print(j);
}

mgn_status cmd_sinkhorn(const cli_command *command, int argc, char **argv) {
    job j = {.config = {.blur = 0.05, .scaling = 0.5}};
    const cli_option options[] = {
        {"blur", 'b', CLI_REAL, "B", "blur, in units of the coordinates (default 0.05)", &j.config.blur, 1e-9, 1e9},
        {"scaling", 's', CLI_REAL, "S",
         "ratio of neighbouring blurs while annealing; near 1 is more exact (default 0.5)", &j.config.scaling, 0.01,
         0.999},
        {"reach", 'r', CLI_REAL, "R",
         "unbalanced: mass is created rather than moved further than this (default: never)", &j.config.reach, 1e-9,
         1e9},
        {"diameter", 0, CLI_REAL, "D", "first blur of the annealing (default: the diagonal of the box of all points)",
         &j.config.diameter, 1e-9, 1e9},
        {"samples", 'n', CLI_LONG, "N", "samples of each cloud (default: all rows of a table, 10000 of a distribution)",
         &j.samples, 1, 1e9},
        {"gradient", 'g', CLI_TEXT, "FILE", "also write the derivative by the points of A: .npy or .csv",
         &j.gradient_path, 0, 0},
        {"blocks", 0, CLI_LONG, "N",
         "compute the rows in N blocks (a power of two): processes started by mpirun share them, and the bits are "
         "those "
         "of one process with as many blocks (default: 16 under mpirun)",
         &j.blocks, 1, MGN_MOST_BLOCKS},
    };
    MGN_TRY(cli_parse(command, argc, argv, options, MGN_COUNT(options), &j.common));
    if (j.common.help) return MGN_OK;
    mgn_status status = run(&j);
    for (int i = 0; i < 2; i++) {
        mgn_target_destroy(j.clouds[i].target);
        mgn_matrix_free(&j.clouds[i].rows);
    }
    mgn_matrix_free(&j.gradient);
    return status;
}
