/* Tables that stay in their file: a .npy of any size, of which rows are read when they are wanted.
 *
 * The file is mapped, so the system keeps the pages that are used and nothing else. A file that another program cuts
 * short while it is mapped would end this one at the next touch; its length is looked at before each use, which leaves
 * the moment of the copying itself. */
#include "data/npy.h"

#include <math.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "core/file.h"
#include "core/parallel.h"

/* Of a file larger than that, no page stays in the process after rows were taken, and so many rows are taken at a time: each
 * may bring in 64 KiB. */
enum { MOST_KEPT = 64 << 20, ROWS_PER_PIECE = 4096, ROWS_PER_CHUNK = 256 };

struct mgn_npy_map {
    mgn_mapped_file file;
    mgn_npy_layout layout;
    char *label;
};

mgn_status mgn_npy_map_open(const char *path, mgn_npy_map **map) {
    if (!path || !map)
        return mgn_fail(MGN_ERR_ARGUMENT, "opening .npy needs a path and a place for the table, not NULL");
    mgn_npy_map *made = mgn_alloc(1, sizeof *made);
    if (!made) return MGN_ERR_MEMORY;
    mgn_status status = mgn_file_map(path, &made->file);
    if (status == MGN_OK) status = mgn_npy_parse_layout(made->file.bytes, made->file.size, path, &made->layout);
    if (status == MGN_OK && !(made->label = mgn_strdup(path))) status = MGN_ERR_MEMORY;
    if (status == MGN_OK)
        *map = made;
    else
        mgn_npy_map_close(made);
    return status;
}

void mgn_npy_map_close(mgn_npy_map *map) {
    if (!map) return;
    mgn_file_unmap(&map->file);
    mgn_free(map->label);
    mgn_free(map);
}

int64_t mgn_npy_map_rows(const mgn_npy_map *map) { return map->layout.rows; }
int64_t mgn_npy_map_columns(const mgn_npy_map *map) { return map->layout.columns; }

/* ---- pages ---- */

/* What the rows take of the file, whole pages from the first one they touch; of a table by columns, all of it. */
static void find_pages(const mgn_npy_map *map, int64_t first, int64_t n, bool is_inner, uintptr_t *start,
                       size_t *size) {
    const mgn_npy_layout *layout = &map->layout;
    const size_t page = (size_t)sysconf(_SC_PAGESIZE), row = layout->item * (size_t)layout->columns;
    uintptr_t from = (uintptr_t)map->file.bytes + layout->data_at, to = from + row * (size_t)layout->rows;
    if (!layout->fortran) to = from + row * (size_t)(first + n), from += row * (size_t)first;
    from = (from + (is_inner ? page - 1 : 0)) / page * page;
    to = is_inner ? to / page * page : to;
    *start = from;
    *size = to > from ? to - from : 0;
}

/* The process's own hold on pages that were read; the system keeps them as long as it has room. */
static void let_go(const mgn_npy_map *map, int64_t first, int64_t n) {
    uintptr_t start;
    size_t size;
    find_pages(map, first, n, true, &start, &size);
    if (size > 0) (void)madvise((void *)start, size, MADV_DONTNEED);
}

/* ---- rows in any order ---- */

typedef struct gather_job {
    const mgn_npy_map *map;
    const uint32_t *index;
    int64_t n;
    float *rows;
    _Atomic int64_t refused; /* the first of the rows asked for that has a value to refuse; n: none */
} gather_job;

static void gather_chunk(void *context, int64_t chunk, int thread) {
    gather_job *job = context;
    (void)thread;
    const mgn_npy_layout *layout = &job->map->layout;
    const unsigned char *data = job->map->file.bytes + layout->data_at;
    const int64_t end = MGN_MIN((chunk + 1) * ROWS_PER_CHUNK, job->n);
    for (int64_t i = chunk * ROWS_PER_CHUNK; i < end; i++) {
        double value;
        const int64_t row = job->index ? job->index[i] : i;
        if (mgn_npy_convert_row(layout, data, row, job->rows + i * layout->columns, &value) < 0) continue;
        int64_t first = job->refused;
        while (i < first && !atomic_compare_exchange_weak(&job->refused, &first, i)) {}
        return;
    }
}

