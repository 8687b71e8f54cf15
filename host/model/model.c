/* Models as a whole: the table of kinds, parameters and their start. */
#include "model/model.h"

#include <errno.h>
#include <lapacke.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/random.h"

/* One row per kind. */
static const mgn_model_kind_info *const kinds[] = {
    &mgn_model_cmgn,     &mgn_model_mmgn,  &mgn_model_icnn,      &mgn_model_icgn, &mgn_model_cgradnet,
    &mgn_model_mgradnet, &mgn_model_dicnn, &mgn_model_conv_cmgn, &mgn_model_lse,  &mgn_model_maxquad,
};

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

double mgn_activation_slope(mgn_activation activation) { return activation == MGN_LOGISTIC ? 0.25 : 1; }

mgn_node *mgn_positive(mgn_node *raw) { return mgn_softplus(raw); }

mgn_node *mgn_unit_scale(const mgn_model_config *config, mgn_node *raw) {
    return config->signed_scales ? raw : mgn_positive(raw);
}

mgn_node *mgn_quadratic_part(mgn_node *V, mgn_node *x) { return mgn_matmul(mgn_matmul_t(x, false, V, true), V); }

void mgn_parameter_add(mgn_parameter_list *list, const char *label, int number, mgn_shape shape, mgn_role role) {
    size_t i = list->count++;
    if (number < 0)
        snprintf(list->labels[i], sizeof list->labels[i], "%s", label);
    else
        snprintf(list->labels[i], sizeof list->labels[i], "%s%d", label, number);
    list->items[i] = (mgn_parameter){.shape = shape, .offset = list->total};
    list->role[i] = role;
    list->total += mgn_shape_count(shape);
}

/* ---- creation ---- */

static mgn_status unknown_kind(const char *label) {
    char list[256] = "";
    for (size_t i = 0, at = 0; i < MGN_COUNT(kinds) && at < sizeof list; i++)
        at += (size_t)snprintf(list + at, sizeof list - at, "%s%s", i ? ", " : "", kinds[i]->label);
    return mgn_fail(MGN_ERR_ARGUMENT, "the model is one of %s; '%s' was found", list, label);
}

static mgn_status check_bound(const mgn_model_config *config, const mgn_model_kind_info *kind) {
    if (!isfinite(config->lipschitz) || config->lipschitz < 0)
        return mgn_fail(MGN_ERR_ARGUMENT, "%s: a positive Lipschitz bound, or 0 for none, was expected; %g found",
                        kind->label, config->lipschitz);
    const char *why = config->lipschitz > 0 && kind->why_unbounded ? kind->why_unbounded(config) : NULL;
    if (why) return mgn_fail(MGN_ERR_ARGUMENT, "%s: no Lipschitz bound can be kept: %s", kind->label, why);
    return MGN_OK;
}

static mgn_status check_config(const mgn_model_config *config, const mgn_model_kind_info **kind) {
    char label[sizeof config->kind + 1] = {0};
    memcpy(label, config->kind, sizeof config->kind);
    *kind = find_kind(label);
    if (!*kind) return unknown_kind(label);
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
    if (config->signed_scales && !(*kind)->has_scales)
        return mgn_fail(MGN_ERR_ARGUMENT, "%s has no scales whose signs could be free", label);
    const bool has_picture = config->image.height || config->image.width || config->image.channels || config->kernel ||
                             config->stride || config->padding || config->position_biases;
    if (has_picture && !(*kind)->has_pictures)
        return mgn_fail(MGN_ERR_ARGUMENT, "%s does not look at rows as pictures: it has no kernel", label);
    if ((*kind)->check) MGN_TRY((*kind)->check(config));
    return check_bound(config, *kind);
}

