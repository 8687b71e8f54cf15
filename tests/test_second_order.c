/* Second-order training: the minimisers on functions with known minima, the curvature that plans give them against other
 * ways to the same numbers, and mgn_train with them. */
#include "harness.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <mgn/train.h>

#include "core/core.h"
#include "group.h"
#include "train/second_order.h"

enum { MOST = 32, ROWS = 300, MOST_PARAMETERS = 1024 };

typedef mgn_status minimiser(const mgn_objective *objective, mgn_descent *descent, double *p);
static const struct {
    const char *label;
    minimiser *minimise;
    bool uses_matrix;
} minimisers[] = {
    {"lbfgs", mgn_descend_lbfgs, false},
    {"newton", mgn_descend_newton, false},
    {"gauss-newton, products", mgn_descend_damped, false},
    {"gauss-newton, matrix", mgn_descend_damped, true},
};

/* ---- functions of the host ---- */

typedef struct function {
    int64_t n;
    double (*value)(const struct function *f, const double *p, double *gradient, double *hessian);
    double a[MOST * MOST], b[MOST];
} function;

static mgn_status find_matrix(void *context, const double *p, double *f, double *gradient, double *matrix) {
    const function *of = context;
    *f = of->value(of, p, gradient, matrix);
    return MGN_OK;
}

static mgn_status find_gradient(void *context, const double *p, double *f, double *gradient) {
    double hessian[MOST * MOST];
    return find_matrix(context, p, f, gradient, hessian);
}

static mgn_status find_value(void *context, const double *p, double *f) {
    double gradient[MOST];
    return find_gradient(context, p, f, gradient);
}

static mgn_status find_product(void *context, const double *p, const double *v, double *out) {
    const function *of = context;
    double gradient[MOST], hessian[MOST * MOST];
    of->value(of, p, gradient, hessian);
    for (int64_t i = 0; i < of->n; i++) out[i] = mgn_dot(hessian + i * of->n, v, of->n);
    return MGN_OK;
}

/* p.A p / 2 - b.p */
static double quadratic(const function *f, const double *p, double *gradient, double *hessian) {
    double value = 0;
    memcpy(hessian, f->a, (size_t)(f->n * f->n) * sizeof *hessian);
    for (int64_t i = 0; i < f->n; i++) {
        gradient[i] = mgn_dot(f->a + i * f->n, p, f->n) - f->b[i];
        value += 0.5 * p[i] * (gradient[i] - f->b[i]);
    }
    return value;
}

/* sum of 100 (p[i+1] - p[i]^2)^2 + (1 - p[i])^2; the curvature is Gauss-Newton's, as that of a residual form. */
static double rosenbrock(const function *f, const double *p, double *gradient, double *hessian) {
    const int64_t n = f->n;
    double value = 0;
    memset(gradient, 0, (size_t)n * sizeof *gradient);
    memset(hessian, 0, (size_t)(n * n) * sizeof *hessian);
    for (int64_t i = 0; i + 1 < n; i++) {
        const double r = 10 * (p[i + 1] - p[i] * p[i]), s = 1 - p[i];
        value += r * r + s * s;
        gradient[i] += -40 * p[i] * r - 2 * s;
        gradient[i + 1] += 20 * r;
        hessian[i * n + i] += 800 * p[i] * p[i] + 2;
        hessian[i * n + i + 1] += -400 * p[i];
        hessian[(i + 1) * n + i] += -400 * p[i];
        hessian[(i + 1) * n + i + 1] += 200;
    }
    return value;
}

/* sum of p - log p: NaN where an entry is negative, infinite at 0; the minimum is at 1. */
static double barrier(const function *f, const double *p, double *gradient, double *hessian) {
    double value = 0;
    memset(hessian, 0, (size_t)(f->n * f->n) * sizeof *hessian);
    for (int64_t i = 0; i < f->n; i++) {
        value += p[i] - log(p[i]);
        gradient[i] = 1 - 1 / p[i];
        hessian[i * (f->n + 1)] = 1 / (p[i] * p[i]);
    }
    return value;
}

/* (p0^2 - 1)^2 + p1^2: from p0 = 0 downhill is a direction of negative curvature alone. */
static double saddle(const function *f, const double *p, double *gradient, double *hessian) {
    (void)f;
    const double u = p[0] * p[0] - 1;
    gradient[0] = 4 * p[0] * u;
    gradient[1] = 2 * p[1];
    memcpy(hessian, (double[]){12 * p[0] * p[0] - 4, 0, 0, 2}, 4 * sizeof *hessian);
    return u * u + p[1] * p[1];
}

