/* Both softmins of two clouds in one pass over their pairs; part of kernels.c.
 *
 * With the heights of both sides K_ij = exp(f_i + h_j - c_ij) serves the rows and the columns:
 *     log sum_j exp(h_j - c_ij) = log sum_j K_ij - f_i,      log sum_i exp(f_i - c_ij) = log sum_i K_ij - h_j.
 * Where the heights are near the potentials of transport all these sums are of the order of the weights, and no maximum
 * is needed; rows and columns whose sum leaves the range of R are computed again, each by its own softmin. A cloud
 * against itself with the same heights has a symmetric K, of which half is enough.
 *
 * With many coordinates the products x_i . y_j of a band of rows with a tile come from BLAS, as in kernel_cloud.h.
 *
 * The pairs are cut into blocks, a chunk each. A block leaves sums of its part of every row and column in the scratch
 * memory; `finish` adds them up in order. */

enum { SOFTMINS_BAND = 64 }; /* rows whose column sums stay in R */

/* Exponents that powers are not for give sums that leave the range, too. */
#ifdef MGN_REAL_IS_DOUBLE
#define SOFTMINS_LEAST ((R)0x1p-900)
#define SOFTMINS_MOST ((R)0x1p990)
static inline R softmins_power(R t, R least, R most) { return (void)most, cloud_power(t, least); }
#else
#define SOFTMINS_LEAST ((R)0x1p-80f) /* powers stop at 2^-126: even millions of them are nothing next to this */
#define SOFTMINS_MOST ((R)0x1p120f)
static inline R softmins_power(R t, R least, R most) { return cloud_power(t > most ? most : t, least); }
#endif

/* ---- four rows against a tile: adds their powers to `columns`, and stores each row's sum ---- */

/* What the exponents h_j + f_r - factor * q are made of: squared distances of the points x, or with d = 0 costs, squared
 * distances or negative products in memory, s[r] being a row's part of the tile. */
static inline __attribute__((always_inline)) void softmins_four(const R (*x)[CLOUD_ROWS], int64_t d, const R *const *s,
                                                                R factor, const R *f, const cloud_tile *tile,
                                                                R *columns, R *sums) {
    const R *s0 = d ? NULL : s[0], *s1 = d ? NULL : s[1], *s2 = d ? NULL : s[2], *s3 = d ? NULL : s[3];
    const int64_t end = d ? tile->padded : tile->count;
    R r0 = 0, r1 = 0, r2 = 0, r3 = 0;
    const R least = cloud_opaque(-126), most = cloud_opaque(127);
#pragma omp simd reduction(+ : r0, r1, r2, r3)
    for (int64_t j = 0; j < end; j++) {
        const cloud_quad q = d ? cloud_distances(x, tile, d, j) : (cloud_quad){s0[j], s1[j], s2[j], s3[j]};
        const R h = tile->h[j];
        const R p0 = softmins_power(m_fma(-factor, q.s0, h + f[0]), least, most),
                p1 = softmins_power(m_fma(-factor, q.s1, h + f[1]), least, most);
        const R p2 = softmins_power(m_fma(-factor, q.s2, h + f[2]), least, most),
                p3 = softmins_power(m_fma(-factor, q.s3, h + f[3]), least, most);
        r0 += p0;
        r1 += p1;
        r2 += p2;
        r3 += p3;
        columns[j] += (p0 + p1) + (p2 + p3);
    }
    sums[0] = r0, sums[1] = r1, sums[2] = r2, sums[3] = r3;
}

static void softmins_costs(const R *const *s, R factor, const R *f, const cloud_tile *tile, R *columns, R *sums) {
    softmins_four(NULL, 0, s, factor, f, tile, columns, sums);
}

static void softmins_points(const R (*x)[CLOUD_ROWS], const R *f, const cloud_tile *tile, int64_t d, R *columns,
                            R *sums) {
    const R half = (R)0.5 * cloud_log2e;
    R e[CLOUD_ROWS][CLOUD_COLUMNS];
    switch (d) {
    case 1: softmins_four(x, 1, NULL, half, f, tile, columns, sums); break;
    case 2: softmins_four(x, 2, NULL, half, f, tile, columns, sums); break;
    case 3: softmins_four(x, 3, NULL, half, f, tile, columns, sums); break;
    case 4: softmins_four(x, 4, NULL, half, f, tile, columns, sums); break;
    default:
        cloud_distances_any(x, tile, d, e);
        softmins_costs((const R *const[CLOUD_ROWS]){e[0], e[1], e[2], e[3]}, half, f, tile, columns, sums);
    }
}

