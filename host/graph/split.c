/* Plans of parts: a graph that is no row program as a whole, cut where it is none.
 *
 * Large products, sums over point clouds and the like are walls; what lies between them is often row-local, and becomes
 * a row program of its own, or elementwise on matrices of long rows, and becomes a wide program. Every node belongs to a
 * stage, the number of walls and of changes between the two sorts that it lies behind at most. The parts are the connected
 * pieces of what is row-local in a stage, its wide work by the size of the matrices, then its walls together. Views,
 * constants and inputs belong to no part: each part that needs one has its own. Values that cross from part to part lie in
 * tensors; a wide part may instead compute again what an earlier one computed, see find_clones.
 *
 * Each part is a graph by itself. Those that are no row programs and run one after the other are joined, so that their
 * values share memory as in any list of calls. */
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "graph/split.h"
#include "graph/widen.h"

/* Rows of more features make products that are none of a row program's; longer vectors are not put together place by
 * place. */
enum { MOST_FEATURES = 64, MOST_SPD = 8, MOST_JOINED = 256 };

/* What makes a part worth having: many operations, or a few on long values, which then go through memory once. */
enum { MANY_OPERATIONS = 12, FEW_OPERATIONS = 3, LONG_VALUE = 8192 };

typedef struct splitter {
    const mgn_lowering *low;
    const mgn_graph *graph;
    mgn_arena *arena;
    int *stage;      /* by node id */
    int *leader;     /* by node id: of the nodes of one part, as a forest; a part is its root's id */
    int *place;      /* by node id: when its part runs; -1: it belongs to none */
    int *members;    /* ids of the nodes of all parts, part by part, ascending; see list_members */
    int *first;      /* by part: where its members begin; and where the last part's end */
    int64_t state;   /* length of vectors that are wide; 0: none */
    bool recomputes; /* wide parts compute again what they need of others */
    mgn_part *parts;
    int count;
} splitter;

static bool is_free(const mgn_node *node) {
    return node->op == MGN_OP_input || node->op == MGN_OP_constant || node->op == MGN_OP_table || mgn_is_view(node->op);
}

static bool is_wall(const mgn_node *node) {
    const mgn_attributes *a = &node->attributes.kernel;
    switch (node->op) {
    case MGN_OP_matmul: {
        if (a->matmul.batch > 1) return false;
        const int64_t features = a->matmul.transpose_a ? a->matmul.m : a->matmul.k; /* of a row of the first factor */
        return features > MOST_FEATURES || a->matmul.n > MOST_FEATURES;
    }
    case MGN_OP_spd_logdet:
    case MGN_OP_spd_inverse:
    case MGN_OP_spd_solve: return a->spd.d > MOST_SPD;
    case MGN_OP_conv:
    case MGN_OP_conv_transpose:
    case MGN_OP_conv_kernel_gradient:
    case MGN_OP_softmin:
    case MGN_OP_gibbs:
    case MGN_OP_softmins:
    case MGN_OP_softmins_dense:
    case MGN_OP_softmin_dense:
    case MGN_OP_scatter_rows: return true;
    case MGN_OP_pad:
    case MGN_OP_concat: return node->attributes.axis == 0 && mgn_shape_count(node->shape) > MOST_JOINED;
    default: return false;
    }
}

static const mgn_node *root_of(const mgn_node *node) {
    while (mgn_is_view(node->op)) node = node->in[0];
    return node;
}

static int leader_of(const splitter *s, int id) {
    while (s->leader[id] != id) id = s->leader[id];
    return id;
}

/* ---- which node belongs where ---- */

/* The length of the longest vector that a step changes, where it is one for a wide program. */
static int64_t find_state(const mgn_graph *graph) {
    enum { LEAST_STATE = 32768 };
    int64_t longest = 0;
    for (int id = 0; id < graph->count; id++) {
        const mgn_node *node = graph->nodes[id];
        if (node->op == MGN_OP_input && node->assigned && node->shape.rank == 1 && node->shape.dim[0] >= LEAST_STATE)
            longest = MGN_MAX(longest, node->shape.dim[0]);
    }
    return longest;
}

