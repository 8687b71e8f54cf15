#include "fuzz.h"

#include <string.h>

#include <mgn/data.h>

#include "core/core.h"

/* The same file by its rows: the two ways agree about every value, and about what is refused. */
static void compare_mapped(const uint8_t *bytes, size_t size, const mgn_matrix *whole) {
    mgn_npy_map *map = NULL;
    if (!fuzz_succeeded(mgn_npy_map_open(fuzz_file(bytes, size), &map))) {
        fuzz_check(!whole, "a table can be read whole, but not by rows");
        return;
    }
    const int64_t rows = mgn_npy_map_rows(map), columns = mgn_npy_map_columns(map);
    mgn_matrix copy = {0};
    if (fuzz_succeeded(mgn_matrix_create(rows, columns, &copy))) {
        const bool read = fuzz_succeeded(mgn_npy_map_gather(map, NULL, rows, copy.values));
        fuzz_check(read == (whole != NULL), "a table's values are refused in one way only");
        fuzz_check(!read || memcmp(copy.values, whole->values, (size_t)(rows * columns) * sizeof(float)) == 0,
                   "a table's values differ");
    }
    mgn_matrix_free(&copy);
    mgn_npy_map_close(map);
}

void fuzz_npy(const uint8_t *bytes, size_t size) {
    mgn_matrix table = {0};
    const bool read = fuzz_succeeded(mgn_npy_parse(bytes, size, "input", &table));
    compare_mapped(bytes, size, read ? &table : NULL);
    mgn_matrix_free(&table);
}
