/* Node values of a table of colours, such that what programs interpolate between the nodes is close to the map.
 *
 * Interpolation between samples of a curve lies on one side of it, farthest off halfway. Least squares lets it lie half
 * on either side. The table is fitted at its nodes and halfway between them along every axis (edges, faces and cells), to
 * the two interpolations in use: trilinear, the mean of the corners round a point, and tetrahedral, where such a point
 * lies halfway between the least and the greatest of its corners. A node takes the mean of the errors round it, again and
 * again: the iteration of Jacobi on the normal equations, whose matrix divided by its row sums has no eigenvalue above 1.
 * Errors weigh as much as they are large, which presses the largest down.
 *
 * Errors are those of clipped colours, which is what is seen. The nodes themselves are clipped only for files that hold
 * nothing beyond [0, 1]: a map that runs out of the gamut has a bend there if it is clipped first, and none if what was
 * interpolated is. */
#include <math.h>

#include "core/parallel.h"
#include "recolor/recolor.h"

/* Beyond this many colours a side samples are within a fraction of a level, and the points between them too many. */
enum { LARGEST_FIT = 65, ROUNDS = 12 };

/* Weight of an error that has vanished: an eighth of a level of 8 bits. */
static const float small = 0.125f / 255;

typedef struct fit {
    int64_t size, fine; /* colours a side: nodes, and with those between them: 2 size - 1 */
    const float *exact; /* (fine^3, 3), red varying fastest, as all of them */
    float *errors[2];   /* trilinear, tetrahedral */
    float *nodes;       /* (size^3, 3) */
    bool clipped;       /* nodes stay within [0, 1] */
} fit;

static float clip(float value) { return fminf(fmaxf(value, 0), 1); }

static int64_t place(int64_t side, const int64_t at[3]) { return 3 * (at[0] + side * (at[1] + side * at[2])); }

/* The error of both interpolations in one point. */
static void find_error(const fit *f, const int64_t at[3]) {
    float straight[3] = {0}, diagonal[3] = {0};
    int64_t low[3], high[3];
    int corners = 0;
    for (int j = 0; j < 3; j++) {
        low[j] = at[j] / 2;
        high[j] = (at[j] + 1) / 2;
    }
    for (int64_t z = low[2]; z <= high[2]; z++)
        for (int64_t y = low[1]; y <= high[1]; y++)
            for (int64_t x = low[0]; x <= high[0]; x++, corners++)
                for (int j = 0; j < 3; j++) straight[j] += f->nodes[place(f->size, (int64_t[]){x, y, z}) + j];
    for (int j = 0; j < 3; j++)
        diagonal[j] = (f->nodes[place(f->size, low) + j] + f->nodes[place(f->size, high) + j]) / 2;
    const int64_t to = place(f->fine, at);
    for (int j = 0; j < 3; j++) {
        f->errors[0][to + j] = clip(f->exact[to + j]) - clip(straight[j] / (float)corners);
        f->errors[1][to + j] = clip(f->exact[to + j]) - clip(diagonal[j]);
    }
}

static void find_errors(void *context, int64_t z, int thread) {
    const fit *f = context;
    (void)thread;
    for (int64_t y = 0; y < f->fine; y++)
        for (int64_t x = 0; x < f->fine; x++) find_error(f, (int64_t[]){x, y, z});
}

/* The shares that a node has in the point `offset` (-1, 0 or 1 along each axis) away from it. */
static void shares(const int64_t offset[3], float share[2]) {
    bool below = true, above = true;
    share[0] = 1;
    for (int j = 0; j < 3; j++) {
        if (offset[j]) share[0] /= 2;
        below &= offset[j] <= 0;
        above &= offset[j] >= 0;
    }
    share[1] = below && above ? 1 : below || above ? 0.5f : 0;
}

static void move_node(const fit *f, const int64_t node[3]) {
    float sums[3] = {0}, weights[3] = {0};
    for (int k = 0; k < 27; k++) {
        const int64_t offset[3] = {k % 3 - 1, k / 3 % 3 - 1, k / 9 - 1};
        int64_t at[3];
        bool inside = true;
        for (int j = 0; j < 3; j++) {
            at[j] = 2 * node[j] + offset[j];
            inside &= at[j] >= 0 && at[j] < f->fine;
        }
        if (!inside) continue;
        float share[2];
        shares(offset, share);
        for (int kind = 0; kind < 2; kind++)
            for (int j = 0; j < 3; j++) {
                const float error = f->errors[kind][place(f->fine, at) + j];
                const float weight = share[kind] * (fabsf(error) + small);
                weights[j] += weight;
                sums[j] += weight * error;
            }
    }
    float *value = f->nodes + place(f->size, node);
    for (int j = 0; j < 3; j++) {
        value[j] += sums[j] / weights[j];
        if (f->clipped) value[j] = clip(value[j]);
    }
}

static void move_nodes(void *context, int64_t z, int thread) {
    const fit *f = context;
    (void)thread;
    for (int64_t y = 0; y < f->size; y++)
        for (int64_t x = 0; x < f->size; x++) move_node(f, (int64_t[]){x, y, z});
}

/* side^3 colours of the map. */
static mgn_status evaluate(mgn_map *map, int64_t side, bool clipped, float *rgb) {
    const int64_t n = side * side * side;
    for (int64_t i = 0; i < n; i++) {
        const int64_t at[3] = {i % side, i / side % side, i / side / side};
        for (int64_t j = 0; j < 3; j++) rgb[3 * i + j] = (float)at[j] / (float)(side - 1);
    }
    MGN_TRY(mgn_map_apply(map, rgb, n, rgb));
    for (int64_t i = 0; i < 3 * n && clipped; i++) rgb[i] = clip(rgb[i]);
    return MGN_OK;
}

static mgn_status fit_to(mgn_map *map, int64_t size, bool clipped, float *nodes) {
    fit f = {.size = size, .fine = 2 * size - 1, .nodes = nodes, .clipped = clipped};
    const size_t points = (size_t)(f.fine * f.fine * f.fine);
    float *work = mgn_alloc(points, 9 * sizeof *work);
    if (!work) return MGN_ERR_MEMORY;
    f.exact = work;
    f.errors[0] = work + 3 * points;
    f.errors[1] = f.errors[0] + 3 * points;
    const mgn_status status = evaluate(map, f.fine, clipped, work);
    for (int64_t i = 0; i < size * size * size && status == MGN_OK; i++) {
        const int64_t from = place(f.fine, (int64_t[]){2 * (i % size), 2 * (i / size % size), 2 * (i / size / size)});
        for (int64_t j = 0; j < 3; j++) nodes[3 * i + j] = f.exact[from + j];
    }
    for (int round = 0; round < ROUNDS && status == MGN_OK; round++) {
        mgn_parallel(mgn_threads(), f.fine, find_errors, &f);
        mgn_parallel(mgn_threads(), size, move_nodes, &f);
    }
    mgn_free(work);
    return status;
}

mgn_status mgn_lut_values(mgn_map *map, int size, bool clipped, float **nodes) {
    float *made = mgn_alloc((size_t)size * (size_t)size * (size_t)size, 3 * sizeof *made);
    if (!made) return MGN_ERR_MEMORY;
    const mgn_status status =
        size <= LARGEST_FIT ? fit_to(map, size, clipped, made) : evaluate(map, size, clipped, made);
    if (status == MGN_OK)
        *nodes = made;
    else
        mgn_free(made);
    return status;
}
