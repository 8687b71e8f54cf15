/* Copies of a training's state, and how they stand in a checkpoint: each part is a tensor, the copy that a rollback would go
 * back to has its tensors under "earlier.", and numbers are texts of 17 digits in the metadata (JSON's own numbers know
 * neither infinity nor, in every reader, the last bit). */
#include "train/state.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EARLIER "earlier."
#define HISTORY "history."
#define BOUNDARY "boundary." /* where the epoch began, in the middle of it */
#define BEST "best.parameters"

void mgn_state_add_tensor(mgn_train_state *state, const char *label, mgn_tensor *tensor) {
    if (!tensor) return;
    state->parts[state->count++] =
        (mgn_state_part){label, mgn_tensor_dtype(tensor), mgn_shape_count(mgn_tensor_shape(tensor)), NULL, tensor};
}

void mgn_state_add_array(mgn_train_state *state, const char *label, mgn_dtype dtype, int64_t count, void *host) {
    if (host) state->parts[state->count++] = (mgn_state_part){label, dtype, count, host, NULL};
}

/* ---- copies ---- */

static size_t bytes_of(const mgn_state_part *part) { return (size_t)part->count * mgn_dtype_size(part->dtype); }

/* To where the next part is aligned. */
static size_t padded(const mgn_state_part *part) { return (bytes_of(part) + 7) / 8 * 8; }

static size_t copied(const mgn_train_state *state) { return state->is_whole ? state->count : MGN_MIN(state->count, 1); }

static mgn_status read_part(const mgn_state_part *part, void *to) {
    if (part->tensor) return mgn_tensor_read(part->tensor, part->dtype, to);
    MGN_KNOWN(part->host);
    memcpy(to, part->host, bytes_of(part));
    return MGN_OK;
}

static mgn_status write_part(const mgn_state_part *part, const void *from) {
    if (part->tensor) return mgn_tensor_write(part->tensor, part->dtype, from);
    MGN_KNOWN(part->host && from);
    memcpy(part->host, from, bytes_of(part));
    return MGN_OK;
}

/* The first number of a run that is not finite; whole blocks of them are looked at side by side. */
#define DEFINE_FIND_BAD(type)                                                                                        \
    static int64_t find_bad_##type(const type *x, int64_t count) {                                                   \
        enum { BLOCK = 4096 };                                                                                       \
        for (int64_t begin = 0; begin < count; begin += BLOCK) {                                                     \
            const int64_t end = MGN_MIN(begin + BLOCK, count);                                                       \
            int bad = 0;                                                                                             \
            _Pragma("omp simd reduction(| : bad)") for (int64_t i = begin; i < end; i++) bad |= !(x[i] - x[i] == 0); \
            for (int64_t i = begin; bad && i < end; i++)                                                             \
                if (!isfinite(x[i])) return i;                                                                       \
        }                                                                                                            \
        return -1;                                                                                                   \
    }

DEFINE_FIND_BAD(float)
DEFINE_FIND_BAD(double)

static int64_t find_bad(const mgn_state_part *part, const void *values) {
    if (part->dtype == MGN_F32) return find_bad_float(values, part->count);
    return part->dtype == MGN_F64 ? find_bad_double(values, part->count) : -1;
}

static mgn_status read_all(const mgn_train_state *state, mgn_state_copy *copy) {
    copy->point = state->point;
    for (size_t i = 0; i < copied(state); i++) MGN_TRY(read_part(&state->parts[i], copy->bytes[i]));
    return MGN_OK;
}

static mgn_status write_all(mgn_train_state *state, const mgn_state_copy *copy) {
    state->point = copy->point;
    for (size_t i = 0; i < copied(state); i++) MGN_TRY(write_part(&state->parts[i], copy->bytes[i]));
    return MGN_OK;
}

static void duplicate(const mgn_train_state *state, const mgn_state_copy *from, mgn_state_copy *to) {
    to->point = from->point;
    for (size_t i = 0; i < copied(state); i++) memcpy(to->bytes[i], from->bytes[i], bytes_of(&state->parts[i]));
}

static mgn_status read_or_write(mgn_train_state *state, bool is_read, char *bytes) {
    for (size_t i = 0; i < state->count; i++) {
        MGN_TRY(is_read ? read_part(&state->parts[i], bytes) : write_part(&state->parts[i], bytes));
        bytes += padded(&state->parts[i]);
    }
    return MGN_OK;
}

