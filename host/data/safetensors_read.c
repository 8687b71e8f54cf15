/* Reading safetensors from bytes that nobody vouches for.
 *
 * The JSON text is looked over before cJSON sees it: UTF-8, no control characters, no NUL in strings (which C strings
 * would silently cut), and nesting no deeper than the format needs. Then every entry is checked by itself, and all of
 * them together: sorted by offset they must tile the data exactly, which rules out overlaps, gaps, and data that no
 * tensor owns. Only then is memory for the tensors allocated, and never more than the file is long. */
#include <cjson/cJSON.h>
#include <stdlib.h>
#include <string.h>

#include "core/file.h"
#include "data/data.h"
#include "data/safetensors.h"

enum { DEEPEST = 3 }; /* { tensor: { "shape": [ */

/* What the header says of one tensor. */
typedef struct claim {
    const char *name;
    mgn_dtype dtype;
    mgn_shape shape;
    size_t begin, end;
} claim;

typedef struct header {
    const char *label;
    cJSON *root;
    const cJSON *metadata; /* NULL where there is none */
    size_t tensor_count;
    claim *claims; /* in the order of the file */
} header;

/* ---- the text ---- */

static mgn_status damaged(const char *label, const char *what) {
    return mgn_fail(MGN_ERR_FORMAT, "%s: the safetensors header %s", label, what);
}

static mgn_status look_over(const char *label, const char *text, size_t length) {
    bool quoted = false;
    int depth = 0;
    if (!mgn_is_utf8(text, length)) return damaged(label, "is not UTF-8");
    for (size_t i = 0; i < length; i++) {
        const unsigned char c = (unsigned char)text[i];
        if (c < 0x20 && (quoted || (c != '\n' && c != '\r' && c != '\t')))
            return damaged(label, "holds a control character");
        if (quoted && c == '\\') {
            if (length - i > 5 && memcmp(text + i, "\\u0000", 6) == 0) return damaged(label, "holds a NUL character");
            i++;
        } else if (c == '"') {
            quoted = !quoted;
        } else if (!quoted && (c == '{' || c == '[')) {
            if (++depth > DEEPEST) return damaged(label, "is nested deeper than the format allows");
        } else if (!quoted && (c == '}' || c == ']')) {
            depth--;
        }
    }
    return MGN_OK;
}

/* Parses a copy that ends in NUL, which cJSON is safest with. */
static mgn_status parse_text(const char *label, const char *text, size_t length, cJSON **root) {
    if (text[0] != '{') return damaged(label, "does not start with {");
    MGN_TRY(look_over(label, text, length));
    char *copy = mgn_alloc(length + 1, 1);
    if (!copy) return MGN_ERR_MEMORY;
    memcpy(copy, text, length);
    const char *stop = NULL;
    cJSON *parsed = cJSON_ParseWithLengthOpts(copy, length + 1, &stop, 0);
    bool clean = parsed && cJSON_IsObject(parsed);
    for (; clean && stop < copy + length; stop++) clean = *stop == ' ';
    mgn_free(copy);
    if (!clean) {
        cJSON_Delete(parsed);
        return damaged(label, "is not one JSON object followed by blanks (or memory ran out)");
    }
    *root = parsed;
    return MGN_OK;
}

/* ---- one entry ---- */

static mgn_status bad_entry(const char *label, const char *name, const char *what) {
    const mgn_printable shown = mgn_make_printable(name, strlen(name));
    return mgn_fail(MGN_ERR_FORMAT, "%s: tensor %s: %s", label, shown.text, what);
}

/* A whole number that a double holds exactly. */
static bool whole_number(const cJSON *item, int64_t *value) {
    if (!cJSON_IsNumber(item) || !(item->valuedouble >= 0) || item->valuedouble > 9007199254740992.0) return false;
    *value = (int64_t)item->valuedouble;
    return (double)*value == item->valuedouble;
}

static mgn_status read_type(const char *label, const char *name, const cJSON *item, mgn_dtype *dtype) {
    if (!cJSON_IsString(item)) return bad_entry(label, name, "dtype is not a text");
    static const mgn_dtype known[] = {MGN_F32, MGN_F64, MGN_U32};
    for (size_t i = 0; i < MGN_COUNT(known); i++) {
        if (strcmp(item->valuestring, mgn_safetensors_type(known[i])) != 0) continue;
        *dtype = known[i];
        return MGN_OK;
    }
    const mgn_printable shown = mgn_make_printable(name, strlen(name));
    const mgn_printable type = mgn_make_printable(item->valuestring, strlen(item->valuestring));
    return mgn_fail(MGN_ERR_UNSUPPORTED, "%s: tensor %s has the type %s; F32, F64 and U32 can be read", label,
                    shown.text, type.text);
}

