/* The equations of every kind of model, one point at a time, in extended precision. Derivatives that belong to a map's
 * definition (ICNN, ICGN) are carried along as explicit matrices; integrals are sums over fine panels; the bound of the
 * spectral normalisation comes from a plain power of the matrix. */
#include "check/oracle_model.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/core.h"
#include "model/model.h"

enum { D = MGN_ORACLE_MOST_D, H = MGN_ORACLE_MOST_H, MOST_PARAMETERS = 512 };

/* A model with its parameters, after the scaling that its Lipschitz bound asks for. */
typedef struct network {
    const mgn_model *model;
    const mgn_model_config *c;
    const mgn_exact *flat;
} network;

/* A parameter by its name, which is how the published equations call it. */
static const mgn_exact *named(const network *n, const char *name, int number) {
    const mgn_parameter *list;
    size_t count = mgn_model_parameters(n->model, &list);
    for (size_t i = 0; i < count; i++) {
        size_t length = strlen(name);
        const char *label = list[i].label;
        if (strncmp(label, name, length) != 0) continue;
        if (number < 0 ? label[length] == '\0' : label[length] == (char)('0' + number) && label[length + 1] == '\0')
            return n->flat + list[i].offset;
    }
    return NULL;
}

static mgn_exact activation(const mgn_model_config *c, mgn_exact z) {
    mgn_op op = c->activation == MGN_TANH       ? MGN_OP_tanh
                : c->activation == MGN_LOGISTIC ? MGN_OP_logistic
                                                : MGN_OP_softplus;
    return mgn_oracle_scalar(op, z, 0, 0);
}

static mgn_exact slope(const mgn_model_config *c, mgn_exact z) {
    const mgn_exact half = c->activation == MGN_TANH ? coshl(z) : coshl(z / 2);
    if (c->activation == MGN_SOFTPLUS) return 1 / (1 + expl(-z));
    return c->activation == MGN_TANH ? 1 / (half * half) : 1 / (4 * half * half);
}

static mgn_exact steepest(const mgn_model_config *c) { return c->activation == MGN_LOGISTIC ? 0.25L : 1; }

/* The antiderivative of the activation: log cosh of tanh, softplus of the logistic function. */
static mgn_exact primitive(const mgn_model_config *c, mgn_exact z) {
    return mgn_oracle_scalar(c->activation == MGN_TANH ? MGN_OP_logcosh : MGN_OP_softplus, z, 0, 0);
}

static mgn_exact positive(mgn_exact raw) { return mgn_oracle_scalar(MGN_OP_softplus, raw, 0, 0); }

static mgn_exact scale(const network *n, const char *name, int number, int64_t i) {
    const mgn_exact raw = named(n, name, number)[i];
    return n->c->signed_scales ? raw : positive(raw);
}

/* out_i = sum_j M_ij x_j; out_j = sum_i M_ij x_i. M is (rows, columns). */
static void times(const mgn_exact *m, const mgn_exact *x, int64_t rows, int64_t columns, mgn_exact *out) {
    for (int64_t i = 0; i < rows; i++) {
        out[i] = 0;
        for (int64_t j = 0; j < columns; j++) out[i] += m[i * columns + j] * x[j];
    }
}

static void transposed_times(const mgn_exact *m, const mgn_exact *x, int64_t rows, int64_t columns, mgn_exact *out) {
    for (int64_t j = 0; j < columns; j++) {
        out[j] = 0;
        for (int64_t i = 0; i < rows; i++) out[j] += m[i * columns + j] * x[i];
    }
}

static void quadratic(const mgn_exact *v, const mgn_exact *x, int64_t d, mgn_exact *out) {
    mgn_exact vx[D];
    times(v, x, d, d, vx);
    transposed_times(v, vx, d, d, out);
}

/* ---- C-MGN, M-MGN ---- */

