/* Graphs: building and its sentences, and derivatives of compositions against differences. */
#include "graph_kit.h"

#include "check/cases.h"
#include "check/differences.h"
#include "graph/graph.h"

/* ---- building: sentences and NULL ---- */

typedef mgn_node *wrong(mgn_node *a, mgn_node *b, mgn_node *index);
static mgn_node *wrong_add(mgn_node *a, mgn_node *b, mgn_node *i) { return (void)i, mgn_add(a, b); }
static mgn_node *wrong_kind(mgn_node *a, mgn_node *b, mgn_node *i) { return (void)b, mgn_mul(a, i); }
static mgn_node *wrong_matmul(mgn_node *a, mgn_node *b, mgn_node *i) { return (void)i, mgn_matmul(a, b); }
static mgn_node *wrong_rank(mgn_node *a, mgn_node *b, mgn_node *i) {
    return (void)b, (void)i, mgn_matmul(a, mgn_sum(a, 1));
}
static mgn_node *wrong_slice(mgn_node *a, mgn_node *b, mgn_node *i) { return (void)b, (void)i, mgn_slice(a, 0, 2, 2); }
static mgn_node *wrong_begin(mgn_node *a, mgn_node *b, mgn_node *i) { return (void)b, (void)i, mgn_slice(a, 0, -1, 2); }
static mgn_node *wrong_axis(mgn_node *a, mgn_node *b, mgn_node *i) { return (void)b, (void)i, mgn_slice(a, 2, 0, 1); }
static mgn_node *wrong_pad(mgn_node *a, mgn_node *b, mgn_node *i) { return (void)b, (void)i, mgn_pad(a, 1, 3, 6); }
static mgn_node *wrong_reshape(mgn_node *a, mgn_node *b, mgn_node *i) {
    return (void)b, (void)i, mgn_reshape(a, MGN_SHAPE(5));
}
static mgn_node *wrong_broadcast(mgn_node *a, mgn_node *b, mgn_node *i) {
    return (void)b, (void)i, mgn_broadcast(a, MGN_SHAPE(4, 4));
}
static mgn_node *wrong_concat(mgn_node *a, mgn_node *b, mgn_node *i) {
    return (void)i, mgn_concat((mgn_node *[]){a, b}, 2, 1);
}
static mgn_node *wrong_sum(mgn_node *a, mgn_node *b, mgn_node *i) { return (void)b, (void)i, mgn_sum(a, 4); }
static mgn_node *wrong_spd(mgn_node *a, mgn_node *b, mgn_node *i) { return (void)b, (void)i, mgn_spd_logdet(a); }
static mgn_node *wrong_solve(mgn_node *a, mgn_node *b, mgn_node *i) {
    return (void)i, mgn_spd_solve(mgn_matmul(a, mgn_transpose(a)), b);
}
static mgn_node *wrong_gather(mgn_node *a, mgn_node *b, mgn_node *i) { return (void)i, mgn_gather_rows(a, b); }
static mgn_node *wrong_scatter(mgn_node *a, mgn_node *b, mgn_node *i) { return (void)a, mgn_scatter_rows(b, i, 9); }
static mgn_node *wrong_state(mgn_node *a, mgn_node *b, mgn_node *i) {
    return (void)b, (void)i, mgn_normal(a, MGN_SHAPE(3), 0);
}
static mgn_node *wrong_shuffle(mgn_node *a, mgn_node *b, mgn_node *i) {
    (void)b, (void)i;
    return mgn_shuffle(mgn_input(mgn_node_graph(a), "state", MGN_INDEX, MGN_SHAPE(4)), 10, 40, 3, 4);
}
static mgn_node *wrong_order(mgn_node *a, mgn_node *b, mgn_node *i) {
    return (void)b, (void)i, mgn_permute(a, (int[]){0, 0});
}
static mgn_node *wrong_size(mgn_node *a, mgn_node *b, mgn_node *i) {
    (void)b, (void)i;
    return mgn_input(mgn_node_graph(a), "huge", MGN_REAL, MGN_SHAPE(INT64_MAX / 2, 8));
}
static mgn_node *wrong_negative(mgn_node *a, mgn_node *b, mgn_node *i) {
    (void)b, (void)i;
    return mgn_input(mgn_node_graph(a), "negative", MGN_REAL, MGN_SHAPE(-1));
}

