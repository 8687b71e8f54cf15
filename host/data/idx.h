/* IDX, for the reader of targets too. */
#ifndef MGN_HOST_IDX_H
#define MGN_HOST_IDX_H

#include <mgn/image_set.h>

#include "core/core.h"

/* Whether the bytes begin as an IDX file does: two zeros and a type. */
bool mgn_is_idx(const void *bytes, size_t size);

#endif
