#include "fuzz.h"

#include <mgn/image_set.h>

void fuzz_cifar(const uint8_t *bytes, size_t size) {
    mgn_image_set set = {0};
    if (!fuzz_succeeded(mgn_cifar_parse(bytes, size, "input", &set))) return;
    for (int64_t i = 0; i < set.count; i++) fuzz_check(set.labels[i] < 10, "a label above 9");
    mgn_image_set_free(&set);
}
