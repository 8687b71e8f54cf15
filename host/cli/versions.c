/* `mgn --version`: what a report of a fault should name. Versions come from the libraries that run, where they tell. */
#define CL_TARGET_OPENCL_VERSION 120
#include <stdio.h> /* jpeglib.h needs FILE */
#include <string.h>

#include <CL/cl.h>
#include <cblas.h>
#include <clblast_c.h>
#include <jpeglib.h>
#include <lapacke.h>
#include <omp.h>
#include <spng.h>
#include <zlib.h>

#include "cli.h"
#include "versions.h"

#define TEXT_OF(token) #token
#define TEXT(macro) TEXT_OF(macro)

/* An extension of ocl-icd, the usual loader; others say nothing about themselves. */
static void describe_loader(char *text, size_t capacity) {
    typedef cl_int loader_info(int what, size_t size, void *value, size_t *needed);
    enum { LOADER_VERSION = 2 };
    union {
        void *address;
        loader_info *call;
    } found;
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations" /* the replacement wants a platform; a loader has none */
    found.address = clGetExtensionFunctionAddress("clGetICDLoaderInfoOCLICD");
#pragma GCC diagnostic pop
    char version[64] = "";
    if (found.address && found.call(LOADER_VERSION, sizeof version, version, NULL) == CL_SUCCESS)
        snprintf(text, capacity, "ocl-icd %.*s", (int)sizeof version - 1, version);
    else
        snprintf(text, capacity, "unknown loader");
}

static void find_lapack(char *text, size_t capacity) {
    lapack_int major = 0, minor = 0, patch = 0;
    LAPACKE_ilaver(&major, &minor, &patch);
    snprintf(text, capacity, "%d.%d.%d", (int)major, (int)minor, (int)patch);
}

void cli_find_versions(cli_versions *versions) {
    describe_loader(versions->loader, sizeof versions->loader);
    find_lapack(versions->lapack, sizeof versions->lapack);
    const char *blas = openblas_get_config(); /* "OpenBLAS 0.3.21 DYNAMIC_ARCH ..." */
    if (strncmp(blas, "OpenBLAS ", 9) == 0) blas += 9;
    const mgn_report_fact rows[] = {
        {"mgn", mgn_version()},
        {"OpenCL", versions->loader},
        {"CLBlast", TEXT(CLBLAST_VERSION_MAJOR) "." TEXT(CLBLAST_VERSION_MINOR) "." TEXT(CLBLAST_VERSION_PATCH)},
        {"OpenBLAS", blas},
        {"LAPACK", versions->lapack},
        {"OpenMP", TEXT(_OPENMP)},
#ifdef LIBJPEG_TURBO_VERSION
        {"libjpeg-turbo", TEXT(LIBJPEG_TURBO_VERSION)},
#else
        {"libjpeg", TEXT(JPEG_LIB_VERSION)},
#endif
        {"libspng", spng_version_string()},
        {"zlib", zlibVersion()},
        {"cJSON", cJSON_Version()},
        {"Random123", "(headers)"},
        {"compiler", __VERSION__},
    };
    _Static_assert(MGN_COUNT(rows) <= CLI_MOST_VERSIONS, "room for all rows");
    memcpy(versions->rows, rows, sizeof rows);
    versions->count = MGN_COUNT(rows);
}

mgn_status cli_print_versions(bool json) {
    cli_versions versions;
    cli_find_versions(&versions);
    if (!json) {
        for (size_t i = 0; i < versions.count; i++) printf("%s %s\n", versions.rows[i].label, versions.rows[i].value);
        return MGN_OK;
    }
    cJSON *object = cJSON_CreateObject();
    for (size_t i = 0; i < versions.count; i++)
        cJSON_AddStringToObject(object, versions.rows[i].label, versions.rows[i].value);
    return cli_print_json(object);
}
