/* Models as a whole: the table of kinds, parameters and their start. */
#include "model/model.h"

#include <lapacke.h>
#include <stdio.h>
#include <string.h>

#include "core/random.h"

/* One row per kind. */
static const mgn_model_kind_info *const kinds[] = {&mgn_model_cmgn, &mgn_model_mmgn};

static const char *const activation_names[] = {
    [MGN_LOGISTIC] = "logistic", [MGN_TANH] = "tanh", [MGN_SOFTPLUS] = "softplus"};

const char *mgn_model_kind(size_t index) { return index < MGN_COUNT(kinds) ? kinds[index]->label : NULL; }

const char *mgn_activation_name(mgn_activation activation) {
    return (size_t)activation < MGN_COUNT(activation_names) ? activation_names[activation] : "unknown";
}

mgn_status mgn_activation_parse(const char *text, mgn_activation *activation) {
    for (size_t i = 0; i < MGN_COUNT(activation_names); i++)
        if (strcmp(text, activation_names[i]) == 0) {
            *activation = (mgn_activation)i;
            return MGN_OK;
        }
    return mgn_fail(MGN_ERR_ARGUMENT, "the activation is logistic, tanh or softplus; '%s' was found", text);
}

static const mgn_model_kind_info *find_kind(const char *label) {
    for (size_t i = 0; i < MGN_COUNT(kinds); i++)
        if (strcmp(kinds[i]->label, label) == 0) return kinds[i];
    return NULL;
}

mgn_activation mgn_model_usual_activation(const char *kind) {
    const mgn_model_kind_info *info = find_kind(kind);
    return info ? info->usual : MGN_LOGISTIC;
}

/* ---- pieces that models are made of ---- */

mgn_node *mgn_activate(mgn_activation activation, mgn_node *z) {
    return activation == MGN_LOGISTIC ? mgn_logistic(z) : activation == MGN_TANH ? mgn_tanh(z) : mgn_softplus(z);
}

mgn_node *mgn_activate_potential(mgn_activation activation, mgn_node *z) {
    return activation == MGN_TANH ? mgn_logcosh(z) : mgn_softplus(z);
}

mgn_node *mgn_quadratic_part(mgn_node *V, mgn_node *x) { return mgn_matmul(mgn_matmul_t(x, false, V, true), V); }

void mgn_parameter_add(mgn_parameter_list *list, const char *label, int number, mgn_shape shape, mgn_start start) {
    size_t i = list->count++;
    if (number < 0)
        snprintf(list->labels[i], sizeof list->labels[i], "%s", label);
    else
        snprintf(list->labels[i], sizeof list->labels[i], "%s%d", label, number);
    list->items[i] = (mgn_parameter){.shape = shape, .offset = list->total};
    list->start[i] = start;
    list->total += mgn_shape_count(shape);
}

/* ---- creation ---- */

static mgn_status check_config(const mgn_model_config *config, const mgn_model_kind_info **kind) {
    char label[sizeof config->kind + 1] = {0};
    memcpy(label, config->kind, sizeof config->kind);
    *kind = find_kind(label);
    if (!*kind) return mgn_fail(MGN_ERR_ARGUMENT, "the model is cmgn or mmgn; '%s' was found", label);
    if (config->d < 1 || config->d > 1 << 14 || config->h < 1 || config->h > 1 << 14 || config->layers < 1 ||
        config->layers > MGN_MOST_LAYERS)
        return mgn_fail(MGN_ERR_ARGUMENT,
                        "%s: d and h from 1 to 16384 and 1 to %d layers were expected; d=%lld h=%lld layers=%lld found",
                        label, MGN_MOST_LAYERS, (long long)config->d, (long long)config->h, (long long)config->layers);
    if ((unsigned)config->activation >= MGN_COUNT(activation_names) ||
        !((*kind)->activations >> config->activation & 1))
        return mgn_fail(MGN_ERR_ARGUMENT,
                        "%s: the activation %s does not keep the map the gradient of a convex function", label,
                        mgn_activation_name(config->activation));
    return MGN_OK;
}

