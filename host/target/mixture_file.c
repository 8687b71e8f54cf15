/* Mixtures in files: JSON for people and scripts, safetensors for exact bits. Which of them a file is, its bytes say: a
 * safetensors file begins with the length of its header in eight bytes, of which the last is always 0, and JSON has no
 * zero bytes. */
#include "target/target.h"

#include <cjson/cJSON.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include <mgn/data.h>

#include "data/safetensors.h"

static const char file_format[] = "mgn-mixture-1";

enum { MOST_BYTES = 1 << 30 };

/* ---- writing ---- */

/* Nested arrays of `shape`. */
static cJSON *to_json(const double *values, int rank, const int64_t *dim) {
    if (rank == 1) return cJSON_CreateDoubleArray(values, (int)dim[0]);
    cJSON *array = cJSON_CreateArray();
    int64_t inner = 1;
    for (int i = 1; i < rank; i++) inner *= dim[i];
    for (int64_t i = 0; array && i < dim[0]; i++) {
        cJSON *item = to_json(values + i * inner, rank - 1, dim + 1);
        if (item && cJSON_AddItemToArray(array, item)) continue;
        cJSON_Delete(item);
        cJSON_Delete(array);
        return NULL;
    }
    return array;
}

static mgn_status prepare_json(const mgn_mixture *m, const char *path, mgn_output_file **output) {
    cJSON *object = cJSON_CreateObject();
    const int64_t dim[3] = {m->k, m->d, m->d};
    bool made = object && cJSON_AddStringToObject(object, "format", file_format) &&
                cJSON_AddItemToObject(object, "weights", to_json(m->weights, 1, dim)) &&
                cJSON_AddItemToObject(object, "means", to_json(m->means, 2, dim)) &&
                cJSON_AddItemToObject(object, "covariances", to_json(m->covariances, 3, dim));
    char *text = made ? cJSON_Print(object) : NULL;
    cJSON_Delete(object);
    if (!text) return mgn_fail(MGN_ERR_MEMORY, "out of memory while %s was made", path);
    mgn_output_file *made_file = NULL;
    mgn_status status = mgn_output_open(path, &made_file);
    if (status == MGN_OK) status = mgn_output_write(made_file, text, strlen(text));
    if (status == MGN_OK) status = mgn_output_write(made_file, "\n", 1);
    cJSON_free(text);
    if (status == MGN_OK)
        *output = made_file;
    else
        mgn_output_discard(made_file);
    return status;
}

static mgn_status prepare_safetensors(const mgn_mixture *m, const char *path, mgn_output_file **output) {
    mgn_safetensors file = {0};
    mgn_status status = mgn_safetensors_set(&file, "format", file_format);
    if (status == MGN_OK) status = mgn_safetensors_add(&file, "weights", MGN_F64, MGN_SHAPE(m->k), m->weights);
    if (status == MGN_OK) status = mgn_safetensors_add(&file, "means", MGN_F64, MGN_SHAPE(m->k, m->d), m->means);
    if (status == MGN_OK)
        status = mgn_safetensors_add(&file, "covariances", MGN_F64, MGN_SHAPE(m->k, m->d, m->d), m->covariances);
    if (status == MGN_OK) status = mgn_safetensors_prepare(path, &file, output);
    mgn_safetensors_free(&file);
    return status;
}

static bool ends_with(const char *path, const char *ending) {
    const size_t length = strlen(path), tail = strlen(ending);
    return length > tail && strcasecmp(path + length - tail, ending) == 0;
}

mgn_status mgn_mixture_check_path(const char *path) {
    if (ends_with(path, ".json") || ends_with(path, ".safetensors")) return MGN_OK;
    return mgn_fail(MGN_ERR_ARGUMENT,
                    "%s: a mixture is written as .json or .safetensors; give the name one of these endings", path);
}

mgn_status mgn_mixture_prepare(const mgn_mixture *mixture, const char *path, mgn_output_file **output) {
    MGN_TRY(mgn_mixture_check_path(path));
    return (ends_with(path, ".json") ? prepare_json : prepare_safetensors)(mixture, path, output);
}

