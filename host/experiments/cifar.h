/* What the colouring of CIFAR-10's pictures shares between its files: the pictures as rows, affine maps as baselines, and
 * the start of a network from the best of them.
 *
 * A grey picture has three equal channels, so the sources span a third of the space, S; T is the rest, the differences of
 * channels. In the coordinates of an orthonormal basis of each pixel's colours, (r + g + b) / sqrt 3 for S, (r - g) / sqrt 2
 * and (r + g - 2 b) / sqrt 6 for T, a gradient is a gradient and a convex potential is convex, as rotations change neither.
 * On S the part of a monotone gradient within S is one itself, but its part in T can be any function c of s at all:
 * phi(s, t) = psi(s) + <c(s), t> + k |t|^2 / 2 has the gradient (grad psi, c) where t = 0, and is convex near there once
 * grad^2 psi >= Dc^T Dc / k, for which k, which the data do not see, may be as large as it takes. */
#ifndef MGN_HOST_CIFAR_H
#define MGN_HOST_CIFAR_H

#include <mgn/data.h>
#include <mgn/model.h>

#include "core/core.h"

enum { MGN_CIFAR_SIDE = 32, MGN_CIFAR_PIXELS = 1024, MGN_CIFAR_D = 3 * MGN_CIFAR_PIXELS };

/* An affine map of the pixels' luma s to their colours: y = mean_y + (s - mean_s) A, A (pixels, 3 pixels). */
typedef struct mgn_colouring {
    double *mean_s, *mean_y, *A;
} mgn_colouring;

/* Mean squared errors per number: of all, of the part in S (luma) and of that in T (colour); mse is their sum. */
typedef struct mgn_colour_error {
    double mse, luma, colour;
} mgn_colour_error;

typedef struct mgn_cifar {
    mgn_matrix grey, colour; /* all rows: to learn from, then those held out */
    int64_t learned, held;
    mgn_colouring affine; /* the best of the affine maps that are gradients of convex functions */
    mgn_colour_error error_grey, error_pixel, error_affine, error_gradient; /* of the baselines, held out */
    double ridge;
} mgn_cifar;

/* Reads `learned` + `held` pictures of a batch, and fits the baselines: the grey picture itself; an affine map at each
 * pixel by itself; the affine map of whole pictures with the ridge that is best on those held out; the same among
 * gradients of convex functions. Free it also after a failure. */
mgn_status mgn_cifar_prepare(const char *path, int64_t learned, int64_t held, mgn_cifar *c);
void mgn_cifar_free(mgn_cifar *c);

/* Of `count` rows of colours beside the true ones. */
mgn_colour_error mgn_cifar_error(const float *found, const float *truth, int64_t count);

/* A pixel's colour in the coordinates of S and T, and back. */
void mgn_cifar_to_coordinates(const double *colour, double *coordinates);
void mgn_cifar_from_coordinates(const double *coordinates, double *colour);

/* V (d, d) for which V^T V is `within` (pixels, pixels) from S to S, made symmetric with eigenvalues from .01 in place,
 * and `across` (pixels, 2 pixels) from S to T. In coordinates it is (R, R^-1 C; 0, I), R^2 = within and C = across:
 * V^T V = (R^2, C; C^T, C^T R^-2 C + I) is positive definite whatever C is. */
mgn_status mgn_cifar_quadratic(double *within, const double *across, double *V);

/* A C-MGN of one layer for the pairs (cifar_units.c), without iterations: rows of W within S are differences of pictures,
 * its rows' part in T and V follow by ridge regression of the colours. The caller destroys `model`. */
mgn_status mgn_cifar_solve_dense(const mgn_cifar *c, const mgn_model_config *config, uint64_t seed, mgn_model **model);

#endif
