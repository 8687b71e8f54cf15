/* What generated wide programs are written in: the host appends kernels (host/backend/opencl/wide_print.c) to this text.
 *
 * They are built with denormals as zeros, as the CPU backend runs them: derivatives of many layers shrink below the least
 * normal numbers, where every product takes a hundred times as long. */
#include "mgn_lanes.h"
