/* Products of medium size, out = op(a) op(b) [+ op(c) op(d)] in single precision; part of kernels.c.
 *
 * A BLAS call works on one tile for one thread, so each of the calls that share a product packs both of its factors anew,
 * and the sum of two products goes through memory twice. Between the layers of a wide model, factors are a few hundred
 * long, and that is a sixth of the time. Here a panel of the second factor, three vectors wide, is packed into a core's
 * first-level cache once and meets all rows of the first, which are read where they lie (packed, where the factor is
 * transposed, when the first panel meets them); meanwhile the next panel is fetched; and both terms of a sum follow one
 * another while the panel of the result is near.
 *
 * An element's sum runs over its terms in order, by fused multiply-adds, in blocks of terms that depend on their number
 * alone. So neither how the result is cut nor the width of vectors changes a bit. */

#if !defined(MGN_REAL_IS_DOUBLE) && defined(__FMA__)

#include <immintrin.h>

#if defined(__AVX512F__)
enum { PANEL_LANES = 16, PANEL_ROWS = 8 }; /* 24 vectors of sums, of 32 registers */
typedef __m512 panel_vector;
static inline panel_vector panel_load(const R *x) { return _mm512_loadu_ps(x); }
static inline void panel_store(R *x, panel_vector v) { _mm512_storeu_ps(x, v); }
static inline panel_vector panel_add(panel_vector sum, R x, panel_vector y) {
    return _mm512_fmadd_ps(_mm512_set1_ps(x), y, sum);
}
#else
enum { PANEL_LANES = 8, PANEL_ROWS = 4 }; /* 12 vectors of sums, of 16 registers */
typedef __m256 panel_vector;
static inline panel_vector panel_load(const R *x) { return _mm256_loadu_ps(x); }
static inline void panel_store(R *x, panel_vector v) { _mm256_storeu_ps(x, v); }
static inline panel_vector panel_add(panel_vector sum, R x, panel_vector y) {
    return _mm256_fmadd_ps(_mm256_set1_ps(x), y, sum);
}
#endif

enum { PANEL_VECTORS = 3, PANEL_WIDTH = PANEL_VECTORS * PANEL_LANES };

/* ---- packing: terms below each other, a term's columns side by side, zeros beyond the matrix ---- */

/* x[i][l] and x[i ^ s][l ^ s] change places. */
static inline void panel_exchange(panel_vector *x, panel_vector *y, int s) {
    const panel_vector before = *x;
#if defined(__AVX512F__)
    const __m512i lane = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
    const __m512i other = _mm512_xor_si512(lane, _mm512_set1_epi32(s));
    const __mmask16 odd = _mm512_test_epi32_mask(lane, _mm512_set1_epi32(s));
    *x = _mm512_mask_permutexvar_ps(*x, odd, other, *y);
    *y = _mm512_mask_permutexvar_ps(*y, (__mmask16)~odd, other, before);
#else
    const __m256i lane = _mm256_set_epi32(7, 6, 5, 4, 3, 2, 1, 0), bit = _mm256_set1_epi32(s);
    const __m256i other = _mm256_xor_si256(lane, bit);
    const __m256 odd = _mm256_castsi256_ps(_mm256_cmpeq_epi32(_mm256_and_si256(lane, bit), bit));
    *x = _mm256_blendv_ps(*x, _mm256_permutevar8x32_ps(*y, other), odd);
    *y = _mm256_blendv_ps(_mm256_permutevar8x32_ps(before, other), *y, odd);
#endif
}

/* A square of vectors, from rows that lie `apart`, to columns that lie PANEL_LANES elements * `vectors` apart. */
static inline void panel_transpose(const R *from, int64_t apart, R *to, int64_t vectors) {
    panel_vector x[PANEL_LANES];
#pragma GCC unroll 16
    for (int i = 0; i < PANEL_LANES; i++) x[i] = panel_load(from + i * apart);
#pragma GCC unroll 4
    for (int s = PANEL_LANES / 2; s > 0; s /= 2)
#pragma GCC unroll 16
        for (int i = 0; i < PANEL_LANES; i++)
            if (!(i & s)) panel_exchange(&x[i], &x[i | s], s);
#pragma GCC unroll 16
    for (int i = 0; i < PANEL_LANES; i++) panel_store(to + i * vectors * PANEL_LANES, x[i]);
}

