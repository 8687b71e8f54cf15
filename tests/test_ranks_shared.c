/* What several processes compute together besides trainings, played by threads: the same bits whatever their number, close to
 * what one computes by other plans, and one sentence for all where one fails. */
#include "harness.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <mgn/mixture.h>
#include <mgn/sinkhorn.h>

#include "core/core.h"
#include "team.h"

enum { MOST_POINTS = 300, MOST_NUMBERS = 6000 };

static const int sizes[] = {2, 3, 4, 8};

/* ---- Sinkhorn ---- */

typedef struct cloud_task {
    mgn_test_member member;
    mgn_comm *comm; /* NULL: alone */
    int64_t n, m, d, blocks;
    const float *x, *a, *y, *b;
    mgn_sinkhorn_config config;
    mgn_sinkhorn_result result;
    mgn_status status;
    char sentence[256];
    float gradient[MOST_NUMBERS];
} cloud_task;

static void *compare(void *context) {
    cloud_task *t = context;
    mgn_device *device = NULL;
    t->status = mgn_device_open("cpu", &device);
    if (t->status == MGN_OK)
        t->status = t->blocks ? mgn_sinkhorn_shared(device, t->comm, t->blocks, t->x, t->a, t->n, t->y, t->b, t->m,
                                                    t->d, &t->config, &t->result, t->gradient)
                              : mgn_sinkhorn(device, t->x, t->a, t->n, t->y, t->b, t->m, t->d, &t->config, &t->result,
                                             t->gradient);
    if (t->status != MGN_OK) snprintf(t->sentence, sizeof t->sentence, "%s", mgn_last_error());
    if (device) mgn_device_close(device);
    return NULL;
}

static cloud_task *compare_all(const cloud_task *alone, int size) {
    cloud_task *tasks = calloc((size_t)size, sizeof *tasks);
    mgn_test_member *members[MGN_TEST_MOST_RANKS];
    ck_assert_ptr_nonnull(tasks);
    for (int r = 0; r < size; r++) {
        tasks[r] = *alone;
        tasks[r].comm = &tasks[r].member.comm;
        memset(tasks[r].gradient, 0, sizeof tasks[r].gradient);
        members[r] = &tasks[r].member;
    }
    mgn_test_team_run(members, size, compare, tasks, sizeof *tasks);
    return tasks;
}

static float x[MOST_NUMBERS], y[MOST_NUMBERS], a[MOST_POINTS], b[MOST_POINTS];

static void draw(int64_t n, int64_t m, int64_t d) {
    mgn_test_random random = mgn_test_random_named("clouds");
    ck_assert(n * d <= MOST_NUMBERS && m * d <= MOST_NUMBERS && MGN_MAX(n, m) <= MOST_POINTS);
    for (int64_t i = 0; i < n * d; i++) x[i] = (float)mgn_test_normal(&random);
    for (int64_t i = 0; i < m * d; i++) y[i] = (float)(0.5 + mgn_test_normal(&random));
    for (int64_t i = 0; i < n; i++) a[i] = i % 7 ? (float)mgn_test_uniform(&random, 0, 1) : 0;
    for (int64_t i = 0; i < m; i++) b[i] = (float)mgn_test_uniform(&random, 0, 1);
}

static void normalise(float *weights, int64_t n) {
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += (double)weights[i];
    for (int64_t i = 0; i < n; i++) weights[i] = (float)((double)weights[i] / sum);
}

static double worst(const float *first, const float *second, int64_t count) {
    double most = 0;
    for (int64_t i = 0; i < count; i++) most = fmax(most, fabs((double)first[i] - (double)second[i]));
    return most;
}

/* Clouds whose blocks are whole, have a rest, or are empty; streamed, and with costs that are kept. The figures beside are those
 * of one plan, up to the rounding of single precision, for which weights of about 1 / n are small. */