static void cmgn(const network *n, const mgn_exact *x, mgn_exact *y) {
    const mgn_model_config *c = n->c;
    const mgn_exact *w = named(n, "W", -1), *last = named(n, "bL", -1);
    mgn_exact wx[H], z[H] = {0}, top[D];
    times(w, x, c->h, c->d, wx);
    for (int l = 0; l < c->layers; l++)
        for (int64_t i = 0; i < c->h; i++) z[i] = wx[i] + (l ? activation(c, z[i]) : 0) + named(n, "b", l)[i];
    for (int64_t i = 0; i < c->h; i++) z[i] = activation(c, z[i]);
    transposed_times(w, z, c->h, c->d, top);
    quadratic(named(n, "V", -1), x, c->d, y);
    for (int64_t j = 0; j < c->d; j++) y[j] += top[j] + last[j];
}

/* x (height, width, channels); units (h, i, j), u = W * x for `forth`, else x += W' * u. */
static void convolve(const mgn_model_config *c, const mgn_exact *w, int64_t filters, int64_t stride, int64_t padding,
                     bool forth, mgn_exact *x, mgn_exact *u) {
    const mgn_image_shape s = c->image;
    const int64_t k = c->kernel, rows = (s.height + 2 * padding - k) / stride + 1,
                  columns = (s.width + 2 * padding - k) / stride + 1;
    for (int64_t e = 0; e < filters * rows * columns; e++) {
        const int64_t top = e / columns % rows * stride - padding, left = e % columns * stride - padding;
        const mgn_exact *filter = w + e / columns / rows * s.channels * k * k;
        if (forth) u[e] = 0;
        for (int64_t q = 0; q < s.channels * k * k; q++) {
            const int64_t y = top + q / k % k, z = left + q % k, at = (y * s.width + z) * s.channels + q / k / k;
            if (y < 0 || z < 0 || y >= s.height || z >= s.width) continue;
            if (forth)
                u[e] += filter[q] * x[at];
            else
                x[at] += filter[q] * u[e];
        }
    }
}

static int64_t units_of(const mgn_model_config *c, int64_t filters, int64_t stride, int64_t padding) {
    return filters * ((c->image.height + 2 * padding - c->kernel) / stride + 1) *
           ((c->image.width + 2 * padding - c->kernel) / stride + 1);
}

static void conv_cmgn(const network *n, const mgn_exact *point, mgn_exact *y) {
    const mgn_model_config *c = n->c;
    const mgn_exact *w = named(n, "W", -1), *v = named(n, "V", -1), *last = named(n, "bL", -1);
    const int64_t stride = mgn_model_stride(c), channels = c->image.channels, middle = c->kernel / 2;
    const int64_t units = units_of(c, c->h, stride, c->padding), each = c->position_biases ? 1 : units / c->h;
    mgn_exact x[D], u[H], z[H] = {0};
    memcpy(x, point, (size_t)c->d * sizeof *x);
    convolve(c, w, c->h, stride, c->padding, true, x, u);
    for (int l = 0; l < c->layers; l++)
        for (int64_t i = 0; i < units; i++) z[i] = u[i] + (l ? activation(c, z[i]) : 0) + named(n, "b", l)[i / each];
    for (int64_t i = 0; i < units; i++) z[i] = activation(c, z[i]);
    for (int64_t j = 0; j < c->d; j++)
        y[j] = last[c->position_biases ? j % channels * (c->d / channels) + j / channels : j % channels];
    convolve(c, w, c->h, stride, c->padding, false, y, z);
    convolve(c, v, channels, 1, middle, true, x, u);
    convolve(c, v, channels, 1, middle, false, y, u);
}

