/* Mixtures: files, and fits that recover what rows were drawn from, never lose likelihood, mend collapsed components and
 * do not depend on threads or devices. */
#include "graph_kit.h"

#include <mgn/data.h>
#include <mgn/ot.h>
#include <mgn/target.h>

enum { ROWS = 20000 };

static void fill(mgn_mixture *m, const double *weights, const double *means, const double *covariances) {
    const size_t k = (size_t)m->k, d = (size_t)m->d;
    memcpy(m->weights, weights, k * sizeof(double));
    memcpy(m->means, means, k * d * sizeof(double));
    memcpy(m->covariances, covariances, k * d * d * sizeof(double));
}

/* Three components of the plane, heaviest first, one of them thin. */
static mgn_mixture truth(void) {
    static const double weights[] = {.5, .3, .2}, means[] = {0, 0, 4, 1, -1, 5};
    static const double covariances[] = {1, .5, .5, 1, .25, 0, 0, .5, 1, -.09, -.09, .01};
    mgn_mixture m = {0};
    MGN_ASSERT_OK(mgn_mixture_create(3, 2, &m));
    fill(&m, weights, means, covariances);
    return m;
}

static float *samples(const mgn_mixture *m, int64_t n, uint64_t seed) {
    mgn_target *target = NULL;
    float *rows = calloc((size_t)(n * m->d), sizeof *rows);
    MGN_ASSERT_OK(mgn_target_create_mixture(m, &target));
    MGN_ASSERT_OK(mgn_target_sample(target, n, seed, rows));
    mgn_target_destroy(target);
    return rows;
}

/* Mean log-likelihood by the textbook, in double. */
static double likelihood(const mgn_mixture *m, const float *rows, int64_t n) {
    double *out = calloc((size_t)n, sizeof *out), sum = 0;
    MGN_ASSERT_OK(mgn_mixture_log_density(m, rows, n, out));
    for (int64_t i = 0; i < n; i++) sum += out[i];
    free(out);
    return sum / (double)n;
}

static void assert_same(const mgn_mixture *a, const mgn_mixture *b, double tolerance) {
    ck_assert_int_eq(a->k, b->k);
    for (int64_t i = 0; i < a->k; i++) ASSERT_CLOSE(a->weights[i], b->weights[i], tolerance);
    for (int64_t i = 0; i < a->k * a->d; i++) ASSERT_CLOSE(a->means[i], b->means[i], tolerance);
    for (int64_t i = 0; i < a->k * a->d * a->d; i++) ASSERT_CLOSE(a->covariances[i], b->covariances[i], tolerance);
}

/* ---- data ---- */

START_TEST(test_files_keep_every_bit) {
    mgn_mixture m = truth();
    m.weights[0] = 1.0 / 3;
    m.weights[1] = 1 - m.weights[0] - m.weights[2];
    const char *const paths[] = {mgn_test_path("m.json"), mgn_test_path("m.safetensors")};
    for (size_t i = 0; i < MGN_COUNT(paths); i++) {
        mgn_mixture back = {0};
        MGN_ASSERT_OK(mgn_mixture_save(&m, paths[i]));
        MGN_ASSERT_OK(mgn_mixture_load(paths[i], &back));
        assert_same(&m, &back, 1e-16);
        mgn_mixture_free(&back);
    }
    MGN_ASSERT_FAILS(mgn_mixture_save(&m, mgn_test_path("m.txt")), MGN_ERR_ARGUMENT, ".json or .safetensors");
    mgn_mixture_free(&m);
}
END_TEST

