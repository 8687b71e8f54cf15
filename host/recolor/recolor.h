/* What the files of this folder share. */
#ifndef MGN_HOST_RECOLOR_H
#define MGN_HOST_RECOLOR_H

#include <mgn/look.h>
#include <mgn/recolor.h>

#include "core/core.h"
#include "core/file.h"

/* What changes colours, a map or a table: n pixels of floats, and of bytes (rounded and clipped); y may be x. */
typedef mgn_status mgn_floats_function(void *context, const float *x, int64_t n, float *y);
typedef mgn_status mgn_bytes_function(void *context, const uint8_t *x, int64_t n, uint8_t *y);
typedef struct mgn_colouring {
    mgn_floats_function *floats;
    mgn_bytes_function *bytes;
    void
        *contexts[2]; /* of two threads; the second NULL: one thread at a time asks, and best for many pixels at once */
} mgn_colouring;

/* Answers with what `bytes` answers, which it asks for each colour rarely more than once (memo.c). One thread's. */
typedef struct mgn_colour_memo mgn_colour_memo;
mgn_status mgn_colour_memo_create(mgn_bytes_function *bytes, void *context, mgn_colour_memo **memo);
mgn_status mgn_colour_memo_apply(mgn_colour_memo *memo, const unsigned char *from, size_t pixels, unsigned char *to);
void mgn_colour_memo_destroy(mgn_colour_memo *memo);

/* A palette's Gaussian. */
typedef struct mgn_colour_gaussian {
    double mean[3], covariance[9];
} mgn_colour_gaussian;

/* Variance of a colour's rounding to 8 bits. */
extern const double mgn_rounding_variance;

/* The Gaussian of rows (n, 3). */
mgn_status mgn_colour_gaussian_of(const mgn_matrix *palette, mgn_colour_gaussian *gaussian);

/* ARGUMENT unless d, the dimension of a map, is that of colours. */
mgn_status mgn_check_colour_dimension(int64_t d);

/* At most `most` rows of a palette, evenly spread (as mgn_image_palette takes them); the caller frees `rows`. */
mgn_status mgn_palette_sample(const mgn_matrix *palette, int64_t most, uint64_t seed, mgn_matrix *rows);

/* The Gaussian of a target's palette. One that varies in fewer directions than three (grey, sepia, a single colour) is
 * widened by what rounding to 8 bits hides, so that it has a density. */
mgn_status mgn_palette_gaussian(const mgn_matrix *target, mgn_colour_gaussian *gaussian);
/* The same of a picture: all of its pixels, 2^24 at most. */
mgn_status mgn_target_gaussian(const mgn_image *target, uint64_t seed, mgn_colour_gaussian *gaussian);

/* Unit vector k of `count` that are spread evenly over the half sphere, by the golden angle. */
void mgn_half_sphere_direction(int64_t k, int64_t count, double w[3]);
/* Squared sliced distances of the target's palette to the source's, and to what became of that; colours in [0, 1]
 * (slices.c). Errors: INTERRUPTED. */
mgn_status mgn_palette_slices(const mgn_matrix *source, const mgn_matrix *mapped, const mgn_matrix *target,
                              double *before, double *after);

/* Puts colours at random places between the levels of 8 bits: equal ones would leave assignments without an order, and
 * mixtures with atoms. */
void mgn_colour_dither(mgn_matrix *palette, uint64_t seed);

/* The mixture of a target's colours that `config` asks for, and learning `model` (started near the right place)
 * towards it (mixture.c). */
mgn_status mgn_recolor_mixture(const mgn_matrix *target, mgn_device *device, const mgn_recolor_config *config,
                               mgn_mixture *mixture);
mgn_status mgn_recolor_learn_mixture(mgn_model *model, mgn_device *device, const mgn_matrix *source,
                                     const mgn_mixture *mixture, const mgn_recolor_config *config,
                                     mgn_train_result *result);
/* The same towards the target's colours themselves (sinkhorn.c). */
mgn_status mgn_recolor_learn_sinkhorn(mgn_model *model, mgn_device *device, const mgn_matrix *source,
                                      const mgn_matrix *target, const mgn_recolor_config *config,
                                      mgn_train_result *result);
/* A model of its own, fitted to optimal pairs of both palettes' colours (pixels.c); the caller destroys it. */
mgn_status mgn_recolor_learn_pixels(const mgn_matrix *source, const mgn_matrix *target,
                                    const mgn_recolor_config *config, mgn_model **model, mgn_train_result *result);

/* The optimal map where either palette is a single colour, a model of that shape (cmgn or mmgn); else NULL. */
mgn_status mgn_recolor_learn_single(const mgn_matrix *source, const mgn_matrix *target, const mgn_model_config *shape,
                                    mgn_model **model);

/* Colours of picture files, at most MGN_RECOLOR_PALETTE of a few: as many of each. The caller frees `palette`. */
mgn_status mgn_recolor_gather(const char *const *paths, size_t count, uint64_t seed, mgn_matrix *palette);

/* A mask for `image`: white where it is to change. The colours behind it, and a changed picture blended with the one
 * before as the mask says. The caller destroys the mask and frees the palette. */
mgn_status mgn_mask_read(const char *path, const mgn_image *image, mgn_image **mask);
mgn_status mgn_mask_palette(const mgn_image *image, const mgn_image *mask, uint64_t seed, mgn_matrix *palette);
mgn_status mgn_mask_blend(const mgn_image *before, const mgn_image *mask, mgn_image *after);

/* mgn_recolor_apply and mgn_recolor_file, the latter up to the commit, for whatever changes colours. */
mgn_status mgn_colouring_apply(const mgn_colouring *colouring, const mgn_image *source, mgn_image **result);
mgn_status mgn_colouring_prepare(const mgn_colouring *colouring, const char *source, const char *target,
                                 const mgn_image_write_options *options, size_t *width, size_t *height,
                                 mgn_output_file **written);

/* mgn_recolor_file up to the commit. */
mgn_status mgn_recolor_prepare(mgn_map *map, const char *source, const char *target,
                               const mgn_image_write_options *options, size_t *width, size_t *height,
                               mgn_output_file **written);

/* The same for a picture in memory. */
mgn_status mgn_recolor_prepare_image(mgn_map *map, const mgn_image *source, const char *target,
                                     const mgn_image_write_options *options, mgn_output_file **written);

/* mgn_look_save up to the commit. */
mgn_status mgn_look_prepare(const mgn_model *model, const mgn_look *look, const char *path, mgn_output_file **written);

/* mgn_lut_write up to the commit, and whether it would take that size under that name. */
mgn_status mgn_lut_prepare(mgn_map *map, int size, const char *path, mgn_output_file **written);
mgn_status mgn_lut_check(int size, const char *path);
/* Whether a name is a .cube file's, and whether it is that or a HaldCLUT's (.png). */
bool mgn_lut_is_cube(const char *path);
bool mgn_lut_is_named(const char *path);
/* The size^3 colours of a table (n, 3), red varying fastest, fitted to how tables are interpolated, within [0, 1] or free;
 * the caller frees them (lut_fit.c). */
mgn_status mgn_lut_values(mgn_map *map, int size, bool clipped, float **nodes);

#endif
