/* Learning curves. */
#include "draw/draw.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { MOST_KEPT = 1 << 16, MOST_CURVES = 24 };

void mgn_draw_trace_free(mgn_draw_trace *trace) {
    mgn_free(trace->epochs);
    *trace = (mgn_draw_trace){0};
}

/* One block for the four columns. */
static bool grow(mgn_draw_trace *t) {
    const int64_t capacity = t->capacity ? 2 * t->capacity : 256;
    double *block = mgn_alloc((size_t)(4 * capacity), sizeof *block);
    if (!block) return false;
    double *const columns[] = {t->epochs, t->loss, t->held_out, t->cost};
    for (int64_t c = 0; c < 4 && t->n; c++) memcpy(block + c * capacity, columns[c], (size_t)t->n * sizeof *block);
    mgn_free(t->epochs);
    t->epochs = block;
    t->loss = block + capacity;
    t->held_out = block + 2 * capacity;
    t->cost = block + 3 * capacity;
    t->capacity = capacity;
    return true;
}

static void thin(mgn_draw_trace *t) {
    for (int64_t i = 0; 2 * i < t->n; i++) {
        t->epochs[i] = t->epochs[2 * i];
        t->loss[i] = t->loss[2 * i];
        t->held_out[i] = t->held_out[2 * i];
        t->cost[i] = t->cost[2 * i];
    }
    t->n = (t->n + 1) / 2;
    t->stride *= 2;
}

void mgn_draw_trace_add(mgn_draw_trace *t, const mgn_train_report *report) {
    if (t->stride == 0) t->stride = 1;
    while (t->n > 0 && t->epochs[t->n - 1] >= (double)report->epoch) t->n--;
    if (t->seen++ % t->stride != 0) return;
    if (t->n == MOST_KEPT) thin(t);
    if (t->n == t->capacity && !grow(t)) return;
    t->epochs[t->n] = (double)report->epoch;
    t->loss[t->n] = report->loss;
    t->held_out[t->n] = report->held_out;
    t->cost[t->n++] = report->cost;
}

/* What the reports of experiments count: not all of their trainings go over a set of rows. */
static const char *epochs_of(const char *kind) { return kind ? "epoch" : "epoch, iteration or part of the steps"; }

/* No half epochs where there are few. */
static int whole_tics(const mgn_draw_trace *traces, size_t count) {
    double first = INFINITY, last = 0;
    for (size_t i = 0; i < count; i++)
        if (traces[i].n) {
            first = fmin(first, traces[i].epochs[0]);
            last = fmax(last, traces[i].epochs[traces[i].n - 1]);
        }
    return last - first >= 1 && last - first <= 10 ? (int)(last - first) : 0;
}

static bool has_values(const double *values, int64_t n) {
    for (int64_t i = 0; i < n; i++)
        if (isfinite(values[i])) return true;
    return false;
}

/* A curve of few points shows them. */
static mgn_plot_curve curve_of(const mgn_draw_trace *t, const double *values, const char *label) {
    return (mgn_plot_curve){
        .label = label, .x = t->epochs, .y = values, .n = t->n, .style = t->n < 3 ? MGN_PLOT_MARKED : MGN_PLOT_LINE};
}

static mgn_status draw_loss(const mgn_draw *draw, const mgn_draw_trace *traces, size_t count, const char *kind) {
    mgn_plot_curve curves[2 * MOST_CURVES];
    char labels[2 * MOST_CURVES][120], title[MGN_DRAW_TITLE], y_label[80];
    size_t used = 0;
    for (size_t i = 0; i < count; i++) {
        const mgn_draw_trace *t = &traces[i];
        if (!has_values(t->loss, t->n)) continue;
        snprintf(labels[used], sizeof labels[used], "%s", count > 1 ? t->label : "training");
        curves[used] = curve_of(t, t->loss, labels[used]);
        used++;
        if (!has_values(t->held_out, t->n)) continue;
        snprintf(labels[used], sizeof labels[used], "%s%sheld out", count > 1 ? t->label : "", count > 1 ? ", " : "");
        curves[used] = curve_of(t, t->held_out, labels[used]);
        if (t->n >= 3) curves[used].style = MGN_PLOT_DASHED;
        used++;
    }
    if (used == 0) return MGN_OK;
    snprintf(y_label, sizeof y_label, "loss%s%s", kind ? ", " : "", kind ? kind : "");
    const mgn_plot_axes axes = {.title = mgn_draw_title(draw, "Loss", title),
                                .x = {.label = epochs_of(kind), .tics = whole_tics(traces, count)},
                                .y = {.label = y_label, .scale = MGN_PLOT_AUTO}};
    mgn_plot *plot = mgn_plot_begin(&(mgn_plot_page){0});
    mgn_plot_curves(plot, &axes, curves, used);
    return mgn_draw_save(draw, plot, "loss");
}

static mgn_status draw_cost(const mgn_draw *draw, const mgn_draw_trace *traces, size_t count, const char *kind) {
    mgn_plot_curve curves[MOST_CURVES];
    char title[MGN_DRAW_TITLE];
    size_t used = 0;
    for (size_t i = 0; i < count; i++)
        if (has_values(traces[i].cost, traces[i].n))
            curves[used++] = curve_of(&traces[i], traces[i].cost, count > 1 ? traces[i].label : NULL);
    if (used == 0) return MGN_OK;
    const mgn_plot_axes axes = {.title = mgn_draw_title(draw, "Transport cost", title),
                                .x = {.label = epochs_of(kind), .tics = whole_tics(traces, count)},
                                .y = {.label = "mean |x - g(x)|^2", .scale = MGN_PLOT_LOG}};
    mgn_plot *plot = mgn_plot_begin(&(mgn_plot_page){0});
    mgn_plot_curves(plot, &axes, curves, used);
    return mgn_draw_save(draw, plot, "cost");
}

mgn_status mgn_draw_training(const mgn_draw *draw, const mgn_draw_trace *traces, size_t count, const char *kind) {
    count = MGN_MIN(count, MOST_CURVES);
    MGN_TRY(draw_loss(draw, traces, count, kind));
    return draw_cost(draw, traces, count, kind);
}
