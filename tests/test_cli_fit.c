/* `mgn fit` as a user meets it: maps with known optima are found, the same seed gives the same file, a stopped run keeps
 * what was learned, and bad input is one sentence that leaves nothing behind. */
#include "json.h"
#include "refusals.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <mgn/data.h>
#include <mgn/model.h>

#include "core/core.h"

enum { N = 400 };

#define GAUSSIAN "'gaussian:mean=2,1;cov=1,-.8,-.8,1'"

static char folder[512];

static const char *in_folder(const char *name) { return mgn_test_within(folder, name); }

static void save_rows(const char *name, float *values, int64_t rows, int64_t columns) {
    MGN_ASSERT_OK(mgn_table_write(in_folder(name), &(mgn_matrix){rows, columns, values}));
}

/* x normal; y the gradient of x1^2 + log cosh x2 + x1 x2 / 2, and of a folder of its own for each test. */
static void make_inputs(void) {
    static float x[2 * N], y[2 * N], wide[6] = {1, 2, 3, 4, 5, 6}, same[8] = {1, 1, 1, 1, 1, 1, 1, 1};
    mgn_test_random random = MGN_TEST_RANDOM();
    snprintf(folder, sizeof folder, "%s", mgn_test_path("inputs"));
    mgn_test_process made = mgn_test_shell("rm -rf %s && mkdir %s", folder, folder);
    ck_assert_int_eq(made.code, 0);
    mgn_test_process_free(&made);
    for (int i = 0; i < N; i++) {
        const double a = mgn_test_normal(&random), b = mgn_test_normal(&random);
        x[2 * i] = (float)a;
        x[2 * i + 1] = (float)b;
        y[2 * i] = (float)(2 * a + b / 2);
        y[2 * i + 1] = (float)(tanh(b) + b + a / 2);
    }
    save_rows("x.npy", x, N, 2);
    save_rows("y.npy", y, N, 2);
    save_rows("wide.npy", wide, 2, 3);
    save_rows("same.npy", same, 4, 2);
}

/* The start knows the data's scale and place: in other units, and far from 0, every kind learns the same. */
START_TEST(units_and_place_change_nothing) {
    static const char *const kinds[] = {"icnn", "icgn", "cgradnet", "mgradnet", "cmgn", "mmgn", "dicnn"};
    static float x[2 * N], y[2 * N];
    mgn_test_random random = MGN_TEST_RANDOM();
    make_inputs();
    for (int i = 0; i < N; i++) {
        const double a = mgn_test_normal(&random), b = mgn_test_normal(&random);
        x[2 * i] = (float)(1e3 + 1e6 * a);
        x[2 * i + 1] = (float)(1e7 + 1e6 * b);
        y[2 * i] = (float)(-3e3 + 1e-3 * (2 * a + b / 2));
        y[2 * i + 1] = (float)(1e-3 * (tanh(b) + b + a / 2));
    }
    save_rows("far_x.npy", x, N, 2);
    save_rows("far_y.npy", y, N, 2);
    for (size_t k = 0; k < MGN_COUNT(kinds); k++) {
        char near[160], far[160];
        snprintf(near, sizeof near, "fit --source x.npy --target y.npy --paired --model %s -o near --epochs 30",
                 kinds[k]);
        snprintf(far, sizeof far, "fit --source far_x.npy --target far_y.npy --paired --model %s -o far --epochs 30",
                 kinds[k]);
        cJSON *one = json_within(folder, near), *other = json_within(folder, far);
        const double here = number(one, "loss"), there = number(other, "loss") * 1e6;
        ck_assert_msg(there < 2 * here + 0.3, "%s: loss %g, and %g in other units", kinds[k], here, there);
        cJSON_Delete(one);
        cJSON_Delete(other);
    }
}
END_TEST

