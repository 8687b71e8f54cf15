/* What the files of this folder share: mixtures as factors ready for evaluation, and the kinds of targets. */
#ifndef MGN_HOST_TARGET_H
#define MGN_HOST_TARGET_H

#include <mgn/data.h>
#include <mgn/target.h>

#include "core/core.h"
#include "core/file.h"
#include "data/shards.h"

/* ---- mixtures (mixture.c) ---- */

/* With L_j the lower Cholesky factor of covariance j, log w_j + log N(y; m_j, S_j) is
 * constants[j] - |(y - centre) A_j - b_j|^2 / 2 for A_j = L_j^-T and b_j = (m_j - centre) A_j. Taking the mixture's mean
 * from both keeps digits in single precision. */
typedef struct mgn_mixture_factors {
    int64_t k, d;
    double *centre;    /* (d) */
    double *whiteners; /* (d, k d): column j d + c is column c of A_j */
    double *shifts;    /* (k d): b_j one after the other */
    double *constants; /* (k) */
} mgn_mixture_factors;

/* Arrays of the right sizes in one block; freed by mgn_mixture_factors_free. */
mgn_status mgn_mixture_factors_create(int64_t k, int64_t d, mgn_mixture_factors *factors);
void mgn_mixture_factors_free(mgn_mixture_factors *factors);
/* Everything but the centre, which the caller has set. NUMERIC where a covariance is not positive definite. */
mgn_status mgn_mixture_factorise(const mgn_mixture *mixture, mgn_mixture_factors *factors);

/* The factors as nodes of a graph. */
typedef struct mgn_mixture_nodes {
    mgn_node *centre, *whiteners, *shifts, *constants;
} mgn_mixture_nodes;

/* mgn_mixture_terms for parameters that are nodes. `whitened` (may be NULL) gets (y - m_j) A_j for all j: (n, k d). */
mgn_node *mgn_mixture_terms_of(const mgn_mixture_nodes *nodes, int64_t k, mgn_node *y, mgn_node **whitened);

/* The lower Cholesky factor of a symmetric (d, d), 0 above the diagonal; false where it is not positive definite. Pivots
 * below 1e-7 of the largest count as 0. */
bool mgn_cholesky(const double *a, int64_t d, double *lower);

/* ARGUMENT unless the name ends in .json or .safetensors (mixture_file.c). */
mgn_status mgn_mixture_check_path(const char *path);
/* mgn_mixture_save up to the commit. */
mgn_status mgn_mixture_prepare(const mgn_mixture *mixture, const char *path, mgn_output_file **output);

/* ---- targets ---- */

typedef enum mgn_target_kind {
    MGN_TARGET_MIXTURE, /* Gaussians are mixtures of one */
    MGN_TARGET_BANANA,
    MGN_TARGET_CHECKERBOARD,
    MGN_TARGET_MOONS,
    MGN_TARGET_SPIRALS,
    MGN_TARGET_ROWS,
    MGN_TARGET_MAPPED /* rows that are still in their files */
} mgn_target_kind;

struct mgn_target {
    mgn_target_kind kind;
    char *label;
    int64_t d;
    mgn_mixture mixture; /* MIXTURE */
    double *lower;       /* MIXTURE: (k, d, d) Cholesky factors */
    double bend, spread; /* BANANA */
    double noise;        /* MOONS, SPIRALS */
    float *rows;         /* ROWS: (count, d) */
    mgn_shards *shards;  /* MAPPED */
    int64_t count;       /* ROWS, MAPPED */
    int64_t picture[3];  /* ROWS: height, width and channels of what they were; 0 where they were no pictures */
};

/* The planar shapes (shapes.c): sample `index` under `seed`, the moments, and the node forms. */
void mgn_shape_sample(const mgn_target *target, uint64_t seed, uint64_t index, double y[2]);
void mgn_shape_moments(const mgn_target *target, double mean[2], double covariance[4]);
mgn_node *mgn_shape_log_density(const mgn_target *target, mgn_node *y);
mgn_node *mgn_shape_sample_node(const mgn_target *target, mgn_node *state, int64_t n, uint32_t stream);

/* A target of that kind with nothing but its label and dimension; freed by mgn_target_destroy. */
mgn_status mgn_target_new(mgn_target_kind kind, const char *label, int64_t d, mgn_target **target);
/* Makes `mixture` (moved) the target's own. */
mgn_status mgn_target_take_mixture(mgn_target *target, mgn_mixture *mixture);

/* Mean and covariance of rows that are in files (walk.c). */
mgn_status mgn_target_walk_moments(const mgn_target *target, double *mean, double *covariance);

/* Mean and variances (d) of rows (n, d), and of a target, in memory for a few rows (variances.c). */
mgn_status mgn_row_variances(const float *rows, int64_t n, int64_t d, double *mean, double *variance);
mgn_status mgn_target_variances(const mgn_target *target, double *mean, double *variance);

/* The rows of a .npy or .csv table, the pixels of a picture or the pictures of a folder, whichever the bytes say it is
 * (spec_rows.c). */
mgn_status mgn_rows_read(const char *path, mgn_matrix *matrix);
/* The same as a target; a large .npy stays in its file. */
mgn_status mgn_target_parse_rows(const char *path, mgn_target **target);
/* cifar:FILE and images:DIR with their options, `text` being what follows the colon. */
mgn_status mgn_target_parse_cifar(const char *spec, const char *text, mgn_target_kind kind, mgn_target **target);
mgn_status mgn_target_parse_images(const char *spec, const char *text, mgn_target_kind kind, mgn_target **target);
/* A finite target of the rows of `matrix` (moved), also after a failure. */
mgn_status mgn_target_take_rows(const char *label, mgn_matrix *matrix, mgn_target **target);
/* What stands between `text` and the next of `stops`, copied; *text moves behind it. NULL: out of memory (spec.c). */
char *mgn_spec_part(const char **text, const char *stops);

#endif
