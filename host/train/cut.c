/* Ways to need less of the device's memory, in the order in which they are tried.
 *
 * Rows that a step does not take need not lie there: the first way is to leave them on the host (pages.c), which changes no bit
 * but costs a copy a step. What a step needs beside its rows grows with the batch: the second way is to cut the batch into
 * blocks, twice as many each time, as --blocks does (blocks.c). Where all rows are one batch, and are the smaller part of what
 * there is, blocks come first. A loss that is no mean over rows, and whatever grows with the parameters, cannot be cut. */
#include "train/cut.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "comm/blocks_sum.h"
#include "train/trainer.h"

static const char key[] = "cut";

/* ---- checkpoints ---- */

static mgn_status parse(const char *text, const char *path, int64_t least, int64_t *blocks) {
    char *end = NULL;
    const long long found = strtoll(text, &end, 10);
    if (end == text || *end || found < least || found < 2 || found > MGN_MOST_BLOCKS || (found & (found - 1)))
        return mgn_fail(MGN_ERR_FORMAT, "%s: no checkpoint: its steps are said to be cut into '%.20s' blocks", path,
                        text);
    *blocks = found;
    return MGN_OK;
}

mgn_status mgn_cut_begin(const mgn_train_config *config, mgn_cut *cut) {
    const char *path = config->control.resume;
    mgn_safetensors file = {0};
    *cut = (mgn_cut){.blocks = config->blocks};
    if (!path || config->comm || mgn_safetensors_read(path, &file) != MGN_OK) return MGN_OK;
    const char *text = mgn_safetensors_get(&file, key);
    const mgn_status status = text ? parse(text, path, config->blocks, &cut->blocks) : MGN_OK;
    mgn_safetensors_free(&file);
    return status;
}

mgn_status mgn_cut_store(const mgn_train_config *config, const mgn_cut *cut, mgn_safetensors *file) {
    char text[24];
    if (cut->blocks == config->blocks) return MGN_OK;
    snprintf(text, sizeof text, "%lld", (long long)cut->blocks);
    return mgn_safetensors_set(file, key, text);
}

/* ---- cutting ---- */

/* NULL, or why a batch cannot be cut into more blocks. */
static const char *blocks_refused(const mgn_trainer *t) {
    if (!mgn_blocks_take(t->config->loss.kind)) return "its loss is no mean over rows, so that a step cannot be cut";
    if (t->cut.blocks * 2 > MGN_MOST_BLOCKS || t->cut.blocks >= t->batch)
        return "not even a step of single rows or of the most blocks fits";
    return NULL;
}

/* NULL, or why nothing can be cut. */
static const char *whole_refused(const mgn_trainer *t) {
    if (strcmp(t->config->loss.kind, "semidual") == 0) return "its loss looks at all rows at once and is not cut";
    if (t->config->comm)
        return "processes that learn together are not cut further by themselves; more --blocks may help";
    return NULL;
}

/* Rows and targets of a window by the memory that there is. */
static double share_of_rows(const mgn_trainer *t) {
    const double bytes = (double)MGN_MAX(t->window, t->batch) * (double)t->d * (double)mgn_dtype_size(t->config->real);
    return bytes * (t->first.y ? 2 : 1) / (double)MGN_MAX(mgn_device_get_info(t->device)->memory_bytes, 1);
}

bool mgn_cut_more(const mgn_trainer *t, mgn_status *status, mgn_cut *cut) {
    static const double much = 0.25; /* a buffer may be no larger */
    char sentence[1024];
    if (!mgn_device_was_short(t->device)) return false;
    snprintf(sentence, sizeof sentence, "%s", mgn_last_error());
    *cut = t->cut;
    const char *refused = whole_refused(t), *uncut = blocks_refused(t);
    const bool is_all = t->batch >= t->window;
    if (!refused && !t->cut.is_paged && (!is_all || uncut || share_of_rows(t) > much)) {
        cut->is_paged = true;
        if (is_all && !uncut && cut->blocks == 0) cut->blocks = 2;
        return true;
    }
    if (!refused) refused = uncut;
    if (!refused) cut->blocks = MGN_MAX(2 * t->cut.blocks, 2);
    if (refused) *status = mgn_fail(*status, "%s; %s", sentence, refused);
    return !refused;
}

void mgn_cut_note(const mgn_cut *cut, const mgn_train_config *config, mgn_device *device, int64_t batch) {
    char step[160] = "its steps stay as they are";
    const mgn_device_info *info = mgn_device_get_info(device);
    if (cut->blocks == config->blocks && !cut->is_paged) return;
    if (cut->blocks != config->blocks)
        snprintf(step, sizeof step,
                 "each step of %lld rows is cut into %lld chunks, whose gradients are added in order", (long long)batch,
                 (long long)cut->blocks);
    mgn_note("%s (%llu bytes) has no memory for this training at once: %s%s", info->spec,
             (unsigned long long)info->memory_bytes, step,
             cut->is_paged ? ", and rows come to the device with the step that they are for" : "");
}
