/* `mgn w2`: how far apart two distributions are, by exact assignment, by slices, or by their moments (all of them, or those in
 * the leading axes of the second). */
#include <mgn/ot.h>

#include <math.h>

#include "cli.h"
#include "core/core.h"
#include "rows.h"
#include "watch.h"

enum { USUAL_POINTS = 4096, USUAL_SAMPLES = 65536, MOST_RESULTS = 4 };

/* Apart from the seed of the first, so that two draws of one distribution differ. */
static const uint64_t second_seed = UINT64_C(0x5851f42d4c957f2d);

typedef struct result {
    const char *label, *key;
    double squared, seconds;
    int64_t points[2]; /* of both; 0: the exact moments of a known distribution */
} result;

typedef struct job {
    cli_common common;
    mgn_target *a, *b;
    int64_t d, points, directions, axes;
    bool exact, bures;
    result results[MOST_RESULTS];
    int count;
    cli_watch watch;
} job;

static mgn_status parse(const cli_command *command, int argc, char **argv, job *j) {
    const cli_option options[] = {
        {"exact", 0, CLI_FLAG, NULL, "the optimal assignment of equally many points (the default without the others)",
         &j->exact, 0, 0},
        {"sliced", 0, CLI_LONG, "DIRECTIONS", "the mean over that many random directions", &j->directions, 1, 1000000},
        {"bures", 0, CLI_FLAG, NULL, "between the Gaussians of the same means and covariances", &j->bures, 0, 0},
        {"frechet", 0, CLI_LONG, "AXES", "the same of rows, within so many leading principal axes of B", &j->axes, 1,
         46340},
        {"points", 0, CLI_LONG, "N",
         "take N rows of each (default: all rows of files; of other distributions as many as the file has, else 4096 "
         "for --exact and 65536 for --sliced)",
         &j->points, 1, 100000000},
    };
    MGN_TRY(cli_parse(command, argc, argv, options, MGN_COUNT(options), &j->common));
    if (!j->directions && !j->bures && !j->axes) j->exact = true;
    return MGN_OK;
}

static mgn_status read_both(job *j) {
    MGN_TRY(mgn_target_parse(j->common.arguments[0], &j->a));
    MGN_TRY(mgn_target_parse(j->common.arguments[1], &j->b));
    j->d = mgn_target_dimension(j->a);
    return cli_check_dimension(j->b, mgn_target_label(j->a), j->d);
}

/* How many rows to take of `target`, beside `other`. */
static int64_t points_of(const job *j, const mgn_target *target, const mgn_target *other, int64_t usual) {
    if (j->points) return j->points;
    const int64_t own = mgn_target_count(target), others = mgn_target_count(other);
    return own ? own : others ? others : usual;
}

static mgn_status measure(job *j, mgn_status (*distance)(const job *, const mgn_matrix *, const mgn_matrix *, double *),
                          int64_t usual, result *r) {
    mgn_matrix x = {0}, y = {0};
    mgn_status status = cli_target_rows(j->a, points_of(j, j->a, j->b, usual), j->common.seed, &x);
    if (status == MGN_OK)
        status = cli_target_rows(j->b, points_of(j, j->b, j->a, usual), j->common.seed ^ second_seed, &y);
    const double start = mgn_now();
    if (status == MGN_OK) status = distance(j, &x, &y, &r->squared);
    r->seconds = mgn_now() - start;
    r->points[0] = x.rows;
    r->points[1] = y.rows;
    mgn_matrix_free(&x);
    mgn_matrix_free(&y);
    return status;
}

static mgn_status exact(const job *j, const mgn_matrix *x, const mgn_matrix *y, double *squared) {
    if (x->rows != y->rows)
        return mgn_fail(
            MGN_ERR_ARGUMENT,
            "%s has %lld rows and %s has %lld; the exact distance needs equally many: take a sample of each "
            "with --points N, or use --sliced",
            mgn_target_label(j->a), (long long)x->rows, mgn_target_label(j->b), (long long)y->rows);
    return mgn_assignment_w2(x->values, y->values, x->rows, j->d, NULL, squared);
}

static mgn_status sliced(const job *j, const mgn_matrix *x, const mgn_matrix *y, double *squared) {
    return mgn_sliced_w2(x->values, x->rows, y->values, y->rows, j->d, j->directions, j->common.seed, squared);
}

static mgn_status frechet(const job *j, const mgn_matrix *x, const mgn_matrix *y, double *squared) {
    return mgn_frechet(x->values, x->rows, y->values, y->rows, j->d, j->axes, squared);
}

