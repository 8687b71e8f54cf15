/* What the experiments with colours share: their pictures as palettes, and how maps between them are judged. */
#ifndef MGN_HOST_PALETTES_H
#define MGN_HOST_PALETTES_H

#include <mgn/data.h>
#include <mgn/recolor.h>

#include "experiments/experiments.h"
#include "recolor/recolor.h"

enum { MGN_MOST_PATH = 4096 };

/* Which pictures an experiment takes. */
typedef struct mgn_pictures {
    const char *source, *target, *unseen; /* in the folder that --data names; unseen may be "" */
    const char *own_source, *own_target;  /* without --data or a pair of one's own; NULL: there are none */
    int64_t most;                         /* source pixels to learn from; 0: all */
} mgn_pictures;

/* day_street_bus_lane to sunset_red_sky, and the pair in assets/. */
extern const mgn_pictures mgn_street_pictures;

typedef struct mgn_palettes {
    char source_path[MGN_MOST_PATH], target_path[MGN_MOST_PATH], unseen_path[MGN_MOST_PATH]; /* "": nothing unseen */
    bool as_published;
    mgn_image *source, *target;
    mgn_matrix pixels, unseen;        /* the source's to learn from, and all of the unseen picture's */
    mgn_matrix few, few_unseen, aims; /* of source, unseen picture and target, for sliced distances */
    mgn_colour_gaussian aim;
    double bures, w2_before; /* the least cost of any map with the target's moments; squared sliced distance */
} mgn_palettes;

/* Reads what the configuration names: pictures of one's own, the published ones in a folder, or those in assets/. Free
 * it also after a failure. */
mgn_status mgn_palettes_read(const mgn_run *run, const mgn_pictures *pictures, mgn_palettes *p);
void mgn_palettes_free(mgn_palettes *p);

/* The published way to train, with any loss: Adam .01, weight decay .05, gradients clipped at 1, 50 epochs of 4 steps on
 * all pixels. */
mgn_status mgn_palettes_train(const mgn_run *run, const mgn_palettes *p, const mgn_loss_config *loss,
                              const mgn_trial *trial, mgn_model **model, int64_t *steps);
/* `mgn recolor`'s, with the target's Gaussian or a mixture of `components`. */
mgn_status mgn_palettes_recolor(const mgn_run *run, const mgn_palettes *p, int64_t components, const mgn_trial *trial,
                                mgn_model **model, int64_t *steps);

/* The Gaussian of a mapped palette (widened by 1e-6, as the loss does it), and the map's cost E|x - g(x)|^2. */
mgn_status mgn_palettes_moments(mgn_map *map, const mgn_matrix *palette, mgn_colour_gaussian *after, double *cost);
/* Sliced distance of a mapped palette, clipped as in a picture, to the target's. */
mgn_status mgn_palettes_slices(mgn_map *map, const mgn_matrix *palette, const mgn_matrix *aims, uint64_t seed,
                               double *squared);

/* Before, after and target side by side, and the unseen picture before and after, as
 * "LABEL-RECIPE-MODEL-PARAMETERS[-gaussian].png" in the folder that the configuration names; nothing where it names
 * none. */
mgn_status mgn_palettes_show(const mgn_run *run, const mgn_palettes *p, const char *label, const mgn_trial *trial,
                             const mgn_model *model, mgn_map *map);

#endif
