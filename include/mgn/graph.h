/* Graphs of tensor operations, their derivatives, and the plans that run them.
 *
 * A graph is precision- and device-free: its nodes are REAL tensors (float or double, chosen when it is compiled) or
 * INDEX tensors (uint32). Building never fails loudly: a bad shape makes the builder return NULL, NULL inputs give NULL
 * outputs, and mgn_plan_compile (or mgn_graph_status) reports the first failure with its sentence. So a model reads as
 * its equation does. */
#ifndef MGN_GRAPH_H
#define MGN_GRAPH_H

#include <mgn/device.h>

#ifdef __cplusplus
#include <initializer_list>
extern "C" {
#endif

typedef struct mgn_graph mgn_graph;
typedef struct mgn_node mgn_node;
typedef struct mgn_plan mgn_plan;

typedef enum mgn_kind { MGN_REAL, MGN_INDEX } mgn_kind;

MGN_API mgn_status mgn_graph_create(mgn_graph **graph);
/** Frees the graph and all of its nodes. Plans compiled from it live on. */
MGN_API void mgn_graph_destroy(mgn_graph *graph);
/** The first failure met while building, with mgn_last_error() set to its sentence; MGN_OK when there was none. */
MGN_API mgn_status mgn_graph_status(const mgn_graph *graph);
MGN_API mgn_shape mgn_node_shape(const mgn_node *node);
MGN_API mgn_graph *mgn_node_graph(const mgn_node *node);

/** Shapes by value: MGN_SHAPE(rows, 3). MGN_SCALAR is rank 0. C++ has no compound literals, and lists instead. */
#ifdef __cplusplus
#define MGN_SHAPE(...) (mgn_shape{(int)(std::initializer_list<int64_t>{__VA_ARGS__}.size()), {__VA_ARGS__}})
#define MGN_SCALAR (mgn_shape{0, {0}})
#else
#define MGN_SHAPE(...) ((mgn_shape){(int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), {__VA_ARGS__}})
#define MGN_SCALAR ((mgn_shape){0, {0}})
#endif

/* ---- leaves ---- */

/** Data, parameters and state: bound to a tensor when the graph is compiled. `name` is copied. */
MGN_API mgn_node *mgn_input(mgn_graph *graph, const char *name, mgn_kind kind, mgn_shape shape);
MGN_API mgn_node *mgn_constant(mgn_graph *graph, double value);
/** A constant table of `shape` (copied); row-major. */
MGN_API mgn_node *mgn_table(mgn_graph *graph, const double *values, mgn_shape shape);
/** The d x d identity. */
MGN_API mgn_node *mgn_identity(mgn_graph *graph, int64_t d);

/* ---- elementwise; two operands broadcast as in NumPy ---- */

MGN_API mgn_node *mgn_neg(mgn_node *a);
MGN_API mgn_node *mgn_add(mgn_node *a, mgn_node *b);
MGN_API mgn_node *mgn_sub(mgn_node *a, mgn_node *b);
MGN_API mgn_node *mgn_mul(mgn_node *a, mgn_node *b);
MGN_API mgn_node *mgn_div(mgn_node *a, mgn_node *b);
MGN_API mgn_node *mgn_square(mgn_node *a);
MGN_API mgn_node *mgn_sqrt(mgn_node *a);
MGN_API mgn_node *mgn_abs(mgn_node *a);
MGN_API mgn_node *mgn_sign(mgn_node *a); /**< -1, 0 or 1 */
MGN_API mgn_node *mgn_exp(mgn_node *a);
MGN_API mgn_node *mgn_log(mgn_node *a);
MGN_API mgn_node *mgn_log1p(mgn_node *a);
MGN_API mgn_node *mgn_tanh(mgn_node *a);
MGN_API mgn_node *mgn_logistic(mgn_node *a); /**< 1 / (1 + exp(-a)) */
MGN_API mgn_node *mgn_softplus(mgn_node *a); /**< log(1 + exp(a)), without overflow or loss of the tail */
MGN_API mgn_node *mgn_logcosh(mgn_node *a);  /**< log cosh a, relative accuracy kept near 0 */
MGN_API mgn_node *mgn_maximum(mgn_node *a, mgn_node *b);
MGN_API mgn_node *mgn_minimum(mgn_node *a, mgn_node *b);
MGN_API mgn_node *mgn_greater(mgn_node *a, mgn_node *b); /**< 1 where a > b, else 0; derivative 0 */
MGN_API mgn_node *mgn_equal(mgn_node *a, mgn_node *b);   /**< 1 where a == b, else 0; derivative 0 */
MGN_API mgn_node *mgn_select(mgn_node *condition, mgn_node *a, mgn_node *b); /**< a where condition != 0, else b */
MGN_API mgn_node *mgn_scale(mgn_node *a, double factor);                     /**< a * constant */
MGN_API mgn_node *mgn_shift(mgn_node *a, double term);                       /**< a + constant */

/* ---- layout ---- */

/** The same values; derivatives do not pass: in reverse and in forward mode it is a constant. */
MGN_API mgn_node *mgn_detach(mgn_node *a);

MGN_API mgn_node *mgn_reshape(mgn_node *a, mgn_shape shape);
MGN_API mgn_node *mgn_broadcast(mgn_node *a, mgn_shape shape);
/** Axis i of the result is axis order[i] of `a`. */
MGN_API mgn_node *mgn_permute(mgn_node *a, const int *order);
/** Swaps the last two axes. */
MGN_API mgn_node *mgn_transpose(mgn_node *a);
/** Entries begin .. begin+length-1 of one axis. */
MGN_API mgn_node *mgn_slice(mgn_node *a, int axis, int64_t begin, int64_t length);
/** `a` inside zeros: `before` entries in front, `length` entries in all, along one axis. */
MGN_API mgn_node *mgn_pad(mgn_node *a, int axis, int64_t before, int64_t length);
MGN_API mgn_node *mgn_concat(mgn_node *const *parts, int count, int axis);
/** parts of shape S joined along a new axis. */
MGN_API mgn_node *mgn_stack(mgn_node *const *parts, int count, int axis);

/* ---- reductions over the axes whose bits are set in `axes`; -1 means all; the axes disappear ---- */

MGN_API mgn_node *mgn_sum(mgn_node *a, int axes);
MGN_API mgn_node *mgn_mean(mgn_node *a, int axes);
MGN_API mgn_node *mgn_max(mgn_node *a, int axes);
/** log sum exp, shifted by the maximum. */
MGN_API mgn_node *mgn_logsumexp(mgn_node *a, int axes);

/* ---- linear algebra ---- */

/** (..., m, k) x (..., k, n) -> (..., m, n), ranks 2 or 3; a rank-2 operand is shared by the batch. */
MGN_API mgn_node *mgn_matmul(mgn_node *a, mgn_node *b);
/** The same of op(a) and op(b), op being the transpose of the last two axes where asked. */
MGN_API mgn_node *mgn_matmul_t(mgn_node *a, bool transpose_a, mgn_node *b, bool transpose_b);
/** Symmetric positive definite A (..., d, d), rank 2 or 3; only its symmetric part counts. A matrix that is not
 *  positive definite gives NaN. */
MGN_API mgn_node *mgn_spd_logdet(mgn_node *a);
MGN_API mgn_node *mgn_spd_inverse(mgn_node *a);
/** A^-1 b for b (..., d, k). */
MGN_API mgn_node *mgn_spd_solve(mgn_node *a, mgn_node *b);

/* ---- convolution: images (n, c, height, width) and kernels (k, c, a, b), in steps of `stride`, with `padding` zeros
 * round each image: y_kij = sum_cab w_kcab x_c(i stride + a - padding)(j stride + b - padding) ---- */

/** Images x and a kernel -> (n, k, (height + 2 padding - a) / stride + 1, (width + 2 padding - b) / stride + 1). */
MGN_API mgn_node *mgn_conv(mgn_node *x, mgn_node *kernel, int64_t stride, int64_t padding);
/** Its transpose in x: y (n, k, i, j) and a kernel -> (n, c, height, width), for which conv gives (i, j). */
MGN_API mgn_node *mgn_conv_transpose(mgn_node *y, mgn_node *kernel, int64_t stride, int64_t padding, int64_t height,
                                     int64_t width);
/** Its transpose in the kernel: images x and y (n, k, i, j) -> (k, c, kernel_height, kernel_width). */
MGN_API mgn_node *mgn_conv_kernel_gradient(mgn_node *x, mgn_node *y, int64_t stride, int64_t padding,
                                           int64_t kernel_height, int64_t kernel_width);

/* ---- rows by index ---- */

/** rows a[index[i]], a (n, ...), index (m) -> (m, ...). */
MGN_API mgn_node *mgn_gather_rows(mgn_node *a, mgn_node *index);
/** zeros (rows, ...) with a[i] added to row index[i], in the order of i. */
MGN_API mgn_node *mgn_scatter_rows(mgn_node *a, mgn_node *index, int64_t rows);

/* ---- point clouds: sums over all pairs of points, in memory that grows with their number, not with that of the pairs.
 * Coordinates must be finite; heights may be -INFINITY, which leaves the point out. ---- */

/** log sum_j exp(h_j - |x_i - y_j|^2 / 2): points x (n, d) and y (m, d), heights h (m) -> (n). For a temperature
 *  epsilon, divide the points by its square root. */
MGN_API mgn_node *mgn_softmin(mgn_node *x, mgn_node *y, mgn_node *h);
/** sum_j exp(f_i + h_j - |x_i - y_j|^2 / 2) v_j: f (n), h (m), v (m, e) -> (n, e). With f = -softmin, averages of v.
 *  In float32, exponentials below 2^-100 count as 0. */
MGN_API mgn_node *mgn_gibbs(mgn_node *x, mgn_node *y, mgn_node *f, mgn_node *h, mgn_node *v);
/** log sum_j exp(h_j - scale s_ij) for a matrix s (n, m) of costs: (n). */
MGN_API mgn_node *mgn_softmin_dense(mgn_node *s, mgn_node *h, double scale);
/** The softmins of both sides, softmin(x, y, h) and then softmin(y, x, f): f (n), h (m) -> (n + m). The CPU computes
 *  them in one pass where f and h are near the potentials of transport, as they are in Sinkhorn's iterations; where they
 *  are not it takes longer than two softmins do. */
MGN_API mgn_node *mgn_softmins(mgn_node *x, mgn_node *y, mgn_node *f, mgn_node *h);
/** The same of costs scale s_ij: s (n, m), f (n), h (m) -> (n + m). `symmetric` promises s = s^T; half of it may then be
 *  all that is read. */
MGN_API mgn_node *mgn_softmins_dense(mgn_node *s, mgn_node *f, mgn_node *h, double scale, bool symmetric);

/* ---- randomness: counter based (Philox 4x32-10), the same bits on every device.
 * `state` is an INDEX vector of 4: {seed low, seed high, step, stream}. ---- */

MGN_API mgn_node *mgn_uniform(mgn_node *state, mgn_shape shape, uint32_t stream); /**< (0, 1) */
MGN_API mgn_node *mgn_normal(mgn_node *state, mgn_shape shape, uint32_t stream);  /**< N(0, 1) */
/** Batch number `step % steps_per_epoch` of a keyed permutation of 0..population-1 that changes with
 *  `step / steps_per_epoch`: INDEX (batch). Entry i stands at position (step % steps_per_epoch) * stride + i, modulo
 *  the population. */
MGN_API mgn_node *mgn_shuffle(mgn_node *state, int64_t population, int64_t batch, int64_t steps_per_epoch,
                              int64_t stride);
/** The state with `steps` added to its step. */
MGN_API mgn_node *mgn_advance(mgn_node *state, uint32_t steps);

/* ---- pixels: unsigned bytes, four to a word of an INDEX vector, in the order of memory ---- */

/** words (m) -> reals of `shape` with 4 m elements, b / 255 each. */
MGN_API mgn_node *mgn_from_unorm8(mgn_node *words, mgn_shape shape);
/** The nearest bytes to 255 a, a being clipped to [0, 1] (NaN becomes 0): 4 m elements -> INDEX (m). */
MGN_API mgn_node *mgn_to_unorm8(mgn_node *a);

/* ---- derivatives: all give ordinary nodes, so they compose ---- */

/** Reverse mode: gradients[i] = d(scalar)/d(wrt[i]), of the shape of wrt[i]. */
MGN_API mgn_status mgn_grad(mgn_node *scalar, mgn_node *const *wrt, int count, mgn_node **gradients);
/** Vector-Jacobian product: gradients[i] = sum_j <cotangents[j], d outputs[j] / d wrt[i]>. */
MGN_API mgn_status mgn_vjp(mgn_node *const *outputs, mgn_node *const *cotangents, int output_count,
                           mgn_node *const *wrt, int count, mgn_node **gradients);
/** Forward mode: derivatives[j] = sum_i d outputs[j] / d wrt[i] . tangents[i]. */
MGN_API mgn_status mgn_jvp(mgn_node *const *outputs, int output_count, mgn_node *const *wrt, mgn_node *const *tangents,
                           int count, mgn_node **derivatives);
/** Row-wise Jacobian of y (n, e) in x (n, d), each row of y depending on the same row of x: (n, e, d), by d jvp. */
MGN_API mgn_node *mgn_row_jacobian(mgn_node *y, mgn_node *x);

/* ---- plans ---- */

/** Marks a node whose value can be read after a run. */
MGN_API void mgn_output(mgn_node *node);
/** After each run, `target` (an input) holds the value `value` had; reads inside the run see the old one. */
MGN_API void mgn_assign(mgn_node *target, mgn_node *value);

typedef struct mgn_binding {
    mgn_node *input;    /**< or an output (mgn_output), whose values come to the tensor with each run */
    mgn_tensor *tensor; /**< of the node's shape; borrowed; must outlive the plan */
} mgn_binding;

/** Schedules, places all memory, prepares kernels. `real` is MGN_F32 or MGN_F64. Inputs and outputs without a binding get
 *  a tensor of the plan's own, inputs a zeroed one. Errors: what building the graph met, MEMORY, DEVICE, UNSUPPORTED (no float64). */
MGN_API mgn_status mgn_plan_compile(mgn_graph *graph, mgn_device *device, mgn_dtype real, const mgn_binding *bindings,
                                    size_t binding_count, mgn_plan **plan);
MGN_API void mgn_plan_destroy(mgn_plan *plan);
/** Enqueues `times` runs one after the other; allocates nothing, and does not wait for the device. */
MGN_API mgn_status mgn_plan_run(mgn_plan *plan, uint64_t times);
/** The tensor of an input or an output of the graph it was compiled from; NULL for any other node. Borrowed. */
MGN_API mgn_tensor *mgn_plan_tensor(const mgn_plan *plan, const mgn_node *node);

/** What a plan consists of, for reports and tests. */
typedef struct mgn_plan_info {
    size_t nodes;         /**< live nodes of the graph */
    size_t calls;         /**< kernel calls of one run */
    size_t regions;       /**< fused row programs among them */
    size_t scratch_bytes; /**< device memory for intermediate values */
} mgn_plan_info;
MGN_API mgn_plan_info mgn_plan_get_info(const mgn_plan *plan);

#ifdef __cplusplus
}
#endif
#endif