START_TEST(test_bad_files_are_told_in_a_sentence) {
    static const struct {
        const char *text;
        mgn_status status;
        const char *sentence;
    } bad[] = {
        {"hello", MGN_ERR_FORMAT, "neither JSON nor safetensors"},
        {"[1, 2]", MGN_ERR_FORMAT, "were expected"},
        {"{}", MGN_ERR_FORMAT, "\"means\" (k, d) were expected"},
        {"{\"weights\": [1], \"means\": [[0]]}", MGN_ERR_FORMAT, "\"covariances\" should have"},
        {"{\"weights\": [1], \"means\": [[0]], \"covariances\": [[[\"x\"]]]}", MGN_ERR_FORMAT,
         "numbers of these shapes"},
        {"{\"weights\": [1], \"means\": [[0, 1]], \"covariances\": [[[1, 0], [0]]]}", MGN_ERR_FORMAT,
         "of these shapes"},
        {"{\"weights\": [1, 1], \"means\": [[0], [1, 2]], \"covariances\": [[[1]], [[1]]]}", MGN_ERR_FORMAT,
         "of these shapes"},
        {"{\"weights\": [-1], \"means\": [[0]], \"covariances\": [[[1]]]}", MGN_ERR_FORMAT, "weight 0"},
        {"{\"weights\": [1e999], \"means\": [[0]], \"covariances\": [[[1]]]}", MGN_ERR_FORMAT, "finite"},
        {"{\"weights\": [1], \"means\": [[0]], \"covariances\": [[[-1]]]}", MGN_ERR_NUMERIC, "component 0"},
    };
    const char *path = mgn_test_path("bad.json");
    for (size_t i = 0; i < MGN_COUNT(bad); i++) {
        mgn_mixture m = {0};
        mgn_test_write_file(path, bad[i].text, strlen(bad[i].text));
        MGN_ASSERT_FAILS(mgn_mixture_load(path, &m), bad[i].status, bad[i].sentence);
        ck_assert_ptr_null(m.weights);
    }
    mgn_safetensors file = {0};
    mgn_mixture m = {0};
    MGN_ASSERT_OK(mgn_safetensors_add(&file, "means", MGN_F64, MGN_SHAPE(2, 1), (double[]){0, 1}));
    MGN_ASSERT_OK(mgn_safetensors_add(&file, "covariances", MGN_F64, MGN_SHAPE(2, 1, 1), (double[]){1, 1}));
    MGN_ASSERT_OK(mgn_safetensors_write(path, &file));
    MGN_ASSERT_FAILS(mgn_mixture_load(path, &m), MGN_ERR_FORMAT, "'weights'");
    mgn_safetensors_free(&file);
}
END_TEST

START_TEST(test_moments_are_those_of_the_whole) {
    mgn_mixture m = truth();
    double mean[2], covariance[4];
    mgn_mixture_moments(&m, mean, covariance);
    ASSERT_CLOSE(mean[0], .3 * 4 - .2, 1e-15);
    ASSERT_CLOSE(mean[1], .3 + .2 * 5, 1e-15);
    ASSERT_CLOSE(covariance[0], .5 + .3 * (.25 + 16) + .2 * (1 + 1) - 1, 1e-14);
    ASSERT_CLOSE(covariance[1], .25 + .3 * 4 + .2 * (-.09 - 5) - 1.3, 1e-14);
    mgn_mixture_free(&m);
}
END_TEST

/* ---- fits ---- */

START_TEST(test_a_known_mixture_is_recovered) {
    DEVICE_OR_SKIP(device);
    mgn_mixture m = truth(), found = {0};
    float *rows = samples(&m, ROWS, 1);
    mgn_mixture_fit_result result;
    MGN_ASSERT_OK(mgn_mixture_fit(device, rows, ROWS, 2, 3, NULL, &found, &result));
    ck_assert(result.converged);
    ck_assert_int_eq(result.reseeded + result.dropped, 0);
    assert_same(&found, &m, .05);
    const double exact = likelihood(&found, rows, ROWS);
    ASSERT_CLOSE(result.log_likelihood, exact, 1e-5);
    ck_assert(exact >= likelihood(&m, rows, ROWS));
    ASSERT_CLOSE(result.bic, -2.0 * ROWS * result.log_likelihood + 17 * log(ROWS), 1e-6 * fabs(result.bic));
    free(rows);
    mgn_mixture_free(&found);
    mgn_mixture_free(&m);
}
END_TEST

