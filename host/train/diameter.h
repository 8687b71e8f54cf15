/* How far apart points are that a loss between clouds compares: the diagonal of the box of the images g(x) and of the target's
 * rows y (m, d), at least `blur`. That of x instead of the images will do where it is not far larger than the target's: then
 * nothing is computed. Annealing from a diameter a million times too large leaves rounding of that size in the potentials.
 * Errors: MEMORY, DEVICE. */
#ifndef MGN_HOST_DIAMETER_H
#define MGN_HOST_DIAMETER_H

#include <mgn/model.h>
#include <mgn/train.h>

mgn_status mgn_images_diameter(const mgn_model *model, mgn_device *device, mgn_dtype real, const mgn_samples *samples,
                               const float *y, int64_t m, double blur, double *diameter);

#endif
