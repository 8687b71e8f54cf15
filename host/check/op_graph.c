/* The graph of one op's cases with all derivatives, and the references to hold it against. */
#include <math.h>
#include <stdio.h>

#include "check/differences.h"
#include "check/op_check.h"

enum { MOST_ELEMENTS = 256 }; /* of inputs whose every element is moved */

/* ---- nodes ---- */

static mgn_node *input_of(mgn_graph *graph, mgn_kind kind, mgn_shape shape) {
    return mgn_input(graph, "case", kind, shape);
}

/* The inputs that vary, as lists for mgn_vjp and mgn_jvp. */
static int varying(const mgn_check_case *c, mgn_node *const *from, mgn_node **to) {
    int count = 0;
    for (int i = 0; i < c->inputs; i++)
        if (mgn_case_varies(c, i)) to[count++] = from[i];
    return count;
}

static void spread(const mgn_check_case *c, mgn_node *const *from, mgn_node **to) {
    for (int i = 0; i < c->inputs; i++)
        if (mgn_case_varies(c, i)) to[i] = *from++;
}

/* sum_i <tangent_i, gradient_i>: a scalar whose gradient is the Hessian times the tangents. */
static mgn_node *projection(mgn_graph *graph, mgn_node *const *tangents, mgn_node *const *gradients, int count) {
    mgn_node *sum = mgn_constant(graph, 0);
    for (int i = 0; i < count; i++) sum = mgn_add(sum, mgn_sum(mgn_mul(tangents[i], gradients[i]), -1));
    return sum;
}

static mgn_status derive(mgn_graph *graph, const mgn_check_case *c, mgn_case_nodes *n) {
    mgn_node *x[MGN_CASE_INPUTS], *t[MGN_CASE_INPUTS], *g[MGN_CASE_INPUTS], *h[MGN_CASE_INPUTS];
    n->cotangent = input_of(graph, MGN_REAL, c->shape);
    for (int i = 0; i < c->inputs; i++)
        if (mgn_case_varies(c, i)) n->tangent[i] = input_of(graph, MGN_REAL, c->in[i].shape);
    int count = varying(c, n->in, x);
    varying(c, n->tangent, t);
    MGN_TRY(mgn_vjp(&n->out, &n->cotangent, 1, x, count, g));
    spread(c, g, n->vjp);
    MGN_TRY(mgn_jvp(&n->out, 1, x, t, count, &n->jvp));
    if (!(c->flags & MGN_CASE_SECOND)) return MGN_OK;
    MGN_TRY(mgn_grad(projection(graph, t, g, count), x, count, h));
    spread(c, h, n->second[0]);
    MGN_TRY(mgn_jvp(g, count, x, t, count, h));
    spread(c, h, n->second[1]);
    return MGN_OK;
}

static bool shape_is(const mgn_node *node, mgn_shape shape) {
    mgn_shape found = mgn_node_shape(node);
    bool same = found.rank == shape.rank;
    for (int i = 0; same && i < shape.rank; i++) same = found.dim[i] == shape.dim[i];
    return same;
}

static mgn_status build_case(mgn_graph *graph, const mgn_check_case *c, mgn_case_nodes *n) {
    for (int i = 0; i < c->inputs; i++) n->in[i] = input_of(graph, c->in[i].kind, c->in[i].shape);
    n->out = c->build(graph, c, n->in);
    MGN_TRY(mgn_graph_status(graph));
    if (!n->out || !shape_is(n->out, c->shape))
        return mgn_fail(MGN_ERR_FORMAT, "%s of %s gives a node of an unexpected shape", mgn_op_infos[c->op].label,
                        c->label);
    if (c->flags & MGN_CASE_DERIVATIVES) MGN_TRY(derive(graph, c, n));
    mgn_output(n->out);
    mgn_output(n->jvp);
    for (int i = 0; i < c->inputs; i++) {
        mgn_output(n->vjp[i]);
        mgn_output(n->second[0][i]);
        mgn_output(n->second[1][i]);
    }
    return mgn_graph_status(graph);
}

/* ---- numbers ---- */

static double *random_values(mgn_op_check *check, mgn_shape shape) {
    size_t count = (size_t)mgn_shape_count(shape);
    double *values = mgn_arena_alloc(check->arena, MGN_MAX(count, 1), sizeof *values);
    for (size_t i = 0; values && i < count; i++) { /* float keeps them exactly, so both precisions see the same */
        values[i] = (double)(float)mgn_case_random(check->list, -1, 1);
        if (fabs(values[i]) < 0.05) values[i] += 0.5;
    }
    return values;
}

static mgn_exact *exact_values(mgn_op_check *check, mgn_shape shape) {
    return mgn_arena_alloc(check->arena, (size_t)MGN_MAX(mgn_shape_count(shape), 1), sizeof(mgn_exact));
}

