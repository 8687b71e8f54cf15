/* The rows of a fit: drawn from its source, in a random order, with those held out at the end. */
#include "fit.h"

#include <stdlib.h>
#include <string.h>

#include "core/core.h"
#include "core/parse.h"
#include "core/random.h"

enum {
    USUAL_SAMPLES = 10000, /* of a distribution */
    STREAM = 0x66697473    /* sets the order of the rows apart from other random numbers under the same seed */
};

/* Both tables in one random order, so that what is held out is like the rest. */
static void shuffle_rows(fit_job *j) {
    const int64_t d = j->d;
    for (int64_t i = j->x.rows - 1; i > 0; i--) {
        const double u = mgn_host_uniform(j->options.common.seed, STREAM, (uint64_t)i);
        const int64_t k = MGN_MIN((int64_t)(u * (double)(i + 1)), i);
        for (int64_t c = 0; c < d; c++) {
            float *tables[] = {j->x.values, j->y.values};
            for (size_t t = 0; t < MGN_COUNT(tables) && tables[t]; t++) {
                const float swap = tables[t][i * d + c];
                tables[t][i * d + c] = tables[t][k * d + c];
                tables[t][k * d + c] = swap;
            }
        }
    }
}

/* The rows of `extra` from column `first` on behind those of `table`. */
static mgn_status append_rows(mgn_matrix *table, const mgn_matrix *extra, int64_t first, int64_t columns) {
    mgn_matrix both = {0};
    MGN_TRY(mgn_matrix_create(table->rows + extra->rows, columns, &both));
    if (table->rows > 0)
        memcpy(both.values, table->values, (size_t)(table->rows * table->columns) * sizeof *both.values);
    for (int64_t i = 0; i < extra->rows; i++)
        memcpy(both.values + (table->rows + i) * both.columns, extra->values + i * extra->columns + first,
               (size_t)both.columns * sizeof *both.values);
    mgn_matrix_free(table);
    *table = both;
    return MGN_OK;
}

/* Rows of a file of their own: d columns or, of pairs, d of x and d of y. */
static mgn_status read_held_out(fit_job *j) {
    mgn_target *rows = NULL;
    mgn_matrix all = {0};
    const int64_t d = j->d, columns = j->options.paired ? 2 * d : d;
    MGN_TRY(mgn_target_parse(j->options.hold_out, &rows));
    mgn_status status = MGN_OK;
    if (mgn_target_dimension(rows) != columns || !mgn_target_count(rows))
        status =
            mgn_fail(MGN_ERR_ARGUMENT, "--hold-out: a fraction, or a file of %lld columns%s was expected; %s has %lld",
                     (long long)columns, j->options.paired ? " (a row of the source, then its image)" : "",
                     mgn_target_label(rows), (long long)mgn_target_dimension(rows));
    if (status == MGN_OK) status = cli_target_all(rows, 0, 0, &all);
    if (status == MGN_OK) status = append_rows(&j->x, &all, 0, d);
    if (status == MGN_OK && j->options.paired) status = append_rows(&j->y, &all, d, d);
    if (status == MGN_OK) j->held = all.rows;
    mgn_matrix_free(&all);
    mgn_target_destroy(rows);
    return status;
}

/* How many of n rows are held out; the file of others is read. */
static mgn_status hold_out(fit_job *j, int64_t n) {
    const char *text = j->options.hold_out;
    char *end = NULL;
    double fraction = 0.1;
    j->rows = n;
    if (text) strtod(text, &end);
    const bool is_file = text && (end == text || *end);
    if (is_file && j->is_streamed) MGN_TRY(fit_open_stream(j, 0, true));
    if (is_file) return read_held_out(j);
    if (text) MGN_TRY(mgn_parse_real("--hold-out", text, 0, 0.9, &fraction));
    if (j->is_streamed) return fit_open_stream(j, fraction, false);
    j->held = (int64_t)(fraction * (double)n);
    j->rows = n - j->held;
    return MGN_OK;
}

mgn_status fit_draw_rows(fit_job *j) {
    const fit_options *o = &j->options;
    const int64_t count = mgn_target_count(j->source), n = o->samples ? o->samples : count ? count : USUAL_SAMPLES;
    if (!j->is_streamed) {
        MGN_TRY(cli_target_rows(j->source, n, o->common.seed, &j->x));
        if (o->paired) MGN_TRY(cli_target_rows(j->target, n, o->common.seed, &j->y)); /* the same rows */
        shuffle_rows(j);
    }
    MGN_TRY(hold_out(j, n));
    j->shown_at = j->held && !j->is_streamed ? j->rows : 0;
    j->shown = j->held ? j->held : MGN_MIN(j->rows, j->x.rows);
    if (j->rows < 2)
        return mgn_fail(MGN_ERR_ARGUMENT,
                        "at least 2 rows to learn from were expected; %s gives %lld, %lld of which are held out",
                        mgn_target_label(j->source), (long long)n, (long long)j->held);
    return MGN_OK;
}
