/* Palettes: each channel's distribution, and the colours where they lie in the cube. */
#include "draw/draw.h"

#include <math.h>

enum { BINS = 64, MOST_PALETTES = 3 };

static mgn_status draw_histograms(const mgn_draw *draw, const mgn_draw_palette *palettes, size_t count) {
    static const char *const channels[] = {"red", "green", "blue"};
    char title[MGN_DRAW_TITLE];
    mgn_plot *plot = mgn_plot_begin(&(mgn_plot_page){.title = mgn_draw_title(draw, "Colours", title)});
    for (int64_t c = 0; c < 3; c++) {
        mgn_plot_sample samples[MOST_PALETTES];
        for (size_t p = 0; p < count; p++)
            samples[p] = (mgn_plot_sample){
                .label = palettes[p].label, .values = palettes[p].rgb + c, .n = palettes[p].n, .step = 3};
        const mgn_plot_axes axes = {
            .title = channels[c], .x = {.low = 0, .high = 1}, .y = {.label = c ? NULL : "share of the pixels"}};
        mgn_plot_histograms(plot, &axes, samples, count, BINS);
    }
    return mgn_draw_save(draw, plot, "histograms");
}

static mgn_status draw_cubes(const mgn_draw *draw, const mgn_draw_palette *palettes, size_t count) {
    char title[MGN_DRAW_TITLE];
    mgn_plot *plot = mgn_plot_begin(&(mgn_plot_page){.title = mgn_draw_title(draw, "Palettes", title)});
    for (size_t p = 0; p < count; p++) {
        const mgn_plot_cloud cloud = {.rows = palettes[p].rgb, .n = palettes[p].n, .d = 3, .colours = palettes[p].rgb};
        const mgn_plot_axes axes = {.title = palettes[p].label,
                                    .x = {.label = "red", .low = 0, .high = 1, .tics = 2},
                                    .y = {.label = "green", .low = 0, .high = 1, .tics = 2},
                                    .z = {.label = "blue", .low = 0, .high = 1, .tics = 2}};
        mgn_plot_scatter3(plot, &axes, &cloud, 1);
    }
    return mgn_draw_save(draw, plot, "palettes");
}

mgn_status mgn_draw_palettes(const mgn_draw *draw, const mgn_draw_palette *palettes, size_t count) {
    count = MGN_MIN(count, MOST_PALETTES);
    MGN_TRY(draw_histograms(draw, palettes, count));
    return draw_cubes(draw, palettes, count);
}
