/* Sums over all pairs of two point clouds, streaming; part of kernels.c.
 *
 * A chunk owns some rows i and walks the columns j in tiles, which stay in the first cache: the exponents of a tile,
 * their maximum, then the powers. The maximum is online per tile, not per pair. Everything is in powers of two, which
 * saves a product per pair. Few coordinates: differences, from a feature-major copy of the tile. Many (or matrices of
 * costs that are given): the products x_i . y_j of a tile come from BLAS. Rows are independent and columns are added in
 * order, so results do not depend on threads. */

enum { CLOUD_COLUMNS = 512, CLOUD_ROWS = 4, CLOUD_WIDE_COLUMNS = 256 };

static const R cloud_log2e = (R)1.44269504088896340736, cloud_ln2 = (R)0.69314718055994530942;

/* A tile of columns. */
typedef struct cloud_tile {
    int64_t begin, count, padded; /* padded: to whole lanes; what is behind `count` has height -INFINITY */
    R h[CLOUD_COLUMNS];           /* in powers of two; with many coordinates |y|^2 / 2 is taken off */
    R y[MGN_CPU_CLOUD_NARROW][CLOUD_COLUMNS];
} cloud_tile;

/* The log sum of a row so far: 2^top * sum. */
typedef struct cloud_total {
    R top;
    double sum;
} cloud_total;

/* ---- powers of two ---- */

/* A constant that compilers take for a variable. gcc 12 carries a bound that it knows past the comparison into all that is
 * computed from it, and blends each of these instead of taking one maximum. */
static inline R cloud_opaque(R a) {
    __asm__("" : "+m"(a));
    return a;
}

#ifdef MGN_REAL_IS_DOUBLE
static inline R cloud_power(R t, R least) { return (void)least, exp2(t); }
static inline R cloud_power_any(R t) { return exp2(t); }
#else
/* 2^r for |r| <= 1/2, 1 at 0; relative error 2e-7. */
static inline R cloud_fraction(R r) {
    R p = (R)1.33952422e-3f;
    p = m_fma(p, r, (R)9.61777863e-3f);
    p = m_fma(p, r, (R)5.55032730e-2f);
    p = m_fma(p, r, (R)2.40226830e-1f);
    p = m_fma(p, r, (R)6.93147182e-1f);
    return m_fma(p, r, (R)1);
}

/* 2^t for t < 127.5; not less than 2^least, which is 2^-126 and next to the row's largest term, 1, nothing. The low bits of
 * `shifted` are those of the exponent of a number; by a product, not a sum of bits, a NaN stays one. */
static inline R cloud_power(R t, R least) {
    const R shift = (R)M_ROUND + (R)127;
    t = t < least ? least : t;
    R shifted = t + shift;
    return cloud_fraction(t - (shifted - shift)) * m_real(m_bits(shifted) << 23);
}

/* 2^t for any t; 0 below 2^-100, because products of denormals take a hundred times as long. */
static inline R cloud_power_any(R t) {
    R u = t < (R)-100 ? (R)-100 : t;
    u = u > (R)136 ? (R)136 : u;
    R shifted = u + (R)M_ROUND;
    m_i n = m_signed(m_bits(shifted) - 0x4b400000u), half_n = n >> 1;
    R power = cloud_fraction(u - (shifted - (R)M_ROUND)) * m_pow2(half_n) * m_pow2(n - half_n);
    return t < (R)-100 ? (R)0 : power;
}
#endif

/* ---- exponents of a tile ---- */

/* |x|^2 / 2 of a row, in powers of two. */
static R cloud_norm(const R *x, int64_t d) {
    R sums[MGN_CPU_LANES] = {0};
    int64_t k = 0;
    for (; k + MGN_CPU_LANES <= d; k += MGN_CPU_LANES) FOR_LANES sums[l] += x[k + l] * x[k + l];
    for (; k < d; k++) sums[0] += x[k] * x[k];
    return (R)0.5 * cloud_log2e * fold_16(sums, 1);
}