START_TEST(gaussian_to_gaussian_is_found) {
    make_inputs();
    cJSON *o = json_within(folder, "fit --source " GAUSSIAN " --target normal:2 -o map --epochs 60 --seed 4");
    ck_assert_str_eq(text(cJSON_GetObjectItem(o, "recipe"), "loss"), "nll");
    ck_assert_double_eq(number(cJSON_GetObjectItem(o, "recipe"), "rows"), 9000);
    ck_assert_double_eq_tol(number(o, "least_cost"), 5 + 2 + 2 - 2 * (sqrt(1.8) + sqrt(0.2)), 1e-9);
    ck_assert_double_eq_tol(number(o, "cost"), number(o, "least_cost"), 0.4);
    ck_assert_double_eq_tol(number(o, "heldout_loss"), 1 + log(2 * M_PI) + 0.5 * log(0.36), 0.1);
    ck_assert_double_lt(number(o, "uvp"), 2);
    ck_assert_double_lt(number(o, "sliced_w2"), 0.02);
    ck_assert(cJSON_IsFalse(cJSON_GetObjectItem(o, "stopped")));
    cJSON_Delete(o);
    /* the recipe is in the file, which is otherwise a map like any other */
    mgn_safetensors file = {0};
    MGN_ASSERT_OK(mgn_safetensors_read(in_folder("map"), &file));
    cJSON *recipe = cJSON_Parse(mgn_safetensors_get(&file, "recipe"));
    ck_assert_str_eq(text(recipe, "source"), "gaussian:mean=2,1;cov=1,-.8,-.8,1");
    ck_assert_double_eq(number(recipe, "seed"), 4);
    ck_assert_double_eq(number(recipe, "epochs"), 60);
    cJSON_Delete(recipe);
    mgn_safetensors_free(&file);
    o = json_within(folder, "eval map --data " GAUSSIAN);
    ck_assert(cJSON_IsTrue(cJSON_GetObjectItem(o, "monotone")));
    cJSON_Delete(o);
}
END_TEST

START_TEST(pairs_are_learned_to_the_end) {
    make_inputs();
    cJSON *o =
        json_within(folder, "fit -s x.npy -t y.npy --paired -o map --model mmgn --width 2 --layers 2 --hold-out .25 "
                            "--optimizer gauss-newton --epochs 200 --restarts 6 --seed 1");
    const cJSON *recipe = cJSON_GetObjectItem(o, "recipe");
    ck_assert_str_eq(text(recipe, "loss"), "mse");
    ck_assert_str_eq(text(recipe, "real"), "float64");
    ck_assert_double_eq(number(recipe, "rows"), 300);
    ck_assert_double_eq(number(recipe, "holdout"), 100);
    ck_assert_double_lt(number(o, "heldout_loss"), 0.01);
    ck_assert(cJSON_IsNull(cJSON_GetObjectItem(o, "uvp")));
    const double best = number(o, "heldout_loss"), start = number(recipe, "kept");
    cJSON_Delete(o);
    /* the best of several starts is at least as good as the first alone, and the one that was kept says which it was */
    o = json_within(folder, "fit -s x.npy -t y.npy --paired -o first --model mmgn --width 2 --layers 2 --hold-out .25 "
                            "--optimizer gauss-newton --epochs 200 --seed 1");
    ck_assert_double_le(best, number(o, "heldout_loss"));
    ck_assert(start >= 1 && start <= 6);
    cJSON_Delete(o);
    o = json_within(folder, "eval map --data x.npy --truth y.npy");
    ck_assert_double_lt(number(o, "uvp"), 1);
    cJSON_Delete(o);
}
END_TEST

START_TEST(points_without_a_density_are_matched) {
    make_inputs();
    cJSON *o = json_within(folder, "fit -s x.npy -t y.npy -o map --loss kl --epochs 300 --lr .02 --hold-out 0");
    ck_assert_double_lt(number(o, "loss"), 0.02);
    ck_assert_double_lt(number(o, "sliced_w2"), number(o, "sliced_w2_before") / 4);
    ck_assert_double_eq(number(cJSON_GetObjectItem(o, "recipe"), "batch"), 4096);
    cJSON_Delete(o);
}
END_TEST