static bool is_wide(const splitter *s, const mgn_node *node) {
    int64_t rows, columns;
    return mgn_is_wide(node, s->state, &rows, &columns);
}

/* Whether both are wide, of matrices of one size. */
static bool is_as_wide(const splitter *s, const mgn_node *a, const mgn_node *b) {
    int64_t rows[2], columns[2];
    return mgn_is_wide(a, s->state, &rows[0], &columns[0]) && mgn_is_wide(b, s->state, &rows[1], &columns[1]) &&
           rows[0] == rows[1] && columns[0] == columns[1];
}

/* Whether a node can get its input `in`, a computed value under views or not, inside one part. */
static bool can_share_part(const splitter *s, const mgn_node *node, const mgn_node *in) {
    const mgn_node *root = root_of(in);
    if (!is_wide(s, node) && !is_wide(s, root)) return true;
    for (; in != root; in = in->in[0])
        if (!mgn_is_same_matrix(in)) return false;
    return root->op != MGN_OP_sum && is_as_wide(s, node, root);
}

/* Whether a node must lie in a later stage than its input: nothing else separates their parts. */
static bool comes_later(const splitter *s, const mgn_node *node, const mgn_node *in) {
    const mgn_node *root = root_of(in);
    return !is_free(node) && !is_free(root) && !is_wall(node) && !is_wall(root) && !can_share_part(s, node, in);
}

static void find_stages(splitter *s) {
    for (int id = 0; id < s->low->node_count; id++) {
        const mgn_node *node = s->graph->nodes[id];
        s->leader[id] = id;
        for (int i = 0; i < node->inputs; i++) {
            const mgn_node *in = node->in[i];
            const int later = is_wall(in) || comes_later(s, node, in) ? 1 : 0;
            s->stage[id] = MGN_MAX(s->stage[id], s->stage[in->id] + later);
        }
    }
}

/* Whether a node is a product that is added to another and nothing else: plans add the second to the first where both are in
 * one part. */
static bool is_term(const splitter *s, const mgn_node *node) {
    const mgn_node *sum = NULL;
    int reads = 0;
    for (int id = node->id + 1; node->op == MGN_OP_matmul && reads < 2 && id < s->low->node_count; id++)
        for (int i = 0; s->low->values[id].live && i < s->graph->nodes[id]->inputs; i++)
            if (s->graph->nodes[id]->in[i] == node) {
                sum = s->graph->nodes[id];
                reads++;
            }
    return reads == 1 && sum->op == MGN_OP_add && sum->in[0]->op == MGN_OP_matmul && sum->in[1]->op == MGN_OP_matmul;
}

/* A node that hangs on one value at most moves to the first stage that reads it: then that value crosses stages and not
 * the node's, or nothing does. Sums of wide values stay, being so much smaller. */
static bool find_late_stages(splitter *s) {
    int *first_read = mgn_arena_alloc(s->arena, (size_t)s->low->node_count, sizeof *first_read);
    if (!first_read) return false;
    for (int id = 0; id < s->low->node_count; id++) first_read[id] = INT_MAX;
    for (int id = s->low->node_count - 1; id >= 0; id--) {
        const mgn_node *node = s->graph->nodes[id], *only = NULL;
        if (!s->low->values[id].live || is_free(node)) continue;
        int roots = 0;
        for (int i = 0; i < node->inputs; i++) {
            const mgn_node *in = root_of(node->in[i]);
            roots += !is_free(in) && in != only;
            only = in;
        }
        if (is_term(s, node) && first_read[id] != INT_MAX) s->stage[id] = MGN_MAX(s->stage[id], first_read[id] - 1);
        const bool stays = is_wall(node) || node->is_output || (node->op == MGN_OP_sum && is_wide(s, node));
        if (!stays && roots <= 1 && first_read[id] != INT_MAX) s->stage[id] = MGN_MAX(s->stage[id], first_read[id]);
        for (int i = 0; i < node->inputs; i++) {
            int *read = &first_read[root_of(node->in[i])->id];
            *read = MGN_MIN(*read, s->stage[id] - (comes_later(s, node, node->in[i]) ? 1 : 0));
        }
    }
    return true;
}

