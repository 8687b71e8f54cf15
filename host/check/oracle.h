/* Cases and the oracle that knows their answers.
 *
 * A case is one use of one op: input shapes and values, parameters, how to build the node and how to know the answer.
 * The oracle works in extended precision with plain loops and other formulas than the kernels, so that a mistake would
 * have to be made twice, in two ways, to stay unseen. Its precision also makes finite differences of it good to twelve
 * digits, so that gradients can be held to nine. */
#ifndef MGN_HOST_CHECK_ORACLE_H
#define MGN_HOST_CHECK_ORACLE_H

#include <mgn/graph.h>

#include "graph/ops.h"

typedef long double mgn_exact;

enum { MGN_CASE_INPUTS = 8 };

enum {
    MGN_CASE_DERIVATIVES = 1, /* smooth around the inputs: check vjp, jvp and their pairing */
    MGN_CASE_SECOND = 2,      /* small enough for second derivatives by differences */
    MGN_CASE_SAME_BITS = 4,   /* all devices must give the very same values */
    MGN_CASE_BOUNDS = 8       /* run the kernel alone between guard values */
};

typedef struct mgn_check_case mgn_check_case;

typedef struct mgn_case_input {
    mgn_kind kind;
    mgn_shape shape;
    double *values; /* indices too: every uint32 is a double */
    bool fixed;     /* nothing is differentiated with respect to it */
} mgn_case_input;

struct mgn_check_case {
    const char *label; /* "(93,5) * (5)" */
    mgn_op op;
    unsigned flags;
    double ulps; /* allowed forward error in units of the last place of the magnitude */
    int inputs;
    mgn_case_input in[MGN_CASE_INPUTS];
    mgn_kind kind; /* of the result */
    mgn_shape shape;

    /* parameters of the ops that have some */
    int axis, axes, order[MGN_MAX_RANK];
    int64_t begin, length;
    bool transpose_a, transpose_b;
    uint32_t stream, steps;
    int64_t population, batch, steps_per_epoch;
    double scale;
    int64_t stride, padding;

    mgn_node *(*build)(mgn_graph *graph, const mgn_check_case *c, mgn_node *const *in);
    /* The result and, where magnitude is not NULL, the scale of its rounding errors. */
    void (*oracle)(const mgn_check_case *c, const mgn_exact *const *in, mgn_exact *out, mgn_exact *magnitude);
    /* Instead of an oracle: whether a result is possible; if not, says so in `detail`. */
    bool (*property)(const mgn_check_case *c, const double *result, char *detail, size_t capacity);
};

/* ---- oracles by family (oracle.c, oracle_linear.c, oracle_cloud.c, oracle_conv.c) ---- */

mgn_exact mgn_oracle_scalar(mgn_op op, mgn_exact a, mgn_exact b, mgn_exact c);
void mgn_oracle_elementwise(const mgn_check_case *c, const mgn_exact *const *in, mgn_exact *out, mgn_exact *magnitude);
void mgn_oracle_sum(const mgn_check_case *c, const mgn_exact *const *in, mgn_exact *out, mgn_exact *magnitude);
void mgn_oracle_max(const mgn_check_case *c, const mgn_exact *const *in, mgn_exact *out, mgn_exact *magnitude);
void mgn_oracle_gather(const mgn_check_case *c, const mgn_exact *const *in, mgn_exact *out, mgn_exact *magnitude);
void mgn_oracle_scatter(const mgn_check_case *c, const mgn_exact *const *in, mgn_exact *out, mgn_exact *magnitude);
/* The first input's values as they are: input, reshape, table, constant. */
void mgn_oracle_same(const mgn_check_case *c, const mgn_exact *const *in, mgn_exact *out, mgn_exact *magnitude);
void mgn_oracle_permute(const mgn_check_case *c, const mgn_exact *const *in, mgn_exact *out, mgn_exact *magnitude);
void mgn_oracle_slice(const mgn_check_case *c, const mgn_exact *const *in, mgn_exact *out, mgn_exact *magnitude);
void mgn_oracle_pad(const mgn_check_case *c, const mgn_exact *const *in, mgn_exact *out, mgn_exact *magnitude);
void mgn_oracle_concat(const mgn_check_case *c, const mgn_exact *const *in, mgn_exact *out, mgn_exact *magnitude);
void mgn_oracle_matmul(const mgn_check_case *c, const mgn_exact *const *in, mgn_exact *out, mgn_exact *magnitude);
void mgn_oracle_logdet(const mgn_check_case *c, const mgn_exact *const *in, mgn_exact *out, mgn_exact *magnitude);
void mgn_oracle_inverse(const mgn_check_case *c, const mgn_exact *const *in, mgn_exact *out, mgn_exact *magnitude);
void mgn_oracle_solve(const mgn_check_case *c, const mgn_exact *const *in, mgn_exact *out, mgn_exact *magnitude);
void mgn_oracle_cloud(const mgn_check_case *c, const mgn_exact *const *in, mgn_exact *out, mgn_exact *magnitude);
void mgn_oracle_conv(const mgn_check_case *c, const mgn_exact *const *in, mgn_exact *out, mgn_exact *magnitude);
void mgn_oracle_uniform(const mgn_check_case *c, const mgn_exact *const *in, mgn_exact *out, mgn_exact *magnitude);
void mgn_oracle_normal(const mgn_check_case *c, const mgn_exact *const *in, mgn_exact *out, mgn_exact *magnitude);
/* Bytes of the words of the first input as fractions of 255; and the words of the nearest bytes. */
void mgn_oracle_from_unorm8(const mgn_check_case *c, const mgn_exact *const *in, mgn_exact *out, mgn_exact *magnitude);
void mgn_oracle_to_unorm8(const mgn_check_case *c, const mgn_exact *const *in, mgn_exact *out, mgn_exact *magnitude);
void mgn_oracle_advance(const mgn_check_case *c, const mgn_exact *const *in, mgn_exact *out, mgn_exact *magnitude);

/* Philox 4x32-10 of one counter block. */
void mgn_oracle_philox(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]);

#endif
