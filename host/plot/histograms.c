/* How numbers are distributed: shares of equal intervals, as filled outlines, so that several can be laid over one
 * another. */
#include <math.h>

#include "plot/panel.h"

enum { USUAL_BINS = 50, MOST_BINS = 1000 };

static double value_of(const mgn_plot_sample *sample, int64_t i) {
    return (double)sample->values[i * (sample->step ? sample->step : 1)];
}

/* Where a value lies among the edges of the bins, from 0 to 1; the edge at such a place. */
static double place_of(const mgn_plot_range *x, double value) {
    return x->is_log ? log(value / x->low) / log(x->high / x->low) : (value - x->low) / (x->high - x->low);
}

static double edge_at(const mgn_plot_range *x, double place) {
    if (place >= 1) return x->high;
    return x->is_log ? x->low * pow(x->high / x->low, place) : x->low + place * (x->high - x->low);
}

/* Shares of all values, those outside of the range and not finite ones among them. Gives the number of the former. */
static int64_t count_bins(const mgn_plot_sample *sample, const mgn_plot_range *x, int bins, double shares[MOST_BINS]) {
    int64_t outside = 0;
    for (int b = 0; b < bins; b++) shares[b] = 0;
    for (int64_t i = 0; i < sample->n; i++) {
        const double v = value_of(sample, i);
        if (!isfinite(v)) continue;
        /* The last interval is closed, and rounding takes nothing out of the range. */
        const double place = v >= x->low && v <= x->high ? place_of(x, v) * bins : -1;
        const int bin = place < 0 ? -1 : MGN_MIN((int)place, bins - 1);
        if (bin < 0)
            outside++;
        else
            shares[bin] += 1 / (double)sample->n;
    }
    return outside;
}

static void write_outline(mgn_plot *plot, const mgn_plot_range *x, int bins, const double *shares) {
    mgn_plot_block(plot);
    mgn_plot_row(plot, (double[2]){x->low, 0}, 2);
    for (int b = 0; b < bins; b++) {
        mgn_plot_row(plot, (double[2]){edge_at(x, (double)b / bins), shares[b]}, 2);
        mgn_plot_row(plot, (double[2]){edge_at(x, (double)(b + 1) / bins), shares[b]}, 2);
    }
    mgn_plot_row(plot, (double[2]){x->high, 0}, 2);
    mgn_plot_block_end(plot);
}

static void list_items(mgn_plot *plot, const mgn_plot_sample *sample, int block, int64_t outside, size_t place) {
    char label[MGN_PLOT_LABEL];
    const char *colour = mgn_plot_colour_code(sample->colour, place);
    snprintf(label, sizeof label, "%s", sample->label ? sample->label : "");
    if (outside) mgn_plot_remark(label, "%.2g %% outside", 100 * (double)outside / (double)sample->n);
    if (!sample->is_outline)
        mgn_plot_item(plot, "plot", block, NULL, "with filledcurves y=0 fs transparent solid .18 noborder lc rgb '%s'",
                      colour);
    mgn_plot_item(plot, "plot", block, label, "with lines lw 1.6 dt %d lc rgb '%s'", place % 3 == 1 ? 2 : 1, colour);
}

void mgn_plot_histograms(mgn_plot *plot, const mgn_plot_axes *axes, const mgn_plot_sample *samples, size_t count,
                         int bins) {
    enum { MOST_SAMPLES = 32 };
    if (!mgn_plot_is_open(plot)) return;
    double shares[MOST_BINS];
    int64_t outside[MOST_SAMPLES];
    mgn_plot_span across = mgn_plot_no_span(), up = mgn_plot_no_span();
    bins = bins > 0 ? MGN_MIN(bins, MOST_BINS) : USUAL_BINS;
    count = MGN_MIN(count, MOST_SAMPLES);
    for (size_t s = 0; s < count; s++)
        for (int64_t i = 0; i < samples[s].n; i++) mgn_plot_span_add(&across, value_of(&samples[s], i));
    const mgn_plot_range x = mgn_plot_find_range(&axes->x, &across, 0);
    const int first = mgn_plot_next_block(plot);
    for (size_t s = 0; s < count; s++) {
        outside[s] = count_bins(&samples[s], &x, bins, shares);
        for (int b = 0; b < bins; b++) mgn_plot_span_add(&up, shares[b]);
        write_outline(plot, &x, bins, shares);
    }
    mgn_plot_axis share = axes->y;
    if (!(share.low < share.high)) share.low = 0, share.high = up.high > 0 ? 1.08 * up.high : 1;
    const mgn_plot_range y = mgn_plot_find_range(&share, &up, 0);
    mgn_plot_panel(plot, axes, &x, &y, NULL);
    for (size_t s = 0; s < count; s++) list_items(plot, &samples[s], first + (int)s, outside[s], s);
    if (count == 0) mgn_plot_item(plot, "plot", -1, NULL, "with points");
}