static void cloud_load_tile(const mgn_cpu_task *task, const R *y, const R *h, int64_t begin, int64_t most,
                            cloud_tile *tile) {
    int64_t d = task->attributes.cloud.d;
    tile->begin = begin;
    tile->count = MGN_MIN(most, task->attributes.cloud.m - begin);
    tile->padded = (tile->count + MGN_CPU_LANES - 1) / MGN_CPU_LANES * MGN_CPU_LANES;
    for (int64_t j = 0; j < tile->count; j++) tile->h[j] = h[begin + j] * cloud_log2e;
    for (int64_t j = tile->count; j < tile->padded; j++) tile->h[j] = -(R)INFINITY;
    if (task->wide) {
        for (int64_t j = 0; j < tile->count; j++) tile->h[j] -= cloud_norm(y + (begin + j) * d, d);
    } else {
        for (int64_t k = 0; k < d; k++) {
            for (int64_t j = 0; j < tile->count; j++) tile->y[k][j] = y[(begin + j) * d + k];
            for (int64_t j = tile->count; j < tile->padded; j++) tile->y[k][j] = 0;
        }
    }
}

/* Squared distances of four rows, whose coordinates are x[k][row], from column j. */
typedef struct cloud_quad {
    R s0, s1, s2, s3;
} cloud_quad;

static inline __attribute__((always_inline)) cloud_quad cloud_distances(const R (*x)[CLOUD_ROWS],
                                                                        const cloud_tile *tile, int64_t d, int64_t j) {
    R y = tile->y[0][j];
    cloud_quad q = {(x[0][0] - y) * (x[0][0] - y), (x[0][1] - y) * (x[0][1] - y), (x[0][2] - y) * (x[0][2] - y),
                    (x[0][3] - y) * (x[0][3] - y)};
    for (int64_t k = 1; k < d; k++) {
        y = tile->y[k][j];
        q.s0 = m_fma(x[k][0] - y, x[k][0] - y, q.s0);
        q.s1 = m_fma(x[k][1] - y, x[k][1] - y, q.s1);
        q.s2 = m_fma(x[k][2] - y, x[k][2] - y, q.s2);
        q.s3 = m_fma(x[k][3] - y, x[k][3] - y, q.s3);
    }
    return q;
}

/* Exponents of four rows in powers of two, and their maxima. */
static inline __attribute__((always_inline)) void cloud_differences(const R (*x)[CLOUD_ROWS], const cloud_tile *tile,
                                                                    int64_t d, R (*e)[CLOUD_COLUMNS], R *top) {
    R t0 = -(R)INFINITY, t1 = t0, t2 = t0, t3 = t0;
    const R half = (R)0.5 * cloud_log2e;
#pragma omp simd reduction(max : t0, t1, t2, t3)
    for (int64_t j = 0; j < tile->padded; j++) {
        const cloud_quad q = cloud_distances(x, tile, d, j);
        const R h = tile->h[j], s0 = m_fma(-half, q.s0, h), s1 = m_fma(-half, q.s1, h), s2 = m_fma(-half, q.s2, h),
                s3 = m_fma(-half, q.s3, h);
        e[0][j] = s0, e[1][j] = s1, e[2][j] = s2, e[3][j] = s3;
        t0 = s0 > t0 ? s0 : t0;
        t1 = s1 > t1 ? s1 : t1;
        t2 = s2 > t2 ? s2 : t2;
        t3 = s3 > t3 ? s3 : t3;
    }
    top[0] = t0, top[1] = t1, top[2] = t2, top[3] = t3;
}

/* Squared distances of four rows with the number of coordinates unknown to the compiler: coordinate by coordinate over
 * the tile. */
static void cloud_distances_any(const R (*x)[CLOUD_ROWS], const cloud_tile *tile, int64_t d, R (*e)[CLOUD_COLUMNS]) {
    for (int r = 0; r < CLOUD_ROWS; r++) {
        for (int64_t j = 0; j < tile->padded; j++) e[r][j] = 0;
        for (int64_t k = 0; k < d; k++) {
            const R *y = tile->y[k], a = x[k][r];
#pragma omp simd
            for (int64_t j = 0; j < tile->padded; j++) e[r][j] = m_fma(a - y[j], a - y[j], e[r][j]);
        }
    }
}

/* Their exponents and maxima. */
static void cloud_differences_any(const R (*x)[CLOUD_ROWS], const cloud_tile *tile, int64_t d, R (*e)[CLOUD_COLUMNS],
                                  R *top) {
    const R half = (R)0.5 * cloud_log2e;
    cloud_distances_any(x, tile, d, e);
    for (int r = 0; r < CLOUD_ROWS; r++) {
        R t = -(R)INFINITY;
#pragma omp simd reduction(max : t)
        for (int64_t j = 0; j < tile->padded; j++) {
            R s = tile->h[j] - half * e[r][j];
            e[r][j] = s;
            t = s > t ? s : t;
        }
        top[r] = t;
    }
}