/* ---- blocks ---- */

/* What the two ops have in common: costs are NULL or points are. */
typedef struct softmins_sides {
    const R *x, *y, *costs, *f, *h;
} softmins_sides;

static softmins_sides softmins_sides_of(const mgn_cpu_task *task, bool dense) {
    if (dense) return (softmins_sides){.costs = task->in[0], .f = task->in[1], .h = task->in[2]};
    return (softmins_sides){.x = task->in[0], .y = task->in[1], .f = task->in[2], .h = task->in[3]};
}

/* Rows row .. row + used - 1; products: those of the rows with the tile, where there are many coordinates. */
static void softmins_rows(const mgn_cpu_task *task, const softmins_sides *at, const cloud_tile *tile, int64_t row,
                          int64_t used, const R *products, R *columns, R *sums) {
    int64_t d = task->attributes.cloud.d, m = task->attributes.cloud.m;
    R f[CLOUD_ROWS], coordinates[MGN_CPU_CLOUD_NARROW][CLOUD_ROWS];
    const R *s[CLOUD_ROWS];
    for (int64_t r = 0; r < CLOUD_ROWS; r++) f[r] = r < used ? at->f[row + r] * cloud_log2e : -(R)INFINITY;
    if (products) {
        for (int64_t r = 0; r < used; r++) f[r] -= cloud_norm(at->x + (row + r) * d, d);
        for (int64_t r = 0; r < CLOUD_ROWS; r++) s[r] = products + MGN_MIN(r, used - 1) * CLOUD_WIDE_COLUMNS;
        softmins_costs(s, -1, f, tile, columns, sums);
    } else if (at->costs) {
        for (int64_t r = 0; r < CLOUD_ROWS; r++) s[r] = at->costs + (row + MGN_MIN(r, used - 1)) * m + tile->begin;
        softmins_costs(s, (R)task->attributes.cloud.scale * cloud_log2e, f, tile, columns, sums);
    } else {
        cloud_load_rows(at->x + row * d, d, used, coordinates);
        softmins_points((const R(*)[CLOUD_ROWS])coordinates, f, tile, d, columns, sums);
    }
}

/* Rows row[0] .. row[0] + row[1] - 1 against columns column[0] .. column[0] + column[1] - 1: the sums of both. */
static void softmins_block(const mgn_cpu_task *task, const softmins_sides *at, const int64_t row[2],
                           const int64_t column[2], R *row_sums, R *column_sums) {
    const int64_t d = task->attributes.cloud.d, width = task->wide ? CLOUD_WIDE_COLUMNS : CLOUD_COLUMNS;
    R products[SOFTMINS_BAND * CLOUD_WIDE_COLUMNS];
    for (int64_t i = 0; i < row[1]; i++) row_sums[i] = 0;
    for (int64_t first = 0; first < column[1]; first += width) {
        cloud_tile tile;
        double totals[CLOUD_COLUMNS] = {0};
        cloud_load_tile(task, at->y, at->h, column[0] + first, MGN_MIN(width, column[1] - first), &tile);
        for (int64_t band = 0; band < row[1]; band += SOFTMINS_BAND) {
            R columns[CLOUD_COLUMNS] = {0}, sums[CLOUD_ROWS];
            int64_t end = MGN_MIN(band + SOFTMINS_BAND, row[1]);
            if (task->wide) cloud_products(at->x + (row[0] + band) * d, at->y, end - band, d, &tile, products);
            for (int64_t i = band; i < end; i += CLOUD_ROWS) {
                int64_t used = MGN_MIN(CLOUD_ROWS, end - i);
                softmins_rows(task, at, &tile, row[0] + i, used,
                              task->wide ? products + (i - band) * CLOUD_WIDE_COLUMNS : NULL, columns, sums);
                for (int64_t r = 0; r < used; r++) row_sums[i + r] += sums[r];
            }
            for (int64_t j = 0; j < tile.count; j++) totals[j] += (double)columns[j];
        }
        for (int64_t j = 0; column_sums && j < tile.count; j++) column_sums[first + j] = (R)totals[j];
    }
}