START_TEST(test_one_component_has_the_moments) {
    DEVICE_OR_SKIP(device);
    mgn_mixture m = truth(), found = {0};
    float *rows = samples(&m, ROWS, 6);
    double mean[2], covariance[4];
    MGN_ASSERT_OK(mgn_moments(rows, ROWS, 2, false, mean, covariance));
    MGN_ASSERT_OK(mgn_mixture_fit(device, rows, ROWS, 2, 1, NULL, &found, NULL));
    for (int i = 0; i < 2; i++) ASSERT_CLOSE(found.means[i], mean[i], 1e-6);
    for (int i = 0; i < 4; i++) ASSERT_CLOSE(found.covariances[i], covariance[i], 1e-5);
    free(rows);
    mgn_mixture_free(&found);
    mgn_mixture_free(&m);
}
END_TEST

/* A narrow component far from the others and from 0: what single precision must not lose. */
START_TEST(test_the_likelihood_is_right_to_five_digits) {
    enum { N = 40000 };
    mgn_mixture m = {0}, found = {0};
    MGN_ASSERT_OK(mgn_mixture_create(2, 2, &m));
    fill(&m, (const double[]){.6, .4}, (const double[]){300, 0, 310, 1},
         (const double[]){4, 0, 0, 1, 4e-4, 1e-4, 1e-4, 1e-4});
    float *rows = samples(&m, N, 5);
    mgn_mixture_fit_result result;
    MGN_ASSERT_OK(mgn_mixture_fit(cpu, rows, N, 2, 2, NULL, &found, &result));
    ASSERT_CLOSE(result.log_likelihood, likelihood(&found, rows, N), 1e-5);
    ck_assert(result.log_likelihood >= likelihood(&m, rows, N));
    ASSERT_CLOSE(found.covariances[4], 4e-4, 3e-5);
    free(rows);
    mgn_mixture_free(&found);
    mgn_mixture_free(&m);
}
END_TEST

typedef struct ascent {
    double last;
    int64_t count;
} ascent;

static bool watch(void *context, int64_t k, int64_t pass, double log_likelihood) {
    ascent *a = context;
    (void)k;
    if (pass > 1)
        ck_assert_msg(log_likelihood >= a->last - 2e-6, "pass %d: %.9g after %.9g", (int)pass, log_likelihood, a->last);
    a->last = log_likelihood;
    a->count++;
    return true;
}

START_TEST(test_no_pass_loses_likelihood) {
    mgn_mixture m = truth(), found = {0};
    float *rows = samples(&m, ROWS, 2);
    ascent a = {0};
    const mgn_mixture_fit_config config = {
        .report = watch, .context = &a, .seed = (uint64_t)_i, .regularisation = _i ? .3 : 0, .tolerance = 1e-9};
    MGN_ASSERT_OK(mgn_mixture_fit(cpu, rows, ROWS, 2, 6, &config, &found, NULL)); /* twice too many components */
    ck_assert_int_gt(a.count, 20);
    free(rows);
    mgn_mixture_free(&found);
    mgn_mixture_free(&m);
}
END_TEST

START_TEST(test_threads_do_not_show) {
    mgn_mixture m = truth(), a = {0}, b = {0};
    float *rows = samples(&m, ROWS, 3);
    mgn_set_threads(1);
    MGN_ASSERT_OK(mgn_mixture_fit(cpu, rows, ROWS, 2, 4, NULL, &a, NULL));
    mgn_set_threads(5);
    MGN_ASSERT_OK(mgn_mixture_fit(cpu, rows, ROWS, 2, 4, NULL, &b, NULL));
    mgn_set_threads(0);
    assert_same(&a, &b, 0);
    mgn_mixture_free(&a);
    mgn_mixture_free(&b);
    mgn_mixture_free(&m);
    free(rows);
}
END_TEST

START_TEST(test_devices_agree) {
    if (!opencl) MGN_TEST_SKIP("no OpenCL device");
    mgn_mixture m = truth(), a = {0}, b = {0};
    float *rows = samples(&m, ROWS, 4);
    const mgn_mixture_fit_config config = {.tolerance = 1e-7, .passes = 1000};
    mgn_mixture_fit_result on_cpu, on_opencl;
    MGN_ASSERT_OK(mgn_mixture_fit(cpu, rows, ROWS, 2, 3, &config, &a, &on_cpu));
    MGN_ASSERT_OK(mgn_mixture_fit(opencl, rows, ROWS, 2, 3, &config, &b, &on_opencl));
    ASSERT_CLOSE(on_cpu.log_likelihood, on_opencl.log_likelihood, 1e-5);
    assert_same(&a, &b, 2e-3);
    free(rows);
    mgn_mixture_free(&a);
    mgn_mixture_free(&b);
    mgn_mixture_free(&m);
}
END_TEST

