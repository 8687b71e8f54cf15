/* Cases of the ops that have kernels of their own: reductions, products, spd matrices, rows by index, randomness. */
#include "check/cases.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- reductions ---- */

static mgn_node *build_reduce(mgn_graph *graph, const mgn_check_case *c, mgn_node *const *in) {
    (void)graph;
    return c->op == MGN_OP_sum ? mgn_sum(in[0], c->axes) : mgn_max(in[0], c->axes);
}

static mgn_check_case *reduce_case(mgn_case_list *list, mgn_shape from, int axes, unsigned flags) {
    mgn_shape to = {0, {0}};
    char text[48] = "";
    size_t at = 0;
    for (int i = 0; i < from.rank; i++) {
        if (!(axes >> i & 1)) to.dim[to.rank++] = from.dim[i];
        at += (size_t)snprintf(text + at, sizeof text - at, i ? ", %d" : "%d", (int)from.dim[i]);
    }
    mgn_check_case *c = mgn_case_add(list, to, flags, "(%s) over axes %#x", text, (unsigned)axes);
    c->axes = axes;
    c->build = build_reduce;
    if (list->op == MGN_OP_max)
        mgn_case_distinct(list, c, from);
    else
        mgn_case_real(list, c, from, -4, 4);
    c->oracle = list->op == MGN_OP_sum ? mgn_oracle_sum : mgn_oracle_max;
    return c;
}

static void reduce_cases(mgn_case_list *list) {
    const unsigned smooth = MGN_CASE_DERIVATIVES;
    reduce_case(list, MGN_SHAPE(1), 1, smooth);
    reduce_case(list, MGN_SHAPE(7), 1, smooth | MGN_CASE_SECOND | MGN_CASE_BOUNDS);
    for (int axes = 0; axes < 4; axes++) reduce_case(list, MGN_SHAPE(7, 5), axes, smooth | MGN_CASE_BOUNDS);
    for (int axes = 1; axes < 8; axes++) reduce_case(list, MGN_SHAPE(3, 5, 4), axes, smooth | MGN_CASE_BOUNDS);
    for (int axes = 1; axes < 16; axes += 2) reduce_case(list, MGN_SHAPE(2, 3, 2, 3), axes, smooth);
    reduce_case(list, MGN_SHAPE(93), 1, smooth | MGN_CASE_BOUNDS);
    reduce_case(list, MGN_SHAPE(4096), 1, smooth | MGN_CASE_BOUNDS);
    reduce_case(list, MGN_SHAPE(4096, 3), 1, smooth | MGN_CASE_BOUNDS);
    reduce_case(list, MGN_SHAPE(4096, 3), 2, smooth | MGN_CASE_BOUNDS);
    reduce_case(list, MGN_SHAPE(4096, 93), 1, 0);
    reduce_case(list, MGN_SHAPE(93, 4096), 2, 0);
    reduce_case(list, MGN_SHAPE(20011, 2), 2, 0); /* more sums than any device works on at once */
    reduce_case(list, MGN_SHAPE(3, 0), 1, 0);
    reduce_case(list, MGN_SHAPE(1, 1), 3, smooth);
}

void mgn_cases_sum(mgn_case_list *list) {
    reduce_cases(list);
    reduce_case(list, MGN_SHAPE(0, 3), 1, MGN_CASE_DERIVATIVES); /* an empty sum is 0 */
    mgn_check_case *c = reduce_case(list, MGN_SHAPE(2, 93), 2, 0);
    if (!list->failed) c->in[0].values[5] = NAN;
    for (int axes = 1; axes < 3; axes++) { /* that of zeros too, however it is cut */
        c = reduce_case(list, MGN_SHAPE(1021, 7), axes, 0);
        for (int i = 0; i < 1021 * 7 && !list->failed; i++) c->in[0].values[i] = 0;
    }
    c = reduce_case(list, MGN_SHAPE(93, 2), 1, 0);
    if (!list->failed) c->in[0].values[5] = INFINITY;
}

