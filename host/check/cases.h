/* Which cases each op is checked with. The table of ops is walked: an op without cases does not build. */
#ifndef MGN_HOST_CHECK_CASES_H
#define MGN_HOST_CHECK_CASES_H

#include "check/oracle.h"
#include "core/core.h"

enum { MGN_CASES_MOST = 96 };

/* The cases of one op. What they point to lies in the arena. */
typedef struct mgn_case_list {
    mgn_arena *arena;
    mgn_op op;
    uint64_t random; /* SplitMix64 */
    int count;
    bool failed; /* memory ran out, or there were too many */
    mgn_check_case items[MGN_CASES_MOST];
} mgn_case_list;

/* Fills `list` (its arena set) with the cases of `op`; the inputs depend on the op and the seed alone. */
mgn_status mgn_cases_make(mgn_case_list *list, mgn_op op, uint64_t seed);

/* ---- for the files that make cases ---- */

/* A number in [low, high). */
double mgn_case_random(mgn_case_list *list, double low, double high);
/* A new case of the list's op, with the op's own tolerance and a real result of `shape`. */
mgn_check_case *mgn_case_add(mgn_case_list *list, mgn_shape shape, unsigned flags, const char *label, ...)
    MGN_PRINTF(4, 5);
/* The case's next input, values from [low, high). */
double *mgn_case_real(mgn_case_list *list, mgn_check_case *c, mgn_shape shape, double low, double high);
/* The same with values that lie at least 2 / (elements) apart, for ops that have kinks where values meet. */
double *mgn_case_distinct(mgn_case_list *list, mgn_check_case *c, mgn_shape shape);
/* An index vector, entries below `limit`. */
double *mgn_case_index(mgn_case_list *list, mgn_check_case *c, int64_t length, int64_t limit);

#define MGN_UNARY(op, ...)
#define MGN_BINARY(op, ...)
#define MGN_TERNARY(op, ...)
#define MGN_KERNEL(op, ...) void mgn_cases_##op(mgn_case_list *list);
#define MGN_LAYOUT(op, ...) void mgn_cases_##op(mgn_case_list *list);
#include "graph/ops.def"
void mgn_cases_elementwise(mgn_case_list *list);

#endif
