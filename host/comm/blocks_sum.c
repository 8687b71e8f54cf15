#include "comm/blocks_sum.h"

#include <string.h>

/* Bytes of a message beyond which the vector is cut into segments: one message more costs less than moving it whole. */
enum { LONG_MESSAGE = 64 << 10 };

struct mgn_blocks_sum {
    mgn_comm *comm;
    mgn_dtype real;
    int64_t blocks, length;
    size_t item;
    int64_t *nodes; /* first block of each node that one process adds up, in order; */
    int64_t *owned; /* and how many of them the processes before each have: (size + 1) */
    int64_t count;  /* nodes */
    char *vectors;  /* own blocks, (end - first, length) */
    char *gathered; /* every node's vector, or of a segment; (count, length) */
    char *sent;     /* own nodes in the order of segments */
    int64_t *sizes; /* of messages: four lists of `size` numbers */
    char *total;
    int64_t bytes, calls;
};

int64_t mgn_blocks_start(const mgn_comm *comm, int64_t blocks, int rank) { return blocks * rank / mgn_comm_size(comm); }

static int64_t start_of(const mgn_blocks_sum *s, int rank) { return mgn_blocks_start(s->comm, s->blocks, rank); }

static int owner_of(const mgn_blocks_sum *s, int64_t block) {
    int rank = 0;
    while (start_of(s, rank + 1) <= block) rank++;
    return rank;
}

/* Whether the blocks from `first` on are one process's. */
static bool is_one(const mgn_blocks_sum *s, int64_t first, int64_t size) {
    return start_of(s, owner_of(s, first) + 1) >= first + size;
}

static void list_nodes(mgn_blocks_sum *s, int64_t first, int64_t size) {
    if (is_one(s, first, size)) {
        s->nodes[s->count++] = first;
        for (int r = owner_of(s, first) + 1; r <= mgn_comm_size(s->comm); r++) s->owned[r]++;
        return;
    }
    list_nodes(s, first, size / 2);
    list_nodes(s, first + size / 2, size / 2);
}

mgn_status mgn_blocks_check(const mgn_comm *comm, int64_t blocks) {
    const int size = mgn_comm_size(comm);
    if (blocks < 1 || blocks > MGN_MOST_BLOCKS || (blocks & (blocks - 1)))
        return mgn_fail(MGN_ERR_ARGUMENT, "a number of blocks that is a power of two up to %d was expected, not %lld",
                        MGN_MOST_BLOCKS, (long long)blocks);
    if (blocks < size)
        return mgn_fail(MGN_ERR_ARGUMENT, "%lld blocks are too few for %d processes; ask for %d or more",
                        (long long)blocks, size, size);
    return MGN_OK;
}

mgn_status mgn_blocks_sum_create(mgn_comm *comm, int64_t blocks, mgn_dtype real, int64_t length, mgn_blocks_sum **sum) {
    const int size = mgn_comm_size(comm);
    MGN_TRY(mgn_blocks_check(comm, blocks));
    mgn_blocks_sum *s = mgn_alloc(1, sizeof *s);
    if (!s) return MGN_ERR_MEMORY;
    *s = (mgn_blocks_sum){.comm = comm, .real = real, .blocks = blocks, .length = length, .item = mgn_dtype_size(real)};
    const size_t vector = (size_t)length * s->item;
    s->nodes = mgn_alloc((size_t)blocks, sizeof *s->nodes);
    s->owned = mgn_alloc((size_t)size + 1, sizeof *s->owned);
    s->sizes = mgn_alloc(4 * (size_t)size, sizeof *s->sizes);
    if (s->nodes && s->owned) list_nodes(s, 0, blocks);
    int64_t first, end;
    mgn_blocks_sum_range(s, &first, &end);
    s->vectors = mgn_alloc_aligned((size_t)(end - first), vector);
    s->gathered = mgn_alloc_aligned((size_t)MGN_MAX(s->count, 1), vector);
    s->sent = mgn_alloc_aligned((size_t)(end - first), vector);
    s->total = mgn_alloc_aligned((size_t)length, s->item);
    if (!s->nodes || !s->owned || !s->sizes || !s->vectors || !s->gathered || !s->sent || !s->total) {
        mgn_blocks_sum_destroy(s);
        return MGN_ERR_MEMORY;
    }
    *sum = s;
    return MGN_OK;
}

void mgn_blocks_sum_destroy(mgn_blocks_sum *s) {
    if (!s) return;
    void *const blocks[] = {s->nodes, s->owned, s->sizes, s->vectors, s->gathered, s->sent, s->total};
    for (size_t i = 0; i < MGN_COUNT(blocks); i++) mgn_free(blocks[i]);
    mgn_free(s);
}

void mgn_blocks_sum_range(const mgn_blocks_sum *s, int64_t *first, int64_t *end) {
    *first = start_of(s, mgn_comm_rank(s->comm));
    *end = start_of(s, mgn_comm_rank(s->comm) + 1);
}

void *mgn_blocks_sum_place(mgn_blocks_sum *s, int64_t block) {
    return s->vectors + (size_t)((block - start_of(s, mgn_comm_rank(s->comm))) * s->length) * s->item;
}

mgn_dtype mgn_blocks_sum_real(const mgn_blocks_sum *s) { return s->real; }

size_t mgn_blocks_sum_bytes(const mgn_blocks_sum *s) { return (size_t)s->length * s->item; }

