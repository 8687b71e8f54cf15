/* The figures of a trial, where --plots asks for them: its trainings, and what its map does to what it was judged on. */
#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "experiments/palettes.h"
#include "experiments/show.h"

enum { MOST_ROWS = 20000, CLOUD_ROWS = 4000 };

static mgn_draw figures_of(const mgn_run *run) {
    return (mgn_draw){run->config->plots, run->showing->prefix, run->showing->label};
}

/* ---- trainings ---- */

void mgn_show_begin(const mgn_run *run, const char *task, const mgn_trial *trial) {
    mgn_showing *s = run->showing;
    if (!s) return;
    mgn_show_end(run);
    snprintf(s->prefix, sizeof s->prefix, "%s-%02zu-%s-%s-", s->experiment, run->report->count + 1, trial->model.kind,
             trial->recipe);
    for (char *c = s->prefix; *c; c++)
        if (!isalnum((unsigned char)*c)) *c = '-';
    snprintf(s->label, sizeof s->label, "%s%s%s, %s, %s", s->experiment, task ? ", " : "", task ? task : "",
             trial->model.kind, trial->recipe);
}

void mgn_show_end(const mgn_run *run) {
    mgn_showing *s = run->showing;
    for (size_t i = 0; s && i < s->count; i++) mgn_draw_trace_free(&s->traces[i]);
    if (s) s->count = 0, s->trainings = 0;
}

/* The last ones are kept: of a search the first ones are those that were given up. */
mgn_draw_trace *mgn_show_training(const mgn_run *run, const char *label) {
    mgn_showing *s = run->showing;
    if (!s) return NULL;
    if (s->count == MGN_SHOWN_TRAININGS) {
        mgn_draw_trace_free(&s->traces[0]);
        memmove(s->traces, s->traces + 1, (--s->count) * sizeof *s->traces);
    }
    mgn_draw_trace *trace = &s->traces[s->count++];
    *trace = (mgn_draw_trace){0};
    snprintf(trace->label, sizeof trace->label, "%d: %.60s", ++s->trainings, label);
    return trace;
}

mgn_status mgn_show_trainings(const mgn_run *run) {
    if (!run->showing) return MGN_OK;
    const mgn_draw figures = figures_of(run);
    return mgn_draw_training(&figures, run->showing->traces, run->showing->count, NULL);
}

/* ---- maps ---- */

/* Some of the rows, evenly. */
static mgn_status take(const float *rows, int64_t n, int64_t d, int64_t most, mgn_matrix *some) {
    const int64_t count = MGN_MIN(n, most);
    MGN_TRY(mgn_matrix_create(count, d, some));
    for (int64_t i = 0; i < count; i++)
        memcpy(some->values + i * d, rows + d * (i * n / count), (size_t)d * sizeof *rows);
    return MGN_OK;
}

static mgn_status draw_error(const mgn_draw *figures, mgn_map *map, const mgn_shown_rows *r) {
    mgn_matrix x = {0}, truth = {0}, y = {0};
    mgn_status status = take(r->x, r->n, r->d, MOST_ROWS, &x);
    if (status == MGN_OK) status = take(r->truth, r->n, r->d, MOST_ROWS, &truth);
    if (status == MGN_OK) status = mgn_matrix_create(x.rows, r->d, &y);
    if (status == MGN_OK) status = mgn_map_apply(map, x.values, x.rows, y.values);
    if (status == MGN_OK) status = mgn_draw_error(figures, x.values, y.values, truth.values, x.rows, r->d);
    mgn_matrix_free(&x);
    mgn_matrix_free(&truth);
    mgn_matrix_free(&y);
    return status;
}

static mgn_status draw_clouds(const mgn_draw *figures, mgn_map *map, const mgn_shown_rows *r) {
    mgn_matrix x = {0}, y = {0}, target = {0};
    mgn_status status = take(r->x, r->n, r->d, CLOUD_ROWS, &x);
    if (status == MGN_OK) status = mgn_matrix_create(x.rows, r->d, &y);
    if (status == MGN_OK) status = mgn_map_apply(map, x.values, x.rows, y.values);
    if (status == MGN_OK && r->target) status = take(r->target, r->m, r->d, CLOUD_ROWS, &target);
    if (status == MGN_OK) {
        const mgn_draw_rows rows = {
            .x = x.values, .y = y.values, .target = target.values, .n = x.rows, .m = target.rows, .d = r->d};
        status = mgn_draw_map(figures, map, &rows);
    }
    if (status == MGN_OK && r->d == 2) status = mgn_draw_jacobian(figures, map, x.values, x.rows);
    mgn_matrix_free(&x);
    mgn_matrix_free(&y);
    mgn_matrix_free(&target);
    return status;
}

/* Of several processes the first alone draws, and asks the map by itself. */
mgn_status mgn_show_map(const mgn_run *run, mgn_map *map, const mgn_shown_rows *rows) {
    if (!run->showing) return MGN_OK;
    const mgn_draw figures = figures_of(run);
    mgn_map_share(map, NULL);
    mgn_status status = draw_clouds(&figures, map, rows);
    if (status == MGN_OK && rows->truth) status = draw_error(&figures, map, rows);
    mgn_map_share(map, run->config->comm);
    return status;
}

mgn_status mgn_show_colours(const mgn_run *run, mgn_map *map, const mgn_matrix *before, const mgn_matrix *target) {
    if (!run->showing) return MGN_OK;
    const mgn_draw figures = figures_of(run);
    mgn_matrix after = {0};
    MGN_TRY(mgn_matrix_create(before->rows, 3, &after));
    mgn_map_share(map, NULL);
    mgn_status status = mgn_map_apply(map, before->values, before->rows, after.values);
    mgn_map_share(map, run->config->comm);
    for (int64_t i = 0; i < 3 * after.rows; i++) after.values[i] = fminf(fmaxf(after.values[i], 0), 1);
    if (status == MGN_OK) {
        const mgn_draw_palette palettes[] = {{"before", before->values, before->rows},
                                             {"target", target->values, target->rows},
                                             {"after", after.values, after.rows}};
        status = mgn_draw_palettes(&figures, palettes, MGN_COUNT(palettes));
    }
    mgn_matrix_free(&after);
    return status;
}
