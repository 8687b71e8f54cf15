/* Exact optimal transport between two clouds of equally many points: the squared 2-Wasserstein distance.
 *
 * Both clouds are centred (which changes no optimal assignment) and shuffled. Prices come from coarse to fine: the first
 * points are assigned optimally among themselves, and the prices of the next four times as many follow from the
 * potentials, v_j = min_i (c_ij - u_i). Each level improves them by auctions on short lists of near columns and
 * ends with shortest augmenting paths, which are exact. Clouds on a line skip all that: their potentials are
 * known from the sorted points.
 *
 * Nothing of this needs to be believed: with any prices v, sum_j v_j + sum_i min_j (c_ij - v_j) is a lower bound on the
 * cost of every assignment. The last pass takes these minima over all pairs, and the cost found must meet the bound.
 *
 * Memory is O(n (list + d)), no matrix of costs is made, but for points of so many dimensions that each cost is dear and so
 * few of them that the matrix is of moderate size. Which thread scans what does not show in the result. */
#include "ot/assignment.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/parallel.h"
#include "core/random.h"
#include "ot/ot.h"

enum {
    BLOCK = MGN_LAP_BLOCK,
    LIST = MGN_LAP_LIST,
    MOST_POINTS = 16384,
    COARSEST = 64,  /* a level below this many points is not worth having */
    REFINEMENT = 4, /* points of a level over those of the one before */
    AUCTIONS = 2,   /* a level; epsilon falls by REFINEMENT between them */
    PART = 32,      /* rows or blocks that a thread takes at once */
    MOST_THREADS = 16,
    DEAR_DIMENSIONS = 32, /* from which costs are kept when there is room for */
    MOST_COSTS = 1 << 26, /* of them: 512 MiB */
    COST_BLOCKS = 4,      /* columns whose coordinates stay in cache while all rows pass */
    STREAM = 0x61736769   /* sets these random numbers apart from others under the same seed */
};

typedef struct problem {
    mgn_lap lap;
    int64_t n, columns;  /* of the last level */
    int64_t next_blocks; /* while a level is entered */
    int32_t *order_x, *order_y, *queue;
    int32_t *column;  /* of each point of y in its order; columns are numbered as they first appear there */
    double *row_dual; /* u */
} problem;

/* ---- preparation ---- */

static void free_problem(problem *p) {
    mgn_lap *lap = &p->lap;
    void *const blocks[] = {lap->costs,     lap->x,       lap->y,       lap->price,   lap->list_column, lap->list_cost,
                            lap->count,     lap->bound,   lap->cost_of, lap->payment, lap->least,       lap->sorted,
                            lap->column_of, lap->unit_of, lap->used,    lap->first,   lap->holder,      lap->unit_price,
                            p->column,      p->order_x,   p->order_y,   p->queue,     p->row_dual};
    for (size_t i = 0; i < MGN_COUNT(blocks); i++) mgn_free(blocks[i]);
}

static mgn_status allocate(problem *p, int64_t n, int64_t d) {
    mgn_lap *lap = &p->lap;
    const int64_t blocks = (n + BLOCK - 1) / BLOCK, padded = blocks * BLOCK;
    p->n = n;
    lap->d = d;
    lap->threads = MGN_MIN(mgn_threads(), MOST_THREADS);
    lap->payment_stride = padded;
    bool ok = true;
#define ROOM(target, count) ok = ok && ((target) = mgn_alloc_aligned((size_t)(count), sizeof *(target)))
    ROOM(lap->x, n * d);
    ROOM(lap->y, padded * d);
    ROOM(lap->price, padded);
    ROOM(lap->list_column, n * LIST);
    ROOM(lap->list_cost, n * LIST);
    ROOM(lap->count, n);
    ROOM(lap->bound, n);
    ROOM(lap->cost_of, n);
    ROOM(lap->payment, lap->threads * padded);
    ROOM(lap->least, lap->threads * padded);
    ROOM(lap->sorted, lap->threads * padded);
    ROOM(lap->column_of, n);
    ROOM(lap->unit_of, n);
    ROOM(lap->used, n);
    ROOM(lap->first, n + 1);
    ROOM(lap->holder, n);
    ROOM(lap->unit_price, n);
    ROOM(p->column, n);
    ROOM(p->order_x, n);
    ROOM(p->order_y, n);
    ROOM(p->queue, n);
    ROOM(p->row_dual, n);
#undef ROOM
    return ok ? MGN_OK : MGN_ERR_MEMORY;
}