/* A matrix that is packed: element (p, j), of term p and row or column j of the product, lies at from + p down + j right,
 * one of the two being 1. */
typedef struct panel_source {
    const R *from;
    int64_t down, right;
} panel_source;

static void panel_pack(panel_source s, int64_t terms, int64_t columns, R *to) {
    const int64_t vectors = (columns + PANEL_LANES - 1) / PANEL_LANES, width = vectors * PANEL_LANES;
    const int64_t whole = columns / PANEL_LANES * PANEL_LANES;
    const int64_t whole_terms = s.right == 1 ? terms : terms / PANEL_LANES * PANEL_LANES;
    for (int64_t p = 0; s.right == 1 && p < terms; p++)
        for (int64_t j = 0; j < whole; j += PANEL_LANES)
            panel_store(to + p * width + j, panel_load(s.from + p * s.down + j));
    for (int64_t j = 0; s.right != 1 && j < whole; j += PANEL_LANES)
        for (int64_t p = 0; p < whole_terms; p += PANEL_LANES)
            panel_transpose(s.from + j * s.right + p, s.right, to + p * width + j, vectors);
    for (int64_t p = 0; p < terms; p++) /* what is no whole vector, or no whole square of them */
        for (int64_t j = p < whole_terms ? whole : 0; j < width; j++)
            to[p * width + j] = j < columns ? s.from[p * s.down + j * s.right] : 0;
}

/* Asks for share number `part` of `parts` of what will be packed. */
static inline void panel_fetch(panel_source s, int64_t terms, int64_t columns, int64_t part, int64_t parts) {
    enum { LINE = 64 / sizeof(R) };
    const bool along = s.right == 1;
    const int64_t rows = along ? terms : columns, length = along ? columns : terms, apart = along ? s.down : s.right;
    for (int64_t row = rows * part / parts; row < rows * (part + 1) / parts; row++)
        for (int64_t j = 0; j < length + LINE - 1; j += LINE)
            __builtin_prefetch(s.from + row * apart + MGN_MIN(j, length - 1), 0, 2);
}

static panel_source panel_of_a(const mgn_cpu_task *task, const mgn_cpu_term *t, int64_t first, int64_t row) {
    const int64_t down = t->transpose_a ? task->attributes.matmul.m : 1, right = t->transpose_a ? 1 : t->k;
    return (panel_source){(const R *)t->a + first * down + row * right, down, right};
}

static panel_source panel_of_b(const mgn_cpu_task *task, const mgn_cpu_term *t, int64_t first, int64_t column) {
    const int64_t down = t->transpose_b ? 1 : task->attributes.matmul.n, right = t->transpose_b ? t->k : 1;
    return (panel_source){(const R *)t->b + first * down + column * right, down, right};
}

/* ---- a tile: a few rows by a panel ---- */

typedef struct panel_work {
    const R *a; /* rows of op(a), `down` apart; 1: packed ones */
    int64_t down;
    R *b; /* the packed panel */
    panel_source
        source; /* what it is still to be packed from, whole vectors along the rows; `from` NULL: it is there */
    int64_t terms;
    R *out; /* its rows lie `apart` */
    int64_t apart;
    bool adds;
} panel_work;

/* Rows of the result get, or are added, the sum over the terms of op(a), of which element (i, p) lies at
 * a + i down + p right, and of the panel. */
static inline __attribute__((always_inline)) void panel_tile(const panel_work *w, int64_t down, int64_t right,
                                                             const bool packs, const int vectors) {
    panel_vector sum[PANEL_ROWS][PANEL_VECTORS];
    const R *a = w->a, *from = w->source.from;
    R *b = w->b;
#pragma GCC unroll 8
    for (int i = 0; i < PANEL_ROWS; i++)
#pragma GCC unroll 3
        for (int v = 0; v < vectors; v++) sum[i][v] = (panel_vector){0};
    for (int64_t p = 0; p < w->terms; p++, a += right, b += vectors * PANEL_LANES) {
        panel_vector y[PANEL_VECTORS];
#pragma GCC unroll 3
        for (int v = 0; v < vectors; v++) {
            y[v] = panel_load((packs ? from : b) + v * PANEL_LANES);
            if (packs) panel_store(b + v * PANEL_LANES, y[v]);
        }
        if (packs) from += w->source.down;
#pragma GCC unroll 8
        for (int i = 0; i < PANEL_ROWS; i++)
#pragma GCC unroll 3
            for (int v = 0; v < vectors; v++) sum[i][v] = panel_add(sum[i][v], a[i * down], y[v]);
    }
#pragma GCC unroll 8
    for (int i = 0; i < PANEL_ROWS; i++)
#pragma GCC unroll 3
        for (int v = 0; v < vectors; v++) {
            R *to = w->out + i * w->apart + v * PANEL_LANES;
            panel_store(to, w->adds ? (panel_vector)(panel_load(to) + sum[i][v]) : sum[i][v]);
        }
}

