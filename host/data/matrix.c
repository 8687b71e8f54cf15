/* Tables of samples: their memory, the choice between file formats, and what the readers share. */
#include <mgn/data.h>

#include <string.h>
#include <strings.h>

#include "core/file.h"
#include "data/data.h"

mgn_status mgn_matrix_create(int64_t rows, int64_t columns, mgn_matrix *matrix) {
    if (!matrix) return mgn_fail(MGN_ERR_ARGUMENT, "a table was to be created, but the place for it is NULL");
    int64_t count;
    if (rows < 1 || columns < 1 || __builtin_mul_overflow(rows, columns, &count) || count > INT64_MAX / 8)
        return mgn_fail(MGN_ERR_ARGUMENT,
                        "a table needs at least one row and one column and must be addressable, not %lld x %lld",
                        (long long)rows, (long long)columns);
    float *values = mgn_alloc_aligned((size_t)count, sizeof *values);
    if (!values) return MGN_ERR_MEMORY;
    *matrix = (mgn_matrix){rows, columns, values};
    return MGN_OK;
}

void mgn_matrix_free(mgn_matrix *matrix) {
    if (!matrix) return;
    mgn_free(matrix->values);
    *matrix = (mgn_matrix){0};
}

mgn_status mgn_table_read(const char *path, mgn_matrix *matrix) {
    if (!path || !matrix)
        return mgn_fail(MGN_ERR_ARGUMENT, "reading a table needs a path and a place for the table, not NULL");
    unsigned char *bytes;
    size_t size;
    MGN_TRY(mgn_file_read(path, SIZE_MAX, &bytes, &size));
    const bool npy = size >= 6 && memcmp(bytes, "\x93NUMPY", 6) == 0;
    const mgn_status status = (npy ? mgn_npy_parse : mgn_csv_parse)(bytes, size, path, matrix);
    mgn_free(bytes);
    return status;
}

static bool ends_with(const char *path, const char *ending) {
    const size_t length = strlen(path), tail = strlen(ending);
    return length > tail && strcasecmp(path + length - tail, ending) == 0;
}

mgn_status mgn_table_write(const char *path, const mgn_matrix *matrix) {
    if (!path) return mgn_fail(MGN_ERR_ARGUMENT, "writing a table needs a path, not NULL");
    if (ends_with(path, ".npy")) return mgn_npy_write(path, matrix);
    if (ends_with(path, ".csv")) return mgn_csv_write(path, matrix, NULL);
    return mgn_fail(MGN_ERR_ARGUMENT, "%s: a table is written as .npy or .csv; give the name one of these endings",
                    path);
}

mgn_printable mgn_make_printable(const char *text, size_t length) {
    mgn_printable shown;
    const size_t room = sizeof shown.text - 1;
    const size_t count = MGN_MIN(length, room);
    for (size_t i = 0; i < count; i++) {
        const unsigned char c = (unsigned char)text[i];
        shown.text[i] = c >= 0x20 && c < 0x7f ? text[i] : '?';
    }
    if (length > room) memcpy(shown.text + room - 3, "...", 3);
    shown.text[count] = 0;
    return shown;
}

bool mgn_is_utf8(const char *text, size_t length) {
    const unsigned char *s = (const unsigned char *)text;
    for (size_t i = 0; i < length;) {
        const unsigned char lead = s[i];
        const size_t more = lead < 0x80                   ? 0
                            : lead >= 0xc2 && lead < 0xe0 ? 1
                            : (lead & 0xf0) == 0xe0       ? 2
                            : lead >= 0xf0 && lead < 0xf5 ? 3
                                                          : SIZE_MAX;
        if (more > length - i - 1) return false;
        for (size_t k = 1; k <= more; k++)
            if ((s[i + k] & 0xc0) != 0x80) return false;
        if (more > 1) {
            const unsigned char second = s[i + 1];
            if ((lead == 0xe0 && second < 0xa0) || (lead == 0xed && second >= 0xa0) ||
                (lead == 0xf0 && second < 0x90) || (lead == 0xf4 && second >= 0x90))
                return false;
        }
        i += more + 1;
    }
    return true;
}