void mgn_cases_max(mgn_case_list *list) {
    reduce_cases(list);
    mgn_check_case *c = reduce_case(list, MGN_SHAPE(93, 2), 1, 0); /* ties and infinities */
    for (int i = 0; i < 93 && !list->failed; i++)
        c->in[0].values[2 * i] = -INFINITY, c->in[0].values[2 * i + 1] = i % 3;
}

/* ---- products ---- */

static mgn_node *build_matmul(mgn_graph *graph, const mgn_check_case *c, mgn_node *const *in) {
    (void)graph;
    if (!c->transpose_a && !c->transpose_b) return mgn_matmul(in[0], in[1]);
    return mgn_matmul_t(in[0], c->transpose_a, in[1], c->transpose_b);
}

/* batch_a, batch_b: 0 for a matrix without a batch axis. `transposes`: 1 for a, 2 for b. */
static void matmul_case(mgn_case_list *list, int64_t batch_a, int64_t batch_b, int64_t m, int64_t k, int64_t n,
                        int transposes, unsigned flags) {
    bool ta = transposes & 1, tb = transposes & 2;
    mgn_shape a = ta ? MGN_SHAPE(k, m) : MGN_SHAPE(m, k), b = tb ? MGN_SHAPE(n, k) : MGN_SHAPE(k, n),
              out = MGN_SHAPE(m, n);
    if (batch_a) a = MGN_SHAPE(batch_a, a.dim[0], a.dim[1]);
    if (batch_b) b = MGN_SHAPE(batch_b, b.dim[0], b.dim[1]);
    if (batch_a || batch_b) out = MGN_SHAPE(MGN_MAX(batch_a, batch_b), m, n);
    mgn_check_case *c =
        mgn_case_add(list, out, flags, "batches %d and %d, %d x %d%s by %d x %d%s", (int)batch_a, (int)batch_b, (int)m,
                     (int)k, ta ? " (stored transposed)" : "", (int)k, (int)n, tb ? " (stored transposed)" : "");
    c->transpose_a = ta, c->transpose_b = tb;
    mgn_case_real(list, c, a, -1, 1);
    mgn_case_real(list, c, b, -1, 1);
    c->build = build_matmul;
    c->oracle = mgn_oracle_matmul;
}

void mgn_cases_matmul(mgn_case_list *list) {
    const unsigned small = MGN_CASE_DERIVATIVES | MGN_CASE_SECOND | MGN_CASE_BOUNDS,
                   medium = MGN_CASE_DERIVATIVES | MGN_CASE_BOUNDS;
    for (int t = 0; t < 4; t++) {
        matmul_case(list, 0, 0, 4, 3, 2, t, small);
        matmul_case(list, 0, 0, 93, 7, 5, t, medium);
        matmul_case(list, 0, 0, 33, 65, 17, t, medium);
        matmul_case(list, 3, 3, 4, 3, 2, t, medium);
        matmul_case(list, 3, 0, 4, 3, 2, t, medium);
        matmul_case(list, 0, 3, 4, 3, 2, t, medium);
    }
    matmul_case(list, 0, 0, 1, 1, 1, 0, small);
    matmul_case(list, 0, 0, 4096, 3, 2, 0, medium);
    matmul_case(list, 0, 0, 3, 4096, 2, 1, medium);          /* the gradient of a weight: a sum over rows */
    matmul_case(list, 0, 0, 3, 8500, 2, 2, MGN_CASE_BOUNDS); /* in several pieces on every device */
    matmul_case(list, 0, 0, 1, 93, 64, 0, medium);
    matmul_case(list, 0, 0, 64, 93, 1, 0, medium);
    matmul_case(list, 0, 0, 130, 144, 150, 0, MGN_CASE_BOUNDS);
    for (int t = 0; t < 3; t++)
        matmul_case(list, t ? 2 : 0, 2, 110, 270, 70, t, MGN_CASE_BOUNDS); /* in several blocks */
    matmul_case(list, 93, 93, 5, 2, 5, 0, MGN_CASE_DERIVATIVES);
    matmul_case(list, 0, 0, 6007, 2, 3, 0, 0); /* more results than any device works on at once */
    matmul_case(list, 0, 0, 3, 0, 2, 0, MGN_CASE_DERIVATIVES);
    matmul_case(list, 0, 0, 0, 3, 2, 0, MGN_CASE_DERIVATIVES);
    matmul_case(list, 0, 0, 3, 2, 0, 0, MGN_CASE_DERIVATIVES);
}

