#include "fuzz.h"

#include <math.h>

#include <mgn/look.h>

void fuzz_map(const uint8_t *bytes, size_t size) {
    mgn_model *model = NULL;
    mgn_look look = {0};
    const char *path = fuzz_file(bytes, size);
    if (fuzz_succeeded(mgn_look_load(path, &model, &look)))
        fuzz_check(look.strength >= 0 && look.strength <= 1 && isfinite(look.low[0]), "a look that makes no sense");
    mgn_model_destroy(model);
    model = NULL;
    if (fuzz_succeeded(mgn_model_load(path, &model)))
        fuzz_check(mgn_model_get_config(model)->d > 0 && mgn_model_parameter_count(model) > 0, "an empty model");
    mgn_model_destroy(model);
}
