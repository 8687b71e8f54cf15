/* What the minimisers share. Sums go through the vectors in order, so a run's bits depend on nothing else. */
#include "train/descent.h"

#include <math.h>

double mgn_dot(const double *a, const double *b, int64_t count) {
    double sum = 0;
    for (int64_t i = 0; i < count; i++) sum += a[i] * b[i];
    return sum;
}

double mgn_largest(const double *a, int64_t count) {
    double largest = 0;
    for (int64_t i = 0; i < count; i++) largest = fmax(largest, fabs(a[i]));
    return largest;
}

void mgn_add_scaled(double *y, double factor, const double *x, int64_t count) {
    for (int64_t i = 0; i < count; i++) y[i] += factor * x[i];
}

bool mgn_is_stopping(const mgn_objective *objective) {
    return objective->is_stopping ? objective->is_stopping(objective->context) : mgn_interrupted();
}

mgn_status mgn_descent_step(const mgn_objective *objective, mgn_descent *descent, double f, double step) {
    descent->f = f;
    descent->done++;
    const bool go_on = !descent->report || descent->report(descent->context, descent->done, f, step);
    if (go_on && !mgn_is_stopping(objective)) return MGN_OK;
    return mgn_fail(MGN_ERR_INTERRUPTED, "stopped after epoch %lld of %lld", (long long)descent->done,
                    (long long)descent->iterations);
}
