/* The coordinates that the semi-dual solver works in, and the start there.
 *
 * Steps of first order depend on units: clouds are moved to mean 0 and variance 1 a coordinate, each by one number for all
 * directions, since that leaves optimal maps optimal. With x = m + s x' and y = n + t y', a potential phi'(x') of the frame
 * is s t phi'((x - m) / s) + <n, x> outside. */
#include <math.h>
#include <string.h>

#include <mgn/ot.h>

#include "core/core.h"
#include "core/random.h"
#include "model/model.h"
#include "train/semidual.h"

/* ---- the frame ---- */

static double spread(const double *covariance, int64_t d) {
    double trace = 0;
    for (int64_t i = 0; i < d; i++) trace += covariance[i * (d + 1)];
    return trace > 0 ? sqrt(trace / (double)d) : 1;
}

static mgn_status find(const mgn_model *model, const mgn_clouds *clouds, double *work, mgn_frame *frame) {
    const int64_t d = frame->d;
    double *x_covariance = work, *y_covariance = work + d * d, *zero = work + 2 * d * d;
    MGN_TRY(mgn_moments(clouds->x, clouds->n, d, false, frame->x_mean, x_covariance));
    MGN_TRY(mgn_moments(clouds->y, clouds->m, d, false, frame->y_mean, y_covariance));
    frame->x_unit = spread(x_covariance, d);
    frame->y_unit = spread(y_covariance, d);
    if (model->kind->substitute && !mgn_model_get_frame(model)) {
        frame->x_scale = frame->x_unit;
        frame->y_scale = frame->y_unit;
        frame->x_unit = frame->y_unit = 1;
        for (int64_t i = 0; i < d * d; i++) {
            x_covariance[i] /= frame->x_scale * frame->x_scale;
            y_covariance[i] /= frame->y_scale * frame->y_scale;
        }
        return mgn_bures_map(zero, x_covariance, zero, y_covariance, d, frame->a, frame->b);
    }
    frame->is_identity = true;
    frame->x_scale = frame->y_scale = 1;
    MGN_TRY(mgn_bures_map(frame->x_mean, x_covariance, frame->y_mean, y_covariance, d, frame->a, frame->b));
    memset(frame->x_mean, 0, (size_t)(2 * d) * sizeof *frame->x_mean);
    return MGN_OK;
}

mgn_status mgn_frame_find(const mgn_model *model, const mgn_clouds *clouds, mgn_frame *frame) {
    const int64_t d = model->config.d;
    double *work = mgn_alloc((size_t)(2 * d * d + d), sizeof *work);
    *frame = (mgn_frame){.d = d, .block = mgn_alloc((size_t)(3 * d + d * d), sizeof *frame->block)};
    mgn_status status = MGN_ERR_MEMORY;
    if (work && frame->block) {
        frame->x_mean = frame->block;
        frame->y_mean = frame->x_mean + d;
        frame->b = frame->y_mean + d;
        frame->a = frame->b + d;
        status = find(model, clouds, work, frame);
    }
    mgn_free(work);
    return status;
}

static float *framed(const float *rows, int64_t n, int64_t d, const double *mean, double scale, uint64_t seed) {
    float *out = mgn_alloc_aligned((size_t)n, (size_t)d * sizeof *out);
    const mgn_host_shuffle order = mgn_host_shuffle_start(seed, 0, (uint32_t)n);
    for (int64_t i = 0; out && i < n; i++) {
        const float *row = rows + (int64_t)mgn_host_shuffle_at(&order, (uint32_t)i) * d;
        for (int64_t j = 0; j < d; j++) out[i * d + j] = (float)(((double)row[j] - mean[j]) / scale);
    }
    return out;
}

/* a^-1 (y - b), a being ridged a little: conjugate points of the affine map. */
static mgn_status start_conjugates(const mgn_frame *frame, const float *y, int64_t m, float *points) {
    const int64_t d = frame->d;
    double *work = mgn_alloc((size_t)(3 * d * d + 2 * d), sizeof *work);
    if (!work) return MGN_ERR_MEMORY;
    double *values = work, *vectors = values + d, *inverse = vectors + d * d, *offset = inverse + d * d;
    mgn_status status = mgn_symmetric_eigen(frame->a, d, values, vectors);
    for (int64_t i = 0; status == MGN_OK && i < d; i++) {
        for (int64_t j = 0; j < d; j++)
            for (int64_t k = 0; k < d; k++)
                inverse[i * d + j] +=
                    vectors[k * d + i] * vectors[k * d + j] / fmax(values[k], 1e-3 * fmax(values[d - 1], 1e-3));
        for (int64_t j = 0; j < d; j++) offset[i] -= inverse[i * d + j] * frame->b[j];
    }
    if (status == MGN_OK) status = mgn_affine_rows(inverse, offset, y, m, d, points);
    mgn_free(work);
    return status;
}

mgn_status mgn_frame_rows(const mgn_frame *frame, const mgn_clouds *clouds, uint64_t seed, mgn_clouds *rows,
                          float **conjugate) {
    const uint64_t other =
        seed ^ UINT64_C(0x9e3779b97f4a7c15); /* the clouds' orders have nothing to do with each other */
    const int64_t d = frame->d;
    rows->n = clouds->n;
    rows->m = clouds->m;
    rows->x = framed(clouds->x, clouds->n, d, frame->x_mean, frame->x_scale, seed);
    rows->y = framed(clouds->y, clouds->m, d, frame->y_mean, frame->y_scale, other);
    *conjugate = mgn_alloc_aligned((size_t)clouds->m, (size_t)d * sizeof **conjugate);
    if (!rows->x || !rows->y || !*conjugate) return MGN_ERR_MEMORY;
    return start_conjugates(frame, rows->y, rows->m, *conjugate);
}