/* a (3, 4), b (2, 4), index (3). */
static const struct {
    wrong *build;
    const char *sentence, *also;
} mistakes[] = {
    {wrong_add, "(3, 4)", "(2, 4)"},
    {wrong_kind, "mul", "index"},
    {wrong_matmul, "matmul", "(3, 4)"},
    {wrong_rank, "matmul", "rank"},
    {wrong_slice, "slice", "3"},
    {wrong_begin, "slice", "-1"},
    {wrong_axis, "axis 2", "rank 2"},
    {wrong_pad, "pad", "6"},
    {wrong_reshape, "(3, 4)", "(5)"},
    {wrong_concat, "(3, 4)", "axis 1"},
    {wrong_broadcast, "(4, 4)", "(3, 4)"},
    {wrong_sum, "sum", "rank 2"},
    {wrong_spd, "spd_logdet", "(3, 4)"},
    {wrong_solve, "spd_solve", "(2, 4)"},
    {wrong_gather, "gather_rows", "(2, 4)"},
    {wrong_scatter, "scatter_rows", "(3)"},
    {wrong_state, "normal", "state"},
    {wrong_shuffle, "shuffle", "10"},
    {wrong_order, "permute", "axes"},
    {wrong_size, "input", "shape"},
    {wrong_negative, "input", "-1"},
};

START_TEST(mistakes_give_sentences) {
    begin();
    mgn_node *a = real("a", MGN_SHAPE(3, 4)), *b = real("b", MGN_SHAPE(2, 4));
    mgn_node *index = mgn_input(graph, "index", MGN_INDEX, MGN_SHAPE(3));
    MGN_ASSERT_OK(mgn_graph_status(graph));
    ck_assert_msg(mistakes[_i].build(a, b, index) == NULL, "mistake %d was accepted", _i);
    MGN_ASSERT_FAILS(mgn_graph_status(graph), MGN_ERR_ARGUMENT, mistakes[_i].sentence);
    MGN_ASSERT_FAILS(mgn_graph_status(graph), MGN_ERR_ARGUMENT, mistakes[_i].also);
    end();
}
END_TEST

START_TEST(first_mistake_is_the_one_told) {
    begin();
    mgn_node *a = real("a", MGN_SHAPE(3, 4));
    mgn_node *bad = mgn_matmul(a, a);
    ck_assert_ptr_null(mgn_concat((mgn_node *[]){a, real("c", MGN_SHAPE(3, 5))}, 2, 0));
    ck_assert_ptr_null(mgn_tanh(mgn_add(bad, a)));
    ck_assert_ptr_null(wrong_slice(a, NULL, NULL));
    mgn_output(bad);
    mgn_assign(a, bad);
    mgn_plan *plan = NULL;
    MGN_ASSERT_FAILS(mgn_plan_compile(graph, cpu, MGN_F32, NULL, 0, &plan), MGN_ERR_ARGUMENT, "matmul");
    ck_assert_ptr_null(plan);
    end();
}
END_TEST