typedef struct log_of_values {
    double last;
    int64_t calls, stop_after;
} log_of_values;

static bool falls(void *context, int64_t iteration, double f, double step) {
    log_of_values *l = context;
    ck_assert_int_eq(iteration, ++l->calls);
    ck_assert(isfinite(f) && isfinite(step) && step >= 0);
    ck_assert_msg(f <= l->last, "iteration %lld rose from %.17g to %.17g", (long long)iteration, l->last, f);
    l->last = f;
    return l->stop_after == 0 || iteration < l->stop_after;
}

static mgn_objective objective_of(size_t m, function *f) {
    return (mgn_objective){.count = f->n,
                           .context = f,
                           .value = find_value,
                           .gradient = find_gradient,
                           .product = find_product,
                           .matrix = minimisers[m].uses_matrix ? find_matrix : NULL};
}

static mgn_descent minimise(size_t m, function *f, int64_t iterations, double *p) {
    const mgn_objective objective = objective_of(m, f);
    log_of_values l = {.last = INFINITY};
    mgn_descent descent = {.iterations = iterations, .tolerance = 1e-9, .report = falls, .context = &l};
    MGN_ASSERT_OK(minimisers[m].minimise(&objective, &descent, p));
    ck_assert_int_eq(descent.done, l.calls);
    return descent;
}

START_TEST(quadratics_are_solved_in_a_few_iterations) {
    static const int64_t most[] = {60, 14, 14, 14};
    mgn_test_random random = MGN_TEST_RANDOM();
    function f = {.n = 12, .value = quadratic};
    double minimum[MOST], p[MOST];
    for (int64_t i = 0; i < f.n; i++) minimum[i] = mgn_test_normal(&random);
    for (int64_t i = 0; i < f.n; i++) /* I + sum of 3 outer products: 4 different eigenvalues */
        f.a[i * (f.n + 1)] = 1;
    for (int k = 0; k < 3; k++) {
        double u[MOST] = {0};
        for (int64_t i = 0; i < f.n; i++) u[i] = mgn_test_normal(&random);
        for (int64_t i = 0; i < f.n * f.n; i++) f.a[i] += u[i / f.n] * u[i % f.n];
    }
    for (int64_t i = 0; i < f.n; i++) f.b[i] = mgn_dot(f.a + i * f.n, minimum, f.n);
    memset(p, 0, sizeof p);
    const mgn_descent descent = minimise((size_t)_i, &f, 100, p);
    ck_assert_msg(descent.is_converged, "%s: %lld iterations", minimisers[_i].label, (long long)descent.done);
    ck_assert_msg(descent.done <= most[_i], "%s took %lld iterations", minimisers[_i].label, (long long)descent.done);
    for (int64_t i = 0; i < f.n; i++) ck_assert_double_eq_tol(p[i], minimum[i], 1e-6);
}
END_TEST

START_TEST(curved_valleys_are_followed) {
    function f = {.n = 6, .value = rosenbrock};
    double p[MOST] = {-1.2, 1, -1.2, 1, -1.2, 1};
    const mgn_descent descent = minimise((size_t)_i, &f, 2000, p);
    ck_assert_msg(descent.is_converged, "%s: %g after %lld iterations", minimisers[_i].label, descent.f,
                  (long long)descent.done);
    /* n = 6 has a second, local minimum near p[0] = -1 */
    ck_assert(descent.f < 1e-15 || fabs(descent.f - 3.97394) < 1e-3);
}
END_TEST

START_TEST(what_is_not_finite_is_stepped_back_from) {
    function f = {.n = 5, .value = barrier};
    double p[MOST] = {1e-3, 30, 0.5, 2, 1e-6};
    const mgn_descent descent = minimise((size_t)_i, &f, 500, p);
    ck_assert_msg(descent.is_converged, "%s: %.17g after %lld iterations", minimisers[_i].label, descent.f,
                  (long long)descent.done);
    for (int64_t i = 0; i < f.n; i++) ck_assert_double_eq_tol(p[i], 1, 1e-6);
}
END_TEST

