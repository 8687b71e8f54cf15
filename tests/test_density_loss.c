/* Losses over densities against plain sums in double, their gradients in float64 against differences of those sums, and
 * their values at solutions that are known. */
#include "graph_kit.h"

#include <mgn/loss.h>
#include <mgn/ot.h>

enum { ROWS = 29, PARAMETERS = 5 };

static const double means[3][2] = {{2, -1}, {-1, 3}, {0, -4}};
static const double covariances[3][4] = {{1.5, -.6, -.6, .8}, {.3, 0, 0, .5}, {2, .2, .2, .1}};
static const double weights[3] = {.5, .3, .2};
static const double start_mean[2] = {.5, 1}, start_covariance[4] = {1, .3, .3, .6};

static mgn_target *mixture, *gaussian, *banana, *flat;

static void open_all(void) {
    mgn_mixture m = {0};
    open_devices();
    MGN_ASSERT_OK(mgn_mixture_create(3, 2, &m));
    memcpy(m.weights, weights, sizeof weights);
    memcpy(m.means, means, sizeof means);
    memcpy(m.covariances, covariances, sizeof covariances);
    MGN_ASSERT_OK(mgn_target_create_mixture(&m, &mixture));
    MGN_ASSERT_OK(mgn_target_create_gaussian(2, start_mean, start_covariance, &gaussian));
    MGN_ASSERT_OK(mgn_target_parse("banana", &banana));
    MGN_ASSERT_OK(mgn_target_parse("checkerboard", &flat));
    mgn_mixture_free(&m);
}

static void close_all(void) {
    mgn_target_destroy(mixture);
    mgn_target_destroy(gaussian);
    mgn_target_destroy(banana);
    mgn_target_destroy(flat);
    close_devices();
}

/* ---- the map: y = S x + (p3, p4) + .3 tanh x, S = [[p0, p1], [p1, p2]] ---- */

static mgn_node *map(mgn_node *x, mgn_node *p) {
    mgn_node *entries[4] = {mgn_slice(p, 0, 0, 1), mgn_slice(p, 0, 1, 1), mgn_slice(p, 0, 1, 1), mgn_slice(p, 0, 2, 1)};
    mgn_node *s = mgn_reshape(mgn_concat(entries, 4, 0), MGN_SHAPE(2, 2));
    return mgn_add(mgn_add(mgn_matmul(x, s), mgn_slice(p, 0, 3, 2)), mgn_scale(mgn_tanh(x), 0.3));
}

static double plain_map(const double *x, const double *p, double *y) {
    double slope[2];
    for (int i = 0; i < 2; i++) {
        y[i] = x[0] * p[i] + x[1] * p[i + 1] + p[3 + i] + .3 * tanh(x[i]);
        slope[i] = .3 / (cosh(x[i]) * cosh(x[i]));
    }
    return log((p[0] + slope[0]) * (p[2] + slope[1]) - p[1] * p[1]);
}

/* ---- textbook ---- */

static double log_normal(const double *y, const double *m, const double *s) {
    const double u = y[0] - m[0], v = y[1] - m[1], det = s[0] * s[3] - s[1] * s[2];
    return -0.5 * (s[3] * u * u - 2 * s[1] * u * v + s[0] * v * v) / det - log(2 * M_PI) - 0.5 * log(det);
}

static double log_q(const mgn_target *target, const double *y) {
    if (target == banana)
        return log_normal((const double[2]){y[0], 2 * (y[1] - .5 * (y[0] * y[0] - 1))}, (const double[2]){0, 0},
                          (const double[4]){1, 0, 0, 1}) +
               log(2);
    if (target == gaussian) return log_normal(y, start_mean, start_covariance);
    double sum = 0;
    for (int j = 0; j < 3; j++) sum += weights[j] * exp(log_normal(y, means[j], covariances[j]));
    return log(sum);
}

static double plain_kl(double (*y)[2], int j) {
    double m[2] = {0, 0}, s[4], kl = 0;
    for (int i = 0; i < 4; i++) s[i] = i % 3 ? 0 : 1e-6 * fmax(1, covariances[j][i]);
    for (int i = 0; i < ROWS; i++)
        for (int a = 0; a < 2; a++) m[a] += y[i][a] / ROWS;
    for (int i = 0; i < ROWS; i++)
        for (int a = 0; a < 4; a++) s[a] += (y[i][a / 2] - m[a / 2]) * (y[i][a % 2] - m[a % 2]) / (ROWS - 1);
    MGN_ASSERT_OK(mgn_gaussian_kl(m, s, means[j], covariances[j], 2, &kl));
    return kl;
}

