/* Model files: safetensors, a float32 tensor per parameter, the architecture as text in the metadata. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/safetensors.h"
#include "model/model.h"

static const char *const v_names[] = {[MGN_V_ORTHOGONAL] = "orthogonal", [MGN_V_GAUSSIAN] = "gaussian"};

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

static mgn_status fill_file(mgn_safetensors *file, const mgn_model *model) {
    MGN_TRY(mgn_safetensors_set(file, "format", "mgn-map-1"));
    MGN_TRY(mgn_safetensors_set(file, "model", model->kind->label));
    MGN_TRY(set_number(file, "d", model->config.d));
    MGN_TRY(set_number(file, "h", model->config.h));
    MGN_TRY(set_number(file, "layers", model->config.layers));
    MGN_TRY(mgn_safetensors_set(file, "activation", mgn_activation_name(model->config.activation)));
    MGN_TRY(mgn_safetensors_set(file, "v_start", v_names[model->config.v]));
    return add_parameters(file, model);
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

static mgn_status get_number(const mgn_safetensors *file, const char *path, const char *key, int64_t *value) {
    const char *text;
    MGN_TRY(get_text(file, path, key, &text));
    char *end;
    long long number = strtoll(text, &end, 10);
    if (end == text || *end || number < 1)
        return mgn_fail(MGN_ERR_FORMAT, "%s: metadata '%s' should be a positive integer, '%.40s' found", path, key,
                        text);
    *value = number;
    return MGN_OK;
}

static mgn_status read_config(const mgn_safetensors *file, const char *path, mgn_model_config *config) {
    const char *text;
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
    for (size_t i = 0; i < MGN_COUNT(v_names); i++)
        if (strcmp(text, v_names[i]) == 0) {
            config->v = (mgn_v_start)i;
            return MGN_OK;
        }
    return mgn_fail(MGN_ERR_FORMAT, "%s: metadata 'v_start' should be orthogonal or gaussian, '%.40s' found", path,
                    text);
}

/* The file's tensors must be those of the architecture, each with its shape: checked before anything of their size is
 * allocated, so metadata that lies costs nothing. */
static mgn_status read_parameters(const mgn_safetensors *file, const char *path, mgn_model *model) {
    if (file->tensor_count != model->list.count)
        return mgn_fail(MGN_ERR_FORMAT, "%s: %zu tensors were expected for this architecture, %zu found", path,
                        model->list.count, file->tensor_count);
    for (size_t i = 0; i < model->list.count; i++) {
        const mgn_parameter *p = &model->list.items[i];
        const mgn_stored_tensor *t = mgn_safetensors_find(file, p->label);
        if (!t) return mgn_fail(MGN_ERR_FORMAT, "%s: the tensor '%s' is missing", path, p->label);
        bool same = t->shape.rank == p->shape.rank && t->dtype != MGN_U32;
        for (int a = 0; same && a < p->shape.rank; a++) same = t->shape.dim[a] == p->shape.dim[a];
        if (!same)
            return mgn_fail(MGN_ERR_FORMAT,
                            "%s: the tensor '%s' does not have the shape that the metadata (d=%lld, h=%lld) asks for",
                            path, p->label, (long long)model->config.d, (long long)model->config.h);
        int64_t count = mgn_shape_count(p->shape);
        for (int64_t j = 0; j < count; j++)
            model->values[p->offset + j] =
                t->dtype == MGN_F64 ? ((const double *)t->data)[j] : (double)((const float *)t->data)[j];
    }
    return MGN_OK;
}

/* Elements in the file: an architecture that asks for more is refused before it is allocated. */
static int64_t stored_elements(const mgn_safetensors *file) {
    int64_t total = 0;
    for (size_t i = 0; i < file->tensor_count; i++) total += mgn_shape_count(file->tensors[i].shape);
    return total;
}

static mgn_status build(const mgn_safetensors *file, const char *path, mgn_model **model) {
    mgn_model_config config = {0};
    MGN_TRY(read_config(file, path, &config));
    int64_t smallest = config.d > 1 << 14 || config.h > 1 << 14 ? INT64_MAX : config.h * config.d + config.d * config.d;
    if (smallest > stored_elements(file))
        return mgn_fail(MGN_ERR_FORMAT,
                        "%s: the metadata (d=%lld, h=%lld) asks for more parameters than the file holds", path,
                        (long long)config.d, (long long)config.h);
    mgn_model *m = NULL;
    if (mgn_model_create(&config, 0, &m) != MGN_OK) return mgn_fail(MGN_ERR_FORMAT, "%s: %s", path, mgn_last_error());
    mgn_status status = read_parameters(file, path, m);
    if (status == MGN_OK)
        *model = m;
    else
        mgn_model_destroy(m);
    return status;
}

mgn_status mgn_model_load(const char *path, mgn_model **model) {
    mgn_safetensors file = {0};
    MGN_TRY(mgn_safetensors_read(path, &file));
    mgn_status status = build(&file, path, model);
    mgn_safetensors_free(&file);
    return status;
}