mgn_status mgn_mixture_save(const mgn_mixture *mixture, const char *path) {
    mgn_output_file *output = NULL;
    MGN_TRY(mgn_mixture_prepare(mixture, path, &output));
    return mgn_output_commit(output);
}

/* ---- reading ---- */

static mgn_status not_a_mixture(const char *path, const char *reason) {
    return mgn_fail(MGN_ERR_FORMAT, "%s: not a mixture: %s", path, reason);
}

/* Nested arrays into values; false where lengths or types disagree. */
static bool from_json(const cJSON *item, int rank, const int64_t *dim, double *values) {
    if (rank == 0) {
        if (!cJSON_IsNumber(item)) return false;
        *values = item->valuedouble;
        return true;
    }
    if (!cJSON_IsArray(item) || cJSON_GetArraySize(item) != dim[0]) return false;
    int64_t inner = 1, i = 0;
    for (int j = 1; j < rank; j++) inner *= dim[j];
    const cJSON *child;
    cJSON_ArrayForEach(child, item) if (!from_json(child, rank - 1, dim + 1, values + inner * i++)) return false;
    return true;
}

static mgn_status read_json(const cJSON *object, const char *path, mgn_mixture *mixture) {
    const cJSON *weights = cJSON_GetObjectItemCaseSensitive(object, "weights");
    const cJSON *means = cJSON_GetObjectItemCaseSensitive(object, "means");
    const cJSON *covariances = cJSON_GetObjectItemCaseSensitive(object, "covariances");
    const int64_t k = cJSON_GetArraySize(weights), d = cJSON_GetArraySize(cJSON_GetArrayItem(means, 0));
    const int64_t dim[3] = {k, d, d};
    if (k < 1 || k > MGN_MOST_COMPONENTS || d < 1 || d > 46340)
        return not_a_mixture(path, "arrays \"weights\" (k) and \"means\" (k, d) were expected");
    /* The numbers are in memory already, so a mixture of that size fits; but first the lengths must agree. */
    if (cJSON_GetArraySize(covariances) != k || cJSON_GetArraySize(cJSON_GetArrayItem(covariances, 0)) != d)
        return not_a_mixture(path, "\"covariances\" should have the shape (k, d, d) that weights and means say");
    MGN_TRY(mgn_mixture_create(k, d, mixture));
    if (!from_json(weights, 1, dim, mixture->weights) || !from_json(means, 2, dim, mixture->means) ||
        !from_json(covariances, 3, dim, mixture->covariances))
        return not_a_mixture(path,
                             "\"weights\" (k), \"means\" (k, d) and \"covariances\" (k, d, d) should be arrays of "
                             "numbers of these shapes");
    return MGN_OK;
}

/* Where reading ended, with what stands there: "NaN", which JSON has no word for, more often than not. */
static mgn_status refuse_json(const char *text, const char *end, const char *path) {
    char why[160];
    long line = 1;
    for (const char *c = text; end && c < end; c++) line += *c == '\n';
    snprintf(why, sizeof why, "neither JSON nor safetensors, at '%.20s' in line %ld (or memory ran out)",
             end ? end : "", line);
    for (char *c = why; *c; c++)
        if (*c == '\n' || *c == '\r' || *c == '\t') *c = ' ';
    return not_a_mixture(path, why);
}

static mgn_status parse_json(const char *text, const char *path, mgn_mixture *mixture) {
    const char *end = NULL;
    cJSON *object = cJSON_ParseWithOpts(text, &end, false);
    if (!object) return refuse_json(text, end, path);
    const mgn_status status = read_json(object, path, mixture);
    cJSON_Delete(object);
    return status;
}

