/* Least squares with coefficients that may not be negative, by the active-set method of Lawson and Hanson on the normal
 * equations. Coefficients enter one at a time, the one with the steepest descent first, so most stay exactly zero: the
 * result is a choice among the columns as well as a fit. */
#include <math.h>
#include <string.h>

#include <lapacke.h>

#include "ot/ot.h"

/* A gradient below this share of the largest is none. */
static const double tolerance = 1e-9;

typedef struct active_set {
    int64_t n, count;
    const double *gram, *moment;
    double *a;        /* (n) */
    int64_t *members; /* the `count` coefficients that are free */
    bool *is_member;
    double *matrix, *solution; /* of the members */
} active_set;

/* Solves for the members alone. Whether that worked: columns that depend on one another have no solution. */
static bool solve_members(active_set *s) {
    const int64_t k = s->count;
    for (int64_t i = 0; i < k; i++) {
        s->solution[i] = s->moment[s->members[i]];
        for (int64_t j = 0; j < k; j++) s->matrix[i * k + j] = s->gram[s->members[i] * s->n + s->members[j]];
    }
    return LAPACKE_dposv_work(LAPACK_COL_MAJOR, 'L', (lapack_int)k, 1, s->matrix, (lapack_int)k, s->solution,
                              (lapack_int)k) == 0;
}

static void leave(active_set *s, int64_t at) {
    s->a[s->members[at]] = 0;
    s->is_member[s->members[at]] = false;
    memmove(s->members + at, s->members + at + 1, (size_t)(--s->count - at) * sizeof *s->members);
}

/* Moves to the members' least-squares solution; on the way those that would become negative leave. */
static bool settle(active_set *s) {
    for (;;) {
        if (s->count > 0 && !solve_members(s)) return false;
        double share = 1;
        int64_t first = -1;
        for (int64_t i = 0; i < s->count; i++) {
            const double from = s->a[s->members[i]], to = s->solution[i];
            if (to > 0 || from / (from - to) >= share) continue;
            share = from / (from - to);
            first = i;
        }
        for (int64_t i = 0; i < s->count; i++) {
            double *a = &s->a[s->members[i]];
            *a = fmax(*a + share * (s->solution[i] - *a), 0);
        }
        if (first < 0) return true;
        leave(s, first);
    }
}

/* The coefficient outside that falls most steeply; -1 when none does. */
static int64_t steepest(const active_set *s, double least) {
    int64_t best = -1;
    double most = least;
    for (int64_t j = 0; j < s->n; j++) {
        if (s->is_member[j]) continue;
        double slope = s->moment[j];
        for (int64_t i = 0; i < s->count; i++) slope -= s->gram[s->members[i] * s->n + j] * s->a[s->members[i]];
        if (slope <= most) continue;
        most = slope;
        best = j;
    }
    return best;
}

static void run(active_set *s, int64_t most) {
    double scale = 0;
    for (int64_t j = 0; j < s->n; j++) scale = fmax(scale, fabs(s->moment[j]));
    for (int64_t round = 0; round < 3 * s->n && s->count < most; round++) {
        const int64_t next = steepest(s, tolerance * scale);
        if (next < 0) return;
        s->members[s->count++] = next;
        s->is_member[next] = true;
        if (settle(s)) continue;
        /* Its column depends on the others': it goes, and nothing that is left can be told apart from them. */
        leave(s, s->count - 1);
        (void)settle(s);
        return;
    }
}

mgn_status mgn_nnls(const double *gram, const double *moment, int64_t n, int64_t most, double *a) {
    most = MGN_MIN(most, n);
    active_set s = {.n = n, .gram = gram, .moment = moment, .a = a};
    s.members = mgn_alloc((size_t)most, sizeof *s.members);
    s.is_member = mgn_alloc((size_t)n, sizeof *s.is_member);
    s.matrix = mgn_alloc((size_t)most, (size_t)most * sizeof *s.matrix);
    s.solution = mgn_alloc((size_t)most, sizeof *s.solution);
    const bool ready = s.members && s.is_member && s.matrix && s.solution;
    if (ready) {
        memset(a, 0, (size_t)n * sizeof *a);
        memset(s.is_member, 0, (size_t)n * sizeof *s.is_member);
        run(&s, most);
    }
    mgn_free(s.members);
    mgn_free(s.is_member);
    mgn_free(s.matrix);
    mgn_free(s.solution);
    return ready ? MGN_OK : MGN_ERR_MEMORY;
}