/* ---- symmetric positive definite matrices ---- */

/* B B^T / d + I / 2 plus an antisymmetric part, which the ops must ignore. `spread` scales row and column i by
 * spread^i. */
static void draw_spd(mgn_case_list *list, double *a, int64_t d, double spread) {
    double b[32][32], skew[32][32];
    for (int64_t i = 0; i < d; i++)
        for (int64_t j = 0; j < d; j++) {
            b[i][j] = mgn_case_random(list, -1, 1);
            skew[i][j] = mgn_case_random(list, -0.5, 0.5);
        }
    for (int64_t i = 0; i < d; i++)
        for (int64_t j = 0; j < d; j++) {
            double sum = i == j ? 0.5 : 0;
            for (int64_t k = 0; k < d; k++) sum += b[i][k] * b[j][k] / (double)d;
            sum += i < j ? skew[i][j] : i > j ? -skew[j][i] : 0;
            a[i * d + j] = sum * pow(spread, (double)(i + j));
        }
}

static mgn_node *build_spd(mgn_graph *graph, const mgn_check_case *c, mgn_node *const *in) {
    (void)graph;
    if (c->op == MGN_OP_spd_logdet) return mgn_spd_logdet(in[0]);
    return c->op == MGN_OP_spd_inverse ? mgn_spd_inverse(in[0]) : mgn_spd_solve(in[0], in[1]);
}

/* batch -1: no batch axis. columns: of the right side of a solve. */
static mgn_check_case *spd_case(mgn_case_list *list, int64_t batch, int64_t d, int64_t columns, double spread,
                                unsigned flags) {
    mgn_shape a = batch < 0 ? MGN_SHAPE(d, d) : MGN_SHAPE(batch, d, d), out = a;
    if (list->op == MGN_OP_spd_logdet) out.rank -= 2;
    if (list->op == MGN_OP_spd_solve) out.dim[out.rank - 1] = columns;
    mgn_check_case *c = mgn_case_add(list, out, flags, "batch %d, d %d, columns %d, scaling %g", (int)batch, (int)d,
                                     (int)columns, spread);
    double *values = mgn_case_real(list, c, a, 0, 1);
    for (int64_t p = 0; p < llabs(batch) && d && !list->failed; p++) draw_spd(list, values + p * d * d, d, spread);
    if (list->op == MGN_OP_spd_solve) mgn_case_real(list, c, out, -1, 1);
    c->build = build_spd;
    c->oracle = list->op == MGN_OP_spd_logdet    ? mgn_oracle_logdet
                : list->op == MGN_OP_spd_inverse ? mgn_oracle_inverse
                                                 : mgn_oracle_solve;
    return c;
}

static void spd_cases(mgn_case_list *list) {
    static const int64_t sizes[] = {1, 2, 3, 4, 5, 8, 17};
    const unsigned smooth = MGN_CASE_DERIVATIVES;
    for (size_t i = 0; i < MGN_COUNT(sizes); i++) {
        spd_case(list, -1, sizes[i], 1, 1, smooth | (sizes[i] < 4 ? MGN_CASE_SECOND : 0));
        spd_case(list, 7, sizes[i], 3, 1, smooth | MGN_CASE_BOUNDS);
        spd_case(list, 93, sizes[i], sizes[i], 1, sizes[i] < 5 ? smooth | MGN_CASE_BOUNDS : MGN_CASE_BOUNDS);
    }
    spd_case(list, 2, 3, 2, 1, smooth | MGN_CASE_SECOND);
    spd_case(list, 13, 3, 2, 1e-3, 0); /* badly scaled: the bound is invariant, the factorisation must be too */
    spd_case(list, 13, 5, 2, 30, 0);
    spd_case(list, 17001, 1, 1, 1, 0); /* more than any device works on at once */
    spd_case(list, 0, 3, 2, 1, smooth);
    mgn_check_case *c = spd_case(list, 9, 3, 2, 1, MGN_CASE_BOUNDS); /* one indefinite, one singular, one with a NaN */
    if (list->failed) return;
    c->label = "batch 9, d 3, three of them not positive definite";
    double *a = c->in[0].values;
    a[2 * 9 + 4] = -a[2 * 9 + 4];
    memset(a + 4 * 9, 0, 9 * sizeof *a);
    a[6 * 9] = NAN;
}

