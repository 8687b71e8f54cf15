/* Pictures side by side on one sheet, for looking at a result: before, target, after. Labels are drawn with a small
 * bitmap alphabet, because a font library would be the largest dependency of the project for three words. */
#include "image/codec.h"

#include <string.h>

enum { GLYPH_WIDTH = 6, GLYPH_HEIGHT = 7, GLYPHS_A_LINE = 16, WHITE = 255 };

/* The printable ASCII characters in order, 16 to a band, each 5 columns and a gap; the last one stands for all
 * others. */
static const char *const glyphs[] = {
    /*       !     "     #     $     %     &     '     (     )     *     +     ,     -     .     / */
    "        #    # #   # #    #   ##     ##     #      #   #                                        ",
    "        #    # #   # #   #### ##  # #  #    #     #     #     #     #                         # ",
    "        #    # #  ##### # #      #  # #    #     #       #  # # #   #                        #  ",
    "        #          # #   ###    #    #           #       #   ###  #####       #####         #   ",
    "        #         #####   # #  #    # # #        #       #  # # #   #    ##                #    ",
    "                   # #  ####  #  ## #  #          #     #     #     #     #          ##   #     ",
    "        #          # #    #      ##  ## #          #   #                 #           ##         ",
    /* 0     1     2     3     4     5     6     7     8     9     :     ;     <     =     >     ? */
    " ###    #    ###   ###     #  #####   ##  #####  ###   ###                 #         #     ###  ",
    "#   #  ##   #   # #   #   ##  #      #        # #   # #   #  ##    ##     #           #   #   # ",
    "#  ##   #       #     #  # #  ####  #        #  #   # #   #  ##    ##    #    #####    #      # ",
    "# # #   #      #    ##  #  #      # ####    #    ###   ####             #               #    #  ",
    "##  #   #     #       # #####     # #   #  #    #   #     #  ##    ##    #    #####    #    #   ",
    "#   #   #    #    #   #    #  #   # #   #  #    #   #    #   ##     #     #           #         ",
    " ###   ###  #####  ###     #   ###   ###   #     ###   ##          #       #         #      #   ",
    /* @     A     B     C     D     E     F     G     H     I     J     K     L     M     N     O */
    " ###   ###  ####   ###  ###   ##### #####  ###  #   #  ###    ### #   # #     #   # #   #  ###  ",
    "#   # #   # #   # #   # #  #  #     #     #   # #   #   #      #  #  #  #     ## ## ##  # #   # ",
    "# ### #   # #   # #     #   # #     #     #     #   #   #      #  # #   #     # # # # # # #   # ",
    "# # # ##### ####  #     #   # ####  ####  # ### #####   #      #  ##    #     # # # #  ## #   # ",
    "# ### #   # #   # #     #   # #     #     #   # #   #   #      #  # #   #     #   # #   # #   # ",
    "#     #   # #   # #   # #  #  #     #     #   # #   #   #   #  #  #  #  #     #   # #   # #   # ",
    " #### #   # ####   ###  ###   ##### #      #### #   #  ###   ##   #   # ##### #   # #   #  ###  ",
    /* P     Q     R     S     T     U     V     W     X     Y     Z     [     \     ]     ^     _ */
    "####   ###  ####   #### ##### #   # #   # #   # #   # #   # #####  ###         ###    #         ",
    "#   # #   # #   # #       #   #   # #   # #   # #   # #   #     #  #    #        #   # #        ",
    "#   # #   # #   # #       #   #   # #   # #   #  # #   # #     #   #     #       #  #   #       ",
    "####  #   # ####   ###    #   #   # #   # # # #   #     #     #    #      #      #              ",
    "#     # # # # #       #   #   #   # #   # # # #  # #    #    #     #       #     #              ",
    "#     #  #  #  #      #   #   #   #  # #  ## ## #   #   #   #      #        #    #              ",
    "#      ## # #   # ####    #    ###    #   #   # #   #   #   #####  ###         ###        ##### ",
    /* `     a     b     c     d     e     f     g     h     i     j     k     l     m     n     o */
    " #          #               #         ##        #       #      #  #      ##                     ",
    "  #         #               #        #     #### #                 #       #                     ",
    "       ###  ####   ###   ####  ###  ####  #   # ####   ##     ##  #  #    #   ## #  ####   ###  ",
    "          # #   # #     #   # #   #  #    #   # #   #   #      #  # #     #   # # # #   # #   # ",
    "       #### #   # #     #   # #####  #     #### #   #   #      #  ##      #   # # # #   # #   # ",
    "      #   # #   # #     #   # #      #        # #   #   #   #  #  # #     #   # # # #   # #   # ",
    "       #### ####   ###   ####  ###   #     ###  #   #  ###   ##   #  #   ###  # # # #   #  ###  ",
    /* p     q     r     s     t     u     v     w     x     y     z     {     |     }     ~ */
    "                         #                                           ##   #   ##          ##### ",
    "####   ####              #                            #   #         #     #     #         ##### ",
    "#   # #   # # ##   #### ####  #   # #   # #   # #   # #   # #####   #     #     #    #    ##### ",
    "#   # #   # ##    #      #    #   # #   # # # #  # #  #   #    #   #      #      #  # # # ##### ",
    "####   #### #      ###   #    #   # #   # # # #   #    ####   #     #     #     #      #  ##### ",
    "#         # #         #  #    #   #  # #  # # #  # #      #  #      #     #     #         ##### ",
    "#         # #     ####    ##   ####   #    # #  #   #  ###  #####    ##   #   ##          ##### ",
};

