/* The losses against plain loops in double, written for two dimensions from their textbook formulas. */
#include "harness.h"

#include <math.h>
#include <string.h>

#include <mgn/loss.h>

#include "core/core.h"

enum { ROWS = 37 };

static const double mean[2] = {2, -1}, covariance[4] = {1.5, -0.6, -0.6, 0.8};

/* y = x A + b, A symmetric: what stands for a model. */
static const double A[4] = {1.3, 0.4, 0.4, 0.7}, B[2] = {0.5, -0.25};

typedef struct cloud {
    double x[2 * ROWS], y[2 * ROWS], target[2 * ROWS];
} cloud;

static void draw(cloud *c, mgn_test_random *random) {
    for (int i = 0; i < ROWS; i++)
        for (int j = 0; j < 2; j++) {
            c->x[2 * i + j] = mgn_test_normal(random);
            c->target[2 * i + j] = mgn_test_normal(random);
        }
    for (int i = 0; i < ROWS; i++)
        for (int j = 0; j < 2; j++) c->y[2 * i + j] = c->x[2 * i] * A[j] + c->x[2 * i + 1] * A[2 + j] + B[j];
}

/* The configured loss on the cpu in float64, y being a function of x in the graph. */
static mgn_status evaluate(const mgn_loss_config *config, const cloud *c, int64_t rows, bool with_target,
                           double *value) {
    mgn_device *device = NULL;
    mgn_graph *graph = NULL;
    mgn_plan *plan = NULL;
    MGN_ASSERT_OK(mgn_device_open("cpu", &device));
    MGN_ASSERT_OK(mgn_graph_create(&graph));
    mgn_node *x = mgn_input(graph, "x", MGN_REAL, MGN_SHAPE(rows, 2));
    mgn_node *target = with_target ? mgn_input(graph, "target", MGN_REAL, MGN_SHAPE(rows, 2)) : NULL;
    mgn_node *y = mgn_add(mgn_matmul(x, mgn_table(graph, A, MGN_SHAPE(2, 2))), mgn_table(graph, B, MGN_SHAPE(2)));
    mgn_node *loss = mgn_loss(config, x, y, target);
    if (loss) mgn_output(loss);
    mgn_status status = mgn_plan_compile(graph, device, MGN_F64, NULL, 0, &plan);
    if (status == MGN_OK) {
        ck_assert_int_eq(mgn_node_shape(loss).rank, 0);
        MGN_ASSERT_OK(mgn_tensor_write(mgn_plan_tensor(plan, x), MGN_F64, c->x));
        mgn_tensor *aim = mgn_plan_tensor(plan, target);
        if (aim) MGN_ASSERT_OK(mgn_tensor_write(aim, MGN_F64, c->target));
        MGN_ASSERT_OK(mgn_plan_run(plan, 1));
        MGN_ASSERT_OK(mgn_tensor_read(mgn_plan_tensor(plan, loss), MGN_F64, value));
        mgn_plan_destroy(plan);
    }
    mgn_graph_destroy(graph);
    mgn_device_close(device);
    return status;
}

/* ---- textbook ---- */

static double determinant(const double m[4]) { return m[0] * m[3] - m[1] * m[2]; }

/* v^T m^-1 v */
static double form(const double m[4], double v0, double v1) {
    return (m[3] * v0 * v0 - (m[1] + m[2]) * v0 * v1 + m[0] * v1 * v1) / determinant(m);
}

static double plain_l1(const cloud *c) {
    double sum = 0;
    for (int i = 0; i < 2 * ROWS; i++) sum += fabs(c->y[i] - c->target[i]);
    return sum / (2 * ROWS);
}

static double plain_mse(const cloud *c) {
    double sum = 0;
    for (int i = 0; i < 2 * ROWS; i++) sum += (c->y[i] - c->target[i]) * (c->y[i] - c->target[i]);
    return sum / (2 * ROWS);
}

static double plain_cost(const cloud *c) {
    double sum = 0;
    for (int i = 0; i < 2 * ROWS; i++) sum += (c->y[i] - c->x[i]) * (c->y[i] - c->x[i]);
    return sum / ROWS;
}

static double plain_nll(const cloud *c, const double m[2], const double S[4]) {
    double sum = 0;
    for (int i = 0; i < ROWS; i++) {
        const double density =
            -0.5 * form(S, c->y[2 * i] - m[0], c->y[2 * i + 1] - m[1]) - log(2 * M_PI) - 0.5 * log(determinant(S));
        sum -= density + log(determinant(A));
    }
    return sum / ROWS;
}

static double plain_kl(const cloud *c, const double m[2], const double S[4]) {
    double own[2] = {0, 0},
           C[4] = {1e-6 * fmax(S[0], fmin(1, 1000 * S[0])), 0, 0, 1e-6 * fmax(S[3], fmin(1, 1000 * S[3]))};
    for (int i = 0; i < 2 * ROWS; i++) own[i % 2] += c->y[i] / ROWS;
    for (int i = 0; i < ROWS; i++)
        for (int j = 0; j < 2; j++)
            for (int k = 0; k < 2; k++)
                C[2 * j + k] += (c->y[2 * i + j] - own[j]) * (c->y[2 * i + k] - own[k]) / (ROWS - 1);
    const double trace = (S[3] * C[0] - S[1] * C[2] - S[2] * C[1] + S[0] * C[3]) / determinant(S);
    return 0.5 * (trace + form(S, own[0] - m[0], own[1] - m[1]) - 2 + log(determinant(S) / determinant(C)));
}

