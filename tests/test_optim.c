/* Optimizers against plain loops in double over many steps, and the schedules' tables. */
#include "harness.h"

#include <math.h>
#include <string.h>

#include <mgn/optim.h>

#include "core/core.h"

enum { COUNT = 7, STEPS = 25 };

/* ---- the update rules, as PyTorch documents them ---- */

typedef struct reference {
    double p[COUNT], first[COUNT], second[COUNT];
} reference;

static void reference_step(reference *r, const mgn_optimizer_config *c, double lr, const double *gradient, int step) {
    const double beta1 = c->beta1 != 0 ? c->beta1 : 0.9, beta2 = c->beta2 != 0 ? c->beta2 : 0.999;
    const double epsilon = c->epsilon != 0 ? c->epsilon : 1e-8;
    double norm = 0, g[COUNT];
    for (int i = 0; i < COUNT; i++) norm += gradient[i] * gradient[i];
    norm = sqrt(norm);
    const double factor = c->clip_norm != 0 ? fmin(1, c->clip_norm / (norm + 1e-6)) : 1;
    for (int i = 0; i < COUNT; i++) {
        g[i] = gradient[i] * factor;
        if (strcmp(c->kind, "adamw") == 0)
            r->p[i] -= lr * c->weight_decay * r->p[i]; /* decoupled */
        else
            g[i] += c->weight_decay * r->p[i];
        if (strcmp(c->kind, "sgd") == 0) {
            r->first[i] = c->momentum * r->first[i] + g[i];
            r->p[i] -= lr * r->first[i];
            continue;
        }
        r->first[i] = beta1 * r->first[i] + (1 - beta1) * g[i];
        r->second[i] = beta2 * r->second[i] + (1 - beta2) * g[i] * g[i];
        const double m = r->first[i] / (1 - pow(beta1, step)), v = r->second[i] / (1 - pow(beta2, step));
        r->p[i] -= lr * m / (sqrt(v) + epsilon);
    }
}

static const mgn_optimizer_config configs[] = {
    {.kind = "adam", .lr = 0.01},
    {.kind = "adam", .lr = 0.1, .weight_decay = 0.05},
    {.kind = "adam", .lr = 0.01, .beta1 = 0.5, .beta2 = 0.9, .epsilon = 1e-3},
    {.kind = "adam", .lr = 0.02, .weight_decay = 0.3, .clip_norm = 0.5},
    {.kind = "adamw", .lr = 0.01},
    {.kind = "adamw", .lr = 0.1, .weight_decay = 0.2},
    {.kind = "adamw", .lr = 0.1, .weight_decay = 0.2, .clip_norm = 2},
    {.kind = "sgd", .lr = 0.1},
    {.kind = "sgd", .lr = 0.1, .momentum = 0.9},
    {.kind = "sgd", .lr = 0.05, .momentum = 0.5, .weight_decay = 0.1},
    {.kind = "sgd", .lr = 0.05, .momentum = 0.9, .weight_decay = 0.1, .clip_norm = 1},
};

/* An update as a plan of its own, whose gradient and learning rate are written before each step. */
typedef struct updater {
    mgn_device *device;
    mgn_graph *graph;
    mgn_plan *plan;
    mgn_tensor *parameters, *gradient, *lr;
} updater;

static void open_updater(updater *u, const mgn_optimizer_config *config) {
    mgn_optimizer_shape shape;
    MGN_ASSERT_OK(mgn_optimizer_check(config, &shape));
    MGN_ASSERT_OK(mgn_device_open("cpu", &u->device));
    MGN_ASSERT_OK(mgn_graph_create(&u->graph));
    mgn_node *p = mgn_input(u->graph, "p", MGN_REAL, MGN_SHAPE(COUNT)),
             *g = mgn_input(u->graph, "g", MGN_REAL, MGN_SHAPE(COUNT));
    mgn_node *lr = mgn_input(u->graph, "lr", MGN_REAL, MGN_SCALAR), *vectors[MGN_MOST_OPTIMIZER_VECTORS] = {NULL};
    ck_assert_int_le(shape.vectors, MGN_MOST_OPTIMIZER_VECTORS);
    for (int i = 0; i < shape.vectors; i++) vectors[i] = mgn_input(u->graph, "v", MGN_REAL, MGN_SHAPE(COUNT));
    mgn_node *scalars = mgn_input(u->graph, "s", MGN_REAL, MGN_SHAPE(MGN_MAX(shape.scalars, 1)));
    mgn_optimizer_update(config, p, g, lr, vectors, scalars);
    MGN_ASSERT_OK(mgn_plan_compile(u->graph, u->device, MGN_F64, NULL, 0, &u->plan));
    u->parameters = mgn_plan_tensor(u->plan, p);
    u->gradient = mgn_plan_tensor(u->plan, g);
    u->lr = mgn_plan_tensor(u->plan, lr);
}

