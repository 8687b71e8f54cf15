/* The convolutional C-MGN: the cascade of cmgn.c where W and V are convolutions of a picture,
 *
 *     z_0 = W * x + b_0,   z_l = W * x + s(z_(l-1)) + b_l  (l = 1 .. L-1),   g(x) = W' * s(z_(L-1)) + V' * V * x + b_L,
 *
 * W * being a convolution with h filters, W' * its transpose. A convolution is a matrix with many equal entries, so all that
 * makes a C-MGN the gradient of a convex function holds: unit i sees x only through u_i = (W * x)_i, by an increasing
 * function, and the Jacobian W' D W + V' V is symmetric and positive semidefinite whatever the parameters are.
 *
 * V has as many filters as the picture has channels, moves by single pixels and sees the whole picture, so that V' V can be
 * the identity. Biases are one number per filter or channel, shared by all positions, which lets the map commute with
 * shifts; or one per position. */
#include "model/model.h"

/* A filter's positions along an axis. */
static int64_t positions(const mgn_model_config *c, int64_t length) {
    return (length + 2 * c->padding - c->kernel) / mgn_model_stride(c) + 1;
}

static mgn_status check(const mgn_model_config *c) {
    const mgn_image_shape s = c->image;
    const int64_t most = 1 << 14;
    if (s.height < 1 || s.width < 1 || s.channels < 1 || s.height > most || s.width > most || s.channels > most ||
        s.height * s.width * s.channels != c->d)
        return mgn_fail(
            MGN_ERR_ARGUMENT,
            "conv-cmgn: pictures of height x width x channels = d numbers were expected; %lld x %lld x %lld "
            "and d=%lld found",
            (long long)s.height, (long long)s.width, (long long)s.channels, (long long)c->d);
    const int64_t stride = mgn_model_stride(c), side = MGN_MIN(s.height, s.width) + 2 * c->padding;
    if (c->kernel < 1 || c->kernel > side || stride < 1 || stride > c->kernel || c->padding < 0 ||
        c->padding >= c->kernel)
        return mgn_fail(
            MGN_ERR_ARGUMENT,
            "conv-cmgn: a kernel that fits the picture with its padding, and padding below and stride up to "
            "the kernel's side were expected; kernel %lld, stride %lld and padding %lld found for %lld x "
            "%lld pixels",
            (long long)c->kernel, (long long)stride, (long long)c->padding, (long long)s.height, (long long)s.width);
    return MGN_OK;
}

static void describe(const mgn_model_config *c, mgn_parameter_list *list) {
    const mgn_image_shape s = c->image;
    const int64_t k = c->kernel, height = positions(c, s.height), width = positions(c, s.width);
    const bool shared = !c->position_biases;
    const mgn_shape units = shared ? MGN_SHAPE(c->h, 1, 1) : MGN_SHAPE(c->h, height, width);
    mgn_parameter_add(list, "W", -1, MGN_SHAPE(c->h, s.channels, k, k), MGN_WEIGHT);
    for (int l = 0; l < c->layers; l++) mgn_parameter_add(list, "b", l, units, MGN_BIAS);
    mgn_parameter_add(list, "V", -1, MGN_SHAPE(s.channels, s.channels, k, k), MGN_ROLE_V);
    mgn_parameter_add(list, "bL", -1, shared ? MGN_SHAPE(s.channels, 1, 1) : MGN_SHAPE(s.channels, s.height, s.width),
                      MGN_BIAS);
}

/* Rows (n, d) of interleaved pixels as planes (n, channels, height, width), and back. */
static mgn_node *planes_of(const mgn_model_config *c, mgn_node *x) {
    const mgn_image_shape s = c->image;
    mgn_node *pixels = mgn_reshape(x, MGN_SHAPE(mgn_node_shape(x).dim[0], s.height, s.width, s.channels));
    return mgn_permute(pixels, (const int[]){0, 3, 1, 2});
}

static mgn_node *rows_of(const mgn_model_config *c, mgn_node *planes) {
    return mgn_reshape(mgn_permute(planes, (const int[]){0, 2, 3, 1}), MGN_SHAPE(mgn_node_shape(planes).dim[0], c->d));
}

static mgn_node *quadratic_units(const mgn_model_config *c, mgn_node *V, mgn_node *x) {
    return mgn_conv(x, V, 1, c->kernel / 2);
}

/* A column (n, 1) repeated, or a row (1, n): (n, times) or (times, n) with every entry of `b` in its row or column. Products
 * with ones make a matrix of them, which wide programs can read, and sums over positions of their gradients. */
static mgn_node *repeat(mgn_node *b, int64_t n, int64_t times, bool as_columns) {
    mgn_node *one = mgn_constant(mgn_node_graph(b), 1);
    return as_columns ? mgn_matmul(mgn_reshape(b, MGN_SHAPE(n, 1)), mgn_broadcast(one, MGN_SHAPE(1, times)))
                      : mgn_matmul(mgn_broadcast(one, MGN_SHAPE(times, 1)), mgn_reshape(b, MGN_SHAPE(1, n)));
}

