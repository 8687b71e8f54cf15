/* Convolution of images and its two transposes.
 *
 * With y_kij = sum_cab w_kcab x_c(is+a-p)(js+b-p), x being 0 outside of the image, <y', y> is linear in x, in w and in y',
 * and each of the three ops is its gradient by one of them:
 *     conv(x, w)                  by y'        (what is called a convolution; w is not flipped)
 *     conv_transpose(y', w)       by x
 *     conv_kernel_gradient(x, y') by w
 * So the derivatives of each are made of the other two, and the family is closed under differentiation. */
#include "graph/graph.h"

enum { MOST_STEP = 1 << 12 }; /* stride, padding */

/* Positions of a kernel along one axis; 0: it does not fit. */
static int64_t positions(int64_t length, int64_t kernel, int64_t stride, int64_t padding) {
    return length + 2 * padding < kernel ? 0 : (length + 2 * padding - kernel) / stride + 1;
}

/* A node of the given op; `images` gives n, `x` and `w` are the shapes that the convolution reads, whoever has them. */
static mgn_node *conv(mgn_op op, mgn_node *const in[2], mgn_shape x, mgn_shape w, mgn_shape y, int64_t stride,
                      int64_t padding) {
    const bool by_image = op == MGN_OP_conv_transpose, by_kernel = op == MGN_OP_conv_kernel_gradient;
    char a[64], b[64];
    bool fits = in[0]->kind == MGN_REAL && in[1]->kind == MGN_REAL && stride >= 1 && stride <= MOST_STEP &&
                padding >= 0 && padding <= MOST_STEP && x.dim[0] == y.dim[0] && x.dim[1] == w.dim[1] &&
                y.dim[1] == w.dim[0] && w.dim[0] >= 1 && w.dim[1] >= 1;
    for (int i = 2; fits && i < 4; i++)
        fits = x.dim[i] >= 1 && w.dim[i] >= 1 && y.dim[i] >= 1 && x.dim[i] < INT64_MAX / 4 &&
               y.dim[i] == positions(x.dim[i], w.dim[i], stride, padding);
    if (!fits)
        return mgn_graph_fail(in[0]->graph,
                              "%s: images (n, c, h, w), kernels (k, c, a, b) and results (n, k, i, j) that fit were "
                              "expected; %s and %s with stride %lld and padding %lld found",
                              mgn_op_infos[op].label, mgn_shape_text(in[0]->shape, a), mgn_shape_text(in[1]->shape, b),
                              (long long)stride, (long long)padding);
    mgn_node_attributes attributes = {0};
    attributes.kernel.conv.n = x.dim[0];
    attributes.kernel.conv.channels = x.dim[1];
    attributes.kernel.conv.height = x.dim[2];
    attributes.kernel.conv.width = x.dim[3];
    attributes.kernel.conv.filters = w.dim[0];
    attributes.kernel.conv.kernel_height = w.dim[2];
    attributes.kernel.conv.kernel_width = w.dim[3];
    attributes.kernel.conv.out_height = y.dim[2];
    attributes.kernel.conv.out_width = y.dim[3];
    attributes.kernel.conv.stride = stride;
    attributes.kernel.conv.padding = padding;
    return mgn_node_new(in[0]->graph, op, MGN_REAL, by_image ? x : by_kernel ? w : y, in, 2, &attributes);
}

static bool are_images(const mgn_node *a, const mgn_node *b) { return a->shape.rank == 4 && b->shape.rank == 4; }

static mgn_node *refuse(mgn_op op, const mgn_node *a, const mgn_node *b) {
    char x[64], y[64];
    return mgn_graph_fail(a->graph, "%s: tensors of rank 4 were expected, %s and %s found", mgn_op_infos[op].label,
                          mgn_shape_text(a->shape, x), mgn_shape_text(b->shape, y));
}

/* One image repeated n times (the tangents of row_jacobian), as one image; NULL where it is none. */
static mgn_node *repeated_image(mgn_node *x) {
    mgn_node *from = x->op == MGN_OP_reshape ? x->in[0] : x;
    if (from->op != MGN_OP_broadcast || x->shape.dim[0] < 2 || from->shape.rank < 2) return NULL;
    mgn_node *one = from->in[0];
    const mgn_shape image = MGN_SHAPE(1, x->shape.dim[1], x->shape.dim[2], x->shape.dim[3]);
    if (from->shape.dim[0] != x->shape.dim[0] || mgn_shape_count(one->shape) != mgn_shape_count(image)) return NULL;
    return mgn_reshape(one, image);
}