static void check(const mgn_loss_config *config, const cloud *c, double expected) {
    double value = NAN;
    MGN_ASSERT_OK(evaluate(config, c, ROWS, mgn_loss_needs_pairs(config->kind), &value));
    ck_assert_msg(fabs(value - expected) <= 1e-12 * (1 + fabs(expected)), "%s: %.17g, expected %.17g", config->kind,
                  value, expected);
}

START_TEST(values_are_the_textbook_s) {
    static const double zero[2] = {0, 0}, identity[4] = {1, 0, 0, 1};
    mgn_test_random random = MGN_TEST_RANDOM();
    for (int round = 0; round < 5; round++) {
        cloud c;
        draw(&c, &random);
        check(&(mgn_loss_config){.kind = "l1"}, &c, plain_l1(&c));
        check(&(mgn_loss_config){.kind = "mse"}, &c, plain_mse(&c));
        check(&(mgn_loss_config){.kind = "nll"}, &c, plain_nll(&c, zero, identity));
        check(&(mgn_loss_config){.kind = "nll", .mean = mean, .covariance = covariance}, &c,
              plain_nll(&c, mean, covariance));
        check(&(mgn_loss_config){.kind = "nll", .mean = mean}, &c, plain_nll(&c, mean, identity));
        check(&(mgn_loss_config){.kind = "kl"}, &c, plain_kl(&c, zero, identity));
        check(&(mgn_loss_config){.kind = "kl", .mean = mean, .covariance = covariance}, &c,
              plain_kl(&c, mean, covariance));
        check(&(mgn_loss_config){.kind = "kl", .covariance = covariance}, &c, plain_kl(&c, zero, covariance));
        check(&(mgn_loss_config){.kind = "l1", .cost_weight = 0.3}, &c, plain_l1(&c) + 0.3 * plain_cost(&c));
        check(&(mgn_loss_config){.kind = "kl", .cost_weight = 2}, &c,
              plain_kl(&c, zero, identity) + 2 * plain_cost(&c));
    }
}
END_TEST

START_TEST(every_kind_is_listed_and_tested) {
    static const char *const known[] = {
        "l1",          "mse",          "nll",      "kl",      "mixture-kl",
        "mixture-nll", "monge-ampere", "sinkhorn", "semidual"}; /* those above, in test_density_loss.c, in
                                                                      test_sinkhorn.c and in test_semidual.c; a new kind needs a formula there */
    for (size_t i = 0; i < MGN_COUNT(known); i++) {
        ck_assert_ptr_nonnull(mgn_loss_kind(i));
        ck_assert_str_eq(mgn_loss_kind(i), known[i]);
    }
    ck_assert_ptr_null(mgn_loss_kind(MGN_COUNT(known)));
    ck_assert(mgn_loss_needs_pairs("l1") && mgn_loss_needs_pairs("mse"));
    ck_assert(!mgn_loss_needs_pairs("kl") && !mgn_loss_needs_pairs("nll") && !mgn_loss_needs_pairs("none"));
    ck_assert(mgn_loss_needs_samples("sinkhorn") && !mgn_loss_needs_samples("l1") && !mgn_loss_needs_samples("none"));
}
END_TEST

START_TEST(nonsense_is_refused) {
    static const double flat[4] = {1, 1, 1, 1}, negative[4] = {1, 0, 0, -1}, nearly[4] = {1, 1, 1, 1 + 4e-16},
                        nan[4] = {NAN, 0, 0, 1};
    static const struct {
        mgn_loss_config config;
        int64_t rows;
        const char *sentence;
    } rows[] = {
        {{.kind = "l2"}, ROWS, "; 'l2' was found"},
        {{.kind = ""}, ROWS, "'' was found"},
        {{.kind = "l1"}, ROWS, "l1 compares with given targets"},
        {{.kind = "mse"}, ROWS, "mse compares with given targets"},
        {{.kind = "kl", .covariance = flat}, ROWS, "covariance is singular"},
        {{.kind = "nll", .covariance = flat}, ROWS, "covariance is singular"},
        {{.kind = "kl", .covariance = negative}, ROWS, "covariance is singular"},
        {{.kind = "kl", .covariance = nearly}, ROWS, "covariance is singular"},
        {{.kind = "kl", .covariance = nan}, ROWS, "covariance is singular"},
        {{.kind = "kl"}, 1, "at least 2 rows are needed"},
    };
    mgn_test_random random = MGN_TEST_RANDOM();
    cloud c;
    draw(&c, &random);
    for (size_t i = 0; i < MGN_COUNT(rows); i++) {
        double value = 0;
        MGN_ASSERT_FAILS(evaluate(&rows[i].config, &c, rows[i].rows, false, &value), MGN_ERR_ARGUMENT,
                         rows[i].sentence);
    }
}
END_TEST

int main(void) {
    Suite *suite = suite_create("loss");
    TCase *losses = tcase_create("losses");
    tcase_add_test(losses, values_are_the_textbook_s);
    tcase_add_test(losses, every_kind_is_listed_and_tested);
    tcase_add_test(losses, nonsense_is_refused);
    suite_add_tcase(suite, losses);
    return mgn_test_main(suite);
}