/* Joins nodes of one stage: walls with walls, wide ones with those as wide, others with those that they read. The smallest
 * id leads. */
static void join(splitter *s, int a, int b) {
    a = leader_of(s, a);
    b = leader_of(s, b);
    s->leader[MGN_MAX(a, b)] = MGN_MIN(a, b);
}

static void find_parts(splitter *s, int *wall_of_stage, int *wide) {
    int wide_count = 0;
    for (int id = 0; id < s->low->node_count; id++) {
        const mgn_node *node = s->graph->nodes[id];
        if (!s->low->values[id].live || is_free(node)) continue;
        if (is_wall(node)) {
            int *first = &wall_of_stage[s->stage[id]];
            if (*first < 0) *first = id;
            join(s, *first, id);
            continue;
        }
        if (is_wide(s, node)) {
            int k = 0; /* the first ones of all wide parts so far */
            while (k < wide_count &&
                   !(s->stage[wide[k]] == s->stage[id] && is_as_wide(s, s->graph->nodes[wide[k]], node)))
                k++;
            if (k == wide_count) wide[wide_count++] = id;
            join(s, wide[k], id);
            continue;
        }
        for (int i = 0; i < node->inputs; i++) {
            const mgn_node *in = root_of(node->in[i]);
            if (!is_free(in) && !is_wall(in) && s->stage[in->id] == s->stage[id]) join(s, in->id, id);
        }
    }
}

/* Parts run by stage, walls behind the rest; parts that only assign run at the very end, since others may read what they
 * change. */
static bool order_parts(splitter *s, int stages) {
    bool *needed = mgn_arena_alloc(s->arena, (size_t)s->low->node_count, sizeof *needed); /* by root */
    bool *assigns = mgn_arena_alloc(s->arena, (size_t)s->low->node_count, sizeof *assigns);
    int *first = mgn_arena_alloc(s->arena, 2 * (size_t)stages + 2, sizeof *first); /* places by stage */
    if (!needed || !assigns || !first) return false;
    for (int id = 0; id < s->low->node_count; id++) {
        const mgn_node *node = s->graph->nodes[id];
        s->place[id] = -1;
        if (!s->low->values[id].live) continue;
        if (node->op == MGN_OP_input && node->assigned) assigns[leader_of(s, node->assigned->id)] = true;
        for (int i = 0; i < node->inputs && !is_free(node); i++) {
            const mgn_node *in = root_of(node->in[i]);
            if (!is_free(in) && leader_of(s, in->id) != leader_of(s, id)) needed[leader_of(s, in->id)] = true;
        }
    }
    for (int pass = 0; pass < 2;
         pass++) { /* count the parts of each key; give them their places, in the order of ids */
        for (int id = 0; id < s->low->node_count; id++) {
            const mgn_node *node = s->graph->nodes[id];
            if (!s->low->values[id].live || is_free(node) || s->leader[id] != id) continue;
            const bool last = assigns[id] && !needed[id];
            int *next = &first[last ? 2 * stages + 1 : 2 * s->stage[id] + is_wall(node)];
            if (pass == 0)
                (*next)++;
            else
                s->place[id] = (*next)++;
        }
        for (int key = 0; pass == 0 && key <= 2 * stages + 1; key++) {
            const int parts = first[key];
            first[key] = s->count;
            s->count += parts;
        }
    }
    for (int id = 0; id < s->low->node_count; id++)
        if (s->low->values[id].live && !is_free(s->graph->nodes[id])) s->place[id] = s->place[leader_of(s, id)];
    return true;
}

