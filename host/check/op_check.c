/* Running one op's graph on a device and judging the answers. */
#include "check/op_check.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "check/differences.h"

/* Differences of the oracle are good to about 1e-12; what they are held against carries rounding of its own. */
static const double first_tolerance = 1e-9, second_tolerance = 1e-7;

/* ---- running ---- */

mgn_status mgn_check_feed(const mgn_plan *plan, const mgn_node *node, const double *values, bool round) {
    mgn_tensor *tensor = node && values ? mgn_plan_tensor(plan, node) : NULL;
    if (!tensor) return MGN_OK;
    int64_t count = mgn_shape_count(mgn_tensor_shape(tensor));
    bool index = mgn_tensor_dtype(tensor) == MGN_U32;
    if (!index && !round) return mgn_tensor_write(tensor, MGN_F64, values);
    void *converted = mgn_alloc((size_t)count, index ? sizeof(uint32_t) : sizeof(float));
    if (!converted) return MGN_ERR_MEMORY;
    for (int64_t i = 0; i < count; i++) {
        if (index)
            ((uint32_t *)converted)[i] = (uint32_t)values[i];
        else
            ((float *)converted)[i] = (float)values[i];
    }
    mgn_status status = mgn_tensor_write(tensor, index ? MGN_U32 : MGN_F32, converted);
    mgn_free(converted);
    return status;
}

mgn_status mgn_check_fetch(mgn_arena *arena, const mgn_plan *plan, const mgn_node *node, double **values) {
    if (!node) return MGN_OK;
    const mgn_tensor *tensor = mgn_plan_tensor(plan, node);
    if (!tensor) return mgn_fail(MGN_ERR_FORMAT, "the plan does not know one of its outputs");
    size_t count = (size_t)mgn_shape_count(mgn_tensor_shape(tensor));
    *values = mgn_arena_alloc(arena, MGN_MAX(count, 1), sizeof **values);
    if (!*values) return MGN_ERR_MEMORY;
    if (mgn_tensor_dtype(tensor) != MGN_U32) return mgn_tensor_read(tensor, MGN_F64, *values);
    uint32_t *words = mgn_arena_alloc(arena, MGN_MAX(count, 1), sizeof *words);
    if (!words) return MGN_ERR_MEMORY;
    MGN_TRY(mgn_tensor_read(tensor, MGN_U32, words));
    for (size_t i = 0; i < count; i++) (*values)[i] = words[i];
    return MGN_OK;
}

static mgn_status feed_case(const mgn_op_check *check, const mgn_plan *plan, int i, bool round) {
    const mgn_check_case *c = &check->list->items[i];
    const mgn_case_nodes *n = &check->nodes[i];
    const mgn_case_values *v = &check->values[i];
    for (int j = 0; j < c->inputs; j++) {
        MGN_TRY(mgn_check_feed(plan, n->in[j], c->in[j].values, round));
        MGN_TRY(mgn_check_feed(plan, n->tangent[j], v->tangent[j], round));
    }
    return mgn_check_feed(plan, n->cotangent, v->cotangent, round);
}

static mgn_status fetch_case(mgn_op_check *check, const mgn_plan *plan, int i, mgn_case_answer *a) {
    const mgn_case_nodes *n = &check->nodes[i];
    MGN_TRY(mgn_check_fetch(check->arena, plan, n->out, &a->out));
    MGN_TRY(mgn_check_fetch(check->arena, plan, n->jvp, &a->jvp));
    for (int j = 0; j < check->list->items[i].inputs; j++) {
        MGN_TRY(mgn_check_fetch(check->arena, plan, n->vjp[j], &a->vjp[j]));
        MGN_TRY(mgn_check_fetch(check->arena, plan, n->second[0][j], &a->second[0][j]));
        MGN_TRY(mgn_check_fetch(check->arena, plan, n->second[1][j], &a->second[1][j]));
    }
    return MGN_OK;
}

