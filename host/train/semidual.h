/* The semi-dual solver inside: its frame, the coordinates that it works in, and its place in mgn_train. */
#ifndef MGN_HOST_SEMIDUAL_H
#define MGN_HOST_SEMIDUAL_H

#include <mgn/semidual.h>

/* x = x_mean + x_scale x', y = y_mean + y_scale y'. The identity for kinds that cannot follow. */
typedef struct mgn_frame {
    double *block;           /* owns what the pointers below point into */
    double *x_mean, *y_mean; /* (d) */
    double x_scale, y_scale;
    double x_unit, y_unit; /* the clouds' spreads inside, root of the mean variance a coordinate: 1 in a frame */
    int64_t d;
    double *a, *b; /* the affine optimal map of the frame's moments, x' -> a x' + b: (d, d), (d) */
    bool is_identity;
} mgn_frame;

/* Clouds of zero mean and unit variance a coordinate, on average. The caller frees frame->block. */
mgn_status mgn_frame_find(const mgn_model *model, const mgn_clouds *clouds, mgn_frame *frame);
/* Copies of the rows in the frame, in an order drawn by `seed`, and what the affine map's inverse makes of y; the caller
 * frees all three. */
mgn_status mgn_frame_rows(const mgn_frame *frame, const mgn_clouds *clouds, uint64_t seed, mgn_clouds *rows,
                          float **conjugate);
/* A model in the clouds' coordinates becomes the same map in the frame, and back. */
void mgn_frame_enter(const mgn_frame *frame, mgn_model *model);
void mgn_frame_leave(const mgn_frame *frame, mgn_model *model);
/* J in the clouds' coordinates. */
double mgn_frame_value(const mgn_frame *frame, double value);

/* Reorders two lists of `count` row numbers, of rows x and z of d finite numbers, so that rows at the same place are
 * neighbours (semidual_pairs.c). */
void mgn_pair_rows(const float *x, int64_t *x_order, const float *z, int64_t *z_order, int64_t count, int64_t d);

/* The samples and a target's rows, or as many samples of it as there are of the source: then the caller frees `drawn`. */
mgn_status mgn_semidual_clouds(const mgn_samples *samples, const mgn_target *target, int64_t d, uint64_t seed,
                               mgn_clouds *clouds, float **drawn);

/* mgn_semidual towards config->loss.target. */
mgn_status mgn_train_semidual(mgn_model *model, mgn_device *device, const mgn_samples *samples,
                              const mgn_train_config *config, mgn_train_result *result);

#endif
