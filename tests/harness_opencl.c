/* Which OpenCL device the tests use. Apart from harness.c, so that programs without a device link without backends. */
#include "harness.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <mgn/device.h>

const char *mgn_test_opencl_spec(void) {
    static char spec[32];
    if (*spec) return spec;
    mgn_test_without_forks = true;
    mgn_device_info infos[16];
    size_t count = 0;
    const char *required = getenv("MGN_REQUIRE_OPENCL"), *asked = getenv("MGN_DEVICE");
    if (mgn_device_list(infos, 16, &count) != MGN_OK) {
        printf("FAIL: listing the devices: %s\n", mgn_last_error());
        exit(1);
    }
    for (size_t i = 0; i < count && i < 16; i++) {
        if (strncmp(infos[i].spec, "opencl", 6) != 0) continue;
        if (asked && strncmp(asked, "opencl:", 7) == 0 && strcmp(asked, infos[i].spec) != 0) continue;
        printf("mgn-test: OpenCL device %s (%s)\n", infos[i].name, infos[i].version);
        fflush(stdout);
        memcpy(spec, infos[i].spec, sizeof spec);
        return spec;
    }
    printf("mgn-test: no OpenCL device\n");
    fflush(stdout);
    if (required && strcmp(required, "1") == 0) {
        printf("FAIL: MGN_REQUIRE_OPENCL=1, and no OpenCL device was found\n");
        fflush(stdout);
        exit(1);
    }
    return NULL;
}

/* The loader reads OCL_ICD_VENDORS when it is first used. */
const char *mgn_test_faulty_spec(void) {
    char path[700];
    const char *folder = mgn_test_path("vendors"), *library = getenv("MGN_FAULTY_CL");
    if (!library) return NULL;
    mkdir(folder, 0700);
    snprintf(path, sizeof path, "%s/faulty.icd", folder);
    mgn_test_write_file(path, library, strlen(library));
    snprintf(path, sizeof path, "%s/", folder);
    setenv("OCL_ICD_VENDORS", path, 1);
    return mgn_test_opencl_spec();
}