static void shuffle(int32_t *order, int64_t n, uint64_t cloud) {
    for (int64_t i = 0; i < n; i++) order[i] = (int32_t)i;
    for (int64_t i = n - 1; i > 0; i--) {
        const int64_t j = MGN_MIN((int64_t)(mgn_host_uniform(cloud, STREAM, (uint64_t)i) * (double)(i + 1)), i);
        const int32_t swap = order[i];
        order[i] = order[j];
        order[j] = swap;
    }
}

/* ---- equal points ---- */

typedef struct point {
    const float *row;
    int64_t d;
    int32_t index; /* in the shuffled order */
} point;

static int by_row(const void *a, const void *b) {
    const point *p = a, *q = b;
    const int order = memcmp(p->row, q->row, (size_t)p->d * sizeof *p->row);
    return order ? order : (p->index > q->index) - (p->index < q->index);
}

/* Points of y with the same coordinates are one column. */
static mgn_status number_columns(problem *p, const float *y) {
    const int64_t n = p->n, d = p->lap.d;
    point *points = mgn_alloc((size_t)n, sizeof *points);
    if (!points) return MGN_ERR_MEMORY;
    for (int64_t i = 0; i < n; i++) points[i] = (point){y + p->order_y[i] * d, d, (int32_t)i};
    qsort(points, (size_t)n, sizeof *points, by_row);
    int32_t same = 0; /* the first of the equal ones */
    for (int64_t i = 0; i < n; i++) {
        const bool is_new = i == 0 || memcmp(points[i].row, points[i - 1].row, (size_t)d * sizeof *y) != 0;
        if (is_new) same = points[i].index;
        p->column[points[i].index] = same;
    }
    mgn_free(points);
    for (int64_t i = 0; i < n; i++) p->column[i] = p->column[i] == i ? (int32_t)p->columns++ : p->column[p->column[i]];
    return MGN_OK;
}

static int64_t count_different(const float *rows, int64_t n, int64_t d, point *points) {
    int64_t count = 1;
    for (int64_t i = 0; i < n; i++) points[i] = (point){rows + i * d, d, (int32_t)i};
    qsort(points, (size_t)n, sizeof *points, by_row);
    for (int64_t i = 1; i < n; i++) count += memcmp(points[i].row, points[i - 1].row, (size_t)d * sizeof *rows) != 0;
    return count;
}

/* Whether x has fewer different points than y: then it is better off as the side that has columns. */
static mgn_status find_side(const float *x, const float *y, int64_t n, int64_t d, bool *is_swapped) {
    point *points = mgn_alloc((size_t)n, sizeof *points);
    if (!points) return MGN_ERR_MEMORY;
    *is_swapped = count_different(x, n, d, points) < count_different(y, n, d, points);
    mgn_free(points);
    return MGN_OK;
}

typedef struct cost_job {
    const mgn_lap *lap; /* without costs, as it is scanned */
    double *costs, *least;
    const double *zero;
} cost_job;

static void costs_part(void *context, int64_t part, int thread) {
    const cost_job *job = context;
    const mgn_lap *lap = job->lap;
    const int64_t first = part * COST_BLOCKS, last = MGN_MIN(first + COST_BLOCKS, lap->payment_stride / BLOCK);
    for (int64_t i = 0; i < lap->n; i++)
        mgn_lap_scan(lap, i, job->zero, first, last, job->costs + i * lap->payment_stride,
                     job->least + thread * lap->payment_stride);
}

/* Makes all costs once; without the room for them the solver makes them as it goes. */
static void keep_costs(problem *p) {
    mgn_lap *lap = &p->lap;
    if (lap->d < DEAR_DIMENSIONS || p->n * lap->payment_stride > MOST_COSTS) return;
    double *costs = mgn_alloc_aligned((size_t)(p->n * lap->payment_stride), sizeof *costs);
    if (!costs) return;
    lap->n = p->n;
    cost_job job = {lap, costs, lap->least, lap->sorted};
    mgn_parallel(lap->threads, (lap->payment_stride / BLOCK + COST_BLOCKS - 1) / COST_BLOCKS, costs_part, &job);
    lap->n = 0; /* no level is solved yet */
    lap->costs = costs;
}