/* Many columns are no row program: rows go through in pieces, the last of which is smaller. */
START_TEST(test_wide_rows_are_fitted_in_pieces) {
    enum { N = 20001, D = 40 };
    mgn_mixture m = {0}, found = {0};
    MGN_ASSERT_OK(mgn_mixture_create(2, D, &m));
    for (int j = 0; j < 2; j++) {
        m.weights[j] = j ? .4 : .6;
        for (int i = 0; i < D; i++) {
            m.means[j * D + i] = j ? 3 : 0;
            m.covariances[(j * D + i) * D + i] = 1 + j;
        }
    }
    float *rows = samples(&m, N, 7);
    mgn_mixture_fit_result result;
    const mgn_mixture_fit_config config = {.starts = 1};
    MGN_ASSERT_OK(mgn_mixture_fit(cpu, rows, N, D, 2, &config, &found, &result));
    assert_same(&found, &m, .15);
    ASSERT_CLOSE(result.log_likelihood, likelihood(&found, rows, N), 2e-4);
    free(rows);
    mgn_mixture_free(&found);
    mgn_mixture_free(&m);
}
END_TEST

/* ---- collapse ---- */

START_TEST(test_collapsed_components_are_mended) {
    /* Two points, each many times: there is nothing for six components of the plane. */
    enum { N = 400 };
    float rows[2 * N];
    for (int i = 0; i < N; i++) {
        rows[2 * i] = i % 4 == 0 ? 1 : 0;
        rows[2 * i + 1] = i % 4 == 0 ? 2 : 0;
    }
    mgn_mixture found = {0};
    mgn_mixture_fit_result result;
    MGN_ASSERT_OK(mgn_mixture_fit(cpu, rows, N, 2, 6, NULL, &found, &result));
    MGN_ASSERT_OK(mgn_mixture_check(&found));
    ck_assert_int_eq(result.k, found.k);
    ck_assert(isfinite(result.log_likelihood));
    double near_first = 0;
    for (int64_t j = 0; j < found.k; j++)
        if (fabs(found.means[2 * j]) < .01) near_first += found.weights[j];
    ASSERT_CLOSE(near_first, .75, .01);
    mgn_mixture_free(&found);
}
END_TEST

START_TEST(test_a_start_on_an_outlier_is_put_elsewhere) {
    /* One row far away takes a seed of its own in every start, and is too little for a component. */
    enum { N = 3000 };
    mgn_mixture m = truth(), found = {0};
    float *rows = samples(&m, N, 8);
    rows[2 * 17] = 1e4f;
    rows[2 * 17 + 1] = -1e4f;
    mgn_mixture_fit_result result;
    const mgn_mixture_fit_config config = {.regularisation = 1e-4};
    MGN_ASSERT_OK(mgn_mixture_fit(cpu, rows, N, 2, 4, &config, &found, &result));
    MGN_ASSERT_OK(mgn_mixture_check(&found));
    ck_assert_int_gt(result.reseeded + result.dropped, 0);
    for (int64_t j = 0; j < found.k; j++) ck_assert(found.weights[j] * N >= 2.999);
    free(rows);
    mgn_mixture_free(&found);
    mgn_mixture_free(&m);
}
END_TEST