/* From a point where there is nothing no minimiser starts; the point stays. */
START_TEST(impossible_starts_are_refused) {
    function f = {.n = 2, .value = barrier};
    for (size_t m = 0; m < MGN_COUNT(minimisers); m++) {
        const mgn_objective objective = objective_of(m, &f);
        double p[MOST] = {-1, 2};
        mgn_descent descent = {.iterations = 5};
        MGN_ASSERT_FAILS(minimisers[m].minimise(&objective, &descent, p), MGN_ERR_NUMERIC, "at the start values");
        ck_assert(p[0] == -1 && p[1] == 2);
    }
}
END_TEST

START_TEST(newton_leaves_saddles) {
    function f = {.n = 2, .value = saddle};
    double p[MOST] = {1e-3, 0.7};
    const mgn_descent descent = minimise(1, &f, 50, p);
    ck_assert(descent.is_converged);
    ck_assert_double_eq_tol(p[0], 1, 1e-8);
    ck_assert_double_eq_tol(p[1], 0, 1e-8);
}
END_TEST

/* ---- the objective ---- */

static const mgn_model_config configs[] = {
    {.kind = "cmgn", .d = 2, .h = 3, .layers = 2},
    {.kind = "cmgn", .d = 3, .h = 4, .layers = 1, .activation = MGN_SOFTPLUS, .v = MGN_V_GAUSSIAN},
    {.kind = "mmgn", .d = 2, .h = 3, .layers = 2, .activation = MGN_TANH},
    {.kind = "mmgn", .d = 3, .h = 5, .layers = 3},
    /* 126 parameters: the products of Jacobians are a plan of their own; 712: products alone */
    {.kind = "cmgn", .d = 2, .h = 24, .layers = 3, .activation = MGN_TANH},
    {.kind = "cmgn", .d = 8, .h = 64, .layers = 2},
};

static mgn_device *device;
static mgn_model *model;
static float x[8 * ROWS], y[8 * ROWS];

/* A model, rows, and a device; y is what another model of that architecture gives (`other`), or this one. */
static void prepare(const mgn_model_config *config, bool other) {
    mgn_test_random random = mgn_test_random_named("prepare");
    mgn_model *teacher = NULL;
    mgn_map *map = NULL;
    MGN_ASSERT_OK(mgn_device_open("cpu", &device));
    MGN_ASSERT_OK(mgn_model_create(config, 1, &model));
    MGN_ASSERT_OK(mgn_model_create(config, other ? 2 : 1, &teacher));
    for (int64_t i = 0; i < ROWS * config->d; i++) x[i] = (float)mgn_test_uniform(&random, -1, 1);
    MGN_ASSERT_OK(mgn_map_create(teacher, device, MGN_F64, &map));
    MGN_ASSERT_OK(mgn_map_apply(map, x, ROWS, y));
    mgn_map_destroy(map);
    mgn_model_destroy(teacher);
}

static void finish(void) {
    mgn_model_destroy(model);
    mgn_device_close(device);
}

static mgn_train_config with(const char *loss, const char *optimizer) {
    mgn_train_config config = {.real = MGN_F64, .epochs = 100};
    strncpy(config.loss.kind, loss, sizeof config.loss.kind - 1);
    strncpy(config.optimizer.kind, optimizer, sizeof config.optimizer.kind - 1);
    mgn_test_share(&config);
    return config;
}

static mgn_samples rows_for(const char *loss) { return (mgn_samples){x, mgn_loss_needs_pairs(loss) ? y : NULL, ROWS}; }

static mgn_solver *make_solver(const mgn_train_config *config) {
    mgn_solver *solver = NULL;
    const mgn_samples samples = rows_for(config->loss.kind);
    MGN_ASSERT_OK(mgn_solver_create(model, device, &samples, config, NULL, &solver));
    return solver;
}

static void check_close(const double *a, const double *b, int64_t count, double tolerance, const char *what) {
    const double size = mgn_largest(b, count);
    for (int64_t i = 0; i < count; i++)
        ck_assert_msg(fabs(a[i] - b[i]) <= tolerance * size, "%s: entry %lld is %.12g, expected %.12g", what,
                      (long long)i, a[i], b[i]);
}

