/* The graph of one row batched over many: every op against the same graph run row by row. */
#include "harness.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "graph/batch.h"

enum { ROWS = 5, MOST = 4096 };

/* One row of `a` (2, 3) and `s` (3, 3, positive definite), and `w` (3, 2), shared by all rows. */
typedef struct operands {
    mgn_graph *graph;
    mgn_node *a, *s, *w;
} operands;

static mgn_node *column(mgn_node *m, int64_t j) { return mgn_slice(m, 1, j, 1); }
static mgn_node *row(mgn_node *m, int64_t i) { return mgn_slice(m, 0, i, 1); }

static mgn_node *elementwise_both(const operands *o) {
    return mgn_div(mgn_tanh(o->a), mgn_shift(mgn_square(row(o->a, 1)), 1));
}
static mgn_node *elementwise_shared(const operands *o) { return mgn_mul(mgn_transpose(o->w), mgn_exp(o->a)); }
static mgn_node *elementwise_lower_rank(const operands *o) {
    return mgn_add(mgn_reshape(row(o->a, 0), MGN_SHAPE(3)), o->s); /* (3) of a row against its (3, 3) */
}
static mgn_node *elementwise_scalar(const operands *o) { return mgn_mul(mgn_sum(o->a, -1), o->w); }
static mgn_node *select_where(const operands *o) {
    return mgn_select(mgn_greater(o->a, mgn_transpose(o->w)), o->a, mgn_constant(o->graph, 2));
}
static mgn_node *both_mapped(const operands *o) { return mgn_matmul(o->a, o->s); }
static mgn_node *left_mapped(const operands *o) { return mgn_matmul(o->a, o->w); }
static mgn_node *left_one_row(const operands *o) { return mgn_matmul(row(o->a, 0), o->w); }
static mgn_node *left_one_row_transposed(const operands *o) { return mgn_matmul_t(column(o->s, 1), true, o->w, false); }
static mgn_node *left_transposed(const operands *o) { return mgn_matmul_t(o->a, true, o->w, true); }
static mgn_node *right_mapped(const operands *o) { return mgn_matmul(o->w, o->a); }
static mgn_node *right_one_column(const operands *o) { return mgn_matmul(o->w, column(o->a, 2)); }
static mgn_node *right_one_column_transposed(const operands *o) {
    return mgn_matmul_t(o->w, true, column(o->s, 0), false);
}
static mgn_node *right_one_row_transposed(const operands *o) { return mgn_matmul_t(o->w, true, row(o->s, 2), true); }
static mgn_node *outer_both(const operands *o) { return mgn_matmul(column(o->a, 0), row(o->a, 1)); }
static mgn_node *outer_left(const operands *o) { return mgn_matmul(column(o->a, 1), row(o->w, 2)); }
static mgn_node *outer_right(const operands *o) { return mgn_matmul(column(o->w, 1), row(o->a, 0)); }
static mgn_node *outer_transposed(const operands *o) { return mgn_matmul_t(row(o->a, 0), true, column(o->s, 1), true); }
static mgn_node *inner(const operands *o) { return mgn_matmul_t(row(o->a, 0), false, row(o->a, 1), true); }
static mgn_node *rank_three(const operands *o) {
    mgn_node *a = mgn_reshape(o->a, MGN_SHAPE(1, 2, 3)), *s = mgn_reshape(o->s, MGN_SHAPE(1, 3, 3));
    return mgn_matmul_t(s, true, a, true);
}
static mgn_node *sums(const operands *o) { return mgn_mul(mgn_sum(o->a, 1), mgn_max(o->s, 2)); }
static mgn_node *log_sum(const operands *o) { return mgn_logsumexp(o->a, -1); }
static mgn_node *layouts(const operands *o) {
    mgn_node *padded = mgn_pad(mgn_transpose(o->a), 0, 1, 5); /* (5, 2) */
    return mgn_slice(mgn_reshape(padded, MGN_SHAPE(2, 5)), 1, 1, 3);
}
static mgn_node *joined(const operands *o) {
    mgn_node *parts[] = {o->a, mgn_transpose(o->w), mgn_neg(o->a)};
    return mgn_concat(parts, 3, 0);
}
static mgn_node *broadcast(const operands *o) { return mgn_broadcast(row(o->a, 1), MGN_SHAPE(4, 3)); }
static mgn_node *logdet(const operands *o) { return mgn_spd_logdet(mgn_reshape(o->s, MGN_SHAPE(1, 3, 3))); }
static mgn_node *inverse(const operands *o) { return mgn_spd_inverse(o->s); }
static mgn_node *solve(const operands *o) { return mgn_spd_solve(o->s, o->w); }
static mgn_node *shared_alone(const operands *o) { return mgn_square(o->w); }

