/* Fits a map between two arrays of points that are not paired, and uses it on points that it has not seen.
 *
 *     cc fit_arrays.c $(pkg-config --cflags --libs mgn) -o fit_arrays && ./fit_arrays
 *
 * The source is normal, the target a slanted ellipse: the map of least transport between them is linear and known, so that
 * the program can say how good the fit is. */
#include <mgn/mgn.h>

#include <stdio.h>
#include <stdlib.h>

enum { ROWS = 1024, D = 2 };

/* Every call that may fail returns a status; the sentence of the last failure says what was wrong. */
static void must(mgn_status status) {
    if (status == MGN_OK) return;
    fprintf(stderr, "fit_arrays: %s\n", mgn_last_error());
    exit(1);
}

/* n rows of N(mean, covariance). NULL is 0 and the identity. */
static void draw(const double *mean, const double *covariance, uint64_t seed, float *rows) {
    mgn_target *gaussian;
    must(mgn_target_create_gaussian(D, mean, covariance, &gaussian));
    must(mgn_target_sample(gaussian, ROWS, seed, rows));
    mgn_target_destroy(gaussian);
}

int main(void) {
    static float source[ROWS][D], target[ROWS][D], unseen[ROWS][D], mapped[ROWS][D], exact[ROWS][D];
    const double origin[D] = {0, 0}, identity[D * D] = {1, 0, 0, 1};
    const double mean[D] = {2, 1}, covariance[D * D] = {1, -.8, -.8, 1};
    draw(NULL, NULL, 1, source[0]);
    draw(NULL, NULL, 2, unseen[0]);
    draw(mean, covariance, 3, target[0]);

    /* A network, 14 parameters from seed 1; what it is trained for: that its image is as the target's rows are. */
    mgn_device *device;
    mgn_model *model;
    mgn_target *rows;
    const mgn_model_config shape = {.kind = "cmgn", .d = D, .h = 2, .layers = 2};
    must(mgn_device_open(NULL, &device)); /* MGN_DEVICE, else the best there is */
    must(mgn_model_create(&shape, 1, &model));
    must(mgn_target_create_rows(target[0], ROWS, D, &rows));
    const mgn_train_config how = {.loss = {.kind = "sinkhorn", .target = rows},
                                  .optimizer = {.kind = "adam", .lr = .05},
                                  .schedule = {.kind = MGN_SCHEDULE_COSINE},
                                  .batch = 256,
                                  .epochs = 40,
                                  .seed = 1};
    mgn_train_result result;
    must(mgn_train(model, device, &(mgn_samples){.x = source[0], .n = ROWS}, &how, &result));

    /* A map is a model on a device, ready to be used. It can be undone, too: mgn_map_inverse. */
    mgn_map *map;
    must(mgn_map_create(model, device, MGN_F32, &map));
    must(mgn_map_apply(map, unseen[0], ROWS, mapped[0]));

    /* How far is it from the closed form, in percent of the target's variance? */
    double matrix[D * D], shift[D], uvp, cost;
    must(mgn_bures_map(origin, identity, mean, covariance, D, matrix, shift));
    must(mgn_affine_rows(matrix, shift, unseen[0], ROWS, D, exact[0]));
    must(mgn_l2_uvp(mapped[0], exact[0], ROWS, D, covariance[0] + covariance[3], &uvp));
    must(mgn_transport_cost(unseen[0], mapped[0], ROWS, D, &cost));
    printf("%lld steps: Sinkhorn divergence %.4f, transport cost %.3f, L2-UVP %.2f %%\n", (long long)result.steps,
           result.loss, cost, uvp);

    must(mgn_model_save(model, "map.safetensors")); /* for `mgn apply`, `mgn eval`, mgn_model_load, Python */
    mgn_map_destroy(map);
    mgn_target_destroy(rows);
    mgn_model_destroy(model);
    mgn_device_close(device);
    return uvp < 5 ? 0 : 1;
}
