/* Rows by index, and random numbers; part of kernels.c. */

/* ---- gather and scatter ---- */

static void chunk_gather_rows(const mgn_cpu_task *task, int64_t chunk) {
    int64_t columns = task->attributes.rows.columns, source_rows = task->attributes.rows.source_rows;
    int64_t begin = chunk * task->chunk_size, end = MGN_MIN(begin + task->chunk_size, task->attributes.rows.rows);
    const R *a = task->in[0];
    const uint32_t *index = task->in[1];
    R *out = (R *)task->out + begin * columns;
    for (int64_t i = begin; i < end; i++, out += columns) {
        const R *from = a + index[i] * columns;
        if (index[i] >= source_rows) {
            for (int64_t j = 0; j < columns; j++) out[j] = (R)NAN;
        } else if (columns < 16) {
            for (int64_t j = 0; j < columns; j++) out[j] = from[j];
        } else {
            memcpy(out, from, (size_t)columns * sizeof(R));
        }
    }
}

/* Each chunk owns some of the output's rows and looks at the whole index, so every row is added to in order. */
static void chunk_scatter_rows(const mgn_cpu_task *task, int64_t chunk) {
    int64_t columns = task->attributes.rows.columns, source_rows = task->attributes.rows.source_rows;
    int64_t begin = chunk * task->chunk_size, end = MGN_MIN(begin + task->chunk_size, task->attributes.rows.rows);
    const R *from = task->in[0];
    const uint32_t *index = task->in[1];
    memset((R *)task->out + begin * columns, 0, (size_t)((end - begin) * columns) * sizeof(R));
    for (int64_t i = 0; i < source_rows; i++, from += columns) {
        if (index[i] < begin || index[i] >= end) continue;
        R *to = (R *)task->out + index[i] * columns;
#pragma omp simd
        for (int64_t j = 0; j < columns; j++) to[j] += from[j];
    }
}

/* ---- bytes ---- */

/* Shared with row programs, which must give the same bytes. */
static inline R byte_to_real(uint8_t b) { return (R)b * (R)(1.0 / 255.0); }

static inline uint8_t real_to_byte(R a) {
    a = a > (R)0 ? a : (R)0; /* NaN too */
    a = a < (R)1 ? a : (R)1;
    return (uint8_t)(int32_t)(a * (R)255 + (R)0.5);
}

static void chunk_from_unorm8(const mgn_cpu_task *task, int64_t chunk) {
    int64_t begin = chunk * task->chunk_size, end = MGN_MIN(begin + task->chunk_size, task->count);
    const uint8_t *in = task->in[0];
    R *out = task->out;
    for (int64_t i = begin; i < end; i++) out[i] = byte_to_real(in[i]);
}

static void chunk_to_unorm8(const mgn_cpu_task *task, int64_t chunk) {
    int64_t begin = chunk * task->chunk_size, end = MGN_MIN(begin + task->chunk_size, task->count);
    const R *in = task->in[0];
    uint8_t *out = task->out;
    for (int64_t i = begin; i < end; i++) out[i] = real_to_byte(in[i]);
}

/* ---- random numbers: 16 blocks of 4 at a time ---- */

static void random_words(const uint32_t *state, uint32_t stream, int64_t block, uint32_t (*words)[MGN_CPU_LANES]) {
    for (int l = 0; l < MGN_CPU_LANES; l++) {
        philox4x32_ctr_t four = m_random_block(state[0], state[1], (uint32_t)(block + l), state[2], state[3] ^ stream);
        for (int q = 0; q < 4; q++) words[q][l] = four.v[q];
    }
}

static void store_random(const R (*values)[MGN_CPU_LANES], R *out, int64_t n) {
    if (n >= 4 * MGN_CPU_LANES) {
        for (int l = 0; l < MGN_CPU_LANES; l++) {
            for (int q = 0; q < 4; q++) out[4 * l + q] = values[q][l];
        }
    } else {
        for (int64_t i = 0; i < n; i++) out[i] = values[i % 4][i / 4];
    }
}

static void random_reals(const mgn_cpu_task *task, int64_t chunk, bool normal) {
    int64_t begin = chunk * task->chunk_size, end = MGN_MIN(begin + task->chunk_size, task->count);
    uint32_t words[4][MGN_CPU_LANES], state[4];
    R values[4][MGN_CPU_LANES];
    memcpy(state, task->in[0], sizeof state);
    for (int64_t at = begin; at < end; at += 4 * MGN_CPU_LANES) {
        random_words(state, task->attributes.random.stream, at / 4, words);
        if (normal) {
            for (int q = 0; q < 4; q += 2) {
#pragma omp simd
                for (int l = 0; l < MGN_CPU_LANES; l++)
                    m_normal_of(words[q][l], words[q + 1][l], &values[q][l], &values[q + 1][l]);
            }
        } else {
            for (int q = 0; q < 4; q++) FOR_LANES values[q][l] = m_uniform_of(words[q][l]);
        }
        store_random((const R(*)[MGN_CPU_LANES])values, (R *)task->out + at, end - at);
    }
}

static void chunk_uniform(const mgn_cpu_task *task, int64_t chunk) { random_reals(task, chunk, false); }
static void chunk_normal(const mgn_cpu_task *task, int64_t chunk) { random_reals(task, chunk, true); }

/* The first walk of the permutation for all entries at once; then on for the few that are still outside. */
static void chunk_shuffle(const mgn_cpu_task *task, int64_t chunk) {
    const uint32_t *state = task->in[0];
    uint32_t population = (uint32_t)task->attributes.shuffle.population, *out = task->out;
    uint64_t steps = (uint64_t)task->attributes.shuffle.steps_per_epoch;
    uint64_t stride = (uint64_t)task->attributes.shuffle.stride;
    int64_t begin = chunk * task->chunk_size, end = MGN_MIN(begin + task->chunk_size, task->count);
    m_shuffle_key key = m_shuffle_start(state[0], state[1], m_shuffle_epoch(state[2], steps), population);
    uint32_t position = m_shuffle_position(state[2], steps, stride, (uint64_t)begin, population);
    for (int64_t i = begin; i < end; i++) {
        out[i] = position++;
        if (position == population) position = 0;
    }
#pragma omp simd
    for (int64_t i = begin; i < end; i++) out[i] = m_shuffle_rounds(key, out[i]);
    for (int64_t i = begin; i < end; i++) {
        if (out[i] >= population) out[i] = m_shuffle(key, out[i]);
    }
}

static void chunk_advance(const mgn_cpu_task *task, int64_t chunk) {
    (void)chunk;
    uint32_t state[4];
    memcpy(state, task->in[0], sizeof state);
    state[2] += task->attributes.advance.steps;
    memcpy(task->out, state, sizeof state);
}