/* Answers of all cases, in the arena. `round`: inputs rounded to float first. */
static mgn_status execute(mgn_op_check *check, mgn_device *device, mgn_dtype dtype, bool round,
                          mgn_case_answer **answers) {
    mgn_plan *plan = NULL;
    int count = check->list->count;
    *answers = mgn_arena_alloc(check->arena, (size_t)count, sizeof **answers);
    if (!*answers) return MGN_ERR_MEMORY;
    MGN_TRY(mgn_plan_compile(check->graph, device, dtype, NULL, 0, &plan));
    mgn_status status = MGN_OK;
    for (int i = 0; status == MGN_OK && i < count; i++) status = feed_case(check, plan, i, round);
    if (status == MGN_OK) status = mgn_plan_run(plan, 1);
    if (status == MGN_OK) status = mgn_device_finish(device);
    for (int i = 0; status == MGN_OK && i < count; i++) status = fetch_case(check, plan, i, &(*answers)[i]);
    mgn_plan_destroy(plan);
    return status;
}

/* ---- judging ---- */

static void judge_forward(const mgn_op_check *check, const mgn_case_answer *answers, mgn_dtype dtype,
                          mgn_worst *worst) {
    for (int i = 0; i < check->list->count; i++) {
        const mgn_check_case *c = &check->list->items[i];
        int rounded = dtype == MGN_F32;
        for (int64_t k = 0; c->oracle && k < mgn_shape_count(c->shape); k++)
            mgn_judge_element(worst, dtype, c->label, k, answers[i].out[k], check->values[i].out[rounded][k],
                              check->values[i].magnitude[rounded][k], c->ulps * mgn_judge_unit(dtype));
    }
}

/* What one derivative tensor is held against. */
typedef struct derivative {
    const mgn_check_case *c;
    const char *name; /* "vjp" */
    mgn_shape shape;
    double terms;                    /* summed up in each entry */
    const double *found, *reference; /* reference: the CPU in double */
    const mgn_exact *differences;    /* NULL: none */
    double tolerance;
} derivative;

/* In double against differences where there are some, in float against the CPU in double. What the rules leave out is 0,
 * to which the differences have to agree. */
static void judge_derivative(mgn_worst *worst, mgn_dtype dtype, const derivative *d, double fault) {
    char what[200];
    int64_t count = mgn_shape_count(d->shape);
    snprintf(what, sizeof what, "%s of %s", d->name, d->c->label);
    if (dtype == MGN_F64) {
        for (int64_t k = 0; d->differences && !d->found && k < count; k++)
            mgn_judge_element(worst, dtype, what, k, 0, d->differences[k], 1, d->tolerance);
        if (d->differences && d->found)
            mgn_judge_tensor(worst, dtype, what, d->found, d->differences, count, 1, d->tolerance);
        return;
    }
    if (!d->found) return;
    mgn_exact *expected = mgn_alloc((size_t)count, sizeof *expected);
    for (int64_t k = 0; expected && k < count; k++) expected[k] = (mgn_exact)d->reference[k] * (1 + (mgn_exact)fault);
    if (expected)
        mgn_judge_tensor(worst, dtype, what, d->found, expected, count, d->terms, d->tolerance);
    else
        mgn_judge_fact(worst, false, "out of memory");
    mgn_free(expected);
}

static double ratio_of_counts(mgn_shape many, mgn_shape few) {
    return MGN_MAX(1.0, (double)mgn_shape_count(many) / (double)MGN_MAX(mgn_shape_count(few), 1));
}

/* worst: of vjp, jvp and second derivatives. */
static void judge_derivatives(const mgn_op_check *check, const mgn_case_answer *answers, mgn_dtype dtype,
                              mgn_worst worst[3]) {
    for (int i = 0; i < check->list->count; i++) {
        const mgn_check_case *c = &check->list->items[i];
        const mgn_case_values *v = &check->values[i];
        const mgn_case_answer *a = &answers[i], *r = check->reference ? &check->reference[i] : a;
        double rounding = (16 + 4 * c->ulps) * mgn_judge_unit(MGN_F32);
        double first = dtype == MGN_F64 ? first_tolerance : rounding,
               second = dtype == MGN_F64 ? second_tolerance : 4 * rounding;
        double terms = 1;
        for (int j = 0; j < c->inputs; j++) {
            mgn_shape shape = c->in[j].shape;
            double own = ratio_of_counts(c->shape, shape);
            terms = MGN_MAX(terms, ratio_of_counts(shape, c->shape));
            judge_derivative(&worst[0], dtype,
                             &(derivative){c, "vjp", shape, own, a->vjp[j], r->vjp[j], v->vjp[j], first}, check->fault);
            for (int way = 0; way < 2; way++)
                judge_derivative(&worst[2], dtype,
                                 &(derivative){c, way ? "jvp of vjp" : "vjp of vjp", shape, own, a->second[way][j],
                                               r->second[way][j], v->second[j], second},
                                 check->fault);
        }
        judge_derivative(&worst[1], dtype, &(derivative){c, "jvp", c->shape, terms, a->jvp, r->jvp, v->jvp, first},
                         check->fault);
    }
}

