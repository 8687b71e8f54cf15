/* The oracle of convolutions: the trilinear form <y', conv(x, w)>, term by term, each added to the entry of the operand
 * that is asked for. */
#include <math.h>

#include "check/oracle.h"

typedef struct form {
    const mgn_exact *factor[2];
    mgn_exact *out, *magnitude;
} form;

/* One term: entry p of the first operand times entry q of the second, to entry r. */
static void add(const form *f, int64_t p, int64_t q, int64_t r) {
    const mgn_exact term = f->factor[0][p] * f->factor[1][q];
    f->out[r] += term;
    if (f->magnitude) f->magnitude[r] += fabsl(term);
}

void mgn_oracle_conv(const mgn_check_case *c, const mgn_exact *const *in, mgn_exact *out, mgn_exact *magnitude) {
    const bool by_image = c->op == MGN_OP_conv_transpose, by_kernel = c->op == MGN_OP_conv_kernel_gradient;
    const int64_t *x = by_image ? c->shape.dim : c->in[0].shape.dim;
    const int64_t *w = by_kernel ? c->shape.dim : c->in[1].shape.dim;
    const int64_t *y = by_image ? c->in[0].shape.dim : by_kernel ? c->in[1].shape.dim : c->shape.dim;
    const form f = {{in[0], in[1]}, out, magnitude};
    for (int64_t e = 0; e < mgn_shape_count(c->shape); e++) {
        out[e] = 0;
        if (magnitude) magnitude[e] = 0;
    }
    const int64_t pixels = x[0] * x[1] * x[2] * x[3];
    for (int64_t p = 0; p < pixels; p++) {
        const int64_t j = p % x[3], i = p / x[3] % x[2], channel = p / x[3] / x[2] % x[1], n = p / x[3] / x[2] / x[1];
        for (int64_t q = 0; q < w[0] * w[2] * w[3]; q++) {
            const int64_t b = q % w[3], a = q / w[3] % w[2], filter = q / w[3] / w[2];
            const int64_t u = i + c->padding - a, v = j + c->padding - b; /* stride times the result's position */
            if (u < 0 || v < 0 || u % c->stride || v % c->stride || u / c->stride >= y[2] || v / c->stride >= y[3])
                continue;
            const int64_t of_w = ((filter * w[1] + channel) * w[2] + a) * w[3] + b;
            const int64_t of_y = ((n * y[1] + filter) * y[2] + u / c->stride) * y[3] + v / c->stride;
            if (by_image)
                add(&f, of_y, of_w, p);
            else if (by_kernel)
                add(&f, p, of_y, of_w);
            else
                add(&f, p, of_w, of_y);
        }
    }
}
