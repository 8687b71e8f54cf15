/* Every option stands for itself, so that the sentence about a difference can name it. Rows, and what else is long, are known
 * by a digest: it tells a mistake, not a forgery. */
#include "train/recipe.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "core/core.h"

#define PREFIX "option."

typedef struct recipe {
    mgn_safetensors *file;
    mgn_status status;
} recipe;

static void add_text(recipe *r, const char *label, const char *text) {
    char key[96];
    snprintf(key, sizeof key, PREFIX "%s", label);
    if (r->status == MGN_OK) r->status = mgn_safetensors_set(r->file, key, text);
}

static void add_real(recipe *r, const char *label, double value) {
    char text[40];
    snprintf(text, sizeof text, "%.17g", value);
    add_text(r, label, text);
}

static void add_whole(recipe *r, const char *label, int64_t value) {
    char text[40];
    snprintf(text, sizeof text, "%" PRId64, value);
    add_text(r, label, text);
}

/* "" where there is nothing. */
static void add_digest(recipe *r, const char *label, const void *bytes, size_t size) {
    char text[48] = "";
    if (bytes) snprintf(text, sizeof text, "%zu bytes, %016" PRIx64, size, mgn_hash(MGN_HASH_START, bytes, size));
    add_text(r, label, text);
}

static void add_rows(recipe *r, const char *x_label, const char *y_label, const mgn_samples *samples, int64_t d) {
    const size_t size = samples ? (size_t)(samples->n * d) * sizeof *samples->x : 0;
    add_digest(r, x_label, samples ? samples->x : NULL, size);
    add_digest(r, y_label, samples ? samples->y : NULL, size);
}

static void add_target(recipe *r, const char *label, const mgn_target *target) {
    int64_t n = 0;
    const float *rows = target ? mgn_target_rows(target, &n) : NULL;
    if (rows)
        add_digest(r, label, rows, (size_t)(n * mgn_target_dimension(target)) * sizeof *rows);
    else
        add_text(r, label, target ? mgn_target_label(target) : "");
    const mgn_mixture *mixture = target ? mgn_target_mixture(target) : NULL;
    char part[64];
    if (!mixture) return;
    snprintf(part, sizeof part, "%s weights", label);
    add_digest(r, part, mixture->weights, (size_t)mixture->k * sizeof *mixture->weights);
    snprintf(part, sizeof part, "%s means", label);
    add_digest(r, part, mixture->means, (size_t)(mixture->k * mixture->d) * sizeof *mixture->means);
    snprintf(part, sizeof part, "%s covariances", label);
    add_digest(r, part, mixture->covariances,
               (size_t)(mixture->k * mixture->d * mixture->d) * sizeof *mixture->covariances);
}

static void add_model(recipe *r, const mgn_model_config *c) {
    add_text(r, "model", c->kind);
    add_whole(r, "dimensions", c->d);
    add_whole(r, "width", c->h);
    add_whole(r, "layers", c->layers);
    add_text(r, "activation", mgn_activation_name(c->activation));
    add_whole(r, "signed", c->signed_scales);
    add_real(r, "lipschitz", c->lipschitz);
    add_whole(r, "picture height", c->image.height);
    add_whole(r, "picture width", c->image.width);
    add_whole(r, "picture channels", c->image.channels);
    add_whole(r, "kernel", c->kernel);
    add_whole(r, "stride", c->stride);
    add_whole(r, "padding", c->padding);
    add_whole(r, "position-biases", c->position_biases);
}

static void add_loss(recipe *r, const mgn_loss_config *c, int64_t d) {
    add_text(r, "loss", c->kind);
    add_real(r, "cost-weight", c->cost_weight);
    add_whole(r, "squared", c->squared);
    add_digest(r, "target mean", c->mean, (size_t)d * sizeof(double));
    add_digest(r, "target covariance", c->covariance, (size_t)(d * d) * sizeof(double));
    add_target(r, "target", c->target);
    add_target(r, "source", c->source);
    add_real(r, "blur", c->sinkhorn.blur);
    add_real(r, "scaling", c->sinkhorn.scaling);
    add_real(r, "reach", c->sinkhorn.reach);
    add_real(r, "diameter", c->sinkhorn.diameter);
}

