/* Monotone gradient networks: g = grad(phi) of a convex phi, from R^d to R^d. */
#ifndef MGN_MODEL_H
#define MGN_MODEL_H

#include <mgn/comm.h>
#include <mgn/graph.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Increasing scalar functions. tanh and logistic saturate, softplus does not. */
typedef enum mgn_activation { MGN_LOGISTIC, MGN_TANH, MGN_SOFTPLUS } mgn_activation;

/** How V starts: a random orthogonal matrix (QR of a Gaussian one), or independent N(0, 1) entries. */
typedef enum mgn_v_start { MGN_V_ORTHOGONAL, MGN_V_GAUSSIAN } mgn_v_start;

/** What a row of numbers is where rows are pictures: pixels from the top, their channels interleaved. */
typedef struct mgn_image_shape {
    int64_t height, width, channels;
} mgn_image_shape;

/** Reads "32x32x3": height, width and channels; "28x28" has one channel. Errors: ARGUMENT. */
MGN_API mgn_status mgn_image_shape_parse(const char *text, mgn_image_shape *shape);

/** A model's architecture. Zeros after `layers` are the usual choices, so write it with designated initialisers. */
typedef struct mgn_model_config {
    char kind[16];             /**< "cmgn", "mmgn", ...: mgn_model_kind lists them */
    int64_t d;                 /**< dimension of the space */
    int64_t h;                 /**< hidden width; conv-cmgn: filters */
    int64_t layers;            /**< layers of a cascade or of a network; modules of a modular kind */
    mgn_activation activation; /**< mgn_model_usual_activation, or another that the kind admits */
    mgn_v_start v;             /**< cmgn, mmgn, conv-cmgn (orthogonal: by channels, at each pixel) */
    bool signed_scales;    /**< cgradnet, mgradnet: learnable scales of either sign. The map is still a gradient, but
                                    need not be monotone */
    double lipschitz;      /**< K > 0: weights are scaled, in the graph, so that |g(x) - g(y)| <= K |x - y| whatever the
                                    parameters are; 0: no bound */
    mgn_image_shape image; /**< conv-cmgn: what a row is, of d numbers in all */
    int64_t kernel;        /**< conv-cmgn: the side of the filters */
    int64_t stride, padding; /**< conv-cmgn: steps of the filters W (0 means 1), and zeros round the picture */
    bool position_biases;    /**< conv-cmgn: biases of every position; else they are shared by all of a filter */
} mgn_model_config;

typedef struct mgn_model mgn_model;

/** Names of the kinds there are; NULL past the last. */
MGN_API const char *mgn_model_kind(size_t index);
MGN_API const char *mgn_activation_name(mgn_activation activation);
/** Errors: ARGUMENT (unknown name). */
MGN_API mgn_status mgn_activation_parse(const char *text, mgn_activation *activation);

/** The usual activation of a kind: tanh for mmgn, logistic for cmgn, ... */
MGN_API mgn_activation mgn_model_usual_activation(const char *kind);

/** A model with random parameters: weights and biases N(0, 1), V as `config->v` says, non-negative scales around 1.
 *  Errors: ARGUMENT (unknown kind, sizes, an activation, signs or a Lipschitz bound that the kind does not admit), MEMORY. */
MGN_API mgn_status mgn_model_create(const mgn_model_config *config, uint64_t seed, mgn_model **model);
MGN_API void mgn_model_destroy(mgn_model *model);
MGN_API mgn_status mgn_model_clone(const mgn_model *model, mgn_model **copy);
MGN_API const mgn_model_config *mgn_model_get_config(const mgn_model *model);
/** Whether the map is a gradient (its Jacobian symmetric), and whether it is monotone as well (its Jacobian positive
 *  semidefinite), whatever the parameters are. */
MGN_API bool mgn_model_is_gradient(const mgn_model *model);
MGN_API bool mgn_model_is_monotone(const mgn_model *model);

/** All parameters are one flat vector with named views. */
typedef struct mgn_parameter {
    const char *label; /**< "W", "b0", "V" */
    mgn_shape shape;
    int64_t offset; /**< into the flat vector */
} mgn_parameter;

MGN_API int64_t mgn_model_parameter_count(const mgn_model *model);
/** The flat vector, in double; writable. */
MGN_API double *mgn_model_values(mgn_model *model);
MGN_API size_t mgn_model_parameters(const mgn_model *model, const mgn_parameter **parameters);

/** A frame that the map is seen through: g(x) = offset + factor A^T f(A (x - shift)), f being the map that the parameters
 *  make. It is fixed, not learned; gradients of convex functions stay that. It brings data of any scale and place to where
 *  the units of every kind bend. */
typedef struct mgn_model_frame {
    const double *shift;  /**< (d) */
    const double *matrix; /**< A (d, d), or (d) where it is diagonal */
    const double *offset; /**< (d) */
    double factor;        /**< positive */
    bool is_diagonal;
} mgn_model_frame;

/** Copies the frame, or takes it away (NULL). A Lipschitz bound holds for the map with its frame. Errors: ARGUMENT (numbers
 *  that are not finite, or a factor that is not positive), MEMORY. */
