/* Applying a colour map (cmgn, d = 3, h = 3, two layers) to a picture of 10.5 megapixels that lies in the host's
 * memory: bytes to bytes, as pictures are, and floats to floats. Copies to and from the device are part of it. */
#include <string.h>

#include <mgn/model.h>

#include "bench/sampling.h"

enum { PIXELS = 3972 * 2648 };

static const char *const types[] = {"u8", "f32"};

typedef struct map_work {
    mgn_map *map;
    void *x, *y; /* PIXELS rows of 3 */
} map_work;

static mgn_status apply_bytes(void *context, uint64_t times) {
    const map_work *work = context;
    for (uint64_t i = 0; i < times; i++) MGN_TRY(mgn_map_apply_bytes(work->map, work->x, PIXELS, work->y));
    return MGN_OK;
}

static mgn_status apply_floats(void *context, uint64_t times) {
    const map_work *work = context;
    for (uint64_t i = 0; i < times; i++) MGN_TRY(mgn_map_apply(work->map, work->x, PIXELS, work->y));
    return MGN_OK;
}

/* All colours, at random. */
static void fill(void *x, bool is_bytes) {
    uint64_t random = 1;
    for (size_t i = 0; i < (size_t)PIXELS * 3; i++) {
        double value = mgn_bench_uniform(&random, 0, 256);
        if (is_bytes)
            ((uint8_t *)x)[i] = (uint8_t)value;
        else
            ((float *)x)[i] = (float)(value / 256);
    }
}

static mgn_status make_work(mgn_bench *bench, bool is_bytes, map_work *work) {
    mgn_model *model = NULL;
    size_t size = is_bytes ? sizeof(uint8_t) : sizeof(float);
    mgn_model_config config = {
        .kind = "cmgn", .d = 3, .h = 3, .layers = 2, .activation = MGN_LOGISTIC, .v = MGN_V_ORTHOGONAL};
    work->x = mgn_alloc((size_t)PIXELS * 3, size);
    work->y = mgn_alloc((size_t)PIXELS * 3, size);
    if (!work->x || !work->y) return MGN_ERR_MEMORY;
    fill(work->x, is_bytes);
    MGN_TRY(mgn_model_create(&config, 3, &model));
    mgn_status status = mgn_map_create(model, bench->device, MGN_F32, &work->map);
    mgn_model_destroy(model);
    return status;
}

static mgn_status run_map(mgn_bench *bench, const mgn_bench_entry *entry, cJSON *row) {
    map_work work = {0};
    mgn_timing timing;
    bool is_bytes = entry->index == 0;
    mgn_status status = make_work(bench, is_bytes, &work);
    if (status == MGN_OK)
        status =
            mgn_bench_time(&(mgn_bench_work){is_bytes ? apply_bytes : apply_floats, &work}, 1, bench->seconds, &timing);
    mgn_map_destroy(work.map);
    mgn_free(work.x);
    mgn_free(work.y);
    MGN_TRY(status);
    cJSON_AddStringToObject(row, "model", "cmgn");
    cJSON_AddStringToObject(row, "type", types[entry->index]);
    mgn_bench_number(row, "mpixel", PIXELS * 1e-6);
    mgn_bench_timing(row, &timing, "ms", 1e3);
    mgn_bench_number(row, "mpixel_s", PIXELS * 1e-6 / timing.fastest);
    return MGN_OK;
}

void mgn_bench_add_maps(mgn_bench_list *list) {
    for (size_t i = 0; i < MGN_COUNT(types); i++) mgn_bench_add(list, "apply", (int)i, run_map, "cmgn %s", types[i]);
}