static void mmgn(const network *n, const mgn_exact *x, mgn_exact *y) {
    const mgn_model_config *c = n->c;
    quadratic(named(n, "V", -1), x, c->d, y);
    for (int64_t j = 0; j < c->d; j++) y[j] += named(n, "a", -1)[j];
    for (int k = 0; k < c->layers; k++) {
        const mgn_exact *w = named(n, "W", k), *b = named(n, "b", k);
        mgn_exact z[H], part[D], s = 0;
        times(w, x, c->h, c->d, z);
        for (int64_t i = 0; i < c->h; i++) {
            s += primitive(c, z[i] + b[i]);
            z[i] = activation(c, z[i] + b[i]);
        }
        transposed_times(w, z, c->h, c->d, part);
        for (int64_t j = 0; j < c->d; j++) y[j] += s * part[j];
    }
}

/* ---- LSE ---- */

static void lse(const network *n, const mgn_exact *x, mgn_exact *y) {
    const mgn_model_config *c = n->c;
    quadratic(named(n, "V", -1), x, c->d, y);
    for (int64_t j = 0; j < c->d; j++) y[j] += named(n, "a", -1)[j];
    for (int k = 0; k < c->layers; k++) {
        const mgn_exact beta = positive(named(n, "beta", -1)[k]);
        mgn_exact z[H], part[D], sum = 0;
        times(named(n, "W", k), x, c->h, c->d, z);
        for (int64_t i = 0; i < c->h; i++) sum += z[i] = expl(beta * (z[i] + named(n, "b", k)[i]));
        transposed_times(named(n, "W", k), z, c->h, c->d, part);
        for (int64_t j = 0; j < c->d; j++) y[j] += part[j] / sum;
    }
}

/* ---- C-GradNet, M-GradNet ---- */

static void cgradnet(const network *n, const mgn_exact *x, mgn_exact *y) {
    const mgn_model_config *c = n->c;
    mgn_exact u[H], units[H];
    times(named(n, "W", -1), x, c->h, c->d, u);
    for (int64_t i = 0; i < c->h; i++) {
        mgn_exact z = scale(n, "B", 0, i) * (u[i] + named(n, "b", 0)[i]);
        for (int l = 1; l < c->layers; l++)
            z = scale(n, "B", l, i) * (u[i] + named(n, "b", l)[i]) + scale(n, "A", l - 1, i) * activation(c, z);
        units[i] = scale(n, "A", (int)c->layers - 1, i) * activation(c, z);
    }
    transposed_times(named(n, "W", -1), units, c->h, c->d, y);
    for (int64_t j = 0; j < c->d; j++) y[j] += named(n, "bL", -1)[j];
}

static void mgradnet(const network *n, const mgn_exact *x, mgn_exact *y) {
    const mgn_model_config *c = n->c;
    memcpy(y, named(n, "b", -1), (size_t)c->d * sizeof *y);
    for (int k = 0; k < c->layers; k++) {
        const mgn_exact beta = positive(named(n, "beta", -1)[k]), a = scale(n, "a", -1, k);
        mgn_exact z[H], part[D];
        times(named(n, "W", k), x, c->h, c->d, z);
        for (int64_t i = 0; i < c->h; i++) z[i] = activation(c, beta * (z[i] + named(n, "c", k)[i]));
        transposed_times(named(n, "W", k), z, c->h, c->d, part);
        for (int64_t j = 0; j < c->d; j++) y[j] += a * part[j];
    }
}

static void maxquad(const network *n, const mgn_exact *x, mgn_exact *y) {
    const mgn_model_config *c = n->c;
    const mgn_exact beta = positive(named(n, "beta", -1)[0]);
    mgn_exact total = 0, part[D], own;
    memset(y, 0, (size_t)c->d * sizeof *y);
    for (int k = 0; k < c->layers; k++) { /* weights that are not shares yet */
        mgn_exact u[H], q = named(n, "c", -1)[k];
        times(named(n, "V", k), x, c->h, c->d, u);
        for (int64_t i = 0; i < c->h; i++) q += u[i] * u[i] / 2;
        for (int64_t j = 0; j < c->d; j++) q += named(n, "a", k)[j] * x[j];
        own = expl(beta * q);
        transposed_times(named(n, "V", k), u, c->h, c->d, part);
        for (int64_t j = 0; j < c->d; j++) y[j] += own * (part[j] + named(n, "a", k)[j]);
        total += own;
    }
    for (int64_t j = 0; j < c->d; j++) y[j] /= total;
}

