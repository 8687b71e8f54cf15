/* Where the values lie that parts of a plan hand to each other: all in one block of memory, whose places are given to
 * others when the last part that reads a value has run. What a concatenation along the first axis joins lies at its place
 * in it from the start, so that a flat gradient is never put together by copies. */
#include <limits.h>
#include <stdint.h>

#include "graph/split.h"

/* Places begin at multiples of ALIGNMENT bytes. STAGGER: values of one power of two would all meet in the same few sets of
 * the caches. */
enum { ALIGNMENT = 256, STAGGER = 4096 + 256 };

typedef struct life {
    int first, last; /* parts */
    int joined;      /* id of the concatenation that it lies in; -1: none */
    int64_t begin;   /* elements in front of it there */
    size_t bytes;
} life;

typedef struct placer {
    const mgn_graph *graph;
    life *lives; /* by node id */
    int *alive;  /* ids of placed values, by place */
    int alive_count;
    size_t *places, total;
} placer;

static bool is_placed(const life *l) { return l->first != INT_MAX && l->joined < 0; }

/* First fit. */
static void place(placer *p, int id) {
    const size_t bytes = p->lives[id].bytes;
    size_t at = 0;
    int i = 0;
    for (; i < p->alive_count; i++) {
        const int other = p->alive[i];
        if (p->places[other] - at >= bytes) break;
        at = p->places[other] + p->lives[other].bytes;
    }
    for (int k = p->alive_count++; k > i; k--) p->alive[k] = p->alive[k - 1];
    p->alive[i] = id;
    p->places[id] = at;
    p->total = MGN_MAX(p->total, at + bytes);
}

static void place_all(placer *p, int part_count) {
    for (int part = 0; part < part_count; part++) {
        for (int id = 0; id < p->graph->count; id++)
            if (is_placed(&p->lives[id]) && p->lives[id].first == part) place(p, id);
        int kept = 0;
        for (int i = 0; i < p->alive_count; i++)
            if (p->lives[p->alive[i]].last > part) p->alive[kept++] = p->alive[i];
        p->alive_count = kept;
    }
}

/* The node whose memory a concatenation's input is, if that is all there is of it. */
static const mgn_node *joined_value(const mgn_node *in) {
    while (in->op == MGN_OP_reshape) in = in->in[0];
    return in;
}

static void find_joined(placer *p) {
    for (int id = 0; id < p->graph->count; id++) {
        const mgn_node *node = p->graph->nodes[id];
        life *whole = &p->lives[id];
        if (node->op != MGN_OP_concat || node->attributes.axis != 0 || whole->first == INT_MAX) continue;
        int64_t begin = 0;
        for (int i = 0; i < node->inputs; begin += mgn_shape_count(node->in[i++]->shape)) {
            const mgn_node *in = joined_value(node->in[i]);
            life *l = &p->lives[in->id];
            if (!is_placed(l) || in->op == MGN_OP_concat || in->kind != node->kind) continue;
            l->joined = id;
            l->begin = begin;
            whole->first = MGN_MIN(whole->first, l->first);
            whole->last = MGN_MAX(whole->last, l->last);
        }
    }
}

mgn_status mgn_place_crossing(const mgn_graph *graph, mgn_dtype real, mgn_tensor *const *own, const mgn_part *parts,
                              int count, mgn_arena *arena, size_t *places, size_t *total) {
    const size_t nodes = (size_t)graph->count;
    placer p = {.graph = graph, .places = places};
    p.lives = mgn_arena_alloc(arena, nodes, sizeof *p.lives);
    p.alive = mgn_arena_alloc(arena, nodes, sizeof *p.alive);
    if (!p.lives || !p.alive) return MGN_ERR_MEMORY;
    for (int id = 0; id < graph->count; id++) {
        const mgn_node *node = graph->nodes[id];
        const size_t size = mgn_dtype_size(node->kind == MGN_INDEX ? MGN_U32 : real);
        p.lives[id] = (life){.first = INT_MAX, .last = -1, .joined = -1};
        p.lives[id].bytes = ((size_t)mgn_shape_count(node->shape) * size + STAGGER) / ALIGNMENT * ALIGNMENT;
    }
    for (int part = 0; part < count; part++)
        for (int id = 0; id < parts[part].graph->count; id++) {
            const int whole = parts[part].stands_for[id];
            if (whole < 0 || own[whole]) continue;
            p.lives[whole].first = MGN_MIN(p.lives[whole].first, part);
            p.lives[whole].last = MGN_MAX(p.lives[whole].last, part);
        }
    find_joined(&p);
    place_all(&p, count);
    for (int id = 0; id < graph->count; id++) {
        const life *l = &p.lives[id];
        const size_t size = mgn_dtype_size(graph->nodes[id]->kind == MGN_INDEX ? MGN_U32 : real);
        if (l->joined >= 0) places[id] = places[l->joined] + (size_t)l->begin * size;
    }
    *total = p.total;
    return MGN_OK;
}
