/* Row sections as text: a loop over rows whose body is the section's instructions, unrolled over features, and the sums
 * over rows behind it. */
#include "backend/opencl/row_text.h"

#include <stdio.h>

/* ---- operands ---- */

typedef struct operand_text {
    char text[32];
} operand_text;

/* Entry j of a run, as an R. */
static operand_text operand(mgn_cl_row_text *t, const mgn_row_run *run, int32_t j) {
    operand_text out;
    const int32_t place = run->base + j * run->stride;
    if (!run->is_row) mgn_cl_reads(t, place, 1);
    snprintf(out.text, sizeof out.text, run->is_row ? "p%d" : "S(%d)", (int)place);
    return out;
}

/* "e3 + n[6]" */
static operand_text external(const mgn_row_instruction *i) {
    operand_text out;
    snprintf(out.text, sizeof out.text, "e%d + n[%d]", (int)i->external, (int)(MGN_CL_FIRST_OFFSET + i->external));
    return out;
}

/* ---- arithmetic ---- */

static void print_elementwise(mgn_cl_row_text *t, const mgn_row_instruction *i) {
    const mgn_op_info *info = &mgn_op_infos[i->op];
    for (int32_t j = 0; j < i->count; j++) {
        mgn_cl_put(t, "{ const R ");
        for (int k = 0; k < info->arity; k++)
            mgn_cl_put(t, "%s%c = %s", k ? ", " : "", 'a' + k, operand(t, &i->src[k], j).text);
        mgn_cl_put(t, "; p%d = %s; }\n", (int)(i->dst.base + j), info->expression);
    }
    t->weight += (int64_t)i->count * (2 + info->flops) / 2;
}

static void print_matmul(mgn_cl_row_text *t, const mgn_row_instruction *i) {
    for (int32_t j = 0; j < i->count; j++) {
        mgn_cl_put(t, "p%d = ", (int)(i->dst.base + j));
        for (int32_t k = 0; k < i->inner; k++) {
            const mgn_row_run b = {false, i->src[1].base + k * i->step + j * i->src[1].stride, 0};
            mgn_cl_put(t, "%s%s * %s", k ? " + " : "", operand(t, &i->src[0], k).text, operand(t, &b, 0).text);
        }
        mgn_cl_put(t, ";\n");
    }
    t->weight += 2 * (int64_t)i->count * i->inner;
}

static void print_reduction(mgn_cl_row_text *t, const mgn_row_instruction *i) {
    for (int32_t j = 0; j < i->count; j++) {
        const int32_t to = i->dst.base + j;
        for (int32_t k = 0; k < i->inner; k++) {
            const mgn_row_run from = {true, i->src[0].base + k * i->step + j * i->src[0].stride, 0};
            const char *const text = operand(t, &from, 0).text;
            if (k == 0) mgn_cl_put(t, "p%d = %s;\n", (int)to, text);
            else if (i->opcode == MGN_ROW_SUM) mgn_cl_put(t, "p%d += %s;\n", (int)to, text);
            else mgn_cl_put(t, "p%d = LARGER(p%d, %s);\n", (int)to, (int)to, text);
        }
    }
    t->weight += (int64_t)i->count * i->inner;
}

/* Adds to the accumulators from `sum` on. */
static void print_column_sums(mgn_cl_row_text *t, const mgn_row_instruction *i, int32_t sum) {
    const bool product = i->opcode == MGN_ROW_COLUMN_PRODUCT;
    for (int32_t m = 0; m < (product ? i->inner : 1); m++)
        for (int32_t j = 0; j < i->count; j++, sum++) {
            mgn_cl_put(t, "t%d += KEEP(", (int)sum);
            if (product) mgn_cl_put(t, "%s * %s", operand(t, &i->src[0], m).text, operand(t, &i->src[1], j).text);
            else mgn_cl_put(t, "%s", operand(t, &i->src[0], j).text);
            mgn_cl_put(t, ");\n");
            t->weight += 3;
        }
}

/* ---- data ---- */

/* The two helpers that take 2, 3 or 4 columns apart, or one column at a time by the general one. */
static void print_columns(mgn_cl_row_text *t, const mgn_row_instruction *i, const char *whole, const char *single) {
    if (i->count >= 2 && i->count <= 4) {
        mgn_cl_put(t, whole, (int)i->count);
        for (int32_t j = 0; j < i->count; j++) mgn_cl_put(t, ", &p%d", (int)(i->dst.base + j));
        mgn_cl_put(t, ");\n");
    } else {
        for (int32_t j = 0; j < i->count; j++) {
            mgn_cl_put(t, "p%d = ", (int)(i->dst.base + j));
            mgn_cl_put(t, single, (int)j);
        }
    }
}