START_TEST(null_gives_null) {
    begin();
    mgn_node *a = real("a", MGN_SHAPE(2, 2)), *none[2] = {NULL, NULL}, *some[2] = {a, NULL};
    mgn_node *index = mgn_input(graph, "i", MGN_INDEX, MGN_SHAPE(2));
    ck_assert_ptr_null(mgn_exp(NULL));
    ck_assert_ptr_null(mgn_add(a, NULL));
    ck_assert_ptr_null(mgn_add(NULL, a));
    ck_assert_ptr_null(mgn_select(a, NULL, a));
    ck_assert_ptr_null(mgn_scale(NULL, 2));
    ck_assert_ptr_null(mgn_shift(NULL, 2));
    ck_assert_ptr_null(mgn_reshape(NULL, MGN_SHAPE(1)));
    ck_assert_ptr_null(mgn_broadcast(NULL, MGN_SHAPE(1)));
    ck_assert_ptr_null(mgn_permute(NULL, (int[]){0, 1}));
    ck_assert_ptr_null(mgn_transpose(NULL));
    ck_assert_ptr_null(mgn_slice(NULL, 0, 0, 1));
    ck_assert_ptr_null(mgn_pad(NULL, 0, 0, 1));
    ck_assert_ptr_null(mgn_concat(some, 2, 0));
    ck_assert_ptr_null(mgn_stack(some, 2, 0));
    ck_assert_ptr_null(mgn_concat(none, 2, 0));
    ck_assert_ptr_null(mgn_sum(NULL, 1));
    ck_assert_ptr_null(mgn_mean(NULL, -1));
    ck_assert_ptr_null(mgn_max(NULL, -1));
    ck_assert_ptr_null(mgn_logsumexp(NULL, 1));
    ck_assert_ptr_null(mgn_matmul(a, NULL));
    ck_assert_ptr_null(mgn_matmul(NULL, a));
    ck_assert_ptr_null(mgn_spd_logdet(NULL));
    ck_assert_ptr_null(mgn_spd_inverse(NULL));
    ck_assert_ptr_null(mgn_spd_solve(a, NULL));
    ck_assert_ptr_null(mgn_gather_rows(NULL, index));
    ck_assert_ptr_null(mgn_gather_rows(a, NULL));
    ck_assert_ptr_null(mgn_scatter_rows(a, NULL, 2));
    ck_assert_ptr_null(mgn_uniform(NULL, MGN_SHAPE(2), 0));
    ck_assert_ptr_null(mgn_shuffle(NULL, 2, 1, 1, 1));
    ck_assert_ptr_null(mgn_advance(NULL, 1));
    ck_assert_ptr_null(mgn_row_jacobian(a, NULL));
    mgn_node *g = NULL;
    ck_assert_int_ne(mgn_grad(NULL, &a, 1, &g), MGN_OK);
    ck_assert_int_ne(mgn_jvp(&a, 1, none, &a, 1, &g), MGN_OK);
    mgn_output(NULL);
    mgn_assign(NULL, a);
    MGN_ASSERT_OK(mgn_graph_status(graph)); /* NULL is not a mistake of its own */
    end();
}
END_TEST

START_TEST(wrong_bindings_are_refused) {
    begin();
    mgn_node *x = real("x", MGN_SHAPE(3)), *between = mgn_neg(x), *y = mgn_exp(between);
    mgn_output(y);
    mgn_tensor *longer, *words;
    MGN_ASSERT_OK(mgn_tensor_create(cpu, MGN_F32, MGN_SHAPE(4), &longer));
    MGN_ASSERT_OK(mgn_tensor_create(cpu, MGN_U32, MGN_SHAPE(3), &words));
    mgn_plan *plan = NULL;
    mgn_binding binding = {x, longer};
    MGN_ASSERT_FAILS(mgn_plan_compile(graph, cpu, MGN_F32, &binding, 1, &plan), MGN_ERR_ARGUMENT, "'x'");
    binding.tensor = words;
    MGN_ASSERT_FAILS(mgn_plan_compile(graph, cpu, MGN_F32, &binding, 1, &plan), MGN_ERR_ARGUMENT, "'x'");
    binding = (mgn_binding){y, words};
    MGN_ASSERT_FAILS(mgn_plan_compile(graph, cpu, MGN_F32, &binding, 1, &plan), MGN_ERR_ARGUMENT, "an output");
    binding = (mgn_binding){between, words};
    MGN_ASSERT_FAILS(mgn_plan_compile(graph, cpu, MGN_F32, &binding, 1, &plan), MGN_ERR_ARGUMENT, "neither an input");
    ck_assert_ptr_null(plan);
    mgn_tensor_destroy(longer);
    mgn_tensor_destroy(words);
    end();
}
END_TEST

/* ---- derivatives: the set of rules is closed ---- */

/* The first smooth case of an op that is small; NULL when it has none. */
static const mgn_check_case *smooth_case(const mgn_case_list *list) {
    for (int i = 0; i < list->count; i++)
        if ((list->items[i].flags & MGN_CASE_DERIVATIVES) && mgn_shape_count(list->items[i].shape) > 1)
            return &list->items[i];
    return NULL;
}

