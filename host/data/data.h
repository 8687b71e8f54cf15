/* What the readers of this folder share. */
#ifndef MGN_HOST_DATA_H
#define MGN_HOST_DATA_H

#include <mgn/data.h>

#include <math.h>

#include "core/core.h"

/* Text out of a file, made fit for an error sentence: cut to the buffer, anything but printable ASCII shown as '?'. */
typedef struct mgn_printable {
    char text[64];
} mgn_printable;
mgn_printable mgn_make_printable(const char *text, size_t length);

/* Whether the bytes are UTF-8 as RFC 3629 has it (shortest forms, no surrogates, up to U+10FFFF). */
bool mgn_is_utf8(const char *text, size_t length);

/* Whether a number is finite and rounds to a finite float: below half a step above the largest one. NaN is not. */
static inline bool mgn_fits_float(double value) { return fabs(value) < 0x1.ffffffp127; }

#endif
