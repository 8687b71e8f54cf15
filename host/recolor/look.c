/* Looks as graphs: everything round the map joins its row program, so a pixel is read once and written once whatever is
 * asked for. The look stands in the map's file as one line of text. */
#include <mgn/look.h>

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/parallel.h"
#include "model/model.h"
#include "recolor/recolor.h"

static const char *const space_names[] = {"srgb", "linear", "oklab"};

const char *mgn_colour_space_name(mgn_colour_space space) {
    return (size_t)space < MGN_COUNT(space_names) ? space_names[space] : NULL;
}

/* ---- spaces ---- */

/* sRGB's transfer function: a line below the knee, a power above. */
static const double knee = 0.04045, line = 12.92, offset = 0.055, power = 2.4;

/* Rows: linear sRGB to cone responses, and their cube roots to Oklab (Ottosson, 2020). */
static const double to_cones[9] = {0.4122214708, 0.5363325363, 0.0514459929, 0.2119034982, 0.6806995451,
                                   0.1073969566, 0.0883024619, 0.2817188376, 0.6299787005};
static const double to_lab[9] = {0.2104542553, 0.7936177850, -0.0040720468, 1.9779984951, -2.4285922050,
                                 0.4505937099, 0.0259040371, 0.7827717662,  -0.8086757660};
static const double from_lab[9] = {1, 0.3963377774,  0.2158037573, 1, -0.1055613458, -0.0638541728,
                                   1, -0.0894841775, -1.2914855480};
static const double from_cones[9] = {4.0767416621,  -3.3077115913, 0.2309699292,  -1.2684380046, 2.6097574011,
                                     -0.3413193965, -0.0041960863, -0.7034186147, 1.7076147010};

/* M c for the rows c of x (n, 3). */
static mgn_node *times(const double M[9], mgn_node *x) {
    return mgn_matmul_t(x, false, mgn_table(mgn_node_graph(x), M, MGN_SHAPE(3, 3)), true);
}

/* x^exponent for x > 0; what is below `least` counts as that, which keeps the logarithm finite. */
static mgn_node *to_power(mgn_node *x, double exponent) {
    const double least = 1e-12;
    return mgn_exp(mgn_scale(mgn_log(mgn_maximum(x, mgn_constant(mgn_node_graph(x), least))), exponent));
}

static mgn_node *to_linear(mgn_node *x) {
    mgn_node *above = to_power(mgn_scale(mgn_shift(x, offset), 1 / (1 + offset)), power);
    return mgn_select(mgn_greater(x, mgn_constant(mgn_node_graph(x), knee)), above, mgn_scale(x, 1 / line));
}

/* Negative amounts of light go on along the line, so that how far outside they are is not lost. */
static mgn_node *from_linear(mgn_node *x) {
    mgn_node *above = mgn_shift(mgn_scale(to_power(x, 1 / power), 1 + offset), -offset);
    return mgn_select(mgn_greater(x, mgn_constant(mgn_node_graph(x), knee / line)), above, mgn_scale(x, line));
}

static mgn_node *into(mgn_colour_space space, mgn_node *x) {
    if (space == MGN_SPACE_SRGB) return x;
    x = to_linear(x);
    return space == MGN_SPACE_LINEAR ? x : times(to_lab, to_power(times(to_cones, x), 1.0 / 3));
}

static mgn_node *out_of(mgn_colour_space space, mgn_node *p) {
    if (space == MGN_SPACE_SRGB) return p;
    if (space == MGN_SPACE_OKLAB) {
        mgn_node *roots = times(from_lab, p);
        p = times(from_cones, mgn_mul(roots, mgn_square(roots)));
    }
    return from_linear(p);
}

typedef struct conversion {
    mgn_colour_space space;
    float *colours;
    int64_t n;
} conversion;

enum { CONVERTED_ROWS = 4096 };

static void convert_rows(void *context, int64_t chunk, int thread) {
    const conversion *c = context;
    (void)thread;
    for (int64_t i = chunk * CONVERTED_ROWS; i < MGN_MIN((chunk + 1) * CONVERTED_ROWS, c->n); i++) {
        float *at = c->colours + 3 * i;
        double light[3], lab[3] = {0};
        for (size_t j = 0; j < 3; j++) {
            const double v = (double)at[j];
            light[j] = v > knee ? pow((v + offset) / (1 + offset), power) : v / line;
        }
        for (size_t k = 0; k < 3 && c->space == MGN_SPACE_OKLAB; k++) {
            const double *M = to_cones + 3 * k;
            const double root = cbrt(M[0] * light[0] + M[1] * light[1] + M[2] * light[2]);
            for (size_t j = 0; j < 3; j++) lab[j] += to_lab[3 * j + k] * root;
        }
        for (size_t j = 0; j < 3; j++) at[j] = (float)(c->space == MGN_SPACE_OKLAB ? lab[j] : light[j]);
    }
}

