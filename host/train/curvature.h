/* The curvature of a loss of a model, as graph: what second_order.h's methods ask for besides values and gradients. */
#ifndef MGN_HOST_CURVATURE_H
#define MGN_HOST_CURVATURE_H

#include <mgn/loss.h>
#include <mgn/model.h>

/* Curvature is a matrix up to so many parameters. */
enum { MGN_MOST_MATRIX_PARAMETERS = 600 };

typedef struct mgn_curvature {
    const mgn_model *model; /* its architecture */
    const mgn_loss_config *loss;
    bool is_gauss_newton; /* J^T W J instead of the Hessian */
} mgn_curvature;

/* What it is built of: rows x (n, d), their targets (n, d) or NULL, parameters (p), y = g(x), and the loss of these. */
typedef struct mgn_curvature_nodes {
    mgn_node *x, *target, *flat, *y, *loss;
} mgn_curvature_nodes;

/* The curvature times v (p). */
mgn_status mgn_curvature_product(const mgn_curvature *curvature, const mgn_curvature_nodes *at, mgn_node *v,
                                 mgn_node **product);
/* W^(1/2) J (n, d, p), J the Jacobian of the rows of y by the parameters, W the loss's own curvature by the entries of y: J^T W J
 * is the matrix of Gauss-Newton. Errors: UNSUPPORTED (a model without a form for it). */
mgn_status mgn_curvature_root(const mgn_curvature *curvature, const mgn_curvature_nodes *at, mgn_node **root);
/* Whether root has few enough numbers, of n rows of d and p parameters. */
bool mgn_curvature_has_root(const mgn_curvature *curvature, int64_t n, int64_t d, int64_t p);

#endif
