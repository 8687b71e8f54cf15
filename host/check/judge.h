/* Comparing what a device computed with what is right, and remembering the worst element. */
#ifndef MGN_HOST_CHECK_JUDGE_H
#define MGN_HOST_CHECK_JUDGE_H

#include <mgn/check.h>

#include "check/oracle.h"

/* The worst element of one check so far, by the ratio of its error to what is allowed. */
typedef struct mgn_worst {
    size_t compared;
    double ratio, error, allowed;
    char detail[320];
} mgn_worst;

/* The spacing of numbers at 1: 2^-23 or 2^-52. */
double mgn_judge_unit(mgn_dtype dtype);

/* One element: relative to `magnitude`. NaN answers NaN, an infinity itself; results below the smallest normal number
 * may be flushed to zero. */
void mgn_judge_element(mgn_worst *worst, mgn_dtype dtype, const char *what, int64_t index, double found,
                       mgn_exact expected, mgn_exact magnitude, double allowed);

/* `count` elements, each relative to the largest of `expected`, or to `terms` / 4 if that is more: entries that are sums of
 * so many terms of size 1, as derivatives under cotangents and tangents of size 1 are, carry the rounding of the terms
 * however much of them cancels. */
void mgn_judge_tensor(mgn_worst *worst, mgn_dtype dtype, const char *what, const double *found,
                      const mgn_exact *expected, int64_t count, double terms, double allowed);

/* A verdict that is not a number: infinitely wrong when `ok` is false, with this sentence. */
void mgn_judge_fact(mgn_worst *worst, bool ok, const char *sentence);

/* Where results go, and who they are about. */
typedef struct mgn_check_sink {
    mgn_check_report report;
    void *context;
    mgn_check_summary *summary;
    const char *op, *device, *dtype;
} mgn_check_sink;

/* Reports `worst` as one result, unless nothing was compared. */
void mgn_sink_result(mgn_check_sink *sink, const char *kind, const mgn_worst *worst);

#endif