/* vjp and jvp of `y` by `x`, and of those again, `depth` times. */
static void walk(mgn_node *y, mgn_node *const *x, int count, int depth) {
    mgn_node *g[MGN_CASE_INPUTS], *t[MGN_CASE_INPUTS], *j;
    mgn_node *v = real("v", mgn_node_shape(y));
    for (int i = 0; i < count; i++) t[i] = real("t", mgn_node_shape(x[i]));
    MGN_ASSERT_OK(mgn_vjp(&y, &v, 1, x, count, g));
    MGN_ASSERT_OK(mgn_jvp(&y, 1, x, t, count, &j));
    ck_assert(mgn_shape_equal(mgn_node_shape(j), mgn_node_shape(y)));
    for (int i = 0; i < count; i++) ck_assert(mgn_shape_equal(mgn_node_shape(g[i]), mgn_node_shape(x[i])));
    if (depth == 0) return;
    walk(j, x, count, depth - 1);
    for (int i = 0; i < count; i++) walk(g[i], x, count, depth - 1);
}

START_TEST(rules_are_closed) {
    static mgn_case_list list;
    for (int op = 0; op < MGN_OP_COUNT; op++) {
        list.arena = mgn_arena_create();
        MGN_ASSERT_OK(mgn_cases_make(&list, (mgn_op)op, 1));
        const mgn_check_case *c = smooth_case(&list);
        begin();
        if (c) {
            mgn_node *in[MGN_CASE_INPUTS], *x[MGN_CASE_INPUTS];
            int count = 0;
            for (int i = 0; i < c->inputs; i++) {
                in[i] = mgn_input(graph, "x", c->in[i].kind, c->in[i].shape);
                if (mgn_case_varies(c, i)) x[count++] = in[i];
            }
            walk(c->build(graph, c, in), x, count, 2);
            MGN_ASSERT_OK(mgn_graph_status(graph));
        }
        for (int id = 0; id < graph->count; id++) {
            const mgn_node *node = graph->nodes[id];
            const mgn_rules *rules = mgn_rules_of(node->op);
            ck_assert_msg(node->inputs == 0 || (rules && rules->vjp && rules->jvp), "%s, emitted for %s, has no rule",
                          mgn_op_infos[node->op].label, mgn_op_infos[op].label);
        }
        end();
        mgn_arena_destroy(list.arena);
    }
}
END_TEST

/* ---- derivatives of compositions, against differences ---- */

/* A scalar, what it depends on, and values for that. */
typedef struct function {
    mgn_node *scalar, *x[8];
    int inputs;
    double values[8][256];
    mgn_node *index; /* an index vector that stays as it is, or NULL */
    const uint32_t *rows;
} function;

static mgn_node *variable(function *f, mgn_test_random *random, mgn_shape shape, double low, double high) {
    mgn_node *node = f->x[f->inputs] = real("x", shape);
    ck_assert_int_le(count_of(node), 256);
    draw(random, f->values[f->inputs++], count_of(node), low, high);
    return node;
}

/* The sum of `a` under fixed random weights: a projection that sees permutations and sums of zero. */
static mgn_node *weighted(mgn_test_random *random, mgn_node *a) {
    double values[MOST];
    draw(random, values, count_of(a), -1, 1);
    return mgn_sum(mgn_mul(a, mgn_table(graph, values, mgn_node_shape(a))), -1);
}

static double value_at(mgn_plan *plan, const function *f) {
    for (int i = 0; i < f->inputs; i++) put(plan, f->x[i], f->values[i]);
    if (f->index) put_index(plan, f->index, f->rows);
    MGN_ASSERT_OK(mgn_plan_run(plan, 1));
    return get_scalar(plan, f->scalar);
}

/* Central differences of sixth order by element k of input i. */
static double difference(mgn_plan *plan, function *f, int i, int k) {
    static const double weights[] = {0.75, -0.15, 1.0 / 60};
    const double h = 0x1p-8;
    double here = f->values[i][k], sum = 0;
    for (int j = 1; j <= 3; j++) {
        f->values[i][k] = here + j * h;
        double ahead = value_at(plan, f);
        f->values[i][k] = here - j * h;
        sum += weights[j - 1] * (ahead - value_at(plan, f)) / h;
    }
    f->values[i][k] = here;
    return sum;
}