mgn_node *mgn_conv(mgn_node *x, mgn_node *kernel, int64_t stride, int64_t padding) {
    if (!x || !kernel) return NULL;
    if (!are_images(x, kernel) || stride < 1 || padding < 0 || padding > MOST_STEP)
        return refuse(MGN_OP_conv, x, kernel);
    mgn_shape y = MGN_SHAPE(x->shape.dim[0], kernel->shape.dim[0], 0, 0);
    for (int i = 2; i < 4; i++) y.dim[i] = positions(x->shape.dim[i], kernel->shape.dim[i], stride, padding);
    mgn_node *one = repeated_image(x);
    if (one) return mgn_broadcast(mgn_conv(one, kernel, stride, padding), y);
    return conv(MGN_OP_conv, (mgn_node *[]){x, kernel}, x->shape, kernel->shape, y, stride, padding);
}

mgn_node *mgn_conv_transpose(mgn_node *y, mgn_node *kernel, int64_t stride, int64_t padding, int64_t height,
                             int64_t width) {
    if (!y || !kernel) return NULL;
    if (!are_images(y, kernel)) return refuse(MGN_OP_conv_transpose, y, kernel);
    const mgn_shape x = MGN_SHAPE(y->shape.dim[0], kernel->shape.dim[1], height, width);
    mgn_node *one = repeated_image(y);
    if (one) return mgn_broadcast(mgn_conv_transpose(one, kernel, stride, padding, height, width), x);
    return conv(MGN_OP_conv_transpose, (mgn_node *[]){y, kernel}, x, kernel->shape, y->shape, stride, padding);
}

mgn_node *mgn_conv_kernel_gradient(mgn_node *x, mgn_node *y, int64_t stride, int64_t padding, int64_t kernel_height,
                                   int64_t kernel_width) {
    if (!x || !y) return NULL;
    if (!are_images(x, y)) return refuse(MGN_OP_conv_kernel_gradient, x, y);
    const mgn_shape w = MGN_SHAPE(y->shape.dim[1], x->shape.dim[1], kernel_height, kernel_width);
    return conv(MGN_OP_conv_kernel_gradient, (mgn_node *[]){x, y}, x->shape, w, y->shape, stride, padding);
}

/* ---- derivatives ---- */

/* The op of `node` with other operands: what it is linear in. */
static mgn_node *again(const mgn_node *node, mgn_node *a, mgn_node *b) {
    const mgn_attributes *at = &node->attributes.kernel;
    const int64_t s = at->conv.stride, p = at->conv.padding;
    if (!a || !b) return NULL;
    switch (node->op) {
    case MGN_OP_conv: return mgn_conv(a, b, s, p);
    case MGN_OP_conv_transpose: return mgn_conv_transpose(a, b, s, p, at->conv.height, at->conv.width);
    default: return mgn_conv_kernel_gradient(a, b, s, p, at->conv.kernel_height, at->conv.kernel_width);
    }
}

static mgn_node *conv_jvp(mgn_node *node, mgn_node *const *tangents) {
    return mgn_add_maybe(again(node, tangents[0], node->in[1]), again(node, node->in[0], tangents[1]));
}

static mgn_node *conv_vjp(mgn_node *node, mgn_node *g, int i) {
    const mgn_attributes *at = &node->attributes.kernel;
    const int64_t s = at->conv.stride, p = at->conv.padding;
    mgn_node *x, *w, *y; /* those that are at hand; the third is asked for */
    x = w = y = NULL;
    *(node->op == MGN_OP_conv ? &y : node->op == MGN_OP_conv_transpose ? &x : &w) = g;
    if (i == 1) *(node->op == MGN_OP_conv_transpose ? &y : &x) = node->in[0];
    if (i == 0) *(node->op == MGN_OP_conv_kernel_gradient ? &y : &w) = node->in[1];
    if (!y) return mgn_conv(x, w, s, p);
    if (!x) return mgn_conv_transpose(y, w, s, p, at->conv.height, at->conv.width);
    return mgn_conv_kernel_gradient(x, y, s, p, at->conv.kernel_height, at->conv.kernel_width);
}

const mgn_rules mgn_rules_conv = {conv_vjp, conv_jvp};