MGN_API mgn_status mgn_model_set_frame(mgn_model *model, const mgn_model_frame *frame);
/** NULL where there is none; valid until the frame is set again. */
MGN_API const mgn_model_frame *mgn_model_get_frame(const mgn_model *model);

/** g(x) row by row: `flat` (parameter count), x (n, d) -> (n, d). */
MGN_API mgn_node *mgn_model_forward(const mgn_model *model, mgn_node *flat, mgn_node *x);
/** phi(x), (n, d) -> (n), with grad phi = g, where it has a closed form; NULL elsewhere (mgn_map_potential integrates
 *  instead). */
MGN_API mgn_node *mgn_model_potential(const mgn_model *model, mgn_node *flat, mgn_node *x);
MGN_API bool mgn_model_has_potential(const mgn_model *model);

/** safetensors: a float32 tensor per parameter, the architecture in the metadata. */
MGN_API mgn_status mgn_model_save(const mgn_model *model, const char *path);
/** Errors: IO; FORMAT (damaged file, metadata or shapes that disagree with the architecture); NUMERIC (weights that are
 *  not finite). */
MGN_API mgn_status mgn_model_load(const char *path, mgn_model **model);

/* ---- maps: a model on a device, ready to be evaluated ---- */

typedef struct mgn_map mgn_map;

/** `real`: MGN_F32 or MGN_F64. The parameters are copied: later changes of the model do not show. */
MGN_API mgn_status mgn_map_create(const mgn_model *model, mgn_device *device, mgn_dtype real, mgn_map **map);
MGN_API void mgn_map_destroy(mgn_map *map);
/** From here on all processes of `comm` (borrowed; NULL: none) ask this map the same questions, in the same order and about the
 *  same rows: each answers a part of them, and all get all answers, with the bits of one process on such a device. Whatever fails
 *  on one of them fails on all. mgn_map_apply_bytes alone is not shared. */
MGN_API void mgn_map_share(mgn_map *map, mgn_comm *comm);
/** The d of its model. */
MGN_API int64_t mgn_map_dimension(const mgn_map *map);

/** y = g(x): n rows of d floats, in place allowed. Rows are worked off in chunks, so n may be large.
 *  Errors: NUMERIC (a result is not finite; names row and column), DEVICE. */
MGN_API mgn_status mgn_map_apply(mgn_map *map, const float *x, int64_t n, float *y);
/** The same for pixels: n rows of d bytes, b standing for b / 255; results are clipped and rounded to the nearest byte. */
MGN_API mgn_status mgn_map_apply_bytes(mgn_map *map, const uint8_t *x, int64_t n, uint8_t *y);
/** Jacobians (n, d, d); symmetric positive semidefinite where the model is monotone.
 *  Errors: NUMERIC (an entry is not finite; names the row), DEVICE. */
MGN_API mgn_status mgn_map_jacobian(mgn_map *map, const float *x, int64_t n, double *jacobian);

/** What the Jacobians are like over rows of data. Eigenvalues are those of the symmetric part (J + J^T) / 2, in double:
 *  a differentiable map is monotone exactly where none of them is negative. */
typedef struct mgn_jacobian_stats {
    int64_t rows;
    double smallest;      /**< smallest eigenvalue of all rows */
    int64_t smallest_row; /**< the first row that has it */
    double largest;       /**< largest eigenvalue of all rows: the Lipschitz constant seen, where J is symmetric and the
                               map monotone */
    double asymmetry;     /**< most of max |J_ij - J_ji| / max |J_ij| in a row */
    int64_t
        nonmonotone;  /**< rows with an eigenvalue below zero by more than rounding explains: by more than 64 d epsilon
                               times the row's largest magnitude, epsilon being that of the map's precision */
    int64_t definite; /**< rows whose eigenvalues are all positive */
    double logdet;    /**< mean over the definite rows of log det of the symmetric part; NaN when there are none */
} mgn_jacobian_stats;

/** The Jacobians of n >= 1 rows, of which no more than a few MiB are held at a time. The result does not depend on the
 *  thread count. Errors: ARGUMENT, MEMORY, NUMERIC (an entry is not finite; names the row), DEVICE, INTERRUPTED. */
MGN_API mgn_status mgn_map_jacobian_stats(mgn_map *map, const float *x, int64_t n, mgn_jacobian_stats *stats);

/** Potential values (n), phi(0) = 0 where it has no closed form: Gauss-Legendre quadrature of g(t x) . x over t in [0, 1].
 *  Errors: ARGUMENT for a model whose map is not a gradient. */
MGN_API mgn_status mgn_map_potential(mgn_map *map, const float *x, int64_t n, double *phi);
/** Solves g(x) = y by damped Newton steps on the convex phi(x) - <x, y>, to |g(x) - y| <= tolerance (1 + |y|).
 *  Errors: ARGUMENT for a model that need not be monotone.
 *  `residual` (optional, n) gets |g(x) - y|. Errors: NUMERIC when a row does not get there (y outside the range of g);
 *  INTERRUPTED. */
MGN_API mgn_status mgn_map_inverse(mgn_map *map, const float *y, int64_t n, double tolerance, float *x,
                                   double *residual);

#ifdef __cplusplus
}
#endif
#endif
