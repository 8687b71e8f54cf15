/* Symmetric positive definite matrices a (batch, d, d), of which only (a + a^T) / 2 counts: log det, inverse, solve,
 * all by Cholesky, a matrix per work-item (on CPU devices per lane). A pivot that is not positive becomes NaN, and so
 * does everything that is made from it: the rest of that matrix, and nothing of the others.
 *
 * With MGN_D (small d, known to the compiler) the workspace of a matrix is private memory; without, it is in `work`,
 * and `step` apart there, so that neighbouring work-items of a GPU read neighbouring memory. It holds the factor, by
 * rows, its diagonal as reciprocals, and a vector. */
#include "mgn_lanes.h"

#define TRIANGLE(i) ((i) * ((i) + 1) / 2)
#define L(i, j) w[(TRIANGLE(i) + (j)) * step]
#define Y(i) w[(TRIANGLE(d) + (i)) * step]

#ifdef MGN_D
#define SPACE private
#define PARAMETERS
#define WORKSPACE                             \
    const uint d = MGN_D;                     \
    const ulong step = 1;                     \
    R w[TRIANGLE(MGN_D) + MGN_D];
#elif MGN_WIDTH == 1
#define SPACE global
#define PARAMETERS global real *work, ulong work_at, ulong order,
#define WORKSPACE               \
    const uint d = (uint)order; \
    const ulong step = batch;   \
    global R *w = work + work_at + b;
#else
#define SPACE global
#define PARAMETERS global real *work, ulong work_at, ulong order,
#define WORKSPACE               \
    const uint d = (uint)order; \
    const ulong step = 1;       \
    global R *w = (global R *)(work + work_at) + b / MGN_WIDTH * (TRIANGLE(order) + order);
#endif

#define EACH_MATRIX                                                 \
    for (ulong b = get_global_id(0) * MGN_WIDTH; b < batch; b += get_global_size(0) * MGN_WIDTH)
#define LANES ((uint)min((ulong)MGN_WIDTH, batch - b))

/* Factors the matrices at `a`, one per lane, and gives their log determinants. */
M_FUNCTION R factor(global const real *a, uint lanes, SPACE R *w, ulong step, uint d) {
    const ulong apart = (ulong)d * d;
    R logdet = (R)0;
    for (uint i = 0; i < d; i++) {
        for (uint j = 0; j < i; j++) {
            R s = (m_load(a + i * d + j, apart, lanes) + m_load(a + j * d + i, apart, lanes)) * (R)0.5f;
            for (uint p = 0; p < j; p++) s -= L(i, p) * L(j, p);
            L(i, j) = s * L(j, j);
        }
        R s = m_load(a + i * d + i, apart, lanes);
        for (uint p = 0; p < i; p++) s -= L(i, p) * L(i, p);
        s = s > (R)0 ? s : (R)NAN;
        L(i, i) = (R)1 / m_sqrt(s);
        logdet += m_log(s);
    }
    return logdet;
}

/* y := L^-1 y, its entries before `first` being 0. */
M_FUNCTION void forward(SPACE R *w, ulong step, uint d, uint first) {
    for (uint i = first; i < d; i++) {
        R s = Y(i);
        for (uint p = first; p < i; p++) s -= L(i, p) * Y(p);
        Y(i) = s * L(i, i);
    }
}

/* y := L^-T y, entries `first` and later only. */
M_FUNCTION void backward(SPACE R *w, ulong step, uint d, uint first) {
    for (uint i = d; i-- > first;) {
        R s = Y(i);
        for (uint p = i + 1; p < d; p++) s -= L(p, i) * Y(p);
        Y(i) = s * L(i, i);
    }
}

MGN_KERNEL void logdet(PARAMETERS global const real *a, ulong a_at, global real *out, ulong out_at, ulong batch) {
    EACH_MATRIX {
        WORKSPACE
        const uint lanes = LANES;
        m_store(factor(a + a_at + b * d * d, lanes, w, step, d), out + out_at + b, 1, lanes);
    }
}

/* Column by column; each is used from its diagonal down, and mirrored, so that the result is symmetric. */
MGN_KERNEL void inverse(PARAMETERS global const real *a, ulong a_at, global real *out, ulong out_at, ulong batch) {
    EACH_MATRIX {
        WORKSPACE
        const uint lanes = LANES;
        const ulong apart = (ulong)d * d;
        factor(a + a_at + b * apart, lanes, w, step, d);
        global real *x = out + out_at + b * apart;
        for (uint c = 0; c < d; c++) {
            for (uint i = c; i < d; i++) Y(i) = i == c ? (R)1 : (R)0;
            forward(w, step, d, c);
            backward(w, step, d, c);
            for (uint i = c; i < d; i++) {
                m_store(Y(i), x + i * d + c, apart, lanes);
                m_store(Y(i), x + c * d + i, apart, lanes);
            }
        }
    }
}

MGN_KERNEL void solve(PARAMETERS global const real *a, ulong a_at, global const real *right, ulong right_at,
                      global real *out, ulong out_at, ulong batch, ulong columns) {
    EACH_MATRIX {
        WORKSPACE
        const uint lanes = LANES;
        const ulong apart = d * columns;
        factor(a + a_at + b * d * d, lanes, w, step, d);
        global const real *y = right + right_at + b * apart;
        global real *x = out + out_at + b * apart;
        for (ulong c = 0; c < columns; c++) {
            for (uint i = 0; i < d; i++) Y(i) = m_load(y + i * columns + c, apart, lanes);
            forward(w, step, d, 0);
            backward(w, step, d, 0);
            for (uint i = 0; i < d; i++) m_store(Y(i), x + i * columns + c, apart, lanes);
        }
    }
}
