/* Model files: safetensors, a float32 tensor per parameter, the architecture as text in the metadata. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/safetensors.h"
#include "model/model.h"

static const char *const v_names[] = {[MGN_V_ORTHOGONAL] = "orthogonal", [MGN_V_GAUSSIAN] = "gaussian"};

static const char *const scale_names[] = {"non-negative", "signed"};

static const char *const bias_names[] = {"filter", "position"};

/* Everything the metadata may hold. An entry of another name may change what the tensors mean: it is refused. What only
 * some models have stands in their files alone, so that other files are those of earlier versions; the recipe of a training is
 * a note that says nothing of the map, and a look is for who asks for it. */
static const char *const keys[] = {"format",  "model",  "d",         "h",      "layers", "activation",
                                   "v_start", "scales", "lipschitz", "image",  "kernel", "stride",
                                   "padding", "biases", "frame",     "recipe", "look"};

static mgn_status set_number(mgn_safetensors *file, const char *key, int64_t value) {
    char text[24];
    snprintf(text, sizeof text, "%" PRId64, value);
    return mgn_safetensors_set(file, key, text);
}

static mgn_status add_parameters(mgn_safetensors *file, const mgn_model *model) {
    float *single = mgn_alloc((size_t)model->list.total, sizeof *single);
    if (!single) return MGN_ERR_MEMORY;
    for (int64_t i = 0; i < model->list.total; i++) single[i] = (float)model->values[i];
    mgn_status status = MGN_OK;
    for (size_t i = 0; status == MGN_OK && i < model->list.count; i++) {
        const mgn_parameter *p = &model->list.items[i];
        status = mgn_safetensors_add(file, p->label, MGN_F32, p->shape, single + p->offset);
    }
    mgn_free(single);
    return status;
}

/* The frame's tensors; its factor is in the metadata. */
typedef struct frame_tensor {
    const char *label;
    mgn_shape shape;
    const double *values;
} frame_tensor;

enum { FRAME_TENSORS = 3 };

static void list_frame(int64_t d, const mgn_model_frame *f, frame_tensor list[FRAME_TENSORS]) {
    list[0] = (frame_tensor){"frame.shift", MGN_SHAPE(d), f->shift};
    list[1] = (frame_tensor){"frame.matrix", f->is_diagonal ? MGN_SHAPE(d) : MGN_SHAPE(d, d), f->matrix};
    list[2] = (frame_tensor){"frame.offset", MGN_SHAPE(d), f->offset};
}

static mgn_status add_real(mgn_safetensors *file, const char *key, double value) {
    char text[32];
    snprintf(text, sizeof text, "%.17g", value);
    return mgn_safetensors_set(file, key, text);
}

/* In double: parameters are rounded on their way to a file, but a place 1e6 from 0 has too few digits for that. */
static mgn_status add_frame(mgn_safetensors *file, const mgn_model *model) {
    const mgn_model_frame *frame = mgn_model_get_frame(model);
    frame_tensor list[FRAME_TENSORS];
    if (!frame) return MGN_OK;
    list_frame(model->config.d, frame, list);
    for (int i = 0; i < FRAME_TENSORS; i++)
        MGN_TRY(mgn_safetensors_add(file, list[i].label, MGN_F64, list[i].shape, list[i].values));
    return add_real(file, "frame", frame->factor);
}

static mgn_status add_picture(mgn_safetensors *file, const mgn_model_config *config) {
    char text[80];
    snprintf(text, sizeof text, "%" PRId64 "x%" PRId64 "x%" PRId64, config->image.height, config->image.width,
             config->image.channels);
    MGN_TRY(mgn_safetensors_set(file, "image", text));
    MGN_TRY(set_number(file, "kernel", config->kernel));
    MGN_TRY(set_number(file, "stride", mgn_model_stride(config)));
    MGN_TRY(set_number(file, "padding", config->padding));
    return mgn_safetensors_set(file, "biases", bias_names[config->position_biases]);
}

