/* Cases of convolutions. */
#include "check/cases.h"

static mgn_node *build_conv(mgn_graph *graph, const mgn_check_case *c, mgn_node *const *in) {
    (void)graph;
    const int64_t *size = c->shape.dim;
    switch (c->op) {
    case MGN_OP_conv: return mgn_conv(in[0], in[1], c->stride, c->padding);
    case MGN_OP_conv_transpose: return mgn_conv_transpose(in[0], in[1], c->stride, c->padding, size[2], size[3]);
    default: return mgn_conv_kernel_gradient(in[0], in[1], c->stride, c->padding, size[2], size[3]);
    }
}

/* Images (n, channels, height, width) and kernels (filters, channels, a, b). */
typedef struct geometry {
    int64_t n, channels, height, width, filters, a, b, stride, padding;
} geometry;

static void conv_case(mgn_case_list *list, geometry g, unsigned flags) {
    const mgn_shape x = MGN_SHAPE(g.n, g.channels, g.height, g.width), w = MGN_SHAPE(g.filters, g.channels, g.a, g.b);
    const mgn_shape y = MGN_SHAPE(g.n, g.filters, (g.height + 2 * g.padding - g.a) / g.stride + 1,
                                  (g.width + 2 * g.padding - g.b) / g.stride + 1);
    const bool by_image = list->op == MGN_OP_conv_transpose, by_kernel = list->op == MGN_OP_conv_kernel_gradient;
    mgn_check_case *c = mgn_case_add(list,
                                     by_image    ? x
                                     : by_kernel ? w
                                                 : y,
                                     flags, "%d images %d x %d x %d, %d filters %d x %d, stride %d, padding %d",
                                     (int)g.n, (int)g.channels, (int)g.height, (int)g.width, (int)g.filters, (int)g.a,
                                     (int)g.b, (int)g.stride, (int)g.padding);
    c->stride = g.stride, c->padding = g.padding;
    mgn_case_real(list, c, by_image ? y : x, -1, 1);
    mgn_case_real(list, c, by_kernel ? y : w, -1, 1);
    c->build = build_conv;
    c->oracle = mgn_oracle_conv;
}

static void conv_cases(mgn_case_list *list) {
    const unsigned small = MGN_CASE_DERIVATIVES | MGN_CASE_SECOND | MGN_CASE_BOUNDS,
                   medium = MGN_CASE_DERIVATIVES | MGN_CASE_BOUNDS;
    conv_case(list, (geometry){1, 1, 1, 1, 1, 1, 1, 1, 0}, small);
    conv_case(list, (geometry){2, 1, 3, 4, 2, 2, 3, 1, 1}, small);
    conv_case(list, (geometry){1, 2, 5, 3, 2, 3, 2, 2, 1}, small);
    conv_case(list, (geometry){2, 3, 5, 7, 4, 3, 3, 1, 1}, medium);
    conv_case(list, (geometry){3, 2, 7, 6, 5, 5, 5, 1, 2}, medium);
    conv_case(list, (geometry){1, 3, 11, 19, 9, 4, 3, 1, 0}, medium);
    conv_case(list, (geometry){2, 2, 9, 8, 3, 3, 3, 2, 0}, medium);   /* rows and columns that no filter sees */
    conv_case(list, (geometry){2, 2, 10, 11, 3, 2, 2, 3, 1}, medium); /* gaps between the filters' positions */
    conv_case(list, (geometry){1, 2, 4, 5, 3, 2, 3, 2, 4}, medium);   /* more padding than kernel */
    conv_case(list, (geometry){1, 1, 3, 3, 1, 5, 5, 1, 1}, medium);   /* the kernel is larger than the image */
    conv_case(list, (geometry){2, 1, 1, 40, 2, 1, 9, 1, 4}, medium);  /* signals */
    conv_case(list, (geometry){4, 3, 16, 32, 13, 5, 5, 1, 2}, medium);
    conv_case(list, (geometry){17, 1, 6, 6, 2, 3, 3, 1, 1}, MGN_CASE_BOUNDS);
    conv_case(list, (geometry){1, 33, 5, 18, 18, 3, 3, 1, 1}, MGN_CASE_BOUNDS);
    conv_case(list, (geometry){1, 1, 20, 1100, 1, 3, 3, 1, 1}, MGN_CASE_BOUNDS);
    conv_case(list, (geometry){0, 2, 4, 4, 3, 3, 3, 1, 1}, MGN_CASE_DERIVATIVES);
}

void mgn_cases_conv(mgn_case_list *list) { conv_cases(list); }
void mgn_cases_conv_transpose(mgn_case_list *list) { conv_cases(list); }
void mgn_cases_conv_kernel_gradient(mgn_case_list *list) { conv_cases(list); }