/* Whether assignments come after everything that reads what they change. */
static bool assignments_are_late(const splitter *s) {
    for (int id = 0; id < s->low->node_count; id++) {
        const mgn_node *node = s->graph->nodes[id];
        if (!s->low->values[id].live) continue;
        if (node->assigned && is_free(node->assigned)) return false;
        if (node->op == MGN_OP_input && node->is_output) return false;
        for (int i = 0; i < node->inputs && !is_free(node); i++) {
            const mgn_node *in = root_of(node->in[i]);
            if (in->assigned && s->place[id] > s->place[in->assigned->id]) return false;
        }
        if (mgn_is_view(node->op) && node->is_output) return false;
    }
    return true;
}

/* ---- the nodes of a part ---- */

/* The part that a node is built in; an input that is assigned to, in that of what it is assigned. -1: none. */
static int part_of(const splitter *s, int id) {
    const mgn_node *node = s->graph->nodes[id];
    if (!s->low->values[id].live) return -1;
    return node->assigned ? s->place[node->assigned->id] : s->place[id];
}

/* Lists them once: nothing that is done for each part walks the whole graph. */
static bool list_members(splitter *s) {
    const int nodes = s->low->node_count;
    s->members = mgn_arena_alloc(s->arena, (size_t)nodes, sizeof *s->members);
    s->first = mgn_arena_alloc(s->arena, (size_t)s->count + 2, sizeof *s->first);
    if (!s->members || !s->first) return false;
    int *next = s->first + 1; /* by part: where its next member goes; in the end where the part's members end */
    for (int id = 0; id < nodes; id++)
        if (part_of(s, id) >= 0) next[part_of(s, id) + 1]++;
    for (int part = 0; part < s->count; part++) next[part + 1] += next[part];
    for (int id = 0; id < nodes; id++)
        if (part_of(s, id) >= 0) s->members[next[part_of(s, id)]++] = id;
    return true;
}

/* ---- what wide parts compute again ---- */

/* Values of other parts that a part computes for itself. */
typedef struct clones {
    bool *is_one; /* by node id */
    int *ids;
    int count;
} clones;

static bool make_clones(const splitter *s, clones *c) {
    c->is_one = mgn_arena_alloc(s->arena, (size_t)s->low->node_count, sizeof *c->is_one);
    c->ids = mgn_arena_alloc(s->arena, (size_t)s->low->node_count, sizeof *c->ids);
    return c->is_one && c->ids;
}

static void clone_inputs(const splitter *s, int index, const mgn_node *node, clones *c) {
    if (is_free(node) || !is_wide(s, node)) return;
    for (int i = 0; i < node->inputs; i++) {
        const mgn_node *in = root_of(node->in[i]);
        if (is_free(in) || s->place[in->id] == index || c->is_one[in->id]) continue;
        if (!is_wide(s, in) || !can_share_part(s, node, node->in[i])) continue;
        c->is_one[in->id] = true;
        c->ids[c->count++] = in->id;
    }
}

/* The values of other wide parts that part `index` computes for itself, from what those read, where values are
 * recomputed: a cascade's layers are needed by its derivative, and cost little beside the memory for all of them. */
static void find_clones(const splitter *s, int index, clones *c) {
    while (c->count > 0) c->is_one[c->ids[--c->count]] = false;
    for (int k = s->first[index]; s->recomputes && k < s->first[index + 1]; k++)
        clone_inputs(s, index, s->graph->nodes[s->members[k]], c);
    for (int k = 0; k < c->count; k++) clone_inputs(s, index, s->graph->nodes[c->ids[k]], c);
}

/* What wide parts would keep for others, in elements. */
static double kept_elements(const splitter *s, bool *counted) {
    double elements = 0;
    for (int id = 0; id < s->low->node_count; id++) {
        const mgn_node *node = s->graph->nodes[id];
        for (int i = 0; s->low->values[id].live && !is_free(node) && i < node->inputs; i++) {
            const mgn_node *in = root_of(node->in[i]);
            if (is_free(in) || is_wall(in) || is_wall(node) || s->place[in->id] == s->place[id] || counted[in->id] ||
                !is_wide(s, in) || !can_share_part(s, node, node->in[i]))
                continue;
            counted[in->id] = true;
            elements += (double)mgn_shape_count(in->shape);
        }
    }
    return elements;
}

