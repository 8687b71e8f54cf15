#include "data/shards.h"

#include <errno.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "core/file.h"
#include "data/npy.h"

enum { MOST_LIST_BYTES = 16 << 20 };

struct mgn_shards {
    mgn_npy_map **maps;
    char **paths;
    int64_t *starts; /* the first row of each, and the end */
    size_t count, room;
};

/* ---- what the list is ---- */

static bool is_folder(const char *path) {
    struct stat about;
    return stat(path, &about) == 0 && S_ISDIR(about.st_mode);
}

/* The .npy files of a folder, or those that match; none is no failure of glob's. */
static bool find(const char *text, bool is_in_folder, glob_t *found) {
    *found = (glob_t){0};
    if (!is_in_folder) return glob(text, GLOB_NOSORT, NULL, found) == 0;
    char *pattern = mgn_alloc(2 * strlen(text) + 8, 1), *to = pattern;
    if (!pattern) return false;
    for (const char *c = text; *c; c++) {
        if (strchr("\\*?[", *c)) *to++ = '\\'; /* the folder's own name is no pattern */
        *to++ = *c;
    }
    memcpy(to, "/*.npy", sizeof "/*.npy");
    const bool is_found = glob(pattern, GLOB_NOSORT, NULL, found) == 0;
    mgn_free(pattern);
    return is_found;
}

bool mgn_shards_is_list(const char *text) {
    struct stat about;
    glob_t found;
    if (stat(text, &about) != 0) return *text == '@' || strpbrk(text, ",*?[") != NULL;
    const bool is_found = S_ISDIR(about.st_mode) && find(text, true, &found);
    if (is_found) globfree(&found);
    return is_found;
}

/* ---- opening ---- */

static mgn_status add(mgn_shards *s, const char *path, size_t length) {
    if (s->count == s->room) {
        const size_t room = s->room ? 2 * s->room : 16;
        mgn_npy_map **maps = mgn_realloc(s->maps, room, sizeof *maps);
        if (maps) s->maps = maps;
        char **paths = maps ? mgn_realloc(s->paths, room, sizeof *paths) : NULL;
        if (paths) s->paths = paths;
        int64_t *starts = paths ? mgn_realloc(s->starts, room + 1, sizeof *starts) : NULL;
        if (!starts) return MGN_ERR_MEMORY;
        s->starts = starts;
        s->starts[0] = 0;
        s->room = room;
    }
    char *name = mgn_alloc(length + 1, 1);
    if (!name) return MGN_ERR_MEMORY;
    memcpy(name, path, length);
    mgn_npy_map *map = NULL;
    const mgn_status status = mgn_npy_map_open(name, &map);
    if (status != MGN_OK) {
        mgn_free(name);
        return status;
    }
    s->maps[s->count] = map;
    s->paths[s->count] = name;
    s->starts[s->count + 1] = s->starts[s->count] + mgn_npy_map_rows(map);
    s->count++;
    if (mgn_npy_map_columns(map) != mgn_shards_columns(s))
        return mgn_fail(MGN_ERR_ARGUMENT, "%s has %lld columns, but %s has %lld; the files of a list make one table",
                        name, (long long)mgn_npy_map_columns(map), s->paths[0], (long long)mgn_shards_columns(s));
    if (s->starts[s->count] > UINT32_MAX)
        return mgn_fail(MGN_ERR_UNSUPPORTED, "%s: row %lld and beyond; tables of up to 2^32 - 1 rows are possible",
                        name, (long long)s->starts[s->count] - 1);
    return MGN_OK;
}

static mgn_status add_items(mgn_shards *s, const char *text, char stop) {
    while (*text) {
        const size_t length = strcspn(text, (char[]){stop, 0});
        size_t used = length;
        while (stop == '\n' && used > 0 && strchr(" \t\r", text[used - 1])) used--;
        const bool is_left_out = stop == '\n' && (used == 0 || *text == '#');
        if (used == 0 && !is_left_out) return mgn_fail(MGN_ERR_ARGUMENT, "a list of files has an empty name in it");
        if (!is_left_out) MGN_TRY(add(s, text, used));
        text += length + (text[length] != 0);
    }
    return MGN_OK;
}

static mgn_status add_list_file(mgn_shards *s, const char *path) {
    unsigned char *bytes;
    size_t size;
    MGN_TRY(mgn_file_read(path, MOST_LIST_BYTES, &bytes, &size));
    const mgn_status status = memchr(bytes, 0, size)
                                  ? mgn_fail(MGN_ERR_FORMAT, "%s: a list of files, one a line, was expected", path)
                                  : add_items(s, (const char *)bytes, '\n');
    mgn_free(bytes);
    return status;
}

