/* What a model kind is: its parameters and its forward function. A new kind is one file like cmgn.c and one row in
 * model.c; derivatives, training, storage and checks come by themselves. */
#ifndef MGN_HOST_MODEL_H
#define MGN_HOST_MODEL_H

#include <mgn/model.h>

#include "core/core.h"
#include "core/file.h"

enum { MGN_MOST_LAYERS = 256, MGN_MOST_PARAMETERS = 2 * MGN_MOST_LAYERS + 8 };

/* How a parameter starts. */
typedef enum mgn_start { MGN_START_NORMAL, MGN_START_V } mgn_start;

/* The list that a kind fills in `describe`. */
typedef struct mgn_parameter_list {
    mgn_parameter items[MGN_MOST_PARAMETERS];
    mgn_start start[MGN_MOST_PARAMETERS];
    char labels[MGN_MOST_PARAMETERS][12];
    size_t count;
    int64_t total; /* elements */
} mgn_parameter_list;

void mgn_parameter_add(mgn_parameter_list *list, const char *label, int number, mgn_shape shape, mgn_start start);

typedef struct mgn_model_kind_info {
    const char *label;
    mgn_activation usual;
    unsigned activations; /* bit set of those that keep the map monotone and a gradient */
    void (*describe)(const mgn_model_config *config, mgn_parameter_list *list);
    /* p: one node per parameter, in the order of describe; x (n, d) */
    mgn_node *(*forward)(const mgn_model_config *config, mgn_node *const *p, mgn_node *x);
    mgn_node *(*potential)(const mgn_model_config *config, mgn_node *const *p, mgn_node *x);
    bool (*has_potential)(const mgn_model_config *config);
} mgn_model_kind_info;

extern const mgn_model_kind_info mgn_model_cmgn, mgn_model_mmgn;

/* The activation, and its antiderivative (the activation of the potential). */
mgn_node *mgn_activate(mgn_activation activation, mgn_node *z);
mgn_node *mgn_activate_potential(mgn_activation activation, mgn_node *z);

struct mgn_model {
    mgn_model_config config;
    const mgn_model_kind_info *kind;
    mgn_parameter_list list;
    double *values;
};

/* mgn_model_save up to the commit, for who writes several files that belong together. */
mgn_status mgn_model_prepare(const mgn_model *model, const char *path, mgn_output_file **written);
/* The same with a text of the caller's in the metadata, such as how the model was trained; `key` may be NULL. */
mgn_status mgn_model_prepare_noted(const mgn_model *model, const char *key, const char *text, const char *path,
                                   mgn_output_file **written);

/* The Jacobians of n rows from row `first` of x on, which is how a failure numbers them. */
mgn_status mgn_map_jacobian_rows(mgn_map *map, const float *x, int64_t first, int64_t n, double *jacobian);
/* What the map computes in. */
mgn_dtype mgn_map_real(const mgn_map *map);
/* A second map like this one that another thread may use at the same time; NULL where the device serves one thread. */
mgn_status mgn_map_twin(const mgn_map *map, mgn_map **twin);

/* x V^T V, the quadratic part that all kinds share. */
mgn_node *mgn_quadratic_part(mgn_node *V, mgn_node *x);

#endif