/* ---- ICNN: z_l and its gradient by x, (h, d), layer by layer ---- */

static void icnn(const network *n, const mgn_exact *x, mgn_exact *y) {
    const mgn_model_config *c = n->c;
    const int64_t h = c->h, d = c->d;
    mgn_exact z[H] = {0}, gradient[H * D] = {0};
    for (int l = 0; l < c->layers; l++) {
        const mgn_exact *wx = named(n, "Wx", l), *wz = l ? named(n, "Wz", l) : NULL;
        mgn_exact a[H], rise[H * D];
        times(wx, x, h, d, a);
        memcpy(rise, wx, (size_t)(h * d) * sizeof *rise);
        for (int64_t i = 0; i < h; i++) {
            a[i] += named(n, "b", l)[i];
            for (int64_t k = 0; l && k < h; k++) {
                const mgn_exact weight = positive(wz[i * h + k]);
                a[i] += weight * z[k];
                for (int64_t j = 0; j < d; j++) rise[i * d + j] += weight * gradient[k * d + j];
            }
            const mgn_exact steep = slope(c, a[i]);
            for (int64_t j = 0; j < d; j++) rise[i * d + j] *= steep;
        }
        for (int64_t i = 0; i < h; i++) z[i] = activation(c, a[i]);
        memcpy(gradient, rise, (size_t)(h * d) * sizeof *rise);
    }
    for (int64_t j = 0; j < d; j++) {
        y[j] = 0;
        for (int64_t i = 0; i < h; i++) y[j] += positive(named(n, "w", -1)[i]) * gradient[i * d + j];
    }
}

/* ---- dense ICNN: likewise, every layer's units weighed; s(8 a) / 8 in place of s ---- */

static void dicnn(const network *n, const mgn_exact *x, mgn_exact *y) {
    const mgn_model_config *c = n->c;
    const int64_t h = c->h, d = c->d;
    mgn_exact z[H] = {0}, gradient[H * D] = {0};
    quadratic(named(n, "V", -1), x, d, y);
    for (int64_t j = 0; j < d; j++) y[j] += named(n, "a", -1)[j];
    for (int l = 0; l < c->layers; l++) {
        const mgn_exact *W = named(n, "W", l), *U = l ? named(n, "U", l) : NULL;
        mgn_exact a[H], rise[H * D];
        times(W, x, h, d, a);
        memcpy(rise, W, (size_t)(h * d) * sizeof *rise);
        for (int64_t i = 0; i < h; i++) {
            a[i] += named(n, "b", l)[i];
            for (int64_t k = 0; l && k < h; k++) {
                a[i] += positive(U[i * h + k]) * z[k];
                for (int64_t j = 0; j < d; j++) rise[i * d + j] += positive(U[i * h + k]) * gradient[k * d + j];
            }
            for (int64_t j = 0; j < d; j++) {
                rise[i * d + j] *= slope(c, 8 * a[i]);
                y[j] += positive(named(n, "w", l)[i]) * rise[i * d + j];
            }
        }
        for (int64_t i = 0; i < h; i++) z[i] = activation(c, 8 * a[i]) / 8;
        memcpy(gradient, rise, (size_t)(h * d) * sizeof *rise);
    }
}

/* ---- ICGN: V(t x) as a matrix, summed along the ray by the quadrature that defines a deep one; one layer is exact ---- */

