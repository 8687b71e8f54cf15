/* What the two ways to read .npy share: the whole table at once (npy.c), or rows of a file that stays where it is
 * (npy_map.c). */
#ifndef MGN_HOST_NPY_H
#define MGN_HOST_NPY_H

#include "core/file.h"
#include "data/data.h"

/* Where a table's elements stand in a file, and what they are. */
typedef struct mgn_npy_layout {
    char kind;   /* 'f', 'i', 'u', 'b' */
    size_t item; /* bytes of one element */
    bool swapped, fortran;
    int64_t rows, columns;
    size_t data_at; /* of the first element, from the file's start */
} mgn_npy_layout;

/* Reads the header at the start of `bytes`, and holds its shape against the `size` bytes of the file; of the data nothing
 * is looked at. */
mgn_status mgn_npy_parse_layout(const void *bytes, size_t size, const char *label, mgn_npy_layout *layout);

/* Row `row` as floats from the data. The first column whose value is no finite float, with that value; -1: there is none. */
int64_t mgn_npy_convert_row(const mgn_npy_layout *layout, const unsigned char *data, int64_t row, float *out,
                            double *refused);

/* The sentence about such a value. */
mgn_status mgn_npy_refuse_value(const char *label, double value, int64_t row, int64_t column);

/* What stands before the rows of such a table as mgn_npy_write makes; they follow as floats. */
mgn_status mgn_npy_write_header(mgn_output_file *output, int64_t rows, int64_t columns);

/* Says that the rows will be read soon, so that the disk may begin (npy_map.c). */
void mgn_npy_map_ahead(const mgn_npy_map *map, int64_t first, int64_t n);

#endif