static int by_bytes(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

static mgn_status add_found(mgn_shards *s, const char *text) {
    glob_t found;
    if (!find(text, is_folder(text), &found)) return MGN_OK;
    qsort(found.gl_pathv, found.gl_pathc, sizeof *found.gl_pathv, by_bytes);
    mgn_status status = MGN_OK;
    for (size_t i = 0; i < found.gl_pathc && status == MGN_OK; i++)
        status = add(s, found.gl_pathv[i], strlen(found.gl_pathv[i]));
    globfree(&found);
    return status;
}

static mgn_status add_all(mgn_shards *s, const char *text) {
    if (!mgn_shards_is_list(text)) return add(s, text, strlen(text));
    if (*text == '@') return add_list_file(s, text + 1);
    if (is_folder(text) || !strchr(text, ',')) return add_found(s, text);
    return add_items(s, text, ',');
}

mgn_status mgn_shards_open(const char *text, mgn_shards **shards) {
    mgn_shards *made = mgn_alloc(1, sizeof *made);
    if (!made) return MGN_ERR_MEMORY;
    mgn_status status = add_all(made, text);
    if (status == MGN_OK && made->count == 0)
        status = mgn_fail(MGN_ERR_IO, "%s: there is no such file, and no list that names one", text);
    if (status == MGN_OK)
        *shards = made;
    else
        mgn_shards_close(made);
    return status;
}

void mgn_shards_close(mgn_shards *s) {
    if (!s) return;
    for (size_t i = 0; i < s->count; i++) {
        mgn_npy_map_close(s->maps[i]);
        mgn_free(s->paths[i]);
    }
    mgn_free(s->maps);
    mgn_free(s->paths);
    mgn_free(s->starts);
    mgn_free(s);
}

int64_t mgn_shards_rows(const mgn_shards *s) { return s->starts[s->count]; }
int64_t mgn_shards_columns(const mgn_shards *s) { return mgn_npy_map_columns(s->maps[0]); }

/* ---- reading ---- */

/* The file that has the row. */
static size_t find_shard(const mgn_shards *s, int64_t row) {
    size_t low = 0, high = s->count;
    while (high - low > 1) {
        const size_t middle = (low + high) / 2;
        if (s->starts[middle] <= row)
            low = middle;
        else
            high = middle;
    }
    return low;
}

mgn_status mgn_shards_read(const mgn_shards *s, int64_t first, int64_t n, float *rows) {
    const int64_t count = mgn_shards_rows(s), columns = mgn_shards_columns(s);
    if (first < 0 || n < 0 || first > count || n > count - first)
        return mgn_fail(MGN_ERR_ARGUMENT, "%s: %lld rows from row %lld on (counted from 0) were asked for, of %lld",
                        s->paths[0], (long long)n, (long long)first, (long long)count);
    for (int64_t done = 0; done < n;) {
        const size_t i = find_shard(s, first + done);
        const int64_t part = MGN_MIN(n - done, s->starts[i + 1] - first - done);
        MGN_TRY(mgn_npy_map_read(s->maps[i], first + done - s->starts[i], part, rows + done * columns));
        done += part;
    }
    return MGN_OK;
}

void mgn_shards_ahead(const mgn_shards *s, int64_t first, int64_t n) {
    for (int64_t done = 0; done < n && first + done < mgn_shards_rows(s);) {
        const size_t i = find_shard(s, first + done);
        const int64_t part = MGN_MIN(n - done, s->starts[i + 1] - first - done);
        mgn_npy_map_ahead(s->maps[i], first + done - s->starts[i], part);
        done += part;
    }
}

mgn_status mgn_shards_gather(const mgn_shards *s, const uint32_t *index, int64_t n, float *rows) {
    if (s->count == 1) return mgn_npy_map_gather(s->maps[0], index, n, rows);
    const int64_t count = mgn_shards_rows(s), columns = mgn_shards_columns(s);
    for (int64_t i = 0; i < n; i++) {
        const uint32_t row = index[i];
        if (row >= count)
            return mgn_fail(MGN_ERR_ARGUMENT, "%s: row %lld (counted from 0) was asked for, but there are %lld",
                            s->paths[0], (long long)row, (long long)count);
        const size_t shard = find_shard(s, row);
        const uint32_t place = (uint32_t)(row - s->starts[shard]);
        MGN_TRY(mgn_npy_map_gather(s->maps[shard], &place, 1, rows + i * columns));
    }
    return MGN_OK;
}
