/* A map as a table of colours, for programs that know nothing of networks: .cube as a text, HaldCLUT as a picture. */
#include <stdio.h>

#include "image/codec.h"
#include "recolor/recolor.h"

enum { LARGEST = 256 };

/* The level of a HaldCLUT: `size` is its square. 0 when it has none. */
static int level_of(int size) {
    for (int level = 2; level * level <= LARGEST; level++)
        if (level * level == size) return level;
    return 0;
}

mgn_status mgn_lut_check(int size, const char *path) {
    mgn_image_format format;
    if (size < 2 || size > LARGEST)
        return mgn_fail(MGN_ERR_ARGUMENT, "a table of 2 to %d colours a side was expected, %d found", LARGEST, size);
    if (mgn_lut_is_cube(path)) return MGN_OK;
    if (mgn_image_format_of(path, &format) != MGN_OK || format != MGN_IMAGE_PNG)
        return mgn_fail(MGN_ERR_ARGUMENT, "%s: a table of colours is a .cube file, or a .png for a HaldCLUT", path);
    if (level_of(size) == 0)
        return mgn_fail(MGN_ERR_ARGUMENT,
                        "%s: a HaldCLUT has the square of its level a side: 16, 25, 36, 49 or 64; %d found", path,
                        size);
    return MGN_OK;
}

static mgn_status write_cube(const float *rgb, int size, mgn_output_file *output) {
    char text[96];
    int length =
        snprintf(text, sizeof text, "TITLE \"mgn\"\nLUT_3D_SIZE %d\nDOMAIN_MIN 0 0 0\nDOMAIN_MAX 1 1 1\n", size);
    MGN_TRY(mgn_output_write(output, text, (size_t)length));
    for (int64_t i = 0; i < (int64_t)size * size * size; i++) {
        const float *c = rgb + 3 * i;
        length = snprintf(text, sizeof text, "%.6f %.6f %.6f\n", (double)c[0], (double)c[1], (double)c[2]);
        MGN_TRY(mgn_output_write(output, text, (size_t)length));
    }
    return MGN_OK;
}

static mgn_status prepare_cube(const float *rgb, int size, const char *path, mgn_output_file **written) {
    mgn_output_file *output = NULL;
    MGN_TRY(mgn_output_open(path, &output));
    const mgn_status status = write_cube(rgb, size, output);
    if (status == MGN_OK)
        *written = output;
    else
        mgn_output_discard(output);
    return status;
}

/* The colours in order, as the rows of a square picture. */
static mgn_status prepare_hald(const float *rgb, int size, const char *path, mgn_output_file **written) {
    const size_t side = (size_t)size * (size_t)level_of(size);
    mgn_image *image = NULL;
    MGN_TRY(mgn_image_create(side, side, 3, 16, &image));
    mgn_status status = mgn_image_from_rgb(image, rgb);
    if (status == MGN_OK) status = mgn_image_prepare(image, path, NULL, written);
    mgn_image_destroy(image);
    return status;
}

mgn_status mgn_lut_prepare(mgn_map *map, int size, const char *path, mgn_output_file **written) {
    float *rgb = NULL;
    MGN_TRY(mgn_lut_check(size, path));
    MGN_TRY(mgn_check_colour_dimension(mgn_map_dimension(map)));
    MGN_TRY(mgn_lut_values(map, size, !mgn_lut_is_cube(path), &rgb));
    const mgn_status status =
        mgn_lut_is_cube(path) ? prepare_cube(rgb, size, path, written) : prepare_hald(rgb, size, path, written);
    mgn_free(rgb);
    return status;
}

mgn_status mgn_lut_write(mgn_map *map, int size, const char *path) {
    mgn_output_file *output = NULL;
    MGN_TRY(mgn_lut_prepare(map, size, path, &output));
    return mgn_output_commit(output);
}