static void add_optimizer(recipe *r, const mgn_optimizer_config *c) {
    add_text(r, "optimizer", c->kind);
    add_real(r, "lr", c->lr);
    add_real(r, "beta1", c->beta1);
    add_real(r, "beta2", c->beta2);
    add_real(r, "epsilon", c->epsilon);
    add_real(r, "momentum", c->momentum);
    add_real(r, "weight-decay", c->weight_decay);
    add_real(r, "clip", c->clip_norm);
    add_real(r, "tolerance", c->tolerance);
    add_whole(r, "memory", c->memory);
}

mgn_status mgn_recipe_store(const mgn_model *model, const mgn_train_config *config, const mgn_samples *samples,
                            mgn_safetensors *file) {
    recipe r = {file, MGN_OK};
    const mgn_model_config *shape = mgn_model_get_config(model);
    add_model(&r, shape);
    add_rows(&r, "rows", "targets of rows", samples, shape->d);
    if (config->source) { /* the rows were those of its first window */
        add_whole(&r, "rows in all", config->source->n);
        add_whole(&r, "window", config->source->window);
        add_whole(&r, "block", config->source->block);
    }
    add_loss(&r, &config->loss, shape->d);
    add_optimizer(&r, &config->optimizer);
    add_whole(&r, "schedule", (int64_t)config->schedule.kind);
    add_real(&r, "gamma", config->schedule.gamma);
    add_whole(&r, "every", config->schedule.every);
    add_real(&r, "floor", config->schedule.floor);
    add_whole(&r, "batch", config->batch);
    if (config->blocks > 0) add_whole(&r, "blocks", config->blocks);
    add_whole(&r, "accumulate", config->accumulate);
    add_whole(&r, "epochs", config->epochs);
    add_whole(&r, "seed", (int64_t)config->seed);
    add_text(&r, "real", mgn_dtype_name(config->real));
    add_whole(&r, "patience", config->control.patience);
    add_whole(&r, "retries", config->control.retries);
    /* Rows that are only logged decide nothing. */
    add_rows(&r, "rows held out", "targets of rows held out",
             config->control.patience > 0 ? config->control.held_out : NULL, shape->d);
    return r.status;
}

/* ARGUMENT where one of the texts differs. */
static mgn_status compare(const mgn_safetensors *now, const mgn_safetensors *file, const char *label) {
    for (size_t i = 0; i < now->metadata_count; i++) {
        const char *key = now->metadata[i].key, *value = now->metadata[i].value;
        const char *found = mgn_safetensors_get(file, key);
        if (!found) return mgn_fail(MGN_ERR_FORMAT, "%s: no checkpoint: its metadata does not say %s", label, key);
        if (strcmp(found, value) != 0)
            return mgn_fail(MGN_ERR_ARGUMENT,
                            "%s is of another training: %s was '%.80s' there and is '%.80s' now; a training is resumed "
                            "with the options and rows that it was begun with",
                            label, key + strlen(PREFIX), found, value);
    }
    return MGN_OK;
}

mgn_status mgn_recipe_check(const mgn_model *model, const mgn_train_config *config, const mgn_samples *samples,
                            const mgn_safetensors *file, const char *label) {
    mgn_safetensors now = {0};
    mgn_status status = mgn_recipe_store(model, config, samples, &now);
    if (status == MGN_OK) status = compare(&now, file, label);
    mgn_safetensors_free(&now);
    return status;
}

mgn_status mgn_recipe_digest(const mgn_model *model, const mgn_train_config *config, const mgn_samples *samples,
                             uint64_t *digest) {
    mgn_safetensors now = {0};
    const mgn_status status = mgn_recipe_store(model, config, samples, &now);
    *digest = MGN_HASH_START;
    for (size_t i = 0; i < now.metadata_count; i++) {
        *digest = mgn_hash(*digest, now.metadata[i].key, strlen(now.metadata[i].key) + 1);
        *digest = mgn_hash(*digest, now.metadata[i].value, strlen(now.metadata[i].value) + 1);
    }
    mgn_safetensors_free(&now);
    return status;
}
