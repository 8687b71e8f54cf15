/* Learning a map to a mixture of the target's colours.
 *
 * The mixture's likelihood is no good guide here: pictures have atoms (a clipped sky is a tenth of all pixels in one
 * colour), which gain likelihood without end by being torn apart, and a small map gains most by crowding everything
 * into the densest component. What is wanted is known instead: the optimal map from the palette to the mixture. Batches
 * of source colours are matched with as many samples of the mixture by exact assignment, and the network, which can only
 * be the gradient of a convex function, is fitted to the pairs by least squares with Gauss-Newton steps.
 *
 * Colours are moved by noise before they are compared with their image: a slope of the map costs as much as it amplifies
 * that noise, so grain and blocks of a picture are not torn into bands. */
#include <math.h>
#include <string.h>

#include "core/random.h"
#include "ot/ot.h"
#include "recolor/recolor.h"

/* Pairs: an assignment's time grows faster than its points, its error slower. COPIES: draws of the noise. */
enum { BATCHES = 4, BATCH_ROWS = 1024, COPIES = 2, USUAL_STEPS = 60, TARGET_ROWS = 1 << 16 };

enum { NOISE_STREAM = 0x6e6f6973 };

/* Standard deviation of the noise that the map must not amplify: five levels of 8 bits. */
static const double noise = 0.02;

/* Log-likelihood a row that a pass of the mixture's fit must gain to go on: far below what the eye or the sample know. */
static const double fit_tolerance = 1e-4;

/* ---- the mixture ---- */

mgn_status mgn_recolor_mixture(const mgn_matrix *target, mgn_device *device, const mgn_recolor_config *config,
                               mgn_mixture *mixture) {
    const int64_t first = config->components, last = MGN_MAX(config->most_components, first), count = last - first + 1;
    const mgn_mixture_fit_config fit = {
        .regularisation = mgn_rounding_variance, .tolerance = fit_tolerance, .seed = config->seed};
    mgn_matrix palette = {0};
    int64_t elbow = first;
    MGN_TRY(mgn_palette_sample(target, TARGET_ROWS, config->seed, &palette));
    mgn_colour_dither(&palette, config->seed);
    mgn_mixture *all = mgn_alloc((size_t)count, sizeof *all);
    mgn_mixture_fit_result *results = mgn_alloc((size_t)count, sizeof *results);
    mgn_status status = all && results ? MGN_OK : MGN_ERR_MEMORY;
    if (status == MGN_OK)
        status = mgn_mixture_curve(device, palette.values, palette.rows, 3, first, last, &fit, all, results, &elbow);
    for (int64_t i = 0; i < count && status == MGN_OK; i++) {
        if (first + i == elbow)
            *mixture = all[i];
        else
            mgn_mixture_free(&all[i]);
    }
    mgn_free(all);
    mgn_free(results);
    mgn_matrix_free(&palette);
    return status;
}

/* ---- pairs ---- */

/* `batch` rows each of x and y at a time; the samples are colours, so they end where colours do. */
static mgn_status match_all(const mgn_target *target, uint64_t seed, mgn_matrix *x, mgn_matrix *y, int64_t batch) {
    MGN_TRY(mgn_target_sample(target, y->rows, seed, y->values));
    for (int64_t i = 0; i < 3 * y->rows; i++) y->values[i] = fminf(fmaxf(y->values[i], 0), 1);
    for (int64_t at = 0; at < x->rows; at += batch)
        MGN_TRY(mgn_match_rows(x->values + 3 * at, y->values + 3 * at, MGN_MIN(batch, x->rows - at), 3));
    return MGN_OK;
}

/* Rows in random order, so that every batch is a sample of the whole picture. */
static void shuffle(mgn_matrix *palette, uint64_t seed, float *out) {
    const mgn_host_shuffle order = mgn_host_shuffle_start(seed, 0, (uint32_t)palette->rows);
    for (int64_t i = 0; i < palette->rows; i++)
        memcpy(out + 3 * i, palette->values + 3 * mgn_host_shuffle_at(&order, (uint32_t)i), 3 * sizeof *out);
}

/* Every pair COPIES times, its source moved by noise. */
static void spread(const mgn_matrix *x, const mgn_matrix *y, uint64_t seed, mgn_matrix *from, mgn_matrix *to) {
    for (int64_t i = 0; i < 3 * from->rows; i++) {
        const int64_t at = i % (3 * x->rows);
        from->values[i] = x->values[at] + (float)(noise * mgn_host_normal(seed, NOISE_STREAM, (uint64_t)i));
        to->values[i] = y->values[at];
    }
}

static mgn_status make_pairs(const mgn_matrix *source, const mgn_target *target, uint64_t seed, mgn_matrix *from,
                             mgn_matrix *to) {
    mgn_matrix palette = {0}, x = {0}, y = {0};
    mgn_status status = mgn_palette_sample(source, BATCHES * BATCH_ROWS, seed, &palette);
    if (status == MGN_OK) status = mgn_matrix_create(palette.rows, 3, &x);
    if (status == MGN_OK) status = mgn_matrix_create(palette.rows, 3, &y);
    if (status == MGN_OK) status = mgn_matrix_create(COPIES * palette.rows, 3, from);
    if (status == MGN_OK) status = mgn_matrix_create(COPIES * palette.rows, 3, to);
    if (status == MGN_OK) {
        mgn_colour_dither(&palette, seed + 1);
        shuffle(&palette, seed, x.values);
        status = match_all(target, seed, &x, &y, BATCH_ROWS);
    }
    if (status == MGN_OK) spread(&x, &y, seed, from, to);
    mgn_matrix_free(&palette);
    mgn_matrix_free(&x);
    mgn_matrix_free(&y);
    return status;
}

/* ---- learning ---- */

mgn_status mgn_recolor_learn_mixture(mgn_model *model, mgn_device *device, const mgn_matrix *source,
                                     const mgn_mixture *mixture, const mgn_recolor_config *config,
                                     mgn_train_result *result) {
    mgn_target *target = NULL;
    mgn_matrix from = {0}, to = {0};
    const mgn_train_config training = {
        .loss = {.kind = "mse"},
        .optimizer = {.kind = "gauss-newton"},
        .epochs = config->epochs ? config->epochs : USUAL_STEPS,
        .seed = config->seed,
        .real = mgn_device_get_info(device)->has_f64 ? MGN_F64 : MGN_F32,
        .report = config->report,
        .context = config->context,
    };
    mgn_status status = mgn_target_create_mixture(mixture, &target);
    if (status == MGN_OK) status = make_pairs(source, target, config->seed, &from, &to);
    if (status == MGN_OK)
        status = mgn_train(model, device, &(mgn_samples){.x = from.values, .y = to.values, .n = from.rows}, &training,
                           result);
    mgn_matrix_free(&from);
    mgn_matrix_free(&to);
    mgn_target_destroy(target);
    return status;
}