/* Coordinates of up to four rows, feature-major; missing rows repeat the last. */
static void cloud_load_rows(const R *x, int64_t d, int64_t rows, R (*to)[CLOUD_ROWS]) {
    for (int64_t r = 0; r < CLOUD_ROWS; r++) {
        const R *from = x + MGN_MIN(r, rows - 1) * d;
        for (int64_t k = 0; k < d; k++) to[k][r] = from[k];
    }
}

static void cloud_exponents(const R (*x)[CLOUD_ROWS], const cloud_tile *tile, int64_t d, R (*e)[CLOUD_COLUMNS],
                            R *top) {
    switch (d) {
    case 1: cloud_differences(x, tile, 1, e, top); break;
    case 2: cloud_differences(x, tile, 2, e, top); break;
    case 3: cloud_differences(x, tile, 3, e, top); break;
    case 4: cloud_differences(x, tile, 4, e, top); break;
    default: cloud_differences_any(x, tile, d, e, top);
    }
}

/* x_i . y_j in powers of two, y being the tile's: e (rows, CLOUD_WIDE_COLUMNS). */
static void cloud_products(const R *x, const R *y, int64_t rows, int64_t d, const cloud_tile *tile, R *e) {
    BLAS(gemm)
    (CblasRowMajor, CblasNoTrans, CblasTrans, (blasint)rows, (blasint)tile->count, (blasint)d, cloud_log2e, x,
     (blasint)d, y + tile->begin * d, (blasint)d, 0, e, CLOUD_WIDE_COLUMNS);
}

/* Exponents by products, but for -|x_i|^2 / 2, and their maxima. */
static void cloud_wide_exponents(const R *x, const R *y, int64_t rows, int64_t d, const cloud_tile *tile, R *e,
                                 R *top) {
    cloud_products(x, y, rows, d, tile, e);
    for (int64_t r = 0; r < rows; r++) {
        R *row = e + r * CLOUD_WIDE_COLUMNS, t = -(R)INFINITY;
        for (int64_t j = tile->count; j < tile->padded; j++) row[j] = 0;
#pragma omp simd reduction(max : t)
        for (int64_t j = 0; j < tile->padded; j++) {
            R s = row[j] + tile->h[j];
            row[j] = s;
            t = s > t ? s : t;
        }
        top[r] = t;
    }
}

/* ---- log sums ---- */

/* sum of 2^(e_j - top) over whole lanes. */
static inline double cloud_sum(const R *e, int64_t padded, R top) {
    R sums[MGN_CPU_LANES] = {0};
    const R least = cloud_opaque(-126);
    for (int64_t j = 0; j < padded; j += MGN_CPU_LANES) FOR_LANES sums[l] += cloud_power(e[j + l] - top, least);
    return (double)fold_16(sums, 1);
}

/* Takes a tile's exponents, with their maximum, into the row's total. */
static inline void cloud_absorb(cloud_total *total, const R *e, int64_t padded, R top) {
    if (top > total->top) {
        total->sum *= exp2((double)total->top - (double)top);
        total->top = top;
    }
    /* All heights so far are -INFINITY: what is added is next to nothing times 2^-INFINITY. */
    total->sum += cloud_sum(e, padded, total->top > -(R)INFINITY ? total->top : 0);
}

static inline R cloud_log(const cloud_total *total, R shift) {
    return (total->top - shift) * cloud_ln2 + (R)log(total->sum);
}

static void softmin_narrow(const mgn_cpu_task *task, int64_t begin, int64_t rows) {
    int64_t d = task->attributes.cloud.d, m = task->attributes.cloud.m;
    const R *x = (const R *)task->in[0] + begin * d;
    R coordinates[MGN_CPU_CLOUD_NARROW][CLOUD_ROWS], e[CLOUD_ROWS][CLOUD_COLUMNS], top[CLOUD_ROWS];
    cloud_total totals[MGN_CPU_CLOUD_ROWS];
    cloud_tile tile;
    for (int64_t r = 0; r < rows; r++) totals[r] = (cloud_total){-(R)INFINITY, 0};
    for (int64_t column = 0; column < m; column += CLOUD_COLUMNS) {
        cloud_load_tile(task, task->in[1], task->in[2], column, CLOUD_COLUMNS, &tile);
        for (int64_t row = 0; row < rows; row += CLOUD_ROWS) {
            int64_t used = MGN_MIN(CLOUD_ROWS, rows - row);
            cloud_load_rows(x + row * d, d, used, coordinates);
            cloud_exponents((const R(*)[CLOUD_ROWS])coordinates, &tile, d, e, top);
            for (int64_t r = 0; r < used; r++) cloud_absorb(&totals[row + r], e[r], tile.padded, top[r]);
        }
    }
    for (int64_t r = 0; r < rows; r++) ((R *)task->out)[begin + r] = cloud_log(&totals[r], 0);
}