void mgn_cases_spd_logdet(mgn_case_list *list) { spd_cases(list); }
void mgn_cases_spd_inverse(mgn_case_list *list) { spd_cases(list); }
void mgn_cases_spd_solve(mgn_case_list *list) { spd_cases(list); }

/* ---- rows by index ---- */

static mgn_node *build_rows(mgn_graph *graph, const mgn_check_case *c, mgn_node *const *in) {
    (void)graph;
    if (c->op == MGN_OP_gather_rows) return mgn_gather_rows(in[0], in[1]);
    return mgn_scatter_rows(in[0], in[1], c->shape.dim[0]);
}

/* `source` rows of `shape`, `target` rows of the result; indices below `limit`. */
static mgn_check_case *rows_case(mgn_case_list *list, int64_t source, int64_t target, mgn_shape row, int64_t limit,
                                 unsigned flags) {
    mgn_shape from = {row.rank + 1, {source}}, to = {row.rank + 1, {target}};
    for (int i = 0; i < row.rank; i++) from.dim[i + 1] = to.dim[i + 1] = row.dim[i];
    mgn_check_case *c = mgn_case_add(list, to, flags, "%d rows to %d, rank %d", (int)source, (int)target, from.rank);
    mgn_case_real(list, c, from, -4, 4);
    mgn_case_index(list, c, list->op == MGN_OP_gather_rows ? target : source, limit);
    c->build = build_rows;
    c->oracle = list->op == MGN_OP_gather_rows ? mgn_oracle_gather : mgn_oracle_scatter;
    return c;
}

static void rows_cases(mgn_case_list *list) {
    const unsigned smooth = MGN_CASE_DERIVATIVES | MGN_CASE_BOUNDS;
    bool gathers = list->op == MGN_OP_gather_rows;
    rows_case(list, 1, 1, MGN_SCALAR, 1, smooth | MGN_CASE_SECOND);
    rows_case(list, 7, 7, MGN_SHAPE(3), 7, smooth | MGN_CASE_SECOND);
    rows_case(list, 93, 7, MGN_SHAPE(2), gathers ? 93 : 7, smooth);
    rows_case(list, 7, 93, MGN_SHAPE(2, 3), gathers ? 7 : 93, smooth);
    rows_case(list, 4096, 93, MGN_SHAPE(3), gathers ? 4096 : 93, smooth);
    rows_case(list, 93, 4096, MGN_SCALAR, gathers ? 93 : 4096, smooth);
    rows_case(list, 4096, 1, MGN_SHAPE(5), 1, smooth);
    rows_case(list, 93, 10007, MGN_SHAPE(4), gathers ? 93 : 10007, 0); /* more than any device works on at once */
    rows_case(list, gathers ? 3 : 0, gathers ? 0 : 3, MGN_SHAPE(2), 1, MGN_CASE_DERIVATIVES);
    mgn_check_case *c = rows_case(list, 7, 13, MGN_SHAPE(3), 5, MGN_CASE_BOUNDS); /* indices that point nowhere */
    if (list->failed) return;
    c->in[1].values[2] = 13;
    c->in[1].values[5] = 4294967295.0;
    c->in[1].values[0] = 20;
}

void mgn_cases_gather_rows(mgn_case_list *list) { rows_cases(list); }
void mgn_cases_scatter_rows(mgn_case_list *list) { rows_cases(list); }

/* ---- randomness ---- */