static mgn_status take(const mgn_safetensors *file, const char *path, const char *name, mgn_shape shape,
                       double *values) {
    const mgn_stored_tensor *tensor = mgn_safetensors_find(file, name);
    bool same = tensor && tensor->dtype != MGN_U32 && tensor->shape.rank == shape.rank;
    for (int i = 0; same && i < shape.rank; i++) same = tensor->shape.dim[i] == shape.dim[i];
    if (!same)
        return mgn_fail(MGN_ERR_FORMAT,
                        "%s: not a mixture: a tensor '%s' of real numbers and %d axes that fit the others "
                        "was expected",
                        path, name, shape.rank);
    for (int64_t i = 0; i < mgn_shape_count(shape); i++)
        values[i] =
            tensor->dtype == MGN_F64 ? ((const double *)tensor->data)[i] : (double)((const float *)tensor->data)[i];
    return MGN_OK;
}

static mgn_status read_safetensors(const mgn_safetensors *file, const char *path, mgn_mixture *mixture) {
    const mgn_stored_tensor *means = mgn_safetensors_find(file, "means");
    if (!means || means->shape.rank != 2 || means->shape.dim[0] < 1 || means->shape.dim[0] > MGN_MOST_COMPONENTS ||
        means->shape.dim[1] < 1 || means->shape.dim[1] > 46340)
        return not_a_mixture(path, "it has no tensor 'means' of shape (k, d)");
    const int64_t k = means->shape.dim[0], d = means->shape.dim[1];
    const mgn_stored_tensor *covariances = mgn_safetensors_find(file, "covariances");
    if (!covariances || mgn_shape_count(covariances->shape) != k * d * d)
        return not_a_mixture(path, "its tensor 'covariances' should have the shape (k, d, d) that 'means' says");
    MGN_TRY(mgn_mixture_create(k, d, mixture));
    MGN_TRY(take(file, path, "weights", MGN_SHAPE(k), mixture->weights));
    MGN_TRY(take(file, path, "means", MGN_SHAPE(k, d), mixture->means));
    return take(file, path, "covariances", MGN_SHAPE(k, d, d), mixture->covariances);
}

static mgn_status parse(const unsigned char *bytes, size_t size, const char *path, mgn_mixture *mixture) {
    if (size <= MGN_SAFETENSORS_PREFIX || bytes[MGN_SAFETENSORS_PREFIX - 1] != 0)
        return parse_json((const char *)bytes, path, mixture);
    mgn_safetensors file = {0};
    MGN_TRY(mgn_safetensors_parse(bytes, size, path, &file));
    const mgn_status status = read_safetensors(&file, path, mixture);
    mgn_safetensors_free(&file);
    return status;
}

/* People write .33, .33, .33: weights are brought to sum 1. */
static mgn_status settle(mgn_mixture *mixture, const char *path) {
    double sum = 0;
    for (int64_t j = 0; j < mixture->k; j++) {
        if (!(mixture->weights[j] > 0))
            return mgn_fail(MGN_ERR_FORMAT, "%s: weight %lld (counted from 0) is %g; above 0 was expected", path,
                            (long long)j, mixture->weights[j]);
        sum += mixture->weights[j];
    }
    if (!(sum > 0) || !isfinite(sum)) return not_a_mixture(path, "the weights do not sum to a finite number");
    for (int64_t j = 0; j < mixture->k; j++) mixture->weights[j] /= sum;
    const mgn_status status = mgn_mixture_check(mixture);
    if (status == MGN_OK || status == MGN_ERR_MEMORY) return status;
    char sentence[400];
    strncpy(sentence, mgn_last_error(), sizeof sentence - 1);
    sentence[sizeof sentence - 1] = 0;
    return mgn_fail(status, "%s: %s", path, sentence);
}

mgn_status mgn_mixture_load(const char *path, mgn_mixture *mixture) {
    if (!path || !mixture)
        return mgn_fail(MGN_ERR_ARGUMENT, "reading a mixture needs a path and a place for it, not NULL");
    unsigned char *bytes;
    size_t size;
    mgn_mixture made = {0};
    MGN_TRY(mgn_file_read(path, MOST_BYTES, &bytes, &size));
    mgn_status status = parse(bytes, size, path, &made);
    mgn_free(bytes);
    if (status == MGN_OK) status = settle(&made, path);
    if (status == MGN_OK)
        *mixture = made;
    else
        mgn_mixture_free(&made);
    return status;
}