void mgn_colour_to_space(mgn_colour_space space, float *colours, int64_t n) {
    conversion c = {space, colours, n};
    if (space == MGN_SPACE_SRGB) return;
    mgn_parallel(mgn_threads(), (n + CONVERTED_ROWS - 1) / CONVERTED_ROWS, convert_rows, &c);
}

/* ---- the way back into the gamut ---- */

/* How much of [0, 1] at either end bends to make room for what is `from` outside it: the more, the more gently. Half as
 * much bends so sharply that tables of 33 colours a side miss it by several levels. */
static double shoulder(double from) { return fmin(0.05 + 0.25 * from, 0.12); }

static mgn_node *row_of(mgn_graph *graph, const double values[3]) { return mgn_table(graph, values, MGN_SHAPE(1, 3)); }

/* What bends below s = shoulder(from), from = -low: u from -from to s becomes s (u + from) / ((s + from) (1 + q (s - u))),
 * q = from / (s (s + from)), from 0 to s with the slope 1 at s; with low = 0 it is the identity. Above it nothing
 * changes. */
static mgn_node *bend(mgn_node *y, const double low[3]) {
    mgn_graph *graph = mgn_node_graph(y);
    double least[3], most[3], shift[3], rate[3], divisor[3];
    for (size_t j = 0; j < 3; j++) {
        const double from = -fmin(low[j], 0), s = shoulder(from), scale = (s + from) / s;
        least[j] = -from;
        most[j] = s;
        shift[j] = from;
        rate[j] = scale * from / (s * (s + from));
        divisor[j] = scale + rate[j] * s;
    }
    mgn_node *straight = mgn_minimum(y, row_of(graph, most)), *u = mgn_maximum(straight, row_of(graph, least));
    mgn_node *bent =
        mgn_div(mgn_add(u, row_of(graph, shift)), mgn_sub(row_of(graph, divisor), mgn_mul(u, row_of(graph, rate))));
    return mgn_add(bent, mgn_sub(y, straight));
}

static mgn_node *into_gamut(const mgn_look *look, mgn_node *y) {
    double beyond[3];
    bool below = false, above = false;
    for (size_t j = 0; j < 3; j++) {
        below |= look->low[j] < 0;
        above |= look->high[j] > 1;
        beyond[j] = 1 - look->high[j];
    }
    mgn_node *one = mgn_constant(mgn_node_graph(y), 1);
    if (below) y = bend(y, look->low);
    return above ? mgn_sub(one, bend(mgn_sub(one, y), beyond)) : y;
}

/* ---- luma ---- */

static const double luma_weights[3] = {0.2126, 0.7152, 0.0722};

static mgn_node *luma(mgn_node *x) {
    mgn_graph *graph = mgn_node_graph(x);
    return mgn_matmul(x, mgn_table(graph, luma_weights, MGN_SHAPE(3, 1))); /* (n, 1) */
}

/* y with the luma of x: its difference from grey, shrunk where it would leave [0, 1]. */
static mgn_node *with_luma_of(mgn_node *x, mgn_node *y) {
    mgn_graph *graph = mgn_node_graph(x);
    const double least = 1e-6;
    mgn_node *grey = luma(x), *away = mgn_sub(y, luma(y)), *small = mgn_constant(graph, least);
    mgn_node *up = mgn_div(mgn_sub(mgn_constant(graph, 1), grey), mgn_maximum(away, small));
    mgn_node *down = mgn_div(grey, mgn_maximum(mgn_neg(away), small));
    mgn_node *room = mgn_minimum(up, down); /* (n, 3) */
    mgn_node *share = mgn_constant(graph, 1);
    for (int64_t j = 0; j < 3; j++) share = mgn_minimum(share, mgn_slice(room, 1, j, 1));
    return mgn_add(grey, mgn_mul(away, share));
}

/* ---- maps ---- */

static mgn_node *wrap(const void *context, const mgn_model *model, mgn_node *flat, mgn_node *x) {
    const mgn_look *look = context;
    mgn_node *p = into(look->space, x), *g = mgn_model_forward(model, flat, p);
    if (look->strength < 1) g = mgn_add(mgn_scale(p, 1 - look->strength), mgn_scale(g, look->strength));
    mgn_node *y = into_gamut(look, out_of(look->space, g));
    return look->protect_luma ? with_luma_of(x, y) : y;
}

static mgn_status check(const mgn_model *model, const mgn_look *look) {
    MGN_TRY(mgn_check_colour_dimension(mgn_model_get_config(model)->d));
    bool fine = (size_t)look->space < MGN_COUNT(space_names) && look->strength >= 0 && look->strength <= 1;
    for (size_t j = 0; j < 3; j++) fine &= isfinite(look->low[j]) && isfinite(look->high[j]);
    return fine ? MGN_OK
                : mgn_fail(MGN_ERR_ARGUMENT,
                           "a look: a space, a strength from 0 to 1 (%g found) and a finite range "
                           "were expected",
                           look->strength);
}