/* Newton's products against differences of the gradient, and gradients against differences of the value. */
START_TEST(products_are_second_derivatives) {
    static const char *const losses[] = {"mse", "nll", "kl"};
    mgn_test_random random = MGN_TEST_RANDOM();
    for (size_t c = 0; c < 4; c++)
        for (size_t l = 0; l < MGN_COUNT(losses); l++) {
            prepare(&configs[c], true);
            mgn_train_config newton = with(losses[l], "newton"), lbfgs = with(losses[l], "lbfgs");
            newton.optimizer.weight_decay = lbfgs.optimizer.weight_decay = 0.1;
            mgn_solver *solver = make_solver(&newton), *first = make_solver(&lbfgs);
            const mgn_objective *o = mgn_solver_objective(solver), *of = mgn_solver_objective(first);
            double p[MOST_PARAMETERS], v[MOST_PARAMETERS], product[MOST_PARAMETERS], at[2][MOST_PARAMETERS], f[2];
            const double width = 1e-5;
            for (int64_t i = 0; i < o->count; i++) v[i] = mgn_test_normal(&random);
            MGN_ASSERT_OK(o->product(o->context, mgn_model_values(model), v, product));
            for (int side = 0; side < 2; side++) {
                memcpy(p, mgn_model_values(model), (size_t)o->count * sizeof *p);
                mgn_add_scaled(p, side ? width : -width, v, o->count);
                MGN_ASSERT_OK(of->gradient(of->context, p, &f[side], at[side]));
            }
            const double slope = (f[1] - f[0]) / (2 * width);
            for (int64_t i = 0; i < o->count; i++) at[1][i] = (at[1][i] - at[0][i]) / (2 * width);
            check_close(product, at[1], o->count, 1e-6, losses[l]);
            MGN_ASSERT_OK(o->gradient(o->context, mgn_model_values(model), &f[0], at[0]));
            ck_assert_double_eq_tol(mgn_dot(at[0], v, o->count), slope, 1e-6 * (1 + fabs(slope)));
            MGN_ASSERT_OK(o->value(o->context, mgn_model_values(model), &f[1]));
            ck_assert_double_eq_tol(f[0], f[1], 1e-12 * fabs(f[0]));
            mgn_solver_destroy(solver);
            mgn_solver_destroy(first);
            finish();
        }
}
END_TEST

/* Where the residuals vanish, Gauss-Newton's curvature is the Hessian: whichever way it is computed. */
START_TEST(gauss_newton_is_newton_without_residuals) {
    mgn_test_random random = MGN_TEST_RANDOM();
    for (size_t c = 0; c < MGN_COUNT(configs); c++) {
        prepare(&configs[c], false);
        mgn_train_config newton = with("mse", "newton"), damped = with("mse", "gauss-newton");
        newton.optimizer.weight_decay = damped.optimizer.weight_decay = 0.01;
        newton.loss.cost_weight = damped.loss.cost_weight = 0; /* it would have residuals of its own */
        mgn_solver *a = make_solver(&newton), *b = make_solver(&damped);
        const mgn_objective *of_a = mgn_solver_objective(a), *of_b = mgn_solver_objective(b);
        const int64_t count = of_a->count;
        double v[MOST_PARAMETERS], expected[MOST_PARAMETERS], found[MOST_PARAMETERS], f;
        ck_assert_int_le(count, MOST_PARAMETERS);
        ck_assert(!of_b->matrix == (count > 600));
        for (int64_t i = 0; i < count; i++) v[i] = mgn_test_normal(&random);
        MGN_ASSERT_OK(of_a->product(of_a->context, mgn_model_values(model), v, expected));
        if (of_b->matrix) {
            double *matrix = malloc((size_t)(count * count) * sizeof *matrix);
            ck_assert_ptr_nonnull(matrix);
            MGN_ASSERT_OK(of_b->matrix(of_b->context, mgn_model_values(model), &f, found, matrix));
            for (int64_t i = 0; i < count; i++) found[i] = mgn_dot(matrix + i * count, v, count);
            free(matrix);
        } else {
            MGN_ASSERT_OK(of_b->product(of_b->context, mgn_model_values(model), v, found));
        }
        check_close(found, expected, count, 1e-6, configs[c].kind);
        mgn_solver_destroy(a);
        mgn_solver_destroy(b);
        finish();
    }
}
END_TEST

/* ---- mgn_train ---- */

/* Stands in for a report: the loss never rises, as far as it is known. Losses and gradients are plans of their own, so the same y
 * differ by some 1e-16; where the residuals are small that makes 2 sqrt(loss) 1e-16 in the mean of their squares. */
