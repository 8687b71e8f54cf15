#include "fuzz.h"

#include <mgn/image_set.h>

void fuzz_idx(const uint8_t *bytes, size_t size) {
    mgn_image_set set = {0};
    mgn_matrix rows = {0};
    if (!fuzz_succeeded(mgn_idx_parse(bytes, size, "input", &set))) return;
    fuzz_check(set.count > 0 && set.height > 0 && set.width > 0 && set.channels == 1, "a set without pictures");
    if (set.count * set.height * set.width < 1 << 20) fuzz_succeeded(mgn_image_set_rows(&set, &rows));
    mgn_matrix_free(&rows);
    mgn_image_set_free(&set);
}
