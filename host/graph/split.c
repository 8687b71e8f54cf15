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

/* ---- what wide parts compute again ---- */

/* Marks the values of other wide parts that part `index` computes for itself, from what those read, where values are
 * recomputed: a cascade's layers are needed by its derivative, and cost little beside the memory for all of them. */
static void find_clones(const splitter *s, int index, bool *cloned) {
    memset(cloned, 0, (size_t)s->low->node_count * sizeof *cloned);
    for (int id = s->low->node_count - 1; s->recomputes && id >= 0; id--) {
        const mgn_node *node = s->graph->nodes[id];
        if (is_free(node) || !is_wide(s, node) || !(s->place[id] == index || cloned[id])) continue;
        for (int i = 0; i < node->inputs; i++) {
            const mgn_node *in = root_of(node->in[i]);
            if (!is_free(in) && s->place[in->id] != index && is_wide(s, in) && can_share_part(s, node, node->in[i]))
                cloned[in->id] = true;
        }
    }
}

/* What wide parts would keep for others, in elements. */
static double kept_elements(const splitter *s, bool *counted) {
    double elements = 0;
    memset(counted, 0, (size_t)s->low->node_count * sizeof *counted);
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
static double cloned_operations(const splitter *s, bool *cloned) {
    double operations = 0;
    for (int part = 0; part < s->count; part++) {
        find_clones(s, part, cloned);
        for (int id = 0; id < s->low->node_count; id++) {
            const mgn_node *node = s->graph->nodes[id];
            if (cloned[id]) operations += mgn_op_infos[node->op].flops * (double)mgn_shape_count(node->shape);
        }
    }
    return operations;
}

/* Values are kept up to a limit in bytes; with none given, where that costs less than to make them again. */
static bool choose_recomputing(splitter *s, mgn_keeping keeping) {
    enum { COST_OF_KEEPING = 18 }; /* operations that take as long as an element on its way to memory and back */
    bool *marks = mgn_arena_alloc(s->arena, (size_t)s->low->node_count, sizeof *marks);
    if (!marks) return false;
    s->recomputes = true;
    const double kept = kept_elements(s, marks), operations = cloned_operations(s, marks);
    s->recomputes = kept * (double)mgn_dtype_size(s->low->real) > keeping.most_bytes ||
                    (keeping.by_cost && operations < COST_OF_KEEPING * kept);
    return true;
}

/* ---- parts as graphs ---- */

/* The node of a part's graph that stands for one of the whole graph's. */
static mgn_node *stand_in(splitter *s, mgn_part *part, mgn_node **map, const mgn_node *node) {
    if (map[node->id]) return map[node->id];
    const bool rebuilt = is_free(node) && node->op != MGN_OP_input;
    mgn_node *made = NULL;
    if (rebuilt) {
        mgn_node *in = node->inputs ? stand_in(s, part, map, node->in[0]) : NULL;
        made = mgn_node_new(part->graph, node->op, node->kind, node->shape, &in, node->inputs, &node->attributes);
    } else {
        made =
            mgn_input(part->graph, node->label ? node->label : mgn_op_infos[node->op].label, node->kind, node->shape);
        if (made) part->stands_for[made->id] = node->id;
    }
    return map[node->id] = made;
}

static void build_node(splitter *s, mgn_part *part, mgn_node **map, const mgn_node *node) {
    mgn_node *in[MGN_MOST_NODE_INPUTS];
    mgn_node **inputs =
        node->inputs <= MGN_MOST_NODE_INPUTS ? in : mgn_arena_alloc(s->arena, (size_t)node->inputs, sizeof *inputs);
    if (!inputs) return;
    for (int i = 0; i < node->inputs; i++) inputs[i] = stand_in(s, part, map, node->in[i]);
    map[node->id] =
        mgn_node_new(part->graph, node->op, node->kind, node->shape, inputs, node->inputs, &node->attributes);
}

/* Marks what other parts and the caller read. */
static void mark_outputs(splitter *s, mgn_part *part, mgn_node *const *map, int index, const bool *crosses) {
    for (int id = 0; id < s->low->node_count; id++) {
        const mgn_node *node = s->graph->nodes[id];
        if (!s->low->values[id].live) continue;
        if (node->assigned && s->place[node->assigned->id] == index) {
            mgn_node *target = map[id];
            if (target) mgn_assign(target, map[node->assigned->id]);
        }
        if (is_free(node) || s->place[id] != index || !(node->is_output || crosses[id])) continue;
        if (!map[id]) continue;
        mgn_output(map[id]);
        part->stands_for[map[id]->id] = id;
    }
}

static mgn_status build_part(splitter *s, int index, const bool *crosses, bool *cloned) {
    mgn_part *part = &s->parts[index];
    const size_t nodes = (size_t)s->low->node_count;
    mgn_node **map = mgn_alloc(nodes, sizeof *map);
    part->stands_for = mgn_alloc(2 * nodes, sizeof *part->stands_for); /* a part has no more nodes than the whole */
    mgn_status status = map && part->stands_for ? mgn_graph_create(&part->graph) : MGN_ERR_MEMORY;
    for (size_t i = 0; status == MGN_OK && i < 2 * nodes; i++) part->stands_for[i] = -1;
    find_clones(s, index, cloned);
    for (int id = 0; status == MGN_OK && id < s->low->node_count; id++) {
        const mgn_node *node = s->graph->nodes[id];
        if (!s->low->values[id].live) continue;
        if (!is_free(node) && (s->place[id] == index || cloned[id])) build_node(s, part, map, node);
        if (node->assigned && s->place[node->assigned->id] == index) stand_in(s, part, map, node);
    }
    if (status == MGN_OK) mark_outputs(s, part, map, index, crosses);
    if (status == MGN_OK) status = mgn_graph_status(part->graph);
    mgn_free(map);
    return status;
}

/* Values that some part reads from another. */
static void find_crossing(const splitter *s, bool *crosses, bool *cloned) {
    for (int part = 0; part < s->count; part++) {
        find_clones(s, part, cloned);
        for (int id = 0; id < s->low->node_count; id++) {
            const mgn_node *node = s->graph->nodes[id];
            if (!s->low->values[id].live || is_free(node) || !(s->place[id] == part || cloned[id])) continue;
            for (int i = 0; i < node->inputs; i++) {
                const mgn_node *in = root_of(node->in[i]);
                if (!is_free(in) && s->place[in->id] != part && !cloned[in->id]) crosses[in->id] = true;
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
    const size_t nodes = (size_t)s->low->node_count;
    bool *crosses = mgn_alloc(2 * nodes, sizeof *crosses), *cloned = crosses + nodes;
    s->parts = mgn_alloc((size_t)s->count, sizeof *s->parts);
    mgn_status status = crosses && s->parts ? MGN_OK : MGN_ERR_MEMORY;
    if (status == MGN_OK) find_crossing(s, crosses, cloned);
    for (int i = 0; status == MGN_OK && i < s->count; i++)
        if (!worth || worth[i]) status = build_part(s, i, crosses, cloned);
    mgn_free(crosses);
    return status;
}

/* Joins neighbours that are no row programs; how many row programs there are. */
static mgn_status join_neighbours(splitter *s, mgn_part_test *fits, int *programs) {
    int *joined = mgn_arena_alloc(s->arena, (size_t)s->count, sizeof *joined);
    int *operations = mgn_arena_alloc(s->arena, 2 * (size_t)s->count, sizeof *operations),
        *on_long = operations + s->count;
    bool *worth = mgn_arena_alloc(s->arena, (size_t)s->count, sizeof *worth);
    if (!joined || !operations || !worth) return MGN_ERR_MEMORY;
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
        const bool rows = s->parts[i].graph && fits(s->parts[i].graph, s->low->real);
        *programs += rows;
        joined[i] = rows || before ? count++ : count - 1;
        before = rows;
    }
    for (int id = 0; id < s->low->node_count; id++)
        if (s->place[id] >= 0) s->place[id] = joined[s->place[id]];
    mgn_parts_free(s->parts, s->count);
    s->parts = NULL;
    s->count = count;
    return MGN_OK;
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
    if (!choose_recomputing(s, keeping)) return MGN_ERR_MEMORY;
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