/* Checks the gradient by everything, at a few elements of each input, and that the Hessian is symmetric and is what
 * differences of the gradient say. Ends the graph. */
static void assert_derivatives(function *f, mgn_test_random *random, double tolerance) {
    mgn_node *g[8], *u[8], *w[8], *hu[8], *hw[8];
    mgn_output(f->scalar);
    MGN_ASSERT_OK(mgn_grad(f->scalar, f->x, f->inputs, g));
    double uv[8][256], wv[8][256], found[8][256], right[MOST];
    for (int i = 0; i < f->inputs; i++) {
        mgn_output(g[i]);
        u[i] = real("u", mgn_node_shape(f->x[i]));
        w[i] = real("w", mgn_node_shape(f->x[i]));
        draw(random, uv[i], count_of(u[i]), -1, 1);
        draw(random, wv[i], count_of(w[i]), -1, 1);
    }
    MGN_ASSERT_OK(mgn_jvp(g, f->inputs, f->x, u, f->inputs, hu)); /* forward over reverse */
    mgn_node *along = mgn_constant(graph, 0);                     /* reverse over forward */
    mgn_node *slope;
    MGN_ASSERT_OK(mgn_jvp(&f->scalar, 1, f->x, w, f->inputs, &slope));
    MGN_ASSERT_OK(mgn_grad(slope, f->x, f->inputs, hw));
    for (int i = 0; i < f->inputs; i++) along = mgn_add(along, mgn_sum(mgn_mul(g[i], u[i]), -1));
    mgn_output(along);
    for (int i = 0; i < f->inputs; i++) mgn_output(hu[i]), mgn_output(hw[i]);
    mgn_plan *plan = compiled(cpu, MGN_F64);
    for (int i = 0; i < f->inputs; i++) {
        if (mgn_plan_tensor(plan, u[i])) put(plan, u[i], uv[i]);
        if (mgn_plan_tensor(plan, w[i])) put(plan, w[i], wv[i]);
    }
    ck_assert(isfinite(value_at(plan, f)));
    double hu_w = 0, hw_u = 0, scale = 1;
    for (int i = 0; i < f->inputs; i++) {
        get(plan, g[i], found[i]);
        get(plan, hu[i], right);
        for (int k = 0; k < count_of(u[i]); k++) hu_w += right[k] * wv[i][k], scale += fabs(right[k] * wv[i][k]);
        get(plan, hw[i], right);
        for (int k = 0; k < count_of(u[i]); k++) hw_u += right[k] * uv[i][k];
    }
    ASSERT_CLOSE(hu_w, hw_u, 1e-11 * scale);
    for (int i = 0; i < f->inputs; i++) {
        double hessian[256];
        value_at(plan, f);
        get(plan, hu[i], hessian);
        for (int n = 0; n < 3; n++) {
            int k = (int)mgn_test_integer(random, 0, count_of(f->x[i]) - 1);
            ASSERT_CLOSE(found[i][k], difference(plan, f, i, k), tolerance);
            mgn_node *value = f->scalar; /* the Hessian by differences of <gradient, u> */
            f->scalar = along;
            ASSERT_CLOSE(hessian[k], difference(plan, f, i, k), 10 * tolerance);
            f->scalar = value;
        }
    }
    mgn_plan_destroy(plan);
    end();
}

START_TEST(derivatives_of_a_perceptron) {
    mgn_test_random random = MGN_TEST_RANDOM();
    function f = {.inputs = 0};
    begin();
    mgn_node *x = variable(&f, &random, MGN_SHAPE(7, 3), -1, 1), *w1 = variable(&f, &random, MGN_SHAPE(3, 5), -1, 1);
    mgn_node *b1 = variable(&f, &random, MGN_SHAPE(5), -1, 1), *w2 = variable(&f, &random, MGN_SHAPE(5, 2), -1, 1);
    mgn_node *b2 = variable(&f, &random, MGN_SHAPE(2), -1, 1), *target = variable(&f, &random, MGN_SHAPE(7, 2), -1, 1);
    f.scalar = mgn_mean(mgn_square(mgn_sub(mlp(x, w1, b1, w2, b2), target)), -1);
    assert_derivatives(&f, &random, 1e-9);
}
END_TEST