static double plain_loss(const mgn_loss_config *c, const double *x, const double *p) {
    double y[ROWS][2], sum = 0;
    for (int i = 0; i < ROWS; i++) {
        const double jacobian = plain_map(x + 2 * i, p, y[i]);
        if (strcmp(c->kind, "mixture-kl") == 0) continue;
        const double pulled = log_q(c->target, y[i]) + jacobian;
        const double residual = strcmp(c->kind, "monge-ampere") == 0 ? log_q(c->source, x + 2 * i) - pulled : 0;
        sum += strcmp(c->kind, "monge-ampere") != 0 ? -pulled : c->squared ? residual * residual : fabs(residual);
    }
    if (strcmp(c->kind, "mixture-kl") != 0) return sum / ROWS;
    return fmin(plain_kl(y, 0), fmin(plain_kl(y, 1), plain_kl(y, 2)));
}

/* ---- values and gradients ---- */

/* Value and gradient in the parameters; the status is that of building the loss. */
static mgn_status evaluate(mgn_device *device, const mgn_loss_config *config, const double *x, const double *p,
                           double *value, double *gradient) {
    begin();
    mgn_node *rows = real("x", MGN_SHAPE(ROWS, 2)), *parameters = real("p", MGN_SHAPE(PARAMETERS)), *slope = NULL;
    mgn_node *loss = mgn_loss(config, rows, map(rows, parameters), NULL);
    const mgn_status status = mgn_graph_status(graph);
    if (status == MGN_OK) {
        MGN_ASSERT_OK(mgn_grad(loss, &parameters, 1, &slope));
        mgn_output(loss);
        mgn_output(slope);
        mgn_plan *plan = compiled(device, MGN_F64);
        put(plan, rows, x);
        put(plan, parameters, p);
        MGN_ASSERT_OK(mgn_plan_run(plan, 1));
        *value = get_scalar(plan, loss);
        get(plan, slope, gradient);
        mgn_plan_destroy(plan);
    }
    end();
    return status;
}

static mgn_loss_config config_of(int i) {
    const mgn_loss_config configs[] = {
        {.kind = "nll", .target = mixture},
        {.kind = "nll", .target = banana},
        {.kind = "nll", .target = gaussian},
        {.kind = "mixture-nll", .target = mixture},
        {.kind = "mixture-kl", .target = mixture},
        {.kind = "monge-ampere", .source = gaussian, .target = mixture},
        {.kind = "monge-ampere", .source = gaussian, .target = mixture, .squared = true},
        {.kind = "monge-ampere", .source = mixture, .target = banana, .squared = true},
    };
    return configs[i];
}
enum { CONFIGS = 8 };

/* A row whose residual is not at the kink of its magnitude. */
static void draw_row(mgn_test_random *random, const double *p, double *x) {
    double y[2], residual;
    do {
        for (int j = 0; j < 2; j++) x[j] = mgn_test_normal(random);
        residual = log_q(gaussian, x) - plain_map(x, p, y);
    } while (fabs(residual - log_q(mixture, y)) < 1e-3);
}

START_TEST(values_and_gradients_are_the_textbook_s) {
    mgn_test_random random = MGN_TEST_RANDOM();
    const mgn_loss_config config = config_of(_i);
    double x[2 * ROWS], value = 0, gradient[PARAMETERS];
    double p[PARAMETERS] = {1.2, .3, .9, .4, -.3};
    for (int i = 0; i < ROWS; i++) draw_row(&random, p, x + 2 * i);
    MGN_ASSERT_OK(evaluate(cpu, &config, x, p, &value, gradient));
    const double expected = plain_loss(&config, x, p);
    ASSERT_CLOSE(value, expected, 1e-11 * (1 + fabs(expected)));
    for (int i = 0; i < PARAMETERS; i++) {
        const double here = p[i], h = 1e-6;
        p[i] = here + h;
        const double up = plain_loss(&config, x, p);
        p[i] = here - h;
        const double down = plain_loss(&config, x, p);
        p[i] = here;
        const double difference = (up - down) / (2 * h);
        ASSERT_CLOSE(gradient[i], difference, 1e-7 * (1 + fabs(difference)) * (1 + fabs(expected)));
    }
}
END_TEST

