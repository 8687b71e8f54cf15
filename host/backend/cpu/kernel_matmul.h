/* Matrix products out = op(a) op(b), batched, row-major; part of kernels.c.
 *
 * A BLAS call costs a fraction of a microsecond before it does anything, and models of plane fields and colours
 * multiply matrices of a few entries, so small ones have loops of their own, with 16 independent results side by side: 16 of the
 * batch, 16 rows, or 16 terms of a long sum. The rest is CBLAS on one thread; threads come from the chunks. */

#ifdef MGN_REAL_IS_DOUBLE
#define BLAS(routine) cblas_d##routine
#else
#define BLAS(routine) cblas_s##routine
#endif

/* Chunk = batch item * tiles + tile. */
static void matmul_operands(const mgn_cpu_task *task, int64_t item, const R **a, const R **b, R **out) {
    int64_t m = task->attributes.matmul.m, n = task->attributes.matmul.n;
    *a = (const R *)task->in[0] + item * task->attributes.matmul.stride_a;
    *b = (const R *)task->in[1] + item * task->attributes.matmul.stride_b;
    *out = (R *)task->out + item * m * n;
}

/* ---- many tiny matrices: 16 of the batch at a time, entries apart, batch members side by side ---- */

/* lanes[e][l] = entry e of matrix l; the matrix is stored as (rows, columns), or transposed. */
static void load_lanes(const R *x, int64_t stride, int64_t lanes_used, int64_t rows, int64_t columns, bool transposed,
                       R (*lanes)[MGN_CPU_LANES]) {
    for (int64_t i = 0; i < rows; i++) {
        for (int64_t j = 0; j < columns; j++) {
            const R *entry = x + (transposed ? j * rows + i : i * columns + j);
            R *to = lanes[i * columns + j];
            for (int64_t l = 0; l < lanes_used; l++) to[l] = entry[l * stride];
            for (int64_t l = lanes_used; l < MGN_CPU_LANES; l++) to[l] = 0;
        }
    }
}

static void matmul_lanes(const mgn_cpu_task *task, int64_t begin, int64_t end) {
    int64_t m = task->attributes.matmul.m, n = task->attributes.matmul.n, k = task->attributes.matmul.k;
    R a[MGN_CPU_SMALL_AREA][MGN_CPU_LANES], b[MGN_CPU_SMALL_AREA][MGN_CPU_LANES];
    for (int64_t item = begin; item < end; item += MGN_CPU_LANES) {
        int64_t used = MGN_MIN(MGN_CPU_LANES, end - item);
        const R *from_a, *from_b;
        R *out;
        matmul_operands(task, item, &from_a, &from_b, &out);
        load_lanes(from_a, task->attributes.matmul.stride_a, used, m, k, task->attributes.matmul.transpose_a, a);
        load_lanes(from_b, task->attributes.matmul.stride_b, used, k, n, task->attributes.matmul.transpose_b, b);
        for (int64_t i = 0; i < m; i++) {
            for (int64_t j = 0; j < n; j++) {
                R sum[MGN_CPU_LANES] = {0};
                for (int64_t p = 0; p < k; p++) {
                    const R *x = a[i * k + p], *y = b[p * n + j];
#pragma omp simd
                    for (int l = 0; l < MGN_CPU_LANES; l++) sum[l] += x[l] * y[l];
                }
                for (int64_t l = 0; l < used; l++) out[l * m * n + i * n + j] = sum[l];
            }
        }
    }
}

/* ---- many rows, small k and n: 16 rows at a time, features apart, rows side by side ---- */

/* features[f][l] = x(l, f), rows of `width` contiguous entries; the constant widths let compilers use shuffles. */
#define LOAD_ROWS(width)                                                           \
    case width:                                                                    \
        for (int l = 0; l < MGN_CPU_LANES; l++) {                                  \
            for (int f = 0; f < (width); f++) features[f][l] = x[l * (width) + f]; \
        }                                                                          \
        return;

static void load_rows(const R *x, int64_t rows, int64_t width, R (*features)[MGN_CPU_LANES]) {
    if (rows == MGN_CPU_LANES) {
        switch (width) {
            LOAD_ROWS(1)
            LOAD_ROWS(2)
            LOAD_ROWS(3)
            LOAD_ROWS(4)
        default: break;
        }
    }
    for (int64_t f = 0; f < width; f++) {
        for (int64_t l = 0; l < rows; l++) features[f][l] = x[l * width + f];
        for (int64_t l = rows; l < MGN_CPU_LANES; l++) features[f][l] = 0;
    }
}