static mgn_status load(problem *p, const float *x, const float *y) {
    const int64_t n = p->n, d = p->lap.d;
    double *mean = mgn_alloc((size_t)(2 * d), sizeof *mean);
    mgn_status status = mean ? mgn_moments(x, n, d, false, mean, NULL) : MGN_ERR_MEMORY;
    if (status == MGN_OK) status = mgn_moments(y, n, d, false, mean + d, NULL);
    if (status == MGN_OK) {
        shuffle(p->order_x, n, 0);
        shuffle(p->order_y, n, 1);
        status = number_columns(p, y);
    }
    for (int64_t i = 0; i < n && status == MGN_OK; i++) {
        const int64_t j = p->column[i];
        for (int64_t k = 0; k < d; k++) {
            p->lap.x[i * d + k] = (double)x[p->order_x[i] * d + k] - mean[k];
            p->lap.y[(j / BLOCK * d + k) * BLOCK + j % BLOCK] = (double)y[p->order_y[i] * d + k] - mean[d + k];
        }
    }
    mgn_free(mean);
    return status;
}

/* ---- coarse to fine ---- */

static void row_duals_part(void *context, int64_t part, int thread) {
    problem *p = context;
    const mgn_lap *lap = &p->lap;
    double *payment = lap->payment + thread * lap->payment_stride, *least = lap->least + thread * lap->payment_stride;
    for (int64_t i = part * PART; i < MGN_MIN((part + 1) * PART, lap->n); i++) {
        mgn_lap_scan(lap, i, lap->price, 0, lap->blocks, payment, least);
        double smallest = INFINITY;
        for (int64_t b = 0; b < lap->blocks; b++) smallest = least[b] < smallest ? least[b] : smallest;
        p->row_dual[i] = smallest;
    }
}

/* u_i = min_j (c_ij - v_j) for the level's rows, from all of its columns. */
static void find_row_duals(problem *p) {
    mgn_parallel(p->lap.threads, (p->lap.n + PART - 1) / PART, row_duals_part, p);
}

/* Columns that are new in the next level, PART blocks at a time: v_j = min_i (c_ij - u_i). */
static void extend_part(void *context, int64_t part, int thread) {
    problem *p = context;
    const mgn_lap *lap = &p->lap;
    const int64_t first = lap->columns / BLOCK + part * PART, last = MGN_MIN(first + PART, p->next_blocks);
    const int64_t begin = MGN_MAX(first * BLOCK, lap->columns);
    double *cost = lap->payment + thread * lap->payment_stride, *least = lap->least + thread * lap->payment_stride;
    const double *zero = lap->sorted + thread * lap->payment_stride;
    for (int64_t j = begin; j < last * BLOCK; j++) lap->price[j] = INFINITY;
    for (int64_t i = 0; i < lap->n; i++) {
        mgn_lap_scan(lap, i, zero, first, last, cost, least);
        for (int64_t j = begin; j < last * BLOCK; j++) {
            const double price = cost[j] - p->row_dual[i];
            lap->price[j] = price < lap->price[j] ? price : lap->price[j];
        }
    }
}

static void extend_prices(problem *p) {
    mgn_lap *lap = &p->lap;
    const int64_t parts = (p->next_blocks - lap->columns / BLOCK + PART - 1) / PART;
    find_row_duals(p);
    memset(lap->sorted, 0, (size_t)(lap->threads * lap->payment_stride) * sizeof *lap->sorted);
    mgn_parallel(lap->threads, parts, extend_part, p);
}

/* Makes the first n points of both clouds the level. The prices of columns that are new follow from the level before. */
static void set_level(problem *p, int64_t n) {
    mgn_lap *lap = &p->lap;
    int64_t columns = 0;
    memset(lap->first, 0, (size_t)(p->n + 1) * sizeof *lap->first);
    for (int64_t i = 0; i < n; i++) {
        lap->first[p->column[i] + 1]++;
        columns = MGN_MAX(columns, p->column[i] + 1);
    }
    for (int64_t j = 0; j < columns; j++) lap->first[j + 1] += lap->first[j];
    p->next_blocks = (columns + BLOCK - 1) / BLOCK;
    if (lap->n > 0) extend_prices(p);
    lap->n = n;
    lap->columns = columns;
    lap->blocks = p->next_blocks;
    for (int64_t j = columns; j < lap->blocks * BLOCK; j++) lap->price[j] = -INFINITY;
}

