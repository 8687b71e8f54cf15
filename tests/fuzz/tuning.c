#include "fuzz.h"

#include "backend/opencl/opencl.h"

void fuzz_tuning(const uint8_t *bytes, size_t size) {
    mgn_cl_tuning tuning = {0};
    cJSON *report = mgn_cl_tuning_parse((const char *)bytes, size, &tuning);
    if (!report) return;
    fuzz_check(tuning.count <= MGN_CL_TUNED_MOST, "more shapes than there is room for");
    for (size_t i = 0; i < tuning.count; i++) {
        const mgn_cl_tuned_shape *shape = &tuning.shapes[i];
        fuzz_check(shape->choice.route < MGN_CL_ROUTE_COUNT, "a way that there is not");
        fuzz_check(shape->choice.route != MGN_CL_tile || mgn_cl_tile_valid(&shape->choice.tile), "a tile out of range");
        fuzz_check(mgn_cl_tuned_nearest(&tuning, shape->m, shape->n, shape->k) != NULL, "a shape that is not found");
    }
    cJSON_Delete(report);
}