mgn_status mgn_image_shape_parse(const char *text, mgn_image_shape *shape) {
    int64_t sizes[3] = {0, 0, 1};
    const char *at = text;
    int count = 0;
    for (bool more = true; more && count < 3; count++) {
        char *end;
        errno = 0;
        const long long size = strtoll(at, &end, 10);
        more = *end == 'x';
        if (*at < '0' || *at > '9' || errno || size < 1 || size > 1 << 20 || (*end && !more)) break;
        sizes[count] = size;
        at = end + 1;
        if (!more) {
            if (count == 0) break;
            *shape = (mgn_image_shape){sizes[0], sizes[1], sizes[2]};
            return MGN_OK;
        }
    }
    return mgn_fail(MGN_ERR_ARGUMENT,
                    "a picture's shape is its height x width x channels, such as 32x32x3; '%.40s' found", text);
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

/* A kernel (k, c, a, a) of normal numbers: such that its sums are of the size of what it sees. One that is to start
 * orthogonal is an orthogonal matrix of channels at its middle pixel, and 0 elsewhere. */
static mgn_status start_kernel(double *values, mgn_shape shape, bool is_orthogonal) {
    const int64_t k = shape.dim[0], c = shape.dim[1], area = shape.dim[2] * shape.dim[3];
    const int64_t middle = shape.dim[2] / 2 * shape.dim[3] + shape.dim[3] / 2;
    if (!is_orthogonal) {
        for (int64_t j = 0; j < k * c * area; j++) values[j] /= sqrt((double)(c * area));
        return MGN_OK;
    }
    MGN_TRY(orthogonalise(values, c));
    for (int64_t j = k * c - 1; j >= 0; j--) {
        const double entry = values[j];
        for (int64_t q = 0; q < area; q++) values[j * area + q] = q == middle ? entry : 0;
    }
    return MGN_OK;
}

/* The mean of what a parameter stands for, for those that are read through mgn_positive; 0 for the others. */
static double start_mean(const mgn_model *model, size_t i) {
    const mgn_shape shape = model->list.items[i].shape;
    if (model->list.role[i] == MGN_POSITIVE) return shape.rank == 2 ? 1 / (double)shape.dim[1] : 1;
    return model->list.role[i] == MGN_SCALE && !model->config.signed_scales ? 1 : 0;
}

static mgn_status start_values(mgn_model *model, uint64_t seed) {
    for (size_t i = 0; i < model->list.count; i++) {
        const mgn_parameter *p = &model->list.items[i];
        double *values = model->values + p->offset;
        int64_t count = mgn_shape_count(p->shape);
        const double mean = start_mean(model, i);
        for (int64_t j = 0; j < count; j++) {
            values[j] = mgn_host_normal(seed, (uint32_t)i, (uint64_t)j);
            if (mean > 0) values[j] = log(expm1(mean * exp(0.5 * values[j]))); /* log-normal after mgn_positive */
        }
        const bool is_orthogonal = model->list.role[i] == MGN_ROLE_V && model->config.v == MGN_V_ORTHOGONAL;
        if (p->shape.rank == 4)
            MGN_TRY(start_kernel(values, p->shape, is_orthogonal));
        else if (is_orthogonal)
            MGN_TRY(orthogonalise(values, p->shape.dim[0]));
    }
    return MGN_OK;
}

mgn_status mgn_model_describe(const mgn_model_config *config, const mgn_model_kind_info **kind,
                              mgn_parameter_list *list) {
    MGN_TRY(check_config(config, kind));
    MGN_KNOWN(*kind);
    (*kind)->describe(config, list);
    for (size_t i = 0; i < list->count; i++) list->items[i].label = list->labels[i];
    return MGN_OK;
}

mgn_status mgn_model_allocate(const mgn_model_config *config, mgn_model **model) {
    mgn_model *m = mgn_alloc(1, sizeof *m);
    if (!m) return MGN_ERR_MEMORY;
    m->config = *config;
    mgn_status status = mgn_model_describe(config, &m->kind, &m->list);
    if (status == MGN_OK) {
        m->values = mgn_alloc((size_t)m->list.total, sizeof *m->values);
        status = m->values ? MGN_OK : MGN_ERR_MEMORY;
    }
    if (status == MGN_OK)
        *model = m;
    else
        mgn_model_destroy(m);
    return status;
}

mgn_status mgn_model_create(const mgn_model_config *config, uint64_t seed, mgn_model **model) {
    mgn_model *m = NULL;
    MGN_TRY(mgn_model_allocate(config, &m));
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
    mgn_free(model->frame_block);
    mgn_free(model);
}

mgn_status mgn_model_clone(const mgn_model *model, mgn_model **copy) {
    mgn_model *m = NULL;
    MGN_TRY(mgn_model_allocate(&model->config, &m));
    memcpy(m->values, model->values, (size_t)model->list.total * sizeof *m->values);
    const mgn_status status = mgn_model_set_frame(m, mgn_model_get_frame(model));
    if (status == MGN_OK)
        *copy = m;
    else
        mgn_model_destroy(m);
    return status;
}

const mgn_model_config *mgn_model_get_config(const mgn_model *model) { return &model->config; }

static bool is_gradient(const mgn_model_kind_info *kind, const mgn_model_config *config) {
    return !kind->why_no_gradient || !kind->why_no_gradient(config);
}

bool mgn_model_is_gradient(const mgn_model *model) { return is_gradient(model->kind, &model->config); }

bool mgn_model_config_is_monotone(const mgn_model_config *config) {
    const mgn_model_kind_info *kind = find_kind(config->kind);
    return kind && is_gradient(kind, config) && !config->signed_scales;
}

bool mgn_model_is_monotone(const mgn_model *model) { return mgn_model_config_is_monotone(&model->config); }

int64_t mgn_model_parameter_count(const mgn_model *model) { return model->list.total; }

double *mgn_model_values(mgn_model *model) { return model->values; }

size_t mgn_model_parameters(const mgn_model *model, const mgn_parameter **parameters) {
    *parameters = model->list.items;
    return model->list.count;
}

/* ---- graphs ---- */

/* The kind's function of the named views of the flat vector, of which the weights are scaled down to the bound; x is in the
 * frame. */
static mgn_node *with_views(const mgn_model *model, mgn_node *flat, mgn_node *x, mgn_model_function *function) {
    if (!flat || !x) return NULL;
    mgn_node *views[MGN_MOST_PARAMETERS];
    const mgn_model_config *config = &model->config;
    for (size_t i = 0; i < model->list.count; i++) {
        const mgn_parameter *p = &model->list.items[i];
        views[i] = mgn_reshape(mgn_slice(flat, 0, p->offset, mgn_shape_count(p->shape)), p->shape);
    }
    if (config->lipschitz > 0) {
        const double inside = config->lipschitz / (model->frame_block ? model->frame_bound : 1);
        mgn_node *factor = mgn_lipschitz_factor(model->kind->bound(config, views), inside);
        for (size_t i = 0; i < model->list.count; i++)
            if (model->list.role[i] == MGN_WEIGHT || model->list.role[i] == MGN_ROLE_V)
                views[i] = mgn_mul(views[i], factor);
    }
    return function(config, views, x);
}

mgn_node *mgn_model_forward(const mgn_model *model, mgn_node *flat, mgn_node *x) {
    if (!model->frame_block || !x) return with_views(model, flat, x, model->kind->forward);
    return mgn_frame_outside(model, with_views(model, flat, mgn_frame_inside(model, x), model->kind->forward));
}

bool mgn_model_has_potential(const mgn_model *model) { return model->kind->has_potential(&model->config); }

mgn_node *mgn_model_potential(const mgn_model *model, mgn_node *flat, mgn_node *x) {
    if (!mgn_model_has_potential(model)) return NULL;
    if (!model->frame_block || !x) return with_views(model, flat, x, model->kind->potential);
    mgn_node *phi = with_views(model, flat, mgn_frame_inside(model, x), model->kind->potential);
    return phi ? mgn_frame_potential(model, phi, x) : NULL;
}