static void draw_state(mgn_case_list *list, mgn_check_case *c) {
    double *state = mgn_case_index(list, c, 4, 4294967296);
    if (!list->failed) state[3] = (double)(int64_t)mgn_case_random(list, 0, 100);
}

static mgn_node *build_random(mgn_graph *graph, const mgn_check_case *c, mgn_node *const *in) {
    (void)graph;
    return c->op == MGN_OP_uniform ? mgn_uniform(in[0], c->shape, c->stream) : mgn_normal(in[0], c->shape, c->stream);
}

static void random_cases(mgn_case_list *list) {
    static const mgn_shape shapes[] = {{1, {1}}, {1, {7}}, {2, {93, 3}}, {1, {4096}},
                                       {0, {0}}, {1, {0}}, {1, {5}},     {1, {70003}}};
    for (size_t i = 0; i < MGN_COUNT(shapes); i++) {
        mgn_check_case *c = mgn_case_add(list, shapes[i], MGN_CASE_SAME_BITS | (i && i < 4 ? MGN_CASE_BOUNDS : 0),
                                         "%d numbers", (int)mgn_shape_count(shapes[i]));
        draw_state(list, c);
        c->stream = (uint32_t)(i * 77);
        c->build = build_random;
        c->oracle = list->op == MGN_OP_uniform ? mgn_oracle_uniform : mgn_oracle_normal;
        /* Uniforms are exact but for the resolution of float32; a normal's errors are relative to its radius. */
        c->ulps = list->op == MGN_OP_uniform ? 1 : 8;
    }
}

void mgn_cases_uniform(mgn_case_list *list) { random_cases(list); }
void mgn_cases_normal(mgn_case_list *list) { random_cases(list); }

static mgn_node *build_advance(mgn_graph *graph, const mgn_check_case *c, mgn_node *const *in) {
    (void)graph;
    return mgn_advance(in[0], c->steps);
}

void mgn_cases_advance(mgn_case_list *list) {
    static const uint32_t steps[] = {0, 1, 4294967295u};
    for (size_t i = 0; i < MGN_COUNT(steps); i++) {
        mgn_check_case *c =
            mgn_case_add(list, MGN_SHAPE(4), MGN_CASE_SAME_BITS | MGN_CASE_BOUNDS, "%u steps", steps[i]);
        draw_state(list, c);
        c->kind = MGN_INDEX;
        c->steps = steps[i];
        c->build = build_advance;
        c->oracle = mgn_oracle_advance;
    }
}

static mgn_node *build_unorm8(mgn_graph *graph, const mgn_check_case *c, mgn_node *const *in) {
    (void)graph;
    return c->op == MGN_OP_from_unorm8 ? mgn_from_unorm8(in[0], c->shape) : mgn_to_unorm8(in[0]);
}

void mgn_cases_from_unorm8(mgn_case_list *list) {
    static const mgn_shape shapes[] = {{2, {4, 3}}, {1, {28}}, {2, {92, 3}}, {1, {4096}}, {1, {0}}, {1, {20004}}};
    for (size_t i = 0; i < MGN_COUNT(shapes); i++) {
        mgn_check_case *c = mgn_case_add(list, shapes[i], MGN_CASE_SAME_BITS | MGN_CASE_BOUNDS, "%d bytes",
                                         (int)mgn_shape_count(shapes[i]));
        mgn_case_index(list, c, mgn_shape_count(shapes[i]) / 4, 4294967296);
        c->build = build_unorm8;
        c->oracle = mgn_oracle_from_unorm8;
    }
}

void mgn_cases_to_unorm8(mgn_case_list *list) {
    static const int64_t words[] = {1, 7, 93, 1024, 0, 5001};
    for (size_t i = 0; i < MGN_COUNT(words); i++) {
        mgn_check_case *c =
            mgn_case_add(list, MGN_SHAPE(words[i]), MGN_CASE_SAME_BITS | MGN_CASE_BOUNDS, "%d words", (int)words[i]);
        double *a = mgn_case_real(list, c, MGN_SHAPE(4 * words[i]), -0.2, 1.2);
        /* Nearest to the middle of a byte's interval: no rounding of the arithmetic may move it to the next. */
        for (int64_t k = 0; !list->failed && k < 4 * words[i]; k++) a[k] = (floor(a[k] * 255) + 0.25) / 255;
        if (!list->failed && words[i] == 7) a[3] = NAN, a[4] = INFINITY, a[5] = -INFINITY, a[6] = 1, a[7] = 0;
        c->kind = MGN_INDEX;
        c->build = build_unorm8;
        c->oracle = mgn_oracle_to_unorm8;
    }
}

