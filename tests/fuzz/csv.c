#include "fuzz.h"

#include <math.h>

#include <mgn/data.h>

void fuzz_csv(const uint8_t *bytes, size_t size) {
    mgn_matrix table = {0};
    if (!fuzz_succeeded(mgn_csv_parse(bytes, size, "input", &table))) return;
    fuzz_check(table.rows > 0 && table.columns > 0, "an empty table");
    for (int64_t i = 0; i < table.rows * table.columns; i++) fuzz_check(isfinite(table.values[i]), "an infinite value");
    mgn_matrix_free(&table);
}
