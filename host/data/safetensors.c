/* Named tensors and their metadata: building the struct, and writing it as a safetensors file.
 *
 * The file is: the header's length (8 bytes, little endian), a JSON header padded with blanks to a multiple of 8, then
 * the data. Tensors of 8-byte elements come first, so that every tensor starts aligned to its element; the header keeps
 * the caller's order, and the offsets say where each lies. Reading is in safetensors_read.c. */
#include "data/safetensors.h"

#include <cjson/cJSON.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/file.h"
#include "data/data.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
               "tensors are copied as they are: the format is little endian");

#define METADATA_KEY "__metadata__"

const char *mgn_safetensors_type(mgn_dtype dtype) {
    switch (dtype) {
    case MGN_F32: return "F32";
    case MGN_F64: return "F64";
    case MGN_U32: return "U32";
    }
    return NULL;
}

mgn_status mgn_safetensors_bytes(const char *name, mgn_dtype dtype, mgn_shape shape, size_t *bytes) {
    const mgn_printable shown = mgn_make_printable(name, strlen(name));
    if (!mgn_safetensors_type(dtype))
        return mgn_fail(MGN_ERR_ARGUMENT, "tensor %s: F32, F64 or U32 was expected, not type number %d", shown.text,
                        (int)dtype);
    if (shape.rank < 0 || shape.rank > MGN_MAX_RANK)
        return mgn_fail(MGN_ERR_ARGUMENT, "tensor %s: 0 to %d axes were expected, not %d", shown.text, MGN_MAX_RANK,
                        shape.rank);
    int64_t total = (int64_t)mgn_dtype_size(dtype);
    bool empty = false, too_large = false;
    for (int i = 0; i < shape.rank; i++) {
        const int64_t dim = shape.dim[i];
        if (dim < 0)
            return mgn_fail(MGN_ERR_ARGUMENT, "tensor %s: axis %d has the size %lld", shown.text, i, (long long)dim);
        empty = empty || dim == 0;
        /* Axes of size 0 are left out, so that no product of the others overflows elsewhere either. */
        too_large = too_large || __builtin_mul_overflow(total, dim ? dim : 1, &total);
    }
    if (too_large)
        return mgn_fail(MGN_ERR_ARGUMENT, "tensor %s: the shape has more elements than can be addressed", shown.text);
    *bytes = empty ? 0 : (size_t)total;
    return MGN_OK;
}

mgn_status mgn_safetensors_check_finite(const char *label, const mgn_stored_tensor *tensor) {
    if (tensor->dtype == MGN_U32) return MGN_OK;
    const int64_t count = mgn_shape_count(tensor->shape);
    for (int64_t i = 0; i < count; i++) {
        const double value =
            tensor->dtype == MGN_F32 ? (double)((const float *)tensor->data)[i] : ((const double *)tensor->data)[i];
        if (isfinite(value)) continue;
        const mgn_printable shown = mgn_make_printable(tensor->name, strlen(tensor->name));
        return mgn_fail(MGN_ERR_NUMERIC,
                        "%s: element %lld (counted from 0) of tensor %s is %g; finite numbers were expected", label,
                        (long long)i, shown.text, value);
    }
    return MGN_OK;
}

