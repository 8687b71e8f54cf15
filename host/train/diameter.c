#include "train/diameter.h"

#include <math.h>

#include <mgn/sinkhorn.h>

#include "core/core.h"

enum { MOST_IMAGES = 4096 };

static const double far_larger = 100;

/* Rounded up, so that devices whose last bits differ find the same. */
static double round_up(double diameter) { return exp2(ceil(4 * log2(diameter)) / 4); }

mgn_status mgn_images_diameter(const mgn_model *model, mgn_device *device, mgn_dtype real, const mgn_samples *samples,
                               const float *y, int64_t m, double blur, double *diameter) {
    const int64_t d = mgn_model_get_config(model)->d, n = MGN_MIN(samples->n, MOST_IMAGES);
    *diameter = fmax(mgn_box_diagonal(samples->x, samples->n, y, m, d), blur);
    if (*diameter <= far_larger * fmax(mgn_box_diagonal(y, m, y, 0, d), blur)) return MGN_OK;
    mgn_map *map = NULL;
    float *images = mgn_alloc_aligned((size_t)n, (size_t)d * sizeof *images);
    mgn_status status = images ? mgn_map_create(model, device, real, &map) : MGN_ERR_MEMORY;
    if (status == MGN_OK) status = mgn_map_apply(map, samples->x, n, images);
    if (status == MGN_OK) *diameter = round_up(fmax(mgn_box_diagonal(images, n, y, m, d), blur));
    mgn_map_destroy(map);
    mgn_free(images);
    return status == MGN_ERR_NUMERIC ? MGN_OK : status; /* images that are not finite are the loss's to refuse */
}