/* Operations that all parts' clones cost. */
static double cloned_operations(const splitter *s, clones *c) {
    double operations = 0;
    for (int part = 0; part < s->count; part++) {
        find_clones(s, part, c);
        for (int k = 0; k < c->count; k++) {
            const mgn_node *node = s->graph->nodes[c->ids[k]];
            operations += mgn_op_infos[node->op].flops * (double)mgn_shape_count(node->shape);
        }
    }
    return operations;
}

/* Values are kept up to a limit in bytes; with none given, where that costs less than to make them again. */
static bool choose_recomputing(splitter *s, mgn_keeping keeping) {
    enum { COST_OF_KEEPING = 18 }; /* operations that take as long as an element on its way to memory and back */
    bool *counted = mgn_arena_alloc(s->arena, (size_t)s->low->node_count, sizeof *counted);
    clones c = {0};
    if (!counted || !make_clones(s, &c)) return false;
    s->recomputes = true;
    const double kept = kept_elements(s, counted), operations = cloned_operations(s, &c);
    s->recomputes = kept * (double)mgn_dtype_size(s->low->real) > keeping.most_bytes ||
                    (keeping.by_cost && operations < COST_OF_KEEPING * kept);
    return true;
}

/* ---- parts as graphs ---- */

/* What is needed to build one part after the other. */
typedef struct builder {
    splitter *s;
    clones cloned;
    bool *crosses;  /* by node id: some part reads it from another */
    mgn_node **map; /* by node id: what stands for it in the part's graph */
    int *mapped;    /* the ids of those that have such a node */
    int mapped_count;
    int *ids;        /* of the nodes that the part computes, ascending */
    int *stands_for; /* by node id of the part */
} builder;

static bool make_builder(splitter *s, builder *b) {
    const size_t nodes = (size_t)s->low->node_count;
    b->s = s;
    b->crosses = mgn_arena_alloc(s->arena, nodes, sizeof *b->crosses);
    b->map = mgn_arena_alloc(s->arena, nodes, sizeof *b->map);
    b->mapped = mgn_arena_alloc(s->arena, nodes, sizeof *b->mapped);
    b->ids = mgn_arena_alloc(s->arena, nodes, sizeof *b->ids);
    b->stands_for =
        mgn_arena_alloc(s->arena, nodes, sizeof *b->stands_for); /* a part has no more nodes than the whole */
    return b->crosses && b->map && b->mapped && b->ids && b->stands_for && make_clones(s, &b->cloned);
}

/* Notes the node of a part's graph that stands for one of the whole graph's. */
static mgn_node *note(builder *b, const mgn_node *node, mgn_node *made, int stands_for) {
    if (!made) return NULL;
    b->map[node->id] = made;
    b->mapped[b->mapped_count++] = node->id;
    b->stands_for[made->id] = stands_for;
    return made;
}

static mgn_node *stand_in(builder *b, mgn_part *part, const mgn_node *node) {
    if (b->map[node->id]) return b->map[node->id];
    if (is_free(node) && node->op != MGN_OP_input) {
        mgn_node *in = node->inputs ? stand_in(b, part, node->in[0]) : NULL;
        mgn_node *made =
            mgn_node_new(part->graph, node->op, node->kind, node->shape, &in, node->inputs, &node->attributes);
        return note(b, node, made, -1);
    }
    const char *label = node->label ? node->label : mgn_op_infos[node->op].label;
    return note(b, node, mgn_input(part->graph, label, node->kind, node->shape), node->id);
}

static void build_node(builder *b, mgn_part *part, const mgn_node *node) {
    mgn_node *in[MGN_MOST_NODE_INPUTS];
    mgn_node **inputs =
        node->inputs <= MGN_MOST_NODE_INPUTS ? in : mgn_arena_alloc(b->s->arena, (size_t)node->inputs, sizeof *inputs);
    if (!inputs) return;
    for (int i = 0; i < node->inputs; i++) inputs[i] = stand_in(b, part, node->in[i]);
    note(b, node, mgn_node_new(part->graph, node->op, node->kind, node->shape, inputs, node->inputs, &node->attributes),
         -1);
}