/* The same where x(l, f) lies at x[f * stride + l]. */
static void load_columns(const R *x, int64_t rows, int64_t width, int64_t stride, R (*features)[MGN_CPU_LANES]) {
    for (int64_t f = 0; f < width; f++) {
        for (int64_t l = 0; l < rows; l++) features[f][l] = x[f * stride + l];
        for (int64_t l = rows; l < MGN_CPU_LANES; l++) features[f][l] = 0;
    }
}

#define STORE_ROWS(width)                                                          \
    case width:                                                                    \
        for (int l = 0; l < MGN_CPU_LANES; l++) {                                  \
            for (int f = 0; f < (width); f++) x[l * (width) + f] = features[f][l]; \
        }                                                                          \
        return;

static void store_rows(R *x, int64_t rows, int64_t width, const R (*features)[MGN_CPU_LANES]) {
    if (rows == MGN_CPU_LANES) {
        switch (width) {
            STORE_ROWS(1)
            STORE_ROWS(2)
            STORE_ROWS(3)
            STORE_ROWS(4)
        default: break;
        }
    }
    for (int64_t f = 0; f < width; f++) {
        for (int64_t l = 0; l < rows; l++) x[l * width + f] = features[f][l];
    }
}

static void matmul_rows(const mgn_cpu_task *task, int64_t item, int64_t begin, int64_t end) {
    int64_t m = task->attributes.matmul.m, n = task->attributes.matmul.n, k = task->attributes.matmul.k;
    const R *a, *b;
    R *out, small[MGN_CPU_SMALL][MGN_CPU_SMALL]; /* op(b), transposed */
    R features[MGN_CPU_SMALL][MGN_CPU_LANES], sums[MGN_CPU_SMALL][MGN_CPU_LANES];
    matmul_operands(task, item, &a, &b, &out);
    for (int64_t j = 0; j < n; j++) {
        for (int64_t p = 0; p < k; p++) small[j][p] = task->attributes.matmul.transpose_b ? b[j * k + p] : b[p * n + j];
    }
    for (int64_t row = begin; row < end; row += MGN_CPU_LANES) {
        int64_t rows = MGN_MIN(MGN_CPU_LANES, end - row);
        if (task->attributes.matmul.transpose_a) {
            load_columns(a + row, rows, k, m, features);
        } else {
            load_rows(a + row * k, rows, k, features);
        }
        for (int64_t j = 0; j < n; j++) {
            R sum[MGN_CPU_LANES] = {0};
            for (int64_t p = 0; p < k; p++) {
                R factor = small[j][p];
#pragma omp simd
                for (int l = 0; l < MGN_CPU_LANES; l++) sum[l] += factor * features[p][l];
            }
            memcpy(sums[j], sum, sizeof sum);
        }
        store_rows(out + row * n, rows, n, (const R(*)[MGN_CPU_LANES])sums);
    }
}

/* ---- a small result of long columns: 16 terms side by side ---- */

/* Adds the products of terms begin .. end - 1 to the totals, 256 terms between roundings to double. */
static void gram_terms(const mgn_cpu_task *task, const R *a, const R *b, int64_t begin, int64_t end, double *totals) {
    int64_t m = task->attributes.matmul.m, n = task->attributes.matmul.n, k = task->attributes.matmul.k;
    R x[MGN_CPU_SMALL][MGN_CPU_LANES], y[MGN_CPU_SMALL][MGN_CPU_LANES];
    R sums[MGN_CPU_SMALL * MGN_CPU_SMALL][MGN_CPU_LANES];
    for (int64_t block = begin; block < end; block += 256) {
        int64_t block_end = MGN_MIN(block + 256, end);
        memset(sums, 0, (size_t)(m * n) * sizeof sums[0]);
        for (int64_t p = block; p < block_end; p += MGN_CPU_LANES) {
            int64_t terms = MGN_MIN(MGN_CPU_LANES, block_end - p);
            if (task->attributes.matmul.transpose_a) {
                load_rows(a + p * m, terms, m, x);
            } else {
                load_columns(a + p, terms, m, k, x);
            }
            if (task->attributes.matmul.transpose_b) {
                load_columns(b + p, terms, n, k, y);
            } else {
                load_rows(b + p * n, terms, n, y);
            }
            for (int64_t i = 0; i < m; i++) {
                for (int64_t j = 0; j < n; j++) {
                    R *sum = sums[i * n + j];
#pragma omp simd
                    for (int l = 0; l < MGN_CPU_LANES; l++) sum[l] += x[i][l] * y[j][l];
                }
            }
        }
        for (int64_t e = 0; e < m * n; e++) total_add(&totals[2 * e], &totals[2 * e + 1], (double)fold_16(sums[e], 1));
    }
}

