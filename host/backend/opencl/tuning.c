/* Tuned parameters: their JSON, their file, and looking them up. The file is one of cache.c's, whose key names what the
 * figures depend on; its body is the report of `mgn tune`, of which only the parameters are read here. They are checked
 * as anything that comes from a file: a value outside of its range makes the whole file void. */
#include "backend/opencl/opencl.h"

#include <clblast_c.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define LABEL(label) #label,
const char *const mgn_cl_route_labels[MGN_CL_ROUTE_COUNT] = {MGN_CL_ROUTES(LABEL)};
#undef LABEL

const char *const mgn_cl_tile_labels[MGN_CL_TILE_VALUES] = {"rows", "vectors", "depth", "block", "span", "spread"};

static const struct {
    uint32_t low, high;
} tile_ranges[MGN_CL_TILE_VALUES] = {{1, 16}, {1, 4}, {16, 4096}, {1, 64}, {1, 256}, {1, 64}};

/* A parameter of CLBlast is a small number; larger ones make no kernel. */
static const double blast_most = 1 << 20;

static uint32_t *tile_value(mgn_cl_tile *tile, size_t i) {
    uint32_t *const values[MGN_CL_TILE_VALUES] = {&tile->rows,  &tile->vectors, &tile->depth,
                                                  &tile->block, &tile->span,    &tile->spread};
    return values[i];
}

bool mgn_cl_tile_valid(const mgn_cl_tile *tile) {
    mgn_cl_tile copy = *tile;
    for (size_t i = 0; i < MGN_CL_TILE_VALUES; i++) {
        const uint32_t value = *tile_value(&copy, i);
        if (value < tile_ranges[i].low || value > tile_ranges[i].high) return false;
    }
    return tile->rows * tile->vectors <= 32;
}

/* How many times as large as one another two sizes are. */
static double apart(uint64_t a, uint64_t b) {
    const double ratio = (double)MGN_MAX(a, 1) / (double)MGN_MAX(b, 1);
    return ratio < 1 ? 1 / ratio : ratio;
}

const mgn_cl_tuned_shape *mgn_cl_tuned_nearest(const mgn_cl_tuning *tuning, uint64_t m, uint64_t n, uint64_t k) {
    const mgn_cl_tuned_shape *best = NULL;
    double least = 0;
    for (size_t i = 0; i < tuning->count; i++) {
        const mgn_cl_tuned_shape *shape = &tuning->shapes[i];
        const double by_m = apart(m, shape->m), by_n = apart(n, shape->n), by_k = apart(k, shape->k);
        if (by_m > 2 || by_n > 2 || by_k > 2) continue;
        const double distance = by_m * by_n * by_k;
        if (best && distance >= least) continue;
        best = shape;
        least = distance;
    }
    return best;
}

/* ---- JSON ---- */

cJSON *mgn_cl_choice_json(const mgn_cl_choice *choice) {
    mgn_cl_choice copy = *choice;
    cJSON *object = cJSON_CreateObject();
    cJSON_AddStringToObject(object, "route", mgn_cl_route_labels[choice->route]);
    if (choice->route != MGN_CL_tile) return object;
    cJSON *tile = cJSON_AddObjectToObject(object, "tile");
    for (size_t i = 0; i < MGN_CL_TILE_VALUES; i++)
        cJSON_AddNumberToObject(tile, mgn_cl_tile_labels[i], *tile_value(&copy.tile, i));
    return object;
}

cJSON *mgn_cl_blast_json(const mgn_cl_blast *blast) {
    cJSON *object = cJSON_CreateObject();
    for (size_t f = 0; f < MGN_CL_BLAST_FAMILIES; f++) {
        const mgn_cl_blast_family *family = &mgn_cl_blast_families[f];
        cJSON *values = cJSON_AddObjectToObject(object, family->label);
        for (size_t i = 0; i < family->count; i++)
            cJSON_AddNumberToObject(values, family->parameters[i], blast->values[f][i]);
    }
    return object;
}

/* A whole number in low..high. */
static bool read_count(const cJSON *object, const char *label, double low, double high, double *value) {
    const cJSON *item = cJSON_GetObjectItem(object, label);
    if (!cJSON_IsNumber(item)) return false;
    *value = item->valuedouble;
    return *value >= low && *value <= high && *value == (double)(int64_t)*value;
}

static bool read_choice(const cJSON *object, mgn_cl_choice *choice) {
    const char *label = cJSON_GetStringValue(cJSON_GetObjectItem(object, "route"));
    size_t route = 0;
    while (label && route < MGN_CL_ROUTE_COUNT && strcmp(label, mgn_cl_route_labels[route]) != 0) route++;
    if (!label || route == MGN_CL_ROUTE_COUNT) return false;
    choice->route = (mgn_cl_route)route;
    if (choice->route != MGN_CL_tile) return true;
    const cJSON *tile = cJSON_GetObjectItem(object, "tile");
    for (size_t i = 0; i < MGN_CL_TILE_VALUES; i++) {
        double value;
        if (!read_count(tile, mgn_cl_tile_labels[i], tile_ranges[i].low, tile_ranges[i].high, &value)) return false;
        *tile_value(&choice->tile, i) = (uint32_t)value;
    }
    return mgn_cl_tile_valid(&choice->tile);
}

