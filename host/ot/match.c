/* Clouds matched by an optimal assignment: pairs that a map between them can be learned from by least squares. */
#include <string.h>

#include "ot/ot.h"

mgn_status mgn_match_rows(const float *x, float *y, int64_t n, int64_t d) {
    double squared;
    int64_t *permutation = mgn_alloc((size_t)n, sizeof *permutation);
    float *copy = mgn_alloc((size_t)n, (size_t)d * sizeof *copy);
    mgn_status status = permutation && copy ? MGN_OK : MGN_ERR_MEMORY;
    if (status == MGN_OK) status = mgn_assignment_w2(x, y, n, d, permutation, &squared);
    if (status == MGN_OK) {
        memcpy(copy, y, (size_t)(n * d) * sizeof *y);
        for (int64_t i = 0; i < n; i++) memcpy(y + d * i, copy + d * permutation[i], (size_t)d * sizeof *y);
    }
    mgn_free(permutation);
    mgn_free(copy);
    return status;
}