/* How much more a row pays at the end of its list than at its best column, on average: the scale of what is undecided. */
static double list_width(mgn_lap *lap) {
    double sum = 0;
    for (int64_t i = 0; i < lap->n; i++) {
        const mgn_lap_offer offer = mgn_lap_best(lap, i);
        const double end = isfinite(lap->bound[i]) ? lap->bound[i] : offer.second;
        sum += isfinite(end) ? end - offer.best : 0;
    }
    return sum / (double)lap->n;
}

static mgn_status solve_level(problem *p, bool with_auctions) {
    mgn_lap *lap = &p->lap;
    mgn_lap_list_all(lap);
    double epsilon = with_auctions ? 0.1 * list_width(lap) : 0;
    for (int k = 0; k < AUCTIONS && epsilon > 0; k++, epsilon /= REFINEMENT)
        MGN_TRY(mgn_lap_auction(lap, epsilon, p->queue));
    return mgn_lap_augment(lap, p->queue);
}

static mgn_status solve_levels(problem *p) {
    int64_t sizes[16];
    int count = 0;
    for (int64_t n = p->n; count == 0 || n >= COARSEST; n /= REFINEMENT) sizes[count++] = n;
    while (count-- > 0) {
        set_level(p, sizes[count]);
        MGN_TRY(solve_level(p, true));
    }
    return MGN_OK;
}

/* ---- clouds on a line ---- */

typedef struct place {
    double t;
    int32_t index;
} place;

static int by_place(const void *a, const void *b) {
    const place *p = a, *q = b;
    return p->t < q->t ? -1 : p->t > q->t ? 1 : (p->index > q->index) - (p->index < q->index);
}

static double y_at(const mgn_lap *lap, int64_t j, int64_t k) {
    return lap->y[(j / BLOCK * lap->d + k) * BLOCK + j % BLOCK];
}

/* Direction of the point of x that is farthest from the mean, or false where all of x is in one place. */
static bool find_axis(const problem *p, double *axis) {
    const int64_t d = p->lap.d;
    double farthest = 0;
    for (int64_t i = 0; i < p->n; i++) {
        double squares = 0;
        for (int64_t k = 0; k < d; k++) squares += p->lap.x[i * d + k] * p->lap.x[i * d + k];
        if (squares <= farthest) continue;
        farthest = squares;
        memcpy(axis, p->lap.x + i * d, (size_t)d * sizeof *axis);
    }
    for (int64_t k = 0; k < d && farthest > 0; k++) axis[k] /= sqrt(farthest);
    return farthest > 0;
}

/* Places along the axis; false when the points are not nearly on it. */
static bool place_points(const problem *p, const double *axis, place *x, place *y) {
    const mgn_lap *lap = &p->lap;
    double along = 0, all = 0;
    for (int64_t i = 0; i < p->n; i++) {
        x[i] = y[i] = (place){0, (int32_t)i};
        for (int64_t k = 0; k < lap->d; k++) {
            const double a = lap->x[i * lap->d + k], b = y_at(lap, p->column[i], k);
            x[i].t += axis[k] * a;
            y[i].t += axis[k] * b;
            all += a * a + b * b;
        }
        along += x[i].t * x[i].t + y[i].t * y[i].t;
    }
    return all - along <= 1e-9 * all;
}

/* In one dimension the optimal map is the monotone one, whose potential rises with a slope between the two points of x
 * from one point of y to the next: v_j = |y_j|^2 - 2 psi(y_j). */
static bool price_line(problem *p, double *axis, place *x, place *y) {
    mgn_lap *lap = &p->lap;
    if (!find_axis(p, axis) || !place_points(p, axis, x, y)) return false;
    qsort(x, (size_t)p->n, sizeof *x, by_place);
    qsort(y, (size_t)p->n, sizeof *y, by_place);
    double psi = 0;
    for (int64_t r = 0; r < p->n; r++) {
        if (r > 0) psi += 0.5 * (x[r - 1].t + x[r].t) * (y[r].t - y[r - 1].t);
        const int64_t j = p->column[y[r].index];
        double squares = 0;
        for (int64_t k = 0; k < lap->d; k++) squares += y_at(lap, j, k) * y_at(lap, j, k);
        lap->price[j] = squares - 2 * psi;
    }
    return true;
}

