/* Recolouring: a map between the palettes of two pictures, learned by a monotone gradient network and applied pixel by
 * pixel. Colours are points of [0, 1]^3 (red, green, blue as stored; no colour management). */
#ifndef MGN_RECOLOR_H
#define MGN_RECOLOR_H

#include <mgn/data.h>
#include <mgn/image.h>
#include <mgn/train.h>

#ifdef __cplusplus
extern "C" {
#endif

/** All zero means the defaults. */
typedef struct mgn_recolor_config {
    char kind[16];     /**< "cmgn" (the default) or "mmgn" */
    int64_t h, layers; /**< 0: cmgn 3 and 2 (27 parameters), mmgn 2 and 2 (28 parameters) */
    int64_t epochs;    /**< passes over the sample; 0: 80, and more where the sample is small; for a mixture 60 steps;
                            sinkhorn 8 rounds */
    int64_t sample;    /**< Gaussian target: source pixels to learn from; 0: MGN_RECOLOR_SAMPLE */
    uint64_t seed;
    /** 0: the target is a Gaussian. Above: a mixture of that many components; with `most_components` above it, of as
     *  many, between both, as the elbow of the likelihoods says (mgn_mixture_curve). */
    int64_t components, most_components;
    bool sinkhorn; /**< the target is the palette itself, by the Sinkhorn divergence; not with `components` */
    bool pixels;   /**< the target is the palette itself, by a convex fit to optimal pairs of colours; the model is a
                               monotone cgradnet, whatever `kind` is; not with `components` or `sinkhorn` */
    double smoothness;    /**< `pixels`: 0 keeps closest to the target's palette, 1 closest to a linear map */
    double stretch;       /**< `pixels`: by how much that linear map may stretch differences of colours; 0: 4.5 */
    mgn_mixture *mixture; /**< optional: gets the target's mixture, for the caller to free; untouched for a Gaussian */
    mgn_train_callback *report; /**< optional */
    void *context;
} mgn_recolor_config;

enum { MGN_RECOLOR_SAMPLE = 65536, MGN_RECOLOR_PALETTE = 1 << 17 };

/** Learns a map from the source's palette to the target's.
 *  Gaussian target: the image of the palette has the target's mean and covariance, by the Kullback-Leibler divergence of
 *  Gaussians and with little transport: the cost is close to the squared Bures distance, which no map with exactly these
 *  moments can undercut.
 *  Mixture target: the least-squares fit, by Gauss-Newton steps, to optimal assignments between source colours and
 *  samples of the target's mixture; closer to the target's palette than two moments can be.
 *  Pixels: the least-squares fit of a sum of fixed units with non-negative coefficients, the optimum of a convex problem,
 *  to optimal assignments between colours of both pictures.
 *  Sinkhorn: the debiased Sinkhorn divergence between samples of both palettes, whatever the target's shape.
 *  Where the source is a single colour the map is the translation to the target's mean, else where the target is one the
 *  constant map to it, whatever is asked for: a cmgn (or `kind`) that has them exactly, `mixture` untouched.
 *  The caller destroys `model` (d = 3); `result` may be NULL.
 *  Errors: ARGUMENT, and those of mgn_train. After INTERRUPTED there is no model. */
MGN_API mgn_status mgn_recolor_learn(const mgn_image *source, const mgn_image *target, mgn_device *device,
                                     const mgn_recolor_config *config, mgn_model **model, mgn_train_result *result);

/** The same from palettes (n, 3) and (m, 3): of several pictures, or in another space (mgn_colour_to_space). The former
 *  takes up to MGN_RECOLOR_PALETTE colours of each picture. */
MGN_API mgn_status mgn_recolor_learn_palettes(const mgn_matrix *source, const mgn_matrix *target, mgn_device *device,
                                              const mgn_recolor_config *config, mgn_model **model,
                                              mgn_train_result *result);

/** How good a map is for two pictures. */
typedef struct mgn_recolor_quality {
    double loss;      /**< KL of the mapped source palette's Gaussian to the target's, in nats */
    double cost;      /**< E |x - g(x)|^2 over the source palette: the map itself, not clipped to [0, 1] */
    double bures;     /**< the least cost of a map that reaches the target's mean and covariance exactly */
    double w2_before; /**< squared sliced Wasserstein distance of the two palettes, over evenly spread directions, by at
                           most 32768 colours of each */
    double w2_after;  /**< the same after the map, colours clipped to [0, 1] as in a picture */
    int64_t pixels;   /**< source pixels that loss and cost were measured on */
} mgn_recolor_quality;

/** Measures on up to MGN_RECOLOR_PALETTE colours of each picture.
 *  Errors: ARGUMENT (a map that is not of d = 3), NUMERIC. */
MGN_API mgn_status mgn_recolor_measure(mgn_map *map, const mgn_image *source, const mgn_image *target, uint64_t seed,
                                       mgn_recolor_quality *quality);
/** The same on palettes (n, 3) and (m, 3), all of them. */
MGN_API mgn_status mgn_recolor_measure_palettes(mgn_map *map, const mgn_matrix *source, const mgn_matrix *target,
                                                mgn_recolor_quality *quality);

/** A picture with every colour mapped: g exactly, clipped to [0, 1] and rounded. Alpha, depth, orientation and metadata
 *  are the source's; a grey picture becomes RGB when the result has colour. The caller destroys `result`.
 *  Errors: ARGUMENT (a map that is not of d = 3), NUMERIC (a colour that is not finite), MEMORY, INTERRUPTED. */
MGN_API mgn_status mgn_recolor_apply(mgn_map *map, const mgn_image *source, mgn_image **result);

/** The same from file to file; an 8-bit colour JPEG that becomes a JPEG goes through in bands, its pixels never all in
 *  memory. `target` is a whole file or untouched. `options` may be NULL; `width` and `height` get the picture's size.
 *  Errors: those of mgn_image_read, mgn_recolor_apply and mgn_image_write. */
MGN_API mgn_status mgn_recolor_file(mgn_map *map, const char *source, const char *target,
                                    const mgn_image_write_options *options, size_t *width, size_t *height);

#ifdef __cplusplus
}
#endif
#endif