/* From the exact moments where they are known; --points takes those of samples. */
static mgn_status bures(job *j, result *r) {
    const int64_t d = j->d;
    double *work = mgn_alloc((size_t)(2 * (d + d * d)), sizeof *work);
    if (!work) return MGN_ERR_MEMORY;
    double *mean[2] = {work, work + d}, *covariance[2] = {work + 2 * d, work + 2 * d + d * d};
    mgn_target *const targets[2] = {j->a, j->b};
    const double start = mgn_now();
    mgn_status status = MGN_OK;
    for (int k = 0; k < 2 && status == MGN_OK; k++) {
        mgn_matrix rows = {0};
        r->points[k] = j->points ? j->points : mgn_target_count(targets[k]);
        if (j->points) status = cli_target_rows(targets[k], j->points, j->common.seed ^ (k ? second_seed : 0), &rows);
        if (status == MGN_OK)
            status = j->points ? mgn_moments(rows.values, rows.rows, d, false, mean[k], covariance[k])
                               : mgn_target_moments(targets[k], mean[k], covariance[k]);
        mgn_matrix_free(&rows);
    }
    if (status == MGN_OK) status = mgn_bures_w2(mean[0], covariance[0], mean[1], covariance[1], d, &r->squared);
    r->seconds = mgn_now() - start;
    mgn_free(work);
    return status;
}

static mgn_status compute(job *j) {
    MGN_TRY(read_both(j));
    if (j->exact) {
        result *r = &j->results[j->count++];
        cli_watch_stage(&j->watch, "exact assignment");
        *r = (result){.label = "exact", .key = "w2_squared"};
        MGN_TRY(measure(j, exact, USUAL_POINTS, r));
    }
    if (j->directions) {
        result *r = &j->results[j->count++];
        cli_watch_stage(&j->watch, "slices");
        *r = (result){.label = "sliced", .key = "sliced_w2_squared"};
        MGN_TRY(measure(j, sliced, USUAL_SAMPLES, r));
    }
    if (j->bures) {
        result *r = &j->results[j->count++];
        cli_watch_stage(&j->watch, "moments");
        *r = (result){.label = "Bures", .key = "bures_w2_squared"};
        MGN_TRY(bures(j, r));
    }
    if (j->axes) {
        result *r = &j->results[j->count++];
        cli_watch_stage(&j->watch, "Frechet distance");
        *r = (result){.label = "Frechet", .key = "frechet_squared"};
        MGN_TRY(measure(j, frechet, USUAL_SAMPLES, r));
    }
    return MGN_OK;
}

static mgn_status print_json(const job *j) {
    cJSON *object = cJSON_CreateObject();
    cJSON_AddStringToObject(object, "a", j->common.arguments[0]);
    cJSON_AddStringToObject(object, "b", j->common.arguments[1]);
    cJSON_AddNumberToObject(object, "dimensions", (double)j->d);
    cJSON_AddNumberToObject(object, "seed", (double)j->common.seed);
    if (j->directions) cJSON_AddNumberToObject(object, "directions", (double)j->directions);
    if (j->axes) cJSON_AddNumberToObject(object, "axes", (double)j->axes);
    for (int i = 0; i < j->count; i++) cJSON_AddNumberToObject(object, j->results[i].key, j->results[i].squared);
    cJSON *list = cJSON_AddArrayToObject(object, "results");
    for (int i = 0; i < j->count; i++) {
        const result *r = &j->results[i];
        cJSON *item = cJSON_CreateObject();
        cJSON_AddStringToObject(item, "distance", r->key);
        cJSON_AddNumberToObject(item, "squared", r->squared);
        cJSON_AddNumberToObject(item, "points_a", (double)r->points[0]);
        cJSON_AddNumberToObject(item, "points_b", (double)r->points[1]);
        cJSON_AddNumberToObject(item, "seconds", r->seconds);
        cJSON_AddItemToArray(list, item);
    }
    return cli_print_json(object);
}

static void points_cell(cli_table *table, int64_t points) {
    if (points)
        cli_table_cell(table, "%lld", (long long)points);
    else
        cli_table_cell(table, "moments known");
}

static mgn_status print_text(const job *j) {
    cli_table *table = cli_table_create("distance|>W2^2|>W2|>points of A|>of B|>seconds");
    for (int i = 0; i < j->count; i++) {
        const result *r = &j->results[i];
        cli_table_cell(table, "%s", r->label);
        cli_table_cell(table, "%.6g", r->squared);
        cli_table_cell(table, "%.6g", sqrt(r->squared));
        points_cell(table, r->points[0]);
        points_cell(table, r->points[1]);
        cli_table_cell(table, "%.3f", r->seconds);
    }
    return cli_table_print(table);
}

mgn_status cmd_w2(const cli_command *command, int argc, char **argv) {
    job j = {0};
    MGN_TRY(parse(command, argc, argv, &j));
    if (j.common.help) return MGN_OK;
    cli_watch_begin(&j.watch, "w2", j.exact + (j.directions > 0) + j.bures + (j.axes > 0));
    mgn_status status = compute(&j);
    cli_watch_end(&j.watch);
    if (status == MGN_OK) status = j.common.json ? print_json(&j) : print_text(&j);
    mgn_target_destroy(j.a);
    mgn_target_destroy(j.b);
    return status;
}
