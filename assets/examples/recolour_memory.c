/* Recolours a picture in memory: pixels in, pixels out, no file is touched.
 *
 *     cc recolour_memory.c $(pkg-config --cflags --libs mgn) -o recolour_memory && ./recolour_memory
 *
 * The two pictures are made here; with your own, copy the bytes of each row into `pixels`. */
#include <mgn/mgn.h>

#include <stdio.h>
#include <stdlib.h>

enum { WIDTH = 96, HEIGHT = 64 };

static void must(mgn_status status) {
    if (status == MGN_OK) return;
    fprintf(stderr, "recolour_memory: %s\n", mgn_last_error());
    exit(1);
}

/* An RGB picture of 8 bits whose colours go from `dark` to `light` along both axes, with some grain. */
static mgn_image *paint(const int dark[3], const int light[3]) {
    mgn_image *image;
    must(mgn_image_create(WIDTH, HEIGHT, 3, 8, &image));
    uint8_t *pixel = image->pixels;
    unsigned grain = 1;
    for (int i = 0; i < WIDTH * HEIGHT; i++)
        for (int c = 0; c < 3; c++) {
            const int way = c == 1 ? 100 * (i / WIDTH) / HEIGHT : 100 * (i % WIDTH) / WIDTH; /* 0 .. 99 */
            grain = grain * 1103515245u + 12345u;
            *pixel++ = (uint8_t)(dark[c] + (light[c] - dark[c]) * way / 100 + (int)(grain >> 16) % 16);
        }
    return image;
}

int main(void) {
    mgn_image *day = paint((int[]){20, 60, 90}, (int[]){120, 180, 230});
    mgn_image *evening = paint((int[]){60, 20, 30}, (int[]){230, 130, 90});

    /* The map carries the palette of one picture to that of the other with as little change as possible. */
    mgn_device *device;
    mgn_model *model;
    mgn_map *map;
    must(mgn_device_open(NULL, &device));
    must(mgn_recolor_learn(day, evening, device, &(mgn_recolor_config){.seed = 1}, &model, NULL));
    must(mgn_map_create(model, device, MGN_F32, &map));

    /* A new picture with the day's alpha, depth and metadata .. */
    mgn_image *recoloured;
    must(mgn_recolor_apply(map, day, &recoloured));
    const uint8_t *before = day->pixels, *after = recoloured->pixels;
    printf("the first pixel was %d %d %d and is %d %d %d\n", before[0], before[1], before[2], after[0], after[1],
           after[2]);

    /* .. or a bare buffer of RGB bytes, in place: frames of a video, textures. */
    static uint8_t frame[HEIGHT * WIDTH * 3];
    for (size_t i = 0; i < sizeof frame; i++) frame[i] = before[i];
    must(mgn_map_apply_bytes(map, frame, (int64_t)HEIGHT * WIDTH, frame));
    int most = 0;
    for (size_t i = 0; i < sizeof frame; i++) most = abs(frame[i] - after[i]) > most ? abs(frame[i] - after[i]) : most;

    mgn_recolor_quality quality;
    must(mgn_recolor_measure(map, day, evening, 1, &quality));
    printf("squared distance of the palettes: %.5f before, %.5f after; both ways differ by %d levels at most\n",
           quality.w2_before, quality.w2_after, most);

    mgn_image_destroy(recoloured);
    mgn_map_destroy(map);
    mgn_model_destroy(model);
    mgn_device_close(device);
    mgn_image_destroy(evening);
    mgn_image_destroy(day);
    return quality.w2_after < .05 * quality.w2_before && most <= 1 ? 0 : 1;
}