/* Where everything goes. */
typedef struct placement {
    size_t gap, bar; /* the white margin, and the height of the labels' bar (0 without labels) */
    size_t scale;    /* sheet pixels a side for each glyph pixel */
} placement;

/* ---- labels ---- */

static bool glyph_pixel(unsigned char character, size_t x, size_t y) {
    const size_t index = character >= 32 && character < 127 ? character - 32u : 95;
    return glyphs[index / GLYPHS_A_LINE * GLYPH_HEIGHT + y][index % GLYPHS_A_LINE * GLYPH_WIDTH + x] == '#';
}

static void draw_glyph(mgn_image *sheet, unsigned char character, size_t left, size_t top, size_t scale) {
    uint8_t *pixels = sheet->pixels;
    for (size_t y = 0; y < GLYPH_HEIGHT * scale; y++)
        for (size_t x = 0; x < GLYPH_WIDTH * scale; x++)
            if (glyph_pixel(character, x / scale, y / scale))
                memset(pixels + ((top + y) * sheet->width + left + x) * 3, 0, 3);
}

/* As much of the label as fits over its picture. A UTF-8 character beyond ASCII is one glyph, drawn at its first
 * byte. */
static void draw_label(mgn_image *sheet, const char *label, size_t left, size_t room, const placement *p) {
    const size_t step = GLYPH_WIDTH * p->scale, top = p->gap / 2 + p->scale;
    for (size_t used = 0; *label && used + step <= room; label++) {
        if (((unsigned char)*label & 0xC0) == 0x80) continue;
        draw_glyph(sheet, (unsigned char)*label, left + used, top, p->scale);
        used += step;
    }
}

/* ---- pictures ---- */

/* The picture upright and `height` pixels high. It is made smaller before it is turned, which moves fewer pixels. */
static mgn_status fit(const mgn_image *image, size_t height, mgn_image **fitted) {
    const bool swapped = image->orientation >= 5;
    const size_t shown_width = swapped ? image->height : image->width,
                 shown_height = swapped ? image->width : image->height;
    const size_t width = MGN_MAX((size_t)1, (shown_width * height + shown_height / 2) / shown_height);
    mgn_image *made = NULL;
    MGN_TRY(mgn_image_resize(image, swapped ? height : width, swapped ? width : height, &made));
    mgn_status status = mgn_image_upright(made);
    if (status != MGN_OK) {
        mgn_image_destroy(made);
        return status;
    }
    *fitted = made;
    return MGN_OK;
}

/* Opacity of a pixel in 0..255. */
static unsigned opacity(const mgn_image *image, size_t pixel) {
    const size_t index = pixel * (size_t)image->channels + (size_t)image->channels - 1;
    if (image->channels % 2 != 0) return 255;
    if (image->depth == 8) return ((const uint8_t *)image->pixels)[index];
    return (((const uint16_t *)image->pixels)[index] + 128u) / 257u;
}

