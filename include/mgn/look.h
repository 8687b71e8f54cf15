/* Looks: what stands between a map of colours and a picture. The space that the map was learned in, how far along the way
 * from a colour to its image to go, whether brightness stays, and how images outside the gamut come back into it. */
#ifndef MGN_LOOK_H
#define MGN_LOOK_H

#include <mgn/image.h>
#include <mgn/model.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Where colours are points. Pictures store sRGB; the way there and back is part of the look. */
typedef enum mgn_colour_space {
    MGN_SPACE_SRGB,   /**< red, green, blue as stored, in [0, 1] */
    MGN_SPACE_LINEAR, /**< the same without sRGB's transfer function: amounts of light */
    MGN_SPACE_OKLAB   /**< Oklab (Ottosson): lightness and two opponent colours; equal distances look about equal */
} mgn_colour_space;

/** Start from MGN_LOOK. */
typedef struct mgn_look {
    mgn_colour_space space;
    double strength;   /**< t in [0, 1] of the displacement interpolation (1 - t) x + t g(x) (McCann), in `space` */
    bool protect_luma; /**< keep every colour's luma (Rec. 709 weights of the stored values): the image gives hue and
                            saturation alone, the latter as much as the gamut has room for */
    double low[3], high[3]; /**< range of red, green and blue of images in sRGB, where they leave [0, 1]: the ends
                                 are bent back smoothly so that these land on 0 and 1. 0 and 1: nothing is bent, what is
                                 outside is clipped */
} mgn_look;

/** The map itself, clipped. */
#define MGN_LOOK ((mgn_look){MGN_SPACE_SRGB, 1, false, {0, 0, 0}, {1, 1, 1}})

/** "srgb", "linear", "oklab"; NULL past the last. */
MGN_API const char *mgn_colour_space_name(mgn_colour_space space);

/** n colours (n, 3) from sRGB into a space, in place. */
MGN_API void mgn_colour_to_space(mgn_colour_space space, float *colours, int64_t n);

/** As mgn_map_create, for a model of d = 3: mgn_map_apply and mgn_map_apply_bytes take and give sRGB colours as the look
 *  says, not clipped by the former; everything else that is asked of the map is about the model in its own space.
 *  Errors: ARGUMENT (d is not 3, a look out of range), MEMORY, DEVICE. */
MGN_API mgn_status mgn_look_map(const mgn_model *model, mgn_device *device, const mgn_look *look, mgn_map **map);

/** Fills in `low` and `high` from what becomes of n colours (n, 3) in sRGB: all but .2 % of them at either end, which are
 *  clipped. Errors: those of mgn_look_map, NUMERIC. */
MGN_API mgn_status mgn_look_measure(const mgn_model *model, mgn_device *device, const float *colours, int64_t n,
                                    mgn_look *look);

/** mgn_model_save with the look beside the parameters, and both back; a file without a look gives MGN_LOOK.
 *  Errors: those of mgn_model_save and mgn_model_load; FORMAT (a damaged look). */
MGN_API mgn_status mgn_look_save(const mgn_model *model, const mgn_look *look, const char *path);
MGN_API mgn_status mgn_look_load(const char *path, mgn_model **model, mgn_look *look);

/** A map of colours as a table of size^3 colours, which other programs apply by interpolation. Up to 65 a side they are
 *  fitted to trilinear and tetrahedral interpolation, whose largest difference from the map that more than halves; above
 *  they are samples. A name that ends in .cube: a text in Adobe's format (ffmpeg's lut3d, video editors), red varying
 *  fastest, any `size` from 2 to 256; its colours may lie outside of [0, 1], as the map's may: programs clip what they have
 *  interpolated. One in .png: a HaldCLUT (ImageMagick, GIMP, RawTherapee) of 16 bits, clipped, whose size is the square of
 *  a level: 16, 25, 36, 49, 64, ... The file appears whole or not at all.
 *  Errors: ARGUMENT (a map that is not of d = 3, another ending or size), NUMERIC, IO, MEMORY. */
MGN_API mgn_status mgn_lut_write(mgn_map *map, int size, const char *path);

/** A table of colours that another program made. */
typedef struct mgn_lut mgn_lut;

/** Reads a table for the caller to destroy. A name that ends in .cube: a text in Adobe's format, LUT_1D_SIZE (2 to 65536)
 *  or LUT_3D_SIZE (2 to 256), with its domain; any other: a HaldCLUT, a square picture whose side is the cube of 2 to 16.
 *  Errors: FORMAT (rows that are not three finite numbers or not as many as the size says, a domain that is empty or
 *  reversed, an unknown keyword), IO, MEMORY, INTERRUPTED, and those of mgn_image_read. */
MGN_API mgn_status mgn_lut_read(const char *path, mgn_lut **lut);
MGN_API void mgn_lut_destroy(mgn_lut *lut);

/** y = (1 - t) x + t lut(x) for rows (n, 3), t being the strength from 0 to 1: linear interpolation on a curve,
 *  tetrahedral in a cube, the nearest place of the domain for colours outside of it; y may be x. For pictures and from
 *  file to file as mgn_recolor_apply and mgn_recolor_file do it, clipped to [0, 1].
 *  Errors: ARGUMENT (another strength), INTERRUPTED, and those of these two. */
MGN_API mgn_status mgn_lut_colours(const mgn_lut *lut, double strength, const float *x, int64_t n, float *y);
MGN_API mgn_status mgn_lut_apply(const mgn_lut *lut, double strength, const mgn_image *source, mgn_image **result);
MGN_API mgn_status mgn_lut_file(const mgn_lut *lut, double strength, const char *source, const char *target,
                                const mgn_image_write_options *options, size_t *width, size_t *height);

#ifdef __cplusplus
}
#endif
#endif
