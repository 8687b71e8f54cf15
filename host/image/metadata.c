/* What a picture's file carries beside pixels: owning it, copying it, and the one thing in it that is ever changed,
 * the orientation. EXIF is otherwise kept as opaque bytes: rewriting it would lose maker notes, whose offsets are
 * private. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "image/codec.h"

#include <string.h>

enum { TAG_ORIENTATION = 0x0112, TYPE_SHORT = 3, IFD_ENTRY = 12 };

/* ---- ownership ---- */

mgn_image_metadata *mgn_metadata_create(void) { return mgn_alloc(1, sizeof(mgn_image_metadata)); }

static void free_text(mgn_text *text) {
    mgn_free(text->text);
    mgn_free(text->language);
    mgn_free(text->translated);
}

void mgn_metadata_destroy(mgn_image_metadata *metadata) {
    if (!metadata) return;
    mgn_free(metadata->icc.bytes);
    mgn_free(metadata->exif.bytes);
    mgn_free(metadata->xmp.bytes);
    for (size_t i = 0; i < metadata->marker_count; i++) mgn_free(metadata->markers[i].data.bytes);
    mgn_free(metadata->markers);
    for (size_t i = 0; i < metadata->text_count; i++) free_text(&metadata->texts[i]);
    mgn_free(metadata->texts);
    mgn_free(metadata);
}

mgn_status mgn_blob_set(mgn_blob *blob, const void *bytes, size_t size) {
    unsigned char *copy = NULL;
    if (size) {
        if (size == SIZE_MAX) return mgn_fail(MGN_ERR_MEMORY, "a block of %zu bytes cannot be kept", size);
        copy = mgn_alloc(size + 1, 1);
        if (!copy) return MGN_ERR_MEMORY;
        memcpy(copy, bytes, size);
    }
    mgn_free(blob->bytes);
    blob->bytes = copy;
    blob->size = size;
    return MGN_OK;
}

mgn_status mgn_metadata_add_marker(mgn_image_metadata *metadata, int code, const void *bytes, size_t size) {
    mgn_marker *grown = mgn_realloc(metadata->markers, metadata->marker_count + 1, sizeof *grown);
    if (!grown) return MGN_ERR_MEMORY;
    metadata->markers = grown;
    mgn_marker *marker = &grown[metadata->marker_count];
    *marker = (mgn_marker){.code = code};
    MGN_TRY(mgn_blob_set(&marker->data, bytes, size));
    metadata->marker_count++;
    return MGN_OK;
}

mgn_status mgn_metadata_add_text(mgn_image_metadata *metadata, const mgn_text *text) {
    mgn_text *grown = mgn_realloc(metadata->texts, metadata->text_count + 1, sizeof *grown);
    if (!grown) return MGN_ERR_MEMORY;
    metadata->texts = grown;
    mgn_text *added = &grown[metadata->text_count];
    *added = *text;
    added->text = text->text ? mgn_strdup(text->text) : NULL;
    added->language = text->language ? mgn_strdup(text->language) : NULL;
    added->translated = text->translated ? mgn_strdup(text->translated) : NULL;
    if ((text->text && !added->text) || (text->language && !added->language) ||
        (text->translated && !added->translated)) {
        free_text(added);
        return MGN_ERR_MEMORY;
    }
    metadata->text_count++;
    return MGN_OK;
}

mgn_image_metadata *mgn_metadata_clone(const mgn_image_metadata *metadata) {
    mgn_image_metadata *clone = mgn_metadata_create();
    if (!clone) return NULL;
    *clone = *metadata;
    clone->icc = clone->exif = clone->xmp = (mgn_blob){0};
    clone->markers = NULL;
    clone->texts = NULL;
    clone->marker_count = clone->text_count = 0;
    bool copied = mgn_blob_set(&clone->icc, metadata->icc.bytes, metadata->icc.size) == MGN_OK &&
                  mgn_blob_set(&clone->exif, metadata->exif.bytes, metadata->exif.size) == MGN_OK &&
                  mgn_blob_set(&clone->xmp, metadata->xmp.bytes, metadata->xmp.size) == MGN_OK;
    for (size_t i = 0; copied && i < metadata->marker_count; i++) {
        const mgn_marker *marker = &metadata->markers[i];
        copied = mgn_metadata_add_marker(clone, marker->code, marker->data.bytes, marker->data.size) == MGN_OK;
    }
    for (size_t i = 0; copied && i < metadata->text_count; i++)
        copied = mgn_metadata_add_text(clone, &metadata->texts[i]) == MGN_OK;
    if (copied) return clone;
    mgn_metadata_destroy(clone);
    return NULL;
}

/* ---- blocks by name ---- */

static mgn_blob *named_blob(mgn_image_metadata *metadata, mgn_image_block block) {
    switch (block) {
    case MGN_IMAGE_ICC: return &metadata->icc;
    case MGN_IMAGE_EXIF: return &metadata->exif;
    case MGN_IMAGE_XMP: return &metadata->xmp;
    case MGN_IMAGE_COMMENT: break;
    }
    return NULL;
}

static mgn_marker *find_comment(const mgn_image_metadata *metadata) {
    for (size_t i = 0; i < metadata->marker_count; i++)
        if (metadata->markers[i].code == 0xFE) return &metadata->markers[i];
    return NULL;
}