static void add_point(const network *n, const mgn_exact *x, mgn_exact t, mgn_exact weight, mgn_exact *y) {
    const mgn_model_config *c = n->c;
    const int64_t d = c->d;
    mgn_exact z[H], V[H * D], along[H], back[D];
    for (int64_t j = 0; j < d; j++) z[j] = t * x[j];
    for (int64_t j = 0; j < d * d; j++) V[j] = j % (d + 1) == 0;
    for (int l = 0; l < c->layers; l++) {
        const int64_t width = l ? c->h : d;
        const mgn_exact *w = named(n, "W", l);
        mgn_exact a[H], next[H * D];
        times(w, z, c->h, width, a);
        for (int64_t i = 0; i < c->h; i++) {
            a[i] += named(n, "b", l)[i];
            transposed_times(V, w + i * width, width, d, next + i * d);
            const mgn_exact rise = slope(c, a[i]);
            for (int64_t j = 0; j < d; j++) next[i * d + j] *= rise;
            if (l + 1 < c->layers) z[i] = activation(c, a[i]);
        }
        memcpy(V, next, (size_t)(c->h * d) * sizeof *next);
    }
    times(V, x, c->h, d, along);
    transposed_times(V, along, c->h, d, back);
    for (int64_t j = 0; j < d; j++) y[j] += weight * back[j];
}

/* The integral of the squared slope, with t = tanh z (of z / 2 for the logistic function, a factor 1/8): t - t^3 / 3. */
static mgn_exact squared_slope(const mgn_model_config *c, mgn_exact z) {
    if (c->activation == MGN_SOFTPLUS) return activation(c, z) - slope(c, z);
    const mgn_exact t = tanhl(c->activation == MGN_TANH ? z : z / 2), integral = t - t * t * t / 3;
    return c->activation == MGN_TANH ? integral : integral / 8;
}

static void icgn(const network *n, const mgn_exact *x, mgn_exact *y) {
    const mgn_model_config *c = n->c;
    for (int64_t j = 0; j < c->d; j++) y[j] = 0;
    if (c->layers > 1)
        for (int i = 0; i < MGN_RAY_POINTS; i++)
            add_point(n, x, (mgn_exact)mgn_ray_points[i], (mgn_exact)mgn_ray_weights[i], y);
    else {
        const mgn_exact *w = named(n, "W", 0), *b = named(n, "b", 0);
        mgn_exact z[H];
        times(w, x, c->h, c->d, z);
        for (int64_t i = 0; i < c->h; i++) z[i] = squared_slope(c, z[i] + b[i]) - squared_slope(c, b[i]);
        transposed_times(w, z, c->h, c->d, y);
    }
}

/* ---- bounds: B (d, d) of the weights, see host/model ---- */

/* B += factor * M^T diag(by) M, `by` (m) being NULL for ones. */
static void add_gram(const mgn_exact *m, const mgn_exact *by, mgn_exact factor, int64_t rows, int64_t d, mgn_exact *B) {
    for (int64_t k = 0; k < rows; k++)
        for (int64_t i = 0; i < d; i++)
            for (int64_t j = 0; j < d; j++) B[i * d + j] += factor * (by ? by[k] : 1) * m[k * d + i] * m[k * d + j];
}

static void cmgn_bound(const network *n, mgn_exact *B) {
    mgn_exact sum = 0, power = 1;
    for (int l = 0; l < n->c->layers; l++) sum += power *= steepest(n->c);
    add_gram(named(n, "W", -1), NULL, sum, n->c->h, n->c->d, B);
    add_gram(named(n, "V", -1), NULL, 1, n->c->d, n->c->d, B);
}