START_TEST(points_are_met_by_sinkhorn) {
    make_inputs();
    cJSON *o = json_within(
        folder, "fit -s normal:2 -t y.npy -o map --samples 600 --batch 200 --epochs 40 --lr .02 --blur .2 --seed 3");
    ck_assert_str_eq(text(cJSON_GetObjectItem(o, "recipe"), "loss"), "sinkhorn");
    ck_assert_double_eq(number(cJSON_GetObjectItem(o, "recipe"), "blur"), 0.2);
    ck_assert_double_lt(number(o, "sliced_w2"), number(o, "sliced_w2_before") / 2);
    ck_assert_double_lt(number(o, "heldout_loss"), 1);
    cJSON_Delete(o);
}
END_TEST

START_TEST(the_same_seed_gives_the_same_file) {
    make_inputs();
    static const char *const names[] = {"a", "b", "c"};
    for (int k = 0; k < 3; k++) {
        char command[256];
        snprintf(command, sizeof command,
                 "fit -s banana -t normal:2 --samples 500 --epochs 3 -o %s --seed %d --threads %d", names[k],
                 k == 2 ? 8 : 7, k + 1);
        cJSON_Delete(json_within(folder, command));
    }
    size_t sizes[3];
    char *bytes[3];
    for (int k = 0; k < 3; k++) bytes[k] = mgn_test_read_file(in_folder(names[k]), &sizes[k]);
    ck_assert(sizes[0] == sizes[1] && memcmp(bytes[0], bytes[1], sizes[0]) == 0);
    ck_assert(sizes[0] != sizes[2] || memcmp(bytes[0], bytes[2], sizes[0]) != 0);
    for (int k = 0; k < 3; k++) free(bytes[k]);
}
END_TEST

START_TEST(an_interruption_keeps_what_was_learned) {
    make_inputs();
    mgn_test_process process =
        mgn_test_shell("cd %s && timeout -s INT 1 \"$MGN_BINARY\" fit -s " GAUSSIAN
                       " -t normal:2 -o map --epochs 100000000 --device cpu --schedule constant --json -q",
                       folder);
    /* timeout itself exits with 124 */
    ck_assert_msg(process.code == 124 || process.code == 1, "exit code %d: %s", process.code, process.err);
    ck_assert_msg(strstr(process.err, "map holds what was learned until then"), "%s", process.err);
    cJSON *o = cJSON_Parse(process.out);
    ck_assert_msg(cJSON_IsTrue(cJSON_GetObjectItem(o, "stopped")), "%s", process.out);
    ck_assert_double_gt(number(cJSON_GetObjectItem(o, "recipe"), "steps"), 0);
    ck_assert_double_lt(number(o, "heldout_loss"), 3); /* what was learned is measured as ever */
    ck_assert_double_lt(number(o, "sliced_w2"), number(o, "sliced_w2_before") / 2);
    cJSON_Delete(o);
    mgn_test_process_free(&process);
    o = json_within(folder, "eval map --data " GAUSSIAN);
    ck_assert_double_gt(number(o, "log_likelihood"), -3);
    cJSON_Delete(o);
}
END_TEST

/* log det J is for Jacobians that are positive definite whatever the parameters are. */
START_TEST(a_density_is_for_monotone_models) {
    make_inputs();
    cJSON *o = json_within(folder, "fit -s " GAUSSIAN " -t normal:2 -o map --model icgn --epochs 10 --samples 1000");
    ck_assert_double_eq(number(o, "layers"), 1);
    ck_assert_str_eq(text(cJSON_GetObjectItem(o, "recipe"), "loss"), "nll");
    ck_assert_double_lt(number(o, "heldout_loss"), 10);
    cJSON_Delete(o);
    o = json_within(folder,
                    "fit -s " GAUSSIAN " -t normal:2 -o map --model mgradnet --signed --epochs 2 --samples 300");
    ck_assert_str_eq(text(cJSON_GetObjectItem(o, "recipe"), "loss"), "sinkhorn");
    cJSON_Delete(o);
}
END_TEST

