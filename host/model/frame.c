/* A frame that a model is seen through: g(x) = n + c A^T f(A (x - m)), f being what the parameters make.
 *
 * With phi_f the potential of f, g is the gradient of c phi_f(A (x - m)) + <n, x>: as convex as phi_f is, whatever A is, and
 * Jacobians become c A^T J A. Kinds without a quadratic part and data of large scale or far from 0 need it: their units are
 * made for numbers around 1. The frame is fixed; training sees it as part of the function. */
#include <lapacke.h>
#include <math.h>
#include <string.h>

#include "graph/graph.h"
#include "model/model.h"

/* The largest eigenvalue of A^T A. */
static mgn_status square_norm(const mgn_model_frame *f, int64_t d, double *norm) {
    *norm = 0;
    for (int64_t i = 0; f->is_diagonal && i < d; i++) *norm = fmax(*norm, f->matrix[i] * f->matrix[i]);
    if (f->is_diagonal) return MGN_OK;
    double *gram = mgn_alloc((size_t)(d + 1), (size_t)d * sizeof *gram);
    if (!gram) return MGN_ERR_MEMORY;
    double *values = gram + d * d;
    for (int64_t k = 0; k < d; k++)
        for (int64_t i = 0; i < d; i++)
            for (int64_t j = 0; j < d; j++) gram[i * d + j] += f->matrix[k * d + i] * f->matrix[k * d + j];
    const lapack_int n = (lapack_int)d;
    const bool found = LAPACKE_dsyev(LAPACK_ROW_MAJOR, 'N', 'U', n, gram, n, values) == 0;
    if (found) *norm = values[d - 1];
    mgn_free(gram);
    return found ? MGN_OK : mgn_fail(MGN_ERR_NUMERIC, "the eigenvalues of a frame's matrix were not found");
}

static bool all_finite(const double *values, int64_t count) {
    for (int64_t i = 0; i < count; i++)
        if (!isfinite(values[i])) return false;
    return true;
}

mgn_status mgn_model_set_frame(mgn_model *model, const mgn_model_frame *frame) {
    const int64_t d = model->config.d;
    if (!frame) {
        mgn_free(model->frame_block);
        model->frame_block = NULL;
        return MGN_OK;
    }
    const int64_t entries = frame->is_diagonal ? d : d * d;
    if (!(frame->factor > 0) || !isfinite(frame->factor) || !all_finite(frame->shift, d) ||
        !all_finite(frame->offset, d) || !all_finite(frame->matrix, entries))
        return mgn_fail(MGN_ERR_ARGUMENT,
                        "a frame of finite numbers and a positive factor was expected; factor %g found", frame->factor);
    double norm, *block = mgn_alloc((size_t)(2 * d + entries), sizeof *block);
    if (!block) return MGN_ERR_MEMORY;
    const mgn_status status = square_norm(frame, d, &norm);
    if (status != MGN_OK) {
        mgn_free(block);
        return status;
    }
    memcpy(block, frame->shift, (size_t)d * sizeof *block);
    memcpy(block + d, frame->offset, (size_t)d * sizeof *block);
    memcpy(block + 2 * d, frame->matrix, (size_t)entries * sizeof *block);
    mgn_free(model->frame_block);
    model->frame_block = block;
    model->frame = (mgn_model_frame){block, block + 2 * d, block + d, frame->factor, frame->is_diagonal};
    model->frame_bound = frame->factor * norm;
    return MGN_OK;
}

const mgn_model_frame *mgn_model_get_frame(const mgn_model *model) { return model->frame_block ? &model->frame : NULL; }

/* ---- graphs ---- */

/* factor A as a node: (d) where it is diagonal. One number, so that nothing on the way is the square of a scale: of data
 * around 1e30, A is about 1e-30 and c A about 1. */
static mgn_node *matrix_times(const mgn_model *model, mgn_graph *graph, double factor) {
    const int64_t d = model->config.d, entries = model->frame.is_diagonal ? d : d * d;
    double *matrix = graph ? mgn_arena_alloc(graph->arena, (size_t)entries, sizeof *matrix) : NULL;
    if (!matrix) {
        if (graph) mgn_graph_exhaust(graph);
        return NULL;
    }
    for (int64_t i = 0; i < entries; i++) matrix[i] = factor * model->frame.matrix[i];
    return mgn_table(graph, matrix, model->frame.is_diagonal ? MGN_SHAPE(d) : MGN_SHAPE(d, d));
}

mgn_node *mgn_frame_inside(const mgn_model *model, mgn_node *x) {
    mgn_graph *graph = mgn_node_graph(x);
    mgn_node *centred = mgn_sub(x, mgn_table(graph, model->frame.shift, MGN_SHAPE(model->config.d)));
    mgn_node *A = matrix_times(model, graph, 1);
    return model->frame.is_diagonal ? mgn_mul(centred, A) : mgn_matmul_t(centred, false, A, true);
}

mgn_node *mgn_frame_outside(const mgn_model *model, mgn_node *f) {
    if (!f) return NULL;
    mgn_graph *graph = mgn_node_graph(f);
    mgn_node *cA = matrix_times(model, graph, model->frame.factor);
    mgn_node *g = model->frame.is_diagonal ? mgn_mul(f, cA) : mgn_matmul(f, cA);
    return mgn_add(g, mgn_table(graph, model->frame.offset, MGN_SHAPE(model->config.d)));
}

mgn_node *mgn_frame_potential(const mgn_model *model, mgn_node *phi, mgn_node *x) {
    mgn_node *offset = mgn_table(mgn_node_graph(x), model->frame.offset, MGN_SHAPE(model->config.d));
    return mgn_add(mgn_scale(phi, model->frame.factor), mgn_sum(mgn_mul(x, offset), 2));
}
