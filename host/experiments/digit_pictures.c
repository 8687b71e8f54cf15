/* Pictures of generated digits, as PNG. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "experiments/digits.h"

enum { ACROSS = 10, SAMPLES = 10 * ACROSS, LINES = 5, PICTURE_SIDE = 64, LONGEST_PATH = 4096 };

/* FOLDER/EXPERIMENT-RECIPE-KIND-WIDTH and an ending. */
static mgn_status set_path(char path[LONGEST_PATH], const mgn_run *run, const mgn_digits *d, const mgn_trial *trial,
                           const char *ending) {
    const int length = snprintf(path, LONGEST_PATH, "%s/%s-%s-%.15s-%lld%s", run->config->pictures, d->label,
                                trial->recipe, trial->model.kind, (long long)trial->model.h, ending);
    if (length < LONGEST_PATH) return MGN_OK;
    return mgn_fail(MGN_ERR_ARGUMENT, "--pictures: a path of less than %d characters was expected", LONGEST_PATH);
}

/* Writes rows of digits, ACROSS to a line. */
static mgn_status write_grid(const mgn_run *run, const mgn_digits *d, const mgn_trial *trial, const char *ending,
                             const mgn_matrix *rows) {
    char path[LONGEST_PATH];
    MGN_TRY(set_path(path, run, d, trial, ending));
    const int64_t zoom = MGN_MAX(PICTURE_SIDE / d->shape.height, 1);
    mgn_image *grid = NULL;
    MGN_TRY(mgn_image_grid(rows, d->shape.height, d->shape.width, ACROSS, zoom, &grid));
    const mgn_status status = mgn_image_write(grid, path, NULL);
    mgn_image_destroy(grid);
    return status;
}

/* The training digit nearest to `row`. */
static const float *find_nearest(const mgn_matrix *train, const float *row) {
    const int64_t d = train->columns;
    int64_t best = 0;
    double least = INFINITY;
    for (int64_t i = 0; i < train->rows; i++) {
        double sum = 0;
        for (int64_t k = 0; k < d; k++) {
            const double difference = (double)row[k] - (double)train->values[i * d + k];
            sum += difference * difference;
        }
        if (sum >= least) continue;
        least = sum;
        best = i;
    }
    return train->values + best * d;
}

/* `rows` holds generated digits in lines 0, 2, ..; the others become what is nearest to them. */
static void fill_nearest(const mgn_digits *d, const mgn_matrix *made, mgn_matrix *rows) {
    const int64_t columns = made->columns;
    const size_t bytes = (size_t)columns * sizeof(float);
    for (int64_t i = 0; i < rows->rows; i++) {
        const int64_t line = i / ACROSS, which = line / 2 * ACROSS + i % ACROSS;
        const float *sample = made->values + which % made->rows * columns;
        memcpy(rows->values + i * columns, line % 2 ? find_nearest(&d->train, sample) : sample, bytes);
    }
}

/* Noises on the great circle between two, so that all are as likely: a line for each pair. */
static void fill_ways(const mgn_digits *d, mgn_matrix *rows) {
    const int64_t columns = rows->columns;
    for (int64_t i = 0; i < rows->rows; i++) {
        const int64_t line = i / ACROSS;
        const double angle = M_PI / 2 * (double)(i % ACROSS) / (ACROSS - 1);
        const float *from = d->noise.values + 2 * line % d->noise.rows * columns,
                    *to = d->noise.values + (2 * line + 1) % d->noise.rows * columns;
        for (int64_t k = 0; k < columns; k++)
            rows->values[i * columns + k] = (float)(cos(angle) * (double)from[k] + sin(angle) * (double)to[k]);
    }
}

/* The cloud on its way, (1 - t) x + t g(x): a line for each of LINES samples, t from 0 to 1 along it. */
static void fill_evolution(const mgn_digits *d, const mgn_matrix *made, mgn_matrix *rows) {
    const int64_t columns = rows->columns;
    for (int64_t i = 0; i < rows->rows; i++) {
        const int64_t sample = i / ACROSS % made->rows;
        const float t = (float)(i % ACROSS) / (ACROSS - 1);
        for (int64_t k = 0; k < columns; k++)
            rows->values[i * columns + k] =
                (1 - t) * d->noise.values[sample * columns + k] + t * made->values[sample * columns + k];
    }
}

static mgn_status draw(const mgn_run *run, const mgn_digits *d, const mgn_trial *trial, mgn_map *map,
                       mgn_matrix *samples, mgn_matrix *lines) {
    mgn_matrix made = *samples;
    made.rows = MGN_MIN(SAMPLES, d->noise.rows);
    MGN_TRY(mgn_map_apply(map, d->noise.values, made.rows, made.values));
    MGN_TRY(write_grid(run, d, trial, "-samples.png", &made));
    fill_evolution(d, &made, lines);
    MGN_TRY(write_grid(run, d, trial, "-evolution.png", lines));
    mgn_matrix pairs = *lines;
    pairs.rows = LINES / 2 * 2 * ACROSS;
    fill_nearest(d, &made, &pairs);
    MGN_TRY(write_grid(run, d, trial, "-nearest.png", &pairs));
    fill_ways(d, lines);
    MGN_TRY(mgn_map_apply(map, lines->values, lines->rows, lines->values));
    return write_grid(run, d, trial, "-interpolation.png", lines);
}

mgn_status mgn_draw_digits(const mgn_run *run, const mgn_digits *d, const mgn_trial *trial, const mgn_model *model,
                           mgn_map *map) {
    mgn_matrix samples = {0}, lines = {0};
    char path[LONGEST_PATH];
    if (!run->config->pictures) return MGN_OK;
    MGN_TRY(set_path(path, run, d, trial, ".safetensors"));
    MGN_TRY(mgn_model_save(model, path));
    mgn_status status = mgn_matrix_create(SAMPLES, d->test.columns, &samples);
    if (status == MGN_OK) status = mgn_matrix_create(LINES * ACROSS, d->test.columns, &lines);
    if (status == MGN_OK) status = draw(run, d, trial, map, &samples, &lines);
    mgn_matrix_free(&samples);
    mgn_matrix_free(&lines);
    return status;
}