/* Parts of k go to scratch as {high, low} pairs: (batch, parts, m n, 2). */
static void matmul_gram(const mgn_cpu_task *task, int64_t chunk) {
    int64_t item = chunk / task->parts, part = chunk % task->parts;
    int64_t area = task->attributes.matmul.m * task->attributes.matmul.n, begin = part * task->chunk_size;
    double totals[2 * MGN_CPU_SMALL * MGN_CPU_SMALL];
    const R *a, *b;
    R *out;
    matmul_operands(task, item, &a, &b, &out);
    memset(totals, 0, (size_t)(2 * area) * sizeof(double));
    gram_terms(task, a, b, begin, MGN_MIN(begin + task->chunk_size, task->attributes.matmul.k), totals);
    if (task->parts > 1) {
        memcpy((double *)task->scratch + chunk * 2 * area, totals, (size_t)(2 * area) * sizeof(double));
    } else {
        for (int64_t e = 0; e < area; e++) out[e] = total_value(totals[2 * e], totals[2 * e + 1]);
    }
}

static void finish_gram(const mgn_cpu_task *task) {
    int64_t area = task->attributes.matmul.m * task->attributes.matmul.n;
    for (int64_t item = 0; task->parts > 1 && item < task->attributes.matmul.batch; item++) {
        const double *partial = (const double *)task->scratch + item * task->parts * 2 * area;
        for (int64_t e = 0; e < area; e++) {
            double high = 0, low = 0;
            for (int64_t p = 0; p < task->parts; p++) {
                total_add(&high, &low, partial[2 * (p * area + e)]);
                low += partial[2 * (p * area + e) + 1];
            }
            ((R *)task->out)[item * area + e] = total_value(high, low);
        }
    }
}

/* ---- everything else: BLAS ---- */

/* Rows row .. row + rows - 1 and columns column .. of op(a)[:, from .. from + terms - 1] op(b)[from.., :]. */
static void blas_tile(const mgn_cpu_task *task, const R *a, const R *b, R *out, int64_t row, int64_t rows,
                      int64_t column, int64_t columns, int64_t from, int64_t terms) {
    int64_t m = task->attributes.matmul.m, n = task->attributes.matmul.n, k = task->attributes.matmul.k;
    bool ta = task->attributes.matmul.transpose_a, tb = task->attributes.matmul.transpose_b;
    const R *x = a + (ta ? from * m + row : row * k + from);
    const R *y = b + (tb ? column * k + from : from * n + column);
    R *to = out + row * n + column;
    if (n == 1) {
        memset(to, 0, (size_t)rows * sizeof(R));
        BLAS(gemv)
        (CblasRowMajor, ta ? CblasTrans : CblasNoTrans, (blasint)(ta ? terms : rows), (blasint)(ta ? rows : terms), 1,
         x, (blasint)(ta ? m : k), y, 1, 0, to, 1);
        return;
    }
    BLAS(gemm)
    (CblasRowMajor, ta ? CblasTrans : CblasNoTrans, tb ? CblasTrans : CblasNoTrans, (blasint)rows, (blasint)columns,
     (blasint)terms, 1, x, (blasint)(ta ? m : k), y, (blasint)(tb ? k : n), task->attributes.matmul.adds ? 1 : 0, to,
     (blasint)n);
}

/* Tiles of chunk_size rows and `columns` columns. */
static void matmul_blas(const mgn_cpu_task *task, int64_t chunk) {
    int64_t m = task->attributes.matmul.m, n = task->attributes.matmul.n;
    int64_t across = (n + task->columns - 1) / task->columns, down = (m + task->chunk_size - 1) / task->chunk_size;
    int64_t column = chunk % across * task->columns, row = chunk / across % down * task->chunk_size;
    const R *a, *b;
    R *out;
    matmul_operands(task, chunk / across / down, &a, &b, &out);
    blas_tile(task, a, b, out, row, MGN_MIN(task->chunk_size, m - row), column, MGN_MIN(task->columns, n - column), 0,
              task->attributes.matmul.k);
}