static mgn_status start_on_line(problem *p, bool *is_line) {
    double *axis = mgn_alloc((size_t)p->lap.d, sizeof *axis);
    place *places = mgn_alloc((size_t)(2 * p->n), sizeof *places);
    const mgn_status status = axis && places ? MGN_OK : MGN_ERR_MEMORY;
    if (status == MGN_OK) *is_line = price_line(p, axis, places, places + p->n);
    mgn_free(places);
    mgn_free(axis);
    return status;
}

/* ---- proof and result ---- */

/* The cost found against the lower bound that the prices give; both are sums of terms of the size of `scale`. */
static mgn_status certify(problem *p) {
    const mgn_lap *lap = &p->lap;
    double cost = 0, bound = 0, scale = 0;
    find_row_duals(p);
    for (int64_t i = 0; i < p->n; i++) {
        const double price = lap->price[lap->column_of[i]]; /* as often as the column has points: all are held */
        cost += lap->cost_of[i];
        bound += p->row_dual[i] + price;
        scale += lap->cost_of[i] + fabs(p->row_dual[i]) + fabs(price);
    }
    if (fabs(cost - bound) <= 1e-12 * scale) return MGN_OK;
    return mgn_fail(
        MGN_ERR_NUMERIC,
        "assignment: a cost of %.17g was found, but only %.17g is proven; the points' coordinates may be of "
        "sizes too different for double precision",
        cost / (double)p->n, bound / (double)p->n);
}

/* Undoes the shuffles; the cost is summed from the points as they were given. */
static double report(const problem *p, const float *x, const float *y, bool is_swapped, int64_t *permutation) {
    const int64_t d = p->lap.d;
    int32_t *target = p->queue, *point_of = p->lap.holder; /* the points of y, column by column */
    memset(p->lap.used, 0, (size_t)p->columns * sizeof *p->lap.used);
    for (int64_t i = 0; i < p->n; i++) {
        const int32_t j = p->column[i];
        point_of[p->lap.first[j] + p->lap.used[j]++] = p->order_y[i];
    }
    for (int64_t i = 0; i < p->n; i++) target[p->order_x[i]] = point_of[p->lap.unit_of[i]];
    double sum = 0;
    for (int64_t i = 0; i < p->n; i++) {
        double squares = 0;
        for (int64_t k = 0; k < d; k++) {
            const double e = (double)x[i * d + k] - (double)y[target[i] * d + k];
            squares += e * e;
        }
        sum += squares;
        if (permutation) permutation[is_swapped ? target[i] : i] = is_swapped ? i : target[i];
    }
    return sum / (double)p->n;
}

static mgn_status solve(problem *p, const float *x, const float *y) {
    bool is_line = false;
    MGN_TRY(load(p, x, y));
    MGN_TRY(start_on_line(p, &is_line));
    if (is_line) {
        set_level(p, p->n);
        MGN_TRY(solve_level(p, false));
    } else {
        keep_costs(p);
        MGN_TRY(solve_levels(p));
    }
    return certify(p);
}

mgn_status mgn_assignment_w2(const float *x, const float *y, int64_t n, int64_t d, int64_t *permutation,
                             double *squared) {
    MGN_TRY(mgn_check_rows("assignment", x, n, d));
    MGN_TRY(mgn_check_rows("assignment", y, n, d));
    if (!squared) return mgn_fail(MGN_ERR_ARGUMENT, "assignment: a place for the result was expected, not NULL");
    if (n > MOST_POINTS)
        return mgn_fail(MGN_ERR_ARGUMENT,
                        "assignment: at most %d points a cloud were expected, not %lld; take a sample of them, or the "
                        "sliced distance",
                        MOST_POINTS, (long long)n);
    problem p = {0};
    bool is_swapped = false;
    MGN_TRY(find_side(x, y, n, d, &is_swapped));
    const float *rows = is_swapped ? y : x, *columns = is_swapped ? x : y;
    mgn_status status = allocate(&p, n, d);
    if (status == MGN_OK) status = solve(&p, rows, columns);
    if (status == MGN_OK) *squared = report(&p, rows, columns, is_swapped, permutation);
    free_problem(&p);
    return status;
}