START_TEST(clouds_do_not_depend_on_ranks) {
    static const struct {
        int64_t n, m, d, blocks;
        bool weighted;
        double reach;
    } rows[] = {{256, 128, 2, 16, false, 0}, {201, 77, 3, 8, true, 0},  {300, 45, 3, 8, false, 1},
                {5, 300, 2, 16, true, 0},    {90, 121, 20, 8, true, 0}, {100, 64, 17, 8, false, 3}};
    for (size_t i = 0; i < MGN_COUNT(rows); i++) {
        const int64_t n = rows[i].n, m = rows[i].m, d = rows[i].d;
        draw(n, m, d);
        normalise(a, n);
        normalise(b, m);
        cloud_task *plain = calloc(2, sizeof *plain), *alone = plain + 1;
        ck_assert_ptr_nonnull(plain);
        *plain = (cloud_task){.n = n, .m = m, .d = d, .x = x, .y = y, .config = {.blur = 0.2, .reach = rows[i].reach}};
        if (rows[i].weighted) plain->a = a, plain->b = b;
        *alone = *plain;
        alone->blocks = rows[i].blocks;
        compare(plain);
        compare(alone);
        ck_assert_msg(plain->status == MGN_OK && alone->status == MGN_OK, "%s%s", plain->sentence, alone->sentence);
        ck_assert_double_eq_tol(alone->result.value, plain->result.value, 1e-5 * fmax(1, plain->result.value));
        ck_assert_int_eq(alone->result.iterations, plain->result.iterations);
        ck_assert_double_le(worst(alone->gradient, plain->gradient, n * d), 1e-5);
        ck_assert_double_ge(worst(alone->gradient, plain->gradient + 1, n * d - 1),
                            1e-4); /* they are larger than that */
        for (size_t k = 0; k < MGN_COUNT(sizes); k++) {
            cloud_task *tasks = compare_all(alone, sizes[k]);
            for (int r = 0; r < sizes[k]; r++) {
                ck_assert_msg(tasks[r].status == MGN_OK, "%s", tasks[r].sentence);
                ck_assert_msg(tasks[r].result.value == alone->result.value &&
                                  memcmp(tasks[r].gradient, alone->gradient, sizeof alone->gradient) == 0,
                              "clouds %d, %d ranks: %.17g, and %.17g of one", (int)i, sizes[k], tasks[r].result.value,
                              alone->result.value);
            }
            free(tasks);
        }
        free(plain);
    }
}
END_TEST

static void assert_all_fail(const cloud_task *one, const cloud_task *other, mgn_status status, const char *words) {
    cloud_task *tasks = calloc(3, sizeof *tasks);
    mgn_test_member *members[3];
    ck_assert_ptr_nonnull(tasks);
    for (int r = 0; r < 3; r++) {
        tasks[r] = r == 1 ? *other : *one;
        tasks[r].comm = &tasks[r].member.comm;
        members[r] = &tasks[r].member;
    }
    mgn_test_team_run(members, 3, compare, tasks, sizeof *tasks);
    for (int r = 0; r < 3; r++)
        ck_assert_msg(tasks[r].status == status && strstr(tasks[r].sentence, words), "rank %d: status %d, %s", r,
                      (int)tasks[r].status, tasks[r].sentence);
    free(tasks);
}

START_TEST(clouds_that_differ_are_refused) {
    static float other[2 * 64];
    static cloud_task one, second;
    draw(64, 64, 2);
    memcpy(other, x, sizeof other);
    other[17] += 1;
    one = (cloud_task){.n = 64, .m = 64, .d = 2, .blocks = 8, .x = x, .y = y};
    second = one;
    second.x = other;
    assert_all_fail(&one, &second, MGN_ERR_ARGUMENT, "rank 1 of 3: the points or the options are not those of rank 0");
    other[17] = INFINITY;
    assert_all_fail(&one, &second, MGN_ERR_NUMERIC,
                    "rank 1 of 3: sinkhorn: the first cloud holds inf in row 8, column 1");
    one.blocks = 6;
    assert_all_fail(&one, &one, MGN_ERR_ARGUMENT, "power of two");
    one.blocks = 2;
    assert_all_fail(&one, &one, MGN_ERR_ARGUMENT, "2 blocks are too few for 3 processes");
}
END_TEST

/* ---- mixtures ---- */

typedef struct mixture_task {
    mgn_test_member member;
    mgn_mixture_fit_config config;
    const float *rows;
    int64_t n, k, stop_after; /* the report says stop after so many passes; 0: never */
    int64_t passes;
    mgn_mixture mixture;
    mgn_mixture_fit_result result;
    mgn_status status;
    char sentence[256];
} mixture_task;

static bool count_pass(void *context, int64_t k, int64_t pass, double log_likelihood) {
    mixture_task *t = context;
    (void)k, (void)pass, (void)log_likelihood;
    return ++t->passes != t->stop_after;
}

static void *fit(void *context) {
    mixture_task *t = context;
    mgn_device *device = NULL;
    t->config.report = count_pass;
    t->config.context = t;
    t->status = mgn_device_open("cpu", &device);
    if (t->status == MGN_OK)
        t->status = mgn_mixture_fit(device, t->rows, t->n, 2, t->k, &t->config, &t->mixture, &t->result);
    if (t->status != MGN_OK) snprintf(t->sentence, sizeof t->sentence, "%s", mgn_last_error());
    if (device) mgn_device_close(device);
    return NULL;
}

static mixture_task *make_fits(const mixture_task *one, int size) {
    mixture_task *tasks = calloc((size_t)size, sizeof *tasks);
    ck_assert_ptr_nonnull(tasks);
    for (int r = 0; r < size; r++) tasks[r] = *one;
    return tasks;
}

static void fit_all(mixture_task *tasks, int size) {
    mgn_test_member *members[MGN_TEST_MOST_RANKS];
    for (int r = 0; r < size; r++) {
        tasks[r].config.comm = &tasks[r].member.comm;
        members[r] = &tasks[r].member;
    }
    mgn_test_team_run(members, size, fit, tasks, sizeof *tasks);
}