/* Block number `chunk` of those on and above the diagonal of blocks x blocks. */
static void upper_block(int64_t chunk, int64_t blocks, int64_t *i, int64_t *j) {
    for (*i = 0, *j = chunk; *j >= blocks - *i; ++*i) *j -= blocks - *i;
    *j += *i;
}

/* Tiles of chunk_size rows and columns of a matrix's product with its own transpose. */
static void matmul_self(const mgn_cpu_task *task, int64_t chunk) {
    const int64_t n = task->attributes.matmul.n, k = task->attributes.matmul.k, edge = task->chunk_size;
    const bool ta = task->attributes.matmul.transpose_a;
    const R *a = task->in[0];
    R *out = task->out;
    int64_t i, j;
    upper_block(chunk, (n + edge - 1) / edge, &i, &j);
    const int64_t row = i * edge, rows = MGN_MIN(edge, n - row), column = j * edge, columns = MGN_MIN(edge, n - column);
    if (i == j) {
        BLAS(syrk)
        (CblasRowMajor, CblasUpper, ta ? CblasTrans : CblasNoTrans, (blasint)rows, (blasint)k, 1,
         a + (ta ? row : row * k), (blasint)(ta ? n : k), 0, out + row * n + row, (blasint)n);
    } else {
        blas_tile(task, a, a, out, row, rows, column, columns, 0, k);
    }
    for (int64_t first = row; first < row + rows; first += MGN_CPU_LANES) { /* whole cache lines of both */
        const int64_t end = MGN_MIN(first + MGN_CPU_LANES, row + rows);
        for (int64_t c = MGN_MAX(column, first + 1); c < column + columns; c++)
            for (int64_t r = first; r < MGN_MIN(end, c); r++) out[c * n + r] = out[r * n + c];
    }
}

/* Parts of chunk_size terms, to scratch: (batch, parts, m, n). */
static void matmul_split(const mgn_cpu_task *task, int64_t chunk) {
    int64_t m = task->attributes.matmul.m, n = task->attributes.matmul.n, k = task->attributes.matmul.k;
    int64_t from = chunk % task->parts * task->chunk_size;
    const R *a, *b;
    R *out;
    matmul_operands(task, chunk / task->parts, &a, &b, &out);
    blas_tile(task, a, b, (R *)task->scratch + chunk * m * n, 0, m, 0, n, from, MGN_MIN(task->chunk_size, k - from));
}

static void finish_split(const mgn_cpu_task *task) {
    int64_t area = task->attributes.matmul.m * task->attributes.matmul.n;
    for (int64_t item = 0; item < task->attributes.matmul.batch; item++) {
        const R *partial = (const R *)task->scratch + item * task->parts * area;
        R *out = (R *)task->out + item * area;
        memcpy(out, partial, (size_t)area * sizeof(R));
        for (int64_t p = 1; p < task->parts; p++) {
#pragma omp simd
            for (int64_t e = 0; e < area; e++) out[e] += partial[p * area + e];
        }
    }
}

static void chunk_matmul(const mgn_cpu_task *task, int64_t chunk) {
    int64_t begin = chunk * task->chunk_size;
    switch (task->kind) {
    case MGN_CPU_MATMUL_ZERO: memset(task->out, 0, (size_t)task->count * sizeof(R)); break;
    case MGN_CPU_MATMUL_LANES:
        matmul_lanes(task, begin, MGN_MIN(begin + task->chunk_size, task->attributes.matmul.batch));
        break;
    case MGN_CPU_MATMUL_ROWS:
        begin = chunk % task->parts * task->chunk_size;
        matmul_rows(task, chunk / task->parts, begin, MGN_MIN(begin + task->chunk_size, task->attributes.matmul.m));
        break;
    case MGN_CPU_MATMUL_GRAM: matmul_gram(task, chunk); break;
    case MGN_CPU_MATMUL_BLAS: matmul_blas(task, chunk); break;
    case MGN_CPU_MATMUL_SPLIT: matmul_split(task, chunk); break;
    case MGN_CPU_MATMUL_SELF: matmul_self(task, chunk); break;
    case MGN_CPU_MATMUL_PANELS: matmul_panels(task, chunk); break;
    }
}

static void finish_matmul(const mgn_cpu_task *task) {
    if (task->kind == MGN_CPU_MATMUL_GRAM) finish_gram(task);
    if (task->kind == MGN_CPU_MATMUL_SPLIT) finish_split(task);
}
