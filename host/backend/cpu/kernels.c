/* All kernels of one variant: this file is compiled once per real type and instruction set (meson.build), with
 * MGN_REAL_IS_DOUBLE where R is double and MGN_CPU_TABLE naming the table it exports. The parts below are headers
 * so that one variant is one translation unit with nothing but its table to link. */
#include "backend/cpu/kernels.h"

#include <cblas.h>
#include <lapacke.h>
#include <string.h>

#include "core/core.h"
#include "mgn_math.h"
#include "mgn_random.h"

#include "backend/cpu/kernel_elementwise.h"
#include "backend/cpu/kernel_reduce.h"
#include "backend/cpu/kernel_panels.h"
#include "backend/cpu/kernel_matmul.h"
#include "backend/cpu/kernel_spd.h"
#include "backend/cpu/kernel_cloud.h"
#include "backend/cpu/kernel_conv.h"
#include "backend/cpu/kernel_softmins.h"
#include "backend/cpu/kernel_rows.h"
#include "backend/cpu/kernel_program.h"
#include "backend/cpu/kernel_wide.h"

/* Kernels whose chunks give partial results; the others have nothing to finish. */
#define finish_spd_logdet NULL
#define finish_spd_inverse NULL
#define finish_spd_solve NULL
#define finish_gather_rows NULL
#define finish_scatter_rows NULL
#define finish_conv NULL
#define finish_conv_transpose NULL
#define finish_softmin NULL
#define finish_gibbs NULL
#define finish_softmin_dense NULL
#define finish_uniform NULL
#define finish_normal NULL
#define finish_shuffle NULL
#define finish_advance NULL
#define finish_from_unorm8 NULL
#define finish_to_unorm8 NULL

const mgn_cpu_kernels MGN_CPU_TABLE = {.rows = &row_kernels,
                                       .wide = &wide_kernels,
                                       .panel_lanes = PANEL_LANES,
                                       .op = {
#define MGN_UNARY(op, ...) [MGN_OP_##op] = {MGN_OP_##op == MGN_OP_copy ? chunk_move : chunk_##op, NULL},
#define MGN_BINARY(op, ...) [MGN_OP_##op] = {chunk_##op, NULL},
#define MGN_TERNARY(op, ...) [MGN_OP_##op] = {chunk_##op, NULL},
#define MGN_KERNEL(op, ...) [MGN_OP_##op] = {chunk_##op, finish_##op},
#include "graph/ops.def"
                                       }};
