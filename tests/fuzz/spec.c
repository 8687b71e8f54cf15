#include "fuzz.h"

#include <string.h>

#include <mgn/target.h>

#include "core/core.h"

/* A Gaussian of thousands of dimensions is what such a text may ask for, and takes long. */
static bool is_large(const char *text) {
    const char *digits = strncmp(text, "normal:", 7) == 0 ? text + 7 : "";
    return strspn(digits + strspn(digits, "+0"), "0123456789") > 2;
}

void fuzz_spec(const uint8_t *bytes, size_t size) {
    mgn_target *target = NULL;
    char *text = fuzz_text(bytes, size);
    float rows[64];
    if (!is_large(text) && fuzz_succeeded(mgn_target_parse(text, &target))) {
        const int64_t d = mgn_target_dimension(target);
        fuzz_check(d > 0 && strcmp(mgn_target_label(target), text) == 0, "a target of nothing");
        if (d <= 64) fuzz_check(mgn_target_sample(target, 1, 1, rows) == MGN_OK, "a target that gives no samples");
    }
    mgn_target_destroy(target);
    mgn_free(text);
}