/* Biases of units as the row of all their positions. */
static mgn_node *unit_biases(const mgn_model_config *c, mgn_node *b, int64_t area) {
    return mgn_reshape(c->position_biases ? b : repeat(b, c->h, area, true), MGN_SHAPE(c->h * area));
}

/* The last bias as a row of interleaved pixels. */
static mgn_node *last_bias(const mgn_model_config *c, mgn_node *b) {
    const int64_t area = c->image.height * c->image.width, channels = c->image.channels;
    mgn_node *pixels = c->position_biases ? mgn_permute(b, (const int[]){1, 2, 0}) : repeat(b, channels, area, false);
    return mgn_reshape(pixels, MGN_SHAPE(c->d));
}

/* Between the convolutions a picture's units are a row of a matrix, so that the cascade is one wide program, like that of
 * cmgn.c, and no pass through memory for each of its operations. */
static mgn_node *forward(const mgn_model_config *c, mgn_node *const *p, mgn_node *rows) {
    mgn_node *W = p[0], *const *b = p + 1, *V = p[1 + c->layers], *bL = p[2 + c->layers];
    const int64_t stride = mgn_model_stride(c), height = c->image.height, width = c->image.width;
    const int64_t n = mgn_node_shape(rows).dim[0], down = positions(c, height), across = positions(c, width);
    mgn_node *x = planes_of(c, rows), *z = NULL;
    mgn_node *u = mgn_reshape(mgn_conv(x, W, stride, c->padding), MGN_SHAPE(n, c->h * down * across));
    for (int64_t l = 0; l < c->layers; l++)
        z = mgn_add(l ? mgn_add(u, mgn_activate(c->activation, z)) : u, unit_biases(c, b[l], down * across));
    mgn_node *units = mgn_reshape(mgn_activate(c->activation, z), MGN_SHAPE(n, c->h, down, across));
    mgn_node *cascade = mgn_conv_transpose(units, W, stride, c->padding, height, width);
    mgn_node *quadratic = mgn_conv_transpose(quadratic_units(c, V, x), V, 1, c->kernel / 2, height, width);
    return mgn_add(rows_of(c, mgn_add(cascade, quadratic)), last_bias(c, bL));
}

/* The sum of each image's entries: (n, ..) -> (n). */
static mgn_node *sum_of_each(mgn_node *a) { return mgn_sum(a, 2 | 4 | 8); }

/* With one layer: phi = sum_i S(z_i) + |V * x|^2 / 2 + b_L x, S' = s. */
static mgn_node *potential(const mgn_model_config *c, mgn_node *const *p, mgn_node *rows) {
    mgn_node *x = planes_of(c, rows), *z = mgn_add(mgn_conv(x, p[0], mgn_model_stride(c), c->padding), p[1]);
    mgn_node *units = sum_of_each(mgn_activate_potential(c->activation, z));
    mgn_node *quadratic = mgn_scale(sum_of_each(mgn_square(quadratic_units(c, p[2], x))), 0.5);
    return mgn_add(mgn_add(units, quadratic), sum_of_each(mgn_mul(x, p[3])));
}

static bool has_potential(const mgn_model_config *c) { return c->layers == 1 && c->activation != MGN_SOFTPLUS; }

/* A kernel (k, c, a, a) as a matrix M (k, c a a) is applied to patches, and the matrix that cuts a picture into patches
 * copies each pixel at most r^2 times, r = ceil(a / stride): the convolution's norm is at most r |M|. (1, 1). */
static mgn_node *squared_norm(mgn_node *kernel, int64_t stride) {
    const mgn_shape s = mgn_node_shape(kernel);
    const int64_t columns = s.dim[1] * s.dim[2] * s.dim[3], repeats = (s.dim[2] + stride - 1) / stride;
    mgn_node *M = mgn_reshape(kernel, MGN_SHAPE(s.dim[0], columns));
    mgn_node *most = mgn_largest_eigenvalue(mgn_gram(s.dim[0] < columns ? mgn_transpose(M) : M));
    return mgn_reshape(mgn_scale(most, (double)(repeats * repeats)), MGN_SHAPE(1, 1));
}

/* As in cmgn.c, of the two convolutions' norms. */
static mgn_node *bound(const mgn_model_config *c, mgn_node *const *p) {
    double slope = 0;
    for (int64_t l = 0; l < c->layers; l++) slope = mgn_activation_slope(c->activation) * (1 + slope);
    return mgn_add(mgn_scale(squared_norm(p[0], mgn_model_stride(c)), slope), squared_norm(p[1 + c->layers], 1));
}

const mgn_model_kind_info mgn_model_conv_cmgn = {
    .label = "conv-cmgn",
    .usual = MGN_LOGISTIC,
    .activations = 1 << MGN_LOGISTIC | 1 << MGN_TANH | 1 << MGN_SOFTPLUS,
    .has_pictures = true,
    .check = check,
    .describe = describe,
    .forward = forward,
    .potential = potential,
    .has_potential = has_potential,
    .bound = bound,
};