START_TEST(rows_are_pictures_where_they_are_called_so) {
    make_inputs();
    cJSON *o = json_within(folder,
                           "fit -s x.npy -t y.npy --paired -o map --model conv-cmgn --shape 1x2 --kernel 2 --padding 1 "
                           "--width 4 --epochs 40 --lr .02");
    ck_assert_str_eq(text(o, "model"), "conv-cmgn");
    ck_assert_double_eq(number(o, "parameters"), 4 * 4 + 2 * 4 + 4 + 1);
    ck_assert_double_lt(number(o, "heldout_loss"), 0.5);
    cJSON_Delete(o);
    o = json_within(folder, "eval map --data x.npy");
    ck_assert_double_ge(number(o, "jacobian_min"), -1e-6);
    cJSON_Delete(o);
}
END_TEST

/* A table of its own, and a stop that keeps the best. */
START_TEST(rows_of_a_file_are_held_out) {
    make_inputs();
    cJSON *o = json_within(folder, "fit -s x.npy -t y.npy --paired -o a --hold-out 0 --epochs 3");
    ck_assert_double_eq(number(cJSON_GetObjectItem(o, "recipe"), "holdout"), 0);
    cJSON_Delete(o);
    o = json_within(
        folder, "fit -s x.npy -t normal:2 -o a --hold-out y.npy --epochs 400 --lr .2 --schedule constant --patience 3");
    ck_assert_double_eq(number(cJSON_GetObjectItem(o, "recipe"), "holdout"), N);
    ck_assert_double_eq(number(cJSON_GetObjectItem(o, "recipe"), "rows"), N);
    ck_assert_double_eq(number(o, "epochs"), number(o, "best_epoch") + 3);
    ck_assert_double_lt(number(o, "epochs"), 400);
    cJSON_Delete(o);
}
END_TEST

#define FIT "fit -s x.npy -t normal:2 -o map "