/* The orthogonal factor of a Gaussian matrix, with the signs that make it uniform over the orthogonal group. */
static mgn_status orthogonalise(double *v, int64_t d) {
    lapack_int n = (lapack_int)d;
    double *tau = mgn_alloc((size_t)d, sizeof *tau), *signs = mgn_alloc((size_t)d, sizeof *signs);
    mgn_status status = tau && signs ? MGN_OK : MGN_ERR_MEMORY;
    if (status == MGN_OK && LAPACKE_dgeqrf(LAPACK_ROW_MAJOR, n, n, v, n, tau) != 0)
        status = mgn_fail(MGN_ERR_NUMERIC, "the QR decomposition of a random %lld x %lld matrix failed", (long long)d,
                          (long long)d);
    for (int64_t i = 0; status == MGN_OK && i < d; i++) signs[i] = v[i * d + i] < 0 ? -1 : 1;
    if (status == MGN_OK && LAPACKE_dorgqr(LAPACK_ROW_MAJOR, n, n, n, v, n, tau) != 0)
        status = mgn_fail(MGN_ERR_NUMERIC, "the QR decomposition of a random %lld x %lld matrix failed", (long long)d,
                          (long long)d);
    for (int64_t i = 0; status == MGN_OK && i < d * d; i++) v[i] *= signs[i % d];
    mgn_free(tau);
    mgn_free(signs);
    return status;
}

static mgn_status start_values(mgn_model *model, uint64_t seed) {
    for (size_t i = 0; i < model->list.count; i++) {
        const mgn_parameter *p = &model->list.items[i];
        double *values = model->values + p->offset;
        int64_t count = mgn_shape_count(p->shape);
        for (int64_t j = 0; j < count; j++) values[j] = mgn_host_normal(seed, (uint32_t)i, (uint64_t)j);
        if (model->list.start[i] == MGN_START_V && model->config.v == MGN_V_ORTHOGONAL)
            MGN_TRY(orthogonalise(values, p->shape.dim[0]));
    }
    return MGN_OK;
}

static mgn_status allocate(const mgn_model_config *config, mgn_model **model) {
    const mgn_model_kind_info *kind;
    MGN_TRY(check_config(config, &kind));
    mgn_model *m = mgn_alloc(1, sizeof *m);
    if (!m) return MGN_ERR_MEMORY;
    m->config = *config;
    m->kind = kind;
    kind->describe(config, &m->list);
    for (size_t i = 0; i < m->list.count; i++) m->list.items[i].label = m->list.labels[i];
    m->values = mgn_alloc((size_t)m->list.total, sizeof *m->values);
    if (!m->values) {
        mgn_free(m);
        return MGN_ERR_MEMORY;
    }
    *model = m;
    return MGN_OK;
}

mgn_status mgn_model_create(const mgn_model_config *config, uint64_t seed, mgn_model **model) {
    mgn_model *m = NULL;
    MGN_TRY(allocate(config, &m));
    mgn_status status = start_values(m, seed);
    if (status == MGN_OK)
        *model = m;
    else
        mgn_model_destroy(m);
    return status;
}

void mgn_model_destroy(mgn_model *model) {
    if (!model) return;
    mgn_free(model->values);
    mgn_free(model);
}

mgn_status mgn_model_clone(const mgn_model *model, mgn_model **copy) {
    mgn_model *m = NULL;
    MGN_TRY(allocate(&model->config, &m));
    memcpy(m->values, model->values, (size_t)model->list.total * sizeof *m->values);
    *copy = m;
    return MGN_OK;
}

const mgn_model_config *mgn_model_get_config(const mgn_model *model) { return &model->config; }

int64_t mgn_model_parameter_count(const mgn_model *model) { return model->list.total; }

double *mgn_model_values(mgn_model *model) { return model->values; }

size_t mgn_model_parameters(const mgn_model *model, const mgn_parameter **parameters) {
    *parameters = model->list.items;
    return model->list.count;
}

/* ---- graphs ---- */

/* The named views of the flat vector; the kind's function of them. */
static mgn_node *with_views(const mgn_model *model, mgn_node *flat, mgn_node *x,
                            mgn_node *(*function)(const mgn_model_config *, mgn_node *const *, mgn_node *)) {
    if (!flat || !x) return NULL;
    mgn_node *views[MGN_MOST_PARAMETERS];
    for (size_t i = 0; i < model->list.count; i++) {
        const mgn_parameter *p = &model->list.items[i];
        views[i] = mgn_reshape(mgn_slice(flat, 0, p->offset, mgn_shape_count(p->shape)), p->shape);
    }
    return function(&model->config, views, x);
}

mgn_node *mgn_model_forward(const mgn_model *model, mgn_node *flat, mgn_node *x) {
    return with_views(model, flat, x, model->kind->forward);
}

bool mgn_model_has_potential(const mgn_model *model) { return model->kind->has_potential(&model->config); }

mgn_node *mgn_model_potential(const mgn_model *model, mgn_node *flat, mgn_node *x) {
    return mgn_model_has_potential(model) ? with_views(model, flat, x, model->kind->potential) : NULL;
}
