/* Sum or maximum of x (outer, n, inner) over n, cut into `chunks` pieces of `chunk` entries: out (outer, chunks,
 * inner). A second launch reduces the pieces. How a value comes about depends on the shape alone, never on timing. The
 * host defines MGN_MAXIMUM for the maximum, where a NaN wins.
 *
 * lane: a work-item (on CPU devices each lane of it) walks the entries of one result. For short n or many results.
 * group: on GPUs a work-group makes one result, meeting in local memory; on CPU devices a work-item makes the `inner`
 *        results of a piece by adding whole vectors of its contiguous memory, MGN_SPAN at most. For long n. */
#include "mgn_lanes.h"

/* Additions in a row before the running sum goes to the total: rounding errors grow with this, not with n. */
#define RUN 64

#ifdef MGN_MAXIMUM
#define START ((real)-INFINITY)
#define COMBINE(a, x) ((x) > (a) || (x) != (x) ? (x) : (a))
#else
#define START ((real)0)
#define COMBINE(a, x) ((a) + (x))
#endif

#if MGN_WIDTH == 1

MGN_KERNEL void lane(global const real *in, ulong in_at, global real *out, ulong out_at, ulong count, ulong n,
                     ulong inner, ulong chunk, ulong chunks) {
    for (ulong at = get_global_id(0); at < count; at += get_global_size(0)) {
        const ulong piece = at / inner, begin = piece % chunks * chunk, length = min(chunk, n - begin);
        global const real *x = in + in_at + (piece / chunks * n + begin) * inner + at % inner;
        real total = START;
        for (ulong k = 0; k < length; k += RUN) {
            const ulong stop = min(k + RUN, length);
            real run = START;
            for (ulong j = k; j < stop; j++) run = COMBINE(run, x[j * inner]);
            total = COMBINE(total, run);
        }
        out[out_at + at] = total;
    }
}

/* Items take every MGN_GROUP-th entry of the piece. */
MGN_KERNEL void group(global const real *in, ulong in_at, global real *out, ulong out_at, ulong count, ulong n,
                      ulong inner, ulong chunk, ulong chunks) {
    local real partial[MGN_GROUP];
    const uint item = get_local_id(0);
    const ulong at = get_group_id(0), piece = at / inner, begin = piece % chunks * chunk;
    const ulong length = min(chunk, n - begin);
    global const real *x = in + in_at + (piece / chunks * n + begin) * inner + at % inner;
    real total = START;
    for (ulong k = item; k < length; k += RUN * MGN_GROUP) {
        const ulong stop = min(k + RUN * MGN_GROUP, length);
        real run = START;
        for (ulong j = k; j < stop; j += MGN_GROUP) run = COMBINE(run, x[j * inner]);
        total = COMBINE(total, run);
    }
    partial[item] = total;
    for (uint size = MGN_GROUP / 2; size > 0; size /= 2) {
        barrier(CLK_LOCAL_MEM_FENCE);
        if (item < size) partial[item] = COMBINE(partial[item], partial[item + size]);
    }
    if (item == 0) out[out_at + at] = partial[0];
}

#else

/* MGN_WIDTH neighbouring results: where each one's entries begin and how many there are. The lanes behind `lanes`
 * repeat the last one. Returns whether the lanes' entries are neighbours too. */
static bool find_lanes(ulong at, uint lanes, ulong n, ulong inner, ulong chunk, ulong chunks, ulong *from,
                       ulong *length) {
    ulong column = at % inner, piece = at / inner, c = piece % chunks, o = piece / chunks;
    bool neighbours = lanes == MGN_WIDTH;
    for (uint l = 0; l < MGN_WIDTH; l++) {
        from[l] = (o * n + c * chunk) * inner + column;
        length[l] = min(chunk, n - c * chunk);
        neighbours = neighbours && from[l] == from[0] + l && length[l] == length[0];
        if (l + 1 >= lanes) continue;
        if (++column == inner) {
            column = 0;
            if (++c == chunks) {
                c = 0;
                o++;
            }
        }
    }
    return neighbours;
}

/* Entries that lie `inner` apart, each a vector of which `lanes` count and are `step` apart. Four sums at once, so that
 * additions do not wait for each other. */
