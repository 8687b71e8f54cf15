/* Checking one op: all its cases in one graph, run on each device in each precision. */
#ifndef MGN_HOST_CHECK_OP_CHECK_H
#define MGN_HOST_CHECK_OP_CHECK_H

#include "check/cases.h"
#include "check/judge.h"

/* What is computed of one case; entries are NULL where there is nothing to compute. */
typedef struct mgn_case_nodes {
    mgn_node *in[MGN_CASE_INPUTS], *out;
    mgn_node *cotangent, *tangent[MGN_CASE_INPUTS];
    mgn_node *jvp, *vjp[MGN_CASE_INPUTS];
    mgn_node
        *second[2][MGN_CASE_INPUTS]; /* Hessian of <cotangent, out> times the tangents: reverse, forward over reverse */
} mgn_case_nodes;

/* The numbers of one case: what goes in besides the inputs, and the references. */
typedef struct mgn_case_values {
    double *cotangent, *tangent[MGN_CASE_INPUTS];
    mgn_exact *out[2], *magnitude[2]; /* of the inputs as they are, and of the inputs rounded to float */
    mgn_exact *jvp, *vjp[MGN_CASE_INPUTS], *second[MGN_CASE_INPUTS]; /* by differences; NULL: too large */
} mgn_case_values;

/* What a device answered; the fields of mgn_case_nodes. */
typedef struct mgn_case_answer {
    double *out, *jvp, *vjp[MGN_CASE_INPUTS], *second[2][MGN_CASE_INPUTS];
} mgn_case_answer;

typedef struct mgn_op_check {
    mgn_arena *arena; /* of everything below */
    mgn_graph *graph;
    mgn_case_list *list;
    mgn_case_nodes *nodes;
    mgn_case_values *values;
    mgn_case_answer *reference;            /* derivatives on the CPU in double, of inputs rounded to float */
    double *first_bits[2][MGN_CASES_MOST]; /* by precision: what the first device gave where all must agree */
    double fault;
} mgn_op_check;

/* Makes cases, graph and references by the oracle (op_graph.c). When the graph cannot be built, that is the status. */
mgn_status mgn_op_check_create(mgn_op op, uint64_t seed, double fault, mgn_op_check **check);
void mgn_op_check_destroy(mgn_op_check *check);
/* Runs the graph on the CPU in double: what derivatives in float are held against. */
mgn_status mgn_op_check_reference(mgn_op_check *check, mgn_device *cpu);
/* Runs on a device in one precision and reports. Failures of the device are results; only lack of memory is an error. */
mgn_status mgn_op_check_run(mgn_op_check *check, mgn_device *device, mgn_dtype dtype, mgn_check_sink *sink);

/* Writes an input of a plan, if the plan knows it and there are values; `round`: as float. */
mgn_status mgn_check_feed(const mgn_plan *plan, const mgn_node *node, const double *values, bool round);
/* Reads an output, words as numbers too, into `arena`; nothing where there is no node. */
mgn_status mgn_check_fetch(mgn_arena *arena, const mgn_plan *plan, const mgn_node *node, double **values);

/* The backend's kernel alone, between guard values (bounds.c). */
mgn_status mgn_bounds_check(mgn_op_check *check, mgn_device *device, mgn_dtype dtype, mgn_check_sink *sink);

#endif
