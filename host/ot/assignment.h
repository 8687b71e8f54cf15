/* The linear assignment problem with squared distances as costs, as assignment.c and its parts share it.
 *
 * Notation: rows i are points of x; columns j are the different points of y, each with a capacity: how many points of y
 * are there. c_ij = |x_i - y_j|^2. Every column has a price v_j (its dual variable); what a row pays is c_ij - v_j, and
 * u_i = min_j (c_ij - v_j) is its dual variable. Prices only ever fall while a level is solved, so a row's payments only
 * grow, and a lower bound on them stays one: this is what lets a row look at a short list of columns instead of all. */
#ifndef MGN_HOST_OT_ASSIGNMENT_H
#define MGN_HOST_OT_ASSIGNMENT_H

#include "core/core.h"

/* Columns are scanned in blocks of this many; coordinates of a block stand together. */
enum { MGN_LAP_BLOCK = 16 };

/* Columns that a row's list aims at, and the most that it holds. */
enum { MGN_LAP_NEAR = 32, MGN_LAP_LIST = 96 };

typedef struct mgn_lap {
    int64_t n;       /* rows of the level: the first n points of x, to be assigned to the first n of y */
    int64_t columns; /* different ones among these */
    int64_t d, blocks;
    double *x;     /* (n, d) */
    double *y;     /* (blocks, d, MGN_LAP_BLOCK); places past the last column hold 0 */
    double *costs; /* (n, payment_stride) of all rows and columns, or NULL: they are made when they are needed */
    double *price; /* v; minus infinity past the last column, so that nothing is near it */

    /* Lists: for row i, count[i] columns and their costs; every other column costs the row bound[i] or more. */
    int32_t *list_column; /* (n, MGN_LAP_LIST) */
    double *list_cost;
    int32_t *count;
    double *bound;

    /* Column j has the units first[j] .. first[j + 1] - 1, of which used[j] are held by rows: the first ones, except
     * during an auction, where the units are a heap by price, highest first, and holder is -1 for none. */
    int32_t *first, *used, *holder;
    double *unit_price;

    /* The column of a row (-1 for none), which of its units, and what it costs. */
    int32_t *column_of, *unit_of;
    double *cost_of;

    /* Payments of one row, the least of each block, and room for choosing among them: one set a thread. */
    double *payment, *least, *sorted;
    int64_t payment_stride;
    int threads;
} mgn_lap;

/* out[j] = |x_row - y_j|^2 - price[j] for the columns of blocks first .. last-1, and least[b] the smallest of block b. */
void mgn_lap_scan(const mgn_lap *lap, int64_t row, const double *price, int64_t first, int64_t last, double *out,
                  double *least);

/* A value that at least `wanted` columns do not pay more than, by the least payments of the blocks: the wanted-th
 * smallest of these, or infinity when there are fewer blocks. */
double mgn_lap_threshold(const mgn_lap *lap, int thread, int64_t wanted);

/* The row's payments and the blocks' least ones, into the first set. */
void mgn_lap_pay(mgn_lap *lap, int64_t row);

/* Makes the row's list anew from all columns; the payments stay in the first set. */
void mgn_lap_list(mgn_lap *lap, int64_t row);

/* The same for all rows, over threads. */
void mgn_lap_list_all(mgn_lap *lap);

/* The row's best column (a place in its list), its payment there, and the next best payment anywhere. */
typedef struct mgn_lap_offer {
    double best, second;
    int32_t place;
} mgn_lap_offer;
mgn_lap_offer mgn_lap_best(mgn_lap *lap, int64_t row);

/* Rows bid for columns, each leaving its column `epsilon` above its next best; prices end near the optimum. Stops when
 * one row is left, for which a shortest path is cheaper than a long war, or when many bids were made: only the prices
 * count. `queue` has room for n. Errors: INTERRUPTED. */
mgn_status mgn_lap_auction(mgn_lap *lap, double epsilon, int32_t *queue);

/* Assigns all rows, optimally. `queue` has room for n. Errors: MEMORY, INTERRUPTED. */
mgn_status mgn_lap_augment(mgn_lap *lap, int32_t *queue);

static inline int32_t mgn_lap_capacity(const mgn_lap *lap, int64_t column) {
    return lap->first[column + 1] - lap->first[column];
}

static inline bool mgn_lap_is_full(const mgn_lap *lap, int64_t column) {
    return lap->used[column] == mgn_lap_capacity(lap, column);
}

/* The row holds that unit of the column at that cost. */
static inline void mgn_lap_hold(mgn_lap *lap, int64_t row, int32_t column, int32_t unit, double cost) {
    lap->column_of[row] = column;
    lap->unit_of[row] = unit;
    lap->cost_of[row] = cost;
    lap->holder[unit] = (int32_t)row;
}

#endif