static const refusal refusals[] = {
    {"fit", 2, "--source is missing"},
    {"fit -s x.npy -o map", 2, "--target is missing"},
    {"fit -s x.npy -t normal:2", 2, "-o is missing"},
    {"fit x.npy -s x.npy -t normal:2 -o map", 2, "'x.npy' is one argument too many"},
    {"fit -s none.npy -t normal:2 -o map", 1, "none.npy does not exist"},
    {"fit -s x.npy -t normal:3 -o map", 2, "normal:3 has 3 dimensions, but x.npy has 2"},
    {"fit -s x.npy -t y.npy -o x.npy", 2, "x.npy would be written over"},
    {"fit -s x.npy -t y.npy -o nowhere/map", 1, "nowhere"},
    {FIT "--model cmgm", 2, "--model: 'cmgm' is not one of|did you mean 'cmgn'?"},
    {FIT "--model conv-cmgn", 2, "--shape is missing: x.npy does not say"},
    {FIT "--model conv-cmgn --shape 2by1", 2, "--shape: a picture's shape is its height x width x channels"},
    {FIT "--model conv-cmgn --shape 2", 2, "--shape: a picture's shape"},
    {FIT "--model conv-cmgn --shape 3x1", 2, "3 x 1 x 1 and d=2 found"},
    {FIT "--model conv-cmgn --shape 1x2 --kernel 4 --padding 1", 2, "kernel 4,"},
    {FIT "--shape 1x2", 2, "cmgn does not look at rows as pictures"},
    {FIT "--kernel 3", 2, "cmgn does not look at rows as pictures"},
    {FIT "--optimizer adamm", 2, "did you mean 'adam'?"},
    {FIT "--loss mze", 2, "did you mean 'mse'?"},
    {FIT "--loss mse", 2, "--loss mse compares row by row; with --paired"},
    {FIT "--loss nll --paired", 2, "--paired is for the losses mse and l1"},
    {FIT "--paired", 2, "x.npy has 400 and normal:2 has 0"},
    {"fit -s x.npy -t same.npy --paired -o map", 2, "x.npy has 400 and same.npy has 4"},
    {"fit -s wide.npy -t normal:3 -o map --hold-out .5", 2, "at least 2 rows to learn from"},
    {"fit -s x.npy -t same.npy -o map --loss kl", 2, "singular"},
    {FIT "--loss monge-ampere", 2, "x.npy"},
    {FIT "--loss mixture-kl --activation relu", 2, "--activation: 'relu'"},
    {FIT "--model mmgn --activation softplus", 2, "softplus"},
    {FIT "--model cmgn --signed", 2, "cmgn"},
    {FIT "--loss semidual --optimizer lbfgs", 2, "first order"},
    {FIT "--loss semidual --model cmgn", 2, "needs a convex potential in closed form"},
    {FIT "--model icgn --layers 2 --loss nll", 2, "with several layers need not be positive definite"},
    {FIT "--model cgradnet --signed --loss nll", 2, "leave --signed out"},
    {FIT "--layers 300", 2, "--layers: '300'"},
    {FIT "--epochs 0", 2, "--epochs: '0'"},
    {FIT "--lr -1", 2, "--lr: '-1'"},
    {FIT "--schedule linear", 2, "--schedule: 'linear' is not one of"},
    {FIT "--optimizer lbfgs --batch 10", 2, "--batch: lbfgs takes all rows"},
    {FIT "--hold-out 1.5", 2, "--hold-out"},
    {FIT "--hold-out none.npy", 1, "none.npy does not exist"},
    {FIT "--hold-out wide.npy", 2, "a file of 2 columns was expected; wide.npy has 3"},
    {FIT "--patience 0", 2, "--patience: '0'"},
    {FIT "--log curve.txt --epochs 1", 2, "ends in .csv or .jsonl"},
    {FIT "--checkpoint x.npy", 2, "x.npy would be written over"},
    {FIT "--checkpoint map", 2, "map would be written over"},
    {FIT "--checkpoint nowhere/state", 1, "nowhere"},
    {FIT "--checkpoint-every 5", 2, "--checkpoint is missing"},
    {FIT "--checkpoint state --checkpoint-every soon", 2, "--checkpoint-every: 'soon'"},
    {FIT "--checkpoint state --restarts 2", 2, "a directory was expected, as in state/"},
    {FIT "--resume state", 1, "state does not exist"},
    {FIT "--resume x.npy", 2, "x.npy would be written over"},
    {FIT "--resume y.npy", 1, "y.npy"},
    {FIT "--loss semidual --patience 3", 1, "knows no patience"},
    {FIT "--lr 1e6 --epochs 20", 1, "grew from|after 5 rollbacks"},
    {FIT "--device abacus", 2, "abacus"},
    {FIT "--optimizer sgd --lr 1e6 --epochs 50", 1, "diverged"},
    {FIT "--loss sinkhorn --blur 1e-9 --epochs 2", 1, "a larger blur than 1e-09"},
    {FIT "--optimizer sgd --lr 1e6 --epochs 50 --restarts 2", 1, "diverged"},
};

START_TEST(bad_input_is_refused) {
    make_inputs();
    for (size_t i = 0; i < MGN_COUNT(refusals); i++) check_refusal(folder, &refusals[i]);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("cli_fit");
    TCase *good = tcase_create("good input"), *bad = tcase_create("bad input");
    tcase_add_test(good, gaussian_to_gaussian_is_found);
    tcase_add_test(good, units_and_place_change_nothing);
    tcase_add_test(good, pairs_are_learned_to_the_end);
    tcase_add_test(good, points_without_a_density_are_matched);
    tcase_add_test(good, points_are_met_by_sinkhorn);
    tcase_add_test(good, the_same_seed_gives_the_same_file);
    tcase_add_test(good, an_interruption_keeps_what_was_learned);
    tcase_add_test(good, a_density_is_for_monotone_models);
    tcase_add_test(good, rows_of_a_file_are_held_out);
    tcase_add_test(bad, bad_input_is_refused);
    tcase_add_test(bad, rows_are_pictures_where_they_are_called_so);
    suite_add_tcase(suite, good);
    suite_add_tcase(suite, bad);
    return mgn_test_main(suite);
}