static mgn_status gather(const mgn_npy_map *map, const uint32_t *index, int64_t n, float *rows) {
    gather_job job = {map, index, n, rows, n};
    mgn_parallel(mgn_threads(), (n + ROWS_PER_CHUNK - 1) / ROWS_PER_CHUNK, gather_chunk, &job);
    if (map->file.size > MOST_KEPT) let_go(map, 0, map->layout.rows);
    if (job.refused == n) return MGN_OK;
    const int64_t row = index ? index[job.refused] : job.refused;
    double value = 0;
    const int64_t column = mgn_npy_convert_row(&map->layout, map->file.bytes + map->layout.data_at, row,
                                               rows + job.refused * map->layout.columns, &value);
    return mgn_npy_refuse_value(map->label, value, row, column);
}

mgn_status mgn_npy_map_gather(const mgn_npy_map *map, const uint32_t *index, int64_t n, float *rows) {
    const int64_t count = map->layout.rows;
    if (!rows || n < 1 || (!index && n > count))
        return mgn_fail(MGN_ERR_ARGUMENT, "%s: %lld of %lld rows and a place for them were asked for", map->label,
                        (long long)n, (long long)count);
    for (int64_t i = 0; index && i < n; i++)
        if (index[i] >= count)
            return mgn_fail(MGN_ERR_ARGUMENT, "%s: row %lld (counted from 0) was asked for, but there are %lld",
                            map->label, (long long)index[i], (long long)count);
    if (!mgn_file_is_whole(&map->file))
        return mgn_fail(MGN_ERR_IO, "%s has become shorter since it was opened", map->label);
    const int64_t piece = index && map->file.size > MOST_KEPT ? ROWS_PER_PIECE : n;
    for (int64_t first = 0; first < n; first += piece)
        MGN_TRY(
            gather(map, index ? index + first : NULL, MGN_MIN(piece, n - first), rows + first * map->layout.columns));
    return MGN_OK;
}

/* ---- rows that follow one another ---- */

/* Advice: whatever becomes of it, the rows are the same. */
void mgn_npy_map_ahead(const mgn_npy_map *map, int64_t first, int64_t n) {
    uintptr_t start;
    size_t size;
    if (map->layout.fortran) return;
    find_pages(map, first, n, false, &start, &size);
    if (size > 0) (void)madvise((void *)start, size, MADV_WILLNEED);
}

/* Rows that are floats as this machine has them, in one piece; false: they are not, or one of them is no finite number. */
static bool copy_plain(const mgn_npy_map *map, int64_t first, int64_t n, float *rows) {
    const mgn_npy_layout *layout = &map->layout;
    if (layout->kind != 'f' || layout->item != sizeof *rows || layout->swapped || layout->fortran) return false;
    const size_t row = (size_t)layout->columns * sizeof *rows;
    memcpy(rows, map->file.bytes + layout->data_at + (size_t)first * row, (size_t)n * row);
    int bad = 0;
    for (int64_t i = 0; i < n * layout->columns; i++) bad |= !(fabsf(rows[i]) < INFINITY);
    return !bad;
}

mgn_status mgn_npy_map_read(const mgn_npy_map *map, int64_t first, int64_t n, float *rows) {
    const mgn_npy_layout *layout = &map->layout;
    if (!rows || first < 0 || n < 1 || first >= layout->rows || n > layout->rows - first)
        return mgn_fail(MGN_ERR_ARGUMENT,
                        "%s: %lld rows from row %lld on, of %lld, and a place for them were asked for", map->label,
                        (long long)n, (long long)first, (long long)layout->rows);
    if (!mgn_file_is_whole(&map->file))
        return mgn_fail(MGN_ERR_IO, "%s has become shorter since it was opened", map->label);
    const bool is_copied = copy_plain(map, first, n, rows);
    for (int64_t i = 0; i < n && !is_copied; i++) {
        double value = 0;
        const int64_t column = mgn_npy_convert_row(layout, map->file.bytes + layout->data_at, first + i,
                                                   rows + i * layout->columns, &value);
        if (column >= 0) return mgn_npy_refuse_value(map->label, value, first + i, column);
    }
    let_go(map, first, n);
    return MGN_OK;
}