static void softmin_wide(const mgn_cpu_task *task, int64_t begin, int64_t rows) {
    int64_t d = task->attributes.cloud.d, m = task->attributes.cloud.m;
    const R *x = (const R *)task->in[0] + begin * d;
    R e[2 * MGN_CPU_CLOUD_ROWS * CLOUD_WIDE_COLUMNS], top[2 * MGN_CPU_CLOUD_ROWS];
    cloud_total totals[2 * MGN_CPU_CLOUD_ROWS];
    cloud_tile tile;
    for (int64_t r = 0; r < rows; r++) totals[r] = (cloud_total){-(R)INFINITY, 0};
    for (int64_t column = 0; column < m; column += CLOUD_WIDE_COLUMNS) {
        cloud_load_tile(task, task->in[1], task->in[2], column, CLOUD_WIDE_COLUMNS, &tile);
        cloud_wide_exponents(x, task->in[1], rows, d, &tile, e, top);
        for (int64_t r = 0; r < rows; r++) cloud_absorb(&totals[r], e + r * CLOUD_WIDE_COLUMNS, tile.padded, top[r]);
    }
    for (int64_t r = 0; r < rows; r++) ((R *)task->out)[begin + r] = cloud_log(&totals[r], cloud_norm(x + r * d, d));
}

static void chunk_softmin(const mgn_cpu_task *task, int64_t chunk) {
    int64_t begin = chunk * task->chunk_size, rows = MGN_MIN(task->chunk_size, task->attributes.cloud.n - begin);
    if (task->wide)
        softmin_wide(task, begin, rows);
    else
        softmin_narrow(task, begin, rows);
}

/* Costs in memory: s[0], s[stride], ..., s[(m - 1) stride] with the heights h. */
static R softmin_dense_row(const R *s, int64_t stride, const R *h, int64_t m, R scale) {
    R e[CLOUD_COLUMNS];
    cloud_total total = {-(R)INFINITY, 0};
    for (int64_t column = 0; column < m; column += CLOUD_COLUMNS) {
        int64_t count = MGN_MIN(CLOUD_COLUMNS, m - column);
        int64_t padded = (count + MGN_CPU_LANES - 1) / MGN_CPU_LANES * MGN_CPU_LANES;
        R top = -(R)INFINITY;
        if (stride == 1) { /* known to the compiler */
#pragma omp simd
            for (int64_t j = 0; j < count; j++) e[j] = h[column + j] * cloud_log2e - scale * s[column + j];
        } else {
            for (int64_t j = 0; j < count; j++) e[j] = h[column + j] * cloud_log2e - scale * s[(column + j) * stride];
        }
        for (int64_t j = count; j < padded; j++) e[j] = -(R)INFINITY;
#pragma omp simd reduction(max : top)
        for (int64_t j = 0; j < padded; j++) top = e[j] > top ? e[j] : top;
        cloud_absorb(&total, e, padded, top);
    }
    return cloud_log(&total, 0);
}

static void chunk_softmin_dense(const mgn_cpu_task *task, int64_t chunk) {
    int64_t begin = chunk * task->chunk_size, end = MGN_MIN(begin + task->chunk_size, task->attributes.cloud.n);
    int64_t m = task->attributes.cloud.m;
    const R scale = (R)task->attributes.cloud.scale * cloud_log2e, *s = task->in[0];
    for (int64_t i = begin; i < end; i++) ((R *)task->out)[i] = softmin_dense_row(s + i * m, 1, task->in[1], m, scale);
}

/* ---- weighted sums ---- */

/* exponents become weights */
static inline void cloud_weights(R *e, int64_t padded, R f) {
#pragma omp simd
    for (int64_t j = 0; j < padded; j++) e[j] = cloud_power_any(e[j] + f);
}

/* sums[k] += sum_j w_j v_jk, few columns k: v (columns, CLOUD_COLUMNS), feature-major. */
static void cloud_add_narrow(const R *w, R (*v)[CLOUD_COLUMNS], int64_t columns, int64_t padded, double *sums) {
    for (int64_t k = 0; k < columns; k++) {
        const R *values = v[k];
        R lanes[MGN_CPU_LANES] = {0};
        for (int64_t j = 0; j < padded; j += MGN_CPU_LANES)
            FOR_LANES lanes[l] = m_fma(w[j + l], values[j + l], lanes[l]);
        sums[k] += (double)fold_16(lanes, 1);
    }
}