/* Marks what other parts and the caller read. */
static void mark_outputs(builder *b, int index) {
    const splitter *s = b->s;
    for (int k = s->first[index]; k < s->first[index + 1]; k++) {
        const mgn_node *node = s->graph->nodes[s->members[k]];
        mgn_node *made = b->map[node->id];
        if (!made) continue;
        if (node->assigned) mgn_assign(made, b->map[node->assigned->id]);
        if (is_free(node) || !(node->is_output || b->crosses[node->id])) continue;
        mgn_output(made);
        b->stands_for[made->id] = node->id;
    }
}

static int ascending(const void *a, const void *b) {
    const int x = *(const int *)a, y = *(const int *)b;
    return (x > y) - (x < y);
}

static mgn_status build_part(builder *b, int index) {
    const splitter *s = b->s;
    mgn_part *part = &s->parts[index];
    const int own = s->first[index + 1] - s->first[index];
    MGN_TRY(mgn_graph_create(&part->graph));
    while (b->mapped_count > 0) b->map[b->mapped[--b->mapped_count]] = NULL;
    find_clones(s, index, &b->cloned);
    memcpy(b->ids, s->members + s->first[index], (size_t)own * sizeof *b->ids);
    memcpy(b->ids + own, b->cloned.ids, (size_t)b->cloned.count * sizeof *b->ids);
    if (b->cloned.count > 0) qsort(b->ids, (size_t)(own + b->cloned.count), sizeof *b->ids, ascending);
    for (int k = 0; k < own + b->cloned.count; k++) {
        const mgn_node *node = s->graph->nodes[b->ids[k]];
        if (is_free(node))
            stand_in(b, part, node);
        else
            build_node(b, part, node);
    }
    mark_outputs(b, index);
    MGN_TRY(mgn_graph_status(part->graph));
    part->stands_for = mgn_alloc((size_t)part->graph->count, sizeof *part->stands_for);
    if (!part->stands_for) return MGN_ERR_MEMORY;
    memcpy(part->stands_for, b->stands_for, (size_t)part->graph->count * sizeof *part->stands_for);
    return MGN_OK;
}

/* Values that some part reads from another. */
static void find_crossing(builder *b) {
    const splitter *s = b->s;
    for (int part = 0; part < s->count; part++) {
        const int own = s->first[part + 1] - s->first[part];
        find_clones(s, part, &b->cloned);
        for (int k = 0; k < own + b->cloned.count; k++) {
            const int id = k < own ? s->members[s->first[part] + k] : b->cloned.ids[k - own];
            const mgn_node *node = s->graph->nodes[id];
            for (int i = 0; !is_free(node) && i < node->inputs; i++) {
                const mgn_node *in = root_of(node->in[i]);
                if (!is_free(in) && s->place[in->id] != part && !b->cloned.is_one[in->id]) b->crosses[in->id] = true;
            }
        }
    }
}

void mgn_parts_free(mgn_part *parts, int count) {
    for (int i = 0; parts && i < count; i++) {
        mgn_graph_destroy(parts[i].graph);
        mgn_free(parts[i].stands_for);
    }
    mgn_free(parts);
}

/* Builds all parts, or those that are worth it. */
static mgn_status build_parts(splitter *s, const bool *worth) {
    builder b = {0};
    s->parts = mgn_alloc((size_t)s->count, sizeof *s->parts);
    if (!s->parts || !make_builder(s, &b)) return MGN_ERR_MEMORY;
    find_crossing(&b);
    for (int i = 0; i < s->count; i++)
        if (!worth || worth[i]) MGN_TRY(build_part(&b, i));
    return MGN_OK;
}

