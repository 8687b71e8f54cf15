/* Folders of picture files as sets of one shape. The names are collected and sorted first, so that the order of pictures
 * does not depend on the file system; then one picture at a time is read, turned upright and resized, so that memory
 * holds the set and a single picture. */
#include <mgn/image_set.h>

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "core/core.h"

/* ---- names ---- */

typedef struct name_list {
    char **names;
    size_t count, capacity;
} name_list;

static void free_names(name_list *list) {
    for (size_t i = 0; i < list->count; i++) mgn_free(list->names[i]);
    mgn_free(list->names);
}

static bool is_picture_name(const char *name) {
    const char *dot = strrchr(name, '.');
    return *name != '.' && dot &&
           (strcasecmp(dot, ".png") == 0 || strcasecmp(dot, ".jpg") == 0 || strcasecmp(dot, ".jpeg") == 0);
}

static mgn_status add_name(name_list *list, const char *name) {
    if (list->count == list->capacity) {
        const size_t capacity = list->capacity ? 2 * list->capacity : 64;
        char **grown = mgn_realloc(list->names, capacity, sizeof *grown);
        if (!grown) return MGN_ERR_MEMORY;
        list->names = grown;
        list->capacity = capacity;
    }
    list->names[list->count] = mgn_strdup(name);
    return list->names[list->count] ? (list->count++, MGN_OK) : MGN_ERR_MEMORY;
}

static int compare_names(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

static mgn_status list_pictures(const char *path, name_list *list) {
    DIR *folder = opendir(path);
    if (!folder) return mgn_fail(MGN_ERR_IO, "the folder %s cannot be opened: %s", path, strerror(errno));
    mgn_status status = MGN_OK;
    const struct dirent *entry;
    while (status == MGN_OK && (entry = readdir(folder)))
        if (entry->d_type != DT_DIR && is_picture_name(entry->d_name)) status = add_name(list, entry->d_name);
    closedir(folder);
    MGN_TRY(status);
    if (list->count == 0) return mgn_fail(MGN_ERR_IO, "%s holds no picture: .png, .jpg or .jpeg was expected", path);
    qsort(list->names, list->count, sizeof *list->names, compare_names);
    return MGN_OK;
}

/* Names and the pointers to them are one block. */
mgn_status mgn_folder_pictures(const char *path, char ***pictures, size_t *count) {
    name_list list = {0};
    mgn_status status = list_pictures(path, &list);
    size_t room = list.count * sizeof(char *);
    for (size_t i = 0; i < list.count; i++) room += strlen(path) + strlen(list.names[i]) + 2;
    char **block = status == MGN_OK ? mgn_alloc(room, 1) : NULL;
    if (status == MGN_OK && !block) status = MGN_ERR_MEMORY;
    if (block) {
        char *text = (char *)(block + list.count);
        for (size_t i = 0; i < list.count; i++) {
            block[i] = text;
            text += sprintf(text, "%s/%s", path, list.names[i]) + 1;
        }
        *pictures = block;
        *count = list.count;
    }
    free_names(&list);
    return status;
}

/* ---- pictures ---- */

static mgn_status read_upright(const char *folder, const char *name, mgn_image **image) {
    const size_t room = strlen(folder) + strlen(name) + 2;
    char *path = mgn_alloc(room, 1);
    if (!path) return MGN_ERR_MEMORY;
    snprintf(path, room, "%s/%s", folder, name);
    mgn_image *read = NULL;
    mgn_status status = mgn_image_read(path, &read);
    mgn_free(path);
    if (status == MGN_OK) status = mgn_image_upright(read);
    if (status == MGN_OK)
        *image = read;
    else
        mgn_image_destroy(read);
    return status;
}

/* Picture `index` of the set from colours (height*width, 3) in [0, 1]. */
static void store(const float *rgb, int64_t index, mgn_image_set *set) {
    const int64_t pixels = set->height * set->width;
    uint8_t *to = set->pixels + index * set->channels * pixels;
    for (int64_t k = 0; set->channels == 3 && k < 3 * pixels; k++) to[k] = (uint8_t)(255 * rgb[k] + 0.5f);
    for (int64_t k = 0; set->channels == 1 && k < pixels; k++)
        to[k] = (uint8_t)(255 * (0.299f * rgb[3 * k] + 0.587f * rgb[3 * k + 1] + 0.114f * rgb[3 * k + 2]) + 0.5f);
}

static mgn_status add_picture(const mgn_image *image, int64_t index, mgn_image_set *set, float *rgb) {
    const bool fits = (int64_t)image->width == set->width && (int64_t)image->height == set->height;
    mgn_image *resized = NULL;
    if (!fits) MGN_TRY(mgn_image_resize(image, (size_t)set->width, (size_t)set->height, &resized));
    mgn_image_to_rgb(fits ? image : resized, rgb);
    mgn_image_destroy(resized);
    store(rgb, index, set);
    return MGN_OK;
}

static mgn_status read_pictures(const char *path, const name_list *list, const mgn_folder_options *options,
                                mgn_image_set *set) {
    mgn_status status = MGN_OK;
    float *rgb = NULL;
    for (size_t i = 0; i < list->count && status == MGN_OK; i++) {
        mgn_image *image = NULL;
        status = read_upright(path, list->names[i], &image);
        if (status == MGN_OK && i == 0) {
            const int64_t width = options->width ? options->width : (int64_t)image->width,
                          height = options->height ? options->height : (int64_t)image->height;
            status = mgn_image_set_create((int64_t)list->count, height, width, options->channels == 1 ? 1 : 3, set);
            if (status == MGN_OK && !(rgb = mgn_alloc((size_t)(width * height), 3 * sizeof *rgb)))
                status = MGN_ERR_MEMORY;
        }
        if (status == MGN_OK) status = add_picture(image, (int64_t)i, set, rgb);
        mgn_image_destroy(image);
        if (status == MGN_OK && mgn_interrupted())
            status = mgn_fail(MGN_ERR_INTERRUPTED, "interrupted while the pictures of %s were read", path);
    }
    mgn_free(rgb);
    return status;
}

mgn_status mgn_folder_read(const char *path, const mgn_folder_options *options, mgn_image_set *set) {
    const mgn_folder_options given = options ? *options : (mgn_folder_options){0};
    const int64_t most = (int64_t)MGN_IMAGE_MAX_PIXELS;
    if (!path || !set)
        return mgn_fail(MGN_ERR_ARGUMENT, "reading a folder needs a path and a place for the set, not NULL");
    if (given.width < 0 || given.width > most || given.height < 0 || given.height > most ||
        !given.width != !given.height || (given.width && given.height > most / given.width) ||
        (given.channels != 0 && given.channels != 1 && given.channels != 3))
        return mgn_fail(MGN_ERR_ARGUMENT,
                        "%s: a width and a height of up to %lld pixels in all, or neither, and 1 or 3 channels were "
                        "expected, not %lld x %lld in %lld",
                        path, (long long)most, (long long)given.width, (long long)given.height,
                        (long long)given.channels);
    name_list list = {0};
    mgn_image_set made = {0};
    mgn_status status = list_pictures(path, &list);
    if (status == MGN_OK) status = read_pictures(path, &list, &given, &made);
    free_names(&list);
    if (status == MGN_OK)
        *set = made;
    else
        mgn_image_set_free(&made);
    return status;
}