START_TEST(test_what_makes_no_sense_is_refused) {
    float rows[] = {1, 2, 1, 2, 1, 2}, other[] = {1, 2, 3, NAN, 5, 6};
    mgn_mixture m = {0};
    MGN_ASSERT_FAILS(mgn_mixture_fit(cpu, rows, 3, 2, 4, NULL, &m, NULL), MGN_ERR_ARGUMENT, "at least as many rows; 3");
    MGN_ASSERT_FAILS(mgn_mixture_fit(cpu, rows, 3, 2, 0, NULL, &m, NULL), MGN_ERR_ARGUMENT, "not 0");
    MGN_ASSERT_FAILS(mgn_mixture_fit(cpu, rows, 3, 2, 1, NULL, &m, NULL), MGN_ERR_ARGUMENT, "all 3 rows are the same");
    MGN_ASSERT_FAILS(mgn_mixture_fit(cpu, other, 3, 2, 1, NULL, &m, NULL), MGN_ERR_NUMERIC, "row 1, column 1");
    const mgn_mixture_fit_config config = {.tolerance = -1};
    MGN_ASSERT_FAILS(mgn_mixture_fit(cpu, rows, 3, 2, 1, &config, &m, NULL), MGN_ERR_ARGUMENT, "from 0 were expected");
    ck_assert_ptr_null(m.weights);
}
END_TEST

static bool stop_at_once(void *context, int64_t k, int64_t pass, double log_likelihood) {
    (void)context, (void)k, (void)log_likelihood;
    return pass < 2;
}

START_TEST(test_a_fit_can_be_stopped) {
    mgn_mixture m = truth(), found = {0};
    float *rows = samples(&m, ROWS, 3);
    const mgn_mixture_fit_config config = {.report = stop_at_once};
    MGN_ASSERT_FAILS(mgn_mixture_fit(cpu, rows, ROWS, 2, 4, &config, &found, NULL), MGN_ERR_INTERRUPTED, "stopped");
    ck_assert_ptr_null(found.weights);
    mgn_mixture_free(&m);
    free(rows);
}
END_TEST

START_TEST(test_the_elbow_is_the_number_of_clusters) {
    enum { K = 6 };
    mgn_mixture m = {0}, found[K] = {{0}};
    MGN_ASSERT_OK(mgn_mixture_create(3, 2, &m));
    fill(&m, (const double[]){.4, .3, .3}, (const double[]){0, 0, 10, 0, 0, 10},
         (const double[]){1, 0, 0, 1, 1, 0, 0, 1, 1, 0, 0, 1});
    float *rows = samples(&m, 3000, 9);
    mgn_mixture_fit_result results[K];
    int64_t elbow = 0;
    MGN_ASSERT_OK(mgn_mixture_curve(cpu, rows, 3000, 2, 1, K, NULL, found, results, &elbow));
    ck_assert_int_eq(elbow, 3);
    for (int k = 0; k < K; k++) {
        ck_assert_int_eq(results[k].k, k + 1);
        if (k > 0 && k < 3) ck_assert(results[k].log_likelihood > results[k - 1].log_likelihood + .3);
        if (k != 2) ck_assert(results[k].bic > results[2].bic);
        mgn_mixture_free(&found[k]);
    }
    free(rows);
    mgn_mixture_free(&m);
}
END_TEST

static Suite *suite(void) {
    Suite *s = suite_create("mixture");
    TCase *c = case_with_devices(s, "data");
    tcase_add_test(c, test_files_keep_every_bit);
    tcase_add_test(c, test_bad_files_are_told_in_a_sentence);
    tcase_add_test(c, test_moments_are_those_of_the_whole);
    c = case_with_devices(s, "fits");
    tcase_add_loop_test(c, test_a_known_mixture_is_recovered, 0, 2);
    tcase_add_loop_test(c, test_one_component_has_the_moments, 0, 2);
    tcase_add_test(c, test_the_likelihood_is_right_to_five_digits);
    tcase_add_loop_test(c, test_no_pass_loses_likelihood, 0, 2);
    tcase_add_test(c, test_threads_do_not_show);
    tcase_add_test(c, test_devices_agree);
    tcase_add_test(c, test_wide_rows_are_fitted_in_pieces);
    tcase_add_test(c, test_the_elbow_is_the_number_of_clusters);
    c = case_with_devices(s, "collapse");
    tcase_add_test(c, test_collapsed_components_are_mended);
    tcase_add_test(c, test_a_start_on_an_outlier_is_put_elsewhere);
    tcase_add_test(c, test_what_makes_no_sense_is_refused);
    tcase_add_test(c, test_a_fit_can_be_stopped);
    return s;
}

int main(void) {
    opencl_spec = mgn_test_opencl_spec();
    return mgn_test_main(suite());
}
