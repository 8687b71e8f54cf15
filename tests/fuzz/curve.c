#include "fuzz.h"

#include "train/curve.h"

/* The first byte: .csv or .jsonl, and the epoch of the checkpoint. */
void fuzz_curve(const uint8_t *bytes, size_t size) {
    static const mgn_train_report report = {.epoch = 3, .epochs = 4, .steps = 5, .loss = 1, .lr = .1};
    mgn_curve *curve = NULL;
    if (size < 1) return;
    const char *path = fuzz_named_file(bytes[0] & 1 ? "curve.csv" : "curve.jsonl", bytes + 1, size - 1);
    if (!fuzz_succeeded(mgn_curve_open(path, bytes[0] >> 1 & 3, &curve))) return;
    fuzz_check(mgn_curve_add(curve, &report) == MGN_OK, "a line cannot be added");
    mgn_curve_close(curve);
}