static mgn_status read_shape(const char *label, const char *name, const cJSON *item, mgn_shape *shape) {
    if (!cJSON_IsArray(item)) return bad_entry(label, name, "shape is not a list");
    shape->rank = 0;
    const cJSON *dim;
    cJSON_ArrayForEach(dim, item) {
        if (shape->rank == MGN_MAX_RANK) {
            const mgn_printable shown = mgn_make_printable(name, strlen(name));
            return mgn_fail(MGN_ERR_UNSUPPORTED, "%s: tensor %s has more than %d axes", label, shown.text,
                            MGN_MAX_RANK);
        }
        if (!whole_number(dim, &shape->dim[shape->rank++]))
            return bad_entry(label, name, "shape holds something that is not a size");
    }
    return MGN_OK;
}

static mgn_status read_offsets(const char *label, const char *name, const cJSON *item, size_t *begin, size_t *end) {
    int64_t first, last;
    const cJSON *a = cJSON_IsArray(item) ? item->child : NULL;
    if (!a || !a->next || a->next->next || !whole_number(a, &first) || !whole_number(a->next, &last) || first > last)
        return bad_entry(label, name, "data_offsets is not a pair of ascending offsets");
    *begin = (size_t)first;
    *end = (size_t)last;
    return MGN_OK;
}

static mgn_status read_claim(const char *label, const cJSON *item, size_t data_size, claim *c) {
    enum { TYPE = 1, SHAPE = 2, OFFSETS = 4 };
    int seen = 0;
    c->name = item->string;
    if (!*c->name) return damaged(label, "holds a tensor without a name");
    if (!cJSON_IsObject(item))
        return bad_entry(label, c->name, "an object with dtype, shape and data_offsets was expected");
    const cJSON *part;
    cJSON_ArrayForEach(part, item) {
        const int which = !strcmp(part->string, "dtype")          ? TYPE
                          : !strcmp(part->string, "shape")        ? SHAPE
                          : !strcmp(part->string, "data_offsets") ? OFFSETS
                                                                  : 0;
        if (!which || (seen & which))
            return bad_entry(label, c->name, "dtype, shape and data_offsets were expected, each once");
        seen |= which;
        if (which == TYPE) MGN_TRY(read_type(label, c->name, part, &c->dtype));
        if (which == SHAPE) MGN_TRY(read_shape(label, c->name, part, &c->shape));
        if (which == OFFSETS) MGN_TRY(read_offsets(label, c->name, part, &c->begin, &c->end));
    }
    if (seen != (TYPE | SHAPE | OFFSETS))
        return bad_entry(label, c->name, "dtype, shape and data_offsets were expected, each once");
    size_t bytes;
    if (mgn_safetensors_bytes(c->name, c->dtype, c->shape, &bytes) != MGN_OK || bytes != c->end - c->begin)
        return bad_entry(label, c->name, "the shape and the data_offsets disagree about the size");
    if (c->end > data_size) return bad_entry(label, c->name, "the data would lie beyond the end of the file");
    return MGN_OK;
}

/* ---- all entries together ---- */

static int compare_claims(const void *a, const void *b) {
    const claim *x = *(const claim *const *)a, *y = *(const claim *const *)b;
    if (x->begin != y->begin) return x->begin < y->begin ? -1 : 1;
    return (x->end > y->end) - (x->end < y->end);
}

static mgn_status check_tiling(const header *h, size_t data_size) {
    const claim **sorted = mgn_alloc(h->tensor_count, sizeof *sorted);
    if (!sorted) return MGN_ERR_MEMORY;
    for (size_t i = 0; i < h->tensor_count; i++) sorted[i] = &h->claims[i];
    qsort(sorted, h->tensor_count, sizeof *sorted, compare_claims);
    size_t at = 0;
    mgn_status status = MGN_OK;
    for (size_t i = 0; i < h->tensor_count && status == MGN_OK; i++) {
        if (sorted[i]->begin < at)
            status = bad_entry(h->label, sorted[i]->name, "the data overlaps that of another tensor");
        if (sorted[i]->begin > at) status = bad_entry(h->label, sorted[i]->name, "there is a gap before the data");
        at = sorted[i]->end;
    }
    mgn_free(sorted);
    if (status == MGN_OK && at != data_size)
        status = mgn_fail(MGN_ERR_FORMAT, "%s: the tensors take %zu bytes, but %zu bytes of data follow the header",
                          h->label, at, data_size);
    return status;
}

/* Names of the tensors, and keys of the metadata, are unique; metadata are texts. */
static mgn_status check_names(const header *h) {
    const size_t count = MGN_MAX(h->tensor_count, (size_t)(h->metadata ? cJSON_GetArraySize(h->metadata) : 0));
    const char **names = mgn_alloc(count, sizeof *names);
    if (!names) return MGN_ERR_MEMORY;
    for (size_t i = 0; i < h->tensor_count; i++) names[i] = h->claims[i].name;
    const char *twice = mgn_find_duplicate(names, h->tensor_count);
    size_t texts = 0;
    bool all_texts = true;
    const cJSON *item;
    if (!twice && h->metadata) {
        cJSON_ArrayForEach(item, h->metadata) {
            names[texts++] = item->string;
            all_texts = all_texts && cJSON_IsString(item);
        }
        twice = mgn_find_duplicate(names, texts);
    }
    mgn_free(names);
    if (!all_texts) return damaged(h->label, "has metadata that are not texts");
    if (!twice) return MGN_OK;
    const mgn_printable shown = mgn_make_printable(twice, strlen(twice));
    return mgn_fail(MGN_ERR_FORMAT, "%s: the safetensors header holds the name %s twice", h->label, shown.text);
}