typedef struct history {
    double first, last;
    int64_t calls, stop_after;
    bool interrupts;
} history;

static bool record(void *context, const mgn_train_report *report) {
    history *h = context;
    ck_assert_int_eq(report->epoch, ++h->calls);
    ck_assert_int_eq(report->steps, report->epoch);
    ck_assert_msg(h->calls == 1 || report->loss <= h->last + 1e-12 * fabs(h->last) + 1e-15 * sqrt(fabs(h->last)),
                  "epoch %lld rose from %g to %g", (long long)report->epoch, h->last, report->loss);
    if (h->calls == 1) h->first = report->loss;
    h->last = report->loss;
    return h->stop_after == 0 || report->epoch < h->stop_after;
}

START_TEST(every_kind_lowers_the_losses_it_takes) {
    static const struct {
        const char *optimizer, *loss;
        double below; /* of the first iteration's; nll: less that */
    } rows[] = {
        {"lbfgs", "mse", 0.1},  {"lbfgs", "nll", 0.1},  {"lbfgs", "kl", 0.01},         {"newton", "mse", 0.05},
        {"newton", "nll", 0.1}, {"newton", "kl", 0.01}, {"gauss-newton", "mse", 0.05}, {"gauss-newton", "l1", 0.3},
    };
    for (size_t c = 0; c < 3; c++)
        for (size_t i = 0; i < MGN_COUNT(rows); i++) {
            prepare(&configs[c], true);
            history h = {0};
            mgn_train_result result = {0};
            mgn_train_config config = with(rows[i].loss, rows[i].optimizer);
            config.report = record;
            config.context = &h;
            const mgn_samples samples = rows_for(rows[i].loss);
            MGN_ASSERT_OK(mgn_train(model, device, &samples, &config, &result));
            const double limit = strcmp(rows[i].loss, "nll") == 0 ? h.first - rows[i].below : h.first * rows[i].below;
            ck_assert_msg(h.last <= limit, "%s, %s of %s: %g, then %g", rows[i].optimizer, rows[i].loss,
                          configs[c].kind, h.first, h.last);
            ck_assert_double_eq(result.loss, h.last);
            ck_assert_int_eq(result.steps, h.calls);
            finish();
        }
}
END_TEST

/* A student finds its teacher: to rounding, from a start near it. */
START_TEST(gauss_newton_reaches_a_zero_minimum) {
    for (size_t c = 0; c < 5; c++) {
        mgn_test_random random = MGN_TEST_RANDOM();
        prepare(&configs[c], false);
        for (int64_t i = 0; i < mgn_model_parameter_count(model); i++)
            mgn_model_values(model)[i] += 0.03 * mgn_test_normal(&random);
        mgn_train_result result;
        const mgn_train_config config = with("mse", "gauss-newton");
        const mgn_samples samples = rows_for("mse");
        MGN_ASSERT_OK(mgn_train(model, device, &samples, &config, &result));
        ck_assert_msg(result.loss < 1e-10, "%s: %g is left", configs[c].kind, result.loss);
        finish();
    }
}
END_TEST

/* The report's gradient field from N(0, 1) parameters: most starts of 14 parameters get to the same floor. */
START_TEST(random_starts_reach_the_field) {
    enum { STARTS = 10 };
    double errors[STARTS], best = INFINITY;
    int reached = 0;
    prepare(&configs[0], true);
    for (int64_t i = 0; i < ROWS; i++) {
        const double a = 0.5 + 0.5 * (double)x[2 * i], b = 0.5 + 0.5 * (double)x[2 * i + 1];
        x[2 * i] = (float)a;
        x[2 * i + 1] = (float)b;
        y[2 * i] = (float)(4 * a * a * a + b / 2);
        y[2 * i + 1] = (float)(0.5 + a / 2 + 3 * b - b * b);
    }
    for (uint64_t seed = 0; seed < STARTS; seed++) {
        mgn_model *start = NULL;
        mgn_train_result result = {0};
        mgn_train_config config = with("mse", "lbfgs");
        config.epochs = 200;
        const mgn_samples samples = rows_for("mse");
        MGN_ASSERT_OK(mgn_model_create(
            &(mgn_model_config){.kind = "cmgn", .d = 2, .h = 2, .layers = 2, .activation = MGN_LOGISTIC}, seed,
            &start));
        MGN_ASSERT_OK(mgn_train(start, device, &samples, &config, &result));
        errors[seed] = sqrt(2 * result.loss);
        best = fmin(best, errors[seed]);
        mgn_model_destroy(start);
    }
    finish();
    /* Where the floor is, .0287 for the whole square, depends on the points. */
    ck_assert_msg(best < 0.034, "the best start ends at %g", best);
    for (int i = 0; i < STARTS; i++) reached += errors[i] < 1.02 * best;
    ck_assert_msg(reached >= STARTS / 2, "%d of %d", reached, STARTS);
}
END_TEST