static mgn_status fill_file(mgn_safetensors *file, const mgn_model *model) {
    MGN_TRY(mgn_safetensors_set(file, "format", "mgn-map-1"));
    MGN_TRY(mgn_safetensors_set(file, "model", model->kind->label));
    MGN_TRY(set_number(file, "d", model->config.d));
    MGN_TRY(set_number(file, "h", model->config.h));
    MGN_TRY(set_number(file, "layers", model->config.layers));
    MGN_TRY(mgn_safetensors_set(file, "activation", mgn_activation_name(model->config.activation)));
    MGN_TRY(mgn_safetensors_set(file, "v_start", v_names[model->config.v]));
    if (model->config.signed_scales) MGN_TRY(mgn_safetensors_set(file, "scales", scale_names[1]));
    if (model->config.lipschitz > 0) MGN_TRY(add_real(file, "lipschitz", model->config.lipschitz));
    if (model->kind->has_pictures) MGN_TRY(add_picture(file, &model->config));
    MGN_TRY(add_parameters(file, model));
    return add_frame(file, model);
}

mgn_status mgn_model_prepare(const mgn_model *model, const char *path, mgn_output_file **written) {
    return mgn_model_prepare_noted(model, NULL, NULL, path, written);
}

mgn_status mgn_model_prepare_noted(const mgn_model *model, const char *key, const char *text, const char *path,
                                   mgn_output_file **written) {
    mgn_safetensors file = {0};
    mgn_status status = fill_file(&file, model);
    if (status == MGN_OK && key) status = mgn_safetensors_set(&file, key, text);
    if (status == MGN_OK) status = mgn_safetensors_prepare(path, &file, written);
    mgn_safetensors_free(&file);
    return status;
}

mgn_status mgn_model_save(const mgn_model *model, const char *path) {
    mgn_output_file *output = NULL;
    MGN_TRY(mgn_model_prepare(model, path, &output));
    return mgn_output_commit(output);
}

/* ---- loading ---- */

static mgn_status get_text(const mgn_safetensors *file, const char *path, const char *key, const char **text) {
    *text = mgn_safetensors_get(file, key);
    return *text ? MGN_OK
                 : mgn_fail(MGN_ERR_FORMAT, "%s: not a map written by mgn: its metadata has no '%s'", path, key);
}

/* An integer of at least `least`, 0 or 1. */
static mgn_status get_integer(const mgn_safetensors *file, const char *path, const char *key, int64_t least,
                              int64_t *value) {
    const char *text;
    MGN_TRY(get_text(file, path, key, &text));
    char *end;
    long long number = strtoll(text, &end, 10);
    if (end == text || *end || number < least)
        return mgn_fail(MGN_ERR_FORMAT, "%s: metadata '%s' should be a %s integer, '%.40s' found", path, key,
                        least ? "positive" : "non-negative", text);
    *value = number;
    return MGN_OK;
}

static mgn_status get_number(const mgn_safetensors *file, const char *path, const char *key, int64_t *value) {
    return get_integer(file, path, key, 1, value);
}

/* Which of `count` names the text is. */
static mgn_status get_choice(const char *path, const char *key, const char *text, const char *const *names,
                             size_t count, size_t *choice) {
    for (size_t i = 0; i < count; i++)
        if (strcmp(text, names[i]) == 0) {
            *choice = i;
            return MGN_OK;
        }
    return mgn_fail(MGN_ERR_FORMAT, "%s: metadata '%s' should be %s or %s, '%.40s' found", path, key, names[0],
                    names[1], text);
}

static mgn_status check_keys(const mgn_safetensors *file, const char *path) {
    for (size_t i = 0; i < file->metadata_count; i++) {
        size_t k = 0;
        while (k < MGN_COUNT(keys) && strcmp(file->metadata[i].key, keys[k]) != 0) k++;
        if (k == MGN_COUNT(keys))
            return mgn_fail(
                MGN_ERR_FORMAT,
                "%s: its metadata has '%.40s', which this version of mgn does not know: another version may "
                "have written it",
                path, file->metadata[i].key);
    }
    return MGN_OK;
}