mgn_status mgn_look_map(const mgn_model *model, mgn_device *device, const mgn_look *look, mgn_map **map) {
    MGN_TRY(check(model, look));
    return mgn_map_create_wrapped(model, device, MGN_F32, wrap, look, sizeof *look, map);
}

/* The share of colours at either end that may be clipped: few, and a wide range for their sake would press all others
 * together. */
static const double beyond = 0.002;

/* Places below and above which `beyond` of n values (every third one) lie, by counting between the outermost. */
static void find_range(const float *values, int64_t n, double *low, double *high) {
    enum { BINS = 4096 };
    int64_t count[BINS] = {0}, under = 0, over = 0;
    double least = (double)values[0], most = least;
    for (int64_t i = 0; i < n; i++) {
        least = fmin(least, (double)values[3 * i]);
        most = fmax(most, (double)values[3 * i]);
    }
    const double width = fmax((most - least) / BINS, 1e-12);
    for (int64_t i = 0; i < n; i++) count[(int)fmin(((double)values[3 * i] - least) / width, BINS - 1)]++;
    const int64_t may = (int64_t)(beyond * (double)n);
    int first = 0, last = BINS - 1;
    while (first < last && under + count[first] <= may) under += count[first++];
    while (last > first && over + count[last] <= may) over += count[last--];
    *low = least + first * width;
    *high = last == BINS - 1 ? most : least + (last + 1) * width;
}

mgn_status mgn_look_measure(const mgn_model *model, mgn_device *device, const float *colours, int64_t n,
                            mgn_look *look) {
    mgn_look open = *look;
    mgn_map *map = NULL;
    float *images = mgn_alloc((size_t)MGN_MAX(n, 1), 3 * sizeof *images);
    if (!images) return MGN_ERR_MEMORY;
    for (size_t j = 0; j < 3; j++) {
        open.low[j] = 0;
        open.high[j] = 1;
    }
    mgn_status status = mgn_look_map(model, device, &open, &map);
    if (status == MGN_OK) status = mgn_map_apply(map, colours, n, images);
    for (size_t j = 0; j < 3 && status == MGN_OK && n > 0; j++) {
        double low, high;
        find_range(images + j, n, &low, &high);
        open.low[j] = fmin(low, 0);
        open.high[j] = fmax(high, 1);
    }
    if (status == MGN_OK) *look = open;
    mgn_map_destroy(map);
    mgn_free(images);
    return status;
}

/* ---- files ---- */

enum { LONGEST_LOOK = 512 };

mgn_status mgn_look_prepare(const mgn_model *model, const mgn_look *look, const char *path, mgn_output_file **written) {
    char text[LONGEST_LOOK];
    MGN_TRY(check(model, look));
    snprintf(text, sizeof text, "%s %.17g %s %.9g %.9g %.9g %.9g %.9g %.9g", space_names[look->space], look->strength,
             look->protect_luma ? "luma" : "all", look->low[0], look->low[1], look->low[2], look->high[0],
             look->high[1], look->high[2]);
    return mgn_model_prepare_noted(model, "look", text, path, written);
}

mgn_status mgn_look_save(const mgn_model *model, const mgn_look *look, const char *path) {
    mgn_output_file *output = NULL;
    MGN_TRY(mgn_look_prepare(model, look, path, &output));
    return mgn_output_commit(output);
}

static bool parse(const char *text, mgn_look *look) {
    char space[16], kept[16], rest;
    if (sscanf(text, "%15s %lf %15s %lf %lf %lf %lf %lf %lf %c", space, &look->strength, kept, &look->low[0],
               &look->low[1], &look->low[2], &look->high[0], &look->high[1], &look->high[2], &rest) != 9)
        return false;
    size_t i = 0;
    while (i < MGN_COUNT(space_names) && strcmp(space, space_names[i]) != 0) i++;
    look->space = (mgn_colour_space)i;
    look->protect_luma = strcmp(kept, "luma") == 0;
    return look->protect_luma || strcmp(kept, "all") == 0;
}

mgn_status mgn_look_load(const char *path, mgn_model **model, mgn_look *look) {
    char text[LONGEST_LOOK];
    mgn_look found = MGN_LOOK;
    mgn_model *made = NULL;
    MGN_TRY(mgn_model_load_noted(path, "look", text, sizeof text, &made));
    mgn_status status = MGN_OK;
    if (*text && (!parse(text, &found) || check(made, &found) != MGN_OK))
        status = mgn_fail(MGN_ERR_FORMAT,
                          "%s: metadata 'look' should be a space, a strength, all or luma, and six "
                          "numbers; '%.60s' found",
                          path, text);
    if (status == MGN_OK) {
        *look = found;
        *model = made;
    } else {
        mgn_model_destroy(made);
    }
    return status;
}
