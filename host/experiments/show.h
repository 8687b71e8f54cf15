/* The figures of a trial, where the configuration asks for them (`plots`); without, every call here does nothing. They are
 * called EXPERIMENT-NUMBER-MODEL-RECIPE-NAME, after the number of the trial. */
#ifndef MGN_HOST_SHOW_H
#define MGN_HOST_SHOW_H

#include "draw/draw.h"
#include "experiments/experiments.h"

enum { MGN_SHOWN_TRAININGS = 8 };

/* What is remembered for the figures of the trial that runs. */
typedef struct mgn_showing {
    const char *experiment;
    char prefix[128], label[128];
    mgn_draw_trace traces[MGN_SHOWN_TRAININGS]; /* of its last trainings */
    size_t count;
    int trainings;
} mgn_showing;

/* A trial begins, and ends. */
void mgn_show_begin(const mgn_run *run, const char *task, const mgn_trial *trial);
void mgn_show_end(const mgn_run *run);

/* Where a training's reports go, until the next call; NULL: nowhere. */
mgn_draw_trace *mgn_show_training(const mgn_run *run, const char *label);
/* loss and cost of the trial's trainings. */
mgn_status mgn_show_trainings(const mgn_run *run);

/* What a map is shown on. */
typedef struct mgn_shown_rows {
    const float *x, *truth, *target; /* rows (n, d), their true images or NULL, rows (m, d) of the target or NULL */
    int64_t n, m, d;
} mgn_shown_rows;

/* clouds, interpolation, grid; error where there is a truth; in two dimensions log det and eigenvalues. */
mgn_status mgn_show_map(const mgn_run *run, mgn_map *map, const mgn_shown_rows *rows);

/* histograms and palettes: colours (n, 3) before, mapped, and the target's. */
mgn_status mgn_show_colours(const mgn_run *run, mgn_map *map, const mgn_matrix *before, const mgn_matrix *target);

#endif
