/* CIFAR-10's binary batches: fixed records without a header, so that the length is all there is to check, and the labels. */
#include <mgn/image_set.h>

#include "core/core.h"
#include "core/file.h"

enum { SIDE = 32, PLANE = SIDE * SIDE, CHANNELS = 3, RECORD = 1 + CHANNELS * PLANE, CLASSES = 10 };

/* The planes of a record, interleaved. */
static void store(const unsigned char *planes, uint8_t *pixels) {
    for (int64_t k = 0; k < PLANE; k++)
        for (int64_t c = 0; c < CHANNELS; c++) pixels[k * CHANNELS + c] = planes[c * PLANE + k];
}

mgn_status mgn_cifar_parse(const void *bytes, size_t size, const char *label, mgn_image_set *set) {
    if (!bytes || !label || !set)
        return mgn_fail(MGN_ERR_ARGUMENT, "reading CIFAR-10 needs bytes, a label and a place for the set, not NULL");
    if (size == 0 || size % RECORD != 0)
        return mgn_fail(MGN_ERR_FORMAT,
                        "%s: %zu bytes are no whole number of CIFAR-10's records, which have %d: a label, then the "
                        "red, green and blue planes of 32 x 32",
                        label, size, RECORD);
    mgn_image_set made = {0};
    MGN_TRY(mgn_image_set_create((int64_t)(size / RECORD), SIDE, SIDE, CHANNELS, &made));
    mgn_status status = (made.labels = mgn_alloc((size_t)made.count, 1)) ? MGN_OK : MGN_ERR_MEMORY;
    for (int64_t i = 0; i < made.count && status == MGN_OK; i++) {
        const unsigned char *record = (const unsigned char *)bytes + i * RECORD;
        if (record[0] >= CLASSES)
            status = mgn_fail(MGN_ERR_FORMAT,
                              "%s: record %lld (counted from 0) has the label %d; those of CIFAR-10 are 0 to 9", label,
                              (long long)i, record[0]);
        made.labels[i] = record[0];
        store(record + 1, made.pixels + i * CHANNELS * PLANE);
    }
    if (status == MGN_OK)
        *set = made;
    else
        mgn_image_set_free(&made);
    return status;
}

mgn_status mgn_cifar_read(const char *path, mgn_image_set *set) {
    if (!path || !set)
        return mgn_fail(MGN_ERR_ARGUMENT, "reading CIFAR-10 needs a path and a place for the set, not NULL");
    unsigned char *bytes;
    size_t size;
    MGN_TRY(mgn_file_read(path, SIZE_MAX, &bytes, &size));
    const mgn_status status = mgn_cifar_parse(bytes, size, path, set);
    mgn_free(bytes);
    return status;
}