mgn_status mgn_state_share(mgn_train_state *state, mgn_comm *comm) {
    size_t size = 0;
    if (mgn_comm_size(comm) == 1) return MGN_OK;
    for (size_t i = 0; i < state->count; i++) size += padded(&state->parts[i]);
    char *bytes = mgn_alloc_aligned(size, 1);
    mgn_status status = mgn_comm_agree(comm, bytes ? read_or_write(state, true, bytes) : MGN_ERR_MEMORY);
    if (status == MGN_OK) status = mgn_comm_broadcast(comm, bytes, size);
    if (status == MGN_OK && mgn_comm_rank(comm) > 0) status = read_or_write(state, false, bytes);
    mgn_free(bytes);
    return status;
}

mgn_status mgn_state_begin(mgn_train_state *state) {
    mgn_state_copy *const copies[] = {&state->latest, &state->good, &state->spare};
    for (size_t c = 0; c < MGN_COUNT(copies); c++)
        for (size_t i = 0; i < copied(state); i++) {
            copies[c]->bytes[i] = mgn_alloc_aligned(bytes_of(&state->parts[i]) + 1, 1);
            if (!copies[c]->bytes[i]) return MGN_ERR_MEMORY;
        }
    MGN_TRY(read_all(state, &state->latest));
    duplicate(state, &state->latest, &state->good);
    return MGN_OK;
}

void mgn_state_free(mgn_train_state *state) {
    mgn_state_copy *const copies[] = {&state->latest, &state->good, &state->spare};
    for (size_t c = 0; c < MGN_COUNT(copies); c++)
        for (size_t i = 0; i < MGN_MOST_STATE_PARTS; i++) mgn_free(copies[c]->bytes[i]);
}

/* Reads all parts into the spare copy; the first that is not finite, or NULL. */
static mgn_status read_spare(mgn_train_state *state, const mgn_state_part **part, int64_t *index) {
    *part = NULL;
    state->is_middle = false;
    MGN_TRY(read_all(state, &state->spare));
    for (size_t i = 0; i < copied(state) && !*part && !state->is_judged; i++) {
        *index = find_bad(&state->parts[i], state->spare.bytes[i]);
        if (*index >= 0) *part = &state->parts[i];
    }
    return MGN_OK;
}

mgn_status mgn_state_take(mgn_train_state *state, const mgn_state_part **part, int64_t *index) {
    MGN_TRY(read_spare(state, part, index));
    if (*part) {
        duplicate(state, &state->latest, &state->good);
        return MGN_OK;
    }
    const mgn_state_copy good = state->good;
    state->good = state->latest;
    state->latest = state->spare;
    state->spare = good;
    return MGN_OK;
}

mgn_status mgn_state_take_middle(mgn_train_state *state) {
    const mgn_state_part *part;
    int64_t index;
    MGN_TRY(read_spare(state, &part, &index));
    state->is_middle = !part;
    return MGN_OK;
}

mgn_status mgn_state_go_back(mgn_train_state *state) {
    state->is_middle = false;
    duplicate(state, &state->good, &state->latest);
    return write_all(state, &state->good);
}

static const mgn_state_copy *last_copy(const mgn_train_state *state) {
    return state->is_middle ? &state->spare : &state->latest;
}

void mgn_state_parameters(const mgn_train_state *state, double *values) {
    const mgn_state_part *part = &state->parts[0];
    const void *from = last_copy(state)->bytes[0];
    for (int64_t i = 0; i < part->count; i++)
        values[i] = part->dtype == MGN_F32 ? (double)((const float *)from)[i] : ((const double *)from)[i];
}

/* ---- files ---- */

/* The structs' fields in their order. */
static const char *const point_labels[] = {"epoch",  "batch",          "steps",        "factor",        "loss",
                                           "waited", "plateau_factor", "plateau_best", "plateau_waited"};
static const char *const history_labels[] = {"rollbacks", "lr_factor", "first", "best", "best_epoch", "seconds"};
_Static_assert(sizeof(mgn_train_point) == MGN_COUNT(point_labels) * sizeof(double), "one label a field");
_Static_assert(sizeof(mgn_train_history) == MGN_COUNT(history_labels) * sizeof(double), "one label a field");