/* Copies a picture to its place; what is transparent shows the white of the sheet. */
static void paste(mgn_image *sheet, const mgn_image *image, size_t left, size_t top, unsigned char *packed) {
    const size_t colours = image->channels >= 3 ? 3 : 1;
    for (size_t y = 0; y < image->height; y++) {
        mgn_image_pack_row8(image, (const unsigned char *)image->pixels + y * mgn_image_row_bytes(image), packed);
        uint8_t *target = (uint8_t *)sheet->pixels + ((top + y) * sheet->width + left) * 3;
        for (size_t x = 0; x < image->width; x++) {
            const unsigned alpha = opacity(image, y * image->width + x);
            for (size_t c = 0; c < 3; c++) {
                const unsigned colour = packed[x * colours + (colours == 3 ? c : 0)];
                target[3 * x + c] = (uint8_t)((colour * alpha + WHITE * (255 - alpha) + 127) / 255);
            }
        }
    }
}

static mgn_status keep_common_profile(const mgn_image *const *images, size_t count, mgn_image *sheet) {
    const mgn_blob *first = &images[0]->metadata->icc;
    if (!mgn_icc_fits(first, 3)) return MGN_OK;
    for (size_t i = 1; i < count; i++) {
        const mgn_blob *other = &images[i]->metadata->icc;
        if (other->size != first->size || memcmp(other->bytes, first->bytes, first->size) != 0) return MGN_OK;
    }
    return mgn_blob_set(&sheet->metadata->icc, first->bytes, first->size);
}

static mgn_status compose(mgn_image *const *fitted, const char *const *labels, size_t count, const placement *p,
                          mgn_image **sheet) {
    size_t width = p->gap, widest = 1;
    for (size_t i = 0; i < count; i++) {
        width += fitted[i]->width + p->gap;
        widest = MGN_MAX(widest, fitted[i]->width);
    }
    mgn_image *made = NULL;
    MGN_TRY(mgn_image_create(width, p->bar + fitted[0]->height + 2 * p->gap, 3, 8, &made));
    unsigned char *packed = mgn_alloc(widest, 3);
    if (!packed) {
        mgn_image_destroy(made);
        return MGN_ERR_MEMORY;
    }
    memset(made->pixels, WHITE, made->height * mgn_image_row_bytes(made));
    size_t left = p->gap;
    for (size_t i = 0; i < count; i++) {
        paste(made, fitted[i], left, p->bar + p->gap, packed);
        if (labels && labels[i]) draw_label(made, labels[i], left, fitted[i]->width, p);
        left += fitted[i]->width + p->gap;
    }
    mgn_free(packed);
    *sheet = made;
    return MGN_OK;
}

static placement place(const char *const *labels, size_t count, size_t height) {
    placement p = {.gap = MGN_MAX((size_t)4, height / 40), .scale = MGN_MAX((size_t)1, height / 200)};
    bool labelled = false;
    for (size_t i = 0; labels && i < count; i++) labelled = labelled || labels[i];
    if (labelled) p.bar = (GLYPH_HEIGHT + 2) * p.scale;
    return p;
}

mgn_status mgn_image_sheet(const mgn_image *const *images, const char *const *labels, size_t count, size_t height,
                           mgn_image **sheet) {
    if (count == 0 || height == 0 || height > MGN_IMAGE_MAX_PIXELS)
        return mgn_fail(MGN_ERR_ARGUMENT,
                        "a sheet needs at least one picture and a height of 1 to %zu, not %zu pictures of height %zu",
                        MGN_IMAGE_MAX_PIXELS, count, height);
    mgn_image **fitted = mgn_alloc(count, sizeof *fitted);
    if (!fitted) return MGN_ERR_MEMORY;
    mgn_image *made = NULL;
    mgn_status status = MGN_OK;
    for (size_t i = 0; status == MGN_OK && i < count; i++) status = fit(images[i], height, &fitted[i]);
    if (status == MGN_OK) {
        const placement p = place(labels, count, height);
        status = compose(fitted, labels, count, &p, &made);
    }
    if (status == MGN_OK) status = keep_common_profile(images, count, made);
    for (size_t i = 0; i < count; i++) mgn_image_destroy(fitted[i]);
    mgn_free(fitted);
    if (status == MGN_OK)
        *sheet = made;
    else
        mgn_image_destroy(made);
    return status;
}
