/* Log determinants, inverses and solutions with symmetric positive definite matrices, batched; part of kernels.c.
 *
 * All go by the Cholesky factor A = L L^T of the symmetric part. Matrices up to MGN_CPU_SMALL are factored 16 of the
 * batch at a time, entries apart and batch members side by side, so that every step is a SIMD loop; larger ones by
 * LAPACK in the call's scratch memory. A pivot that is not positive becomes NaN, which spreads to all results of its
 * matrix by itself: every later row of L contains it. */

#ifdef MGN_REAL_IS_DOUBLE
#define LAPACK(routine) LAPACKE_d##routine
#else
#define LAPACK(routine) LAPACKE_s##routine
#endif

typedef R lane_matrix[MGN_CPU_SMALL][MGN_CPU_SMALL][MGN_CPU_LANES];

#define FOR_LANES _Pragma("omp simd") for (int l = 0; l < MGN_CPU_LANES; l++)

/* The lower triangle of the symmetric parts; lanes that are not used hold the identity. */
static void load_symmetric(const R *x, int64_t used, int64_t d, lane_matrix a) {
    for (int64_t i = 0; i < d; i++) {
        for (int64_t j = 0; j <= i; j++) {
            for (int64_t l = 0; l < used; l++)
                a[i][j][l] = (R)0.5 * x[l * d * d + i * d + j] + (R)0.5 * x[l * d * d + j * d + i];
            for (int64_t l = used; l < MGN_CPU_LANES; l++) a[i][j][l] = i == j ? 1 : 0;
        }
    }
}

/* a becomes L below the diagonal and 1 / L_jj on it; squares[j] gets L_jj^2. */
static void cholesky_lanes(lane_matrix a, int64_t d, R (*squares)[MGN_CPU_LANES]) {
    for (int64_t j = 0; j < d; j++) {
        R pivot[MGN_CPU_LANES];
        FOR_LANES pivot[l] = a[j][j][l];
        for (int64_t k = 0; k < j; k++) FOR_LANES pivot[l] -= a[j][k][l] * a[j][k][l];
        FOR_LANES {
            R p = pivot[l] > (R)0 ? pivot[l] : (R)NAN;
            squares[j][l] = p;
            a[j][j][l] = (R)1 / m_sqrt(p);
        }
        for (int64_t i = j + 1; i < d; i++) {
            R sum[MGN_CPU_LANES];
            FOR_LANES sum[l] = a[i][j][l];
            for (int64_t k = 0; k < j; k++) FOR_LANES sum[l] -= a[i][k][l] * a[j][k][l];
            FOR_LANES a[i][j][l] = sum[l] * a[j][j][l];
        }
    }
}

/* x = L^-1 x, then x = L^-T x where asked. */
static void solve_lanes(lane_matrix a, int64_t d, R (*x)[MGN_CPU_LANES], bool both) {
    for (int64_t i = 0; i < d; i++) {
        R sum[MGN_CPU_LANES];
        FOR_LANES sum[l] = x[i][l];
        for (int64_t k = 0; k < i; k++) FOR_LANES sum[l] -= a[i][k][l] * x[k][l];
        FOR_LANES x[i][l] = sum[l] * a[i][i][l];
    }
    for (int64_t i = d - 1; both && i >= 0; i--) {
        R sum[MGN_CPU_LANES];
        FOR_LANES sum[l] = x[i][l];
        for (int64_t k = i + 1; k < d; k++) FOR_LANES sum[l] -= a[k][i][l] * x[k][l];
        FOR_LANES x[i][l] = sum[l] * a[i][i][l];
    }
}

static void logdet_lanes(int64_t used, int64_t d, R (*squares)[MGN_CPU_LANES], R *out) {
    R sum[MGN_CPU_LANES] = {0};
    for (int64_t j = 0; j < d; j++) FOR_LANES sum[l] += m_log(squares[j][l]);
    memcpy(out, sum, (size_t)used * sizeof(R));
}

/* Columns of the identity one by one; the result is symmetric to the last bit because only i >= j is computed. */
static void inverse_lanes(lane_matrix a, int64_t used, int64_t d, R *out) {
    R x[MGN_CPU_SMALL][MGN_CPU_LANES];
    for (int64_t j = 0; j < d; j++) {
        for (int64_t i = 0; i < d; i++) FOR_LANES x[i][l] = i == j ? (R)1 : (R)0;
        solve_lanes(a, d, x, true);
        for (int64_t i = j; i < d; i++) {
            for (int64_t l = 0; l < used; l++) out[l * d * d + i * d + j] = out[l * d * d + j * d + i] = x[i][l];
        }
    }
}