static bool read_blast(const cJSON *object, mgn_cl_blast *blast) {
    for (size_t f = 0; f < MGN_CL_BLAST_FAMILIES; f++) {
        const mgn_cl_blast_family *family = &mgn_cl_blast_families[f];
        const cJSON *values = cJSON_GetObjectItem(object, family->label);
        for (size_t i = 0; i < family->count; i++) {
            double value;
            if (!read_count(values, family->parameters[i], 0, blast_most, &value)) return false;
            blast->values[f][i] = (uint32_t)value;
        }
    }
    return true;
}

static bool read_tuning(const cJSON *json, mgn_cl_tuning *tuning) {
    const cJSON *shapes = cJSON_GetObjectItem(json, "shapes"), *blast = cJSON_GetObjectItem(json, "clblast");
    if (!cJSON_IsArray(shapes)) return false;
    for (const cJSON *row = shapes->child; row; row = row->next) {
        double m, n, k;
        if (tuning->count == MGN_CL_TUNED_MOST || !read_count(row, "m", 1, 0x1p40, &m) ||
            !read_count(row, "n", 1, 0x1p40, &n) || !read_count(row, "k", 1, 0x1p40, &k))
            return false;
        mgn_cl_tuned_shape *shape = &tuning->shapes[tuning->count++];
        *shape = (mgn_cl_tuned_shape){.m = (uint64_t)m, .n = (uint64_t)n, .k = (uint64_t)k};
        if (!read_choice(cJSON_GetObjectItem(row, "choice"), &shape->choice)) return false;
    }
    tuning->has_blast = cJSON_IsObject(blast);
    return !tuning->has_blast || read_blast(blast, &tuning->blast);
}

cJSON *mgn_cl_tuning_parse(const char *text, size_t bytes, mgn_cl_tuning *tuning) {
    mgn_cl_tuning read = {0};
    cJSON *json = cJSON_ParseWithLength(text, bytes);
    if (!json || !read_tuning(json, &read)) {
        cJSON_Delete(json);
        return NULL;
    }
    if (tuning) *tuning = read;
    return json;
}

/* ---- the file ---- */

#define TEXT_OF(token) #token
#define TEXT(macro) TEXT_OF(macro)

/* What the figures depend on. A change of the kernels that makes old figures worthless counts the first line up. */
static void tuning_key(const mgn_device_info *info, char *key, size_t size) {
    snprintf(key, size, "mgn tune 1\ndevice %s\nplatform %s\ndriver %s\nunits %d\nCLBlast %s\n", info->name,
             info->platform, info->version, info->compute_units,
             TEXT(CLBLAST_VERSION_MAJOR) "." TEXT(CLBLAST_VERSION_MINOR) "." TEXT(CLBLAST_VERSION_PATCH));
}

enum { KEY_SIZE = 640 };

mgn_status mgn_cl_tuning_path(const mgn_device_info *info, char *path, size_t size) {
    char key[KEY_SIZE], found[PATH_MAX];
    tuning_key(info, key, sizeof key);
    if (!mgn_cl_cache_path(key, found))
        return mgn_fail(MGN_ERR_UNSUPPORTED,
                        "there is no folder to keep tuned parameters in: MGN_CACHE is off, or neither "
                        "XDG_CACHE_HOME nor HOME names one");
    snprintf(path, size, "%s", found);
    return MGN_OK;
}

cJSON *mgn_cl_tuning_load(const mgn_device_info *info, mgn_cl_tuning *tuning) {
    char key[KEY_SIZE], path[PATH_MAX];
    struct stat there;
    tuning_key(info, key, sizeof key);
    if (!mgn_cl_cache_path(key, path) || stat(path, &there) != 0) return NULL;
    size_t bytes = 0;
    unsigned char *text = mgn_cl_cache_load(key, &bytes);
    cJSON *json = text ? mgn_cl_tuning_parse((const char *)text, bytes, tuning) : NULL;
    mgn_free(text);
    if (!json)
        mgn_note(
            "%s is damaged or another device's: the parameters tuned for %s are not used; `mgn tune` finds new ones",
            path, info->name);
    return json;
}

mgn_status mgn_cl_tuning_store(const mgn_device_info *info, const cJSON *json) {
    char key[KEY_SIZE], path[PATH_MAX];
    tuning_key(info, key, sizeof key);
    MGN_TRY(mgn_cl_tuning_path(info, path, sizeof path));
    char *text = cJSON_PrintUnformatted(json);
    if (!text) return mgn_fail(MGN_ERR_MEMORY, "out of memory for the tuned parameters");
    const bool stored = mgn_cl_cache_store(key, (const unsigned char *)text, strlen(text));
    cJSON_free(text);
    return stored ? MGN_OK : mgn_fail(MGN_ERR_IO, "%s: the tuned parameters could not be written", path);
}
