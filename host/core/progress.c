#include "core/progress.h"

#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

static const double terminal_interval = 0.1, line_interval = 5.0;

void mgn_progress_begin(mgn_progress *progress, const char *label, uint64_t total) {
    double now = mgn_now();
    *progress = (mgn_progress){.label = label, .total = total, .started = now, .shown = now, .silent = mgn_quiet()};
    progress->terminal = isatty(STDERR_FILENO) == 1;
    if (progress->terminal) progress->shown = 0; /* the bar stands there from the first step on */
}

static size_t columns(void) {
    struct winsize size;
    if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 20) return size.ws_col - 1u;
    return 79;
}

void mgn_progress_time(double seconds, char *text, size_t capacity) {
    uint64_t s = seconds < 0 ? 0 : seconds > 1e7 ? 10000000 : (uint64_t)(seconds + 0.5);
    if (s >= 3600)
        snprintf(text, capacity, "%u:%02u:%02u", (unsigned)(s / 3600), (unsigned)(s / 60 % 60), (unsigned)(s % 60));
    else
        snprintf(text, capacity, "%u:%02u", (unsigned)(s / 60), (unsigned)(s % 60));
}

size_t mgn_progress_line(const mgn_progress *progress, double now, const char *remark, size_t width, char *line,
                         size_t capacity) {
    char time[24] = "?", bar[64] = "", count[48] = "", rate[48] = "", tail[400];
    const double spent = now - progress->started;
    const uint64_t done = progress->total ? MGN_MIN(progress->done, progress->total) : progress->done;
    if (progress->total) {
        const double share = (double)done / (double)progress->total;
        const int full = (int)(share * 20.0);
        snprintf(bar, sizeof bar, "[%.*s%.*s] %3d %%  ", full, "####################", 20 - full,
                 "....................", (int)(share * 100.0));
        if (done) mgn_progress_time(spent * (1.0 - share) / share, time, sizeof time);
        snprintf(count, sizeof count, "  %llu/%llu", (unsigned long long)done, (unsigned long long)progress->total);
    } else {
        mgn_progress_time(spent, time, sizeof time);
        if (done) snprintf(count, sizeof count, "  %llu", (unsigned long long)done);
    }
    if (progress->unit && done && spent > 0) {
        const double each = (double)done / spent;
        snprintf(rate, sizeof rate, "  %.*f %s/s", each < 10 ? 2 : 0, each, progress->unit);
    }
    /* The time comes first: what a narrow terminal cuts off is worth less. */
    snprintf(tail, sizeof tail, "%s%s%s%s%s%s", time, progress->total ? " left" : "", count, rate, *remark ? "  " : "",
             remark);
    int length = snprintf(line, MGN_MIN(capacity, width + 1), "%s  %s%s", progress->label, bar, tail);
    return MGN_MIN((size_t)(length < 0 ? 0 : length), MGN_MIN(capacity - 1, width));
}

void mgn_progress_update(mgn_progress *progress, uint64_t done, const char *format, ...) {
    progress->done = done;
    if (progress->silent) return;
    double now = mgn_now();
    if (now - progress->shown < (progress->terminal ? terminal_interval : line_interval)) return;
    progress->shown = now;
    char remark[128], line[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(remark, sizeof remark, format, arguments);
    va_end(arguments);
    mgn_progress_line(progress, now, remark, progress->terminal ? columns() : sizeof line - 1, line, sizeof line);
    if (progress->terminal)
        mgn_bar(line);
    else
        mgn_note("%s", line);
}

void mgn_progress_end(mgn_progress *progress) {
    if (progress->silent) return;
    if (progress->terminal) {
        mgn_bar(NULL);
    } else if (progress->shown > progress->started) {
        char line[512];
        mgn_progress_line(progress, mgn_now(), "", sizeof line - 1, line, sizeof line);
        mgn_note("%s", line);
    }
}