START_TEST(derivatives_of_logsumexp) {
    mgn_test_random random = MGN_TEST_RANDOM();
    function f = {.inputs = 0};
    begin();
    mgn_node *x = variable(&f, &random, MGN_SHAPE(5, 7), -3, 3);
    f.scalar = mgn_add(weighted(&random, mgn_logsumexp(x, 2)), weighted(&random, mgn_logsumexp(mgn_scale(x, 2), 1)));
    f.scalar = mgn_add(f.scalar, mgn_logsumexp(x, -1));
    assert_derivatives(&f, &random, 1e-8);
}
END_TEST

/* log det (W^T D W + I), D depending on the row: the Jacobian of a one-layer C-MGN. */
START_TEST(derivatives_of_logdet) {
    mgn_test_random random = MGN_TEST_RANDOM();
    function f = {.inputs = 0};
    enum { N = 6, D = 3, H = 4 };
    begin();
    mgn_node *x = variable(&f, &random, MGN_SHAPE(N, D), -1, 1), *w = variable(&f, &random, MGN_SHAPE(H, D), -1, 1);
    mgn_node *scales = mgn_logistic(mgn_matmul_t(x, false, w, true));
    mgn_node *dw = mgn_mul(mgn_reshape(scales, MGN_SHAPE(N, H, 1)), w);
    mgn_node *jacobian = mgn_add(mgn_matmul_t(w, true, dw, false), mgn_identity(graph, D));
    f.scalar = weighted(&random, mgn_spd_logdet(jacobian));
    assert_derivatives(&f, &random, 1e-9);
}
END_TEST

/* The negative log-likelihood's log det of row_jacobian, differentiated by the weights: third derivatives of a convex
 * potential, and a fourth in the Hessian. */
START_TEST(derivatives_of_row_jacobian) {
    mgn_test_random random = MGN_TEST_RANDOM();
    function f = {.inputs = 0};
    begin();
    mgn_node *x = variable(&f, &random, MGN_SHAPE(5, 2), -1, 1), *w = variable(&f, &random, MGN_SHAPE(3, 2), -1, 1);
    mgn_node *b = variable(&f, &random, MGN_SHAPE(3), -1, 1);
    mgn_node *z = mgn_add(mgn_matmul_t(x, false, w, true), b);
    mgn_node *y = mgn_add(mgn_matmul(mgn_logistic(z), w), mgn_scale(x, 0.5));
    f.scalar = mgn_sub(mgn_mean(mgn_square(y), -1), mgn_mean(mgn_spd_logdet(mgn_row_jacobian(y, x)), -1));
    assert_derivatives(&f, &random, 1e-8);
}
END_TEST

/* x min(1, c / |x|), on both sides of the kink. */
START_TEST(derivatives_of_norm_clipping) {
    mgn_test_random random = MGN_TEST_RANDOM();
    for (int inside = 0; inside < 2; inside++) {
        function f = {.inputs = 0};
        begin();
        mgn_node *x = variable(&f, &random, MGN_SHAPE(9), 0.5, 1); /* 1.5 < |x| < 3 */
        mgn_node *norm = mgn_sqrt(mgn_sum(mgn_square(x), -1));
        mgn_node *factor = mgn_minimum(mgn_constant(graph, 1), mgn_div(mgn_constant(graph, inside ? 10 : 0.5), norm));
        f.scalar = weighted(&random, mgn_mul(x, factor));
        assert_derivatives(&f, &random, 1e-9);
    }
}
END_TEST

