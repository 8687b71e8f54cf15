/* Rows that stay on the host, because the device has no memory for all of them (pages.c). */
#ifndef MGN_HOST_PAGES_H
#define MGN_HOST_PAGES_H

#include <mgn/train.h>

#include "core/random.h"

typedef struct mgn_pages mgn_pages;

/* Of `rows` rows of d numbers, which are borrowed; with window > 0, a copy of them and of those that mgn_pages_take brings, up
 * to so many. At most `most` of them are asked for at once. Errors: NUMERIC (a value is not finite), MEMORY, DEVICE. */
mgn_status mgn_pages_create(mgn_device *device, mgn_dtype real, const mgn_samples *rows, int64_t d, int64_t window,
                            int64_t most, mgn_pages **pages);
/* Takes NULL. */
void mgn_pages_destroy(mgn_pages *pages);
/* Tensors (rows, d) that mgn_pages_fill fills, all in the same memory; y is NULL where there are no targets. */
mgn_status mgn_pages_open(mgn_pages *pages, int64_t rows, mgn_tensor **x, mgn_tensor **y);
/* The next window's rows. */
void mgn_pages_take(mgn_pages *pages, const mgn_samples *rows);
/* Writes what stands at positions first .. first + rows - 1 of `order`; NULL: the rows as they lie. */
mgn_status mgn_pages_fill(mgn_pages *pages, const mgn_host_shuffle *order, int64_t first, int64_t rows);

#endif
