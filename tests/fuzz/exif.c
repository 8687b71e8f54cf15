#include "fuzz.h"

#include <mgn/image.h>

#include "image/codec.h"

/* The first byte says which block the others are, and of what picture. */
void fuzz_exif(const uint8_t *bytes, size_t size) {
    mgn_image *image = NULL, *copy = NULL;
    if (size < 1) return;
    const mgn_image_block block = (mgn_image_block)(bytes[0] & 3);
    fuzz_check(mgn_image_create(3, 2, 1 + (bytes[0] >> 2 & 3), bytes[0] & 16 ? 16 : 8, &image) == MGN_OK, "no picture");
    if (fuzz_succeeded(mgn_image_set_block(image, block, bytes + 1, size - 1))) {
        size_t found = 0;
        fuzz_check(image->orientation >= 1 && image->orientation <= 8, "an orientation that is none");
        (void)mgn_image_get_block(image, block, &found);
        (void)mgn_icc_fits(&image->metadata->icc, image->channels);
        fuzz_succeeded(mgn_image_clone_layout(image, &copy));
        fuzz_succeeded(mgn_image_upright(image));
        fuzz_check(image->orientation == 1, "not upright");
        fuzz_succeeded(mgn_image_write(image, fuzz_named_file("block.png", NULL, 0), NULL));
        fuzz_succeeded(mgn_image_write(image, fuzz_named_file("block.jpg", NULL, 0), NULL));
    }
    mgn_image_destroy(copy);
    mgn_image_destroy(image);
}
