/* The file is the user's to look at while it grows: each line is written at once and whole. It is no part of the
 * checkpoint; where the two disagree after a crash, the checkpoint decides, and later lines are cut off. */
#include "train/curve.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/core.h"

enum { LINE = 512 };

static const char heading[] = "epoch,step,loss,held_out,lr,cost,seconds\n";

struct mgn_curve {
    char *path;
    int descriptor;
    bool is_csv;
};

static bool ends_in(const char *text, const char *ending) {
    const size_t a = strlen(text), b = strlen(ending);
    return a > b && strcmp(text + a - b, ending) == 0;
}

void mgn_curve_close(mgn_curve *curve) {
    if (!curve) return;
    if (curve->descriptor >= 0) close(curve->descriptor);
    mgn_free(curve->path);
    mgn_free(curve);
}

static mgn_status failure(const mgn_curve *curve, const char *what) {
    return mgn_fail(MGN_ERR_IO, "the log %s cannot be %s: %s", curve->path, what, strerror(errno));
}

/* A pipe or device has no lines to go back to, and reading one may never end. */
static mgn_status check_regular(const mgn_curve *curve) {
    struct stat about;
    if (fstat(curve->descriptor, &about) != 0) return failure(curve, "examined");
    if (S_ISREG(about.st_mode)) return MGN_OK;
    return mgn_fail(MGN_ERR_IO, "the log %s is no regular file; give it another name", curve->path);
}

static mgn_status write_all(const mgn_curve *curve, const char *text, size_t size) {
    while (size > 0) {
        const ssize_t done = write(curve->descriptor, text, size);
        if (done < 0 && errno == EINTR) continue;
        if (done <= 0) return failure(curve, "written");
        text += done;
        size -= (size_t)done;
    }
    return MGN_OK;
}

/* The epoch of a whole line; -1 for any other. */
static int64_t epoch_of(const mgn_curve *curve, const char *line) {
    static const char start[] = "{\"epoch\": ";
    char *end = NULL;
    if (!strchr(line, '\n')) return -1;
    if (!curve->is_csv && strncmp(line, start, sizeof start - 1) != 0) return -1;
    const char *digits = curve->is_csv ? line : line + sizeof start - 1;
    const long long epoch = strtoll(digits, &end, 10);
    return end > digits && *end == ',' && epoch > 0 ? epoch : -1;
}

mgn_status mgn_curve_cut(mgn_curve *curve, int64_t epoch) {
    char line[LINE];
    off_t keep = 0;
    const int copy = dup(curve->descriptor);
    FILE *stream = copy < 0 ? NULL : fdopen(copy, "r");
    if (!stream) {
        if (copy >= 0) close(copy);
        return failure(curve, "read");
    }
    rewind(stream);
    bool is_ours = true;
    for (bool is_first = true; fgets(line, sizeof line, stream); is_first = false) {
        const int64_t found = epoch_of(curve, line);
        const bool is_heading = is_first && curve->is_csv && strcmp(line, heading) == 0;
        if (is_first && strchr(line, '\n')) is_ours = curve->is_csv ? is_heading : found > 0;
        if (!is_heading && (found < 0 || found > epoch || (is_first && curve->is_csv))) break;
        keep += (off_t)strlen(line);
    }
    fclose(stream);
    if (!is_ours)
        return mgn_fail(MGN_ERR_ARGUMENT, "%s is no log of a training, and is left as it is; give the log another name",
                        curve->path);
    if (ftruncate(curve->descriptor, keep) != 0) return failure(curve, "cut");
    return curve->is_csv && keep == 0 ? write_all(curve, heading, sizeof heading - 1) : MGN_OK;
}

mgn_status mgn_curve_open(const char *path, int64_t epoch, mgn_curve **curve) {
    const bool is_csv = ends_in(path, ".csv");
    if (!is_csv && !ends_in(path, ".jsonl"))
        return mgn_fail(MGN_ERR_ARGUMENT, "the log %s: a name that ends in .csv or .jsonl was expected", path);
    mgn_curve *made = mgn_alloc(1, sizeof *made);
    if (!made) return MGN_ERR_MEMORY;
    made->is_csv = is_csv;
    made->descriptor = -1;
    made->path = mgn_strdup(path);
    mgn_status status = made->path ? MGN_OK : MGN_ERR_MEMORY;
    if (status == MGN_OK) {
        made->descriptor = open(path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC | (epoch < 0 ? O_TRUNC : 0), 0666);
        status = made->descriptor < 0 ? failure(made, "opened") : check_regular(made);
        if (status == MGN_OK) status = mgn_curve_cut(made, epoch);
    }
    if (status == MGN_OK)
        *curve = made;
    else
        mgn_curve_close(made);
    return status;
}

/* A number with all its digits; none where there is none. */
static void write_number(const mgn_curve *curve, double value, char text[32]) {
    if (isfinite(value))
        snprintf(text, 32, "%.9g", value);
    else
        snprintf(text, 32, "%s", curve->is_csv ? "" : "null");
}

mgn_status mgn_curve_add(mgn_curve *curve, const mgn_train_report *r) {
    char line[LINE], loss[32], held_out[32], cost[32];
    write_number(curve, r->loss, loss);
    write_number(curve, r->held_out, held_out);
    write_number(curve, r->cost, cost);
    const int length = curve->is_csv ? snprintf(line, sizeof line, "%" PRId64 ",%" PRId64 ",%s,%s,%.9g,%s,%.3f\n",
                                                r->epoch, r->steps, loss, held_out, r->lr, cost, r->seconds)
                                     : snprintf(line, sizeof line,
                                                "{\"epoch\": %" PRId64 ", \"step\": %" PRId64
                                                ", \"loss\": %s, \"held_out\": %s, \"lr\": %.9g, "
                                                "\"cost\": %s, \"seconds\": %.3f}\n",
                                                r->epoch, r->steps, loss, held_out, r->lr, cost, r->seconds);
    return write_all(curve, line, (size_t)MGN_MIN(length, LINE - 1));
}
