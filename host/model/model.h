/* What a model kind is: its parameters and its forward function. A new kind is one file like cmgn.c and one row in
 * model.c; derivatives, training, storage and checks come by themselves. */
#ifndef MGN_HOST_MODEL_H
#define MGN_HOST_MODEL_H

#include <mgn/model.h>

#include "core/core.h"
#include "core/file.h"

enum { MGN_MOST_LAYERS = 256, MGN_MOST_PARAMETERS = 3 * MGN_MOST_LAYERS + 8 };

/* What a parameter is for: it decides how it starts, and whether a Lipschitz bound scales it. */
typedef enum mgn_role {
    MGN_BIAS,     /* N(0, 1) */
    MGN_WEIGHT,   /* N(0, 1), of a convolution N(0, 1 / entries of a filter); scaled */
    MGN_ROLE_V,   /* as the configuration's `v` says; scaled */
    MGN_SCALE,    /* read through mgn_unit_scale: N(0, 1) where signs are free, else around 1 */
    MGN_POSITIVE, /* read through mgn_positive, around 1; a matrix around 1 / columns, so that its rows sum to about 1 */
} mgn_role;

/* The list that a kind fills in `describe`. */
typedef struct mgn_parameter_list {
    mgn_parameter items[MGN_MOST_PARAMETERS];
    mgn_role role[MGN_MOST_PARAMETERS];
    char labels[MGN_MOST_PARAMETERS][12];
    size_t count;
    int64_t total; /* elements */
} mgn_parameter_list;

void mgn_parameter_add(mgn_parameter_list *list, const char *label, int number, mgn_shape shape, mgn_role role);

/* A function of the named views p of the parameters (one node each, in the order of describe) and of x (n, d). */
typedef mgn_node *mgn_model_function(const mgn_model_config *config, mgn_node *const *p, mgn_node *x);

typedef struct mgn_model_kind_info {
    const char *label;
    mgn_activation usual;
    unsigned activations; /* bit set of those that keep the map what the kind promises */
    bool has_scales;      /* knows signed_scales */
    bool has_pictures;    /* knows image, kernel, stride, padding, position_biases */
    /* What is to be said of a configuration beyond what holds for all kinds. NULL: nothing. */
    mgn_status (*check)(const mgn_model_config *config);
    void (*describe)(const mgn_model_config *config, mgn_parameter_list *list);
    mgn_model_function *forward;   /* (n, d) */
    mgn_model_function *potential; /* (n) */
    bool (*has_potential)(const mgn_model_config *config);
    /* Why the map need not be a gradient; NULL when it is one. A NULL function: it always is. */
    const char *(*why_no_gradient)(const mgn_model_config *config);
    /* Why the Jacobian has no bound by the weights' sizes; NULL when there is one. A NULL function: there is. */
    const char *(*why_unbounded)(const mgn_model_config *config);
    /* A symmetric B (e, e), whose largest eigenvalue bounds every |J(x)|, and which grows by c^2 (or less) where MGN_WEIGHT and
     * MGN_ROLE_V parameters are multiplied by c. */
    mgn_node *(*bound)(const mgn_model_config *config, mgn_node *const *p);
    /* Makes phi(x) into factor phi(scale x + shift) + <add, x>, up to a constant, by changing parameters; shift and add are
     * (d). NULL where parameters cannot do that. */
    void (*substitute)(mgn_model *model, double scale, const double *shift, double factor, const double *add);
} mgn_model_kind_info;

extern const mgn_model_kind_info mgn_model_cmgn, mgn_model_mmgn, mgn_model_icnn, mgn_model_icgn, mgn_model_cgradnet,
    mgn_model_mgradnet, mgn_model_dicnn, mgn_model_conv_cmgn, mgn_model_lse, mgn_model_maxquad;

/* The activation, and its antiderivative (the activation of the potential). */
mgn_node *mgn_activate(mgn_activation activation, mgn_node *z);
mgn_node *mgn_activate_potential(mgn_activation activation, mgn_node *z);
/* The largest slope of the activation. */
double mgn_activation_slope(mgn_activation activation);

/* Gauss-Legendre quadrature on [0, 1], for integrals along the ray from 0 to x. */
enum { MGN_RAY_POINTS = 8 };
extern const double mgn_ray_points[MGN_RAY_POINTS], mgn_ray_weights[MGN_RAY_POINTS];

static inline int64_t mgn_model_stride(const mgn_model_config *config) { return config->stride ? config->stride : 1; }

