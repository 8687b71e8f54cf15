/* Tables of colours as they are in memory. */
#ifndef MGN_HOST_RECOLOR_LUT_H
#define MGN_HOST_RECOLOR_LUT_H

#include "recolor/recolor.h"

/* Nodes lie evenly from `low` to `high` along each channel; between them colours are interpolated, beyond them they are
 * those of the nearest place of the domain. */
struct mgn_lut {
    int dimensions, size; /* 1: a curve for each channel; 3: a cube; nodes a side */
    double low[3], high[3];
    float *values; /* (nodes, 3), red varying fastest */
};

static inline int64_t mgn_lut_nodes(const mgn_lut *lut) {
    return lut->dimensions == 1 ? lut->size : (int64_t)lut->size * lut->size * lut->size;
}

/* A .cube file's text; `name` is for sentences. */
mgn_status mgn_cube_parse(const void *bytes, size_t size, const char *name, mgn_lut **lut);

#endif
