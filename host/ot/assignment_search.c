/* From good prices to the optimal assignment: an auction that improves the prices, then shortest augmenting paths.
 *
 * The paths are found by Dijkstra's method over reduced costs c_ij - v_j - u_i >= 0, along the rows' lists. The columns
 * outside a list enter the same queue as one entry, at the distance that the list's bound allows: when that entry is
 * the nearest, and only then, the row looks at more columns. So the search is exact whatever the lists hold. */
#include "ot/assignment.h"

#include <math.h>
#include <string.h>

enum { LIST = MGN_LAP_LIST, BIDS_A_ROW = 60, CHAIN = 4, REDUCTIONS = 2, FANOUT = 4 };

/* ---- auction ---- */

static void open_auction(mgn_lap *lap, int32_t *queue) {
    for (int64_t i = 0; i < lap->n; i++) queue[i] = (int32_t)i;
    for (int64_t j = 0; j < lap->columns; j++)
        for (int32_t unit = lap->first[j]; unit < lap->first[j + 1]; unit++) {
            lap->holder[unit] = -1;
            lap->unit_price[unit] = lap->price[j];
        }
}

/* The row takes the column's unit of the highest price, which falls to `price`; the column's price is what the next row
 * finds. Who held the unit, or -1. */
static int32_t take_unit(mgn_lap *lap, int32_t column, int32_t row, double price) {
    double *prices = lap->unit_price + lap->first[column];
    int32_t *holders = lap->holder + lap->first[column];
    const int32_t count = mgn_lap_capacity(lap, column), loser = holders[0];
    int32_t at = 0;
    for (int32_t child; (child = 2 * at + 1) < count; at = child) {
        if (child + 1 < count && prices[child + 1] > prices[child]) child++;
        if (prices[child] <= price) break;
        prices[at] = prices[child];
        holders[at] = holders[child];
    }
    prices[at] = price;
    holders[at] = row;
    lap->price[column] = prices[0];
    return loser;
}

mgn_status mgn_lap_auction(mgn_lap *lap, double epsilon, int32_t *queue) {
    const int64_t n = lap->n;
    open_auction(lap, queue);
    int64_t head = 0, waiting = n;
    for (int64_t bids = BIDS_A_ROW * n; bids > 0 && waiting > 1; bids--) {
        const int32_t row = queue[head];
        head = head + 1 == n ? 0 : head + 1;
        const mgn_lap_offer offer = mgn_lap_best(lap, row);
        const int32_t column = lap->list_column[row * LIST + offer.place];
        const double raise = (isfinite(offer.second) ? offer.second - offer.best : 0) + epsilon;
        const int32_t loser = take_unit(lap, column, row, lap->price[column] - raise);
        if (loser < 0)
            waiting--;
        else
            queue[head + waiting - 1 < n ? head + waiting - 1 : head + waiting - 1 - n] = loser;
        if (bids % 1024 == 0 && mgn_interrupted()) return mgn_fail(MGN_ERR_INTERRUPTED, "assignment: interrupted");
    }
    return MGN_OK;
}

/* ---- easy rows ---- */

/* A column in the row's list with a free unit that is as good as its best, or -1. */
static int32_t equal_free_place(const mgn_lap *lap, int64_t row, double best) {
    for (int32_t k = 0; k < lap->count[row]; k++) {
        const int32_t column = lap->list_column[row * LIST + k];
        if (!mgn_lap_is_full(lap, column) && lap->list_cost[row * LIST + k] - lap->price[column] <= best) return k;
    }
    return -1;
}

/* Assigns the row to a free unit of the column at `place` of its list. */
static void assign_place(mgn_lap *lap, int64_t row, int32_t place) {
    const int32_t column = lap->list_column[row * LIST + place], unit = lap->first[column] + lap->used[column]++;
    mgn_lap_hold(lap, row, column, unit, lap->list_cost[row * LIST + place]);
}

/* Rows whose best column has room; the others are queued. */
static int64_t assign_greedily(mgn_lap *lap, int32_t *queue) {
    int64_t left = 0;
    for (int64_t j = 0; j < lap->columns; j++) lap->used[j] = 0;
    for (int64_t i = 0; i < lap->n; i++) {
        lap->column_of[i] = -1;
        const int32_t place = equal_free_place(lap, i, mgn_lap_best(lap, i).best);
        if (place >= 0)
            assign_place(lap, i, place);
        else
            queue[left++] = (int32_t)i;
    }
    return left;
}

/* Augmenting row reduction: a free row takes its best column and lowers its price as far as the row still does not
 * prefer another, which is an auction with epsilon 0: dual feasible throughout, but it may not end. Columns of
 * several units are left alone: the new price would not suit the others that hold them. */
