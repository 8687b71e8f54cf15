/* Pairs of neighbouring rows from two clouds of equally many points.
 *
 * The gradient of the semi-dual is a difference of two means: over x, and over conjugate points, which near the optimum are
 * distributed like x. Taken over batches that have nothing to do with each other its noise is that of a mean of B values;
 * taken over pairs of neighbours only the little by which the two of a pair differ is left of it.
 *
 * Both clouds are split at once: along the axis in which the first extends furthest, each at its own median, until one
 * point is left of either. n log n, and two clouds of one distribution get neighbours. */
#include <math.h>

#include "core/core.h"
#include "train/semidual.h"

typedef struct cloud {
    const float *rows;
    int64_t d;
    int64_t *order;
} cloud;

static float at(const cloud *c, int64_t i, int64_t axis) { return c->rows[c->order[i] * c->d + axis]; }

static void swap(int64_t *order, int64_t i, int64_t j) {
    const int64_t held = order[i];
    order[i] = order[j];
    order[j] = held;
}

/* Reorders first .. last - 1 so that none before `middle` is larger along the axis than one from it on (Hoare's find). */
static void split(const cloud *c, int64_t first, int64_t last, int64_t middle, int64_t axis) {
    int64_t low = first, high = last - 1;
    while (low < high) {
        const float a = at(c, low, axis), b = at(c, low + (high - low) / 2, axis), e = at(c, high, axis);
        const float pivot = fmaxf(fminf(a, b), fminf(fmaxf(a, b), e));
        int64_t i = low, j = high;
        while (i <= j) {
            while (at(c, i, axis) < pivot) i++;
            while (pivot < at(c, j, axis)) j--;
            if (i > j) break;
            swap(c->order, i++, j--);
        }
        if (j < middle) low = i;
        if (middle < i) high = j;
    }
}

/* The axis in which rows first .. last - 1 extend furthest; a few of them tell. */
static int64_t longest_axis(const cloud *c, int64_t first, int64_t last) {
    enum { ENOUGH = 64 };
    const int64_t stride = MGN_MAX((last - first) / ENOUGH, 1);
    int64_t best = 0;
    float most = -1;
    for (int64_t axis = 0; axis < c->d; axis++) {
        float low = INFINITY, high = -INFINITY;
        for (int64_t i = first; i < last; i += stride) {
            low = fminf(low, at(c, i, axis));
            high = fmaxf(high, at(c, i, axis));
        }
        if (high - low > most) {
            most = high - low;
            best = axis;
        }
    }
    return best;
}

static void pair(const cloud *x, const cloud *z, int64_t first, int64_t last) {
    while (last - first > 1) {
        const int64_t middle = first + (last - first) / 2, axis = longest_axis(x, first, last);
        split(x, first, last, middle, axis);
        split(z, first, last, middle, axis);
        pair(x, z, first, middle);
        first = middle;
    }
}

void mgn_pair_rows(const float *x, int64_t *x_order, const float *z, int64_t *z_order, int64_t count, int64_t d) {
    pair(&(cloud){x, d, x_order}, &(cloud){z, d, z_order}, 0, count);
}
