#include "fuzz.h"

#include <mgn/mixture.h>

void fuzz_mixture(const uint8_t *bytes, size_t size) {
    mgn_mixture mixture = {0};
    if (!fuzz_succeeded(mgn_mixture_load(fuzz_file(bytes, size), &mixture))) return;
    fuzz_check(mgn_mixture_check(&mixture) == MGN_OK, "a mixture that is none");
    mgn_mixture_free(&mixture);
}
