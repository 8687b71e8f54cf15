#include "fuzz.h"

#include <math.h>

#include "recolor/lut.h"

/* What is read gives every colour a finite one. */
void fuzz_cube(const uint8_t *bytes, size_t size) {
    static const float corners[][3] = {{0, 0, 0}, {1, 1, 1}, {0.25f, 0.5f, 0.75f}, {-3, 0.5f, 1e6f}};
    mgn_lut *lut = NULL;
    float colours[4][3];
    if (!fuzz_succeeded(mgn_cube_parse(bytes, size, "input", &lut))) return;
    fuzz_check(mgn_lut_colours(lut, 1, corners[0], 4, colours[0]) == MGN_OK, "a table that cannot be used");
    for (int i = 0; i < 12; i++) fuzz_check(isfinite(colours[i / 3][i % 3]), "a colour that is not finite");
    mgn_lut_destroy(lut);
}
