/* The limits and checks that reading and writing safetensors share. */
#ifndef MGN_HOST_SAFETENSORS_H
#define MGN_HOST_SAFETENSORS_H

#include <mgn/data.h>

#include "core/file.h"

enum {
    MGN_SAFETENSORS_PREFIX = 8,            /* the header's length, little endian */
    MGN_SAFETENSORS_MAX_HEADER = 16 << 20, /* far above any model's; bounds what a parsed header takes in memory */
};

/* "F32", "F64" or "U32": what the header calls the type. */
const char *mgn_safetensors_type(mgn_dtype dtype);

/* Bytes of a tensor; ARGUMENT where a dimension is negative or the product cannot be addressed. */
mgn_status mgn_safetensors_bytes(const char *name, mgn_dtype dtype, mgn_shape shape, size_t *bytes);

/* mgn_safetensors_write up to the commit, for who writes several files that belong together. */
mgn_status mgn_safetensors_prepare(const char *path, const mgn_safetensors *file, mgn_output_file **written);

/* NUMERIC, with the flat index, where an element is NaN or infinite. */
mgn_status mgn_safetensors_check_finite(const char *label, const mgn_stored_tensor *tensor);

/* Two entries with the same text, from an array of `count` pointers that the call sorts; NULL when all differ. */
const char *mgn_find_duplicate(const char **texts, size_t count);

#endif
