/* libFuzzer's two functions. MGN_FUZZ_TARGET names the target; with MGN_FUZZ_SEEDS=FOLDER the seeds that are made are written
 * there, and with MGN_FUZZ_LIST=1 the targets are listed as "name longest megabytes", and nothing is run. */
#include "fuzz.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/core.h"

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static const fuzz_target *chosen;

int LLVMFuzzerInitialize(int *argc, char ***argv) {
    (void)argc, (void)argv;
    const char *label = getenv("MGN_FUZZ_TARGET"), *seeds = getenv("MGN_FUZZ_SEEDS");
    mgn_set_quiet(true);
    mgn_set_threads(1);
    if (seeds) {
        fuzz_make_seeds(seeds);
        exit(0);
    }
    for (size_t i = 0; i < fuzz_target_count; i++) {
        if (getenv("MGN_FUZZ_LIST"))
            printf("%s %zu %d\n", fuzz_targets[i].label, fuzz_targets[i].longest, fuzz_targets[i].megabytes);
        if (label && strcmp(label, fuzz_targets[i].label) == 0) chosen = &fuzz_targets[i];
    }
    if (getenv("MGN_FUZZ_LIST")) exit(0);
    fuzz_check(chosen != NULL, "MGN_FUZZ_TARGET names no target");
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    chosen->run(bytes, size);
    return 0;
}