/* `value` stays as it is where the metadata has no such entry. */
static mgn_status get_positive(const mgn_safetensors *file, const char *path, const char *key, double *value) {
    const char *text = mgn_safetensors_get(file, key);
    if (!text) return MGN_OK;
    char *end;
    *value = strtod(text, &end);
    if (end == text || *end || !isfinite(*value) || *value <= 0)
        return mgn_fail(MGN_ERR_FORMAT, "%s: metadata '%s' should be a positive number, '%.40s' found", path, key,
                        text);
    return MGN_OK;
}

/* What not every model has. */
static mgn_status read_options(const mgn_safetensors *file, const char *path, mgn_model_config *config) {
    const char *scales = mgn_safetensors_get(file, "scales");
    size_t choice = 0;
    if (scales) MGN_TRY(get_choice(path, "scales", scales, scale_names, MGN_COUNT(scale_names), &choice));
    config->signed_scales = choice == 1;
    return get_positive(file, path, "lipschitz", &config->lipschitz);
}

/* All of what a model of pictures has, or nothing of it. */
static mgn_status read_picture(const mgn_safetensors *file, const char *path, mgn_model_config *config) {
    const char *image = mgn_safetensors_get(file, "image"), *text;
    size_t choice = 0;
    if (!image) return MGN_OK;
    if (mgn_image_shape_parse(image, &config->image) != MGN_OK)
        return mgn_fail(MGN_ERR_FORMAT, "%s: metadata 'image': %s", path, mgn_last_error());
    MGN_TRY(get_number(file, path, "kernel", &config->kernel));
    MGN_TRY(get_number(file, path, "stride", &config->stride));
    MGN_TRY(get_integer(file, path, "padding", 0, &config->padding));
    MGN_TRY(get_text(file, path, "biases", &text));
    MGN_TRY(get_choice(path, "biases", text, bias_names, MGN_COUNT(bias_names), &choice));
    config->position_biases = choice == 1;
    return MGN_OK;
}

static mgn_status read_config(const mgn_safetensors *file, const char *path, mgn_model_config *config) {
    const char *text;
    size_t choice = 0;
    MGN_TRY(get_text(file, path, "format", &text));
    if (strcmp(text, "mgn-map-1") != 0)
        return mgn_fail(MGN_ERR_FORMAT, "%s: format 'mgn-map-1' was expected, '%.40s' found", path, text);
    MGN_TRY(get_text(file, path, "model", &text));
    snprintf(config->kind, sizeof config->kind, "%s", text);
    MGN_TRY(get_number(file, path, "d", &config->d));
    MGN_TRY(get_number(file, path, "h", &config->h));
    MGN_TRY(get_number(file, path, "layers", &config->layers));
    MGN_TRY(get_text(file, path, "activation", &text));
    if (mgn_activation_parse(text, &config->activation) != MGN_OK)
        return mgn_fail(MGN_ERR_FORMAT, "%s: unknown activation '%.40s'", path, text);
    MGN_TRY(get_text(file, path, "v_start", &text));
    MGN_TRY(get_choice(path, "v_start", text, v_names, MGN_COUNT(v_names), &choice));
    config->v = (mgn_v_start)choice;
    MGN_TRY(read_options(file, path, config));
    MGN_TRY(read_picture(file, path, config));
    return check_keys(file, path);
}

/* The file's tensors must be those of the architecture, each with its shape. */
static mgn_status check_tensors(const mgn_safetensors *file, const char *path, const mgn_model_config *config,
                                const mgn_parameter_list *list) {
    const size_t expected = list->count + (mgn_safetensors_get(file, "frame") ? FRAME_TENSORS : 0);
    if (file->tensor_count != expected)
        return mgn_fail(MGN_ERR_FORMAT, "%s: %zu tensors were expected for this architecture, %zu found", path,
                        expected, file->tensor_count);
    for (size_t i = 0; i < list->count; i++) {
        const mgn_parameter *p = &list->items[i];
        const mgn_stored_tensor *t = mgn_safetensors_find(file, p->label);
        if (!t) return mgn_fail(MGN_ERR_FORMAT, "%s: the tensor '%s' is missing", path, p->label);
        bool same = t->shape.rank == p->shape.rank && t->dtype != MGN_U32;
        for (int a = 0; same && a < p->shape.rank; a++) same = t->shape.dim[a] == p->shape.dim[a];
        if (!same)
            return mgn_fail(MGN_ERR_FORMAT,
                            "%s: the tensor '%s' does not have the shape that the metadata (d=%lld, h=%lld) asks for",
                            path, p->label, (long long)config->d, (long long)config->h);
    }
    return MGN_OK;
}