static R reduce_neighbours(global const real *x, ulong length, ulong inner, ulong step, uint lanes) {
    R total = (R)START;
    for (ulong k = 0; k < length; k += RUN) {
        const ulong stop = min(k + RUN, length);
        R r0 = (R)START, r1 = (R)START, r2 = (R)START, r3 = (R)START;
        ulong j = k;
        for (; j + 4 <= stop; j += 4) {
            const R x0 = m_load(x + j * inner, step, lanes), x1 = m_load(x + (j + 1) * inner, step, lanes);
            const R x2 = m_load(x + (j + 2) * inner, step, lanes), x3 = m_load(x + (j + 3) * inner, step, lanes);
            r0 = COMBINE(r0, x0);
            r1 = COMBINE(r1, x1);
            r2 = COMBINE(r2, x2);
            r3 = COMBINE(r3, x3);
        }
        for (; j < stop; j++) {
            const R x0 = m_load(x + j * inner, step, lanes);
            r0 = COMBINE(r0, x0);
        }
        r0 = COMBINE(r0, r1);
        r2 = COMBINE(r2, r3);
        r0 = COMBINE(r0, r2);
        total = COMBINE(total, r0);
    }
    return total;
}

static R reduce_scattered(global const real *in, const ulong *from, const ulong *length, ulong inner) {
    ulong longest = 0;
    for (uint l = 0; l < MGN_WIDTH; l++) longest = max(longest, length[l]);
    R total = (R)START;
    for (ulong k = 0; k < longest; k += RUN) {
        const ulong stop = min(k + RUN, longest);
        R run = (R)START;
        for (ulong j = k; j < stop; j++) {
            real x[MGN_WIDTH];
            for (uint l = 0; l < MGN_WIDTH; l++) x[l] = j < length[l] ? in[from[l] + j * inner] : START;
            run = COMBINE(run, MGN_VLOAD(x));
        }
        total = COMBINE(total, run);
    }
    return total;
}

MGN_KERNEL void lane(global const real *in, ulong in_at, global real *out, ulong out_at, ulong count, ulong n,
                     ulong inner, ulong chunk, ulong chunks) {
    in += in_at;
    out += out_at;
    const ulong step = get_global_size(0) * MGN_WIDTH;
    for (ulong at = get_global_id(0) * MGN_WIDTH; at < count; at += step) {
        const uint lanes = (uint)min((ulong)MGN_WIDTH, count - at);
        ulong from[MGN_WIDTH], length[MGN_WIDTH];
        R total;
        if (inner == 1 && chunks == 1)
            total = reduce_neighbours(in + at * n, n, 1, n, lanes);
        else if (find_lanes(at, lanes, n, inner, chunk, chunks, from, length))
            total = reduce_neighbours(in + from[0], length[0], inner, 1, lanes);
        else
            total = reduce_scattered(in, from, length, inner);
        m_store(total, out + at, 1, lanes);
    }
}

/* MGN_WIDTH rows of `inner` entries are `inner` whole vectors (or one row is, if inner is a multiple of MGN_WIDTH). So
 * sum v adds up the vectors v, v + span, v + 2 span, ... of the piece, which repeats itself after `span` vectors; then
 * element e of all the sums belongs to column e % inner. */
MGN_KERNEL void group(global const real *in, ulong in_at, global real *out, ulong out_at, ulong count, ulong n,
                      ulong inner, ulong chunk, ulong chunks) {
    const ulong piece = get_group_id(0), begin = piece % chunks * chunk, entries = min(chunk, n - begin) * inner;
    /* Several sums at once, so that additions do not wait for each other. */
    const uint period = (uint)(inner % MGN_WIDTH == 0 ? inner / MGN_WIDTH : inner);
    const uint span = period < 4 ? period * 4 : period;
    const ulong vectors = entries / (span * MGN_WIDTH);
    global const real *x = in + in_at + (piece / chunks * n + begin) * inner;
    R total[MGN_SPAN], run[MGN_SPAN];
    for (uint v = 0; v < span; v++) total[v] = (R)START;
    for (ulong k = 0; k < vectors; k += RUN) {
        const ulong stop = min(k + RUN, vectors);
        for (uint v = 0; v < span; v++) run[v] = (R)START;
        for (ulong j = k; j < stop; j++)
            for (uint v = 0; v < span; v++) run[v] = COMBINE(run[v], MGN_VLOAD(x + (j * span + v) * MGN_WIDTH));
        for (uint v = 0; v < span; v++) total[v] = COMBINE(total[v], run[v]);
    }
    const real *sums = (const real *)total;
    for (ulong column = 0; column < inner; column++) {
        real result = START;
        for (ulong e = column; e < span * MGN_WIDTH; e += inner) result = COMBINE(result, sums[e]);
        for (ulong e = vectors * span * MGN_WIDTH + column; e < entries; e += inner) result = COMBINE(result, x[e]);
        out[out_at + piece * inner + column] = result;
    }
}

#endif
