/* What the files of the experiments mnist and digits share. */
#ifndef MGN_HOST_DIGITS_H
#define MGN_HOST_DIGITS_H

#include <mgn/image_set.h>

#include "experiments/experiments.h"

typedef struct mgn_digits {
    const char *label;        /* of the experiment */
    mgn_image_set shape;      /* count, height and width only */
    mgn_matrix train, test;   /* in [0, 1] */
    mgn_matrix noise;         /* as many rows as test: what models are judged on */
    double sinkhorn, frechet; /* floors: training digits, as many as test, instead of generated ones */
} mgn_digits;

/* The model itself, pictures of a map's samples, of the training digits nearest to them, of ways between two noises, and of the way from
 * noise to digits, into the folder that the configuration names; nothing where it names none. */
mgn_status mgn_draw_digits(const mgn_run *run, const mgn_digits *digits, const mgn_trial *trial, const mgn_model *model,
                           mgn_map *map);

#endif