static void close_updater(updater *u) {
    mgn_plan_destroy(u->plan);
    mgn_graph_destroy(u->graph);
    mgn_device_close(u->device);
}

START_TEST(steps_are_the_published_ones) {
    const mgn_optimizer_config *config = &configs[_i];
    mgn_test_random random = MGN_TEST_RANDOM();
    updater u;
    reference r = {0};
    double p[COUNT], g[COUNT];
    open_updater(&u, config);
    for (int i = 0; i < COUNT; i++) r.p[i] = mgn_test_normal(&random);
    MGN_ASSERT_OK(mgn_tensor_write(u.parameters, MGN_F64, r.p));
    for (int step = 1; step <= STEPS; step++) {
        const double lr = config->lr / step; /* a schedule changes it all the time */
        for (int i = 0; i < COUNT; i++) g[i] = mgn_test_normal(&random) * pow(10, i - 4); /* scales 1e-4 to 100 */
        MGN_ASSERT_OK(mgn_tensor_write(u.gradient, MGN_F64, g));
        MGN_ASSERT_OK(mgn_tensor_write(u.lr, MGN_F64, &lr));
        MGN_ASSERT_OK(mgn_plan_run(u.plan, 1));
        MGN_ASSERT_OK(mgn_tensor_read(u.parameters, MGN_F64, p));
        reference_step(&r, config, lr, g, step);
        for (int i = 0; i < COUNT; i++)
            ck_assert_msg(fabs(p[i] - r.p[i]) <= 1e-11 * (1 + fabs(r.p[i])),
                          "%s (row %d), step %d: p[%d] = %.17g, expected %.17g", config->kind, _i, step, i, p[i],
                          r.p[i]);
    }
    close_updater(&u);
}
END_TEST

START_TEST(impossible_settings_are_refused) {
    static const struct {
        mgn_optimizer_config config;
        const char *sentence;
    } rows[] = {
        {{.kind = "adagrd", .lr = 1}, "adam, adamw, sgd, lbfgs, newton or gauss-newton; 'adagrd' was found"},
        {{.kind = "", .lr = 1}, "'' was found"},
        {{.kind = "adam"}, "lr=0"},
        {{.kind = "adam", .lr = -1}, "lr=-1"},
        {{.kind = "adam", .lr = NAN}, "positive learning rate"},
        {{.kind = "sgd", .lr = INFINITY}, "lr=inf"},
        {{.kind = "sgd", .lr = 1, .momentum = 1}, "momentum=1"},
        {{.kind = "sgd", .lr = 1, .momentum = -.1}, "momentum=-0.1"},
        {{.kind = "adam", .lr = 1, .beta1 = 1}, "betas=1"},
        {{.kind = "adam", .lr = 1, .beta2 = 1.5}, "1.5"},
        {{.kind = "adamw", .lr = 1, .weight_decay = -1}, "weight_decay=-1"},
        {{.kind = "adamw", .lr = 1, .clip_norm = NAN}, "clip=nan"},
        {{.kind = "adam", .lr = 1, .epsilon = -1}, "adam: "},
    };
    for (size_t i = 0; i < MGN_COUNT(rows); i++)
        MGN_ASSERT_FAILS(mgn_optimizer_check(&rows[i].config, &(mgn_optimizer_shape){0}), MGN_ERR_ARGUMENT,
                         rows[i].sentence);
}
END_TEST

START_TEST(every_optimizer_is_tested) {
    for (size_t k = 0; mgn_optimizer_kind(k); k++) {
        bool found = mgn_optimizer_is_second_order(mgn_optimizer_kind(k)); /* these are in test_second_order.c */
        for (size_t i = 0; i < MGN_COUNT(configs); i++)
            found = found || strcmp(configs[i].kind, mgn_optimizer_kind(k)) == 0;
        ck_assert_msg(found, "%s has no row in this file", mgn_optimizer_kind(k));
    }
}
END_TEST

