/* The figures of `mgn fit`: how the training went, and what the map does. */
#include <stdio.h>

#include "core/core.h"
#include "fit.h"
#include "plots.h"

enum { DRAWN_ROWS = 4000 };
/* Of the target's points in the figures. */
static const uint64_t target_seed = UINT64_C(0x706c6f74);

static mgn_status draw_map(const fit_job *j, const mgn_draw *figures) {
    const int64_t n = MGN_MIN(j->shown, DRAWN_ROWS), count = mgn_target_count(j->target);
    mgn_map *map = NULL;
    mgn_matrix y = {0}, target = {0};
    mgn_draw_rows rows = {.x = j->x.values + j->shown_at * j->d, .n = n, .d = j->d};
    mgn_status status = mgn_map_create(j->model, j->device, j->training.real, &map);
    if (status == MGN_OK) status = mgn_matrix_create(n, j->d, &y);
    if (status == MGN_OK) status = mgn_map_apply(map, rows.x, n, y.values);
    if (status == MGN_OK)
        status =
            cli_target_rows(j->target, MGN_MIN(count ? count : n, n), j->options.common.seed ^ target_seed, &target);
    rows.y = y.values;
    rows.target = target.values;
    rows.m = target.rows;
    if (status == MGN_OK) status = mgn_draw_map(figures, map, &rows);
    mgn_matrix_free(&y);
    mgn_matrix_free(&target);
    mgn_map_destroy(map);
    return status;
}

mgn_status fit_draw(const fit_job *j) {
    const mgn_draw figures = {j->options.plots, NULL, cli_plots_label(j->options.out)};
    mgn_draw_trace traces[FIT_MOST_TRACES];
    size_t count = 0;
    for (size_t i = 0; i < FIT_MOST_TRACES; i++) {
        if (j->traces[i].n == 0) continue;
        traces[count] = j->traces[i];
        snprintf(traces[count].label, sizeof traces[count].label, "start %zu%s", i + 1,
                 (int64_t)i + 1 == j->kept ? " (kept)" : "");
        count++;
    }
    MGN_TRY(mgn_draw_training(&figures, traces, count, j->training.loss.kind));
    return draw_map(j, &figures);
}