/* <cotangent, jvp> = <vjp, tangent>. */
static void judge_pairing(const mgn_op_check *check, const mgn_case_answer *answers, mgn_dtype dtype,
                          mgn_worst *worst) {
    for (int i = 0; i < check->list->count; i++) {
        const mgn_check_case *c = &check->list->items[i];
        const mgn_case_values *v = &check->values[i];
        if (!answers[i].jvp) continue;
        mgn_exact forward = 0, reverse = 0, scale = 0;
        for (int64_t k = 0; k < mgn_shape_count(c->shape); k++) {
            mgn_exact term = (mgn_exact)v->cotangent[k] * (mgn_exact)answers[i].jvp[k];
            forward += term;
            scale += fabsl(term);
        }
        for (int j = 0; j < c->inputs; j++)
            for (int64_t k = 0; answers[i].vjp[j] && k < mgn_shape_count(c->in[j].shape); k++) {
                mgn_exact term = (mgn_exact)v->tangent[j][k] * (mgn_exact)answers[i].vjp[j][k];
                reverse += term;
                scale += fabsl(term);
            }
        mgn_judge_element(worst, dtype, c->label, 0, (double)reverse, forward * (1 + (mgn_exact)check->fault), scale,
                          (16 + 4 * c->ulps) * mgn_judge_unit(dtype));
    }
}

/* Properties, and equality with the device that was first. */
static void judge_properties(mgn_op_check *check, const mgn_case_answer *answers, mgn_dtype dtype, mgn_worst *worst) {
    for (int i = 0; i < check->list->count; i++) {
        const mgn_check_case *c = &check->list->items[i];
        int64_t count = mgn_shape_count(c->shape);
        double **first = &check->first_bits[dtype == MGN_F64][i];
        char detail[200] = "";
        if (c->property) mgn_judge_fact(worst, c->property(c, answers[i].out, detail, sizeof detail), detail);
        if (!(c->flags & MGN_CASE_SAME_BITS)) continue;
        if (!*first) {
            *first = answers[i].out;
            continue;
        }
        int64_t k = 0;
        while (k < count && memcmp(&(*first)[k], &answers[i].out[k], sizeof **first) == 0) k++;
        if (k < count)
            snprintf(detail, sizeof detail, "%s: element %lld is %.17g here, %.17g on the first device", c->label,
                     (long long)k, answers[i].out[k], (*first)[k]);
        mgn_judge_fact(worst, k == count, detail);
    }
}

static void judge_all(mgn_op_check *check, const mgn_case_answer *answers, mgn_dtype dtype, mgn_check_sink *sink) {
    mgn_worst forward = {0}, derivatives[3] = {{0}}, pairing = {0}, properties = {0};
    judge_forward(check, answers, dtype, &forward);
    mgn_sink_result(sink, "forward", &forward);
    judge_derivatives(check, answers, dtype, derivatives);
    mgn_sink_result(sink, "vjp", &derivatives[0]);
    mgn_sink_result(sink, "jvp", &derivatives[1]);
    mgn_sink_result(sink, "second", &derivatives[2]);
    judge_pairing(check, answers, dtype, &pairing);
    mgn_sink_result(sink, "pairing", &pairing);
    judge_properties(check, answers, dtype, &properties);
    mgn_sink_result(sink, "property", &properties);
}

mgn_status mgn_op_check_reference(mgn_op_check *check, mgn_device *cpu) {
    return execute(check, cpu, MGN_F64, true, &check->reference);
}

mgn_status mgn_op_check_run(mgn_op_check *check, mgn_device *device, mgn_dtype dtype, mgn_check_sink *sink) {
    mgn_case_answer *answers = NULL;
    mgn_status status = execute(check, device, dtype, dtype == MGN_F32, &answers);
    if (status == MGN_ERR_MEMORY) return status;
    if (status == MGN_OK) {
        judge_all(check, answers, dtype, sink);
        return MGN_OK;
    }
    mgn_worst broken = {0};
    mgn_judge_fact(&broken, false, mgn_last_error());
    mgn_sink_result(sink, "build", &broken);
    return MGN_OK;
}