/* `add` of a substitution is made of y_mean, `shift` of x_mean, each times its factor. */
static void substitute(const mgn_frame *frame, mgn_model *model, double scale, double shift_by, double factor,
                       double add_by) {
    double *shift = frame->x_mean, *add = frame->y_mean;
    for (int64_t i = 0; i < frame->d; i++) {
        shift[i] *= shift_by;
        add[i] *= add_by;
    }
    model->kind->substitute(model, scale, shift, factor, add);
    for (int64_t i = 0; i < frame->d; i++) {
        shift[i] /= shift_by;
        add[i] /= add_by;
    }
}

void mgn_frame_enter(const mgn_frame *frame, mgn_model *model) {
    if (!frame->is_identity)
        substitute(frame, model, frame->x_scale, 1, 1 / (frame->x_scale * frame->y_scale), -1 / frame->y_scale);
}

void mgn_frame_leave(const mgn_frame *frame, mgn_model *model) {
    if (!frame->is_identity)
        substitute(frame, model, 1 / frame->x_scale, -1 / frame->x_scale, frame->x_scale * frame->y_scale, 1);
}

double mgn_frame_value(const mgn_frame *frame, double value) {
    double constant = 0;
    for (int64_t i = 0; i < frame->d; i++) constant += frame->x_mean[i] * frame->y_mean[i];
    return frame->x_scale * frame->y_scale * value + constant;
}

/* ---- the start ---- */

enum { STREAM_ROW = 0x736472, STREAM_DIRECTION = 0x736464, STREAM_MIX = 0x73646d };
/* In the frame: the length of W's rows, the sum of w over a layer, that of a row of U, and what the affine map keeps. */
static const double steepness = 2, layer_weight = 0.3, mixed = 1, kept = 0.8;

static double raw_of(double value) { return log(expm1(value)); }

static void start_unit(const mgn_frame *frame, const mgn_clouds *clouds, uint64_t seed, uint64_t unit, double *W,
                       double *b) {
    const int64_t d = frame->d;
    const double u = mgn_host_uniform(seed, STREAM_ROW, unit);
    const float *row = clouds->x + MGN_MIN((int64_t)(u * (double)clouds->n), clouds->n - 1) * d;
    double norm = 0;
    for (int64_t j = 0; j < d; j++) {
        W[j] = mgn_host_normal(seed, STREAM_DIRECTION, unit * (uint64_t)d + (uint64_t)j);
        norm += W[j] * W[j];
    }
    *b = 0;
    for (int64_t j = 0; j < d; j++) {
        W[j] *= steepness / sqrt(norm);
        *b -= W[j] * ((double)row[j] - frame->x_mean[j]) / frame->x_scale;
    }
}

/* V = (kept a)^(1/2): eigenvalues of `a` that moments say are 0 get a little. */
static mgn_status start_quadratic(const mgn_frame *frame, double *V) {
    const int64_t d = frame->d;
    double *raised = mgn_alloc((size_t)(d * d), sizeof *raised);
    if (!raised) return MGN_ERR_MEMORY;
    for (int64_t i = 0; i < d * d; i++) raised[i] = kept * frame->a[i] + (i % (d + 1) == 0 ? 1e-3 : 0);
    const mgn_status status = mgn_spd_sqrt(raised, d, V, NULL);
    mgn_free(raised);
    return status;
}

static mgn_status start(mgn_model *model, const mgn_frame *frame, const mgn_clouds *clouds, uint64_t seed) {
    const int64_t h = model->config.h, d = model->config.d;
    uint64_t unit = 0;
    for (size_t p = 0; p < model->list.count; p++) {
        const char *label = model->list.items[p].label;
        double *values = model->values + model->list.items[p].offset;
        if (*label == 'W')
            for (int64_t i = 0; i < h; i++)
                start_unit(frame, clouds, seed, unit++, values + i * d, values + h * d + i); /* b follows W */
        for (int64_t i = 0; *label == 'w' && i < h; i++) values[i] = raw_of(layer_weight / (double)h);
        for (int64_t i = 0; *label == 'U' && i < h * h; i++)
            values[i] = raw_of(mixed / (double)h) + 0.3 * mgn_host_normal(seed, STREAM_MIX + (uint32_t)p, (uint64_t)i);
        if (*label == 'V') MGN_TRY(start_quadratic(frame, values));
        if (*label == 'a') memcpy(values, frame->b, (size_t)d * sizeof *values);
    }
    mgn_frame_leave(frame, model);
    return MGN_OK;
}

mgn_status mgn_semidual_start(mgn_model *model, const mgn_clouds *clouds, uint64_t seed) {
    mgn_frame frame = {0};
    if (model->kind != &mgn_model_dicnn)
        return mgn_fail(MGN_ERR_UNSUPPORTED, "a start for the semi-dual is known for dicnn; %s was found",
                        model->kind->label);
    mgn_status status = mgn_frame_find(model, clouds, &frame);
    if (status == MGN_OK) status = start(model, &frame, clouds, seed);
    mgn_free(frame.block);
    return status;
}