/* ---- schedules ---- */

static double factor_at(const mgn_schedule_config *config, int64_t epoch, int64_t epochs) {
    mgn_schedule_state state = {0};
    return mgn_schedule_factor(config, &state, epoch, epochs, 1);
}

START_TEST(schedules_follow_their_formulas) {
    const mgn_schedule_config constant = {0}, step = {.kind = MGN_SCHEDULE_STEP},
                              exponential = {.kind = MGN_SCHEDULE_EXPONENTIAL, .gamma = .5};
    const mgn_schedule_config cosine = {.kind = MGN_SCHEDULE_COSINE, .floor = .1},
                              low = {.kind = MGN_SCHEDULE_STEP, .gamma = .5, .every = 3, .floor = .3};
    for (int64_t epoch = 0; epoch < 40; epoch++) {
        ck_assert_double_eq(factor_at(&constant, epoch, 40), 1);
        ck_assert_double_eq_tol(factor_at(&step, epoch, 40), pow(.1, (double)(epoch / 10)), 1e-15);
        ck_assert_double_eq_tol(factor_at(&exponential, epoch, 40), pow(.5, (double)epoch), 1e-15);
        ck_assert_double_eq_tol(factor_at(&cosine, epoch, 40), .1 + .45 * (1 + cos(M_PI * (double)epoch / 40)), 1e-15);
        ck_assert_double_eq_tol(factor_at(&low, epoch, 40), fmax(pow(.5, (double)(epoch / 3)), .3), 1e-15);
    }
    ck_assert_double_eq(factor_at(&cosine, 0, 1), 1);
}
END_TEST

/* Falls after `every` + 1 epochs without improvement, as PyTorch's ReduceLROnPlateau with patience `every`. */
START_TEST(plateau_waits_and_falls) {
    static const double losses[] = {9 /* ignored */, 5,      4,   4,  4,        4,  3.9, 3.9, 3.8999,
                                    3.8998,          3.8997, 3.0, -1, -1.00001, -1, -1,  -1,  -1};
    static const double factors[] = {1, 1, 1, 1, 1, .5, .5, .5, .5, .25, .25, .25, .25, .25, .25, .2, .2, .2};
    const mgn_schedule_config config = {.kind = MGN_SCHEDULE_PLATEAU, .gamma = .5, .every = 2, .floor = .2};
    mgn_schedule_state state = {0};
    for (size_t i = 0; i < MGN_COUNT(losses); i++) {
        const double found = mgn_schedule_factor(&config, &state, (int64_t)i, 100, losses[i]);
        ck_assert_msg(fabs(found - factors[i]) < 1e-15, "epoch %zu: %g, expected %g", i, found, factors[i]);
    }
}
END_TEST

START_TEST(schedules_have_names) {
    static const char *const names[] = {"constant", "step", "exponential", "cosine", "plateau"};
    mgn_schedule_kind kind = MGN_SCHEDULE_STEP;
    for (size_t i = 0; i < MGN_COUNT(names); i++) {
        MGN_ASSERT_OK(mgn_schedule_parse(names[i], &kind));
        ck_assert_uint_eq(kind, i);
    }
    MGN_ASSERT_FAILS(mgn_schedule_parse("linear", &kind), MGN_ERR_ARGUMENT, "'linear' was found");
}
END_TEST

int main(void) {
    Suite *suite = suite_create("optim");
    TCase *optimizers = tcase_create("optimizers"), *schedules = tcase_create("schedules");
    tcase_add_loop_test(optimizers, steps_are_the_published_ones, 0, (int)MGN_COUNT(configs));
    tcase_add_test(optimizers, impossible_settings_are_refused);
    tcase_add_test(optimizers, every_optimizer_is_tested);
    tcase_add_test(schedules, schedules_follow_their_formulas);
    tcase_add_test(schedules, plateau_waits_and_falls);
    tcase_add_test(schedules, schedules_have_names);
    suite_add_tcase(suite, optimizers);
    suite_add_tcase(suite, schedules);
    return mgn_test_main(suite);
}