static int64_t reduce_rows(mgn_lap *lap, int32_t *queue, int64_t count) {
    int64_t left = 0, chained = 0;
    for (int64_t k = 0; k < count;) {
        const int32_t row = queue[k++];
        const mgn_lap_offer offer = mgn_lap_best(lap, row);
        const int32_t free_place = equal_free_place(lap, row, offer.best);
        if (free_place >= 0) {
            assign_place(lap, row, free_place);
            continue;
        }
        const int32_t column = lap->list_column[row * LIST + offer.place], unit = lap->first[column];
        if (!(offer.best < offer.second && isfinite(offer.second)) || mgn_lap_capacity(lap, column) > 1) {
            queue[left++] = row;
            continue;
        }
        const int32_t loser = lap->holder[unit];
        lap->price[column] -= offer.second - offer.best;
        mgn_lap_hold(lap, row, column, unit, lap->list_cost[row * LIST + offer.place]);
        lap->column_of[loser] = -1;
        if (chained++ < CHAIN * lap->n)
            queue[--k] = loser;
        else
            queue[left++] = loser;
    }
    return left;
}

/* ---- shortest paths ---- */

/* An entry of the queue: column `id`, or for id < 0 the unseen columns of row -1 - id. */
typedef struct entry {
    double distance;
    int32_t id;
} entry;

typedef struct search {
    mgn_lap *lap;
    int32_t root;
    double root_payment; /* u of the root, which has no column yet */
    double limit;        /* distance of the nearest column with a free unit so far */
    int32_t end;         /* that column */
    uint32_t number;     /* of the search; what `seen` and `settled` compare with */
    uint32_t *seen, *settled, *looked;
    double *distance, *edge_cost;
    int32_t *from, *reached; /* row before a column; settled columns in order */
    int64_t reached_count;
    int *looks; /* how often a row looked beyond its list in search `looked` */
    entry *heap;
    int64_t heap_count, heap_room;
    bool is_out_of_memory;
} search;

static void push(search *s, double distance, int32_t id) {
    if (s->heap_count == s->heap_room) {
        entry *grown = mgn_realloc(s->heap, (size_t)(2 * s->heap_room + 1024), sizeof *grown);
        s->is_out_of_memory |= !grown;
        if (!grown) return;
        s->heap = grown;
        s->heap_room = 2 * s->heap_room + 1024;
    }
    int64_t at = s->heap_count++;
    while (at > 0 && s->heap[(at - 1) / FANOUT].distance > distance) {
        s->heap[at] = s->heap[(at - 1) / FANOUT];
        at = (at - 1) / FANOUT;
    }
    s->heap[at] = (entry){distance, id};
}

static entry pop(search *s) {
    const entry top = s->heap[0], last = s->heap[--s->heap_count];
    int64_t at = 0;
    for (;;) {
        const int64_t first = FANOUT * at + 1, end = MGN_MIN(first + FANOUT, s->heap_count);
        if (first >= end) break;
        int64_t least = first;
        for (int64_t k = first + 1; k < end; k++)
            if (s->heap[k].distance < s->heap[least].distance) least = k;
        if (s->heap[least].distance >= last.distance) break;
        s->heap[at] = s->heap[least];
        at = least;
    }
    if (s->heap_count) s->heap[at] = last;
    return top;
}

/* Column j can be reached at `distance` by `row`. */
static inline void relax(search *s, int32_t row, int32_t j, double distance, double cost) {
    if (!(distance < s->limit) || s->settled[j] == s->number) return;
    if (s->seen[j] == s->number && s->distance[j] <= distance) return;
    s->seen[j] = s->number;
    s->distance[j] = distance;
    s->from[j] = row;
    s->edge_cost[j] = cost;
    if (!mgn_lap_is_full(s->lap, j)) {
        s->limit = distance;
        s->end = j;
    } else {
        push(s, distance, j);
    }
}

static void relax_unseen(search *s, int32_t row, double bound, double base) {
    if (base + bound < s->limit) push(s, base + bound, -1 - row);
}

/* `base` + payment is the distance of a column by way of this row. */
static double base_of(const search *s, int32_t row) {
    if (row == s->root) return -s->root_payment;
    const int32_t j = s->lap->column_of[row];
    return s->distance[j] - (s->lap->cost_of[row] - s->lap->price[j]);
}

static void relax_list(search *s, int32_t row) {
    const mgn_lap *lap = s->lap;
    const int32_t *column = lap->list_column + (int64_t)row * LIST;
    const double *cost = lap->list_cost + (int64_t)row * LIST, base = base_of(s, row);
    for (int32_t k = 0; k < lap->count[row]; k++)
        relax(s, row, column[k], base + (cost[k] - lap->price[column[k]]), cost[k]);
    relax_unseen(s, row, lap->bound[row], base);
}