/* n rows (n, 2) round three places. */
static float *draw_rows(int64_t n) {
    mgn_test_random random = mgn_test_random_named("rows");
    float *rows = calloc((size_t)n, 2 * sizeof *rows);
    ck_assert_ptr_nonnull(rows);
    for (int64_t i = 0; i < n; i++) {
        rows[2 * i] = (float)(4.0 * (double)(i % 3) + mgn_test_normal(&random));
        rows[2 * i + 1] = (float)(3.0 * (double)(i % 3 == 1) + 0.5 * mgn_test_normal(&random));
    }
    return rows;
}

static void assert_mixtures(const mixture_task *one, const mixture_task *other, int size) {
    ck_assert_msg(other->status == MGN_OK, "%d ranks: %s", size, other->sentence);
    ck_assert_int_eq(one->result.k, other->result.k);
    ck_assert_int_eq(one->result.passes, other->result.passes);
    ck_assert_msg(one->result.log_likelihood == other->result.log_likelihood, "%d ranks: %.17g, not %.17g", size,
                  other->result.log_likelihood, one->result.log_likelihood);
    const size_t k = (size_t)one->result.k;
    ck_assert(memcmp(one->mixture.weights, other->mixture.weights, k * sizeof(double)) == 0);
    ck_assert(memcmp(one->mixture.means, other->mixture.means, 2 * k * sizeof(double)) == 0);
    ck_assert(memcmp(one->mixture.covariances, other->mixture.covariances, 4 * k * sizeof(double)) == 0);
}

/* Blocks of one piece, the last of them shorter or empty; and of several. More components than there are places collapse. */
START_TEST(mixtures_do_not_depend_on_ranks) {
    static const struct { int64_t n, k, blocks; } cases[] = {{1000, 3, 8}, {17, 2, 16}, {40, 8, 8}, {40000, 3, 2}};
    const int most[] = {8, 8, 8, 2};
    for (size_t i = 0; i < MGN_COUNT(cases); i++) {
        float *rows = draw_rows(cases[i].n);
        const mixture_task one = {.config = {.blocks = cases[i].blocks, .passes = 10, .starts = 2},
                                  .rows = rows,
                                  .n = cases[i].n,
                                  .k = cases[i].k};
        mixture_task *alone = make_fits(&one, 2), *plain = alone + 1;
        plain->config.blocks = 0;
        fit(alone);
        fit(plain);
        ck_assert_msg(alone->status == MGN_OK, "%s", alone->sentence);
        if (cases[i].k == 3) ck_assert_double_eq_tol(alone->result.log_likelihood, plain->result.log_likelihood, 1e-4);
        for (size_t s = 0; s < MGN_COUNT(sizes) && sizes[s] <= most[i]; s++) {
            mixture_task *tasks = make_fits(&one, sizes[s]);
            fit_all(tasks, sizes[s]);
            for (int r = 0; r < sizes[s]; r++) {
                assert_mixtures(alone, &tasks[r], sizes[s]);
                mgn_mixture_free(&tasks[r].mixture);
            }
            free(tasks);
        }
        mgn_mixture_free(&alone->mixture);
        mgn_mixture_free(&plain->mixture);
        free(alone);
        free(rows);
    }
}
END_TEST

static void assert_no_fit(mixture_task *tasks, int size, mgn_status status, const char *words) {
    fit_all(tasks, size);
    for (int r = 0; r < size; r++) {
        ck_assert_msg(tasks[r].status == status && strstr(tasks[r].sentence, words), "rank %d: status %d, %s", r,
                      (int)tasks[r].status, tasks[r].sentence);
        ck_assert_ptr_null(tasks[r].mixture.weights);
    }
    free(tasks);
}

START_TEST(one_fit_ends_all) {
    float *rows = draw_rows(600);
    const mixture_task one = {.config = {.blocks = 8, .tolerance = 1e-12}, .rows = rows, .n = 600, .k = 3};
    mixture_task *tasks = make_fits(&one, 3);
    tasks[2].stop_after = 4;
    assert_no_fit(tasks, 3, MGN_ERR_INTERRUPTED, "the fit of a mixture was stopped");
    tasks = make_fits(&one, 3);
    tasks[1].rows = rows + 1;
    tasks[1].n = 599;
    assert_no_fit(tasks, 3, MGN_ERR_ARGUMENT, "rank 1 of 3: the rows or the options are not those of rank 0");
    tasks = make_fits(&one, 3);
    for (int r = 0; r < 3; r++) tasks[r].config.blocks = 0;
    assert_no_fit(tasks, 3, MGN_ERR_ARGUMENT, "a number of blocks that is a power of two");
    free(rows);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("ranks_shared");
    TCase *all = tcase_create("all");
    tcase_add_test(all, clouds_do_not_depend_on_ranks);
    tcase_add_test(all, clouds_that_differ_are_refused);
    tcase_add_test(all, mixtures_do_not_depend_on_ranks);
    tcase_add_test(all, one_fit_ends_all);
    tcase_set_timeout(all, 60);
    suite_add_tcase(suite, all);
    return mgn_test_main(suite);
}
