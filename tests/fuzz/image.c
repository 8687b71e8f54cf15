#include "fuzz.h"

#include <mgn/image.h>

/* Above this, writing it again takes longer than finding something. */
enum { MOST_PIXELS = 4096 };

static void write_again(const mgn_image *image, const char *name) {
    mgn_image *read = NULL;
    const char *path = fuzz_named_file(name, NULL, 0);
    if (!fuzz_succeeded(mgn_image_write(image, path, NULL))) return;
    fuzz_check(mgn_image_read(path, &read) == MGN_OK, "a picture that was written cannot be read");
    fuzz_check(read->width * read->height == image->width * image->height, "a picture of another size was written");
    mgn_image_destroy(read);
}

void fuzz_image(const uint8_t *bytes, size_t size) {
    mgn_image *image = NULL;
    if (!fuzz_succeeded(mgn_image_read_memory(bytes, size, "input", &image))) return;
    fuzz_check(image->orientation >= 1 && image->orientation <= 8, "an orientation that is none");
    if (image->width * image->height <= MOST_PIXELS) {
        write_again(image, "again.png");
        write_again(image, "again.jpg");
    }
    mgn_image_destroy(image);
}