/* Stopping keeps what was reached; L-BFGS begins its memory anew, so going on ends as low, if not at the same bits. */
START_TEST(stops_when_asked_and_goes_on) {
    static const char *const kinds[] = {"lbfgs", "newton", "gauss-newton"};
    for (size_t k = 0; k < MGN_COUNT(kinds); k++) {
        prepare(&configs[0], true);
        history h = {.stop_after = 7};
        mgn_train_result first = {0}, second = {0};
        mgn_train_config config = with("mse", kinds[k]);
        config.report = record;
        config.context = &h;
        const mgn_samples samples = rows_for("mse");
        MGN_ASSERT_FAILS(mgn_train(model, device, &samples, &config, &first), MGN_ERR_INTERRUPTED,
                         "stopped after epoch 7 of 100");
        ck_assert_int_eq(first.steps, 7);
        mgn_solver *solver = make_solver(&config);
        const mgn_objective *o = mgn_solver_objective(solver);
        double gradient[MOST_PARAMETERS], f, matrix[MOST * MOST];
        if (o->matrix)
            MGN_ASSERT_OK(o->matrix(o->context, mgn_model_values(model), &f, gradient, matrix));
        else
            MGN_ASSERT_OK(o->gradient(o->context, mgn_model_values(model), &f, gradient));
        ck_assert_double_eq_tol(f, first.loss, 1e-12 * first.loss);
        mgn_solver_destroy(solver);
        h = (history){0};
        MGN_ASSERT_OK(mgn_train(model, device, &samples, &config, &second));
        ck_assert_double_le(h.first, first.loss * (1 + 1e-12));
        ck_assert_double_lt(second.loss, first.loss);
        finish();
    }
}
END_TEST

START_TEST(results_do_not_depend_on_threads) {
    static const char *const kinds[] = {"lbfgs", "newton", "gauss-newton"};
    for (size_t k = 0; k < MGN_COUNT(kinds); k++) {
        double values[2][MOST_PARAMETERS];
        for (int t = 0; t < 2; t++) {
            mgn_set_threads(t == 0 ? 1 : 3);
            prepare(&configs[4], true);
            mgn_train_config config = with("mse", kinds[k]);
            config.epochs = 10;
            const mgn_samples samples = rows_for("mse");
            MGN_ASSERT_OK(mgn_train(model, device, &samples, &config, NULL));
            memcpy(values[t], mgn_model_values(model), (size_t)mgn_model_parameter_count(model) * sizeof(double));
            if (t == 1)
                ck_assert_mem_eq(values[0], values[1], (size_t)mgn_model_parameter_count(model) * sizeof(double));
            finish();
        }
        mgn_set_threads(0);
    }
}
END_TEST

START_TEST(nothing_is_allocated_between_iterations) {
    prepare(&configs[0], true);
    for (size_t m = 0; m < 3; m++) {
        static const char *const kinds[] = {"lbfgs", "newton", "gauss-newton"};
        const mgn_train_config config = with("mse", kinds[m]);
        mgn_solver *solver = make_solver(&config);
        const mgn_objective *o = mgn_solver_objective(solver);
        double gradient[MOST_PARAMETERS], matrix[MOST * MOST], f;
        const uint64_t before = mgn_allocations();
        if (o->matrix)
            MGN_ASSERT_OK(o->matrix(o->context, mgn_model_values(model), &f, gradient, matrix));
        else
            MGN_ASSERT_OK(o->gradient(o->context, mgn_model_values(model), &f, gradient));
        ck_assert_uint_eq(mgn_allocations(), before);
        mgn_solver_destroy(solver);
    }
    finish();
}
END_TEST

