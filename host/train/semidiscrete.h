/* Prototypes and what is known of them, between the steps of mgn_semidiscrete. */
#ifndef MGN_HOST_SEMIDISCRETE_H
#define MGN_HOST_SEMIDISCRETE_H

#include "core/core.h"

typedef struct mgn_prototypes {
    int64_t h, d;
    float *centres;                      /* (h, d) */
    double *W;                           /* (h, d): centres less the data's mean */
    double *b, *masses;                  /* (h): offsets; wanted shares of the noise */
    double *shares, *products;           /* (h), (h, h): E p and E p p^T of the softmax p */
    double *data_mean, *data_covariance; /* (d), (d, d) */
    double *V, *a;                       /* (d, d), (d): what mgn_restore_covariance finds */
    double spread, beta;                 /* root of the mean square of W's rows; inverse temperature */
} mgn_prototypes;

/* V and a, from everything else: see mgn_semidiscrete. */
mgn_status mgn_restore_covariance(mgn_prototypes *p, double fraction, int64_t axes);

#endif