/* Joins neighbours that are no row programs; how many row programs there are. */
static mgn_status join_neighbours(splitter *s, mgn_part_test *fits, int *programs) {
    int *joined = mgn_arena_alloc(s->arena, (size_t)s->count, sizeof *joined);
    int *operations = mgn_arena_alloc(s->arena, (size_t)s->count, sizeof *operations);
    int *on_long = mgn_arena_alloc(s->arena, (size_t)s->count, sizeof *on_long);
    bool *worth = mgn_arena_alloc(s->arena, (size_t)s->count, sizeof *worth);
    if (!joined || !operations || !on_long || !worth) return MGN_ERR_MEMORY;
    for (int id = 0; id < s->low->node_count; id++) {
        if (s->place[id] < 0) continue;
        operations[s->place[id]]++;
        on_long[s->place[id]] += mgn_shape_count(s->graph->nodes[id]->shape) >= LONG_VALUE;
    }
    for (int i = 0; i < s->count; i++) worth[i] = operations[i] >= MANY_OPERATIONS || on_long[i] >= FEW_OPERATIONS;
    MGN_TRY(build_parts(s, worth));
    int count = 0;
    bool before = true;
    for (int i = 0; i < s->count; i++) {
        bool rows = false;
        if (s->parts[i].graph) MGN_TRY(fits(s->parts[i].graph, s->low->real, &rows));
        *programs += rows;
        joined[i] = rows || before ? count++ : count - 1;
        before = rows;
    }
    for (int id = 0; id < s->low->node_count; id++)
        if (s->place[id] >= 0) s->place[id] = joined[s->place[id]];
    mgn_parts_free(s->parts, s->count);
    s->parts = NULL;
    s->count = count;
    return list_members(s) ? MGN_OK : MGN_ERR_MEMORY;
}

static mgn_status split(splitter *s, mgn_part_test *fits, mgn_keeping keeping) {
    const size_t nodes = (size_t)s->low->node_count;
    s->stage = mgn_arena_alloc(s->arena, nodes, sizeof *s->stage);
    s->leader = mgn_arena_alloc(s->arena, nodes, sizeof *s->leader);
    s->place = mgn_arena_alloc(s->arena, nodes, sizeof *s->place);
    if (!s->stage || !s->leader || !s->place) return MGN_ERR_MEMORY;
    find_stages(s);
    if (!find_late_stages(s)) return MGN_ERR_MEMORY;
    int stages = 0;
    for (size_t id = 0; id < nodes; id++) stages = MGN_MAX(stages, s->stage[id]);
    int *wall_of_stage = mgn_arena_alloc(s->arena, (size_t)stages + 1, sizeof *wall_of_stage);
    int *wide = mgn_arena_alloc(s->arena, nodes, sizeof *wide);
    if (!wall_of_stage || !wide) return MGN_ERR_MEMORY;
    for (int i = 0; i <= stages; i++) wall_of_stage[i] = -1;
    find_parts(s, wall_of_stage, wide);
    if (!order_parts(s, stages)) return MGN_ERR_MEMORY;
    if (s->count < 2 || s->count > MGN_MOST_PARTS || !assignments_are_late(s)) {
        s->count = 0;
        return MGN_OK;
    }
    if (!list_members(s) || !choose_recomputing(s, keeping)) return MGN_ERR_MEMORY;
    int programs = 0;
    MGN_TRY(join_neighbours(s, fits, &programs));
    if (programs > 0) return build_parts(s, NULL);
    s->count = 0;
    return MGN_OK;
}

mgn_status mgn_split(const mgn_lowering *low, const mgn_graph *graph, mgn_arena *arena, mgn_part_test *fits,
                     mgn_keeping keeping, mgn_part **parts, int *count) {
    splitter s = {.low = low, .graph = graph, .arena = arena, .state = find_state(graph)};
    mgn_status status = split(&s, fits, keeping);
    if (status != MGN_OK) {
        mgn_parts_free(s.parts, s.count);
        s.parts = NULL;
        s.count = 0;
    }
    *parts = s.parts;
    *count = s.count;
    return status;
}