static mgn_status read_claims(header *h, size_t data_size) {
    h->claims = mgn_alloc((size_t)cJSON_GetArraySize(h->root), sizeof *h->claims);
    if (!h->claims) return MGN_ERR_MEMORY;
    const cJSON *item;
    cJSON_ArrayForEach(item, h->root) {
        if (strcmp(item->string, "__metadata__") == 0) {
            if (h->metadata || !cJSON_IsObject(item))
                return damaged(h->label, "needs at most one __metadata__, an object of texts");
            h->metadata = item;
        } else {
            MGN_TRY(read_claim(h->label, item, data_size, &h->claims[h->tensor_count++]));
        }
    }
    MGN_TRY(check_names(h));
    return check_tiling(h, data_size);
}

/* ---- from claims to tensors ---- */

static mgn_status take_tensors(const header *h, const unsigned char *data, mgn_safetensors *file) {
    file->tensors = mgn_alloc(h->tensor_count, sizeof *file->tensors);
    if (!file->tensors) return MGN_ERR_MEMORY;
    for (size_t i = 0; i < h->tensor_count; i++) {
        const claim *c = &h->claims[i];
        mgn_stored_tensor *tensor = &file->tensors[file->tensor_count++];
        const size_t bytes = c->end - c->begin;
        *tensor = (mgn_stored_tensor){mgn_strdup(c->name), c->dtype, c->shape, mgn_alloc_aligned(bytes ? bytes : 1, 1)};
        if (!tensor->name || !tensor->data) return MGN_ERR_MEMORY;
        if (bytes) memcpy(tensor->data, data + c->begin, bytes);
        MGN_TRY(mgn_safetensors_check_finite(h->label, tensor));
    }
    return MGN_OK;
}

static mgn_status take_metadata(const header *h, mgn_safetensors *file) {
    if (!h->metadata) return MGN_OK;
    file->metadata = mgn_alloc((size_t)cJSON_GetArraySize(h->metadata), sizeof *file->metadata);
    if (!file->metadata) return MGN_ERR_MEMORY;
    const cJSON *item;
    cJSON_ArrayForEach(item, h->metadata) {
        mgn_stored_text *text = &file->metadata[file->metadata_count++];
        *text = (mgn_stored_text){mgn_strdup(item->string), mgn_strdup(item->valuestring)};
        if (!text->key || !text->value) return MGN_ERR_MEMORY;
    }
    return MGN_OK;
}

mgn_status mgn_safetensors_parse(const void *bytes, size_t size, const char *label, mgn_safetensors *file) {
    if (!bytes || !label || !file)
        return mgn_fail(MGN_ERR_ARGUMENT,
                        "reading safetensors needs bytes, a label and a place for the tensors, not NULL");
    const unsigned char *at = bytes;
    if (size < MGN_SAFETENSORS_PREFIX + 2)
        return mgn_fail(MGN_ERR_FORMAT, "%s is too short for a safetensors file: %zu bytes", label, size);
    uint64_t length = 0;
    for (size_t i = 0; i < MGN_SAFETENSORS_PREFIX; i++) length |= (uint64_t)at[i] << (8 * i);
    size -= MGN_SAFETENSORS_PREFIX;
    if (length > size || length < 2)
        return mgn_fail(MGN_ERR_FORMAT, "%s: a safetensors header of %llu bytes is announced, but %zu bytes follow",
                        label, (unsigned long long)length, size);
    if (length > MGN_SAFETENSORS_MAX_HEADER)
        return mgn_fail(MGN_ERR_UNSUPPORTED, "%s: the safetensors header takes %llu bytes; up to %d can be read", label,
                        (unsigned long long)length, MGN_SAFETENSORS_MAX_HEADER);
    header h = {.label = label};
    mgn_safetensors made = {0};
    MGN_TRY(parse_text(label, (const char *)at + MGN_SAFETENSORS_PREFIX, length, &h.root));
    mgn_status status = read_claims(&h, size - length);
    if (status == MGN_OK) status = take_tensors(&h, at + MGN_SAFETENSORS_PREFIX + length, &made);
    if (status == MGN_OK) status = take_metadata(&h, &made);
    mgn_free(h.claims);
    cJSON_Delete(h.root);
    if (status != MGN_OK)
        mgn_safetensors_free(&made);
    else
        *file = made;
    return status;
}

mgn_status mgn_safetensors_read(const char *path, mgn_safetensors *file) {
    if (!path || !file)
        return mgn_fail(MGN_ERR_ARGUMENT, "reading safetensors needs a path and a place for the tensors, not NULL");
    unsigned char *bytes;
    size_t size;
    MGN_TRY(mgn_file_read(path, SIZE_MAX, &bytes, &size));
    const mgn_status status = mgn_safetensors_parse(bytes, size, path, file);
    mgn_free(bytes);
    return status;
}