/* Where entries are equal: a maximum's derivative is shared among them, and nowhere does it count twice. */
START_TEST(derivatives_at_ties) {
    begin();
    mgn_node *x = real("x", MGN_SHAPE(4)), *y = real("y", MGN_SHAPE(4)), *g[6];
    MGN_ASSERT_OK(mgn_grad(mgn_max(x, -1), &x, 1, g));
    MGN_ASSERT_OK(mgn_grad(mgn_sum(mgn_maximum(x, y), -1), (mgn_node *[]){x, y}, 2, g + 1));
    MGN_ASSERT_OK(mgn_grad(mgn_sum(mgn_minimum(x, y), -1), (mgn_node *[]){x, y}, 2, g + 3));
    MGN_ASSERT_OK(mgn_grad(mgn_sum(mgn_abs(mgn_sub(x, y)), -1), &x, 1, g + 5));
    for (int i = 0; i < 6; i++) mgn_output(g[i]);
    mgn_plan *plan = compiled(cpu, MGN_F64);
    const double xv[4] = {3, 1, 3, -2}, yv[4] = {3, 2, 0, -2}, shared[4] = {0.5, 0, 0.5, 0},
                 distance[4] = {0, -1, 1, 0};
    double found[6][4];
    put(plan, x, xv), put(plan, y, yv);
    MGN_ASSERT_OK(mgn_plan_run(plan, 1));
    for (int i = 0; i < 6; i++) get(plan, g[i], found[i]);
    for (int k = 0; k < 4; k++) {
        ck_assert(found[0][k] == shared[k]);
        ck_assert(found[1][k] + found[2][k] == 1 && found[3][k] + found[4][k] == 1);
        ck_assert(found[5][k] == distance[k]);
    }
    mgn_plan_destroy(plan);
    end();
}
END_TEST

/* One node used in many places, slices of one parameter vector, and layout ops between. */
START_TEST(derivatives_of_shared_slices) {
    mgn_test_random random = MGN_TEST_RANDOM();
    function f = {.inputs = 0};
    begin();
    mgn_node *p = variable(&f, &random, MGN_SHAPE(40), -1, 1);
    mgn_node *a = mgn_reshape(mgn_slice(p, 0, 3, 12), MGN_SHAPE(3, 4)),
             *b = mgn_reshape(mgn_slice(p, 0, 15, 12), MGN_SHAPE(3, 4));
    mgn_node *overlapping = mgn_reshape(mgn_slice(p, 0, 10, 12), MGN_SHAPE(4, 3));
    mgn_node *c = mgn_concat((mgn_node *[]){mgn_mul(a, b), mgn_transpose(overlapping)}, 2, 0);
    mgn_node *d = mgn_stack((mgn_node *[]){mgn_tanh(a), mgn_mul(b, b)}, 2, 1);
    mgn_node *e = mgn_pad(mgn_permute(d, (int[]){2, 0, 1}), 1, 1, 6);
    f.scalar = mgn_add(weighted(&random, mgn_exp(c)), weighted(&random, mgn_mul(e, mgn_sum(p, -1))));
    f.scalar = mgn_add(f.scalar, weighted(&random, mgn_mul(mgn_slice(c, 0, 2, 3), mgn_slice(p, 0, 36, 4))));
    assert_derivatives(&f, &random, 1e-8);
}
END_TEST

/* Rows gathered, shared and scattered again. */
START_TEST(derivatives_through_rows) {
    mgn_test_random random = MGN_TEST_RANDOM();
    static const uint32_t rows[6] = {4, 0, 4, 2, 1, 1};
    function f = {.rows = rows};
    begin();
    mgn_node *x = variable(&f, &random, MGN_SHAPE(5, 3), -1, 1), *v = variable(&f, &random, MGN_SHAPE(6, 1), 0.5, 2);
    f.index = mgn_input(graph, "index", MGN_INDEX, MGN_SHAPE(6));
    mgn_node *g = mgn_div(mgn_tanh(mgn_gather_rows(x, f.index)), v);
    mgn_node *s = mgn_scatter_rows(mgn_mul(g, mgn_square(v)), f.index, 5);
    f.scalar = mgn_add(weighted(&random, mgn_mul(s, x)), weighted(&random, mgn_square(g)));
    assert_derivatives(&f, &random, 1e-8);
}
END_TEST

