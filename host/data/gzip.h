/* Files compressed by gzip, in memory. */
#ifndef MGN_HOST_GZIP_H
#define MGN_HOST_GZIP_H

#include "core/core.h"

/* Whether the bytes begin as a gzip file does. */
bool mgn_is_gzip(const void *bytes, size_t size);

/* The content of a gzip file (of all its members, when there are several), which mgn_free releases. Content beyond
 * `limit` bytes, a file that ends early, damage and bytes after the end are MGN_ERR_FORMAT; `label` begins the sentence. */
mgn_status mgn_gunzip(const void *bytes, size_t size, const char *label, size_t limit, unsigned char **content,
                      size_t *content_size);

#endif