/* The columns beyond the row's list: each time four times as many, as far as they can matter. */
static void look_further(search *s, int32_t row) {
    mgn_lap *lap = s->lap;
    const double base = base_of(s, row);
    if (s->looked[row] != s->number) s->looks[row] = 0;
    s->looked[row] = s->number;
    if (++s->looks[row] == 1)
        mgn_lap_list(lap, row);
    else
        mgn_lap_pay(lap, row);
    const int64_t wanted = (int64_t)MGN_LAP_NEAR << MGN_MIN(2 * s->looks[row], 20);
    const double bound = mgn_lap_threshold(lap, 0, wanted), most = MGN_MIN(bound, s->limit - base);
    for (int64_t b = 0; b < lap->blocks; b++) {
        if (!(lap->least[b] <= most)) continue;
        for (int64_t j = b * MGN_LAP_BLOCK; j < MGN_MIN((b + 1) * MGN_LAP_BLOCK, lap->columns); j++)
            if (lap->payment[j] <= most)
                relax(s, row, (int32_t)j, base + lap->payment[j], lap->payment[j] + lap->price[j]);
    }
    relax_unseen(s, row, bound, base);
}

/* Settles columns in the order of their distance until one with a free unit is the nearest; then moves prices and rows. */
static void augment(search *s, int32_t root) {
    mgn_lap *lap = s->lap;
    s->root = root;
    s->root_payment = mgn_lap_best(lap, root).best;
    s->number++;
    s->heap_count = s->reached_count = 0;
    s->limit = INFINITY;
    s->end = -1;
    relax_list(s, root);
    while (s->heap_count > 0 && s->heap[0].distance < s->limit) {
        const entry top = pop(s);
        if (top.id < 0) {
            look_further(s, -1 - top.id);
        } else if (s->settled[top.id] != s->number && top.distance <= s->distance[top.id]) {
            s->settled[top.id] = s->number;
            s->reached[s->reached_count++] = top.id;
            for (int32_t unit = lap->first[top.id]; unit < lap->first[top.id + 1]; unit++)
                relax_list(s, lap->holder[unit]);
        }
    }
    if (s->is_out_of_memory || s->end < 0) return;
    for (int64_t k = 0; k < s->reached_count; k++) lap->price[s->reached[k]] -= s->limit - s->distance[s->reached[k]];
    int32_t unit = lap->first[s->end] + lap->used[s->end]++;
    for (int32_t j = s->end, row = -1; row != root;) {
        row = s->from[j];
        const int32_t left = lap->column_of[row], left_unit = lap->unit_of[row];
        mgn_lap_hold(lap, row, j, unit, s->edge_cost[j]);
        j = left;
        unit = left_unit;
    }
}

static void free_search(search *s) {
    mgn_free(s->seen);
    mgn_free(s->distance);
    mgn_free(s->from);
    mgn_free(s->heap);
}

/* `seen`, `distance` and `from` begin blocks that hold the other arrays of their type. */
static mgn_status start_search(mgn_lap *lap, search *s) {
    const size_t n = (size_t)lap->n;
    *s = (search){.lap = lap};
    s->seen = mgn_alloc(3 * n, sizeof *s->seen);
    s->distance = mgn_alloc(2 * n, sizeof *s->distance);
    s->from = mgn_alloc(3 * n, sizeof *s->from);
    if (!s->seen || !s->distance || !s->from) return MGN_ERR_MEMORY;
    s->settled = s->seen + n;
    s->looked = s->settled + n;
    s->edge_cost = s->distance + n;
    s->reached = s->from + n;
    s->looks = s->reached + n;
    return MGN_OK;
}

mgn_status mgn_lap_augment(mgn_lap *lap, int32_t *queue) {
    int64_t left = assign_greedily(lap, queue);
    for (int round = 0; round < REDUCTIONS && left > 0; round++) left = reduce_rows(lap, queue, left);
    search s;
    mgn_status status = start_search(lap, &s);
    for (int64_t k = 0; k < left && status == MGN_OK; k++) {
        augment(&s, queue[k]);
        if (s.is_out_of_memory)
            status = MGN_ERR_MEMORY;
        else if (s.end < 0)
            status = mgn_fail(MGN_ERR_NUMERIC, "assignment: no column is left for a row; the costs overflow");
        else if (mgn_interrupted())
            status = mgn_fail(MGN_ERR_INTERRUPTED, "assignment: interrupted");
    }
    free_search(&s);
    return status;
}