/* Columns first .. first + columns - 1 of the result. */
static void gibbs_narrow(const mgn_cpu_task *task, int64_t begin, int64_t rows, int64_t first, int64_t columns) {
    int64_t d = task->attributes.cloud.d, m = task->attributes.cloud.m, width = task->attributes.cloud.columns;
    const R *x = (const R *)task->in[0] + begin * d, *f = (const R *)task->in[2] + begin, *values = task->in[4];
    R coordinates[MGN_CPU_CLOUD_NARROW][CLOUD_ROWS], e[CLOUD_ROWS][CLOUD_COLUMNS], top[CLOUD_ROWS];
    R v[MGN_CPU_CLOUD_NARROW][CLOUD_COLUMNS];
    double sums[MGN_CPU_CLOUD_ROWS][MGN_CPU_CLOUD_NARROW] = {{0}};
    cloud_tile tile;
    for (int64_t column = 0; column < m; column += CLOUD_COLUMNS) {
        cloud_load_tile(task, task->in[1], task->in[3], column, CLOUD_COLUMNS, &tile);
        for (int64_t k = 0; k < columns; k++) {
            for (int64_t j = 0; j < tile.count; j++) v[k][j] = values[(column + j) * width + first + k];
            for (int64_t j = tile.count; j < tile.padded; j++) v[k][j] = 0;
        }
        for (int64_t row = 0; row < rows; row += CLOUD_ROWS) {
            int64_t used = MGN_MIN(CLOUD_ROWS, rows - row);
            cloud_load_rows(x + row * d, d, used, coordinates);
            cloud_exponents((const R(*)[CLOUD_ROWS])coordinates, &tile, d, e, top);
            for (int64_t r = 0; r < used; r++) {
                cloud_weights(e[r], tile.padded, f[row + r] * cloud_log2e);
                cloud_add_narrow(e[r], v, columns, tile.padded, sums[row + r]);
            }
        }
    }
    for (int64_t r = 0; r < rows; r++)
        for (int64_t k = 0; k < columns; k++) ((R *)task->out)[(begin + r) * width + first + k] = (R)sums[r][k];
}

/* Many coordinates: tiles of weights, then a product with v. */
static void gibbs_wide(const mgn_cpu_task *task, int64_t begin, int64_t rows) {
    int64_t d = task->attributes.cloud.d, m = task->attributes.cloud.m, columns = task->attributes.cloud.columns;
    const R *x = (const R *)task->in[0] + begin * d, *f = (const R *)task->in[2] + begin, *values = task->in[4];
    R *out = (R *)task->out + begin * columns;
    R e[2 * MGN_CPU_CLOUD_ROWS * CLOUD_WIDE_COLUMNS], top[2 * MGN_CPU_CLOUD_ROWS];
    cloud_tile tile;
    if (m == 0) memset(out, 0, (size_t)(rows * columns) * sizeof(R));
    for (int64_t column = 0; column < m; column += CLOUD_WIDE_COLUMNS) {
        cloud_load_tile(task, task->in[1], task->in[3], column, CLOUD_WIDE_COLUMNS, &tile);
        cloud_wide_exponents(x, task->in[1], rows, d, &tile, e, top);
        for (int64_t r = 0; r < rows; r++)
            cloud_weights(e + r * CLOUD_WIDE_COLUMNS, tile.padded, f[r] * cloud_log2e - cloud_norm(x + r * d, d));
        BLAS(gemm)
        (CblasRowMajor, CblasNoTrans, CblasNoTrans, (blasint)rows, (blasint)columns, (blasint)tile.count, 1, e,
         CLOUD_WIDE_COLUMNS, values + column * columns, (blasint)columns, column ? 1 : 0, out, (blasint)columns);
    }
}

static void chunk_gibbs(const mgn_cpu_task *task, int64_t chunk) {
    int64_t begin = chunk * task->chunk_size, rows = MGN_MIN(task->chunk_size, task->attributes.cloud.n - begin);
    int64_t columns = task->attributes.cloud.columns;
    if (task->wide)
        gibbs_wide(task, begin, rows);
    else
        for (int64_t first = 0; first < columns; first += MGN_CPU_CLOUD_NARROW)
            gibbs_narrow(task, begin, rows, first, MGN_MIN(MGN_CPU_CLOUD_NARROW, columns - first));
}
