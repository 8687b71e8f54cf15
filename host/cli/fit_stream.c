/* The rows of a fit that stay in their files. What is held out are whole blocks of neighbours, taken by a keyed order of all
 * blocks; the rest is learned from, window by window. Nothing here is held but the rows held out, of which there are so many
 * at most that measuring them takes no longer than it takes for a table in memory. */
#include "fit.h"

#include <string.h>

#include "core/core.h"

enum { WINDOW_BYTES = 64 << 20, BLOCKS_PER_WINDOW = 64, LEAST_BLOCKS = 16, MOST_HELD = 65536 };

static const uint64_t order_seed = UINT64_C(0x6f75746f66636f72); /* apart from that of the batches */

static int64_t window_of(const fit_job *j) {
    return j->options.window ? j->options.window : MGN_MAX(WINDOW_BYTES / (int64_t)sizeof(float) / j->d, 1);
}

mgn_status fit_choose_stream(fit_job *j, const char *loss) {
    const fit_options *o = &j->options;
    const char *at_once = strcmp(loss, "semidual") == 0                 ? loss
                          : mgn_optimizer_is_second_order(o->optimizer) ? o->optimizer
                                                                        : NULL;
    const char *refused = !mgn_target_count(j->source) ? "is for tables and pictures; --source is neither"
                          : o->samples                 ? "goes through all rows, and --samples takes some into memory"
                          : at_once                    ? "does not go with what looks at all rows at once"
                                                       : NULL;
    if (o->window && refused)
        return mgn_fail(MGN_ERR_ARGUMENT, "--window %s%s%s; leave one of them out", refused, at_once ? ": " : "",
                        at_once ? at_once : "");
    j->is_streamed = o->window || (!refused && mgn_target_is_mapped(j->source));
    return MGN_OK;
}

mgn_status fit_hold_target(fit_job *j) {
    const fit_options *o = &j->options;
    const int64_t count = mgn_target_count(j->target), most = o->samples ? o->samples : window_of(j);
    if (!mgn_target_is_mapped(j->target) || (o->paired && j->is_streamed)) return MGN_OK;
    if (o->paired) return mgn_target_hold(j->target, o->samples, o->common.seed);
    if (!o->samples && count > most && mgn_loss_needs_samples(j->training.loss.kind))
        mgn_note("%s: points are drawn from %lld of its %lld rows, which are in memory; its moments are those of all",
                 mgn_target_label(j->target), (long long)most, (long long)count);
    return mgn_target_hold(j->target, most, o->common.seed);
}

/* ---- from the order of the blocks to the files ---- */

/* The rows first .. first + n - 1 in the keyed order of blocks; what is left behind the whole blocks comes last. */
static mgn_status read_in_order(const fit_job *j, int64_t first, int64_t n, float *x, float *y) {
    const int64_t block = j->stream.block, blocks = mgn_target_count(j->source) / block, d = j->d;
    for (int64_t done = 0; done < n;) {
        const int64_t place = (first + done) / block, within = (first + done) % block;
        const bool is_whole = place < blocks;
        const int64_t count = is_whole ? MGN_MIN(n - done, block - within) : n - done;
        const int64_t from = is_whole ? mgn_host_shuffle_at(&j->order, (uint32_t)place) : blocks;
        const int64_t row = is_whole ? from * block + within : first + done;
        MGN_TRY(mgn_target_read(j->source, row, count, x + done * d));
        if (y) MGN_TRY(mgn_target_read(j->target, row, count, y + done * d));
        done += count;
    }
    return MGN_OK;
}

static mgn_status read_rows(void *context, int64_t first, int64_t n, float *x, float *y) {
    const fit_job *j = context;
    return read_in_order(j, j->left_out + first, n, x, y);
}

/* The rows that the figures are made on: those of the first blocks. */
static mgn_status take_first(fit_job *j, int64_t n) {
    MGN_TRY(mgn_matrix_create(n, j->d, &j->x));
    if (j->options.paired) MGN_TRY(mgn_matrix_create(n, j->d, &j->y));
    return read_in_order(j, 0, n, j->x.values, j->y.values);
}

mgn_status fit_open_stream(fit_job *j, double fraction, bool has_file) {
    const int64_t n = mgn_target_count(j->source), window = window_of(j);
    mgn_row_source *s = &j->stream;
    s->window = window;
    s->block = MGN_MAX(MGN_MIN(window / BLOCKS_PER_WINDOW, n / LEAST_BLOCKS), 1);
    s->read = read_rows;
    s->context = j;
    s->has_targets = j->options.paired;
    const int64_t blocks = n / s->block, wanted = MGN_MIN((int64_t)(fraction * (double)n), MOST_HELD);
    j->order = mgn_host_shuffle_start(j->options.common.seed ^ order_seed, 0, (uint32_t)blocks);
    if (!has_file) {
        j->held = MGN_MIN((wanted + s->block - 1) / s->block, blocks / 2) * s->block;
        j->left_out = j->held;
        MGN_TRY(take_first(j, j->held ? j->held : MGN_MIN(n, MOST_HELD)));
    }
    j->rows = s->n = n - j->left_out;
    return MGN_OK;
}
