/* Proof that devices compute what the mathematics says: every op of the table, forward and differentiated, every model
 * with every loss, and programs of many ops, on every device and in every precision, against an independent
 * extended-precision oracle. */
#ifndef MGN_CHECK_H
#define MGN_CHECK_H

#include <mgn/core.h>

#ifdef __cplusplus
extern "C" {
#endif

/** What to check; all zero means everything, on all devices. */
typedef struct mgn_check_options {
    const char *device; /**< one device as --device takes it; NULL: the CPU backend and every OpenCL device */
    const char *op;     /**< an op ("tanh"), a model and loss ("cmgn/nll") or a program ("rows/sums"); NULL: all */
    uint64_t seed;      /**< of the inputs: the same seed draws the same inputs, with or without `op` */
    double fault;       /**< relative error put into every reference, to prove that a check can fail; else 0 */
} mgn_check_options;

/** One check: one op, model and loss, or program, on one device in one precision, in one respect.
 *
 *  `kind` is one of
 *  - "forward": values against the oracle; errors relative to the magnitude that graph/ops.def speaks of;
 *  - "vjp", "jvp": reverse and forward mode with random cotangents and tangents. In float64 against finite differences
 *    of the oracle, in float32 against the same nodes in float64 on the CPU; relative to the largest entry;
 *  - "second": reverse over reverse and forward over reverse, in the same way;
 *  - "pairing": <cotangent, jvp> = <vjp, tangent>, relative to the sum of the absolute terms;
 *  - "property": what cannot be said by a formula (a shuffle is a permutation, a program is one);
 *  - "bounds": the backend's kernel alone, between guard values that must survive, its inputs between NaNs;
 *  - "jacobian" (models): its values against finite differences; symmetric, positive semidefinite and within the bound where the model promises it;
 *  - "training" (models): the parameters after 50 steps of Adam, against float64 on the CPU;
 *  - "build": the graph or its plan could not be made; `detail` is the sentence. */
typedef struct mgn_check_result {
    const char *op;
    const char *device; /**< spec: "cpu", "opencl:0:0" */
    const char *dtype;  /**< "f32", "f64" */
    const char *kind;
    double error; /**< the worst one, infinite where a NaN or an infinity is wrong */
    double allowed;
    bool ok;
    const char *detail; /**< where the worst error is, with both values; valid during the call */
} mgn_check_result;

/** Called once per result, in the order of the table. */
typedef void (*mgn_check_report)(void *context, const mgn_check_result *result);

typedef struct mgn_check_summary {
    size_t checks, failed;
} mgn_check_summary;

/** Runs the checks; failures of checks are results, not errors. `report` may be NULL.
 *  Errors: ARGUMENT (no such op: the sentence names the nearest; no such device), MEMORY, INTERRUPTED. */
MGN_API mgn_status mgn_check_run(const mgn_check_options *options, mgn_check_report report, void *context,
                                 mgn_check_summary *summary);

#ifdef __cplusplus
}
#endif
#endif