/* (tr B^k)^(1/k), k being the smallest power of 2 that is at least 100 ln d. */
static mgn_exact root_of_power(const mgn_exact *B, int64_t d) {
    mgn_exact power[D * D], trace = 0, last = 0;
    int k = 2;
    while (k < 100 * log((double)d)) k *= 2;
    for (int64_t i = 0; i < d; i++) trace += B[i * (d + 1)];
    if (d == 1) return trace;
    for (int64_t i = 0; i < d * d; i++) power[i] = B[i] / trace;
    for (int step = 1; step < k; step++) {
        mgn_exact next[D * D] = {0};
        for (int64_t i = 0; i < d; i++)
            for (int64_t j = 0; j < d; j++)
                for (int64_t m = 0; m < d; m++) next[i * d + j] += power[i * d + m] * B[m * d + j] / trace;
        memcpy(power, next, sizeof power);
    }
    for (int64_t i = 0; i < d; i++) last += power[i * (d + 1)];
    return trace * powl(last, 1.0L / k);
}

/* Of a kernel as a matrix (filters, entries), times how often it meets a pixel: see host/model/conv_cmgn.c. */
static mgn_exact squared_norm(const network *n, const char *name, int64_t filters, int64_t stride) {
    const int64_t k = n->c->kernel, entries = n->c->image.channels * k * k, repeats = (k + stride - 1) / stride;
    const bool by_filter = filters < entries;
    const int64_t side = by_filter ? filters : entries;
    const mgn_exact *w = named(n, name, -1);
    mgn_exact B[D * D] = {0};
    for (int64_t i = 0; i < side; i++)
        for (int64_t j = 0; j < side; j++)
            for (int64_t e = 0; e < (by_filter ? entries : filters); e++)
                B[i * side + j] +=
                    by_filter ? w[i * entries + e] * w[j * entries + e] : w[e * entries + i] * w[e * entries + j];
    return (mgn_exact)(repeats * repeats) * root_of_power(B, side);
}

static void conv_cmgn_bound(const network *n, mgn_exact *B) {
    mgn_exact sum = 0, power = 1;
    for (int l = 0; l < n->c->layers; l++) sum += power *= steepest(n->c);
    B[0] = sum * squared_norm(n, "W", n->c->h, mgn_model_stride(n->c)) + squared_norm(n, "V", n->c->image.channels, 1);
}

static void lse_bound(const network *n, mgn_exact *B) {
    for (int k = 0; k < n->c->layers; k++)
        add_gram(named(n, "W", k), NULL, positive(named(n, "beta", -1)[k]) / 2, n->c->h, n->c->d, B);
    add_gram(named(n, "V", -1), NULL, 1, n->c->d, n->c->d, B);
}

static void cgradnet_bound(const network *n, mgn_exact *B) {
    mgn_exact steep[H];
    for (int64_t i = 0; i < n->c->h; i++) {
        steep[i] = 0;
        for (int l = 0; l < n->c->layers; l++)
            steep[i] = fabsl(scale(n, "A", l, i)) * steepest(n->c) * (fabsl(scale(n, "B", l, i)) + steep[i]);
    }
    add_gram(named(n, "W", -1), steep, 1, n->c->h, n->c->d, B);
}

static void mgradnet_bound(const network *n, mgn_exact *B) {
    for (int k = 0; k < n->c->layers; k++)
        add_gram(named(n, "W", k), NULL,
                 fabsl(scale(n, "a", -1, k)) * positive(named(n, "beta", -1)[k]) * steepest(n->c), n->c->h, n->c->d, B);
}

/* Slopes and bends of the units, layer by layer, `most` being the largest s''. Wz may also be called U. */
static mgn_exact convex_bound(const network *n, const char *x_weights, const char *z_weights, bool all,
                              mgn_exact most) {
    const int64_t h = n->c->h, d = n->c->d;
    mgn_exact steep[H] = {0}, bent[H] = {0}, sum = 0;
    for (int l = 0; l < n->c->layers; l++) {
        mgn_exact next[H], curve[H];
        for (int64_t i = 0; i < h; i++) {
            mgn_exact square = 0;
            for (int64_t j = 0; j < d; j++) square += powl(named(n, x_weights, l)[i * d + j], 2);
            next[i] = sqrtl(square);
            curve[i] = 0;
            for (int64_t k = 0; l && k < h; k++) {
                next[i] += positive(named(n, z_weights, l)[i * h + k]) * steep[k];
                curve[i] += positive(named(n, z_weights, l)[i * h + k]) * bent[k];
            }
            curve[i] += next[i] * next[i] * most;
            if (all || l == n->c->layers - 1) sum += positive(named(n, "w", all ? l : -1)[i]) * curve[i];
        }
        memcpy(steep, next, sizeof steep);
        memcpy(bent, curve, sizeof bent);
    }
    return sum;
}

