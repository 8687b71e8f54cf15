/* Targets: distributions to learn maps to or from. Some have a density, some are samplers only, some are finite sets of
 * rows from files. */
#ifndef MGN_TARGET_H
#define MGN_TARGET_H

#include <mgn/mixture.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct mgn_target mgn_target;

/** What is known of a target's density. */
typedef enum mgn_density {
    MGN_DENSITY_UNKNOWN, /**< samples only */
    MGN_DENSITY_FLAT,  /**< constant on its support and 0 elsewhere: of use for sources, without gradient as a target */
    MGN_DENSITY_SMOOTH /**< positive and differentiable everywhere */
} mgn_density;

/** Reads a specification:
 *    normal:D                         N(0, I) of D dimensions
 *    gaussian:mean=2,1;cov=1,-.8,-.8,1   mean (d) and covariance (d, d), row-major; either may be left out
 *    gmm:FILE                         a mixture, as mgn_mixture_load reads it
 *    banana[:bend=.5;spread=.5]       (z1, spread z2 + bend (z1^2 - 1)), z normal
 *    checkerboard                     uniform on 8 of the 16 squares of side 2 in [-4, 4]^2
 *    moons[:noise=.1]                 two half circles of radius 1, each normal noise apart
 *    spirals[:noise=.1]               two arms of one and a half turns, out to radius pi
 *    cifar:FILE[;grey]                the pictures of a binary batch of CIFAR-10, 3072 numbers in [0, 1] each; grey: with
 *                                     three equal channels
 *    images:DIR[;size=WxH][;grey][;luma]   the pictures of a folder, in the shape of the first of them or in the given
 *                                     one; grey: with three equal channels; luma: with one (see <mgn/image_set.h>)
 *    FILE                             the rows of a .npy or .csv table, the pixels of a picture in [0, 1]^3, or the
 *                                     pictures of an IDX file (also gzip), one a row in [0, 1]^(height width); a folder
 *                                     is images:FILE. The rows of a .npy above 64 MiB stay in the file
 *    A.npy,B.npy  part-*.npy  DIR  `@LIST` several .npy files of the same width as one table, in this order, in the order
 *                                     of their names, all of a folder, or one a line of a text; above 64 MiB they too
 *                                     stay where they are
 *  A name wins over a file of that name; ./moons is the file. The caller destroys `target`.
 *  Errors: ARGUMENT, in one sentence with the offending part; those of the readers for files. */
MGN_API mgn_status mgn_target_parse(const char *spec, mgn_target **target);

/** N(mean, covariance); NULL for 0 and the identity. Errors: ARGUMENT, NUMERIC (not positive definite), MEMORY. */
MGN_API mgn_status mgn_target_create_gaussian(int64_t d, const double *mean, const double *covariance,
                                              mgn_target **target);
/** A copy of the mixture. Errors: those of mgn_mixture_check, MEMORY. */
MGN_API mgn_status mgn_target_create_mixture(const mgn_mixture *mixture, mgn_target **target);
/** A copy of n rows of d numbers. Errors: ARGUMENT, NUMERIC (a value that is not finite), MEMORY. */
MGN_API mgn_status mgn_target_create_rows(const float *rows, int64_t n, int64_t d, mgn_target **target);
/** Takes NULL. */
MGN_API void mgn_target_destroy(mgn_target *target);

/** The specification it was made from, or what kind it is. */
MGN_API const char *mgn_target_label(const mgn_target *target);
MGN_API int64_t mgn_target_dimension(const mgn_target *target);
MGN_API mgn_density mgn_target_density(const mgn_target *target);
/** The number of rows of a finite target; 0 for the others. */
MGN_API int64_t mgn_target_count(const mgn_target *target);
/** What the rows are where they came as pictures: false for others. Pixels from the top, channels interleaved. */
MGN_API bool mgn_target_picture(const mgn_target *target, int64_t *height, int64_t *width, int64_t *channels);
/** Takes rows that are still in their file into memory: all of them, or `most` > 0 of them by the keyed shuffle of
 *  mgn_target_sample. Nothing happens to other targets. Losses and the node form of sampling need it.
 *  Errors: NUMERIC (a value that is no finite float), IO, MEMORY. */
MGN_API mgn_status mgn_target_hold(mgn_target *target, int64_t most, uint64_t seed);
/** Whether its rows are still in their files. */
MGN_API bool mgn_target_is_mapped(const mgn_target *target);
/** The rows first .. first + n - 1 of a finite target, to `rows` (n, d); of those in files nothing else is kept in memory.
 *  Errors: ARGUMENT (not that many rows), NUMERIC (a value that is no finite float), IO. */
MGN_API mgn_status mgn_target_read(const mgn_target *target, int64_t first, int64_t n, float *rows);
/** The rows of a finite target that are in memory, (*n, d), borrowed; NULL and 0 for the others. */
MGN_API const float *mgn_target_rows(const mgn_target *target, int64_t *n);
/** Its Gaussian or mixture, borrowed (one component for a Gaussian); NULL for the others. */
MGN_API const mgn_mixture *mgn_target_mixture(const mgn_target *target);

/** Mean (d) and covariance (d, d): the exact ones, or those of a finite target's rows (divided by n), for which those
 *  in files are walked through once. `covariance` may be NULL. */
MGN_API mgn_status mgn_target_moments(const mgn_target *target, double *mean, double *covariance);

/** n samples (n, d); the same seed gives the same rows. Of a finite target: all its rows in their order when n is their
 *  number; else the first n of a keyed shuffle (one shuffle after another where n is more than there are). */
MGN_API mgn_status mgn_target_sample(const mgn_target *target, int64_t n, uint64_t seed, float *rows);

/** log p(y_i) of rows y (n, d): (n). Minus infinity where the density is 0. NULL with the sentence in the graph for a
 *  target whose density is unknown, or of another dimension. */
MGN_API mgn_node *mgn_target_log_density(const mgn_target *target, mgn_node *y);

/** The node form of sampling: (n, d), fresh ones for every step of `state` (an INDEX vector of 4, see mgn_normal). Takes
 *  the random streams `stream` to `stream` + 3, so that two targets drawn from one state are independent when their
 *  streams are 4 apart. A finite target needs its rows on the device: `rows` is an input (count, d) bound to them, from
 *  which n <= count are taken by a keyed shuffle, pass after pass; NULL for the others. */
MGN_API mgn_node *mgn_target_sample_node(const mgn_target *target, mgn_node *state, mgn_node *rows, int64_t n,
                                         uint32_t stream);

#ifdef __cplusplus
}
#endif
#endif
