/* Inflating a file in memory, through zlib. The output grows by doubling, because the length that stands at a file's end
 * is the file's claim: a small file that inflates to terabytes stops at the limit. */
#include "data/gzip.h"

#include <limits.h>
#include <zlib.h>

enum { FIRST_BLOCK = 1 << 20, GZIP_ONLY = 16 };

bool mgn_is_gzip(const void *bytes, size_t size) {
    const unsigned char *b = bytes;
    return size >= 2 && b[0] == 0x1f && b[1] == 0x8b;
}

typedef struct inflater {
    z_stream stream;
    const unsigned char *at, *end; /* what zlib has not been given yet */
    unsigned char *content;
    size_t used, capacity, limit;
    const char *label;
} inflater;

/* Room for more content. */
static mgn_status grow(inflater *i) {
    if (i->used < i->capacity) return MGN_OK;
    if (i->used >= i->limit)
        return mgn_fail(MGN_ERR_FORMAT, "%s: inflates to more than the %zu bytes that are accepted here", i->label,
                        i->limit);
    const size_t doubled = i->capacity > i->limit / 2 ? i->limit : 2 * i->capacity;
    const size_t capacity = i->capacity ? doubled : MGN_MIN(i->limit, (size_t)FIRST_BLOCK);
    unsigned char *grown = mgn_realloc(i->content, capacity, 1);
    if (!grown) return MGN_ERR_MEMORY;
    i->content = grown;
    i->capacity = capacity;
    return MGN_OK;
}

/* One call of inflate; zlib counts in 32 bits. */
static int step(inflater *i) {
    z_stream *z = &i->stream;
    const size_t left = (size_t)(i->end - i->at), room = i->capacity - i->used;
    const uInt given = (uInt)MGN_MIN(left, (size_t)INT_MAX), offered = (uInt)MGN_MIN(room, (size_t)INT_MAX);
    z->next_in = (z_const Bytef *)i->at;
    z->avail_in = given;
    z->next_out = i->content + i->used;
    z->avail_out = offered;
    const int code = inflate(z, Z_NO_FLUSH);
    i->at += given - z->avail_in;
    i->used += offered - z->avail_out;
    return code;
}

static mgn_status inflate_all(inflater *i) {
    for (;;) {
        MGN_TRY(grow(i));
        const int code = step(i);
        if (code == Z_STREAM_END) {
            if (i->at == i->end) return MGN_OK;
            if (!mgn_is_gzip(i->at, (size_t)(i->end - i->at)))
                return mgn_fail(MGN_ERR_FORMAT, "%s: %zu bytes follow the end of the gzip data", i->label,
                                (size_t)(i->end - i->at));
            if (inflateReset(&i->stream) != Z_OK) return mgn_fail(MGN_ERR_FORMAT, "%s: cannot be inflated", i->label);
            continue;
        }
        if (code == Z_MEM_ERROR) return mgn_fail(MGN_ERR_MEMORY, "%s: out of memory while inflating", i->label);
        const bool full = i->used == i->capacity;
        if (code == Z_BUF_ERROR || (code == Z_OK && i->at == i->end && !full)) {
            if (full) continue;
            return mgn_fail(MGN_ERR_FORMAT, "%s: the gzip data ends early, after %zu bytes of content", i->label,
                            i->used);
        }
        if (code != Z_OK)
            return mgn_fail(MGN_ERR_FORMAT, "%s: the gzip data is damaged after %zu bytes of content: %s", i->label,
                            i->used, i->stream.msg ? i->stream.msg : "it cannot be inflated");
    }
}

mgn_status mgn_gunzip(const void *bytes, size_t size, const char *label, size_t limit, unsigned char **content,
                      size_t *content_size) {
    const unsigned char *start = bytes;
    inflater i = {.at = start, .end = start + size, .limit = limit, .label = label};
    if (inflateInit2(&i.stream, GZIP_ONLY + MAX_WBITS) != Z_OK)
        return mgn_fail(MGN_ERR_MEMORY, "%s: zlib cannot be set up", label);
    const mgn_status status = inflate_all(&i);
    inflateEnd(&i.stream);
    if (status != MGN_OK) {
        mgn_free(i.content);
        return status;
    }
    *content = i.content;
    *content_size = i.used;
    return MGN_OK;
}
