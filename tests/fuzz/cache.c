#include "fuzz.h"

#include <stdlib.h>
#include <string.h>

#include "backend/opencl/opencl.h"

static const char key[] = "device 1\nsource";

/* The first byte says whether the checksum is made to fit, which no mutation would find. */
void fuzz_cache(const uint8_t *bytes, size_t size) {
    enum { CHECKSUM_AT = 24, HEADER = 32 };
    char path[PATH_MAX];
    uint8_t file[4096];
    size_t loaded = 0;
    if (size < 1 || size > sizeof file) return;
    memcpy(file, bytes + 1, --size);
    if ((bytes[0] & 1) && size > HEADER) {
        const uint64_t sum = mgn_hash(MGN_HASH_START, file + HEADER, size - HEADER);
        memcpy(file + CHECKSUM_AT, &sum, sizeof sum);
    }
    setenv("XDG_CACHE_HOME", fuzz_folder(), 1);
    unsetenv("MGN_CACHE");
    if (!mgn_cl_cache_path(key, path)) fuzz_check(false, "no path");
    /* Storing makes the folder. */
    fuzz_check(mgn_cl_cache_store(key, (const unsigned char *)"x", 1), "not stored");
    fuzz_named_file(path + strlen(fuzz_folder()) + 1, file, size);
    unsigned char *binary = mgn_cl_cache_load(key, &loaded);
    fuzz_check(!binary || loaded == size - HEADER - (sizeof key - 1), "a binary of another length");
    mgn_free(binary);
}