START_TEST(row_jacobian_against_differences) {
    DEVICE_OR_SKIP(device);
    mgn_test_random random = MGN_TEST_RANDOM();
    enum { N = 7, D = 3, E = 2 };
    const double h = widest(device) == MGN_F64 ? 1e-5 : 1e-2, tolerance = widest(device) == MGN_F64 ? 1e-8 : 1e-3;
    begin();
    mgn_node *x = real("x", MGN_SHAPE(N, D)), *w = real("w", MGN_SHAPE(D, E));
    mgn_node *y = mgn_tanh(mgn_matmul(x, w)), *j = mgn_row_jacobian(y, x);
    ck_assert(mgn_shape_equal(mgn_node_shape(j), MGN_SHAPE(N, E, D)));
    mgn_output(y);
    mgn_output(j);
    mgn_plan *plan = compiled(device, widest(device));
    double xv[N * D], wv[D * E], jacobian[N * E * D], ahead[N * E], behind[N * E];
    draw(&random, xv, N * D, -1, 1);
    draw(&random, wv, D * E, -1, 1);
    put(plan, w, wv);
    put(plan, x, xv);
    MGN_ASSERT_OK(mgn_plan_run(plan, 1));
    get(plan, j, jacobian);
    for (int d = 0; d < D; d++) {
        double moved[N * D];
        for (int side = -1; side <= 1; side += 2) {
            for (int i = 0; i < N * D; i++) moved[i] = xv[i] + (i % D == d ? side * h : 0);
            put(plan, x, moved);
            MGN_ASSERT_OK(mgn_plan_run(plan, 1));
            get(plan, y, side > 0 ? ahead : behind);
        }
        for (int i = 0; i < N * E; i++) ASSERT_CLOSE(jacobian[i * D + d], (ahead[i] - behind[i]) / (2 * h), tolerance);
    }
    mgn_plan_destroy(plan);
    end();
}
END_TEST

/* Each jvp differentiates what its outputs are computed from, not what earlier calls left in the graph. */
START_TEST(row_jacobian_does_not_blow_up) {
    begin();
    mgn_node *x = real("x", MGN_SHAPE(4, 24)), *w = real("w", MGN_SHAPE(24, 24));
    ck_assert_ptr_nonnull(mgn_row_jacobian(mgn_tanh(mgn_matmul(mgn_tanh(mgn_matmul(x, w)), w)), x));
    ck_assert_int_lt(graph->count, 24 * 20);
    end();
}
END_TEST

/* A derivative is not carried through what is detached: a loop of any length behind it adds nothing. */
START_TEST(derivatives_end_at_detach) {
    enum { LOOP = 100 };
    begin();
    mgn_node *x = real("x", MGN_SHAPE(8)), *t = real("t", MGN_SHAPE(8)), *loop = mgn_detach(x), *gradient, *tangent;
    for (int i = 0; i < LOOP; i++) loop = mgn_mul(mgn_tanh(loop), loop);
    mgn_node *y = mgn_mul(x, loop), *scalar = mgn_sum(y, -1);
    const int before = graph->count;
    MGN_ASSERT_OK(mgn_grad(scalar, &x, 1, &gradient));
    MGN_ASSERT_OK(mgn_jvp(&y, 1, &x, &t, 1, &tangent));
    ck_assert_int_lt(graph->count - before, 10);
    end();
}
END_TEST

static Suite *suite(void) {
    Suite *s = suite_create("graph");
    TCase *build = case_with_devices(s, "building"), *derive = case_with_devices(s, "derivatives");
    tcase_add_loop_test(build, mistakes_give_sentences, 0, MGN_COUNT(mistakes));
    tcase_add_test(build, first_mistake_is_the_one_told);
    tcase_add_test(build, null_gives_null);
    tcase_add_test(build, wrong_bindings_are_refused);
    tcase_add_test(derive, rules_are_closed);
    tcase_add_test(derive, derivatives_of_a_perceptron);
    tcase_add_test(derive, derivatives_of_logsumexp);
    tcase_add_test(derive, derivatives_of_logdet);
    tcase_add_test(derive, derivatives_of_row_jacobian);
    tcase_add_test(derive, derivatives_of_norm_clipping);
    tcase_add_test(derive, derivatives_at_ties);
    tcase_add_test(derive, derivatives_of_shared_slices);
    tcase_add_test(derive, derivatives_through_rows);
    tcase_add_test(derive, row_jacobian_does_not_blow_up);
    tcase_add_test(derive, derivatives_end_at_detach);
    tcase_add_loop_test(derive, row_jacobian_against_differences, 0, 2);
    return s;
}

int main(void) {
    opencl_spec = mgn_test_opencl_spec();
    return mgn_test_main(suite());
}
