/* A map that several processes (threads here) ask together: each answers some chunks of rows, all get all answers, and these are
 * the bits of one process; a row without an inverse, or a failure on one of them, is the same for all. */
#include "harness.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <mgn/evaluate.h>
#include <mgn/model.h>

#include "core/core.h"
#include "team.h"

/* Of the map's own chunks (65536, 4096) three each, the last not whole. */
enum { ROWS = 140000, FEW = 9000, MOST_RANKS = 4 };

static float x[2 * ROWS];

typedef struct answers {
    float y[2 * ROWS], back[2 * FEW];
    double jacobian[4 * FEW], potential[FEW], logdet[FEW], residual[FEW];
    mgn_jacobian_stats stats;
} answers;

typedef struct task {
    mgn_test_member member;
    bool is_shared, is_broken; /* is_broken: its own rows have a value that is not finite */
    const mgn_model *model;
    answers found;
    float nowhere[2 * FEW];
    mgn_status status, no_inverse;
    char sentence[256], no_inverse_sentence[256];
} task;

static mgn_status ask(task *t, mgn_map *map) {
    answers *a = &t->found;
    float *rows = calloc(2 * FEW, sizeof *rows);
    ck_assert_ptr_nonnull(rows);
    memcpy(rows, x, 2 * FEW * sizeof *rows);
    for (int i = 0; t->is_broken && i < 2 * FEW; i++) rows[i] = NAN;
    mgn_status status = mgn_map_apply(map, x, ROWS, a->y);
    if (status == MGN_OK) status = mgn_map_jacobian(map, x, FEW, a->jacobian);
    if (status == MGN_OK) status = mgn_map_potential(map, x, FEW, a->potential);
    if (status == MGN_OK) status = mgn_map_logdet(map, x, FEW, a->logdet);
    if (status == MGN_OK) status = mgn_map_inverse(map, a->y, FEW, 1e-9, a->back, a->residual);
    rows[2 * 8500] += 1e9F; /* nothing is mapped so far out */
    t->no_inverse = mgn_map_inverse(map, rows, FEW, 1e-9, t->nowhere, NULL);
    snprintf(t->no_inverse_sentence, sizeof t->no_inverse_sentence, "%s", mgn_last_error());
    rows[2 * 8500] -= 1e9F;
    if (status == MGN_OK) status = mgn_map_jacobian_stats(map, rows, FEW, &a->stats);
    if (status != MGN_OK) snprintf(t->sentence, sizeof t->sentence, "%s", mgn_last_error());
    free(rows);
    return status;
}

static void *run(void *context) {
    task *t = context;
    mgn_device *device = NULL;
    mgn_map *map = NULL;
    t->status = mgn_device_open("cpu", &device);
    if (t->status == MGN_OK) t->status = mgn_map_create(t->model, device, MGN_F64, &map);
    if (t->is_shared) mgn_map_share(map, &t->member.comm);
    if (t->status == MGN_OK) t->status = ask(t, map);
    mgn_map_destroy(map);
    if (device) mgn_device_close(device);
    return NULL;
}

static task *make_tasks(int size, const mgn_model *model) {
    task *tasks = calloc((size_t)size, sizeof *tasks);
    ck_assert_ptr_nonnull(tasks);
    for (int r = 0; r < size; r++) {
        tasks[r].model = model;
        tasks[r].is_shared = size > 1;
    }
    return tasks;
}

static void run_all(task *tasks, int size) {
    mgn_test_member *members[MOST_RANKS];
    for (int r = 0; r < size; r++) members[r] = &tasks[r].member;
    mgn_test_team_run(members, size, run, tasks, sizeof *tasks);
}

static mgn_model *make_model(void) {
    mgn_test_random random = mgn_test_random_named("rows");
    mgn_model *model = NULL;
    for (int i = 0; i < 2 * ROWS; i++) x[i] = (float)mgn_test_normal(&random);
    /* a bounded map: far points have no inverse */
    MGN_ASSERT_OK(mgn_model_create(&(mgn_model_config){.kind = "mmgn", .d = 2, .h = 3, .layers = 2}, 3, &model));
    return model;
}

START_TEST(answers_are_those_of_one_process) {
    mgn_model *model = make_model();
    task *alone = make_tasks(1, model);
    run(alone);
    ck_assert_msg(alone->status == MGN_OK, "%s", alone->sentence);
    for (int size = 2; size <= MOST_RANKS; size++) {
        task *tasks = make_tasks(size, model);
        run_all(tasks, size);
        for (int r = 0; r < size; r++) {
            ck_assert_msg(tasks[r].status == MGN_OK, "rank %d of %d: %s", r, size, tasks[r].sentence);
            ck_assert_msg(memcmp(&tasks[r].found, &alone->found, sizeof alone->found) == 0,
                          "rank %d of %d has other bits", r, size);
            ck_assert_int_eq(tasks[r].no_inverse, alone->no_inverse);
            ck_assert_str_eq(tasks[r].no_inverse_sentence, alone->no_inverse_sentence);
        }
        free(tasks);
    }
    free(alone);
    mgn_model_destroy(model);
}
END_TEST

/* Rank 2 looks at other rows than it should, and finds them bad. */
START_TEST(a_failure_is_everybodys) {
    mgn_model *model = make_model();
    task *tasks = make_tasks(3, model);
    tasks[2].is_broken = true;
    run_all(tasks, 3);
    for (int r = 0; r < 3; r++)
        ck_assert_msg(tasks[r].status == MGN_ERR_NUMERIC &&
                          strstr(tasks[r].sentence, "rank 2 of 3: the Jacobian in row"),
                      "rank %d: %d %s", r, (int)tasks[r].status, tasks[r].sentence);
    free(tasks);
    mgn_model_destroy(model);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("shared_map");
    TCase *all = tcase_create("all");
    tcase_add_test(all, answers_are_those_of_one_process);
    tcase_add_test(all, a_failure_is_everybodys);
    tcase_set_timeout(all, 100);
    suite_add_tcase(suite, all);
    return mgn_test_main(suite);
}