/* The batches of two epochs, one after the other, as reals: rows of the table 0, 1, 2, ... */
static mgn_node *build_shuffle(mgn_graph *graph, const mgn_check_case *c, mgn_node *const *in) {
    enum { MOST = 64 };
    double numbers[4096];
    mgn_node *batches[MOST];
    for (int64_t i = 0; i < c->population; i++) numbers[i] = (double)i;
    mgn_node *table = mgn_table(graph, numbers, MGN_SHAPE(c->population));
    int count = (int)(2 * c->steps_per_epoch);
    for (int i = 0; i < count; i++) {
        mgn_node *state = mgn_advance(in[0], (uint32_t)i);
        batches[i] = mgn_gather_rows(table, mgn_shuffle(state, c->population, c->batch, c->steps_per_epoch, c->length));
    }
    return mgn_concat(batches, count, 0);
}

/* Each position of an epoch holds one row, no row stands at two positions, and the second epoch is another order. */
static bool is_shuffle(const mgn_check_case *c, const double *result, char *detail, size_t capacity) {
    int64_t where[2][4096], moved = 0;
    for (int64_t e = 0; e < 2; e++) {
        for (int64_t p = 0; p < c->population; p++) where[e][p] = -1;
        for (int64_t i = 0; i < c->steps_per_epoch * c->batch; i++) {
            double row = result[e * c->steps_per_epoch * c->batch + i];
            int64_t position = (i / c->batch * c->length + i % c->batch) % c->population;
            if (!(row >= 0 && row < (double)c->population) || row != floor(row)) {
                snprintf(detail, capacity, "%s: position %d of epoch %d holds row %g", c->label, (int)position, (int)e,
                         row);
                return false;
            }
            int64_t *seen = &where[e][(int64_t)row];
            if (*seen >= 0 && *seen != position) {
                snprintf(detail, capacity, "%s: row %g of epoch %d stands at positions %d and %d", c->label, row,
                         (int)e, (int)*seen, (int)position);
                return false;
            }
            *seen = position;
            moved += e == 1 && where[0][(int64_t)row] != position;
        }
    }
    if (moved * 2 > c->steps_per_epoch * c->batch || c->population < 16) return true;
    snprintf(detail, capacity, "%s: only %d rows moved from epoch 0 to 1", c->label, (int)moved);
    return false;
}

static void shuffle_case(mgn_case_list *list, int64_t population, int64_t batch, int64_t steps, int64_t stride) {
    mgn_check_case *c =
        mgn_case_add(list, MGN_SHAPE(2 * steps * batch), MGN_CASE_SAME_BITS, "%d rows, %d steps of %d, %d apart",
                     (int)population, (int)steps, (int)batch, (int)stride);
    double *state = mgn_case_index(list, c, 4, 4294967296);
    if (!list->failed) state[2] = (double)(steps * (int64_t)mgn_case_random(list, 0, 1000)); /* the start of an epoch */
    c->population = population, c->batch = batch, c->steps_per_epoch = steps, c->length = stride;
    c->build = build_shuffle;
    c->property = is_shuffle;
}

void mgn_cases_shuffle(mgn_case_list *list) {
    shuffle_case(list, 1, 1, 1, 1);
    shuffle_case(list, 93, 31, 3, 31);
    shuffle_case(list, 100, 7, 14, 7); /* the last two rows of an epoch are left out */
    shuffle_case(list, 17, 8, 4, 3);   /* batches overlap */
    shuffle_case(list, 50, 20, 3, 20); /* the last batch starts over */
    shuffle_case(list, 4096, 1024, 4, 1024);
}
