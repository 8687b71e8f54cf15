#include "fuzz.h"

#include <mgn/data.h>

/* What was read can be written, unless the writer refuses what no other program would load. */
static void write_again(const mgn_safetensors *file) { fuzz_succeeded(mgn_safetensors_write("/dev/null", file)); }

void fuzz_safetensors(const uint8_t *bytes, size_t size) {
    mgn_safetensors file = {0};
    if (!fuzz_succeeded(mgn_safetensors_parse(bytes, size, "input", &file))) return;
    for (size_t i = 0; i < file.tensor_count; i++)
        fuzz_check(mgn_safetensors_find(&file, file.tensors[i].name) == &file.tensors[i], "a name is there twice");
    for (size_t i = 0; i < file.metadata_count; i++)
        fuzz_check(mgn_safetensors_get(&file, file.metadata[i].key) == file.metadata[i].value, "a key is there twice");
    write_again(&file);
    mgn_safetensors_free(&file);
}
