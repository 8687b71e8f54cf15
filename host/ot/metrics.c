/* Errors between rows: sums of squares and of magnitudes over all elements, cut into fixed parts (see ot.h). */
#include "ot/ot.h"

#include <math.h>

#include "core/parallel.h"

static double sum_squares(const float *a, const float *b, int64_t count) {
    double lane[MGN_SUM_LANES] = {0}, rest = 0;
    int64_t i = 0;
    for (; i + MGN_SUM_LANES <= count; i += MGN_SUM_LANES)
        for (int k = 0; k < MGN_SUM_LANES; k++) {
            const double difference = (double)a[i + k] - (double)b[i + k];
            lane[k] += difference * difference;
        }
    for (; i < count; i++) rest += ((double)a[i] - (double)b[i]) * ((double)a[i] - (double)b[i]);
    return mgn_add_lanes(lane) + rest;
}

static double sum_magnitudes(const float *a, const float *b, int64_t count) {
    double lane[MGN_SUM_LANES] = {0}, rest = 0;
    int64_t i = 0;
    for (; i + MGN_SUM_LANES <= count; i += MGN_SUM_LANES)
        for (int k = 0; k < MGN_SUM_LANES; k++) lane[k] += fabs((double)a[i + k] - (double)b[i + k]);
    for (; i < count; i++) rest += fabs((double)a[i] - (double)b[i]);
    return mgn_add_lanes(lane) + rest;
}

typedef double sum_function(const float *a, const float *b, int64_t count);

typedef struct element_sums {
    sum_function *sum;
    const float *a, *b;
    int64_t count, parts;
    double *sums; /* of each part */
} element_sums;

static void sum_part(void *context, int64_t p, int thread) {
    (void)thread;
    const element_sums *e = context;
    const int64_t first = mgn_part_start(e->count, p, e->parts), last = mgn_part_start(e->count, p + 1, e->parts);
    e->sums[p] = e->sum(e->a + first, e->b + first, last - first);
}

static mgn_status sum_elements(const char *what, sum_function *function, const float *a, const float *b, int64_t n,
                               int64_t d, double *sum) {
    MGN_TRY(mgn_check_rows(what, a, n, d));
    MGN_TRY(mgn_check_rows(what, b, n, d));
    const int64_t count = n * d, parts = MGN_MIN(count, MGN_SUM_PARTS);
    double sums[MGN_SUM_PARTS], total = 0;
    mgn_parallel(mgn_threads_for(count), parts, sum_part, &(element_sums){function, a, b, count, parts, sums});
    for (int64_t p = 0; p < parts; p++) total += sums[p];
    if (isfinite(total)) {
        *sum = total;
        return MGN_OK;
    }
    for (int64_t i = 0; i < count; i++)
        if (!isfinite(a[i]) || !isfinite(b[i]))
            return mgn_fail(MGN_ERR_NUMERIC,
                            "%s: row %lld, column %lld (counted from 0) holds %g and %g; finite rows were expected",
                            what, (long long)(i / d), (long long)(i % d), (double)a[i], (double)b[i]);
    return mgn_fail(MGN_ERR_NUMERIC, "%s: the sum overflows", what);
}

static mgn_status check_result(const char *what, const double *result) {
    return result ? MGN_OK : mgn_fail(MGN_ERR_ARGUMENT, "%s: a place for the result was expected, not NULL", what);
}

mgn_status mgn_transport_cost(const float *a, const float *b, int64_t n, int64_t d, double *cost) {
    double sum = 0;
    MGN_TRY(check_result("transport cost", cost));
    MGN_TRY(sum_elements("transport cost", sum_squares, a, b, n, d, &sum));
    *cost = sum / (double)n;
    return MGN_OK;
}

mgn_status mgn_rmse(const float *a, const float *b, int64_t n, int64_t d, double *rmse) {
    double sum = 0;
    MGN_TRY(check_result("RMSE", rmse));
    MGN_TRY(sum_elements("RMSE", sum_squares, a, b, n, d, &sum));
    *rmse = sqrt(sum / (double)n);
    return MGN_OK;
}

mgn_status mgn_mae(const float *a, const float *b, int64_t n, int64_t d, double *mae) {
    double sum = 0;
    MGN_TRY(check_result("MAE", mae));
    MGN_TRY(sum_elements("MAE", sum_magnitudes, a, b, n, d, &sum));
    *mae = sum / ((double)n * (double)d);
    return MGN_OK;
}

mgn_status mgn_l2_uvp(const float *mapped, const float *truth, int64_t n, int64_t d, double variance, double *percent) {
    double sum = 0;
    MGN_TRY(check_result("L2-UVP", percent));
    if (!(variance > 0) || !isfinite(variance))
        return mgn_fail(MGN_ERR_ARGUMENT, "L2-UVP: a variance of the target above 0 was expected, not %g", variance);
    MGN_TRY(sum_elements("L2-UVP", sum_squares, mapped, truth, n, d, &sum));
    *percent = 100 * (sum / (double)n) / variance;
    return MGN_OK;
}
