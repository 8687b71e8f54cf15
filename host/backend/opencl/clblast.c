/* Calls of CLBlast, and its parameters.
 *
 * CLBlast comes with parameters for devices that somebody tuned it for, and takes others at run time. They belong to
 * the device and the precision and hold in the whole process; a routine is compiled anew for parameters that it has not
 * seen. */
#include "backend/opencl/opencl.h"

#include <clblast_c.h>

const mgn_cl_blast_family mgn_cl_blast_families[MGN_CL_BLAST_FAMILIES] = {
    {"Xgemm",
     16,
     {"GEMMK", "KREG", "KWG", "KWI", "MDIMA", "MDIMC", "MWG", "NDIMB", "NDIMC", "NWG", "SA", "SB", "STRM", "STRN",
      "VWM", "VWN"}},
    {"XgemmDirect", 10, {"KWID", "MDIMAD", "MDIMCD", "NDIMBD", "NDIMCD", "PADA", "PADB", "VWMD", "VWND", "WGD"}},
    {"GemmRoutine", 1, {"XGEMM_MIN_INDIRECT_SIZE"}},
    {"Copy", 4, {"COPY_DIMX", "COPY_DIMY", "COPY_VW", "COPY_WPT"}},
    {"Pad", 4, {"PAD_DIMX", "PAD_DIMY", "PAD_WPTX", "PAD_WPTY"}},
    {"Transpose", 4, {"TRA_DIM", "TRA_PAD", "TRA_SHUFFLE", "TRA_WPT"}},
    {"Padtranspose", 3, {"PADTRA_PAD", "PADTRA_TILE", "PADTRA_WPT"}},
};

mgn_status mgn_cl_blast_give(mgn_cl_device *device, const mgn_cl_blast *blast) {
    for (size_t f = 0; f < MGN_CL_BLAST_FAMILIES; f++) {
        const mgn_cl_blast_family *family = &mgn_cl_blast_families[f];
        const char *labels[MGN_CL_BLAST_MOST];
        size_t values[MGN_CL_BLAST_MOST];
        for (size_t i = 0; i < family->count; i++) {
            labels[i] = family->parameters[i];
            values[i] = blast->values[f][i];
        }
        const CLBlastStatusCode code =
            CLBlastOverrideParameters(device->id, family->label, CLBlastPrecisionSingle, family->count, labels, values);
        MGN_TRY(mgn_cl_check(device, code, "giving CLBlast parameters for %s", family->label));
    }
    return MGN_OK;
}

mgn_status mgn_cl_product_ask(mgn_cl_device *device, mgn_cl_product *p) {
    /* Batches have no such entry point. */
    if (p->batch > 1) return MGN_OK;
    const CLBlastTranspose ta = p->transpose_a ? CLBlastTransposeYes : CLBlastTransposeNo;
    const CLBlastTranspose tb = p->transpose_b ? CLBlastTransposeYes : CLBlastTransposeNo;
    const size_t a_ld = p->transpose_a ? p->m : p->k, b_ld = p->transpose_b ? p->k : p->n;
    const CLBlastStatusCode code =
        p->dtype == MGN_F64
            ? CLBlastDGemmTempBufferSize(CLBlastLayoutRowMajor, ta, tb, p->m, p->n, p->k, p->a_at, a_ld, p->b_at, b_ld,
                                         p->out_at, p->n, &device->queue, &p->temporary_bytes)
            : CLBlastSGemmTempBufferSize(CLBlastLayoutRowMajor, ta, tb, p->m, p->n, p->k, p->a_at, a_ld, p->b_at, b_ld,
                                         p->out_at, p->n, &device->queue, &p->temporary_bytes);
    return mgn_cl_check(device, code, "asking CLBlast about a product of %zu x %zu x %zu", p->m, p->k, p->n);
}

mgn_status mgn_cl_product_run(mgn_cl_device *device, const mgn_cl_product *p, cl_event *end) {
    const CLBlastTranspose ta = p->transpose_a ? CLBlastTransposeYes : CLBlastTransposeNo;
    const CLBlastTranspose tb = p->transpose_b ? CLBlastTransposeYes : CLBlastTransposeNo;
    const size_t a_ld = p->transpose_a ? p->m : p->k, b_ld = p->transpose_b ? p->k : p->n;
    const bool f64 = p->dtype == MGN_F64;
    const float beta = p->adds ? 1 : 0;
    CLBlastStatusCode code;
    if (p->batch > 1 && f64)
        code = CLBlastDgemmStridedBatched(CLBlastLayoutRowMajor, ta, tb, p->m, p->n, p->k, 1, p->a, p->a_at, a_ld,
                                          p->a_stride, p->b, p->b_at, b_ld, p->b_stride, 0, p->out, p->out_at, p->n,
                                          p->m * p->n, p->batch, &device->queue, end);
    else if (p->batch > 1)
        code = CLBlastSgemmStridedBatched(CLBlastLayoutRowMajor, ta, tb, p->m, p->n, p->k, 1, p->a, p->a_at, a_ld,
                                          p->a_stride, p->b, p->b_at, b_ld, p->b_stride, 0, p->out, p->out_at, p->n,
                                          p->m * p->n, p->batch, &device->queue, end);
    else if (f64)
        code =
            CLBlastDgemmWithTempBuffer(CLBlastLayoutRowMajor, ta, tb, p->m, p->n, p->k, 1, p->a, p->a_at, a_ld, p->b,
                                       p->b_at, b_ld, beta, p->out, p->out_at, p->n, &device->queue, end, p->temporary);
    else
        code =
            CLBlastSgemmWithTempBuffer(CLBlastLayoutRowMajor, ta, tb, p->m, p->n, p->k, 1, p->a, p->a_at, a_ld, p->b,
                                       p->b_at, b_ld, beta, p->out, p->out_at, p->n, &device->queue, end, p->temporary);
    return mgn_cl_check(device, code, "matmul by CLBlast, %zu x %zu x %zu", p->m, p->k, p->n);
}

/* Into a result of its own: what lies in the operands at this time is not to be changed. */
mgn_status mgn_cl_product_warm(mgn_cl_device *device, const mgn_cl_product *p) {
    const double begin = mgn_now();
    mgn_cl_product trial = *p;
    const size_t bytes = p->batch * p->m * p->n * mgn_dtype_size(p->dtype);
    trial.out_at = 0;
    MGN_TRY(mgn_cl_buffer_create(device, bytes, "the trial of a product", &trial.out));
    mgn_status status = mgn_cl_product_run(device, &trial, NULL);
    if (status == MGN_OK) status = mgn_cl_check(device, clFinish(device->queue), "matmul by CLBlast");
    mgn_cl_buffer_release(device, trial.out);
    mgn_cl_note_build(device, mgn_now() - begin);
    return status;
}