START_TEST(devices_agree) {
    if (!opencl || widest(opencl) != MGN_F64) MGN_TEST_SKIP("no OpenCL device with float64");
    mgn_test_random random = MGN_TEST_RANDOM();
    const double p[PARAMETERS] = {1.2, .3, .9, .4, -.3};
    double x[2 * ROWS], a = 0, b = 1, slope_a[PARAMETERS], slope_b[PARAMETERS];
    for (int i = 0; i < 2 * ROWS; i++) x[i] = mgn_test_normal(&random);
    const mgn_loss_config config = config_of(7);
    MGN_ASSERT_OK(evaluate(cpu, &config, x, p, &a, slope_a));
    MGN_ASSERT_OK(evaluate(opencl, &config, x, p, &b, slope_b));
    ASSERT_CLOSE(a, b, 1e-11 * (1 + fabs(a)));
    for (int i = 0; i < PARAMETERS; i++) ASSERT_CLOSE(slope_a[i], slope_b[i], 1e-10 * (1 + fabs(slope_a[i])));
}
END_TEST

/* The optimal map between Gaussians has no residual, and its NLL is the entropy of the source; another map has more. */
START_TEST(the_optimal_map_solves_the_equation) {
    mgn_test_random random = MGN_TEST_RANDOM();
    mgn_target *to = NULL;
    double a[4], b[2], x[2 * ROWS];
    MGN_ASSERT_OK(mgn_target_create_gaussian(2, means[0], covariances[0], &to));
    MGN_ASSERT_OK(mgn_bures_map(start_mean, start_covariance, means[0], covariances[0], 2, a, b));
    for (int i = 0; i < 2 * ROWS; i++) x[i] = mgn_test_normal(&random);
    for (int squared = 0; squared < 2; squared++) {
        double residual = 1, off = 0;
        for (int moved = 0; moved < 2; moved++) {
            begin();
            mgn_node *rows = real("x", MGN_SHAPE(ROWS, 2));
            const double shifted[2] = {b[0] + .1 * moved, b[1]};
            mgn_node *y = mgn_add(mgn_matmul(rows, mgn_table(graph, a, MGN_SHAPE(2, 2))),
                                  mgn_table(graph, shifted, MGN_SHAPE(2)));
            mgn_node *loss = mgn_loss_monge_ampere(rows, y, gaussian, to, squared);
            mgn_output(loss);
            mgn_plan *plan = compiled(cpu, MGN_F64);
            put(plan, rows, x);
            MGN_ASSERT_OK(mgn_plan_run(plan, 1));
            *(moved ? &off : &residual) = get_scalar(plan, loss);
            mgn_plan_destroy(plan);
            end();
        }
        ASSERT_CLOSE(residual, 0, 1e-12);
        ck_assert(off > 1e-3);
    }
    mgn_target_destroy(to);
}
END_TEST

START_TEST(nonsense_is_refused) {
    mgn_target *moons = NULL, *space = NULL;
    MGN_ASSERT_OK(mgn_target_parse("moons", &moons));
    MGN_ASSERT_OK(mgn_target_parse("normal:3", &space));
    const struct {
        mgn_loss_config config;
        const char *sentence;
    } bad[] = {
        {{.kind = "mixture-kl"}, "mixture-kl needs a mixture as the target (gmm:FILE), none was given"},
        {{.kind = "mixture-nll", .target = banana}, "needs a mixture as the target (gmm:FILE), banana was given"},
        {{.kind = "mixture-kl", .target = space}, "rows of 3 numbers were expected, 2 found"},
        {{.kind = "nll", .target = space}, "normal:3 has 3 dimensions"},
        {{.kind = "nll", .target = moons}, "the density of moons is not known"},
        {{.kind = "nll", .target = flat}, "checkerboard is constant"},
        {{.kind = "monge-ampere", .target = mixture}, "no source was given"},
        {{.kind = "monge-ampere", .source = mixture}, "no target was given"},
        {{.kind = "monge-ampere", .source = moons, .target = mixture}, "the density of moons is not known"},
    };
    double x[2 * ROWS] = {0}, p[PARAMETERS] = {1, 0, 1, 0, 0}, value, gradient[PARAMETERS];
    for (size_t i = 0; i < MGN_COUNT(bad); i++)
        MGN_ASSERT_FAILS(evaluate(cpu, &bad[i].config, x, p, &value, gradient), MGN_ERR_ARGUMENT, bad[i].sentence);
    mgn_target_destroy(moons);
    mgn_target_destroy(space);
}
END_TEST

int main(void) {
    opencl_spec = mgn_test_opencl_spec();
    Suite *suite = suite_create("density_loss");
    TCase *c = tcase_create("losses");
    tcase_add_checked_fixture(c, open_all, close_all);
    tcase_add_loop_test(c, values_and_gradients_are_the_textbook_s, 0, CONFIGS);
    tcase_add_test(c, devices_agree);
    tcase_add_test(c, the_optimal_map_solves_the_equation);
    tcase_add_test(c, nonsense_is_refused);
    suite_add_tcase(suite, c);
    return mgn_test_main(suite);
}