/* Forward references of the inputs as they are (0) and rounded to float (1). */
static mgn_status forward_reference(mgn_op_check *check, const mgn_check_case *c, mgn_case_values *v, int rounded) {
    const mgn_exact *in[MGN_CASE_INPUTS] = {NULL};
    for (int i = 0; i < c->inputs; i++) {
        mgn_exact *x = exact_values(check, c->in[i].shape);
        if (!x) return MGN_ERR_MEMORY;
        for (int64_t k = 0; k < mgn_shape_count(c->in[i].shape); k++) {
            double value = c->in[i].values[k];
            x[k] = rounded && c->in[i].kind == MGN_REAL ? (double)(float)value : value;
        }
        in[i] = x;
    }
    v->out[rounded] = exact_values(check, c->shape);
    v->magnitude[rounded] = exact_values(check, c->shape);
    if (!v->out[rounded] || !v->magnitude[rounded]) return MGN_ERR_MEMORY;
    c->oracle(c, in, v->out[rounded], v->magnitude[rounded]);
    for (int64_t k = 0; k < mgn_shape_count(c->shape); k++) v->out[rounded][k] *= 1 + (mgn_exact)check->fault;
    return MGN_OK;
}

static void spoil(const mgn_op_check *check, mgn_exact *values, mgn_shape shape) {
    for (int64_t k = 0; k < mgn_shape_count(shape); k++) values[k] *= 1 + (mgn_exact)check->fault;
}

static mgn_status gradient_reference(mgn_op_check *check, const mgn_check_case *c, mgn_case_values *v) {
    int64_t elements = 0;
    for (int i = 0; i < c->inputs; i++) elements += mgn_case_varies(c, i) ? mgn_shape_count(c->in[i].shape) : 0;
    bool second = c->flags & MGN_CASE_SECOND;
    if (elements > MOST_ELEMENTS) return MGN_OK;
    for (int i = 0; i < c->inputs; i++) {
        if (!mgn_case_varies(c, i)) continue;
        v->vjp[i] = exact_values(check, c->in[i].shape);
        v->second[i] = second ? exact_values(check, c->in[i].shape) : NULL;
        if (!v->vjp[i] || (second && !v->second[i])) return MGN_ERR_MEMORY;
    }
    MGN_TRY(mgn_differences_vjp(c, v->cotangent, v->vjp));
    if (second) MGN_TRY(mgn_differences_second(c, v->cotangent, v->tangent, v->second));
    for (int i = 0; i < c->inputs; i++) {
        if (v->vjp[i]) spoil(check, v->vjp[i], c->in[i].shape);
        if (v->second[i]) spoil(check, v->second[i], c->in[i].shape);
    }
    return MGN_OK;
}

static mgn_status derivative_references(mgn_op_check *check, const mgn_check_case *c, mgn_case_values *v) {
    v->cotangent = random_values(check, c->shape);
    v->jvp = exact_values(check, c->shape);
    if (!v->cotangent || !v->jvp) return MGN_ERR_MEMORY;
    for (int i = 0; i < c->inputs; i++)
        if (mgn_case_varies(c, i) && !(v->tangent[i] = random_values(check, c->in[i].shape))) return MGN_ERR_MEMORY;
    MGN_TRY(mgn_differences_jvp(c, v->tangent, v->jvp));
    spoil(check, v->jvp, c->shape);
    return gradient_reference(check, c, v);
}

static mgn_status fill(mgn_op_check *check, mgn_op op, uint64_t seed) {
    MGN_TRY(mgn_graph_create(&check->graph));
    check->list = mgn_arena_alloc(check->arena, 1, sizeof *check->list);
    if (!check->list) return MGN_ERR_MEMORY;
    check->list->arena = check->arena;
    MGN_TRY(mgn_cases_make(check->list, op, seed));
    size_t count = (size_t)check->list->count;
    if (count == 0) return mgn_fail(MGN_ERR_FORMAT, "%s has no cases", mgn_op_infos[op].label);
    check->nodes = mgn_arena_alloc(check->arena, count, sizeof *check->nodes);
    check->values = mgn_arena_alloc(check->arena, count, sizeof *check->values);
    if (!check->nodes || !check->values) return MGN_ERR_MEMORY;
    for (size_t i = 0; i < count; i++) {
        const mgn_check_case *c = &check->list->items[i];
        MGN_TRY(build_case(check->graph, c, &check->nodes[i]));
        for (int rounded = 0; c->oracle && rounded < 2; rounded++)
            MGN_TRY(forward_reference(check, c, &check->values[i], rounded));
        if (c->flags & MGN_CASE_DERIVATIVES) MGN_TRY(derivative_references(check, c, &check->values[i]));
    }
    return MGN_OK;
}

mgn_status mgn_op_check_create(mgn_op op, uint64_t seed, double fault, mgn_op_check **check) {
    mgn_arena *arena = mgn_arena_create();
    mgn_op_check *made = arena ? mgn_arena_alloc(arena, 1, sizeof *made) : NULL;
    if (!made) {
        mgn_arena_destroy(arena);
        return MGN_ERR_MEMORY;
    }
    made->arena = arena;
    made->fault = fault;
    mgn_status status = fill(made, op, seed);
    if (status != MGN_OK)
        mgn_op_check_destroy(made);
    else
        *check = made;
    return status;
}

void mgn_op_check_destroy(mgn_op_check *check) {
    if (!check) return;
    mgn_graph_destroy(check->graph);
    mgn_arena_destroy(check->arena);
}
