/* Derivatives of the oracle by central differences of sixth order in extended precision: good to about 12 digits for
 * first derivatives and 9 for second ones, of functions that are smooth within 2^-10 of the inputs. */
#ifndef MGN_HOST_CHECK_DIFFERENCES_H
#define MGN_HOST_CHECK_DIFFERENCES_H

#include "check/oracle.h"

/* Tangents and gradients have one entry per input of the case; entries of indices and fixed inputs are ignored. */

/* derivative = J tangents. */
mgn_status mgn_differences_jvp(const mgn_check_case *c, double *const *tangents, mgn_exact *derivative);
/* gradients = J^T cotangent. */
mgn_status mgn_differences_vjp(const mgn_check_case *c, const double *cotangent, mgn_exact *const *gradients);
/* gradients = H tangents, H being the Hessian of <cotangent, result>. */
mgn_status mgn_differences_second(const mgn_check_case *c, const double *cotangent, double *const *tangents,
                                  mgn_exact *const *gradients);

/* Whether derivatives are taken with respect to input i. */
static inline bool mgn_case_varies(const mgn_check_case *c, int i) {
    return c->in[i].kind == MGN_REAL && !c->in[i].fixed;
}

#endif