/* Compiled for each number of vectors, for rows that lie as they are and packed ones, and with packing on the way. */
static __attribute__((noinline)) void panel_tile_of(int vectors, const panel_work *w) {
#define PANEL_CASES(number)                                               \
    case number: panel_tile(w, w->down, 1, false, number); break;         \
    case 4 + number: panel_tile(w, 1, PANEL_LANES, false, number); break; \
    case 8 + number: panel_tile(w, w->down, 1, true, number); break;      \
    case 12 + number: panel_tile(w, 1, PANEL_LANES, true, number); break;
    switch (vectors + (w->down == 1 ? 4 : 0) + (w->source.from ? 8 : 0)) {
        PANEL_CASES(1)
        PANEL_CASES(2)
        PANEL_CASES(3)
    default: __builtin_unreachable();
    }
}

/* A tile that sticks out of the matrix, through copies. */
static __attribute__((noinline, cold)) void panel_edge(int vectors, const panel_work *w, int64_t rows,
                                                       int64_t columns) {
    R part[MGN_CPU_PANEL_TERMS * PANEL_LANES], tile[PANEL_ROWS * PANEL_WIDTH];
    panel_work inside = *w;
    for (int64_t p = 0; w->down != 1 && p < w->terms; p++)
        for (int64_t i = 0; i < PANEL_ROWS; i++) part[p * PANEL_LANES + i] = i < rows ? w->a[i * w->down + p] : 0;
    if (w->down != 1) inside.a = part;
    inside.down = 1;
    inside.out = tile;
    inside.apart = PANEL_WIDTH;
    inside.adds = false;
    panel_tile_of(vectors, &inside);
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < columns; j++) {
            R *to = w->out + i * w->apart + j;
            *to = w->adds ? *to + tile[i * PANEL_WIDTH + j] : tile[i * PANEL_WIDTH + j];
        }
}

/* ---- a chunk: some columns of a block of rows, panel by panel ---- */

/* Where a chunk is: at some terms of the sum, and at some columns. */
typedef struct panel_place {
    const mgn_cpu_term *term;
    int64_t first, terms;    /* of the term's k */
    int64_t panel;           /* of the chunk's */
    int64_t column, columns; /* of the matrix */
    bool adds;               /* to what terms before these gave */
} panel_place;

typedef struct panel_chunk {
    const mgn_cpu_task *task;
    int64_t number; /* among those of the same rows */
    int64_t first_row, rows, first_column, columns;
    int64_t panels, vectors;
} panel_chunk;

static void panel_enter_term(panel_place *at, const mgn_cpu_term *term) {
    const int64_t blocks = (term->k + MGN_CPU_PANEL_TERMS - 1) / MGN_CPU_PANEL_TERMS;
    at->term = term;
    at->first = 0;
    at->terms = (term->k + blocks - 1) / blocks;
}

static void panel_enter(const panel_chunk *c, panel_place *at, int64_t panel) {
    const int64_t begin = c->vectors * panel / c->panels * PANEL_LANES;
    const int64_t end = c->vectors * (panel + 1) / c->panels * PANEL_LANES;
    panel_enter_term(at, c->task->terms);
    at->panel = panel;
    at->column = c->first_column + begin;
    at->columns = MGN_MIN(end, c->columns) - begin;
    at->adds = c->task->attributes.matmul.adds;
}

/* The next block of terms, or the first one of the next panel; false: that was all. */
static bool panel_step(const panel_chunk *c, panel_place *at) {
    at->adds = true;
    at->first += at->terms;
    if (at->first < at->term->k)
        at->terms = MGN_MIN(at->terms, at->term->k - at->first);
    else if (at->term + 1 < c->task->terms + c->task->term_count)
        panel_enter_term(at, at->term + 1);
    else if (at->panel + 1 < c->panels)
        panel_enter(c, at, at->panel + 1);
    else
        return false;
    return true;
}

