/* Pictures for the page: as they are where they are small, else as JPEG of at most the page's width. The files stay
 * where the experiment has put them. */
#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <mgn/image.h>

#include "core/file.h"
#include "report/report.h"

enum { MOST_PICTURES = 64, MOST_PATH = 4096, LARGE = 120000, WIDEST = 1600, JPEG_QUALITY = 85, MOST_BYTES = 64 << 20 };

static const char *type_of(const char *name) {
    static const char *const left_out[] = {"-eigenvalues.", "-logdet.", "-cost."}; /* figures for who looks closer */
    const char *ending = strrchr(name, '.');
    if (!ending) return NULL;
    for (size_t i = 0; i < MGN_COUNT(left_out); i++)
        if (strstr(name, left_out[i])) return NULL;
    if (strcmp(ending, ".svg") == 0) return "image/svg+xml";
    if (strcmp(ending, ".png") == 0) return "image/png";
    return strcmp(ending, ".jpg") == 0 ? "image/jpeg" : NULL;
}

static int by_name(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

/* Names that begin with `only`, in order; the caller frees each. A folder that is not there has none. */
static mgn_status list(const char *folder, const char *only, char *names[MOST_PICTURES], size_t *count) {
    DIR *directory = opendir(folder);
    mgn_status status = MGN_OK;
    *count = 0;
    if (!directory) return MGN_OK;
    for (struct dirent *found; status == MGN_OK && *count < MOST_PICTURES && (found = readdir(directory));) {
        if (*found->d_name == '.' || !type_of(found->d_name)) continue;
        if (strncmp(found->d_name, only, strlen(only)) != 0) continue;
        names[*count] = mgn_strdup(found->d_name);
        if (names[*count])
            ++*count;
        else
            status = MGN_ERR_MEMORY;
    }
    closedir(directory);
    qsort(names, *count, sizeof *names, by_name);
    return status;
}

/* "digits-best-lse-200-samples.png" in words: "our best, log-sum-exp, 200, samples"; `prefix` is left out. */
static char *title_of(const char *name, const char *prefix) {
    const size_t skipped = strlen(prefix);
    char words[256], title[512] = "";
    size_t used = 0;
    if (strncmp(name, prefix, skipped) == 0) name += skipped;
    snprintf(words, sizeof words, "%.*s", (int)(strrchr(name, '.') - name), name);
    for (char *rest = strstr(words, "conv-cmgn"); rest; rest = NULL) rest[4] = '_'; /* one word */
    for (char *rest = words, *word; used < sizeof title && (word = strsep(&rest, "-"));) {
        if (strcmp(word, "conv_cmgn") == 0) word[4] = '-';
        used += (size_t)snprintf(title + used, sizeof title - used, "%s%s", used ? ", " : "", mgn_report_word(word));
    }
    return mgn_strdup(title);
}

/* The picture as JPEG, no wider than the page; made in a file of its own beside the picture. */
static mgn_status shrink(const char *path, mgn_report_picture *picture) {
    char made[MOST_PATH];
    mgn_image *image = NULL, *small = NULL;
    const mgn_image_write_options options = {.quality = JPEG_QUALITY, .subsampling = MGN_SUBSAMPLING_420};
    if (snprintf(made, sizeof made, "%s.small.jpg", path) >= MOST_PATH)
        return mgn_fail(MGN_ERR_ARGUMENT, "%.100s: the path is too long", path);
    MGN_TRY(mgn_image_read(path, &image));
    mgn_status status = MGN_OK;
    if (image->width > WIDEST)
        status = mgn_image_resize(image, WIDEST, MGN_MAX(image->height * WIDEST / image->width, 1), &small);
    if (status == MGN_OK) status = mgn_image_write(small ? small : image, made, &options);
    picture->width = small ? small->width : image->width;
    picture->height = small ? small->height : image->height;
    mgn_image_destroy(image);
    mgn_image_destroy(small);
    MGN_TRY(status);
    unsigned char *bytes = NULL;
    size_t size = 0;
    status = mgn_file_read(made, MOST_BYTES, &bytes, &size);
    unlink(made);
    if (status == MGN_OK && size < picture->size) {
        mgn_free(picture->bytes);
        picture->bytes = bytes;
        picture->size = size;
        picture->type = "image/jpeg";
    } else {
        mgn_free(bytes);
    }
    return status;
}

static size_t big_endian(const unsigned char *bytes) {
    return (size_t)bytes[0] << 24 | (size_t)bytes[1] << 16 | (size_t)bytes[2] << 8 | bytes[3];
}

/* Of a PNG, from its header. */
static void measure(mgn_report_picture *picture) {
    if (picture->size < 24 || memcmp(picture->bytes + 12, "IHDR", 4) != 0) return;
    picture->width = big_endian(picture->bytes + 16);
    picture->height = big_endian(picture->bytes + 20);
}

static mgn_status take(const char *folder, const char *name, const char *prefix, mgn_report_picture *picture) {
    char path[MOST_PATH];
    if (snprintf(path, sizeof path, "%s/%s", folder, name) >= MOST_PATH)
        return mgn_fail(MGN_ERR_ARGUMENT, "%.100s: the path is too long", folder);
    picture->type = type_of(name);
    picture->title = title_of(name, prefix);
    if (!picture->title) return MGN_ERR_MEMORY;
    MGN_TRY(mgn_file_read(path, MOST_BYTES, &picture->bytes, &picture->size));
    if (strcmp(picture->type, "image/png") != 0) return MGN_OK;
    measure(picture);
    return picture->size > LARGE ? shrink(path, picture) : MGN_OK;
}

/* A figure comes in two formats: the smaller one stays. */
static void drop_twins(mgn_report_picture *pictures, size_t *count) {
    size_t kept = 0;
    for (size_t i = 0; i < *count; i++) {
        mgn_report_picture *last = kept ? &pictures[kept - 1] : NULL;
        if (!last || strcmp(last->title, pictures[i].title) != 0) {
            pictures[kept++] = pictures[i];
            continue;
        }
        mgn_report_picture *dropped = pictures[i].size < last->size ? last : &pictures[i];
        mgn_free(dropped->title);
        mgn_free(dropped->bytes);
        if (dropped == last) *last = pictures[i];
    }
    *count = kept;
}

mgn_status mgn_report_pictures(const char *folder, const char *prefix, const char *only, mgn_report_picture **pictures,
                               size_t *count) {
    char *names[MOST_PICTURES];
    size_t found = 0, had = *count;
    mgn_status status = list(folder, only, names, &found);
    mgn_report_picture *all = status == MGN_OK && found ? mgn_realloc(*pictures, had + found, sizeof *all) : NULL;
    if (status == MGN_OK && found && !all) status = MGN_ERR_MEMORY;
    if (all) *pictures = all;
    for (size_t i = 0; all && i < found; i++) {
        mgn_report_picture *picture = &all[*count];
        *picture = (mgn_report_picture){0};
        if (take(folder, names[i], prefix, picture) == MGN_OK) {
            ++*count;
            continue;
        }
        mgn_note("a picture is left out: %s", mgn_last_error());
        mgn_free(picture->title);
        mgn_free(picture->bytes);
    }
    for (size_t i = 0; i < found; i++) mgn_free(names[i]);
    size_t added = *count - had;
    if (all) drop_twins(all + had, &added);
    *count = had + added;
    return status;
}