static mgn_status store_numbers(const char *prefix, const char *const *labels, size_t count, const double *numbers,
                                mgn_safetensors *file) {
    for (size_t i = 0; i < count; i++) {
        char key[64], text[40];
        snprintf(key, sizeof key, "%s%s", prefix, labels[i]);
        snprintf(text, sizeof text, "%.17g", numbers[i]);
        MGN_TRY(mgn_safetensors_set(file, key, text));
    }
    return MGN_OK;
}

static mgn_status load_numbers(const char *prefix, const char *const *labels, size_t count, const mgn_safetensors *file,
                               const char *label, double *numbers) {
    for (size_t i = 0; i < count; i++) {
        char key[64], *end = NULL;
        snprintf(key, sizeof key, "%s%s", prefix, labels[i]);
        const char *text = mgn_safetensors_get(file, key);
        if (text) numbers[i] = strtod(text, &end);
        if (!text || end == text || *end)
            return mgn_fail(MGN_ERR_FORMAT, "%s: no checkpoint: a number called %s was expected in its metadata", label,
                            key);
    }
    return MGN_OK;
}

static mgn_status store_copy(const mgn_train_state *state, const char *prefix, const mgn_state_copy *copy,
                             mgn_safetensors *file) {
    char key[64];
    for (size_t i = 0; i < state->count; i++) {
        const mgn_state_part *part = &state->parts[i];
        snprintf(key, sizeof key, "%s%s", prefix, part->label);
        MGN_TRY(mgn_safetensors_add(file, key, part->dtype, MGN_SHAPE(part->count), copy->bytes[i]));
    }
    return store_numbers(prefix, point_labels, MGN_COUNT(point_labels), (const double *)&copy->point, file);
}

static mgn_status load_tensor(const mgn_safetensors *file, const char *label, const char *name, mgn_dtype dtype,
                              int64_t count, void *to) {
    const mgn_stored_tensor *found = mgn_safetensors_find(file, name);
    if (!found || found->dtype != dtype || mgn_shape_count(found->shape) != count)
        return mgn_fail(MGN_ERR_FORMAT,
                        "%s: no checkpoint of this training: a tensor %s of %lld numbers (%s) was expected", label,
                        name, (long long)count, mgn_dtype_name(dtype));
    memcpy(to, found->data, (size_t)count * mgn_dtype_size(dtype));
    return MGN_OK;
}

static mgn_status load_copy(const mgn_train_state *state, const char *prefix, const mgn_safetensors *file,
                            const char *label, mgn_state_copy *copy) {
    char key[64];
    for (size_t i = 0; i < state->count; i++) {
        const mgn_state_part *part = &state->parts[i];
        snprintf(key, sizeof key, "%s%s", prefix, part->label);
        MGN_TRY(load_tensor(file, label, key, part->dtype, part->count, copy->bytes[i]));
    }
    return load_numbers(prefix, point_labels, MGN_COUNT(point_labels), file, label, (double *)&copy->point);
}

mgn_status mgn_state_store(const mgn_train_state *state, bool has_earlier, const double *best, mgn_safetensors *file) {
    MGN_TRY(store_copy(state, "", last_copy(state), file));
    if (has_earlier) MGN_TRY(store_copy(state, EARLIER, &state->good, file));
    if (has_earlier && state->is_middle) MGN_TRY(store_copy(state, BOUNDARY, &state->latest, file));
    if (best) MGN_TRY(mgn_safetensors_add(file, BEST, MGN_F64, MGN_SHAPE(state->parts[0].count), best));
    return store_numbers(HISTORY, history_labels, MGN_COUNT(history_labels), (const double *)&state->history, file);
}

mgn_status mgn_state_load(mgn_train_state *state, bool has_earlier, double *best, const mgn_safetensors *file,
                          const char *label) {
    MGN_TRY(load_copy(state, "", file, label, &state->spare));
    const mgn_train_point *point = &state->spare.point;
    state->is_middle = point->batch > 0;
    duplicate(state, &state->spare, &state->latest);
    duplicate(state, &state->spare, &state->good);
    if (has_earlier) MGN_TRY(load_copy(state, EARLIER, file, label, &state->good));
    if (has_earlier && state->is_middle) MGN_TRY(load_copy(state, BOUNDARY, file, label, &state->latest));
    if (best) MGN_TRY(load_tensor(file, label, BEST, MGN_F64, state->parts[0].count, best));
    MGN_TRY(load_numbers(HISTORY, history_labels, MGN_COUNT(history_labels), file, label, (double *)&state->history));
    return write_all(state, &state->spare);
}