static int compare_texts(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

const char *mgn_find_duplicate(const char **texts, size_t count) {
    if (count < 2) return NULL;
    qsort(texts, count, sizeof *texts, compare_texts);
    for (size_t i = 1; i < count; i++)
        if (strcmp(texts[i - 1], texts[i]) == 0) return texts[i];
    return NULL;
}

/* ---- building ---- */

void mgn_safetensors_free(mgn_safetensors *file) {
    if (!file) return;
    for (size_t i = 0; i < file->tensor_count; i++) {
        mgn_free(file->tensors[i].name);
        mgn_free(file->tensors[i].data);
    }
    for (size_t i = 0; i < file->metadata_count; i++) {
        mgn_free(file->metadata[i].key);
        mgn_free(file->metadata[i].value);
    }
    mgn_free(file->tensors);
    mgn_free(file->metadata);
    *file = (mgn_safetensors){0};
}

const mgn_stored_tensor *mgn_safetensors_find(const mgn_safetensors *file, const char *name) {
    for (size_t i = 0; file && name && i < file->tensor_count; i++)
        if (strcmp(file->tensors[i].name, name) == 0) return &file->tensors[i];
    return NULL;
}

static mgn_stored_text *find_text(const mgn_safetensors *file, const char *key) {
    for (size_t i = 0; i < file->metadata_count; i++)
        if (strcmp(file->metadata[i].key, key) == 0) return &file->metadata[i];
    return NULL;
}

const char *mgn_safetensors_get(const mgn_safetensors *file, const char *key) {
    const mgn_stored_text *found = file && key ? find_text(file, key) : NULL;
    return found ? found->value : NULL;
}

static mgn_status check_name(const char *name) {
    const mgn_printable shown = mgn_make_printable(name, strlen(name));
    if (!*name || strcmp(name, METADATA_KEY) == 0 || !mgn_is_utf8(name, strlen(name)))
        return mgn_fail(MGN_ERR_ARGUMENT,
                        "\"%s\" cannot name a tensor: UTF-8 text other than \"\" and \"" METADATA_KEY "\" was expected",
                        shown.text);
    return MGN_OK;
}

mgn_status mgn_safetensors_add(mgn_safetensors *file, const char *name, mgn_dtype dtype, mgn_shape shape,
                               const void *data) {
    if (!file || !name) return mgn_fail(MGN_ERR_ARGUMENT, "adding a tensor needs a file and a name, not NULL");
    size_t bytes;
    MGN_TRY(check_name(name));
    MGN_TRY(mgn_safetensors_bytes(name, dtype, shape, &bytes));
    if (bytes && !data)
        return mgn_fail(MGN_ERR_ARGUMENT, "tensor %s: %zu bytes of data were expected, not NULL", name, bytes);
    if (mgn_safetensors_find(file, name))
        return mgn_fail(MGN_ERR_ARGUMENT, "there is a tensor called %s already", name);
    mgn_stored_tensor *grown = mgn_realloc(file->tensors, file->tensor_count + 1, sizeof *grown);
    if (!grown) return MGN_ERR_MEMORY;
    file->tensors = grown;
    mgn_stored_tensor made = {mgn_strdup(name), dtype, shape, mgn_alloc_aligned(bytes ? bytes : 1, 1)};
    if (!made.name || !made.data) {
        mgn_free(made.name);
        mgn_free(made.data);
        return MGN_ERR_MEMORY;
    }
    if (bytes) memcpy(made.data, data, bytes);
    file->tensors[file->tensor_count++] = made;
    return MGN_OK;
}

mgn_status mgn_safetensors_set(mgn_safetensors *file, const char *key, const char *value) {
    if (!file || !key || !value)
        return mgn_fail(MGN_ERR_ARGUMENT, "setting metadata needs a file, a key and a value, not NULL");
    const mgn_printable shown = mgn_make_printable(key, strlen(key));
    if (!mgn_is_utf8(key, strlen(key)) || !mgn_is_utf8(value, strlen(value)))
        return mgn_fail(MGN_ERR_ARGUMENT, "the metadata \"%s\" is not UTF-8", shown.text);
    char *copy = mgn_strdup(value);
    if (!copy) return MGN_ERR_MEMORY;
    mgn_stored_text *found = find_text(file, key);
    if (found) {
        mgn_free(found->value);
        found->value = copy;
        return MGN_OK;
    }
    mgn_stored_text *grown = mgn_realloc(file->metadata, file->metadata_count + 1, sizeof *grown);
    char *key_copy = grown ? mgn_strdup(key) : NULL;
    if (grown) file->metadata = grown;
    if (!key_copy) {
        mgn_free(copy);
        return MGN_ERR_MEMORY;
    }
    file->metadata[file->metadata_count++] = (mgn_stored_text){key_copy, copy};
    return MGN_OK;
}

/* ---- writing ---- */

/* The struct is public and may have been filled by hand, so everything that `add` and `set` check is checked again. */
static mgn_status check_content(const char *path, const mgn_safetensors *file) {
    const size_t count = file->tensor_count + file->metadata_count;
    const char **names = mgn_alloc(count, sizeof *names);
    if (!names) return MGN_ERR_MEMORY;
    mgn_status status = MGN_OK;
    for (size_t i = 0; i < file->tensor_count && status == MGN_OK; i++) {
        const mgn_stored_tensor *tensor = &file->tensors[i];
        size_t bytes = 0;
        names[i] = tensor->name;
        if (!tensor->name) status = mgn_fail(MGN_ERR_ARGUMENT, "%s: tensor number %zu has no name", path, i);
        if (status == MGN_OK) status = check_name(tensor->name);
        if (status == MGN_OK) status = mgn_safetensors_bytes(tensor->name, tensor->dtype, tensor->shape, &bytes);
        if (status == MGN_OK && bytes && !tensor->data)
            status = mgn_fail(MGN_ERR_ARGUMENT, "%s: tensor %s has no data", path, tensor->name);
        if (status == MGN_OK) status = mgn_safetensors_check_finite(path, tensor);
    }
    for (size_t i = 0; i < file->metadata_count && status == MGN_OK; i++) {
        const mgn_stored_text *text = &file->metadata[i];
        names[file->tensor_count + i] = text->key;
        if (!text->key || !text->value || !mgn_is_utf8(text->key, strlen(text->key)) ||
            !mgn_is_utf8(text->value, strlen(text->value)))
            status = mgn_fail(MGN_ERR_ARGUMENT, "%s: metadata number %zu is not a pair of UTF-8 texts", path, i);
    }
    if (status == MGN_OK) {
        const char *twice = mgn_find_duplicate(names, file->tensor_count);
        if (!twice) twice = mgn_find_duplicate(names + file->tensor_count, file->metadata_count);
        if (twice) status = mgn_fail(MGN_ERR_ARGUMENT, "%s: the name %s is given twice", path, twice);
    }
    mgn_free(names);
    return status;
}

/* One header entry; false when memory ran out. */
static bool add_entry(cJSON *root, const mgn_stored_tensor *tensor, size_t begin, size_t end) {
    cJSON *entry = cJSON_AddObjectToObject(root, tensor->name);
    if (!entry || !cJSON_AddStringToObject(entry, "dtype", mgn_safetensors_type(tensor->dtype))) return false;
    cJSON *shape = cJSON_AddArrayToObject(entry, "shape");
    for (int i = 0; i < tensor->shape.rank; i++)
        if (!shape || !cJSON_AddItemToArray(shape, cJSON_CreateNumber((double)tensor->shape.dim[i]))) return false;
    cJSON *offsets = cJSON_AddArrayToObject(entry, "data_offsets");
    return shape && offsets && cJSON_AddItemToArray(offsets, cJSON_CreateNumber((double)begin)) &&
           cJSON_AddItemToArray(offsets, cJSON_CreateNumber((double)end));
}

static size_t tensor_bytes(const mgn_stored_tensor *tensor) {
    return (size_t)mgn_shape_count(tensor->shape) * mgn_dtype_size(tensor->dtype);
}

/* The header as JSON text, to be freed by cJSON_free; NULL when memory ran out. */
static char *make_header(const mgn_safetensors *file) {
    size_t wide = 0, narrow; /* where the next tensor of 8-byte and of 4-byte elements goes */
    for (size_t i = 0; i < file->tensor_count; i++)
        if (mgn_dtype_size(file->tensors[i].dtype) == 8) wide += tensor_bytes(&file->tensors[i]);
    narrow = wide;
    wide = 0;
    cJSON *root = cJSON_CreateObject();
    bool good = root != NULL;
    if (good && file->metadata_count) {
        cJSON *metadata = cJSON_AddObjectToObject(root, METADATA_KEY);
        for (size_t i = 0; i < file->metadata_count && good; i++)
            good = metadata && cJSON_AddStringToObject(metadata, file->metadata[i].key, file->metadata[i].value);
    }
    for (size_t i = 0; i < file->tensor_count && good; i++) {
        const mgn_stored_tensor *tensor = &file->tensors[i];
        size_t *next = mgn_dtype_size(tensor->dtype) == 8 ? &wide : &narrow;
        const size_t begin = *next;
        *next += tensor_bytes(tensor);
        good = add_entry(root, tensor, begin, *next);
    }
    char *text = good ? cJSON_PrintUnformatted(root) : NULL;
    cJSON_Delete(root);
    return text;
}

static mgn_status write_content(mgn_output_file *output, const mgn_safetensors *file, const char *header) {
    const size_t length = strlen(header), padding = (8 - length % 8) % 8;
    unsigned char prefix[MGN_SAFETENSORS_PREFIX];
    for (size_t i = 0; i < sizeof prefix; i++) prefix[i] = (unsigned char)((uint64_t)(length + padding) >> (8 * i));
    MGN_TRY(mgn_output_write(output, prefix, sizeof prefix));
    MGN_TRY(mgn_output_write(output, header, length));
    MGN_TRY(mgn_output_write(output, "        ", padding));
    for (size_t size = 8; size >= 4; size -= 4)
        for (size_t i = 0; i < file->tensor_count; i++)
            if (mgn_dtype_size(file->tensors[i].dtype) == size)
                MGN_TRY(mgn_output_write(output, file->tensors[i].data, tensor_bytes(&file->tensors[i])));
    return MGN_OK;
}

mgn_status mgn_safetensors_prepare(const char *path, const mgn_safetensors *file, mgn_output_file **written) {
    if (!path || !file) return mgn_fail(MGN_ERR_ARGUMENT, "writing safetensors needs a path and tensors, not NULL");
    MGN_TRY(check_content(path, file));
    char *header = make_header(file);
    if (!header) return mgn_fail(MGN_ERR_MEMORY, "%s: out of memory for the header", path);
    mgn_output_file *output = NULL;
    mgn_status status = MGN_OK;
    if (strlen(header) > MGN_SAFETENSORS_MAX_HEADER)
        status = mgn_fail(MGN_ERR_ARGUMENT, "%s: the names and metadata take more than %d bytes", path,
                          MGN_SAFETENSORS_MAX_HEADER);
    if (status == MGN_OK) status = mgn_output_open(path, &output);
    if (status == MGN_OK) {
        status = write_content(output, file, header);
        if (status == MGN_OK)
            *written = output;
        else
            mgn_output_discard(output);
    }
    cJSON_free(header);
    return status;
}

mgn_status mgn_safetensors_write(const char *path, const mgn_safetensors *file) {
    mgn_output_file *output = NULL;
    MGN_TRY(mgn_safetensors_prepare(path, file, &output));
    return mgn_output_commit(output);
}