START_TEST(refuses_what_makes_no_sense) {
    prepare(&configs[0], true);
    mgn_train_config config = with("nll", "gauss-newton");
    mgn_samples samples = rows_for("nll");
    MGN_ASSERT_FAILS(mgn_train(model, device, &samples, &config, NULL), MGN_ERR_ARGUMENT,
                     "gauss-newton minimises losses of residuals");
    mgn_target *moons = NULL;
    MGN_ASSERT_OK(mgn_target_parse("moons", &moons));
    config = with("sinkhorn", "lbfgs");
    config.loss.target = moons;
    MGN_ASSERT_FAILS(mgn_train(model, device, &samples, &config, NULL), MGN_ERR_ARGUMENT,
                     "the loss sinkhorn takes other samples");
    mgn_target_destroy(moons);
    config = with("nll", "newton");
    config.batch = 32;
    MGN_ASSERT_FAILS(mgn_train(model, device, &samples, &config, NULL), MGN_ERR_ARGUMENT,
                     "newton takes all 300 rows in every step; a batch of 32");
    config = with("nll", "lbfgs");
    config.optimizer.momentum = 0.9;
    MGN_ASSERT_FAILS(mgn_train(model, device, &samples, &config, NULL), MGN_ERR_ARGUMENT, "momentum=0.9");
    config = with("nll", "lbfgs");
    config.optimizer.tolerance = -1;
    MGN_ASSERT_FAILS(mgn_train(model, device, &samples, &config, NULL), MGN_ERR_ARGUMENT, "tolerance=-1");
    config = with("nll", "lbfgs");
    x[5] = NAN;
    MGN_ASSERT_FAILS(mgn_train(model, device, &samples, &config, NULL), MGN_ERR_NUMERIC, "row 2, column 1");
    finish();
}
END_TEST

/* The same on OpenCL, a few iterations of everything. */
START_TEST(devices_agree) {
    static const char *const kinds[] = {"lbfgs", "newton", "gauss-newton"};
    const char *spec = mgn_test_opencl_spec();
    if (!spec) MGN_TEST_SKIP("no OpenCL device");
    mgn_device *opencl = NULL;
    MGN_ASSERT_OK(mgn_device_open(spec, &opencl));
    const bool has_f64 = mgn_device_get_info(opencl)->has_f64;
    for (size_t k = 0; k < MGN_COUNT(kinds); k++) {
        double loss[2];
        for (int side = 0; side < 2; side++) {
            prepare(&configs[0], true);
            mgn_train_result result = {0};
            mgn_train_config config = with("mse", kinds[k]);
            config.epochs = 5;
            config.real = has_f64 ? MGN_F64 : MGN_F32;
            const mgn_samples samples = rows_for("mse");
            MGN_ASSERT_OK(mgn_train(model, side ? opencl : device, &samples, &config, &result));
            loss[side] = result.loss;
            finish();
        }
        ck_assert_msg(fabs(loss[0] - loss[1]) <= (has_f64 ? 1e-6 : 1e-3) * loss[0], "%s: %.12g and %.12g", kinds[k],
                      loss[0], loss[1]);
    }
    mgn_device_close(opencl);
}
END_TEST

static Suite *suite(void) {
    Suite *suite = suite_create("second order");
    TCase *functions = tcase_create("functions"), *models = tcase_create("models");
    const int count = (int)MGN_COUNT(minimisers);
    tcase_add_loop_test(functions, quadratics_are_solved_in_a_few_iterations, 0, count);
    tcase_add_loop_test(functions, curved_valleys_are_followed, 0, count);
    tcase_add_loop_test(functions, what_is_not_finite_is_stepped_back_from, 0, count);
    tcase_add_test(functions, impossible_starts_are_refused);
    tcase_add_test(functions, newton_leaves_saddles);
    const TTest *const tests[] = {
        products_are_second_derivatives,       gauss_newton_is_newton_without_residuals,
        every_kind_lowers_the_losses_it_takes, gauss_newton_reaches_a_zero_minimum,
        random_starts_reach_the_field,         stops_when_asked_and_goes_on,
        results_do_not_depend_on_threads,      nothing_is_allocated_between_iterations,
        refuses_what_makes_no_sense,           devices_agree,
    };
    for (size_t i = 0; i < MGN_COUNT(tests); i++) tcase_add_test(models, tests[i]);
    suite_add_tcase(suite, functions);
    suite_add_tcase(suite, models);
    return suite;
}

int main(void) {
    mgn_test_join();
    mgn_test_opencl_spec(); /* no forks once there is an OpenCL device */
    return mgn_test_main(suite());
}