static void icnn_bound(const network *n, mgn_exact *B) {
    B[0] = convex_bound(n, "Wx", "Wz", false, 0.25L); /* the others are 0 */
}

static void dicnn_bound(const network *n, mgn_exact *B) {
    const mgn_exact units = convex_bound(n, "W", "U", true, 2);
    add_gram(named(n, "V", -1), NULL, 1, n->c->d, n->c->d, B);
    for (int64_t i = 0; i < n->c->d; i++) B[i * (n->c->d + 1)] += units;
}

static void icgn_bound(const network *n, mgn_exact *B) {
    add_gram(named(n, "W", 0), NULL, steepest(n->c) * steepest(n->c), n->c->h, n->c->d, B);
}

/* ---- all kinds ---- */

static const struct equations {
    const char *kind;
    void (*map)(const network *n, const mgn_exact *x, mgn_exact *y);
    void (*bound)(const network *n, mgn_exact *B);
} kinds[] = {
    {"cmgn", cmgn, cmgn_bound},
    {"mmgn", mmgn, NULL},
    {"icnn", icnn, icnn_bound},
    {"dicnn", dicnn, dicnn_bound},
    {"icgn", icgn, icgn_bound},
    {"cgradnet", cgradnet, cgradnet_bound},
    {"mgradnet", mgradnet, mgradnet_bound},
    {"conv-cmgn", conv_cmgn, conv_cmgn_bound},
    {"lse", lse, lse_bound},
    {"maxquad", maxquad, NULL},
};

static const struct equations *find(const char *kind) {
    for (size_t i = 0; i < MGN_COUNT(kinds); i++)
        if (strcmp(kinds[i].kind, kind) == 0) return &kinds[i];
    return NULL;
}

bool mgn_oracle_knows_model(const char *kind) { return find(kind) != NULL; }

/* The weights W, Wx and V, which a bound multiplies; not Wz, nor biases and scales. */
static bool is_weight(const char *label) { return (*label == 'W' && label[1] != 'z') || *label == 'V'; }

static mgn_exact factor(const network *n, const struct equations *e) {
    const bool scalar = e->bound == icnn_bound || e->bound == conv_cmgn_bound; /* one number, not a matrix */
    mgn_exact B[D * D] = {0};
    e->bound(n, B);
    const mgn_exact most = root_of_power(B, scalar ? 1 : n->c->d), allowed = (mgn_exact)n->c->lipschitz;
    return most > allowed ? sqrtl(allowed / most) : 1;
}

void mgn_oracle_map(const mgn_model *model, const mgn_exact *flat, const mgn_exact *x, mgn_exact *y) {
    const mgn_model_config *c = mgn_model_get_config(model);
    const struct equations *e = find(c->kind);
    network n = {model, c, flat};
    mgn_exact scaled[MOST_PARAMETERS];
    if (c->lipschitz > 0) {
        const mgn_exact by = factor(&n, e);
        const mgn_parameter *list;
        const size_t count = mgn_model_parameters(model, &list);
        for (size_t i = 0; i < count; i++)
            for (int64_t j = 0; j < mgn_shape_count(list[i].shape); j++)
                scaled[list[i].offset + j] = flat[list[i].offset + j] * (is_weight(list[i].label) ? by : 1);
        n.flat = scaled;
    }
    e->map(&n, x, y);
}