void mgn_blocks_sum_traffic(const mgn_blocks_sum *s, int64_t *bytes, int64_t *calls) {
    *bytes = s->bytes;
    *calls = s->calls;
}

/* ---- the tree ---- */

static void add(mgn_dtype real, char *a, const char *b, int64_t count) {
    if (real == MGN_F32) {
        float *x = (float *)(void *)a;
        const float *y = (const float *)(const void *)b;
        for (int64_t i = 0; i < count; i++) x[i] += y[i];
    } else {
        double *x = (double *)(void *)a;
        const double *y = (const double *)(const void *)b;
        for (int64_t i = 0; i < count; i++) x[i] += y[i];
    }
}

/* A node within the own blocks, to the place of its first. */
static char *add_own(mgn_blocks_sum *s, int64_t first, int64_t size) {
    if (size == 1) return mgn_blocks_sum_place(s, first);
    char *left = add_own(s, first, size / 2);
    add(s->real, left, add_own(s, first + size / 2, size / 2), s->length);
    return left;
}

/* A node above the processes', of numbers each, from their vectors in order; *next counts those that were met. */
static char *add_all(mgn_blocks_sum *s, int64_t first, int64_t size, int64_t numbers, int64_t *next) {
    if (is_one(s, first, size)) return s->gathered + (size_t)((*next)++ * numbers) * s->item;
    char *left = add_all(s, first, size / 2, numbers, next);
    add(s->real, left, add_all(s, first + size / 2, size / 2, numbers, next), numbers);
    return left;
}

static int64_t size_of_node(const mgn_blocks_sum *s, int64_t node) {
    return (node + 1 < s->count ? s->nodes[node + 1] : s->blocks) - s->nodes[node];
}

/* ---- between processes ---- */

static int64_t segment(const mgn_blocks_sum *s, int rank) { return s->length * rank / mgn_comm_size(s->comm); }

/* Own nodes' vectors to all. */
static mgn_status send_whole(mgn_blocks_sum *s) {
    const int size = mgn_comm_size(s->comm), rank = s->comm->rank;
    int64_t *sizes = s->sizes, *offsets = sizes + size;
    const int64_t vector = s->length * (int64_t)s->item;
    for (int r = 0; r < size; r++) {
        sizes[r] = (s->owned[r + 1] - s->owned[r]) * vector;
        offsets[r] = s->owned[r] * vector;
    }
    for (int64_t i = s->owned[rank]; i < s->owned[rank + 1]; i++)
        memcpy(s->sent + (i - s->owned[rank]) * vector, mgn_blocks_sum_place(s, s->nodes[i]), (size_t)vector);
    MGN_TRY(s->comm->gather(s->comm->context, s->sent, sizes, offsets, s->gathered));
    s->bytes += sizes[rank] * (size - 1);
    s->calls++;
    int64_t next = 0;
    memcpy(s->total, add_all(s, 0, s->blocks, s->length, &next), (size_t)vector);
    return MGN_OK;
}

/* Segment r of own nodes to rank r; the sum of the own segment to all. */
static mgn_status send_segments(mgn_blocks_sum *s) {
    const int size = mgn_comm_size(s->comm), rank = s->comm->rank;
    int64_t *to = s->sizes, *to_at = to + size, *from = to_at + size, *from_at = from + size, at = 0, next = 0;
    const int64_t item = (int64_t)s->item, own = segment(s, rank + 1) - segment(s, rank);
    for (int r = 0; r < size; r++) {
        const int64_t begin = segment(s, r), numbers = segment(s, r + 1) - begin;
        to_at[r] = at;
        for (int64_t i = s->owned[rank]; i < s->owned[rank + 1]; i++, at += numbers * item)
            memcpy(s->sent + at, (char *)mgn_blocks_sum_place(s, s->nodes[i]) + begin * item, (size_t)(numbers * item));
        to[r] = at - to_at[r];
        from[r] = (s->owned[r + 1] - s->owned[r]) * own * item;
        from_at[r] = s->owned[r] * own * item;
    }
    MGN_TRY(s->comm->exchange(s->comm->context, s->sent, to, to_at, s->gathered, from, from_at));
    s->bytes += at - to[rank];
    memcpy(s->sent, add_all(s, 0, s->blocks, own, &next), (size_t)(own * item));
    for (int r = 0; r < size; r++) {
        to_at[r] = segment(s, r) * item;
        to[r] = segment(s, r + 1) * item - to_at[r];
    }
    MGN_TRY(s->comm->gather(s->comm->context, s->sent, to, to_at, s->total));
    s->bytes += to[rank] * (size - 1);
    s->calls += 2;
    return MGN_OK;
}

mgn_status mgn_blocks_sum_add(mgn_blocks_sum *s, const void **total) {
    const int rank = mgn_comm_rank(s->comm);
    *total = s->total;
    for (int64_t i = s->owned[rank]; i < s->owned[rank + 1]; i++) add_own(s, s->nodes[i], size_of_node(s, i));
    if (mgn_comm_size(s->comm) == 1) {
        *total = s->vectors;
        return MGN_OK;
    }
    const bool is_long = s->length * (int64_t)s->item > LONG_MESSAGE && s->length >= mgn_comm_size(s->comm);
    const mgn_status status = is_long ? send_segments(s) : send_whole(s);
    if (status != MGN_OK) s->comm->is_over = s->comm->is_broken = true;
    return status;
}