static void read_parameters(const mgn_safetensors *file, mgn_model *model) {
    for (size_t i = 0; i < model->list.count; i++) {
        const mgn_parameter *p = &model->list.items[i];
        const mgn_stored_tensor *t = mgn_safetensors_find(file, p->label);
        int64_t count = mgn_shape_count(p->shape);
        for (int64_t j = 0; j < count; j++)
            model->values[p->offset + j] =
                t->dtype == MGN_F64 ? ((const double *)t->data)[j] : (double)((const float *)t->data)[j];
    }
}

/* The frame, where the metadata has its factor. */
static mgn_status read_frame(const mgn_safetensors *file, const char *path, mgn_model *model) {
    const int64_t d = model->config.d;
    const mgn_stored_tensor *matrix = mgn_safetensors_find(file, "frame.matrix");
    mgn_model_frame frame = {.factor = 0, .is_diagonal = matrix && matrix->shape.rank == 1};
    frame_tensor list[FRAME_TENSORS];
    MGN_TRY(get_positive(file, path, "frame", &frame.factor));
    if (frame.factor == 0) return MGN_OK;
    list_frame(d, &frame, list);
    for (int i = 0; i < FRAME_TENSORS; i++) {
        const mgn_stored_tensor *t = mgn_safetensors_find(file, list[i].label);
        bool same = t && t->dtype == MGN_F64 && t->shape.rank == list[i].shape.rank;
        for (int a = 0; same && a < t->shape.rank; a++) same = t->shape.dim[a] == list[i].shape.dim[a];
        if (!same)
            return mgn_fail(MGN_ERR_FORMAT, "%s: the frame needs a tensor '%s' of doubles, of %d dimensions of %lld",
                            path, list[i].label, list[i].shape.rank, (long long)d);
        list[i].values = t->data;
    }
    frame.shift = list[0].values;
    frame.matrix = list[1].values;
    frame.offset = list[2].values;
    return mgn_model_set_frame(model, &frame);
}

/* Nothing of the size that the metadata claims is allocated before the tensors bear it out. */
static mgn_status build(const mgn_safetensors *file, const char *path, mgn_model **model) {
    mgn_model_config config = {0};
    MGN_TRY(read_config(file, path, &config));
    const mgn_model_kind_info *kind;
    mgn_parameter_list *list = mgn_alloc(1, sizeof *list);
    if (!list) return MGN_ERR_MEMORY;
    mgn_status status = mgn_model_describe(&config, &kind, list);
    if (status == MGN_OK)
        status = check_tensors(file, path, &config, list);
    else
        status = mgn_fail(MGN_ERR_FORMAT, "%s: %s", path, mgn_last_error());
    if (status == MGN_OK) status = mgn_model_allocate(&config, model);
    mgn_free(list);
    MGN_TRY(status);
    read_parameters(file, *model);
    status = read_frame(file, path, *model);
    if (status != MGN_OK) {
        mgn_model_destroy(*model);
        *model = NULL;
    }
    return status;
}

mgn_status mgn_model_load_noted(const char *path, const char *key, char *text, size_t capacity, mgn_model **model) {
    mgn_safetensors file = {0};
    MGN_TRY(mgn_safetensors_read(path, &file));
    const char *note = key ? mgn_safetensors_get(&file, key) : NULL;
    if (text) snprintf(text, capacity, "%s", note ? note : "");
    mgn_status status = build(&file, path, model);
    mgn_safetensors_free(&file);
    return status;
}

mgn_status mgn_model_load(const char *path, mgn_model **model) {
    return mgn_model_load_noted(path, NULL, NULL, 0, model);
}