static mgn_text *find_text_comment(const mgn_image_metadata *metadata) {
    MGN_KNOWN(metadata);
    for (size_t i = 0; i < metadata->text_count; i++)
        if (strcmp(metadata->texts[i].keyword, "Comment") == 0) return &metadata->texts[i];
    return NULL;
}

const void *mgn_image_get_block(const mgn_image *image, mgn_image_block block, size_t *size) {
    const mgn_blob *blob = named_blob(image->metadata, block);
    const mgn_marker *comment = blob ? NULL : find_comment(image->metadata);
    if (comment) blob = &comment->data;
    if (blob) {
        *size = blob->size;
        return blob->bytes;
    }
    const mgn_text *text = find_text_comment(image->metadata);
    *size = text && text->text ? strlen(text->text) : 0;
    return *size ? text->text : NULL;
}

/* Comments are kept as JPEG keeps them; the PNG writer makes texts of them. The first of either kind is replaced. */
static mgn_status set_comment(mgn_image_metadata *metadata, const void *bytes, size_t size) {
    mgn_text *text = find_text_comment(metadata);
    if (text) {
        free_text(text);
        metadata->text_count--;
        memmove(text, text + 1, (size_t)(metadata->texts + metadata->text_count - text) * sizeof *text);
    }
    mgn_marker *comment = find_comment(metadata);
    if (comment && size) return mgn_blob_set(&comment->data, bytes, size);
    if (comment) {
        mgn_free(comment->data.bytes);
        metadata->marker_count--;
        memmove(comment, comment + 1, (size_t)(metadata->markers + metadata->marker_count - comment) * sizeof *comment);
    }
    return !comment && size ? mgn_metadata_add_marker(metadata, 0xFE, bytes, size) : MGN_OK;
}

mgn_status mgn_image_set_block(mgn_image *image, mgn_image_block block, const void *bytes, size_t size) {
    mgn_blob *blob = named_blob(image->metadata, block);
    if (!blob) return set_comment(image->metadata, bytes, size);
    MGN_TRY(mgn_blob_set(blob, bytes, size));
    if (block == MGN_IMAGE_EXIF) image->orientation = mgn_exif_orientation(blob->bytes, blob->size);
    return MGN_OK;
}

/* ---- orientation ---- */

static uint32_t load(const unsigned char *bytes, size_t count, bool big) {
    uint32_t value = 0;
    for (size_t i = 0; i < count; i++) value |= (uint32_t)bytes[i] << 8 * (big ? count - 1 - i : i);
    return value;
}

/* Where the orientation's two bytes stand in a TIFF stream, and their order; 0 when there is no sound entry. */
static size_t orientation_offset(const unsigned char *bytes, size_t size, bool *big) {
    if (size < 8) return 0;
    if (memcmp(bytes, "MM\0*", 4) != 0 && memcmp(bytes, "II*\0", 4) != 0) return 0;
    *big = bytes[0] == 'M';
    const size_t directory = load(bytes + 4, 4, *big);
    if (directory < 8 || directory > size - 2) return 0;
    const size_t entries = load(bytes + directory, 2, *big);
    for (size_t i = 0; i < entries; i++) {
        const size_t entry = directory + 2 + i * IFD_ENTRY;
        if (entry + IFD_ENTRY > size) return 0;
        if (load(bytes + entry, 2, *big) != TAG_ORIENTATION) continue;
        if (load(bytes + entry + 2, 2, *big) != TYPE_SHORT || load(bytes + entry + 4, 4, *big) != 1) return 0;
        return entry + 8;
    }
    return 0;
}

int mgn_exif_orientation(const unsigned char *bytes, size_t size) {
    bool big = false;
    const size_t offset = orientation_offset(bytes, size, &big);
    const uint32_t value = offset ? load(bytes + offset, 2, big) : 1;
    return value >= 1 && value <= 8 ? (int)value : 1;
}

/* XMP repeats the tag as an attribute or an element; a reader that prefers XMP would turn the picture twice. */
static void upright_xmp(mgn_blob *xmp) {
    static const char *const forms[] = {"tiff:Orientation=\"", "tiff:Orientation='", "<tiff:Orientation>"};
    for (size_t f = 0; f < MGN_COUNT(forms); f++) {
        const size_t length = strlen(forms[f]);
        unsigned char *from = xmp->bytes, *found;
        while (from && (found = memmem(from, xmp->size - (size_t)(from - xmp->bytes), forms[f], length)) != NULL) {
            from = found + length;
            if (from < xmp->bytes + xmp->size && *from >= '2' && *from <= '8') *from = '1';
        }
    }
}

void mgn_metadata_set_upright(mgn_image_metadata *metadata) {
    bool big = false;
    const size_t offset = orientation_offset(metadata->exif.bytes, metadata->exif.size, &big);
    if (offset) {
        metadata->exif.bytes[offset] = big ? 0 : 1;
        metadata->exif.bytes[offset + 1] = big ? 1 : 0;
    }
    upright_xmp(&metadata->xmp);
}

bool mgn_icc_fits(const mgn_blob *icc, int channels) {
    if (icc->size < 20) return false;
    return memcmp(icc->bytes + 16, channels <= 2 ? "GRAY" : "RGB ", 4) == 0;
}