/* Scratch: a row's sums by block of columns, then a column's by block of rows. With symmetry there is one array, in
 * which blocks on and above the diagonal fill in their rows' sums, and those above it their columns', too. */
static void softmins_chunk(const mgn_cpu_task *task, int64_t chunk, bool dense) {
    int64_t n = task->attributes.cloud.n, m = task->attributes.cloud.m, size = task->chunk_size;
    int64_t blocks = task->columns, i = blocks ? chunk / blocks : 0, j = blocks ? chunk % blocks : 0;
    if (n == 0 || m == 0) return;
    if (task->symmetric) upper_block(chunk, blocks, &i, &j);
    const softmins_sides at = softmins_sides_of(task, dense);
    R *rows = task->scratch, *columns = task->symmetric ? rows : rows + blocks * n;
    softmins_block(task, &at, (int64_t[]){i * size, MGN_MIN(size, n - i * size)},
                   (int64_t[]){j * size, MGN_MIN(size, m - j * size)}, rows + j * n + i * size,
                   task->symmetric && i == j ? NULL : columns + i * m + j * size);
}

/* ---- one side's results ---- */

/* Rows again, with their maxima. `columns`: of the task. */
static void softmins_again(const mgn_cpu_task *task, bool dense, bool columns, int64_t begin, int64_t rows, R *out) {
    int64_t n = task->attributes.cloud.n, m = task->attributes.cloud.m;
    const softmins_sides at = softmins_sides_of(task, dense);
    if (dense) {
        const R scale = (R)task->attributes.cloud.scale * cloud_log2e;
        for (int64_t i = begin; i < begin + rows; i++)
            out[i] = columns ? softmin_dense_row(at.costs + i, m, at.f, n, scale)
                             : softmin_dense_row(at.costs + i * m, 1, at.h, m, scale);
        return;
    }
    mgn_cpu_task one = *task;
    one.out = out;
    one.in[0] = columns ? at.y : at.x;
    one.in[1] = columns ? at.x : at.y;
    one.in[2] = columns ? at.f : at.h;
    one.attributes.cloud.n = columns ? m : n;
    one.attributes.cloud.m = columns ? n : m;
    if (task->wide)
        softmin_wide(&one, begin, rows);
    else
        softmin_narrow(&one, begin, rows);
}

/* parts (slots, count) -> out (count) */
static void softmins_side(const mgn_cpu_task *task, bool dense, bool columns, R *parts, int64_t slots, R *out) {
    const softmins_sides at = softmins_sides_of(task, dense);
    const R *heights = columns ? at.h : at.f;
    int64_t count = columns ? task->attributes.cloud.m : task->attributes.cloud.n;
    for (int64_t k = 1; k < slots; k++) {
        const R *part = parts + k * count;
#pragma omp simd
        for (int64_t i = 0; i < count; i++) parts[i] += part[i];
    }
    int64_t known = slots > 0 ? count : 0;
#pragma omp simd
    for (int64_t i = 0; i < known; i++) out[i] = m_log(parts[i]) - heights[i];
    for (int64_t i = 0, end; i < count; i = end + 1) {
        for (end = i; end < count && end - i < MGN_CPU_CLOUD_ROWS; end++)
            if (end < known && parts[end] >= SOFTMINS_LEAST && parts[end] <= SOFTMINS_MOST) break;
        if (end > i) softmins_again(task, dense, columns, i, end - i, out);
        if (end - i == MGN_CPU_CLOUD_ROWS) end--; /* the next one is not known yet */
    }
}

static void softmins_finish(const mgn_cpu_task *task, bool dense) {
    int64_t n = task->attributes.cloud.n;
    R *parts = task->scratch, *out = task->out;
    softmins_side(task, dense, false, parts, task->columns, out);
    if (task->symmetric)
        memcpy(out + n, out, (size_t)n * sizeof *out);
    else
        softmins_side(task, dense, true, parts + task->columns * n, task->parts, out + n);
}

static void chunk_softmins(const mgn_cpu_task *task, int64_t chunk) { softmins_chunk(task, chunk, false); }

static void chunk_softmins_dense(const mgn_cpu_task *task, int64_t chunk) { softmins_chunk(task, chunk, true); }

static void finish_softmins(const mgn_cpu_task *task) { softmins_finish(task, false); }

static void finish_softmins_dense(const mgn_cpu_task *task) { softmins_finish(task, true); }