/* log(1 + exp(raw)): what is learned is any real number, what is used is never negative, whatever the optimizer does. */
mgn_node *mgn_positive(mgn_node *raw);
/* A scale of a unit: itself where the configuration lets signs be free, else mgn_positive of it. */
mgn_node *mgn_unit_scale(const mgn_model_config *config, mgn_node *raw);

/* The largest eigenvalue of a symmetric positive semidefinite B (e, e), from above and at most 1 % too large. */
mgn_node *mgn_largest_eigenvalue(mgn_node *B);
/* The factor of weights that brings a bound of B (as in mgn_model_kind_info) down to `lipschitz`: at most 1. */
mgn_node *mgn_lipschitz_factor(mgn_node *B, double lipschitz);
/* B = M^T M, (e, e), of M (m, e). */
mgn_node *mgn_gram(mgn_node *M);

struct mgn_model {
    mgn_model_config config;
    const mgn_model_kind_info *kind;
    mgn_parameter_list list;
    double *values;
    double *frame_block; /* what the frame points into; NULL: no frame */
    mgn_model_frame frame;
    double frame_bound; /* factor |A|^2: what the frame multiplies Jacobians by at most */
};

/* x in the frame, the map of the frame's rows f outside again, and the potential from phi of the frame's rows. For models
 * that have a frame (frame.c). */
mgn_node *mgn_frame_inside(const mgn_model *model, mgn_node *x);
mgn_node *mgn_frame_outside(const mgn_model *model, mgn_node *f);
mgn_node *mgn_frame_potential(const mgn_model *model, mgn_node *phi, mgn_node *x);

/* The parameters that a configuration has, before anything is allocated for them. Errors: ARGUMENT. */
mgn_status mgn_model_describe(const mgn_model_config *config, const mgn_model_kind_info **kind,
                              mgn_parameter_list *list);
/* mgn_model_is_monotone, before there is a model: false as well where there can be none. */
bool mgn_model_config_is_monotone(const mgn_model_config *config);
/* A model whose parameters are all 0. */
mgn_status mgn_model_allocate(const mgn_model_config *config, mgn_model **model);

/* mgn_model_save up to the commit, for who writes several files that belong together. */
mgn_status mgn_model_prepare(const mgn_model *model, const char *path, mgn_output_file **written);
/* The same with a text of the caller's in the metadata, such as how the model was trained; `key` may be NULL. */
mgn_status mgn_model_prepare_noted(const mgn_model *model, const char *key, const char *text, const char *path,
                                   mgn_output_file **written);
/* mgn_model_load with such a text, "" where there is none, cut off at `capacity`. */
mgn_status mgn_model_load_noted(const char *path, const char *key, char *text, size_t capacity, mgn_model **model);

/* Something round a model: the graph of a function of x (n, d) that uses mgn_model_forward with `flat`. */
typedef mgn_node *mgn_map_wrapper(const void *context, const mgn_model *model, mgn_node *flat, mgn_node *x);

/* A map whose mgn_map_apply and mgn_map_apply_bytes answer with what the wrapper makes of the model; everything else is
 * about the model itself. `size` bytes of `context` are copied. A NULL wrapper: mgn_map_create. */
mgn_status mgn_map_create_wrapped(const mgn_model *model, mgn_device *device, mgn_dtype real, mgn_map_wrapper *wrapper,
                                  const void *context, size_t size, mgn_map **map);

/* Of the Jacobians of n rows, from row `at` of x on (which is how a failure numbers them), those that are this process's: of rows
 * *first .. *end - 1, at their places in `jacobian` (n, d, d). All, unless the map is shared. */
mgn_status mgn_map_own_jacobians(mgn_map *map, const float *x, int64_t at, int64_t n, double *jacobian, int64_t *first,
                                 int64_t *end);
/* Then: `width` numbers a row that were found from these Jacobians, from each process's rows to all (n, width). `status`: how that
 * went here. */
mgn_status mgn_map_gather(mgn_map *map, mgn_status status, int64_t n, int64_t width, double *rows);
/* What the map computes in. */
mgn_dtype mgn_map_real(const mgn_map *map);
/* A second map like this one that another thread may use at the same time; NULL where the device serves one thread. */
mgn_status mgn_map_twin(const mgn_map *map, mgn_map **twin);

/* x V^T V, the quadratic part that all kinds share. */
mgn_node *mgn_quadratic_part(mgn_node *V, mgn_node *x);

#endif