static mgn_node *(*const cases[])(const operands *o) = {
    elementwise_both,
    elementwise_shared,
    elementwise_lower_rank,
    elementwise_scalar,
    select_where,
    both_mapped,
    left_mapped,
    left_one_row,
    left_one_row_transposed,
    left_transposed,
    right_mapped,
    right_one_column,
    right_one_column_transposed,
    right_one_row_transposed,
    outer_both,
    outer_left,
    outer_right,
    outer_transposed,
    inner,
    rank_three,
    sums,
    log_sum,
    layouts,
    joined,
    broadcast,
    logdet,
    inverse,
    solve,
    shared_alone,
};

static void fill(operands *o, mgn_graph *graph) {
    *o = (operands){graph, mgn_input(graph, "a", MGN_REAL, MGN_SHAPE(2, 3)),
                    mgn_input(graph, "s", MGN_REAL, MGN_SHAPE(3, 3)), mgn_input(graph, "w", MGN_REAL, MGN_SHAPE(3, 2))};
}

static void put(mgn_plan *plan, const mgn_node *node, const double *values) {
    mgn_tensor *tensor = mgn_plan_tensor(plan, node);
    if (tensor) MGN_ASSERT_OK(mgn_tensor_write(tensor, MGN_F64, values));
}

START_TEST(batched_is_row_by_row) {
    mgn_test_random random = MGN_TEST_RANDOM();
    double a[ROWS * 6], s[ROWS * 9], w[6], found[MOST], expected[MOST];
    for (int i = 0; i < ROWS * 6; i++) a[i] = mgn_test_normal(&random);
    for (int i = 0; i < 6; i++) w[i] = mgn_test_normal(&random);
    for (int i = 0; i < ROWS * 9; i++) s[i] = 0.3 * mgn_test_normal(&random) + (i % 9 % 4 == 0 ? 3 : 0);
    mgn_device *device;
    mgn_graph *graph, *single;
    mgn_plan *plan;
    operands o, one;
    mgn_node *result = NULL;
    MGN_ASSERT_OK(mgn_device_open("cpu", &device));
    MGN_ASSERT_OK(mgn_graph_create(&graph));
    fill(&o, graph);
    mgn_node *from[] = {o.a, o.s};
    mgn_node *to[] = {mgn_input(graph, "many a", MGN_REAL, MGN_SHAPE(ROWS, 2, 3)),
                      mgn_input(graph, "many s", MGN_REAL, MGN_SHAPE(ROWS, 3, 3))};
    mgn_node *output = cases[_i](&o);
    MGN_ASSERT_OK(mgn_graph_status(graph));
    MGN_ASSERT_OK(mgn_batch_rows(output, from, to, 2, ROWS, &result));
    const int64_t width = mgn_shape_count(mgn_node_shape(output));
    ck_assert_int_eq(mgn_node_shape(result).rank, mgn_node_shape(output).rank + 1);
    ck_assert_int_eq(mgn_shape_count(mgn_node_shape(result)), ROWS * width);
    mgn_output(result);
    MGN_ASSERT_OK(mgn_plan_compile(graph, device, MGN_F64, NULL, 0, &plan));
    put(plan, to[0], a);
    put(plan, to[1], s);
    put(plan, o.w, w);
    MGN_ASSERT_OK(mgn_plan_run(plan, 1));
    MGN_ASSERT_OK(mgn_tensor_read(mgn_plan_tensor(plan, result), MGN_F64, found));
    mgn_plan_destroy(plan);
    mgn_graph_destroy(graph);
    MGN_ASSERT_OK(mgn_graph_create(&single));
    fill(&one, single);
    mgn_node *alone = cases[_i](&one);
    mgn_output(alone);
    MGN_ASSERT_OK(mgn_plan_compile(single, device, MGN_F64, NULL, 0, &plan));
    for (int64_t r = 0; r < ROWS; r++) {
        put(plan, one.a, a + 6 * r);
        put(plan, one.s, s + 9 * r);
        put(plan, one.w, w);
        MGN_ASSERT_OK(mgn_plan_run(plan, 1));
        MGN_ASSERT_OK(mgn_tensor_read(mgn_plan_tensor(plan, alone), MGN_F64, expected));
        for (int64_t j = 0; j < width; j++)
            ck_assert_msg(fabs(found[r * width + j] - expected[j]) <= 1e-12 * (1 + fabs(expected[j])),
                          "case %d, row %lld: entry %lld is %.17g, expected %.17g", _i, (long long)r, (long long)j,
                          found[r * width + j], expected[j]);
    }
    mgn_plan_destroy(plan);
    mgn_graph_destroy(single);
    mgn_device_close(device);
}
END_TEST