/* Where rows `row` and on of a transposed factor are packed, from term `first` on: (chunks of the same rows, terms of the
 * sum, groups of rows, k, rows). */
static R *panel_packed_rows(const panel_chunk *c, const mgn_cpu_term *term, int64_t first, int64_t row) {
    const mgn_cpu_task *task = c->task;
    const int64_t padded = (task->attributes.matmul.m + PANEL_LANES - 1) / PANEL_LANES * PANEL_LANES;
    int64_t before = 0, all = 0;
    for (const mgn_cpu_term *t = task->terms; t < task->terms + task->term_count; t++) {
        all += t->transpose_a ? padded * t->k : 0;
        before += t->transpose_a && t < term ? padded * t->k : 0;
    }
    return (R *)task->scratch + c->number * all + before + (row / PANEL_LANES * term->k + first) * PANEL_LANES +
           row % PANEL_LANES;
}

/* All rows meet a panel, which the first ones pack where that is no more than copying. */
static void panel_rows(const panel_chunk *c, const panel_place *at, const panel_place *next, R *packed) {
    const mgn_cpu_task *task = c->task;
    const int64_t n = task->attributes.matmul.n, tiles = (c->rows + PANEL_ROWS - 1) / PANEL_ROWS;
    const mgn_cpu_term *t = at->term;
    const int vectors = (int)((at->columns + PANEL_LANES - 1) / PANEL_LANES);
    panel_work w = {.b = packed,
                    .down = t->transpose_a ? 1 : t->k,
                    .source = panel_of_b(task, t, at->first, at->column),
                    .terms = at->terms,
                    .apart = n,
                    .adds = at->adds};
    if (t->transpose_b || at->columns % PANEL_LANES != 0) {
        panel_pack(w.source, at->terms, at->columns, packed);
        w.source.from = NULL;
    }
    for (int64_t tile = 0; tile < tiles; tile++) {
        const int64_t row = c->first_row + tile * PANEL_ROWS, rows = c->first_row + c->rows - row;
        w.a = (const R *)t->a + row * t->k + at->first;
        w.out = (R *)task->out + row * n + at->column;
        if (t->transpose_a) {
            R *to = panel_packed_rows(c, t, at->first, row);
            if (at->panel == 0 && row % PANEL_LANES == 0)
                panel_pack(panel_of_a(task, t, at->first, row), at->terms, MGN_MIN(PANEL_LANES, rows), to);
            w.a = to;
        }
        if (next)
            panel_fetch(panel_of_b(task, next->term, next->first, next->column), next->terms, next->columns, tile,
                        tiles);
        if (rows >= PANEL_ROWS && at->columns % PANEL_LANES == 0)
            panel_tile_of(vectors, &w);
        else
            panel_edge(vectors, &w, MGN_MIN(PANEL_ROWS, rows), at->columns);
        w.source.from = NULL;
    }
}

static void matmul_panels(const mgn_cpu_task *task, int64_t chunk) {
    const int64_t m = task->attributes.matmul.m, n = task->attributes.matmul.n;
    const int64_t vectors = (n + PANEL_LANES - 1) / PANEL_LANES, number = chunk % task->parts;
    const int64_t begin = vectors * number / task->parts, end = vectors * (number + 1) / task->parts;
    panel_chunk c = {.task = task,
                     .number = number,
                     .first_row = chunk / task->parts * task->chunk_size,
                     .first_column = begin * PANEL_LANES,
                     .vectors = end - begin};
    c.rows = MGN_MIN(task->chunk_size, m - c.first_row);
    c.columns = MGN_MIN(end * PANEL_LANES, n) - c.first_column;
    c.panels = (c.vectors + PANEL_VECTORS - 1) / PANEL_VECTORS;
    _Alignas(64) R packed[MGN_CPU_PANEL_TERMS * PANEL_WIDTH];
    panel_place at, next;
    panel_enter(&c, &next, 0);
    for (bool more = true; more;) {
        at = next;
        more = panel_step(&c, &next);
        panel_rows(&c, &at, more ? &next : NULL, packed);
    }
}

#else

enum { PANEL_LANES = 0 };

static void matmul_panels(const mgn_cpu_task *task, int64_t chunk) { /* prepare.c chooses it nowhere */
    (void)task;
    (void)chunk;
}

#endif
