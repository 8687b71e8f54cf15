#include "fuzz.h"

#include <math.h>
#include <stdio.h>

#include <mgn/model.h>
#include <mgn/optim.h>

#include "cli/options.h"
#include "core/core.h"
#include "core/parse.h"

void fuzz_words(const uint8_t *bytes, size_t size) {
    char *text = fuzz_text(bytes, size);
    int64_t whole = 0, first = 0, last = 0;
    double real = 0;
    const char *best = NULL;
    mgn_image_shape shape = {0};
    mgn_activation activation;
    mgn_schedule_kind schedule;
    mgn_optimizer_shape needed;
    mgn_model_config model = {.d = 2, .h = 2, .layers = 2};
    mgn_optimizer_config optimizer = {.lr = 1};
    if (fuzz_succeeded(mgn_parse_integer("input", text, -5, 100, &whole)))
        fuzz_check(whole >= -5 && whole <= 100, "an integer out of range");
    if (fuzz_succeeded(mgn_parse_real("input", text, -5, 1e300, &real)))
        fuzz_check(isfinite(real) && real >= -5, "a number out of range");
    if (fuzz_succeeded(cli_parse_range("input", text, 1024, &first, &last)))
        fuzz_check(first >= 1 && first <= last && last <= 1024, "a range out of range");
    if (fuzz_succeeded(mgn_image_shape_parse(text, &shape)))
        fuzz_check(shape.height > 0 && shape.width > 0 && shape.channels > 0, "a shape of nothing");
    fuzz_succeeded(mgn_activation_parse(text, &activation));
    fuzz_succeeded(mgn_schedule_parse(text, &schedule));
    mgn_nearest(text, "sinkhorn", &best);
    snprintf(model.kind, sizeof model.kind, "%s", text);
    snprintf(optimizer.kind, sizeof optimizer.kind, "%s", text);
    mgn_model *made = NULL;
    fuzz_succeeded(mgn_model_create(&model, 1, &made));
    fuzz_succeeded(mgn_optimizer_check(&optimizer, &needed));
    mgn_model_destroy(made);
    mgn_free(text);
}