/* Rows by index, batches within a row and too many axes have no form; the graph can be used all the same. */
START_TEST(what_has_no_form_is_refused) {
    mgn_graph *graph;
    operands o;
    MGN_ASSERT_OK(mgn_graph_create(&graph));
    fill(&o, graph);
    mgn_node *to = mgn_input(graph, "many a", MGN_REAL, MGN_SHAPE(ROWS, 2, 3)), *result = NULL;
    mgn_node *index = mgn_input(graph, "index", MGN_INDEX, MGN_SHAPE(4));
    mgn_node *batch = mgn_input(graph, "batch", MGN_REAL, MGN_SHAPE(7, 3, 2));
    mgn_node *refused[] = {mgn_gather_rows(o.a, index), mgn_matmul(o.a, batch),
                           mgn_broadcast(o.a, MGN_SHAPE(4, 5, 2, 3))};
    for (size_t i = 0; i < MGN_COUNT(refused); i++)
        MGN_ASSERT_FAILS(mgn_batch_rows(refused[i], &o.a, &to, 1, ROWS, &result), MGN_ERR_UNSUPPORTED,
                         "has no form for many rows");
    ck_assert_ptr_null(result);
    MGN_ASSERT_OK(mgn_graph_status(graph));
    MGN_ASSERT_OK(mgn_batch_rows(mgn_neg(o.a), &o.a, &to, 1, ROWS, &result));
    MGN_ASSERT_FAILS(mgn_batch_rows(NULL, &o.a, &to, 1, ROWS, &result), MGN_ERR_ARGUMENT, "could not be built");
    mgn_graph_destroy(graph);
}
END_TEST

/* y = W x + |p|: W's slices cover part of `flat` only, so the plain way is taken; and the same by slices alone. */
static mgn_node *affine(const void *with_norm, mgn_node *flat, mgn_node *x) {
    mgn_node *W = mgn_reshape(mgn_slice(flat, 0, 0, 4), MGN_SHAPE(2, 2)), *b = mgn_slice(flat, 0, 4, 2);
    mgn_node *y = mgn_add(mgn_tanh(mgn_matmul_t(x, false, W, true)), b);
    return *(const bool *)with_norm ? mgn_add(y, mgn_sum(mgn_square(flat), -1)) : y;
}

START_TEST(jacobians_are_those_of_forward_mode) {
    mgn_test_random random = MGN_TEST_RANDOM();
    const bool with_norm = _i == 1;
    mgn_device *device;
    mgn_graph *graph;
    mgn_plan *plan;
    double p[6], x[2 * ROWS], found[ROWS * 12], column_of[ROWS * 2];
    for (int i = 0; i < 6; i++) p[i] = mgn_test_normal(&random);
    for (int i = 0; i < 2 * ROWS; i++) x[i] = mgn_test_normal(&random);
    MGN_ASSERT_OK(mgn_device_open("cpu", &device));
    MGN_ASSERT_OK(mgn_graph_create(&graph));
    mgn_node *flat = mgn_input(graph, "flat", MGN_REAL, MGN_SHAPE(6)),
             *rows = mgn_input(graph, "x", MGN_REAL, MGN_SHAPE(ROWS, 2)),
             *v = mgn_input(graph, "v", MGN_REAL, MGN_SHAPE(6)), *jacobian = NULL, *tangent = NULL;
    MGN_ASSERT_OK(mgn_shared_jacobian(affine, &with_norm, flat, rows, &jacobian));
    mgn_node *y = affine(&with_norm, flat, rows);
    MGN_ASSERT_OK(mgn_jvp(&y, 1, &flat, &v, 1, &tangent));
    mgn_output(jacobian);
    mgn_output(tangent);
    MGN_ASSERT_OK(mgn_plan_compile(graph, device, MGN_F64, NULL, 0, &plan));
    put(plan, flat, p);
    put(plan, rows, x);
    for (int k = 0; k < 6; k++) {
        double e[6] = {0};
        e[k] = 1;
        put(plan, v, e);
        MGN_ASSERT_OK(mgn_plan_run(plan, 1));
        MGN_ASSERT_OK(mgn_tensor_read(mgn_plan_tensor(plan, jacobian), MGN_F64, found));
        MGN_ASSERT_OK(mgn_tensor_read(mgn_plan_tensor(plan, tangent), MGN_F64, column_of));
        for (int i = 0; i < 2 * ROWS; i++) ck_assert_double_eq_tol(found[6 * i + k], column_of[i], 1e-13);
    }
    mgn_plan_destroy(plan);
    mgn_graph_destroy(graph);
    mgn_device_close(device);
}
END_TEST

static Suite *suite(void) {
    Suite *suite = suite_create("batch");
    TCase *tcase = tcase_create("batch");
    tcase_add_loop_test(tcase, batched_is_row_by_row, 0, (int)MGN_COUNT(cases));
    tcase_add_test(tcase, what_has_no_form_is_refused);
    tcase_add_loop_test(tcase, jacobians_are_those_of_forward_mode, 0, 2);
    suite_add_tcase(suite, tcase);
    return suite;
}

int main(void) { return mgn_test_main(suite()); }
