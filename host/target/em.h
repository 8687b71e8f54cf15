/* Expectation maximisation inside: one level of it over a fixed set of rows (em.c), and starts (start.c). */
#ifndef MGN_HOST_EM_H
#define MGN_HOST_EM_H

#include "target/target.h"

/* What all levels of a fit share. */
typedef struct mgn_em_data {
    mgn_device *device;
    const float *rows; /* (n, d) */
    int64_t n, d;
    double *mean, *covariance; /* of all rows */
    double *units;             /* (d): smallest standard deviation of a component along each column */
    float *sample;             /* (sample_rows, d): rows in random order, of which every beginning is a sample */
    int64_t sample_rows;
    const mgn_mixture_fit_config *config;
    mgn_tensor *tensor; /* all rows on the device, where it has memory for them; NULL with blocks */
    bool *is_stopping;  /* this process was asked to stop; with others it does so when all know */
} mgn_em_data;

/* When a level ends, and what came of it. */
typedef struct mgn_em_level {
    const float *rows;  /* on the host */
    mgn_tensor *tensor; /* (n, d) on the device, borrowed; NULL: it has no memory for them */
    int64_t n;
    double tolerance;
    int64_t passes;
} mgn_em_level;

/* Improves `mixture`, whose k may shrink. Passes are added to result->passes; reseeded and dropped likewise;
 * log_likelihood is that of the mixture as it is at the end. */
mgn_status mgn_em_run(const mgn_em_data *data, const mgn_em_level *level, mgn_mixture *mixture,
                      mgn_mixture_fit_result *result);

/* A mixture of k components from k-means++ and some of Lloyd's steps over the first `n` rows of the sample. */
mgn_status mgn_em_start(const mgn_em_data *data, int64_t n, int64_t k, int64_t start, mgn_mixture *mixture);

/* Eigenvalues of a symmetric (d, d), in units of each column (d), raised to 1: the likeliest covariance among those of at least
 * that variance. */
mgn_status mgn_em_raise(double *covariance, int64_t d, const double *units);

#endif
