#include "check/judge.h"

#include <float.h>
#include <math.h>
#include <stdio.h>

#include "core/core.h"

double mgn_judge_unit(mgn_dtype dtype) { return dtype == MGN_F64 ? DBL_EPSILON : FLT_EPSILON; }

static double error_of(mgn_dtype dtype, double found, mgn_exact expected, mgn_exact magnitude) {
    double rounded = dtype == MGN_F64 ? (double)expected : (double)(float)expected;
    double tiny = dtype == MGN_F64 ? DBL_MIN : (double)FLT_MIN;
    if (isnan(rounded)) return isnan(found) ? 0 : INFINITY;
    if (found == rounded) return 0;
    if (!isfinite(found) || isinf(rounded)) return INFINITY;
    mgn_exact difference = fabsl((mgn_exact)found - expected);
    if (fabs(rounded) < tiny && difference <= tiny) return 0;
    return magnitude > 0 ? (double)(difference / magnitude) : INFINITY;
}

void mgn_judge_element(mgn_worst *worst, mgn_dtype dtype, const char *what, int64_t index, double found,
                       mgn_exact expected, mgn_exact magnitude, double allowed) {
    double error = error_of(dtype, found, expected, magnitude);
    double ratio = error == 0 ? 0 : allowed > 0 ? error / allowed : INFINITY;
    if (worst->compared++ && ratio <= worst->ratio) return;
    worst->ratio = ratio;
    worst->error = error;
    worst->allowed = allowed;
    int digits = dtype == MGN_F64 ? 17 : 9;
    snprintf(worst->detail, sizeof worst->detail, "%s: element %lld is %.*g, expected %.*Lg (scale %.3Lg)", what,
             (long long)index, digits, found, digits, expected, magnitude);
}

void mgn_judge_tensor(mgn_worst *worst, mgn_dtype dtype, const char *what, const double *found,
                      const mgn_exact *expected, int64_t count, double terms, double allowed) {
    mgn_exact largest = 0.25L * (mgn_exact)terms;
    for (int64_t i = 0; i < count; i++)
        if (fabsl(expected[i]) > largest) largest = fabsl(expected[i]);
    for (int64_t i = 0; i < count; i++)
        mgn_judge_element(worst, dtype, what, i, found[i], expected[i], largest, allowed);
}

void mgn_judge_fact(mgn_worst *worst, bool ok, const char *sentence) {
    worst->compared++;
    if (ok) return;
    worst->ratio = worst->error = INFINITY;
    snprintf(worst->detail, sizeof worst->detail, "%s", sentence);
}

void mgn_sink_result(mgn_check_sink *sink, const char *kind, const mgn_worst *worst) {
    if (!worst->compared) return;
    mgn_check_result result = {.op = sink->op,
                               .device = sink->device,
                               .dtype = sink->dtype,
                               .kind = kind,
                               .error = worst->error,
                               .allowed = worst->allowed,
                               .ok = worst->ratio <= 1,
                               .detail = worst->detail};
    sink->summary->checks++;
    sink->summary->failed += !result.ok;
    if (sink->report) sink->report(sink->context, &result);
}