static void columns_lanes(lane_matrix a, int64_t used, int64_t d, int64_t columns, const R *b, R *out) {
    R x[MGN_CPU_SMALL][MGN_CPU_LANES];
    memset(x, 0, sizeof x);
    for (int64_t c = 0; c < columns; c++) {
        for (int64_t i = 0; i < d; i++) {
            for (int64_t l = 0; l < used; l++) x[i][l] = b[(l * d + i) * columns + c];
        }
        solve_lanes(a, d, x, true);
        for (int64_t i = 0; i < d; i++) {
            for (int64_t l = 0; l < used; l++) out[(l * d + i) * columns + c] = x[i][l];
        }
    }
}

/* L of one large matrix into the lower triangle of `factor`: column-major "U" is row-major lower. */
static bool cholesky_large(const R *a, int64_t d, R *factor) {
    for (int64_t i = 0; i < d; i++) {
        for (int64_t j = 0; j <= i; j++) factor[i * d + j] = (R)0.5 * a[i * d + j] + (R)0.5 * a[j * d + i];
    }
    if (LAPACK(potrf_work)(LAPACK_COL_MAJOR, 'U', (lapack_int)d, factor, (lapack_int)d) != 0) return false;
    for (int64_t j = 0; j < d; j++) {
        if (!(factor[j * d + j] > 0)) return false;
    }
    return true;
}

static void spd_large(const mgn_cpu_task *task, mgn_op op, int64_t item) {
    int64_t d = task->attributes.spd.d, columns = task->attributes.spd.columns;
    R *factor = (R *)task->scratch + item * d * d, *out = task->out;
    out += item * (op == MGN_OP_spd_logdet ? 1 : op == MGN_OP_spd_inverse ? d * d : d * columns);
    bool definite = cholesky_large((const R *)task->in[0] + item * d * d, d, factor);
    if (op == MGN_OP_spd_logdet) {
        R sum = 0;
        for (int64_t j = 0; j < d; j++) sum += m_log(factor[j * d + j]);
        *out = definite ? 2 * sum : (R)NAN;
    } else if (op == MGN_OP_spd_inverse) {
        definite = definite && LAPACK(potri_work)(LAPACK_COL_MAJOR, 'U', (lapack_int)d, factor, (lapack_int)d) == 0;
        for (int64_t i = 0; i < d; i++) {
            for (int64_t j = 0; j <= i; j++) out[i * d + j] = out[j * d + i] = definite ? factor[i * d + j] : (R)NAN;
        }
    } else {
        memcpy(out, (const R *)task->in[1] + item * d * columns, (size_t)(d * columns) * sizeof(R));
        for (int transposed = 0; definite && transposed < 2; transposed++) {
            BLAS(trsm)
            (CblasRowMajor, CblasLeft, CblasLower, transposed ? CblasTrans : CblasNoTrans, CblasNonUnit, (blasint)d,
             (blasint)columns, 1, factor, (blasint)d, out, (blasint)columns);
        }
        for (int64_t i = 0; !definite && i < d * columns; i++) out[i] = (R)NAN;
    }
}

static void spd(const mgn_cpu_task *task, mgn_op op, int64_t chunk) {
    int64_t d = task->attributes.spd.d, columns = task->attributes.spd.columns;
    int64_t begin = chunk * task->chunk_size, end = MGN_MIN(begin + task->chunk_size, task->attributes.spd.batch);
    if (d > MGN_CPU_SMALL) {
        for (int64_t item = begin; item < end; item++) spd_large(task, op, item);
        return;
    }
    lane_matrix a;
    R squares[MGN_CPU_SMALL][MGN_CPU_LANES], *out = task->out;
    for (int64_t item = begin; item < end; item += MGN_CPU_LANES) {
        int64_t used = MGN_MIN(MGN_CPU_LANES, end - item);
        load_symmetric((const R *)task->in[0] + item * d * d, used, d, a);
        cholesky_lanes(a, d, squares);
        if (op == MGN_OP_spd_logdet) {
            logdet_lanes(used, d, squares, out + item);
        } else if (op == MGN_OP_spd_inverse) {
            inverse_lanes(a, used, d, out + item * d * d);
        } else {
            int64_t at = item * d * columns;
            columns_lanes(a, used, d, columns, (const R *)task->in[1] + at, out + at);
        }
    }
}

static void chunk_spd_logdet(const mgn_cpu_task *task, int64_t chunk) { spd(task, MGN_OP_spd_logdet, chunk); }
static void chunk_spd_inverse(const mgn_cpu_task *task, int64_t chunk) { spd(task, MGN_OP_spd_inverse, chunk); }
static void chunk_spd_solve(const mgn_cpu_task *task, int64_t chunk) { spd(task, MGN_OP_spd_solve, chunk); }
